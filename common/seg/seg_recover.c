/*
 * Recovery: docs/DISK_FORMAT.md, "Rules for readers", whose numbers are used
 * below.
 *
 * Happy path: seg_find.c says which segments there are and where the walk
 * begins; walk the records in order, handing each to the owner, and remember
 * those above the highest durable mark seen; at the end of the log write these
 * again and sync them (rule 5); see that nothing is missing (rule 4).
 *
 * A bad record makes us look ahead for a mark that proves that it was durable
 * once (rule 3). Only the newest segment is ever searched to its end for that:
 * a later segment's START proves all before it.
 */
#include "common/seg/seg_rcv.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

/* --- what the owner gets --- */

/* What there must be after record h of ents[i]: rule 4. */
static int seg_rcv_must(struct seg_rcv *r, size_t i, const struct seg_hdr *h)
{
	struct seg_ent *ent = &r->ents[i];

	if (h->type == SEG_START && ent->has_start) {
		/* START comes once */
		seg_ranges_fini(&r->must);
		r->must = ent->ranges;
		memset(&ent->ranges, 0, sizeof(ent->ranges));
	} else if (h->type == SEG_FREED) {
		return seg_ranges_remove(&r->must, h->a);
	}
	return seg_ranges_add(&r->must, ent->gen);
}

/* What the owner is told of a header. */
static struct seg_rec seg_rcv_rec(const struct seg_hdr *h)
{
	return (struct seg_rec){
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
	};
}

static int seg_rcv_deliver(struct seg_rcv *r, size_t i,
			   const struct seg_hdr *h, const uint8_t *body)
{
	struct seg_config *c = &r->head->config;
	struct seg_ent *ent = &r->ents[i];
	size_t skip = SEG_START_FIXED + ent->ranges.n * SEG_RANGE_LEN;
	struct seg_rec rec = seg_rcv_rec(h);
	int rv = seg_rcv_must(r, i, h);

	if (rv != 0)
		return rv;
	if (!c->bulk)
		rec.body = body;
	if (h->type == SEG_PAD || h->type == SEG_MARK ||
	    h->type == SEG_FREED || c->on_record == NULL)
		return 0;
	if (h->type == SEG_START) {
		if (!ent->has_start || rec.len < skip)
			return 0;
		rec.len -= skip;
		if (rec.body != NULL)
			rec.body += skip;
	}
	rv = c->on_record(c->arg, &rec);
	return rv < 0 ? rv : 0;
}

/* Sequences from ... to - 1 are lost; h: the header of the only one. */
static void seg_rcv_rot(struct seg_rcv *r, uint64_t gen, uint64_t off,
			uint64_t from, uint64_t to, const struct seg_hdr *h)
{
	struct seg_config *c = &r->head->config;
	struct seg_rot rot = { { gen, off }, from, to - from, NULL };
	struct seg_rec rec;

	r->head->stats.rot += rot.n;
	if (h != NULL) {
		rec = seg_rcv_rec(h);
		rot.rec = &rec;
	}
	if (c->on_rot != NULL)
		c->on_rot(c->arg, &rot);
}

/* --- records above the durable mark --- */

static int seg_rcv_push(struct seg_rcv *r, size_t ent, const struct seg_hdr *h)
{
	if (r->above_at > 64 && r->above_at * 2 > r->above_n) {
		r->above_n -= r->above_at;
		memmove(r->above, r->above + r->above_at,
			r->above_n * sizeof(*r->above));
		r->above_at = 0;
	}
	if (r->above_n == r->above_cap) {
		size_t cap = r->above_cap == 0 ? 64 : r->above_cap * 2;
		struct seg_above *p = mem_realloc(r->above, cap * sizeof(*p));

		if (p == NULL)
			return -ENOMEM;
		r->above = p;
		r->above_cap = cap;
	}
	r->above[r->above_n].ent = ent;
	r->above[r->above_n++].hdr = *h;
	return 0;
}

/* Notes a mark; what it covers needs no more attention. */
static int seg_rcv_mark(struct seg_rcv *r, uint64_t durable)
{
	if (durable > r->dmax)
		r->dmax = durable;
	while (r->above_at < r->above_n &&
	       r->above[r->above_at].hdr.seq <= r->dmax) {
		const struct seg_above *above = &r->above[r->above_at++];

		if (!r->verify) {
			int rv = seg_rcv_deliver(r, above->ent, &above->hdr,
						 NULL);

			if (rv != 0)
				return rv;
		}
	}
	return 0;
}

