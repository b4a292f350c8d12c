/*
 * The command line of simulators.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/log.h"
#include "tests/sim/sim_pool.h"

#define SIM_ROWS 32

struct sim_args {
	const struct sim_program *program;
	unsigned nodes;
	uint64_t count, first, fault_ms;
	const struct sim_profile *profile;
	struct sim_pool_config pool;
	bool rows, one, trace;
};

/*
 * The rows of the program as plans; count seeds in all, 0: as the rows say,
 * UINT64_MAX: without end.
 */
static unsigned sim_plan_rows(const struct sim_args *a,
			      struct sim_plan plans[SIM_ROWS])
{
	const struct sim_row *rows = a->program->rows;
	uint64_t total = 0;
	unsigned n = 0;

	for (; rows[n].nodes != 0; n++)
		total += rows[n].count;
	if (n > SIM_ROWS)
		abort();
	for (unsigned i = 0; i < n; i++)
		plans[i] = (struct sim_plan){
			.program = a->program,
			.nodes = rows[i].nodes,
			.profile = sim_profile_find(rows[i].profile),
			.fault_ms = a->fault_ms,
			.first = a->first,
			.count = a->count == 0 ? rows[i].count
				 : a->count == UINT64_MAX
					 ? UINT64_MAX
					 : (a->count * rows[i].count + total -
					    1) / total,
		};
	return n;
}

static const char *const sim_count_names[SIM_N] = {
#define SIM_COUNT_NAME(name, text) [SIM_N_##name] = text,
	SIM_COUNTS(SIM_COUNT_NAME)
#undef SIM_COUNT_NAME
};

static void sim_print_counts(const struct sim_plan *p)
{
	char line[120] = "";
	size_t len = 0;

	for (unsigned i = 0; i < SIM_N; i++) {
		char one[60];
		int n = snprintf(one, sizeof one, "%llu %s",
				 (unsigned long long)p->counts[i],
				 sim_count_names[i]);

		if (p->counts[i] == 0)
			continue;
		if (len > 0 && len + (size_t)n > 70) {
			printf("#   %s\n", line);
			len = 0;
		}
		len += (size_t)snprintf(line + len, sizeof line - len, "%s%s",
					len > 0 ? ", " : "", one);
	}
	if (len > 0)
		printf("#   %s\n", line);
}

/* Seeds in which all that a row is meant for must have happened. */
#define SIM_ENOUGH 200

/* Must it happen in that row: for the program, or by its profile's weights? */
static bool sim_plan_wants(const struct sim_program *program,
			   const struct sim_plan *p, enum sim_count what)
{
	const struct sim_need *n = program->needs;

	for (; n != NULL && n->what != SIM_N; n++)
		if (n->what == what &&
		    (n->nodes == 0 || n->nodes == p->nodes) &&
		    (n->profile == NULL ||
		     strcmp(n->profile, p->profile->name) == 0))
			return true;
	return sim_profile_wants(p->profile, p->nodes, what);
}

/* Prints what should have happened in a row and did not; true: nothing. */
static bool sim_needs_met(const struct sim_program *program,
			  const struct sim_plan *p)
{
	bool met = true;

	for (unsigned i = 0; i < SIM_N && p->ok >= SIM_ENOUGH; i++) {
		if (p->counts[i] > 0 || !sim_plan_wants(program, p, i))
			continue;
		printf("# failed: %u nodes, profile %s: no %s in %llu seeds\n",
		       p->nodes, p->profile->name, sim_count_names[i],
		       (unsigned long long)p->ok);
		met = false;
	}
	return met;
}

/* The same of all rows that are meant for something: they may be short. */
static bool sim_all_needs_met(const struct sim_program *program,
			      const struct sim_plan *plans, unsigned n)
{
	bool met = true;

	for (unsigned i = 0; i < SIM_N; i++) {
		uint64_t seeds = 0, count = 0;

		for (unsigned k = 0; k < n; k++) {
			if (!sim_plan_wants(program, &plans[k], i))
				continue;
			seeds += plans[k].ok;
			count += plans[k].counts[i];
		}
		if (count > 0 || seeds < SIM_ENOUGH)
			continue;
		printf("# failed: no %s in %llu seeds\n", sim_count_names[i],
		       (unsigned long long)seeds);
		met = false;
	}
	return met;
}

static int sim_summary(const struct sim_plan *plans, unsigned n, double took)
{
	uint64_t ok = 0, bad = 0, events = 0, faults = 0;

	for (unsigned i = 0; i < n; i++) {
		ok += plans[i].ok;
		bad += plans[i].bad;
		events += plans[i].events;
		faults += plans[i].faults;
	}
	printf("# summary: %llu seeds from %llu ok, %llu failed, %llu events, "
	       "%llu faults, %.0f s, %.0f seeds/h\n", (unsigned long long)ok,
	       (unsigned long long)plans[0].first, (unsigned long long)bad,
	       (unsigned long long)events, (unsigned long long)faults, took,
	       (double)(ok + bad) / took * 3600);
	return bad == 0 ? 0 : 1;
}

