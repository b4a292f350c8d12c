/*
 * common/rows against a model: random commands of several clients whose loads
 * and batches end in any order, a tiny cache, rows forgotten at random; both
 * backs. Every commit writes the row "applied", so whatever a back holds can
 * be compared with the model as it was after that commit.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/rows/row.h"
#include "common/rows/rows_impl.h"

#include "tests/lib/minienv.h"

/* --- an env whose workers end when the test says so --- */

#define FAKE_MAX 64

struct fake {
	struct env env;
	uint64_t rng;
	struct env_task *tasks, **tasks_tail;
	struct env_work *queued[FAKE_MAX], *ran[FAKE_MAX];
	unsigned n_queued, n_ran;
	struct env_timer *timer;
};

static uint64_t fake_rand(struct fake *f)
{
	f->rng ^= f->rng << 13;
	f->rng ^= f->rng >> 7;
	f->rng ^= f->rng << 17;
	return f->rng;
}

static struct fake *fake_of(struct env *env)
{
	return CONTAINER_OF(env, struct fake, env);
}

static void fake_random(struct env *env, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len-- > 0)
		*p++ = (uint8_t)fake_rand(fake_of(env));
}

static void fake_post(struct env *env, struct env_task *task)
{
	struct fake *f = fake_of(env);

	task->next = NULL;
	*f->tasks_tail = task;
	f->tasks_tail = &task->next;
}

static void fake_timer_set(struct env *env, struct env_timer *timer,
			   uint64_t delay_ns)
{
	(void)delay_ns;
	fake_of(env)->timer = timer;
}

static void fake_timer_cancel(struct env *env, struct env_timer *timer)
{
	if (fake_of(env)->timer == timer)
		fake_of(env)->timer = NULL;
}

static void fake_work(struct env *env, struct env_work *work)
{
	struct fake *f = fake_of(env);

	assert_true(f->n_queued < FAKE_MAX);
	f->queued[f->n_queued++] = work;
}

static const struct env_ops fake_ops = {
	.random = fake_random,
	.post = fake_post,
	.timer_set = fake_timer_set,
	.timer_cancel = fake_timer_cancel,
	.work = fake_work,
};

static void fake_init(struct fake *f, uint64_t seed)
{
	memset(f, 0, sizeof *f);
	f->env.ops = &fake_ops;
	f->rng = seed * 0x9e3779b97f4a7c15u + 1;
	f->tasks_tail = &f->tasks;
}

static struct env_work *fake_pick(struct fake *f, struct env_work **list,
				  unsigned *n)
{
	unsigned i = (unsigned)(fake_rand(f) % *n);
	struct env_work *w = list[i];

	list[i] = list[--*n];
	return w;
}

/* One thing happens; false when nothing is left to happen. */
static bool fake_step(struct fake *f)
{
	uint64_t dice = fake_rand(f) % 3;

	if (f->tasks != NULL && (dice == 0 || f->n_queued + f->n_ran == 0)) {
		struct env_task *t = f->tasks;

		f->tasks = t->next;
		if (f->tasks == NULL)
			f->tasks_tail = &f->tasks;
		t->run(t);
	} else if (f->n_queued > 0 && (dice == 1 || f->n_ran == 0)) {
		struct env_work *w = fake_pick(f, f->queued, &f->n_queued);

		w->run(w);
		f->ran[f->n_ran++] = w;
	} else if (f->n_ran > 0) {
		struct env_work *w = fake_pick(f, f->ran, &f->n_ran);

		w->done(w);
	} else if (f->timer != NULL) {
		struct env_timer *t = f->timer;

		f->timer = NULL;
		t->cb(t);
	} else {
		return false;
	}
	return true;
}

static void fake_drain(struct fake *f)
{
	while (fake_step(f))
		;
}

/* --- backs --- */

struct store {
	bool mem;
	char dir[64];
	struct rows_mem_image *image;
	struct rows_back *back;
};

static void store_reopen(struct store *s)
{
	struct errbuf e = { "" };
	int rv;

	rows_back_close(s->back);
	s->back = NULL;
	rv = s->mem ? rows_back_mem(s->image, &s->back)
		    : rows_back_open(s->dir, 1 << 20, &s->back, &e);
	if (rv != 0)
		print_message("# open: %d %s\n", rv, e.text);
	assert_int_equal(rv, 0);
}

static void store_init(struct store *s, bool mem)
{
	memset(s, 0, sizeof *s);
	s->mem = mem;
	snprintf(s->dir, sizeof s->dir, "test_rows_%d.db", (int)getpid());
	s->image = rows_mem_image_new();
	store_reopen(s);
}

