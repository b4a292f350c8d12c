/*
 * Reading a range of an inode in order.
 *
 * A window is what one READ answered: extents for [plan, win_end) and inline
 * bytes. read_plan() cuts it into pieces (a chunk's part, inline bytes, zeros)
 * and sends CHUNK_GET for those that need it, at most `ahead` + 1 not yet
 * delivered; read_deliver() hands the first pieces over as they become ready.
 * When the plan reaches the end of the window, the next READ goes out while
 * pieces are still under way.
 *
 * Failure modes: a chunk that is not there (its slice was dropped meanwhile):
 * the plan goes back to that piece and the extents are read again, once per
 * position. VERSION_GONE and other errors end the read after what was in
 * front of them was delivered. The end of the file ends it with OK.
 *
 * Callbacks come from replies and from the task, never from a call of the
 * owner; client_read_free() inside one is fine.
 */
#include "common/client/client_impl.h"

#include <assert.h>
#include <string.h>

#include "common/base/mem.h"

#define READ_ZEROS (256u << 10)
#define READ_STEP (64u << 10) /* of a hand-over while memory is short */

enum piece_state { PIECE_PENDING, PIECE_READY, PIECE_FAILED };

struct piece {
	struct client_list list;
	struct client_read *r;
	enum piece_state state;
	bool fetched;      /* counts against ahead */
	uint64_t pos, len; /* in the file */
	size_t asked;      /* bytes on their way */
	struct client_call *call;
	struct body *body; /* bytes at [from, from + len); NULL: zeros */
	uint32_t from;
	uint32_t status;
};

struct client_read {
	struct client *c;
	const struct client_read_cbs *cbs; /* borrowed */
	void *arg;
	uint64_t ino, version, deadline;
	uint64_t end;      /* of the wanted range, cut at the end of file */
	uint64_t plan;     /* up to here pieces exist */
	uint32_t ahead;
	/* the window */
	uint8_t *extents;  /* owned copy of the vector */
	struct wire_reader in; /* extents not planned yet */
	uint32_t n_left;
	struct wire_extent ext; /* the next one; len 0: none */
	uint64_t win_end;
	struct body *inl;  /* inline bytes */
	struct client_call *call; /* READ under way */

	struct client_list pieces; /* in order */
	unsigned n_fetched;
	struct body *zeros;
	uint64_t retried_at; /* position + 1 of the last second look */
	uint32_t status;     /* first error; nothing is planned after it */
	bool paused, told, freed;
	uint64_t moved_ns;   /* of the last hand-over */
	struct client_list list; /* of the client */
	struct client_starved starved;
	unsigned depth;      /* callbacks on the stack */
	struct env_task task;
	bool posted;
};

static void read_run(struct client_read *r);

/* --- windows --- */

static void window_drop(struct client_read *r)
{
	mem_free(r->extents);
	r->extents = NULL;
	r->n_left = 0;
	r->ext.len = 0;
	r->win_end = r->plan;
	body_unref(r->inl);
	r->inl = NULL;
}

/* Takes the next extent that ends behind the plan; len 0 when none is left. */
static void window_next(struct client_read *r)
{
	struct wire_extent *e = &r->ext;
	uint64_t cut;

	e->len = 0;
	while (e->len == 0 && r->n_left > 0) {
		r->n_left--;
		wire_get_extent(&r->in, e);
		if (r->in.err != 0) {
			e->len = 0;
			return;
		}
		if (e->pos + e->len <= r->plan) {
			e->len = 0;
		} else if (e->pos < r->plan) {
			cut = r->plan - e->pos;
			e->pos += cut;
			e->len -= cut;
			e->slice_off += cut;
		}
	}
}

/* extents: a vector that a message brought; copied. */
static int window_set(struct client_read *r, struct wire_bytes extents,
		      uint64_t covered, struct body *inl)
{
	window_drop(r);
	if (extents.len > 0) {
		r->extents = mem_dup(extents.p, extents.len);
		if (r->extents == NULL)
			return -1;
	}
	r->in = wire_vec_reader(wire_bytes(r->extents, extents.len),
				&r->n_left);
	r->win_end = covered < r->end - r->plan ? r->plan + covered : r->end;
	if (inl != NULL)
		r->inl = body_ref(inl);
	window_next(r);
	return 0;
}

static void read_fail(struct client_read *r, uint32_t status)
{
	if (r->status == RPC_STATUS_OK)
		r->status = status;
}

