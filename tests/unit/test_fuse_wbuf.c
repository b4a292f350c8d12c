/* Dirty bytes: random writes against a flat array with a map of set bytes. */
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

#include "common/base/mem.h"
#include "fuse/wbuf.h"

#define SPACE (3u * WBUF_BLOCK)

static uint8_t model[SPACE];
static uint8_t model_set[SPACE];

static void check_shape(const struct wbuf *w)
{
	uint64_t end = 0, bytes = 0;
	unsigned full = 0;

	for (unsigned i = 0; i < w->n; i++) {
		const struct wbuf_ext *e = &w->ext[i];

		assert_true(e->len > 0 && e->len <= e->cap);
		assert_true(e->off >= end);
		end = e->off + e->len;
		assert_int_equal(e->off / WBUF_BLOCK, (end - 1) / WBUF_BLOCK);
		bytes += e->len;
		full += e->len == WBUF_BLOCK;
	}
	assert_int_equal(bytes, w->bytes);
	assert_int_equal(full, w->full);
	assert_int_equal(end, wbuf_end(w));
}

static void check_bytes(const struct wbuf *w)
{
	for (unsigned i = 0; i < w->n; i++) {
		const struct wbuf_ext *e = &w->ext[i];

		assert_memory_equal(e->data, model + e->off, e->len);
		assert_null(memchr(model_set + e->off, 0, e->len));
	}
	uint64_t n = 0;

	for (size_t i = 0; i < SPACE; i++)
		n += model_set[i];
	assert_int_equal(n, w->bytes);
}

static void test_sequential(void **state)
{
	static uint8_t buf[128 << 10];
	struct wbuf w, to;

	(void)state;
	wbuf_init(&w);
	wbuf_init(&to);
	for (unsigned i = 0; i < 2 * WBUF_BLOCK / sizeof(buf) + 1; i++) {
		memset(buf, (int)i, sizeof(buf));
		assert_int_equal(wbuf_write(&w, i * sizeof(buf), buf,
					    sizeof(buf)), 0);
	}
	assert_int_equal(w.n, 3);
	assert_int_equal(w.full, 2);
	check_shape(&w);
	assert_int_equal(wbuf_take(&w, true, &to), 0);
	check_shape(&w);
	check_shape(&to);
	assert_int_equal(to.bytes, 2 * WBUF_BLOCK);
	assert_int_equal(w.bytes, sizeof(buf));
	assert_true(wbuf_covers(&to, 5, 2 * WBUF_BLOCK - 5));
	assert_false(wbuf_covers(&to, 5, 2 * WBUF_BLOCK));
	wbuf_clear(&to);
	assert_int_equal(wbuf_take(&w, false, &to), 0);
	assert_int_equal(w.bytes, 0);
	assert_int_equal(to.n, 1);
	wbuf_clear(&to);
	wbuf_clear(&w);
}

static void check_range(const struct wbuf *w)
{
	static uint8_t got[1 << 16], want[1 << 16];
	uint64_t off = (uint64_t)rand() % (SPACE - sizeof(got));
	size_t len = 1 + (size_t)rand() % (sizeof(got) - 1);
	size_t n = 0;

	memset(got, 0xee, len);
	memset(want, 0xee, len);
	for (size_t i = 0; i < len; i++)
		if (model_set[off + i]) {
			want[i] = model[off + i];
			n++;
		}
	wbuf_overlay(w, off, len, got);
	assert_memory_equal(got, want, len);
	assert_int_equal(wbuf_overlaps(w, off, len), n > 0);
	assert_int_equal(wbuf_covers(w, off, len), n == len);
}

static void test_random(void **state)
{
	static uint8_t buf[1 << 20];

	(void)state;
	for (int round = 0; round < 6; round++) {
		struct wbuf w, to;
		size_t most = round % 2 == 0 ? 9000 : sizeof(buf);

		wbuf_init(&w);
		wbuf_init(&to);
		memset(model_set, 0, sizeof(model_set));
		for (int i = 0; i < 300; i++) {
			size_t len = 1 + (size_t)rand() % most;
			uint64_t off = (uint64_t)rand() % (SPACE - len);

			if (i % 3 == 0 && wbuf_end(&w) + len <= SPACE)
				off = wbuf_end(&w);
			memset(buf, rand(), len);
			buf[(size_t)rand() % len] ^= 1;
			assert_int_equal(wbuf_write(&w, off, buf, len), 0);
			memcpy(model + off, buf, len);
			memset(model_set + off, 1, len);
			check_shape(&w);
			check_range(&w);
		}
		check_bytes(&w);
		assert_int_equal(wbuf_take(&w, true, &to), 0);
		check_shape(&w);
		check_shape(&to);
		wbuf_clear(&w);
		wbuf_clear(&to);
	}
}

static int fault_left;

static int fault_hook(void)
{
	return fault_left-- == 0;
}

/* An allocation that fails leaves a list that is still in order. */
static void test_no_memory(void **state)
{
	static const uint8_t buf[9000];

	(void)state;
	for (int at = 0; at < 40; at++) {
		struct wbuf w;
		int rv = 0;

		wbuf_init(&w);
		fault_left = at;
		mem_fault_hook = fault_hook;
		for (uint64_t i = 0; i < 20 && rv == 0; i++)
			rv = wbuf_write(&w, i % 5 * 20000 + i * 500, buf,
					sizeof(buf));
		mem_fault_hook = NULL;
		assert_true(rv == 0 || rv == -ENOMEM);
		check_shape(&w);
		wbuf_clear(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sequential),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_no_memory),
	};
	const char *env = getenv("SEED");
	unsigned seed = env != NULL ? (unsigned)strtoul(env, NULL, 10)
				    : (unsigned)time(NULL);

	printf("# seed %u\n", seed);
	srand(seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
