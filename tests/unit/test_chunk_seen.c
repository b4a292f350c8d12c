/* storaged/chunk_seen: which chunks a page cache would still have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>
#include <xxhash.h>

#include "storaged/chunk_seen.h"
#include "tests/lib/fault.h"

#define MIB (1u << 20)

static uint64_t seed;

static bool note(struct chunk_seen *s, uint64_t n, uint32_t len)
{
	return chunk_seen_note(s, XXH3_64bits_withSeed(&n, sizeof n, seed),
			       len);
}

static bool has(struct chunk_seen *s, uint64_t n)
{
	return chunk_seen_has(s, XXH3_64bits_withSeed(&n, sizeof n, seed));
}

/* How many of [0, n) were seen before. */
static unsigned round_of(struct chunk_seen *s, unsigned n, uint32_t len)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < n; i++) {
		bool before = has(s, i);

		assert_int_equal(note(s, i, len), before);
		seen += before;
	}
	return seen;
}

/* What fits is known the second time, nearly all of it. */
static void test_fits(void **state)
{
	struct chunk_seen s;

	(void)state;
	for (uint32_t len = MIB; len <= 4 * MIB; len *= 2) {
		unsigned n = 1000 * MIB / len;

		assert_int_equal(chunk_seen_init(&s, 1024ull * MIB), 0);
		assert_int_equal(round_of(&s, n, len), 0);
		assert_in_range(round_of(&s, n, len), n * 85 / 100, n);
		chunk_seen_fini(&s);
	}
}

/* What is read round and round without fitting is never worth it. */
static void test_too_much(void **state)
{
	struct chunk_seen s;

	(void)state;
	assert_int_equal(chunk_seen_init(&s, 1024ull * MIB), 0);
	for (unsigned k = 0; k < 5; k++)
		assert_int_equal(round_of(&s, 300, 4 * MIB), 0);
	/* but a part that comes back sooner is */
	assert_int_equal(round_of(&s, 100, 4 * MIB), 0);
	assert_in_range(round_of(&s, 100, 4 * MIB), 85, 100);
	chunk_seen_fini(&s);
}

/* The number of MiB wraps: no mark lives longer or shorter for that. */
static void test_long_life(void **state)
{
	struct chunk_seen s;

	(void)state;
	assert_int_equal(chunk_seen_init(&s, 16ull * MIB), 0);
	s.bytes = (1ull << 52) - 6ull * MIB;
	assert_false(note(&s, 1, 4 * MIB));
	assert_true(note(&s, 1, 4 * MIB));
	assert_true(note(&s, 1, 4 * MIB));
	s.bytes += 11ull * MIB;
	assert_true(has(&s, 1));
	assert_true(note(&s, 1, 4 * MIB));
	s.bytes += 13ull * MIB;
	assert_false(note(&s, 1, 4 * MIB));
	chunk_seen_fini(&s);
}

static void test_tiny(void **state)
{
	struct chunk_seen s;

	(void)state;
	assert_int_equal(chunk_seen_init(&s, 0), 0);
	assert_false(note(&s, 1, 4 * MIB));
	assert_false(note(&s, 1, 4 * MIB));
	chunk_seen_fini(&s);
	s = (struct chunk_seen){ .marks = NULL };
	chunk_seen_fini(&s);
}

static void test_no_memory(void **state)
{
	struct chunk_seen s = { .marks = NULL };

	(void)state;
	fault_set(0, 1);
	assert_int_not_equal(chunk_seen_init(&s, 1024ull * MIB), 0);
	fault_clear();
	chunk_seen_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fits),
		cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_long_life),
		cmocka_unit_test(test_tiny),
		cmocka_unit_test(test_no_memory),
	};

	seed = (uint64_t)time(NULL);
	printf("# seed %llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