static void store_rm(const struct store *s)
{
	char cmd[128];

	snprintf(cmd, sizeof cmd, "rm -rf %s", s->dir);
	assert_int_equal(system(cmd), 0);
}

static void store_fini(struct store *s)
{
	rows_back_close(s->back);
	rows_mem_image_free(s->image);
	store_rm(s);
}

static struct wire_bytes str(const char *s)
{
	return wire_bytes(s, strlen(s));
}

static void back_put(struct rows_back *b, const char *key, const char *value)
{
	struct rows_batch *batch = rows_batch_new();

	if (value != NULL)
		rows_batch_put(batch, str(key), str(value));
	else
		rows_batch_del(batch, str(key));
	assert_int_equal(rows_batch_write(b, batch), 0);
	rows_batch_free(batch);
}

static void back_expect(struct rows_back *b, const char *key,
			const char *value)
{
	uint8_t *p = NULL;
	size_t len = 0;
	int rv = rows_back_get(b, str(key), &p, &len);

	if (value == NULL) {
		assert_int_equal(rv, -ENOENT);
		return;
	}
	assert_int_equal(rv, 0);
	assert_true(wire_bytes_eq(wire_bytes(p, len), str(value)));
	mem_free(p);
}

static void iter_expect(struct rows_iter *it, const char *key)
{
	struct wire_bytes k, v;
	int rv = rows_iter_next(it, &k, &v);

	if (key == NULL) {
		assert_int_equal(rv, -ENOENT);
		return;
	}
	assert_int_equal(rv, 0);
	assert_true(wire_bytes_eq(k, str(key)));
}

static void check_back(bool mem)
{
	struct wire_bytes value;
	struct rows_iter *it;
	struct store s;

	store_init(&s, mem);
	back_put(s.back, "b", "1");
	back_put(s.back, "a", "2");
	back_put(s.back, "c", "");
	back_put(s.back, "ab", "3");
	back_put(s.back, "c", NULL);
	back_put(s.back, "d", "4");
	back_expect(s.back, "a", "2");
	back_expect(s.back, "c", NULL);
	assert_int_equal(rows_iter_new(s.back, str("a"), str("d"), &it), 0);
	back_put(s.back, "aa", "late"); /* behind the iterator's time */
	iter_expect(it, "a");
	iter_expect(it, "ab");
	iter_expect(it, "b");
	iter_expect(it, NULL);
	rows_iter_seek(it, str("aaa"));
	iter_expect(it, "ab");
	rows_iter_seek(it, str(""));
	iter_expect(it, "a");
	/* one row of the same view, wherever it stands */
	back_put(s.back, "b", "late");
	assert_int_equal(rows_iter_get(it, str("b"), &value), 0);
	assert_true(wire_bytes_eq(value, str("1")));
	assert_int_equal(rows_iter_get(it, str("aa"), &value), -ENOENT);
	assert_int_equal(rows_iter_get(it, str("d"), &value), 0);
	assert_true(wire_bytes_eq(value, str("4")));
	iter_expect(it, "ab");
	iter_expect(it, "b");
	back_put(s.back, "b", "1");
	rows_iter_free(it);
	assert_int_equal(rows_iter_new(s.back, str(""), str(""), &it), 0);
	iter_expect(it, "a");
	iter_expect(it, "aa");
	rows_iter_seek(it, str("d"));
	iter_expect(it, "d");
	iter_expect(it, NULL);
	iter_expect(it, NULL);
	rows_iter_free(it);

	/* what a reopen without a clean close gives is the last checkpoint */
	assert_int_equal(rows_back_checkpoint(s.back), 0);
	back_put(s.back, "a", "unsaved");
	back_put(s.back, "b", NULL);
	store_reopen(&s);
	back_expect(s.back, "a", "2");
	back_expect(s.back, "b", "1");
	back_expect(s.back, "d", "4");
	store_fini(&s);
}

static void test_back_mem(void **state)
{
	(void)state;
	check_back(true);
}

static void test_back_leveldb(void **state)
{
	(void)state;
	check_back(false);
}

static void test_back_damaged(void **state)
{
	struct errbuf e = { "" };
	struct rows_back *b = NULL;
	char path[128];
	struct store s;

	(void)state;
	store_init(&s, false);
	back_put(s.back, "a", "1");
	assert_int_equal(rows_back_checkpoint(s.back), 0);
	assert_int_equal(rows_back_open(s.dir, 0, &b, &e), -EBUSY);
	rows_back_close(s.back);
	s.back = NULL;
	/* tables without CURRENT must not look like a new database */
	snprintf(path, sizeof path, "%s/CURRENT", s.dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rows_back_open(s.dir, 0, &b, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "CURRENT"));
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs("MANIFEST-999999\n", f);
	fclose(f);
	assert_int_equal(rows_back_open(s.dir, 0, &b, &e), -EBADMSG);
	store_fini(&s);
}

