/*
 * A process of the simulator: log head, rows, shards; and its row database
 * compared with that of the others.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/raft/raft_impl.h"
#include "tests/sim/sim_shard.h"

/* --- states of replicas --- */

static void check_hash(struct proc *p, struct model *m, uint64_t index,
		       struct wire_u128 hash)
{
	for (unsigned i = 0; i < m->n_hashes; i++) {
		const struct state_hash *h = &m->hashes[i];

		if (h->index != index)
			continue;
		if (h->hash.hi != hash.hi || h->hash.lo != hash.lo)
			sim_fail(p->at.c, "node %u group %u: another state at "
				 "%llu", p->at.node, m->group,
				 (unsigned long long)index);
		return;
	}
	m->hashes = sim_grow(m->hashes, m->n_hashes, &m->cap_hashes,
			     sizeof *m->hashes);
	m->hashes[m->n_hashes++] = (struct state_hash){ index, hash };
}

void proc_check_rows(struct proc *p)
{
	for (unsigned i = 0; i < p->w->groups; i++) {
		struct model *m = &p->w->models[i];
		struct wire_u128 hash;
		uint64_t index = 0;
		int64_t now;

		/* neither the old ones nor the new ones */
		if (proc_group(p, i)->installing)
			continue;
		if (shard_read_applied(p->back, m->group, &index, &now) != 0 ||
		    ns_hash(p->back, m->group, &hash) != 0 ||
		    ns_check(p->back, m->group, sim_proc_finding, p) != 0)
			sim_fail(p->at.c, "node %u: rows cannot be read",
				 p->at.node);
		if (index > m->passed)
			sim_fail(p->at.c, "node %u group %u: rows of the "
				 "future", p->at.node, m->group);
		check_hash(p, m, index, hash);
	}
}

/* --- life of a process --- */

static int proc_record(void *arg, const struct seg_rec *rec)
{
	struct proc *p = arg;

	int rv = log_doubt_record(p->doubt, rec);

	return rv == 0 ? shard_set_recover(p->set, rec) : rv;
}

static void proc_rot(void *arg, const struct seg_rot *rot)
{
	struct proc *p = arg;

	sim_proc_check_rot(&p->at, rot);
	sim_cluster_count(p->at.c, SIM_N_ROT, 1);
	shard_set_recover_rot(p->set, rot);
}

static void proc_value_rot(void *arg, uint16_t group, uint64_t gen,
			   uint64_t off)
{
	struct proc *p = arg;

	if (sim_cluster_disk_bad(p->at.c, p->at.node))
		return; /* the read is answered with IO */
	sim_fail(p->at.c, "node %u group %u: a value at %llx:%llu is not there",
		 p->at.node, group, (unsigned long long)gen,
		 (unsigned long long)off);
}

static int proc_scan_from(void *arg, const struct seg_rec *start,
			  uint64_t *ret_gen)
{
	struct proc *p = arg;
	struct errbuf e = { "" };
	int rv = raft_start_from(p->start, start, ret_gen, &e);

	if (rv != 0 && rv != -ENOMEM &&
	    !sim_cluster_disk_bad(p->at.c, p->at.node))
		sim_fail(p->at.c, "node %u: %s", p->at.node, e.text);
	p->w->n_doubts += raft_start_n_doubts(p->start);
	if (rv == 0 && *ret_gen > 1)
		sim_cluster_count(p->at.c, SIM_N_SHORT_STARTS, 1);
	return rv == 0 ? raft_start_recover(p->start, start, p->at.host) : rv;
}

static void proc_role(void *arg, uint16_t group, bool leader)
{
	struct proc *p = arg;

	p->leads[group - 1] = leader;
	sim_trace(sim_cluster_sim(p->at.c), "role node=%u group=%u leader=%d",
		  p->at.node, group, leader);
	if (!leader)
		return;
	p->w->led_at[group - 1] = sim_now(sim_cluster_sim(p->at.c));
	sim_cluster_count(p->at.c, SIM_N_TERMS, 1);
	sim_cluster_new_leader(p->at.c, p->at.node);
}

static int proc_open_log(struct proc *p, struct errbuf *e)
{
	const struct seg_config config = {
		.on_record = proc_record,
		.on_rot = proc_rot,
		.scan_from = proc_scan_from,
	};
	int rv = log_doubt_new(p->start, p->back, &p->doubt);
	struct seg_stats stats;

	if (rv != 0)
		abort();
	rv = sim_proc_open_log(&p->at, &config, e);
	if (rv == 0)
		rv = log_doubt_settle(p->doubt, p->at.log);
	log_doubt_free(p->doubt);
	p->doubt = NULL;
	if (rv != 0)
		return rv;
	seg_head_stats(p->at.log, &stats);
	p->segments = stats.segments;
	sim_proc_open_port(&p->at);
	shard_set_log(p->set, p->at.log, p->at.port);
	return 0;
}

