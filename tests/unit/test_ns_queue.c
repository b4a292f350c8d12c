/*
 * What commands put off: large inodes, parts, uploads of a removed bucket.
 * Each test ends with a shard in which nothing is left but what must be.
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
#include "tests/lib/nsharness.h"

enum { SHARD = 5 };
#define OK RPC_STATUS_OK
#define REG (S_IFREG | 0644)
#define REGION ((uint64_t)WIRE_REGION)
#define MD5 "11111111111111111111111111111111"

struct fix {
	struct nsh *h;
	uint64_t root;
	uint64_t slice; /* the last one that was used */
};

static int setup(void **state)
{
	static struct fix f;

	f.h = nsh_new(SHARD, 2);
	f.root = nsh_root(f.h, 7);
	f.slice = 0;
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	return nsh_free(f->h) == 0 ? 0 : -1;
}

/* No bytes, parts, attributes, inodes but the root's; slices are queued. */
static void expect_nothing(struct fix *f, unsigned slices)
{
	static const uint8_t gone[] = {
		NS_T_XATTR, NS_T_LINK, NS_T_PAGE,   NS_T_DENT, NS_T_SLICE,
		NS_T_OPEN,  NS_T_PART, NS_T_REGION, NS_T_UPLOAD,
	};

	assert_int_equal(nsh_check(f->h), 0);
	for (size_t i = 0; i < sizeof(gone); i++)
		assert_int_equal(nsh_count(f->h, gone[i]), 0);
	assert_int_equal(nsh_count(f->h, NS_T_INODE), f->root != 0);
	assert_int_equal(nsh_queued(f->h, NS_Q_SLICE), slices);
	assert_int_equal(nsh_count(f->h, NS_T_QUEUE), slices);
}

static uint64_t make(struct fix *f, const char *name)
{
	uint64_t ino;

	assert_int_equal(nsh_mknod(f->h, f->root, name, REG, &ino), OK);
	return ino;
}

static void write_chunks(struct fix *f, uint64_t ino, uint64_t pos,
			 uint64_t len)
{
	struct rpc_write req = { .ino = ino };
	struct rpc_write_rsp rsp;

	req.extents = nsh_chunks(f->h, ++f->slice, pos, len, 0);
	assert_int_equal(NSH(f->h, write, write_rsp, &req, &rsp), OK);
}

static void drop(struct fix *f, const char *name)
{
	assert_int_equal(nsh_unlink(f->h, f->root, name, 0), OK);
}

/* --- inodes --- */

static void test_many_regions(void **state)
{
	struct fix *f = *state;
	uint64_t a = make(f, "a");

	for (int i = 0; i < 3; i++)
		write_chunks(f, a, (uint64_t)i * 70 * REGION, 70 * REGION);
	drop(f, "a");
	assert_int_equal(nsh_queued(f->h, NS_Q_INODE), 1);
	assert_true(nsh_work(f->h) >= 210 / NS_PURGE_REGIONS);
	expect_nothing(f, 3);
}

/* Sparse: the regions that are there, not those that could be. */
static void test_sparse(void **state)
{
	struct fix *f = *state;
	uint64_t a = make(f, "a");

	write_chunks(f, a, 5, 10);
	write_chunks(f, a, 9000 * REGION, 10);
	write_chunks(f, a, NS_SIZE_MAX - REGION, 10);
	drop(f, "a");
	assert_int_equal(nsh_queued(f->h, NS_Q_INODE), 1);
	assert_true(nsh_work(f->h) <= 3);
	expect_nothing(f, 3);
}

/* One region full of pieces: a bounded number of them at a time. */
static void test_many_pieces(void **state)
{
	enum { PIECES = 2500 };
	struct fix *f = *state;
	uint64_t a = make(f, "a");

	for (uint64_t i = 0; i < PIECES; i++)
		write_chunks(f, a, i * 100, 50);
	write_chunks(f, a, 2 * REGION, 50);
	drop(f, "a");
	assert_int_equal(nsh_count(f->h, NS_T_SLICE), PIECES + 1);
	assert_true(nsh_work(f->h) >= PIECES / NS_PURGE_PIECES);
	expect_nothing(f, PIECES + 1);
}

