/*
 * A manager: it wants each group to be decided on by some nodes, now these, now
 * those, and has leaders step towards it; who is not wanted keeps what it has,
 * gets nothing and is forgotten in the end, so that groups of one come again.
 * Now and then a leadership is handed on. And now and then a disk is lost for
 * good and comes back empty, as another store.
 */
#include "common/raft/raft_host.h"
#include "tests/sim/sim_shard.h"

void member_init(struct world *w, unsigned nodes)
{
	for (unsigned i = 0; i < w->groups; i++)
		for (unsigned n = 0; n < nodes; n++)
			w->models[i].target[n] = n < w->founders;
}

bool member_wanted(const struct world *w, const struct model *m, unsigned node)
{
	return !w->moves || m->target[node];
}

/* --- a step --- */

static void member_ask(struct proc *p, struct raft_group *g, uint64_t id,
		       enum raft_role role)
{
	sim_cluster_enter(p->at.c, p->at.node);
	sim_changes_ask(&p->changes, g, id, role);
}

/* One that was told that it leads, from a random node on; NULL: none. */
static struct proc *member_leader(struct world *w, unsigned i)
{
	unsigned nodes = sim_cluster_size(w->c);
	unsigned from = (unsigned)sim_rand(sim_cluster_sim(w->c), nodes);

	for (unsigned n = 0; n < nodes; n++) {
		struct proc *p = sim_cluster_proc(w->c, (from + n) % nodes);

		if (p != NULL && p->leads[i])
			return p;
	}
	return NULL;
}

/* One more of those that are wanted. */
static bool member_add(struct proc *p, struct raft_group *g,
		       const struct model *model, const struct raft_member *m,
		       unsigned n)
{
	struct sim *s = sim_cluster_sim(p->at.c);
	unsigned nodes = sim_cluster_size(p->at.c);
	unsigned from = (unsigned)sim_rand(s, nodes);

	for (unsigned i = 0; i < nodes; i++) {
		unsigned node = (from + i) % nodes;
		uint64_t id = sim_cluster_store(p->at.c, node);
		enum raft_role role = sim_member_role(m, n, id);

		if (!model->target[node] || role == RAFT_ROLE_VOTER)
			continue;
		member_ask(p, g, id, sim_member_next(s, role));
		return true;
	}
	return false;
}

/* One less of those that are not. */
static bool member_retire(struct proc *p, struct raft_group *g,
			  const struct model *model,
			  const struct raft_member *m, unsigned n)
{
	struct sim *s = sim_cluster_sim(p->at.c);
	unsigned from = (unsigned)sim_rand(s, n);

	for (unsigned i = 0; i < n; i++) {
		const struct raft_member *x = &m[(from + i) % n];

		if (model->target[sim_cluster_node(p->at.c, x->id)] ||
		    (x->role == RAFT_ROLE_SPARE && sim_chance(s, 500)))
			continue;
		member_ask(p, g, x->id,
			   x->role == RAFT_ROLE_SPARE ? RAFT_ROLE_NONE
			   : x->role == RAFT_ROLE_VOTER && sim_chance(s, 500)
				   ? RAFT_ROLE_STANDBY
				   : RAFT_ROLE_SPARE);
		return true;
	}
	return false;
}

static void member_transfer(struct proc *p, struct raft_group *g)
{
	struct sim *s = sim_cluster_sim(p->at.c);
	uint64_t to = sim_rand(s, sim_cluster_size(p->at.c) + 1);

	if (to > 0)
		to = sim_cluster_store(p->at.c, (unsigned)to - 1);
	sim_cluster_enter(p->at.c, p->at.node);
	if (raft_group_transfer(g, to) == 0)
		p->w->transfers++;
}

/* --- lost disks --- */

/* A leader that was stopped may still have to do what was asked of it. */
static bool member_asked_any(struct world *w, unsigned gi)
{
	for (unsigned i = 0; i < sim_cluster_size(w->c); i++) {
		const struct proc *p = sim_cluster_proc(w->c, i);

		if (p != NULL &&
		    sim_changes_has(&p->changes, w->models[gi].group, 0))
			return true;
	}
	return false;
}

