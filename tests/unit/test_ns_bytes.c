/* Bytes of a shard's files: extents, regions, references, multipart. */
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
#include "storaged/ns_impl.h"
#include "tests/lib/nsharness.h"

enum { SHARD = 5 };
#define OK RPC_STATUS_OK
#define REG (S_IFREG | 0644)
#define REGION ((uint64_t)WIRE_REGION)

struct fix {
	struct nsh *h;
	uint64_t root;
};

static int setup(void **state)
{
	static struct fix f;

	f.h = nsh_new(SHARD, 2);
	f.root = nsh_root(f.h, 7);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	return nsh_free(f->h) == 0 ? 0 : -1;
}

static uint64_t make(struct fix *f, const char *name)
{
	uint64_t ino;

	assert_int_equal(nsh_mknod(f->h, f->root, name, REG, &ino), OK);
	return ino;
}

static uint32_t write_chunks(struct fix *f, uint64_t ino, uint64_t slice,
			     uint64_t pos, uint64_t len, uint64_t slice_off)
{
	struct rpc_write req = { .ino = ino };
	struct rpc_write_rsp rsp;

	req.extents = nsh_chunks(f->h, slice, pos, len, slice_off);
	return NSH(f->h, write, write_rsp, &req, &rsp);
}

static void expect_bytes(struct fix *f, uint64_t ino, uint64_t off,
			 const uint8_t *want, size_t len)
{
	uint8_t *got = mem_alloc(len + 1);

	assert_int_equal(nsh_bytes(f->h, ino, off, len, got), OK);
	assert_memory_equal(got, want, len);
	mem_free(got);
}

static void expect_refs(struct fix *f, unsigned slices, unsigned queued)
{
	assert_int_equal(nsh_count(f->h, NS_T_SLICE), slices);
	assert_int_equal(nsh_count(f->h, NS_T_QUEUE), queued);
}

/* --- change: what every cache goes by --- */

static uint64_t change_of(struct fix *f, uint64_t ino)
{
	struct wire_attr attr;

	assert_int_equal(nsh_getattr(f->h, ino, &attr), OK);
	return attr.change;
}

static void test_map(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make(f, "m");
	struct rpc_read req = { .ino = ino, .len = UINT64_MAX,
				.flags = RPC_READ_MAP };
	struct rpc_read_rsp rsp;
	struct wire_extent e;
	struct wire_reader r;
	uint32_t n;

	assert_int_equal(nsh_write(f->h, ino, 10, wire_bytes("bytes", 5)), OK);
	assert_int_equal(write_chunks(f, ino, 9, 1000, 50, 7), OK);
	assert_int_equal(NSH(f->h, read, read_rsp, &req, &rsp), OK);
	assert_int_equal(nsh_body(f->h).len, 0);
	r = wire_vec_reader(rsp.extents, &n);
	assert_int_equal(n, 2);
	wire_get_extent(&r, &e);
	assert_int_equal(e.kind, WIRE_EXT_INLINE);
	assert_int_equal(e.pos, 10);
	assert_int_equal(e.len, 5);
	wire_get_extent(&r, &e);
	assert_int_equal(e.kind, WIRE_EXT_CHUNKS);
	assert_int_equal(e.pos, 1000);
	assert_int_equal(e.slice_off, 7);
}

static void test_change_rises_by_one(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make(f, "c"), dir = change_of(f, f->root);
	struct wire_bytes data = wire_bytes("bytes", 5);
	struct rpc_write req = { .ino = ino, .data = data,
				 .flags = RPC_WRITE_KILL_SUID };
	struct rpc_write_rsp rsp;
	uint64_t c = change_of(f, ino);

	assert_int_equal(nsh_write(f->h, ino, 0, data), OK);
	assert_int_equal(change_of(f, ino), ++c);
	assert_int_equal(nsh_write(f->h, ino, 0, data), OK); /* same size */
	assert_int_equal(change_of(f, ino), c + 1);
	assert_int_equal(write_chunks(f, ino, 9, REGION - 1, 2, 0), OK);
	assert_int_equal(change_of(f, ino), c + 2);
	assert_int_equal(nsh_truncate(f->h, ino, 3), OK);
	assert_int_equal(change_of(f, ino), c + 3);
	assert_int_equal(NSH(f->h, write, write_rsp, &req, &rsp), OK);
	assert_int_equal(change_of(f, ino), c + 3); /* no extents: nothing */
	assert_int_equal(change_of(f, f->root), dir);
	assert_int_equal(nsh_link(f->h, ino, f->root, "d"), OK);
	assert_int_equal(change_of(f, ino), c + 4);
	assert_int_equal(change_of(f, f->root), dir + 1);
	assert_int_equal(nsh_rename(f->h, f->root, "d", f->root, "e"), OK);
	assert_int_equal(change_of(f, ino), c + 5);
	assert_int_equal(change_of(f, f->root), dir + 2);
}

