/*
 * Answer slots: a mutation that comes again after a fail-over is answered
 * from here, not applied twice. A slot that is not there is a new one, or one
 * of a session that has ended.
 */
#include "storaged/ns_impl.h"

#include <errno.h>

static void ns_slot_key(struct ns_ctx *x, const struct ns_slot *s,
			struct ns_key *k)
{
	ns_key_start(k, x->shard, NS_T_SLOT);
	ns_key_u64(k, s->client);
	ns_key_u32(k, s->slot);
}

int ns_slot_find(struct ns_ctx *x, struct ns_slot *s, bool *ret_done)
{
	struct ns_row_slot row;
	struct ns_key k;
	int rv;

	*ret_done = false;
	if (s->client == 0)
		return 0;
	ns_slot_key(x, s, &k);
	rv = ns_get_slot(x, ns_key_get(&k), &row);
	if (rv == -ENOENT)
		return ns_session_check(x, s->client);
	if (rv == -EAGAIN) /* one load for both */
		(void)ns_session_check(x, s->client);
	if (rv != 0)
		return rv;
	if (s->seq > row.seq)
		return 0;
	if (s->seq < row.seq)
		return RPC_STATUS_BADMSG;
	*ret_done = x->a->repeated = true;
	x->a->status = row.status;
	buf_add(&x->a->payload, row.payload.p, row.payload.len);
	return x->a->payload.err;
}

int ns_slot_save(struct ns_ctx *x, const struct ns_slot *s)
{
	struct ns_row_slot row = {
		.seq = s->seq,
		.status = x->a->status,
		.payload = wire_bytes(x->a->payload.data, x->a->payload.len),
	};
	struct ns_key k;

	if (s->client == 0)
		return 0;
	ns_slot_key(x, s, &k);
	return ns_put_slot(x, ns_key_get(&k), &row);
}
