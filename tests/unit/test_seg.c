/* Segments on one thread: minienv over crashfs. Seeds are printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <errno.h>
#include <fcntl.h>
#include <cmocka.h>

#include "common/base/mem.h"
#include "common/seg/seg_int.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"
#include "tests/lib/seglog.h"

struct fixture {
	struct crashfs *fs;
	struct minienv *m;
	struct seglog l;
};

static int fatal_calls;

static void note_fatal(const char *what, int err)
{
	(void)what;
	(void)err;
	fatal_calls++;
}

static int setup(void **state)
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

static int teardown(void **state)
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

static void f_open(struct fixture *f)
{
	int rv = seglog_open(&f->l, minienv_env(f->m));

	assert_string_equal(f->l.bad, "");
	assert_int_equal(rv, 0);
}

static void f_reopen(struct fixture *f)
{
	size_t n = f->l.n;

	seglog_close(&f->l);
	f_open(f);
	assert_int_equal(f->l.n, n);
}

static void f_run(struct fixture *f)
{
	minienv_run(f->m);
	assert_int_equal(f->l.pending, 0);
	assert_int_equal(f->l.acked, f->l.n);
}

static void f_read_all(struct fixture *f)
{
	for (size_t i = 0; i < f->l.n; i++)
		assert_int_equal(seglog_read(&f->l, i), 0);
}

static void test_empty(void **state)
{
	struct fixture *f = *state;

	f_open(f);
	assert_int_equal(seg_head_last_seq(f->l.head), 0);
	f_reopen(f);
	assert_int_equal(f->l.n, 0);
	assert_int_equal(seg_read(f->l.head, 1, 0, &(char){ 0 }, 1, 0),
			 -ENOENT);
}

static void test_append_read_reopen(void **state)
{
	struct fixture *f = *state;
	static const size_t lens[] = { 0, 1, 7, 8, 9, 100, 4096, 4097, 5000 };
	uint64_t starts;

	f_open(f);
	for (size_t i = 0; i < sizeof(lens) / sizeof(*lens); i++)
		seglog_append(&f->l, lens[i]);
	assert_int_equal(f->l.acked, 0); /* never inside the call */
	f_run(f);
	f_read_all(f);
	f_reopen(f);
	assert_int_equal(f->l.n, 9);
	f_read_all(f);
	/* nothing was appended: nothing changes */
	uint64_t hash = crashfs_hash(f->fs);

	f_reopen(f);
	assert_int_equal(crashfs_hash(f->fs), hash);
	starts = f->l.starts;
	seglog_append(&f->l, 10);
	f_run(f);
	f_reopen(f);
	assert_int_equal(f->l.starts, starts + 1);
}

