#include "tests/sim/sim_cluster.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sim_node {
	struct sim_cluster *c;
	unsigned id;
	struct crashfs *fs;
	struct env *env;      /* NULL while down */
	void *proc;           /* NULL while down */
	unsigned life;        /* incarnation */
	uint64_t disk_lo, disk_hi;
	uint64_t cut_at;      /* power fails at this disk call, 0: not */
	bool cut_now;         /* it did, within this event */
	uint64_t paused_until;
	struct sim_clock clock;
};

/* The connection of a pair; lower id first. */
struct sim_conn {
	bool up, breaking, retrying;
	uint64_t epoch;
	bool lost[2];         /* direction lost a frame: so all behind it */
	uint64_t arrival[2];  /* of the last frame */
};

struct sim_cluster {
	struct sim_config config;
	struct sim *s;
	struct sim_node nodes[SIM_NODES];
	struct sim_conn conns[SIM_NODES][SIM_NODES];
	bool cut[SIM_NODES][SIM_NODES];
	uint64_t lag_ms;
	unsigned loss;
	bool healing;
	uint64_t faults;
};

struct sim_frame {
	struct sim_cluster *c;
	unsigned from, to, life;
	uint64_t epoch;
	size_t len;
	uint8_t bytes[];
};

static const struct sim_profile sim_profiles[] = {
	{ .name = "calm", .gap_lo = 1000, .gap_hi = 4000, .crash = 2,
	  .crash_leader = 2, .crash_all = 1, .split = 1, .heal = 3,
	  .slow_disk = 1, .flap = 2 },
	{ .name = "storm", .gap_lo = 20, .gap_hi = 900, .crash = 2,
	  .crash_leader = 4, .crash_all = 1, .split = 1, .isolate = 2,
	  .heal = 4, .slow_disk = 1, .lag = 1, .flap = 1,
	  .leader_kill = 600, .leader_stab = 100 },
	{ .name = "stab", .gap_lo = 20, .gap_hi = 900, .crash = 2,
	  .crash_leader = 4, .split = 1, .isolate = 2, .heal = 4,
	  .slow_disk = 1, .lag = 1, .leader_kill = 300, .leader_stab = 700 },
	{ .name = "disk", .gap_lo = 20, .gap_hi = 900, .crash = 4,
	  .crash_leader = 4, .crash_all = 3, .heal = 2, .slow_disk = 4,
	  .flap = 1 },
	{ .name = "mix", .gap_lo = 20, .gap_hi = 900, .crash = 3,
	  .crash_leader = 3, .crash_all = 1, .split = 3, .one_way = 2,
	  .isolate = 2, .heal = 4, .slow_disk = 2, .lag = 2, .flap = 2,
	  .loss = 20 },
	{ .name = "lease", .gap_lo = 200, .gap_hi = 1500, .crash_leader = 1,
	  .one_way = 2, .isolate = 2, .heal = 1, .lag = 1, .flap = 1,
	  .bounce = 8 },
};

const struct sim_profile *sim_profile_find(const char *name)
{
	for (size_t i = 0; i < sizeof sim_profiles / sizeof *sim_profiles; i++)
		if (strcmp(sim_profiles[i].name, name) == 0)
			return &sim_profiles[i];
	return NULL;
}

void sim_profile_names(FILE *out)
{
	for (size_t i = 0; i < sizeof sim_profiles / sizeof *sim_profiles; i++)
		fprintf(out, " %s", sim_profiles[i].name);
	fprintf(out, "\n");
}

struct sim *sim_cluster_sim(struct sim_cluster *c)
{
	return c->s;
}

unsigned sim_cluster_size(struct sim_cluster *c)
{
	return c->config.nodes;
}

void *sim_cluster_arg(struct sim_cluster *c)
{
	return c->config.arg;
}

void *sim_cluster_proc(struct sim_cluster *c, unsigned node)
{
	return c->nodes[node].proc;
}

bool sim_cluster_healing(struct sim_cluster *c)
{
	return c->healing;
}

void sim_fail(struct sim_cluster *c, const char *fmt, ...)
{
	va_list ap;

	printf("# seed %llu nodes %u profile %s at %llu ms: ",
	       (unsigned long long)c->config.seed, c->config.nodes,
	       c->config.profile->name,
	       (unsigned long long)(sim_now(c->s) / SIM_MS));
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	(void)fflush(stdout);
	_exit(2);
}

/* --- network --- */

static struct sim_conn *sim_conn_of(struct sim_cluster *c, unsigned a,
				    unsigned b)
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
	if (c->nodes[node].proc != NULL)
		c->config.ops->link_reset(c->nodes[node].proc, peer + 1);
}

