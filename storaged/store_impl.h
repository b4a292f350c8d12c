#ifndef STORAGED_STORE_IMPL_H
#define STORAGED_STORE_IMPL_H
/* Private to storaged/store*.c. */
#include <stdatomic.h>

#include "common/base/loop.h"
#include "common/base/space.h"
#include "common/raft/raft_snap.h"
#include "common/seg/super.h"
#include "storaged/chunk.h"
#include "storaged/compact.h"
#include "storaged/log_clean.h"
#include "storaged/log_doubt.h"
#include "storaged/orphans.h"
#include "storaged/shard.h"
#include "storaged/store.h"

struct client_set;
struct store;

/* What one event loop has of the store. */
struct store_loop {
	struct store *store;
	unsigned index;
	struct env *env;
	struct shard_set *set;       /* NULL before the raft id is known */
	struct seg_port *log_port, *bulk_port;
	struct chunk_loop *chunks;
	struct env_task start;       /* store_start() on this loop */
	struct env_task tidy;        /* store_checkpoint() on this loop */
	atomic_bool tidying;
	_Atomic uint64_t checkpoints, snapshots; /* as its last tick saw them */
	bool serving;                /* loop only */
};

struct store_shard {
	uint16_t id;
	bool led;                    /* its loop only: led once */
	_Atomic uint64_t names;      /* files and directories, lately */
};

struct store {
	struct loop_set *loops_set;  /* borrowed */
	struct rpc_server *server;   /* borrowed; may be NULL in tests */
	char *dir;
	size_t rows_cache, db_cache;
	uint64_t log_segment, bulk_segment, snap_bytes;
	uint64_t reader_lease_ns, opens_grace_ns;
	struct super super;
	struct rows_back *rows;
	char *snap_dir;
	struct raft_start *snaps;    /* row snapshots at the start */
	struct errbuf *open_e;       /* while the log is scanned */
	struct log_doubt *doubt;     /* the same */
	struct chunk_store *chunks;
	struct seg_head *log, *bulk;
	struct compact *compact;     /* loop 0 */
	struct log_clean *log_clean; /* of it; from the start on */
	struct orphans *orphans;     /* loop 0; NULL: none */
	bool is_check, read_barrier;
	struct store_loop *loops;
	unsigned n_loops;
	struct store_shard *shards;
	unsigned n_shards;
	bool clean;                  /* recovery went through */
	/* start */
	atomic_uint leading;         /* shards that led once */
	bool started;
	struct env_task ready_task;  /* loop 0 */
	void (*ready)(void *arg);
	void *ready_arg;
	struct space space;          /* loop 0 */
	_Atomic uint64_t rot;
	/* requests of shards to other shards */
	struct client_set *clients;  /* NULL: there are none */
	atomic_bool calls_started;
	struct env_task calls_task;
	/* where new directories go */
	uint64_t spread_names, dir_split_names;
	struct env_timer names_timer;
	struct env_work names_work;
};

/* --- store_open.c --- */
int store_open_parts(struct store *s, struct errbuf *e);
/* Makes the shard sets, once the raft id is known. */
int store_make_sets(struct store *s, struct errbuf *e);
/* One path below the store; mem_free(). NULL: e is set. */
char *store_path(const struct store *s, const char *name, struct errbuf *e);

/* --- store_rpc.c --- */
void store_rpc_register(struct store *s);

/* --- store_compact.c --- */
int store_compact_open(struct store *s, const struct store_config *config,
		       struct errbuf *e);
/* The sets are there; the loops may not run yet. */
int store_compact_start(struct store *s, struct errbuf *e);
void store_compact_rpc(void *arg, struct rpc_req *req);
/* --- store_call.c --- */
int store_calls_new(struct store *s, const struct store_config *config,
		    struct errbuf *e);
int store_on_call(void *arg, uint16_t shard, uint16_t tag, struct buf *payload,
		  shard_called_fn done, void *done_arg, void **ret_handle);
void store_on_call_cancel(void *arg, void *handle);

/* --- store_place.c --- */
uint16_t store_on_place(void *arg, uint16_t shard);
uint16_t store_on_segment_place(void *arg, uint16_t shard);
void store_place_start(struct store *s); /* loop 0 */
void store_place_stop(struct store *s);

/* --- store_slices.c --- */
void store_slices_rpc(void *arg, struct rpc_req *req);

/* --- store.c --- */
void store_on_role(void *arg, uint16_t group, bool leader);
struct body *store_on_chunk(void *arg, struct wire_u128 slice,
			    uint32_t index);
void store_on_tidied(void *arg);
void store_on_rot(void *arg, uint16_t group, uint64_t gen, uint64_t off);
int store_on_drop(void *arg, const struct wire_u128 *slices, unsigned n,
		  void (*done)(void *done_arg, uint32_t status),
		  void *done_arg);
void store_on_hold(void *arg, bool on);

void store_on_space(void *arg, uint64_t *ret_total, uint64_t *ret_avail);
uint64_t store_on_room(void *arg);

#endif
