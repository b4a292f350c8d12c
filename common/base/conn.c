/*
 * Connections.
 *
 * Happy path: readable -> read up to 256 KiB -> on_read; the owner adds to the
 * output and calls conn_flush(); at the end of the turn all of it goes out
 * with as few sendmsg() as possible. What does not fit waits for EV_WRITE.
 * Failure modes: end of file -> on_close(0), the output still works; reset,
 * failed write or connect -> on_close(-errno). After conn_close_after_flush():
 * the output is sent, writing is shut down, the peer's rest is thrown away for
 * a moment (a reset could overtake our last bytes), then on_close. A peer that
 * does not take it all within CONN_CLOSE_NS ends with -ETIMEDOUT.
 *
 *   CONNECTING -> OPEN -> FLUSHING -> LINGERING -> CLOSED
 *
 * Callbacks run from events, the flush hook and timers, never from a call of
 * the owner. conn_free() inside a callback frees when the callback is left.
 */
#include "common/base/conn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <event2/buffer.h>

#include "common/base/conn_addr.h"
#include "common/base/loop_impl.h"
#include "common/base/mem.h"

/* Sizes fit a power of two together with libevent's chain header (48). */
#define CONN_READ_MIN ((16u << 10) - 64)
#define CONN_READ_MAX ((256u << 10) - 64)
#define CONN_DIRECT_MAX (1u << 20) /* then others get their turn */
/*
 * What the kernel may hold for a peer that takes nothing: else up to 4 MiB,
 * and some hundreds of such peers bring all connections to a crawl. (Less
 * costs a tenth of a large GET, more is worse for the caches.)
 */
#define CONN_UNSENT_MAX (512 << 10)
/*
 * A unix socket holds 200 KiB by itself, less than a piece of a body: then
 * both ends wait for each other 20 times per chunk. (The system may allow less
 * than this.)
 */
#define CONN_UNIX_BUFFER (1 << 20)
#define CONN_WRITE_IOV 64
#define CONN_WRITE_TURN (2u << 20) /* then others get their turn */
#define CONN_CLOSE_NS (30ull * 1000000000)
#define CONN_LINGER_NS (2ull * 1000000000)
#define CONN_LINGER_BYTES (1u << 20)

enum conn_state {
	CONN_CONNECTING,
	CONN_OPEN,
	CONN_FLUSHING,  /* closing: output first */
	CONN_LINGERING, /* closing: waiting for the peer's end */
	CONN_CLOSED,    /* on_close was called for good */
};

struct conn {
	struct loop *loop; /* borrowed */
	int fd;
	enum conn_state state;
	struct event read_ev;
	struct event write_ev;
	struct event later_ev; /* never added, only made active */
	struct loop_hook flush;
	struct env_timer timer; /* while closing */
	struct evbuffer *in;
	struct evbuffer *out;
	const struct conn_cbs *cbs; /* borrowed */
	void *arg;                  /* borrowed */
	size_t read_size;           /* of the next read; grows when filled */
	size_t out_high;            /* conn_out_full() above it */
	size_t lingered;            /* bytes thrown away while lingering */
	bool tell_open;             /* what later_ev has to tell */
	bool tell_read;
	bool blocked;   /* output waits for write_ev */
	bool paused;    /* the owner wants no more input */
	bool eof;       /* the peer ended its side; told */
	bool was_full;  /* on_drain is owed */
	bool freed;     /* conn_free() inside a callback */
	unsigned depth; /* callbacks on the stack */
	char peer[CONN_ADDR_TEXT];
};

/* --- ends --- */

static void conn_destroy(struct conn *c)
{
	evbuffer_free(c->in);
	evbuffer_free(c->out);
	mem_free(c);
}

/* Nothing will call back after this. */
static void conn_quiet(struct conn *c)
{
	event_del(&c->read_ev);
	event_del(&c->write_ev);
	event_del(&c->later_ev);
	loop_hook_del(c->loop, &c->flush);
	env_timer_cancel(loop_env(c->loop), &c->timer);
}

void conn_free(struct conn *c)
{
	if (c == NULL)
		return;
	ASSERT_LOOP(c->loop);
	assert(!c->freed);
	conn_quiet(c);
	(void)close(c->fd);
	c->state = CONN_CLOSED;
	c->freed = true;
	if (c->depth == 0)
		conn_destroy(c);
}

/* Callbacks stand between these two, so that conn_free() may be inside. */
static void conn_enter(struct conn *c)
{
	c->depth++;
}

static void conn_leave(struct conn *c)
{
	c->depth--;
	if (c->depth == 0 && c->freed)
		conn_destroy(c);
}

