/*
 * Where segments come from: files written with zeros in advance by a thread of
 * their own, so that a flush never commits file-system metadata. A file left
 * over by an earlier process is used or filled further. When none is ready at
 * the start a small one is made on the spot, later one that grows.
 *
 * Measured (ext4, NVMe-like disk, 1 KiB records, 1 or 16 under way): 1.4 times
 * the flushes of a growing file. From about 128 KiB a flush on the zeros cost
 * more than they save (64 KiB x 16: half the throughput), so the filler rests
 * then, and bulk heads have no pool.
 *
 * It rests a while after the first segment of a process as well: whoever starts
 * waits for flushes, and they for the zeros on the same disk. The next segment
 * wakes it, if that is earlier.
 */
#include "common/seg/seg_int.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "common/base/mem.h"

static void seg_pool_name(unsigned i, char name[SEG_NAME_MAX])
{
	(void)snprintf(name, SEG_NAME_MAX, "pool-%u.tmp", i);
}

static int seg_write_zeros(struct vfs_file *f, uint64_t off, uint64_t len)
{
	static const uint8_t zeros[64u << 10];
	struct iovec iov[SEG_POOL_STEP / sizeof(zeros)];
	int n = 0, rv;

	while (len > 0) {
		size_t part = len < sizeof(zeros) ? len : sizeof(zeros);

		/* iovec has no const; nobody writes there */
		iov[n].iov_base = (void *)(uintptr_t)zeros;
		iov[n++].iov_len = part;
		len -= part;
		if (len > 0 && n < (int)(SEG_POOL_STEP / sizeof(zeros)))
			continue;
		rv = f->vfs->ops->pwritev(f, iov, n, off);
		if (rv != 0)
			return rv;
		for (int i = 0; i < n; i++)
			off += iov[i].iov_len;
		n = 0;
	}
	return 0;
}

/* Takes over what an earlier process left, ready or half filled. */
void seg_pool_adopt(struct seg_head *head)
{
	for (unsigned i = 0; i < head->config.pool; i++) {
		struct seg_pool_slot *slot = &head->pool[i];
		char name[SEG_NAME_MAX];
		uint64_t size = 0;

		seg_pool_name(i, name);
		if (seg_open_named(head, name, O_RDWR, &slot->f) != 0) {
			slot->f = NULL;
			continue;
		}
		if (head->vfs->ops->size(slot->f, &size) != 0 ||
		    size > head->config.segment_size) {
			/* another size was configured then: start over */
			size = 0;
			(void)head->vfs->ops->truncate(slot->f, 0);
		}
		slot->filled = size;
		slot->state = SEG_POOL_FILLING;
		if (size == head->config.segment_size &&
		    head->vfs->ops->fdatasync(slot->f) == 0)
			slot->state = SEG_POOL_READY;
	}
}

void seg_pool_close(struct seg_head *head)
{
	for (unsigned i = 0; i < SEG_POOL_MAX; i++) {
		if (head->pool[i].f != NULL)
			head->vfs->ops->close(head->pool[i].f);
		head->pool[i].f = NULL;
	}
}

/* One step of filling slot i; true when it is ready or given up. */
static bool seg_pool_fill(struct seg_head *head, unsigned i, bool *ret_ready)
{
	struct seg_pool_slot *slot = &head->pool[i];
	uint64_t left, step;
	int rv;

	if (slot->f == NULL) {
		char name[SEG_NAME_MAX];

		seg_pool_name(i, name);
		slot->filled = 0;
		if (seg_open_named(head, name, O_RDWR | O_CREAT, &slot->f) !=
		    0) {
			slot->f = NULL;
			return true;
		}
	}
	left = head->config.segment_size - slot->filled;
	step = left < SEG_POOL_STEP ? left : SEG_POOL_STEP;
	rv = seg_write_zeros(slot->f, slot->filled, step);
	if (rv == -ENOSPC && slot->filled > 0)
		/* what there is serves on the full disk, as a small segment */
		*ret_ready = head->vfs->ops->fdatasync(slot->f) == 0;
	if (rv != 0)
		return true;
	slot->filled += step;
	/* in parts, so that no flush waits for a long one */
	if (slot->filled % (8 * SEG_POOL_STEP) == 0 || step == left)
		if (head->vfs->ops->fdatasync(slot->f) != 0)
			return true;
	*ret_ready = step == left;
	return step == left;
}

