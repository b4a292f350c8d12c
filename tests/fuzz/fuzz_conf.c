/*
 * Fuzz target: a configuration file. Properties: what is taken can be printed
 * and read back the same; every refusal is a sentence.
 */
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "common/base/conf.h"

struct conf {
	char *name, *path;
	uint64_t port, size, wait, level;
	bool fast;
};

#define ROW(n, t, f, d, lo, hi, u, v, r, text) \
	{ n, t, offsetof(struct conf, f), d, lo, hi, u, v, r, text }
static const struct conf_setting table[] = {
	ROW("name", CONF_STR, name, "x", 0, 20, "", NULL, false, "A name."),
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

/* Loads from a file that has these bytes; 0 or what conf_load() gave. */
static int load(const void *p, size_t len, struct conf *ret)
{
	struct errbuf e = { "" };
	char path[64];
	int fd = memfd_create("conf", MFD_CLOEXEC);
	int rv;

	FUZZ_MUST(fd >= 0 && (len == 0 || write(fd, p, len) == (ssize_t)len));
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rv = conf_load(table, N, path, ret, &e);
	FUZZ_MUST(rv == 0 || e.text[0] != '\0');
	(void)close(fd);
	return rv;
}

static char *print(const struct conf *conf, size_t *ret_len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, ret_len);

	FUZZ_MUST(f != NULL);
	conf_print(table, N, conf, f);
	FUZZ_MUST(fclose(f) == 0);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf conf, again;
	char *a, *b;
	size_t n, m;

	if (load(data, size, &conf) != 0)
		return 0;
	a = print(&conf, &n);
	FUZZ_MUST(load(a, n, &again) == 0);
	b = print(&again, &m);
	FUZZ_MUST(strcmp(conf.name, again.name) == 0 &&
		  strcmp(conf.path, again.path) == 0);
	FUZZ_MUST(n == m && memcmp(a, b, n) == 0);
	free(a);
	free(b);
	conf_free(table, N, &conf);
	conf_free(table, N, &again);
	return 0;
}
