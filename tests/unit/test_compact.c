/*
 * storaged/compact*: which segments, and the driver over two heads that do as
 * they are told.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "storaged/compact.h"
#include "tests/lib/minienv.h"

#define SECOND 1000000000ull
#define MIB ((uint64_t)1 << 20)

/* --- rules --- */

static void test_choose(void **state)
{
	struct compact_target t[] = {
		{ 1, 100, 100 }, { 2, 100, 80 }, { 3, 100, 10 },
		{ 4, 100, 0 },	 { 5, 50, 10 },	 { 6, 100, 92 },
	};
	struct compact_target own[6];

	(void)state;
	memcpy(own, t, sizeof t);
	assert_int_equal(compact_choose(COMPACT_COMMAND, 1000, 0, own, 6), 4);
	assert_int_equal(own[0].gen, 4); /* the least alive first */
	assert_int_equal(own[1].gen, 3);
	assert_int_equal(own[2].gen, 5);
	assert_int_equal(own[3].gen, 2);
	memcpy(own, t, sizeof t);
	assert_int_equal(compact_choose(COMPACT_DEAD, 1000, 0, own, 6), 3);
	memcpy(own, t, sizeof t);
	assert_int_equal(compact_choose(COMPACT_SPACE, 1000, 0, own, 6), 5);
	/* no room: what is freed first makes room for the rest */
	memcpy(own, t, sizeof t);
	assert_int_equal(compact_choose(COMPACT_SPACE, 0, 0, own, 6), 5);
	own[0] = t[1];
	own[1] = t[2];
	assert_int_equal(compact_choose(COMPACT_SPACE, 9, 0, own, 2), 0);
	own[0] = t[1];
	own[1] = t[2];
	assert_int_equal(compact_choose(COMPACT_SPACE, 10, 0, own, 2), 2);
	assert_int_equal(compact_choose(COMPACT_SPACE, 10, 0, NULL, 0), 0);
}

/* Room for none: for the smallest there may be, if it is worth it. */
static void test_choose_one(void **state)
{
	struct compact_target t[] = {
		{ 1, 100, 30 }, { 2, 20, 15 }, { 3, 100, 40 }, { 4, 10, 10 },
	};
	struct compact_target own[4];

	(void)state;
	memcpy(own, t, sizeof t);
	assert_int_equal(compact_choose(COMPACT_SPACE, 9, 14, own, 4), 0);
	memcpy(own, t, sizeof t);
	assert_int_equal(compact_choose(COMPACT_SPACE, 9, 15, own, 4), 1);
	assert_int_equal(own[0].gen, 2);
	memcpy(own, t, sizeof t);
	assert_int_equal(compact_choose(COMPACT_SPACE, 9, 1000, own, 4), 1);
	assert_int_equal(own[0].gen, 2);
	/* what has room goes first */
	memcpy(own, t, sizeof t);
	assert_int_equal(compact_choose(COMPACT_SPACE, 30, 1000, own, 4), 3);
	assert_int_equal(own[0].gen, 1);
	assert_int_equal(compact_choose(COMPACT_SPACE, 9, 1000, &t[3], 1), 0);
	assert_int_equal(compact_choose(COMPACT_SPACE, 9, 1000, NULL, 0), 0);
}

static void test_due(void **state)
{
	struct compact_stat s = { 10, 1000, 600 };

	(void)state;
	assert_true(compact_is_due(&s, 60, 400));
	assert_false(compact_is_due(&s, 60, 401));
	assert_false(compact_is_due(&s, 59, 400));
	assert_false(compact_is_due(&s, 0, 0));
	s.live = 1200; /* more than there is: a guess of long ago */
	assert_false(compact_is_due(&s, 60, 0));
	s = (struct compact_stat){ 1, UINT64_MAX / 2, UINT64_MAX / 8 };
	assert_true(compact_is_due(&s, 60, 0));
}

/* --- a head that does as it is told --- */

