/*
 * Reading chunks.
 *
 * Happy path: a worker finds the row, reads the chunk whole and compares its
 * hash; the part that is wanted is answered. Gets of the same chunk that come
 * meanwhile follow the first one. A chunk that was read for a part of it stays
 * for a moment: readers go through it in pieces. Its hashes stay longer: with
 * them other parts are read alone (chunk_piece.c). A large chunk comes past the
 * page cache, which costs most of a read and would keep what nobody may ask for
 * again, unless it was read lately (chunk_seen.h): then through it, and is
 * found there from then on. Of those that come past it some are read at a time,
 * in order: all at once would end all at once, and only then could the first one
 * be sent; and other work needs its workers.
 *
 * Failure modes: no row: NOENT, and those that followed are read for once more;
 * its segment was freed: the row is read again, as the chunk was moved or
 * dropped; bytes without their hash: IO, counted as rot.
 */
#include "storaged/chunk_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/xxh.h"

#define READ_TRIES 4u /* each meets another move */
#define READ_PIECE (256u << 10)

/* --- the little cache --- */

static struct chunk_cached *cache_find(struct chunk_loop *cl,
				       const struct chunk_id *id)
{
	for (unsigned i = 0; i < CHUNK_CACHE; i++)
		if (cl->cache[i].body != NULL &&
		    chunk_id_eq(&cl->cache[i].id, id))
			return &cl->cache[i];
	return NULL;
}

static void cache_put(struct chunk_loop *cl, const struct chunk_id *id,
		      struct body *body)
{
	struct chunk_cached *c = &cl->cache[0];

	for (unsigned i = 1; i < CHUNK_CACHE; i++)
		if (cl->cache[i].used_ns < c->used_ns)
			c = &cl->cache[i];
	body_unref(c->body);
	*c = (struct chunk_cached){ *id, body_ref(body),
				    env_now_ns(cl->env) };
	if (!cl->cache_armed) {
		cl->cache_armed = true;
		env_timer_set(cl->env, &cl->cache_timer, CHUNK_CACHE_NS);
	}
}

static void cache_tick(struct env_timer *timer)
{
	struct chunk_loop *cl = CONTAINER_OF(timer, struct chunk_loop,
					     cache_timer);
	uint64_t now = env_now_ns(cl->env);
	bool any = false;

	for (unsigned i = 0; i < CHUNK_CACHE; i++) {
		struct chunk_cached *c = &cl->cache[i];

		if (c->body != NULL && now - c->used_ns >= CHUNK_CACHE_NS) {
			body_unref(c->body);
			*c = (struct chunk_cached){ 0 };
		}
		any |= c->body != NULL;
	}
	cl->cache_armed = any;
	if (any)
		env_timer_set(cl->env, timer, CHUNK_CACHE_NS);
}

/* --- gets --- */

/* The part that g wants of b, which begins at g->base of the chunk. */
static uint32_t get_part(const struct chunk_get *g, struct body *b,
			 struct body **ret_body)
{
	uint32_t off = g->off - g->base, len = g->len;
	struct body *part;

	if (off >= b->len)
		return RPC_STATUS_INVAL;
	if (len == 0 || len > b->len - off)
		len = b->len - off;
	if (len == b->len) {
		*ret_body = body_ref(b);
		return RPC_STATUS_OK;
	}
	part = body_new(len);
	if (part == NULL)
		return RPC_STATUS_NOMEM;
	memcpy(part->data, b->data + off, len);
	part->len = len;
	*ret_body = part;
	return RPC_STATUS_OK;
}

static void get_finish(struct chunk_get *g, uint32_t status, struct body *b)
{
	struct chunk_store *cs = g->cl->cs;
	struct body *body = NULL;

	if (status == RPC_STATUS_OK)
		status = get_part(g, b, &body);
	if (body != NULL)
		cs->stats.get_bytes += body->len;
	g->cl->n_gets--;
	g->done(g->arg, status, body);
	mem_free(g);
}

/* In pieces: each is hashed while the processor has it in its cache. */
static int read_cached(struct chunk_store *cs, const struct chunk_row *row,
		       struct body *b)
{
	XXH3_state_t st;
	XXH128_hash_t h;
	int rv = 0;

	XXH3_128bits_reset(&st);
	while (rv == 0 && b->len < row->len) {
		uint32_t n = row->len - b->len;

		n = n < READ_PIECE ? n : READ_PIECE;
		rv = seg_read(cs->bulk, row->gen, row->off + b->len,
			      b->data + b->len, n, 0);
		if (rv == 0)
			XXH3_128bits_update(&st, b->data + b->len, n);
		b->len += n;
	}
	h = XXH3_128bits_digest(&st);
	if (rv == 0 &&
	    (h.high64 != row->hash.hi || h.low64 != row->hash.lo))
		rv = -EBADMSG;
	return rv;
}

