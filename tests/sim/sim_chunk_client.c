/*
 * What clients ask for: new chunks and old ones again, other bytes under their
 * names, whole ones and parts, several at once; slices go, those that clients
 * wrote to last as well. Commands to the cleaner, and a database that writes
 * its tables when it likes.
 */
#include "tests/sim/sim_chunk.h"

#include <stdlib.h>
#include <xxhash.h>

/* --- requests --- */

static struct op *op_new(struct proc *p, enum op_kind kind, struct chunk *k)
{
	struct op *op = sim_zalloc(sizeof *op);

	op->p = p;
	op->kind = kind;
	op->chunk = k;
	op->tick = ++p->w->tick;
	op->at = sim_now(sim_of(p->w));
	op->faults = p->w->faults;
	op->next = p->ops;
	if (p->ops != NULL)
		p->ops->prev = op;
	p->ops = op;
	p->n_ops++;
	return op;
}

static void op_free(struct op *op)
{
	struct proc *p = op->p;

	if (op->prev != NULL)
		op->prev->next = op->next;
	else
		p->ops = op->next;
	if (op->next != NULL)
		op->next->prev = op->prev;
	p->n_ops--;
	free(op);
}

static void op_trace(const struct op *op, uint32_t status, uint32_t len)
{
	static const char *const names[] = { "put", "get", "check", "drop" };
	const struct slice *sl = op->chunk != NULL ? op->chunk->slice
						   : op->slices[0];

	sim_trace(sim_of(op->p->w), "%s %u.%u v%u: %u, %u bytes",
		  names[op->kind], (unsigned)sl->id.lo,
		  op->chunk != NULL ? op->chunk->index : op->n_slices,
		  op->version, status, len);
}

/* The disk did something wrong: reads that were under way may show it. */
static void client_faults(struct world *w)
{
	uint64_t n = crashfs_n_faults(sim_cluster_disk(w->c, 0));

	if (n == w->faults)
		return;
	w->faults = n;
	w->faults_at = sim_now(sim_of(w));
}

static void client_on_put(void *arg, uint32_t status, struct body *body)
{
	struct op *op = arg;

	if (body != NULL)
		sim_fail(op->p->w->c, "a put gives bytes");
	op_trace(op, status, 0);
	model_put_ended(op, status);
	op_free(op);
}

static void client_on_get(void *arg, uint32_t status, struct body *body)
{
	struct op *op = arg;

	client_faults(op->p->w);
	op_trace(op, status, body == NULL ? 0 : body->len);
	model_get_ended(op, status, body);
	body_unref(body);
	op_free(op);
}

static void client_on_check(void *arg, uint32_t status, uint32_t len)
{
	struct op *op = arg;

	client_faults(op->p->w);
	op_trace(op, status, len);
	model_check_ended(op, status, len);
	op_free(op);
}

static void client_on_drop(void *arg, uint32_t status)
{
	struct op *op = arg;

	op_trace(op, status, 0);
	model_drop_ended(op, status);
	op_free(op);
}

static struct chunk_loop *client_loop(struct proc *p)
{
	return p->loops[sim_rand(sim_of(p->w), p->n_loops)];
}

static struct chunk_loop *client_put_loop(struct proc *p,
					  const struct slice *sl)
{
	return sl->contested ? p->loops[sl->id.lo % p->n_loops]
			     : client_loop(p);
}

void client_put(struct proc *p, struct chunk *k, unsigned version,
		enum put_how how)
{
	struct op *op = op_new(p, OP_PUT, k);
	struct body *b = model_body(p->w, k, version);
	XXH128_hash_t h = XXH3_128bits(b->data, b->len);
	struct wire_u128 hash = { h.high64, h.low64 };

