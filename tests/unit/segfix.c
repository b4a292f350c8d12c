#include "tests/unit/segfix.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

int fatal_calls;

void note_fatal(const char *what, int err)
{
	(void)what;
	(void)err;
	fatal_calls++;
}

int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fs = crashfs_new(1);
	f->m = minienv_new(crashfs_vfs(f->fs), 1);
	seglog_init(&f->l, "log");
	*state = f;
	fatal_calls = 0;
	return 0;
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	if (f->l.head != NULL)
		seglog_abandon(&f->l);
	seglog_fini(&f->l);
	minienv_free(f->m);
	crashfs_free(f->fs);
	free(f);
	return 0;
}

void f_open(struct fixture *f)
{
	int rv = seglog_open(&f->l, minienv_env(f->m));

	assert_string_equal(f->l.bad, "");
	assert_int_equal(rv, 0);
}

void f_reopen(struct fixture *f)
{
	size_t n = f->l.n;

	seglog_close(&f->l);
	f_open(f);
	assert_int_equal(f->l.n, n);
}

void f_run(struct fixture *f)
{
	minienv_run(f->m);
	assert_int_equal(f->l.pending, 0);
	assert_int_equal(f->l.acked, f->l.n);
}

void f_read_all(struct fixture *f)
{
	for (size_t i = 0; i < f->l.n; i++)
		assert_int_equal(seglog_read(&f->l, i), 0);
}

void fill_some(struct fixture *f, int n)
{
	f_open(f);
	for (int i = 0; i < n; i++) {
		seglog_append(&f->l, 300);
		if (i % 3 == 0)
			f_run(f);
	}
	f_run(f);
	seglog_close(&f->l);
}

struct seg_stats f_stats(struct fixture *f)
{
	struct seg_stats s;

	seg_head_stats(f->l.head, &s);
	return s;
}

bool file_is_there(struct fixture *f, uint64_t gen)
{
	struct vfs *vfs = crashfs_vfs(f->fs);
	struct vfs_file *file;
	char path[64];

	(void)snprintf(path, sizeof(path), "log/%016llx.seg",
		       (unsigned long long)gen);
	if (vfs->ops->open(vfs, path, O_RDONLY, 0, &file) != 0)
		return false;
	vfs->ops->close(file);
	return true;
}
