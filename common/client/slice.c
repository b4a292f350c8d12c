/*
 * Writing a slice.
 *
 * Happy path of a chunk: filled, and hashed piece by piece while the processor
 * has them in its cache -> CHUNK_PUT to each owner -> all durable -> under_way
 * goes down, on_drain when the slice was full. After client_slice_finish():
 * done when none is under way.
 * Failure modes: the first error is kept, nothing more is sent, done tells it
 * when the last chunk has ended. A slice freed early cancels its requests. One
 * that is freed without a name is given up: SLICE_DROP to its shard, best
 * effort (sweeps find what that does not).
 */
#include "common/client/client_impl.h"

#include <assert.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/xxh.h"

#define SLICE_COPIES_MAX 8u
/* Writers that bring less a second are given up while others starve. */
#define SLICE_SLOW (32u << 10)

struct slice_put {
	struct slice_chunk *chunk;
	struct client_call *call; /* NULL when ended */
};

struct slice_chunk {
	struct client_list list;    /* of the slice */
	struct client_slice *slice;
	struct body *body;
	uint32_t index;
	struct wire_u128 hash;
	unsigned pending; /* puts without an answer */
	struct slice_put puts[SLICE_COPIES_MAX];
};

struct client_slice {
	struct client *c;
	const struct client_slice_cbs *cbs; /* borrowed */
	void *arg;
	struct wire_u128 id;
	struct body *cur;    /* chunk being filled, or NULL */
	XXH3_state_t *hash;  /* of its bytes so far */
	uint32_t next_index;
	uint64_t len;        /* bytes added */
	uint64_t max;        /* that will ever be added */
	uint64_t deadline;   /* ns; 0: none */
	struct client_list chunks; /* under way */
	unsigned under_way;
	uint32_t status;
	bool was_full; /* on_drain is owed */
	struct client_list list; /* of the client, until finished */
	struct client_starved starved;
	uint64_t since_ns, since_len; /* what its speed is counted from */
	bool finished;
	bool named;    /* a commit took it */
	bool told;     /* done was called */
	bool freed;
	struct env_task task; /* done from here when nothing is under way */
	bool posted;
};

static void slice_release(struct client_slice *s)
{
	if (!s->freed || s->posted)
		return;
	(void)XXH3_freeState(s->hash);
	mem_free(s);
}

static void slice_fail(struct client_slice *s, uint32_t status)
{
	if (s->status == RPC_STATUS_OK)
		s->status = status;
}

static void slice_tell_done(struct client_slice *s)
{
	s->told = true;
	s->cbs->done(s->arg, s->status);
}

static void slice_task(struct env_task *task)
{
	struct client_slice *s = CONTAINER_OF(task, struct client_slice, task);

	s->posted = false;
	if (s->freed) {
		slice_release(s);
		return;
	}
	if (s->finished && !s->told && s->under_way == 0)
		slice_tell_done(s);
}

static void slice_post(struct client_slice *s)
{
	if (s->posted)
		return;
	s->posted = true;
	env_post(s->c->env, &s->task);
}

/* --- chunks --- */

static void chunk_free(struct slice_chunk *k)
{
	body_unref(k->body);
	mem_free(k);
}

/* A chunk has ended; in a callback. */
static void chunk_end(struct slice_chunk *k)
{
	struct client_slice *s = k->slice;

	client_list_del(&k->list);
	chunk_free(k);
	s->under_way--;
	if (s->finished) {
		if (s->under_way == 0 && !s->told)
			slice_tell_done(s);
		return;
	}
	if (s->was_full) {
		s->was_full = false;
		s->cbs->on_drain(s->arg);
	}
}

static void chunk_on_put(void *arg, const struct rpc_reply *r)
{
	struct slice_put *p = arg;
	struct slice_chunk *k = p->chunk;

	p->call = NULL;
	if (r->status != RPC_STATUS_OK)
		slice_fail(k->slice, r->status);
	if (--k->pending == 0)
		chunk_end(k);
}

static unsigned chunk_copies(const struct client *c)
{
	unsigned n = c->cluster == NULL ? 1 : c->cluster->top.n;

	if (n == 0)
		n = 1;
	return n > SLICE_COPIES_MAX ? SLICE_COPIES_MAX : n;
}