/* The log of the only member ends before what was applied. */
static void proc_cut(struct proc *p, unsigned i)
{
	const struct raft_group *g = proc_group(p, i);
	uint64_t last = rlog_last(&g->log);
	struct model *m = &p->w->models[i];

	if (!g->one_voter || last >= m->last)
		return;
	sim_trace(sim_cluster_sim(p->at.c), "cut node=%u group=%u index=%llu",
		  p->at.node, m->group, (unsigned long long)last);
	if (!sim_cluster_lossy(p->at.c, p->at.node))
		sim_fail(p->at.c, "node %u: a kill took commands", p->at.node);
	if (last < m->firm)
		sim_fail(p->at.c, "node %u group %u: %llu was durable, the log "
			 "ends at %llu", p->at.node, m->group,
			 (unsigned long long)m->firm,
			 (unsigned long long)last);
	sim_cluster_count(p->at.c, SIM_N_LOSSES, 1);
	p->w->cuts[i]++;
	model_cut(m, p, last);
}

static int proc_open_groups(struct proc *p, struct errbuf *e)
{
	unsigned n = sim_cluster_size(p->at.c);
	uint64_t voters[SIM_NODES];

	if (n > p->w->founders)
		n = p->w->founders;
	for (unsigned i = 0; i < n; i++)
		voters[i] = i + 1;
	if (p->at.node >= n || p->w->wiped[p->at.node])
		n = 0;
	for (unsigned i = 0; i < p->w->groups; i++) {
		struct model *m = &p->w->models[i];
		int64_t now;
		int rv = shard_open(p->set, m->group, voters, n, e);

		if (rv != 0)
			return rv;
		if (shard_read_applied(p->back, m->group, &p->applied[i],
				       &now) != 0)
			abort();
		proc_cut(p, i);
	}
	proc_check_rows(p);
	return 0;
}

/* Segments of the log that nobody needs go, now and then. */
static void proc_open_clean(struct proc *p)
{
	const struct log_clean_loop loop = { p->at.env, p->set };
	const struct log_clean_config lc = {
		.loops = &loop, .n_loops = 1,
		.log = p->at.log, .port = p->at.port,
		.pinned = p->w->pinned,
	};
	const struct compact_config cc = { .env = p->at.env };
	struct compact_head head;

	if (compact_new(&cc, &p->compact) != 0 ||
	    log_clean_new(&lc, &p->clean, &head) != 0)
		abort();
	compact_add_head(p->compact, &head);
}

/* The rows that the machine has when it starts. */
static void proc_lose_rows(struct proc *p)
{
	struct world *w = p->w;
	struct sim *s = sim_cluster_sim(p->at.c);
	struct rows_mem_image **image = &w->images[p->at.node];

	if (!sim_chance(s, w->doubts))
		return;
	rows_mem_image_free(*image);
	*image = w->old_image != NULL && sim_chance(s, 50)
		? rows_mem_image_copy(w->old_image)
		: rows_mem_image_new();
	sim_trace(s, "rows lost node=%u", p->at.node);
}

static void proc_hold(void *arg, bool on)
{
	struct proc *p = arg;

	if (on)
		log_clean_hold(p->clean);
	else
		log_clean_release(p->clean);
}

/* Rows of another member that the last process was putting in place. */
static int proc_on_name(void *arg, const char *name)
{
	struct proc *p = arg;

	p->w->halves += strstr(name, RAFT_SNAP_INSTALL) != NULL;
	return 0;
}

