/*
 * The client against a scripted server: routing, retries with the same
 * identity, refresh, slices and reads. Callbacks record; asserts come after
 * the loops have returned.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <xxhash.h>

#include "common/base/loop.h"
#include "common/base/mem.h"
#include "common/client/client_impl.h"
#include "common/ring/ring.h"

#define INO ino_make(3, 100)
#define CHUNKS_MAX 16
#define SEEN_MAX 4096
#define FILE_MAX (32u << 20)

static char dir[64];
static char addr[96];

struct seen {
	uint64_t client, seq;
	uint32_t slot;
};

struct fixture;
typedef void (*start_fn)(struct fixture *f);

struct fixture {
	unsigned n_loops;
	bool local;
	uint32_t timeout_ms;
	start_fn start;
	struct loop_set *loops;
	struct rpc_server *server;
	struct client_set *set;
	struct env_timer timer;
	/* the fake: state of loop 0 */
	uint64_t version, session;
	uint32_t expired; /* answers to renew with SESSION */
	unsigned open_fail; /* of the next opens */
	uint32_t late;      /* status of a try that is older than the session */
	unsigned opens, renews, gets;
	struct rpc_req *polls[8];
	unsigned n_polls;
	uint32_t script[16]; /* statuses of the next mutations; 0 = OK */
	unsigned at, n_script;
	bool park;
	struct rpc_req *parked[8];
	unsigned n_parked;
	struct seen seen[SEEN_MAX];
	unsigned n_seen;
	struct {
		struct wire_u128 slice;
		uint32_t index;
		struct body *body;
	} chunks[CHUNKS_MAX];
	unsigned n_chunks, bad_hashes, put_fail, given_up;
	/* what READ answers */
	struct wire_extent ext[2][8]; /* first and later looks */
	unsigned n_ext[2], reads;
	uint64_t size, cover;
	struct body *inl;
	uint32_t read_status;
	/* results */
	uint32_t status[SEEN_MAX];
	unsigned done, want, bad;
	atomic_uint loops_left;
	uint8_t *data; /* read so far */
	uint64_t got;
	struct client_slice *slice;
	struct client_read *read;
	uint64_t fed;
	unsigned pauses, step;
	uint8_t (*check)(uint64_t pos);
};

/* One of two readers of the same 8 MiB. */
struct reader {
	struct fixture *f;
	struct client_read *read;
	uint64_t got;
	uint32_t most;   /* longest piece handed over */
	bool stops;      /* pauses at the first piece */
	bool bad, done;
};

static struct reader readers[2];
static struct client_slice *slow_slice;

static struct env *env0(struct fixture *f)
{
	return loop_env(loop_set_get(f->loops, 0));
}

static struct client *client0(struct fixture *f)
{
	return client_of(f->set, loop_set_get(f->loops, 0));
}

/* --- the fake manager --- */

static int make_cluster(struct fixture *f, struct buf *out)
{
	struct ring_store rs = { .id = { 1, 2 }, .weight = 1 };
	struct cluster_store store = { .id = { 1, 2 }, .raft_id = 9,
				       .addr = wire_cstr(addr) };
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
		make_cluster(f, &blob);
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

static void bump(struct fixture *f)
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

/* --- fixture --- */

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

static void on_delete(void *arg, struct rpc_req *req);

static int make_server(struct fixture *f)
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
	return f->local ? 0 : rpc_server_listen(f->server, addr);
}

static void on_ready(void *arg, int status)
{
	struct fixture *f = arg;

	if (status != 0)
		f->bad++;
	f->start(f);
}

static struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->version = 1;
	f->session = 76;
	f->n_loops = 1;
	return f;
}

static void finish(struct fixture *f)
{
	env_timer_cancel(env0(f), &f->timer);
	loop_set_stop(f->loops);
}

