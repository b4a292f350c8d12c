#include "fuse/dircur.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

/* A reply of the shard: encoded entries and where each begins. */
struct dircur_page {
	uint64_t first;
	uint64_t stamp;
	bool plus;
	unsigned n;
	uint8_t *bytes;  /* the encoded list */
	uint32_t *start; /* n + 1 offsets into bytes */
};

/* Entry number `first` is the one behind name. */
struct dircur_mark {
	uint64_t first;
	uint8_t *name;
	size_t len;
};

static void dircur_page_free(struct dircur_page *p)
{
	if (p == NULL)
		return;
	mem_free(p->bytes);
	mem_free(p->start);
	mem_free(p);
}

void dircur_init(struct dircur *c)
{
	memset(c, 0, sizeof(*c));
}

void dircur_clear(struct dircur *c)
{
	for (unsigned i = 0; i < DIRCUR_PAGES; i++)
		dircur_page_free(c->page[i]);
	for (unsigned i = 0; i < c->n_marks; i++)
		mem_free(c->mark[i].name);
	mem_free(c->mark);
	dircur_init(c);
}

static void dircur_read_entry(struct wire_reader *r, bool plus,
			      struct dircur_entry *ret_entry)
{
	uint8_t shadowed;

	wire_get_str(r, &ret_entry->row);
	wire_get_u64(r, &ret_entry->ino);
	wire_get_u32(r, &ret_entry->mode);
	wire_get_u8(r, &shadowed);
	ret_entry->shadowed = shadowed != 0;
	if (plus)
		wire_get_attr(r, &ret_entry->attr);
	/* 0: of another shard, which a look-up asks */
	ret_entry->has_attr = plus && ret_entry->attr.ino != 0;
}

static void dircur_page_entry(const struct dircur_page *p, unsigned i,
			      struct dircur_entry *ret_entry)
{
	struct wire_reader r = { p->bytes + p->start[i],
				 p->start[i + 1] - p->start[i], 0, false };

	dircur_read_entry(&r, p->plus, ret_entry);
}

/* Index of the last mark that is not behind number; -1 when it is the start. */
static int dircur_mark_find(const struct dircur *c, uint64_t number)
{
	int lo = 0, hi = (int)c->n_marks;

	while (lo < hi) {
		int mid = lo + (hi - lo) / 2;

		if (c->mark[mid].first > number)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo - 1;
}

static const struct dircur_page *dircur_page_of(const struct dircur *c,
						uint64_t first)
{
	for (unsigned i = 0; i < DIRCUR_PAGES; i++)
		if (c->page[i] != NULL && c->page[i]->first == first)
			return c->page[i];
	return NULL;
}

enum dircur_state dircur_get(struct dircur *c, uint64_t *number,
			     struct dircur_entry *ret_entry,
			     uint64_t *ret_stamp, struct dircur_want *ret_want)
{
	for (;;) {
		int m = dircur_mark_find(c, *number);
		uint64_t first = m < 0 ? 0 : c->mark[m].first;
		const struct dircur_page *p = dircur_page_of(c, first);

		if (c->ended && *number >= c->end)
			return DIRCUR_END;
		if (p == NULL) {
			ret_want->first = first;
			ret_want->after = m < 0 ? wire_bytes(NULL, 0)
						: wire_bytes(c->mark[m].name,
							     c->mark[m].len);
			return DIRCUR_MISSING;
		}
		if (*number - first < p->n) {
			dircur_page_entry(p, (unsigned)(*number - first),
					  ret_entry);
			*ret_stamp = p->stamp;
			return DIRCUR_FOUND;
		}
		/* The page shrank since its end was marked. */
		if (m + 1 >= (int)c->n_marks)
			return DIRCUR_END;
		*number = c->mark[m + 1].first;
	}
}

/* Decodes all entries once; the page is whole or refused. */
static int dircur_parse(struct dircur_page *p, struct wire_bytes list,
			const struct dircur_mark *stop)
{
	uint32_t count;
	struct wire_reader r = wire_vec_reader(list, &count);
	const uint8_t *base = r.p;
	unsigned most = stop == NULL ? count
				     : (unsigned)(stop->first - p->first);

	p->bytes = mem_dup(r.p, r.left);
	p->start = mem_calloc((size_t)count + 1, sizeof(*p->start));
	if (p->bytes == NULL || p->start == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count && r.err == 0; i++) {
		struct dircur_entry e;

		if (p->n == most)
			break;
		p->start[p->n] = (uint32_t)(r.p - base);
		dircur_read_entry(&r, p->plus, &e);
		if (r.err != 0)
			break;
		/* What lies behind the next mark belongs to its page. */
		if (stop != NULL &&
		    wire_bytes_cmp(e.row,
				   wire_bytes(stop->name, stop->len)) > 0)
			break;
		p->n++;
		p->start[p->n] = (uint32_t)(r.p - base);
	}
	return r.err != 0 ? -EBADMSG : 0;
}

/* Marks the end of the newest page, so that the next one can be asked for. */
static int dircur_mark_end(struct dircur *c, const struct dircur_page *p)
{
	struct dircur_entry last;
	struct dircur_mark *m;
	uint8_t *name;

	if (c->n_marks == c->cap_marks) {
		unsigned cap = c->cap_marks == 0 ? 8 : c->cap_marks * 2;

		m = mem_realloc(c->mark, cap * sizeof(*m));
		if (m == NULL)
			return -ENOMEM;
		c->mark = m;
		c->cap_marks = cap;
	}
	dircur_page_entry(p, p->n - 1, &last);
	name = mem_dup(last.row.p, last.row.len);
	if (name == NULL)
		return -ENOMEM;
	c->mark[c->n_marks++] = (struct dircur_mark){
		.first = p->first + p->n, .name = name, .len = last.row.len,
	};
	return 0;
}

int dircur_add(struct dircur *c, uint64_t first, struct wire_bytes list,
	       bool plus, bool eof, uint64_t stamp)
{
	struct dircur_page *p;
	int next = dircur_mark_find(c, first) + 1;
	const struct dircur_mark *stop =
		next < (int)c->n_marks ? &c->mark[next] : NULL;
	int rv;

	if (dircur_page_of(c, first) != NULL)
		return 0; /* two readers of one handle asked for it */
	p = mem_zalloc(sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	p->first = first;
	p->stamp = stamp;
	p->plus = plus;
	rv = dircur_parse(p, list, stop);
	if (rv == 0 && stop == NULL && !eof)
		rv = p->n == 0 ? -EBADMSG : dircur_mark_end(c, p);
	if (rv != 0) {
		dircur_page_free(p);
		return rv;
	}
	if (stop == NULL && eof) {
		c->ended = true;
		c->end = first + p->n;
	}
	dircur_page_free(c->page[DIRCUR_PAGES - 1]);
	memmove(&c->page[1], &c->page[0],
		(DIRCUR_PAGES - 1) * sizeof(c->page[0]));
	c->page[0] = p;
	return 0;
}
