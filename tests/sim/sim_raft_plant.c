/*
 * Seams of the simulator, and bugs for it to find, put in by the linker
 * (--wrap) when SIM_PLANT names one. tests/sim/planted.sh shows that each of
 * them is found. Some are mutations of the modules themselves, some are in the
 * simulator's own owner of the groups: "wipe" (a wiped store keeps its id),
 * "trunc" (entries go before the rows are durable), "limp" (the heal leaves a
 * slow machine slow), "ahead" (rows do not wait for the log), "majority" (one
 * disk more is lost than the promise covers).
 */
#include "tests/sim/sim_raft.h"

static const struct sim_bug bugs[] = {
	{ .name = "ack", .plant = PLANT_ACK },
	{ .name = "vote", .plant = PLANT_VOTE },
	{ .name = "early", .plant = PLANT_EARLY },
	{ .name = "stale", .plant = PLANT_STALE },
	{ .name = "asleep", .plant = PLANT_ASLEEP },
	{ .name = "count", .plant = PLANT_COUNT },
	{ .name = "told", .plant = PLANT_TOLD },
	{ .name = "wipe", .plant = PLANT_WIPE },
	{ .name = "term", .plant = PLANT_TERM },
	{ .name = "trunc", .plant = PLANT_TRUNC },
	{ .name = "reset", .plant = PLANT_RESET },
	{ .name = "limp", .plant = PLANT_LIMP },
	{ .name = "ahead", .plant = PLANT_AHEAD },
	{ .name = "majority", .plant = PLANT_MAJORITY },
	{ .name = "quorum", .raft = RAFT_MUTATE_LOOSE_QUORUM },
	{ .name = "frame", .raft = RAFT_MUTATE_ANY_FRAME },
	{ .name = "loose", .seg = SEG_MUTATE_ALL_LOOSE },
	{ .name = "hold", .seg = SEG_MUTATE_NO_HOLD },
	{ .name = "need", .raft = RAFT_MUTATE_NEED_NOTHING },
	{ .name = "free", .raft = RAFT_MUTATE_FREE_SOON },
	{ .name = "table", .raft = RAFT_MUTATE_NO_TABLE },
	{ .name = "nosync", .seg = SEG_MUTATE_NO_SYNC },
	{ .name = "rotend", .seg = SEG_MUTATE_ROT_IS_END },
	{ .name = "rewrite", .seg = SEG_MUTATE_NO_REWRITE },
	{ .name = "supersum", .seg = SEG_MUTATE_SUPER_SUM },
};

void sim_raft_plant(void)
{
	sim_plant_bug(bugs, sizeof bugs / sizeof *bugs);
}

/*
 * vote: votes are forgotten with the process. reset: a snapshot that is
 * installed is not noted in the log.
 */
WRAP(void, seg_append, struct seg_port *port, struct seg_append *a)
{
	if (sim_plant == PLANT_VOTE && a->type == SEG_HARD)
		a->b = 0;
	if (sim_plant == PLANT_RESET && a->type == SEG_RESET && a->a > 0)
		a->group = UINT16_MAX;
	__real_seg_append(port, a);
}

/* What was handed to the disk counts as written. */
WRAP(void, raft_step_persisted, struct raft_group *g, uint64_t index)
{
	if (sim_plant == PLANT_ACK)
		index = rlog_last(&g->log);
	__real_raft_step_persisted(g, index);
}

/* Entries of older terms are committed by counting copies. */
static void plant_count(struct raft_group *g)
{
	const struct raft_configuration *c = &g->r.configuration;
	uint64_t commit = g->r.commit_index;

	if (raft_state(&g->r) != RAFT_LEADER)
		return;
	for (uint64_t i = commit + 1; i <= g->r.last_stored; i++) {
		unsigned votes = 0, voters = 0;

		for (unsigned k = 0; k < c->n; k++) {
			raft_index match = 0;

			voters += c->servers[k].role == RAFT_VOTER;
			(void)raft_match_index(&g->r, c->servers[k].id,
					       &match);
			votes += c->servers[k].role == RAFT_VOTER &&
				 match >= i;
		}
		if (votes > voters / 2)
			commit = i;
	}
	g->r.commit_index = commit;
	if (commit > g->commit) {
		g->commit = commit;
		raft_host_dirty(g->h, g);
	}
}

/* early: a process votes as soon as it is there. */
WRAP(void, raft_step_receive, struct raft_group *g, struct raft_message *m,
     const struct raft_extra *x)
{
	if (sim_plant == PLANT_EARLY)
		g->quarantine = 0;
	__real_raft_step_receive(g, m, x);
	if (sim_plant == PLANT_COUNT)
		plant_count(g);
}

/* A leader believes that it still is one. */
WRAP(bool, raft_group_can_read, const struct raft_group *g)
{
	if (sim_plant == PLANT_STALE)
		return raft_group_is_leader(g);
	return __real_raft_group_can_read(g);
}

/* Who was asked to lead is forgotten when it did not at once. */
WRAP(void, raft_lease_told, struct raft_group *g, uint64_t to)
{
	sim_raft_told(g, to);
	if (sim_plant != PLANT_TOLD)
		__real_raft_lease_told(g, to);
}

/* A sole voter leads in the term of its last life. */
WRAP(void, raft_group_hard, struct raft_group *g, uint64_t term, uint64_t vote)
{
	if (sim_plant == PLANT_TERM && g->sole_voter &&
	    g->state == RAFT_GROUP_OPEN && g->log.n > 0)
		return;
	__real_raft_group_hard(g, term, vote);
}
