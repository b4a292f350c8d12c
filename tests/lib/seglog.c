#include "tests/lib/seglog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/seg/seg_int.h"

#define SEGLOG_ALIGN 4096u

struct seglog_free {
	struct seg_free f;
	struct seglog *l;
	struct seglog_free *next;
};

/* One append with its bytes. */
struct seglog_op {
	struct seg_append a;
	struct seglog *l;
	size_t item;
	uint8_t *bytes; /* behind it, in the same block */
};

static uint64_t next_num = 1; /* never used twice in a history */

void seglog_renumber(void)
{
	next_num = 1;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

void seglog_fill(uint64_t num, uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = mix(num * 1000003 + i + 1);

		memcpy(buf + i, &v, len - i < 8 ? len - i : 8);
	}
}

/* The fields of record num. */
static void seglog_fields(uint64_t num, struct seg_append *a)
{
	a->type = num % 2 == 0 ? SEG_ENTRY : SEG_CHUNK;
	a->flags = (uint8_t)num;
	a->group = (uint16_t)mix(num);
	a->a = num;
	a->b = mix(num + 1);
	a->id.hi = mix(num + 2);
	a->id.lo = mix(num + 3);
}

void seglog_init(struct seglog *l, const char *dir)
{
	memset(l, 0, sizeof(*l));
	l->config.dir = dir;
	memcpy(l->config.store_id, "0123456789abcdef", 16);
	l->config.segment_size = 16 << 10;
	l->config.first_size = 8 << 10;
}

void seglog_fini(struct seglog *l)
{
	free(l->items);
	free(l->freed);
	l->items = NULL;
	l->freed = NULL;
}

static void *seglog_dup(const void *p, size_t n, size_t room, size_t size)
{
	void *q = calloc(n + room, size);

	if (q == NULL)
		abort();
	if (n > 0)
		memcpy(q, p, n * size);
	return q;
}

void seglog_copy(struct seglog *to, const struct seglog *from)
{
	*to = *from;
	to->head = NULL;
	to->port = NULL;
	to->frees = NULL;
	to->pending = 0;
	to->cap = from->n + 16;
	to->items = seglog_dup(from->items, from->n, 16, sizeof(*to->items));
	to->freed = seglog_dup(from->freed, from->n_freed, 1,
			       sizeof(*to->freed));
}

void seglog_bad(struct seglog *l, const char *what, uint64_t num)
{
	if (l->bad[0] == '\0')
		(void)snprintf(l->bad, sizeof(l->bad), "%s (record %llu)",
			       what, (unsigned long long)num);
}

/* --- what is not needed any more --- */

static struct seglog_freed *seglog_freed_find(const struct seglog *l,
					      uint64_t gen)
{
	for (size_t i = 0; i < l->n_freed; i++)
		if (l->freed[i].gen == gen)
			return &l->freed[i];
	return NULL;
}

bool seglog_is_freed(const struct seglog *l, uint64_t gen)
{
	return seglog_freed_find(l, gen) != NULL;
}

/* True when recovery need not hand out item i. */
static bool seglog_passed(const struct seglog *l, size_t i)
{
	const struct seglog_item *it = &l->items[i];

	if (it->seq != 0 && it->seq < l->config.from_seq)
		return true;
	return it->pos.gen != 0 && (it->pos.gen < l->from ||
				    seglog_is_freed(l, it->pos.gen));
}

static void seglog_start_body(void *arg, uint64_t gen, struct buf *buf)
{
	struct seglog *l = arg;

	(void)gen;
	buf_add(buf, &l->need, sizeof(l->need));
}

static int seglog_scan_from(void *arg, const struct seg_rec *start,
			    uint64_t *ret_gen)
{
	struct seglog *l = arg;

	if (start->len != sizeof(l->from)) {
		seglog_bad(l, "START without its body", start->pos.gen);
		return 0;
	}
	memcpy(&l->from, start->body, sizeof(l->from));
	*ret_gen = l->from;
	return 0;
}

