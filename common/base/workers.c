/*
 * Threads besides the loops: the worker pool and serial executors.
 *
 * Happy path (pool): env_work() queues and wakes an idle worker -> run() ->
 * the loop's queue of finished work -> done() on the loop.
 * Failure modes: a thread that cannot be started: the pool goes on with those
 * it has; without any, fatal (nothing could ever finish).
 */
#include "common/base/loop_impl.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/log.h"
#include "common/base/mem.h"

int loop_thread_create(pthread_t *ret_thread, const char *name,
		       void *(*fn)(void *), void *arg)
{
	sigset_t all, old;
	int rv;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rv = pthread_create(ret_thread, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rv != 0)
		return -rv;
	(void)pthread_setname_np(*ret_thread, name); /* for ps and gdb */
	return 0;
}

int workers_init(struct workers *w, unsigned n)
{
	memset(w, 0, sizeof(*w));
	w->threads = mem_calloc(n, sizeof(*w->threads));
	if (w->threads == NULL)
		return -ENOMEM;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->more, NULL);
	pthread_cond_init(&w->quiet, NULL);
	w->tail = &w->head;
	w->n = n;
	return 0;
}

/* Takes the oldest work, or NULL when told to stop and nothing is left. */
static struct env_work *workers_take(struct workers *w)
{
	struct env_work *work;

	while (w->head == NULL) {
		if (w->stop)
			return NULL;
		w->idle++;
		pthread_cond_wait(&w->more, &w->lock);
		w->idle--;
	}
	work = w->head;
	w->head = work->next;
	if (w->head == NULL)
		w->tail = &w->head;
	work->next = NULL;
	w->queued--;
	return work;
}

static void *workers_main(void *arg)
{
	struct workers *w = arg;
	struct env_work *work;

	pthread_mutex_lock(&w->lock);
	while ((work = workers_take(w)) != NULL) {
		w->busy++;
		pthread_mutex_unlock(&w->lock);
		work->run(work);
		loop_post_done(loop_of(work->env), work);
		pthread_mutex_lock(&w->lock);
		w->busy--;
		if (w->busy == 0 && w->head == NULL)
			pthread_cond_broadcast(&w->quiet);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Grows the pool one by one, as load asks for it. */
static void workers_start_one(struct workers *w)
{
	int rv = loop_thread_create(&w->threads[w->started], "worker",
				    workers_main, w);

	if (rv == 0)
		w->started++;
	else if (w->started == 0)
		fatal_abort("cannot start a worker thread: %s", strerror(-rv));
}

void workers_add(struct workers *w, struct env_work *work)
{
	bool wake;

	work->next = NULL;
	pthread_mutex_lock(&w->lock);
	*w->tail = work;
	w->tail = &work->next;
	w->queued++;
	wake = w->idle > 0;
	if (w->queued > w->idle && w->started < w->n)
		workers_start_one(w);
	pthread_mutex_unlock(&w->lock);
	if (wake)
		pthread_cond_signal(&w->more);
}

void workers_wait_quiet(struct workers *w)
{
	pthread_mutex_lock(&w->lock);
	while (w->head != NULL || w->busy > 0)
		pthread_cond_wait(&w->quiet, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void workers_fini(struct workers *w)
{
	if (w->threads == NULL)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_broadcast(&w->more);
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i < w->started; i++)
		pthread_join(w->threads[i], NULL);
	pthread_cond_destroy(&w->quiet);
	pthread_cond_destroy(&w->more);
	pthread_mutex_destroy(&w->lock);
	mem_free(w->threads);
	w->threads = NULL;
}

/* A serial executor: one thread, one function. */
struct env_thread {
	pthread_t thread;
	env_thread_fn run;
	void *arg; /* borrowed */
	pthread_mutex_t lock;
	pthread_cond_t cond; /* on CLOCK_MONOTONIC */
	bool kicked;
	bool stop;
	bool waiting;
};

/* Waits for a kick, the end, or until `delay` ns have passed. */
static void serial_wait(struct env_thread *t, uint64_t delay)
{
	struct timespec until;
	int rv = 0;

	if (delay != ENV_THREAD_IDLE) {
		clock_gettime(CLOCK_MONOTONIC, &until);
		if (delay > 1000000000ull * 86400)
			delay = 1000000000ull * 86400;
		until.tv_sec += (time_t)(delay / 1000000000);
		until.tv_nsec += (long)(delay % 1000000000);
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
	}
	t->waiting = true;
	while (!t->kicked && !t->stop && rv != ETIMEDOUT) {
		if (delay == ENV_THREAD_IDLE)
			pthread_cond_wait(&t->cond, &t->lock);
		else
			rv = pthread_cond_timedwait(&t->cond, &t->lock,
						    &until);
	}
	t->waiting = false;
}

static void *serial_main(void *arg)
{
	struct env_thread *t = arg;
	uint64_t delay = ENV_THREAD_IDLE;

	pthread_mutex_lock(&t->lock);
	for (;;) {
		if (!t->kicked && delay != 0)
			serial_wait(t, delay);
		if (t->stop && !t->kicked)
			break;
		t->kicked = false;
		pthread_mutex_unlock(&t->lock);
		delay = t->run(t->arg);
		pthread_mutex_lock(&t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

int serial_new(struct env *env, const char *name, env_thread_fn run, void *arg,
	       struct env_thread **ret_thread)
{
	struct env_thread *t = mem_zalloc(sizeof(*t));
	pthread_condattr_t attr;
	int rv;

	(void)env;
	if (t == NULL)
		return -ENOMEM;
	t->run = run;
	t->arg = arg;
	pthread_mutex_init(&t->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->cond, &attr);
	pthread_condattr_destroy(&attr);
	rv = loop_thread_create(&t->thread, name, serial_main, t);
	if (rv != 0) {
		pthread_cond_destroy(&t->cond);
		pthread_mutex_destroy(&t->lock);
		mem_free(t);
		return rv;
	}
	*ret_thread = t;
	return 0;
}

void serial_kick(struct env_thread *t)
{
	bool wake;

	pthread_mutex_lock(&t->lock);
	wake = !t->kicked && t->waiting;
	t->kicked = true;
	/* signalled under the lock: the thread may be freed right after */
	if (wake)
		pthread_cond_signal(&t->cond);
	pthread_mutex_unlock(&t->lock);
}

void serial_free(struct env_thread *t)
{
	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_signal(&t->cond);
	pthread_mutex_unlock(&t->lock);
	pthread_join(t->thread, NULL);
	pthread_cond_destroy(&t->cond);
	pthread_mutex_destroy(&t->lock);
	mem_free(t);
}
