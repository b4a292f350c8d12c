#ifndef STORAGED_CHUNK_IMPL_H
#define STORAGED_CHUNK_IMPL_H
/* Private to storaged/chunk*.c. */
#include <stdatomic.h>

#include "common/wire/msgs.h"
#include "common/wire/status.h"
#include "storaged/chunk.h"

#define CHUNK_HASH_INLINE (256u << 10) /* longer ones are a worker's */
#define CHUNK_PUTS_MAX 1024u           /* per loop */
#define CHUNK_GETS_MAX 8192u
#define CHUNK_CACHE 2u                 /* whole chunks kept per loop */
#define CHUNK_CACHE_NS 2000000000u
#define CHUNK_SAVE_NS 30000000000u
#define CHUNK_SAVE_RETRY_NS 200000000u
#define CHUNK_RECOVER_BATCH 200u       /* rows; searched one by one */
#define CHUNK_KEY 20

struct chunk_id {
	struct wire_u128 slice;
	uint32_t index;
};

static inline bool chunk_id_eq(const struct chunk_id *a,
			       const struct chunk_id *b)
{
	return a->slice.hi == b->slice.hi && a->slice.lo == b->slice.lo &&
	       a->index == b->index;
}

/* Row of the index. */
#define CHUNK_ROW(F) F(u8, v) F(u64, gen) F(u64, off) F(u32, len) F(u128, hash)
WIRE_STRUCT(chunk, row, CHUNK_ROW)

struct chunk_store {
	struct rows_back *index;
	struct seg_head *bulk;     /* borrowed */
	uint64_t saved_seq;        /* bulk records up to it are in the index */
	/* of the recovery: rows to be written, and their names */
	struct rows_batch *batch;
	struct chunk_id batch_ids[CHUNK_RECOVER_BATCH];
	unsigned n_batch;
	/*
	 * Puts between append and index row, by the parity of `epoch` when
	 * they began: when those of the old parity are gone, all records that
	 * had a sequence at the flip are in the index.
	 */
	atomic_uint epoch;
	atomic_uint under_way[2];
	struct {
		_Atomic uint64_t puts, gets, put_bytes, get_bytes, rot;
	} stats;
	uint64_t recovered;
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

struct chunk_get {
	struct chunk_loop *cl;
	struct chunk_id id;
	uint32_t off, len;
	struct body *whole;           /* set by the worker */
	uint32_t status;
	struct env_work work;
	struct env_task task;
	chunk_done_fn done;
	void *arg;
	struct chunk_get *follower;   /* gets of the same chunk, meanwhile */
	struct chunk_get *prev, *next; /* leaders under way */
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
	struct chunk_get *gets;       /* leaders */
	struct chunk_cached cache[CHUNK_CACHE];
	struct env_timer cache_timer;
	bool cache_armed;
	/* saving */
	struct env_timer save_timer;
	struct env_work save_work;
	bool saving_on, flipped;
	uint64_t save_seq;
	uint64_t puts_saved;          /* stats.puts when saved last */
	int save_rv;
};

void chunk_key(const struct chunk_id *id, uint8_t out[CHUNK_KEY]);
/* 0, -ENOENT, -EIO. Blocks. */
int chunk_index_get(struct chunk_store *cs, const struct chunk_id *id,
		    struct chunk_row *ret);
int chunk_index_put(struct rows_batch *b, const struct chunk_id *id,
		    const struct chunk_row *row);
/* Records up to seq are in the index; then all of it durable. Blocks. */
int chunk_index_save(struct chunk_store *cs, uint64_t seq);
bool chunk_hash_ok(const struct body *body, struct wire_u128 hash);
/* chunk_get.c */
void chunk_get_init(struct chunk_loop *cl);
void chunk_get_fini(struct chunk_loop *cl);

#endif
