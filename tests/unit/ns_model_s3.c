/* Objects: PUT, GET, DELETE and copies, with conditions on all of them. */
#include "tests/unit/ns_model.h"

/* --- conditions --- */

static bool cond_etags(struct cond *c, uint64_t kind, const char *etag,
		       bool there)
{
	const uint32_t fails = RPC_STATUS_PRECONDITION;
	const uint32_t lacks = there ? 0 : RPC_STATUS_NOENT;

	switch (kind) {
	case 0:
		snprintf(c->match, sizeof(c->match), "\"%s\"", etag);
		c->write = lacks;
		return true;
	case 1:
		snprintf(c->match, sizeof(c->match), "\"x\", %s", etag);
		c->write = lacks;
		return true;
	case 2:
		strcpy(c->match, "*");
		c->write = lacks;
		return true;
	case 3:
		snprintf(c->match, sizeof(c->match), "\"%sx\"", etag);
		c->write = c->read = there ? fails : RPC_STATUS_NOENT;
		return true;
	case 4: /* a weak one never matches here */
		snprintf(c->match, sizeof(c->match), "W/\"%s\"", etag);
		c->write = c->read = there ? fails : RPC_STATUS_NOENT;
		return true;
	case 5:
		strcpy(c->none, "*");
		break;
	case 6:
		snprintf(c->none, sizeof(c->none), "\"%s\"", etag);
		break;
	case 7:
		snprintf(c->none, sizeof(c->none), "W/\"%s\",\"x\"", etag);
		break;
	case 8:
		snprintf(c->none, sizeof(c->none), "\"%.9s\", \"x\"", etag);
		return true;
	default:
		return false;
	}
	if (there) {
		c->write = fails;
		c->read = RPC_STATUS_NOT_MODIFIED;
	}
	return true;
}

static int64_t cond_time(int64_t ns)
{
	return ns == 0 ? 1 : ns; /* 0: no condition */
}

/* Times count where no ETags are given; by the second. */
static void cond_times(struct run *r, struct cond *c, int64_t mtime, bool there)
{
	const int64_t second = 1000000000;
	bool etag = c->match[0] != 0;

	switch (rnd(r, 5)) {
	case 0:
		c->unmodified = cond_time(mtime);
		break;
	case 1:
		c->unmodified = cond_time(mtime - second);
		if (there && !etag)
			c->write = c->read = RPC_STATUS_PRECONDITION;
		break;
	case 2:
		c->modified = cond_time(mtime - second);
		break;
	case 3:
		c->modified = cond_time(mtime);
		if (there && c->none[0] == 0 && c->read == 0)
			c->read = RPC_STATUS_NOT_MODIFIED;
		break;
	default:
		break;
	}
}

void pick_cond(struct run *r, const char *key, struct cond *c)
{
	char etag[NSM_ETAG] = "0123456789abcdef0123456789abcdef";
	int64_t mtime = NSH_START;
	bool there;

	memset(c, 0, sizeof(*c));
	if (rnd(r, 3) != 0)
		return;
	there = expect_head(r, key, etag, &mtime);
	(void)cond_etags(c, rnd(r, 12), etag, there);
	if (rnd(r, 3) == 0)
		cond_times(r, c, mtime, there);
	if (c->write != 0)
		r->n.refused++;
}

/* --- content --- */

void content_fini(struct content *c)
{
	wire_vec_fini(&c->extents);
	buf_fini(&c->data);
}

static void content_init(struct content *c)
{
	wire_vec_init(&c->extents);
	buf_init(&c->data, 0);
	c->len = 0;
}

static void content_random(struct run *r, struct content *c,
			   struct wire_extent *e)
{
	uint8_t *p = c->bytes + c->len;

	for (size_t i = 0; i < e->len; i++)
		p[i] = (uint8_t)rnd(r, 256);
	e->kind = WIRE_EXT_INLINE;
	e->slice_off = c->data.len;
	buf_add(&c->data, p, e->len);
}

static void content_chunks(struct run *r, struct content *c, uint16_t home,
			   struct wire_extent *e)
{
	e->kind = WIRE_EXT_CHUNKS;
	e->slice = slice_make(home, NSH_START / 1000000000, 1, ++r->slices);
	e->slice_off = rnd(r, 100);
	for (size_t i = 0; i < e->len; i++)
		c->bytes[c->len + i] =
			nsh_chunk_byte(e->slice.lo, e->slice_off + i);
}

void content_pick(struct run *r, struct content *c, uint16_t home,
		  uint64_t pos, size_t len)
{
	bool plain = rnd(r, 5) < 3;

	content_init(c);
	while (c->len < len) {
		struct wire_extent e = { .pos = pos + c->len };
		size_t left = len - c->len;

		e.len = plain ? left : 1 + rnd(r, left);
		switch (plain ? 0 : rnd(r, 5)) {
		case 1:
		case 2:
			content_chunks(r, c, home, &e);
			break;
		case 3:
			e.kind = WIRE_EXT_ZERO;
			memset(c->bytes + c->len, 0, e.len);
			break;
		default:
			content_random(r, c, &e);
			break;
		}
		c->len += e.len;
		wire_vec_add_extent(&c->extents, &e);
	}
}