/* To every owner; in a callback when it may fail at once. */
static void chunk_send(struct slice_chunk *k)
{
	struct client_slice *s = k->slice;
	struct rpc_chunk_put m = { .slice = s->id, .index = k->index,
				   .hash = k->hash };
	struct client_chunk where = { .slice = s->id, .index = k->index };
	unsigned n = chunk_copies(s->c);

	for (where.nth = 0; where.nth < n; where.nth++) {
		struct slice_put *p = &k->puts[where.nth];
		struct buf out;
		struct client_send send = {
			.tag = RPC_TAG_chunk_put, .shard = slice_home(s->id),
			.payload = &out, .body = body_ref(k->body),
			.deadline = s->deadline,
			.done = chunk_on_put, .arg = p,
		};

		buf_init(&out, 0);
		(void)rpc_chunk_put_encode(&m, &out);
		p->chunk = k;
		p->call = client_send_chunk(s->c, &send, &where);
		if (p->call == NULL)
			slice_fail(s, RPC_STATUS_NOMEM);
		else
			k->pending++;
	}
}

static void chunk_hash(struct slice_chunk *k)
{
	XXH128_hash_t h = XXH3_128bits_digest(k->slice->hash);

	k->hash = (struct wire_u128){ h.high64, h.low64 };
	k->body->hash[0] = h.high64;
	k->body->hash[1] = h.low64;
	k->body->hashed = true;
}

/* The current chunk is complete and goes its way; not in a callback. */
static void slice_push(struct client_slice *s)
{
	struct slice_chunk *k;
	struct body *b = s->cur;

	s->cur = NULL;
	k = s->status == RPC_STATUS_OK ? mem_zalloc(sizeof(*k)) : NULL;
	if (k == NULL) {
		slice_fail(s, RPC_STATUS_NOMEM);
		body_unref(b);
		return;
	}
	k->slice = s;
	k->body = b;
	k->index = s->next_index++;
	client_list_add(&s->chunks, &k->list);
	s->under_way++;
	chunk_hash(k);
	chunk_send(k);
	if (k->pending > 0)
		return;
	client_list_del(&k->list);
	chunk_free(k);
	s->under_way--;
}

/* --- when memory is short --- */

/* In a callback: the owner goes on, or learns of an error. */
static void slice_tell_drain(struct client_slice *s)
{
	s->was_full = false;
	s->cbs->on_drain(s->arg);
}

static void slice_retry(struct client_starved *w)
{
	struct client_slice *s = CONTAINER_OF(w, struct client_slice, starved);

	/* it could bring nothing meanwhile */
	s->since_ns = env_now_ns(s->c->env);
	s->since_len = s->len;
	slice_tell_drain(s);
}

static bool slice_is_slow(const struct client_slice *s, uint64_t now)
{
	uint64_t ms = (now - s->since_ns) / 1000000;

	return s->cur != NULL && client_list_empty(&s->starved.list) &&
	       s->status == RPC_STATUS_OK &&
	       ms > s->c->set->slow_ns / 1000000 &&
	       s->len - s->since_len < SLICE_SLOW * ms / 1000;
}

void client_slices_reclaim(struct client *c)
{
	uint64_t now = env_now_ns(c->env);
	struct client_list slow;

	CLIENT_LIST_INIT(&slow);
	for (struct client_list *i = c->mem.slices.next, *next;
	     i != &c->mem.slices; i = next) {
		next = i->next;
		if (!slice_is_slow(CONTAINER_OF(i, struct client_slice, list),
				   now))
			continue;
		client_list_del(i);
		client_list_add(&slow, i);
	}
	while (!client_list_empty(&slow)) {
		struct client_slice *s = CONTAINER_OF(
			slow.next, struct client_slice, list);

		client_list_del(&s->list);
		slice_fail(s, RPC_STATUS_BUSY);
		body_unref(s->cur);
		s->cur = NULL;
		slice_tell_drain(s); /* may free it, or others */
	}
}

/* --- the interface --- */

struct client_slice *client_slice_new(struct client *c, uint16_t home,
				      const struct client_slice_cbs *cbs,
				      void *arg)
{
	struct client_slice *s = mem_zalloc(sizeof(*s));
	uint64_t sec;
	uint32_t counter;

	if (s != NULL)
		s->hash = XXH3_createState();
	if (s == NULL || s->hash == NULL) {
		mem_free(s);
		return NULL;
	}
	counter = __atomic_add_fetch(&c->set->slice_counter, 1,
				     __ATOMIC_RELAXED);
	sec = c->session_sec +
	      (env_now_ns(c->env) - c->session_at) / 1000000000;
	s->c = c;
	s->cbs = cbs;
	s->arg = arg;
	s->id = slice_make(home, (uint32_t)sec, c->session, counter);
	s->max = UINT64_MAX;
	s->task.run = slice_task;
	s->since_ns = env_now_ns(c->env);
	s->starved.retry = slice_retry;
	CLIENT_LIST_INIT(&s->starved.list);
	CLIENT_LIST_INIT(&s->list);
	client_list_add(&c->mem.slices, &s->list);
	CLIENT_LIST_INIT(&s->chunks);
	/* without a session the id would not be unique */
	if (c->session == 0)
		s->status = RPC_STATUS_UNAVAILABLE;
	return s;
}

