#ifndef TESTS_SIM_SIM_VIEW_H
#define TESTS_SIM_SIM_VIEW_H
/*
 * The rows of a store as its commands see them now, between two of them: what
 * the back has, and over it what waits to be written. To be read only, and only
 * until a command runs.
 */
#include "common/rows/rows_back.h"

struct sim_view {
	struct rows_back back; /* for whoever wants one */
	struct rows *rows;
};

void sim_view_init(struct sim_view *v, struct rows *rows);

#endif
