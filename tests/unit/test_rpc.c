/*
 * Servers and links on real loops, over unix sockets and in process. Callbacks
 * record, asserts come after the loops have returned.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/loop.h"
#include "common/base/mem.h"
#include "common/rpc/rpc_impl.h"

#define LOOPS_MAX 4
#define PARK_MAX 64

static char dir[64];
static char addr[96];

struct fixture;

/* What one loop does in a test. */
struct side {
	struct fixture *f;
	unsigned index;
	struct env_task start;
	struct env_timer timer;
	struct rpc_peer_link *link;
	struct rpc_call *calls[PARK_MAX];
	unsigned n, sent, done, bad;
	uint32_t status[PARK_MAX];
	unsigned count[PARK_MAX]; /* outcomes per call */
	int step;
};

struct fixture {
	unsigned n_loops;
	bool local;
	uint32_t role;
	struct loop_set *loops;
	struct rpc_server *server;
	struct side sides[LOOPS_MAX];
	atomic_uint sides_left;
	unsigned wanted; /* calls per side */
	struct rpc_req *parked[PARK_MAX];
	unsigned n_parked;
	void (*start)(struct side *s);
};

static unsigned route(void *arg, uint16_t tag, uint16_t group)
{
	struct fixture *f = arg;

	(void)tag;
	return group % f->n_loops;
}

/* --- handlers --- */

static void on_getattr(void *arg, struct rpc_req *req)
{
	struct fixture *f = arg;
	struct rpc_getattr m;
	struct rpc_attr_rsp rsp = { .attr.uid = req->group };
	struct buf out;

	buf_init(&out, 0);
	if (rpc_getattr_decode(&m, req->payload, req->payload_len) != 0 ||
	    loop_index(loop_of(req->env)) != req->group % f->n_loops) {
		rpc_reply_error(req, RPC_STATUS_INVAL, 0, "routed wrong");
		return;
	}
	rsp.attr.ino = m.ino;
	/* does the connection belong to this loop? */
	rsp.attr.nlink = !rpc_ring_empty(
		&f->server->loops[req->group % f->n_loops].peers);
	(void)rpc_attr_rsp_encode(&rsp, &out);
	rpc_reply(req, &out, NULL);
}

/* The body goes back as it came. */
static void on_chunk_put(void *arg, struct rpc_req *req)
{
	(void)arg;
	rpc_reply(req, NULL, req->body == NULL ? NULL : body_ref(req->body));
}

/* A body of the wanted length, bytes by position. */
static void on_chunk_get(void *arg, struct rpc_req *req)
{
	struct rpc_chunk_get m;
	struct body *b;

	(void)arg;
	if (rpc_chunk_get_decode(&m, req->payload, req->payload_len) != 0)
		m.len = 0;
	b = body_new(m.len);
	if (b == NULL) {
		rpc_reply_error(req, RPC_STATUS_NOMEM, 7, NULL);
		return;
	}
	for (uint32_t i = 0; i < m.len; i++)
		b->data[i] = (uint8_t)(i * 31 + i / 251);
	b->len = m.len;
	rpc_reply(req, NULL, b);
}

static void on_park(void *arg, struct rpc_req *req)
{
	struct fixture *f = arg;

	if (f->n_parked < PARK_MAX)
		f->parked[f->n_parked++] = req;
	else
		rpc_reply_error(req, RPC_STATUS_BUSY, 0, NULL);
}

static void on_release(void *arg, struct rpc_req *req)
{
	struct fixture *f = arg;

	while (f->n_parked > 0)
		rpc_reply_error(f->parked[--f->n_parked], RPC_STATUS_NOENT,
				42, "parked");
	rpc_reply(req, NULL, NULL);
}

/* --- fixture --- */

static int make_server(struct fixture *f)
{
	int rv = rpc_server_new(f->loops, &f->server);

	if (rv != 0)
		return rv;
	rpc_server_identify(f->server, (struct wire_u128){ 1, 2 },
			    (struct wire_u128){ 3, 4 });
	rpc_server_route(f->server, 'R', route, f);
	rpc_server_route(f->server, 'C', route, f);
	rpc_server_handle(f->server, RPC_TAG_getattr, on_getattr, f);
	rpc_server_handle(f->server, RPC_TAG_chunk_put, on_chunk_put, f);
	rpc_server_handle(f->server, RPC_TAG_chunk_get, on_chunk_get, f);
	rpc_server_handle(f->server, RPC_TAG_session_renew, on_park, f);
	rpc_server_handle(f->server, RPC_TAG_cluster_get, on_release, f);
	return f->local ? 0 : rpc_server_listen(f->server, addr);
}

