/*
 * One server connection: a state machine that is stepped whenever input came,
 * output drained, the peer left, or the handler did something.
 *
 * Happy path: HEAD: bytes until the empty line -> copy, parse, on_request ->
 * REQUEST: the handler reads the body (on_body..., on_body_end) and replies ->
 * the request is freed (on_free) -> HEAD again; pipelined requests wait in the
 * input. What all requests of a turn answer leaves with one sendmsg.
 * Failure modes: bad head: plain status, close. Bad framing of a body, body
 * cut, reset, deadline: on_abort, on_free, close (bad framing with a 400 if
 * nothing was answered yet). A body nobody read: up to HTTP_DRAIN_MAX of it is
 * skipped (DRAIN), more closes the connection after the response.
 *
 *   HEAD -> REQUEST -> HEAD | DRAIN | CLOSING | DEAD
 *   HEAD -> CLOSING | DEAD;  DRAIN -> HEAD | CLOSING | DEAD
 *
 * The connection is freed in one place, at the end of a step, never while the
 * handler is on the stack below one of our calls.
 */
#include "common/http/http_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <event2/buffer.h>

#include "common/base/mem.h"

#define HTTP_DRAIN_MAX (1u << 20)
/* Input kept while nobody wants it; then reading stops. */
#define HTTP_INPUT_IDLE (64u << 10)
/* Bytes the handler may leave in its body buffer before reading stops. */
#define HTTP_BODY_HELD (5u << 20)
#define HTTP_BODY_STEP (256u << 10)
/* Less of a body is not worth a read of its own. */
#define HTTP_DIRECT_MIN (4u << 10)

static void http_conn_step(struct http_conn *hc);

/* A new state or window begins; the clock is as exact as the tick. */
static void http_conn_touch(struct http_conn *hc)
{
	hc->since_ns = hc->hl->now_ns;
	hc->since_bytes = hc->req != NULL ? hc->req->bytes_in : 0;
}

void http_conn_wake(struct http_conn *hc)
{
	if (!hc->stepping)
		loop_hook_add(hc->hl->loop, &hc->hook);
}

static void http_conn_on_hook(struct loop_hook *hook)
{
	http_conn_step(CONTAINER_OF(hook, struct http_conn, hook));
}

/* --- ends --- */

static void http_conn_free_req(struct http_conn *hc)
{
	struct http_req *r = hc->req;

	if (r == NULL)
		return;
	hc->hl->server->handler.on_free(r);
	conn_set_out_high(hc->conn, CONN_OUT_HIGH);
	hc->req = NULL;
	mem_free(r);
	if (hc->in != NULL)
		(void)evbuffer_drain(hc->in, evbuffer_get_length(hc->in));
}

/* The request cannot be served to its end: tells the handler, frees. */
static void http_conn_abort_req(struct http_conn *hc, int err)
{
	struct http_req *r = hc->req;

	if (r == NULL)
		return;
	if (r->reply < HTTP_REPLY_ENDED) {
		r->reply = HTTP_REPLY_CUT;
		hc->hl->server->handler.on_abort(r, err);
	}
	http_conn_free_req(hc);
}

static void http_conn_destroy(struct http_conn *hc)
{
	assert(hc->req == NULL);
	TAILQ_REMOVE(&hc->hl->conns, hc, link);
	loop_hook_del(hc->hl->loop, &hc->hook);
	conn_free(hc->conn);
	if (hc->in != NULL)
		evbuffer_free(hc->in);
	buf_fini(&hc->head);
	mem_free(hc);
}

void http_conn_kill(struct http_conn *hc)
{
	http_conn_abort_req(hc, -ECANCELED);
	http_conn_destroy(hc);
}

/* Sends what there is, then closes; conn tells when. */
static void http_conn_close(struct http_conn *hc)
{
	hc->state = HTTP_CONN_CLOSING;
	conn_close_after_flush(hc->conn);
}

