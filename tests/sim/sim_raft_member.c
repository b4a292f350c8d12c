/*
 * A manager: it wants each group on some nodes, now these, now those, and has
 * leaders step towards it. It opens groups where they shall be, drops them
 * where they are not wanted any more, and now and then a disk is lost for good
 * and comes back empty, as another store.
 */
#include "tests/sim/sim_raft.h"

#include <stdlib.h>
#include <string.h>

/* What a leader was asked. */
struct ask {
	struct raft_change change;
	TAILQ_ENTRY(ask) link; /* of the process */
	struct proc *p;
	unsigned gi;
};

static void member_choose(struct world *w, struct chain *ch)
{
	static const unsigned sizes[] = { 1, 3, 3, 5 };
	struct sim *s = sim_cluster_sim(w->c);
	unsigned nodes = sim_cluster_size(w->c);
	unsigned n = sizes[sim_rand(s, 4)], have = 0;

	if (n > nodes)
		n = nodes;
	memset(ch->target, 0, sizeof ch->target);
	while (have < n) {
		unsigned node = (unsigned)sim_rand(s, nodes);

		have += !ch->target[node];
		ch->target[node] = true;
	}
}

void member_init(struct world *w)
{
	for (unsigned gi = 0; gi < w->groups; gi++)
		for (unsigned i = 0; i < w->founders; i++) {
			w->chains[gi].target[i] = true;
			w->places[i][gi] = (struct place){
				.is = PLACE_HERE, .founder = true,
			};
		}
}

/* --- a step --- */

static void change_done(struct raft_change *c, uint32_t status)
{
	struct ask *x = CONTAINER_OF(c, struct ask, change);

	sim_trace(sim_cluster_sim(x->p->c),
		  "changed group=%u store=%u role=%d status=%u", x->gi,
		  (unsigned)c->id, c->role, status);
	if (status == RPC_STATUS_OK)
		x->p->w->changes++;
	TAILQ_REMOVE(&x->p->asks, x, link);
	free(x);
}

static void member_ask(struct replica *r, uint64_t id, enum raft_role role)
{
	struct ask *x = sim_zalloc(sizeof *x);

	x->p = r->p;
	x->gi = r->gi;
	x->change.id = id;
	x->change.role = role;
	x->change.done = change_done;
	TAILQ_INSERT_TAIL(&r->p->asks, x, link);
	raft_group_change(r->g, &x->change);
}

/* Nobody may add it any more because of what was asked earlier. */
static bool member_asked(struct world *w, unsigned gi, uint64_t id)
{
	for (unsigned i = 0; i < sim_cluster_size(w->c); i++) {
		struct proc *p = sim_cluster_proc(w->c, i);
		struct ask *x;

		if (p == NULL)
			continue;
		TAILQ_FOREACH(x, &p->asks, link)
			if (x->gi == gi && x->change.id == id)
				return true;
	}
	return false;
}

static enum raft_role member_role(const struct raft_member *m, unsigned n,
				  uint64_t id)
{
	for (unsigned i = 0; i < n; i++)
		if (m[i].id == id)
			return m[i].role;
	return RAFT_ROLE_NONE;
}

/* True when nobody else can lead, or does. */
static bool member_current(struct world *w, struct replica *leader,
			   const struct raft_member *m, unsigned n)
{
	if (raft_group_can_read(leader->g))
		return true;
	for (unsigned i = 0; i < sim_cluster_size(w->c); i++) {
		struct replica *r = world_replica(w, i, leader->gi);

		if (sim_cluster_proc(w->c, i) == NULL)
			return false;
		if (r != NULL &&
		    member_role(m, n, sim_cluster_store(w->c, i)) ==
			    RAFT_ROLE_VOTER &&
		    raft_group_term(r->g) > raft_group_term(leader->g))
			return false;
	}
	return true;
}

