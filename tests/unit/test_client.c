/*
 * Calls of the client against a scripted server: routing, retries with the
 * same identity, deadlines, slots, refresh.
 */
#include "tests/unit/clientfix.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/client/follow.h"

static void test_cluster_damage(void **state)
{
	struct fixture *f = fixture_new();
	struct cluster *c;
	struct buf b;

	(void)state;
	buf_init(&b, 0);
	assert_int_equal(fixture_cluster(f, &b), 0);
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
			struct wire_bytes to = wire_cstr(fixture_addr);
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
		fixture_run(f, basic_start);
		for (unsigned i = 0; i < f->n_loops; i++) {
			assert_int_equal(sides[i].done, 100);
			assert_int_equal(sides[i].bad, 0);
		}
		assert_int_equal(f->opens, 1);
		free(f);
	}
}

/* --- retries --- */

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
		fixture_run(f, closes_start);
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
		assert_true(f->again[0]);
		assert_false(f->again[1]);
		free(f);
	}
}

/* --- the server dies with the mutation and comes back --- */

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
		if (fixture_serve(f) != 0)
			f->bad++;
	}
	env_timer_set(env0(f), timer, 1000000);
}

static void loss_start(struct fixture *f)
{
	f->park = true;
	f->timer.cb = loss_poll;
	env_timer_set(env0(f), &f->timer, 1000000);
	send_close(client0(f), 0, last_done, f);
}

static void test_connection_loss(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	fixture_run(f, loss_start);
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

static void follow_start(struct fixture *f)
{
	struct rpc_delete m = { .root = INO, .key = wire_cstr("a/key") };

	CLIENT_SEND(client_of(f->set, loop_set_get(f->loops, 0)), delete,
		    CLIENT_FIRST, &m, last_done, f);
}

static uint16_t first_shard(uint16_t tag, const struct buf *b)
{
	return client_first_shard(tag, wire_bytes(b->data, b->len));
}

/* A name that moves: the directory that it leaves, not where it goes. */
static void test_first_shard(void **state)
{
	struct rpc_rename re = { .client = UINT64_MAX, .slot = UINT32_MAX,
				 .seq = UINT64_MAX,
				 .dir = ino_make(4, 9),
				 .dir2 = ino_make(5, 9) };
	struct rpc_lookup look = { .dir = ino_make(6, 9) };
	struct buf b;

	(void)state;
	buf_init(&b, 0);
	assert_int_equal(rpc_rename_encode(&re, &b), 0);
	assert_int_equal(first_shard(RPC_TAG_rename, &b), 4);
	buf_reset(&b);
	assert_int_equal(rpc_lookup_encode(&look, &b), 0);
	assert_int_equal(first_shard(RPC_TAG_lookup, &b), 6);
	b.len = 3; /* nonsense leads nowhere, and to no byte behind it */
	(void)first_shard(RPC_TAG_lookup, &b);
	(void)first_shard(RPC_TAG_rename, &b);
	buf_fini(&b);
}

/* Each place gets a number of its own, and is told when it is asked again. */
static void test_elsewhere(void **state)
{
	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture *f = fixture_new();

		f->local = local;
		fixture_run(f, follow_start);
		assert_int_equal(f->bad, 0);
		assert_int_equal(f->done, 1);
		assert_int_equal(f->status[0], RPC_STATUS_OK);
		assert_int_equal(f->n_seen, 3);
		assert_int_equal(f->seen[0].seq, 1);
		assert_int_equal(f->seen[1].seq, 2);
		assert_int_equal(f->seen[2].seq, 2 | RPC_SEQ_AGAIN);
		assert_int_equal(f->seen[2].slot, f->seen[0].slot);
		assert_true(f->again[0]);
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
		fixture_finish(f);
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
		fixture_run(f, deadline_start);
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
		fixture_finish(f);
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
	fixture_run(f, slots_start);
	assert_int_equal(f->bad, 0);
	assert_int_equal(f->n_seen, 3000);
	for (unsigned i = 0; i < f->n_seen; i++) {
		assert_true(f->seen[i].slot < 1024);
		assert_int_equal(f->seen[i].seq, ++seq[f->seen[i].slot]);
	}
	free(seq);
	free(f);
}

/* --- refresh --- */

static void refresh_third(void *arg, int status)
{
	struct fixture *f = arg;

	f->status[2] = (uint32_t)client_cluster(client0(f))->top.version;
	if (status != 0)
		f->bad++;
	fixture_finish(f);
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
	fixture_run(f, refresh_start);
	assert_int_equal(f->bad, 0);
	assert_int_equal(f->status[0], 1);
	assert_int_equal(f->status[1], 2);
	assert_int_equal(f->status[2], 3);
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
	send_close(client0(f), 0, last_done, f);
}

static void test_cancel(void **state)
{
	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture *f = fixture_new();

		f->local = local;
		fixture_run(f, cancel_start);
		assert_int_equal(f->bad, 0);
		free(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cluster_damage),
		cmocka_unit_test(test_basic),
		cmocka_unit_test(test_retry),
		cmocka_unit_test(test_connection_loss),
		cmocka_unit_test(test_elsewhere),
		cmocka_unit_test(test_first_shard),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_slots),
		cmocka_unit_test(test_refresh),
		cmocka_unit_test(test_cancel),
	};

	return fixture_main(tests);
}
