/*
 * Objects: PUT, DELETE, HEAD and GET (OBJECT), the early look (PREPARE) and
 * whereis.
 */
#include "storaged/ns_impl.h"

#include <errno.h>

enum {
	NS_META_MAX = 64 << 10, /* bytes of headers, user metadata, sums */
	NS_ETAG_LEN_MAX = 128,
};

/* --- PUT --- */

int ns_meta_put(struct ns_ctx *x, struct ns_inode *ip, const struct ns_meta *m)
{
	struct ns_row_xattr row = { .value = m->user };
	struct ns_key k;

	if (m->headers.len + m->user.len + m->sums.len > NS_META_MAX ||
	    m->sum_type.len > NS_ETAG_LEN_MAX)
		return RPC_STATUS_INVAL;
	ip->r.headers = m->headers;
	ip->r.sums = m->sums;
	ip->r.sum_type = m->sum_type;
	if (m->user.len == 0)
		return 0;
	ip->r.flags |= NS_INODE_USER;
	ns_key_xattr(&k, x->shard, ip->ino,
		     wire_bytes(NS_XATTR_USER, NS_XATTR_USER_LEN));
	return ns_put_xattr(x, ns_key_get(&k), &row);
}

int ns_put_answer(struct ns_ctx *x, struct ns_inode *ip)
{
	struct rpc_put_rsp rsp = { 0 };
	char etag[NS_ETAG_MAX];

	ns_attr_of(ip->ino, &ip->r, &rsp.attr);
	rsp.etag = ns_etag_of(ip->ino, &ip->r, etag);
	return NS_ANSWER(x, put_rsp, &rsp);
}

static int ns_put_bytes(struct ns_ctx *x, struct ns_inode *ip,
			const struct rpc_put *m)
{
	uint64_t end;

	if (m->size > NS_SIZE_MAX)
		return RPC_STATUS_FBIG;
	ip->r.size = m->size;
	return ns_file_put(x, ip, m->extents, m->data, 0, m->size, &end);
}

/* All slices are of one home; bytes of a copy may lie inline before them. */
bool ns_put_home(const struct rpc_put *m, uint16_t *ret_shard)
{
	struct wire_extent e;
	struct wire_reader r;
	uint32_t n;

	for (r = wire_vec_reader(m->extents, &n); n > 0; n--) {
		wire_get_extent(&r, &e);
		if (r.err != 0)
			break;
		if (e.kind != WIRE_EXT_CHUNKS)
			continue;
		*ret_shard = slice_home(e.slice);
		return true;
	}
	return false;
}

static int ns_put_go_home(struct ns_ctx *x, const struct rpc_put *m,
			  const struct ns_walk *w)
{
	uint16_t home;

	if (!ns_put_home(m, &home) || home == x->shard)
		return 0;
	return ns_elsewhere(x, home, w->dir->ino, w->walked);
}

int ns_do_put(struct ns_ctx *x, const struct rpc_put *m)
{
	struct ns_meta meta = { m->headers, m->user, m->sums, m->sum_type };
	struct ns_owner owner = { m->uid, m->gid, m->umask };
	struct ns_inode *ip;
	struct ns_walk w;
	int rv;

	if (m->etag.len > NS_ETAG_LEN_MAX)
		return RPC_STATUS_INVAL;
	rv = ns_walk(x, NS_WAY(m, NS_KEY_BYTES), &w);
	if (rv == 0)
		rv = ns_cond_write(NS_COND(m), w.target);
	if (rv == 0)
		rv = ns_put_go_home(x, m, &w);
	if (rv == 0)
		rv = ns_inode_new(x, 0, S_IFREG, w.project, &ip);
	if (rv == 0)
		rv = ns_put_bytes(x, ip, m);
	if (rv == 0)
		rv = ns_meta_put(x, ip, &meta);
	if (rv == 0)
		rv = ns_publish(x, &w, ip, &owner);
	if (rv != 0)
		return rv;
	ip->r.etag = m->etag;
	ip->r.etag_version = ip->r.data_version;
	return ns_put_answer(x, ip);
}

/* --- DELETE --- */

int ns_do_delete(struct ns_ctx *x, const struct rpc_delete *m)
{
	struct ns_inode *dp;
	struct ns_walk w;
	int rv = ns_walk(x, NS_WAY(m, 0), &w);

	if (rv == 0)
		rv = ns_cond_write(NS_COND(m), w.target);
	if (rv == 0 && w.target == NULL)
		rv = RPC_STATUS_NOENT;
	if (rv != 0)
		return rv;
	dp = w.dir;
	if (w.is_dir) {
		rv = ns_dir_hold(x, w.dir->r.parent, RPC_LOCK_ALL, &dp);
		if (rv != 0)
			return rv > 0 ? ns_lost(x, w.dir->r.parent) : rv;
		rv = ns_entry_remove(x, dp, w.dir->r.name, w.dir, true);
	} else {
		rv = ns_entry_remove(x, dp, w.leaf, w.target, true);
		/* with its marker goes the empty directory, who ever made it:
		 * else the key would still be there */
		if (w.leaf.len == 0 && dp->r.entries == 0)
			dp->r.flags |= NS_INODE_IMPLICIT;
	}
	if (rv == 0)
		rv = ns_dir_prune(x, dp);
	return rv != 0 ? rv : ns_answer_empty(x);
}

