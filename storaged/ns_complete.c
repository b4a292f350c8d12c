/*
 * CompleteMultipartUpload: checks what the client lists against the parts,
 * makes the composite and publishes it. No byte moves and no part inode is
 * touched, so the record is small whatever the parts weigh; part rows become
 * page rows of the composite.
 */
#include "storaged/ns_mpu.h"

#include <errno.h>
#include <string.h>

struct ns_listed {
	uint32_t number;
	struct wire_bytes etag, sums; /* as the client says */
	struct ns_row_part row;       /* as it was uploaded */
};

struct ns_complete {
	const struct rpc_mpu_complete *m;
	struct ns_upload u;
	struct ns_listed *parts;
	unsigned n;
	uint64_t size, bytes;
	struct wire_bytes etag;  /* of the whole */
	struct wire_bytes sums;
	struct wire_bytes sum_type;
};

static struct wire_bytes ns_unquote(struct wire_bytes s)
{
	if (s.len >= 2 && s.p[0] == '"' && s.p[s.len - 1] == '"')
		return wire_bytes(s.p + 1, s.len - 2);
	return s;
}

static int ns_complete_parse(struct ns_ctx *x, struct ns_complete *c)
{
	struct wire_reader r;
	uint32_t n, last = 0;

	r = wire_vec_reader(c->m->parts, &n);
	if (r.err != 0 || n == 0 || n > NS_PARTS_MAX)
		return RPC_STATUS_INVAL;
	c->parts = ns_alloc(x, n * sizeof(*c->parts));
	if (c->parts == NULL)
		return -ENOMEM;
	for (; c->n < n; c->n++) {
		struct ns_listed *p = &c->parts[c->n];

		wire_get_u32(&r, &p->number);
		wire_get_str(&r, &p->etag);
		wire_get_kvs(&r, &p->sums);
		if (r.err != 0)
			return RPC_STATUS_INVAL;
		if (p->number <= last)
			return RPC_STATUS_PART_ORDER;
		p->etag = ns_unquote(p->etag);
		last = p->number;
	}
	return 0;
}

static int ns_complete_load(struct ns_ctx *x, struct ns_complete *c)
{
	struct ns_key k;
	int all = 0;

	for (unsigned i = 0; i < c->n; i++) {
		struct ns_listed *p = &c->parts[i];
		int rv;

		ns_key_part(&k, x->shard, c->u.id, p->number);
		rv = ns_get_part(x, ns_key_get(&k), &p->row);
		if (rv == -ENOENT)
			return RPC_STATUS_INVALID_PART;
		if (rv == -EAGAIN)
			all = rv; /* go on: note all of them */
		else if (rv != 0)
			return rv;
	}
	return all;
}

/* Every checksum the client lists must be the one that was uploaded. */
static bool ns_listed_sums_ok(const struct ns_listed *p)
{
	struct wire_bytes name, value, k, v;
	struct wire_reader r, in;
	uint32_t n, left;

	for (r = wire_vec_reader(p->sums, &n); n > 0; n--) {
		bool same = false;

		wire_get_str(&r, &name);
		wire_get_blob(&r, &value);
		if (r.err != 0)
			return false;
		in = wire_vec_reader(p->row.sums, &left);
		for (; left > 0 && !same; left--) {
			wire_get_str(&in, &k);
			wire_get_blob(&in, &v);
			same = in.err == 0 && wire_bytes_eq(k, name) &&
			       wire_bytes_eq(v, value);
		}
		if (!same)
			return false;
	}
	return true;
}

static int ns_complete_check(struct ns_ctx *x, struct ns_complete *c)
{
	uint8_t *md5s = ns_alloc(x, (size_t)c->n * 16);

	if (md5s == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < c->n; i++) {
		struct ns_listed *p = &c->parts[i];

		if (!ns_hex_digest(p->row.etag, md5s + 16 * i))
			return -EIO;
		if (!wire_bytes_eq(p->etag, p->row.etag) ||
		    !ns_listed_sums_ok(p))
			return RPC_STATUS_INVALID_PART;
		if (p->row.size < c->m->min_part && i + 1 < c->n)
			return RPC_STATUS_PART_TOO_SMALL;
		c->size += p->row.size;
		c->bytes += p->row.bytes;
	}
	return ns_sum_etag(x, md5s, c->n, &c->etag);
}

/* --- the checksum of the whole --- */

static struct wire_bytes ns_sum_of(struct wire_bytes sums,
				   struct wire_bytes name)
{
	struct wire_bytes k, v;
	struct wire_reader r;
	uint32_t n;

	for (r = wire_vec_reader(sums, &n); n > 0; n--) {
		wire_get_str(&r, &k);
		wire_get_blob(&r, &v);
		if (r.err == 0 && wire_bytes_eq(k, name))
			return v;
	}
	return wire_bytes(NULL, 0);
}

