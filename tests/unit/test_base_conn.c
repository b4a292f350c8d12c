/* Connections over a socket pair, a unix and a TCP listener. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/buffer.h>

#include "common/base/buf.h"
#include "common/base/conn.h"
#include "common/base/loop.h"

#define LIMIT_NS (20ull * 1000000000)

/* One side of a connection and what happened to it. */
struct side {
	struct loop_set *set;
	struct loop *loop;
	struct conn *c;
	unsigned opens, reads, drains, closes;
	int err;
	bool echo;         /* send back what comes */
	bool stop_on_close;
	bool stop_on_open;
	bool free_on_close;
	bool free_on_read;
	bool close_on_drain;
	bool inside;       /* a conn_* call is on the stack */
	bool nested;       /* a callback ran inside one */
	size_t got;        /* bytes taken */
	size_t want;       /* stop when got reaches it */
	uint32_t sum;      /* of the bytes taken */
	size_t room;       /* bytes of `direct` still to be filled */
	size_t directs;    /* bytes that came there */
	uint8_t direct[20000];
};

static uint32_t sum_bytes(uint32_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum = sum * 31 + p[i];
	return sum;
}

static void side_read(struct conn *c, void *arg)
{
	struct side *s = arg;
	struct evbuffer *in = conn_input(c);

	s->nested |= s->inside;
	s->reads++;
	if (s->free_on_read) {
		conn_free(c);
		s->c = NULL;
		loop_set_stop(s->set);
		return;
	}
	if (s->echo) {
		evbuffer_add_buffer(conn_output(c), in);
		conn_flush(c);
		return;
	}
	while (evbuffer_get_length(in) > 0) {
		struct evbuffer_iovec v;

		(void)evbuffer_peek(in, -1, NULL, &v, 1);
		s->sum = sum_bytes(s->sum, v.iov_base, v.iov_len);
		s->got += v.iov_len;
		(void)evbuffer_drain(in, v.iov_len);
	}
	if (s->want != 0 && s->got >= s->want)
		loop_set_stop(s->set);
}

static void side_drain(struct conn *c, void *arg)
{
	struct side *s = arg;

	s->nested |= s->inside;
	s->drains++;
	if (s->close_on_drain)
		conn_close_after_flush(c);
}

static void side_close(struct conn *c, void *arg, int err)
{
	struct side *s = arg;

	s->nested |= s->inside;
	s->closes++;
	s->err = err;
	if (s->free_on_close) {
		conn_free(c);
		s->c = NULL;
	}
	if (s->stop_on_close)
		loop_set_stop(s->set);
}

static void side_open(struct conn *c, void *arg)
{
	struct side *s = arg;

	(void)c;
	s->nested |= s->inside;
	s->opens++;
	if (s->stop_on_open)
		loop_set_stop(s->set);
}

static uint8_t *side_room(struct conn *c, void *arg, size_t *ret_len)
{
	struct side *s = arg;

	s->nested |= s->inside || evbuffer_get_length(conn_input(c)) > 0;
	*ret_len = s->room;
	return s->room > 0 ? s->direct + s->directs : NULL;
}

static void side_direct(struct conn *c, void *arg, size_t n)
{
	struct side *s = arg;

	(void)c;
	s->sum = sum_bytes(s->sum, s->direct + s->directs, n);
	s->directs += n;
	s->room -= n;
	s->got += n;
	if (s->free_on_read) {
		conn_free(c);
		s->c = NULL;
	}
	if (s->free_on_read || (s->want != 0 && s->got >= s->want))
		loop_set_stop(s->set);
}

static const struct conn_cbs side_cbs = {
	.on_read = side_read,
	.on_drain = side_drain,
	.on_close = side_close,
	.on_open = side_open,
	.on_room = side_room,
	.on_direct = side_direct,
};

struct fixture {
	struct loop_set *set;
	struct loop *loop;
	struct side a, b;
	struct env_timer limit;
	bool late;
};

static struct fixture fx;

static void limit_cb(struct env_timer *timer)
{
	(void)timer;
	fx.late = true;
	loop_set_stop(fx.set);
}

static void run(void)
{
	fx.limit.cb = limit_cb;
	env_timer_set(loop_env(fx.loop), &fx.limit, LIMIT_NS);
	loop_set_run(fx.set);
	env_timer_cancel(loop_env(fx.loop), &fx.limit);
	assert_false(fx.late);
	assert_false(fx.a.nested);
	assert_false(fx.b.nested);
}

