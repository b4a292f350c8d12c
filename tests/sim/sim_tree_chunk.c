/*
 * Slices. What one holds its number says, and a list knows which ones were
 * dropped: nobody may be told of a slice that was dropped before he asked. A
 * machine that is alone has their chunks (sim_tree_bulk.c), as a store has
 * today; of several none has, since the managers allow one store.
 */
#include <stdlib.h>

#include "tests/sim/sim_tree.h"

#define WALL_2023 1700000000u /* where the clocks of simenv begin */

struct wire_u128 tree_slice(struct tree *w, uint16_t home)
{
	uint64_t now = sim_now(sim_cluster_sim(w->c));
	uint64_t session = TREE_SESSION;

	if (w->alone && sim_chance(sim_cluster_sim(w->c), 300))
		session++;
	w->n_chunks++;
	return slice_make(home, WALL_2023 + (uint32_t)(now / SIM_S), session,
			  (uint32_t)++w->token);
}

static bool is_same(struct wire_u128 a, struct wire_u128 b)
{
	return a.hi == b.hi && a.lo == b.lo;
}

void tree_see_slices(const struct op *op, struct wire_bytes extents)
{
	const struct tree *w = op->w;
	struct wire_extent e;
	struct wire_reader r;
	uint32_t n;

	for (r = wire_vec_reader(extents, &n); n > 0; n--) {
		wire_get_extent(&r, &e);
		if (w->alone && e.kind == WIRE_EXT_CHUNKS)
			tree_bulk_see(op->w, &e);
		for (unsigned i = 0; i < w->n_dropped; i++)
			if (e.kind == WIRE_EXT_CHUNKS &&
			    w->dropped[i].at < op->began &&
			    is_same(w->dropped[i].slice, e.slice))
				sim_fail(w->c, "%s shows slice %llx.%llx, whose "
					 "chunks are gone",
					 rpc_info(op->tag)->name,
					 (unsigned long long)e.slice.hi,
					 (unsigned long long)e.slice.lo);
	}
}

bool tree_may_be_late(const struct tree *w, struct wire_bytes extents)
{
	struct wire_extent e;
	struct wire_reader r;
	uint32_t n;

	for (r = wire_vec_reader(extents, &n); w->alone && n > 0; n--) {
		wire_get_extent(&r, &e);
		if (e.kind == WIRE_EXT_CHUNKS &&
		    (slice_session(e.slice) != TREE_SESSION ||
		     tree_all_over(w)))
			return true;
	}
	return false;
}

/* --- dropping --- */

void tree_dropped(struct tree *w, struct wire_u128 slice)
{
	w->dropped = sim_grow(w->dropped, w->n_dropped, &w->cap_dropped,
			      sizeof *w->dropped);
	w->dropped[w->n_dropped++] =
		(struct dropped){ slice, sim_now(sim_cluster_sim(w->c)) };
}

bool tree_was_dropped(const struct tree *w, struct wire_u128 slice)
{
	unsigned i = 0;

	while (i < w->n_dropped && !is_same(w->dropped[i].slice, slice))
		i++;
	return i < w->n_dropped;
}

struct drop {
	struct tree *w;
	unsigned node, life;
	void (*done)(void *arg, uint32_t status);
	void *arg;
};

static void drop_end(void *arg)
{
	struct drop *d = arg;
	struct proc *p = sim_cluster_proc(d->w->c, d->node);

	if (p == NULL || p->store.life != d->life)
		return;
	sim_cluster_enter(d->w->c, d->node);
	d->done(d->arg, sim_chance(sim_cluster_sim(d->w->c), 100)
				? RPC_STATUS_UNAVAILABLE
				: RPC_STATUS_OK);
}

int tree_drop(void *arg, const struct wire_u128 *slices, unsigned n,
	      void (*done)(void *done_arg, uint32_t status), void *done_arg)
{
	struct proc *p = arg;
	struct tree *w = p->w;
	struct sim *s = sim_cluster_sim(w->c);
	struct drop *d;

	if (w->alone)
		return chunk_drop(p->bulk.chunks, slices, n, done, done_arg);
	for (unsigned i = 0; i < n; i++)
		tree_dropped(w, slices[i]);
	d = sim_zalloc(sizeof *d);
	*d = (struct drop){ .w = w, .node = p->at.node,
			    .life = p->store.life, .done = done,
			    .arg = done_arg };
	sim_after_owned(s, sim_range(s, 30 * SIM_US, 50 * SIM_MS), drop_end, d);
	return 0;
}
