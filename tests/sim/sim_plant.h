#ifndef TESTS_SIM_SIM_PLANT_H
#define TESTS_SIM_SIM_PLANT_H
/*
 * Bugs for a simulator to find: SIM_PLANT names one. tests/sim/planted.sh shows
 * that each of them is found.
 */
#include "common/raft/raft_impl.h"
#include "common/seg/seg_int.h"

struct sim_bug {
	const char *name;
	int plant; /* the simulator's own: its enum plant */
	/* or a mutation of a module itself */
	enum raft_mutation raft;
	enum seg_mutation seg;
};

extern int sim_plant; /* 0: none */
/* "tame", of all simulators: no disk is ever full, for the counts to show. */
extern bool sim_tame;

/*
 * Plants one of the n bugs, if the environment says so; ends the process when
 * it names none of them.
 */
void sim_plant_bug(const struct sim_bug *bugs, size_t n);

/* A seam, made by the linker (--wrap); its body follows. */
#define WRAP(ret, name, ...) \
	ret __real_##name(__VA_ARGS__); \
	ret __wrap_##name(__VA_ARGS__); \
	ret __wrap_##name(__VA_ARGS__)

#endif
