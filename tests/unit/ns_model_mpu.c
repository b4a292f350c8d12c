/* Multipart uploads: create, part, copy of a part, complete, abort, lists. */
#include "tests/unit/ns_model.h"

enum { UPLOADS = 6 };

static struct nsm_upload *pick_upload(struct run *r)
{
	struct nsm_upload *u = r->uploads;
	uint64_t n = 0;

	for (; u != NULL; u = u->next)
		n++;
	if (n == 0)
		return NULL;
	u = r->uploads;
	for (n = rnd(r, n); n > 0; n--)
		u = u->next;
	return u;
}

/* An upload as requests name it; rarely one that is not there. */
struct named {
	char key[KEY_TEXT];
	struct wire_u128 id;
	struct nsm_upload *u; /* NULL: NO_UPLOAD is the answer */
};

static void pick_named(struct run *r, struct nsm_upload *u, struct named *ret)
{
	ret->u = u;
	ret->id = u->id;
	strcpy(ret->key, u->key);
	switch (rnd(r, 20)) {
	case 0:
		ret->id.lo++;
		break;
	case 1:
		strcpy(ret->key, pick_key(r));
		break;
	default:
		return;
	}
	for (u = r->uploads; u != NULL; u = u->next)
		if (u->id.lo == ret->id.lo && u->id.hi == ret->id.hi &&
		    strcmp(u->key, ret->key) == 0)
			break;
	ret->u = u;
}

static void mpu_create(struct run *r)
{
	struct rpc_mpu_create req = { .root = r->root };
	struct rpc_mpu_create_rsp rsp;
	struct nsm_upload *u;
	struct wire_vec kvs;
	char key[KEY_TEXT], user[NSM_USER] = "";

	strcpy(key, rnd(r, 3) == 0 ? pick_old_key(r) : pick_key(r));
	TRACE(r, "CREATE UPLOAD %s", key);
	wire_vec_init(&kvs);
	if (rnd(r, 3) == 0) {
		snprintf(user, sizeof(user), "m%u", (unsigned)rnd(r, 100));
		wire_vec_add_kv(&kvs, wire_cstr("k"), wire_cstr(user));
	}
	req.key = wire_cstr(key);
	req.user = wire_vec_bytes(&kvs);
	CHECK(r, NSH(r->h, mpu_create, mpu_create_rsp, &req, &rsp), 0);
	MUST(r, rsp.home == ino_shard(r->root));
	u = nsm_upload_new(&r->uploads, key, rsp.upload);
	strcpy(u->user, user);
	wire_vec_fini(&kvs);
}

/* --- parts --- */

static void mpu_part_send(struct run *r, struct nsm_upload *up,
			  uint32_t number, struct content *b)
{
	struct rpc_mpu_part req = { .root = r->root, .part = number,
				    .size = b->len };
	struct nsm_part p = { .number = number, .len = b->len };
	bool bad = number == 0 || number > 10000;
	struct rpc_empty_rsp rsp;
	struct named u;
	uint32_t status;

	pick_named(r, up, &u);
	pick_digest(r, p.etag);
	memcpy(p.bytes, b->bytes, b->len);
	req.key = wire_cstr(u.key);
	req.upload = u.id;
	req.etag = wire_cstr(p.etag);
	req.extents = wire_vec_bytes(&b->extents);
	req.data = wire_bytes(b->data.data, b->data.len);
	status = NSH(r->h, mpu_part, empty_rsp, &req, &rsp);
	CHECK(r, status, bad	       ? RPC_STATUS_INVAL
			 : u.u == NULL ? RPC_STATUS_NO_UPLOAD
				       : 0);
	if (status == 0) {
		MUST(r, nsm_part_put(u.u, &p));
		r->n.parts++;
	}
}

/* No more numbers than the model has room for. */
static uint32_t pick_number(struct run *r, struct nsm_upload *u)
{
	static const uint32_t odd[] = { 0, 10000, 10001 };

	if (u->n >= NSM_PARTS - 1 && u->n > 0)
		return u->part[rnd(r, u->n)].number;
	return rnd(r, 12) == 0 ? odd[rnd(r, 3)] : 1 + (uint32_t)rnd(r, 9);
}

