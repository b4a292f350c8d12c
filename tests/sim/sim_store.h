#ifndef TESTS_SIM_SIM_STORE_H
#define TESTS_SIM_SIM_STORE_H
/*
 * A simulated store: what a process with shards has besides its log and its
 * Raft host. Rows, which are compared with those of other stores, row snapshots,
 * the log's scan as a start does it, the log's cleaner, and what members of a
 * shard ask of each other (sim_snap.c). The process (sim_proc.h) knows it by its
 * pointer, so what shards, log and cleaner call with the process for argument
 * may stand here.
 *
 * open -> shard_set_new() -> open_log -> groups, shard_set_start() ->
 * open_clean -> close; a failure in between: close.
 */
#include "storaged/log_clean.h"
#include "storaged/log_doubt.h"
#include "storaged/shard.h"
#include "tests/sim/sim_proc.h"

struct sim_ask;

struct sim_store {
	struct sim_proc *at;      /* borrowed */
	unsigned life;            /* of all processes of the run */
	struct rows_back *back;
	struct shard_set *set;    /* the simulator makes it */
	struct raft_start *start;
	struct log_doubt *doubt;  /* while the log is scanned */
	struct log_clean *clean;  /* NULL before open_clean */
	struct compact *compact;  /* drives it */
	uint64_t segments;        /* of the log when it began */
	uint64_t every;           /* see sim_store_applied() */
	struct sim_ask **asks;    /* of the world */
};

/*
 * Before open: with a chance of permille / 1000 the machine's rows are gone, or
 * (unless old is NULL) those of old are back.
 */
void sim_store_lose_rows(struct sim_proc *at, unsigned permille,
			 struct rows_mem_image **image,
			 struct rows_mem_image *old);
/*
 * Fills in what shards need of it: back, id, start, snap_dir, store, hold, rot,
 * send, ask; config.arg is the process. 0 or -errno with e set: it is closed.
 */
int sim_store_open(struct sim_store *st, struct sim_proc *at,
		   struct rows_mem_image *image, struct sim_ask **asks,
		   struct shard_config *config, struct errbuf *e);
/* Log and port, for the set. 0 or -errno with e set. */
int sim_store_open_log(struct sim_store *st, struct errbuf *e);
/* pinned: log_clean.h */
void sim_store_open_clean(struct sim_store *st, uint64_t pinned);
/* Counts what it did. crash: as seg_head_abandon(). */
void sim_store_close(struct sim_store *st, bool crash);
/* The process aborted. */
void sim_store_died(unsigned node);

/*
 * The power of the machine with these rows failed within this event. Rows are no
 * file here: like files they must keep nothing from there on.
 */
bool sim_store_is_cut(const struct rows_back *back);
/*
 * What a store does now and then: checkpoints, more of them where members
 * shall lag behind logs; its database writes its tables; its log is cleaned.
 */
void sim_store_tidy(struct sim_store *st, struct sim *s, bool lags,
		    bool cleans);
/*
 * Values that its durable rows of shards 1 to n name are in its log. Not at a
 * start with rows in doubt: what the log behind them drops may be gone
 * (log_doubt.c).
 */
void sim_store_check_values(struct sim_store *st, unsigned n);
void sim_store_check_start(struct sim_store *st, unsigned n);

/* What replicas of a shard had at an index of the log. */
struct sim_states {
	struct sim_state {
		uint64_t index;
		struct wire_u128 hash; /* ns_hash() */
	} *v;
	unsigned n, cap;
};
/*
 * The rows of a shard that were written so far are sound, and those that any
 * other store had at that index. Returns it.
 */
uint64_t sim_store_check_rows(struct sim_store *st, uint16_t shard,
			      struct sim_states *states);
/*
 * A command was applied: the same of all rows as commands see them, at each
 * index that is a multiple of st->every (0, as sim_store_open() leaves it:
 * never).
 */
void sim_store_applied(struct sim_store *st, uint16_t shard, uint64_t index,
		       struct sim_states *states);
/* Which seeds do, and how often. */
uint64_t sim_store_every(uint64_t seed);
/* Nobody ever had more than what is up to index. */
void sim_states_cut(struct sim_states *states, uint64_t index);
void sim_states_fini(struct sim_states *states);

/* --- sim_snap.c --- */
/* shard_config.ask */
int sim_snap_ask(void *arg, uint64_t to, uint16_t group, struct buf *payload,
		 shard_done_fn done, void *done_arg);
void sim_snap_free(struct sim_ask *asks);

#endif
