/*
 * Multipart uploads: CREATE, parts that are sent again with other bytes,
 * COMPLETE with what the client believes it has sent (or with something else,
 * or under a condition), ABORT, and what lists say of them. Several clients may
 * go on with one upload, so COMPLETE meets ABORT and late parts.
 *
 * In the model an upload has its parts' bytes; COMPLETE makes a file of those
 * listed, in place of what the key had. Its ETag is the MD5 of theirs, by
 * OpenSSL. In the end all uploads are aborted, and no row of one is left.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/evp.h>
#include <xxhash.h>

#include "common/base/be.h"
#include "storaged/ns_rows.h"
#include "tests/sim/sim_shard_gen.h"

#define UPLOADS 3  /* of a shard at once, about */
#define PARTS UPLOAD_PARTS
#define PART_BYTES 700u

/* As its clients see it. */
struct sent {
	struct sent *next;
	struct model *m;
	struct wire_u128 id; /* all 0: not answered yet */
	const char *key;
	uint64_t tags[PARTS]; /* of what was sent last; 0: nothing */
	bool ended;           /* completed or aborted, as far as is known */
};

/* In the model. */
struct upload {
	struct wire_u128 id;
	char key[SHARD_KEY];
	struct upload_part {
		uint64_t tag; /* 0: it is not there */
		size_t size;
		uint16_t slice; /* number + 1; 0: inline */
		uint8_t bytes[PART_BYTES];
	} parts[PARTS];
};

/* --- ETags: a number twice, or text that has one --- */

static struct {
	char text[48];
	uint64_t tag;
} *etags;
static unsigned n_etags, cap_etags;

void etag_text(uint64_t tag, char out[ETAG_MAX])
{
	for (unsigned i = 0; i < n_etags; i++)
		if (etags[i].tag == tag) {
			strcpy(out, etags[i].text);
			return;
		}
	(void)sim_etag(tag, out);
}

uint64_t etag_tag(struct wire_bytes etag)
{
	if (etag.len >= 2 && etag.p[0] == '"') {
		etag.p++;
		etag.len -= 2;
	}
	for (unsigned i = 0; i < n_etags; i++)
		if (wire_bytes_eq(etag, wire_cstr(etags[i].text)))
			return etags[i].tag;
	return sim_etag_tag(etag);
}

/* The number of the ETag of a whole. */
static uint64_t etag_whole(const uint64_t *tags, unsigned n)
{
	uint8_t md5[EVP_MAX_MD_SIZE], digests[16 * PARTS];
	char text[48];
	uint64_t tag;

	for (unsigned i = 0; i < n; i++) {
		be64enc(digests + 16 * i, tags[i]);
		be64enc(digests + 16 * i + 8, tags[i]);
	}
	if (EVP_Digest(digests, 16 * n, md5, NULL, EVP_md5(), NULL) != 1)
		abort();
	for (unsigned i = 0; i < 16; i++)
		snprintf(text + 2 * i, 3, "%02x", md5[i]);
	snprintf(text + 32, sizeof text - 32, "-%u", n);
	tag = etag_tag(wire_cstr(text));
	if (tag != 0)
		return tag;
	tag = XXH3_64bits(text, strlen(text)) | 1;
	etags = sim_grow(etags, n_etags, &cap_etags, sizeof *etags);
	strcpy(etags[n_etags].text, text);
	etags[n_etags++].tag = tag;
	return tag;
}

/* --- the model --- */

static struct upload *upload_of(struct model *m, struct wire_u128 id)
{
	for (unsigned i = 0; i < m->n_uploads; i++)
		if (m->uploads[i].id.hi == id.hi &&
		    m->uploads[i].id.lo == id.lo)
			return &m->uploads[i];
	return NULL;
}

static void upload_del(struct model *m, struct upload *u)
{
	*u = m->uploads[--m->n_uploads];
}

void upload_forget(struct model *m)
{
	m->n_uploads = m->n_queued = 0;
}

