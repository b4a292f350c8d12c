/*
 * What the mount asks about one inode or one name (rename: ns_rename.c,
 * attributes by name: ns_xattr.c, bytes: ns_file.c, pages: ns_readdir.c).
 */
#include "storaged/ns_impl.h"

#include <errno.h>

#define NS_PERM 07777u

/* --- reads --- */

/* The name was found in another shard; here is what it led to. */
static int ns_lookup_found(struct ns_ctx *x, const struct rpc_lookup *m)
{
	struct rpc_lookup_rsp rsp = { .kind = m->skip & 255,
				      .shadowed = m->skip >> 8 & 1 };
	struct ns_inode *ip;
	int rv = ns_inode_load(x, m->at, &ip);

	if (rv == RPC_STATUS_STALE || (rv == 0 && ip->r.nlink == 0))
		return ns_elsewhere(x, ino_shard(m->dir), 0, 0);
	if (rv != 0)
		return rv;
	ns_attr_of(ip->ino, &ip->r, &rsp.attr);
	return NS_ANSWER(x, lookup_rsp, &rsp);
}

int ns_do_lookup(struct ns_ctx *x, const struct rpc_lookup *m)
{
	struct wire_bytes row_name;
	struct rpc_lookup_rsp rsp;
	struct ns_row_dent d;
	struct ns_inode *ip;
	struct ns_pair p;
	uint64_t dir;
	int rv, rv2;

	rv = ns_segment_at(x, m->dir, m->at, m->name, &dir);
	if (rv != 0)
		return rv;
	if (dir == 0)
		return ns_lookup_found(x, m);
	rv = ns_pair_get(x, &dir, m->name, NS_PAIR_GO, &p);
	if (rv == RPC_STATUS_ELSEWHERE)
		return rv;
	rv2 = ns_dir_get(x, dir, &ip); /* even if: one load for both */
	/* its own name may lead to another one by now: to be looked up again */
	if (rv2 == RPC_STATUS_NOENT && dir == m->dir)
		rv2 = RPC_STATUS_STALE;
	if (rv != 0 || rv2 != 0)
		return rv2 != 0 ? rv2 : rv;
	rv = ns_pair_pick(x, &p, m->how, &d, &row_name);
	if (rv != 0)
		return rv;
	rsp.kind = ns_row_is_dir(row_name) ? RPC_NAME_DIR : RPC_NAME_FILE;
	rsp.shadowed = p.has_file && p.has_dir;
	if (ns_is_far(x, d.ino))
		return ns_elsewhere_ino(x, d.ino, rsp.kind +
						  (rsp.shadowed ? 256u : 0));
	rv = ns_inode_of_dent(x, &d, &ip);
	if (rv != 0)
		return rv;
	ns_attr_of(ip->ino, &ip->r, &rsp.attr);
	return NS_ANSWER(x, lookup_rsp, &rsp);
}

int ns_do_getattr(struct ns_ctx *x, const struct rpc_getattr *m)
{
	struct ns_inode *ip;
	int rv = ns_inode_get(x, m->ino, &ip);

	return rv != 0 ? rv : ns_answer_attr(x, ip);
}

/* STALE unless the name last looked up still leads to the inode. */
static int ns_open_name(struct ns_ctx *x, const struct rpc_open *m)
{
	uint64_t dir;
	struct wire_bytes row_name;
	struct ns_row_dent d;
	struct ns_pair p;
	int rv = ns_segment_at(x, m->parent, m->at, m->name, &dir);

	if (rv == 0 && dir == 0)
		rv = ns_elsewhere(x, ino_shard(m->parent), 0, 0);
	if (rv == 0)
		rv = ns_pair_get(x, &dir, m->name, NS_PAIR_GO, &p);
	if (rv == RPC_STATUS_ELSEWHERE)
		return rv;
	if (rv == 0)
		rv = ns_pair_pick(x, &p, m->how, &d, &row_name);
	if (rv != 0)
		return rv > 0 ? RPC_STATUS_STALE : rv;
	return d.ino == m->ino ? 0 : RPC_STATUS_STALE;
}

