#ifndef STORAGED_CHUNK_SUMS_H
#define STORAGED_CHUNK_SUMS_H
/*
 * Hashes of the pieces of chunks, so that a few bytes of a long chunk can be
 * read and verified without the rest of it: who reads here and there in a long
 * object would else read 4 MiB each time.
 *
 * They are made of bytes that had the hash of their chunk, and kept in memory:
 * those of the chunks that were read lately, 512 bytes for one of 4 MiB. A set
 * that is full gives up what was not used for longest. Any thread.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/wire/wire.h"
#include "storaged/chunk.h"

#define CHUNK_SUMS_PIECE (64u << 10) /* bytes; the last one has what is left */
#define CHUNK_SUMS_MIN (512u << 10)  /* shorter chunks are read whole */
/* Both; tests lower them before there are chunks. */
extern uint32_t chunk_sums_piece, chunk_sums_min;
#define CHUNK_SUMS_WAYS 8u

struct chunk_sum;

struct chunk_sums {
	pthread_mutex_t lock;
	struct chunk_sum **slots; /* owned; sets of CHUNK_SUMS_WAYS; made with
				   * the first put; lock */
	uint64_t sets;            /* a power of two; 0: not initialised */
	uint64_t uses;            /* so far; lock */
};

/* max: chunks, rounded up to a power of two. */
void chunk_sums_init(struct chunk_sums *s, size_t max);
void chunk_sums_fini(struct chunk_sums *s); /* zeros are fine */
/*
 * Keeps those of a chunk whose len bytes at data have that hash, unless they
 * are there. Nothing happens when there is no memory.
 */
void chunk_sums_put(struct chunk_sums *s, const struct chunk_id *id,
		    struct wire_u128 hash, const void *data, size_t len);
/* Bytes of a chunk whose sums are there; 0: they are not. */
size_t chunk_sums_len(struct chunk_sums *s, const struct chunk_id *id);
/*
 * Are the len bytes at data those of the chunk with this hash from piece
 * `first` on? False, too, when its sums are not there. Whole pieces: len ends
 * where a piece does.
 */
bool chunk_sums_ok(struct chunk_sums *s, const struct chunk_id *id,
		   struct wire_u128 hash, unsigned first, const void *data,
		   size_t len);

#endif