uint32_t upload_create(struct model *m, const struct ns_cmd *c,
		       const struct ns_answer *a)
{
	struct rpc_mpu_create_rsp rsp;
	struct rpc_mpu_create q;
	struct upload *u;

	(void)rpc_mpu_create_decode(&q, c->payload, c->len);
	if (rpc_mpu_create_rsp_decode(&rsp, a->payload.data,
				      a->payload.len) != 0)
		return RPC_STATUS_OK; /* it says something else */
	if (upload_of(m, rsp.upload) != NULL)
		sim_fail(m->w->c, "group %u: two uploads have one id",
			 m->group);
	m->uploads = sim_grow(m->uploads, m->n_uploads, &m->cap_uploads,
			      sizeof *m->uploads);
	u = &m->uploads[m->n_uploads++];
	memset(u, 0, sizeof *u);
	u->id = rsp.upload;
	snprintf(u->key, sizeof u->key, "%.*s", (int)q.key.len,
		 (const char *)q.key.p);
	return RPC_STATUS_OK;
}

uint32_t upload_part(struct model *m, const struct ns_cmd *c)
{
	struct rpc_mpu_part q;
	struct upload_part *p;
	struct wire_extent x;
	struct wire_reader r;
	struct upload *u;
	uint32_t status, n;

	(void)rpc_mpu_part_decode(&q, c->payload, c->len);
	u = upload_of(m, q.upload);
	if (u == NULL)
		return RPC_STATUS_NO_UPLOAD;
	status = slice_commit(m, q.extents);
	if (status != RPC_STATUS_OK)
		return status;
	r = wire_vec_reader(q.extents, &n);
	wire_get_extent(&r, &x); /* there is one */
	p = &u->parts[q.part - 1];
	p->tag = etag_tag(q.etag);
	p->size = x.len;
	p->slice = 0;
	if (x.kind == WIRE_EXT_CHUNKS) {
		p->slice = slice_name(m->w, x.slice);
		slice_bytes(m->w, x.slice, x.slice_off, p->bytes, x.len);
	} else {
		memcpy(p->bytes, q.data.p, q.data.len);
	}
	return RPC_STATUS_OK;
}

uint32_t upload_abort(struct model *m, const struct ns_cmd *c)
{
	struct rpc_mpu_abort q;
	struct upload *u;

	(void)rpc_mpu_abort_decode(&q, c->payload, c->len);
	u = upload_of(m, q.upload);
	if (u == NULL)
		return RPC_STATUS_NO_UPLOAD;
	upload_del(m, u);
	return RPC_STATUS_OK;
}

uint32_t upload_join(struct model *m, const struct rpc_mpu_complete *q,
		     struct whole *ret)
{
	struct upload *u = upload_of(m, q->upload);
	uint64_t tags[PARTS];
	uint32_t n, last = 0, wrong = 0;
	struct wire_reader r;

	if (u == NULL)
		return RPC_STATUS_NO_UPLOAD;
	r = wire_vec_reader(q->parts, &n);
	if (n == 0)
		return RPC_STATUS_INVAL;
	ret->len = 0;
	memset(ret->slices, 0, sizeof ret->slices);
	for (uint32_t i = 0; i < n; i++) {
		const struct upload_part *p;
		struct wire_bytes etag, sums;
		uint32_t number;

		wire_get_u32(&r, &number);
		wire_get_str(&r, &etag);
		wire_get_kvs(&r, &sums);
		if (number <= last)
			return RPC_STATUS_PART_ORDER;
		last = number;
		p = &u->parts[number - 1];
		if (p->tag == 0 || p->tag != etag_tag(etag)) {
			wrong = RPC_STATUS_INVALID_PART;
			continue;
		}
		tags[i] = p->tag;
		ret->slices[i] = p->slice;
		memcpy(ret->bytes + ret->len, p->bytes, p->size);
		ret->len += p->size;
	}
	if (wrong == 0)
		ret->tag = etag_whole(tags, n);
	return wrong;
}

