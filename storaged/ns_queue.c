/*
 * Work that a command put off because it has no bound: the bytes of a large
 * inode, the parts of an upload, the uploads of a removed bucket. The leader's
 * host goes through the queue rows (shard_queue.c) and sends QUEUE_WORK for
 * one of them until it is gone; each does a bounded piece.
 *
 * Why nothing that is needed can go: a queue row is written in the command
 * that takes the last way to what it names (the name, the upload row, the
 * root), and no command gives such a way back. What lies below (parts, slices)
 * is counted by rows of its own. A piece that was done is not there to be done
 * again, so it does not matter how often, or by which leader, one is sent.
 */
#include "storaged/ns_mpu.h"

#include <errno.h>
#include <string.h>

#define NS_KEY_XATTR (NS_KEY_REST + 8) /* where the attribute's name begins */

/* --- an inode --- */

/* The last page of parts: each part ends with it, or queues by itself. */
static int ns_work_page(struct ns_ctx *x, struct ns_inode *ip)
{
	uint32_t page = (uint32_t)(ip->r.pages.len / 8 - 1), n, number;
	struct wire_bytes etag, sums;
	struct ns_row_page row;
	struct wire_reader r;
	struct ns_key k;
	uint64_t ino, len;
	int rv, all = 0;

	ns_key_page(&k, x->shard, ip->r.body, page);
	rv = ns_get_page(x, ns_key_get(&k), &row);
	if (rv != 0)
		return rv == -ENOENT ? -EIO : rv;
	for (r = wire_vec_reader(row.parts, &n); n > 0; n--) {
		struct ns_inode *part;

		wire_get_u64(&r, &ino);
		wire_get_u64(&r, &len);
		wire_get_u32(&r, &number);
		wire_get_str(&r, &etag);
		wire_get_kvs(&r, &sums);
		if (r.err != 0)
			return -EIO;
		rv = ns_inode_load(x, ino, &part);
		if (rv == 0)
			rv = ns_inode_let_go(x, part);
		if (rv == -EAGAIN)
			all = rv; /* go on: note all of them */
		else if (rv != 0)
			return rv > 0 ? -EIO : rv;
	}
	if (all != 0)
		return all;
	ip->r.pages.len -= 8;
	if (ip->r.pages.len == 0)
		ip->r.flags &= ~(uint32_t)NS_INODE_COMPOSITE;
	return rows_del(x->t, ns_key_get(&k));
}

/* Up to *budget extents of a region, from its end. */
static int ns_work_region(struct ns_ctx *x, struct ns_inode *ip,
			  uint64_t region, unsigned *budget)
{
	struct ns_region *rg;
	unsigned n;
	int rv = ns_region_get(x, ip, region, &rg);

	if (rv != 0)
		return rv;
	n = rg->list->n;
	if (n > *budget) {
		rv = ns_region_cut(x, ip, rg, rg->list->v[n - *budget].pos);
		*budget = 0;
		return rv;
	}
	*budget -= n > 0 ? n : 1;
	return ns_region_clear(x, ip, rg);
}

/* Region rows in order, then what the inode row itself holds. */
static int ns_work_regions(struct ns_ctx *x, struct ns_inode *ip)
{
	unsigned budget = NS_PURGE_PIECES, rows = 0;
	struct wire_bytes key, value;
	struct ns_key from, to;
	int rv;

	ns_key_id(&from, x->shard, NS_T_REGION, ip->r.body);
	to = from;
	ns_key_end(&to);
	while (ip->r.regions > 0 && budget > 0 && rows++ < NS_PURGE_REGIONS) {
		rv = rows_first(x->t, ns_key_get(&from), ns_key_get(&to), &key,
				&value);
		if (rv != 0)
			return rv == -ENOENT ? -EIO : rv;
		if (key.len != NS_KEY_REST + 16)
			return -EIO;
		from.len = 0;
		ns_key_bytes(&from, key);
		rv = ns_work_region(x, ip, ns_be64(key.p + NS_KEY_REST + 8),
				    &budget);
		if (rv != 0)
			return rv;
	}
	if (ip->r.regions > 0 || budget == 0 || ip->r.pieces == 0)
		return 0;
	rv = ns_work_region(x, ip, 0, &budget);
	return rv == 0 && ip->r.pieces > 0 ? -EIO : rv;
}

static int ns_work_xattrs(struct ns_ctx *x, struct ns_inode *ip)
{
	struct wire_bytes key, value;
	struct ns_row_xattr row;
	struct ns_key from, to;

	ns_key_id(&from, x->shard, NS_T_XATTR, ip->ino);
	to = from;
	ns_key_end(&to);
	for (unsigned i = 0; i < NS_PURGE_XATTRS; i++) {
		int rv = rows_first(x->t, ns_key_get(&from), ns_key_get(&to),
				    &key, &value);

		if (rv != 0)
			return rv == -ENOENT ? 0 : rv;
		if (key.len <= NS_KEY_XATTR || ns_row_xattr_load(&row, value))
			return -EIO;
		if (key.p[NS_KEY_XATTR] == 0) {
			ip->r.flags &= ~(uint32_t)NS_INODE_USER;
		} else {
			ip->r.xattrs--;
			ip->r.xattr_bytes -= (uint32_t)(key.len - NS_KEY_XATTR +
							row.value.len);
		}
		from.len = 0;
		ns_key_bytes(&from, key);
		rv = rows_del(x->t, ns_key_get(&from));
		if (rv != 0)
			return rv;
	}
	return 0;
}

