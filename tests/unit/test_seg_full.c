/*
 * The room that a log takes: a disk that becomes full, segments that are freed.
 */
#include "tests/unit/segfix.h"

#include <errno.h>
#include <fcntl.h>

#include "common/base/mem.h"

/* --- a disk that becomes full --- */

static struct {
	struct crashfs *fs;
	unsigned left, given; /* times that the owner can help, has helped */
	bool late;            /* it did just before it was asked */
} owner;

static uint64_t fs_capacity(uint64_t add)
{
	struct crashfs_faults faults = { 0 };
	struct crashfs_stats st;

	crashfs_get_stats(owner.fs, &st);
	faults.capacity = st.used + add;
	crashfs_set_faults(owner.fs, &faults);
	return faults.capacity;
}

static bool owner_gives(void *arg)
{
	(void)arg;
	if (owner.left == 0)
		return false;
	owner.left--;
	owner.given++;
	(void)fs_capacity(40000);
	return !owner.late;
}

/* Appends until the head gives up, or max; how many. */
static unsigned fill_disk(struct fixture *f, unsigned max)
{
	unsigned n = 0;

	while (n < max && fatal_calls == 0) {
		seglog_append(&f->l, 900);
		minienv_run(f->m);
		n += fatal_calls == 0;
	}
	return n;
}

/*
 * Wherever the disk becomes full, the owner is asked before anything fails, as
 * often as it can help; then the head stops, and nothing acknowledged is lost.
 */
static void full_at(struct fixture *f, uint64_t left, size_t segment)
{
	size_t acked;
	unsigned n;

	owner.left = 3;
	owner.given = 0;
	fatal_calls = 0;
	f->l.config.no_space = owner_gives;
	f->l.config.segment_size = segment;
	f_open(f);
	seglog_append(&f->l, 10);
	f_run(f);
	(void)fs_capacity(left);
	seg_fatal_hook = note_fatal;
	n = fill_disk(f, 1000);
	assert_int_equal(fatal_calls, 1);
	assert_int_equal(owner.given, 3);
	assert_true(n >= 3 * 40000 / 2048); /* 1028 each, and new segments */
	acked = f->l.acked;
	seglog_abandon(&f->l);
	crashfs_set_faults(f->fs, &(struct crashfs_faults){ 0 });
	crashfs_crash(f->fs, left + 7);
	f_open(f);
	assert_true(f->l.n >= acked);
	f_read_all(f);
	seglog_close(&f->l);
}

static void test_owner_helps_a_full_disk(void **state)
{
	struct fixture *f = *state;

	owner.fs = f->fs;
	for (uint64_t left = 1; left < 20000; left += 611)
		full_at(f, left, left % 2 == 0 ? 16384 : 30000);
}

/* Another head was given it between the write that failed and the question. */
static void test_owner_has_just_helped(void **state)
{
	struct fixture *f = *state;

	owner.fs = f->fs;
	owner.late = true;
	for (uint64_t left = 1; left < 20000; left += 611)
		full_at(f, left, left % 2 == 0 ? 16384 : 30000);
	owner.late = false;
}

static void test_bulk_on_a_full_disk(void **state)
{
	struct fixture *f = *state;

	owner.fs = f->fs;
	f->l.config.bulk = true;
	for (uint64_t left = 1; left < 20000; left += 1777)
		full_at(f, left, 16384);
}

/* A pool file that could not be filled is a segment as large as it became. */
static void test_part_of_a_pool_file(void **state)
{
	struct fixture *f = *state;

	owner.fs = f->fs;
	owner.left = 0;
	f->l.config.segment_size = 3u << 20;
	f_open(f);
	(void)fs_capacity((2u << 20) + 9000);
	seglog_append(&f->l, 10);
	f_run(f);
	minienv_advance(f->m, SEG_POOL_REST_NS);
	(void)fs_capacity(0);
	seg_fatal_hook = note_fatal;
	assert_true(fill_disk(f, 5000) > (2u << 20) / 1100);
	assert_int_equal(fatal_calls, 1);
	seglog_abandon(&f->l);
	crashfs_set_faults(f->fs, &(struct crashfs_faults){ 0 });
	f_open(f);
	f_read_all(f);
}

/* --- freeing --- */

struct one_free {
	struct seg_free f;
	int status, calls;
};

static void one_free_done(struct seg_free *f, int status)
{
	struct one_free *o = CONTAINER_OF(f, struct one_free, f);

	o->status = status;
	o->calls++;
}

static int free_gen(struct fixture *f, uint64_t gen)
{
	struct one_free o = { .f = { .gen = gen, .done = one_free_done } };

	seg_free_segment(f->l.port, &o.f);
	assert_int_equal(o.calls, 0); /* never inside the call */
	minienv_run(f->m);
	assert_int_equal(o.calls, 1);
	assert_true(seg_port_idle(f->l.port));
	return o.status;
}

