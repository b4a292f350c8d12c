/*
 * storaged/chunk*: puts and drops over a file system that knows power cuts and
 * an index in memory. What was acknowledged and not dropped is there after any
 * cut, with its bytes; the counts of segments are always right.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/chunkworld.h"

static void test_drop(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	for (unsigned s = 1; s <= 6; s++)
		for (unsigned i = 0; i < 5; i++)
			assert_int_equal(world_put(&w, s, i), RPC_STATUS_OK);
	assert_int_equal(world_stats(&w).live, 30);
	world_check(&w);
	world_drop(&w, 2, 1);
	world_drop(&w, 4, 2);
	world_drop(&w, 4, 2); /* again: nothing to do */
	world_drop(&w, 99, 3);
	world_check(&w);
	assert_int_equal(world_stats(&w).live, 15);
	for (unsigned s = 1; s <= 6; s++)
		for (unsigned i = 0; i < 5; i++)
			assert_int_equal(world_get(&w, s, i),
					 s == 2 || s == 4 || s == 5
						 ? RPC_STATUS_NOENT
						 : RPC_STATUS_OK);
	/* a put that came late: an orphan */
	assert_int_equal(world_put(&w, 2, 0), RPC_STATUS_OK);
	assert_int_equal(world_stats(&w).live, 16);
	world_drop(&w, 1, 6);
	assert_int_equal(world_stats(&w).live, 0);
	assert_int_equal(world_stats(&w).live_bytes, 0);
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
		world_put_start(&w, 1, i, 0, &r[i]);
	world_put_start(&w, 2, 0, 0, &r[0]);
	minienv_run(w.m);
	assert_int_equal(world_stats(&w).live, N + 1);
	world_check(&w);
	world_drop(&w, 1, 1);
	assert_int_equal(world_stats(&w).live, 1);
	assert_int_equal(world_get(&w, 2, 0), RPC_STATUS_OK);
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
		world_put_start(&w, 1, 0, i / 2, &r[i]);
	minienv_run(w.m);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(r[i].n, 1);
		assert_int_equal(r[i].status,
				 i < 2 ? RPC_STATUS_OK : RPC_STATUS_BAD_DIGEST);
	}
	assert_int_equal(world_stats(&w).live, 1);
	assert_int_equal(world_get(&w, 1, 0), RPC_STATUS_OK);
	world_check(&w);
	for (unsigned seed = 1; seed < 5; seed++) {
		world_power_cut(&w, seed);
		assert_int_equal(world_get(&w, 1, 0), RPC_STATUS_OK);
		assert_int_equal(world_stats(&w).live, 1);
		world_check(&w);
	}
	world_fini(&w);
}

static void on_checked(void *arg, uint32_t status, uint32_t len)
{
	(void)len;
	reply_note(arg, status, NULL);
}

/* Whoever asks when the store goes hears of it, once. */
static void test_end_against_all(void **state)
{
	struct wire_u128 slice = world_slice(2);
	struct reply r[5] = { { .n = 0 } };
	struct world w;

	(void)state;
	world_init(&w);
	assert_int_equal(world_put(&w, 1, 0), RPC_STATUS_OK);
	world_put_start(&w, 2, 0, 0, &r[0]);
	assert_int_equal(
		chunk_get(w.cl, world_slice(1), 0, 0, 0, reply_note, &r[1]), 0);
	for (unsigned i = 2; i < 4; i++)
		assert_int_equal(chunk_check(w.cl, world_slice(1), 0, i == 3,
					     on_checked, &r[i]),
				 0);
	assert_int_equal(chunk_drop(w.cl, &slice, 1, reply_note_drop, &r[4]),
			 0);
	world_fini(&w);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(r[i].n, 1);
		assert_int_equal(r[i].status,
				 i == 0 || i == 4 ? RPC_STATUS_UNKNOWN_OUTCOME
						  : RPC_STATUS_UNAVAILABLE);
	}
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
			world_put_start(&w, slice, i, 0, &r[i]);
			if (i == 3)
				for (unsigned k = 0; k < steps; k++)
					(void)minienv_step(w.m);
			if (i == 3)
				world_drop_start(&w, slice, 1, &d);
		}
		minienv_run(w.m);
		assert_int_equal(d.n, 1);
		for (unsigned i = 0; i < 8; i++) {
			assert_int_equal(r[i].n, 1);
			assert_int_equal(r[i].status, RPC_STATUS_OK);
			there += world_get(&w, slice, i) == RPC_STATUS_OK;
		}
		assert_true(there >= 4);
		world_check(&w);
	}
	world_fini(&w);
}

/* --- all of it, and power cuts --- */

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

	if (rnd(rng, 12) == 0)
		assert_int_equal(compact_start(w->compact, UINT64_MAX), 0);
	if (rnd(rng, 40) == 0) /* for the index, or a save of it */
		minienv_skip(w->m, rnd(rng, 2) == 0 ? 5000000 : 31 * SECOND);
	if (rnd(rng, 6) == 0 && h->drops[s].n == 0 && !h->dropped[s]) {
		h->dropped[s] = true;
		world_drop_start(w, s, 1, &h->drops[s]);
		return;
	}
	for (unsigned i = 0; i < CHUNKS; i++)
		if (!h->acked[s][i] && h->puts[s][i].n == 0 && !h->dropped[s]) {
			world_put_start(w, s, i, 0, &h->puts[s][i]);
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
				assert_int_equal(world_get(w, s, i),
						 RPC_STATUS_OK);
			else
				(void)world_get(w, s, i);
		}
	world_check(w);
}

/* Puts, drops, cleaning, saves and power cuts anywhere in between. */
static void test_power_cuts(void **state)
{
	unsigned live = 0, freed = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 120; seed++) {
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
			freed += world_cleaner(&w).freed > 0;
			world_power_cut(&w, seed * 100 + round);
			history_check(&w, &h);
		}
		live += (unsigned)world_stats(&w).live;
		assert_int_equal(w.rots, 0);
		world_fini(&w);
	}
	print_message("# %u chunks live, %u runs freed something\n", live,
		      freed);
	assert_true(live > 100 && freed > 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_large_slice),
		cmocka_unit_test(test_same_name),
		cmocka_unit_test(test_end_against_all),
		cmocka_unit_test(test_drop_against_put),
		cmocka_unit_test(test_power_cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
