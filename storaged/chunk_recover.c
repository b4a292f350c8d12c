/*
 * The index after a crash, or without one: chunks are added from the record
 * headers that the scan at start goes through anyway.
 *
 * A segment that was freed may be there once more, when the power failed before
 * its unlink was durable. What frees it stands in the log behind it, so its
 * records come before anybody knows. An index that was saved has them all
 * behind it. One that is made anew would take them for the first ones of their
 * name, and the segment is gone by then. So when all has come, rows that point
 * at no segment go, and what is there is looked through again.
 *
 * Where records were lost a second look is worth it, too: a read may have
 * failed just then, and once the index is saved behind them nobody looks again.
 * By then a later record may have the name of one that is found so: the bytes
 * of a put that was refused. It gives the name back.
 */
#include "storaged/chunk_impl.h"

#include <errno.h>

#include "common/base/log.h"
#include "common/base/mem.h"

/* A record of this row was lost, that of old came behind it. */
static bool recover_is_late(const struct chunk_store *cs, uint64_t seq,
			    const struct chunk_row *row,
			    const struct chunk_row *old)
{
	bool lost = false;

	for (size_t i = 0; i < cs->n_lost && !lost; i++)
		lost = seq >= cs->lost[i].from && seq < cs->lost[i].to;
	return lost && (row->gen != old->gen ? row->gen < old->gen
					     : row->off < old->off);
}

/*
 * The first bytes under a name stay, also when others were appended later: a
 * put that was refused for them leaves its record behind. A copy is of bytes
 * that counted when it was made, so it stands for what came before it.
 */
static int recover_one(struct chunk_store *cs, const struct chunk_id *id,
		       const struct chunk_row *row, const struct seg_rec *rec)
{
	struct chunk_row old;
	int rv = 0;

	if (chunk_batch_has(&cs->batch, id) || chunk_batch_full(&cs->batch))
		rv = chunk_batch_write(&cs->batch);
	if (rv != 0)
		return rv;
	rv = chunk_index_get(cs, id, &old);
	if (rv == -ENOENT) {
		cs->recovered++;
		return chunk_batch_put(&cs->batch, id, row);
	}
	if (rv != 0 || (old.gen == row->gen && old.off == row->off))
		return rv;
	if ((rec->flags & CHUNK_IS_COPY) == 0 &&
	    !recover_is_late(cs, rec->seq, row, &old))
		return 0;
	return chunk_batch_move(&cs->batch, id, &old, row);
}

/* What a record says; 0 when it is none of ours: nobody can ask for it. */
static int recover_record(struct chunk_store *cs, const struct seg_rec *rec)
{
	const struct chunk_id id = { rec->id, (uint32_t)rec->a };
	const struct chunk_row row = {
		.gen = rec->pos.gen,
		.off = rec->pos.off + SEG_HEADER_LEN,
		.len = (uint32_t)rec->len,
		.hash = rec->hash,
	};

	if (rec->type != SEG_CHUNK || rec->len == 0 || rec->len > WIRE_CHUNK ||
	    rec->a > UINT32_MAX)
		return 0;
	return recover_one(cs, &id, &row, rec);
}

int chunk_store_recover(struct chunk_store *cs, const struct seg_rec *rec)
{
	return rec->seq <= cs->saved_seq ? 0 : recover_record(cs, rec);
}

void chunk_store_recover_rot(struct chunk_store *cs, const struct seg_rot *rot)
{
	if (cs->rot_gen == 0 || rot->pos.gen < cs->rot_gen)
		cs->rot_gen = rot->pos.gen;
	if (cs->n_lost == cs->cap_lost) {
		size_t cap = cs->cap_lost == 0 ? 16 : cs->cap_lost * 2;
		struct chunk_lost *p = mem_realloc(cs->lost, cap * sizeof *p);

		if (p == NULL) {
			cs->lost_rv = -ENOMEM;
			return;
		}
		cs->lost = p;
		cs->cap_lost = cap;
	}
	cs->lost[cs->n_lost++] =
		(struct chunk_lost){ rot->seq, rot->seq + rot->n };
}

