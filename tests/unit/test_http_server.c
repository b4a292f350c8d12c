/*
 * The HTTP server on real loops, against a client on a thread that speaks raw
 * bytes. The handler keeps count: each request ends with exactly one on_free.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>

#include "common/base/buf.h"
#include "common/base/loop.h"
#include "common/base/mem.h"
#include "common/http/http_impl.h"
#include "tests/lib/fault.h"

#define MS 1000000ull
#define PIECE (256u << 10)

/* --- the handler --- */

struct job {
	struct http_req *r;
	struct env_timer timer;
	uint64_t left; /* response bytes still to add */
	uint64_t in;
	uint32_t sum;
	bool slow;     /* pauses at every piece */
	bool paused;
	bool direct;   /* has room for what comes */
	uint8_t room[30000];
};

static struct {
	struct loop_set *set;
	struct http_server *server;
	atomic_uint requests, frees, aborts, ends, directs;
	atomic_int abort_err;
	atomic_size_t max_in, max_out; /* largest buffers seen */
	struct body *body;
} fx;

static uint32_t sum_bytes(uint32_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum = sum * 31 + p[i];
	return sum;
}

static void note_max(atomic_size_t *max, size_t v)
{
	if (v > atomic_load(max))
		atomic_store(max, v);
}

static void job_pump(struct job *j)
{
	while (j->left > 0 && !http_out_full(j->r)) {
		uint32_t n = j->left < PIECE ? (uint32_t)j->left : PIECE;

		http_reply_add_body(j->r, fx.body, 0, n);
		j->left -= n;
		note_max(&fx.max_out, evbuffer_get_length(
					      conn_output(j->r->hc->conn)));
	}
	if (j->left == 0)
		http_reply_end(j->r);
}

static void job_text(struct job *j, unsigned status, const char *text)
{
	http_reply_begin(j->r, status);
	(void)http_reply_headerf(j->r, "X-Test", "%s", "1");
	assert(http_reply_header(j->r, "X-Bad", wire_bytes("a\nb", 3)) ==
	       -EINVAL);
	http_reply_end_head(j->r, (int64_t)strlen(text));
	http_reply_add(j->r, text, strlen(text));
	http_reply_end(j->r);
}

static void job_stream(struct job *j, bool chunked)
{
	const char *path = (const char *)http_head(j->r)->path.p;

	j->left = strtoull(strchr(path, '-') + 1, NULL, 10);
	http_reply_begin(j->r, 200);
	http_reply_end_head(j->r, chunked ? -1 : (int64_t)j->left);
	job_pump(j);
}

static void job_on_timer(struct env_timer *timer)
{
	struct job *j = CONTAINER_OF(timer, struct job, timer);

	if (j->paused) {
		j->paused = false;
		http_resume(j->r);
	} else {
		job_text(j, 200, "late");
	}
}

static void on_request(void *arg, struct http_req *r)
{
	struct job *j = calloc(1, sizeof(*j));
	const struct http_head *h = http_head(r);
	const char *path = (const char *)h->path.p;

	assert(arg == &fx);
	j->r = r;
	j->timer.cb = job_on_timer;
	http_set_user(r, j);
	atomic_fetch_add(&fx.requests, 1);
	if (strncmp(path, "/size-", 6) == 0) {
		job_stream(j, false);
	} else if (strncmp(path, "/chunked-", 9) == 0) {
		job_stream(j, true);
	} else if (strncmp(path, "/early", 6) == 0) {
		job_text(j, 403, "early");
	} else if (strncmp(path, "/empty", 6) == 0) {
		http_reply_begin(r, 204);
		http_reply_end_head(r, 0);
		http_reply_end(r);
	} else if (strncmp(path, "/late", 5) == 0) {
		env_timer_set(loop_env(http_loop(r)), &j->timer, 5 * MS);
	} else if (strncmp(path, "/cut", 4) == 0) {
		http_reply_begin(r, 200);
		http_reply_end_head(r, 1000);
		http_reply_add(r, "abc", 3);
		http_reply_abort(r);
	} else if (strncmp(path, "/short", 6) == 0) {
		http_reply_begin(r, 200);
		http_reply_end_head(r, 1000);
		http_reply_add(r, "abc", 3);
		http_reply_end(r);
	} else if (strncmp(path, "/close", 6) == 0) {
		http_close_after(r);
		job_text(j, 200, "bye");
	} else if (strncmp(path, "/hang", 5) != 0) {
		j->slow = strncmp(path, "/slow", 5) == 0;
		j->direct = strncmp(path, "/direct", 7) == 0;
		http_read_body(r);
		assert(j->in == 0); /* never inside the call */
	}
}