static double sim_seconds(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int sim_run_rows(const struct sim_args *a)
{
	struct sim_plan plans[SIM_ROWS];
	unsigned n = sim_plan_rows(a, plans);
	double from = sim_seconds();
	bool met;

	printf("# first seed %llu\n1..%u\n", (unsigned long long)a->first, n);
	(void)sim_pool_run(&a->pool, plans, n);
	met = sim_all_needs_met(a->program, plans, n);
	for (unsigned i = 0; i < n; i++) {
		bool ok = sim_needs_met(a->program, &plans[i]);

		met = met && ok;
		printf("%s %u - %llu seeds, %u nodes, profile %s, "
		       "%llu faults\n",
		       ok && plans[i].bad == 0 ? "ok" : "not ok", i + 1,
		       (unsigned long long)plans[i].ok, plans[i].nodes,
		       plans[i].profile->name,
		       (unsigned long long)plans[i].faults);
		sim_print_counts(&plans[i]);
	}
	return sim_summary(plans, n, sim_seconds() - from) == 0 && met ? 0 : 1;
}

static int sim_run_plan(const struct sim_args *a)
{
	struct sim_plan plan = {
		.program = a->program,
		.nodes = a->nodes,
		.profile = a->profile,
		.fault_ms = a->fault_ms,
		.first = a->first,
		.count = a->count == 0 ? 100 : a->count,
	};
	double from = sim_seconds();

	printf("first seed %llu, %u nodes, profile %s\n",
	       (unsigned long long)a->first, a->nodes, a->profile->name);
	(void)sim_pool_run(&a->pool, &plan, 1);
	sim_print_counts(&plan);
	return sim_summary(&plan, 1, sim_seconds() - from);
}

/* In this process: for debuggers. */
static int sim_run_one(const struct sim_args *a)
{
	struct sim_result r;

	a->program->run(a->first, a->nodes, a->profile, a->fault_ms, a->trace,
			&r);
	printf("seed %llu ok: hash %016llx, %llu events, %llu faults\n",
	       (unsigned long long)a->first, (unsigned long long)r.hash,
	       (unsigned long long)r.events, (unsigned long long)r.faults);
	return 0;
}

static int sim_usage(const struct sim_program *p)
{
	fprintf(stderr, "usage: %s [-n nodes] [-p profile] [-t fault_ms] "
		"[-c count] [-s first]\n"
		"\t[-j jobs] [--seconds n] [--stop] [--rows] "
		"[--seed n] [--trace]\nprofiles:", p->name);
	sim_profile_names(stderr);
	return 2;
}

static int sim_parse(struct sim_args *a, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "trace", no_argument, NULL, 'T' },
		{ "seed", required_argument, NULL, 'S' },
		{ "profile", required_argument, NULL, 'p' },
		{ "seconds", required_argument, NULL, 'x' },
		{ "stop", no_argument, NULL, 'X' },
		{ "rows", no_argument, NULL, 'R' },
		{ NULL, 0, NULL, 0 },
	};
	int o;

	while ((o = getopt_long(argc, argv, "n:c:s:p:t:j:", longs, NULL)) != -1)
		switch (o) {
		case 'n':
			a->nodes = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'c':
			a->count = strtoull(optarg, NULL, 10);
			break;
		case 'S':
			a->one = true;
			/* fall through */
		case 's':
			a->first = strtoull(optarg, NULL, 10);
			break;
		case 't':
			a->fault_ms = strtoull(optarg, NULL, 10);
			break;
		case 'p':
			a->profile = sim_profile_find(optarg);
			break;
		case 'j':
			a->pool.jobs = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'x':
			a->pool.seconds = strtod(optarg, NULL);
			break;
		case 'X':
			a->pool.stop_at_bad = true;
			break;
		case 'R':
			a->rows = true;
			break;
		case 'T':
			a->trace = true;
			break;
		default:
			return -1;
		}
	if (a->count == 0 && a->pool.seconds > 0)
		a->count = UINT64_MAX;
	return a->nodes >= 1 && a->nodes <= SIM_NODES && a->profile != NULL &&
	       a->pool.jobs >= 1 && a->pool.jobs <= 64 && optind == argc ? 0
									 : -1;
}

int sim_main(const struct sim_program *program, int argc, char **argv)
{
	struct sim_args a = {
		.program = program,
		.nodes = program->nodes != 0 ? program->nodes : 3,
		.first = 1,
		.fault_ms = program->fault_ms,
		.profile = sim_profile_find("mix"),
		.pool = { .jobs = 1 },
		.rows = argc == 1,
	};

	if (sim_parse(&a, argc, argv) != 0)
		return sim_usage(program);
	/* warnings are of faults */
	log_set_level(a.trace ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR);
	if (a.one)
		return sim_run_one(&a);
	return a.rows ? sim_run_rows(&a) : sim_run_plan(&a);
}
