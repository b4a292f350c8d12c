/*
 * Serial executors: a thread and a function each.
 *
 * Happy path: serial_kick() -> the thread wakes, takes its turn, run() -> it
 * sleeps until the next kick, or as long as run() said.
 * A loop that nobody waits for may take the turn instead (serial_lend()): that
 * spares two switches of threads. The thread then only learns when it is due,
 * and is woken for that when it would sleep for longer.
 * Failure modes: none of its own; run() has no way to fail.
 */
#include "common/base/loop_impl.h"

#include <errno.h>
#include <semaphore.h>
#include <time.h>

#include "common/base/mem.h"

/*
 * A semaphore, as a condition variable would make the thread wait once more
 * for the mutex of who kicks it.
 */
struct env_thread {
	pthread_t thread;
	env_thread_fn run;
	void *arg; /* borrowed */
	sem_t sem; /* raised when there is something to look at below */
	atomic_bool kicked;
	atomic_bool stop;
	pthread_mutex_t turn; /* held by who runs; guards what follows */
	uint64_t due;         /* CLOCK_MONOTONIC, ns; ENV_THREAD_IDLE: never */
	uint64_t sleeps;      /* until then, unless woken; 0: it is awake */
};

/* Until the semaphore was raised, or `due` has come. */
static void serial_sleep(struct env_thread *t, uint64_t due)
{
	struct timespec until = {
		.tv_sec = (time_t)(due / 1000000000),
		.tv_nsec = (long)(due % 1000000000),
	};
	int rv;

	do {
		rv = due == ENV_THREAD_IDLE ?
			     sem_wait(&t->sem) :
			     sem_clockwait(&t->sem, CLOCK_MONOTONIC, &until);
	} while (rv != 0 && errno == EINTR);
}

/* With the turn: notes when run(arg), or who stood in for it, wants to go on. */
static void serial_due(struct env_thread *t, uint64_t delay)
{
	t->due = ENV_THREAD_IDLE;
	if (delay < ENV_THREAD_IDLE / 2)
		t->due = loop_clock_ns(CLOCK_MONOTONIC) + delay;
}

static bool serial_is_due(struct env_thread *t)
{
	return atomic_load(&t->kicked) || atomic_load(&t->stop) ||
	       (t->due != ENV_THREAD_IDLE &&
		t->due <= loop_clock_ns(CLOCK_MONOTONIC));
}

static void *serial_main(void *arg)
{
	struct env_thread *t = arg;

	pthread_mutex_lock(&t->turn);
	for (;;) {
		if (!serial_is_due(t)) {
			uint64_t due = t->due;

			t->sleeps = due;
			pthread_mutex_unlock(&t->turn);
			serial_sleep(t, due);
			pthread_mutex_lock(&t->turn);
			t->sleeps = 0;
			continue;
		}
		if (atomic_exchange(&t->kicked, false))
			(void)sem_trywait(&t->sem); /* or it adds up */
		else if (atomic_load(&t->stop))
			break;
		serial_due(t, t->run(t->arg));
	}
	pthread_mutex_unlock(&t->turn);
	return NULL;
}

int serial_new(struct env *env, const char *name, env_thread_fn run, void *arg,
	       struct env_thread **ret_thread)
{
	struct env_thread *t = mem_zalloc(sizeof *t);
	int rv;

	(void)env;
	if (t == NULL)
		return -ENOMEM;
	t->run = run;
	t->arg = arg;
	t->due = ENV_THREAD_IDLE;
	(void)sem_init(&t->sem, 0, 0); /* cannot fail */
	(void)pthread_mutex_init(&t->turn, NULL);
	rv = loop_thread_create(&t->thread, name, serial_main, t);
	if (rv != 0) {
		(void)pthread_mutex_destroy(&t->turn);
		(void)sem_destroy(&t->sem);
		mem_free(t);
		return rv;
	}
	*ret_thread = t;
	return 0;
}

void serial_kick(struct env_thread *t)
{
	if (!atomic_exchange(&t->kicked, true))
		(void)sem_post(&t->sem); /* the thread may be freed now */
}

bool serial_lend(struct env *env, struct env_thread *t, env_thread_fn run)
{
	struct loop *loop = loop_of(env);
	bool wake;

	if (!loop_may_lend(loop) || pthread_mutex_trylock(&t->turn) != 0) {
		serial_kick(t);
		return false;
	}
	loop_lend(loop);
	serial_due(t, run(t->arg));
	wake = t->due < t->sleeps;
	if (wake)
		t->sleeps = t->due; /* one wake for that is enough */
	pthread_mutex_unlock(&t->turn);
	if (wake)
		(void)sem_post(&t->sem);
	return true;
}

void serial_free(struct env_thread *t)
{
	atomic_store(&t->stop, true);
	(void)sem_post(&t->sem);
	pthread_join(t->thread, NULL);
	(void)pthread_mutex_destroy(&t->turn);
	(void)sem_destroy(&t->sem);
	mem_free(t);
}