static int seg_rcv_accept(struct seg_rcv *r, size_t i, const struct seg_hdr *h,
			  const uint8_t *body)
{
	struct seg_ent *ent = &r->ents[i];
	int rv = seg_rcv_mark(r, h->durable);

	if (rv == 0 && (r->verify || h->seq <= r->dmax))
		rv = seg_rcv_deliver(r, i, h, body);
	if (rv == 0 && h->seq > r->dmax)
		rv = seg_rcv_push(r, i, h);
	ent->accepted++;
	ent->end = h->off + seg_rec_size(h->len);
	r->expect = h->seq + 1;
	return rv;
}

/* --- rule 3 --- */

/* The next valid header at or behind *off that can be a later record of ent. */
static bool seg_rcv_next(struct seg_rcv *r, const struct seg_ent *ent,
			 struct seg_scan *s, uint64_t *off, uint64_t seq,
			 struct seg_hdr *ret)
{
	uint64_t from = *off;

	while (seg_scan_next(s, off, ret)) {
		/* no more records than have room between */
		if (ret->first == ent->first && ret->seq > seq &&
		    ret->seq < ent->limit &&
		    ret->seq - seq <= (*off - from) / SEG_HEADER_LEN + 1)
			return true;
		*off += 8;
	}
	if (s->err != 0)
		r->err = s->err;
	return false;
}

/* Is there proof, at (i, off) or behind, that record seq was durable? */
static int seg_rcv_proven(struct seg_rcv *r, size_t i, uint64_t off,
			  uint64_t seq, bool *ret)
{
	struct seg_scan s;
	int rv = 0;

	if (SEG_MUTATES(ROT_IS_END)) {
		*ret = false;
		return 0;
	}
	seg_scan_init(&s, r->head, SEG_WINDOW);
	for (; i < r->n && r->dmax < seq && rv == 0; i++, off = 0) {
		struct seg_ent *ent = &r->ents[i];
		struct vfs_file *f = NULL;
		struct seg_hdr h;
		uint64_t after;

		if (!seg_ent_counts(ent))
			continue;
		rv = seg_rcv_open(r, ent, &f);
		if (rv != 0)
			break;
		seg_scan_file(&s, ent->gen, f, ent->size);
		after = off == 0 ? ent->first - 1 : seq;
		while (r->dmax < seq && rv == 0 &&
		       seg_rcv_next(r, ent, &s, &off, after, &h)) {
			rv = seg_rcv_mark(r, h.durable);
			off += seg_rec_size(h.len);
			after = h.seq;
		}
		if (s.io_error)
			r->scan.io_error = true;
		f->vfs->ops->close(f);
	}
	seg_scan_fini(&s);
	*ret = r->dmax >= seq;
	return rv != 0 ? rv : r->err;
}

/*
 * The record at (i, off) is bad: h is its header if that is good. 1: go on at
 * *off; 2: nothing more in this segment; 0: the log ended here.
 */
static int seg_rcv_bad(struct seg_rcv *r, size_t i, uint64_t *off,
		       const struct seg_hdr *h)
{
	struct seg_ent *ent = &r->ents[i];
	uint64_t at = *off;
	struct seg_hdr next;
	bool proven = false;
	int rv;

	rv = seg_rcv_proven(r, i, at, r->expect, &proven);
	if (rv != 0)
		return rv;
	if (!proven)
		return 0;
	if (h != NULL) {
		*off += seg_rec_size(h->len);
		next.seq = r->expect + 1;
	} else if (!seg_rcv_next(r, ent, &r->scan, off, r->expect, &next)) {
		if (r->err != 0)
			return r->err;
		/* nothing of it was found, yet it counted once */
		ent->lost = ent->accepted == 0;
		rv = seg_ranges_add(&r->must, ent->gen);
		return rv != 0 ? rv : 2; /* then seg_rcv_gap() */
	}
	seg_rcv_rot(r, ent->gen, at, r->expect, next.seq, h);
	r->expect = next.seq;
	return 1;
}

/* --- the walk --- */

