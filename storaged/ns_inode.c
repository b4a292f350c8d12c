/*
 * Inodes: loading, making, changing, and what happens when the last name goes.
 * What cannot be bounded (the bytes of a large file) goes to a queue row.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <string.h>

#include "common/base/xxh.h"

/* Directories have one size for everybody: rows have no useful one. */
#define NS_DIR_SIZE 4096

/* From the row; -EAGAIN also when somebody else holds it. */
static int ns_inode_read(struct ns_ctx *x, struct ns_inode *ip, uint8_t mode)
{
	struct ns_key k;

	if (ip->far)
		return ns_far_inode(x, ip->ino, mode, &ip->r, &ip->held);
	ns_key_id(&k, x->shard, NS_T_INODE, ip->ino);
	if (ns_is_held(x, ns_key_get(&k), RPC_LOCK_LOOK))
		return -EAGAIN;
	return ns_get_inode(x, ns_key_get(&k), &ip->r);
}

/* One that this command has already, but maybe not held well enough. */
static int ns_inode_again(struct ns_ctx *x, struct ns_inode *ip, uint8_t mode)
{
	struct ns_row_inode same;
	uint8_t held;

	if (ip->gone)
		return RPC_STATUS_STALE;
	if (!ip->far || mode <= ip->held)
		return 0;
	return ns_far_inode(x, ip->ino, mode, &same, &held);
}

int ns_inode_hold(struct ns_ctx *x, uint64_t ino, uint8_t mode,
		  struct ns_inode **ret)
{
	struct ns_inode *ip = x->inodes;
	int rv;

	while (ip != NULL && ip->ino != ino)
		ip = ip->next;
	if (ip != NULL) {
		rv = ns_inode_again(x, ip, mode);
		if (rv == 0)
			*ret = ip;
		return rv;
	}
	if (ns_is_far(x, ino) && x->cmd == NULL)
		return ns_elsewhere_ino(x, ino, 0);
	ip = ns_alloc(x, sizeof(*ip));
	if (ip == NULL)
		return -ENOMEM;
	ip->ino = ino;
	ip->far = ns_is_far(x, ino);
	rv = ns_inode_read(x, ip, mode);
	if (rv != 0)
		return rv == -ENOENT ? RPC_STATUS_STALE : rv;
	ip->next = x->inodes;
	x->inodes = ip;
	*ret = ip;
	return 0;
}

int ns_inode_get(struct ns_ctx *x, uint64_t ino, struct ns_inode **ret)
{
	struct ns_inode *ip;
	int rv = ns_inode_load(x, ino, &ip);

	if (rv != 0)
		return rv;
	if (ip->r.nlink == 0 && !(ip->r.flags & NS_INODE_OPEN))
		return RPC_STATUS_STALE;
	*ret = ip;
	return 0;
}

int ns_dir_hold(struct ns_ctx *x, uint64_t ino, uint8_t mode,
		struct ns_inode **ret)
{
	struct ns_inode *ip;
	int rv = ns_inode_hold(x, ino, mode, &ip);

	if (rv != 0)
		return rv == RPC_STATUS_STALE ? RPC_STATUS_NOENT : rv;
	if (!ns_is_dir(ip))
		return RPC_STATUS_NOTDIR;
	if (ip->r.nlink == 0)
		return RPC_STATUS_NOENT;
	*ret = ip;
	return 0;
}

int ns_inode_of_dent(struct ns_ctx *x, const struct ns_row_dent *d,
		     struct ns_inode **ret)
{
	int rv = ns_inode_get(x, d->ino, ret);

	return rv == RPC_STATUS_STALE ? ns_lost(x, d->ino) : rv;
}

int ns_inode_new(struct ns_ctx *x, uint64_t ino, uint32_t mode,
		 uint64_t project, struct ns_inode **ret)
{
	struct ns_inode *ip = ns_alloc(x, sizeof(*ip));
	int64_t now = x->cmd->now;

	if (ip == NULL)
		return -ENOMEM;
	if (ino == 0) {
		int rv = ns_next_ino(x, &ino);

		if (rv != 0)
			return rv;
	}
	ip->ino = ino;
	ip->r.mode = mode;
	ip->r.project = project;
	ip->r.body = ino;
	ip->r.atime = ip->r.mtime = ip->r.ctime = ip->r.btime = now;
	/* one below the next one: a client sees that nobody else wrote */
	ip->r.data_version = ip->r.change = ns_next_version(x, 0);
	ip->r.generation = x->cmd->seed & INT64_MAX;
	ip->fresh = ip->touched = ip->dirty = ip->dent_dirty = true;
	ip->next = x->inodes;
	x->inodes = ip;
	if (S_ISDIR(mode)) { /* numbers are given out once */
		struct ns_key k;

		rows_set_fresh(x->t,
			       ns_key_id(&k, x->shard, NS_T_DENT, ino));
	}
	*ret = ip;
	return 0;
}

