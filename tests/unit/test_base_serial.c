/* Serial executors: kicks, times, and loops that stand in for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/base/loop_hook.h"

#define MS 1000000ull

static struct loop_set *set_new(unsigned n)
{
	struct loop_set *set;

	assert_int_equal(loop_set_new(n, 2, &set), 0);
	return set;
}

/* --- kicks --- */

struct serial {
	struct loop_set *set;
	struct env_thread *thread;
	atomic_uint runs;
	atomic_uint inside;
	atomic_bool twice; /* two runs at once */
	unsigned timed;    /* how often to ask for a timed run */
	unsigned want;
};

static uint64_t serial_run(void *arg)
{
	struct serial *s = arg;

	if (atomic_fetch_add(&s->inside, 1) != 0)
		atomic_store(&s->twice, true);
	atomic_fetch_sub(&s->inside, 1);
	if (atomic_fetch_add(&s->runs, 1) + 1 == s->want)
		loop_set_stop(s->set);
	if (s->timed > 0) {
		s->timed--;
		return MS;
	}
	return ENV_THREAD_IDLE;
}

static void test_thread_timed(void **state)
{
	struct serial s = { .timed = 5, .want = 6 };
	struct env *env;

	(void)state;
	s.set = set_new(1);
	env = loop_env(loop_set_get(s.set, 0));
	assert_int_equal(env_thread_new(env, "serial", serial_run, &s,
					&s.thread), 0);
	env_thread_kick(env, s.thread);
	loop_set_run(s.set);
	env_thread_free(env, s.thread);
	assert_int_equal(atomic_load(&s.runs), 6);
	assert_false(atomic_load(&s.twice));
	loop_set_free(s.set);
}

static void test_thread_runs_after_each_kick(void **state)
{
	struct serial s = { .want = 0 };
	struct env *env;

	(void)state;
	s.set = set_new(1);
	env = loop_env(loop_set_get(s.set, 0));
	for (int i = 0; i < 200; i++) {
		unsigned before = atomic_load(&s.runs);

		assert_int_equal(env_thread_new(env, "serial", serial_run, &s,
						&s.thread), 0);
		env_thread_kick(env, s.thread);
		env_thread_free(env, s.thread);
		assert_true(atomic_load(&s.runs) > before);
	}
	env_thread_free(env, NULL);
	loop_set_free(s.set);
}

/* --- a loop in its place --- */

/* A loop that lends itself, step by step. */
enum { LENT_RESTS = 5 };
struct lent {
	struct env_task task;  /* the next step */
	struct env_timer rest; /* the thread is about to rest */
	struct env_task asks;  /* of somebody who waits */
	struct loop_hook next; /* the next step in the next turn */
	struct loop_set *set;
	struct env *env;
	struct env_thread *thread;
	pthread_t loop;
	bool waited;     /* somebody waits for the loop meanwhile */
	uint64_t delay;  /* what the loop's run returns */
	unsigned left;   /* steps */
	unsigned here, own;
	uint64_t here_ns, own_ns; /* when it ran last */
	unsigned kicks;  /* since the loop ran it last */
	unsigned rests[LENT_RESTS]; /* kicks before each of the first of those */
	bool bad;
};

static void *lent_poster(void *arg)
{
	struct lent *x = arg;

	env_post(x->env, &x->asks);
	return NULL;
}

static uint64_t lent_here(void *arg)
{
	struct lent *x = arg;
	pthread_t poster;

	x->here++;
	x->here_ns = env_now_ns(x->env);
	x->bad |= !pthread_equal(pthread_self(), x->loop);
	if (x->waited) {
		if (pthread_create(&poster, NULL, lent_poster, x) != 0)
			abort();
		pthread_join(poster, NULL);
	}
	return x->delay;
}

static uint64_t lent_own(void *arg)
{
	struct lent *x = arg;

	x->own++;
	x->own_ns = env_now_ns(x->env);
	x->bad |= pthread_equal(pthread_self(), x->loop);
	env_post(x->env, &x->task);
	return ENV_THREAD_IDLE;
}

static void lent_step(struct lent *x)
{
	bool here;

	if (x->left == 0) {
		loop_set_stop(x->set);
		return;
	}
	x->left--;
	here = env_thread_lend(x->env, x->thread, lent_here);
	if (here && x->here <= LENT_RESTS)
		x->rests[x->here - 1] = x->kicks;
	x->kicks = here ? 0 : x->kicks + 1;
	if (here && x->delay == ENV_THREAD_IDLE)
		loop_hook_add(loop_set_get(x->set, 0), &x->next);
	/* else the executor posts it */
}

static void lent_task(struct env_task *task)
{
	struct lent *x = CONTAINER_OF(task, struct lent, task);

	x->loop = pthread_self();
	if (x->kicks > 0)
		env_timer_set(x->env, &x->rest, MS);
	else
		lent_step(x);
}

static void lent_rested(struct env_timer *timer)
{
	lent_step(CONTAINER_OF(timer, struct lent, rest));
}

static void lent_next(struct loop_hook *hook)
{
	struct lent *x = CONTAINER_OF(hook, struct lent, next);

	env_post(x->env, &x->task);
}

static void lent_asks(struct env_task *task)
{
	(void)task;
}

