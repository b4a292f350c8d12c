/*
 * Random operations through both vocabularies against the model: every status,
 * and now and then every key, listing, directory and byte. Over one shard, and
 * with directories spread over four.
 *
 * Seeds are printed; NS_MODEL_SEED=n runs one of them, NS_MODEL_SEEDS=n that
 * many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "storaged/ns_rows.h"
#include "tests/lib/nsharness.h"
#include "tests/lib/nsmodel.h"

enum { SHARD = 1, SHARDS = 4, STEPS = 400, HANDLES = 4 };

struct handle {
	uint64_t ino;
	struct nsm_file *file;
};

struct run {
	struct nsh *h;
	uint64_t root;
	struct nsm_dir *model;
	uint64_t rng;
	struct handle open[HANDLES];
	bool split;       /* directories come to have segments */
	unsigned splits, refused;
	char trace[2048]; /* the last operation */
};

static uint64_t rnd(struct run *r, uint64_t below)
{
	r->rng ^= r->rng << 13;
	r->rng ^= r->rng >> 7;
	r->rng ^= r->rng << 17;
	return (r->rng >> 11) % below;
}

static const char *const comps[] = { "a", "b", "a-", "a!", "a0", "", ".",
				     "..", "\xc3\xbc", "c" };
enum { POSIX_COMPS = 5 };

/* With segments more of them, also such as are not easily parted. */
static const char *const more[] = { "a", "a-", "a-b", "a-c", "a.b", "a0", "b",
				    "b!", "b-1", "b-2", "b-3", "c", "d", "da",
				    "db", "e", "f", "-", "-x", "g-h" };

static const char *pick_name(struct run *r)
{
	if (r->split)
		return more[rnd(r, sizeof(more) / sizeof(more[0]))];
	return comps[rnd(r, POSIX_COMPS)];
}

/* A key: mostly short, now and then with odd components or a final slash. */
static const char *pick_key(struct run *r)
{
	static char key[128];
	unsigned depth = 1 + (unsigned)rnd(r, 4);

	do {
		key[0] = 0;
		for (unsigned i = 0; i < depth; i++) {
			uint64_t odd = rnd(r, 8) == 0;

			strcat(key, odd ? comps[rnd(r, 10)] : pick_name(r));
			if (i + 1 < depth || rnd(r, 8) == 0)
				strcat(key, "/");
		}
	} while (key[0] == 0);
	return key;
}

#define CHECK(r, got, want) \
	do { \
		uint32_t g_ = (got), w_ = (want); \
		if (g_ != w_) { \
			print_error("%s: got %s, want %s\n", (r)->trace, \
				    rpc_status_name(g_), \
				    rpc_status_name(w_)); \
			fail(); \
		} \
	} while (0)
#define TRACE(r, ...) snprintf((r)->trace, sizeof((r)->trace), __VA_ARGS__)

static uint64_t ino_of(struct run *r, struct nsm_dir *d)
{
	struct wire_attr a;
	uint64_t up;

	if (d->up == NULL)
		return r->root;
	up = ino_of(r, d->up);
	CHECK(r, nsh_lookup(r->h, up, d->name, RPC_NAME_DIR, &a), 0);
	return a.ino;
}

static struct nsm_dir *pick_dir(struct run *r)
{
	struct nsm_dir *d = r->model;

	while (rnd(r, 3) != 0) {
		size_t i, n = 0;

		for (i = 0; i < d->n; i++)
			n += d->v[i].dir != NULL;
		if (n == 0)
			break;
		n = rnd(r, n);
		for (i = 0; d->v[i].dir == NULL || n-- > 0; i++)
			;
		d = d->v[i].dir;
	}
	return d;
}

/* Some file by its name; false when that directory has none. */
static bool pick_file(struct run *r, struct handle *ret)
{
	struct nsm_dir *d = pick_dir(r);
	struct wire_attr a;

	for (size_t i = 0; i < d->n; i++) {
		struct nsm_entry *e = &d->v[(i + r->rng) % d->n];

		if (e->file == NULL)
			continue;
		CHECK(r, nsh_lookup(r->h, ino_of(r, d), e->name,
				    RPC_NAME_FILE, &a), 0);
		*ret = (struct handle){ a.ino, e->file };
		return true;
	}
	return false;
}

static struct wire_bytes pick_bytes(struct run *r)
{
	static uint8_t bytes[700];
	size_t len = rnd(r, 4) == 0 ? rnd(r, 700) : rnd(r, 40);

	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)rnd(r, 256);
	return wire_bytes(bytes, len);
}

