/*
 * Event loops and the production env.
 *
 * Happy path: a turn runs posted tasks and finished work in order, then the
 * end-of-turn hooks, then libevent. Before libevent may sleep, `asleep` is set
 * under the queue's lock; who posts into a sleeping loop clears it and writes
 * the eventfd, so a burst of posts costs one write and a post to a busy loop
 * none. The eventfd is edge-triggered and never read. A loop that expects
 * something (loop_expect()) looks for it before it sleeps.
 * Failure modes: no memory for a timer or no eventfd at run time cannot be
 * reported to anybody and is fatal; at start it is returned.
 */
#include "common/base/loop_impl.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/mem.h"

#define LOOPS_MAX 64
#define WORKERS_DEFAULT 4
/* Batches of posted tasks that run before the sockets get their turn. */
#define LOOP_BATCHES 4
/* How long a loop looks for what it expects. */
#define LOOP_EXPECT_NS 50000u
/* After n times in vain it goes to sleep at once 2^n times, at most this n. */
#define LOOP_VAIN_MAX 10u
/* After a stop: rounds in which what was posted may still finish. */
#define LOOP_QUIET_ROUNDS 100
#if defined(__SANITIZE_ADDRESS__)
#define LOOP_FREE_TIMERS 1 /* let the sanitizer see a late use */
#else
#define LOOP_FREE_TIMERS 1024
#endif

static _Thread_local struct loop *loop_current;

struct loop_timer {
	struct event ev;
	struct loop *loop;
	struct env_timer *timer; /* borrowed; its impl points here */
	uint64_t deadline;       /* CLOCK_BOOTTIME, ns */
	struct loop_timer *next; /* in the free list */
};

/* --- clock, random --- */

uint64_t loop_clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t loop_now_ns(struct env *env)
{
	(void)env;
	return loop_clock_ns(CLOCK_BOOTTIME);
}

static int64_t loop_wall_ns(struct env *env)
{
	(void)env;
	return (int64_t)loop_clock_ns(CLOCK_REALTIME);
}

static void loop_random(struct env *env, void *buf, size_t len)
{
	char *p = buf;

	(void)env;
	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			fatal_abort("getrandom: %s", strerror(errno));
		p += n;
		len -= (size_t)n;
	}
}

/* --- posting --- */

