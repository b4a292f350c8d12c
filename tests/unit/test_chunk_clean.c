/*
 * The cleaner of the bulk head: what lives is moved, at any moment of puts,
 * drops, saves of the index and power cuts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/chunkworld.h"

static uint64_t bytes_of_head(struct world *w)
{
	struct seg_stats s;

	seg_head_stats(w->bulk, &s);
	return s.bytes;
}

static void test_clean(void **state)
{
	struct compact_info i;
	uint64_t before;
	struct world w;

	(void)state;
	world_init(&w);
	world_clean(&w); /* nothing there */
	world_put_many(&w, 0, 80);
	world_clean(&w); /* nothing dead but what segments lose at their ends */
	assert_true(world_cleaner(&w).targets <= 3);
	before = bytes_of_head(&w);
	world_drop_many(&w, 0, 80, 5);
	assert_int_equal(bytes_of_head(&w), before);
	world_clean(&w);
	i = world_cleaner(&w);
	assert_true(i.targets > 5 && i.out == i.targets);
	assert_int_equal(i.kept, 0);
	assert_true(i.started > 0 && i.ended >= i.started);
	assert_true(bytes_of_head(&w) < before / 2);
	assert_true(i.freed > before / 2 && i.copied < before / 3);
	world_expect_many(&w, 0, 80, 5);
	world_check(&w);
	world_clean(&w); /* no more to do */
	assert_true(world_cleaner(&w).targets <= 2);
	world_power_cut(&w, 3);
	world_expect_many(&w, 0, 80, 5);
	world_check(&w);
	/* all of it: nothing but the newest segment stays */
	world_drop_many(&w, 0, 80, 1000);
	world_drop(&w, 0, 1);
	world_put_many(&w, 100, 101);
	world_clean(&w);
	assert_true(bytes_of_head(&w) < 140 << 10);
	world_expect_many(&w, 100, 101, 1);
	world_fini(&w);
}

/* A save of the index at any moment of a run; a power cut when it has freed. */
static void test_save_against_clean(void **state)
{
	(void)state;
	for (unsigned steps = 0; steps < 80; steps++) {
		unsigned i = 0;
		struct world w;

		world_init(&w);
		world_put_many(&w, 0, 9);
		world_drop_many(&w, 0, 9, 3);
		assert_int_equal(compact_start(w.compact, UINT64_MAX), 0);
		for (unsigned k = 0; k < steps; k++)
			(void)minienv_step(w.m);
		minienv_skip(w.m, 31 * SECOND);
		while (world_cleaner(&w).freed == 0 && i++ < 2000)
			if (!minienv_step(w.m))
				minienv_skip(w.m, 1000000);
		assert_true(world_cleaner(&w).freed > 0);
		world_power_cut(&w, steps);
		for (unsigned s = 0; s < 9; s += 3)
			for (unsigned k = 0; k < 4; k++)
				assert_int_equal(world_get(&w, s, k),
						 RPC_STATUS_OK);
		world_check(&w);
		world_fini(&w);
	}
}

/*
 * Puts whose bytes are durable and whose rows are not written yet, in a segment
 * that is being cleaned.
 */
static void test_put_against_clean(void **state)
{
	enum { PUTS = 24 };
	struct reply r[PUTS];

	(void)state;
	for (unsigned steps = 0; steps < 60; steps++) {
		struct world w;

		world_init(&w);
		world_put_many(&w, 0, 2 + steps % 5);
		world_drop(&w, 0, 4);
		for (unsigned i = 0; i < PUTS; i++)
			world_put_start(&w, 50 + i, 0, 0, &r[i]);
		for (unsigned i = 0; i < steps / 2; i++)
			(void)minienv_step(w.m);
		if (steps % 2 == 0) /* the time of an index save */
			minienv_skip(w.m, 31 * SECOND);
		world_clean(&w);
		for (unsigned i = 0; i < PUTS; i++) {
			assert_int_equal(r[i].n, 1);
			assert_int_equal(r[i].status, RPC_STATUS_OK);
			assert_int_equal(world_get(&w, 50 + i, 0),
					 RPC_STATUS_OK);
		}
		world_check(&w);
		world_power_cut(&w, steps);
		for (unsigned i = 0; i < PUTS; i++)
			assert_int_equal(world_get(&w, 50 + i, 0),
					 RPC_STATUS_OK);
		world_check(&w);
		world_fini(&w);
	}
}

