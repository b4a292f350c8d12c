/*
 * Names: entries of directories, links of inodes, and the rules that keep
 * every directory row standing for at least one key (DESIGN section 6).
 *
 * The first name of an inode is in its own row, further ones are link rows;
 * the entry of the first name is written by the flush from the inode.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <string.h>

int ns_name_check(struct wire_bytes name)
{
	if (name.len > NS_NAME_MAX)
		return RPC_STATUS_NAMETOOLONG;
	if (name.len > 0 && (memchr(name.p, '/', name.len) != NULL ||
			     memchr(name.p, 0, name.len) != NULL))
		return RPC_STATUS_INVAL;
	return 0;
}

struct wire_bytes ns_row_name(struct ns_ctx *x, struct wire_bytes name,
			      bool dir)
{
	uint8_t *p = ns_alloc(x, name.len + 1);

	if (p == NULL)
		return wire_bytes(NULL, 0);
	if (name.len > 0)
		memcpy(p, name.p, name.len);
	p[name.len] = '/';
	return wire_bytes(p, name.len + dir);
}

/* 0, -ENOENT, -EAGAIN. Of another shard: the name is ours to change then. */
static int ns_dent_row(struct ns_ctx *x, struct wire_bytes key,
		       struct ns_row_dent *ret)
{
	uint64_t dir = ns_be64(key.p + NS_KEY_REST);

	if (ns_is_far(x, dir))
		return x->cmd == NULL
			       ? ns_elsewhere(x, ino_shard(dir), 0, 0)
			       : ns_far_dent(x, key, RPC_LOCK_ALL, ret);
	if (ns_is_held(x, key, RPC_LOCK_ALL))
		return -EAGAIN;
	return ns_get_dent(x, key, ret);
}

/* An entry is about to change that nobody may have asked for. */
static int ns_dent_claim(struct ns_ctx *x, uint64_t dir,
			 struct wire_bytes row_name)
{
	struct ns_row_dent d;
	struct ns_key k;
	int rv = 0;

	if (!ns_is_far(x, dir) && !ns_any_held(x))
		return 0;
	ns_key_dent(&k, ino_shard(dir), dir, row_name);
	if (ns_is_far(x, dir))
		rv = ns_far_dent(x, ns_key_get(&k), RPC_LOCK_ALL, &d);
	else if (ns_is_held(x, ns_key_get(&k), RPC_LOCK_ALL))
		rv = -EAGAIN;
	return rv == -ENOENT ? 0 : rv;
}

int ns_dent_get(struct ns_ctx *x, uint64_t dir, struct wire_bytes row_name,
		struct ns_row_dent *ret)
{
	struct ns_key k;
	int rv;

	ns_key_dent(&k, ino_shard(dir), dir, row_name);
	rv = ns_dent_row(x, ns_key_get(&k), ret);
	return rv == -ENOENT ? RPC_STATUS_NOENT : rv;
}

static int ns_pair_load(struct ns_ctx *x, uint64_t dir, struct wire_bytes name,
			struct ns_pair *ret)
{
	struct ns_key k;
	int rv, rv2;

	ret->name = name;
	ns_key_dent(&k, ino_shard(dir), dir, name);
	rv = ns_dent_row(x, ns_key_get(&k), &ret->file);
	ns_key_u8(&k, '/');
	rv2 = ns_dent_row(x, ns_key_get(&k), &ret->dir);
	ret->has_file = rv == 0;
	ret->has_dir = rv2 == 0;
	if (rv != 0 && rv != -ENOENT)
		return rv;
	return rv2 == -ENOENT ? 0 : rv2;
}

/* It was one when it was looked for: all begins anew. */
static int ns_pair_lost(struct ns_ctx *x)
{
	x->blocked = true;
	x->holder = (struct wire_u128){ 0, 0 };
	return -EAGAIN;
}

