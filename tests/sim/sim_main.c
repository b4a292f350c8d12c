/*
 * The command line of simulators: a process per seed, results through a pipe.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/sim_cluster.h"

#define SIM_SEED_SECONDS 120

struct sim_args {
	const struct sim_program *program;
	unsigned nodes, count;
	uint64_t first, fault_ms;
	const struct sim_profile *profile;
	bool trace;
};

struct sim_total {
	unsigned ok, bad;
	uint64_t events, faults;
};

static double sim_clock(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* 0 when the seed passed. */
static int sim_seed(const struct sim_args *a, uint64_t seed,
		    struct sim_result *ret)
{
	int fd[2], st = 0;
	pid_t pid;
	ssize_t n;

	(void)fflush(stdout);
	if (pipe(fd) != 0 || (pid = fork()) < 0) {
		perror("fork");
		exit(1);
	}
	if (pid == 0) {
		struct rlimit no_core = { 0, 0 };

		(void)close(fd[0]);
		(void)setrlimit(RLIMIT_CORE, &no_core);
		(void)alarm(SIM_SEED_SECONDS);
		a->program->run(seed, a->nodes, a->profile, a->fault_ms,
				a->trace, ret);
		(void)fflush(stdout);
		_exit(write(fd[1], ret, sizeof *ret) == (ssize_t)sizeof *ret
			      ? 0 : 1);
	}
	(void)close(fd[1]);
	n = read(fd[0], ret, sizeof *ret);
	(void)close(fd[0]);
	while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(st))
		printf("# seed %llu died of signal %d\n",
		       (unsigned long long)seed, WTERMSIG(st));
	return n == (ssize_t)sizeof *ret && st == 0 ? 0 : -1;
}

static void sim_seeds(const struct sim_args *a, struct sim_total *t)
{
	struct sim_result r, again;

	memset(t, 0, sizeof *t);
	for (unsigned i = 0; i < a->count; i++) {
		uint64_t seed = a->first + i;

		if (sim_seed(a, seed, &r) != 0) {
			t->bad++;
			printf("# failed: %s -n %u -p %s -t %llu -c 1 -s %llu"
			       " --trace\n", a->program->name, a->nodes,
			       a->profile->name,
			       (unsigned long long)a->fault_ms,
			       (unsigned long long)seed);
			continue;
		}
		if (i == 0 && (sim_seed(a, seed, &again) != 0 ||
			       again.hash != r.hash)) {
			t->bad++;
			printf("# seed %llu: two runs, two traces\n",
			       (unsigned long long)seed);
			continue;
		}
		t->ok++;
		t->events += r.events;
		t->faults += r.faults;
	}
}

static int sim_check(const struct sim_program *p)
{
	unsigned n = 0, bad = 0;

	while (p->rows[n].nodes != 0)
		n++;
	printf("1..%u\n", n);
	for (unsigned i = 0; i < n; i++) {
		struct sim_args a = {
			.program = p,
			.nodes = p->rows[i].nodes,
			.count = p->rows[i].count,
			.first = 1,
			.fault_ms = p->fault_ms,
			.profile = sim_profile_find(p->rows[i].profile),
		};
		struct sim_total t;

		sim_seeds(&a, &t);
		bad += t.bad;
		printf("%s %u - %u seeds, %u nodes, profile %s, %llu faults\n",
		       t.bad == 0 ? "ok" : "not ok", i + 1, t.ok, a.nodes,
		       a.profile->name, (unsigned long long)t.faults);
	}
	return bad == 0 ? 0 : 1;
}

static int sim_usage(const struct sim_program *p)
{
	fprintf(stderr, "usage: %s [-n nodes] [-c count] [-s first_seed] "
		"[-p calm|storm|disk|mix] [-t fault_ms] [--seed n] "
		"[--trace]\n", p->name);
	return 2;
}

static int sim_parse(struct sim_args *a, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "trace", no_argument, NULL, 'T' },
		{ "seed", required_argument, NULL, 'S' },
		{ "profile", required_argument, NULL, 'p' },
		{ NULL, 0, NULL, 0 },
	};
	int o;

	while ((o = getopt_long(argc, argv, "n:c:s:p:t:", longs, NULL)) != -1)
		switch (o) {
		case 'n':
			a->nodes = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'c':
			a->count = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 's':
			a->first = strtoull(optarg, NULL, 10);
			break;
		case 'S':
			a->first = strtoull(optarg, NULL, 10);
			a->count = 1;
			break;
		case 't':
			a->fault_ms = strtoull(optarg, NULL, 10);
			break;
		case 'p':
			a->profile = sim_profile_find(optarg);
			break;
		case 'T':
			a->trace = true;
			break;
		default:
			return -1;
		}
	return a->nodes >= 1 && a->nodes <= SIM_NODES && a->profile != NULL &&
	       optind == argc ? 0 : -1;
}

int sim_main(const struct sim_program *program, int argc, char **argv)
{
	struct sim_args a = {
		.program = program,
		.nodes = 3,
		.count = 100,
		.first = 1,
		.fault_ms = program->fault_ms,
		.profile = sim_profile_find("mix"),
	};
	struct sim_result r;
	struct sim_total t;
	double from = sim_clock();

	if (argc == 1)
		return sim_check(program);
	if (sim_parse(&a, argc, argv) != 0)
		return sim_usage(program);
	if (a.count == 1) { /* in this process: for debuggers */
		program->run(a.first, a.nodes, a.profile, a.fault_ms, a.trace,
			     &r);
		printf("seed %llu ok: hash %016llx, %llu events, %llu faults\n",
		       (unsigned long long)a.first, (unsigned long long)r.hash,
		       (unsigned long long)r.events,
		       (unsigned long long)r.faults);
		return 0;
	}
	printf("first seed %llu, %u nodes, profile %s\n",
	       (unsigned long long)a.first, a.nodes, a.profile->name);
	sim_seeds(&a, &t);
	from = sim_clock() - from;
	printf("%u seeds ok, %u failed, %llu events, %llu faults, %.1f s, "
	       "%.0f seeds/h\n", t.ok, t.bad, (unsigned long long)t.events,
	       (unsigned long long)t.faults, from,
	       (double)(t.ok + t.bad) / from * 3600);
	return t.bad == 0 ? 0 : 1;
}