/* Bytes that a large file lost while it stays, and slices that others have. */
static void test_detached_and_shared(void **state)
{
	struct fix *f = *state;
	uint64_t a = make(f, "a"), b = make(f, "b");
	struct rpc_write req = { .ino = b };
	struct rpc_write_rsp rsp;

	write_chunks(f, a, 0, 100 * REGION);
	req.extents = nsh_chunks(f->h, f->slice, 0, 50, 7);
	assert_int_equal(NSH(f->h, write, write_rsp, &req, &rsp), OK);
	assert_int_equal(nsh_truncate(f->h, a, 0), OK);
	write_chunks(f, a, 0, 10);
	(void)nsh_work(f->h);
	assert_int_equal(nsh_check(f->h), 0);
	assert_int_equal(nsh_queued(f->h, NS_Q_SLICE), 0);
	assert_int_equal(nsh_count(f->h, NS_T_SLICE), 2);
	drop(f, "a");
	drop(f, "b");
	(void)nsh_work(f->h);
	expect_nothing(f, 2);
}

static void test_xattrs(void **state)
{
	struct fix *f = *state;
	struct rpc_setxattr req = { .ino = make(f, "a"),
				    .value = wire_cstr("value") };
	struct rpc_empty_rsp rsp;
	char name[32];

	for (int i = 0; i < 150; i++) {
		snprintf(name, sizeof(name), "user.%d", i);
		req.name = wire_cstr(name);
		assert_int_equal(NSH(f->h, setxattr, empty_rsp, &req, &rsp),
				 OK);
	}
	write_chunks(f, req.ino, 0, 10);
	drop(f, "a");
	assert_int_equal(nsh_queued(f->h, NS_Q_INODE), 1);
	assert_true(nsh_work(f->h) >= 150 / NS_PURGE_XATTRS);
	expect_nothing(f, 1);
}

/* Held open: nothing of it goes before the last close. */
static void test_open_inode(void **state)
{
	struct fix *f = *state;
	uint64_t a = make(f, "a");
	uint8_t want = nsh_chunk_byte(1, 77 * REGION), got;

	write_chunks(f, a, 0, 100 * REGION);
	nsh_open(f->h, a);
	drop(f, "a");
	assert_int_equal(nsh_work(f->h), 0);
	assert_int_equal(nsh_bytes(f->h, a, 77 * REGION, 1, &got), OK);
	assert_int_equal(got, want);
	nsh_close(f->h, a);
	assert_true(nsh_work(f->h) > 0);
	expect_nothing(f, 1);
}

/* --- multipart --- */

static struct wire_u128 mpu_begin(struct fix *f, const char *key)
{
	struct rpc_mpu_create req = { .root = f->root, .key = wire_cstr(key),
				      .owner = wire_cstr("me") };
	struct rpc_mpu_create_rsp rsp;

	assert_int_equal(NSH(f->h, mpu_create, mpu_create_rsp, &req, &rsp),
			 OK);
	return rsp.upload;
}

static void mpu_part(struct fix *f, const char *key, struct wire_u128 upload,
		     uint32_t n, uint64_t size)
{
	struct rpc_mpu_part req = { .root = f->root, .key = wire_cstr(key),
				    .upload = upload, .part = n, .size = size,
				    .etag = wire_cstr(MD5) };
	struct rpc_empty_rsp rsp;

	req.extents = nsh_chunks(f->h, ++f->slice, 0, size, 0);
	assert_int_equal(NSH(f->h, mpu_part, empty_rsp, &req, &rsp), OK);
}

static void mpu_complete(struct fix *f, const char *key,
			 struct wire_u128 upload, uint32_t parts)
{
	struct wire_bytes etag = wire_cstr(MD5), none = { NULL, 0 };
	struct rpc_mpu_complete req = { .root = f->root, .umask = 022,
					.key = wire_cstr(key),
					.upload = upload };
	struct rpc_put_rsp rsp;
	struct wire_vec list;

	wire_vec_init(&list);
	for (uint32_t n = 1; n <= parts; n++) {
		struct wire_writer w = wire_vec_add(&list);

		wire_put_u32(&w, &n);
		wire_put_str(&w, &etag);
		wire_put_kvs(&w, &none);
	}
	req.parts = wire_vec_bytes(&list);
	assert_int_equal(NSH(f->h, mpu_complete, put_rsp, &req, &rsp), OK);
	wire_vec_fini(&list);
}

