/*
 * The shard host as it is (storaged/shard*.c: Raft host, namespace, rows,
 * segment log) on simulated machines, one to seven voters, some groups.
 *
 * Checked: one leader per term; the same command, answer and state at the
 * same index everywhere; rows that ns_check() finds nothing in, also those a
 * crash left; every answer against the model (sim_shard_model.c, _read.c);
 * nothing refused is applied, nothing is applied twice; what a power cut takes
 * from a group of one is a tail of loose writes that nobody else ever had, and
 * no inode number of it comes again; what is open keeps its bytes
 * (sim_shard_open.c), what is named its chunks (sim_shard_slice.c), an upload
 * its parts (sim_shard_upload.c); after the heal every operation ends, every
 * replica is the same within 10 s, and nothing is left that nobody names or
 * holds.
 *
 * Some clients are those of common/client/ (sim_client.h).
 *
 * SIM_PLANT=NAME plants a bug (sim_shard_plant.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/raft/raft_impl.h"
#include "tests/sim/sim_shard.h"

/* --- what a process gets --- */

static bool proc_leads(void *proc)
{
	struct proc *p = proc;

	return p->leads[0];
}

/* --- work --- */

static void world_clients(struct world *w)
{
	struct sim *s = sim_cluster_sim(w->c);

	for (uint64_t n = sim_rand(s, 4); n > 0; n--) {
		unsigned i = (unsigned)sim_rand(s, SHARD_CLIENTS);

		if (w->clients[i].busy < SHARD_OPS)
			gen_op(w, i);
	}
}

static void world_roots(struct world *w)
{
	bool asked[SHARD_GROUPS] = { false };

	for (const struct op *op = w->ops; op != NULL; op = op->next)
		if (!op->done && op->tag == RPC_TAG_root_create)
			asked[op->m->group - 1] = true;
	for (unsigned i = 0; i < w->groups; i++)
		if (!w->models[i].told_root && !asked[i])
			gen_root(w, &w->models[i]);
}

static void world_client(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);
	struct sim *s = sim_cluster_sim(c);
	struct proc *p;

	sim_manager_step(&w->manager); /* it may take a machine down */
	real_step(w);
	p = sim_cluster_proc(c, (unsigned)sim_rand(s, sim_cluster_size(c)));
	if (p != NULL && sim_chance(s, 40))
		proc_check_rows(p);
	if (w->heal != HEAL_NOT)
		return;
	if (p != NULL)
		sim_store_tidy(&p->store, s, w->lags, w->pinned > 0);
	if (w->doubts > 0 && sim_chance(s, 2)) {
		rows_mem_image_free(w->old_image);
		w->old_image = rows_mem_image_copy(w->images[0]);
	}
	world_roots(w);
	open_step(w);
	world_clients(w);
}

/* --- after every event --- */

static void world_check(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);

	for (unsigned n = 0; n < sim_cluster_size(c); n++) {
		struct proc *p = sim_cluster_proc(c, n);

		for (unsigned i = 0; p != NULL && i < w->groups; i++)
			sim_leader_check(c, n, proc_group(p, i)->lead_term,
					 w->models[i].owner, &p->elected[i]);
	}
}

/* --- healing --- */

static void checkpoint_done(void *arg, int status)
{
	struct world *w = arg;

	if (status != 0)
		sim_fail(w->c, "a checkpoint failed: %d", status);
	w->checkpoints--;
}

static bool world_applied(struct world *w)
{
	for (unsigned i = 0; i < w->groups; i++)
		for (unsigned n = 0; n < sim_cluster_size(w->c); n++) {
			struct proc *p = sim_cluster_proc(w->c, n);

			if (p == NULL || /* gone */
			    !sim_manager_wants(&w->manager, i, n))
				continue;
			if (p->applied[i] < w->models[i].last)
				return false;
			if (p->applied[i] < w->models[i].acked)
				sim_fail(w->c, "an acknowledged write is lost");
		}
	return true;
}

static void world_checkpoint(struct world *w)
{
	for (unsigned n = 0; n < sim_cluster_size(w->c); n++) {
		struct proc *p = sim_cluster_proc(w->c, n);

		if (p == NULL)
			continue;
		w->checkpoints++;
		if (shard_set_checkpoint(p->store.set, checkpoint_done, w) != 0)
			abort();
	}
}

static void world_last(struct world *w, bool write)
{
	for (unsigned i = 0; i < w->groups; i++)
		gen_last(w, &w->models[i], write);
}