static void mpu_part(struct run *r, struct nsm_upload *u)
{
	uint32_t number = pick_number(r, u);
	size_t len = rnd(r, 8) == 0 ? 0 : 1 + rnd(r, NSM_PART_BYTES);
	struct content b;

	TRACE(r, "PART %u of %s (%zu)", number, u->key, len);
	content_pick(r, &b, ino_shard(r->root), 0, len);
	mpu_part_send(r, u, number, &b);
	content_fini(&b);
}

static void mpu_part_copy(struct run *r, struct nsm_upload *u)
{
	uint32_t number = pick_number(r, u);
	uint64_t off = 0, len = 0;
	char from[KEY_TEXT];
	struct content b;
	struct nsm_file *f;
	struct nsm_dir *d;

	strcpy(from, pick_old_key(r));
	if (!nsm_object(r->model, from, &f, &d))
		return;
	if (f != NULL && nsm_is_regular(f) && f->size > 0) {
		off = rnd(r, f->size);
		len = 1 + rnd(r, f->size - off);
		if (len > NSM_PART_BYTES)
			len = NSM_PART_BYTES;
	}
	TRACE(r, "PART %u of %s from %s (%lu+%lu)", number, u->key, from,
	      (unsigned long)off, (unsigned long)len);
	content_copy(r, &b, from, off, len, ino_shard(r->root));
	mpu_part_send(r, u, number, &b);
	content_fini(&b);
}

/* --- complete, abort --- */

/* Mostly what is there; now and then something is wrong with it. */
static unsigned pick_listed(struct run *r, struct nsm_upload *u,
			    struct nsm_listed *v)
{
	bool all = rnd(r, 2) == 0;
	unsigned n = 0;

	for (unsigned i = 0; i < u->n; i++) {
		if (!all && rnd(r, 3) == 0)
			continue;
		v[n].number = u->part[i].number;
		strcpy(v[n++].etag, u->part[i].etag);
	}
	if (n == 0)
		return 0;
	switch (rnd(r, 12)) {
	case 0:
		v[rnd(r, n)].number = (uint32_t)rnd(r, 12);
		break;
	case 1:
		pick_digest(r, v[rnd(r, n)].etag);
		break;
	case 2: {
		struct nsm_listed *a = &v[rnd(r, n)], swap = *a;

		*a = v[0];
		v[0] = swap;
		break;
	}
	default:
		break;
	}
	return n;
}

static void listed_put(struct wire_vec *vec, const struct nsm_listed *l,
		       bool quotes)
{
	struct wire_writer w = wire_vec_add(vec);
	struct wire_bytes none = { NULL, 0 }, e;
	char etag[40];

	snprintf(etag, sizeof(etag), quotes ? "\"%s\"" : "%s", l->etag);
	e = wire_cstr(etag);
	wire_put_u32(&w, &l->number);
	wire_put_str(&w, &e);
	wire_put_kvs(&w, &none);
}

static void mpu_completed(struct run *r, struct nsm_upload *u,
			  const struct nsm_listed *v, unsigned n,
			  const struct rpc_put_rsp *rsp)
{
	char key[KEY_TEXT];
	struct nsm_file *f;
	struct nsm_dir *d;

	strcpy(key, u->key);
	nsm_complete(r->model, &r->uploads, u, v, n);
	(void)nsm_object(r->model, key, &f, &d);
	MUST(r, wire_bytes_eq(rsp->etag, wire_cstr(f->etag)));
	MUST(r, rsp->attr.size == f->size);
	expect_attr(r, &rsp->attr, &f->m);
	r->n.completes++;
}