static void run(struct fixture *f, start_fn start)
{
	struct client_config config = { .manager = addr,
					.role = RPC_ROLE_GATEWAY,
					.kind = "test",
					.timeout_ms = f->timeout_ms };
	struct errbuf e;

	f->start = start;
	assert_int_equal(loop_set_new(f->n_loops, 1, &f->loops), 0);
	assert_int_equal(make_server(f), 0);
	if (f->local) {
		config.local = addr;
		config.server = f->server;
	}
	config.loops = f->loops;
	assert_int_equal(client_set_new(&config, &f->set, &e), 0);
	client_set_start(f->set, on_ready, f);
	loop_set_run(f->loops);
	client_slice_free(f->slice);
	client_slice_free(slow_slice);
	slow_slice = NULL;
	client_read_free(f->read);
	for (unsigned i = 0; i < 2; i++) {
		client_read_free(readers[i].read);
		readers[i].read = NULL;
	}
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

static void send_close(struct client *c, uint32_t ms, rpc_done_fn done,
		       void *arg)
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

/* --- reads on all loops --- */

struct loop_side {
	struct fixture *f;
	struct client *c;
	struct env_task task;
	unsigned done, bad;
};
static struct loop_side sides[4];

/* Shards of one loop of the server share a link; in process all do. */
static bool basic_links(const struct loop_side *s)
{
	unsigned n = s->f->local ? 1 : s->f->n_loops;
	bool good = true;

	for (uint16_t a = 0; a < 6; a++)
		for (uint16_t b = 0; b < 6; b++) {
			struct wire_bytes to = wire_cstr(addr);
			bool same = client_link_to(s->c, to, a) ==
				    client_link_to(s->c, to, b);

			good = good && same == (a % n == b % n);
		}
	return good;
}

static void basic_done(void *arg, const struct rpc_reply *r)
{
	struct loop_side *s = arg;
	struct rpc_attr_rsp rsp;

	if (r->status != RPC_STATUS_OK ||
	    rpc_attr_rsp_decode(&rsp, r->payload, r->len) != 0 ||
	    rsp.attr.ino != INO || rsp.attr.uid != 3 || rsp.attr.change != 5)
		s->bad++;
	if (client_session(s->c) == 0 || client_cluster(s->c) == NULL)
		s->bad++;
	if (++s->done == 100 && !basic_links(s))
		s->bad++;
	if (s->done == 100 &&
	    atomic_fetch_sub(&s->f->loops_left, 1) == 1)
		loop_set_stop(s->f->loops);
}

static void basic_on_loop(struct env_task *task)
{
	struct loop_side *s = CONTAINER_OF(task, struct loop_side, task);
	struct rpc_getattr m = { .ino = INO };

	for (unsigned i = 0; i < 100; i++)
		CLIENT_SEND(s->c, getattr, 3, &m, basic_done, s);
}

static void basic_start(struct fixture *f)
{
	atomic_store(&f->loops_left, f->n_loops);
	for (unsigned i = 0; i < f->n_loops; i++) {
		struct loop *loop = loop_set_get(f->loops, i);

		sides[i] = (struct loop_side){ .f = f };
		sides[i].c = client_of(f->set, loop);
		sides[i].task.run = basic_on_loop;
		env_post(loop_env(loop), &sides[i].task);
	}
}

static void test_basic(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 4; kind++) {
		struct fixture *f = fixture_new();

		f->n_loops = kind / 2 ? 3 : 1;
		f->local = kind % 2;
		run(f, basic_start);
		for (unsigned i = 0; i < f->n_loops; i++) {
			assert_int_equal(sides[i].done, 100);
			assert_int_equal(sides[i].bad, 0);
		}
		assert_int_equal(f->opens, 1);
		free(f);
	}
}

/* --- retries --- */

static void retry_done(void *arg, const struct rpc_reply *r)
{
	struct fixture *f = arg;

	f->status[f->done++] = r->status;
	if (f->done < f->want)
		send_close(client0(f), 0, retry_done, f);
	else
		finish(f);
}

static void retry_start(struct fixture *f)
{
	send_close(client0(f), 0, retry_done, f);
}

static void test_retry(void **state)
{
	static const uint32_t script[] = {
		RPC_STATUS_NOT_LEADER, RPC_STATUS_BUSY,
		RPC_STATUS_UNKNOWN_OUTCOME, RPC_STATUS_OK, RPC_STATUS_NOENT,
	};

	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture *f = fixture_new();

		f->local = local;
		f->want = 3;
		memcpy(f->script, script, sizeof(script));
		f->n_script = 5;
		run(f, retry_start);
		assert_int_equal(f->status[0], RPC_STATUS_OK);
		assert_int_equal(f->status[1], RPC_STATUS_NOENT);
		assert_int_equal(f->status[2], RPC_STATUS_OK);
		assert_int_equal(f->n_seen, 6);
		for (unsigned i = 0; i < 6; i++) {
			assert_int_equal(f->seen[i].client, 77);
			assert_int_equal(f->seen[i].slot, f->seen[0].slot);
			/* the same number, but the later tries say so */
			assert_int_equal(f->seen[i].seq & ~RPC_SEQ_AGAIN,
					 i < 4 ? 1 : i - 2);
			assert_int_equal(f->seen[i].seq >> 63,
					 i > 0 && i < 4);
		}
		free(f);
	}
}

/* --- the server dies with the mutation and comes back --- */

static void loss_done(void *arg, const struct rpc_reply *r)
{
	struct fixture *f = arg;

	f->status[f->done++] = r->status;
	finish(f);
}

static void loss_poll(struct env_timer *timer)
{
	struct fixture *f = CONTAINER_OF(timer, struct fixture, timer);

	if (f->step == 0 && f->n_parked == 1) {
		f->step = 1;
		f->park = false;
		rpc_server_free(f->server);
		f->server = NULL;
	} else if (f->step > 0 && f->step < 60) {
		f->step++;
	} else if (f->step == 60) {
		/* meanwhile the client met a closed door */
		f->step = 61;
		if (!client_is_cut_off(client0(f)))
			f->bad++;
		if (make_server(f) != 0)
			f->bad++;
	}
	env_timer_set(env0(f), timer, 1000000);
}

static void loss_start(struct fixture *f)
{
	f->park = true;
	f->timer.cb = loss_poll;
	env_timer_set(env0(f), &f->timer, 1000000);
	send_close(client0(f), 0, loss_done, f);
}

