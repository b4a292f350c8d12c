/*
 * The life of a call: made, stepped by whatever it waited for, finished once.
 * What a step does is in shard_write.c, shard_close.c and shard_read.c.
 */
#include "storaged/shard_snap.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

struct rows_txn *shard_op_txn(struct shard_op *op)
{
	struct shard_set *set = op->set;

	if (op->txn != NULL)
		return op->txn;
	if (set->n_pool > 0)
		op->txn = set->pool[--set->n_pool];
	else
		op->txn = rows_txn_new(set->rows);
	return op->txn;
}

static void shard_op_drop_txn(struct shard_op *op)
{
	struct shard_set *set = op->set;
	const unsigned max = sizeof set->pool / sizeof set->pool[0];

	if (op->txn == NULL)
		return;
	if (set->closing || set->n_pool == max) {
		rows_txn_free(op->txn);
	} else {
		rows_txn_reset(op->txn);
		set->pool[set->n_pool++] = op->txn;
	}
	op->txn = NULL;
}

void shard_op_finish(struct shard_op *op, uint32_t status)
{
	struct shard_set *set = op->set;

	if (op->prev != NULL)
		op->prev->next = op->next;
	else
		set->ops = op->next;
	if (op->next != NULL)
		op->next->prev = op->prev;
	set->stats.in_flight--;
	if (op->state == OP_LOCKED)
		shard_lock_leave(op);
	shard_far_free(op->far);
	if (!set->closing) {
		shard_op_unregister(op);
		shard_flight_end(op);
	}
	shard_op_drop_txn(op);
	if (set->closing) {
		body_unref(op->body);
	} else {
		if (status != RPC_STATUS_OK) {
			body_unref(op->body);
			op->body = NULL;
		}
		op->done(op->arg, status, &op->answer.payload, op->body);
	}
	ns_answer_fini(&op->answer);
	buf_fini(&op->owned);
	buf_fini(&op->submit.data);
	mem_free(op);
}

static void shard_op_task(struct env_task *task)
{
	shard_op_step(CONTAINER_OF(task, struct shard_op, task));
}

void shard_op_post(struct shard_op *op)
{
	env_post(op->set->env, &op->task);
}

static void shard_op_loaded(void *arg, int status)
{
	struct shard_op *op = arg;

	if (status == -ENOMEM)
		shard_op_finish(op, RPC_STATUS_NOMEM);
	else if (status != 0)
		fatal_abort("shard=%u: rows cannot be read: %s", op->g->id,
			    strerror(-status));
	else
		shard_op_step(op);
}

struct ns_cmd shard_op_cmd(const struct shard_op *op)
{
	struct shard_group *g = op->g;
	struct ns_cmd c = {
		.shard = g->id,
		.tag = op->tag,
		.decisions = op->decisions,
		.now = g->last_now,
		.place = op->place,
		.payload = op->payload.p,
		.len = op->payload.len,
		.term = raft_group_term(g->raft),
		.locks = g->locks,
	};

	if (op->far != NULL)
		shard_far_cmd(op->far, &c);
	return c;
}

void shard_op_load(struct shard_op *op)
{
	rows_txn_load(op->txn, shard_op_loaded, op);
}

/* What is refused at once. */
static uint32_t shard_op_check(const struct shard_op *op)
{
	if (op->kind != 'R' && op->kind != 'W')
		return RPC_STATUS_UNKNOWN_MSG;
	if (op->g == NULL)
		return RPC_STATUS_WRONG_STORE;
	if (!raft_group_is_leader(op->g->raft))
		return RPC_STATUS_NOT_LEADER;
	if (op->set->stats.in_flight > SHARD_IN_FLIGHT_MAX)
		return RPC_STATUS_BUSY;
	if (op->kind == 'W' && rows_dirty_bytes(op->set->rows) > SHARD_DIRTY_MAX)
		return RPC_STATUS_BUSY;
	return RPC_STATUS_OK;
}

bool shard_op_outdated(const struct shard_op *op)
{
	return op->g != NULL && (op->g->installing ||
				 op->installs != op->g->installs);
}

void shard_op_step(struct shard_op *op)
{
	if (shard_op_outdated(op) && op->state != OP_SUBMITTED) {
		shard_op_finish(op, RPC_STATUS_NOT_LEADER);
		return;
	}
	if (op->state == OP_START) {
		uint32_t status = shard_op_check(op);

		if (status != RPC_STATUS_OK) {
			shard_op_finish(op, status);
			return;
		}
		if (op->tag == RPC_TAG_close)
			op->state = OP_CLOSE_WAIT;
	}
	if (op->state == OP_CLOSE_WAIT || op->state == OP_CLOSE_LOOK)
		shard_close_step(op);
	else if (op->tag == RPC_TAG_sync)
		shard_sync_step(op);
	else if (op->kind == 'W')
		shard_write_step(op);
	else
		shard_read_step(op);
}

void shard_set_stop(struct shard_set *set)
{
	set->closing = true;
	for (struct shard_op *op = set->ops; op != NULL; op = op->next) {
		struct buf none;

		buf_init(&none, 0);
		op->done(op->arg, op->state == OP_SUBMITTED
					  ? RPC_STATUS_UNKNOWN_OUTCOME
					  : RPC_STATUS_UNAVAILABLE,
			 &none, NULL);
	}
	shard_serve_stop(set);
}

/* NULL: out of memory. */
static struct shard_op *shard_op_new(struct shard_set *set, uint16_t group,
				     uint16_t tag, shard_done_fn done,
				     void *arg)
{
	const struct rpc_info *info = rpc_info(tag);
	struct shard_op *op = mem_zalloc(sizeof *op);

	assert(!set->closing);
	if (op == NULL)
		return NULL;
	op->set = set;
	op->g = shard_find(set, group);
	op->installs = op->g != NULL ? op->g->installs : 0;
	op->tag = tag;
	op->kind = info != NULL ? info->kind : 0;
	op->done = done;
	op->arg = arg;
	op->task.run = shard_op_task;
	buf_init(&op->owned, 0);
	buf_init(&op->submit.data, 0);
	ns_answer_init(&op->answer);
	op->next = set->ops;
	if (set->ops != NULL)
		set->ops->prev = op;
	set->ops = op;
	set->stats.calls++;
	set->stats.in_flight++;
	shard_op_post(op);
	return op;
}

int shard_call_request(struct shard_set *set, const struct shard_request *r)
{
	struct shard_op *op =
		shard_op_new(set, r->group, r->tag, r->done, r->arg);

	if (op == NULL)
		return -ENOMEM;
	op->payload = r->payload;
	/* chunks go after this one, and they do not come back */
	op->submit.loose = r->loose && r->tag != RPC_TAG_slice_drop;
	return 0;
}

int shard_call(struct shard_set *set, uint16_t group, uint16_t tag,
	       struct buf *payload, shard_done_fn done, void *arg)
{
	struct shard_op *op = shard_op_new(set, group, tag, done, arg);

	if (op == NULL) {
		buf_fini(payload);
		return -ENOMEM;
	}
	op->owned = *payload;
	op->payload = wire_bytes(payload->data, payload->len);
	buf_init(payload, 0);
	return 0;
}
