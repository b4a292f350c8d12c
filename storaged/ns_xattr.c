/*
 * Extended attributes. What S3 stored shows as read-only `user.s3.*`: standard
 * headers by name, user metadata as `user.s3.x-amz-meta-*`. Setting those is
 * "not supported", which cp and rsync pass over in silence.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <string.h>

enum {
	NS_XATTR_NAME_MAX = 255,
	NS_XATTR_VALUE_MAX = 64 << 10,
	NS_XATTR_COUNT_MAX = 1024,
	NS_XATTR_TOTAL_MAX = 256 << 10,
	NS_XATTR_LIST_MAX = 64 << 10, /* names of one inode: a kernel limit */
};

#define NS_S3 "user.s3."
#define NS_S3_META "user.s3.x-amz-meta-"

static bool ns_starts(struct wire_bytes s, const char *with)
{
	size_t n = strlen(with);

	return s.len >= n && memcmp(s.p, with, n) == 0;
}

static struct wire_bytes ns_behind(struct wire_bytes s, const char *prefix)
{
	size_t n = strlen(prefix);

	return wire_bytes(s.p + n, s.len - n);
}

static int ns_xattr_name_check(struct wire_bytes name)
{
	if (name.len == 0 || name.len > NS_XATTR_NAME_MAX)
		return RPC_STATUS_RANGE;
	return memchr(name.p, 0, name.len) != NULL ? RPC_STATUS_INVAL : 0;
}

int ns_user_get(struct ns_ctx *x, struct ns_inode *ip, struct wire_bytes *ret)
{
	struct ns_row_xattr row;
	struct ns_key k;
	int rv;

	*ret = wire_bytes(NULL, 0);
	if (!(ip->r.flags & NS_INODE_USER))
		return 0;
	ns_key_xattr(&k, x->shard, ip->ino,
		     wire_bytes(NS_XATTR_USER, NS_XATTR_USER_LEN));
	rv = ns_get_xattr(x, ns_key_get(&k), &row);
	if (rv != 0)
		return rv == -ENOENT ? -EIO : rv;
	*ret = row.value;
	return 0;
}

/* A name in a kvs vector given as bytes. */
static bool ns_kvs_get(struct wire_bytes kvs, struct wire_bytes name,
		       struct wire_bytes *ret)
{
	struct wire_bytes k, v;
	struct wire_reader r;
	uint32_t n;

	for (r = wire_vec_reader(kvs, &n); n > 0 && r.err == 0; n--) {
		wire_get_str(&r, &k);
		wire_get_blob(&r, &v);
		if (r.err == 0 && wire_bytes_eq(k, name)) {
			*ret = v;
			return true;
		}
	}
	return false;
}

static int ns_s3_get(struct ns_ctx *x, struct ns_inode *ip,
		     struct wire_bytes name, struct wire_bytes *ret)
{
	struct wire_bytes user;
	int rv;

	if (!ns_starts(name, NS_S3_META))
		return ns_kvs_get(ip->r.headers, ns_behind(name, NS_S3), ret)
			       ? 0
			       : RPC_STATUS_NODATA;
	rv = ns_user_get(x, ip, &user);
	if (rv != 0)
		return rv;
	return ns_kvs_get(user, ns_behind(name, NS_S3_META), ret)
		       ? 0
		       : RPC_STATUS_NODATA;
}

int ns_do_getxattr(struct ns_ctx *x, const struct rpc_getxattr *m)
{
	struct rpc_getxattr_rsp rsp;
	struct ns_row_xattr row;
	struct ns_inode *ip;
	struct ns_key k;
	int rv = ns_inode_get(x, m->ino, &ip);

	if (rv == 0)
		rv = ns_xattr_name_check(m->name);
	if (rv != 0)
		return rv;
	if (ns_starts(m->name, NS_S3)) {
		rv = ns_s3_get(x, ip, m->name, &rsp.value);
		return rv != 0 ? rv : NS_ANSWER(x, getxattr_rsp, &rsp);
	}
	if (ip->r.xattrs == 0)
		return RPC_STATUS_NODATA;
	ns_key_xattr(&k, x->shard, ip->ino, m->name);
	rv = ns_get_xattr(x, ns_key_get(&k), &row);
	if (rv != 0)
		return rv == -ENOENT ? RPC_STATUS_NODATA : rv;
	rsp.value = row.value;
	return NS_ANSWER(x, getxattr_rsp, &rsp);
}

/* --- the list --- */

static void ns_list_kvs(struct buf *out, const char *prefix,
			struct wire_bytes kvs)
{
	struct wire_bytes k, v;
	struct wire_reader r;
	uint32_t n;

	for (r = wire_vec_reader(kvs, &n); n > 0; n--) {
		wire_get_str(&r, &k);
		wire_get_blob(&r, &v);
		if (r.err != 0)
			return;
		if (strlen(prefix) + k.len > NS_XATTR_NAME_MAX || k.len == 0 ||
		    memchr(k.p, 0, k.len) != NULL)
			continue; /* no attribute can be called that */
		buf_puts(out, prefix);
		buf_add(out, k.p, k.len);
		buf_add(out, "", 1);
	}
}

