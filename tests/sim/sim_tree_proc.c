/*
 * A process of the simulator: a store (sim_store.h), shards that call each
 * other.
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
	if (rv == 0)
		sim_store_applied(&procs[i]->store, raft_group_id(g),
				  cmd->index,
				  &procs[i]->w->group[raft_group_id(g) - 1]
					   .states);
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
	tree_split_run(&own);
	rv = __real_ns_apply(t, &own, a);
	tree_split_ran(&own, a);
	if (p != NULL && rv == 0)
		tree_applied(p, entry, c, a);
	return rv;
}

/*
 * Rows that were installed hold all that was applied up to there. Planted: the
 * locks that they say are held are forgotten.
 */
WRAP(void, shard_rows_replaced, struct shard_group *g, struct shard_derived *d)
{
	struct proc *p = g->set->config.arg;
	uint64_t index = d->at.index;

	if (sim_plant == PLANT_NOLOCKS && d->locks != NULL) {
		ns_locks_free(d->locks);
		d->locks = ns_locks_new();
	}
	sim_cluster_count(p->at.c, SIM_N_AMID_INSTALLS,
			  d->locks != NULL && d->locks->parties != NULL);
	__real_shard_rows_replaced(g, d);
	p->applied[g->id - 1] = index;
}

/* Some die while they put other rows in place. */
WRAP(void, shard_on_install, void *arg, struct raft_group *raft)
{
	const struct shard_group *g = raft_group_user(raft);
	struct proc *p = g->set->config.arg;

	if (sim_chance(sim_cluster_sim(p->at.c), 200))
		sim_cluster_crash_soon(p->at.c, p->at.node, 4);
	__real_shard_on_install(arg, raft);
}

WRAP(int, rows_back_checkpoint, struct rows_back *back)
{
	return sim_store_is_cut(back) || tree_bulk_is_cut(back)
		       ? 0
		       : __real_rows_back_checkpoint(back);
}

/* --- planted --- */

/* Locks are taken but nobody minds them: commands, or reads. */
WRAP(const struct ns_lock *, ns_locks_find, const struct ns_locks *l,
     struct wire_bytes key, uint8_t mode, struct wire_u128 txn)
{
	const struct ns_lock *lock;

	if (sim_plant == PLANT_LOCK)
		return NULL;
	if (sim_plant == PLANT_READ && applying == NULL)
		return NULL;
	lock = __real_ns_locks_find(l, key, mode, txn);
	return tree_split_ignores(lock) ? NULL : lock;
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

/* Segments are freed before the rows that do not name them are durable. */
WRAP(int, raft_check_roll, struct raft_check *c,
     void (*done)(void *arg, int status), void *arg)
{
	if (sim_plant != PLANT_UNSAVED)
		return __real_raft_check_roll(c, done, arg);
	done(arg, 0);
	return 0;
}

/* Rows from before a cleaning are taken as they are. */
WRAP(int, log_doubt_settle, struct log_doubt *d, struct seg_head *log)
{
	return sim_plant == PLANT_DOUBTLESS ? 0
					    : __real_log_doubt_settle(d, log);
}

/* The cleaner goes on while values arrive, or are handed out. */
WRAP(void, shard_hold, struct shard_set *set, bool on)
{
	if (sim_plant != PLANT_NOHOLD)
		__real_shard_hold(set, on);
}

/*
 * A step for a file is done on its row as other shards see it: without bytes.
 */
WRAP(int, ns_link_move, struct ns_ctx *x, struct ns_inode *ip, uint64_t dir,
     struct wire_bytes row_name, uint64_t dir2, struct wire_bytes row_name2)
{
	if (sim_plant == PLANT_BYTES && x->cmd->tag == RPC_TAG_txn_end &&
	    !ns_is_dir(ip)) {
		ip->r.extents = wire_bytes(NULL, 0);
		ip->r.pieces = 0;
	}
	return __real_ns_link_move(x, ip, dir, row_name, dir2, row_name2);
}

/* What a command over shards names is not counted. */
WRAP(int, ns_kref_add, struct ns_ctx *x, struct wire_u128 slice, int64_t refs)
{
	if (sim_plant == PLANT_KREF && refs > 0 &&
	    x->cmd->decisions & NS_DECIDE_FAR)
		return 0;
	return __real_ns_kref_add(x, slice, refs);
}

/* What a shard owes to others is missing in the rows that a member gets. */
static bool loading;

WRAP(int, raft_snap_loader_step, struct raft_snap_loader *l)
{
	int rv;

	loading = true;
	rv = __real_raft_snap_loader_step(l);
	loading = false;
	return rv;
}

WRAP(void, rows_batch_put, struct rows_batch *b, struct wire_bytes key,
     struct wire_bytes value)
{
	if (sim_plant == PLANT_NOSTEPS && loading && key.len > 3 &&
	    key.p[2] == NS_T_TXN && key.p[3] == NS_TXN_OWN)
		return;
	__real_rows_batch_put(b, key, value);
}

/* --- rows --- */

void proc_check_rows(struct proc *p)
{
	for (unsigned i = 0; i < p->w->groups; i++) {
		uint16_t g = (uint16_t)(i + 1);

		/* neither the old ones nor the new ones */
		if (!shard_group(p->store.set, g)->installing)
			(void)sim_store_check_rows(&p->store, g,
						   &p->w->group[i].states);
	}
}

bool proc_at_rest(const struct proc *p)
{
	for (unsigned i = 0; i < p->w->groups; i++) {
		const struct shard_group *g;

		if (!sim_manager_wants(&p->w->manager, i, p->at.node))
			continue;
		g = shard_find(p->store.set, (uint16_t)(i + 1));
		if (g->locks->parties != NULL || g->split.n > 0 ||
		    g->split.job != NULL ||
		    p->applied[i] < p->w->group[i].last)
			return false;
	}
	return true;
}

/* --- calls to other shards --- */

/* By mail, or through a client. */
struct tree_call {
	shard_called_fn done;
	void *arg;
	struct mail *m;
	struct sim_call *call;
};

static void proc_called(void *arg, uint32_t status, struct wire_bytes payload,
			struct wire_bytes body)
{
	struct tree_call *c = arg;

