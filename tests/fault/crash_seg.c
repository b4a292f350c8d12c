/*
 * Crash states of a head, judged by its real recovery code.
 *
 *   crash_seg [OPTIONS]: tests/fault/crash_main.h
 *
 * A history is several lives on one disk. In each life records are appended
 * in random sizes, flushed, left idle, old segments are freed and recovery is
 * told to begin later; before every call that changes the disk
 * some power cuts are drawn (crashfs), each image is recovered and compared:
 * acknowledged <= recovered <= issued, in order, every byte equal, no rot
 * reported. What was appended loosely counts as acknowledged when a sync was
 * waited for, or when the process alone dies. Of some images recovery itself is
 * cut, too; of all of them it is run again and must find the same and change
 * nothing; and some go on: append, cut, recover. A life ends by a power cut, by
 * the death of the process, by a failed sync, or cleanly; what it recovered
 * counts as acknowledged in the next one.
 *
 * Mutations leave out one thing of the format; each must be noticed.
 */
#include "common/seg/seg_int.h"
#include "tests/fault/crash_main.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"
#include "tests/lib/seglog.h"

/* What a power cut is compared with, and where it can be drawn. */
struct life {
	struct crash_run *run;
	struct crashfs *fs;
	const struct seglog *l;
	unsigned depth; /* of cuts within what follows a cut */
	unsigned one_in, images;
};

static bool failed; /* the fatal hook was called */

static void note_fatal(const char *what, int err)
{
	(void)what;
	(void)err;
	failed = true;
}

static void life_draw(void *arg);

/* Lengths that hit paddings, sectors, copies and whole segments. */
static size_t some_len(struct crash_run *r)
{
	switch (rng(r, 16)) {
	case 0:
		return 0;
	case 1:
		return 4000 + (size_t)rng(r, 1000);
	case 2:
		return (size_t)rng(r, 20000);
	case 3:
		return 384 - 8 + (size_t)rng(r, 16);
	default:
		return (size_t)rng(r, 700);
	}
}

static void some_work(struct crash_run *r, struct minienv *m, struct seglog *l,
		      unsigned ops)
{
	for (unsigned i = 0; i < ops && !failed; i++) {
		switch (rng(r, 10)) {
		case 0:
			minienv_run(m);
			break;
		case 8:
			if (rng(r, 3) == 0)
				seglog_pass(l);
			break;
		case 9:
			(void)seglog_free_one(l, rng_next(r));
			break;
		case 1:
			minienv_advance(m, rng(r, 30000000));
			break;
		case 2:
			seg_port_kick(l->port);
			(void)minienv_step(m);
			break;
		case 7:
			seglog_sync(l, rng(r, 2) == 0);
			break;
		case 5:
		case 6:
			seglog_append_loose(l, some_len(r));
			break;
		default:
			seglog_append(l, some_len(r));
			break;
		}
	}
}

/* Recovers with model l; the head stays open when all is well. */
static bool check_open(struct crash_run *r, struct minienv *m, struct seglog *l)
{
	if (seglog_open(l, minienv_env(m)) == 0 && l->bad[0] == '\0' &&
	    l->n > 0) {
		size_t i = (size_t)rng(r, l->n);

		if (seglog_read(l, i) != 0)
			seglog_bad(l, "cannot be read", l->items[i].num);
	}
	if (l->bad[0] == '\0')
		return true;
	crash_run_bad(r, l->bad);
	seglog_abandon(l);
	return false;
}

/* One image: recover, recover again, sometimes cut within and behind it. */
static void check_image(struct life *life, struct crashfs *image)
{
	struct crash_run *r = life->run;
	struct minienv *m = minienv_new(crashfs_vfs(image), r->rng);
	struct life next = { r, image, life->l, life->depth + 1, 2, 1 };
	uint64_t hash;
	struct seglog l;
	size_t n;

	r->states++;
	seglog_copy(&l, life->l);
	if (life->depth < 2 && rng(r, 4) == 0)
		crashfs_set_hook(image, life_draw, &next);
	if (!check_open(r, m, &l))
		goto out;
	crashfs_set_hook(image, NULL, NULL);
	n = l.n;
	seglog_abandon(&l);

	hash = crashfs_hash(image);
	if (!check_open(r, m, &l))
		goto out;
	if (l.n != n)
		crash_run_bad(r, "recovered again, another end");
	if (crashfs_hash(image) != hash)
		crash_run_bad(r, "recovered again, the disk changed");
	if (life->depth < 2 && rng(r, 8) == 0) {
		/* go on, and cut that */
		next.l = &l;
		crashfs_set_hook(image, life_draw, &next);
		some_work(r, m, &l, 1 + (unsigned)rng(r, 6));
		minienv_run(m);
		crashfs_set_hook(image, NULL, NULL);
		if (l.bad[0] != '\0')
			crash_run_bad(r, l.bad);
	}
	seglog_abandon(&l);
out:
	seglog_fini(&l);
	minienv_free(m);
}

