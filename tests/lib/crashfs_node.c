#include "tests/lib/crashfs_impl.h"

#include <stdlib.h>
#include <string.h>

const uint8_t cfs_zeros[PAGE];

void *cfs_alloc(size_t size)
{
	void *p = calloc(1, size);

	if (p == NULL)
		abort();
	return p;
}

char *cfs_strdup(const char *s)
{
	char *p = strdup(s);

	if (p == NULL)
		abort();
	return p;
}

void *cfs_grow(void *p, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return p;
	*cap = *cap == 0 ? 16 : *cap * 2;
	p = realloc(p, *cap * size);
	if (p == NULL)
		abort();
	return p;
}

/* --- pages --- */

static struct page *page_ref(struct page *p)
{
	if (p != NULL)
		__atomic_fetch_add(&p->refs, 1, __ATOMIC_RELAXED);
	return p;
}

static void page_unref(struct page *p)
{
	if (p != NULL &&
	    __atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(p);
}

uint8_t *cfs_page_own(struct page **at)
{
	struct page *p = *at;

	if (p != NULL && __atomic_load_n(&p->refs, __ATOMIC_ACQUIRE) == 1)
		return p->b;
	p = malloc(sizeof(*p));
	if (p == NULL)
		abort();
	p->refs = 1;
	memcpy(p->b, cfs_page_bytes(*at), PAGE);
	page_unref(*at);
	*at = p;
	return p->b;
}

static void page_set(struct page **at, struct page *p)
{
	page_ref(p);
	page_unref(*at);
	*at = p;
}

/* --- nodes --- */

struct node *cfs_node_new(bool dir)
{
	struct node *n = cfs_alloc(sizeof(*n));

	n->refs = 1;
	n->dir = dir;
	return n;
}

void cfs_node_unref(struct node *n)
{
	if (n == NULL || --n->refs > 0)
		return;
	for (size_t i = 0; i < n->n; i++) {
		page_unref(n->cur[i]);
		page_unref(n->dur[i]);
		free(n->dirty[i]);
	}
	free(n->cur);
	free(n->dur);
	free(n->dirty);
	free(n);
}

static void node_resize(struct node *n, size_t pages)
{
	if (pages <= n->n)
		return;
	n->cur = realloc(n->cur, pages * sizeof(*n->cur));
	n->dur = realloc(n->dur, pages * sizeof(*n->dur));
	n->dirty = realloc(n->dirty, pages * sizeof(*n->dirty));
	if (n->cur == NULL || n->dur == NULL || n->dirty == NULL)
		abort();
	for (; n->n < pages; n->n++) {
		n->cur[n->n] = NULL;
		n->dur[n->n] = NULL;
		n->dirty[n->n] = NULL;
	}
}

/* Writes data (at most to the page's end) and notes what it changes. */
static void node_write_page(struct node *n, size_t i, size_t at,
			    const uint8_t *data, size_t len)
{
	const uint8_t *cur = cfs_page_bytes(n->cur[i]);
	const uint8_t *dur = cfs_page_bytes(n->dur[i]);
	struct dirty *d = n->dirty[i];

	for (size_t s = at / SECTOR; s <= (at + len - 1) / SECTOR; s++) {
		size_t lo = s * SECTOR > at ? s * SECTOR : at;
		size_t hi = (s + 1) * SECTOR < at + len ? (s + 1) * SECTOR
							: at + len;
		size_t a = lo, b = hi;

		if (memcmp(cur + lo, data + (lo - at), hi - lo) == 0 &&
		    memcmp(dur + lo, data + (lo - at), hi - lo) == 0)
			continue;
		while (cur[a] == data[a - at] && dur[a] == data[a - at])
			a++;
		while (cur[b - 1] == data[b - 1 - at] &&
		       dur[b - 1] == data[b - 1 - at])
			b--;
		if (d == NULL)
			d = n->dirty[i] = cfs_alloc(sizeof(*d));
		if (d->hi[s] == 0 || a - s * SECTOR < d->lo[s])
			d->lo[s] = (uint16_t)(a - s * SECTOR);
		if (b - s * SECTOR > d->hi[s])
			d->hi[s] = (uint16_t)(b - s * SECTOR);
	}
	if (memcmp(cur + at, data, len) != 0)
		memcpy(cfs_page_own(&n->cur[i]) + at, data, len);
}

void cfs_node_write(struct node *n, const uint8_t *data, size_t len,
		    uint64_t off)
{
	if (off + len > n->len)
		n->len = off + len;
	node_resize(n, (size_t)((n->len + PAGE - 1) / PAGE));
	while (len > 0) {
		size_t at = (size_t)(off % PAGE);
		size_t part = PAGE - at < len ? PAGE - at : len;

		node_write_page(n, (size_t)(off / PAGE), at, data, part);
		data += part;
		off += part;
		len -= part;
	}
}

void cfs_node_write_back(struct node *n, size_t i, size_t s)
{
	struct dirty *d = n->dirty[i];

	memcpy(cfs_page_own(&n->dur[i]) + s * SECTOR,
	       cfs_page_bytes(n->cur[i]) + s * SECTOR, SECTOR);
	d->lo[s] = 0;
	d->hi[s] = 0;
}

void cfs_node_sync(struct node *n)
{
	for (size_t i = 0; i < n->n; i++) {
		struct dirty *d = n->dirty[i];

		if (d == NULL)
			continue;
		for (size_t s = 0; n->lost && s < SECTORS; s++)
			if (d->hi[s] != 0)
				cfs_node_write_back(n, i, s);
		if (!n->lost)
			page_set(&n->dur[i], n->cur[i]);
		free(d);
		n->dirty[i] = NULL;
	}
	n->dlen = n->len;
}

void cfs_node_lose(struct node *n)
{
	n->lost = true;
	for (size_t i = 0; i < n->n; i++) {
		free(n->dirty[i]);
		n->dirty[i] = NULL;
	}
}

void cfs_node_truncate(struct node *n, uint64_t len)
{
	node_resize(n, (size_t)((len + PAGE - 1) / PAGE));
	for (size_t i = (size_t)(len / PAGE); i < n->n; i++) {
		size_t keep = i == len / PAGE ? (size_t)(len % PAGE) : 0;

		node_write_page(n, i, keep, cfs_zeros, PAGE - keep);
	}
	n->len = len;
}

struct node *cfs_node_clone(const struct node *n)
{
	struct node *c = cfs_node_new(n->dir);

	node_resize(c, n->n);
	for (size_t i = 0; i < n->n; i++) {
		c->cur[i] = page_ref(n->cur[i]);
		c->dur[i] = page_ref(n->dur[i]);
		if (n->dirty[i] != NULL) {
			c->dirty[i] = cfs_alloc(sizeof(struct dirty));
			*c->dirty[i] = *n->dirty[i];
		}
	}
	c->lost = n->lost;
	c->len = n->len;
	c->dlen = n->dlen;
	return c;
}

/* One page after a power cut; a new reference. */
static struct page *page_image(const struct node *n, size_t i, uint64_t *rng)
{
	struct page *p = page_ref(n->dur[i]);
	const uint8_t *cur = cfs_page_bytes(n->cur[i]);

	for (size_t s = 0; n->dirty[i] != NULL && s < SECTORS; s++) {
		size_t lo = s * SECTOR + n->dirty[i]->lo[s];
		size_t hi = s * SECTOR + n->dirty[i]->hi[s];
		uint64_t r = cfs_rnd(rng);
		uint8_t *b;

		if (n->dirty[i]->hi[s] == 0 || r % 4 == 0)
			continue;
		b = cfs_page_own(&p);
		memcpy(b + lo, cur + lo, hi - lo);
		if (r % 4 == 1)
			for (lo += (r >> 8) % (hi - lo); lo < hi; lo++)
				b[lo] = (uint8_t)cfs_rnd(rng);
	}
	return p;
}

/* mood: 0 all old, 1 all new, else sector by sector. */
struct node *cfs_node_image(const struct node *n, uint64_t *rng)
{
	struct node *c = cfs_node_new(n->dir);
	uint64_t mood = cfs_rnd(rng) % 8, lo = n->dlen, span = 0;
	size_t pages;

	if (n->len > n->dlen)
		span = n->len - n->dlen;
	if (n->len < n->dlen) {
		lo = n->len;
		span = n->dlen - n->len;
	}
	switch (cfs_rnd(rng) % 3) {
	case 0:
		c->len = lo + cfs_rnd(rng) % (span + 1);
		break;
	case 1:
		c->len = n->len;
		break;
	default:
		c->len = n->dlen;
		break;
	}
	pages = (size_t)((c->len + PAGE - 1) / PAGE);
	node_resize(c, pages);
	for (size_t i = 0; i < pages && i < n->n; i++) {
		if (n->dirty[i] == NULL || mood == 0)
			c->dur[i] = page_ref(n->dur[i]);
		else if (mood == 1 && !n->lost)
			c->dur[i] = page_ref(n->cur[i]);
		else
			c->dur[i] = page_image(n, i, rng);
	}
	if (c->len % PAGE != 0 && c->dur[pages - 1] != NULL)
		memset(cfs_page_own(&c->dur[pages - 1]) + c->len % PAGE, 0,
		       PAGE - c->len % PAGE);
	for (size_t i = 0; i < pages; i++)
		c->cur[i] = page_ref(c->dur[i]);
	c->dlen = c->len;
	return c;
}
