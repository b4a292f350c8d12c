#include "tests/sim/sim_pool.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SIM_BATCH 25
#define SIM_SEED_SECONDS 120
#define SIM_JOBS 64

/* One child: seeds first ... first + count - 1 of plan. */
struct sim_lane {
	struct sim_plan *plan; /* NULL: free */
	uint64_t first, count, got;
	bool guard;            /* one seed that ran before */
	pid_t pid;
	int fd;
};

/* What is known of a plan beside its results. */
struct sim_state {
	uint64_t next, left;
	uint64_t redo, n_redo; /* behind a seed that died */
	enum { GUARD_NONE, GUARD_KNOWN, GUARD_DONE } guard;
	uint64_t guard_seed, guard_hash;
};

struct sim_pool {
	const struct sim_pool_config *config;
	struct sim_plan *plans;
	struct sim_state *states;
	unsigned n, turn;
	struct sim_lane lanes[SIM_JOBS];
	double until;
	uint64_t bad;
};

static double sim_clock(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- the child --- */

static void sim_child(const struct sim_lane *l, int fd)
{
	const struct sim_plan *p = l->plan;
	struct rlimit no_core = { 0, 0 };

	(void)setrlimit(RLIMIT_CORE, &no_core);
	for (uint64_t i = 0; i < l->count; i++) {
		struct sim_result r;

		(void)alarm(SIM_SEED_SECONDS);
		p->program->run(l->first + i, p->nodes, p->profile,
				p->fault_ms, false, &r);
		(void)fflush(stdout);
		_Static_assert(sizeof r <= PIPE_BUF, "at once");
		if (write(fd, &r, sizeof r) != (ssize_t)sizeof r)
			_exit(1);
	}
	_exit(0);
}

static void sim_fork(struct sim_lane *l)
{
	int fd[2];

	(void)fflush(stdout);
	if (pipe(fd) != 0 || (l->pid = fork()) < 0) {
		perror("fork");
		exit(1);
	}
	if (l->pid == 0) {
		(void)close(fd[0]);
		sim_child(l, fd[1]);
	}
	(void)close(fd[1]);
	l->fd = fd[0];
	l->got = 0;
}

/* --- which seeds --- */

/* The next batch of plan i; false: none now. */
static bool sim_take(struct sim_pool *p, unsigned i, struct sim_lane *l)
{
	struct sim_state *s = &p->states[i];

	l->plan = &p->plans[i];
	l->guard = false;
	if (s->guard == GUARD_KNOWN) {
		s->guard = GUARD_DONE;
		l->guard = true;
		l->first = s->guard_seed;
		l->count = 1;
	} else if (s->n_redo > 0) {
		l->first = s->redo;
		l->count = s->n_redo;
		s->n_redo = 0;
	} else if (s->left > 0) {
		l->first = s->next;
		l->count = s->left < SIM_BATCH ? s->left : SIM_BATCH;
		s->next += l->count;
		s->left -= l->count;
	} else {
		l->plan = NULL;
	}
	return l->plan != NULL;
}

static void sim_fill(struct sim_pool *p)
{
	for (unsigned j = 0; j < p->config->jobs; j++) {
		struct sim_lane *l = &p->lanes[j];

		if (p->config->stop_at_bad && p->bad > 0)
			return;
		if (p->config->seconds > 0 && sim_clock() >= p->until)
			return;
		for (unsigned i = 0; i < p->n && l->plan == NULL; i++)
			if (sim_take(p, p->turn++ % p->n, l))
				sim_fork(l);
	}
}

/* --- results --- */

static void sim_bad(struct sim_pool *p, struct sim_plan *plan, uint64_t seed)
{
	p->bad++;
	plan->bad++;
	printf("# failed: %s -n %u -p %s -t %llu --seed %llu --trace\n",
	       plan->program->name, plan->nodes, plan->profile->name,
	       (unsigned long long)plan->fault_ms, (unsigned long long)seed);
}

static void sim_result(struct sim_pool *p, struct sim_lane *l,
		       const struct sim_result *r)
{
	struct sim_plan *plan = l->plan;
	struct sim_state *s = &p->states[plan - p->plans];
	uint64_t seed = l->first + l->got++;

	if (l->guard) {
		if (r->hash == s->guard_hash)
			return;
		printf("# seed %llu: two runs, two traces\n",
		       (unsigned long long)seed);
		plan->ok--;
		sim_bad(p, plan, seed);
		return;
	}
	if (s->guard == GUARD_NONE && l->got == l->count) {
		s->guard = GUARD_KNOWN;
		s->guard_seed = seed;
		s->guard_hash = r->hash;
	}
	plan->ok++;
	plan->events += r->events;
	plan->faults += r->faults;
	for (unsigned i = 0; i < SIM_N; i++)
		plan->counts[i] += r->counts[i];
}

static void sim_lane_end(struct sim_pool *p, struct sim_lane *l)
{
	struct sim_state *s = &p->states[l->plan - p->plans];
	uint64_t seed = l->first + l->got;
	int st = 0;

	(void)close(l->fd);
	while (waitpid(l->pid, &st, 0) < 0 && errno == EINTR)
		;
	if (l->got < l->count) {
		if (WIFSIGNALED(st))
			printf("# seed %llu died of signal %d\n",
			       (unsigned long long)seed, WTERMSIG(st));
		sim_bad(p, l->plan, seed);
		/* of several such batches one is enough */
		s->redo = seed + 1;
		s->n_redo = l->first + l->count - s->redo;
	}
	l->plan = NULL;
}

static void sim_read(struct sim_pool *p, struct sim_lane *l)
{
	struct sim_result r;
	ssize_t n = read(l->fd, &r, sizeof r);

	if (n < 0 && errno == EINTR)
		return;
	if (n == (ssize_t)sizeof r) /* written at once, so read at once */
		sim_result(p, l, &r);
	else
		sim_lane_end(p, l);
}

/* Waits for one child; false: there is none. */
static bool sim_wait(struct sim_pool *p)
{
	struct pollfd fds[SIM_JOBS];
	struct sim_lane *of[SIM_JOBS];
	nfds_t n = 0;

	for (unsigned j = 0; j < p->config->jobs; j++) {
		if (p->lanes[j].plan == NULL)
			continue;
		of[n] = &p->lanes[j];
		fds[n++] = (struct pollfd){ .fd = p->lanes[j].fd,
					    .events = POLLIN };
	}
	if (n == 0)
		return false;
	if (poll(fds, n, -1) > 0)
		for (nfds_t i = 0; i < n; i++)
			if (fds[i].revents != 0)
				sim_read(p, of[i]);
	return true;
}

uint64_t sim_pool_run(const struct sim_pool_config *config,
		      struct sim_plan *plans, unsigned n)
{
	struct sim_pool p = { .config = config, .plans = plans, .n = n };

	if (config->jobs < 1 || config->jobs > SIM_JOBS)
		abort();
	p.until = sim_clock() + config->seconds;
	p.states = calloc(n, sizeof *p.states);
	if (p.states == NULL)
		abort();
	for (unsigned i = 0; i < n; i++) {
		p.states[i].next = plans[i].first;
		p.states[i].left = plans[i].count;
	}
	do
		sim_fill(&p);
	while (sim_wait(&p));
	free(p.states);
	return p.bad;
}
