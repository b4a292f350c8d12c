#include "tests/fault/crash_main.h"

#include <assert.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/mutate.h"

#define HISTORY_STRIDE 1000003 /* between the seeds of two histories */

void crash_run_bad(struct crash_run *r, const char *what)
{
	if (r->bad++ == 0)
		(void)snprintf(r->first_bad, sizeof r->first_bad, "%s", what);
}

void crash_run_twice(struct crash_run *r, size_t len,
		     void (*start)(struct crash_run *r, void *arg,
				   void *ret_found),
		     void *arg)
{
	uint64_t seed = r->rng, found[2][CRASH_FOUND / 8] = { { 0 } };

	assert(len <= sizeof found[0]);
	for (int i = 0; i < 2 && r->bad == 0; i++) {
		r->rng = seed;
		start(r, arg, found[i]);
	}
	if (r->bad > 0)
		return;
	if (found[0][0] != found[1][0])
		crash_run_bad(r, "started again, the disk changed");
	else if (memcmp(found[0], found[1], len) != 0)
		crash_run_bad(r, "started again, something else is found");
}

void crash_note(char bad[CRASH_BAD], const char *what, uint64_t a, uint64_t b)
{
	if (bad[0] == '\0')
		(void)snprintf(bad, CRASH_BAD, "%s (%" PRIu64 ", %" PRIu64 ")",
			       what, a, b);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run_states(struct crash_run *r, const struct crash_test *test,
		       uint64_t seed)
{
	uint64_t n = 0;

	while (r->states < r->max_states && r->bad == 0) {
		r->rng = seed + n++ * HISTORY_STRIDE;
		test->history(r);
		r->histories++;
	}
}

static int test_number;

static bool report(bool good, const char *what)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++test_number, what);
	(void)fflush(stdout);
	return good;
}

/* What it counted, or its speed; false: something never happened. */
static bool print_counts(const struct crash_run *r,
			 const struct crash_test *test, double took)
{
	bool all = true;

	if (test->counts == NULL)
		printf(", %.1f s, %.0f states/s", took,
		       (double)r->states / took);
	for (size_t i = 0; test->counts != NULL && test->counts[i] != NULL;
	     i++) {
		printf(", %" PRIu64 " %s", r->n[i], test->counts[i]);
		all &= r->n[i] > 0;
	}
	printf("\n");
	return all;
}

static bool run_test(const struct crash_test *test, uint64_t seed,
		     uint64_t states)
{
	struct crash_run r = { .max_states = states };
	double start = seconds();
	bool all;

	run_states(&r, test, seed);
	printf("# %s%sseed %" PRIu64 ", %" PRIu64 " histories, %" PRIu64
	       " states", test->label == NULL ? "" : test->label,
	       test->label == NULL ? "" : ": ", seed, r.histories, r.states);
	all = print_counts(&r, test, seconds() - start);
	if (r.bad > 0)
		printf("# history -s %" PRIu64 ": %s\n",
		       seed + (r.histories - 1) * HISTORY_STRIDE,
		       r.first_bad);
	else if (!all)
		return report(false, "something never happened");
	return report(r.bad == 0, test->name);
}

static bool notices(const struct crash_program *program,
		    const struct crash_test *test,
		    const struct crash_mutation *m, uint64_t seed)
{
	struct crash_run r = { .max_states = program->notice };

	(void)m->set(m->what);
	run_states(&r, test, seed);
	(void)m->set(0);
	printf("# noticed after %" PRIu64 " states: %s\n", r.states,
	       r.bad > 0 ? r.first_bad : "never");
	(void)fflush(stdout);
	return r.bad > 0;
}

/* In a process of its own: what is left out may stop it. */
static bool notices_or_stops(const struct crash_program *program,
			     const struct crash_test *test,
			     const struct crash_mutation *m, uint64_t seed)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(notices(program, test, m, seed) ? 1 : 0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		abort();
	if (WIFSIGNALED(status))
		printf("# noticed: the host stopped\n");
	return status != 0;
}

static bool run_mutation(const struct crash_program *program,
			 const struct crash_test *test,
			 const struct crash_mutation *m, uint64_t seed)
{
	bool can = m->set(m->what), good = true;
	char what[160];

	(void)m->set(0);
	if (can)
		good = program->may_stop
			       ? notices_or_stops(program, test, m, seed)
			       : notices(program, test, m, seed);
	(void)snprintf(what, sizeof what, "%s%snotices: %s%s",
		       test->label == NULL ? "" : test->name,
		       test->label == NULL ? "" : " ", m->name,
		       can ? "" : " # SKIP " MUTATE_NONE_HERE);
	return report(good, what);
}

static bool run_all(const struct crash_program *program, uint64_t seed,
		    uint64_t states, size_t n_mutations)
{
	bool good = true;

	printf("1..%zu\n", program->n_tests * (1 + n_mutations));
	for (size_t t = 0; t < program->n_tests; t++)
		good &= run_test(&program->tests[t], seed, states);
	for (size_t i = 0; i < n_mutations; i++)
		for (size_t t = 0; t < program->n_tests; t++)
			good &= run_mutation(program, &program->tests[t],
					     &program->mutations[i], seed);
	return good;
}

int crash_main(const struct crash_program *program, int argc, char **argv)
{
	uint64_t seed = program->seed, states = program->states;
	size_t n_mutations = program->n_mutations;
	int c;

	while ((c = getopt(argc, argv, "s:n:rm")) != -1) {
		if (c == 's')
			seed = strtoull(optarg, NULL, 10);
		else if (c == 'n')
			states = strtoull(optarg, NULL, 10);
		else if (c == 'r')
			seed = (uint64_t)time(NULL);
		else if (c == 'm')
			n_mutations = 0;
		else
			return 2;
	}
	return run_all(program, seed, states, n_mutations) ? 0 : 1;
}
