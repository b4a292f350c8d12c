/*
 * SYNC: what was acknowledged is durable when it ends.
 *
 * Happy path: nothing is loose -> done. Else a SEG_NONE that makes a sync ->
 * done. A group of several voters has nothing loose: all it acknowledged is
 * durable where it counted.
 *
 * Failure modes: the sync fails: the process stops, and whoever waits hears of
 * it from the connection. The process stopped since: what a kill leaves is
 * there, and durable since the log was recovered.
 */
#include "storaged/shard_impl.h"

static void shard_sync_done(struct seg_append *a)
{
	struct shard_op *op = CONTAINER_OF(a, struct shard_op, sync);

	shard_op_step(op);
}

void shard_sync_step(struct shard_op *op)
{
	struct rpc_empty_rsp rsp = { 0 };
	struct shard_set *set = op->set;

	if (op->state == OP_START && seg_head_is_loose(set->log)) {
		op->state = OP_LOG;
		op->sync = (struct seg_append){ .type = SEG_NONE,
						.done = shard_sync_done };
		seg_append(set->port, &op->sync);
		return;
	}
	if (rpc_empty_rsp_encode(&rsp, &op->answer.payload) != 0)
		shard_op_finish(op, RPC_STATUS_NOMEM);
	else
		shard_op_finish(op, RPC_STATUS_OK);
}
