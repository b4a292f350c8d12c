/* common/base/be.h */
#include "common/base/be.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MARK 0xa5

/* At each alignment: these bytes, none beside them, and back. */
static void test_bytes(void **state)
{
	static const uint8_t want[8] = { 0x81, 0x92, 0xa3, 0xb4,
					 0xc5, 0xd6, 0xe7, 0xf8 };
	uint8_t b[24];

	(void)state;
	for (size_t at = 1; at < 9; at++) {
		memset(b, MARK, sizeof b);
		be64enc(b + at, 0x8192a3b4c5d6e7f8);
		assert_memory_equal(b + at, want, 8);
		assert_int_equal(b[at - 1], MARK);
		assert_int_equal(b[at + 8], MARK);
		assert_true(be64dec(b + at) == 0x8192a3b4c5d6e7f8);

		memset(b, MARK, sizeof b);
		be32enc(b + at, 0x8192a3b4);
		assert_memory_equal(b + at, want, 4);
		assert_int_equal(b[at - 1], MARK);
		assert_int_equal(b[at + 4], MARK);
		assert_true(be32dec(b + at) == 0x8192a3b4);

		memset(b, MARK, sizeof b);
		be16enc(b + at, 0x8192);
		assert_memory_equal(b + at, want, 2);
		assert_int_equal(b[at - 1], MARK);
		assert_int_equal(b[at + 2], MARK);
		assert_int_equal(be16dec(b + at), 0x8192);
	}
}

/* Numbers and their bytes have one order: keys rely on it. */
static void test_order(void **state)
{
	static const uint64_t v[] = { 0, 1, 255, 256, 65535, 65536, UINT32_MAX,
				      (uint64_t)UINT32_MAX + 1, UINT64_MAX - 1,
				      UINT64_MAX };
	uint8_t a[8], b[8];

	(void)state;
	for (size_t i = 1; i < sizeof v / sizeof v[0]; i++) {
		be64enc(a, v[i - 1]);
		be64enc(b, v[i]);
		assert_true(memcmp(a, b, 8) < 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
