/*
 * What a chunk may be, must be, must not be.
 *
 * - A put that was answered OK stays, with those bytes, until its slice is
 *   dropped: in this life and in all later ones. (A slice that was dropped once
 *   gets no other bytes: nobody can name it any more. Here they may come late.)
 * - What a put may have left behind that was not answered is there with the
 *   bytes of one of them, or not at all; what a read showed stays. What a life
 *   did not find comes in no later one.
 * - A slice whose drop was answered is not in the index in this life, and in no
 *   later one once the index was saved behind it: unless that was lost, or had
 *   rows of a segment that was freed (the last of it was dropped behind the
 *   save), or the cleaner had a copy under way (docs/DISK_FORMAT.md,
 *   `chunks/`). What comes back has bytes that were put.
 * - Bytes that nobody put under that name are never shown. A read fails only
 *   for what the disk did in that time, or has lost for good; chunks are
 *   missing only when starts said that they found records lost, no more than
 *   those.
 */
#include "tests/sim/sim_chunk.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define WALL_2023 1700000000u /* where the clocks of simenv begin */
#define ROT_NS (1 * SIM_S)    /* a get may follow an older one's read */

/* --- names --- */

struct slice *model_slice_new(struct world *w)
{
	struct sim *s = sim_of(w);
	struct slice *sl = sim_zalloc(sizeof *sl);
	unsigned n = 1 + (unsigned)sim_rand(s, w->most_chunks);

	sl->id = slice_make((uint16_t)sim_range(s, 1, 3),
			    WALL_2023 + (uint32_t)(sim_now(s) / SIM_S), 1,
			    w->n_slices);
	sl->n = n;
	sl->contested = sim_chance(s, 500);
	if (sim_chance(s, 30))
		sl->first = UINT32_MAX - (n - 1);
	sl->chunks = sim_zalloc(n * sizeof *sl->chunks);
	for (unsigned i = 0; i < n; i++)
		sl->chunks[i] = (struct chunk){ .slice = sl,
						.index = sl->first + i,
						.absent = true };
	w->slices = sim_grow(w->slices, w->n_slices, &w->cap_slices,
			     sizeof *w->slices);
	w->slices[w->n_slices++] = sl;
	return sl;
}

struct slice *model_slice(struct world *w, struct wire_u128 id)
{
	uint32_t at = (uint32_t)id.lo;

	return at < w->n_slices && w->slices[at]->id.hi == id.hi &&
			       w->slices[at]->id.lo == id.lo
		       ? w->slices[at]
		       : NULL;
}

struct chunk *model_chunk(struct world *w, const struct chunk_id *id)
{
	struct slice *sl = model_slice(w, id->slice);

	return sl != NULL && id->index - sl->first < sl->n
		       ? &sl->chunks[id->index - sl->first]
		       : NULL;
}

struct chunk_id model_id(const struct chunk *k)
{
	return (struct chunk_id){ k->slice->id, k->index };
}

/* --- bytes: each version of each chunk has its own --- */

static uint64_t model_token(const struct chunk *k, unsigned version)
{
	const uint64_t name[3] = { k->slice->id.lo, k->index, version };

	return XXH3_64bits(name, sizeof name);
}

uint32_t model_len(const struct world *w, const struct chunk *k,
		   unsigned version)
{
	uint64_t x = model_token(k, version);
	uint32_t most = w->most_len;

	if (x % 1000 < w->permille_large)
		return (1u << 20) + (uint32_t)(x >> 20) % (3u << 20);
	if (x >> 10 & 7)
		most /= 8;
	return 8 + (uint32_t)(x >> 20) % most; /* no two are alike */
}

static uint64_t model_word(uint64_t token, uint64_t i)
{
	return token + i * 0x9E3779B97F4A7C15u;
}

