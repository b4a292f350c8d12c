/* Times, ranges, conditions, names from URIs, XML, error bodies. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/wire/status.h"

#include "gateway/s3_error.h"
#include "gateway/s3_time.h"
#include "gateway/s3_uri.h"
#include "gateway/s3_xml.h"

static void test_time_formats(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	char iso[S3_TIME_ISO_LEN + 1], http[S3_TIME_HTTP_LEN + 1];
	char amz[S3_TIME_AMZ_LEN + 1];

	(void)state;
	print_message("seed %u\n", seed);
	srand(seed);
	s3_time_iso(784111777, 5, iso);
	assert_string_equal(iso, "1994-11-06T08:49:37.005Z");
	s3_time_http(784111777, http);
	assert_string_equal(http, "Sun, 06 Nov 1994 08:49:37 GMT");
	s3_time_amz(784111777, amz);
	assert_string_equal(amz, "19941106T084937Z");
	for (int i = 0; i < 20000; i++) {
		int64_t sec = (int64_t)rand() * 97 + rand() - 60000000000ll;
		int64_t back;
		time_t t = (time_t)sec;
		struct tm tm;
		char want[64];

		s3_time_iso(sec, 0, iso);
		assert_int_equal(s3_time_parse_iso(wire_cstr(iso), &back), 0);
		assert_true(back == sec);
		s3_time_http(sec, http);
		assert_int_equal(s3_time_parse_http(wire_cstr(http), &back), 0);
		assert_true(back == sec);
		s3_time_amz(sec, amz);
		assert_int_equal(s3_time_parse_amz(wire_cstr(amz), &back), 0);
		assert_true(back == sec);
		gmtime_r(&t, &tm);
		if (tm.tm_year > -900) {
			strftime(want, sizeof(want),
				 "%a, %d %b %Y %H:%M:%S GMT", &tm);
			assert_string_equal(http, want);
		}
	}
}

static void test_time_parse(void **state)
{
	static const char *const good[] = {
		"Sun, 06 Nov 1994 08:49:37 GMT",
		"Sunday, 06-Nov-94 08:49:37 GMT",
		"Sun Nov  6 08:49:37 1994",
	};
	static const char *const bad[] = {
		"", "Sun", "Sun, 06 Nov 1994 08:49:37", "Sun, 31 Feb 1994 "
		"08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT",
		"Sun, 06 Nov 1994 08:49:37 GMT ", "784111777",
		"Sun, 06 Foo 1994 08:49:37 GMT",
	};
	int64_t t;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(s3_time_parse_http(wire_cstr(good[i]), &t), 0);
		assert_int_equal(t, 784111777);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(s3_time_parse_http(wire_cstr(bad[i]), &t),
				 -EINVAL);
	assert_int_equal(s3_time_parse_amz(wire_cstr("20130524T000000"), &t),
			 -EINVAL);
	assert_int_equal(s3_time_parse_amz(wire_cstr("20131324T000000Z"), &t),
			 -EINVAL);
	assert_int_equal(s3_time_parse_iso(wire_cstr("2013-05-24T00:00:00.Z"),
					   &t), -EINVAL);
}

static void test_range(void **state)
{
	static const struct {
		const char *text;
		uint64_t size;
		int rv;
		uint64_t off, len;
	} t[] = {
		{ "bytes=0-9", 100, 0, 0, 10 },
		{ "bytes=0-", 100, 0, 0, 100 },
		{ "bytes=90-1000", 100, 0, 90, 10 },
		{ "bytes=-10", 100, 0, 90, 10 },
		{ "bytes=-1000", 100, 0, 0, 100 },
		{ "bytes=100-", 100, -ERANGE, 0, 0 },
		{ "bytes=-0", 100, -ERANGE, 0, 0 },
		{ "bytes=0-0", 0, -ERANGE, 0, 0 },
		{ "bytes=-5", 0, -ERANGE, 0, 0 },
		{ "bytes=18446744073709551615-", 100, -ERANGE, 0, 0 },
		{ "bytes=0-18446744073709551615", 100, 0, 0, 100 },
		/* ignored */
		{ "bytes=5-4", 100, 0, 0, 100 },
		{ "bytes=0-1,5-6", 100, 0, 0, 100 },
		{ "bytes=", 100, 0, 0, 100 },
		{ "bytes=-", 100, 0, 0, 100 },
		{ "bytes=a-b", 100, 0, 0, 100 },
		{ "lines=0-1", 100, 0, 0, 100 },
		{ "bytes=99999999999999999999-", 100, 0, 0, 100 },
		{ "", 100, 0, 0, 100 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint64_t off = 0, len = 0;
		struct s3_range r = s3_range_parse(wire_cstr(t[i].text));

		assert_int_equal(s3_range_resolve(r, t[i].size, &off, &len),
				 t[i].rv);
		if (t[i].rv == 0) {
			assert_int_equal(off, t[i].off);
			assert_int_equal(len, t[i].len);
		}
	}
}

