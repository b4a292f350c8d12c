/*
 * Starts that make the index again: after the cleaner freed segments, where
 * bytes were refused under names that have theirs, and past reads that fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/lib/chunkworld.h"

static uint64_t bytes_of_segment(struct world *w, uint64_t gen)
{
	struct seg_info *infos;
	uint64_t bytes = 0;
	size_t n;

	assert_int_equal(seg_segments(w->bulk, &infos, &n), 0);
	for (size_t i = 0; i < n; i++)
		if (infos[i].gen == gen)
			bytes = infos[i].bytes;
	mem_free(infos);
	return bytes;
}

/*
 * The index is lost: what was freed is not missed. Refused puts left other
 * bytes under the names of chunks whose first bytes are freed by now.
 */
static void test_clean_then_rebuild(void **state)
{
	unsigned refused = 0;
	struct reply r;
	struct world w;

	(void)state;
	world_init(&w);
	world_put_many(&w, 0, 40);
	for (unsigned s = 0; s < 40; s += 2) {
		struct body *b = world_bytes(s, 2, 7);
		bool is_small = b->len < 3000;

		body_unref(b);
		if (!is_small) /* or its segment would be cleaned, too */
			continue;
		world_put_start(&w, s, 2, 7, &r);
		minienv_run(w.m);
		assert_int_equal(r.status, RPC_STATUS_BAD_DIGEST);
		world_put_many(&w, 100 + 6 * s, 104 + 6 * s);
		refused++;
	}
	assert_true(refused > 3);
	world_drop_many(&w, 0, 40, 2);
	world_clean(&w);
	assert_true(world_cleaner(&w).out > 4);
	assert_int_equal(bytes_of_segment(&w, 1), 0);
	world_put_start(&w, 6, 1, 9, &r);
	minienv_run(w.m);
	assert_int_equal(r.status, RPC_STATUS_BAD_DIGEST);
	world_kill(&w);
	rows_mem_image_free(w.image);
	w.image = rows_mem_image_new();
	world_start(&w, 5);
	for (unsigned s = 0; s < 40; s += 2)
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(world_get(&w, s, i), RPC_STATUS_OK);
	world_check(&w);
	world_fini(&w);
}

/*
 * The index is lost, and the power failed before segments that were freed were
 * gone for good: they are there again when it is made, and go after that. So
 * nothing in them counts, nor hides what was put later.
 */
static void test_clean_undone(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed < 30; seed++) {
		struct world w;

		world_init(&w);
		world_put_many(&w, 0, 20);
		world_drop_many(&w, 0, 20, 2);
		world_put_many(&w, 1, 2);
		world_clean(&w);
		assert_true(world_cleaner(&w).out > 1);
		world_kill(&w);
		crashfs_crash(w.fs, seed);
		rows_mem_image_free(w.image);
		w.image = rows_mem_image_new();
		world_start(&w, seed);
		world_put_many(&w, 100, 101); /* the first flush */
		world_check(&w);
		for (unsigned s = 0; s < 20; s++)
			for (unsigned i = 0; i < 4; i++) {
				uint32_t status = world_get(&w, s, i);

				if (s % 2 != 0 && s != 1 &&
				    status == RPC_STATUS_NOENT)
					continue;
				assert_int_equal(status, RPC_STATUS_OK);
			}
		world_fini(&w);
	}
}

/* One read at a start fails, or gives a wrong bit: no chunk is lost by that. */
static void test_bad_read_at_start(void **state)
{
	unsigned refused = 0, rots = 0;

	(void)state;
	for (uint64_t at = 2; at > 1; at++) { /* twice each: fails, flips */
		const struct crashfs_faults bad = {
			.fail_read_at = at % 2 == 0 ? at / 2 : 0,
			.flip_read_at = at % 2 != 0 ? at / 2 : 0,
		};
		const struct crashfs_faults good = { 0 };
		struct crashfs_stats st;
		struct world w;
		int rv;

		world_init(&w);
		world_put_many(&w, 0, 12);
		world_kill(&w);
		crashfs_set_faults(w.fs, &bad);
		rv = world_try(&w, at);
		crashfs_get_stats(w.fs, &st);
		crashfs_set_faults(w.fs, &good);
		if (rv != 0) {
			refused++;
			world_start(&w, at);
		}
		rots += w.rots;
		world_expect_many(&w, 0, 12, 1);
		world_check(&w);
		world_fini(&w);
		if (st.faults == 0)
			break;
	}
	assert_true(refused > 0 && rots > 0);
}

/* Other bytes under names that have theirs: they leave their records. */
static void refuse_many(struct world *w, unsigned from, unsigned to)
{
	struct reply r;

	for (unsigned s = from; s < to; s++)
		for (unsigned i = 0; i < 4; i++) {
			world_put_start(w, s, i, 7, &r);
			minienv_run(w->m);
			assert_int_equal(r.status, RPC_STATUS_BAD_DIGEST);
		}
}

/*
 * A header that could be read at the second look only. By then the bytes that
 * were refused have the name; before and behind a copy of the chunk.
 */
static void second_look(unsigned slice, unsigned index, bool copied)
{
	const struct chunk_id id = { world_slice(slice), index };
	struct chunk_row row, now;
	struct world w;

	world_init(&w);
	world_put_many(&w, 0, 2);
	refuse_many(&w, 0, 2);
	world_put_many(&w, 2, 20);
	assert_int_equal(chunk_index_get(w.cs, &id, &row), 0);
	if (copied) {
		world_drop_many(&w, 0, 20, 2);
		world_clean(&w);
		assert_int_equal(chunk_index_get(w.cs, &id, &now), 0);
		assert_true(now.gen > row.gen);
		row = now;
	}
	world_put_many(&w, 100, 110);
	world_kill(&w);
	rows_mem_image_free(w.image);
	w.image = rows_mem_image_new();
	snprintf(w.bad, sizeof w.bad, "bulk/%016llx.seg",
		 (unsigned long long)row.gen);
	w.bad_off = row.off - SEG_HEADER_LEN;
	assert_int_equal(crashfs_flip(w.fs, w.bad, w.bad_off, 0), 0);
	world_start(&w, 1);
	assert_int_equal(w.rots, 1);
	assert_int_equal(world_get(&w, slice, index), RPC_STATUS_OK);
	assert_int_equal(chunk_index_get(w.cs, &id, &now), 0);
	assert_true(now.gen == row.gen && now.off == row.off);
	world_check(&w);
	world_fini(&w);
}

static void test_second_look(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		second_look(0, i, false);
		second_look(1, i, false);
		second_look(0, i, true);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean_then_rebuild),
		cmocka_unit_test(test_clean_undone),
		cmocka_unit_test(test_bad_read_at_start),
		cmocka_unit_test(test_second_look),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