static void side_start(struct env_task *task)
{
	struct side *s = CONTAINER_OF(task, struct side, start);
	struct fixture *f = s->f;

	if (rpc_link_new(loop_set_get(f->loops, s->index), addr,
			 f->role == 0 ? RPC_ROLE_GATEWAY : f->role,
			 f->local ? f->server : NULL, &s->link) != 0)
		abort();
	f->start(s);
}

static void side_finish(struct side *s)
{
	env_timer_cancel(loop_env(loop_set_get(s->f->loops, s->index)),
			 &s->timer);
	rpc_link_free(s->link);
	s->link = NULL;
	if (atomic_fetch_sub(&s->f->sides_left, 1) == 1)
		loop_set_stop(s->f->loops);
}

static void run(struct fixture *f, unsigned n_loops, bool local,
		void (*start)(struct side *s))
{
	f->n_loops = n_loops;
	f->local = local;
	f->start = start;
	assert_int_equal(loop_set_new(n_loops, 1, &f->loops), 0);
	assert_int_equal(make_server(f), 0);
	atomic_store(&f->sides_left, n_loops);
	for (unsigned i = 0; i < n_loops; i++) {
		f->sides[i].f = f;
		f->sides[i].index = i;
		f->sides[i].start.run = side_start;
		env_post(loop_env(loop_set_get(f->loops, i)),
			 &f->sides[i].start);
	}
	loop_set_run(f->loops);
	for (unsigned i = 0; i < n_loops; i++)
		rpc_link_free(f->sides[i].link);
	rpc_server_free(f->server);
	loop_set_free(f->loops);
}

static struct env *side_env(struct side *s)
{
	return loop_env(loop_set_get(s->f->loops, s->index));
}

/* --- sending --- */

#define SEND(s_, tag_name, ms, body_, done_, arg_, ...) \
	side_send((s_), RPC_TAG_##tag_name, (ms), (body_), (done_), (arg_), \
		  side_enc_##tag_name, &(struct rpc_##tag_name){ __VA_ARGS__ })
#define ENC(name) \
	static int side_enc_##name(const void *m, struct buf *out) \
	{ \
		return rpc_##name##_encode(m, out); \
	}
ENC(getattr)
ENC(chunk_put)
ENC(chunk_get)
ENC(session_renew)
ENC(cluster_get)

static struct rpc_call *side_send(struct side *s, uint16_t tag, uint32_t ms,
				  struct body *body, rpc_done_fn done,
				  void *arg,
				  int (*enc)(const void *, struct buf *),
				  const void *m)
{
	struct buf out;
	struct rpc_send send = { .tag = tag, .group = (uint16_t)s->sent,
				 .payload = &out, .body = body,
				 .timeout_ms = ms, .done = done, .arg = arg };

	buf_init(&out, 0);
	(void)enc(m, &out);
	return rpc_link_send(s->link, &send);
}

/* --- echo --- */

struct echo {
	struct side *s;
	uint16_t group;
	uint64_t ino;
	uint32_t len;
	uint8_t fill;
};

static void echo_more(struct side *s);

static void echo_done(void *arg, const struct rpc_reply *r)
{
	struct echo *e = arg;
	struct side *s = e->s;
	struct rpc_attr_rsp rsp;
	bool ok = r->status == RPC_STATUS_OK;

	if (ok && e->ino != 0)
		ok = rpc_attr_rsp_decode(&rsp, r->payload, r->len) == 0 &&
		     rsp.attr.ino == e->ino && rsp.attr.uid == e->group;
	else if (ok && e->len > 0)
		ok = r->body != NULL && r->body->len == e->len &&
		     r->body->data[0] == e->fill &&
		     r->body->data[e->len - 1] == e->fill;
	if (!ok)
		s->bad++;
	s->done++;
	free(e);
	if (s->done == s->f->wanted)
		side_finish(s);
	else
		echo_more(s);
}

static void echo_one(struct side *s)
{
	struct echo *e = calloc(1, sizeof(*e));
	struct body *b;

	e->s = s;
	e->group = (uint16_t)s->sent;
	if (s->sent % 50 != 49) {
		e->ino = s->sent + 1;
		SEND(s, getattr, 0, NULL, echo_done, e, .ino = e->ino);
	} else {
		e->len = 1 + (s->sent * 7919u) % 700000;
		e->fill = (uint8_t)s->sent;
		b = body_new(e->len);
		memset(b->data, e->fill, e->len);
		b->len = e->len;
		SEND(s, chunk_put, 0, b, echo_done, e, .index = 1);
	}
	s->sent++;
}

static void echo_more(struct side *s)
{
	while (s->sent < s->f->wanted && s->sent - s->done < s->n)
		echo_one(s);
}

static void echo_start(struct side *s)
{
	s->n = 300;
	echo_more(s);
}

static void test_echo(void **state)
{
	static const struct {
		unsigned loops;
		bool local;
	} kinds[] = { { 1, true }, { 3, true }, { 1, false }, { 3, false } };

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct fixture f = { .wanted = 3000 };

		run(&f, kinds[i].loops, kinds[i].local, echo_start);
		for (unsigned k = 0; k < kinds[i].loops; k++) {
			assert_int_equal(f.sides[k].done, f.wanted);
			assert_int_equal(f.sides[k].bad, 0);
		}
	}
}

