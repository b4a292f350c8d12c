/*
 * Merging: runs of small extents that follow each other become one value.
 *
 * A file written a line at a time is one extent per line, and its region's row
 * is read and written with each of them. So the leader's host looks for runs
 * (ns_merge_plan(), on a worker), reads their bytes, and has them replaced by
 * a command that carries the bytes (MERGE). The bytes are the same before and
 * after: no version, no time, no size changes, and nobody can tell.
 *
 * The command names what it replaces by a hash over those extents as they
 * stand in the replicated state. Whatever came between (a write, a cut, another
 * merge) makes it differ: refused, nothing happens. So the plan may be old, and
 * may come from any view of the rows.
 *
 * Sizes go up in steps (ns_merge_rules), small extents to medium ones, those
 * to large ones, so that a byte is written again at most once per step.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/xxh.h"

const struct ns_merge_rules ns_merge_rules = {
	.at = 64,
	.step = { { .len = 4 << 10, .total = 16 << 10, .n = 16, .any_n = 64 },
		  { .len = 64 << 10, .total = 256 << 10, .n = 16 } },
	.many = 4096,
	.bridge_at = 8192,
	.bridge = 4 << 10,
};

enum { NS_MERGE_RUNS = 16 }; /* of one plan */

struct ns_merge {
	struct ns_ctx x; /* memory of all below */
	struct ns_merge_run runs[NS_MERGE_RUNS];
	unsigned n;
	bool more;
};

/* --- what is replaced --- */

/* Extents of the list that touch [pos, pos + len): [*ret_i, *ret_j). */
static void ns_merge_range(const struct ns_extents *list, uint64_t pos,
			   uint64_t len, unsigned *ret_i, unsigned *ret_j)
{
	unsigned i = 0, j;

	while (i < list->n && list->v[i].pos + list->v[i].len <= pos)
		i++;
	for (j = i; j < list->n && list->v[j].pos < pos + len; j++)
		;
	*ret_i = i;
	*ret_j = j;
}

/* A hash over extents [i, j) without what differs between stores. */
static int ns_merge_print(const struct ns_extents *list, unsigned i,
			  unsigned j, struct wire_u128 *ret)
{
	struct ns_extents part = { .v = list->v + i, .n = j - i };
	XXH128_hash_t h;
	struct buf b;
	int rv;

	buf_init(&b, 0);
	ns_extents_save(&part, false, &b);
	h = XXH3_128bits(b.data, b.len);
	rv = b.err;
	buf_fini(&b);
	*ret = (struct wire_u128){ h.high64, h.low64 };
	return rv;
}

/* --- the plan --- */

static int ns_merge_row(struct ns_ctx *x, struct rows_back *back,
			struct wire_bytes key, struct wire_bytes *ret)
{
	uint8_t *value;
	size_t len;
	int rv = rows_back_get(back, key, &value, &len);

	if (rv != 0)
		return rv;
	*ret = ns_copy(x, wire_bytes(value, len));
	mem_free(value);
	return ret->p == NULL ? -ENOMEM : 0;
}

/* The region's list as the rows have it now; empty when there is none. */
static int ns_merge_load(struct ns_ctx *x, struct rows_back *back,
			 uint64_t ino, uint64_t region,
			 struct ns_row_inode *ret_inode,
			 struct ns_extents **ret_list)
{
	struct wire_bytes value, extents;
	struct ns_row_region row;
	struct ns_key k;
	int rv;

	rv = ns_merge_row(x, back, ns_key_id(&k, x->shard, NS_T_INODE, ino),
			  &value);
	if (rv == 0)
		rv = ns_row_inode_load(ret_inode, value);
	if (rv != 0)
		return rv;
	extents = ret_inode->extents;
	if (region > 0 || ret_inode->flags & NS_INODE_REGION0) {
		ns_key_region(&k, x->shard, ret_inode->body, region);
		rv = ns_merge_row(x, back, ns_key_get(&k), &value);
		if (rv == 0)
			rv = ns_row_region_load(&row, value);
		if (rv != 0)
			return rv;
		extents = row.extents;
	}
	if (extents.len == 0)
		return -ENOENT;
	return ns_extents_load(x, extents, ret_list);
}

/* The run of extents from i on that one step may take; its end. */
static unsigned ns_merge_run_end(const struct ns_extents *list, unsigned i,
				 const struct ns_merge_step *step,
				 uint64_t bridge, bool chunks)
{
	uint64_t from = list->v[i].pos, to = from;
	unsigned j;

	for (j = i; j < list->n; j++) {
		const struct ns_extent *e = &list->v[j];

		if (e->len >= step->len || e->kind == NS_EXT_ZERO ||
		    (e->kind == NS_EXT_CHUNKS && !chunks) ||
		    e->pos - to > bridge || e->pos + e->len - from > step->total)
			break;
		to = e->pos + e->len;
	}
	return j;
}

static bool ns_merge_pays(const struct ns_merge_rules *rules,
			  const struct ns_merge_step *step, unsigned list_n,
			  unsigned n, uint64_t total)
{
	unsigned least = list_n >= rules->many ? step->n / 4 : step->n;

	if (n < 2)
		return false;
	return (n >= least && total >= step->total / 2) ||
	       (step->any_n > 0 && n >= step->any_n);
}

