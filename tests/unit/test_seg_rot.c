/*
 * What is not there as it was written: rot, lost and foreign segments, the end
 * that a crash tore; and the walk over one segment, which reports it.
 */
#include "tests/unit/segfix.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "tests/lib/mutate.h"

/* --- rot --- */

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
	if (!seg_mutate(SEG_MUTATE_ROT_IS_END)) {
		print_message("# " MUTATE_NONE_HERE "\n");
		assert_int_equal(seglog_open(&f->l, minienv_env(f->m)), 0);
		return;
	}
	assert_int_equal(seglog_open(&f->l, minienv_env(f->m)), 0);
	(void)seg_mutate(SEG_MUTATE_NONE);
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
		if (seg_mutate(SEG_MUTATE_NOT_MISSED)) {
			assert_int_equal(seglog_open(&l, minienv_env(m)), 0);
			seglog_abandon(&l);
		}
		(void)seg_mutate(SEG_MUTATE_NONE);
		seglog_fini(&l);
		minienv_free(m);
		crashfs_free(fs);
	}
	mem_free(infos);
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

/* The last record before a segment that was freed rots: that is told. */
static void test_rot_before_a_freed_one(void **state)
{
	struct fixture *f = *state;
	const struct seglog_item *last;
	size_t i = 0;

	f->l.config.bulk = true;
	f->l.config.segment_size = 8192;
	f_open(f);
	for (int n = 0; n < 100; n++)
		seglog_append(&f->l, 500);
	f_run(f);
	seglog_pass(&f->l);
	assert_true(seglog_free_one(&f->l, 1));
	f_run(f);
	f_reopen(f);
	assert_int_equal(f->l.rot, 0); /* nothing is missed there */
	seglog_close(&f->l);
	while (f->l.items[i].pos.gen == 1)
		i++;
	last = &f->l.items[i - 1];
	for (int bit = 0; bit < 2; bit++) {
		f->l.allow_rot = true;
		assert_int_equal(crashfs_flip(f->fs, "log/0000000000000001.seg",
					      last->pos.off + 17, 3), 0);
		f_open(f);
		if (bit == 0)
			assert_in_range(f->l.rot, 1, 5); /* as have room */
		else
			assert_int_equal(f->l.rot, 0);
		seglog_close(&f->l);
	}
	/* all of the segment; then it stays, for whoever can read it */
	assert_int_equal(crashfs_misdirect(f->fs, "log/0000000000000001.seg", 0,
					   NULL, 0, (size_t)last->pos.off), 0);
	assert_int_equal(crashfs_misdirect(f->fs, "log/0000000000000001.seg",
					   last->pos.off, NULL, 0, 600), 0);
	f_open(f);
	assert_true(f->l.rot > 5);
	seglog_append(&f->l, 10);
	f_run(f);
	assert_true(file_is_there(f, 1));
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_rot_in_the_middle),
		T(test_flips_while_recovering),
		T(test_lost_segment_and_leftovers),
		T(test_rot_of_every_byte),
		T(test_rot_mutation),
		T(test_missing_segment),
		T(test_missing_any_segment),
		T(test_walk),
		T(test_torn_end_before_a_freed_one),
		T(test_torn_end_of_bulk_before_a_freed_one),
		T(test_rot_before_a_freed_one),
		T(test_torn_end_is_cut),
		T(test_foreign_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
