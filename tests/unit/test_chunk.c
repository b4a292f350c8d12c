/*
 * storaged/chunk*: the chunks of a store over a file system that knows power
 * cuts and an index in memory. What was acknowledged and not dropped is there
 * after any cut, with its bytes; the counts of segments are always right.
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
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"

#define SECOND 1000000000ull

struct world {
	struct crashfs *fs;
	struct minienv *m;
	struct rows_mem_image *image;
	struct chunk_store *cs;
	struct seg_head *bulk;
	struct seg_port *port;
	struct chunk_loop *cl;
	unsigned rots;
};

/* --- one process --- */

static int on_record(void *arg, const struct seg_rec *rec)
{
	struct world *w = arg;

	return chunk_store_recover(w->cs, rec);
}

static void on_rot(void *arg, const struct seg_rot *rot)
{
	struct world *w = arg;

	w->rots += (unsigned)rot->n;
}

static void world_start(struct world *w, uint64_t seed)
{
	struct seg_config sc = {
		.dir = "bulk", .segment_size = 64 << 10,
		.first_size = 16 << 10, .bulk = true,
		.on_record = on_record, .on_rot = on_rot, .arg = w,
	};
	struct errbuf e = { "" };
	struct rows_back *back;

	w->m = minienv_new(crashfs_vfs(w->fs), seed);
	assert_int_equal(rows_back_mem(w->image, &back), 0);
	assert_int_equal(chunk_store_new(back, &w->cs), 0);
	if (seg_head_open(minienv_env(w->m), &sc, &w->bulk, &e) != 0)
		fail_msg("%s", e.text);
	assert_int_equal(chunk_store_set_bulk(w->cs, w->bulk), 0);
	assert_int_equal(seg_port_new(w->bulk, minienv_env(w->m), &w->port),
			 0);
	assert_int_equal(chunk_loop_new(w->cs, minienv_env(w->m), w->port,
					&w->cl), 0);
	chunk_loop_start_saving(w->cl);
	minienv_run(w->m);
}

static void world_kill(struct world *w)
{
	crashfs_freeze(w->fs, true);
	seg_head_abandon(w->bulk);
	chunk_loop_free(w->cl);
	chunk_store_close(w->cs, false);
	seg_port_free(w->port);
	minienv_free(w->m);
	crashfs_freeze(w->fs, false);
}

static void world_power_cut(struct world *w, uint64_t seed)
{
	world_kill(w);
	crashfs_crash(w->fs, seed);
	world_start(w, seed);
}

static void world_init(struct world *w)
{
	memset(w, 0, sizeof *w);
	w->fs = crashfs_new(1);
	w->image = rows_mem_image_new();
	world_start(w, 1);
}

static void world_fini(struct world *w)
{
	world_kill(w);
	rows_mem_image_free(w->image);
	crashfs_free(w->fs);
}

static void on_finding(void *arg, const char *text)
{
	print_error("# %s\n", text);
	++*(unsigned *)arg;
}

static void world_check(struct world *w)
{
	unsigned findings = 0;

	assert_int_equal(chunk_store_check(w->cs, on_finding, &findings), 0);
	assert_int_equal(findings, 0);
}

static struct chunk_stats stats_of(struct world *w)
{
	struct chunk_stats s;

	chunk_store_stats(w->cs, &s);
	return s;
}

/* --- calls --- */

struct reply {
	unsigned n;
	uint32_t status;
	struct body *body;
};

static void on_reply(void *arg, uint32_t status, struct body *body)
{
	struct reply *r = arg;

	r->n++;
	r->status = status;
	r->body = body;
}

static void on_dropped(void *arg, uint32_t status)
{
	on_reply(arg, status, NULL);
}

static struct wire_u128 slice_of(unsigned n)
{
	return slice_make(3, 1700000000, 7, n);
}

/* Bytes that no other chunk has. */
static struct body *bytes_of(unsigned slice, unsigned index, unsigned version)
{
	uint32_t seed = slice * 2654435761u ^ index * 40503u ^ version;
	size_t len = 1 + seed % 9000;
	struct body *b = body_new(len);

	for (size_t i = 0; i < len; i++)
		b->data[i] = (uint8_t)(seed >> i % 4 * 8 ^ i / 4);
	b->len = (uint32_t)len;
	return b;
}

