#ifndef TESTS_SIM_SIM_POOL_H
#define TESTS_SIM_SIM_POOL_H
/*
 * Seeds in child processes: batches of them, several children at once, results
 * through pipes. A seed that dies takes only itself along: the rest of its
 * batch runs in the next child. The last seed of a plan's first batch runs
 * again in a process of its own and must give the same hash, so neither time
 * nor what ran before may be seen in a run.
 */
#include "tests/sim/sim_cluster.h"

/* Seeds first, first + 1, ... of one program, size and profile. */
struct sim_plan {
	const struct sim_program *program;
	unsigned nodes;
	const struct sim_profile *profile;
	uint64_t fault_ms;
	uint64_t first, count; /* count UINT64_MAX: until the time is over */
	/* results */
	uint64_t ok, bad, events, faults;
	uint64_t counts[SIM_N];
};

struct sim_pool_config {
	unsigned jobs;         /* children at once */
	double seconds;        /* no batch begins after that; 0: no limit */
	bool stop_at_bad;
};

/* Takes batches of all plans in turn; the number of bad seeds. */
uint64_t sim_pool_run(const struct sim_pool_config *config,
		      struct sim_plan *plans, unsigned n);

#endif