/* Few small parts go in the command itself; many, or large ones, later. */
static void test_abort(void **state)
{
	struct rpc_mpu_abort req;
	struct rpc_empty_rsp rsp;
	struct fix *f = *state;

	for (uint32_t parts = 3; parts < 400; parts *= 5) {
		struct wire_u128 up = mpu_begin(f, "k");

		for (uint32_t n = 1; n <= parts; n++)
			mpu_part(f, "k", up, 2 * n,
				 n % 10 == 0 ? 3 * REGION : 100);
		req = (struct rpc_mpu_abort){ .root = f->root, .upload = up,
					      .key = wire_cstr("k") };
		assert_int_equal(NSH(f->h, mpu_abort, empty_rsp, &req, &rsp),
				 OK);
		assert_int_equal(nsh_check(f->h), 0);
		assert_int_equal(nsh_queued(f->h, NS_Q_UPLOAD),
				 parts > NS_PURGE_XATTRS);
		assert_int_equal(nsh_work(f->h) > 0, parts > 3);
		expect_nothing(f, (unsigned)f->slice);
	}
}

static void test_composite(void **state)
{
	struct wire_u128 up;
	struct fix *f = *state;

	up = mpu_begin(f, "d/k");
	for (uint32_t n = 1; n <= 200; n++)
		mpu_part(f, "d/k", up, n, n % 50 == 0 ? 3 * REGION : 100);
	mpu_part(f, "d/k", up, 300, 5 * REGION); /* is not listed */
	mpu_complete(f, "d/k", up, 200);
	assert_int_equal(nsh_check(f->h), 0);
	(void)nsh_work(f->h);
	assert_int_equal(nsh_queued(f->h, NS_Q_SLICE), 1);
	assert_int_equal(nsh_delete(f->h, f->root, "d/k"), OK);
	assert_int_equal(nsh_count(f->h, NS_T_PAGE), 4);
	/* a page each, 4 large parts, the inode's own end */
	assert_true(nsh_work(f->h) >= 4 + 4 + 1);
	expect_nothing(f, (unsigned)f->slice);
}

/* A write on top of a composite, then its end. */
static void test_composite_written(void **state)
{
	struct rpc_object_rsp o;
	struct fix *f = *state;
	struct wire_u128 up = mpu_begin(f, "k");

	mpu_part(f, "k", up, 1, 2 * REGION);
	mpu_part(f, "k", up, 2, 100);
	mpu_complete(f, "k", up, 2);
	assert_int_equal(nsh_object(f->h, f->root, "k", 0, 0, &o), OK);
	write_chunks(f, o.attr.ino, 10, REGION);
	assert_int_equal(nsh_truncate(f->h, o.attr.ino, 0), OK);
	write_chunks(f, o.attr.ino, 10, 10);
	(void)nsh_work(f->h);
	assert_int_equal(nsh_check(f->h), 0);
	assert_int_equal(nsh_queued(f->h, NS_Q_SLICE), 3);
	assert_int_equal(nsh_delete(f->h, f->root, "k"), OK);
	(void)nsh_work(f->h);
	expect_nothing(f, 4);
}

static void test_removed_root(void **state)
{
	struct rpc_root_remove req;
	struct rpc_empty_rsp rsp;
	struct fix *f = *state;
	char key[32];

	for (uint32_t i = 0; i < 7; i++) {
		struct wire_u128 up;

		snprintf(key, sizeof(key), "%s%u", i % 2 ? "d/" : "", i);
		up = mpu_begin(f, key);
		for (uint32_t n = 1; n <= 20 * i; n++)
			mpu_part(f, key, up, n, 10);
	}
	req = (struct rpc_root_remove){ .ino = f->root };
	assert_int_equal(NSH(f->h, root_remove, empty_rsp, &req, &rsp), OK);
	f->root = 0;
	assert_int_equal(nsh_check(f->h), 0);
	assert_int_equal(nsh_queued(f->h, NS_Q_ROOT), 1);
	assert_true(nsh_work(f->h) > 7);
	expect_nothing(f, (unsigned)f->slice);
}

/* --- sessions --- */

static uint32_t close_as(struct fix *f, uint64_t client, uint32_t slot,
			 uint64_t seq)
{
	struct rpc_close req = { .client = client, .slot = slot, .seq = seq,
				 .ino = f->root };
	struct rpc_empty_rsp rsp;

	return NSH(f->h, close, empty_rsp, &req, &rsp);
}

static void session_end(struct fix *f, uint64_t a, uint64_t b)
{
	struct rpc_session_end req = { .client = 0 };
	struct rpc_empty_rsp rsp;
	struct wire_writer w;
	struct buf ids;

	buf_init(&ids, 0);
	w = (struct wire_writer){ &ids };
	wire_put_u64(&w, &a);
	wire_put_u64(&w, &b);
	req.sessions = wire_bytes(ids.data, ids.len);
	assert_int_equal(NSH(f->h, session_end, empty_rsp, &req, &rsp), OK);
	buf_fini(&ids);
}