static void read_on_extents(void *arg, const struct rpc_reply *reply)
{
	struct client_read *r = arg;
	struct rpc_read_rsp rsp;

	r->call = NULL;
	if (reply->status != RPC_STATUS_OK) {
		read_fail(r, reply->status);
	} else if (rpc_read_rsp_decode(&rsp, reply->payload, reply->len) !=
		   0) {
		read_fail(r, RPC_STATUS_BADMSG);
	} else {
		if (rsp.attr.size < r->end)
			r->end = rsp.attr.size > r->plan ? rsp.attr.size :
							   r->plan;
		if (window_set(r, rsp.extents, rsp.covered, reply->body) != 0)
			read_fail(r, RPC_STATUS_NOMEM);
		else if (r->win_end == r->plan && r->plan < r->end)
			read_fail(r, RPC_STATUS_IO); /* no progress */
	}
	read_run(r);
}

static void read_ask(struct client_read *r)
{
	struct rpc_read m = { .ino = r->ino, .off = r->plan,
			      .len = r->end - r->plan,
			      .version = r->version };

	r->call = CLIENT_SEND_BY(r->c, read, ino_shard(r->ino), r->deadline,
				 &m, read_on_extents, r);
	if (r->call == NULL)
		read_fail(r, RPC_STATUS_NOMEM);
}

/* --- pieces --- */

/* What was asked for came, or does not count any more. */
static void piece_got(struct piece *p)
{
	client_mem_got(p->r->c, p->asked);
	p->asked = 0;
}

static void piece_free(struct piece *p)
{
	if (p->call != NULL)
		client_cancel(p->call);
	piece_got(p);
	if (p->fetched)
		p->r->n_fetched--;
	client_list_del(&p->list);
	body_unref(p->body);
	mem_free(p);
}

static void pieces_drop(struct client_read *r)
{
	while (!client_list_empty(&r->pieces))
		piece_free(CONTAINER_OF(r->pieces.prev, struct piece, list));
}

static void piece_on_chunk(void *arg, const struct rpc_reply *reply)
{
	struct piece *p = arg;
	struct client_read *r = p->r;

	p->call = NULL;
	piece_got(p);
	if (reply->status != RPC_STATUS_OK) {
		p->state = PIECE_FAILED;
		p->status = reply->status;
	} else if (reply->body == NULL || reply->body->len != p->len) {
		p->state = PIECE_FAILED;
		p->status = RPC_STATUS_IO;
	} else {
		p->state = PIECE_READY;
		p->body = body_ref(reply->body);
	}
	read_run(r);
}

static int piece_fetch(struct piece *p, const struct wire_extent *e)
{
	struct client *c = p->r->c;
	struct rpc_chunk_get m = {
		.slice = e->slice,
		.index = (uint32_t)(e->slice_off / WIRE_CHUNK),
		.off = (uint32_t)(e->slice_off % WIRE_CHUNK),
		.len = (uint32_t)p->len,
	};
	struct client_chunk where = { .slice = m.slice, .index = m.index };
	struct buf out;
	struct client_send send = { .tag = RPC_TAG_chunk_get,
				    .shard = slice_home(e->slice),
				    .payload = &out,
				    .deadline = p->r->deadline,
				    .done = piece_on_chunk, .arg = p };

	if (e->slice_off / WIRE_CHUNK > UINT32_MAX) {
		read_fail(p->r, RPC_STATUS_IO);
		return -1;
	}
	buf_init(&out, 0);
	(void)rpc_chunk_get_encode(&m, &out);
	p->call = client_send_chunk(c, &send, &where);
	if (p->call == NULL) {
		read_fail(p->r, RPC_STATUS_NOMEM);
		return -1;
	}
	p->fetched = true;
	p->asked = (size_t)p->len;
	client_mem_ask(c, p->asked);
	p->r->n_fetched++;
	return 0;
}

static int piece_inline(struct piece *p, const struct wire_extent *e)
{
	struct body *b = p->r->inl;

	if (b == NULL || e->slice_off > b->len ||
	    p->len > b->len - e->slice_off) {
		read_fail(p->r, RPC_STATUS_IO);
		return -1;
	}
	p->body = body_ref(b);
	p->from = (uint32_t)e->slice_off;
	p->state = PIECE_READY;
	return 0;
}

static int piece_zeros(struct piece *p)
{
	struct client_read *r = p->r;

	if (r->zeros == NULL) {
		r->zeros = body_new(READ_ZEROS);
		if (r->zeros == NULL) {
			read_fail(r, RPC_STATUS_NOMEM);
			return -1;
		}
		memset(r->zeros->data, 0, READ_ZEROS);
		r->zeros->len = READ_ZEROS;
	}
	p->state = PIECE_READY;
	return 0;
}

