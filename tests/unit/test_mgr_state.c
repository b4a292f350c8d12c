/*
 * The managers' state machine: users, keys, buckets, sessions, stores; run
 * over the memory back with rows forgotten at random, so that every command
 * also goes through "load and run again".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/loop.h"
#include "common/base/mem.h"
#include "managerd/mgr_state.h"

struct fixture {
	struct loop_set *set;
	struct env *env;
	struct rows_mem_image *image;
	struct rows_back *back;
	struct rows *rows;
	struct rows_txn *txn;
	struct mgr_answer answer;
	bool loaded;
	int64_t now;
};

static void on_loaded(void *arg, int status)
{
	struct fixture *f = arg;

	f->loaded = status == 0;
	loop_set_stop(f->set);
}

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof *f);

	assert_int_equal(loop_set_new(1, 1, &f->set), 0);
	f->env = loop_env(loop_set_get(f->set, 0));
	f->image = rows_mem_image_new();
	assert_int_equal(rows_back_mem(f->image, &f->back), 0);
	assert_int_equal(rows_new(f->env, f->back, 0, &f->rows), 0);
	rows_set_forget(f->rows, 3);
	f->txn = rows_txn_new(f->rows);
	buf_init(&f->answer.payload, 0);
	f->now = 1000;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	buf_fini(&f->answer.payload);
	rows_txn_free(f->txn);
	rows_free(f->rows);
	rows_back_close(f->back);
	rows_mem_image_free(f->image);
	loop_set_free(f->set);
	mem_free(f);
	return 0;
}

/* Runs one command to its end; the answer is in f. Returns the status. */
static uint32_t apply(struct fixture *f, uint8_t cmd, const struct buf *payload)
{
	struct buf entry;
	int rv;

	buf_init(&entry, 0);
	assert_int_equal(mgr_cmd_encode(&entry, cmd, ++f->now, payload->data,
					payload->len),
			 0);
	while ((rv = mgr_apply(f->txn, entry.data, entry.len, &f->answer)) ==
	       -EAGAIN) {
		f->loaded = false;
		rows_txn_load(f->txn, on_loaded, f);
		loop_set_run(f->set);
		assert_true(f->loaded);
	}
	assert_int_equal(rv, 0);
	assert_int_equal(rows_txn_commit(f->txn), 0);
	buf_fini(&entry);
	return f->answer.status;
}

