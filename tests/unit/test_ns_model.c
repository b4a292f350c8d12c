/*
 * Random operations through both vocabularies against the model: every status,
 * and now and then every key, listing, directory and byte. Over one shard, and
 * with directories spread over four. Then all is taken away, and no row is left.
 *
 * Seeds are printed; NS_MODEL_SEED=n runs one of them, NS_MODEL_SEEDS=n that
 * many, from NS_MODEL_FIRST (0) on.
 */
#include "tests/unit/ns_model.h"

enum { SHARD = 1, SHARDS = 4, STEPS = 400 };

uint64_t rnd(struct run *r, uint64_t below)
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

const char *pick_key(struct run *r)
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

void pick_digest(struct run *r, char out[33])
{
	snprintf(out, 33, "%016lx%016lx", (unsigned long)r->rng,
		 (unsigned long)(r->rng * 0x9e3779b97f4a7c15));
	(void)rnd(r, 2);
}

uint64_t ino_of(struct run *r, struct nsm_dir *d)
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

const char *pick_old_key(struct run *r)
{
	static char key[KEY_TEXT];
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

/* Half of the time plain files and directories, of whoever. */
static uint32_t pick_mode(struct run *r)
{
	static const uint32_t kinds[] = { S_IFREG, S_IFREG, S_IFREG, S_IFDIR,
					  S_IFDIR, S_IFDIR, S_IFLNK, S_IFIFO,
					  S_IFSOCK, S_IFCHR, S_IFBLK };
	static const uint32_t modes[] = { 0644, 0755, 0600, 02775, 04711,
					  06755 };

	return kinds[rnd(r, 11)] | modes[rnd(r, 6)];
}

static void op_create(struct run *r)
{
	struct nsm_dir *d = pick_dir(r);
	const char *name = pick_name(r);
	struct rpc_mknod req = { .mode = pick_mode(r), .rdev = 0x103,
				 .uid = NSM_ID + (uint32_t)rnd(r, 3),
				 .gid = NSM_ID + (uint32_t)rnd(r, 3),
				 .flags = RPC_MKNOD_EXCL };
	struct rpc_mknod_rsp rsp;
	uint32_t status, want;

	TRACE(r, "create %o %s in %s", req.mode, name, d->up ? d->name : ":");
	req.dir = ino_of(r, d);
	req.name = wire_cstr(name);
	if (S_ISLNK(req.mode))
		req.target = wire_cstr("target");
	want = nsm_create(d, name, req.mode, req.uid, req.gid);
	if (S_ISREG(req.mode) && rnd(r, 4) == 0)
		req.flags = 0; /* open(O_CREAT) takes what is there */
	status = NSH(r->h, mknod, mknod_rsp, &req, &rsp);
	if (want == RPC_STATUS_EXIST && req.flags == 0) {
		CHECK(r, status, nsm_dir_of(d, name) != NULL
					 ? RPC_STATUS_ISDIR : 0);
		MUST(r, status != 0 || !rsp.created);
		return;
	}
	CHECK(r, status, want);
	if (status != 0)
		return;
	MUST(r, rsp.created);
	if (S_ISCHR(req.mode) || S_ISBLK(req.mode))
		nsm_file_of(d, name)->rdev = req.rdev;
	expect_attr(r, &rsp.attr, S_ISDIR(req.mode)
					  ? &nsm_dir_of(d, name)->m
					  : &nsm_file_of(d, name)->m);
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
	bool noreplace = rnd(r, 4) == 0;
	struct rpc_rename req;
	struct rpc_rename_rsp rsp;

	if (rnd(r, 2) == 0)
		d2 = d;
	memset(&req, 0, sizeof(req));
	TRACE(r, "rename %s in %s to %s in %s", name, d->up ? d->name : ":",
	      name2, d2->up ? d2->name : ":");
	if (rnd(r, 4) == 0) {
		CHECK(r, nsh_exchange(r->h, ino_of(r, d), name, ino_of(r, d2),
				      name2),
		      nsm_exchange(d, name, d2, name2));
		return;
	}
	req.dir = ino_of(r, d);
	req.name = wire_cstr(name);
	req.dir2 = ino_of(r, d2);
	req.name2 = wire_cstr(name2);
	req.flags = noreplace ? RPC_RENAME_NOREPLACE : 0;
	CHECK(r, NSH(r->h, rename, rename_rsp, &req, &rsp),
	      nsm_rename(d, name, d2, name2, noreplace));
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

static void op_write(struct run *r, struct handle *f)
{
	struct rpc_write req = { .ino = f->ino };
	bool append = rnd(r, 3) == 0;
	uint64_t at = append ? 0 : rnd(r, 2000);
	struct rpc_write_rsp rsp;
	struct content b;

	if (append && f->file->size > NSM_BYTES - 700)
		return;
	content_pick(r, &b, ino_shard(f->ino), at,
		     1 + (rnd(r, 4) == 0 ? rnd(r, 699) : rnd(r, 40)));
	req.flags = append ? RPC_WRITE_APPEND : 0;
	req.extents = wire_vec_bytes(&b.extents);
	req.data = wire_bytes(b.data.data, b.data.len);
	CHECK(r, NSH(r->h, write, write_rsp, &req, &rsp), 0);
	MUST(r, rsp.pos == (append ? f->file->size : 0));
	nsm_write(f->file, append ? f->file->size : at, b.bytes, b.len);
	MUST(r, rsp.attr.size == f->file->size);
	content_fini(&b);
}

static void op_bytes_of(struct run *r, struct handle *f)
{
	uint64_t at = rnd(r, 2000);

	TRACE(r, "bytes of %lx", (unsigned long)f->ino);
	if (!nsm_is_regular(f->file)) {
		CHECK(r, nsh_truncate(r->h, f->ino, at), RPC_STATUS_INVAL);
	} else if (rnd(r, 3) == 0) {
		CHECK(r, nsh_truncate(r->h, f->ino, at), 0);
		nsm_truncate(f->file, at);
	} else {
		op_write(r, f);
	}
}

static void op_bytes(struct run *r)
{
	struct handle f;

	if (pick_file(r, &f))
		op_bytes_of(r, &f);
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
		MUST(r, a.nlink == o->file->nlink);
		expect_attr(r, &a, &o->file->m);
		expect_bytes(r, o->ino, o->file);
		op_bytes_of(r, o);
	} else {
		nsh_close(r->h, o->ino);
		nsm_file_unref(o->file);
		o->file = NULL;
	}
}

/* --- attributes --- */

/* A directory (d), or a file that has a name. */
struct thing {
	uint64_t ino;
	struct nsm_dir *d;
	struct nsm_meta *m;
};

static bool pick_thing(struct run *r, struct thing *ret)
{
	struct handle f;

	*ret = (struct thing){ .d = NULL };
	if (rnd(r, 2) == 0) {
		if (!pick_file(r, &f))
			return false;
		ret->ino = f.ino;
		ret->m = &f.file->m;
		return true;
	}
	ret->d = pick_dir(r);
	ret->ino = ino_of(r, ret->d);
	ret->m = &ret->d->m;
	return true;
}

static int64_t pick_time(struct run *r)
{
	return (rnd(r, 2) == 0 ? NSH_START : -5) +
	       (int64_t)rnd(r, 20000000000) + 6;
}

static void set_owner_mode(struct nsm_meta *m, const struct rpc_setattr *q)
{
	if (q->valid & RPC_SET_KILL_SUID && !S_ISDIR(m->mode)) {
		m->mode &= ~(uint32_t)S_ISUID;
		if (m->mode & S_IXGRP)
			m->mode &= ~(uint32_t)S_ISGID;
	}
	if (q->valid & RPC_SET_UID)
		m->uid = q->uid;
	if (q->valid & RPC_SET_GID)
		m->gid = q->gid;
	if (q->valid & RPC_SET_MODE)
		m->mode = (m->mode & S_IFMT) | q->mode;
}

static void op_setattr(struct run *r)
{
	const uint32_t any = RPC_SET_MODE | RPC_SET_UID | RPC_SET_GID;
	struct rpc_setattr req = { .valid = (uint32_t)rnd(r, 64) &
					    ~(uint32_t)RPC_SET_SIZE };
	struct rpc_attr_rsp rsp;
	struct thing t;

	TRACE(r, "setattr %x", req.valid);
	if (!pick_thing(r, &t))
		return;
	req.ino = t.ino;
	req.mode = pick_mode(r) & 07777;
	req.uid = NSM_ID + (uint32_t)rnd(r, 3);
	req.gid = NSM_ID + (uint32_t)rnd(r, 3);
	req.atime = pick_time(r);
	req.mtime = pick_time(r);
	if (req.valid & (RPC_SET_UID | RPC_SET_GID) && rnd(r, 2) == 0)
		req.valid |= RPC_SET_KILL_SUID;
	if (rnd(r, 4) == 0) /* wins over a time that is told */
		req.valid |= RPC_SET_ATIME_NOW | RPC_SET_MTIME_NOW;
	CHECK(r, NSH(r->h, setattr, attr_rsp, &req, &rsp), 0);
	set_owner_mode(t.m, &req);
	if (req.valid & RPC_SET_ATIME)
		t.m->atime = req.atime;
	if (req.valid & RPC_SET_MTIME)
		t.m->mtime = req.mtime;
	if (req.valid & RPC_SET_ATIME_NOW)
		t.m->atime = rsp.attr.atime;
	if (req.valid & RPC_SET_MTIME_NOW)
		t.m->mtime = rsp.attr.mtime;
	if (req.valid & RPC_SET_MTIME_NOW)
		MUST(r, rsp.attr.mtime > NSH_START &&
				rsp.attr.mtime <= nsh_now(r->h));
	if (t.d != NULL && req.valid & any)
		t.d->implicit = false;
	expect_attr(r, &rsp.attr, t.m);
}

static const char *const xattrs[] = { "user.a", "user.a.b", "user.b",
				      "trusted.c", "user.s3.x", "" };
enum { SETTABLE = 4 };

static void op_setxattr(struct run *r, const struct thing *t)
{
	uint64_t i = rnd(r, 6), flags = rnd(r, 3);
	struct rpc_setxattr req = { .ino = t->ino,
				    .name = wire_cstr(xattrs[i]),
				    .flags = (uint32_t)flags };
	struct rpc_empty_rsp rsp;
	char value[24] = "";
	uint32_t status;

	if (rnd(r, 4) != 0)
		snprintf(value, sizeof(value), "v%lu",
			 (unsigned long)rnd(r, 1000000));
	TRACE(r, "setxattr %s", xattrs[i]);
	req.value = wire_cstr(value);
	status = NSH(r->h, setxattr, empty_rsp, &req, &rsp);
	CHECK(r, status,
	      i < SETTABLE ? nsm_setxattr(t->m, xattrs[i], value,
					  flags == RPC_XATTR_CREATE,
					  flags == RPC_XATTR_REPLACE)
	      : i == SETTABLE ? RPC_STATUS_NOTSUP
			      : RPC_STATUS_RANGE);
	if (status == 0 && t->d != NULL)
		t->d->implicit = false;
}

static void op_xattr(struct run *r)
{
	struct rpc_removexattr req;
	struct rpc_empty_rsp rsp;
	struct thing t;
	uint64_t i;

	if (!pick_thing(r, &t))
		return;
	if (rnd(r, 3) != 0) {
		op_setxattr(r, &t);
		return;
	}
	i = rnd(r, SETTABLE + 1);
	TRACE(r, "removexattr %s", xattrs[i]);
	memset(&req, 0, sizeof(req));
	req.ino = t.ino;
	req.name = wire_cstr(xattrs[i]);
	CHECK(r, NSH(r->h, removexattr, empty_rsp, &req, &rsp),
	      i == SETTABLE ? RPC_STATUS_NOTSUP
			    : nsm_removexattr(t.m, xattrs[i]));
}

/* --- segments --- */

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
	r->n.splits += status == 0;
	if (status != 0 && status != RPC_STATUS_RANGE)
		CHECK(r, status, RPC_STATUS_INVAL);
}

