#ifndef STORAGED_ORPHANS_H
#define STORAGED_ORPHANS_H
/*
 * Orphans: chunks in this store of slices that nothing names and nothing will.
 * Left by clients that died before their commit, or brought back by a crash
 * after they were dropped (chunk_drop.c). A sweep goes through the slices of
 * the index now and then, asks their shards, and drops.
 *
 * A slice is swept when its shard says that it is dead, or when the shard knows
 * nothing of it, nobody is left who could commit it (its session is over and it
 * is older than `grace`, or it is older than a day and an hour), and the shard
 * then agrees by a command that it is dead (SLICE_REAP, ns_slice.c): a commit
 * that is late by any amount is refused from then on.
 *
 * One per store, on the loop that its chunk_loop is on.
 */
#include "common/base/env.h"
#include "common/wire/wire.h"

struct chunk_loop;
struct chunk_store;
struct orphans;

/* payload: borrowed, of an answer with OK. */
typedef void (*orphans_done_fn)(void *arg, uint32_t status,
				struct wire_bytes payload);

struct orphans_config {
	struct env *env;           /* borrowed */
	struct chunk_store *store; /* borrowed */
	struct chunk_loop *chunks; /* borrowed */
	/*
	 * Sends to the leader of a shard, SESSION_CHECK to the managers. Takes
	 * payload. done is called once, later; not at all when it is not 0. One
	 * at a time.
	 */
	int (*send)(void *arg, uint16_t tag, uint16_t shard,
		    struct buf *payload, orphans_done_fn done, void *done_arg);
	void *arg;
	uint64_t period_ns; /* from the end of a sweep to the next; 0: hour */
	uint64_t grace_ns;  /* 0: an hour */
};

struct orphans_stats {
	uint64_t sweeps;  /* that went through all slices */
	uint64_t slices;  /* asked about */
	uint64_t dropped; /* slices */
	/*
	 * Slices made before this second are old enough for a sweep that would
	 * begin now; those made before that one have been looked at by a whole
	 * sweep, 0: there was none.
	 */
	uint32_t old, swept;
};

int orphans_new(const struct orphans_config *config,
		struct orphans **ret_orphans);
/* The first sweep begins a tenth of a period from now. */
void orphans_start(struct orphans *o);
/* Nothing more is begun; what is under way ends without effect here. */
void orphans_stop(struct orphans *o);
/* Behind orphans_stop(), when nothing calls back any more. NULL is fine. */
void orphans_free(struct orphans *o);
void orphans_stats(const struct orphans *o, struct orphans_stats *ret);

#endif