/* With its bytes, when they are few. */
static int ns_answer_open(struct ns_ctx *x, const struct rpc_open *m,
			  struct ns_inode *ip)
{
	struct rpc_read_rsp rsp = { 0 };
	struct wire_vec vec;
	int rv = 0;

	wire_vec_init(&vec);
	if (S_ISREG(ip->r.mode) && ip->r.size <= m->want &&
	    ip->r.data_version != m->version)
		rv = ns_file_read(x, ip, 0, ip->r.size, false, &vec,
				  &rsp.covered);
	if (rv == 0) {
		ns_attr_of(ip->ino, &ip->r, &rsp.attr);
		rsp.extents = wire_vec_bytes(&vec);
		rv = NS_ANSWER(x, read_rsp, &rsp);
	}
	wire_vec_fini(&vec);
	return rv;
}

/* at: the name was looked at in its shard, then the open comes here. */
int ns_do_open(struct ns_ctx *x, const struct rpc_open *m)
{
	bool name = !m->held && m->parent != 0 && m->at != m->ino;
	struct ns_inode *ip;
	int rv, rv2;

	if (name && m->at == 0 && ns_is_far(x, m->parent))
		return ns_elsewhere(x, ino_shard(m->parent), 0, 0);
	if (ns_is_far(x, m->ino)) {
		rv = name ? ns_open_name(x, m) : 0;
		return rv != 0 ? rv : ns_elsewhere_ino(x, m->ino, 0);
	}
	rv2 = ns_session_check(x, m->session);
	rv = ns_inode_get(x, m->ino, &ip); /* one load for both */
	if (rv2 != 0 || rv != 0)
		return rv2 != 0 ? rv2 : rv;
	if (name)
		rv = ns_open_name(x, m);
	return rv != 0 ? rv : ns_answer_open(x, m, ip);
}

int ns_do_readlink(struct ns_ctx *x, const struct rpc_readlink *m)
{
	struct rpc_readlink_rsp rsp;
	struct ns_inode *ip;
	int rv = ns_inode_get(x, m->ino, &ip);

	if (rv != 0)
		return rv;
	if (!S_ISLNK(ip->r.mode))
		return RPC_STATUS_INVAL;
	rsp.target = ip->r.target;
	return NS_ANSWER(x, readlink_rsp, &rsp);
}

/* A bucket's root has no parent here: 0. */
int ns_do_parent(struct ns_ctx *x, const struct rpc_parent *m)
{
	struct rpc_parent_rsp rsp = { .parent = m->at };
	struct ns_inode *ip;
	int rv = ns_inode_get(x, m->at != 0 ? m->at : m->ino, &ip);

	/* the parent went meanwhile: the inode has another one, if it is */
	if (rv == RPC_STATUS_STALE && m->at != 0)
		return ns_elsewhere(x, ino_shard(m->ino), 0, 0);
	if (rv != 0)
		return rv;
	if (ip->r.flags & NS_INODE_SEGMENT)
		rsp.parent = ip->r.parent;
	if (m->at != 0)
		return NS_ANSWER(x, parent_rsp, &rsp);
	rsp.parent = ip->r.nlink > 0 ? ip->r.parent : 0;
	rsp.name = ip->r.name;
	if (rsp.parent != 0) { /* it may be a segment */
		if (ns_is_far(x, rsp.parent))
			return ns_elsewhere_ino(x, rsp.parent, 0);
		rv = ns_inode_load(x, rsp.parent, &ip);
		if (rv != 0)
			return rv > 0 ? ns_lost(x, rsp.parent) : rv;
		if (ip->r.flags & NS_INODE_SEGMENT)
			rsp.parent = ip->r.parent;
	}
	if (ns_row_is_dir(rsp.name))
		rsp.name.len--;
	return NS_ANSWER(x, parent_rsp, &rsp);
}

/* The host adds the space of its disk; here are the files of the bucket. */
int ns_do_statfs(struct ns_ctx *x, const struct rpc_statfs *m)
{
	struct rpc_statfs_rsp rsp = { 0 };
	struct ns_row_usage u = { .files = 0 }; /* a removed bucket has none */
	struct ns_inode *ip;
	struct ns_key k;
	int rv = ns_inode_get(x, m->ino, &ip);

	if (rv != 0)
		return rv;
	ns_key_id(&k, x->shard, NS_T_USAGE, ip->r.project);
	rv = ns_get_usage(x, ns_key_get(&k), &u);
	if (rv != 0 && rv != -ENOENT)
		return rv;
	rsp.files = u.files + u.dirs;
	return NS_ANSWER(x, statfs_rsp, &rsp);
}