/* --- the ordered index --- */

static void test_tree(void **state)
{
	struct row *root = NULL, *rows[200];
	uint64_t rng = 12345;

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		uint8_t key[2] = { (uint8_t)(i * 37 % 200), 7 };
		struct wire_bytes k = wire_bytes(key, 2);

		rows[i * 37 % 200] =
			row_new(k, row_hash(k, 1), wire_bytes("", 0), true);
		row_tree_insert(&root, rows[i * 37 % 200]);
	}
	for (unsigned round = 0; round < 100; round++) {
		rng = rng * 6364136223846793005u + 1;
		row_tree_erase(&root, rows[rng >> 32 & 127]);
		row_tree_insert(&root, rows[rng >> 32 & 127]);
	}
	for (unsigned i = 0; i < 200; i++) {
		uint8_t key[2] = { (uint8_t)i, 7 }, below[1] = { (uint8_t)i };
		struct wire_bytes k = wire_bytes(key, 2);

		assert_ptr_equal(row_tree_find(root, k), rows[i]);
		assert_ptr_equal(row_tree_lower(root, k, false), rows[i]);
		assert_ptr_equal(row_tree_lower(root, k, true),
				 i == 199 ? NULL : rows[i + 1]);
		assert_ptr_equal(
			row_tree_lower(root, wire_bytes(below, 1), true),
			rows[i]);
	}
	for (unsigned i = 0; i < 200; i++) {
		row_tree_erase(&root, rows[i]);
		row_free(rows[i]);
	}
	assert_null(root);
}

/* --- commands against a model --- */

#define N_KEYS 60
#define N_FRESH 40 /* the keys from here on begin with a prefix for each ten */
#define N_STATE (N_KEYS + (N_KEYS - N_FRESH) / 10)
#define N_CLIENTS 5
#define MAX_COMMITS 400

struct world {
	struct fake fake;
	struct store store;
	struct rows *rows;
	/* commit in which a key was last put, 0 = absent; after each commit.
	 * Behind them: how often each prefix was replaced by a fresh one */
	uint32_t model[MAX_COMMITS + 1][N_STATE];
	unsigned commits, syncs, loads, firsts, known_absent;
	int failed; /* callbacks record, the test asserts */
	bool faults;
};

struct client {
	struct world *w;
	struct rows_txn *txn;
	uint64_t rng_at; /* the command is a function of this */
	bool busy;
};

#define CHECK(w, cond) \
	do { \
		if (!(cond) && (w)->failed == 0) \
			(w)->failed = __LINE__; \
	} while (0)

/* Number of the prefix among the state. */
static unsigned prefix_of(unsigned k)
{
	return N_KEYS + (k - N_FRESH) / 10;
}

/* Order of keys is that of their numbers; lengths differ. */
static struct wire_bytes key_of(unsigned k, const uint32_t *now, char buf[24])
{
	int n;

	if (k < N_FRESH)
		n = snprintf(buf, 24, "k%02u%.*s", k, (int)(k % 7), "xxxxxxx");
	else
		n = snprintf(buf, 24, "k%u.%08uk%02u", k / 10,
			     (unsigned)now[prefix_of(k)], k);
	return wire_bytes(buf, (size_t)n);
}

static struct wire_bytes value_of(unsigned k, uint32_t commit, char buf[300])
{
	size_t len = (k * 31 + commit * 17) % 290;

	memset(buf, (int)('a' + (k + commit) % 26), 300);
	memcpy(buf, &commit, 4);
	return wire_bytes(buf, 4 + len);
}

static unsigned key_number(struct wire_bytes key)
{
	if (key.p[2] == '.')
		key.p += ROWS_PREFIX;
	return (unsigned)(key.p[1] - '0') * 10 + (unsigned)(key.p[2] - '0');
}

static uint64_t next_rand(uint64_t *rng)
{
	*rng = *rng * 6364136223846793005u + 1442695040888963407u;
	return *rng >> 33;
}

static int expect_get(struct client *c, const uint32_t *now, unsigned k)
{
	char kb[24], vb[300];
	struct wire_bytes key = key_of(k, now, kb), v;
	struct rows *rows = c->w->rows;
	int rv = rows_get(c->txn, key, &v);

	if (rv == -EAGAIN || rv == -ENOMEM)
		return rv;
	if (rv == -ENOENT && row_tree_find(c->txn->writes, key) == NULL &&
	    rows_lookup(rows, key, row_hash(key, rows->seed)) == NULL)
		c->w->known_absent++;
	if (now[k] == 0)
		CHECK(c->w, rv == -ENOENT);
	else
		CHECK(c->w, rv == 0 &&
			    wire_bytes_eq(v, value_of(k, now[k], vb)));
	return 0;
}

