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
#define MD5 "11111111111111111111111111111111"

static uint64_t slices; /* made so far */

static struct wire_bytes chunks(struct wire_vec *v, uint64_t pos, uint64_t len)
{
	struct wire_extent e = {
		.pos = pos, .len = len, .kind = WIRE_EXT_CHUNKS,
		.slice = { (uint64_t)SHARD << 48, ++slices },
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

/* Rows but the root's, answer slots, counters and slices to be freed. */
static unsigned rows_left(struct world *w)
{
	static const uint8_t gone[] = {
		NS_T_XATTR, NS_T_LINK, NS_T_PAGE,   NS_T_DENT, NS_T_SLICE,
		NS_T_OPEN,  NS_T_PART, NS_T_REGION, NS_T_UPLOAD,
	};
	unsigned n = count(w, NS_T_INODE);

	for (size_t i = 0; i < sizeof gone; i++)
		n += count(w, gone[i]);
	return n - 1;
}

/* Lets the worker run until nothing is left; seconds are bounded. */
static void work_off(struct world *w)
{
	for (unsigned i = 0; i < 60 && rows_left(w) > 0; i++)
		minienv_advance(w->m, SECOND);
	assert_int_equal(rows_left(w), 0);
	assert_int_equal(count(w, NS_T_QUEUE), slices);
	expect_clean(w);
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
		minienv_skip(w.m, SECOND); /* the worker's timer is due */
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
		cmocka_unit_test(test_forget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
