/*
 * Compaction of a store: its driver with its heads, the sweep of orphans, and
 * what managers ask of it. Loop 0, where messages for a store come to.
 */
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "storaged/store_impl.h"

static void compact_on_space(void *arg, uint64_t *ret_avail,
			     uint64_t *ret_reserve)
{
	struct store *s = arg;

	/* the file is of the reserve */
	*ret_avail = s->space.avail + s->space.kept;
	*ret_reserve = space_reserve(s->space.total);
}

static int store_orphans_open(struct store *s,
			      const struct store_config *config,
			      struct errbuf *e)
{
	const struct orphans_config oc = {
		.env = s->loops[0].env,
		.store = s->chunks,
		.chunks = s->loops[0].chunks,
		.send = config->send,
		.arg = config->send_arg,
		.period_ns = config->orphans_period_ns,
		.grace_ns = config->orphans_grace_ns,
	};
	int rv = orphans_new(&oc, &s->orphans);

	return rv == 0 ? 0 : errbuf_set(e, rv, "out of memory");
}

int store_compact_open(struct store *s, const struct store_config *config,
		       struct errbuf *e)
{
	const struct compact_config cc = {
		.env = s->loops[0].env,
		.rate = config->compact_rate,
		.threshold = config->compact_threshold,
		.min_dead = config->compact_min_dead,
		.space = compact_on_space,
		.arg = s,
	};
	struct compact_head bulk;
	int rv = compact_new(&cc, &s->compact);

	if (rv == 0)
		rv = chunk_clean_new(s->loops[0].chunks, &bulk);
	if (rv != 0)
		return errbuf_set(e, rv, "out of memory");
	compact_add_head(s->compact, &bulk);
	return config->send != NULL ? store_orphans_open(s, config, e) : 0;
}

int store_compact_start(struct store *s, struct errbuf *e)
{
	struct log_clean_loop *loops = mem_calloc(s->n_loops, sizeof *loops);
	struct log_clean_config lc = {
		.loops = loops, .n_loops = s->n_loops,
		.log = s->log, .port = s->loops[0].log_port,
	};
	struct compact_head head;
	int rv = loops == NULL ? -ENOMEM : 0;

	for (unsigned i = 0; i < s->n_loops && rv == 0; i++)
		loops[i] = (struct log_clean_loop){ s->loops[i].env,
						    s->loops[i].set };
	if (rv == 0)
		rv = log_clean_new(&lc, &s->log_clean, &head);
	mem_free(loops);
	if (rv != 0)
		return errbuf_set(e, rv, "out of memory");
	compact_add_head(s->compact, &head);
	return 0;
}

void store_heads(struct store *s, struct wire_vec *v)
{
	const struct compact *c = s->compact;

	for (unsigned i = 0; i < compact_heads(c); i++) {
		struct compact_stat st;
		struct wire_writer w;
		struct wire_bytes text;
		const char *name;

		compact_head_stat(c, i, &name, &st);
		text = wire_cstr(name);
		w = wire_vec_add(v);
		wire_put_str(&w, &text);
		wire_put_u64(&w, &st.segments);
		wire_put_u64(&w, &st.bytes);
		wire_put_u64(&w, &st.live);
	}
}

/* RPC_STATUS_*: what became of it. */
static uint32_t compact_act(struct compact *c,
			    const struct rpc_store_compact *m)
{
	switch (m->action) {
	case RPC_COMPACT_LOOK:
		return RPC_STATUS_OK;
	case RPC_COMPACT_START:
		return compact_start(c, m->max > 0 ? m->max : UINT64_MAX) == 0 ?
			       RPC_STATUS_OK :
			       RPC_STATUS_SUSPENDED;
	case RPC_COMPACT_SUSPEND:
		compact_suspend(c);
		return RPC_STATUS_OK;
	case RPC_COMPACT_RESUME:
		compact_resume(c);
		return RPC_STATUS_OK;
	default:
		return RPC_STATUS_INVAL;
	}
}

void store_compact_rpc(void *arg, struct rpc_req *req)
{
	struct store *s = arg;
	struct rpc_store_compact_rsp rsp = { 0 };
	struct rpc_store_compact m;
	struct compact_info info;
	struct wire_vec v;
	struct buf payload;
	uint32_t status;

	if (rpc_store_compact_decode(&m, req->payload, req->payload_len) != 0) {
		rpc_reply_error(req, RPC_STATUS_BADMSG, 0, NULL);
		return;
	}
	if (!s->loops[0].serving) {
		rpc_reply_error(req, RPC_STATUS_UNAVAILABLE, 0,
				"the store is starting");
		return;
	}
	status = compact_act(s->compact, &m);
	if (status != RPC_STATUS_OK) {
		rpc_reply_error(req, status, 0, NULL);
		return;
	}
	compact_get_info(s->compact, &info);
	wire_vec_init(&v);
	store_heads(s, &v);
	rsp.state = (uint8_t)info.state;
	rsp.why = (uint8_t)info.why;
	rsp.started = info.started;
	rsp.ended = info.ended;
	rsp.targets = info.targets;
	rsp.pending = info.pending;
	rsp.ongoing = info.ongoing;
	rsp.out = info.out;
	rsp.kept = info.kept;
	rsp.status = rpc_status_from_errno(info.err);
	rsp.copied = info.copied;
	rsp.freed = info.freed;
	rsp.rate = info.rate;
	rsp.heads = wire_vec_bytes(&v);
	buf_init(&payload, 0);
	if (v.buf.err == 0 &&
	    rpc_store_compact_rsp_encode(&rsp, &payload) == 0)
		rpc_reply(req, &payload, NULL);
	else
		rpc_reply_error(req, RPC_STATUS_NOMEM, 0, NULL);
	buf_fini(&payload);
	wire_vec_fini(&v);
}