/* The end for good; c may be gone after it unless entered. */
static void conn_end(struct conn *c, int err)
{
	conn_quiet(c);
	c->state = CONN_CLOSED;
	conn_enter(c);
	c->cbs->on_close(c, c->arg, err);
	conn_leave(c);
}

static void conn_on_timer(struct env_timer *timer)
{
	struct conn *c = CONTAINER_OF(timer, struct conn, timer);

	conn_end(c, c->state == CONN_LINGERING ? 0 : -ETIMEDOUT);
}

/* --- reading --- */

/* One read into the input; bytes, 0 at the end of file, or -errno. */
static ssize_t conn_read(struct conn *c)
{
	struct evbuffer_iovec vec[2];
	ssize_t n;
	int nvec;

	nvec = evbuffer_reserve_space(c->in, (ev_ssize_t)c->read_size, vec, 2);
	if (nvec <= 0)
		return -ENOMEM;
	do {
		n = readv(c->fd, (struct iovec *)(void *)vec, nvec);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	if ((size_t)n <= vec[0].iov_len) {
		vec[0].iov_len = (size_t)n;
		nvec = 1;
	} else {
		vec[1].iov_len = (size_t)n - vec[0].iov_len;
	}
	if (evbuffer_commit_space(c->in, vec, nvec) != 0)
		return -ENOMEM;
	if ((size_t)n >= c->read_size && c->read_size < CONN_READ_MAX)
		c->read_size = (c->read_size + 64) * 4 - 64;
	else if ((size_t)n < c->read_size / 16)
		c->read_size = CONN_READ_MIN;
	return n;
}

/* As conn_read(), but up to len bytes to p. */
static ssize_t conn_read_direct(struct conn *c, uint8_t *p, size_t len)
{
	ssize_t n;

	if (len > CONN_DIRECT_MAX)
		len = CONN_DIRECT_MAX;
	do {
		n = read(c->fd, p, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* The owner's memory for what comes next, or NULL. */
static uint8_t *conn_room(struct conn *c, size_t *ret_len)
{
	if (c->cbs->on_room == NULL || evbuffer_get_length(c->in) > 0)
		return NULL;
	return c->cbs->on_room(c, c->arg, ret_len);
}

/* The peer's rest is thrown away until its end. */
static void conn_linger(struct conn *c)
{
	char trash[16384];
	ssize_t n = read(c->fd, trash, sizeof(trash));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		c->lingered += (size_t)n;
		if (c->lingered < CONN_LINGER_BYTES)
			return;
	}
	conn_end(c, 0);
}

static void conn_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	uint8_t *room;
	size_t len;
	ssize_t n;

	(void)fd;
	(void)what;
	loop_note_awake(c->loop);
	if (c->state == CONN_LINGERING) {
		conn_linger(c);
		return;
	}
	room = conn_room(c, &len);
	n = room != NULL ? conn_read_direct(c, room, len) : conn_read(c);
	if (n == -EAGAIN)
		return;
	if (n < 0) {
		conn_end(c, (int)n);
		return;
	}
	conn_enter(c);
	if (n > 0 && room != NULL) {
		c->cbs->on_direct(c, c->arg, (size_t)n);
	} else if (n > 0) {
		c->cbs->on_read(c, c->arg);
	} else {
		c->eof = true;
		event_del(&c->read_ev);
		c->cbs->on_close(c, c->arg, 0);
	}
	conn_leave(c);
}

/* Tells what could not be told inside the call that caused it. */
static void conn_on_later(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	loop_note_awake(c->loop);
	conn_enter(c);
	if (c->tell_open) {
		c->tell_open = false;
		if (c->cbs->on_open != NULL)
			c->cbs->on_open(c, c->arg);
	}
	if (c->tell_read && c->state == CONN_OPEN && !c->paused) {
		c->tell_read = false;
		if (evbuffer_get_length(c->in) > 0)
			c->cbs->on_read(c, c->arg);
	}
	conn_leave(c);
}

/* --- writing --- */

/*
 * The first CONN_WRITE_TURN bytes of vec, whose length is returned: a peer that
 * takes bytes as fast as they come keeps us in one call for all of them.
 */
static int conn_cut(struct evbuffer_iovec *vec, int n)
{
	size_t left = CONN_WRITE_TURN;

	for (int i = 0; i < n; i++) {
		if (vec[i].iov_len >= left) {
			vec[i].iov_len = left;
			return i + 1;
		}
		left -= vec[i].iov_len;
	}
	return n;
}

/* One sendmsg of what is queued; bytes or -errno. */
static ssize_t conn_send(struct conn *c)
{
	struct evbuffer_iovec vec[CONN_WRITE_IOV];
	struct msghdr msg = { .msg_iov = (struct iovec *)(void *)vec };
	ssize_t n;
	int nvec;

	nvec = evbuffer_peek(c->out, -1, NULL, vec, CONN_WRITE_IOV);
	nvec = conn_cut(vec, nvec < CONN_WRITE_IOV ? nvec : CONN_WRITE_IOV);
	msg.msg_iovlen = (size_t)nvec;
	do {
		n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	(void)evbuffer_drain(c->out, (size_t)n);
	return n;
}

/* Sends until done, blocked, or long enough. 0 or -errno. */
static int conn_send_all(struct conn *c)
{
	size_t sent = 0;
	ssize_t n;

	while (evbuffer_get_length(c->out) > 0) {
		if (sent >= CONN_WRITE_TURN) {
			if (!c->blocked)
				loop_hook_add(c->loop, &c->flush);
			return 0;
		}
		n = conn_send(c);
		if (n == -EAGAIN) {
			if (!c->blocked && event_add(&c->write_ev, NULL) != 0)
				return -ENOMEM;
			c->blocked = true;
			return 0;
		}
		if (n < 0)
			return (int)n;
		sent += (size_t)n;
	}
	if (c->blocked) {
		event_del(&c->write_ev);
		c->blocked = false;
	}
	return 0;
}

/* All is sent and the owner wanted to close. */
static void conn_flushed(struct conn *c)
{
	if (c->eof || shutdown(c->fd, SHUT_WR) != 0) {
		conn_end(c, 0);
		return;
	}
	c->state = CONN_LINGERING;
	env_timer_set(loop_env(c->loop), &c->timer, CONN_LINGER_NS);
	if (event_add(&c->read_ev, NULL) != 0)
		conn_end(c, -ENOMEM);
}

static void conn_write(struct conn *c)
{
	size_t len = evbuffer_get_length(c->out);
	int rv;

	if (len > c->out_high)
		c->was_full = true;
	rv = conn_send_all(c);
	if (rv != 0) {
		conn_end(c, rv);
		return;
	}
	len = evbuffer_get_length(c->out);
	if (c->state == CONN_FLUSHING) {
		if (len == 0)
			conn_flushed(c);
		return;
	}
	if (c->was_full && len <= c->out_high / 4) {
		c->was_full = false;
		conn_enter(c);
		if (c->cbs->on_drain != NULL)
			c->cbs->on_drain(c, c->arg);
		conn_leave(c);
	}
}

static void conn_on_flush(struct loop_hook *hook)
{
	struct conn *c = CONTAINER_OF(hook, struct conn, flush);

	if ((c->state == CONN_OPEN || c->state == CONN_FLUSHING) &&
	    !c->blocked)
		conn_write(c);
}

/* A connect in progress has ended. */
static void conn_connected(struct conn *c)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
		err = errno;
	event_del(&c->write_ev);
	if (err == 0 && event_add(&c->read_ev, NULL) != 0)
		err = ENOMEM;
	if (err != 0) {
		conn_end(c, -err);
		return;
	}
	c->state = CONN_OPEN;
	conn_addr_peer(c->fd, c->peer);
	if (c->paused)
		event_del(&c->read_ev);
	loop_hook_add(c->loop, &c->flush);
	conn_enter(c);
	if (c->cbs->on_open != NULL)
		c->cbs->on_open(c, c->arg);
	conn_leave(c);
}

static void conn_on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	loop_note_awake(c->loop);
	if (c->state == CONN_CONNECTING)
		conn_connected(c);
	else
		conn_write(c);
}

/* --- making --- */

/* What the kernel holds besides what is on the way; not on unix sockets. */
static void conn_set_unsent(int fd, size_t most)
{
	int n = most < CONN_UNSENT_MAX ? (int)most : CONN_UNSENT_MAX;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &n, sizeof(n));
}