static int cond(const char *m, const char *nm, const char *ms, const char *us)
{
	struct s3_conditions c = { 0 };
	const char *which;

	if (m != NULL)
		c.if_match = wire_cstr(m);
	if (nm != NULL)
		c.if_none_match = wire_cstr(nm);
	if (ms != NULL)
		c.if_modified_since = wire_cstr(ms);
	if (us != NULL)
		c.if_unmodified_since = wire_cstr(us);
	return s3_conditions_check(&c, wire_cstr("abc"), 784111777, &which);
}

static void test_conditions(void **state)
{
	const char *same = "Sun, 06 Nov 1994 08:49:37 GMT";
	const char *before = "Sun, 06 Nov 1994 08:49:36 GMT";
	struct wire_bytes bare;
	char out[16];

	(void)state;
	assert_int_equal(cond(NULL, NULL, NULL, NULL), 0);
	assert_int_equal(cond("\"abc\"", NULL, NULL, NULL), 0);
	assert_int_equal(cond("abc", NULL, NULL, NULL), 0);
	assert_int_equal(cond("*", NULL, NULL, NULL), 0);
	assert_int_equal(cond("\"x\", W/\"abc\"", NULL, NULL, NULL), 0);
	assert_int_equal(cond("x , abc", NULL, NULL, NULL), 0);
	assert_int_equal(cond("\"ab\"", NULL, NULL, NULL), -ECANCELED);
	assert_int_equal(cond("", NULL, NULL, NULL), -ECANCELED);
	assert_int_equal(cond("\"abc", NULL, NULL, NULL), 0);
	assert_int_equal(cond(NULL, "\"abc\"", NULL, NULL), -ESTALE);
	assert_int_equal(cond(NULL, "*", NULL, NULL), -ESTALE);
	assert_int_equal(cond(NULL, "\"x\"", NULL, NULL), 0);
	assert_int_equal(cond(NULL, NULL, same, NULL), -ESTALE);
	assert_int_equal(cond(NULL, NULL, before, NULL), 0);
	assert_int_equal(cond(NULL, NULL, NULL, same), 0);
	assert_int_equal(cond(NULL, NULL, NULL, before), -ECANCELED);
	assert_int_equal(cond(NULL, NULL, NULL, "soon"), 0);
	/* If-Match wins over If-Unmodified-Since, If-None-Match over since */
	assert_int_equal(cond("abc", NULL, NULL, before), 0);
	assert_int_equal(cond(NULL, "x", same, NULL), 0);
	assert_int_equal(s3_etag_bare(wire_cstr("\"a\", \"b\""), out,
				      sizeof(out), &bare), 0);
	assert_true(wire_bytes_eq(bare, wire_cstr("a,b")));
	assert_int_equal(s3_etag_bare(wire_cstr("\"aaaaaaaaaaaaaaaaaaaaaaa\""),
				      out, sizeof(out), &bare), -EINVAL);
	assert_int_equal(s3_etag_bare(wire_cstr(""), out, sizeof(out), &bare),
			 -EINVAL);
}

static int name_of(const char *path, const char *host, const char *want_bucket,
		   const char *want_key)
{
	uint8_t out[256];
	struct s3_name n;
	int rv = s3_uri_parse(wire_cstr(path), wire_cstr(host), "s3.test", out,
			      &n);

	if (rv == 0) {
		assert_true(wire_bytes_eq(n.bucket, wire_cstr(want_bucket)));
		assert_true(wire_bytes_eq(n.key, wire_cstr(want_key)));
	}
	return rv;
}