static void test_header_bytes(void **state)
{
	uint8_t b[SEG_HEADER_LEN], id[16] = { 1, 2, 3 };
	struct seg_hdr h = { .type = SEG_ENTRY,
			     .flags = 2,
			     .group = 0x0304,
			     .len = 5,
			     .gen = 6,
			     .seq = 7,
			     .epoch = 8,
			     .durable = 6,
			     .a = 9,
			     .b = 10,
			     .id = { 11, 12 },
			     .hash = { 13, 14 },
			     .off = 16,
			     .first = 1 };
	struct seg_hdr back;
	uint64_t seed = seg_seed(id, 6);

	(void)state;
	seg_hdr_encode(&h, seed, b);
	assert_memory_equal(b, "LSR1\x01\x04\x02\x00\x03\x04", 10);
	assert_int_equal(b[23], 5);
	assert_int_equal(b[31], 6);
	assert_int_equal(b[39], 7);
	assert_int_equal(b[55], 6);
	assert_int_equal(b[87], 12);
	assert_int_equal(b[103], 14);
	assert_int_equal(b[111], 16);
	assert_int_equal(b[119], 1);
	assert_true(seg_hdr_decode(b, seed, 6, 16, &back));
	uint8_t again[SEG_HEADER_LEN];

	seg_hdr_encode(&back, seed, again);
	assert_memory_equal(again, b, sizeof(b));
	assert_false(seg_hdr_decode(b, seed, 6, 24, &back));
	assert_false(seg_hdr_decode(b, seg_seed(id, 7), 7, 16, &back));
	for (int i = 0; i < SEG_HEADER_LEN * 8; i++) {
		b[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_false(seg_hdr_decode(b, seed, 6, 16, &back));
		b[i / 8] ^= (uint8_t)(1u << i % 8);
	}
}

static void test_rollover(void **state)
{
	struct fixture *f = *state;
	struct seg_stats st;

	f_open(f);
	for (int i = 0; i < 200; i++) {
		seglog_append(&f->l, 500);
		if (i % 7 == 0)
			f_run(f);
	}
	f_run(f);
	seg_head_stats(f->l.head, &st);
	assert_in_range(st.segments, 8, 12);
	assert_int_equal(st.appended_records, 200);
	assert_int_equal(st.appended_bytes, 200 * 500);
	f_read_all(f);
	f_reopen(f);
	f_read_all(f);
}

static void test_larger_than_segment(void **state)
{
	struct fixture *f = *state;

	f_open(f);
	seglog_append(&f->l, 100);
	seglog_append(&f->l, 100000);
	seglog_append(&f->l, 16 << 20);
	seglog_append(&f->l, 100);
	f_run(f);
	f_read_all(f);
	f_reopen(f);
	assert_int_equal(f->l.n, 4);
	f_read_all(f);
}

static void test_bulk(void **state)
{
	struct fixture *f = *state;

	f->l.config.bulk = true;
	f->l.config.segment_size = 8 << 20;
	f_open(f);
	for (int i = 0; i < 20; i++) {
		seglog_append(&f->l, i % 3 == 0 ? 1000 : (1u << 20) + (unsigned)i);
		if (i % 4 == 0)
			f_run(f);
	}
	f_run(f);
	for (size_t i = 0; i < f->l.n; i++)
		if (f->l.items[i].len >= 1 << 20)
			assert_int_equal((f->l.items[i].pos.off +
					  SEG_HEADER_LEN) %
						 4096,
					 0);
	f_read_all(f);
	f_reopen(f);
	f_read_all(f);
}

/* Bytes that the first START carries beside the fixed part. */
static void add_extra(void *arg, uint64_t gen, struct buf *buf)
{
	(void)arg;
	assert_int_equal(gen, 1);
	buf_add(buf, "extra bytes", 11);
}

static char extra_seen[32];

static int see_extra(void *arg, const struct seg_rec *rec)
{
	(void)arg;
	if (rec->type == SEG_START && rec->len < sizeof(extra_seen))
		memcpy(extra_seen, rec->body, (size_t)rec->len);
	return 0;
}

static void test_start_body(void **state)
{
	struct fixture *f = *state;
	struct errbuf e = { "" };
	struct seg_head *head = NULL;
	struct seg_config c;

	f->l.config.start_body = add_extra;
	f_open(f);
	seglog_append(&f->l, 10);
	f_run(f);
	seglog_close(&f->l);
	c = f->l.config;
	c.scan_from = NULL;
	c.on_record = see_extra;
	assert_int_equal(seg_head_open(minienv_env(f->m), &c, &head, &e), 0);
	assert_string_equal(extra_seen, "extra bytes");
	seg_head_close(head);
}

static void test_idle_mark(void **state)
{
	struct fixture *f = *state;
	struct crashfs_stats a, b;
	uint64_t seq;

	f_open(f);
	seglog_append(&f->l, 10);
	f_run(f);
	seq = seg_head_last_seq(f->l.head);
	crashfs_get_stats(f->fs, &a);
	minienv_advance(f->m, 9000000);
	assert_int_equal(seg_head_last_seq(f->l.head), seq);
	minienv_advance(f->m, 2000000);
	assert_int_equal(seg_head_last_seq(f->l.head), seq + 1);
	crashfs_get_stats(f->fs, &b);
	assert_int_equal(a.syncs, b.syncs);
	minienv_advance(f->m, 1000000000);
	assert_int_equal(seg_head_last_seq(f->l.head), seq + 1);
}

static void test_one_sync_for_many(void **state)
{
	struct fixture *f = *state;
	struct crashfs_stats a, b;

	f->l.config.first_size = f->l.config.segment_size = 1 << 20;
	f_open(f);
	seglog_append(&f->l, 10);
	f_run(f);
	crashfs_get_stats(f->fs, &a);
	for (int i = 0; i < 1000; i++)
		seglog_append(&f->l, 100);
	f_run(f);
	crashfs_get_stats(f->fs, &b);
	assert_int_equal(b.syncs - a.syncs, 1);
	assert_int_equal(b.writes - a.writes, 1);
}

static void test_kick_starts_at_once(void **state)
{
	struct fixture *f = *state;

	f_open(f);
	seglog_append(&f->l, 10);
	seg_port_kick(f->l.port);
	seglog_append(&f->l, 10);
	f_run(f);
	/* what was handed over is written by close, and completed */
	seglog_append(&f->l, 10);
	seg_port_kick(f->l.port);
	seg_head_close(f->l.head);
	f->l.head = NULL;
	minienv_run(f->m);
	assert_int_equal(f->l.acked, 3);
	seg_port_free(f->l.port);
	f->l.port = NULL;
	f_open(f);
	assert_int_equal(f->l.n, 3);
}

static void run_fault(struct fixture *f, const struct crashfs_faults *faults)
{
	size_t acked;

	f_open(f);
	seglog_append(&f->l, 10);
	f_run(f);
	acked = f->l.acked;
	crashfs_set_faults(f->fs, faults);
	seg_fatal_hook = note_fatal;
	seglog_append(&f->l, 20000); /* a segment of its own */
	seglog_append(&f->l, 10);
	minienv_run(f->m);
	assert_int_equal(fatal_calls, 1);
	assert_int_equal(f->l.acked, acked); /* nothing more, ever */
	seglog_append(&f->l, 10);
	minienv_run(f->m);
	assert_int_equal(f->l.acked, acked);
	assert_int_equal(fatal_calls, 1);
	seglog_abandon(&f->l);
	crashfs_set_faults(f->fs, &(struct crashfs_faults){ 0 });
	crashfs_crash(f->fs, 7);
	f_open(f);
	assert_true(f->l.n >= acked);
}

static void test_failed_sync(void **state)
{
	run_fault(*state, &(struct crashfs_faults){ .fail_sync_at = 1 });
}

static void test_failed_write(void **state)
{
	run_fault(*state, &(struct crashfs_faults){ .fail_write_at = 1 });
}

static void test_disk_full(void **state)
{
	run_fault(*state, &(struct crashfs_faults){ .capacity = 1 });
}

/* --- a disk that becomes full --- */

static struct {
	struct crashfs *fs;
	unsigned left, given; /* times that the owner can help, has helped */
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
	return true;
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

static void test_failed_read(void **state)
{
	struct fixture *f = *state;

	f_open(f);
	seglog_append(&f->l, 10);
	f_run(f);
	crashfs_set_faults(f->fs,
			   &(struct crashfs_faults){ .fail_read_at = 1 });
	assert_int_equal(seglog_read(&f->l, 0), -EIO);
	assert_int_equal(seglog_read(&f->l, 0), 0);
	assert_int_equal(seg_read(f->l.head, 1, 1 << 20, &(char){ 0 }, 1, 0),
			 -EIO);
}

static void test_pool_is_used(void **state)
{
	struct fixture *f = *state;

	f_open(f);
	for (int i = 0; i < 40; i++) {
		seglog_append(&f->l, 1000);
		f_run(f);
	}
	seglog_close(&f->l);
	/* a pool file is there now, and the next life takes it */
	struct crashfs_stats st;

	crashfs_get_stats(f->fs, &st);
	f_open(f);
	seglog_append(&f->l, 10);
	minienv_step(f->m); /* hand over */
	minienv_run(f->m);
	seglog_close(&f->l);
	f_open(f);
	assert_int_equal(f->l.n, 41);
}

/* A process that starts is not made to wait for zeros. */
static void test_pool_is_filled_later(void **state)
{
	struct fixture *f = *state;
	struct vfs *vfs = crashfs_vfs(f->fs);
	struct vfs_file *pool;

	f_open(f);
	seglog_append(&f->l, 10);
	f_run(f);
	assert_int_equal(vfs->ops->open(vfs, "log/pool-0.tmp", O_RDONLY, 0,
					&pool), -ENOENT);
	minienv_advance(f->m, SEG_POOL_REST_NS);
	assert_int_equal(vfs->ops->open(vfs, "log/pool-0.tmp", O_RDONLY, 0,
					&pool), 0);
	vfs->ops->close(pool);
}

/* --- rot --- */

static void fill_some(struct fixture *f, int n)
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

static void test_rot_in_the_middle(void **state)
{
	struct fixture *f = *state;
	struct seg_pos pos;
	size_t n;

	fill_some(f, 60);
	f_open(f);
	pos = f->l.items[20].pos;
	seglog_close(&f->l);
	n = f->l.n;
	char path[64];

	(void)snprintf(path, sizeof(path), "log/%016llx.seg",
		       (unsigned long long)pos.gen);
	/* the body, then the header too */
	for (uint64_t at = SEG_HEADER_LEN + 5; ; at = 17) {
		assert_int_equal(crashfs_flip(f->fs, path, pos.off + at, 3), 0);
		f->l.allow_rot = true;
		f_open(f);
		assert_int_equal(f->l.rot, 1);
		assert_int_equal(f->l.lost, 1);
		assert_int_equal(f->l.found, n);
		seglog_close(&f->l);
		if (at == 17)
			break;
	}
}

static void flip_body(struct fixture *f, struct seg_pos pos)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "log/%016llx.seg",
		       (unsigned long long)pos.gen);
	assert_int_equal(crashfs_flip(f->fs, path, pos.off + SEG_HEADER_LEN, 3),
			 0);
}

