/*
 * Signature Version 4 against the examples AWS publishes ("Authenticating
 * Requests: Using the Authorization Header / Query Parameters" and the
 * get-vanilla test suite), and every refusal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/s3_auth.h"
#include "gateway/s3_time.h"

#define ACCESS "AKIAIOSFODNN7EXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define SCOPE ACCESS "/20130524/us-east-1/s3/aws4_request"
#define EMPTY \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct tc {
	const char *method, *path, *query;
	const char *headers[14]; /* name, value, ... */
	const char *date;        /* now */
	const char *region, *service;
	bool has_body;
	const char *secret;
};

static bool secret_of(void *arg, struct wire_bytes access,
		      struct wire_bytes *ret)
{
	if (!wire_bytes_eq(access, wire_cstr(ACCESS)) &&
	    !wire_bytes_eq(access, wire_cstr("AKIDEXAMPLE")))
		return false;
	*ret = wire_cstr(arg);
	return true;
}

static enum s3_err check(struct s3_auth *a, const struct tc *t,
			 struct s3_auth_result *ret)
{
	struct http_header h[8];
	struct s3_query q;
	uint8_t scratch[2048];
	const char *query = t->query == NULL ? "" : t->query;
	const char *secret = t->secret == NULL ? SECRET : t->secret;
	struct s3_auth_request req = {
		.method = wire_cstr(t->method),
		.path = wire_cstr(t->path),
		.headers = h,
		.query = &q,
		.has_body = t->has_body,
		.region = wire_cstr(t->region == NULL ? "us-east-1"
						      : t->region),
		.service = t->service == NULL ? "s3" : t->service,
	};

	for (unsigned i = 0; t->headers[2 * i] != NULL; i++) {
		h[i].name = wire_cstr(t->headers[2 * i]);
		h[i].value = wire_cstr(t->headers[2 * i + 1]);
		req.n_headers++;
	}
	if (s3_query_parse(wire_cstr(query), scratch, &q) != 0)
		return S3_ERR_INVALID_URI;
	if (s3_time_parse_amz(wire_cstr(t->date == NULL ? "20130524T000000Z" :
							  t->date),
			      &req.now_sec) != 0)
		return S3_ERR_INTERNAL;
	return s3_auth_check(a, &req, secret_of, (void *)(uintptr_t)secret,
			     ret);
}

#define AUTH(signed_, sig) \
	"Authorization", "AWS4-HMAC-SHA256 Credential=" SCOPE \
			 ",SignedHeaders=" signed_ ",Signature=" sig

static const struct tc get_object = {
	"GET", "/test.txt", NULL,
	{ "Host", "examplebucket.s3.amazonaws.com", "Range", "bytes=0-9",
	  "x-amz-content-sha256", EMPTY, "x-amz-date", "20130524T000000Z",
	  AUTH("host;range;x-amz-content-sha256;x-amz-date",
	       "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb"
	       "41") },
	.date = NULL,
};

