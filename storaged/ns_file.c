/*
 * The bytes of files: taking a request's extents in, answering a range, and
 * the two messages that do nothing else. A composite's range is what its parts
 * say, with what was written since on top.
 */
#include "storaged/ns_impl.h"

#include <errno.h>

#include "common/base/xxh.h"

enum {
	NS_REPLY_BYTES = 1 << 20, /* of inline data in one answer */
	NS_REPLY_EXTENTS = 4096,
	NS_REPLY_PARTS = 8,       /* of a composite looked at per answer */
};

/* --- taking extents in --- */

int ns_extent_of_data(struct ns_ctx *x, struct wire_bytes data, uint64_t off,
		      uint64_t len, struct ns_extent *e)
{
	if (off > data.len || len > data.len - off)
		return RPC_STATUS_INVAL;
	if (data.len <= NS_INLINE_ROW) {
		e->kind = NS_EXT_BYTES;
		e->bytes = data.p + off;
		return 0;
	}
	if (!x->have_hash) {
		XXH128_hash_t h = XXH3_128bits(data.p, data.len);

		x->data_hash = (struct wire_u128){ h.high64, h.low64 };
		x->have_hash = true;
	}
	e->kind = NS_EXT_VALUE;
	e->id = x->data_hash;
	e->off = off;
	e->gen = x->cmd->gen;
	e->at = x->cmd->payload_off + (uint64_t)(data.p - x->cmd->payload);
	e->vlen = (uint32_t)data.len;
	return 0;
}

static int ns_extent_take(struct ns_ctx *x, struct wire_bytes data,
			  const struct wire_extent *w, struct ns_extent *e)
{
	*e = (struct ns_extent){ .len = w->len };
	switch (w->kind) {
	case WIRE_EXT_CHUNKS:
		if (slice_home(w->slice) != x->shard)
			return RPC_STATUS_NOTSUP;
		e->kind = NS_EXT_CHUNKS;
		e->id = w->slice;
		e->off = w->slice_off;
		return 0;
	case WIRE_EXT_INLINE:
		return ns_extent_of_data(x, data, w->slice_off, w->len, e);
	case WIRE_EXT_ZERO:
		e->kind = NS_EXT_ZERO;
		return 0;
	default:
		return RPC_STATUS_INVAL;
	}
}

static void ns_extent_advance(struct ns_extent *e, uint64_t n)
{
	e->pos += n;
	e->off += n;
	if (e->bytes != NULL)
		e->bytes += n;
}

/* One extent into the regions it covers. */
static int ns_file_put_one(struct ns_ctx *x, struct ns_inode *ip,
			   struct ns_extent *e, uint64_t left, unsigned *n)
{
	while (left > 0) {
		uint64_t room = WIRE_REGION - e->pos % WIRE_REGION;
		struct ns_region *rg;
		int rv;

		if (++*n > NS_REQ_REGIONS)
			return RPC_STATUS_FBIG;
		e->len = left < room ? left : room;
		left -= e->len;
		room = e->len;
		rv = ns_region_get(x, ip, e->pos / WIRE_REGION, &rg);
		if (rv == 0)
			rv = ns_region_put(x, ip, rg, e);
		if (rv != 0)
			return rv;
		ns_extent_advance(e, room);
	}
	return 0;
}