/* Where the piece at the plan ends: 0 zeros, else the extent's kind. */
static uint8_t plan_piece(const struct client_read *r, uint64_t *ret_len)
{
	const struct wire_extent *e = &r->ext;
	uint64_t left = r->win_end - r->plan;
	uint64_t room;

	if (e->len == 0 || e->pos > r->plan) {
		if (e->len > 0 && e->pos - r->plan < left)
			left = e->pos - r->plan;
		*ret_len = left;
		return 0;
	}
	if (e->len < left)
		left = e->len;
	if (e->kind == WIRE_EXT_CHUNKS) {
		room = WIRE_CHUNK - e->slice_off % WIRE_CHUNK;
		if (room < left)
			left = room;
	}
	*ret_len = left;
	return e->kind == WIRE_EXT_ZERO ? 0 : e->kind;
}

/* One more piece; false when that failed (status is set), or must wait. */
static bool plan_one(struct client_read *r)
{
	struct piece *p;
	uint64_t len;
	uint8_t kind = plan_piece(r, &len);
	int rv;

	if (kind == WIRE_EXT_CHUNKS &&
	    !client_mem_room(r->c, &r->starved, (size_t)len))
		return false;
	p = mem_zalloc(sizeof(*p));
	if (p == NULL) {
		read_fail(r, RPC_STATUS_NOMEM);
		return false;
	}
	p->r = r;
	p->pos = r->plan;
	p->len = len;
	client_list_add(&r->pieces, &p->list);
	if (kind == WIRE_EXT_CHUNKS)
		rv = piece_fetch(p, &r->ext);
	else if (kind == WIRE_EXT_INLINE)
		rv = piece_inline(p, &r->ext);
	else
		rv = piece_zeros(p);
	if (rv != 0) {
		piece_free(p);
		return false;
	}
	r->plan += p->len;
	if (r->ext.len > 0 && r->ext.pos < r->plan) {
		r->ext.pos += p->len;
		r->ext.slice_off += p->len;
		r->ext.len -= p->len;
		if (r->ext.len == 0)
			window_next(r);
	}
	return true;
}

static void read_plan(struct client_read *r)
{
	unsigned n = 0;

	/* pieces without a fetch are cheap but must not pile up either */
	for (struct client_list *i = r->pieces.next; i != &r->pieces;
	     i = i->next)
		n++;
	while (r->status == RPC_STATUS_OK && r->plan < r->end &&
	       r->n_fetched <= r->ahead && n < 64) {
		if (r->in.err != 0) {
			read_fail(r, RPC_STATUS_BADMSG);
			return;
		}
		if (r->plan < r->win_end) {
			if (!plan_one(r))
				return;
			n++;
			continue;
		}
		if (r->call == NULL)
			read_ask(r);
		return;
	}
}

/* --- delivery --- */

/* Nothing behind pos was planned, fetched or met. */
static void read_back_to(struct client_read *r, uint64_t pos)
{
	pieces_drop(r);
	if (r->call != NULL)
		client_cancel(r->call);
	r->call = NULL;
	r->plan = pos;
	window_drop(r);
	/* what the plan behind that met came from the same old map */
	r->status = RPC_STATUS_OK;
}

/* A chunk vanished: look at the extents again from there, once. */
static bool read_again(struct client_read *r, const struct piece *p)
{
	uint64_t pos = p->pos;

	if (p->status != RPC_STATUS_NOENT || r->retried_at == pos + 1)
		return false;
	r->retried_at = pos + 1;
	read_back_to(r, pos);
	return true;
}

void client_reads_reclaim(struct client *c)
{
	uint64_t now = env_now_ns(c->env);

	for (struct client_list *i = c->mem.reads.next; i != &c->mem.reads;
	     i = i->next) {
		struct client_read *r = CONTAINER_OF(i, struct client_read,
						     list);
		const struct piece *p;

		if (!r->paused || r->n_fetched == 0 ||
		    now - r->moved_ns < c->set->stall_ns)
			continue;
		p = CONTAINER_OF(r->pieces.next, struct piece, list);
		if (p->state == PIECE_READY)
			read_back_to(r, p->pos);
	}
}

