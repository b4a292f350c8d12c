#include "tests/sim/sim_store.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "storaged/compact.h"
#include "storaged/ns_impl.h"
#include "storaged/ns_values.h"
#include "tests/sim/sim_view.h"

static struct sim_store *stores[SIM_NODES];

/* --- what it is called with --- */

static void store_hold(void *arg, bool on)
{
	struct sim_proc *p = arg;

	if (on)
		log_clean_hold(p->store->clean);
	else
		log_clean_release(p->store->clean);
}

static void store_value_rot(void *arg, uint16_t group, uint64_t gen,
			    uint64_t off)
{
	struct sim_proc *p = arg;

	if (sim_cluster_disk_bad(p->c, p->node))
		return; /* the read is answered with IO */
	sim_fail(p->c, "node %u group %u: a value at %llx:%llu is not there",
		 p->node, group, (unsigned long long)gen,
		 (unsigned long long)off);
}

bool sim_store_is_cut(const struct rows_back *back)
{
	for (unsigned i = 0; i < SIM_NODES; i++)
		if (stores[i] != NULL && stores[i]->back == back)
			return sim_cluster_cut(stores[i]->at->c, i);
	return false;
}

/* --- rows and row snapshots --- */

void sim_store_lose_rows(struct sim_proc *at, unsigned permille,
			 struct rows_mem_image **image,
			 struct rows_mem_image *old)
{
	struct sim *s = sim_cluster_sim(at->c);

	if (!sim_chance(s, permille))
		return;
	rows_mem_image_free(*image);
	*image = old != NULL && sim_chance(s, 50) ? rows_mem_image_copy(old)
						  : rows_mem_image_new();
	sim_trace(s, "rows lost node=%u", at->node);
}

int sim_store_open(struct sim_store *st, struct sim_proc *at,
		   struct rows_mem_image *image, struct sim_ask **asks,
		   struct shard_config *config, struct errbuf *e)
{
	static unsigned lives;
	int rv = sim_proc_open_super(at, e);

	if (rv != 0)
		return rv;
	*st = (struct sim_store){ .at = at, .life = ++lives, .asks = asks };
	at->store = st;
	if (rows_back_mem(image, &st->back) != 0)
		abort();
	stores[at->node] = st;
	rv = raft_start_open(at->env->vfs, "/snap", at->super.store, st->back,
			     &st->start, e);
	if (rv != 0) {
		stores[at->node] = NULL;
		rows_back_close(st->back);
		return rv;
	}
	config->back = st->back;
	config->id = at->super.raft_id;
	config->start = st->start;
	config->snap_dir = "/snap";
	config->store = at->super.store;
	config->hold = store_hold;
	config->rot = store_value_rot;
	config->send = sim_proc_send;
	config->ask = sim_snap_ask;
	return 0;
}

/* --- the log --- */

static int store_record(void *arg, const struct seg_rec *rec)
{
	struct sim_proc *p = arg;
	int rv = log_doubt_record(p->store->doubt, rec);

	return rv == 0 ? shard_set_recover(p->store->set, rec) : rv;
}

static void store_rot(void *arg, const struct seg_rot *rot)
{
	struct sim_proc *p = arg;

	sim_proc_check_rot(p, rot);
	sim_cluster_count(p->c, SIM_N_ROT, 1);
	log_doubt_rot(p->store->doubt, rot);
	shard_set_recover_rot(p->store->set, rot);
}

static int store_scan_from(void *arg, const struct seg_rec *start,
			   uint64_t *ret_gen)
{
	struct sim_proc *p = arg;
	struct sim_store *st = p->store;
	struct errbuf e = { "" };
	int rv = raft_start_from(st->start, start, ret_gen, &e);

	if (rv != 0 && rv != -ENOMEM && !sim_cluster_disk_bad(p->c, p->node))
		sim_fail(p->c, "node %u: %s", p->node, e.text);
	sim_cluster_count(p->c, SIM_N_DOUBTS, raft_start_n_doubts(st->start));
	if (rv == 0 && *ret_gen > 1)
		sim_cluster_count(p->c, SIM_N_SHORT_STARTS, 1);
	return rv == 0 ? raft_start_recover(st->start, start, p->host) : rv;
}

