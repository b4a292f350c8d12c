/*
 * Requests of peers for shards and chunks. A request for group g runs on loop
 * g % loops, as routed; its payload is borrowed until the reply. What goes
 * through the log is copied once, into the command.
 */
#include "storaged/store_impl.h"

#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

#define STORE_DROP_MAX 256u /* slices of one message */

static unsigned store_route(void *arg, uint16_t tag, uint16_t group)
{
	struct store *s = arg;

	(void)tag;
	return group % s->n_loops;
}

/* Messages that add bytes; all others go on working on a full disk. */
static bool store_adds(uint16_t tag)
{
	switch (tag) {
	case RPC_TAG_mknod:
	case RPC_TAG_link:
	case RPC_TAG_setxattr:
	case RPC_TAG_write:
	case RPC_TAG_put:
	case RPC_TAG_mpu_create:
	case RPC_TAG_mpu_part:
	case RPC_TAG_mpu_complete:
	case RPC_TAG_root_create:
	case RPC_TAG_chunk_put:
		return true;
	default:
		return false;
	}
}

static struct store_loop *store_loop_of(struct store *s,
					const struct rpc_req *req)
{
	return &s->loops[req->group % s->n_loops];
}

/*
 * What adds bytes needs room here and, in a shard, with a majority of voters.
 * A store that does not lead it (any more) says so instead: who does may have
 * what is missing here.
 */
static bool store_has_room(const struct store *s, const struct store_loop *l,
			   const struct rpc_req *req)
{
	const struct raft_group *g;

	if (!store_adds(req->tag))
		return true;
	if (req->tag == RPC_TAG_chunk_put)
		return !s->space.full;
	g = shard_group(l->set, req->group);
	if (g == NULL || !raft_group_is_leader(g) ||
	    raft_group_leader(g) != s->super.raft_id)
		return true;
	return !s->space.full && raft_group_has_room(g);
}

/* 0 when the request may go on; else it was answered. */
static int store_refuse(struct store *s, const struct store_loop *l,
			struct rpc_req *req)
{
	if (!l->serving) {
		rpc_reply_error(req, RPC_STATUS_UNAVAILABLE, 0,
				"the store is starting");
		return -EAGAIN;
	}
	if (!store_has_room(s, l, req)) {
		rpc_reply_error(req, RPC_STATUS_NOSPC, 0, NULL);
		return -ENOSPC;
	}
	return 0;
}

/* --- shards --- */

static void store_shard_done(void *arg, uint32_t status, struct buf *payload,
			     struct body *body)
{
	struct rpc_req *req = arg;
	struct store_loop *l = req->user;
	uint64_t hint = 0;

	if (status == RPC_STATUS_OK) {
		rpc_reply(req, payload, body);
		return;
	}
	body_unref(body);
	if (status == RPC_STATUS_ELSEWHERE) {
		rpc_reply_status(req, status, payload);
		return;
	}
	if (status == RPC_STATUS_NOT_LEADER) {
		struct raft_group *g = shard_group(l->set, req->group);

		hint = g != NULL ? raft_group_leader(g) : 0;
	}
	rpc_reply_error(req, status, hint, NULL);
}

static void store_on_shard(void *arg, struct rpc_req *req)
{
	struct store *s = arg;
	struct store_loop *l = store_loop_of(s, req);
	const struct shard_request request = {
		.group = req->group,
		.tag = req->tag,
		.loose = req->loose,
		.payload = wire_bytes(req->payload, req->payload_len),
		.done = store_shard_done,
		.arg = req,
	};
	int rv;

	if (store_refuse(s, l, req) != 0)
		return;
	req->user = l;
	rv = shard_call_request(l->set, &request);
	if (rv != 0)
		rpc_reply_error(req, rpc_status_from_errno(rv), 0, NULL);
}

/* Rows of a shard, for another member: the leader's log is too short for it. */
static void store_on_snap_get(void *arg, struct rpc_req *req)
{
	struct store *s = arg;
	struct store_loop *l = store_loop_of(s, req);
	int rv;

	if (store_refuse(s, l, req) != 0)
		return;
	req->user = l;
	rv = shard_snap_serve(l->set, req->group,
			      wire_bytes(req->payload, req->payload_len),
			      store_shard_done, req);
	if (rv != 0)
		rpc_reply_error(req, rpc_status_from_errno(rv), 0, NULL);
}

/* --- chunks --- */

static void store_chunk_done(void *arg, uint32_t status, struct body *body)
{
	struct rpc_empty_rsp rsp = { 0 };
	struct rpc_req *req = arg;
	struct buf payload;

	if (status != RPC_STATUS_OK) {
		rpc_reply_error(req, status, 0, NULL);
		return;
	}
	buf_init(&payload, 0);
	if (rpc_empty_rsp_encode(&rsp, &payload) != 0) {
		body_unref(body);
		rpc_reply_error(req, RPC_STATUS_NOMEM, 0, NULL);
	} else {
		rpc_reply(req, &payload, body);
	}
	buf_fini(&payload);
}

