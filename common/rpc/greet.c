/*
 * New connections, from accept to HELLO (loop 0).
 *
 * Happy path: accept -> SO_PEERCRED is our uid or root -> HELLO frame -> the
 * descriptor moves to the loop that its link number names (both connections of
 * a link meet there) -> peer.c answers the HELLO.
 * Failure modes: foreign uid, no HELLO within RPC_HELLO_MS, anything else than
 * one well-formed HELLO, bytes behind it (a client waits for the answer), too
 * many strangers at once: closed without a word.
 */
#include "common/rpc/rpc_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>

#include "common/base/mem.h"

struct rpc_greet {
	struct rpc_ring list; /* server->greets */
	struct rpc_server *server; /* borrowed: it closes us first */
	struct rpc_chan ch;
	struct env_timer timer;
};

static void greet_free(struct rpc_greet *g)
{
	struct rpc_server *s = g->server;

	rpc_ring_del(&g->list);
	s->n_greets--;
	env_timer_cancel(s->loops[0].env, &g->timer);
	rpc_chan_fini(&g->ch);
	mem_free(g);
}

void rpc_greets_close(struct rpc_server *s)
{
	while (!rpc_ring_empty(&s->greets))
		greet_free(CONTAINER_OF(s->greets.next, struct rpc_greet,
					list));
}

static void greet_on_timer(struct env_timer *timer)
{
	greet_free(CONTAINER_OF(timer, struct rpc_greet, timer));
}

/* Moves the descriptor on; g is freed by the caller in any case. */
static void greet_pass_on(struct rpc_greet *g, const struct rpc_hello *hello,
			  uint32_t role)
{
	struct rpc_server *s = g->server;
	struct rpc_server_loop *sl =
		&s->loops[(hello->link & RPC_LANE_MAX) % s->n_loops];
	struct rpc_handoff *h = mem_zalloc(sizeof(*h));

	if (h == NULL)
		return;
	h->fd = fcntl(conn_fd(g->ch.conn), F_DUPFD_CLOEXEC, 3);
	if (h->fd < 0) {
		mem_free(h);
		return;
	}
	h->task.run = rpc_peer_attach;
	h->sl = sl;
	h->role = role;
	h->link = hello->link;
	h->channel = hello->channel;
	h->received = g->ch.received;
	rpc_server_ref(s);
	env_post(sl->env, &h->task);
}

static void greet_on_read(struct conn *c, void *arg)
{
	struct rpc_greet *g = arg;
	struct rpc_hello hello;
	struct rpc_in in;
	uint32_t role;
	int rv = rpc_chan_next(&g->ch, &in);

	if (rv == 0)
		return;
	if (rv == 1 && in.head.type == FRAME_REQUEST && in.body == NULL &&
	    in.head.tag == RPC_TAG_hello &&
	    rpc_hello_decode(&hello, in.payload, in.head.payload_len) == 0 &&
	    evbuffer_get_length(conn_input(c)) == in.head.payload_len &&
	    hello.channel <= RPC_CHANNEL_BODY) {
		role = rpc_role(hello.role);
		if (role != 0 && hello.proto == RPC_PROTO)
			greet_pass_on(g, &hello, role);
	}
	if (rv == 1)
		rpc_in_fini(&in);
	greet_free(g);
}

static void greet_on_close(struct conn *c, void *arg, int err)
{
	(void)c;
	(void)err;
	greet_free(arg);
}

static const struct conn_cbs greet_cbs = {
	.on_read = greet_on_read,
	.on_close = greet_on_close,
};

/* The kernel's word for who is at the other end of a unix socket. */
static bool greet_believed(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0 ||
	    len != sizeof(cred))
		return false;
	return cred.uid == geteuid() || cred.uid == 0;
}

void rpc_greet_accept(void *arg, int fd)
{
	struct rpc_server *s = arg;
	struct rpc_greet *g;
	struct conn *c;

	g = s->n_greets < RPC_GREETS_MAX && greet_believed(fd) ?
		    mem_zalloc(sizeof(*g)) : NULL;
	if (g == NULL) {
		(void)close(fd);
		return;
	}
	if (conn_new(s->loops[0].loop, fd, &greet_cbs, g, &c) != 0) {
		mem_free(g);
		return;
	}
	g->server = s;
	g->timer.cb = greet_on_timer;
	rpc_chan_init(&g->ch, c);
	rpc_ring_add(&s->greets, &g->list);
	s->n_greets++;
	env_timer_set(s->loops[0].env, &g->timer, RPC_HELLO_MS * 1000000ull);
}
