/*
 * Fuzz target: names in the mount. The first byte says what the bytes are: a
 * component (odd) or a shown name. Properties: both ways and back gives the
 * same; a shown name is one that POSIX can have.
 */
#include "tests/fuzz/fuzz.h"

#include "common/wire/msgs.h"
#include "fuse/escape.h"

static void component(struct wire_bytes c, bool is_dir, bool hidden)
{
	char out[ESCAPE_SHOWN_MAX + 1];
	struct escape_name n;
	int len;

	/* no component has these */
	if (memchr(c.p, 0, c.len) != NULL || memchr(c.p, '/', c.len) != NULL)
		return;
	len = escape_encode(c.p, c.len, is_dir, hidden, out);
	if (len < 0)
		return;
	FUZZ_MUST(len > 0 && len <= ESCAPE_SHOWN_MAX &&
		  strlen(out) == (size_t)len && strchr(out, '/') == NULL &&
		  strcmp(out, ".") != 0 && strcmp(out, "..") != 0);
	FUZZ_MUST(escape_decode(out, (size_t)len, &n) == 0);
	FUZZ_MUST(wire_bytes_eq(wire_bytes(n.comp, n.len), c));
	FUZZ_MUST(n.how == RPC_NAME_ANY || (n.how == RPC_NAME_DIR) == is_dir);
	FUZZ_MUST(!n.if_hidden || (hidden && !is_dir));
}

static void shown(struct wire_bytes s)
{
	char out[ESCAPE_SHOWN_MAX + 1];
	struct escape_name n;
	int len;

	if (escape_decode((const char *)s.p, s.len, &n) != 0)
		return;
	FUZZ_MUST(n.len <= ESCAPE_SHOWN_MAX);
	len = escape_encode(n.comp, n.len, n.how == RPC_NAME_DIR, n.if_hidden,
			    out);
	FUZZ_MUST(len >= 0 &&
		  wire_bytes_eq(wire_bytes(out, (size_t)len), s));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t how = fuzz_u8(&in);
	struct wire_bytes b = fuzz_rest(&in);
	char *copy = (char *)fuzz_copy(b);

	b.p = (const uint8_t *)copy;
	if ((how & 1) != 0)
		component(b, (how & 2) != 0, (how & 4) != 0);
	else
		shown(b);
	free(copy);
	return 0;
}