static int ns_merge_piece(const struct ns_extent *e, struct ns_piece *p)
{
	*p = (struct ns_piece){ .pos = e->pos, .len = e->len };
	switch (e->kind) {
	case NS_EXT_BYTES:
		p->value.mem = e->bytes;
		p->value.len = p->value.want = (uint32_t)e->len;
		return 0;
	case NS_EXT_VALUE:
		p->value = (struct ns_value){
			.gen = e->gen, .off = e->at, .len = e->vlen,
			.hash = e->id, .from = (uint32_t)e->off,
			.want = (uint32_t)e->len,
		};
		return 0;
	case NS_EXT_CHUNKS:
		p->is_chunk = true;
		p->slice = e->id;
		p->off = e->off;
		return 0;
	default:
		return -EIO;
	}
}

static int ns_merge_add(struct ns_merge *m, const struct ns_extents *list,
			unsigned i, unsigned j)
{
	struct ns_merge_run *r = &m->runs[m->n];
	int rv;

	r->pieces = ns_alloc(&m->x, (j - i) * sizeof(*r->pieces));
	if (r->pieces == NULL)
		return -ENOMEM;
	r->n = j - i;
	r->pos = list->v[i].pos;
	r->len = list->v[j - 1].pos + list->v[j - 1].len - r->pos;
	rv = ns_merge_print(list, i, j, &r->print);
	for (unsigned k = 0; rv == 0 && k < r->n; k++)
		rv = ns_merge_piece(&list->v[i + k], &r->pieces[k]);
	m->n += rv == 0;
	return rv;
}

static int ns_merge_find(struct ns_merge *m, const struct ns_extents *list,
			 const struct ns_merge_rules *rules, bool composite,
			 bool chunks)
{
	/* what a composite has not, its parts may have */
	uint64_t bridge = list->n >= rules->bridge_at && !composite
				  ? rules->bridge : 0;
	int rv = 0;

	for (unsigned s = 0; s < NS_MERGE_STEPS; s++) {
		const struct ns_merge_step *step = &rules->step[s];
		unsigned i = 0;

		while (rv == 0 && i < list->n) {
			unsigned j = ns_merge_run_end(list, i, step, bridge,
						      chunks);
			uint64_t total = j > i ? list->v[j - 1].pos +
							 list->v[j - 1].len -
							 list->v[i].pos
					       : 0;

			if (!ns_merge_pays(rules, step, list->n, j - i,
					   total)) {
				i = j > i ? j : i + 1;
				continue;
			}
			if (m->n == NS_MERGE_RUNS) {
				m->more = true;
				return 0;
			}
			rv = ns_merge_add(m, list, i, j);
			i = j;
		}
		if (m->n > 0) { /* the next step looks at the new extents */
			m->more = true;
			return rv;
		}
	}
	return rv;
}

int ns_merge_plan(struct rows_back *back, uint16_t shard, uint64_t ino,
		  uint64_t region, const struct ns_merge_rules *rules,
		  bool chunks, struct ns_merge **ret)
{
	struct ns_merge *m = mem_zalloc(sizeof(*m));
	struct ns_row_inode inode;
	struct ns_extents *list;
	int rv;

	if (m == NULL)
		return -ENOMEM;
	ns_ctx_init(&m->x, NULL, shard, NULL, NULL);
	rv = ns_merge_load(&m->x, back, ino, region, &inode, &list);
	if (rv == 0 && list->n >= rules->at)
		rv = ns_merge_find(m, list, rules,
				   inode.flags & NS_INODE_COMPOSITE, chunks);
	if (rv != 0 && rv != -ENOENT) {
		ns_merge_free(m);
		return rv;
	}
	*ret = m;
	return 0;
}

void ns_merge_free(struct ns_merge *m)
{
	if (m == NULL)
		return;
	ns_ctx_fini(&m->x);
	mem_free(m);
}

const struct ns_merge_run *ns_merge_runs(const struct ns_merge *m,
					 unsigned *ret_n)
{
	*ret_n = m->n;
	return m->runs;
}

bool ns_merge_more(const struct ns_merge *m)
{
	return m->more;
}

/* --- MERGE --- */

static int ns_merge_check(const struct rpc_merge *m)
{
	if (m->len == 0 || m->len != m->data.len || m->len > NS_INLINE_MAX ||
	    m->pos > NS_SIZE_MAX - m->len ||
	    m->pos / WIRE_REGION != (m->pos + m->len - 1) / WIRE_REGION)
		return RPC_STATUS_INVAL;
	return 0;
}

int ns_do_merge(struct ns_ctx *x, const struct rpc_merge *m)
{
	struct ns_extent e = { .pos = m->pos, .len = m->len };
	struct wire_u128 print;
	struct ns_region *rg;
	struct ns_inode *ip;
	unsigned i, j;
	int rv = ns_merge_check(m);

	if (rv == 0)
		rv = ns_inode_load(x, m->ino, &ip);
	if (rv == 0 && !S_ISREG(ip->r.mode))
		rv = RPC_STATUS_INVAL;
	if (rv == 0)
		rv = ns_region_get(x, ip, m->pos / WIRE_REGION, &rg);
	if (rv != 0)
		return rv;
	ns_merge_range(rg->list, m->pos, m->len, &i, &j);
	rv = ns_merge_print(rg->list, i, j, &print);
	if (rv != 0)
		return rv;
	if (i == j || !wire_u128_eq(print, m->print))
		return RPC_STATUS_PRECONDITION;
	rv = ns_extent_of_data(x, m->data, 0, m->len, &e);
	if (rv == 0)
		rv = ns_region_put(x, ip, rg, &e);
	return rv != 0 ? rv : ns_answer_empty(x);
}
