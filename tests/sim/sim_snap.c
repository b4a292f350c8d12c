/*
 * What members of a shard ask of each other beside Raft: pieces of their rows.
 * A message takes its time, or is lost with its answer; who asked hears of that
 * after a while.
 */
#include <stdlib.h>
#include <string.h>

#include "common/wire/status.h"
#include "tests/sim/sim_store.h"

struct sim_ask {
	struct sim_ask *next; /* of the world: they stay until its end */
	struct sim_cluster *c;
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
static void ask_end(struct sim_ask *a, uint32_t status)
{
	struct sim_proc *p = sim_cluster_proc(a->c, a->from);
	struct body *body = a->body;

	if (a->over)
		return;
	a->over = true;
	a->body = NULL;
	if (p == NULL || p->store->life != a->life) {
		body_unref(body);
		return;
	}
	if (status != RPC_STATUS_OK) {
		body_unref(body);
		body = NULL;
	}
	sim_cluster_enter(a->c, a->from);
	a->done(a->arg, status, &a->payload, body);
}

static void ask_lost(void *arg)
{
	ask_end(arg, RPC_STATUS_UNAVAILABLE);
}

static void ask_answer(void *arg)
{
	struct sim_ask *a = arg;

	if (sim_cluster_reaches(a->c, a->to, a->from))
		ask_end(a, a->status);
}

static void ask_served(void *arg, uint32_t status, struct buf *payload,
		       struct body *body)
{
	struct sim_ask *a = arg;
	struct sim *s = sim_cluster_sim(a->c);

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
	struct sim_ask *a = arg;
	struct sim_proc *p = sim_cluster_proc(a->c, a->to);

	if (a->over || p == NULL ||
	    !sim_cluster_reaches(a->c, a->from, a->to))
		return;
	sim_cluster_enter(a->c, a->to);
	if (shard_snap_serve(p->store->set, a->group,
			     wire_bytes(a->payload.data, a->payload.len),
			     ask_served, a) != 0)
		abort();
}

int sim_snap_ask(void *arg, uint64_t to, uint16_t group, struct buf *payload,
		 shard_done_fn done, void *done_arg)
{
	struct sim_proc *p = arg;
	struct sim_ask **asks = p->store->asks;
	struct sim *s = sim_cluster_sim(p->c);
	struct sim_ask *a = sim_zalloc(sizeof *a);

	*a = (struct sim_ask){
		.next = *asks, .c = p->c, .from = p->node,
		.life = p->store->life, .to = sim_cluster_node(p->c, to),
		.group = group, .payload = *payload, .done = done,
		.arg = done_arg,
	};
	buf_init(payload, 0);
	*asks = a;
	if (a->to < sim_cluster_size(p->c) && !sim_chance(s, 20))
		sim_after(s, sim_range(s, 30 * SIM_US, 30 * SIM_MS),
			  ask_arrive, a);
	sim_after(s, sim_range(s, 150 * SIM_MS, 400 * SIM_MS), ask_lost, a);
	return 0;
}

void sim_snap_free(struct sim_ask *asks)
{
	struct sim_ask *a;

	while ((a = asks) != NULL) {
		asks = a->next;
		buf_fini(&a->payload);
		body_unref(a->body);
		free(a);
	}
}
