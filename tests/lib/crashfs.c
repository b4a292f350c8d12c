#include "tests/lib/crashfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/crashfs_impl.h"

struct cfile {
	struct vfs_file base;
	struct node *node;
	bool direct;
};

static struct crashfs *fs_of(struct vfs *vfs)
{
	return vfs->impl;
}

static struct node *node_of(struct vfs_file *f)
{
	return ((struct cfile *)(void *)f)->node;
}

static bool is_direct(const struct vfs_file *f)
{
	return ((const struct cfile *)(const void *)f)->direct;
}

/* May it be read or written through f? */
static bool is_aligned(const struct vfs_file *f, const void *p, uint64_t off,
		       size_t len)
{
	return !is_direct(f) ||
	       ((uintptr_t)p % PAGE | off % PAGE | len % PAGE) == 0;
}

/* Before each call that can change the disk. */
static void fs_lock_change(struct crashfs *fs)
{
	if (fs->hook != NULL && !fs->frozen)
		fs->hook(fs->hook_arg);
	(void)pthread_mutex_lock(&fs->lock);
	fs->stats.calls++;
}

static void fault_count(struct crashfs *fs, uint64_t *kind)
{
	fs->stats.faults++;
	++*kind;
}

/* Counts down to a fault of that kind; true when it is due. */
static bool fault_due(struct crashfs *fs, uint64_t *counter, uint64_t *kind)
{
	if (*counter == 0 || --*counter > 0)
		return false;
	fault_count(fs, kind);
	return true;
}

static int fault_sync(struct crashfs *fs)
{
	return fault_due(fs, &fs->faults.fail_sync_at, &fs->stats.failed_syncs)
		       ? -EIO
		       : 0;
}

static int crashfs_open(struct vfs *vfs, const char *path, int flags,
			mode_t mode, struct vfs_file **ret_file)
{
	struct crashfs *fs = fs_of(vfs);
	struct node *node = NULL;
	struct entry *e;
	struct cfile *f;

	(void)mode;
	if ((flags & O_DIRECT) != 0 && fs->faults.no_direct_open)
		return -EINVAL;
	if ((flags & O_CREAT) != 0)
		fs_lock_change(fs);
	else
		cfs_lock(fs);
	e = cfs_names_find(&fs->cur, path);
	if (e != NULL && (flags & O_EXCL) != 0 && (flags & O_CREAT) != 0) {
		cfs_unlock(fs);
		return -EEXIST;
	}
	if (e != NULL) {
		node = e->node;
		node->refs++;
	} else if ((flags & O_CREAT) == 0 ||
		   !cfs_parent_exists(&fs->cur, path)) {
		cfs_unlock(fs);
		return -ENOENT;
	} else {
		node = cfs_node_new(false);
		node->dead = fs->frozen;
		if (!fs->frozen)
			cfs_op_note(fs, OP_CREATE, path, NULL, node);
	}
	if ((flags & O_TRUNC) != 0 && !fs->frozen)
		cfs_node_truncate(node, 0);
	cfs_unlock(fs);
	f = cfs_alloc(sizeof(*f));
	f->base.vfs = vfs;
	f->node = node;
	f->direct = (flags & O_DIRECT) != 0;
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

	if (fault_due(fs, &f->flip_read_at, &fs->stats.flips))
		return true;
	if (f->flip_read_every == 0 ||
	    cfs_rnd(&fs->rng) % f->flip_read_every != 0)
		return false;
	if (f->may_flip != NULL) {
		path = node_path(fs, n);
		cfs_unlock(fs); /* it may ask what is there */
		may = path != NULL && f->may_flip(f->arg, path, off);
		cfs_lock(fs);
		if (!may)
			return false;
	}
	if (f->flips_left > 0 && --f->flips_left == 0)
		f->flip_read_every = 0;
	fault_count(fs, &fs->stats.flips);
	return true;
}

static ssize_t crashfs_pread(struct vfs_file *file, void *buf, size_t len,
			     uint64_t off, int flags)
{
	struct crashfs *fs = fs_of(file->vfs);
	struct node *n = node_of(file);
	uint8_t *to = buf;

	cfs_lock(fs);
	if ((flags & VFS_NOWAIT) != 0 && fs->faults.cold_every != 0 &&
	    cfs_rnd(&fs->rng) % fs->faults.cold_every == 0) {
		cfs_unlock(fs);
		return -EAGAIN;
	}
	fs->stats.reads++;
	if (!is_aligned(file, buf, off, len) ||
	    (is_direct(file) && fs->faults.no_direct_read)) {
		cfs_unlock(fs);
		return -EINVAL;
	}
	fs->stats.direct_reads += is_direct(file);
	if (n->dead || fault_due(fs, &fs->faults.fail_read_at,
				 &fs->stats.failed_reads)) {
		cfs_unlock(fs);
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
		       cfs_page_bytes(n->cur[(off + done) / PAGE]) + at, part);
		done += part;
	}
	if (len > 0 && flip_due(fs, n, off))
		to[cfs_rnd(&fs->rng) % len] ^=
			(uint8_t)(1u << cfs_rnd(&fs->rng) % 8);
	cfs_unlock(fs);
	return (ssize_t)len;
}

