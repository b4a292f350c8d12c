/*
 * The worker of a shard's queue: at the leader, in the background, it goes
 * through the queue rows (docs/DISK_FORMAT.md) and has each worked off by
 * commands of its own (ns_queue.c, ns_slice.c), a few at a time.
 *
 * A pass:
 *   woken by a command that queued, by leadership, or by the time of a row ->
 *   rows_sync -> a worker collects a batch of rows -> QUEUE_WORK for each until
 *   it is gone -> the next batch, from where the last one ended -> end of the
 *   pass; again at once when rows may have come meanwhile, else when the next
 *   row's time has come.
 * The slices of a batch go together:
 *   SLICE_REAP -> those that are dead: their chunks are dropped, everywhere ->
 *   SLICE_DONE
 *
 * Failure modes: a command or a drop fails (no leader any more, no memory, too
 * much to do, a store that does not answer): the pass ends, the next one begins
 * a second later, here or at the next leader. Nothing is kept but the rows
 * themselves, so a crash loses nothing; a command that was applied and did not
 * answer is sent again and finds less to do, or nothing. Why no chunk goes that
 * is needed: ns_slice.c.
 */
#include "storaged/shard_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "storaged/ns_rows.h"

#define QUEUE_BATCH 64u
#define QUEUE_LOOKS 4096u           /* rows looked at for one */
#define QUEUE_PARALLEL 4u
#define QUEUE_SOON_NS 20000000u     /* commands in a row wake it once */
#define QUEUE_RETRY_NS 1000000000u
#define QUEUE_LEASE_NS 60000000000u /* the longest that a reader may take */
/* A dead slice's row may go a day after the slice was made, and a bit. */
#define QUEUE_DEAD_NS ((INT64_C(86400) + 60) * 1000000000)
/* What is left of a session may go after 30 days, and a bit. */
#define QUEUE_SESSION_NS ((30 * INT64_C(86400) + 60) * 1000000000)

/* A batch of rows. */
struct shard_queue_batch {
	struct shard_group *g;
	struct env_work work;
	struct queue_item {
		struct shard_queue_batch *b;
		uint8_t kind;
		struct wire_u128 id;
	} items[QUEUE_BATCH];
	unsigned n;         /* items found */
	unsigned next;      /* to be started */
	struct wire_u128 slices[QUEUE_BATCH]; /* that wait; then the dead */
	unsigned n_slices;
	bool reaped;        /* SLICE_REAP was sent */
	unsigned under_way;
	int64_t now;        /* wall clock when it began, ns */
	bool more;          /* rows are left behind the last one */
	bool failed;
	int rv;             /* of the worker */
};

static void queue_item_run(struct queue_item *item);
static void queue_reap(struct shard_queue_batch *b);

/* --- collecting: worker --- */

static bool queue_id(struct wire_bytes key, struct wire_u128 *ret)
{
	const uint8_t *id = key.p + NS_KEY_REST + 1;

	if (key.len == NS_KEY_REST + 1 + 16)
		*ret = ns_be128(id);
	else if (key.len == NS_KEY_REST + 1 + 8)
		*ret = (struct wire_u128){ 0, ns_be64(id) };
	else
		return false;
	return true;
}

/* When a row is to be looked at: wall clock, ns. */
static int64_t queue_due(const struct shard_set *set, uint8_t kind,
			 struct wire_u128 id, const struct ns_row_queue *row)
{
	uint64_t lease = set->config.reader_lease_ns;

	if (kind == NS_Q_DEAD)
		return (int64_t)slice_second(id) * 1000000000 + QUEUE_DEAD_NS;
	if (kind == NS_Q_SLICE)
		return row->since + (int64_t)(lease > 0 ? lease
							: QUEUE_LEASE_NS);
	if (kind == NS_Q_SESSION && row->what.len > 0)
		return row->since + QUEUE_SESSION_NS;
	return 0;
}

/* Goes on behind key, or behind all rows of a kind. */
static void queue_cursor(struct shard_queue_batch *b, struct wire_bytes key)
{
	struct ns_key *k = &b->g->queue.cursor;

	k->len = 0;
	ns_key_bytes(k, key);
	ns_key_u8(k, 0); /* the least key behind it */
}

