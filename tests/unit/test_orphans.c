/*
 * storaged/orphans: the sweep against shards and managers that are a table. The
 * table says what may go; that the shards' own answers are right is tested with
 * the namespace (test_ns_slice.c).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <xxhash.h>

#include "common/base/mem.h"
#include "common/wire/msgs.h"
#include "common/wire/status.h"
#include "storaged/chunk.h"
#include "storaged/orphans.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"

#define SECOND 1000000000ull
#define HOUR (3600 * SECOND)
enum { SLICES = 3000, CHUNKS = 2, OVER = 7, ALIVE = 9 /* sessions */ };

/* What a shard knows of a slice that has chunks here. */
enum know { UNKNOWN, NAMED, DEAD };

struct slice {
	struct wire_u128 id;
	enum know know;
	bool gone; /* was dropped */
};

struct world {
	struct crashfs *fs;
	struct minienv *m;
	struct rows_mem_image *image;
	struct chunk_store *cs;
	struct seg_head *bulk;
	struct seg_port *port;
	struct chunk_loop *cl;
	struct orphans *o;
	struct slice slices[SLICES];
	unsigned n;
	unsigned asked, reaped, checked;
	unsigned fail_at;  /* the nth message from now on fails; 0: none */
	int fail_with;     /* -errno of send, or status of the answer */
	unsigned broken;   /* a shard that nobody has */
	unsigned wrong;    /* what may not happen */
	/* the message under way */
	struct env_task answer;
	uint16_t tag;
	struct buf payload;
	orphans_done_fn done;
	void *arg;
	unsigned commit;   /* slice + 1 that is named before it is reaped */
};

/* --- shards and managers --- */

static struct slice *world_find(struct world *w, struct wire_u128 id)
{
	for (unsigned i = 0; i < w->n; i++)
		if (w->slices[i].id.hi == id.hi && w->slices[i].id.lo == id.lo)
			return &w->slices[i];
	return NULL;
}

static int64_t world_age(struct world *w, struct wire_u128 id)
{
	return env_wall_ns(minienv_env(w->m)) / (int64_t)SECOND -
	       slice_second(id);
}

static uint8_t answer_ask(struct world *w, struct slice *s)
{
	w->asked++;
	/* the grace is over, else it need not be asked for */
	w->wrong += world_age(w, s->id) <= 3600;
	return s->know == UNKNOWN ? RPC_SLICE_UNKNOWN
	       : s->know == DEAD  ? RPC_SLICE_DEAD
				  : RPC_SLICE_ALIVE;
}

static uint8_t answer_reap(struct world *w, struct slice *s)
{
	w->reaped++;
	if (w->commit == (unsigned)(s - w->slices) + 1)
		s->know = NAMED; /* just in time */
	w->wrong += slice_session(s->id) != OVER &&
		    world_age(w, s->id) <= 25 * 3600;
	if (s->know == UNKNOWN)
		s->know = DEAD;
	return s->know == DEAD;
}

static void answer_slices(struct world *w, struct wire_bytes list,
			  uint8_t (*one)(struct world *w, struct slice *s),
			  struct buf *out)
{
	struct wire_reader r;
	uint16_t home = 0;
	uint32_t n;

	r = wire_vec_reader(list, &n);
	w->wrong += n == 0 || n > 256;
	for (uint32_t i = 0; i < n; i++) {
		struct wire_u128 id;
		struct slice *s;
		uint8_t byte;

		wire_get_u128(&r, &id);
		w->wrong += i > 0 && slice_home(id) != home;
		home = slice_home(id);
		s = world_find(w, id);
		if (s == NULL) {
			w->wrong++;
			continue;
		}
		byte = one(w, s);
		buf_add(out, &byte, 1);
	}
}

static void answer_sessions(struct world *w, struct wire_bytes ids,
			    struct buf *out)
{
	struct wire_reader r = { .p = ids.p, .left = ids.len };

	w->checked++;
	while (r.left >= 8) {
		uint64_t id;
		uint8_t over;

		wire_get_u64(&r, &id);
		over = id == OVER;
		buf_add(out, &over, 1);
	}
}