void client_slice_expect(struct client_slice *s, uint64_t len)
{
	assert(s->len == 0 && s->cur == NULL);
	s->max = len;
}

struct body *client_slice_body(const struct client_slice *s)
{
	return s->cur;
}

struct wire_u128 client_slice_id(const struct client_slice *s)
{
	return s->id;
}

uint64_t client_slice_len(const struct client_slice *s)
{
	return s->len;
}

bool client_slice_full(const struct client_slice *s)
{
	return s->under_way >= CLIENT_WRITE_AHEAD ||
	       !client_list_empty(&s->starved.list);
}

uint32_t client_slice_error(const struct client_slice *s)
{
	return s->status;
}

/* What may be added to a chunk of which len bytes are there. */
static size_t slice_room(const struct client_slice *s, size_t len)
{
	size_t room = WIRE_CHUNK - len;

	return room < s->max - s->len ? room : (size_t)(s->max - s->len);
}

uint8_t *client_slice_reserve(struct client_slice *s, size_t *ret_room)
{
	assert(!s->finished);
	if (s->status != RPC_STATUS_OK)
		return NULL;
	if (s->cur == NULL && client_slice_full(s)) {
		s->was_full = true;
		return NULL;
	}
	if (s->len == s->max) {
		slice_fail(s, RPC_STATUS_INVAL);
		return NULL;
	}
	if (s->cur == NULL &&
	    !client_mem_room(s->c, &s->starved, slice_room(s, 0))) {
		s->was_full = true;
		return NULL;
	}
	if (s->cur == NULL) {
		s->cur = body_new(slice_room(s, 0));
		XXH3_128bits_reset(s->hash);
	}
	if (s->cur == NULL) {
		slice_fail(s, RPC_STATUS_NOMEM);
		return NULL;
	}
	*ret_room = slice_room(s, s->cur->len);
	return s->cur->data + s->cur->len;
}

void client_slice_commit(struct client_slice *s, size_t n)
{
	assert(s->cur != NULL && n <= slice_room(s, s->cur->len));
	XXH3_128bits_update(s->hash, s->cur->data + s->cur->len, n);
	s->cur->len += (uint32_t)n;
	s->len += n;
	if (s->cur->len < WIRE_CHUNK)
		return;
	slice_push(s);
	if (client_slice_full(s))
		s->was_full = true;
}

size_t client_slice_add(struct client_slice *s, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t taken = 0, room;

	while (taken < len) {
		uint8_t *to = client_slice_reserve(s, &room);

		if (to == NULL)
			break;
		if (room > len - taken)
			room = len - taken;
		memcpy(to, p + taken, room);
		client_slice_commit(s, room);
		taken += room;
	}
	return taken;
}

void client_slice_set_deadline(struct client_slice *s, uint64_t deadline)
{
	s->deadline = deadline;
}

void client_slice_finish(struct client_slice *s)
{
	assert(!s->finished);
	if (s->cur != NULL && s->cur->len > 0)
		slice_push(s);
	body_unref(s->cur);
	s->cur = NULL;
	client_list_del(&s->list);
	client_list_del(&s->starved.list);
	s->finished = true;
	if (s->under_way == 0)
		slice_post(s);
}

void client_slice_named(struct client_slice *s)
{
	s->named = true;
}

static void slice_on_dropped(void *arg, const struct rpc_reply *r)
{
	(void)arg;
	(void)r; /* what this did not reach is swept */
}

static void slice_give_up(struct client_slice *s)
{
	struct rpc_slice_drop m = { .client = 0 };
	struct wire_writer w;
	struct wire_vec v;

	wire_vec_init(&v);
	w = wire_vec_add(&v);
	wire_put_u128(&w, &s->id);
	m.slices = wire_vec_bytes(&v);
	if (v.buf.err == 0)
		(void)CLIENT_SEND(s->c, slice_drop, slice_home(s->id), &m,
				  slice_on_dropped, NULL);
	wire_vec_fini(&v);
}

void client_slice_free(struct client_slice *s)
{
	if (s == NULL)
		return;
	assert(!s->freed);
	if (!s->named && s->next_index > 0 && loop_is_running(s->c->loop))
		slice_give_up(s);
	while (!client_list_empty(&s->chunks)) {
		struct slice_chunk *k = CONTAINER_OF(
			s->chunks.next, struct slice_chunk, list);

		client_list_del(&k->list);
		for (unsigned i = 0; i < SLICE_COPIES_MAX; i++)
			if (k->puts[i].call != NULL)
				client_cancel(k->puts[i].call);
		chunk_free(k);
	}
	body_unref(s->cur);
	s->cur = NULL;
	client_list_del(&s->list);
	client_list_del(&s->starved.list);
	s->freed = true;
	slice_release(s);
}
