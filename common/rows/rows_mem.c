/*
 * The memory back: a treap whose nodes are never changed once made. A write
 * copies the path to the root, so the image of the last checkpoint and every
 * iterator are just a counted root, and a batch that runs out of memory leaves
 * the old root in place. Roots are swapped and counted under one mutex, since
 * workers of several threads may call.
 */
#include "common/rows/rows_back.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/xxh.h"

struct mem_kv {
	uint32_t refs;
	uint32_t key_len, value_len;
	uint64_t prio; /* a function of the key: the shape has no history */
	uint8_t bytes[];
};

struct mem_node {
	uint32_t refs;
	struct mem_kv *kv;
	struct mem_node *left, *right;
};

struct rows_mem_image {
	pthread_mutex_t lock; /* for every count of every node below */
	uint32_t refs;        /* the owner, and each back */
	struct mem_node *root;
};

struct mem_back {
	struct rows_back back;
	struct rows_mem_image *image;
	struct mem_node *root;
};

struct mem_iter {
	struct rows_iter it;
	struct mem_node *root;
	struct buf pos; /* go on here */
	bool after;     /* strictly behind pos */
};

static void kv_unref(struct mem_kv *kv)
{
	if (--kv->refs == 0)
		mem_free(kv);
}

static struct mem_node *node_ref(struct mem_node *n)
{
	if (n != NULL)
		n->refs++;
	return n;
}

/* Depth is that of the treap: logarithmic. */
static void node_unref(struct mem_node *n)
{
	if (n == NULL || --n->refs > 0)
		return;
	kv_unref(n->kv);
	node_unref(n->left);
	node_unref(n->right);
	mem_free(n);
}

/* Takes left and right, also on failure; kv gets a reference of its own. */
static struct mem_node *node_new(struct mem_kv *kv, struct mem_node *left,
				 struct mem_node *right)
{
	struct mem_node *n = mem_alloc(sizeof *n);

	if (n == NULL) {
		node_unref(left);
		node_unref(right);
		return NULL;
	}
	kv->refs++;
	*n = (struct mem_node){ 1, kv, left, right };
	return n;
}

static struct wire_bytes kv_key(const struct mem_kv *kv)
{
	return wire_bytes(kv->bytes, kv->key_len);
}

/* The tree n with kv put into it, as a new root in *ret; n keeps its count. */
static int node_put(struct mem_node *n, struct mem_kv *kv,
		    struct mem_node **ret)
{
	struct mem_node *sub, *top;
	int rv, c;

	if (n == NULL) {
		*ret = node_new(kv, NULL, NULL);
		return *ret == NULL ? -ENOMEM : 0;
	}
	c = wire_bytes_cmp(kv_key(kv), kv_key(n->kv));
	if (c == 0) {
		*ret = node_new(kv, node_ref(n->left), node_ref(n->right));
		return *ret == NULL ? -ENOMEM : 0;
	}
	rv = node_put(c < 0 ? n->left : n->right, kv, &sub);
	if (rv != 0)
		return rv;
	/* sub is new, so it may be changed: rotate it up when it ranks higher */
	if (c < 0 && sub->kv->prio > n->kv->prio) {
		top = node_new(n->kv, sub->right, node_ref(n->right));
		sub->right = top;
		*ret = sub;
	} else if (c > 0 && sub->kv->prio > n->kv->prio) {
		top = node_new(n->kv, node_ref(n->left), sub->left);
		sub->left = top;
		*ret = sub;
	} else {
		top = c < 0 ? node_new(n->kv, sub, node_ref(n->right))
			    : node_new(n->kv, node_ref(n->left), sub);
		*ret = top;
		return top == NULL ? -ENOMEM : 0;
	}
	if (top == NULL) {
		node_unref(sub);
		return -ENOMEM;
	}
	return 0;
}

/* Two trees with all keys of a below those of b, as one new tree. */
static int node_merge(struct mem_node *a, struct mem_node *b,
		      struct mem_node **ret)
{
	struct mem_node *sub;
	int rv;

	if (a == NULL || b == NULL) {
		*ret = node_ref(a != NULL ? a : b);
		return 0;
	}
	if (a->kv->prio >= b->kv->prio) {
		rv = node_merge(a->right, b, &sub);
		if (rv != 0)
			return rv;
		*ret = node_new(a->kv, node_ref(a->left), sub);
	} else {
		rv = node_merge(a, b->left, &sub);
		if (rv != 0)
			return rv;
		*ret = node_new(b->kv, sub, node_ref(b->right));
	}
	return *ret == NULL ? -ENOMEM : 0;
}

