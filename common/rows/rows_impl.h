#ifndef COMMON_ROWS_ROWS_IMPL_H
#define COMMON_ROWS_ROWS_IMPL_H
/*
 * Private to common/rows: the per-loop structures.
 *
 * What a resident row goes through:
 *
 *   loaded -> CLEAN <----------------------------------+
 *               | commit                               | all older holds gone
 *               v         batch starts                 |
 *             DIRTY ------------------> WRITING -----> LINGER
 *               ^------- commit -----------+--------------+
 *
 * Every row but CLEAN ones is in the ordered index. CLEAN rows without pins may
 * be evicted. The one rule that makes loads safe: a load may bring what the
 * back held when the load began, so a row that changed since must still be
 * resident when the load ends (a resident row wins over a loaded one), and
 * must still be in the ordered index while a range that was loaded is in use.
 * A `hold` is such a span, from the first load of a txn to its reset.
 */
#include "common/rows/row.h"
#include "common/rows/rows.h"

struct rows_hold {
	uint64_t seq; /* 0: not in the list */
	struct rows_hold *prev, *next;
};

struct rows_waiter {
	uint64_t target; /* done when everything up to this commit is written */
	rows_sync_fn done;
	void *arg;
	struct rows_waiter *next;
};

/* Loads of one loop turn go to a worker together. */
struct rows_loader {
	struct rows *rows;
	struct env_work work;
	struct rows_txn *batch; /* through queue_next; NULL: idle */
};
#define ROWS_LOADERS 3

struct rows_prefix {
	uint8_t bytes[ROWS_PREFIX];
	bool is; /* false: none */
};

struct rows {
	struct env *env;        /* borrowed */
	struct rows_back *back; /* borrowed */
	size_t cache_max;       /* bytes of CLEAN rows */
	uint64_t seed;          /* of key hashes: names come from users */
	int err;                /* sticky: a batch could not be written */

	struct row **buckets;
	size_t n_buckets;       /* power of two */
	size_t n_rows;

	struct rows_prefix *fresh; /* all of their rows are resident; owned */
	bool any_fresh;

	struct row *index;      /* ordered: all but CLEAN */
	struct row_list clean, dirty, linger;
	size_t clean_bytes, dirty_bytes;

	/* holds in the order they began; a row lingers behind the newest */
	struct rows_hold *hold_head, *hold_tail;
	uint64_t hold_seq;

	/* the writer: one batch in flight, the next accumulates in `dirty` */
	struct env_task start;  /* at the end of the loop turn */
	struct env_timer timer; /* a moment after a commit, or -ENOMEM */
	struct env_work work;
	bool start_posted, timer_armed, writing;
	struct rows_gate gate;
	bool gated;             /* the batch waits for it */
	struct row *batch;      /* by batch_next */
	int batch_status;       /* set by the worker */
	uint64_t committed;     /* commits so far */
	uint64_t batch_commit;  /* last one in the batch in flight */
	uint64_t written;       /* last one known to be in the back */

	struct rows_waiter *waiters, **waiters_tail;
	struct env_task sync_task;
	bool sync_posted;

	struct rows_txn *txns;    /* all, through all_next */
	struct rows_txn *loading; /* txns with a load under way */
	/* those that no loader has taken yet, through queue_next */
	struct rows_txn *queue, **queue_tail;
	struct rows_loader loaders[ROWS_LOADERS];
	struct env_task load_task; /* at the end of the loop turn */
	bool load_posted;
	unsigned forget_every, forget_count;

	/* what a load left in the cache goes when nobody comes for it */
	struct env_timer rest;
	struct env_work rest_work;
	bool rest_armed, busy; /* busy: rows were wanted since the last look */
};

/* One thing a txn needs; then what the worker found for it. */
struct rows_need {
	uint8_t *bytes; /* from, then to; owned */
	size_t from_len, to_len;
	bool range;
	unsigned limit;   /* rows to bring of a range */
	struct row *rows; /* found, by next, ascending; owned until inserted */
	bool more;        /* of a range: rows beyond the last one are unknown */
};

/* Rows of the back in [from, upto), all resident and pinned. */
struct rows_range {
	uint8_t *bytes; /* from, then upto; owned */
	size_t from_len, upto_len; /* upto_len 0: to the end of everything */
	struct row **rows;
	size_t n;
};

struct rows_txn {
	struct rows *rows;
	struct row *writes;     /* ordered; not in rows before the commit */
	struct row_list order;  /* the same, as first written */
	int err;                /* sticky until reset */
	struct rows_val **held; /* values lent out */
	size_t n_held, cap_held;
	struct row **pins;
	size_t n_pins, cap_pins;
	struct rows_need *needs;
	size_t n_needs, cap_needs;
	struct rows_range *ranges;
	size_t n_ranges, cap_ranges;
	struct rows_prefix *fresh; /* declared by this command; owned */
	size_t n_fresh, cap_fresh;
	struct rows_hold hold;

	/* load under way */
	bool loading, dead;
	bool again;             /* what it brings is of rows that are gone */
	unsigned rounds;        /* loads since the last reset */
	int load_status;        /* set by the worker */
	rows_sync_fn done;
	void *arg;
	struct rows_txn *load_prev, *load_next, *queue_next;
	struct rows_txn *all_prev, *all_next;
};

/* Grows *p (elements of size) to hold n + 1. 0 or -ENOMEM. */
int rows_grow(void *p, size_t *cap, size_t n, size_t size);

struct row *rows_lookup(struct rows *rows, struct wire_bytes key,
			uint64_t hash);
/* A loaded row becomes CLEAN, unless one is resident: then it is freed.
 * Returns the resident one. */
struct row *rows_insert_loaded(struct rows *rows, struct row *r);
/* A written row becomes DIRTY; taken. */
void rows_insert_written(struct rows *rows, struct row *w);
void rows_evict(struct rows *rows);
/* Gives the cache back down to this once nothing was read for a while. */
#define ROWS_CACHE_REST ((size_t)8 << 20)
/* r was written: stays until all holds begun so far have ended. */
void rows_linger(struct rows *rows, struct row *r);
/* Rows that lingered for holds that are gone become evictable. */
void rows_release(struct rows *rows);
void rows_hold_begin(struct rows *rows, struct rows_hold *hold);
void rows_hold_end(struct rows *rows, struct rows_hold *hold);

/* Prefixes without rows outside memory (rows_fresh.c). */
int rows_fresh_init(struct rows *rows); /* 0 or -ENOMEM */
/* What is not resident of this key's prefix does not exist. */
bool rows_fresh_has(const struct rows *rows, struct wire_bytes key);
/* A row that exists leaves memory. */
void rows_fresh_lost(struct rows *rows, struct wire_bytes key);
void rows_fresh_clear(struct rows *rows);
void rows_fresh_commit(struct rows_txn *t);

/* Pins r for t. 0 or -ENOMEM. */
int rows_txn_pin(struct rows_txn *t, struct row *r);
void rows_txn_drop_writes(struct rows_txn *t);
void rows_txn_drop_needs(struct rows_txn *t);
void rows_txn_drop_pins(struct rows_txn *t); /* and ranges */
/* Frees the memory of a txn with nothing in it. */
void rows_txn_destroy(struct rows_txn *t);
void rows_load_init(struct rows *rows);
/* A load whose work will not end any more. */
void rows_load_abandon(struct rows_txn *t);

/* The writer. */
void rows_writer_init(struct rows *rows);
void rows_writer_kick(struct rows *rows);
/* Runs the waiters whose commits are written, or all with a sticky error. */
void rows_waiters_run(struct rows *rows);

#endif