static int expect_first(struct client *c, const uint32_t *now, unsigned from,
			unsigned to)
{
	char fb[24], tb[24], vb[300];
	struct wire_bytes k, v;
	int rv;

	rv = rows_first(c->txn, key_of(from, now, fb),
			to == N_KEYS ? str("l") : key_of(to, now, tb), &k, &v);
	if (rv == -EAGAIN || rv == -ENOMEM)
		return rv;
	c->w->firsts++;
	while (from < to && now[from] == 0)
		from++;
	if (from >= to) {
		CHECK(c->w, rv == -ENOENT);
		return 0;
	}
	CHECK(c->w, rv == 0);
	if (rv != 0)
		return 0;
	CHECK(c->w, key_number(k) == from);
	CHECK(c->w, wire_bytes_eq(v, value_of(from, now[from], vb)));
	return 0;
}

/* The ten keys of k's prefix go, and come back under one that is new. */
static int put_prefix(struct client *c, uint32_t *now, unsigned k)
{
	unsigned first = k - k % 10;
	char kb[24];
	int rv;

	for (unsigned i = first; i < first + 10; i++) {
		now[i] = 0;
		rv = rows_del(c->txn, key_of(i, now, kb));
		if (rv != 0)
			return rv;
	}
	now[prefix_of(k)]++;
	(void)key_of(k, now, kb);
	rows_set_fresh(c->txn, wire_bytes(kb, ROWS_PREFIX));
	return 0;
}

/* Runs the command once: checks what it reads, returns its first refusal. */
static int client_command(struct client *c, uint32_t *now)
{
	struct world *w = c->w;
	uint64_t rng = c->rng_at;
	unsigned n = 1 + (unsigned)(next_rand(&rng) % 8);
	int again = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned what = (unsigned)(next_rand(&rng) % 10);
		unsigned k = (unsigned)(next_rand(&rng) % N_KEYS);
		unsigned to = k + (unsigned)(next_rand(&rng) % 40);
		char kb[24], vb[300];
		int rv = 0;

		if (what < 4) {
			rv = expect_get(c, now, k);
		} else if (what < 6) {
			rv = expect_first(c, now, k, to < N_KEYS ? to : N_KEYS);
		} else if (what < 8) {
			now[k] = w->commits + 1;
			rv = rows_put(c->txn, key_of(k, now, kb),
				      value_of(k, now[k], vb));
		} else if (k < N_FRESH || next_rand(&rng) % 4 != 0) {
			now[k] = 0;
			rv = rows_del(c->txn, key_of(k, now, kb));
		} else {
			rv = put_prefix(c, now, k);
		}
		if (rv == -ENOMEM)
			return rv;
		if (rv != 0)
			again = rv; /* go on: note all that is needed */
	}
	return again;
}

static void client_run(void *arg, int status)
{
	struct client *c = arg;
	struct world *w = c->w;
	uint32_t now[N_STATE], commit;
	char vb[4];
	int rv;

	if (status != 0) {
		CHECK(w, w->faults && status == -ENOMEM);
		rows_txn_reset(c->txn);
		c->busy = false;
		return;
	}
	memcpy(now, w->model[w->commits], sizeof now);
	rv = client_command(c, now);
	if (rv == -EAGAIN) {
		CHECK(w, rows_txn_needs(c->txn));
		w->loads++;
		rows_txn_load(c->txn, client_run, c);
		return;
	}
	commit = w->commits + 1;
	memcpy(vb, &commit, 4);
	if (rv == 0)
		rv = rows_put(c->txn, str("applied"), wire_bytes(vb, 4));
	if (rv == 0)
		rv = rows_txn_commit(c->txn);
	else
		rows_txn_reset(c->txn);
	if (rv == 0)
		memcpy(w->model[++w->commits], now, sizeof now);
	else
		CHECK(w, w->faults && rv == -ENOMEM);
	c->busy = false;
}

