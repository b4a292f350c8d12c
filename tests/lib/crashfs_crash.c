#include "tests/lib/crashfs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "tests/lib/crashfs_impl.h"

/* --- power cuts --- */

/* Names after a power cut: those synced and some of what came later. */
static void names_image(struct crashfs *fs, uint64_t *rng, struct names *t)
{
	uint64_t mood = cfs_rnd(rng) % 3;
	size_t prefix = fs->n_ops;

	if (mood == 0)
		prefix = cfs_rnd(rng) % (fs->n_ops + 1);
	for (size_t i = 0; i < fs->dur.n; i++)
		cfs_names_put(t, fs->dur.v[i].path, fs->dur.v[i].node);
	for (size_t i = 0; i < prefix; i++)
		if (mood != 1 || cfs_rnd(rng) % 2 == 0)
			cfs_op_apply(t, &fs->ops[i]);
	for (bool again = true; again;) {
		again = false;
		for (size_t i = 0; i < t->n; i++)
			if (!cfs_parent_exists(t, t->v[i].path)) {
				cfs_names_remove(t, &t->v[i]);
				again = true;
			}
	}
}

static int entry_cmp(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->path,
		      ((const struct entry *)b)->path);
}

/* Fills to's names from t, each node drawn or cloned once. */
static void fs_copy(struct crashfs *to, struct names *t, uint64_t *rng)
{
	/* drawn in order of name: the seed decides, not the history */
	if (t->n > 0)
		qsort(t->v, t->n, sizeof(*t->v), entry_cmp);
	for (size_t i = 0; i < t->n; i++) {
		struct node *c = cfs_node_image(t->v[i].node, rng);

		cfs_names_put(&to->cur, t->v[i].path, c);
		cfs_names_put(&to->dur, t->v[i].path, c);
		cfs_node_unref(c);
	}
}

struct crashfs *crashfs_image(struct crashfs *fs, uint64_t seed)
{
	struct crashfs *to = crashfs_new(seed);
	struct names t = { 0 };
	uint64_t rng = seed;

	cfs_lock(fs);
	names_image(fs, &rng, &t);
	fs_copy(to, &t, &rng);
	cfs_names_free(&t);
	cfs_unlock(fs);
	return to;
}

static struct node *clone_once(struct node *n)
{
	if (n->copy == NULL)
		n->copy = cfs_node_clone(n);
	return n->copy;
}

static void clone_forget(struct node *n)
{
	if (n->copy != NULL)
		cfs_node_unref(n->copy);
	n->copy = NULL;
}

struct crashfs *crashfs_clone(struct crashfs *fs)
{
	struct crashfs *to;

	cfs_lock(fs);
	to = crashfs_new(fs->rng);
	for (size_t i = 0; i < fs->cur.n; i++)
		cfs_names_put(&to->cur, fs->cur.v[i].path,
			  clone_once(fs->cur.v[i].node));
	for (size_t i = 0; i < fs->dur.n; i++)
		cfs_names_put(&to->dur, fs->dur.v[i].path,
			  clone_once(fs->dur.v[i].node));
	for (size_t i = 0; i < fs->n_ops; i++) {
		struct op *op = &fs->ops[i], *c;

		to->ops = cfs_grow(to->ops, to->n_ops, &to->cap_ops,
				   sizeof(*to->ops));
		c = &to->ops[to->n_ops++];
		*c = *op;
		c->path = cfs_strdup(op->path);
		c->to = op->to == NULL ? NULL : cfs_strdup(op->to);
		c->node = clone_once(op->node);
		c->node->refs++;
	}
	for (size_t i = 0; i < fs->cur.n; i++)
		clone_forget(fs->cur.v[i].node);
	for (size_t i = 0; i < fs->dur.n; i++)
		clone_forget(fs->dur.v[i].node);
	for (size_t i = 0; i < fs->n_ops; i++)
		clone_forget(fs->ops[i].node);
	cfs_unlock(fs);
	return to;
}

/* fs becomes image, which is freed. */
static void fs_become(struct crashfs *fs, struct crashfs *image)
{
	cfs_lock(fs);
	for (size_t i = 0; i < fs->cur.n; i++)
		fs->cur.v[i].node->dead = true;
	for (size_t i = 0; i < fs->dur.n; i++)
		fs->dur.v[i].node->dead = true;
	for (size_t i = 0; i < fs->n_ops; i++)
		fs->ops[i].node->dead = true;
	cfs_clear(fs);
	fs->cur = image->cur;
	fs->dur = image->dur;
	fs->frozen = false;
	image->cur = (struct names){ 0 };
	image->dur = (struct names){ 0 };
	cfs_unlock(fs);
	crashfs_free(image);
}

void crashfs_crash(struct crashfs *fs, uint64_t seed)
{
	fs_become(fs, crashfs_image(fs, seed));
}

void crashfs_wipe(struct crashfs *fs)
{
	fs_become(fs, crashfs_new(0));
}

/* --- faults, for tests --- */

void crashfs_freeze(struct crashfs *fs, bool frozen)
{
	cfs_lock(fs);
	fs->frozen = frozen;
	cfs_unlock(fs);
}

