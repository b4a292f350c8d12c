/*
 * The raft host and the log head under faults: 1, 3, 5 or 7 machines, some
 * groups.
 *
 * Checked after every event: one leader per term; every machine applies the
 * same command at the same index, in the same state; nothing is left out; a
 * refused submit is never applied; a read, by barrier or under a lease, sees
 * all that was acknowledged before it. (Loose commands of a group of one may go
 * with a power cut: then a tail goes, in which no firm one is, and nobody else
 * has seen it.) After the heal: every submit had one
 * outcome, groups are where they shall be, new commands are applied there.
 *
 * Clocks drift, processes are stopped for longer than a lease; where the
 * clocks stand still meanwhile, leases are off (read_barrier). In the profiles
 * "member", "churn" and "all" groups move about and disks are lost, in "snap"
 * everybody lags.
 */
#include "tests/sim/sim_raft.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct replica *world_replica(struct world *w, unsigned node, unsigned gi)
{
	struct proc *p = sim_cluster_proc(w->c, node);

	return p == NULL || p->replicas[gi].g == NULL ? NULL
						      : &p->replicas[gi];
}

struct replica *world_leader(struct world *w, unsigned gi)
{
	unsigned nodes = sim_cluster_size(w->c);
	unsigned from = (unsigned)sim_rand(sim_cluster_sim(w->c), nodes);

	for (unsigned i = 0; i < nodes; i++) {
		struct replica *r = world_replica(w, (from + i) % nodes, gi);

		if (r != NULL && r->leads)
			return r;
	}
	return NULL;
}

/* --- commands --- */

size_t value_len(const struct world *w, uint64_t value)
{
	uint64_t h = value * 0x9E3779B97F4A7C15u >> 32;

	if (w->big_values && h % 300 == 0)
		return HEAD_BYTES + h % 300000;
	return HEAD_BYTES + h % 60;
}

uint8_t value_byte(uint64_t value, size_t i)
{
	return (uint8_t)(value * 31 + i * 7);
}

uint64_t value_of(struct proc *p, const struct raft_cmd *cmd)
{
	uint64_t value;

	if (cmd->len < HEAD_BYTES)
		sim_fail(p->at.c, "command of %zu bytes", cmd->len);
	memcpy(&value, cmd->data, sizeof value);
	if (value == 0 || value >= p->w->next_value ||
	    cmd->len != value_len(p->w, value))
		sim_fail(p->at.c, "command is not a value");
	for (size_t i = HEAD_BYTES; i < cmd->len; i++)
		if (cmd->data[i] != value_byte(value, i))
			sim_fail(p->at.c, "value %llu has wrong bytes",
				 (unsigned long long)value);
	return value;
}

/* --- what was applied anywhere --- */

static struct step *chain_at(struct chain *ch, uint64_t index)
{
	ch->at = sim_reach(ch->at, index, &ch->cap, sizeof *ch->at);
	return &ch->at[index];
}

uint64_t chain_apply(struct proc *p, struct chain *ch,
		     const struct raft_cmd *cmd, uint64_t value, uint64_t hash)
{
	struct step *s = chain_at(ch, cmd->index);

	hash = (hash ^ value ^ cmd->index << 32) * 0x100000001B3u;
	hash ^= hash >> 29;
	if (s->value == 0) {
		/* who applied later ones must have applied this one too */
		if (cmd->index <= ch->last)
			sim_fail(p->at.c, "index %llu appeared late",
				 (unsigned long long)cmd->index);
		*s = (struct step){ cmd->term, value, hash };
		ch->last = cmd->index;
	}
	if (s->value != value || s->term != cmd->term)
		sim_fail(p->at.c, "node %u applies value %llu at %llu, others "
			 "%llu", p->at.node, (unsigned long long)value,
			 (unsigned long long)cmd->index,
			 (unsigned long long)s->value);
	if (s->hash != hash)
		sim_fail(p->at.c, "node %u has another state at %llu",
			 p->at.node, (unsigned long long)cmd->index);
	return hash;
}

void chain_cut(struct world *w, struct chain *ch, uint64_t index)
{
	for (uint64_t i = index + 1; i <= ch->last; i++) {
		if (ch->at[i].value != 0) /* and it never comes back */
			w->state[ch->at[i].value] = VALUE_REFUSED;
		ch->at[i] = (struct step){ 0 };
	}
	while (index > 0 && (index >= ch->cap || ch->at[index].value == 0))
		index--;
	ch->last = index;
	if (ch->acked > index)
		ch->acked = index;
	if (ch->probe > index)
		ch->probe = 0;
}

/* --- invariants --- */

static void world_check(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);

	for (unsigned n = 0; n < sim_cluster_size(c); n++)
		for (unsigned gi = 0; gi < w->groups; gi++) {
			struct replica *r = world_replica(w, n, gi);

			if (r != NULL)
				sim_leader_check(c, n, r->g->lead_term,
						 w->chains[gi].owner,
						 &r->elected);
		}
}

