/*
 * Fuzz target: Range, times, conditions and ETags. Properties: a range lies
 * within the object; a time that parses survives being written and parsed.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "gateway/s3_sum.h"
#include "gateway/s3_time.h"

static void range(struct wire_bytes text)
{
	static const uint64_t sizes[] = { 0, 1, 10, 1u << 20, INT64_MAX,
					  UINT64_MAX };
	struct s3_range r = s3_range_parse(text);

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t off, len;
		int rv = s3_range_resolve(r, sizes[i], &off, &len);

		FUZZ_MUST(rv == 0 || rv == -ERANGE);
		FUZZ_MUST(rv != 0 ||
			  (off <= sizes[i] && len <= sizes[i] - off));
	}
}

static void times(struct wire_bytes text)
{
	char amz[S3_TIME_AMZ_LEN + 1], http[S3_TIME_HTTP_LEN + 1],
		iso[S3_TIME_ISO_LEN + 1];
	int64_t t, u;

	if (s3_time_parse_amz(text, &t) == 0 &&
	    memcmp(text.p + 13, "60", 2) != 0) { /* a leap second moves on */
		s3_time_amz(t, amz);
		FUZZ_MUST(wire_bytes_eq(text, wire_cstr(amz)));
	}
	if (s3_time_parse_http(text, &t) == 0) {
		s3_time_http(t, http);
		FUZZ_MUST(s3_time_parse_http(wire_cstr(http), &u) == 0 &&
			  u == t);
	}
	if (s3_time_parse_iso(text, &t) == 0) {
		s3_time_iso(t, 0, iso);
		FUZZ_MUST(s3_time_parse_iso(wire_cstr(iso), &u) == 0 &&
			  u == t);
	}
}

static void etags(struct wire_bytes text)
{
	struct wire_bytes bare;
	uint8_t bytes[S3_SUM_LEN_MAX];
	char out[256];

	(void)s3_etag_matches(text, wire_cstr("0123abcd"));
	if (s3_etag_bare(text, out, sizeof(out), &bare) == 0)
		FUZZ_MUST(bare.len <= sizeof(out) &&
			  (bare.len == 0 ||
			   memchr(bare.p, '"', bare.len) == NULL));
	(void)s3_sum_find(text);
	(void)s3_sum_find_header(text);
	(void)s3_hex_decode(text, bytes, text.len / 2 < sizeof(bytes) ?
						 text.len / 2 :
						 sizeof(bytes));
}

static void conditions(struct fuzz_in *in)
{
	struct s3_conditions c = { .if_match = { NULL, 0 } };
	const char *which = NULL;
	int rv;

	c.if_match = fuzz_take(in, fuzz_u8(in));
	c.if_none_match = fuzz_take(in, fuzz_u8(in));
	c.if_modified_since = fuzz_take(in, fuzz_u8(in));
	c.if_unmodified_since = fuzz_rest(in);
	if (c.if_match.len == 0)
		c.if_match.p = NULL;
	if (c.if_none_match.len == 0)
		c.if_none_match.p = NULL;
	rv = s3_conditions_check(&c, wire_cstr("0123abcd"), 1369353600,
				 &which);
	FUZZ_MUST(rv == 0 || rv == -ESTALE || rv == -ECANCELED);
	FUZZ_MUST(rv == 0 || which != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t pick = fuzz_u8(&in);

	switch (pick % 4) {
	case 0:
		range(fuzz_rest(&in));
		break;
	case 1:
		times(fuzz_rest(&in));
		break;
	case 2:
		etags(fuzz_rest(&in));
		break;
	default:
		conditions(&in);
		break;
	}
	return 0;
}