static void test_connection_loss(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	run(f, loss_start);
	assert_int_equal(f->bad, 0);
	assert_int_equal(f->done, 1);
	assert_int_equal(f->status[0], RPC_STATUS_OK);
	assert_int_equal(f->n_seen, 2);
	assert_int_equal(f->seen[1].seq, f->seen[0].seq | RPC_SEQ_AGAIN);
	f->seen[1].seq = f->seen[0].seq;
	assert_memory_equal(&f->seen[0], &f->seen[1], sizeof(f->seen[0]));
	free(f);
}

/* --- other shards --- */

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

static void follow_done(void *arg, const struct rpc_reply *reply)
{
	struct fixture *f = arg;

	f->status[f->done++] = reply->status;
	finish(f);
}

static void follow_start(struct fixture *f)
{
	struct rpc_delete m = { .root = INO, .key = wire_cstr("a/key") };

	CLIENT_SEND(client_of(f->set, loop_set_get(f->loops, 0)), delete, 3, &m,
		    follow_done, f);
}

/* Each place gets a number of its own, and is told when it is asked again. */
static void test_elsewhere(void **state)
{
	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture *f = fixture_new();

		f->local = local;
		run(f, follow_start);
		assert_int_equal(f->bad, 0);
		assert_int_equal(f->done, 1);
		assert_int_equal(f->status[0], RPC_STATUS_OK);
		assert_int_equal(f->n_seen, 3);
		assert_int_equal(f->seen[0].seq, 1);
		assert_int_equal(f->seen[1].seq, 2);
		assert_int_equal(f->seen[2].seq, 2 | RPC_SEQ_AGAIN);
		assert_int_equal(f->seen[2].slot, f->seen[0].slot);
		free(f);
	}
}

/* --- deadlines burn the slot --- */

static void deadline_done(void *arg, const struct rpc_reply *r)
{
	struct fixture *f = arg;

	f->status[f->done++] = r->status;
	if (f->done == 1) {
		f->park = false;
		f->script[0] = f->script[1] = f->script[2] = f->script[3] =
			f->script[4] = f->script[5] = RPC_STATUS_UNAVAILABLE;
		f->n_script = 16;
		for (unsigned i = 6; i < 16; i++)
			f->script[i] = RPC_STATUS_UNAVAILABLE;
		send_close(client0(f), 60, deadline_done, f);
	} else if (f->done == 2) {
		f->n_script = 0;
		send_close(client0(f), 0, deadline_done, f);
	} else {
		finish(f);
	}
}

static void deadline_start(struct fixture *f)
{
	f->park = true;
	send_close(client0(f), 50, deadline_done, f);
}

static void test_deadline(void **state)
{
	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture *f = fixture_new();
		unsigned last;

		f->local = local;
		run(f, deadline_start);
		last = f->n_seen - 1;
		assert_int_equal(f->status[0], RPC_STATUS_TIMEDOUT);
		assert_int_equal(f->status[1], RPC_STATUS_UNAVAILABLE);
		assert_int_equal(f->status[2], RPC_STATUS_OK);
		assert_int_not_equal(f->seen[1].slot, f->seen[0].slot);
		assert_int_not_equal(f->seen[last].slot, f->seen[0].slot);
		assert_int_not_equal(f->seen[last].slot, f->seen[1].slot);
		free(f);
	}
}

/* --- more mutations than slots --- */

static void slots_done(void *arg, const struct rpc_reply *r)
{
	struct fixture *f = arg;

	if (r->status != RPC_STATUS_OK)
		f->bad++;
	if (++f->done == f->want)
		finish(f);
}

static void slots_start(struct fixture *f)
{
	for (unsigned i = 0; i < f->want; i++)
		send_close(client0(f), 0, slots_done, f);
}

static void test_slots(void **state)
{
	struct fixture *f = fixture_new();
	uint64_t *seq = calloc(1024, sizeof(*seq));

	(void)state;
	f->want = 3000;
	run(f, slots_start);
	assert_int_equal(f->bad, 0);
	assert_int_equal(f->n_seen, 3000);
	for (unsigned i = 0; i < f->n_seen; i++) {
		assert_true(f->seen[i].slot < 1024);
		assert_int_equal(f->seen[i].seq, ++seq[f->seen[i].slot]);
	}
	free(seq);
	free(f);
}

/* --- refresh, session --- */

static void refresh_third(void *arg, int status)
{
	struct fixture *f = arg;

	f->status[2] = (uint32_t)client_cluster(client0(f))->top.version;
	if (status != 0)
		f->bad++;
	finish(f);
}

static void refresh_second(void *arg, int status)
{
	struct fixture *f = arg;

	if (status != 0)
		f->bad++;
	f->status[1] = (uint32_t)client_cluster(client0(f))->top.version;
	/* wished for before it exists; the long poll does not see it */
	client_refresh(client0(f), f->version + 1, refresh_third, f);
	f->version++;
}

static void refresh_first(void *arg, int status)
{
	struct fixture *f = arg;

	if (status != 0)
		f->bad++;
	f->status[0] = (uint32_t)client_cluster(client0(f))->top.version;
	f->version++;
	client_refresh(client0(f), UINT64_MAX, refresh_second, f);
}