int ns_pair_get(struct ns_ctx *x, uint64_t *dir, struct wire_bytes name,
		int how, struct ns_pair *ret)
{
	bool go = x->cmd == NULL ||
		  (how == NS_PAIR_GO && !ns_is_far(x, *dir));
	struct ns_inode *sp;
	uint64_t segment;
	int rv = ns_name_check(name);

	if (rv == 0)
		rv = ns_pair_load(x, *dir, name, ret);
	if (rv != 0 || ret->has_file || ret->has_dir)
		return rv;
	/* a read has come to a segment by ns_segment_at() alone */
	if (x->cmd == NULL && !ns_may_be_split(x, *dir))
		return 0;
	rv = ns_segment_find(x, *dir, name, &segment);
	if (rv == RPC_STATUS_STALE)
		return ns_pair_lost(x);
	if (rv != 0 || segment == 0)
		return rv;
	if (go)
		return ns_elsewhere_ino(x, segment, 0);
	rv = ns_dir_get(x, segment, &sp);
	if (rv > 0 || (rv == 0 && !ns_segment_has(&sp->r, name)))
		return ns_pair_lost(x);
	*dir = segment;
	return rv != 0 ? rv : ns_pair_load(x, segment, name, ret);
}

int ns_pair_pick(struct ns_ctx *x, const struct ns_pair *p, uint8_t how,
		 struct ns_row_dent *ret, struct wire_bytes *ret_row_name)
{
	bool dir = p->has_dir && how != RPC_NAME_FILE;
	struct wire_bytes row_name;

	if (!dir && !(p->has_file && how != RPC_NAME_DIR))
		return RPC_STATUS_NOENT;
	row_name = ns_row_name(x, p->name, dir);
	if (row_name.p == NULL)
		return -ENOMEM;
	*ret_row_name = row_name;
	*ret = dir ? p->dir : p->file;
	return 0;
}

/*
 * Names that the mount shows escaped have two faces, `.%f...` and `.%d...`;
 * every other name has one, which a file and a directory cannot share unless
 * the file was asked for by its alias.
 */
static bool ns_name_two_faced(struct wire_bytes name)
{
	if (name.len == 0 || (name.len == 1 && name.p[0] == '.'))
		return true;
	return name.len >= 2 && name.p[0] == '.' &&
	       ((name.len == 2 && name.p[1] == '.') || name.p[1] == '%');
}

int ns_pair_free(const struct ns_pair *p, uint8_t how, bool dir)
{
	bool one_face = !ns_name_two_faced(p->name);

	if (dir ? p->has_dir : p->has_file)
		return RPC_STATUS_EXIST;
	if (dir && p->has_file && (how != RPC_NAME_DIR || one_face))
		return RPC_STATUS_EXIST;
	if (!dir && p->has_dir && how != RPC_NAME_FILE)
		return RPC_STATUS_EXIST;
	return 0;
}

/* --- the directory's side of an entry --- */

static void ns_dir_count(struct ns_ctx *x, struct ns_inode *dp,
			 struct wire_bytes row_name, const struct ns_inode *ip,
			 int n)
{
	ns_inode_touch(x, dp);
	if (!x->quiet)
		dp->r.mtime = x->cmd->now;
	dp->r.entries += (uint64_t)n;
	if (ns_is_dir(ip))
		dp->r.nlink += (uint32_t)n;
	if (n > 0 && !dp->far && dp->r.entries > x->a->large.entries) {
		x->a->large.ino = dp->ino;
		x->a->large.entries = dp->r.entries;
	}
	if (row_name.len > 0)
		return;
	if (n > 0)
		dp->r.flags |= NS_INODE_MARKER;
	else
		dp->r.flags &= ~(uint32_t)NS_INODE_MARKER;
}

static int ns_dir_far(struct ns_ctx *x, uint8_t op, uint64_t dir,
		      struct wire_bytes row_name, const struct ns_inode *ip)
{
	struct ns_step s = { .op = op, .dir = dir, .name = row_name,
			     .ino = ip->ino, .mode = ip->r.mode,
			     .generation = ip->r.generation };