static int seglog_on_record(void *arg, const struct seg_rec *rec)
{
	struct seglog *l = arg;
	struct seg_append want = { 0 };
	struct seglog_item *it;
	uint8_t *bytes;

	if (rec->type == SEG_START) {
		l->starts++;
		return 0;
	}
	while (l->found < l->n && l->items[l->found].num != rec->a &&
	       seglog_passed(l, l->found))
		l->found++;
	/* rot may have taken some between */
	while (l->allow_rot && l->found < l->n &&
	       l->items[l->found].num != rec->a) {
		l->found++;
		l->lost++;
	}
	if (l->found >= l->n) {
		seglog_bad(l, "returned, but never issued", rec->a);
		return 0;
	}
	it = &l->items[l->found++];
	l->handed++;
	seglog_fields(it->num, &want);
	if (rec->a != it->num)
		seglog_bad(l, "not the next one", rec->a);
	else if (rec->type != want.type || rec->flags != want.flags ||
		 rec->group != want.group || rec->b != want.b ||
		 !wire_u128_eq(rec->id, want.id) || rec->len != it->len)
		seglog_bad(l, "fields differ", rec->a);
	if (it->pos.gen != 0 && (it->pos.gen != rec->pos.gen ||
				 it->pos.off != rec->pos.off))
		seglog_bad(l, "at another place", rec->a);
	it->pos = rec->pos;
	it->seq = rec->seq;
	if (rec->body == NULL || rec->len != it->len)
		return 0;
	bytes = malloc((size_t)it->len + 8);
	if (bytes == NULL)
		abort();
	seglog_fill(it->num, bytes, (size_t)it->len);
	if (memcmp(bytes, rec->body, (size_t)it->len) != 0)
		seglog_bad(l, "bytes differ", rec->a);
	free(bytes);
	return 0;
}

static void seglog_on_rot(void *arg, const struct seg_rot *rot)
{
	struct seglog *l = arg;

	l->rot += rot->n;
	if (rot->rec != NULL && (rot->rec->seq != rot->seq || rot->n != 1))
		seglog_bad(l, "rot of another record", rot->seq);
	if (!l->allow_rot)
		seglog_bad(l, "reported as rot", rot->seq);
	if (rot->pos.gen == 0 || rot->n == 0)
		seglog_bad(l, "rot nowhere", rot->seq);
}

/* Segments whose FREED was not acknowledged are there, or gone for good. */
static void seglog_settle(struct seglog *l)
{
	struct seg_info *infos;
	size_t n = 0, kept = 0;

	if (seg_segments(l->head, &infos, &n) != 0)
		abort();
	for (size_t i = 0; i < l->n_freed; i++) {
		struct seglog_freed *f = &l->freed[i];
		bool there = false;

		for (size_t k = 0; k < n; k++)
			there |= infos[k].gen == f->gen;
		if (there && f->done)
			seglog_bad(l, "freed, but back: segment", f->gen);
		f->done = true;
		if (!there)
			l->freed[kept++] = *f;
	}
	l->n_freed = kept;
	mem_free(infos);
}

int seglog_open(struct seglog *l, struct env *env)
{
	struct errbuf e = { "" };
	int rv;

	l->config.on_record = seglog_on_record;
	l->config.on_rot = seglog_on_rot;
	l->config.scan_from = l->config.from_seq == 0 ? seglog_scan_from
						      : NULL;
	if (l->config.start_body == NULL)
		l->config.start_body = seglog_start_body;
	l->config.arg = l;
	l->found = 0;
	l->handed = 0;
	l->lost = 0;
	l->rot = 0;
	l->starts = 0;
	l->from = 0;
	rv = seg_head_open(env, &l->config, &l->head, &e);
	if (rv != 0) {
		(void)snprintf(l->bad, sizeof(l->bad), "open: %.180s", e.text);
		return rv;
	}
	seglog_settle(l);
	while (l->found < l->acked && seglog_passed(l, l->found))
		l->found++;
	/* rot of the last ones shows in the count only */
	while (l->allow_rot && l->found < l->n && l->lost < l->rot) {
		l->found++;
		l->lost++;
	}
	if (l->found < l->acked)
		seglog_bad(l, "acknowledged, but gone",
			   l->items[l->found].num);
	/* bodies that recovery trusted are read by their owner later */
	for (size_t i = 0; l->config.bulk && !l->allow_rot && i < l->found;
	     i++)
		if (seglog_read(l, i) != 0)
			seglog_bad(l, "cannot be read", l->items[i].num);
	l->n = l->found;
	l->acked = l->told = l->found;
	return seg_port_new(l->head, env, &l->port);
}

