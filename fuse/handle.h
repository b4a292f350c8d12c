#ifndef FUSE_HANDLE_H
#define FUSE_HANDLE_H
/*
 * An open file or directory of the kernel: fi->fh. Made by OPEN, CREATE and
 * OPENDIR, freed by RELEASE and RELEASEDIR. Loop only.
 */
#include "fuse/dircur.h"
#include "fuse/fop.h"
#include "fuse/reader.h"

struct fhandle {
	LIST_ENTRY(fhandle) link; /* all of the mount */
	struct finode *f;  /* ref'd */
	int flags;         /* of open(2) */
	bool append;       /* every write is a commit at the end of the file */
	uint64_t err_seen; /* failed flushes of f that were told */
	struct reader reader;
	struct dircur cur;       /* directory */
	struct cluster *buckets; /* root of all buckets: what is being listed */
};

struct fhandle *fhandle_new(struct finode *f, int flags); /* NULL: no memory */
void fhandle_free(struct fhandle *h);
static inline struct fhandle *fhandle_of(const struct fuse_file_info *fi)
{
	return fi == NULL ? NULL : (struct fhandle *)(uintptr_t)fi->fh;
}
/* The error of a lost flush, once per handle: 0 or negative errno. */
int fhandle_take_error(struct fhandle *h);

#endif
