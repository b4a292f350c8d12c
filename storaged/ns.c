/*
 * The door of the namespace: command header, dispatch, answer slots.
 *
 * Happy path of a command: decode -> slot -> operation -> flush -> slot row.
 * Failure modes: refused by the operation: its writes are dropped, the answer
 * and the slot row stay. A row is missing: -EAGAIN, nothing is kept. A row
 * cannot be true, or no memory: nothing is written, the process must stop.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

#define NS_CMD_VERSION 1

int ns_cmd_encode(struct buf *out, const struct ns_cmd *c)
{
	struct wire_writer w = { out };
	const uint8_t version = NS_CMD_VERSION;

	wire_put_u8(&w, &version);
	wire_put_u16(&w, &c->tag);
	wire_put_u32(&w, &c->decisions);
	wire_put_i64(&w, &c->now);
	wire_put_u64(&w, &c->seed);
	if (c->decisions & NS_DECIDE_PLACE)
		wire_put_u16(&w, &c->place);
	if (c->decisions & NS_DECIDE_FAR) {
		wire_put_u128(&w, &c->txn);
		wire_put_blob(&w, &c->far);
	}
	if (c->len > 0)
		buf_add(out, c->payload, c->len);
	return out->err;
}

int ns_cmd_decode(struct ns_cmd *c, const uint8_t *data, size_t len,
		  uint64_t gen, uint64_t data_off)
{
	struct wire_reader r = { .p = data, .left = len };
	uint8_t version;

	if (len < NS_CMD_HEADER)
		return -EBADMSG;
	wire_get_u8(&r, &version);
	if (version != NS_CMD_VERSION)
		return -EBADMSG;
	*c = (struct ns_cmd){ .gen = gen };
	wire_get_u16(&r, &c->tag);
	wire_get_u32(&r, &c->decisions);
	wire_get_i64(&r, &c->now);
	wire_get_u64(&r, &c->seed);
	if (c->decisions & NS_DECIDE_PLACE)
		wire_get_u16(&r, &c->place);
	if (c->decisions & NS_DECIDE_FAR) {
		wire_get_u128(&r, &c->txn);
		wire_get_blob(&r, &c->far);
	}
	c->payload = r.p;
	c->len = r.left;
	c->payload_off = data_off + (len - r.left);
	return r.err;
}

void ns_answer_init(struct ns_answer *a)
{
	memset(a, 0, sizeof(*a));
	buf_init(&a->payload, 0);
	wire_vec_init(&a->far);
}

void ns_answer_fini(struct ns_answer *a)
{
	mem_free(a->values);
	buf_fini(&a->payload);
	wire_vec_fini(&a->far);
	a->values = NULL;
	a->n_values = 0;
}

static void ns_answer_reset(struct ns_answer *a, uint32_t status)
{
	buf_reset(&a->payload);
	a->n_values = 0;
	a->queued = false;
	a->grown.n = 0;
	a->large.entries = 0;
	a->n_maps = 0;
	a->kept = 0;
	a->status = status;
	a->repeated = a->txn = false;
}

/* --- dispatch --- */

struct ns_op {
	uint16_t tag;
	int (*run)(struct ns_ctx *x, const void *payload, size_t len);
};

#define NS_OP_RUN(name) \
	static int ns_run_##name(struct ns_ctx *x, const void *payload, \
				 size_t len) \
	{ \
		struct rpc_##name m; \
		if (rpc_##name##_decode(&m, payload, len) != 0) \
			return RPC_STATUS_BADMSG; \
		return ns_do_##name(x, &m); \
	}
NS_OPS_W(NS_OP_RUN)
NS_OPS_R(NS_OP_RUN)

#define NS_OP_ROW(name) { RPC_TAG_##name, ns_run_##name },
static const struct ns_op ns_ops_w[] = { NS_OPS_W(NS_OP_ROW) };
static const struct ns_op ns_ops_r[] = { NS_OPS_R(NS_OP_ROW) };
#define NS_COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct ns_op *ns_op_find(const struct ns_op *ops, size_t n,
				      uint16_t tag)
{
	for (size_t i = 0; i < n; i++)
		if (ops[i].tag == tag)
			return &ops[i];
	return NULL;
}

/* --- commands --- */

static int ns_slot_of(const struct ns_cmd *c, struct ns_slot *s)
{
	struct wire_reader r = { .p = c->payload, .left = c->len };

	if (c->len < 20)
		return -EBADMSG;
	wire_get_u64(&r, &s->client);
	wire_get_u32(&r, &s->slot);
	wire_get_u64(&r, &s->seq);
	s->again = s->seq & RPC_SEQ_AGAIN;
	s->seq &= ~RPC_SEQ_AGAIN;
	return 0;
}

/*
 * What a run comes to: all that it misses of this shard is loaded first, so
 * that the rest is the same on all replicas.
 */
static int ns_outcome(struct ns_ctx *x, int rv)
{
	if (rows_txn_needs(x->t) || (rv < 0 && rv != -EAGAIN))
		return rv < 0 ? rv : -EAGAIN;
	if (x->blocked)
		return RPC_STATUS_LOCKED;
	if (ns_far_needs(x))
		return RPC_STATUS_FAR;
	return rv;
}