static void refresh_start(struct fixture *f)
{
	const struct cluster *c = client_cluster(client0(f));

	if (cluster_find_bucket(c, wire_cstr("abc"))->id != 2 ||
	    cluster_find_bucket(c, wire_cstr("abd")) != NULL ||
	    cluster_find_root(c, INO)->id != 1)
		f->bad++;
	client_refresh(client0(f), UINT64_MAX, refresh_first, f);
}

static void test_refresh(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	f->n_loops = 2;
	run(f, refresh_start);
	assert_int_equal(f->bad, 0);
	assert_int_equal(f->status[0], 1);
	assert_int_equal(f->status[1], 2);
	assert_int_equal(f->status[2], 3);
	free(f);
}

static void session_poll(struct env_timer *timer)
{
	struct fixture *f = CONTAINER_OF(timer, struct fixture, timer);

	if (f->step == 0 && f->renews >= 2) {
		f->step = 1;
		f->expired = 1;
		bump(f); /* a long poll answers by itself */
	}
	if (f->step == 1 && client_session(client0(f)) == 78 &&
	    client_cluster(client0(f))->top.version == 2) {
		finish(f);
		return;
	}
	env_timer_set(env0(f), timer, 1000000);
}

static void session_start(struct fixture *f)
{
	f->timer.cb = session_poll;
	env_timer_set(env0(f), &f->timer, 1000000);
}

static void test_session(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	f->local = true;
	run(f, session_start);
	assert_int_equal(f->opens, 2);
	assert_true(f->gets <= 5);
	free(f);
}

/*
 * A shard says that our session ended. At the first try the mutation goes on
 * with the next session; behind a try whose outcome is not known it ends.
 */
static void test_session_ended(void **state)
{
	static const uint32_t script[] = {
		RPC_STATUS_SESSION, RPC_STATUS_OK, RPC_STATUS_UNKNOWN_OUTCOME,
		RPC_STATUS_SESSION, RPC_STATUS_OK,
	};

	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture *f = fixture_new();

		f->local = local;
		f->want = 3;
		f->expired = 1;
		memcpy(f->script, script, sizeof(script));
		f->n_script = 5;
		run(f, retry_start);
		assert_int_equal(f->status[0], RPC_STATUS_OK);
		assert_int_equal(f->status[1], RPC_STATUS_SESSION);
		assert_int_equal(f->status[2], RPC_STATUS_OK);
		assert_int_equal(f->n_seen, 5);
		assert_int_equal(f->seen[0].client, 77);
		for (unsigned i = 1; i < 5; i++)
			assert_int_equal(f->seen[i].client, 78);
		assert_int_equal(f->seen[3].seq,
				 f->seen[2].seq | RPC_SEQ_AGAIN);
		assert_true(f->opens == 2 && f->renews > 0);
		free(f);
	}
}

/*
 * The first try is answered with f->late when the next session has long been
 * opened.
 */
static void late_poll(struct env_timer *timer)
{
	struct fixture *f = CONTAINER_OF(timer, struct fixture, timer);

	if (f->step == 0 && f->n_parked == 1) {
		f->step = 1;
		f->expired = 1;
	} else if (f->step == 1 && client_session(client0(f)) == 78) {
		f->step = 2;
		f->park = false;
		rpc_reply_error(f->parked[--f->n_parked], f->late, 0, NULL);
	}
	env_timer_set(env0(f), timer, 1000000);
}

static void late_start(struct fixture *f)
{
	f->park = true;
	f->timer.cb = late_poll;
	env_timer_set(env0(f), &f->timer, 1000000);
	send_close(client0(f), 0, loss_done, f);
}

static void test_session_ended_late(void **state)
{
	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture *f = fixture_new();

		f->local = local;
		f->timeout_ms = 10000;
		f->late = RPC_STATUS_SESSION;
		run(f, late_start);
		assert_int_equal(f->status[0], RPC_STATUS_OK);
		assert_int_equal(f->n_seen, 2);
		assert_int_equal(f->seen[0].client, 77);
		assert_int_equal(f->seen[1].client, 78);
		assert_int_equal(f->opens, 2);
		free(f);
	}
}

/* What may have happened in the old session must be asked for there. */
static void test_session_ended_between(void **state)
{
	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture *f = fixture_new();

		f->local = local;
		f->timeout_ms = 10000;
		f->late = RPC_STATUS_UNKNOWN_OUTCOME;
		run(f, late_start);
		assert_int_equal(f->status[0], RPC_STATUS_OK);
		assert_int_equal(f->n_seen, 2);
		assert_int_equal(f->seen[0].client, 77);
		assert_int_equal(f->seen[1].client, 77);
		assert_int_equal(f->seen[1].slot, f->seen[0].slot);
		assert_int_equal(f->seen[1].seq,
				 f->seen[0].seq | RPC_SEQ_AGAIN);
		assert_int_equal(f->opens, 2);
		free(f);
	}
}

/* While another session is being opened, nobody asks about the old one. */
static void reopen_poll(struct env_timer *timer)
{
	struct fixture *f = CONTAINER_OF(timer, struct fixture, timer);

	if (f->step == 0 && f->opens > 1) {
		f->step = f->renews;
		f->expired = 1000;
	}
	if (f->step > 0 && client_session(client0(f)) == 77) {
		client_session_lost(client0(f));
	} else if (f->step > 0) {
		f->done = f->renews - f->step;
		finish(f);
		return;
	}
	env_timer_set(env0(f), timer, 1000000);
}

