/*
 * Prefixes of which all rows are resident: no row had them when they were
 * declared, and none that was written since has been evicted. So a row that is
 * not here does not exist, and nobody has to look for it.
 *
 * A table of one place per hash: to forget a prefix only costs a load. What
 * makes a row with such a prefix leave memory must call rows_fresh_lost(),
 * unless the row says that it is absent.
 */
#include "common/rows/rows_impl.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

#define FRESH_SLOTS 1024u /* power of two */

int rows_fresh_init(struct rows *rows)
{
	rows->fresh = mem_calloc(FRESH_SLOTS, sizeof *rows->fresh);
	return rows->fresh == NULL ? -ENOMEM : 0;
}

static struct rows_prefix *fresh_slot(const struct rows *rows,
				      const uint8_t *prefix)
{
	uint64_t hash = row_hash(wire_bytes(prefix, ROWS_PREFIX), rows->seed);

	return &rows->fresh[hash & (FRESH_SLOTS - 1)];
}

/* The slot that has the key's prefix, NULL: none. */
static struct rows_prefix *fresh_find(const struct rows *rows,
				      struct wire_bytes key)
{
	struct rows_prefix *p;

	if (key.len <= ROWS_PREFIX || !rows->any_fresh)
		return NULL;
	p = fresh_slot(rows, key.p);
	return p->is && memcmp(p->bytes, key.p, ROWS_PREFIX) == 0 ? p : NULL;
}

bool rows_fresh_has(const struct rows *rows, struct wire_bytes key)
{
	return fresh_find(rows, key) != NULL;
}

void rows_fresh_lost(struct rows *rows, struct wire_bytes key)
{
	struct rows_prefix *p = fresh_find(rows, key);

	if (p != NULL)
		p->is = false;
}

void rows_fresh_clear(struct rows *rows)
{
	memset(rows->fresh, 0, FRESH_SLOTS * sizeof *rows->fresh);
	rows->any_fresh = false;
}

void rows_fresh_commit(struct rows_txn *t)
{
	struct rows *rows = t->rows;

	for (size_t i = 0; i < t->n_fresh; i++) {
		*fresh_slot(rows, t->fresh[i].bytes) = t->fresh[i];
		rows->any_fresh = true;
	}
	t->n_fresh = 0;
}

void rows_set_fresh(struct rows_txn *t, struct wire_bytes prefix)
{
	struct rows_prefix *p;

	if (prefix.len != ROWS_PREFIX ||
	    rows_grow(&t->fresh, &t->cap_fresh, t->n_fresh,
		      sizeof *t->fresh) != 0)
		return; /* not declared: it will be looked for */
	p = &t->fresh[t->n_fresh++];
	p->is = true;
	memcpy(p->bytes, prefix.p, ROWS_PREFIX);
}
