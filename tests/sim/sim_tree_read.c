/*
 * Clients that read bytes back, and write them in place.
 *
 * A GET goes from directory to directory and at last to the shard of the file,
 * one after the other, so what it answers must be true along one way through
 * the states: each directory held the next one in some state, none of them
 * older than the one before, and the file had these bytes, this size, number of
 * names and ETag in one that is not older than the one with its name. A READ
 * must be true of one state.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_tree.h"

#define WAY_DEPTH 4
#define WAY_WIDTH 64
#define FILE_SMALL 1000u /* longer ones are cut, not written to */

static struct sim *sim_of(const struct tree *w)
{
	return sim_cluster_sim(w->c);
}

/* --- an answer --- */

struct seen {
	uint32_t status;
	const struct wire_attr *attr;
	bool bytes, tagged;
	uint64_t hash;
	struct wire_bytes etag;
};

static bool seen_fits(const struct seen *s, const struct ver_row *r)
{
	return s->status == 0 && s->attr->ino == r->ino &&
	       s->attr->nlink == r->nlink && s->attr->size == r->size &&
	       (!s->bytes || s->hash == r->hash) &&
	       (!s->tagged || sim_etag_fits(r->tag, s->etag));
}

static const struct ver_row *ver_file(const struct ver *v, uint64_t ino)
{
	for (unsigned i = 0; i < v->n; i++)
		if (v->rows[i].file && v->rows[i].ino == ino)
			return &v->rows[i];
	return NULL;
}

static _Noreturn void see_fail(const struct op *op, const char *what,
			       size_t len, const struct seen *s)
{
	for (unsigned i = tree_first_ver(op); i < op->w->n_vers; i++) {
		const struct ver *v = op->w->vers[i];

		printf("# state at %llu:", (unsigned long long)v->tick);
		for (unsigned k = 0; k < v->n; k++)
			printf(" %s(%llx,%u,%llu,%llx)", v->rows[k].key,
			       (unsigned long long)v->rows[k].ino,
			       v->rows[k].nlink,
			       (unsigned long long)v->rows[k].size,
			       (unsigned long long)v->rows[k].hash);
		printf("\n");
	}
	sim_fail(op->w->c, "%s %.*s answers %s ino %llx nlink %u size %llu hash "
		 "%llx: never true", rpc_info(op->tag)->name, (int)len, what,
		 rpc_status_name(s->status),
		 (unsigned long long)s->attr->ino, s->attr->nlink,
		 (unsigned long long)s->attr->size,
		 (unsigned long long)s->hash);
}

/* --- OBJECT: ways through the states --- */

/* A component of the key: "a/", the last one "b", or nothing. */
struct way {
	char comps[WAY_DEPTH][TREE_KEY];
	unsigned depth;
	/* directories that were reached, so many components down; files */
	uint64_t at[WAY_DEPTH + 1][WAY_WIDTH];
	unsigned n[WAY_DEPTH + 1];
};

static void way_init(struct way *y, uint64_t root, const char *key, size_t len)
{
	*y = (struct way){ .depth = 0 };
	for (size_t i = 0, from = 0; i <= len; i++) {
		if (i < len && key[i] != '/')
			continue;
		if (y->depth == WAY_DEPTH)
			abort();
		snprintf(y->comps[y->depth++], TREE_KEY, "%.*s",
			 (int)(i - from) + (i < len), key + from);
		from = i + 1;
	}
	y->at[0][y->n[0]++] = root;
}

static void way_add(struct way *y, unsigned depth, uint64_t ino)
{
	for (unsigned i = 0; i < y->n[depth]; i++)
		if (y->at[depth][i] == ino)
			return;
	if (y->n[depth] == WAY_WIDTH)
		abort();
	y->at[depth][y->n[depth]++] = ino;
}

static bool is_empty_dir(const struct ver *v, const struct ver_row *dir)
{
	for (unsigned i = 0; i < v->n; i++)
		if (&v->rows[i] != dir &&
		    strncmp(v->rows[i].key, dir->key, strlen(dir->key)) == 0)
			return false;
	return true;
}

/* One directory in one state; true: the answer is what one gets there. */
static bool way_step(struct way *y, unsigned depth, uint64_t dir,
		     uint64_t root, const struct ver *v, const struct seen *s)
{
	const struct ver_row *d = dir == root ? NULL : ver_dir(v, dir), *r;
	bool last = depth + 1 == y->depth;
	char key[2 * TREE_KEY];

	if (d == NULL && dir != root)
		return false; /* it is gone: the walk begins anew */
	snprintf(key, sizeof key, "%s%s", d == NULL ? "" : d->key,
		 y->comps[depth]);
	r = ver_find(v, key, last);
	if (r != NULL) {
		way_add(y, depth + 1, r->ino);
		return false;
	}
	/* an empty directory is the object of no bytes */
	if (last && y->comps[depth][0] == 0 && d != NULL && is_empty_dir(v, d))
		return s->status == 0 && s->attr->ino == dir &&
		       s->attr->size == 0;
	return s->status == RPC_STATUS_NOENT;
}

