#ifndef STORAGED_CHUNK_H
#define STORAGED_CHUNK_H
/*
 * The chunks of a store: immutable bytes of up to 4 MiB in the bulk head, found
 * through an index in a database of its own (slice, index -> segment, offset,
 * length, xxh3-128).
 *
 * A put is answered when its bytes are durable and the index knows them. Every
 * read of the disk is compared with the hash; bytes that do not have it are
 * never handed out. The index is derived: rows that a crash took are made
 * again from the headers of the bulk head at start.
 *
 * One chunk_store per store, one chunk_loop per event loop. done() is called
 * on that loop, exactly once, never inside the call.
 */
#include "common/base/buf.h"
#include "common/rows/rows.h"
#include "common/seg/seg.h"

struct chunk_store;
struct chunk_loop;

struct chunk_id {
	struct wire_u128 slice;
	uint32_t index;
};

struct chunk_stats {
	uint64_t puts, gets, put_bytes, get_bytes;
	uint64_t rot;       /* chunks whose bytes do not have their hash */
	uint64_t dropped;   /* slices whose chunks were dropped */
	uint64_t live, live_bytes; /* chunks in the index, their space */
	uint64_t recovered; /* index rows made again at start */
};

/* --- start-up: blocks --- */

/*
 * Opens the index at path; a damaged one is removed and made again. Then every
 * record of the bulk head's scan, from sequence chunk_store_from() on, ->
 * recover, what was lost -> recover_rot, then the head -> set_bulk.
 */
int chunk_store_open(const char *path, size_t cache_bytes,
		     struct chunk_store **ret_store, struct errbuf *e);
uint64_t chunk_store_from(const struct chunk_store *cs);
/* The same over a database that is open; taken. */
int chunk_store_new(struct rows_back *index, struct chunk_store **ret_store);
int chunk_store_recover(struct chunk_store *cs, const struct seg_rec *rec);
void chunk_store_recover_rot(struct chunk_store *cs, const struct seg_rot *rot);
int chunk_store_set_bulk(struct chunk_store *cs, struct seg_head *bulk);
/* Loops and workers have stopped. Saves the index when clean. NULL is fine. */
void chunk_store_close(struct chunk_store *cs, bool clean);
void chunk_store_stats(struct chunk_store *cs, struct chunk_stats *ret);
/*
 * Recounts the live chunks of every segment; report is called for each that
 * the index has wrong. Blocks: worker. 0 or -errno.
 */
int chunk_store_check(struct chunk_store *cs,
		      void (*report)(void *arg, const char *text), void *arg);

/*
 * Slices that have chunks here, in order, the first of them at or behind from
 * and all of its home shard, that were made before `second`: at most max. next:
 * where to go on, from.hi = from.lo = UINT64_MAX at the end. Blocks: worker.
 */
int chunk_store_slices(struct chunk_store *cs, struct wire_u128 from,
		       uint32_t second, unsigned max, struct wire_u128 *ret,
		       unsigned *ret_n, struct wire_u128 *ret_next);
/* How many chunks of a slice are here, and their bytes. Blocks: worker. */
int chunk_store_slice(struct chunk_store *cs, struct wire_u128 slice,
		      uint32_t *ret_chunks, uint64_t *ret_bytes);

/* port: of the bulk head on env's loop; borrowed. */
int chunk_loop_new(struct chunk_store *cs, struct env *env,
		   struct seg_port *port, struct chunk_loop **ret_loop);
/*
 * The env runs nothing of it any more and no append is under way; calls that
 * are left end here, with UNKNOWN_OUTCOME or UNAVAILABLE.
 */
void chunk_loop_free(struct chunk_loop *cl);
/* On one of the loops: saves the index now and then. */
void chunk_loop_start_saving(struct chunk_loop *cl);

/*
 * The cleaner of the bulk head, on the loop that saves; one per store. Goes
 * with the loop.
 */
struct compact_head;
int chunk_clean_new(struct chunk_loop *cl, struct compact_head *ret_head);

/* --- requests --- */

/* body: a reference that is the callee's; NULL unless status is OK. */
typedef void (*chunk_done_fn)(void *arg, uint32_t status, struct body *body);

/*
 * Stores body (a reference is taken). BAD_DIGEST when it does not have hash,
 * or when other bytes are stored under that name; the same bytes again are OK.
 * (Of several that come at once through several loops one stays, but a crash
 * may change which: a name has one writer.) INVAL: empty or too long. Returns
 * 0, or -ENOMEM and done is not called.
 */
int chunk_put(struct chunk_loop *cl, struct wire_u128 slice, uint32_t index,
	      struct wire_u128 hash, struct body *body, chunk_done_fn done,
	      void *arg);
/*
 * Removes all chunks of slices that are dead: nothing names them, and nothing
 * can any more (storaged/ns_slice.c). The space comes back with the cleaner.
 * Those that are not here are no error. 0, or -ENOMEM and done is not called.
 */
typedef void (*chunk_drop_fn)(void *arg, uint32_t status);
int chunk_drop(struct chunk_loop *cl, const struct wire_u128 *slices,
	       unsigned n, chunk_drop_fn done, void *arg);
/*
 * Bytes [off, off + len) of a chunk, less where it is shorter; len 0: up to
 * its end. NOENT, INVAL
 * (off behind its end), IO (the bytes rotted).
 */
int chunk_get(struct chunk_loop *cl, struct wire_u128 slice, uint32_t index,
	      uint32_t off, uint32_t len, chunk_done_fn done, void *arg);

/*
 * Is it here? len: its length. read: its bytes are compared with their hash,
 * too. NOENT, IO.
 */
typedef void (*chunk_check_fn)(void *arg, uint32_t status, uint32_t len);
int chunk_check(struct chunk_loop *cl, struct wire_u128 slice, uint32_t index,
		bool read, chunk_check_fn done, void *arg);

/* A whole chunk with its hash verified; blocks: worker. As chunk_get(). */
uint32_t chunk_read(struct chunk_store *cs, const struct chunk_id *id,
		    struct body **ret_body);

#endif
