/*
 * One namespace whose directories lie all over the shards (storaged/shard*.c
 * as it is, each shard a group of one to seven voters, or of a changing
 * number), on simulated machines that crash, pause, lose messages and (profiles
 * member, churn, all) whole disks: whatever a transaction has done when its
 * coordinator or a partner dies, or is a member no more, somebody ends it.
 *
 * Checked: every answer against one tree (sim_tree_model.c, sim_tree_ops.c),
 * also the bytes that are read back (sim_tree_read.c), whose chunks are not
 * removed before (sim_tree_chunk.c); nothing is done twice; the rows of a crashed
 * machine are sound, and those of any other member at the same index; one leader
 * per term; after the heal every operation ends, within seconds no lock is left,
 * both ends of each name agree, whose copies ever are compared, and listings
 * show what the tree has. Values that the rows of a process name when it starts,
 * and at the end, are in its log, while the log's cleaner runs and (profiles
 * snap and those) members that lag fetch the rows of others.
 *
 * In half of the seeds directories are split meanwhile, and nobody may see it.
 * A machine that is alone has chunks as well (sim_tree_bulk.c).
 *
 * Some or all clients are those of common/client/ (sim_client.h).
 *
 * SIM_PLANT=NAME plants a bug (sim_tree_proc.c, PLANT_AGAIN: sim_tree_mail.c, of
 * splits: sim_tree_split.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_tree.h"

/* --- what a process gets --- */

static bool tree_leads(void *proc)
{
	struct proc *p = proc;

	return p->leads[0];
}

/* --- work --- */

static void tree_client(struct sim_cluster *c)
{
	struct tree *w = sim_cluster_arg(c);
	struct sim *s = sim_cluster_sim(c);
	struct proc *p;

	sim_manager_step(&w->manager); /* it may take a machine down */
	sim_clients_step(w->real);
	p = sim_cluster_proc(c, (unsigned)sim_rand(s, sim_cluster_size(c)));
	if (p != NULL && sim_chance(s, 20))
		proc_check_rows(p);
	if (w->heal != HEAL_NOT)
		return;
	if (p != NULL)
		sim_store_tidy(&p->store, s, w->lags, w->pinned > 0);
	if (w->doubts > 0 && sim_chance(s, 2)) {
		rows_mem_image_free(w->old_image);
		w->old_image = rows_mem_image_copy(w->images[0]);
	}
	if (!w->asked_root) {
		w->asked_root = true;
		tree_root(w);
	}
	for (uint64_t n = sim_rand(s, 8); n > 0; n--) {
		unsigned i = (unsigned)sim_rand(s, TREE_CLIENTS);

		if (w->clients[i].busy < TREE_OPS)
			tree_op(w, i);
	}
}

static void tree_check(struct sim_cluster *c)
{
	struct tree *w = sim_cluster_arg(c);

	for (unsigned n = 0; n < sim_cluster_size(c); n++) {
		struct proc *p = sim_cluster_proc(c, n);

		for (unsigned i = 0; p != NULL && i < w->groups; i++)
			sim_leader_check(c, n,
					 shard_group(p->store.set,
						     (uint16_t)(i + 1))
						 ->lead_term,
					 w->group[i].owner, &p->elected[i]);
	}
}

/* --- healing --- */

static void checkpoint_done(void *arg, int status)
{
	struct tree *w = arg;

	if (status != 0)
		sim_fail(w->c, "a checkpoint failed: %d", status);
	w->checkpoints--;
}

bool tree_all_over(const struct tree *w)
{
	return w->heal > HEAL_REST;
}

/* Everybody has everything, and nobody holds anything. */
static bool tree_at_rest(struct tree *w)
{
	for (unsigned n = 0; n < sim_cluster_size(w->c); n++) {
		const struct proc *p = sim_cluster_proc(w->c, n);

		if (p != NULL && !proc_at_rest(p))
			return false;
	}
	return sim_manager_done(&w->manager);
}

static bool tree_spares(struct sim_cluster *c, unsigned nodes)
{
	const struct tree *w = sim_cluster_arg(c);

	return sim_manager_spares(&w->manager, nodes);
}

