#include "common/base/vfs_dir.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

int vfs_make_dir(struct vfs *vfs, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *parent;
	int rv = vfs->ops->mkdir(vfs, path, 0700);

	if (rv != 0)
		return rv == -EEXIST ? 0 : rv;
	if (slash == NULL)
		parent = mem_strdup(".");
	else if (slash == path)
		parent = mem_strdup("/");
	else
		parent = mem_dup(path, (size_t)(slash - path));
	if (parent == NULL)
		return -ENOMEM;
	rv = vfs->ops->sync_dir(vfs, parent);
	mem_free(parent);
	return rv;
}
