/*
 * What clients ask for: few names, so that they meet; both vocabularies.
 * Inodes are those of the newest state of the model.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/sim/sim_shard_gen.h"

static const char *const gen_keys[] = { "k0",	"k1",	"k2",	  "p/x",
					"p/y",	"d0/k", "d0/k1",  "d1/k",
					"d0/p/z" };
static const char *const gen_names[] = { "k0", "k1", "d0", "d1", "f0", "k",
					 "p" };

struct op *gen_send(struct gen *g, uint16_t tag)
{
	return client_op(g->w, g->client, g->m, tag, &g->out);
}

const struct ver_row *gen_row(struct gen *g, bool dir)
{
	const struct ver *v = model_now(g->m);
	unsigned from;

	if (v->n == 0)
		return NULL;
	from = (unsigned)sim_rand(g->s, v->n);
	for (unsigned i = 0; i < v->n; i++) {
		const struct ver_row *r = &v->rows[(from + i) % v->n];

		if (r->ino != 0 && (r->nlink == 0) == dir &&
		    strlen(r->key) < SHARD_KEY / 2)
			return r;
	}
	return NULL;
}

const char *gen_name(struct gen *g)
{
	return PICK(g->s, gen_names);
}

uint64_t gen_dir(struct gen *g)
{
	const struct ver_row *r = NULL;

	if (sim_chance(g->s, 600))
		r = gen_row(g, true);
	return r != NULL ? r->ino : g->m->root;
}

struct wire_bytes gen_bytes(struct gen *g, uint8_t *bytes, size_t len)
{
	return sim_bytes_make(bytes, len, ++g->w->token);
}

/* --- S3 --- */

const char *gen_key(struct gen *g)
{
	return PICK(g->s, gen_keys);
}

void gen_condition(struct gen *g, const char *key, char etag[ETAG_MAX + 2],
		   struct wire_bytes *match, struct wire_bytes *none)
{
	char text[ETAG_MAX];
	const struct ver *v = model_now(g->m);
	uint64_t how = sim_rand(g->s, 10);

	if (how < 3) {
		*none = wire_cstr("*");
	} else if (how < 6) {
		snprintf(etag, ETAG_MAX + 2, "*");
		for (unsigned i = 0; i < v->n; i++)
			if (strcmp(v->rows[i].key, key) == 0 &&
			    v->rows[i].tag != 0) {
				etag_text(v->rows[i].tag, text);
				snprintf(etag, ETAG_MAX + 2, "\"%s\"", text);
			}
		*match = wire_cstr(etag);
	}
}

static void gen_put_key(struct gen *g, const char *key)
{
	struct rpc_put q = { .root = g->m->root, .key = wire_cstr(key),
			     .uid = 1, .gid = 1, .umask = 022 };
	uint8_t bytes[1200];
	char etag[ETAG_MAX], cond[ETAG_MAX + 2];
	struct wire_vec v;

	q.data = gen_bytes(g, bytes, sim_chance(g->s, 600)
					     ? 8 + sim_rand(g->s, 240)
					     : 257 + sim_rand(g->s, 900));
	q.size = q.data.len;
	q.extents = sim_bytes_extent(&v, 0, q.data.len);
	etag_text(g->w->token, etag);
	q.etag = wire_cstr(etag);
	if (sim_chance(g->s, 250)) {
		q.data = wire_bytes(NULL, 0);
		wire_vec_fini(&v);
		q.size = slice_gen_extents(g, &v, 0);
		q.extents = wire_vec_bytes(&v);
	}
	gen_condition(g, key, cond, &q.if_match, &q.if_none_match);
	SEND(g, put, &q);
	wire_vec_fini(&v);
}

static void gen_put(struct gen *g)
{
	gen_put_key(g, PICK(g->s, gen_keys));
}

static void gen_delete(struct gen *g)
{
	const char *key = PICK(g->s, gen_keys);
	struct rpc_delete q = { .root = g->m->root, .key = wire_cstr(key) };
	struct wire_bytes none;
	char etag[ETAG_MAX + 2];

	if (sim_chance(g->s, 300)) {
		gen_condition(g, key, etag, &q.if_match, &none);
		(void)none; /* DELETE has no such condition */
	}
	SEND(g, delete, &q);
}

static void gen_object_key(struct gen *g, const char *key)
{
	struct rpc_object q = { .root = g->m->root, .key = wire_cstr(key) };

	if (sim_chance(g->s, 800))
		q.len = NSM_BYTES;
	SEND(g, object, &q);
}