	op->version = version;
	op->how = how;
	if (how == PUT_BAD_HASH)
		hash.lo ^= 1;
	if (how == PUT_EMPTY)
		b->len = 0;
	model_put_began(op);
	if (chunk_put(client_put_loop(p, k->slice), k->slice->id, k->index,
		      hash, b, client_on_put, op) != 0)
		abort();
	body_unref(b);
	sim_cluster_count(p->w->c, SIM_N_WRITES, 1);
}

void client_get(struct proc *p, struct chunk *k, uint32_t off, uint32_t len)
{
	struct op *op = op_new(p, OP_GET, k);

	op->off = off;
	op->len = len;
	if (chunk_get(client_loop(p), k->slice->id, k->index, off, len,
		      client_on_get, op) != 0)
		abort();
	sim_cluster_count(p->w->c, SIM_N_READS, 1);
}

void client_check(struct proc *p, struct chunk *k, bool read)
{
	struct op *op = op_new(p, OP_CHECK, k);

	op->read = read;
	if (chunk_check(client_loop(p), k->slice->id, k->index, read,
			client_on_check, op) != 0)
		abort();
	sim_cluster_count(p->w->c, SIM_N_CHECKS, 1);
}

void client_drop(struct proc *p, struct slice *const *slices, unsigned n)
{
	struct op *op = op_new(p, OP_DROP, NULL);
	struct wire_u128 ids[OP_SLICES];

	op->n_slices = n;
	for (unsigned i = 0; i < n; i++) {
		op->slices[i] = slices[i];
		ids[i] = slices[i]->id;
	}
	model_drop_began(op);
	if (chunk_drop(client_loop(p), ids, n, client_on_drop, op) != 0)
		abort();
	sim_cluster_count(p->w->c, SIM_N_DROPPED, n);
}

void client_lost(struct proc *p)
{
	p->ending = true;
	while (p->ops != NULL) {
		struct op *op = p->ops;

		if (op->kind == OP_PUT)
			model_put_ended(op, RPC_STATUS_UNKNOWN_OUTCOME);
		else if (op->kind == OP_DROP)
			model_drop_ended(op, RPC_STATUS_UNKNOWN_OUTCOME);
		op_free(op);
	}
}

/* --- what is asked for next --- */

/* One that was written to; NULL: there is none. */
static struct slice *client_slice(struct world *w)
{
	struct sim *s = sim_of(w);
	unsigned n = w->n_slices, back;

	if (n == 0)
		return NULL;
	/* mostly one of the newer */
	back = (unsigned)sim_rand(s, sim_chance(s, 700) && n > 30 ? 30 : n);
	return w->slices[n - 1 - back];
}

static struct chunk *client_chunk(struct world *w)
{
	struct slice *sl = client_slice(w);

	return sl == NULL ? NULL : &sl->chunks[sim_rand(sim_of(w), sl->put)];
}

static unsigned client_alive(const struct world *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->n_slices; i++)
		n += w->slices[i]->drop_life == 0;
	return n;
}

static void client_put_new(struct world *w, struct proc *p)
{
	struct sim *s = sim_of(w);
	struct slice *sl = NULL;

	for (unsigned i = 0; i < 4 && sl == NULL; i++) {
		sl = client_slice(w);
		if (sl != NULL && (sl->put == sl->n || sl->drop_life != 0))
			sl = NULL;
	}
	if (sl == NULL)
		sl = model_slice_new(w);
	client_put(p, &sl->chunks[sl->put++], 1,
		   sim_chance(s, 30) ? PUT_BAD_HASH : PUT_GOOD);
}

/* The same once more, or other bytes, or none; what was dropped comes late. */
static void client_put_again(struct world *w, struct proc *p)
{
	struct sim *s = sim_of(w);
	struct chunk *k = client_chunk(w);

	if (k == NULL)
		return;
	if (k->slice->contested && k->slice->drop_life == 0 &&
	    sim_chance(s, 500))
		client_put(p, k, 2, PUT_GOOD);
	else if (sim_chance(s, 100))
		client_put(p, k, 1, sim_chance(s, 500) ? PUT_BAD_HASH
						       : PUT_EMPTY);
	else if (k->slice->drop_life == 0 || sim_chance(s, 200))
		client_put(p, k, 1, PUT_GOOD);
}

