/*
 * Fuzz target: names and queries. Properties: what decodes can be encoded and
 * decodes to the same again; the encoded form is its own canonical form; the
 * canonical query of a canonical query is itself.
 */
#include "tests/fuzz/fuzz.h"

#include "gateway/s3_uri.h"

static void round_trip(struct wire_bytes raw, bool plus, bool slash)
{
	uint8_t *out = malloc(raw.len + 1), *again;
	struct buf a, b;
	size_t n, m;

	FUZZ_MUST(out != NULL);
	buf_init(&a, 0);
	buf_init(&b, 0);
	if (s3_uri_decode(raw, plus, out, &n) == 0) {
		FUZZ_MUST(n <= raw.len);
		FUZZ_MUST(n == 0 || memchr(out, 0, n) == NULL);
		s3_uri_encode(&a, wire_bytes(out, n), slash);
		again = malloc(a.len + 1);
		FUZZ_MUST(again != NULL);
		FUZZ_MUST(s3_uri_decode(wire_bytes(a.data, a.len), plus, again,
					&m) == 0);
		FUZZ_MUST(wire_bytes_eq(wire_bytes(out, n),
					wire_bytes(again, m)));
		s3_uri_encode(&b, wire_bytes(again, m), slash);
		FUZZ_MUST(wire_bytes_eq(wire_bytes(a.data, a.len),
					wire_bytes(b.data, b.len)));
		free(again);
	}
	buf_fini(&a);
	buf_fini(&b);
	free(out);
}

static bool canonical(struct wire_bytes raw, struct buf *out)
{
	uint8_t *scratch = malloc(raw.len + 1);
	struct s3_query q;
	uint64_t v;
	bool ok;

	FUZZ_MUST(scratch != NULL);
	ok = s3_query_parse(raw, scratch, &q) == 0;
	if (ok) {
		FUZZ_MUST(q.n <= S3_QUERY_MAX);
		s3_query_canonical(out, &q, NULL);
		(void)s3_query_find(&q, "prefix");
		FUZZ_MUST(s3_query_u64(&q, "max-keys", 1000, 1000, &v) != 0 ||
			  v <= 1000);
	}
	free(scratch);
	return ok;
}

static void query(struct wire_bytes raw)
{
	struct buf a, b;

	buf_init(&a, 0);
	buf_init(&b, 0);
	if (canonical(raw, &a)) {
		FUZZ_MUST(canonical(wire_bytes(a.data, a.len), &b));
		FUZZ_MUST(wire_bytes_eq(wire_bytes(a.data, a.len),
					wire_bytes(b.data, b.len)));
	}
	buf_fini(&a);
	buf_fini(&b);
}

static void names(struct wire_bytes raw)
{
	const uint8_t *nl = raw.len == 0 ? NULL :
					   memchr(raw.p, '\n', raw.len);
	size_t n = nl == NULL ? raw.len : (size_t)(nl - raw.p);
	struct wire_bytes path = wire_bytes(raw.p, n), host, version;
	uint8_t *out = malloc(raw.len + 1);
	struct s3_name name;

	FUZZ_MUST(out != NULL);
	host = nl == NULL ? wire_bytes(NULL, 0) :
			    wire_bytes(nl + 1, raw.len - n - 1);
	if (s3_uri_parse(path, host, "s3.local", out, &name) == 0)
		FUZZ_MUST(name.bucket.len + name.key.len <= raw.len);
	if (s3_uri_copy_source(path, out, &name, &version) == 0)
		FUZZ_MUST(name.bucket.len > 0 && name.key.len > 0 &&
			  name.bucket.len + name.key.len + version.len <=
				  path.len);
	(void)s3_bucket_name_check(path);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t pick = fuzz_u8(&in);
	struct wire_bytes raw = fuzz_rest(&in);

	switch (pick % 3) {
	case 0:
		round_trip(raw, (pick & 4) != 0, (pick & 8) != 0);
		break;
	case 1:
		query(raw);
		break;
	default:
		names(raw);
		break;
	}
	return 0;
}
