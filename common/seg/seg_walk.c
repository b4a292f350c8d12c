/*
 * Walking one sealed segment, for those who clean and check. All that counts
 * in it is durable, so a record that does not verify is rot, whatever comes.
 */
#include "common/seg/seg_int.h"

#include <errno.h>
#include <string.h>

#define SEG_WALK_WINDOW (1u << 20)
#define SEG_WALK_WINDOW_HEADERS (16u << 10)

struct seg_walker {
	const struct seg_walk *walk;
	struct seg_scan scan;
	uint64_t first; /* of the segment; 0: not known yet */
	uint64_t seq;   /* of the last record */
	uint64_t limit; /* records from here on are left from a crash */
};

/* True when h can be the record behind the last one. */
static bool seg_walk_follows(const struct seg_walker *w,
			     const struct seg_hdr *h)
{
	return (w->first == 0 || h->first == w->first) && h->seq > w->seq &&
	       h->seq < w->limit;
}

static int seg_walk_record(struct seg_walker *w, const struct seg_hdr *h,
			   const uint8_t *body)
{
	struct seg_rec rec = {
		.type = h->type,
		.flags = h->flags,
		.group = h->group,
		.a = h->a,
		.b = h->b,
		.id = h->id,
		.len = h->len,
		.hash = h->hash,
		.seq = h->seq,
		.pos = { h->gen, h->off },
		.body = body,
	};

	switch (h->type) {
	case SEG_PAD:
	case SEG_START:
	case SEG_MARK:
	case SEG_FREED:
		return 0;
	default:
		return w->walk->on_record(w->walk->arg, &rec);
	}
}

static void seg_walk_rot(struct seg_walker *w, uint64_t off)
{
	struct seg_pos pos = { w->scan.gen, off };

	if (w->walk->on_rot != NULL)
		w->walk->on_rot(w->walk->arg, pos);
}

/* Goes on behind bytes that are no record; false at the end. */
static bool seg_walk_skip(struct seg_walker *w, uint64_t *off)
{
	uint64_t at = *off;
	struct seg_hdr h;

	while (seg_scan_next(&w->scan, &at, &h)) {
		if (seg_walk_follows(w, &h)) {
			seg_walk_rot(w, *off);
			*off = at;
			return true;
		}
		at += 8;
	}
	return false;
}

static int seg_walk_run(struct seg_walker *w)
{
	uint64_t off = 0;
	int rv = 0;

	while (rv == 0 && w->scan.err == 0) {
		const uint8_t *body = NULL;
		struct seg_hdr h;

		if (!seg_scan_header(&w->scan, off, &h) ||
		    !seg_walk_follows(w, &h)) {
			if (!seg_walk_skip(w, &off))
				break;
			continue;
		}
		w->first = h.first;
		w->seq = h.seq;
		if (w->walk->bodies)
			body = seg_scan_body(&w->scan, &h);
		if (w->walk->bodies && body == NULL)
			seg_walk_rot(w, off);
		else
			rv = seg_walk_record(w, &h, body);
		off += seg_rec_size(h.len);
	}
	return rv != 0 ? rv : w->scan.err;
}

/*
 * The sequence behind the last one that counts in gen: the next segment says
 * it. That may be gone; but before it was begun, what a crash had left behind
 * the end was cut.
 */
static int seg_walk_limit(struct seg_walker *w, uint64_t gen)
{
	struct seg_head *head = w->scan.head;
	struct seg_file *next;
	struct seg_hdr h;
	uint64_t size;
	int rv = seg_file_use_next(head, gen, &next);

	w->limit = UINT64_MAX;
	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	rv = next->f->vfs->ops->size(next->f, &size);
	if (rv == 0) {
		seg_scan_file(&w->scan, next->gen, next->f, size);
		if (seg_scan_header(&w->scan, 0, &h))
			w->limit = h.first;
		rv = w->scan.err;
	}
	seg_file_leave(head, next);
	return rv;
}

int seg_scan_segment(struct seg_head *head, uint64_t gen,
		     const struct seg_walk *walk)
{
	struct seg_walker w = { .walk = walk };
	struct seg_file *s;
	uint64_t size;
	int rv = seg_file_use(head, gen, false, &s);

	if (rv != 0)
		return rv;
	seg_scan_init(&w.scan, head,
		      walk->bodies ? SEG_WALK_WINDOW : SEG_WALK_WINDOW_HEADERS);
	rv = seg_file_sealed(head, s) ? 0 : -EBUSY;
	if (rv == 0)
		rv = seg_walk_limit(&w, gen);
	if (rv == 0)
		rv = s->f->vfs->ops->size(s->f, &size);
	if (rv == 0) {
		seg_scan_file(&w.scan, gen, s->f, size);
		rv = seg_walk_run(&w);
	}
	if (rv == 0 && w.scan.io_error)
		rv = -EIO;
	seg_scan_fini(&w.scan);
	seg_file_leave(head, s);
	return rv;
}