/* The tree n without key. */
static int node_del(struct mem_node *n, struct wire_bytes key,
		    struct mem_node **ret)
{
	struct mem_node *sub;
	int rv, c;

	if (n == NULL) {
		*ret = NULL;
		return 0;
	}
	c = wire_bytes_cmp(key, kv_key(n->kv));
	if (c == 0)
		return node_merge(n->left, n->right, ret);
	rv = node_del(c < 0 ? n->left : n->right, key, &sub);
	if (rv != 0)
		return rv;
	*ret = c < 0 ? node_new(n->kv, sub, node_ref(n->right))
		     : node_new(n->kv, node_ref(n->left), sub);
	return *ret == NULL ? -ENOMEM : 0;
}

static const struct mem_node *node_lower(const struct mem_node *n,
					 struct wire_bytes key, bool after)
{
	const struct mem_node *best = NULL;

	while (n != NULL) {
		int c = wire_bytes_cmp(kv_key(n->kv), key);

		if (c > 0 || (c == 0 && !after)) {
			best = n;
			n = n->left;
		} else {
			n = n->right;
		}
	}
	return best;
}

struct rows_mem_image *rows_mem_image_new(void)
{
	struct rows_mem_image *image = mem_zalloc(sizeof *image);

	if (image == NULL)
		return NULL;
	pthread_mutex_init(&image->lock, NULL);
	image->refs = 1;
	return image;
}

struct rows_mem_image *rows_mem_image_copy(struct rows_mem_image *image)
{
	struct rows_mem_image *copy = rows_mem_image_new();

	if (copy == NULL)
		return NULL;
	pthread_mutex_lock(&image->lock);
	copy->root = node_ref(image->root);
	pthread_mutex_unlock(&image->lock);
	return copy;
}

void rows_mem_image_free(struct rows_mem_image *image)
{
	uint32_t refs;

	if (image == NULL)
		return;
	pthread_mutex_lock(&image->lock);
	refs = --image->refs;
	pthread_mutex_unlock(&image->lock);
	if (refs > 0)
		return;
	node_unref(image->root);
	pthread_mutex_destroy(&image->lock);
	mem_free(image);
}

static struct mem_back *mem_of(struct rows_back *back)
{
	return CONTAINER_OF(back, struct mem_back, back);
}

static void mem_back_close(struct rows_back *back)
{
	struct mem_back *m = mem_of(back);

	pthread_mutex_lock(&m->image->lock);
	node_unref(m->root);
	pthread_mutex_unlock(&m->image->lock);
	rows_mem_image_free(m->image);
	mem_free(m);
}

static int mem_back_get(struct rows_back *back, struct wire_bytes key,
			uint8_t **ret_value, size_t *ret_len)
{
	struct mem_back *m = mem_of(back);
	const struct mem_node *n;
	int rv = -ENOENT;

	pthread_mutex_lock(&m->image->lock);
	n = node_lower(m->root, key, false);
	if (n != NULL && wire_bytes_eq(kv_key(n->kv), key)) {
		uint8_t *p = mem_dup(n->kv->bytes + n->kv->key_len,
				     n->kv->value_len);

		rv = p == NULL ? -ENOMEM : 0;
		if (p != NULL) {
			*ret_value = p;
			*ret_len = n->kv->value_len;
		}
	}
	pthread_mutex_unlock(&m->image->lock);
	return rv;
}

static int mem_back_checkpoint(struct rows_back *back)
{
	struct mem_back *m = mem_of(back);

	pthread_mutex_lock(&m->image->lock);
	node_unref(m->image->root);
	m->image->root = node_ref(m->root);
	pthread_mutex_unlock(&m->image->lock);
	return 0;
}

static int mem_apply(struct mem_node *root, const struct rows_op *op,
		     struct mem_node **ret)
{
	size_t klen = op->key.len, vlen = op->value.len;
	struct mem_kv *kv;
	int rv;

