/*
 * storaged/shard*: one shard over the small env, a file system that knows
 * power cuts, and the memory back, with the real Raft host and namespace.
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

#include "common/wire/msgs.h"
#include "common/wire/status.h"
#include "tests/lib/shardworld.h"

static void test_put_get(void **state)
{
	struct rpc_list list = { .prefix = wire_cstr(""), .max = 100 };
	struct rpc_list_rsp rsp;
	uint32_t count;
	struct world w;
	uint64_t root;
	struct reply r;

	(void)state;
	world_init(&w);
	root = world_root(&w, 1);
	world_put(&w, root, "a", "small", 5);
	world_put(&w, root, "dir/b", world_big, 6000);
	world_put(&w, root, "dir/c", world_big, 16000);
	world_put(&w, root, "a", world_big + 1, 3000);
	assert_int_equal(world_get(&w, root, "a", world_big + 1, 3000),
			 RPC_STATUS_OK);
	assert_int_equal(world_get(&w, root, "dir/b", world_big, 6000),
			 RPC_STATUS_OK);
	assert_int_equal(world_get(&w, root, "dir/c", world_big, 16000),
			 RPC_STATUS_OK);
	assert_int_equal(world_get(&w, root, "none", "", 0), RPC_STATUS_NOENT);
	list.root = root;
	CALL(&w, list, &list, &r);
	assert_int_equal(r.status, RPC_STATUS_OK);
	assert_int_equal(rpc_list_rsp_decode(&rsp, r.payload.data,
					     r.payload.len), 0);
	(void)wire_vec_reader(rsp.entries, &count);
	assert_int_equal(count, 3);
	reply_fini(&r);
	world_fini(&w);
}

static void test_refusals(void **state)
{
	struct rpc_getattr req = { .ino = 1 };
	struct world w;
	struct reply r;
	struct buf b;

	(void)state;
	world_init(&w);
	buf_init(&b, 0);
	(void)rpc_getattr_encode(&req, &b);
	world_send_to(&w, SHARD + 1, RPC_TAG_getattr, &b, &r);
	minienv_run(w.m);
	assert_int_equal(r.n, 1);
	assert_int_equal(r.status, RPC_STATUS_WRONG_STORE);
	reply_fini(&r);
	buf_init(&b, 0);
	world_send_to(&w, SHARD, 0x9999, &b, &r);
	minienv_run(w.m);
	assert_int_equal(r.status, RPC_STATUS_UNKNOWN_MSG);
	reply_fini(&r);
	world_fini(&w);
}

/* What was answered is there after power cuts, with and without checkpoints. */
static void test_power_cuts(void **state)
{
	uint64_t index, index2;
	char key[16];
	struct world w;
	uint64_t root;
	int64_t now;

	(void)state;
	world_init(&w);
	root = world_root(&w, 1);
	for (unsigned round = 0; round < 12; round++) {
		for (unsigned i = 0; i < 10; i++) {
			snprintf(key, sizeof key, "k%u-%u", round, i);
			world_put(&w, root, key, world_big + round,
				  100 + i * 700);
		}
		if (round % 4 == 2) { /* by itself after half a minute */
			minienv_advance(w.m, 31ull * SECOND);
			assert_int_equal(shard_read_applied(
				w.back, SHARD, &index, &now), 0);
			assert_true(index > 0);
			assert_true(now > 0);
		}
		world_power_cut(&w, 100 + round);
		for (unsigned j = 0; j <= round; j++)
			for (unsigned i = 0; i < 10; i++) {
				snprintf(key, sizeof key, "k%u-%u", j, i);
				assert_int_equal(world_get(&w, root, key,
							   world_big + j,
							   100 + i * 700),
						 RPC_STATUS_OK);
			}
	}
	/* a flush on a clean way out leaves nothing to replay */
	minienv_run(w.m);
	assert_int_equal(shard_set_flush(w.set), 0);
	assert_int_equal(rows_back_checkpoint(w.back), 0);
	assert_int_equal(shard_read_applied(w.back, SHARD, &index, &now), 0);
	index2 = raft_group_applied(shard_group(w.set, SHARD));
	assert_true(index > 100 && index <= index2);
	world_fini(&w);
}

