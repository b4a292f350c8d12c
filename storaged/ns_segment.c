/*
 * Segments of huge directories (docs/decisions/0034-huge-directories.md).
 *
 * A segment is a hidden directory in any shard that holds the names of a range;
 * the map of its directory (row G, in the directory's shard) says which range.
 * Whoever knows a segment knows a directory: entries, locks and steps are those
 * of ns_dir.c. A name that the directory itself has is in no segment, so the
 * map is asked only where an entry is missing.
 */
#include "storaged/ns_impl.h"

#include <errno.h>

/* --- the map --- */

int ns_map_next(struct wire_reader *r, uint32_t *n, struct ns_range *ret)
{
	if (*n == 0)
		return -ENOENT;
	--*n;
	wire_get_u64(r, &ret->ino);
	wire_get_str(r, &ret->first);
	wire_get_str(r, &ret->end);
	return r->err != 0 ? -EIO : 0;
}

int ns_map_seek(struct wire_bytes map, struct wire_bytes name,
		struct ns_range *ret)
{
	struct wire_reader r;
	struct ns_range g;
	uint32_t n;
	int rv;

	r = wire_vec_reader(map, &n);
	do
		rv = ns_map_next(&r, &n, &g);
	while (rv == 0 && wire_bytes_cmp(g.end, name) <= 0);
	if (rv == 0)
		*ret = g;
	return rv;
}

/*
 * The rows `p` and `p/` of a name have others between them, `p-` for one. A
 * range that begins or ends there must have both or none.
 *
 * It ends between them where end has a byte below the slash behind a p that is
 * not below first, and begins there where first has one behind a p whose `p/`
 * is below end. Where the two bounds part decides about all prefixes.
 */
bool ns_range_closed(struct wire_bytes first, struct wire_bytes end)
{
	size_t same = 0, i;

	if (wire_bytes_cmp(first, end) >= 0)
		return false;
	while (same < first.len && first.p[same] == end.p[same])
		same++;
	for (i = same == first.len ? same : same + 1; i < end.len; i++)
		if (end.p[i] < '/')
			return false;
	for (i = same; i < first.len; i++)
		if (first.p[i] < '/' && (i > same || end.p[same] > '/'))
			return false;
	return true;
}

int ns_map_get(struct ns_ctx *x, uint64_t dir, uint8_t mode,
	       struct ns_row_map *ret)
{
	struct ns_key k;

	ns_key_id(&k, ino_shard(dir), NS_T_SEGMENT, dir);
	if (ns_is_far(x, dir))
		return ns_far_map(x, ns_key_get(&k), mode, ret);
	if (ns_is_held(x, ns_key_get(&k), mode))
		return -EAGAIN;
	return ns_get_map(x, ns_key_get(&k), ret);
}

static void ns_map_add(struct wire_vec *v, const struct ns_range *g)
{
	struct wire_writer w = wire_vec_add(v);

	wire_put_u64(&w, &g->ino);
	wire_put_str(&w, &g->first);
	wire_put_str(&w, &g->end);
}

/* The map with g in its place, or without it when g has no end. */
static int ns_map_edit(struct wire_bytes map, const struct ns_range *g,
		       struct wire_vec *out, int *ret_more)
{
	bool put = g->end.len > 0;
	struct wire_reader r;
	struct ns_range old;
	uint32_t n;
	int rv;

	*ret_more = put;
	r = wire_vec_reader(map, &n);
	while ((rv = ns_map_next(&r, &n, &old)) == 0) {
		if (old.ino == g->ino) {
			--*ret_more;
			continue;
		}
		if (put && wire_bytes_cmp(g->first, old.first) < 0) {
			ns_map_add(out, g);
			put = false;
		}
		ns_map_add(out, &old);
	}
	if (put)
		ns_map_add(out, g);
	return rv != -ENOENT ? rv : out->buf.err;
}

