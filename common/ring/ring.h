#ifndef COMMON_RING_RING_H
#define COMMON_RING_RING_H
/*
 * RING: which stores keep a chunk. A table from data partition to an ordered
 * list of owners, made by a pure function, the same everywhere.
 *
 * Canonical bytes (what the checksum covers): the fields of RING_TABLE; rows
 * holds `partitions` times `copies` indices into stores, u16 big-endian.
 */
#include <stdint.h>

#include "common/wire/wire.h"

#define RING_Q 1024 /* partitions */

#define RING_TABLE(F) F(u64, epoch) F(u32, partitions) F(u16, copies) \
	F(list, stores) /* u128 each */ F(blob, rows)
WIRE_STRUCT(ring, table, RING_TABLE)

/* A store that may own partitions. */
struct ring_store {
	struct wire_u128 id;
	uint64_t weight;        /* share of the load; 0: none */
	struct wire_bytes host; /* failure domain */
};

/* Decoded, immutable. */
struct ring {
	uint64_t epoch;
	uint32_t partitions; /* a power of two */
	unsigned copies;     /* owners per partition */
	unsigned n_stores;
	struct wire_u128 *stores;
	uint16_t *rows;      /* partitions * copies indices into stores */
};

/*
 * Appends the canonical table to out. copies: N. 0, -ENOMEM, -EINVAL (no
 * store, or more copies than stores); -ENOTSUP for more than one store.
 */
int ring_build_encoded(const struct ring_store *stores, unsigned n_stores,
		       unsigned copies, uint64_t epoch, struct buf *out);
/* 0, -EBADMSG, -ENOMEM. */
int ring_decode(struct wire_bytes bytes, struct ring **ret_ring);
void ring_free(struct ring *r); /* NULL is fine */

/* xxh3 of the canonical bytes as 8 hex digits and a NUL. */
void ring_checksum_text(struct wire_bytes bytes, char ret_text[9]);

/* Top bits of xxh3-128 of the chunk id (slice, index; 20 bytes big-endian). */
uint32_t ring_partition(const struct ring *r, struct wire_u128 slice,
			uint32_t index);
/* The nth (from 0, below r->copies) owner of a chunk. */
struct wire_u128 ring_owner(const struct ring *r, struct wire_u128 slice,
			    uint32_t index, unsigned nth);

#endif
