/*
 * The codec. Everything read from a peer goes through wire_take(): it compares
 * the raw length with what is left, before any addition or padding, so no
 * length from the wire can overflow.
 *
 * Sizes: u8 1, u16 2, u32 4, u64 and i64 8, u128 16 (high half first),
 * str/blob/vectors 4 + bytes, attr 108, extent 41.
 */
#include "common/wire/wire.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define WIRE_STR_MAX (64u << 10)
#define WIRE_BLOB_MAX (16u << 20)
#define WIRE_EXTENT_SIZE 41
#define WIRE_ATTR_SIZE 108

struct wire_bytes wire_cstr(const char *s)
{
	return wire_bytes(s, s == NULL ? 0 : strlen(s));
}

bool wire_bytes_eq(struct wire_bytes a, struct wire_bytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

int wire_bytes_cmp(struct wire_bytes a, struct wire_bytes b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int rv = n == 0 ? 0 : memcmp(a.p, b.p, n);

	if (rv != 0)
		return rv;
	return a.len == b.len ? 0 : a.len < b.len ? -1 : 1;
}

/* --- writing --- */

/*
 * n is 1, 2, 4 or 8 and known where these are used: inline, they are one
 * instruction or two. Half of what a small message costs is in here.
 */
static inline void wire_store(uint8_t *p, uint64_t v, unsigned n)
{
	uint64_t be = htobe64(v << (64 - 8 * n));

	memcpy(p, &be, n);
}

static inline void wire_put_int(struct wire_writer *w, uint64_t v, unsigned n)
{
	uint8_t tmp[8];

	wire_store(tmp, v, n);
	buf_add(w->out, tmp, n);
}

static void wire_put_counted(struct wire_writer *w, const struct wire_bytes *v,
			     size_t max)
{
	if (v->len > max) {
		if (w->out->err == 0)
			w->out->err = -EMSGSIZE;
		return;
	}
	wire_put_int(w, v->len, 4);
	if (v->len > 0)
		buf_add(w->out, v->p, v->len);
}

void wire_put_u8(struct wire_writer *w, const uint8_t *v)
{
	wire_put_int(w, *v, 1);
}

void wire_put_u16(struct wire_writer *w, const uint16_t *v)
{
	wire_put_int(w, *v, 2);
}

void wire_put_u32(struct wire_writer *w, const uint32_t *v)
{
	wire_put_int(w, *v, 4);
}

void wire_put_u64(struct wire_writer *w, const uint64_t *v)
{
	wire_put_int(w, *v, 8);
}

void wire_put_i64(struct wire_writer *w, const int64_t *v)
{
	wire_put_int(w, (uint64_t)*v, 8);
}

void wire_put_u128(struct wire_writer *w, const struct wire_u128 *v)
{
	wire_put_int(w, v->hi, 8);
	wire_put_int(w, v->lo, 8);
}

void wire_put_str(struct wire_writer *w, const struct wire_bytes *v)
{
	wire_put_counted(w, v, WIRE_STR_MAX);
}

void wire_put_blob(struct wire_writer *w, const struct wire_bytes *v)
{
	wire_put_counted(w, v, WIRE_BLOB_MAX);
}

void wire_put_extents(struct wire_writer *w, const struct wire_bytes *v)
{
	wire_put_counted(w, v, WIRE_BLOB_MAX);
}

void wire_put_kvs(struct wire_writer *w, const struct wire_bytes *v)
{
	wire_put_counted(w, v, WIRE_BLOB_MAX);
}

void wire_put_list(struct wire_writer *w, const struct wire_bytes *v)
{
	wire_put_counted(w, v, WIRE_BLOB_MAX);
}

void wire_put_attr(struct wire_writer *w, const struct wire_attr *v)
{
	uint8_t *p = buf_reserve(w->out, WIRE_ATTR_SIZE);

	if (p == NULL)
		return;
	wire_store(p, v->ino, 8);
	wire_store(p + 8, v->mode, 4);
	wire_store(p + 12, v->uid, 4);
	wire_store(p + 16, v->gid, 4);
	wire_store(p + 20, v->nlink, 4);
	wire_store(p + 24, v->size, 8);
	wire_store(p + 32, v->bytes, 8);
	wire_store(p + 40, v->rdev, 8);
	wire_store(p + 48, (uint64_t)v->atime, 8);
	wire_store(p + 56, (uint64_t)v->mtime, 8);
	wire_store(p + 64, (uint64_t)v->ctime, 8);
	wire_store(p + 72, (uint64_t)v->btime, 8);
	wire_store(p + 80, v->data_version, 8);
	wire_store(p + 88, v->change, 8);
	wire_store(p + 96, v->generation, 8);
	wire_store(p + 104, v->flags, 4);
	w->out->len += WIRE_ATTR_SIZE;
}

void wire_put_extent(struct wire_writer *w, const struct wire_extent *v)
{
	uint8_t *p = buf_reserve(w->out, WIRE_EXTENT_SIZE);

	if (p == NULL)
		return;
	wire_store(p, v->pos, 8);
	wire_store(p + 8, v->len, 8);
	p[16] = v->kind;
	wire_store(p + 17, v->slice.hi, 8);
	wire_store(p + 25, v->slice.lo, 8);
	wire_store(p + 33, v->slice_off, 8);
	w->out->len += WIRE_EXTENT_SIZE;
}

/* --- reading --- */

static inline uint64_t wire_load(const uint8_t *p, unsigned n)
{
	uint64_t be = 0;

	memcpy(&be, p, n);
	return be64toh(be) >> (64 - 8 * n);
}

static void wire_fail(struct wire_reader *r)
{
	r->err = -EBADMSG;
	r->left = 0;
}

/* True when the message ended before this field (tail rule). */
static inline bool wire_at_tail(struct wire_reader *r)
{
	if (r->err == 0 && r->left == 0 && r->strict)
		wire_fail(r);
	return r->err != 0 || r->left == 0;
}

/* The one bounds check: n raw bytes, or NULL with the error set. */
static inline const uint8_t *wire_take(struct wire_reader *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->err != 0)
		return NULL;
	if (n > r->left) {
		wire_fail(r);
		return NULL;
	}
	r->p += n;
	r->left -= n;
	return p;
}

