#ifndef STORAGED_SHARD_H
#define STORAGED_SHARD_H
/*
 * The shards of one loop: Raft groups whose state machine is the namespace
 * (ns.h) over rows. No sockets and no event loop in here: the simulator runs
 * this as it is.
 *
 * Happy path of a mutation: decisions from the open table -> raft_submit ->
 * flush -> apply (rows, answer slot, applied index in one commit) -> done. Of
 * a read: can_read or barrier -> ns_read -> values -> done. Of a page read:
 * barrier -> rows_sync -> ns_scan on a worker -> done.
 *
 * One loop only. done() is called exactly once and never inside shard_call();
 * not at all once shard_set_free() was called, which is how a process dies. A
 * state machine that cannot read or write its rows aborts the process.
 */
#include "common/raft/raft_host.h"
#include "common/raft/raft_snap.h"
#include "common/rows/rows.h"
#include "common/seg/seg.h"
#include "common/wire/counts.h"

struct ns_merge_rules;
struct shard_set;

/* status is that of the reply; payload its bytes when it is OK. */
typedef void (*shard_called_fn)(void *arg, uint32_t status,
				struct wire_bytes payload);

struct shard_config {
	struct env *env;        /* borrowed */
	struct rows_back *back; /* borrowed; may be shared by several sets */
	size_t rows_cache;      /* bytes; 0 = 8 MiB */
	uint64_t id;            /* raft id of this store */
	uint32_t election_ms, heartbeat_ms; /* 0: defaults of the host */
	bool read_barrier;      /* raft_host_config */
	size_t entry_cache;     /* raft_host_config.cache_bytes */
	/* Shards of this set, in a log of several. NULL: all of them. */
	bool (*owns)(void *arg, uint16_t group);
	/* Between stores; NULL with one-voter groups only. */
	void (*send)(void *arg, uint64_t to, const uint8_t *frame, size_t len);
	/*
	 * Row snapshots: directory, from raft_start_open(), whose is start
	 * (both borrowed); log bytes between rounds, 0 = default. NULL: none
	 * are made.
	 */
	const char *snap_dir;
	const struct raft_start *start;
	struct wire_u128 store;
	uint64_t snap_bytes;
	/* Leadership of a shard changed (posted). May be NULL. */
	void (*role)(void *arg, uint16_t group, bool leader);
	/* A checkpoint or a round of row snapshots ended. May be NULL. */
	void (*tidied)(void *arg);
	/* A value in the log did not have its hash. May be NULL. */
	void (*rot)(void *arg, uint16_t group, uint64_t gen, uint64_t off);
	/* raft_host_config.room. May be NULL. */
	uint64_t (*room)(void *arg);
	/* Bytes of the file system, for statfs. May be NULL. */
	void (*space)(void *arg, uint64_t *ret_total, uint64_t *ret_avail);
	/*
	 * Removes all chunks of slices that are dead, from every store; then
	 * done(done_arg, status), on this loop, never inside. 0, or -ENOMEM and
	 * done is not called. NULL: there are no chunks.
	 */
	int (*drop)(void *arg, const struct wire_u128 *slices, unsigned n,
		    void (*done)(void *done_arg, uint32_t status),
		    void *done_arg);
	/*
	 * A whole chunk, its bytes as they were written, for merging: a
	 * reference, or NULL where it is not here. Worker. May be NULL.
	 */
	struct body *(*chunk)(void *arg, struct wire_u128 slice,
			      uint32_t index);
	/* When extents are merged; NULL: ns_merge_rules. Borrowed. */
	const struct ns_merge_rules *merge;
	/*
	 * Sends SNAP_GET of a shard to the host of store `to`, for
	 * shard_snap_serve() there; payload is taken. done(done_arg, ...) once,
	 * on this loop, never inside. 0, or < 0 and done is not called. With it,
	 * and snap_dir, logs of groups with several voters get short, and who
	 * lags behind one fetches rows. NULL: who lags stays behind.
	 */
	int (*ask)(void *arg, uint64_t to, uint16_t group, struct buf *payload,
		   void (*done)(void *done_arg, uint32_t status,
				struct buf *payload, struct body *body),
		   void *done_arg);
	/* log_clean_hold(), _release(). NULL: there is no cleaner. */
	void (*hold)(void *arg, bool on);
	unsigned tail, carry;   /* of raft_host_config */
	size_t snap_piece;      /* bytes of a SNAP_GET, at most; 0 = 1 MiB */
	/* The longest that a reader uses extents it has got; 0 = 60 s. */
	uint64_t reader_lease_ns;
	/* What a new leader gives clients to tell their opens; 0 = 60 s. */
	uint64_t grace_ns;
	/*
	 * A request to another shard, wherever that is, with retries for some
	 * seconds; mutations get client, slot and seq on the way. payload is
	 * taken. done(done_arg) once and not inside, unless it was cancelled
	 * by its handle. 0 or -ENOMEM. NULL: there are no other shards.
	 */
	int (*call)(void *arg, uint16_t shard, uint16_t tag,
		    struct buf *payload, shard_called_fn done, void *done_arg,
		    void **ret_handle);
	void (*call_cancel)(void *arg, void *handle);
	/*
	 * Where a new directory below one of this shard goes; the shard itself
	 * when it has room. NULL: always there.
	 */
	uint16_t (*place)(void *arg, uint16_t shard);
	/*
	 * Directories of more entries than that are split (0 = 1,000,000), into
	 * segments where segment_place says; the shard itself: nowhere. NULL:
	 * they are not.
	 */
	uint64_t dir_split_names;
	uint16_t (*segment_place)(void *arg, uint16_t shard);
	void *arg;
};