static void test_free_segment(void **state)
{
	struct fixture *f = *state;
	struct seg_info *infos;
	struct seg_stats a, b;
	uint64_t newest;
	size_t n, k;

	f_open(f);
	assert_int_equal(seg_segments(f->l.head, &infos, &n), 0);
	assert_int_equal(n, 0);
	assert_null(infos);
	for (int i = 0; i < 100; i++)
		seglog_append(&f->l, 500);
	f_run(f);
	newest = f->l.items[99].pos.gen;
	assert_int_equal(free_gen(f, newest), -EBUSY);
	assert_int_equal(free_gen(f, newest + 1), -ENOENT);
	assert_int_equal(seg_segments(f->l.head, &infos, &n), 0);
	assert_int_equal(n, newest - 1); /* from 1, and not the newest */
	assert_int_equal(infos[1].gen, 2);
	assert_int_equal(infos[1].bytes, f->l.config.segment_size);
	mem_free(infos);
	seg_head_stats(f->l.head, &a);
	seglog_pass(&f->l);
	assert_true(seglog_free_one(&f->l, 1));
	f_run(f);
	assert_string_equal(f->l.bad, "");
	seg_head_stats(f->l.head, &b);
	assert_int_equal(b.segments, a.segments - 1);
	assert_int_equal(b.bytes, a.bytes - f->l.config.segment_size);
	assert_int_equal(free_gen(f, 2), -ENOENT);
	assert_false(file_is_there(f, 2));
	assert_int_equal(seg_read(f->l.head, 2, 0, &(char){ 0 }, 1, 0),
			 -ENOENT);
	assert_int_equal(seg_read(f->l.head, 2, 0, &(char){ 0 }, 1,
				  VFS_NOWAIT), -ENOENT);
	f_read_all(f);
	/* all that is sealed, in one go */
	for (k = 0; seglog_free_one(&f->l, 0); k++)
		continue;
	assert_int_equal(k, n - 1);
	f_run(f);
	f_reopen(f);
	f_read_all(f);
	assert_int_equal(f->l.found, 100);
	assert_int_equal(f->l.from, 0); /* as the last START says */
	seglog_append(&f->l, 10);
	f_run(f);
	f_reopen(f);
	assert_int_equal(f->l.from, newest);
	assert_int_equal(seg_segments(f->l.head, &infos, &n), 0);
	assert_int_equal(infos[0].gen, newest);
	mem_free(infos);
}

static void test_free_twice_at_once(void **state)
{
	struct fixture *f = *state;
	struct one_free a = { .f = { .gen = 1, .done = one_free_done } };
	struct one_free b = a;

	fill_some(f, 100);
	f_open(f);
	seg_free_segment(f->l.port, &a.f);
	seg_free_segment(f->l.port, &b.f);
	minienv_run(f->m);
	assert_int_equal(a.calls + b.calls, 2);
	assert_int_equal(a.status, 0);
	assert_int_equal(b.status, -ENOENT);
}

/* The head is closed when FREED is durable and the file still there. */
static void test_free_then_close(void **state)
{
	struct fixture *f = *state;
	struct one_free o = { .f = { .gen = 1, .done = one_free_done } };

	fill_some(f, 100);
	f_open(f);
	f->l.need = 3;
	seg_free_segment(f->l.port, &o.f);
	seg_port_kick(f->l.port);
	seg_head_close(f->l.head);
	f->l.head = NULL;
	minienv_run(f->m);
	assert_int_equal(o.calls, 1);
	assert_int_equal(o.status, -ECANCELED);
	assert_true(file_is_there(f, 1));
	seg_port_free(f->l.port);
	f->l.port = NULL;
	f_open(f); /* no flush may come on a full disk */
	assert_int_equal(seg_read(f->l.head, 1, 0, &(char){ 0 }, 1, 0),
			 -ENOENT);
	assert_false(file_is_there(f, 1));
}

/* What a crash left behind the log's end: its generation is not used again. */
static void test_file_behind_the_end(void **state)
{
	struct fixture *f = *state;
	struct vfs *vfs = crashfs_vfs(f->fs);
	struct vfs_file *file;

	fill_some(f, 1);
	assert_int_equal(vfs->ops->open(vfs, "log/0000000000000002.seg",
					O_RDWR | O_CREAT, 0600, &file), 0);
	vfs->ops->close(file);
	f_open(f);
	assert_true(file_is_there(f, 2));
	f_reopen(f);
	assert_true(file_is_there(f, 2));
	seglog_append(&f->l, 10);
	f_run(f);
	assert_int_equal(f->l.items[1].pos.gen, 3);
	assert_false(file_is_there(f, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_owner_helps_a_full_disk),
		T(test_owner_has_just_helped),
		T(test_bulk_on_a_full_disk),
		T(test_part_of_a_pool_file),
		T(test_free_segment),
		T(test_free_twice_at_once),
		T(test_free_then_close),
		T(test_file_behind_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
