/*
 * Slices: clients that write chunks first and then commit them (WRITE, PUT), in
 * time, late, twice, or never; what the shard says of them (SLICE_REAP, _DROP),
 * and stores that remove them.
 *
 * The stores are a table that has each slice until the shard said that it is
 * dead; its bytes follow from its number. The model knows for every byte of a
 * file which slice holds it, so it knows which slices are named, since when one
 * is not, and which are dead (storaged/ns_slice.c):
 *
 *   unknown -> named <-> waits -> dead;  unknown -> dead
 *
 * Checked: every answer to a commit, REAP and DROP; that only what is dead is
 * removed; that what a read names can be had while its lease lasts; that in the
 * end what is left in the stores is what files name.
 */
#include <stdlib.h>
#include <string.h>

#include "storaged/ns_rows.h"
#include "tests/sim/sim_shard_gen.h"

#define SLICES_ASKED 3 /* of one message */
#define SLICES_MAX 256

/* --- stores --- */

static struct slice *slice_find(struct world *w, struct wire_u128 id)
{
	for (unsigned i = 0; i < w->n_slices; i++)
		if (w->slices[i].id.hi == id.hi && w->slices[i].id.lo == id.lo)
			return &w->slices[i];
	sim_fail(w->c, "nobody made slice %llx.%llx", (unsigned long long)id.hi,
		 (unsigned long long)id.lo);
}

static unsigned slice_index(const struct world *w, const struct slice *s)
{
	return (unsigned)(s - w->slices);
}

uint16_t slice_name(struct world *w, struct wire_u128 id)
{
	return (uint16_t)(slice_index(w, slice_find(w, id)) + 1);
}

void slice_bytes(struct world *w, struct wire_u128 id, uint64_t off,
		 uint8_t *out, size_t len)
{
	const struct slice *s = slice_find(w, id);

	if (off + len > s->len)
		sim_fail(w->c, "bytes behind the end of a slice");
	sim_bytes_slice(id, off, out, len);
}

bool slice_is_gone(struct world *w, struct wire_u128 id)
{
	return slice_find(w, id)->dropped;
}

/* Its chunks go: the model has to agree. */
static void slice_drop(struct world *w, struct wire_u128 id)
{
	struct slice *s = slice_find(w, id);
	struct model *m = &w->models[s->group - 1];

	if (!m->slices[slice_index(w, s)].dead)
		sim_fail(w->c, "group %u: slice %u is removed, and not dead",
			 s->group, slice_index(w, s));
	sim_cluster_count(w->c, SIM_N_DROPPED, !s->dropped);
	s->dropped = true;
}

/* Somebody waits for the end of a removal. */
struct dropping {
	struct world *w;
	unsigned node, life;
	uint32_t status;
	void (*done)(void *arg, uint32_t status);
	void *arg;
};

static void slice_dropped(void *arg)
{
	struct dropping *d = arg;
	struct proc *p = sim_cluster_proc(d->w->c, d->node);

	if (p == NULL || p->store.life != d->life)
		return;
	sim_cluster_enter(d->w->c, d->node);
	d->done(d->arg, d->status);
}

int slice_on_drop(void *arg, const struct wire_u128 *slices, unsigned n,
		  void (*done)(void *done_arg, uint32_t status), void *done_arg)
{
	struct proc *p = arg;
	struct sim *s = sim_cluster_sim(p->at.c);
	struct dropping *d = sim_zalloc(sizeof *d);

	*d = (struct dropping){ p->w, p->at.node, p->store.life,
				RPC_STATUS_OK, done, done_arg };
	for (unsigned i = 0; i < n; i++)
		slice_drop(p->w, slices[i]);
	if (!sim_cluster_healing(p->at.c) && sim_chance(s, 200))
		d->status = RPC_STATUS_UNAVAILABLE; /* of some store */
	sim_after_owned(s, sim_range(s, 1 * SIM_MS, 50 * SIM_MS),
			slice_dropped, d);
	return 0;
}

