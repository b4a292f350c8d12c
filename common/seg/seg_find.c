/*
 * What a recovery has before it: the files, where each begins in the log, from
 * which on they are walked, and which must be there. Rules: DISK_FORMAT.md.
 *
 * Segments are looked at from the newest back: as far as the newest whole
 * START, which lists all that are older, and as far as the owner needs records.
 * So a start does not read what only fills the disk.
 */
#include "common/seg/seg_rcv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define SEG_LOOK_WINDOW 4096 /* START and little more */

/* --- the directory --- */

static int seg_rcv_name(void *arg, const char *name)
{
	struct seg_rcv *r = arg;
	uint64_t gen;

	if (!seg_name_parse(name, &gen))
		return 0;
	if (r->n == r->cap) {
		size_t cap = r->cap == 0 ? 64 : r->cap * 2;
		struct seg_ent *p = mem_realloc(r->ents, cap * sizeof(*p));

		if (p == NULL) {
			r->err = -ENOMEM;
			return -ENOMEM;
		}
		r->ents = p;
		r->cap = cap;
	}
	r->ents[r->n++] = (struct seg_ent){ .gen = gen, .limit = UINT64_MAX };
	return 0;
}

static int seg_ent_cmp(const void *a, const void *b)
{
	const struct seg_ent *x = a, *y = b;

	return x->gen < y->gen ? -1 : x->gen > y->gen;
}

int seg_rcv_open(struct seg_rcv *r, const struct seg_ent *ent,
		 struct vfs_file **ret_file)
{
	int rv = seg_open_gen(r->head, ent->gen, O_RDWR, ret_file);

	if (rv != 0)
		return errbuf_set(r->e, rv, "cannot open segment %016llx in %s",
				  (unsigned long long)ent->gen, r->head->dir);
	return 0;
}

/* Only how large it is. */
static int seg_rcv_size(struct seg_rcv *r, struct seg_ent *ent)
{
	struct vfs_file *f = NULL;
	int rv = seg_rcv_open(r, ent, &f);

	if (rv != 0)
		return rv;
	rv = f->vfs->ops->size(f, &ent->size);
	f->vfs->ops->close(f);
	return rv;
}

/* --- where a segment begins --- */

/* The segment's START is not ours, but valid for the store it names. */
static bool seg_rcv_foreign(struct seg_rcv *r, const struct seg_ent *ent)
{
	const uint8_t *p = seg_scan_at(&r->scan, 0, SEG_HEADER_LEN + 16);
	struct seg_hdr h;

	return p != NULL &&
	       memcmp(p + SEG_HEADER_LEN, r->head->config.store_id, 16) != 0 &&
	       seg_hdr_decode(p, seg_seed(p + SEG_HEADER_LEN, ent->gen),
			      ent->gen, 0, &h);
}

/* The body of the START at 0, when all of it is good; else NULL. */
static const uint8_t *seg_rcv_start(struct seg_rcv *r, struct seg_hdr *h,
				    struct seg_start *ret)
{
	const uint8_t *body;

	if (!seg_scan_header(&r->scan, 0, h) || h->type != SEG_START)
		return NULL;
	body = seg_scan_body(&r->scan, h);
	if (body == NULL || !seg_start_decode(body, (size_t)h->len, ret))
		return NULL;
	return body;
}

static int seg_rcv_look_at(struct seg_rcv *r, struct seg_ent *ent)
{
	struct seg_start start;
	const uint8_t *body;
	struct seg_hdr h;
	uint64_t off = 0;
	int rv;

	body = seg_rcv_start(r, &h, &start);
	if (body != NULL) {
		rv = seg_ranges_decode(&ent->ranges, body + SEG_START_FIXED,
				       (size_t)h.len - SEG_START_FIXED,
				       start.n_ranges, ent->gen);
		if (rv == -ENOMEM)
			return rv;
		ent->has_start = rv == 0;
		ent->prev_gen = start.prev_gen;
		ent->prev_first = start.prev_first;
		ent->first = h.first;
		return 0;
	}
	if (seg_scan_header(&r->scan, 0, &h) && h.type == SEG_START) {
		ent->first = h.first;
		return 0;
	}
	if (seg_rcv_foreign(r, ent))
		return errbuf_set(r->e, -EINVAL,
				  "segment %016llx in %s belongs to another "
				  "store", (unsigned long long)ent->gen,
				  r->head->dir);
	if (seg_scan_next(&r->scan, &off, &h))
		ent->first = h.first;
	return 0;
}

/* Learns where ent starts in the log. */
static int seg_rcv_look(struct seg_rcv *r, struct seg_ent *ent)
{
	struct vfs_file *f = NULL;
	int rv;

	if (ent->looked)
		return 0;
	ent->looked = true;
	rv = seg_rcv_open(r, ent, &f);
	if (rv != 0)
		return rv;
	rv = f->vfs->ops->size(f, &ent->size);
	if (rv == 0) {
		r->scan.window = SEG_LOOK_WINDOW;
		seg_scan_file(&r->scan, ent->gen, f, ent->size);
		rv = seg_rcv_look_at(r, ent);
	}
	f->vfs->ops->close(f);
	return rv != 0 ? rv : r->scan.err;
}

/* --- from where --- */