/* --- runs --- */

static void run_step(struct run *r)
{
	if (r->split && rnd(r, 6) == 0)
		op_split(r);
	switch (rnd(r, 24)) {
	case 0:
	case 1:
	case 2: op_create(r); break;
	case 3:
	case 4: op_remove(r); break;
	case 5:
	case 6:
	case 7: op_rename(r); break;
	case 8: op_link(r); break;
	case 9:
	case 10: op_bytes(r); break;
	case 11:
	case 12: op_open(r); break;
	case 13: op_setattr(r); break;
	case 14: op_xattr(r); break;
	case 15:
	case 16:
	case 17:
	case 18: op_mpu(r); break;
	case 19: op_copy(r); break;
	case 20: op_get(r); break;
	case 21: op_delete(r); break;
	default: rnd(r, 4) == 0 ? op_delete(r) : op_put(r); break;
	}
	if (rnd(r, 30) == 0)
		r->n.ended += nsh_work(r->h);
}

static void run_seed(uint64_t seed, unsigned shards, bool split,
		     struct counts *sum)
{
	struct run r = { .rng = (seed + 1) * 0x9e3779b97f4a7c15,
			 .split = split };

	r.h = nsh_new_spread(SHARD, shards, 1 + (unsigned)(seed % 7), seed);
	r.root = nsh_root(r.h, 5);
	r.model = nsm_new();
	for (int i = 0; i < STEPS; i++) {
		run_step(&r);
		if (i % 60 == 59)
			expect_all(&r);
	}
	expect_all(&r);
	expect_nothing(&r);
	nsm_free(r.model);
	assert_int_equal(nsh_free(r.h), 0);
	sum->splits += r.n.splits;
	sum->copies += r.n.copies;
	sum->shared += r.n.shared;
	sum->parts += r.n.parts;
	sum->completes += r.n.completes;
	sum->refused += r.n.refused;
	sum->ended += r.n.ended;
}

