/*
 * Mutations.
 *
 *   START -> [DRY] -> DECIDE -> SUBMIT -> SUBMITTED -> finish
 *              |                              |
 *              +-> LEAVE -> finish            +-> LOCKED, FAR -> DRY or DECIDE
 *
 * DRY: commands of the queue's worker, and all of them while some had to wait
 * lately, are tried out first (nothing is written): the rows they miss are
 * loaded by their own txn, which apply then uses, so that the group seldom
 * waits; what another shard must go on with is told without an entry (LEAVE:
 * after a barrier, as a read). DECIDE: see shard_open.c; without a wait it goes
 * on to the submit, so that the decision still holds. What needs rows of other
 * shards: shard_far.c; what a transaction holds: shard_party.c.
 *
 * Failure modes: not leader, no space: failed(); leadership lost in between:
 * failed(UNKNOWN_OUTCOME), the client asks again with the same slot.
 */
#include "storaged/shard_impl.h"

#include <assert.h>
#include <errno.h>

/* Nobody waits for these, so nobody shall wait for their rows. */
static bool shard_write_is_ours(const struct shard_op *op)
{
	return op->tag == RPC_TAG_queue_work || op->tag == RPC_TAG_slice_reap ||
	       op->tag == RPC_TAG_slice_done || op->tag == RPC_TAG_dir_split;
}

/* As many as a split of many names may take. */
static unsigned shard_dry_rounds(const struct shard_op *op)
{
	return op->tag == RPC_TAG_dir_split ? 2 * SHARD_DRY_ROUNDS
					    : SHARD_DRY_ROUNDS;
}

/* --- trying out --- */

/* Other tries of it may be under way: only the log says what happened. */
static bool shard_is_again(const struct shard_op *op)
{
	return op->payload.len >= 20 && op->payload.p[12] >> 7 != 0;
}

/* LOCKED is the answer: the caller has locks of its own. */
static bool shard_never_waits(const struct shard_op *op)
{
	struct rpc_txn_lock m;

	return op->tag == RPC_TAG_txn_lock &&
	       (rpc_txn_lock_decode(&m, op->payload.p,
				    op->payload.len) != 0 ||
		m.wait == 0);
}

static void shard_left(struct raft_barrier *b, uint32_t status)
{
	struct shard_op *op = CONTAINER_OF(b, struct shard_op, barrier);

	if (op->set->closing)
		return;
	if (status != RPC_STATUS_OK) {
		shard_op_finish(op, status);
		return;
	}
	op->passed = true;
	op->state = OP_DRY;
	shard_write_step(op);
}

/* Another shard goes on, as a said: true once this leader may say so. */
static bool shard_leave(struct shard_op *op, struct ns_answer *a)
{
	if (!op->passed && !raft_group_can_read(op->g->raft)) {
		op->state = OP_LEAVE;
		op->barrier.done = shard_left;
		raft_group_barrier(op->g->raft, &op->barrier);
		return false;
	}
	ns_answer_fini(&op->answer);
	op->answer = *a;
	ns_answer_init(a);
	return true;
}

/* True when the op ended, or goes on by itself. */
static bool shard_dry_end(struct shard_op *op, struct ns_answer *a)
{
	struct shard_group *g = op->g;

	switch (a->status) {
	case RPC_STATUS_ELSEWHERE:
		g->dry = SHARD_DRY_RUNS;
		if (shard_is_again(op))
			return false;
		if (shard_leave(op, a))
			shard_op_finish(op, RPC_STATUS_ELSEWHERE);
		return true;
	case RPC_STATUS_LOCKED:
		g->dry = SHARD_DRY_RUNS;
		if (shard_never_waits(op))
			shard_op_finish(op, RPC_STATUS_LOCKED);
		else
			shard_lock_wait(op, a->holder, OP_DRY);
		return true;
	case RPC_STATUS_FAR:
		g->dry = SHARD_DRY_RUNS;
		shard_far_start(op);
		return true;
	default:
		return false;
	}
}

/* True when the op waits for rows, ended, or goes on by itself. */
static bool shard_write_dry(struct shard_op *op)
{
	struct shard_group *g = op->g;
	struct ns_cmd c = shard_op_cmd(op);
	struct ns_answer a;
	bool ended;
	int rv;

	if (shard_op_txn(op) == NULL)
		return false;
	op->set->stats.dry_runs++;
	ns_answer_init(&a);
	rv = ns_apply(op->txn, &c, &a);
	if (rv == -EAGAIN && op->dry_rounds++ < shard_dry_rounds(op)) {
		ns_answer_fini(&a);
		if (!shard_write_is_ours(op))
			g->dry = SHARD_DRY_RUNS;
		shard_op_load(op);
		return true;
	}
	rows_txn_rewind(op->txn);
	if (op->dry_rounds == 0 && g->dry > 0)
		g->dry--;
	ended = rv == 0 && shard_dry_end(op, &a);
	ns_answer_fini(&a);
	return ended; /* other troubles come again in apply */
}