static bool world_healed(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);

	if (w->heal_value == 0)
		w->heal_value = w->next_value;
	if (w->open_old > 0 || (w->moves && !member_done(w)))
		return false;
	for (unsigned gi = 0; gi < w->groups; gi++) {
		struct chain *ch = &w->chains[gi];

		if (ch->probe == 0)
			return false;
		for (unsigned n = 0; n < sim_cluster_size(c); n++) {
			struct replica *r = world_replica(w, n, gi);

			if (sim_cluster_gone(c, n) || !ch->target[n])
				continue;
			if (r == NULL || r->rows.command < ch->probe ||
			    r->rows.command < ch->acked)
				return false;
		}
	}
	return true;
}

static void world_end(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);

	sim_cluster_count(c, SIM_N_WRITES, w->acked);
	sim_cluster_count(c, SIM_N_UNKNOWN, w->unknown);
	sim_cluster_count(c, SIM_N_READS, w->reads);
	sim_cluster_count(c, SIM_N_LEASES, w->lease_reads);
	sim_cluster_count(c, SIM_N_CHANGES, w->changes);
	sim_cluster_count(c, SIM_N_TRANSFERS, w->handed);
	sim_cluster_count(c, SIM_N_INSTALLS, w->installs);
	sim_cluster_count(c, SIM_N_DROPS, w->drops);
	sim_cluster_count(c, SIM_N_FREES, w->frees);
	sim_trace(sim_cluster_sim(c), "end acked=%llu refused=%llu "
		  "unknown=%llu reads=%llu leases=%llu changes=%llu "
		  "installs=%llu drops=%llu frees=%llu",
		  (unsigned long long)w->acked,
		  (unsigned long long)w->refused,
		  (unsigned long long)w->unknown,
		  (unsigned long long)w->reads,
		  (unsigned long long)w->lease_reads,
		  (unsigned long long)w->changes,
		  (unsigned long long)w->installs,
		  (unsigned long long)w->drops,
		  (unsigned long long)w->frees);
}

static void replica_dump(struct replica *r)
{
	const struct raft_group *g = r->g;
	struct raft_member m[SIM_MEMBERS];
	unsigned n = raft_group_members(g, m, SIM_MEMBERS);

	printf("# node=%u group=%u state=%u term=%llu lead=%llu/%llu "
	       "log=%llu..%llu stored=%llu/%llu commit=%llu/%llu applied=%llu "
	       "hard=%u gate=%zu parked=%d subs=%d pend=%d installing=%d "
	       "fetching=%d settled=%d change=%d transfer=%llu\n",
	       r->p->at.node, r->gi, g->r.state, (unsigned long long)g->term,
	       (unsigned long long)g->lead_term,
	       (unsigned long long)g->lead_index,
	       (unsigned long long)g->log.first,
	       (unsigned long long)rlog_last(&g->log),
	       (unsigned long long)g->stored,
	       (unsigned long long)g->r.last_stored,
	       (unsigned long long)g->commit,
	       (unsigned long long)g->r.commit_index,
	       (unsigned long long)g->applied, g->hard_pending, g->gate.len,
	       g->parked, g->subs != NULL, g->pend != NULL, g->installing,
	       r->fetching, raft_group_settled(g), g->change != NULL,
	       (unsigned long long)g->transfer_to);
	for (unsigned i = 0; i < n && i < SIM_MEMBERS; i++)
		printf("#   member store=%llu role=%d match=%llu lives=%d\n",
		       (unsigned long long)m[i].id, m[i].role,
		       (unsigned long long)m[i].match, m[i].lives);
}

static void world_dump(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);

	for (unsigned gi = 0; gi < w->groups; gi++) {
		struct chain *ch = &w->chains[gi];

		printf("# group=%u last=%llu acked=%llu probe=%llu\n", gi,
		       (unsigned long long)ch->last,
		       (unsigned long long)ch->acked,
		       (unsigned long long)ch->probe);
		for (unsigned n = 0; n < sim_cluster_size(c); n++) {
			struct replica *r = world_replica(w, n, gi);

			printf("# node=%u store=%llu wanted=%d place=%d\n", n,
			       (unsigned long long)sim_cluster_store(c, n),
			       ch->target[n], w->places[n][gi].is);
			if (r != NULL)
				replica_dump(r);
		}
	}
	printf("# open=%llu, before the heal %llu\n",
	       (unsigned long long)w->open, (unsigned long long)w->open_old);
}

static const struct sim_ops raft_ops = {
	.start = proc_start,
	.stop = proc_stop,
	.died = proc_died,
	.receive = sim_proc_receive,
	.link_reset = sim_proc_link_reset,
	.leads = proc_leads,
	.spares = member_spares,
	.client = client_step,
	.check = world_check,
	.healed = world_healed,
	.end = world_end,
	.dump = world_dump,
};

