/*
 * Transactions: reads through own writes, resident rows and loaded ranges;
 * writes kept apart until the commit.
 */
#include "common/rows/rows_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

#define TXN_RANGE_FIRST 16u /* rows that the first load of a range brings */
#define TXN_RANGE_MAX 1024u
#define TXN_DEDUP 16 /* needs compared with a new one */

struct rows_txn *rows_txn_new(struct rows *rows)
{
	struct rows_txn *t = mem_zalloc(sizeof *t);

	if (t == NULL)
		return NULL;
	t->rows = rows;
	t->all_next = rows->txns;
	if (rows->txns != NULL)
		rows->txns->all_prev = t;
	rows->txns = t;
	return t;
}

void rows_txn_drop_writes(struct rows_txn *t)
{
	struct row *r;

	while ((r = t->order.head) != NULL) {
		row_list_remove(&t->order, r);
		row_free(r);
	}
	t->writes = NULL;
	t->n_fresh = 0;
	while (t->n_held > 0)
		rows_val_unref(t->held[--t->n_held]);
}

void rows_txn_drop_needs(struct rows_txn *t)
{
	while (t->n_needs > 0) {
		struct rows_need *n = &t->needs[--t->n_needs];
		struct row *r;

		while ((r = n->rows) != NULL) {
			n->rows = r->next;
			row_free(r);
		}
		mem_free(n->bytes);
	}
}

void rows_txn_drop_pins(struct rows_txn *t)
{
	while (t->n_ranges > 0) {
		struct rows_range *range = &t->ranges[--t->n_ranges];

		mem_free(range->bytes);
		mem_free(range->rows);
	}
	while (t->n_pins > 0)
		t->pins[--t->n_pins]->pins--;
}

void rows_txn_reset(struct rows_txn *t)
{
	assert(!t->loading);
	rows_txn_drop_writes(t);
	rows_txn_drop_needs(t);
	rows_txn_drop_pins(t);
	t->err = 0;
	t->rounds = 0;
	rows_hold_end(t->rows, &t->hold);
}

void rows_txn_rewind(struct rows_txn *t)
{
	assert(!t->loading);
	rows_txn_drop_writes(t);
	rows_txn_drop_needs(t);
	t->err = 0;
}

void rows_txn_destroy(struct rows_txn *t)
{
	if (t->all_prev != NULL)
		t->all_prev->all_next = t->all_next;
	else
		t->rows->txns = t->all_next;
	if (t->all_next != NULL)
		t->all_next->all_prev = t->all_prev;
	mem_free(t->held);
	mem_free(t->pins);
	mem_free(t->needs);
	mem_free(t->ranges);
	mem_free(t->fresh);
	mem_free(t);
}

void rows_txn_free(struct rows_txn *t)
{
	if (t == NULL)
		return;
	if (t->loading) {
		t->dead = true; /* the end of the load frees it */
		return;
	}
	rows_txn_reset(t);
	rows_txn_destroy(t);
}

int rows_txn_pin(struct rows_txn *t, struct row *r)
{
	if (rows_grow(&t->pins, &t->cap_pins, t->n_pins, sizeof *t->pins) != 0)
		return -ENOMEM;
	t->pins[t->n_pins++] = r;
	r->pins++;
	return 0;
}

/* Lends a value out: it stays until the reset whatever is written. */
static int txn_lend(struct rows_txn *t, struct row *r,
		    struct wire_bytes *ret_value)
{
	if (rows_grow(&t->held, &t->cap_held, t->n_held, sizeof *t->held) != 0)
		return -ENOMEM;
	t->held[t->n_held++] = r->val;
	r->val->refs++;
	*ret_value = row_value(r);
	return 0;
}

static bool need_is(const struct rows_need *n, bool range,
		    struct wire_bytes from, struct wire_bytes to)
{
	return n->range == range &&
	       wire_bytes_eq(wire_bytes(n->bytes, n->from_len), from) &&
	       wire_bytes_eq(wire_bytes(n->bytes + n->from_len, n->to_len), to);
}

/* -EAGAIN, or -ENOMEM when not even that could be noted. */
static int txn_need(struct rows_txn *t, bool range, struct wire_bytes from,
		    struct wire_bytes to)
{
	struct rows_need *n;
	uint8_t *bytes;

	for (size_t i = 0; i < t->n_needs && i < TXN_DEDUP; i++)
		if (need_is(&t->needs[i], range, from, to))
			return -EAGAIN;
	if (rows_grow(&t->needs, &t->cap_needs, t->n_needs,
		      sizeof *t->needs) != 0)
		return -ENOMEM;
	bytes = mem_alloc(from.len + to.len + 1);
	if (bytes == NULL)
		return -ENOMEM;
	if (from.len > 0)
		memcpy(bytes, from.p, from.len);
	if (to.len > 0)
		memcpy(bytes + from.len, to.p, to.len);
	n = &t->needs[t->n_needs++];
	*n = (struct rows_need){ .bytes = bytes, .from_len = from.len,
				 .to_len = to.len, .range = range };
	n->limit = t->rounds < 6 ? TXN_RANGE_FIRST << t->rounds : TXN_RANGE_MAX;
	return -EAGAIN;
}

/* Tests only: pretend now and then that a row is not in memory. */
static bool txn_forgets(struct rows *rows, const struct row *r)
{
	if (rows->forget_every == 0 || r->pins > 0 ||
	    ++rows->forget_count < rows->forget_every)
		return false;
	rows->forget_count = 0;
	return true;
}

int rows_get(struct rows_txn *t, struct wire_bytes key,
	     struct wire_bytes *ret_value)
{
	struct rows *rows = t->rows;
	struct row *r = NULL;

