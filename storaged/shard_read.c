/*
 * Reads.
 *
 *   START -> [OPEN_WAIT] -> [BARRIER] -> READ -> [OPEN_WAIT] -> [VALUES]
 *                                    \-> SYNC -> SCAN
 *
 * Under a lease there is no barrier; then the clock is looked at again when the
 * rows were read, and when the lease was over by then the op goes through a
 * barrier after all and reads once more. (Values never change: they may be
 * read when the lease is over.)
 *
 * What a transaction holds may have changed already, for those who know that
 * it committed: a read waits for its end (LOCKED), then begins again with the
 * barrier. A page read waits for all that hold something when it begins.
 *
 * A read that also opens (OPEN, OBJECT with RPC_OBJECT_OPEN) is registered
 * first, waits for the commands that were decided without it, then reads
 * (shard_open.c). OBJECT learns its inode from the first read, so it reads
 * twice when such commands were in flight, or when the key leads elsewhere by
 * then.
 */
#include "storaged/shard_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"

void shard_read_end(struct shard_op *op, uint32_t status)
{
	if (status == RPC_STATUS_OK && shard_op_opened(op) != 0)
		status = RPC_STATUS_NOT_LEADER; /* of this open */
	shard_op_finish(op, status);
}

/* --- opens --- */

static uint32_t shard_read_open(struct shard_op *op)
{
	int rv = 0;

	if (op->tag == RPC_TAG_open) {
		struct rpc_open m;

		rv = rpc_open_decode(&m, op->payload.p, op->payload.len);
		op->open = rv == 0 && ino_shard(m.ino) == op->g->id;
		op->open_id.session = m.session;
		op->open_id.number = m.number;
		if (op->open)
			rv = shard_op_register(op, m.ino);
	} else if (op->tag == RPC_TAG_object) {
		struct rpc_object m;

		rv = rpc_object_decode(&m, op->payload.p, op->payload.len);
		op->open = rv == 0 && (m.flags & RPC_OBJECT_OPEN) != 0;
		op->open_id = (struct open_id){ 0, m.session, m.number, true };
	}
	return rpc_status_from_errno(rv);
}

/* The inode that the answer is about; 0 when it cannot be told. */
static uint64_t shard_read_ino(const struct shard_op *op)
{
	const struct buf *b = &op->answer.payload;
	struct rpc_object_rsp object;
	struct rpc_read_rsp open;

	if (op->tag == RPC_TAG_object)
		return rpc_object_rsp_decode(&object, b->data, b->len) == 0
			? object.attr.ino
			: 0;
	return rpc_read_rsp_decode(&open, b->data, b->len) == 0 ? open.attr.ino
								: 0;
}

/* True when the op must read again, later. */
static bool shard_read_reopen(struct shard_op *op)
{
	uint64_t ino = shard_read_ino(op);
	int rv;

	if (op->registered && op->open_id.ino == ino)
		return false;
	shard_op_unregister(op);
	if (ino == 0)
		return false;
	rv = shard_op_register(op, ino);
	if (rv != 0) {
		op->answer.status = rpc_status_from_errno(rv);
		return false;
	}
	op->state = OP_OPEN_WAIT;
	if (!shard_flight_wait(op)) {
		op->state = OP_READ;
		return false;
	}
	rows_txn_rewind(op->txn);
	return true;
}

/* --- barrier --- */

/* What is read on a worker, over an iterator. */
static bool shard_read_is_page(const struct shard_op *op)
{
	return ns_is_scan(op->tag) || op->tag == RPC_TAG_check_bytes;
}

static void shard_read_begin(struct shard_op *op, uint64_t lease_term)
{
	op->lease_term = lease_term;
	op->state = shard_read_is_page(op) ? OP_SYNC : OP_READ;
}

static void shard_read_passed(struct raft_barrier *b, uint32_t status)
{
	struct shard_op *op = CONTAINER_OF(b, struct shard_op, barrier);

	if (op->set->closing)
		return;
	if (status != RPC_STATUS_OK) {
		shard_read_end(op, status);
		return;
	}
	shard_read_begin(op, 0);
	shard_read_step(op);
}

/* True when the op may read now. */
static bool shard_read_barrier(struct shard_op *op)
{
	if (raft_group_can_read(op->g->raft)) {
		shard_read_begin(op, raft_group_term(op->g->raft));
		return true;
	}
	op->state = OP_BARRIER;
	op->barrier.done = shard_read_passed;
	raft_group_barrier(op->g->raft, &op->barrier);
	return false;
}

/*
 * The rows were read. False: not under the lease; the op goes through a
 * barrier and will be stepped. Or it ended, as the rows are others now.
 */
static bool shard_read_current(struct shard_op *op)
{
	const struct raft_group *raft = op->g->raft;

	if (shard_op_outdated(op)) {
		shard_read_end(op, RPC_STATUS_NOT_LEADER);
		return false;
	}
	if (op->lease_term == 0 || (raft_group_can_read(raft) &&
				    raft_group_term(raft) == op->lease_term))
		return true;
	op->set->stats.late_reads++;
	ns_answer_fini(&op->answer);
	ns_answer_init(&op->answer);
	if (op->txn != NULL)
		rows_txn_rewind(op->txn);
	/* no second lease: the op would never end on a machine that pauses */
	op->state = OP_BARRIER;
	op->barrier.done = shard_read_passed;
	raft_group_barrier(op->g->raft, &op->barrier);
	return false;
}

/* --- page reads --- */

