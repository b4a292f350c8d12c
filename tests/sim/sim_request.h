#ifndef TESTS_SIM_SIM_REQUEST_H
#define TESTS_SIM_SIM_REQUEST_H
/*
 * The rules of common/client/call.c as those clients of sim_shard and sim_tree
 * keep them that are not it: they send the next try while the last one may
 * still be answered, and to any machine.
 */
#include "common/base/buf.h"
#include "tests/sim/sim_cluster.h"

/* The answer is none: it is asked again. */
bool sim_may_retry(uint32_t status);
/* Writes into a mutation whose it is; the number is that of all its tries. */
void sim_stamp(struct buf *payload, uint64_t client, uint32_t slot,
	       uint64_t seq);
/* Who gets a try, counted from 1: the likely leader, the next ones, or any. */
unsigned sim_try_node(struct sim_cluster *c, unsigned hint, unsigned try);

#endif