/* The back equals the model after the commit that it names. */
static uint32_t back_check(struct world *w, uint32_t at_least)
{
	uint32_t commit = 0, seen[N_KEYS] = { 0 };
	struct wire_bytes k, v;
	struct rows_iter *it;
	uint8_t *p;
	size_t len;

	if (rows_back_get(w->store.back, str("applied"), &p, &len) == 0) {
		memcpy(&commit, p, 4);
		mem_free(p);
	}
	CHECK(w, commit >= at_least && commit <= w->commits);
	if (rows_iter_new(w->store.back, str("k"), str("l"), &it) != 0) {
		CHECK(w, w->faults);
		return commit;
	}
	while (rows_iter_next(it, &k, &v) == 0)
		memcpy(&seen[key_number(k)], v.p, 4);
	rows_iter_free(it);
	CHECK(w, memcmp(seen, w->model[commit], sizeof seen) == 0);
	return commit;
}

struct sync_wait {
	struct world *w;
	uint32_t target;
};

static void on_sync(void *arg, int status)
{
	struct sync_wait *s = arg;

	CHECK(s->w, status == 0);
	if (!s->w->faults)
		back_check(s->w, s->target);
	s->w->syncs++;
	free(s);
}

static void world_sync(struct world *w)
{
	struct sync_wait *s = malloc(sizeof *s);

	*s = (struct sync_wait){ w, w->commits };
	if (rows_sync(w->rows, on_sync, s) != 0)
		free(s);
}

static void world_run(struct world *w, uint64_t seed, unsigned target)
{
	struct client c[N_CLIENTS];
	int (*hook)(void) = mem_fault_hook;
	uint64_t rng = seed;

	mem_fault_hook = NULL;
	for (unsigned i = 0; i < N_CLIENTS; i++)
		c[i] = (struct client){ w, rows_txn_new(w->rows), 0, false };
	mem_fault_hook = hook;
	for (unsigned steps = 0; w->commits < target && w->failed == 0 &&
				 steps < 200000; steps++) {
		struct client *cl = &c[next_rand(&rng) % N_CLIENTS];

		if (!cl->busy && next_rand(&rng) % 4 == 0) {
			cl->busy = true;
			cl->rng_at = next_rand(&rng) << 20 ^ steps;
			client_run(cl, 0);
		} else if (next_rand(&rng) % 100 == 0) {
			world_sync(w);
		} else if (cl->busy && next_rand(&rng) % 200 == 0) {
			/* freed in the middle of a load */
			rows_txn_free(cl->txn);
			cl->txn = rows_txn_new(w->rows);
			cl->busy = cl->txn == NULL;
			if (cl->txn == NULL)
				break;
		} else {
			fake_step(&w->fake);
		}
	}
	fake_drain(&w->fake);
	for (unsigned i = 0; i < N_CLIENTS; i++)
		rows_txn_free(c[i].txn);
	world_sync(w);
	fake_drain(&w->fake);
}

static void world_new(struct world *w, bool mem, uint64_t seed)
{
	memset(w, 0, sizeof *w);
	fake_init(&w->fake, seed);
	store_init(&w->store, mem);
	assert_int_equal(rows_new(&w->fake.env, w->store.back, 3000, &w->rows),
			 0);
}

static void check_model(bool mem, unsigned seeds)
{
	uint64_t first = (uint64_t)time(NULL) % 1000000;
	static struct world w;
	unsigned loads = 0, firsts = 0, syncs = 0, known_absent = 0;

	print_message("# first seed %llu\n", (unsigned long long)first);
	for (uint64_t seed = first; seed < first + seeds; seed++) {
		uint32_t checkpoint;

		world_new(&w, mem, seed);
		rows_set_forget(w.rows, seed % 3 == 0 ? 3 : 0);
		world_run(&w, seed, 150);
		assert_int_equal(rows_back_checkpoint(w.store.back), 0);
		checkpoint = back_check(&w, w.commits);
		world_run(&w, seed + 1, 300);
		/* a crash: back to the checkpoint */
		rows_free(w.rows);
		store_reopen(&w.store);
		if (back_check(&w, checkpoint) != checkpoint)
			CHECK(&w, false);
		if (w.failed != 0)
			print_message("# seed %llu line %d commits %u\n",
				      (unsigned long long)seed, w.failed,
				      w.commits);
		loads += w.loads;
		firsts += w.firsts;
		syncs += w.syncs;
		known_absent += w.known_absent;
		store_fini(&w.store);
		assert_int_equal(w.failed, 0);
	}
	print_message("# %u loads, %u firsts, %u syncs, %u known to be absent\n",
		      loads, firsts, syncs, known_absent);
	assert_true(loads > 0 && firsts > 0 && syncs > 0 && known_absent > 0);
}

static void test_model_mem(void **state)
{
	(void)state;
	check_model(true, 100);
}

static void test_model_leveldb(void **state)
{
	(void)state;
	check_model(false, 8);
}

