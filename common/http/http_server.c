/*
 * Listening, and the clock of the deadlines: one tick per loop looks at all
 * its connections, so that a request arms no timer.
 */
#include "common/http/http_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/conn_addr.h"
#include "common/base/loop.h"
#include "common/base/mem.h"

#define SEC 1000000000ull

static const struct http_limits http_limits_default = {
	.tick = SEC,
	.head = 10 * SEC,
	.idle = 60 * SEC,
	.window = 30 * SEC,
	.window_bytes = 16384,
	.write = 60 * SEC,
};

static void http_loop_on_tick(struct env_timer *timer)
{
	struct http_loop *hl = CONTAINER_OF(timer, struct http_loop, tick);
	struct http_conn *hc = TAILQ_FIRST(&hl->conns);

	hl->now_ns = env_now_ns(loop_env(hl->loop));
	while (hc != NULL) {
		/* checking one frees no other */
		struct http_conn *next = TAILQ_NEXT(hc, link);

		http_conn_check(hc, hl->now_ns);
		hc = next;
	}
	if (!TAILQ_EMPTY(&hl->conns))
		env_timer_set(loop_env(hl->loop), &hl->tick,
			      hl->server->limits.tick);
}

static void http_loop_on_accept(void *arg, int fd)
{
	struct http_loop *hl = arg;

	if (TAILQ_EMPTY(&hl->conns)) {
		hl->now_ns = env_now_ns(loop_env(hl->loop));
		env_timer_set(loop_env(hl->loop), &hl->tick,
			      hl->server->limits.tick);
	}
	http_conn_accept(hl, fd);
}

static int http_loop_start(struct http_server *s, struct loop *loop,
			   const char *addr, bool reuseport)
{
	struct http_loop *hl = &s->loops[s->n_loops++];

	hl->server = s;
	hl->loop = loop;
	hl->tick.cb = http_loop_on_tick;
	hl->date_sec = -1;
	TAILQ_INIT(&hl->conns);
	return conn_listen(loop, addr, reuseport, http_loop_on_accept, hl,
			   &hl->listener);
}

/* The address of the first listener's port for all others. */
static int http_server_addr(const char *addr, unsigned port, char *ret_text,
			    size_t size)
{
	const char *colon = strrchr(addr, ':');
	int n;

	if (colon == NULL)
		return -EINVAL;
	n = snprintf(ret_text, size, "%.*s:%u", (int)(colon - addr), addr,
		     port);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

static int http_server_make(unsigned n, const struct http_handler *handler,
			    struct http_server **ret_server)
{
	struct http_server *s;

	s = mem_zalloc(sizeof(*s) + n * sizeof(s->loops[0]));
	if (s == NULL)
		return -ENOMEM;
	s->handler = *handler;
	s->limits = http_limits_default;
	*ret_server = s;
	return 0;
}

int http_server_new_on(struct loop *loop, const char *addr,
		       const struct http_handler *handler,
		       struct http_server **ret_server)
{
	struct http_server *s;
	int rv = http_server_make(1, handler, &s);

	if (rv != 0)
		return rv;
	rv = http_loop_start(s, loop, addr, false);
	if (rv != 0) {
		http_server_free(s);
		return rv;
	}
	s->port = conn_listener_port(s->loops[0].listener);
	*ret_server = s;
	return 0;
}

static void http_probe_accept(void *arg, int fd)
{
	(void)arg;
	(void)close(fd);
}

/*
 * A shared port could be shared with another process of the same user too:
 * make sure that nobody has it, by having it alone for a moment.
 */
static int http_server_probe(struct loop *loop, const char *addr)
{
	struct conn_listener *l = NULL;
	int rv = conn_listen(loop, addr, false, http_probe_accept, NULL, &l);

	conn_listener_free(l);
	return rv;
}

int http_server_new(struct loop_set *set, const char *addr,
		    const struct http_handler *handler,
		    struct http_server **ret_server)
{
	unsigned n = loop_set_size(set);
	char text[CONN_ADDR_TEXT];
	struct http_server *s;
	int rv;

	/* a unix socket cannot be shared like a port */
	if (n == 1 || strncmp(addr, "unix:", 5) == 0)
		return http_server_new_on(loop_set_get(set, 0), addr, handler,
					  ret_server);
	rv = http_server_probe(loop_set_get(set, 0), addr);
	if (rv == 0)
		rv = http_server_make(n, handler, &s);
	if (rv != 0)
		return rv;
	for (unsigned i = 0; i < n && rv == 0; i++) {
		if (i == 1)
			rv = http_server_addr(addr, s->port, text,
					      sizeof(text));
		if (rv == 0)
			rv = http_loop_start(s, loop_set_get(set, i),
					     i == 0 ? addr : text, true);
		if (i == 0 && rv == 0)
			s->port = conn_listener_port(s->loops[0].listener);
	}
	if (rv != 0) {
		http_server_free(s);
		return rv;
	}
	*ret_server = s;
	return 0;
}

unsigned http_server_port(const struct http_server *s)
{
	return s->port;
}

void http_server_free(struct http_server *s)
{
	if (s == NULL)
		return;
	for (unsigned i = 0; i < s->n_loops; i++) {
		struct http_loop *hl = &s->loops[i];

		conn_listener_free(hl->listener);
		while (!TAILQ_EMPTY(&hl->conns))
			http_conn_kill(TAILQ_FIRST(&hl->conns));
		env_timer_cancel(loop_env(hl->loop), &hl->tick);
	}
	mem_free(s);
}
