#include "tests/lib/crashfs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define PAGE 4096u
#define SECTOR 512u
#define SECTORS (PAGE / SECTOR)

/* Counted, so that images and clones share what did not change. */
struct page {
	uint32_t refs; /* atomic */
	uint8_t b[PAGE];
};

/* Changed bytes of each sector since the last sync; hi 0: none. */
struct dirty {
	uint16_t lo[SECTORS], hi[SECTORS];
};

struct node {
	unsigned refs; /* names, pending operations, open files */
	bool dir;
	bool dead;     /* of a life before crashfs_crash() */
	bool lost;     /* a sync failed: clean sectors may differ */
	size_t n;      /* pages in each array */
	struct page **cur, **dur; /* NULL entry: zeros */
	struct dirty **dirty;
	uint64_t len, dlen;
	struct node *copy; /* while an image is drawn */
};

struct entry {
	char *path;
	struct node *node;
};

struct names {
	struct entry *v;
	size_t n, cap;
};

enum op_kind { OP_CREATE, OP_RENAME, OP_UNLINK };

struct op {
	enum op_kind kind;
	char *path, *to;
	struct node *node;
};

struct crashfs {
	struct vfs vfs;
	pthread_mutex_t lock;
	uint64_t rng;
	struct names cur, dur;
	struct op *ops; /* since the last sync of their directory */
	size_t n_ops, cap_ops;
	struct crashfs_faults faults;
	struct crashfs_stats stats;
	bool frozen;
	void (*hook)(void *arg);
	void *hook_arg;
};

struct cfile {
	struct vfs_file base;
	struct node *node;
};

static const uint8_t zeros[PAGE];

static void *xalloc(size_t size)
{
	void *p = calloc(1, size);

	if (p == NULL)
		abort();
	return p;
}

static char *xstrdup(const char *s)
{
	char *p = strdup(s);

	if (p == NULL)
		abort();
	return p;
}

static void *xgrow(void *p, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return p;
	*cap = *cap == 0 ? 16 : *cap * 2;
	p = realloc(p, *cap * size);
	if (p == NULL)
		abort();
	return p;
}

static uint64_t rnd(uint64_t *state)
{
	uint64_t x = (*state += 0x9e3779b97f4a7c15ull);

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* --- pages --- */

static const uint8_t *page_bytes(const struct page *p)
{
	return p == NULL ? zeros : p->b;
}

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

/* The page at *at, for writing. */
static uint8_t *page_own(struct page **at)
{
	struct page *p = *at;

	if (p != NULL && __atomic_load_n(&p->refs, __ATOMIC_ACQUIRE) == 1)
		return p->b;
	p = malloc(sizeof(*p));
	if (p == NULL)
		abort();
	p->refs = 1;
	memcpy(p->b, page_bytes(*at), PAGE);
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

static struct node *node_new(bool dir)
{
	struct node *n = xalloc(sizeof(*n));

	n->refs = 1;
	n->dir = dir;
	return n;
}

static void node_unref(struct node *n)
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
	const uint8_t *cur = page_bytes(n->cur[i]);
	const uint8_t *dur = page_bytes(n->dur[i]);
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
			d = n->dirty[i] = xalloc(sizeof(*d));
		if (d->hi[s] == 0 || a - s * SECTOR < d->lo[s])
			d->lo[s] = (uint16_t)(a - s * SECTOR);
		if (b - s * SECTOR > d->hi[s])
			d->hi[s] = (uint16_t)(b - s * SECTOR);
	}
	if (memcmp(cur + at, data, len) != 0)
		memcpy(page_own(&n->cur[i]) + at, data, len);
}

