/*
 * CLOSE: takes the open away; an inode that had no name and no other open is
 * then given up by a command (NS_DECIDE_LAST).
 *
 *   CLOSE_WAIT -> CLOSE_LOOK -> finish, or DECIDE of shard_write.c
 *
 * CLOSE_WAIT waits for commands that were decided while the inode was open:
 * one of them may take its last name. When a new leader does not know yet who
 * else has it open, nothing is given up: the sweep does it.
 */
#include "storaged/shard_impl.h"

#include <errno.h>

/* The open goes; true when others are left or the inode is not ours to say. */
static bool shard_close_table(struct shard_op *op)
{
	struct rpc_close m;

	if (rpc_close_decode(&m, op->payload.p, op->payload.len) != 0)
		return true; /* it was checked: not reached */
	op->open_id = (struct open_id){ m.ino, m.session, m.number,
					m.object != 0 };
	(void)opens_del(&op->g->opens, op->open_id);
	return opens_count(&op->g->opens, m.ino) > 0;
}

/* 0 with *ret_unlinked, -EAGAIN, -ENOMEM. */
static int shard_close_look(struct shard_op *op, bool *ret_unlinked)
{
	/* who holds it decides by the open table, as we left it */
	struct ns_cmd c = { .shard = op->g->id, .tag = RPC_TAG_getattr };
	struct rpc_getattr req = { .ino = op->open_id.ino };
	struct rpc_attr_rsp rsp;
	struct ns_answer a;
	struct buf b;
	int rv;

	if (shard_op_txn(op) == NULL)
		return -ENOMEM;
	buf_init(&b, 0);
	ns_answer_init(&a);
	*ret_unlinked = false;
	rv = rpc_getattr_encode(&req, &b);
	c.payload = b.data;
	c.len = b.len;
	if (rv == 0)
		rv = ns_read(op->txn, &c, &a);
	if (rv == 0 && a.status == RPC_STATUS_OK &&
	    rpc_attr_rsp_decode(&rsp, a.payload.data, a.payload.len) == 0)
		*ret_unlinked = (rsp.attr.flags & WIRE_ATTR_UNLINKED) != 0;
	ns_answer_fini(&a);
	buf_fini(&b);
	return rv;
}

static void shard_close_ok(struct shard_op *op)
{
	struct rpc_empty_rsp rsp = { 0 };

	if (rpc_empty_rsp_encode(&rsp, &op->answer.payload) != 0)
		shard_op_finish(op, RPC_STATUS_NOMEM);
	else
		shard_op_finish(op, RPC_STATUS_OK);
}

void shard_close_step(struct shard_op *op)
{
	bool unlinked;
	int rv;

	if (op->state == OP_CLOSE_WAIT) {
		if (shard_close_table(op) || shard_in_grace(op->g)) {
			shard_close_ok(op);
			return;
		}
		op->state = OP_CLOSE_LOOK;
		if (shard_flight_wait(op))
			return;
	}
	rv = shard_close_look(op, &unlinked);
	if (rv == -EAGAIN) {
		shard_op_load(op);
		return;
	}
	if (rv != 0) {
		shard_op_finish(op, rpc_status_from_errno(rv));
		return;
	}
	if (!unlinked ||
	    opens_count(&op->g->opens, op->open_id.ino) > 0) {
		shard_close_ok(op);
		return;
	}
	rows_txn_reset(op->txn);
	op->decisions = NS_DECIDE_LAST;
	op->flight = SHARD_FLIGHT_VICTIM;
	op->state = OP_SUBMIT;
	shard_write_step(op);
}
