/*
 * The proof's test: the order of entry rows, walked depth first, is the byte
 * order of keys (storaged/ns_list.c). A million random trees.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "storaged/ns_rows.h"

enum { TREES = 1000000, KEYS = 5, KEY_MAX = 12 };

struct key {
	uint8_t p[KEY_MAX];
	size_t len;
};

static uint64_t rng = 0x2545f4914f6cdd1d;

static uint64_t rnd(uint64_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (rng >> 11) % below;
}

static void key_make(struct key *k, const struct key *other)
{
	static const uint8_t some[] = "//ab.-!0\x01\xff";

	k->len = 1 + rnd(KEY_MAX - 1);
	for (size_t i = 0; i < k->len; i++)
		k->p[i] = some[rnd(sizeof(some) - 1)];
	if (other != NULL && rnd(2) == 0) { /* a common beginning */
		size_t n = rnd(other->len + 1);

		memcpy(k->p, other->p, n < k->len ? n : k->len);
	}
}

/* The next row on the way to a key: a component with its slash, or the last */
static struct wire_bytes row_next(struct wire_bytes *rest)
{
	const uint8_t *slash = memchr(rest->p, '/', rest->len);
	size_t n = slash == NULL ? rest->len : (size_t)(slash - rest->p) + 1;
	struct wire_bytes row = { rest->p, n };

	rest->p += n;
	rest->len -= n;
	return row;
}

/* Which of two keys the walk meets first: rows compared, level by level. */
static int walk_cmp(const struct key *a, const struct key *b)
{
	struct wire_bytes ra = { a->p, a->len }, rb = { b->p, b->len };

	for (;;) {
		struct wire_bytes x = row_next(&ra), y = row_next(&rb);
		struct ns_key ka, kb;
		int c;

		ns_key_dent(&ka, 1, 2, x);
		ns_key_dent(&kb, 1, 2, y);
		c = wire_bytes_cmp(ns_key_get(&ka), ns_key_get(&kb));
		if (c != 0 || !ns_row_is_dir(x))
			return c;
		/* the same directory: its rows decide */
	}
}

static int sign(int c)
{
	return (c > 0) - (c < 0);
}

static void test_row_order_is_key_order(void **state)
{
	struct key keys[KEYS];

	(void)state;
	for (int t = 0; t < TREES; t++) {
		for (int i = 0; i < KEYS; i++)
			key_make(&keys[i], i > 0 ? &keys[i - 1] : NULL);
		for (int i = 0; i < KEYS; i++)
			for (int j = i + 1; j < KEYS; j++) {
				struct wire_bytes a = { keys[i].p,
							keys[i].len };
				struct wire_bytes b = { keys[j].p,
							keys[j].len };

				assert_int_equal(
					sign(walk_cmp(&keys[i], &keys[j])),
					sign(wire_bytes_cmp(a, b)));
			}
	}
}

/* No directory row is a prefix of a sibling: what the proof stands on. */
static void test_directory_rows_are_no_prefixes(void **state)
{
	(void)state;
	for (int t = 0; t < TREES; t++) {
		struct wire_bytes a, b, rest;
		struct key x, y;

		key_make(&x, NULL);
		key_make(&y, &x);
		rest = wire_bytes(x.p, x.len);
		a = row_next(&rest);
		rest = wire_bytes(y.p, y.len);
		b = row_next(&rest);
		if (ns_row_is_dir(a) && !wire_bytes_eq(a, b))
			assert_false(a.len < b.len &&
				     memcmp(a.p, b.p, a.len) == 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_row_order_is_key_order),
		cmocka_unit_test(test_directory_rows_are_no_prefixes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
