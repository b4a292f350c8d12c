#include "fuse/wbuf.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

#define WBUF_FIRST 4096u        /* least allocation of an extent */
#define WBUF_STREAM (256u << 10) /* from here on: the whole block at once */

static uint64_t wbuf_ext_end(const struct wbuf_ext *e)
{
	return e->off + e->len;
}

void wbuf_init(struct wbuf *w)
{
	memset(w, 0, sizeof(*w));
}

void wbuf_clear(struct wbuf *w)
{
	for (unsigned i = 0; i < w->n; i++)
		mem_free(w->ext[i].data);
	mem_free(w->ext);
	wbuf_init(w);
}

/* Index of the first extent that ends behind off. */
static unsigned wbuf_find(const struct wbuf *w, uint64_t off)
{
	unsigned lo = 0, hi = w->n;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (wbuf_ext_end(&w->ext[mid]) > off)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static int wbuf_reserve(struct wbuf *w, unsigned n)
{
	unsigned cap = w->cap;
	struct wbuf_ext *ext;

	if (n <= cap)
		return 0;
	cap = cap == 0 ? 4 : cap * 2;
	if (cap < n)
		cap = n;
	ext = mem_realloc(w->ext, cap * sizeof(*ext));
	if (ext == NULL)
		return -ENOMEM;
	w->ext = ext;
	w->cap = cap;
	return 0;
}

/* Makes e hold at least len bytes; never more than its block. */
static int wbuf_ext_grow(struct wbuf_ext *e, uint32_t len)
{
	uint32_t most = WBUF_BLOCK - (uint32_t)(e->off % WBUF_BLOCK);
	uint32_t cap = e->cap;
	uint8_t *data;

	if (len <= cap)
		return 0;
	/* Doubling a stream would copy it over and over: untouched pages of
	 * a whole block cost nothing. */
	if (cap != 0)
		cap = len > WBUF_STREAM ? most : cap * 2;
	if (cap < len)
		cap = len > WBUF_FIRST ? len : WBUF_FIRST;
	if (cap > most)
		cap = most;
	data = mem_realloc(e->data, cap);
	if (data == NULL)
		return -ENOMEM;
	e->data = data;
	e->cap = cap;
	return 0;
}

/* A new empty extent at off as number i. */
static int wbuf_insert(struct wbuf *w, unsigned i, uint64_t off)
{
	int rv = wbuf_reserve(w, w->n + 1);

	if (rv != 0)
		return rv;
	memmove(&w->ext[i + 1], &w->ext[i], (w->n - i) * sizeof(*w->ext));
	w->ext[i] = (struct wbuf_ext){ .off = off };
	w->n++;
	return 0;
}

/* Puts a piece into extent i, as much as fits before the next one. */
static int wbuf_put(struct wbuf *w, unsigned i, uint64_t off,
		    const uint8_t *data, size_t len, size_t *ret_done)
{
	struct wbuf_ext *e = &w->ext[i];
	uint32_t at = (uint32_t)(off - e->off);
	uint64_t stop = e->off - e->off % WBUF_BLOCK + WBUF_BLOCK;
	int rv;

	if (i + 1 < w->n && w->ext[i + 1].off < stop)
		stop = w->ext[i + 1].off;
	if (len > stop - off)
		len = (size_t)(stop - off);
	rv = wbuf_ext_grow(e, at + (uint32_t)len);
	if (rv != 0)
		return rv;
	memcpy(e->data + at, data, len);
	if (at + len > e->len) {
		w->bytes += at + len - e->len;
		e->len = at + (uint32_t)len;
		if (e->len == WBUF_BLOCK)
			w->full++;
	}
	*ret_done = len;
	return 0;
}

int wbuf_write(struct wbuf *w, uint64_t off, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len > 0) {
		unsigned i = wbuf_find(w, off);
		bool fresh = false;
		size_t done;
		int rv;

		if (i < w->n && w->ext[i].off <= off) {
			/* inside extent i */
		} else if (i > 0 && wbuf_ext_end(&w->ext[i - 1]) == off &&
			   off % WBUF_BLOCK != 0) {
			i--; /* right behind the one before */
		} else {
			rv = wbuf_insert(w, i, off);
			if (rv != 0)
				return rv;
			fresh = true;
		}
		rv = wbuf_put(w, i, off, p, len, &done);
		if (rv != 0 && fresh) {
			w->n--;
			memmove(&w->ext[i], &w->ext[i + 1],
				(w->n - i) * sizeof(*w->ext));
		}
		if (rv != 0)
			return rv;
		off += done;
		p += done;
		len -= done;
	}
	return 0;
}

int wbuf_take(struct wbuf *w, bool only_full, struct wbuf *to)
{
	unsigned kept = 0;
	int rv;

	if (!only_full) {
		struct wbuf empty = *to; /* its array is reused */

		*to = *w;
		*w = empty;
		return 0;
	}
	rv = wbuf_reserve(to, w->full);
	if (rv != 0)
		return rv;
	for (unsigned i = 0; i < w->n; i++) {
		struct wbuf_ext *e = &w->ext[i];

		if (e->len != WBUF_BLOCK) {
			w->ext[kept++] = *e;
			continue;
		}
		to->ext[to->n++] = *e;
		to->bytes += e->len;
		to->full++;
	}
	w->n = kept;
	w->bytes -= to->bytes;
	w->full = 0;
	return 0;
}

void wbuf_overlay(const struct wbuf *w, uint64_t off, size_t len,
		  uint8_t *dst)
{
	uint64_t end = off + len;

	for (unsigned i = wbuf_find(w, off);
	     i < w->n && w->ext[i].off < end; i++) {
		const struct wbuf_ext *e = &w->ext[i];
		uint64_t from = e->off > off ? e->off : off;
		uint64_t to = wbuf_ext_end(e) < end ? wbuf_ext_end(e) : end;

		memcpy(dst + (from - off), e->data + (from - e->off),
		       (size_t)(to - from));
	}
}

bool wbuf_overlaps(const struct wbuf *w, uint64_t off, size_t len)
{
	unsigned i = wbuf_find(w, off);

	return i < w->n && w->ext[i].off < off + len;
}

bool wbuf_covers(const struct wbuf *w, uint64_t off, size_t len)
{
	uint64_t end = off + len;

	for (unsigned i = wbuf_find(w, off); off < end; i++) {
		if (i >= w->n || w->ext[i].off > off)
			return false;
		off = wbuf_ext_end(&w->ext[i]);
	}
	return true;
}

uint64_t wbuf_end(const struct wbuf *w)
{
	return w->n == 0 ? 0 : wbuf_ext_end(&w->ext[w->n - 1]);
}