static int setup(void **state)
{
	(void)state;
	memset(&fx, 0, sizeof(fx));
	assert_int_equal(loop_set_new(1, 1, &fx.set), 0);
	fx.loop = loop_set_get(fx.set, 0);
	fx.a.set = fx.b.set = fx.set;
	fx.a.loop = fx.b.loop = fx.loop;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	conn_free(fx.a.c);
	conn_free(fx.b.c);
	loop_set_free(fx.set);
	return 0;
}

static void setup_pair(void)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	assert_int_equal(conn_new(fx.loop, fd[0], &side_cbs, &fx.a, &fx.a.c),
			 0);
	assert_int_equal(conn_new(fx.loop, fd[1], &side_cbs, &fx.b, &fx.b.c),
			 0);
}

static void send_text(struct side *s, const char *text)
{
	s->inside = true;
	evbuffer_add(conn_output(s->c), text, strlen(text));
	conn_flush(s->c);
	s->inside = false;
}

static void test_echo(void **state)
{
	(void)state;
	setup_pair();
	fx.b.echo = true;
	fx.a.want = 10;
	send_text(&fx.a, "01234");
	send_text(&fx.a, "56789");
	run();
	assert_int_equal(fx.a.got, 10);
	/* both adds went out as one */
	assert_int_equal(fx.b.reads, 1);
	assert_string_equal(conn_peer(fx.a.c), "unix");
	assert_int_equal(fx.a.closes, 0);
}

/* Large and by reference; bounded output, drained once it is small. */
static void body_cleanup(const void *data, size_t len, void *arg)
{
	(void)data;
	(void)len;
	body_unref(arg);
}

static void test_bulk(void **state)
{
	enum { BODIES = 16 };
	struct body *body = body_new(BODY_MAX);
	uint32_t sum = 0;

	(void)state;
	setup_pair();
	body->len = BODY_MAX;
	for (uint32_t i = 0; i < BODY_MAX; i++)
		body->data[i] = (uint8_t)(i * 7 + i / 251);
	for (int i = 0; i < BODIES; i++) {
		evbuffer_add_reference(conn_output(fx.a.c), body->data,
				       BODY_MAX, body_cleanup, body_ref(body));
		sum = sum_bytes(sum, body->data, BODY_MAX);
	}
	assert_true(conn_out_full(fx.a.c));
	conn_flush(fx.a.c);
	fx.b.want = (size_t)BODIES * BODY_MAX;
	run();
	assert_int_equal(fx.b.got, fx.b.want);
	assert_int_equal(fx.b.sum, sum);
	assert_int_equal(fx.a.drains, 1);
	assert_int_equal(body->refs, 1);
	body_unref(body);
}

static void test_pause(void **state)
{
	(void)state;
	setup_pair();
	conn_pause_read(fx.b.c);
	fx.a.close_on_drain = false;
	send_text(&fx.a, "held");
	fx.b.want = 4;
	/* nothing comes while paused: a runs out of patience first */
	fx.limit.cb = limit_cb;
	env_timer_set(loop_env(fx.loop), &fx.limit, 20000000);
	loop_set_run(fx.set);
	assert_true(fx.late);
	fx.late = false;
	assert_int_equal(fx.b.reads, 0);
	conn_resume_read(fx.b.c);
	run();
	assert_int_equal(fx.b.got, 4);
	/* what stays in the input is offered again */
	evbuffer_add(conn_input(fx.b.c), "rest", 4);
	conn_pause_read(fx.b.c);
	fx.b.want = 8;
	fx.b.inside = true;
	conn_resume_read(fx.b.c);
	fx.b.inside = false;
	run();
	assert_int_equal(fx.b.got, 8);
}

/* Bytes go to the owner's memory as long as there is some, then the rest. */
static void test_direct(void **state)
{
	char *text = malloc(100000);
	uint32_t sum;

	(void)state;
	setup_pair();
	for (size_t i = 0; i < 100000; i++)
		text[i] = (char)(i * 7 + i / 300);
	sum = sum_bytes(0, (uint8_t *)text, 100000);
	fx.b.room = sizeof(fx.b.direct);
	fx.b.want = 100000;
	evbuffer_add(conn_output(fx.a.c), text, 100000);
	conn_flush(fx.a.c);
	run();
	assert_int_equal(fx.b.directs, sizeof(fx.b.direct));
	assert_int_equal(fx.b.got, 100000);
	assert_int_equal(fx.b.sum, sum);
	free(text);
	/* freed in on_direct */
	fx.b.directs = 0;
	fx.b.room = 100;
	fx.b.free_on_read = true;
	send_text(&fx.a, "x");
	run();
	assert_null(fx.b.c);
}