static void mpu_complete(struct run *r, struct nsm_upload *up)
{
	struct rpc_mpu_complete req = { .root = r->root, .uid = NSM_ID,
					.gid = NSM_ID, .umask = 022 };
	struct nsm_listed v[NSM_PARTS];
	unsigned n = pick_listed(r, up, v);
	struct rpc_put_rsp rsp;
	struct wire_vec list;
	struct named u;
	struct cond c;
	uint32_t want = 0, status;

	pick_named(r, up, &u);
	TRACE(r, "COMPLETE %s", u.key);
	pick_cond(r, u.key, &c);
	TRACE(r, "COMPLETE %s of %u parts, if %s, if none %s", u.key, n,
	      c.match, c.none);
	wire_vec_init(&list);
	for (unsigned i = 0; i < n; i++)
		listed_put(&list, &v[i], rnd(r, 2) == 0);
	req.key = wire_cstr(u.key);
	req.upload = u.id;
	req.parts = wire_vec_bytes(&list);
	req.min_part = rnd(r, 6) == 0 ? rnd(r, 100) : 0;
	COND_INTO(req, &c);
	req.if_modified_since = 0;
	if (u.u == NULL)
		want = RPC_STATUS_NO_UPLOAD;
	if (want == 0)
		want = nsm_complete_check(u.u, v, n, req.min_part);
	if (want == 0)
		want = c.write;
	status = NSH(r->h, mpu_complete, put_rsp, &req, &rsp);
	wire_vec_fini(&list);
	CHECK(r, status, want);
	if (status == 0)
		mpu_completed(r, u.u, v, n, &rsp);
}

static void mpu_abort(struct run *r, struct nsm_upload *up)
{
	struct rpc_mpu_abort req = { .root = r->root };
	struct rpc_empty_rsp rsp;
	struct named u;
	uint32_t status;

	pick_named(r, up, &u);
	TRACE(r, "ABORT %s", u.key);
	req.key = wire_cstr(u.key);
	req.upload = u.id;
	status = NSH(r->h, mpu_abort, empty_rsp, &req, &rsp);
	CHECK(r, status, u.u == NULL ? RPC_STATUS_NO_UPLOAD : 0);
	if (status == 0)
		nsm_upload_free(&r->uploads, u.u);
}

void op_mpu(struct run *r)
{
	struct nsm_upload *u = pick_upload(r);
	unsigned n = 0;

	for (const struct nsm_upload *i = r->uploads; i != NULL; i = i->next)
		n++;
	if (n == 0 || (n < UPLOADS && rnd(r, 6) == 0)) {
		mpu_create(r);
		return;
	}
	switch (rnd(r, 10)) {
	case 0:
	case 1:
		mpu_complete(r, u);
		break;
	case 2:
		if (rnd(r, 3) == 0)
			mpu_abort(r, u);
		break;
	case 3:
	case 4:
		mpu_part_copy(r, u);
		break;
	default:
		mpu_part(r, u);
		break;
	}
}

void end_uploads(struct run *r)
{
	while (r->uploads != NULL)
		mpu_abort(r, r->uploads);
}

/* --- lists --- */

static void expect_parts(struct run *r, const struct nsm_upload *u)
{
	struct rpc_mpu_parts req = { .root = r->root, .upload = u->id };
	struct rpc_mpu_parts_rsp rsp = { .truncated = 1 };
	unsigned i = 0;

	TRACE(r, "LIST PARTS %s", u->key);
	req.key = wire_cstr(u->key);
	req.max = 1 + (uint32_t)rnd(r, 4);
	req.after = rnd(r, 3) == 0 ? (uint32_t)rnd(r, 10) : 0;
	while (i < u->n && u->part[i].number <= req.after)
		i++;
	while (rsp.truncated) {
		struct wire_bytes etag, sums;
		struct wire_reader rd;
		uint32_t n, number;
		uint64_t size;
		int64_t mtime;

		CHECK(r, NSH(r->h, mpu_parts, mpu_parts_rsp, &req, &rsp), 0);
		rd = wire_vec_reader(rsp.parts, &n);
		MUST(r, n <= req.max && (n == req.max || !rsp.truncated));
		for (; n > 0; n--, i++) {
			wire_get_u32(&rd, &number);
			wire_get_u64(&rd, &size);
			wire_get_i64(&rd, &mtime);
			wire_get_str(&rd, &etag);
			wire_get_kvs(&rd, &sums);
			MUST(r, rd.err == 0 && i < u->n);
			MUST(r, number == u->part[i].number);
			MUST(r, size == u->part[i].len);
			MUST(r, wire_bytes_eq(etag,
					      wire_cstr(u->part[i].etag)));
		}
		req.after = rsp.next;
	}
	MUST(r, i == u->n);
}

