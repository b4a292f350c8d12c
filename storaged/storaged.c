/*
 * Joining the managers.
 *
 *   JOINING -> (STORE_JOIN answered) -> STARTING -> (shards lead) -> UP
 *
 * Failure modes: the managers do not answer: tried again every half second;
 * they refuse: the process ends; heartbeats fail: tried again with the next,
 * the store serves on.
 */
#include "storaged/storaged.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/base/daemon.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mem.h"

#define STORAGED_RETRY_NS 500000000u
#define STORAGED_BEAT_NS 5000000000u

enum storaged_state { STORAGED_JOINING, STORAGED_STARTING, STORAGED_UP };

struct storaged {
	enum storaged_state state;
	struct env *env;
	struct store *store;
	struct rpc_peer_link *manager;
	struct rpc_peer_link *self; /* to the shards that we lead: all */
	orphans_done_fn ask_done;   /* of the message of the store's own */
	void *ask_arg;
	char *addr;
	char host[65];
	uint64_t epoch;
	bool is_check;
	struct env_timer timer;
	void (*ready)(void *arg);
	void *ready_arg;
};

static void storaged_on_timer(struct env_timer *timer);

#define STORAGED_CACHE_SHARE 8 /* of memory, all loops together */
#define STORAGED_CACHE_MIN ((uint64_t)8 << 20)

/*
 * Bytes of rows to keep per loop. A row that is not there costs as much as the
 * rest of a small read; names read at random find theirs when there is room for
 * all (some 800 bytes each). What nobody reads goes back (rows.h).
 */
static size_t storaged_rows_cache(struct loop_set *loops)
{
	uint64_t n = daemon_memory() / STORAGED_CACHE_SHARE /
		     loop_set_size(loops);

	return n < STORAGED_CACHE_MIN ? STORAGED_CACHE_MIN : (size_t)n;
}

/* --- messages of the store's own (store.h) --- */

static void storaged_on_answer(void *arg, const struct rpc_reply *reply)
{
	struct storaged *s = arg;

	s->ask_done(s->ask_arg, reply->status,
		    wire_bytes(reply->payload, reply->len));
}

static int storaged_send_for_store(void *arg, uint16_t tag, uint16_t shard,
				   struct buf *payload, orphans_done_fn done,
				   void *done_arg)
{
	struct storaged *s = arg;
	struct rpc_send send = {
		.tag = tag,
		.group = shard,
		.payload = payload,
		.done = storaged_on_answer,
		.arg = s,
	};

	s->ask_done = done;
	s->ask_arg = done_arg;
	return rpc_link_send(rpc_info(tag)->kind == 'G' ? s->manager : s->self,
			     &send) != NULL
		       ? 0
		       : -ENOMEM;
}

int storaged_open(const struct storaged_config *config,
		  struct storaged **ret_storaged, struct errbuf *e)
{
	struct storaged *s = mem_zalloc(sizeof *s);
	struct loop *loop = loop_set_get(config->loops, 0);
	struct store_config sc = {
		.loops = config->loops,
		.server = config->server,
		.dir = config->dir,
		.rows_cache = storaged_rows_cache(config->loops),
		.log_segment = config->settings.segment_size,
		.bulk_segment = config->settings.segment_size,
		.reader_lease_ns = config->settings.reader_lease_ms * 1000000,
		.opens_grace_ns = config->settings.opens_grace_ms * 1000000,
		.compact_rate = config->settings.compact_rate,
		.compact_threshold =
			(unsigned)config->settings.compact_threshold,
		.compact_min_dead = config->settings.compact_min_dead,
		.send = storaged_send_for_store,
		.send_arg = s,
		.orphans_period_ns =
			config->settings.orphans_period_ms * 1000000,
		.orphans_grace_ns = config->settings.orphans_grace_ms * 1000000,
		.is_check = config->is_check,
		.manager = config->manager,
		.addr = config->addr,
		.spread_names = config->spread_names,
		.dir_split_names = config->settings.dir_split_names,
		.read_barrier =
			config->settings.reads == STORAGED_READS_BARRIER,
	};
	int rv;

