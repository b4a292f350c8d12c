#ifndef FUSE_OPS_H
#define FUSE_OPS_H
/*
 * Handlers of the kernel's requests: one function per operation, the table in
 * device.c. Each makes a struct fop and returns; see fop.h.
 */
#include "fuse/fop.h"

/* ops_name.c */
void ops_lookup(fuse_req_t req, fuse_ino_t dir, const char *name);
void ops_forget(fuse_req_t req, fuse_ino_t node, uint64_t n);
void ops_forget_multi(fuse_req_t req, size_t n, struct fuse_forget_data *f);
void ops_mknod(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode,
	       dev_t rdev);
void ops_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode);
void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t dir,
		 const char *name);
void ops_create(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode,
		struct fuse_file_info *fi);
/* ops_link.c */
void ops_unlink(fuse_req_t req, fuse_ino_t dir, const char *name);
void ops_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name);
void ops_rename(fuse_req_t req, fuse_ino_t dir, const char *name,
		fuse_ino_t dir2, const char *name2, unsigned flags);
void ops_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t dir,
	      const char *name);
/* ops_attr.c */
void ops_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void ops_setattr(fuse_req_t req, fuse_ino_t node, struct stat *st, int valid,
		 struct fuse_file_info *fi);
void ops_readlink(fuse_req_t req, fuse_ino_t node);
void ops_statfs(fuse_req_t req, fuse_ino_t node);
/* ops_range.c */
void ops_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t off,
		   off_t len, struct fuse_file_info *fi);
void ops_lseek(fuse_req_t req, fuse_ino_t node, off_t off, int whence,
	       struct fuse_file_info *fi);
void ops_copy_file_range(fuse_req_t req, fuse_ino_t node, off_t off,
			 struct fuse_file_info *fi, fuse_ino_t node2,
			 off_t off2, struct fuse_file_info *fi2, size_t len,
			 int flags);
/* ops_xattr.c */
void ops_setxattr(fuse_req_t req, fuse_ino_t node, const char *name,
		  const char *value, size_t size, int flags);
void ops_getxattr(fuse_req_t req, fuse_ino_t node, const char *name,
		  size_t size);
void ops_listxattr(fuse_req_t req, fuse_ino_t node, size_t size);
void ops_removexattr(fuse_req_t req, fuse_ino_t node, const char *name);
/* ops_open.c */
void ops_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void ops_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
/*
 * op->f2 was found by name in op->f, for an open() that was told ESTALE before:
 * opens it, then answers with its entry. When the name leads elsewhere by then
 * op->f2 is given back, and again(op) called.
 */
void ops_open_ahead(struct fop *op, fop_then_fn again);
/* Tells shard leaders again what is open, so that a new one learns it. */
void ops_open_start(struct mount *m);
void ops_open_stop(struct mount *m);
/* ops_io.c */
void ops_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
	      struct fuse_file_info *fi);
void ops_write(fuse_req_t req, fuse_ino_t node, const char *buf, size_t size,
	       off_t off, struct fuse_file_info *fi);
void ops_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void ops_fsync(fuse_req_t req, fuse_ino_t node, int datasync,
	       struct fuse_file_info *fi);
/* ops_dir.c */
void ops_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void ops_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
		 struct fuse_file_info *fi);
void ops_readdirplus(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
		     struct fuse_file_info *fi);
void ops_releasedir(fuse_req_t req, fuse_ino_t node,
		    struct fuse_file_info *fi);
void ops_fsyncdir(fuse_req_t req, fuse_ino_t node, int datasync,
		  struct fuse_file_info *fi);

/* --- shared by them --- */

/* Is this the synthetic directory of buckets? */
static inline bool ops_is_buckets(const struct finode *f)
{
	return f->m->all_buckets && f == f->m->root;
}
/* May something acknowledged in its shard not be durable yet? */
static inline bool ops_needs_sync(const struct finode *f)
{
	return finode_is_loose(f) || f->m->was_loose;
}
/* The attributes of the directory of buckets. */
void ops_buckets_attr(const struct mount *m, struct wire_attr *ret_attr);
/*
 * The new inode of attr with one reference, named op->name in op->f; NULL: op
 * was answered ENOMEM.
 */
struct finode *ops_found(struct fop *op, const struct wire_attr *attr,
			 const struct fname *name, bool is_dir);
/*
 * Before a name is made: length, escape and bucket rules. want_dir: what will
 * be made, -1: not known (rename). Calls then(op), now or later; else op was
 * answered.
 */
void ops_check_new_name(struct fop *op, struct finode *dir,
			const struct fname *name, int want_dir,
			fop_then_fn then);
/*
 * op changed a name in dir: pages of entries fetched before are old. attr: of
 * dir since, NULL or with ino 0 when they are not known.
 */
void ops_names_changed(const struct fop *op, struct finode *dir,
		       const struct wire_attr *attr);
/*
 * CREATE said that it opened op->f2; again: maybe an earlier try did. Calls
 * then(op) once its leader knows of the open for certain, now or later; else op
 * was answered.
 */
void ops_opened(struct fop *op, bool again, fop_then_fn then);
/* A new open of f by this mount was registered with op's reply. */
bool ops_reply_open(struct fop *op, struct finode *f, int open_flags,
		    bool created, struct fuse_file_info *ret_fi);
/* Sets the size to 0 for O_TRUNC, then calls then(op); else op is answered. */
void ops_truncate_open(struct fop *op, fop_then_fn then);
/*
 * One open less. After the last one CLOSE follows, with those of other inodes,
 * some milliseconds later or before a name goes that may be theirs.
 */
void ops_close(struct finode *f);
void ops_close_send(struct mount *m);

#endif