static void node_write(struct node *n, const uint8_t *data, size_t len,
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

static void node_write_back(struct node *n, size_t i, size_t s)
{
	struct dirty *d = n->dirty[i];

	memcpy(page_own(&n->dur[i]) + s * SECTOR,
	       page_bytes(n->cur[i]) + s * SECTOR, SECTOR);
	d->lo[s] = 0;
	d->hi[s] = 0;
}

static void node_sync(struct node *n)
{
	for (size_t i = 0; i < n->n; i++) {
		struct dirty *d = n->dirty[i];

		if (d == NULL)
			continue;
		for (size_t s = 0; n->lost && s < SECTORS; s++)
			if (d->hi[s] != 0)
				node_write_back(n, i, s);
		if (!n->lost)
			page_set(&n->dur[i], n->cur[i]);
		free(d);
		n->dirty[i] = NULL;
	}
	n->dlen = n->len;
}

/* A sync that failed: nothing is dirty any more, nothing was written. */
static void node_lose(struct node *n)
{
	n->lost = true;
	for (size_t i = 0; i < n->n; i++) {
		free(n->dirty[i]);
		n->dirty[i] = NULL;
	}
}

static void node_truncate(struct node *n, uint64_t len)
{
	node_resize(n, (size_t)((len + PAGE - 1) / PAGE));
	for (size_t i = (size_t)(len / PAGE); i < n->n; i++) {
		size_t keep = i == len / PAGE ? (size_t)(len % PAGE) : 0;

		node_write_page(n, i, keep, zeros, PAGE - keep);
	}
	n->len = len;
}

static struct node *node_clone(const struct node *n)
{
	struct node *c = node_new(n->dir);

	node_resize(c, n->n);
	for (size_t i = 0; i < n->n; i++) {
		c->cur[i] = page_ref(n->cur[i]);
		c->dur[i] = page_ref(n->dur[i]);
		if (n->dirty[i] != NULL) {
			c->dirty[i] = xalloc(sizeof(struct dirty));
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
	const uint8_t *cur = page_bytes(n->cur[i]);

	for (size_t s = 0; n->dirty[i] != NULL && s < SECTORS; s++) {
		size_t lo = s * SECTOR + n->dirty[i]->lo[s];
		size_t hi = s * SECTOR + n->dirty[i]->hi[s];
		uint64_t r = rnd(rng);
		uint8_t *b;

		if (n->dirty[i]->hi[s] == 0 || r % 4 == 0)
			continue;
		b = page_own(&p);
		memcpy(b + lo, cur + lo, hi - lo);
		if (r % 4 == 1)
			for (lo += (r >> 8) % (hi - lo); lo < hi; lo++)
				b[lo] = (uint8_t)rnd(rng);
	}
	return p;
}

/* mood: 0 all old, 1 all new, else sector by sector. */
static struct node *node_image(const struct node *n, uint64_t *rng)
{
	struct node *c = node_new(n->dir);
	uint64_t mood = rnd(rng) % 8, lo = n->dlen, span = 0;
	size_t pages;

	if (n->len > n->dlen)
		span = n->len - n->dlen;
	if (n->len < n->dlen) {
		lo = n->len;
		span = n->dlen - n->len;
	}
	switch (rnd(rng) % 3) {
	case 0:
		c->len = lo + rnd(rng) % (span + 1);
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
		memset(page_own(&c->dur[pages - 1]) + c->len % PAGE, 0,
		       PAGE - c->len % PAGE);
	for (size_t i = 0; i < pages; i++)
		c->cur[i] = page_ref(c->dur[i]);
	c->dlen = c->len;
	return c;
}

/* --- names --- */

static struct entry *names_find(struct names *t, const char *path)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->v[i].path, path) == 0)
			return &t->v[i];
	return NULL;
}

static void names_remove(struct names *t, struct entry *e)
{
	free(e->path);
	node_unref(e->node);
	*e = t->v[--t->n];
}

/* Takes a reference of node. */
static void names_put(struct names *t, const char *path, struct node *node)
{
	struct entry *e = names_find(t, path);

	node->refs++;
	if (e != NULL) {
		node_unref(e->node);
		e->node = node;
		return;
	}
	t->v = xgrow(t->v, t->n, &t->cap, sizeof(*t->v));
	t->v[t->n].path = xstrdup(path);
	t->v[t->n++].node = node;
}

static void names_free(struct names *t)
{
	while (t->n > 0)
		names_remove(t, &t->v[t->n - 1]);
	free(t->v);
	t->v = NULL;
	t->cap = 0;
}

/* Length of the directory part of path; 0: none. */
static size_t path_dir(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? 0 : (size_t)(slash - path);
}

static bool path_in(const char *path, const char *dir)
{
	size_t n = path_dir(path), len = strlen(dir);

	while (len > 0 && dir[len - 1] == '/')
		len--;
	if (strcmp(dir, ".") == 0)
		len = 0;
	return n == len && strncmp(path, dir, n) == 0;
}

static bool parent_exists(struct names *t, const char *path)
{
	size_t n = path_dir(path);

	if (n == 0)
		return true;
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i].node->dir && strlen(t->v[i].path) == n &&
		    strncmp(t->v[i].path, path, n) == 0)
			return true;
	return false;
}