/* As the client wants it, as the upload began, or what S3 does. */
static int ns_complete_sum_type(struct ns_complete *c, enum ns_sum_alg alg)
{
	struct wire_bytes given = c->m->sum_type, type = c->u.row.sum_type;

	if (type.len == 0)
		type = wire_cstr(alg == NS_SUM_CRC64NVME ? "FULL_OBJECT"
							  : "COMPOSITE");
	if (given.len > 0 && c->u.row.sum_type.len > 0 &&
	    !wire_bytes_eq(given, type))
		return RPC_STATUS_INVAL;
	c->sum_type = given.len > 0 ? given : type;
	return 0;
}

/* Is `given` (perhaps without its "-N") the checksum that came out? */
static bool ns_sum_agrees(struct wire_bytes given, struct wire_bytes made)
{
	const uint8_t *dash = memchr(made.p, '-', made.len);

	if (wire_bytes_eq(given, made))
		return true;
	return dash != NULL &&
	       wire_bytes_eq(given, wire_bytes(made.p,
					       (size_t)(dash - made.p)));
}

/* The client's own checksums of the whole, each of which must hold. */
static int ns_complete_verify(const struct ns_complete *c,
			      struct wire_bytes name, struct wire_bytes made)
{
	struct wire_bytes k, v;
	struct wire_reader r;
	uint32_t n;

	for (r = wire_vec_reader(c->m->sums, &n); n > 0; n--) {
		wire_get_str(&r, &k);
		wire_get_blob(&r, &v);
		if (r.err != 0 || !wire_bytes_eq(k, name))
			return RPC_STATUS_INVAL; /* nothing to compare */
		if (!ns_sum_agrees(v, made))
			return RPC_STATUS_BAD_DIGEST;
	}
	return 0;
}

/* Which algorithm: the upload's, else the one the client speaks of now. */
static enum ns_sum_alg ns_complete_alg(const struct ns_complete *c)
{
	struct wire_bytes name = c->u.row.sum_alg;
	struct wire_reader r;
	uint32_t n;

	if (name.len == 0) {
		r = wire_vec_reader(c->m->sums, &n);
		if (n > 0)
			wire_get_str(&r, &name);
	}
	return ns_sum_find(name);
}

static int ns_complete_sum(struct ns_ctx *x, struct ns_complete *c)
{
	enum ns_sum_alg alg = ns_complete_alg(c);
	struct wire_bytes name = ns_sum_name(alg), made;
	struct wire_vec vec;
	struct ns_sum *s;
	int rv;

	if (alg == NS_SUM_NONE)
		return c->m->sums.len > 0 ? RPC_STATUS_INVAL : 0;
	rv = ns_complete_sum_type(c, alg);
	if (rv == 0)
		rv = ns_sum_new(x, alg, wire_bytes_eq(c->sum_type,
						      wire_cstr("FULL_OBJECT")),
				&s);
	for (unsigned i = 0; rv == 0 && i < c->n; i++) {
		struct wire_bytes v = ns_sum_of(c->parts[i].row.sums, name);

		if (v.len == 0 && c->m->sums.len == 0) {
			c->sum_type = wire_bytes(NULL, 0);
			return 0; /* some parts came without one */
		}
		rv = ns_sum_add(x, s, v, c->parts[i].row.size);
	}
	if (rv == 0)
		rv = ns_sum_end(x, s, &made);
	if (rv == 0)
		rv = ns_complete_verify(c, name, made);
	if (rv != 0)
		return rv;
	wire_vec_init(&vec);
	wire_vec_add_kv(&vec, name, made);
	c->sums = ns_copy(x, wire_vec_bytes(&vec));
	rv = vec.buf.err != 0 || c->sums.p == NULL ? -ENOMEM : 0;
	wire_vec_fini(&vec);
	return rv;
}

/* --- the composite --- */

static int ns_complete_page(struct ns_ctx *x, const struct ns_complete *c,
			    uint64_t body, unsigned from, unsigned to)
{
	struct ns_row_page row;
	struct wire_vec vec;
	struct ns_key k;
	int rv;

	wire_vec_init(&vec);
	for (unsigned i = from; i < to; i++) {
		const struct ns_listed *p = &c->parts[i];
		struct wire_writer w = wire_vec_add(&vec);

		wire_put_u64(&w, &p->row.ino);
		wire_put_u64(&w, &p->row.size);
		wire_put_u32(&w, &p->number);
		wire_put_str(&w, &p->row.etag);
		wire_put_kvs(&w, &p->row.sums);
	}
	row.parts = wire_vec_bytes(&vec);
	ns_key_page(&k, x->shard, body, from / NS_PAGE_PARTS);
	rv = vec.buf.err != 0 ? -ENOMEM : ns_put_page(x, ns_key_get(&k), &row);
	wire_vec_fini(&vec);
	return rv;
}

