#ifndef TESTS_LIB_MINIENV_H
#define TESTS_LIB_MINIENV_H
/*
 * An env on one thread for unit tests: tasks, finished work and serial
 * executors run in order of posting inside minienv_run(); time stands still
 * until minienv_advance().
 */
#include "common/base/env.h"

struct minienv;

/* vfs: borrowed. Aborts when out of memory. */
struct minienv *minienv_new(struct vfs *vfs, uint64_t seed);
/* What is still queued is dropped. */
void minienv_free(struct minienv *m);
struct env *minienv_env(struct minienv *m);
/* Runs until nothing is left to do now. */
void minienv_run(struct minienv *m);
/* Runs one task, work or executor; false when there was none. */
bool minienv_step(struct minienv *m);
/* Lets time pass and runs nothing: minienv_step() finds what became due. */
void minienv_skip(struct minienv *m, uint64_t ns);
/* Lets time pass; runs what becomes due, in order of time. */
void minienv_advance(struct minienv *m, uint64_t ns);

#endif