static void piece_hand_over(struct client_read *r, struct piece *p)
{
	struct body *b = p->body == NULL ? r->zeros : p->body;
	uint64_t most = p->body == NULL ? b->len : p->len;
	uint32_t from = p->from, len;

	r->moved_ns = env_now_ns(r->c->env);
	if (most > READ_STEP && client_is_short(r->c))
		most = READ_STEP;
	len = (uint32_t)(p->len < most ? p->len : most);
	body_ref(b);
	if (p->len > len) {
		/* the piece stays: zeros again and again, or its rest */
		p->pos += len;
		p->len -= len;
		if (p->body != NULL)
			p->from += len;
		r->cbs->data(r->arg, b, from, len);
		body_unref(b);
		return;
	}
	client_list_del(&p->list);
	if (p->fetched) {
		p->fetched = false;
		r->n_fetched--;
	}
	r->cbs->data(r->arg, b, from, len);
	body_unref(b);
	piece_free(p);
}

static void read_deliver(struct client_read *r)
{
	while (!r->paused && !r->freed && !client_list_empty(&r->pieces)) {
		struct piece *p = CONTAINER_OF(r->pieces.next, struct piece,
					       list);

		if (p->state == PIECE_PENDING)
			return;
		if (p->state == PIECE_FAILED) {
			if (!read_again(r, p)) {
				/* nothing behind it counts, also no error */
				r->status = p->status == RPC_STATUS_NOENT ?
						    RPC_STATUS_IO : p->status;
				pieces_drop(r);
			}
			return;
		}
		piece_hand_over(r, p);
		if (!r->freed)
			read_plan(r);
	}
}

static void read_release(struct client_read *r)
{
	if (!r->freed || r->depth > 0 || r->posted)
		return;
	body_unref(r->zeros);
	mem_free(r);
}

static bool read_is_over(const struct client_read *r)
{
	return client_list_empty(&r->pieces) && !r->told && !r->paused &&
	       (r->status != RPC_STATUS_OK || r->plan >= r->end);
}

/* After any event: plan, deliver, end. */
static void read_run(struct client_read *r)
{
	uint64_t before;

	r->depth++;
	do {
		before = r->retried_at;
		read_plan(r);
		read_deliver(r);
	} while (!r->freed && r->retried_at != before);
	if (!r->freed && read_is_over(r)) {
		r->told = true;
		r->cbs->done(r->arg, r->status);
	}
	r->depth--;
	read_release(r);
}

static void read_task(struct env_task *task)
{
	struct client_read *r = CONTAINER_OF(task, struct client_read, task);

	r->posted = false;
	if (r->freed)
		read_release(r);
	else
		read_run(r);
}

static void read_post(struct client_read *r)
{
	if (r->posted)
		return;
	r->posted = true;
	env_post(r->c->env, &r->task);
}

static void read_retry(struct client_starved *w)
{
	read_post(CONTAINER_OF(w, struct client_read, starved));
}

/* --- the interface --- */

struct client_read *client_read_start(struct client *c,
				      const struct client_read_spec *spec,
				      const struct client_read_cbs *cbs,
				      void *arg)
{
	struct client_read *r = mem_zalloc(sizeof(*r));

	if (r == NULL)
		return NULL;
	r->c = c;
	r->cbs = cbs;
	r->arg = arg;
	r->ino = spec->ino;
	r->version = spec->version;
	r->deadline = spec->deadline;
	r->plan = spec->off;
	r->end = spec->len > UINT64_MAX - spec->off ? UINT64_MAX :
						      spec->off + spec->len;
	r->ahead = spec->ahead;
	r->win_end = r->plan;
	r->task.run = read_task;
	CLIENT_LIST_INIT(&r->pieces);
	CLIENT_LIST_INIT(&r->starved.list);
	r->starved.retry = read_retry;
	CLIENT_LIST_INIT(&r->list);
	if (spec->covered > 0 &&
	    window_set(r, spec->extents, spec->covered, spec->inline_body) !=
		    0) {
		mem_free(r);
		return NULL;
	}
	client_list_add(&c->mem.reads, &r->list);
	read_post(r);
	return r;
}

void client_read_pause(struct client_read *r)
{
	r->paused = true;
}

void client_read_resume(struct client_read *r)
{
	if (!r->paused)
		return;
	r->paused = false;
	read_post(r);
}

void client_read_free(struct client_read *r)
{
	if (r == NULL)
		return;
	assert(!r->freed);
	pieces_drop(r);
	if (r->call != NULL)
		client_cancel(r->call);
	r->call = NULL;
	window_drop(r);
	client_list_del(&r->list);
	client_list_del(&r->starved.list);
	r->freed = true;
	read_release(r);
}