static void test_uri(void **state)
{
	struct wire_bytes version;
	struct s3_name n;
	uint8_t out[256];

	(void)state;
	assert_int_equal(name_of("/", "h", "", ""), 0);
	assert_int_equal(name_of("/b", "h", "b", ""), 0);
	assert_int_equal(name_of("/b/", "h", "b", ""), 0);
	assert_int_equal(name_of("/b/k", "h", "b", "k"), 0);
	assert_int_equal(name_of("/b//k/", "h", "b", "/k/"), 0);
	assert_int_equal(name_of("/b/./../%2e%2E/a%2Fb+c%20d", "h", "b",
				 "./../../a/b+c d"), 0);
	assert_int_equal(name_of("/k%25%32%30", "B.s3.test:8080", "b", "k%20"),
			 0);
	assert_int_equal(name_of("/", "b.c.s3.test", "b.c", ""), 0);
	assert_int_equal(name_of("/b/k", "s3.test", "b", "k"), 0);
	assert_int_equal(name_of("/b/k", "xs3.test", "b", "k"), 0);
	assert_int_equal(name_of("//k", "h", "", ""), -EINVAL);
	assert_int_equal(name_of("", "h", "", ""), -EINVAL);
	assert_int_equal(name_of("*", "h", "", ""), -EINVAL);
	assert_int_equal(name_of("/b/%00", "h", "", ""), -EINVAL);
	assert_int_equal(name_of("/b/%", "h", "", ""), -EINVAL);
	assert_int_equal(name_of("/b/%4", "h", "", ""), -EINVAL);
	assert_int_equal(name_of("/b/%4g", "h", "", ""), -EINVAL);
	assert_int_equal(s3_uri_copy_source(wire_cstr("/b/k%20a?versionId=v1"),
					    out, &n, &version), 0);
	assert_true(wire_bytes_eq(n.bucket, wire_cstr("b")));
	assert_true(wire_bytes_eq(n.key, wire_cstr("k a")));
	assert_true(wire_bytes_eq(version, wire_cstr("v1")));
	assert_int_equal(s3_uri_copy_source(wire_cstr("b%2Fk"), out, &n,
					    &version), 0);
	assert_true(wire_bytes_eq(n.key, wire_cstr("k")));
	assert_int_equal(s3_uri_copy_source(wire_cstr("b"), out, &n, &version),
			 -EINVAL);
	assert_int_equal(s3_uri_copy_source(wire_cstr("/b/"), out, &n,
					    &version), -EINVAL);
	assert_int_equal(s3_uri_copy_source(wire_cstr(""), out, &n, &version),
			 -EINVAL);
}

static void test_bucket_names(void **state)
{
	static const char *const good[] = { "abc", "a-b.c", "0ab", "1.2.3",
					    "my-bucket-1" };
	static const char *const bad[] = {
		"", "ab", "Abc", "a_b", ".ab", "ab.", "a..b", "-ab", "ab-",
		"1.2.3.4", "a/b", "xn--abc", "abc-s3alias", "abc--x-s3",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaa",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_null(s3_bucket_name_check(wire_cstr(good[i])));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_non_null(s3_bucket_name_check(wire_cstr(bad[i])));
}

static void test_query(void **state)
{
	uint8_t out[4096];
	char many[400] = "";
	struct s3_query q;
	struct buf b;
	uint64_t v;

	(void)state;
	assert_int_equal(s3_query_parse(
		wire_cstr("b=2&a=%26+x&uploads&c=&&a=1"), out, &q), 0);
	assert_int_equal(q.n, 5);
	assert_true(wire_bytes_eq(*s3_query_find(&q, "a"), wire_cstr("& x")));
	assert_int_equal(s3_query_find(&q, "uploads")->len, 0);
	assert_null(s3_query_find(&q, "d"));
	buf_init(&b, 0);
	s3_query_canonical(&b, &q, "c");
	assert_true(wire_bytes_eq(wire_bytes(b.data, b.len),
				  wire_cstr("a=%26%20x&a=1&b=2&uploads=")));
	buf_fini(&b);
	assert_int_equal(s3_query_u64(&q, "b", 7, 10, &v), 0);
	assert_int_equal(v, 2);
	assert_int_equal(s3_query_u64(&q, "zz", 7, 10, &v), 0);
	assert_int_equal(v, 7);
	assert_int_equal(s3_query_u64(&q, "b", 7, 1, &v), -EINVAL);
	assert_int_equal(s3_query_u64(&q, "a", 7, 1, &v), -EINVAL);
	assert_int_equal(s3_query_parse(wire_cstr("=x"), out, &q), -EINVAL);
	assert_int_equal(s3_query_parse(wire_cstr("a=%zz"), out, &q), -EINVAL);
	for (int i = 0; i < 65; i++)
		strcat(many, "a=1&");
	assert_int_equal(s3_query_parse(wire_cstr(many), out, &q), -EINVAL);
}

static void test_xml_write(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 0);
	s3_xml_element(&b, "K", wire_cstr("a<b>&\"c'\r\n\xc3\xbc"));
	buf_add(&b, "", 1);
	assert_string_equal((char *)b.data,
			    "<K>a&lt;b&gt;&amp;&quot;c'&#13;&#10;\xc3\xbc</K>");
	buf_fini(&b);
	assert_true(s3_xml_carries(wire_cstr("a\tb\r\n \xc3\xbc \xe2\x82\xac "
					     "\xf0\x9f\x98\x80 \x7f")));
	assert_false(s3_xml_carries(wire_cstr("\x01")));
	assert_false(s3_xml_carries(wire_cstr("\x1f")));
	assert_false(s3_xml_carries(wire_cstr("\xc3")));
	assert_false(s3_xml_carries(wire_cstr("\xc0\xaf")));
	assert_false(s3_xml_carries(wire_cstr("\xed\xa0\x80")));
	assert_false(s3_xml_carries(wire_cstr("\xef\xbf\xbf")));
	assert_false(s3_xml_carries(wire_cstr("\xf5\x80\x80\x80")));
	assert_false(s3_xml_carries(wire_cstr("\xe0\x80\x80")));
}

