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
	int rv;

	if (ns_is_far(x, root))
		return ns_elsewhere(x, ino_shard(root), 0, 0);
	rv = ns_inode_load(x, root, ret);
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

static uint32_t ns_walked(const struct ns_way *way, const struct ns_walk *w)
{
	return (uint32_t)(way->key.len - w->rest.len);
}

/* Where the way was lost that led here: it begins anew. */
static int ns_walk_anew(struct ns_ctx *x, const struct ns_way *way)
{
	return ns_elsewhere(x, ino_shard(way->root), 0, 0);
}

/* An entry on the way; of another shard it is looked at, not taken. */
static int ns_walk_dent(struct ns_ctx *x, const struct ns_way *way,
			uint64_t dir, struct wire_bytes comp,
			struct ns_row_dent *ret)
{
	struct ns_key k;
	int rv;

	if (!way->stay || !ns_is_far(x, dir))
		return ns_dent_get(x, dir, comp, ret);
	ns_key_dent(&k, ino_shard(dir), dir, comp);
	rv = ns_far_dent(x, ns_key_get(&k), RPC_LOCK_LOOK, ret);
	return rv == -ENOENT ? RPC_STATUS_NOENT : rv;
}

/*
 * An entry is not in dir: is it in a segment of it? *dir is that one when the
 * command stays where it is.
 */
static int ns_walk_segment(struct ns_ctx *x, const struct ns_way *way,
			   uint32_t walked, struct wire_bytes name,
			   uint64_t *dir, bool *ret_moved)
{
	uint64_t segment;
	int rv;

	*ret_moved = false;
	/* only what it was sent to may be a segment */
	if (!ns_is_far(x, *dir) && *dir != way->at && !ns_may_be_split(x, *dir))
		return 0;
	rv = ns_segment_find(x, *dir, name, &segment);
	if (rv == RPC_STATUS_STALE)
		return ns_walk_anew(x, way);
	if (rv != 0 || segment == 0)
		return rv;
	if (!way->stay)
		return ns_elsewhere_ino(x, segment, walked);
	*dir = segment;
	*ret_moved = true;
	return 0;
}

/* Goes down as far as directories exist. */
static int ns_walk_down(struct ns_ctx *x, const struct ns_way *way,
			struct ns_walk *w, uint64_t *dir)
{
	struct wire_bytes comp;
	struct ns_row_dent d;

	while (ns_walk_component(w->rest, &comp)) {
		bool moved;
		int rv;

		if (comp.len - 1 > NS_NAME_MAX)
			return 0;
		rv = ns_walk_dent(x, way, *dir, comp, &d);
		if (rv == RPC_STATUS_NOENT) {
			rv = ns_walk_segment(x, way, ns_walked(way, w), comp,
					     dir, &moved);
			if (rv != 0 || !moved)
				return rv;
			continue;
		}
		if (rv != 0)
			return rv;
		*dir = d.ino;
		w->rest = ns_walk_behind(w->rest, comp.len);
		if (ns_is_far(x, d.ino) && !way->stay)
			return ns_elsewhere_ino(x, d.ino, ns_walked(way, w));
	}
	w->whole = true;
	return 0;
}

/*
 * The deepest directory, for commands and where it may be the target. A way
 * that began here found its directories in one look: they are there. One that
 * came from another shard may have lost them meanwhile.
 */
static int ns_walk_dir(struct ns_ctx *x, const struct ns_way *way,
		       struct ns_walk *w, uint64_t dir)
{
	int rv = ns_dir_get(x, dir, &w->dir);

	if (rv == RPC_STATUS_NOENT || rv == RPC_STATUS_NOTDIR)
		return way->at != 0 || way->stay ? ns_walk_anew(x, way) : -EIO;
	if (rv == 0)
		w->project = w->dir->r.project;
	return rv;
}

static int ns_walk_target(struct ns_ctx *x, const struct ns_way *way,
			  struct ns_walk *w, uint64_t dir)
{
	struct ns_row_dent d;
	bool moved = false;
	int rv;

