#ifndef FUSE_STALE_H
#define FUSE_STALE_H
/*
 * Threads that were told ESTALE, and of what.
 *
 * Who opens a name that leads elsewhere by now is told so, and the kernel walks
 * the path once more; where the name changes again before it opens what it
 * found, the program gets the error. So in that walk a file is opened as soon as
 * its name is found ("ahead"), behind the beginning of the open() that it is
 * for; the OPEN that follows may fall back on that:
 *
 *   OPEN: ESTALE -> noted -> LOOKUPs of directories -> of the file: ahead -> OPEN
 *
 * A walk ends with an error, too, or after a second. Who opens /proc/self/fd/N
 * has no path: it comes back without a LOOKUP.
 *
 * Who looks a name up in a directory that is gone is told so as well: its path
 * may lead to another one by now. Whoever comes back to this one at once works
 * in it (it is its current directory, say), and nothing is in it any more:
 * ENOENT. But where the kernel knew an inode by that name it asks twice in one
 * walk, first whether that still holds; only in the second walk it does not.
 * And in a second walk that came by path ESTALE is the last word, so whoever
 * comes back then is another call.
 */
#include "fuse/ops.h"

/* The thread of op is told ESTALE of op->f now, by OPEN. */
void stale_note_open(struct fop *op);
/* By LOOKUP of a name in it; known: finode_name_is_known(). */
void stale_note_lookup(struct fop *op, bool known);
/* The thread of op opens op->f, of which it was told, without a LOOKUP in
 * between; forgets it. */
bool stale_take(struct fop *op);
/*
 * The thread of op looks a name up in op->f: it goes by path. Sets op->told (it
 * has come back to this very directory) or told_twice, or walk_ns and others.
 */
void stale_looked_up(struct fop *op);
/* What a lookup finds is for an open() that was told ESTALE. */
bool stale_walk_opens(const struct fop *op);
/* It found something else: the walk, if op is part of one, may go on. */
void stale_walk_on(struct fop *op);
/* It found a file, and an open of f was made for it. */
void stale_ahead(struct fop *op, struct finode *f);
/* The open of op->f that was made ahead is the caller's now. */
bool stale_take_ahead(struct fop *op);
/* Closes what was opened ahead before that time; UINT64_MAX: all. */
void stale_expire(struct mount *m, uint64_t before_ns);

#endif
