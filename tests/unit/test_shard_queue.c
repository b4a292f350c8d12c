/*
 * The worker of the queue (storaged/shard_queue.c) with the real host: what
 * was put off is done in the background, whatever is cut off in between.
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

#include "storaged/ns_impl.h"
#include "tests/lib/shardworld.h"

#define REGION ((uint64_t)WIRE_REGION)
#define MADE 1700000000u /* when the clock of the env starts */
#define MD5 "11111111111111111111111111111111"

static uint32_t slices; /* made so far */

static struct wire_bytes chunks(struct wire_vec *v, uint64_t pos, uint64_t len)
{
	struct wire_extent e = {
		.pos = pos, .len = len, .kind = WIRE_EXT_CHUNKS,
		.slice = slice_make(SHARD, MADE, 1, ++slices),
	};

	wire_vec_init(v);
	wire_vec_add_extent(v, &e);
	return wire_vec_bytes(v);
}

/* Sends a mutation, expects OK, drops the answer. */
#define DO(w, name, req) \
	do { \
		struct reply do_r_; \
		CALL(w, name, req, &do_r_); \
		assert_int_equal(do_r_.status, RPC_STATUS_OK); \
		reply_fini(&do_r_); \
	} while (0)

static void put(struct world *w, uint64_t root, const char *key, uint64_t size)
{
	struct rpc_put req = { MUT(w), .root = root, .key = wire_cstr(key),
			       .umask = 022, .size = size,
			       .etag = wire_cstr(MD5) };
	struct wire_vec v;

	req.extents = chunks(&v, 0, size);
	DO(w, put, &req);
	wire_vec_fini(&v);
}

static void drop(struct world *w, uint64_t root, const char *key)
{
	struct rpc_delete req = { MUT(w), .root = root,
				  .key = wire_cstr(key) };

	DO(w, delete, &req);
}

static struct wire_u128 upload(struct world *w, uint64_t root, const char *key,
			       unsigned parts)
{
	struct rpc_mpu_create req = { MUT(w), .root = root,
				      .key = wire_cstr(key) };
	struct rpc_mpu_create_rsp rsp;
	struct wire_vec v;
	struct reply r;

	CALL(w, mpu_create, &req, &r);
	assert_int_equal(r.status, RPC_STATUS_OK);
	assert_int_equal(rpc_mpu_create_rsp_decode(&rsp, r.payload.data,
						   r.payload.len), 0);
	reply_fini(&r);
	for (uint32_t n = 1; n <= parts; n++) {
		struct rpc_mpu_part part = {
			MUT(w), .root = root, .key = wire_cstr(key),
			.upload = rsp.upload, .part = n,
			.size = n % 40 == 0 ? 3 * REGION : 100,
			.etag = wire_cstr(MD5),
		};

		part.extents = chunks(&v, 0, part.size);
		DO(w, mpu_part, &part);
		wire_vec_fini(&v);
	}
	return rsp.upload;
}

static void complete(struct world *w, uint64_t root, const char *key,
		     struct wire_u128 id, uint32_t parts)
{
	struct wire_bytes etag = wire_cstr(MD5), none = { NULL, 0 };
	struct rpc_mpu_complete req = { MUT(w), .root = root, .umask = 022,
					.key = wire_cstr(key), .upload = id };
	struct wire_vec list;

	wire_vec_init(&list);
	for (uint32_t n = 1; n <= parts; n++) {
		struct wire_writer out = wire_vec_add(&list);

		wire_put_u32(&out, &n);
		wire_put_str(&out, &etag);
		wire_put_kvs(&out, &none);
	}
	req.parts = wire_vec_bytes(&list);
	DO(w, mpu_complete, &req);
	wire_vec_fini(&list);
}

/* --- what is left --- */

static void on_sync(void *arg, int status)
{
	*(int *)arg = status == 0;
}

static void on_finding(void *arg, const char *text)
{
	print_error("# check: %s\n", text);
	++*(unsigned *)arg;
}

static unsigned count(struct world *w, uint8_t type)
{
	struct wire_bytes key, value;
	struct rows_iter *it;
	struct ns_key from, to;
	unsigned n = 0;
	int synced = 0;

	assert_int_equal(rows_sync(shard_set_rows(w->set), on_sync, &synced),
			 0);
	minienv_run(w->m);
	assert_true(synced);
	ns_key_start(&from, SHARD, type);
	to = from;
	ns_key_end(&to);
	assert_int_equal(rows_iter_new(w->back, ns_key_get(&from),
				       ns_key_get(&to), &it), 0);
	while (rows_iter_next(it, &key, &value) == 0)
		n++;
	rows_iter_free(it);
	return n;
}

