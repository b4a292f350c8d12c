#ifndef TESTS_UNIT_GWFAKE_H
#define TESTS_UNIT_GWFAKE_H
/*
 * The gateway alone: fakes of the HTTP server and of the client stand in for
 * common/http and common/client at link time. A test hands in a head and body
 * bytes, sees the calls that come out, answers them, and looks at what was
 * replied. Everything happens on one thread, over a minienv.
 */
#include "common/client/client.h"
#include "common/http/http.h"

#include "tests/lib/minienv.h"

#include "gateway/gw.h"

#define FAKE_ACCESS "AKIAFAKE"
#define FAKE_SECRET "fake-secret"
#define FAKE_CALLS 64
#define FAKE_TEXT 4096

/* One request and what was answered. */
struct fake_http {
	struct http_head head;
	struct http_header headers[HTTP_HEADERS_MAX];
	char *data;
	void *user;
	struct buf in;      /* body bytes not yet taken */
	bool reading, paused, close, full;
	bool freed;         /* on_free was called */
	unsigned begun;     /* how often an answer was begun */
	unsigned status;
	struct buf lines;   /* "Name: value\n" of the answer */
	int64_t promised;   /* body length */
	struct buf out;     /* body */
	unsigned ended, aborted;
};

/* A call that waits for its answer. */
struct fake_call {
	bool used;
	uint16_t tag;
	struct buf payload;
	rpc_done_fn done;
	void *arg;
};

struct fake {
	struct minienv *env;
	struct loop_set *set;
	struct gateway g;
	struct gw_loop l;
	struct cluster *cluster; /* what client_cluster() gives */
	struct fake_call calls[FAKE_CALLS];
	unsigned sent;           /* calls ever sent */
	unsigned refreshes;
	bool is_short;           /* of memory */
	bool hold;               /* workers and tasks wait for fake_run() */
	/* the one slice or read under way */
	struct client_slice *slice;
	unsigned slices_named;
	struct client_read *read;
};
extern struct fake fake;
void fake_run(void);

void fake_start(void);
void fake_stop(void);
/* The snapshot: user "me" with FAKE_ACCESS, bucket "bkt"; other: one more of
 * someone else, "theirs". */
struct cluster *fake_cluster(void);

/* A signed request. headers: "Name: value\r\n"...; body_len: Content-Length,
 * -1 none. */
struct fake_http *fake_request(const char *method, const char *path,
			       const char *query, const char *headers,
			       int64_t body_len);
/* Its text only; and a request from text as it is. */
void fake_request_text(char out[FAKE_TEXT], const char *method,
		       const char *path, const char *query,
		       const char *headers, int64_t body_len);
struct fake_http *fake_request_raw(const char *text);
void fake_body(struct fake_http *h, const void *data, size_t len);
/* Body bytes past the buffer where the gateway has room, else as above. */
void fake_direct(struct fake_http *h, const void *data, size_t len);
void fake_body_end(struct fake_http *h);
/* The connection dies. */
void fake_abort(struct fake_http *h);
/* What the server does behind an ended answer; frees h. */
void fake_done(struct fake_http *h);

/* The only call under way with that tag, or NULL. */
struct fake_call *fake_find(uint16_t tag);
unsigned fake_pending(void);
/* Answers; encode as of rpc_*_rsp_encode, rsp NULL: an empty OK or `status`. */
void fake_answer(struct fake_call *c, uint32_t status, const struct buf *rsp,
		 struct body *body);

/* Slices: bytes added; then the end with a status. */
size_t fake_slice_len(void);
bool fake_slice_finishing(void);
void fake_slice_done(uint32_t status);
/* Reads: hands out bytes; then the end. */
void fake_read_data(const void *data, size_t len);
void fake_read_done(uint32_t status);

#endif
