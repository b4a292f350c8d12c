#ifndef COMMON_BASE_LOOP_H
#define COMMON_BASE_LOOP_H
/*
 * Event loops: a libevent base, the thread that runs it, and the production
 * env on top. A daemon makes N of them in one loop_set, which also owns the
 * worker pool shared by all.
 *
 * Loop 0 runs on the thread that calls loop_set_run(); the others get threads.
 */
#include "common/base/env.h"

struct event_base;
struct loop;
struct loop_set;

/*
 * Makes n loops (1-64) and `workers` worker threads (0 = 4). Threads are not
 * started before loop_set_run(), but env_work() and env_thread_new() may be
 * used before (work is then run when the pool starts on first use).
 * 0 or -errno.
 */
int loop_set_new(unsigned n, unsigned workers, struct loop_set **ret_set);
unsigned loop_set_size(const struct loop_set *set);
struct loop *loop_set_get(struct loop_set *set, unsigned i);
/* Runs until loop_set_stop(); starts threads for loops 1..n-1, joins them. */
void loop_set_run(struct loop_set *set);
/* Any thread or a signal callback of loop 0: makes loop_set_run() return. */
void loop_set_stop(struct loop_set *set);
/*
 * After run() returned: workers end what they were given, and what was posted
 * runs here. For owners that wait for a thread of theirs on their way out.
 */
void loop_set_drain(struct loop_set *set);
/* After run() returned. Frees everything. NULL is fine. */
void loop_set_free(struct loop_set *set);

/* The loop's env; lives as long as the set. */
struct env *loop_env(struct loop *loop);
/* Only for common/base, common/rpc, common/http, fuse, and mains (signals). */
struct event_base *loop_base(struct loop *loop);
unsigned loop_index(const struct loop *loop);
/* The loop that env belongs to (production envs only). */
struct loop *loop_of(struct env *env);
/* True when called on the loop's own thread (or before run()). */
bool loop_is_current(const struct loop *loop);
/* False before run() and after it returned: what is posted then may never
 * run. */
bool loop_is_running(const struct loop *loop);
/* How it went with one kind of what a loop expects; all 0 at first. */
struct loop_luck {
	unsigned vain; /* times in a row, up to a limit */
	unsigned rest; /* times that it is not tried */
};
/*
 * What this loop waits for will come within some 50 us, less than it takes to
 * sleep and to be woken: for so long it looks again and again, and lets others
 * have the core in between. Of a kind that did not come in time it does so less
 * and less often. Loop only; luck is borrowed while the loop runs.
 */
void loop_expect(struct loop *loop, struct loop_luck *luck);
#define ASSERT_LOOP(loop) assert(loop_is_current(loop))

#endif
