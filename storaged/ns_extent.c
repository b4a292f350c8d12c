/*
 * Extent lists: sorted, without overlaps; the later write wins. A value of the
 * log is never cut, extents point at parts of it.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <string.h>

/* Least encoded size: kind, pos, len. */
#define NS_EXTENT_MIN 17

static uint64_t ns_extent_end(const struct ns_extent *e)
{
	return e->pos + e->len;
}

static uint64_t ns_extent_stored(const struct ns_extent *e)
{
	return e->kind == NS_EXT_ZERO ? 0 : e->len;
}

/* --- rows --- */

static int ns_extent_load(struct wire_reader *r, struct ns_extent *e)
{
	struct wire_bytes bytes = { NULL, 0 };
	uint64_t max;

	wire_get_u8(r, &e->kind);
	wire_get_u64(r, &e->pos);
	wire_get_u64(r, &e->len);
	if (e->kind == NS_EXT_CHUNKS || e->kind == NS_EXT_VALUE) {
		wire_get_u128(r, &e->id);
		wire_get_u64(r, &e->off);
	}
	max = e->len;
	if (e->kind == NS_EXT_VALUE) {
		wire_get_u64(r, &e->gen);
		wire_get_u64(r, &e->at);
		wire_get_u32(r, &e->vlen);
		max = e->vlen;
	} else if (e->kind == NS_EXT_BYTES) {
		wire_get_blob(r, &bytes);
		e->bytes = bytes.p;
		max = bytes.len;
	} else if (e->kind < NS_EXT_CHUNKS || e->kind > NS_EXT_BYTES) {
		return -EIO;
	}
	if (r->err != 0 || e->len == 0 || e->len > max ||
	    e->pos > NS_SIZE_MAX - 1 || e->len > NS_SIZE_MAX - e->pos)
		return -EIO;
	if (e->kind == NS_EXT_VALUE && e->off > max - e->len)
		return -EIO;
	return 0;
}

int ns_extents_load(struct ns_ctx *x, struct wire_bytes blob,
		    struct ns_extents **ret)
{
	struct wire_reader r = { .p = blob.p, .left = blob.len };
	struct ns_extents *list = ns_alloc(x, sizeof(*list));
	uint64_t pos = 0;
	uint32_t n;

	if (list == NULL)
		return -ENOMEM;
	wire_get_u32(&r, &n);
	if (r.err != 0 || n > r.left / NS_EXTENT_MIN)
		return -EIO;
	list->cap = n + 4;
	list->v = ns_alloc(x, list->cap * sizeof(*list->v));
	if (list->v == NULL)
		return -ENOMEM;
	for (; list->n < n; list->n++) {
		struct ns_extent *e = &list->v[list->n];

		if (ns_extent_load(&r, e) != 0 || e->pos < pos)
			return -EIO;
		pos = ns_extent_end(e);
		list->bytes += ns_extent_stored(e);
	}
	*ret = list;
	return 0;
}

static void ns_extent_save(const struct ns_extent *e, bool local,
			   struct wire_writer *w)
{
	struct wire_bytes bytes = wire_bytes(e->bytes, e->len);
	uint64_t gen = local ? e->gen : 0, at = local ? e->at : 0;

	wire_put_u8(w, &e->kind);
	wire_put_u64(w, &e->pos);
	wire_put_u64(w, &e->len);
	if (e->kind == NS_EXT_CHUNKS || e->kind == NS_EXT_VALUE) {
		wire_put_u128(w, &e->id);
		wire_put_u64(w, &e->off);
	}
	if (e->kind == NS_EXT_VALUE) {
		wire_put_u64(w, &gen);
		wire_put_u64(w, &at);
		wire_put_u32(w, &e->vlen);
	} else if (e->kind == NS_EXT_BYTES) {
		wire_put_blob(w, &bytes);
	}
}

void ns_extents_save(const struct ns_extents *list, bool local,
		     struct buf *out)
{
	struct wire_writer w = { out };
	uint32_t n = list->n;

	if (n == 0)
		return;
	wire_put_u32(&w, &n);
	for (unsigned i = 0; i < n; i++)
		ns_extent_save(&list->v[i], local, &w);
}

/* --- cutting and joining --- */

/* Moves the front of e up by n bytes. */
static void ns_extent_skip(struct ns_extent *e, uint64_t n)
{
	e->pos += n;
	e->len -= n;
	if (e->kind == NS_EXT_CHUNKS || e->kind == NS_EXT_VALUE)
		e->off += n;
	else if (e->kind == NS_EXT_BYTES)
		e->bytes += n;
}

