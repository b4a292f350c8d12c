/*
 * The index compared with itself, with the model, and with the segments.
 */
#include "tests/sim/sim_chunk.h"

#include <errno.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/base/xxh.h"

static void check_finding(void *arg, const char *text)
{
	struct proc *p = arg;

	sim_fail(p->w->c, "%s", text);
}

static uint64_t check_space(uint64_t len)
{
	return SEG_HEADER_LEN + ((len + 7) & ~UINT64_C(7));
}

/* Every row: of chunks their number and space. */
static void check_rows(struct proc *p, uint64_t *ret_n, uint64_t *ret_bytes)
{
	struct rows_iter *it;
	struct chunk_row row;
	struct chunk_id id;
	int rv;

	*ret_n = *ret_bytes = 0;
	if (rows_iter_new(p->back, wire_bytes(NULL, 0), wire_bytes(NULL, 0),
			  &it) != 0)
		abort();
	while ((rv = chunk_index_next(it, &id, &row)) == 0) {
		const struct chunk *k = model_chunk(p->w, &id);

		if (k == NULL || k->may == 0)
			sim_fail(p->w->c, "the index has chunk %llx.%u, which "
				 "nobody put", (unsigned long long)id.slice.lo,
				 id.index);
		++*ret_n;
		*ret_bytes += check_space(row.len);
	}
	rows_iter_free(it);
	if (rv != -ENOENT)
		sim_fail(p->w->c, "a row of the index is none");
}

void check_counts(struct proc *p)
{
	struct chunk_stats st;
	uint64_t n, bytes;

	if (chunk_store_check(p->cs, check_finding, p) != 0)
		abort();
	check_rows(p, &n, &bytes);
	chunk_store_stats(p->cs, &st);
	if (st.live != n || st.live_bytes != bytes)
		sim_fail(p->w->c, "%llu chunks with %llu bytes are live, %llu "
			 "with %llu are in the index",
			 (unsigned long long)st.live,
			 (unsigned long long)st.live_bytes,
			 (unsigned long long)n, (unsigned long long)bytes);
}

uint64_t check_hash(struct proc *p)
{
	struct wire_bytes key, value;
	struct rows_iter *it;
	uint64_t h = 0;
	int rv;

	if (rows_iter_new(p->back, wire_bytes(NULL, 0), wire_bytes(NULL, 0),
			  &it) != 0)
		abort();
	while ((rv = rows_iter_next(it, &key, &value)) == 0) {
		h = XXH3_64bits_withSeed(key.p, key.len, h);
		h = XXH3_64bits_withSeed(value.p, value.len, h);
	}
	rows_iter_free(it);
	if (rv != -ENOENT)
		abort();
	return h;
}

/* --- which slices are here --- */

/* -1: it must not be said, 1: it must, 0: it may. */
static int check_says(const struct slice *sl)
{
	bool may = false;

	for (unsigned i = 0; i < sl->n; i++) {
		const struct chunk *k = &sl->chunks[i];

		if (!k->absent)
			return 1;
		may |= k->may != 0 && !k->gone;
	}
	return may ? 0 : -1;
}

static bool check_is_behind(struct wire_u128 a, struct wire_u128 b)
{
	return a.hi != b.hi ? a.hi > b.hi : a.lo > b.lo;
}

/* One page, checked by itself; bits of those that it says. */
static struct wire_u128 check_page(struct proc *p, struct wire_u128 from,
				   uint32_t second, bool *said)
{
	struct sim *s = sim_of(p->w);
	unsigned max = (unsigned)sim_range(s, 1, 8), n;
	struct wire_u128 ids[8], next;
	uint32_t chunks;
	uint64_t bytes;

	if (chunk_store_slices(p->cs, from, second, max, ids, &n, &next) != 0)
		abort();
	for (unsigned i = 0; i < n; i++) {
		struct slice *sl = model_slice(p->w, ids[i]);

		if (sl == NULL || check_says(sl) < 0)
			sim_fail(p->w->c, "slice %llx is not here",
				 (unsigned long long)ids[i].lo);
		if (slice_second(ids[i]) >= second ||
		    slice_home(ids[i]) != slice_home(ids[0]) ||
		    check_is_behind(from, ids[i]) ||
		    (i > 0 && !check_is_behind(ids[i], ids[i - 1])))
			sim_fail(p->w->c, "slice %llx is out of place",
				 (unsigned long long)ids[i].lo);
		said[(uint32_t)ids[i].lo] = true;
		if (chunk_store_slice(p->cs, ids[i], &chunks, &bytes) != 0 ||
		    chunks == 0 || bytes == 0 || chunks > sl->n)
			sim_fail(p->w->c, "slice %llx has %u chunks",
				 (unsigned long long)ids[i].lo, chunks);
	}
	return next;
}

void check_slices(struct proc *p)
{
	struct world *w = p->w;
	struct wire_u128 from = { 0, 0 };
	bool *said = sim_zalloc(w->n_slices + 1);
	uint32_t second = UINT32_MAX;

	if (w->n_slices > 0 && sim_chance(sim_of(w), 500))
		second = slice_second(
			w->slices[sim_rand(sim_of(w), w->n_slices)]->id);
	while (from.hi != UINT64_MAX || from.lo != UINT64_MAX)
		from = check_page(p, from, second, said);
	for (unsigned i = 0; i < w->n_slices; i++)
		if (!said[i] && slice_second(w->slices[i]->id) < second &&
		    check_says(w->slices[i]) > 0 && w->rots == 0)
			sim_fail(w->c, "slice %u is not told of", i);
	free(said);
}

/* --- segments --- */

struct scan {
	struct proc *p;
	uint64_t bytes; /* of records that the index points at */
};

static int scan_record(void *arg, const struct seg_rec *rec)
{
	const struct chunk_id id = { rec->id, (uint32_t)rec->a };
	struct scan *scan = arg;
	struct chunk_row row;

	if (rec->type != SEG_CHUNK)
		return 0;
	if (model_chunk(scan->p->w, &id) == NULL)
		sim_fail(scan->p->w->c, "a record of a chunk that nobody put");
	if (chunk_index_get(scan->p->cs, &id, &row) != 0 ||
	    row.gen != rec->pos.gen ||
	    row.off != rec->pos.off + SEG_HEADER_LEN)
		return 0;
	if (row.len != rec->len || row.hash.hi != rec->hash.hi ||
	    row.hash.lo != rec->hash.lo)
		sim_fail(scan->p->w->c, "chunk %llx.%u: the index and the "
			 "record differ", (unsigned long long)id.slice.lo,
			 id.index);
	scan->bytes += check_space(rec->len);
	return 0;
}

void check_scan(struct proc *p)
{
	struct seg_info *infos;
	size_t n;

	if (sim_cluster_rotten(p->w->c, 0))
		return; /* headers may be lost that nobody needs */
	if (seg_segments(p->bulk, &infos, &n) != 0)
		abort();
	for (size_t i = 0; i < n; i++) {
		struct scan scan = { .p = p };
		const struct seg_walk walk = { .on_record = scan_record,
					       .arg = &scan };
		uint64_t live = chunk_segments_live(&p->cs->segments,
						    infos[i].gen);

		if (seg_scan_segment(p->bulk, infos[i].gen, &walk) != 0)
			abort();
		if (scan.bytes != live)
			sim_fail(p->w->c, "segment %llx has %llu live bytes, "
				 "the index says %llu",
				 (unsigned long long)infos[i].gen,
				 (unsigned long long)scan.bytes,
				 (unsigned long long)live);
	}
	mem_free(infos);
}