int ns_file_put(struct ns_ctx *x, struct ns_inode *ip,
		struct wire_bytes extents, struct wire_bytes data,
		uint64_t base, uint64_t limit, uint64_t *ret_end)
{
	struct wire_reader r;
	unsigned regions = 0;
	uint64_t end = 0;
	uint32_t n;

	r = wire_vec_reader(extents, &n);
	if (r.err != 0 || n > NS_REQ_EXTENTS || data.len > NS_INLINE_MAX)
		return RPC_STATUS_INVAL;
	for (; n > 0; n--) {
		struct wire_extent w;
		struct ns_extent e;
		int rv;

		wire_get_extent(&r, &w);
		if (r.err != 0 || w.len == 0)
			return RPC_STATUS_INVAL;
		if (base > NS_SIZE_MAX || w.pos > NS_SIZE_MAX - base ||
		    w.len > NS_SIZE_MAX - base - w.pos)
			return RPC_STATUS_FBIG;
		rv = ns_extent_take(x, data, &w, &e);
		if (rv != 0)
			return rv;
		e.pos = base + w.pos;
		if (e.pos + w.len > limit)
			return RPC_STATUS_INVAL;
		if (e.pos + w.len > end)
			end = e.pos + w.len;
		rv = ns_file_put_one(x, ip, &e, w.len, &regions);
		if (rv != 0)
			return rv;
	}
	*ret_end = end;
	return 0;
}

/* --- composites --- */

struct ns_part_at {
	uint64_t ino, start, len;
};

static uint64_t ns_page_end(const struct ns_inode *ip, size_t page)
{
	return ns_be64(ip->r.pages.p + 8 * page);
}

/* The part of page `page` that covers pos, or (pos UINT64_MAX) the nth. */
static int ns_page_find(struct ns_ctx *x, struct ns_inode *ip, size_t page,
			uint64_t pos, unsigned nth, struct ns_part_at *ret)
{
	struct ns_row_page row;
	struct wire_reader r;
	struct ns_key k;
	uint32_t n;
	int rv;

	ns_key_page(&k, x->shard, ip->r.body, (uint32_t)page);
	rv = ns_get_page(x, ns_key_get(&k), &row);
	if (rv != 0)
		return rv == -ENOENT ? -EIO : rv;
	r = wire_vec_reader(row.parts, &n);
	ret->start = page == 0 ? 0 : ns_page_end(ip, page - 1);
	for (unsigned i = 0; i < n; i++) {
		struct wire_bytes etag, sums;
		uint32_t number;

		wire_get_u64(&r, &ret->ino);
		wire_get_u64(&r, &ret->len);
		wire_get_u32(&r, &number);
		wire_get_str(&r, &etag);
		wire_get_kvs(&r, &sums);
		if (r.err != 0)
			return -EIO;
		if (pos == UINT64_MAX ? i == nth
				      : pos - ret->start < ret->len)
			return 0;
		ret->start += ret->len;
	}
	return -EIO;
}

static int ns_part_find(struct ns_ctx *x, struct ns_inode *ip, uint64_t pos,
			struct ns_part_at *ret)
{
	size_t pages = ip->r.pages.len / 8, page = 0;

	while (page < pages && ns_page_end(ip, page) <= pos)
		page++;
	if (page == pages)
		return -EIO; /* base is at most the end of the last part */
	return ns_page_find(x, ip, page, pos, 0, ret);
}

int ns_part_range(struct ns_ctx *x, struct ns_inode *ip, uint32_t part,
		  uint64_t *ret_off, uint64_t *ret_len)
{
	struct ns_part_at at;
	int rv;

	if (!(ip->r.flags & NS_INODE_COMPOSITE) || !ns_etag_valid(&ip->r)) {
		if (part != 1)
			return RPC_STATUS_INVALID_PART;
		*ret_off = 0;
		*ret_len = ip->r.size;
		return 0;
	}
	if (part == 0 || part > ip->r.parts ||
	    (part - 1) / NS_PAGE_PARTS >= ip->r.pages.len / 8)
		return RPC_STATUS_INVALID_PART;
	rv = ns_page_find(x, ip, (part - 1) / NS_PAGE_PARTS, UINT64_MAX,
			  (part - 1) % NS_PAGE_PARTS, &at);
	if (rv != 0)
		return rv;
	*ret_off = at.start;
	*ret_len = at.len;
	return 0;
}