/* --- prefixes that are fresh --- */

#define FRESH "g0D--dir--1"

static void fresh_put(struct rows *rows, const char *key, bool declare)
{
	struct rows_txn *t = rows_txn_new(rows);

	rows_set_fresh(t, str(FRESH));
	if (!declare)
		rows_txn_reset(t); /* nothing of it may be left */
	assert_int_equal(rows_put(t, str(key), str("v")), 0);
	assert_int_equal(rows_txn_commit(t), 0);
	rows_txn_free(t);
}

/* What a look at a key answers while nothing is loaded. */
static int fresh_look(struct rows *rows, const char *key)
{
	struct rows_txn *t = rows_txn_new(rows);
	struct wire_bytes v;
	int rv = rows_get(t, str(key), &v);

	rows_txn_free(t);
	return rv;
}

/*
 * Absent rows of a fresh prefix need no load: from the commit on, until a row
 * is evicted or somebody replaces rows.
 */
static void test_fresh(void **state)
{
	static struct world w;
	char big[4000];
	struct rows_txn *t;

	(void)state;
	world_new(&w, true, 1); /* a cache of 3,000 bytes */
	fresh_put(w.rows, FRESH "a", false);
	assert_int_equal(fresh_look(w.rows, FRESH "b"), -EAGAIN);
	fresh_put(w.rows, FRESH "a", true);
	assert_int_equal(fresh_look(w.rows, FRESH "a"), 0);
	assert_int_equal(fresh_look(w.rows, FRESH "b"), -ENOENT);
	assert_int_equal(fresh_look(w.rows, FRESH), -EAGAIN);
	assert_int_equal(fresh_look(w.rows, "g0D--dir--2b"), -EAGAIN);
	fake_drain(&w.fake); /* clean now, and in the cache */
	assert_int_equal(fresh_look(w.rows, FRESH "b"), -ENOENT);

	memset(big, 'x', sizeof big);
	t = rows_txn_new(w.rows);
	assert_int_equal(rows_put(t, str("big"), wire_bytes(big, sizeof big)),
			 0);
	assert_int_equal(rows_txn_commit(t), 0);
	fake_drain(&w.fake);
	assert_int_equal(fresh_look(w.rows, FRESH "a"), -EAGAIN); /* evicted */
	assert_int_equal(fresh_look(w.rows, FRESH "b"), -EAGAIN);

	fresh_put(w.rows, FRESH "a", true);
	assert_int_equal(fresh_look(w.rows, FRESH "b"), -ENOENT);
	fake_drain(&w.fake);
	rows_replaced(w.rows, str(FRESH), str(FRESH "\xff"));
	assert_int_equal(fresh_look(w.rows, FRESH "b"), -EAGAIN);
	rows_txn_free(t);
	rows_free(w.rows);
	store_fini(&w.store);
}

/* --- a cache at rest --- */

static void rest_key(unsigned i, uint8_t key[4])
{
	for (unsigned k = 0; k < 4; k++)
		key[k] = (uint8_t)(i >> (24 - 8 * k));
}

static void rest_read(struct rows *rows, unsigned i)
{
	struct rows_txn *t = rows_txn_new(rows);
	struct wire_bytes value;
	uint8_t key[4];

	rest_key(i, key);
	assert_int_equal(rows_get(t, wire_bytes(key, 4), &value), 0);
	assert_int_equal(value.len, 1000);
	rows_txn_free(t);
}

/* What a load left behind stays while it is read, and goes afterwards. */
static void test_rest(void **state)
{
	const uint64_t sec = 1000000000;
	struct minienv *m = minienv_new(NULL, 1);
	struct rows_mem_image *image = rows_mem_image_new();
	uint8_t value[1000] = { 7 };
	struct rows_back *back;
	struct rows *rows;

	(void)state;
	assert_int_equal(rows_back_mem(image, &back), 0);
	assert_int_equal(rows_new(minienv_env(m), back, 64u << 20, &rows), 0);
	for (unsigned i = 0; i < 20000; i++) {
		struct rows_txn *t = rows_txn_new(rows);
		uint8_t key[4];

		rest_key(i, key);
		assert_int_equal(rows_put(t, wire_bytes(key, 4),
					  wire_bytes(value, sizeof(value))),
				 0);
		assert_int_equal(rows_txn_commit(t), 0);
		rows_txn_free(t);
		if (i % 100 == 0)
			minienv_advance(m, sec / 1000);
	}
	minienv_advance(m, sec);
	assert_true(rows->clean_bytes > 20000000);
	for (unsigned i = 0; i < 10; i++) {
		minienv_advance(m, 5 * sec);
		rest_read(rows, i);
	}
	assert_true(rows->clean_bytes > 20000000);
	minienv_advance(m, 60 * sec);
	assert_true(rows->clean_bytes <= ROWS_CACHE_REST);
	assert_true(rows->clean_bytes > ROWS_CACHE_REST / 2);
	assert_false(rows->rest_armed);
	rows_free(rows);
	rows_back_close(back);
	rows_mem_image_free(image);
	minienv_free(m);
}