	return ns_far_step(x, ino_shard(dir), &s);
}

int ns_dir_enter(struct ns_ctx *x, struct ns_inode *dp,
		 struct wire_bytes row_name, struct ns_inode *ip)
{
	struct ns_row_dent d;
	struct ns_key k;

	ns_dir_count(x, dp, row_name, ip, 1);
	if (dp->far)
		return ns_dir_far(x, NS_STEP_ENTER, dp->ino, row_name, ip);
	if (!ip->far)
		return 0; /* the inode's side writes the row */
	ns_dent_far(ip->ino, ip->r.generation, ip->r.mode, &d);
	ns_key_dent(&k, x->shard, dp->ino, row_name);
	return ns_put_dent(x, ns_key_get(&k), &d);
}

int ns_dir_leave(struct ns_ctx *x, struct ns_inode *dp,
		 struct wire_bytes row_name, struct ns_inode *ip)
{
	struct ns_key k;

	ns_dir_count(x, dp, row_name, ip, -1);
	if (dp->far)
		return ns_dir_far(x, NS_STEP_LEAVE, dp->ino, row_name, ip);
	return rows_del(x->t, ns_key_dent(&k, x->shard, dp->ino, row_name));
}

/* --- the inode's side: its names --- */

static void ns_usage_link(struct ns_ctx *x, const struct ns_inode *ip, int n)
{
	if (ns_is_dir(ip))
		ns_usage_add(x, ip->r.project, 0, 0, n);
	else
		ns_usage_add(x, ip->r.project, n * (int64_t)ip->r.size, n, 0);
}

static int ns_link_far(struct ns_ctx *x, uint8_t op, uint64_t ino,
		       uint64_t dir, struct wire_bytes row_name, bool keep)
{
	struct ns_step s = { .op = op, .ino = ino, .dir = dir,
			     .name = row_name, .mode = keep };

	return ns_far_step(x, ino_shard(ino), &s);
}

/*
 * A further name: a link row, and in a directory of this shard an entry that
 * says "ask the inode".
 */
static int ns_link_row(struct ns_ctx *x, struct ns_inode *ip, uint64_t dir,
		       struct wire_bytes row_name)
{
	struct ns_row_link link = { 0 };
	char etag[NS_ETAG_MAX];
	struct ns_row_dent d;
	struct ns_key k;
	int rv;

	ns_key_link(&k, x->shard, ip->ino, dir, row_name);
	rv = ns_put_link(x, ns_key_get(&k), &link);
	if (rv != 0 || ns_is_far(x, dir))
		return rv;
	ns_dent_of(ip->ino, &ip->r, &d, etag);
	ns_key_dent(&k, x->shard, dir, row_name);
	return ns_put_dent(x, ns_key_get(&k), &d);
}

int ns_link_in(struct ns_ctx *x, struct ns_inode *ip, uint64_t dir,
	       struct wire_bytes row_name)
{
	bool first = ip->r.nlink == 0;

	if (ip->r.nlink >= NS_LINK_MAX)
		return RPC_STATUS_MLINK;
	if (!first)
		ns_inode_touch(x, ip);
	ip->r.nlink += first && ns_is_dir(ip) ? 2 : 1;
	if (ip->far)
		return ns_link_far(x, NS_STEP_LINK, ip->ino, dir, row_name,
				   false);
	ip->dirty = ip->dent_dirty = true; /* of the first name */
	if (!first)
		return ns_link_row(x, ip, dir, row_name);
	ip->r.parent = dir;
	ip->r.name = row_name;
	ns_usage_link(x, ip, 1);
	return 0;
}

