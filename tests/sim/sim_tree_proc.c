/*
 * A process of the simulator: log head, rows, shards that call each other.
 * Seams, made by the linker (--wrap): where every applied entry is looked at,
 * and where a bug is put in when SIM_PLANT names one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_tree.h"

static struct proc *starting, *procs[SIM_NODES];
static struct proc *applying;
static const struct raft_cmd *entry;

/* --- looking --- */

static int on_apply(void *arg, struct raft_group *g, const struct raft_cmd *cmd)
{
	unsigned i = 0;
	int rv;

	while (procs[i] == NULL || procs[i]->apply_arg != arg)
		i++;
	applying = procs[i];
	entry = cmd;
	rv = procs[i]->apply(arg, g, cmd);
	applying = NULL;
	entry = NULL;
	return rv;
}

WRAP(int, raft_host_new, const struct raft_host_config *config,
     struct raft_host **ret_host)
{
	struct raft_host_config own = *config;

	starting->apply = config->apply;
	starting->apply_arg = config->arg;
	procs[starting->at.node] = starting;
	own.apply = on_apply;
	return __real_raft_host_new(&own, ret_host);
}

WRAP(int, ns_apply, struct rows_txn *t, const struct ns_cmd *c,
     struct ns_answer *a)
{
	struct proc *p = applying;
	struct ns_cmd own = *c;
	int rv;

	if (sim_plant == PLANT_TERM)
		own.term = c->txn.hi & NS_TXN_TERM_MASK;
	rv = __real_ns_apply(t, &own, a);
	if (p != NULL && rv == 0)
		tree_applied(p, entry, c, a);
	return rv;
}

/* --- planted --- */

/* Locks are taken but nobody minds them: commands, or reads. */
WRAP(const struct ns_lock *, ns_locks_find, const struct ns_locks *l,
     struct wire_bytes key, uint8_t mode, struct wire_u128 txn)
{
	if (sim_plant == PLANT_LOCK)
		return NULL;
	if (sim_plant == PLANT_READ && applying == NULL)
		return NULL;
	return __real_ns_locks_find(l, key, mode, txn);
}

/* A leader of later terms goes on with what it began in an earlier one. */
WRAP(uint64_t, raft_group_term, const struct raft_group *g)
{
	if (sim_plant == PLANT_TERM)
		return 7;
	return __real_raft_group_term(g);
}

/* Whoever is asked does not know of what is under way. */
WRAP(bool, shard_far_pending, const struct shard_group *g,
     struct wire_u128 txn)
{
	if (sim_plant == PLANT_END)
		return false;
	return __real_shard_far_pending(g, txn);
}

/* --- rows --- */

void proc_check_rows(struct proc *p, bool whole)
{
	for (unsigned i = 0; i < p->w->groups; i++) {
		uint16_t g = (uint16_t)(i + 1);
		uint64_t n;

		if (ns_check(p->back, g, sim_proc_finding, p) != 0 ||
		    (whole && ns_check_far(p->back, g, sim_proc_finding, p,
					   &n) != 0))
			sim_fail(p->at.c, "node %u: rows cannot be read",
				 p->at.node);
	}
}

bool proc_at_rest(const struct proc *p)
{
	for (unsigned i = 0; i < p->w->groups; i++)
		if (shard_find(p->set, (uint16_t)(i + 1))->locks->parties !=
		    NULL)
			return false;
	return true;
}

/* --- calls to other shards --- */

struct tree_call {
	shard_called_fn done;
	void *arg;
	struct mail *m;
};

static void proc_called(void *arg, uint32_t status, struct wire_bytes payload)
{
	struct tree_call *c = arg;

	c->done(c->arg, status,
		status == RPC_STATUS_OK ? payload : wire_bytes(NULL, 0));
	free(c);
}

static int proc_call(void *arg, uint16_t shard, uint16_t tag,
		     struct buf *payload, shard_called_fn done, void *done_arg,
		     void **ret_handle)
{
	struct proc *p = arg;
	struct tree_call *c = sim_zalloc(sizeof *c);

	c->done = done;
	c->arg = done_arg;
	c->m = mail_send(p->w, &p->from, shard, tag, payload, 3 * SIM_S, NULL,
			 proc_called, c);
	*ret_handle = c;
	return 0;
}

static void proc_call_cancel(void *arg, void *handle)
{
	struct tree_call *c = handle;

	(void)arg;
	mail_cancel(c->m);
	free(c);
}

