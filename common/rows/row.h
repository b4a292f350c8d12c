#ifndef COMMON_ROWS_ROW_H
#define COMMON_ROWS_ROW_H
/*
 * Private to common/rows: one row in memory and the ordered index over rows.
 *
 * A row's key never changes; its value is counted, so that a reader that
 * borrowed it survives a later write. Counts are not atomic: they belong to
 * the loop. A worker makes rows (row_new) and reads the bytes of values that
 * the loop holds for it, nothing else.
 */
#include "common/wire/wire.h"

/* The bytes of a value. */
struct rows_val {
	uint32_t refs; /* loop only */
	uint32_t len;
	uint8_t bytes[];
};

enum row_state {
	ROW_FREE = 0,   /* in no structure of rows: loaded or written by a txn */
	ROW_CLEAN = 1,  /* equal to the back; in the cache list */
	ROW_DIRTY = 2,  /* newer than the back and than the batch in flight */
	ROW_WRITING = 3, /* in the batch in flight, not changed since */
	ROW_LINGER = 4, /* in the back, but a load begun before may be stale */
};

struct row {
	struct row *chain;       /* next in the bucket of the hash table */
	struct row *left, *right; /* ordered index (of rows or of a txn) */
	struct row *prev, *next; /* the list that its state names */
	struct row *batch_next;  /* rows of the batch in flight */
	struct rows_val *val;    /* NULL: known to be absent; owned */
	struct rows_val *batch_val; /* what the batch writes; owned */
	uint64_t hash;           /* of the key; also its priority in the index */
	uint64_t stamp;          /* ROW_LINGER: last hold begun before it */
	uint32_t pins;           /* txns that need it resident */
	uint32_t key_len;
	uint8_t state;           /* enum row_state */
	bool used;               /* second chance of the clean list */
	uint8_t key[];
};

/* value.p == NULL makes an absent one. NULL when out of memory. */
struct row *row_new(struct wire_bytes key, uint64_t hash,
		    struct wire_bytes value, bool absent);
void row_free(struct row *r);
uint64_t row_hash(struct wire_bytes key, uint64_t seed);
/* What it costs in memory. */
size_t row_bytes(const struct row *r);

struct rows_val *rows_val_new(struct wire_bytes value);
void rows_val_unref(struct rows_val *v); /* NULL is fine */

static inline struct wire_bytes row_key(const struct row *r)
{
	return wire_bytes(r->key, r->key_len);
}

static inline struct wire_bytes row_value(const struct row *r)
{
	return wire_bytes(r->val->bytes, r->val->len);
}

/* The ordered index: a treap whose priorities are the hashes. */
void row_tree_insert(struct row **root, struct row *r);
void row_tree_erase(struct row **root, struct row *r);
struct row *row_tree_find(struct row *root, struct wire_bytes key);
/* The first row with a key >= key, or > key when after is set. */
struct row *row_tree_lower(struct row *root, struct wire_bytes key, bool after);

/* Lists through prev and next. */
struct row_list {
	struct row *head, *tail;
};
void row_list_push(struct row_list *l, struct row *r); /* at the tail */
void row_list_remove(struct row_list *l, struct row *r);

#endif