static bool tree_healed(struct sim_cluster *c)
{
	struct tree *w = sim_cluster_arg(c);

	switch (w->heal) {
	case HEAL_NOT:
		w->heal = HEAL_OPS;
		return false;
	case HEAL_OPS:
		if (w->open > 0)
			return false;
		if (w->root != 0)
			tree_last(w, true);
		w->heal = HEAL_REST;
		return false;
	case HEAL_REST:
		if (w->open > 0 || !tree_at_rest(w))
			return false;
		if (w->root != 0)
			tree_last(w, false);
		w->heal = HEAL_LOOK;
		return false;
	case HEAL_LOOK:
		if (w->open > 0 || !tree_at_rest(w) ||
		    (w->alone && !tree_bulk_swept(w)))
			return false;
		for (unsigned n = 0; n < sim_cluster_size(c); n++) {
			struct proc *p = sim_cluster_proc(c, n);

			if (p == NULL)
				continue;
			w->checkpoints++;
			if (shard_set_checkpoint(p->store.set, checkpoint_done, w) !=
			    0)
				abort();
		}
		w->heal = HEAL_CHECKPOINT;
		return false;
	default:
		if (w->checkpoints > 0)
			return false;
		if (tree_at_rest(w) && tree_check_whole(w))
			return true;
		w->heal = HEAL_LOOK;
		return false;
	}
}

static void tree_end(struct sim_cluster *c)
{
	struct tree *w = sim_cluster_arg(c);

	if (w->alone)
		tree_bulk_check(w);
	for (unsigned n = 0; n < sim_cluster_size(c); n++) {
		struct proc *p = sim_cluster_proc(c, n);

		if (p == NULL)
			continue;
		proc_check_rows(p);
		sim_store_check_values(&p->store, w->groups);
	}
	sim_manager_count(&w->manager);
	sim_cluster_count(c, SIM_N_WRITES, w->n_writes);
	sim_cluster_count(c, SIM_N_READS, w->n_reads);
	sim_cluster_count(c, SIM_N_GETS, w->n_gets);
	sim_cluster_count(c, SIM_N_FAR_GETS, w->n_far_gets);
	sim_cluster_count(c, SIM_N_COPIES, w->n_copies);
	sim_cluster_count(c, SIM_N_CHUNKS, w->n_chunks);
	sim_cluster_count(c, SIM_N_CHUNKS_GONE, w->n_dropped);
	sim_cluster_count(c, SIM_N_UNKNOWN, w->n_unknown);
	sim_trace(sim_cluster_sim(c), "end writes=%llu reads=%llu unknown=%llu "
		  "hops=%llu",
		  (unsigned long long)w->n_writes,
		  (unsigned long long)w->n_reads,
		  (unsigned long long)w->n_unknown,
		  (unsigned long long)w->n_hops);
}

static void tree_stopping(struct sim_cluster *c)
{
	struct tree *w = sim_cluster_arg(c);

	sim_clients_stop(w->real);
}

static void tree_dump(struct sim_cluster *c)
{
	struct tree *w = sim_cluster_arg(c);

	printf("# step %d, %u operations open\n", w->heal, w->open);
	for (const struct op *op = w->ops; op != NULL; op = op->next)
		if (!op->done)
			printf("# %s client=%u shard=%u effects=%u\n",
			       rpc_info(op->tag)->name, op->client,
			       op->hop.shard, op->effects);
	for (unsigned n = 0; n < sim_cluster_size(c); n++)
		for (unsigned i = 0; i < w->groups; i++) {
			struct proc *p = sim_cluster_proc(c, n);
			const struct shard_group *g;

			if (p == NULL)
				continue;
			g = shard_find(p->store.set, (uint16_t)(i + 1));
			printf("# node=%u shard=%u leader=%d applied=%llu of "
			       "%llu locks=%u\n", n, i + 1, p->leads[i],
			       (unsigned long long)p->applied[i],
			       (unsigned long long)w->group[i].last,
			       g->locks->n);
			for (const struct ns_party *y = g->locks->parties;
			     y != NULL; y = y->next)
				printf("#   %s %llx.%llu busy=%d\n",
				       y->own ? "own" : "partner",
				       (unsigned long long)y->txn.hi,
				       (unsigned long long)y->txn.lo,
				       y->busy);
		}
}

/* --- the run --- */

static const struct sim_ops tree_ops = {
	.start = proc_start,
	.stop = proc_stop,
	.died = proc_died,
	.receive = sim_proc_receive,
	.link_reset = sim_proc_link_reset,
	.leads = tree_leads,
	.spares = tree_spares,
	.client = tree_client,
	.check = tree_check,
	.healed = tree_healed,
	.end = tree_end,
	.stopping = tree_stopping,
	.dump = tree_dump,
};

static void tree_free(struct tree *w, unsigned nodes)
{
	struct mail *m;
	struct op *op;

	for (unsigned i = 0; i < nodes; i++)
		rows_mem_image_free(w->images[i]);
	rows_mem_image_free(w->old_image);
	tree_model_fini(w);
	sim_snap_free(w->asks);
	while ((op = w->ops) != NULL) {
		w->ops = op->next;
		client_follow_free(op->follow);
		buf_fini(&op->hop.request);
		buf_fini(&op->request);
		free(op->keys);
		free(op->names);
		free(op->sizes);
		free(op);
	}
	while ((m = w->mails) != NULL) {
		w->mails = m->next;
		buf_fini(&m->payload);
		free(m);
	}
	tree_clients_fini(w);
	tree_bulk_fini(w);
	free(w->dropped);
	free(w);
}