/* Puts the extents of [from, to) of ip into out, shifted by base. */
static int ns_overlay(struct ns_ctx *x, struct ns_inode *ip, uint64_t from,
		      uint64_t to, uint64_t base, struct ns_extents *out)
{
	struct ns_region *rg;
	int rv = ns_region_get(x, ip, from / WIRE_REGION, &rg);

	for (unsigned i = 0; rv == 0 && i < rg->list->n; i++) {
		struct ns_extent e = rg->list->v[i];
		uint64_t end = e.pos + e.len;

		if (end <= from || e.pos >= to)
			continue;
		if (end > to)
			end = to;
		if (e.pos < from)
			ns_extent_advance(&e, from - e.pos);
		e.len = end - e.pos;
		e.pos += base;
		rv = ns_extents_put(x, out, &e, true);
	}
	return rv;
}

/* What the parts say of [off, *end); *end is lowered to what was done. */
static int ns_composite_gather(struct ns_ctx *x, struct ns_inode *ip,
			       uint64_t off, uint64_t *end,
			       struct ns_extents *out)
{
	uint64_t pos = off;

	for (int i = 0; pos < *end && pos < ip->r.base; i++) {
		struct ns_part_at at;
		struct ns_inode *part;
		uint64_t to;
		int rv;

		if (i == NS_REPLY_PARTS) {
			*end = pos;
			break;
		}
		rv = ns_part_find(x, ip, pos, &at);
		if (rv == 0)
			rv = ns_inode_load(x, at.ino, &part);
		if (rv != 0)
			return rv == RPC_STATUS_STALE ? -EIO : rv;
		to = (pos - at.start) / WIRE_REGION * WIRE_REGION +
		     WIRE_REGION;
		if (to > at.len)
			to = at.len;
		to += at.start;
		if (to > ip->r.base)
			to = ip->r.base;
		if (to > *end)
			to = *end;
		rv = ns_overlay(x, part, pos - at.start, to - at.start,
				at.start, out);
		if (rv != 0)
			return rv;
		pos = to;
	}
	return 0;
}

/* --- answering a range --- */

struct ns_reply {
	struct wire_vec *out;
	bool map;      /* extents alone */
	uint64_t body; /* bytes of values so far */
	unsigned n;
};

/* False when the answer is full. */
static int ns_reply_add(struct ns_ctx *x, struct ns_reply *p,
			const struct ns_extent *e, bool *ret_full)
{
	struct wire_extent w = { .pos = e->pos, .len = e->len };
	struct ns_value v = { 0 };

	*ret_full = p->n >= NS_REPLY_EXTENTS;
	if (*ret_full || e->kind == NS_EXT_ZERO)
		return 0;
	if (e->kind == NS_EXT_CHUNKS) {
		w.kind = WIRE_EXT_CHUNKS;
		w.slice = e->id;
		w.slice_off = e->off;
		wire_vec_add_extent(p->out, &w);
		p->n++;
		return p->out->buf.err;
	}
	if (p->map) {
		w.kind = WIRE_EXT_INLINE;
		wire_vec_add_extent(p->out, &w);
		p->n++;
		return p->out->buf.err;
	}
	*ret_full = p->n > 0 && p->body + e->len > NS_REPLY_BYTES;
	if (*ret_full)
		return 0;
	v.want = (uint32_t)e->len;
	if (e->kind == NS_EXT_BYTES) {
		v.mem = e->bytes;
		v.len = v.want;
	} else {
		v.gen = e->gen;
		v.off = e->at;
		v.len = e->vlen;
		v.hash = e->id;
		v.from = (uint32_t)e->off;
	}
	w.kind = WIRE_EXT_INLINE;
	w.slice_off = p->body;
	p->body += e->len;
	p->n++;
	wire_vec_add_extent(p->out, &w);
	if (p->out->buf.err != 0)
		return p->out->buf.err;
	return ns_answer_value(x->a, &v);
}