static bool is_behind(const struct nsm_upload *u, const char *key,
		      struct wire_u128 id)
{
	int c = key[0] == 0 ? 1 : strcmp(u->key, key);

	if (c != 0 || (id.hi == 0 && id.lo == 0))
		return c > 0;
	return u->id.hi != id.hi ? u->id.hi > id.hi : u->id.lo > id.lo;
}

static const struct nsm_upload *next_upload(const struct nsm_upload *u,
					    const char *prefix,
					    const char *after,
					    struct wire_u128 id)
{
	while (u != NULL && (strncmp(u->key, prefix, strlen(prefix)) != 0 ||
			     !is_behind(u, after, id)))
		u = u->next;
	return u;
}

static void expect_upload_pages(struct run *r, const char *prefix,
				const char *after, struct wire_u128 id)
{
	struct rpc_mpu_list req = { .root = r->root, .upload_after = id };
	struct rpc_mpu_list_rsp rsp = { .truncated = 1 };
	const struct nsm_upload *u;
	char next[KEY_TEXT];

	TRACE(r, "LIST UPLOADS prefix=%s after=%s", prefix, after);
	u = next_upload(r->uploads, prefix, after, id);
	req.prefix = wire_cstr(prefix);
	req.key_after = wire_cstr(after);
	req.max = 1 + (uint32_t)rnd(r, 3);
	while (rsp.truncated) {
		struct wire_bytes key, alg, type;
		struct wire_reader rd;
		struct wire_u128 got;
		int64_t created;
		uint32_t n;

		CHECK(r, NSH(r->h, mpu_list, mpu_list_rsp, &req, &rsp), 0);
		rd = wire_vec_reader(rsp.uploads, &n);
		MUST(r, n <= req.max && (n == req.max || !rsp.truncated));
		for (; n > 0; n--) {
			wire_get_str(&rd, &key);
			wire_get_u128(&rd, &got);
			wire_get_i64(&rd, &created);
			wire_get_str(&rd, &alg);
			wire_get_str(&rd, &type);
			MUST(r, rd.err == 0 && u != NULL);
			MUST(r, wire_bytes_eq(key, wire_cstr(u->key)));
			MUST(r, got.hi == u->id.hi && got.lo == u->id.lo);
			u = next_upload(u->next, prefix, after, id);
		}
		snprintf(next, sizeof(next), "%.*s", (int)rsp.next_key.len,
			 (const char *)rsp.next_key.p);
		req.key_after = wire_cstr(next);
		req.upload_after = rsp.next_upload;
	}
	MUST(r, u == NULL);
}

void expect_uploads(struct run *r)
{
	static const char *const prefixes[] = { "", "", "a", "a/", "b/", "zz" };
	struct nsm_upload *u = pick_upload(r);
	struct wire_u128 none = { 0, 0 };

	expect_upload_pages(r, "", "", none);
	expect_upload_pages(r, prefixes[rnd(r, 6)], pick_key(r), none);
	if (u != NULL)
		expect_upload_pages(r, prefixes[rnd(r, 6)], u->key, u->id);
	for (u = r->uploads; u != NULL; u = u->next) {
		struct rpc_mpu_get req = { .root = r->root, .upload = u->id };
		struct rpc_mpu_get_rsp rsp;

		expect_parts(r, u);
		req.key = wire_cstr(u->key);
		CHECK(r, NSH(r->h, mpu_get, mpu_get_rsp, &req, &rsp), 0);
		MUST(r, rsp.home == ino_shard(r->root));
	}
}