static void world_answer(struct env_task *task)
{
	struct world *w = CONTAINER_OF(task, struct world, answer);
	uint32_t status = RPC_STATUS_OK;
	struct buf bytes, out;

	buf_init(&bytes, 0);
	buf_init(&out, 0);
	if (w->fail_at > 0 && --w->fail_at == 0) {
		status = (uint32_t)w->fail_with;
	} else if (w->tag == RPC_TAG_slice_ask) {
		struct rpc_slice_ask_rsp rsp;
		struct rpc_slice_ask m;

		(void)rpc_slice_ask_decode(&m, w->payload.data, w->payload.len);
		answer_slices(w, m.slices, answer_ask, &bytes);
		rsp.states = wire_bytes(bytes.data, bytes.len);
		(void)rpc_slice_ask_rsp_encode(&rsp, &out);
	} else if (w->tag == RPC_TAG_slice_reap) {
		struct rpc_slice_reap_rsp rsp;
		struct rpc_slice_reap m;

		(void)rpc_slice_reap_decode(&m, w->payload.data,
					    w->payload.len);
		w->wrong += m.before > 0;
		answer_slices(w, m.slices, answer_reap, &bytes);
		rsp.dead = wire_bytes(bytes.data, bytes.len);
		(void)rpc_slice_reap_rsp_encode(&rsp, &out);
	} else if (w->tag == RPC_TAG_session_check) {
		struct rpc_session_check_rsp rsp;
		struct rpc_session_check m;

		(void)rpc_session_check_decode(&m, w->payload.data,
					       w->payload.len);
		answer_sessions(w, m.sessions, &bytes);
		rsp.over = wire_bytes(bytes.data, bytes.len);
		(void)rpc_session_check_rsp_encode(&rsp, &out);
	} else {
		w->wrong++;
	}
	buf_fini(&w->payload);
	w->done(w->arg, status, wire_bytes(out.data, out.len));
	buf_fini(&bytes);
	buf_fini(&out);
}

static int world_send(void *arg, uint16_t tag, uint16_t shard,
		      struct buf *payload, orphans_done_fn done, void *done_arg)
{
	struct world *w = arg;

	if (tag != RPC_TAG_session_check && shard == w->broken)
		return -ENOENT;
	if (w->fail_at == 1 && w->fail_with < 0) {
		w->fail_at = 0;
		return w->fail_with;
	}
	w->tag = tag;
	w->payload = *payload;
	buf_init(payload, 0);
	w->done = done;
	w->arg = done_arg;
	w->answer.run = world_answer;
	env_post(minienv_env(w->m), &w->answer);
	return 0;
}

/* --- the store --- */

static void on_put(void *arg, uint32_t status, struct body *body)
{
	(void)body;
	assert_int_equal(status, RPC_STATUS_OK);
	++*(unsigned *)arg;
}

static struct slice *world_put(struct world *w, uint16_t home, uint64_t age_s,
			       uint64_t session, enum know know)
{
	int64_t now = env_wall_ns(minienv_env(w->m)) / (int64_t)SECOND;
	struct slice *s = &w->slices[w->n++];
	unsigned done = 0;

	s->id = slice_make(home, (uint32_t)(now - (int64_t)age_s), session,
			   w->n);
	s->know = know;
	for (unsigned i = 0; i < CHUNKS; i++) {
		struct body *b = body_new(16);
		XXH128_hash_t h;

		memset(b->data, (int)w->n, 16);
		b->len = 16;
		h = XXH3_128bits(b->data, 16);
		assert_int_equal(chunk_put(w->cl, s->id, i,
					   (struct wire_u128){ h.high64,
							       h.low64 },
					   b, on_put, &done), 0);
		body_unref(b);
	}
	minienv_run(w->m);
	assert_int_equal(done, CHUNKS);
	return s;
}

static void on_check(void *arg, uint32_t status, uint32_t len)
{
	(void)len;
	*(uint32_t *)arg = status;
}

