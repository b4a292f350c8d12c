/*
 * storaged/log_clean.c: when a segment may go. The log, the shard, checkpoints
 * and row snapshots are real; the walk is not: the test says which segment rows
 * name, and what happens meanwhile.
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
#include "common/base/vfs_dir.h"
#include "storaged/log_clean.h"
#include "storaged/shard_clean.h"
#include "tests/lib/shardworld.h"

static struct {
	struct world w;
	struct compact *compact;
	struct log_clean *clean;
	uint64_t named;         /* a segment that rows name; 0: none */
	unsigned marks, walks;
	bool release;           /* at the end of the mark */
	bool suspend;           /* in the middle of the next walk */
} t;

/* --- a walk over one value --- */

/* the linker's --wrap wants these names */
#define WRAP(ret, name, ...) \
	ret __wrap_##name(__VA_ARGS__); \
	ret __wrap_##name(__VA_ARGS__)

struct shard_clean {
	struct log_seg *segs;
	size_t n;
	bool move;
	struct shard_clean_count count;
	struct env_task task;
	shard_clean_fn done;
	void *arg;
};

static void walk_run(struct env_task *task)
{
	struct shard_clean *c = CONTAINER_OF(task, struct shard_clean, task);

	if (c->move && t.suspend) {
		t.suspend = false;
		compact_suspend(t.compact);
		c->done(c->arg, 1);
		return;
	}
	for (size_t i = 0; i < c->n; i++) {
		if (c->segs[i].gen != t.named)
			continue;
		if (!c->move) {
			c->segs[i].live = 100;
		} else if (c->segs[i].victim) {
			c->count.found = c->count.moved = 1;
			t.named = 0; /* moved to the head */
		}
	}
	if (t.release) {
		t.release = false;
		log_clean_release(t.clean);
	}
	c->done(c->arg, 0);
}

WRAP(int, shard_clean_new, struct shard_set *set, struct log_seg *segs,
     size_t n, bool move, struct shard_clean **ret_clean)
{
	struct shard_clean *c = mem_zalloc(sizeof *c);

	(void)set;
	assert_non_null(c);
	*(move ? &t.walks : &t.marks) += 1;
	c->segs = segs;
	c->n = n;
	c->move = move;
	c->task.run = walk_run;
	*ret_clean = c;
	return 0;
}

WRAP(void, shard_clean_step, struct shard_clean *c, shard_clean_fn done,
     void *arg)
{
	c->done = done;
	c->arg = arg;
	env_post(minienv_env(t.w.m), &c->task);
}

WRAP(const struct shard_clean_count *, shard_clean_count,
     const struct shard_clean *c)
{
	return &c->count;
}

WRAP(void, shard_clean_free, struct shard_clean *c)
{
	mem_free(c);
}

/* --- a store with a log of some segments --- */

static void tune(struct world *w, struct shard_config *c)
{
	(void)w;
	c->snap_dir = "snap";
	assert_int_equal(vfs_make_dir(c->env->vfs, "snap"), 0);
}

static bool is_there(uint64_t gen)
{
	struct seg_info *infos;
	bool there = false;
	size_t n;

	assert_int_equal(seg_segments(t.w.log, &infos, &n), 0);
	for (size_t i = 0; i < n; i++)
		there |= infos[i].gen == gen;
	mem_free(infos);
	return there;
}

static void on_rolled(struct seg_append *append)
{
	(void)append;
}

static void roll(void)
{
	struct seg_append append = {
		.type = SEG_VALUE, .group = SHARD, .roll = true,
		.done = on_rolled,
	};

	seg_append(t.w.port, &append);
	minienv_run(t.w.m);
}

static int setup(void **state)
{
	struct log_clean_loop loop = { NULL, NULL };
	struct log_clean_config lc = { .loops = &loop, .n_loops = 1,
				       .pinned = 1 };
	struct compact_config cc = { 0 };
	struct compact_head head;

	(void)state;
	memset(&t, 0, sizeof t);
	world_init_tuned(&t.w, tune, NULL);
	loop.env = cc.env = minienv_env(t.w.m);
	loop.set = t.w.set;
	lc.log = t.w.log;
	lc.port = t.w.port;
	assert_int_equal(compact_new(&cc, &t.compact), 0);
	assert_int_equal(log_clean_new(&lc, &t.clean, &head), 0);
	compact_add_head(t.compact, &head);
	for (unsigned i = 0; i < 4; i++)
		roll();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	log_clean_free(t.clean);
	compact_free(t.compact);
	world_fini(&t.w);
	return 0;
}

static void clean(void)
{
	assert_int_equal(compact_start(t.compact, UINT64_MAX), 0);
	minienv_run(t.w.m);
}

/* --- tests --- */

/* The mark found nothing: that was the walk. */
static void test_a_mark_is_enough(void **state)
{
	(void)state;
	clean();
	assert_int_equal(t.marks, 1);
	assert_int_equal(t.walks, 0);
	assert_false(is_there(1));
	assert_false(is_there(2));
}

/* What is named is moved, and another walk finds nothing. */
static void test_walks_until_nothing_is_found(void **state)
{
	(void)state;
	t.named = 2;
	clean();
	assert_int_equal(t.named, 0);
	assert_int_equal(t.walks, 2);
	assert_false(is_there(2));
}

/* Held: nothing goes, whatever walks find. */
static void test_held(void **state)
{
	(void)state;
	log_clean_hold(t.clean);
	clean();
	assert_true(is_there(1));
	log_clean_release(t.clean);
	clean();
	assert_false(is_there(1));
}

/*
 * Rows that are on their way at the mark, and there when the walk that has to be
 * made for that is dropped, name a segment in which the mark found nothing: the
 * mark does not count because another walk began.
 */
static void test_a_dropped_walk_does_not_count(void **state)
{
	struct compact_info info;

	(void)state;
	log_clean_hold(t.clean);
	t.release = true;
	t.suspend = true;
	clean();
	compact_get_info(t.compact, &info);
	assert_int_equal(info.state, COMPACT_SUSPENDED);
	assert_true(info.pending > 0);
	assert_int_equal(t.walks, 1);
	t.named = 2;
	compact_resume(t.compact);
	minienv_run(t.w.m);
	compact_get_info(t.compact, &info);
	assert_int_equal(info.state, COMPACT_IDLE);
	assert_true(t.named == 0 || is_there(t.named));
	assert_false(is_there(2));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_a_mark_is_enough),
		T(test_walks_until_nothing_is_found),
		T(test_held),
		T(test_a_dropped_walk_does_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