static void queue_skip(struct shard_queue_batch *b, struct rows_iter *it,
		       uint8_t kind)
{
	struct ns_key *k = &b->g->queue.cursor;

	ns_key_start(k, b->g->id, NS_T_QUEUE);
	ns_key_u8(k, (uint8_t)(kind + 1));
	rows_iter_seek(it, ns_key_get(k));
}

static int queue_take(struct shard_queue_batch *b, struct rows_iter *it,
		      struct wire_bytes key, struct wire_bytes value)
{
	struct shard_queue *q = &b->g->queue;
	struct ns_row_queue row;
	struct wire_u128 id;
	uint8_t kind;
	int64_t due;

	if (!queue_id(key, &id) || ns_row_queue_load(&row, value) != 0)
		return -EIO;
	kind = key.p[NS_KEY_REST];
	due = queue_due(b->g->set, kind, id, &row);
	if (due > b->now) {
		if (q->due == 0 || due < q->due)
			q->due = due;
		if (kind == NS_Q_DEAD) /* in order of time */
			queue_skip(b, it, kind);
		return 0;
	}
	if (kind == NS_Q_SLICE)
		b->slices[b->n_slices++] = id;
	else
		b->items[b->n++] = (struct queue_item){ b, kind, id };
	return 0;
}

static int queue_collect(struct shard_queue_batch *b)
{
	struct shard_queue *q = &b->g->queue;
	struct wire_bytes key, value;
	struct ns_key from, to;
	struct rows_iter *it;
	unsigned looks = 0;
	int rv;

	ns_key_start(&from, b->g->id, NS_T_QUEUE);
	to = from;
	ns_key_end(&to);
	if (q->cursor.len > 0)
		from = q->cursor;
	rv = rows_iter_new(b->g->set->config.back, ns_key_get(&from),
			   ns_key_get(&to), &it);
	if (rv != 0)
		return rv;
	while ((rv = rows_iter_next(it, &key, &value)) == 0) {
		if (b->n == QUEUE_BATCH || b->n_slices == QUEUE_BATCH ||
		    looks++ == QUEUE_LOOKS) {
			b->more = true;
			break;
		}
		q->rows++;
		queue_cursor(b, key);
		rv = queue_take(b, it, key, value);
		if (rv != 0)
			break;
	}
	rows_iter_free(it);
	return rv == -ENOENT ? 0 : rv;
}

static void queue_collect_run(struct env_work *work)
{
	struct shard_queue_batch *b =
		CONTAINER_OF(work, struct shard_queue_batch, work);

	b->rv = queue_collect(b);
}

/* --- a batch --- */

static void queue_later(struct shard_group *g, uint64_t delay_ns)
{
	env_timer_set(g->set->env, &g->queue.timer, delay_ns);
}

static void queue_pass_end(struct shard_group *g)
{
	struct shard_queue *q = &g->queue;
	int64_t left = q->due - env_wall_ns(g->set->env);

	q->seen = q->rows;
	if (q->woken)
		queue_later(g, QUEUE_SOON_NS);
	else if (q->due != 0) /* rows in a row are one pass */
		queue_later(g, left > (int64_t)QUEUE_RETRY_NS
				       ? (uint64_t)left
				       : QUEUE_RETRY_NS);
}

static void queue_batch_start(struct shard_group *g);

static void queue_batch_end(struct shard_queue_batch *b)
{
	struct shard_group *g = b->g;
	bool failed = b->failed, more = b->more;

	g->queue.batch = NULL;
	mem_free(b);
	if (!g->leader)
		return; /* the next leader begins anew */
	if (failed) {
		g->queue.woken = true;
		queue_later(g, QUEUE_RETRY_NS);
	} else if (more) {
		queue_batch_start(g);
	} else {
		queue_pass_end(g);
	}
}

/* Starts what may be started; ends the batch behind its last item. */
static void queue_batch_go(struct shard_queue_batch *b)
{
	if (!b->g->leader)
		b->failed = true;
	if (!b->failed && b->n_slices > 0 && !b->reaped)
		queue_reap(b);
	while (!b->failed && b->next < b->n && b->under_way < QUEUE_PARALLEL)
		queue_item_run(&b->items[b->next++]);
	if (b->under_way == 0)
		queue_batch_end(b);
}

