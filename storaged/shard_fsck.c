/*
 * CHECK_BYTES: a page of what rows say of bytes. Values are looked for in the
 * log of this store, here on the worker; chunks are answered, whoever has
 * them. A value that the cleaner moved meanwhile is looked up again.
 */
#include "storaged/shard_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/xxh.h"

#define FSCK_PAGE_REFS 4096u
#define FSCK_PAGE_READ ((uint64_t)64 << 20)
#define FSCK_TRIES 3

#define FSCK_ROW_MAX 17

struct fsck_chunk {
	struct wire_u128 slice;
	uint32_t index, len;
	uint8_t row[FSCK_ROW_MAX];
	uint8_t row_len;
};

struct fsck_page {
	struct shard_op *op;
	bool read;
	uint64_t refs, values, value_bytes, extents;
	struct wire_vec findings;
	struct fsck_chunk *chunks; /* mem_realloc'ed */
	size_t n_chunks, cap_chunks;
	uint8_t *buf;              /* WIRE_CHUNK bytes, with read */
};

/* --- values --- */

static int fsck_value(struct fsck_page *p, const struct ns_value *v)
{
	struct seg_head *log = p->op->set->log;
	XXH128_hash_t h;
	int rv;

	if (v->len == 0 || v->len > WIRE_CHUNK)
		return -EBADMSG;
	if (!p->read) /* that the last byte can be had is what "there" means */
		return seg_read(log, v->gen, v->off + v->len - 1, p->buf, 1, 0);
	rv = seg_read(log, v->gen, v->off, p->buf, v->len, 0);
	if (rv != 0)
		return rv;
	h = XXH3_128bits(p->buf, v->len);
	return h.high64 == v->hash.hi && h.low64 == v->hash.lo ? 0 : -EBADMSG;
}

/* "I 8000000000401": the row as people can look for it. */
static void fsck_row_text(struct wire_bytes row, char *out, size_t len)
{
	uint64_t id = row.len >= 9 ? ns_be64(row.p + 1) : 0;
	uint64_t region = row.len >= 17 ? ns_be64(row.p + 9) : 0;

	if (row.p[0] == NS_T_INODE)
		(void)snprintf(out, len, "inode %llx", (unsigned long long)id);
	else
		(void)snprintf(out, len, "region %llu of %llx",
			       (unsigned long long)region,
			       (unsigned long long)id);
}

static void fsck_say(struct fsck_page *p, struct wire_bytes row,
		     const struct ns_value *v, int err)
{
	char where[64], text[256];
	struct wire_bytes str;
	struct wire_writer w;

	fsck_row_text(row, where, sizeof where);
	(void)snprintf(text, sizeof text, "%s: value of %u bytes in segment "
		       "%016llx at %llu: %s", where, v->len,
		       (unsigned long long)v->gen, (unsigned long long)v->off,
		       err == -EBADMSG ? "does not have its hash"
				       : strerror(-err));
	str = wire_cstr(text);
	w = wire_vec_add(&p->findings);
	wire_put_str(&w, &str);
}

struct fsck_again {
	struct fsck_page *p;
	const struct ns_ref *ref;
	bool found; /* the row still names these bytes, */
	int rv;     /* ... and this is how they are now */
};

static int fsck_again_each(void *arg, const struct ns_ref *ref)
{
	struct fsck_again *a = arg;

	if (!ref->is_value ||
	    !wire_u128_eq(ref->value.hash, a->ref->value.hash))
		return 0;
	a->found = true;
	a->rv = fsck_value(a->p, &ref->value);
	return a->rv == 0 ? 1 : 0;
}

/* The bytes are not there: are they elsewhere by now, or of no use any more? */
static int fsck_value_again(struct fsck_page *p, const struct ns_ref *ref,
			    int rv)
{
	for (int i = 0; i < FSCK_TRIES && rv == -ENOENT; i++) {
		struct fsck_again a = { .p = p, .ref = ref };
		struct buf next;
		int err;

		buf_init(&next, 0);
		err = ns_refs(p->op->set->config.back, p->op->g->id, ref->row,
			      true, fsck_again_each, &a, &next);
		buf_fini(&next);
		if (err != 0)
			return err;
		rv = a.found ? a.rv : 0;
	}
	return rv;
}

static int fsck_do_value(struct fsck_page *p, const struct ns_ref *ref)
{
	int rv = fsck_value(p, &ref->value);

	p->values++;
	p->value_bytes += ref->value.len;
	if (rv == -ENOENT)
		rv = fsck_value_again(p, ref, rv);
	if (rv == -ENOMEM)
		return rv;
	if (rv != 0)
		fsck_say(p, ref->row, &ref->value, rv);
	return 0;
}

/* --- chunks --- */