static void seglog_done(struct seg_append *a)
{
	struct seglog_op *op = CONTAINER_OF(a, struct seglog_op, a);
	struct seglog *l = op->l;

	if (op->item != l->told)
		seglog_bad(l, "acknowledged out of order", a->a);
	l->told = op->item + 1;
	if (!a->loose)
		l->acked = l->told;
	l->items[op->item].pos = a->pos;
	l->pending--;
	if (a->body_off != a->pos.off + SEG_HEADER_LEN)
		seglog_bad(l, "body offset", a->a);
	free(op);
}

/* Bytes on a page of their own, as bodies have them: O_DIRECT wants that. */
static struct seglog_op *seglog_op_new(size_t len)
{
	struct seglog_op *op;
	void *p;

	_Static_assert(sizeof(*op) <= SEGLOG_ALIGN, "bytes begin there");
	if (posix_memalign(&p, SEGLOG_ALIGN, SEGLOG_ALIGN + len + 8) != 0)
		abort();
	memset(p, 0, SEGLOG_ALIGN + len + 8);
	op = p;
	op->bytes = (uint8_t *)p + SEGLOG_ALIGN;
	return op;
}

static void seglog_on_sync(struct seg_append *a)
{
	struct seglog_op *op = CONTAINER_OF(a, struct seglog_op, a);
	struct seglog *l = op->l;

	if (op->item > l->told)
		seglog_bad(l, "synced, but not written", op->item);
	if (op->item > l->acked)
		l->acked = op->item;
	l->pending--;
	free(op);
}

void seglog_sync(struct seglog *l, bool loose)
{
	struct seglog_op *op = seglog_op_new(0);

	op->l = l;
	op->item = l->n;
	op->a.type = SEG_NONE;
	op->a.loose = loose;
	op->a.done = seglog_on_sync;
	l->pending++;
	seg_append(l->port, &op->a);
}

static void seglog_add(struct seglog *l, size_t len, bool loose)
{
	struct seglog_op *op = seglog_op_new(len);
	size_t at = 0;

	if (l->n == l->cap) {
		l->cap = l->cap * 2 + 64;
		l->items = realloc(l->items, l->cap * sizeof(*l->items));
		if (l->items == NULL)
			abort();
	}
	l->items[l->n] = (struct seglog_item){ .num = next_num, .len = len };
	op->l = l;
	op->item = l->n++;
	seglog_fields(next_num, &op->a);
	seglog_fill(next_num, op->bytes, len);
	/* in 0 to 4 pieces */
	op->a.niov = len == 0 ? 0 : (int)(1 + next_num % SEG_IOV);
	for (int i = 0; i < op->a.niov; i++) {
		size_t end = len * (size_t)(i + 1) / (size_t)op->a.niov;

		op->a.iov[i].iov_base = op->bytes + at;
		op->a.iov[i].iov_len = end - at;
		at = end;
	}
	if (next_num % 3 == 0) {
		op->a.has_hash = true;
		op->a.hash = seg_hash(op->bytes, len);
	}
	op->a.loose = loose;
	op->a.done = seglog_done;
	next_num++;
	l->pending++;
	seg_append(l->port, &op->a);
}

void seglog_append(struct seglog *l, size_t len)
{
	seglog_add(l, len, false);
}

void seglog_append_loose(struct seglog *l, size_t len)
{
	seglog_add(l, len, true);
}

