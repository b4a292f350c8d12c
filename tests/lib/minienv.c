#include "tests/lib/minienv.h"

#include <stdlib.h>
#include <string.h>

struct env_thread {
	struct minienv *m;
	env_thread_fn run;
	void *arg;
	bool kicked;
	uint64_t due; /* ENV_THREAD_IDLE: not without a kick */
	struct env_thread *next;
};

struct mini_timer {
	struct env_timer *timer;
	uint64_t due;
	struct mini_timer *next;
};

struct minienv {
	struct env env;
	uint64_t now, rng;
	struct env_task *tasks, **task_tail;
	struct env_work *works, **work_tail;
	struct env_thread *threads;
	struct mini_timer *timers;
};

static struct minienv *mini_of(struct env *env)
{
	return env->impl;
}

static void *mini_alloc(size_t size)
{
	void *p = calloc(1, size);

	if (p == NULL)
		abort();
	return p;
}

static uint64_t mini_now(struct env *env)
{
	return mini_of(env)->now;
}

static int64_t mini_wall(struct env *env)
{
	return 1700000000000000000 + (int64_t)mini_of(env)->now;
}

static void mini_random(struct env *env, void *buf, size_t len)
{
	struct minienv *m = mini_of(env);
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i++) {
		m->rng = m->rng * 6364136223846793005u + 1442695040888963407u;
		p[i] = (uint8_t)(m->rng >> 56);
	}
}

static void mini_post(struct env *env, struct env_task *task)
{
	struct minienv *m = mini_of(env);

	task->next = NULL;
	*m->task_tail = task;
	m->task_tail = &task->next;
}

static void mini_timer_cancel(struct env *env, struct env_timer *timer)
{
	struct mini_timer **at = &mini_of(env)->timers;

	for (; *at != NULL; at = &(*at)->next)
		if ((*at)->timer == timer) {
			struct mini_timer *t = *at;

			*at = t->next;
			free(t);
			break;
		}
	timer->impl = NULL;
}

static void mini_timer_set(struct env *env, struct env_timer *timer,
			   uint64_t delay_ns)
{
	struct minienv *m = mini_of(env);
	struct mini_timer *t, **at = &m->timers;

	mini_timer_cancel(env, timer);
	t = mini_alloc(sizeof(*t));
	t->timer = timer;
	t->due = m->now + delay_ns;
	while (*at != NULL && (*at)->due <= t->due)
		at = &(*at)->next;
	t->next = *at;
	*at = t;
	timer->impl = t;
}

static void mini_work(struct env *env, struct env_work *work)
{
	struct minienv *m = mini_of(env);

	work->next = NULL;
	*m->work_tail = work;
	m->work_tail = &work->next;
}

static int mini_thread_new(struct env *env, const char *name,
			   env_thread_fn run, void *arg,
			   struct env_thread **ret_thread)
{
	struct env_thread *t = mini_alloc(sizeof(*t));

	(void)name;
	t->m = mini_of(env);
	t->run = run;
	t->arg = arg;
	t->due = ENV_THREAD_IDLE;
	t->next = t->m->threads;
	t->m->threads = t;
	*ret_thread = t;
	return 0;
}

static void mini_thread_kick(struct env_thread *t)
{
	t->kicked = true;
}

/* Its loop always has something else to do. */
static bool mini_thread_lend(struct env *env, struct env_thread *t,
			     env_thread_fn run)
{
	(void)env;
	(void)run;
	mini_thread_kick(t);
	return false;
}

static void mini_thread_free(struct env_thread *t)
{
	struct env_thread **at = &t->m->threads;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	free(t);
}

static const struct env_ops mini_ops = {
	.now_ns = mini_now,
	.wall_ns = mini_wall,
	.random = mini_random,
	.post = mini_post,
	.timer_set = mini_timer_set,
	.timer_cancel = mini_timer_cancel,
	.work = mini_work,
	.thread_new = mini_thread_new,
	.thread_kick = mini_thread_kick,
	.thread_lend = mini_thread_lend,
	.thread_free = mini_thread_free,
};

struct minienv *minienv_new(struct vfs *vfs, uint64_t seed)
{
	struct minienv *m = mini_alloc(sizeof(*m));

	m->env.ops = &mini_ops;
	m->env.vfs = vfs;
	m->env.impl = m;
	m->rng = seed;
	m->now = 1000000000;
	m->task_tail = &m->tasks;
	m->work_tail = &m->works;
	return m;
}

void minienv_free(struct minienv *m)
{
	if (m == NULL)
		return;
	while (m->timers != NULL)
		mini_timer_cancel(&m->env, m->timers->timer);
	while (m->threads != NULL)
		mini_thread_free(m->threads);
	free(m);
}

struct env *minienv_env(struct minienv *m)
{
	return &m->env;
}

static bool mini_run_thread(struct minienv *m)
{
	for (struct env_thread *t = m->threads; t != NULL; t = t->next) {
		uint64_t delay;

		if (!t->kicked && t->due > m->now)
			continue;
		t->kicked = false;
		delay = t->run(t->arg);
		t->due = delay == ENV_THREAD_IDLE ? delay : m->now + delay;
		return true;
	}
	return false;
}

bool minienv_step(struct minienv *m)
{
	struct mini_timer *timer = m->timers;

	if (m->tasks != NULL) {
		struct env_task *task = m->tasks;

		m->tasks = task->next;
		if (m->tasks == NULL)
			m->task_tail = &m->tasks;
		task->run(task);
		return true;
	}
	if (timer != NULL && timer->due <= m->now) {
		struct env_timer *t = timer->timer;

		mini_timer_cancel(&m->env, t);
		t->cb(t);
		return true;
	}
	if (m->works != NULL) {
		struct env_work *work = m->works;

		m->works = work->next;
		if (m->works == NULL)
			m->work_tail = &m->works;
		work->run(work);
		work->done(work);
		return true;
	}
	return mini_run_thread(m);
}

void minienv_run(struct minienv *m)
{
	while (minienv_step(m))
		continue;
}

void minienv_skip(struct minienv *m, uint64_t ns)
{
	m->now += ns;
}

void minienv_advance(struct minienv *m, uint64_t ns)
{
	uint64_t end = m->now + ns;

	for (;;) {
		uint64_t next = end;

		minienv_run(m);
		if (m->timers != NULL && m->timers->due < next)
			next = m->timers->due;
		for (struct env_thread *t = m->threads; t != NULL; t = t->next)
			if (t->due < next)
				next = t->due;
		if (next >= end)
			break;
		m->now = next;
	}
	m->now = end;
	minienv_run(m);
}