static void shard_scan_run(struct env_work *work)
{
	struct shard_op *op = CONTAINER_OF(work, struct shard_op, work);
	int rv = ns_scan(op->set->config.back, op->g->id, op->tag,
			 op->payload.p, op->payload.len, &op->answer);

	op->status = rv == 0 ? op->answer.status : rpc_status_from_errno(rv);
}

static void shard_scan_done(struct env_work *work)
{
	struct shard_op *op = CONTAINER_OF(work, struct shard_op, work);

	if (!shard_read_current(op))
		return;
	if (op->status == RPC_STATUS_LOCKED)
		shard_lock_wait(op, op->answer.holder, OP_OPEN_WAIT);
	else
		shard_read_end(op, op->status);
}

static void shard_scan_synced(void *arg, int status)
{
	struct shard_op *op = arg;

	if (status != 0)
		fatal_abort("shard=%u: rows cannot be written: %s", op->g->id,
			    strerror(-status));
	op->state = OP_SCAN;
	op->set->stats.scans++;
	op->work.run = op->tag == RPC_TAG_check_bytes ? shard_fsck_run
						      : shard_scan_run;
	op->work.done = shard_scan_done;
	env_work(op->set->env, &op->work);
}

/* --- point reads --- */

/* The namespace counts files; the bytes are those of the disk. */
static uint32_t shard_read_statfs(struct shard_op *op)
{
	const struct shard_config *config = &op->set->config;
	struct buf *b = &op->answer.payload;
	struct rpc_statfs_rsp rsp;

	if (config->space == NULL ||
	    rpc_statfs_rsp_decode(&rsp, b->data, b->len) != 0)
		return RPC_STATUS_OK;
	config->space(config->arg, &rsp.total, &rsp.avail);
	buf_reset(b);
	return rpc_status_from_errno(rpc_statfs_rsp_encode(&rsp, b));
}

/* The rows say committed or nothing; who is under way, this leader knows. */
static uint32_t shard_read_txn(struct shard_op *op)
{
	struct buf *b = &op->answer.payload;
	struct rpc_txn_ask_rsp rsp;
	struct rpc_txn_ask m;

	if (rpc_txn_ask_decode(&m, op->payload.p, op->payload.len) != 0 ||
	    rpc_txn_ask_rsp_decode(&rsp, b->data, b->len) != 0 ||
	    rsp.state != RPC_TXN_ABORTED || !shard_far_pending(op->g, m.txn))
		return RPC_STATUS_OK;
	rsp.state = RPC_TXN_PENDING;
	buf_reset(b);
	return rpc_status_from_errno(rpc_txn_ask_rsp_encode(&rsp, b));
}

/* True when the op goes on in this turn. */
static bool shard_read_point(struct shard_op *op)
{
	const struct ns_cmd c = shard_op_cmd(op);
	uint32_t status;
	int rv;

	if (shard_op_outdated(op)) {
		shard_read_end(op, RPC_STATUS_NOT_LEADER);
		return false;
	}
	if (shard_op_txn(op) == NULL) {
		shard_read_end(op, RPC_STATUS_NOMEM);
		return false;
	}
	ns_answer_fini(&op->answer);
	ns_answer_init(&op->answer);
	rv = ns_read(op->txn, &c, &op->answer);
	if (rv == -EAGAIN) {
		shard_op_load(op);
		return false;
	}
	if (rv != 0) {
		log_warn(rv, "shard=%u message=%u: cannot be read", op->g->id,
			 op->tag);
		shard_read_end(op, rpc_status_from_errno(rv));
		return false;
	}
	if (!shard_read_current(op))
		return false;
	status = op->answer.status;
	if (status == RPC_STATUS_LOCKED) {
		rows_txn_rewind(op->txn);
		shard_lock_wait(op, op->answer.holder, OP_OPEN_WAIT);
		return false;
	}
	if (status == RPC_STATUS_OK && op->open && shard_read_reopen(op))
		return false;
	status = op->answer.status;
	if (status == RPC_STATUS_OK && op->tag == RPC_TAG_statfs)
		status = shard_read_statfs(op);
	if (status == RPC_STATUS_OK && op->tag == RPC_TAG_txn_ask)
		status = shard_read_txn(op);
	if (status != RPC_STATUS_OK || op->answer.n_values == 0) {
		shard_read_end(op, status);
		return false;
	}
	op->state = OP_VALUES;
	return true;
}

void shard_read_step(struct shard_op *op)
{
	const struct wire_u128 nobody = { 0, 0 }; /* that is: everybody */
	uint32_t status;

	for (;;) {
		switch (op->state) {
		case OP_START:
			op->set->stats.reads++;
			status = shard_read_open(op);
			if (status != RPC_STATUS_OK) {
				shard_read_end(op, status);
				return;
			}
			op->state = OP_OPEN_WAIT;
			if (op->registered && shard_flight_wait(op))
				return;
			continue;
		case OP_OPEN_WAIT:
			if (!shard_read_barrier(op))
				return;
			continue;
		case OP_READ:
			if (!shard_read_point(op))
				return;
			continue;
		case OP_VALUES:
			switch (shard_values_start(op)) {
			case SHARD_VALUES_AGAIN:
				continue;
			case SHARD_VALUES_DONE:
				shard_read_end(op, op->status);
				return;
			default:
				return;
			}
		case OP_SYNC:
			if (!op->passed && op->g->locks->n > 0) {
				op->passed = true;
				shard_lock_wait(op, nobody, OP_OPEN_WAIT);
				return;
			}
			if (rows_sync(op->set->rows, shard_scan_synced, op) != 0)
				shard_read_end(op, RPC_STATUS_NOMEM);
			return;
		default:
			assert(false);
		}
	}
}