static int fsck_add_chunk(struct fsck_page *p, const struct ns_ref *ref,
			  uint32_t index, uint32_t len)
{
	struct fsck_chunk *c = p->chunks;

	if (p->n_chunks == p->cap_chunks) {
		size_t cap = p->cap_chunks == 0 ? 64 : 2 * p->cap_chunks;

		c = mem_realloc(c, cap * sizeof *c);
		if (c == NULL)
			return -ENOMEM;
		p->chunks = c;
		p->cap_chunks = cap;
	}
	c += p->n_chunks++;
	*c = (struct fsck_chunk){ .slice = ref->slice, .index = index,
				  .len = len };
	c->row_len = (uint8_t)(ref->row.len < FSCK_ROW_MAX ? ref->row.len
							   : FSCK_ROW_MAX);
	memcpy(c->row, ref->row.p, c->row_len);
	p->refs++;
	return 0;
}

static int fsck_do_chunks(struct fsck_page *p, const struct ns_ref *ref)
{
	uint64_t end = ref->off + ref->len;
	int rv = 0;

	for (uint64_t i = ref->off / WIRE_CHUNK;
	     rv == 0 && i * WIRE_CHUNK < end; i++) {
		uint64_t len = end - i * WIRE_CHUNK;

		rv = fsck_add_chunk(p, ref, (uint32_t)i,
				    len < WIRE_CHUNK ? (uint32_t)len
						     : WIRE_CHUNK);
	}
	return rv;
}

static int fsck_chunk_cmp(const void *a, const void *b)
{
	const struct fsck_chunk *l = a, *r = b;

	if (l->slice.hi != r->slice.hi)
		return l->slice.hi < r->slice.hi ? -1 : 1;
	if (l->slice.lo != r->slice.lo)
		return l->slice.lo < r->slice.lo ? -1 : 1;
	if (l->index != r->index)
		return l->index < r->index ? -1 : 1;
	return l->len == r->len ? 0 : l->len > r->len ? -1 : 1;
}

/* Each chunk once, with the most that is wanted of it. */
static void fsck_put_chunks(struct fsck_page *p, struct wire_vec *out)
{
	const struct fsck_chunk *last = NULL;

	if (p->n_chunks > 0)
		qsort(p->chunks, p->n_chunks, sizeof *p->chunks,
		      fsck_chunk_cmp);
	for (size_t i = 0; i < p->n_chunks; i++) {
		const struct fsck_chunk *c = &p->chunks[i];
		struct wire_bytes row = wire_bytes(c->row, c->row_len);
		struct wire_writer w;

		if (last != NULL && last->index == c->index &&
		    wire_u128_eq(last->slice, c->slice))
			continue;
		last = c;
		w = wire_vec_add(out);
		wire_put_str(&w, &row);
		wire_put_u128(&w, &c->slice);
		wire_put_u32(&w, &c->index);
		wire_put_u32(&w, &c->len);
	}
}

static int fsck_each(void *arg, const struct ns_ref *ref)
{
	struct fsck_page *p = arg;
	int rv = 0;

	p->extents++;
	p->refs++;
	if (ref->is_value)
		rv = fsck_do_value(p, ref);
	else
		rv = fsck_do_chunks(p, ref);
	if (rv != 0)
		return rv;
	return p->refs >= FSCK_PAGE_REFS ||
	       (p->read && p->value_bytes >= FSCK_PAGE_READ);
}

static int fsck_page_run(struct fsck_page *p, const struct rpc_check_bytes *m,
			 struct buf *next)
{
	struct rpc_check_bytes_rsp rsp;
	struct wire_vec chunks;
	int rv = ns_refs(p->op->set->config.back, p->op->g->id, m->after,
			 m->exact != 0, fsck_each, p, next);

	if (rv != 0)
		return rv;
	wire_vec_init(&chunks);
	fsck_put_chunks(p, &chunks);
	rsp = (struct rpc_check_bytes_rsp){
		.next = wire_bytes(next->data, next->len),
		.extents = p->extents, .values = p->values,
		.value_bytes = p->value_bytes,
		.findings = wire_vec_bytes(&p->findings),
		.chunks = wire_vec_bytes(&chunks),
	};
	rv = p->findings.buf.err != 0 || chunks.buf.err != 0
		? -ENOMEM
		: rpc_check_bytes_rsp_encode(&rsp, &p->op->answer.payload);
	wire_vec_fini(&chunks);
	return rv;
}

void shard_fsck_run(struct env_work *work)
{
	struct shard_op *op = CONTAINER_OF(work, struct shard_op, work);
	struct fsck_page p = { .op = op };
	struct rpc_check_bytes m;
	struct buf next;
	int rv = rpc_check_bytes_decode(&m, op->payload.p, op->payload.len);

	p.read = rv == 0 && m.read != 0;
	p.buf = mem_alloc(p.read ? WIRE_CHUNK : 1);
	wire_vec_init(&p.findings);
	buf_init(&next, 0);
	if (rv == 0)
		rv = p.buf == NULL ? -ENOMEM : fsck_page_run(&p, &m, &next);
	buf_fini(&next);
	wire_vec_fini(&p.findings);
	mem_free(p.chunks);
	mem_free(p.buf);
	op->status = rpc_status_from_errno(rv);
}
