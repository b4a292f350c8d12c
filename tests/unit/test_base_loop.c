/* Loops: posting, timers, workers, stopping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/loop.h"
#include "common/base/mem.h"

#define MS 1000000ull

static struct loop_set *set_new(unsigned n)
{
	struct loop_set *set;

	assert_int_equal(loop_set_new(n, 2, &set), 0);
	assert_int_equal(loop_set_size(set), n);
	return set;
}

/* --- posting --- */

struct numbered {
	struct env_task task;
	struct loop_set *set;
	unsigned n;
	unsigned *next; /* expected number */
	unsigned last;
	bool *bad;
};

static void numbered_run(struct env_task *task)
{
	struct numbered *t = CONTAINER_OF(task, struct numbered, task);

	if (*t->next != t->n)
		*t->bad = true;
	++*t->next;
	if (t->n == t->last)
		loop_set_stop(t->set);
}

static void test_post_keeps_order(void **state)
{
	enum { N = 1000 };
	struct loop_set *set = set_new(1);
	struct env *env = loop_env(loop_set_get(set, 0));
	struct numbered *t = calloc(N, sizeof(*t));
	unsigned next = 0;
	bool bad = false;

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		t[i] = (struct numbered){ { numbered_run, NULL }, set, i,
					  &next, N - 1, &bad };
		env_post(env, &t[i].task);
		assert_int_equal(next, 0); /* never inside env_post() */
	}
	loop_set_run(set);
	assert_int_equal(next, N);
	assert_false(bad);
	free(t);
	loop_set_free(set);
}

/* A task that goes round between loops. */
struct ball {
	struct env_task task;
	struct loop_set *set;
	unsigned at;
	unsigned left;
	bool bad;
};

static void ball_run(struct env_task *task)
{
	struct ball *b = CONTAINER_OF(task, struct ball, task);

	if (!loop_is_current(loop_set_get(b->set, b->at)))
		b->bad = true;
	if (b->left-- == 0) {
		loop_set_stop(b->set);
		return;
	}
	b->at = (b->at + 1) % loop_set_size(b->set);
	env_post(loop_env(loop_set_get(b->set, b->at)), &b->task);
}

static void test_post_between_loops(void **state)
{
	for (unsigned n = 1; n <= 3; n++) {
		struct loop_set *set = set_new(n);
		struct env *env = loop_env(loop_set_get(set, 0));
		struct ball b = { { ball_run, NULL }, set, 0, 20000, false };
		uint64_t t0 = env_now_ns(env);

		(void)state;
		env_post(env, &b.task);
		loop_set_run(set);
		assert_false(b.bad);
		print_message("# %u loops: %.2f us a hop\n", n,
			      (double)(env_now_ns(env) - t0) / 1e3 / 20000);
		loop_set_free(set);
	}
}

/* --- looking before sleeping --- */

/* A thread that writes a byte whenever the loop waits for one. */
struct expected {
	struct env_task task;
	struct loop_set *set;
	struct loop_luck luck;
	int to_thread[2], to_loop[2];
	unsigned left;
};

static void expected_ask(struct expected *x)
{
	loop_expect(loop_set_get(x->set, 0), &x->luck);
	assert_int_equal(write(x->to_thread[1], "", 1), 1);
}

static void expected_run(struct env_task *task)
{
	struct expected *x = CONTAINER_OF(task, struct expected, task);

	if (x->left-- > 0)
		expected_ask(x);
	else
		loop_set_stop(x->set);
}

/* As of FUSE's descriptor: it tells the loop nothing, and posts. */
static void expected_read(evutil_socket_t fd, short what, void *arg)
{
	struct expected *x = arg;
	char c;

	(void)what;
	assert_int_equal(read(fd, &c, 1), 1);
	env_post(loop_env(loop_set_get(x->set, 0)), &x->task);
}

static void *expected_thread(void *arg)
{
	struct expected *x = arg;
	char c;

	for (unsigned n = 0; read(x->to_thread[0], &c, 1) == 1; n++) {
		if (n % 20 == 0) /* later than anybody looks */
			(void)usleep(200);
		assert_int_equal(write(x->to_loop[1], &c, 1), 1);
	}
	return NULL;
}

static void test_expect(void **state)
{
	struct expected x = { .task.run = expected_run, .left = 5000 };
	struct event *ev;
	pthread_t thread;

	(void)state;
	x.set = set_new(1);
	assert_int_equal(pipe(x.to_thread), 0);
	assert_int_equal(pipe(x.to_loop), 0);
	ev = event_new(loop_base(loop_set_get(x.set, 0)), x.to_loop[0],
		       EV_READ | EV_PERSIST, expected_read, &x);
	assert_int_equal(event_add(ev, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, expected_thread, &x), 0);
	expected_ask(&x);
	loop_set_run(x.set);
	assert_int_equal(x.left, UINT_MAX);
	(void)close(x.to_thread[1]);
	pthread_join(thread, NULL);
	event_free(ev);
	(void)close(x.to_thread[0]);
	(void)close(x.to_loop[0]);
	(void)close(x.to_loop[1]);
	loop_set_free(x.set);
}