/* --- durability memory --- */

/* Makes a file; its inode. */
static uint64_t make_loose(struct world *w, uint64_t root, const char *name,
			   uint64_t *ret_change)
{
	struct rpc_mknod req = { MUT(w), .dir = root, .name = wire_cstr(name),
				 .mode = S_IFREG | 0644 };
	struct rpc_mknod_rsp rsp;
	struct reply r;
	struct buf b;

	buf_init(&b, 0);
	assert_int_equal(rpc_mknod_encode(&req, &b), 0);
	world_send_loose(w, RPC_TAG_mknod, &b, &r);
	minienv_run(w->m);
	buf_fini(&b);
	assert_int_equal(r.n, 1);
	assert_int_equal(r.status, RPC_STATUS_OK);
	assert_int_equal(rpc_mknod_rsp_decode(&rsp, r.payload.data,
					      r.payload.len), 0);
	reply_fini(&r);
	*ret_change = rsp.dir.change;
	return rsp.attr.ino;
}

static uint32_t find(struct world *w, uint64_t root, const char *name)
{
	struct rpc_lookup req = { .dir = root, .name = wire_cstr(name) };
	struct reply r;
	uint32_t status;

	CALL(w, lookup, &req, &r);
	status = r.status;
	reply_fini(&r);
	return status;
}

/*
 * Answered at once, and gone with a power cut; what it was answered with, inode
 * and change, is not given out again, however often that happens.
 */
static void test_loose(void **state)
{
	uint64_t ino = 0, change = 0, root;
	struct seg_stats before, after;
	unsigned lost = 0;
	struct world w;

	(void)state;
	world_init(&w);
	root = world_root(&w, 1);
	for (unsigned round = 0; round < 8; round++) {
		uint64_t new_ino, new_change;

		seg_head_stats(w.log, &before);
		new_ino = make_loose(&w, root, "a", &new_change);
		seg_head_stats(w.log, &after);
		assert_int_equal(after.syncs, before.syncs);
		assert_true(new_ino > ino);
		assert_true(new_change > change);
		assert_int_equal(find(&w, root, "a"), RPC_STATUS_OK);
		world_power_cut(&w, 100 + round);
		if (find(&w, root, "a") == RPC_STATUS_OK)
			break; /* the disk wrote it by itself */
		lost++;
		ino = new_ino;
		change = new_change;
	}
	assert_true(lost > 0);
	world_fini(&w);
}

/* A page read needs rows, so the log; and one that is not loose takes all. */
static void test_loose_then_durable(void **state)
{
	struct rpc_readdir req = { .max = 100 };
	struct world w;
	struct reply r;
	uint64_t change;

	(void)state;
	world_init(&w);
	req.dir = world_root(&w, 1);
	for (unsigned round = 0; round < 4; round++) {
		char name[8];

		snprintf(name, sizeof name, "f%u", round);
		(void)make_loose(&w, req.dir, name, &change);
		assert_true(seg_head_is_loose(w.log));
		if (round == 0) {
			CALL(&w, readdir, &req, &r);
			assert_int_equal(r.status, RPC_STATUS_OK);
			reply_fini(&r);
		} else if (round == 1) {
			world_put(&w, req.dir, "big", world_big, 100);
		} else if (round == 2) {
			minienv_advance(w.m, SEG_LOOSE_NS);
		} else {
			assert_int_equal(shard_set_checkpoint(w.set, NULL,
							      NULL), 0);
			minienv_run(w.m);
		}
		assert_false(seg_head_is_loose(w.log));
		world_power_cut(&w, 200 + round);
		assert_int_equal(find(&w, req.dir, name), RPC_STATUS_OK);
	}
	world_fini(&w);
}

