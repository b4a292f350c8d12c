#ifndef FUSE_WBUF_H
#define FUSE_WBUF_H
/*
 * Bytes of one file that were written but not sent yet. Pure, no I/O.
 *
 * A sorted list of extents that never overlap and never cross a block of
 * WBUF_BLOCK bytes, so an extent never crosses a region (64 MiB) and a full
 * block becomes exactly one chunk. The last write of a byte wins.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WBUF_BLOCK (4u << 20)

struct wbuf_ext {
	uint64_t off;  /* in the file */
	uint32_t len;  /* bytes written */
	uint32_t cap;  /* bytes allocated */
	uint8_t *data; /* owned */
};

struct wbuf {
	struct wbuf_ext *ext; /* sorted by off */
	unsigned n, cap;
	unsigned full;  /* extents that are a whole block */
	uint64_t bytes; /* sum of len */
};

void wbuf_init(struct wbuf *w);
void wbuf_clear(struct wbuf *w); /* frees all bytes; usable again */

/* Copies data in. 0, or -ENOMEM when only a beginning was taken. */
int wbuf_write(struct wbuf *w, uint64_t off, const void *data, size_t len);
/*
 * Moves extents from w to `to`, which is empty: all, or only full blocks.
 * -ENOMEM: nothing moved.
 */
int wbuf_take(struct wbuf *w, bool only_full, struct wbuf *to);
/* Copies what overlaps [off, off+len) over dst, dst[0] being byte off. */
void wbuf_overlay(const struct wbuf *w, uint64_t off, size_t len,
		  uint8_t *dst);
bool wbuf_overlaps(const struct wbuf *w, uint64_t off, size_t len);
/* Every byte of [off, off+len) is here. */
bool wbuf_covers(const struct wbuf *w, uint64_t off, size_t len);
/* One past the last byte, 0 when empty. */
uint64_t wbuf_end(const struct wbuf *w);

#endif
