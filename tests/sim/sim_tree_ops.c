/*
 * What clients ask for: few names in few directories, so that they meet; and
 * what they may be told. A mutation must have been done once, with the answer
 * that came. A LOOKUP must be true of some state between what was known when
 * it began and what was done when it ended; a listing must have each key that
 * was there all the while, once and in order, and no key that never was.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/sim/sim_tree.h"

static const char *const keys[] = { "k0", "k1", "p/x", "p/q/y", "p/q/z",
				    "d0/k", "d0/e/k", "d1/k", "d1/" };
static const char *const names[] = { "k0", "k", "d0", "d1", "e", "f0", "p",
				     "q", "x" };
/* For directories in segments: more of them, and such as are hard to part. */
static const char *const more_keys[] = { "k-", "k0/a", "p-/x", "p/x-", "d0/k-1",
					 "d0/m", "d0/e-", "d1/k-", "d0/k/" };
static const char *const more_names[] = { "k-", "k-1", "k!", "d0-", "d0.", "e-",
					  "f", "m", "p-", "p-q", "x-", "y" };
#define PICK(s, list) ((list)[sim_rand((s), sizeof(list) / sizeof *(list))])

static struct sim *sim_of(const struct tree *w)
{
	return sim_cluster_sim(w->c);
}

const char *tree_name(struct tree *w)
{
	return w->splits && sim_chance(sim_of(w), 500)
		       ? PICK(sim_of(w), more_names)
		       : PICK(sim_of(w), names);
}

const char *tree_key(struct tree *w)
{
	return w->splits && sim_chance(sim_of(w), 500)
		       ? PICK(sim_of(w), more_keys)
		       : PICK(sim_of(w), keys);
}

/* --- ends --- */

static bool is_split(uint16_t tag)
{
	return tag == RPC_TAG_dir_segment || tag == RPC_TAG_dir_split;
}

static void op_close(struct op *op)
{
	op->done = true;
	op->w->open--;
	op->w->splitting -= is_split(op->tag);
	op->w->clients[op->client].busy--;
	client_follow_free(op->follow);
	op->follow = NULL;
	buf_fini(&op->hop.request);
	buf_fini(&op->request);
	free(op->keys);
	free(op->sizes);
	op->keys = NULL;
	op->sizes = NULL;
	free(op->names);
	op->names = NULL;
}

static void see_write(struct op *op, uint32_t status)
{
	struct tree *w = op->w;

	if (op->effects == 0)
		sim_fail(w->c, "%s answered %s, but was not done",
			 rpc_info(op->tag)->name, rpc_status_name(status));
	if (op->status != status)
		sim_fail(w->c, "%s answered %s, done with %s",
			 rpc_info(op->tag)->name, rpc_status_name(status),
			 rpc_status_name(op->status));
	tree_told(op->group, op->index);
	w->told_root |= op->tag == RPC_TAG_root_create;
	w->n_writes++;
}

/* The states that a read may have seen: those from before its beginning on. */
unsigned tree_first_ver(const struct op *op)
{
	const struct tree *w = op->w;
	unsigned i = w->n_vers - 1;

	while (i > 0 && w->vers[i]->tick > op->lo)
		i--;
	return i;
}

static bool lookup_fits(const struct tree *w, const struct ver *v,
			const struct rpc_lookup *q, uint32_t status,
			uint64_t ino)
{
	const struct ver_row *dir = NULL, *r;
	char key[2 * TREE_KEY];
	int n;

	if (q->dir != w->root) {
		dir = ver_dir(v, q->dir);
		if (dir == NULL)
			return status == RPC_STATUS_STALE;
	}
	n = snprintf(key, sizeof key, "%s%.*s/", dir ? dir->key : "",
		     (int)q->name.len, (const char *)q->name.p);
	r = ver_find(v, key, false);
	if (r == NULL) {
		key[n - 1] = 0;
		r = ver_find(v, key, true);
	}
	if (r == NULL)
		return status == RPC_STATUS_NOENT;
	return status == 0 && r->ino == ino;
}

static void see_lookup(struct op *op, uint32_t status,
		       struct wire_bytes payload)
{
	struct rpc_lookup_rsp rsp = { .attr = { .ino = 0 } };
	struct rpc_lookup q;