static bool way_state(struct way *y, uint64_t root, const struct ver *v,
		      const struct seen *s)
{
	for (unsigned depth = 0; depth < y->depth; depth++)
		for (unsigned i = 0; i < y->n[depth]; i++)
			if (way_step(y, depth, y->at[depth][i], root, v, s))
				return true;
	for (unsigned i = 0; i < y->n[y->depth]; i++) {
		const struct ver_row *r = ver_file(v, y->at[y->depth][i]);

		if (r != NULL && seen_fits(s, r))
			return true;
	}
	return false;
}

static bool way_fits(const struct op *op, const struct rpc_object *q,
		     const struct seen *s)
{
	const struct tree *w = op->w;
	bool cut = false;
	struct way y;

	way_init(&y, w->root, (const char *)q->key.p, q->key.len);
	for (unsigned i = tree_first_ver(op); i < w->n_vers; i++) {
		cut |= w->vers[i]->cut; /* it may have been that deep */
		if (way_state(&y, w->root, w->vers[i], s))
			return true;
	}
	return cut;
}

/* As CopyObject does with a small one. */
static void copy_object(struct op *op, const uint8_t *bytes, uint64_t size)
{
	struct tree *w = op->w;

	if (size == 0 || size > FILE_SMALL || w->heal != HEAL_NOT ||
	    !sim_chance(sim_of(w), 250))
		return;
	w->n_copies++;
	tree_gen_put(w, op->client, tree_key(w), wire_bytes(bytes, size));
}

void tree_see_object(struct op *op, uint32_t status, struct wire_bytes payload,
		     struct wire_bytes body)
{
	struct rpc_object_rsp rsp = { .attr = { .ino = 0 } };
	struct seen s = { .status = status, .attr = &rsp.attr };
	uint8_t bytes[NSM_BYTES];
	struct rpc_object q;

	(void)rpc_object_decode(&q, op->request.data, op->request.len);
	if (status == 0 &&
	    rpc_object_rsp_decode(&rsp, payload.p, payload.len) != 0)
		sim_fail(op->w->c, "OBJECT answers nonsense");
	s.tagged = status == 0;
	s.etag = rsp.etag;
	s.bytes = status == 0 && q.len > 0;
	tree_see_slices(op, rsp.extents);
	if (s.bytes)
		s.hash = sim_bytes_joined(op->w->c, rsp.extents, body,
					  rsp.attr.size, bytes);
	if (!way_fits(op, &q, &s))
		see_fail(op, (const char *)q.key.p, q.key.len, &s);
	op->w->n_gets += s.bytes;
	if (s.bytes && ino_shard(rsp.attr.ino) != ino_shard(q.root))
		op->w->n_far_gets++;
	if (s.bytes)
		copy_object(op, bytes, rsp.attr.size);
}

/* --- READ --- */

void tree_see_read(struct op *op, uint32_t status, struct wire_bytes payload,
		   struct wire_bytes body)
{
	struct rpc_read_rsp rsp = { .attr = { .ino = 0 } };
	struct seen s = { .status = status, .attr = &rsp.attr,
			  .bytes = status == 0 };
	struct tree *w = op->w;
	struct rpc_read q;
	bool gone = false;

	(void)rpc_read_decode(&q, op->request.data, op->request.len);
	if (status == 0 &&
	    rpc_read_rsp_decode(&rsp, payload.p, payload.len) != 0)
		sim_fail(w->c, "READ answers nonsense");
	tree_see_slices(op, rsp.extents);
	if (status == 0)
		s.hash = sim_bytes_joined(w->c, rsp.extents, body,
					  rsp.attr.size, NULL);
	w->n_gets += status == 0;
	for (unsigned i = tree_first_ver(op); i < w->n_vers; i++) {
		const struct ver_row *r = ver_file(w->vers[i], q.ino);

		if (r != NULL && seen_fits(&s, r))
			return;
		gone |= r == NULL;
	}
	/* without a name it may be kept, or not */
	if (!gone || (status != RPC_STATUS_STALE &&
		      (status != 0 || rsp.attr.nlink != 0)))
		see_fail(op, "", 0, &s);
}

/* --- what is asked for --- */

void tree_gen_object(struct tree *w, unsigned client, const char *key)
{
	struct rpc_object q = { .root = w->root, .key = wire_cstr(key) };

	if (w->heal != HEAL_NOT || sim_chance(sim_of(w), 800))
		q.len = NSM_BYTES;
	SEND(w, client, object, &q);
}