uint64_t cfs_used(const struct crashfs *fs)
{
	uint64_t used = 0;

	for (size_t i = 0; i < fs->cur.n; i++)
		used += fs->cur.v[i].node->len;
	return used;
}

/* Some sectors reach the disk by themselves. */
static void fs_write_back(struct crashfs *fs, struct node *n)
{
	if (cfs_rnd(&fs->rng) % 4 != 0)
		return;
	for (size_t i = 0; i < n->n; i++)
		for (size_t s = 0; n->dirty[i] != NULL && s < SECTORS; s++)
			if (n->dirty[i]->hi[s] != 0 &&
			    cfs_rnd(&fs->rng) % 4 == 0)
				cfs_node_write_back(n, i, s);
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
	fs->stats.direct_writes += is_direct(file);
	for (int i = 0; i < niov; i++) {
		total += iov[i].iov_len;
		if (!is_aligned(file, iov[i].iov_base, off, iov[i].iov_len))
			rv = -EINVAL;
	}
	if (rv != 0) {
		cfs_unlock(fs);
		return rv;
	}
	if (n->dead || fs->frozen) {
		cfs_unlock(fs);
		return 0;
	}
	if (fs->faults.capacity > 0 && off + total > n->len &&
	    cfs_used(fs) + (off + total - n->len) > fs->faults.capacity) {
		fault_count(fs, &fs->stats.full);
		cfs_unlock(fs);
		return -ENOSPC;
	}
	fs_write_back(fs, n);
	if (fault_due(fs, &fs->faults.fail_write_at,
		      &fs->stats.failed_writes)) {
		rv = -EIO;
		niov = niov / 2;
	}
	for (int i = 0; i < niov; i++) {
		cfs_node_write(n, iov[i].iov_base, iov[i].iov_len, off);
		off += iov[i].iov_len;
		fs->stats.write_bytes += iov[i].iov_len;
	}
	cfs_unlock(fs);
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
			cfs_node_lose(n);
		else if (!fs->faults.ignore_sync)
			cfs_node_sync(n);
	}
	cfs_unlock(fs);
	return rv;
}

static int crashfs_truncate(struct vfs_file *file, uint64_t size)
{
	struct crashfs *fs = fs_of(file->vfs);
	struct node *n = node_of(file);

	fs_lock_change(fs);
	if (!n->dead && !fs->frozen)
		cfs_node_truncate(n, size);
	cfs_unlock(fs);
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
		    cfs_used(fs) + (len - n->len) > fs->faults.capacity) {
			fault_count(fs, &fs->stats.full);
			rv = -ENOSPC;
		} else {
			cfs_node_truncate(n, len);
		}
	}
	cfs_unlock(fs);
	return rv;
}

static int crashfs_size(struct vfs_file *file, uint64_t *ret_size)
{
	struct crashfs *fs = fs_of(file->vfs);

	cfs_lock(fs);
	*ret_size = node_of(file)->len;
	cfs_unlock(fs);
	return 0;
}

static void crashfs_close(struct vfs_file *file)
{
	struct crashfs *fs = fs_of(file->vfs);

	cfs_lock(fs);
	cfs_node_unref(node_of(file));
	cfs_unlock(fs);
	free(file);
}

static int crashfs_rename(struct vfs *vfs, const char *from, const char *to)
{
	struct crashfs *fs = fs_of(vfs);
	struct entry *e;
	int rv = 0;

	fs_lock_change(fs);
	e = cfs_names_find(&fs->cur, from);
	if (e == NULL || !cfs_parent_exists(&fs->cur, to))
		rv = -ENOENT;
	else if (!fs->frozen && strcmp(from, to) != 0)
		cfs_op_note(fs, OP_RENAME, from, to, e->node);
	cfs_unlock(fs);
	return fs->frozen ? 0 : rv;
}

static int crashfs_unlink(struct vfs *vfs, const char *path)
{
	struct crashfs *fs = fs_of(vfs);
	struct entry *e;
	int rv = 0;

	fs_lock_change(fs);
	e = cfs_names_find(&fs->cur, path);
	if (e == NULL)
		rv = -ENOENT;
	else if (!fs->frozen)
		cfs_op_note(fs, OP_UNLINK, path, NULL, e->node);
	cfs_unlock(fs);
	return fs->frozen ? 0 : rv;
}

