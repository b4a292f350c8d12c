/*
 * What clients may be told of a directory while names come and go, and while
 * it is split: READDIR shows each name that was there all the while, once and
 * in order, and none that never was; so does LIST below directories that were
 * where they are all the while. PARENT names a directory that was the parent.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/sim/sim_tree.h"

/* Of a row, in the directory whose key is path: its name there, or NULL. */
static const char *name_below(const struct ver_row *r, const char *path)
{
	size_t n = strlen(path);
	const char *name = r->key + n, *slash;

	if (strncmp(r->key, path, n) != 0 || (!r->file && name[0] == 0))
		return NULL;
	slash = strchr(name, '/');
	if (slash != NULL && (r->file || slash[1] != 0))
		return NULL;
	return name;
}

/* The key of a directory in a state; NULL: it is not there. */
static const char *path_of(const struct tree *w, const struct ver *v,
			   uint64_t dir)
{
	const struct ver_row *r;

	if (dir == w->root)
		return "";
	r = ver_dir(v, dir);
	return r != NULL ? r->key : NULL;
}

/* Has dir that name (with slash: a directory), of that inode unless 0? */
static bool has_name(const struct tree *w, const struct ver *v, uint64_t dir,
		     const char *name, uint64_t ino)
{
	const char *path = path_of(w, v, dir);
	bool is_dir = name[0] != 0 && name[strlen(name) - 1] == '/';
	char key[2 * TREE_KEY];
	const struct ver_row *r;

	if (path == NULL)
		return false;
	snprintf(key, sizeof key, "%s%s", path, name);
	r = ver_find(v, key, !is_dir);
	return r != NULL && (ino == 0 || r->ino == ino);
}

/* Without bytes a marker is not shown, unless another shard has it. */
static bool may_hide(const struct tree *w, const struct ver *v, uint64_t dir,
		     const char *name)
{
	return name[0] == 0 && ver_find(v, path_of(w, v, dir), true)->size == 0;
}

unsigned tree_entries(const struct tree *w, uint64_t dir)
{
	const struct ver *v = tree_now(w);
	const char *path = path_of(w, v, dir);
	unsigned n = 0;

	for (unsigned i = 0; path != NULL && i < v->n; i++)
		n += name_below(&v->rows[i], path) != NULL;
	return n;
}

/* --- READDIR --- */

bool tree_readdir_page(struct op *op, struct wire_bytes payload)
{
	struct rpc_readdir_rsp rsp;
	struct wire_bytes name;
	struct wire_reader r;
	struct rpc_readdir q;
	uint8_t shadowed;
	uint32_t mode, n, had = op->n_names;
	uint64_t ino;

	if (rpc_readdir_rsp_decode(&rsp, payload.p, payload.len) != 0)
		sim_fail(op->w->c, "READDIR answers nonsense");
	(void)rpc_readdir_decode(&q, op->request.data, op->request.len);
	for (r = wire_vec_reader(rsp.entries, &n); n > 0; n--) {
		wire_get_str(&r, &name);
		wire_get_u64(&r, &ino);
		wire_get_u32(&r, &mode);
		wire_get_u8(&r, &shadowed);
		op->names = sim_grow(op->names, op->n_names, &op->cap_names,
				     sizeof *op->names);
		snprintf(op->names[op->n_names].key, TREE_KEY, "%.*s",
			 (int)name.len, (const char *)name.p);
		op->names[op->n_names++].ino = ino;
	}
	if (rsp.eof)
		return false;
	if (r.err != 0 || op->n_names == had || name.len == 0)
		sim_fail(op->w->c, "a page of READDIR is empty");
	q.after = name;
	tree_next_page(op, RPC_TAG_readdir, q.dir);
	(void)rpc_readdir_encode(&q, &op->hop.request);
	tree_hop(op);
	return true;
}

static bool was_read(const struct op *op, const char *name)
{
	for (unsigned i = 0; i < op->n_names; i++)
		if (strcmp(op->names[i].key, name) == 0)
			return true;
	return false;
}

static void readdir_dump(const struct op *op, uint64_t dir)
{
	tree_split_dump(op->w, dir);
	printf("# shown:");
	for (unsigned i = 0; i < op->n_names; i++)
		printf(" %s", op->names[i].key);
	printf("\n");
}

