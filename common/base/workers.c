/*
 * The worker pool.
 *
 * Happy path: env_work() queues and wakes an idle worker -> run() ->
 * the loop's queue of finished work -> done() on the loop.
 * Failure modes: a thread that cannot be started: the pool goes on with those
 * it has; without any, fatal (nothing could ever finish).
 */
#include "common/base/loop_impl.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define WORKERS_QUIET_SEC 2

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

/*
 * Waits for work. After a while without any, once, what the load before left
 * behind in malloc goes back to the system: an idle server is a small one.
 */
static void workers_wait(struct workers *w)
{
	uint64_t taken = w->taken;
	struct timespec until;
	int rv;

	if (w->keeper || taken == w->trimmed) {
		pthread_cond_wait(&w->more, &w->lock);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += WORKERS_QUIET_SEC;
	w->keeper = true;
	rv = pthread_cond_clockwait(&w->more, &w->lock, CLOCK_MONOTONIC,
				    &until);
	w->keeper = false;
	if (rv != ETIMEDOUT || w->taken != taken || w->busy > 0 || w->stop)
		return;
	w->trimmed = taken;
	pthread_mutex_unlock(&w->lock);
	body_trim();
	pthread_mutex_lock(&w->lock);
}

/* Takes the oldest work, or NULL when told to stop and nothing is left. */
static struct env_work *workers_take(struct workers *w)
{
	struct env_work *work;

	while (w->head == NULL) {
		if (w->stop)
			return NULL;
		w->idle++;
		workers_wait(w);
		w->idle--;
	}
	work = w->head;
	w->head = work->next;
	if (w->head == NULL)
		w->tail = &w->head;
	work->next = NULL;
	w->queued--;
	w->taken++;
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