static int read_direct(struct chunk_store *cs, const struct chunk_row *row,
		       struct body *b)
{
	int rv = seg_read_direct(cs->bulk, row->gen, row->off, b->data,
				 row->len);

	b->len = row->len;
	return rv == 0 && !chunk_hash_ok(b, row->hash) ? -EBADMSG : rv;
}

/* The bytes where row says. 0, -ENOENT (freed), -EBADMSG, -EIO, -ENOMEM. */
static int read_at(struct chunk_store *cs, const struct chunk_id *id,
		   const struct chunk_row *row, struct body **ret_body)
{
	struct body *b = body_new(row->len);
	int rv;

	if (b == NULL)
		return -ENOMEM;
	if (row->len < CHUNK_DIRECT_MIN ||
	    chunk_seen_note(&cs->seen, chunk_id_hash(id), row->len))
		rv = read_cached(cs, row, b);
	else
		rv = read_direct(cs, row, b);
	if (rv == 0)
		*ret_body = b;
	else
		body_unref(b);
	return rv;
}

/* The cleaner may have moved it after the row was read. */
static uint32_t read_whole(struct chunk_store *cs, const struct chunk_id *id,
			   struct wire_u128 *ret_hash, struct body **ret_body)
{
	struct chunk_row row;
	int rv;

	for (unsigned i = 0; i < READ_TRIES; i++) {
		rv = chunk_index_get(cs, id, &row);
		if (rv != 0)
			return rpc_status_from_errno(rv);
		rv = read_at(cs, id, &row, ret_body);
		if (rv != -ENOENT)
			break;
	}
	*ret_hash = row.hash;
	if (rv == 0 || rv == -ENOMEM)
		return rpc_status_from_errno(rv);
	cs->stats.rot++;
	log_warn(rv,
		 "chunk cannot be read slice=%016llx%016llx index=%u "
		 "segment=%llx offset=%llu",
		 (unsigned long long)id->slice.hi,
		 (unsigned long long)id->slice.lo, id->index,
		 (unsigned long long)row.gen, (unsigned long long)row.off);
	return RPC_STATUS_IO;
}

uint32_t chunk_read(struct chunk_store *cs, const struct chunk_id *id,
		    struct body **ret_body)
{
	struct wire_u128 hash;

	return read_whole(cs, id, &hash, ret_body);
}

/* Hands gets to workers, in order. */
static void get_start(struct chunk_loop *cl)
{
	while (cl->queue != NULL && cl->n_direct < CHUNK_DIRECT_MAX) {
		struct chunk_get *g = cl->queue;

		cl->queue = g->waiting;
		if (cl->queue == NULL)
			cl->queue_tail = &cl->queue;
		cl->n_direct++;
		env_work(cl->env, &g->work);
	}
}

static void get_run(struct env_work *work)
{
	struct chunk_get *g = CONTAINER_OF(work, struct chunk_get, work);
	struct chunk_store *cs = g->cl->cs;
	struct wire_u128 hash;

	g->status = read_whole(cs, &g->id, &hash, &g->body);
	if (g->status == RPC_STATUS_OK && g->body->len >= chunk_sums_min &&
	    chunk_piece_is_part(g, g->body->len))
		chunk_sums_put(&cs->sums, &g->id, hash, g->body->data,
			       g->body->len);
}

static void get_lead(struct chunk_get *g);

static void get_link(struct chunk_get *g)
{
	struct chunk_loop *cl = g->cl;

	g->next = cl->gets;
	if (cl->gets != NULL)
		cl->gets->prev = g;
	cl->gets = g;
}

static void get_unlink(struct chunk_get *g)
{
	if (g->prev != NULL)
		g->prev->next = g->next;
	else
		g->cl->gets = g->next;
	if (g->next != NULL)
		g->next->prev = g->prev;
	g->prev = g->next = NULL;
}

/*
 * Those that followed a read that found nothing: by then it had looked, maybe
 * before a put that was answered before they came. They are read for once more.
 */
static struct chunk_get *get_take_late(struct chunk_get *leader)
{
	struct chunk_get **at = &leader->follower, *late = NULL, *g;

	while ((g = *at) != NULL) {
		if (g->looked) {
			at = &g->follower;
			continue;
		}
		*at = g->follower;
		g->looked = true;
		g->follower = late;
		late = g;
	}
	return late;
}

