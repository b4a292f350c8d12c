/*
 * Happy path: VALUE records of groups in doubt are collected -> sorted -> each
 * position in a row of those groups whose segment is gone becomes that of the
 * newest record of the same group, hash and length -> the row `applied` says
 * that the rows changed -> durable.
 *
 * A record is there for each value that was moved and that the rows may name by
 * its old place: the snapshot that they were made from, or that reaches less
 * far than they do, keeps the log from before the first such record
 * (shard_clean.c), and what was moved twice has its second record behind.
 *
 * Failure modes: a crash in between leaves the rows in doubt, and the next
 * start does it again. A value that has no record: the log behind the rows
 * drops it (what was moved, dropped and freed is not there any more), or its
 * segment was deleted by hand: counted; the rows stay in doubt. Where the scan
 * lost records a second look is worth it, as a read may have failed just then:
 * once a START says how far these rows are, nobody looks again.
 */
#include "storaged/log_doubt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/rows/rows_applied.h"
#include "storaged/ns_rows.h"
#include "storaged/ns_values.h"

#define DOUBT_BATCH (1u << 20)

/* Where a value is. */
struct doubt_value {
	struct wire_u128 hash;
	uint64_t gen, off;
	uint32_t len;
	uint16_t group;
};

struct log_doubt {
	const struct raft_start *start;
	struct rows_back *back;
	bool begun;
	uint8_t groups[65536 / 8]; /* bits: in doubt */
	struct doubt_value *values;
	size_t n, cap;
	uint64_t newest;           /* segment that the scan came to */
	uint64_t rot_gen;          /* records were lost from there on; 0: none */
	uint64_t last_seq;         /* of the log */
	/* settling */
	struct seg_info *segs;
	size_t n_segs;
	struct rows_batch *batch;
	uint16_t group;
	struct buf row;            /* the row, as it becomes */
	uint64_t moved, missing;
};

static int doubt_cmp(const struct doubt_value *a, const struct doubt_value *b)
{
	if (a->group != b->group)
		return a->group < b->group ? -1 : 1;
	if (a->hash.hi != b->hash.hi)
		return a->hash.hi < b->hash.hi ? -1 : 1;
	if (a->hash.lo != b->hash.lo)
		return a->hash.lo < b->hash.lo ? -1 : 1;
	return a->len < b->len ? -1 : a->len > b->len;
}

/* Of the same value, the newest record comes first. */
static int doubt_sort_cmp(const void *a, const void *b)
{
	const struct doubt_value *x = a, *y = b;
	int rv = doubt_cmp(x, y);

	if (rv != 0)
		return rv;
	if (x->gen != y->gen)
		return x->gen > y->gen ? -1 : 1;
	return x->off > y->off ? -1 : x->off < y->off;
}

/* --- the scan --- */

int log_doubt_new(const struct raft_start *start, struct rows_back *back,
		  struct log_doubt **ret_doubt)
{
	struct log_doubt *d = mem_zalloc(sizeof *d);

	if (d == NULL)
		return -ENOMEM;
	d->start = start;
	d->back = back;
	buf_init(&d->row, 0);
	*ret_doubt = d;
	return 0;
}

/* Which groups is known when the first record comes. */
static void doubt_begin(struct log_doubt *d)
{
	d->begun = true;
	for (unsigned i = 0; i < raft_start_n_doubts(d->start); i++) {
		uint64_t moved;
		uint16_t group = raft_start_doubt(d->start, i, &moved);

		d->groups[group / 8] |= (uint8_t)(1u << group % 8);
	}
}

int log_doubt_record(struct log_doubt *d, const struct seg_rec *rec)
{
	if (!d->begun)
		doubt_begin(d);
	if (rec->pos.gen > d->newest)
		d->newest = rec->pos.gen;
	if (rec->type != SEG_VALUE ||
	    (d->groups[rec->group / 8] >> rec->group % 8 & 1) == 0)
		return 0;
	if (d->n == d->cap) {
		size_t cap = d->cap * 2 + 64;
		struct doubt_value *p = mem_realloc(d->values,
						    cap * sizeof *p);

		if (p == NULL)
			return -ENOMEM;
		d->values = p;
		d->cap = cap;
	}
	d->values[d->n++] = (struct doubt_value){
		.hash = rec->hash, .gen = rec->pos.gen,
		.off = rec->pos.off + SEG_HEADER_LEN,
		.len = (uint32_t)rec->len, .group = rec->group,
	};
	return 0;
}

void log_doubt_rot(struct log_doubt *d, const struct seg_rot *rot)
{
	if (d->rot_gen == 0 || rot->pos.gen < d->rot_gen)
		d->rot_gen = rot->pos.gen;
}

static int doubt_again(void *arg, const struct seg_rec *rec)
{
	struct log_doubt *d = arg;

	/* whole ones; behind the end of the log nothing counts */
	if (rec->body == NULL || rec->seq > d->last_seq)
		return 0;
	return log_doubt_record(d, rec);
}

/* What was seen before comes twice, which says the same. */
static int doubt_look_again(struct log_doubt *d, struct seg_head *log)
{
	const struct seg_walk walk = {
		.bodies = true, .on_record = doubt_again, .arg = d,
	};
	int rv = 0;

	d->last_seq = seg_head_last_seq(log);
	for (size_t i = 0; i < d->n_segs && d->rot_gen != 0 && rv == 0; i++) {
		if (d->segs[i].gen < d->rot_gen)
			continue;
		rv = seg_scan_segment(log, d->segs[i].gen, &walk);
		if (rv == -EIO)
			rv = 0; /* what cannot be read is lost, as it was */
	}
	return rv;
}

