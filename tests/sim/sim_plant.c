#include "tests/sim/sim_plant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/mutate.h"

int sim_plant;
bool sim_tame;

void sim_plant_bug(const struct sim_bug *bugs, size_t n)
{
	const char *name = getenv("SIM_PLANT");

	if (name == NULL || *name == '\0')
		return;
	if (strcmp(name, "tame") == 0) {
		sim_tame = true;
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (strcmp(bugs[i].name, name) == 0) {
			sim_plant = bugs[i].plant;
			if (raft_mutate(bugs[i].raft) &&
			    seg_mutate(bugs[i].seg))
				return;
			fprintf(stderr, "SIM_PLANT=%s: " MUTATE_NONE_HERE
				"\n", name);
			exit(2);
		}
	fprintf(stderr, "SIM_PLANT=%s: no such bug\n", name);
	exit(2);
}