static void test_half_close(void **state)
{
	(void)state;
	setup_pair();
	fx.b.stop_on_close = true;
	fx.a.want = 5;
	assert_int_equal(shutdown(conn_fd(fx.a.c), SHUT_WR), 0);
	run();
	assert_int_equal(fx.b.closes, 1);
	assert_int_equal(fx.b.err, 0);
	/* the other direction still works */
	send_text(&fx.b, "still");
	run();
	assert_int_equal(fx.a.got, 5);
}

static void test_reset(void **state)
{
	(void)state;
	setup_pair();
	conn_free(fx.b.c);
	fx.b.c = NULL;
	fx.a.stop_on_close = true;
	fx.a.free_on_close = true;
	send_text(&fx.a, "lost");
	run();
	assert_int_equal(fx.a.closes, 1);
	assert_null(fx.a.c);
}

static void test_free_in_read(void **state)
{
	(void)state;
	setup_pair();
	fx.b.free_on_read = true;
	send_text(&fx.a, "x");
	run();
	assert_null(fx.b.c);
}

static void test_close_after_flush(void **state)
{
	char *big = malloc(3 << 20);

	(void)state;
	setup_pair();
	memset(big, 'z', 3 << 20);
	evbuffer_add(conn_output(fx.a.c), big, 3 << 20);
	free(big);
	/* unread input of a must not turn the end into a reset */
	send_text(&fx.b, "never read");
	conn_close_after_flush(fx.a.c);
	fx.a.free_on_close = true;
	fx.b.free_on_close = true;
	fx.a.stop_on_close = true;
	run();
	assert_int_equal(fx.b.got, 3 << 20);
	assert_int_equal(fx.b.closes, 1);
	assert_int_equal(fx.b.err, 0);
	assert_int_equal(fx.a.closes, 1);
	assert_int_equal(fx.a.err, 0);
}

/* --- listeners --- */

static void on_accept(void *arg, int fd)
{
	struct side *s = arg;

	if (s->c != NULL) {
		(void)close(fd);
		return;
	}
	if (conn_new(s->loop, fd, &side_cbs, s, &s->c) != 0)
		s->err = -1;
}

static void check_listener(const char *listen_addr)
{
	struct conn_listener *l;
	char addr[128];

	assert_int_equal(conn_listen(fx.loop, listen_addr, false, on_accept,
				     &fx.b, &l), 0);
	(void)snprintf(addr, sizeof(addr), "%s", listen_addr);
	if (conn_listener_port(l) != 0)
		(void)snprintf(addr, sizeof(addr), "127.0.0.1:%u",
			       conn_listener_port(l));
	fx.b.echo = true;
	fx.a.want = 5;
	assert_int_equal(conn_connect(fx.loop, addr, &side_cbs, &fx.a,
				      &fx.a.c), 0);
	assert_int_equal(fx.a.opens, 0);
	send_text(&fx.a, "hello"); /* before it is open */
	run();
	assert_int_equal(fx.a.opens, 1);
	assert_int_equal(fx.a.got, 5);
	assert_true(strlen(conn_peer(fx.b.c)) >= 4);
	conn_listener_free(l);
}

static void test_listen_tcp(void **state)
{
	(void)state;
	check_listener("127.0.0.1:0");
}