static void loop_wake(struct loop *loop)
{
	uint64_t one = 1;

	/* EAGAIN: the counter is full, so it is awake anyway */
	if (write(loop->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		fatal_abort("eventfd: %s", strerror(errno));
}

/* Call with the lock held; true when the caller must loop_wake(). */
static bool loop_claim_wake(struct loop *loop)
{
	bool wake = loop_current != loop &&
		    atomic_load_explicit(&loop->asleep, memory_order_relaxed);

	if (wake)
		atomic_store_explicit(&loop->asleep, false,
				      memory_order_relaxed);
	return wake;
}

static void loop_post(struct env *env, struct env_task *task)
{
	struct loop *loop = loop_of(env);
	bool wake;

	task->next = NULL;
	pthread_mutex_lock(&loop->lock);
	*loop->task_tail = task;
	loop->task_tail = &task->next;
	loop->asked += loop_current != loop;
	wake = loop_claim_wake(loop);
	pthread_mutex_unlock(&loop->lock);
	if (wake)
		loop_wake(loop);
}

void loop_post_done(struct loop *loop, struct env_work *work)
{
	bool wake;

	work->next = NULL;
	pthread_mutex_lock(&loop->lock);
	*loop->done_tail = work;
	loop->done_tail = &work->next;
	loop->asked++;
	wake = loop_claim_wake(loop);
	pthread_mutex_unlock(&loop->lock);
	if (wake)
		loop_wake(loop);
}

void loop_note_awake(struct loop *loop)
{
	loop->events++;
	/* no lock: at worst a poster writes the eventfd once too often */
	if (atomic_load_explicit(&loop->asleep, memory_order_relaxed))
		atomic_store_explicit(&loop->asleep, false,
				      memory_order_relaxed);
}

static void loop_on_wake(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	loop_note_awake(arg);
}

/* Runs what is queued now; returns whether there was anything. */
static bool loop_run_batch(struct loop *loop)
{
	struct env_task *task;
	struct env_work *work;

	pthread_mutex_lock(&loop->lock);
	task = loop->task_head;
	loop->task_head = NULL;
	loop->task_tail = &loop->task_head;
	work = loop->done_head;
	loop->done_head = NULL;
	loop->done_tail = &loop->done_head;
	pthread_mutex_unlock(&loop->lock);
	if (task == NULL && work == NULL)
		return false;
	while (task != NULL) {
		struct env_task *next = task->next;

		task->next = NULL;
		task->run(task);
		task = next;
	}
	while (work != NULL) {
		struct env_work *next = work->next;

		work->next = NULL;
		work->done(work);
		work = next;
	}
	return true;
}

/* --- end-of-turn hooks --- */

void loop_hook_add(struct loop *loop, struct loop_hook *hook)
{
	if (hook->queued)
		return;
	hook->queued = true;
	TAILQ_INSERT_TAIL(&loop->hooks, hook, link);
}

void loop_hook_del(struct loop *loop, struct loop_hook *hook)
{
	if (!hook->queued)
		return;
	hook->queued = false;
	TAILQ_REMOVE(&loop->hooks, hook, link);
}

/* Hooks added meanwhile wait for the next turn, as they may be endless. */
static void loop_run_hooks(struct loop *loop)
{
	struct loop_hook end = { .queued = true };
	struct loop_hook *hook;

	if (TAILQ_EMPTY(&loop->hooks))
		return;
	TAILQ_INSERT_TAIL(&loop->hooks, &end, link);
	while ((hook = TAILQ_FIRST(&loop->hooks)) != &end) {
		loop_hook_del(loop, hook);
		hook->run(hook);
	}
	TAILQ_REMOVE(&loop->hooks, &end, link);
}

/* --- timers --- */

static void loop_timer_arm(struct loop_timer *t, uint64_t delay_ns)
{
	/* rounded up: a timer may be late, never early */
	uint64_t us = delay_ns / 1000 + 1;
	struct timeval tv;

	tv.tv_sec = (time_t)(us / 1000000);
	tv.tv_usec = (suseconds_t)(us % 1000000);
	if (event_add(&t->ev, &tv) != 0)
		fatal_abort("out of memory for a timer");
}

static void loop_timer_free(struct loop_timer *t)
{
	struct loop *loop = t->loop;

	event_del(&t->ev);
	t->timer->impl = NULL;
	t->timer = NULL;
	if (loop->n_free_timers >= LOOP_FREE_TIMERS) {
		free(t);
		return;
	}
	t->next = loop->free_timers;
	loop->free_timers = t;
	loop->n_free_timers++;
}

static void loop_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct loop_timer *t = arg;
	struct env_timer *timer = t->timer;
	uint64_t now = loop_clock_ns(CLOCK_BOOTTIME);

	(void)fd;
	(void)what;
	loop_note_awake(t->loop);
	if (now < t->deadline) {
		/* libevent counts with the coarse clock, up to 4 ms off */
		loop_timer_arm(t, t->deadline - now);
		return;
	}
	loop_timer_free(t);
	timer->cb(timer);
}

static struct loop_timer *loop_timer_new(struct loop *loop)
{
	struct loop_timer *t = loop->free_timers;

	if (t != NULL) {
		loop->free_timers = t->next;
		loop->n_free_timers--;
		return t;
	}
	/* not through mem.h: there is nobody to report a failure to */
	t = calloc(1, sizeof(*t));
	if (t == NULL)
		fatal_abort("out of memory for a timer");
	t->loop = loop;
	event_assign(&t->ev, loop->base, -1, 0, loop_on_timer, t);
	return t;
}

static void loop_timer_set(struct env *env, struct env_timer *timer,
			   uint64_t delay_ns)
{
	struct loop *loop = loop_of(env);
	struct loop_timer *t = timer->impl;

	ASSERT_LOOP(loop);
	if (delay_ns > 1000000000ull * 86400 * 365)
		delay_ns = 1000000000ull * 86400 * 365;
	if (t == NULL) {
		t = loop_timer_new(loop);
		t->timer = timer;
		timer->impl = t;
	}
	t->deadline = loop_clock_ns(CLOCK_BOOTTIME) + delay_ns;
	loop_timer_arm(t, delay_ns);
}

static void loop_timer_cancel(struct env *env, struct env_timer *timer)
{
	(void)env;
	if (timer->impl != NULL) {
		ASSERT_LOOP(loop_of(env));
		loop_timer_free(timer->impl);
	}
}

static void loop_work(struct env *env, struct env_work *work)
{
	workers_add(&loop_of(env)->set->workers, work);
}

static const struct env_ops loop_env_ops = {
	.now_ns = loop_now_ns,
	.wall_ns = loop_wall_ns,
	.random = loop_random,
	.post = loop_post,
	.timer_set = loop_timer_set,
	.timer_cancel = loop_timer_cancel,
	.work = loop_work,
	.thread_new = serial_new,
	.thread_kick = serial_kick,
	.thread_lend = serial_lend,
	.thread_free = serial_free,
};

/* --- running --- */

static bool loop_must_stop(struct loop *loop)
{
	return atomic_load_explicit(&loop->set->stop, memory_order_acquire);
}

/* Decides under the lock whether this turn may sleep. */
static int loop_poll_flags(struct loop *loop)
{
	int flags = EVLOOP_ONCE;

	pthread_mutex_lock(&loop->lock);
	if (loop->task_head != NULL || loop->done_head != NULL ||
	    !TAILQ_EMPTY(&loop->hooks) || loop_must_stop(loop))
		flags |= EVLOOP_NONBLOCK;
	else
		atomic_store_explicit(&loop->asleep, true,
				      memory_order_relaxed);
	pthread_mutex_unlock(&loop->lock);
	return flags;
}

/* Whether it is worth a try this time. */
static bool loop_luck_try(struct loop_luck *luck)
{
	if (luck->rest == 0)
		return true;
	luck->rest--;
	return false;
}

static void loop_luck_note(struct loop_luck *luck, bool good)
{
	if (good) {
		luck->vain = 0;
		return;
	}
	luck->vain += luck->vain < LOOP_VAIN_MAX;
	luck->rest = 1u << luck->vain;
}

void loop_expect(struct loop *loop, struct loop_luck *luck)
{
	ASSERT_LOOP(loop);
	if (loop_luck_try(luck))
		loop->expects = luck;
}

bool loop_may_lend(struct loop *loop)
{
	return loop_current == loop && !loop->lent &&
	       loop_luck_try(&loop->lending);
}

void loop_lend(struct loop *loop)
{
	loop->lent = true;
	pthread_mutex_lock(&loop->lock);
	loop->asked = 0;
	pthread_mutex_unlock(&loop->lock);
}

/*
 * It stood in for an executor: did anybody wait for it meanwhile? Asked before
 * it answers those that the executor worked for.
 */
static void loop_lend_judge(struct loop *loop)
{
	uint64_t events = loop->events;
	bool waited;

	loop->lent = false;
	if (event_base_loop(loop->base, EVLOOP_NONBLOCK) < 0)
		fatal_abort("event loop %u failed", loop->index);
	pthread_mutex_lock(&loop->lock);
	waited = loop->asked > 0 || loop->events != events;
	pthread_mutex_unlock(&loop->lock);
	loop_luck_note(&loop->lending, !waited);
}

/* Instead of the first microseconds of a sleep; whether anything came. */
static bool loop_look(struct loop *loop)
{
	uint64_t end = loop_clock_ns(CLOCK_MONOTONIC) + LOOP_EXPECT_NS;
	struct loop_luck *luck = loop->expects;

	loop->expects = NULL;
	while (loop_clock_ns(CLOCK_MONOTONIC) < end) {
		(void)sched_yield();
		if (event_base_loop(loop->base, EVLOOP_NONBLOCK) < 0)
			fatal_abort("event loop %u failed", loop->index);
		if (loop->expects != NULL || !TAILQ_EMPTY(&loop->hooks) ||
		    !atomic_load_explicit(&loop->asleep,
					  memory_order_relaxed)) {
			loop_luck_note(luck, true);
			return true;
		}
	}
	loop_luck_note(luck, false);
	return false;
}

static void loop_turn(struct loop *loop)
{
	int flags;

	for (int i = 0; i < LOOP_BATCHES; i++) {
		if (!loop_run_batch(loop))
			break;
	}
	if (loop->lent)
		loop_lend_judge(loop);
	loop_run_hooks(loop);
	flags = loop_poll_flags(loop);
	if (loop->expects != NULL && !(flags & EVLOOP_NONBLOCK)) {
		if (loop_look(loop)) {
			loop_note_awake(loop);
			return;
		}
		flags = loop_poll_flags(loop); /* what it ran may have posted */
	}
	if (event_base_loop(loop->base, flags) < 0)
		fatal_abort("event loop %u failed", loop->index);
	loop_note_awake(loop);
}

static void *loop_main(void *arg)
{
	struct loop *loop = arg;

	loop_current = loop;
	while (!loop_must_stop(loop))
		loop_turn(loop);
	loop_current = NULL;
	return NULL;
}

/*
 * The loops have stopped: workers end what they were given, and what was
 * posted runs here, so that owners of queued tasks are not left hanging.
 */
void loop_set_drain(struct loop_set *set)
{
	for (int round = 0; round < LOOP_QUIET_ROUNDS; round++) {
		bool any = false;

		workers_wait_quiet(&set->workers);
		for (unsigned i = 0; i < set->n; i++) {
			any |= loop_run_batch(&set->loops[i]);
			loop_run_hooks(&set->loops[i]);
		}
		if (!any)
			return;
	}
}

void loop_set_run(struct loop_set *set)
{
	unsigned started = 1;

	atomic_store(&set->running, true);
	for (unsigned i = 1; i < set->n; i++) {
		int rv = loop_thread_create(&set->loops[i].thread, "loop",
					    loop_main, &set->loops[i]);

		if (rv != 0)
			fatal("cannot start loop %u: %s", i, strerror(-rv));
		started++;
	}
	(void)loop_main(&set->loops[0]);
	for (unsigned i = 1; i < started; i++)
		pthread_join(set->loops[i].thread, NULL);
	atomic_store(&set->running, false);
	loop_set_drain(set);
	pthread_mutex_lock(&set->stop_lock);
	atomic_store(&set->stop, false);
	pthread_mutex_unlock(&set->stop_lock);
}

void loop_set_stop(struct loop_set *set)
{
	/* the lock keeps run() from returning, and the set from being freed,
	 * before the last wake is written */
	pthread_mutex_lock(&set->stop_lock);
	atomic_store_explicit(&set->stop, true, memory_order_release);
	for (unsigned i = 0; i < set->n; i++)
		loop_wake(&set->loops[i]);
	pthread_mutex_unlock(&set->stop_lock);
}

/* --- making and freeing --- */

static void loop_log_cb(int severity, const char *msg)
{
	(void)severity;
	log_debug("libevent: %s", msg);
}

static void loop_fatal_cb(int err)
{
	fatal_abort("libevent failed (%d)", err);
}

static struct event_base *loop_base_new(void)
{
	struct event_config *cfg = event_config_new();
	struct event_base *base = NULL;

	if (cfg == NULL)
		return NULL;
	/* a base is touched by its own thread only */
	if (event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK) == 0)
		base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	return base;
}