	if (s == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	s->env = loop_env(loop);
	s->timer.cb = storaged_on_timer;
	s->is_check = config->is_check;
	s->addr = mem_strdup(config->addr);
	(void)gethostname(s->host, sizeof s->host - 1);
	rv = s->addr == NULL ? errbuf_set(e, -ENOMEM, "out of memory") : 0;
	if (sc.read_barrier)
		log_info("reads=barrier: shards with several voters have no "
			 "leases");
	if (rv == 0)
		rv = store_open(&sc, &s->store, e);
	if (rv == 0) {
		rv = rpc_link_new(loop, config->manager, RPC_ROLE_STORAGE,
				  config->manager_is_local ? config->server
							   : NULL,
				  &s->manager);
		if (rv == 0)
			rv = rpc_link_new(loop, config->addr, RPC_ROLE_STORAGE,
					  config->server, &s->self);
		if (rv != 0)
			errbuf_set(e, rv, "cannot reach the managers");
	}
	if (rv != 0) {
		storaged_close(s);
		return rv;
	}
	*ret_storaged = s;
	return 0;
}

static void storaged_up(void *arg)
{
	struct storaged *s = arg;

	s->state = STORAGED_UP;
	env_timer_set(s->env, &s->timer, 0);
	s->ready(s->ready_arg);
}

static void storaged_joined(struct storaged *s,
			    const struct rpc_store_join_rsp *rsp)
{
	struct errbuf e = { "" };
	size_t n = rsp->shards.len / 2;
	uint16_t *shards = mem_calloc(n + 1, sizeof *shards);
	int rv = shards == NULL ? -ENOMEM : 0;

	for (size_t i = 0; rv == 0 && i < n; i++)
		shards[i] = (uint16_t)(rsp->shards.p[2 * i] << 8 |
				       rsp->shards.p[2 * i + 1]);
	s->state = STORAGED_STARTING;
	s->epoch = rsp->epoch;
	if (rv == 0)
		rv = store_assign(s->store, rsp->raft_id, shards, (unsigned)n,
				  &e);
	if (rv == 0)
		rv = store_start(s->store, storaged_up, s, &e);
	mem_free(shards);
	if (rv != 0)
		fatal("cannot start the store: %s",
		      e.text[0] != '\0' ? e.text : strerror(-rv));
}

static void storaged_on_join(void *arg, const struct rpc_reply *reply)
{
	struct storaged *s = arg;
	struct rpc_store_join_rsp rsp;

	if (reply->status == RPC_STATUS_NOENT && s->is_check) {
		if (store_raft_id(s->store) != 0)
			fatal("the managers do not know this store, which was "
			      "part of a cluster: one of the two is not from "
			      "here");
		storaged_up(s);
		return;
	}
	if (reply->status == RPC_STATUS_NOTSUP)
		fatal("the managers refuse this store: another one is already "
		      "part of the cluster, and one is what this version can "
		      "serve");
	if (reply->status != RPC_STATUS_OK) {
		env_timer_set(s->env, &s->timer, STORAGED_RETRY_NS);
		return;
	}
	if (rpc_store_join_rsp_decode(&rsp, reply->payload, reply->len) != 0)
		fatal("the managers answer what this version cannot read");
	storaged_joined(s, &rsp);
}

static void storaged_on_beat(void *arg, const struct rpc_reply *reply)
{
	struct storaged *s = arg;

	(void)reply; /* the next one is the retry */
	env_timer_set(s->env, &s->timer, STORAGED_BEAT_NS);
}

static void storaged_send(struct storaged *s, uint16_t tag, struct buf *payload,
			  rpc_done_fn done)
{
	struct rpc_send send = {
		.tag = tag,
		.payload = payload,
		.timeout_ms = 5000,
		.done = done,
		.arg = s,
	};

	if (payload->err != 0 || rpc_link_send(s->manager, &send) == NULL)
		env_timer_set(s->env, &s->timer, STORAGED_RETRY_NS);
	buf_fini(payload);
}

static void storaged_join(struct storaged *s)
{
	struct rpc_store_join req = {
		.store = store_id(s->store),
		.addr = wire_cstr(s->is_check ? "" : s->addr),
		.host = wire_cstr(s->host),
	};
	struct buf b;

	store_space(s->store, &req.total, &req.avail);
	buf_init(&b, 0);
	(void)rpc_store_join_encode(&req, &b);
	storaged_send(s, RPC_TAG_store_join, &b, storaged_on_join);
}

static void storaged_beat(struct storaged *s)
{
	struct rpc_store_beat req = { .store = store_id(s->store),
				      .epoch = s->epoch };
	struct wire_vec heads, counts;
	struct store_counts now;
	struct buf b;

	store_space(s->store, &req.total, &req.avail);
	store_counts(s->store, &now);
	wire_vec_init(&heads);
	wire_vec_init(&counts);
	store_heads(s->store, &heads);
	store_counts_put(&now, &counts);
	req.heads = wire_vec_bytes(&heads);
	req.counts = wire_vec_bytes(&counts);
	buf_init(&b, 0);
	(void)rpc_store_beat_encode(&req, &b);
	wire_vec_fini(&heads);
	wire_vec_fini(&counts);
	storaged_send(s, RPC_TAG_store_beat, &b, storaged_on_beat);
}

static void storaged_on_timer(struct env_timer *timer)
{
	struct storaged *s = CONTAINER_OF(timer, struct storaged, timer);

	if (s->state == STORAGED_JOINING)
		storaged_join(s);
	else if (s->state == STORAGED_UP)
		storaged_beat(s);
}

int storaged_start(struct storaged *s, void (*ready)(void *arg), void *arg,
		   struct errbuf *e)
{
	(void)e;
	s->ready = ready;
	s->ready_arg = arg;
	storaged_join(s);
	return 0;
}

void storaged_close(struct storaged *s)
{
	if (s == NULL)
		return;
	env_timer_cancel(s->env, &s->timer);
	if (s->manager != NULL)
		rpc_link_free(s->manager);
	if (s->self != NULL)
		rpc_link_free(s->self);
	if (s->store != NULL)
		store_close(s->store);
	mem_free(s->addr);
	mem_free(s);
}