/* The inode says whether there is a map, and who hosts the shard knows. */
static void ns_map_tell(struct ns_ctx *x, struct ns_inode *dp, bool split)
{
	unsigned i = x->a->n_maps;

	if (split == !!(dp->r.flags & NS_INODE_SPLIT))
		return;
	dp->r.flags ^= NS_INODE_SPLIT;
	x->a->n_maps++;
	if (i >= NS_ANSWER_MAPS)
		return;
	x->a->maps[i].dir = dp->ino;
	x->a->maps[i].split = split;
}

static int ns_map_change(struct ns_ctx *x, struct ns_inode *dp,
			 const struct ns_range *g)
{
	struct ns_row_map row = { .v = 0 };
	struct wire_vec out;
	struct ns_key k;
	int more, rv = ns_map_get(x, dp->ino, RPC_LOCK_ALL, &row);

	if (rv != 0 && rv != -ENOENT)
		return rv;
	wire_vec_init(&out);
	rv = ns_map_edit(row.segments, g, &out, &more);
	row.segments = wire_vec_bytes(&out);
	ns_key_id(&k, x->shard, NS_T_SEGMENT, dp->ino);
	if (rv == 0)
		rv = out.count > 0 ? ns_put_map(x, ns_key_get(&k), &row)
				   : rows_del(x->t, ns_key_get(&k));
	ns_map_tell(x, dp, out.count > 0);
	wire_vec_fini(&out);
	dp->r.entries += (uint64_t)more;
	dp->dirty = true;
	return rv;
}

int ns_map_put(struct ns_ctx *x, struct ns_inode *dp,
	       const struct ns_range *g, int more)
{
	struct ns_step s = { .op = NS_STEP_MAP, .ino = g->ino, .dir = dp->ino,
			     .name = g->first, .name2 = g->end };

	if (!dp->far)
		return ns_map_change(x, dp, g);
	dp->r.entries += (uint64_t)more;
	return ns_far_step(x, ino_shard(dp->ino), &s);
}

int ns_step_map(struct ns_ctx *x, const struct ns_step *s)
{
	struct ns_range g = { s->ino, s->name, s->name2 };
	struct ns_inode *dp;
	int rv = ns_inode_load(x, s->dir, &dp);

	return rv != 0 ? rv : ns_map_change(x, dp, &g);
}

/* --- finding one --- */

int ns_segment_find(struct ns_ctx *x, uint64_t dir, struct wire_bytes name,
		    uint64_t *ret_segment)
{
	struct ns_row_map map;
	struct ns_inode *ip;
	struct ns_range g;
	int rv = ns_inode_hold(x, dir, RPC_LOCK_LOOK, &ip);

	*ret_segment = 0;
	if (rv != 0)
		return rv == RPC_STATUS_STALE ? 0 : rv;
	if (ip->r.flags & NS_INODE_SEGMENT)
		return ns_segment_has(&ip->r, name) ? 0 : RPC_STATUS_STALE;
	if (!(ip->r.flags & NS_INODE_SPLIT))
		return 0;
	/* pinned: a name that is in no range now goes into the directory */
	rv = ns_map_get(x, dir, RPC_LOCK_PIN, &map);
	if (rv == 0)
		rv = ns_map_seek(map.segments, name, &g);
	if (rv == 0 && wire_bytes_cmp(g.first, name) <= 0)
		*ret_segment = g.ino;
	return rv == -ENOENT ? 0 : rv;
}

int ns_segment_at(struct ns_ctx *x, uint64_t dir, uint64_t at,
		  struct wire_bytes name, uint64_t *ret_dir)
{
	struct ns_inode *ip;
	int rv;

	*ret_dir = at == 0 ? dir : 0;
	if (at == 0 || ns_is_far(x, at))
		return 0;
	rv = ns_inode_load(x, at, &ip);
	if (rv != 0)
		return rv == RPC_STATUS_STALE ? 0 : rv;
	if (!(ip->r.flags & NS_INODE_SEGMENT))
		return 0;
	if (ip->r.parent != dir || !ns_segment_has(&ip->r, name))
		return ns_elsewhere(x, ino_shard(dir), 0, 0);
	*ret_dir = at;
	return 0;
}

/* --- life of one --- */

