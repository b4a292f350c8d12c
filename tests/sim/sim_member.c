#include "tests/sim/sim_member.h"

#include <stdlib.h>
#include <string.h>

#include "common/raft/raft_impl.h"
#include "common/wire/status.h"

#define SIM_STORES 200

/* What a leader was asked. */
struct sim_change {
	struct raft_change change;
	TAILQ_ENTRY(sim_change) link;
	struct sim_changes *of;
	unsigned group;
};

/* --- changes --- */

void sim_changes_init(struct sim_changes *l, struct sim_cluster *c,
		      uint64_t *done)
{
	TAILQ_INIT(&l->asked);
	l->c = c;
	l->done = done;
}

static void change_done(struct raft_change *c, uint32_t status)
{
	struct sim_change *x = CONTAINER_OF(c, struct sim_change, change);

	sim_trace(sim_cluster_sim(x->of->c),
		  "changed group=%u store=%u role=%d status=%u", x->group,
		  (unsigned)c->id, c->role, status);
	if (status == RPC_STATUS_OK)
		++*x->of->done;
	TAILQ_REMOVE(&x->of->asked, x, link);
	free(x);
}

void sim_changes_ask(struct sim_changes *l, struct raft_group *g, uint64_t id,
		     enum raft_role role)
{
	struct sim_change *x = sim_zalloc(sizeof *x);

	x->of = l;
	x->group = raft_group_id(g);
	x->change.id = id;
	x->change.role = role;
	x->change.done = change_done;
	TAILQ_INSERT_TAIL(&l->asked, x, link);
	raft_group_change(g, &x->change);
}

bool sim_changes_has(const struct sim_changes *l, unsigned group, uint64_t id)
{
	const struct sim_change *x;

	TAILQ_FOREACH(x, &l->asked, link)
		if (x->group == group && (id == 0 || x->change.id == id))
			return true;
	return false;
}

void sim_changes_lost(struct sim_changes *l)
{
	struct sim_change *x;

	while ((x = TAILQ_FIRST(&l->asked)) != NULL) {
		TAILQ_REMOVE(&l->asked, x, link);
		free(x);
	}
}

/* --- members --- */

void sim_member_choose(struct sim_cluster *c, bool target[SIM_NODES])
{
	static const unsigned sizes[] = { 1, 3, 3, 5 };
	struct sim *s = sim_cluster_sim(c);
	unsigned nodes = sim_cluster_size(c), whole = 0;
	unsigned n = sizes[sim_rand(s, 4)], have = 0;

	for (unsigned node = 0; node < nodes; node++)
		whole += !sim_cluster_rotten(c, node);
	if (whole == 0)
		return;
	if (n > whole)
		n = whole;
	memset(target, 0, SIM_NODES * sizeof *target);
	while (have < n) {
		unsigned node = (unsigned)sim_rand(s, nodes);

		if (sim_cluster_rotten(c, node))
			continue;
		have += !target[node];
		target[node] = true;
	}
}

enum raft_role sim_member_role(const struct raft_member *m, unsigned n,
			       uint64_t id)
{
	for (unsigned i = 0; i < n; i++)
		if (m[i].id == id)
			return m[i].role;
	return RAFT_ROLE_NONE;
}

enum raft_role sim_member_next(struct sim *s, enum raft_role role)
{
	if (role == RAFT_ROLE_NONE && sim_chance(s, 500))
		return RAFT_ROLE_SPARE;
	return role != RAFT_ROLE_STANDBY ? RAFT_ROLE_STANDBY : RAFT_ROLE_VOTER;
}

/* Its disk is; that of the nodes (bits) counts as well. */
static bool member_is_lost(struct sim_cluster *c, uint64_t id, unsigned nodes)
{
	unsigned node = sim_cluster_node(c, id);

	return node == sim_cluster_size(c) || sim_cluster_rotten(c, node) ||
	       (nodes >> node & 1) != 0;
}

uint64_t sim_member_lost(struct sim_cluster *c, const struct raft_member *m,
			 unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (member_is_lost(c, m[i].id, 0))
			return m[i].id;
	return 0;
}

bool sim_member_spares(struct sim_cluster *c, const struct raft_group *g,
		       const uint8_t owner[SIM_TERMS], unsigned nodes)
{
	struct raft_member m[SIM_MEMBERS];
	unsigned n = raft_group_members(g, m, SIM_MEMBERS);
	unsigned voters = 0, lost = 0;

	if (!g->leading || !raft_group_settled(g))
		return false;
	for (uint64_t term = g->lead_term + 1; term < SIM_TERMS; term++)
		if (owner[term] != 0)
			return false;
	for (unsigned i = 0; i < n; i++)
		if (m[i].role == RAFT_ROLE_VOTER) {
			voters++;
			lost += member_is_lost(c, m[i].id, nodes);
		}
	return 2 * lost < voters;
}

unsigned sim_member_choose_lost(struct sim_cluster *c)
{
	struct sim *s = sim_cluster_sim(c);
	unsigned size = sim_cluster_size(c);
	unsigned nodes = 1u << sim_rand(s, size), n = 1;

	if (!sim_cluster_spares(c, nodes))
		return 0;
	for (unsigned more = sim_chance(s, 500) ? 3 : 0; more > 0; more--) {
		unsigned with = nodes | 1u << sim_rand(s, size);

		if (with == nodes || !sim_cluster_spares(c, with))
			continue;
		nodes = with;
		n++;
	}
	sim_cluster_count(c, SIM_N_WIPES, n);
	sim_cluster_count(c, SIM_N_WIPES_MORE, n > 1);
	for (unsigned i = 0; i < size; i++)
		if ((nodes >> i & 1) == 0 && sim_cluster_proc(c, i) == NULL) {
			sim_cluster_count(c, SIM_N_WIPES_DOWN, 1);
			break;
		}
	return nodes;
}

unsigned sim_member_choose_rotten(struct sim_cluster *c)
{
	unsigned i = 0;

	while (i < sim_cluster_size(c) && !sim_cluster_rotten(c, i))
		i++;
	if (i == sim_cluster_size(c) ||
	    !sim_chance(sim_cluster_sim(c), sim_cluster_healing(c) ? 100 : 10))
		return sim_cluster_size(c);
	sim_cluster_count(c, SIM_N_REPLACED, 1);
	return i;
}

/* --- leaders --- */

void sim_leader_check(struct sim_cluster *c, unsigned node, uint64_t term,
		      uint8_t owner[SIM_TERMS], uint64_t *elected)
{
	uint64_t store = sim_cluster_store(c, node);

	if (term == 0)
		return;
	if (term >= SIM_TERMS || store >= SIM_STORES)
		sim_fail(c, "too many terms, or stores");
	if (owner[term] == 0)
		owner[term] = (uint8_t)store;
	if (owner[term] != store)
		sim_fail(c, "two leaders in term %llu",
			 (unsigned long long)term);
	if (*elected != term)
		sim_cluster_elected(c, node);
	*elected = term;
}