void crashfs_set_faults(struct crashfs *fs, const struct crashfs_faults *f)
{
	cfs_lock(fs);
	fs->faults = *f;
	cfs_unlock(fs);
}

void crashfs_get_faults(struct crashfs *fs, struct crashfs_faults *ret)
{
	cfs_lock(fs);
	*ret = fs->faults;
	cfs_unlock(fs);
}

void crashfs_get_stats(struct crashfs *fs, struct crashfs_stats *ret)
{
	cfs_lock(fs);
	*ret = fs->stats;
	ret->files = fs->cur.n;
	ret->pending_dir_ops = fs->n_ops;
	ret->used = cfs_used(fs);
	ret->dirty_sectors = 0;
	for (size_t f = 0; f < fs->cur.n; f++) {
		struct node *n = fs->cur.v[f].node;

		for (size_t i = 0; i < n->n; i++)
			for (size_t s = 0; n->dirty[i] != NULL && s < SECTORS;
			     s++)
				ret->dirty_sectors += n->dirty[i]->hi[s] != 0;
	}
	cfs_unlock(fs);
}

uint64_t crashfs_n_faults(struct crashfs *fs)
{
	uint64_t n;

	cfs_lock(fs);
	n = fs->stats.faults;
	cfs_unlock(fs);
	return n;
}

void crashfs_set_hook(struct crashfs *fs, void (*hook)(void *arg), void *arg)
{
	fs->hook = hook;
	fs->hook_arg = arg;
}

int crashfs_flip(struct crashfs *fs, const char *path, uint64_t off,
		 unsigned bit)
{
	struct entry *e;
	struct node *n;
	size_t i = (size_t)(off / PAGE);
	uint8_t mask = (uint8_t)(1u << bit % 8);
	int rv = 0;

	cfs_lock(fs);
	e = cfs_names_find(&fs->cur, path);
	n = e == NULL ? NULL : e->node;
	if (n == NULL || off >= n->len) {
		rv = -ENOENT;
	} else {
		cfs_page_own(&n->cur[i])[off % PAGE] ^= mask;
		cfs_page_own(&n->dur[i])[off % PAGE] ^= mask;
	}
	cfs_unlock(fs);
	return rv;
}

static struct node *file_named(struct crashfs *fs, const char *path)
{
	struct entry *e = cfs_names_find(&fs->cur, path);

	return e == NULL || e->node->dir ? NULL : e->node;
}

int crashfs_misdirect(struct crashfs *fs, const char *path, uint64_t off,
		      const char *from, uint64_t from_off, size_t len)
{
	struct node *n, *src = NULL;
	int rv = 0;

	cfs_lock(fs);
	n = file_named(fs, path);
	if (from != NULL)
		src = file_named(fs, from);
	if (n == NULL || off + len > n->len || (from != NULL && src == NULL) ||
	    (src != NULL && from_off + len > src->len))
		rv = -ENOENT;
	for (size_t i = 0; rv == 0 && i < len; i++) {
		uint64_t to = off + i, at = from_off + i;
		uint8_t b = 0;

		if (src != NULL)
			b = cfs_page_bytes(src->cur[at / PAGE])[at % PAGE];
		cfs_page_own(&n->cur[to / PAGE])[to % PAGE] = b;
		cfs_page_own(&n->dur[to / PAGE])[to % PAGE] = b;
	}
	cfs_unlock(fs);
	return rv;
}

bool crashfs_settled(struct crashfs *fs, const char *path, void *buf,
		     size_t len)
{
	struct node *n;
	struct entry *e;
	bool same;

	cfs_lock(fs);
	n = file_named(fs, path);
	e = cfs_names_find(&fs->dur, path);
	same = len <= PAGE && n != NULL && e != NULL && e->node == n &&
	       n->len >= len && n->dlen >= len &&
	       memcmp(cfs_page_bytes(n->cur[0]),
		      cfs_page_bytes(n->dur[0]), len) == 0;
	for (size_t i = 0; same && i < fs->n_ops; i++)
		same = fs->ops[i].node != n;
	if (same)
		memcpy(buf, cfs_page_bytes(n->cur[0]), len);
	cfs_unlock(fs);
	return same;
}

const char *crashfs_file(struct crashfs *fs, size_t i, uint64_t *ret_len)
{
	const char *path = NULL;

	cfs_lock(fs);
	for (size_t f = 0; f < fs->cur.n && path == NULL; f++) {
		const struct entry *e = &fs->cur.v[f];

		if (e->node->dir || i-- > 0)
			continue;
		path = e->path;
		*ret_len = e->node->len;
	}
	cfs_unlock(fs);
	return path;
}

uint64_t crashfs_hash(struct crashfs *fs)
{
	uint64_t sum = 0;

	cfs_lock(fs);
	for (size_t f = 0; f < fs->cur.n; f++) {
		struct node *n = fs->cur.v[f].node;
		const char *path = fs->cur.v[f].path;
		uint64_t h = XXH3_64bits_withSeed(path, strlen(path), n->len);

		for (size_t i = 0; i * PAGE < n->len; i++)
			h = XXH3_64bits_withSeed(cfs_page_bytes(n->cur[i]),
						 PAGE, h);
		sum += h;
	}
	cfs_unlock(fs);
	return sum;
}