static void on_body(struct http_req *r, struct evbuffer *buf)
{
	struct job *j = http_user(r);
	const uint8_t *p;
	size_t n;

	note_max(&fx.max_in, evbuffer_get_length(buf) +
				     evbuffer_get_length(
					     conn_input(r->hc->conn)));
	while ((n = http_body_peek(buf, &p)) > 0) {
		if (j->slow && n > 1000)
			n = 1000;
		j->sum = sum_bytes(j->sum, p, n);
		j->in += n;
		http_body_drain(buf, n);
		if (j->slow) {
			j->paused = true;
			http_pause(r);
			env_timer_set(loop_env(http_loop(r)), &j->timer,
				      100000);
			return;
		}
	}
}

static uint8_t *on_room(struct http_req *r, size_t *ret_len)
{
	struct job *j = http_user(r);

	*ret_len = sizeof(j->room);
	return j->direct ? j->room : NULL;
}

static void on_direct(struct http_req *r, size_t n)
{
	struct job *j = http_user(r);

	atomic_fetch_add(&fx.directs, 1);
	j->sum = sum_bytes(j->sum, j->room, n);
	j->in += n;
	if (j->in % 3 == 0) {
		j->paused = true;
		http_pause(r);
		env_timer_set(loop_env(http_loop(r)), &j->timer, 100000);
	}
}

static void on_body_end(struct http_req *r)
{
	struct job *j = http_user(r);
	char text[64];

	atomic_fetch_add(&fx.ends, 1);
	(void)snprintf(text, sizeof(text), "%" PRIu64 " %08x", j->in, j->sum);
	job_text(j, 200, text);
}

static void on_drain(struct http_req *r)
{
	struct job *j = http_user(r);

	if (j->left > 0)
		job_pump(j);
}

static void on_abort(struct http_req *r, int err)
{
	(void)r;
	atomic_store(&fx.abort_err, err);
	atomic_fetch_add(&fx.aborts, 1);
}

static void on_free(struct http_req *r)
{
	struct job *j = http_user(r);

	env_timer_cancel(loop_env(http_loop(r)), &j->timer);
	free(j);
	atomic_fetch_add(&fx.frees, 1);
}

static const struct http_handler handler = {
	.on_request = on_request,
	.on_body = on_body,
	.on_room = on_room,
	.on_direct = on_direct,
	.on_body_end = on_body_end,
	.on_drain = on_drain,
	.on_abort = on_abort,
	.on_free = on_free,
	.arg = &fx,
};

/* --- the client --- */

