#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H
/*
 * What fuzz targets share: a property that must hold, and an input taken
 * apart from its front. Missing bytes are zeros, so every input means
 * something.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_MUST(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, \
				__LINE__, #x); \
			abort(); \
		} \
	} while (0)

struct fuzz_in {
	const uint8_t *p;
	size_t left;
};

/* Up to len bytes; borrowed. */
static inline struct wire_bytes fuzz_take(struct fuzz_in *in, size_t len)
{
	struct wire_bytes b = { in->p, len < in->left ? len : in->left };

	in->p += b.len;
	in->left -= b.len;
	return b;
}

static inline struct wire_bytes fuzz_rest(struct fuzz_in *in)
{
	return fuzz_take(in, in->left);
}

static inline uint64_t fuzz_int(struct fuzz_in *in, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++) {
		v <<= 8;
		if (in->left > 0) {
			v |= *in->p++;
			in->left--;
		}
	}
	return v;
}

static inline uint8_t fuzz_u8(struct fuzz_in *in)
{
	return (uint8_t)fuzz_int(in, 1);
}

static inline uint16_t fuzz_u16(struct fuzz_in *in)
{
	return (uint16_t)fuzz_int(in, 2);
}

/* A copy of exactly len bytes, so that reading beyond is seen; free() it. */
static inline uint8_t *fuzz_copy(struct wire_bytes b)
{
	uint8_t *p = malloc(b.len == 0 ? 1 : b.len);

	FUZZ_MUST(p != NULL);
	if (b.len > 0)
		memcpy(p, b.p, b.len);
	return p;
}

/* The same with a NUL behind; ends at the first NUL of its own. */
static inline char *fuzz_text(struct wire_bytes b)
{
	char *s = malloc(b.len + 1);

	FUZZ_MUST(s != NULL);
	if (b.len > 0)
		memcpy(s, b.p, b.len);
	s[b.len] = '\0';
	return s;
}

#endif
