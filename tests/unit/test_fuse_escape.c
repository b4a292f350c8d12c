/* The escape table of the mount: fixed cases and a bijection property. */
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

#include "common/wire/msgs.h"
#include "fuse/escape.h"

struct shown_case {
	const char *comp;
	bool is_dir, hidden;
	const char *shown;
};

static const struct shown_case shown_cases[] = {
	{ "a", false, false, "a" },
	{ "a", true, false, "a" },
	{ "a", true, true, "a" },
	{ "a", false, true, ".%fa" },
	{ "a.c", false, true, ".%fa%2Ec" },
	{ "", false, false, ".%f" },
	{ "", true, false, ".%d" },
	{ ".", false, false, ".%f%2E" },
	{ ".", true, false, ".%d%2E" },
	{ "..", true, false, ".%d%2E%2E" },
	{ "...", true, false, "..." },
	{ ".x", false, false, ".x" },
	{ ".%", false, false, ".%f%2E%25" },
	{ ".%fa", false, false, ".%f%2E%25fa" },
	{ "%", false, false, "%" },
	{ "\xc3\xbc", false, false, "\xc3\xbc" },
	{ "\xc3\xbc", false, true, ".%f%C3%BC" },
};

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(shown_cases) / sizeof(*shown_cases);
	     i++) {
		const struct shown_case *c = &shown_cases[i];
		char out[ESCAPE_SHOWN_MAX + 1];
		struct escape_name n;
		int len = escape_encode((const uint8_t *)c->comp,
					strlen(c->comp), c->is_dir, c->hidden,
					out);

		assert_int_equal(len, strlen(c->shown));
		assert_string_equal(out, c->shown);
		assert_int_equal(escape_decode(out, (size_t)len, &n), 0);
		assert_int_equal(n.len, strlen(c->comp));
		assert_memory_equal(n.comp, c->comp, n.len);
		if (n.how != RPC_NAME_ANY)
			assert_int_equal(n.how, c->is_dir ? RPC_NAME_DIR
							  : RPC_NAME_FILE);
		if (n.if_hidden)
			assert_true(c->hidden && !c->is_dir);
	}
}

static void test_no_names(void **state)
{
	static const char *const bad[] = {
		"", ".", "..", ".%", ".%x", ".%fa b", ".%f.", ".%f%2e",
		".%f%41", ".%f%", ".%f%2", ".%f%00", ".%f%2F", ".%da",
		".%d%2Ex", ".%f%G0", ".%F", ".%f%2E%25%61",
	};
	struct escape_name n;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(escape_decode(bad[i], strlen(bad[i]), &n),
				 -EINVAL);
}

static void test_long(void **state)
{
	uint8_t comp[ESCAPE_SHOWN_MAX + 1];
	char out[ESCAPE_SHOWN_MAX + 1];
	struct escape_name n;

	(void)state;
	memset(comp, 'x', sizeof(comp));
	assert_int_equal(escape_encode(comp, 1024, false, false, out), 1024);
	assert_int_equal(escape_encode(comp, 1025, false, false, out),
			 -ENAMETOOLONG);
	assert_int_equal(escape_encode(comp, 1021, false, true, out), 1024);
	assert_int_equal(escape_encode(comp, 1022, false, true, out),
			 -ENAMETOOLONG);
	memset(comp, '.', sizeof(comp));
	assert_int_equal(escape_encode(comp, 341, false, true, out),
			 -ENAMETOOLONG);
	assert_int_equal(escape_encode(comp, 340, false, true, out), 1023);
	assert_int_equal(escape_decode((const char *)comp, 1025, &n),
			 -ENAMETOOLONG);
}

static size_t random_name(uint8_t *out)
{
	static const char few[] = ".%fd2E5A_-a b\xff\x01";
	size_t len = (size_t)rand() % 8;

	for (size_t i = 0; i < len; i++) {
		do
			out[i] = rand() % 8 != 0
					 ? (uint8_t)few[(size_t)rand() %
							(sizeof(few) - 1)]
					 : (uint8_t)(rand() & 255);
		while (out[i] == '\0' || out[i] == '/');
	}
	return len;
}

/* Row -> shown -> row gives the row back, and shown is a legal file name. */
static void test_rows_property(void **state)
{
	(void)state;
	for (int i = 0; i < 300000; i++) {
		uint8_t comp[8];
		size_t len = random_name(comp);
		bool is_dir = (rand() & 1) != 0;
		bool hidden = !is_dir && (rand() & 1) != 0;
		char out[ESCAPE_SHOWN_MAX + 1];
		struct escape_name n;
		int rv = escape_encode(comp, len, is_dir, hidden, out);

		assert_true(rv > 0);
		assert_string_not_equal(out, ".");
		assert_string_not_equal(out, "..");
		assert_null(strchr(out, '/'));
		assert_int_equal(strlen(out), rv);
		assert_int_equal(escape_decode(out, (size_t)rv, &n), 0);
		assert_int_equal(n.len, len);
		assert_memory_equal(n.comp, comp, len);
		if (n.how != RPC_NAME_ANY)
			assert_int_equal(n.how == RPC_NAME_DIR, is_dir);
	}
}

/* Shown -> row -> shown gives the same name: there is no second form. */
static void test_shown_property(void **state)
{
	unsigned good = 0;

	(void)state;
	for (int i = 0; i < 300000; i++) {
		char shown[16] = ".%f";
		size_t at = rand() % 2 == 0 ? 3 : 0;
		size_t len = at + random_name((uint8_t *)shown + at);
		char out[ESCAPE_SHOWN_MAX + 1];
		struct escape_name n;

		if (escape_decode(shown, len, &n) != 0)
			continue;
		good++;
		assert_int_equal(escape_encode(n.comp, n.len,
					       n.how == RPC_NAME_DIR,
					       n.if_hidden, out),
				 len);
		assert_memory_equal(out, shown, len);
	}
	assert_true(good > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_no_names),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_rows_property),
		cmocka_unit_test(test_shown_property),
	};
	const char *env = getenv("SEED");
	unsigned seed = env != NULL ? (unsigned)strtoul(env, NULL, 10)
				    : (unsigned)time(NULL);

	printf("# seed %u\n", seed);
	srand(seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
