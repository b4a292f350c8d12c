#ifndef STORAGED_LOG_DOUBT_H
#define STORAGED_LOG_DOUBT_H
/*
 * Rows in doubt (common/raft/raft_snap.h) may name values in segments of the
 * log that the cleaner freed since. The cleaner's VALUE records behind say
 * where the bytes are now. For the start of a store; blocks.
 */
#include "common/raft/raft_snap.h"

struct log_doubt;

/* Before the log is scanned. Both are borrowed. 0 or -ENOMEM. */
int log_doubt_new(const struct raft_start *start, struct rows_back *back,
		  struct log_doubt **ret_doubt);
/* Each record of the scan. 0 or -ENOMEM. */
int log_doubt_record(struct log_doubt *d, const struct seg_rec *rec);
/* Records that are lost: they are looked for once more. */
void log_doubt_rot(struct log_doubt *d, const struct seg_rot *rot);
/*
 * When the log is open, before the groups are: rows in doubt name segments
 * that are there. Values that are nowhere are counted in a warning; who reads
 * one is told that it is lost. 0 or -errno.
 */
int log_doubt_settle(struct log_doubt *d, struct seg_head *log);
void log_doubt_free(struct log_doubt *d); /* NULL is fine */

#endif
