/* The head parser and the body framing: what is taken and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>

#include "common/http/http_impl.h"

#define H "Host: h\r\n"
#define GET "GET / HTTP/1.1\r\n"

static const struct {
	int status;
	const char *head;
} table[] = {
	/* good */
	{ 0, GET H "\r\n" },
	{ 0, "GET /a%20b?x=1&y HTTP/1.1\r\nhost: h:80\r\nA:\r\nB: \t x y \t\r\n"
	     "\r\n" },
	{ 0, "GET / HTTP/1.0\r\n\r\n" },
	{ 0, "GET / HTTP/1.9\r\n" H "\r\n" },
	{ 0, "PUT /k HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n" },
	{ 0, "PUT /k HTTP/1.1\r\n" H "Content-Length: 999999999999999999\r\n"
	     "\r\n" },
	{ 0, "PUT /k HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n" },
	{ 0, "GET http://h/a HTTP/1.1\r\n" H "\r\n" },
	{ 0, "GET http://H HTTP/1.1\r\n" H "\r\n" },
	{ 0, "GET http://h?a HTTP/1.1\r\n" H "\r\n" },
	{ 0, "OPTIONS * HTTP/1.1\r\n" H "\r\n" },
	{ 0, GET "Host: [::1]:80\r\n\r\n" },
	{ 0, GET "Host:\r\n\r\n" },
	{ 0, "GET /\xc3\xbc HTTP/1.1\r\n" H "X: \xff\xfe\r\n\r\n" },
	{ 0, "M-SEARCH!#$%&'*+.^_`|~ / HTTP/1.1\r\n" H "\r\n" },
	{ 0, GET H "Connection: close\r\nConnection: foo\r\n\r\n" },
	{ 0, "PUT / HTTP/1.1\r\n" H "Content-Length: 3\r\n"
	     "Expect: 100-Continue\r\n\r\n" },
	/* smuggling */
	{ 400, "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n"
	       "Transfer-Encoding: chunked\r\n\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n"
	       "Content-Length: 3\r\n\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n"
	       "Content-Length: 3\r\n\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n"
	       "content-length: 4\r\n\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H "Content-Length: 3, 3\r\n\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H "Content-Length: -3\r\n\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H "Content-Length: 0x3\r\n\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H "Content-Length: 3 3\r\n\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H "Content-Length: 1000000000000000000\r\n"
	       "\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H
	       "Content-Length: 99999999999999999999999999\r\n\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n"
	       "Transfer-Encoding: chunked\r\n\r\n" },
	{ 501, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n"
	       "\r\n" },
	{ 501, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, x\r\n\r\n" },
	{ 501, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n" },
	{ 501, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\"\r\n"
	       "\r\n" },
	{ 501, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n" },
	{ 501, "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n" },
	{ 400, "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\vchunked\r\n\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H "X: a\r\n Transfer-Encoding: chunked\r\n"
	       "\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H "Content-Length : 3\r\n\r\n" },
	{ 400, "POST / HTTP/1.1\r\n" H "Content\tLength: 3\r\n\r\n" },
	/* Host */
	{ 400, GET "\r\n" },
	{ 400, GET H H "\r\n" },
	{ 400, GET H "HOST: other\r\n\r\n" },
	{ 400, GET "Host: a b\r\n\r\n" },
	{ 400, GET "Host: a/b\r\n\r\n" },
	{ 400, GET "Host: a@b\r\n\r\n" },
	{ 400, GET "Host: a,b\r\n\r\n" },
	{ 400, "GET http://other/ HTTP/1.1\r\n" H "\r\n" },
	{ 400, "GET http://u@h/ HTTP/1.1\r\nHost: u@h\r\n\r\n" },
	{ 400, "GET / HTTP/1.0\r\n" H H "\r\n" },
	/* lines */
	{ 400, GET H "X: a\r\n b\r\n\r\n" },
	{ 400, GET H "X: a\r\n\tb\r\n\r\n" },
	{ 400, GET " Host: h\r\n\r\n" },
	{ 400, "GET / HTTP/1.1\nHost: h\n\n" },
	{ 400, GET "Host: h\n\r\n" },
	{ 400, GET H "X: a\rb\r\n\r\n" },
	{ 400, GET H "X: a\r\r\n\r\n" },
	{ 400, GET H "X\r\n\r\n" },
	{ 400, GET H ": x\r\n\r\n" },
	{ 400, GET H "X y: x\r\n\r\n" },
	{ 400, GET H "X : x\r\n\r\n" },
	{ 400, GET H "X\x80: x\r\n\r\n" },
	{ 400, GET H "X: \x01\r\n\r\n" },
	{ 400, GET H "X: \x7f\r\n\r\n" },
	{ 400, GET H "\r\nX: behind the end\r\n\r\n" },
	{ 400, "\r\n" GET H "\r\n" },
	{ 400, "\r\n\r\n" },
	{ 400, "" },
	/* request line */
	{ 400, "GET  / HTTP/1.1\r\n" H "\r\n" },
	{ 400, "GET /  HTTP/1.1\r\n" H "\r\n" },
	{ 400, "GET / HTTP/1.1 \r\n" H "\r\n" },
	{ 400, " GET / HTTP/1.1\r\n" H "\r\n" },
	{ 400, "GET\t/ HTTP/1.1\r\n" H "\r\n" },
	{ 400, "GET /\r\n" H "\r\n" },
	{ 400, "GET / http/1.1\r\n" H "\r\n" },
	{ 400, "GET / HTTP/1.10\r\n" H "\r\n" },
	{ 400, "GET / HTTP/11\r\n" H "\r\n" },
	{ 400, "GET / HTTP/1.\r\n" H "\r\n" },
	{ 505, "GET / HTTP/2.0\r\n" H "\r\n" },
	{ 505, "GET / HTTP/0.9\r\n" H "\r\n" },
	{ 400, "G(T / HTTP/1.1\r\n" H "\r\n" },
	{ 400, "GET a HTTP/1.1\r\n" H "\r\n" },
	{ 400, "GET * HTTP/1.1\r\n" H "\r\n" },
	{ 400, "CONNECT h:80 HTTP/1.1\r\n" H "\r\n" },
	{ 400, "GET https://h/ HTTP/1.1\r\n" H "\r\n" },
	{ 400, "GET http:/// HTTP/1.1\r\n" H "\r\n" },
	{ 400, "GET /a#b HTTP/1.1\r\n" H "\r\n" },
	{ 400, "GET /\x01 HTTP/1.1\r\n" H "\r\n" },
	{ 400, "GET /\x7f HTTP/1.1\r\n" H "\r\n" },
	{ 400, "GET /a\tb HTTP/1.1\r\n" H "\r\n" },
	{ 400, "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHI / HTTP/1.1\r\n" H "\r\n" },
	/* others */
	{ 417, "PUT / HTTP/1.1\r\n" H "Content-Length: 1\r\n"
	       "Expect: 200-ok\r\n\r\n" },
};

static struct http_head head;
static struct http_header headers[HTTP_HEADERS_MAX];

/* From an exact-size block, so that the sanitizer sees a read too far. */
static int parse(const char *text, size_t len)
{
	static char *copy;

	free(copy);
	copy = malloc(len == 0 ? 1 : len);
	memcpy(copy, text, len);
	return http_head_parse(copy, len, &head, headers);
}

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		int status = parse(table[i].head, strlen(table[i].head));

		if (status != table[i].status)
			print_message("# %d: %s\n", status, table[i].head);
		assert_int_equal(status, table[i].status);
	}
}

static void test_every_cut_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		size_t len = strlen(table[i].head);

		if (table[i].status != 0)
			continue;
		for (size_t n = 0; n < len; n++)
			assert_int_not_equal(parse(table[i].head, n), 0);
	}
}

