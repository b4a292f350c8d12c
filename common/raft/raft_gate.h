#ifndef COMMON_RAFT_RAFT_GATE_H
#define COMMON_RAFT_RAFT_GATE_H
/*
 * Keeps rows behind the log: what was applied may have been written only, not
 * made durable (raft_submit.loose), and leveldb writes its tables when it
 * likes. A batch of rows waits for the log's next sync, which is no more than
 * SEG_LOOSE_NS away, or asks for one when somebody waits for the batch.
 *
 * Embedded in its owner. One loop only.
 */
#include "common/raft/raft_host.h"
#include "common/rows/rows.h"

struct raft_gate {
	struct raft_host *host; /* borrowed, like rows */
	struct rows *rows;
	struct seg_append wait; /* ends with the next sync */
	struct seg_append now;  /* makes one */
	bool waiting, hurry;
	bool asking;            /* `now` is under way */
};

/* The gate of rows from now on; both go before g does. */
void raft_gate_init(struct raft_gate *g, struct raft_host *host,
		    struct rows *rows);

#endif
