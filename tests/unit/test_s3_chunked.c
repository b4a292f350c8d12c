/*
 * aws-chunked bodies: the examples AWS publishes (66,560 bytes of 'a' in
 * chunks of 64 KiB, with and without a trailer), cut at every place, and
 * bodies that must be refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "gateway/s3_chunked.h"

#define TOTAL 66560

static void signing_key(uint8_t key[32])
{
	static const char secret[] =
		"AWS4wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
	struct s3_sha *s;

	assert_int_equal(s3_sha_new(&s), 0);
	s3_hmac(s, secret, sizeof(secret) - 1, "20130524", 8, key);
	s3_hmac(s, key, 32, "us-east-1", 9, key);
	s3_hmac(s, key, 32, "s3", 2, key);
	s3_hmac(s, key, 32, "aws4_request", 12, key);
	s3_sha_free(s);
}

static struct s3_chunked_config config(bool trailer)
{
	struct s3_chunked_config c = {
		.is_signed = true, .trailer = trailer,
		.expect = trailer ? S3_SUM_CRC32C : S3_SUM_NONE,
		.decoded_len = TOTAL,
		.seed = { .date = "20130524T000000Z",
			  .scope = "20130524/us-east-1/s3/aws4_request" },
	};

	signing_key(c.seed.key);
	strcpy(c.seed.signature,
	       trailer ? "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b"
			 "74544bfeb8e" :
			 "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7"
			 "db9fa80a0a9");
	return c;
}

static char *add(char *p, const char *text)
{
	size_t n = strlen(text);

	memcpy(p, text, n);
	return p + n;
}

static size_t make_body(char *body, bool trailer, const char *end)
{
	char *p = body;

	p = add(p, "10000;chunk-signature=");
	p = add(p, trailer ? "b474d8862b1487a5145d686f57f013e54db672cee1c953b3"
			     "010fb58501ef5aa2\r\n" :
			     "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ad"
			     "e35a65485a288648\r\n");
	memset(p, 'a', 65536);
	p = add(p + 65536, "\r\n400;chunk-signature=");
	p = add(p, trailer ? "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2"
			     "c1d40a8cae51e5c7\r\n" :
			     "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d"
			     "234b86a503ef5497\r\n");
	memset(p, 'a', 1024);
	p = add(p + 1024, "\r\n0;chunk-signature=");
	p = add(p, trailer ? "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e"
			     "65d5c9f85863f992\r\n" :
			     "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ce"
			     "b9323e279d449df9\r\n");
	p = add(p, end);
	return (size_t)(p - body);
}

#define TRAILER_SUM "x-amz-checksum-crc32c:sOO8/Q=="
#define TRAILER_SIG \
	"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4" \
	"a59689829ca17fe2e435\r\n\r\n"

/* Feeds body in pieces of up to `step` bytes; the error, and what came out. */
static enum s3_err decode(const struct s3_chunked_config *cfg,
			  const char *body, size_t len, size_t step,
			  size_t *ret_out, char *sum)
{
	struct s3_chunked *c;
	enum s3_err e = S3_OK;
	size_t out = 0;
	bool bytes_ok = true;

	assert_int_equal(s3_chunked_new(cfg, &c), 0);
	for (size_t at = 0; at < len && e == S3_OK;) {
		size_t n = len - at < step ? len - at : step, got;
		uint8_t *piece = malloc(n);

		memcpy(piece, body + at, n);
		e = s3_chunked_feed(c, piece, n, &got);
		for (size_t i = 0; i < got; i++)
			bytes_ok = bytes_ok && piece[i] == 'a';
		free(piece);
		out += got;
		at += n;
	}
	if (e == S3_OK)
		e = s3_chunked_end(c);
	if (sum != NULL) {
		struct wire_bytes s = s3_chunked_sum(c);

		memcpy(sum, s.p, s.len);
		sum[s.len] = '\0';
	}
	s3_chunked_free(c);
	assert_true(bytes_ok);
	*ret_out = out;
	return e;
}