/* --- directory operations --- */

static void op_apply(struct names *t, const struct op *op)
{
	struct entry *e = names_find(t, op->path);

	if (op->kind == OP_CREATE) {
		names_put(t, op->path, op->node);
		return;
	}
	if (e == NULL || e->node != op->node)
		return; /* its create did not survive */
	if (op->kind == OP_RENAME)
		names_put(t, op->to, op->node);
	e = names_find(t, op->path);
	names_remove(t, e);
}

static void op_free(struct op *op)
{
	free(op->path);
	free(op->to);
	node_unref(op->node);
}

static void op_note(struct crashfs *fs, enum op_kind kind, const char *path,
		    const char *to, struct node *node)
{
	struct op *op;

	fs->ops = xgrow(fs->ops, fs->n_ops, &fs->cap_ops, sizeof(*fs->ops));
	op = &fs->ops[fs->n_ops++];
	op->kind = kind;
	op->path = xstrdup(path);
	op->to = to == NULL ? NULL : xstrdup(to);
	op->node = node;
	node->refs++;
	op_apply(&fs->cur, op);
}

/* --- the file system's calls --- */

static struct crashfs *fs_of(struct vfs *vfs)
{
	return vfs->impl;
}

static struct node *node_of(struct vfs_file *f)
{
	return ((struct cfile *)(void *)f)->node;
}

/* Before each call that can change the disk. */
static void fs_lock_change(struct crashfs *fs)
{
	if (fs->hook != NULL && !fs->frozen)
		fs->hook(fs->hook_arg);
	(void)pthread_mutex_lock(&fs->lock);
	fs->stats.calls++;
}

static void fs_lock(struct crashfs *fs)
{
	(void)pthread_mutex_lock(&fs->lock);
}

static void fs_unlock(struct crashfs *fs)
{
	(void)pthread_mutex_unlock(&fs->lock);
}

/* Counts down to a fault; true when it is due. */
static bool fault_due(struct crashfs *fs, uint64_t *counter)
{
	if (*counter == 0 || --*counter > 0)
		return false;
	fs->stats.faults++;
	return true;
}

static int fault_sync(struct crashfs *fs)
{
	if (!fault_due(fs, &fs->faults.fail_sync_at))
		return 0;
	fs->stats.failed_syncs++;
	return -EIO;
}

static int crashfs_open(struct vfs *vfs, const char *path, int flags,
			mode_t mode, struct vfs_file **ret_file)
{
	struct crashfs *fs = fs_of(vfs);
	struct node *node = NULL;
	struct entry *e;
	struct cfile *f;

	(void)mode;
	if ((flags & O_CREAT) != 0)
		fs_lock_change(fs);
	else
		fs_lock(fs);
	e = names_find(&fs->cur, path);
	if (e != NULL && (flags & O_EXCL) != 0 && (flags & O_CREAT) != 0) {
		fs_unlock(fs);
		return -EEXIST;
	}
	if (e != NULL) {
		node = e->node;
		node->refs++;
	} else if ((flags & O_CREAT) == 0 || !parent_exists(&fs->cur, path)) {
		fs_unlock(fs);
		return -ENOENT;
	} else {
		node = node_new(false);
		node->dead = fs->frozen;
		if (!fs->frozen)
			op_note(fs, OP_CREATE, path, NULL, node);
	}
	if ((flags & O_TRUNC) != 0 && !fs->frozen)
		node_truncate(node, 0);
	fs_unlock(fs);
	f = xalloc(sizeof(*f));
	f->base.vfs = vfs;
	f->node = node;
	*ret_file = &f->base;
	return 0;
}