/*
 * Behind the end of a segment lie records that a crash left and that never
 * counted. They do not come back when the next segment is lost altogether.
 */
static void test_lost_segment_and_leftovers(void **state)
{
	struct fixture *f = *state;
	uint64_t gen, len;
	const char *path;

	f_open(f);
	seglog_append(&f->l, 100);
	minienv_run(f->m);
	/* in one flush, so the second one does not say the first was durable */
	seglog_append(&f->l, 200);
	seglog_append(&f->l, 300);
	while (f->l.pending > 0)
		assert_true(minienv_step(f->m));
	flip_body(f, f->l.items[1].pos);
	seglog_abandon(&f->l);
	f->l.acked = 1; /* the flip is as good as a torn write */
	f_open(f);
	assert_int_equal(f->l.found, 1);
	seglog_append(&f->l, 50);
	minienv_run(f->m);
	gen = f->l.items[1].pos.gen;
	seglog_close(&f->l);
	f_open(f); /* another segment, which says that one counts */
	seglog_append(&f->l, 60);
	minienv_run(f->m);
	assert_true(f->l.items[2].pos.gen > gen);
	seglog_close(&f->l);
	for (size_t i = 0;
	     (path = crashfs_file(f->fs, i, &len)) != NULL; i++)
		if (strstr(path, ".seg") != NULL &&
		    strtoull(strrchr(path, '/') + 1, NULL, 16) == gen)
			assert_int_equal(crashfs_misdirect(f->fs, path, 0,
							   NULL, 0,
							   (size_t)len), 0);
	f->l.allow_rot = true;
	for (int again = 0; again < 2; again++) {
		f_open(f);
		assert_int_equal(f->l.lost, 1);
		assert_true(f->l.rot >= 1);
		minienv_run(f->m);
		seglog_close(&f->l);
	}
}