void ns_inode_touch(struct ns_ctx *x, struct ns_inode *ip)
{
	if (x->quiet) {
		ip->dirty = true;
		return;
	}
	if (!ip->touched)
		ip->r.change = ns_next_version(x, ip->r.change);
	ip->touched = ip->dirty = true;
	ip->r.ctime = x->cmd->now;
}

void ns_inode_set_size(struct ns_ctx *x, struct ns_inode *ip, uint64_t size)
{
	if (ip->r.size == size)
		return;
	if (ip->r.nlink > 0 && S_ISREG(ip->r.mode))
		ns_usage_add(x, ip->r.project,
			     (int64_t)(size - ip->r.size), 0, 0);
	ip->r.size = size;
	ip->dirty = ip->dent_dirty = true;
}

void ns_inode_kill_suid(struct ns_inode *ip)
{
	ip->r.mode &= ~(uint32_t)S_ISUID;
	if (ip->r.mode & S_IXGRP)
		ip->r.mode &= ~(uint32_t)S_ISGID;
	ip->dirty = true;
}

void ns_inode_bump(struct ns_ctx *x, struct ns_inode *ip)
{
	ip->r.data_version = ns_next_version(x, ip->r.data_version);
	ip->dirty = ip->dent_dirty = true;
}

/* --- the end of an inode --- */

int ns_queue_put(struct ns_ctx *x, struct wire_bytes key,
		 struct wire_bytes what)
{
	struct ns_row_queue row = { .since = x->cmd->now, .what = what };

	x->a->queued = true;
	return ns_put_queue(x, key, &row);
}

static int ns_inode_queue(struct ns_ctx *x, struct ns_inode *ip)
{
	struct ns_key k;

	ip->r.flags &= ~(uint32_t)(NS_INODE_OPEN | NS_INODE_PART);
	ip->r.flags |= NS_INODE_QUEUED;
	ip->dirty = true;
	ns_key_queue(&k, x->shard, NS_Q_INODE, ip->ino);
	return ns_queue_put(x, ns_key_get(&k), wire_bytes(NULL, 0));
}

int ns_inode_drop(struct ns_ctx *x, struct ns_inode *ip, bool open)
{
	struct ns_row_open row = { .since = x->cmd->now };
	struct ns_key k;

	if (!open)
		return ns_inode_purge(x, ip);
	x->a->kept = ip->ino;
	ip->r.flags |= NS_INODE_OPEN;
	ns_inode_touch(x, ip);
	ns_key_id(&k, x->shard, NS_T_OPEN, ip->ino);
	return ns_put_open(x, ns_key_get(&k), &row);
}

static uint64_t ns_region_count(uint64_t size)
{
	return size / WIRE_REGION + (size % WIRE_REGION != 0);
}

/* More bytes than one command shall take apart? */
static bool ns_inode_is_large(const struct ns_inode *ip)
{
	return ip->r.pieces > NS_PURGE_PIECES ||
	       (ip->r.regions > 0 &&
		ns_region_count(ip->r.size) > NS_PURGE_REGIONS);
}

static int ns_purge_xattrs(struct ns_ctx *x, struct ns_inode *ip)
{
	unsigned left = ip->r.xattrs + !!(ip->r.flags & NS_INODE_USER);
	struct wire_bytes key, value;
	struct ns_key from, to;
	int rv = 0;

	ns_key_id(&from, x->shard, NS_T_XATTR, ip->ino);
	to = from;
	ns_key_end(&to);
	for (; left > 0 && rv == 0; left--) {
		rv = rows_first(x->t, ns_key_get(&from), ns_key_get(&to), &key,
				&value);
		if (rv != 0)
			return rv == -ENOENT ? -EIO : rv;
		from.len = 0;
		ns_key_bytes(&from, key);
		rv = rows_del(x->t, ns_key_get(&from));
	}
	return rv;
}

/* Empties the regions [from, to): every one is looked at. */
static int ns_purge_regions(struct ns_ctx *x, struct ns_inode *ip,
			    uint64_t from, uint64_t to)
{
	struct ns_region *rg;
	int all = 0;

	for (uint64_t i = from; i < to; i++) {
		int rv = ns_region_get(x, ip, i, &rg);

		if (rv == 0)
			rv = ns_region_clear(x, ip, rg);
		if (rv == -EAGAIN)
			all = rv; /* go on: note the other regions too */
		else if (rv != 0)
			return rv;
		if (ip->r.regions == 0 && i > 0 && all == 0)
			break; /* that was the last row */
	}
	return all;
}

