#ifndef TESTS_FAULT_CRASH_MAIN_H
#define TESTS_FAULT_CRASH_MAIN_H
/*
 * What the programs that judge crash states have in common: options, histories
 * until there were enough states, mutations, and what is printed (TAP).
 *
 *   PROGRAM [-s SEED | -r] [-n STATES] [-m]
 *   -s: of the first history  -r: seed from the clock  -m: no mutations
 *
 * A history is several lives on one disk. Each has a seed of its own, so that
 * it replays alone; one that is bad is the last. One thread.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRASH_BAD 256   /* bytes of what is wrong, with the NUL */
#define CRASH_COUNTS 8

/* A run of histories. */
struct crash_run {
	uint64_t rng;
	uint64_t states, max_states; /* images that were judged */
	uint64_t histories;          /* that have ended */
	uint64_t bad;
	char first_bad[CRASH_BAD];
	uint64_t n[CRASH_COUNTS];    /* what the test counts */
};

struct crash_test {
	const char *name;
	const char *label; /* in front of what it prints; NULL: nothing */
	void (*history)(struct crash_run *r);
	/*
	 * Names of what it counts, up to a NULL: all of it must happen. NULL:
	 * it counts nothing, and prints how fast it was.
	 */
	const char *const *counts;
};

/* Leaves out one thing: each test must notice. */
struct crash_mutation {
	const char *name;
	/* 0: nothing is left out. False: this build cannot leave it out. */
	bool (*set)(int what);
	int what;
};

struct crash_program {
	uint64_t seed, states; /* where the options say nothing */
	const struct crash_test *tests;
	size_t n_tests;
	const struct crash_mutation *mutations;
	size_t n_mutations;
	uint64_t notice; /* states within which a mutation must be noticed */
	bool may_stop;   /* a mutation may stop the process: each has its own */
};

/* The program's result. */
int crash_main(const struct crash_program *program, int argc, char **argv);

/* A state was not what it must be: this is kept of the first. */
void crash_run_bad(struct crash_run *r, const char *what);
/*
 * A start that comes to nothing, and another one: nobody sees that it was.
 * start() says in ret_found, len bytes, what it found, a hash of the disk first;
 * it has the same random numbers both times.
 */
#define CRASH_FOUND 1024
void crash_run_twice(struct crash_run *r, size_t len,
		     void (*start)(struct crash_run *r, void *arg,
				   void *ret_found),
		     void *arg);
/* Makes bad "what (a, b)" if it is empty. */
void crash_note(char bad[CRASH_BAD], const char *what, uint64_t a, uint64_t b);

static inline uint64_t rng_next(struct crash_run *r)
{
	uint64_t x = (r->rng += 0x9e3779b97f4a7c15ull);

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static inline uint64_t rng(struct crash_run *r, uint64_t below)
{
	return rng_next(r) % below;
}

#endif
