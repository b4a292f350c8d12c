/* Segments on real loops, threads and files; run under TSan too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <dirent.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/loop_hook.h"
#include "common/base/mem.h"
#include "common/seg/seg.h"
#include "common/seg/seg_int.h"

enum { WINDOW = 16, PER_LOOP = 2000, MAX_LOOPS = 3, BODY = 3000, OLDS = 128 };
enum { KEEP = 2 }; /* sealed segments that stay */

struct writer;

/* A record written a while ago; its segment may be freed meanwhile. */
struct old {
	uint64_t gen, off, num;
};

struct slot {
	struct seg_append a;
	struct env_work work; /* reads back what was written */
	struct writer *w;
	struct old old;
	int read_rv, old_rv;
	uint8_t body[BODY], back[BODY], old_back[BODY];
};

struct writer {
	struct env *env;
	struct seg_port *port;
	struct test *t;
	unsigned index;
	uint64_t next, done; /* numbers within the loop */
	bool bad;
	unsigned busy;
	struct env_task begin;
	struct loop_hook next_turn; /* alone: puts */
	struct old olds[OLDS];
	struct seg_free free;
	bool freeing;
	uint64_t freed, old_gone, old_read;
	struct slot slots[WINDOW];
};

struct test {
	struct loop_set *set;
	struct seg_head *head;
	struct writer w[MAX_LOOPS];
	unsigned n;
	bool frees;    /* while they write and read */
	bool alone;    /* one append at a time, loose, not read back */
	unsigned left; /* atomic: writers that are not done */
	uint64_t seen[MAX_LOOPS];
	bool bad;
	char dir[64];
};

static void writer_put(struct slot *s)
{
	struct writer *w = s->w;
	size_t len = (size_t)(w->next * 37 % BODY);

	memset(s->body, (int)(w->next + w->index), len);
	s->a.type = SEG_ENTRY;
	s->a.group = (uint16_t)w->index;
	s->a.a = w->next++;
	s->a.loose = s->a.a % 3 != 0 || w->t->alone;
	s->a.iov[0].iov_base = s->body;
	s->a.iov[0].iov_len = len;
	s->a.niov = 1;
	s->a.has_hash = false;
	w->busy++;
	seg_append(w->port, &s->a);
	if (w->next % 5 == 0)
		seg_port_kick(w->port);
}

static void slot_read(struct env_work *work)
{
	struct slot *s = CONTAINER_OF(work, struct slot, work);

	s->read_rv = seg_read(s->w->t->head, s->a.pos.gen, s->a.body_off,
			      s->back, s->a.iov[0].iov_len, 0);
	if (s->old.gen != 0)
		s->old_rv = seg_read(s->w->t->head, s->old.gen, s->old.off,
				     s->old_back, (size_t)(s->old.num * 37 %
							   BODY), 0);
}

/* Read whole, or the segment is gone: nothing in between. */
static void slot_old_done(struct slot *s)
{
	struct writer *w = s->w;
	size_t len = (size_t)(s->old.num * 37 % BODY);

	if (s->old_rv == -ENOENT) {
		w->old_gone++;
		return;
	}
	w->old_read++;
	if (s->old_rv != 0)
		w->bad = true;
	for (size_t i = 0; i < len; i++)
		if (s->old_back[i] != (uint8_t)(s->old.num + w->index))
			w->bad = true;
}

static void writer_end(struct writer *w)
{
	seg_port_free(w->port);
	w->port = NULL;
	if (__atomic_sub_fetch(&w->t->left, 1, __ATOMIC_ACQ_REL) == 0)
		loop_set_stop(w->t->set);
}

static void writer_freed(struct seg_free *f, int status)
{
	struct writer *w = CONTAINER_OF(f, struct writer, free);

	/* another writer may have been faster */
	if (status != 0 && status != -ENOENT)
		w->bad = true;
	w->freed += status == 0;
	w->freeing = false;
	if (w->next == PER_LOOP && w->busy == 0)
		writer_end(w);
}

static void writer_free(struct writer *w)
{
	struct seg_info *infos;
	size_t n;

	if (seg_segments(w->t->head, &infos, &n) != 0)
		abort();
	if (n > KEEP) {
		w->freeing = true;
		w->free.gen = infos[0].gen;
		w->free.done = writer_freed;
		seg_free_segment(w->port, &w->free);
	}
	mem_free(infos);
}

static void slot_read_done(struct env_work *work)
{
	struct slot *s = CONTAINER_OF(work, struct slot, work);
	struct writer *w = s->w;

	if ((s->read_rv != 0 ||
	     memcmp(s->back, s->body, s->a.iov[0].iov_len) != 0) &&
	    (!w->t->frees || s->read_rv != -ENOENT))
		w->bad = true;
	if (s->old.gen != 0)
		slot_old_done(s);
	w->busy--;
	if (w->t->frees && !w->freeing)
		writer_free(w);
	if (w->next < PER_LOOP)
		writer_put(s);
	else if (w->busy == 0 && !w->freeing)
		writer_end(w);
}

static void slot_next_turn(struct loop_hook *hook)
{
	struct writer *w = CONTAINER_OF(hook, struct writer, next_turn);

	w->busy--;
	if (w->next < PER_LOOP)
		writer_put(&w->slots[0]);
	else
		writer_end(w);
}