/* Rows on the disk are old, or there is something to be done with them. */
static bool world_left(struct world *w)
{
	for (unsigned i = 0; i < w->groups; i++)
		for (unsigned n = 0; n < sim_cluster_size(w->c); n++) {
			struct proc *p = sim_cluster_proc(w->c, n);
			struct model *m = &w->models[i];
			uint64_t index = 0;
			int64_t now;

			if (p == NULL || !sim_manager_wants(&w->manager, i, n))
				continue;
			(void)shard_read_applied(p->store.back, m->group,
						 &index, &now);
			if (index < m->last || open_left(p, m->group))
				return true;
		}
	return false;
}

static bool world_spares(struct sim_cluster *c, unsigned nodes)
{
	const struct world *w = sim_cluster_arg(c);

	return sim_manager_spares(&w->manager, nodes);
}

static bool world_healed(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);
	struct sim *s = sim_cluster_sim(c);

	switch (w->heal) {
	case HEAL_NOT: /* what is open ends; new writes go through */
		world_roots(w);
		w->heal = HEAL_OPS;
		return false;
	case HEAL_OPS:
		if (w->open > 0)
			return false;
		world_last(w, true);
		w->heal = HEAL_LAST;
		return false;
	case HEAL_LAST:
		if (w->open > 0)
			return false;
		world_last(w, false);
		open_end(w);
		slice_end(w);
		upload_end(w);
		w->heal = HEAL_APPLY;
		w->heal_at = sim_now(s) + 500 * SIM_MS;
		return false;
	case HEAL_APPLY:
		if (w->open > 0 || sim_now(s) < w->heal_at ||
		    !sim_manager_done(&w->manager) || !world_applied(w))
			return false;
		sim_cluster_progress(c);
		w->heal = HEAL_SWEEP;
		return false;
	case HEAL_SWEEP:
		if (!open_over(w) || !world_applied(w) ||
		    !slice_over(w) || sim_now(s) < w->heal_at)
			return false;
		world_checkpoint(w);
		w->heal = HEAL_CHECKPOINT;
		return false;
	default:
		if (w->checkpoints > 0)
			return false;
		if (!world_left(w))
			return true;
		/* the queue is being worked off, or was meanwhile */
		w->heal_at = sim_now(s) + 100 * SIM_MS;
		w->heal = HEAL_SWEEP;
		return false;
	}
}

static void world_end(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);

	for (unsigned n = 0; n < sim_cluster_size(c); n++) {
		struct proc *p = sim_cluster_proc(c, n);

		if (p == NULL)
			continue;
		proc_check_rows(p);
		sim_store_check_values(&p->store, w->groups);
	}
	slice_check_end(w);
	sim_manager_count(&w->manager);
	sim_cluster_count(c, SIM_N_HALF_INSTALLS, w->halves);
	sim_cluster_count(c, SIM_N_WRITES, w->n_writes);
	sim_cluster_count(c, SIM_N_READS, w->n_reads);
	sim_cluster_count(c, SIM_N_RETRIES, w->n_dups);
	sim_cluster_count(c, SIM_N_UNKNOWN, w->n_unknown);
	sim_trace(sim_cluster_sim(c), "end writes=%llu errors=%llu reads=%llu "
		  "dups=%llu unknown=%llu refused=%llu",
		  (unsigned long long)w->n_writes,
		  (unsigned long long)w->n_errors,
		  (unsigned long long)w->n_reads,
		  (unsigned long long)w->n_dups,
		  (unsigned long long)w->n_unknown,
		  (unsigned long long)w->n_refused);
}

static void world_stopping(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);

	sim_clients_stop(w->real);
}

static void world_dump(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);

	printf("# step %d, %u operations open, %u checkpoints\n", w->heal,
	       w->open, w->checkpoints);
	for (const struct op *op = w->ops; op != NULL; op = op->next)
		if (!op->done)
			printf("# %s client=%u group=%u tries=%u effect=%llu\n",
			       rpc_info(op->tag)->name, op->client,
			       op->m->group, op->tries,
			       (unsigned long long)op->effect);
	open_dump(w);
	for (unsigned n = 0; n < sim_cluster_size(c); n++)
		for (unsigned i = 0; i < w->groups; i++) {
			struct proc *p = sim_cluster_proc(c, n);
			const struct raft_group *g;

			if (p == NULL)
				continue;
			g = proc_group(p, i);
			printf("# node=%u group=%u leader=%d term=%llu "
			       "last=%llu stored=%llu commit=%llu "
			       "applied=%llu parked=%d installing=%d "
			       "wanted=%d\n", n, i + 1,
			       p->leads[i], (unsigned long long)g->term,
			       (unsigned long long)rlog_last(&g->log),
			       (unsigned long long)g->stored,
			       (unsigned long long)g->commit,
			       (unsigned long long)g->applied, g->parked,
			       g->installing,
			       sim_manager_wants(&w->manager, i, n));
		}
}

