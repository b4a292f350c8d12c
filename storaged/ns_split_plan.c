/*
 * What of a directory should go into a new segment: where its names lie
 * thickest, between the segments that it has. A hint: the rows may change
 * before anybody acts on it.
 */
#include "storaged/ns_impl.h"

#include <errno.h>

#include "common/base/mem.h"

struct ns_plan {
	struct rows_back *back;   /* borrowed */
	uint16_t shard;
	uint64_t dir;
	uint64_t want;            /* names that should go at most */
	uint8_t *value;           /* of the map */
	struct wire_reader map;   /* what is left of it */
	uint32_t left;
	struct ns_range next;     /* the next segment; ino 0: none */
	struct wire_bytes gap;    /* where this gap begins: in value */
	uint64_t n;               /* names in it so far */
	struct wire_bytes best;   /* the gap that had most ... */
	uint64_t best_n;
};

/* 0 with *ret_value (mem_free), -ENOENT, -EIO. */
static int ns_plan_row(const struct ns_plan *p, uint8_t type,
		       uint8_t **ret_value, struct wire_bytes *ret)
{
	struct ns_key k;
	size_t len;
	int rv;

	ns_key_id(&k, p->shard, type, p->dir);
	rv = rows_back_get(p->back, ns_key_get(&k), ret_value, &len);
	if (rv == 0)
		*ret = wire_bytes(*ret_value, len);
	return rv;
}

/* Its entries; 0: it is no directory any more. */
static int ns_plan_inode(struct ns_plan *p, uint64_t *ret_entries,
			 uint32_t *ret_flags)
{
	struct ns_row_inode r;
	struct wire_bytes b;
	uint8_t *value;
	int rv = ns_plan_row(p, NS_T_INODE, &value, &b);

	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	rv = ns_row_inode_load(&r, b);
	if (rv == 0 && S_ISDIR(r.mode) && r.nlink > 0) {
		*ret_entries = r.entries;
		*ret_flags = r.flags;
	}
	mem_free(value);
	return rv;
}

static int ns_plan_next(struct ns_plan *p)
{
	int rv = ns_map_next(&p->map, &p->left, &p->next);

	if (rv == -ENOENT)
		p->next.ino = 0;
	return rv == -ENOENT ? 0 : rv;
}

/* How many of n names should go. */
static uint64_t ns_plan_want(uint64_t n, uint64_t most)
{
	uint64_t half = most / 2;

	if (n <= most)
		return 0;
	return n - half < half ? n - half : half;
}

static int ns_plan_map(struct ns_plan *p, uint64_t *ret_n)
{
	struct ns_row_map map;
	struct wire_bytes b;
	int rv = ns_plan_row(p, NS_T_SEGMENT, &p->value, &b);

	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	rv = ns_row_map_load(&map, b);
	if (rv != 0)
		return rv;
	p->map = wire_vec_reader(map.segments, &p->left);
	*ret_n = p->left;
	return ns_plan_next(p);
}

static void ns_plan_gap_ends(struct ns_plan *p)
{
	if (p->n > p->best_n) {
		p->best = p->gap;
		p->best_n = p->n;
	}
}

static int ns_plan_name(struct ns_plan *p, struct wire_bytes name)
{
	int rv = 0;

	while (rv == 0 && p->next.ino != 0 &&
	       wire_bytes_cmp(p->next.end, name) <= 0) {
		ns_plan_gap_ends(p);
		p->gap = p->next.end;
		p->n = 0;
		rv = ns_plan_next(p);
	}
	p->n++;
	return rv;
}

/* Counts the names of each gap, until one has enough. */
static int ns_plan_count(struct ns_plan *p)
{
	const size_t at = NS_KEY_REST + 8;
	struct wire_bytes key, value;
	struct ns_key from, to;
	struct rows_iter *it;
	int rv;

	ns_key_id(&from, p->shard, NS_T_DENT, p->dir);
	to = from;
	ns_key_end(&to);
	ns_key_u8(&from, 1); /* the empty component stays */
	rv = rows_iter_new(p->back, ns_key_get(&from), ns_key_get(&to), &it);
	if (rv != 0)
		return rv;
	while (p->n < p->want &&
	       (rv = rows_iter_next(it, &key, &value)) == 0) {
		if (key.len == at + 1 && key.p[at] == '/')
			continue;
		rv = ns_plan_name(p, wire_bytes(key.p + at, key.len - at));
		if (rv != 0)
			break;
	}
	rows_iter_free(it);
	ns_plan_gap_ends(p);
	return rv == -ENOENT ? 0 : rv;
}

int ns_split_plan(struct rows_back *back, uint16_t shard, uint64_t dir,
		  uint64_t most, struct buf *ret_from, uint64_t *ret_names)
{
	struct ns_plan p = { .back = back, .shard = shard, .dir = dir };
	uint64_t entries = 0, segments = 0;
	uint32_t flags = 0;
	int rv = ns_plan_inode(&p, &entries, &flags);

	if (rv == 0 && flags & NS_INODE_SPLIT)
		rv = ns_plan_map(&p, &segments);
	if (rv == 0)
		p.want = ns_plan_want(entries - segments, most);
	*ret_names = p.want;
	/* a segment loses its first names */
	if (rv == 0 && p.want > 0 && !(flags & NS_INODE_SEGMENT)) {
		rv = ns_plan_count(&p);
		*ret_names = p.best_n;
		buf_add(ret_from, p.best.p, p.best.len);
	}
	if (rv == 0)
		rv = ret_from->err;
	mem_free(p.value);
	return rv;
}
