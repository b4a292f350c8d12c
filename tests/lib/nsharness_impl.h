#ifndef TESTS_LIB_NSHARNESS_IMPL_H
#define TESTS_LIB_NSHARNESS_IMPL_H
/*
 * Inside of the harness:
 *
 *   nsharness.c          replicas, entries, requests and their hops
 *   nsharness_txn.c      transactions over shards, as hosts run them
 *   nsharness_calls.c    the queue's worker, shorthands, bytes, pages
 *   nsharness_segment.c  segments of huge directories
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storaged/ns_locks.h"
#include "tests/lib/minienv.h"
#include "tests/lib/nsharness.h"

#define NSH_MUST(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, \
				#x); \
			abort(); \
		} \
	} while (0)

enum {
	NSH_OPENS = 256,
	NSH_SHARDS = 8,
	NSH_ROUNDS = 100,
	NSH_HOPS = 10000, /* of one request: more goes in circles */
};

struct nsh_replica {
	struct rows_mem_image *image;
	struct rows_back *back;
	struct rows *rows;
	struct buf log;
	uint64_t gen;
	struct ns_answer answer;
	struct ns_locks *locks[NSH_SHARDS]; /* by shard - h->shard */
	bool done;
	int status;
};

struct nsh {
	struct minienv *env;
	struct nsh_replica rep[2];
	uint16_t shard;   /* the first one, of roots */
	unsigned shards;
	int64_t now;
	uint64_t seed, spread; /* spread: random ... */
	uint64_t spread_seed;  /* ... from this on */
	uint64_t txns;
	struct nsh_stats stats;
	bool hold;         /* ends of transactions wait in held */
	struct nsh_txn *held;
	struct buf joined; /* the answer of several hops */
	bool is_joined;
	struct buf body;
	struct buf req;
	struct wire_vec vec;
	struct {
		uint64_t ino;
		unsigned n;
	} opens[NSH_OPENS];
	uint64_t kept[NSH_OPENS]; /* files that were kept for nobody */
	unsigned n_kept;
	unsigned findings;
};

struct nsh_txn {
	struct nsh_txn *next;  /* of those that are held */
	struct wire_u128 id;
	struct wire_vec rows;  /* locked so far */
	bool partner[NSH_SHARDS];
	bool committed;
};

/* --- nsharness.c --- */
/* All that was committed is in r's back. */
void nsh_sync(struct nsh *h, struct nsh_replica *r);
void nsh_load(struct nsh *h, struct nsh_replica *r, struct rows_txn *t);
/* One log entry of a shard, at both replicas; the status. */
uint32_t nsh_enter(struct nsh *h, const struct ns_cmd *cmd);
/* Of the first replica: the rows whose keys begin so. */
struct rows_iter *nsh_iter(struct nsh *h, struct ns_key *from);
unsigned nsh_count_key(struct nsh *h, struct ns_key *k);

/* --- nsharness_txn.c --- */
void nsh_txn_begin(struct nsh *h, struct nsh_txn *t, uint16_t shard);
/* TXN_LOCK of those of the wants that are rows of that shard. */
void nsh_txn_lock(struct nsh *h, struct nsh_txn *t, uint16_t shard,
		  struct wire_bytes wants);
/* As the answer of the last entry says; that stays. */
void nsh_txn_end(struct nsh *h, struct nsh_txn *t);

#endif
