#include "tests/unit/clientfix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

#include "common/ring/ring.h"

char fixture_addr[96];
static char fixture_dir[64];

struct env *env0(struct fixture *f)
{
	return loop_env(loop_set_get(f->loops, 0));
}

struct client *client0(struct fixture *f)
{
	return client_of(f->set, loop_set_get(f->loops, 0));
}

/* --- the fake manager --- */

int fixture_cluster(struct fixture *f, struct buf *out)
{
	struct ring_store rs = { .id = { 1, 2 }, .weight = 1 };
	struct cluster_store store = { .id = { 1, 2 }, .raft_id = 9,
				       .addr = wire_cstr(fixture_addr) };
	struct cluster_shard shard = { .shard = 3, .leader = 9 };
	struct cluster_bucket b[2] = {
		{ .id = 1, .name = wire_cstr("zoo"), .root = INO },
		{ .id = 2, .name = wire_cstr("abc"), .root = INO + 1 } };
	struct cluster_top top = { .version = f->version, .epoch = 5, .n = 1 };
	struct wire_vec stores, shards, buckets;
	struct buf ring;
	int rv;

	wire_vec_init(&stores);
	wire_vec_init(&shards);
	wire_vec_init(&buckets);
	buf_init(&ring, 0);
	(void)wire_vec_add(&stores);
	cluster_store_encode(&store, &stores.buf);
	(void)wire_vec_add(&shards);
	cluster_shard_encode(&shard, &shards.buf);
	for (unsigned i = 0; i < 2; i++) {
		(void)wire_vec_add(&buckets);
		cluster_bucket_encode(&b[i], &buckets.buf);
	}
	(void)ring_build_encoded(&rs, 1, 1, 5, &ring);
	top.stores = wire_vec_bytes(&stores);
	top.shards = wire_vec_bytes(&shards);
	top.buckets = wire_vec_bytes(&buckets);
	top.ring = wire_bytes(ring.data, ring.len);
	rv = cluster_top_encode(&top, out);
	wire_vec_fini(&stores);
	wire_vec_fini(&shards);
	wire_vec_fini(&buckets);
	buf_fini(&ring);
	return rv;
}

static void answer_get(struct fixture *f, struct rpc_req *req, uint64_t have)
{
	struct rpc_cluster_get_rsp rsp = { .version = f->version };
	struct buf blob, out;

	buf_init(&blob, 0);
	buf_init(&out, 0);
	if (have < f->version) {
		fixture_cluster(f, &blob);
		rsp.cluster = wire_bytes(blob.data, blob.len);
	}
	rpc_cluster_get_rsp_encode(&rsp, &out);
	buf_fini(&blob);
	rpc_reply(req, &out, NULL);
}

static void on_cluster_get(void *arg, struct rpc_req *req)
{
	struct fixture *f = arg;
	struct rpc_cluster_get m;

	f->gets++;
	rpc_cluster_get_decode(&m, req->payload, req->payload_len);
	if (m.have < f->version || m.wait_ms == 0)
		answer_get(f, req, m.have);
	else if (f->n_polls < 8)
		f->polls[f->n_polls++] = req;
	else
		rpc_reply_error(req, RPC_STATUS_BUSY, 0, NULL);
}

void fixture_bump(struct fixture *f)
{
	f->version++;
	while (f->n_polls > 0)
		answer_get(f, f->polls[--f->n_polls], 0);
}

static void on_session_open(void *arg, struct rpc_req *req)
{
	struct fixture *f = arg;
	struct rpc_session_open_rsp rsp = { .now_sec = 1000, .lease_ms = 300 };
	struct buf out;

	f->opens++;
	if (f->open_fail > 0) {
		f->open_fail--;
		rpc_reply_error(req, RPC_STATUS_UNAVAILABLE, 0, NULL);
		return;
	}
	rsp.session = ++f->session;
	buf_init(&out, 0);
	rpc_session_open_rsp_encode(&rsp, &out);
	rpc_reply(req, &out, NULL);
}

static void on_session_renew(void *arg, struct rpc_req *req)
{
	struct fixture *f = arg;

	f->renews++;
	if (f->expired > 0) {
		f->expired--;
		rpc_reply_error(req, RPC_STATUS_SESSION, 0, NULL);
		return;
	}
	rpc_reply(req, NULL, NULL);
}

/* --- the fake store --- */

static void on_getattr(void *arg, struct rpc_req *req)
{
	struct fixture *f = arg;
	struct rpc_attr_rsp rsp = { 0 };
	struct rpc_getattr m;
	struct buf out;

	if (f->at < f->n_script && f->script[f->at] != 0) {
		rpc_reply_error(req, f->script[f->at++], 0, NULL);
		return;
	}
	rpc_getattr_decode(&m, req->payload, req->payload_len);
	rsp.attr.ino = m.ino;
	rsp.attr.uid = req->group;
	rsp.attr.change = req->epoch;
	buf_init(&out, 0);
	rpc_attr_rsp_encode(&rsp, &out);
	rpc_reply(req, &out, NULL);
}

