/*
 * STORE_SLICES: which slices have chunks here, for the recount of the managers.
 * Loop 0, where messages for a store come to; a worker walks the index.
 */
#include <errno.h>

#include "common/base/mem.h"
#include "storaged/store_impl.h"

#define SLICES_MAX 256u /* as many as may be asked about in one message */

struct store_slices {
	struct store *store;
	struct rpc_req *req;
	struct wire_u128 from, next;
	uint32_t old, swept;
	struct wire_vec list;
	int rv; /* of the worker */
	struct env_work work;
};

static int slices_add(struct store_slices *l, struct wire_u128 slice)
{
	struct wire_writer w;
	uint32_t chunks;
	uint64_t bytes;
	int rv = chunk_store_slice(l->store->chunks, slice, &chunks, &bytes);

	if (rv != 0 || chunks == 0) /* dropped just now */
		return rv;
	w = wire_vec_add(&l->list);
	wire_put_u128(&w, &slice);
	wire_put_u32(&w, &chunks);
	wire_put_u64(&w, &bytes);
	return l->list.buf.err;
}

static void slices_run(struct env_work *work)
{
	struct store_slices *l = CONTAINER_OF(work, struct store_slices, work);
	struct wire_u128 slices[SLICES_MAX];
	unsigned n;

	l->rv = chunk_store_slices(l->store->chunks, l->from, l->old,
				   SLICES_MAX, slices, &n, &l->next);
	for (unsigned i = 0; l->rv == 0 && i < n; i++)
		l->rv = slices_add(l, slices[i]);
}

static void slices_ran(struct env_work *work)
{
	struct store_slices *l = CONTAINER_OF(work, struct store_slices, work);
	struct rpc_store_slices_rsp rsp = { .next = l->next,
					    .swept = l->swept,
					    .slices = wire_vec_bytes(&l->list) };
	struct buf payload;

	buf_init(&payload, 0);
	if (l->rv == 0)
		l->rv = rpc_store_slices_rsp_encode(&rsp, &payload);
	if (l->rv == 0)
		rpc_reply(l->req, &payload, NULL);
	else
		rpc_reply_error(l->req, rpc_status_from_errno(l->rv), 0, NULL);
	buf_fini(&payload);
	wire_vec_fini(&l->list);
	mem_free(l);
}

static int slices_begin(struct store *s, struct rpc_req *req)
{
	struct rpc_store_slices m;
	struct orphans_stats st;
	struct store_slices *l;

	if (s->orphans == NULL)
		return -ENOTSUP;
	if (rpc_store_slices_decode(&m, req->payload, req->payload_len) != 0)
		return -EBADMSG;
	l = mem_zalloc(sizeof *l);
	if (l == NULL)
		return -ENOMEM;
	orphans_stats(s->orphans, &st);
	l->store = s;
	l->req = req;
	l->from = m.from;
	l->old = st.old;
	l->swept = st.swept;
	wire_vec_init(&l->list);
	l->work.run = slices_run;
	l->work.done = slices_ran;
	env_work(s->loops[0].env, &l->work);
	return 0;
}

void store_slices_rpc(void *arg, struct rpc_req *req)
{
	struct store *s = arg;
	int rv;

	if (!s->loops[0].serving) {
		rpc_reply_error(req, RPC_STATUS_UNAVAILABLE, 0,
				"the store is starting");
		return;
	}
	rv = slices_begin(s, req);
	if (rv != 0)
		rpc_reply_error(req, rpc_status_from_errno(rv), 0, NULL);
}
