#ifndef STORAGED_CHUNK_IMPL_H
#define STORAGED_CHUNK_IMPL_H
/* Private to storaged/chunk*.c. */
#include <pthread.h>
#include <stdatomic.h>

#include "common/base/xxh.h"
#include "common/wire/msgs.h"
#include "common/wire/status.h"
#include "storaged/chunk.h"
#include "storaged/chunk_seen.h"
#include "storaged/chunk_sums.h"
#include "storaged/compact.h"

#define CHUNK_HASH_INLINE (256u << 10) /* longer ones are a worker's */
#define CHUNK_PUTS_MAX 1024u           /* per loop */
#define CHUNK_GETS_MAX 8192u
#define CHUNK_DIRECT_MIN (2u << 20)    /* pieces of what is long */
#define CHUNK_DIRECT_MAX 2u            /* of them read at a time, per loop */
#define CHUNK_CACHE 2u                 /* whole chunks kept per loop */
#define CHUNK_CACHE_NS 2000000000u
#define CHUNK_PART_MAX (1u << 20)      /* longer gets read the whole chunk */
#define CHUNK_NEAR 2u                  /* pieces: so near is reading on */
#define CHUNK_ENDS 8u                  /* of parts, noted per loop */
#define CHUNK_SUMS_MAX 65536u          /* chunks: 32 MiB ... */
#define CHUNK_SUMS_SHARE 256u          /* ... or less of memory than that */
#define CHUNK_SUMS_BYTES 512u          /* of a long one */
#define CHUNK_SAVE_NS 30000000000u
#define CHUNK_SAVE_RETRY_NS 200000000u
#define CHUNK_SAVE_SOON_NS 5000000u    /* the same when somebody waits */
#define CHUNK_BATCH 200u               /* rows; searched one by one */
#define CHUNK_KEY 20
#define CHUNK_IS_COPY 1 /* flag of a record: made by the cleaner */

static inline bool chunk_id_eq(const struct chunk_id *a,
			       const struct chunk_id *b)
{
	return wire_u128_eq(a->slice, b->slice) && a->index == b->index;
}

/* Row of the index. */
#define CHUNK_ROW(F) F(u8, v) F(u64, gen) F(u64, off) F(u32, len) F(u128, hash)
WIRE_STRUCT(chunk, row, CHUNK_ROW)

/* What the index says of a bulk segment. */
struct chunk_segment {
	uint64_t gen;
	uint64_t chunks, bytes; /* live ones, and what they take on the disk */
};

/* By generation. */
struct chunk_segments {
	struct chunk_segment *v;
	size_t n, cap;
};

/*
 * Changes to the index that are written as one: chunk rows, and the rows of
 * the segments that gain or lose by them.
 */
struct chunk_batch {
	struct chunk_store *cs;
	struct rows_batch *rows;
	struct chunk_id ids[CHUNK_BATCH]; /* chunks that it changes */
	unsigned n;
	uint64_t gens[2 * CHUNK_BATCH];   /* segments that it changes */
	unsigned n_gens;
};

/* Records that a start did not find: sequences from ... to - 1. */
struct chunk_lost {
	uint64_t from, to;
};

struct chunk_store {
	struct rows_back *index;
	struct seg_head *bulk;     /* borrowed */
	uint64_t saved_seq;        /* bulk records up to it are in the index */
	struct chunk_batch batch;  /* of the recovery */
	/*
	 * Held by a worker from its look at chunk rows to the write that
	 * depends on it, so that put, drop and move see each other.
	 */
	pthread_mutex_t lock;
	struct chunk_segments segments; /* under lock */
	/*
	 * Puts between append and index row, by the parity of `epoch` when
	 * they began: when those of the old parity are gone, all records that
	 * had a sequence at the flip are in the index.
	 */
	atomic_uint epoch;
	atomic_uint under_way[2];
	struct {
		_Atomic uint64_t puts, gets, put_bytes, get_bytes, rot,
			dropped, live, live_bytes;
	} stats;
	struct chunk_seen seen;   /* large ones that were read */
	struct chunk_sums sums;   /* of those of which parts were read */
	_Atomic uint64_t changes; /* batches written */
	uint64_t recovered;
	uint64_t rot_gen; /* a start lost records from there on; 0: none */
	struct chunk_lost *lost; /* what it lost */
	size_t n_lost, cap_lost;
	int lost_rv;             /* -ENOMEM: not all are there */
};

struct chunk_put {
	struct chunk_loop *cl;
	struct chunk_id id;
	struct wire_u128 hash;
	struct body *body;
	struct seg_append append;
	struct env_work work;
	struct env_task task;
	uint32_t status;
	unsigned epoch;
	chunk_done_fn done;
	void *arg;
	struct chunk_put *next;       /* waiting for the index, or in its batch */
	struct chunk_put *all_prev, *all_next;
};

struct chunk_drop {
	struct chunk_loop *cl;
	struct wire_u128 *slices;     /* owned */
	unsigned n;
	uint32_t status;
	struct env_work work;
	chunk_drop_fn done;
	void *arg;
	struct chunk_drop *prev, *next;
};

struct chunk_get {
	struct chunk_loop *cl;
	struct chunk_id id;
	uint32_t off, len;
	struct body *body;            /* set by the worker: all, or pieces */
	uint32_t base;                /* where pieces begin in the chunk */
	uint32_t status;
	struct env_work work;
	struct env_task task;
	chunk_done_fn done;
	void *arg;
	bool direct;                  /* probably past the page cache */
	bool looked;                  /* its read began behind it */
	bool failed;                  /* by pieces: the whole has to tell */
	struct chunk_get *waiting;    /* the next one in its loop's queue */
	struct chunk_get *follower;   /* gets of the same chunk, meanwhile */
	struct chunk_get *prev, *next; /* leaders under way */
};