static void gen_object(struct gen *g)
{
	gen_object_key(g, PICK(g->s, gen_keys));
}

static void gen_list_max(struct gen *g, uint32_t max)
{
	static const char *const prefixes[] = { "", "", "k", "d", "d0/", "p/" };
	struct rpc_list q = { .root = g->m->root, .max = max };

	if (max < 1000) {
		q.prefix = wire_cstr(PICK(g->s, prefixes));
		if (sim_chance(g->s, 500))
			q.after = wire_cstr(PICK(g->s, gen_keys));
		if (sim_chance(g->s, 500))
			q.delimiter = wire_cstr("/");
	}
	SEND(g, list, &q);
}

static void gen_list(struct gen *g)
{
	gen_list_max(g, 1 + (uint32_t)sim_rand(g->s, 12));
}

/* --- POSIX --- */

static void gen_mknod(struct gen *g)
{
	struct rpc_mknod q = { .dir = gen_dir(g), .uid = 1, .gid = 1,
			       .mode = S_IFREG | 0644,
			       .flags = RPC_MKNOD_EXCL,
			       .name = wire_cstr(PICK(g->s, gen_names)) };

	if (sim_chance(g->s, 400))
		q.mode = S_IFDIR | 0755;
	SEND(g, mknod, &q);
}

/*
 * A new size below most. With 0 another inode takes a composite's parts, whose
 * number nobody is told of; the model wants to know when these go.
 */
static uint64_t gen_cut(struct gen *g, const struct ver_row *r, unsigned most)
{
	uint64_t size = sim_rand(g->s, most);

	return size == 0 && r->composite == 2 ? 1 : size;
}

void gen_write_row(struct gen *g, const struct ver_row *r)
{
	struct rpc_setattr cut = { .ino = r->ino, .valid = RPC_SET_SIZE };
	struct rpc_write q = { .ino = r->ino, .session = 1 };
	uint8_t bytes[400];
	struct wire_vec v;
	uint64_t pos = 0;

	if (r->size > FILE_SMALL) {
		cut.size = gen_cut(g, r, 40);
		SEND(g, setattr, &cut);
		return;
	}
	if (sim_chance(g->s, 750))
		q.flags = RPC_WRITE_APPEND;
	else
		pos = sim_rand(g->s, 600);
	/* what a composite names is dropped later, by the queue */
	if (!r->composite && sim_chance(g->s, 300)) {
		(void)slice_gen_extents(g, &v, pos);
		q.extents = wire_vec_bytes(&v);
	} else {
		q.data = gen_bytes(g, bytes, sim_chance(g->s, 800)
						     ? 8
						     : 1 + sim_rand(g->s, 400));
		q.extents = sim_bytes_extent(&v, pos, q.data.len);
	}
	SEND(g, write, &q);
	wire_vec_fini(&v);
}

static void gen_write(struct gen *g)
{
	const struct ver_row *r = gen_row(g, false);

	if (r == NULL)
		gen_mknod(g);
	else
		gen_write_row(g, r);
}

static void gen_rename(struct gen *g)
{
	struct rpc_rename q = { .dir = gen_dir(g), .dir2 = gen_dir(g),
				.name = wire_cstr(PICK(g->s, gen_names)),
				.name2 = wire_cstr(PICK(g->s, gen_names)) };

	if (sim_chance(g->s, 400))
		q.dir2 = q.dir;
	if (sim_chance(g->s, 250))
		q.flags = sim_chance(g->s, 500) ? RPC_RENAME_NOREPLACE
						: RPC_RENAME_EXCHANGE;
	SEND(g, rename, &q);
}

static void gen_link(struct gen *g)
{
	const struct ver_row *r = gen_row(g, false);
	struct rpc_link q = { .dir = gen_dir(g),
			      .name = wire_cstr(PICK(g->s, gen_names)) };

	if (r == NULL) {
		gen_mknod(g);
		return;
	}
	q.ino = r->ino;
	SEND(g, link, &q);
}

static void gen_unlink(struct gen *g)
{
	struct rpc_unlink q = { .dir = gen_dir(g),
				.name = wire_cstr(PICK(g->s, gen_names)),
				.rmdir = sim_chance(g->s, 400) };

	SEND(g, unlink, &q);
}