/* One page of extents; false: a slice of it is not of that home. */
static bool content_share(struct run *r, struct content *c,
			  const struct rpc_read_rsp *rsp, uint64_t off,
			  uint16_t home)
{
	struct wire_bytes body = nsh_body(r->h);
	struct wire_reader rd;
	uint32_t n;

	for (rd = wire_vec_reader(rsp->extents, &n); n > 0; n--) {
		struct wire_extent e;

		wire_get_extent(&rd, &e);
		MUST(r, rd.err == 0);
		if (e.kind == WIRE_EXT_CHUNKS && slice_home(e.slice) != home)
			return false;
		if (e.kind == WIRE_EXT_INLINE) {
			MUST(r, e.slice_off + e.len <= body.len);
			buf_add(&c->data, body.p + e.slice_off, e.len);
			e.slice_off = c->data.len - e.len;
		}
		e.pos -= off;
		wire_vec_add_extent(&c->extents, &e);
	}
	return true;
}

/* By reference, as the gateway copies within a shard. */
static bool content_refer(struct run *r, struct content *c, uint64_t ino,
			  uint64_t off, uint64_t len, uint16_t home)
{
	uint64_t at = off;

	while (at < off + len) {
		struct rpc_read req = { .ino = ino, .off = at,
					.len = off + len - at };
		struct rpc_read_rsp rsp;

		CHECK(r, NSH(r->h, read, read_rsp, &req, &rsp), 0);
		if (!content_share(r, c, &rsp, off, home))
			return false;
		MUST(r, rsp.covered > 0);
		at += rsp.covered;
	}
	return true;
}

void content_copy(struct run *r, struct content *c, const char *key,
		  uint64_t off, uint64_t len, uint16_t home)
{
	struct rpc_object_rsp o;
	struct nsm_file *f;
	struct nsm_dir *d;

	content_init(c);
	(void)nsm_object(r->model, key, &f, &d);
	if (len > 0) {
		CHECK(r, nsh_object(r->h, r->root, key, 0, 0, &o), 0);
		if (content_refer(r, c, o.attr.ino, off, len, home)) {
			r->n.shared++;
		} else {
			struct wire_extent e = { .len = len,
						 .kind = WIRE_EXT_INLINE };

			content_fini(c);
			content_init(c);
			buf_add(&c->data, f->bytes + off, len);
			wire_vec_add_extent(&c->extents, &e);
		}
		memcpy(c->bytes, f->bytes + off, len);
	}
	c->len = len;
}

/* --- operations --- */

static const char *pick_any_key(struct run *r)
{
	return rnd(r, 3) == 0 ? pick_old_key(r) : pick_key(r);
}

/* What the shard that will hold it says, or (as a retry may) an old answer. */
static uint16_t pick_home(struct run *r, const char *key, const struct cond *c)
{
	struct rpc_prepare req = { .root = r->root, .key = wire_cstr(key) };
	struct rpc_prepare_rsp rsp = { .home = ino_shard(r->root) };
	uint32_t status;

	if (rnd(r, 3) == 0)
		return rsp.home;
	COND_INTO(req, c);
	status = NSH(r->h, prepare, prepare_rsp, &req, &rsp);
	CHECK(r, status, c->write);
	return status == 0 ? rsp.home : ino_shard(r->root);
}

static void put_content(struct run *r, const char *key, struct content *b,
			const struct cond *c, const char *etag,
			const char *user)
{
	struct rpc_put req = { .root = r->root, .key = wire_cstr(key),
			       .uid = NSM_ID, .gid = NSM_ID, .umask = 022,
			       .size = b->len, .etag = wire_cstr(etag) };
	struct rpc_put_rsp rsp;
	struct nsm_file *f;
	struct nsm_dir *d;
	struct wire_vec kvs;
	uint32_t status;

	COND_INTO(req, c);
	req.if_modified_since = 0; /* of reads alone */
	wire_vec_init(&kvs);
	if (user[0] != 0)
		wire_vec_add_kv(&kvs, wire_cstr("k"), wire_cstr(user));
	req.user = wire_vec_bytes(&kvs);
	req.extents = wire_vec_bytes(&b->extents);
	req.data = wire_bytes(b->data.data, b->data.len);
	status = NSH(r->h, put, put_rsp, &req, &rsp);
	wire_vec_fini(&kvs);
	CHECK(r, status, c->write != 0 ? c->write
				       : nsm_put(r->model, key, b->bytes,
						 b->len));
	if (status != 0)
		return;
	MUST(r, rsp.attr.size == b->len);
	MUST(r, wire_bytes_eq(rsp.etag, wire_cstr(etag)));
	(void)nsm_object(r->model, key, &f, &d);
	strcpy(f->etag, etag);
	strcpy(f->user, user);
	expect_attr(r, &rsp.attr, &f->m);
}