static void sim_conn_retry(void *arg);

static void sim_conn_schedule(struct sim_cluster *c, unsigned a, unsigned b)
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

	n->breaking = false;
	n->up = false;
	n->epoch++;
	sim_reset_end(p.c, p.a, p.b);
	sim_reset_end(p.c, p.b, p.a);
	sim_conn_schedule(p.c, p.a, p.b);
}

/* The ends notice within max_ms; until then frames may still arrive. */
static void sim_conn_break(struct sim_cluster *c, unsigned a, unsigned b,
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
			sim_conn_break(c, f->from, f->to, 2000);
		} else {
			int rv = c->config.ops->receive(to->proc, f->from + 1,
							f->bytes, f->len);

			if (rv != 0 && rv != -ESTALE && rv != -ENOMEM)
				sim_fail(c, "node %u refused a frame: %d",
					 f->to, rv);
			if (rv != 0)
				sim_conn_break(c, f->from, f->to, 1);
		}
	}
}

void sim_cluster_send(struct sim_cluster *c, unsigned node, uint64_t to,
		      const uint8_t *frame, size_t len)
{
	unsigned peer = (unsigned)to - 1, dir = node > peer;
	struct sim_conn *n = sim_conn_of(c, node, peer);
	struct sim_frame *f;
	uint64_t at, lag = c->lag_ms * SIM_MS;

	if (!n->up || n->lost[dir])
		return;
	if (c->cut[node][peer] || sim_rand(c->s, 10000) < c->loss) {
		n->lost[dir] = true;
		sim_conn_break(c, node, peer, 1000);
		return;
	}
	if (sim_chance(c->s, 20))
		lag *= 10;
	at = sim_now(c->s) + sim_range(c->s, 30 * SIM_US, lag);
	if (at <= n->arrival[dir])
		at = n->arrival[dir] + 1;
	n->arrival[dir] = at;
	f = malloc(sizeof *f + len);
	if (f == NULL)
		abort();
	*f = (struct sim_frame){ .c = c, .from = node, .to = peer,
				 .life = c->nodes[peer].life,
				 .epoch = n->epoch, .len = len };
	memcpy(f->bytes, frame, len);
	sim_after_owned(c->s, at - sim_now(c->s), sim_deliver, f);
}

/* --- machines --- */

/* Before every disk call: the power may fail here, in the middle of a flush. */
static void sim_disk_hook(void *arg)
{
	struct sim_node *n = arg;

	if (n->cut_at == 0 || --n->cut_at > 0)
		return;
	n->cut_now = true;
	crashfs_freeze(n->fs, true);
}

static void sim_node_start(struct sim_node *n)
{
	struct sim_cluster *c = n->c;

	n->life++;
	n->cut_at = 0;
	n->cut_now = false;
	n->paused_until = 0;
	if (n->clock.real > sim_now(c->s))
		n->clock.real = sim_now(c->s); /* was asleep */
	n->env = simenv_new(c->s, crashfs_vfs(n->fs), n->id);
	simenv_set_disk(n->env, n->disk_lo, n->disk_hi);
	simenv_set_clock(n->env, &n->clock);
	sim_trace(c->s, "start node=%u", n->id);
	n->proc = c->config.ops->start(c, n->id, n->env);
	for (unsigned i = 0; i < c->config.nodes; i++)
		if (i != n->id)
			sim_conn_schedule(c, n->id, i);
}

/* What was not synced is gone, in part, and the clock begins anew. */
static void sim_node_power_off(struct sim_node *n)
{
	struct sim *s = n->c->s;

	crashfs_crash(n->fs, sim_rand(s, UINT64_MAX));
	n->clock.local = sim_range(s, 1, 100) * SIM_MS;
	n->clock.real = sim_now(s);
}

static void sim_node_stop(struct sim_node *n, bool power)
{
	struct sim_cluster *c = n->c;
	void *proc = n->proc;

	if (proc == NULL)
		return;
	sim_trace(c->s, "%s node=%u", power ? "power cut" : "kill", n->id);
	crashfs_freeze(n->fs, true);
	n->proc = NULL;
	c->config.ops->stop(c, n->id, proc, true);
	simenv_free(n->env);
	n->env = NULL;
	if (power)
		sim_node_power_off(n);
	else
		crashfs_freeze(n->fs, false);
	for (unsigned i = 0; i < c->config.nodes; i++) {
		struct sim_conn *conn;

		if (i == n->id)
			continue;
		conn = sim_conn_of(c, n->id, i);
		conn->up = false;
		sim_conn_break(c, n->id, i, 50);
	}
}