/* A key that is there, or (often a marker to come or to go) a directory's. */
static const char *pick_old_key(struct run *r)
{
	static char key[1024];
	struct nsm_dir *d = pick_dir(r);
	struct nsm_key *v;
	size_t n;

	if (d->up != NULL && rnd(r, 2) == 0) {
		size_t at = sizeof(key) - 1;

		key[at] = 0;
		for (; d->up != NULL; d = d->up) {
			key[--at] = '/';
			at -= strlen(d->name);
			memcpy(key + at, d->name, strlen(d->name));
		}
		memmove(key, key + at, sizeof(key) - at);
		return key;
	}
	n = nsm_keys(r->model, &v);
	snprintf(key, sizeof(key), "%s", n == 0 ? "a" : v[rnd(r, n)].key);
	nsm_keys_free(v, n);
	return key;
}

/* --- operations --- */

static void op_s3(struct run *r)
{
	const char *key = rnd(r, 3) == 0 ? pick_old_key(r) : pick_key(r);
	struct wire_bytes b;

	if (rnd(r, 5) < 3) {
		b = pick_bytes(r);
		if (key[strlen(key) - 1] == '/' && rnd(r, 3) != 0)
			b.len = 0; /* a marker as tools make them */
		TRACE(r, "PUT %s (%zu)", key, b.len);
		CHECK(r, nsh_put(r->h, r->root, key, b, NULL),
		      nsm_put(r->model, key, b.p, b.len));
	} else {
		TRACE(r, "DELETE %s", key);
		CHECK(r, nsh_delete(r->h, r->root, key),
		      nsm_delete(r->model, key));
	}
}

static void op_create(struct run *r)
{
	struct nsm_dir *d = pick_dir(r);
	const char *name = pick_name(r);
	uint64_t kind = rnd(r, 5);
	uint32_t mode = kind < 2    ? S_IFDIR | 0755
			: kind == 4 ? S_IFLNK | 0777
				    : S_IFREG | 0644;

	TRACE(r, "create %o %s in %s", mode, name, d->up ? d->name : ":");
	CHECK(r, nsh_mknod(r->h, ino_of(r, d), name, mode, NULL),
	      nsm_create(d, name, kind < 2, kind == 4));
}

static void op_remove(struct run *r)
{
	struct nsm_dir *d = pick_dir(r);
	const char *name = pick_name(r);
	uint64_t ino = ino_of(r, d);
	bool alias = rnd(r, 4) == 0;

	TRACE(r, "remove %s in %s", name, d->up ? d->name : ":");
	if (rnd(r, 2) == 0)
		CHECK(r, nsh_rmdir(r->h, ino, name), nsm_rmdir(d, name));
	else
		CHECK(r, nsh_unlink(r->h, ino, name,
				    alias ? RPC_NAME_FILE : RPC_NAME_ANY),
		      nsm_unlink(d, name, alias));
}

static void op_rename(struct run *r)
{
	struct nsm_dir *d = pick_dir(r), *d2 = pick_dir(r);
	const char *name = pick_name(r), *name2 = pick_name(r);

	if (rnd(r, 2) == 0)
		d2 = d;
	TRACE(r, "rename %s in %s to %s in %s", name, d->up ? d->name : ":",
	      name2, d2->up ? d2->name : ":");
	if (rnd(r, 4) == 0) {
		CHECK(r, nsh_exchange(r->h, ino_of(r, d), name, ino_of(r, d2),
				      name2),
		      nsm_exchange(d, name, d2, name2));
		return;
	}
	CHECK(r, nsh_rename(r->h, ino_of(r, d), name, ino_of(r, d2), name2),
	      nsm_rename(d, name, d2, name2));
}

static void op_link(struct run *r)
{
	struct nsm_dir *d = pick_dir(r);
	const char *name = pick_name(r);
	struct handle f;

	TRACE(r, "link %s in %s", name, d->up ? d->name : ":");
	if (pick_file(r, &f))
		CHECK(r, nsh_link(r->h, f.ino, ino_of(r, d), name),
		      nsm_link(f.file, d, name));
}

static void op_bytes_of(struct run *r, struct handle *f)
{
	struct wire_bytes b = pick_bytes(r);
	uint64_t at = rnd(r, 2000);

	TRACE(r, "bytes of %lx", (unsigned long)f->ino);
	if (f->file->symlink) {
		CHECK(r, nsh_truncate(r->h, f->ino, at), RPC_STATUS_INVAL);
		return;
	}
	if (rnd(r, 3) == 0) {
		CHECK(r, nsh_truncate(r->h, f->ino, at), 0);
		nsm_truncate(f->file, at);
	} else if (b.len > 0) {
		CHECK(r, nsh_write(r->h, f->ino, at, b), 0);
		nsm_write(f->file, at, b.p, b.len);
	}
}