static void reopen_start(struct fixture *f)
{
	f->expired = 1;
	f->open_fail = 5;
	f->timer.cb = reopen_poll;
	env_timer_set(env0(f), &f->timer, 1000000);
}

static void test_session_reopened(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	f->local = true;
	run(f, reopen_start);
	assert_int_equal(f->done, 0);
	assert_int_equal(f->opens, 7);
	free(f);
}

/* --- cancel: no callback, also of calls that wait for the way --- */

static void cancel_done(void *arg, const struct rpc_reply *r)
{
	struct fixture *f = arg;

	(void)r;
	f->bad++;
}

static void cancel_start(struct fixture *f)
{
	struct rpc_getattr m = { .ino = INO };
	struct client_call *calls[3];

	f->script[0] = f->script[1] = RPC_STATUS_BUSY;
	f->n_script = 2;
	for (unsigned i = 0; i < 3; i++)
		calls[i] = CLIENT_SEND(client0(f), getattr, 3, &m,
				       cancel_done, f);
	for (unsigned i = 0; i < 3; i++)
		client_cancel(calls[i]);
	send_close(client0(f), 0, loss_done, f);
}

static void test_cancel(void **state)
{
	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture *f = fixture_new();

		f->local = local;
		run(f, cancel_start);
		assert_int_equal(f->bad, 0);
		free(f);
	}
}

/* --- slices and reads --- */

static uint8_t pattern(uint64_t i)
{
	return (uint8_t)(i * 7 + i / 4099);
}

static void slice_feed(struct fixture *f)
{
	uint8_t bytes[70001];
	size_t n, taken;

	while (f->fed < f->size) {
		n = sizeof(bytes);
		if (n > f->size - f->fed)
			n = f->size - f->fed;
		for (size_t i = 0; i < n; i++)
			bytes[i] = pattern(f->fed + i);
		taken = client_slice_add(f->slice, bytes, n);
		f->fed += taken;
		if (taken == n)
			continue;
		if (client_slice_error(f->slice) != RPC_STATUS_OK)
			break;
		f->pauses++;
		return; /* on_drain goes on */
	}
	client_slice_finish(f->slice);
}

static void slice_on_drain(void *arg)
{
	slice_feed(arg);
}

static void slice_on_done(void *arg, uint32_t status)
{
	struct fixture *f = arg;

	f->status[0] = status;
	f->done++;
	if (f->want == 0)
		finish(f);
	else
		f->start(f);
}

static const struct client_slice_cbs slice_cbs = { slice_on_drain,
						   slice_on_done };

static void slice_start(struct fixture *f)
{
	f->slice = client_slice_new(client0(f), 3, &slice_cbs, f);
	slice_feed(f);
}

static void test_slice(void **state)
{
	static const uint64_t sizes[] = { 0, 1, 100000, 4u << 20,
					  (4u << 20) + 1, 26000000 };

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		struct fixture *f = fixture_new();
		uint64_t left = sizes[i / 2];

		f->local = i % 2;
		f->size = left;
		run(f, slice_start);
		assert_int_equal(f->status[0], RPC_STATUS_OK);
		assert_int_equal(f->bad_hashes, 0);
		assert_int_equal(f->done, 1);
		if (i / 2 == 5)
			assert_true(f->pauses > 0);
		free(f);
	}
}

/* More than was said would come; and memory made to measure. */
static void expect_start(struct fixture *f)
{
	uint8_t bytes[3000] = { 0 };
	size_t room;

	f->slice = client_slice_new(client0(f), 3, &slice_cbs, f);
	client_slice_expect(f->slice, 70000);
	assert_non_null(client_slice_reserve(f->slice, &room));
	assert_int_equal(room, 70000);
	assert_true(client_slice_body(f->slice)->cap < 4u << 20);
	while (client_slice_add(f->slice, bytes, sizeof(bytes)) ==
	       sizeof(bytes))
		;
	f->fed = client_slice_len(f->slice);
	f->pauses = client_slice_error(f->slice);
	client_slice_finish(f->slice);
}

static void test_slice_expect(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	run(f, expect_start);
	assert_int_equal(f->fed, 70000);
	assert_int_equal(f->pauses, RPC_STATUS_INVAL);
	assert_int_equal(f->status[0], RPC_STATUS_INVAL);
	free(f);
}

static void test_slice_error(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	f->size = 26000000;
	f->put_fail = 2;
	run(f, slice_start);
	assert_int_equal(f->status[0], RPC_STATUS_NOSPC);
	assert_int_equal(f->done, 1);
	free(f);
}

static void early_start(struct fixture *f)
{
	f->slice = client_slice_new(client0(f), 3, &slice_cbs, f);
	f->size = 4u << 20;
	if (f->step != 1)
		slice_feed(f);
	if (f->step == 2)
		client_slice_named(f->slice);
	client_slice_free(f->slice);
	f->slice = NULL;
	send_close(client0(f), 0, loss_done, f);
}

/* Its shard hears of it, unless nothing was sent or it has a name. */
static void test_slice_freed_early(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 3; kind++) {
		struct fixture *f = fixture_new();

		f->step = kind;
		run(f, early_start);
		assert_int_equal(f->status[0], RPC_STATUS_OK);
		assert_int_equal(f->done, 1);
		assert_int_equal(f->given_up, kind == 0);
		free(f);
	}
}

