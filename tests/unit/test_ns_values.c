/*
 * Positions of values in rows: all are found, each can be changed, and nothing
 * but them changes.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storaged/ns_impl.h"
#include "storaged/ns_values.h"

#define VALUES 3

struct seen {
	struct ns_value_at v[16];
	unsigned n, stop; /* stop: at this one; 0: not */
};

static int on_value(void *arg, const struct ns_value_at *v)
{
	struct seen *s = arg;

	assert_true(s->n < 16);
	s->v[s->n++] = *v;
	return s->n == s->stop ? 77 : 0;
}

/* A list of each kind of extent, with VALUES values. */
static void make_list(struct buf *list)
{
	static const uint8_t bytes[5] = "bytes";
	struct ns_extent v[] = {
		{ .kind = NS_EXT_VALUE, .pos = 0, .len = 10, .id = { 1, 2 },
		  .gen = 0x1122334455667788, .at = 99, .vlen = 10 },
		{ .kind = NS_EXT_ZERO, .pos = 10, .len = 5 },
		{ .kind = NS_EXT_BYTES, .pos = 15, .len = 5, .bytes = bytes },
		{ .kind = NS_EXT_CHUNKS, .pos = 20, .len = 80, .id = { 5, 6 },
		  .off = 7 },
		{ .kind = NS_EXT_VALUE, .pos = 100, .len = 3, .id = { 3, 4 },
		  .off = 2, .gen = 8, .at = 1ull << 40, .vlen = 6 },
		{ .kind = NS_EXT_VALUE, .pos = 103, .len = 1, .id = { 3, 4 },
		  .off = 5, .gen = 8, .at = 1ull << 40, .vlen = 6 },
	};
	struct ns_extents all = { v, sizeof v / sizeof *v,
				  sizeof v / sizeof *v, 0 };

	ns_extents_save(&all, true, list);
}

static void make_row(uint8_t type, struct wire_bytes extents, struct buf *row)
{
	struct ns_row_inode in = { .v = NS_ROW_VERSION, .name = wire_cstr("a name"),
				   .extents = extents };
	struct ns_row_region rg = { .v = NS_ROW_VERSION, .extents = extents };

	if (type == NS_T_INODE)
		assert_int_equal(ns_row_inode_encode(&in, row), 0);
	else
		assert_int_equal(ns_row_region_encode(&rg, row), 0);
}

static void check_type(uint8_t type)
{
	struct seen seen = { .n = 0 }, again = { .n = 0 };
	struct buf list, row, was;

	buf_init(&list, 0);
	buf_init(&row, 0);
	buf_init(&was, 0);
	make_list(&list);
	make_row(type, wire_bytes(list.data, list.len), &row);
	buf_add(&was, row.data, row.len);
	assert_true(ns_has_values(type));
	assert_int_equal(ns_values_each(type, wire_bytes(row.data, row.len),
					on_value, &seen), 0);
	assert_int_equal(seen.n, VALUES);
	assert_int_equal(seen.v[0].hash.lo, 2);
	assert_int_equal(seen.v[0].gen, 0x1122334455667788);
	assert_int_equal(seen.v[0].off, 99);
	assert_int_equal(seen.v[0].len, 10);
	assert_int_equal(seen.v[1].off, 1ull << 40);
	assert_int_equal(seen.v[1].len, 6);
	assert_int_equal(seen.v[2].hash.hi, 3);
	ns_value_move(row.data, seen.v[1].at, 0x8877665544332211, 12345);
	assert_int_equal(ns_values_each(type, wire_bytes(row.data, row.len),
					on_value, &again), 0);
	assert_int_equal(again.n, VALUES);
	assert_int_equal(again.v[1].gen, 0x8877665544332211);
	assert_int_equal(again.v[1].off, 12345);
	assert_memory_equal(&again.v[0], &seen.v[0], sizeof *seen.v);
	assert_memory_equal(&again.v[2], &seen.v[2], sizeof *seen.v);
	/* and back: nothing else was touched */
	ns_value_move(row.data, seen.v[1].at, seen.v[1].gen, seen.v[1].off);
	assert_memory_equal(row.data, was.data, was.len);
	buf_fini(&list);
	buf_fini(&row);
	buf_fini(&was);
}

static void test_all_are_found(void **state)
{
	(void)state;
	check_type(NS_T_INODE);
	check_type(NS_T_REGION);
	assert_false(ns_has_values(NS_T_DENT));
}

static void test_stops_when_told(void **state)
{
	struct seen seen = { .stop = 2 };
	struct buf list, row;

	(void)state;
	buf_init(&list, 0);
	buf_init(&row, 0);
	make_list(&list);
	make_row(NS_T_REGION, wire_bytes(list.data, list.len), &row);
	assert_int_equal(ns_values_each(NS_T_REGION,
					wire_bytes(row.data, row.len),
					on_value, &seen), 77);
	assert_int_equal(seen.n, 2);
	buf_fini(&list);
	buf_fini(&row);
}

/* Rows come from a disk: whatever they are, positions lie inside. */
static void test_rows_may_be_anything(void **state)
{
	uint64_t rng = 7;
	struct buf list, row;

	(void)state;
	buf_init(&list, 0);
	buf_init(&row, 0);
	make_list(&list);
	make_row(NS_T_INODE, wire_bytes(list.data, list.len), &row);
	for (size_t len = 0; len < row.len; len++)
		for (int i = 0; i < 50; i++) {
			uint8_t *p = malloc(len + 1);
			struct seen seen = { .n = 0 };
			int rv;

			memcpy(p, row.data, len);
			rng = rng * 6364136223846793005u + 1442695040888963407u;
			if (i > 0 && len > 0)
				p[(rng >> 40) % len] ^= (uint8_t)(rng >> 20);
			rv = ns_values_each(i % 2 == 0 ? NS_T_INODE
						       : NS_T_REGION,
					    wire_bytes(p, len), on_value,
					    &seen);
			assert_true(rv == 0 || rv == -EIO);
			for (unsigned k = 0; k < seen.n; k++)
				assert_true(seen.v[k].at + 16 <= len);
			free(p);
		}
	buf_fini(&list);
	buf_fini(&row);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_are_found),
		cmocka_unit_test(test_stops_when_told),
		cmocka_unit_test(test_rows_may_be_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