/* --- HEAD and GET --- */

static const char *ns_special(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "";
	case S_IFDIR:
		return "dir";
	case S_IFLNK:
		return "symlink";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	case S_IFCHR:
		return "chardev";
	default:
		return "blockdev";
	}
}

/* What range is meant; len 0 when there is nothing in it. */
static int ns_object_range(struct ns_ctx *x, struct ns_inode *ip,
			   const struct rpc_object *m,
			   struct rpc_object_rsp *rsp)
{
	uint64_t size = S_ISREG(ip->r.mode) ? ip->r.size : 0;

	if (m->part != 0)
		return ns_part_range(x, ip, m->part, &rsp->off, &rsp->len);
	rsp->off = m->off;
	rsp->len = m->len;
	if (m->suffix) {
		if (rsp->len > size)
			rsp->len = size;
		rsp->off = size - rsp->len;
	} else if (rsp->off >= size) {
		rsp->len = 0;
	} else if (rsp->len > size - rsp->off) {
		rsp->len = size - rsp->off;
	}
	return 0;
}

static int ns_object_meta(struct ns_ctx *x, struct ns_inode *ip,
			  struct rpc_object_rsp *rsp, char etag[NS_ETAG_MAX])
{
	ns_attr_of(ip->ino, &ip->r, &rsp->attr);
	if (!S_ISREG(ip->r.mode))
		rsp->attr.size = 0;
	rsp->etag = ns_etag_of(ip->ino, &ip->r, etag);
	rsp->headers = ip->r.headers;
	rsp->special = wire_cstr(ns_special(ip->r.mode));
	if (ns_etag_valid(&ip->r)) {
		rsp->sums = ip->r.sums;
		rsp->sum_type = ip->r.sum_type;
		rsp->parts = ip->r.parts;
	}
	return ns_user_get(x, ip, &rsp->user);
}

int ns_do_object(struct ns_ctx *x, const struct rpc_object *m)
{
	struct rpc_object_rsp rsp = { 0 };
	char etag[NS_ETAG_MAX];
	struct wire_vec vec;
	struct ns_walk w;
	int rv = 0, rv2;

	if (m->flags & RPC_OBJECT_OPEN)
		rv = ns_session_check(x, m->session);
	rv2 = ns_walk(x, NS_WAY(m, 0), &w); /* one load for both */
	if (rv != 0 || rv2 != 0)
		return rv != 0 ? rv : rv2;
	if (w.target == NULL)
		return RPC_STATUS_NOENT;
	rv = ns_cond_read(NS_COND(m), w.target);
	if (rv == 0)
		rv = ns_object_meta(x, w.target, &rsp, etag);
	if (rv == 0)
		rv = ns_object_range(x, w.target, m, &rsp);
	if (rv != 0)
		return rv;
	wire_vec_init(&vec);
	if (m->len > 0 && rsp.len > 0)
		rv = ns_file_read(x, w.target, rsp.off, rsp.len, false,
				  &vec, &rsp.covered);
	if (rv == 0) {
		rsp.extents = wire_vec_bytes(&vec);
		rv = NS_ANSWER(x, object_rsp, &rsp);
	}
	wire_vec_fini(&vec);
	return rv;
}

/* --- looks without a record --- */

int ns_do_prepare(struct ns_ctx *x, const struct rpc_prepare *m)
{
	struct rpc_prepare_rsp rsp = { .home = x->shard };
	struct ns_walk w;
	int rv = ns_walk(x, NS_WAY(m, NS_KEY_BYTES), &w);

	if (rv == 0)
		rv = ns_cond_write(NS_COND(m), w.target);
	return rv != 0 ? rv : NS_ANSWER(x, prepare_rsp, &rsp);
}

int ns_do_whereis(struct ns_ctx *x, const struct rpc_whereis *m)
{
	struct rpc_whereis_rsp rsp = { .shard = x->shard };
	char etag[NS_ETAG_MAX];
	struct ns_region *rg;
	struct ns_inode *ip;
	struct ns_walk w;
	int rv = ns_walk(x, NS_WAY(m, 0), &w);

	if (rv != 0)
		return rv;
	ip = w.target;
	if (ip == NULL)
		return RPC_STATUS_NOENT;
	ns_attr_of(ip->ino, &ip->r, &rsp.attr);
	rsp.etag = ns_etag_of(ip->ino, &ip->r, etag);
	rsp.extents = (uint32_t)ip->r.pieces + ip->r.parts;
	rv = ns_region_get(x, ip, 0, &rg);
	for (unsigned i = 0; rv == 0 && i < rg->list->n; i++)
		rsp.inlined += rg->list->v[i].kind == NS_EXT_VALUE ||
			       rg->list->v[i].kind == NS_EXT_BYTES;
	return rv != 0 ? rv : NS_ANSWER(x, whereis_rsp, &rsp);
}