int sim_store_open_log(struct sim_store *st, struct errbuf *e)
{
	const struct seg_config config = {
		.on_record = store_record,
		.on_rot = store_rot,
		.scan_from = store_scan_from,
	};
	struct sim_proc *at = st->at;
	int rv = log_doubt_new(st->start, st->back, &st->doubt);
	struct seg_stats stats;

	if (rv != 0)
		abort();
	rv = sim_proc_open_log(at, &config, e);
	if (rv == 0)
		rv = log_doubt_settle(st->doubt, at->log);
	log_doubt_free(st->doubt);
	st->doubt = NULL;
	if (rv != 0)
		return rv;
	seg_head_stats(at->log, &stats);
	st->segments = stats.segments;
	sim_proc_open_port(at);
	shard_set_log(st->set, at->log, at->port);
	return 0;
}

/* --- the cleaner: segments of the log that nobody needs go, now and then --- */

void sim_store_open_clean(struct sim_store *st, uint64_t pinned)
{
	const struct log_clean_loop loop = { st->at->env, st->set };
	const struct log_clean_config lc = {
		.loops = &loop, .n_loops = 1,
		.log = st->at->log, .port = st->at->port,
		.pinned = pinned,
	};
	const struct compact_config cc = { .env = st->at->env };
	struct compact_head head;

	if (compact_new(&cc, &st->compact) != 0 ||
	    log_clean_new(&lc, &st->clean, &head) != 0)
		abort();
	compact_add_head(st->compact, &head);
}

/* --- the end --- */

static void store_count(struct sim_store *st)
{
	struct raft_snaps *snaps = shard_set_snaps(st->set);
	struct sim_cluster *c = st->at->c;
	struct raft_snaps_stats snap;
	struct compact_info info;
	struct shard_stats shard;
	struct seg_stats seg;

	shard_set_stats(st->set, &shard);
	sim_cluster_count(c, SIM_N_LATE_READS, shard.late_reads);
	sim_cluster_count(c, SIM_N_PARKS, shard.parks);
	sim_cluster_count(c, SIM_N_CHECKPOINTS, shard.checkpoints);
	sim_cluster_count(c, SIM_N_MERGES, shard.merges);
	sim_cluster_count(c, SIM_N_QUEUE, shard.queue_done);
	sim_cluster_count(c, SIM_N_INSTALLS, shard.snaps_in);
	sim_cluster_count(c, SIM_N_FETCH_FAILS, shard.snaps_failed);
	sim_cluster_count(c, SIM_N_FAR, shard.far);
	sim_cluster_count(c, SIM_N_FAR_AGAIN, shard.far_again);
	sim_cluster_count(c, SIM_N_HOST_SPLITS, shard.dir_splits);
	sim_cluster_count(c, SIM_N_LOCK_WAITS, shard.lock_waits);
	if (st->at->log != NULL) {
		seg_head_stats(st->at->log, &seg);
		sim_cluster_count(c, SIM_N_SEGMENTS,
				  seg.segments - st->segments);
	}
	if (snaps != NULL) {
		raft_snaps_stats(snaps, &snap);
		sim_cluster_count(c, SIM_N_SNAPSHOTS, snap.files);
	}
	if (st->compact != NULL) {
		compact_get_info(st->compact, &info);
		sim_cluster_count(c, SIM_N_CLEANED, info.freed);
	}
}

void sim_store_tidy(struct sim_store *st, struct sim *s, bool lags, bool cleans)
{
	if (sim_chance(s, lags ? 100 : 15))
		(void)shard_set_checkpoint(st->set, NULL, NULL);
	if (sim_chance(s, 20))
		(void)rows_back_checkpoint(st->back);
	if (cleans && sim_chance(s, lags ? 15 : 3))
		compact_start(st->compact, UINT64_MAX);
}

void sim_store_close(struct sim_store *st, bool crash)
{
	stores[st->at->node] = NULL;
	store_count(st);
	sim_proc_close_log(st->at, crash);
	log_clean_free(st->clean);
	compact_free(st->compact);
	shard_set_free(st->set);
	seg_port_free(st->at->port);
	raft_start_free(st->start);
	rows_back_close(st->back);
}

void sim_store_died(unsigned node)
{
	stores[node] = NULL;
}

/* --- values --- */

