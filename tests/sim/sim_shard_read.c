/*
 * What a read answered, against the states it may have seen.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_shard.h"

/* An answer, decoded once, compared with several states. */
struct seen {
	struct wire_bytes payload, body;
	uint32_t status;
	struct rpc_object object, *q_object;
	struct rpc_lookup lookup;
	struct rpc_read read;
	struct rpc_list list;
	struct rpc_open open;
	struct rpc_mpu_parts parts;
	struct rpc_mpu_list uploads;
	struct rpc_object_rsp object_rsp;
	struct rpc_lookup_rsp lookup_rsp;
	struct rpc_read_rsp read_rsp;
	struct rpc_list_rsp list_rsp;
	struct rpc_mpu_parts_rsp parts_rsp;
	struct rpc_mpu_list_rsp uploads_rsp;
	uint64_t hash; /* of the bytes */
};

const struct ver_row *ver_key(const struct ver *v, const char *key, size_t len)
{
	for (unsigned i = 0; i < v->n; i++)
		if (strncmp(v->rows[i].key, key, len) == 0 &&
		    v->rows[i].key[len] == 0)
			return &v->rows[i];
	return NULL;
}

const struct ver_row *ver_ino(const struct ver *v, uint64_t ino)
{
	for (unsigned i = 0; i < v->n_all; i++)
		if (v->rows[i].ino == ino)
			return &v->rows[i];
	return NULL;
}

static bool row_empty_dir(const struct ver *v, const struct ver_row *r)
{
	size_t i = (size_t)(r - v->rows);

	return r->nlink == 0 &&
	       (i + 1 == v->n ||
		strncmp(v->rows[i + 1].key, r->key, strlen(r->key)) != 0);
}

static bool same_etag(const struct ver_row *r, struct wire_bytes etag)
{
	char text[ETAG_MAX];

	if (r->tag == 0)
		return etag.len > 0;
	etag_text(r->tag, text);
	return wire_bytes_eq(etag, wire_cstr(text));
}

/* --- one state --- */

static bool see_object(const struct ver *v, const struct seen *s)
{
	const struct rpc_object_rsp *a = &s->object_rsp;
	const struct ver_row *r = ver_key(v, (const char *)s->object.key.p,
					  s->object.key.len);

	if (r == NULL)
		return s->status == RPC_STATUS_NOENT;
	return s->status == 0 && a->attr.ino == r->ino &&
	       a->attr.size == r->size && a->attr.nlink == r->nlink &&
	       same_etag(r, a->etag) &&
	       (s->object.len == 0 || s->hash == r->hash);
}

static bool see_read(const struct ver *v, const struct seen *s)
{
	const struct wire_attr *a = &s->read_rsp.attr;
	const struct ver_row *r = ver_ino(v, s->read.ino);

	if (r == NULL)
		return s->status == RPC_STATUS_STALE;
	return s->status == 0 && a->size == r->size && a->nlink == r->nlink &&
	       s->hash == r->hash;
}

/* A small file's bytes come with it when they are wanted. */
static bool see_open(const struct model *m, const struct ver *v,
		     const struct op *op, const struct seen *s)
{
	const struct rpc_read_rsp *a = &s->read_rsp;
	const struct ver_row *r = ver_ino(v, s->open.ino);

	if (!open_see(m, v, &s->open, op, s->status, &a->attr))
		return false;
	if (s->status != 0 || r == NULL || a->attr.size == 0)
		return true;
	return a->attr.size > s->open.want ? a->covered == 0
					   : a->covered == a->attr.size &&
						     s->hash == r->hash;
}

static bool see_lookup(const struct model *m, const struct ver *v,
		       const struct seen *s)
{
	const struct ver_row *dir = NULL, *r;
	char key[2 * SHARD_KEY];
	int n;

	if (s->lookup.dir != m->root) {
		dir = ver_ino(v, s->lookup.dir);
		if (dir == NULL)
			return s->status == RPC_STATUS_STALE;
	}
	n = snprintf(key, sizeof key, "%s%.*s/", dir ? dir->key : "",
		     (int)s->lookup.name.len,
		     (const char *)s->lookup.name.p);
	r = ver_key(v, key, (size_t)n);
	if (r == NULL)
		r = ver_key(v, key, (size_t)n - 1);
	if (r == NULL)
		return s->status == RPC_STATUS_NOENT;
	if (s->status != 0 || (r->ino != 0 && s->lookup_rsp.attr.ino != r->ino))
		return false;
	return r->nlink == 0 ? s->lookup_rsp.kind == RPC_NAME_DIR
			     : s->lookup_rsp.attr.nlink == r->nlink &&
				       s->lookup_rsp.attr.size == r->size;
}

