/*
 * A manager: it wants each group to be decided on by some nodes, now these, now
 * those, and has leaders step towards it; who is not wanted keeps what it has,
 * gets nothing and is forgotten in the end, so that groups of one come again.
 * Now and then a leadership is handed on. And now and then a disk is lost for
 * good and comes back empty, as another store.
 */
#include <stdlib.h>
#include <string.h>

#include "common/raft/raft_host.h"
#include "tests/sim/sim_shard.h"

#define MEMBERS (2 * SIM_NODES)

/* What a leader was asked. */
struct change {
	struct raft_change change;
	struct change *next; /* of the process */
	struct proc *p;
	unsigned group;
};

static void member_choose(struct world *w, struct model *m)
{
	static const unsigned sizes[] = { 1, 3, 3, 5 };
	struct sim *s = sim_cluster_sim(w->c);
	unsigned nodes = sim_cluster_size(w->c);
	unsigned n = sizes[sim_rand(s, 4)], have = 0;

	if (n > nodes)
		n = nodes;
	memset(m->target, 0, sizeof m->target);
	while (have < n) {
		unsigned node = (unsigned)sim_rand(s, nodes);

		have += !m->target[node];
		m->target[node] = true;
	}
}

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

static void change_unlink(struct change *x)
{
	struct change **p = &x->p->changes;

	while (*p != x)
		p = &(*p)->next;
	*p = x->next;
	free(x);
}

static void change_done(struct raft_change *c, uint32_t status)
{
	struct change *x = CONTAINER_OF(c, struct change, change);

	sim_trace(sim_cluster_sim(x->p->c),
		  "changed group=%u store=%u role=%d status=%u", x->group,
		  (unsigned)c->id, c->role, status);
	if (status == RPC_STATUS_OK)
		x->p->w->changes++;
	change_unlink(x);
}

void member_changes_lost(struct proc *p)
{
	while (p->changes != NULL)
		change_unlink(p->changes);
}

static void member_ask(struct proc *p, struct raft_group *g, uint64_t id,
		       enum raft_role role)
{
	struct change *x = sim_zalloc(sizeof *x);

	x->p = p;
	x->group = raft_group_id(g);
	x->change.id = id;
	x->change.role = role;
	x->change.done = change_done;
	x->next = p->changes;
	p->changes = x;
	sim_cluster_enter(p->c, p->node);
	raft_group_change(g, &x->change);
}

static enum raft_role member_role(const struct raft_member *m, unsigned n,
				  uint64_t id)
{
	for (unsigned i = 0; i < n; i++)
		if (m[i].id == id)
			return m[i].role;
	return RAFT_ROLE_NONE;
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
	struct sim *s = sim_cluster_sim(p->c);
	unsigned nodes = sim_cluster_size(p->c);
	unsigned from = (unsigned)sim_rand(s, nodes);

	for (unsigned i = 0; i < nodes; i++) {
		unsigned node = (from + i) % nodes;
		uint64_t id = sim_cluster_store(p->c, node);
		enum raft_role role = member_role(m, n, id);

		if (!model->target[node] || role == RAFT_ROLE_VOTER)
			continue;
		if (role == RAFT_ROLE_NONE && sim_chance(s, 500))
			member_ask(p, g, id, RAFT_ROLE_SPARE);
		else if (role != RAFT_ROLE_STANDBY)
			member_ask(p, g, id, RAFT_ROLE_STANDBY);
		else
			member_ask(p, g, id, RAFT_ROLE_VOTER);
		return true;
	}
	return false;
}

/* One whose disk is lost: before anything else, it cannot help any more. */
static bool member_remove_lost(struct proc *p, struct raft_group *g,
			       const struct raft_member *m, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (sim_cluster_node(p->c, m[i].id) ==
		    sim_cluster_size(p->c)) {
			member_ask(p, g, m[i].id, RAFT_ROLE_NONE);
			return true;
		}
	return false;
}

/* One less of those that are not. */
static bool member_retire(struct proc *p, struct raft_group *g,
			  const struct model *model,
			  const struct raft_member *m, unsigned n)
{
	struct sim *s = sim_cluster_sim(p->c);
	unsigned from = (unsigned)sim_rand(s, n);

	for (unsigned i = 0; i < n; i++) {
		const struct raft_member *x = &m[(from + i) % n];

		if (model->target[sim_cluster_node(p->c, x->id)] ||
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
	struct sim *s = sim_cluster_sim(p->c);
	uint64_t to = sim_rand(s, sim_cluster_size(p->c) + 1);

	if (to > 0)
		to = sim_cluster_store(p->c, (unsigned)to - 1);
	sim_cluster_enter(p->c, p->node);
	if (raft_group_transfer(g, to) == 0)
		p->w->transfers++;
}

/* --- lost disks --- */

/* A leader that was stopped may still have to do what was asked of it. */
static bool member_asked_any(struct world *w, unsigned gi)
{
	for (unsigned i = 0; i < sim_cluster_size(w->c); i++) {
		const struct proc *p = sim_cluster_proc(w->c, i);
		const struct change *x = p == NULL ? NULL : p->changes;

		for (; x != NULL; x = x->next)
			if (x->group == w->models[gi].group)
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
		struct raft_member m[MEMBERS];
		struct raft_group *g;
		unsigned n;

		if (p == NULL)
			return false;
		if (!model->target[node])
			continue;
		g = proc_group(p, gi);
		n = raft_group_members(g, m, MEMBERS);
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
	struct raft_member m[MEMBERS];
	struct raft_group *g;
	struct proc *p;
	unsigned n;

	if (w->moves && !healing && sim_chance(s, 5))
		member_choose(w, model);
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
	n = raft_group_members(g, m, MEMBERS);
	if (!w->moves || member_remove_lost(p, g, m, n))
		return;
	if (sim_chance(s, 500)) {
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
	struct raft_member m[MEMBERS];
	struct raft_group *g;
	unsigned n;

	if (p == NULL)
		return false;
	g = proc_group(p, gi);
	n = raft_group_members(g, m, MEMBERS);
	for (unsigned i = 0; i < n; i++)
		if (sim_cluster_node(w->c, m[i].id) == sim_cluster_size(w->c))
			return false;
	for (unsigned node = 0; node < sim_cluster_size(w->c); node++) {
		uint64_t id = sim_cluster_store(w->c, node);

		if ((member_role(m, n, id) == RAFT_ROLE_VOTER) !=
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