/* Where node has its name; NULL: it has none. */
static const char *node_path(struct crashfs *fs, const struct node *n)
{
	for (size_t i = 0; i < fs->cur.n; i++)
		if (fs->cur.v[i].node == n)
			return fs->cur.v[i].path;
	return NULL;
}

static bool flip_due(struct crashfs *fs, const struct node *n, uint64_t off)
{
	struct crashfs_faults *f = &fs->faults;
	const char *path;
	bool may;

	if (fault_due(fs, &f->flip_read_at))
		return true;
	if (f->flip_read_every == 0 || rnd(&fs->rng) % f->flip_read_every != 0)
		return false;
	if (f->may_flip != NULL) {
		path = node_path(fs, n);
		fs_unlock(fs); /* it may ask what is there */
		may = path != NULL && f->may_flip(f->arg, path, off);
		fs_lock(fs);
		if (!may)
			return false;
	}
	fs->stats.faults++;
	return true;
}

static ssize_t crashfs_pread(struct vfs_file *file, void *buf, size_t len,
			     uint64_t off, int flags)
{
	struct crashfs *fs = fs_of(file->vfs);
	struct node *n = node_of(file);
	uint8_t *to = buf;

	(void)flags;
	fs_lock(fs);
	fs->stats.reads++;
	if (n->dead || fault_due(fs, &fs->faults.fail_read_at)) {
		fs_unlock(fs);
		return -EIO;
	}
	if (off >= n->len)
		len = 0;
	else if (len > n->len - off)
		len = (size_t)(n->len - off);
	fs->stats.read_bytes += len;
	for (size_t done = 0; done < len;) {
		size_t at = (size_t)((off + done) % PAGE);
		size_t part = PAGE - at < len - done ? PAGE - at : len - done;

		memcpy(to + done,
		       page_bytes(n->cur[(off + done) / PAGE]) + at, part);
		done += part;
	}
	if (len > 0 && flip_due(fs, n, off))
		to[rnd(&fs->rng) % len] ^=
			(uint8_t)(1u << rnd(&fs->rng) % 8);
	fs_unlock(fs);
	return (ssize_t)len;
}

static uint64_t fs_used(const struct crashfs *fs)
{
	uint64_t used = 0;

	for (size_t i = 0; i < fs->cur.n; i++)
		used += fs->cur.v[i].node->len;
	return used;
}

/* Some sectors reach the disk by themselves. */
static void fs_write_back(struct crashfs *fs, struct node *n)
{
	if (rnd(&fs->rng) % 4 != 0)
		return;
	for (size_t i = 0; i < n->n; i++)
		for (size_t s = 0; n->dirty[i] != NULL && s < SECTORS; s++)
			if (n->dirty[i]->hi[s] != 0 && rnd(&fs->rng) % 4 == 0)
				node_write_back(n, i, s);
}

static int crashfs_pwritev(struct vfs_file *file, const struct iovec *iov,
			   int niov, uint64_t off)
{
	struct crashfs *fs = fs_of(file->vfs);
	struct node *n = node_of(file);
	uint64_t total = 0;
	int rv = 0;

	fs_lock_change(fs);
	fs->stats.writes++;
	for (int i = 0; i < niov; i++)
		total += iov[i].iov_len;
	if (n->dead || fs->frozen) {
		fs_unlock(fs);
		return 0;
	}
	if (fs->faults.capacity > 0 && off + total > n->len &&
	    fs_used(fs) + (off + total - n->len) > fs->faults.capacity) {
		fs->stats.faults++;
		fs_unlock(fs);
		return -ENOSPC;
	}
	fs_write_back(fs, n);
	if (fault_due(fs, &fs->faults.fail_write_at)) {
		rv = -EIO;
		niov = niov / 2;
	}
	for (int i = 0; i < niov; i++) {
		node_write(n, iov[i].iov_base, iov[i].iov_len, off);
		off += iov[i].iov_len;
		fs->stats.write_bytes += iov[i].iov_len;
	}
	fs_unlock(fs);
	return rv;
}