static void read_on_timer(struct env_timer *timer)
{
	struct fixture *f = CONTAINER_OF(timer, struct fixture, timer);

	client_read_resume(f->read);
}

static void read_on_data(void *arg, struct body *body, uint32_t from,
			 uint32_t len)
{
	struct fixture *f = arg;

	if (f->timer.impl != NULL)
		f->bad++; /* paused */
	if (f->got + len > FILE_MAX) {
		f->bad++;
		return;
	}
	memcpy(f->data + f->got, body->data + from, len);
	f->got += len;
	if (f->pauses++ % 3 == 2) {
		client_read_pause(f->read);
		f->timer.cb = read_on_timer;
		env_timer_set(env0(f), &f->timer, 2000000);
	}
}

static void read_on_done(void *arg, uint32_t status)
{
	struct fixture *f = arg;

	f->status[1] = status;
	f->done++;
	for (uint64_t i = 0; f->check != NULL && i < f->got; i++)
		if (f->data[i] != f->check(i + 1000))
			f->bad++;
	client_read_free(f->read);
	f->read = NULL;
	finish(f);
}

static const struct client_read_cbs read_cbs = { read_on_data, read_on_done };

static void read_begin(struct fixture *f, uint64_t off, uint64_t len)
{
	struct client_read_spec spec = { .ino = INO, .off = off, .len = len };

	f->pauses = 0;
	f->data = calloc(1, FILE_MAX);
	f->read = client_read_start(client0(f), &spec, &read_cbs, f);
}

/*
 * 10 MiB slice at 1 MiB (from slice offset 3 MiB - 5, 6 MiB long), a hole
 * around it, 1000 inline bytes at 9 MiB, zeros, end at 9.5 MiB.
 */
static void read_after_write(struct fixture *f)
{
	struct wire_u128 id = client_slice_id(f->slice);

	f->ext[0][0] = (struct wire_extent){
		.pos = 1 << 20, .len = 6 << 20, .kind = WIRE_EXT_CHUNKS,
		.slice = id, .slice_off = (3 << 20) - 5 };
	f->ext[0][1] = (struct wire_extent){
		.pos = 9 << 20, .len = 1000, .kind = WIRE_EXT_INLINE,
		.slice_off = 24 };
	f->n_ext[0] = 2;
	f->inl = body_new(1024);
	for (unsigned i = 0; i < 1024; i++)
		f->inl->data[i] = (uint8_t)(i ^ 0x5a);
	f->inl->len = 1024;
	f->size = (9 << 20) + (1 << 19);
	read_begin(f, 1000, FILE_MAX);
}

static void read_write_first(struct fixture *f)
{
	if (f->done == 0) {
		f->size = 10 << 20;
		f->want = 1;
		slice_start(f);
	} else {
		read_after_write(f);
	}
}

static uint8_t expected(uint64_t pos)
{
	if (pos >= 1 << 20 && pos < 7 << 20)
		return pattern(pos - (1 << 20) + (3 << 20) - 5);
	if (pos >= 9 << 20 && pos < (9 << 20) + 1000)
		return (uint8_t)((pos - (9 << 20) + 24) ^ 0x5a);
	return 0;
}

static void test_read(void **state)
{
	/* windows of READ: all at once, and many small ones */
	static const uint64_t covers[] = { WIRE_REGION, 700001 };

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct fixture *f = fixture_new();

		f->local = i % 2;
		f->cover = covers[i / 2];
		f->check = expected;
		run(f, read_write_first);
		assert_int_equal(f->status[0], RPC_STATUS_OK);
		assert_int_equal(f->status[1], RPC_STATUS_OK);
		assert_int_equal(f->done, 2);
		assert_int_equal(f->got, (9 << 20) + (1 << 19) - 1000);
		assert_int_equal(f->bad, 0);
		free(f);
	}
}

/* --- memory is short --- */

static struct env_timer reader_timer;

static void reader_check(struct fixture *f)
{
	if (readers[1].done && readers[0].stops) {
		/* the one that stalled goes on: what it had is gone */
		readers[0].stops = false;
		client_read_resume(readers[0].read);
	}
	if (readers[0].done && readers[1].done)
		finish(f);
}

static void reader_on_data(void *arg, struct body *body, uint32_t from,
			   uint32_t len)
{
	struct reader *r = arg;

	for (uint32_t i = 0; i < len; i++)
		if (body->data[from + i] != pattern(r->got + i))
			r->bad = true;
	r->got += len;
	if (len > r->most)
		r->most = len;
	if (r->stops)
		client_read_pause(r->read);
}

static void reader_on_done(void *arg, uint32_t status)
{
	struct reader *r = arg;

	r->bad |= status != RPC_STATUS_OK;
	r->done = true;
	reader_check(r->f);
}

static void reader_begin(struct fixture *f, unsigned i)
{
	static const struct client_read_cbs cbs = { reader_on_data,
						    reader_on_done };
	struct client_read_spec spec = { .ino = INO, .len = 8 << 20 };

	readers[i].f = f;
	readers[i].read = client_read_start(client0(f), &spec, &cbs,
					    &readers[i]);
}

