#ifndef TESTS_LIB_CHUNKWORLD_H
#define TESTS_LIB_CHUNKWORLD_H
/*
 * The chunks of one store with their cleaner, over the small env, a file system
 * that knows power cuts, and an index in memory. For cmocka tests: what must
 * not happen fails the test.
 */
#include "common/base/mem.h"
#include "common/wire/status.h"
#include "storaged/chunk_impl.h"
#include "storaged/compact.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"

#define SECOND 1000000000ull

struct world {
	struct crashfs *fs;
	struct minienv *m;
	struct rows_mem_image *image;
	struct chunk_store *cs;
	struct seg_head *bulk;
	struct seg_port *port;
	struct chunk_loop *cl;
	struct compact *compact;
	unsigned rots;
	char bad[48]; /* the file of a bit that is wrong until it is met */
	uint64_t bad_off;
};

/* --- one process: start, power cut, start --- */

void world_init(struct world *w);
void world_fini(struct world *w);
/* 0 or -errno: the head cannot be opened. */
int world_try(struct world *w, uint64_t seed);
void world_start(struct world *w, uint64_t seed);
/* The process is gone; what it had queued never runs. */
void world_kill(struct world *w);
/* Kills, loses what was not synced, starts. */
void world_power_cut(struct world *w, uint64_t seed);
/* The counts of segments are right. */
void world_check(struct world *w);
struct chunk_stats world_stats(struct world *w);

/* --- calls --- */

struct reply {
	unsigned n;
	uint32_t status;
	struct body *body;
};

/* A chunk_done_fn, and a chunk_drop_fn: note what is said in a struct reply. */
void reply_note(void *arg, uint32_t status, struct body *body);
void reply_note_drop(void *arg, uint32_t status);

/* The name of a slice. */
struct wire_u128 world_slice(unsigned n);
/* Bytes that no other chunk has; the caller's reference. */
struct body *world_bytes(unsigned slice, unsigned index, unsigned version);
void world_put_start(struct world *w, unsigned slice, unsigned index,
		     unsigned version, struct reply *r);
/* Its status. */
uint32_t world_put(struct world *w, unsigned slice, unsigned index);
/* b, with its hash, as chunk 0 of a slice; takes b. Its status. */
uint32_t world_put_body(struct world *w, unsigned slice, struct body *b);
/* Slices slice .. slice + n - 1. */
void world_drop_start(struct world *w, unsigned slice, unsigned n,
		      struct reply *r);
void world_drop(struct world *w, unsigned slice, unsigned n);
/* NOENT, or OK and then with the right bytes. */
uint32_t world_get(struct world *w, unsigned slice, unsigned index);
/* Slices from .. to - 1 of four chunks each. */
void world_put_many(struct world *w, unsigned from, unsigned to);
/* Of them, those that step divides are there, and no others. */
void world_expect_many(struct world *w, unsigned from, unsigned to,
		       unsigned step);
/* Drops the others. */
void world_drop_many(struct world *w, unsigned from, unsigned to,
		     unsigned step);

/* --- the cleaner --- */

struct compact_info world_cleaner(struct world *w);
/* Until the run is over; time passes, as with waits for the index. */
void world_clean(struct world *w);

#endif
