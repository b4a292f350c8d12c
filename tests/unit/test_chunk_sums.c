/* storaged/chunk_sums: hashes of the pieces of chunks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storaged/chunk_sums.h"
#include "tests/lib/fault.h"

#define LEN (20 * CHUNK_SUMS_PIECE + 77)

static uint8_t bytes[LEN];

static struct chunk_id id_of(unsigned n)
{
	return (struct chunk_id){ { 1, n }, n % 3 };
}

static const struct wire_u128 hash = { 5, 6 };

static bool ok(struct chunk_sums *s, unsigned n, unsigned first, size_t len)
{
	struct chunk_id id = id_of(n);

	return chunk_sums_ok(s, &id, hash, first,
			     bytes + (size_t)first * CHUNK_SUMS_PIECE, len);
}

static void put(struct chunk_sums *s, unsigned n)
{
	struct chunk_id id = id_of(n);

	chunk_sums_put(s, &id, hash, bytes, LEN);
}

static bool has(struct chunk_sums *s, unsigned n)
{
	struct chunk_id id = id_of(n);

	return chunk_sums_len(s, &id) == LEN;
}

static void test_pieces(void **state)
{
	struct chunk_id id = id_of(1);
	struct chunk_sums s;

	(void)state;
	chunk_sums_init(&s, 100);
	assert_false(has(&s, 1));
	assert_false(ok(&s, 1, 0, CHUNK_SUMS_PIECE));
	put(&s, 1);
	put(&s, 1); /* the same again */
	assert_true(has(&s, 1));
	assert_false(has(&s, 2));
	assert_true(ok(&s, 1, 0, LEN)); /* more than are copied at a time */
	assert_true(ok(&s, 1, 3, CHUNK_SUMS_PIECE));
	assert_true(ok(&s, 1, 17, LEN - 17 * CHUNK_SUMS_PIECE));
	assert_true(ok(&s, 1, 20, 77)); /* the last, short one */
	assert_false(ok(&s, 1, 20, 76));
	assert_false(ok(&s, 1, 3, 100)); /* a part of a piece */
	assert_false(ok(&s, 2, 3, CHUNK_SUMS_PIECE));
	/* other bytes under that name */
	assert_false(chunk_sums_ok(&s, &id, (struct wire_u128){ 5, 7 }, 0,
				   bytes, CHUNK_SUMS_PIECE));
	/* behind the end there are no pieces */
	assert_false(chunk_sums_ok(&s, &id, hash, 21, bytes, 1));
	assert_false(chunk_sums_ok(&s, &id, hash, 4000000000u, bytes, 1));
	for (unsigned i = 0; i < 21; i++) {
		size_t at = (size_t)i * CHUNK_SUMS_PIECE + i;

		bytes[at] ^= 1;
		assert_false(ok(&s, 1, i, i < 20 ? CHUNK_SUMS_PIECE : 77));
		assert_false(ok(&s, 1, 0, LEN));
		bytes[at] ^= 1;
	}
	assert_true(ok(&s, 1, 0, LEN));
	chunk_sums_fini(&s);
}

/* As many as were asked for at the most; what is used stays. */
static void test_full(void **state)
{
	struct chunk_sums s;
	unsigned kept = 0;

	(void)state;
	chunk_sums_init(&s, CHUNK_SUMS_WAYS);
	for (unsigned i = 0; i < CHUNK_SUMS_WAYS; i++)
		put(&s, i);
	for (unsigned i = 0; i < CHUNK_SUMS_WAYS; i++)
		assert_true(has(&s, i));
	assert_true(ok(&s, 0, 0, LEN));
	for (unsigned i = 0; i < CHUNK_SUMS_WAYS - 1; i++)
		put(&s, 100 + i);
	assert_true(has(&s, 0));
	for (unsigned i = 1; i < CHUNK_SUMS_WAYS; i++)
		assert_false(has(&s, i));
	chunk_sums_fini(&s);
	chunk_sums_init(&s, 64);
	for (unsigned i = 0; i < 10000; i++)
		put(&s, i);
	for (unsigned i = 0; i < 10000; i++)
		kept += has(&s, i);
	assert_int_equal(kept, 64);
	chunk_sums_fini(&s);
}

static void test_no_memory(void **state)
{
	struct chunk_sums s = { .sets = 0 };

	(void)state;
	chunk_sums_fini(&s);
	for (int at = 0; at < 3; at++) {
		chunk_sums_init(&s, 100);
		fault_set(at, 1);
		put(&s, 1);
		fault_clear();
		assert_int_equal(has(&s, 1), at == 2);
		put(&s, 2);
		assert_true(has(&s, 2));
		chunk_sums_fini(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_no_memory),
	};

	for (size_t i = 0; i < LEN; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