static void assert_bytes(struct wire_bytes b, const char *text)
{
	assert_int_equal(b.len, strlen(text));
	assert_memory_equal(b.p, text, b.len);
}

static void test_fields(void **state)
{
	const char *t = "PUT /b/k%20?a=b?c HTTP/1.1\r\nHost: x:1\r\n"
			"Content-Length: 12\r\nEXPECT: 100-continue\r\n"
			"X-Amz-Meta: \t a  b \r\n\r\n";

	(void)state;
	assert_int_equal(parse(t, strlen(t)), 0);
	assert_bytes(head.method, "PUT");
	assert_bytes(head.target, "/b/k%20?a=b?c");
	assert_bytes(head.path, "/b/k%20");
	assert_bytes(head.query, "a=b?c");
	assert_int_equal(head.n_headers, 4);
	assert_bytes(headers[3].name, "X-Amz-Meta");
	assert_bytes(headers[3].value, "a  b");
	assert_int_equal(head.content_length, 12);
	assert_true(head.expect_continue && head.keep_alive && !head.chunked);
	assert_int_equal(head.minor, 1);

	t = "GET http://h HTTP/1.1\r\n" H "\r\n";
	assert_int_equal(parse(t, strlen(t)), 0);
	assert_bytes(head.path, "/");
	assert_bytes(head.query, "");
	assert_int_equal(head.content_length, -1);
	t = "GET http://h/a/b?c HTTP/1.1\r\n" H "Expect: 100-continue\r\n\r\n";
	assert_int_equal(parse(t, strlen(t)), 0);
	assert_bytes(head.path, "/a/b");
	assert_bytes(head.query, "c");
	assert_false(head.expect_continue); /* no body to wait for */
	t = "GET / HTTP/1.0\r\nConnection: x , Keep-Alive\r\n\r\n";
	assert_int_equal(parse(t, strlen(t)), 0);
	assert_true(head.keep_alive);
	t = GET H "Connection: keep-alive, \tCLOSE\t,\r\n\r\n";
	assert_int_equal(parse(t, strlen(t)), 0);
	assert_false(head.keep_alive);
}

