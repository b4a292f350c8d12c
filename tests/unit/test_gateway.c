/*
 * Operations of the gateway against a client that is a script: what is asked
 * of the shards, what is answered, and that every request has exactly one
 * outcome whatever fails on the way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "tests/lib/fault.h"
#include "tests/unit/gwfake.h"

static int setup(void **state)
{
	(void)state;
	fake_start();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_stop();
	return 0;
}

static bool says(const struct buf *b, const char *text)
{
	return memmem(b->data, b->len, text, strlen(text)) != NULL;
}

static void assert_code(struct fake_http *h, unsigned status, const char *code)
{
	assert_int_equal(h->begun, 1);
	assert_int_equal(h->status, status);
	assert_int_equal(h->ended, 1);
	if (code != NULL)
		assert_true(says(&h->out, code));
	if (h->out.len > 0)
		assert_int_equal((int64_t)h->out.len, h->promised);
}

/* --- the route table --- */

/* No row is reached without a signature, or with one that is wrong. */
static void test_every_row_is_guarded(void **state)
{
	static const char *const paths[] = { [GW_SERVICE] = "/",
					     [GW_BUCKET] = "/bkt",
					     [GW_OBJECT] = "/bkt/k" };

	(void)state;
	for (size_t i = 0; i < gw_route_count(); i++) {
		const struct gw_route *row = gw_route_at(i);
		struct fake_http *h;
		char text[1024];

		for (int bad = 0; bad < 2; bad++) {
			(void)snprintf(
				text, sizeof(text),
				"%s %s%s%s HTTP/1.1\r\nHost: h\r\n%s%s%s\r\n",
				row->method, paths[row->level],
				row->sub != NULL ? "?" : "",
				row->sub != NULL ? row->sub : "",
				row->with != NULL ? row->with : "",
				row->with != NULL ? ": /bkt/k\r\n" : "",
				bad ? "x-amz-content-sha256: UNSIGNED-PAYLOAD"
				      "\r\nAuthorization: AWS4-HMAC-SHA256 "
				      "Credential=" FAKE_ACCESS
				      "/19700101/us-east-1/s3/aws4_request,"
				      "SignedHeaders=host;x-amz-content-sha256;"
				      "x-amz-date;x-amz-copy-source,Signature="
				      "00000000000000000000000000000000000000"
				      "00000000000000000000000000\r\n"
				      "x-amz-date: 19700101T000000Z\r\n" :
				      "");
			h = fake_request_raw(text);
			assert_int_equal(h->begun, 1);
			assert_int_equal(h->status, 403);
			assert_int_equal(fake.sent, 0);
			fake_done(h);
		}
	}
}

/* Every row is reached by its own request. */
static void test_every_row_is_found(void **state)
{
	(void)state;
	for (size_t i = 0; i < gw_route_count(); i++) {
		const struct gw_route *row = gw_route_at(i);

		assert_non_null(row->op);
		assert_true(row->handle != NULL || row->xml != NULL ||
			    row->err != S3_OK);
		for (size_t k = 0; k < i; k++)
			assert_true(strcmp(gw_route_at(k)->op, row->op) != 0);
	}
}

