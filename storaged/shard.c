/*
 * The set of shards of a loop: start-up, roles, apply.
 *
 * Apply runs a command over a txn. When rows are missing it parks: the txn
 * loads them on a worker, the host keeps the group's later entries, then the
 * command runs again. The applied index is written with each command, so rows
 * always say which prefix of the log they hold.
 */
#include "storaged/shard_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

/* --- the applied row --- */

void shard_applied_key(uint16_t group, uint8_t out[SHARD_APPLIED_KEY])
{
	out[0] = (uint8_t)(group >> 8);
	out[1] = (uint8_t)group;
	out[2] = 0;
	memcpy(out + 3, "applied", 7);
}

#define SHARD_ROW_APPLIED(F) F(u64, index) F(i64, now)
WIRE_STRUCT(shard, row_applied, SHARD_ROW_APPLIED)
WIRE_IMPL(shard, row_applied, SHARD_ROW_APPLIED)

int shard_read_applied(struct rows_back *back, uint16_t group,
		       uint64_t *ret_index, int64_t *ret_now)
{
	uint8_t key[SHARD_APPLIED_KEY], *value = NULL;
	struct shard_row_applied row = { 0, 0 };
	size_t len = 0;
	int rv;

	shard_applied_key(group, key);
	rv = rows_back_get(back, wire_bytes(key, sizeof key), &value, &len);
	if (rv == -ENOENT)
		rv = 0;
	else if (rv == 0)
		rv = shard_row_applied_decode(&row, value, len) == 0 ? 0 : -EIO;
	mem_free(value);
	if (rv != 0)
		return rv;
	*ret_index = row.index;
	*ret_now = row.now;
	return 0;
}

static int shard_put_applied(struct rows_txn *t, const struct shard_group *g,
			     uint64_t index)
{
	struct shard_row_applied row = { index, g->last_now };
	uint8_t key[SHARD_APPLIED_KEY];
	struct buf b;
	int rv;

	shard_applied_key(g->id, key);
	buf_init(&b, 0);
	rv = shard_row_applied_encode(&row, &b);
	if (rv == 0)
		rv = rows_put(t, wire_bytes(key, sizeof key),
			      wire_bytes(b.data, b.len));
	buf_fini(&b);
	return rv;
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
	ns_answer_fini(answer);
	ns_answer_init(answer);
	rv = ns_apply(t, &c, answer);
	if (rv == -EAGAIN)
		return shard_park(g, t);
	if (rv != 0)
		goto fail;
	if (c.now > g->last_now)
		g->last_now = c.now;
	rv = shard_put_applied(t, g, cmd->index);
	if (rv == 0)
		rv = rows_txn_commit(t);
	if (rv != 0)
		goto fail;
	g->applied = cmd->index;
	g->changed = true;
	shard_check_note(set, cmd->len + SEG_HEADER_LEN);
	if (answer->queued)
		shard_queue_wake(g);
	if (op != NULL)
		shard_write_applied(op);
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
	shard_sweep_stop(g);
	shard_queue_stop(g);
	shard_queue_wake(g); /* what an earlier leader left */
	g->grace_until = 0;
	if (leader && !g->fresh) {
		g->grace_until = env_now_ns(set->env) + SHARD_GRACE_NS;
		shard_sweep_later(g, SHARD_GRACE_NS);
	}
	g->fresh = false;
	if (set->config.role != NULL)
		set->config.role(set->config.arg, g->id, leader);
}

static void shard_on_send(void *arg, uint64_t to, const uint8_t *frame,
			  size_t len)
{
	struct shard_set *set = arg;

	set->config.send(set->config.arg, to, frame, len);
}

/* --- life --- */

int shard_set_new(const struct shard_config *config,
		  struct shard_set **ret_set)
{
	struct shard_set *set = mem_zalloc(sizeof *set);
	struct raft_host_config host = {
		.env = config->env,
		.id = config->id,
		.election_ms = config->election_ms,
		.heartbeat_ms = config->heartbeat_ms,
		.cache_bytes = config->entry_cache,
		.apply = shard_apply,
		.role = shard_on_role,
		.send = config->send == NULL ? NULL : shard_on_send,
		.arg = set,
	};
	int rv;

	if (set == NULL)
		return -ENOMEM;
	set->config = *config;
	set->env = config->env;
	rv = rows_new(set->env, config->back, config->rows_cache, &set->rows);
	if (rv == 0)
		rv = raft_host_new(&host, &set->host);
	if (rv == 0)
		rv = shard_check_init(set);
	if (rv != 0) {
		shard_set_free(set);
		return rv;
	}
	*ret_set = set;
	return 0;
}

static void shard_group_free(struct shard_group *g)
{
	shard_sweep_free(g);
	shard_queue_free(g);
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
	shard_check_fini(set);
	if (set->host != NULL)
		raft_host_free(set->host); /* ends submits; nobody is told */
	while (set->ops != NULL)
		shard_op_finish(set->ops, RPC_STATUS_UNAVAILABLE);
	while ((g = set->groups) != NULL) {
		set->groups = g->next;
		shard_group_free(g);
	}
	while (set->n_pool > 0)
		rows_txn_free(set->pool[--set->n_pool]);
	rows_free(set->rows);
	mem_free(set);
}

int shard_set_recover(struct shard_set *set, const struct seg_rec *rec)
{
	if (rec->type != SEG_ENTRY && rec->type != SEG_HARD)
		return 0;
	return raft_host_recover(set->host, rec);
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

int shard_open(struct shard_set *set, uint16_t group, const uint64_t *voters,
	       unsigned n_voters, struct errbuf *e)
{
	struct raft_group_config config = {
		.group = group, .voters = voters, .n_voters = n_voters,
	};
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
	g->fresh = !raft_host_has_group(set->host, group);
	g->txn = rows_txn_new(set->rows);
	rv = g->txn != NULL ? shard_read_applied(set->config.back, group,
						 &g->applied, &g->last_now)
			    : -ENOMEM;
	if (rv != 0) {
		errbuf_set(e, rv, "shard %u: its rows cannot be read", group);
		shard_group_free(g);
		return rv;
	}
	config.applied = g->applied;
	config.user = g;
	rv = raft_host_open_group(set->host, &config, &g->raft, e);
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
	shard_check_start(set);
	return raft_host_start(set->host);
}

int shard_set_flush(struct shard_set *set)
{
	return rows_flush(set->rows);
}

void shard_set_applied(struct shard_set *set, struct buf *out)
{
	struct wire_writer w = { out };

	for (struct shard_group *g = set->groups; g != NULL; g = g->next) {
		wire_put_u16(&w, &g->id);
		wire_put_u64(&w, &g->applied);
	}
}

struct raft_host *shard_set_host(struct shard_set *set)
{
	return set->host;
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

void shard_set_stats(const struct shard_set *set, struct shard_stats *ret)
{
	*ret = set->stats;
	ret->opens = ret->queue_rows = 0;
	for (const struct shard_group *g = set->groups; g != NULL;
	     g = g->next) {
		ret->opens += g->opens.n;
		ret->queue_rows += g->leader ? g->queue.seen : 0;
	}
}