static void client_some_put(struct world *w, struct proc *p)
{
	if (proc_is_full(p)) {
		sim_cluster_count(w->c, SIM_N_NO_ROOM, 1);
		return;
	}
	if (sim_chance(sim_of(w), 750))
		client_put_new(w, p);
	else
		client_put_again(w, p);
}

/* Of one chunk, as readers do that go through it piece by piece. */
static void client_some_get(struct world *w, struct proc *p)
{
	struct sim *s = sim_of(w);
	struct chunk *k = client_chunk(w);
	unsigned n = 1;

	if (k == NULL)
		return;
	if (sim_chance(s, 300))
		n = (unsigned)sim_range(s, 2, 4);
	while (n-- > 0) {
		uint32_t most = model_len(w, k, 1) + 2;

		if (sim_chance(s, 500))
			client_get(p, k, 0, 0);
		else
			client_get(p, k, (uint32_t)sim_rand(s, most),
				   (uint32_t)sim_rand(s, most));
	}
}

static void client_some_check(struct world *w, struct proc *p)
{
	struct chunk *k = client_chunk(w);

	if (k != NULL)
		client_check(p, k, sim_chance(sim_of(w), 300));
}

static void client_some_drop(struct world *w, struct proc *p)
{
	struct sim *s = sim_of(w);
	struct slice *slices[3];
	unsigned n = (unsigned)sim_range(s, 1, 3), have = 0;

	for (unsigned i = 0; i < n; i++) {
		struct slice *sl = client_slice(w);

		/* what came back is dropped once more */
		if (sl != NULL && (sl->drop_life == 0 || sim_chance(s, 200)))
			slices[have++] = sl;
	}
	if (have > 0)
		client_drop(p, slices, have);
}

static void client_command(struct world *w, struct proc *p)
{
	struct sim *s = sim_of(w);
	struct compact_info info;

	compact_get_info(p->compact, &info);
	if (info.state == COMPACT_SUSPENDED) {
		if (sim_chance(s, 300))
			compact_resume(p->compact);
	} else if (info.state == COMPACT_RUNNING && sim_chance(s, 200)) {
		compact_suspend(p->compact);
		sim_cluster_count(w->c, SIM_N_SUSPENDED, 1);
	} else {
		compact_start(p->compact, sim_chance(s, 700)
						  ? UINT64_MAX
						  : sim_range(s, 1, 3));
	}
}

static void client_one(struct world *w, struct proc *p)
{
	uint64_t x = sim_rand(sim_of(w), 100);

	if (x < 36)
		client_some_put(w, p);
	else if (x < 64)
		client_some_get(w, p);
	else if (x < 74)
		client_some_check(w, p);
	else if (x < 82 || client_alive(w) > w->live)
		client_some_drop(w, p);
	else if (x < 90)
		client_command(w, p);
	else if (x < 95)
		(void)rows_back_checkpoint(p->back);
	else if (x < 97)
		check_counts(p);
	else
		check_slices(p);
}

static void client_stop_now(void *arg)
{
	struct world *w = arg;
	struct proc *p = world_proc(w);

	if (p != NULL && proc_is_quiet(p))
		sim_cluster_end(w->c, 0);
}

/* Behind this event: a process may abort while it ends. */
void client_stop(struct world *w)
{
	sim_after(sim_of(w), 0, client_stop_now, w);
}

void client_step(struct world *w, struct proc *p)
{
	struct sim *s = sim_of(w);

	if (sim_chance(s, 3)) {
		client_stop(w);
		return;
	}
	for (uint64_t n = sim_rand(s, w->rush + 1); n > 0; n--)
		client_one(w, p);
}
