#include "tests/lib/simenv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum sim_kind { SIM_CALL, SIM_TURN, SIM_TIMER, SIM_RUN, SIM_DONE, SIM_THREAD };

struct sim_event {
	uint64_t at, order;
	enum sim_kind kind;
	bool cancelled;
	bool owned;         /* p is freed with the event */
	struct simenv *env; /* NULL: SIM_CALL */
	void (*fn)(void *arg);
	void *p;            /* arg, timer, work, thread */
	struct sim_event *next_free;
};

struct sim {
	uint64_t now, rng, order, hash, events;
	unsigned running;
	bool tracing;
	struct sim_event **heap;
	size_t n, cap;
	struct sim_event *spare;
};

struct simenv {
	struct env env;
	struct sim *s;
	unsigned id;
	bool dead;
	size_t refs; /* events in the heap, plus one for the owner */
	uint64_t disk_lo, disk_hi, work_lo, work_hi;
	uint64_t paused_until;
	const struct sim_clock *clock;
	struct env_task *tasks, **task_tail;
	bool turn;   /* SIM_TURN is in the heap */
	struct env_thread *threads;
};

struct env_thread {
	struct simenv *e;
	env_thread_fn run;
	void *arg;
	struct sim_event *event; /* next run, or NULL */
	struct env_thread *next;
};

static const struct sim_clock sim_clock_perfect;

void *sim_zalloc(size_t size)
{
	void *p = calloc(1, size);

	if (p == NULL)
		abort();
	return p;
}

void *sim_grow(void *p, unsigned n, unsigned *cap, size_t size)
{
	if (n < *cap)
		return p;
	*cap = *cap * 2 + 16;
	p = realloc(p, *cap * size);
	if (p == NULL)
		abort();
	return p;
}

void *sim_reach(void *p, uint64_t index, uint64_t *cap, size_t size)
{
	uint64_t old = *cap;

	if (index < old)
		return p;
	*cap = index * 2 + 256;
	p = realloc(p, *cap * size);
	if (p == NULL)
		abort();
	memset((uint8_t *)p + old * size, 0, (*cap - old) * size);
	return p;
}

/* --- numbers --- */

static uint64_t sim_u64(struct sim *s)
{
	uint64_t z = s->rng += 0x9E3779B97F4A7C15u;

	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

uint64_t sim_rand(struct sim *s, uint64_t n)
{
	return sim_u64(s) % n;
}

uint64_t sim_range(struct sim *s, uint64_t lo, uint64_t hi)
{
	return lo + sim_u64(s) % (hi - lo + 1);
}

bool sim_chance(struct sim *s, unsigned permille)
{
	return sim_u64(s) % 1000 < permille;
}

uint64_t sim_now(const struct sim *s)
{
	return s->now;
}

uint64_t sim_events(const struct sim *s)
{
	return s->events;
}

unsigned sim_running(const struct sim *s)
{
	return s->running;
}

void sim_note(struct sim *s, uint64_t v)
{
	s->hash = (s->hash ^ v) * 0x100000001B3u;
	s->hash ^= s->hash >> 29;
}

uint64_t sim_hash(const struct sim *s)
{
	return s->hash;
}

void sim_set_tracing(struct sim *s, bool on)
{
	s->tracing = on;
}

void sim_trace(struct sim *s, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	sim_note(s, s->now);
	for (const char *c = line; *c != '\0'; c++)
		sim_note(s, (uint8_t)*c);
	if (s->tracing)
		printf("%6llu.%06llu %s\n",
		       (unsigned long long)(s->now / SIM_S),
		       (unsigned long long)(s->now % SIM_S / 1000), line);
}

/* --- heap --- */

static bool sim_before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void sim_insert(struct sim *s, struct sim_event *ev)
{
	size_t i;

	if (s->n == s->cap) {
		s->cap = s->cap * 2 + 256;
		s->heap = realloc(s->heap, s->cap * sizeof *s->heap);
		if (s->heap == NULL)
			abort();
	}
	for (i = s->n++; i > 0; i = (i - 1) / 2) {
		if (!sim_before(ev, s->heap[(i - 1) / 2]))
			break;
		s->heap[i] = s->heap[(i - 1) / 2];
	}
	s->heap[i] = ev;
}

static struct sim_event *sim_push(struct sim *s, uint64_t delay,
				  enum sim_kind kind, struct simenv *e, void *p)
{
	struct sim_event *ev = s->spare;

	if (ev != NULL)
		s->spare = ev->next_free;
	else
		ev = sim_zalloc(sizeof *ev);
	*ev = (struct sim_event){
		.at = s->now + delay, .order = s->order++, .kind = kind,
		.env = e, .p = p,
	};
	if (e != NULL)
		e->refs++;
	sim_insert(s, ev);
	return ev;
}

static struct sim_event *sim_pop(struct sim *s)
{
	struct sim_event *first = s->heap[0], *last = s->heap[--s->n];
	size_t i = 0;

	for (;;) {
		size_t c = 2 * i + 1;

		if (c >= s->n)
			break;
		if (c + 1 < s->n && sim_before(s->heap[c + 1], s->heap[c]))
			c++;
		if (!sim_before(s->heap[c], last))
			break;
		s->heap[i] = s->heap[c];
		i = c;
	}
	s->heap[i] = last;
	return first;
}

static void simenv_unref(struct simenv *e)
{
	if (--e->refs == 0)
		free(e);
}

struct sim *sim_new(uint64_t seed)
{
	struct sim *s = sim_zalloc(sizeof *s);

	s->rng = seed * 0x2545F4914F6CDD1Du + 1;
	s->now = SIM_S;
	return s;
}

void sim_free(struct sim *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->n; i++) {
		if (s->heap[i]->env != NULL)
			simenv_unref(s->heap[i]->env);
		if (s->heap[i]->owned)
			free(s->heap[i]->p);
		free(s->heap[i]);
	}
	while (s->spare != NULL) {
		struct sim_event *ev = s->spare;

		s->spare = ev->next_free;
		free(ev);
	}
	free(s->heap);
	free(s);
}

