/*
 * Clients: submits, reads by barrier and under leases, transfers.
 */
#include "tests/sim/sim_raft.h"

#include <stdlib.h>
#include <string.h>

struct bar {
	struct raft_barrier barrier;
	struct replica *r;
	uint64_t need;
};

/* A read without a barrier; takes time. */
struct lease {
	struct env_task task;
	struct env_work work;
	TAILQ_ENTRY(lease) link;
	struct replica *r;
	uint64_t need, seen, term;
	bool before, after; /* the lease is looked at: one is enough */
};

/* --- submits --- */

void op_end(struct op *op, enum value_state state)
{
	struct world *w = op->w;

	if (op->prev != NULL)
		op->prev->next = op->next;
	else
		op->p->ops = op->next;
	if (op->next != NULL)
		op->next->prev = op->prev;
	if (w->state[op->value] != VALUE_OPEN)
		sim_fail(w->c, "value %llu ended twice",
			 (unsigned long long)op->value);
	w->state[op->value] = (uint8_t)state;
	w->open--;
	if (w->heal_value == 0 || op->value < w->heal_value)
		w->open_old--;
	free(op);
}

static void op_failed(struct raft_submit *s, uint32_t status)
{
	struct op *op = CONTAINER_OF(s, struct op, submit);

	if (status == RPC_STATUS_UNKNOWN_OUTCOME) {
		op->w->unknown++;
		op_end(op, VALUE_UNKNOWN);
	} else {
		op->w->refused++;
		op_end(op, VALUE_REFUSED);
	}
}

static void client_submit(struct world *w, struct replica *r)
{
	struct op *op;
	size_t len;
	uint8_t *b;

	if (w->next_value == VALUES)
		return;
	op = sim_zalloc(sizeof *op);
	op->w = w;
	op->p = r->p;
	op->next = r->p->ops;
	if (r->p->ops != NULL)
		r->p->ops->prev = op;
	r->p->ops = op;
	op->value = w->next_value++;
	op->group = r->gi;
	op->submit.failed = op_failed;
	op->submit.loose = w->loose && sim_chance(sim_cluster_sim(w->c), 700);
	len = value_len(w, op->value);
	buf_init(&op->submit.data, 0);
	b = buf_reserve(&op->submit.data, len);
	if (b == NULL)
		abort();
	memcpy(b, &op->value, HEAD_BYTES);
	for (size_t i = HEAD_BYTES; i < len; i++)
		b[i] = value_byte(op->value, i);
	op->submit.data.len = len;
	w->open++;
	if (w->heal_value == 0)
		w->open_old++;
	raft_submit(r->g, &op->submit);
}

/* --- reads by barrier --- */

static void bar_done(struct raft_barrier *b, uint32_t status)
{
	struct bar *bar = CONTAINER_OF(b, struct bar, barrier);
	struct replica *r = bar->r;

	if (status == RPC_STATUS_OK) {
		r->p->w->reads++;
		if (r->rows.command < bar->need)
			sim_fail(r->p->at.c, "stale read: %llu acknowledged",
				 (unsigned long long)bar->need);
	}
	free(bar);
}

static void client_read(struct world *w, struct replica *r)
{
	struct bar *bar = sim_zalloc(sizeof *bar);

	bar->r = r;
	bar->need = w->chains[r->gi].acked;
	bar->barrier.done = bar_done;
	raft_group_barrier(r->g, &bar->barrier);
}

/* --- reads under a lease --- */

static void lease_free(struct lease *l)
{
	TAILQ_REMOVE(&l->r->p->leases, l, link);
	free(l);
}

void leases_free(struct proc *p)
{
	while (!TAILQ_EMPTY(&p->leases))
		lease_free(TAILQ_FIRST(&p->leases));
}

static void lease_run(struct env_work *work)
{
	(void)work; /* only time passes */
}

static void lease_end(struct env_work *work)
{
	struct lease *l = CONTAINER_OF(work, struct lease, work);
	struct replica *r = l->r;
	struct raft_group *g = r->g;

	if (!l->after || (g != NULL && raft_group_can_read(g) &&
			  raft_group_term(g) == l->term)) {
		r->p->w->lease_reads++;
		if (l->seen < l->need)
			sim_fail(r->p->at.c, "stale read at node %u: %llu "
				 "seen, %llu acknowledged", r->p->at.node,
				 (unsigned long long)l->seen,
				 (unsigned long long)l->need);
	}
	lease_free(l);
}