/* --- a file against an array --- */

enum { MODEL_LEN = 6000 };

struct model {
	uint8_t bytes[MODEL_LEN];
	size_t size;
	uint64_t base; /* where in the file it lies: around a region's end */
	uint64_t next_slice;
	uint64_t rng;
};

static uint64_t rnd(struct model *m, uint64_t below)
{
	m->rng ^= m->rng << 13;
	m->rng ^= m->rng >> 7;
	m->rng ^= m->rng << 17;
	return m->rng % below;
}

static void model_grow(struct model *m, size_t size)
{
	if (size > m->size) {
		memset(m->bytes + m->size, 0, size - m->size);
		m->size = size;
	}
}

static void model_write(struct fix *f, struct model *m, uint64_t ino)
{
	size_t pos = rnd(m, MODEL_LEN - 1);
	size_t len = 1 + rnd(m, rnd(m, 4) == 0 ? 2000 : 300);
	uint8_t data[2000];

	if (len > MODEL_LEN - pos)
		len = MODEL_LEN - pos;
	model_grow(m, pos + len);
	if (rnd(m, 2) == 0) {
		uint64_t slice = m->next_slice++, off = rnd(m, 100);

		if (slice > 3 && rnd(m, 3) == 0)
			slice -= 1 + rnd(m, 3); /* a piece of an earlier one */
		for (size_t i = 0; i < len; i++)
			m->bytes[pos + i] = nsh_chunk_byte(slice, off + i);
		assert_int_equal(write_chunks(f, ino, slice, m->base + pos,
					      len, off), OK);
		return;
	}
	for (size_t i = 0; i < len; i++)
		data[i] = m->bytes[pos + i] = (uint8_t)rnd(m, 256);
	assert_int_equal(nsh_write(f->h, ino, m->base + pos,
				   wire_bytes(data, len)), OK);
}

static void model_zero(struct fix *f, struct model *m, uint64_t ino)
{
	size_t pos = rnd(m, MODEL_LEN), len = 1 + rnd(m, 1000);
	struct wire_extent e = { .kind = WIRE_EXT_ZERO };
	struct rpc_write req = { .ino = ino };
	struct rpc_write_rsp rsp;
	struct wire_vec v;

	if (len > MODEL_LEN - pos)
		len = MODEL_LEN - pos;
	model_grow(m, pos + len);
	memset(m->bytes + pos, 0, len);
	e.pos = m->base + pos;
	e.len = len;
	wire_vec_init(&v);
	wire_vec_add_extent(&v, &e);
	req.extents = wire_vec_bytes(&v);
	assert_int_equal(NSH(f->h, write, write_rsp, &req, &rsp), OK);
	wire_vec_fini(&v);
}

static void model_run(struct fix *f, struct model *m, uint64_t ino, int steps)
{
	for (int i = 0; i < steps; i++) {
		struct wire_attr a;
		uint64_t op = rnd(m, 20);

		if (op == 0) {
			size_t size = rnd(m, MODEL_LEN);

			assert_int_equal(nsh_truncate(f->h, ino,
						      m->base + size), OK);
			model_grow(m, size);
			m->size = size;
		} else if (op == 1) {
			model_zero(f, m, ino);
		} else {
			model_write(f, m, ino);
		}
		assert_int_equal(nsh_getattr(f->h, ino, &a), OK);
		assert_int_equal(a.size, m->base + m->size);
		if (i % 7 == 0)
			expect_bytes(f, ino, m->base, m->bytes, m->size);
		if (i % 97 == 0)
			assert_int_equal(nsh_check(f->h), 0);
	}
	expect_bytes(f, ino, m->base, m->bytes, m->size);
}

