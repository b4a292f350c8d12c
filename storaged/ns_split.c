/*
 * Splitting: the next names of a directory, or of a segment of it, move into
 * another segment, which grows by them. To everybody else it is a rename of
 * each into a hidden directory, in one record; only the times are kept.
 *
 * Whoever pins a directory has found which of its names are where: a split
 * waits for them, and they for it.
 */
#include "storaged/ns_impl.h"

#include <errno.h>

enum {
	NS_SPLIT_NAMES = 512,   /* in one command */
	NS_SPLIT_SEGMENTS = 1024, /* of one directory */
};

struct ns_split {
	struct ns_inode *sp;     /* loses the names */
	struct ns_inode *tp;     /* gets them */
	struct ns_inode *dp;     /* the directory of both; may be sp */
	bool fresh;              /* tp was none before */
	struct wire_bytes first; /* of tp */
	struct wire_bytes from;  /* where to begin, inclusive */
	struct wire_bytes limit; /* where sp's names end; empty: nowhere */
	struct wire_bytes *names;
	unsigned n;              /* of those */
	unsigned moved;
	struct wire_bytes end;   /* of tp, once they moved */
};

/* --- who takes part --- */

static bool ns_split_is_segment(const struct ns_inode *ip)
{
	return ip->r.flags & NS_INODE_SEGMENT;
}

static int ns_split_source(struct ns_ctx *x, const struct rpc_dir_split *m,
			   struct ns_split *v)
{
	struct ns_row_map map = { .v = 0 };
	struct wire_reader r;
	uint64_t dir;
	uint32_t n;
	int rv, rv2;

	if (ns_is_far(x, m->dir))
		return RPC_STATUS_INVAL;
	rv = ns_dir_get(x, m->dir, &v->sp);
	if (rv == 0)
		rv = ns_dir_claim(x, v->sp);
	if (rv != 0)
		return rv;
	v->dp = v->sp;
	dir = ns_split_is_segment(v->sp) ? v->sp->r.parent : m->dir;
	rv = dir == m->dir ? 0 : ns_dir_get(x, dir, &v->dp);
	rv2 = ns_map_get(x, dir, RPC_LOCK_ALL, &map);
	if (rv != 0 || (rv2 != 0 && rv2 != -ENOENT))
		return rv != 0 ? rv : rv2;
	r = wire_vec_reader(map.segments, &n);
	return n >= NS_SPLIT_SEGMENTS || r.err != 0 ? RPC_STATUS_TOO_MANY : 0;
}

static int ns_split_target(struct ns_ctx *x, const struct rpc_dir_split *m,
			   struct ns_split *v)
{
	int rv = ns_inode_hold(x, m->segment, RPC_LOCK_ALL, &v->tp);

	if (m->segment == 0 || m->segment == m->dir)
		return RPC_STATUS_INVAL;
	if (rv == RPC_STATUS_STALE) {
		v->fresh = true;
		rv = ns_segment_new(x, m->segment, v->sp, &v->tp);
		v->tp->r.parent = v->dp->ino;
		return rv;
	}
	if (rv != 0)
		return rv;
	if (!ns_split_is_segment(v->tp) || v->tp->r.parent != v->dp->ino)
		return RPC_STATUS_INVAL;
	return ns_dir_claim(x, v->tp);
}

/* Where the names begin, and where they end at the latest. */
static int ns_split_bounds(struct ns_ctx *x, const struct rpc_dir_split *m,
			   struct ns_split *v)
{
	struct ns_row_map map;
	struct ns_range g;
	int rv;

	v->from = v->fresh ? m->from : v->tp->r.target;
	v->first = v->fresh ? v->from : v->tp->r.name;
	if (ns_split_is_segment(v->sp)) {
		if (v->fresh)
			v->first = v->from = v->sp->r.name;
		v->limit = v->sp->r.target;
		return wire_bytes_eq(v->from, v->sp->r.name)
			       ? 0
			       : RPC_STATUS_INVAL;
	}
	rv = ns_map_get(x, v->dp->ino, RPC_LOCK_ALL, &map);
	if (rv == 0)
		rv = ns_map_seek(map.segments, v->from, &g);
	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	v->limit = g.first;
	return wire_bytes_cmp(v->from, g.first) <= 0 ? 0 : RPC_STATUS_INVAL;
}

/* --- which names --- */

static struct wire_bytes ns_split_bare(struct wire_bytes row_name)
{
	row_name.len -= ns_row_is_dir(row_name);
	return row_name;
}

/* Up to max of them and the one behind; the empty component stays. */
static int ns_split_names(struct ns_ctx *x, struct ns_split *v, unsigned max)
{
	struct wire_bytes key, value, name;
	struct ns_key from, to;
	int rv = 0;

	v->names = ns_alloc(x, (max + 1) * sizeof(*v->names));
	if (v->names == NULL)
		return -ENOMEM;
	ns_key_id(&to, x->shard, NS_T_DENT, v->sp->ino);
	from = to;
	ns_key_end(&to);
	ns_key_bytes(&from, v->from);
	if (v->from.len == 0)
		ns_key_u8(&from, 1);
	while (v->n <= max) {
		rv = rows_first(x->t, ns_key_get(&from), ns_key_get(&to), &key,
				&value);
		if (rv != 0)
			break;
		name = ns_copy(x, wire_bytes(key.p + NS_KEY_REST + 8,
					     key.len - NS_KEY_REST - 8));
		if (name.p == NULL)
			return -ENOMEM;
		if (v->limit.len > 0 && wire_bytes_cmp(name, v->limit) >= 0)
			break;
		from.len = 0;
		ns_key_bytes(&from, key);
		ns_key_u8(&from, 0);
		if (name.len > 1 || name.p[0] != '/')
			v->names[v->n++] = name;
	}
	return rv == -ENOENT ? 0 : rv;
}