static void lease_begin(struct env_task *task)
{
	struct lease *l = CONTAINER_OF(task, struct lease, task);
	struct raft_group *g = l->r->g;

	if (g == NULL || (l->before && !raft_group_can_read(g))) {
		lease_free(l);
		return;
	}
	l->term = raft_group_term(g);
	l->seen = l->r->rows.command;
	l->work.run = lease_run;
	l->work.done = lease_end;
	env_work(l->r->p->at.env, &l->work);
}

static void lease_read(struct world *w, struct replica *r)
{
	struct lease *l = sim_zalloc(sizeof *l);
	uint64_t how = sim_rand(sim_cluster_sim(w->c), 3);

	l->r = r;
	l->need = w->chains[r->gi].acked;
	l->before = how != 0;
	l->after = how != 1;
	l->task.run = lease_begin;
	TAILQ_INSERT_TAIL(&r->p->leases, l, link);
	env_post(r->p->at.env, &l->task);
}

/* --- transfers --- */

/* Asks somebody who leads to hand on, to somebody or to whom it likes. */
static void client_transfer(struct world *w, unsigned gi)
{
	struct sim *s = sim_cluster_sim(w->c);
	unsigned nodes = sim_cluster_size(w->c);
	uint64_t to = sim_rand(s, nodes + 1);
	struct replica *r = world_leader(w, gi);
	int rv;

	if (r == NULL)
		return;
	if (to > 0)
		to = sim_cluster_store(w->c, (unsigned)to - 1);
	rv = raft_group_transfer(r->g, to);
	w->handed += rv == 0;
	sim_trace(s, "transfer group=%u from=%u to=%u: %d", gi, r->p->at.node,
		  (unsigned)to, rv);
}

/*
 * The one that shall lead falls asleep, and wakes up when that is forgotten;
 * and then nobody can tell the one who asked for it.
 */
void sim_raft_told(struct raft_group *g, uint64_t to)
{
	struct proc *p = raft_group_user(g);
	struct sim *s = sim_cluster_sim(p->at.c);
	unsigned node = sim_cluster_node(p->at.c, to);

	sim_trace(s, "told node=%u to=%u", p->at.node, (unsigned)to);
	if (node < sim_cluster_size(p->at.c) && sim_chance(s, 300))
		sim_cluster_pause(p->at.c, node, sim_range(s, 300, 1500),
				  p->at.node);
}

/* --- a step of all of them --- */

/*
 * A group with new entries all the time does not elect who missed them; one
 * that rests does, and then an old leader's lease is put to the test.
 */
static bool client_rests(struct world *w, struct replica *r)
{
	struct sim *s = sim_cluster_sim(w->c);

	return w->quiet && !sim_cluster_healing(w->c) &&
	       (!r->leads || sim_now(s) - r->led_at > 300 * SIM_MS) &&
	       !sim_chance(s, 10);
}

/* Mostly where it leads, now and then anywhere. */
static struct replica *client_choose(struct world *w, unsigned gi)
{
	struct sim *s = sim_cluster_sim(w->c);
	unsigned nodes = sim_cluster_size(w->c);
	unsigned node = (unsigned)sim_rand(s, nodes);

	if (!sim_chance(s, 100))
		for (unsigned i = 0; i < nodes; i++) {
			struct replica *r = world_replica(
				w, (node + i) % nodes, gi);

			if (r != NULL && r->g->lead_term != 0)
				return r;
		}
	return world_replica(w, node, gi);
}

void client_step(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);
	struct sim *s = sim_cluster_sim(c);
	unsigned gi = (unsigned)sim_rand(s, w->groups);
	struct replica *r;

	if (w->moves)
		member_step(w);
	r = client_choose(w, gi);
	if (r == NULL || r->g == NULL)
		return;
	if (!client_rests(w, r))
		for (uint64_t n = sim_rand(s, w->window != 0 ? 2 : 4); n > 0;
		     n--)
			client_submit(w, r);
	if (sim_chance(s, 200))
		client_read(w, r);
	if (w->transfers && !sim_cluster_healing(c) && sim_chance(s, 15))
		client_transfer(w, gi);
	/* of all that believe they lead */
	for (unsigned i = 0; i < sim_cluster_size(c); i++) {
		struct replica *q = world_replica(w, i, gi);

		if (q != NULL && q->leads && sim_chance(s, 400))
			lease_read(w, q);
	}
}