void sim_after(struct sim *s, uint64_t delay_ns, void (*fn)(void *arg),
	       void *arg)
{
	sim_push(s, delay_ns, SIM_CALL, NULL, arg)->fn = fn;
}

void sim_after_owned(struct sim *s, uint64_t delay_ns, void (*fn)(void *arg),
		     void *arg)
{
	struct sim_event *ev = sim_push(s, delay_ns, SIM_CALL, NULL, arg);

	ev->fn = fn;
	ev->owned = true;
}

/* --- env --- */

static struct simenv *simenv_of(struct env *env)
{
	return env->impl;
}

uint64_t sim_clock_now(const struct sim *s, const struct sim_clock *c)
{
	uint64_t rate = (uint64_t)(1000000 + c->ppm), past;

	if (s->now < c->real)
		return c->local;
	past = s->now - c->real;
	return c->local + past / 1000000 * rate +
	       past % 1000000 * rate / 1000000;
}

/* Real time until the clock has gone on by delay, or a little more. */
static uint64_t simenv_real(const struct simenv *e, uint64_t delay)
{
	uint64_t rate = (uint64_t)(1000000 + e->clock->ppm);

	return rate == 1000000
		       ? delay
		       : delay / rate * 1000000 +
				 delay % rate * 1000000 / rate + 1;
}

static uint64_t simenv_now(struct env *env)
{
	return sim_clock_now(simenv_of(env)->s, simenv_of(env)->clock);
}

static int64_t simenv_wall(struct env *env)
{
	struct simenv *e = simenv_of(env);

	return 1700000000000000000 + e->clock->wall + (int64_t)e->s->now;
}

static void simenv_random(struct env *env, void *buf, size_t len)
{
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(sim_u64(simenv_of(env)->s) >> 40);
}

static void simenv_post(struct env *env, struct env_task *task)
{
	struct simenv *e = simenv_of(env);

	task->next = NULL;
	*e->task_tail = task;
	e->task_tail = &task->next;
	if (!e->turn) {
		e->turn = true;
		sim_push(e->s, sim_range(e->s, 1 * SIM_US, 60 * SIM_US),
			 SIM_TURN, e, NULL);
	}
}

/* One turn of the loop: what was posted before it, in order. */
static void simenv_turn(struct simenv *e)
{
	struct env_task *t = e->tasks;

	e->turn = false;
	e->tasks = NULL;
	e->task_tail = &e->tasks;
	while (t != NULL && !e->dead) {
		struct env_task *next = t->next;

		t->run(t);
		t = next;
	}
}

static void simenv_timer_cancel(struct env *env, struct env_timer *timer)
{
	struct sim_event *ev = timer->impl;

	(void)env;
	if (ev != NULL)
		ev->cancelled = true;
	timer->impl = NULL;
}

static void simenv_timer_set(struct env *env, struct env_timer *timer,
			     uint64_t delay_ns)
{
	struct simenv *e = simenv_of(env);

	simenv_timer_cancel(env, timer);
	timer->impl = sim_push(e->s, simenv_real(e, delay_ns), SIM_TIMER, e,
			       timer);
}

static void simenv_work(struct env *env, struct env_work *work)
{
	struct simenv *e = simenv_of(env);

	sim_push(e->s, sim_range(e->s, e->work_lo, e->work_hi), SIM_RUN, e,
		 work);
}

static int simenv_thread_new(struct env *env, const char *name,
			     env_thread_fn run, void *arg,
			     struct env_thread **ret_thread)
{
	struct simenv *e = simenv_of(env);
	struct env_thread *t = sim_zalloc(sizeof *t);

	(void)name;
	t->e = e;
	t->run = run;
	t->arg = arg;
	t->next = e->threads;
	e->threads = t;
	*ret_thread = t;
	return 0;
}

static void simenv_thread_at(struct env_thread *t, uint64_t delay)
{
	if (t->event != NULL && t->event->at <= t->e->s->now + delay)
		return;
	if (t->event != NULL)
		t->event->cancelled = true;
	t->event = sim_push(t->e->s, delay, SIM_THREAD, t->e, t);
}