static void test_refusals(void **state)
{
	static const struct {
		const char *method, *path, *query;
		unsigned status;
		const char *code;
	} t[] = {
		{ "GET", "/theirs/k", "", 403, "AccessDenied" },
		{ "PATCH", "/bkt/k", "", 405, "MethodNotAllowed" },
		{ "PUT", "/bkt", "versioning=", 501, "NotImplemented" },
		{ "GET", "/bkt", "acl=&policy=", 400, "InvalidArgument" },
		{ "GET", "/bkt", "policy=", 404, "NoSuchBucketPolicy" },
		{ "GET", "/bkt", "versioning=", 200, "VersioningConfigur" },
		{ "GET", "/bkt/k", "versionId=x", 404, "NoSuchVersion" },
		{ "GET", "/bkt", "max-keys=x", 400, "InvalidArgument" },
		{ "PUT", "/bkt/k", "", 411, "MissingContentLength" },
		{ "PUT", "/Bad", "", 400, "InvalidBucketName" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct fake_http *h = fake_request(t[i].method, t[i].path,
						   t[i].query, "", -1);

		minienv_run(fake.env);
		assert_code(h, t[i].status, t[i].code);
		assert_int_equal(fake.sent, 0);
		fake_done(h);
	}
}

static void test_no_snapshot(void **state)
{
	struct cluster *c = fake.cluster;
	struct fake_http *h;

	(void)state;
	fake.cluster = NULL;
	h = fake_request("GET", "/", "", "", -1);
	assert_code(h, 503, "SlowDown");
	fake_done(h);
	fake.cluster = c;
}

/* A bucket we have not heard of: asked for once, then not there. */
static void test_missing_bucket(void **state)
{
	struct fake_http *h = fake_request("GET", "/nowhere", "", "", -1);

	(void)state;
	assert_int_equal(h->begun, 0);
	minienv_run(fake.env);
	assert_code(h, 404, "NoSuchBucket");
	assert_int_equal(fake.refreshes, 1);
	fake_done(h);
	/* gone while it is asked for */
	h = fake_request("GET", "/nowhere", "", "", -1);
	fake_abort(h);
}

/* --- PUT --- */

static void put_rsp(struct buf *out)
{
	struct rpc_put_rsp rsp = { .etag = wire_cstr("e-t-a-g") };

	buf_init(out, 0);
	(void)rpc_put_rsp_encode(&rsp, out);
}

static void test_put_small(void **state)
{
	struct fake_http *h = fake_request("PUT", "/bkt/a%20b", "",
					   "Content-Type: x/y\r\n", 5);
	struct fake_call *c;
	struct rpc_put m;
	struct buf rsp;
	struct wire_bytes v;

	(void)state;
	assert_true(h->reading);
	assert_int_equal(fake.sent, 0);
	fake_body(h, "he", 2);
	fake_direct(h, "llo", 3);
	assert_int_equal(fake.sent, 0);
	fake_body_end(h);
	c = fake_find(RPC_TAG_put);
	assert_non_null(c);
	assert_int_equal(rpc_put_decode(&m, c->payload.data, c->payload.len),
			 0);
	assert_true(wire_bytes_eq(m.key, wire_cstr("a b")));
	assert_true(wire_bytes_eq(m.data, wire_cstr("hello")));
	assert_true(wire_bytes_eq(
		m.etag, wire_cstr("5d41402abc4b2a76b9719d911017c592")));
	assert_true(wire_kvs_find(m.headers, "content-type", &v));
	put_rsp(&rsp);
	fake_answer(c, RPC_STATUS_OK, &rsp, NULL);
	buf_fini(&rsp);
	assert_code(h, 200, NULL);
	assert_true(says(&h->lines, "ETag: \"e-t-a-g\"\n"));
	fake_done(h);
}

/* What is promised about the body does not hold: no record. */
static void test_put_bad_digest(void **state)
{
	struct fake_http *h =
		fake_request("PUT", "/bkt/a", "",
			     "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\n", 5);

	(void)state;
	fake_body(h, "hello", 5);
	fake_body_end(h);
	assert_code(h, 400, "BadDigest");
	assert_int_equal(fake.sent, 0);
	fake_done(h);
}

static void prepared(uint32_t status)
{
	struct rpc_prepare_rsp p = { .home = 1 };
	struct buf rsp;

	buf_init(&rsp, 0);
	(void)rpc_prepare_rsp_encode(&p, &rsp);
	fake_answer(fake_find(RPC_TAG_prepare), status,
		    status == 0 ? &rsp : NULL, NULL);
	buf_fini(&rsp);
}

static void test_put_large(void **state)
{
	static const size_t sizes[] = { 16385, 262144, 262145, 3000000 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t size = sizes[i], at = 0;
		unsigned named = fake.slices_named;
		struct fake_http *h = fake_request("PUT", "/bkt/k", "", "",
						   (int64_t)size);
		uint8_t *data = calloc(1, size), md5[16];
		struct fake_call *c;
		struct rpc_put m;
		struct buf rsp;
		char etag[33];

		for (size_t k = 0; k < size; k++)
			data[k] = (uint8_t)(k * 31 + k / 1000);
		assert_int_equal(EVP_Digest(data, size, md5, NULL, EVP_md5(),
					    NULL), 1);
		s3_hex(md5, 16, etag);
		assert_false(h->reading); /* not before PREPARE */
		prepared(0);
		assert_true(h->reading);
		while (at < size) {
			size_t n = size - at < 70001 ? size - at : 70001;

			if (at / 70001 % 2 == 0)
				fake_body(h, data + at, n);
			else
				fake_direct(h, data + at, n);
			at += n;
		}
		fake_body_end(h);
		free(data);
		assert_true(fake_slice_finishing());
		assert_int_equal(fake_slice_len(), size);
		assert_null(fake_find(RPC_TAG_put));
		fake_slice_done(RPC_STATUS_OK);
		c = fake_find(RPC_TAG_put);
		assert_non_null(c);
		assert_int_equal(rpc_put_decode(&m, c->payload.data,
						c->payload.len), 0);
		assert_int_equal(m.size, size);
		assert_int_equal(m.data.len, 0);
		assert_true(wire_bytes_eq(m.etag, wire_cstr(etag)));
		put_rsp(&rsp);
		fake_answer(c, RPC_STATUS_OK, &rsp, NULL);
		buf_fini(&rsp);
		assert_code(h, 200, NULL);
		fake_done(h);
		assert_null(fake.slice);
		assert_int_equal(fake.slices_named, named + 1);
	}
}

static void test_put_large_fails(void **state)
{
	uint8_t *data = calloc(1, 1000000);
	unsigned sent, named = fake.slices_named;
	struct fake_http *h;

	(void)state;
	/* refused before the body */
	h = fake_request("PUT", "/bkt/k", "", "If-None-Match: *\r\n", 1000000);
	prepared(RPC_STATUS_PRECONDITION);
	assert_code(h, 412, "PreconditionFailed");
	assert_false(h->reading);
	fake_done(h);
	/* the connection dies in the middle, with a piece on a worker too */
	h = fake_request("PUT", "/bkt/k", "", "", 1000000);
	prepared(0);
	fake_body(h, data, 500000);
	sent = fake.sent;
	fake_abort(h);
	assert_int_equal(fake.sent, sent);
	assert_null(fake.slice);
	/* the chunks cannot be stored */
	h = fake_request("PUT", "/bkt/k", "", "", 1000000);
	prepared(0);
	fake_body(h, data, 1000000);
	fake_body_end(h);
	fake_slice_done(RPC_STATUS_NOSPC);
	assert_code(h, 507, "InsufficientStorage");
	fake_done(h);
	/* they were given up before the record came */
	h = fake_request("PUT", "/bkt/k", "", "", 1000000);
	prepared(0);
	fake_body(h, data, 1000000);
	fake_body_end(h);
	fake_slice_done(RPC_STATUS_OK);
	fake_answer(fake_find(RPC_TAG_put), RPC_STATUS_SLICE_GONE, NULL, NULL);
	assert_code(h, 503, "ServiceUnavailable");
	fake_done(h);
	assert_int_equal(fake.slices_named, named);
	free(data);
}

/* Stored before it is hashed, or hashed before it is stored: both count. */
static void test_put_large_order(void **state)
{
	uint8_t *data = calloc(1, 400000);

	(void)state;
	for (int bad = 0; bad < 2; bad++) {
		struct fake_http *h = fake_request(
			"PUT", "/bkt/k", "", bad ?
			"Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\n" : "",
			400000);

		prepared(0);
		fake.hold = true;
		fake_body(h, data, 400000);
		fake_body_end(h);
		assert_true(fake_slice_finishing());
		fake_slice_done(RPC_STATUS_OK);
		assert_int_equal(h->begun, 0);
		assert_null(fake_find(RPC_TAG_put));
		fake.hold = false;
		fake_run();
		if (bad) {
			assert_code(h, 400, "BadDigest");
			assert_null(fake_find(RPC_TAG_put));
		} else {
			assert_non_null(fake_find(RPC_TAG_put));
		}
		fake_abort(h);
		assert_null(fake.slice);
	}
	free(data);
}

/* A body in memory that is long enough to be hashed by the crew. */
static void test_put_small_away(void **state)
{
	uint8_t data[16384] = { 1 };

	(void)state;
	for (int bad = 0; bad < 3; bad++) {
		struct fake_http *h = fake_request(
			"PUT", "/bkt/k", "", bad == 1 ?
			"Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\n" : "",
			sizeof(data));

		fake.hold = true;
		fake_body(h, data, sizeof(data));
		fake_body_end(h);
		assert_null(fake_find(RPC_TAG_put));
		fake.hold = false;
		if (bad == 2) { /* the client leaves meanwhile */
			fake_abort(h);
			assert_null(fake_find(RPC_TAG_put));
			continue;
		}
		fake_run();
		if (bad == 1)
			assert_code(h, 400, "BadDigest");
		else
			assert_non_null(fake_find(RPC_TAG_put));
		fake_abort(h);
	}
}

/* --- GET --- */

static void object_rsp(struct buf *out, uint64_t size, bool in_line)
{
	struct wire_extent e = { .len = size,
				 .kind = in_line ? WIRE_EXT_INLINE :
						   WIRE_EXT_CHUNKS,
				 .slice = { in_line ? 0 : 1, 2 } };
	struct rpc_object_rsp rsp = {
		.attr = { .ino = ino_make(1, 9), .size = size,
			  .mtime = 784111777000000000, .data_version = 3 },
		.etag = wire_cstr("abc"), .len = size, .covered = size,
	};
	struct wire_vec ext;

	wire_vec_init(&ext);
	wire_vec_add_extent(&ext, &e);
	rsp.extents = wire_vec_bytes(&ext);
	buf_init(out, 0);
	(void)rpc_object_rsp_encode(&rsp, out);
	wire_vec_fini(&ext);
}

static void answer_object(uint64_t size, const char *in_line)
{
	struct body *b = NULL;
	struct buf rsp;

	object_rsp(&rsp, size, in_line != NULL);
	if (in_line != NULL && (b = body_new(size)) != NULL) {
		memcpy(b->data, in_line, size);
		b->len = (uint32_t)size;
	}
	fake_answer(fake_find(RPC_TAG_object), RPC_STATUS_OK, &rsp, b);
	body_unref(b);
	buf_fini(&rsp);
}

static void test_get_inline(void **state)
{
	static const struct {
		const char *headers;
		unsigned status;
		const char *body;
	} t[] = {
		{ "", 200, "hello" },
		{ "Range: bytes=1-3\r\n", 206, "ell" },
		{ "Range: bytes=-2\r\n", 206, "lo" },
		{ "Range: bytes=4-\r\n", 206, "o" },
		{ "Range: bytes=1-3\r\nIf-Range: \"zzz\"\r\n", 200, "hello" },
		{ "If-None-Match: \"abc\"\r\n", 304, "" },
		{ "If-Match: \"abc\"\r\n", 200, "hello" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct fake_http *h = fake_request("GET", "/bkt/k", "",
						   t[i].headers, -1);

		answer_object(5, "hello");
		assert_int_equal(h->status, t[i].status);
		assert_int_equal(h->ended, 1);
		assert_int_equal(h->out.len, strlen(t[i].body));
		assert_memory_equal(h->out.data, t[i].body, h->out.len);
		assert_true(says(&h->lines, "ETag: \"abc\"\n"));
		assert_true(says(&h->lines, "Last-Modified: Sun, 06 Nov 1994 "
					    "08:49:37 GMT\n"));
		fake_done(h);
	}
}

static void test_get_fails(void **state)
{
	static const struct {
		const char *headers;
		unsigned status;
		const char *code;
	} t[] = {
		{ "Range: bytes=5-\r\n", 416, "InvalidRange" },
		{ "If-Match: \"x\"\r\n", 412, "<Condition>If-Match" },
	};
	struct fake_http *h;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		h = fake_request("GET", "/bkt/k", "", t[i].headers, -1);
		answer_object(5, "hello");
		assert_code(h, t[i].status, t[i].code);
		fake_done(h);
	}
	h = fake_request("GET", "/bkt/k", "", "", -1);
	fake_answer(fake_find(RPC_TAG_object), RPC_STATUS_NOENT, NULL, NULL);
	assert_code(h, 404, "NoSuchKey");
	fake_done(h);
	h = fake_request("HEAD", "/bkt/k", "", "", -1);
	fake_answer(fake_find(RPC_TAG_object), RPC_STATUS_NOENT, NULL, NULL);
	assert_int_equal(h->status, 404);
	assert_int_equal(h->out.len, 0);
	fake_done(h);
}

/* Bytes that cannot be had cut the connection; never a proper end. */
static void test_get_stream(void **state)
{
	uint8_t *data = calloc(1, 100000);
	struct rpc_object object;
	struct rpc_close close;
	struct fake_call *c;
	struct fake_http *h;
	uint64_t number;

	(void)state;
	h = fake_request("GET", "/bkt/k", "", "", -1);
	answer_object(100000, NULL);
	assert_int_equal(h->promised, 100000);
	fake_read_data(data, 60000);
	fake_read_data(data, 40000);
	fake_read_done(RPC_STATUS_OK);
	assert_code(h, 200, NULL);
	fake_done(h);
	h = fake_request("GET", "/bkt/k", "", "", -1);
	answer_object(100000, NULL);
	fake_read_data(data, 60000);
	fake_read_done(RPC_STATUS_VERSION_GONE);
	assert_int_equal(h->aborted, 1);
	assert_int_equal(h->ended, 0);
	fake_done(h);
	/* longer than a region: held open, and closed again */
	h = fake_request("GET", "/bkt/k", "", "", -1);
	answer_object(100 << 20, NULL);
	assert_int_equal(h->begun, 0);
	c = fake_find(RPC_TAG_object);
	assert_int_equal(rpc_object_decode(&object, c->payload.data,
					   c->payload.len), 0);
	assert_int_equal(object.flags, RPC_OBJECT_OPEN);
	number = object.number;
	answer_object(100 << 20, NULL);
	fake_abort(h);
	c = fake_find(RPC_TAG_close);
	assert_int_equal(rpc_close_decode(&close, c->payload.data,
					  c->payload.len), 0);
	assert_true(close.object == 1 && close.number == number);
	fake_answer(fake_find(RPC_TAG_close), RPC_STATUS_OK, NULL, NULL);
	free(data);
}

/* --- DELETE, copy --- */

static void test_delete(void **state)
{
	static const struct {
		uint32_t status;
		unsigned http;
	} t[] = { { RPC_STATUS_OK, 204 }, { RPC_STATUS_NOENT, 204 },
		  { RPC_STATUS_UNAVAILABLE, 503 } };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct fake_http *h = fake_request("DELETE", "/bkt/k", "", "",
						   -1);

		fake_answer(fake_find(RPC_TAG_delete), t[i].status, NULL, NULL);
		assert_code(h, t[i].http, NULL);
		fake_done(h);
	}
}