/* --- setattr --- */

static void ns_set_owner_mode(struct ns_inode *ip, const struct rpc_setattr *m)
{
	const uint32_t any = RPC_SET_MODE | RPC_SET_UID | RPC_SET_GID;

	if (m->valid & RPC_SET_KILL_SUID && !ns_is_dir(ip))
		ns_inode_kill_suid(ip);
	if (m->valid & RPC_SET_UID)
		ip->r.uid = m->uid;
	if (m->valid & RPC_SET_GID)
		ip->r.gid = m->gid;
	if (m->valid & RPC_SET_MODE)
		ip->r.mode = (ip->r.mode & S_IFMT) | (m->mode & NS_PERM);
	if (m->valid & any && ns_is_dir(ip)) {
		ip->r.flags &= ~(uint32_t)NS_INODE_IMPLICIT;
		ip->dent_dirty = true;
	}
}

static void ns_set_times(struct ns_ctx *x, struct ns_inode *ip,
			 const struct rpc_setattr *m)
{
	const uint32_t mtime = RPC_SET_MTIME | RPC_SET_MTIME_NOW;
	int64_t now = x->cmd->now;

	if (m->valid & RPC_SET_ATIME_NOW)
		ip->r.atime = now;
	else if (m->valid & RPC_SET_ATIME)
		ip->r.atime = m->atime;
	if (m->valid & RPC_SET_MTIME_NOW)
		ip->r.mtime = now;
	else if (m->valid & RPC_SET_MTIME)
		ip->r.mtime = m->mtime;
	else if (m->valid & RPC_SET_SIZE)
		ip->r.mtime = now;
	if (m->valid & RPC_SET_CTIME)
		ip->r.ctime = m->ctime;
	if (m->valid & (mtime | RPC_SET_SIZE))
		ip->dent_dirty = true;
}

int ns_do_setattr(struct ns_ctx *x, const struct rpc_setattr *m)
{
	const uint32_t any = RPC_SET_MODE | RPC_SET_UID | RPC_SET_GID;
	struct ns_inode *ip;
	int rv = ns_inode_get(x, m->ino, &ip);

	if (rv != 0)
		return rv;
	if (m->valid & RPC_SET_SIZE && !S_ISREG(ip->r.mode))
		return ns_is_dir(ip) ? RPC_STATUS_ISDIR : RPC_STATUS_INVAL;
	ns_inode_touch(x, ip);
	if (m->valid & RPC_SET_SIZE) {
		rv = ns_inode_truncate(x, ip, m->size);
		if (rv != 0)
			return rv;
	}
	ns_set_owner_mode(ip, m);
	ns_set_times(x, ip, m);
	if (ip->r.flags & NS_INODE_SPLIT && m->valid & any)
		rv = ns_segment_inherit(x, ip);
	if (rv != 0)
		return rv;
	return ns_answer_attr(x, ip);
}

/* --- mknod --- */

/* dp: NULL when it is not known. */
static int ns_mknod_answer(struct ns_ctx *x, const struct ns_inode *ip,
			   const struct ns_inode *dp, bool created)
{
	struct rpc_mknod_rsp rsp = { .created = created };

	ns_attr_of(ip->ino, &ip->r, &rsp.attr);
	if (dp != NULL)
		ns_dir_attr(dp, &rsp.dir);
	return NS_ANSWER(x, mknod_rsp, &rsp);
}

static int ns_mknod_check(const struct rpc_mknod *m)
{
	if (S_ISLNK(m->mode))
		return m->target.len == 0	      ? RPC_STATUS_INVAL
		       : m->target.len > 4096 ? RPC_STATUS_NAMETOOLONG
					      : 0;
	if (m->target.len > 0)
		return RPC_STATUS_INVAL;
	return S_ISREG(m->mode) || S_ISDIR(m->mode) || S_ISFIFO(m->mode) ||
			       S_ISSOCK(m->mode) || S_ISCHR(m->mode) ||
			       S_ISBLK(m->mode)
		       ? 0
		       : RPC_STATUS_INVAL;
}