static int ns_complete_pages(struct ns_ctx *x, const struct ns_complete *c,
			     struct ns_inode *ip)
{
	unsigned pages = (c->n + NS_PAGE_PARTS - 1) / NS_PAGE_PARTS;
	uint8_t *ends = ns_alloc(x, 8 * (size_t)pages);
	uint64_t end = 0;

	if (ends == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < pages; i++) {
		unsigned from = i * NS_PAGE_PARTS;
		unsigned to = from + NS_PAGE_PARTS;
		int rv;

		if (to > c->n)
			to = c->n;
		rv = ns_complete_page(x, c, ip->r.body, from, to);
		if (rv != 0)
			return rv;
		for (unsigned j = from; j < to; j++)
			end += c->parts[j].row.size;
		for (int b = 0; b < 8; b++)
			ends[8 * i + (unsigned)b] =
				(uint8_t)(end >> (56 - 8 * b));
	}
	ip->r.pages = wire_bytes(ends, 8 * (size_t)pages);
	return 0;
}

static int ns_complete_inode(struct ns_ctx *x, const struct ns_complete *c,
			     struct ns_inode **ret)
{
	struct ns_meta meta = {
		c->u.row.headers, c->u.row.user, c->sums, c->sum_type,
	};
	struct ns_inode *ip;
	int rv;

	rv = ns_inode_new(x, c->u.row.ino, S_IFREG, c->u.root->r.project, &ip);
	if (rv != 0)
		return rv;
	ip->r.flags = NS_INODE_COMPOSITE;
	ip->r.size = ip->r.base = c->size;
	ip->r.bytes = c->bytes;
	ip->r.parts = c->n;
	ip->r.etag = c->etag;
	ip->r.etag_version = ip->r.data_version;
	rv = ns_complete_pages(x, c, ip);
	if (rv == 0)
		rv = ns_meta_put(x, ip, &meta);
	if (rv != 0)
		return rv;
	*ret = ip;
	return 0;
}

/* Part rows go; parts that were not listed go with their bytes. */
static int ns_complete_rows(struct ns_ctx *x, const struct ns_complete *c)
{
	struct wire_bytes numbers = c->u.row.numbers;
	struct ns_key k;
	unsigned i = 0;
	int all = 0;

	for (uint32_t n = 1; n <= 8 * numbers.len; n++) {
		int rv;

		if (!ns_numbers_has(numbers, n))
			continue;
		while (i < c->n && c->parts[i].number < n)
			i++;
		if (i < c->n && c->parts[i].number == n) {
			ns_key_part(&k, x->shard, c->u.id, n);
			rv = rows_del(x->t, ns_key_get(&k));
		} else {
			rv = ns_part_drop(x, &c->u, n);
		}
		if (rv == -EAGAIN)
			all = rv;
		else if (rv != 0)
			return rv;
	}
	return all != 0 ? all : rows_del(x->t, ns_key_get(&c->u.key));
}

static int ns_complete_answer(struct ns_ctx *x, const struct ns_inode *ip)
{
	struct rpc_put_rsp rsp = {
		.etag = ip->r.etag, .sums = ip->r.sums,
		.sum_type = ip->r.sum_type,
	};

	ns_attr_of(ip->ino, &ip->r, &rsp.attr);
	return NS_ANSWER(x, put_rsp, &rsp);
}

int ns_do_mpu_complete(struct ns_ctx *x, const struct rpc_mpu_complete *m)
{
	/* parts and the whole stay in the shard of the upload */
	const struct ns_way way = { .root = m->root, .key = m->key,
				    .max = NS_KEY_BYTES, .stay = true };
	struct ns_owner owner = { m->uid, m->gid, m->umask };
	struct ns_complete c = { .m = m };
	struct ns_inode *ip;
	struct ns_walk w;
	int rv = ns_upload_get(x, m->root, m->key, m->upload, &c.u);

	if (rv == 0)
		rv = ns_complete_parse(x, &c);
	if (rv == 0)
		rv = ns_complete_load(x, &c);
	if (rv == 0)
		rv = ns_complete_check(x, &c);
	if (rv == 0)
		rv = ns_complete_sum(x, &c);
	if (rv == 0)
		rv = ns_walk(x, &way, &w);
	if (rv == 0)
		rv = ns_cond_write(NS_COND(m), w.target);
	if (rv == 0)
		rv = ns_complete_inode(x, &c, &ip);
	if (rv == 0)
		rv = ns_complete_rows(x, &c);
	if (rv == 0)
		rv = ns_publish(x, &w, ip, &owner);
	return rv != 0 ? rv : ns_complete_answer(x, ip);
}