static void burst_done(void *arg, const struct rpc_reply *r)
{
	struct side *s = arg;

	if (r->status != RPC_STATUS_OK)
		s->bad++;
	if (++s->done == s->f->wanted)
		side_finish(s);
}

/* All at once: queues, credit and the server's bound on open requests. */
static void burst_start(struct side *s)
{
	for (s->sent = 0; s->sent < s->f->wanted; s->sent++) {
		struct body *b = NULL;

		if (s->sent % 100 == 0) {
			b = body_new(1 << 20);
			memset(b->data, 1, 1 << 20);
			b->len = 1 << 20;
			SEND(s, chunk_put, 0, b, burst_done, s, .index = 1);
		} else {
			SEND(s, getattr, 0, NULL, burst_done, s, .ino = 1);
		}
	}
}

static void test_burst(void **state)
{
	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture f = { .wanted = 10000 };

		run(&f, 2, local != 0, burst_start);
		for (unsigned k = 0; k < 2; k++) {
			assert_int_equal(f.sides[k].done, f.wanted);
			assert_int_equal(f.sides[k].bad, 0);
		}
	}
}

/* --- which loop serves a link --- */

struct lane {
	unsigned lane, group, loops;
	uint32_t direct;
};
static struct lane lane;

static void lane_done(void *arg, const struct rpc_reply *r)
{
	struct side *s = arg;
	struct rpc_attr_rsp rsp;

	if (r->status != RPC_STATUS_OK ||
	    rpc_attr_rsp_decode(&rsp, r->payload, r->len) != 0)
		s->bad++;
	else
		lane.direct = rsp.attr.nlink;
	lane.loops = rpc_link_loops(s->link);
	side_finish(s);
}

static void lane_start(struct side *s)
{
	if (s->index != 0) {
		side_finish(s);
		return;
	}
	if (rpc_link_loops(s->link) != 0)
		s->bad++;
	rpc_link_lane(s->link, lane.lane);
	s->sent = lane.group;
	SEND(s, getattr, 0, NULL, lane_done, s, .ino = 1);
}

static void test_lanes(void **state)
{
	static const unsigned lanes[] = { 0, 1, 2, 4, RPC_LANE_MAX };

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		for (unsigned group = 0; group < 5; group++) {
			struct fixture f = { .wanted = 1 };

			lane = (struct lane){ .lane = lanes[i],
					      .group = group };
			run(&f, 3, false, lane_start);
			assert_int_equal(f.sides[0].bad, 0);
			assert_int_equal(lane.loops, 3);
			assert_int_equal(lane.direct,
					 lanes[i] % 3 == group % 3);
		}
}

/* --- bodies in replies, beyond what sockets take at once --- */

static void bodies_done(void *arg, const struct rpc_reply *r)
{
	struct side *s = arg;
	bool ok = r->status == RPC_STATUS_OK && r->body != NULL &&
		  r->body->len == BODY_MAX;

	for (uint32_t i = 0; ok && i < r->body->len; i++)
		ok = r->body->data[i] == (uint8_t)(i * 31 + i / 251);
	if (!ok)
		s->bad++;
	if (++s->done == s->f->wanted)
		side_finish(s);
}

static void bodies_start(struct side *s)
{
	for (s->sent = 0; s->sent < s->f->wanted; s->sent++)
		SEND(s, chunk_get, 0, NULL, bodies_done, s, .len = BODY_MAX);
}

static void test_reply_bodies(void **state)
{
	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture f = { .wanted = 10 };

		run(&f, 2, local != 0, bodies_start);
		assert_int_equal(f.sides[0].bad + f.sides[1].bad, 0);
	}
}

/* --- parked requests: cancel, deadline, link free --- */

struct slot {
	struct side *s;
	unsigned i;
};
static struct slot slots[PARK_MAX];

static void park_done(void *arg, const struct rpc_reply *r)
{
	struct slot *t = arg;

	t->s->calls[t->i] = NULL;
	t->s->status[t->i] = r->status;
	t->s->count[t->i]++;
	if (r->status == RPC_STATUS_NOENT && r->hint != 42)
		t->s->bad++;
	t->s->done++;
}