/* Each byte at each place of a long and a short text. */
static void test_text(void **state)
{
	uint8_t text[19];

	(void)state;
	for (size_t len = 1; len <= sizeof(text); len++)
		for (size_t at = 0; at < len; at++)
			for (unsigned c = 0; c < 256; c++) {
				bool ok = (c >= 0x20 && c != 0x7f) ||
					  c == '\t';

				memset(text, c % 2 ? 0xff : '~', sizeof(text));
				text[at] = (uint8_t)c;
				assert_int_equal(
					http_is_text(wire_bytes(text, len)),
					ok);
			}
	assert_true(http_is_text(wire_bytes(NULL, 0)));
}

static void test_limits(void **state)
{
	char *t = malloc(40000);
	size_t n;

	(void)state;
	/* target */
	for (size_t len = HTTP_URI_MAX - 1; len <= HTTP_URI_MAX + 1; len++) {
		n = (size_t)sprintf(t, "GET /");
		memset(t + n, 'a', len - 1);
		n += len - 1;
		n += (size_t)sprintf(t + n, " HTTP/1.1\r\n" H "\r\n");
		assert_int_equal(parse(t, n), len > HTTP_URI_MAX ? 414 : 0);
	}
	n = (size_t)sprintf(t, "GET /");
	memset(t + n, 'a', HTTP_URI_MAX);
	memcpy(t + n + HTTP_URI_MAX, "\r\n\r\n", 4);
	assert_int_equal(parse(t, n + HTTP_URI_MAX + 4), 414);
	/* number of headers */
	for (unsigned k = HTTP_HEADERS_MAX - 1; k <= HTTP_HEADERS_MAX; k++) {
		n = (size_t)sprintf(t, GET H);
		for (unsigned i = 0; i < k; i++)
			n += (size_t)sprintf(t + n, "a: b\r\n");
		n += (size_t)sprintf(t + n, "\r\n");
		assert_int_equal(parse(t, n),
				 k == HTTP_HEADERS_MAX ? 431 : 0);
	}
	/* all of it */
	n = (size_t)sprintf(t, GET H "X: ");
	memset(t + n, 'a', 30000);
	memcpy(t + HTTP_HEAD_MAX - 4, "\r\n\r\n", 4);
	assert_int_equal(parse(t, HTTP_HEAD_MAX), 0);
	t[HTTP_HEAD_MAX - 4] = 'a';
	memcpy(t + HTTP_HEAD_MAX - 3, "\r\n\r\n", 4);
	assert_int_equal(parse(t, HTTP_HEAD_MAX + 1), 431);
	/* a NUL is a byte like others that are refused */
	n = (size_t)sprintf(t, GET H "X: a?b\r\n\r\n");
	t[n - 6] = '\0';
	assert_int_equal(parse(t, n), 400);
	free(t);
}

/* Any one byte changed: never a crash, and no second body length. */
static void test_mutations(void **state)
{
	unsigned seed = 20240917;
	char t[512];

	(void)state;
	print_message("# seed %u\n", seed);
	srandom(seed);
	for (int i = 0; i < 200000; i++) {
		size_t k = (size_t)random() % (sizeof(table) / sizeof(table[0]));
		size_t len = strlen(table[k].head);

		if (len == 0 || len > sizeof(t))
			continue;
		memcpy(t, table[k].head, len);
		for (long m = random() % 3; m >= 0; m--)
			t[(size_t)random() % len] =
				"\r\n :\t\0,;aZ09\x80/?*"[random() % 17];
		if (parse(t, len) == 0)
			assert_false(head.chunked && head.content_length >= 0);
	}
}

/* --- bodies --- */