/* Outside of a step: the connection is lost. */
static void http_conn_lose(struct http_conn *hc, int err)
{
	hc->stepping = true;
	http_conn_abort_req(hc, err);
	http_conn_destroy(hc);
}

/* A status without a body, for those whose request has no handler. */
static void http_conn_refuse(struct http_conn *hc, int status)
{
	(void)evbuffer_add_printf(conn_output(hc->conn),
				  "HTTP/1.1 %d Refused\r\n"
				  "Content-Length: 0\r\n"
				  "Connection: close\r\n\r\n",
				  status);
	conn_flush(hc->conn);
	http_conn_close(hc);
}

/* --- heads --- */

/* Behind the empty line; NULL. */
static const char *http_conn_head_end(const char *p, size_t len)
{
	const char *end = p + len, *lf;

	for (const char *at = p;
	     (lf = memchr(at, '\n', (size_t)(end - at))) != NULL; at = lf + 1)
		if (lf - p >= 3 && memcmp(lf - 3, "\r\n\r", 3) == 0)
			return lf + 1;
	return NULL;
}

/*
 * Length of the head at the front of the input, 0 when it is not complete,
 * or minus the status to refuse with.
 */
static int http_conn_find_head(struct http_conn *hc, const char **ret_data)
{
	struct evbuffer *in = conn_input(hc->conn);
	size_t len = evbuffer_get_length(in);
	size_t from = hc->scanned > 3 ? hc->scanned - 3 : 0;
	const char *data, *end;

	if (len > HTTP_HEAD_MAX)
		len = HTTP_HEAD_MAX;
	data = (const char *)evbuffer_pullup(in, (ev_ssize_t)len);
	if (data == NULL)
		return -503;
	end = http_conn_head_end(data + from, len - from);
	if (end != NULL) {
		*ret_data = data;
		return (int)(end - data);
	}
	hc->scanned = len;
	/* a bare LF would let us wait for an end that never comes */
	end = memchr(data + from, '\n', len - from);
	if (end != NULL && (end == data || end[-1] != '\r'))
		return -400;
	if (len < HTTP_HEAD_MAX)
		return 0;
	end = memchr(data, '\n', HTTP_URI_MAX);
	return end == NULL ? -414 : -431;
}

/* An empty line before the request line is what old clients send. */
static void http_conn_skip_crlf(struct evbuffer *in)
{
	char crlf[2];

	if (evbuffer_copyout(in, crlf, 2) == 2 && crlf[0] == '\r' &&
	    crlf[1] == '\n')
		(void)evbuffer_drain(in, 2);
}

/* Makes the request of a complete head; 0 or the status to refuse with. */
static int http_conn_new_req(struct http_conn *hc, const char *data,
			     size_t len)
{
	struct http_req *r = mem_alloc(sizeof(*r) + len);
	int status;

	if (r == NULL)
		return 503;
	memset(r, 0, offsetof(struct http_req, headers));
	memcpy(r->data, data, len);
	(void)evbuffer_drain(conn_input(hc->conn), len);
	status = http_head_parse(r->data, len, &r->head, r->headers);
	if (status != 0) {
		mem_free(r);
		return status;
	}
	r->hc = hc;
	r->close = !r->head.keep_alive;
	http_body_init(&hc->body, &r->head);
	hc->continued = !r->head.expect_continue;
	hc->drained = 0;
	hc->req = r;
	return 0;
}

/* HEAD: true when the state changed. */
static bool http_conn_step_head(struct http_conn *hc)
{
	struct evbuffer *in = conn_input(hc->conn);
	const char *data;
	int n;

	/* answers nobody takes: no more requests */
	if (conn_out_full(hc->conn))
		return false;
	if (!hc->mid_head && evbuffer_get_length(in) > 0) {
		http_conn_skip_crlf(in);
		hc->mid_head = true;
		http_conn_touch(hc);
	}
	n = evbuffer_get_length(in) > 0 ? http_conn_find_head(hc, &data) : 0;
	if (n == 0) {
		if (!hc->eof)
			return false;
		/* a head cut short gets no answer */
		http_conn_close(hc);
		return true;
	}
	hc->mid_head = false;
	hc->scanned = 0;
	if (n > 0)
		n = -http_conn_new_req(hc, data, (size_t)n);
	if (n < 0) {
		http_conn_refuse(hc, -n);
		return true;
	}
	hc->state = HTTP_CONN_REQUEST;
	http_conn_touch(hc);
	hc->hl->server->handler.on_request(hc->hl->server->handler.arg,
					   hc->req);
	return true;
}