static void expect_clean(struct world *w)
{
	unsigned findings = 0;

	(void)count(w, 0); /* rows_sync */
	assert_int_equal(ns_check(w->back, SHARD, on_finding, &findings), 0);
	assert_int_equal(findings, 0);
}

/* Rows but the root's, answer slots, counters and those of slices. */
static unsigned rows_left(struct world *w)
{
	static const uint8_t gone[] = {
		NS_T_XATTR, NS_T_LINK, NS_T_PAGE,   NS_T_DENT,
		NS_T_OPEN,  NS_T_PART, NS_T_REGION, NS_T_UPLOAD,
	};
	unsigned n = count(w, NS_T_INODE);

	for (size_t i = 0; i < sizeof gone; i++)
		n += count(w, gone[i]);
	return n - 1;
}

static bool was_dropped(const struct world *w, uint32_t slice)
{
	struct wire_u128 id = slice_make(SHARD, MADE, 1, slice);

	for (unsigned i = 0; i < w->n_dropped; i++)
		if (w->dropped[i].hi == id.hi && w->dropped[i].lo == id.lo)
			return true;
	return false;
}

/* Lets the worker run until nothing is left; seconds are bounded. */
static void work_off(struct world *w)
{
	for (unsigned i = 0; i < 30 && rows_left(w) > 0; i++)
		minienv_advance(w->m, SECOND);
	assert_int_equal(rows_left(w), 0);
	expect_clean(w);
	/* what readers may still have waits; then every chunk goes */
	minienv_advance(w->m, 120ull * SECOND);
	for (uint32_t i = 1; i <= slices; i++)
		assert_true(was_dropped(w, i));
	expect_clean(w);
	assert_int_equal(count(w, NS_T_SLICE), slices); /* dead */
	assert_int_equal(count(w, NS_T_QUEUE), slices);
	/* a day later nothing tells of them any more */
	minienv_advance(w->m, 25 * 3600ull * SECOND);
	assert_int_equal(count(w, NS_T_SLICE), 0);
	assert_int_equal(count(w, NS_T_QUEUE), 0);
}

/* Objects and uploads of all kinds, of which nothing is left by name. */
static void make_and_drop(struct world *w, uint64_t root)
{
	struct rpc_mpu_abort abort_req;
	struct wire_u128 id;

	put(w, root, "small", 20000);
	put(w, root, "d/large", 300 * REGION);
	id = upload(w, root, "composite", 150);
	complete(w, root, "composite", id, 150);
	id = upload(w, root, "aborted", 100);
	abort_req = (struct rpc_mpu_abort){ MUT(w), .root = root, .upload = id,
					    .key = wire_cstr("aborted") };
	DO(w, mpu_abort, &abort_req);
	drop(w, root, "small");
	drop(w, root, "d/large");
	drop(w, root, "composite");
}

/* --- tests --- */

static void test_delete_everything(void **state)
{
	struct shard_stats s;
	struct world w;
	uint64_t root;

	(void)state;
	slices = 0;
	world_init(&w);
	root = world_root(&w, 1);
	make_and_drop(&w, root);
	work_off(&w);
	shard_set_stats(w.set, &s);
	assert_true(s.queue_done > 0);
	/* idle again: time alone changes nothing */
	minienv_advance(w.m, 100ull * SECOND);
	shard_set_stats(w.set, &s);
	assert_int_equal(s.in_flight, 0);
	world_fini(&w);
}

/* The uploads of a bucket that is removed. */
static void test_removed_bucket(void **state)
{
	struct rpc_root_remove req;
	struct world w;
	uint64_t root;
	char key[16];

	(void)state;
	slices = 0;
	world_init(&w);
	(void)world_root(&w, 1);
	root = world_root(&w, 2);
	for (unsigned i = 0; i < 6; i++) {
		snprintf(key, sizeof key, "k%u", i);
		(void)upload(&w, root, key, 30 * i);
	}
	req = (struct rpc_root_remove){ MUT(&w), .ino = root };
	DO(&w, root_remove, &req);
	work_off(&w);
	world_fini(&w);
}

/* Cut off after more and more steps of the work: the next start goes on. */
static void test_power_cuts(void **state)
{
	unsigned cuts = 0, steps = 0, busy = 1;
	struct world w;
	uint64_t root;

	(void)state;
	while (busy) {
		slices = 0;
		world_init(&w);
		root = world_root(&w, 1);
		make_and_drop(&w, root);
		/* odd rounds: the rows are gone, now the slices */
		if (cuts % 2 == 1)
			minienv_advance(w.m, 55ull * SECOND);
		minienv_skip(w.m, 10ull * SECOND); /* the worker is due */
		busy = 1;
		for (unsigned i = 0; i < steps && busy; i++)
			busy = minienv_step(w.m);
		world_power_cut(&w, 1000 + cuts++);
		expect_clean(&w);
		work_off(&w);
		world_fini(&w);
		steps += 1 + steps / 6;
	}
	print_message("# %u power cuts, %u steps\n", cuts, steps);
	assert_true(cuts > 10);
}