/* Reads what counts in segment i. */
static int seg_rcv_walk(struct seg_rcv *r, size_t i)
{
	struct seg_ent *ent = &r->ents[i];
	uint64_t off = 0;
	int rv = 0;

	seg_scan_file(&r->scan, ent->gen, r->f, ent->size);
	while (r->expect < ent->limit ||
	       SEG_MUTATES(ANY_SEQ)) {
		const uint8_t *body = NULL;
		struct seg_hdr h;
		bool head_ok;

		head_ok = seg_scan_header(&r->scan, off, &h) &&
			  (h.first == ent->first ||
			   SEG_MUTATES(HEADER_SUM)) &&
			  (h.seq == r->expect ||
			   SEG_MUTATES(ANY_SEQ));
		if (head_ok && r->verify)
			body = seg_scan_body(&r->scan, &h);
		if (r->scan.err != 0)
			return r->scan.err;
		if (head_ok && (!r->verify || body != NULL)) {
			rv = seg_rcv_accept(r, i, &h, body);
			if (rv != 0)
				return rv;
			off += seg_rec_size(h.len);
			continue;
		}
		rv = seg_rcv_bad(r, i, &off, head_ok ? &h : NULL);
		if (rv != 1)
			break;
	}
	r->ended |= rv == 0 && r->expect < ent->limit;
	if (r->ended && r->scan.io_error)
		return errbuf_set(r->e, -EIO,
				  "cannot read segment %016llx in %s, so the "
				  "end of the log cannot be told",
				  (unsigned long long)ent->gen, r->head->dir);
	return rv < 0 ? rv : 0;
}

/*
 * What comes behind segment i was freed, from sequence `to` on the log goes on.
 * A bulk segment ends with its last record: where there is more, records were,
 * no more than have room.
 */
static void seg_rcv_tail(struct seg_rcv *r, size_t i, uint64_t to)
{
	const struct seg_ent *ent = &r->ents[i];
	uint64_t n;

	if (!r->head->config.bulk || ent->size <= ent->end)
		return;
	n = (ent->size - ent->end + SEG_HEADER_LEN - 1) / SEG_HEADER_LEN;
	if (n > to - r->expect)
		n = to - r->expect;
	seg_rcv_rot(r, ent->gen, ent->end, r->expect, r->expect + n, NULL);
}

/* A later START says that segment i counts. */
static bool seg_rcv_listed(const struct seg_rcv *r, size_t i)
{
	for (size_t k = i + 1; k < r->n; k++)
		if (r->ents[k].has_start && !r->ents[k].out)
			return seg_ranges_has(&r->ents[k].ranges,
					      r->ents[i].gen);
	return false;
}

/*
 * Nothing of these bulk segments can be read, nor does the one behind say when
 * they began: that was freed. The next one that is there is `to`.
 */
static int seg_rcv_unread(struct seg_rcv *r, size_t from, size_t to)
{
	uint64_t end = r->ents[to].first;
	int rv = 0;

	for (size_t i = from; r->head->config.bulk && i < to && rv == 0; i++) {
		struct seg_ent *ent = &r->ents[i];
		uint64_t n = ent->size / SEG_HEADER_LEN;

		if (ent->out || ent->first != 0 || n == 0 || end <= 1 ||
		    !seg_rcv_listed(r, i))
			continue;
		if (n > end - 1)
			n = end - 1;
		ent->lost = true;
		rv = seg_ranges_add(&r->must, ent->gen);
		seg_rcv_rot(r, ent->gen, 0, end - n, end, NULL);
	}
	return rv;
}

/*
 * Segment i starts behind what is expected. 1: the records between were freed,
 * or were lost and reported; 0: the log ended before.
 */
static int seg_rcv_gap(struct seg_rcv *r, size_t i, size_t prev)
{
	struct seg_ent *ent = &r->ents[i];
	bool proven = false, there = false;
	int rv;

	rv = seg_rcv_proven(r, i, 0, r->expect, &proven);
	if (rv != 0)
		return rv;
	if (!proven)
		return 0;
	for (size_t j = r->from; j < i; j++)
		if (r->ents[j].gen == ent->prev_gen && !r->ents[j].out)
			there = true;
	if (ent->has_start && !there) {
		/* freed, so nobody needs what is older; or seg_rcv_missed() */
		seg_rcv_tail(r, prev, ent->first);
		r->expect = ent->first;
		rv = seg_rcv_unread(r, prev + 1, i);
		return rv != 0 ? rv : 1;
	}
	seg_rcv_rot(r, r->ents[prev].gen, r->ents[prev].end, r->expect,
		    ent->first, NULL);
	for (size_t j = prev + 1; j < i; j++) {
		r->ents[j].lost = true;
		if (!r->ents[j].out)
			rv = seg_ranges_add(&r->must, r->ents[j].gen);
		if (rv != 0)
			return rv;
	}
	r->expect = ent->first;
	return 1;
}