static int loop_init(struct loop *loop, struct loop_set *set, unsigned i)
{
	loop->set = set;
	loop->index = i;
	loop->env.ops = &loop_env_ops;
	loop->env.vfs = vfs_posix();
	loop->env.impl = loop;
	loop->wake_fd = -1;
	loop->task_tail = &loop->task_head;
	loop->done_tail = &loop->done_head;
	TAILQ_INIT(&loop->hooks);
	pthread_mutex_init(&loop->lock, NULL);
	loop->base = loop_base_new();
	if (loop->base == NULL)
		return -ENOMEM;
	loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (loop->wake_fd < 0)
		return -errno;
	event_assign(&loop->wake_ev, loop->base, loop->wake_fd,
		     EV_READ | EV_PERSIST | EV_ET, loop_on_wake, loop);
	if (event_add(&loop->wake_ev, NULL) != 0)
		return -ENOMEM;
	return 0;
}

static void loop_fini(struct loop *loop)
{
	if (loop->set == NULL)
		return;
	if (loop->wake_fd >= 0) {
		if (event_initialized(&loop->wake_ev))
			event_del(&loop->wake_ev);
		(void)close(loop->wake_fd);
	}
	while (loop->free_timers != NULL) {
		struct loop_timer *t = loop->free_timers;

		loop->free_timers = t->next;
		free(t);
	}
	if (loop->base != NULL)
		event_base_free(loop->base);
	pthread_mutex_destroy(&loop->lock);
}