	(void)rpc_lookup_decode(&q, op->request.data, op->request.len);
	if (status == 0)
		(void)rpc_lookup_rsp_decode(&rsp, payload.p, payload.len);
	for (unsigned i = tree_first_ver(op); i < op->w->n_vers; i++)
		if (lookup_fits(op->w, op->w->vers[i], &q, status,
				rsp.attr.ino))
			return;
	for (unsigned i = tree_first_ver(op); i < op->w->n_vers; i++) {
		printf("# state at %llu:",
		       (unsigned long long)op->w->vers[i]->tick);
		for (unsigned k = 0; k < op->w->vers[i]->n; k++)
			printf(" %s(%llx)", op->w->vers[i]->rows[k].key,
			       (unsigned long long)
				       op->w->vers[i]->rows[k].ino);
		printf("\n");
	}
	sim_fail(op->w->c, "LOOKUP %.*s in %llx answers %s %llx: never true",
		 (int)q.name.len, (const char *)q.name.p,
		 (unsigned long long)q.dir, rpc_status_name(status),
		 (unsigned long long)rsp.attr.ino);
}

/* What a listing shows of a state: files, and directories that are empty. */
static bool is_shown(const struct ver *v, unsigned i)
{
	size_t n = strlen(v->rows[i].key);

	if (v->rows[i].file)
		return true;
	for (unsigned k = 0; k < v->n; k++)
		if (k != i && strncmp(v->rows[k].key, v->rows[i].key, n) == 0)
			return false;
	return true;
}

bool ver_shows(const struct ver *v, const char *key)
{
	for (unsigned i = 0; i < v->n; i++)
		if (strcmp(v->rows[i].key, key) == 0 && is_shown(v, i))
			return true;
	return false;
}

static bool has_size(const struct ver *v, const char *key, uint64_t size)
{
	const struct ver_row *r = ver_find(v, key, true);

	return size == (r == NULL ? 0 : r->size);
}

/* Is the way to that row the same one, of the same directories? */
static bool same_way(const struct ver *v, const struct ver *v2,
		     const struct ver_row *r)
{
	const struct ver_row *r2 = ver_find(v2, r->key, r->file);
	const char *slash = r->key;
	char path[TREE_KEY];

	if (r2 == NULL || (!r->file && r2->ino != r->ino))
		return false;
	while ((slash = strchr(slash, '/')) != NULL) {
		const struct ver_row *d, *d2;

		slash++;
		snprintf(path, sizeof path, "%.*s", (int)(slash - r->key),
			 r->key);
		d = ver_find(v, path, false);
		d2 = ver_find(v2, path, false);
		if (d == NULL || d2 == NULL || d->ino != d2->ino)
			return false;
	}
	return true;
}

static bool was_listed(const struct op *op, const char *key)
{
	for (unsigned i = 0; i < op->n_keys; i++)
		if (strcmp(op->keys[i], key) == 0)
			return true;
	return false;
}

static void see_list(struct op *op)
{
	unsigned from = tree_first_ver(op);
	struct tree *w = op->w;
	const struct ver *v = w->vers[from];

	for (unsigned i = 0; i + 1 < op->n_keys; i++)
		if (strcmp(op->keys[i], op->keys[i + 1]) >= 0)
			sim_fail(w->c, "LIST shows %s before %s", op->keys[i],
				 op->keys[i + 1]);
	if (tree_see_flat(op, from))
		return;
	for (unsigned i = 0; i < v->n; i++) {
		bool all = is_shown(v, i);

		for (unsigned k = from; all && k < w->n_vers; k++)
			all = ver_shows(w->vers[k], v->rows[i].key) &&
			      same_way(v, w->vers[k], &v->rows[i]);
		if (all && !was_listed(op, v->rows[i].key))
			sim_fail(w->c, "LIST lacks %s", v->rows[i].key);
	}
	for (unsigned i = 0; from + 1 == w->n_vers && i < op->n_keys; i++)
		if (!ver_shows(v, op->keys[i]))
			sim_fail(w->c, "LIST has %s, which is not there",
				 op->keys[i]);
		else if (!has_size(v, op->keys[i], op->sizes[i]))
			sim_fail(w->c, "LIST has %s with %llu bytes",
				 op->keys[i],
				 (unsigned long long)op->sizes[i]);
	tree_see_listed(op, from);
}

static void op_sent(void *arg, uint32_t status, struct wire_bytes payload,
		    struct wire_bytes body);
static void rename_done(struct tree *w, unsigned client, uint64_t dir);

