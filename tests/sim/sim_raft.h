#ifndef TESTS_SIM_SIM_RAFT_H
#define TESTS_SIM_SIM_RAFT_H
/* Shared by tests/sim/sim_raft*.c. */
#include "common/raft/raft_impl.h"

/* Reads SIM_PLANT; see sim_raft_plant.c. */
void sim_raft_plant(void);
/* The leader of g asks `to` to lead. */
void sim_raft_told(struct raft_group *g, uint64_t to);

#endif