/* The first name goes: the first link row takes its place. */
static int ns_link_promote(struct ns_ctx *x, struct ns_inode *ip)
{
	struct wire_bytes key, value, name;
	struct ns_key from, to;
	int rv;

	ns_key_id(&from, x->shard, NS_T_LINK, ip->ino);
	to = from;
	ns_key_end(&to);
	rv = rows_first(x->t, ns_key_get(&from), ns_key_get(&to), &key,
			&value);
	if (rv != 0)
		return rv == -ENOENT ? -EIO : rv;
	if (key.len < NS_KEY_REST + 16)
		return -EIO;
	name = ns_copy(x, wire_bytes(key.p + NS_KEY_REST + 16,
				     key.len - NS_KEY_REST - 16));
	if (name.p == NULL)
		return -ENOMEM;
	ip->r.parent = ns_be64(key.p + NS_KEY_REST + 8);
	ip->r.name = name;
	ns_key_link(&from, x->shard, ip->ino, ip->r.parent, name);
	return rows_del(x->t, ns_key_get(&from));
}

static bool ns_is_first_name(const struct ns_inode *ip, uint64_t parent,
			     struct wire_bytes row_name)
{
	return ip->r.parent == parent && wire_bytes_eq(ip->r.name, row_name);
}

int ns_dir_claim(struct ns_ctx *x, const struct ns_inode *ip)
{
	struct ns_key k;

	if (!ns_is_dir(ip) || ip->far)
		return 0;
	ns_key_id(&k, x->shard, NS_T_INODE, ip->ino);
	return ns_is_held(x, ns_key_get(&k), RPC_LOCK_ALL) ? -EAGAIN : 0;
}

int ns_link_out(struct ns_ctx *x, struct ns_inode *ip, uint64_t dir,
		struct wire_bytes row_name, bool keep)
{
	bool open = keep && x->cmd->decisions & NS_DECIDE_OPEN;
	struct ns_key k;
	int rv;

	ns_inode_touch(x, ip);
	ip->r.nlink = ns_is_dir(ip) ? 0 : ip->r.nlink - 1;
	if (ip->far)
		return ns_link_far(x, NS_STEP_UNLINK, ip->ino, dir, row_name,
				   keep);
	rv = ns_dir_claim(x, ip);
	if (rv != 0)
		return rv;
	ip->dent_dirty = true;
	if (ip->r.nlink == 0) {
		ns_usage_link(x, ip, -1);
		return ns_inode_drop(x, ip, open);
	}
	if (ns_is_first_name(ip, dir, row_name))
		return ns_link_promote(x, ip);
	ns_key_link(&k, x->shard, ip->ino, dir, row_name);
	return rows_del(x->t, ns_key_get(&k));
}

int ns_link_move(struct ns_ctx *x, struct ns_inode *ip, uint64_t dir,
		 struct wire_bytes row_name, uint64_t dir2,
		 struct wire_bytes row_name2)
{
	struct ns_key k;
	int rv;

	ns_inode_touch(x, ip);
	if (ip->far) {
		struct ns_step s = { .op = NS_STEP_MOVE, .ino = ip->ino,
				     .dir = dir, .name = row_name,
				     .dir2 = dir2, .name2 = row_name2 };

		return ns_far_step(x, ino_shard(ip->ino), &s);
	}
	rv = ns_dir_claim(x, ip);
	if (rv != 0)
		return rv;
	if (ns_is_first_name(ip, dir, row_name)) {
		ip->r.parent = dir2;
		ip->r.name = row_name2;
		ip->dent_dirty = true;
		return 0;
	}
	ns_key_link(&k, x->shard, ip->ino, dir, row_name);
	rv = rows_del(x->t, ns_key_get(&k));
	return rv != 0 ? rv : ns_link_row(x, ip, dir2, row_name2);
}

/* --- entries --- */

int ns_entry_add(struct ns_ctx *x, struct ns_inode *dp,
		 struct wire_bytes row_name, struct ns_inode *ip)
{
	int rv = ns_dent_claim(x, dp->ino, row_name);

	if (rv == 0)
		rv = ns_link_in(x, ip, dp->ino, row_name);
	return rv != 0 ? rv : ns_dir_enter(x, dp, row_name, ip);
}

