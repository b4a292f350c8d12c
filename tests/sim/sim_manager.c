#include "tests/sim/sim_manager.h"

#include <stdlib.h>
#include <string.h>

#include "storaged/shard_impl.h"

void sim_manager_init(struct sim_manager *m, unsigned groups, unsigned nodes,
		      const struct sim_profile *profile, uint64_t seed,
		      struct rows_mem_image **images)
{
	if (groups > SIM_GROUPS)
		abort();
	m->groups = groups;
	m->images = images;
	m->moves = profile->moves;
	m->transfers = m->moves || strcmp(profile->name, "snap") == 0;
	m->founders = m->moves && seed % 2 == 0 ? 1 : nodes;
	if (m->moves && m->founders > 3)
		m->founders = 3;
	for (unsigned i = 0; i < groups; i++)
		for (unsigned n = 0; n < nodes; n++)
			m->target[i][n] = n < m->founders;
}

unsigned sim_manager_start(struct sim_manager *m, struct sim_cluster *c,
			   unsigned node, uint64_t voters[SIM_NODES])
{
	m->c = c;
	sim_changes_init(&m->asked[node], c, &m->changes);
	for (unsigned i = 0; i < m->founders; i++)
		voters[i] = i + 1;
	return node < m->founders && !m->wiped[node] ? m->founders : 0;
}

void sim_manager_died(struct sim_manager *m, unsigned node)
{
	sim_changes_lost(&m->asked[node]);
}

bool sim_manager_wants(const struct sim_manager *m, unsigned i, unsigned node)
{
	return !m->moves || m->target[i][node];
}

/* --- a step --- */

/* A shard of a process, and who takes part in it as that one knows. */
struct member_view {
	struct sim_manager *m;
	unsigned i, node;
	struct shard_group *g;
	struct raft_member members[SIM_MEMBERS];
	unsigned n;
};

static struct shard_group *member_shard(const struct sim_manager *m,
					unsigned i, unsigned node)
{
	const struct sim_proc *p = sim_cluster_proc(m->c, node);

	return p == NULL ? NULL : shard_find(p->store->set, (uint16_t)(i + 1));
}

/* While some hold locks here, or owe steps to others. */
static void member_count(const struct member_view *v, enum sim_count what,
			 enum sim_count amid)
{
	sim_cluster_count(v->m->c, what, 1);
	sim_cluster_count(v->m->c, amid, v->g->locks->parties != NULL);
}

static void member_ask(struct member_view *v, uint64_t id, enum raft_role role)
{
	sim_cluster_count(v->m->c, SIM_N_AMID_CHANGES,
			  v->g->locks->parties != NULL);
	sim_cluster_enter(v->m->c, v->node);
	sim_changes_ask(&v->m->asked[v->node], v->g->raft, id, role);
}

/* One that was told that it leads, from a random node on. */
static bool member_leader(struct sim_manager *m, unsigned i,
			  struct member_view *ret)
{
	unsigned nodes = sim_cluster_size(m->c);
	unsigned from = (unsigned)sim_rand(sim_cluster_sim(m->c), nodes);

	for (unsigned n = 0; n < nodes; n++) {
		unsigned node = (from + n) % nodes;
		struct shard_group *g = member_shard(m, i, node);

		if (g == NULL || !g->leader)
			continue;
		*ret = (struct member_view){ .m = m, .i = i, .node = node,
					     .g = g };
		ret->n = raft_group_members(g->raft, ret->members,
					    SIM_MEMBERS);
		return true;
	}
	return false;
}

/* One more of those that are wanted. */
static bool member_add(struct member_view *v)
{
	struct sim *s = sim_cluster_sim(v->m->c);
	unsigned nodes = sim_cluster_size(v->m->c);
	unsigned from = (unsigned)sim_rand(s, nodes);

	for (unsigned i = 0; i < nodes; i++) {
		unsigned node = (from + i) % nodes;
		uint64_t id = sim_cluster_store(v->m->c, node);
		enum raft_role role = sim_member_role(v->members, v->n, id);

		if (!v->m->target[v->i][node] || role == RAFT_ROLE_VOTER ||
		    sim_cluster_rotten(v->m->c, node))
			continue;
		member_ask(v, id, sim_member_next(s, role));
		return true;
	}
	return false;
}

/* One less of those that are not. */
static bool member_retire(struct member_view *v)
{
	struct sim *s = sim_cluster_sim(v->m->c);
	unsigned nodes = sim_cluster_size(v->m->c);
	unsigned from = (unsigned)sim_rand(s, v->n);

	for (unsigned i = 0; i < v->n; i++) {
		const struct raft_member *x = &v->members[(from + i) % v->n];
		unsigned node = sim_cluster_node(v->m->c, x->id);

		if ((node < nodes && v->m->target[v->i][node]) ||
		    (x->role == RAFT_ROLE_SPARE && sim_chance(s, 500)))
			continue;
		member_ask(v, x->id,
			   x->role == RAFT_ROLE_SPARE ? RAFT_ROLE_NONE
			   : x->role == RAFT_ROLE_VOTER && sim_chance(s, 500)
				   ? RAFT_ROLE_STANDBY
				   : RAFT_ROLE_SPARE);
		return true;
	}
	return false;
}