static void tree_run(uint64_t seed, unsigned nodes,
		     const struct sim_profile *profile, uint64_t fault_ms,
		     bool tracing, struct sim_result *ret)
{
	static const unsigned forgets[] = { 0, 3, 10, 50 };
	static const unsigned doubts[] = { 0, 40, 300 };
	static const unsigned snaps[] = { 1, 40000, 1000000 };
	static const unsigned pieces[] = { 800, 4000, 0 };
	static const unsigned mosts[] = { 0, 2, 4, 8 };
	struct tree *w = sim_zalloc(sizeof *w);
	struct sim_config config = {
		.ops = &tree_ops,
		.profile = profile,
		.nodes = nodes,
		.fault_ms = fault_ms,
		.heal_ms = nodes == 1 ? 180000 : 60000, /* clocks, orphans */
		.seed = seed,
		.tracing = tracing,
		.pauses = seed % 4 == 1,
		.frozen_clocks = seed / 4 % 3 == 1,
		.drift_ppm = 10000,
		.arg = w,
	};

	w->alone = nodes == 1;
	w->groups = 2 + (unsigned)(seed % (TREE_GROUPS - 1));
	w->forget = forgets[seed / 3 % 4];
	w->every = sim_store_every(seed);
	w->tiny_cache = seed / 5 % 2 != 0;
	w->doubts = nodes == 1 ? doubts[seed / 2 % 3] : 0;
	w->snap_bytes = snaps[seed / 11 % 3];
	w->pinned = seed / 13 % 4 == 0 ? 0 : seed / 13 % 4 == 1 ? 1 : 30000;
	w->snap_piece = pieces[seed / 2 % 3];
	w->splits = (seed * 0x9e3779b97f4a7c15) >> 63 != 0;
	if (w->splits)
		w->split_most = mosts[(seed * 0x9e3779b97f4a7c15) >> 61 & 3];
	sim_manager_init(&w->manager, w->groups, nodes, profile, seed,
			 w->images);
	w->lags = w->manager.transfers;
	w->manager.keep = sim_plant == PLANT_WIPE;
	for (unsigned i = 0; i < w->groups; i++)
		w->manager.owner[i] = w->group[i].owner;
	for (unsigned i = 0; i < nodes; i++)
		w->images[i] = rows_mem_image_new();
	for (unsigned i = 0; i < TREE_CLIENTS; i++)
		w->clients[i].from.client = i + 1;
	w->adversaries = seed / 2 % 4 == 0 ? 0 : 4;
	w->slots = seed / 7 % 3 == 0 ? 0 : 2;
	w->real_calls = seed / 3 % 2 == 0;
	tree_model_init(w);
	tree_split_begin(w);
	sim_cluster_run(&config, ret);
	tree_free(w, nodes);
}

