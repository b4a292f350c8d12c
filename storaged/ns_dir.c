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

int ns_dent_get(struct ns_ctx *x, uint64_t dir, struct wire_bytes row_name,
		struct ns_row_dent *ret)
{
	struct ns_key k;
	int rv;

	rv = ns_get_dent(x, ns_key_dent(&k, x->shard, dir, row_name), ret);
	return rv == -ENOENT ? RPC_STATUS_NOENT : rv;
}

int ns_pair_get(struct ns_ctx *x, uint64_t dir, struct wire_bytes name,
		struct ns_pair *ret)
{
	struct ns_key k;
	int rv, rv2;

	ret->name = name;
	rv = ns_name_check(name);
	if (rv != 0)
		return rv;
	rv = ns_get_dent(x, ns_key_dent(&k, x->shard, dir, name), &ret->file);
	ns_key_u8(&k, '/');
	rv2 = ns_get_dent(x, ns_key_get(&k), &ret->dir);
	ret->has_file = rv == 0;
	ret->has_dir = rv2 == 0;
	if (rv != 0 && rv != -ENOENT)
		return rv;
	return rv2 == -ENOENT ? 0 : rv2;
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

void ns_dir_change(struct ns_ctx *x, struct ns_inode *dp)
{
	ns_inode_touch(x, dp);
	dp->r.mtime = x->cmd->now;
}

/* --- links of an inode --- */

/* A further name: a link row and an entry that says "ask the inode". */
static int ns_link_add(struct ns_ctx *x, struct ns_inode *ip, uint64_t parent,
		       struct wire_bytes row_name)
{
	struct ns_row_link link = { 0 };
	char etag[NS_ETAG_MAX];
	struct ns_row_dent d;
	struct ns_key k;
	int rv;

	if (ip->r.nlink >= NS_LINK_MAX)
		return RPC_STATUS_MLINK;
	ip->r.nlink++;
	ip->dent_dirty = true; /* the first one asks from now on, too */
	ns_key_link(&k, x->shard, ip->ino, parent, row_name);
	rv = ns_put_link(x, ns_key_get(&k), &link);
	if (rv != 0)
		return rv;
	ns_dent_of(ip->ino, &ip->r, &d, etag);
	ns_key_dent(&k, x->shard, parent, row_name);
	return ns_put_dent(x, ns_key_get(&k), &d);
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

static int ns_link_remove(struct ns_ctx *x, struct ns_inode *ip,
			  uint64_t parent, struct wire_bytes row_name)
{
	struct ns_key k;

	ip->r.nlink--;
	ip->dent_dirty = true;
	if (ip->r.nlink == 0)
		return 0;
	if (ns_is_first_name(ip, parent, row_name))
		return ns_link_promote(x, ip);
	ns_key_link(&k, x->shard, ip->ino, parent, row_name);
	return rows_del(x->t, ns_key_get(&k));
}

/* --- entries --- */

static void ns_usage_link(struct ns_ctx *x, const struct ns_inode *ip, int n)
{
	if (ns_is_dir(ip))
		ns_usage_add(x, ip->r.project, 0, 0, n);
	else
		ns_usage_add(x, ip->r.project, n * (int64_t)ip->r.size, n, 0);
}

int ns_entry_add(struct ns_ctx *x, struct ns_inode *dp,
		 struct wire_bytes row_name, struct ns_inode *ip)
{
	int rv = 0;

	if (ip->r.nlink == 0) {
		ip->r.nlink = ns_is_dir(ip) ? 2 : 1;
		ip->r.parent = dp->ino;
		ip->r.name = row_name;
		ip->dirty = ip->dent_dirty = true;
		ns_usage_link(x, ip, 1);
	} else {
		ns_inode_touch(x, ip);
		rv = ns_link_add(x, ip, dp->ino, row_name);
	}
	if (rv != 0)
		return rv;
	dp->r.entries++;
	if (ns_is_dir(ip))
		dp->r.nlink++;
	if (row_name.len == 0)
		dp->r.flags |= NS_INODE_MARKER;
	ns_dir_change(x, dp);
	return 0;
}

int ns_entry_remove(struct ns_ctx *x, struct ns_inode *dp,
		    struct wire_bytes row_name, struct ns_inode *ip, bool open)
{
	struct ns_key k;
	int rv;

	rv = rows_del(x->t, ns_key_dent(&k, x->shard, dp->ino, row_name));
	if (rv != 0)
		return rv;
	dp->r.entries--;
	if (row_name.len == 0)
		dp->r.flags &= ~(uint32_t)NS_INODE_MARKER;
	ns_dir_change(x, dp);
	ns_inode_touch(x, ip);
	if (ns_is_dir(ip)) {
		dp->r.nlink--;
		ip->r.nlink = 0;
	} else {
		rv = ns_link_remove(x, ip, dp->ino, row_name);
	}
	if (rv != 0 || ip->r.nlink > 0)
		return rv;
	ns_usage_link(x, ip, -1);
	return ns_inode_drop(x, ip, open);
}

/* --- empty directories --- */

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
		return rv == RPC_STATUS_NOENT ? -EIO : rv;
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
		return rv == RPC_STATUS_NOENT ? -EIO : rv;
	return ns_entry_remove(x, dp, wire_bytes(NULL, 0), ip, false);
}

/* Bounded by the depth of a key: components are at least a slash. */
int ns_dir_prune(struct ns_ctx *x, struct ns_inode *dp)
{
	while (dp->r.entries == 0 && dp->r.flags & NS_INODE_IMPLICIT) {
		struct ns_inode *up;
		int rv = ns_dir_get(x, dp->r.parent, &up);

		if (rv != 0)
			return rv > 0 ? -EIO : rv;
		rv = ns_entry_remove(x, up, dp->r.name, dp, false);
		if (rv != 0)
			return rv;
		dp = up;
	}
	return 0;
}

void ns_dir_settle(struct ns_inode *dp)
{
	if (dp->r.entries == 0)
		dp->r.flags &= ~(uint32_t)NS_INODE_IMPLICIT;
}