int ns_file_read(struct ns_ctx *x, struct ns_inode *ip, uint64_t off,
		 uint64_t len, bool map, struct wire_vec *ret_extents,
		 uint64_t *ret_covered)
{
	struct ns_reply reply = { .out = ret_extents, .map = map };
	struct ns_extents list = { 0 };
	uint64_t end, stop;
	bool full = false;
	int rv = 0;

	*ret_covered = len;
	if (len > UINT64_MAX - off)
		len = UINT64_MAX - off;
	stop = off + len < ip->r.size ? off + len : ip->r.size;
	if (off >= stop || !S_ISREG(ip->r.mode))
		return 0; /* nothing but zeros */
	end = (off / WIRE_REGION + 1) * WIRE_REGION;
	if (end > stop)
		end = stop;
	if (ip->r.flags & NS_INODE_COMPOSITE)
		rv = ns_composite_gather(x, ip, off, &end, &list);
	if (rv == 0)
		rv = ns_overlay(x, ip, off, end, 0, &list);
	for (unsigned i = 0; rv == 0 && i < list.n; i++) {
		rv = ns_reply_add(x, &reply, &list.v[i], &full);
		if (full) {
			end = list.v[i].pos;
			break;
		}
	}
	if (rv == 0 && end < stop)
		*ret_covered = end - off;
	return rv;
}

/* --- READ and WRITE --- */

int ns_do_read(struct ns_ctx *x, const struct rpc_read *m)
{
	struct rpc_read_rsp rsp = { 0 };
	struct wire_vec vec;
	struct ns_inode *ip;
	int rv = ns_inode_get(x, m->ino, &ip);

	if (rv != 0)
		return rv;
	if (ns_is_dir(ip))
		return RPC_STATUS_ISDIR;
	if (m->version != 0 && m->version != ip->r.data_version)
		return RPC_STATUS_VERSION_GONE;
	wire_vec_init(&vec);
	rv = ns_file_read(x, ip, m->off, m->len,
			  (m->flags & RPC_READ_MAP) != 0, &vec, &rsp.covered);
	if (rv == 0) {
		ns_attr_of(ip->ino, &ip->r, &rsp.attr);
		rsp.extents = wire_vec_bytes(&vec);
		rv = NS_ANSWER(x, read_rsp, &rsp);
	}
	wire_vec_fini(&vec);
	return rv;
}

static void ns_write_times(struct ns_ctx *x, struct ns_inode *ip,
			   const struct rpc_write *m)
{
	if (m->flags & RPC_WRITE_KEEP_TIME) {
		ip->dirty = true;
		return;
	}
	ns_inode_touch(x, ip);
	ip->r.mtime = m->mtime != 0 ? m->mtime : x->cmd->now;
	ns_inode_bump(x, ip);
}

int ns_do_write(struct ns_ctx *x, const struct rpc_write *m)
{
	uint64_t end, base = 0, limit = NS_SIZE_MAX;
	struct rpc_write_rsp rsp;
	struct ns_inode *ip;
	int rv = ns_inode_get(x, m->ino, &ip);

	if (rv != 0)
		return rv;
	if (!S_ISREG(ip->r.mode))
		return ns_is_dir(ip) ? RPC_STATUS_ISDIR : RPC_STATUS_INVAL;
	if (m->if_version != 0 && m->if_version != ip->r.data_version)
		return RPC_STATUS_PRECONDITION;
	if (m->flags & RPC_WRITE_APPEND)
		base = ip->r.size;
	if (m->flags & RPC_WRITE_KEEP_TIME)
		limit = ip->r.size;
	rv = ns_file_put(x, ip, m->extents, m->data, base, limit, &end);
	if (rv != 0)
		return rv;
	if (end > ip->r.size)
		ns_inode_set_size(x, ip, end);
	if (end > 0)
		ns_write_times(x, ip, m);
	if (m->flags & RPC_WRITE_KILL_SUID)
		ns_inode_kill_suid(ip);
	ns_attr_of(ip->ino, &ip->r, &rsp.attr);
	rsp.pos = base;
	return NS_ANSWER(x, write_rsp, &rsp);
}
