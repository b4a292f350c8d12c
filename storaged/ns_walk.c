/*
 * From a key to rows: the walk through directories, and publishing an inode
 * under a key with every directory it still lacks, in one record.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <string.h>

int ns_object_key_check(struct wire_bytes key, size_t max)
{
	if (key.len == 0 || memchr(key.p, 0, key.len) != NULL)
		return RPC_STATUS_INVAL;
	return max != 0 && key.len > max ? RPC_STATUS_NAMETOOLONG : 0;
}

int ns_root_get(struct ns_ctx *x, uint64_t root, struct ns_inode **ret)
{
	int rv = ns_inode_load(x, root, ret);

	if (rv == RPC_STATUS_STALE)
		return RPC_STATUS_NO_BUCKET;
	if (rv != 0)
		return rv;
	return (*ret)->r.flags & NS_INODE_ROOT ? 0 : RPC_STATUS_NO_BUCKET;
}

/* The first component of rest with its slash; false when there is none. */
static bool ns_walk_component(struct wire_bytes rest, struct wire_bytes *ret)
{
	const uint8_t *slash = NULL;

	if (rest.len > 0)
		slash = memchr(rest.p, '/', rest.len);
	if (slash == NULL)
		return false;
	*ret = wire_bytes(rest.p, (size_t)(slash - rest.p) + 1);
	return true;
}

static struct wire_bytes ns_walk_behind(struct wire_bytes s, size_t n)
{
	return wire_bytes(s.p + n, s.len - n);
}

/* Goes down as far as directories exist. */
static int ns_walk_down(struct ns_ctx *x, struct ns_walk *w, uint64_t *dir)
{
	struct wire_bytes comp;
	struct ns_row_dent d;

	while (ns_walk_component(w->rest, &comp)) {
		int rv;

		if (comp.len - 1 > NS_NAME_MAX)
			return 0;
		rv = ns_dent_get(x, *dir, comp, &d);
		if (rv == RPC_STATUS_NOENT)
			return 0;
		if (rv != 0)
			return rv;
		if (ino_shard(d.ino) != x->shard)
			return RPC_STATUS_NOTSUP;
		*dir = d.ino;
		w->rest = ns_walk_behind(w->rest, comp.len);
	}
	w->whole = true;
	return 0;
}

static int ns_walk_target(struct ns_ctx *x, struct ns_walk *w, uint64_t dir)
{
	struct ns_row_dent d;
	int rv;

	if (!w->whole || w->leaf.len > NS_NAME_MAX)
		return 0;
	rv = ns_dent_get(x, dir, w->leaf, &d);
	if (rv == 0)
		return ns_inode_of_dent(x, &d, &w->target);
	if (rv != RPC_STATUS_NOENT)
		return rv;
	/* an empty directory is the key of no bytes that ends in its slash */
	if (w->leaf.len == 0 && w->dir != w->root && w->dir->r.entries == 0) {
		w->is_dir = true;
		w->target = w->dir;
	}
	return 0;
}

int ns_walk(struct ns_ctx *x, uint64_t root, struct wire_bytes key, size_t max,
	    struct ns_walk *ret)
{
	struct ns_walk w = { .rest = key, .leaf = key };
	struct wire_bytes comp;
	uint64_t dir = root;
	int rv;

	rv = ns_object_key_check(key, max);
	if (rv == 0)
		rv = ns_root_get(x, root, &w.root);
	if (rv != 0)
		return rv;
	while (ns_walk_component(w.leaf, &comp))
		w.leaf = ns_walk_behind(w.leaf, comp.len);
	rv = ns_walk_down(x, &w, &dir);
	/* a read of a file does not need the inode of its directory */
	if (rv == 0 && (x->cmd != NULL || w.leaf.len == 0)) {
		rv = ns_dir_get(x, dir, &w.dir);
		if (rv == RPC_STATUS_NOENT || rv == RPC_STATUS_NOTDIR)
			rv = -EIO;
	}
	if (rv == 0)
		rv = ns_walk_target(x, &w, dir);
	if (rv != 0)
		return rv;
	*ret = w;
	return 0;
}

/* The directories of the key that are missing, all implicit. */
static int ns_publish_dirs(struct ns_ctx *x, struct ns_walk *w,
			   const struct ns_owner *o)
{
	struct wire_bytes comp;
	struct ns_inode *dp;

	while (ns_walk_component(w->rest, &comp)) {
		int rv;

		if (comp.len - 1 > NS_NAME_MAX)
			return RPC_STATUS_NAMETOOLONG;
		rv = ns_inode_new(x, 0, S_IFDIR | (02775 & ~o->umask),
				  w->root->r.project, &dp);
		if (rv != 0)
			return rv;
		dp->r.uid = o->uid;
		dp->r.gid = o->gid;
		dp->r.flags = NS_INODE_IMPLICIT;
		rv = ns_entry_add(x, w->dir, comp, dp);
		if (rv != 0)
			return rv;
		w->dir = dp;
		w->rest = ns_walk_behind(w->rest, comp.len);
	}
	return 0;
}

/* New bytes in place of a file keep its owner and mode, but no set-id bits. */
static void ns_publish_owner(struct ns_inode *ip, const struct ns_inode *old,
			     const struct ns_owner *o)
{
	if (old != NULL && S_ISREG(old->r.mode)) {
		ip->r.uid = old->r.uid;
		ip->r.gid = old->r.gid;
		ip->r.mode = old->r.mode;
		ns_inode_kill_suid(ip);
		return;
	}
	ip->r.uid = o->uid;
	ip->r.gid = o->gid;
	ip->r.mode = S_IFREG | (0664 & ~o->umask);
}

int ns_publish(struct ns_ctx *x, struct ns_walk *w, struct ns_inode *ip,
	       const struct ns_owner *o)
{
	struct ns_inode *old = w->is_dir ? NULL : w->target;
	bool open = x->cmd->decisions & NS_DECIDE_OPEN;
	int rv;

	if (w->leaf.len > NS_NAME_MAX)
		return RPC_STATUS_NAMETOOLONG;
	rv = ns_publish_dirs(x, w, o);
	if (rv != 0)
		return rv;
	ns_publish_owner(ip, old, o);
	if (old != NULL)
		rv = ns_entry_remove(x, w->dir, w->leaf, old, open);
	if (rv == 0)
		rv = ns_entry_add(x, w->dir, w->leaf, ip);
	return rv;
}