static int read_delete(const char *xml, struct s3_xml_delete *d)
{
	return s3_xml_read_delete(xml, strlen(xml), d);
}

static void test_xml_delete(void **state)
{
	static const char *const bad[] = {
		"", "x", "<Delete/>", "<Delete></Delete>", "<Other><Object>"
		"<Key>a</Key></Object></Other>",
		"<Delete><Object></Object></Delete>",
		"<Delete><Object><Key></Key></Object></Delete>",
		"<Delete><Object><Key>a</Key></Delete>",
		"<!DOCTYPE Delete [<!ENTITY a \"b\">]><Delete><Object><Key>&a;"
		"</Key></Object></Delete>",
		"<Delete><Object><Key>&#1;</Key></Object></Delete>",
		"<Delete><Object><Key>&a;</Key></Object></Delete>",
	};
	struct s3_xml_delete d;
	struct buf b;

	(void)state;
	assert_int_equal(read_delete(
		"<?xml version=\"1.0\"?>\n<Delete xmlns=\"http://s3.amazonaws."
		"com/doc/2006-03-01/\">\n <Quiet>true</Quiet>\n <Object><Key> "
		"a&amp;b&#13;</Key><VersionId>null</VersionId></Object>\n"
		" <Object><Key>c</Key><ETag>\"x\"</ETag><New><Deep>1</Deep>"
		"</New></Object></Delete>", &d), 0);
	assert_true(d.quiet);
	assert_int_equal(d.n_keys, 2);
	assert_true(wire_bytes_eq(d.keys[0].key, wire_cstr(" a&b\r")));
	assert_true(wire_bytes_eq(d.keys[0].version, wire_cstr("null")));
	assert_true(wire_bytes_eq(d.keys[1].key, wire_cstr("c")));
	assert_true(wire_bytes_eq(d.keys[1].etag, wire_cstr("x")));
	assert_int_equal(d.keys[1].version.len, 0);
	s3_xml_delete_fini(&d);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(read_delete(bad[i], &d), -EINVAL);
	/* 1,000 are allowed, 1,001 are not; nor depth, nor endless text */
	for (int n = 1000; n <= 1001; n++) {
		buf_init(&b, 0);
		buf_puts(&b, "<Delete>");
		for (int i = 0; i < n; i++)
			buf_printf(&b, "<Object><Key>k%d</Key></Object>", i);
		buf_puts(&b, "</Delete>");
		assert_int_equal(s3_xml_read_delete(b.data, b.len, &d),
				 n == 1000 ? 0 : -EINVAL);
		if (n == 1000) {
			assert_true(wire_bytes_eq(d.keys[999].key,
						  wire_cstr("k999")));
			s3_xml_delete_fini(&d);
		}
		buf_fini(&b);
	}
	buf_init(&b, 0);
	buf_puts(&b, "<Delete>");
	for (int i = 0; i < 100; i++)
		buf_puts(&b, "<a>");
	assert_int_equal(s3_xml_read_delete(b.data, b.len, &d), -EINVAL);
	buf_reset(&b);
	buf_puts(&b, "<Delete><Object><Key>");
	for (int i = 0; i < 10000; i++)
		buf_puts(&b, "a");
	buf_puts(&b, "</Key></Object></Delete>");
	assert_int_equal(s3_xml_read_delete(b.data, b.len, &d), -EINVAL);
	buf_fini(&b);
}