struct head {
	struct world *w;
	const char *name;
	struct compact_target t[8]; /* gen 0: not there */
	unsigned looks, cleans;
	int look_fails, clean_fails, kept;
	struct compact_run *run;
	struct env_task look, clean;
	struct env_timer timer;
	const struct compact_target *targets;
	size_t n, at;
	uint64_t waited;
};

struct world {
	struct minienv *m;
	struct compact *c;
	struct head bulk, log;
	uint64_t avail, reserve;
};

static void head_looked(struct env_task *task)
{
	struct head *h = CONTAINER_OF(task, struct head, look);
	struct compact_target *t = mem_calloc(8, sizeof *t);
	size_t n = 0;

	h->looks++;
	for (unsigned i = 0; i < 8; i++)
		if (h->t[i].gen != 0)
			t[n++] = h->t[i];
	if (h->look_fails > 0) {
		h->look_fails--;
		mem_free(t);
		compact_looked(h->run, -EIO, NULL, 0);
		return;
	}
	compact_looked(h->run, 0, t, n);
}

static int head_look(void *arg, struct compact_run *run)
{
	struct head *h = arg;

	h->run = run;
	h->look.run = head_looked;
	env_post(minienv_env(h->w->m), &h->look);
	return 0;
}

static void head_step(struct head *h);

static void head_timer(struct env_timer *timer)
{
	struct head *h = CONTAINER_OF(timer, struct head, timer);
	uint64_t gen = h->targets[h->at++].gen;

	if (h->kept > 0) {
		h->kept--;
		compact_kept(h->run, gen, -EBADMSG);
	} else {
		for (unsigned i = 0; i < 8; i++)
			if (h->t[i].gen == gen)
				h->t[i].gen = 0;
		compact_freed(h->run, gen);
	}
	head_step(h);
}

static void head_step(struct head *h)
{
	uint64_t wait;

	if (h->clean_fails > 0) {
		h->clean_fails--;
		compact_done(h->run, -EIO);
		return;
	}
	if (h->at == h->n || compact_stopped(h->run)) {
		compact_done(h->run, h->at == h->n ? 0 : -ECANCELED);
		return;
	}
	wait = compact_wait_ns(h->run, h->targets[h->at].live);
	h->waited += wait;
	env_timer_set(minienv_env(h->w->m), &h->timer, wait + 1000000);
}

static void head_clean_task(struct env_task *task)
{
	head_step(CONTAINER_OF(task, struct head, clean));
}

static int head_clean(void *arg, const struct compact_target *targets, size_t n,
		      struct compact_run *run)
{
	struct head *h = arg;

	h->cleans++;
	h->run = run;
	h->targets = targets;
	h->n = n;
	h->at = 0;
	h->timer.cb = head_timer;
	h->clean.run = head_clean_task;
	env_post(minienv_env(h->w->m), &h->clean);
	return 0;
}

static void head_stat(void *arg, struct compact_stat *ret)
{
	struct head *h = arg;

	*ret = (struct compact_stat){ 0 };
	for (unsigned i = 0; i < 8; i++)
		if (h->t[i].gen != 0) {
			ret->segments++;
			ret->bytes += h->t[i].bytes;
			ret->live += h->t[i].live;
		}
}

static void world_space(void *arg, uint64_t *ret_avail, uint64_t *ret_reserve)
{
	struct world *w = arg;

	*ret_avail = w->avail;
	*ret_reserve = w->reserve;
}

static void world_init(struct world *w, uint64_t rate)
{
	struct compact_config config = { .rate = rate, .threshold = 60,
					 .min_dead = 100 * MIB,
					 .space = world_space, .arg = w };
	struct compact_head bulk = { "bulk", true, head_look, head_clean,
				     head_stat, &w->bulk };
	struct compact_head log = { "log", false, head_look, head_clean,
				    head_stat, &w->log };

	memset(w, 0, sizeof *w);
	w->m = minienv_new(NULL, 1);
	w->bulk.w = w->log.w = w;
	w->avail = 1000 * MIB;
	w->reserve = 100 * MIB;
	config.env = minienv_env(w->m);
	assert_int_equal(compact_new(&config, &w->c), 0);
	compact_add_head(w->c, &bulk);
	compact_add_head(w->c, &log);
}

