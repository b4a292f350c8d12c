#ifndef STORAGED_STORE_H
#define STORAGED_STORE_H
/*
 * A store: one data directory (super block, log head, bulk head, rows and
 * chunks databases), the shards it hosts, and the RPC handlers for them.
 *
 *   DIR/super  DIR/log/  DIR/bulk/  DIR/rows/  DIR/chunks/  DIR/snap/
 *   DIR/reserve
 *
 * Shard s lives on loop s % loops. Happy path of a mutation: handler ->
 * victim/decisions -> raft_submit -> flush -> apply (rows, answer slot) ->
 * reply. Of a read: can_read or barrier -> ns_read -> values -> reply.
 */
#include "common/base/env.h"
#include "common/base/errbuf.h"
#include "common/rpc/rpc.h"
#include "common/wire/counts.h"
#include "storaged/orphans.h"

struct store;
struct loop_set;

struct store_config {
	struct loop_set *loops;
	struct rpc_server *server; /* handlers are registered here */
	const char *dir;
	const char *manager;       /* to reach other shards; NULL: none */
	const char *addr;          /* our own, as the managers know it */
	/*
	 * Names in a shard from which on its new directories go to shards with
	 * fewer; 0 = 1,000,000, 1: to any shard from the first one on.
	 */
	uint64_t spread_names;
	uint64_t dir_split_names;  /* shard.h */
	size_t rows_cache;         /* bytes per loop; 0 = 8 MiB */
	size_t db_cache;           /* leveldb block cache; 0 = 8 MiB */
	uint64_t log_segment;      /* bytes of a log segment; 0 = 64 MiB */
	uint64_t bulk_segment;     /* the same; 0 = 64 MiB */
	uint64_t snap_bytes;       /* log between row snapshots; 0 = 256 MiB */
	uint64_t reader_lease_ns, opens_grace_ns; /* shard.h */
	bool read_barrier;         /* raft_host_config */
	/* compact.h; 0: no limit, never by itself */
	uint64_t compact_rate, compact_min_dead;
	unsigned compact_threshold;
	/* orphans.h, one message at a time; NULL: none are looked for */
	int (*send)(void *arg, uint16_t tag, uint16_t shard,
		    struct buf *payload, orphans_done_fn done, void *done_arg);
	void *send_arg;
	uint64_t orphans_period_ns, orphans_grace_ns;
	bool is_check;             /* nothing is compacted, or looked for; every
				    * store is in this process */
};

/*
 * Opens or creates the store and recovers it (blocks). A new one gets a
 * random id and no raft id yet. 0 or -errno with e set.
 */
int store_open(const struct store_config *config, struct store **ret_store,
	       struct errbuf *e);
struct wire_u128 store_id(const struct store *s);
/* 0 until the managers gave one (store_assign). */
uint64_t store_raft_id(const struct store *s);
/*
 * First contact with the managers: the raft id (written to the super block,
 * must equal the one already there) and the shards to host as single voter.
 * Then store_start().
 */
int store_assign(struct store *s, uint64_t raft_id, const uint16_t *shards,
		 unsigned n, struct errbuf *e);
/* Starts groups and serving; ready(arg) on loop 0 when every shard leads. */
int store_start(struct store *s, void (*ready)(void *arg), void *arg,
		struct errbuf *e);
/* Checkpoints and row snapshots now, not when they are due; any thread. */
void store_checkpoint(struct store *s);
/* As seen within the last second; any thread. */
void store_space(struct store *s, uint64_t *ret_total, uint64_t *ret_avail);
/* Appends (str name, u64 segments, u64 bytes, u64 alive) of each head; loop 0. */
void store_heads(struct store *s, struct wire_vec *v);
/* Of all loops, since the start. Loop 0. */
void store_counts(const struct store *s, struct store_counts *ret);
struct store_stats {
	uint64_t rot; /* values, records and chunks without their hash */
	uint64_t chunk_puts, chunk_gets, chunk_put_bytes, chunk_get_bytes;
	uint64_t checkpoints, snapshots; /* of rows, since the start */
	bool full;    /* below the reserve: what adds bytes gets NOSPC */
};
void store_stats(struct store *s, struct store_stats *ret); /* any thread */
/* After the loops have stopped: checkpoint, close. NULL is fine. */
void store_close(struct store *s);

#endif
