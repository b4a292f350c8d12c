#ifndef STORAGED_SHARD_CLEAN_H
#define STORAGED_SHARD_CLEAN_H
/*
 * A walk over the values that the rows of a set's shards name in the log: it
 * counts them per segment, or moves those in some segments to the head of the
 * log. Of each shard one consistent state is walked, in which everything is
 * that was applied before its turn began. Part of log_clean.c, which drives it.
 *
 * The set's loop only. Never blocks, never waits for a command; the set is
 * stopped only after the walk was freed.
 */
#include "storaged/shard.h"

struct shard_clean;

/* A sealed segment of the log; an array of them ascends by gen. */
struct log_seg {
	uint64_t gen;
	uint64_t live; /* bytes of records that rows name, as counted */
	bool victim;   /* what is in it is to be moved */
	int err;       /* a value in it cannot be moved: it has to stay */
};

/* What a step found; added to what is there. */
struct shard_clean_count {
	uint64_t rows;
	uint64_t found; /* values in victims */
	uint64_t moved, bytes;
};

/* segs: borrowed; changed by the steps. move: else it counts. */
int shard_clean_new(struct shard_set *set, struct log_seg *segs, size_t n,
		    bool move, struct shard_clean **ret_clean);
/*
 * Walks on, some thousand rows or about 1 MiB of values. done(rv): 1: there is
 * more; 0: that was all; -EIO, -ENOMEM, -ENOSPC. On the loop, never inside the
 * call; one step at a time.
 */
typedef void (*shard_clean_fn)(void *arg, int rv);
void shard_clean_step(struct shard_clean *c, shard_clean_fn done, void *arg);
const struct shard_clean_count *shard_clean_count(const struct shard_clean *c);
/* No step is under way, or the env runs nothing of it. NULL is fine. */
void shard_clean_free(struct shard_clean *c);

#endif