static int crashfs_fsync(struct vfs_file *file)
{
	struct crashfs *fs = fs_of(file->vfs);
	struct node *n = node_of(file);
	int rv = 0;

	fs_lock_change(fs);
	fs->stats.syncs++;
	if (!n->dead && !fs->frozen) {
		rv = fault_sync(fs);
		if (rv != 0)
			node_lose(n);
		else if (!fs->faults.ignore_sync)
			node_sync(n);
	}
	fs_unlock(fs);
	return rv;
}

static int crashfs_truncate(struct vfs_file *file, uint64_t size)
{
	struct crashfs *fs = fs_of(file->vfs);
	struct node *n = node_of(file);

	fs_lock_change(fs);
	if (!n->dead && !fs->frozen)
		node_truncate(n, size);
	fs_unlock(fs);
	return 0;
}

static int crashfs_allocate(struct vfs_file *file, uint64_t len)
{
	struct crashfs *fs = fs_of(file->vfs);
	struct node *n = node_of(file);
	int rv = 0;

	fs_lock_change(fs);
	if (!n->dead && !fs->frozen && len > n->len) {
		if (fs->faults.capacity > 0 &&
		    fs_used(fs) + (len - n->len) > fs->faults.capacity) {
			fs->stats.faults++;
			rv = -ENOSPC;
		} else {
			node_truncate(n, len);
		}
	}
	fs_unlock(fs);
	return rv;
}

static int crashfs_size(struct vfs_file *file, uint64_t *ret_size)
{
	struct crashfs *fs = fs_of(file->vfs);

	fs_lock(fs);
	*ret_size = node_of(file)->len;
	fs_unlock(fs);
	return 0;
}

static void crashfs_close(struct vfs_file *file)
{
	struct crashfs *fs = fs_of(file->vfs);

	fs_lock(fs);
	node_unref(node_of(file));
	fs_unlock(fs);
	free(file);
}

static int crashfs_rename(struct vfs *vfs, const char *from, const char *to)
{
	struct crashfs *fs = fs_of(vfs);
	struct entry *e;
	int rv = 0;

	fs_lock_change(fs);
	e = names_find(&fs->cur, from);
	if (e == NULL || !parent_exists(&fs->cur, to))
		rv = -ENOENT;
	else if (!fs->frozen && strcmp(from, to) != 0)
		op_note(fs, OP_RENAME, from, to, e->node);
	fs_unlock(fs);
	return fs->frozen ? 0 : rv;
}

static int crashfs_unlink(struct vfs *vfs, const char *path)
{
	struct crashfs *fs = fs_of(vfs);
	struct entry *e;
	int rv = 0;

	fs_lock_change(fs);
	e = names_find(&fs->cur, path);
	if (e == NULL)
		rv = -ENOENT;
	else if (!fs->frozen)
		op_note(fs, OP_UNLINK, path, NULL, e->node);
	fs_unlock(fs);
	return fs->frozen ? 0 : rv;
}

static int crashfs_mkdir(struct vfs *vfs, const char *path, mode_t mode)
{
	struct crashfs *fs = fs_of(vfs);
	struct node *node;
	int rv = 0;

	(void)mode;
	fs_lock_change(fs);
	if (names_find(&fs->cur, path) != NULL) {
		rv = -EEXIST;
	} else if (!parent_exists(&fs->cur, path)) {
		rv = -ENOENT;
	} else if (!fs->frozen) {
		node = node_new(true);
		op_note(fs, OP_CREATE, path, NULL, node);
		node_unref(node);
	}
	fs_unlock(fs);
	return rv;
}