static void test_random_writes(void **state)
{
	struct fix *f = *state;

	for (uint64_t seed = 1; seed <= 6; seed++) {
		static struct model m;
		uint64_t ino = make(f, "f");

		print_message("# seed %lu\n", (unsigned long)seed);
		memset(&m, 0, sizeof(m));
		m.rng = seed * 0x9e3779b97f4a7c15;
		m.next_slice = seed * 100000;
		m.base = seed % 3 == 0 ? 0
			 : seed % 3 == 1 ? REGION - MODEL_LEN / 2
					 : 5 * REGION - 100;
		if (m.base > 0)
			assert_int_equal(nsh_truncate(f->h, ino, m.base), OK);
		model_run(f, &m, ino, 400);
		assert_int_equal(nsh_unlink(f->h, f->root, "f", 0), OK);
		assert_int_equal(nsh_count(f->h, NS_T_SLICE), 0);
		assert_int_equal(nsh_count(f->h, NS_T_REGION), 0);
	}
}

/* --- references --- */

static void test_slice_references(void **state)
{
	struct fix *f = *state;
	uint64_t a = make(f, "a"), b = make(f, "b");

	/* one slice over two regions: two lists */
	assert_int_equal(write_chunks(f, a, 1, REGION - 100, 200, 0), OK);
	assert_int_equal(write_chunks(f, b, 1, 0, 100, 50), OK);
	expect_refs(f, 1, 0);
	assert_int_equal(nsh_truncate(f->h, a, 10), OK);
	expect_refs(f, 1, 0);
	assert_int_equal(nsh_unlink(f->h, f->root, "b", 0), OK);
	expect_refs(f, 0, 1); /* for the cleaner */
	assert_int_equal(write_chunks(f, a, 1, 0, 100, 0), OK);
	expect_refs(f, 1, 0); /* back before it came */
}

static void test_foreign_slice(void **state)
{
	struct fix *f = *state;
	struct wire_extent e = { .len = 9, .kind = WIRE_EXT_CHUNKS,
				 .slice = { (uint64_t)(SHARD + 1) << 48, 1 } };
	struct rpc_write req = { .ino = make(f, "a") };
	struct rpc_write_rsp rsp;
	struct wire_vec v;

	wire_vec_init(&v);
	wire_vec_add_extent(&v, &e);
	req.extents = wire_vec_bytes(&v);
	assert_int_equal(NSH(f->h, write, write_rsp, &req, &rsp),
			 RPC_STATUS_NOTSUP);
	wire_vec_fini(&v);
}

/*
 * The inode of a PUT lies where its chunks are counted, so its new directories
 * do as well: it is not sent about.
 */
static void test_put_of_chunks_stays(void **state)
{
	struct nsh *h = nsh_new_spread(SHARD, 4, 2, 5);
	uint64_t root = nsh_root(h, 7);
	struct nsh_stats before, after;
	char key[16];

	(void)state;
	nsh_stats(h, &before);
	for (unsigned i = 0; i < 32; i++) {
		struct rpc_put req = { .root = root, .size = 1 << 20,
				       .etag = wire_cstr("e") };
		struct rpc_put_rsp rsp;

		snprintf(key, sizeof key, "d%u/e/f", i);
		req.key = wire_cstr(key);
		req.extents = nsh_chunks(h, 1 + i, 0, 1 << 20, 0);
		assert_int_equal(NSH(h, put, put_rsp, &req, &rsp), OK);
		assert_int_equal(ino_shard(rsp.attr.ino), SHARD);
	}
	nsh_stats(h, &after);
	assert_int_equal(after.hops, before.hops);
	assert_int_equal(nsh_free(h), 0);
}

