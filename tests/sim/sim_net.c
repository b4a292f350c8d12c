/*
 * Connections: one per pair of machines, in order per direction; what is lost
 * takes all behind it along until the connection broke and opened again.
 */
#include "tests/sim/sim_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sim_frame {
	struct sim_cluster *c;
	unsigned from, to, life;
	uint64_t store;       /* of from, which may have another disk by now */
	uint64_t epoch;
	size_t len;
	uint8_t bytes[];
};

struct sim_conn *sim_conn_of(struct sim_cluster *c, unsigned a, unsigned b)
{
	return a < b ? &c->conns[a][b] : &c->conns[b][a];
}

struct sim_pair {
	struct sim_cluster *c;
	unsigned a, b;
};

static struct sim_pair *sim_pair_new(struct sim_cluster *c, unsigned a,
				     unsigned b)
{
	struct sim_pair *p = malloc(sizeof *p);

	if (p == NULL)
		abort();
	*p = (struct sim_pair){ c, a, b };
	return p;
}

static void sim_reset_end(struct sim_cluster *c, unsigned node, unsigned peer)
{
	if (c->nodes[node].proc == NULL)
		return;
	c->in = node;
	c->config.ops->link_reset(c->nodes[node].proc, c->nodes[peer].store);
	c->in = SIM_NOBODY;
}

static void sim_conn_retry(void *arg);

void sim_conn_schedule(struct sim_cluster *c, unsigned a, unsigned b)
{
	struct sim_conn *n = sim_conn_of(c, a, b);

	if (n->retrying)
		return;
	n->retrying = true;
	sim_after_owned(c->s, sim_range(c->s, 5 * SIM_MS, 150 * SIM_MS),
			sim_conn_retry, sim_pair_new(c, a, b));
}

static void sim_conn_retry(void *arg)
{
	struct sim_pair p = *(struct sim_pair *)arg;
	struct sim_cluster *c = p.c;
	struct sim_conn *n = sim_conn_of(c, p.a, p.b);

	n->retrying = false;
	if (n->up)
		return;
	if (n->breaking || c->nodes[p.a].proc == NULL ||
	    c->nodes[p.b].proc == NULL || c->cut[p.a][p.b] ||
	    c->cut[p.b][p.a]) {
		sim_conn_schedule(c, p.a, p.b);
		return;
	}
	n->up = true;
	n->epoch++;
	n->lost[0] = n->lost[1] = false;
	sim_reset_end(c, p.a, p.b);
	sim_reset_end(c, p.b, p.a);
}

static void sim_conn_broken(void *arg)
{
	struct sim_pair p = *(struct sim_pair *)arg;
	struct sim_conn *n = sim_conn_of(p.c, p.a, p.b);

	p.c->counts[SIM_N_BREAKS] += n->up;
	n->breaking = false;
	n->up = false;
	n->epoch++;
	sim_reset_end(p.c, p.a, p.b);
	sim_reset_end(p.c, p.b, p.a);
	sim_conn_schedule(p.c, p.a, p.b);
}

void sim_conn_break(struct sim_cluster *c, unsigned a, unsigned b,
		    uint64_t max_ms)
{
	struct sim_conn *n = sim_conn_of(c, a, b);

	if (n->breaking)
		return;
	n->breaking = true;
	sim_after_owned(c->s, sim_range(c->s, 0, max_ms * SIM_MS),
			sim_conn_broken, sim_pair_new(c, a, b));
}

static void sim_deliver(void *arg);

/* The frame stays in the socket of a stopped process. */
static void sim_deliver_later(const struct sim_frame *f, uint64_t at)
{
	struct sim_frame *copy = malloc(sizeof *f + f->len);

	if (copy == NULL)
		abort();
	memcpy(copy, f, sizeof *f + f->len);
	sim_after_owned(f->c->s, at - sim_now(f->c->s), sim_deliver, copy);
}

static void sim_count_cut(struct sim_cluster *c, unsigned from, unsigned to)
{
	c->counts[c->cut[to][from] ? SIM_N_PARTED : SIM_N_ONE_WAY]++;
}

static void sim_deliver(void *arg)
{
	struct sim_frame *f = arg;
	struct sim_cluster *c = f->c;
	struct sim_conn *n = sim_conn_of(c, f->from, f->to);
	struct sim_node *to = &c->nodes[f->to];

	if (to->paused_until > sim_now(c->s)) {
		sim_deliver_later(f, to->paused_until);
		return;
	}
	if (n->epoch == f->epoch && to->proc != NULL && to->life == f->life &&
	    !n->lost[f->from > f->to]) {
		if (c->cut[f->from][f->to]) {
			n->lost[f->from > f->to] = true;
			sim_count_cut(c, f->from, f->to);
			sim_conn_break(c, f->from, f->to, 2000);
		} else {
			int rv;

			c->in = f->to;
			rv = c->config.ops->receive(
				to->proc, f->store, f->bytes, f->len);
			c->in = SIM_NOBODY;
			if (rv != 0 && rv != -ESTALE && rv != -ENOMEM)
				sim_fail(c, "node %u refused a frame: %d",
					 f->to, rv);
			if (rv != 0)
				sim_conn_break(c, f->from, f->to, 1);
		}
	}
}

static void sim_send_at(struct sim_cluster *c, unsigned node, unsigned peer,
			uint64_t at, const uint8_t *frame, size_t len)
{
	struct sim_conn *n = sim_conn_of(c, node, peer);
	struct sim_frame *f = malloc(sizeof *f + len);

	if (f == NULL)
		abort();
	*f = (struct sim_frame){ .c = c, .from = node, .to = peer,
				 .life = c->nodes[peer].life,
				 .store = c->nodes[node].store,
				 .epoch = n->epoch, .len = len };
	memcpy(f->bytes, frame, len);
	n->arrival[node > peer] = at;
	sim_after_owned(c->s, at - sim_now(c->s), sim_deliver, f);
}

void sim_cluster_send(struct sim_cluster *c, unsigned node, uint64_t to,
		      const uint8_t *frame, size_t len)
{
	unsigned peer = sim_cluster_node(c, to), dir = node > peer;
	uint64_t at, lag = c->lag_ms * SIM_MS;
	struct sim_conn *n;

	if (peer == c->config.nodes)
		return;
	n = sim_conn_of(c, node, peer);
	if (!n->up || n->lost[dir])
		return;
	if (c->cut[node][peer] || sim_rand(c->s, 10000) < c->loss) {
		n->lost[dir] = true;
		if (c->cut[node][peer])
			sim_count_cut(c, node, peer);
		else
			c->counts[SIM_N_LOST]++;
		sim_conn_break(c, node, peer, 1000);
		return;
	}
	if (sim_chance(c->s, 20))
		lag *= 10;
	at = sim_now(c->s) + sim_range(c->s, 30 * SIM_US, lag);
	if (at <= n->arrival[dir])
		at = n->arrival[dir] + 1;
	sim_send_at(c, node, peer, at, frame, len);
	if (!c->healing && sim_chance(c->s, c->config.profile->dup)) {
		c->counts[SIM_N_DUPS]++;
		sim_send_at(c, node, peer, at + 1, frame, len);
	}
}

bool sim_cluster_reaches(struct sim_cluster *c, unsigned from, unsigned to)
{
	return sim_conn_of(c, from, to)->up && !c->cut[from][to] &&
	       !c->cut[to][from];
}