/* Bytes that rotted stay, and their segment; all else goes its way. */
static void test_clean_rot(void **state)
{
	struct compact_info i;
	unsigned bad = 0;
	struct world w;

	(void)state;
	world_init(&w);
	world_put_many(&w, 0, 40);
	world_drop_many(&w, 0, 40, 4);
	assert_int_equal(
		crashfs_flip(w.fs, "bulk/0000000000000001.seg", 700, 2), 0);
	world_clean(&w);
	i = world_cleaner(&w);
	assert_int_equal(i.kept, 1);
	assert_true(i.out > 3);
	assert_int_equal(world_stats(&w).rot, 1);
	for (unsigned s = 0; s < 40; s += 4)
		for (unsigned k = 0; k < 4; k++) {
			struct reply r = { .n = 0 };

			assert_int_equal(chunk_get(w.cl, world_slice(s), k, 0,
						   0, reply_note, &r),
					 0);
			minienv_run(w.m);
			bad += r.status == RPC_STATUS_IO;
			body_unref(r.body);
		}
	assert_int_equal(bad, 1);
	world_check(&w);
	world_fini(&w);
}

/* A drop at any moment of a run: the chunk is gone, nothing comes back. */
static void test_drop_against_clean(void **state)
{
	struct reply r;

	(void)state;
	for (unsigned steps = 0; steps < 120; steps += 1 + steps / 12) {
		struct world w;

		world_init(&w);
		world_put_many(&w, 0, 12);
		world_drop_many(&w, 0, 12, 3);
		assert_int_equal(compact_start(w.compact, UINT64_MAX), 0);
		for (unsigned i = 0; i < steps; i++)
			if (!minienv_step(w.m))
				minienv_skip(w.m, 1000000);
		world_drop_start(&w, 3, 1, &r);
		world_clean(&w);
		assert_int_equal(r.n, 1);
		for (unsigned s = 0; s < 12; s += 3)
			for (unsigned i = 0; i < 4; i++)
				assert_int_equal(world_get(&w, s, i),
						 s == 3 ? RPC_STATUS_NOENT
							: RPC_STATUS_OK);
		world_check(&w);
		world_clean(&w);
		world_check(&w);
		world_fini(&w);
	}
}

/* Suspended in the middle of a segment: resumed, all is done once. */
static void test_suspend(void **state)
{
	struct world w;
	unsigned stopped = 0;

	(void)state;
	for (unsigned steps = 1; steps < 100; steps += 1 + steps / 10) {
		uint64_t out;

		world_init(&w);
		world_put_many(&w, 0, 20);
		world_drop_many(&w, 0, 20, 2);
		assert_int_equal(compact_start(w.compact, UINT64_MAX), 0);
		for (unsigned i = 0; i < steps; i++)
			if (!minienv_step(w.m))
				minienv_skip(w.m, 1000000);
		compact_suspend(w.compact);
		compact_suspend(w.compact);
		minienv_advance(w.m, 10 * SECOND);
		assert_int_equal(world_cleaner(&w).state, COMPACT_SUSPENDED);
		out = world_cleaner(&w).out;
		minienv_advance(w.m, 10 * SECOND);
		assert_int_equal(world_cleaner(&w).out, out);
		world_expect_many(&w, 0, 20, 2);
		stopped += world_cleaner(&w).pending > 0;
		compact_resume(w.compact);
		world_clean(&w);
		assert_int_equal(world_cleaner(&w).pending, 0);
		world_expect_many(&w, 0, 20, 2);
		world_check(&w);
		world_fini(&w);
	}
	assert_true(stopped > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_save_against_clean),
		cmocka_unit_test(test_put_against_clean),
		cmocka_unit_test(test_clean_rot),
		cmocka_unit_test(test_drop_against_clean),
		cmocka_unit_test(test_suspend),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
