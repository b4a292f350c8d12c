/*
 * Seams of the simulator, made by the linker (--wrap): where it sees what the
 * index and the cleaner do, and where a bug is put in when SIM_PLANT names one.
 * tests/sim/planted.sh shows that each of them is found.
 */
#include "common/base/daemon.h"
#include "tests/sim/sim_chunk.h"

#include <errno.h>
#include <stdlib.h>

#include "common/base/mem.h"

struct proc *sim_chunk_proc;

static bool sim_in_batch; /* one of changes to the index is being made */
static bool sim_in_walk;  /* of the cleaner */

static const struct sim_bug bugs[] = {
	{ .name = "ahead", .plant = PLANT_AHEAD },
	{ .name = "copy", .plant = PLANT_COPY },
	{ .name = "unsaved", .plant = PLANT_UNSAVED },
	{ .name = "last", .plant = PLANT_LAST },
	{ .name = "late", .plant = PLANT_LATE },
	{ .name = "nohash", .plant = PLANT_NOHASH },
	{ .name = "first", .plant = PLANT_FIRST },
	{ .name = "count", .plant = PLANT_COUNT },
	{ .name = "stay", .plant = PLANT_STAY },
	{ .name = "once", .plant = PLANT_ONCE },
	{ .name = "keep", .plant = PLANT_KEEP },
	{ .name = "piece", .plant = PLANT_PIECE },
	{ .name = "ack", .seg = SEG_MUTATE_NO_SYNC },
	{ .name = "rewrite", .seg = SEG_MUTATE_NO_REWRITE },
	{ .name = "rotend", .seg = SEG_MUTATE_ROT_IS_END },
	{ .name = "early", .seg = SEG_MUTATE_FREE_EARLY },
	{ .name = "silent", .seg = SEG_MUTATE_FREE_SILENT },
};

void sim_chunk_plant(void)
{
	sim_plant_bug(bugs, sizeof bugs / sizeof *bugs);
}

/* The machine's would be in the runs. */
WRAP(uint64_t, daemon_memory, void)
{
	(void)__real_daemon_memory;
	return UINT64_C(16) << 20;
}

/* --- the index --- */

/* Up to where it says that it has all records. */
static uint64_t plant_last(struct rows_back *back)
{
	struct wire_reader r;
	uint64_t seq = 0;
	uint8_t *value;
	size_t len;

	if (rows_back_get(back, wire_cstr("last"), &value, &len) != 0)
		return 0;
	r = (struct wire_reader){ .p = value, .left = len };
	wire_get_u64(&r, &seq);
	mem_free(value);
	return seq;
}

/* With the power gone nothing of it is kept any more. */
WRAP(int, rows_back_checkpoint, struct rows_back *back)
{
	struct world *w = sim_chunk_proc->w;
	int rv;

	if (sim_cluster_cut(w->c, 0))
		return 0;
	rv = __real_rows_back_checkpoint(back);
	if (rv == 0 && sim_chunk_proc->compact != NULL)
		model_saved(w, plant_last(back)); /* it has started */
	return rv;
}

WRAP(int, chunk_index_save, struct chunk_store *cs, uint64_t seq)
{
	sim_cluster_count(sim_chunk_proc->w->c, SIM_N_SAVES, 1);
	if (sim_plant == PLANT_LAST)
		seq = seg_head_last_seq(cs->bulk);
	return __real_chunk_index_save(cs, seq);
}

WRAP(void, chunk_save_soon, struct chunk_loop *cl, void (*done)(void *arg),
     void *arg)
{
	if (sim_plant == PLANT_UNSAVED)
		done(arg);
	else
		__real_chunk_save_soon(cl, done, arg);
}

WRAP(int, chunk_batch_init, struct chunk_batch *b, struct chunk_store *cs)
{
	sim_in_batch = true;
	return __real_chunk_batch_init(b, cs);
}

WRAP(void, chunk_batch_fini, struct chunk_batch *b)
{
	sim_in_batch = false;
	__real_chunk_batch_fini(b);
}

/*
 * A reader may have found the row before the cleaner moved the chunk, and look
 * there now. late: the cleaner finds what is not there any more.
 */
WRAP(int, chunk_index_get, struct chunk_store *cs, const struct chunk_id *id,
     struct chunk_row *ret)
{
	struct proc *p = sim_chunk_proc;
	struct chunk *k = model_chunk(p->w, id);
	int rv = __real_chunk_index_get(cs, id, ret);