static void sim_node_restart(void *arg)
{
	struct sim_node *n = arg;

	if (n->proc == NULL)
		sim_node_start(n);
}

static void sim_node_down(struct sim_node *n, bool power)
{
	struct sim *s = n->c->s;

	if (n->proc == NULL)
		return;
	sim_node_stop(n, power);
	sim_after(s, sim_range(s, 1, sim_chance(s, 100) ? 6000 : 1500) *
			     SIM_MS, sim_node_restart, n);
}

/* --- faults --- */

static void sim_crash(struct sim_cluster *c, struct sim_node *n)
{
	/* now, or somewhere in the middle of what its disk does next */
	if (sim_chance(c->s, 500) && n->proc != NULL)
		n->cut_at = sim_range(c->s, 1, 12);
	else
		sim_node_down(n, sim_chance(c->s, 700));
}

static struct sim_node *sim_any_leader(struct sim_cluster *c)
{
	unsigned from = (unsigned)sim_rand(c->s, c->config.nodes);

	for (unsigned i = 0; i < c->config.nodes; i++) {
		struct sim_node *n = &c->nodes[(from + i) % c->config.nodes];

		if (n->proc != NULL && c->config.ops->leads(n->proc))
			return n;
	}
	return &c->nodes[from];
}

static void sim_heal_net(struct sim_cluster *c)
{
	memset(c->cut, 0, sizeof c->cut);
	c->loss = 0;
	c->lag_ms = 10;
}

static void sim_set_disk(struct sim_node *n, bool slow)
{
	n->disk_lo = slow ? 50 * SIM_MS : 100 * SIM_US;
	n->disk_hi = slow ? 400 * SIM_MS : 4 * SIM_MS;
	if (n->env != NULL)
		simenv_set_disk(n->env, n->disk_lo, n->disk_hi);
}

static void sim_split(struct sim_cluster *c)
{
	uint64_t side = sim_rand(c->s, 1u << c->config.nodes);

	for (unsigned i = 0; i < c->config.nodes; i++)
		for (unsigned j = 0; j < c->config.nodes; j++)
			c->cut[i][j] = (side >> i & 1) != (side >> j & 1);
}

/* Of a leader: all it says, all it hears, or both. */
static void sim_isolate(struct sim_cluster *c)
{
	unsigned n = sim_any_leader(c)->id;
	uint64_t how = sim_rand(c->s, 3);

	for (unsigned i = 0; i < c->config.nodes; i++) {
		c->cut[n][i] = how != 1;
		c->cut[i][n] = how != 0;
	}
	c->cut[n][n] = false;
}

/* The second half of sim_bounce(). */
static void sim_bounce_now(void *arg)
{
	struct sim_pair *p = arg;
	struct sim_cluster *c = p->c;
	struct sim_node *n = &c->nodes[p->b];

	if (n->proc == NULL || c->healing)
		return;
	sim_node_stop(n, false);
	c->cut[p->a][p->b] = c->cut[p->b][p->a] = true;
	sim_after(c->s, sim_range(c->s, 1, 20) * SIM_MS, sim_node_restart, n);
}

/*
 * All but one node lose sight of a leader, and wait for that one. When they
 * have waited long enough it restarts, with no memory of what it told the
 * leader, and sees them but not the leader.
 */
static void sim_bounce(struct sim_cluster *c, unsigned node)
{
	unsigned leader = sim_any_leader(c)->id;

	if (leader == node)
		return;
	sim_heal_net(c);
	for (unsigned i = 0; i < c->config.nodes; i++)
		if (i != leader && i != node)
			c->cut[leader][i] = c->cut[i][leader] = true;
	sim_after_owned(c->s, sim_range(c->s, 300, 900) * SIM_MS,
			sim_bounce_now, sim_pair_new(c, leader, node));
}