static void world_fini(struct world *w)
{
	env_timer_cancel(minienv_env(w->m), &w->bulk.timer);
	env_timer_cancel(minienv_env(w->m), &w->log.timer);
	compact_free(w->c);
	minienv_free(w->m);
}

/* n segments of 64 MiB, so many percent alive. */
static void fill(struct head *h, unsigned n, unsigned percent)
{
	for (unsigned i = 0; i < 8; i++)
		h->t[i] = (struct compact_target){
			i < n ? i + 1 : 0, 64 * MIB, 64 * MIB * percent / 100,
		};
}

static unsigned left(const struct head *h)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 8; i++)
		n += h->t[i].gen != 0;
	return n;
}

static struct compact_info info(struct world *w)
{
	struct compact_info i;

	compact_get_info(w->c, &i);
	return i;
}

/* --- commands --- */

static void test_command(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 0);
	assert_int_equal(info(&w).state, COMPACT_IDLE);
	assert_int_equal(info(&w).started, 0);
	fill(&w.bulk, 5, 80);
	fill(&w.log, 3, 95); /* not worth it */
	assert_int_equal(compact_start(w.c, UINT64_MAX), 0);
	assert_int_equal(compact_start(w.c, UINT64_MAX), 0);
	assert_int_equal(info(&w).state, COMPACT_RUNNING);
	minienv_advance(w.m, 2500000);
	assert_int_equal(info(&w).targets, 5);
	assert_int_equal(info(&w).out, 2);
	assert_int_equal(info(&w).ongoing, 1);
	assert_int_equal(info(&w).pending, 2);
	assert_int_equal(compact_start(w.c, UINT64_MAX), 0); /* is under way */
	minienv_advance(w.m, SECOND);
	assert_int_equal(info(&w).state, COMPACT_IDLE);
	assert_int_equal(info(&w).out, 5);
	assert_int_equal(info(&w).pending + info(&w).ongoing, 0);
	assert_int_equal(info(&w).freed, 5 * 64 * MIB);
	assert_int_equal(left(&w.bulk), 0);
	assert_int_equal(left(&w.log), 3);
	assert_int_equal(w.bulk.looks, 1);
	assert_int_equal(w.log.looks, 1);
	world_fini(&w);
}

/* No more than were asked for, of both heads together; the rest next time. */
static void test_command_some(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 0);
	fill(&w.bulk, 4, 50);
	fill(&w.log, 4, 50);
	for (unsigned gone = 3; gone <= 6; gone += 3) {
		assert_int_equal(compact_start(w.c, 3), 0);
		minienv_advance(w.m, SECOND);
		assert_int_equal(info(&w).state, COMPACT_IDLE);
		assert_int_equal(info(&w).targets, 3);
		assert_int_equal(left(&w.bulk) + left(&w.log), 8 - gone);
	}
	world_fini(&w);
}

/* A command while a run goes on that began by itself: its own is next. */
static void test_command_behind(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 0);
	compact_start_watching(w.c);
	fill(&w.bulk, 8, 40);
	fill(&w.log, 2, 85); /* worth it for a command only */
	minienv_advance(w.m, 10 * SECOND + 2500000);
	assert_int_equal(info(&w).state, COMPACT_RUNNING);
	assert_int_equal(info(&w).why, COMPACT_DEAD);
	assert_int_equal(compact_start(w.c, UINT64_MAX), 0);
	minienv_advance(w.m, SECOND);
	assert_int_equal(info(&w).state, COMPACT_IDLE);
	assert_int_equal(info(&w).why, COMPACT_COMMAND);
	assert_int_equal(left(&w.bulk) + left(&w.log), 0);
	world_fini(&w);
}