struct entry {
	struct wire_bytes key, etag, alg, type;
	uint8_t is_prefix;
	uint64_t size;
	int64_t mtime;
};

static bool see_entry(struct wire_reader *r, struct entry *e)
{
	wire_get_str(r, &e->key);
	wire_get_u8(r, &e->is_prefix);
	wire_get_u64(r, &e->size);
	wire_get_i64(r, &e->mtime);
	wire_get_str(r, &e->etag);
	wire_get_str(r, &e->alg);
	wire_get_str(r, &e->type);
	return r->err == 0;
}

/* The part of key that a listing shows. */
static struct wire_bytes list_shown(const struct rpc_list *q, const char *key,
				    bool *ret_prefix)
{
	const char *slash = NULL;

	if (q->delimiter.len > 0)
		slash = strchr(key + q->prefix.len, '/');
	*ret_prefix = slash != NULL;
	return slash == NULL ? wire_cstr(key)
			     : wire_bytes(key, (size_t)(slash - key) + 1);
}

static bool has_prefix(const char *key, struct wire_bytes prefix)
{
	return prefix.len == 0 ||
	       (strlen(key) >= prefix.len &&
		memcmp(key, prefix.p, prefix.len) == 0);
}

static bool see_list(const struct ver *v, const struct seen *s)
{
	const struct rpc_list *q = &s->list;
	struct wire_bytes last = q->after;
	struct wire_reader r;
	uint32_t left, n = 0;

	if (s->status != 0)
		return false;
	r = wire_vec_reader(s->list_rsp.entries, &left);
	for (unsigned i = 0; i < v->n; i++) {
		const struct ver_row *row = &v->rows[i];
		struct wire_bytes shown;
		struct entry e;
		bool is_prefix;

		if (row->nlink == 0 && !row_empty_dir(v, row))
			continue;
		if (!has_prefix(row->key, q->prefix))
			continue;
		shown = list_shown(q, row->key, &is_prefix);
		if (wire_bytes_cmp(shown, last) <= 0)
			continue;
		if (n == q->max)
			return left == 0 && s->list_rsp.truncated;
		if (left == 0 || !see_entry(&r, &e))
			return false;
		left--;
		n++;
		if (!wire_bytes_eq(e.key, shown))
			return false;
		last = shown;
		if (is_prefix != (e.is_prefix != 0))
			return false;
		if (!is_prefix && (e.size != row->size ||
				   (row->nlink > 0 && !same_etag(row, e.etag))))
			return false;
	}
	return left == 0 && !s->list_rsp.truncated;
}

static bool see(const struct model *m, const struct ver *v,
		const struct op *op, const struct seen *s)
{
	switch (op->tag) {
	case RPC_TAG_object:
		return see_object(v, s);
	case RPC_TAG_read:
		return see_read(v, s);
	case RPC_TAG_lookup:
		return see_lookup(m, v, s);
	case RPC_TAG_open:
		return see_open(m, v, op, s);
	case RPC_TAG_mpu_parts:
		return upload_see_parts(v, &s->parts, s->status,
					&s->parts_rsp);
	case RPC_TAG_mpu_list:
		return upload_see_list(v, &s->uploads, s->status,
				       &s->uploads_rsp);
	default:
		return see_list(v, s);
	}
}

/* --- an answer --- */

/* Joins extents and body; false: chunks of some of these are gone. */
static bool seen_join(struct model *m, struct seen *s,
		      struct wire_bytes extents, uint64_t size)
{
	struct wire_reader r;
	uint32_t n;

	for (r = wire_vec_reader(extents, &n); n > 0; n--) {
		struct wire_extent e;

		wire_get_extent(&r, &e);
		if (r.err == 0 && e.kind == WIRE_EXT_CHUNKS &&
		    slice_is_gone(m->w, e.slice))
			return false;
	}
	s->hash = sim_bytes_joined(m->w->c, extents, s->body, size, NULL);
	return true;
}

