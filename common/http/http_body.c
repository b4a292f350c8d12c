/*
 * Framing of request bodies: Content-Length and chunked (RFC 9112 section 7).
 * Chunk sizes are hex digits right before CRLF or ';'; extensions and trailers
 * are bounded, checked for control bytes and thrown away.
 */
#include "common/http/http_impl.h"

#include <errno.h>
#include <string.h>

#include <event2/buffer.h>

#define BODY_LINE_MAX 1024
#define BODY_TRAILERS_MAX (8u << 10)

void http_body_init(struct http_body *b, const struct http_head *head)
{
	memset(b, 0, sizeof(*b));
	if (head->chunked) {
		b->state = HTTP_BODY_SIZE;
	} else if (head->content_length > 0) {
		b->state = HTTP_BODY_PLAIN;
		b->left = (uint64_t)head->content_length;
	} else {
		b->state = HTTP_BODY_DONE;
	}
}

/*
 * Takes one line off the input: its length without CRLF, -EAGAIN when it is
 * not complete, -EBADMSG when it cannot become a good one.
 */
static ssize_t body_line(struct evbuffer *in, char line[BODY_LINE_MAX])
{
	ssize_t n = evbuffer_copyout(in, line, BODY_LINE_MAX);
	char *lf = n > 0 ? memchr(line, '\n', (size_t)n) : NULL;

	if (lf == NULL)
		return n == BODY_LINE_MAX ? -EBADMSG : -EAGAIN;
	if (lf == line || lf[-1] != '\r')
		return -EBADMSG;
	n = lf - line - 1;
	for (ssize_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)line[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return -EBADMSG;
	}
	(void)evbuffer_drain(in, (size_t)n + 2);
	return n;
}

static int body_hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static int body_size(struct http_body *b, struct evbuffer *in)
{
	char line[BODY_LINE_MAX];
	ssize_t n = body_line(in, line);
	uint64_t size = 0;
	ssize_t i;

	if (n < 0)
		return (int)n;
	for (i = 0; i < n && body_hex(line[i]) >= 0; i++) {
		if (i >= 15)
			return -EBADMSG;
		size = size << 4 | (uint64_t)body_hex(line[i]);
	}
	if (i == 0 || (i < n && line[i] != ';'))
		return -EBADMSG;
	b->left = size;
	b->state = size > 0 ? HTTP_BODY_DATA : HTTP_BODY_TRAILER;
	return 0;
}

static int body_data_end(struct http_body *b, struct evbuffer *in)
{
	char crlf[2];
	ssize_t n = evbuffer_copyout(in, crlf, 2);

	if ((n >= 1 && crlf[0] != '\r') || (n == 2 && crlf[1] != '\n'))
		return -EBADMSG;
	if (n < 2)
		return -EAGAIN;
	(void)evbuffer_drain(in, 2);
	b->state = HTTP_BODY_SIZE;
	return 0;
}

static int body_trailer(struct http_body *b, struct evbuffer *in)
{
	char line[BODY_LINE_MAX];
	ssize_t n = body_line(in, line);
	char *colon;

	if (n < 0)
		return (int)n;
	if (n == 0) {
		b->state = HTTP_BODY_DONE;
		return 0;
	}
	b->trailers += (size_t)n;
	colon = memchr(line, ':', (size_t)n);
	if (b->trailers > BODY_TRAILERS_MAX || colon == NULL ||
	    !http_is_token(line, (size_t)(colon - line)))
		return -EBADMSG;
	return 0;
}

/* Moves body bytes; libevent moves whole blocks without copying. */
static int body_data(struct http_body *b, struct evbuffer *in,
		     struct evbuffer *out, size_t max, size_t *moved)
{
	size_t n = evbuffer_get_length(in);
	int rv;

	if (n > b->left)
		n = (size_t)b->left;
	if (n > max - *moved)
		n = max - *moved;
	if (n == 0)
		return -EAGAIN;
	if (out == NULL)
		rv = evbuffer_drain(in, n);
	else
		rv = evbuffer_remove_buffer(in, out, n) == (int)n ? 0 : -1;
	if (rv != 0)
		return -ENOMEM;
	*moved += n;
	b->left -= n;
	if (b->left == 0)
		b->state = b->state == HTTP_BODY_PLAIN ? HTTP_BODY_DONE :
							 HTTP_BODY_DATA_END;
	return 0;
}

int http_body_take(struct http_body *b, struct evbuffer *in,
		   struct evbuffer *out, size_t max, size_t *ret_moved)
{
	size_t moved = 0;
	int rv = 0;

	while (rv == 0 && b->state != HTTP_BODY_DONE) {
		switch (b->state) {
		case HTTP_BODY_SIZE:
			rv = body_size(b, in);
			break;
		case HTTP_BODY_PLAIN:
		case HTTP_BODY_DATA:
			rv = body_data(b, in, out, max, &moved);
			break;
		case HTTP_BODY_DATA_END:
			rv = body_data_end(b, in);
			break;
		case HTTP_BODY_TRAILER:
			rv = body_trailer(b, in);
			break;
		case HTTP_BODY_DONE:
			break;
		}
	}
	*ret_moved = moved;
	return rv == -EAGAIN ? 0 : rv;
}

size_t http_body_peek(struct evbuffer *buf, const uint8_t **ret_data)
{
	size_t n;

	if (evbuffer_get_length(buf) == 0)
		return 0;
	n = evbuffer_get_contiguous_space(buf);
	*ret_data = evbuffer_pullup(buf, n > 0 ? (ev_ssize_t)n : 1);
	return *ret_data == NULL ? 0 : evbuffer_get_contiguous_space(buf);
}

void http_body_drain(struct evbuffer *buf, size_t n)
{
	(void)evbuffer_drain(buf, n);
}