/* --- the entry --- */

static void shard_write_fail(struct shard_op *op, uint32_t status)
{
	if (op->far != NULL && !op->set->closing)
		shard_far_failed(op, status);
	else
		shard_op_finish(op, status);
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
	shard_write_fail(op, status);
}

static void shard_submit(struct shard_op *op)
{
	struct shard_group *g = op->g;
	struct ns_cmd c = shard_op_cmd(op);
	int rv;

	/* clocks step back, stamps of a shard do not */
	c.now = env_wall_ns(op->set->env);
	if (c.now < g->last_now)
		c.now = g->last_now;
	g->last_now = c.now;
	env_random(op->set->env, &c.seed, sizeof c.seed);
	rv = ns_cmd_encode(&op->submit.data, &c);
	if (rv != 0) {
		shard_write_fail(op, RPC_STATUS_NOMEM);
		return;
	}
	if (op->flight != 0)
		shard_flight_begin(op);
	op->state = OP_SUBMITTED;
	op->submit.failed = shard_submit_failed;
	op->set->stats.mutations++;
	raft_submit(g->raft, &op->submit);
}

/* What makes directories may be meant for another shard. */
static void shard_write_place(struct shard_op *op)
{
	const struct shard_config *config = &op->set->config;

	if (config->place == NULL || !ns_may_place(op->tag, op->payload))
		return;
	op->place = config->place(config->arg, op->g->id);
	if (op->place != op->g->id)
		op->decisions |= NS_DECIDE_PLACE;
}

static void shard_write_start(struct shard_op *op)
{
	shard_flight_fill(op);
	shard_write_place(op);
	op->state = op->g->dry > 0 || shard_write_is_ours(op) ||
				    op->decisions & NS_DECIDE_PLACE
			    ? OP_DRY
			    : OP_DECIDE;
}

void shard_write_decided(struct shard_op *op)
{
	op->state = OP_DECIDE;
	shard_write_step(op);
}

void shard_write_step(struct shard_op *op)
{
	for (;;) {
		switch (op->state) {
		case OP_START:
			shard_write_start(op);
			continue;
		case OP_FAR:
			shard_far_step(op);
			return;
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
				shard_write_fail(op, RPC_STATUS_NOMEM);
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

/* --- the answer --- */

/*
 * MKNOD with an open: known before any later decision about that inode. What
 * was done before is not opened once more: this leader did so when it was
 * applied, or it is a new one, whom the client tells its opens, unless its
 * session has ended.
 */
static int shard_open_made(struct shard_op *op)
{
	struct rpc_mknod_rsp rsp;
	int rv;

	if (op->answer.repeated)
		return 0;
	rv = rpc_mknod_rsp_decode(&rsp, op->answer.payload.data,
				  op->answer.payload.len);
	if (rv == 0)
		rv = shard_op_register(op, rsp.attr.ino);
	(void)shard_op_opened(op); /* a CLOSE behind it may have come already */
	return rv;
}

/* It left no trace: the request goes on from here. */
static void shard_write_again(struct shard_op *op)
{
	shard_flight_end(op);
	op->g->dry = SHARD_DRY_RUNS;
	op->decisions &= ~(uint32_t)NS_DECIDE_OPEN;
	buf_fini(&op->submit.data);
	buf_init(&op->submit.data, 0);
	if (op->far != NULL)
		shard_far_applied(op);
	else if (op->answer.status == RPC_STATUS_FAR)
		shard_far_start(op);
	else if (shard_never_waits(op))
		shard_op_finish(op, RPC_STATUS_LOCKED);
	else
		shard_lock_wait(op, op->answer.holder, OP_DRY);
}

void shard_write_applied(struct shard_op *op)
{
	uint32_t status = op->answer.status;

	if (status == RPC_STATUS_LOCKED || status == RPC_STATUS_FAR) {
		shard_write_again(op);
		return;
	}
	if (status == RPC_STATUS_ELSEWHERE)
		op->g->dry = SHARD_DRY_RUNS;
	if (status == RPC_STATUS_OK && op->open && op->tag == RPC_TAG_mknod &&
	    op->g->leader) {
		int rv = shard_open_made(op);

		if (rv != 0)
			status = rpc_status_from_errno(rv);
	}
	if (op->far != NULL)
		shard_far_applied(op);
	else
		shard_op_finish(op, status);
}
