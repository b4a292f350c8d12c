/* Appends that wait for no sync, and what syncs them. */
#include "tests/unit/segfix.h"

/* The machine loses its power now. */
static void f_cut(struct fixture *f)
{
	seglog_abandon(&f->l);
	crashfs_crash(f->fs, 7);
	minienv_free(f->m);
	f->m = minienv_new(crashfs_vfs(f->fs), 1);
	f_open(f);
}

/* They are told of without a sync, which comes by itself a moment later. */
static void test_loose(void **state)
{
	struct fixture *f = *state;
	uint64_t syncs;

	f_open(f);
	seglog_append(&f->l, 10);
	f_run(f);
	assert_false(seg_head_is_loose(f->l.head));
	syncs = f_stats(f).syncs;
	for (int i = 0; i < 5; i++) {
		seglog_append_loose(&f->l, 100);
		minienv_run(f->m);
		assert_int_equal(f->l.told, f->l.n);
		assert_true(seg_head_is_loose(f->l.head));
		minienv_advance(f->m, SEG_LOOSE_NS / 8);
	}
	assert_int_equal(f->l.acked, 1);
	assert_int_equal(f_stats(f).syncs, syncs);
	minienv_advance(f->m, SEG_LOOSE_NS / 2);
	assert_int_equal(f_stats(f).syncs, syncs + 1);
	assert_false(seg_head_is_loose(f->l.head));
	f->l.acked = f->l.told;
	f_cut(f);
	assert_int_equal(f->l.n, 6);
}

/* However many come, none waits longer for it. */
static void test_loose_stream(void **state)
{
	struct fixture *f = *state;
	uint64_t syncs, at = 0;

	f_open(f);
	syncs = f_stats(f).syncs;
	for (int i = 0; i < 400; i++) {
		seglog_append_loose(&f->l, 10);
		minienv_run(f->m);
		if (f_stats(f).syncs != syncs)
			at = 0;
		syncs = f_stats(f).syncs;
		assert_true(at <= SEG_LOOSE_NS);
		minienv_advance(f->m, 1000000);
		at += 1000000;
	}
	assert_in_range(syncs, 400 / 51, 400 / 49 + 4);
}

/* One that waits takes all before it along; then nothing is loose. */
static void test_loose_then_firm(void **state)
{
	struct fixture *f = *state;

	f_open(f);
	seglog_append_loose(&f->l, 100);
	minienv_run(f->m);
	seglog_append_loose(&f->l, 100);
	seglog_append(&f->l, 100);
	seglog_append_loose(&f->l, 100); /* in the same batch */
	minienv_run(f->m);
	assert_int_equal(f->l.acked, 3);
	assert_false(seg_head_is_loose(f->l.head));
	f_cut(f);
	assert_true(f->l.n >= 3);
}

static void test_loose_lost(void **state)
{
	struct fixture *f = *state;

	f_open(f);
	seglog_append(&f->l, 100);
	f_run(f);
	for (int i = 0; i < 50; i++) {
		seglog_append_loose(&f->l, 100);
		minienv_run(f->m);
	}
	assert_int_equal(f->l.told, 51);
	f_cut(f); /* compares: a prefix, with the first one */
	assert_in_range(f->l.n, 1, 50);
	seglog_append(&f->l, 100);
	f_run(f);
	f_cut(f);
}

/* Of the process alone nothing is lost. */
static void test_loose_killed(void **state)
{
	struct fixture *f = *state;

	f_open(f);
	for (int i = 0; i < 50; i++) {
		seglog_append_loose(&f->l, 1000);
		minienv_run(f->m);
	}
	f->l.acked = f->l.told;
	seglog_abandon(&f->l);
	f_open(f);
	assert_int_equal(f->l.n, 50);
}

/* SEG_NONE that waits syncs at once; a loose one waits for the next sync. */
static void test_sync_request(void **state)
{
	struct fixture *f = *state;
	uint64_t seq, syncs;

	f_open(f);
	seglog_sync(&f->l, false); /* nothing was ever written */
	seglog_sync(&f->l, true);
	f_run(f);
	seglog_append_loose(&f->l, 100);
	seglog_sync(&f->l, true);
	minienv_run(f->m);
	assert_int_equal(f->l.acked, 0);
	assert_int_equal(f->l.pending, 1);
	seglog_append_loose(&f->l, 100); /* passes it */
	minienv_run(f->m);
	assert_int_equal(f->l.told, 2);
	assert_int_equal(f->l.pending, 1);
	minienv_advance(f->m, SEG_LOOSE_NS);
	assert_int_equal(f->l.pending, 0);
	assert_int_equal(f->l.acked, 1);

	minienv_advance(f->m, SEG_LOOSE_NS); /* MARK */
	seglog_sync(&f->l, true); /* behind it alone */
	minienv_run(f->m);
	minienv_advance(f->m, SEG_LOOSE_NS);
	assert_int_equal(f->l.pending, 0);
	seq = seg_head_last_seq(f->l.head);
	seglog_append_loose(&f->l, 100);
	seglog_sync(&f->l, true);
	minienv_run(f->m);
	syncs = f_stats(f).syncs;
	seglog_sync(&f->l, false);
	minienv_run(f->m);
	assert_int_equal(f_stats(f).syncs, syncs + 1);
	assert_int_equal(f->l.pending, 0);
	assert_int_equal(f->l.acked, 3);
	assert_int_equal(seg_head_last_seq(f->l.head), seq + 1); /* no record */
	f_cut(f);
	assert_int_equal(f->l.n, 3);
}

/* What waits for a sync is done when the head closes. */
static void test_loose_close(void **state)
{
	struct fixture *f = *state;

	f_open(f);
	seglog_append_loose(&f->l, 100);
	seglog_sync(&f->l, true);
	minienv_run(f->m);
	assert_int_equal(f->l.pending, 1);
	seg_head_close(f->l.head);
	f->l.head = NULL;
	minienv_run(f->m);
	assert_int_equal(f->l.pending, 0);
	assert_int_equal(f->l.acked, 1);
	f_cut(f);
	assert_int_equal(f->l.n, 1);
}

/* The sync that comes by itself fails: as any other. */
static void test_loose_sync_fails(void **state)
{
	struct fixture *f = *state;
	struct crashfs_faults faults = { .fail_sync_at = 1 };
	void (*hook)(const char *, int) = seg_fatal_hook;

	f_open(f);
	seglog_append(&f->l, 100);
	f_run(f);
	seg_fatal_hook = note_fatal;
	crashfs_set_faults(f->fs, &faults);
	seglog_append_loose(&f->l, 100);
	seglog_sync(&f->l, true);
	minienv_run(f->m);
	assert_int_equal(fatal_calls, 0);
	assert_int_equal(f->l.told, 2);
	minienv_advance(f->m, SEG_LOOSE_NS);
	assert_int_equal(fatal_calls, 1);
	assert_int_equal(f->l.acked, 1);
	seglog_append_loose(&f->l, 100);
	minienv_advance(f->m, SEG_LOOSE_NS);
	assert_int_equal(f->l.told, 2);
	assert_int_equal(fatal_calls, 1);
	seg_fatal_hook = hook;
	faults.fail_sync_at = 0;
	crashfs_set_faults(f->fs, &faults);
	f_cut(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_loose),
		T(test_loose_stream),
		T(test_loose_then_firm),
		T(test_loose_lost),
		T(test_loose_killed),
		T(test_sync_request),
		T(test_loose_close),
		T(test_loose_sync_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
