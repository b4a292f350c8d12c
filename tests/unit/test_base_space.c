/* The file that is kept on a disk whose free space the test says. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/space.h"
#include "common/base/vfs_dir.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"

#define MIB ((uint64_t)1 << 20)
#define TOTAL (8 * MIB) /* 4 are the reserve, of which 1 is the file */
#define LOOK 100000000u

static struct {
	struct crashfs *fs;
	struct vfs_ops ops; /* of it, but for two */
	uint64_t avail;
	bool refuses;
	unsigned asked;
	struct minienv *m;
	struct space s;
} t;

static int disk_space(struct vfs *vfs, const char *path, uint64_t *ret_total,
		      uint64_t *ret_avail)
{
	(void)vfs;
	(void)path;
	*ret_total = TOTAL;
	*ret_avail = t.avail;
	return 0;
}

static int disk_allocate(struct vfs_file *f, uint64_t len)
{
	t.asked++;
	return t.refuses ? -ENOSPC : f->vfs->ops->truncate(f, len);
}

static bool is_kept(void)
{
	struct vfs *vfs = crashfs_vfs(t.fs);
	uint64_t size = 0;
	struct vfs_file *f;

	if (vfs->ops->open(vfs, "dir/reserve", O_RDONLY, 0, &f) != 0)
		return false;
	assert_int_equal(vfs->ops->size(f, &size), 0);
	vfs->ops->close(f);
	assert_int_equal(size, MIB);
	return true;
}

/* So much is free; is the file there after some looks? */
static bool kept_with(uint64_t avail)
{
	t.avail = avail;
	minienv_advance(t.m, 3 * LOOK);
	return is_kept();
}

static int setup(void **state)
{
	struct vfs *vfs;

	(void)state;
	memset(&t, 0, sizeof t);
	t.fs = crashfs_new(1);
	vfs = crashfs_vfs(t.fs);
	t.ops = *vfs->ops;
	t.ops.space = disk_space;
	t.ops.allocate = disk_allocate;
	vfs->ops = &t.ops;
	t.avail = TOTAL;
	assert_int_equal(vfs_make_dir(vfs, "dir"), 0);
	t.m = minienv_new(vfs, 1);
	space_init(&t.s);
	assert_int_equal(space_open(&t.s, minienv_env(t.m), "dir", 4, 64 * MIB),
			 0);
	space_look(&t.s);
	space_start(&t.s);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	space_stop(&t.s);
	space_fini(&t.s);
	minienv_free(t.m);
	crashfs_free(t.fs);
	return 0;
}

static void test_kept(void **state)
{
	(void)state;
	assert_false(is_kept());
	assert_true(kept_with(TOTAL));
	assert_true(kept_with(2 * MIB));
	assert_true(t.s.full);
	assert_false(kept_with(MIB - 1));
	assert_false(kept_with(3 * MIB));
	assert_true(kept_with(5 * MIB));
	assert_false(t.s.full);
	/* a head asks: once it gets something */
	assert_true(space_give(&t.s));
	assert_false(is_kept());
	assert_false(space_give(&t.s));
}

/* Not at every look, but when the disk was full, and is not any more. */
static void test_made_after_it_was_refused(void **state)
{
	(void)state;
	t.refuses = true; /* somebody was faster */
	assert_false(kept_with(TOTAL));
	assert_int_equal(t.asked, 1);
	t.refuses = false;
	assert_false(kept_with(MIB));
	assert_true(t.s.full);
	assert_true(kept_with(TOTAL));
	assert_int_equal(t.asked, 2);
}

/* What is above the reserve. */
static void test_room(void **state)
{
	(void)state;
	assert_false(kept_with(4 * MIB - 1)); /* half of TOTAL is the reserve */
	assert_int_equal(space_room(&t.s), 0);
	assert_false(kept_with(2 * MIB));
	assert_int_equal(space_room(&t.s), 0);
	assert_true(kept_with(7 * MIB));
	/* the file is part of the reserve */
	assert_int_equal(space_room(&t.s), 4 * MIB);
	t.s.total = 0; /* before the first look */
	assert_int_equal(space_room(&t.s), UINT64_MAX);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_kept),
		T(test_made_after_it_was_refused),
		T(test_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