static void lent_run(struct lent *x, unsigned steps)
{
	x->task.run = lent_task;
	x->asks.run = lent_asks;
	x->next.run = lent_next;
	x->rest.cb = lent_rested;
	x->left = steps;
	x->kicks = x->here = x->own = 0;
	if (x->set == NULL) {
		x->set = set_new(1);
		x->env = loop_env(loop_set_get(x->set, 0));
		assert_int_equal(env_thread_new(x->env, "lent", lent_own, x,
						&x->thread), 0);
	}
	env_post(x->env, &x->task);
	loop_set_run(x->set);
	assert_false(x->bad);
}

static void lent_end(struct lent *x)
{
	env_thread_free(x->env, x->thread);
	loop_set_free(x->set);
}

static void test_lend_while_nobody_waits(void **state)
{
	struct lent x = { .delay = ENV_THREAD_IDLE };

	(void)state;
	lent_run(&x, 1000);
	/* the thread may still be about to go to sleep for the first time */
	assert_true(x.here >= 990);
	assert_int_equal(x.own + x.here, 1000);
	lent_end(&x);
}

/* What the loop's run returns is when the executor is due. */
static void test_lend_then_due(void **state)
{
	struct lent x = { .delay = 3 * MS };

	(void)state;
	lent_run(&x, 1);
	assert_int_equal(x.here, 1);
	assert_int_equal(x.own, 1);
	assert_true(x.own_ns - x.here_ns >= 3 * MS);
	lent_end(&x);
}

static void test_lend_then_at_once(void **state)
{
	struct lent x = { .delay = 0 };

	(void)state;
	lent_run(&x, 1);
	assert_int_equal(x.here, 1);
	assert_int_equal(x.own, 1);
	lent_end(&x);
}

/*
 * Somebody waits each time: it is tried again after 2, 4, 8 kicks, or as soon
 * as the thread rests after the last of them.
 */
static void test_lend_rests_when_somebody_waited(void **state)
{
	struct lent x = { .delay = ENV_THREAD_IDLE, .waited = true };

	(void)state;
	lent_run(&x, 40);
	for (unsigned i = 1; i < LENT_RESTS; i++)
		assert_in_range(x.rests[i], 1u << i, (1u << i) + 10);
	assert_in_range(x.here, LENT_RESTS, 6);
	/* nobody does any more: it rests once more and is back */
	x.waited = false;
	lent_run(&x, 2000);
	assert_true(x.here > 1800);
	for (unsigned i = 1; i < LENT_RESTS; i++)
		assert_int_equal(x.rests[i], 0);
	lent_end(&x);
}

/* --- many loops and one executor --- */

enum { CROWD_LOOPS = 3, CROWD_ASKS = 20000 };
struct crowd {
	struct loop_set *set;
	struct env_thread *thread;
	atomic_uint asked, done, left, here;
	atomic_uint inside;
	atomic_bool twice;
};
struct asker {
	struct env_task task;
	struct env *env;
	struct crowd *c;
	unsigned n;
};

static uint64_t crowd_run(void *arg)
{
	struct crowd *c = arg;

	if (atomic_fetch_add(&c->inside, 1) != 0)
		atomic_store(&c->twice, true);
	atomic_fetch_add(&c->done, atomic_exchange(&c->asked, 0));
	atomic_fetch_sub(&c->inside, 1);
	return ENV_THREAD_IDLE;
}

static uint64_t crowd_here(void *arg)
{
	struct crowd *c = arg;

	atomic_fetch_add(&c->here, 1);
	return crowd_run(arg);
}

static void asker_run(struct env_task *task)
{
	struct asker *a = CONTAINER_OF(task, struct asker, task);
	struct crowd *c = a->c;

	atomic_fetch_add(&c->asked, 1);
	if (a->n % 3 == 0)
		env_thread_kick(a->env, c->thread);
	else
		(void)env_thread_lend(a->env, c->thread, crowd_here);
	if (++a->n < CROWD_ASKS)
		env_post(a->env, &a->task);
	else if (atomic_fetch_sub(&c->left, 1) == 1)
		loop_set_stop(c->set);
}

static void test_lend_of_many_loops(void **state)
{
	struct crowd c = { .left = CROWD_LOOPS };
	struct asker askers[CROWD_LOOPS] = { 0 };

	(void)state;
	c.set = set_new(CROWD_LOOPS);
	assert_int_equal(env_thread_new(loop_env(loop_set_get(c.set, 0)),
					"crowd", crowd_run, &c, &c.thread), 0);
	for (unsigned i = 0; i < CROWD_LOOPS; i++) {
		askers[i].task.run = asker_run;
		askers[i].env = loop_env(loop_set_get(c.set, i));
		askers[i].c = &c;
		env_post(askers[i].env, &askers[i].task);
	}
	loop_set_run(c.set);
	env_thread_free(loop_env(loop_set_get(c.set, 0)), c.thread);
	assert_false(atomic_load(&c.twice));
	assert_int_equal(atomic_load(&c.done), CROWD_LOOPS * CROWD_ASKS);
	assert_true(atomic_load(&c.here) > 0);
	loop_set_free(c.set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_thread_timed),
		cmocka_unit_test(test_thread_runs_after_each_kick),
		cmocka_unit_test(test_lend_while_nobody_waits),
		cmocka_unit_test(test_lend_then_due),
		cmocka_unit_test(test_lend_then_at_once),
		cmocka_unit_test(test_lend_rests_when_somebody_waited),
		cmocka_unit_test(test_lend_of_many_loops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
