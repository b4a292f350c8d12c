/*
 * Machines and a run.
 *
 *        start                     power cut, kill, died
 *   down ------> up ------------------------------------> down
 *        ------> refused (later: start again, or gone for good)
 *
 * A process may abort (fatal_abort(), made to leave the event by the linker's
 * --wrap) or refuse to start only when its disk did something wrong in that
 * life, or lost bytes for good.
 */
#include "tests/sim/sim_impl.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The cluster whose event runs. */
static struct sim_cluster *sim_now_running;

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

bool sim_cluster_lossy(struct sim_cluster *c, unsigned node)
{
	return c->nodes[node].lossy;
}

bool sim_cluster_gone(struct sim_cluster *c, unsigned node)
{
	return c->nodes[node].gone;
}

bool sim_cluster_rotten(struct sim_cluster *c, unsigned node)
{
	return c->nodes[node].rotten;
}

bool sim_cluster_disk_bad(struct sim_cluster *c, unsigned node)
{
	return sim_node_disk_bad(&c->nodes[node]);
}

bool sim_cluster_spares(struct sim_cluster *c, unsigned nodes)
{
	return c->config.ops->spares(c, nodes);
}

bool sim_cluster_cut(struct sim_cluster *c, unsigned node)
{
	return c->nodes[node].cut_now;
}

struct crashfs *sim_cluster_disk(struct sim_cluster *c, unsigned node)
{
	return c->nodes[node].fs;
}

bool sim_cluster_frozen(struct sim_cluster *c)
{
	return c->config.frozen_clocks;
}

void sim_cluster_count(struct sim_cluster *c, enum sim_count what, uint64_t n)
{
	c->counts[what] += n;
}

void sim_cluster_enter(struct sim_cluster *c, unsigned node)
{
	c->in = node;
}

uint64_t sim_cluster_store(struct sim_cluster *c, unsigned node)
{
	return c->nodes[node].store;
}

