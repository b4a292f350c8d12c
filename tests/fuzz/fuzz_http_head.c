/*
 * Fuzz target: a request head and the body behind it. Properties: what is
 * taken has one body length at most; views lie inside the input; a body fed in
 * pieces gives what it gives in one.
 * Engine: clang -fsanitize=fuzzer; otherwise linked with standalone.c.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>

#include "common/http/http_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void inside(struct wire_bytes b, const char *data, size_t len)
{
	const char *p = (const char *)b.p;

	must(b.len == 0 || (p >= data && b.len <= len &&
			    p <= data + len - b.len));
}

/* Result, state and bytes out of a body given in pieces of `step`. */
static int feed(const struct http_head *head, const uint8_t *data, size_t len,
		size_t step, struct evbuffer *out, int *ret_state)
{
	struct evbuffer *in = evbuffer_new();
	struct http_body b;
	size_t moved;
	int rv = 0;

	http_body_init(&b, head);
	for (size_t i = 0; i < len && rv == 0; i += step) {
		size_t n = len - i < step ? len - i : step;

		must(evbuffer_add(in, data + i, n) == 0);
		rv = http_body_take(&b, in, out, SIZE_MAX, &moved);
	}
	evbuffer_free(in);
	*ret_state = (int)b.state;
	return rv;
}

static void check_body(const struct http_head *head, const uint8_t *data,
		       size_t len)
{
	struct evbuffer *a = evbuffer_new(), *b = evbuffer_new();
	int sa, sb, ra, rb;
	size_t n;

	ra = feed(head, data, len, SIZE_MAX, a, &sa);
	rb = feed(head, data, len, 3, b, &sb);
	n = evbuffer_get_length(a);
	must(ra == rb && n == evbuffer_get_length(b));
	if (ra == 0)
		must(sa == sb);
	if (n > 0)
		must(memcmp(evbuffer_pullup(a, -1), evbuffer_pullup(b, -1),
			    n) == 0);
	evbuffer_free(a);
	evbuffer_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http_header headers[HTTP_HEADERS_MAX];
	const uint8_t *end = size > 0 ? memmem(data, size, "\r\n\r\n", 4) :
					NULL;
	size_t len = end != NULL ? (size_t)(end - data) + 4 : size;
	struct http_head head;
	char *copy = malloc(len == 0 ? 1 : len);
	int status;

	if (len > 0)
		memcpy(copy, data, len);
	status = http_head_parse(copy, len, &head, headers);
	if (status == 0) {
		must(end != NULL);
		must(!head.chunked || head.content_length < 0);
		inside(head.method, copy, len);
		inside(head.target, copy, len);
		inside(head.query, copy, len);
		for (unsigned i = 0; i < head.n_headers; i++) {
			inside(head.headers[i].name, copy, len);
			inside(head.headers[i].value, copy, len);
		}
		check_body(&head, data + len, size - len);
	} else {
		must(status >= 400 && status <= 599);
	}
	free(copy);
	return 0;
}