static void raft_run(uint64_t seed, unsigned nodes,
		     const struct sim_profile *profile, uint64_t fault_ms,
		     bool tracing, struct sim_result *ret)
{
	struct world *w = sim_zalloc(sizeof *w);
	struct sim_config config = {
		.ops = &raft_ops,
		.profile = profile,
		.nodes = nodes,
		.fault_ms = fault_ms,
		/* a manager takes some twenty steps, one after the other */
		.heal_ms = profile->moves ? 20000 : 10000,
		.seed = seed,
		.tracing = tracing,
		.pauses = seed / 2 % 3 == 0,
		.frozen_clocks = seed / 7 % 4 == 1,
		.drift_ppm = 50000,
		.arg = w,
	};

	w->moves = profile->moves;
	w->lags = w->moves || strcmp(profile->name, "snap") == 0;
	w->founders = w->moves ? 1 + 2 * (unsigned)(seed % 2) : nodes;
	if (w->founders > nodes)
		w->founders = nodes;
	w->groups = 1 + (unsigned)(seed % GROUPS);
	w->tiny_cache = seed / 3 % 2 != 0;
	w->window = seed / 5 % 2 == 0 ? 2 + (unsigned)(seed % 3) : 0;
	w->quiet = seed / 2 % 2 == 0;
	w->loose = seed / 4 % 2 == 0;
	w->transfers = seed / 3 % 2 == 0;
	if (seed % 8 == 0 || strcmp(profile->name, "slow") == 0)
		w->slow = 1 + (unsigned)(seed / 8 % nodes);
	w->big_values = seed / 6 % 4 == 0;
	w->next_value = 1;
	member_init(w);
	sim_cluster_run(&config, ret);
	for (unsigned i = 0; i < GROUPS; i++)
		free(w->chains[i].at);
	free(w);
}

int main(int argc, char **argv)
{
	static const struct sim_row rows[] = {
		{ 1, "disk", 40 },
		{ 1, "rot", 40 },
		{ 1, "snap", 10 },
		{ 3, "mix", 60 },
		{ 3, "storm", 40 },
		{ 3, "disk", 20 },
		{ 3, "rot", 30 },
		{ 3, "calm", 10 },
		{ 3, "lease", 40 },
		{ 3, "stab", 40 },
		{ 3, "slow", 20 },
		{ 3, "snap", 40 },
		{ 4, "member", 60 },
		{ 4, "churn", 30 },
		{ 4, "all", 30 },
		{ 5, "storm", 30 },
		{ 5, "disk", 10 },
		{ 5, "mix", 10 },
		{ 5, "rot", 10 },
		{ 5, "snap", 10 },
		{ 7, "mix", 10 },
		{ 7, "rot", 10 },
		{ 7, "member", 20 },
		{ 7, "all", 20 },
		{ 1, "store", 20 },
		{ 3, "store", 20 },
		{ 0, NULL, 0 },
	};
	static const struct sim_need needs[] = {
		{ 0, NULL, SIM_N_WRITES },	{ 0, NULL, SIM_N_READS },
		{ 3, NULL, SIM_N_GARBAGE },
		{ 0, NULL, SIM_N_UNKNOWN },	{ 0, NULL, SIM_N_LEASES },
		{ 0, NULL, SIM_N_TERMS },	{ 0, NULL, SIM_N_PAUSES },
		{ 0, NULL, SIM_N_CLOCKS },	{ 0, NULL, SIM_N_FROZEN },
		{ 3, NULL, SIM_N_TRANSFERS },	{ 0, "rot", SIM_N_ROT },
		{ 1, "disk", SIM_N_LOSSES },	{ 0, "snap", SIM_N_FREES },
		{ 3, "snap", SIM_N_INSTALLS },	{ 5, "snap", SIM_N_INSTALLS },
		{ 0, "member", SIM_N_DROPS },	{ 0, "member", SIM_N_FREES },
		{ 0, "member", SIM_N_TRANSFERS },
		{ 0, "churn", SIM_N_DROPS },	{ 0, "all", SIM_N_DROPS },
		{ 7, "member", SIM_N_WIPES_MORE },
		{ 7, "member", SIM_N_WIPES_DOWN },
		{ 7, "all", SIM_N_WIPES_MORE },	{ 7, "all", SIM_N_WIPES_DOWN },
		{ 0, NULL, SIM_N },
	};
	static const struct sim_program program = {
		.name = "tests/sim/sim_raft",
		.run = raft_run,
		.rows = rows,
		.needs = needs,
		.fault_ms = 20000,
	};

	sim_raft_plant();
	return sim_main(&program, argc, argv);
}
