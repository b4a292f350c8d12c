/*
 * The worker that splits huge directories (storaged/shard_split.c) with real
 * hosts: three shards in one process, which call each other. Names are where
 * they belong whatever fails, and at every power cut; and when all is well
 * again the work ends.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "storaged/shard_impl.h"
#include "tests/lib/shardworld.h"

enum { MOST = 64, MORE = 2, CALLS = 64 };

struct call {
	struct env_task task;
	struct fix *f;
	struct call **at;        /* where it is, until it is answered */
	shard_called_fn done;    /* NULL: cancelled */
	void *arg;
	uint32_t status;
	struct buf payload;      /* of the answer */
};

struct fix {
	struct world w;
	uint64_t root, dir;
	struct call *calls[CALLS];
	unsigned n_calls;         /* so far */
	unsigned fail_at, fail_n; /* these are not sent, or not answered */
	bool refuse, failed;
	bool one_shard;
	unsigned names;           /* made */
};

/* --- from shard to shard --- */

static void call_free(struct call *c)
{
	*c->at = NULL;
	buf_fini(&c->payload);
	free(c);
}

static void call_answer(struct env_task *task)
{
	struct call *c = CONTAINER_OF(task, struct call, task), own = *c;

	buf_init(&c->payload, 0);
	call_free(c);
	if (own.done != NULL)
		own.done(own.arg, own.status,
			 wire_bytes(own.payload.data, own.payload.len));
	buf_fini(&own.payload);
}

static void call_done(void *arg, uint32_t status, struct buf *payload,
		      struct body *body)
{
	struct call *c = arg;

	body_unref(body);
	c->status = status;
	c->payload = *payload;
	buf_init(payload, 0);
	call_answer(&c->task);
}

static int on_call(void *arg, uint16_t shard, uint16_t tag,
		   struct buf *payload, shard_called_fn done, void *done_arg,
		   void **ret_handle)
{
	struct world *w = arg;
	struct fix *f = w->user;
	bool fails = f->n_calls++ - f->fail_at < f->fail_n;
	struct call *c;
	unsigned i = 0;

	f->failed |= fails;
	if (fails && !f->refuse)
		return -ENOMEM;
	while (f->calls[i] != NULL)
		assert_true(++i < CALLS);
	c = calloc(1, sizeof *c);
	assert_non_null(c);
	*c = (struct call){ .f = f, .at = &f->calls[i], .done = done,
			    .arg = done_arg };
	f->calls[i] = c;
	*ret_handle = c;
	if (!fails)
		return shard_call(w->set, shard, tag, payload, call_done, c);
	c->status = RPC_STATUS_UNAVAILABLE;
	buf_fini(payload);
	buf_init(payload, 0);
	c->task.run = call_answer;
	env_post(minienv_env(w->m), &c->task);
	return 0;
}

static void on_cancel(void *arg, void *handle)
{
	struct call *c = handle;

	(void)arg;
	c->done = NULL;
}

static uint16_t on_place(void *arg, uint16_t shard)
{
	struct world *w = arg;
	struct fix *f = w->user;
	uint8_t r;

	if (f->one_shard)
		return shard;
	env_random(minienv_env(w->m), &r, 1);
	return (uint16_t)(SHARD + (shard - SHARD + 1 + r % MORE) % (MORE + 1));
}

/* The log refuses the next ones. */
static struct {
	struct env *env;
	struct env_task task;
	struct raft_submit *s;
	uint32_t status;
	unsigned at, n, seen;
	size_t longest;           /* entries, 0: any; then at and n are not
				   * asked */
} refusing;

static void on_refused(struct env_task *task)
{
	struct raft_submit *s = refusing.s;

	(void)task;
	refusing.s = NULL;
	buf_fini(&s->data);
	s->failed(s, refusing.status);
}

void __real_raft_submit(struct raft_group *g, struct raft_submit *s);
void __wrap_raft_submit(struct raft_group *g, struct raft_submit *s);

void __wrap_raft_submit(struct raft_group *g, struct raft_submit *s)
{
	bool ok = refusing.longest > 0
			  ? s->data.len <= refusing.longest
			  : refusing.seen++ - refusing.at >= refusing.n;

	if (refusing.env == NULL || refusing.s != NULL || ok) {
		__real_raft_submit(g, s);
		return;
	}
	refusing.s = s;
	refusing.task.run = on_refused;
	env_post(refusing.env, &refusing.task);
}

/* --- a world --- */

static void tune(struct world *w, struct shard_config *config)
{
	w->more = MORE;
	config->call = on_call;
	config->call_cancel = on_cancel;
	config->dir_split_names = MOST;
	config->segment_place = on_place;
}