/* One kind of row after the other; the inode's own row is the last. */
static int ns_work_inode(struct ns_ctx *x, uint64_t ino)
{
	struct ns_inode *ip;
	struct ns_key k;
	int rv = ns_inode_load(x, ino, &ip);

	if (rv != 0)
		return rv > 0 ? -EIO : rv;
	if (ip->r.nlink > 0 || !(ip->r.flags & NS_INODE_QUEUED))
		return -EIO;
	ip->dirty = true;
	if (ip->r.pages.len >= 8)
		return ns_work_page(x, ip);
	if (ip->r.regions > 0 || ip->r.pieces > 0)
		return ns_work_regions(x, ip);
	if (ip->r.xattrs > 0 || ip->r.flags & NS_INODE_USER)
		return ns_work_xattrs(x, ip);
	ip->gone = true;
	ns_key_queue(&k, x->shard, NS_Q_INODE, ino);
	return rows_del(x->t, ns_key_get(&k));
}

/* --- uploads --- */

/* The first upload of a removed root, or the end of the queue row. */
static int ns_work_root(struct ns_ctx *x, uint64_t root)
{
	struct ns_upload u = { .root = NULL };
	struct wire_bytes key, value;
	struct ns_key from, to;
	int rv;

	ns_key_id(&from, x->shard, NS_T_UPLOAD, root);
	to = from;
	ns_key_end(&to);
	rv = rows_first(x->t, ns_key_get(&from), ns_key_get(&to), &key,
			&value);
	if (rv == -ENOENT) {
		ns_key_queue(&from, x->shard, NS_Q_ROOT, root);
		return rows_del(x->t, ns_key_get(&from));
	}
	if (rv != 0)
		return rv;
	if (key.len < NS_KEY_REST + 8 + 1 + 16 ||
	    ns_row_upload_load(&u.row, value) != 0)
		return -EIO;
	ns_key_bytes(&u.key, key);
	u.id = ns_be128(key.p + key.len - 16);
	return ns_upload_drop(x, &u);
}

/* Some parts of an aborted upload; q says which are left. */
static int ns_work_upload(struct ns_ctx *x, struct wire_u128 id,
			  struct ns_row_queue *q)
{
	struct wire_bytes left = wire_bytes(NULL, q->what.len);
	struct ns_upload u = { .id = id };
	uint8_t *bits = ns_alloc(x, left.len + 1);
	unsigned parts = 0;
	struct ns_key k;
	int all = 0;

	if (bits == NULL)
		return -ENOMEM;
	if (left.len > 0)
		memcpy(bits, q->what.p, left.len);
	left.p = bits;
	for (uint32_t n = 1; n <= 8 * left.len; n++) {
		int rv;

		if (!ns_numbers_has(left, n))
			continue;
		if (parts++ == NS_ABORT_PARTS)
			break;
		rv = ns_part_drop(x, &u, n);
		if (rv == -EAGAIN)
			all = rv;
		else if (rv != 0)
			return rv;
		ns_numbers_del(bits, n);
	}
	if (all != 0)
		return all;
	ns_key_queue128(&k, x->shard, NS_Q_UPLOAD, id);
	if (ns_numbers_count(left) == 0)
		return rows_del(x->t, ns_key_get(&k));
	q->what = left;
	return ns_put_queue(x, ns_key_get(&k), q);
}

/* --- the message --- */

/* *ret_left stays when the row does, is cleared when nothing is to be done. */
static int ns_work(struct ns_ctx *x, uint8_t kind, struct wire_u128 id,
		   struct ns_row_queue *q, bool *ret_left)
{
	switch (kind) {
	case NS_Q_INODE:
		return ns_work_inode(x, id.lo);
	case NS_Q_ROOT:
		return ns_work_root(x, id.lo);
	case NS_Q_UPLOAD:
		return ns_work_upload(x, id, q);
	case NS_Q_SESSION:
		return ns_work_session(x, id.lo, q, ret_left);
	case NS_Q_DEAD:
		*ret_left = false;
		return ns_work_dead(x, id);
	default:
		return RPC_STATUS_NOTSUP;
	}
}

static struct wire_bytes ns_work_key(struct ns_ctx *x, struct ns_key *k,
				     uint8_t kind, struct wire_u128 id)
{
	if (kind == NS_Q_INODE || kind == NS_Q_ROOT || kind == NS_Q_SESSION)
		return ns_key_queue(k, x->shard, kind, id.lo);
	return ns_key_queue128(k, x->shard, kind, id);
}

int ns_do_queue_work(struct ns_ctx *x, const struct rpc_queue_work *m)
{
	struct rpc_queue_work_rsp rsp = { .left = 0 };
	struct ns_row_queue q;
	bool left = true;
	struct ns_key k;
	int rv = ns_get_queue(x, ns_work_key(x, &k, m->kind, m->id), &q);

	if (rv == 0)
		rv = ns_work(x, m->kind, m->id, &q, &left);
	else if (rv == -ENOENT)
		return NS_ANSWER(x, queue_work_rsp, &rsp);
	if (rv == 0) /* as this command leaves it */
		rv = ns_get_queue(x, ns_key_get(&k), &q);
	rsp.left = rv == 0 && left;
	if (rv == -ENOENT)
		rv = 0;
	return rv != 0 ? rv : NS_ANSWER(x, queue_work_rsp, &rsp);
}