/* One more of those that are wanted. */
static bool member_add(struct world *w, struct replica *leader,
		       const struct raft_member *m, unsigned n)
{
	struct sim *s = sim_cluster_sim(w->c);
	struct chain *ch = &w->chains[leader->gi];
	unsigned nodes = sim_cluster_size(w->c);
	unsigned from = (unsigned)sim_rand(s, nodes);

	for (unsigned i = 0; i < nodes; i++) {
		unsigned node = (from + i) % nodes;
		uint64_t id = sim_cluster_store(w->c, node);
		enum raft_role role = member_role(m, n, id);
		struct proc *p = sim_cluster_proc(w->c, node);

		if (!ch->target[node] || role == RAFT_ROLE_VOTER)
			continue;
		/* the store is told first, then the group */
		if (w->places[node][leader->gi].is == PLACE_NONE) {
			if (p != NULL)
				proc_add_group(p, leader->gi);
			return true;
		}
		if (w->places[node][leader->gi].is != PLACE_HERE)
			return true;
		if (role == RAFT_ROLE_NONE && sim_chance(s, 500))
			member_ask(leader, id, RAFT_ROLE_SPARE);
		else if (role != RAFT_ROLE_STANDBY)
			member_ask(leader, id, RAFT_ROLE_STANDBY);
		else
			member_ask(leader, id, RAFT_ROLE_VOTER);
		return true;
	}
	return false;
}

/* One whose disk is lost: before anything else, it cannot help any more. */
static bool member_remove_lost(struct world *w, struct replica *leader,
			       const struct raft_member *m, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (sim_cluster_node(w->c, m[i].id) ==
		    sim_cluster_size(w->c)) {
			member_ask(leader, m[i].id, RAFT_ROLE_NONE);
			return true;
		}
	return false;
}

/* One less of those that are not. */
static bool member_remove(struct world *w, struct replica *leader,
			  const struct raft_member *m, unsigned n)
{
	struct sim *s = sim_cluster_sim(w->c);
	struct chain *ch = &w->chains[leader->gi];
	unsigned from = (unsigned)sim_rand(s, n);

	for (unsigned i = 0; i < n; i++) {
		const struct raft_member *x = &m[(from + i) % n];
		unsigned node = sim_cluster_node(w->c, x->id);

		if (ch->target[node])
			continue;
		member_ask(leader, x->id,
			   x->role == RAFT_ROLE_VOTER && sim_chance(s, 500)
				   ? RAFT_ROLE_STANDBY
				   : RAFT_ROLE_NONE);
		return true;
	}
	return false;
}

/*
 * Those that are told of their removal, as they do not hear of it by Raft. Only
 * what is certain: a store that forgets what it acknowledged must not be a
 * voter, nor become one by what was asked for earlier.
 */
static void member_drop(struct world *w, struct replica *leader,
			const struct raft_member *m, unsigned n)
{
	unsigned nodes = sim_cluster_size(w->c);

	if (!raft_group_settled(leader->g) || !member_current(w, leader, m, n))
		return;
	for (unsigned node = 0; node < nodes; node++) {
		struct replica *r = world_replica(w, node, leader->gi);
		uint64_t id = sim_cluster_store(w->c, node);

		if (r == NULL || w->chains[leader->gi].target[node] ||
		    member_asked(w, leader->gi, id) ||
		    member_role(m, n, id) != RAFT_ROLE_NONE)
			continue;
		sim_cluster_enter(w->c, node);
		proc_drop_group(r->p, r->gi, raft_group_commit(leader->g));
	}
}

/* --- lost disks --- */

/* A leader that was stopped may still have to do what was asked of it. */
static bool member_asked_any(struct world *w, unsigned gi)
{
	for (unsigned i = 0; i < sim_cluster_size(w->c); i++) {
		struct proc *p = sim_cluster_proc(w->c, i);
		struct ask *x;

		if (p == NULL)
			continue;
		TAILQ_FOREACH(x, &p->asks, link)
			if (x->gi == gi)
				return true;
	}
	return false;
}