/* --- the run --- */

static const struct sim_ops shard_ops = {
	.start = proc_start,
	.stop = proc_stop,
	.died = proc_died,
	.receive = sim_proc_receive,
	.link_reset = sim_proc_link_reset,
	.leads = proc_leads,
	.spares = world_spares,
	.client = world_client,
	.check = world_check,
	.healed = world_healed,
	.end = world_end,
	.stopping = world_stopping,
	.dump = world_dump,
};

static void world_free(struct world *w, unsigned nodes)
{
	struct op *op;

	for (unsigned i = 0; i < nodes; i++)
		rows_mem_image_free(w->images[i]);
	rows_mem_image_free(w->old_image);
	sim_snap_free(w->asks);
	for (unsigned i = 0; i < w->groups; i++)
		model_fini(&w->models[i]);
	open_fini(w);
	upload_fini(w);
	free(w->slices);
	while ((op = w->ops) != NULL) {
		w->ops = op->next;
		buf_fini(&op->payload);
		free(op);
	}
	sim_clients_free(w->real);
	free(w->slots);
	free(w);
}

static void shard_run(uint64_t seed, unsigned nodes,
		      const struct sim_profile *profile, uint64_t fault_ms,
		      bool tracing, struct sim_result *ret)
{
	static const unsigned forgets[] = { 0, 3, 10, 50 };
	static const unsigned looses[] = { 0, 1000, 900, 500 };
	static const unsigned doubts[] = { 0, 40, 300 };
	static const unsigned snaps[] = { 1, 40000, 1000000 };
	static const unsigned pieces[] = { 800, 4000, 0 };
	static const unsigned graces[] = { 400, 1500, 3000 };
	struct world *w = sim_zalloc(sizeof *w);
	struct sim_config config = {
		.ops = &shard_ops,
		.profile = profile,
		.nodes = nodes,
		.fault_ms = fault_ms,
		/* a manager takes some twenty steps, one after the other */
		.heal_ms = profile->moves ? 20000 : 10000,
		.seed = seed,
		.tracing = tracing,
		.pauses = seed % 4 == 1,
		.frozen_clocks = seed / 4 % 3 == 1,
		.drift_ppm = 10000,
		.arg = w,
	};

	w->groups = 1 + (unsigned)(seed % SHARD_GROUPS);
	w->forget = forgets[seed / 3 % 4];
	w->every = sim_store_every(seed);
	w->tiny_cache = seed / 5 % 2 != 0;
	/* both would make a replay slower than the heal may take */
	w->slow_work = w->forget != 3 && seed / 7 % 3 == 0;
	for (unsigned i = 0; i < nodes; i++)
		w->images[i] = rows_mem_image_new();
	w->quiet = nodes > 1 && seed / 2 % 3 == 0;
	w->loose = looses[seed / 2 % 4];
	w->doubts = nodes == 1 ? doubts[seed / 2 % 3] : 0;
	w->snap_bytes = snaps[seed / 11 % 3];
	w->pinned = seed / 13 % 4 == 0 ? 0 : seed / 13 % 4 == 1 ? 1 : 30000;
	w->snap_piece = pieces[seed / 2 % 3];
	w->lease = 2200 * SIM_MS; /* a pause may be 2 s */
	w->jumps = config.pauses;
	w->drains = seed % 4 == 0;
	w->grace = graces[seed / 17 % 3] * SIM_MS;
	w->adversaries = SHARD_CLIENTS - (seed / 2 % 3 == 0 ? 4 : 2);
	w->most_slots = seed / 7 % 3 == 0 ? 0 : 1;
	sim_manager_init(&w->manager, w->groups, nodes, profile, seed,
			 w->images);
	w->manager.greedy = sim_plant == PLANT_MAJORITY;
	w->lags = w->manager.transfers;
	for (unsigned i = 0; i < w->groups; i++) {
		model_init(&w->models[i], w, (uint16_t)(i + 1));
		w->manager.owner[i] = w->models[i].owner;
	}
	open_init(w);
	upload_init(w);
	sim_cluster_run(&config, ret);
	world_free(w, nodes);
}

