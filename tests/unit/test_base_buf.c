/* Buffers, bodies, errors, metrics, the real file system, failing memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/daemon.h"
#include "common/base/env.h"
#include "common/base/errbuf.h"
#include "common/base/mem.h"
#include "common/base/metrics.h"
#include "tests/lib/fault.h"

static void test_buf_grows(void **state)
{
	struct buf b;
	uint8_t *p;
	size_t len;

	(void)state;
	buf_init(&b, 0);
	for (int i = 0; i < 10000; i++)
		buf_printf(&b, "%d,", i);
	buf_puts(&b, "end");
	assert_int_equal(b.err, 0);
	assert_int_equal(b.len, 10 * 2 + 90 * 3 + 900 * 4 + 9000 * 5 + 3);
	assert_memory_equal(b.data, "0,1,2,", 6);
	p = buf_take(&b, &len);
	assert_memory_equal(p + len - 8, "9999,end", 8);
	mem_free(p);
	assert_int_equal(b.len, 0);
	buf_add(&b, "x", 1);
	assert_int_equal(b.len, 1);
	buf_reset(&b);
	assert_int_equal(b.len, 0);
	buf_fini(&b);
}

static void test_buf_numbers(void **state)
{
	static const uint64_t v[] = { 0, 9, 10, 12345, UINT32_MAX, UINT64_MAX };
	char want[32];
	struct buf b;

	(void)state;
	buf_init(&b, 0);
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		buf_reset(&b);
		buf_add_u64(&b, v[i]);
		buf_add(&b, "", 1);
		(void)snprintf(want, sizeof(want), "%llu",
			       (unsigned long long)v[i]);
		assert_string_equal((char *)b.data, want);
	}
	buf_fini(&b);
}

static void test_buf_max_is_sticky(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	buf_add(&b, "0123456789", 10);
	assert_int_equal(b.err, 0);
	buf_printf(&b, "%s", "");
	assert_int_equal(b.err, 0);
	buf_add(&b, "x", 1);
	assert_int_equal(b.err, -EMSGSIZE);
	buf_add(&b, "", 0);
	assert_null(buf_reserve(&b, 0));
	assert_int_equal(b.len, 10);
	buf_reset(&b);
	buf_printf(&b, "%s", "12345678901");
	assert_int_equal(b.err, -EMSGSIZE);
	assert_int_equal(b.len, 0);
	buf_reset(&b);
	buf_printf(&b, "%s", "1234567890");
	assert_int_equal(b.err, 0);
	assert_int_equal(b.len, 10);
	buf_fini(&b);
	buf_init(&b, 0);
	assert_null(buf_reserve(&b, SIZE_MAX));
	assert_int_not_equal(b.err, 0);
	buf_fini(&b);
}

static void test_memory(void **state)
{
	uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) *
		       (uint64_t)sysconf(_SC_PAGESIZE);

	(void)state;
	assert_true(daemon_memory() > 16u << 20);
	assert_true(daemon_memory() <= all);
}

static void test_body(void **state)
{
	static const size_t caps[] = { 0, 1, 100, 65535, 65536, 100000,
				       1u << 20, (2u << 20) + 1, BODY_MAX };
	struct body *b[20];

	(void)state;
	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
		b[0] = body_new(caps[i]);
		assert_non_null(b[0]);
		assert_true(b[0]->cap >= caps[i]);
		assert_int_equal(b[0]->len, 0);
		if (caps[i] >= 65536)
			assert_int_equal((uintptr_t)b[0]->data % 4096, 0);
		memset(b[0]->data, 0xa5, caps[i]);
		assert_ptr_equal(body_ref(b[0]), b[0]);
		body_unref(b[0]);
		assert_int_equal(b[0]->refs, 1);
		body_unref(b[0]);
	}
	assert_null(body_new(BODY_MAX + 1));
	assert_null(body_new(SIZE_MAX));
	body_unref(NULL);
	/* more than the pool keeps, twice */
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 20; i++) {
			b[i] = body_new(BODY_MAX);
			assert_non_null(b[i]);
			assert_int_equal(b[i]->refs, 1);
			b[i]->data[BODY_MAX - 1] = 1;
		}
		for (int i = 0; i < 20; i++)
			body_unref(b[i]);
	}
}

