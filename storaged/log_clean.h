#ifndef STORAGED_LOG_CLEAN_H
#define STORAGED_LOG_CLEAN_H
/*
 * The cleaner of the log head. Small values stay where the log wrote them; here
 * segments of the log are given back when neither a start nor a row needs them:
 * what rows still name in them is copied to the head first.
 *
 * A look walks the rows of all shards and counts (the mark); a clean walks them
 * again and moves. It decides nothing: that is the driver's (compact.h). Loop 0
 * of the store only, unless it is said otherwise.
 */
#include "storaged/compact.h"
#include "storaged/shard.h"

struct log_clean;

struct log_clean_loop {
	struct env *env;
	struct shard_set *set;
};

struct log_clean_config {
	const struct log_clean_loop *loops; /* copied; the first is ours */
	unsigned n_loops;
	struct seg_head *log;
	struct seg_port *port; /* of the log, on our loop */
	/* Sealed bytes that no START has given up yet: from here on a look
	 * makes checkpoints and row snapshots first. 0 = 64 MiB. */
	uint64_t pinned;
};

/* The head is for compact_add_head(). */
int log_clean_new(const struct log_clean_config *config,
		  struct log_clean **ret_clean, struct compact_head *ret_head);
/* The loops have stopped; the sets are still there. NULL is fine. */
void log_clean_free(struct log_clean *lc);

/*
 * While held no segment is freed, and what is counted until then does not count:
 * somebody has positions that rows do not show (rows that arrive), or reads by
 * rows of a while ago. Any thread.
 */
void log_clean_hold(struct log_clean *lc);
void log_clean_release(struct log_clean *lc);

#endif