/* A read that gives a wrong bit once costs a start at most, never a record. */
static void test_flips_while_recovering(void **state)
{
	struct fixture *f = *state;
	uint64_t flipped = 0, n;

	f_open(f);
	for (int i = 0; i < 30; i++)
		seglog_append(&f->l, (size_t)i * 97);
	while (f->l.pending > 0)
		assert_true(minienv_step(f->m));
	seglog_abandon(&f->l);
	n = f->l.n;
	for (uint64_t at = 1;; at++) {
		struct crashfs *fs = crashfs_clone(f->fs);
		struct minienv *m = minienv_new(crashfs_vfs(fs), at);
		struct crashfs_faults faults = { .flip_read_at = at };
		struct crashfs_stats st;
		struct seglog l;
		int rv;

		seglog_copy(&l, &f->l);
		l.acked = 0; /* it may be taken for the end */
		crashfs_set_faults(fs, &faults);
		rv = seglog_open(&l, minienv_env(m));
		crashfs_get_stats(fs, &st);
		flipped += st.faults;
		seglog_abandon(&l);
		if (rv == 0 && l.found == n) { /* durable now, and right */
			l.acked = n;
			assert_int_equal(seglog_open(&l, minienv_env(m)), 0);
			assert_string_equal(l.bad, "");
			seglog_abandon(&l);
		}
		seglog_fini(&l);
		minienv_free(m);
		crashfs_free(fs);
		if (st.faults == 0)
			break;
	}
	assert_true(flipped >= 4);
}