/* The generation that the owner's START asks for. */
static int seg_rcv_ask(struct seg_rcv *r, const struct seg_ent *ent,
		       uint64_t *ret_gen)
{
	struct seg_config *c = &r->head->config;
	struct seg_rec rec = { .type = SEG_START, .pos = { ent->gen, 0 } };
	struct seg_start start;
	struct vfs_file *f = NULL;
	const uint8_t *body;
	struct seg_hdr h;
	size_t skip;
	int rv = seg_rcv_open(r, ent, &f);

	if (rv != 0)
		return rv;
	seg_scan_file(&r->scan, ent->gen, f, ent->size);
	body = seg_rcv_start(r, &h, &start);
	if (body == NULL) { /* it was whole a moment ago */
		rv = r->scan.err != 0 ? r->scan.err : -EIO;
	} else {
		skip = SEG_START_FIXED + ent->ranges.n * SEG_RANGE_LEN;
		rec.seq = h.seq;
		rec.body = body + skip;
		rec.len = h.len - skip;
		rv = c->scan_from(c->arg, &rec, ret_gen);
	}
	f->vfs->ops->close(f);
	return rv;
}

/* Looks back from the newest until START s is behind and records are enough. */
static int seg_rcv_begin(struct seg_rcv *r, size_t s)
{
	struct seg_config *c = &r->head->config;
	uint64_t gen = 0;
	int rv = 0;

	if (c->scan_from != NULL)
		rv = seg_rcv_ask(r, &r->ents[s], &gen);
	if (rv != 0)
		return rv;
	if (gen > r->ents[s].gen)
		gen = r->ents[s].gen;
	for (r->from = s;; r->from--) {
		struct seg_ent *ent = &r->ents[r->from];

		/* what START does not list was freed, or never counted */
		ent->out = r->from < s &&
			   !seg_ranges_has(&r->ents[s].ranges, ent->gen);
		if (!ent->out) {
			rv = seg_rcv_look(r, ent);
			if (rv != 0)
				return rv;
		}
		if (r->from == 0 || (gen != 0 && ent->gen <= gen) ||
		    (c->from_seq != 0 && !ent->out && ent->first != 0 &&
		     ent->first <= c->from_seq))
			break;
	}
	/* one before the asked for that is still there is not needed */
	while (r->from < s && r->ents[r->from].gen < gen)
		r->from++;
	return 0;
}

/* Of those before the walk: whether they count, and how large they are. */
static int seg_rcv_older(struct seg_rcv *r, size_t s)
{
	for (size_t i = 0; i < r->from; i++) {
		struct seg_ent *ent = &r->ents[i];
		int rv;

		ent->out = !seg_ranges_has(&r->ents[s].ranges, ent->gen);
		if (ent->out || ent->looked)
			continue;
		rv = seg_rcv_size(r, ent);
		if (rv != 0)
			return rv;
	}
	return 0;
}

bool seg_ent_counts(const struct seg_ent *ent)
{
	return !ent->out && ent->first != 0 && ent->first < ent->limit;
}

/*
 * Nothing in the segment before i can be read: where it began still ends what
 * counts before it.
 */
static void seg_rcv_tell(struct seg_rcv *r, size_t i)
{
	const struct seg_ent *ent = &r->ents[i];

	for (size_t k = i; ent->has_start && k-- > r->from;)
		if (r->ents[k].gen == ent->prev_gen && r->ents[k].looked &&
		    r->ents[k].first == 0)
			r->ents[k].first = ent->prev_first;
}

int seg_rcv_find(struct seg_rcv *r)
{
	struct seg_head *head = r->head;
	uint64_t limit = UINT64_MAX;
	size_t s;
	int rv;

	rv = head->vfs->ops->list(head->vfs, head->dir, seg_rcv_name, r);
	if (rv == 0)
		rv = r->err;
	if (rv != 0 || r->n == 0)
		return rv;
	qsort(r->ents, r->n, sizeof(*r->ents), seg_ent_cmp);
	head->last_gen = r->ents[r->n - 1].gen;
	for (s = r->n; s-- > 0;) {
		rv = seg_rcv_look(r, &r->ents[s]);
		if (rv != 0)
			return rv;
		if (r->ents[s].has_start)
			break;
	}
	if (s < r->n) { /* else no START at all: all were looked at */
		rv = seg_rcv_begin(r, s);
		if (rv == 0)
			rv = seg_rcv_older(r, s);
		if (rv != 0)
			return rv;
		/* until START itself is handed out */
		for (size_t i = 0; i < r->from && rv == 0; i++)
			if (!r->ents[i].out)
				rv = seg_ranges_add(&r->must, r->ents[i].gen);
	}
	for (size_t i = r->n; i-- > r->from;) {
		struct seg_ent *ent = &r->ents[i];

		ent->limit = limit;
		seg_rcv_tell(r, i);
		if (!ent->out && ent->first != 0 && ent->first < limit)
			limit = ent->first;
	}
	return rv;
}

/* --- what must be there --- */

/* Index of the first one of gen or newer. */
static size_t seg_rcv_at(const struct seg_rcv *r, uint64_t gen)
{
	size_t lo = 0, hi = r->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (r->ents[mid].gen < gen)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int seg_rcv_missed(struct seg_rcv *r)
{
	if (SEG_MUTATES(NOT_MISSED))
		return 0;
	for (size_t k = 0; k < r->must.n; k++) {
		const struct seg_range *range = &r->must.v[k];
		size_t i = seg_rcv_at(r, range->from);
		uint64_t gen = range->from;

		while (gen <= range->to && i < r->n && r->ents[i].gen == gen) {
			gen++;
			i++;
		}
		if (gen <= range->to)
			return errbuf_set(r->e, -EIO,
					  "segment %016llx is missing in %s",
					  (unsigned long long)gen,
					  r->head->dir);
	}
	return 0;
}

void seg_rcv_fini(struct seg_rcv *r)
{
	seg_scan_fini(&r->scan);
	seg_ranges_fini(&r->must);
	for (size_t i = 0; i < r->n; i++)
		seg_ranges_fini(&r->ents[i].ranges);
	mem_free(r->ents);
	mem_free(r->above);
}