/* A failure on the client's thread, told by the test when it is joined. */
static char client_error[512];
#define CHECK(cond) \
	do { \
		if (!(cond) && client_error[0] == '\0') \
			(void)snprintf(client_error, sizeof(client_error), \
				       "line %d: %s", __LINE__, #cond); \
	} while (0)

static int cl_connect(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	const struct timeval tv = { 20, 0 };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	in.sin_port = htons((uint16_t)http_server_port(fx.server));
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(connect(fd, (struct sockaddr *)&in, sizeof(in)) == 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	return fd;
}

static bool cl_send(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static bool cl_puts(int fd, const char *s)
{
	return cl_send(fd, s, strlen(s));
}

/* Reads until `n` times `what` was seen, or the end; NUL-terminated. */
static char *cl_until(int fd, const char *what, int n)
{
	static char text[65536];
	size_t len = 0;

	text[0] = '\0';
	while (len < sizeof(text) - 1) {
		const char *p = text;
		ssize_t got;
		int seen = 0;

		while ((p = strstr(p, what)) != NULL) {
			p += strlen(what);
			seen++;
		}
		if (seen >= n)
			break;
		got = recv(fd, text + len, sizeof(text) - 1 - len, 0);
		if (got <= 0)
			break;
		len += (size_t)got;
		text[len] = '\0';
	}
	return text;
}

static char *cl_to_end(int fd)
{
	return cl_until(fd, "\001", 1);
}

static uint64_t cl_count_to_end(int fd)
{
	static uint8_t trash[65536];
	uint64_t all = 0;
	ssize_t n;

	while ((n = recv(fd, trash, sizeof(trash), 0)) > 0)
		all += (uint64_t)n;
	return n == 0 ? all : UINT64_MAX;
}

static void (*client_fn)(void);

static void *client_main(void *arg)
{
	client_fn();
	loop_set_stop(fx.set);
	return arg;
}

static int fault_at = -1; /* -1: none */
static int fault_n;

/* Runs the client against a server of n loops. */
static void run_limits(unsigned n, void (*fn)(void),
		       const struct http_limits *limits)
{
	pthread_t thread;

	memset(&fx, 0, sizeof(fx));
	client_error[0] = '\0';
	client_fn = fn;
	fx.body = body_new(PIECE);
	memset(fx.body->data, 'd', PIECE);
	fx.body->len = PIECE;
	assert_int_equal(loop_set_new(n, 1, &fx.set), 0);
	assert_int_equal(http_server_new(fx.set, "127.0.0.1:0", &handler,
					 &fx.server), 0);
	assert_true(http_server_port(fx.server) != 0);
	if (limits != NULL)
		fx.server->limits = *limits;
	if (fault_at >= 0)
		fault_set(fault_at, fault_n);
	assert_int_equal(pthread_create(&thread, NULL, client_main, NULL), 0);
	loop_set_run(fx.set);
	pthread_join(thread, NULL);
	fault_clear();
	http_server_free(fx.server);
	loop_set_free(fx.set);
	assert_string_equal(client_error, "");
	assert_int_equal(fx.requests, fx.frees);
	assert_int_equal(fx.body->refs, 1);
	body_unref(fx.body);
}

static void run(void (*fn)(void))
{
	run_limits(1, fn, NULL);
	run_limits(3, fn, NULL);
}

/* --- plain requests --- */

static void cl_simple(void)
{
	int fd = cl_connect();
	char *t;

	CHECK(cl_puts(fd, "\r\nGET /early HTTP/1.1\r\nHost: h\r\n\r\n"));
	t = cl_until(fd, "early", 1);
	CHECK(strncmp(t, "HTTP/1.1 403 Forbidden\r\n", 24) == 0);
	CHECK(strstr(t, "\r\nX-Test: 1\r\n") != NULL);
	CHECK(strstr(t, "X-Bad") == NULL);
	CHECK(strstr(t, "\r\nContent-Length: 5\r\n") != NULL);
	CHECK(strstr(t, "\r\nDate: ") != NULL);
	CHECK(strstr(t, " GMT\r\n") != NULL);
	CHECK(strstr(t, "\r\nServer: LeoFS\r\n") != NULL);
	CHECK(strstr(t, "Connection:") == NULL);
	/* HEAD states the length and sends nothing */
	CHECK(cl_puts(fd, "HEAD /size-5000 HTTP/1.1\r\nHost: h\r\n\r\n"
			  "GET /empty HTTP/1.1\r\nHost: h\r\n\r\n"));
	t = cl_until(fd, "\r\n\r\n", 2);
	CHECK(strstr(t, "Content-Length: 5000\r\n") != NULL);
	t = strstr(t, "\r\n\r\n");
	CHECK(t != NULL && strncmp(t + 4, "HTTP/1.1 204 No Content\r\n", 25) ==
				   0);
	CHECK(t != NULL && strstr(t, "Content-Length") == NULL);
	CHECK(cl_puts(fd, "GET /late HTTP/1.1\r\nHost: h\r\n\r\n"));
	t = cl_until(fd, "\r\n\r\nlate", 1);
	CHECK(strstr(t, "200 OK") != NULL);
	/* body of nothing: on_body_end all the same */
	CHECK(cl_puts(fd, "PUT /sum HTTP/1.1\r\nHost: h\r\n\r\n"));
	t = cl_until(fd, "0 00000000", 1);
	CHECK(strstr(t, "0 00000000") != NULL);
	CHECK(cl_puts(fd, "GET /close HTTP/1.1\r\nHost: h\r\n\r\n"));
	t = cl_to_end(fd);
	CHECK(strstr(t, "\r\nConnection: close\r\n") != NULL);
	CHECK(strstr(t, "bye") != NULL);
	(void)close(fd);
}

static void test_simple(void **state)
{
	(void)state;
	run(cl_simple);
	assert_int_equal(fx.requests, 6);
	assert_int_equal(fx.aborts, 0);
}

static void cl_http10(void)
{
	int fd = cl_connect();
	char *t;

	CHECK(cl_puts(fd, "GET /early HTTP/1.0\r\nConnection: keep-alive\r\n"
			  "\r\n"));
	t = cl_until(fd, "early", 1);
	CHECK(strstr(t, "\r\nConnection: keep-alive\r\n") != NULL);
	CHECK(cl_puts(fd, "GET /chunked-10 HTTP/1.0\r\n\r\n"));
	t = cl_to_end(fd);
	CHECK(strstr(t, "chunked") == NULL);
	CHECK(strstr(t, "\r\n\r\ndddddddddd") != NULL);
	CHECK(strstr(t, "\r\nConnection: close\r\n") != NULL);
	(void)close(fd);
}

static void test_http10(void **state)
{
	(void)state;
	run(cl_http10);
}

static void cl_pipeline(void)
{
	static char req[1000 * 64];
	int fd = cl_connect();
	size_t n = 0;
	char *t;

	for (int i = 0; i < 100; i++)
		n += (size_t)sprintf(req + n,
				     "PUT /sum HTTP/1.1\r\nHost: h\r\n"
				     "Content-Length: 3\r\n\r\nabc");
	CHECK(cl_send(fd, req, n));
	t = cl_until(fd, "3 00017862", 100);
	CHECK(strlen(t) > 100 * 50);
	/* byte by byte */
	n = (size_t)sprintf(req, "PUT /sum HTTP/1.1\r\nHost: h\r\n"
				 "Transfer-Encoding: chunked\r\n\r\n"
				 "3\r\nabc\r\n0\r\n\r\n"
				 "GET /early HTTP/1.1\r\nHost: h\r\n\r\n");
	for (size_t i = 0; i < n; i++)
		CHECK(cl_send(fd, req + i, 1));
	t = cl_until(fd, "early", 1);
	CHECK(strstr(t, "3 00017862") != NULL);
	/* sent as one, ended by a half-close: all are answered */
	CHECK(cl_puts(fd, "GET /late HTTP/1.1\r\nHost: h\r\n\r\n"
			  "GET /size-10 HTTP/1.1\r\nHost: h\r\n\r\n"));
	(void)shutdown(fd, SHUT_WR);
	t = cl_to_end(fd);
	CHECK(strstr(t, "late") != NULL);
	CHECK(strstr(t, "dddddddddd") != NULL);
	(void)close(fd);
}

static void test_pipeline(void **state)
{
	(void)state;
	run(cl_pipeline);
	assert_int_equal(fx.requests, 104);
	assert_int_equal(fx.aborts, 0);
}

/* --- bodies --- */

enum { BIG = 100 << 20 };

static void cl_big(void)
{
	static uint8_t piece[1 << 20];
	uint32_t sum = 0;
	char text[128], *t;
	int fd = cl_connect();

	for (size_t i = 0; i < sizeof(piece); i++)
		piece[i] = (uint8_t)(i * 13 + i / 255);
	(void)snprintf(text, sizeof(text), "PUT /sum HTTP/1.1\r\nHost: h\r\n"
					   "Content-Length: %d\r\n\r\n", BIG);
	CHECK(cl_puts(fd, text));
	for (size_t n = 0; n < BIG; n += sizeof(piece)) {
		CHECK(cl_send(fd, piece, sizeof(piece)));
		sum = sum_bytes(sum, piece, sizeof(piece));
	}
	(void)snprintf(text, sizeof(text), "%d %08x", BIG, sum);
	t = cl_until(fd, text, 1);
	CHECK(strstr(t, text) != NULL);
	/* and back, twice: known length, chunked */
	(void)snprintf(text, sizeof(text),
		       "GET /size-%d HTTP/1.1\r\nHost: h\r\n"
		       "Connection: close\r\n\r\n", BIG);
	CHECK(cl_puts(fd, text));
	CHECK(cl_count_to_end(fd) - BIG < 400);
	(void)close(fd);
	fd = cl_connect();
	(void)snprintf(text, sizeof(text),
		       "GET /chunked-%d HTTP/1.1\r\nHost: h\r\n"
		       "Connection: close\r\n\r\n", BIG);
	CHECK(cl_puts(fd, text));
	CHECK(cl_count_to_end(fd) - BIG - 400 * 9 < 400);
	(void)close(fd);
}

static void test_big_with_bounded_memory(void **state)
{
	(void)state;
	run_limits(1, cl_big, NULL);
	print_message("# largest buffers: in %zu, out %zu KiB\n",
		      fx.max_in / 1024, fx.max_out / 1024);
	assert_true(fx.max_in <= (600u << 10));
	assert_true(fx.max_out <= (1u << 20) + 2 * PIECE);
	assert_int_equal(fx.aborts, 0);
}

static void cl_paused(void)
{
	static uint8_t piece[200000];
	char text[128], *t;
	int fd = cl_connect();

	memset(piece, 'p', sizeof(piece));
	(void)snprintf(text, sizeof(text), "PUT /slow HTTP/1.1\r\nHost: h\r\n"
					   "Content-Length: %zu\r\n\r\n",
		       sizeof(piece));
	CHECK(cl_puts(fd, text));
	CHECK(cl_send(fd, piece, sizeof(piece)));
	(void)snprintf(text, sizeof(text), "%zu %08x", sizeof(piece),
		       sum_bytes(0, piece, sizeof(piece)));
	t = cl_until(fd, text, 1);
	CHECK(strstr(t, text) != NULL);
	(void)close(fd);
}

static void test_pause(void **state)
{
	(void)state;
	run_limits(1, cl_paused, NULL);
}

/* Past the buffers, each followed by a request that must not go there. */
static void cl_direct(void)
{
	static const size_t sizes[] = { 1, 4095, 4096, 20000, 3000000 };
	uint8_t *data = malloc(3000000);
	char text[128], *t;
	int fd = cl_connect();

	for (size_t i = 0; i < 3000000; i++)
		data[i] = (uint8_t)(i * 5 + i / 999);
	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		(void)snprintf(text, sizeof(text),
			       "PUT /direct HTTP/1.1\r\nHost: h\r\n"
			       "Content-Length: %zu\r\n\r\n", sizes[k]);
		CHECK(cl_puts(fd, text));
		if (k % 2 == 0) /* head alone, then all of the body */
			usleep(2000);
		CHECK(cl_send(fd, data, sizes[k]));
		CHECK(cl_puts(fd, "GET /early HTTP/1.1\r\nHost: h\r\n\r\n"));
		t = cl_until(fd, "early", 1);
		(void)snprintf(text, sizeof(text), "%zu %08x", sizes[k],
			       sum_bytes(0, data, sizes[k]));
		CHECK(strstr(t, text) != NULL);
		CHECK(strstr(t, "403 Forbidden") != NULL);
	}
	free(data);
	(void)close(fd);
}

static void test_direct(void **state)
{
	(void)state;
	run(cl_direct);
	assert_int_equal(fx.aborts, 0);
	assert_int_equal(fx.ends, 5);
	assert_true(fx.directs >= 50);
}

static void cl_continue(void)
{
	int fd = cl_connect();
	char *t;

	CHECK(cl_puts(fd, "PUT /sum HTTP/1.1\r\nHost: h\r\n"
			  "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"));
	t = cl_until(fd, "\r\n\r\n", 1);
	CHECK(strcmp(t, "HTTP/1.1 100 Continue\r\n\r\n") == 0);
	CHECK(cl_puts(fd, "abc"));
	t = cl_until(fd, "3 00017862", 1);
	CHECK(strncmp(t, "HTTP/1.1 200 OK", 15) == 0);
	/* not waited for: no 100 needed */
	CHECK(cl_puts(fd, "PUT /sum HTTP/1.1\r\nHost: h\r\n"
			  "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
			  "abc"));
	t = cl_until(fd, "3 00017862", 1);
	CHECK(strncmp(t, "HTTP/1.1 200 OK", 15) == 0);
	/* refused before the body: no 100, and the connection ends */
	CHECK(cl_puts(fd, "PUT /early HTTP/1.1\r\nHost: h\r\n"
			  "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"));
	t = cl_to_end(fd);
	CHECK(strncmp(t, "HTTP/1.1 403 ", 13) == 0);
	CHECK(strstr(t, "Connection: close\r\n") != NULL);
	(void)close(fd);
}

static void test_continue(void **state)
{
	(void)state;
	run(cl_continue);
	assert_int_equal(fx.aborts, 0);
}

static void cl_unread(void)
{
	static char piece[1 << 20];
	int fd = cl_connect();
	char *t;

	memset(piece, 'u', sizeof(piece));
	/* small: skipped, the connection goes on */
	CHECK(cl_puts(fd, "PUT /early HTTP/1.1\r\nHost: h\r\n"
			  "Content-Length: 500000\r\n\r\n"));
	CHECK(cl_send(fd, piece, 500000));
	CHECK(cl_puts(fd, "PUT /early HTTP/1.1\r\nHost: h\r\n"
			  "Transfer-Encoding: chunked\r\n\r\n"
			  "3\r\nabc\r\n0\r\n\r\n"
			  "GET /size-3 HTTP/1.1\r\nHost: h\r\n\r\n"));
	t = cl_until(fd, "\r\n\r\nddd", 1);
	CHECK(strstr(t, "\r\n\r\nddd") != NULL);
	CHECK(strstr(t, "Connection: close") == NULL);
	/* large: answered, then closed; the answer is not lost in a reset */
	CHECK(cl_puts(fd, "PUT /early HTTP/1.1\r\nHost: h\r\n"
			  "Content-Length: 2000000\r\n\r\n"));
	(void)cl_send(fd, piece, 500000);
	t = cl_to_end(fd);
	CHECK(strstr(t, "403 Forbidden") != NULL);
	CHECK(strstr(t, "\r\nConnection: close\r\n") != NULL);
	(void)close(fd);
	/* endless chunks: at most 1 MiB is taken */
	fd = cl_connect();
	CHECK(cl_puts(fd, "PUT /early HTTP/1.1\r\nHost: h\r\n"
			  "Transfer-Encoding: chunked\r\n\r\n"));
	for (int i = 0; i < 10000; i++) {
		if (!cl_puts(fd, "10000\r\n") || !cl_send(fd, piece, 65536) ||
		    !cl_puts(fd, "\r\n"))
			break;
		if (i == 9999)
			CHECK(!"it took everything");
	}
	(void)close(fd);
}

static void test_unread_bodies(void **state)
{
	(void)state;
	run_limits(1, cl_unread, NULL);
	assert_int_equal(fx.requests, 5);
	assert_int_equal(fx.aborts, 0);
}

/* --- refusals and aborts --- */

static void cl_refused(void)
{
	static const struct {
		const char *text;
		const char *status;
	} bad[] = {
		{ "GET / HTTP/1.1\r\n\r\n", "400" },
		{ "GET / HTTP/1.1\nHost: h\n\n", "400" },
		{ "\n", "400" },
		{ "GET / HTTP/3.0\r\nHost: h\r\n\r\n", "505" },
		{ "PUT /sum HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n"
		  "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400" },
		{ "PUT /sum HTTP/1.1\r\nHost: h\r\n"
		  "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "400" },
		{ "GET /early HTTP/1.1\r\nHost: h\r\n\r\nbad\r\n\r\n", "400" },
	};
	static char big[100000];
	int fd;
	char *t;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char want[32];

		fd = cl_connect();
		CHECK(cl_puts(fd, bad[i].text));
		t = cl_to_end(fd);
		(void)snprintf(want, sizeof(want), "HTTP/1.1 %s ",
			       bad[i].status);
		CHECK(strstr(t, want) != NULL);
		CHECK(strstr(t, "\r\nContent-Length: 0\r\nConnection: close"
				"\r\n\r\n") != NULL);
		(void)close(fd);
	}
	memset(big, 'a', sizeof(big));
	memcpy(big, "GET /", 5);
	fd = cl_connect();
	CHECK(cl_send(fd, big, sizeof(big)));
	t = cl_to_end(fd);
	CHECK(strncmp(t, "HTTP/1.1 414 ", 13) == 0);
	(void)close(fd);
	memcpy(big, "GET / HTTP/1.1\r\nHost: h\r\nX: ", 29);
	fd = cl_connect();
	CHECK(cl_send(fd, big, sizeof(big)));
	t = cl_to_end(fd);
	CHECK(strncmp(t, "HTTP/1.1 431 ", 13) == 0);
	(void)close(fd);
}

static void test_refused(void **state)
{
	(void)state;
	run(cl_refused);
	/* only the bad chunk reached a handler */
	assert_int_equal(fx.requests, 2);
	assert_int_equal(fx.aborts, 1);
	assert_int_equal(fx.abort_err, -EBADMSG);
}

static void cl_wait_frees(unsigned n)
{
	for (int i = 0; i < 20000 && atomic_load(&fx.frees) < n; i++)
		usleep(1000);
	CHECK(atomic_load(&fx.frees) == n);
}

static void cl_aborts(void)
{
	const struct linger hard = { 1, 0 };
	int fd;

	/* body cut short */
	fd = cl_connect();
	CHECK(cl_puts(fd, "PUT /sum HTTP/1.1\r\nHost: h\r\n"
			  "Content-Length: 100\r\n\r\nabc"));
	(void)close(fd);
	cl_wait_frees(1);
	CHECK(atomic_load(&fx.aborts) == 1);
	/* chunked body cut short */
	fd = cl_connect();
	CHECK(cl_puts(fd, "PUT /sum HTTP/1.1\r\nHost: h\r\n"
			  "Transfer-Encoding: chunked\r\n\r\n5\r\nab"));
	(void)shutdown(fd, SHUT_WR);
	CHECK(cl_count_to_end(fd) == 0);
	(void)close(fd);
	cl_wait_frees(2);
	CHECK(atomic_load(&fx.aborts) == 2);
	/* reset while the handler works */
	fd = cl_connect();
	CHECK(cl_puts(fd, "GET /hang HTTP/1.1\r\nHost: h\r\n\r\n"));
	for (int i = 0; i < 20000 && atomic_load(&fx.requests) < 3; i++)
		usleep(1000);
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	(void)close(fd);
	cl_wait_frees(3);
	CHECK(atomic_load(&fx.aborts) == 3);
	/* gone in the middle of a large answer */
	fd = cl_connect();
	CHECK(cl_puts(fd, "GET /size-100000000 HTTP/1.1\r\nHost: h\r\n\r\n"));
	(void)cl_until(fd, "\r\n\r\n", 1);
	(void)close(fd);
	cl_wait_frees(4);
	CHECK(atomic_load(&fx.aborts) == 4);
	/* cut by the handler: seen as such, and not an abort */
	fd = cl_connect();
	CHECK(cl_puts(fd, "GET /cut HTTP/1.1\r\nHost: h\r\n\r\n"));
	CHECK(cl_count_to_end(fd) < 400);
	(void)close(fd);
	fd = cl_connect();
	CHECK(cl_puts(fd, "GET /short HTTP/1.1\r\nHost: h\r\n\r\n"));
	CHECK(cl_count_to_end(fd) < 400);
	(void)close(fd);
	cl_wait_frees(6);
	CHECK(atomic_load(&fx.aborts) == 4);
}

static void test_aborts(void **state)
{
	(void)state;
	run(cl_aborts);
}

static void cl_deadlines(void)
{
	int fd = cl_connect();
	static char out[4096];

	/* idle, head, body, and nobody reading */
	CHECK(cl_count_to_end(fd) == 0);
	(void)close(fd);
	fd = cl_connect();
	CHECK(cl_puts(fd, "GET / HT"));
	CHECK(cl_count_to_end(fd) == 0);
	(void)close(fd);
	fd = cl_connect();
	CHECK(cl_puts(fd, "PUT /sum HTTP/1.1\r\nHost: h\r\n"
			  "Content-Length: 10\r\n\r\n"));
	CHECK(cl_count_to_end(fd) == 0);
	(void)close(fd);
	cl_wait_frees(1);
	CHECK(atomic_load(&fx.abort_err) == -ETIMEDOUT);
	fd = cl_connect();
	CHECK(cl_puts(fd, "GET /size-100000000 HTTP/1.1\r\nHost: h\r\n\r\n"));
	cl_wait_frees(2);
	CHECK(atomic_load(&fx.aborts) == 2);
	(void)recv(fd, out, sizeof(out), 0);
	(void)close(fd);
	/* a handler may take its time */
	fd = cl_connect();
	CHECK(cl_puts(fd, "GET /hang HTTP/1.1\r\nHost: h\r\n\r\n"));
	usleep(200000);
	CHECK(atomic_load(&fx.aborts) == 2);
	(void)close(fd);
}

static void test_deadlines(void **state)
{
	static const struct http_limits quick = {
		.tick = 5 * MS, .head = 30 * MS, .idle = 30 * MS,
		.window = 30 * MS, .window_bytes = 20, .write = 50 * MS,
	};

	(void)state;
	run_limits(1, cl_deadlines, &quick);
}

/* The server is freed while requests are under way. */
static void cl_leave_open(void)
{
	int fd = cl_connect();

	CHECK(cl_puts(fd, "GET /hang HTTP/1.1\r\nHost: h\r\n\r\n"));
	CHECK(cl_connect() >= 0);
	for (int i = 0; i < 20000 && atomic_load(&fx.requests) < 1; i++)
		usleep(1000);
}

static void test_stop_with_requests(void **state)
{
	(void)state;
	run(cl_leave_open);
	assert_int_equal(fx.aborts, 1);
	assert_int_equal(fx.abort_err, -ECANCELED);
}

/* --- http_fetch --- */

static void cl_fetch(void)
{
	static const char *const headers[] = { "X-A: b", NULL };
	struct http_response r = { 0 };
	char url[128];

#define URL(path) \
	(snprintf(url, sizeof(url), "http://127.0.0.1:%u" path, \
		  http_server_port(fx.server)), url)
	CHECK(http_fetch("PUT", URL("/sum?x"), headers, "abc", 3, &r) == 0);
	CHECK(r.status == 200 && r.body_len == 10);
	CHECK(strcmp(r.body, "3 00017862") == 0);
	CHECK(strstr(r.head, "X-Test: 1\r\n") != NULL);
	http_response_fini(&r);
	CHECK(http_fetch("GET", URL("/chunked-300000"), NULL, NULL, 0, &r) ==
	      0);
	CHECK(r.body_len == 300000 && r.body[299999] == 'd');
	http_response_fini(&r);
	CHECK(http_fetch("HEAD", URL("/size-10"), NULL, NULL, 0, &r) == 0);
	CHECK(r.status == 200 && r.body_len == 0);
	http_response_fini(&r);
	CHECK(http_fetch("GET", URL("/empty"), NULL, NULL, 0, &r) == 0);
	CHECK(r.status == 204 && r.body_len == 0);
	http_response_fini(&r);
	CHECK(http_fetch("GET", URL("/cut"), NULL, NULL, 0, &r) < 0);
	CHECK(http_fetch("GET", "http://127.0.0.1:1/", NULL, NULL, 0, &r) ==
	      -ECONNREFUSED);
	CHECK(http_fetch("GET", "ftp://h/", NULL, NULL, 0, &r) == -EINVAL);
}

static void test_fetch(void **state)
{
	(void)state;
	run_limits(1, cl_fetch, NULL);
}

/* --- no memory --- */

static void cl_faults(void)
{
	for (int i = 0; i < 2; i++) {
		int fd = cl_connect();
		char *t;

		(void)cl_puts(fd, "PUT /sum HTTP/1.1\r\nHost: h\r\n"
				  "Connection: close\r\n"
				  "Content-Length: 3\r\n\r\nabc");
		t = cl_to_end(fd);
		/* whole, refused, or cut: never wrong */
		CHECK(t[0] == '\0' || strncmp(t, "HTTP/1.1 503 ", 13) == 0 ||
		      (strncmp(t, "HTTP/1.1 200 ", 13) == 0 &&
		       strstr(t, "\r\n\r\n3 00017862") != NULL));
		(void)close(fd);
	}
}

static void test_faults(void **state)
{
	int points = 0;

	(void)state;
	for (fault_n = 1; fault_n <= 3; fault_n++) {
		for (fault_at = 0;; fault_at++) {
			run_limits(1, cl_faults, NULL);
			if (!fault_fired())
				break;
			points++;
		}
	}
	fault_at = -1;
	print_message("# %d failing allocations\n", points);
	assert_true(points >= 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_simple),
		cmocka_unit_test(test_http10),
		cmocka_unit_test(test_pipeline),
		cmocka_unit_test(test_big_with_bounded_memory),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_direct),
		cmocka_unit_test(test_continue),
		cmocka_unit_test(test_unread_bodies),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_aborts),
		cmocka_unit_test(test_deadlines),
		cmocka_unit_test(test_stop_with_requests),
		cmocka_unit_test(test_fetch),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