static void get_done(struct env_work *work)
{
	struct chunk_get *g = CONTAINER_OF(work, struct chunk_get, work), *next;
	struct chunk_get *late;
	struct chunk_loop *cl = g->cl;
	struct body *whole = g->body;
	uint32_t status = g->status;

	if (g->direct) {
		cl->n_direct--;
		get_start(cl);
	}
	get_unlink(g);
	late = status == RPC_STATUS_NOENT ? get_take_late(g) : NULL;
	if (late != NULL)
		get_lead(late);
	if (whole != NULL && (g->follower != NULL ||
			      (g->len != 0 && g->len < whole->len)))
		cache_put(cl, &g->id, whole);
	for (; g != NULL; g = next) {
		next = g->follower;
		get_finish(g, status, whole);
	}
	body_unref(whole);
}

/* One without followers: g->body or g->status says. */
static void get_end(struct chunk_get *g)
{
	struct body *body = g->body;

	get_unlink(g);
	get_finish(g, g->status, body);
	body_unref(body);
}

/* From the cache, or refused. */
static void get_task(struct env_task *task)
{
	get_end(CONTAINER_OF(task, struct chunk_get, task));
}

static struct chunk_get *get_leader(struct chunk_loop *cl,
				    const struct chunk_id *id)
{
	struct chunk_get *g = cl->gets;

	while (g != NULL && (g->work.run != get_run || !chunk_id_eq(&g->id, id)))
		g = g->next;
	return g;
}

/* To a worker, now or when others are done. */
static void get_queue(struct chunk_get *g)
{
	struct chunk_loop *cl = g->cl;

	g->direct = g->len >= CHUNK_DIRECT_MIN &&
		    !chunk_seen_has(&cl->cs->seen, chunk_id_hash(&g->id));
	if (!g->direct) {
		env_work(cl->env, &g->work);
		return;
	}
	*cl->queue_tail = g;
	cl->queue_tail = &g->waiting;
	get_start(cl);
}

/* Behind one that reads its chunk whole; false: there is none. */
static bool get_follow(struct chunk_get *g)
{
	struct chunk_get *leader = get_leader(g->cl, &g->id);

	if (leader == NULL)
		return false;
	g->follower = leader->follower;
	leader->follower = g;
	return true;
}

/* It and its followers, by a read of its own. */
static void get_lead(struct chunk_get *g)
{
	get_link(g);
	g->work.run = get_run;
	g->work.done = get_done;
	get_queue(g);
}

static void get_piece_done(struct env_work *work)
{
	struct chunk_get *g = CONTAINER_OF(work, struct chunk_get, work);

	if (!g->failed) {
		get_end(g);
		return;
	}
	get_unlink(g);
	if (!get_follow(g))
		get_lead(g);
}

int chunk_get(struct chunk_loop *cl, struct wire_u128 slice, uint32_t index,
	      uint32_t off, uint32_t len, chunk_done_fn done, void *arg)
{
	struct chunk_get *g = mem_zalloc(sizeof *g);
	struct chunk_cached *c;

	if (g == NULL)
		return -ENOMEM;
	g->cl = cl;
	g->id = (struct chunk_id){ slice, index };
	g->off = off;
	g->len = len;
	g->done = done;
	g->arg = arg;
	g->task.run = get_task;
	cl->n_gets++;
	cl->cs->stats.gets++;
	if (cl->n_gets <= CHUNK_GETS_MAX && get_follow(g))
		return 0;
	c = cache_find(cl, &g->id);
	if (c != NULL) {
		get_link(g);
		c->used_ns = env_now_ns(cl->env);
		g->body = body_ref(c->body);
		env_post(cl->env, &g->task);
	} else if (cl->n_gets > CHUNK_GETS_MAX) {
		get_link(g);
		g->status = RPC_STATUS_BUSY;
		env_post(cl->env, &g->task);
	} else if (chunk_piece_fits(cl, g)) {
		get_link(g);
		g->work.run = chunk_piece_run;
		g->work.done = get_piece_done;
		env_work(cl->env, &g->work);
	} else {
		get_lead(g);
	}
	return 0;
}

void chunk_get_init(struct chunk_loop *cl)
{
	cl->cache_timer.cb = cache_tick;
	cl->queue_tail = &cl->queue;
}

void chunk_get_fini(struct chunk_loop *cl)
{
	struct chunk_get *g;

	env_timer_cancel(cl->env, &cl->cache_timer);
	for (unsigned i = 0; i < CHUNK_CACHE; i++)
		body_unref(cl->cache[i].body);
	while ((g = cl->gets) != NULL) {
		cl->gets = g->next;
		while (g != NULL) {
			struct chunk_get *next = g->follower;

			body_unref(g->body);
			get_finish(g, RPC_STATUS_UNAVAILABLE, NULL);
			g = next;
		}
	}
}
