#ifndef STORAGED_COMPACT_H
#define STORAGED_COMPACT_H
/*
 * Compaction: gives back the space of what nothing names any more. One driver
 * per store for its heads. It decides when (a command, the share of dead bytes,
 * shortage of space), which sealed segments, and how fast; a head's cleaner
 * copies what is alive in one of them to the append point and frees it.
 *
 *   IDLE -> LOOKING -> CLEANING -> (next head: LOOKING) -> IDLE
 *                      CLEANING <-> SUSPENDED
 *
 * Reads and writes go on all the time; a crash loses nothing but copies. Loop 0
 * of the store only; what a cleaner is called with it answers by a call back
 * that is posted, never inside.
 */
#include "common/base/env.h"

struct compact;
struct compact_run; /* a head's turn, as its cleaner sees it */

/* A sealed segment. */
struct compact_target {
	uint64_t gen;
	uint64_t bytes; /* on the disk */
	uint64_t live;  /* of them, as far as is known */
};

struct compact_stat {
	uint64_t segments;
	uint64_t bytes; /* on the disk */
	uint64_t live;  /* bytes that are named; of a head that must be walked
			 * for that: when it was last */
};

/* What a cleaner gives. */
struct compact_head {
	const char *name; /* "log", "bulk" */
	bool cheap;       /* to look costs next to nothing */
	/* Which segments are there? Ends with compact_looked(). 0 or -errno. */
	int (*look)(void *arg, struct compact_run *run);
	/*
	 * Cleans these in that order, each with compact_freed() or
	 * compact_kept(); ends with compact_done(). Before each piece of
	 * copying it waits for compact_wait_ns() and looks at
	 * compact_stopped(). targets are the caller's, until then.
	 */
	int (*clean)(void *arg, const struct compact_target *targets, size_t n,
		     struct compact_run *run);
	void (*stat)(void *arg, struct compact_stat *ret); /* at once */
	void *arg;
};

/* --- for cleaners --- */

/* targets: mem_alloc'ed, taken. rv: 0 or -errno. */
void compact_looked(struct compact_run *run, int rv,
		    struct compact_target *targets, size_t n);
/* How long to wait before so many bytes are copied. */
uint64_t compact_wait_ns(struct compact_run *run, uint64_t bytes);
/* True: end soon; what was copied stays copied. */
bool compact_stopped(const struct compact_run *run);
void compact_freed(struct compact_run *run, uint64_t gen);
/* It stays: bytes that rotted (-EBADMSG), no room (-ENOSPC), ... */
void compact_kept(struct compact_run *run, uint64_t gen, int err);
void compact_done(struct compact_run *run, int rv);

/* --- the driver --- */

struct compact_config {
	struct env *env;      /* borrowed */
	uint64_t rate;        /* bytes copied in a second; 0 = no limit */
	unsigned threshold;   /* percent alive at which it starts by itself, */
	uint64_t min_dead;    /* if so many bytes are dead at least; 0/0: not */
	/* Free bytes on the disk, and what must stay free. */
	void (*space)(void *arg, uint64_t *ret_avail, uint64_t *ret_reserve);
	void *arg;
};

enum compact_why {
	COMPACT_COMMAND, /* all that is worth it */
	COMPACT_DEAD,    /* much is dead */
	COMPACT_SPACE,   /* the disk is short of space */
};

enum compact_state { COMPACT_IDLE, COMPACT_RUNNING, COMPACT_SUSPENDED };

struct compact_info {
	enum compact_state state;
	enum compact_why why;         /* of the run, or of the last one */
	int64_t started, ended;       /* of the last run, ns since 1970; or 0 */
	uint64_t targets;             /* segments: in all, */
	uint64_t pending, ongoing, out; /* to be done, in work, done */
	uint64_t kept;                /* of those done: not freed */
	int err;                      /* of the run: 0, or what ended it */
	uint64_t copied, freed;       /* bytes, since the start of the store */
	uint64_t rate;
};

int compact_new(const struct compact_config *config,
		struct compact **ret_compact);
/* Before the start. The head is copied. */
void compact_add_head(struct compact *c, const struct compact_head *head);
/* From now on it starts by itself as well. */
void compact_start_watching(struct compact *c);
/* Nothing calls back any more. NULL is fine. */
void compact_free(struct compact *c);

/*
 * A run for a command over at most max segments; behind one that began by
 * itself, none beside another command's. 0, or -EBUSY: suspended. Whoever did
 * that has to resume it, so that no clock's command does it for him.
 */
int compact_start(struct compact *c, uint64_t max);
void compact_suspend(struct compact *c);
/* Goes on; nothing to do where it is not suspended. */
void compact_resume(struct compact *c);
void compact_get_info(const struct compact *c, struct compact_info *ret);
unsigned compact_heads(const struct compact *c);
void compact_head_stat(const struct compact *c, unsigned head,
		       const char **ret_name, struct compact_stat *ret);

/* --- the rules (compact_policy.c): pure --- */

/*
 * Keeps the segments that are to be cleaned, those that give most for the
 * least copying first; how many. room: bytes that copies may take. When that
 * is enough for none: one whose copies take no more than spare, so that there
 * is a way out of a disk that is too full.
 */
size_t compact_choose(enum compact_why why, uint64_t room, uint64_t spare,
		      struct compact_target *targets, size_t n);
/* Is so much dead that it shall begin by itself? */
bool compact_is_due(const struct compact_stat *s, unsigned threshold,
		    uint64_t min_dead);

#endif