static void test_append_and_versions(void **state)
{
	struct fix *f = *state;
	struct wire_extent e = { .len = 3, .kind = WIRE_EXT_INLINE };
	struct rpc_write req = { .ino = make(f, "log"),
				 .flags = RPC_WRITE_APPEND,
				 .data = wire_cstr("abc") };
	struct rpc_getattr made = { .ino = req.ino };
	struct rpc_attr_rsp made_rsp;
	struct rpc_write_rsp rsp;
	struct wire_vec v;
	uint64_t first;

	assert_int_equal(NSH(f->h, getattr, attr_rsp, &made, &made_rsp), OK);
	first = made_rsp.attr.data_version + 1;
	wire_vec_init(&v);
	wire_vec_add_extent(&v, &e);
	req.extents = wire_vec_bytes(&v);
	for (uint64_t i = 0; i < 50; i++) {
		assert_int_equal(NSH(f->h, write, write_rsp, &req, &rsp), OK);
		assert_int_equal(rsp.pos, 3 * i);
		assert_int_equal(rsp.attr.data_version, first + i);
	}
	expect_bytes(f, req.ino, 147, (const uint8_t *)"abc", 3);
	req.flags = RPC_WRITE_KEEP_TIME;
	req.if_version = first + 5;
	assert_int_equal(NSH(f->h, write, write_rsp, &req, &rsp),
			 RPC_STATUS_PRECONDITION);
	req.if_version = first + 49;
	assert_int_equal(NSH(f->h, write, write_rsp, &req, &rsp), OK);
	assert_int_equal(rsp.attr.data_version, first + 49);
	wire_vec_fini(&v);
	struct rpc_read rd = { .ino = req.ino, .len = 5, .version = first + 48 };
	struct rpc_read_rsp rrsp;
	assert_int_equal(NSH(f->h, read, read_rsp, &rd, &rrsp),
			 RPC_STATUS_VERSION_GONE);
}

/* A large file's bytes are queued, not walked, when it goes. */
static void test_large_files_are_queued(void **state)
{
	struct fix *f = *state;
	uint64_t a = make(f, "a");
	struct wire_attr attr;
	uint8_t byte;

	assert_int_equal(write_chunks(f, a, 9, 0, 100 * REGION, 0), OK);
	assert_int_equal(nsh_count(f->h, NS_T_REGION), 99);
	byte = nsh_chunk_byte(9, 77 * REGION);
	expect_bytes(f, a, 77 * REGION, &byte, 1);
	assert_int_equal(nsh_truncate(f->h, a, 0), OK);
	expect_refs(f, 1, 1);
	assert_int_equal(nsh_count(f->h, NS_T_REGION), 99);
	assert_int_equal(nsh_write(f->h, a, 10, wire_cstr("x")), OK);
	expect_bytes(f, a, 0, (const uint8_t *)"\0\0\0\0\0\0\0\0\0\0x", 11);
	/* cut to something: rows behind go */
	assert_int_equal(write_chunks(f, a, 10, 0, 10 * REGION, 0), OK);
	assert_int_equal(nsh_truncate(f->h, a, 3 * REGION + 5), OK);
	assert_int_equal(nsh_count(f->h, NS_T_REGION), 99 + 3);
	assert_int_equal(nsh_check(f->h), 0);
	/* sparse: one row far away */
	assert_int_equal(write_chunks(f, a, 11, 3000 * REGION, 5, 0), OK);
	assert_int_equal(nsh_truncate(f->h, a, 2 * REGION), OK);
	assert_int_equal(nsh_count(f->h, NS_T_REGION), 99 + 1);
	assert_int_equal(nsh_unlink(f->h, f->root, "a", 0), OK);
	assert_int_equal(nsh_count(f->h, NS_T_REGION), 99);
	assert_int_equal(nsh_getattr(f->h, a, &attr), RPC_STATUS_STALE);
	a = make(f, "huge");
	assert_int_equal(write_chunks(f, a, 12, 0, UINT64_C(1) << 50, 0),
			 RPC_STATUS_FBIG);
	assert_int_equal(nsh_truncate(f->h, a, UINT64_MAX / 2),
			 RPC_STATUS_FBIG);
}

/* --- multipart --- */

struct mpu {
	struct rpc_mpu_create_rsp up;
	struct wire_vec list;
};

static void mpu_begin(struct fix *f, struct mpu *u, const char *key,
		      const char *alg, const char *type)
{
	struct rpc_mpu_create req = { .root = f->root, .key = wire_cstr(key),
				      .owner = wire_cstr("me"),
				      .sum_alg = wire_cstr(alg),
				      .sum_type = wire_cstr(type) };

	assert_int_equal(NSH(f->h, mpu_create, mpu_create_rsp, &req, &u->up),
			 OK);
	wire_vec_init(&u->list);
}

