/*
 * Commands of the managers through their Raft group.
 *
 * Happy path: mgr_submit -> log, durable -> mgr_on_apply -> rows -> done.
 * Failure modes: not leader or leadership lost: done with that status. The disk
 * is full: what makes something is refused (buckets: mgr_bucket.c); what takes
 * something away, and what stores and sessions need to go on, has the reserve.
 * Rows not resident: the group is parked, they are loaded, apply runs again. A
 * row or entry that cannot be read, or no memory: the process stops; the log
 * has the command.
 */
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "managerd/mgr_impl.h"

struct mgr_op {
	struct raft_submit submit;
	struct env_task task; /* for outcomes that must not come inline */
	struct manager *m;
	mgr_done_fn done;
	void *arg;
	uint32_t status;
};

static void mgr_op_finish(struct mgr_op *op, uint32_t status,
			  struct wire_bytes payload)
{
	mgr_done_fn done = op->done;
	void *arg = op->arg;

	mem_free(op);
	done(arg, status, payload);
}

static void mgr_op_failed_task(struct env_task *task)
{
	struct mgr_op *op = CONTAINER_OF(task, struct mgr_op, task);

	mgr_op_finish(op, op->status, wire_bytes(NULL, 0));
}

static void mgr_op_failed(struct raft_submit *s, uint32_t status)
{
	struct mgr_op *op = CONTAINER_OF(s, struct mgr_op, submit);

	op->status = status;
	op->task.run = mgr_op_failed_task;
	env_post(op->m->env, &op->task);
}

static bool mgr_makes(uint8_t cmd)
{
	return cmd == MGR_CMD_user_create || cmd == MGR_CMD_key_create;
}

void mgr_submit(struct manager *m, uint8_t cmd, struct buf *payload,
		mgr_done_fn done, void *arg)
{
	struct mgr_op *op = mem_zalloc(sizeof *op);

	if (op == NULL) /* the managers' commands are few and small */
		fatal_abort("manager: out of memory");
	op->m = m;
	op->done = done;
	op->arg = arg;
	op->submit.failed = mgr_op_failed;
	buf_init(&op->submit.data, 0);
	(void)mgr_cmd_encode(&op->submit.data, cmd, env_wall_ns(m->env),
			     payload->data, payload->len);
	if (payload->err != 0 || op->submit.data.err != 0) {
		buf_fini(&op->submit.data);
		mgr_op_failed(&op->submit, RPC_STATUS_NOMEM);
	} else if (m->space.full && mgr_makes(cmd)) {
		buf_fini(&op->submit.data);
		mgr_op_failed(&op->submit, RPC_STATUS_NOSPC);
	} else {
		raft_submit(m->group, &op->submit);
	}
	buf_fini(payload);
}

/* --- how far the rows are --- */

static int mgr_put_applied(struct rows_txn *t, uint64_t index, uint64_t term)
{
	struct rows_applied a = { .index = index, .term = term };

	return rows_applied_put(t, MGR_GROUP, &a);
}

/* A barrier's index is written with the next command or checkpoint. */
int mgr_on_passed(void *arg, struct raft_group *g,
		  const struct raft_passed *p)
{
	struct manager *m = arg;
	int rv;

	(void)g;
	m->passed = p->index;
	m->passed_term = p->term;
	if (p->conf.len == 0)
		return 0;
	rv = rows_applied_put_conf(m->passed_txn, MGR_GROUP, p->index, p->conf);
	return rv != 0 ? rv : mgr_check_begin(m);
}

int mgr_check_begin(void *arg)
{
	struct manager *m = arg;
	int rv = 0;

	if (m->passed <= m->applied)
		return 0;
	rv = mgr_put_applied(m->passed_txn, m->passed, m->passed_term);
	if (rv != 0) {
		rows_txn_reset(m->passed_txn);
		return rv;
	}
	rv = rows_txn_commit(m->passed_txn);
	if (rv == 0)
		m->applied = m->passed;
	return rv;
}

/* --- commands --- */

static void mgr_on_loaded(void *arg, int status)
{
	struct manager *m = arg;

	if (status != 0)
		fatal_abort("manager: rows cannot be read: %s",
			    strerror(-status));
	raft_group_resume(m->group);
}

int mgr_on_apply(void *arg, struct raft_group *g, const struct raft_cmd *cmd)
{
	struct manager *m = arg;
	int rv = mgr_apply(m->txn, cmd->data, cmd->len, &m->answer);

	(void)g;
	if (rv == -EAGAIN) {
		rows_txn_load(m->txn, mgr_on_loaded, m);
		return -EAGAIN;
	}
	if (rv == 0)
		rv = mgr_put_applied(m->txn, cmd->index, cmd->term);
	if (rv == 0)
		rv = rows_txn_commit(m->txn);
	if (rv != 0)
		fatal_abort("manager: cannot apply entry index=%llu: %s",
			    (unsigned long long)cmd->index, strerror(-rv));
	m->applied = cmd->index;
	raft_check_note(m->check, cmd->len + SEG_HEADER_LEN);
	mgr_watch_changed(m);
	if (cmd->submit != NULL) {
		struct mgr_op *op =
			CONTAINER_OF(cmd->submit, struct mgr_op, submit);
		struct buf payload = m->answer.payload;

		buf_init(&m->answer.payload, 0);
		mgr_op_finish(op, m->answer.status,
			      wire_bytes(payload.data, payload.len));
		buf_fini(&payload);
	}
	return 0;
}
