/*
 * The set of shards of a loop: start-up, roles, apply.
 *
 * Apply runs a command over a txn. When rows are missing it parks: the txn
 * loads them on a worker, the host keeps the group's later entries, then the
 * command runs again. The applied index is written with each command, so rows
 * always say which prefix of the log they hold.
 */
#include "storaged/shard_snap.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

/* --- how far the rows are --- */

int shard_read_applied(struct rows_back *back, uint16_t group,
		       uint64_t *ret_index, int64_t *ret_now)
{
	struct rows_applied a;
	int rv = rows_applied_read(back, group, &a);

	if (rv != 0)
		return rv;
	*ret_index = a.index;
	*ret_now = a.now;
	rows_applied_fini(&a);
	return 0;
}

static int shard_put_applied(struct rows_txn *t, const struct shard_group *g,
			     uint64_t index, uint64_t term)
{
	struct rows_applied a = {
		.index = index, .term = term, .now = g->last_now,
		.moved = raft_group_moved(g->raft),
	};

	return rows_applied_put(t, g->id, &a);
}

int shard_commit_moved(struct shard_group *g, struct rows_txn *t)
{
	bool passed = g->passed > g->applied;
	struct rows_applied a = {
		.index = passed ? g->passed : g->applied,
		.term = passed ? g->passed_term : g->applied_term,
		.now = g->last_now,
		.moved = raft_group_next_moved(g->raft),
	};
	int rv = rows_applied_put(t, g->id, &a);

	if (rv == 0)
		rv = rows_txn_commit(t);
	if (rv != 0)
		return rv;
	g->applied = a.index;
	g->applied_term = a.term;
	raft_group_set_moved(g->raft, a.moved);
	return 0;
}

/*
 * No command: the row moves with the next one, or with the next checkpoint. A
 * configuration is written at once, with the index that it belongs to.
 */
static int shard_passed(void *arg, struct raft_group *raft,
			const struct raft_passed *p)
{
	struct shard_set *set = arg;
	struct shard_group *g = raft_group_user(raft);
	int rv;

	g->passed = p->index;
	g->passed_term = p->term;
	if (p->conf.len == 0)
		return 0;
	rv = rows_applied_put_conf(set->txn, g->id, p->index, p->conf);
	if (rv == 0)
		rv = shard_put_applied(set->txn, g, p->index, p->term);
	if (rv == 0)
		rv = rows_txn_commit(set->txn);
	if (rv == 0) {
		g->applied = p->index;
		g->applied_term = p->term;
	}
	return rv;
}

static int shard_check_begin(void *arg)
{
	struct shard_set *set = arg;
	int rv = 0;

	for (struct shard_group *g = set->groups; g != NULL && rv == 0;
	     g = g->next)
		if (g->passed > g->applied && !g->installing)
			rv = shard_put_applied(set->txn, g, g->passed,
					       g->passed_term);
	if (rv != 0) {
		rows_txn_reset(set->txn);
		return rv;
	}
	rv = rows_txn_commit(set->txn);
	for (struct shard_group *g = set->groups; g != NULL && rv == 0;
	     g = g->next)
		if (g->passed > g->applied) {
			g->applied = g->passed;
			g->applied_term = g->passed_term;
		}
	return rv;
}

void shard_derived_fini(struct shard_derived *d)
{
	rows_applied_fini(&d->at);
	ns_locks_free(d->locks);
	memset(d, 0, sizeof *d);
}

int shard_rows_load(const struct shard_group *g, struct shard_derived *ret)
{
	struct rows_back *back = g->set->config.back;
	int rv;

	memset(ret, 0, sizeof *ret);
	ret->locks = ns_locks_new();
	rv = ret->locks == NULL ? -ENOMEM
				: ns_locks_load(ret->locks, back, g->id);
	if (rv == 0)
		rv = rows_applied_read(back, g->id, &ret->at);
	if (rv != 0)
		shard_derived_fini(ret);
	return rv;
}

void shard_rows_replaced(struct shard_group *g, struct shard_derived *d)
{
	g->applied = d->at.index;
	g->applied_term = d->at.term;
	g->passed = g->passed_term = 0;
	g->last_now = d->at.now;
	shard_party_replaced(g, d->locks);
	d->locks = NULL;
}

/* --- apply --- */

static void shard_unpark(void *arg, int status)
{
	struct shard_group *g = arg;

	/* without memory the command runs again, misses again, tries again */
	if (status != 0 && status != -ENOMEM)
		fatal_abort("shard=%u: rows cannot be read: %s", g->id,
			    strerror(-status));
	raft_group_resume(g->raft);
}