int main(int argc, char **argv)
{
	static const struct sim_row rows[] = {
		{ 1, "disk", 24 },
		{ 1, "rot", 18 },
		{ 1, "calm", 6 },
		{ 3, "mix", 24 },
		{ 3, "storm", 12 },
		{ 3, "stab", 9 },
		{ 3, "lease", 9 },
		{ 3, "disk", 12 },
		{ 3, "rot", 18 },
		{ 3, "calm", 6 },
		{ 5, "storm", 4 },
		{ 5, "disk", 4 },
		{ 5, "mix", 4 },
		{ 5, "rot", 4 },
		{ 7, "mix", 4 },
		{ 7, "rot", 4 },
		{ 3, "snap", 18 },
		{ 5, "snap", 4 },
		{ 4, "member", 18 },
		{ 4, "churn", 9 },
		{ 4, "all", 12 },
		{ 7, "member", 4 },
		{ 7, "all", 4 },
		{ 1, "store", 9 },
		{ 3, "store", 6 },
		{ 0, NULL, 0 },
	};
	static const struct sim_need needs[] = {
		{ 0, NULL, SIM_N_WRITES },	{ 0, NULL, SIM_N_READS },
		{ 0, NULL, SIM_N_STATES },	{ 3, NULL, SIM_N_GARBAGE },
		{ 0, NULL, SIM_N_RETRIES },	{ 0, NULL, SIM_N_UNKNOWN },
		{ 0, NULL, SIM_N_PARKS },	{ 0, NULL, SIM_N_CHECKPOINTS },
		{ 0, NULL, SIM_N_SEGMENTS },	{ 0, NULL, SIM_N_PAUSES },
		{ 0, NULL, SIM_N_TORN },	{ 0, NULL, SIM_N_MIDWAY },
		{ 0, NULL, SIM_N_TERMS },	{ 0, NULL, SIM_N_OPENS },
		{ 0, NULL, SIM_N_KEPT },	{ 0, NULL, SIM_N_NAMELESS },
		{ 0, NULL, SIM_N_SESSIONS },	{ 0, NULL, SIM_N_DROPPED },
		{ 0, NULL, SIM_N_COMPLETED },	{ 0, NULL, SIM_N_FROZEN },
		{ 3, "mix", SIM_N_LATE_READS },
		{ 3, "lease", SIM_N_LATE_READS },
		{ 3, "snap", SIM_N_LATE_READS },
		{ 4, "member", SIM_N_LATE_READS },
		{ 1, "disk", SIM_N_LATE_COMMITS },
		{ 3, "mix", SIM_N_LATE_COMMITS },
		{ 0, "rot", SIM_N_ROT },	{ 0, "all", SIM_N_ROT },
		{ 1, "rot", SIM_N_SNAP_FLIPS },	{ 1, "rot", SIM_N_SNAP_ROTTEN },
		{ 0, "all", SIM_N_SNAP_FLIPS },	{ 0, "all", SIM_N_CLEANED },
		{ 1, "disk", SIM_N_LOSSES },	{ 1, "rot", SIM_N_LOSSES },
		{ 1, NULL, SIM_N_SNAPSHOTS },	{ 1, NULL, SIM_N_SHORT_STARTS },
		{ 1, "disk", SIM_N_DOUBTS },	{ 1, "rot", SIM_N_DOUBTS },
		{ 3, "mix", SIM_N_MERGES },	{ 0, NULL, SIM_N_CLOCKS },
		{ 0, "snap", SIM_N_INSTALLS },	{ 0, "snap", SIM_N_TRANSFERS },
		{ 0, "snap", SIM_N_CLEANED },	{ 3, "snap", SIM_N_HALF_INSTALLS },
		{ 0, "member", SIM_N_CLEANED },
		{ 7, "member", SIM_N_WIPES_MORE },
		{ 7, "member", SIM_N_WIPES_DOWN },
		{ 7, "all", SIM_N_WIPES_MORE },	{ 7, "all", SIM_N_WIPES_DOWN },
		{ 0, "store", SIM_N_START_CUTS }, { 0, "store", SIM_N_DEATHS },
		SIM_CLIENT_NEEDS,
		{ 0, NULL, SIM_N },
	};
	static const struct sim_program program = {
		.name = "tests/sim/sim_shard",
		.run = shard_run,
		.rows = rows,
		.needs = needs,
		.fault_ms = 16000,
	};

	sim_shard_plant();
	return sim_main(&program, argc, argv);
}