unsigned sim_cluster_node(struct sim_cluster *c, uint64_t store)
{
	unsigned i = 0;

	while (i < c->config.nodes && c->nodes[i].store != store)
		i++;
	return i;
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

/* --- machines --- */

/* Before every disk call: the power may fail here, in the middle of a flush. */
static void sim_disk_hook(void *arg)
{
	struct sim_node *n = arg;

	if (n->cut_at == 0 || --n->cut_at > 0)
		return;
	n->cut_now = true;
	n->c->counts[SIM_N_MIDWAY]++;
	crashfs_freeze(n->fs, true);
}

bool sim_node_disk_bad(const struct sim_node *n)
{
	return n->rotten || crashfs_n_faults(n->fs) != n->faults;
}

void sim_node_restart(void *arg)
{
	struct sim_node *n = arg;

	if (n->proc == NULL && !n->gone)
		sim_node_start(n);
}

static void sim_node_restart_later(struct sim_node *n)
{
	struct sim *s = n->c->s;

	sim_after(s, sim_range(s, 1, sim_chance(s, 100) ? 6000 : 1500) *
			     SIM_MS, sim_node_restart, n);
}

/* What was not synced is gone, in part, and the clock begins anew. */
static void sim_node_power_off(struct sim_node *n)
{
	struct sim *s = n->c->s;

	struct crashfs_stats st;

	crashfs_get_stats(n->fs, &st);
	n->lossy = true;
	n->c->counts[SIM_N_POWER]++;
	n->c->counts[SIM_N_TORN] += st.dirty_sectors + st.pending_dir_ops > 0;
	crashfs_crash(n->fs, sim_rand(s, UINT64_MAX));
	n->clock.local = sim_range(s, 1, 100) * SIM_MS;
	n->clock.real = sim_now(s);
}

/* It did not start: may it, and does it ever again? */
static void sim_node_refused(struct sim_node *n)
{
	struct sim_cluster *c = n->c;

	sim_trace(c->s, "refuses node=%u %s", n->id, n->why);
	c->counts[SIM_N_REFUSALS]++;
	simenv_free(n->env);
	n->env = NULL;
	if (n->cut_now)
		sim_node_power_off(n);
	else if (!sim_node_disk_bad(n))
		sim_fail(c, "node %u does not start: %s", n->id, n->why);
	if (n->rotten && c->healing)
		n->gone = true;
	else
		sim_node_restart_later(n);
	n->cut_now = false;
}

/* At which of its disk calls the power fails; 0: not. */
static uint64_t sim_start_cut(struct sim_node *n)
{
	unsigned permille = n->c->config.profile->start_cut;

	if (permille == 0 || n->c->healing || !sim_chance(n->c->s, permille))
		return 0;
	return sim_range(n->c->s, 1, 8);
}

void sim_node_start(struct sim_node *n)
{
	struct sim_cluster *c = n->c;

	n->life++;
	n->cut_at = sim_start_cut(n);
	n->cut_now = false;
	n->paused_until = 0;
	n->lossy |= crashfs_n_faults(n->fs) != n->faults;
	n->faults = crashfs_n_faults(n->fs);
	n->why[0] = '\0';
	n->env = simenv_new(c->s, crashfs_vfs(n->fs), n->id);
	simenv_set_disk(n->env, n->disk_lo, n->disk_hi);
	if (n->clock.real > sim_now(c->s))
		n->clock.real = sim_now(c->s); /* was asleep */
	simenv_set_clock(n->env, &n->clock);
	sim_trace(c->s, "start node=%u", n->id);
	c->in = n->id;
	sim_fault_starts(n);
	n->proc = c->config.ops->start(c, n->id, n->env);
	sim_fault_started(n);
	c->in = SIM_NOBODY;
	c->counts[SIM_N_START_CUTS] += n->cut_now;
	if (n->proc == NULL) {
		sim_node_refused(n);
		return;
	}
	n->lossy = n->cut_now;
	for (unsigned i = 0; i < c->config.nodes; i++)
		if (i != n->id)
			sim_conn_schedule(c, n->id, i);
}

void *sim_refuse(struct sim_cluster *c, unsigned node, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(c->nodes[node].why, sizeof c->nodes[node].why, fmt,
			ap);
	va_end(ap);
	return NULL;
}

/* The process is gone; so are its connections. */
static void sim_node_ended(struct sim_node *n, bool power)
{
	struct sim_cluster *c = n->c;

	simenv_free(n->env);
	n->env = NULL;
	if (power)
		sim_node_power_off(n);
	else
		crashfs_freeze(n->fs, false);
	for (unsigned i = 0; i < c->config.nodes; i++) {
		if (i == n->id)
			continue;
		sim_conn_of(c, n->id, i)->up = false;
		sim_conn_break(c, n->id, i, 50);
	}
}

void sim_node_stop(struct sim_node *n, bool power)
{
	struct sim_cluster *c = n->c;
	void *proc = n->proc;

	sim_trace(c->s, "%s node=%u", power ? "power cut" : "kill", n->id);
	c->counts[SIM_N_KILLS] += !power;
	crashfs_freeze(n->fs, true);
	n->proc = NULL;
	c->config.ops->stop(c, n->id, proc, true);
	sim_node_ended(n, power);
}

void sim_node_down(struct sim_node *n, bool power)
{
	if (n->proc == NULL)
		return;
	sim_node_stop(n, power);
	sim_node_restart_later(n);
}

void sim_cluster_end(struct sim_cluster *c, unsigned node)
{
	struct sim_node *n = &c->nodes[node];
	void *proc = n->proc;

	sim_trace(c->s, "stop node=%u", node);
	c->counts[SIM_N_STOPS]++;
	n->proc = NULL;
	c->in = node;
	c->config.ops->stop(c, node, proc, false);
	c->in = SIM_NOBODY;
	sim_node_ended(n, n->cut_now);
	n->cut_now = false;
	sim_node_restart_later(n);
}

void sim_cluster_wipe(struct sim_cluster *c, unsigned node, bool keep)
{
	struct sim_node *n = &c->nodes[node];

	sim_trace(c->s, "wipe node=%u", node);
	sim_node_down(n, true);
	crashfs_wipe(n->fs);
	if (keep)
		return;
	n->store = ++c->last_store;
	c->rotten -= n->rotten;
	n->rotten = false;
	if (!n->gone)
		return;
	n->gone = false;
	sim_node_restart_later(n);
}

/* --- processes that end themselves --- */

_Noreturn void __wrap_fatal_abort(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));
void __wrap_fatal_abort(const char *fmt, ...)
{
	struct sim_cluster *c = sim_now_running;
	char text[sizeof c->nodes[0].why];
	va_list ap;
	unsigned id;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (c == NULL)
		abort();
	id = c->in != SIM_NOBODY ? c->in : sim_running(c->s);
	if (id == SIM_NOBODY)
		sim_fail(c, "nobody aborts: %s", text);
	c->in = id;
	memcpy(c->nodes[id].why, text, sizeof text);
	longjmp(c->died, 1);
}

/* Its memory is in no state to be freed; it stays. */
static void sim_node_died(struct sim_cluster *c)
{
	struct sim_node *n = &c->nodes[c->in];
	bool power = n->cut_now || sim_chance(c->s, 500);

	if (n->proc == NULL) { /* while it started */
		sim_node_refused(n);
		return;
	}
	sim_trace(c->s, "died node=%u %s", n->id, n->why);
	c->counts[SIM_N_DEATHS]++;
	/* a disk that is frozen forgets, before the machine knows */
	if (!n->cut_now && !sim_node_disk_bad(n))
		sim_fail(c, "node %u aborts: %s", n->id, n->why);
	n->cut_now = false;
	c->config.ops->died(c, n->id, n->proc);
	n->proc = NULL;
	/* what a failed sync left in the page cache may go, or stay */
	sim_node_ended(n, power);
	sim_node_restart_later(n);
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
	if (_setjmp(c->died) == 0)
		(void)sim_step(c->s);
	else
		sim_node_died(c);
	c->in = SIM_NOBODY;
	for (unsigned i = 0; i < c->config.nodes; i++)
		if (c->nodes[i].cut_now)
			sim_node_down(&c->nodes[i], true);
	c->config.ops->check(c);
}