void seglog_close(struct seglog *l)
{
	seg_port_free(l->port);
	l->port = NULL;
	seg_head_close(l->head);
	l->head = NULL;
}

static void seglog_free_ops(struct seg_append *a)
{
	while (a != NULL) {
		struct seg_append *next = a->next;

		if (a->done == seglog_done || a->done == seglog_on_sync)
			free(CONTAINER_OF(a, struct seglog_op, a));
		a = next;
	}
}

void seglog_abandon(struct seglog *l)
{
	struct seg_port *p = l->port;

	if (l->head != NULL)
		seg_head_abandon(l->head);
	/* appends that will never end: their owner goes with the process */
	if (p != NULL) {
		seglog_free_ops(p->queue);
		seglog_free_ops(p->pending);
		seglog_free_ops(p->batch);
		seglog_free_ops(p->held);
		seglog_free_ops(p->ready);
	}
	while (l->frees != NULL) {
		struct seglog_free *op = l->frees;

		l->frees = op->next;
		free(op);
	}
	seg_port_free(p);
	l->head = NULL;
	l->port = NULL;
	l->pending = 0;
}

int seglog_read(struct seglog *l, size_t i)
{
	struct seglog_item *it = &l->items[i];
	uint8_t *got = malloc((size_t)it->len + 8);
	uint8_t *want = malloc((size_t)it->len + 8);
	int rv;

	if (got == NULL || want == NULL)
		abort();
	seglog_fill(it->num, want, (size_t)it->len);
	rv = seg_read(l->head, it->pos.gen, it->pos.off + SEG_HEADER_LEN, got,
		      (size_t)it->len, 0);
	if (seglog_is_freed(l, it->pos.gen)) {
		const struct seglog_freed *f =
			seglog_freed_find(l, it->pos.gen);

		/* while it is on its way either is right */
		if (rv == -ENOENT)
			rv = 0;
		else if (f->done)
			rv = rv == 0 ? -EEXIST : rv;
		goto out;
	}
	if (rv == 0 && memcmp(got, want, (size_t)it->len) != 0)
		rv = -EBADMSG;
out:
	free(got);
	free(want);
	return rv;
}

/* --- freeing --- */

static void seglog_free_done(struct seg_free *f, int status)
{
	struct seglog_free *op = CONTAINER_OF(f, struct seglog_free, f);
	struct seglog_freed *freed = seglog_freed_find(op->l, f->gen);
	struct seglog_free **at = &op->l->frees;

	if (status != 0)
		seglog_bad(op->l, "cannot be freed: segment", f->gen);
	else if (freed == NULL)
		seglog_bad(op->l, "freed twice: segment", f->gen);
	else
		freed->done = true;
	while (*at != op)
		at = &(*at)->next;
	*at = op->next;
	op->l->pending--;
	free(op);
}

void seglog_pass(struct seglog *l)
{
	if (l->acked > 0 && l->items[l->acked - 1].pos.gen > l->need)
		l->need = l->items[l->acked - 1].pos.gen;
}

bool seglog_free_one(struct seglog *l, uint64_t k)
{
	struct seglog_free *op;
	struct seg_info *infos;
	size_t n = 0;

	if (seg_segments(l->head, &infos, &n) != 0)
		abort();
	while (n > 0 && infos[n - 1].gen >= l->need)
		n--;
	if (n == 0) {
		mem_free(infos);
		return false;
	}
	op = calloc(1, sizeof(*op));
	if (op == NULL)
		abort();
	op->l = l;
	op->next = l->frees;
	l->frees = op;
	op->f.gen = infos[k % n].gen;
	op->f.done = seglog_free_done;
	mem_free(infos);
	l->freed = realloc(l->freed, (l->n_freed + 1) * sizeof(*l->freed));
	if (l->freed == NULL)
		abort();
	l->freed[l->n_freed++] = (struct seglog_freed){ op->f.gen, false };
	l->pending++;
	seg_free_segment(l->port, &op->f);
	return true;
}