void upload_joined(struct model *m, struct wire_u128 id,
		   const struct whole *whole, struct link_to *l)
{
	l->file->composite = 1;
	for (unsigned i = 0; i < PARTS; i++) {
		l->parts[i] = whole->slices[i];
		if (l->parts[i] != 0)
			l->file->composite = 2;
	}
	upload_del(m, upload_of(m, id));
	sim_cluster_count(m->w->c, SIM_N_COMPLETED, !m->again);
}

/* --- who names slices --- */

void upload_dropped(struct model *m, const struct link_to *l)
{
	if (l->file->composite != 2)
		return;
	m->queued = sim_grow(m->queued, m->n_queued, &m->cap_queued,
			     sizeof *m->queued);
	m->queued[m->n_queued].ino = l->file->ino;
	memcpy(m->queued[m->n_queued++].parts, l->parts, sizeof l->parts);
}

/* The first piece of it is the page that has the parts. */
void upload_queue_work(struct model *m, const struct ns_cmd *c)
{
	struct rpc_queue_work q;

	(void)rpc_queue_work_decode(&q, c->payload, c->len);
	for (unsigned i = 0; q.kind == NS_Q_INODE && i < m->n_queued; i++)
		if (m->queued[i].ino == q.id.lo) {
			m->queued[i] = m->queued[--m->n_queued];
			m->unqueued = true;
			return;
		}
}

static void parts_named(const uint16_t parts[PARTS], bool *named)
{
	for (unsigned i = 0; i < PARTS; i++)
		if (parts[i] != 0)
			named[parts[i] - 1] = true;
}

void upload_named(const struct model *m, bool *named)
{
	for (unsigned i = 0; i < m->n_uploads; i++)
		for (unsigned k = 0; k < PARTS; k++)
			if (m->uploads[i].parts[k].slice != 0)
				named[m->uploads[i].parts[k].slice - 1] = true;
	for (unsigned i = 0; i < m->n_files; i++)
		parts_named(m->files[i].parts, named);
	for (unsigned i = 0; i < m->n_queued; i++)
		parts_named(m->queued[i].parts, named);
}

/* Part numbers, sizes and ETags. */
static uint64_t part_hash(uint64_t h, uint32_t number, uint64_t size,
			  uint64_t tag)
{
	const uint64_t v[] = { h, number, size, tag };

	return XXH3_64bits(v, sizeof v);
}

void upload_row(const struct model *m, unsigned i, struct ver_row *r)
{
	const struct upload *u = &m->uploads[i];

	strcpy(r->key, u->key);
	r->ino = u->id.lo;
	r->tag = u->id.hi;
	for (uint32_t k = 0; k < PARTS; k++)
		if (u->parts[k].tag != 0)
			r->hash = part_hash(r->hash, k + 1, u->parts[k].size,
					    u->parts[k].tag);
}

/* --- what lists say --- */

static const struct ver_row *ver_upload(const struct ver *v,
					struct wire_u128 id)
{
	for (unsigned i = v->n_all; i < v->n_up; i++)
		if (v->rows[i].ino == id.lo && v->rows[i].tag == id.hi)
			return &v->rows[i];
	return NULL;
}

bool upload_see_parts(const struct ver *v, const struct rpc_mpu_parts *q,
		      uint32_t status, const struct rpc_mpu_parts_rsp *rsp)
{
	const struct ver_row *u = ver_upload(v, q->upload);
	struct wire_reader r;
	uint64_t hash = 0;
	uint32_t n;

	if (u == NULL || status != RPC_STATUS_OK)
		return u == NULL && status == RPC_STATUS_NO_UPLOAD;
	for (r = wire_vec_reader(rsp->parts, &n); n > 0; n--) {
		struct wire_bytes etag, sums;
		uint32_t number;
		uint64_t size;
		int64_t mtime;

		wire_get_u32(&r, &number);
		wire_get_u64(&r, &size);
		wire_get_i64(&r, &mtime);
		wire_get_str(&r, &etag);
		wire_get_kvs(&r, &sums);
		hash = part_hash(hash, number, size, etag_tag(etag));
	}
	return r.err == 0 && rsp->truncated == 0 && hash == u->hash;
}

