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
	NS_SPLIT_NAMES = 1024,  /* in one command: brings 3 rows of each */
	NS_SPLIT_SEGMENTS = 1024, /* of one directory */
	NS_SPLIT_TRIES = 4096,  /* bounds looked at for one command */
};

struct ns_split {
	struct ns_inode *sp;     /* loses the names */
	struct ns_inode *tp;     /* gets them */
	struct ns_inode *dp;     /* the directory of both; may be sp */
	bool fresh;              /* tp was none before */
	struct wire_bytes first; /* of tp, unless it may be chosen */
	struct wire_bytes from;  /* where to begin, inclusive */
	struct wire_bytes limit; /* where sp's names end; empty: nowhere */
	struct wire_bytes *names;
	unsigned n;              /* of those */
	unsigned begin, moved;   /* which of those go */
	struct wire_bytes chosen, end; /* tp's range, once they moved */
};

/* --- who takes part --- */

static bool ns_split_is_segment(const struct ns_inode *ip)
{
	return ip->r.flags & NS_INODE_SEGMENT;
}

/* Is there room for one more? TOO_MANY when not. */
static int ns_split_room(struct ns_ctx *x, const struct ns_split *v)
{
	struct ns_row_map map;
	struct wire_reader r;
	uint32_t n;
	int rv = ns_map_get(x, v->dp->ino, RPC_LOCK_ALL, &map);

	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	r = wire_vec_reader(map.segments, &n);
	if (r.err != 0)
		return -EIO;
	return n >= NS_SPLIT_SEGMENTS ? RPC_STATUS_TOO_MANY : 0;
}

static int ns_split_source(struct ns_ctx *x, const struct rpc_dir_split *m,
			   struct ns_split *v)
{
	struct ns_row_map map;
	uint64_t dir;
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
	if (rv != 0)
		return rv;
	return rv2 == -ENOENT ? 0 : rv2;
}

static int ns_split_target(struct ns_ctx *x, const struct rpc_dir_split *m,
			   struct ns_split *v)
{
	int rv;

	if (m->segment == 0 || m->segment == m->dir)
		return RPC_STATUS_INVAL;
	rv = ns_inode_hold(x, m->segment, RPC_LOCK_ALL, &v->tp);
	if (rv == RPC_STATUS_STALE) {
		v->fresh = true;
		rv = ns_split_room(x, v);
		if (rv == 0)
			rv = ns_segment_new(x, m->segment, v->sp, &v->tp);
		if (rv == 0)
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
	v->first = v->tp->r.name;
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

static size_t ns_split_same(struct wire_bytes a, struct wire_bytes b)
{
	size_t n = 0;

	while (n < a.len && n < b.len && a.p[n] == b.p[n])
		n++;
	return n;
}

/* Does the segment's range begin where its names have always begun? */
static bool ns_split_is_bound(const struct ns_split *v)
{
	return !v->fresh || ns_split_is_segment(v->sp);
}

/*
 * Where a new segment of names k and up to end begins: as short as may be, but
 * within names that have a byte below the slash in common, `p-` of `p-1` and
 * `p-2`: from `p` on they could never be parted again.
 */
static bool ns_split_first(const struct ns_split *v, unsigned k,
			   struct wire_bytes end, struct wire_bytes *ret)
{
	struct wire_bytes name = ns_split_bare(v->names[k]), tries[3];
	size_t same = ns_split_same(name, end), i = same, n = 1;
	unsigned t = 0;

	if (k == 0 && v->from.len > 0)
		tries[t++] = v->from; /* no gap behind the segment before */
	for (size_t at = 0; at < same; at++)
		if (name.p[at] < '/')
			n = at + 1;
	tries[t++] = wire_bytes(name.p, n < name.len ? n : name.len);
	while (i < name.len &&
	       (name.p[i] >= '/' || (i == same && end.p[same] < '/')))
		i++;
	tries[t++] = wire_bytes(name.p, i);
	for (unsigned at = 0; at < t; at++) {
		struct wire_bytes first = tries[at];

		if (first.len > 0 && ns_range_closed(first, end) &&
		    (k == 0 ? wire_bytes_cmp(first, v->from) >= 0
			    : wire_bytes_cmp(first, v->names[k - 1]) > 0)) {
			*ret = first;
			return true;
		}
	}
	return false;
}

/* Names k to i - 1 go, and the segment ends there. */
static bool ns_split_fits(struct ns_split *v, unsigned k, unsigned i,
			  struct wire_bytes end)
{
	struct wire_bytes first = v->first;

	if (ns_split_is_bound(v) ? !ns_range_closed(first, end)
				 : !ns_split_first(v, k, end, &first))
		return false;
	if (i - k <= v->moved)
		return true;
	v->chosen = first;
	v->end = end;
	v->begin = k;
	v->moved = i - k;
	return true;
}

/*
 * The shortest bound between names i - 1 and i: a longer one parts no pair
 * that this one keeps, and what is left in a segment is closed when both the
 * whole and what goes are.
 */
static bool ns_split_at(struct ns_split *v, unsigned k, unsigned i)
{
	struct wire_bytes end = ns_split_bare(v->names[i]);
	size_t same = ns_split_same(v->names[i - 1], end);

	if (same == end.len)
		return false;
	end.len = same + 1;
	return ns_split_fits(v, k, i, end);
}

/*
 * As many as may go: all but the last one, or all up to the next segment. Where
 * a new one can begin anywhere, names that cannot go along with what comes next
 * stay.
 */
static void ns_split_choose(struct ns_split *v, unsigned max)
{
	unsigned last = ns_split_is_bound(v) ? 1 : v->n, tries = 0;
	bool all = v->n <= max && v->limit.len > 0 &&
		   !ns_split_is_segment(v->sp);

	for (unsigned k = 0; k < last && v->moved < (v->n - k + 1) / 2; k++) {
		unsigned i = v->n;

		if (all && ns_split_fits(v, k, i, v->limit))
			continue;
		while (i-- > k + 1 && tries++ < NS_SPLIT_TRIES)
			if (ns_split_at(v, k, i))
				break;
	}
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
	struct ns_range t = { v->tp->ino, v->chosen, v->end };
	struct ns_range s = { v->sp->ino, v->end, v->limit };
	int all = 0, rv;

	v->tp->r.name = v->chosen;
	v->tp->r.target = v->end;
	rv = ns_segment_put(x, v->tp);
	for (unsigned i = 0; rv == 0 && i < v->moved; i++) {
		rv = ns_split_move(x, v, v->names[v->begin + i]);
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