static uint32_t mpu_part(struct fix *f, struct mpu *u, const char *key,
			 uint32_t n, uint64_t slice, uint64_t size,
			 const char *etag, const char *alg, const char *sum)
{
	struct rpc_mpu_part req = { .root = f->root, .key = wire_cstr(key),
				    .upload = u->up.upload, .part = n,
				    .size = size, .etag = wire_cstr(etag) };
	struct rpc_empty_rsp rsp;
	struct wire_vec sums;
	uint32_t status;

	wire_vec_init(&sums);
	if (sum != NULL)
		wire_vec_add_kv(&sums, wire_cstr(alg), wire_cstr(sum));
	req.sums = wire_vec_bytes(&sums);
	if (size > 0)
		req.extents = nsh_chunks(f->h, slice, 0, size, 0);
	status = NSH(f->h, mpu_part, empty_rsp, &req, &rsp);
	wire_vec_fini(&sums);
	return status;
}

static void mpu_list(struct mpu *u, uint32_t n, const char *etag)
{
	struct wire_bytes e = wire_cstr(etag), none = { NULL, 0 };
	struct wire_writer w = wire_vec_add(&u->list);

	wire_put_u32(&w, &n);
	wire_put_str(&w, &e);
	wire_put_kvs(&w, &none);
}

static uint32_t mpu_complete(struct fix *f, struct mpu *u, const char *key,
			     uint64_t min, struct rpc_put_rsp *rsp)
{
	struct rpc_mpu_complete req = {
		.root = f->root, .key = wire_cstr(key),
		.upload = u->up.upload, .uid = 1, .gid = 1, .umask = 022,
		.parts = wire_vec_bytes(&u->list), .min_part = min,
	};

	return NSH(f->h, mpu_complete, put_rsp, &req, rsp);
}

static uint32_t mpu_abort(struct fix *f, struct mpu *u, const char *key)
{
	struct rpc_mpu_abort req = { .root = f->root, .key = wire_cstr(key),
				     .upload = u->up.upload };
	struct rpc_empty_rsp rsp;

	wire_vec_fini(&u->list);
	return NSH(f->h, mpu_abort, empty_rsp, &req, &rsp);
}

#define E1 "11111111111111111111111111111111"
#define E2 "22222222222222222222222222222222"
#define E3 "33333333333333333333333333333333"

static void expect_etag(struct wire_bytes etag, const char *want)
{
	assert_int_equal(etag.len, strlen(want));
	assert_memory_equal(etag.p, want, etag.len);
}