static void slot_done(struct seg_append *a)
{
	struct slot *s = CONTAINER_OF(a, struct slot, a);
	struct writer *w = s->w;

	if (a->a != w->done++ || !loop_is_current(loop_of(w->env)))
		w->bad = true;
	if (w->t->alone) {
		loop_hook_add(loop_of(w->env), &w->next_turn);
		return;
	}
	if (w->t->frees) {
		struct old *old = &w->olds[a->a % OLDS];

		s->old = *old;
		*old = (struct old){ a->pos.gen, a->body_off, a->a };
	}
	s->work.run = slot_read;
	s->work.done = slot_read_done;
	env_work(w->env, &s->work);
}

static void writer_begin(struct env_task *task)
{
	struct writer *w = CONTAINER_OF(task, struct writer, begin);

	for (int i = 0; i < (w->t->alone ? 1 : WINDOW); i++) {
		w->slots[i].w = w;
		w->slots[i].a.done = slot_done;
		writer_put(&w->slots[i]);
	}
}

static int on_record(void *arg, const struct seg_rec *rec)
{
	struct test *t = arg;

	if (rec->type == SEG_START)
		return 0;
	/* what was freed is from before */
	if (t->frees && rec->group < t->n && t->seen[rec->group] == 0)
		t->seen[rec->group] = rec->a;
	if (rec->group >= t->n || rec->a != t->seen[rec->group]++ ||
	    rec->len != rec->a * 37 % BODY ||
	    (rec->len > 0 &&
	     rec->body[rec->len - 1] != (uint8_t)(rec->a + rec->group)))
		t->bad = true;
	return 0;
}

static void on_rot(void *arg, const struct seg_rot *rot)
{
	(void)rot;
	((struct test *)arg)->bad = true;
}

static void remove_dir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d != NULL)
		closedir(d);
	(void)rmdir(dir);
}

static void open_head(struct test *t)
{
	struct seg_config c = {
		.dir = t->dir,
		.segment_size = 256 << 10,
		.first_size = 64 << 10,
		.pool = 2,
		.on_record = on_record,
		.on_rot = on_rot,
		.arg = t,
	};
	struct errbuf e;

	memset(t->seen, 0, sizeof(t->seen));
	assert_int_equal(seg_head_open(loop_env(loop_set_get(t->set, 0)), &c,
				       &t->head, &e),
			 0);
}

static void run_loops(unsigned n, bool frees, bool alone)
{
	struct test *t = calloc(1, sizeof(*t));
	struct seg_stats st;

	assert_non_null(t);
	(void)snprintf(t->dir, sizeof(t->dir), "test_seg_loops.%d",
		       (int)getpid());
	remove_dir(t->dir);
	t->n = n;
	t->frees = frees;
	t->alone = alone;
	t->left = n;
	assert_int_equal(loop_set_new(n, 2, &t->set), 0);
	open_head(t);
	for (unsigned i = 0; i < n; i++) {
		struct writer *w = &t->w[i];

		w->env = loop_env(loop_set_get(t->set, i));
		w->t = t;
		w->index = i;
		w->begin.run = writer_begin;
		w->next_turn.run = slot_next_turn;
		assert_int_equal(seg_port_new(t->head, w->env, &w->port), 0);
		env_post(w->env, &w->begin);
	}
	loop_set_run(t->set);
	seg_head_stats(t->head, &st);
	print_message("# %u loops: %llu records, %llu flushes, %llu by loops, "
		      "%llu segments\n",
		      n, (unsigned long long)st.appended_records,
		      (unsigned long long)st.flushes,
		      (unsigned long long)st.lent,
		      (unsigned long long)st.segments);
	seg_head_close(t->head);
	for (unsigned i = 0; i < n; i++) {
		assert_false(t->w[i].bad);
		assert_int_equal(t->w[i].done, PER_LOOP);
		if (!frees)
			continue;
		print_message("# freed %llu, old records read %llu, gone %llu\n",
			      (unsigned long long)t->w[i].freed,
			      (unsigned long long)t->w[i].old_read,
			      (unsigned long long)t->w[i].old_gone);
	}
	/* what begins a segment goes to the flusher */
	if (alone)
		assert_in_range(st.lent, 1, st.flushes - st.segments);
	if (frees)
		assert_in_range(st.segments, 1, KEEP + 3);
	open_head(t);
	assert_false(t->bad);
	for (unsigned i = 0; i < n; i++) {
		/* all of one that ended early may have been freed by others */
		if (!frees || t->seen[i] != 0)
			assert_int_equal(t->seen[i], PER_LOOP);
	}
	seg_head_close(t->head);
	loop_set_free(t->set);
	remove_dir(t->dir);
	free(t);
}

static void test_one_loop(void **state)
{
	(void)state;
	run_loops(1, false, false);
}

static void test_three_loops(void **state)
{
	(void)state;
	run_loops(3, false, false);
}

static void test_freed_while_read(void **state)
{
	(void)state;
	run_loops(3, true, false);
}

/* Nobody waits for the loop: it flushes in the flusher's place. */
static void test_lent(void **state)
{
	(void)state;
	run_loops(1, false, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_loop),
		cmocka_unit_test(test_three_loops),
		cmocka_unit_test(test_freed_while_read),
		cmocka_unit_test(test_lent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