bool upload_see_list(const struct ver *v, const struct rpc_mpu_list *q,
		     uint32_t status, const struct rpc_mpu_list_rsp *rsp)
{
	struct wire_reader r;
	uint32_t n, shown = 0;

	if (status != RPC_STATUS_OK)
		return false;
	r = wire_vec_reader(rsp->uploads, &n);
	for (unsigned i = v->n_all; i < v->n_up; i++) {
		struct wire_bytes key, alg, type;
		struct wire_u128 id;
		int64_t created;

		if (shown == q->max)
			return n == shown && rsp->truncated != 0;
		if (shown++ == n)
			return false;
		wire_get_str(&r, &key);
		wire_get_u128(&r, &id);
		wire_get_i64(&r, &created);
		wire_get_str(&r, &alg);
		wire_get_str(&r, &type);
		if (!wire_bytes_eq(key, wire_cstr(v->rows[i].key)) ||
		    id.lo != v->rows[i].ino || id.hi != v->rows[i].tag)
			return false;
	}
	return shown == n && rsp->truncated == 0;
}

/* --- clients --- */

static struct sent *sent_pick(struct gen *g, bool ended)
{
	struct sent *found = NULL;
	uint64_t skip = sim_rand(g->s, UPLOADS);

	for (struct sent *u = g->w->sent; u != NULL; u = u->next)
		if (u->m == g->m && u->id.lo != 0 && (!u->ended || ended) &&
		    (found == NULL || skip-- > 0))
			found = u;
	return found;
}

static void created(struct op *op, const struct told *t)
{
	struct rpc_mpu_create_rsp rsp;
	struct sent *u = op->told_arg;

	if (t->status == RPC_STATUS_OK &&
	    rpc_mpu_create_rsp_decode(&rsp, t->payload.p, t->payload.len) == 0)
		u->id = rsp.upload;
	else
		u->ended = true;
}

void upload_gen_create(struct gen *g)
{
	struct sent *u = sim_zalloc(sizeof *u);
	struct rpc_mpu_create q = { .root = g->m->root };
	struct op *op;

	u->m = g->m;
	u->key = gen_key(g);
	u->next = g->w->sent;
	g->w->sent = u;
	q.key = wire_cstr(u->key);
	op = SEND(g, mpu_create, &q);
	op->told = created;
	op->told_arg = u;
}

void upload_gen_part(struct gen *g)
{
	struct sent *u = sent_pick(g, sim_chance(g->s, 100));
	uint8_t bytes[PART_BYTES];
	struct rpc_mpu_part q;
	char etag[ETAG_MAX];
	struct wire_vec v;

	if (u == NULL) {
		upload_gen_create(g);
		return;
	}
	q = (struct rpc_mpu_part){ .root = g->m->root, .upload = u->id,
				   .key = wire_cstr(u->key) };
	q.part = 1 + (uint32_t)sim_rand(g->s, PARTS);
	if (sim_chance(g->s, 400)) {
		q.size = slice_gen_extents(g, &v, 0);
		q.extents = wire_vec_bytes(&v);
		g->w->token++;
	} else {
		q.size = sim_chance(g->s, 400) ? 1 + sim_rand(g->s, 200)
					       : 257 + sim_rand(g->s, 400);
		q.data = gen_bytes(g, bytes, q.size);
		q.extents = sim_bytes_extent(&v, 0, q.size);
	}
	etag_text(g->w->token, etag);
	q.etag = wire_cstr(etag);
	u->tags[q.part - 1] = g->w->token;
	SEND(g, mpu_part, &q);
	wire_vec_fini(&v);
}

static bool sent_any(const struct sent *u)
{
	for (unsigned i = 0; i < PARTS; i++)
		if (u->tags[i] != 0)
			return true;
	return false;
}