static void on_close(void *arg, struct rpc_req *req)
{
	struct fixture *f = arg;
	struct rpc_close m;

	rpc_close_decode(&m, req->payload, req->payload_len);
	if (f->n_seen < SEEN_MAX)
		f->seen[f->n_seen++] =
			(struct seen){ m.client, m.seq, m.slot };
	if (f->park && f->n_parked < 8)
		f->parked[f->n_parked++] = req;
	else if (f->at < f->n_script && f->script[f->at++] != 0)
		rpc_reply_error(req, f->script[f->at - 1], 0, NULL);
	else
		rpc_reply(req, NULL, NULL);
}

/* Elsewhere; there an outcome that is not known, then OK. */
static void on_delete(void *arg, struct rpc_req *req)
{
	struct rpc_error_rsp e = { .shard = 5, .at = 77, .skip = 2 };
	struct fixture *f = arg;
	struct rpc_delete m;
	struct buf b;

	rpc_delete_decode(&m, req->payload, req->payload_len);
	if (f->n_seen < SEEN_MAX)
		f->seen[f->n_seen++] =
			(struct seen){ m.client, m.seq, m.slot };
	if (f->n_seen == 1) {
		f->bad += req->group != 3 || m.at != 0;
		buf_init(&b, 0);
		rpc_error_rsp_encode(&e, &b);
		rpc_reply_status(req, RPC_STATUS_ELSEWHERE, &b);
		return;
	}
	f->bad += req->group != 5 || m.at != 77 || m.skip != 2 ||
		  !wire_bytes_eq(m.key, wire_cstr("a/key"));
	if (f->n_seen == 2)
		rpc_reply_error(req, RPC_STATUS_UNKNOWN_OUTCOME, 0, NULL);
	else
		rpc_reply(req, NULL, NULL);
}

static void on_chunk_put(void *arg, struct rpc_req *req)
{
	struct fixture *f = arg;
	struct rpc_chunk_put m;
	XXH128_hash_t h;

	rpc_chunk_put_decode(&m, req->payload, req->payload_len);
	if (f->put_fail > 0 && --f->put_fail == 0) {
		rpc_reply_error(req, RPC_STATUS_NOSPC, 0, NULL);
		return;
	}
	h = XXH3_128bits(req->body->data, req->body->len);
	if (h.high64 != m.hash.hi || h.low64 != m.hash.lo)
		f->bad_hashes++;
	if (f->n_chunks < CHUNKS_MAX) {
		f->chunks[f->n_chunks].slice = m.slice;
		f->chunks[f->n_chunks].index = m.index;
		f->chunks[f->n_chunks++].body = body_ref(req->body);
	}
	rpc_reply(req, NULL, NULL);
}

static void on_chunk_get(void *arg, struct rpc_req *req)
{
	struct fixture *f = arg;
	struct rpc_chunk_get m;

	rpc_chunk_get_decode(&m, req->payload, req->payload_len);
	for (unsigned i = 0; i < f->n_chunks; i++) {
		struct body *b = f->chunks[i].body, *out;

		if (f->chunks[i].slice.lo != m.slice.lo ||
		    f->chunks[i].slice.hi != m.slice.hi ||
		    f->chunks[i].index != m.index || m.off > b->len ||
		    m.len > b->len - m.off)
			continue;
		out = body_new(m.len);
		if (out == NULL)
			break;
		memcpy(out->data, b->data + m.off, m.len);
		out->len = m.len;
		rpc_reply(req, NULL, out);
		return;
	}
	rpc_reply_error(req, RPC_STATUS_NOENT, 0, NULL);
}

static void on_read(void *arg, struct rpc_req *req)
{
	struct fixture *f = arg;
	struct rpc_read_rsp rsp = { .attr.size = f->size };
	unsigned look = f->reads > 0 && f->n_ext[1] > 0;
	struct wire_vec vec;
	struct rpc_read m;
	struct buf out;

	f->reads++;
	if (f->read_status != 0) {
		rpc_reply_error(req, f->read_status, 0, NULL);
		return;
	}
	rpc_read_decode(&m, req->payload, req->payload_len);
	wire_vec_init(&vec);
	for (unsigned i = 0; i < f->n_ext[look]; i++) {
		const struct wire_extent *e = &f->ext[look][i];

		if (e->pos < m.off + f->cover && e->pos + e->len > m.off)
			wire_vec_add_extent(&vec, e);
	}
	rsp.extents = wire_vec_bytes(&vec);
	rsp.covered = f->cover;
	buf_init(&out, 0);
	rpc_read_rsp_encode(&rsp, &out);
	wire_vec_fini(&vec);
	rpc_reply(req, &out, f->inl == NULL ? NULL : body_ref(f->inl));
}