static int shard_park(struct shard_group *g, struct rows_txn *t)
{
	g->parked = t;
	g->dry = SHARD_DRY_RUNS;
	g->set->stats.parks++;
	rows_txn_load(t, shard_unpark, g);
	return -EAGAIN;
}

int shard_apply(void *arg, struct raft_group *raft,
		const struct raft_cmd *cmd)
{
	struct shard_set *set = arg;
	struct shard_group *g = raft_group_user(raft);
	struct shard_op *op = cmd->submit == NULL
		? NULL
		: CONTAINER_OF(cmd->submit, struct shard_op, submit);
	struct ns_answer *answer = op != NULL ? &op->answer : &g->answer;
	struct rows_txn *t = g->parked;
	struct ns_cmd c;
	int rv;

	if (t == NULL)
		t = op != NULL && op->txn != NULL ? op->txn : g->txn;
	g->parked = NULL;
	rv = ns_cmd_decode(&c, cmd->data, cmd->len, cmd->gen, cmd->data_off);
	if (rv != 0)
		goto fail;
	c.shard = g->id;
	c.term = cmd->term;
	c.locks = g->locks;
	ns_answer_fini(answer);
	ns_answer_init(answer);
	rv = ns_apply(t, &c, answer);
	if (rv == -EAGAIN)
		return shard_park(g, t);
	if (rv != 0)
		goto fail;
	if (c.now > g->last_now)
		g->last_now = c.now;
	rv = shard_put_applied(t, g, cmd->index, cmd->term);
	if (rv == 0)
		rv = rows_txn_commit(t);
	if (rv == 0)
		rv = ns_locks_applied(g->locks, &c, answer);
	if (rv != 0)
		goto fail;
	g->applied = cmd->index;
	g->applied_term = cmd->term;
	raft_check_note(set->check, cmd->len + SEG_HEADER_LEN);
	if (answer->queued)
		shard_queue_wake(g);
	if (answer->grown.n > 0)
		shard_merge_note(g, answer);
	if (answer->large.entries > 0)
		shard_split_note(g, answer);
	if (answer->kept != 0)
		shard_kept(g, answer->kept);
	if (c.tag == RPC_TAG_session_end && answer->status == RPC_STATUS_OK)
		shard_sessions_ended(g, &c);
	if (c.tag == RPC_TAG_txn_end && answer->status == RPC_STATUS_OK)
		shard_locks_ended(g, &c);
	if (op != NULL)
		shard_write_applied(op);
	if (g->locks->parties != NULL || g->locked != NULL)
		shard_party_applied(g);
	return 0;
fail:
	log_warn(rv, "shard=%u index=%llu: command cannot be applied", g->id,
		 (unsigned long long)cmd->index);
	return rv == -EAGAIN ? -EIO : rv;
}

/* --- roles --- */

static void shard_on_role(void *arg, struct raft_group *raft, bool leader)
{
	struct shard_set *set = arg;
	struct shard_group *g = raft_group_user(raft);

	if (set->closing)
		return;
	g->leader = leader;
	opens_fini(&g->opens);
	g->open_round++;
	shard_sweep_stop(g);
	shard_merge_stop(g);
	shard_split_stop(g);
	shard_queue_stop(g);
	shard_queue_wake(g); /* what an earlier leader left */
	g->grace_until = 0;
	if (leader && !g->fresh) {
		g->grace_until = env_now_ns(set->env) + set->config.grace_ns;
		shard_sweep_later(g, set->config.grace_ns);
	}
	g->fresh = false;
	shard_party_role(g);
	if (set->config.role != NULL)
		set->config.role(set->config.arg, g->id, leader);
}

static void shard_on_send(void *arg, uint64_t to, const uint8_t *frame,
			  size_t len)
{
	struct shard_set *set = arg;

	set->config.send(set->config.arg, to, frame, len);
}

static uint64_t shard_on_room(void *arg)
{
	struct shard_set *set = arg;

	return set->config.room(set->config.arg);
}

/* --- life --- */

void shard_hold(struct shard_set *set, bool on)
{
	if (set->config.hold != NULL)
		set->config.hold(set->config.arg, on);
}

static bool shard_owns(void *arg, uint16_t group)
{
	struct shard_set *set = arg;

	return set->config.owns(set->config.arg, group);
}