static void test_multipart(void **state)
{
	struct fix *f = *state;
	struct rpc_object get = { .root = f->root, .key = wire_cstr("d/big"),
				  .len = 1, .part = 2 };
	struct rpc_object_rsp o;
	struct rpc_put_rsp rsp;
	struct mpu u;
	uint8_t want[3000];

	mpu_begin(f, &u, "d/big", "", "");
	assert_int_equal(mpu_part(f, &u, "d/big", 1, 21, 1000, E3, NULL,
				  NULL), OK);
	assert_int_equal(mpu_part(f, &u, "d/big", 3, 23, 500, E3, NULL, NULL),
			 OK);
	assert_int_equal(mpu_part(f, &u, "d/big", 2, 22, 900, E2, NULL, NULL),
			 OK);
	assert_int_equal(mpu_part(f, &u, "d/big", 7, 27, 900, E2, NULL, NULL),
			 OK);
	/* again: the first try goes */
	assert_int_equal(mpu_part(f, &u, "d/big", 1, 31, 800, E1, NULL, NULL),
			 OK);
	assert_int_equal(mpu_part(f, &u, "d/big", 10001, 1, 1, E1, NULL, NULL),
			 RPC_STATUS_INVAL);
	assert_int_equal(mpu_part(f, &u, "d/bug", 1, 1, 1, E1, NULL, NULL),
			 RPC_STATUS_NO_UPLOAD);
	assert_int_equal(nsh_check(f->h), 0);
	mpu_list(&u, 1, E1);
	mpu_list(&u, 2, "\"" E2 "\"");
	mpu_list(&u, 3, E3);
	assert_int_equal(mpu_complete(f, &u, "d/big", 801, &rsp),
			 RPC_STATUS_PART_TOO_SMALL);
	assert_int_equal(mpu_complete(f, &u, "d/big", 800, &rsp), OK);
	/* md5 of the three binary digests, from md5sum */
	expect_etag(rsp.etag, "24321a9c3853e81fd2e5db87eb3bf4b0-3");
	assert_int_equal(rsp.attr.size, 2200);
	assert_int_equal(mpu_complete(f, &u, "d/big", 800, &rsp),
			 RPC_STATUS_NO_UPLOAD);
	wire_vec_fini(&u.list);
	assert_int_equal(nsh_check(f->h), 0);
	assert_int_equal(nsh_count(f->h, NS_T_PART), 0);
	assert_int_equal(nsh_count(f->h, NS_T_UPLOAD), 0);

	assert_int_equal(NSH(f->h, object, object_rsp, &get, &o), OK);
	assert_int_equal(o.off, 800);
	assert_int_equal(o.len, 900);
	assert_int_equal(o.parts, 3);
	get.part = 4;
	assert_int_equal(NSH(f->h, object, object_rsp, &get, &o),
			 RPC_STATUS_INVALID_PART);

	for (int i = 0; i < 2200; i++)
		want[i] = i < 800 ? nsh_chunk_byte(31, (uint64_t)i)
			  : i < 1700 ? nsh_chunk_byte(22, (uint64_t)i - 800)
				     : nsh_chunk_byte(23, (uint64_t)i - 1700);
	expect_bytes(f, rsp.attr.ino, 0, want, 2200);
	/* a write of the mount lies above the parts */
	assert_int_equal(nsh_write(f->h, rsp.attr.ino, 790,
				   wire_cstr("0123456789abcdef")), OK);
	memcpy(want + 790, "0123456789abcdef", 16);
	expect_bytes(f, rsp.attr.ino, 0, want, 2200);
	get.part = 0;
	assert_int_equal(NSH(f->h, object, object_rsp, &get, &o), OK);
	assert_int_equal(o.parts, 0);
	assert_memory_equal(o.etag.p + 32, "-0", 2);
	/* cut and grown: zeros, not the parts again */
	assert_int_equal(nsh_truncate(f->h, rsp.attr.ino, 1000), OK);
	assert_int_equal(nsh_truncate(f->h, rsp.attr.ino, 1500), OK);
	memset(want + 1000, 0, 500);
	expect_bytes(f, rsp.attr.ino, 0, want, 1500);
	assert_int_equal(nsh_truncate(f->h, rsp.attr.ino, 0), OK);
	assert_int_equal(nsh_truncate(f->h, rsp.attr.ino, 30), OK);
	memset(want, 0, 30);
	expect_bytes(f, rsp.attr.ino, 0, want, 30);
	assert_int_equal(nsh_check(f->h), 0);
	assert_int_equal(nsh_delete(f->h, f->root, "d/big"), OK);
}

static void test_multipart_errors_and_abort(void **state)
{
	struct fix *f = *state;
	struct rpc_put_rsp rsp;
	struct mpu u, v;

	mpu_begin(f, &u, "k", "", "");
	mpu_begin(f, &v, "k", "", "");
	assert_int_equal(mpu_part(f, &u, "k", 1, 41, 10, E1, NULL, NULL), OK);
	assert_int_equal(mpu_part(f, &u, "k", 2, 42, 10, E2, NULL, NULL), OK);
	assert_int_equal(mpu_complete(f, &u, "k", 0, &rsp), RPC_STATUS_INVAL);
	mpu_list(&u, 2, E2);
	mpu_list(&u, 1, E1);
	assert_int_equal(mpu_complete(f, &u, "k", 0, &rsp),
			 RPC_STATUS_PART_ORDER);
	wire_vec_fini(&u.list);
	mpu_list(&u, 1, E2);
	assert_int_equal(mpu_complete(f, &u, "k", 0, &rsp),
			 RPC_STATUS_INVALID_PART);
	wire_vec_fini(&u.list);
	mpu_list(&u, 3, E2);
	assert_int_equal(mpu_complete(f, &u, "k", 0, &rsp),
			 RPC_STATUS_INVALID_PART);
	assert_int_equal(mpu_abort(f, &u, "k"), OK);
	assert_int_equal(mpu_abort(f, &u, "k"), RPC_STATUS_NO_UPLOAD);
	for (uint32_t i = 1; i <= 70; i++)
		assert_int_equal(mpu_part(f, &v, "k", i, 100 + i, 10, E1, NULL,
					  NULL), OK);
	assert_int_equal(mpu_abort(f, &v, "k"), OK); /* many: queued */
	assert_int_equal(nsh_count(f->h, NS_T_PART), 70);
}