struct body *model_body(const struct world *w, const struct chunk *k,
			unsigned version)
{
	uint32_t len = model_len(w, k, version);
	uint64_t token = model_token(k, version);
	struct body *b = body_new(len);

	if (b == NULL)
		abort();
	b->len = len;
	for (uint32_t at = 0; at < len; at += 8) {
		uint64_t x = model_word(token, at / 8);

		memcpy(b->data + at, &x, len - at < 8 ? len - at : 8);
	}
	return b;
}

/* Are these the version's bytes from off on? */
static bool model_is(const struct chunk *k, unsigned version, uint32_t off,
		     const uint8_t *p, uint32_t len)
{
	uint64_t token = model_token(k, version);

	for (uint32_t done = 0, part; done < len; done += part) {
		uint64_t x = model_word(token, (off + done) / 8);
		uint32_t skip = (off + done) % 8;

		part = 8 - skip < len - done ? 8 - skip : len - done;
		if (memcmp(p + done, (const uint8_t *)&x + skip, part) != 0)
			return false;
	}
	return true;
}

/* --- what is wrong --- */

static _Noreturn void model_fail(const struct op *op, const char *what)
{
	const struct chunk *k = op->chunk;

	sim_fail(op->p->w->c, "life %u: chunk %u.%u: %s (may=%x have=%u "
		 "absent=%d gone=%d sealed=%d puts=%u drops=%u lost=%llu "
		 "rots=%llu)",
		 op->p->life, (unsigned)k->slice->id.lo, k->index, what,
		 k->may, k->have, k->absent, k->gone, k->sealed, k->puts,
		 k->slice->drops, (unsigned long long)op->p->w->lost,
		 (unsigned long long)op->p->w->rots);
}

static void model_change(struct world *w, struct chunk *k)
{
	k->changed = ++w->tick;
}

/* Nothing has happened to it since the request began. */
static bool model_is_exact(const struct op *op)
{
	return op->chunk->changed < op->tick;
}

/* Nor was its slice dropped since, or is. */
static bool model_is_undropped(const struct op *op)
{
	const struct slice *sl = op->chunk->slice;

	return sl->drops == 0 && sl->drop_tick < op->tick;
}

/* --- puts --- */

void model_put_began(struct op *op)
{
	struct chunk *k = op->chunk;

	if (op->how != PUT_GOOD)
		return; /* it leaves nothing */
	model_change(op->p->w, k);
	k->put = k->changed;
	k->puts++;
	k->may |= (uint8_t)(1u << op->version);
	k->gone = k->sealed = false;
	k->seq = UINT64_MAX;
}

/* It is there, as this version. */
static void model_have(struct world *w, struct chunk *k, unsigned version)
{
	bool alone = (k->may & ~(1u << version)) == 0;
	uint8_t have = 0;

	if (k->slice->drop_life == 0 || alone)
		have = (uint8_t)version;
	if (k->have != have || k->absent)
		model_change(w, k); /* other reads may have been earlier */
	k->have = have;
	k->absent = false;
}

static void model_put_ok(struct op *op)
{
	struct chunk *k = op->chunk;

	if (op->how != PUT_GOOD)
		model_fail(op, "a bad put is answered OK");
	if (!model_is_undropped(op)) {
		k->have = 0;
		return;
	}
	if (k->have != 0 && k->have != op->version && op->p->w->rots == 0)
		model_fail(op, "two versions are stored");
	model_have(op->p->w, k, op->version);
}

/* Other bytes are there, or they may be: rot uncovers what came second. */
static void model_put_refused(struct op *op)
{
	struct chunk *k = op->chunk;

	if (op->how == PUT_BAD_HASH)
		return;
	if (op->how != PUT_GOOD || (k->may & ~(1u << op->version)) == 0 ||
	    (k->have == op->version && !k->absent && op->p->w->rots == 0))
		model_fail(op, "a put is refused");
}

