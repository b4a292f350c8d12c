/*
 * Requests as the handler sees them, and responses. Nothing here calls back:
 * what follows from a call is done by the connection's next step.
 */
#include "common/http/http_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <event2/buffer.h>

#include "common/base/loop.h"

/* Smaller pieces are copied: cheaper than a block of their own. */
#define REPLY_REF_MIN 4096u

/* --- the request --- */

const struct http_head *http_head(const struct http_req *r)
{
	return &r->head;
}

void http_set_user(struct http_req *r, void *user)
{
	r->user = user;
}

void *http_user(const struct http_req *r)
{
	return r->user;
}

struct loop *http_loop(const struct http_req *r)
{
	return r->hc->hl->loop;
}

const char *http_peer(const struct http_req *r)
{
	return conn_peer(r->hc->conn);
}

const struct wire_bytes *http_find(const struct http_req *r, const char *name)
{
	for (unsigned i = 0; i < r->head.n_headers; i++) {
		if (http_is_name(r->head.headers[i].name, name))
			return &r->head.headers[i].value;
	}
	return NULL;
}

void http_read_body(struct http_req *r)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct http_conn *hc = r->hc;

	if (r->reading || r->reply >= HTTP_REPLY_ENDED)
		return;
	r->reading = true;
	/* not needed when the client did not wait for it */
	if (!hc->continued && r->reply == HTTP_REPLY_NONE &&
	    evbuffer_get_length(conn_input(hc->conn)) == 0) {
		(void)evbuffer_add(conn_output(hc->conn), text,
				   sizeof(text) - 1);
		conn_flush(hc->conn);
	}
	hc->continued = true;
	http_conn_wake(hc);
}

void http_pause(struct http_req *r)
{
	r->paused = true;
}

void http_resume(struct http_req *r)
{
	r->paused = false;
	r->offered = false;
	http_conn_wake(r->hc);
}

uint64_t http_bytes_in(const struct http_req *r)
{
	return r->bytes_in;
}

uint64_t http_bytes_out(const struct http_req *r)
{
	return r->bytes_out;
}

void http_close_after(struct http_req *r)
{
	r->close = true;
}

bool http_reply_started(const struct http_req *r)
{
	return r->reply != HTTP_REPLY_NONE;
}

bool http_out_full(const struct http_req *r)
{
	return conn_out_full(r->hc->conn);
}

void http_set_out_high(struct http_req *r, size_t high)
{
	conn_set_out_high(r->hc->conn, high);
}

/* --- the response --- */

static const char *reply_reason(unsigned status)
{
	static const struct {
		unsigned status;
		const char *text;
	} table[] = {
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 204, "No Content" },
		{ 206, "Partial Content" },
		{ 301, "Moved Permanently" },
		{ 302, "Found" },
		{ 303, "See Other" },
		{ 304, "Not Modified" },
		{ 307, "Temporary Redirect" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 409, "Conflict" },
		{ 411, "Length Required" },
		{ 412, "Precondition Failed" },
		{ 413, "Content Too Large" },
		{ 416, "Range Not Satisfiable" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 503, "Service Unavailable" },
		{ 507, "Insufficient Storage" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (table[i].status == status)
			return table[i].text;
	}
	return "Status";
}

/* Without memory a response cannot go on: the client must see a cut. */
static void reply_cut(struct http_req *r)
{
	r->reply = HTTP_REPLY_CUT;
	http_conn_wake(r->hc);
}

void http_reply_begin(struct http_req *r, unsigned status)
{
	struct buf *head = &r->hc->head;

	assert(status >= 200 && status <= 999);
	assert(r->reply == HTTP_REPLY_NONE || r->reply == HTTP_REPLY_CUT);
	buf_reset(head);
	buf_puts(head, "HTTP/1.1 ");
	buf_add_u64(head, status);
	buf_puts(head, " ");
	buf_puts(head, reply_reason(status));
	buf_puts(head, "\r\n");
	r->unsized = status == 204 || status == 304;
	r->bodyless = r->unsized || http_is_name(r->head.method, "HEAD");
}

int http_reply_header(struct http_req *r, const char *name,
		      struct wire_bytes value)
{
	struct buf *head = &r->hc->head;
	size_t n = strlen(name);

	if (!http_is_token(name, n))
		return -EINVAL;
	if (!http_is_text(value) ||
	    (value.len > 0 && memchr(value.p, '\t', value.len) != NULL))
		return -EINVAL;
	buf_add(head, name, n);
	buf_add(head, ": ", 2);
	buf_add(head, value.p, value.len);
	buf_add(head, "\r\n", 2);
	return head->err;
}

int http_reply_headerf(struct http_req *r, const char *name, const char *fmt,
		       ...)
{
	struct wire_bytes value;
	struct buf b;
	va_list ap;
	char text[512];
	int n, rv;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	if ((size_t)n < sizeof(text))
		return http_reply_header(r, name,
					 wire_bytes(text, (size_t)n));
	buf_init(&b, 0);
	if (buf_reserve(&b, (size_t)n + 1) == NULL)
		return b.err;
	va_start(ap, fmt);
	(void)vsnprintf((char *)b.data, (size_t)n + 1, fmt, ap);
	va_end(ap);
	value = wire_bytes(b.data, (size_t)n);
	rv = http_reply_header(r, name, value);
	buf_fini(&b);
	return rv;
}