static void queue_collected(struct env_work *work)
{
	struct shard_queue_batch *b =
		CONTAINER_OF(work, struct shard_queue_batch, work);

	if (b->rv != 0) {
		log_warn(b->rv, "shard=%u: queue cannot be read", b->g->id);
		b->failed = true;
	}
	queue_batch_go(b);
}

static void queue_synced(void *arg, int status)
{
	struct shard_queue_batch *b = arg;

	if (status != 0)
		fatal_abort("shard=%u: rows cannot be written: %s", b->g->id,
			    strerror(-status));
	env_work(b->g->set->env, &b->work);
}

static void queue_batch_start(struct shard_group *g)
{
	struct shard_queue_batch *b = mem_zalloc(sizeof *b);

	if (b != NULL) {
		b->g = g;
		b->work.run = queue_collect_run;
		b->work.done = queue_collected;
		b->now = env_wall_ns(g->set->env);
		if (rows_sync(g->set->rows, queue_synced, b) == 0) {
			g->queue.batch = b;
			return;
		}
		mem_free(b);
	}
	g->queue.woken = true;
	queue_later(g, QUEUE_RETRY_NS);
}

/* --- one row --- */

/* The shard cannot now; else it never will. */
static bool queue_may_retry(uint32_t status)
{
	return status == RPC_STATUS_NOT_LEADER ||
	       status == RPC_STATUS_UNAVAILABLE ||
	       status == RPC_STATUS_UNKNOWN_OUTCOME ||
	       status == RPC_STATUS_BUSY || status == RPC_STATUS_NOMEM;
}

static void queue_item_done(void *arg, uint32_t status, struct buf *payload,
			    struct body *body)
{
	struct queue_item *item = arg;
	struct shard_queue_batch *b = item->b;
	struct shard_group *g = b->g;
	struct rpc_queue_work_rsp rsp = { .left = 0 };

	body_unref(body);
	if (g->set->closing)
		return;
	b->under_way--;
	if (status == RPC_STATUS_OK)
		(void)rpc_queue_work_rsp_decode(&rsp, payload->data,
						payload->len);
	else if (queue_may_retry(status))
		b->failed = true;
	else
		log_warnx("shard=%u: queue row of kind %c is left: %s", g->id,
			  item->kind, rpc_status_text(status));
	if (rsp.left && g->leader)
		queue_item_run(item);
	else
		g->set->stats.queue_done += status == RPC_STATUS_OK;
	queue_batch_go(b);
}

static void queue_item_run(struct queue_item *item)
{
	struct rpc_queue_work req = { .kind = item->kind, .id = item->id };
	struct shard_queue_batch *b = item->b;
	struct buf payload;
	int rv;

	buf_init(&payload, 0);
	rv = rpc_queue_work_encode(&req, &payload);
	if (rv == 0)
		rv = shard_call(b->g->set, b->g->id, RPC_TAG_queue_work,
				&payload, queue_item_done, item);
	buf_fini(&payload);
	if (rv == 0)
		b->under_way++;
	else
		b->failed = true;
}

/* --- slices --- */

/* One of the batch's own commands or drops has ended. */
static void queue_slices_end(struct shard_queue_batch *b, uint32_t status)
{
	b->under_way--;
	if (status != RPC_STATUS_OK)
		b->failed = true;
	queue_batch_go(b);
}

static int queue_slices_call(struct shard_queue_batch *b, uint16_t tag,
			     struct buf *payload, shard_done_fn done)
{
	int rv = payload->err;

	if (rv == 0)
		rv = shard_call(b->g->set, b->g->id, tag, payload, done, b);
	buf_fini(payload);
	return rv;
}

static void queue_slices_list(const struct shard_queue_batch *b,
			      struct wire_vec *v)
{
	wire_vec_init(v);
	for (unsigned i = 0; i < b->n_slices; i++) {
		struct wire_writer w = wire_vec_add(v);

		wire_put_u128(&w, &b->slices[i]);
	}
}

static void queue_on_done(void *arg, uint32_t status, struct buf *payload,
			  struct body *body)
{
	struct shard_queue_batch *b = arg;

	(void)payload;
	body_unref(body);
	if (b->g->set->closing)
		return;
	if (status == RPC_STATUS_OK)
		b->g->set->stats.queue_done += b->n_slices;
	queue_slices_end(b, status);
}

