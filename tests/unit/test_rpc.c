/*
 * Servers and links on real loops, over unix sockets and in process. Callbacks
 * record, asserts come after the loops have returned.
 */
#include "tests/unit/rpcfix.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/mem.h"

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

		fixture_run(&f, kinds[i].loops, kinds[i].local, echo_start);
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

		fixture_run(&f, 2, local != 0, burst_start);
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
			fixture_run(&f, 3, false, lane_start);
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

		fixture_run(&f, 2, local != 0, bodies_start);
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

		fixture_run(&f, 1, local != 0, cancel_start);
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

		fixture_run(&f, 1, local != 0, deadline_start);
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

		fixture_run(&f, 1, local != 0, free_start);
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
	if (s->sent == 3 && fixture_serve(s->f) != 0)
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
	fixture_run(&f, 1, false, death_start);
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
	/* for another store, which knows the message */
	buf_init(&out, 0);
	send.tag = RPC_TAG_session_open;
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
	for (unsigned i = 0; i < 4; i++) {
		struct fixture f = { .role = RPC_ROLE_STORAGE,
				     .is_manager = i / 2 != 0 };

		fixture_run(&f, 1, i % 2 != 0, refuse_start);
		for (unsigned k = 0; k < 5; k++) {
			assert_int_equal(f.sides[0].count[k], 1);
			assert_int_equal(f.sides[0].status[k], want[k]);
		}
	}
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

				fixture_run(&f, 1, local != 0, fault_start);
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
		fixture_run(&f, loops, kind < 2, hop_start);
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
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_hops),
	};

	return fixture_main(tests);
}