int main(int argc, char **argv)
{
	static const struct sim_row rows[] = {
		{ 1, "disk", 15 },
		{ 1, "calm", 3 },
		{ 3, "mix", 20 },
		{ 3, "storm", 20 },
		{ 3, "disk", 10 },
		{ 3, "calm", 7 },
		{ 3, "snap", 15 },
		{ 4, "member", 15 },
		{ 5, "member", 3 },
		{ 4, "churn", 10 },
		{ 4, "all", 10 },
		{ 5, "disk", 3 },
		{ 5, "mix", 3 },
		{ 7, "mix", 3 },
		{ 7, "all", 3 },
		{ 1, "store", 10 },
		{ 3, "store", 3 },
		{ 0, NULL, 0 },
	};
	static const struct sim_need needs[] = {
		{ 0, NULL, SIM_N_WRITES },	{ 0, NULL, SIM_N_READS },
		{ 0, NULL, SIM_N_STATES },	{ 3, NULL, SIM_N_GARBAGE },
		{ 0, NULL, SIM_N_GETS },	{ 0, NULL, SIM_N_FAR_GETS },
		{ 0, NULL, SIM_N_COPIES },	{ 0, NULL, SIM_N_CHUNKS },
		{ 0, NULL, SIM_N_CHUNKS_GONE },
		{ 0, NULL, SIM_N_UNKNOWN },	{ 0, NULL, SIM_N_FAR },
		{ 0, NULL, SIM_N_FAR_AGAIN },	{ 0, NULL, SIM_N_LOCK_WAITS },
		{ 0, NULL, SIM_N_PARKS },	{ 0, NULL, SIM_N_CHECKPOINTS },
		{ 0, NULL, SIM_N_SEGMENTS },	{ 0, NULL, SIM_N_TORN },
		{ 0, NULL, SIM_N_FROZEN },
		{ 3, "snap", SIM_N_LATE_READS },
		{ 4, "member", SIM_N_LATE_READS },
		{ 1, NULL, SIM_N_SNAPSHOTS },	{ 1, NULL, SIM_N_SHORT_STARTS },
		{ 1, NULL, SIM_N_CLEANED },	{ 1, NULL, SIM_N_DOUBTS },
		{ 1, NULL, SIM_N_SWEEPS },	{ 1, NULL, SIM_N_LATE_COMMITS },
		{ 1, NULL, SIM_N_REBUILDS },	{ 1, NULL, SIM_N_CHECKS },
		{ 0, "snap", SIM_N_CLEANED },	{ 0, "snap", SIM_N_INSTALLS },
		{ 0, "snap", SIM_N_SHORT_STARTS },
		{ 0, "snap", SIM_N_AMID_INSTALLS },
		{ 0, "snap", SIM_N_AMID_TRANSFERS },
		{ 0, "member", SIM_N_CLEANED },	{ 0, "all", SIM_N_CLEANED },
		{ 4, "all", SIM_N_ROT },	{ 4, "all", SIM_N_SNAP_FLIPS },
		{ 0, NULL, SIM_N_PAUSES },	{ 0, NULL, SIM_N_CLOCKS },
		{ 0, NULL, SIM_N_TERMS },
		{ 0, "member", SIM_N_AMID_CHANGES },
		{ 0, "member", SIM_N_AMID_TRANSFERS },
		{ 0, "member", SIM_N_AMID_INSTALLS },
		{ 0, "member", SIM_N_AMID_WIPES },
		{ 0, "churn", SIM_N_AMID_INSTALLS },
		{ 0, "churn", SIM_N_AMID_WIPES },
		{ 0, "store", SIM_N_START_CUTS }, { 0, "store", SIM_N_DEATHS },
		{ 0, NULL, SIM_N_SPLITS },	{ 0, NULL, SIM_N_HOST_SPLITS },
		{ 0, NULL, SIM_N_SPLIT_WAITS },
		{ 0, "mix", SIM_N_SEGMENTS_GONE },
		{ 0, "calm", SIM_N_SEGMENTS_GONE },
		{ 0, "snap", SIM_N_SEGMENTS_GONE },
		{ 0, "mix", SIM_N_LOST_PAGES },
		{ 0, "calm", SIM_N_LOST_PAGES },
		{ 0, "snap", SIM_N_LOST_PAGES },
		SIM_CLIENT_NEEDS,
		{ 0, NULL, SIM_N_FOLLOWS },
		{ 0, NULL, SIM_N },
	};
	static const struct sim_bug bugs[] = {
		{ .name = "lock", .plant = PLANT_LOCK },
		{ .name = "read", .plant = PLANT_READ },
		{ .name = "end", .plant = PLANT_END },
		{ .name = "term", .plant = PLANT_TERM },
		{ .name = "again", .plant = PLANT_AGAIN },
		{ .name = "unsaved", .plant = PLANT_UNSAVED },
		{ .name = "nohold", .plant = PLANT_NOHOLD },
		{ .name = "nolocks", .plant = PLANT_NOLOCKS },
		{ .name = "doubtless", .plant = PLANT_DOUBTLESS },
		{ .name = "nosteps", .plant = PLANT_NOSTEPS },
		{ .name = "wipe", .plant = PLANT_WIPE },
		{ .name = "bytes", .plant = PLANT_BYTES },
		{ .name = "kref", .plant = PLANT_KREF },
		{ .name = "range", .plant = PLANT_RANGE },
		{ .name = "pin", .plant = PLANT_PIN },
		{ .name = "empty", .plant = PLANT_EMPTY },
		{ .name = "map", .plant = PLANT_MAP },
		{ .name = "look", .plant = PLANT_LOOK },
		{ .name = "at", .plant = PLANT_AT },
		{ .name = "page", .plant = PLANT_PAGE },
		{ .name = "bare", .plant = PLANT_BARE },
		{ .name = "sweep", .plant = PLANT_SWEEP },
		{ .name = "orphan", .plant = PLANT_ORPHAN },
		SIM_CLIENT_BUGS,
	};
	static const struct sim_program program = {
		.name = "tests/sim/sim_tree",
		.run = tree_run,
		.rows = rows,
		.needs = needs,
		.fault_ms = 12000,
	};

	sim_plant_bug(bugs, sizeof bugs / sizeof *bugs);
	return sim_main(&program, argc, argv);
}