static void work_session(struct fix *f, uint64_t session)
{
	struct rpc_queue_work req = { .kind = NS_Q_SESSION,
				      .id = { 0, session } };
	struct rpc_queue_work_rsp rsp;

	assert_int_equal(NSH(f->h, queue_work, queue_work_rsp, &req, &rsp),
			 OK);
	assert_int_equal(rsp.left, 0);
}

/* Slots of a session that ended go; what it still says is refused. */
static void test_session_end(void **state)
{
	struct fix *f = *state;
	struct rpc_open open = { .ino = f->root, .session = 70 };
	struct rpc_object object = { .root = f->root, .key = wire_cstr("k"),
				     .flags = RPC_OBJECT_OPEN, .session = 70 };
	struct rpc_object_rsp o;
	struct rpc_read_rsp rsp;

	assert_int_equal(nsh_put(f->h, f->root, "k", wire_cstr("x"), NULL),
			 OK);
	for (uint32_t i = 0; i < 150; i++) {
		assert_int_equal(close_as(f, 70, i, 5), OK);
		assert_int_equal(close_as(f, 71, i, 5), OK);
	}
	assert_int_equal(nsh_count(f->h, NS_T_SLOT), 300);
	session_end(f, 70, 99);
	session_end(f, 99, 70); /* told again */
	assert_int_equal(nsh_queued(f->h, NS_Q_SESSION), 2);
	/* a slot that is there still answers: nothing happens twice */
	assert_int_equal(close_as(f, 70, 3, 5), OK);
	assert_int_equal(close_as(f, 70, 200, 1), RPC_STATUS_SESSION);
	assert_true(nsh_work(f->h) >= 4);
	assert_int_equal(nsh_count(f->h, NS_T_SLOT), 150);
	assert_int_equal(close_as(f, 70, 3, 5), RPC_STATUS_SESSION);
	assert_int_equal(close_as(f, 70, 3, 6), RPC_STATUS_SESSION);
	assert_int_equal(close_as(f, 99, 0, 1), RPC_STATUS_SESSION);
	assert_int_equal(close_as(f, 71, 3, 6), OK);
	assert_int_equal(NSH(f->h, open, read_rsp, &open, &rsp),
			 RPC_STATUS_SESSION);
	assert_int_equal(NSH(f->h, object, object_rsp, &object, &o),
			 RPC_STATUS_SESSION);
	object.session = open.session = 71;
	assert_int_equal(NSH(f->h, open, read_rsp, &open, &rsp), OK);
	assert_int_equal(NSH(f->h, object, object_rsp, &object, &o), OK);
	assert_int_equal(nsh_count(f->h, NS_T_SLOT), 150);
	assert_int_equal(nsh_delete(f->h, f->root, "k"), OK);
	/* what says so is kept for a month */
	nsh_advance(f->h, 29 * 86400);
	work_session(f, 70);
	assert_int_equal(nsh_queued(f->h, NS_Q_SESSION), 2);
	nsh_advance(f->h, 2 * 86400);
	work_session(f, 70);
	work_session(f, 99);
	expect_nothing(f, 0);
}

/* --- the message --- */

/* What is not there is done; what nobody knows is refused. */
static void test_nothing_to_do(void **state)
{
	static const uint8_t kinds[] = { NS_Q_INODE, NS_Q_ROOT, NS_Q_UPLOAD,
					 NS_Q_SLICE, 'z' };
	struct rpc_queue_work req = { .client = 0 };
	struct rpc_queue_work_rsp rsp;
	struct fix *f = *state;
	uint64_t a = make(f, "a");

	for (size_t i = 0; i < sizeof(kinds); i++) {
		req.kind = kinds[i];
		req.id = (struct wire_u128){ 0, a };
		assert_int_equal(NSH(f->h, queue_work, queue_work_rsp, &req,
				     &rsp), OK);
		assert_int_equal(rsp.left, 0);
	}
	assert_int_equal(nsh_write(f->h, a, 0, wire_cstr("still")), OK);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_many_regions),
		T(test_sparse),
		T(test_many_pieces),
		T(test_detached_and_shared),
		T(test_xattrs),
		T(test_open_inode),
		T(test_abort),
		T(test_composite),
		T(test_composite_written),
		T(test_removed_root),
		T(test_session_end),
		T(test_nothing_to_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