/* Many at once, killed in the middle: answered ones stay. */
static void test_kill_in_flight(void **state)
{
	enum { N = 40 };
	static struct wire_vec v[N];
	static struct reply r[N];
	unsigned acked = 0;
	struct world w;
	uint64_t root;
	char key[16];

	(void)state;
	world_init(&w);
	root = world_root(&w, 1);
	for (unsigned round = 0; round < 30; round++) {
		for (unsigned i = 0; i < N; i++) {
			struct rpc_put req;

			snprintf(key, sizeof key, "k%u", i);
			world_put_request(&w, root, key, world_big + round,
					  1000, &v[i], &req);
			req.slot = 100 + i;
			SEND(&w, put, &req, &r[i]);
			wire_vec_fini(&v[i]);
		}
		for (unsigned step = 0; step < round * 20; step++)
			(void)minienv_step(w.m);
		world_power_cut(&w, 500 + round);
		for (unsigned i = 0; i < N; i++) {
			snprintf(key, sizeof key, "k%u", i);
			if (r[i].n > 0) {
				assert_int_equal(r[i].status, RPC_STATUS_OK);
				assert_int_equal(world_get(&w, root, key,
							   world_big + round,
							   1000),
						 RPC_STATUS_OK);
				acked++;
			}
			reply_fini(&r[i]);
		}
	}
	print_message("# %u of %u answered\n", acked, 30 * N);
	assert_true(acked > 0 && acked < 30 * N);
	world_fini(&w);
}

/* Rows that must be loaded: every command waits once and more. */
static void test_forget(void **state)
{
	struct shard_stats s;
	char key[16];
	struct world w;
	uint64_t root;

	(void)state;
	world_init(&w);
	rows_set_forget(shard_set_rows(w.set), 1);
	root = world_root(&w, 1);
	for (unsigned i = 0; i < 50; i++) {
		snprintf(key, sizeof key, "d%u/k%u", i % 5, i);
		world_put(&w, root, key, world_big + i, 900);
	}
	for (unsigned i = 0; i < 50; i++) {
		snprintf(key, sizeof key, "d%u/k%u", i % 5, i);
		assert_int_equal(world_get(&w, root, key, world_big + i, 900),
				 RPC_STATUS_OK);
	}
	shard_set_stats(w.set, &s);
	assert_true(s.parks > 0 && s.dry_runs > 0);
	print_message("# %llu parks, %llu dry runs, %llu mutations\n",
		      (unsigned long long)s.parks,
		      (unsigned long long)s.dry_runs,
		      (unsigned long long)s.mutations);
	world_fini(&w);
}

/* One bit of a value flips on the disk: an error, never the bytes. */
static void test_rot(void **state)
{
	struct rpc_object req = { .len = 1 << 20 };
	struct rpc_object_rsp rsp;
	struct world w;
	struct reply r;
	uint64_t root;
	unsigned bad = 0;

	(void)state;
	world_init(&w);
	root = world_root(&w, 1);
	world_put(&w, root, "v", world_big, 8000);
	assert_int_equal(world_get(&w, root, "v", world_big, 8000),
			 RPC_STATUS_OK);
	req.root = root;
	req.key = wire_cstr("v");
	/* somewhere in the first segment, all over the record */
	for (uint64_t off = 0; off < 14000; off += 500) {
		assert_int_equal(crashfs_flip(w.fs, "log/0000000000000001.seg",
					      off, 3), 0);
		CALL(&w, object, &req, &r);
		if (r.status == RPC_STATUS_OK) {
			assert_int_equal(rpc_object_rsp_decode(
				&rsp, r.payload.data, r.payload.len), 0);
			assert_memory_equal(r.body->data, world_big, 8000);
		} else {
			assert_int_equal(r.status, RPC_STATUS_IO);
			assert_null(r.body);
			bad++;
		}
		reply_fini(&r);
		assert_int_equal(crashfs_flip(w.fs, "log/0000000000000001.seg",
					      off, 3), 0);
	}
	assert_true(bad >= 8000 / 500 - 1);
	assert_int_equal(w.rots, bad);
	assert_int_equal(world_get(&w, root, "v", world_big, 8000),
			 RPC_STATUS_OK);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_get),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_power_cuts),
		cmocka_unit_test(test_loose),
		cmocka_unit_test(test_loose_then_durable),
		cmocka_unit_test(test_kill_in_flight),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_rot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