/* Joins b, which follows a, into a when the two are one run of bytes. */
static int ns_extent_join(struct ns_ctx *x, struct ns_extent *a,
			  const struct ns_extent *b, bool *ret_joined)
{
	uint8_t *p;

	*ret_joined = false;
	if (a->kind != b->kind || ns_extent_end(a) != b->pos)
		return 0;
	if (a->kind == NS_EXT_CHUNKS || a->kind == NS_EXT_VALUE) {
		if (!wire_u128_eq(a->id, b->id) || a->off + a->len != b->off)
			return 0;
		if (a->kind == NS_EXT_VALUE &&
		    (a->gen != b->gen || a->at != b->at))
			return 0;
	} else if (a->kind == NS_EXT_BYTES) {
		/* an answer lends bytes from rows: nothing made here */
		if (x->cmd == NULL || a->len + b->len > NS_INLINE_ROW)
			return 0;
		p = ns_alloc(x, a->len + b->len);
		if (p == NULL)
			return -ENOMEM;
		memcpy(p, a->bytes, a->len);
		memcpy(p + a->len, b->bytes, b->len);
		a->bytes = p;
	}
	a->len += b->len;
	*ret_joined = true;
	return 0;
}

/* Replaces v[i, j) by the k extents of with. */
static int ns_extents_splice(struct ns_ctx *x, struct ns_extents *list,
			     unsigned i, unsigned j,
			     const struct ns_extent *with, unsigned k)
{
	unsigned n = list->n - (j - i) + k;

	if (n > list->cap) {
		unsigned cap = n + n / 2 + 4;
		struct ns_extent *v = ns_alloc(x, cap * sizeof(*v));

		if (v == NULL)
			return -ENOMEM;
		if (list->n > 0)
			memcpy(v, list->v, list->n * sizeof(*v));
		list->v = v;
		list->cap = cap;
	}
	for (unsigned m = i; m < j; m++)
		list->bytes -= ns_extent_stored(&list->v[m]);
	if (list->n > j)
		memmove(&list->v[i + k], &list->v[j],
			(list->n - j) * sizeof(*list->v));
	for (unsigned m = 0; m < k; m++) {
		list->v[i + m] = with[m];
		list->bytes += ns_extent_stored(&with[m]);
	}
	list->n = n;
	return 0;
}

/* The first extent that ends behind pos. */
static unsigned ns_extents_find(const struct ns_extents *list, uint64_t pos)
{
	unsigned lo = 0, hi = list->n;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (ns_extent_end(&list->v[mid]) > pos)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

/* Adds e to out, joined with the last one there when it continues it. */
static int ns_extents_gather(struct ns_ctx *x, struct ns_extent *out,
			     unsigned *n, const struct ns_extent *e)
{
	bool joined = false;
	int rv = 0;

	if (*n > 0)
		rv = ns_extent_join(x, &out[*n - 1], e, &joined);
	if (rv == 0 && !joined)
		out[(*n)++] = *e;
	return rv;
}

int ns_extents_put(struct ns_ctx *x, struct ns_extents *list,
		   const struct ns_extent *e, bool keep_zero)
{
	uint64_t end = ns_extent_end(e);
	unsigned i = ns_extents_find(list, e->pos), j = i, n = 0;
	struct ns_extent with[5], piece;
	int rv = 0;

	while (j < list->n && list->v[j].pos < end)
		j++;
	/* the neighbours, too: they may continue or be continued */
	if (i > 0 && ns_extent_end(&list->v[i - 1]) == e->pos) {
		i--;
		with[n++] = list->v[i];
	} else if (i < j && list->v[i].pos < e->pos) {
		piece = list->v[i];
		piece.len = e->pos - piece.pos;
		with[n++] = piece;
	}
	if (e->kind != NS_EXT_ZERO || keep_zero)
		rv = ns_extents_gather(x, with, &n, e);
	if (rv == 0 && j > i && ns_extent_end(&list->v[j - 1]) > end) {
		piece = list->v[j - 1];
		ns_extent_skip(&piece, end - piece.pos);
		rv = ns_extents_gather(x, with, &n, &piece);
	} else if (rv == 0 && j < list->n && list->v[j].pos == end) {
		rv = ns_extents_gather(x, with, &n, &list->v[j]);
		j++;
	}
	return rv != 0 ? rv : ns_extents_splice(x, list, i, j, with, n);
}

int ns_extents_cut(struct ns_ctx *x, struct ns_extents *list, uint64_t pos)
{
	unsigned i = ns_extents_find(list, pos);
	struct ns_extent piece;
	unsigned n = 0;

	if (i < list->n && list->v[i].pos < pos) {
		piece = list->v[i];
		piece.len = pos - piece.pos;
		n = 1;
	}
	return ns_extents_splice(x, list, i, list->n, &piece, n);
}

bool ns_extents_has(const struct ns_extents *list, struct wire_u128 slice)
{
	for (unsigned i = 0; i < list->n; i++) {
		const struct ns_extent *e = &list->v[i];

		if (e->kind == NS_EXT_CHUNKS && wire_u128_eq(e->id, slice))
			return true;
	}
	return false;
}