static int crashfs_mkdir(struct vfs *vfs, const char *path, mode_t mode)
{
	struct crashfs *fs = fs_of(vfs);
	struct node *node;
	int rv = 0;

	(void)mode;
	fs_lock_change(fs);
	if (cfs_names_find(&fs->cur, path) != NULL) {
		rv = -EEXIST;
	} else if (!cfs_parent_exists(&fs->cur, path)) {
		rv = -ENOENT;
	} else if (!fs->frozen) {
		node = cfs_node_new(true);
		cfs_op_note(fs, OP_CREATE, path, NULL, node);
		cfs_node_unref(node);
	}
	cfs_unlock(fs);
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
		cfs_unlock(fs);
		return rv;
	}
	for (size_t i = 0; i < fs->n_ops; i++) {
		struct op *op = &fs->ops[i];

		if (cfs_path_in(op->path, path) ||
		    (op->to != NULL && cfs_path_in(op->to, path))) {
			cfs_op_apply(&fs->dur, op);
			cfs_op_free(op);
		} else {
			fs->ops[kept++] = *op;
		}
	}
	fs->n_ops = kept;
	cfs_unlock(fs);
	return 0;
}

static int crashfs_list(struct vfs *vfs, const char *path, vfs_list_fn cb,
			void *arg)
{
	struct crashfs *fs = fs_of(vfs);
	char **found = NULL;
	size_t n = 0, cap = 0;
	int rv = 0;

	cfs_lock(fs);
	for (size_t i = 0; i < fs->cur.n; i++)
		if (cfs_path_in(fs->cur.v[i].path, path)) {
			size_t skip = cfs_path_dir(fs->cur.v[i].path);

			found = cfs_grow(found, n, &cap, sizeof(*found));
			if (skip > 0 || fs->cur.v[i].path[0] == '/')
				skip++;
			found[n++] = cfs_strdup(fs->cur.v[i].path + skip);
		}
	cfs_unlock(fs);
	for (size_t i = 0; i < n; i++) {
		if (rv == 0)
			rv = cb(arg, found[i]);
		free(found[i]);
	}
	free(found);
	return 0;
}

#define CFS_PAGE 4096u

/* It has no cache, and counts. */
static void crashfs_forget(struct vfs_file *f, uint64_t off, uint64_t len)
{
	struct crashfs *fs = fs_of(f->vfs);
	uint64_t first = (off + CFS_PAGE - 1) / CFS_PAGE;

	cfs_lock(fs);
	fs->stats.forgotten += ((off + len) / CFS_PAGE - first) * CFS_PAGE;
	cfs_unlock(fs);
}

static int crashfs_space(struct vfs *vfs, const char *path,
			 uint64_t *ret_total, uint64_t *ret_avail)
{
	struct crashfs *fs = fs_of(vfs);
	uint64_t used;

	(void)path;
	cfs_lock(fs);
	*ret_total = fs->faults.capacity > 0 ? fs->faults.capacity
					     : 1ull << 40;
	used = cfs_used(fs);
	*ret_avail = used < *ret_total ? *ret_total - used : 0;
	cfs_unlock(fs);
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
	.forget = crashfs_forget,
	.size = crashfs_size,
	.close = crashfs_close,
	.rename = crashfs_rename,
	.unlink = crashfs_unlink,
	.mkdir = crashfs_mkdir,
	.sync_dir = crashfs_sync_dir,
	.list = crashfs_list,
	.space = crashfs_space,
};

struct crashfs *crashfs_new(uint64_t seed)
{
	struct crashfs *fs = cfs_alloc(sizeof(*fs));

	fs->vfs.ops = &crashfs_ops;
	fs->vfs.impl = fs;
	fs->rng = seed;
	(void)pthread_mutex_init(&fs->lock, NULL);
	return fs;
}

void cfs_clear(struct crashfs *fs)
{
	cfs_names_free(&fs->cur);
	cfs_names_free(&fs->dur);
	for (size_t i = 0; i < fs->n_ops; i++)
		cfs_op_free(&fs->ops[i]);
	free(fs->ops);
	fs->ops = NULL;
	fs->n_ops = 0;
	fs->cap_ops = 0;
}

void crashfs_free(struct crashfs *fs)
{
	if (fs == NULL)
		return;
	cfs_clear(fs);
	(void)pthread_mutex_destroy(&fs->lock);
	free(fs);
}

struct vfs *crashfs_vfs(struct crashfs *fs)
{
	return &fs->vfs;
}