static int crashfs_sync_dir(struct vfs *vfs, const char *path)
{
	struct crashfs *fs = fs_of(vfs);
	size_t kept = 0;
	int rv = 0;

	fs_lock_change(fs);
	fs->stats.dir_syncs++;
	if (!fs->frozen)
		rv = fault_sync(fs);
	if (rv != 0 || fs->frozen || fs->faults.ignore_sync) {
		fs_unlock(fs);
		return rv;
	}
	for (size_t i = 0; i < fs->n_ops; i++) {
		struct op *op = &fs->ops[i];

		if (path_in(op->path, path) ||
		    (op->to != NULL && path_in(op->to, path))) {
			op_apply(&fs->dur, op);
			op_free(op);
		} else {
			fs->ops[kept++] = *op;
		}
	}
	fs->n_ops = kept;
	fs_unlock(fs);
	return 0;
}

static int crashfs_list(struct vfs *vfs, const char *path, vfs_list_fn cb,
			void *arg)
{
	struct crashfs *fs = fs_of(vfs);
	char **found = NULL;
	size_t n = 0, cap = 0;
	int rv = 0;

	fs_lock(fs);
	for (size_t i = 0; i < fs->cur.n; i++)
		if (path_in(fs->cur.v[i].path, path)) {
			size_t skip = path_dir(fs->cur.v[i].path);

			found = xgrow(found, n, &cap, sizeof(*found));
			if (skip > 0 || fs->cur.v[i].path[0] == '/')
				skip++;
			found[n++] = xstrdup(fs->cur.v[i].path + skip);
		}
	fs_unlock(fs);
	for (size_t i = 0; i < n; i++) {
		if (rv == 0)
			rv = cb(arg, found[i]);
		free(found[i]);
	}
	free(found);
	return 0;
}

static int crashfs_space(struct vfs *vfs, const char *path,
			 uint64_t *ret_total, uint64_t *ret_avail)
{
	struct crashfs *fs = fs_of(vfs);
	uint64_t used;

	(void)path;
	fs_lock(fs);
	*ret_total = fs->faults.capacity > 0 ? fs->faults.capacity
					     : 1ull << 40;
	used = fs_used(fs);
	*ret_avail = used < *ret_total ? *ret_total - used : 0;
	fs_unlock(fs);
	return 0;
}

static const struct vfs_ops crashfs_ops = {
	.open = crashfs_open,
	.pread = crashfs_pread,
	.pwritev = crashfs_pwritev,
	.fdatasync = crashfs_fsync,
	.fsync = crashfs_fsync,
	.truncate = crashfs_truncate,
	.allocate = crashfs_allocate,
	.size = crashfs_size,
	.close = crashfs_close,
	.rename = crashfs_rename,
	.unlink = crashfs_unlink,
	.mkdir = crashfs_mkdir,
	.sync_dir = crashfs_sync_dir,
	.list = crashfs_list,
	.space = crashfs_space,
};

/* --- for tests --- */

struct crashfs *crashfs_new(uint64_t seed)
{
	struct crashfs *fs = xalloc(sizeof(*fs));

	fs->vfs.ops = &crashfs_ops;
	fs->vfs.impl = fs;
	fs->rng = seed;
	(void)pthread_mutex_init(&fs->lock, NULL);
	return fs;
}

static void fs_clear(struct crashfs *fs)
{
	names_free(&fs->cur);
	names_free(&fs->dur);
	for (size_t i = 0; i < fs->n_ops; i++)
		op_free(&fs->ops[i]);
	free(fs->ops);
	fs->ops = NULL;
	fs->n_ops = 0;
	fs->cap_ops = 0;
}

void crashfs_free(struct crashfs *fs)
{
	if (fs == NULL)
		return;
	fs_clear(fs);
	(void)pthread_mutex_destroy(&fs->lock);
	free(fs);
}

struct vfs *crashfs_vfs(struct crashfs *fs)
{
	return &fs->vfs;
}