void log_doubt_free(struct log_doubt *d)
{
	if (d == NULL)
		return;
	mem_free(d->values);
	mem_free(d->segs);
	rows_batch_free(d->batch);
	buf_fini(&d->row);
	mem_free(d);
}

/* --- rows --- */

static bool doubt_is_gone(const struct log_doubt *d, uint64_t gen)
{
	size_t lo = 0, hi = d->n_segs;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (d->segs[mid].gen < gen)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < d->n_segs && d->segs[lo].gen == gen)
		return false;
	return gen < d->newest; /* the newest one is not sealed */
}

static const struct doubt_value *doubt_find(const struct log_doubt *d,
					    const struct ns_value_at *v)
{
	const struct doubt_value key = {
		.hash = v->hash, .len = v->len, .group = d->group,
	};
	size_t lo = 0, hi = d->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (doubt_cmp(&d->values[mid], &key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < d->n && doubt_cmp(&d->values[lo], &key) == 0
		? &d->values[lo]
		: NULL;
}

/* Positions of a row become right in the copy of it. */
static int doubt_value(void *arg, const struct ns_value_at *v)
{
	struct log_doubt *d = arg;
	const struct doubt_value *to;

	if (!doubt_is_gone(d, v->gen))
		return 0;
	to = doubt_find(d, v);
	if (to == NULL) {
		d->missing++;
		return 0;
	}
	ns_value_move(d->row.data, v->at, to->gen, to->off);
	d->moved++;
	return 0;
}

static int doubt_write(struct log_doubt *d)
{
	int rv = rows_batch_write(d->back, d->batch);

	rows_batch_reset(d->batch);
	return rv;
}

static int doubt_row(struct log_doubt *d, struct wire_bytes key,
		     struct wire_bytes row)
{
	uint64_t moved = d->moved;
	int rv;

	if (key.len < 3 || !ns_has_values(key.p[2]))
		return 0;
	buf_reset(&d->row);
	buf_add(&d->row, row.p, row.len);
	if (d->row.err != 0)
		return d->row.err;
	rv = ns_values_each(key.p[2], row, doubt_value, d);
	if (rv != 0 || d->moved == moved)
		return rv;
	rows_batch_put(d->batch, key, wire_bytes(d->row.data, d->row.len));
	return rows_batch_bytes(d->batch) < DOUBT_BATCH ? 0 : doubt_write(d);
}

static int doubt_rows(struct log_doubt *d)
{
	struct wire_bytes key, row;
	struct ns_key from, to;
	struct rows_iter *it;
	int rv;

	ns_key_start(&from, d->group, NS_T_INODE);
	ns_key_start(&to, d->group, NS_T_REGION + 1);
	rv = rows_iter_new(d->back, ns_key_get(&from), ns_key_get(&to), &it);
	if (rv != 0)
		return rv;
	while ((rv = rows_iter_next(it, &key, &row)) == 0) {
		rv = doubt_row(d, key, row);
		if (rv != 0)
			break;
	}
	rows_iter_free(it);
	return rv == -ENOENT ? 0 : rv;
}

/* The rows are not those that were in doubt any more. */
static int doubt_bump(struct log_doubt *d, uint64_t moved)
{
	struct rows_applied a;
	int rv = rows_applied_read(d->back, d->group, &a);

	if (rv != 0)
		return rv;
	if (a.index > 0) {
		a.moved = (a.moved > moved ? a.moved : moved) + 1;
		rows_applied_batch(d->batch, d->group, &a);
	}
	rows_applied_fini(&a);
	return doubt_write(d);
}

static int doubt_group(struct log_doubt *d, uint16_t group, uint64_t moved)
{
	int rv;

	d->group = group;
	d->moved = d->missing = 0;
	rv = doubt_rows(d);
	if (rv == 0)
		rv = d->missing == 0 ? doubt_bump(d, moved) : doubt_write(d);
	if (d->moved > 0)
		log_warnx("group=%u: rows took the places that values have "
			  "now: %llu", group, (unsigned long long)d->moved);
	if (d->missing > 0)
		log_warnx("group=%u: values that rows name are gone; lost, if "
			  "the log does not drop them: %llu", group,
			  (unsigned long long)d->missing);
	return rv;
}

int log_doubt_settle(struct log_doubt *d, struct seg_head *log)
{
	unsigned n = raft_start_n_doubts(d->start);
	int rv = 0;

	if (n == 0)
		return 0;
	d->batch = rows_batch_new();
	if (d->batch == NULL)
		return -ENOMEM;
	rv = seg_segments(log, &d->segs, &d->n_segs);
	if (rv == 0)
		rv = doubt_look_again(d, log);
	if (d->n > 0)
		qsort(d->values, d->n, sizeof *d->values, doubt_sort_cmp);
	for (unsigned i = 0; i < n && rv == 0; i++) {
		uint64_t moved;
		uint16_t group = raft_start_doubt(d->start, i, &moved);

		rv = doubt_group(d, group, moved);
	}
	return rv == 0 ? rows_back_checkpoint(d->back) : rv;
}