	assert(!t->loading);
	if (t->writes != NULL)
		r = row_tree_find(t->writes, key);
	if (r == NULL) {
		r = rows_lookup(rows, key, row_hash(key, rows->seed));
		if (r == NULL && rows_fresh_has(rows, key)) {
			rows->busy = true;
			return -ENOENT;
		}
		if (r == NULL || txn_forgets(rows, r))
			return txn_need(t, false, key, wire_bytes(NULL, 0));
		r->used = true;
	}
	rows->busy = true;
	if (r->val == NULL)
		return -ENOENT;
	return txn_lend(t, r, ret_value);
}

static struct wire_bytes range_from(const struct rows_range *r)
{
	return wire_bytes(r->bytes, r->from_len);
}

static struct wire_bytes range_upto(const struct rows_range *r)
{
	return wire_bytes(r->bytes + r->from_len, r->upto_len);
}

/* a <= b, where the empty key stands for the end of everything */
static bool end_le(struct wire_bytes a, struct wire_bytes b)
{
	if (b.len == 0)
		return true;
	return a.len > 0 && wire_bytes_cmp(a, b) <= 0;
}

static const struct rows_range *txn_range(const struct rows_txn *t,
					  struct wire_bytes pos)
{
	for (size_t i = t->n_ranges; i > 0; i--) {
		const struct rows_range *r = &t->ranges[i - 1];

		if (wire_bytes_cmp(range_from(r), pos) <= 0 &&
		    (r->upto_len == 0 ||
		     wire_bytes_cmp(pos, range_upto(r)) < 0))
			return r;
	}
	return NULL;
}

static struct row *range_lower(const struct rows_range *r,
			       struct wire_bytes key, bool after)
{
	size_t lo = 0, hi = r->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = wire_bytes_cmp(row_key(r->rows[mid]), key);

		if (c < 0 || (c == 0 && after))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < r->n ? r->rows[lo] : NULL;
}

/*
 * The first row at or behind pos among the txn's writes, the ordered index
 * and the range, present or absent; of equal keys the newest one.
 */
static struct row *txn_candidate(const struct rows_txn *t,
				 const struct rows_range *range,
				 struct wire_bytes pos, bool after)
{
	struct row *best = row_tree_lower(t->writes, pos, after);
	struct row *r = row_tree_lower(t->rows->index, pos, after);

	if (best == NULL ||
	    (r != NULL && wire_bytes_cmp(row_key(r), row_key(best)) < 0))
		best = r;
	r = range_lower(range, pos, after);
	if (best == NULL ||
	    (r != NULL && wire_bytes_cmp(row_key(r), row_key(best)) < 0))
		best = r;
	return best;
}

int rows_first(struct rows_txn *t, struct wire_bytes from,
	       struct wire_bytes to, struct wire_bytes *ret_key,
	       struct wire_bytes *ret_value)
{
	struct wire_bytes pos = from, end;
	const struct rows_range *range;
	bool after = false;
	struct row *r;
	int rv;

	assert(!t->loading);
	if (to.len > 0 && wire_bytes_cmp(from, to) >= 0)
		return -ENOENT;
	range = txn_range(t, pos);
	while (range != NULL) {
		end = range_upto(range);
		if (end_le(to, end))
			end = to;
		r = txn_candidate(t, range, pos, after);
		if (r == NULL || (end.len > 0 &&
				  wire_bytes_cmp(row_key(r), end) >= 0)) {
			if (end_le(to, end))
				return -ENOENT;
			pos = end; /* go on with the range behind */
			after = false;
			range = txn_range(t, pos);
			continue;
		}
		if (r->val == NULL) {
			pos = row_key(r);
			after = true;
			continue;
		}
		/* a row of rows could go and take its key along */
		rv = r->state == ROW_FREE ? 0 : rows_txn_pin(t, r);
		if (rv == 0)
			rv = txn_lend(t, r, ret_value);
		if (rv == 0)
			*ret_key = row_key(r);
		return rv;
	}
	return txn_need(t, true, pos, to);
}

static int txn_write(struct rows_txn *t, struct wire_bytes key,
		     struct wire_bytes value, bool absent)
{
	struct row *r;

	assert(!t->loading);
	if (t->err != 0)
		return t->err;
	r = t->writes == NULL ? NULL : row_tree_find(t->writes, key);
	if (r != NULL) {
		struct rows_val *v = absent ? NULL : rows_val_new(value);

		if (!absent && v == NULL)
			return t->err = -ENOMEM;
		rows_val_unref(r->val); /* lent ones live on in `held` */
		r->val = v;
		return 0;
	}
	r = row_new(key, row_hash(key, t->rows->seed), value, absent);
	if (r == NULL)
		return t->err = -ENOMEM;
	row_tree_insert(&t->writes, r);
	row_list_push(&t->order, r);
	return 0;
}

int rows_put(struct rows_txn *t, struct wire_bytes key,
	     struct wire_bytes value)
{
	return txn_write(t, key, value, false);
}

int rows_del(struct rows_txn *t, struct wire_bytes key)
{
	return txn_write(t, key, wire_bytes(NULL, 0), true);
}

bool rows_txn_needs(const struct rows_txn *t)
{
	return t->n_needs > 0;
}

int rows_txn_commit(struct rows_txn *t)
{
	struct rows *rows = t->rows;
	int rv = t->err != 0 ? t->err : rows->err;
	struct row *r;

	assert(!t->loading);
	if (rv == 0 && t->order.head != NULL) {
		rows->committed++;
		while ((r = t->order.head) != NULL) {
			row_list_remove(&t->order, r);
			rows_insert_written(rows, r);
		}
		t->writes = NULL;
		rows_fresh_commit(t);
		rows_writer_kick(rows);
	}
	rows_txn_reset(t);
	return rv;
}
