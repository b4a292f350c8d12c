/*
 * The chunks of one store under faults: real index, bulk head, cleaner and its
 * driver on a disk that crashes.
 *
 * Clients put, read, check and drop while the process is killed, loses its
 * power amid a write, a start or a move, and its disk fails, fills up, gives
 * wrong bytes, loses some for good. sim_chunk_model.c says what every answer
 * must be. Now and then counts are made again (sim_chunk_check.c).
 *
 * The end, when all is healed: everything is read; again when the index was
 * lost and made again from the segments, which are then walked; again when some
 * was dropped and the cleaner gave its space back, and after a clean stop. Then
 * all is dropped: no segment is left, and puts work.
 */
#include "tests/sim/sim_chunk.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define GETS 16u  /* under way while all is read */
#define CLEANS 3u /* the room for copies may be small at first */

struct proc *world_proc(struct world *w)
{
	return sim_cluster_proc(w->c, 0);
}

/* --- the end: each step says when it is over --- */

static bool end_settle(struct world *w, struct proc *p)
{
	(void)w;
	compact_resume(p->compact);
	return p->ops == NULL;
}

/* Goes on to the next chunk that was ever put; NULL: behind the last. */
static struct chunk *end_next(struct world *w)
{
	for (; w->at_slice < w->n_slices; w->at_slice++, w->at_chunk = 0) {
		struct slice *sl = w->slices[w->at_slice];

		while (w->at_chunk < sl->n)
			if (sl->chunks[w->at_chunk++].may != 0)
				return &sl->chunks[w->at_chunk - 1];
	}
	return NULL;
}

static bool end_read(struct world *w, struct proc *p)
{
	while (p->n_ops < GETS) {
		struct chunk *k = end_next(w);

		if (k == NULL)
			return p->ops == NULL;
		client_get(p, k, 0, 0);
	}
	return false;
}

/* As end_read(), but the index says it. */
static bool end_look(struct world *w, struct proc *p)
{
	while (p->n_ops < GETS) {
		struct chunk *k = end_next(w);

		if (k == NULL)
			return p->ops == NULL;
		client_check(p, k, false);
	}
	return false;
}

static bool end_check(struct world *w, struct proc *p)
{
	(void)w;
	check_counts(p);
	check_slices(p);
	return true;
}

static bool end_scan(struct world *w, struct proc *p)
{
	check_scan(p);
	return end_check(w, p);
}

/* Over when the next process is there. */
static bool end_restart(struct world *w, struct proc *p)
{
	if (p->life != w->step_life)
		return true;
	client_stop(w);
	return false;
}

static bool end_rebuild(struct world *w, struct proc *p)
{
	w->lose_index |= p->life == w->step_life;
	return end_restart(w, p);
}

static bool end_drop(struct world *w, struct proc *p, bool all)
{
	struct slice *slices[OP_SLICES];
	unsigned n = 0;

	for (; w->at_slice < w->n_slices && n < OP_SLICES; w->at_slice++)
		if (all || w->at_slice % 3 != 0)
			slices[n++] = w->slices[w->at_slice];
	if (n > 0)
		client_drop(p, slices, n);
	return w->at_slice == w->n_slices && p->ops == NULL;
}

static bool end_drop_some(struct world *w, struct proc *p)
{
	return end_drop(w, p, false);
}

static bool end_drop_all(struct world *w, struct proc *p)
{
	return end_drop(w, p, true);
}

/* Is there a sealed segment of which more than so much is dead? */
static bool end_has_dead(struct proc *p, unsigned percent)
{
	struct seg_info *infos;
	bool has = false;
	size_t n;

	if (seg_segments(p->bulk, &infos, &n) != 0)
		abort();
	for (size_t i = 0; i < n; i++) {
		uint64_t live = chunk_segments_live(&p->cs->segments,
						    infos[i].gen);

		has |= live * 100 <= infos[i].bytes * (100 - percent);
	}
	mem_free(infos);
	return has;
}

/* On command. Rot keeps segments. */
static bool end_clean(struct world *w, struct proc *p)
{
	struct compact_info info;

	compact_get_info(p->compact, &info);
	if (info.state == COMPACT_RUNNING)
		return false;
	if (w->at_slice++ == CLEANS) {
		if (!sim_cluster_rotten(w->c, 0) && end_has_dead(p, 50))
			sim_fail(w->c, "dropped chunks keep their space");
		return true;
	}
	compact_start(p->compact, UINT64_MAX);
	return false;
}