static void test_header_vectors(void **state)
{
	static const struct tc ok[] = {
		{ "PUT", "/test%24file.text", NULL,
		  { "Date", "Fri, 24 May 2013 00:00:00 GMT", "Host",
		    "examplebucket.s3.amazonaws.com", "x-amz-content-sha256",
		    "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b80"
		    "3f8b072",
		    "x-amz-date", "20130524T000000Z", "x-amz-storage-class",
		    "REDUCED_REDUNDANCY",
		    AUTH("date;host;x-amz-content-sha256;x-amz-date;"
			 "x-amz-storage-class",
			 "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971"
			 "af0ece108bd") },
		  .has_body = true },
		{ "GET", "/", "lifecycle",
		  { "Host", "examplebucket.s3.amazonaws.com", "x-amz-date",
		    "20130524T000000Z", "x-amz-content-sha256", EMPTY,
		    AUTH("host;x-amz-content-sha256;x-amz-date",
			 "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200"
			 "a0136783543") },
		  .date = NULL },
		{ "GET", "/", "prefix=J&max-keys=2",
		  { "Host", "examplebucket.s3.amazonaws.com", "x-amz-date",
		    "20130524T000000Z", "x-amz-content-sha256", EMPTY,
		    AUTH("host;x-amz-content-sha256;x-amz-date",
			 "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed57"
			 "11ef69dc6f7") },
		  .date = NULL },
		/* of the general test suite: no payload header, other service */
		{ "GET", "/", NULL,
		  { "Host", "example.amazonaws.com", "X-Amz-Date",
		    "20150830T123600Z", "Authorization",
		    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/"
		    "us-east-1/service/aws4_request, SignedHeaders=host;"
		    "x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e837"
		    "2ff2a2260956d9b8aae1d763fbf31" },
		  .date = "20150830T123600Z", .service = "service",
		  .secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" },
		/* get-header-value-trim */
		{ "GET", "/", NULL,
		  { "Host", "example.amazonaws.com", "My-Header1", " value1",
		    "My-Header2", " \"a   b   c\"", "X-Amz-Date",
		    "20150830T123600Z", "Authorization",
		    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/"
		    "us-east-1/service/aws4_request, SignedHeaders=host;"
		    "my-header1;my-header2;x-amz-date, Signature=acc3ed3afb60b"
		    "b290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736" },
		  .date = "20150830T123600Z", .service = "service",
		  .secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" },
		/* get-vanilla-query-order-key-case */
		{ "GET", "/", "Param2=value2&Param1=value1",
		  { "Host", "example.amazonaws.com", "X-Amz-Date",
		    "20150830T123600Z", "Authorization",
		    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/"
		    "us-east-1/service/aws4_request, SignedHeaders=host;"
		    "x-amz-date, Signature=b97d918cfa904a5beff61c982a1b6f458b7"
		    "99221646efd99d3219ec94cdf2500" },
		  .date = "20150830T123600Z", .service = "service",
		  .secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" },
	};
	struct s3_auth_result r;
	struct s3_auth *a;

	(void)state;
	assert_int_equal(s3_auth_new(&a), 0);
	for (unsigned pass = 0; pass < 2; pass++) { /* cold, then cached */
		assert_int_equal(check(a, &get_object, &r), S3_OK);
		assert_int_equal(r.payload, S3_PAYLOAD_HASH);
		assert_string_equal(r.access, ACCESS);
		assert_false(r.presigned);
		for (size_t i = 0; i < sizeof(ok) / sizeof(ok[0]); i++)
			assert_int_equal(check(a, &ok[i], &r), S3_OK);
	}
	s3_auth_free(a);
}

#define PRESIGNED(expires, sig) \
	"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" ACCESS \
	"%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=" \
	"20130524T000000Z&X-Amz-Expires=" expires \
	"&X-Amz-SignedHeaders=host&X-Amz-Signature=" sig
#define PRESIGNED_SIG \
	"aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"

static void test_presigned(void **state)
{
	struct tc t = { "GET", "/test.txt", PRESIGNED("86400", PRESIGNED_SIG),
			{ "Host", "examplebucket.s3.amazonaws.com" },
			.date = NULL };
	struct s3_auth_result r;
	struct s3_auth *a;

	(void)state;
	assert_int_equal(s3_auth_new(&a), 0);
	assert_int_equal(check(a, &t, &r), S3_OK);
	assert_true(r.presigned);
	assert_int_equal(r.payload, S3_PAYLOAD_UNSIGNED);
	t.date = "20130525T000000Z";
	assert_int_equal(check(a, &t, &r), S3_OK);
	t.date = "20130525T000001Z";
	assert_int_equal(check(a, &t, &r), S3_ERR_EXPIRED);
	t.date = "20130523T234459Z";
	assert_int_equal(check(a, &t, &r), S3_ERR_NOT_YET_VALID);
	t.date = NULL;
	t.query = PRESIGNED("604801", PRESIGNED_SIG);
	assert_int_equal(check(a, &t, &r), S3_ERR_AUTH_QUERY);
	t.query = PRESIGNED("99999999999999999999999", PRESIGNED_SIG);
	assert_int_equal(check(a, &t, &r), S3_ERR_AUTH_QUERY);
	t.query = PRESIGNED("-1", PRESIGNED_SIG);
	assert_int_equal(check(a, &t, &r), S3_ERR_AUTH_QUERY);
	t.query = PRESIGNED("86401", PRESIGNED_SIG);
	assert_int_equal(check(a, &t, &r), S3_ERR_SIGNATURE_MISMATCH);
	t.query = PRESIGNED("86400", PRESIGNED_SIG) "&X-Amz-Signature=00";
	assert_int_equal(check(a, &t, &r), S3_ERR_AUTH_QUERY);
	t.query = "X-Amz-Algorithm=AWS4-HMAC-SHA256";
	assert_int_equal(check(a, &t, &r), S3_ERR_AUTH_QUERY);
	t.query = "X-Amz-Signature=00";
	assert_int_equal(check(a, &t, &r), S3_ERR_AUTH_QUERY);
	/* an unsigned x-amz-copy-source on a presigned PUT */
	t.query = PRESIGNED("86400", PRESIGNED_SIG);
	t.headers[2] = "X-Amz-Copy-Source";
	t.headers[3] = "/other/secret";
	assert_int_equal(check(a, &t, &r), S3_ERR_HEADERS_NOT_SIGNED);
	t.headers[2] = "Authorization";
	t.headers[3] = "AWS4-HMAC-SHA256 x";
	assert_int_equal(check(a, &t, &r), S3_ERR_AUTH_TWICE);
	s3_auth_free(a);
}

#define V2_SIG "NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D"
#define V2(expires) "AWSAccessKeyId=" ACCESS "&Expires=" expires "&Signature="

/* The example of "Signing and Authenticating REST Requests". */
static void test_presigned_v2(void **state)
{
	struct tc t = { "GET", "/johnsmith/photos/puppy.jpg",
			V2("1175139620") V2_SIG, { "Host", "h" },
			.date = "20070329T034019Z" };
	struct s3_auth_result r;
	struct s3_auth *a;

	(void)state;
	assert_int_equal(s3_auth_new(&a), 0);
	assert_int_equal(check(a, &t, &r), S3_OK);
	assert_true(r.presigned);
	assert_string_equal(r.access, ACCESS);
	t.method = "DELETE";
	assert_int_equal(check(a, &t, &r), S3_ERR_SIGNATURE_MISMATCH);
	t.method = "GET";
	t.query = V2("1175139621") V2_SIG;
	assert_int_equal(check(a, &t, &r), S3_ERR_SIGNATURE_MISMATCH);
	t.query = V2("1175139620") V2_SIG "&acl";
	assert_int_equal(check(a, &t, &r), S3_ERR_SIGNATURE_MISMATCH);
	t.query = V2("1175139620") V2_SIG "&prefix=a";
	assert_int_equal(check(a, &t, &r), S3_ERR_INVALID_REQUEST);
	t.query = V2("1175139620") V2_SIG "&Expires=9999999999";
	assert_int_equal(check(a, &t, &r), S3_ERR_INVALID_REQUEST);
	t.query = V2("soon") V2_SIG;
	assert_int_equal(check(a, &t, &r), S3_ERR_ACCESS_DENIED);
	t.query = "AWSAccessKeyId=" ACCESS;
	assert_int_equal(check(a, &t, &r), S3_ERR_ACCESS_DENIED);
	t.query = "AWSAccessKeyId=NOBODY&Expires=1175139620&Signature="
		  V2_SIG;
	assert_int_equal(check(a, &t, &r), S3_ERR_INVALID_ACCESS_KEY);
	t.query = V2("1175139620") V2_SIG;
	t.headers[2] = "x-amz-copy-source";
	t.headers[3] = "/a/b";
	assert_int_equal(check(a, &t, &r), S3_ERR_SIGNATURE_MISMATCH);
	t.headers[2] = NULL;
	t.date = "20070329T034021Z";
	assert_int_equal(check(a, &t, &r), S3_ERR_EXPIRED);
	s3_auth_free(a);
}

/* The good request with one header changed. */
static enum s3_err with(struct s3_auth *a, unsigned at, const char *name,
			const char *value, struct s3_auth_result *r)
{
	struct tc t = get_object;

	if (name != NULL)
		t.headers[2 * at] = name;
	t.headers[2 * at + 1] = value;
	return check(a, &t, r);
}

static void test_refusals(void **state)
{
	static const char *const malformed[] = {
		"AWS4-HMAC-SHA256 ",
		"AWS4-HMAC-SHA256 Credential",
		"AWS4-HMAC-SHA256 Credential=",
		"AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request",
		"AWS4-HMAC-SHA256 Credential=" SCOPE ",SignedHeaders=host",
		"AWS4-HMAC-SHA256 Credential=" SCOPE ",Credential=" SCOPE
		",SignedHeaders=host,Signature=00",
		"AWS4-HMAC-SHA256 Credential=" SCOPE
		",SignedHeaders=host,Signature=00,More=1",
		"AWS4-HMAC-SHA256 Credential=" ACCESS
		"/20130524/us-east-1/s3/aws5_request,SignedHeaders=host,"
		"Signature=00",
	};
	struct tc t = get_object;
	struct s3_auth_result r;
	struct s3_auth *a;

	(void)state;
	assert_int_equal(s3_auth_new(&a), 0);
	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
		assert_int_equal(with(a, 4, NULL, malformed[i], &r),
				 S3_ERR_AUTH_MALFORMED);
	assert_int_equal(with(a, 4, NULL, "AWS " ACCESS ":x", &r),
			 S3_ERR_AUTH_V2);
	assert_int_equal(with(a, 4, NULL, "Basic Zm9vOmJhcg==", &r),
			 S3_ERR_INVALID_ARGUMENT);
	assert_int_equal(with(a, 4, "X-Other", "x", &r), S3_ERR_NOT_SIGNED);
	assert_int_equal(with(a, 4, NULL,
			      "AWS4-HMAC-SHA256 Credential=" ACCESS
			      "/20130524/eu-west-1/s3/aws4_request,"
			      "SignedHeaders=host,Signature=00", &r),
			 S3_ERR_AUTH_REGION);
	assert_string_equal(r.access, ACCESS);
	/* a header changed, a header not signed, another method */
	assert_int_equal(with(a, 1, NULL, "bytes=0-8", &r),
			 S3_ERR_SIGNATURE_MISMATCH);
	assert_int_equal(with(a, 1, "x-amz-acl", "public-read", &r),
			 S3_ERR_HEADERS_NOT_SIGNED);
	t.method = "PUT";
	assert_int_equal(check(a, &t, &r), S3_ERR_SIGNATURE_MISMATCH);
	t = get_object;
	t.path = "/test.tx%74"; /* another spelling of the same name */
	assert_int_equal(check(a, &t, &r), S3_OK);
	t.path = "/test.txu";
	assert_int_equal(check(a, &t, &r), S3_ERR_SIGNATURE_MISMATCH);
	/* times */
	t = get_object;
	t.date = "20130524T001500Z";
	assert_int_equal(check(a, &t, &r), S3_OK);
	t.date = "20130524T001501Z";
	assert_int_equal(check(a, &t, &r), S3_ERR_TIME_SKEWED);
	t.date = "20130523T234459Z";
	assert_int_equal(check(a, &t, &r), S3_ERR_TIME_SKEWED);
	assert_int_equal(with(a, 3, NULL, "yesterday", &r),
			 S3_ERR_ACCESS_DENIED);
	/* payload modes */
	assert_int_equal(with(a, 2, NULL, "garbage", &r),
			 S3_ERR_INVALID_ARGUMENT);
	assert_int_equal(
		with(a, 2, NULL, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
		     &r),
		S3_ERR_NOT_IMPLEMENTED);
	/* keys */
	t = get_object;
	t.headers[9] = "AWS4-HMAC-SHA256 Credential=AKIANOBODY/20130524/"
		       "us-east-1/s3/aws4_request,SignedHeaders=host;"
		       "x-amz-content-sha256;x-amz-date,Signature=" EMPTY;
	assert_int_equal(check(a, &t, &r), S3_ERR_INVALID_ACCESS_KEY);
	t = get_object;
	t.secret = "another-secret";
	assert_int_equal(check(a, &t, &r), S3_ERR_SIGNATURE_MISMATCH);
	assert_int_equal(check(a, &get_object, &r), S3_OK);
	t = get_object;
	t.headers[10] = "X-Amz-Security-Token";
	t.headers[11] = "x";
	assert_int_equal(check(a, &t, &r), S3_ERR_INVALID_TOKEN);
	s3_auth_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header_vectors),
		cmocka_unit_test(test_presigned),
		cmocka_unit_test(test_presigned_v2),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