static int seg_rcv_run(struct seg_rcv *r)
{
	size_t prev = 0;
	int rv;

	r->scan.window = r->head->config.bulk ? SEG_WINDOW_BULK : SEG_WINDOW;
	for (size_t i = r->from; i < r->n; i++) {
		struct seg_ent *ent = &r->ents[i];

		if (!seg_ent_counts(ent))
			continue;
		if (r->expect == 0) {
			r->expect = ent->first;
			rv = seg_rcv_unread(r, r->from, i);
			if (rv != 0)
				return rv;
		}
		if (ent->first != r->expect) {
			rv = seg_rcv_gap(r, i, prev);
			if (rv <= 0)
				return rv;
		}
		rv = seg_rcv_open(r, ent, &r->f);
		if (rv != 0)
			return rv;
		rv = seg_rcv_walk(r, i);
		r->f->vfs->ops->close(r->f);
		if (rv != 0)
			return rv;
		prev = i;
	}
	return 0;
}

/* --- the end --- */

/* The log ends before above[k]. */
static void seg_rcv_cut(struct seg_rcv *r, size_t k)
{
	const struct seg_above *above = &r->above[k];

	r->expect = above->hdr.seq;
	r->above_n = k;
	for (size_t i = above->ent; i < r->n; i++)
		r->ents[i].accepted = 0;
	r->ents[above->ent].accepted = above->hdr.off > 0;
	r->ents[above->ent].end = above->hdr.off;
}

/* Rule 6: bodies of what may not have been durable. */
static int seg_rcv_verify(struct seg_rcv *r)
{
	for (size_t k = r->above_at; k < r->above_n; k++) {
		struct seg_above *above = &r->above[k];
		struct seg_ent *ent = &r->ents[above->ent];
		struct vfs_file *f = NULL;
		bool good;
		int rv;

		rv = seg_rcv_open(r, ent, &f);
		if (rv != 0)
			return rv;
		seg_scan_file(&r->scan, ent->gen, f, ent->size);
		good = seg_scan_body(&r->scan, &above->hdr) != NULL;
		f->vfs->ops->close(f);
		if (r->scan.err != 0)
			return r->scan.err;
		if (!good && r->scan.io_error)
			return errbuf_set(r->e, -EIO,
					  "cannot read segment %016llx in %s",
					  (unsigned long long)ent->gen,
					  r->head->dir);
		if (!good) {
			seg_rcv_cut(r, k);
			return 0;
		}
		rv = seg_rcv_deliver(r, above->ent, &above->hdr, NULL);
		if (rv != 0)
			return rv;
	}
	return 0;
}

/*
 * Writes the record again, from bytes that are compared once more: what was
 * right when it was accepted may be read wrong now.
 */
static int seg_rcv_rewrite(struct seg_rcv *r, const struct seg_ent *ent,
			   const struct seg_hdr *h, struct vfs_file *f)
{
	uint64_t len = seg_rec_size(h->len);
	struct seg_hdr now;
	struct iovec iov;

	/* zeros behind the last body may be missing */
	if (len > ent->size - h->off)
		len = ent->size - h->off;
	iov.iov_len = (size_t)len;
	iov.iov_base = (void *)(uintptr_t)seg_scan_at(&r->scan, h->off,
						      iov.iov_len);
	if (iov.iov_base == NULL || r->scan.io_error ||
	    !seg_scan_header(&r->scan, h->off, &now) || now.seq != h->seq ||
	    seg_scan_body(&r->scan, &now) == NULL)
		return -EIO;
	return f->vfs->ops->pwritev(f, &iov, 1, h->off);
}