/* --- request bodies --- */

/* Moves what came to the handler's buffer; 0 or -errno. */
static int http_conn_feed(struct http_conn *hc, size_t *ret_moved)
{
	int rv;

	*ret_moved = 0;
	if (hc->body.state == HTTP_BODY_DONE)
		return 0;
	if (hc->in == NULL) {
		hc->in = evbuffer_new();
		if (hc->in == NULL)
			return -ENOMEM;
	}
	if (evbuffer_get_length(hc->in) >= HTTP_BODY_HELD)
		return 0;
	rv = http_body_take(&hc->body, conn_input(hc->conn), hc->in,
			    HTTP_BODY_STEP, ret_moved);
	hc->req->bytes_in += *ret_moved;
	return rv;
}

/* The body failed: nobody can tell where the next request starts. */
static void http_conn_body_failed(struct http_conn *hc, int err)
{
	bool answer = hc->req->reply == HTTP_REPLY_NONE && err == -EBADMSG;

	http_conn_abort_req(hc, err);
	if (answer)
		http_conn_refuse(hc, 400);
	else
		hc->state = HTTP_CONN_DEAD;
}

/* REQUEST, the handler wants its body: true when something happened. */
static bool http_conn_step_body(struct http_conn *hc)
{
	const struct http_handler *h = &hc->hl->server->handler;
	struct http_req *r = hc->req;
	size_t moved;
	int rv;

	rv = http_conn_feed(hc, &moved);
	if (hc->in != NULL && evbuffer_get_length(hc->in) > 0 &&
	    (moved > 0 || !r->offered)) {
		r->offered = true;
		h->on_body(r, hc->in);
		/* a framing error behind these bytes is found again */
		if (rv == 0 || r->reply >= HTTP_REPLY_ENDED)
			return true;
	}
	if (rv != 0) {
		http_conn_body_failed(hc, rv);
		return true;
	}
	if (hc->body.state != HTTP_BODY_DONE) {
		if (hc->eof && moved == 0 &&
		    evbuffer_get_length(conn_input(hc->conn)) == 0) {
			http_conn_body_failed(hc, -ECONNRESET);
			return true;
		}
		return moved > 0;
	}
	if (hc->in != NULL && evbuffer_get_length(hc->in) > 0)
		return false;
	r->end_told = true;
	h->on_body_end(r);
	return true;
}

bool http_conn_must_close(const struct http_conn *hc)
{
	if (hc->eof || hc->body.state == HTTP_BODY_DONE)
		return false;
	/* 100 Continue never went out: the client may send it or not */
	if (!hc->continued)
		return true;
	return hc->body.left > HTTP_DRAIN_MAX;
}

/* The response is complete. */
static void http_conn_finish(struct http_conn *hc)
{
	bool close = hc->req->close || http_conn_must_close(hc);

	http_conn_free_req(hc);
	http_conn_touch(hc);
	if (close)
		http_conn_close(hc);
	else if (hc->body.state != HTTP_BODY_DONE)
		hc->state = HTTP_CONN_DRAIN;
	else
		hc->state = HTTP_CONN_HEAD;
}

static bool http_conn_step_request(struct http_conn *hc)
{
	struct http_req *r = hc->req;

	if (r->reply == HTTP_REPLY_CUT) {
		http_conn_free_req(hc);
		hc->state = HTTP_CONN_DEAD;
		return true;
	}
	if (r->reply == HTTP_REPLY_ENDED) {
		http_conn_finish(hc);
		return true;
	}
	if (r->reading && !r->paused && !r->end_told)
		return http_conn_step_body(hc);
	return false;
}