/* All is as it should be, and stays so, and three or more vote. */
static bool member_may_wipe(struct world *w, unsigned gi)
{
	const struct model *model = &w->models[gi];
	unsigned nodes = sim_cluster_size(w->c), voters = 0;

	if (member_asked_any(w, gi))
		return false;
	for (unsigned node = 0; node < nodes; node++) {
		struct proc *p = sim_cluster_proc(w->c, node);
		struct raft_member m[SIM_MEMBERS];
		struct raft_group *g;
		unsigned n;

		if (p == NULL)
			return false;
		if (!model->target[node])
			continue;
		g = proc_group(p, gi);
		n = raft_group_members(g, m, SIM_MEMBERS);
		/* nobody knows of anything but what is wanted */
		for (unsigned i = 0; i < n; i++) {
			unsigned at = sim_cluster_node(w->c, m[i].id);

			if (at == nodes ||
			    (m[i].role == RAFT_ROLE_VOTER) != model->target[at])
				return false;
		}
		if (!raft_group_settled(g) || n < 3)
			return false;
		voters++;
	}
	return voters >= 3;
}

static void member_wipe(struct world *w)
{
	struct sim *s = sim_cluster_sim(w->c);
	unsigned node = (unsigned)sim_rand(s, sim_cluster_size(w->c));

	for (unsigned i = 0; i < w->groups; i++)
		if (!member_may_wipe(w, i))
			return;
	sim_cluster_wipe(w->c, node, false);
	rows_mem_image_free(w->images[node]);
	w->images[node] = rows_mem_image_new();
	w->wiped[node] = true;
	w->wipes++;
}

/* --- all of it --- */

void member_step(struct world *w)
{
	struct sim *s = sim_cluster_sim(w->c);
	bool healing = sim_cluster_healing(w->c);
	unsigned gi = (unsigned)sim_rand(s, w->groups);
	struct model *model = &w->models[gi];
	struct raft_member m[SIM_MEMBERS];
	struct raft_group *g;
	struct proc *p;
	uint64_t lost;
	unsigned n;

	if (w->moves && !healing && sim_chance(s, 5))
		sim_member_choose(w->c, model->target);
	if (w->moves && !healing && sim_chance(s, 10))
		member_wipe(w);
	if (!sim_chance(s, 200))
		return;
	p = member_leader(w, gi);
	if (p == NULL)
		return;
	g = proc_group(p, gi);
	if (!healing && sim_chance(s, 100))
		member_transfer(p, g);
	n = raft_group_members(g, m, SIM_MEMBERS);
	if (!w->moves)
		return;
	lost = sim_member_lost(w->c, m, n);
	if (lost != 0) /* before anything else, it cannot help any more */
		member_ask(p, g, lost, RAFT_ROLE_NONE);
	else if (sim_chance(s, 500)) {
		if (!member_add(p, g, model, m, n))
			(void)member_retire(p, g, model, m, n);
	} else {
		if (!member_retire(p, g, model, m, n))
			(void)member_add(p, g, model, m, n);
	}
}

static bool member_group_done(struct world *w, unsigned gi)
{
	const struct model *model = &w->models[gi];
	struct proc *p = member_leader(w, gi);
	struct raft_member m[SIM_MEMBERS];
	struct raft_group *g;
	unsigned n;

	if (p == NULL)
		return false;
	g = proc_group(p, gi);
	n = raft_group_members(g, m, SIM_MEMBERS);
	if (sim_member_lost(w->c, m, n) != 0)
		return false;
	for (unsigned node = 0; node < sim_cluster_size(w->c); node++) {
		uint64_t id = sim_cluster_store(w->c, node);

		if ((sim_member_role(m, n, id) == RAFT_ROLE_VOTER) !=
		    model->target[node])
			return false;
	}
	return raft_group_settled(g);
}

bool member_done(struct world *w)
{
	for (unsigned i = 0; w->moves && i < w->groups; i++)
		if (!member_group_done(w, i))
			return false;
	return true;
}
