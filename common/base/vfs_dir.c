#include "common/base/vfs_dir.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

/* The directory that path is in; the caller's. NULL: out of memory. */
static char *vfs_parent(const char *path)
{
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	while (len > 0 && path[len - 1] != '/')
		len--;
	if (len == 0)
		return mem_strdup(".");
	return mem_dup(path, len > 1 ? len - 1 : len);
}

int vfs_make_dir(struct vfs *vfs, const char *path)
{
	int rv = vfs->ops->mkdir(vfs, path, 0700);
	bool there = rv == -EEXIST;
	char *parent;

	if (rv != 0 && !there)
		return rv;
	parent = vfs_parent(path);
	if (parent == NULL)
		return -ENOMEM;
	rv = vfs->ops->sync_dir(vfs, parent);
	mem_free(parent);
	/* not made by who may not look there, or where no maker can sync */
	return there && (rv == -EACCES || rv == -EINVAL) ? 0 : rv;
}