static uint64_t make(struct fix *f, uint64_t dir, const char *name,
		     uint32_t mode)
{
	struct world *w = &f->w;
	struct rpc_mknod req = { MUT(w), .dir = dir, .name = wire_cstr(name),
				 .mode = mode };
	struct rpc_mknod_rsp rsp;
	struct reply r;

	CALL(w, mknod, &req, &r);
	if (r.status == RPC_STATUS_ELSEWHERE) { /* in a segment */
		struct rpc_error_rsp e;
		struct buf b;

		assert_int_equal(rpc_error_rsp_decode(&e, r.payload.data,
						      r.payload.len), 0);
		reply_fini(&r);
		req.at = e.at;
		req.seq = ++w->seq;
		buf_init(&b, 0);
		assert_int_equal(rpc_mknod_encode(&req, &b), 0);
		world_send_to(w, e.shard, RPC_TAG_mknod, &b, &r);
		for (unsigned i = 0; i < 200 && r.n == 0; i++)
			minienv_advance(w->m, SECOND / 100);
	}
	assert_int_equal(r.n, 1);
	if (r.status != RPC_STATUS_OK) {
		reply_fini(&r);
		return 0;
	}
	assert_int_equal(rpc_mknod_rsp_decode(&rsp, r.payload.data,
					      r.payload.len), 0);
	reply_fini(&r);
	return rsp.attr.ino;
}

/* n files more; they come in no order. */
static void make_files(struct fix *f, unsigned n)
{
	char name[16];

	while (n-- > 0) {
		snprintf(name, sizeof name, "f%04u",
			 f->names * 7919 % 10000);
		f->names += make(f, f->dir, name, S_IFREG | 0644) != 0;
	}
}

/* Files of names that begin alike, from a number on. */
static void make_alike(struct fix *f, unsigned from, unsigned n)
{
	char name[16];

	for (unsigned i = from; i < from + n; i++) {
		snprintf(name, sizeof name, "f-%04u", i);
		f->names += make(f, f->dir, name, S_IFREG | 0644) != 0;
	}
}

static void fix_init(struct fix *f)
{
	memset(f, 0, sizeof *f);
	memset(&refusing, 0, sizeof refusing);
	world_init_tuned(&f->w, tune, f);
	f->root = world_root(&f->w, 1);
	f->dir = make(f, f->root, "d", S_IFDIR | 0755);
	assert_true(f->dir != 0);
}

static void drop_calls(struct fix *f)
{
	for (unsigned i = 0; i < CALLS; i++)
		if (f->calls[i] != NULL)
			call_free(f->calls[i]);
}

static void fix_fini(struct fix *f)
{
	world_fini(&f->w);
	drop_calls(f);
}

static void power_cut(struct fix *f, uint64_t seed)
{
	world_kill(&f->w);
	drop_calls(f);
	crashfs_crash(f->w.fs, seed);
	world_start(&f->w, seed);
}

/* --- what must hold --- */

static void on_finding(void *arg, const char *text)
{
	unsigned *n = arg;

	print_error("# %s\n", text);
	++*n;
}

static void on_synced(void *arg, int status)
{
	int *rv = arg;

	*rv = status;
}

struct found {
	unsigned names, segments, largest;
};

/* Directories, and the names that they have in all. */
static void look(struct fix *f, uint16_t shard, struct found *ret)
{
	struct wire_bytes key, value;
	struct ns_row_inode r;
	struct ns_key from, to;
	struct rows_iter *it;

	ns_key_start(&from, shard, NS_T_INODE);
	to = from;
	ns_key_end(&to);
	assert_int_equal(rows_iter_new(f->w.back, ns_key_get(&from),
				       ns_key_get(&to), &it), 0);
	while (rows_iter_next(it, &key, &value) == 0) {
		uint64_t ino = ns_be64(key.p + NS_KEY_REST);

		assert_int_equal(ns_row_inode_load(&r, value), 0);
		if (!(r.flags & NS_INODE_SEGMENT) && ino != f->dir)
			continue;
		ret->names += (unsigned)r.entries;
		ret->segments += ino != f->dir;
		if (ino != f->dir && r.entries > ret->largest)
			ret->largest = (unsigned)r.entries;
	}
	rows_iter_free(it);
}

/* Nothing is under way: no name is lost, none is elsewhere. */
static struct found expect_clean(struct fix *f)
{
	struct found ret = { .names = 0 };
	unsigned findings = 0;
	int rv = 1;

