#ifndef STORAGED_CHUNK_SEEN_H
#define STORAGED_CHUNK_SEEN_H
/*
 * Which large chunks were read so lately that the page cache would still have
 * them, had they come through it. One that was is read through it the next
 * time; all others are not worth the room and the work: what is read once, and
 * what is read again and again but does not fit.
 *
 * A table of marks, two for each MiB that fits: 128 KiB of memory per 8 GiB. A
 * mark may be lost to another chunk's, then a read counts as the first one; two
 * chunks may have the same mark, once in 10^9. Any thread.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct chunk_seen {
	pthread_mutex_t lock;
	uint64_t *marks; /* owned; sets of CHUNK_SEEN_WAYS; guarded by lock */
	uint64_t sets;   /* a power of two */
	uint64_t fits;   /* MiB */
	uint64_t bytes;  /* noted so far; lock */
};

#define CHUNK_SEEN_WAYS 8u

/* fits: bytes of the page cache that chunks may fill. 0 or -ENOMEM. */
int chunk_seen_init(struct chunk_seen *s, uint64_t fits);
void chunk_seen_fini(struct chunk_seen *s); /* zeros are fine */
/* What chunk_seen_note() would say. */
bool chunk_seen_has(struct chunk_seen *s, uint64_t hash);
/*
 * Notes a read of a chunk of len bytes whose name has this hash. Whether there
 * was one before, with no more than `fits` bytes read since.
 */
bool chunk_seen_note(struct chunk_seen *s, uint64_t hash, uint32_t len);

#endif