static inline uint64_t wire_get_int(struct wire_reader *r, unsigned n)
{
	const uint8_t *p;

	if (wire_at_tail(r))
		return 0;
	p = wire_take(r, n);
	return p == NULL ? 0 : wire_load(p, n);
}

static void wire_get_counted(struct wire_reader *r, struct wire_bytes *v,
			     size_t max)
{
	const uint8_t *p;
	size_t len;

	*v = (struct wire_bytes){ NULL, 0 };
	if (wire_at_tail(r))
		return;
	p = wire_take(r, 4);
	if (p == NULL)
		return;
	len = wire_load(p, 4);
	if (len == 0)
		return;
	if (len > max) {
		wire_fail(r);
		return;
	}
	p = wire_take(r, len);
	if (p != NULL)
		*v = wire_bytes(p, len);
}

void wire_get_u8(struct wire_reader *r, uint8_t *v)
{
	*v = (uint8_t)wire_get_int(r, 1);
}

void wire_get_u16(struct wire_reader *r, uint16_t *v)
{
	*v = (uint16_t)wire_get_int(r, 2);
}

void wire_get_u32(struct wire_reader *r, uint32_t *v)
{
	*v = (uint32_t)wire_get_int(r, 4);
}

void wire_get_u64(struct wire_reader *r, uint64_t *v)
{
	*v = wire_get_int(r, 8);
}

void wire_get_i64(struct wire_reader *r, int64_t *v)
{
	*v = (int64_t)wire_get_int(r, 8);
}

void wire_get_u128(struct wire_reader *r, struct wire_u128 *v)
{
	const uint8_t *p;

	*v = (struct wire_u128){ 0, 0 };
	if (wire_at_tail(r))
		return;
	p = wire_take(r, 16);
	if (p == NULL)
		return;
	v->hi = wire_load(p, 8);
	v->lo = wire_load(p + 8, 8);
}

void wire_get_str(struct wire_reader *r, struct wire_bytes *v)
{
	wire_get_counted(r, v, WIRE_STR_MAX);
}

void wire_get_blob(struct wire_reader *r, struct wire_bytes *v)
{
	wire_get_counted(r, v, WIRE_BLOB_MAX);
}

void wire_get_attr(struct wire_reader *r, struct wire_attr *v)
{
	const uint8_t *p;

	*v = (struct wire_attr){ 0 };
	if (wire_at_tail(r))
		return;
	p = wire_take(r, WIRE_ATTR_SIZE);
	if (p == NULL)
		return;
	v->ino = wire_load(p, 8);
	v->mode = (uint32_t)wire_load(p + 8, 4);
	v->uid = (uint32_t)wire_load(p + 12, 4);
	v->gid = (uint32_t)wire_load(p + 16, 4);
	v->nlink = (uint32_t)wire_load(p + 20, 4);
	v->size = wire_load(p + 24, 8);
	v->bytes = wire_load(p + 32, 8);
	v->rdev = wire_load(p + 40, 8);
	v->atime = (int64_t)wire_load(p + 48, 8);
	v->mtime = (int64_t)wire_load(p + 56, 8);
	v->ctime = (int64_t)wire_load(p + 64, 8);
	v->btime = (int64_t)wire_load(p + 72, 8);
	v->data_version = wire_load(p + 80, 8);
	v->change = wire_load(p + 88, 8);
	v->generation = wire_load(p + 96, 8);
	v->flags = (uint32_t)wire_load(p + 104, 4);
}