static int ns_list_rows(struct ns_ctx *x, struct ns_inode *ip, struct buf *out)
{
	struct wire_bytes key, value;
	struct ns_key from, to;

	if (ip->r.xattrs == 0)
		return 0;
	ns_key_id(&from, x->shard, NS_T_XATTR, ip->ino);
	to = from;
	ns_key_end(&to);
	ns_key_u8(&from, 1); /* our own names begin with NUL */
	for (unsigned left = ip->r.xattrs; left > 0; left--) {
		int rv = rows_first(x->t, ns_key_get(&from), ns_key_get(&to),
				    &key, &value);

		if (rv != 0)
			return rv == -ENOENT ? -EIO : rv;
		buf_add(out, key.p + NS_KEY_REST + 8,
			key.len - NS_KEY_REST - 8);
		buf_add(out, "", 1);
		from.len = 0;
		ns_key_bytes(&from, key);
		ns_key_u8(&from, 0);
	}
	return 0;
}

int ns_do_listxattr(struct ns_ctx *x, const struct rpc_listxattr *m)
{
	struct rpc_listxattr_rsp rsp;
	struct wire_bytes user;
	struct ns_inode *ip;
	struct buf names;
	int rv = ns_inode_get(x, m->ino, &ip);

	if (rv != 0)
		return rv;
	buf_init(&names, 0);
	rv = ns_list_rows(x, ip, &names);
	if (rv == 0)
		rv = ns_user_get(x, ip, &user);
	if (rv == 0) {
		ns_list_kvs(&names, NS_S3, ip->r.headers);
		ns_list_kvs(&names, NS_S3_META, user);
		rv = names.err;
	}
	if (rv == 0) {
		rsp.names = wire_bytes(names.data, names.len);
		rv = NS_ANSWER(x, listxattr_rsp, &rsp);
	}
	buf_fini(&names);
	return rv;
}

/* --- changes --- */

static int ns_xattr_fits(const struct ns_inode *ip,
			 const struct rpc_setxattr *m,
			 const struct ns_row_xattr *old)
{
	size_t names = NS_XATTR_LIST_MAX / (NS_XATTR_NAME_MAX + 1);
	uint64_t total = ip->r.xattr_bytes + m->name.len + m->value.len;

	if (old != NULL)
		return total - m->name.len - old->value.len >
				       NS_XATTR_TOTAL_MAX
			       ? RPC_STATUS_NOSPC
			       : 0;
	return total > NS_XATTR_TOTAL_MAX ||
			       ip->r.xattrs >= NS_XATTR_COUNT_MAX ||
			       ip->r.xattrs >= names
		       ? RPC_STATUS_NOSPC
		       : 0;
}

int ns_do_setxattr(struct ns_ctx *x, const struct rpc_setxattr *m)
{
	struct ns_row_xattr row = { .value = m->value }, old;
	struct ns_inode *ip;
	struct ns_key k;
	bool had;
	int rv = ns_inode_get(x, m->ino, &ip);

	if (rv == 0)
		rv = ns_xattr_name_check(m->name);
	if (rv != 0)
		return rv;
	if (ns_starts(m->name, NS_S3))
		return RPC_STATUS_NOTSUP;
	if (m->value.len > NS_XATTR_VALUE_MAX)
		return RPC_STATUS_NOSPC;
	ns_key_xattr(&k, x->shard, ip->ino, m->name);
	rv = ns_get_xattr(x, ns_key_get(&k), &old);
	if (rv != 0 && rv != -ENOENT)
		return rv;
	had = rv == 0;
	if (had && m->flags & RPC_XATTR_CREATE)
		return RPC_STATUS_EXIST;
	if (!had && m->flags & RPC_XATTR_REPLACE)
		return RPC_STATUS_NODATA;
	rv = ns_xattr_fits(ip, m, had ? &old : NULL);
	if (rv != 0)
		return rv;
	ip->r.xattrs += !had;
	ip->r.xattr_bytes += (uint32_t)m->value.len;
	ip->r.xattr_bytes -= had ? (uint32_t)old.value.len : 0;
	ip->r.xattr_bytes += had ? 0 : (uint32_t)m->name.len;
	ip->r.flags &= ~(uint32_t)NS_INODE_IMPLICIT;
	ns_inode_touch(x, ip);
	rv = ns_put_xattr(x, ns_key_get(&k), &row);
	return rv != 0 ? rv : ns_answer_empty(x);
}

int ns_do_removexattr(struct ns_ctx *x, const struct rpc_removexattr *m)
{
	struct ns_row_xattr old;
	struct ns_inode *ip;
	struct ns_key k;
	int rv = ns_inode_get(x, m->ino, &ip);

	if (rv == 0)
		rv = ns_xattr_name_check(m->name);
	if (rv != 0)
		return rv;
	if (ns_starts(m->name, NS_S3))
		return RPC_STATUS_NOTSUP;
	ns_key_xattr(&k, x->shard, ip->ino, m->name);
	rv = ns_get_xattr(x, ns_key_get(&k), &old);
	if (rv != 0)
		return rv == -ENOENT ? RPC_STATUS_NODATA : rv;
	ip->r.xattrs--;
	ip->r.xattr_bytes -= (uint32_t)(m->name.len + old.value.len);
	ns_inode_touch(x, ip);
	rv = rows_del(x->t, ns_key_get(&k));
	return rv != 0 ? rv : ns_answer_empty(x);
}