void tree_hop(struct op *op)
{
	struct buf b;

	op->w->n_hops++;
	if (tree_client_send(op))
		return;
	buf_init(&b, 0);
	buf_add(&b, op->hop.request.data, op->hop.request.len);
	(void)mail_send(op->w, &op->w->clients[op->client].from, op->hop.shard,
			op->hop.tag, &b,
			sim_range(sim_of(op->w), 1, 8) * SIM_S, op, op_sent,
			op);
}

void tree_next_page(struct op *op, uint16_t tag, uint64_t ino)
{
	buf_reset(&op->hop.request);
	op->hop.tag = tag;
	op->hop.shard = ino_shard(ino);
	client_follow_free(op->follow);
	op->follow = NULL;
}

/* One page of a listing; true when another one was asked for. */
static bool list_page(struct op *op, struct wire_bytes payload)
{
	struct wire_bytes key, etag, alg, type;
	struct rpc_list_rsp rsp;
	struct wire_reader r;
	struct rpc_list q;
	uint8_t is_prefix;
	uint64_t size;
	int64_t mtime;
	uint32_t n;

	if (rpc_list_rsp_decode(&rsp, payload.p, payload.len) != 0)
		sim_fail(op->w->c, "LIST answers nonsense");
	for (r = wire_vec_reader(rsp.entries, &n); n > 0; n--) {
		wire_get_str(&r, &key);
		wire_get_u8(&r, &is_prefix);
		wire_get_u64(&r, &size);
		wire_get_i64(&r, &mtime);
		wire_get_str(&r, &etag);
		wire_get_str(&r, &alg);
		wire_get_str(&r, &type);
		if (key.len >= TREE_KEY)
			continue;
		op->keys = sim_grow(op->keys, op->n_keys, &op->cap_keys,
				    sizeof *op->keys);
		op->sizes = sim_grow(op->sizes, op->n_keys, &op->cap_sizes,
				     sizeof *op->sizes);
		op->sizes[op->n_keys] = size;
		snprintf(op->keys[op->n_keys++], TREE_KEY, "%.*s",
			 (int)key.len, (const char *)key.p);
	}
	if (!rsp.truncated)
		return false;
	(void)rpc_list_decode(&q, op->request.data, op->request.len);
	q.after = rsp.next;
	tree_next_page(op, RPC_TAG_list, q.root);
	(void)rpc_list_encode(&q, &op->hop.request);
	tree_hop(op);
	return true;
}

static void op_see(struct op *op, uint32_t status, struct wire_bytes payload,
		   struct wire_bytes body)
{
	if (op->write)
		see_write(op, status);
	else if (op->tag == RPC_TAG_lookup)
		see_lookup(op, status, payload);
	else if (op->tag == RPC_TAG_list && status == 0)
		see_list(op);
	else if (op->tag == RPC_TAG_object)
		tree_see_object(op, status, payload, body);
	else if (op->tag == RPC_TAG_read)
		tree_see_read(op, status, payload, body);
	else if (op->tag == RPC_TAG_readdir)
		tree_see_readdir(op, status);
	else if (op->tag == RPC_TAG_parent)
		tree_see_parent(op, status, payload);
	op->w->n_reads += !op->write;
}

/* One of several pages; true when another one was asked for. */
static bool op_page(struct op *op, uint32_t status, struct wire_bytes payload)
{
	if (status != 0)
		return false;
	return op->tag == RPC_TAG_list	    ? list_page(op, payload)
	       : op->tag == RPC_TAG_readdir ? tree_readdir_page(op, payload)
					    : false;
}

/* It ends, and what follows from it begins. */
static void op_then(struct op *op, uint32_t status, struct wire_bytes payload)
{
	struct rpc_rename q = { .dir = 0 };

	if (status == 0)
		tree_read_moved(op, payload);
	if (status == 0 && op->tag == RPC_TAG_rename)
		(void)rpc_rename_decode(&q, op->request.data, op->request.len);
	op_close(op);
	if (q.dir != 0)
		rename_done(op->w, op->client, q.dir);
	if (op->tag == RPC_TAG_dir_segment)
		tree_split_go(op->w, op->client, op->dir, payload);
}

void tree_gave_up(struct op *op)
{
	op->gave_up = true;
	if (op->tag == RPC_TAG_root_create)
		op->w->asked_root = false;
	op->w->n_unknown++;
	op_close(op);
}