/* All that is sealed goes; by itself, where it may. */
static bool end_empty(struct world *w, struct proc *p)
{
	struct compact_info info;

	compact_get_info(p->compact, &info);
	if (!end_has_dead(p, 0))
		return info.state == COMPACT_IDLE;
	if (!w->watch && info.state == COMPACT_IDLE)
		compact_start(p->compact, UINT64_MAX);
	return false;
}

/* The disk has room again. */
static bool end_put(struct world *w, struct proc *p)
{
	struct slice *sl;

	if (w->at_slice++ > 0)
		return p->ops == NULL;
	if (proc_is_full(p))
		sim_fail(w->c, "the disk is full of nothing");
	sl = model_slice_new(w);
	client_put(p, &sl->chunks[0], 1, PUT_GOOD);
	return false;
}

static bool (*const end_steps[])(struct world *w, struct proc *p) = {
	end_settle, end_read, end_check,
	end_rebuild, end_read, end_scan,
	end_drop_some, end_clean, end_read, end_scan,
	end_restart, end_read, end_check,
	end_drop_all, end_look, end_empty, end_put, end_read, end_check,
};

static void world_end_step(struct world *w, struct proc *p)
{
	if (w->step_life == 0) {
		w->step_life = p->life;
		w->at_slice = w->at_chunk = 0;
	}
	if (!end_steps[w->step](w, p))
		return;
	sim_cluster_progress(w->c);
	sim_trace(sim_of(w), "step %u is over", w->step);
	w->step_life = 0;
	w->done = ++w->step == sizeof end_steps / sizeof *end_steps;
}

/* --- a run --- */

static void world_count_runs(struct world *w, struct proc *p)
{
	struct compact_info info;

	compact_get_info(p->compact, &info);
	if (info.started == p->run)
		return;
	p->run = info.started;
	sim_cluster_count(w->c, SIM_N_BY_ITSELF, info.why != COMPACT_COMMAND);
	sim_cluster_count(w->c, SIM_N_FOR_SPACE, info.why == COMPACT_SPACE);
}

static void world_client(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);
	struct proc *p;

	w->c = c;
	p = world_proc(w);
	if (p == NULL || w->done)
		return;
	sim_cluster_enter(c, 0);
	world_count_runs(w, p);
	if (sim_cluster_healing(c))
		world_end_step(w, p);
	else
		client_step(w, p);
}

static void world_check(struct sim_cluster *c)
{
	(void)c;
}

static bool world_healed(struct sim_cluster *c)
{
	const struct world *w = sim_cluster_arg(c);

	return w->done;
}

static void world_end(struct sim_cluster *c)
{
	struct crashfs_stats st;

	crashfs_get_stats(sim_cluster_disk(c, 0), &st);
	sim_cluster_count(c, SIM_N_DIRECT, st.direct_reads);
}

static void world_dump(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);
	struct proc *p = world_proc(w);
	struct compact_info info;

	printf("# step=%u\n", w->step);
	if (p == NULL)
		return;
	compact_get_info(p->compact, &info);
	printf("# life=%u ops=%u compaction=%u targets=%llu out=%llu "
	       "kept=%llu err=%d avail=%d\n", p->life, p->n_ops, info.state,
	       (unsigned long long)info.targets, (unsigned long long)info.out,
	       (unsigned long long)info.kept, info.err, !proc_is_full(p));
}

static bool world_leads(void *proc)
{
	(void)proc;
	return true;
}

static const struct sim_ops chunk_ops = {
	.start = proc_start,
	.stop = proc_stop,
	.died = proc_died,
	.leads = world_leads,
	.client = world_client,
	.check = world_check,
	.healed = world_healed,
	.end = world_end,
	.dump = world_dump,
};