static void reader_on_timer(struct env_timer *timer)
{
	(void)timer;
	reader_begin(readers[0].f, 1);
}

static void starve_start(struct fixture *f)
{
	if (f->done == 0) {
		f->size = 10 << 20;
		f->want = 1;
		slice_start(f);
		return;
	}
	f->ext[0][0] = (struct wire_extent){
		.len = 8 << 20, .kind = WIRE_EXT_CHUNKS,
		.slice = client_slice_id(f->slice) };
	f->n_ext[0] = 1;
	f->size = 8 << 20;
	f->cover = WIRE_REGION;
	/* room for one chunk, and never much more than that */
	f->set->mem_max = body_in_use() + (5 << 20);
	f->set->stall_ns = 100000000;
	readers[0].stops = true;
	reader_begin(f, 0);
	reader_timer = (struct env_timer){ .cb = reader_on_timer };
	env_timer_set(env0(f), &reader_timer, 50000000);
}

/* A reader that stalls does not keep another one from reading. */
static void test_read_starves(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	memset(readers, 0, sizeof(readers));
	f->local = true;
	run(f, starve_start);
	for (unsigned i = 0; i < 2; i++) {
		assert_false(readers[i].bad);
		assert_int_equal(readers[i].got, 8 << 20);
		assert_int_equal(readers[i].most, 64 << 10);
	}
	assert_true(f->reads > 2); /* the extents were asked for again */
	free(f);
}

/* --- writers --- */

static void slow_on_drain(void *arg)
{
	struct fixture *f = arg;

	f->status[2] = client_slice_error(slow_slice);
}

static void slow_on_done(void *arg, uint32_t status)
{
	(void)arg;
	(void)status;
}

static void starve_write_start(struct fixture *f)
{
	static const struct client_slice_cbs cbs = { slow_on_drain,
						     slow_on_done };
	uint8_t byte = 1;

	f->set->mem_max = body_in_use() + (5 << 20);
	f->set->slow_ns = 100000000;
	slow_slice = client_slice_new(client0(f), 3, &cbs, f);
	(void)client_slice_add(slow_slice, &byte, 1);
	f->size = 1 << 20;
	slice_start(f);
}

/* Nor does a writer that brings nothing keep another one from writing. */
static void test_write_starves(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	f->local = true;
	run(f, starve_write_start);
	assert_int_equal(f->status[0], RPC_STATUS_OK);
	assert_true(f->pauses > 0);
	assert_int_equal(f->status[2], RPC_STATUS_BUSY);
	free(f);
}

/* --- a chunk that vanished --- */

static void gone_after_write(struct fixture *f)
{
	struct wire_u128 id = client_slice_id(f->slice);
	struct wire_extent e = { .pos = 0, .len = 3 << 20,
				 .kind = WIRE_EXT_CHUNKS, .slice = id };

	f->ext[0][0] = e;
	f->ext[0][1] = e;
	f->ext[0][1].pos = 3 << 20;
	f->ext[0][1].slice.lo ^= 1; /* nobody has it */
	f->n_ext[0] = 2;
	f->size = 6 << 20;
	if (f->step == 0) {
		/* the second look finds the file as it is now */
		f->ext[1][0] = e;
		f->ext[1][1] = f->ext[0][1];
		f->ext[1][1].slice = id;
		f->n_ext[1] = 2;
	}
	read_begin(f, 0, 6 << 20);
}

static void gone_start(struct fixture *f)
{
	if (f->done == 0) {
		f->size = 10 << 20;
		f->want = 1;
		slice_start(f);
	} else {
		gone_after_write(f);
	}
}

static void test_missing_chunk(void **state)
{
	(void)state;
	for (unsigned step = 0; step < 2; step++) {
		struct fixture *f = fixture_new();

		f->step = step;
		f->cover = WIRE_REGION;
		run(f, gone_start);
		assert_int_equal(f->bad, 0);
		assert_int_equal(f->reads, 2);
		assert_int_equal(f->status[1], step == 0 ? RPC_STATUS_OK :
							   RPC_STATUS_IO);
		assert_int_equal(f->got, step == 0 ? 6 << 20 : 3 << 20);
		free(f);
	}
}

static void version_start(struct fixture *f)
{
	read_begin(f, 0, 100);
}

static void test_version_gone(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	f->read_status = RPC_STATUS_VERSION_GONE;
	run(f, version_start);
	assert_int_equal(f->status[1], RPC_STATUS_VERSION_GONE);
	free(f);
}

/* An answer that brings nothing must not be asked for again and again. */
static void test_no_progress(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	f->size = 1000;
	f->cover = 0;
	run(f, version_start);
	assert_int_equal(f->status[1], RPC_STATUS_IO);
	assert_int_equal(f->reads, 1);
	free(f);
}