/* Suspended and resumed after every bit of time; then all is done. */
static void test_suspend(void **state)
{
	(void)state;
	for (uint64_t at = 0; at < 9000000; at += 500000) {
		struct world w;
		unsigned was;

		world_init(&w, 0);
		fill(&w.bulk, 4, 50);
		fill(&w.log, 3, 50);
		compact_resume(w.c); /* nothing to resume */
		assert_int_equal(compact_start(w.c, UINT64_MAX), 0);
		minienv_advance(w.m, at);
		compact_suspend(w.c);
		minienv_advance(w.m, SECOND);
		assert_int_equal(info(&w).state, COMPACT_SUSPENDED);
		was = left(&w.bulk) + left(&w.log);
		minienv_advance(w.m, 100 * SECOND);
		assert_int_equal(left(&w.bulk) + left(&w.log), was);
		compact_resume(w.c);
		minienv_advance(w.m, SECOND);
		assert_int_equal(info(&w).state, COMPACT_IDLE);
		assert_int_equal(left(&w.bulk) + left(&w.log), 0);
		world_fini(&w);
	}
}

/* Suspended, nothing begins, and no command but resume changes that. */
static void test_suspended_before(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 0);
	compact_start_watching(w.c);
	compact_suspend(w.c);
	fill(&w.bulk, 8, 0);
	minienv_advance(w.m, 100 * SECOND);
	assert_int_equal(left(&w.bulk), 8);
	assert_int_equal(compact_start(w.c, UINT64_MAX), -EBUSY);
	minienv_advance(w.m, 100 * SECOND);
	assert_int_equal(info(&w).state, COMPACT_SUSPENDED);
	assert_int_equal(info(&w).started, 0);
	assert_int_equal(left(&w.bulk), 8);
	compact_resume(w.c);
	assert_int_equal(compact_start(w.c, UINT64_MAX), 0);
	minienv_advance(w.m, SECOND);
	assert_int_equal(left(&w.bulk), 0);
	world_fini(&w);
}

static void test_failures(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 0);
	fill(&w.bulk, 4, 50);
	fill(&w.log, 4, 50);
	w.bulk.look_fails = 1;
	assert_int_equal(compact_start(w.c, UINT64_MAX), 0);
	minienv_advance(w.m, SECOND);
	assert_int_equal(info(&w).err, -EIO);
	assert_int_equal(left(&w.bulk), 4);
	assert_int_equal(left(&w.log), 0); /* the other one goes on */
	w.bulk.clean_fails = 1;
	assert_int_equal(compact_start(w.c, UINT64_MAX), 0);
	minienv_advance(w.m, SECOND);
	assert_int_equal(info(&w).state, COMPACT_IDLE);
	assert_int_equal(left(&w.bulk), 4);
	w.bulk.kept = 2;
	assert_int_equal(compact_start(w.c, UINT64_MAX), 0);
	minienv_advance(w.m, SECOND);
	assert_int_equal(info(&w).err, 0);
	assert_int_equal(left(&w.bulk), 2);
	assert_int_equal(info(&w).kept, 2);
	assert_int_equal(info(&w).out, 4);
	world_fini(&w);
}

/* 10 segments of 32 MiB alive at 64 MiB/s: five seconds. */
static void test_rate(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 64 * MIB);
	fill(&w.bulk, 8, 50);
	assert_int_equal(compact_start(w.c, UINT64_MAX), 0);
	minienv_advance(w.m, 3 * SECOND);
	assert_in_range(left(&w.bulk), 1, 3);
	minienv_advance(w.m, 2 * SECOND);
	assert_int_equal(left(&w.bulk), 0);
	assert_int_equal(info(&w).copied, 8 * 32 * MIB);
	/* short of space: as fast as it goes */
	w.avail = 110 * MIB;
	compact_start_watching(w.c);
	fill(&w.bulk, 8, 20);
	minienv_advance(w.m, 11 * SECOND);
	assert_int_equal(left(&w.bulk), 0);
	assert_int_equal(info(&w).why, COMPACT_SPACE);
	world_fini(&w);
}

/* --- by itself --- */

