/*
 * A process of the simulator: a store (sim_store.h) and its shards.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/raft/raft_impl.h"
#include "tests/sim/sim_shard.h"

/* --- states of replicas --- */

void proc_check_rows(struct proc *p)
{
	for (unsigned i = 0; i < p->w->groups; i++) {
		struct model *m = &p->w->models[i];

		/* neither the old ones nor the new ones */
		if (proc_group(p, i)->installing)
			continue;
		if (sim_store_check_rows(&p->store, m->group, &m->states) >
		    m->passed)
			sim_fail(p->at.c, "node %u group %u: rows of the "
				 "future", p->at.node, m->group);
	}
}

/* --- life of a process --- */

static void proc_role(void *arg, uint16_t group, bool leader)
{
	struct proc *p = arg;

	p->leads[group - 1] = leader;
	sim_trace(sim_cluster_sim(p->at.c), "role node=%u group=%u leader=%d",
		  p->at.node, group, leader);
	if (!leader)
		return;
	open_led(&p->w->models[group - 1],
		 proc_group(p, group - 1u)->lead_term);
	p->w->led_at[group - 1] = sim_now(sim_cluster_sim(p->at.c));
	sim_cluster_count(p->at.c, SIM_N_TERMS, 1);
	sim_cluster_new_leader(p->at.c, p->at.node);
}

/* The log of the only member ends before what was applied. */
static void proc_cut(struct proc *p, unsigned i)
{
	const struct raft_group *g = proc_group(p, i);
	uint64_t last = rlog_last(&g->log);
	struct model *m = &p->w->models[i];

	if (!g->one_voter || last >= m->last)
		return;
	sim_trace(sim_cluster_sim(p->at.c), "cut node=%u group=%u index=%llu",
		  p->at.node, m->group, (unsigned long long)last);
	if (!sim_cluster_lossy(p->at.c, p->at.node))
		sim_fail(p->at.c, "node %u: a kill took commands", p->at.node);
	if (last < m->firm)
		sim_fail(p->at.c, "node %u group %u: %llu was durable, the log "
			 "ends at %llu", p->at.node, m->group,
			 (unsigned long long)m->firm,
			 (unsigned long long)last);
	sim_cluster_count(p->at.c, SIM_N_LOSSES, 1);
	p->w->cuts[i]++;
	model_cut(m, p, last);
}

static int proc_open_groups(struct proc *p, struct errbuf *e)
{
	uint64_t voters[SIM_NODES];
	unsigned n = sim_manager_start(&p->w->manager, p->at.c, p->at.node,
				       voters);

	for (unsigned i = 0; i < p->w->groups; i++) {
		struct model *m = &p->w->models[i];
		int64_t now;
		int rv = shard_open(p->store.set, m->group, voters, n, e);

		if (rv != 0)
			return rv;
		if (shard_read_applied(p->store.back, m->group, &p->applied[i],
				       &now) != 0)
			abort();
		proc_cut(p, i);
	}
	proc_check_rows(p);
	sim_store_check_start(&p->store, p->w->groups);
	return 0;
}

/* Rows of another member that the last process was putting in place. */
static int proc_on_name(void *arg, const char *name)
{
	struct proc *p = arg;

	p->w->halves += strstr(name, RAFT_SNAP_INSTALL) != NULL;
	return 0;
}

void *proc_start(struct sim_cluster *c, unsigned node, struct env *env)
{
	struct proc *p = sim_zalloc(sizeof *p);
	/* files are small here: a few extents are many */
	static const struct ns_merge_rules merge = {
		.at = 3,
		.step = { { .len = 64, .total = 300, .n = 2, .any_n = 3 },
			  { .len = 500, .total = 2000, .n = 2 } },
		.many = 100, .bridge_at = 6, .bridge = 100,
	};
	struct shard_config config = {
		.env = env,
		.election_ms = 300,
		.heartbeat_ms = 50,
		.role = proc_role,
		.merge = &merge,
		.arg = p,
	};
	struct errbuf e = { "" };
	int rv;

	p->w = sim_cluster_arg(c);
	p->w->c = c;
	config.read_barrier = sim_cluster_frozen(c) &&
			      sim_plant != PLANT_ASLEEP;
	sim_proc_init(&p->at, c, node, env);
	sim_starting = p;
	sim_store_lose_rows(&p->at, p->w->doubts, &p->w->images[node],
			    p->w->old_image);
	(void)env->vfs->ops->list(env->vfs, "/snap", proc_on_name, p);
	if (sim_store_open(&p->store, &p->at, p->w->images[node], &p->w->asks,
			   &config, &e) != 0) {
		sim_starting = NULL;
		free(p);
		return sim_refuse(c, node, "%s", e.text);
	}
	p->store.every = p->w->every;
	config.grace_ns = sim_plant == PLANT_GRACELESS ? 1 : p->w->grace;
	config.drop = slice_on_drop;
	config.chunk = slice_on_chunk;
	/* planted: chunks go while readers may ask for them */
	config.reader_lease_ns = sim_plant == PLANT_HASTY ? 1 : p->w->lease;
	config.snap_bytes = p->w->snap_bytes;
	config.snap_piece = p->w->snap_piece;
	config.tail = p->w->lags ? 20 : 0;
	config.carry = p->w->lags ? 2 : 0;
	config.entry_cache = p->w->tiny_cache ? 4000 : 0;
	config.rows_cache = p->w->tiny_cache ? 4000 : 0;
	if (p->w->slow_work)
		simenv_set_work(env, 1 * SIM_MS, 10 * SIM_MS);
	if (shard_set_new(&config, &p->store.set) != 0)
		abort();
	p->at.host = shard_set_host(p->store.set);
	rows_set_forget(shard_set_rows(p->store.set), p->w->forget);
	rv = sim_store_open_log(&p->store, &e);
	if (rv == 0)
		rv = proc_open_groups(p, &e);
	sim_starting = NULL;
	if (rv != 0) {
		proc_stop(c, node, p, true);
		return sim_refuse(c, node, "%s", e.text);
	}
	if (shard_set_start(p->store.set) != 0)
		abort();
	sim_store_open_clean(&p->store, p->w->pinned);
	return p;
}

void proc_stop(struct sim_cluster *c, unsigned node, void *proc, bool crash)
{
	struct proc *p = proc;

	(void)c;
	sim_procs[node] = NULL;
	client_calls_lost(p);
	sim_clients_died(p->w->real, node);
	sim_store_close(&p->store, crash);
	free(p);
}

void proc_died(struct sim_cluster *c, unsigned node, void *proc)
{
	struct proc *p = proc;

	(void)c;
	sim_procs[node] = NULL;
	sim_starting = NULL;
	sim_applying = NULL;
	sim_entry = NULL;
	sim_store_died(node);
	client_calls_lost(p);
	sim_clients_died(p->w->real, node);
	sim_manager_died(&p->w->manager, node);
}

struct raft_group *proc_group(const struct proc *p, unsigned i)
{
	return shard_group(p->store.set, p->w->models[i].group);
}