	if (k == NULL || p->compact == NULL)
		return rv;
	if (sim_in_walk && rv == 0)
		k->from = *ret;
	if (sim_plant == PLANT_LATE && sim_in_batch && rv == -ENOENT &&
	    k->copying) {
		*ret = k->from;
		return 0;
	}
	if (rv != 0 || !k->moved || sim_in_batch || sim_in_walk)
		return rv;
	k->stale = !k->stale && sim_chance(sim_of(p->w), 200);
	if (k->stale) {
		sim_cluster_count(p->w->c, SIM_N_STALE, 1);
		*ret = k->from;
	}
	return 0;
}

WRAP(int, chunk_batch_move, struct chunk_batch *b, const struct chunk_id *id,
     const struct chunk_row *from, const struct chunk_row *to)
{
	struct proc *p = sim_chunk_proc;
	struct chunk *k = model_chunk(p->w, id);

	if (p->compact != NULL) { /* not at its start */
		k->copying = false;
		k->moved = true;
		k->from = *from;
		sim_cluster_count(p->w->c, SIM_N_CHUNKS_MOVED, 1);
	}
	return __real_chunk_batch_move(b, id, from, to);
}

WRAP(int, chunk_batch_del, struct chunk_batch *b, const struct chunk_id *id,
     const struct chunk_row *row)
{
	struct chunk_row own = *row;

	/* a start removes rows of segments that were freed */
	if (sim_chunk_proc->compact == NULL)
		model_looked_again(sim_chunk_proc->w);
	if (sim_plant == PLANT_COUNT)
		own.len += 8;
	return __real_chunk_batch_del(b, id, &own);
}

WRAP(int, chunk_store_recover, struct chunk_store *cs,
     const struct seg_rec *rec)
{
	struct seg_rec own = *rec;

	if (sim_plant == PLANT_FIRST)
		own.flags = 0;
	return __real_chunk_store_recover(cs, &own);
}

WRAP(void, chunk_store_recover_rot, struct chunk_store *cs,
     const struct seg_rot *rot)
{
	struct seg_rot own = *rot;

	if (sim_plant == PLANT_KEEP)
		own.n = 0;
	if (sim_plant != PLANT_ONCE)
		__real_chunk_store_recover_rot(cs, &own);
}

WRAP(uint64_t, chunk_segments_live, const struct chunk_segments *segs,
     uint64_t gen)
{
	uint64_t live = __real_chunk_segments_live(segs, gen);

	return sim_plant == PLANT_STAY && live == 0 ? 1 : live;
}

WRAP(bool, chunk_hash_ok, const struct body *body, struct wire_u128 hash)
{
	return sim_plant == PLANT_NOHASH || __real_chunk_hash_ok(body, hash);
}

WRAP(bool, chunk_sums_ok, struct chunk_sums *s, const struct chunk_id *id,
     struct wire_u128 hash, unsigned first, const void *data, size_t len)
{
	bool ok = __real_chunk_sums_ok(s, id, hash, first, data, len);

	sim_cluster_count(sim_chunk_proc->w->c, SIM_N_PIECES, ok);
	return ok || sim_plant == PLANT_PIECE;
}

/* --- segments --- */

WRAP(void, seg_append, struct seg_port *port, struct seg_append *a)
{
	const struct chunk_id id = { a->id, (uint32_t)a->a };
	bool copy = (a->flags & CHUNK_IS_COPY) != 0;

	if (a->type == SEG_CHUNK && copy)
		model_copied(sim_chunk_proc->w, &id);
	if (a->type == SEG_CHUNK)
		a->loose = sim_plant == (copy ? PLANT_COPY : PLANT_AHEAD);
	__real_seg_append(port, a);
}

WRAP(int, seg_scan_segment, struct seg_head *head, uint64_t gen,
     const struct seg_walk *walk)
{
	int rv;

	sim_in_walk = true;
	rv = __real_seg_scan_segment(head, gen, walk);
	sim_in_walk = false;
	return rv;
}

WRAP(void, seg_free_segment, struct seg_port *port, struct seg_free *f)
{
	sim_cluster_count(sim_chunk_proc->w->c, SIM_N_FREED, 1);
	__real_seg_free_segment(port, f);
}
