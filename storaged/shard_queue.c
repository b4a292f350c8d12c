/*
 * The worker of a shard's queue: at the leader, in the background, it goes
 * through the queue rows (docs/DISK_FORMAT.md) and has each worked off by
 * commands of its own (ns_queue.c), a few at a time.
 *
 * A pass:
 *   woken by a command that queued, or by leadership -> rows_sync -> a worker
 *   collects a batch of rows -> QUEUE_WORK for each until it is gone -> the
 *   next batch, from where the last one ended -> end of the pass; again at
 *   once when rows may have come meanwhile.
 *
 * Failure modes: a command fails (no leader any more, no memory, too much to
 * do): the pass ends, the next one begins a second later, here or at the next
 * leader. Nothing is kept but the rows themselves, so a crash loses nothing;
 * a command that was applied and did not answer is sent again and finds less
 * to do, or nothing.
 */
#include "storaged/shard_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "storaged/ns_rows.h"

#define QUEUE_BATCH 64u
#define QUEUE_PARALLEL 4u
#define QUEUE_SOON_NS 20000000u     /* commands in a row wake it once */
#define QUEUE_RETRY_NS 1000000000u

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
	unsigned under_way;
	bool more;          /* rows are left behind the last item */
	bool failed;
	int rv;             /* of the worker */
};

static void queue_item_run(struct queue_item *item);

/* --- collecting: worker --- */

static bool queue_item_parse(struct queue_item *item, struct wire_bytes key)
{
	const uint8_t *id = key.p + NS_KEY_REST + 1;

	if (key.len == NS_KEY_REST + 1 + 16)
		item->id = ns_be128(id);
	else if (key.len == NS_KEY_REST + 1 + 8)
		item->id = (struct wire_u128){ 0, ns_be64(id) };
	else
		return false;
	item->kind = key.p[NS_KEY_REST];
	return item->kind != NS_Q_SLICE;
}

static int queue_collect(struct shard_queue_batch *b)
{
	struct shard_queue *q = &b->g->queue;
	struct wire_bytes key, value;
	struct ns_key from, to;
	struct rows_iter *it;
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
		if (b->n == QUEUE_BATCH) {
			b->more = true;
			break;
		}
		q->rows++;
		q->cursor.len = 0;
		ns_key_bytes(&q->cursor, key);
		ns_key_u8(&q->cursor, 0); /* the least key behind it */
		if (queue_item_parse(&b->items[b->n], key))
			b->n++;
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
	g->queue.seen = g->queue.rows;
	if (g->queue.woken)
		queue_later(g, QUEUE_SOON_NS);
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
		b->n = 0;
		b->failed = true;
	}
	for (unsigned i = 0; i < b->n; i++)
		b->items[i].b = b;
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