static void *body_thread(void *arg)
{
	struct body *b = arg;

	for (int i = 0; i < 10000; i++)
		body_unref(body_ref(b));
	body_unref(b);
	return NULL;
}

static void test_body_threads(void **state)
{
	struct body *b = body_new(BODY_MAX);
	pthread_t t[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, body_thread, body_ref(b));
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(b->refs, 1);
	body_unref(b);
}

static void test_errbuf(void **state)
{
	struct errbuf e;
	char big[400];

	(void)state;
	assert_int_equal(errbuf_set(&e, -EIO, "disk %d", 1), -EIO);
	assert_int_equal(errbuf_prefix(&e, -EIO, "open %s", "x"), -EIO);
	assert_string_equal(e.text, "open x: disk 1");
	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	(void)errbuf_prefix(&e, 0, "%s", big);
	(void)errbuf_prefix(&e, 0, "b");
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
	assert_int_equal(errbuf_set(NULL, -1, "x"), -1);
}

static void test_mem(void **state)
{
	char *s = mem_printf("%s-%d", "abc", 7);

	(void)state;
	assert_string_equal(s, "abc-7");
	mem_free(s);
	s = mem_dup("a\0b", 3);
	assert_memory_equal(s, "a\0b", 4);
	mem_free(s);
	assert_null(mem_calloc(SIZE_MAX, 16));
	assert_null(mem_dup("", SIZE_MAX));
	s = mem_calloc(0, 5);
	assert_non_null(s);
	mem_free(s);
}

/* What a request may do; reports the first failure and leaks nothing. */
static int mem_scenario(void)
{
	struct body *body = NULL;
	char *a = NULL, *b = NULL;
	struct buf buf;
	int rv = -ENOMEM;

	buf_init(&buf, 0);
	a = mem_strdup("a");
	if (a == NULL)
		goto out;
	b = mem_printf("%s", "b");
	if (b == NULL)
		goto out;
	for (int i = 0; i < 200; i++)
		buf_puts(&buf, "some text");
	if (buf.err != 0)
		goto out;
	body = body_new(100000);
	if (body == NULL)
		goto out;
	rv = 0;
out:
	mem_free(a);
	mem_free(b);
	buf_fini(&buf);
	body_unref(body);
	return rv;
}

static void test_mem_faults(void **state)
{
	int points = 0;

	(void)state;
	for (int n = 1; n <= 3; n++) {
		for (int at = 0;; at++) {
			int rv;

			fault_set(at, n);
			rv = mem_scenario();
			fault_clear();
			assert_int_equal(rv, fault_fired() ? -ENOMEM : 0);
			if (!fault_fired())
				break;
			points++;
		}
	}
	assert_true(points > 6);
}

static void test_metrics(void **state)
{
	static struct metric a = { "leofs_a", "A.", "op=\"x\"",
				   METRIC_COUNTER, 0, NULL };
	static struct metric b = { "leofs_b", "B.", "", METRIC_GAUGE, 0, NULL };
	static struct metric a2 = { "leofs_a", "A.", "op=\"y\"",
				    METRIC_COUNTER, 0, NULL };
	static struct histo h = { .name = "leofs_h_seconds", .help = "H.",
				  .labels = "" };
	struct buf out;
	char *text;

	(void)state;
	metric_register(&a);
	metric_register(&b);
	metric_register(&a2);
	metric_register(&a2);
	histo_register(&h);
	metric_add(&a, 3);
	metric_add(&a2, 4);
	metric_set(&b, 9);
	histo_add(&h, 0);
	histo_add(&h, 1);
	histo_add(&h, 1000);
	histo_add(&h, UINT64_MAX / 2);
	buf_init(&out, 0);
	metrics_write(&out);
	buf_add(&out, "", 1);
	text = (char *)out.data;
	assert_non_null(strstr(text, "# HELP leofs_a A.\n"
				     "# TYPE leofs_a counter\n"
				     "leofs_a{op=\"x\"} 3\n"
				     "leofs_a{op=\"y\"} 4\n"));
	assert_non_null(strstr(text, "# TYPE leofs_b gauge\nleofs_b 9\n"));
	assert_non_null(strstr(text,
			       "leofs_h_seconds_bucket{le=\"1e-06\"} 1\n"));
	assert_non_null(strstr(text,
			       "leofs_h_seconds_bucket{le=\"2e-06\"} 2\n"));
	assert_non_null(strstr(text,
			       "leofs_h_seconds_bucket{le=\"+Inf\"} 4\n"));
	assert_non_null(strstr(text, "leofs_h_seconds_count 4\n"));
	buf_fini(&out);
}