void op_put(struct run *r)
{
	char key[KEY_TEXT], etag[33], user[NSM_USER] = "";
	size_t len = rnd(r, 4) == 0 ? rnd(r, 700) : rnd(r, 40);
	struct content b;
	struct cond c;

	strcpy(key, pick_any_key(r));
	if (key[strlen(key) - 1] == '/' && rnd(r, 3) != 0)
		len = 0; /* a marker as tools make them */
	if (rnd(r, 5) == 0)
		snprintf(user, sizeof(user), "u%u", (unsigned)rnd(r, 100));
	TRACE(r, "PUT %s (%zu)", key, len);
	pick_digest(r, etag);
	pick_cond(r, key, &c);
	content_pick(r, &b, pick_home(r, key, &c), 0, len);
	TRACE(r, "PUT %s (%zu), if %s, if none %s", key, len, c.match, c.none);
	put_content(r, key, &b, &c, etag, user);
	content_fini(&b);
}

void op_delete(struct run *r)
{
	struct rpc_delete req = { .root = r->root };
	struct rpc_empty_rsp rsp;
	char key[KEY_TEXT];
	struct cond c;

	strcpy(key, pick_any_key(r));
	TRACE(r, "DELETE %s", key);
	pick_cond(r, key, &c);
	TRACE(r, "DELETE %s, if %s, if none %s", key, c.match, c.none);
	req.key = wire_cstr(key);
	COND_INTO(req, &c);
	req.if_modified_since = 0;
	CHECK(r, NSH(r->h, delete, empty_rsp, &req, &rsp),
	      c.write != 0 ? c.write : nsm_delete(r->model, key));
}

void op_copy(struct run *r)
{
	char from[KEY_TEXT], key[KEY_TEXT], etag[NSM_ETAG], user[NSM_USER];
	struct nsm_file *f;
	struct nsm_dir *d;
	struct content b;
	struct cond c;
	int64_t mtime;
	uint64_t len;

	strcpy(from, pick_old_key(r));
	strcpy(key, pick_any_key(r));
	TRACE(r, "COPY %s to %s", from, key);
	if (!expect_head(r, from, etag, &mtime))
		return;
	(void)nsm_object(r->model, from, &f, &d);
	len = f != NULL && nsm_is_regular(f) ? f->size : 0;
	strcpy(user, f != NULL ? f->user : "");
	pick_cond(r, key, &c);
	TRACE(r, "COPY %s to %s, if %s, if none %s", from, key, c.match,
	      c.none);
	content_copy(r, &b, from, 0, len, ino_shard(r->root));
	put_content(r, key, &b, &c, etag, user);
	content_fini(&b);
	r->n.copies++;
}

/* What is asked for, and which bytes that are. */
static uint32_t pick_range(struct run *r, const struct nsm_file *f,
			   struct rpc_object *req, uint64_t *off, uint64_t *len)
{
	uint64_t size = f != NULL && nsm_is_regular(f) ? f->size : 0;

	req->off = rnd(r, 3) == 0 ? 0 : rnd(r, 900);
	req->len = rnd(r, 3) == 0 ? NSM_BYTES : 1 + rnd(r, 300);
	req->suffix = rnd(r, 4) == 0;
	*off = req->suffix ? size - (req->len < size ? req->len : size)
			   : req->off;
	*len = *off >= size ? 0 : size - *off;
	if (*len > req->len)
		*len = req->len;
	if (rnd(r, 4) != 0)
		return 0;
	req->part = 1 + (uint32_t)rnd(r, 4);
	*off = 0;
	*len = size;
	if (f == NULL || f->parts == 0)
		return req->part == 1 ? 0 : RPC_STATUS_INVALID_PART;
	if (req->part > f->parts)
		return RPC_STATUS_INVALID_PART;
	for (unsigned i = 0; i + 1 < req->part; i++)
		*off += f->part_len[i];
	*len = f->part_len[req->part - 1];
	return 0;
}

void op_get(struct run *r)
{
	struct rpc_object req = { .root = r->root };
	struct rpc_object_rsp o;
	uint8_t got[NSM_BYTES];
	uint64_t off, len;
	char key[KEY_TEXT];
	struct nsm_file *f;
	struct nsm_dir *d;
	struct cond c;
	uint32_t want, status;

	strcpy(key, pick_any_key(r));
	TRACE(r, "GET %s", key);
	pick_cond(r, key, &c);
	COND_INTO(req, &c);
	req.key = wire_cstr(key);
	want = nsm_object(r->model, key, &f, &d) ? c.read : RPC_STATUS_NOENT;
	status = pick_range(r, f, &req, &off, &len);
	if (want == 0)
		want = status;
	TRACE(r, "GET %s of %lu+%lu, part %u, if %s, if none %s", key,
	      (unsigned long)req.off, (unsigned long)req.len, req.part,
	      c.match, c.none);
	status = NSH(r->h, object, object_rsp, &req, &o);
	CHECK(r, status, want);
	if (status != 0)
		return;
	MUST(r, o.len == len);
	MUST(r, len == 0 || o.off == off);
	MUST(r, len == 0 || (o.covered > 0 && o.covered <= len));
	if (len == 0)
		return;
	nsh_extents(r->h, o.extents, off, o.covered, got);
	MUST(r, memcmp(got, f->bytes + off, o.covered) == 0);
}