static void read_ino(struct tree *w, unsigned client, uint64_t ino)
{
	struct rpc_read q = { .ino = ino, .len = NSM_BYTES };

	SEND(w, client, read, &q);
}

void tree_gen_read(struct tree *w, unsigned client)
{
	const struct ver_row *r = tree_pick(w, false);

	if (r == NULL)
		tree_gen_object(w, client, tree_key(w));
	else
		read_ino(w, client, r->ino);
}

void tree_read_moved(struct op *op, struct wire_bytes payload)
{
	struct rpc_rename_rsp moved = { .attr = { .ino = 0 } };
	struct tree *w = op->w;
	struct rpc_link q;

	if (w->heal != HEAL_NOT || !sim_chance(sim_of(w), 500))
		return;
	if (op->tag == RPC_TAG_link &&
	    rpc_link_decode(&q, op->request.data, op->request.len) == 0)
		read_ino(w, op->client, q.ino);
	else if (op->tag == RPC_TAG_rename &&
		 rpc_rename_rsp_decode(&moved, payload.p, payload.len) == 0 &&
		 ver_file(tree_now(w), moved.attr.ino) != NULL)
		read_ino(w, op->client, moved.attr.ino);
}

/* --- what is written --- */

void tree_commit_put(struct tree *w, unsigned client, const char *key,
		     struct wire_u128 slice, uint64_t size)
{
	struct rpc_put q = { .root = w->root, .key = wire_cstr(key), .uid = 1,
			     .size = size };
	char etag[SIM_ETAG];
	struct wire_vec v;

	q.extents = sim_bytes_chunks(&v, 0, size, slice);
	q.etag = wire_cstr(sim_etag(++w->token, etag));
	SEND(w, client, put, &q);
	wire_vec_fini(&v);
}

static void put_slice(struct tree *w, unsigned client, const char *key)
{
	struct sim *s = sim_of(w);
	uint64_t size = 8 + sim_rand(s, 900);
	struct wire_u128 slice =
		tree_slice(w, (uint16_t)(1 + sim_rand(s, w->groups)));

	if (w->alone)
		tree_bulk_put(w, client, key, slice, size);
	else
		tree_commit_put(w, client, key, slice, size);
}

void tree_gen_put(struct tree *w, unsigned client, const char *key,
		  struct wire_bytes data)
{
	struct sim *s = sim_of(w);
	struct rpc_put q = { .root = w->root, .key = wire_cstr(key), .uid = 1,
			     .data = data };
	char etag[SIM_ETAG];
	uint8_t bytes[1200];
	struct wire_vec v;

	w->token++;
	if (data.len == 0 && sim_chance(s, 200)) {
		put_slice(w, client, key);
		return;
	}
	if (data.len == 0) /* some in the row, some in the log */
		q.data = sim_bytes_make(bytes,
					sim_chance(s, 600)
						? 8 + sim_rand(s, 240)
						: 257 + sim_rand(s, 900),
					w->token);
	q.size = q.data.len;
	q.extents = sim_bytes_extent(&v, 0, q.data.len);
	q.etag = wire_cstr(sim_etag(w->token, etag));
	SEND(w, client, put, &q);
	wire_vec_fini(&v);
}

static void cut_file(struct tree *w, unsigned client, uint64_t ino)
{
	struct rpc_setattr q = { .ino = ino, .valid = RPC_SET_SIZE,
				 .size = sim_rand(sim_of(w), 40) };

	SEND(w, client, setattr, &q);
}

void tree_gen_write(struct tree *w, unsigned client)
{
	const struct ver_row *r = tree_pick(w, false);
	struct rpc_write q = { .session = 1 };
	struct sim *s = sim_of(w);
	size_t len = sim_chance(s, 800) ? 8 : 1 + sim_rand(s, 300);
	uint8_t bytes[300];
	struct wire_vec v;
	uint64_t pos = 0;

	if (r == NULL) {
		tree_gen_put(w, client, tree_key(w), wire_bytes(NULL, 0));
		return;
	}
	if (r->size > FILE_SMALL) {
		cut_file(w, client, r->ino);
		return;
	}
	q.ino = r->ino;
	if (sim_chance(s, 700))
		q.flags = RPC_WRITE_APPEND;
	else
		pos = sim_rand(s, 600);
	if (sim_chance(s, 150)) {
		struct wire_u128 slice = tree_slice(w, ino_shard(r->ino));

		if (w->alone) {
			tree_bulk_write(w, client, &q, pos, slice, len);
			return;
		}
		q.extents = sim_bytes_chunks(&v, pos, len, slice);
	} else {
		q.data = sim_bytes_make(bytes, len, ++w->token);
		q.extents = sim_bytes_extent(&v, pos, len);
	}
	SEND(w, client, write, &q);
	wire_vec_fini(&v);
}
