#ifndef COMMON_RPC_RPC_IMPL_H
#define COMMON_RPC_RPC_IMPL_H
/*
 * What the files of common/rpc share: the message that travels between loops,
 * the server's tables, a list.
 *
 * A message is owned by exactly one place at a time: the loop it came from,
 * the queue between loops, the handler, and on the way back the same. Only the
 * home loop touches what links it to its peer or link.
 */
#include <stdbool.h>

#include "common/base/loop.h"
#include "common/rpc/chan.h"
#include "common/rpc/rpc.h"

/* --- a ring list; heads and members are the same struct --- */

struct rpc_ring {
	struct rpc_ring *prev, *next;
};

static inline void rpc_ring_init(struct rpc_ring *l)
{
	l->prev = l->next = l;
}

static inline bool rpc_ring_empty(const struct rpc_ring *l)
{
	return l->next == l;
}

static inline void rpc_ring_add(struct rpc_ring *head, struct rpc_ring *item)
{
	item->prev = head->prev;
	item->next = head;
	head->prev->next = item;
	head->prev = item;
}

static inline void rpc_ring_del(struct rpc_ring *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	rpc_ring_init(item);
}

/* --- a request on its way to its handler and back --- */

struct rpc_msg {
	struct env_task task;
	struct rpc_req req;        /* what the handler sees; impl = this */
	struct rpc_server *server; /* a reference, until dispatched */
	struct env *home;          /* the loop that wants the reply */
	void (*deliver)(struct rpc_msg *m); /* on home; takes the message */
	uint64_t id;               /* of the link */
	struct wire_u128 store;    /* target; zero = any */
	struct buf request;        /* owns the payload of an in-process call */
	/* the reply */
	bool replied;
	uint32_t status;
	struct buf reply;
	struct body *reply_body;
};

/* Buffers and bodies of m, not m itself. */
void rpc_msg_fini(struct rpc_msg *m);
/* Posts m to the loop that serves it; any loop. A server reference is taken. */
void rpc_server_dispatch(struct rpc_server *s, struct rpc_msg *m);

/* --- server --- */

#define RPC_LISTENERS 4
#define RPC_KINDS 7

struct rpc_server_loop {
	struct rpc_server *server;
	struct loop *loop;
	struct env *env;
	struct rpc_ring peers; /* rpc_peer; this loop only */
	struct env_task close_task;
};

struct rpc_server {
	uint32_t refs;    /* atomic */
	uint32_t closing; /* atomic */
	unsigned n_loops;
	struct wire_u128 cluster, store; /* set before listening */
	struct {
		rpc_handler_fn fn;
		void *arg;
	} handlers[256];
	struct {
		rpc_route_fn fn;
		void *arg;
	} routes[RPC_KINDS];
	struct conn_listener *listeners[RPC_LISTENERS]; /* loop 0 */
	unsigned n_listeners;
	struct rpc_ring greets; /* loop 0: connections before their HELLO */
	unsigned n_greets;
	struct rpc_server_loop loops[];
};

struct rpc_server *rpc_server_ref(struct rpc_server *s);
void rpc_server_unref(struct rpc_server *s);
static inline bool rpc_server_closing(struct rpc_server *s)
{
	return __atomic_load_n(&s->closing, __ATOMIC_ACQUIRE) != 0;
}

/* peer.c: closes what the server has on this loop */
void rpc_peers_close(struct rpc_server_loop *sl);
void rpc_greets_close(struct rpc_server *s);
/* greet.c -> peer.c: a connection that said HELLO; posts itself to its loop */
struct rpc_handoff {
	struct env_task task;
	struct rpc_server_loop *sl;
	int fd;
	uint32_t role;
	uint64_t link;
	uint8_t channel;
	uint64_t received;
};
void rpc_peer_attach(struct env_task *task);
void rpc_greet_accept(void *arg, int fd);

#define RPC_PROTO 1
#define RPC_PEER_INFLIGHT 256
#define RPC_GREETS_MAX 256
#define RPC_HELLO_MS 5000u

#endif