/* Many threads post to one loop; each keeps its own order. */
enum { POSTERS = 4, PER_POSTER = 5000 };
struct poster {
	pthread_t thread;
	struct env *env;
	struct numbered *tasks;
	unsigned next;
	bool bad;
};
static unsigned posters_left; /* loop only */

static void posted_run(struct env_task *task)
{
	struct numbered *t = CONTAINER_OF(task, struct numbered, task);

	if (*t->next != t->n)
		*t->bad = true;
	++*t->next;
	if (t->n == t->last && --posters_left == 0)
		loop_set_stop(t->set);
}

static void *poster_main(void *arg)
{
	struct poster *p = arg;

	for (unsigned i = 0; i < PER_POSTER; i++)
		env_post(p->env, &p->tasks[i].task);
	return NULL;
}

static void test_post_from_threads(void **state)
{
	struct loop_set *set = set_new(1);
	struct poster p[POSTERS];

	(void)state;
	posters_left = POSTERS;
	memset(p, 0, sizeof(p));
	for (unsigned k = 0; k < POSTERS; k++) {
		p[k].env = loop_env(loop_set_get(set, 0));
		p[k].tasks = calloc(PER_POSTER, sizeof(struct numbered));
		for (unsigned i = 0; i < PER_POSTER; i++)
			p[k].tasks[i] = (struct numbered){
				{ posted_run, NULL }, set, i, &p[k].next,
				PER_POSTER - 1, &p[k].bad
			};
		pthread_create(&p[k].thread, NULL, poster_main, &p[k]);
	}
	loop_set_run(set);
	for (unsigned k = 0; k < POSTERS; k++) {
		pthread_join(p[k].thread, NULL);
		assert_int_equal(p[k].next, PER_POSTER);
		assert_false(p[k].bad);
		free(p[k].tasks);
	}
	loop_set_free(set);
}

/* --- timers --- */

struct tick {
	struct env_timer timer;
	struct loop_set *set;
	struct env *env;
	uint64_t due;
	unsigned fired;
	unsigned again;
	bool early;
	bool stop;
};

static void tick_cb(struct env_timer *timer)
{
	struct tick *t = CONTAINER_OF(timer, struct tick, timer);

	if (env_now_ns(t->env) < t->due)
		t->early = true;
	t->fired++;
	if (t->again > 0) {
		t->again--;
		t->due = env_now_ns(t->env) + 3 * MS;
		env_timer_set(t->env, &t->timer, 3 * MS);
	} else if (t->stop) {
		loop_set_stop(t->set);
	}
}

static void tick_set(struct tick *t, struct loop_set *set, uint64_t ns)
{
	t->set = set;
	t->env = loop_env(loop_set_get(set, 0));
	t->timer.cb = tick_cb;
	t->due = env_now_ns(t->env) + ns;
	env_timer_set(t->env, &t->timer, ns);
}

static void test_timers(void **state)
{
	struct loop_set *set = set_new(1);
	struct tick a = { .again = 5 };
	struct tick b = { .stop = true };
	struct tick c = { .fired = 0 }; /* cancelled */
	struct tick d = { .fired = 0 }; /* moved to later */
	struct tick e = { .fired = 0 }; /* at once */

	(void)state;
	tick_set(&a, set, 500000);
	tick_set(&c, set, 1 * MS);
	tick_set(&d, set, 1 * MS);
	tick_set(&d, set, 20 * MS);
	tick_set(&b, set, 60 * MS);
	tick_set(&e, set, 0);
	assert_int_equal(e.fired, 0);
	env_timer_cancel(c.env, &c.timer);
	env_timer_cancel(c.env, &c.timer);
	assert_null(c.timer.impl);
	loop_set_run(set);
	assert_int_equal(a.fired, 6);
	assert_int_equal(b.fired, 1);
	assert_int_equal(c.fired, 0);
	assert_int_equal(d.fired, 1);
	assert_int_equal(e.fired, 1);
	assert_false(a.early || b.early || d.early || e.early);
	assert_null(a.timer.impl);
	loop_set_free(set);
}

/* --- workers --- */

struct job {
	struct env_work work;
	struct loop *loop;
	struct loop_set *set;
	atomic_uint *left;
	bool ran;
	bool ran_on_loop;
	bool done;
	bool done_on_loop;
};

static void job_run(struct env_work *work)
{
	struct job *j = CONTAINER_OF(work, struct job, work);

	j->ran = true;
	j->ran_on_loop = loop_is_current(j->loop);
}