int ns_entry_remove(struct ns_ctx *x, struct ns_inode *dp,
		    struct wire_bytes row_name, struct ns_inode *ip, bool keep)
{
	int rv = ns_dent_claim(x, dp->ino, row_name);

	if (rv == 0)
		rv = ns_dir_leave(x, dp, row_name, ip);
	return rv != 0 ? rv : ns_link_out(x, ip, dp->ino, row_name, keep);
}

/* --- empty directories --- */

/*
 * What may be pending in another shard when a command was answered are entries
 * that a directory gets, never ones that it loses: whatever takes an entry is
 * run in the shard of the directory, or holds all of it. So a directory may
 * have more than it counts (who finds it empty claims it), but never fewer.
 */
int ns_dir_empty(struct ns_ctx *x, struct ns_inode *dp, bool *ret_empty)
{
	struct ns_inode *ip;
	struct ns_row_dent d;
	int rv;

	*ret_empty = dp->r.entries == 0;
	if (dp->r.entries != 1 || !(dp->r.flags & NS_INODE_MARKER))
		return 0;
	rv = ns_dent_get(x, dp->ino, wire_bytes(NULL, 0), &d);
	if (rv == 0)
		rv = ns_inode_of_dent(x, &d, &ip);
	if (rv != 0)
		return rv == RPC_STATUS_NOENT ? ns_lost(x, dp->ino) : rv;
	*ret_empty = S_ISREG(ip->r.mode) && ip->r.size == 0 &&
		     !(ip->r.flags & NS_INODE_USER);
	return 0;
}

int ns_dir_drop_marker(struct ns_ctx *x, struct ns_inode *dp)
{
	struct ns_inode *ip;
	struct ns_row_dent d;
	int rv;

	if (!(dp->r.flags & NS_INODE_MARKER))
		return 0;
	rv = ns_dent_get(x, dp->ino, wire_bytes(NULL, 0), &d);
	if (rv == 0)
		rv = ns_inode_of_dent(x, &d, &ip);
	if (rv != 0)
		return rv == RPC_STATUS_NOENT ? ns_lost(x, dp->ino) : rv;
	return ns_entry_remove(x, dp, wire_bytes(NULL, 0), ip, false);
}

/* Bounded by the depth of a key: components are at least a slash. */
int ns_dir_prune(struct ns_ctx *x, struct ns_inode *dp)
{
	const uint32_t never = NS_INODE_IMPLICIT | NS_INODE_SEGMENT;

	while (dp->r.entries == 0 && dp->r.flags & never) {
		struct ns_inode *up;
		int rv;

		if (dp->r.flags & NS_INODE_SEGMENT) {
			rv = ns_segment_drop(x, dp, &dp);
			if (rv != 0)
				return rv;
			continue;
		}
		/* it may be the next one to go */
		rv = ns_dir_hold(x, dp->r.parent, RPC_LOCK_ALL, &up);
		if (rv != 0)
			return rv > 0 ? ns_lost(x, dp->r.parent) : rv;
		rv = ns_entry_remove(x, up, dp->r.name, dp, false);
		if (rv != 0)
			return rv;
		dp = up;
	}
	return 0;
}

int ns_dir_settle(struct ns_ctx *x, struct ns_inode *dp)
{
	struct ns_step s = { .op = NS_STEP_SETTLE };
	int rv;

	if (!dp->far && dp->r.entries == 0 &&
	    dp->r.flags & NS_INODE_SEGMENT) {
		rv = ns_segment_drop(x, dp, &dp);
		if (rv != 0)
			return rv;
	}
	s.dir = dp->ino;
	if (dp->far && dp->r.flags & NS_INODE_IMPLICIT)
		return ns_far_step(x, ino_shard(dp->ino), &s);
	if (dp->r.entries > 0 || !(dp->r.flags & NS_INODE_IMPLICIT))
		return 0;
	rv = ns_dir_claim(x, dp);
	if (rv == 0)
		dp->r.flags &= ~(uint32_t)NS_INODE_IMPLICIT;
	return rv;
}