static void test_signed(void **state)
{
	static const size_t steps[] = { 1, 2, 3, 85, 4096, 65537, 1 << 20 };
	struct s3_chunked_config cfg = config(false);
	char *body = malloc(TOTAL + 1024);
	size_t len = make_body(body, false, "\r\n"), out;

	(void)state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		assert_int_equal(decode(&cfg, body, len, steps[i], &out, NULL),
				 S3_OK);
		assert_int_equal(out, TOTAL);
	}
	/* every byte that is changed is noticed (headers all, data some) */
	for (size_t i = 0; i < len; i += i < 90 || i > len - 1200 ? 1 : 997) {
		char old = body[i];

		body[i] = (char)(old ^ 1);
		if (body[i] != 'a' - 32) {
			struct s3_chunked *c;
			enum s3_err e;
			uint8_t *copy = malloc(len);
			size_t got;

			memcpy(copy, body, len);
			assert_int_equal(s3_chunked_new(&cfg, &c), 0);
			e = s3_chunked_feed(c, copy, len, &got);
			if (e == S3_OK)
				e = s3_chunked_end(c);
			assert_int_not_equal(e, S3_OK);
			s3_chunked_free(c);
			free(copy);
		}
		body[i] = old;
	}
	/* cut anywhere near the ends, or with something behind */
	for (size_t cut = len - 1; cut > len - 200; cut--)
		assert_int_equal(decode(&cfg, body, cut, 1 << 20, &out, NULL),
				 S3_ERR_INCOMPLETE_BODY);
	body[len] = 'x';
	assert_int_equal(decode(&cfg, body, len + 1, 1 << 20, &out, NULL),
			 S3_ERR_INCOMPLETE_BODY);
	cfg.decoded_len = TOTAL - 1;
	assert_int_equal(decode(&cfg, body, len, 1 << 20, &out, NULL),
			 S3_ERR_INCOMPLETE_BODY);
	cfg.decoded_len = TOTAL + 1;
	assert_int_equal(decode(&cfg, body, len, 1 << 20, &out, NULL),
			 S3_ERR_INCOMPLETE_BODY);
	free(body);
}

static void test_signed_trailer(void **state)
{
	static const char *const good[] = {
		TRAILER_SUM "\r\n" TRAILER_SIG,
		TRAILER_SUM "\n\r\n" TRAILER_SIG, /* a known client's form */
		"X-Amz-Checksum-Crc32c: sOO8/Q==\r\n" TRAILER_SIG,
	};
	static const struct {
		const char *end;
		enum s3_err err;
	} bad[] = {
		{ "\r\n", S3_ERR_MALFORMED_TRAILER },
		{ TRAILER_SUM "\r\n\r\n", S3_ERR_INCOMPLETE_BODY },
		{ TRAILER_SIG, S3_ERR_SIGNATURE_MISMATCH },
		{ "x-amz-checksum-crc32c:sOO8/A==\r\n" TRAILER_SIG,
		  S3_ERR_SIGNATURE_MISMATCH },
		{ "x-amz-checksum-crc32:sOO8/Q==\r\n" TRAILER_SIG,
		  S3_ERR_MALFORMED_TRAILER },
		{ TRAILER_SUM "\r\n" TRAILER_SUM "\r\n" TRAILER_SIG,
		  S3_ERR_MALFORMED_TRAILER },
		{ "x-amz-meta-a:b\r\n" TRAILER_SUM "\r\n" TRAILER_SIG,
		  S3_ERR_MALFORMED_TRAILER },
		{ "nonsense\r\n", S3_ERR_MALFORMED_TRAILER },
		{ TRAILER_SUM "\r\r\n" TRAILER_SIG, S3_ERR_MALFORMED_TRAILER },
	};
	struct s3_chunked_config cfg = config(true);
	char *body = malloc(TOTAL + 2048), sum[64];
	size_t len, out;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		for (size_t step = 1; step < 70000; step += 33333) {
			len = make_body(body, true, good[i]);
			assert_int_equal(
				decode(&cfg, body, len, step, &out, sum),
				S3_OK);
			assert_string_equal(sum, "sOO8/Q==");
		}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		len = make_body(body, true, bad[i].end);
		assert_int_equal(decode(&cfg, body, len, 1000, &out, NULL),
				 bad[i].err);
	}
	free(body);
}

