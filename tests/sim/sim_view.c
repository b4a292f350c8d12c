#include "tests/sim/sim_view.h"

#include <errno.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/rows/rows_impl.h"
#include "tests/lib/simenv.h"

struct view_iter {
	struct rows_iter base;
	struct rows_iter *under; /* of the back */
	bool ahead;              /* key and value are its next row */
	struct wire_bytes key, value;
	struct buf pos;          /* the last key, or the first one to come */
	bool after;              /* it is the last one */
};

static const struct sim_view *view_of(const struct rows_back *back)
{
	return (const struct sim_view *)(const void *)back;
}

static struct view_iter *iter_of(struct rows_iter *it)
{
	return (struct view_iter *)(void *)it;
}

static struct rows *iter_rows(struct rows_iter *it)
{
	return view_of(it->back)->rows;
}

static int view_iter_new(struct rows_back *back, struct rows_iter **ret_it)
{
	struct rows *rows = view_of(back)->rows;
	const struct wire_bytes none = { NULL, 0 };
	struct view_iter *v = sim_zalloc(sizeof *v);

	if (rows_iter_new(rows->back, none, none, &v->under) != 0)
		abort();
	buf_init(&v->pos, 0);
	*ret_it = &v->base;
	return 0;
}

static void view_go(struct view_iter *v, struct wire_bytes key, bool after)
{
	buf_reset(&v->pos);
	buf_add(&v->pos, key.p, key.len);
	v->after = after;
	if (v->pos.err != 0)
		abort();
}

static void view_iter_seek(struct rows_iter *it, struct wire_bytes key)
{
	struct view_iter *v = iter_of(it);

	rows_iter_seek(v->under, key);
	v->ahead = false;
	view_go(v, key, false);
}

static int view_iter_next(struct rows_iter *it, struct wire_bytes *ret_key,
			  struct wire_bytes *ret_value)
{
	struct view_iter *v = iter_of(it);
	int rv = 0, c;

	for (;;) {
		struct row *r = row_tree_lower(
			iter_rows(it)->index,
			wire_bytes(v->pos.data, v->pos.len), v->after);

		if (!v->ahead)
			rv = rows_iter_next(v->under, &v->key, &v->value);
		if (rv != 0 && rv != -ENOENT)
			return rv;
		v->ahead = rv == 0;
		if (!v->ahead && r == NULL)
			return -ENOENT;
		c = r == NULL	 ? 1
		    : !v->ahead ? -1
				: wire_bytes_cmp(row_key(r), v->key);
		if (c > 0) {
			v->ahead = false;
			view_go(v, v->key, true);
			*ret_key = v->key;
			*ret_value = v->value;
			return 0;
		}
		v->ahead = v->ahead && c < 0;
		view_go(v, row_key(r), true);
		if (r->val == NULL)
			continue; /* deleted */
		*ret_key = row_key(r);
		*ret_value = row_value(r);
		return 0;
	}
}

static int view_iter_get(struct rows_iter *it, struct wire_bytes key,
			 struct wire_bytes *ret_value)
{
	struct row *r = row_tree_find(iter_rows(it)->index, key);

	if (r == NULL)
		return rows_iter_get(iter_of(it)->under, key, ret_value);
	if (r->val == NULL)
		return -ENOENT;
	*ret_value = row_value(r);
	return 0;
}

static void view_iter_free(struct rows_iter *it)
{
	struct view_iter *v = iter_of(it);

	rows_iter_free(v->under);
	buf_fini(&v->pos);
	free(v);
}

static int view_get(struct rows_back *back, struct wire_bytes key,
		    uint8_t **ret_value, size_t *ret_len)
{
	struct rows *rows = view_of(back)->rows;
	struct row *r = row_tree_find(rows->index, key);

	if (r == NULL)
		return rows_back_get(rows->back, key, ret_value, ret_len);
	if (r->val == NULL)
		return -ENOENT;
	*ret_len = r->val->len;
	*ret_value = mem_dup(r->val->bytes, r->val->len);
	return *ret_value == NULL ? -ENOMEM : 0;
}

static const struct rows_back_ops view_ops = {
	.get = view_get,
	.iter_new = view_iter_new,
	.iter_next = view_iter_next,
	.iter_seek = view_iter_seek,
	.iter_get = view_iter_get,
	.iter_free = view_iter_free,
};

void sim_view_init(struct sim_view *v, struct rows *rows)
{
	*v = (struct sim_view){ .back = { &view_ops }, .rows = rows };
}