int loop_set_new(unsigned n, unsigned workers, struct loop_set **ret_set)
{
	struct loop_set *set;
	int rv = -ENOMEM;

	if (n < 1 || n > LOOPS_MAX)
		return -EINVAL;
	event_set_log_callback(loop_log_cb);
	event_set_fatal_callback(loop_fatal_cb);
	set = mem_zalloc(sizeof(*set));
	if (set == NULL)
		return -ENOMEM;
	pthread_mutex_init(&set->stop_lock, NULL);
	set->loops = mem_calloc(n, sizeof(*set->loops));
	if (set->loops == NULL)
		goto fail;
	rv = workers_init(&set->workers,
			  workers == 0 ? WORKERS_DEFAULT : workers);
	if (rv != 0)
		goto fail;
	for (unsigned i = 0; i < n; i++) {
		set->n = i + 1;
		rv = loop_init(&set->loops[i], set, i);
		if (rv != 0)
			goto fail;
	}
	*ret_set = set;
	return 0;
fail:
	loop_set_free(set);
	return rv;
}

void loop_set_free(struct loop_set *set)
{
	if (set == NULL)
		return;
	workers_fini(&set->workers);
	for (unsigned i = 0; i < set->n; i++)
		loop_fini(&set->loops[i]);
	mem_free(set->loops);
	pthread_mutex_destroy(&set->stop_lock);
	mem_free(set);
}

unsigned loop_set_size(const struct loop_set *set)
{
	return set->n;
}

struct loop *loop_set_get(struct loop_set *set, unsigned i)
{
	assert(i < set->n);
	return &set->loops[i];
}

struct env *loop_env(struct loop *loop)
{
	return &loop->env;
}

struct event_base *loop_base(struct loop *loop)
{
	return loop->base;
}

unsigned loop_index(const struct loop *loop)
{
	return loop->index;
}

struct loop *loop_of(struct env *env)
{
	assert(env->ops == &loop_env_ops);
	return env->impl;
}

bool loop_is_current(const struct loop *loop)
{
	return loop_current == loop || !atomic_load(&loop->set->running);
}

bool loop_is_running(const struct loop *loop)
{
	return atomic_load(&loop->set->running);
}