static void store_on_chunk_put(void *arg, struct rpc_req *req)
{
	struct store *s = arg;
	struct store_loop *l = store_loop_of(s, req);
	struct rpc_chunk_put m;
	int rv;

	if (store_refuse(s, l, req) != 0)
		return;
	rv = rpc_chunk_put_decode(&m, req->payload, req->payload_len);
	if (rv == 0)
		rv = chunk_put(l->chunks, m.slice, m.index, m.hash, req->body,
			       store_chunk_done, req);
	if (rv != 0)
		rpc_reply_error(req, rpc_status_from_errno(rv), 0, NULL);
}

static void store_on_chunk_get(void *arg, struct rpc_req *req)
{
	struct store *s = arg;
	struct store_loop *l = store_loop_of(s, req);
	struct rpc_chunk_get m;
	int rv;

	if (store_refuse(s, l, req) != 0)
		return;
	rv = rpc_chunk_get_decode(&m, req->payload, req->payload_len);
	if (rv == 0)
		rv = chunk_get(l->chunks, m.slice, m.index, m.off, m.len,
			       store_chunk_done, req);
	if (rv != 0)
		rpc_reply_error(req, rpc_status_from_errno(rv), 0, NULL);
}

static void store_drop_done(void *arg, uint32_t status)
{
	store_chunk_done(arg, status, NULL);
}

static void store_on_chunk_drop(void *arg, struct rpc_req *req)
{
	struct wire_u128 slices[STORE_DROP_MAX];
	struct store *s = arg;
	struct store_loop *l = store_loop_of(s, req);
	struct rpc_chunk_drop m;
	struct wire_reader r;
	uint32_t n = 0;
	int rv;

	if (store_refuse(s, l, req) != 0)
		return;
	rv = rpc_chunk_drop_decode(&m, req->payload, req->payload_len);
	r = wire_vec_reader(m.slices, &n);
	if (rv == 0 && n > STORE_DROP_MAX)
		rv = -EINVAL;
	for (uint32_t i = 0; rv == 0 && i < n; i++)
		wire_get_u128(&r, &slices[i]);
	if (rv == 0 && r.err != 0)
		rv = -EBADMSG;
	if (rv == 0)
		rv = chunk_drop(l->chunks, slices, n, store_drop_done, req);
	if (rv != 0)
		rpc_reply_error(req, rpc_status_from_errno(rv), 0, NULL);
}

static void store_check_done(void *arg, uint32_t status, uint32_t len)
{
	struct rpc_chunk_check_rsp rsp = { .len = len };
	struct rpc_req *req = arg;
	struct buf payload;

	buf_init(&payload, 0);
	if (status == RPC_STATUS_OK &&
	    rpc_chunk_check_rsp_encode(&rsp, &payload) != 0)
		status = RPC_STATUS_NOMEM;
	if (status == RPC_STATUS_OK)
		rpc_reply(req, &payload, NULL);
	else
		rpc_reply_error(req, status, 0, NULL);
	buf_fini(&payload);
}

static void store_on_chunk_check(void *arg, struct rpc_req *req)
{
	struct store *s = arg;
	struct store_loop *l = store_loop_of(s, req);
	struct rpc_chunk_check m;
	int rv;

	if (store_refuse(s, l, req) != 0)
		return;
	rv = rpc_chunk_check_decode(&m, req->payload, req->payload_len);
	if (rv == 0)
		rv = chunk_check(l->chunks, m.slice, m.index, m.read != 0,
				 store_check_done, req);
	if (rv != 0)
		rpc_reply_error(req, rpc_status_from_errno(rv), 0, NULL);
}

void store_rpc_register(struct store *s)
{
	const struct rpc_info *info;
	size_t n;

	rpc_server_identify(s->server, s->super.cluster, s->super.store);
	info = rpc_info_all(&n);
	for (size_t i = 0; i < n; i++)
		if (info[i].kind == 'R' || info[i].kind == 'W')
			rpc_server_handle(s->server, info[i].tag,
					  store_on_shard, s);
	rpc_server_handle(s->server, RPC_TAG_chunk_put, store_on_chunk_put, s);
	rpc_server_handle(s->server, RPC_TAG_chunk_get, store_on_chunk_get, s);
	rpc_server_handle(s->server, RPC_TAG_chunk_drop, store_on_chunk_drop,
			  s);
	rpc_server_handle(s->server, RPC_TAG_chunk_check, store_on_chunk_check,
			  s);
	rpc_server_handle(s->server, RPC_TAG_snap_get, store_on_snap_get, s);
	rpc_server_handle(s->server, RPC_TAG_store_compact, store_compact_rpc,
			  s);
	rpc_server_handle(s->server, RPC_TAG_store_slices, store_slices_rpc, s);
	rpc_server_route(s->server, 'R', store_route, s);
	rpc_server_route(s->server, 'W', store_route, s);
	rpc_server_route(s->server, 'C', store_route, s);
}