static void gen_setattr(struct gen *g)
{
	const struct ver_row *r = gen_row(g, sim_chance(g->s, 300));
	struct rpc_setattr q = { .valid = RPC_SET_MODE, .mode = 0700 };

	if (r == NULL)
		return gen_mknod(g);
	q.ino = r->ino;
	if (r->nlink > 0 && sim_chance(g->s, 700)) {
		q.valid = RPC_SET_SIZE | RPC_SET_MTIME_NOW;
		q.size = gen_cut(g, r, 300);
	}
	SEND(g, setattr, &q);
}

static void gen_lookup(struct gen *g)
{
	struct rpc_lookup q = { .dir = gen_dir(g),
				.name = wire_cstr(PICK(g->s, gen_names)) };

	SEND(g, lookup, &q);
}

struct op *gen_read_ino(struct gen *g, uint64_t ino)
{
	struct rpc_read q = { .ino = ino, .len = NSM_BYTES };

	return SEND(g, read, &q);
}

static void gen_read(struct gen *g)
{
	const struct ver_row *r = gen_row(g, false);

	if (r == NULL)
		gen_lookup(g);
	else
		(void)gen_read_ino(g, r->ino);
}

/* --- choice --- */

static const struct gen_kind {
	unsigned weight, rest; /* rest: while a group rests */
	void (*run)(struct gen *g);
} gen_kinds[] = {
	{ 22, 0, gen_put },   { 8, 0, gen_delete },   { 16, 16, gen_object },
	{ 8, 8, gen_list },   { 9, 0, gen_mknod },    { 16, 0, gen_write },
	{ 7, 0, gen_rename }, { 4, 0, gen_link },     { 6, 0, gen_unlink },
	{ 5, 0, gen_setattr }, { 6, 6, gen_lookup },  { 8, 8, gen_read },
	{ 8, 2, open_gen },   { 8, 4, open_gen_io },  { 4, 2, open_gen_close },
	{ 4, 0, open_gen_unlink }, { 2, 0, slice_gen_drop },
	{ 2, 0, slice_gen_reap }, { 1, 0, upload_gen_create },
	{ 7, 0, upload_gen_part }, { 4, 0, upload_gen_complete },
	{ 1, 0, upload_gen_abort }, { 3, 2, upload_gen_list },
};

/*
 * A group with new entries all the time does not elect who missed them; one
 * that rests does, and then the old leader's lease is put to the test.
 */
static bool gen_rests(struct world *w, struct model *m)
{
	struct sim *s = sim_cluster_sim(w->c);
	uint64_t led_at = w->led_at[m->group - 1];

	return w->quiet && sim_now(s) > led_at + 300 * SIM_MS &&
	       !sim_chance(s, 20);
}

struct gen gen_new(struct world *w, unsigned client, struct model *m)
{
	struct gen g = { .w = w, .s = sim_cluster_sim(w->c), .m = m,
			 .client = client };

	buf_init(&g.out, 0);
	return g;
}

void gen_op(struct world *w, unsigned client)
{
	struct sim *s = sim_cluster_sim(w->c);
	struct model *m = &w->models[sim_rand(s, w->groups)];
	struct gen g = gen_new(w, client, m);
	bool rests = gen_rests(w, m);
	unsigned total = 0, x;

	if (!m->told_root) /* nobody knows its root yet */
		return;
	for (size_t i = 0; i < sizeof gen_kinds / sizeof *gen_kinds; i++)
		total += rests ? gen_kinds[i].rest : gen_kinds[i].weight;
	x = (unsigned)sim_rand(s, total);
	for (size_t i = 0; i < sizeof gen_kinds / sizeof *gen_kinds; i++) {
		const struct gen_kind *k = &gen_kinds[i];
		unsigned weight = rests ? k->rest : k->weight;

		if (x < weight) {
			k->run(&g);
			return;
		}
		x -= weight;
	}
}

void gen_root(struct world *w, struct model *m)
{
	struct rpc_root_create q = { .bucket = 1, .uid = 1, .gid = 1,
				     .mode = 0755 };
	struct gen g = gen_new(w, 0, m);

	SEND(&g, root_create, &q);
}

void gen_last(struct world *w, struct model *m, bool write)
{
	struct gen g = gen_new(w, 0, m);

	if (write) {
		gen_put_key(&g, "last");
		return;
	}
	for (size_t i = 0; i < sizeof gen_keys / sizeof *gen_keys; i++) {
		g = gen_new(w, 0, m);
		gen_object_key(&g, gen_keys[i]);
	}
	g = gen_new(w, 0, m);
	gen_list_max(&g, 1000);
	for (unsigned i = 0; i < 8; i++) {
		g = gen_new(w, 0, m);
		gen_read(&g);
	}
}