static void conn_options(int fd)
{
	int one = 1, buffer = CONN_UNIX_BUFFER, domain = AF_UNSPEC;
	socklen_t len = sizeof(domain);

	(void)getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
	if (domain == AF_UNIX) {
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer,
				 sizeof(buffer));
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	conn_set_unsent(fd, CONN_UNSENT_MAX);
}

/* Everything but the events' registration; NULL when out of memory. */
static struct conn *conn_make(struct loop *loop, int fd,
			      const struct conn_cbs *cbs, void *arg)
{
	struct conn *c = mem_zalloc(sizeof(*c));

	ASSERT_LOOP(loop);
	if (c == NULL)
		return NULL;
	c->loop = loop;
	c->fd = fd;
	c->cbs = cbs;
	c->arg = arg;
	c->read_size = CONN_READ_MIN;
	c->out_high = CONN_OUT_HIGH;
	c->flush.run = conn_on_flush;
	c->timer.cb = conn_on_timer;
	c->in = evbuffer_new();
	c->out = evbuffer_new();
	if (c->in == NULL || c->out == NULL) {
		if (c->in != NULL)
			evbuffer_free(c->in);
		if (c->out != NULL)
			evbuffer_free(c->out);
		mem_free(c);
		return NULL;
	}
	event_assign(&c->read_ev, loop->base, fd, EV_READ | EV_PERSIST,
		     conn_on_readable, c);
	event_assign(&c->write_ev, loop->base, fd, EV_WRITE | EV_PERSIST,
		     conn_on_writable, c);
	event_assign(&c->later_ev, loop->base, -1, 0, conn_on_later, c);
	conn_options(fd);
	return c;
}