static void op_bytes(struct run *r)
{
	struct handle f;

	if (pick_file(r, &f))
		op_bytes_of(r, &f);
}

static void expect_bytes(struct run *r, uint64_t ino, struct nsm_file *f)
{
	uint8_t got[NSM_BYTES];

	if (f->symlink)
		return;
	CHECK(r, nsh_bytes(r->h, ino, 0, sizeof(got), got), 0);
	assert_memory_equal(got, f->bytes, f->size);
	for (size_t i = f->size; i < sizeof(got); i++)
		assert_int_equal(got[i], 0);
}

static void op_open(struct run *r)
{
	struct handle *o = &r->open[rnd(r, HANDLES)];
	struct wire_attr a;

	TRACE(r, "handle");
	if (o->file == NULL) {
		struct handle f;

		/* rmdir takes a bare marker along, whoever holds it */
		if (!pick_file(r, &f) || f.file->marker)
			return;
		*o = f;
		o->file->refs++;
		nsh_open(r->h, o->ino);
	} else if (rnd(r, 2) == 0) {
		CHECK(r, nsh_getattr(r->h, o->ino, &a), 0);
		assert_int_equal(a.nlink, o->file->nlink);
		expect_bytes(r, o->ino, o->file);
		op_bytes_of(r, o);
	} else {
		nsh_close(r->h, o->ino);
		nsm_file_unref(o->file);
		o->file = NULL;
	}
}

static void op_chmod(struct run *r)
{
	struct nsm_dir *d = pick_dir(r);
	struct rpc_setattr req = { .ino = ino_of(r, d), .valid = RPC_SET_MODE,
				   .mode = 0700 };
	struct rpc_attr_rsp rsp;

	TRACE(r, "chmod");
	CHECK(r, NSH(r->h, setattr, attr_rsp, &req, &rsp), 0);
	d->implicit = false;
}

static void look(struct run *r, struct nsm_dir *d, uint64_t ino,
		 struct wire_attr v[], size_t max)
{
	for (size_t i = 0; i < d->n && i < max; i++)
		CHECK(r, nsh_lookup(r->h, ino, d->v[i].name,
				    d->v[i].dir != NULL ? RPC_NAME_DIR
							: RPC_NAME_FILE,
				    &v[i]), 0);
	CHECK(r, nsh_getattr(r->h, ino, &v[max]), 0);
}

/*
 * As the background does to what is large; here to anything. Nobody sees it by
 * what was there.
 */
static void op_split(struct run *r)
{
	enum { MAX = 40 };
	struct wire_attr before[MAX + 1], after[MAX + 1];
	struct nsm_dir *d = pick_dir(r);
	uint64_t ino = ino_of(r, d);
	uint32_t status;

	TRACE(r, "split %s", d->up ? d->name : ":");
	if (nsh_segments(r->h, ino) >= 12)
		return;
	look(r, d, ino, before, MAX);
	status = nsh_split(r->h, ino, 1 + (uint32_t)rnd(r, 4));
	look(r, d, ino, after, MAX);
	before[MAX].nlink = after[MAX].nlink;
	for (size_t i = 0; i <= MAX; i++) {
		const struct wire_attr *a = &before[i], *b = &after[i];

		if (i >= d->n && i < MAX)
			continue;
		assert_int_equal(a->ino, b->ino);
		assert_int_equal(a->nlink, b->nlink);
		assert_int_equal(a->mtime, b->mtime);
		assert_int_equal(a->ctime, b->ctime);
		assert_int_equal(a->change, b->change);
		assert_int_equal(a->data_version, b->data_version);
	}
	r->splits += status == 0;
	if (status != 0 && status != RPC_STATUS_RANGE)
		CHECK(r, status, RPC_STATUS_INVAL);
	r->refused += status == RPC_STATUS_INVAL;
}

/* --- comparing --- */

struct cursor {
	struct run *r;
	struct nsm_key *v;
	size_t n, i;
	const char *prefix, *after, *delimiter;
};

static bool starts(const char *s, const char *with)
{
	return strncmp(s, with, strlen(with)) == 0;
}