static void test_rot_of_every_byte(void **state)
{
	struct fixture *f = *state;
	uint64_t lost_items = 0;

	f->l.config.segment_size = 4096;
	f->l.config.first_size = 4096;
	fill_some(f, 25);
	for (uint64_t gen = 1; gen < 20; gen++) {
		char path[64];

		(void)snprintf(path, sizeof(path), "log/%016llx.seg",
			       (unsigned long long)gen);
		for (uint64_t off = gen; off < 4096; off += 5) {
			struct seglog l;

			unsigned bit = (unsigned)(gen + off);

			if (crashfs_flip(f->fs, path, off, bit) != 0)
				break;
			seglog_copy(&l, &f->l);
			l.allow_rot = true;
			assert_int_equal(seglog_open(&l, minienv_env(f->m)),
					 0);
			assert_string_equal(l.bad, "");
			assert_int_equal(l.found, f->l.n);
			assert_true(l.lost <= l.rot);
			lost_items += l.lost;
			seglog_abandon(&l);
			seglog_fini(&l);
			assert_int_equal(crashfs_flip(f->fs, path, off, bit),
					 0);
		}
	}
	assert_true(lost_items > 100); /* it did something */
}

/* The tests above would notice a recovery that takes rot for the end. */
static void test_rot_mutation(void **state)
{
	struct fixture *f = *state;
	char path[] = "log/0000000000000001.seg";

	fill_some(f, 60);
	assert_int_equal(crashfs_flip(f->fs, path, 1000, 0), 0);
	f->l.allow_rot = true;
	seg_mutation = SEG_MUTATE_ROT_IS_END;
	assert_int_equal(seglog_open(&f->l, minienv_env(f->m)), 0);
	seg_mutation = SEG_MUTATE_NONE;
	assert_non_null(strstr(f->l.bad, "acknowledged, but gone"));
}

static void test_missing_segment(void **state)
{
	struct fixture *f = *state;
	struct vfs *vfs = crashfs_vfs(f->fs);

	fill_some(f, 100);
	assert_int_equal(vfs->ops->unlink(vfs, "log/0000000000000002.seg"), 0);
	assert_int_equal(seglog_open(&f->l, minienv_env(f->m)), -EIO);
	assert_string_equal(
		f->l.bad, "open: segment 0000000000000002 is missing in log");
}

static void test_foreign_store(void **state)
{
	struct fixture *f = *state;

	fill_some(f, 3);
	f->l.config.store_id[0] ^= 1;
	assert_int_equal(seglog_open(&f->l, minienv_env(f->m)), -EINVAL);
	assert_non_null(strstr(f->l.bad, "belongs to another store"));
}