/* The answer of a refused or diverted run. 0 or -ENOMEM. */
static int ns_answer_status(struct ns_ctx *x, int status)
{
	ns_answer_reset(x->a, (uint32_t)status);
	switch (status) {
	case RPC_STATUS_LOCKED:
		x->a->holder = x->holder;
		return 0;
	case RPC_STATUS_FAR:
		return x->far == NULL ? 0 : ns_far_needs_move(x, &x->a->far);
	case RPC_STATUS_ELSEWHERE:
		return rpc_error_rsp_encode(&x->where, &x->a->payload);
	default:
		return 0;
	}
}

/* Runs op and writes; a refusal leaves no writes behind. */
static int ns_run(struct ns_ctx *x, const struct ns_op *op)
{
	int rv;

	/* of another term: its locks may have been given back meanwhile */
	if (x->cmd->decisions & NS_DECIDE_FAR &&
	    ((x->txn.hi ^ x->cmd->term) & NS_TXN_TERM_MASK) != 0)
		return ns_answer_status(x, RPC_STATUS_FAR);
	rv = op->run(x, x->cmd->payload, x->cmd->len);

	if (rv == 0)
		rv = ns_ctx_flush(x);
	rv = ns_outcome(x, rv);
	if (rv <= 0)
		return rv;
	rows_txn_reset(x->t);
	return ns_answer_status(x, rv);
}

/* Of what leaves no trace the slot knows nothing. */
static bool ns_is_kept(const struct ns_ctx *x, const struct ns_slot *slot)
{
	switch (x->a->status) {
	case RPC_STATUS_LOCKED:
	case RPC_STATUS_FAR:
		return false;
	case RPC_STATUS_ELSEWHERE:
		return slot->again;
	default:
		return true;
	}
}

static int ns_apply_slot(struct ns_ctx *x, const struct ns_op *op,
			 struct ns_slot *slot)
{
	bool done;
	int rv = ns_slot_find(x, slot, &done);

	if (rv == -EAGAIN) /* not known yet: ask for the other rows as well */
		(void)op->run(x, x->cmd->payload, x->cmd->len);
	if (rv > 0) {
		ns_answer_reset(x->a, (uint32_t)rv);
		return 0;
	}
	if (rv != 0 || done)
		return rv;
	rv = ns_run(x, op);
	return rv != 0 || !ns_is_kept(x, slot) ? rv : ns_slot_save(x, slot);
}

int ns_apply(struct rows_txn *t, const struct ns_cmd *c, struct ns_answer *a)
{
	const struct ns_op *op = ns_op_find(ns_ops_w, NS_COUNT(ns_ops_w),
					    c->tag);
	struct ns_slot slot;
	struct ns_ctx x;
	int rv;

	ns_answer_reset(a, RPC_STATUS_OK);
	if (op == NULL || ns_slot_of(c, &slot) != 0) {
		a->status = op == NULL ? RPC_STATUS_UNKNOWN_MSG
				       : RPC_STATUS_BADMSG;
		return 0;
	}
	ns_ctx_init(&x, t, c->shard, c, a);
	rv = ns_apply_slot(&x, op, &slot);
	ns_ctx_fini(&x);
	if (rv != 0) {
		ns_answer_reset(a, RPC_STATUS_IO);
		if (rv != -EAGAIN)
			rows_txn_reset(t);
	}
	return rv;
}

/* --- reads --- */

int ns_read(struct rows_txn *t, const struct ns_cmd *c, struct ns_answer *a)
{
	const struct ns_op *op = ns_op_find(ns_ops_r, NS_COUNT(ns_ops_r),
					    c->tag);
	struct ns_ctx x;
	int rv;

	ns_answer_reset(a, RPC_STATUS_OK);
	if (op == NULL) {
		a->status = RPC_STATUS_UNKNOWN_MSG;
		return 0;
	}
	ns_ctx_init(&x, t, c->shard, NULL, a);
	x.locks = c->locks;
	rv = ns_outcome(&x, op->run(&x, c->payload, c->len));
	if (rv > 0)
		rv = ns_answer_status(&x, rv);
	else if (rv < 0)
		ns_answer_reset(a, RPC_STATUS_IO);
	ns_ctx_fini(&x);
	return rv;
}

/* --- pages --- */

bool ns_is_scan(uint16_t tag)
{
#define NS_SCAN_CASE(name) case RPC_TAG_##name:
	switch (tag) {
	NS_OPS_SCAN(NS_SCAN_CASE)
		return true;
	default:
		return false;
	}
}

#define NS_SCAN_RUN(name) \
	static int ns_page_##name(struct rows_back *back, uint16_t shard, \
				  const void *payload, size_t len, \
				  struct ns_answer *a) \
	{ \
		struct rpc_##name m; \
		if (rpc_##name##_decode(&m, payload, len) != 0) \
			return RPC_STATUS_BADMSG; \
		return ns_scan_##name(back, shard, &m, a); \
	}
NS_OPS_SCAN(NS_SCAN_RUN)

int ns_scan(struct rows_back *back, uint16_t shard, uint16_t tag,
	    const void *payload, size_t len, struct ns_answer *a)
{
	int rv = RPC_STATUS_UNKNOWN_MSG;

	ns_answer_reset(a, RPC_STATUS_OK);
#define NS_SCAN_ROW(name) \
	if (tag == RPC_TAG_##name) \
		rv = ns_page_##name(back, shard, payload, len, a);
	NS_OPS_SCAN(NS_SCAN_ROW)
	if (rv == -EMSGSIZE) /* names too long for one answer: ask for less */
		rv = RPC_STATUS_RANGE;
	if (rv != 0)
		ns_answer_reset(a, rv > 0 ? (uint32_t)rv : RPC_STATUS_IO);
	return rv > 0 ? 0 : rv;
}