void model_put_ended(struct op *op, uint32_t status)
{
	struct chunk *k = op->chunk;

	if (op->how == PUT_GOOD) {
		model_change(op->p->w, k);
		k->put = k->changed;
		k->puts--;
	}
	if (op->p->ending)
		return;
	if (status == RPC_STATUS_OK)
		model_put_ok(op);
	else if (status == RPC_STATUS_BAD_DIGEST)
		model_put_refused(op);
	else if (status != RPC_STATUS_INVAL || op->how != PUT_EMPTY)
		model_fail(op, rpc_status_text(status));
	if (status != RPC_STATUS_OK)
		sim_cluster_count(op->p->w->c, SIM_N_BAD_PUTS, 1);
	if (k->puts == 0 && op->how == PUT_GOOD)
		k->seq = seg_head_last_seq(op->p->bulk);
}

/* --- drops --- */

void model_drop_began(struct op *op)
{
	struct world *w = op->p->w;

	for (unsigned i = 0; i < op->n_slices; i++) {
		struct slice *sl = op->slices[i];

		sl->drops++;
		sl->drop_tick = ++w->tick;
		sl->drop_life = op->p->life;
		for (unsigned j = 0; j < sl->n; j++) {
			struct chunk *k = &sl->chunks[j];

			sim_cluster_count(w->c, SIM_N_DROPPED_AMID,
					  k->copying && k->may != 0);
			model_change(w, k);
			k->absent = true;
			k->have = 0;
		}
	}
}

void model_drop_ended(struct op *op, uint32_t status)
{
	struct world *w = op->p->w;

	if (!op->p->ending && status != RPC_STATUS_OK)
		sim_fail(w->c, "a drop: %s", rpc_status_text(status));
	for (unsigned i = 0; i < op->n_slices; i++) {
		struct slice *sl = op->slices[i];

		sl->drops--;
		sl->drop_tick = ++w->tick;
		for (unsigned j = 0; j < sl->n; j++) {
			struct chunk *k = &sl->chunks[j];

			model_change(w, k);
			k->have = 0;
			if (!op->p->ending && k->puts == 0 && k->put < op->tick)
				k->gone = true;
		}
	}
}

/* --- reads --- */

/* May the disk have lost it, for now or for good? */
static bool model_may_rot(const struct op *op)
{
	const struct world *w = op->p->w;

	return sim_cluster_rotten(w->c, 0) || w->faults != op->faults ||
	       (w->faults_at != 0 && w->faults_at + ROT_NS >= op->at);
}

/* A read shows this version. */
static void model_seen(struct op *op, unsigned version)
{
	struct chunk *k = op->chunk;
	bool memory = k->got == op->p->life;

	k->got = op->p->life;
	if (!model_is_exact(op))
		return;
	if (k->gone && memory)
		return; /* chunk_get() keeps it for a moment */
	if (k->gone)
		model_fail(op, "a dropped one is read");
	if (k->have != 0 && k->have != version && op->p->w->rots == 0)
		model_fail(op, "another version is read");
	if (!model_is_undropped(op) || k->slice->drop_life == op->p->life)
		return;
	if (k->slice->drop_life != 0 && k->absent)
		sim_cluster_count(op->p->w->c, SIM_N_BACK, 1);
	model_have(op->p->w, k, version);
}

static void model_not_there(struct op *op)
{
	struct chunk *k = op->chunk;
	struct world *w = op->p->w;

	if (!model_is_exact(op))
		return;
	if (!k->absent) {
		if (++w->lost > w->rots)
			model_fail(op, "it is not there");
		sim_cluster_count(w->c, SIM_N_CHUNKS_LOST, 1);
	}
	k->absent = true;
	if (k->puts > 0 || !model_is_undropped(op) || k->gone)
		return;
	model_change(w, k);
	k->gone = true;
	/* records that did not count once never do */
	if (k->slice->drop_life == 0 && w->rots == 0)
		k->may = 0;
}