/* All that was in the directory all the while must have been shown. */
static void readdir_lacks(const struct op *op, uint64_t dir, unsigned from)
{
	const struct tree *w = op->w;
	const struct ver *v = w->vers[from];
	const char *path = path_of(w, v, dir);

	for (unsigned i = 0; path != NULL && i < v->n; i++) {
		const char *name = name_below(&v->rows[i], path);
		bool all = name != NULL;

		for (unsigned k = from; all && k < w->n_vers; k++)
			all = has_name(w, w->vers[k], dir, name, 0) &&
			      !may_hide(w, w->vers[k], dir, name);
		if (!all || was_read(op, name))
			continue;
		readdir_dump(op, dir);
		sim_fail(w->c, "READDIR of %s (%llx) lacks %s", path,
			 (unsigned long long)dir, name);
	}
}

void tree_see_readdir(struct op *op, uint32_t status)
{
	const struct tree *w = op->w;
	unsigned from = tree_first_ver(op);
	struct rpc_readdir q;
	bool fits;

	(void)rpc_readdir_decode(&q, op->request.data, op->request.len);
	/* the root is known here before its leader has it */
	fits = q.dir == w->root && w->vers[from]->n == 0;
	for (unsigned k = from; k < w->n_vers; k++)
		fits |= (path_of(w, w->vers[k], q.dir) == NULL) ==
			(status == RPC_STATUS_NOENT);
	if (!fits || (status != 0 && status != RPC_STATUS_NOENT))
		sim_fail(w->c, "READDIR of %llx answers %s: never true",
			 (unsigned long long)q.dir, rpc_status_name(status));
	for (unsigned i = 0; i < op->n_names; i++) {
		const struct page_name *e = &op->names[i];

		if (i > 0 && strcmp(e[-1].key, e->key) >= 0)
			sim_fail(w->c, "READDIR shows %s before %s", e[-1].key,
				 e->key);
		fits = false;
		for (unsigned k = from; !fits && k < w->n_vers; k++)
			fits = has_name(w, w->vers[k], q.dir, e->key, e->ino);
		if (!fits)
			sim_fail(w->c, "READDIR of %llx has %s (%llx): it "
				 "never was there", (unsigned long long)q.dir,
				 e->key, (unsigned long long)e->ino);
	}
	if (status == 0)
		readdir_lacks(op, q.dir, from);
}

/* --- LIST --- */

/* Were all directories of that key the same ones all the while? */
static bool same_dirs(const struct tree *w, unsigned from, const char *key)
{
	const char *slash = key;
	char path[TREE_KEY];

	while ((slash = strchr(slash, '/')) != NULL) {
		const struct ver_row *d, *d2;

		slash++;
		snprintf(path, sizeof path, "%.*s", (int)(slash - key), key);
		d = ver_find(w->vers[from], path, false);
		for (unsigned k = from; k < w->n_vers; k++) {
			d2 = ver_find(w->vers[k], path, false);
			if (d == NULL || d2 == NULL || d->ino != d2->ino)
				return false;
		}
	}
	return true;
}

void tree_see_listed(struct op *op, unsigned from)
{
	const struct tree *w = op->w;

	for (unsigned i = 0; i < op->n_keys; i++) {
		bool fits = !same_dirs(w, from, op->keys[i]);

		for (unsigned k = from; !fits && k < w->n_vers; k++)
			fits = ver_shows(w->vers[k], op->keys[i]);
		if (!fits)
			sim_fail(w->c, "LIST has %s: it never was there",
				 op->keys[i]);
	}
}

/* --- LIST of one directory --- */

/* Is key (with slash: a directory) listed below the directory of path? */
static bool flat_shows(const struct ver *v, const char *path, const char *key)
{
	size_t n = strlen(path);

	if (n > 0 && strcmp(key, path) == 0)
		return ver_shows(v, key);
	return ver_find(v, key, key[strlen(key) - 1] != '/') != NULL;
}

static bool was_listed(const struct op *op, const char *key)
{
	for (unsigned i = 0; i < op->n_keys; i++)
		if (strcmp(op->keys[i], key) == 0)
			return true;
	return false;
}

static void flat_lacks(const struct op *op, unsigned from, const char *path,
		       const char *prefix)
{
	const struct tree *w = op->w;
	const struct ver *v = w->vers[from];

	for (unsigned i = 0; i < v->n; i++) {
		const char *key = v->rows[i].key;
		bool all = name_below(&v->rows[i], path) != NULL &&
			   strncmp(key, prefix, strlen(prefix)) == 0;

		/* "d/" is the marker here, a prefix where it is a directory */
		for (unsigned k = from; all && k < w->n_vers; k++)
			all = ver_find(w->vers[k], key, v->rows[i].file) !=
			      NULL;
		if (!all || was_listed(op, key))
			continue;
		tree_split_dump(w, path[0] == 0 ? w->root
						: ver_find(v, path, false)->ino);
		sim_fail(w->c, "LIST of %s lacks %s", prefix, key);
	}
}