static int store_check_value(void *arg, const struct ns_value_at *v)
{
	struct sim_proc *p = arg;
	uint8_t *bytes = sim_zalloc(v->len + 1u);
	int rv = seg_read(p->log, v->gen, v->off, bytes, v->len, 0);
	XXH128_hash_t h = XXH3_128bits(bytes, v->len);

	free(bytes);
	if (!sim_cluster_disk_bad(p->c, p->node) &&
	    (rv != 0 || h.high64 != v->hash.hi || h.low64 != v->hash.lo))
		sim_fail(p->c, "node %u: rows name a value at %llx:%llu, which "
			 "is not there", p->node, (unsigned long long)v->gen,
			 (unsigned long long)v->off);
	return 0;
}

void sim_store_check_values(struct sim_store *st, unsigned n)
{
	const uint8_t from[2] = { 0, 1 };
	const uint8_t to[2] = { (uint8_t)((n + 1) >> 8), (uint8_t)(n + 1) };
	struct wire_bytes key, row;
	struct rows_iter *it;
	int rv;

	if (rows_iter_new(st->back, wire_bytes(from, 2), wire_bytes(to, 2),
			  &it) != 0)
		abort();
	while ((rv = rows_iter_next(it, &key, &row)) == 0)
		if (key.len > 2 && ns_has_values(key.p[2]) &&
		    ns_values_each(key.p[2], row, store_check_value, st->at) !=
			    0)
			sim_fail(st->at->c, "node %u: no such row",
				 st->at->node);
	if (rv != -ENOENT)
		abort();
	rows_iter_free(it);
}

void sim_store_check_start(struct sim_store *st, unsigned n)
{
	if (raft_start_n_doubts(st->start) == 0)
		sim_store_check_values(st, n);
}

/* --- states of replicas --- */

static void states_check(struct sim_states *states, struct sim_store *st,
			 uint16_t shard, uint64_t index, struct wire_u128 hash)
{
	for (unsigned i = states->n; i > 0; i--) {
		const struct sim_state *x = &states->v[i - 1];

		if (x->index != index)
			continue;
		if (x->hash.hi != hash.hi || x->hash.lo != hash.lo)
			sim_fail(st->at->c, "node %u group %u: another state "
				 "at %llu", st->at->node, shard,
				 (unsigned long long)index);
		return;
	}
	states->v = sim_grow(states->v, states->n, &states->cap,
			     sizeof *states->v);
	states->v[states->n++] = (struct sim_state){ index, hash };
}

/* Rows of index: sound, and those of others. */
static void states_see(struct sim_states *states, struct sim_store *st,
		       struct rows_back *back, uint16_t shard, uint64_t index)
{
	struct wire_u128 hash;

	if (ns_hash(back, shard, &hash) != 0 ||
	    ns_check(back, shard, sim_proc_finding, st->at) != 0)
		sim_fail(st->at->c, "node %u: rows cannot be read",
			 st->at->node);
	states_check(states, st, shard, index, hash);
}

uint64_t sim_store_check_rows(struct sim_store *st, uint16_t shard,
			      struct sim_states *states)
{
	uint64_t index = 0;
	int64_t now;

	if (shard_read_applied(st->back, shard, &index, &now) != 0)
		sim_fail(st->at->c, "node %u: rows cannot be read",
			 st->at->node);
	states_see(states, st, st->back, shard, index);
	return index;
}

void sim_store_applied(struct sim_store *st, uint16_t shard, uint64_t index,
		       struct sim_states *states)
{
	struct sim_view view;

	if (st->every == 0 || index % st->every != 0)
		return;
	sim_cluster_count(st->at->c, SIM_N_STATES, 1);
	sim_view_init(&view, shard_set_rows(st->set));
	states_see(states, st, &view.back, shard, index);
}

uint64_t sim_store_every(uint64_t seed)
{
	static const uint64_t every[] = { 0, 40, 0, 7, 0, 0, 1, 0 };

	return every[seed / 3 % 8];
}

void sim_states_cut(struct sim_states *states, uint64_t index)
{
	unsigned n = 0;

	for (unsigned i = 0; i < states->n; i++)
		if (states->v[i].index <= index)
			states->v[n++] = states->v[i];
	states->n = n;
}

void sim_states_fini(struct sim_states *states)
{
	free(states->v);
}