	assert_int_equal(rows_sync(shard_set_rows(f->w.set), on_synced, &rv),
			 0);
	minienv_run(f->w.m);
	assert_int_equal(rv, 0);
	for (uint16_t i = SHARD; i <= SHARD + MORE; i++) {
		uint64_t n;

		assert_int_equal(ns_check(f->w.back, i, on_finding, &findings),
				 0);
		assert_int_equal(ns_check_far(f->w.back, i, on_finding,
					      &findings, &n), 0);
		look(f, i, &ret);
	}
	assert_int_equal(findings, 0);
	ret.names -= ret.segments; /* each is one of the directory */
	assert_int_equal(ret.names, f->names);
	return ret;
}

static struct shard_stats stats_of(struct fix *f)
{
	struct shard_stats s;

	shard_set_stats(f->w.set, &s);
	return s;
}

/* The work ends, and nothing goes on for ever. */
static void settle(struct fix *f)
{
	unsigned calls;

	minienv_advance(f->w.m, 600ull * SECOND);
	for (uint16_t i = SHARD; i <= SHARD + MORE; i++) {
		const struct shard_group *g = shard_find(f->w.set, i);

		assert_null(g->split.job);
		assert_int_equal(g->split.n, 0);
		assert_null(g->fars);
		assert_null(g->ends);
		assert_null(g->locks->parties);
	}
	calls = f->n_calls;
	minienv_advance(f->w.m, 600ull * SECOND);
	assert_int_equal(f->n_calls, calls);
}

/* --- tests --- */

static void test_grows(void **state)
{
	struct shard_stats s;
	struct found found;
	struct fix f;

	(void)state;
	fix_init(&f);
	make_files(&f, MOST);
	settle(&f);
	assert_int_equal(expect_clean(&f).segments, 0);
	for (unsigned i = 0; i < 60; i++) {
		make_files(&f, 20);
		minienv_advance(f.w.m, SECOND);
	}
	settle(&f);
	found = expect_clean(&f);
	s = stats_of(&f);
	print_message("# %u segments of up to %u names, %lu moved\n",
		      found.segments, found.largest,
		      (unsigned long)s.dir_split_names);
	assert_true(found.segments >= f.names / MOST);
	assert_true(found.segments <= 4 * f.names / MOST);
	assert_true(found.largest <= MOST);
	assert_true(s.dir_splits >= found.segments);
	/* those that were moved once and not again are the least */
	assert_true(s.dir_split_names < 4ull * f.names);
	assert_int_equal(s.dir_split_failed, 0);
	assert_int_equal(s.dir_split_vain, 0);
	fix_fini(&f);
}

static void test_one_shard(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f);
	f.one_shard = true;
	make_files(&f, 3 * MOST);
	settle(&f);
	assert_int_equal(expect_clean(&f).segments, 0);
	assert_int_equal(f.n_calls, 0);
	fix_fini(&f);
}

/*
 * Names that cannot be parted, as a bound between them would part `f` and `f/`,
 * which are none of theirs: it is seen, and not tried for ever.
 */
static void test_vain(void **state)
{
	struct shard_stats s;
	unsigned calls;
	struct fix f;

	(void)state;
	fix_init(&f);
	make_files(&f, 2 * MOST);
	settle(&f);
	assert_true(expect_clean(&f).segments > 0);
	make_alike(&f, 0, 3 * MOST);
	settle(&f);
	s = stats_of(&f);
	assert_true(s.dir_split_vain > 0);
	assert_true(expect_clean(&f).largest >= 3 * MOST);
	calls = f.n_calls;
	make_alike(&f, 3 * MOST, MOST / 4);
	settle(&f);
	/* once for each quarter that it grew */
	assert_int_equal(stats_of(&f).dir_split_vain, s.dir_split_vain + 1);
	assert_true(f.n_calls > calls);
	assert_int_equal(stats_of(&f).dir_split_failed, 0);
	(void)expect_clean(&f);
	fix_fini(&f);
}

/* Calls to other shards that fail, at every point and for some time. */
static void calls_fail(bool refuse, unsigned n)
{
	unsigned at = 0;
	bool failed = true;

	for (; failed; at += 1 + at / 8) {
		struct found found;
		struct fix f;

		fix_init(&f);
		f.refuse = refuse;
		f.fail_at = at;
		f.fail_n = n;
		make_files(&f, 3 * MOST);
		settle(&f);
		failed = f.failed;
		found = expect_clean(&f);
		assert_true(found.segments > 0);
		fix_fini(&f);
	}
	print_message("# %u calls\n", at);
	assert_true(at > 10);
}

static void test_calls_fail(void **state)
{
	(void)state;
	calls_fail(false, 1);
	calls_fail(true, 1);
	calls_fail(true, 5);
}