struct shard_stats {
	uint64_t calls, mutations, reads, scans;
	uint64_t late_reads;  /* whose lease ended while they read */
	uint64_t parks;       /* applies that had to wait for rows */
	uint64_t dry_runs;    /* commands tried out before they were proposed */
	uint64_t rot;
	uint64_t checkpoints;
	uint64_t queue_done;  /* queue rows worked off */
	uint64_t merges;      /* runs of extents made one */
	uint64_t queue_rows;  /* there when they were looked at last */
	uint64_t snaps_out, snaps_in; /* begun for others; installed here */
	uint64_t snaps_failed;        /* fetches */
	uint64_t snap_bytes_out, snap_bytes_in;
	uint64_t opens;       /* now */
	uint64_t in_flight;   /* calls now */
	uint64_t far;         /* commands that needed other shards */
	uint64_t far_again;   /* that gave their locks back and began anew */
	uint64_t lock_waits;  /* calls that waited for a transaction */
	uint64_t dir_splits, dir_split_names;      /* segments; names in them */
	uint64_t dir_split_vain, dir_split_failed; /* directories; attempts */
};

int shard_set_new(const struct shard_config *config,
		  struct shard_set **ret_set);
/*
 * Drops all that is under way. The env runs nothing of it any more (see
 * rows_free()). Writes nothing: see shard_set_flush(). NULL is fine.
 */
void shard_set_free(struct shard_set *set);

/*
 * Start-up: each START of the log scan and each record of a shard of this set
 * -> recover, then the log head and this loop's port -> set_log, each shard ->
 * open, then start.
 */
int shard_set_recover(struct shard_set *set, const struct seg_rec *rec);
/* What the scan says of a record that is lost: raft_host_recover_rot(). */
void shard_set_recover_rot(struct shard_set *set, const struct seg_rot *rot);
void shard_set_log(struct shard_set *set, struct seg_head *log,
		   struct seg_port *port);
/* voters: of a group that the log knows nothing of. Blocks. 0 or -errno. */
int shard_open(struct shard_set *set, uint16_t group, const uint64_t *voters,
	       unsigned n_voters, struct errbuf *e);
int shard_set_start(struct shard_set *set);

/*
 * On the way out: ends every call under way, with UNKNOWN_OUTCOME where it may
 * have happened, else with UNAVAILABLE (done() is called from in here). Only
 * shard_set_flush() and shard_set_free() may follow.
 */
void shard_set_stop(struct shard_set *set);
/*
 * Clean way out, loop and workers have stopped: puts all rows into the back.
 * Blocks. Then the caller makes the checkpoint. 0 or -errno.
 */
int shard_set_flush(struct shard_set *set);

/*
 * Answers: payload (struct rpc_X_rsp encoded) when status is RPC_STATUS_OK, or
 * an error_rsp with RPC_STATUS_ELSEWHERE: where to go on; it is the callee's to
 * take with its bytes, else it is freed after the call.
 * body: a reference that is the callee's, or NULL.
 */
typedef void (*shard_done_fn)(void *arg, uint32_t status, struct buf *payload,
			      struct body *body);
/*
 * A request of kind R or W for a shard. payload: struct rpc_X encoded and
 * checked (rpc_info()->check); taken, empty afterwards. A group that is not
 * here ends with WRONG_STORE, one that does not lead with NOT_LEADER. Returns
 * 0, or -ENOMEM and done is not called.
 */
int shard_call(struct shard_set *set, uint16_t group, uint16_t tag,
	       struct buf *payload, shard_done_fn done, void *arg);
struct shard_request {
	uint16_t group, tag;
	/*
	 * Durability memory: a mutation may be answered before it is durable
	 * (raft_submit.loose); SYNC ends when it is. A power cut takes a tail
	 * of all that the shard did.
	 */
	bool loose;
	struct wire_bytes payload; /* borrowed until done() */
	shard_done_fn done;
	void *arg;
};
int shard_call_request(struct shard_set *set, const struct shard_request *r);

/*
 * SNAP_GET of another store, to a member of the shard, leader or not. payload is
 * borrowed for the call. 0, or -ENOMEM and done is not called.
 */
int shard_snap_serve(struct shard_set *set, uint16_t group,
		     struct wire_bytes payload, shard_done_fn done, void *arg);

/*
 * Makes rows durable and notes it in the log; done(status) unless NULL. Runs
 * by itself after 64 MiB of log and after 30 s with changes. One at a time: a
 * call while one runs is done with the next. 0, or -ENOMEM and done is not
 * called.
 */
int shard_set_checkpoint(struct shard_set *set,
			 void (*done)(void *arg, int status), void *arg);

struct raft_host *shard_set_host(struct shard_set *set);
/* NULL before the start, or without snap_dir. */
struct raft_snaps *shard_set_snaps(struct shard_set *set);
struct rows *shard_set_rows(struct shard_set *set);
/* NULL when it is not here. */
struct raft_group *shard_group(struct shard_set *set, uint16_t group);
void shard_set_stats(const struct shard_set *set, struct shard_stats *ret);
/* Those of them that managers are told, added. Any thread. */
void shard_set_counts(const struct shard_set *set, struct store_counts *sum);

/* How far its rows are (blocks): index, and time of the last command. 0 when
 * absent. */
int shard_read_applied(struct rows_back *back, uint16_t group,
		       uint64_t *ret_index, int64_t *ret_now);

#endif