/* 300 keys, at most 16 calls at once, one result each, in order. */
static void test_delete_many(void **state)
{
	/* of the body: deletes without a checksum are refused */
	struct fake_http *h;
	struct buf xml;
	char headers[64], md5[32];
	struct s3_sums *s;
	unsigned n = 0, most = 0;

	(void)state;
	buf_init(&xml, 0);
	buf_puts(&xml, "<Delete>");
	for (int i = 0; i < 300; i++)
		buf_printf(&xml, "<Object><Key>k%d</Key></Object>", i);
	buf_puts(&xml, "</Delete>");
	assert_int_equal(s3_sums_new(S3_SUM_BIT_MD5, &s), 0);
	s3_sums_update(s, xml.data, xml.len);
	s3_sums_final(s);
	(void)s3_base64(s3_sums_md5(s), 16, md5);
	s3_sums_free(s);
	(void)snprintf(headers, sizeof(headers), "Content-MD5: %s\r\n", md5);
	h = fake_request("POST", "/bkt", "delete=", headers, (int64_t)xml.len);
	fake_body(h, xml.data, xml.len);
	fake_body_end(h);
	while (fake_pending() > 0) {
		if (fake_pending() > most)
			most = fake_pending();
		fake_answer(fake_find(RPC_TAG_delete),
			    ++n % 100 == 0 ? RPC_STATUS_UNAVAILABLE :
					     RPC_STATUS_OK, NULL, NULL);
	}
	assert_int_equal(n, 300);
	assert_int_equal(most, 16);
	assert_code(h, 200, "<Deleted><Key>k0</Key></Deleted>");
	assert_true(says(&h->out, "<Code>ServiceUnavailable</Code>"));
	fake_done(h);
	/* cancelled half-way */
	h = fake_request("POST", "/bkt", "delete=", headers, (int64_t)xml.len);
	fake_body(h, xml.data, xml.len);
	fake_body_end(h);
	assert_int_equal(fake_pending(), 16);
	fake_abort(h);
	assert_int_equal(fake_pending(), 0);
	h = fake_request("POST", "/bkt", "delete=", "", 10);
	assert_code(h, 400, "InvalidRequest");
	fake_done(h);
	buf_fini(&xml);
}