/* The name is taken: open(O_CREAT) without O_EXCL wants what is there. */
static int ns_mknod_existing(struct ns_ctx *x, const struct rpc_mknod *m,
			     const struct ns_inode *dp,
			     const struct ns_pair *p)
{
	struct wire_bytes row_name;
	struct ns_row_dent d;
	struct ns_inode *ip;
	int rv;

	if (m->flags & RPC_MKNOD_EXCL || !S_ISREG(m->mode))
		return RPC_STATUS_EXIST;
	rv = ns_pair_pick(x, p, m->how, &d, &row_name);
	if (rv != 0)
		return rv == RPC_STATUS_NOENT ? RPC_STATUS_EXIST : rv;
	if (ns_row_is_dir(row_name))
		return RPC_STATUS_ISDIR;
	if (ns_is_far(x, d.ino)) /* the open is to be known there */
		return ns_elsewhere_ino(x, d.ino, 0);
	rv = ns_inode_of_dent(x, &d, &ip);
	return rv != 0 ? rv : ns_mknod_answer(x, ip, dp, false);
}

/* What the name led to is an inode of this shard. */
static int ns_mknod_found(struct ns_ctx *x, const struct rpc_mknod *m)
{
	struct ns_inode *ip;
	int rv = ns_inode_load(x, m->at, &ip);

	if (rv == RPC_STATUS_STALE || (rv == 0 && ip->r.nlink == 0))
		return ns_elsewhere(x, ino_shard(m->dir), 0, 0);
	return rv != 0 ? rv : ns_mknod_answer(x, ip, NULL, false);
}

static int ns_mknod_make(struct ns_ctx *x, const struct rpc_mknod *m,
			 struct ns_inode *dp)
{
	bool dir = S_ISDIR(m->mode);
	struct wire_bytes row_name;
	struct ns_inode *ip;
	int rv;

	row_name = ns_row_name(x, m->name, dir);
	if (row_name.p == NULL)
		return -ENOMEM;
	rv = ns_inode_new(x, 0, m->mode & (S_IFMT | NS_PERM), dp->r.project,
			  &ip);
	if (rv != 0)
		return rv;
	ip->r.uid = m->uid;
	ip->r.gid = m->gid;
	ip->r.target = m->target;
	if (S_ISCHR(m->mode) || S_ISBLK(m->mode))
		ip->r.rdev = m->rdev;
	if (dp->r.mode & S_ISGID) {
		ip->r.gid = dp->r.gid;
		if (dir)
			ip->r.mode |= S_ISGID;
	}
	rv = ns_entry_add(x, dp, row_name, ip);
	return rv != 0 ? rv : ns_mknod_answer(x, ip, dp, true);
}

int ns_do_mknod(struct ns_ctx *x, const struct rpc_mknod *m)
{
	struct ns_inode *dp;
	struct ns_pair p;
	uint64_t dir;
	int rv = 0, rv2;

	if (m->flags & RPC_MKNOD_OPEN)
		rv = ns_session_check(x, m->session);
	if (rv == 0)
		rv = ns_segment_at(x, m->dir, m->at, m->name, &dir);
	if (rv != 0)
		return rv;
	if (dir == 0)
		return ns_mknod_found(x, m);
	rv2 = ns_pair_get(x, &dir, m->name, NS_PAIR_GO, &p);
	if (rv2 == RPC_STATUS_ELSEWHERE)
		return rv2;
	rv = ns_dir_get(x, dir, &dp);
	if (rv != 0 || rv2 != 0)
		return rv != 0 ? rv : rv2;
	rv = ns_mknod_check(m);
	if (rv != 0)
		return rv;
	if (ns_pair_free(&p, m->how, S_ISDIR(m->mode)) != 0)
		return ns_mknod_existing(x, m, dp, &p);
	rv = S_ISDIR(m->mode) ? ns_place(x, m->dir, 0, 0) : 0;
	return rv != 0 ? rv : ns_mknod_make(x, m, dp);
}

/* --- close, unlink, link --- */

