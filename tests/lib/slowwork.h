#ifndef TESTS_LIB_SLOWWORK_H
#define TESTS_LIB_SLOWWORK_H
/*
 * Workers that are slow: what an env is given to do is held until a test lets
 * it go, in any order. Of one env at a time; what is still held when that ends
 * is never done. On the env's thread.
 */
#include "common/base/env.h"

struct slowwork {
	struct env *env;          /* borrowed */
	struct env_ops ops;       /* env's, but for work */
	void (*work)(struct env *env, struct env_work *work); /* the real one */
	struct env_work *held;    /* newest first */
};

/* From now on; s must outlive env. */
void slowwork_start(struct slowwork *s, struct env *env);
/* Lets the one at *at go: &s->held or the next of one that is held. */
void slowwork_go(struct slowwork *s, struct env_work **at);

#endif