/* --- vfs --- */

static int count_names(void *arg, const char *name)
{
	assert_true(name[0] != '.');
	++*(int *)arg;
	return 0;
}

static void test_vfs(void **state)
{
	enum { NIOV = 600 };
	struct vfs *v = vfs_posix();
	char dir[] = "/tmp/base-vfs-XXXXXX";
	char path[64], to[64];
	struct vfs_file *f;
	struct iovec iov[NIOV];
	char data[NIOV * 7], back[NIOV * 7 + 10];
	uint64_t size, total, avail;
	int names = 0;
	ssize_t n;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/a", dir);
	(void)snprintf(to, sizeof(to), "%s/b", dir);
	assert_int_equal(v->ops->open(v, path, O_RDONLY, 0, &f), -ENOENT);
	assert_int_equal(v->ops->open(v, path, O_RDWR | O_CREAT | O_EXCL,
				      0600, &f), 0);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)('a' + i % 23);
	for (int i = 0; i < NIOV; i++)
		iov[i] = (struct iovec){ data + i * 7, i % 9 == 0 ? 0 : 7 };
	assert_int_equal(f->vfs->ops->pwritev(f, iov, NIOV, 100), 0);
	assert_int_equal(v->ops->size(f, &size), 0);
	assert_int_equal(size, 100 + (NIOV - (NIOV + 8) / 9) * 7);
	iov[0] = (struct iovec){ data, sizeof(data) };
	assert_int_equal(v->ops->pwritev(f, iov, 1, 0), 0);
	assert_int_equal(v->ops->fdatasync(f), 0);
	assert_int_equal(v->ops->fsync(f), 0);
	n = v->ops->pread(f, back, sizeof(back), 0, 0);
	assert_int_equal(n, sizeof(data));
	assert_memory_equal(back, data, sizeof(data));
	n = v->ops->pread(f, back, 1000, 7, VFS_NOWAIT);
	assert_true(n == 1000 || n == -EAGAIN);
	n = v->ops->pread(f, back, sizeof(back), 0, VFS_NOWAIT);
	assert_int_equal(n, -EAGAIN); /* the end is for a waiting read */
	assert_int_equal(v->ops->truncate(f, 5), 0);
	assert_int_equal(v->ops->pread(f, back, 10, 0, 0), 5);
	v->ops->close(f);
	v->ops->close(NULL);
	assert_int_equal(v->ops->rename(v, path, to), 0);
	assert_int_equal(v->ops->mkdir(v, path, 0700), 0);
	assert_int_equal(v->ops->mkdir(v, path, 0700), -EEXIST);
	assert_int_equal(v->ops->sync_dir(v, dir), 0);
	assert_int_equal(v->ops->list(v, dir, count_names, &names), 0);
	assert_int_equal(names, 2);
	assert_int_equal(v->ops->space(v, dir, &total, &avail), 0);
	assert_true(total >= avail && total > 0);
	assert_int_equal(v->ops->unlink(v, to), 0);
	assert_int_equal(v->ops->unlink(v, to), -ENOENT);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(v->ops->list(v, dir, count_names, &names), -ENOENT);
}

static void test_body_trim(void **state)
{
	struct body *b[3];

	(void)state;
	body_trim(); /* what other tests left */
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 3; i++) {
			b[i] = body_new(BODY_MAX);
			assert_non_null(b[i]);
			assert_false(b[i]->hashed);
			b[i]->hashed = true; /* must not outlive the body */
		}
		for (int i = 0; i < 3; i++)
			body_unref(b[i]);
		assert_int_equal(body_kept(), 3 * BODY_MAX);
		body_trim(); /* the sanitizer counts what it forgets */
		assert_int_equal(body_kept(), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buf_grows),
		cmocka_unit_test(test_buf_numbers),
		cmocka_unit_test(test_buf_max_is_sticky),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_body),
		cmocka_unit_test(test_body_threads),
		cmocka_unit_test(test_errbuf),
		cmocka_unit_test(test_mem),
		cmocka_unit_test(test_mem_faults),
		cmocka_unit_test(test_metrics),
		cmocka_unit_test(test_vfs),
		cmocka_unit_test(test_body_trim),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