static void sim_fault_one(struct sim_cluster *c)
{
	const struct sim_profile *p = c->config.profile;
	unsigned total = p->crash + p->crash_leader + p->crash_all + p->split +
			 p->one_way + p->isolate + p->heal + p->slow_disk +
			 p->lag + p->flap + p->bounce;
	unsigned x = (unsigned)sim_rand(c->s, total);
	unsigned a = (unsigned)sim_rand(c->s, c->config.nodes);
	unsigned b = (unsigned)sim_rand(c->s, c->config.nodes);

#define SIM_PICK(weight) (x < (weight) ? true : (x -= (weight), false))
	if (SIM_PICK(p->crash)) {
		sim_crash(c, &c->nodes[a]);
	} else if (SIM_PICK(p->crash_leader)) {
		sim_crash(c, sim_any_leader(c));
	} else if (SIM_PICK(p->crash_all)) {
		for (unsigned i = 0; i < c->config.nodes; i++)
			sim_node_down(&c->nodes[i], true);
	} else if (SIM_PICK(p->split)) {
		sim_split(c);
	} else if (SIM_PICK(p->one_way)) {
		c->cut[a][b] = a != b;
	} else if (SIM_PICK(p->isolate)) {
		sim_isolate(c);
	} else if (SIM_PICK(p->heal)) {
		sim_heal_net(c);
		for (unsigned i = 0; i < c->config.nodes; i++)
			sim_set_disk(&c->nodes[i], false);
	} else if (SIM_PICK(p->slow_disk)) {
		sim_set_disk(&c->nodes[a], true);
	} else if (SIM_PICK(p->lag)) {
		c->lag_ms = sim_range(c->s, 1, 100);
		c->loss = (unsigned)sim_rand(c->s, p->loss + 1) * 10;
	} else if (SIM_PICK(p->bounce)) {
		sim_bounce(c, a);
	} else if (a != b) {
		sim_conn_break(c, a, b, 100);
	}
#undef SIM_PICK
}

static void sim_fault(void *arg)
{
	struct sim_cluster *c = arg;
	const struct sim_profile *p = c->config.profile;

	if (c->healing)
		return;
	c->faults++;
	sim_fault_one(c);
	if (sim_chance(c->s, 200))
		memset(c->cut, 0, sizeof c->cut);
	sim_after(c->s, sim_range(c->s, p->gap_lo, p->gap_hi) * SIM_MS,
		  sim_fault, c);
}

static void sim_clocks(struct sim_cluster *c, struct sim_node *n)
{
	if (c->config.frozen_clocks) {
		n->clock.local = sim_clock_now(c->s, &n->clock);
		n->clock.real = n->paused_until;
	}
	n->clock.wall = ((int64_t)sim_rand(c->s, 120) - 60) * (int64_t)SIM_S;
}

static void sim_node_pause(struct sim_node *n, uint64_t ms)
{
	struct sim_cluster *c = n->c;

	if (n->env == NULL)
		return;
	c->faults++;
	n->paused_until = sim_now(c->s) + ms * SIM_MS;
	sim_trace(c->s, "pause node=%u", n->id);
	simenv_pause(n->env, n->paused_until);
	sim_clocks(c, n);
}

static void sim_pause(void *arg)
{
	struct sim_cluster *c = arg;
	struct sim_node *n = sim_chance(c->s, 700)
				     ? sim_any_leader(c)
				     : &c->nodes[sim_rand(c->s,
							  c->config.nodes)];

	if (c->healing)
		return;
	sim_node_pause(n, sim_range(c->s, 50, 2000));
	sim_after(c->s, sim_range(c->s, 300, 4000) * SIM_MS, sim_pause, c);
}

static void sim_deaf(void *arg)
{
	struct sim_pair *p = arg;

	if (p->c->healing)
		return;
	for (unsigned i = 0; i < p->c->config.nodes; i++)
		p->c->cut[i][p->b] = i != p->b;
}

void sim_cluster_pause(struct sim_cluster *c, unsigned node, uint64_t ms,
		       unsigned peer)
{
	if (c->healing)
		return;
	sim_node_pause(&c->nodes[node], ms);
	sim_after_owned(c->s, (ms - 1) * SIM_MS, sim_deaf,
			sim_pair_new(c, node, peer));
}

struct sim_kill {
	struct sim_node *n;
	unsigned life;
	bool heal; /* those it could not see come back */
};

static void sim_kill_leader(void *arg)
{
	struct sim_kill *k = arg;

	if (k->n->life != k->life || k->n->c->healing)
		return;
	if (k->heal)
		sim_heal_net(k->n->c);
	sim_crash(k->n->c, k->n);
}

/* Kills the node, unless it has gone, within so many ms. */
static void sim_kill_soon(struct sim_cluster *c, unsigned node, uint64_t ms,
			  bool heal)
{
	struct sim_kill *k = malloc(sizeof *k);

	if (k == NULL)
		abort();
	*k = (struct sim_kill){ &c->nodes[node], c->nodes[node].life,
				heal };
	sim_after_owned(c->s, sim_rand(c->s, ms * SIM_MS), sim_kill_leader, k);
}