struct body *slice_on_chunk(void *arg, struct wire_u128 slice, uint32_t index)
{
	struct proc *p = arg;
	const struct slice *s = slice_find(p->w, slice);
	struct body *b;

	if (s->dropped || index > 0)
		return NULL;
	b = body_new(s->len);
	if (b == NULL)
		abort();
	b->len = s->len;
	slice_bytes(p->w, slice, 0, b->data, s->len);
	return b;
}

/* --- the model --- */

void slice_forget(struct model *m)
{
	for (unsigned i = 0; i < m->cap_slices; i++)
		m->slices[i] = (struct slice_state){ .dead = false };
}

uint32_t slice_commit(struct model *m, struct wire_bytes extents)
{
	struct wire_extent x;
	struct wire_reader r;
	uint32_t n;

	for (r = wire_vec_reader(extents, &n); n > 0; n--) {
		unsigned i;

		wire_get_extent(&r, &x);
		if (x.kind != WIRE_EXT_CHUNKS)
			continue;
		i = slice_index(m->w, slice_find(m->w, x.slice));
		if (!m->slices[i].dead)
			continue;
		sim_cluster_count(m->w->c, SIM_N_LATE_COMMITS, !m->again);
		return RPC_STATUS_SLICE_GONE;
	}
	return RPC_STATUS_OK;
}

void slice_put(struct model *m, struct link_to *l, uint64_t pos,
	       const struct wire_extent *x, struct wire_bytes data)
{
	uint8_t bytes[NSM_BYTES];
	uint16_t name = 0;

	if (pos + x->len > NSM_BYTES)
		sim_fail(m->w->c, "the model's files are too small");
	if (x->kind == WIRE_EXT_CHUNKS) {
		name = slice_name(m->w, x->slice);
		slice_bytes(m->w, x->slice, x->slice_off, bytes, x->len);
		if (l->slices == NULL)
			l->slices = sim_zalloc(NSM_BYTES * sizeof *l->slices);
	} else {
		memcpy(bytes, data.p + x->slice_off, x->len);
	}
	nsm_write(l->file, pos, bytes, x->len);
	slice_wrote(l, pos, x->len, name);
}

void slice_wrote(struct link_to *l, uint64_t pos, uint64_t len, uint16_t name)
{
	for (uint64_t i = 0; l->slices != NULL && i < len; i++)
		l->slices[pos + i] = name;
}

/* Which slices files name now. */
static void slices_named(struct model *m, bool *named)
{
	for (unsigned i = 0; i < m->n_files; i++) {
		const struct link_to *l = &m->files[i];
		uint16_t last = 0;

		if (l->slices == NULL)
			continue;
		for (size_t k = 0; k < l->file->size; k++) {
			if (l->slices[k] != last && l->slices[k] != 0)
				named[l->slices[k] - 1] = true;
			last = l->slices[k];
		}
	}
}

/* Can it change what files name? */
static bool slice_may_move(uint16_t tag)
{
	return tag != RPC_TAG_queue_work && tag != RPC_TAG_session_end &&
	       tag != RPC_TAG_mknod && tag != RPC_TAG_link &&
	       tag != RPC_TAG_slice_reap && tag != RPC_TAG_slice_drop &&
	       tag != RPC_TAG_slice_done;
}

void slice_after(struct model *m, const struct ns_cmd *c)
{
	unsigned n = m->w->n_slices;
	bool *named;

	if (n == 0 || (!slice_may_move(c->tag) && !m->unqueued))
		return;
	m->unqueued = false;
	named = sim_zalloc(n * sizeof *named);
	slices_named(m, named);
	upload_named(m, named);
	for (unsigned i = 0; i < n; i++) {
		struct slice_state *s = &m->slices[i];

		if (named[i] && s->dead)
			sim_fail(m->w->c, "group %u: the model names a slice "
				 "that is dead", m->group);
		if (named[i])
			s->waits = false;
		else if (s->named) {
			s->waits = true;
			s->since = c->now;
		}
		s->named = named[i];
	}
	free(named);
}

