/* Every attribute, key, listing, directory and byte against the model. */
#include "tests/unit/ns_model.h"

/* --- one inode --- */

void expect_attr(struct run *r, const struct wire_attr *a,
		 const struct nsm_meta *m)
{
	MUST(r, a->mode == m->mode);
	MUST(r, a->uid == m->uid);
	MUST(r, a->gid == m->gid);
	MUST(r, m->atime == 0 || a->atime == m->atime);
	MUST(r, m->mtime == 0 || a->mtime == m->mtime);
}

void expect_bytes(struct run *r, uint64_t ino, const struct nsm_file *f)
{
	uint8_t got[NSM_BYTES];

	if (!nsm_is_regular(f))
		return;
	CHECK(r, nsh_bytes(r->h, ino, 0, sizeof(got), got), 0);
	MUST(r, memcmp(got, f->bytes, f->size) == 0);
	for (size_t i = f->size; i < sizeof(got); i++)
		assert_int_equal(got[i], 0);
}

static const char *special_of(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFLNK: return "symlink";
	case S_IFIFO: return "fifo";
	case S_IFSOCK: return "socket";
	case S_IFCHR: return "chardev";
	case S_IFBLK: return "blockdev";
	default: return "";
	}
}

static void expect_special(struct run *r, uint64_t ino,
			   const struct nsm_file *f)
{
	struct rpc_readlink req = { .ino = ino };
	struct rpc_readlink_rsp rsp;
	uint32_t status = NSH(r->h, readlink, readlink_rsp, &req, &rsp);

	CHECK(r, status, S_ISLNK(f->m.mode) ? 0 : RPC_STATUS_INVAL);
	if (status == 0)
		MUST(r, wire_bytes_eq(rsp.target, wire_cstr("target")));
}

static void expect_names(struct run *r, uint64_t ino, const struct nsm_meta *m,
			 const char *user)
{
	struct rpc_listxattr req = { .ino = ino };
	struct rpc_listxattr_rsp rsp;
	char want[16 * NSM_XATTRS + 40];
	size_t n = 0;

	for (unsigned i = 0; i < m->n_xattrs; i++) {
		strcpy(want + n, m->xattr[i].name);
		n += strlen(want + n) + 1;
	}
	if (user[0] != 0) {
		strcpy(want + n, "user.s3.x-amz-meta-k");
		n += strlen(want + n) + 1;
	}
	CHECK(r, NSH(r->h, listxattr, listxattr_rsp, &req, &rsp), 0);
	MUST(r, wire_bytes_eq(rsp.names, wire_bytes(want, n)));
}

static void expect_xattr(struct run *r, uint64_t ino, const char *name,
			 const char *value)
{
	struct rpc_getxattr req = { .ino = ino, .name = wire_cstr(name) };
	struct rpc_getxattr_rsp rsp;
	uint32_t status = NSH(r->h, getxattr, getxattr_rsp, &req, &rsp);

	CHECK(r, status, value != NULL ? 0 : RPC_STATUS_NODATA);
	if (status == 0)
		MUST(r, wire_bytes_eq(rsp.value, wire_cstr(value)));
}

static void expect_xattrs(struct run *r, uint64_t ino,
			  const struct nsm_meta *m, const char *user)
{
	TRACE(r, "xattrs of %lx", (unsigned long)ino);
	expect_names(r, ino, m, user);
	for (unsigned i = 0; i < m->n_xattrs; i++)
		expect_xattr(r, ino, m->xattr[i].name, m->xattr[i].value);
	expect_xattr(r, ino, "user.s3.x-amz-meta-k",
		     user[0] != 0 ? user : NULL);
	expect_xattr(r, ino, "user.none", NULL);
}

/* --- one key --- */

static void expect_etag(struct run *r, struct wire_bytes got,
			const struct nsm_file *f)
{
	const char *want = f != NULL ? f->etag
				     : "d41d8cd98f00b204e9800998ecf8427e";

	if (want[0] != 0)
		MUST(r, wire_bytes_eq(got, wire_cstr(want)));
	else
		MUST(r, got.len == 34 && memcmp(got.p + 32, "-0", 2) == 0);
}

static void expect_user(struct run *r, struct wire_bytes kvs,
			const struct nsm_file *f)
{
	struct wire_bytes v = { NULL, 0 };
	bool has = wire_kvs_find(kvs, "k", &v);

	MUST(r, has == (f != NULL && f->user[0] != 0));
	if (has)
		MUST(r, wire_bytes_eq(v, wire_cstr(f->user)));
}