void tree_answered(struct op *op, uint32_t status, struct wire_bytes payload,
		   struct wire_bytes body)
{
	sim_trace(sim_of(op->w), "done client=%u %s status=%s", op->client,
		  rpc_info(op->tag)->name, rpc_status_name(status));
	if (op_page(op, status, payload))
		return;
	op_see(op, status, payload, body);
	op_then(op, status, payload);
}

/* What came by mail: here the client follows. */
static void op_sent(void *arg, uint32_t status, struct wire_bytes payload,
		    struct wire_bytes body)
{
	struct op *op = arg;
	struct buf joined;
	int rv;

	if (status == RPC_STATUS_UNAVAILABLE) {
		tree_gave_up(op);
		return;
	}
	buf_init(&joined, 0);
	rv = client_follow(&op->follow, &op->hop, status, payload, &joined);
	if (rv < 0)
		sim_fail(op->w->c, "%s leads nowhere", rpc_info(op->tag)->name);
	if (joined.len > 0)
		payload = wire_bytes(joined.data, joined.len);
	if (rv > 0)
		tree_hop(op);
	else
		tree_answered(op, status, payload, body);
	buf_fini(&joined);
}

/* --- beginnings --- */

void tree_send(struct tree *w, unsigned client, uint16_t tag,
	       struct buf *payload, uint16_t shard)
{
	struct op *op = sim_zalloc(sizeof *op);

	if (payload->err != 0)
		abort();
	*op = (struct op){ .w = w, .next = w->ops, .client = client,
			   .tag = tag, .shard = shard, .lo = tree_floor(w),
			   .began = sim_now(sim_of(w)),
			   .write = rpc_info(tag)->kind == 'W' };
	buf_init(&op->request, 0);
	buf_add(&op->request, payload->data, payload->len);
	op->hop.tag = tag;
	op->hop.request = *payload;
	buf_init(payload, 0);
	op->hop.shard = shard != 0 ? shard
				   : client_first_shard(
					     tag,
					     wire_bytes(op->request.data,
							op->request.len));
	w->ops = op;
	w->open++;
	w->splitting += is_split(tag);
	w->clients[client].busy++;
	tree_hop(op);
}

const struct ver_row *tree_pick(struct tree *w, bool dir)
{
	const struct ver *v = tree_now(w);
	unsigned from;

	if (v->n == 0)
		return NULL;
	from = (unsigned)sim_rand(sim_of(w), v->n);
	for (unsigned i = 0; i < v->n; i++) {
		const struct ver_row *r = &v->rows[(from + i) % v->n];
		size_t n = strlen(r->key);

		if (r->ino != 0 && r->file != dir && n < 40)
			return r;
	}
	return NULL;
}

static uint64_t pick_dir(struct tree *w)
{
	const struct ver_row *r = NULL;

	if (sim_chance(sim_of(w), 750))
		r = tree_pick(w, true);
	return r != NULL ? r->ino : w->root;
}

static void gen_names(struct tree *w, unsigned client, unsigned what)
{
	struct sim *s = sim_of(w);
	struct rpc_mknod mk = { .dir = pick_dir(w), .mode = S_IFREG | 0644,
				.flags = RPC_MKNOD_EXCL,
				.name = wire_cstr(tree_name(w)) };
	struct rpc_unlink un = { .dir = pick_dir(w),
				 .name = wire_cstr(tree_name(w)),
				 .rmdir = sim_chance(s, 500) };
	struct rpc_rename re = { .dir = pick_dir(w), .dir2 = pick_dir(w),
				 .name = wire_cstr(tree_name(w)),
				 .name2 = wire_cstr(tree_name(w)) };
	const struct ver_row *file = tree_pick(w, false);
	struct rpc_link ln = { .dir = pick_dir(w),
			       .name = wire_cstr(tree_name(w)) };

	if (sim_chance(s, 500))
		mk.mode = S_IFDIR | 0755;
	if (sim_chance(s, 300))
		re.flags = sim_chance(s, 300) ? RPC_RENAME_NOREPLACE
					      : RPC_RENAME_EXCHANGE;
	if (file != NULL)
		ln.ino = file->ino;
	if (what < 10)
		SEND(w, client, mknod, &mk);
	else if (what < 16)
		SEND(w, client, unlink, &un);
	else if (what < 29 || file == NULL)
		SEND(w, client, rename, &re);
	else
		SEND(w, client, link, &ln);
}

/*
 * Something left dir: who was told so may remove dir at once, while other
 * shards may still have steps to do.
 */