static bool world_has(struct world *w, const struct slice *s)
{
	uint32_t first = 99, second = 99, n = 99;
	uint64_t bytes;

	assert_int_equal(chunk_check(w->cl, s->id, 0, false, on_check, &first),
			 0);
	assert_int_equal(chunk_check(w->cl, s->id, 1, false, on_check,
				     &second), 0);
	minienv_run(w->m);
	assert_int_equal(first, second);
	assert_int_equal(chunk_store_slice(w->cs, s->id, &n, &bytes), 0);
	assert_int_equal(n, first == RPC_STATUS_OK ? 2 : 0);
	return first == RPC_STATUS_OK;
}

static void world_init(struct world *w)
{
	struct seg_config sc = { .dir = "bulk", .segment_size = 1 << 20,
				 .bulk = true };
	struct orphans_config oc = { .send = world_send, .arg = w };
	struct errbuf e = { "" };
	struct rows_back *back;

	memset(w, 0, sizeof *w);
	w->broken = UINT16_MAX + 1;
	w->fs = crashfs_new(1);
	w->image = rows_mem_image_new();
	w->m = minienv_new(crashfs_vfs(w->fs), 1);
	oc.env = minienv_env(w->m);
	assert_int_equal(rows_back_mem(w->image, &back), 0);
	assert_int_equal(chunk_store_new(back, &w->cs), 0);
	if (seg_head_open(oc.env, &sc, &w->bulk, &e) != 0)
		fail_msg("%s", e.text);
	assert_int_equal(chunk_store_set_bulk(w->cs, w->bulk), 0);
	assert_int_equal(seg_port_new(w->bulk, oc.env, &w->port), 0);
	assert_int_equal(chunk_loop_new(w->cs, oc.env, w->port, &w->cl), 0);
	oc.store = w->cs;
	oc.chunks = w->cl;
	assert_int_equal(orphans_new(&oc, &w->o), 0);
	minienv_run(w->m);
}

static void world_fini(struct world *w)
{
	assert_int_equal(w->wrong, 0);
	orphans_stop(w->o);
	minienv_run(w->m); /* what is under way ends */
	crashfs_freeze(w->fs, true);
	seg_head_abandon(w->bulk);
	chunk_loop_free(w->cl);
	orphans_free(w->o);
	chunk_store_close(w->cs, false);
	seg_port_free(w->port);
	minienv_free(w->m);
	rows_mem_image_free(w->image);
	crashfs_free(w->fs);
}

static struct orphans_stats stats_of(struct world *w)
{
	struct orphans_stats s;

	orphans_stats(w->o, &s);
	return s;
}

/* Seconds since the last whole sweep began; -1: there was none. */
static int since_sweep(struct world *w)
{
	struct orphans_stats s = stats_of(w);

	return s.swept == 0 ? -1 : (int)(s.old - s.swept);
}

/* --- tests --- */

/* Each of the rules, on both sides of its limit. */
static void test_rules(void **state)
{
	static struct world w;
	struct slice *named, *dead, *young_dead, *orphan, *young, *alive, *day,
		*late;

	(void)state;
	world_init(&w);
	named = world_put(&w, 3, 90000, OVER, NAMED);
	dead = world_put(&w, 3, 4000, ALIVE, DEAD);
	young_dead = world_put(&w, 3, 2000, ALIVE, DEAD);
	orphan = world_put(&w, 9, 4000, OVER, UNKNOWN);
	young = world_put(&w, 9, 2000, OVER, UNKNOWN);
	alive = world_put(&w, 9, 23 * 3600, ALIVE, UNKNOWN);
	day = world_put(&w, 9, 25 * 3600 - 300, ALIVE, UNKNOWN);
	late = world_put(&w, UINT16_MAX, 4000, OVER, UNKNOWN);
	w.commit = (unsigned)(late - w.slices) + 1;
	assert_int_equal(since_sweep(&w), -1);
	orphans_start(w.o);
	minienv_advance(w.m, HOUR / 10 + 10 * SECOND);
	assert_int_equal(stats_of(&w).sweeps, 1);
	assert_in_range(since_sweep(&w), 9, 11);
	assert_int_equal(stats_of(&w).dropped, 3);
	assert_true(world_has(&w, named));
	assert_false(world_has(&w, dead));
	assert_true(world_has(&w, young_dead));
	assert_false(world_has(&w, orphan));
	assert_true(world_has(&w, young));
	assert_true(world_has(&w, alive));
	assert_false(world_has(&w, day)); /* 25 hours by now */
	assert_true(world_has(&w, late));
	minienv_advance(w.m, HOUR + 10 * SECOND);
	assert_int_equal(stats_of(&w).sweeps, 2);
	assert_false(world_has(&w, young_dead));
	assert_false(world_has(&w, young));
	assert_true(world_has(&w, alive));
	minienv_advance(w.m, 2 * HOUR);
	assert_false(world_has(&w, alive));
	assert_true(world_has(&w, named));
	assert_true(world_has(&w, late));
	world_fini(&w);
}