static void put_start(struct world *w, unsigned slice, unsigned index,
		      unsigned version, struct reply *r)
{
	struct body *b = bytes_of(slice, index, version);
	XXH128_hash_t h = XXH3_128bits(b->data, b->len);

	*r = (struct reply){ .n = 0 };
	assert_int_equal(chunk_put(w->cl, slice_of(slice), index,
				   (struct wire_u128){ h.high64, h.low64 }, b,
				   on_reply, r), 0);
	assert_int_equal(r->n, 0);
	body_unref(b);
}

static uint32_t put(struct world *w, unsigned slice, unsigned index)
{
	struct reply r;

	put_start(w, slice, index, 0, &r);
	minienv_run(w->m);
	assert_int_equal(r.n, 1);
	return r.status;
}

static void drop_start(struct world *w, unsigned slice, unsigned n,
		       struct reply *r)
{
	struct wire_u128 ids[8];

	for (unsigned i = 0; i < n; i++)
		ids[i] = slice_of(slice + i);
	*r = (struct reply){ .n = 0 };
	assert_int_equal(chunk_drop(w->cl, ids, n, on_dropped, r), 0);
	assert_int_equal(r->n, 0);
}

static void drop(struct world *w, unsigned slice, unsigned n)
{
	struct reply r;

	drop_start(w, slice, n, &r);
	minienv_run(w->m);
	assert_int_equal(r.n, 1);
	assert_int_equal(r.status, RPC_STATUS_OK);
}

/* NOENT, or OK and then with the right bytes. */
static uint32_t get(struct world *w, unsigned slice, unsigned index)
{
	struct reply r = { .n = 0 };

	assert_int_equal(chunk_get(w->cl, slice_of(slice), index, 0, 0,
				   on_reply, &r), 0);
	minienv_run(w->m);
	assert_int_equal(r.n, 1);
	if (r.status == RPC_STATUS_OK) {
		struct body *b = bytes_of(slice, index, 0);

		assert_int_equal(r.body->len, b->len);
		assert_memory_equal(r.body->data, b->data, b->len);
		body_unref(b);
		body_unref(r.body);
	}
	return r.status;
}

/* --- tests --- */

static void test_drop(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	for (unsigned s = 1; s <= 6; s++)
		for (unsigned i = 0; i < 5; i++)
			assert_int_equal(put(&w, s, i), RPC_STATUS_OK);
	assert_int_equal(stats_of(&w).live, 30);
	world_check(&w);
	drop(&w, 2, 1);
	drop(&w, 4, 2);
	drop(&w, 4, 2); /* again: nothing to do */
	drop(&w, 99, 3);
	world_check(&w);
	assert_int_equal(stats_of(&w).live, 15);
	for (unsigned s = 1; s <= 6; s++)
		for (unsigned i = 0; i < 5; i++)
			assert_int_equal(get(&w, s, i),
					 s == 2 || s == 4 || s == 5
						 ? RPC_STATUS_NOENT
						 : RPC_STATUS_OK);
	/* a put that came late: an orphan */
	assert_int_equal(put(&w, 2, 0), RPC_STATUS_OK);
	assert_int_equal(stats_of(&w).live, 16);
	drop(&w, 1, 6);
	assert_int_equal(stats_of(&w).live, 0);
	assert_int_equal(stats_of(&w).live_bytes, 0);
	world_check(&w);
	world_fini(&w);
}

/* More chunks than a batch holds. */
static void test_large_slice(void **state)
{
	enum { N = 700 };
	static struct reply r[N];
	struct world w;

	(void)state;
	world_init(&w);
	for (unsigned i = 0; i < N; i++)
		put_start(&w, 1, i, 0, &r[i]);
	put_start(&w, 2, 0, 0, &r[0]);
	minienv_run(w.m);
	assert_int_equal(stats_of(&w).live, N + 1);
	world_check(&w);
	drop(&w, 1, 1);
	assert_int_equal(stats_of(&w).live, 1);
	assert_int_equal(get(&w, 2, 0), RPC_STATUS_OK);
	world_check(&w);
	world_fini(&w);
}