/* Chunks go when no reader can have the extents any more, never before. */
static void test_lease(void **state)
{
	struct rpc_put again = { .key = wire_cstr("b"), .umask = 022,
				 .size = 20000, .etag = wire_cstr(MD5) };
	struct wire_extent e = { .len = 20000, .kind = WIRE_EXT_CHUNKS };
	struct wire_vec v;
	struct reply r;
	struct world w;
	uint64_t root;

	(void)state;
	slices = 0;
	world_init(&w);
	root = world_root(&w, 1);
	put(&w, root, "a", 20000);
	put(&w, root, "b", 20000);
	put(&w, root, "c", 20000);
	minienv_advance(w.m, 200ull * SECOND);
	assert_int_equal(w.n_dropped, 0);
	drop(&w, root, "a");
	drop(&w, root, "b");
	minienv_advance(w.m, 55ull * SECOND);
	assert_int_equal(w.n_dropped, 0);
	/* a copy that began before keeps the bytes of b */
	e.slice = slice_make(SHARD, MADE, 1, 2);
	wire_vec_init(&v);
	wire_vec_add_extent(&v, &e);
	again.client = 9;
	again.slot = 1;
	again.seq = ++w.seq;
	again.root = root;
	again.extents = wire_vec_bytes(&v);
	DO(&w, put, &again);
	minienv_advance(w.m, 200ull * SECOND);
	assert_int_equal(w.n_dropped, 1);
	assert_true(was_dropped(&w, 1));
	/* one of a comes too late */
	wire_vec_fini(&v);
	wire_vec_init(&v);
	e.slice = slice_make(SHARD, MADE, 1, 1);
	wire_vec_add_extent(&v, &e);
	again.seq = ++w.seq;
	again.key = wire_cstr("a");
	again.extents = wire_vec_bytes(&v);
	CALL(&w, put, &again, &r);
	assert_int_equal(r.status, RPC_STATUS_SLICE_GONE);
	reply_fini(&r);
	wire_vec_fini(&v);
	expect_clean(&w);
	world_fini(&w);
}

/* A store that does not answer: the row stays until it did. */
static void test_drop_fails(void **state)
{
	struct world w;
	uint64_t root;

	(void)state;
	slices = 0;
	world_init(&w);
	root = world_root(&w, 1);
	put(&w, root, "a", 20000);
	drop(&w, root, "a");
	w.drop_fails = 5;
	minienv_advance(w.m, 62ull * SECOND);
	assert_true(w.drop_fails > 0 && w.drop_fails < 5);
	assert_int_equal(count(&w, NS_T_QUEUE), 2); /* waits, and dead */
	world_power_cut(&w, 7);
	assert_int_equal(count(&w, NS_T_QUEUE), 2);
	work_off(&w);
	assert_int_equal(w.n_dropped, 1);
	world_fini(&w);
}

/* Given up by its writer: no reader can have it, so it goes at once. */
static void test_given_up(void **state)
{
	struct rpc_slice_drop req = { .client = 0 };
	struct wire_writer out;
	struct wire_u128 id;
	struct wire_vec v;
	struct world w;

	(void)state;
	slices = 1;
	id = slice_make(SHARD, MADE, 1, 1);
	world_init(&w);
	(void)world_root(&w, 1);
	wire_vec_init(&v);
	out = wire_vec_add(&v);
	wire_put_u128(&out, &id);
	req.slices = wire_vec_bytes(&v);
	DO(&w, slice_drop, &req);
	wire_vec_fini(&v);
	minienv_advance(w.m, SECOND);
	assert_true(was_dropped(&w, 1));
	work_off(&w);
	world_fini(&w);
}

/* Rows that are never in memory: each command waits more than once. */
static void test_forget(void **state)
{
	struct world w;
	uint64_t root;

	(void)state;
	slices = 0;
	world_init(&w);
	rows_set_forget(shard_set_rows(w.set), 1);
	root = world_root(&w, 1);
	make_and_drop(&w, root);
	work_off(&w);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delete_everything),
		cmocka_unit_test(test_removed_bucket),
		cmocka_unit_test(test_power_cuts),
		cmocka_unit_test(test_lease),
		cmocka_unit_test(test_drop_fails),
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_forget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
