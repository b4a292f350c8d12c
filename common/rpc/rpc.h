#ifndef COMMON_RPC_RPC_H
#define COMMON_RPC_RPC_H
/*
 * Requests and replies between processes, and between the parts of one.
 *
 * A server (one per process) has a table of handlers and N loops; a request
 * for group g runs on the loop that owns it (rpc_server_route). It is reached
 * over unix sockets (rpc_listen) or, from the same process, directly: a link
 * made for an address that is `local` posts owned messages between loops and
 * copies no body.
 *
 * A link (one per loop and peer) sends requests and matches replies by id. It
 * reconnects by itself; a request whose connection dies, or that waits longer
 * than its deadline, ends with RPC_STATUS_UNAVAILABLE or _TIMEDOUT: the caller
 * (common/client) decides about a retry. Bodies travel as BODY frames on a
 * second connection of the link, so a body never delays a small message.
 *
 * Who is there: HELLO states the role; a unix peer is believed when
 * SO_PEERCRED is our own uid or root. Messages are checked against the roles
 * of the table.
 */
#include "common/base/env.h"
#include "common/base/buf.h"
#include "common/wire/frame.h"
#include "common/wire/msgs.h"
#include "common/wire/status.h"

struct loop;
struct loop_set;

/* --- server --- */

struct rpc_server;

/* One request at a handler; ends with exactly one rpc_reply*(). */
struct rpc_req {
	uint16_t tag;
	uint16_t group;       /* shard */
	uint32_t role;        /* RPC_ROLE_* of the peer */
	bool loose;           /* it may be answered before it is durable */
	uint64_t epoch;
	struct wire_u128 store; /* the one meant; zero: any */
	const uint8_t *payload; /* borrowed until the reply */
	size_t payload_len;
	struct body *body;    /* borrowed until the reply; ref it to keep it */
	struct env *env;      /* of the loop the handler runs on */
	void *user;           /* handler's own */
	void *impl;           /* private */
};

/* Runs on the routed loop. payload was checked with rpc_info()->check. */
typedef void (*rpc_handler_fn)(void *arg, struct rpc_req *req);
/* Which loop serves this request; must not depend on changing state. */
typedef unsigned (*rpc_route_fn)(void *arg, uint16_t tag, uint16_t group);

/* loops borrowed. */
int rpc_server_new(struct loop_set *loops, struct rpc_server **ret_server);
/* Registers fn for a tag; before any request. Tags without one: UNKNOWN_MSG. */
void rpc_server_handle(struct rpc_server *s, uint16_t tag, rpc_handler_fn fn,
		       void *arg);
/* For kinds R, W, C ("storage") and G, H ("manager") routes may differ. */
void rpc_server_route(struct rpc_server *s, char kind, rpc_route_fn fn,
		      void *arg);
/*
 * Who we are, told in HELLO; requests for another store end with WRONG_STORE.
 * Who is no store (zero) says so of those that it has no handler for.
 * Before listening and before any link to this server sends.
 */
void rpc_server_identify(struct rpc_server *s, struct wire_u128 cluster,
			 struct wire_u128 store);
/* addr: "unix:PATH". 0 or -errno. */
int rpc_server_listen(struct rpc_server *s, const char *addr);
/* Stops accepting, closes connections; replies still owed are dropped. */
void rpc_server_free(struct rpc_server *s);

/*
 * Answers with OK: payload is taken (buf is empty afterwards, may be NULL),
 * body is taken (may be NULL). From the loop the handler ran on.
 */
void rpc_reply(struct rpc_req *req, struct buf *payload, struct body *body);
/* Answers with a status; hint and text may be 0 and NULL. */
void rpc_reply_error(struct rpc_req *req, uint32_t status, uint64_t hint,
		     const char *text);
/* The same with an error_rsp that is encoded already; payload is taken. */
void rpc_reply_status(struct rpc_req *req, uint32_t status,
		      struct buf *payload);

/* --- links --- */

/* Not "rpc_link": that is the request for a hard link. */
struct rpc_peer_link;

struct rpc_reply {
	uint32_t status;        /* RPC_STATUS_* */
	const uint8_t *payload; /* borrowed for the callback; of an error:
				 * an error_rsp, or nothing */
	size_t len;
	struct body *body;      /* borrowed for the callback; may be NULL */
	uint64_t hint;          /* of an error */
	bool again;             /* common/client: maybe of an earlier try */
	/*
	 * The payload that was sent: the callback may take it (leave an empty
	 * buf) to send it again. NULL when it is still at its handler.
	 */
	struct buf *request;
};
typedef void (*rpc_done_fn)(void *arg, const struct rpc_reply *reply);

struct rpc_call; /* a request under way */

/*
 * A link from `loop` to addr, in the role RPC_ROLE_*. server: when not NULL
 * the peer is in this process and addr is only its name. Lazy: connects with
 * the first request. 0 or -errno.
 */
int rpc_link_new(struct loop *loop, const char *addr, uint32_t role,
		 struct rpc_server *server, struct rpc_peer_link **ret_link);
/*
 * A link is served by one of the server's loops, which hands requests of
 * other loops' shards over to them: two wake-ups each. lane (0 to
 * RPC_LANE_MAX), modulo rpc_link_loops(), is the loop that serves this link;
 * before the first request, else it is the index of the link's own loop.
 */
#define RPC_LANE_MAX 255u
void rpc_link_lane(struct rpc_peer_link *l, unsigned lane);
/* Loops of the server: shard s belongs to s % loops. 0: not told, in process. */
unsigned rpc_link_loops(const struct rpc_peer_link *l);
/*
 * Every request under way ends with UNAVAILABLE (posted; without a word when
 * the loops have stopped).
 */
void rpc_link_free(struct rpc_peer_link *l);

struct rpc_send {
	uint16_t tag;
	uint16_t group;
	struct wire_u128 store; /* zero: any */
	bool loose;          /* see struct rpc_req */
	uint64_t epoch;
	struct buf *payload; /* taken: empty after the call, even on failure */
	struct body *body;   /* a reference is taken over; may be NULL */
	uint32_t timeout_ms; /* 0: 30 s */
	rpc_done_fn done;    /* exactly once, never inside this call */
	void *arg;
};
/* Never fails inline: errors come to done(). Returns NULL when out of memory
 * (then done() is not called and payload and body are gone). */
struct rpc_call *rpc_link_send(struct rpc_peer_link *l, struct rpc_send *send);
/* done() will not be called; the server may or may not act. */
void rpc_call_cancel(struct rpc_call *c);

#endif