static const struct {
	int rv; /* 0: complete, 1: needs more, else error */
	const char *in, *out, *rest;
} chunks[] = {
	{ 0, "0\r\n\r\n", "", "" },
	{ 0, "3\r\nabc\r\n0\r\n\r\nGET", "abc", "GET" },
	{ 0, "3\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\n", "abc0123456789",
	  "" },
	{ 0, "a;name=value\r\n0123456789\r\n000\r\n\r\n", "0123456789", "" },
	{ 0, "1;\r\na\r\n0;x\r\nTrailer: x\r\nB:\r\n\r\nX", "a", "X" },
	{ 1, "", "", "" },
	{ 1, "3", "", "3" },
	{ 1, "3\r", "", "3\r" },
	{ 1, "3\r\nab", "ab", "" },
	{ 1, "3\r\nabc", "abc", "" },
	{ 1, "3\r\nabc\r", "abc", "\r" },
	{ 1, "0\r\n", "", "" },
	{ 1, "0\r\nA: b\r\n", "", "" },
	{ -EBADMSG, "\r\n", "", NULL },
	{ -EBADMSG, "3\nabc\r\n0\r\n\r\n", "", NULL },
	{ -EBADMSG, "3\r\nabc\n0\r\n\r\n", "abc", NULL },
	{ -EBADMSG, "3\r\nabcd\r\n0\r\n\r\n", "abc", NULL },
	{ -EBADMSG, "0x3\r\nabc\r\n", "", NULL },
	{ -EBADMSG, "-3\r\nabc\r\n", "", NULL },
	{ -EBADMSG, "+3\r\nabc\r\n", "", NULL },
	{ -EBADMSG, " 3\r\nabc\r\n", "", NULL },
	{ -EBADMSG, "3 \r\nabc\r\n", "", NULL },
	{ -EBADMSG, "3 ;x\r\nabc\r\n", "", NULL },
	{ -EBADMSG, "g\r\n", "", NULL },
	{ -EBADMSG, ";x\r\n", "", NULL },
	{ -EBADMSG, "10000000000000000\r\n", "", NULL },
	{ -EBADMSG, "0000000000000003\r\nabc\r\n", "", NULL },
	{ -EBADMSG, "3;x\ny\r\nabc\r\n", "", NULL },
	{ -EBADMSG, "3;x\ry\r\nabc\r\n", "", NULL },
	{ -EBADMSG, "3;\x01\r\nabc\r\n", "", NULL },
	{ -EBADMSG, "0\r\nbad trailer\r\n\r\n", "", NULL },
	{ -EBADMSG, "0\r\n folded: x\r\n\r\n", "", NULL },
	{ -EBADMSG, "0\r\nA: b\nC: d\r\n\r\n", "", NULL },
};

/* Fed whole, and byte by byte: the same. */
static void check_chunks(size_t k, bool slowly)
{
	const char *text = chunks[k].in;
	struct evbuffer *in = evbuffer_new(), *out = evbuffer_new();
	struct http_head h = { .chunked = true };
	struct http_body b;
	size_t moved, len = strlen(text);
	char got[64];
	int rv = 0;

	http_body_init(&b, &h);
	for (size_t i = 0; i < len && rv == 0;) {
		size_t n = slowly ? 1 : len;

		evbuffer_add(in, text + i, n);
		rv = http_body_take(&b, in, out, 1000, &moved);
		i += n;
	}
	if (rv == 0 && b.state != HTTP_BODY_DONE)
		rv = 1;
	if (rv != chunks[k].rv)
		print_message("# %d %s\n", rv, text);
	assert_int_equal(rv, chunks[k].rv);
	moved = (size_t)evbuffer_remove(out, got, sizeof(got));
	assert_int_equal(moved, strlen(chunks[k].out));
	assert_memory_equal(got, chunks[k].out, moved);
	if (chunks[k].rest != NULL) {
		moved = (size_t)evbuffer_remove(in, got, sizeof(got));
		assert_int_equal(moved, strlen(chunks[k].rest));
		assert_memory_equal(got, chunks[k].rest, moved);
	}
	evbuffer_free(in);
	evbuffer_free(out);
}

static void test_chunks(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof(chunks) / sizeof(chunks[0]); k++) {
		check_chunks(k, false);
		check_chunks(k, true);
	}
}

static void test_endless_lines(void **state)
{
	struct evbuffer *in = evbuffer_new();
	struct http_head h = { .chunked = true };
	struct http_body b;
	size_t moved;
	int rv = 0;

	(void)state;
	http_body_init(&b, &h);
	evbuffer_add(in, "1;", 2);
	for (int i = 0; i < 2000; i++)
		evbuffer_add(in, "x", 1);
	assert_int_equal(http_body_take(&b, in, NULL, 1, &moved), -EBADMSG);
	(void)evbuffer_drain(in, 10000);
	http_body_init(&b, &h);
	evbuffer_add(in, "0\r\n", 3);
	for (int i = 0; i < 3000 && rv == 0; i++) {
		evbuffer_add(in, "trailer: x\r\n", 12);
		rv = http_body_take(&b, in, NULL, 1, &moved);
	}
	assert_int_equal(rv, -EBADMSG);
	evbuffer_free(in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_every_cut_is_refused),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_endless_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