/* Where a part ended that was read; off 0: nothing. */
struct chunk_end {
	struct chunk_id id;
	uint32_t off;
};

struct chunk_cached {
	struct chunk_id id;
	struct body *body; /* NULL: empty */
	uint64_t used_ns;
};

struct chunk_loop {
	struct chunk_store *cs;
	struct env *env;
	struct seg_port *port;
	struct chunk_put *puts;       /* all */
	unsigned n_puts, n_gets;
	/* index writer: one batch at a time */
	struct chunk_put *waiting, **waiting_tail;
	struct chunk_put *batch;
	struct env_work index_work;
	int index_rv;
	struct chunk_drop *drops;     /* all */
	struct chunk_check *checks;   /* those without bytes */
	struct chunk_get *gets;       /* leaders */
	unsigned n_direct;            /* of them, at a worker */
	struct chunk_get *queue, **queue_tail; /* of them, not at one yet */
	struct chunk_cached cache[CHUNK_CACHE];
	struct env_timer cache_timer;
	bool cache_armed;
	struct chunk_end ends[CHUNK_ENDS];
	unsigned next_end;
	/* saving */
	struct env_timer save_timer;
	struct env_work save_work;
	bool flipped, saving;         /* saving: on a worker */
	uint64_t save_seq;
	uint64_t saved_changes;       /* cs->changes when saved last */
	int save_rv;
	/* one who waits for the next save to begin, then to end */
	void (*save_done)(void *arg);
	void *save_arg;
	bool save_waits;              /* it has not begun */
	struct chunk_clean *clean;    /* NULL: not on this loop */
};

/* --- chunk_index.c: workers --- */

/* 0, -ENOENT, -EIO. */
int chunk_index_get(struct chunk_store *cs, const struct chunk_id *id,
		    struct chunk_row *ret);
/* Records up to seq are in the index; then all of it durable. */
int chunk_index_save(struct chunk_store *cs, uint64_t seq);
/* The chunks of a slice, in order; 0, -ENOENT at the end, -EIO. */
int chunk_index_iter(struct chunk_store *cs, struct wire_u128 slice,
		     struct rows_iter **ret_it);
int chunk_index_next(struct rows_iter *it, struct chunk_id *ret_id,
		     struct chunk_row *ret_row);
bool chunk_hash_ok(const struct body *body, struct wire_u128 hash);

/* --- chunk_batch.c: under cs->lock, or at start --- */

int chunk_batch_init(struct chunk_batch *b, struct chunk_store *cs);
void chunk_batch_fini(struct chunk_batch *b);
/* No further change would fit. */
bool chunk_batch_full(const struct chunk_batch *b);
/* It changes that chunk: the rows that were written do not tell. */
bool chunk_batch_has(const struct chunk_batch *b, const struct chunk_id *id);
/* 0 or -ENOMEM. */
int chunk_batch_put(struct chunk_batch *b, const struct chunk_id *id,
		    const struct chunk_row *row);
int chunk_batch_del(struct chunk_batch *b, const struct chunk_id *id,
		    const struct chunk_row *row);
int chunk_batch_move(struct chunk_batch *b, const struct chunk_id *id,
		     const struct chunk_row *from, const struct chunk_row *to);
/* Writes it; empty and usable again when that worked. */
int chunk_batch_write(struct chunk_batch *b);
/* The rows of all segments. */
int chunk_segments_load(struct rows_back *index, struct chunk_segments *ret);
/* Counts a chunk. */
int chunk_segments_add(struct chunk_segments *s, const struct chunk_row *row);
/* Bytes that are alive in a segment. */
uint64_t chunk_segments_live(const struct chunk_segments *s, uint64_t gen);

/* --- chunk.c: loop that saves --- */
/*
 * Saves the index soon; done when it is durable, with the rows of all records
 * that were appended before this call. One at a time.
 */
void chunk_save_soon(struct chunk_loop *cl, void (*done)(void *arg),
		     void *arg);

/* --- chunk_piece.c: parts of long chunks --- */
/* A small part of a chunk of len bytes? */
bool chunk_piece_is_part(const struct chunk_get *g, size_t len);
/* Is it to be read by its pieces? Loop; asked once of each get. */
bool chunk_piece_fits(struct chunk_loop *cl, const struct chunk_get *g);
/* Sets body and base, or status, or failed; worker. */
void chunk_piece_run(struct env_work *work);

/* --- chunk_get.c, chunk_check.c, chunk_drop.c, chunk_clean.c: loop --- */
void chunk_get_init(struct chunk_loop *cl);
void chunk_get_fini(struct chunk_loop *cl);
void chunk_check_fini(struct chunk_loop *cl);
void chunk_drop_fini(struct chunk_loop *cl);
void chunk_clean_free(struct chunk_loop *cl);

/* Big-endian. */
static inline void chunk_store_be(uint8_t *p, uint64_t v, unsigned n)
{
	while (n-- > 0) {
		p[n] = (uint8_t)v;
		v >>= 8;
	}
}
static inline void chunk_key(const struct chunk_id *id, uint8_t out[CHUNK_KEY])
{
	chunk_store_be(out, id->slice.hi, 8);
	chunk_store_be(out + 8, id->slice.lo, 8);
	chunk_store_be(out + 16, id->index, 4);
}
static inline uint64_t chunk_id_hash(const struct chunk_id *id)
{
	uint8_t key[CHUNK_KEY];

	chunk_key(id, key);
	return XXH3_64bits(key, sizeof key);
}

#endif