/* Whatever is missing is named, wherever it was in the log. */
static void test_missing_any_segment(void **state)
{
	struct fixture *f = *state;
	struct vfs *vfs = crashfs_vfs(f->fs);
	struct seg_info *infos;
	size_t n;

	fill_some(f, 400);
	f_open(f);
	seglog_pass(&f->l);
	assert_true(seglog_free_one(&f->l, 0));
	assert_true(seglog_free_one(&f->l, 2));
	seglog_append(&f->l, 10); /* a START that lists all of them */
	f_run(f);
	seglog_close(&f->l);
	f_open(f);
	assert_int_equal(seg_segments(f->l.head, &infos, &n), 0);
	seglog_close(&f->l);
	assert_true(n > 5);
	for (size_t i = 0; i + 1 < n; i++) {
		struct crashfs *fs = crashfs_clone(f->fs);
		struct minienv *m = minienv_new(crashfs_vfs(fs), 1);
		char path[64], bad[100];
		struct seglog l;

		(void)snprintf(path, sizeof(path), "log/%016llx.seg",
			       (unsigned long long)infos[i].gen);
		(void)snprintf(bad, sizeof(bad),
			       "open: segment %016llx is missing in log",
			       (unsigned long long)infos[i].gen);
		vfs = crashfs_vfs(fs);
		assert_int_equal(vfs->ops->unlink(vfs, path), 0);
		seglog_copy(&l, &f->l);
		assert_int_equal(seglog_open(&l, minienv_env(m)), -EIO);
		assert_string_equal(l.bad, bad);
		l.bad[0] = '\0';
		/* who does not look does not see it */
		seg_mutation = SEG_MUTATE_NOT_MISSED;
		assert_int_equal(seglog_open(&l, minienv_env(m)), 0);
		seg_mutation = SEG_MUTATE_NONE;
		seglog_abandon(&l);
		seglog_fini(&l);
		minienv_free(m);
		crashfs_free(fs);
	}
	mem_free(infos);
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

static bool file_is_there(struct fixture *f, uint64_t gen)
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

/* --- loose appends --- */

static struct seg_stats f_stats(struct fixture *f)
{
	struct seg_stats s;

	seg_head_stats(f->l.head, &s);
	return s;
}

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
	f_open(f);
	assert_int_equal(seg_read(f->l.head, 1, 0, &(char){ 0 }, 1, 0),
			 -ENOENT);
	seglog_append(&f->l, 10);
	f_run(f);
	assert_false(file_is_there(f, 1));
}

/* Recovery reads no more than the owner needs. */
static void test_begin_late(void **state)
{
	struct fixture *f = *state;
	struct crashfs_stats a, b;

	fill_some(f, 400);
	crashfs_get_stats(f->fs, &a);
	f_open(f);
	crashfs_get_stats(f->fs, &b);
	assert_true(b.read_bytes - a.read_bytes > 400 * 300);
	assert_int_equal(f->l.from, 0);
	seglog_pass(&f->l);
	seglog_append(&f->l, 10);
	f_run(f);
	seglog_close(&f->l);
	crashfs_get_stats(f->fs, &a);
	f_open(f);
	crashfs_get_stats(f->fs, &b);
	assert_true(b.read_bytes - a.read_bytes <
		    6 * f->l.config.segment_size);
	assert_true(f->l.from > 5);
	f_read_all(f);
}

static void test_begin_at_sequence(void **state)
{
	struct fixture *f = *state;

	f->l.config.bulk = true;
	fill_some(f, 400);
	f_open(f);
	seglog_close(&f->l);
	f->l.config.from_seq = f->l.items[300].seq;
	f_open(f);
	/* what is not handed out is there all the same: f_open() read it */
	assert_int_equal(f->l.found, 400);
	assert_in_range(f->l.handed, 100, 150);
	seglog_close(&f->l);
	f->l.config.from_seq = f->l.items[399].seq + 1000;
	f_open(f);
	assert_true(f->l.handed < 50);
}

/* --- walking one segment --- */

struct walked {
	struct seglog *l;
	size_t next, records, bodies, rot;
	struct seg_pos rot_at;
	int stop_at;
};

static int walked_record(void *arg, const struct seg_rec *rec)
{
	struct walked *w = arg;

	while (w->next < w->l->n && w->l->items[w->next].num != rec->a)
		w->next++;
	if (w->next == w->l->n)
		return -EBADMSG; /* it does not count */
	if (rec->pos.off != w->l->items[w->next].pos.off ||
	    rec->len != w->l->items[w->next].len)
		return -EBADMSG;
	w->bodies += rec->body != NULL;
	return ++w->records == (size_t)w->stop_at ? -ECANCELED : 0;
}

static void walked_rot(void *arg, struct seg_pos pos)
{
	struct walked *w = arg;

	w->rot++;
	w->rot_at = pos;
}

static int walk(struct fixture *f, uint64_t gen, bool bodies,
		struct walked *ret)
{
	struct seg_walk walk = {
		.bodies = bodies,
		.on_record = walked_record,
		.on_rot = walked_rot,
		.arg = ret,
	};

	ret->l = &f->l;
	return seg_scan_segment(f->l.head, gen, &walk);
}