static void queue_on_dropped(void *arg, uint32_t status)
{
	struct shard_queue_batch *b = arg;
	struct rpc_slice_done req = { .client = 0 };
	struct wire_vec v;
	struct buf payload;

	if (b->g->set->closing)
		return;
	if (status != RPC_STATUS_OK) {
		queue_slices_end(b, status);
		return;
	}
	queue_slices_list(b, &v);
	req.slices = wire_vec_bytes(&v);
	buf_init(&payload, 0);
	(void)rpc_slice_done_encode(&req, &payload);
	if (v.buf.err != 0 ||
	    queue_slices_call(b, RPC_TAG_slice_done, &payload,
			      queue_on_done) != 0)
		queue_slices_end(b, RPC_STATUS_NOMEM);
	wire_vec_fini(&v);
}

/* Keeps those that are dead. */
static int queue_keep_dead(struct shard_queue_batch *b,
			   const struct buf *payload)
{
	struct rpc_slice_reap_rsp rsp;
	unsigned n = 0;

	if (rpc_slice_reap_rsp_decode(&rsp, payload->data, payload->len) != 0 ||
	    rsp.dead.len != b->n_slices)
		return -EBADMSG;
	for (unsigned i = 0; i < b->n_slices; i++)
		if (rsp.dead.p[i] != 0)
			b->slices[n++] = b->slices[i];
	b->n_slices = n;
	return 0;
}

static void queue_on_reaped(void *arg, uint32_t status, struct buf *payload,
			    struct body *body)
{
	struct shard_queue_batch *b = arg;
	struct shard_config *config = &b->g->set->config;

	body_unref(body);
	if (b->g->set->closing)
		return;
	if (status == RPC_STATUS_OK && queue_keep_dead(b, payload) != 0)
		status = RPC_STATUS_BADMSG;
	if (status != RPC_STATUS_OK || b->n_slices == 0)
		queue_slices_end(b, status);
	else if (config->drop == NULL)
		queue_on_dropped(b, RPC_STATUS_OK);
	else if (config->drop(config->arg, b->slices, b->n_slices,
			      queue_on_dropped, b) != 0)
		queue_slices_end(b, RPC_STATUS_NOMEM);
}

static void queue_reap(struct shard_queue_batch *b)
{
	struct rpc_slice_reap req = { .client = 0 };
	uint64_t lease = b->g->set->config.reader_lease_ns;
	struct wire_vec v;
	struct buf payload;

	b->reaped = true;
	req.before = b->now - (int64_t)(lease > 0 ? lease : QUEUE_LEASE_NS);
	queue_slices_list(b, &v);
	req.slices = wire_vec_bytes(&v);
	buf_init(&payload, 0);
	(void)rpc_slice_reap_encode(&req, &payload);
	if (v.buf.err == 0 &&
	    queue_slices_call(b, RPC_TAG_slice_reap, &payload,
			      queue_on_reaped) == 0)
		b->under_way++;
	else
		b->failed = true;
	wire_vec_fini(&v);
}

/* --- the shard's side --- */

static void queue_tick(struct env_timer *timer)
{
	struct shard_queue *q = CONTAINER_OF(timer, struct shard_queue, timer);
	struct shard_group *g = CONTAINER_OF(q, struct shard_group, queue);

	if (!g->leader || q->batch != NULL)
		return;
	q->woken = false;
	q->cursor.len = 0;
	q->rows = 0;
	q->due = 0;
	queue_batch_start(g);
}

void shard_queue_init(struct shard_group *g)
{
	g->queue.timer.cb = queue_tick;
}

void shard_queue_wake(struct shard_group *g)
{
	if (!g->leader || g->queue.woken)
		return;
	g->queue.woken = true;
	if (g->queue.batch == NULL) /* else the end of the pass sees it */
		queue_later(g, QUEUE_SOON_NS);
}

void shard_queue_stop(struct shard_group *g)
{
	env_timer_cancel(g->set->env, &g->queue.timer);
	g->queue.woken = false;
}

void shard_queue_free(struct shard_group *g)
{
	shard_queue_stop(g);
	mem_free(g->queue.batch);
	g->queue.batch = NULL;
}
