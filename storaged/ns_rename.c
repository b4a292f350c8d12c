/*
 * Rename within a bucket: one record, whatever is moved, replaced or
 * exchanged. It is run in the shard of the old directory.
 */
#include "storaged/ns_impl.h"

#include <errno.h>

/* Everything rename knows before it changes anything. */
struct ns_move {
	struct ns_inode *dp, *dp2;      /* old and new directory */
	struct ns_pair from, to;
	struct ns_row_dent d;           /* the entry that moves */
	struct wire_bytes name, name2;  /* row names */
	struct ns_inode *ip;            /* what moves */
	struct ns_inode *old; /* what loses its name, or gets the old one */
};

static int ns_move_load(struct ns_ctx *x, const struct rpc_rename *m,
			struct ns_move *v)
{
	uint64_t dir, dir2 = m->dir2;
	int rv, rv2, rv3, rv4;

	rv = ns_segment_at(x, m->dir, m->at, m->name, &dir);
	if (rv == 0 && dir == 0) /* the segment went */
		rv = ns_elsewhere(x, ino_shard(m->dir), 0, 0);
	if (rv != 0)
		return rv;
	rv3 = ns_pair_get(x, &dir, m->name, NS_PAIR_GO, &v->from);
	if (rv3 == RPC_STATUS_ELSEWHERE)
		return rv3;
	rv4 = ns_pair_get(x, &dir2, m->name2, NS_PAIR_STAY, &v->to);
	rv = ns_dir_get(x, dir, &v->dp);
	rv2 = ns_dir_get(x, dir2, &v->dp2);
	if (rv != 0 || rv2 != 0)
		return rv != 0 ? rv : rv2;
	if (rv3 != 0 || rv4 != 0)
		return rv3 != 0 ? rv3 : rv4;
	if (v->dp->r.project != v->dp2->r.project)
		return RPC_STATUS_XDEV;
	rv = ns_pair_pick(x, &v->from, m->how, &v->d, &v->name);
	if (rv != 0)
		return rv;
	v->name2 = ns_row_name(x, m->name2, ns_row_is_dir(v->name));
	if (v->name2.p == NULL)
		return -ENOMEM;
	return ns_inode_of_dent(x, &v->d, &v->ip);
}

/* A directory must not go below itself: walks from p up to the root. */
static int ns_move_loop(struct ns_ctx *x, const struct ns_move *v,
			const struct ns_inode *ip, struct ns_inode *p)
{
	int rv;

	if (!ns_is_dir(ip) || v->dp == v->dp2)
		return 0;
	if (p == ip)
		return RPC_STATUS_INVAL;
	rv = ns_dir_claim(x, ip);
	if (rv != 0)
		return rv;
	/* without directories it is above none */
	if (ip->r.nlink == 2 && !(ip->r.flags & NS_INODE_SPLIT))
		return 0;
	for (int depth = 0; !(p->r.flags & NS_INODE_ROOT); depth++) {
		uint64_t up;

		if (depth > NS_DEPTH_MAX)
			return RPC_STATUS_LOOP;
		up = p->r.parent;
		rv = ns_dir_hold(x, up, RPC_LOCK_UP, &p);
		if (rv != 0)
			return rv > 0 ? ns_lost(x, up) : rv;
		if (p == ip)
			return RPC_STATUS_INVAL;
	}
	return 0;
}

/* The entry in the way, if it may be replaced. */
static int ns_move_target(struct ns_ctx *x, const struct rpc_rename *m,
			  struct ns_move *v)
{
	bool dir = ns_is_dir(v->ip);
	bool empty;
	int rv;

	/* dir onto file, file onto dir: unless asked for by its alias */
	if (ns_pair_free(&v->to, m->how2, dir) == 0)
		return 0;
	if (m->flags & RPC_RENAME_NOREPLACE)
		return RPC_STATUS_EXIST;
	if (dir && !v->to.has_dir)
		return RPC_STATUS_NOTDIR;
	if (!dir && v->to.has_dir && m->how2 != RPC_NAME_FILE)
		return RPC_STATUS_ISDIR;
	rv = ns_inode_of_dent(x, dir ? &v->to.dir : &v->to.file, &v->old);
	if (rv != 0 || !dir || v->old == v->ip)
		return rv;
	rv = ns_dir_empty(x, v->old, &empty);
	if (rv != 0)
		return rv;
	return empty ? 0 : RPC_STATUS_NOTEMPTY;
}

