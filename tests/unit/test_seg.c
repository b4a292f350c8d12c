/* Segments on one thread: minienv over crashfs. Seeds are printed. */
#include "tests/unit/segfix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/vfs_dir.h"

/* A parent of a kind that nobody can sync, as autofs is: it was not made there. */
static void test_dir_of_others(void **state)
{
	(void)state;
	assert_int_equal(vfs_make_dir(vfs_posix(), "/proc/self"), 0);
	assert_int_equal(vfs_make_dir(vfs_posix(), "/"), 0);
}

/*
 * A directory is durable when its maker says so, also where an earlier start
 * made it, and was killed or could not sync.
 */
static void test_dir_made_before(void **state)
{
	struct fixture *f = *state;
	struct vfs *vfs = crashfs_vfs(f->fs);
	struct crashfs_faults faults = { .fail_sync_at = 1 };

	assert_int_equal(vfs->ops->mkdir(vfs, "/killed", 0700), 0);
	assert_int_equal(vfs_make_dir(vfs, "/killed/"), 0);
	crashfs_set_faults(f->fs, &faults);
	assert_int_equal(vfs_make_dir(vfs, "/log"), -EIO);
	assert_int_equal(vfs_make_dir(vfs, "/log"), 0);
	for (uint64_t seed = 1; seed <= 32; seed++) {
		struct crashfs *image = crashfs_image(f->fs, seed);

		vfs = crashfs_vfs(image);
		assert_int_equal(vfs->ops->mkdir(vfs, "/killed", 0700),
				 -EEXIST);
		assert_int_equal(vfs->ops->mkdir(vfs, "/log", 0700), -EEXIST);
		crashfs_free(image);
	}
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

static void note_done(struct seg_append *a)
{
	a->a++;
}

/* Aligned bodies go past the cache, and the pages around them out of it. */
static void test_bulk_drops_pages(void **state)
{
	enum { N = 3, LEN = 4 << 20, PAGE = 4096 };
	struct fixture *f = *state;
	struct seg_append a[N];
	struct crashfs_stats st;
	void *body = aligned_alloc(PAGE, LEN);

	assert_non_null(body);
	memset(body, 7, LEN);
	f->l.config.bulk = true;
	f->l.config.segment_size = 64 << 20;
	f_open(f);
	seglog_append(&f->l, 1000);
	f_run(f);
	crashfs_get_stats(f->fs, &st);
	assert_int_equal(st.forgotten, 0);
	for (int i = 0; i < N; i++) {
		a[i] = (struct seg_append){ .type = SEG_CHUNK,
					    .iov = { { body, LEN } },
					    .niov = 1,
					    .done = note_done };
		seg_append(f->l.port, &a[i]);
		if (i == 1) /* two with one flush */
			minienv_run(f->m);
	}
	minienv_run(f->m);
	crashfs_get_stats(f->fs, &st);
	assert_int_equal(st.forgotten, N * (LEN + PAGE));
	for (int i = 0; i < N; i++)
		assert_int_equal(a[i].a, 1);
	seglog_close(&f->l);
	free(body);
}

/* Item i as seg_read_direct() gives it, into memory shifted by `shift`. */
static int read_direct(struct fixture *f, size_t i, size_t shift)
{
	const struct seglog_item *it = &f->l.items[i];
	size_t len = (size_t)it->len;
	uint8_t *want = malloc(len + 1);
	void *p = NULL;
	int rv;

	assert_int_equal(posix_memalign(&p, 4096, len + 4096), 0);
	seglog_fill(it->num, want, len);
	rv = seg_read_direct(f->l.head, it->pos.gen,
			     it->pos.off + SEG_HEADER_LEN,
			     (uint8_t *)p + shift, len);
	if (rv == 0)
		assert_memory_equal((uint8_t *)p + shift, want, len);
	free(want);
	free(p);
	return rv;
}

static uint64_t direct_reads(struct fixture *f)
{
	struct crashfs_stats st;

	crashfs_get_stats(f->fs, &st);
	return st.direct_reads;
}

/* Whole pages of aligned bodies come past the cache, all else through it. */
static void test_read_direct(void **state)
{
	static const size_t lens[] = { 1 << 20, (1 << 20) + 1, 4 << 20,
				       (2 << 20) - 1, 1000, 200 << 10 };
	struct fixture *f = *state;
	struct crashfs_faults bad = { .fail_read_at = 1 };

	f->l.config.bulk = true;
	f->l.config.segment_size = 8 << 20;
	f_open(f);
	for (unsigned i = 0; i < 6; i++)
		seglog_append(&f->l, lens[i]);
	f_run(f);
	f_reopen(f);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(read_direct(f, i, 0), 0);
		assert_int_equal(direct_reads(f), i < 4 ? i + 1 : 4);
	}
	assert_int_equal(read_direct(f, 0, 8), 0); /* not on a page */
	assert_int_equal(direct_reads(f), 4);
	crashfs_set_faults(f->fs, &bad);
	assert_int_equal(read_direct(f, 0, 0), -EIO);
	assert_int_equal(read_direct(f, 0, 0), 0);
	assert_int_equal(direct_reads(f), 6);
	assert_int_equal(seg_read_direct(f->l.head, 99, 0, &(char){ 0 }, 1),
			 -ENOENT);
}

/* A file system without O_DIRECT, which says so sooner or later. */
static void test_read_direct_refused(void **state)
{
	struct crashfs_faults faults[] = { { .no_direct_open = true },
					   { .no_direct_read = true } };
	struct fixture *f = *state;

	f->l.config.bulk = true;
	f->l.config.segment_size = 8 << 20;
	f_open(f);
	for (unsigned i = 0; i < 4; i++)
		seglog_append(&f->l, 1 << 20);
	f_run(f);
	for (unsigned i = 0; i < 2; i++) {
		crashfs_set_faults(f->fs, &faults[i]);
		f_reopen(f);
		for (unsigned k = 0; k < 4; k++)
			assert_int_equal(read_direct(f, k, 0), 0);
		assert_true(f->l.head->direct_refused);
	}
	assert_int_equal(direct_reads(f), 0);
}

/* Both handles of a file count, and go together. */
static void test_direct_open_limit(void **state)
{
	struct fixture *f = *state;

	f->l.config.bulk = true;
	f->l.config.segment_size = 2 << 20;
	f_open(f);
	for (unsigned i = 0; i < 8; i++)
		seglog_append(&f->l, 1 << 20);
	f_run(f);
	f_reopen(f);
	seg_open_max = 4;
	for (unsigned i = 0; i < 24; i++) {
		assert_int_equal(read_direct(f, i % 8, 0), 0);
		assert_in_range(f->l.head->n_open, 1, 5);
	}
	seg_open_max = SEG_OPEN_MAX;
	assert_int_equal(direct_reads(f), 24);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_dir_of_others),
		T(test_dir_made_before),
		T(test_empty),
		T(test_append_read_reopen),
		T(test_header_bytes),
		T(test_rollover),
		T(test_larger_than_segment),
		T(test_bulk),
		T(test_bulk_drops_pages),
		T(test_read_direct),
		T(test_read_direct_refused),
		T(test_direct_open_limit),
		T(test_start_body),
		T(test_idle_mark),
		T(test_one_sync_for_many),
		T(test_kick_starts_at_once),
		T(test_failed_sync),
		T(test_failed_write),
		T(test_disk_full),
		T(test_failed_read),
		T(test_pool_is_used),
		T(test_pool_is_filled_later),
		T(test_begin_late),
		T(test_begin_at_sequence),
		T(test_open_limit),
		T(test_random_against_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