static void complete_part(struct wire_vec *v, uint32_t number, uint64_t tag)
{
	const struct wire_bytes none = wire_bytes(NULL, 0);
	struct wire_writer w = wire_vec_add(v);
	struct wire_bytes etag;
	char text[ETAG_MAX];

	etag_text(tag, text);
	etag = wire_cstr(text);
	wire_put_u32(&w, &number);
	wire_put_str(&w, &etag);
	wire_put_kvs(&w, &none);
}

static void ended(struct op *op, const struct told *t)
{
	struct sent *u = op->told_arg;

	if (t->status == RPC_STATUS_OK || t->status == RPC_STATUS_NO_UPLOAD)
		u->ended = true;
}

void upload_gen_complete(struct gen *g)
{
	struct sent *u = sent_pick(g, sim_chance(g->s, 200));
	struct rpc_mpu_complete q;
	char cond[ETAG_MAX + 2];
	struct wire_vec v;
	struct op *op;

	if (u == NULL || (!sent_any(u) && !sim_chance(g->s, 50))) {
		upload_gen_part(g);
		return;
	}
	q = (struct rpc_mpu_complete){ .root = g->m->root, .upload = u->id,
				       .key = wire_cstr(u->key),
				       .uid = 1, .gid = 1, .umask = 022 };
	wire_vec_init(&v);
	for (uint32_t i = 0; i < PARTS; i++)
		if (u->tags[i] != 0 && !sim_chance(g->s, 100))
			complete_part(&v, i + 1, u->tags[i]);
	if (sim_chance(g->s, 60))
		complete_part(&v, 1 + (uint32_t)sim_rand(g->s, PARTS), 7);
	q.parts = wire_vec_bytes(&v);
	if (sim_chance(g->s, 300))
		gen_condition(g, u->key, cond, &q.if_match, &q.if_none_match);
	op = SEND(g, mpu_complete, &q);
	op->told = ended;
	op->told_arg = u;
	wire_vec_fini(&v);
}

static void abort_send(struct gen *g, struct sent *u)
{
	struct rpc_mpu_abort q = { .root = g->m->root, .upload = u->id,
				   .key = wire_cstr(u->key) };
	struct op *op = SEND(g, mpu_abort, &q);

	op->told = ended;
	op->told_arg = u;
}

void upload_gen_abort(struct gen *g)
{
	struct sent *u = sent_pick(g, sim_chance(g->s, 100));

	if (u == NULL)
		upload_gen_create(g);
	else
		abort_send(g, u);
}

void upload_gen_list(struct gen *g)
{
	struct sent *u = sent_pick(g, true);
	struct rpc_mpu_list all = { .root = g->m->root, .max = 1000 };
	struct rpc_mpu_parts q;

	if (u == NULL || sim_chance(g->s, 400)) {
		if (sim_chance(g->s, 300))
			all.max = 1;
		SEND(g, mpu_list, &all);
		return;
	}
	q = (struct rpc_mpu_parts){ .root = g->m->root, .upload = u->id,
				    .key = wire_cstr(u->key), .max = 1000 };
	SEND(g, mpu_parts, &q);
}

/* --- the end --- */

void upload_init(struct world *w)
{
	w->sent = NULL;
	n_etags = 0;
}

/* Those that nobody was told of, too: a list has them. */
void upload_end(struct world *w)
{
	for (unsigned i = 0; i < w->groups; i++)
		for (unsigned k = 0; k < w->models[i].n_uploads; k++) {
			const struct upload *u = &w->models[i].uploads[k];
			struct gen g = gen_new(w, 0, &w->models[i]);
			struct rpc_mpu_abort q = {
				.root = g.m->root, .upload = u->id,
				.key = wire_cstr(u->key),
			};

			SEND(&g, mpu_abort, &q);
		}
}

void upload_fini(struct world *w)
{
	struct sent *u;

	while ((u = w->sent) != NULL) {
		w->sent = u->next;
		free(u);
	}
}