static void test_many_parts(void **state)
{
	struct fix *f = *state;
	struct rpc_object get = { .root = f->root, .key = wire_cstr("k"),
				  .part = 150 };
	struct rpc_object_rsp o;
	struct rpc_put_rsp rsp;
	struct mpu u;
	uint8_t want[200 * 40];

	mpu_begin(f, &u, "k", "", "");
	for (uint32_t i = 1; i <= 200; i++) {
		uint64_t len = 1 + i % 40;

		assert_int_equal(mpu_part(f, &u, "k", i, 1000 + i, len, E1,
					  NULL, NULL), OK);
		mpu_list(&u, i, E1);
	}
	assert_int_equal(mpu_complete(f, &u, "k", 1, &rsp), OK);
	wire_vec_fini(&u.list);
	assert_int_equal(nsh_count(f->h, NS_T_PAGE), 4);
	uint64_t pos = 0, at = 0;
	for (uint32_t i = 1; i <= 200; i++) {
		if (i == 150)
			at = pos;
		for (uint64_t j = 0; j < 1 + i % 40; j++)
			want[pos++] = nsh_chunk_byte(1000 + i, j);
	}
	assert_int_equal(rsp.attr.size, pos);
	expect_bytes(f, rsp.attr.ino, 0, want, pos);
	assert_int_equal(NSH(f->h, object, object_rsp, &get, &o), OK);
	assert_int_equal(o.off, at);
	assert_int_equal(o.len, 1 + 150 % 40);
}

/* Sums of parts "hello " and "world!": checked with other tools. */
static void check_sum(struct fix *f, const char *alg, const char *type,
		      const char *a, const char *b, const char *want)
{
	struct rpc_put_rsp rsp;
	struct wire_bytes got;
	struct mpu u;

	mpu_begin(f, &u, "s", alg, type);
	assert_int_equal(mpu_part(f, &u, "s", 1, 51, 6, E1, alg, a), OK);
	assert_int_equal(mpu_part(f, &u, "s", 2, 52, 6, E2, alg, b), OK);
	mpu_list(&u, 1, E1);
	mpu_list(&u, 2, E2);
	assert_int_equal(mpu_complete(f, &u, "s", 0, &rsp), OK);
	wire_vec_fini(&u.list);
	assert_true(wire_kvs_find(rsp.sums, alg, &got));
	expect_etag(got, want);
}

static void test_sums(void **state)
{
	struct fix *f = *state;

	check_sum(f, "crc32", "FULL_OBJECT",
		  "7YH59g==",
		  "cYSY6A==",
		  "A7TCbQ==");
	check_sum(f, "crc32", "",
		  "7YH59g==",
		  "cYSY6A==",
		  "hIn9Tg==-2");
	check_sum(f, "crc32c", "FULL_OBJECT",
		  "fmJ+WA==",
		  "bZlWlg==",
		  "SctXdw==");
	check_sum(f, "crc32c", "",
		  "fmJ+WA==",
		  "bZlWlg==",
		  "EVwu3w==-2");
	check_sum(f, "crc64nvme", "FULL_OBJECT",
		  "w0MIGLRZZYI=",
		  "psFy9kPcTEw=",
		  "2RYNH6jkGOM=");
	check_sum(f, "sha1", "COMPOSITE",
		  "xNhxrROtAP3pp7t/9+0lQ67FQkE=",
		  "pnlMgxStausI7RSWYO4/77zaXmw=",
		  "O0yI4j9K0D7qMWY3lF8gnkQ7iUk=-2");
	check_sum(f, "sha256", "COMPOSITE",
		  "XjI1qDRuWkWF+MWFYvUFK4/iajuxIuHpbHZ4SWTfxGE=",
		  "cR6WCTOekrA93AohGCfbpCHzj57YudgG4f/djBX/oD0=",
		  "nvOOw+/Gg/dsuatToyayOdFgWvZK14a0G5g3kABXTGs=-2");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_map),
		T(test_change_rises_by_one),
		T(test_random_writes),
		T(test_slice_references),
		T(test_foreign_slice),
		cmocka_unit_test(test_put_of_chunks_stays),
		T(test_append_and_versions),
		T(test_large_files_are_queued),
		T(test_multipart),
		T(test_multipart_errors_and_abort),
		T(test_many_parts),
		T(test_sums),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