static void test_by_itself(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 0);
	compact_start_watching(w.c);
	fill(&w.bulk, 8, 90);
	fill(&w.log, 8, 65);
	minienv_advance(w.m, 100 * SECOND);
	assert_int_equal(left(&w.bulk) + left(&w.log), 16); /* mostly alive */
	assert_int_equal(w.log.looks, 0);
	/* empty ones go at once, whatever the rest is like */
	w.bulk.t[3].live = w.bulk.t[5].live = 0;
	minienv_advance(w.m, 11 * SECOND);
	assert_int_equal(left(&w.bulk), 6);
	assert_int_equal(w.bulk.cleans, 1);
	fill(&w.bulk, 8, 60);
	fill(&w.log, 8, 60);
	minienv_advance(w.m, 11 * SECOND);
	assert_int_equal(left(&w.bulk) + left(&w.log), 8); /* one head a turn */
	minienv_advance(w.m, 11 * SECOND);
	assert_int_equal(left(&w.bulk) + left(&w.log), 0);
	assert_int_equal(info(&w).why, COMPACT_DEAD);
	/* too little to be worth it */
	fill(&w.bulk, 2, 40);
	minienv_advance(w.m, 100 * SECOND);
	assert_int_equal(left(&w.bulk), 2);
	world_fini(&w);
}

/* Nothing could be freed: not at once again, unless more has died. */
static void test_rest(void **state)
{
	unsigned cleans;
	struct world w;

	(void)state;
	world_init(&w, 0);
	compact_start_watching(w.c);
	fill(&w.bulk, 6, 50);
	w.bulk.kept = 6;
	minienv_advance(w.m, 11 * SECOND);
	cleans = w.bulk.cleans;
	assert_true(cleans > 0 && left(&w.bulk) == 6);
	minienv_advance(w.m, 500 * SECOND);
	assert_int_equal(w.bulk.cleans, cleans);
	minienv_advance(w.m, 150 * SECOND);
	assert_true(w.bulk.cleans > cleans);
	assert_int_equal(left(&w.bulk), 0);
	fill(&w.bulk, 6, 50);
	w.bulk.kept = 6;
	minienv_advance(w.m, 11 * SECOND);
	fill(&w.bulk, 6, 30);
	minienv_advance(w.m, 21 * SECOND);
	assert_int_equal(left(&w.bulk), 0);
	world_fini(&w);
}

/* Short of space: anything that gives room, at once, while there is room. */
static void test_short(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 1);
	compact_start_watching(w.c);
	fill(&w.bulk, 3, 90);
	fill(&w.log, 3, 90);
	w.avail = 110 * MIB;
	minienv_advance(w.m, 12 * SECOND);
	assert_int_equal(left(&w.bulk) + left(&w.log), 0);
	assert_int_equal(info(&w).why, COMPACT_SPACE);
	/* no room for a copy: only what is empty */
	w.avail = 51 * MIB;
	fill(&w.bulk, 3, 50);
	minienv_advance(w.m, 5 * SECOND);
	assert_int_equal(left(&w.bulk), 3);
	w.bulk.t[1].live = 0; /* and the room that it makes */
	minienv_advance(w.m, 40 * SECOND);
	assert_int_equal(left(&w.bulk), 0);
	/* one that fits into half of what is left is a way out */
	w.avail = 49 * MIB;
	fill(&w.bulk, 3, 50);
	w.bulk.t[2].live = 25 * MIB;
	minienv_advance(w.m, 40 * SECOND);
	assert_int_equal(left(&w.bulk), 3);
	w.bulk.t[2].live = 24 * MIB;
	minienv_advance(w.m, 40 * SECOND);
	assert_int_equal(left(&w.bulk), 2);
	assert_int_equal(w.bulk.t[2].gen, 0);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choose),
		cmocka_unit_test(test_choose_one),
		cmocka_unit_test(test_due),
		cmocka_unit_test(test_command),
		cmocka_unit_test(test_command_some),
		cmocka_unit_test(test_command_behind),
		cmocka_unit_test(test_suspend),
		cmocka_unit_test(test_suspended_before),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_by_itself),
		cmocka_unit_test(test_rest),
		cmocka_unit_test(test_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