static void test_listen_unix(void **state)
{
	char dir[] = "/tmp/base-conn-XXXXXX";
	char addr[96], path[64];
	struct conn_listener *l, *m;
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/s", dir);
	(void)snprintf(addr, sizeof(addr), "unix:%s", path);
	check_listener(addr);
	assert_int_equal(access(path, F_OK), -1); /* removed at the end */

	assert_int_equal(conn_listen(fx.loop, addr, false, on_accept, &fx.b,
				     &l), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(conn_listener_port(l), 0);
	/* a live one is not replaced */
	assert_int_equal(conn_listen(fx.loop, addr, false, on_accept, &fx.b,
				     &m), -EADDRINUSE);
	conn_listener_free(l);
	/* a dead one is */
	{
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		struct sockaddr_storage sa = { .ss_family = AF_UNIX };

		(void)snprintf((char *)&sa + 2, 64, "%s", path);
		assert_int_equal(bind(fd, (struct sockaddr *)&sa,
				      (socklen_t)(2 + strlen(path) + 1)), 0);
		(void)close(fd);
	}
	assert_int_equal(conn_listen(fx.loop, addr, false, on_accept, &fx.b,
				     &l), 0);
	conn_listener_free(l);
	/* a plain file is nobody's socket */
	(void)close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(conn_listen(fx.loop, addr, false, on_accept, &fx.b,
				     &l), -EADDRINUSE);
	(void)unlink(path);
	(void)rmdir(dir);
}

static void test_connect_fails(void **state)
{
	struct conn_listener *l;
	char addr[64];
	int rv;

	(void)state;
	assert_int_equal(conn_listen(fx.loop, "127.0.0.1:0", false, on_accept,
				     &fx.b, &l), 0);
	(void)snprintf(addr, sizeof(addr), "127.0.0.1:%u",
		       conn_listener_port(l));
	conn_listener_free(l);
	fx.a.stop_on_close = true;
	rv = conn_connect(fx.loop, addr, &side_cbs, &fx.a, &fx.a.c);
	if (rv == 0) {
		assert_int_equal(fx.a.closes, 0);
		run();
		assert_int_equal(fx.a.closes, 1);
		assert_int_equal(fx.a.err, -ECONNREFUSED);
		assert_int_equal(fx.a.opens, 0);
	} else {
		assert_int_equal(rv, -ECONNREFUSED);
	}
	assert_int_equal(conn_connect(fx.loop, "unix:/nowhere/x", &side_cbs,
				      &fx.b, &fx.b.c), -ENOENT);
}

static void test_bad_addresses(void **state)
{
	static const char *const bad[] = { "", "x", "unix:", ":80", "1.2.3.4",
					   "1.2.3.4:", "1.2.3.4:x",
					   "1.2.3.4:65536", "1.2.3:80",
					   "host:80", "[::1:80", "1.2.3.4:-1" };
	struct conn_listener *l;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(conn_listen(fx.loop, bad[i], false, on_accept,
					     &fx.b, &l), -EINVAL);
}

/* Two loops' listeners may share one port. */
static void test_reuseport(void **state)
{
	struct conn_listener *l, *m;
	char addr[64];

	(void)state;
	assert_int_equal(conn_listen(fx.loop, "127.0.0.1:0", true, on_accept,
				     &fx.b, &l), 0);
	(void)snprintf(addr, sizeof(addr), "127.0.0.1:%u",
		       conn_listener_port(l));
	assert_int_equal(conn_listen(fx.loop, addr, true, on_accept, &fx.b,
				     &m), 0);
	conn_listener_free(m);
	assert_int_equal(conn_listen(fx.loop, addr, false, on_accept, &fx.b,
				     &m), -EADDRINUSE);
	conn_listener_free(l);
}

/* Out of descriptors: the client is let go instead of left hanging. */
static void test_out_of_descriptors(void **state)
{
	struct rlimit old, low;
	struct conn_listener *l;
	char addr[64];
	int fill[512], n = 0, fd;

	(void)state;
	assert_int_equal(conn_listen(fx.loop, "127.0.0.1:0", false, on_accept,
				     &fx.b, &l), 0);
	(void)snprintf(addr, sizeof(addr), "127.0.0.1:%u",
		       conn_listener_port(l));
	fx.a.stop_on_close = true;
	assert_int_equal(conn_connect(fx.loop, addr, &side_cbs, &fx.a,
				      &fx.a.c), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = 256;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	while (n < 512 && (fd = dup(0)) >= 0)
		fill[n++] = fd;
	run();
	while (n > 0)
		(void)close(fill[--n]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(fx.a.closes, 1);
	assert_null(fx.b.c);
	conn_listener_free(l);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_echo),
		TEST(test_bulk),
		TEST(test_pause),
		TEST(test_direct),
		TEST(test_half_close),
		TEST(test_reset),
		TEST(test_free_in_read),
		TEST(test_close_after_flush),
		TEST(test_listen_tcp),
		TEST(test_listen_unix),
		TEST(test_connect_fails),
		TEST(test_bad_addresses),
		TEST(test_reuseport),
		TEST(test_out_of_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
