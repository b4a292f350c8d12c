#ifndef COMMON_CLIENT_CLIENT_H
#define COMMON_CLIENT_CLIENT_H
/*
 * What gateway, mount, managers and tests share: routing of requests by shard
 * or chunk, retries that cannot apply a mutation twice, the cluster snapshot,
 * the session, chunk writing and reading. One client per loop.
 *
 * Happy path of a call: encode -> route -> link -> reply. On NOT_LEADER,
 * STALE_EPOCH, WRONG_STORE, UNAVAILABLE, UNKNOWN_OUTCOME, BUSY the client
 * refreshes its snapshot if needed and tries again with the same (client,
 * slot, seq) until the deadline, then answers UNAVAILABLE or TIMEDOUT.
 */
#include "common/base/buf.h"
#include "common/base/env.h"
#include "common/base/errbuf.h"
#include "common/client/cluster.h"
#include "common/rpc/rpc.h"

struct client;
struct client_set;

struct client_config {
	struct loop_set *loops;
	const char *manager;  /* address: "unix:PATH" */
	uint32_t role;        /* RPC_ROLE_* */
	const char *kind;     /* session kind for status pages: "gateway" ... */
	uint32_t timeout_ms;  /* whole operation with retries; 0 = 30 s */
	/*
	 * In-process servers: a store or manager whose address equals `local`
	 * is reached through server without a socket. May be NULL.
	 */
	const char *local;
	struct rpc_server *server;
	bool all_local; /* all of them are there, whatever their address */
};

/* One client per loop of config->loops. Strings are copied. 0 or -errno. */
int client_set_new(const struct client_config *config,
		   struct client_set **ret_set, struct errbuf *e);
/*
 * Opens the session and fetches the first snapshot; ready(arg, status) on
 * loop 0 once done (retries until it works); ready may be NULL. Later snapshots come by
 * themselves (long poll) and are shared by all loops. Sessions renew.
 */
void client_set_start(struct client_set *set, void (*ready)(void *arg, int status),
		      void *arg);
/* NULL is fine. */
/* On loop 0 or after the loops have stopped. Calls under way are dropped. */
void client_set_free(struct client_set *set);
struct client *client_of(struct client_set *set, struct loop *loop);

struct env *client_env(struct client *c);
uint64_t client_session(struct client *c);
/* For an open or a close: above all that this client had before, and no other
 * one's of the session. */
uint64_t client_open_number(struct client *c);
/* The newest snapshot, borrowed for this callback (ref to keep). May be NULL
 * before ready. */
struct cluster *client_cluster(struct client *c);
/* done(arg, status) once the snapshot's version is >= version; version
 * UINT64_MAX: fetch now whatever we have (a name was not found). */
void client_refresh(struct client *c, uint64_t version,
		    void (*done)(void *arg, int status), void *arg);
/* True between a failed and the next successful contact with the managers. */
bool client_is_cut_off(struct client *c);
/* Memory for bodies is short: hold as little of them as possible. */
bool client_is_short(struct client *c);

/* --- calls --- */

/* No shard is this one: where client_first_shard() says (follow.h). */
#define CLIENT_FIRST 0

struct client_call;
struct client_send {
	uint16_t tag;
	/* Where to: shard for kinds R and W (usually CLIENT_FIRST); managers
	 * for G and H; an owner for C (from the slice); store for S. */
	uint16_t shard;
	struct wire_u128 store;
	struct buf *payload; /* taken. Mutations: encoded with client, slot,
			      * seq = 0; the client patches the first 20 bytes */
	struct body *body;   /* a reference is taken over */
	unsigned nth;        /* C: which owner of the chunk, from 0 */
	uint32_t timeout_ms; /* 0: the configured one */
	uint64_t deadline;   /* env_now_ns(), ends it as well; 0: none */
	bool loose;          /* W: durability memory, cluster_is_loose() */
	rpc_done_fn done;    /* exactly once, never inside */
	void *arg;
};
/* NULL when out of memory (done not called; payload and body gone). */
struct client_call *client_send(struct client *c, struct client_send *send);
/* done will not be called. A mutation may or may not happen. */
void client_cancel(struct client_call *call);

/* Encode a request struct and send it:
 * CLIENT_SEND(c, lookup, shard, &req, done, arg) */
