#ifndef COMMON_RAFT_RAFT_TRIM_H
#define COMMON_RAFT_RAFT_TRIM_H
/*
 * Frees segments of a log in which nothing is read but by a start: that of the
 * managers, whose rows hold everything. One after the other, on the host's
 * loop and port. One that cannot be freed stays until the next call.
 */
#include "common/raft/raft_host.h"

struct raft_trim;

int raft_trim_new(struct raft_host *h, struct raft_trim **ret_trim);
/* The head is closed and the env runs nothing of it any more. NULL is fine. */
void raft_trim_free(struct raft_trim *t);
/* Frees what is below gen and below raft_host_free_below(). */
void raft_trim_to(struct raft_trim *t, uint64_t gen);

#endif