/* Names after a power cut: those synced and some of what came later. */
static void names_image(struct crashfs *fs, uint64_t *rng, struct names *t)
{
	uint64_t mood = rnd(rng) % 3;
	size_t prefix = fs->n_ops;

	if (mood == 0)
		prefix = rnd(rng) % (fs->n_ops + 1);
	for (size_t i = 0; i < fs->dur.n; i++)
		names_put(t, fs->dur.v[i].path, fs->dur.v[i].node);
	for (size_t i = 0; i < prefix; i++)
		if (mood != 1 || rnd(rng) % 2 == 0)
			op_apply(t, &fs->ops[i]);
	for (bool again = true; again;) {
		again = false;
		for (size_t i = 0; i < t->n; i++)
			if (!parent_exists(t, t->v[i].path)) {
				names_remove(t, &t->v[i]);
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
		struct node *c = node_image(t->v[i].node, rng);

		names_put(&to->cur, t->v[i].path, c);
		names_put(&to->dur, t->v[i].path, c);
		node_unref(c);
	}
}

struct crashfs *crashfs_image(struct crashfs *fs, uint64_t seed)
{
	struct crashfs *to = crashfs_new(seed);
	struct names t = { 0 };
	uint64_t rng = seed;

	fs_lock(fs);
	names_image(fs, &rng, &t);
	fs_copy(to, &t, &rng);
	names_free(&t);
	fs_unlock(fs);
	return to;
}

static struct node *clone_once(struct node *n)
{
	if (n->copy == NULL)
		n->copy = node_clone(n);
	return n->copy;
}

static void clone_forget(struct node *n)
{
	if (n->copy != NULL)
		node_unref(n->copy);
	n->copy = NULL;
}

struct crashfs *crashfs_clone(struct crashfs *fs)
{
	struct crashfs *to;

	fs_lock(fs);
	to = crashfs_new(fs->rng);
	for (size_t i = 0; i < fs->cur.n; i++)
		names_put(&to->cur, fs->cur.v[i].path,
			  clone_once(fs->cur.v[i].node));
	for (size_t i = 0; i < fs->dur.n; i++)
		names_put(&to->dur, fs->dur.v[i].path,
			  clone_once(fs->dur.v[i].node));
	for (size_t i = 0; i < fs->n_ops; i++) {
		struct op *op = &fs->ops[i], *c;

		to->ops = xgrow(to->ops, to->n_ops, &to->cap_ops,
				sizeof(*to->ops));
		c = &to->ops[to->n_ops++];
		*c = *op;
		c->path = xstrdup(op->path);
		c->to = op->to == NULL ? NULL : xstrdup(op->to);
		c->node = clone_once(op->node);
		c->node->refs++;
	}
	for (size_t i = 0; i < fs->cur.n; i++)
		clone_forget(fs->cur.v[i].node);
	for (size_t i = 0; i < fs->dur.n; i++)
		clone_forget(fs->dur.v[i].node);
	for (size_t i = 0; i < fs->n_ops; i++)
		clone_forget(fs->ops[i].node);
	fs_unlock(fs);
	return to;
}

/* fs becomes image, which is freed. */
static void fs_become(struct crashfs *fs, struct crashfs *image)
{
	fs_lock(fs);
	for (size_t i = 0; i < fs->cur.n; i++)
		fs->cur.v[i].node->dead = true;
	for (size_t i = 0; i < fs->dur.n; i++)
		fs->dur.v[i].node->dead = true;
	for (size_t i = 0; i < fs->n_ops; i++)
		fs->ops[i].node->dead = true;
	fs_clear(fs);
	fs->cur = image->cur;
	fs->dur = image->dur;
	fs->frozen = false;
	image->cur = (struct names){ 0 };
	image->dur = (struct names){ 0 };
	fs_unlock(fs);
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

void crashfs_freeze(struct crashfs *fs, bool frozen)
{
	fs_lock(fs);
	fs->frozen = frozen;
	fs_unlock(fs);
}

void crashfs_set_faults(struct crashfs *fs, const struct crashfs_faults *f)
{
	fs_lock(fs);
	fs->faults = *f;
	fs_unlock(fs);
}

void crashfs_get_faults(struct crashfs *fs, struct crashfs_faults *ret)
{
	fs_lock(fs);
	*ret = fs->faults;
	fs_unlock(fs);
}

void crashfs_get_stats(struct crashfs *fs, struct crashfs_stats *ret)
{
	fs_lock(fs);
	*ret = fs->stats;
	ret->files = fs->cur.n;
	ret->pending_dir_ops = fs->n_ops;
	ret->used = fs_used(fs);
	ret->dirty_sectors = 0;
	for (size_t f = 0; f < fs->cur.n; f++) {
		struct node *n = fs->cur.v[f].node;

		for (size_t i = 0; i < n->n; i++)
			for (size_t s = 0; n->dirty[i] != NULL && s < SECTORS;
			     s++)
				ret->dirty_sectors += n->dirty[i]->hi[s] != 0;
	}
	fs_unlock(fs);
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
	int rv = 0;

	fs_lock(fs);
	e = names_find(&fs->cur, path);
	n = e == NULL ? NULL : e->node;
	if (n == NULL || off >= n->len) {
		rv = -ENOENT;
	} else {
		page_own(&n->cur[i])[off % PAGE] ^= (uint8_t)(1u << bit % 8);
		page_own(&n->dur[i])[off % PAGE] ^= (uint8_t)(1u << bit % 8);
	}
	fs_unlock(fs);
	return rv;
}

static struct node *file_named(struct crashfs *fs, const char *path)
{
	struct entry *e = names_find(&fs->cur, path);

	return e == NULL || e->node->dir ? NULL : e->node;
}

int crashfs_misdirect(struct crashfs *fs, const char *path, uint64_t off,
		      const char *from, uint64_t from_off, size_t len)
{
	struct node *n, *src = NULL;
	int rv = 0;

	fs_lock(fs);
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
			b = page_bytes(src->cur[at / PAGE])[at % PAGE];
		page_own(&n->cur[to / PAGE])[to % PAGE] = b;
		page_own(&n->dur[to / PAGE])[to % PAGE] = b;
	}
	fs_unlock(fs);
	return rv;
}

bool crashfs_settled(struct crashfs *fs, const char *path, void *buf,
		     size_t len)
{
	struct node *n;
	struct entry *e;
	bool same;

	fs_lock(fs);
	n = file_named(fs, path);
	e = names_find(&fs->dur, path);
	same = len <= PAGE && n != NULL && e != NULL && e->node == n &&
	       n->len >= len && n->dlen >= len &&
	       memcmp(page_bytes(n->cur[0]), page_bytes(n->dur[0]), len) == 0;
	for (size_t i = 0; same && i < fs->n_ops; i++)
		same = fs->ops[i].node != n;
	if (same)
		memcpy(buf, page_bytes(n->cur[0]), len);
	fs_unlock(fs);
	return same;
}

const char *crashfs_file(struct crashfs *fs, size_t i, uint64_t *ret_len)
{
	const char *path = NULL;

	fs_lock(fs);
	for (size_t f = 0; f < fs->cur.n && path == NULL; f++) {
		const struct entry *e = &fs->cur.v[f];

		if (e->node->dir || i-- > 0)
			continue;
		path = e->path;
		*ret_len = e->node->len;
	}
	fs_unlock(fs);
	return path;
}

uint64_t crashfs_hash(struct crashfs *fs)
{
	uint64_t sum = 0;

	fs_lock(fs);
	for (size_t f = 0; f < fs->cur.n; f++) {
		struct node *n = fs->cur.v[f].node;
		const char *path = fs->cur.v[f].path;
		uint64_t h = XXH3_64bits_withSeed(path, strlen(path), n->len);

		for (size_t i = 0; i * PAGE < n->len; i++)
			h = XXH3_64bits_withSeed(page_bytes(n->cur[i]), PAGE,
						 h);
		sum += h;
	}
	fs_unlock(fs);
	return sum;
}