static void park_send(struct side *s, unsigned n, uint32_t ms)
{
	for (unsigned i = 0; i < n; i++) {
		slots[i] = (struct slot){ s, i };
		s->calls[i] = SEND(s, session_renew, ms, NULL, park_done,
				   &slots[i], .session = i);
	}
}

static void cancel_released(void *arg, const struct rpc_reply *r)
{
	struct side *s = arg;

	if (r->status != RPC_STATUS_OK)
		s->bad++;
	s->step++;
	side_finish(s);
}

static void cancel_poll(struct env_timer *timer)
{
	struct side *s = CONTAINER_OF(timer, struct side, timer);

	if (s->f->n_parked < 10) {
		env_timer_set(side_env(s), timer, 1000000);
		return;
	}
	for (unsigned i = 0; i < 10; i += 2)
		rpc_call_cancel(s->calls[i]);
	SEND(s, cluster_get, 0, NULL, cancel_released, s, .have = 0);
}

static void cancel_start(struct side *s)
{
	park_send(s, 10, 0);
	s->timer.cb = cancel_poll;
	env_timer_set(side_env(s), &s->timer, 1000000);
}

static void test_cancel(void **state)
{
	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture f = { 0 };

		run(&f, 1, local != 0, cancel_start);
		assert_int_equal(f.sides[0].bad, 0);
		assert_int_equal(f.sides[0].step, 1);
		for (unsigned i = 0; i < 10; i++) {
			assert_int_equal(f.sides[0].count[i], i % 2);
			if (i % 2 == 1)
				assert_int_equal(f.sides[0].status[i],
						 RPC_STATUS_NOENT);
		}
	}
}

static void deadline_poll(struct env_timer *timer)
{
	struct side *s = CONTAINER_OF(timer, struct side, timer);

	if (s->done < 5 || s->f->n_parked < 5) {
		env_timer_set(side_env(s), timer, 1000000);
		return;
	}
	/* late replies come now and must find nobody */
	SEND(s, cluster_get, 0, NULL, cancel_released, s, .have = 0);
}

static void deadline_start(struct side *s)
{
	park_send(s, 5, 30);
	s->timer.cb = deadline_poll;
	env_timer_set(side_env(s), &s->timer, 1000000);
}

static void test_deadline(void **state)
{
	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture f = { 0 };

		run(&f, 1, local != 0, deadline_start);
		assert_int_equal(f.sides[0].step, 1);
		for (unsigned i = 0; i < 5; i++) {
			assert_int_equal(f.sides[0].count[i], 1);
			assert_int_equal(f.sides[0].status[i],
					 RPC_STATUS_TIMEDOUT);
		}
	}
}

static void free_poll(struct env_timer *timer)
{
	struct side *s = CONTAINER_OF(timer, struct side, timer);

	if (s->step == 0 && s->f->n_parked == 8) {
		s->step = 1;
		rpc_link_free(s->link);
		s->link = NULL;
		s->bad = s->done; /* none of them inside free */
	}
	if (s->done < 8) {
		env_timer_set(side_env(s), timer, 1000000);
		return;
	}
	while (s->f->n_parked > 0)
		rpc_reply(s->f->parked[--s->f->n_parked], NULL, NULL);
	side_finish(s);
}

static void free_start(struct side *s)
{
	park_send(s, 8, 0);
	s->timer.cb = free_poll;
	env_timer_set(side_env(s), &s->timer, 1000000);
}

static void test_link_free(void **state)
{
	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture f = { 0 };

		run(&f, 1, local != 0, free_start);
		assert_int_equal(f.sides[0].bad, 0);
		for (unsigned i = 0; i < 8; i++) {
			assert_int_equal(f.sides[0].count[i], 1);
			assert_int_equal(f.sides[0].status[i],
					 RPC_STATUS_UNAVAILABLE);
		}
	}
}

/* --- the server goes and comes back --- */

static void death_again(struct side *s);

static void death_after(void *arg, const struct rpc_reply *r)
{
	struct side *s = arg;

	if (r->status == RPC_STATUS_OK) {
		side_finish(s);
		return;
	}
	if (r->status != RPC_STATUS_UNAVAILABLE)
		s->bad++;
	s->sent++;
	if (s->sent == 3 && make_server(s->f) != 0)
		s->bad++;
	death_again(s);
}

static void death_again(struct side *s)
{
	s->n = s->sent;
	s->sent = 0; /* group 0 */
	SEND(s, getattr, 5000, NULL, death_after, s, .ino = 1);
	s->sent = s->n;
}

