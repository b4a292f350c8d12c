#ifndef TESTS_SIM_SIM_MEMBER_H
#define TESTS_SIM_SIM_MEMBER_H
/*
 * What the managers of sim_raft and of shards (sim_manager.h) have in common:
 * what leaders were asked to change, who shall vote, which disks may be lost,
 * and who may lead in a term.
 */
#include <sys/queue.h>

#include "common/raft/raft_host.h"
#include "tests/sim/sim_cluster.h"

#define SIM_TERMS 20000
#define SIM_MEMBERS (2 * SIM_NODES)

/* --- changes under way, of one process --- */

struct sim_changes {
	TAILQ_HEAD(, sim_change) asked;
	struct sim_cluster *c;
	uint64_t *done; /* those that were made, of the world */
};

void sim_changes_init(struct sim_changes *l, struct sim_cluster *c,
		      uint64_t *done);
/* Asks the leader g; the change is known until it ends. */
void sim_changes_ask(struct sim_changes *l, struct raft_group *g, uint64_t id,
		     enum raft_role role);
/* One of that group is under way; of store id, 0: of any. */
bool sim_changes_has(const struct sim_changes *l, unsigned group, uint64_t id);
/* The process is gone, and nothing of it ends any more. */
void sim_changes_lost(struct sim_changes *l);

/* --- members --- */

/* Other nodes, one to five, shall vote; none whose disk is rotten. */
void sim_member_choose(struct sim_cluster *c, bool target[SIM_NODES]);
/* RAFT_ROLE_NONE when id is none of the members. */
enum raft_role sim_member_role(const struct raft_member *m, unsigned n,
			       uint64_t id);
/* The next step to a vote of one that has that role. */
enum raft_role sim_member_next(struct sim *s, enum raft_role role);
/* One whose disk is lost, or rotten and will be; 0: none. */
uint64_t sim_member_lost(struct sim_cluster *c, const struct raft_member *m,
			 unsigned n);
/*
 * Nothing acknowledged is lost, and the group goes on, without the disks of
 * these nodes (bits) beside those that are lost already: of n voters
 * (n - 1) / 2 may be. True only when the configuration that g knows is the only one that
 * counts: g leads, nobody did in a later term (owner: sim_leader_check()), and
 * an entry of its term is committed, behind that configuration. Whoever is down
 * comes back with what it had. What leaders were asked is for the caller.
 */
bool sim_member_spares(struct sim_cluster *c, const struct raft_group *g,
		       const uint8_t owner[SIM_TERMS], unsigned nodes);
/* Nodes (bits) to be lost at once, that can be spared; 0: none. Counted. */
unsigned sim_member_choose_lost(struct sim_cluster *c);
/* A node whose rotten disk is replaced now; the cluster's size: none. */
unsigned sim_member_choose_rotten(struct sim_cluster *c);

/* --- leaders --- */

/*
 * node leads in term, 0: it does not; nobody else may, ever. owner: store that
 * led in a term; elected: term of the node's last election.
 */
void sim_leader_check(struct sim_cluster *c, unsigned node, uint64_t term,
		      uint8_t owner[SIM_TERMS], uint64_t *elected);

#endif