bool expect_head(struct run *r, const char *key, char ret_etag[NSM_ETAG],
		 int64_t *ret_mtime)
{
	struct rpc_object_rsp o;
	struct nsm_file *f;
	struct nsm_dir *d;
	bool there = nsm_object(r->model, key, &f, &d);

	CHECK(r, nsh_object(r->h, r->root, key, 0, 0, &o),
	      there ? 0 : RPC_STATUS_NOENT);
	if (!there)
		return false;
	MUST(r, wire_bytes_eq(o.special, wire_cstr(f == NULL
					 ? "dir" : special_of(f->m.mode))));
	MUST(r, o.attr.size ==
			(f != NULL && nsm_is_regular(f) ? f->size : 0));
	MUST(r, f == NULL || o.parts == f->parts);
	expect_etag(r, o.etag, f);
	expect_user(r, o.user, f);
	expect_attr(r, &o.attr, f != NULL ? &f->m : &d->m);
	snprintf(ret_etag, NSM_ETAG, "%.*s", (int)o.etag.len,
		 (const char *)o.etag.p);
	*ret_mtime = o.attr.mtime;
	return true;
}

/* --- LIST --- */

/* What HEAD said of the keys, which LIST must say too. */
struct seen {
	char etag[NSM_ETAG];
	int64_t mtime;
};