int ns_segment_put(struct ns_ctx *x, struct ns_inode *sp)
{
	struct ns_step s = { .op = NS_STEP_SEGMENT, .ino = sp->ino,
			     .dir = sp->r.parent, .name = sp->r.name,
			     .name2 = sp->r.target, .mode = sp->r.mode,
			     .gid = sp->r.gid, .project = sp->r.project };

	sp->dirty = true;
	return sp->far ? ns_far_step(x, ino_shard(sp->ino), &s) : 0;
}

int ns_segment_new(struct ns_ctx *x, uint64_t ino, const struct ns_inode *like,
		   struct ns_inode **ret)
{
	struct ns_inode *sp;
	int rv = ns_inode_new(x, ino, like->r.mode, like->r.project, &sp);

	if (rv != 0)
		return rv;
	sp->far = ns_is_far(x, ino);
	sp->held = RPC_LOCK_ALL;
	sp->r.flags = NS_INODE_SEGMENT;
	sp->r.nlink = 2;
	sp->r.uid = like->r.uid;
	sp->r.gid = like->r.gid;
	*ret = sp;
	return 0;
}

int ns_step_segment(struct ns_ctx *x, const struct ns_step *s)
{
	struct ns_inode like = { .ino = 0 }, *sp;
	int rv = ns_inode_load(x, s->ino, &sp);

	if (rv == 0 && s->name2.len == 0) {
		sp->gone = true;
		return 0;
	}
	like.r.mode = s->mode;
	like.r.project = s->project;
	if (rv == RPC_STATUS_STALE)
		rv = ns_segment_new(x, s->ino, &like, &sp);
	if (rv != 0)
		return rv;
	sp->r.mode = s->mode;
	sp->r.gid = s->gid;
	sp->r.parent = s->dir;
	sp->r.name = s->name;
	sp->r.target = s->name2;
	sp->dirty = true;
	return 0;
}

/*
 * The directory loses one that it counts, so it is held: see ns_dir_empty().
 */
int ns_segment_drop(struct ns_ctx *x, struct ns_inode *sp,
		    struct ns_inode **ret)
{
	struct ns_range g = { .ino = sp->ino };
	struct ns_row_map map;
	struct ns_inode *dp;
	int rv2, rv = ns_dir_claim(x, sp);

	if (rv != 0)
		return rv;
	rv = ns_dir_hold(x, sp->r.parent, RPC_LOCK_ALL, &dp);
	rv2 = ns_map_get(x, sp->r.parent, RPC_LOCK_ALL, &map);
	if (rv == 0)
		rv = rv2;
	if (rv != 0)
		return rv > 0 || rv == -ENOENT ? ns_lost(x, sp->r.parent) : rv;
	rv = ns_map_put(x, dp, &g, -1);
	if (rv != 0)
		return rv;
	sp->gone = true;
	sp->r.target = wire_bytes(NULL, 0);
	*ret = dp;
	return ns_segment_put(x, sp);
}

int ns_segment_inherit(struct ns_ctx *x, struct ns_inode *dp)
{
	struct ns_row_map map;
	struct wire_reader r;
	struct ns_range g;
	uint32_t n;
	int all = 0, rv = ns_map_get(x, dp->ino, RPC_LOCK_LOOK, &map);

	if (rv != 0)
		return rv == -ENOENT ? -EIO : rv;
	r = wire_vec_reader(map.segments, &n);
	while ((rv = ns_map_next(&r, &n, &g)) == 0) {
		struct ns_inode *sp;

		rv = ns_dir_hold(x, g.ino, RPC_LOCK_ALL, &sp);
		if (rv == -EAGAIN) { /* go on: note the others too */
			all = rv;
			continue;
		}
		if (rv != 0)
			return rv > 0 ? ns_lost(x, g.ino) : rv;
		sp->r.mode = dp->r.mode;
		sp->r.gid = dp->r.gid;
		rv = ns_segment_put(x, sp);
		if (rv != 0)
			return rv;
	}
	return rv == -ENOENT ? all : rv;
}