static void life_draw(void *arg)
{
	struct life *life = arg;
	struct crash_run *r = life->run;

	if (rng(r, life->one_in) != 0)
		return;
	for (unsigned i = 0; i < life->images; i++) {
		struct crashfs *image = crashfs_image(life->fs, rng_next(r));

		check_image(life, image);
		crashfs_free(image);
	}
}

/* One life; false when the history cannot go on. */
static bool run_life(struct crash_run *r, struct crashfs *fs, struct seglog *l)
{
	struct minienv *m = minienv_new(crashfs_vfs(fs), r->rng);
	struct life life = { r, fs, l, 0, 3, 2 };
	struct crashfs_faults faults = { 0 };
	bool good = true;

	failed = false;
	l->config.segment_size = 4096u << rng(r, 4);
	l->config.first_size = 2048u << rng(r, 3);
	l->config.pool = (unsigned)rng(r, 3);
	if (!check_open(r, m, l)) {
		minienv_free(m);
		return false;
	}
	crashfs_set_hook(fs, life_draw, &life);
	if (rng(r, 4) == 0) {
		faults.fail_sync_at = 1 + rng(r, 12);
		crashfs_set_faults(fs, &faults);
	}
	some_work(r, m, l, 5 + (unsigned)rng(r, 30));
	if (!failed && rng(r, 4) == 0) {
		minienv_run(m);
		minienv_advance(m, SEG_LOOSE_NS);
		if (!failed)
			seglog_close(l);
	}
	crashfs_set_hook(fs, NULL, NULL);
	if (l->bad[0] != '\0') {
		crash_run_bad(r, l->bad);
		good = false;
	}
	seglog_abandon(l);
	faults.fail_sync_at = 0;
	crashfs_set_faults(fs, &faults);
	/* else the process alone died: the page cache lives on */
	if (rng(r, 2) == 0)
		crashfs_crash(fs, rng_next(r));
	else if (!failed) /* what a failed sync dropped is gone */
		l->acked = l->told;
	minienv_free(m);
	return good;
}

static void run_history(struct crash_run *r, bool bulk)
{
	struct crashfs *fs = crashfs_new(rng_next(r));
	unsigned lives = 2 + (unsigned)rng(r, 4);
	struct seglog l;

	seglog_renumber();
	seglog_init(&l, "log");
	l.config.bulk = bulk;
	for (unsigned i = 0; i < lives; i++)
		if (!run_life(r, fs, &l))
			break;
	seglog_fini(&l);
	crashfs_free(fs);
}

static void run_log_history(struct crash_run *r)
{
	run_history(r, false);
}

static void run_bulk_history(struct crash_run *r)
{
	run_history(r, true);
}

static bool set_mutation(int what)
{
	return seg_mutate((enum seg_mutation)what);
}

static const struct crash_mutation mutations[] = {
	{ "header checksum not tested", set_mutation, SEG_MUTATE_HEADER_SUM },
	{ "body hash not tested", set_mutation, SEG_MUTATE_BODY_HASH },
	{ "any sequence accepted", set_mutation, SEG_MUTATE_ANY_SEQ },
	{ "acknowledged before fdatasync", set_mutation, SEG_MUTATE_NO_SYNC },
	{ "directory not synced", set_mutation, SEG_MUTATE_NO_DIR_SYNC },
	{ "recovered bytes not made durable", set_mutation,
	  SEG_MUTATE_NO_REWRITE },
	{ "unlinked before FREED is durable", set_mutation,
	  SEG_MUTATE_FREE_EARLY },
	{ "START lists what was freed", set_mutation, SEG_MUTATE_FREE_LISTED },
	{ "freed without FREED", set_mutation, SEG_MUTATE_FREE_SILENT },
	{ "no append waits for a sync", set_mutation, SEG_MUTATE_ALL_LOOSE },
	{ "what waits for a sync does not", set_mutation, SEG_MUTATE_NO_HOLD },
};

static const struct crash_test tests[] = {
	{ "log head", "log", run_log_history, NULL },
	{ "bulk head", "bulk", run_bulk_history, NULL },
};

int main(int argc, char **argv)
{
	static const struct crash_program program = {
		.seed = 1, .states = 20000, .notice = 20000,
		.tests = tests, .n_tests = sizeof tests / sizeof tests[0],
		.mutations = mutations,
		.n_mutations = sizeof mutations / sizeof mutations[0],
	};

	seg_fatal_hook = note_fatal;
	return crash_main(&program, argc, argv);
}