static void test_xml_complete(void **state)
{
	static const char *const bad[] = {
		"<CompleteMultipartUpload/>",
		"<CompleteMultipartUpload><Part><ETag>a</ETag></Part>"
		"</CompleteMultipartUpload>",
		"<CompleteMultipartUpload><Part><PartNumber>0</PartNumber>"
		"<ETag>a</ETag></Part></CompleteMultipartUpload>",
		"<CompleteMultipartUpload><Part><PartNumber>10001</PartNumber>"
		"<ETag>a</ETag></Part></CompleteMultipartUpload>",
		"<CompleteMultipartUpload><Part><PartNumber>-1</PartNumber>"
		"<ETag>a</ETag></Part></CompleteMultipartUpload>",
		"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
		"<ETag>a</ETag><ChecksumXXH3>x</ChecksumXXH3></Part>"
		"</CompleteMultipartUpload>",
	};
	static const char good[] =
		"<CompleteMultipartUpload xmlns='x'><Part><PartNumber> 3 "
		"</PartNumber><ETag>&quot;abc&quot;</ETag><ChecksumCRC32C>"
		"AAAAAA==</ChecksumCRC32C></Part><Part><ETag>d</ETag>"
		"<PartNumber>10000</PartNumber></Part>"
		"</CompleteMultipartUpload>";
	static const char located[] =
		"<CreateBucketConfiguration><LocationConstraint>eu"
		"</LocationConstraint></CreateBucketConfiguration>";
	static const char nowhere[] =
		"<CreateBucketConfiguration><LocationConstraint>"
		"</LocationConstraint></CreateBucketConfiguration>";
	struct s3_xml_complete c;
	char location[8];

	(void)state;
	assert_int_equal(s3_xml_read_complete(good, strlen(good), &c), 0);
	assert_int_equal(c.n_parts, 2);
	assert_int_equal(c.parts[0].number, 3);
	assert_true(wire_bytes_eq(c.parts[0].etag, wire_cstr("abc")));
	assert_true(wire_bytes_eq(c.parts[0].sums[S3_SUM_CRC32C],
				  wire_cstr("AAAAAA==")));
	assert_int_equal(c.parts[1].number, 10000);
	s3_xml_complete_fini(&c);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(s3_xml_read_complete(bad[i], strlen(bad[i]),
						      &c), -EINVAL);
	assert_int_equal(s3_xml_read_location(located, strlen(located),
					      location, sizeof(location)), 0);
	assert_string_equal(location, "eu");
	assert_int_equal(s3_xml_read_location(nowhere, strlen(nowhere),
					      location, sizeof(location)), 0);
	assert_string_equal(location, "");
	assert_int_equal(s3_xml_read_location("<CreateBucketConfiguration/>",
					      28, location, sizeof(location)),
			 0);
	assert_string_equal(location, "");
}

static void test_errors(void **state)
{
	struct s3_error_detail d = { .request_id = "R1", .region = "us-east-1",
				     .key = wire_cstr("\x01") };
	struct buf b;

	(void)state;
	for (enum s3_err e = S3_OK + 1; e < S3_ERR_COUNT; e++) {
		assert_non_null(s3_error_info(e)->code);
		assert_in_range(s3_error_info(e)->http, 304, 599);
	}
	buf_init(&b, 0);
	s3_error_xml(&b, S3_ERR_AUTH_REGION, &d);
	buf_add(&b, "", 1);
	assert_non_null(strstr((char *)b.data, "<Region>us-east-1</Region>"));
	assert_non_null(strstr((char *)b.data,
			       "<Code>AuthorizationHeaderMalformed</Code>"));
	assert_null(strstr((char *)b.data, "<Key>"));
	buf_fini(&b);
	/* every status is an error in every context */
#define STATUS_CHECK(num, name, err, text) \
	if ((num) != 0) \
		for (int c = S3_CTX_OBJECT; c <= S3_CTX_UPLOAD; c++) \
			assert_int_not_equal( \
				s3_error_from_status(num, (enum s3_context)c), \
				S3_OK);
	RPC_STATUSES(STATUS_CHECK)
	assert_int_equal(s3_error_from_status(12345, S3_CTX_OBJECT),
			 S3_ERR_INTERNAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_time_formats),
		cmocka_unit_test(test_time_parse),
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_uri),
		cmocka_unit_test(test_bucket_names),
		cmocka_unit_test(test_query),
		cmocka_unit_test(test_xml_write),
		cmocka_unit_test(test_xml_delete),
		cmocka_unit_test(test_xml_complete),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