static int ns_move_apply(struct ns_ctx *x, struct ns_move *v)
{
	int rv = 0;

	if (v->old != NULL && ns_is_dir(v->old))
		rv = ns_dir_drop_marker(x, v->old);
	if (rv == 0 && v->old != NULL)
		rv = ns_entry_remove(x, v->dp2, v->name2, v->old, true);
	if (rv == 0)
		rv = ns_dir_leave(x, v->dp, v->name, v->ip);
	if (rv == 0)
		rv = ns_dir_enter(x, v->dp2, v->name2, v->ip);
	if (rv == 0)
		rv = ns_link_move(x, v->ip, v->dp->ino, v->name, v->dp2->ino,
				  v->name2);
	return rv != 0 ? rv : ns_dir_settle(x, v->dp);
}

/* --- exchange --- */

/* May a name that was asked for in this way become the other kind? */
static int ns_swap_free(struct ns_pair *p, uint8_t how, bool dir)
{
	*(dir ? &p->has_file : &p->has_dir) = false; /* this one leaves */
	if (how == (dir ? RPC_NAME_FILE : RPC_NAME_DIR))
		return RPC_STATUS_INVAL;
	return ns_pair_free(p, how, dir);
}

/*
 * What is under the other name; v->name2 becomes its row there. When a file
 * and a directory change places, each must find its new row free.
 */
static int ns_swap_target(struct ns_ctx *x, const struct rpc_rename *m,
			  struct ns_move *v)
{
	struct ns_row_dent d;
	int rv = ns_pair_pick(x, &v->to, m->how2, &d, &v->name2);

	if (rv == 0)
		rv = ns_inode_of_dent(x, &d, &v->old);
	if (rv != 0 || ns_is_dir(v->old) == ns_is_dir(v->ip))
		return rv;
	rv = ns_swap_free(&v->from, m->how, ns_is_dir(v->old));
	return rv != 0 ? rv : ns_swap_free(&v->to, m->how2, ns_is_dir(v->ip));
}

static int ns_swap_apply(struct ns_ctx *x, const struct rpc_rename *m,
			 struct ns_move *v)
{
	struct wire_bytes name = ns_row_name(x, m->name, ns_is_dir(v->old));
	struct wire_bytes name2 = ns_row_name(x, m->name2, ns_is_dir(v->ip));
	int rv;

	if (name.p == NULL || name2.p == NULL)
		return -ENOMEM;
	rv = ns_dir_leave(x, v->dp, v->name, v->ip);
	if (rv == 0)
		rv = ns_dir_leave(x, v->dp2, v->name2, v->old);
	if (rv == 0)
		rv = ns_dir_enter(x, v->dp2, name2, v->ip);
	if (rv == 0)
		rv = ns_dir_enter(x, v->dp, name, v->old);
	if (rv == 0)
		rv = ns_link_move(x, v->ip, v->dp->ino, v->name, v->dp2->ino,
				  name2);
	if (rv == 0)
		rv = ns_link_move(x, v->old, v->dp2->ino, v->name2, v->dp->ino,
				  name);
	return rv;
}

/* --- the message --- */

static int ns_move_check(struct ns_ctx *x, const struct rpc_rename *m,
			 struct ns_move *v)
{
	int rv = ns_move_loop(x, v, v->ip, v->dp2);

	if (rv != 0)
		return rv;
	if ((m->flags & RPC_RENAME_EXCHANGE) == 0)
		return ns_move_target(x, m, v);
	rv = ns_swap_target(x, m, v);
	return rv != 0 ? rv : ns_move_loop(x, v, v->old, v->dp);
}

int ns_do_rename(struct ns_ctx *x, const struct rpc_rename *m)
{
	const uint32_t known = RPC_RENAME_NOREPLACE | RPC_RENAME_EXCHANGE;
	struct rpc_rename_rsp rsp = { 0 };
	struct ns_move v = { 0 };
	bool same;
	int rv;

	if (m->flags & ~known || m->flags == known)
		return RPC_STATUS_INVAL;
	/* a name of a segment leaves that: its shard */
	if (m->at == 0 && ns_is_far(x, m->dir)) /* see ns_dir_empty() */
		return ns_elsewhere(x, ino_shard(m->dir), 0, 0);
	rv = ns_move_load(x, m, &v);
	if (rv == 0)
		rv = ns_move_check(x, m, &v);
	if (rv != 0)
		return rv;
	same = v.old == v.ip; /* two names of one inode, or the same name */
	if (!same && m->flags & RPC_RENAME_EXCHANGE)
		rv = ns_swap_apply(x, m, &v);
	else if (!same)
		rv = ns_move_apply(x, &v);
	if (rv != 0)
		return rv;
	ns_attr_of(v.ip->ino, &v.ip->r, &rsp.attr);
	ns_dir_attr(v.dp, &rsp.dir);
	ns_dir_attr(v.dp2, &rsp.dir2);
	rsp.replaced = v.old == NULL || same ? 0 : v.old->ino;
	return NS_ANSWER(x, rename_rsp, &rsp);
}