static void death_poll(struct env_timer *timer)
{
	struct side *s = CONTAINER_OF(timer, struct side, timer);

	if (s->step == 0 && s->f->n_parked == 4) {
		s->step = 1;
		rpc_server_free(s->f->server);
		s->f->server = NULL;
	}
	if (s->done < 4) {
		env_timer_set(side_env(s), timer, 1000000);
		return;
	}
	/* owed replies after the server is gone */
	while (s->f->n_parked > 0)
		rpc_reply(s->f->parked[--s->f->n_parked], NULL, NULL);
	death_again(s);
}

static void death_start(struct side *s)
{
	park_send(s, 4, 0);
	s->timer.cb = death_poll;
	env_timer_set(side_env(s), &s->timer, 1000000);
}

static void test_server_death(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	run(&f, 1, false, death_start);
	assert_int_equal(f.sides[0].bad, 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(f.sides[0].count[i], 1);
		assert_int_equal(f.sides[0].status[i],
				 RPC_STATUS_UNAVAILABLE);
	}
}

/* --- refusals --- */

static void refuse_done(void *arg, const struct rpc_reply *r)
{
	struct slot *t = arg;

	t->s->status[t->i] = r->status;
	t->s->count[t->i]++;
	if (++t->s->done == 5)
		side_finish(t->s);
}

static int enc_short(const void *m, struct buf *out)
{
	buf_add(out, m, 3);
	return 0;
}

static int enc_huge(const void *m, struct buf *out)
{
	uint8_t *p = buf_reserve(out, FRAME_PAYLOAD_MAX + 1);

	(void)m;
	if (p != NULL) {
		memset(p, 0, FRAME_PAYLOAD_MAX + 1);
		out->len = FRAME_PAYLOAD_MAX + 1;
	}
	return 0;
}

static void refuse_start(struct side *s)
{
	struct buf out;
	struct rpc_send send = { .tag = RPC_TAG_getattr, .payload = &out,
				 .store = { 3, 5 }, .done = refuse_done,
				 .arg = &slots[3] };

	for (unsigned i = 0; i < 5; i++)
		slots[i] = (struct slot){ s, i };
	/* a storage node has no business with this one */
	SEND(s, getattr, 0, NULL, refuse_done, &slots[0], .ino = 1);
	/* allowed for all, but nobody registered it */
	side_send(s, RPC_TAG_session_open, 0, NULL, refuse_done, &slots[1],
		  side_enc_getattr, &(struct rpc_getattr){ 0 });
	side_send(s, RPC_TAG_session_renew, 0, NULL, refuse_done, &slots[2],
		  enc_short, "abc");
	buf_init(&out, 0);
	send.tag = RPC_TAG_session_renew;
	rpc_link_send(s->link, &send);
	side_send(s, RPC_TAG_session_renew, 0, NULL, refuse_done, &slots[4],
		  enc_huge, NULL);
}

static void test_refusals(void **state)
{
	static const uint32_t want[] = {
		RPC_STATUS_DENIED, RPC_STATUS_UNKNOWN_MSG, RPC_STATUS_BADMSG,
		RPC_STATUS_WRONG_STORE, RPC_STATUS_INVAL,
	};

	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture f = { .role = RPC_ROLE_STORAGE };

		run(&f, 1, local != 0, refuse_start);
		for (unsigned i = 0; i < 5; i++) {
			assert_int_equal(f.sides[0].count[i], 1);
			assert_int_equal(f.sides[0].status[i], want[i]);
		}
	}
}

/* --- garbage --- */

struct stranger {
	pthread_t thread;
	atomic_int left; /* tries to go */
	atomic_int stuck; /* connections the server did not close */
	unsigned seed;
};

static size_t stranger_frame(uint8_t *out, uint8_t type, uint16_t tag,
			     uint64_t number, const struct buf *payload,
			     uint32_t body)
{
	struct frame f = { .type = type, .tag = tag, .id = 1,
			   .number = number, .body_len = body,
			   .payload_len = (uint32_t)payload->len,
			   .payload_sum = frame_sum(payload->data,
						    payload->len) };

	frame_encode(&f, out);
	if (payload->len > 0)
		memcpy(out + FRAME_HEADER_LEN, payload->data, payload->len);
	return FRAME_HEADER_LEN + payload->len;
}

