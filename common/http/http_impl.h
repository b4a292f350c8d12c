#ifndef COMMON_HTTP_HTTP_IMPL_H
#define COMMON_HTTP_HTTP_IMPL_H
/*
 * Inside of common/http. Everything belongs to the connection's loop.
 *
 *   http_server -> http_loop (one per loop) -> http_conn -> http_req (0 or 1)
 */
#include <sys/queue.h>
#include <sys/types.h>

#include "common/base/buf.h"
#include "common/base/conn.h"
#include "common/base/env.h"
#include "common/base/loop_hook.h"
#include "common/http/http.h"

struct http_conn;

/* Waits, in nanoseconds; a test may shorten them before the first request. */
struct http_limits {
	uint64_t tick;   /* how often deadlines are looked at */
	uint64_t head;   /* first byte of a head to its end */
	uint64_t idle;   /* no request */
	uint64_t window; /* a wanted body must bring window_bytes in it */
	uint64_t window_bytes;
	uint64_t write;  /* the peer takes nothing of what we have for it */
};

struct http_loop {
	struct http_server *server; /* borrowed */
	struct loop *loop;          /* borrowed */
	struct conn_listener *listener;
	TAILQ_HEAD(, http_conn) conns;
	struct env_timer tick;
	uint64_t now_ns;  /* of the last tick: cheap, exact enough */
	int64_t date_sec; /* second that `date` shows */
	char date[32];
};

struct http_server {
	struct http_handler handler;
	struct http_limits limits;
	unsigned port;
	unsigned n_loops;
	struct http_loop loops[];
};

/* How far the framing of a request body is read. */
struct http_body {
	enum {
		HTTP_BODY_PLAIN,    /* Content-Length: left bytes to come */
		HTTP_BODY_SIZE,     /* chunked: a size line comes */
		HTTP_BODY_DATA,     /* chunked: left bytes of this chunk */
		HTTP_BODY_DATA_END, /* chunked: the CRLF behind it */
		HTTP_BODY_TRAILER,  /* chunked: trailer lines */
		HTTP_BODY_DONE,
	} state;
	uint64_t left;
	size_t trailers; /* bytes of trailer lines */
};

void http_body_init(struct http_body *b, const struct http_head *head);
/*
 * Moves at most max body bytes from in to out (NULL: away). 0, -EBADMSG for
 * bad framing, -ENOMEM.
 */
int http_body_take(struct http_body *b, struct evbuffer *in,
		   struct evbuffer *out, size_t max, size_t *ret_moved);

enum http_reply_state {
	HTTP_REPLY_NONE,  /* begin may be called (again) */
	HTTP_REPLY_BODY,  /* the head is out */
	HTTP_REPLY_ENDED, /* complete: the request is freed at the next step */
	HTTP_REPLY_CUT,   /* http_reply_abort(), or out of memory */
};

struct http_req {
	struct http_conn *hc; /* owner */
	void *user;           /* the handler's */
	struct http_head head;
	bool reading;    /* http_read_body() was called */
	bool paused;     /* http_pause() */
	bool offered;    /* all of the body buffer was seen by on_body */
	bool end_told;   /* on_body_end was called */
	bool close;      /* close after this response */
	bool bodyless;   /* HEAD, 204, 304: head only */
	bool unsized;    /* 204, 304: no framing headers */
	bool chunked;    /* the response is */
	enum http_reply_state reply;
	int64_t out_left; /* bytes the response head promised; -1: open */
	uint64_t bytes_in;
	uint64_t bytes_out;
	struct http_header headers[HTTP_HEADERS_MAX];
	char data[]; /* the head, copied */
};

struct http_conn {
	TAILQ_ENTRY(http_conn) link;
	struct http_loop *hl; /* borrowed */
	struct conn *conn;
	struct loop_hook hook; /* a step is due */
	struct http_req *req;  /* NULL between requests */
	enum {
		HTTP_CONN_HEAD,    /* waiting for, or reading, a head */
		HTTP_CONN_REQUEST, /* req is served */
		HTTP_CONN_DRAIN,   /* the rest of an unread body is skipped */
		HTTP_CONN_CLOSING, /* output first, then on_close frees */
		HTTP_CONN_DEAD,    /* freed at the end of the step */
	} state;
	bool eof;      /* the peer sends no more */
	bool stepping; /* inside http_conn_step() */
	bool mid_head; /* the first bytes of a head are here */
	bool continued; /* 100 Continue was sent, or not asked for */
	size_t scanned;        /* input bytes without the end of a head */
	size_t drained;        /* of an unread body */
	struct http_body body; /* framing of the request's body */
	struct evbuffer *in;   /* body bytes for on_body; made when needed */
	struct buf head;       /* response head being built; memory kept */
	uint64_t since_ns;     /* start of this state or window */
	uint64_t since_bytes;  /* bytes_in at since_ns */
	uint64_t out_since_ns; /* last progress of the output */
	size_t out_len;        /* output length then */
	uint64_t out_bytes;    /* bytes_out then */
};

bool http_is_token(const void *p, size_t len);
/* No control characters but tabs. */
bool http_is_text(struct wire_bytes b);
/* Header or method names: without case. */
bool http_is_name(struct wire_bytes b, const char *name);

/* Takes fd. */
void http_conn_accept(struct http_loop *hl, int fd);
/* Looks at the deadlines; hc may be gone afterwards. */
void http_conn_check(struct http_conn *hc, uint64_t now);
/* Ends the request, closes, frees. Server stop. */
void http_conn_kill(struct http_conn *hc);
/* Something changed that on_request's caller must look at. */
void http_conn_wake(struct http_conn *hc);
/* True when the request's body will not be read to its end cheaply. */
bool http_conn_must_close(const struct http_conn *hc);

#endif