static uint64_t number_of(const char *name, uint64_t other)
{
	const char *text = getenv(name);

	return text == NULL ? other : strtoull(text, NULL, 10);
}

static void run_seeds(unsigned shards, bool split)
{
	const char *one = getenv("NS_MODEL_SEED");
	uint64_t n = one != NULL ? 1 : number_of("NS_MODEL_SEEDS", 24);
	uint64_t first = one != NULL ? strtoull(one, NULL, 10)
				     : number_of("NS_MODEL_FIRST", 0);
	struct counts c = { 0 };

	for (uint64_t seed = first; seed < first + n; seed++) {
		print_message("# seed %lu, %u shards%s\n",
			      (unsigned long)seed, shards,
			      split ? ", splits" : "");
		run_seed(seed, shards, split, &c);
	}
	print_message("# summary: %lu seeds, %u shards: %u operations, "
		      "%u splits, %u copies (%u by reference), %u parts, "
		      "%u uploads completed, %u conditions that fail\n",
		      (unsigned long)n, shards, (unsigned)n * STEPS, c.splits,
		      c.copies, c.shared, c.parts, c.completes, c.refused);
	if (one != NULL)
		return;
	assert_true(!split || c.splits > 5 * n);
	assert_true(c.shared > n && c.parts > 10 * n && c.completes > n &&
		    c.refused > 10 * n && c.ended > n);
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