	if (!w->whole || w->leaf.len > NS_NAME_MAX)
		return 0;
	rv = ns_dent_get(x, dir, w->leaf, &d);
	if (rv == RPC_STATUS_NOENT && w->leaf.len > 0) {
		rv = ns_walk_segment(x, way, w->walked, w->leaf, &dir, &moved);
		if (rv == 0 && moved)
			rv = ns_walk_dir(x, way, w, dir);
		if (rv == 0)
			rv = moved ? ns_dent_get(x, dir, w->leaf, &d)
				   : RPC_STATUS_NOENT;
	}
	if (rv == 0 && ns_is_far(x, d.ino) && x->cmd == NULL)
		return ns_elsewhere_ino(x, d.ino, (uint32_t)way->key.len);
	if (rv == 0)
		return ns_inode_of_dent(x, &d, &w->target);
	if (rv != RPC_STATUS_NOENT)
		return rv;
	/* an empty directory is the key of no bytes that ends in its slash */
	if (w->leaf.len == 0 && !(w->dir->r.flags & NS_INODE_ROOT) &&
	    w->dir->r.entries == 0) {
		w->is_dir = true;
		w->target = w->dir;
		return ns_dir_claim(x, w->dir);
	}
	return 0;
}

static int ns_walk_begin(struct ns_ctx *x, const struct ns_way *way,
			 struct ns_walk *w, uint64_t *ret_dir)
{
	struct ns_inode *ip;
	int rv = ns_object_key_check(way->key, way->max);

	if (rv != 0)
		return rv;
	*ret_dir = way->root;
	if (way->at == 0)
		return ns_root_get(x, way->root, &ip);
	if (way->skip > way->key.len)
		return RPC_STATUS_INVAL;
	*ret_dir = way->at;
	w->rest = ns_walk_behind(way->key, way->skip);
	if (!ns_is_far(x, way->at))
		return 0;
	/* its new directories belong here, says its shard */
	return x->cmd != NULL ? 0 : ns_elsewhere_ino(x, way->at, way->skip);
}

/*
 * A read may have come for a file of this shard, under a name of another one:
 * then all of the key lies behind it. (Or behind the directory "dir/".)
 */
static int ns_walk_file(struct ns_ctx *x, const struct ns_way *way,
			struct ns_walk *w)
{
	struct ns_inode *ip;
	int rv;

	if (x->cmd != NULL || way->at == 0 || way->skip < way->key.len)
		return 0;
	rv = ns_inode_load(x, way->at, &ip);
	if (rv == RPC_STATUS_STALE || (rv == 0 && ip->r.nlink == 0))
		return ns_walk_anew(x, way);
	if (rv == 0 && !ns_is_dir(ip))
		w->target = ip;
	return rv;
}

int ns_walk(struct ns_ctx *x, const struct ns_way *way, struct ns_walk *ret)
{
	struct ns_walk w = { .rest = way->key, .leaf = way->key };
	struct wire_bytes comp;
	uint64_t dir;
	int rv = ns_walk_begin(x, way, &w, &dir);

	if (rv == 0)
		rv = ns_walk_file(x, way, &w);
	if (rv != 0 || w.target != NULL)
		goto out;
	while (ns_walk_component(w.leaf, &comp))
		w.leaf = ns_walk_behind(w.leaf, comp.len);
	rv = ns_walk_down(x, way, &w, &dir);
	w.walked = ns_walked(way, &w);
	/* a read of a file does not need the inode of its directory */
	if (rv == 0 && (x->cmd != NULL || w.leaf.len == 0))
		rv = ns_walk_dir(x, way, &w, dir);
	if (rv == 0)
		rv = ns_walk_target(x, way, &w, dir);
	/* nothing is there: is the directory it should be in? */
	if (rv == 0 && w.target == NULL && way->at != 0 && w.dir == NULL)
		rv = ns_walk_dir(x, way, &w, dir);
out:
	if (rv == 0)
		*ret = w;
	return rv;
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
				  w->project, &dp);
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
	int rv = 0;

	if (w->leaf.len > NS_NAME_MAX)
		return RPC_STATUS_NAMETOOLONG;
	if (!w->whole)
		rv = ns_place(x, w->dir->ino, w->dir->ino, w->walked);
	if (rv == 0)
		rv = ns_publish_dirs(x, w, o);
	if (rv != 0)
		return rv;
	ns_publish_owner(ip, old, o);
	if (old != NULL)
		rv = ns_entry_remove(x, w->dir, w->leaf, old, true);
	if (rv == 0)
		rv = ns_entry_add(x, w->dir, w->leaf, ip);
	return rv;
}