static size_t items_in(const struct fixture *f, uint64_t gen)
{
	size_t n = 0;

	for (size_t i = 0; i < f->l.n; i++)
		n += f->l.items[i].pos.gen == gen;
	return n;
}

static void test_walk(void **state)
{
	struct fixture *f = *state;
	char path[] = "log/0000000000000003.seg";
	uint64_t newest;
	size_t all;

	f_open(f);
	for (int i = 0; i < 200; i++)
		seglog_append(&f->l, 300);
	f_run(f);
	newest = f->l.items[199].pos.gen;
	all = items_in(f, 3);
	for (int bodies = 0; bodies < 2; bodies++) {
		struct walked w = { .next = 0 };

		assert_int_equal(walk(f, 3, bodies != 0, &w), 0);
		assert_int_equal(w.records, all);
		assert_int_equal(w.bodies, bodies != 0 ? all : 0);
		assert_int_equal(w.rot, 0);
	}
	struct walked w = { .stop_at = 5 };

	assert_int_equal(walk(f, 3, true, &w), -ECANCELED);
	assert_int_equal(w.records, 5);
	assert_int_equal(walk(f, newest, true, &w), -EBUSY);
	assert_int_equal(walk(f, newest + 1, true, &w), -ENOENT);
	/* rot of a body, then of a header */
	for (size_t i = 0; i < f->l.n; i++) {
		const struct seglog_item *it = &f->l.items[i];

		if (it->pos.gen != 3)
			continue;
		for (uint64_t at = 17; at < 300; at += 180) {
			w = (struct walked){ .next = 0 };
			assert_int_equal(crashfs_flip(f->fs, path,
						      it->pos.off + at, 1), 0);
			assert_int_equal(walk(f, 3, true, &w), 0);
			/* the last header has nothing behind that shows it */
			if (at > SEG_HEADER_LEN ||
			    f->l.items[i + 1].pos.gen == 3) {
				assert_int_equal(w.rot, 1);
				assert_int_equal(w.rot_at.off, it->pos.off);
			}
			assert_int_equal(w.records, all - 1);
			assert_int_equal(crashfs_flip(f->fs, path,
						      it->pos.off + at, 1), 0);
		}
	}
	crashfs_set_faults(f->fs,
			   &(struct crashfs_faults){ .fail_read_at = 2 });
	w = (struct walked){ .next = 0 };
	assert_int_equal(walk(f, 3, true, &w), -EIO);
}

/*
 * A power cut took the first of three records that were written, not synced.
 * The log goes on in the next segment. When that is freed nothing says any
 * more that the other two do not count.
 */
static void cut_and_free_next(struct fixture *f)
{
	struct seg_pos torn;

	f_open(f);
	for (int i = 0; i < 5; i++)
		seglog_append(&f->l, 300);
	f_run(f);
	for (int i = 0; i < 3; i++)
		seglog_append_loose(&f->l, 300);
	minienv_run(f->m);
	assert_int_equal(f->l.told, 8);
	torn = f->l.items[5].pos;
	assert_int_equal(torn.gen, 1);
	seglog_abandon(&f->l);
	flip_body(f, torn);
	f_open(f);
	assert_int_equal(f->l.n, 5);
	for (int i = 0; i < 100; i++)
		seglog_append(&f->l, 500);
	f_run(f);
	seglog_pass(&f->l);
	assert_true(seglog_free_one(&f->l, 1));
	f_run(f);
	assert_true(file_is_there(f, 1));
	assert_false(file_is_there(f, 2));
}

static void test_torn_end_before_a_freed_one(void **state)
{
	struct fixture *f = *state;
	struct walked w = { .next = 0 };

	cut_and_free_next(f);
	assert_int_equal(walk(f, 1, true, &w), 0);
	assert_int_equal(w.records, 5);
	assert_int_equal(w.rot, 0);
	f_reopen(f); /* it says what was reported as rot */
	assert_int_equal(f->l.from, 0);
}

static void test_torn_end_of_bulk_before_a_freed_one(void **state)
{
	struct fixture *f = *state;

	f->l.config.bulk = true;
	f->l.config.segment_size = 8192;
	cut_and_free_next(f);
	f_reopen(f);
	assert_int_equal(f->l.from, 0);
}