/* The next thing a listing should hold: a key, or a prefix of *ret_len. */
static struct nsm_key *cursor_next(struct cursor *c, size_t *ret_len)
{
	for (; c->i < c->n; c->i++) {
		struct nsm_key *k = &c->v[c->i];
		char *at = NULL, cut[1024];

		if (!starts(k->key, c->prefix))
			continue;
		if (c->delimiter[0] != 0)
			at = strstr(k->key + strlen(c->prefix), c->delimiter);
		*ret_len = at == NULL ? 0
				      : (size_t)(at - k->key) +
						strlen(c->delimiter);
		snprintf(cut, sizeof(cut), "%s", k->key);
		if (at != NULL)
			cut[*ret_len] = 0;
		if (strcmp(cut, c->after) <= 0)
			continue;
		c->i++;
		while (at != NULL && c->i < c->n &&
		       starts(c->v[c->i].key, cut))
			c->i++;
		return k;
	}
	return NULL;
}

static void list_one(void *arg, struct wire_bytes key, bool is_prefix,
		     uint64_t size, struct wire_bytes etag)
{
	struct cursor *c = arg;
	size_t len;
	struct nsm_key *k = cursor_next(c, &len);

	if (k == NULL) {
		print_error("%s: it has %.*s too many\n", c->r->trace,
			    (int)key.len,
			    (const char *)key.p);
		fail();
		return;
	}
	if (key.len != (is_prefix ? len : strlen(k->key)) ||
	    memcmp(key.p, k->key, key.len) != 0 || is_prefix != (len > 0)) {
		print_error("%s: it has %.*s, want %s (%zu)\n", c->r->trace,
			    (int)key.len,
			    (const char *)key.p, k->key, len);
		fail();
	}
	if (!is_prefix) {
		assert_int_equal(size, k->file == NULL || k->file->symlink
					       ? 0
					       : k->file->size);
		assert_true(etag.len >= 32);
	}
}

static void expect_list(struct run *r, const char *prefix, const char *after,
			const char *delimiter, uint32_t page)
{
	struct cursor c = { .r = r, .prefix = prefix, .after = after,
			    .delimiter = delimiter };
	struct nsm_key *k;
	size_t len;

	c.n = nsm_keys(r->model, &c.v);
	TRACE(r, "LIST prefix=%s after=%s delimiter=%s page=%u", prefix, after,
	      delimiter, page);
	CHECK(r, nsh_list(r->h, r->root, prefix, after, delimiter, page,
			  list_one, &c), 0);
	k = cursor_next(&c, &len);
	if (k != NULL) {
		print_error("%s: LIST lacks %s\n", r->trace, k->key);
		fail();
	}
	nsm_keys_free(c.v, c.n);
}

struct rows {
	struct run *r;
	struct nsm_dir *d;
	char last[64];
	size_t n;
};

static void row_one(void *arg, struct wire_bytes name, uint32_t mode,
		    bool shadowed, const struct wire_attr *attr)
{
	struct rows *rows = arg;
	char text[64];
	bool dir = S_ISDIR(mode);
	struct nsm_file *f;

	snprintf(text, sizeof(text), "%.*s", (int)name.len,
		 (const char *)name.p);
	assert_true(rows->n == 0 || strcmp(rows->last, text) < 0);
	strcpy(rows->last, text);
	rows->n++;
	if (dir) {
		struct nsm_dir *c;
		unsigned nlink = 2;

		text[strlen(text) - 1] = 0;
		c = nsm_dir_of(rows->d, text);
		assert_non_null(c);
		for (size_t i = 0; i < c->n; i++)
			nlink += c->v[i].dir != NULL;
		if (attr->nlink != 1 || !rows->r->split)
			assert_int_equal(attr->nlink, nlink);
		assert_int_equal(!!(attr->flags & WIRE_ATTR_IMPLICIT),
				 c->implicit);
		return;
	}
	f = nsm_file_of(rows->d, text);
	assert_non_null(f);
	assert_int_equal(attr->nlink, f->nlink);
	assert_int_equal(S_ISLNK(mode), f->symlink);
	if (!f->symlink)
		assert_int_equal(attr->size, f->size);
	assert_int_equal(shadowed, nsm_dir_of(rows->d, text) != NULL);
}

static void expect_dir(struct run *r, struct nsm_dir *d)
{
	struct rows rows = { .r = r, .d = d };
	struct nsm_file *marker = nsm_file_of(d, "");
	size_t want = d->n;

	want -= marker != NULL && marker->size == 0 && !marker->symlink;
	TRACE(r, "READDIR %s", d->up ? d->name : ":");
	CHECK(r, nsh_readdir(r->h, ino_of(r, d), 1 + (uint32_t)rnd(r, 5),
			     row_one, &rows), 0);
	assert_int_equal(rows.n, want);
	for (size_t i = 0; i < d->n; i++)
		if (d->v[i].dir != NULL)
			expect_dir(r, d->v[i].dir);
}