static void slice_kill(struct slice_state *s)
{
	s->dead = true;
	s->waits = false;
}

uint32_t slice_reap(struct model *m, const struct ns_cmd *c,
		    const struct ns_answer *a)
{
	struct rpc_slice_reap_rsp rsp;
	struct rpc_slice_reap q;
	struct wire_reader r;
	uint32_t n;

	(void)rpc_slice_reap_decode(&q, c->payload, c->len);
	if (rpc_slice_reap_rsp_decode(&rsp, a->payload.data,
				      a->payload.len) != 0)
		return RPC_STATUS_OK; /* it says what was wrong instead */
	r = wire_vec_reader(q.slices, &n);
	for (uint32_t i = 0; i < n; i++) {
		struct slice_state *s;
		struct wire_u128 id;

		wire_get_u128(&r, &id);
		s = &m->slices[slice_index(m->w, slice_find(m->w, id))];
		if (!s->named && (!s->waits || s->since <= q.before))
			slice_kill(s);
		if (i >= rsp.dead.len || s->dead != (rsp.dead.p[i] != 0))
			sim_fail(m->w->c, "group %u: a slice is called %s",
				 m->group, s->dead ? "alive" : "dead");
	}
	return RPC_STATUS_OK;
}

uint32_t slice_dropped_by_client(struct model *m, const struct ns_cmd *c)
{
	struct rpc_slice_drop q;
	struct wire_reader r;
	uint32_t n;

	(void)rpc_slice_drop_decode(&q, c->payload, c->len);
	for (r = wire_vec_reader(q.slices, &n); n > 0; n--) {
		struct slice_state *s;
		struct wire_u128 id;

		wire_get_u128(&r, &id);
		s = &m->slices[slice_index(m->w, slice_find(m->w, id))];
		if (!s->named && !s->waits)
			slice_kill(s);
	}
	return RPC_STATUS_OK;
}

/* --- clients --- */

static struct slice *slice_new(struct gen *g, uint32_t len)
{
	struct world *w = g->w;
	uint32_t second = (uint32_t)(1700000000u + sim_now(g->s) / SIM_S);
	struct slice *s;

	w->slices = sim_grow(w->slices, w->n_slices, &w->cap_slices,
			     sizeof *w->slices);
	s = &w->slices[w->n_slices++];
	*s = (struct slice){
		.id = slice_make(g->m->group, second,
				 w->clients[g->client].session, w->n_slices),
		.group = g->m->group, .len = len,
	};
	for (unsigned i = 0; i < w->groups; i++)
		w->models[i].slices = sim_reach(w->models[i].slices,
						w->n_slices,
						&w->models[i].cap_slices,
						sizeof(struct slice_state));
	return s;
}

/* One of this shard that was made before, whatever became of it; or NULL. */
static const struct slice *slice_old(struct gen *g)
{
	const struct slice *s;

	if (g->w->n_slices == 0)
		return NULL;
	s = &g->w->slices[sim_rand(g->s, g->w->n_slices)];
	return s->group == g->m->group ? s : NULL;
}

uint64_t slice_gen_extents(struct gen *g, struct wire_vec *v, uint64_t pos)
{
	const struct slice *s = NULL;
	struct wire_extent x = { .kind = WIRE_EXT_CHUNKS, .pos = pos };

	wire_vec_init(v);
	if (sim_chance(g->s, 200))
		s = slice_old(g);
	if (s == NULL)
		s = slice_new(g, 4 + (uint32_t)sim_rand(g->s,
					sim_chance(g->s, 200) ? 400 : 40));
	x.slice = s->id;
	x.len = s->len;
	if (sim_chance(g->s, 300)) { /* the rest was overwritten meanwhile */
		x.slice_off = s->len / 4;
		x.len = s->len / 2;
	}
	wire_vec_add_extent(v, &x);
	return x.len;
}