/* HELLO (perhaps damaged), then something that no client says. */
static size_t stranger_say(struct stranger *t, uint8_t *out, unsigned kind)
{
	struct rpc_hello hello = { .proto = 1, .role = wire_cstr("gateway"),
				   .link = 77 + kind };
	struct rpc_getattr get = { .ino = 1 };
	struct buf b;
	size_t n;

	if (kind == 0) {
		for (n = 0; n < 500; n++)
			out[n] = (uint8_t)rand_r(&t->seed);
		return n;
	}
	if (kind == 1)
		hello.role = wire_cstr("king");
	if (kind == 2)
		hello.proto = 99;
	if (kind == 3)
		hello.channel = 2;
	buf_init(&b, 0);
	rpc_hello_encode(&hello, &b);
	n = stranger_frame(out, FRAME_REQUEST, RPC_TAG_hello, 1, &b, 0);
	if (kind == 4)
		out[n - 1] ^= 1;
	if (kind == 5)
		n += stranger_frame(out + n, FRAME_REQUEST, RPC_TAG_getattr,
				    2, &b, 0);
	buf_fini(&b);
	if (kind < 6)
		return n;
	(void)get;
	return n;
}

/* Said after the server's answer to HELLO. */
static size_t stranger_say_more(struct stranger *t, uint8_t *out, unsigned kind)
{
	struct rpc_getattr get = { .ino = 1 };
	struct buf b;
	size_t n = 0;

	buf_init(&b, 0);
	rpc_getattr_encode(&get, &b);
	switch (kind) {
	case 6: /* a gap in the numbers */
		n = stranger_frame(out, FRAME_REQUEST, RPC_TAG_getattr, 9, &b,
				   0);
		break;
	case 7: /* a body that belongs to nothing */
		n = stranger_frame(out, FRAME_BODY, 0, 2, &b, 8);
		break;
	case 8: /* more body than announced */
		n = stranger_frame(out, FRAME_REQUEST, RPC_TAG_chunk_put, 2,
				   &b, 4);
		n += stranger_frame(out + n, FRAME_BODY, 0, 3, &b, 0);
		break;
	case 9: /* a reply to a server */
		n = stranger_frame(out, FRAME_REPLY, 0, 2, &b, 0);
		break;
	case 10: /* a damaged payload */
		n = stranger_frame(out, FRAME_REQUEST, RPC_TAG_getattr, 2, &b,
				   0);
		out[n - 1] ^= 1;
		break;
	default:
		for (n = 0; n < 300; n++)
			out[n] = (uint8_t)rand_r(&t->seed);
	}
	buf_fini(&b);
	return n;
}

static void stranger_try(struct stranger *t, unsigned kind)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct timeval tv = { .tv_sec = 20 };
	uint8_t bytes[2048];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t n;
	ssize_t got;

	strcpy(sun.sun_path, addr + 5);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0)
		abort();
	n = stranger_say(t, bytes, kind);
	(void)send(fd, bytes, n, MSG_NOSIGNAL);
	if (kind >= 6) {
		if (read(fd, bytes, sizeof(bytes)) <= 0)
			atomic_fetch_add(&t->stuck, 1);
		n = stranger_say_more(t, bytes, kind);
		(void)send(fd, bytes, n, MSG_NOSIGNAL);
	}
	do {
		got = read(fd, bytes, sizeof(bytes));
	} while (got > 0);
	if (got < 0 && errno != ECONNRESET)
		atomic_fetch_add(&t->stuck, 1);
	close(fd);
}

static struct stranger stranger;

static void *stranger_main(void *arg)
{
	struct stranger *t = arg;

	for (unsigned i = 0; i < 60; i++)
		stranger_try(t, i % 12);
	atomic_store(&t->left, 0);
	return NULL;
}

static void garbage_poll(struct env_timer *timer)
{
	struct side *s = CONTAINER_OF(timer, struct side, timer);

	if (atomic_load(&stranger.left) == 0 && s->done == s->sent) {
		side_finish(s);
		return;
	}
	/* honest work goes on beside it */
	if (s->done == s->sent) {
		s->sent++;
		SEND(s, getattr, 0, NULL, burst_done, s, .ino = 1);
	}
	env_timer_set(side_env(s), timer, 1000000);
}

static void garbage_start(struct side *s)
{
	if (s->index == 0 &&
	    pthread_create(&stranger.thread, NULL, stranger_main, &stranger))
		abort();
	s->timer.cb = garbage_poll;
	env_timer_set(side_env(s), &s->timer, 1000000);
}

static void test_garbage(void **state)
{
	struct fixture f = { .wanted = UINT32_MAX };

	(void)state;
	atomic_store(&stranger.left, 1);
	stranger.seed = (unsigned)time(NULL);
	print_message("# seed %u\n", stranger.seed);
	run(&f, 2, false, garbage_start);
	pthread_join(stranger.thread, NULL);
	assert_int_equal(atomic_load(&stranger.stuck), 0);
	assert_int_equal(f.sides[0].bad + f.sides[1].bad, 0);
}

/* --- bodies that come in pieces of any size --- */

