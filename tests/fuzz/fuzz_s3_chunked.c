/*
 * Fuzz target: aws-chunked bodies. The first bytes say how it is sent and how
 * long it is said to be. Properties: any way of cutting the body gives the
 * same bytes and the same answer; never more bytes than promised, and exactly
 * as many when the answer is S3_OK.
 */
#include "tests/fuzz/fuzz.h"

#include "gateway/s3_chunked.h"

static const char seed_hex[] =
	"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";

/* Feeds body in pieces; pieces of rng % 16 bytes when rng is not 0. */
static enum s3_err decode(const struct s3_chunked_config *config,
			  struct wire_bytes body, uint32_t rng,
			  struct buf *out, struct buf *sum)
{
	struct s3_chunked *c;
	struct wire_bytes s;
	enum s3_err e = S3_OK;
	size_t n, got;

	FUZZ_MUST(s3_chunked_new(config, &c) == 0);
	for (size_t at = 0; at < body.len && e == S3_OK; at += n) {
		uint8_t *piece;

		n = body.len - at;
		if (rng != 0) {
			rng = rng * 1664525 + 1013904223;
			if (n > rng >> 28)
				n = rng >> 28;
		}
		piece = fuzz_copy(wire_bytes(body.p + at, n));
		e = s3_chunked_feed(c, piece, n, &got);
		FUZZ_MUST(got <= n);
		buf_add(out, piece, got);
		free(piece);
	}
	if (e == S3_OK)
		e = s3_chunked_end(c);
	s = s3_chunked_sum(c);
	buf_add(sum, s.p, s.len);
	s3_chunked_free(c);
	return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t how = fuzz_u8(&in);
	struct s3_chunked_config config = {
		.is_signed = (how & 1) != 0,
		.trailer = (how & 2) != 0,
		.expect = (enum s3_sum_alg)((how >> 2) % (S3_SUM_NONE + 1)),
		.decoded_len = (how & 128) != 0 ? UINT64_MAX : fuzz_u16(&in),
		.seed = { .date = "20130524T000000Z",
			  .scope = "20130524/us-east-1/s3/aws4_request" },
	};
	struct buf a, b, sum_a, sum_b;
	struct wire_bytes body;
	uint32_t rng = 1u + fuzz_u8(&in);
	enum s3_err ea, eb;

	memset(config.seed.key, 'k', sizeof(config.seed.key));
	memcpy(config.seed.signature, seed_hex, sizeof(seed_hex));
	body = fuzz_rest(&in);
	buf_init(&a, 0);
	buf_init(&b, 0);
	buf_init(&sum_a, 0);
	buf_init(&sum_b, 0);
	ea = decode(&config, body, 0, &a, &sum_a);
	eb = decode(&config, body, rng, &b, &sum_b);
	FUZZ_MUST(ea == eb && a.len == b.len && sum_a.len == sum_b.len);
	FUZZ_MUST(a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
	FUZZ_MUST(sum_a.len < S3_SUM_TEXT_MAX);
	FUZZ_MUST(a.len <= config.decoded_len);
	FUZZ_MUST(ea != S3_OK || a.len == config.decoded_len);
	buf_fini(&a);
	buf_fini(&b);
	buf_fini(&sum_a);
	buf_fini(&sum_b);
	return 0;
}
