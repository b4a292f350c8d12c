/*
 * Configuration: tests/conf/NAME.yml is read; the result (the effective
 * configuration, or the error without the folder) must equal NAME.ok.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/conf.h"
#include "tests/lib/fault.h"

struct conf {
	char *name;
	char *path;
	uint64_t port;
	uint64_t size;
	uint64_t wait;
	uint64_t level;
	bool fast;
};

#define ROW(n, t, f, d, lo, hi, u, v, r, text) \
	{ n, t, offsetof(struct conf, f), d, lo, hi, u, v, r, text }
static const struct conf_setting table[] = {
	ROW("name", CONF_STR, name, NULL, 0, 20, "", NULL, false, "A name."),
	ROW("port", CONF_U64, port, "80", 1, 65535, "", NULL, false, "Port."),
	ROW("log.path", CONF_STR, path, "", 0, 0, "", NULL, true, "Log."),
	ROW("log.level", CONF_ENUM, level, "info", 0, 0, "",
	    "error|warn|info|debug", true, "Level."),
	ROW("cache.size", CONF_SIZE, size, "64MiB", 4096, 1ull << 40, "bytes",
	    NULL, false, "Size."),
	ROW("cache.fast", CONF_BOOL, fast, "true", 0, 0, "", NULL, false,
	    "Fast."),
	ROW("timeout", CONF_MS, wait, "30s", 0, 86400000, "ms", NULL, true,
	    "Time."),
};
#define N (sizeof(table) / sizeof(table[0]))

static const char *conf_dir(void)
{
	static char dir[512];
	const char *top = getenv("top_srcdir");

	(void)snprintf(dir, sizeof(dir), "%s/tests/conf",
		       top != NULL ? top : ".");
	return dir;
}

/* The configuration or the error as the .ok file has it; free() it. */
static char *conf_result(const char *path)
{
	struct errbuf e = { "" };
	struct conf conf;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (conf_load(table, N, path, &conf, &e) == 0) {
		conf_print(table, N, &conf, f);
		conf_free(table, N, &conf);
	} else {
		const char *base = strrchr(path, '/');
		const char *at = strstr(e.text, base + 1);

		fprintf(f, "error: %s\n", at != NULL ? at : e.text);
	}
	(void)fclose(f);
	return text;
}

static char *read_file(const char *path)
{
	char *text = calloc(1, 65536);
	FILE *f = fopen(path, "r");

	if (f != NULL) {
		(void)!fread(text, 1, 65535, f);
		(void)fclose(f);
	}
	return text;
}

static void test_files(void **state)
{
	DIR *d = opendir(conf_dir());
	struct dirent *de;
	int files = 0;

	(void)state;
	assert_non_null(d);
	while ((de = readdir(d)) != NULL) {
		size_t n = strlen(de->d_name);
		char path[1024], ok[1024], *want, *got, *again;
		FILE *f;

		if (n < 5 || strcmp(de->d_name + n - 4, ".yml") != 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", conf_dir(),
			       de->d_name);
		(void)snprintf(ok, sizeof(ok), "%s/%.*s.ok", conf_dir(),
			       (int)n - 4, de->d_name);
		want = read_file(ok);
		got = conf_result(path);
		if (strcmp(want, got) != 0)
			print_message("# %s\n", de->d_name);
		assert_string_equal(got, want);
		/* what is printed reads back as the same */
		if (strncmp(got, "error: ", 7) != 0) {
			char tmp[] = "/tmp/base-conf-XXXXXX";
			int fd = mkstemp(tmp);

			f = fdopen(fd, "w");
			(void)fputs(got, f);
			(void)fclose(f);
			again = conf_result(tmp);
			(void)unlink(tmp);
			assert_string_equal(again, got);
			free(again);
		}
		free(want);
		free(got);
		files++;
	}
	(void)closedir(d);
	assert_true(files >= 20);
}

static void test_required_and_set(void **state)
{
	struct errbuf e;
	struct conf c;

	(void)state;
	assert_int_equal(conf_load(table, N, NULL, &c, &e), -EINVAL);
	assert_string_equal(e.text, "setting \"name\" is required");
	assert_int_equal(conf_load(table + 1, N - 1, NULL, &c, &e), 0);
	c.name = NULL;
	assert_int_equal(c.port, 80);
	assert_int_equal(c.size, 64 << 20);
	assert_int_equal(c.wait, 30000);
	assert_int_equal(c.level, 2);
	assert_true(c.fast);
	assert_int_equal(conf_set(table, N, "name", "first", &c, &e), 0);
	assert_int_equal(conf_set(table, N, "name", "x\"\\\n", &c, &e), 0);
	assert_string_equal(c.name, "x\"\\\n");
	assert_int_equal(conf_set(table, N, "port", "0", &c, &e), -ERANGE);
	assert_string_equal(e.text, "port: 0 is not in 1 to 65535");
	assert_int_equal(conf_set(table, N, "nope", "0", &c, &e), -EINVAL);
	assert_int_equal(conf_set(table, N, "timeout", "500ms", &c, &e), 0);
	assert_int_equal(c.wait, 500);
	assert_int_equal(conf_set(table, N, "cache.size", "64k", &c, &e), 0);
	assert_int_equal(c.size, 65536);
	assert_int_equal(conf_set(table, N, "cache.size",
				  "99999999999999999999", &c, &e), -ERANGE);
	assert_int_equal(conf_set(table, N, "cache.size", "99999999TiB", &c,
				  &e), -ERANGE);
	conf_free(table, N, &c);
	assert_int_equal(conf_load(table, N, "/nowhere.yml", &c, &e),
			 -ENOENT);
	assert_int_equal(conf_load(table, N, "/dev/zero", &c, &e), -EFBIG);
}

static void test_man(void **state)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	(void)state;
	conf_print_man(table, N, f);
	(void)fclose(f);
	assert_non_null(strstr(text, ".It Cm cache.size : Ar size\nSize.\n"
				     "From 4KiB to 1TiB.\n"
				     "The default is\n.Li 64MiB .\n"));
	free(text);
}

static void test_faults(void **state)
{
	char path[1024];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/all.yml", conf_dir());
	for (int n = 1; n <= 3; n++) {
		for (int at = 0;; at++) {
			struct errbuf e;
			struct conf c;
			int rv;

			fault_set(at, n);
			rv = conf_load(table, N, path, &c, &e);
			fault_clear();
			if (rv == 0)
				conf_free(table, N, &c);
			assert_int_equal(rv, fault_fired() ? -ENOMEM : 0);
			if (!fault_fired())
				break;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_required_and_set),
		cmocka_unit_test(test_man),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
