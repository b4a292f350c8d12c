#ifndef TESTS_LIB_FAULT_H
#define TESTS_LIB_FAULT_H
/*
 * Makes the n calls from the at-th on fail: the sweep of CONVENTIONS section 7.
 * Every seam (allocation, files, network of the test libraries) asks
 * fault_tick(). Any thread.
 */
#include <stdbool.h>

/* Arms: calls number at, at + 1, ... at + n - 1 (from 0) fail. Restarts the
 * count; allocation asks too while armed. */
void fault_set(int at, int n);
/* Ends it; fault_fired() keeps its answer. */
void fault_clear(void);
/* One seam call passes; true when it must fail. */
bool fault_tick(void);
/* Whether any call failed since fault_set(). */
bool fault_fired(void);

#endif