/* The same name several times in one batch: the first bytes count. */
static void test_same_name(void **state)
{
	struct reply r[6];
	struct world w;

	(void)state;
	world_init(&w);
	for (unsigned i = 0; i < 6; i++)
		put_start(&w, 1, 0, i / 2, &r[i]);
	minienv_run(w.m);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(r[i].n, 1);
		assert_int_equal(r[i].status, i < 2 ? RPC_STATUS_OK
						    : RPC_STATUS_BAD_DIGEST);
	}
	assert_int_equal(stats_of(&w).live, 1);
	assert_int_equal(get(&w, 1, 0), RPC_STATUS_OK);
	world_check(&w);
	for (unsigned seed = 1; seed < 5; seed++) {
		world_power_cut(&w, seed);
		assert_int_equal(get(&w, 1, 0), RPC_STATUS_OK);
		assert_int_equal(stats_of(&w).live, 1);
		world_check(&w);
	}
	world_fini(&w);
}

/* A drop and puts of the same slice at once: whatever comes of them counts. */
static void test_drop_against_put(void **state)
{
	struct reply r[8], d;
	struct world w;

	(void)state;
	world_init(&w);
	for (unsigned steps = 0; steps < 30; steps++) {
		unsigned slice = 10 + steps, there = 0;

		for (unsigned i = 0; i < 8; i++) {
			put_start(&w, slice, i, 0, &r[i]);
			if (i == 3)
				for (unsigned k = 0; k < steps; k++)
					(void)minienv_step(w.m);
			if (i == 3)
				drop_start(&w, slice, 1, &d);
		}
		minienv_run(w.m);
		assert_int_equal(d.n, 1);
		for (unsigned i = 0; i < 8; i++) {
			assert_int_equal(r[i].n, 1);
			assert_int_equal(r[i].status, RPC_STATUS_OK);
			there += get(&w, slice, i) == RPC_STATUS_OK;
		}
		assert_true(there >= 4);
		world_check(&w);
	}
	world_fini(&w);
}

enum { SLICES = 30, CHUNKS = 4 };

struct history {
	bool acked[SLICES][CHUNKS]; /* answered OK */
	bool dropped[SLICES];       /* may be gone */
	struct reply puts[SLICES][CHUNKS], drops[SLICES];
};

static uint64_t rnd(uint64_t *rng, uint64_t below)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return (*rng >> 11) % below;
}

static void history_step(struct world *w, struct history *h, uint64_t *rng)
{
	unsigned s = (unsigned)rnd(rng, SLICES);

	if (rnd(rng, 6) == 0 && h->drops[s].n == 0 && !h->dropped[s]) {
		h->dropped[s] = true;
		drop_start(w, s, 1, &h->drops[s]);
		return;
	}
	for (unsigned i = 0; i < CHUNKS; i++)
		if (!h->acked[s][i] && h->puts[s][i].n == 0 && !h->dropped[s]) {
			put_start(w, s, i, 0, &h->puts[s][i]);
			h->puts[s][i].n = 100; /* under way */
			return;
		}
}

static void history_check(struct world *w, struct history *h)
{
	for (unsigned s = 0; s < SLICES; s++)
		for (unsigned i = 0; i < CHUNKS; i++) {
			struct reply *r = &h->puts[s][i];

			if (r->n == 101 && r->status == RPC_STATUS_OK)
				h->acked[s][i] = true;
			r->n = 0;
			h->drops[s].n = 0;
			if (h->acked[s][i] && !h->dropped[s])
				assert_int_equal(get(w, s, i), RPC_STATUS_OK);
			else
				(void)get(w, s, i);
		}
	world_check(w);
}

/* Puts, drops, saves and power cuts anywhere in between. */
static void test_power_cuts(void **state)
{
	unsigned live = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		uint64_t rng = seed * 0x9e3779b97f4a7c15;
		static struct history h;
		struct world w;

		memset(&h, 0, sizeof h);
		world_init(&w);
		for (unsigned round = 0; round < 6; round++) {
			unsigned ops = (unsigned)rnd(&rng, 60);

			for (unsigned i = 0; i < ops; i++) {
				history_step(&w, &h, &rng);
				for (uint64_t k = rnd(&rng, 6); k > 0; k--)
					(void)minienv_step(w.m);
			}
			if (rnd(&rng, 3) == 0) /* time to save */
				minienv_advance(w.m, 31 * SECOND);
			world_power_cut(&w, seed * 100 + round);
			history_check(&w, &h);
		}
		live += (unsigned)stats_of(&w).live;
		assert_int_equal(w.rots, 0);
		world_fini(&w);
	}
	print_message("# %u chunks live\n", live);
	assert_true(live > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_large_slice),
		cmocka_unit_test(test_same_name),
		cmocka_unit_test(test_drop_against_put),
		cmocka_unit_test(test_power_cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