int ns_inode_purge(struct ns_ctx *x, struct ns_inode *ip)
{
	uint64_t n = ns_region_count(ip->r.size);
	int rv;

	if (ip->r.flags & NS_INODE_COMPOSITE ||
	    ip->r.xattrs > NS_PURGE_XATTRS || ns_inode_is_large(ip))
		return ns_inode_queue(x, ip);
	if (S_ISREG(ip->r.mode)) {
		rv = ns_purge_regions(x, ip, 0, ip->r.regions > 0 ? n : 1);
		if (rv != 0)
			return rv;
	}
	rv = ns_purge_xattrs(x, ip);
	if (rv != 0)
		return rv;
	ip->gone = true;
	return 0;
}

int ns_inode_let_go(struct ns_ctx *x, struct ns_inode *ip)
{
	if (ip->r.regions > 0 || ip->r.pieces > NS_SMALL_PIECES ||
	    ip->r.xattrs > 0)
		return ns_inode_queue(x, ip);
	return ns_inode_purge(x, ip);
}

int ns_inode_detach(struct ns_ctx *x, struct ns_inode *ip)
{
	const uint32_t moved = NS_INODE_COMPOSITE | NS_INODE_REGION0;
	struct ns_inode *o;
	int rv = ns_inode_new(x, 0, S_IFREG, ip->r.project, &o);

	if (rv != 0)
		return rv;
	o->regions = ip->regions;
	o->r.flags = ip->r.flags & moved;
	o->r.size = ip->r.size;
	o->r.bytes = ip->r.bytes;
	o->r.body = ip->r.body;
	o->r.regions = ip->r.regions;
	o->r.pieces = ip->r.pieces;
	o->r.base = ip->r.base;
	o->r.parts = ip->r.parts;
	o->r.pages = ip->r.pages;
	o->r.extents = ip->r.extents;
	ip->regions = NULL;
	ip->r.flags &= ~moved;
	ip->r.bytes = ip->r.base = ip->r.pieces = 0;
	ip->r.body = o->ino; /* never used for rows of its own */
	ip->r.regions = ip->r.parts = 0;
	ip->r.pages = ip->r.extents = wire_bytes(NULL, 0);
	ns_inode_set_size(x, ip, 0);
	return ns_inode_queue(x, o);
}

/* --- truncate --- */

enum { NS_CUT_REGIONS = 1024 };

/* Drops the region rows from `from` on, walking those that exist. */
static int ns_cut_sparse(struct ns_ctx *x, struct ns_inode *ip, uint64_t from)
{
	struct wire_bytes key, value;
	struct ns_key k, to;
	struct ns_region *rg;
	int rv;

	ns_key_id(&to, x->shard, NS_T_REGION, ip->r.body);
	ns_key_end(&to);
	for (;;) {
		ns_key_region(&k, x->shard, ip->r.body, from);
		rv = rows_first(x->t, ns_key_get(&k), ns_key_get(&to), &key,
				&value);
		if (rv != 0)
			return rv == -ENOENT ? 0 : rv;
		if (key.len != NS_KEY_REST + 16)
			return -EIO;
		from = ns_be64(key.p + NS_KEY_REST + 8);
		rv = ns_region_get(x, ip, from, &rg);
		if (rv == 0)
			rv = ns_region_clear(x, ip, rg);
		if (rv != 0)
			return rv;
		from++;
	}
}

static int ns_cut(struct ns_ctx *x, struct ns_inode *ip, uint64_t size)
{
	uint64_t keep = ns_region_count(size);
	uint64_t have = ns_region_count(ip->r.size);
	struct ns_region *rg;
	int rv;

	if (size % WIRE_REGION != 0) {
		rv = ns_region_get(x, ip, keep - 1, &rg);
		if (rv == 0)
			rv = ns_region_cut(x, ip, rg, size);
		if (rv != 0)
			return rv;
	}
	if (ip->r.base > size)
		ip->r.base = size;
	if (have <= keep)
		return 0;
	if (ip->r.regions == 0)
		return ns_purge_regions(x, ip, keep, keep == 0 ? 1 : keep);
	if (have - keep <= NS_CUT_REGIONS)
		return ns_purge_regions(x, ip, keep, have);
	if (ip->r.regions <= NS_CUT_REGIONS)
		return ns_cut_sparse(x, ip, keep);
	return RPC_STATUS_TOO_MANY;
}

int ns_inode_truncate(struct ns_ctx *x, struct ns_inode *ip, uint64_t size)
{
	int rv = 0;

	if (size > NS_SIZE_MAX)
		return RPC_STATUS_FBIG;
	if (size == ip->r.size)
		return 0;
	if (size == 0 && (ip->r.flags & NS_INODE_COMPOSITE ||
			  ns_inode_is_large(ip)))
		rv = ns_inode_detach(x, ip);
	else if (size < ip->r.size)
		rv = ns_cut(x, ip, size);
	if (rv != 0)
		return rv;
	ns_inode_set_size(x, ip, size);
	ns_inode_bump(x, ip);
	return 0;
}

