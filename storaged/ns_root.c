/* Roots of buckets, and usage. */
#include "storaged/ns_impl.h"

#include <errno.h>

enum { NS_REMOVE_DIRS = 10000 }; /* empty directories that go with a root */

/* A manager that resumes after a crash gets the root it made before. */
int ns_do_root_create(struct ns_ctx *x, const struct rpc_root_create *m)
{
	struct rpc_root_create_rsp rsp;
	struct ns_row_usage u = { 0 };
	struct ns_inode *ip;
	struct ns_key k;
	int rv;

	ns_key_id(&k, x->shard, NS_T_USAGE, m->bucket);
	rv = ns_get_usage(x, ns_key_get(&k), &u);
	if (rv == 0) {
		rsp.ino = u.root;
		return NS_ANSWER(x, root_create_rsp, &rsp);
	}
	if (rv != -ENOENT)
		return rv;
	rv = ns_inode_new(x, 0, S_IFDIR | (m->mode & 07777), m->bucket, &ip);
	if (rv != 0)
		return rv;
	ip->r.uid = m->uid;
	ip->r.gid = m->gid;
	ip->r.nlink = 2;
	ip->r.flags = NS_INODE_ROOT;
	u = (struct ns_row_usage){ .root = ip->ino };
	rv = ns_put_usage(x, ns_key_get(&k), &u);
	if (rv != 0)
		return rv;
	rsp.ino = ip->ino;
	return NS_ANSWER(x, root_create_rsp, &rsp);
}

/* --- removal --- */

/* The first entry of a directory, taken out; 0 with ino 0 when none is left. */
static int ns_remove_entry(struct ns_ctx *x, uint64_t dir, uint64_t *ret_ino)
{
	struct wire_bytes key, value;
	struct ns_key from, to;
	struct ns_row_dent d;
	int rv;

	*ret_ino = 0;
	ns_key_id(&from, x->shard, NS_T_DENT, dir);
	to = from;
	ns_key_end(&to);
	rv = rows_first(x->t, ns_key_get(&from), ns_key_get(&to), &key,
			&value);
	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	rv = ns_row_dent_load(&d, value);
	if (rv != 0)
		return rv;
	if (!S_ISDIR(d.mode))
		return RPC_STATUS_NOTEMPTY;
	if (ino_shard(d.ino) != x->shard)
		return RPC_STATUS_NOTSUP;
	from.len = 0;
	ns_key_bytes(&from, key);
	*ret_ino = d.ino;
	return rows_del(x->t, ns_key_get(&from));
}

/* The row of a directory whose entries are gone, and its attributes. */
static int ns_remove_inode(struct ns_ctx *x, uint64_t ino)
{
	struct ns_row_inode r;
	struct ns_inode *ip;
	struct ns_key k;
	int rv;

	ns_key_id(&k, x->shard, NS_T_INODE, ino);
	rv = ns_get_inode(x, ns_key_get(&k), &r);
	if (rv != 0)
		return rv == -ENOENT ? -EIO : rv;
	if (r.xattrs == 0)
		return rows_del(x->t, ns_key_get(&k));
	rv = ns_inode_load(x, ino, &ip);
	if (rv != 0)
		return rv > 0 ? -EIO : rv;
	ip->r.nlink = 0;
	return ns_inode_purge(x, ip);
}

/* Depth first, as each directory's row leaves with its last entry. */
static int ns_remove_tree(struct ns_ctx *x, uint64_t root, uint64_t dirs)
{
	uint64_t *stack = ns_alloc(x, (dirs + 1) * sizeof(*stack));
	unsigned n = 0;

	if (stack == NULL)
		return -ENOMEM;
	stack[n++] = root;
	while (n > 0) {
		uint64_t child;
		int rv = ns_remove_entry(x, stack[n - 1], &child);

		if (rv != 0)
			return rv;
		if (child == 0)
			rv = ns_remove_inode(x, stack[--n]);
		else if (n > dirs)
			return -EIO; /* more than the usage row counts */
		else
			stack[n++] = child;
		if (rv != 0)
			return rv;
	}
	return 0;
}

/* Uploads that are left need a root no more: the cleaner aborts them. */
static int ns_remove_uploads(struct ns_ctx *x, uint64_t root)
{
	struct wire_bytes key, value;
	struct ns_key from, to;
	int rv;

	ns_key_id(&from, x->shard, NS_T_UPLOAD, root);
	to = from;
	ns_key_end(&to);
	rv = rows_first(x->t, ns_key_get(&from), ns_key_get(&to), &key,
			&value);
	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	ns_key_queue(&from, x->shard, NS_Q_ROOT, root);
	return ns_queue_put(x, ns_key_get(&from), wire_bytes(NULL, 0));
}

int ns_do_root_remove(struct ns_ctx *x, const struct rpc_root_remove *m)
{
	struct ns_row_usage u;
	struct ns_inode *ip;
	struct ns_key k;
	int rv = ns_root_get(x, m->ino, &ip);

	if (rv == RPC_STATUS_NO_BUCKET)
		return ns_answer_empty(x); /* resumed: it is gone already */
	if (rv != 0)
		return rv;
	ns_key_id(&k, x->shard, NS_T_USAGE, ip->r.project);
	rv = ns_get_usage(x, ns_key_get(&k), &u);
	if (rv != 0)
		return rv == -ENOENT ? -EIO : rv;
	if (u.files > 0 || u.dirs > NS_REMOVE_DIRS)
		return RPC_STATUS_NOTEMPTY;
	rv = ns_remove_tree(x, m->ino, u.dirs);
	if (rv == 0)
		rv = ns_remove_uploads(x, m->ino);
	if (rv == 0)
		rv = rows_del(x->t, ns_key_get(&k));
	return rv != 0 ? rv : ns_answer_empty(x);
}

/* --- usage --- */

int ns_do_usage(struct ns_ctx *x, const struct rpc_usage *m)
{
	struct rpc_usage_rsp rsp;
	struct ns_row_usage u;
	struct ns_inode *ip;
	struct ns_key k;
	int rv = ns_inode_get(x, m->ino, &ip);

	if (rv != 0)
		return rv;
	ns_key_id(&k, x->shard, NS_T_USAGE, ip->r.project);
	rv = ns_get_usage(x, ns_key_get(&k), &u);
	if (rv != 0)
		return rv == -ENOENT ? RPC_STATUS_STALE : rv;
	rsp = (struct rpc_usage_rsp){ u.bytes, u.files, u.dirs };
	return NS_ANSWER(x, usage_rsp, &rsp);
}
