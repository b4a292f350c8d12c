#ifndef TESTS_SIM_SIM_RAFT_H
#define TESTS_SIM_SIM_RAFT_H
/* Shared by tests/sim/sim_raft*.c. */

/* Reads SIM_PLANT; see sim_raft_plant.c. */
void sim_raft_plant(void);

#endif