static void member_transfer(struct member_view *v)
{
	struct sim *s = sim_cluster_sim(v->m->c);
	uint64_t to = sim_rand(s, sim_cluster_size(v->m->c) + 1);

	if (to > 0)
		to = sim_cluster_store(v->m->c, (unsigned)to - 1);
	sim_cluster_enter(v->m->c, v->node);
	if (raft_group_transfer(v->g->raft, to) == 0)
		member_count(v, SIM_N_TRANSFERS, SIM_N_AMID_TRANSFERS);
}

/* --- lost disks --- */

/* A leader that was stopped may still have to do what was asked of it. */
static bool member_asked_any(const struct sim_manager *m, unsigned i)
{
	for (unsigned n = 0; n < sim_cluster_size(m->c); n++)
		if (sim_cluster_proc(m->c, n) != NULL &&
		    sim_changes_has(&m->asked[n], i + 1, 0))
			return true;
	return false;
}

static bool member_group_spares(const struct sim_manager *m, unsigned i,
				unsigned nodes)
{
	for (unsigned n = 0; n < sim_cluster_size(m->c); n++) {
		const struct shard_group *g = member_shard(m, i, n);

		if (g != NULL && sim_member_spares(m->c, g->raft, m->owner[i],
						   nodes))
			return true;
	}
	return false;
}

bool sim_manager_spares(const struct sim_manager *m, unsigned nodes)
{
	if (m->greedy)
		nodes &= nodes - 1;
	for (unsigned i = 0; i < m->groups; i++)
		if (member_asked_any(m, i) || !member_group_spares(m, i, nodes))
			return false;
	return true;
}

/* It takes part in a transaction whose end is not known there. */
static bool member_amid(const struct sim_manager *m, unsigned node)
{
	for (unsigned i = 0; i < m->groups; i++) {
		const struct shard_group *g = member_shard(m, i, node);

		if (g != NULL && g->locks->parties != NULL)
			return true;
	}
	return false;
}

static void member_lose(struct sim_manager *m, unsigned node)
{
	sim_cluster_count(m->c, SIM_N_AMID_WIPES, member_amid(m, node));
	sim_cluster_wipe(m->c, node, m->keep);
	rows_mem_image_free(m->images[node]);
	m->images[node] = rows_mem_image_new();
	m->wiped[node] = !m->keep;
}

static void member_lose_some(struct sim_manager *m)
{
	unsigned nodes = sim_member_choose_lost(m->c);

	for (unsigned i = 0; nodes >> i != 0; i++)
		if ((nodes >> i & 1) != 0)
			member_lose(m, i);
}

/* --- all of it --- */

/* Before anything else who cannot help any more goes. */
static void member_move(struct member_view *v)
{
	uint64_t lost = sim_member_lost(v->m->c, v->members, v->n);

	if (lost != 0) {
		member_ask(v, lost, RAFT_ROLE_NONE);
	} else if (sim_chance(sim_cluster_sim(v->m->c), 500)) {
		if (!member_add(v))
			(void)member_retire(v);
	} else {
		if (!member_retire(v))
			(void)member_add(v);
	}
}

void sim_manager_step(struct sim_manager *m)
{
	struct sim *s = sim_cluster_sim(m->c);
	bool healing = sim_cluster_healing(m->c);
	struct member_view v;
	unsigned i, rotten;

	if (!m->transfers)
		return;
	i = (unsigned)sim_rand(s, m->groups);
	if (m->moves && !healing && sim_chance(s, 5))
		sim_member_choose(m->c, m->target[i]);
	if (m->moves && !healing && sim_chance(s, 10))
		member_lose_some(m);
	rotten = sim_member_choose_rotten(m->c);
	if (rotten < sim_cluster_size(m->c))
		member_lose(m, rotten);
	if (!sim_chance(s, 200) || !member_leader(m, i, &v))
		return;
	if (!healing && sim_chance(s, 100))
		member_transfer(&v);
	if (m->moves)
		member_move(&v);
}

static bool member_group_done(struct sim_manager *m, unsigned i)
{
	struct member_view v;

	if (!member_leader(m, i, &v) ||
	    sim_member_lost(m->c, v.members, v.n) != 0)
		return false;
	for (unsigned node = 0; node < sim_cluster_size(m->c); node++) {
		uint64_t id = sim_cluster_store(m->c, node);

		if ((sim_member_role(v.members, v.n, id) == RAFT_ROLE_VOTER) !=
		    m->target[i][node])
			return false;
	}
	return raft_group_settled(v.g->raft);
}

bool sim_manager_done(struct sim_manager *m)
{
	for (unsigned i = 0; m->moves && i < m->groups; i++)
		if (!member_group_done(m, i))
			return false;
	return true;
}

void sim_manager_count(const struct sim_manager *m)
{
	sim_cluster_count(m->c, SIM_N_CHANGES, m->changes);
}
