/*
 * Regions: 64 MiB of a file each with its extent list, in the inode row while
 * short (region 0) or in a row of its own; and the slice references they hold:
 * one per list that names a slice, counted when a list begins or ceases to.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { NS_SLICES_FEW = 4 }; /* looked up one by one */

static int ns_region_load(struct ns_ctx *x, struct ns_inode *ip,
			  struct ns_region *rg)
{
	struct ns_row_region row;
	struct ns_key k;
	int rv;

	if (rg->region == 0 && !(ip->r.flags & NS_INODE_REGION0)) {
		if (ip->r.extents.len > 0)
			return ns_extents_load(x, ip->r.extents, &rg->list);
	} else if (ip->r.regions > 0) {
		ns_key_region(&k, x->shard, ip->r.body, rg->region);
		rv = ns_get_region(x, ns_key_get(&k), &row);
		if (rv == 0) {
			rg->row = true;
			return ns_extents_load(x, row.extents, &rg->list);
		}
		if (rv != -ENOENT || rg->region == 0)
			return rv == -ENOENT ? -EIO : rv;
	}
	rg->list = ns_alloc(x, sizeof(*rg->list));
	return rg->list == NULL ? -ENOMEM : 0;
}

int ns_region_get(struct ns_ctx *x, struct ns_inode *ip, uint64_t region,
		  struct ns_region **ret)
{
	struct ns_region *rg = ip->regions;
	int rv;

	while (rg != NULL && rg->region != region)
		rg = rg->next;
	if (rg == NULL) {
		rg = ns_alloc(x, sizeof(*rg));
		if (rg == NULL)
			return -ENOMEM;
		rg->region = region;
		rv = ns_region_load(x, ip, rg);
		if (rv != 0)
			return rv;
		rg->next = ip->regions;
		ip->regions = rg;
	}
	*ret = rg;
	return 0;
}

static void ns_region_changed(struct ns_inode *ip, struct ns_region *rg,
			      const struct ns_extents *before)
{
	ip->r.bytes += rg->list->bytes - before->bytes;
	ip->r.pieces += rg->list->n;
	ip->r.pieces -= before->n;
	ip->dirty = rg->dirty = true;
}

static int ns_slice_cmp(const void *a, const void *b)
{
	const struct wire_u128 *l = a, *r = b;

	if (l->hi != r->hi)
		return l->hi < r->hi ? -1 : 1;
	return l->lo == r->lo ? 0 : l->lo < r->lo ? -1 : 1;
}

int ns_slices_of(struct ns_ctx *x, const struct ns_extent *v, unsigned n,
		 struct wire_u128 **ret, unsigned *ret_n)
{
	struct wire_u128 *ids = ns_alloc(x, (n + 1) * sizeof(*ids));
	unsigned k = 0, m = 0;