#define APPLY(f, name, ...) \
	__extension__({ \
		struct mgr_##name apply_m = { __VA_ARGS__ }; \
		struct buf apply_b; \
		uint32_t apply_s; \
		buf_init(&apply_b, 0); \
		assert_int_equal(mgr_##name##_encode(&apply_m, &apply_b), 0); \
		apply_s = apply((f), MGR_CMD_##name, &apply_b); \
		buf_fini(&apply_b); \
		apply_s; \
	})

static void init_cluster(struct fixture *f)
{
	assert_int_equal(APPLY(f, init, .cluster = { 1, 2 },
			       .region = wire_cstr("r"),
			       .user = wire_cstr("admin"),
			       .canonical = wire_cstr("c0"),
			       .access = wire_cstr("A0"),
			       .secret = wire_cstr("s0"), .inline_max = 16384),
			 RPC_STATUS_OK);
}

static void join_store(struct fixture *f)
{
	assert_int_equal(APPLY(f, store_join, .store = { 7, 8 },
			       .addr = wire_cstr("unix:/x"),
			       .host = wire_cstr("h"), .shards = 8),
			 RPC_STATUS_OK);
}

static struct mgr_bucket_step begin(struct fixture *f, const char *name,
				    const char *owner, uint32_t want)
{
	struct mgr_bucket_step step = { 0 };

	assert_int_equal(APPLY(f, bucket_begin, .name = wire_cstr(name),
			       .owner = wire_cstr(owner)),
			 want);
	if (want == RPC_STATUS_OK)
		assert_int_equal(
			mgr_bucket_step_decode(&step, f->answer.payload.data,
					       f->answer.payload.len),
			0);
	return step;
}

static void test_nothing_before_init(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(APPLY(f, user_create, .name = wire_cstr("u")),
			 RPC_STATUS_UNAVAILABLE);
	init_cluster(f);
	assert_int_equal(APPLY(f, init, .region = wire_cstr("other")),
			 RPC_STATUS_EXIST);
}

static void test_users_and_keys(void **state)
{
	struct fixture *f = *state;

	init_cluster(f);
	assert_int_equal(APPLY(f, user_create, .name = wire_cstr("alice"),
			       .canonical = wire_cstr("c1")),
			 RPC_STATUS_OK);
	assert_int_equal(APPLY(f, user_create, .name = wire_cstr("alice")),
			 RPC_STATUS_EXIST);
	assert_int_equal(APPLY(f, user_create, .name = wire_cstr("a/b")),
			 RPC_STATUS_INVAL);
	assert_int_equal(APPLY(f, key_create, .user = wire_cstr("nobody"),
			       .access = wire_cstr("X")),
			 RPC_STATUS_NO_USER);
	assert_int_equal(APPLY(f, key_create, .user = wire_cstr("alice"),
			       .access = wire_cstr("A1"),
			       .secret = wire_cstr("s1")),
			 RPC_STATUS_OK);
	assert_int_equal(APPLY(f, key_create, .user = wire_cstr("alice"),
			       .access = wire_cstr("A0")),
			 RPC_STATUS_EXIST);
	assert_int_equal(APPLY(f, key_delete, .access = wire_cstr("A9")),
			 RPC_STATUS_NO_KEY);
	assert_int_equal(APPLY(f, user_delete, .name = wire_cstr("alice")),
			 RPC_STATUS_OK);
	/* her keys went with her */
	assert_int_equal(APPLY(f, key_delete, .access = wire_cstr("A1")),
			 RPC_STATUS_NO_KEY);
	assert_int_equal(APPLY(f, user_delete, .name = wire_cstr("alice")),
			 RPC_STATUS_NO_USER);
}

static void test_bucket_life(void **state)
{
	struct fixture *f = *state;
	struct mgr_bucket_step a, again;

	init_cluster(f);
	begin(f, "bucket", "admin", RPC_STATUS_UNAVAILABLE); /* no shard */
	join_store(f);
	begin(f, "Bad", "admin", RPC_STATUS_INVAL);
	begin(f, "bucket", "nobody", RPC_STATUS_NO_USER);
	a = begin(f, "bucket", "admin", RPC_STATUS_OK);
	again = begin(f, "bucket", "admin", RPC_STATUS_OK); /* resumed */
	assert_int_equal(a.id, again.id);
	assert_int_equal(a.shard, again.shard);
	assert_int_equal(APPLY(f, bucket_ready, .client = 5, .slot = 1,
			       .seq = 1, .name = wire_cstr("bucket"),
			       .id = a.id, .root = 99),
			 RPC_STATUS_OK);
	begin(f, "bucket", "admin", RPC_STATUS_BUCKET_OWNED);
	assert_int_equal(APPLY(f, user_create, .name = wire_cstr("bob")),
			 RPC_STATUS_OK);
	begin(f, "bucket", "bob", RPC_STATUS_BUCKET_EXISTS);
	assert_int_equal(APPLY(f, user_delete, .name = wire_cstr("admin")),
			 RPC_STATUS_NOTEMPTY);
	assert_int_equal(APPLY(f, bucket_deleting, .name = wire_cstr("bucket"),
			       .owner = wire_cstr("bob")),
			 RPC_STATUS_ACCES);
	assert_int_equal(APPLY(f, bucket_deleting, .name = wire_cstr("bucket"),
			       .owner = wire_cstr("admin")),
			 RPC_STATUS_OK);
	begin(f, "bucket", "admin", RPC_STATUS_BUSY);
	assert_int_equal(APPLY(f, bucket_restore, .name = wire_cstr("bucket"),
			       .id = a.id),
			 RPC_STATUS_OK);
	begin(f, "bucket", "admin", RPC_STATUS_BUCKET_OWNED);
	assert_int_equal(APPLY(f, bucket_deleting, .name = wire_cstr("bucket"),
			       .owner = wire_cstr("admin")),
			 RPC_STATUS_OK);
	assert_int_equal(APPLY(f, bucket_gone, .name = wire_cstr("bucket"),
			       .id = a.id),
			 RPC_STATUS_OK);
	assert_int_equal(APPLY(f, bucket_deleting, .name = wire_cstr("bucket"),
			       .owner = wire_cstr("admin")),
			 RPC_STATUS_NO_BUCKET);
}

/* A retry after the answer was lost is answered, not refused as a duplicate. */
static void test_retry_is_answered(void **state)
{
	struct fixture *f = *state;
	struct mgr_bucket_step a, b = { 0 };

	init_cluster(f);
	join_store(f);
	assert_int_equal(APPLY(f, bucket_begin, .client = 5, .slot = 1,
			       .seq = 1, .name = wire_cstr("bucket"),
			       .owner = wire_cstr("admin")),
			 RPC_STATUS_OK);
	assert_int_equal(mgr_bucket_step_decode(&a, f->answer.payload.data,
						f->answer.payload.len),
			 0);
	assert_int_equal(APPLY(f, bucket_ready, .client = 5, .slot = 1,
			       .seq = 1, .name = wire_cstr("bucket"),
			       .id = a.id, .root = 99),
			 RPC_STATUS_OK);
	assert_int_equal(APPLY(f, bucket_begin, .client = 5, .slot = 1,
			       .seq = 1, .name = wire_cstr("bucket"),
			       .owner = wire_cstr("admin")),
			 RPC_STATUS_OK);
	assert_int_equal(mgr_bucket_step_decode(&b, f->answer.payload.data,
						f->answer.payload.len),
			 0);
	assert_true(b.done);
	/* a new request with the same name is refused */
	assert_int_equal(APPLY(f, bucket_begin, .client = 5, .slot = 1,
			       .seq = 2, .name = wire_cstr("bucket"),
			       .owner = wire_cstr("admin")),
			 RPC_STATUS_BUCKET_OWNED);
}

static void on_synced(void *arg, int status)
{
	struct fixture *f = arg;

	f->loaded = status == 0;
	loop_set_stop(f->set);
}

/* What was applied is where a snapshot finds it. */
static void sync_rows(struct fixture *f)
{
	f->loaded = false;
	rows_sync(f->rows, on_synced, f);
	loop_set_run(f->set);
	assert_true(f->loaded);
}

/* Of the cluster's record; it rises with every change. */
static uint64_t cluster_version(struct fixture *f)
{
	uint64_t version = 0;
	struct buf out;

	sync_rows(f);
	buf_init(&out, 0);
	assert_int_equal(mgr_snapshot(f->back, &out, &version), 0);
	buf_fini(&out);
	assert_true(version > 0);
	return version;
}

static void test_stores(void **state)
{
	struct fixture *f = *state;
	struct rpc_store_join_rsp rsp;
	uint64_t version;

	init_cluster(f);
	/* one that only asks is told, and leaves nothing */
	assert_int_equal(APPLY(f, store_join, .store = { 7, 8 }, .shards = 8),
			 RPC_STATUS_NOENT);
	join_store(f);
	assert_int_equal(rpc_store_join_rsp_decode(&rsp,
						   f->answer.payload.data,
						   f->answer.payload.len),
			 0);
	assert_int_equal(rsp.raft_id, 1);
	assert_int_equal(rsp.shards.len, 16);
	version = cluster_version(f);
	assert_int_equal(APPLY(f, store_join, .store = { 7, 8 }, .shards = 8),
			 RPC_STATUS_OK);
	assert_int_equal(rpc_store_join_rsp_decode(&rsp,
						   f->answer.payload.data,
						   f->answer.payload.len),
			 0);
	assert_int_equal(rsp.raft_id, 1);
	assert_int_equal(rsp.shards.len, 16);
	assert_int_equal(cluster_version(f), version);
	join_store(f); /* the same one again */
	assert_int_equal(rpc_store_join_rsp_decode(&rsp,
						   f->answer.payload.data,
						   f->answer.payload.len),
			 0);
	assert_int_equal(rsp.raft_id, 1);
	assert_int_equal(APPLY(f, store_join, .store = { 9, 9 },
			       .addr = wire_cstr("unix:/y"), .shards = 8),
			 RPC_STATUS_NOTSUP);
}

static void test_sessions_never_repeat(void **state)
{
	struct fixture *f = *state;
	struct rpc_session_open_rsp rsp;
	uint64_t last = 0;

	init_cluster(f);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(APPLY(f, session_open,
				       .kind = wire_cstr("mount")),
				 RPC_STATUS_OK);
		assert_int_equal(rpc_session_open_rsp_decode(
					 &rsp, f->answer.payload.data,
					 f->answer.payload.len),
				 0);
		assert_true(rsp.session > last);
		last = rsp.session;
	}
}

static void test_snapshot(void **state)
{
	struct fixture *f = *state;
	struct cluster *c = NULL;
	struct buf out;
	uint64_t version = 0;

	init_cluster(f);
	join_store(f);
	begin(f, "zz1", "admin", RPC_STATUS_OK);
	begin(f, "aa1", "admin", RPC_STATUS_OK);
	sync_rows(f);
	buf_init(&out, 0);
	assert_int_equal(mgr_snapshot(f->back, &out, &version), 0);
	assert_int_equal(cluster_decode(out.data, out.len, &c), 0);
	assert_int_equal(c->top.version, version);
	assert_int_equal(c->n_stores, 1);
	assert_int_equal(c->n_shards, 8);
	assert_int_equal(c->n_users, 1);
	assert_int_equal(c->n_keys, 1);
	assert_int_equal(c->n_buckets, 2);
	assert_non_null(cluster_find_bucket(c, wire_cstr("zz1")));
	assert_non_null(cluster_find_key(c, wire_cstr("A0")));
	assert_null(cluster_find_bucket(c, wire_cstr("mm1")));
	cluster_unref(c);
	buf_fini(&out);
}

static bool is_loose(struct fixture *f, const char *bucket)
{
	struct cluster *c = NULL;
	uint64_t version = 0;
	struct buf out;
	bool loose;

	sync_rows(f);
	buf_init(&out, 0);
	assert_int_equal(mgr_snapshot(f->back, &out, &version), 0);
	assert_int_equal(cluster_decode(out.data, out.len, &c), 0);
	assert_int_equal(c->top.version, version);
	loose = cluster_is_loose(c, cluster_find_bucket(c, wire_cstr(bucket)));
	cluster_unref(c);
	buf_fini(&out);
	return loose;
}

static uint32_t durability(struct fixture *f, const char *bucket, uint8_t d)
{
	return APPLY(f, durability, .bucket = wire_cstr(bucket),
		     .durability = d);
}

static void test_durability(void **state)
{
	struct fixture *f = *state;
	uint8_t d;

	init_cluster(f);
	join_store(f);
	begin(f, "zz1", "admin", RPC_STATUS_OK);
	begin(f, "aa1", "admin", RPC_STATUS_OK);
	assert_false(is_loose(f, "zz1"));
	assert_false(is_loose(f, "nobody"));
	assert_int_equal(durability(f, "zz1", CLUSTER_DURABILITY_MEMORY), 0);
	assert_true(is_loose(f, "zz1"));
	assert_false(is_loose(f, "aa1"));
	assert_int_equal(durability(f, "", CLUSTER_DURABILITY_MEMORY), 0);
	assert_int_equal(durability(f, "zz1", CLUSTER_DURABILITY_DISK), 0);
	assert_false(is_loose(f, "zz1"));
	assert_true(is_loose(f, "aa1"));
	assert_false(is_loose(f, "nobody"));
	assert_int_equal(durability(f, "zz1", CLUSTER_DURABILITY_DEFAULT), 0);
	assert_true(is_loose(f, "zz1"));
	assert_int_equal(durability(f, "zz1", 3), RPC_STATUS_INVAL);
	assert_int_equal(durability(f, "mm1", 1), RPC_STATUS_NO_BUCKET);
	assert_int_equal(durability(f, "BAD", 1), RPC_STATUS_NO_BUCKET);
	for (uint8_t i = 0; i < 3; i++) {
		assert_int_equal(cluster_durability_parse(
			cluster_durability_name(i), &d), 0);
		assert_int_equal(d, i);
	}
	assert_int_equal(cluster_durability_parse("", &d), -EINVAL);
	assert_string_equal(cluster_durability_name(9), "unknown");
}

/* Bytes of a log that was damaged or made by a newer version. */
static void test_bad_entries(void **state)
{
	struct fixture *f = *state;
	static const uint8_t newer[] = { 2, 1, 0, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t unknown[] = { 1, 200, 0, 0, 0, 0, 0, 0, 0, 0 };

	init_cluster(f);
	assert_int_equal(mgr_apply(f->txn, newer, sizeof newer, &f->answer),
			 -EIO);
	assert_int_equal(mgr_apply(f->txn, newer, 3, &f->answer), -EIO);
	for (;;) {
		int rv = mgr_apply(f->txn, unknown, sizeof unknown,
				   &f->answer);

		if (rv != -EAGAIN) {
			assert_int_equal(rv, -EIO);
			break;
		}
		rows_txn_load(f->txn, on_loaded, f);
		loop_set_run(f->set);
	}
}

static void test_names(void **state)
{
	static const char *good[] = { "abc", "a-b.c", "1ab", "a1b" };
	static const char *bad[] = { "ab",   "aBc",	"-ab",	"ab-",
				     "a..b", "1.2.3.4", "a_b",	"xn--ab",
				     "a.-b", "a-.b",	"a b",	"" };

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		assert_null(mgr_check_bucket_name(wire_cstr(good[i])));
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_non_null(mgr_check_bucket_name(wire_cstr(bad[i])));
}

static uint64_t open_session(struct fixture *f, const char *kind)
{
	struct rpc_session_open_rsp rsp;

	assert_int_equal(APPLY(f, session_open, .kind = wire_cstr(kind),
			       .host = wire_cstr("h"), .lease_ms = 1234),
			 RPC_STATUS_OK);
	assert_int_equal(rpc_session_open_rsp_decode(&rsp,
						     f->answer.payload.data,
						     f->answer.payload.len),
			 0);
	assert_int_equal(rsp.lease_ms, 1234);
	return rsp.session;
}

/* The row of a session: 0 none, 1 alive, 2 ended. */
static int session_row(struct fixture *f, uint64_t id)
{
	struct mgr_row_session row;
	uint8_t key[MGR_KEY_MAX], be[8];
	struct wire_bytes v;
	int rv;

	for (int i = 0; i < 8; i++)
		be[i] = (uint8_t)(id >> (56 - 8 * i));
	while ((rv = rows_get(f->txn, mgr_key(key, 'N', be, 8), &v)) ==
	       -EAGAIN) {
		rows_txn_load(f->txn, on_loaded, f);
		loop_set_run(f->set);
	}
	if (rv == 0)
		assert_int_equal(mgr_row_session_decode(&row, v.p, v.len), 0);
	rows_txn_reset(f->txn);
	return rv != 0 ? 0 : row.ended != 0 ? 2 : 1;
}

static void test_sessions_end(void **state)
{
	struct fixture *f = *state;
	uint64_t a, b, c;
	uint8_t list[16] = { 0 };

	init_cluster(f);
	a = open_session(f, "mount");
	b = open_session(f, "gateway");
	c = open_session(f, "mount");
	assert_true(a != 0 && b > a && c > b);
	list[7] = (uint8_t)a;
	list[15] = (uint8_t)c;
	/* gone before it ended: not so */
	assert_int_equal(APPLY(f, session_gone, .sessions = { list, 16 }),
			 RPC_STATUS_OK);
	assert_int_equal(session_row(f, a), 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(APPLY(f, session_end,
				       .sessions = { list, 16 }),
				 RPC_STATUS_OK);
		assert_int_equal(session_row(f, a), 2);
		assert_int_equal(session_row(f, b), 1);
		assert_int_equal(session_row(f, c), 2);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(APPLY(f, session_gone,
				       .sessions = { list, 8 }),
				 RPC_STATUS_OK);
		assert_int_equal(session_row(f, a), 0);
		assert_int_equal(session_row(f, c), 2);
	}
	assert_int_equal(APPLY(f, session_end, .sessions = { list, 16 }),
			 RPC_STATUS_OK);
	assert_int_equal(session_row(f, a), 0); /* does not come back */
	assert_true(open_session(f, "mount") > c);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_nothing_before_init),
		TEST(test_users_and_keys),
		TEST(test_bucket_life),
		TEST(test_retry_is_answered),
		TEST(test_stores),
		TEST(test_sessions_never_repeat),
		TEST(test_sessions_end),
		TEST(test_snapshot),
		TEST(test_durability),
		TEST(test_bad_entries),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