/* DRAIN: what the client still sends of a body nobody wants. */
static bool http_conn_step_drain(struct http_conn *hc)
{
	size_t moved;
	int rv = http_body_take(&hc->body, conn_input(hc->conn), NULL,
				SIZE_MAX, &moved);

	hc->drained += moved;
	if (rv == 0 && hc->body.state == HTTP_BODY_DONE) {
		hc->state = HTTP_CONN_HEAD;
		http_conn_touch(hc);
		return true;
	}
	if (rv != 0 || hc->eof || hc->drained > HTTP_DRAIN_MAX) {
		http_conn_close(hc);
		return true;
	}
	return false;
}

/* --- the machine --- */

/*
 * Reading goes on while somebody wants the bytes, and otherwise until a little
 * has piled up: most requests never touch the poll set.
 */
static void http_conn_set_reading(struct http_conn *hc)
{
	size_t len = evbuffer_get_length(conn_input(hc->conn));
	const struct http_req *r = hc->req;
	bool want = true;

	if (hc->state == HTTP_CONN_REQUEST) {
		want = r->reading && !r->paused &&
		       hc->body.state != HTTP_BODY_DONE &&
		       (hc->in == NULL ||
			evbuffer_get_length(hc->in) < HTTP_BODY_HELD);
	} else if (hc->state == HTTP_CONN_HEAD) {
		want = !conn_out_full(hc->conn);
	}
	if (want || len < HTTP_INPUT_IDLE)
		conn_resume_read(hc->conn);
	else
		conn_pause_read(hc->conn);
}

static bool http_conn_step_once(struct http_conn *hc)
{
	switch (hc->state) {
	case HTTP_CONN_HEAD:
		return http_conn_step_head(hc);
	case HTTP_CONN_REQUEST:
		return http_conn_step_request(hc);
	case HTTP_CONN_DRAIN:
		return http_conn_step_drain(hc);
	case HTTP_CONN_CLOSING:
	case HTTP_CONN_DEAD:
		break;
	}
	return false;
}

static void http_conn_step(struct http_conn *hc)
{
	if (hc->stepping)
		return;
	hc->stepping = true;
	loop_hook_del(hc->hl->loop, &hc->hook);
	while (http_conn_step_once(hc))
		;
	if (hc->state == HTTP_CONN_DEAD) {
		http_conn_destroy(hc);
		return;
	}
	hc->stepping = false;
	if (hc->state != HTTP_CONN_CLOSING)
		http_conn_set_reading(hc);
}

static void http_conn_on_read(struct conn *c, void *arg)
{
	(void)c;
	http_conn_step(arg);
}

/* Memory of the handler for a part of the body that is not in a buffer. */
static uint8_t *http_conn_on_room(struct conn *c, void *arg, size_t *ret_len)
{
	struct http_conn *hc = arg;
	struct http_req *r = hc->req;
	uint8_t *p;

	(void)c;
	if (hc->state != HTTP_CONN_REQUEST || !r->reading || r->paused ||
	    hc->body.state != HTTP_BODY_PLAIN ||
	    hc->body.left < HTTP_DIRECT_MIN ||
	    hc->hl->server->handler.on_room == NULL ||
	    (hc->in != NULL && evbuffer_get_length(hc->in) > 0))
		return NULL;
	p = hc->hl->server->handler.on_room(r, ret_len);
	if (p != NULL && *ret_len > hc->body.left)
		*ret_len = (size_t)hc->body.left;
	return p;
}

static void http_conn_on_direct(struct conn *c, void *arg, size_t n)
{
	struct http_conn *hc = arg;

	(void)c;
	hc->body.left -= n;
	if (hc->body.left == 0)
		hc->body.state = HTTP_BODY_DONE;
	hc->req->bytes_in += n;
	hc->stepping = true;
	hc->hl->server->handler.on_direct(hc->req, n);
	hc->stepping = false;
	http_conn_step(hc);
}