#define PIECES_BODY 700000u
#define PIECES_CALLS 12u
/* with the headers of their frames */
#define PIECES_MAX (PIECES_BODY + 16u * FRAME_HEADER_LEN)

static uint8_t pieces_byte(unsigned call, uint32_t i)
{
	return (uint8_t)(i * 31 + i / 251 + call);
}

static size_t pieces_put(uint8_t *out, struct frame *f, const uint8_t *payload,
			 size_t len)
{
	f->payload_len = (uint32_t)len;
	f->payload_sum = frame_sum(payload, len);
	f->number++;
	frame_encode(f, out);
	if (len > 0)
		memcpy(out + FRAME_HEADER_LEN, payload, len);
	return FRAME_HEADER_LEN + len;
}

/* CHUNK_PUT with a body, as frames; *number is that of the frame before. */
static size_t pieces_say(uint8_t *out, unsigned call, uint64_t *number)
{
	struct rpc_chunk_put put;
	struct frame f = { .type = FRAME_REQUEST, .tag = RPC_TAG_chunk_put,
			   .id = call + 1, .number = *number,
			   .body_len = PIECES_BODY };
	uint8_t *body = malloc(PIECES_BODY);
	struct buf b;
	size_t n;

	for (uint32_t i = 0; i < PIECES_BODY; i++)
		body[i] = pieces_byte(call, i);
	memset(&put, 0, sizeof(put));
	buf_init(&b, 0);
	rpc_chunk_put_encode(&put, &b);
	n = pieces_put(out, &f, b.data, b.len);
	buf_fini(&b);
	f.type = FRAME_BODY;
	for (uint32_t at = 0, len; at < PIECES_BODY; at += len) {
		len = PIECES_BODY - at < FRAME_BODY_PART ? PIECES_BODY - at
							 : FRAME_BODY_PART;
		n += pieces_put(out + n, &f, body + at, len);
	}
	free(body);
	*number = f.number;
	return n;
}

static bool pieces_read(int fd, uint8_t *to, size_t len)
{
	return recv(fd, to, len, MSG_WAITALL) == (ssize_t)len;
}

/* The echo of one call, with the right bytes? */
static bool pieces_heard(int fd, unsigned call, uint8_t *scratch)
{
	struct frame f;
	uint32_t have = 0;

	if (!pieces_read(fd, scratch, FRAME_HEADER_LEN) ||
	    frame_decode(&f, scratch) != 0 || f.type != FRAME_REPLY ||
	    f.id != call + 1 || f.status != 0 || f.body_len != PIECES_BODY ||
	    !pieces_read(fd, scratch, f.payload_len))
		return false;
	while (have < PIECES_BODY) {
		if (!pieces_read(fd, scratch, FRAME_HEADER_LEN) ||
		    frame_decode(&f, scratch) != 0 || f.type != FRAME_BODY ||
		    !pieces_read(fd, scratch, f.payload_len))
			return false;
		for (uint32_t i = 0; i < f.payload_len; i++)
			if (scratch[i] != pieces_byte(call, have + i))
				return false;
		have += f.payload_len;
	}
	return true;
}

/* Mostly few bytes, at times many: headers are cut anywhere. */
static void pieces_send(int fd, const uint8_t *p, size_t len, unsigned *seed)
{
	size_t at = 0;

	while (at < len) {
		unsigned roll = (unsigned)rand_r(seed);
		size_t n = roll % 4 == 0 ? 1 + roll / 4 % 200000
					 : 1 + roll / 4 % 90;
		ssize_t sent = send(fd, p + at, n < len - at ? n : len - at,
				    MSG_NOSIGNAL);

		if (sent < 0)
			return; /* the echo will be missing */
		at += (size_t)sent;
	}
}

static int pieces_connect(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct timeval tv = { .tv_sec = 20 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sun.sun_path, addr + 5);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0)
		abort();
	return fd;
}

static void *pieces_main(void *arg)
{
	struct stranger *t = arg;
	uint8_t *bytes = malloc(PIECES_MAX);
	uint64_t number = 1;
	int fd = pieces_connect();
	size_t n = stranger_say(t, bytes, 6);
	struct frame f;

	(void)send(fd, bytes, n, MSG_NOSIGNAL);
	if (!pieces_read(fd, bytes, FRAME_HEADER_LEN) ||
	    frame_decode(&f, bytes) != 0 ||
	    !pieces_read(fd, bytes, f.payload_len))
		atomic_fetch_add(&t->stuck, 1);
	for (unsigned call = 0; call < PIECES_CALLS; call++) {
		n = pieces_say(bytes, call, &number);
		pieces_send(fd, bytes, n, &t->seed);
		if (!pieces_heard(fd, call, bytes))
			atomic_fetch_add(&t->stuck, 1);
	}
	close(fd);
	free(bytes);
	atomic_store(&t->left, 0);
	return NULL;
}