/* Rule 5 for those of above[k] ... that are in its segment; moves *k. */
static int seg_rcv_settle_one(struct seg_rcv *r, size_t *k)
{
	const struct seg_ent *ent = &r->ents[r->above[*k].ent];
	struct vfs_file *f = NULL;
	int rv = seg_rcv_open(r, ent, &f);

	if (rv != 0)
		return rv;
	seg_scan_file(&r->scan, ent->gen, f, ent->size);
	for (; *k < r->above_n && &r->ents[r->above[*k].ent] == ent && rv == 0;
	     ++*k)
		rv = seg_rcv_rewrite(r, ent, &r->above[*k].hdr, f);
	if (rv == 0)
		rv = f->vfs->ops->fdatasync(f);
	f->vfs->ops->close(f);
	if (rv != 0)
		return errbuf_set(r->e, rv,
				  "cannot make segment %016llx in %s durable",
				  (unsigned long long)ent->gen, r->head->dir);
	return 0;
}

static int seg_rcv_settle(struct seg_rcv *r)
{
	struct seg_head *head = r->head;

	if (r->above_at == r->above_n ||
	    SEG_MUTATES(NO_REWRITE))
		return 0;
	for (size_t k = r->above_at; k < r->above_n;) {
		int rv = seg_rcv_settle_one(r, &k);

		if (rv != 0)
			return rv;
	}
	return head->vfs->ops->sync_dir(head->vfs, head->dir);
}

/* Records in it count, or did until it was freed. */
static bool seg_rcv_counted(const struct seg_rcv *r, size_t i)
{
	return i < r->from || r->ents[i].accepted > 0 || r->ents[i].lost;
}

static bool seg_rcv_is_void(const struct seg_rcv *r, size_t i)
{
	return !seg_rcv_counted(r, i) ||
	       !seg_ranges_has(&r->must, r->ents[i].gen);
}

/*
 * Segments in which nothing counts. What the log says was freed goes at once:
 * on a full disk there may be no flush before it is gone. Behind the log's end
 * a file stays until a newer segment is durable: the next start must not use
 * its generation again.
 */
static int seg_rcv_voids(struct seg_rcv *r)
{
	struct seg_head *head = r->head;

	if (r->n == 0)
		return 0;
	head->voids = mem_calloc(r->n, sizeof(*head->voids));
	if (head->voids == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < r->n; i++) {
		const struct seg_ent *ent = &r->ents[i];
		bool freed = (ent->out || seg_rcv_counted(r, i)) &&
			     !seg_ranges_has(&r->must, ent->gen) &&
			     ent->gen < head->prev_gen;

		if (seg_rcv_is_void(r, i) &&
		    (!freed || seg_unlink_gen(head, ent->gen) != 0))
			head->voids[head->n_voids++] = ent->gen;
	}
	return 0;
}

/* Where the head goes on, and what is left from crashes. */
static int seg_rcv_finish(struct seg_rcv *r)
{
	struct seg_head *head = r->head;

	head->seq = r->expect == 0 ? 0 : r->expect - 1;
	head->durable = head->seq;
	head->marked = head->seq;
	head->last_seq = head->seq;
	for (size_t i = 0; i < r->n; i++) {
		struct seg_ent *ent = &r->ents[i];
		int rv;

		if (seg_rcv_is_void(r, i))
			continue;
		rv = seg_table_add(head, ent->gen, ent->size, SEG_STATE_SEALED,
				   NULL);
		if (rv != 0)
			return rv;
		head->stats.segments++;
		head->stats.bytes += ent->size;
		if (ent->accepted > 0) {
			head->prev_gen = ent->gen;
			head->prev_first = ent->first;
			head->prev_end = ent->end;
			head->cut = r->ended && ent->size > ent->end &&
				    !SEG_MUTATES(ANY_SEQ);
		}
	}
	head->prev_seq = head->seq;
	return seg_rcv_voids(r);
}

int seg_recover(struct seg_head *head, struct errbuf *e)
{
	struct seg_rcv r = { .head = head, .e = e };
	int rv;

	r.verify = !head->config.bulk;
	seg_scan_init(&r.scan, head, SEG_WINDOW);
	errbuf_set(e, 0, "%s", "");
	rv = seg_rcv_find(&r);
	if (rv == 0)
		rv = seg_rcv_run(&r);
	if (rv == 0 && !r.verify)
		rv = seg_rcv_verify(&r);
	if (rv == 0)
		rv = seg_rcv_missed(&r);
	if (rv == 0)
		rv = seg_rcv_settle(&r);
	if (rv == 0)
		rv = seg_rcv_finish(&r);
	seg_rcv_fini(&r);
	if (rv != 0 && e->text[0] == '\0')
		errbuf_set(e, rv, "cannot recover %s: %s", head->dir,
			   strerror(-rv));
	return rv;
}