static void http_conn_on_drain(struct conn *c, void *arg)
{
	struct http_conn *hc = arg;
	struct http_req *r = hc->req;

	(void)c;
	hc->stepping = true;
	if (r != NULL && r->reply == HTTP_REPLY_BODY)
		hc->hl->server->handler.on_drain(r);
	hc->stepping = false;
	http_conn_step(hc);
}

static void http_conn_on_close(struct conn *c, void *arg, int err)
{
	struct http_conn *hc = arg;

	(void)c;
	if (err != 0 || hc->state == HTTP_CONN_CLOSING) {
		http_conn_lose(hc, err != 0 ? err : -ECONNRESET);
		return;
	}
	hc->eof = true;
	http_conn_step(hc);
}

static const struct conn_cbs http_conn_cbs = {
	.on_read = http_conn_on_read,
	.on_drain = http_conn_on_drain,
	.on_close = http_conn_on_close,
	.on_room = http_conn_on_room,
	.on_direct = http_conn_on_direct,
};

void http_conn_accept(struct http_loop *hl, int fd)
{
	struct http_conn *hc = mem_zalloc(sizeof(*hc));
	struct conn *c = NULL;
	int rv;

	if (hc == NULL) {
		/* conn_new() closes what it cannot serve; so do we */
		rv = conn_new(hl->loop, fd, &http_conn_cbs, NULL, &c);
		if (rv == 0)
			conn_free(c);
		return;
	}
	rv = conn_new(hl->loop, fd, &http_conn_cbs, hc, &hc->conn);
	if (rv != 0) {
		mem_free(hc);
		return;
	}
	hc->hl = hl;
	hc->hook.run = http_conn_on_hook;
	buf_init(&hc->head, 0);
	TAILQ_INSERT_TAIL(&hl->conns, hc, link);
	http_conn_touch(hc);
	hc->out_since_ns = hc->since_ns;
}

/* --- deadlines --- */

/* Whether the peer takes what we have for it. */
static bool http_conn_write_late(struct http_conn *hc, uint64_t now)
{
	size_t len = evbuffer_get_length(conn_output(hc->conn));
	uint64_t out = hc->req != NULL ? hc->req->bytes_out : 0;

	if (len == 0 || len != hc->out_len || out != hc->out_bytes) {
		hc->out_len = len;
		hc->out_bytes = out;
		hc->out_since_ns = now;
		return false;
	}
	return now - hc->out_since_ns > hc->hl->server->limits.write;
}

/* Whether a wanted body comes too slowly. */
static bool http_conn_body_late(struct http_conn *hc, uint64_t now)
{
	const struct http_limits *lim = &hc->hl->server->limits;
	uint64_t in = hc->req->bytes_in - hc->since_bytes;

	if (!hc->req->reading || hc->req->paused ||
	    hc->body.state == HTTP_BODY_DONE ||
	    (hc->in != NULL && evbuffer_get_length(hc->in) > 0)) {
		hc->since_ns = now;
		hc->since_bytes = hc->req->bytes_in;
		return false;
	}
	if (now - hc->since_ns < lim->window)
		return false;
	hc->since_ns = now;
	hc->since_bytes = hc->req->bytes_in;
	return in < lim->window_bytes;
}

void http_conn_check(struct http_conn *hc, uint64_t now)
{
	const struct http_limits *lim = &hc->hl->server->limits;
	uint64_t waited = now - hc->since_ns;
	bool late = false;

	switch (hc->state) {
	case HTTP_CONN_HEAD:
		late = waited > (hc->mid_head ? lim->head : lim->idle);
		break;
	case HTTP_CONN_REQUEST:
		late = http_conn_body_late(hc, now);
		break;
	case HTTP_CONN_DRAIN:
		late = waited > lim->head;
		break;
	case HTTP_CONN_CLOSING:
	case HTTP_CONN_DEAD:
		return; /* conn has a deadline of its own */
	}
	if (late || http_conn_write_late(hc, now))
		http_conn_lose(hc, -ETIMEDOUT);
}