static void shard_tidied(void *arg)
{
	struct shard_set *set = arg;

	if (set->config.tidied != NULL)
		set->config.tidied(set->config.arg);
}

static void shard_check_ended(void *arg)
{
	struct shard_set *set = arg;

	if (set->snaps != NULL)
		raft_snaps_tick(set->snaps);
	shard_tidied(set);
}

/* Checkpoints, and the txn in which applied indexes move without a command. */
static int shard_set_check(struct shard_set *set)
{
	struct raft_check_config config = {
		.env = set->env,
		.host = set->host,
		.rows = set->rows,
		.back = set->config.back,
		.begin = shard_check_begin,
		.ended = shard_check_ended,
		.arg = set,
	};

	set->txn = rows_txn_new(set->rows);
	return set->txn == NULL ? -ENOMEM
				: raft_check_new(&config, &set->check);
}

int shard_set_new(const struct shard_config *config,
		  struct shard_set **ret_set)
{
	struct shard_set *set = mem_zalloc(sizeof *set);
	struct raft_host_config host = {
		.env = config->env,
		.id = config->id,
		.election_ms = config->election_ms,
		.heartbeat_ms = config->heartbeat_ms,
		.read_barrier = config->read_barrier,
		.cache_bytes = config->entry_cache,
		.apply = shard_apply,
		.passed = shard_passed,
		.owns = config->owns == NULL ? NULL : shard_owns,
		.role = shard_on_role,
		.send = config->send == NULL ? NULL : shard_on_send,
		.room = config->room == NULL ? NULL : shard_on_room,
		.tail = config->tail,
		.carry = config->carry,
		.arg = set,
	};
	int rv;

	if (config->ask != NULL && config->snap_dir != NULL) {
		host.lags = shard_on_lags;
		host.install = shard_on_install;
		host.forget_followers = true;
	}

	if (set == NULL)
		return -ENOMEM;
	set->config = *config;
	if (config->grace_ns == 0)
		set->config.grace_ns = SHARD_GRACE_NS;
	set->env = config->env;
	if (set->config.snap_piece == 0 || set->config.snap_piece > SNAP_PIECE)
		set->config.snap_piece = SNAP_PIECE;
	rv = rows_new(set->env, config->back, config->rows_cache, &set->rows);
	if (rv == 0)
		rv = raft_host_new(&host, &set->host);
	if (rv == 0)
		rv = shard_set_check(set);
	if (rv != 0) {
		shard_set_free(set);
		return rv;
	}
	raft_gate_init(&set->gate, set->host, set->rows);
	*ret_set = set;
	return 0;
}

static void shard_group_free(struct shard_group *g)
{
	shard_fetch_free(g->fetch);
	shard_sweep_free(g);
	shard_queue_free(g);
	shard_merge_free(g);
	shard_split_free(g);
	shard_party_free(g);
	opens_fini(&g->opens);
	rows_txn_free(g->txn);
	ns_answer_fini(&g->answer);
	mem_free(g);
}

void shard_set_free(struct shard_set *set)
{
	struct shard_group *g;

	if (set == NULL)
		return;
	set->closing = true;
	raft_check_free(set->check);
	raft_snaps_free(set->snaps);
	if (set->host != NULL)
		raft_host_free(set->host); /* ends submits; nobody is told */
	while (set->ops != NULL)
		shard_op_finish(set->ops, RPC_STATUS_UNAVAILABLE);
	shard_serve_free(set);
	while ((g = set->groups) != NULL) {
		set->groups = g->next;
		shard_group_free(g);
	}
	while (set->n_pool > 0)
		rows_txn_free(set->pool[--set->n_pool]);
	rows_txn_free(set->txn);
	rows_free(set->rows);
	mem_free(set);
}

int shard_set_recover(struct shard_set *set, const struct seg_rec *rec)
{
	return raft_host_recover(set->host, rec);
}

void shard_set_recover_rot(struct shard_set *set, const struct seg_rot *rot)
{
	raft_host_recover_rot(set->host, rot);
}

void shard_set_log(struct shard_set *set, struct seg_head *log,
		   struct seg_port *port)
{
	set->log = log;
	set->port = port;
	raft_host_set_log(set->host, log, port);
}

struct shard_group *shard_find(struct shard_set *set, uint16_t group)
{
	struct shard_group *g = set->by_id[group % SHARD_HASH];

	while (g != NULL && g->id != group)
		g = g->hash_next;
	return g;
}