#define CLIENT_SEND(c, name, shard_, req, done_, arg_) \
	client_send_encoded((c), RPC_TAG_##name, (shard_), \
			    client_encode_##name, (req), (done_), (arg_))
struct client_call *client_send_encoded(struct client *c, uint16_t tag,
					uint16_t shard,
					int (*encode)(const void *req,
						      struct buf *out),
					const void *req, rpc_done_fn done,
					void *arg);
/* The same with what struct client_send says of these. */
struct client_how {
	uint64_t deadline;
	bool loose;
};
#define CLIENT_SEND_HOW(c, name, shard_, how_, req, done_, arg_) \
	client_send_encoded_how((c), RPC_TAG_##name, (shard_), (how_), \
				client_encode_##name, (req), (done_), (arg_))
struct client_call *client_send_encoded_how(struct client *c, uint16_t tag,
					    uint16_t shard,
					    const struct client_how *how,
					    int (*encode)(const void *req,
							  struct buf *out),
					    const void *req, rpc_done_fn done,
					    void *arg);
/* With a deadline. */
#define CLIENT_SEND_BY(c, name, shard_, deadline_, req, done_, arg_) \
	CLIENT_SEND_HOW((c), name, (shard_), \
			(&(const struct client_how){ (deadline_), false }), \
			(req), (done_), (arg_))
#define CLIENT_ENCODE_DECL(tag, name, FIELDS, rsp, roles, kind) \
	static inline int client_encode_##name(const void *req, struct buf *out) \
	{ \
		return rpc_##name##_encode(req, out); \
	}
RPC_REQUESTS(CLIENT_ENCODE_DECL)

/* --- slices --- */

/*
 * Writes one slice as a stream: bytes are collected into chunks of 4 MiB;
 * each is hashed and sent to its owners while the next fills. At most
 * CLIENT_WRITE_AHEAD chunks are under way; then client_slice_full() is true
 * and on_drain() is called when it no longer is.
 */
#define CLIENT_WRITE_AHEAD 3
struct client_slice;
struct client_slice_cbs {
	void (*on_drain)(void *arg);
	/* After client_slice_finish(): all chunks durable, or an error status. */
	void (*done)(void *arg, uint32_t status);
};
/* home: shard whose K row will count it. NULL when out of memory. */
struct client_slice *client_slice_new(struct client *c, uint16_t home,
				      const struct client_slice_cbs *cbs,
				      void *arg);
/*
 * No more than len bytes in all will be added; more are an error. Before the
 * first: memory is then made to that measure.
 */
void client_slice_expect(struct client_slice *s, uint64_t len);
struct wire_u128 client_slice_id(const struct client_slice *s);
uint64_t client_slice_len(const struct client_slice *s); /* bytes added */
bool client_slice_full(const struct client_slice *s);
/*
 * Room for at least one byte at the end of the current chunk; the caller
 * writes into it and calls _commit. NULL when full or out of memory
 * (client_slice_error tells).
 */
uint8_t *client_slice_reserve(struct client_slice *s, size_t *ret_room);
void client_slice_commit(struct client_slice *s, size_t n);
/*
 * Where reserved bytes are, borrowed; those committed do not change any more,
 * so who keeps a reference may look at them later.
 */
struct body *client_slice_body(const struct client_slice *s);
/* Copies; takes what fits, returns how much (0 when full). */
size_t client_slice_add(struct client_slice *s, const void *data, size_t len);
uint32_t client_slice_error(const struct client_slice *s); /* RPC_STATUS */
/* Chunks that are not stored by then (env_now_ns()) fail the slice. */
void client_slice_set_deadline(struct client_slice *s, uint64_t deadline);
void client_slice_finish(struct client_slice *s);
/* A commit that names it was answered with OK. */
void client_slice_named(struct client_slice *s);
/*
 * Any time; after done or instead of it. Unless it is named its shard is told
 * that nobody will commit it: its chunks go, and commits that still come are
 * refused.
 */
void client_slice_free(struct client_slice *s);

/* Bytes of bodies that the process may have; who keeps some takes a part. */
size_t client_mem_max(const struct client *c);

/*
 * Reads a byte range of an inode in order: asks the shard for extents (READ),
 * fetches chunks ahead, fills holes with zeros. Each data() call hands over
 * up to one body's bytes; after client_read_pause() no more come until
 * _resume(). done() is the last call.
 */
struct client_read;
struct client_read_cbs {
	/*
	 * Bytes [from, from+len) of body are the next in order; borrow/ref.
	 * (Copy when memory is short, else the reference keeps all of it.)
	 */
	void (*data)(void *arg, struct body *body, uint32_t from, uint32_t len);
	void (*done)(void *arg, uint32_t status);
};
struct client_read_spec {
	uint64_t ino;
	uint64_t off, len;
	uint64_t version; /* 0: any */
	uint64_t deadline; /* env_now_ns(): all of it ends by then; 0: none */
	/*
	 * Chunks fetched besides the next one. 0 is enough where they come
	 * fast: the next is fetched while the one before is being used, and
	 * each more is 4 MiB for each reader.
	 */
	uint32_t ahead;
	/* What the caller knows already from OBJECT or OPEN; else empty: */
	struct wire_bytes extents; /* copied */
	uint64_t covered;
	struct body *inline_body;  /* ref'd; may be NULL */
};
struct client_read *client_read_start(struct client *c,
				      const struct client_read_spec *spec,
				      const struct client_read_cbs *cbs,
				      void *arg);
void client_read_pause(struct client_read *r);
void client_read_resume(struct client_read *r);
/* Cancels when still running; no callback after it. */
void client_read_free(struct client_read *r);

#endif
