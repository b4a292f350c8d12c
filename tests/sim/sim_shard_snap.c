/*
 * What members of a shard ask of each other beside Raft: pieces of their rows.
 * A message takes its time, or is lost with its answer; who asked hears of that
 * after a while.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_shard.h"

struct ask {
	struct ask *next; /* of the world: they stay until its end */
	struct world *w;
	unsigned from, life, to;
	uint16_t group;
	bool over;        /* it was answered, or given up */
	struct buf payload; /* request, then answer */
	struct body *body;
	uint32_t status;
	shard_done_fn done;
	void *arg;
};

/* Who asked is told, if that process is still there. */
static void ask_end(struct ask *a, uint32_t status)
{
	struct proc *p = sim_cluster_proc(a->w->c, a->from);
	struct body *body = a->body;

	if (a->over)
		return;
	a->over = true;
	a->body = NULL;
	if (p == NULL || p->life != a->life) {
		body_unref(body);
		return;
	}
	if (status != RPC_STATUS_OK) {
		body_unref(body);
		body = NULL;
	}
	sim_cluster_enter(a->w->c, a->from);
	a->done(a->arg, status, &a->payload, body);
}

static void ask_lost(void *arg)
{
	ask_end(arg, RPC_STATUS_UNAVAILABLE);
}

static void ask_answer(void *arg)
{
	struct ask *a = arg;

	if (sim_cluster_reaches(a->w->c, a->to, a->from))
		ask_end(a, a->status);
}

static void ask_served(void *arg, uint32_t status, struct buf *payload,
		       struct body *body)
{
	struct ask *a = arg;
	struct sim *s = sim_cluster_sim(a->w->c);

	buf_fini(&a->payload);
	a->payload = *payload;
	buf_init(payload, 0);
	a->status = status;
	a->body = body;
	if (!sim_chance(s, 20))
		sim_after(s, sim_range(s, 30 * SIM_US, 30 * SIM_MS),
			  ask_answer, a);
}

static void ask_arrive(void *arg)
{
	struct ask *a = arg;
	struct proc *p = sim_cluster_proc(a->w->c, a->to);

	if (a->over || p == NULL ||
	    !sim_cluster_reaches(a->w->c, a->from, a->to))
		return;
	sim_cluster_enter(a->w->c, a->to);
	if (shard_snap_serve(p->set, a->group,
			     wire_bytes(a->payload.data, a->payload.len),
			     ask_served, a) != 0)
		abort();
}

int snap_ask(void *arg, uint64_t to, uint16_t group, struct buf *payload,
	     shard_done_fn done, void *done_arg)
{
	struct proc *p = arg;
	struct world *w = p->w;
	struct sim *s = sim_cluster_sim(w->c);
	struct ask *a = sim_zalloc(sizeof *a);

	*a = (struct ask){
		.next = w->asks, .w = w, .from = p->at.node, .life = p->life,
		.to = sim_cluster_node(w->c, to), .group = group,
		.payload = *payload, .done = done, .arg = done_arg,
	};
	buf_init(payload, 0);
	w->asks = a;
	if (a->to < sim_cluster_size(w->c) && !sim_chance(s, 20))
		sim_after(s, sim_range(s, 30 * SIM_US, 30 * SIM_MS),
			  ask_arrive, a);
	sim_after(s, sim_range(s, 150 * SIM_MS, 400 * SIM_MS), ask_lost, a);
	return 0;
}

void snap_free(struct world *w)
{
	struct ask *a;

	while ((a = w->asks) != NULL) {
		w->asks = a->next;
		buf_fini(&a->payload);
		body_unref(a->body);
		free(a);
	}
}