/* More than a message holds, of several homes; each is asked for once. */
static void test_many(void **state)
{
	static struct world w;
	unsigned orphans = 0;

	(void)state;
	world_init(&w);
	for (unsigned i = 0; i < 1500; i++) {
		enum know know = i % 3 == 0 ? UNKNOWN : NAMED;

		orphans += i % 3 == 0;
		world_put(&w, (uint16_t)(i % 4 * 5), 5000 + i, OVER, know);
	}
	orphans_start(w.o);
	minienv_advance(w.m, HOUR / 10 + 10 * SECOND);
	assert_int_equal(stats_of(&w).sweeps, 1);
	assert_int_equal(stats_of(&w).slices, 1500);
	assert_int_equal(w.asked, 1500);
	assert_int_equal(w.reaped, orphans);
	assert_int_equal(stats_of(&w).dropped, orphans);
	for (unsigned i = 0; i < w.n; i++)
		assert_int_equal(world_has(&w, &w.slices[i]),
				 w.slices[i].know == NAMED);
	world_fini(&w);
}

/* Whatever message fails, in whatever way: the next sweep does all of it. */
static void test_failures(void **state)
{
	static const int with[] = { -ENOMEM, RPC_STATUS_NOT_LEADER,
				    RPC_STATUS_TIMEDOUT, RPC_STATUS_OK };

	(void)state;
	for (unsigned how = 0; how < 4; how++)
		for (unsigned at = 1; at <= 6; at++) {
			static struct world w;

			world_init(&w);
			for (unsigned i = 0; i < 8; i++)
				world_put(&w, (uint16_t)(i / 4), 5000, OVER,
					  i % 2 == 0 ? UNKNOWN : NAMED);
			w.fail_at = at; /* OK: an answer without a byte */
			w.fail_with = with[how];
			orphans_start(w.o);
			minienv_advance(w.m, HOUR / 10 + 10 * SECOND);
			assert_int_equal(stats_of(&w).sweeps, 0);
			assert_int_equal(since_sweep(&w), -1);
			w.fail_at = 0;
			minienv_advance(w.m, 61 * SECOND);
			assert_int_equal(stats_of(&w).sweeps, 1);
			assert_in_range(since_sweep(&w), 1, 61);
			for (unsigned i = 0; i < w.n; i++)
				assert_int_equal(world_has(&w, &w.slices[i]),
						 i % 2 != 0);
			world_fini(&w);
		}
}

/* A shard that never answers is in nobody else's way. */
static void test_broken_shard(void **state)
{
	static struct world w;

	(void)state;
	world_init(&w);
	w.broken = 1;
	for (unsigned i = 0; i < 9; i++)
		world_put(&w, (uint16_t)(i / 3), 5000, OVER, UNKNOWN);
	orphans_start(w.o);
	minienv_advance(w.m, HOUR / 10 + 10 * SECOND);
	assert_int_equal(stats_of(&w).sweeps, 0);
	assert_int_equal(stats_of(&w).dropped, 6);
	for (unsigned i = 0; i < w.n; i++)
		assert_int_equal(world_has(&w, &w.slices[i]), i / 3 == 1);
	w.broken = UINT16_MAX + 1;
	minienv_advance(w.m, 61 * SECOND);
	assert_int_equal(stats_of(&w).sweeps, 1);
	assert_int_equal(stats_of(&w).dropped, 9);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_broken_shard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