/* The end is cut once, before the log goes on; not while it may not. */
static void test_torn_end_is_cut(void **state)
{
	struct fixture *f = *state;
	uint64_t hash, syncs;

	f_open(f);
	seglog_append(&f->l, 300);
	f_run(f);
	seglog_abandon(&f->l);
	hash = crashfs_hash(f->fs);
	f_open(f);
	assert_int_equal(f_stats(f).bytes, f->l.config.first_size);
	seglog_abandon(&f->l);
	assert_true(crashfs_hash(f->fs) == hash);
	f_open(f);
	seglog_append(&f->l, 300);
	f_run(f);
	assert_int_equal(f_stats(f).bytes,
			 seg_rec_size(SEG_START_FIXED + 8) + seg_rec_size(300) +
				 f->l.config.first_size);
	syncs = f_stats(f).syncs;
	assert_int_equal(syncs, 1);
	f_reopen(f);
}

/* Many segments, few files open. */
static void test_open_limit(void **state)
{
	struct fixture *f = *state;

	fill_some(f, 300);
	f_open(f);
	seg_open_max = 3;
	for (int round = 0; round < 2; round++) {
		f_read_all(f);
		assert_in_range(f->l.head->n_open, 1, 3);
		seglog_append(&f->l, 10);
		f_run(f);
	}
	seg_open_max = SEG_OPEN_MAX;
	f_reopen(f);
	f_read_all(f);
}

/* --- random --- */

static uint64_t rng_state;

static uint64_t rng(uint64_t below)
{
	rng_state = rng_state * 6364136223846793005ull + 1442695040888963407ull;
	return (rng_state >> 33) % below;
}

static void test_random_against_model(void **state)
{
	struct fixture *f = *state;

	rng_state = (uint64_t)time(NULL);
	print_message("# seed %llu\n", (unsigned long long)rng_state);
	f->l.config.bulk = rng(2) == 0;
	f_open(f);
	for (int i = 0; i < 3000; i++) {
		switch (rng(12)) {
		default:
			seglog_append(&f->l, rng(40) == 0 ? rng(100000)
							  : rng(600));
			break;
		case 0:
			minienv_step(f->m);
			break;
		case 1:
			f_run(f);
			break;
		case 2:
			minienv_advance(f->m, rng(20000000));
			break;
		case 3:
			seg_port_kick(f->l.port);
			break;
		case 4:
			f_run(f);
			if (rng(4) == 0)
				f_reopen(f);
			break;
		case 5:
			if (f->l.acked > 0)
				assert_int_equal(
					seglog_read(&f->l, rng(f->l.acked)),
					0);
			break;
		}
	}
	f_run(f);
	f_reopen(f);
	f_read_all(f);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_empty),
		T(test_append_read_reopen),
		T(test_header_bytes),
		T(test_rollover),
		T(test_larger_than_segment),
		T(test_bulk),
		T(test_start_body),
		T(test_idle_mark),
		T(test_one_sync_for_many),
		T(test_kick_starts_at_once),
		T(test_failed_sync),
		T(test_failed_write),
		T(test_disk_full),
		T(test_owner_helps_a_full_disk),
		T(test_bulk_on_a_full_disk),
		T(test_part_of_a_pool_file),
		T(test_failed_read),
		T(test_pool_is_used),
		T(test_pool_is_filled_later),
		T(test_rot_in_the_middle),
		T(test_flips_while_recovering),
		T(test_lost_segment_and_leftovers),
		T(test_rot_of_every_byte),
		T(test_rot_mutation),
		T(test_missing_segment),
		T(test_missing_any_segment),
		T(test_free_segment),
		T(test_free_twice_at_once),
		T(test_free_then_close),
		T(test_loose),
		T(test_loose_stream),
		T(test_loose_then_firm),
		T(test_loose_lost),
		T(test_loose_killed),
		T(test_sync_request),
		T(test_loose_close),
		T(test_loose_sync_fails),
		T(test_begin_late),
		T(test_begin_at_sequence),
		T(test_walk),
		T(test_torn_end_before_a_freed_one),
		T(test_torn_end_of_bulk_before_a_freed_one),
		T(test_torn_end_is_cut),
		T(test_open_limit),
		T(test_foreign_store),
		T(test_random_against_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