static void rename_done(struct tree *w, unsigned client, uint64_t dir)
{
	const struct ver *v = tree_now(w);
	const struct ver_row *r = ver_dir(v, dir), *up = NULL;
	char path[TREE_KEY];
	struct rpc_unlink q = { .dir = w->root, .rmdir = true };
	char *name = path;

	if (r == NULL || w->heal != HEAL_NOT ||
	    !sim_chance(sim_of(w), 500))
		return;
	snprintf(path, sizeof path, "%.*s", (int)strlen(r->key) - 1, r->key);
	if (strrchr(path, '/') != NULL) {
		char above[TREE_KEY];

		name = strrchr(path, '/') + 1;
		snprintf(above, sizeof above, "%.*s", (int)(name - path), path);
		up = ver_find(v, above, false);
		if (up == NULL)
			return;
		q.dir = up->ino;
	}
	q.name = wire_cstr(name);
	SEND(w, client, unlink, &q);
}

static void gen_list(struct tree *w, unsigned client)
{
	struct rpc_list q = { .root = w->root };

	if (sim_chance(sim_of(w), 500)) {
		tree_flat(w, client, pick_dir(w));
		return;
	}
	q.max = 4 + (uint32_t)sim_rand(sim_of(w), 40);
	SEND(w, client, list, &q);
}

static void gen_chmod(struct tree *w, unsigned client)
{
	struct rpc_setattr q = { .ino = pick_dir(w), .valid = RPC_SET_MODE,
				 .mode = 0700 | (uint32_t)sim_rand(sim_of(w),
								   64) };

	SEND(w, client, setattr, &q);
}

/* Of some directories the one with the most names. */
static void gen_split(struct tree *w, unsigned client)
{
	uint64_t dir = pick_dir(w);

	for (int i = 0; i < 2; i++) {
		uint64_t other = pick_dir(w);

		if (tree_entries(w, other) > tree_entries(w, dir))
			dir = other;
	}
	tree_split(w, client, dir);
}

static void gen_pages(struct tree *w, unsigned client)
{
	uint64_t x = sim_rand(sim_of(w), 10);

	if (x < 7)
		tree_readdir(w, client, pick_dir(w),
			     1 + (uint32_t)sim_rand(sim_of(w), 8));
	else if (x < 9)
		tree_parent(w, client, pick_dir(w));
	else
		gen_chmod(w, client);
}

void tree_op(struct tree *w, unsigned client)
{
	struct sim *s = sim_of(w);
	unsigned x = (unsigned)sim_rand(s, 100);
	struct rpc_delete del = { .root = w->root,
				  .key = wire_cstr(tree_key(w)) };
	struct rpc_lookup look = { .dir = pick_dir(w),
				   .name = wire_cstr(tree_name(w)) };

	if (!w->told_root)
		return;
	if (sim_chance(s, 150))
		gen_pages(w, client);
	else if (w->splits && w->splitting < TREE_SPLITS && sim_chance(s, 250))
		gen_split(w, client);
	else if (x < 18)
		tree_gen_put(w, client, tree_key(w), wire_bytes(NULL, 0));
	else if (x < 27)
		SEND(w, client, delete, &del);
	else if (x < 60)
		gen_names(w, client, x - 27);
	else if (x < 67)
		tree_gen_write(w, client);
	else if (x < 78)
		tree_gen_object(w, client, tree_key(w));
	else if (x < 84)
		tree_gen_read(w, client);
	else if (x < 94)
		SEND(w, client, lookup, &look);
	else
		gen_list(w, client);
}

void tree_root(struct tree *w)
{
	struct rpc_root_create q = { .bucket = 1, .mode = 0755 };
	struct buf b;

	buf_init(&b, 0);
	(void)rpc_root_create_encode(&q, &b);
	tree_send(w, 0, RPC_TAG_root_create, &b, 1);
}

void tree_last(struct tree *w, bool write)
{
	struct rpc_list q = { .root = w->root, .max = 1000 };

	if (write) {
		tree_gen_put(w, 0, "last", wire_bytes(NULL, 0));
		tree_gen_put(w, TREE_CLIENTS - 1, "last2",
			     wire_bytes(NULL, 0));
		return;
	}
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		tree_gen_object(w, 0, keys[i]);
	for (unsigned i = 0; i < 8; i++)
		tree_gen_read(w, 0);
	SEND(w, 0, list, &q);
	q.max = 9;
	SEND(w, 0, list, &q);
	SEND(w, TREE_CLIENTS - 1, list, &q);
	tree_readdirs(w);
}