bool tree_see_flat(struct op *op, unsigned from)
{
	const struct tree *w = op->w;
	char prefix[TREE_KEY], path[TREE_KEY];
	struct rpc_list q;

	(void)rpc_list_decode(&q, op->request.data, op->request.len);
	if (q.delimiter.len == 0)
		return false;
	snprintf(prefix, sizeof prefix, "%.*s", (int)q.prefix.len,
		 (const char *)q.prefix.p);
	strcpy(path, prefix);
	path[strrchr(path, '/') == NULL ? 0 : strrchr(path, '/') - path + 1] =
		0;
	if (!same_dirs(w, from, path))
		return true;
	for (unsigned i = 0; i < op->n_keys; i++) {
		bool fits = false;

		for (unsigned k = from; !fits && k < w->n_vers; k++)
			fits = flat_shows(w->vers[k], path, op->keys[i]);
		if (!fits)
			sim_fail(w->c, "LIST of %s has %s: it never was there",
				 prefix, op->keys[i]);
	}
	flat_lacks(op, from, path, prefix);
	return true;
}

/* --- PARENT --- */

static bool parent_fits(const struct tree *w, const struct ver *v,
			uint64_t ino, uint32_t status, uint64_t parent)
{
	const struct ver_row *r = ver_dir(v, ino), *up;
	char path[TREE_KEY];
	size_t n;

	if (r == NULL) /* it may be there yet, without a name */
		return status == RPC_STATUS_STALE ||
		       (status == 0 && parent == 0);
	if (status != 0)
		return false;
	for (n = strlen(r->key) - 1; n > 0 && r->key[n - 1] != '/'; n--)
		;
	if (n == 0)
		return parent == w->root;
	snprintf(path, sizeof path, "%.*s", (int)n, r->key);
	up = ver_find(v, path, false);
	return up != NULL && up->ino == parent;
}

void tree_see_parent(struct op *op, uint32_t status, struct wire_bytes payload)
{
	const struct tree *w = op->w;
	struct rpc_parent_rsp rsp = { .parent = 0 };
	struct rpc_parent q;

	(void)rpc_parent_decode(&q, op->request.data, op->request.len);
	if (status == 0)
		(void)rpc_parent_rsp_decode(&rsp, payload.p, payload.len);
	for (unsigned k = tree_first_ver(op); k < w->n_vers; k++)
		if (parent_fits(w, w->vers[k], q.ino, status, rsp.parent))
			return;
	sim_fail(w->c, "PARENT of %llx answers %s %llx: never true",
		 (unsigned long long)q.ino, rpc_status_name(status),
		 (unsigned long long)rsp.parent);
}

/* --- what is asked --- */

void tree_readdir(struct tree *w, unsigned client, uint64_t dir, uint32_t max)
{
	struct rpc_readdir q = { .dir = dir, .max = max };
	struct buf b;

	buf_init(&b, 0);
	(void)rpc_readdir_encode(&q, &b);
	tree_send(w, client, RPC_TAG_readdir, &b, 0);
}

void tree_flat(struct tree *w, unsigned client, uint64_t dir)
{
	const char *path = path_of(w, tree_now(w), dir);
	struct rpc_list q = { .root = w->root, .delimiter = wire_cstr("/") };
	struct sim *s = sim_cluster_sim(w->c);
	char prefix[TREE_KEY];
	struct buf b;

	snprintf(prefix, sizeof prefix, "%s%s", path != NULL ? path : "",
		 sim_chance(s, 300) ? tree_name(w) : "");
	q.prefix = wire_cstr(prefix);
	q.max = 1 + (uint32_t)sim_rand(s, 8);
	buf_init(&b, 0);
	(void)rpc_list_encode(&q, &b);
	tree_send(w, client, RPC_TAG_list, &b, 0);
}

void tree_parent(struct tree *w, unsigned client, uint64_t ino)
{
	struct rpc_parent q = { .ino = ino };
	struct buf b;

	if (ino == w->root)
		return;
	buf_init(&b, 0);
	(void)rpc_parent_encode(&q, &b);
	tree_send(w, client, RPC_TAG_parent, &b, 0);
}

/* Every directory, when nothing changes any more. */
void tree_readdirs(struct tree *w)
{
	const struct ver *v = tree_now(w);

	tree_readdir(w, 0, w->root, 3);
	for (unsigned i = 0; i < v->n; i++)
		if (!v->rows[i].file)
			tree_readdir(w, 0, v->rows[i].ino, 3);
}