	(void)body;
	c->done(c->arg, status,
		status == RPC_STATUS_OK ? payload : wire_bytes(NULL, 0));
	free(c);
}

static void proc_answered(struct sim_call *call, const struct rpc_reply *reply)
{
	proc_called(call->owner, reply->status,
		    wire_bytes(reply->payload, reply->len),
		    wire_bytes(NULL, 0));
}

static int proc_call(void *arg, uint16_t shard, uint16_t tag,
		     struct buf *payload, shard_called_fn done, void *done_arg,
		     void **ret_handle)
{
	struct proc *p = arg;
	struct tree_call *c = sim_zalloc(sizeof *c);
	struct client_send send = { .tag = tag, .shard = shard,
				    .payload = payload, .timeout_ms = 5000 };

	c->done = done;
	c->arg = done_arg;
	*ret_handle = c;
	if (!p->w->real_calls) {
		c->m = mail_send(p->w, &p->from, shard, tag, payload,
				 3 * SIM_S, NULL, proc_called, c);
		return 0;
	}
	if (p->client == NULL)
		p->client = sim_machine_new(p->w->real, p->at.node, p->at.env);
	c->call = sim_machine_send(p->client, &send, c, proc_answered);
	return 0;
}

static void proc_call_cancel(void *arg, void *handle)
{
	struct tree_call *c = handle;

	(void)arg;
	if (c->call != NULL)
		sim_call_cancel(c->call);
	else
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

/* Where the host puts a segment: elsewhere, or it goes nowhere. */
static uint16_t proc_segment_place(void *arg, uint16_t shard)
{
	struct proc *p = arg;
	uint16_t other = (uint16_t)(1 + sim_rand(sim_cluster_sim(p->at.c),
						 p->w->groups - 1));

	return other == shard ? (uint16_t)p->w->groups : other;
}

/* --- life of a process --- */

static void proc_role(void *arg, uint16_t group, bool leader)
{
	struct proc *p = arg;

	p->leads[group - 1] = leader;
	sim_trace(sim_cluster_sim(p->at.c), "role node=%u group=%u leader=%d",
		  p->at.node, group, leader);
	if (!leader)
		return;
	sim_cluster_count(p->at.c, SIM_N_TERMS, 1);
	sim_cluster_new_leader(p->at.c, p->at.node);
}

static int proc_open_groups(struct proc *p, struct errbuf *e)
{
	uint64_t voters[SIM_NODES];
	unsigned n = sim_manager_start(&p->w->manager, p->at.c, p->at.node,
				       voters);
	int64_t now;

	for (unsigned i = 0; i < p->w->groups; i++) {
		uint16_t g = (uint16_t)(i + 1);
		int rv = shard_open(p->store.set, g, voters, n, e);

		if (rv != 0)
			return rv;
		if (shard_read_applied(p->store.back, g, &p->applied[i], &now) != 0)
			abort();
	}
	proc_check_rows(p);
	sim_store_check_start(&p->store, p->w->groups);
	return 0;
}

void *proc_start(struct sim_cluster *c, unsigned node, struct env *env)
{
	struct proc *p = sim_zalloc(sizeof *p);
	struct shard_config config = {
		.env = env,
		.election_ms = 300,
		.heartbeat_ms = 50,
		.role = proc_role,
		.call = proc_call,
		.call_cancel = proc_call_cancel,
		.place = proc_place,
		.drop = tree_drop,
		.grace_ns = 1 * SIM_S,
		.reader_lease_ns = 500 * SIM_MS,
		.segment_place = proc_segment_place,
		.arg = p,
	};
	struct errbuf e = { "" };
	int rv;

	p->w = sim_cluster_arg(c);
	p->w->c = c;
	config.read_barrier = sim_cluster_frozen(c);
	sim_proc_init(&p->at, c, node, env);
	tree_clients_start(p->w);
	p->from.client = 1000 + p->w->lives++;
	starting = p;
	sim_store_lose_rows(&p->at, p->w->doubts, &p->w->images[node],
			    p->w->old_image);
	if (sim_store_open(&p->store, &p->at, p->w->images[node], &p->w->asks,
			   &config, &e) != 0) {
		starting = NULL;
		free(p);
		return sim_refuse(c, node, "%s", e.text);
	}
	p->store.every = p->w->every;
	config.dir_split_names = p->w->split_most;
	config.snap_bytes = p->w->snap_bytes;
	config.snap_piece = p->w->snap_piece;
	config.tail = p->w->lags ? 20 : 0;
	config.carry = p->w->lags ? 2 : 0;
	config.entry_cache = p->w->tiny_cache ? 4000 : 0;
	config.rows_cache = p->w->tiny_cache ? 4000 : 0;
	if (shard_set_new(&config, &p->store.set) != 0)
		abort();
	p->at.host = shard_set_host(p->store.set);
	rows_set_forget(shard_set_rows(p->store.set), p->w->forget);
	rv = sim_store_open_log(&p->store, &e);
	if (rv == 0 && p->w->alone)
		rv = tree_bulk_open(p, &e);
	if (rv == 0)
		rv = proc_open_groups(p, &e);
	starting = NULL;
	if (rv != 0) {
		proc_stop(c, node, p, true);
		return sim_refuse(c, node, "%s", e.text);
	}
	if (shard_set_start(p->store.set) != 0)
		abort();
	sim_store_open_clean(&p->store, p->w->pinned);
	if (p->w->alone)
		tree_bulk_start(p);
	return p;
}

void proc_stop(struct sim_cluster *c, unsigned node, void *proc, bool crash)
{
	struct proc *p = proc;

	(void)c;
	procs[node] = NULL;
	mail_calls_lost(p);
	sim_clients_died(p->w->real, node);
	tree_bulk_stop(p, crash);
	sim_store_close(&p->store, crash);
	tree_bulk_close(p, crash);
	sim_machine_free(p->client);
	free(p);
}

void proc_died(struct sim_cluster *c, unsigned node, void *proc)
{
	struct proc *p = proc;

	(void)c;
	procs[node] = NULL;
	sim_store_died(node);
	sim_manager_died(&p->w->manager, node);
	tree_bulk_died();
	applying = NULL;
	entry = NULL;
	mail_calls_lost(p);
	sim_clients_died(p->w->real, node);
	sim_machine_died(p->client);
	for (struct mail *m = p->w->mails; m != NULL; m = m->next)
		if (m->from == &p->from)
			mail_cancel(m);
}