/* --- the gate --- */

struct gate {
	struct rows *rows;
	bool open;
	unsigned asked, hurried, synced;
};

static bool gate_ask(void *arg, bool hurry)
{
	struct gate *g = arg;

	g->asked++;
	g->hurried += hurry;
	return g->open;
}

static void gate_synced(void *arg, int status)
{
	struct gate *g = arg;

	assert_int_equal(status, 0);
	g->synced++;
}

static void gate_put(struct rows *rows, const char *key)
{
	struct rows_txn *t = rows_txn_new(rows);

	assert_int_equal(rows_put(t, str(key), str("v")), 0);
	assert_int_equal(rows_txn_commit(t), 0);
	rows_txn_free(t);
}

/* No batch passes it while it is shut; the next one asks for itself. */
static void test_gate(void **state)
{
	const uint64_t ms = 1000000;
	struct minienv *m = minienv_new(NULL, 1);
	struct rows_mem_image *image = rows_mem_image_new();
	struct rows_back *back;
	struct gate g = { .open = false };
	struct rows_gate gate = { gate_ask, &g };

	(void)state;
	assert_int_equal(rows_back_mem(image, &back), 0);
	assert_int_equal(rows_new(minienv_env(m), back, 0, &g.rows), 0);
	rows_set_gate(g.rows, &gate);
	gate_put(g.rows, "a");
	minienv_advance(m, 100 * ms);
	assert_int_equal(g.asked, 1);
	assert_int_equal(g.hurried, 0);
	back_expect(back, "a", NULL);
	gate_put(g.rows, "b");
	minienv_advance(m, 100 * ms);
	assert_int_equal(g.asked, 1); /* its batch waits for the first */
	assert_int_equal(rows_flush(g.rows), -EBUSY);

	assert_int_equal(rows_sync(g.rows, gate_synced, &g), 0);
	assert_int_equal(g.hurried, 1);
	minienv_advance(m, 100 * ms);
	assert_int_equal(g.synced, 0);
	rows_gate_open(g.rows);
	back_expect(back, "a", NULL); /* never inside the call */
	minienv_run(m);
	back_expect(back, "a", "v");
	back_expect(back, "b", NULL);
	assert_int_equal(g.hurried, 2); /* for the second batch */
	assert_int_equal(g.synced, 0);
	rows_gate_open(g.rows);
	minienv_run(m);
	back_expect(back, "b", "v");
	assert_int_equal(g.synced, 1);

	g.open = true;
	gate_put(g.rows, "c");
	minienv_advance(m, 100 * ms);
	back_expect(back, "c", "v");
	rows_free(g.rows);
	rows_back_close(back);
	rows_mem_image_free(image);
	minienv_free(m);
}

/* --- no memory, at any allocation --- */

static long fault_at, fault_count;

static int fault_hook(void)
{
	return fault_count++ == fault_at;
}

static void test_no_memory(void **state)
{
	static struct world w;
	long at = 0;

	(void)state;
	for (;;) {
		world_new(&w, true, 42);
		w.faults = true;
		fault_count = 0;
		fault_at = at;
		mem_fault_hook = fault_hook;
		world_run(&w, 42, 25);
		mem_fault_hook = NULL;
		if (fault_count > at)
			fake_drain(&w.fake);
		back_check(&w, w.commits);
		rows_free(w.rows);
		store_fini(&w.store);
		if (w.failed != 0)
			print_message("# allocation %ld line %d\n", at,
				      w.failed);
		assert_int_equal(w.failed, 0);
		if (fault_count <= at)
			break;
		at += at < 200 ? 1 : 17;
	}
	assert_true(at > 200);
}

/* --- rows that somebody else replaced --- */

static void replaced_loaded(void *arg, int status)
{
	int *n = arg;

	assert_int_equal(status, 0);
	++*n;
}

static void replaced_get(struct world *w, struct rows_txn *t, const char *key,
			 const char *want)
{
	struct wire_bytes v;
	int n = 0;

	while (rows_get(t, str(key), &v) == -EAGAIN) {
		rows_txn_load(t, replaced_loaded, &n);
		fake_drain(&w->fake);
		assert_true(n < 3);
	}
	assert_true(wire_bytes_eq(v, str(want)));
}