/* --- faults: one allocation or call after the other fails --- */

static void finish(struct fake_http *h)
{
	/* answer whatever is asked until there is an outcome */
	for (int i = 0; i < 10 && h->ended + h->aborted == 0; i++) {
		minienv_run(fake.env);
		if (fake_find(RPC_TAG_object) != NULL)
			answer_object(5, "hello");
		else if (fake_find(RPC_TAG_prepare) != NULL)
			prepared(0);
		else if (fake_slice_finishing())
			fake_slice_done(RPC_STATUS_OK);
		else if (fake.read != NULL)
			fake_read_done(RPC_STATUS_IO);
		else if (fake_find(RPC_TAG_put) != NULL) {
			struct buf rsp;

			put_rsp(&rsp);
			fake_answer(fake_find(RPC_TAG_put), RPC_STATUS_OK,
				    rsp.err == 0 ? &rsp : NULL, NULL);
			buf_fini(&rsp);
		} else if (fake_find(RPC_TAG_list) != NULL)
			fake_answer(fake_find(RPC_TAG_list), RPC_STATUS_BUSY,
				    NULL, NULL);
		else if (h->reading) {
			h->reading = false;
			fake_body(h, "hello", 5);
			fake_body_end(h);
		}
	}
}

static void test_faults(void **state)
{
	static const struct {
		const char *method, *path, *query;
		int64_t len;
	} t[] = {
		{ "PUT", "/bkt/k", "", 5 },
		{ "GET", "/bkt/k", "", -1 },
		{ "GET", "/bkt", "list-type=2", -1 },
		{ "GET", "/", "", -1 },
		{ "GET", "/nowhere", "", -1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		for (int n = 1; n <= 3; n++)
			for (int at = 0;; at++) {
				char text[FAKE_TEXT];
				struct fake_http *h;

				fake_request_text(text, t[i].method, t[i].path,
						  t[i].query, "", t[i].len);
				fault_set(at, n);
				h = fake_request_raw(text);
				if (h->begun > 0 && h->user == NULL) {
					/* not even a request object */
					fault_clear();
					assert_int_equal(h->status, 503);
					fake_done(h);
					continue;
				}
				finish(h);
				fault_clear();
				assert_true(h->begun <= 1);
				assert_int_equal(h->ended + h->aborted, 1);
				fake_done(h);
				assert_int_equal(fake_pending(), 0);
				if (!fault_fired())
					break;
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		T(test_every_row_is_guarded),
		T(test_every_row_is_found),
		T(test_refusals),
		T(test_no_snapshot),
		T(test_missing_bucket),
		T(test_put_small),
		T(test_put_bad_digest),
		T(test_put_large),
		T(test_put_large_fails),
		T(test_put_large_order),
		T(test_put_small_away),
		T(test_get_inline),
		T(test_get_fails),
		T(test_get_stream),
		T(test_delete),
		T(test_delete_many),
		T(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
