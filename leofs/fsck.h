#ifndef LEOFS_FSCK_H
#define LEOFS_FSCK_H
/*
 * `leofs fsck`: the recount of managerd/mgr_fsck.h over a stopped store, which
 * is opened and recovered like at a start but serves nobody. Loop 0.
 */
#include <stdbool.h>

struct loop_set;
struct manager;

struct fsck {
	struct loop_set *set; /* stopped when it is over */
	struct manager *manager;
	bool read;
	int status; /* 0 clean, 1 findings, 2 could not look */
};

/* All shards lead: recounts, prints to standard output, stops the loops. */
void fsck_run(struct fsck *f);

#endif
