#ifndef COMMON_BASE_LOOP_IMPL_H
#define COMMON_BASE_LOOP_IMPL_H
/*
 * Inside of the loop, shared by common/base only (loop, workers, threads,
 * connections).
 *
 * One turn of a loop: posted tasks and finished work, then the hooks queued
 * for the end of the turn (connections write what the turn produced), then
 * libevent, which sleeps only when nothing was posted meanwhile.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "common/base/loop_hook.h"

struct loop_timer; /* a timer's libevent event, loop.c */

struct loop {
	struct env env;
	struct loop_set *set; /* borrowed */
	unsigned index;
	struct event_base *base;
	struct event wake_ev; /* on wake_fd, edge-triggered: never read */
	int wake_fd;
	pthread_t thread; /* loops 1..n-1, while running */

	pthread_mutex_t lock;        /* guards the two queues */
	struct env_task *task_head;  /* posted, oldest first */
	struct env_task **task_tail;
	struct env_work *done_head;  /* finished work, oldest first */
	struct env_work **done_tail;
	uint64_t asked; /* posts of other threads since the last loop_lend() */
	/* May be waiting: whoever posts first must wake it. Set under lock. */
	atomic_bool asleep;

	struct loop_hooks hooks;        /* loop only */
	struct loop_luck *expects;      /* loop only, borrowed; NULL: nothing */
	uint64_t events;                /* loop only: callbacks of libevent */
	struct loop_luck lending;       /* loop only: that nobody waited */
	bool lent;                      /* loop only: in this turn */
	struct loop_timer *free_timers; /* loop only: for reuse */
	unsigned n_free_timers;
};

/* A worker pool: first come, first served. */
struct workers {
	pthread_mutex_t lock;
	pthread_cond_t more;  /* work was queued, or stop */
	pthread_cond_t quiet; /* queue empty and nobody busy */
	struct env_work *head;
	struct env_work **tail;
	unsigned queued;
	unsigned n;       /* wanted */
	unsigned started;
	unsigned idle;    /* waiting on `more` */
	unsigned busy;
	bool stop;
	bool keeper;      /* somebody waits for WORKERS_QUIET_SEC */
	uint64_t taken;   /* works so far */
	uint64_t trimmed; /* `taken` when memory was given back */
	pthread_t *threads;
};

struct loop_set {
	unsigned n;
	struct loop *loops;
	struct workers workers;
	atomic_bool running;
	atomic_bool stop;
	pthread_mutex_t stop_lock; /* held while stop() wakes the loops */
};

/* An event callback of the loop runs: posting need not wake it. */
void loop_note_awake(struct loop *loop);
/* Queues work->done() on the loop of its env; any thread. */
void loop_post_done(struct loop *loop, struct env_work *work);

int workers_init(struct workers *w, unsigned n);
void workers_add(struct workers *w, struct env_work *work);
/* Waits until all work given so far has run. */
void workers_wait_quiet(struct workers *w);
/* Runs what is queued, then joins. */
void workers_fini(struct workers *w);

/* pthread_create() with all signals blocked in the new thread. */
int loop_thread_create(pthread_t *ret_thread, const char *name,
		       void *(*fn)(void *), void *arg);

uint64_t loop_clock_ns(clockid_t id);

/*
 * Before the loop's thread does the work of an executor: whether nobody waited
 * for it when it last did (tried less and less often where somebody does), and
 * that was not in this turn.
 */
bool loop_may_lend(struct loop *loop);
/* It does; the end of this turn looks who waited. */
void loop_lend(struct loop *loop);

int serial_new(struct env *env, const char *name, env_thread_fn run, void *arg,
	       struct env_thread **ret_thread);
void serial_kick(struct env_thread *t);
bool serial_lend(struct env *env, struct env_thread *t, env_thread_fn run);
void serial_free(struct env_thread *t);

#endif