	if (op->del)
		return node_del(root, op->key, ret);
	kv = mem_alloc(sizeof *kv + klen + vlen);
	if (kv == NULL)
		return -ENOMEM;
	kv->refs = 1;
	kv->key_len = (uint32_t)klen;
	kv->value_len = (uint32_t)vlen;
	kv->prio = XXH3_64bits(op->key.p, klen);
	if (klen > 0)
		memcpy(kv->bytes, op->key.p, klen);
	if (vlen > 0)
		memcpy(kv->bytes + klen, op->value.p, vlen);
	rv = node_put(root, kv, ret);
	kv_unref(kv);
	return rv;
}

static int mem_back_write(struct rows_back *back, const struct rows_batch *b)
{
	struct mem_back *m = mem_of(back);
	struct mem_node *root, *next;
	struct rows_op op;
	size_t pos = 0;
	int rv = 0;

	pthread_mutex_lock(&m->image->lock);
	root = node_ref(m->root);
	while (rv == 0 && rows_batch_next(b, &pos, &op)) {
		rv = mem_apply(root, &op, &next);
		if (rv != 0)
			break;
		node_unref(root);
		root = next;
	}
	if (rv == 0) {
		node_unref(m->root);
		m->root = root;
	} else {
		node_unref(root);
	}
	pthread_mutex_unlock(&m->image->lock);
	return rv;
}

static int mem_iter_new(struct rows_back *back, struct rows_iter **ret_it)
{
	struct mem_back *m = mem_of(back);
	struct mem_iter *i = mem_zalloc(sizeof *i);

	if (i == NULL)
		return -ENOMEM;
	buf_init(&i->pos, 0);
	pthread_mutex_lock(&m->image->lock);
	i->root = node_ref(m->root);
	pthread_mutex_unlock(&m->image->lock);
	*ret_it = &i->it;
	return 0;
}

static int mem_iter_next(struct rows_iter *it, struct wire_bytes *ret_key,
			 struct wire_bytes *ret_value)
{
	struct mem_iter *i = CONTAINER_OF(it, struct mem_iter, it);
	const struct mem_node *n;

	if (i->pos.err != 0)
		return i->pos.err;
	n = node_lower(i->root, wire_bytes(i->pos.data, i->pos.len), i->after);
	if (n == NULL)
		return -ENOENT;
	buf_reset(&i->pos);
	buf_add(&i->pos, n->kv->bytes, n->kv->key_len);
	i->after = true;
	*ret_key = kv_key(n->kv);
	*ret_value = wire_bytes(n->kv->bytes + n->kv->key_len,
				n->kv->value_len);
	return i->pos.err;
}

static void mem_iter_seek(struct rows_iter *it, struct wire_bytes key)
{
	struct mem_iter *i = CONTAINER_OF(it, struct mem_iter, it);

	buf_reset(&i->pos);
	buf_add(&i->pos, key.p, key.len);
	i->after = false;
}

static int mem_iter_get(struct rows_iter *it, struct wire_bytes key,
			struct wire_bytes *ret_value)
{
	struct mem_iter *i = CONTAINER_OF(it, struct mem_iter, it);
	const struct mem_node *n = node_lower(i->root, key, false);

	if (n == NULL || !wire_bytes_eq(kv_key(n->kv), key))
		return -ENOENT;
	*ret_value = wire_bytes(n->kv->bytes + n->kv->key_len,
				n->kv->value_len);
	return 0;
}

static void mem_iter_free(struct rows_iter *it)
{
	struct mem_iter *i = CONTAINER_OF(it, struct mem_iter, it);
	struct rows_mem_image *image = mem_of(it->back)->image;

	pthread_mutex_lock(&image->lock);
	node_unref(i->root);
	pthread_mutex_unlock(&image->lock);
	buf_fini(&i->pos);
	mem_free(i);
}

static const struct rows_back_ops mem_ops = {
	.close = mem_back_close,
	.get = mem_back_get,
	.checkpoint = mem_back_checkpoint,
	.write = mem_back_write,
	.iter_new = mem_iter_new,
	.iter_next = mem_iter_next,
	.iter_seek = mem_iter_seek,
	.iter_get = mem_iter_get,
	.iter_free = mem_iter_free,
};

int rows_back_mem(struct rows_mem_image *image, struct rows_back **ret_back)
{
	struct mem_back *m = mem_zalloc(sizeof *m);

	if (m == NULL)
		return -ENOMEM;
	m->back.ops = &mem_ops;
	pthread_mutex_lock(&image->lock);
	image->refs++;
	m->image = image;
	m->root = node_ref(image->root);
	pthread_mutex_unlock(&image->lock);
	*ret_back = &m->back;
	return 0;
}