/* The Date header's text, made once a second. */
static const char *reply_date(struct http_loop *hl)
{
	int64_t sec = env_wall_ns(loop_env(hl->loop)) / 1000000000;
	time_t t = (time_t)sec;
	struct tm tm;

	if (sec != hl->date_sec && gmtime_r(&t, &tm) != NULL) {
		(void)strftime(hl->date, sizeof(hl->date),
			       "%a, %d %b %Y %H:%M:%S GMT", &tm);
		hl->date_sec = sec;
	}
	return hl->date;
}

/* How the client learns where the body ends. */
static void reply_framing(struct http_req *r, struct buf *head,
			  int64_t body_len)
{
	r->out_left = body_len;
	if (r->unsized)
		return;
	if (body_len >= 0) {
		buf_puts(head, "Content-Length: ");
		buf_add_u64(head, (uint64_t)body_len);
		buf_puts(head, "\r\n");
	} else if (r->head.minor > 0) {
		buf_puts(head, "Transfer-Encoding: chunked\r\n");
		r->chunked = !r->bodyless;
	} else {
		r->close = true; /* the end of the connection is the end */
	}
}

void http_reply_end_head(struct http_req *r, int64_t body_len)
{
	struct http_conn *hc = r->hc;
	struct buf *head = &hc->head;

	if (r->reply == HTTP_REPLY_CUT)
		return;
	assert(r->reply == HTTP_REPLY_NONE);
	assert(head->len > 0 || head->err != 0); /* begin was called */
	reply_framing(r, head, body_len);
	/* a body that is still to be read decides too: say it in time */
	if (!r->reading && http_conn_must_close(hc))
		r->close = true;
	buf_puts(head, "Date: ");
	buf_puts(head, reply_date(hc->hl));
	buf_puts(head, "\r\nServer: LeoFS\r\n");
	if (r->close)
		buf_puts(head, "Connection: close\r\n");
	else if (r->head.minor == 0)
		buf_puts(head, "Connection: keep-alive\r\n");
	buf_puts(head, "\r\n");
	if (head->err != 0 || evbuffer_add(conn_output(hc->conn), head->data,
					   head->len) != 0) {
		reply_cut(r);
		return;
	}
	buf_reset(head);
	r->reply = HTTP_REPLY_BODY;
	conn_flush(hc->conn);
}

/* How many of len bytes go out; more than promised is our mistake. */
static size_t reply_room(struct http_req *r, size_t len)
{
	if (r->reply != HTTP_REPLY_BODY || len == 0)
		return 0;
	if (r->out_left >= 0) {
		assert(len <= (uint64_t)r->out_left);
		r->out_left -= (int64_t)len;
	}
	if (r->bodyless)
		return 0;
	r->bytes_out += len;
	return len;
}

static int reply_chunk_head(struct http_req *r, size_t len)
{
	if (!r->chunked)
		return 0;
	return evbuffer_add_printf(conn_output(r->hc->conn), "%zx\r\n",
				   len) < 0 ? -1 : 0;
}

static int reply_chunk_tail(struct http_req *r)
{
	if (!r->chunked)
		return 0;
	return evbuffer_add(conn_output(r->hc->conn), "\r\n", 2);
}

void http_reply_add(struct http_req *r, const void *data, size_t len)
{
	struct evbuffer *out = conn_output(r->hc->conn);

	len = reply_room(r, len);
	if (len == 0)
		return;
	if (reply_chunk_head(r, len) != 0 ||
	    evbuffer_add(out, data, len) != 0 || reply_chunk_tail(r) != 0) {
		reply_cut(r);
		return;
	}
	conn_flush(r->hc->conn);
}

static void reply_body_done(const void *data, size_t len, void *arg)
{
	(void)data;
	(void)len;
	body_unref(arg);
}

void http_reply_add_body(struct http_req *r, struct body *b, uint32_t from,
			 uint32_t len)
{
	struct evbuffer *out = conn_output(r->hc->conn);
	size_t n;

	assert(from <= b->len && len <= b->len - from);
	if (len < REPLY_REF_MIN) {
		http_reply_add(r, b->data + from, len);
		return;
	}
	n = reply_room(r, len);
	if (n == 0)
		return;
	if (reply_chunk_head(r, n) != 0) {
		reply_cut(r);
		return;
	}
	if (evbuffer_add_reference(out, b->data + from, n, reply_body_done,
				   body_ref(b)) != 0) {
		body_unref(b);
		reply_cut(r);
		return;
	}
	if (reply_chunk_tail(r) != 0) {
		reply_cut(r);
		return;
	}
	conn_flush(r->hc->conn);
}

void http_reply_end(struct http_req *r)
{
	if (r->reply == HTTP_REPLY_CUT)
		return;
	assert(r->reply == HTTP_REPLY_BODY);
	if (r->out_left > 0 && !r->bodyless) {
		/* less than promised: only a cut tells the client */
		reply_cut(r);
		return;
	}
	if (r->chunked && evbuffer_add(conn_output(r->hc->conn),
				       "0\r\n\r\n", 5) != 0) {
		reply_cut(r);
		return;
	}
	r->reply = HTTP_REPLY_ENDED;
	conn_flush(r->hc->conn);
	http_conn_wake(r->hc);
}

void http_reply_abort(struct http_req *r)
{
	if (r->reply < HTTP_REPLY_ENDED)
		reply_cut(r);
}
