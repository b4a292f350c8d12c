/*
 * Checking for people: the recount as a message, and what rows say of bytes.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <string.h>

/* --- the recount --- */

struct ns_findings {
	struct wire_vec list;
	uint64_t n;
	uint32_t max;
};

static void ns_finding_add(void *arg, const char *text)
{
	struct ns_findings *f = arg;
	struct wire_bytes str = wire_cstr(text);
	struct wire_writer w;

	if (f->n++ >= f->max)
		return;
	w = wire_vec_add(&f->list);
	wire_put_str(&w, &str);
}

int ns_scan_check_rows(struct rows_back *back, uint16_t shard,
		       const struct rpc_check_rows *m, struct ns_answer *a)
{
	struct ns_findings f = { .max = m->max };
	struct rpc_check_rows_rsp rsp;
	struct ns_counts n = { 0 };
	uint64_t spans = 0;
	int rv;

	wire_vec_init(&f.list);
	if (m->far)
		rv = ns_check_far(back, shard, ns_finding_add, &f, &spans);
	else
		rv = ns_count(back, shard, ns_finding_add, &f, &n);
	if (rv == 0 || rv == -EBUSY) {
		rsp = (struct rpc_check_rows_rsp){
			.rows = n.rows, .inodes = n.inodes,
			.names = n.names, .slices = n.slices,
			.queued = n.queued, .open = n.open,
			.n_findings = f.n,
			.findings = wire_vec_bytes(&f.list),
			.busy = rv == -EBUSY, .spans = spans,
		};
		rv = f.list.buf.err;
	}
	if (rv == 0)
		rv = rpc_check_rows_rsp_encode(&rsp, &a->payload);
	wire_vec_fini(&f.list);
	return rv;
}

/* --- what rows say of bytes --- */

struct ns_refs_walk {
	struct rows_iter *it;
	uint16_t shard;
	int (*each)(void *arg, const struct ns_ref *ref);
	void *arg;
	struct ns_ctx x; /* memory while one row is looked at */
	bool enough;
};

static int ns_ref_one(struct ns_refs_walk *w, struct wire_bytes row,
		      const struct ns_extent *e)
{
	struct ns_ref ref = { .row = row };
	int rv;

	if (e->kind == NS_EXT_VALUE) {
		ref.is_value = true;
		ref.value = (struct ns_value){
			.gen = e->gen, .off = e->at, .len = e->vlen,
			.hash = e->id, .want = e->vlen,
		};
	} else if (e->kind == NS_EXT_CHUNKS) {
		ref.slice = e->id;
		ref.off = e->off;
		ref.len = e->len;
	} else {
		return 0;
	}
	rv = w->each(w->arg, &ref);
	w->enough = w->enough || rv > 0;
	return rv < 0 ? rv : 0;
}

static int ns_refs_list(struct ns_refs_walk *w, struct wire_bytes row,
			struct wire_bytes blob)
{
	struct ns_extents *list;
	int rv;

	if (blob.len == 0)
		return 0;
	rv = ns_extents_load(&w->x, blob, &list);
	for (unsigned i = 0; rv == 0 && i < list->n; i++)
		rv = ns_ref_one(w, row, &list->v[i]);
	return rv;
}

/* A row that cannot be read says nothing; the recount reports it. */
static int ns_refs_row(struct ns_refs_walk *w, struct wire_bytes row,
		       struct wire_bytes value)
{
	struct wire_bytes blob = { NULL, 0 };
	struct ns_row_region region;
	struct ns_row_inode inode;
	int rv = 0;

	if (row.p[0] == NS_T_INODE && ns_row_inode_load(&inode, value) == 0)
		blob = inode.extents;
	else if (row.p[0] == NS_T_REGION &&
		 ns_row_region_load(&region, value) == 0)
		blob = region.extents;
	ns_ctx_init(&w->x, NULL, w->shard, NULL, NULL);
	rv = ns_refs_list(w, row, blob);
	ns_ctx_fini(&w->x);
	return rv == -EIO ? 0 : rv;
}

/* From inodes on to regions: what lies between has no extents. */
static bool ns_refs_skip(struct ns_refs_walk *w, uint8_t type)
{
	struct ns_key k;

	if (type == NS_T_INODE || type == NS_T_REGION)
		return false;
	ns_key_start(&k, w->shard, type < NS_T_INODE ? NS_T_INODE
						     : NS_T_REGION);
	rows_iter_seek(w->it, ns_key_get(&k));
	return true;
}

static int ns_refs_walk(struct ns_refs_walk *w, struct buf *ret_next)
{
	struct wire_bytes key, value, row;
	int rv;

	while ((rv = rows_iter_next(w->it, &key, &value)) == 0) {
		if (key.len < NS_KEY_REST)
			return -EIO;
		row = wire_bytes(key.p + 2, key.len - 2);
		if (row.p[0] > NS_T_REGION)
			return 0;
		if (ns_refs_skip(w, row.p[0]))
			continue;
		rv = ns_refs_row(w, row, value);
		if (rv != 0)
			return rv;
		if (w->enough) {
			buf_add(ret_next, row.p, row.len);
			return ret_next->err;
		}
	}
	return rv == -ENOENT ? 0 : rv;
}

int ns_refs(struct rows_back *back, uint16_t shard, struct wire_bytes after,
	    bool exact, int (*each)(void *arg, const struct ns_ref *ref),
	    void *arg, struct buf *ret_next)
{
	struct ns_refs_walk w = { .shard = shard, .each = each, .arg = arg };
	struct ns_key from, to;
	int rv;

	ns_key_start(&from, shard, 0);
	from.len = 2;
	to = from;
	ns_key_end(&to);
	if (after.len > 0) {
		ns_key_bytes(&from, after);
		if (!exact)
			ns_key_u8(&from, 0); /* the least key behind it */
	}
	if (exact) {
		to = from;
		ns_key_u8(&to, 0);
	}
	rv = rows_iter_new(back, ns_key_get(&from), ns_key_get(&to), &w.it);
	if (rv != 0)
		return rv;
	rv = ns_refs_walk(&w, ret_next);
	rows_iter_free(w.it);
	return rv;
}