	if (ids == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		if (v[i].kind == NS_EXT_CHUNKS)
			ids[k++] = v[i].id;
	qsort(ids, k, sizeof(*ids), ns_slice_cmp);
	for (unsigned i = 0; i < k; i++)
		if (i == 0 || ns_slice_cmp(&ids[i], &ids[m - 1]) != 0)
			ids[m++] = ids[i];
	*ret = ids;
	*ret_n = m;
	return 0;
}

/* Slices of the extents [i, j) that the list no longer names lose one. */
static int ns_slices_unref(struct ns_ctx *x, const struct ns_extents *list,
			   const struct wire_u128 *ids, unsigned n)
{
	struct wire_u128 *kept = NULL;
	unsigned n_kept = 0;
	int rv = 0;

	if (n > NS_SLICES_FEW)
		rv = ns_slices_of(x, list->v, list->n, &kept, &n_kept);
	for (unsigned i = 0; i < n && rv == 0; i++) {
		if (kept != NULL ? bsearch(&ids[i], kept, n_kept, sizeof(*kept),
					   ns_slice_cmp) != NULL
				 : ns_extents_has(list, ids[i]))
			continue;
		rv = ns_kref_add(x, ids[i], -1);
	}
	return rv;
}

/* Says so in the answer: the host may merge what has become long. */
static void ns_region_grew(struct ns_ctx *x, const struct ns_inode *ip,
			   const struct ns_region *rg, unsigned before)
{
	if (x->a == NULL || rg->list->n <= before ||
	    rg->list->n <= x->a->grown.n)
		return;
	x->a->grown.ino = ip->ino;
	x->a->grown.region = rg->region;
	x->a->grown.n = rg->list->n;
}

int ns_region_put(struct ns_ctx *x, struct ns_inode *ip, struct ns_region *rg,
		  const struct ns_extent *e)
{
	struct ns_extents before = *rg->list;
	struct wire_u128 *ids;
	unsigned i = 0, j, n;
	bool had;
	int rv;

	while (i < before.n && before.v[i].pos + before.v[i].len <= e->pos)
		i++;
	for (j = i; j < before.n && before.v[j].pos < e->pos + e->len; j++)
		;
	rv = ns_slices_of(x, before.v + i, j - i, &ids, &n);
	if (rv != 0)
		return rv;
	had = e->kind != NS_EXT_CHUNKS || ns_extents_has(rg->list, e->id);
	rv = ns_extents_put(x, rg->list, e,
			    ip->r.flags & NS_INODE_COMPOSITE);
	if (rv == 0 && !had)
		rv = ns_kref_add(x, e->id, 1);
	if (rv == 0)
		rv = ns_slices_unref(x, rg->list, ids, n);
	if (rv != 0)
		return rv;
	ns_region_changed(ip, rg, &before);
	ns_region_grew(x, ip, rg, before.n);
	return rg->list->n > NS_EXTENTS_MAX ? RPC_STATUS_TOO_MANY : 0;
}

int ns_region_cut(struct ns_ctx *x, struct ns_inode *ip, struct ns_region *rg,
		  uint64_t pos)
{
	struct ns_extents before = *rg->list;
	struct wire_u128 *ids;
	unsigned n;
	int rv;

	rv = ns_slices_of(x, before.v, before.n, &ids, &n);
	if (rv == 0)
		rv = ns_extents_cut(x, rg->list, pos);
	if (rv == 0)
		rv = ns_slices_unref(x, rg->list, ids, n);
	if (rv != 0)
		return rv;
	ns_region_changed(ip, rg, &before);
	return 0;
}

/* The row of a region that needs none any more. */
static int ns_region_unrow(struct ns_ctx *x, struct ns_inode *ip,
			   struct ns_region *rg)
{
	struct ns_key k;

	if (!rg->row)
		return 0;
	rg->row = false;
	ip->r.regions--;
	ns_key_region(&k, x->shard, ip->r.body, rg->region);
	return rows_del(x->t, ns_key_get(&k));
}

int ns_region_clear(struct ns_ctx *x, struct ns_inode *ip,
		    struct ns_region *rg)
{
	int rv = ns_region_cut(x, ip, rg, 0);

	return rv != 0 ? rv : ns_region_unrow(x, ip, rg);
}

static int ns_region_flush(struct ns_ctx *x, struct ns_inode *ip,
			   struct ns_region *rg)
{
	struct ns_row_region row;
	struct ns_key k;
	struct buf b;
	int rv;

	buf_init(&b, 0);
	ns_extents_save(rg->list, true, &b);
	rv = b.err;
	if (rv != 0)
		goto out;
	if (rg->region == 0) {
		ip->r.extents = wire_bytes(NULL, 0);
		ip->r.flags &= ~(uint32_t)NS_INODE_REGION0;
	}
	if (b.len == 0) {
		rv = ns_region_unrow(x, ip, rg);
		goto out;
	}
	if (rg->region == 0 && rg->list->n <= NS_EXTENTS_IN_INODE) {
		ip->r.extents = ns_copy(x, wire_bytes(b.data, b.len));
		rv = ip->r.extents.p == NULL ? -ENOMEM
					     : ns_region_unrow(x, ip, rg);
		goto out;
	}
	if (rg->region == 0)
		ip->r.flags |= NS_INODE_REGION0;
	if (!rg->row)
		ip->r.regions++;
	rg->row = true;
	row.extents = wire_bytes(b.data, b.len);
	ns_key_region(&k, x->shard, ip->r.body, rg->region);
	rv = ns_put_region(x, ns_key_get(&k), &row);
out:
	buf_fini(&b);
	return rv;
}

int ns_regions_flush(struct ns_ctx *x, struct ns_inode *ip)
{
	for (struct ns_region *rg = ip->regions; rg != NULL; rg = rg->next) {
		int rv = rg->dirty ? ns_region_flush(x, ip, rg) : 0;

		if (rv != 0)
			return rv;
		rg->dirty = false;
	}
	return 0;
}
