/*
 * Mutations.
 *
 *   START -> [DRY] -> DECIDE -> SUBMIT -> SUBMITTED -> finish
 *
 * DRY: commands of the queue's worker, and all of them while some had to wait
 * for rows lately, are tried out first (nothing is written): the rows they miss
 * are loaded by their own txn, which apply then uses, so that the group seldom
 * waits.
 * DECIDE: see shard_open.c; without a wait it goes on to the submit, so that
 * the decision still holds.
 *
 * Failure modes: not leader, no space: failed(); leadership lost in between:
 * failed(UNKNOWN_OUTCOME), the client asks again with the same slot.
 */
#include "storaged/shard_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Nobody waits for these, so nobody shall wait for their rows. */
static bool shard_write_is_ours(const struct shard_op *op)
{
	return op->tag == RPC_TAG_queue_work || op->tag == RPC_TAG_slice_reap ||
	       op->tag == RPC_TAG_slice_done;
}

/* 0, or -EAGAIN: rows are missing. Other troubles come again in apply. */
static int shard_dry_run(struct shard_op *op)
{
	struct shard_group *g = op->g;
	struct ns_cmd c = {
		.shard = g->id,
		.tag = op->tag,
		.now = g->last_now,
		.payload = op->payload.p,
		.len = op->payload.len,
	};
	struct ns_answer a;
	int rv;

	op->set->stats.dry_runs++;
	ns_answer_init(&a);
	rv = ns_apply(op->txn, &c, &a);
	ns_answer_fini(&a);
	return rv == -EAGAIN ? rv : 0;
}

static void shard_submit_failed(struct raft_submit *s, uint32_t status)
{
	struct shard_op *op = CONTAINER_OF(s, struct shard_op, submit);
	struct shard_group *g = op->g;

	if (op->txn != NULL && op->txn == g->parked) {
		/*
		 * Leadership ended, yet the command is committed and waits
		 * for the rows that this txn loads: the group keeps it.
		 */
		op->txn = g->txn;
		g->txn = g->parked;
	}
	shard_op_finish(op, status);
}

static void shard_submit(struct shard_op *op)
{
	struct shard_group *g = op->g;
	int64_t now = env_wall_ns(op->set->env);
	uint64_t seed;
	int rv;

	if (now < g->last_now) /* clocks step back, stamps of a shard do not */
		now = g->last_now;
	g->last_now = now;
	env_random(op->set->env, &seed, sizeof seed);
	rv = ns_cmd_encode(&op->submit.data, op->tag, op->decisions, now, seed,
			   op->payload.p, op->payload.len);
	if (rv != 0) {
		shard_op_finish(op, RPC_STATUS_NOMEM);
		return;
	}
	op->payload = wire_bytes(NULL, 0); /* its bytes are in the command */
	buf_fini(&op->owned);
	if (op->flight != 0)
		shard_flight_begin(op);
	op->state = OP_SUBMITTED;
	op->submit.failed = shard_submit_failed;
	op->set->stats.mutations++;
	raft_submit(g->raft, &op->submit);
}

/* Returns true when the op waits for rows. */
static bool shard_write_dry(struct shard_op *op)
{
	struct shard_group *g = op->g;

	if (shard_op_txn(op) == NULL)
		return false;
	if (shard_dry_run(op) == -EAGAIN &&
	    op->dry_rounds++ < SHARD_DRY_ROUNDS) {
		if (!shard_write_is_ours(op))
			g->dry = SHARD_DRY_RUNS;
		shard_op_load(op);
		return true;
	}
	rows_txn_rewind(op->txn);
	if (op->dry_rounds == 0 && g->dry > 0)
		g->dry--;
	return false;
}

void shard_write_step(struct shard_op *op)
{
	for (;;) {
		switch (op->state) {
		case OP_START:
			shard_flight_fill(op);
			op->state = op->g->dry > 0 || shard_write_is_ours(op)
					    ? OP_DRY
					    : OP_DECIDE;
			continue;
		case OP_DRY:
			if (shard_write_dry(op))
				return;
			op->state = OP_DECIDE;
			continue;
		case OP_DECIDE: {
			int rv = shard_decide(op);

			if (rv == -EAGAIN) {
				shard_op_load(op);
				return;
			}
			if (rv != 0) {
				shard_op_finish(op, RPC_STATUS_NOMEM);
				return;
			}
			op->state = OP_SUBMIT;
			continue;
		}
		case OP_SUBMIT:
			shard_submit(op);
			return;
		default:
			assert(op->state == OP_SUBMITTED);
			return;
		}
	}
}

/* MKNOD with an open: known before any later decision about that inode. */
static int shard_open_made(struct shard_op *op)
{
	struct rpc_mknod_rsp rsp;
	int rv;

	rv = rpc_mknod_rsp_decode(&rsp, op->answer.payload.data,
				  op->answer.payload.len);
	return rv != 0 ? rv : shard_op_register(op, rsp.attr.ino);
}

void shard_write_applied(struct shard_op *op)
{
	uint32_t status = op->answer.status;

	if (status == RPC_STATUS_OK && op->open && op->tag == RPC_TAG_mknod &&
	    op->g->leader) {
		int rv = shard_open_made(op);

		if (rv != 0)
			status = rpc_status_from_errno(rv);
	}
	shard_op_finish(op, status);
}
