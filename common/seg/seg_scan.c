/*
 * A window on a segment file. Everything read here may be garbage: lengths
 * are compared with the file before they are used, nothing is asserted.
 */
#include "common/seg/seg_int.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

#define SEG_SCAN_PAGE 4096u

void seg_scan_init(struct seg_scan *s, struct seg_head *head, size_t window)
{
	memset(s, 0, sizeof(*s));
	s->head = head;
	s->window = window;
}

void seg_scan_fini(struct seg_scan *s)
{
	mem_free(s->buf);
	s->buf = NULL;
}

void seg_scan_file(struct seg_scan *s, uint64_t gen, struct vfs_file *f,
		   uint64_t size)
{
	s->f = f;
	s->gen = gen;
	s->size = size;
	s->seed = seg_seed(s->head->config.store_id, gen);
	s->win_off = 0;
	s->win_len = 0;
	s->io_error = false;
}

/* Reads what can be read, page by page; the rest becomes zeros. */
static void seg_scan_salvage(struct seg_scan *s, uint64_t off, size_t len)
{
	s->io_error = true;
	for (size_t at = 0; at < len; at += SEG_SCAN_PAGE) {
		size_t n = len - at < SEG_SCAN_PAGE ? len - at : SEG_SCAN_PAGE;

		if (seg_pread_all(s->f, s->buf + at, n, off + at, 0) != 0)
			memset(s->buf + at, 0, n);
	}
}

static int seg_scan_fill(struct seg_scan *s, uint64_t off, size_t len)
{
	uint64_t start = off & ~(uint64_t)(SEG_SCAN_PAGE - 1);
	uint64_t want = off - start + len;

	if (want < s->window)
		want = s->window;
	if (want > s->size - start)
		want = s->size - start;
	if (want > s->cap) {
		uint8_t *buf = mem_alloc((size_t)want);

		if (buf == NULL) {
			s->err = -ENOMEM;
			return -ENOMEM;
		}
		mem_free(s->buf);
		s->buf = buf;
		s->cap = (size_t)want;
	}
	s->win_off = start;
	s->win_len = (size_t)want;
	if (seg_pread_all(s->f, s->buf, s->win_len, start, 0) != 0)
		seg_scan_salvage(s, start, s->win_len);
	return 0;
}

const uint8_t *seg_scan_at(struct seg_scan *s, uint64_t off, size_t len)
{
	if (off > s->size || len > s->size - off)
		return NULL;
	if (off < s->win_off || off - s->win_off > s->win_len ||
	    len > s->win_len - (off - s->win_off)) {
		if (seg_scan_fill(s, off, len) != 0)
			return NULL;
	}
	return s->buf + (off - s->win_off);
}

bool seg_scan_header(struct seg_scan *s, uint64_t off, struct seg_hdr *ret)
{
	const uint8_t *p = seg_scan_at(s, off, SEG_HEADER_LEN);

	return p != NULL && seg_hdr_decode(p, s->seed, s->gen, off, ret) &&
	       ret->len <= SEG_BODY_MAX &&
	       ret->len <= s->size - off - SEG_HEADER_LEN;
}

const uint8_t *seg_scan_body(struct seg_scan *s, const struct seg_hdr *h)
{
	const uint8_t *p =
		seg_scan_at(s, h->off + SEG_HEADER_LEN, (size_t)h->len);

	if (p == NULL || h->type == SEG_PAD ||
	    SEG_MUTATES(BODY_HASH))
		return p;
	return wire_u128_eq(seg_hash(p, (size_t)h->len), h->hash) ? p : NULL;
}

/* Offset in p of the first 8-aligned magic, or len. */
static size_t seg_scan_magic(const uint8_t *p, size_t len)
{
	static const uint8_t magic[4] = {
		SEG_MAGIC >> 24, SEG_MAGIC >> 16 & 0xff, SEG_MAGIC >> 8 & 0xff,
		SEG_MAGIC & 0xff
	};
	uint32_t want, got;

	memcpy(&want, magic, 4);
	for (size_t i = 0; i + SEG_HEADER_LEN <= len; i += 8) {
		memcpy(&got, p + i, 4);
		if (got == want)
			return i;
	}
	return len;
}

bool seg_scan_next(struct seg_scan *s, uint64_t *off, struct seg_hdr *ret)
{
	uint64_t at = seg_pad8(*off);

	while (at + SEG_HEADER_LEN <= s->size) {
		uint64_t left = s->size - at;
		size_t len = left < SEG_POOL_STEP ? (size_t)left
						  : SEG_POOL_STEP;
		const uint8_t *p = seg_scan_at(s, at, len);
		size_t i;

		if (p == NULL)
			return false;
		i = seg_scan_magic(p, len);
		if (i == len) {
			/* headers that begin near the end are seen next time */
			at += (len - SEG_HEADER_LEN + 8) & ~(size_t)7;
			continue;
		}
		at += i;
		if (seg_scan_header(s, at, ret)) {
			*off = at;
			return true;
		}
		at += 8;
	}
	return false;
}
