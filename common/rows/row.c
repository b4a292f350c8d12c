#include "common/rows/row.h"

#include <string.h>

#include "common/base/mem.h"
#include "common/base/xxh.h"

uint64_t row_hash(struct wire_bytes key, uint64_t seed)
{
	return XXH3_64bits_withSeed(key.p, key.len, seed);
}

struct rows_val *rows_val_new(struct wire_bytes value)
{
	struct rows_val *v;

	if (value.len > UINT32_MAX)
		return NULL;
	v = mem_alloc(sizeof *v + value.len);
	if (v == NULL)
		return NULL;
	v->refs = 1;
	v->len = (uint32_t)value.len;
	if (value.len > 0)
		memcpy(v->bytes, value.p, value.len);
	return v;
}

void rows_val_unref(struct rows_val *v)
{
	if (v != NULL && --v->refs == 0)
		mem_free(v);
}

struct row *row_new(struct wire_bytes key, uint64_t hash,
		    struct wire_bytes value, bool absent)
{
	struct row *r;

	if (key.len > UINT32_MAX)
		return NULL;
	r = mem_alloc(sizeof *r + key.len);
	if (r == NULL)
		return NULL;
	memset(r, 0, sizeof *r);
	r->hash = hash;
	r->key_len = (uint32_t)key.len;
	if (key.len > 0)
		memcpy(r->key, key.p, key.len);
	if (!absent) {
		r->val = rows_val_new(value);
		if (r->val == NULL) {
			mem_free(r);
			return NULL;
		}
	}
	return r;
}

void row_free(struct row *r)
{
	if (r == NULL)
		return;
	rows_val_unref(r->val);
	rows_val_unref(r->batch_val);
	mem_free(r);
}

size_t row_bytes(const struct row *r)
{
	/* 32: what two blocks of malloc cost beside their bytes */
	return sizeof *r + r->key_len + 32 +
	       (r->val == NULL ? 0 : sizeof *r->val + r->val->len);
}

static int row_cmp(const struct row *r, struct wire_bytes key)
{
	size_t n = r->key_len < key.len ? r->key_len : key.len;
	int rv = n == 0 ? 0 : memcmp(r->key, key.p, n);

	if (rv != 0)
		return rv;
	return r->key_len < key.len ? -1 : r->key_len > key.len;
}

void row_tree_insert(struct row **root, struct row *r)
{
	struct wire_bytes key = row_key(r);
	struct row **p = root, *cur, **less = &r->left, **more = &r->right;

	while (*p != NULL && (*p)->hash >= r->hash)
		p = row_cmp(*p, key) < 0 ? &(*p)->right : &(*p)->left;
	/* r goes here; what was below is split around its key */
	cur = *p;
	*p = r;
	while (cur != NULL) {
		if (row_cmp(cur, key) < 0) {
			*less = cur;
			less = &cur->right;
			cur = cur->right;
		} else {
			*more = cur;
			more = &cur->left;
			cur = cur->left;
		}
	}
	*less = NULL;
	*more = NULL;
}

void row_tree_erase(struct row **root, struct row *r)
{
	struct wire_bytes key = row_key(r);
	struct row **p = root, *a = r->left, *b = r->right;

	while (*p != r)
		p = row_cmp(*p, key) < 0 ? &(*p)->right : &(*p)->left;
	while (a != NULL && b != NULL) {
		if (a->hash >= b->hash) {
			*p = a;
			p = &a->right;
			a = a->right;
		} else {
			*p = b;
			p = &b->left;
			b = b->left;
		}
	}
	*p = a != NULL ? a : b;
	r->left = NULL;
	r->right = NULL;
}

struct row *row_tree_find(struct row *root, struct wire_bytes key)
{
	while (root != NULL) {
		int c = row_cmp(root, key);

		if (c == 0)
			return root;
		root = c < 0 ? root->right : root->left;
	}
	return NULL;
}

struct row *row_tree_lower(struct row *root, struct wire_bytes key, bool after)
{
	struct row *best = NULL;

	while (root != NULL) {
		int c = row_cmp(root, key);

		if (c > 0 || (c == 0 && !after)) {
			best = root;
			root = root->left;
		} else {
			root = root->right;
		}
	}
	return best;
}

void row_list_push(struct row_list *l, struct row *r)
{
	r->prev = l->tail;
	r->next = NULL;
	if (l->tail != NULL)
		l->tail->next = r;
	else
		l->head = r;
	l->tail = r;
}

void row_list_remove(struct row_list *l, struct row *r)
{
	if (r->prev != NULL)
		r->prev->next = r->next;
	else
		l->head = r->next;
	if (r->next != NULL)
		r->next->prev = r->prev;
	else
		l->tail = r->prev;
	r->prev = NULL;
	r->next = NULL;
}
