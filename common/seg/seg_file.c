/*
 * Names of segments and the table of their open files. Readers of any thread
 * look files up without a lock: leaves and entries only ever appear, and go
 * when the head is freed.
 */
#include "common/seg/seg_int.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"

void seg_name(uint64_t gen, char name[SEG_NAME_MAX])
{
	(void)snprintf(name, SEG_NAME_MAX, "%016" PRIx64 ".seg", gen);
}

bool seg_name_parse(const char *name, uint64_t *ret_gen)
{
	uint64_t gen = 0;

	if (strlen(name) != 20 || strcmp(name + 16, ".seg") != 0)
		return false;
	for (int i = 0; i < 16; i++) {
		const char *digits = "0123456789abcdef";
		const char *d = strchr(digits, name[i]);

		if (d == NULL)
			return false;
		gen = gen << 4 | (uint64_t)(d - digits);
	}
	if (gen == 0)
		return false;
	*ret_gen = gen;
	return true;
}

char *seg_path(const struct seg_head *head, const char *name)
{
	return mem_printf("%s/%s", head->dir, name);
}

int seg_open_named(struct seg_head *head, const char *name, int flags,
		   struct vfs_file **ret_file)
{
	char *path = seg_path(head, name);
	int rv;

	if (path == NULL)
		return -ENOMEM;
	rv = head->vfs->ops->open(head->vfs, path, flags, 0600, ret_file);
	mem_free(path);
	return rv;
}

int seg_file_open(struct seg_head *head, uint64_t gen, int flags,
		  struct vfs_file **ret_file)
{
	char name[SEG_NAME_MAX];

	seg_name(gen, name);
	return seg_open_named(head, name, flags, ret_file);
}

static struct vfs_file **seg_file_slot(struct seg_head *head, uint64_t gen)
{
	struct seg_leaf *leaf;

	if (gen / SEG_LEAF >= SEG_ROOT)
		return NULL;
	leaf = __atomic_load_n(&head->root[gen / SEG_LEAF], __ATOMIC_ACQUIRE);
	return leaf == NULL ? NULL : &leaf->file[gen % SEG_LEAF];
}

struct vfs_file *seg_file_get(struct seg_head *head, uint64_t gen)
{
	struct vfs_file **slot = seg_file_slot(head, gen);

	return slot == NULL ? NULL : __atomic_load_n(slot, __ATOMIC_ACQUIRE);
}

bool seg_file_keep(struct seg_head *head, uint64_t gen, struct vfs_file *f)
{
	struct vfs_file **slot;
	bool kept = false;

	if (gen / SEG_LEAF >= SEG_ROOT)
		return false;
	(void)pthread_mutex_lock(&head->lock);
	slot = seg_file_slot(head, gen);
	if (slot == NULL) {
		struct seg_leaf *leaf = mem_zalloc(sizeof(*leaf));

		if (leaf != NULL) {
			__atomic_store_n(&head->root[gen / SEG_LEAF], leaf,
					 __ATOMIC_RELEASE);
			slot = &leaf->file[gen % SEG_LEAF];
		}
	}
	if (slot != NULL && *slot == NULL && head->n_open < SEG_OPEN_MAX) {
		__atomic_store_n(slot, f, __ATOMIC_RELEASE);
		head->n_open++;
		kept = true;
	}
	(void)pthread_mutex_unlock(&head->lock);
	return kept;
}

void seg_file_drop_all(struct seg_head *head)
{
	for (unsigned r = 0; r < SEG_ROOT; r++) {
		struct seg_leaf *leaf = head->root[r];

		if (leaf == NULL)
			continue;
		for (unsigned i = 0; i < SEG_LEAF; i++)
			if (leaf->file[i] != NULL)
				head->vfs->ops->close(leaf->file[i]);
		mem_free(leaf);
		head->root[r] = NULL;
	}
	head->n_open = 0;
}

void seg_file_close(struct seg_head *head, uint64_t gen, struct vfs_file *f)
{
	if (f != NULL && seg_file_get(head, gen) != f)
		head->vfs->ops->close(f);
}

int seg_pread_all(struct vfs_file *f, void *buf, size_t len, uint64_t off,
		  int flags)
{
	uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = f->vfs->ops->pread(f, p, len, off, flags);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EIO; /* asked for bytes behind the end */
		p += n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

int seg_read(struct seg_head *head, uint64_t gen, uint64_t off, void *buf,
	     size_t len, int flags)
{
	struct vfs_file *f = seg_file_get(head, gen);
	bool kept = true;
	int rv;

	if (f == NULL) {
		if ((flags & VFS_NOWAIT) != 0)
			return -EAGAIN; /* opening may block */
		rv = seg_file_open(head, gen, O_RDWR, &f);
		if (rv != 0)
			return rv;
		kept = seg_file_keep(head, gen, f);
	}
	rv = seg_pread_all(f, buf, len, off, flags);
	if (!kept)
		head->vfs->ops->close(f);
	return rv;
}