static void on_slice_drop(void *arg, struct rpc_req *req)
{
	struct fixture *f = arg;
	struct rpc_slice_drop m;
	struct wire_u128 id = { 0, 0 };
	struct wire_reader r;
	uint32_t n;

	if (rpc_slice_drop_decode(&m, req->payload, req->payload_len) != 0)
		abort();
	r = wire_vec_reader(m.slices, &n);
	wire_get_u128(&r, &id);
	if (n == 1 && r.err == 0 && slice_home(id) == 3 && req->group == 3)
		f->given_up++;
	rpc_reply(req, NULL, NULL);
}

/* --- fixture --- */

int fixture_serve(struct fixture *f)
{
	int rv = rpc_server_new(f->loops, &f->server);

	if (rv != 0)
		return rv;
	rpc_server_handle(f->server, RPC_TAG_cluster_get, on_cluster_get, f);
	rpc_server_handle(f->server, RPC_TAG_session_open, on_session_open, f);
	rpc_server_handle(f->server, RPC_TAG_session_renew, on_session_renew,
			  f);
	rpc_server_handle(f->server, RPC_TAG_getattr, on_getattr, f);
	rpc_server_handle(f->server, RPC_TAG_close, on_close, f);
	rpc_server_handle(f->server, RPC_TAG_delete, on_delete, f);
	rpc_server_handle(f->server, RPC_TAG_chunk_put, on_chunk_put, f);
	rpc_server_handle(f->server, RPC_TAG_chunk_get, on_chunk_get, f);
	rpc_server_handle(f->server, RPC_TAG_read, on_read, f);
	rpc_server_handle(f->server, RPC_TAG_slice_drop, on_slice_drop, f);
	return f->local ? 0 : rpc_server_listen(f->server, fixture_addr);
}

static void on_ready(void *arg, int status)
{
	struct fixture *f = arg;

	if (status != 0)
		f->bad++;
	f->start(f);
}

struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->version = 1;
	f->session = 76;
	f->n_loops = 1;
	return f;
}

void fixture_finish(struct fixture *f)
{
	env_timer_cancel(env0(f), &f->timer);
	loop_set_stop(f->loops);
}

void fixture_run(struct fixture *f, fixture_fn start)
{
	struct client_config config = { .manager = fixture_addr,
					.role = RPC_ROLE_GATEWAY,
					.kind = "test",
					.timeout_ms = f->timeout_ms };
	struct errbuf e;

	f->start = start;
	assert_int_equal(loop_set_new(f->n_loops, 1, &f->loops), 0);
	assert_int_equal(fixture_serve(f), 0);
	if (f->local) {
		config.local = fixture_addr;
		config.server = f->server;
	}
	config.loops = f->loops;
	assert_int_equal(client_set_new(&config, &f->set, &e), 0);
	client_set_start(f->set, on_ready, f);
	loop_set_run(f->loops);
	client_slice_free(f->slice);
	client_read_free(f->read);
	if (f->stop != NULL)
		f->stop(f);
	client_set_free(f->set);
	while (f->n_polls > 0)
		rpc_reply(f->polls[--f->n_polls], NULL, NULL);
	while (f->n_parked > 0)
		rpc_reply(f->parked[--f->n_parked], NULL, NULL);
	rpc_server_free(f->server);
	loop_set_free(f->loops);
	while (f->n_chunks > 0)
		body_unref(f->chunks[--f->n_chunks].body);
	body_unref(f->inl);
	free(f->data);
}

int fixture_begin(void)
{
	snprintf(fixture_dir, sizeof(fixture_dir), "/tmp/test_client.XXXXXX");
	if (mkdtemp(fixture_dir) == NULL)
		return -1;
	snprintf(fixture_addr, sizeof(fixture_addr), "unix:%s/s", fixture_dir);
	return 0;
}

int fixture_end(int rv)
{
	unlink(fixture_addr + 5);
	rmdir(fixture_dir);
	return rv;
}

/* --- calls --- */

void send_close(struct client *c, uint32_t ms, rpc_done_fn done, void *arg)
{
	struct rpc_close m = { .ino = INO };
	struct buf out;
	struct client_send send = { .tag = RPC_TAG_close, .shard = 3,
				    .payload = &out, .timeout_ms = ms,
				    .done = done, .arg = arg };

	buf_init(&out, 0);
	rpc_close_encode(&m, &out);
	client_send(c, &send);
}

void last_done(void *arg, const struct rpc_reply *r)
{
	struct fixture *f = arg;

	f->again[f->done] = r->again;
	f->status[f->done++] = r->status;
	fixture_finish(f);
}

static void closes_done(void *arg, const struct rpc_reply *r)
{
	struct fixture *f = arg;

	f->again[f->done] = r->again;
	f->status[f->done++] = r->status;
	if (f->done < f->want)
		send_close(client0(f), 0, closes_done, f);
	else
		fixture_finish(f);
}

void closes_start(struct fixture *f)
{
	send_close(client0(f), 0, closes_done, f);
}
