#ifndef COMMON_BASE_VFS_DIR_H
#define COMMON_BASE_VFS_DIR_H
#include "common/base/env.h"

/*
 * Makes the directory path when it is missing; its name is durable then. Also
 * when it is there: whoever made it may have been killed before it was.
 * Blocks. 0 or -errno.
 */
int vfs_make_dir(struct vfs *vfs, const char *path);

#endif