/* Too long for it to be tried again: it is, when the directory grows on. */
static void test_away(void **state)
{
	unsigned calls;
	struct fix f;

	(void)state;
	fix_init(&f);
	f.refuse = true;
	f.fail_n = UINT32_MAX;
	make_files(&f, MOST + 1);
	settle(&f);
	assert_int_equal(stats_of(&f).dir_split_failed, 8);
	assert_int_equal(expect_clean(&f).segments, 0);
	f.fail_n = 0;
	calls = f.n_calls;
	make_files(&f, 1);
	settle(&f);
	assert_true(f.n_calls > calls);
	assert_true(expect_clean(&f).segments > 0);
	fix_fini(&f);
}

static int no_memory(void)
{
	return 1;
}

/* None when a job should begin: it begins later, with all that is noted. */
static void test_no_memory(void **state)
{
	struct shard_split *s;
	struct fix f;

	(void)state;
	fix_init(&f);
	s = &shard_find(f.w.set, SHARD)->split;
	f.refuse = true;
	f.fail_n = UINT32_MAX;
	make_files(&f, MOST + 1);
	f.dir = make(&f, f.root, "e", S_IFDIR | 0755);
	make_files(&f, MOST + 1);
	for (unsigned i = 0; s->n < 2 && i < 1000; i++)
		minienv_skip(f.w.m, SECOND / 100);
	assert_int_equal(s->n, 2);
	assert_null(s->job);
	f.fail_n = 0;
	env_timer_cancel(minienv_env(f.w.m), &s->timer);
	mem_fault_hook = no_memory;
	s->timer.cb(&s->timer);
	mem_fault_hook = NULL;
	assert_null(s->job);
	settle(&f);
	assert_true(stats_of(&f).dir_splits >= 2);
	fix_fini(&f);
}

/* The log takes no commands, of the worker or of the other shards. */
static void submits_fail(uint32_t status, unsigned n)
{
	bool failed = true;

	for (unsigned at = 0; failed; at++) {
		struct fix f;

		fix_init(&f);
		make_files(&f, MOST + 1);
		minienv_skip(f.w.m, SECOND / 100);
		refusing.status = status;
		refusing.at = at;
		refusing.n = n;
		refusing.env = minienv_env(f.w.m);
		settle(&f);
		failed = refusing.seen > at;
		refusing.env = NULL;
		assert_true(expect_clean(&f).segments > 0);
		fix_fini(&f);
	}
}

static void test_submits_fail(void **state)
{
	static const uint32_t never[] = { RPC_STATUS_NOSPC,
					  RPC_STATUS_NOT_LEADER,
					  RPC_STATUS_NOMEM };

	(void)state;
	for (unsigned i = 0; i < sizeof never / sizeof *never; i++)
		for (unsigned n = 1; n <= 3; n++)
			submits_fail(never[i], n);
}

/* Rows of so many names are more than an entry may have: fewer go. */
static void test_large_rows(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f);
	refusing.status = RPC_STATUS_FBIG;
	refusing.longest = 1600;
	refusing.env = minienv_env(f.w.m);
	make_files(&f, MOST + 1);
	settle(&f);
	refusing.env = NULL;
	assert_true(expect_clean(&f).segments > 0);
	assert_int_equal(stats_of(&f).dir_split_failed, 0);
	fix_fini(&f);
}

/* Cut off after more and more steps: no name is lost, and growth goes on. */
static void test_power_cuts(void **state)
{
	unsigned cuts = 0, steps = 0, segments = 0;
	const struct shard_split *s;
	bool busy = true;

	(void)state;
	while (busy) {
		struct found found;
		struct fix f;

		fix_init(&f);
		make_files(&f, MOST + 1);
		s = &shard_find(f.w.set, SHARD)->split;
		for (unsigned i = 0; i < steps && busy; i++) {
			if (minienv_step(f.w.m))
				continue;
			minienv_skip(f.w.m, SECOND / 1000);
			busy = s->job != NULL || s->n > 0;
		}
		power_cut(&f, 1000 + cuts++);
		settle(&f);
		found = expect_clean(&f);
		segments += found.segments;
		make_files(&f, MOST);
		settle(&f);
		found = expect_clean(&f);
		assert_true(found.segments > 0);
		assert_true(found.largest <= MOST);
		fix_fini(&f);
		steps += 1 + steps / 16;
	}
	print_message("# %u power cuts, %u steps\n", cuts, steps);
	assert_true(cuts > 10 && segments > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grows),
		cmocka_unit_test(test_one_shard),
		cmocka_unit_test(test_vain),
		cmocka_unit_test(test_calls_fail),
		cmocka_unit_test(test_away),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_submits_fail),
		cmocka_unit_test(test_large_rows),
		cmocka_unit_test(test_power_cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