static struct wire_bytes slice_gen_list(struct gen *g, struct wire_vec *v)
{
	wire_vec_init(v);
	for (unsigned i = 0; i < SLICES_ASKED; i++) {
		const struct slice *s = slice_old(g);
		struct wire_writer w;

		if (s == NULL)
			continue;
		w = wire_vec_add(v);
		wire_put_u128(&w, &s->id);
	}
	return wire_vec_bytes(v);
}

/* Whoever wrote chunks does not want them any more. */
void slice_gen_drop(struct gen *g)
{
	struct rpc_slice_drop q = { .client = 0 };
	struct wire_vec v;

	q.slices = slice_gen_list(g, &v);
	SEND(g, slice_drop, &q);
	wire_vec_fini(&v);
}

static void slice_reaped(struct op *op, const struct told *t)
{
	struct rpc_slice_reap_rsp rsp;
	struct rpc_slice_reap q;
	struct wire_reader r;
	uint32_t n;

	if (t->status != RPC_STATUS_OK)
		return;
	(void)rpc_slice_reap_decode(&q, op->payload.data, op->payload.len);
	(void)rpc_slice_reap_rsp_decode(&rsp, t->payload.p, t->payload.len);
	r = wire_vec_reader(q.slices, &n);
	for (uint32_t i = 0; i < n; i++) {
		struct wire_u128 id;

		wire_get_u128(&r, &id);
		if (rsp.dead.p[i] != 0)
			slice_drop(op->w, id);
	}
}

/* The sweep of a store (storaged/orphans.c), which found some. */
void slice_gen_reap(struct gen *g)
{
	struct rpc_slice_reap q = { .before = 0 };
	struct wire_vec v;

	q.slices = slice_gen_list(g, &v);
	SEND(g, slice_reap, &q)->told = slice_reaped;
	wire_vec_fini(&v);
}

/* --- the end --- */

/* Those of a shard that are left, from *i on; false: there are none. */
static bool slice_left(struct world *w, uint16_t group, unsigned *i,
		       struct wire_vec *v)
{
	wire_vec_init(v);
	for (; *i < w->n_slices && v->count < SLICES_MAX; ++*i) {
		const struct slice *s = &w->slices[*i];
		struct wire_writer out;

		if (s->group != group || s->dropped)
			continue;
		out = wire_vec_add(v);
		wire_put_u128(&out, &s->id);
	}
	return v->count > 0;
}

/* All that is left is asked for, as sweeps do. */
void slice_end(struct world *w)
{
	for (unsigned k = 0; k < w->groups; k++) {
		struct gen g = gen_new(w, 0, &w->models[k]);
		struct wire_vec v;
		unsigned i = 0;

		while (slice_left(w, g.m->group, &i, &v)) {
			struct rpc_slice_reap q = { .before = 0 };

			g = gen_new(w, 0, &w->models[k]);
			q.slices = wire_vec_bytes(&v);
			SEND(&g, slice_reap, &q)->told = slice_reaped;
			wire_vec_fini(&v);
		}
		wire_vec_fini(&v);
	}
}

bool slice_over(const struct world *w)
{
	for (unsigned i = 0; i < w->n_slices; i++) {
		const struct slice *s = &w->slices[i];
		const struct slice_state *is =
			&w->models[s->group - 1].slices[i];

		if (!s->dropped && !is->named && (!is->waits || w->drains))
			return false;
	}
	return true;
}

void slice_check_end(struct world *w)
{
	for (unsigned i = 0; i < w->n_slices; i++) {
		const struct slice *s = &w->slices[i];

		if (s->dropped && w->models[s->group - 1].slices[i].named)
			sim_fail(w->c, "a slice that is named is gone");
	}
}
