#ifndef TESTS_LIB_SHARDWORLD_H
#define TESTS_LIB_SHARDWORLD_H
/*
 * One shard, and `more` behind it, over the small env, a file system that knows
 * power cuts, and the memory back, with the real Raft host and namespace. For
 * cmocka tests: what must not happen fails the test.
 */
#include "common/wire/msgs.h"
#include "common/wire/status.h"
#include "storaged/shard.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"

#define SHARD 3
#define SECOND 1000000000u

struct world {
	struct crashfs *fs;
	struct minienv *m;
	struct rows_mem_image *image;
	struct rows_back *back;
	struct shard_set *set;
	struct seg_head *log;
	struct seg_port *port;
	unsigned rots;
	bool leads;
	uint64_t seq; /* of answer slots */
	uint64_t grace_ns; /* of the next start; 0: the default */
	/* slices whose chunks were to be dropped, as often as it was said */
	struct wire_u128 *dropped;
	unsigned n_dropped, cap_dropped;
	unsigned drop_fails; /* that many times */
	struct drop_call *drop; /* under way */
	unsigned more; /* shards: tune() says it before the first start */
	/* May be NULL: what else a process is told; and whose world it is. */
	void (*tune)(struct world *w, struct shard_config *config);
	void *user;
};

/* --- one process: start, power cut, start --- */

void world_init(struct world *w);
void world_init_tuned(struct world *w,
		      void (*tune)(struct world *w, struct shard_config *c),
		      void *user);
void world_fini(struct world *w);
void world_start(struct world *w, uint64_t seed);
/* The process is gone; what it had queued never runs. */
void world_kill(struct world *w);
/* Kills, loses what was not synced, starts. */
void world_power_cut(struct world *w, uint64_t seed);

/* --- calls --- */

struct reply {
	unsigned n;
	uint32_t status;
	struct buf payload;
	struct body *body;
};

void reply_fini(struct reply *r);
/* Takes b. */
void world_send_to(struct world *w, uint16_t group, uint16_t tag,
		   struct buf *b, struct reply *r);

/* Durability memory; b stays until r->n is 1. */
void world_send_loose(struct world *w, uint16_t tag, const struct buf *b,
		      struct reply *r);

#define SEND(w, name, req, r) \
	do { \
		struct buf send_b_; \
		buf_init(&send_b_, 0); \
		(void)rpc_##name##_encode((req), &send_b_); \
		world_send_to((w), SHARD, RPC_TAG_##name, &send_b_, (r)); \
	} while (0)

/* Sends, runs, expects one answer. */
#define CALL(w, name, req, r) \
	do { \
		SEND(w, name, req, r); \
		minienv_run((w)->m); \
		assert_int_equal((r)->n, 1); \
	} while (0)

#define MUT(w) .client = 9, .slot = 1, .seq = ++(w)->seq

/* A new bucket's root. */
uint64_t world_root(struct world *w, uint64_t bucket);

/* A new file's inode; session 0: not opened. */
uint64_t world_file(struct world *w, uint64_t dir, const char *name,
		    uint64_t session);

#define WORLD_BIG 20000
extern char world_big[WORLD_BIG]; /* bytes that tell where they are */

/* An object with these bytes in the request; v is the caller's to free. */
void world_put_request(struct world *w, uint64_t root, const char *key,
		       const char *bytes, size_t len, struct wire_vec *v,
		       struct rpc_put *ret);
void world_put(struct world *w, uint64_t root, const char *key,
	       const char *bytes, size_t len);
/* The status; with OK these bytes came. */
uint32_t world_get(struct world *w, uint64_t root, const char *key,
		   const char *bytes, size_t len);

#endif
