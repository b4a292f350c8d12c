/*
 * A manager: it wants each group on some nodes, now these, now those, and has
 * leaders step towards it. It opens groups where they shall be, drops them
 * where they are not wanted any more, and now and then disks are lost for good
 * and come back empty, as other stores: as many at once as groups can do
 * without, also while others are down. A disk that rots is replaced so.
 */
#include "tests/sim/sim_raft.h"

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

/* Nobody may do it any more because of what was asked earlier; id 0: any. */
static bool member_asked(struct world *w, unsigned gi, uint64_t id)
{
	for (unsigned i = 0; i < sim_cluster_size(w->c); i++) {
		const struct proc *p = sim_cluster_proc(w->c, i);

		if (p != NULL && sim_changes_has(&p->changes, gi, id))
			return true;
	}
	return false;
}

static void member_ask(struct replica *r, uint64_t id, enum raft_role role)
{
	sim_changes_ask(&r->p->changes, r->g, id, role);
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
		    sim_member_role(m, n, sim_cluster_store(w->c, i)) ==
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
		enum raft_role role = sim_member_role(m, n, id);
		struct proc *p = sim_cluster_proc(w->c, node);

		if (!ch->target[node] || role == RAFT_ROLE_VOTER ||
		    sim_cluster_rotten(w->c, node))
			continue;
		/* the store is told first, then the group */
		if (w->places[node][leader->gi].is == PLACE_NONE) {
			if (p != NULL)
				proc_add_group(p, leader->gi);
			return true;
		}
		if (w->places[node][leader->gi].is != PLACE_HERE)
			return true;
		member_ask(leader, id, sim_member_next(s, role));
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
		    sim_member_role(m, n, id) != RAFT_ROLE_NONE)
			continue;
		sim_cluster_enter(w->c, node);
		proc_drop_group(r->p, r->gi, raft_group_commit(leader->g));
	}
}

/* --- lost disks --- */

bool member_spares(struct sim_cluster *c, unsigned nodes)
{
	struct world *w = sim_cluster_arg(c);

	if (sim_plant == PLANT_MAJORITY)
		nodes &= nodes - 1;
	for (unsigned gi = 0; gi < w->groups; gi++) {
		bool spared = false;

		/* a leader that was stopped may still have to do it */
		if (member_asked(w, gi, 0))
			return false;
		for (unsigned n = 0; n < sim_cluster_size(c) && !spared; n++) {
			struct replica *r = world_replica(w, n, gi);

			spared = r != NULL &&
				 sim_member_spares(c, r->g,
						   w->chains[gi].owner, nodes);
		}
		if (!spared)
			return false;
	}
	return true;
}

static void member_lose(struct world *w, unsigned node)
{
	bool keep = sim_plant == PLANT_WIPE;

	sim_cluster_wipe(w->c, node, keep);
	for (unsigned gi = 0; gi < w->groups; gi++) {
		struct place *place = &w->places[node][gi];

		*place = (struct place){
			.is = keep ? place->is : PLACE_NONE,
			.founder = keep && place->founder,
		};
	}
}

static void member_lose_some(struct world *w)
{
	unsigned nodes = sim_member_choose_lost(w->c);

	for (unsigned i = 0; nodes >> i != 0; i++)
		if ((nodes >> i & 1) != 0)
			member_lose(w, i);
}

/* --- all of it --- */

void member_step(struct world *w)
{
	struct sim *s = sim_cluster_sim(w->c);
	bool healing = sim_cluster_healing(w->c);
	unsigned gi = (unsigned)sim_rand(s, w->groups);
	struct raft_member m[SIM_MEMBERS];
	struct replica *leader;
	unsigned n, rotten;
	uint64_t lost;

	if (!healing && sim_chance(s, 5))
		sim_member_choose(w->c, w->chains[gi].target);
	if (!healing && sim_chance(s, 10))
		member_lose_some(w);
	rotten = sim_member_choose_rotten(w->c);
	if (rotten < sim_cluster_size(w->c))
		member_lose(w, rotten);
	if (!sim_chance(s, 200))
		return;
	leader = world_leader(w, gi);
	if (leader == NULL)
		return;
	n = raft_group_members(leader->g, m, SIM_MEMBERS);
	member_drop(w, leader, m, n);
	lost = sim_member_lost(w->c, m, n);
	if (lost != 0) /* before anything else, it cannot help any more */
		member_ask(leader, lost, RAFT_ROLE_NONE);
	else if (sim_chance(s, 500)) {
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
			struct raft_member m[SIM_MEMBERS];
			unsigned n;

			if (leader == NULL || !raft_group_settled(leader->g))
				return false;
			n = raft_group_members(leader->g, m, SIM_MEMBERS);
			if (sim_member_role(m, n, id) !=
			    (want ? RAFT_ROLE_VOTER : RAFT_ROLE_NONE))
				return false;
			if (w->places[node][gi].is !=
			    (want ? PLACE_HERE : PLACE_NONE))
				return false;
		}
	return true;
}