/* The version that has this part. */
static unsigned model_which(const struct op *op, const struct body *b)
{
	const struct chunk *k = op->chunk;

	for (unsigned v = 1; v <= VERSIONS; v++) {
		uint32_t all = model_len(op->p->w, k, v), len;

		if ((k->may & 1u << v) == 0 || op->off >= all)
			continue;
		len = all - op->off;
		if (op->len != 0 && op->len < len)
			len = op->len;
		if (b->len == len &&
		    model_is(k, v, op->off, b->data, b->len))
			return v;
	}
	return 0;
}

/* A part of nothing: some version must be as short as that. */
static void model_behind(struct op *op)
{
	struct chunk *k = op->chunk;

	k->got = op->p->life;
	for (unsigned v = 1; v <= VERSIONS; v++)
		if ((k->may & 1u << v) != 0 &&
		    op->off >= model_len(op->p->w, k, v))
			return;
	model_fail(op, "a part is refused");
}

/* What a read met that shows nothing. */
static void model_failed(struct op *op, uint32_t status)
{
	if (status == RPC_STATUS_NOENT) {
		model_not_there(op);
	} else if (status == RPC_STATUS_IO && model_may_rot(op)) {
		sim_cluster_count(op->p->w->c, SIM_N_BY_ROT, 1);
	} else {
		model_fail(op, rpc_status_text(status));
	}
}

void model_get_ended(struct op *op, uint32_t status, const struct body *body)
{
	unsigned version;

	if ((body != NULL) != (status == RPC_STATUS_OK))
		model_fail(op, "bytes without OK, or none with it");
	if (op->p->ending)
		return;
	if (status == RPC_STATUS_INVAL) {
		model_behind(op);
	} else if (status != RPC_STATUS_OK) {
		model_failed(op, status);
	} else {
		version = model_which(op, body);
		if (version == 0)
			model_fail(op, "wrong bytes");
		model_seen(op, version);
	}
}

void model_check_ended(struct op *op, uint32_t status, uint32_t len)
{
	struct chunk *k = op->chunk;
	unsigned version = 0, n = 0;

	if (op->p->ending)
		return;
	if (status != RPC_STATUS_OK) {
		model_failed(op, status);
		return;
	}
	for (unsigned v = 1; v <= VERSIONS; v++)
		if ((k->may & 1u << v) != 0 &&
		    model_len(op->p->w, k, v) == len) {
			version = v;
			n++;
		}
	if (n == 0)
		model_fail(op, "it is as long as none");
	if (!op->read && model_is_exact(op) && k->gone)
		model_fail(op, "a dropped one is there");
	if (op->read && n == 1)
		model_seen(op, version);
	else if (op->read)
		k->got = op->p->life;
}

/* --- what happens to all of them --- */

void model_looked_again(struct world *w)
{
	for (unsigned i = 0; i < w->n_slices; i++)
		for (unsigned j = 0; j < w->slices[i]->n; j++)
			w->slices[i]->chunks[j].sealed = false;
}

void model_started(struct proc *p, uint64_t last)
{
	struct world *w = p->w;

	w->rots += p->rots;
	for (unsigned i = 0; i < w->n_slices; i++)
		for (unsigned j = 0; j < w->slices[i]->n; j++) {
			struct chunk *k = &w->slices[i]->chunks[j];

			model_change(w, k);
			k->copying = k->moved = false;
			if (k->may == 0)
				continue;
			k->seq = last;
			k->gone &= k->sealed;
		}
}

void model_saved(struct world *w, uint64_t seq)
{
	for (unsigned i = 0; i < w->n_slices; i++)
		for (unsigned j = 0; j < w->slices[i]->n; j++) {
			struct chunk *k = &w->slices[i]->chunks[j];

			k->sealed |= k->gone && k->seq <= seq;
		}
}

void model_copied(struct world *w, const struct chunk_id *id)
{
	struct chunk *k = model_chunk(w, id);

	if (k == NULL)
		sim_fail(w->c, "the cleaner copies what nobody put");
	k->copying = true;
	/* a start may find it, when it is dropped by then */
	k->seq = UINT64_MAX;
	k->sealed = false;
}
