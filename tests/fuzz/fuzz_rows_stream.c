/*
 * Fuzz target: a row stream. The first byte says whether checksums are made
 * right, so that what lies behind them is reached, and in which pieces it is
 * fed. Properties: pieces make no difference; keys ascend, and none is the
 * host's own; values have their hash.
 */
#include "tests/fuzz/fuzz.h"

#include <xxhash.h>

#include "common/base/be.h"
#include "common/rows/rows_stream.h"

struct got {
	uint64_t digest, items;
	uint8_t last[64];
	size_t last_len;
};

static int got_head(void *arg, const struct rows_stream_head *head)
{
	struct got *g = arg;

	FUZZ_MUST(head->at.index != 0);
	g->digest += head->at.index;
	return 0;
}

static int got_row(void *arg, struct wire_bytes key, struct wire_bytes value)
{
	struct got *g = arg;

	FUZZ_MUST(key.len > 0 && key.p[0] != 0);
	if (key.len < sizeof g->last && g->last_len > 0)
		FUZZ_MUST(wire_bytes_cmp(wire_bytes(g->last, g->last_len),
					 key) < 0);
	g->last_len = key.len < sizeof g->last ? key.len : 0;
	memcpy(g->last, key.p, g->last_len);
	g->digest = XXH3_64bits_withSeed(value.p, value.len, g->digest);
	g->items++;
	return 0;
}

static int got_value(void *arg, struct wire_u128 hash, struct wire_bytes bytes)
{
	struct got *g = arg;
	XXH128_hash_t h = XXH3_128bits(bytes.p, bytes.len);

	FUZZ_MUST(h.high64 == hash.hi && h.low64 == hash.lo);
	g->items++;
	return 0;
}

/* Checksums of the head, of the blocks, of the end, as far as they go. */
static void fix(uint8_t *p, size_t len)
{
	uint64_t head, seed;
	size_t at;

	if (len < 16 || be32dec(p + 8) > len - 16 ||
	    len - 16 - be32dec(p + 8) < 8)
		return;
	memcpy(p, "LEOROWS1", 8);
	at = 16 + be32dec(p + 8);
	head = XXH3_64bits(p, at);
	be64enc(p + at, head);
	for (at += 8; len - at >= 16;) {
		uint32_t n = be32dec(p + at);

		if (n > len - at - 16)
			return;
		seed = XXH3_64bits_withSeed(p + at, 8, head);
		be64enc(p + at + 8, XXH3_64bits_withSeed(p + at + 16, n, seed));
		at += 16 + n;
		if (n == 0 && len - at >= 16)
			be64enc(p + at + 8,
				XXH3_64bits_withSeed(p + at, 8, seed));
	}
}

static int feed(const uint8_t *p, size_t len, size_t piece, struct got *g)
{
	struct rows_stream_sink sink = {
		.head = got_head, .row = got_row, .value = got_value, .arg = g,
	};
	struct rows_stream_reader *r = rows_stream_reader_new(&sink);
	int rv = 0;

	FUZZ_MUST(r != NULL);
	while (rv == 0 && len > 0) {
		size_t n = piece < len ? piece : len;

		rv = rows_stream_feed(r, p, n);
		p += n;
		len -= n;
	}
	rows_stream_reader_free(r);
	return rv;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t how = fuzz_u8(&in);
	struct wire_bytes b = fuzz_rest(&in);
	struct got a = { .items = 0 }, c = { .items = 0 };
	uint8_t *bytes = fuzz_copy(b);

	if ((how & 1) != 0)
		fix(bytes, b.len);
	FUZZ_MUST(feed(bytes, b.len, b.len == 0 ? 1 : b.len, &a) ==
		  feed(bytes, b.len, 1 + how / 2, &c));
	FUZZ_MUST(a.items == c.items && a.digest == c.digest);
	free(bytes);
	return 0;
}
