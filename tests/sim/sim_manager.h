#ifndef TESTS_SIM_SIM_MANAGER_H
#define TESTS_SIM_SIM_MANAGER_H
/*
 * A manager of shards, in sim_shard and sim_tree: it wants each group to be
 * decided on by some nodes, now these, now those, and has leaders step towards
 * it; who is not wanted keeps what it has, gets nothing and is forgotten in the
 * end, so that groups of one come again. Now and then a leadership is handed
 * on. And now and then disks are lost for good and come back empty, as other
 * stores: as many at once as groups can do without. A disk that rots is
 * replaced so.
 *
 * Groups are those of shards 1 to n; every process is a sim_store, and opens
 * all of them.
 */
#include "tests/sim/sim_member.h"
#include "tests/sim/sim_store.h"

#define SIM_GROUPS 8

struct sim_manager {
	struct sim_cluster *c;
	unsigned groups;
	unsigned founders;     /* first voters: nodes 0, 1, ... */
	bool moves;            /* who votes changes, and disks are lost */
	bool transfers;        /* leaderships are handed on */
	bool keep;             /* planted: lost stores keep their id */
	bool greedy;           /* planted: one more is lost than may be */
	/* what sim_leader_check() has of each group, borrowed */
	const uint8_t *owner[SIM_GROUPS];
	bool target[SIM_GROUPS][SIM_NODES]; /* nodes that shall vote */
	bool wiped[SIM_NODES]; /* once: it is none of the founders any more */
	struct rows_mem_image **images; /* of the nodes, borrowed */
	struct sim_changes asked[SIM_NODES];
	uint64_t changes;      /* that were made */
};

/*
 * Leaderships move under the profile "snap", too.
 * images: SIM_NODES of them. The caller sets m->owner.
 */
void sim_manager_init(struct sim_manager *m, unsigned groups, unsigned nodes,
		      const struct sim_profile *profile, uint64_t seed,
		      struct rows_mem_image **images);
/* A process starts on node. The number of first voters for shard_open(). */
unsigned sim_manager_start(struct sim_manager *m, struct sim_cluster *c,
			   unsigned node, uint64_t voters[SIM_NODES]);
/* It aborted. */
void sim_manager_died(struct sim_manager *m, unsigned node);
/* Called again and again: does something now and then. May stop a process. */
void sim_manager_step(struct sim_manager *m);
/* For struct sim_ops: no group needs what is on these disks. */
bool sim_manager_spares(const struct sim_manager *m, unsigned nodes);
/* All groups are where they should be. */
bool sim_manager_done(struct sim_manager *m);
/* The node shall vote in group i (from 0), as far as anybody knows. */
bool sim_manager_wants(const struct sim_manager *m, unsigned i, unsigned node);
/* In end(). */
void sim_manager_count(const struct sim_manager *m);

#endif
