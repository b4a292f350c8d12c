/*
 * Sets of generations as a few ranges: which segments there are. Segments are
 * made one after the other and freed mostly from the old end, so the ranges
 * stay few.
 */
#include "common/seg/seg_int.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

void seg_ranges_fini(struct seg_ranges *r)
{
	mem_free(r->v);
	memset(r, 0, sizeof(*r));
}

static int seg_ranges_grow(struct seg_ranges *r)
{
	size_t cap = r->cap == 0 ? 4 : r->cap * 2;
	struct seg_range *p;

	if (r->n < r->cap)
		return 0;
	p = mem_realloc(r->v, cap * sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	r->v = p;
	r->cap = cap;
	return 0;
}

/* Index of the first range that ends at or behind gen; n when there is none. */
static size_t seg_ranges_find(const struct seg_ranges *r, uint64_t gen)
{
	size_t lo = 0, hi = r->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (r->v[mid].to < gen)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool seg_ranges_has(const struct seg_ranges *r, uint64_t gen)
{
	size_t i = seg_ranges_find(r, gen);

	return i < r->n && r->v[i].from <= gen;
}

static int seg_ranges_insert(struct seg_ranges *r, size_t i,
			     struct seg_range range)
{
	if (seg_ranges_grow(r) != 0)
		return -ENOMEM;
	memmove(&r->v[i + 1], &r->v[i], (r->n - i) * sizeof(*r->v));
	r->v[i] = range;
	r->n++;
	return 0;
}

static void seg_ranges_erase(struct seg_ranges *r, size_t i)
{
	r->n--;
	memmove(&r->v[i], &r->v[i + 1], (r->n - i) * sizeof(*r->v));
}

int seg_ranges_add(struct seg_ranges *r, uint64_t gen)
{
	size_t i = seg_ranges_find(r, gen);
	bool before, behind;

	if (i < r->n && r->v[i].from <= gen)
		return 0;
	before = i > 0 && r->v[i - 1].to == gen - 1;
	behind = i < r->n && r->v[i].from == gen + 1;
	if (!before && !behind)
		return seg_ranges_insert(r, i, (struct seg_range){ gen, gen });
	if (!before) {
		r->v[i].from = gen;
		return 0;
	}
	r->v[i - 1].to = gen;
	if (behind) {
		r->v[i - 1].to = r->v[i].to;
		seg_ranges_erase(r, i);
	}
	return 0;
}

int seg_ranges_remove(struct seg_ranges *r, uint64_t gen)
{
	size_t i = seg_ranges_find(r, gen);
	struct seg_range *at;

	if (i == r->n || r->v[i].from > gen)
		return 0;
	at = &r->v[i];
	if (at->from == gen && at->to == gen) {
		seg_ranges_erase(r, i);
	} else if (at->from == gen) {
		at->from++;
	} else if (at->to == gen) {
		at->to--;
	} else {
		struct seg_range rest = { gen + 1, at->to };

		if (seg_ranges_insert(r, i + 1, rest) != 0)
			return -ENOMEM;
		r->v[i].to = gen - 1;
	}
	return 0;
}

void seg_ranges_encode(const struct seg_ranges *r, struct buf *out)
{
	struct wire_writer w = { out };

	for (size_t i = 0; i < r->n; i++) {
		wire_put_u64(&w, &r->v[i].from);
		wire_put_u64(&w, &r->v[i].to);
	}
}

int seg_ranges_decode(struct seg_ranges *r, const uint8_t *p, size_t len,
		      uint32_t n, uint64_t gen)
{
	struct wire_reader in = { .p = p, .left = len, .strict = true };
	struct seg_range *v;
	uint64_t last = 0;

	if (n > len / SEG_RANGE_LEN)
		return -EBADMSG;
	v = mem_calloc((size_t)n + 1, sizeof(*v));
	if (v == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		wire_get_u64(&in, &v[i].from);
		wire_get_u64(&in, &v[i].to);
		if (v[i].from == 0 || v[i].from > v[i].to || v[i].to >= gen ||
		    (i > 0 && v[i].from <= last + 1)) {
			mem_free(v);
			return -EBADMSG;
		}
		last = v[i].to;
	}
	seg_ranges_fini(r);
	*r = (struct seg_ranges){ v, n, (size_t)n + 1 };
	return 0;
}
