#ifndef FUSE_INVAL_H
#define FUSE_INVAL_H
/*
 * Tells the kernel that pages it keeps are old.
 *
 * Such a notification can wait for a page that a READ of ours is to fill, so
 * it never runs on the loop, nor on the workers that a READ may need: it has
 * a thread of its own. Loop only, but for that thread.
 */
#include <stdbool.h>
#include <stdint.h>

struct mount;

int inval_start(struct mount *m); /* after the session was made */
void inval_stop(struct mount *m);
/* Takes no more; true once the thread is in no notification. */
bool inval_quiesce(struct mount *m);
/* Drops all pages and attributes of a node, soon. */
void inval_pages(struct mount *m, uint64_t node);
/* Drops the attributes only; at once, takes no lock of the inode. */
void inval_attr(struct mount *m, uint64_t node);

#endif