int conn_new(struct loop *loop, int fd, const struct conn_cbs *cbs, void *arg,
	     struct conn **ret_conn)
{
	struct conn *c;

	if (evutil_make_socket_nonblocking(fd) != 0) {
		(void)close(fd);
		return -EBADF;
	}
	c = conn_make(loop, fd, cbs, arg);
	if (c == NULL) {
		(void)close(fd);
		return -ENOMEM;
	}
	c->state = CONN_OPEN;
	conn_addr_peer(fd, c->peer);
	if (event_add(&c->read_ev, NULL) != 0) {
		conn_free(c);
		return -ENOMEM;
	}
	*ret_conn = c;
	return 0;
}

/* The socket is connected (rv 0) or on its way (-EINPROGRESS). */
static int conn_start(struct conn *c, int rv)
{
	if (rv == -EINPROGRESS) {
		c->state = CONN_CONNECTING;
		return event_add(&c->write_ev, NULL) != 0 ? -ENOMEM : 0;
	}
	c->state = CONN_OPEN;
	conn_addr_peer(c->fd, c->peer);
	c->tell_open = true;
	/* on_open first: events made active come before those of epoll */
	event_active(&c->later_ev, EV_TIMEOUT, 0);
	return event_add(&c->read_ev, NULL) != 0 ? -ENOMEM : 0;
}

int conn_connect(struct loop *loop, const char *text,
		 const struct conn_cbs *cbs, void *arg, struct conn **ret_conn)
{
	struct conn_addr addr;
	struct conn *c;
	int fd, rv;

	rv = conn_addr_parse(text, &addr);
	if (rv != 0)
		return rv;
	fd = conn_addr_socket(&addr);
	if (fd < 0)
		return fd;
	rv = 0;
	if (connect(fd, (struct sockaddr *)&addr.sa, addr.len) != 0)
		rv = -errno;
	if (rv != 0 && rv != -EINPROGRESS) {
		(void)close(fd);
		return rv;
	}
	c = conn_make(loop, fd, cbs, arg);
	if (c == NULL) {
		(void)close(fd);
		return -ENOMEM;
	}
	rv = conn_start(c, rv);
	if (rv != 0) {
		conn_free(c);
		return rv;
	}
	*ret_conn = c;
	return 0;
}

/* --- what the owner does --- */

struct evbuffer *conn_input(struct conn *c)
{
	return c->in;
}

struct evbuffer *conn_output(struct conn *c)
{
	return c->out;
}

void conn_flush(struct conn *c)
{
	if (c->state == CONN_CLOSED || c->blocked)
		return;
	loop_hook_add(c->loop, &c->flush);
}

bool conn_out_full(const struct conn *c)
{
	return evbuffer_get_length(c->out) > c->out_high;
}

void conn_set_out_high(struct conn *c, size_t high)
{
	if (c->out_high == high)
		return;
	c->out_high = high;
	conn_set_unsent(c->fd, high);
}

void conn_pause_read(struct conn *c)
{
	if (c->paused)
		return;
	c->paused = true;
	event_del(&c->read_ev);
}

void conn_resume_read(struct conn *c)
{
	if (!c->paused)
		return;
	c->paused = false;
	if (c->state != CONN_OPEN)
		return;
	/* a failed add would be a stall; out of memory then ends it later */
	if (!c->eof)
		(void)event_add(&c->read_ev, NULL);
	if (evbuffer_get_length(c->in) > 0) {
		c->tell_read = true;
		event_active(&c->later_ev, EV_TIMEOUT, 0);
	}
}

void conn_close_after_flush(struct conn *c)
{
	if (c->state != CONN_OPEN && c->state != CONN_CONNECTING)
		return;
	event_del(&c->read_ev);
	/* still connecting: write_ev is waiting already */
	c->blocked |= c->state == CONN_CONNECTING;
	c->state = CONN_FLUSHING;
	c->was_full = false;
	c->paused = true;
	env_timer_set(loop_env(c->loop), &c->timer, CONN_CLOSE_NS);
	loop_hook_add(c->loop, &c->flush);
}

int conn_fd(const struct conn *c)
{
	return c->fd;
}

const char *conn_peer(const struct conn *c)
{
	return c->peer;
}
