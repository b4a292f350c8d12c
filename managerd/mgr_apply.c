/*
 * Commands of the managers through their Raft group.
 *
 * Happy path: mgr_submit -> log, durable -> mgr_on_apply -> rows -> done.
 * Failure modes: not leader or leadership lost: done with that status. Rows
 * not resident: the group is parked, they are loaded, apply runs again. A row
 * or entry that cannot be read, or no memory: the process stops; the log has
 * the command.
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
	} else {
		raft_submit(m->group, &op->submit);
	}
	buf_fini(payload);
}

struct wire_bytes mgr_applied_key(void)
{
	static const uint8_t key[] = { 0,   0,   0,   'a', 'p',
				       'p', 'l', 'i', 'e', 'd' };

	return wire_bytes(key, sizeof key);
}

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
	uint8_t applied[8];
	int rv = mgr_apply(m->txn, cmd->data, cmd->len, &m->answer);

	(void)g;
	if (rv == -EAGAIN) {
		rows_txn_load(m->txn, mgr_on_loaded, m);
		return -EAGAIN;
	}
	for (int i = 0; i < 8; i++)
		applied[i] = (uint8_t)(cmd->index >> (56 - 8 * i));
	if (rv == 0)
		rv = rows_put(m->txn, mgr_applied_key(),
			      wire_bytes(applied, sizeof applied));
	if (rv == 0)
		rv = rows_txn_commit(m->txn);
	if (rv != 0)
		fatal_abort("manager: cannot apply entry index=%llu: %s",
			    (unsigned long long)cmd->index, strerror(-rv));
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