/* All is as it should be, and stays so, and three or more vote. */
static bool member_may_wipe(struct world *w, unsigned gi)
{
	struct chain *ch = &w->chains[gi];
	unsigned nodes = sim_cluster_size(w->c), voters = 0;

	if (member_asked_any(w, gi))
		return false;
	for (unsigned node = 0; node < nodes; node++) {
		struct replica *r = world_replica(w, node, gi);
		struct raft_member m[2 * SIM_NODES];
		unsigned n;

		if (sim_cluster_proc(w->c, node) == NULL)
			return false;
		if (w->places[node][gi].is != (ch->target[node] ? PLACE_HERE
								: PLACE_NONE))
			return false;
		if (r == NULL)
			continue;
		n = raft_group_members(r->g, m, 2 * SIM_NODES);
		/* nobody knows of anything but what is wanted */
		for (unsigned i = 0; i < n; i++) {
			unsigned at = sim_cluster_node(w->c, m[i].id);

			if (at == nodes || !ch->target[at] ||
			    m[i].role != RAFT_ROLE_VOTER)
				return false;
		}
		if (!raft_group_settled(r->g) || n < 3)
			return false;
		voters++;
	}
	return voters >= 3;
}

static void member_wipe(struct world *w)
{
	struct sim *s = sim_cluster_sim(w->c);
	unsigned node = (unsigned)sim_rand(s, sim_cluster_size(w->c));
	bool keep = sim_plant == PLANT_WIPE;

	for (unsigned gi = 0; gi < w->groups; gi++)
		if (!member_may_wipe(w, gi))
			return;
	sim_cluster_wipe(w->c, node, keep);
	w->wipes++;
	for (unsigned gi = 0; gi < w->groups; gi++) {
		struct place *place = &w->places[node][gi];

		*place = (struct place){
			.is = keep ? place->is : PLACE_NONE,
			.founder = keep && place->founder,
		};
	}
}

/* --- all of it --- */

void member_step(struct world *w)
{
	struct sim *s = sim_cluster_sim(w->c);
	bool healing = sim_cluster_healing(w->c);
	unsigned gi = (unsigned)sim_rand(s, w->groups);
	struct raft_member m[2 * SIM_NODES];
	struct replica *leader;
	unsigned n;

	if (!healing && sim_chance(s, 5))
		member_choose(w, &w->chains[gi]);
	if (!healing && sim_chance(s, 10))
		member_wipe(w);
	if (!sim_chance(s, 200))
		return;
	leader = world_leader(w, gi);
	if (leader == NULL)
		return;
	n = raft_group_members(leader->g, m, 2 * SIM_NODES);
	member_drop(w, leader, m, n);
	if (member_remove_lost(w, leader, m, n))
		return;
	if (sim_chance(s, 500)) {
		if (!member_add(w, leader, m, n))
			(void)member_remove(w, leader, m, n);
	} else {
		if (!member_remove(w, leader, m, n))
			(void)member_add(w, leader, m, n);
	}
}

bool member_done(struct world *w)
{
	unsigned nodes = sim_cluster_size(w->c);

	for (unsigned gi = 0; gi < w->groups; gi++)
		for (unsigned node = 0; node < nodes; node++) {
			uint64_t id = sim_cluster_store(w->c, node);
			bool want = w->chains[gi].target[node];
			struct replica *leader = world_leader(w, gi);
			struct raft_member m[2 * SIM_NODES];
			unsigned n;

			if (leader == NULL || !raft_group_settled(leader->g))
				return false;
			n = raft_group_members(leader->g, m, 2 * SIM_NODES);
			if (member_role(m, n, id) !=
			    (want ? RAFT_ROLE_VOTER : RAFT_ROLE_NONE))
				return false;
			if (w->places[node][gi].is !=
			    (want ? PLACE_HERE : PLACE_NONE))
				return false;
		}
	return true;
}