/*
 * Whatever is under way when it happens: who looks again sees the new rows; what
 * was lent stays.
 */
static void test_replaced(void **state)
{
	(void)state;
	for (unsigned steps = 0; steps < 12; steps++) {
		struct wire_bytes lent, key, v;
		struct rows_txn *t, *late;
		struct world w;
		int loads = 0;

		world_new(&w, true, steps + 1);
		back_put(w.store.back, "a1", "old1");
		back_put(w.store.back, "a2", "old2");
		back_put(w.store.back, "b1", "other");
		t = rows_txn_new(w.rows);
		late = rows_txn_new(w.rows);
		replaced_get(&w, t, "b1", "other");
		replaced_get(&w, t, "a1", "old1");
		assert_int_equal(rows_put(late, str("a3"), str("old3")), 0);
		assert_int_equal(rows_txn_commit(late), 0);
		fake_drain(&w.fake);
		/* a range, pinned */
		while (rows_first(t, str("a3"), str("b"), &key, &v) ==
		       -EAGAIN) {
			rows_txn_load(t, replaced_loaded, &loads);
			fake_drain(&w.fake);
		}
		assert_int_equal(rows_get(t, str("a1"), &lent), 0);
		/* a load that may have read already */
		assert_int_equal(rows_get(late, str("a2"), &v), -EAGAIN);
		loads = 0;
		rows_txn_load(late, replaced_loaded, &loads);
		for (unsigned i = 0; i < steps; i++)
			(void)fake_step(&w.fake);
		back_put(w.store.back, "a1", "new1");
		back_put(w.store.back, "a2", "new2");
		back_put(w.store.back, "a3", "new3");
		back_put(w.store.back, "a4", "new4");
		rows_replaced(w.rows, str("a"), str("b"));
		assert_true(wire_bytes_eq(lent, str("old1")));
		fake_drain(&w.fake);
		assert_int_equal(loads, 1);
		replaced_get(&w, late, "a2", "new2");
		assert_int_equal(rows_get(t, str("a1"), &v), -EAGAIN);
		assert_int_equal(rows_get(t, str("b1"), &v), 0);
		replaced_get(&w, t, "a1", "new1");
		replaced_get(&w, t, "a3", "new3");
		assert_int_equal(rows_first(t, str("a3\1"), str("b"), &key, &v),
				 -EAGAIN);
		rows_txn_load(t, replaced_loaded, &loads);
		fake_drain(&w.fake);
		assert_int_equal(rows_first(t, str("a3\1"), str("b"), &key, &v),
				 0);
		assert_true(wire_bytes_eq(v, str("new4")));
		rows_txn_free(t);
		rows_txn_free(late);
		fake_drain(&w.fake);
		rows_free(w.rows);
		store_fini(&w.store);
	}
}

/* A get of a resident row must stay cheap: printed, loosely bounded. */
static void test_get_speed(void **state)
{
	enum { N = 10000, ROUNDS = 20 };
	static struct world w;
	struct timespec a, b;
	struct rows_txn *t;
	char key[40];
	double ns;

	(void)state;
	world_new(&w, true, 1);
	t = rows_txn_new(w.rows);
	for (int i = 0; i < N; i++) {
		snprintf(key, sizeof key, "%08d-some-longer-key", i);
		assert_int_equal(rows_put(t, str(key), str("value")), 0);
	}
	assert_int_equal(rows_txn_commit(t), 0);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int r = 0; r < ROUNDS; r++)
		for (int i = 0; i < N; i++) {
			struct wire_bytes v;

			snprintf(key, sizeof key, "%08d-some-longer-key", i);
			if (rows_get(t, wire_bytes(key, 24), &v) != 0)
				fail();
			if (i % 10 == 9)
				rows_txn_reset(t);
		}
	clock_gettime(CLOCK_MONOTONIC, &b);
	ns = ((double)(b.tv_sec - a.tv_sec) * 1e9 +
	      (double)(b.tv_nsec - a.tv_nsec)) / (N * ROUNDS);
	print_message("# %.0f ns per get (with snprintf)\n", ns);
	assert_true(ns < 20000);
	fake_drain(&w.fake);
	rows_txn_free(t);
	rows_free(w.rows);
	store_fini(&w.store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_back_mem),
		cmocka_unit_test(test_back_leveldb),
		cmocka_unit_test(test_back_damaged),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_model_mem),
		cmocka_unit_test(test_model_leveldb),
		cmocka_unit_test(test_fresh),
		cmocka_unit_test(test_rest),
		cmocka_unit_test(test_gate),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_get_speed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