static void test_cluster_damage(void **state)
{
	struct fixture *f = fixture_new();
	struct cluster *c;
	struct buf b;

	(void)state;
	buf_init(&b, 0);
	assert_int_equal(make_cluster(f, &b), 0);
	for (size_t i = 0; i < b.len; i++) {
		uint8_t *p = mem_dup(b.data, i);

		if (cluster_decode(p, i, &c) == 0)
			cluster_unref(c);
		mem_free(p);
		b.data[i] ^= 0xff;
		if (cluster_decode(b.data, b.len, &c) == 0)
			cluster_unref(c);
		b.data[i] ^= 0xff;
	}
	assert_int_equal(cluster_decode(b.data, b.len, &c), 0);
	assert_int_equal(cluster_shard_store(c, 3)->raft_id, 9);
	assert_non_null(cluster_chunk_store(c, (struct wire_u128){ 4, 5 }, 6,
					    0));
	assert_null(cluster_chunk_store(c, (struct wire_u128){ 4, 5 }, 6, 1));
	cluster_unref(c);
	buf_fini(&b);
	free(f);
}

/* --- allocation failures: every operation has exactly one outcome --- */

static int fault_at, fault_n, fault_count;

static int fault_hook(void)
{
	int i = fault_count++;

	return i >= fault_at && i < fault_at + fault_n;
}

static void fault_next(struct fixture *f);

static void fault_call_done(void *arg, const struct rpc_reply *r)
{
	struct fixture *f = arg;

	f->status[f->step] = r->status;
	f->done++;
	fault_next(f);
}

static void fault_slice_done(void *arg, uint32_t status)
{
	struct fixture *f = arg;

	f->status[f->step] = status;
	f->done++;
	fault_next(f);
}

static void fault_read_done(void *arg, uint32_t status)
{
	struct fixture *f = arg;

	f->status[f->step] = status;
	f->done++;
	if (status == RPC_STATUS_OK && f->got != f->size)
		f->bad++;
	fault_next(f);
}

static const struct client_slice_cbs fault_slice_cbs = { slice_on_drain,
							 fault_slice_done };
static const struct client_read_cbs fault_read_cbs = { read_on_data,
						       fault_read_done };

#if defined(__SANITIZE_THREAD__)
#define FAULT_RUN_MAX 1 /* one thread only: nothing new to see there */
#else
#define FAULT_RUN_MAX 3
#endif

/* A mutation, a slice, a read; what cannot even start counts as an end. */
static void fault_next(struct fixture *f)
{
	struct client_read_spec spec = { .ino = INO, .len = 5000000 };
	struct rpc_close m = { .ino = INO };
	bool begun = false;

	while (!begun) {
		f->step++;
		if (f->step == 1) {
			mem_fault_hook = fault_hook;
			begun = CLIENT_SEND(client0(f), close, 3, &m,
					    fault_call_done, f) != NULL;
		} else if (f->step == 2) {
			f->slice = client_slice_new(client0(f), 3,
						    &fault_slice_cbs, f);
			begun = f->slice != NULL;
			if (begun)
				slice_feed(f);
		} else if (f->step == 3 && f->slice != NULL) {
			f->ext[0][0] = (struct wire_extent){
				.len = f->size, .kind = WIRE_EXT_CHUNKS,
				.slice = client_slice_id(f->slice) };
			f->n_ext[0] = 1;
			f->pauses = 0;
			f->read = client_read_start(client0(f), &spec,
						    &fault_read_cbs, f);
			begun = f->read != NULL;
		} else {
			mem_fault_hook = NULL;
			finish(f);
			return;
		}
		if (!begun)
			f->done++;
	}
}

static void test_faults(void **state)
{
	unsigned points = 0;

	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		for (fault_n = 1; fault_n <= FAULT_RUN_MAX; fault_n++) {
			for (fault_at = 0;; fault_at++) {
				struct fixture *f = fixture_new();

				f->local = local;
				f->size = 5000000;
				f->cover = WIRE_REGION;
				f->timeout_ms = 500;
				f->data = calloc(1, FILE_MAX);
				fault_count = 0;
				run(f, fault_next);
				assert_in_range(f->done, 2, 3);
				assert_int_equal(f->bad, 0);
				points++;
				free(f);
				if (fault_count <= fault_at)
					break;
			}
		}
	}
	print_message("# %u points\n", points);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cluster_damage),
		cmocka_unit_test(test_basic),
		cmocka_unit_test(test_retry),
		cmocka_unit_test(test_connection_loss),
		cmocka_unit_test(test_elsewhere),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_slots),
		cmocka_unit_test(test_refresh),
		cmocka_unit_test(test_session),
		cmocka_unit_test(test_session_ended),
		cmocka_unit_test(test_session_ended_late),
		cmocka_unit_test(test_session_ended_between),
		cmocka_unit_test(test_session_reopened),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_slice),
		cmocka_unit_test(test_slice_expect),
		cmocka_unit_test(test_slice_error),
		cmocka_unit_test(test_slice_freed_early),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_read_starves),
		cmocka_unit_test(test_write_starves),
		cmocka_unit_test(test_missing_chunk),
		cmocka_unit_test(test_version_gone),
		cmocka_unit_test(test_no_progress),
		cmocka_unit_test(test_faults),
	};
	int rv;

	snprintf(dir, sizeof(dir), "/tmp/test_client.XXXXXX");
	if (mkdtemp(dir) == NULL)
		return 1;
	snprintf(addr, sizeof(addr), "unix:%s/s", dir);
	rv = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(addr + 5);
	rmdir(dir);
	return rv;
}