static void test_unsigned(void **state)
{
	static const struct {
		const char *body;
		uint64_t len;
		enum s3_err err;
	} t[] = {
		{ "3\r\naaa\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", 3,
		  S3_OK },
		{ "0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", 0, S3_OK },
		{ "1\r\na\r\n02\r\naa\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n"
		  "\r\n", 3, S3_OK },
		{ "3\r\naaa\r\n0\r\n\r\n", 3, S3_ERR_MALFORMED_TRAILER },
		{ "3\r\naaa\r\n0\r\n", 3, S3_ERR_INCOMPLETE_BODY },
		{ "3\r\naa", 3, S3_ERR_INCOMPLETE_BODY },
		{ "4\r\naaaa\r\n0\r\n\r\n", 3, S3_ERR_INCOMPLETE_BODY },
		{ "ffffffffffffffff\r\naaaa", 3, S3_ERR_INCOMPLETE_BODY },
		{ "00000000000000003\r\naaa", 3, S3_ERR_INVALID_CHUNK_SIZE },
		{ "-1\r\naaaa", 3, S3_ERR_INVALID_CHUNK_SIZE },
		{ "0x3\r\naaa", 3, S3_ERR_INVALID_CHUNK_SIZE },
		{ " 3\r\naaa", 3, S3_ERR_INVALID_CHUNK_SIZE },
		{ "3;a=b\r\naaa", 3, S3_ERR_INVALID_CHUNK_SIZE },
		{ "\r\naaa", 3, S3_ERR_INVALID_CHUNK_SIZE },
		{ "3\naaa\r\n", 3, S3_ERR_INVALID_CHUNK_SIZE },
		{ "3\r\naaab\r\n", 3, S3_ERR_INVALID_CHUNK_SIZE },
	};
	struct s3_chunked_config cfg = { .trailer = true,
					 .expect = S3_SUM_CRC32 };
	char *line = malloc(70000);
	size_t out;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		for (size_t step = 1; step < 100; step += 90) {
			cfg.decoded_len = t[i].len;
			assert_int_equal(decode(&cfg, t[i].body,
						strlen(t[i].body), step, &out,
						NULL),
					 t[i].err);
		}
	memset(line, '0', 70000); /* endless lines */
	cfg.decoded_len = 3;
	assert_int_equal(decode(&cfg, line, 70000, 4096, &out, NULL),
			 S3_ERR_INVALID_CHUNK_SIZE);
	memcpy(line, "0\r\n", 3);
	assert_int_equal(decode(&cfg, line, 70000, 4096, &out, NULL),
			 S3_ERR_MALFORMED_TRAILER);
	free(line);
}

/* Garbage never crashes, and never decodes to more than it was. */
static void test_random(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	static const char alphabet[] = "0123aAf;=\r\n\r\n:-x";

	(void)state;
	print_message("seed %u\n", seed);
	srand(seed);
	for (int i = 0; i < 20000; i++) {
		struct s3_chunked_config cfg = config((i & 1) != 0);
		uint8_t data[64];
		struct s3_chunked *c;
		size_t out, n = (size_t)rand() % sizeof(data);

		cfg.is_signed = (i & 2) != 0;
		for (size_t k = 0; k < n; k++)
			data[k] = (uint8_t)alphabet[(size_t)rand() %
						    (sizeof(alphabet) - 1)];
		assert_int_equal(s3_chunked_new(&cfg, &c), 0);
		(void)s3_chunked_feed(c, data, n, &out);
		assert_true(out <= n);
		(void)s3_chunked_end(c);
		s3_chunked_free(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signed),
		cmocka_unit_test(test_signed_trailer),
		cmocka_unit_test(test_unsigned),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