static void expect_objects(struct run *r)
{
	struct rpc_object_rsp o;
	struct nsm_key *v;
	size_t n = nsm_keys(r->model, &v);
	uint64_t bytes = 0;

	for (size_t i = 0; i < n; i++) {
		struct nsm_file *f = v[i].file;

		TRACE(r, "GET %s", v[i].key);
		CHECK(r, nsh_object(r->h, r->root, v[i].key, 0, UINT64_MAX,
				    &o), 0);
		if (f == NULL || f->symlink) {
			assert_int_equal(o.attr.size, 0);
			assert_true(o.special.len > 0);
			continue;
		}
		assert_int_equal(o.attr.size, f->size);
		bytes += f->nlink == 1 ? f->size : 0;
		expect_bytes(r, o.attr.ino, f);
	}
	nsm_keys_free(v, n);
}

static void expect_all(struct run *r)
{
	static const char *const prefixes[] = { "", "a", "a/", "a/b", "b/",
						"a-", "a//", "./", "zz" };
	static const char *const delimiters[] = { "", "/", "a", "//", "/a",
						  "-" };

	for (int i = 0; i < 12; i++) {
		char after[128] = "";

		if (rnd(r, 2) == 0)
			strcpy(after, pick_key(r));
		expect_list(r, prefixes[rnd(r, 9)], after,
			    delimiters[i < 6 ? (uint64_t)i : rnd(r, 6)],
			    1 + (uint32_t)rnd(r, i < 4 ? 1000 : 5));
	}
	expect_dir(r, r->model);
	expect_objects(r);
	assert_int_equal(nsh_check(r->h), 0);
}

static unsigned run_seed(uint64_t seed, unsigned shards, int steps, bool split)
{
	struct run r = { .rng = (seed + 1) * 0x9e3779b97f4a7c15,
			 .split = split };

	r.h = nsh_new_spread(SHARD, shards, 1 + (unsigned)(seed % 7), seed);
	r.root = nsh_root(r.h, 5);
	r.model = nsm_new();
	for (int i = 0; i < steps; i++) {
		if (split && rnd(&r, 6) == 0)
			op_split(&r);
		switch (rnd(&r, 12)) {
		case 0: op_create(&r); break;
		case 1: op_create(&r); break;
		case 2: op_remove(&r); break;
		case 3: op_rename(&r); break;
		case 4: op_rename(&r); break;
		case 5: op_link(&r); break;
		case 6: op_bytes(&r); break;
		case 7: op_open(&r); break;
		case 8: rnd(&r, 4) == 0 ? op_chmod(&r) : op_open(&r); break;
		default: op_s3(&r); break;
		}
		if (i % 60 == 59)
			expect_all(&r);
	}
	expect_all(&r);
	for (int i = 0; i < HANDLES; i++) {
		if (r.open[i].file == NULL)
			continue;
		nsh_close(r.h, r.open[i].ino);
		nsm_file_unref(r.open[i].file);
	}
	assert_int_equal(nsh_count(r.h, NS_T_OPEN), 0);
	nsm_free(r.model);
	assert_int_equal(nsh_free(r.h), 0);
	return r.splits;
}

static void run_seeds(unsigned shards, bool split)
{
	const char *one = getenv("NS_MODEL_SEED");
	const char *many = getenv("NS_MODEL_SEEDS");
	uint64_t n = many == NULL ? 24 : strtoull(many, NULL, 10);
	uint64_t splits = 0;

	if (one != NULL) {
		(void)run_seed(strtoull(one, NULL, 10), shards, STEPS, split);
		return;
	}
	for (uint64_t seed = 0; seed < n; seed++) {
		print_message("# seed %lu, %u shards%s\n",
			      (unsigned long)seed, shards,
			      split ? ", splits" : "");
		splits += run_seed(seed, shards, STEPS, split);
	}
	if (split)
		assert_true(splits > 10 * n);
}

static void test_random_operations(void **state)
{
	(void)state;
	run_seeds(1, false);
}

static void test_over_shards(void **state)
{
	(void)state;
	run_seeds(SHARDS, false);
}

static void test_with_segments(void **state)
{
	(void)state;
	run_seeds(SHARDS, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_operations),
		cmocka_unit_test(test_over_shards),
		cmocka_unit_test(test_with_segments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
