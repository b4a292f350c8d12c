#ifndef COMMON_HTTP_HTTP_H
#define COMMON_HTTP_HTTP_H
/*
 * A strict HTTP/1.1 server connection (RFC 9112) over common/base/conn.
 *
 * The head is parsed only when it is complete; refused: both Content-Length
 * and Transfer-Encoding, duplicates of them or of Host, obs-fold, bare LF,
 * space before the colon, control bytes, any Transfer-Encoding but `chunked`,
 * heads over the limits. After a refusal the connection is closed.
 *
 * One request at a time per connection; pipelined ones wait in the input.
 * Bodies are streamed both ways with bounded memory: on_body gets evbuffers,
 * http_pause/http_resume stop and go on reading; the response is written with
 * http_reply_* and throttled with http_out_full()/on_drain.
 *
 * A request object lives until http_req_free-time: after its response ended
 * and its body was read (or the connection died): on_free is the last call.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/wire/wire.h"

struct evbuffer;
struct http_server;
struct http_req;
struct loop;
struct loop_set;

#define HTTP_HEAD_MAX (16u << 10)
#define HTTP_HEADERS_MAX 100
#define HTTP_URI_MAX (8u << 10)

struct http_header {
	struct wire_bytes name;  /* as sent; compare without case */
	struct wire_bytes value; /* trimmed */
};

/* Borrowed views; valid for the life of the request. */
struct http_head {
	struct wire_bytes method;
	struct wire_bytes target;   /* as sent */
	struct wire_bytes path;     /* raw, percent-encoded, before '?' */
	struct wire_bytes query;    /* raw, behind '?', may be empty */
	struct http_header *headers;
	unsigned n_headers;
	int64_t content_length;     /* -1: none */
	bool chunked;
	bool expect_continue;
	bool keep_alive;
	unsigned minor;             /* HTTP/1.minor */
};

struct http_handler {
	/* Head complete. The handler sets req's user pointer; it may reply at
	 * once, or read the body (http_read_body) and reply later. */
	void (*on_request)(void *arg, struct http_req *r);
	/* Body bytes: drain what you take from buf; what stays is offered again
	 * after http_resume(). */
	void (*on_body)(struct http_req *r, struct evbuffer *buf);
	/*
	 * More of the body is there: where up to *ret_len bytes of it shall go
	 * past the buffer, or NULL; on_direct tells how many came. Must change
	 * nothing else. Both may be NULL.
	 */
	uint8_t *(*on_room)(struct http_req *r, size_t *ret_len);
	void (*on_direct)(struct http_req *r, size_t n);
	/* The whole body was read, or there is none (http_read_body() only).
	 * Not after the response ended. */
	void (*on_body_end)(struct http_req *r);
	void (*on_drain)(struct http_req *r);
	/* The connection died before the response ended (body cut, reset,
	 * deadline). on_free follows. */
	void (*on_abort)(struct http_req *r, int err);
	/* Last call: release the user pointer. */
	void (*on_free)(struct http_req *r);
	void *arg;
};

/* Listens on addr on every loop of set. 0 or -errno. */
int http_server_new(struct loop_set *set, const char *addr,
		    const struct http_handler *handler,
		    struct http_server **ret_server);
/* The same on one loop only: handlers that live on a single loop. */
int http_server_new_on(struct loop *loop, const char *addr,
		       const struct http_handler *handler,
		       struct http_server **ret_server);
unsigned http_server_port(const struct http_server *s);
/* After the loops have stopped, before what the handler uses is freed:
 * requests under way end with on_abort(-ECANCELED) and on_free. */
void http_server_free(struct http_server *s);

const struct http_head *http_head(const struct http_req *r);
void http_set_user(struct http_req *r, void *user);
void *http_user(const struct http_req *r);
struct loop *http_loop(const struct http_req *r);
const char *http_peer(const struct http_req *r);
/* Value of a header, or NULL; the first when there are several. */
const struct wire_bytes *http_find(const struct http_req *r, const char *name);

/*
 * Body bytes of on_body without libevent: the first contiguous run (0 when
 * empty), and taking n bytes off the front.
 */
size_t http_body_peek(struct evbuffer *buf, const uint8_t **ret_data);
void http_body_drain(struct evbuffer *buf, size_t n);

/* Starts the body: sends 100 Continue when it was expected. Without it the
 * body is never asked for, and the connection is closed after the response
 * unless it was empty or small enough to drain. */
void http_read_body(struct http_req *r);
void http_pause(struct http_req *r);
void http_resume(struct http_req *r);

/*
 * Response. begin: status line; header adds (bytes < 0x20 and 0x7f in the
 * value make it fail: -EINVAL, header left out); body_len -1 = chunked.
 * Date, Server, Connection and Content-Length are added by end_head.
 */
void http_reply_begin(struct http_req *r, unsigned status);
int http_reply_header(struct http_req *r, const char *name,
		      struct wire_bytes value);
int http_reply_headerf(struct http_req *r, const char *name,
		       const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void http_reply_end_head(struct http_req *r, int64_t body_len);
/* Body bytes; copied, or by reference to a counted body. */
void http_reply_add(struct http_req *r, const void *data, size_t len);
struct body;
/* Takes a reference of its own when it needs one. */
void http_reply_add_body(struct http_req *r, struct body *b, uint32_t from,
			 uint32_t len);
bool http_out_full(const struct http_req *r);
/* For this response: full is what holds more than so many bytes. */
void http_set_out_high(struct http_req *r, size_t high);
void http_reply_end(struct http_req *r);
/* Cuts the connection without a proper end: the client sees a broken body.
 * on_free follows, without on_abort. */
void http_reply_abort(struct http_req *r);
/* Close after this response. */
void http_close_after(struct http_req *r);
bool http_reply_started(const struct http_req *r);
uint64_t http_bytes_in(const struct http_req *r);
uint64_t http_bytes_out(const struct http_req *r);

/*
 * The head parser alone (also the fuzz target). data holds the bytes up to
 * and including the empty line. 0, or the HTTP status to refuse with.
 */
int http_head_parse(char *data, size_t len, struct http_head *head,
		    struct http_header headers[HTTP_HEADERS_MAX]);

/* --- client, blocking: leofs-adm and tests --- */
struct http_response {
	unsigned status;
	char *head;
	char *body;
	size_t body_len;
};
/* url: http://HOST:PORT/path. 0 or -errno. */
int http_fetch(const char *method, const char *url, const char *const *headers,
	       const void *body, size_t len, struct http_response *ret);
void http_response_fini(struct http_response *r);

#endif
