#ifndef COMMON_RAFT_RAFT_CHECK_H
#define COMMON_RAFT_RAFT_CHECK_H
/*
 * Checkpoints of a host (DESIGN section 5): the rows of all its groups become
 * durable, then what only stood for them leaves the log (raft_trunc.c). After
 * one a start replays only what was applied since.
 *
 * Runs by itself, some time after a change and after so many bytes. One at a
 * time. One loop only; done() is never called inside a call. Rows that cannot
 * be written abort the process.
 */
#include "common/raft/raft_host.h"
#include "common/rows/rows.h"

struct raft_check;

struct raft_check_config {
	struct env *env;
	struct raft_host *host; /* borrowed, like the next two */
	struct rows *rows;
	struct rows_back *back;
	/*
	 * Commits the applied index of groups whose last entries were no
	 * commands. 0, or -ENOMEM: the next tick tries again. May be NULL.
	 */
	int (*begin)(void *arg);
	/* One ended, or a tick found nothing to do. May be NULL. */
	void (*ended)(void *arg);
	void *arg;
};

int raft_check_new(const struct raft_check_config *config,
		   struct raft_check **ret_check);
/* The env runs nothing of it any more; waiters are not told. NULL is fine. */
void raft_check_free(struct raft_check *c);
/* From now on by itself. */
void raft_check_start(struct raft_check *c);
/* A command of so many bytes was applied. */
void raft_check_note(struct raft_check *c, uint64_t bytes);
/*
 * Makes one; done(status) unless NULL. A call while one runs is done with the
 * next. 0, or -ENOMEM and done is not called.
 */
int raft_check_now(struct raft_check *c, void (*done)(void *arg, int status),
		   void *arg);
/*
 * The same; its record begins a segment of the log, whose START, durable when
 * it is done, says that the rows are durable, and gives up what for that is
 * superfluous.
 */
int raft_check_roll(struct raft_check *c, void (*done)(void *arg, int status),
		    void *arg);
uint64_t raft_check_count(const struct raft_check *c);

#endif
