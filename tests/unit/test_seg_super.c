/* The super block: read, written, damaged, cut off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <cmocka.h>

#include "common/seg/super.h"
#include "tests/lib/crashfs.h"

static const struct super one = {
	.store = { 1, 2 }, .cluster = { 3, 4 }, .raft_id = 5,
	.role = SUPER_ROLE_STORE,
};

static int setup(void **state)
{
	struct crashfs *fs = crashfs_new(1);
	struct vfs *vfs = crashfs_vfs(fs);

	*state = fs;
	assert_int_equal(vfs->ops->mkdir(vfs, "d", 0700), 0);
	return vfs->ops->sync_dir(vfs, ".");
}

static int teardown(void **state)
{
	crashfs_free(*state);
	return 0;
}

static void test_write_read(void **state)
{
	struct vfs *vfs = crashfs_vfs(*state);
	struct errbuf e = { "" };
	struct super s;
	uint8_t id[16];

	assert_int_equal(super_read(vfs, "d", &s, &e), -ENOENT);
	assert_int_equal(super_write(vfs, "d", &one), 0);
	assert_int_equal(super_read(vfs, "d", &s, &e), 0);
	assert_int_equal(s.store.hi, 1);
	assert_int_equal(s.store.lo, 2);
	assert_int_equal(s.cluster.hi, 3);
	assert_int_equal(s.cluster.lo, 4);
	assert_int_equal(s.raft_id, 5);
	assert_int_equal(s.role, SUPER_ROLE_STORE);
	super_store_bytes(&s, id);
	assert_memory_equal(id, "\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2", 16);
}

static void put_byte(struct vfs *vfs, uint64_t off, uint8_t byte)
{
	struct iovec iov = { &byte, 1 };
	struct vfs_file *f;

	assert_int_equal(vfs->ops->open(vfs, "d/super", O_RDWR, 0, &f), 0);
	assert_int_equal(vfs->ops->pwritev(f, &iov, 1, off), 0);
	vfs->ops->close(f);
}

static void test_other_format(void **state)
{
	struct vfs *vfs = crashfs_vfs(*state);
	struct errbuf e = { "" };
	struct super s;

	assert_int_equal(super_write(vfs, "d", &one), 0);
	put_byte(vfs, 11, 9);
	assert_int_equal(super_read(vfs, "d", &s, &e), -EINVAL);
	assert_string_equal(e.text, "d/super has format version 9, this "
				    "program knows version 3 only");
	put_byte(vfs, 0, 'X');
	assert_int_equal(super_read(vfs, "d", &s, &e), -EINVAL);
	assert_string_equal(e.text, "d/super is no super block");
}

static void test_begun(void **state)
{
	struct vfs *vfs = crashfs_vfs(*state);
	struct errbuf e = { "" };
	struct super s = one, back;

	assert_int_equal(super_check_log(&s, "d", 0, &e), 0);
	assert_int_equal(super_begin(vfs, "d", &s), 0);
	assert_true(s.begun);
	assert_int_equal(super_read(vfs, "d", &back, &e), 0);
	assert_true(back.begun);
	assert_int_equal(back.raft_id, one.raft_id);
	assert_int_equal(super_check_log(&back, "d", 1, &e), 0);
	assert_int_equal(super_check_log(&back, "d", 0, &e), -EIO);
	assert_string_equal(e.text, "d/log is gone: what was acknowledged "
				    "cannot be told any more");
}

static void test_damaged(void **state)
{
	struct vfs *vfs = crashfs_vfs(*state);
	struct errbuf e = { "" };
	struct super s;

	assert_int_equal(super_write(vfs, "d", &one), 0);
	for (uint64_t off = 12; off < 4096; off += 17) {
		assert_int_equal(crashfs_flip(*state, "d/super", off, 1), 0);
		assert_int_equal(super_read(vfs, "d", &s, &e), -EBADMSG);
		assert_int_equal(crashfs_flip(*state, "d/super", off, 1), 0);
	}
	put_byte(vfs, 4096, 0);
	assert_int_equal(super_read(vfs, "d", &s, &e), -EINVAL);
}

static void test_bad_disk(void **state)
{
	struct vfs *vfs = crashfs_vfs(*state);
	struct crashfs_faults faults = { 0 };
	struct errbuf e = { "" };
	struct super s;

	assert_int_equal(super_write(vfs, "d", &one), 0);
	for (unsigned at = 1; at <= 2; at++) {
		faults.fail_sync_at = at;
		crashfs_set_faults(*state, &faults);
		assert_int_equal(super_write(vfs, "d", &one), -EIO);
	}
	faults = (struct crashfs_faults){ .fail_read_at = 1 };
	crashfs_set_faults(*state, &faults);
	assert_int_equal(super_read(vfs, "d", &s, &e), -EIO);
	assert_int_equal(super_read(vfs, "d", &s, &e), 0);
}

struct power {
	struct crashfs *fs;
	uint64_t states, old, new;
};

/* Before every call of a second write: the disk holds the old or the new. */
static void draw(void *arg)
{
	struct power *p = arg;

	for (int i = 0; i < 50; i++) {
		struct crashfs *image = crashfs_image(p->fs, p->states++);
		struct errbuf e = { "" };
		struct super s = { .raft_id = 0 };
		int rv = super_read(crashfs_vfs(image), "d", &s, &e);

		p->old += rv == 0 && s.raft_id == 5;
		p->new += rv == 0 && s.raft_id == 6;
		crashfs_free(image);
	}
}

static void test_power_cut(void **state)
{
	struct vfs *vfs = crashfs_vfs(*state);
	struct power p = { .fs = *state };
	struct super two = one;

	assert_int_equal(super_write(vfs, "d", &one), 0);
	two.raft_id = 6;
	crashfs_set_hook(*state, draw, &p);
	assert_int_equal(super_write(vfs, "d", &two), 0);
	crashfs_set_hook(*state, NULL, NULL);
	assert_int_equal(p.old + p.new, p.states);
	assert_true(p.old > 0);
	assert_true(p.new > 0);
	/* a left-over temporary file does not matter */
	assert_int_equal(vfs->ops->rename(vfs, "d/super", "d/super.tmp"), 0);
	assert_int_equal(super_write(vfs, "d", &one), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_write_read), T(test_other_format), T(test_damaged),
		T(test_begun),	    T(test_bad_disk),	  T(test_power_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