int ns_do_close(struct ns_ctx *x, const struct rpc_close *m)
{
	struct ns_inode *ip;
	struct ns_key k;
	int rv;

	if (!(x->cmd->decisions & NS_DECIDE_LAST))
		return ns_answer_empty(x);
	rv = ns_inode_load(x, m->ino, &ip);
	if (rv != 0)
		return rv < 0 ? rv : ns_answer_empty(x);
	if (ip->r.flags & NS_INODE_OPEN) {
		ip->r.flags &= ~(uint32_t)NS_INODE_OPEN;
		ip->dirty = true;
		rv = rows_del(x->t, ns_key_id(&k, x->shard, NS_T_OPEN,
					      ip->ino));
		if (rv == 0)
			rv = ns_inode_purge(x, ip);
		if (rv != 0)
			return rv;
	}
	return ns_answer_empty(x);
}

static int ns_rmdir(struct ns_ctx *x, struct ns_inode *ip)
{
	bool empty;
	int rv = ns_dir_empty(x, ip, &empty);

	if (rv != 0)
		return rv;
	return empty ? ns_dir_drop_marker(x, ip) : RPC_STATUS_NOTEMPTY;
}

int ns_do_unlink(struct ns_ctx *x, const struct rpc_unlink *m)
{
	struct rpc_unlink_rsp rsp = { 0 };
	struct wire_bytes row_name;
	struct ns_inode *dp, *ip;
	struct ns_row_dent d;
	struct ns_pair p;
	uint64_t dir;
	int rv, rv2;

	rv = ns_segment_at(x, m->dir, m->at, m->name, &dir);
	if (rv != 0)
		return rv;
	if (dir == 0) /* the segment went */
		return ns_elsewhere(x, ino_shard(m->dir), 0, 0);
	rv2 = ns_pair_get(x, &dir, m->name, NS_PAIR_GO, &p);
	if (rv2 == RPC_STATUS_ELSEWHERE)
		return rv2;
	rv = ns_dir_get(x, dir, &dp);
	if (rv != 0 || rv2 != 0)
		return rv != 0 ? rv : rv2;
	rv = ns_pair_pick(x, &p, m->how, &d, &row_name);
	if (rv != 0)
		return rv;
	if (!m->rmdir != !ns_row_is_dir(row_name))
		return m->rmdir ? RPC_STATUS_NOTDIR : RPC_STATUS_ISDIR;
	rv = ns_inode_of_dent(x, &d, &ip);
	if (rv == 0 && m->rmdir)
		rv = ns_rmdir(x, ip);
	if (rv == 0)
		rv = ns_entry_remove(x, dp, row_name, ip, true);
	if (rv == 0)
		rv = ns_dir_settle(x, dp);
	if (rv != 0)
		return rv;
	rsp.ino = ip->ino;
	rsp.nlink = ip->r.nlink;
	ns_dir_attr(dp, &rsp.dir);
	return NS_ANSWER(x, unlink_rsp, &rsp);
}

int ns_do_link(struct ns_ctx *x, const struct rpc_link *m)
{
	struct wire_bytes row_name;
	struct ns_inode *dp, *ip;
	uint64_t dir = m->dir;
	struct ns_pair p;
	int rv, rv2;

	rv2 = ns_pair_get(x, &dir, m->name, NS_PAIR_STAY, &p);
	rv = ns_dir_get(x, dir, &dp);
	if (rv != 0 || rv2 != 0)
		return rv != 0 ? rv : rv2;
	rv = ns_inode_get(x, m->ino, &ip);
	if (rv != 0)
		return rv;
	if (ns_is_dir(ip))
		return RPC_STATUS_PERM;
	if (ip->r.nlink == 0)
		return RPC_STATUS_NOENT;
	if (ip->r.project != dp->r.project)
		return RPC_STATUS_XDEV;
	rv = ns_pair_free(&p, RPC_NAME_ANY, false);
	if (rv != 0)
		return rv;
	row_name = ns_row_name(x, m->name, false);
	if (row_name.p == NULL)
		return -ENOMEM;
	rv = ns_entry_add(x, dp, row_name, ip);
	return rv != 0 ? rv : ns_answer_attr(x, ip);
}