/* --- what others see of it --- */

void ns_attr_of(uint64_t ino, const struct ns_row_inode *r,
		struct wire_attr *ret)
{
	uint64_t bytes = r->bytes;

	/* writes above the parts of a composite count twice */
	if (r->flags & NS_INODE_COMPOSITE && bytes > r->size)
		bytes = r->size;
	*ret = (struct wire_attr){
		.ino = ino, .mode = r->mode, .uid = r->uid, .gid = r->gid,
		.nlink = r->nlink, .size = r->size,
		.bytes = (bytes + 511) & ~UINT64_C(511), .rdev = r->rdev,
		.atime = r->atime, .mtime = r->mtime, .ctime = r->ctime,
		.btime = r->btime, .data_version = r->data_version,
		.change = r->change, .generation = r->generation,
	};
	if (S_ISDIR(r->mode))
		ret->size = NS_DIR_SIZE;
	if (S_ISLNK(r->mode))
		ret->size = r->target.len;
	if (r->flags & NS_INODE_IMPLICIT)
		ret->flags |= WIRE_ATTR_IMPLICIT;
	if (r->flags & NS_INODE_SPLIT)
		ret->nlink = 1; /* nobody counts those in segments */
	if (r->flags & NS_INODE_MARKER)
		ret->flags |= WIRE_ATTR_MARKER;
	if (r->nlink == 0)
		ret->flags |= WIRE_ATTR_UNLINKED;
}

static char *ns_hex64(char *p, uint64_t v)
{
	for (int i = 60; i >= 0; i -= 4)
		*p++ = "0123456789abcdef"[v >> i & 15];
	return p;
}

static void ns_store64(uint8_t *p, uint64_t v)
{
	for (int i = 7; i >= 0; i--, v >>= 8)
		p[i] = (uint8_t)v;
}

/* The dash keeps clients from taking an opaque ETag for an MD5. */
struct wire_bytes ns_etag_of(uint64_t ino, const struct ns_row_inode *r,
			     char buf[NS_ETAG_MAX])
{
	XXH128_hash_t h;
	uint8_t in[24];
	char *p = buf;

	if (S_ISDIR(r->mode)) /* an empty directory is a key of no bytes */
		return wire_cstr("d41d8cd98f00b204e9800998ecf8427e");
	if (ns_etag_valid(r))
		return r->etag;
	ns_store64(in, ino);
	ns_store64(in + 8, r->data_version);
	ns_store64(in + 16, r->generation);
	h = XXH3_128bits(in, sizeof(in));
	p = ns_hex64(p, h.high64);
	p = ns_hex64(p, h.low64);
	memcpy(p, "-0", 2);
	return wire_bytes(buf, (size_t)(p + 2 - buf));
}

static struct wire_bytes ns_first_sum(struct wire_bytes sums)
{
	struct wire_bytes name = { NULL, 0 };
	struct wire_reader r;
	uint32_t n;

	r = wire_vec_reader(sums, &n);
	if (n > 0)
		wire_get_str(&r, &name);
	return name;
}

void ns_dent_far(uint64_t ino, uint64_t generation, uint32_t mode,
		 struct ns_row_dent *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->v = NS_ROW_VERSION;
	ret->ino = ino;
	ret->generation = generation;
	ret->mode = mode & S_IFMT;
	ret->flags = NS_DENT_ASK;
}

void ns_dent_of(uint64_t ino, const struct ns_row_inode *r,
		struct ns_row_dent *ret, char etag[NS_ETAG_MAX])
{
	ns_dent_far(ino, r->generation, r->mode, ret);
	ret->flags = 0;
	if (S_ISDIR(r->mode)) {
		ret->mode = r->mode;
		ret->uid = r->uid;
		ret->gid = r->gid;
		return;
	}
	if (r->nlink > 1) {
		ret->flags = NS_DENT_ASK;
		return;
	}
	if (r->flags & NS_INODE_USER)
		ret->flags = NS_DENT_USER;
	ret->size = S_ISREG(r->mode) ? r->size : 0;
	ret->mtime = r->mtime;
	ret->etag = ns_etag_of(ino, r, etag);
	if (!ns_etag_valid(r))
		return;
	ret->parts = r->parts;
	ret->sum_alg = ns_first_sum(r->sums);
	ret->sum_type = r->sum_type;
}

void ns_dent_full(uint64_t ino, const struct ns_row_inode *r,
		  struct ns_row_dent *ret, char etag[NS_ETAG_MAX])
{
	struct ns_row_inode one = *r;

	one.nlink = 1;
	ns_dent_of(ino, &one, ret, etag);
	ret->etag = ns_etag_of(ino, r, etag);
	ret->mtime = r->mtime;
	if (S_ISDIR(r->mode))
		ret->size = 0;
}