/* What its rows say, as the Raft host wants it. */
static int shard_open_group(struct shard_group *g, const uint64_t *voters,
			    unsigned n_voters, struct errbuf *e)
{
	struct shard_set *set = g->set;
	struct raft_group_config config = {
		.group = g->id, .voters = voters, .n_voters = n_voters,
		.user = g,
	};
	struct shard_derived d;
	int rv = shard_rows_load(g, &d);

	if (rv != 0)
		return errbuf_set(e, rv, "shard %u: its rows cannot be read",
				  g->id);
	shard_rows_replaced(g, &d);
	config.moved = d.at.moved;
	config.applied = d.at.index;
	config.term = d.at.term;
	config.conf_index = d.at.conf_index;
	config.conf = wire_bytes(d.at.conf, d.at.conf_len);
	rv = raft_host_open_group(set->host, &config, &g->raft, e);
	shard_derived_fini(&d);
	return rv;
}

int shard_open(struct shard_set *set, uint16_t group, const uint64_t *voters,
	       unsigned n_voters, struct errbuf *e)
{
	struct shard_group *g = mem_zalloc(sizeof *g);
	int rv;

	assert(shard_find(set, group) == NULL);
	if (g == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	g->set = set;
	g->id = group;
	opens_init(&g->opens);
	ns_answer_init(&g->answer);
	shard_queue_init(g);
	shard_merge_init(g);
	shard_split_init(g);
	/* nobody else can have led it, so nobody told anybody of opens */
	g->fresh = n_voters == 1 && voters[0] == set->config.id &&
		   !raft_host_has_group(set->host, group);
	g->txn = rows_txn_new(set->rows);
	rv = g->txn != NULL ? shard_open_group(g, voters, n_voters, e)
			    : errbuf_set(e, -ENOMEM, "out of memory");
	if (rv != 0) {
		shard_group_free(g);
		return rv;
	}
	g->next = set->groups;
	set->groups = g;
	g->hash_next = set->by_id[group % SHARD_HASH];
	set->by_id[group % SHARD_HASH] = g;
	return 0;
}

int shard_set_start(struct shard_set *set)
{
	struct raft_snaps_config config = {
		.env = set->env,
		.host = set->host,
		.rows = set->rows,
		.back = set->config.back,
		.dir = set->config.snap_dir,
		.store = set->config.store,
		.start = set->config.start,
		.min_bytes = set->config.snap_bytes,
		.begin = shard_check_begin,
		.ended = shard_tidied,
		.arg = set,
	};
	struct raft_snaps *snaps = NULL;
	int rv = raft_host_start(set->host);

	if (rv == 0 && config.dir != NULL)
		rv = raft_snaps_new(&config, &snaps);
	/* other loops ask it (log_clean.c) */
	__atomic_store_n(&set->snaps, snaps, __ATOMIC_RELEASE);
	raft_check_start(set->check);
	return rv;
}

int shard_set_flush(struct shard_set *set)
{
	return rows_flush(set->rows);
}

int shard_set_checkpoint(struct shard_set *set,
			 void (*done)(void *arg, int status), void *arg)
{
	return raft_check_now(set->check, done, arg);
}

struct raft_host *shard_set_host(struct shard_set *set)
{
	return set->host;
}

struct raft_snaps *shard_set_snaps(struct shard_set *set)
{
	return __atomic_load_n(&set->snaps, __ATOMIC_ACQUIRE);
}

struct rows *shard_set_rows(struct shard_set *set)
{
	return set->rows;
}

struct raft_group *shard_group(struct shard_set *set, uint16_t group)
{
	struct shard_group *g = shard_find(set, group);

	return g != NULL ? g->raft : NULL;
}

void shard_set_counts(const struct shard_set *set, struct store_counts *sum)
{
#define SHARD_COUNT_ADD(name, help) \
	sum->name += __atomic_load_n(&set->stats.name, __ATOMIC_RELAXED);
	STORE_COUNTS(SHARD_COUNT_ADD)
#undef SHARD_COUNT_ADD
}

void shard_set_stats(const struct shard_set *set, struct shard_stats *ret)
{
	*ret = set->stats;
	ret->checkpoints = raft_check_count(set->check);
	ret->opens = ret->queue_rows = 0;
	for (const struct shard_group *g = set->groups; g != NULL;
	     g = g->next) {
		ret->opens += g->opens.n;
		ret->queue_rows += g->leader ? g->queue.seen : 0;
	}
}
