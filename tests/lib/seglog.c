#include "tests/lib/seglog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/seg/seg_int.h"

#define SEGLOG_ALIGN 4096u

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
	l->items = NULL;
}

void seglog_copy(struct seglog *to, const struct seglog *from)
{
	*to = *from;
	to->head = NULL;
	to->port = NULL;
	to->pending = 0;
	to->cap = from->n + 16;
	to->items = malloc(to->cap * sizeof(*to->items));
	if (to->items == NULL)
		abort();
	if (from->n > 0)
		memcpy(to->items, from->items, from->n * sizeof(*to->items));
}

static void seglog_bad(struct seglog *l, const char *what, uint64_t num)
{
	if (l->bad[0] == '\0')
		(void)snprintf(l->bad, sizeof(l->bad), "%s (record %llu)",
			       what, (unsigned long long)num);
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
	seglog_fields(it->num, &want);
	if (rec->a != it->num)
		seglog_bad(l, "not the next one", rec->a);
	else if (rec->type != want.type || rec->flags != want.flags ||
		 rec->group != want.group || rec->b != want.b ||
		 !seg_hash_eq(rec->id, want.id) || rec->len != it->len)
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

static void seglog_on_rot(void *arg, struct seg_pos pos, uint64_t seq)
{
	struct seglog *l = arg;

	l->rot++;
	if (!l->allow_rot)
		seglog_bad(l, "reported as rot", seq);
	if (pos.gen == 0)
		seglog_bad(l, "rot nowhere", seq);
}

int seglog_open(struct seglog *l, struct env *env)
{
	struct errbuf e = { "" };
	int rv;

	l->config.on_record = seglog_on_record;
	l->config.on_rot = seglog_on_rot;
	l->config.arg = l;
	l->found = 0;
	l->lost = 0;
	l->rot = 0;
	l->starts = 0;
	rv = seg_head_open(env, &l->config, &l->head, &e);
	if (rv != 0) {
		(void)snprintf(l->bad, sizeof(l->bad), "open: %.180s", e.text);
		return rv;
	}
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
			seglog_bad(l, "bytes differ", l->items[i].num);
	l->n = l->found;
	l->acked = l->found;
	return seg_port_new(l->head, env, &l->port);
}

static void seglog_done(struct seg_append *a)
{
	struct seglog_op *op = CONTAINER_OF(a, struct seglog_op, a);
	struct seglog *l = op->l;

	if (op->item != l->acked)
		seglog_bad(l, "acknowledged out of order", a->a);
	l->acked = op->item + 1;
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

void seglog_append(struct seglog *l, size_t len)
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
	op->a.done = seglog_done;
	next_num++;
	l->pending++;
	seg_append(l->port, &op->a);
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
		seglog_free_ops(p->ready);
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
	if (rv == 0 && memcmp(got, want, (size_t)it->len) != 0)
		rv = -EBADMSG;
	free(got);
	free(want);
	return rv;
}