void *proc_start(struct sim_cluster *c, unsigned node, struct env *env)
{
	static unsigned lives;
	struct proc *p = sim_zalloc(sizeof *p);
	uint64_t store = sim_cluster_store(c, node);
	/* files are small here: a few extents are many */
	static const struct ns_merge_rules merge = {
		.at = 3,
		.step = { { .len = 64, .total = 300, .n = 2, .any_n = 3 },
			  { .len = 500, .total = 2000, .n = 2 } },
		.many = 100, .bridge_at = 6, .bridge = 100,
	};
	struct shard_config config = {
		.env = env,
		.id = store,
		.election_ms = 300,
		.heartbeat_ms = 50,
		.send = sim_proc_send,
		.role = proc_role,
		.rot = proc_value_rot,
		.merge = &merge,
		.snap_dir = "/snap",
		.ask = snap_ask,
		.hold = proc_hold,
		.arg = p,
	};
	struct errbuf e = { "" };
	int rv;

	p->life = ++lives;
	p->w = sim_cluster_arg(c);
	p->w->c = c;
	sim_proc_init(&p->at, c, node, env);
	sim_changes_init(&p->changes, c, &p->w->changes);
	sim_starting = p;
	proc_lose_rows(p);
	(void)env->vfs->ops->list(env->vfs, "/snap", proc_on_name, p);
	if (rows_back_mem(p->w->images[node], &p->back) != 0)
		abort();
	rv = raft_start_open(env->vfs, "/snap", (struct wire_u128){ 0, store },
			     p->back, &p->start, &e);
	if (rv != 0) {
		sim_starting = NULL;
		rows_back_close(p->back);
		free(p);
		return sim_refuse(c, node, "%s", e.text);
	}
	config.start = p->start;
	config.store = (struct wire_u128){ 0, store };
	config.snap_bytes = p->w->snap_bytes;
	config.back = p->back;
	config.snap_piece = p->w->snap_piece;
	config.tail = p->w->lags ? 20 : 0;
	config.carry = p->w->lags ? 2 : 0;
	config.entry_cache = p->w->tiny_cache ? 4000 : 0;
	config.rows_cache = p->w->tiny_cache ? 4000 : 0;
	if (p->w->slow_work)
		simenv_set_work(env, 1 * SIM_MS, 10 * SIM_MS);
	if (shard_set_new(&config, &p->set) != 0)
		abort();
	p->at.host = shard_set_host(p->set);
	rows_set_forget(shard_set_rows(p->set), p->w->forget);
	rv = proc_open_log(p, &e);
	if (rv == 0)
		rv = proc_open_groups(p, &e);
	sim_starting = NULL;
	if (rv != 0) {
		proc_stop(c, node, p, true);
		return sim_refuse(c, node, "%s", e.text);
	}
	if (shard_set_start(p->set) != 0)
		abort();
	proc_open_clean(p);
	return p;
}

/* What a process did that ends now. */
static void proc_count(struct proc *p)
{
	struct raft_snaps *snaps = shard_set_snaps(p->set);
	struct raft_snaps_stats snap;
	struct shard_stats shard;
	struct seg_stats seg;

	shard_set_stats(p->set, &shard);
	sim_cluster_count(p->at.c, SIM_N_LATE_READS, shard.late_reads);
	sim_cluster_count(p->at.c, SIM_N_PARKS, shard.parks);
	sim_cluster_count(p->at.c, SIM_N_CHECKPOINTS, shard.checkpoints);
	sim_cluster_count(p->at.c, SIM_N_MERGES, shard.merges);
	sim_cluster_count(p->at.c, SIM_N_QUEUE, shard.queue_done);
	sim_cluster_count(p->at.c, SIM_N_INSTALLS, shard.snaps_in);
	sim_cluster_count(p->at.c, SIM_N_FETCH_FAILS, shard.snaps_failed);
	if (p->at.log != NULL) {
		seg_head_stats(p->at.log, &seg);
		sim_cluster_count(p->at.c, SIM_N_SEGMENTS,
				  seg.segments - p->segments);
	}
	if (snaps != NULL) {
		raft_snaps_stats(snaps, &snap);
		sim_cluster_count(p->at.c, SIM_N_SNAPSHOTS, snap.files);
	}
}

static void proc_close_clean(struct proc *p)
{
	struct compact_info info;

	if (p->compact == NULL)
		return;
	compact_get_info(p->compact, &info);
	p->w->n_cleaned += info.freed;
	sim_cluster_count(p->at.c, SIM_N_CLEANED, info.freed);
	log_clean_free(p->clean);
	compact_free(p->compact);
}

void proc_stop(struct sim_cluster *c, unsigned node, void *proc, bool crash)
{
	struct proc *p = proc;

	(void)c;
	sim_procs[node] = NULL;
	proc_count(p);
	client_calls_lost(p);
	sim_proc_close_log(&p->at, crash);
	proc_close_clean(p);
	shard_set_free(p->set);
	seg_port_free(p->at.port);
	raft_start_free(p->start);
	rows_back_close(p->back);
	free(p);
}

void proc_died(struct sim_cluster *c, unsigned node, void *proc)
{
	struct proc *p = proc;

	(void)c;
	sim_procs[node] = NULL;
	sim_starting = NULL;
	sim_applying = NULL;
	sim_entry = NULL;
	client_calls_lost(p);
	sim_changes_lost(&p->changes);
}

struct raft_group *proc_group(const struct proc *p, unsigned i)
{
	return shard_group(p->set, p->w->models[i].group);
}
