#ifndef FUSE_FLUSH_H
#define FUSE_FLUSH_H
/*
 * When unsent bytes leave. A write is answered as soon as its bytes are in
 * the inode's `dirty` buffer; they leave on close, fsync and before anything
 * that must come after them, at once when a whole block of 4 MiB is there,
 * when the inode has more than 8 MiB, and after 2 seconds.
 *
 * At most one flush per inode is under way: `flushing` is what it carries,
 * later writes go to `dirty`, which is newer. A flush that fails drops its
 * bytes and raises err_seq; every handle that was open then reports it once,
 * at its next close or fsync.
 *
 * Above 64 MiB of unsent bytes in the mount, writers wait for their answer.
 * Loop only.
 */
#include "fuse/fop.h"

#define FLUSH_INODE_MAX (8u << 20)
#define FLUSH_MOUNT_MAX (64u << 20)
#define FLUSH_AGE_NS UINT64_C(2000000000)

/* After `added` new bytes went into f->dirty. kills: set-id bits go with it. */
void flush_note_write(struct finode *f, uint64_t added, bool kills);
/*
 * False: nothing is unsent. True: then(op) is called when all that was
 * written until now is committed or lost, never inside this call.
 */
bool flush_wait(struct finode *f, struct fop *op, fop_then_fn then);
/* The same without anybody who waits. */
void flush_start(struct finode *f);
/* Starts a flush of every inode. Call again until it is true: all clean. */
bool flush_all(struct mount *m);
/* Too much is unsent: op will be answered as written later. */
bool flush_throttle(struct fop *op);
void flush_init(struct mount *m);
void flush_fini(struct mount *m);

#endif