static void pieces_start(struct side *s)
{
	if (pthread_create(&stranger.thread, NULL, pieces_main, &stranger))
		abort();
	s->timer.cb = garbage_poll;
	env_timer_set(side_env(s), &s->timer, 1000000);
}

static void test_pieces(void **state)
{
	struct fixture f = { .wanted = UINT32_MAX };

	(void)state;
	atomic_store(&stranger.left, 1);
	atomic_store(&stranger.stuck, 0);
	stranger.seed = (unsigned)time(NULL);
	print_message("# seed %u\n", stranger.seed);
	run(&f, 1, false, pieces_start);
	pthread_join(stranger.thread, NULL);
	assert_int_equal(atomic_load(&stranger.stuck), 0);
	assert_int_equal(f.sides[0].bad, 0);
}

/* --- allocation failures: exactly one outcome for every call --- */

static int fault_at, fault_n, fault_count;

static int fault_hook(void)
{
	int i = fault_count++;

	return i >= fault_at && i < fault_at + fault_n;
}

static void fault_done(void *arg, const struct rpc_reply *r)
{
	struct slot *t = arg;

	(void)r;
	t->s->count[t->i]++;
	if (++t->s->done == 4)
		side_finish(t->s);
}

static void fault_start(struct side *s)
{
	struct rpc_call *c;
	struct body *b;

	fault_count = 0;
	mem_fault_hook = fault_hook;
	for (unsigned i = 0; i < 4; i++) {
		slots[i] = (struct slot){ s, i };
		b = NULL;
		if (i % 2 == 1) {
			b = body_new(300000);
			if (b != NULL) {
				memset(b->data, 5, 300000);
				b->len = 300000;
			}
		}
		c = i % 2 ? SEND(s, chunk_put, 2000, b, fault_done, &slots[i],
				 .index = 1) :
			    SEND(s, getattr, 2000, NULL, fault_done, &slots[i],
				 .ino = 1);
		if (c == NULL) {
			s->count[i]++;
			s->done++;
		}
	}
	if (s->done == 4)
		side_finish(s);
}

static void test_faults(void **state)
{
	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		for (fault_n = 1; fault_n <= 3; fault_n++) {
			for (fault_at = 0;; fault_at++) {
				struct fixture f = { 0 };

				run(&f, 1, local != 0, fault_start);
				mem_fault_hook = NULL;
				for (unsigned i = 0; i < 4; i++)
					assert_int_equal(f.sides[0].count[i],
							 1);
				if (fault_count <= fault_at)
					break;
			}
		}
	}
}

/* --- speed of a hop in process, for the log --- */

static void hop_done(void *arg, const struct rpc_reply *r)
{
	struct side *s = arg;

	if (r->status != RPC_STATUS_OK)
		s->bad++;
	if (++s->done == s->f->wanted) {
		side_finish(s);
		return;
	}
	if (s->sent < s->f->wanted) {
		SEND(s, getattr, 0, NULL, hop_done, s, .ino = 1);
		s->sent++;
	}
}

static void hop_start(struct side *s)
{
	for (s->sent = 0; s->sent < 16; s->sent++)
		SEND(s, getattr, 0, NULL, hop_done, s, .ino = 1);
}

static void test_hops(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 4; kind++) {
		struct fixture f = { .wanted = 20000 };
		struct timespec a, b;
		double us;
		unsigned loops = kind % 2 + 1;

		clock_gettime(CLOCK_MONOTONIC, &a);
		run(&f, loops, kind < 2, hop_start);
		clock_gettime(CLOCK_MONOTONIC, &b);
		us = (double)(b.tv_sec - a.tv_sec) * 1e6 +
		     (double)(b.tv_nsec - a.tv_nsec) / 1e3;
		print_message("# %s, %u loops: %.2f us per call\n",
			      kind < 2 ? "in process" : "unix socket", loops,
			      us / (f.wanted * loops));
		assert_int_equal(f.sides[0].bad, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_echo),
		cmocka_unit_test(test_burst),
		cmocka_unit_test(test_lanes),
		cmocka_unit_test(test_reply_bodies),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_link_free),
		cmocka_unit_test(test_server_death),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_hops),
	};
	int rv;

	snprintf(dir, sizeof(dir), "/tmp/test_rpc.XXXXXX");
	if (mkdtemp(dir) == NULL)
		return 1;
	snprintf(addr, sizeof(addr), "unix:%s/s", dir);
	rv = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(addr + 5);
	rmdir(dir);
	return rv;
}