static int seen_decode(struct model *m, const struct op *op, struct seen *s)
{
	const struct buf *q = &op->payload;
	const struct wire_bytes *p = &s->payload;
	bool ok = s->status == 0;
	int rv = 0;

	switch (op->tag) {
	case RPC_TAG_object:
		rv = rpc_object_decode(&s->object, q->data, q->len);
		if (ok && rv == 0)
			rv = rpc_object_rsp_decode(&s->object_rsp, p->p,
						   p->len);
		if (ok && rv == 0 && s->object.len > 0 &&
		    !seen_join(m, s, s->object_rsp.extents,
			       s->object_rsp.attr.size))
			return -EAGAIN;
		return rv;
	case RPC_TAG_read:
		rv = rpc_read_decode(&s->read, q->data, q->len);
		if (ok && rv == 0)
			rv = rpc_read_rsp_decode(&s->read_rsp, p->p, p->len);
		if (ok && rv == 0 && !seen_join(m, s, s->read_rsp.extents,
						s->read_rsp.attr.size))
			return -EAGAIN;
		return rv;
	case RPC_TAG_lookup:
		rv = rpc_lookup_decode(&s->lookup, q->data, q->len);
		return ok && rv == 0 ? rpc_lookup_rsp_decode(
					       &s->lookup_rsp, p->p, p->len)
				     : rv;
	case RPC_TAG_open:
		rv = rpc_open_decode(&s->open, q->data, q->len);
		if (ok && rv == 0)
			rv = rpc_read_rsp_decode(&s->read_rsp, p->p, p->len);
		if (ok && rv == 0 && s->read_rsp.covered > 0 &&
		    !seen_join(m, s, s->read_rsp.extents,
			       s->read_rsp.attr.size))
			return -EAGAIN;
		return rv;
	case RPC_TAG_mpu_parts:
		rv = rpc_mpu_parts_decode(&s->parts, q->data, q->len);
		return ok && rv == 0 ? rpc_mpu_parts_rsp_decode(
					       &s->parts_rsp, p->p, p->len)
				     : rv;
	case RPC_TAG_mpu_list:
		rv = rpc_mpu_list_decode(&s->uploads, q->data, q->len);
		return ok && rv == 0 ? rpc_mpu_list_rsp_decode(
					       &s->uploads_rsp, p->p, p->len)
				     : rv;
	default:
		rv = rpc_list_decode(&s->list, q->data, q->len);
		return ok && rv == 0 ? rpc_list_rsp_decode(&s->list_rsp, p->p,
							   p->len)
				     : rv;
	}
}

static void list_print(const struct seen *s)
{
	struct wire_reader r;
	struct entry e;
	uint32_t n;

	printf("# prefix=%.*s after=%.*s delimiter=%.*s max=%u truncated=%u:",
	       (int)s->list.prefix.len, (const char *)s->list.prefix.p,
	       (int)s->list.after.len, (const char *)s->list.after.p,
	       (int)s->list.delimiter.len, (const char *)s->list.delimiter.p,
	       s->list.max, s->list_rsp.truncated);
	r = wire_vec_reader(s->list_rsp.entries, &n);
	for (; n > 0 && see_entry(&r, &e); n--)
		printf(" %.*s%s(%llu)", (int)e.key.len, (const char *)e.key.p,
		       e.is_prefix ? "*" : "", (unsigned long long)e.size);
	printf("\n");
}

static _Noreturn void model_stale(struct model *m, const struct op *op,
				  const struct seen *s)
{
	const struct wire_bytes key = op->tag == RPC_TAG_object
					      ? s->object.key
				      : op->tag == RPC_TAG_lookup
					      ? s->lookup.name
					      : wire_cstr("");

	for (unsigned i = 0; i < m->n_vers; i++) {
		const struct ver *v = m->vers[i];

		printf("# state at %llu:", (unsigned long long)v->index);
		for (unsigned k = 0; k < v->n; k++)
			printf(" %s(%llx,%llu)", v->rows[k].key,
			       (unsigned long long)v->rows[k].ino,
			       (unsigned long long)v->rows[k].size);
		printf("\n");
	}
	if (op->tag == RPC_TAG_list)
		list_print(s);
	sim_fail(m->w->c, "group %u: %s %.*s of client %u answers %s: no state "
		 "since %llu has that", m->group, rpc_info(op->tag)->name,
		 (int)key.len, (const char *)key.p, op->client,
		 rpc_status_name(s->status), (unsigned long long)op->lo);
}

bool model_read(struct model *m, const struct op *op, uint32_t status,
		struct wire_bytes payload, struct wire_bytes body)
{
	struct seen s = { .payload = payload, .body = body, .status = status };
	int rv = seen_decode(m, op, &s);

	if (rv == -EAGAIN && m->w->jumps)
		return false;
	if (rv == -EAGAIN)
		sim_fail(m->w->c, "group %u: %s of client %u names chunks that "
			 "are gone", m->group, rpc_info(op->tag)->name,
			 op->client);
	if (rv != 0)
		sim_fail(m->w->c, "the answer to %s cannot be decoded",
			 rpc_info(op->tag)->name);
	for (unsigned i = 0; i < m->n_vers; i++) {
		const struct ver *v = m->vers[i];

		if (i + 1 < m->n_vers && m->vers[i + 1]->index <= op->lo)
			continue; /* over before it began */
		if (!see(m, v, op, &s))
			continue;
		if (v->index > m->floor)
			m->floor = v->index;
		return true;
	}
	model_stale(m, op, &s);
}