static void job_done(struct env_work *work)
{
	struct job *j = CONTAINER_OF(work, struct job, work);

	j->done = j->ran;
	j->done_on_loop = loop_is_current(j->loop);
	if (atomic_fetch_sub(j->left, 1) == 1)
		loop_set_stop(j->set);
}

struct job_batch {
	struct env_task task;
	struct job *jobs;
	unsigned n;
};

static void job_batch_run(struct env_task *task)
{
	struct job_batch *b = CONTAINER_OF(task, struct job_batch, task);

	for (unsigned i = 0; i < b->n; i++)
		env_work(loop_env(b->jobs[i].loop), &b->jobs[i].work);
}

static void test_work(void **state)
{
	enum { PER = 500, LOOPS = 3 };
	struct loop_set *set = set_new(LOOPS);
	struct job *jobs = calloc(PER * LOOPS, sizeof(*jobs));
	struct job_batch batches[LOOPS];
	atomic_uint left = PER * LOOPS;

	(void)state;
	for (unsigned i = 0; i < PER * LOOPS; i++) {
		jobs[i].work.run = job_run;
		jobs[i].work.done = job_done;
		jobs[i].loop = loop_set_get(set, i / PER);
		jobs[i].set = set;
		jobs[i].left = &left;
	}
	for (unsigned k = 0; k < LOOPS; k++) {
		batches[k] = (struct job_batch){ { job_batch_run, NULL },
						 jobs + k * PER, PER };
		env_post(loop_env(loop_set_get(set, k)), &batches[k].task);
	}
	loop_set_run(set);
	assert_int_equal(atomic_load(&left), 0);
	for (unsigned i = 0; i < PER * LOOPS; i++) {
		assert_true(jobs[i].done && jobs[i].done_on_loop);
		assert_false(jobs[i].ran_on_loop);
	}
	free(jobs);
	loop_set_free(set);
}

/* Work that is under way when the loops stop still ends exactly once. */
static void stop_first_run(struct env_work *work)
{
	struct job *j = CONTAINER_OF(work, struct job, work);

	loop_set_stop(j->set);
	j->ran = true;
}

static void test_stop_ends_work(void **state)
{
	struct loop_set *set = set_new(1);
	atomic_uint left = 2;
	struct job j[2];

	(void)state;
	memset(j, 0, sizeof(j));
	for (unsigned i = 0; i < 2; i++) {
		j[i].work.run = stop_first_run;
		j[i].work.done = job_done;
		j[i].loop = loop_set_get(set, 0);
		j[i].set = set;
		j[i].left = &left;
		env_work(loop_env(j[i].loop), &j[i].work);
	}
	loop_set_run(set);
	assert_true(j[0].done && j[1].done);
	loop_set_free(set);
}

/* --- stopping --- */

static void *stopper_main(void *arg)
{
	loop_set_stop(arg);
	return NULL;
}

static void test_stop(void **state)
{
	(void)state;
	for (int i = 0; i < 200; i++) {
		struct loop_set *set = set_new(3);
		pthread_t thread;

		pthread_create(&thread, NULL, stopper_main, set);
		loop_set_run(set);
		loop_set_free(set);
		pthread_join(thread, NULL);
	}
}

static void test_run_twice(void **state)
{
	struct loop_set *set = set_new(2);

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct ball b = { { ball_run, NULL }, set, 0, 10, false };

		env_post(loop_env(loop_set_get(set, 0)), &b.task);
		loop_set_run(set);
		assert_false(b.bad);
	}
	loop_set_free(set);
}

static void test_clock_and_random(void **state)
{
	struct loop_set *set = set_new(1);
	struct env *env = loop_env(loop_set_get(set, 0));
	uint8_t a[64] = { 0 }, b[64] = { 0 };
	uint64_t t = env_now_ns(env);

	(void)state;
	assert_true(env_now_ns(env) >= t);
	assert_true(env_wall_ns(env) > 1600000000ll * 1000000000);
	env_random(env, a, sizeof(a));
	env_random(env, b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
	assert_ptr_equal(loop_of(env), loop_set_get(set, 0));
	assert_int_equal(loop_index(loop_of(env)), 0);
	loop_set_free(set);
	assert_int_equal(loop_set_new(0, 1, &set), -22);
	assert_int_equal(loop_set_new(65, 1, &set), -22);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_post_keeps_order),
		cmocka_unit_test(test_post_between_loops),
		cmocka_unit_test(test_expect),
		cmocka_unit_test(test_post_from_threads),
		cmocka_unit_test(test_timers),
		cmocka_unit_test(test_work),
		cmocka_unit_test(test_stop_ends_work),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_run_twice),
		cmocka_unit_test(test_clock_and_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