/* --- a second look --- */

struct again {
	struct chunk_store *cs;
	uint64_t after; /* records up to that sequence are in the index */
};

static int again_record(void *arg, const struct seg_rec *rec)
{
	const struct again *a = arg;

	/* behind the end of the log nothing counts */
	if (rec->seq <= a->after || rec->seq > seg_head_last_seq(a->cs->bulk))
		return 0;
	return recover_record(a->cs, rec);
}

/* All that has a record in a segment from gen on that is there. */
static int again_from(struct again *a, const struct seg_info *infos, size_t n,
		      uint64_t gen)
{
	const struct seg_walk walk = { .on_record = again_record, .arg = a };
	int rv = 0;

	for (size_t i = 0; i < n && rv == 0; i++) {
		if (infos[i].gen < gen)
			continue;
		rv = seg_scan_segment(a->cs->bulk, infos[i].gen, &walk);
		if (rv == -EIO)
			rv = 0; /* what cannot be read is lost, as it was */
	}
	return rv == 0 ? chunk_batch_write(&a->cs->batch) : rv;
}

static int recover_lost(struct chunk_store *cs, const struct seg_info *infos,
			size_t n)
{
	struct again a = { cs, cs->saved_seq };
	uint64_t before = cs->recovered;
	int rv;

	if (cs->rot_gen == 0)
		return 0;
	if (cs->lost_rv != 0)
		return cs->lost_rv;
	rv = again_from(&a, infos, n, cs->rot_gen);
	if (rv == 0 && cs->recovered > before)
		log_info("%llu lost chunks are there at a second look",
			 (unsigned long long)(cs->recovered - before));
	return rv;
}

/* --- rows that point at no segment --- */

static bool void_has(const struct seg_info *infos, size_t n, uint64_t gen)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (infos[mid].gen < gen)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n && infos[lo].gen == gen;
}

static bool void_any(const struct chunk_store *cs,
		     const struct seg_info *infos, size_t n)
{
	for (size_t i = 0; i < cs->segments.n; i++)
		if (!void_has(infos, n, cs->segments.v[i].gen))
			return true;
	return false;
}

/* Removes them. */
static int void_drop(struct chunk_store *cs, const struct seg_info *infos,
		     size_t n)
{
	struct rows_iter *it;
	struct chunk_row row;
	struct chunk_id id;
	int rv = rows_iter_new(cs->index, wire_bytes(NULL, 0),
			       wire_bytes(NULL, 0), &it);

	if (rv != 0)
		return rv;
	while ((rv = chunk_index_next(it, &id, &row)) == 0) {
		if (void_has(infos, n, row.gen))
			continue;
		if (chunk_batch_full(&cs->batch))
			rv = chunk_batch_write(&cs->batch);
		if (rv == 0)
			rv = chunk_batch_del(&cs->batch, &id, &row);
		if (rv != 0)
			break;
	}
	rows_iter_free(it);
	return rv == -ENOENT ? chunk_batch_write(&cs->batch) : rv;
}

static int recover_voids(struct chunk_store *cs, const struct seg_info *infos,
			 size_t n)
{
	struct again a = { cs, 0 };
	int rv;

	if (!void_any(cs, infos, n))
		return 0;
	log_info("chunks are looked for again, as a segment was freed");
	rv = void_drop(cs, infos, n);
	return rv == 0 ? again_from(&a, infos, n, 0) : rv;
}

int chunk_store_set_bulk(struct chunk_store *cs, struct seg_head *bulk)
{
	struct seg_info *infos = NULL;
	size_t n;
	int rv = chunk_batch_write(&cs->batch);

	cs->bulk = bulk;
	if (rv == 0)
		rv = seg_segments(bulk, &infos, &n);
	if (rv == 0)
		rv = recover_lost(cs, infos, n);
	if (rv == 0)
		rv = recover_voids(cs, infos, n);
	mem_free(infos);
	chunk_batch_fini(&cs->batch);
	return rv;
}