static uint16_t proc_place(void *arg, uint16_t shard)
{
	struct proc *p = arg;
	struct sim *s = sim_cluster_sim(p->at.c);

	return sim_chance(s, 400) ? shard
				  : (uint16_t)(1 + sim_rand(s, p->w->groups));
}

/* --- life of a process --- */

static int proc_record(void *arg, const struct seg_rec *rec)
{
	struct proc *p = arg;

	return shard_set_recover(p->set, rec);
}

static int proc_scan_from(void *arg, const struct seg_rec *start,
			  uint64_t *ret_gen)
{
	struct proc *p = arg;

	*ret_gen = raft_start_need(start);
	return shard_set_recover(p->set, start);
}

static void proc_role(void *arg, uint16_t group, bool leader)
{
	struct proc *p = arg;

	p->leads[group - 1] = leader;
	sim_trace(sim_cluster_sim(p->at.c), "role node=%u group=%u leader=%d",
		  p->at.node, group, leader);
	if (leader)
		sim_cluster_new_leader(p->at.c, p->at.node);
}

static int proc_open_log(struct proc *p, struct errbuf *e)
{
	const struct seg_config config = {
		.on_record = proc_record,
		.scan_from = proc_scan_from,
	};
	int rv = sim_proc_open_log(&p->at, &config, e);

	if (rv != 0)
		return rv;
	sim_proc_open_port(&p->at);
	shard_set_log(p->set, p->at.log, p->at.port);
	return 0;
}

static int proc_open_groups(struct proc *p, struct errbuf *e)
{
	unsigned n = sim_cluster_size(p->at.c);
	uint64_t voters[SIM_NODES];
	int64_t now;

	for (unsigned i = 0; i < n; i++)
		voters[i] = i + 1;
	for (unsigned i = 0; i < p->w->groups; i++) {
		uint16_t g = (uint16_t)(i + 1);
		int rv = shard_open(p->set, g, voters, n, e);

		if (rv != 0)
			return rv;
		if (shard_read_applied(p->back, g, &p->applied[i], &now) != 0)
			abort();
	}
	proc_check_rows(p, false);
	return 0;
}

void *proc_start(struct sim_cluster *c, unsigned node, struct env *env)
{
	struct proc *p = sim_zalloc(sizeof *p);
	struct shard_config config = {
		.env = env,
		.id = node + 1,
		.election_ms = 300,
		.heartbeat_ms = 50,
		.send = sim_proc_send,
		.role = proc_role,
		.call = proc_call,
		.call_cancel = proc_call_cancel,
		.place = proc_place,
		.arg = p,
	};
	struct errbuf e = { "" };
	int rv;

	p->w = sim_cluster_arg(c);
	p->w->c = c;
	sim_proc_init(&p->at, c, node, env);
	p->from.client = 1000 + p->w->lives++;
	if (rows_back_mem(p->w->images[node], &p->back) != 0)
		abort();
	config.back = p->back;
	config.entry_cache = p->w->tiny_cache ? 4000 : 0;
	config.rows_cache = p->w->tiny_cache ? 4000 : 0;
	starting = p;
	if (shard_set_new(&config, &p->set) != 0)
		abort();
	p->at.host = shard_set_host(p->set);
	rows_set_forget(shard_set_rows(p->set), p->w->forget);
	rv = proc_open_log(p, &e);
	if (rv == 0)
		rv = proc_open_groups(p, &e);
	if (rv != 0) {
		proc_stop(c, node, p, true);
		return sim_refuse(c, node, "%s", e.text);
	}
	if (shard_set_start(p->set) != 0)
		abort();
	return p;
}

void proc_count(struct proc *p)
{
	struct shard_stats st;

	shard_set_stats(p->set, &st);
	p->w->n_far += st.far;
	p->w->n_again += st.far_again;
	p->w->n_waits += st.lock_waits;
}

void proc_stop(struct sim_cluster *c, unsigned node, void *proc, bool crash)
{
	struct proc *p = proc;

	(void)c;
	procs[node] = NULL;
	proc_count(p);
	mail_calls_lost(p);
	sim_proc_close_log(&p->at, crash);
	shard_set_free(p->set);
	seg_port_free(p->at.port);
	rows_back_close(p->back);
	free(p);
}

void proc_died(struct sim_cluster *c, unsigned node, void *proc)
{
	struct proc *p = proc;

	(void)c;
	procs[node] = NULL;
	applying = NULL;
	entry = NULL;
	mail_calls_lost(p);
	for (struct mail *m = p->w->mails; m != NULL; m = m->next)
		if (m->from == &p->from)
			mail_cancel(m);
}