/* How this seed is. */
static void world_init(struct world *w, uint64_t seed,
		       const struct sim_profile *profile)
{
	bool tight = profile->disk != 0;

	w->image = rows_mem_image_new();
	w->loops = 1 + seed / 2 % 2;
	w->most_len = 6000;
	w->most_chunks = 6;
	w->segment = 16u << (10 + seed / 3 % 3);
	w->first = 16u << 10;
	w->work_hi = seed / 4 % 3 == 0 ? 30 * SIM_MS : 2 * SIM_MS;
	w->rush = seed / 5 % 3 == 0 ? 10 : 3;
	w->lose = seed / 6 % 3 == 0 ? 200 : 20;
	w->watch = seed / 3 % 2 == 0 || tight;
	w->rate = seed / 7 % 3 == 0 ? 100000 : 0;
	w->live = tight ? 100 : 24;
	w->reserve = 128u << 10;
	if (seed % 16 == 5 && !tight) { /* some are large */
		w->permille_large = 60;
		w->segment = 4u << 20;
		w->rate = 0;
	} else if (seed % 8 == 6) { /* many are small */
		w->most_chunks = 300;
		w->most_len = 200;
		w->rush = 30;
		w->live = 4;
	}
}

static void chunk_run(uint64_t seed, unsigned nodes,
		      const struct sim_profile *profile, uint64_t fault_ms,
		      bool tracing, struct sim_result *ret)
{
	struct world *w = sim_zalloc(sizeof *w);
	const struct sim_config config = {
		.ops = &chunk_ops,
		.profile = profile,
		.nodes = nodes,
		.fault_ms = fault_ms,
		.heal_ms = 60000,
		.seed = seed,
		.tracing = tracing,
		.arg = w,
	};

	if (nodes != 1) {
		fprintf(stderr, "a store is alone: -n 1\n");
		exit(2);
	}
	world_init(w, seed, profile);
	sim_cluster_run(&config, ret);
	for (unsigned i = 0; i < w->n_slices; i++) {
		free(w->slices[i]->chunks);
		free(w->slices[i]);
	}
	free(w->slices);
	rows_mem_image_free(w->image);
	free(w);
}

int main(int argc, char **argv)
{
	static const struct sim_row rows[] = {
		{ 1, "store", 30 },
		{ 1, "disk", 20 },
		{ 1, "calm", 10 },
		{ 1, "rot", 30 },
		{ 1, "glitch", 20 },
		{ 1, "tight", 10 },
		{ 0, NULL, 0 },
	};
	static const struct sim_need needs[] = {
		{ 0, NULL, SIM_N_KILLS },	{ 0, NULL, SIM_N_TORN },
		{ 0, NULL, SIM_N_MIDWAY },	{ 0, NULL, SIM_N_STOPS },
		{ 0, NULL, SIM_N_BAD_PUTS },	{ 0, NULL, SIM_N_SAVES },
		{ 0, NULL, SIM_N_REBUILDS },	{ 0, NULL, SIM_N_RECOVERED },
		{ 0, NULL, SIM_N_BACK },	{ 0, NULL, SIM_N_CHUNKS_MOVED },
		{ 0, NULL, SIM_N_DROPPED_AMID }, { 0, NULL, SIM_N_STALE },
		{ 0, NULL, SIM_N_FREED },	{ 0, NULL, SIM_N_SUSPENDED },
		{ 0, NULL, SIM_N_BY_ITSELF },	{ 0, NULL, SIM_N_STARTS_TWICE },
		{ 0, NULL, SIM_N_PIECES },
		{ 0, "store", SIM_N_START_CUTS },
		{ 0, "store", SIM_N_DEATHS },	{ 0, "store", SIM_N_DIRECT },
		{ 0, "disk", SIM_N_DIRECT },	{ 0, "calm", SIM_N_DIRECT },
		{ 0, "rot", SIM_N_DEATHS },	{ 0, "rot", SIM_N_REFUSALS },
		{ 0, "rot", SIM_N_ROT },	{ 0, "rot", SIM_N_BY_ROT },
		{ 0, "rot", SIM_N_CHUNKS_LOST },	{ 0, "rot", SIM_N_NO_ROOM },
		{ 0, "glitch", SIM_N_START_FLIPS },
		{ 0, "glitch", SIM_N_ROT },
		{ 0, "tight", SIM_N_NO_ROOM },	{ 0, "tight", SIM_N_FOR_SPACE },
		{ 0, NULL, SIM_N },
	};
	static const struct sim_program program = {
		.name = "tests/sim/sim_chunk",
		.run = chunk_run,
		.rows = rows,
		.needs = needs,
		.fault_ms = 20000,
		.nodes = 1,
	};

	chunk_sums_piece = 64; /* its chunks are short */
	chunk_sums_min = 128;
	sim_chunk_plant();
	return sim_main(&program, argc, argv);
}