/* A new one begins where no pair of rows is parted, if that is not given. */
static void ns_split_first(struct ns_split *v)
{
	size_t i = 1;

	if (v->first.len > 0 || v->n == 0)
		return;
	v->first = ns_split_bare(v->names[0]);
	while (i < v->first.len && v->first.p[i] >= '/')
		i++;
	v->first.len = i;
}

static bool ns_split_fits(const struct ns_split *v, struct wire_bytes end)
{
	return ns_range_closed(v->first, end) &&
	       (!ns_split_is_segment(v->sp) ||
		ns_range_closed(end, v->limit));
}

/* The shortest bound between names i - 1 and i. */
static bool ns_split_at(struct ns_split *v, unsigned i)
{
	struct wire_bytes next = ns_split_bare(v->names[i]), end = next;

	for (end.len = 1; end.len <= next.len; end.len++)
		if (wire_bytes_cmp(end, v->names[i - 1]) > 0 &&
		    ns_split_fits(v, end)) {
			v->end = end;
			v->moved = i;
			return true;
		}
	return false;
}

/* As many as may go: all but the last one, or all up to the next segment. */
static void ns_split_choose(struct ns_split *v, unsigned max)
{
	unsigned i = v->n;

	if (v->n <= max && v->n > 0 && v->limit.len > 0 &&
	    !ns_split_is_segment(v->sp) && ns_split_fits(v, v->limit)) {
		v->end = v->limit;
		v->moved = v->n;
		return;
	}
	while (i-- > 1)
		if (ns_split_at(v, i))
			return;
}

/* --- moving --- */

static int ns_split_move(struct ns_ctx *x, struct ns_split *v,
			 struct wire_bytes name)
{
	uint64_t from = v->sp->ino, to = v->tp->ino;
	struct ns_row_dent d;
	struct ns_inode *ip;
	struct ns_key k;
	int rv2, rv = ns_dent_get(x, from, name, &d);

	if (rv > 0)
		return -EIO;
	rv2 = 0;
	if (v->tp->far) {
		struct ns_row_dent none;

		ns_key_dent(&k, ino_shard(to), to, name);
		rv2 = ns_far_dent(x, ns_key_get(&k), RPC_LOCK_ALL, &none);
	}
	if (rv == 0)
		rv = ns_inode_of_dent(x, &d, &ip);
	if (rv != 0 || (rv2 != 0 && rv2 != -ENOENT))
		return rv != 0 ? rv : rv2;
	rv = ns_dir_leave(x, v->sp, name, ip);
	if (rv == 0)
		rv = ns_dir_enter(x, v->tp, name, ip);
	return rv != 0 ? rv : ns_link_move(x, ip, from, name, to, name);
}

static int ns_split_apply(struct ns_ctx *x, struct ns_split *v)
{
	struct ns_range t = { v->tp->ino, v->first, v->end };
	struct ns_range s = { v->sp->ino, v->end, v->limit };
	int all = 0, rv;

	v->tp->r.name = v->first;
	v->tp->r.target = v->end;
	rv = ns_segment_put(x, v->tp);
	for (unsigned i = 0; rv == 0 && i < v->moved; i++) {
		rv = ns_split_move(x, v, v->names[i]);
		if (rv == -EAGAIN) { /* go on: note all that is missing */
			all = rv;
			rv = 0;
		}
	}
	if (rv == 0)
		rv = all;
	if (rv == 0)
		rv = ns_map_put(x, v->dp, &t, v->fresh);
	if (rv != 0 || !ns_split_is_segment(v->sp))
		return rv;
	v->sp->r.name = v->end;
	rv = ns_segment_put(x, v->sp);
	return rv != 0 ? rv : ns_map_put(x, v->dp, &s, 0);
}

/* --- the messages --- */

int ns_do_dir_segment(struct ns_ctx *x, const struct rpc_dir_segment *m)
{
	struct rpc_dir_segment_rsp rsp;
	int rv = ns_next_ino(x, &rsp.segment);

	(void)m;
	return rv != 0 ? rv : NS_ANSWER(x, dir_segment_rsp, &rsp);
}

int ns_do_dir_split(struct ns_ctx *x, const struct rpc_dir_split *m)
{
	unsigned max = m->names < NS_SPLIT_NAMES ? m->names : NS_SPLIT_NAMES;
	struct rpc_dir_split_rsp rsp = { 0 };
	struct ns_split v = { .sp = NULL };
	int rv, rv2;

	rv = ns_name_check(m->from);
	if (rv != 0)
		return rv;
	x->quiet = true;
	rv = ns_split_source(x, m, &v);
	if (rv != 0)
		return rv;
	rv = ns_split_target(x, m, &v);
	rv2 = rv == 0 ? ns_split_bounds(x, m, &v) : 0;
	if (rv != 0 || rv2 != 0)
		return rv != 0 ? rv : rv2;
	rv = ns_split_names(x, &v, max);
	if (rv != 0)
		return rv;
	ns_split_first(&v);
	ns_split_choose(&v, max);
	if (v.moved == 0)
		return RPC_STATUS_RANGE;
	rv = ns_split_apply(x, &v);
	if (rv != 0)
		return rv;
	rsp.moved = v.moved;
	rsp.left = v.sp->r.entries;
	return NS_ANSWER(x, dir_split_rsp, &rsp);
}