/* From here on everything works; what lost bytes must say so now. */
static void sim_heal(struct sim_cluster *c)
{
	c->healing = true;
	sim_trace(c->s, "heal");
	sim_fault_heal(c);
	for (unsigned i = 0; i < c->config.nodes; i++) {
		struct sim_node *n = &c->nodes[i];

		if (n->rotten)
			sim_node_down(n, false);
		if (n->proc == NULL)
			sim_after(c->s, 0, sim_node_restart, n);
	}
}

/* What its disk did wrong, in all lives. */
static void sim_count_disk(struct sim_cluster *c, const struct sim_node *n)
{
	struct crashfs_stats st;

	crashfs_get_stats(n->fs, &st);
	c->counts[SIM_N_BAD_SYNCS] += st.failed_syncs;
	c->counts[SIM_N_BAD_WRITES] += st.failed_writes;
	c->counts[SIM_N_BAD_READS] += st.failed_reads;
	c->counts[SIM_N_FULL] += st.full;
	c->counts[SIM_N_FLIPS] += st.flips;
}

static void sim_cluster_stop(struct sim_cluster *c, struct sim_result *ret)
{
	if (c->config.ops->stopping != NULL)
		c->config.ops->stopping(c);
	for (unsigned i = 0; i < c->config.nodes; i++) {
		struct sim_node *n = &c->nodes[i];

		if (n->proc != NULL)
			c->config.ops->stop(c, i, n->proc, false);
		simenv_free(n->env);
		sim_count_disk(c, n);
		crashfs_free(n->fs);
	}
	memcpy(ret->counts, c->counts, sizeof ret->counts);
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
	for (unsigned i = 0; i < c->config.nodes; i++)
		if (c->nodes[i].proc == NULL)
			printf("# node %u is down: %s\n", i, c->nodes[i].why);
	if (c->config.ops->dump != NULL)
		c->config.ops->dump(c);
}

/* All machines are up, but those that cannot. */
static bool sim_all_up(struct sim_cluster *c)
{
	for (unsigned i = 0; i < c->config.nodes; i++)
		if (c->nodes[i].proc == NULL && !c->nodes[i].gone)
			return false;
	return true;
}

void sim_cluster_progress(struct sim_cluster *c)
{
	c->progress_at = sim_now(c->s);
}

static void sim_run_heal(struct sim_cluster *c)
{
	sim_heal(c);
	sim_cluster_progress(c);
	while (!sim_all_up(c) || !c->config.ops->healed(c)) {
		if (sim_now(c->s) - c->progress_at >=
		    c->config.heal_ms * SIM_MS) {
			sim_dump(c);
			sim_fail(c, "stuck for %llu ms after the heal",
				 (unsigned long long)c->config.heal_ms);
		}
		sim_one_event(c);
		if (c->config.nodes == 1 && c->nodes[0].gone)
			return; /* it says so, that is all it can do */
	}
	c->config.ops->end(c);
}

void sim_cluster_run(const struct sim_config *config, struct sim_result *ret)
{
	struct sim_cluster *c = calloc(1, sizeof *c);
	uint64_t until;

	if (c == NULL)
		abort();
	c->config = *config;
	c->s = sim_new(config->seed);
	c->in = SIM_NOBODY;
	sim_set_tracing(c->s, config->tracing);
	sim_now_running = c;
	for (unsigned i = 0; i < config->nodes; i++) {
		const struct crashfs_faults cold = { .cold_every = 3 };
		struct sim_node *n = &c->nodes[i];

		n->c = c;
		n->id = i;
		n->store = ++c->last_store;
		n->fs = crashfs_new(sim_rand(c->s, UINT64_MAX));
		crashfs_set_hook(n->fs, sim_disk_hook, n);
		crashfs_set_faults(n->fs, &cold);
		n->clock.local = sim_range(c->s, 1, 1000) * SIM_S;
		n->clock.real = sim_now(c->s);
		n->clock.ppm = (int)sim_rand(c->s, 2 * config->drift_ppm + 1) -
			       (int)config->drift_ppm;
	}
	sim_fault_start(c);
	for (unsigned i = 0; i < config->nodes; i++)
		sim_after(c->s, 0, sim_node_restart, &c->nodes[i]);
	sim_after(c->s, 5 * SIM_MS, sim_client, c);
	until = sim_now(c->s) + config->fault_ms * SIM_MS;
	while (sim_now(c->s) < until)
		sim_one_event(c);
	sim_run_heal(c);
	ret->hash = sim_hash(c->s);
	ret->events = sim_events(c->s);
	ret->faults = c->faults;
	sim_now_running = NULL;
	sim_cluster_stop(c, ret);
}