struct cursor {
	struct run *r;
	struct nsm_key *v;
	const struct seen *seen; /* of each in v */
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
		char *at = NULL, cut[KEY_TEXT];

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

static void list_one(void *arg, const struct nsh_listed *e)
{
	struct cursor *c = arg;
	const struct seen *s;
	size_t len;
	struct nsm_key *k = cursor_next(c, &len);

	if (k == NULL) {
		print_error("%s: it has %.*s too many\n", c->r->trace,
			    (int)e->key.len, (const char *)e->key.p);
		fail();
		return;
	}
	if (e->key.len != (e->is_prefix ? len : strlen(k->key)) ||
	    memcmp(e->key.p, k->key, e->key.len) != 0 ||
	    e->is_prefix != (len > 0)) {
		print_error("%s: it has %.*s, want %s (%zu)\n", c->r->trace,
			    (int)e->key.len, (const char *)e->key.p, k->key,
			    len);
		fail();
	}
	if (e->is_prefix)
		return;
	s = &c->seen[k - c->v];
	MUST(c->r, e->size == (k->file != NULL && nsm_is_regular(k->file)
				       ? k->file->size
				       : 0));
	MUST(c->r, wire_bytes_eq(e->etag, wire_cstr(s->etag)));
	MUST(c->r, e->mtime == s->mtime);
}

static void expect_list(struct cursor c, uint32_t page)
{
	struct run *r = c.r;
	struct nsm_key *k;
	size_t len;

	TRACE(r, "LIST prefix=%s after=%s delimiter=%s page=%u", c.prefix,
	      c.after, c.delimiter, page);
	CHECK(r, nsh_list(r->h, r->root, c.prefix, c.after, c.delimiter, page,
			  list_one, &c), 0);
	k = cursor_next(&c, &len);
	if (k != NULL) {
		print_error("%s: LIST lacks %s\n", r->trace, k->key);
		fail();
	}
}

static void expect_lists(struct run *r, struct cursor c)
{
	static const char *const prefixes[] = { "", "a", "a/", "a/b", "b/",
						"a-", "a//", "./", "zz" };
	static const char *const delimiters[] = { "", "/", "a", "//", "/a",
						  "-" };

	for (int i = 0; i < 12; i++) {
		char after[128] = "";

		if (rnd(r, 2) == 0)
			strcpy(after, pick_key(r));
		c.after = after;
		c.prefix = prefixes[rnd(r, 9)];
		c.delimiter = delimiters[i < 6 ? (uint64_t)i : rnd(r, 6)];
		expect_list(c, 1 + (uint32_t)rnd(r, i < 4 ? 1000 : 5));
	}
}

/* --- directories --- */

struct rows {
	struct run *r;
	struct nsm_dir *d;
	uint64_t ino;
	char last[64];
	bool first;
	size_t n;
};

/* A marker that is nothing but its name. */
static bool is_bare(const struct nsm_file *f, const char *name)
{
	return name[0] == 0 && f->size == 0 && nsm_is_regular(f) &&
	       f->user[0] == 0;
}

static void row_dir(struct rows *rows, char *text,
		    const struct wire_attr *attr)
{
	struct run *r = rows->r;
	struct nsm_dir *c;

	text[strlen(text) - 1] = 0;
	c = nsm_dir_of(rows->d, text);
	assert_non_null(c);
	if (attr->nlink != 1 || !r->split)
		MUST(r, attr->nlink == 2 + nsm_subdirs(c));
	MUST(r, !!(attr->flags & WIRE_ATTR_IMPLICIT) == c->implicit);
	expect_attr(r, attr, &c->m);
}

static void row_one(void *arg, struct wire_bytes name, uint32_t mode,
		    bool shadowed, const struct wire_attr *attr)
{
	struct rows *rows = arg;
	struct run *r = rows->r;
	char text[64];
	struct nsm_file *f;

	snprintf(text, sizeof(text), "%.*s", (int)name.len,
		 (const char *)name.p);
	MUST(r, rows->first || strcmp(rows->last, text) < 0);
	rows->first = false;
	strcpy(rows->last, text);
	rows->n++;
	if (S_ISDIR(mode)) {
		row_dir(rows, text, attr);
		return;
	}
	f = nsm_file_of(rows->d, text);
	assert_non_null(f);
	if (is_bare(f, text)) { /* shown where its shard alone could tell */
		MUST(r, ino_shard(attr->ino) != ino_shard(rows->ino));
		rows->n--;
	}
	MUST(r, attr->nlink == f->nlink);
	MUST(r, (mode & S_IFMT) == (f->m.mode & S_IFMT));
	MUST(r, attr->rdev == f->rdev);
	if (nsm_is_regular(f))
		MUST(r, attr->size == f->size);
	MUST(r, shadowed == (nsm_dir_of(rows->d, text) != NULL));
	expect_attr(r, attr, &f->m);
}

static void expect_parent(struct run *r, struct nsm_dir *d, uint64_t ino)
{
	struct rpc_parent req = { .ino = ino };
	struct rpc_parent_rsp rsp;

	CHECK(r, NSH(r->h, parent, parent_rsp, &req, &rsp), 0);
	MUST(r, rsp.name.len == 0 || wire_bytes_eq(rsp.name,
						   wire_cstr(d->name)));
	MUST(r, rsp.parent == ino_of(r, d->up));
}

static void expect_dir(struct run *r, struct nsm_dir *d)
{
	struct rows rows = { .r = r, .d = d, .first = true };
	struct nsm_file *marker = nsm_file_of(d, "");
	size_t want = d->n;
	uint64_t ino = ino_of(r, d);

	rows.ino = ino;
	want -= marker != NULL && is_bare(marker, "");
	TRACE(r, "READDIR %s", d->up ? d->name : ":");
	CHECK(r, nsh_readdir(r->h, ino, 1 + (uint32_t)rnd(r, 5), row_one,
			     &rows), 0);
	MUST(r, rows.n == want);
	if (d->up != NULL)
		expect_parent(r, d, ino);
	expect_xattrs(r, ino, &d->m, "");
	for (size_t i = 0; i < d->n; i++)
		if (d->v[i].dir != NULL)
			expect_dir(r, d->v[i].dir);
}

/* --- everything --- */

static void expect_object(struct run *r, struct nsm_key *k, struct seen *s)
{
	struct nsm_file *f = k->file;
	struct rpc_object_rsp o;

	TRACE(r, "GET %s", k->key);
	(void)expect_head(r, k->key, s->etag, &s->mtime);
	if (f == NULL)
		return;
	CHECK(r, nsh_object(r->h, r->root, k->key, 0, UINT64_MAX, &o), 0);
	expect_bytes(r, o.attr.ino, f);
	if (!nsm_is_regular(f))
		expect_special(r, o.attr.ino, f);
	expect_xattrs(r, o.attr.ino, &f->m, f->user);
}

void expect_all(struct run *r)
{
	struct cursor c = { .r = r };
	struct seen *seen;

	c.n = nsm_keys(r->model, &c.v);
	seen = calloc(c.n + 1, sizeof(*seen));
	for (size_t i = 0; i < c.n; i++)
		expect_object(r, &c.v[i], &seen[i]);
	c.seen = seen;
	expect_lists(r, c);
	nsm_keys_free(c.v, c.n);
	free(seen);
	expect_dir(r, r->model);
	expect_uploads(r);
	TRACE(r, "check");
	assert_int_equal(nsh_check(r->h), 0);
}

static void take_keys(struct run *r)
{
	struct rpc_delete req = { .root = r->root };
	struct rpc_empty_rsp rsp;
	struct nsm_key *v;
	size_t n;

	while ((n = nsm_keys(r->model, &v)) > 0) {
		const char *key = v[rnd(r, n)].key;

		TRACE(r, "DELETE %s", key);
		req.key = wire_cstr(key);
		CHECK(r, NSH(r->h, delete, empty_rsp, &req, &rsp), 0);
		CHECK(r, nsm_delete(r->model, key), 0);
		nsm_keys_free(v, n);
	}
}

/* Not a row but the root's, and of slices whose chunks wait to be removed. */
void expect_nothing(struct run *r)
{
	static const uint8_t none[] = { NS_T_LINK, NS_T_PAGE, NS_T_DENT,
					NS_T_SEGMENT, NS_T_SLICE, NS_T_UPLOAD,
					NS_T_PART, NS_T_OPEN, NS_T_TXN,
					NS_T_REGION };

	end_uploads(r);
	take_keys(r);
	for (int i = 0; i < HANDLES; i++) {
		if (r->open[i].file == NULL)
			continue;
		nsh_close(r->h, r->open[i].ino);
		nsm_file_unref(r->open[i].file);
	}
	r->n.ended += nsh_work(r->h);
	for (size_t i = 0; i < sizeof(none); i++) {
		TRACE(r, "rows %c", none[i]);
		MUST(r, nsh_count_all(r->h, none[i]) == 0);
	}
	TRACE(r, "the root's rows");
	MUST(r, nsh_count_all(r->h, NS_T_INODE) == 1);
	MUST(r, nsh_count_all(r->h, NS_T_XATTR) == r->model->m.n_xattrs);
}