uint64_t seg_pool_run(void *arg)
{
	struct seg_head *head = arg;
	struct seg_pool_slot *slot = NULL;
	bool ready = false;
	unsigned i;

	if (!head->filler_rested) {
		head->filler_rested = true;
		return SEG_POOL_REST_NS;
	}
	(void)pthread_mutex_lock(&head->lock);
	for (i = 0; i < head->config.pool; i++)
		if (head->pool[i].state != SEG_POOL_READY) {
			slot = &head->pool[i];
			slot->state = SEG_POOL_FILLING;
			break;
		}
	(void)pthread_mutex_unlock(&head->lock);
	if (slot == NULL)
		return ENV_THREAD_IDLE;
	if (!seg_pool_fill(head, i, &ready))
		return 0;
	if (ready) {
		(void)pthread_mutex_lock(&head->lock);
		slot->state = SEG_POOL_READY;
		(void)pthread_mutex_unlock(&head->lock);
		return 0; /* perhaps another one */
	}
	return ENV_THREAD_IDLE; /* tried again after the next take */
}

/* Renames a ready pool file of need bytes; -EAGAIN when there is none. */
static int seg_pool_rename(struct seg_head *head, const char *to,
			   uint64_t need, struct vfs_file **ret_file,
			   uint64_t *ret_size)
{
	struct vfs_file *f = NULL;
	char name[SEG_NAME_MAX];
	char *from;
	unsigned i;
	int rv;

	(void)pthread_mutex_lock(&head->lock);
	for (i = 0; i < head->config.pool; i++)
		if (head->pool[i].state == SEG_POOL_READY &&
		    head->pool[i].filled >= need) {
			f = head->pool[i].f;
			*ret_size = head->pool[i].filled;
			head->pool[i].f = NULL;
			head->pool[i].filled = 0;
			break;
		}
	(void)pthread_mutex_unlock(&head->lock);
	if (f == NULL)
		return -EAGAIN;
	/* READY without a file: the filler leaves the slot alone until the
	 * name is free again. */
	seg_pool_name(i, name);
	from = seg_path(head, name);
	rv = from == NULL ? -ENOMEM
			  : head->vfs->ops->rename(head->vfs, from, to);
	mem_free(from);
	(void)pthread_mutex_lock(&head->lock);
	head->pool[i].state = SEG_POOL_EMPTY;
	(void)pthread_mutex_unlock(&head->lock);
	if (rv != 0) {
		head->vfs->ops->close(f);
		return rv;
	}
	*ret_file = f;
	return 0;
}

/* Makes a segment without the pool. */
static int seg_pool_make(struct seg_head *head, const char *path,
			 uint64_t zeros, struct vfs_file **ret_file)
{
	struct vfs_file *f = NULL;
	int rv;

	rv = head->vfs->ops->open(head->vfs, path, O_RDWR | O_CREAT | O_EXCL,
				  0600, &f);
	if (rv != 0)
		return rv;
	rv = seg_write_zeros(f, 0, zeros);
	if (rv == 0 && zeros > 0)
		rv = head->vfs->ops->fdatasync(f);
	if (rv != 0) {
		head->vfs->ops->close(f);
		/* else it could not be made once more, when there is room */
		(void)head->vfs->ops->unlink(head->vfs, path);
		return rv;
	}
	*ret_file = f;
	return 0;
}

int seg_pool_take(struct seg_head *head, uint64_t gen, uint64_t need,
		  struct vfs_file **ret_file, uint64_t *ret_size)
{
	uint64_t size = head->config.segment_size;
	struct vfs_file *f = NULL;
	char name[SEG_NAME_MAX];
	int rv = -EAGAIN;
	char *path;

	seg_name(gen, name);
	path = seg_path(head, name);
	if (path == NULL)
		return -ENOMEM;
	if (need <= size)
		rv = seg_pool_rename(head, path, need, &f, &size);
	if (rv == -EAGAIN && need <= size && !head->config.bulk &&
	    head->cur_flushes == 0) {
		size = need > head->config.first_size ? need
						      : head->config.first_size;
		rv = seg_pool_make(head, path, size, &f);
	} else if (rv == -EAGAIN) {
		/* written in large pieces: zeros would cost as much again */
		size = need > size ? need : size;
		rv = seg_pool_make(head, path, 0, &f);
	}
	mem_free(path);
	if (rv == 0 && !SEG_MUTATES(NO_DIR_SYNC)) {
		rv = head->vfs->ops->sync_dir(head->vfs, head->dir);
		if (rv != 0)
			head->vfs->ops->close(f);
	}
	if (rv != 0)
		return rv;
	*ret_file = f;
	*ret_size = size;
	return 0;
}
