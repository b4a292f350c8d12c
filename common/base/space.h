#ifndef COMMON_BASE_SPACE_H
#define COMMON_BASE_SPACE_H
/*
 * The free space of the disk that a directory is on: looked at ten times a
 * second. A part of every disk is a reserve, so that what frees space, and what
 * must be written meanwhile, stays possible: who asks is told that the disk is
 * full when no more than that is free.
 *
 * Others may write to the disk as well. So some of the reserve is a file,
 * DIR/reserve, that nobody can take. It goes, and is free space, when
 * - little else is free: a look finds that. Row databases need room then, and
 *   cannot be told to try again;
 * - a head finds no space (seg_config.no_space), before the next look;
 * - the owner starts on a disk that is as full.
 * It is made again once the disk is not full any more.
 *
 * Failure modes: a file system that cannot set space aside, or has none left:
 * there is no file until the disk was full, and has room again; all of the
 * reserve is a matter of trust.
 *
 * Loop only, but for space_give().
 */
#include <pthread.h>
#include <stdatomic.h>

#include "common/base/env.h"
#include "common/base/errbuf.h"

struct space {
	struct env *env;             /* of the loop; borrowed */
	const char *dir;             /* borrowed */
	uint64_t share, most;        /* see space_open() */
	struct env_timer timer;
	/* any thread may read them */
	_Atomic uint64_t total, avail;
	atomic_bool full;
	_Atomic uint64_t kept;       /* bytes of the file */

	bool keep;
	char *path;                  /* of the file */
	pthread_mutex_t lock;        /* for making and dropping it */
	atomic_bool refused;         /* it could not be made */
	struct env_work work;
	bool busy;
};

/* What is to be kept free of a disk of that size, the file included. */
uint64_t space_reserve(uint64_t total);
/* Before anything else; space_fini() may follow at any time. */
void space_init(struct space *s);
/*
 * Blocks; before anything is written. The file is to have 1 / share of the
 * reserve, at most `most` bytes. 0 or -ENOMEM.
 */
int space_open(struct space *s, struct env *env, const char *dir,
	       uint64_t share, uint64_t most);
/* One that only looks (fsck) makes no file. */
void space_keep_nothing(struct space *s);
void space_look(struct space *s);
/* Bytes above the reserve; UINT64_MAX before the first look. Any thread. */
uint64_t space_room(const struct space *s);
void space_start(struct space *s);
void space_stop(struct space *s);
void space_fini(struct space *s);
/* The file goes; true when there was one. Any thread. */
bool space_give(struct space *s);

#endif