void sim_cluster_elected(struct sim_cluster *c, unsigned node)
{
	if (c->healing || !sim_chance(c->s, c->config.profile->leader_stab))
		return;
	if (sim_chance(c->s, 500)) {
		/* with an entry that nobody else will see for a time */
		sim_trace(c->s, "mute node=%u", node);
		for (unsigned i = 0; i < c->config.nodes; i++)
			c->cut[node][i] = i != node;
	} else {
		/* with some of its entries sent */
		sim_kill_soon(c, node, 80, sim_chance(c->s, 500));
	}
}

void sim_cluster_new_leader(struct sim_cluster *c, unsigned node)
{
	if (!c->healing && sim_chance(c->s, c->config.profile->leader_kill))
		sim_kill_soon(c, node, 120, false);
}

/* --- the run --- */

static void sim_client(void *arg)
{
	struct sim_cluster *c = arg;

	c->config.ops->client(c);
	sim_after(c->s, sim_range(c->s, 1, 40) * SIM_MS, sim_client, c);
}

static void sim_one_event(struct sim_cluster *c)
{
	(void)sim_step(c->s);
	for (unsigned i = 0; i < c->config.nodes; i++)
		if (c->nodes[i].cut_now)
			sim_node_down(&c->nodes[i], true);
	c->config.ops->check(c);
}

static void sim_heal(struct sim_cluster *c)
{
	c->healing = true;
	sim_trace(c->s, "heal");
	sim_heal_net(c);
	for (unsigned i = 0; i < c->config.nodes; i++) {
		c->nodes[i].cut_at = 0;
		sim_set_disk(&c->nodes[i], false);
		if (c->nodes[i].proc == NULL)
			sim_node_start(&c->nodes[i]);
	}
}

static void sim_cluster_stop(struct sim_cluster *c)
{
	for (unsigned i = 0; i < c->config.nodes; i++) {
		struct sim_node *n = &c->nodes[i];

		c->config.ops->stop(c, i, n->proc, false);
		simenv_free(n->env);
		crashfs_free(n->fs);
	}
	sim_free(c->s);
	free(c);
}

static void sim_dump(struct sim_cluster *c)
{
	for (unsigned i = 0; i < c->config.nodes; i++)
		for (unsigned j = i + 1; j < c->config.nodes; j++) {
			const struct sim_conn *n = &c->conns[i][j];

			printf("# link %u-%u up=%d breaking=%d lost=%d,%d "
			       "retrying=%d\n", i, j, n->up, n->breaking,
			       n->lost[0], n->lost[1], n->retrying);
		}
	if (c->config.ops->dump != NULL)
		c->config.ops->dump(c);
}

void sim_cluster_run(const struct sim_config *config, struct sim_result *ret)
{
	struct sim_cluster *c = calloc(1, sizeof *c);
	uint64_t until;

	if (c == NULL)
		abort();
	c->config = *config;
	c->s = sim_new(config->seed);
	sim_set_tracing(c->s, config->tracing);
	c->lag_ms = 10;
	for (unsigned i = 0; i < config->nodes; i++) {
		struct sim_node *n = &c->nodes[i];

		n->c = c;
		n->id = i;
		n->fs = crashfs_new(sim_rand(c->s, UINT64_MAX));
		crashfs_set_hook(n->fs, sim_disk_hook, n);
		n->clock.local = sim_range(c->s, 1, 1000) * SIM_S;
		n->clock.real = sim_now(c->s);
		n->clock.ppm = (int)sim_rand(c->s, 2 * config->drift_ppm + 1) -
			       (int)config->drift_ppm;
		sim_set_disk(n, false);
	}
	for (unsigned i = 0; i < config->nodes; i++)
		sim_node_start(&c->nodes[i]);
	sim_after(c->s, 5 * SIM_MS, sim_client, c);
	sim_after(c->s, sim_range(c->s, 50, 900) * SIM_MS, sim_fault, c);
	if (config->pauses)
		sim_after(c->s, sim_range(c->s, 300, 4000) * SIM_MS,
			  sim_pause, c);
	until = sim_now(c->s) + config->fault_ms * SIM_MS;
	while (sim_now(c->s) < until)
		sim_one_event(c);
	sim_heal(c);
	until = sim_now(c->s) + config->heal_ms * SIM_MS;
	while (!config->ops->healed(c)) {
		if (sim_now(c->s) >= until)
			sim_dump(c);
		if (sim_now(c->s) >= until)
			sim_fail(c, "stuck %llu ms after the heal",
				 (unsigned long long)config->heal_ms);
		sim_one_event(c);
	}
	config->ops->end(c);
	ret->hash = sim_hash(c->s);
	ret->events = sim_events(c->s);
	ret->faults = c->faults;
	sim_cluster_stop(c);
}
