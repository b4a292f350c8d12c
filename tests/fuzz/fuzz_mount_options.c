/*
 * Fuzz target: what leo-mount is asked to do: SPEC, then (behind a newline
 * each) lists of `-o`. Properties: a refusal is a sentence; paths and times
 * are in the form promised.
 */
#include "tests/fuzz/fuzz.h"

#include "fuse/options.h"

static void check(const struct mount_options *o)
{
	size_t len;

	FUZZ_MUST(o->timeout_s >= 1 && o->attr_timeout_s >= 0 &&
		  o->entry_timeout_s >= 0);
	if (o->path == NULL)
		return;
	len = strlen(o->path);
	FUZZ_MUST(strncmp(o->manager, "unix:/", 6) == 0);
	FUZZ_MUST(o->path[0] != '/' && (len == 0 || o->path[len - 1] != '/'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(wire_bytes(data, size)), *rest = text, *line;
	struct mount_options o;
	struct errbuf e = { "" };
	int rv;

	mount_options_init(&o, (size & 1) != 0);
	line = strsep(&rest, "\n");
	rv = mount_options_spec(&o, line, "/home/x", &e);
	FUZZ_MUST(rv == 0 || e.text[0] != '\0');
	while (rv == 0 && (line = strsep(&rest, "\n")) != NULL) {
		rv = mount_options_list(&o, line, &e);
		FUZZ_MUST(rv == 0 || e.text[0] != '\0');
	}
	if (rv == 0)
		check(&o);
	mount_options_fini(&o);
	free(text);
	return 0;
}
