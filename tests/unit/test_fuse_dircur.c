/*
 * The cursor of an open directory against a directory that changes between
 * pages: names that stay are listed exactly once, in order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fuse/dircur.h"

#define NAMES 400

/* Name i is "n%03u", there when set. */
static bool there[NAMES];
static unsigned page_max = 7;

static void name_of(unsigned i, char out[8])
{
	snprintf(out, 8, "n%03u", i % NAMES);
}

/* The shard's answer to a want. */
static void fetch(struct dircur *c, const struct dircur_want *want)
{
	struct wire_vec vec;
	unsigned n = 0, i;
	bool eof = true;
	char name[8];

	wire_vec_init(&vec);
	for (i = 0; i < NAMES; i++) {
		struct wire_bytes row;

		name_of(i, name);
		row = wire_cstr(name);
		if (!there[i] || wire_bytes_cmp(row, want->after) <= 0)
			continue;
		if (n == page_max) {
			eof = false;
			break;
		}
		struct wire_writer w = wire_vec_add(&vec);
		uint64_t ino = 1000 + i;
		uint32_t mode = 0100644;
		uint8_t shadowed = i % 2;

		wire_put_str(&w, &row);
		wire_put_u64(&w, &ino);
		wire_put_u32(&w, &mode);
		wire_put_u8(&w, &shadowed);
		n++;
	}
	assert_int_equal(dircur_add(c, want->first, wire_vec_bytes(&vec),
				    false, eof, 42), 0);
	wire_vec_fini(&vec);
}

/* The entry's index, or -1 at the end. *number moves behind it. */
static int next(struct dircur *c, uint64_t *number)
{
	struct dircur_entry e;
	struct dircur_want want;
	uint64_t stamp = 0;

	for (;;) {
		char name[8] = "";

		switch (dircur_get(c, number, &e, &stamp, &want)) {
		case DIRCUR_END:
			return -1;
		case DIRCUR_MISSING:
			fetch(c, &want);
			continue;
		case DIRCUR_FOUND:
			break;
		}
		assert_int_equal(stamp, 42);
		name_of((unsigned)e.ino - 1000, name);
		assert_int_equal(e.row.len, strlen(name));
		assert_memory_equal(e.row.p, name, e.row.len);
		assert_int_equal(e.shadowed, e.ino % 2);
		assert_int_equal(e.mode, 0100644);
		++*number;
		return (int)e.ino - 1000;
	}
}

static void fill(unsigned percent)
{
	for (unsigned i = 0; i < NAMES; i++)
		there[i] = (unsigned)rand() % 100 < percent;
}

static void test_empty(void **state)
{
	struct dircur c;
	uint64_t n = 0;

	(void)state;
	fill(0);
	dircur_init(&c);
	assert_int_equal(next(&c, &n), -1);
	assert_int_equal(n, 0);
	dircur_clear(&c);
}

/* Entries come and go while the listing runs. */
static void test_stable(void **state)
{
	(void)state;
	for (int round = 0; round < 300; round++) {
		bool at_start[NAMES], always[NAMES], seen[NAMES] = { false };
		struct dircur c;
		uint64_t n = 0;
		int i, last = -1;

		page_max = 1 + (unsigned)rand() % 40;
		fill((unsigned)rand() % 101);
		memcpy(at_start, there, sizeof(there));
		memcpy(always, there, sizeof(there));
		dircur_init(&c);
		while ((i = next(&c, &n)) >= 0) {
			assert_true(i > last);
			last = i;
			assert_false(seen[i]);
			seen[i] = true;
			for (int k = rand() % 4; k > 0; k--) {
				int at = rand() % NAMES;

				there[at] = !there[at];
				always[at] = false;
			}
		}
		for (i = 0; i < NAMES; i++)
			if (always[i])
				assert_true(seen[i]);
		dircur_clear(&c);
	}
}

/* seekdir() to any place, near or long evicted, while nothing changes. */
static void test_seek(void **state)
{
	int order[NAMES];
	struct dircur c;
	uint64_t n = 0;
	int count = 0, i;

	(void)state;
	page_max = 9;
	fill(80);
	dircur_init(&c);
	while ((i = next(&c, &n)) >= 0)
		order[count++] = i;
	for (int k = 0; k < 2000; k++) {
		int at = rand() % (count + 1);

		n = (uint64_t)at;
		assert_int_equal(next(&c, &n),
				 at == count ? -1 : order[at]);
	}
	dircur_clear(&c);
}

/* Seeking in a directory that changes never ends elsewhere than forward. */
static void test_seek_changing(void **state)
{
	struct dircur c;

	(void)state;
	page_max = 5;
	fill(60);
	dircur_init(&c);
	for (int k = 0; k < 3000; k++) {
		uint64_t n = (uint64_t)rand() % 300;
		int last = -1, i;

		for (int j = 0; j < 30 && (i = next(&c, &n)) >= 0; j++) {
			assert_true(i > last);
			last = i;
		}
		there[rand() % NAMES] = rand() % 2 != 0;
	}
	dircur_clear(&c);
}

static void test_bad_page(void **state)
{
	static const uint8_t garbage[] = { 0, 0, 0, 3, 0, 0, 0, 200, 'x' };
	struct dircur c;

	(void)state;
	dircur_init(&c);
	assert_int_equal(dircur_add(&c, 0,
				    wire_bytes(garbage, sizeof(garbage)),
				    false, true, 0), -EBADMSG);
	assert_int_equal(dircur_add(&c, 0, wire_bytes(NULL, 0), false, false,
				    0), -EBADMSG);
	dircur_clear(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_stable),
		cmocka_unit_test(test_seek),
		cmocka_unit_test(test_seek_changing),
		cmocka_unit_test(test_bad_page),
	};
	const char *env = getenv("SEED");
	unsigned seed = env != NULL ? (unsigned)strtoul(env, NULL, 10)
				    : (unsigned)time(NULL);

	printf("# seed %u\n", seed);
	srand(seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