void wire_get_extent(struct wire_reader *r, struct wire_extent *v)
{
	const uint8_t *p;

	*v = (struct wire_extent){ 0 };
	if (wire_at_tail(r))
		return;
	p = wire_take(r, WIRE_EXTENT_SIZE);
	if (p == NULL)
		return;
	v->pos = wire_load(p, 8);
	v->len = wire_load(p + 8, 8);
	v->kind = p[16];
	v->slice.hi = wire_load(p + 17, 8);
	v->slice.lo = wire_load(p + 25, 8);
	v->slice_off = wire_load(p + 33, 8);
}

/* Known kind, and no sum of offset and length leaves the range of off_t. */
static bool wire_extent_ok(const struct wire_extent *e)
{
	const uint64_t max = INT64_MAX;

	return e->kind >= WIRE_EXT_CHUNKS && e->kind <= WIRE_EXT_ZERO &&
	       e->len > 0 && e->len <= max && e->pos <= max - e->len &&
	       e->slice_off <= max - e->len;
}

void wire_get_extents(struct wire_reader *r, struct wire_bytes *v)
{
	struct wire_reader in;
	struct wire_extent e;
	uint32_t n;

	wire_get_counted(r, v, WIRE_BLOB_MAX);
	in = wire_vec_reader(*v, &n);
	while (n > 0 && in.err == 0) {
		wire_get_extent(&in, &e);
		if (in.err == 0 && !wire_extent_ok(&e))
			wire_fail(&in);
		n--;
	}
	if (in.err != 0 || in.left > 0) {
		wire_fail(r);
		*v = (struct wire_bytes){ NULL, 0 };
	}
}

void wire_get_kvs(struct wire_reader *r, struct wire_bytes *v)
{
	struct wire_reader in;
	struct wire_bytes name, value;
	uint32_t n;

	wire_get_counted(r, v, WIRE_BLOB_MAX);
	in = wire_vec_reader(*v, &n);
	while (n > 0 && in.err == 0) {
		wire_get_str(&in, &name);
		wire_get_blob(&in, &value);
		n--;
	}
	if (in.err != 0 || in.left > 0) {
		wire_fail(r);
		*v = (struct wire_bytes){ NULL, 0 };
	}
}

void wire_get_list(struct wire_reader *r, struct wire_bytes *v)
{
	struct wire_reader in;
	uint32_t n;

	wire_get_counted(r, v, WIRE_BLOB_MAX);
	in = wire_vec_reader(*v, &n);
	if (in.err != 0) {
		wire_fail(r);
		*v = (struct wire_bytes){ NULL, 0 };
	}
}

/* --- vectors --- */

void wire_vec_init(struct wire_vec *v)
{
	buf_init(&v->buf, WIRE_BLOB_MAX);
	v->count = 0;
}

void wire_vec_fini(struct wire_vec *v)
{
	buf_fini(&v->buf);
	v->count = 0;
}

struct wire_writer wire_vec_add(struct wire_vec *v)
{
	static const uint8_t count_later[4];

	if (v->count == 0)
		buf_add(&v->buf, count_later, 4);
	v->count++;
	return (struct wire_writer){ &v->buf };
}

void wire_vec_add_extent(struct wire_vec *v, const struct wire_extent *e)
{
	struct wire_writer w = wire_vec_add(v);

	wire_put_extent(&w, e);
}

void wire_vec_add_kv(struct wire_vec *v, struct wire_bytes name,
		     struct wire_bytes value)
{
	struct wire_writer w = wire_vec_add(v);

	wire_put_str(&w, &name);
	wire_put_blob(&w, &value);
}

struct wire_bytes wire_vec_bytes(struct wire_vec *v)
{
	if (v->buf.err != 0 || v->count == 0)
		return (struct wire_bytes){ NULL, 0 };
	wire_store(v->buf.data, v->count, 4);
	return wire_bytes(v->buf.data, v->buf.len);
}

struct wire_reader wire_vec_reader(struct wire_bytes vec, uint32_t *ret_count)
{
	struct wire_reader r = { .p = vec.p, .left = vec.len, .strict = true };
	uint32_t n;

	*ret_count = 0;
	if (vec.len == 0)
		return r;
	wire_get_u32(&r, &n);
	/* the least element is one byte */
	if (n > r.left)
		wire_fail(&r);
	if (r.err == 0)
		*ret_count = n;
	return r;
}

bool wire_kvs_find(struct wire_bytes kvs, const char *name,
		   struct wire_bytes *ret_value)
{
	struct wire_bytes want = wire_cstr(name), k, value;
	struct wire_reader r;
	uint32_t n;

	r = wire_vec_reader(kvs, &n);
	for (; n > 0; n--) {
		wire_get_str(&r, &k);
		wire_get_blob(&r, &value);
		if (r.err != 0)
			return false;
		if (wire_bytes_eq(k, want)) {
			*ret_value = value;
			return true;
		}
	}
	return false;
}
