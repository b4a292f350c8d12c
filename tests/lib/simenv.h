#ifndef TESTS_LIB_SIMENV_H
#define TESTS_LIB_SIMENV_H
/*
 * A world in one thread: a virtual clock, a seeded generator and one heap of
 * events. Every simulated process gets an env on it; posted tasks, timers,
 * workers and serial executors run as later events with small random delays.
 * Same seed, same run, bit for bit; sim_hash() tells.
 *
 * Aborts when out of memory, like all of the test library.
 */
#include "common/base/env.h"

#define SIM_US 1000ull
#define SIM_MS 1000000ull
#define SIM_S 1000000000ull

struct sim;

struct sim *sim_new(uint64_t seed);
/* After all of its envs were freed. */
void sim_free(struct sim *s);
uint64_t sim_now(const struct sim *s); /* ns */
/* 0 .. n - 1 */
uint64_t sim_rand(struct sim *s, uint64_t n);
/* lo .. hi */
uint64_t sim_range(struct sim *s, uint64_t lo, uint64_t hi);
/* True in this many of 1000 cases. */
bool sim_chance(struct sim *s, unsigned permille);

/* Calls fn(arg) after delay; belongs to no process, cannot be cancelled. */
void sim_after(struct sim *s, uint64_t delay_ns, void (*fn)(void *arg),
	       void *arg);
/* As sim_after(); arg is malloc'ed and freed behind fn, or by sim_free(). */
void sim_after_owned(struct sim *s, uint64_t delay_ns, void (*fn)(void *arg),
		     void *arg);
/* Runs the next event; false when there is none. */
bool sim_step(struct sim *s);
uint64_t sim_events(const struct sim *s);
/* id of the env whose event runs, or ran last; SIM_NOBODY: of none. */
#define SIM_NOBODY UINT32_MAX
unsigned sim_running(const struct sim *s);

/* Folds a line into the hash; printed when tracing is on. */
void sim_trace(struct sim *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void sim_set_tracing(struct sim *s, bool on);
/* Folds a number into the hash. */
void sim_note(struct sim *s, uint64_t v);
uint64_t sim_hash(const struct sim *s);

/* Zeroed. */
void *sim_zalloc(size_t size);
/* p (of n elements) with room for one more. */
void *sim_grow(void *p, unsigned n, unsigned *cap, size_t size);
/* p (of *cap elements) with one at index; new ones are zeroed. */
void *sim_reach(void *p, uint64_t index, uint64_t *cap, size_t size);

/* The env of a process; vfs borrowed. id is for traces. */
struct env *simenv_new(struct sim *s, struct vfs *vfs, unsigned id);
/* The process is gone: nothing of it runs any more. */
void simenv_free(struct env *env);
/* Time from the kick of a serial executor (a flusher) to its run. */
void simenv_set_disk(struct env *env, uint64_t lo_ns, uint64_t hi_ns);
/* Nothing of the process runs before that time (SIGSTOP); 0: goes on. */
void simenv_pause(struct env *env, uint64_t until_ns);
/* The clocks of a machine; they go on while its processes come and go. */
struct sim_clock {
	uint64_t local, real; /* CLOCK_BOOTTIME was local when it was real */
	int ppm;              /* and runs by so many millionths faster */
	int64_t wall;         /* CLOCK_REALTIME is off by so much */
};
/* real may lie in the future: the clock stands still until then. */
uint64_t sim_clock_now(const struct sim *s, const struct sim_clock *c);
/* c: borrowed, NULL: a perfect clock. */
void simenv_set_clock(struct env *env, const struct sim_clock *c);
/* Time until a worker runs what it got; 5 us to 2 ms unless set. */
void simenv_set_work(struct env *env, uint64_t lo_ns, uint64_t hi_ns);

#endif