static void simenv_thread_kick(struct env_thread *t)
{
	simenv_thread_at(t, sim_range(t->e->s, t->e->disk_lo, t->e->disk_hi));
}

/* Now and then its loop has nobody waiting for it. */
static bool simenv_thread_lend(struct env *env, struct env_thread *t,
			       env_thread_fn run)
{
	uint64_t delay;

	(void)env;
	if (sim_range(t->e->s, 0, 3) != 0) {
		simenv_thread_kick(t);
		return false;
	}
	delay = run(t->arg);
	if (delay != ENV_THREAD_IDLE && !t->e->dead)
		simenv_thread_at(t, delay);
	return true;
}

static void simenv_thread_free(struct env_thread *t)
{
	struct env_thread **at = &t->e->threads;

	if (t->event != NULL)
		t->event->cancelled = true;
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	free(t);
}

static const struct env_ops simenv_ops = {
	.now_ns = simenv_now,
	.wall_ns = simenv_wall,
	.random = simenv_random,
	.post = simenv_post,
	.timer_set = simenv_timer_set,
	.timer_cancel = simenv_timer_cancel,
	.work = simenv_work,
	.thread_new = simenv_thread_new,
	.thread_kick = simenv_thread_kick,
	.thread_lend = simenv_thread_lend,
	.thread_free = simenv_thread_free,
};

struct env *simenv_new(struct sim *s, struct vfs *vfs, unsigned id)
{
	struct simenv *e = sim_zalloc(sizeof *e);

	e->env = (struct env){ .ops = &simenv_ops, .vfs = vfs, .impl = e };
	e->s = s;
	e->id = id;
	e->refs = 1;
	e->task_tail = &e->tasks;
	e->disk_lo = 100 * SIM_US;
	e->disk_hi = 4 * SIM_MS;
	e->work_lo = 5 * SIM_US;
	e->work_hi = 2 * SIM_MS;
	e->clock = &sim_clock_perfect;
	return &e->env;
}

void simenv_free(struct env *env)
{
	struct simenv *e;

	if (env == NULL)
		return;
	e = simenv_of(env);
	while (e->threads != NULL)
		simenv_thread_free(e->threads);
	e->dead = true;
	simenv_unref(e);
}

void simenv_set_disk(struct env *env, uint64_t lo_ns, uint64_t hi_ns)
{
	struct simenv *e = simenv_of(env);

	e->disk_lo = lo_ns;
	e->disk_hi = hi_ns;
}

void simenv_set_work(struct env *env, uint64_t lo_ns, uint64_t hi_ns)
{
	struct simenv *e = simenv_of(env);

	e->work_lo = lo_ns;
	e->work_hi = hi_ns;
}

void simenv_pause(struct env *env, uint64_t until_ns)
{
	simenv_of(env)->paused_until = until_ns;
}

void simenv_set_clock(struct env *env, const struct sim_clock *c)
{
	simenv_of(env)->clock = c != NULL ? c : &sim_clock_perfect;
}

static void sim_run_thread(struct sim_event *ev)
{
	struct env_thread *t = ev->p;
	struct simenv *e = ev->env;
	uint64_t delay;

	t->event = NULL;
	delay = t->run(t->arg);
	if (delay != ENV_THREAD_IDLE && !e->dead)
		simenv_thread_at(t, delay);
}

static void sim_fire(struct sim *s, struct sim_event *ev)
{
	struct env_timer *timer = ev->p;
	struct env_work *work = ev->p;

	switch (ev->kind) {
	case SIM_CALL:
		ev->fn(ev->p);
		break;
	case SIM_TURN:
		simenv_turn(ev->env);
		break;
	case SIM_TIMER:
		timer->impl = NULL;
		timer->cb(timer);
		break;
	case SIM_RUN:
		work->run(work);
		sim_push(s, sim_range(s, 1 * SIM_US, 1 * SIM_MS), SIM_DONE,
			 ev->env, work);
		break;
	case SIM_DONE:
		work->done(work);
		break;
	case SIM_THREAD:
		sim_run_thread(ev);
		break;
	}
}

bool sim_step(struct sim *s)
{
	while (s->n > 0) {
		struct sim_event *ev = sim_pop(s);
		bool run = !ev->cancelled && (ev->env == NULL ||
					      !ev->env->dead);

		if (run && ev->env != NULL &&
		    ev->at < ev->env->paused_until) {
			ev->at = ev->env->paused_until;
			ev->order = s->order++;
			sim_insert(s, ev);
			continue;
		}
		if (run) {
			s->now = ev->at;
			s->events++;
			s->running = ev->env == NULL ? SIM_NOBODY
						     : ev->env->id;
			sim_note(s, s->now ^ (uint64_t)ev->kind << 60);
			sim_fire(s, ev);
		}
		if (ev->env != NULL)
			simenv_unref(ev->env);
		if (ev->owned)
			free(ev->p);
		ev->next_free = s->spare;
		s->spare = ev;
		if (run)
			return true;
	}
	return false;
}
