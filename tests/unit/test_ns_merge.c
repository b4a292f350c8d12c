/* Merging of small extents (storaged/ns_merge.c): nobody can tell. */
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
#define REGION ((uint64_t)WIRE_REGION)

/* The real steps, an eighth of a hundred in size. */
static const struct ns_merge_rules small_rules = {
	.at = 6,
	.step = { { .len = 40, .total = 160, .n = 4, .any_n = 16 },
		  { .len = 300, .total = 1200, .n = 4 } },
	.many = 60,
	.bridge_at = 100,
	.bridge = 20,
};

struct fix {
	struct nsh *h;
	uint64_t root, ino;
	uint64_t merged; /* bytes */
};

static int setup(void **state)
{
	static struct fix f;

	f.h = nsh_new(SHARD, 2);
	f.root = nsh_root(f.h, 7);
	f.merged = 0;
	assert_int_equal(nsh_mknod(f.h, f.root, "f", S_IFREG | 0644, &f.ino),
			 OK);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	return nsh_free(f->h) == 0 ? 0 : -1;
}

static unsigned extents(struct fix *f)
{
	struct rpc_whereis req = { .root = f->root, .key = wire_cstr("f") };
	struct rpc_whereis_rsp rsp;

	assert_int_equal(NSH(f->h, whereis, whereis_rsp, &req, &rsp), OK);
	return rsp.extents;
}

static struct ns_merge *plan(struct fix *f, uint64_t region,
			     const struct ns_merge_rules *rules)
{
	struct ns_merge *m;

	assert_int_equal(ns_merge_plan(nsh_back(f->h), SHARD, f->ino, region,
				       rules, true, &m), 0);
	return m;
}

static uint32_t merge_run(struct fix *f, const struct ns_merge_run *run)
{
	uint8_t *bytes = mem_alloc(run->len);
	struct rpc_merge req = { .ino = f->ino, .pos = run->pos,
				 .len = run->len, .print = run->print };
	struct rpc_empty_rsp rsp;
	uint32_t status;

	assert_non_null(bytes);
	assert_int_equal(nsh_bytes(f->h, f->ino, run->pos, run->len, bytes),
			 OK);
	req.data = wire_bytes(bytes, run->len);
	status = NSH(f->h, merge, empty_rsp, &req, &rsp);
	mem_free(bytes);
	if (status == OK)
		f->merged += run->len;
	return status;
}

/* What the host does: until there is nothing left to merge. */
static void merge_all(struct fix *f, uint64_t region,
		      const struct ns_merge_rules *rules)
{
	struct wire_attr before, after;
	bool more = true;

	assert_int_equal(nsh_getattr(f->h, f->ino, &before), OK);
	while (more) {
		struct ns_merge *m = plan(f, region, rules);
		unsigned n, was = extents(f);
		const struct ns_merge_run *runs = ns_merge_runs(m, &n);

		for (unsigned i = 0; i < n; i++)
			assert_int_equal(merge_run(f, &runs[i]), OK);
		assert_true(n == 0 || extents(f) < was);
		more = n > 0 && ns_merge_more(m);
		ns_merge_free(m);
	}
	assert_int_equal(nsh_getattr(f->h, f->ino, &after), OK);
	assert_true(after.bytes >= before.bytes);
	after.bytes = before.bytes; /* a filled hole takes room */
	assert_memory_equal(&after, &before, sizeof before);
}

/* --- any writes, against an array --- */

enum { LEN = 20000 };

struct model {
	uint8_t bytes[LEN];
	size_t size;
	uint64_t base, next_slice, rng;
};

static uint64_t rnd(struct model *m, uint64_t below)
{
	m->rng ^= m->rng << 13;
	m->rng ^= m->rng >> 7;
	m->rng ^= m->rng << 17;
	return m->rng % below;
}

static void model_write(struct fix *f, struct model *m)
{
	size_t pos = rnd(m, LEN - 1), len = 1 + rnd(m, 200);
	uint8_t data[600];

	if (rnd(m, 3) == 0)
		len = 257 + rnd(m, 300); /* lies in the log, not in the row */
	if (len > LEN - pos)
		len = LEN - pos;
	if (rnd(m, 4) == 0) {
		struct rpc_write req = { .ino = f->ino };
		struct rpc_write_rsp rsp;
		uint64_t slice = m->next_slice++, off = rnd(m, 100);

		req.extents = nsh_chunks(f->h, slice, m->base + pos, len, off);
		for (size_t i = 0; i < len; i++)
			m->bytes[pos + i] = nsh_chunk_byte(slice, off + i);
		assert_int_equal(NSH(f->h, write, write_rsp, &req, &rsp), OK);
	} else {
		for (size_t i = 0; i < len; i++)
			data[i] = m->bytes[pos + i] = (uint8_t)rnd(m, 256);
		assert_int_equal(nsh_write(f->h, f->ino, m->base + pos,
					   wire_bytes(data, len)), OK);
	}
	if (pos + len > m->size)
		m->size = pos + len;
}

static void model_cut(struct fix *f, struct model *m)
{
	size_t size = rnd(m, LEN);

	memset(m->bytes + size, 0, LEN - size);
	m->size = size;
	assert_int_equal(nsh_truncate(f->h, f->ino, m->base + size), OK);
}

static void model_check(struct fix *f, struct model *m)
{
	uint8_t *got = mem_alloc(LEN);

	assert_non_null(got);
	assert_int_equal(nsh_bytes(f->h, f->ino, m->base, m->size, got), OK);
	assert_memory_equal(got, m->bytes, m->size);
	mem_free(got);
}

static void model_run(struct fix *f, uint64_t seed, uint64_t base)
{
	struct model m = { .base = base, .next_slice = 1000 * seed,
			   .rng = seed * UINT64_C(0x9e3779b97f4a7c15) };

	print_message("# seed %lu\n", (unsigned long)seed);
	for (int i = 0; i < 400; i++) {
		uint64_t op = rnd(&m, 60);

		if (op == 0)
			model_cut(f, &m);
		else
			model_write(f, &m);
		if (op < 4) {
			merge_all(f, base / REGION, &small_rules);
			merge_all(f, base / REGION + 1, &small_rules);
			model_check(f, &m);
		}
	}
	assert_int_equal(nsh_check(f->h), 0);
}

static void test_random(void **state)
{
	struct fix *f = *state;

	model_run(f, 1, 0);
	assert_int_equal(nsh_truncate(f->h, f->ino, 0), OK);
	model_run(f, 2, REGION - LEN / 2); /* in two regions */
	assert_int_equal(nsh_truncate(f->h, f->ino, 0), OK);
	model_run(f, 3, 9 * REGION + 12345);
}

/* --- a log, a line at a time --- */

static void log_run(struct fix *f, unsigned lines, unsigned len,
		    unsigned most_extents)
{
	uint8_t line[600];
	uint64_t size = 0;
	unsigned most = 0;

	for (unsigned i = 0; i < lines; i++) {
		struct wire_extent e = { .len = len,
					 .kind = WIRE_EXT_INLINE };
		struct rpc_write req = { .ino = f->ino,
					 .flags = RPC_WRITE_APPEND };
		struct rpc_write_rsp rsp;
		struct wire_vec v;

		memset(line, 'a' + (int)(i % 26), len);
		wire_vec_init(&v);
		wire_vec_add_extent(&v, &e);
		req.extents = wire_vec_bytes(&v);
		req.data = wire_bytes(line, len);
		assert_int_equal(NSH(f->h, write, write_rsp, &req, &rsp), OK);
		wire_vec_fini(&v);
		size += len;
		if (i % 32 != 0)
			continue;
		if (extents(f) > most)
			most = extents(f);
		merge_all(f, 0, &ns_merge_rules);
	}
	print_message("# %u lines of %u: at most %u extents, %lu bytes "
		      "merged of %lu\n", lines, len, most,
		      (unsigned long)f->merged, (unsigned long)size);
	assert_true(most < most_extents);
	assert_true(f->merged < 2 * size + (64 << 10));
}

static void test_log_in_rows(void **state)
{
	log_run(*state, 12000, 100, 160);
}

static void test_log_of_values(void **state)
{
	log_run(*state, 6000, 600, 160);
}

/* --- what came between --- */

static void test_changed(void **state)
{
	struct fix *f = *state;
	uint8_t bytes[260] = { 1 }, got;
	const struct ns_merge_run *runs;
	struct ns_merge *m;
	unsigned n;

	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(nsh_write(f->h, f->ino, 260 * i,
					   wire_bytes(bytes, 260)), OK);
	assert_int_equal(extents(f), 10);
	m = plan(f, 0, &small_rules);
	runs = ns_merge_runs(m, &n);
	assert_int_equal(n, 2);
	/* one byte of it is another one now */
	assert_int_equal(nsh_write(f->h, f->ino, runs[0].pos + 1,
				   wire_bytes("!", 1)), OK);
	assert_int_equal(merge_run(f, &runs[0]), RPC_STATUS_PRECONDITION);
	assert_int_equal(nsh_bytes(f->h, f->ino, runs[0].pos + 1, 1, &got),
			 OK);
	assert_int_equal(got, '!');
	/* the other one is as it was, once */
	assert_int_equal(merge_run(f, &runs[1]), OK);
	assert_int_equal(merge_run(f, &runs[1]), RPC_STATUS_PRECONDITION);
	assert_int_equal(nsh_truncate(f->h, f->ino, 10), OK);
	assert_int_equal(merge_run(f, &runs[0]), RPC_STATUS_PRECONDITION);
	assert_int_equal(nsh_unlink(f->h, f->root, "f", 0), OK);
	ns_merge_free(m);
}

static void test_nonsense(void **state)
{
	struct fix *f = *state;
	struct rpc_merge req = { .ino = f->root, .len = 1,
				 .data = wire_bytes("x", 1) };
	struct rpc_empty_rsp rsp;

	assert_int_equal(NSH(f->h, merge, empty_rsp, &req, &rsp),
			 RPC_STATUS_INVAL); /* a directory */
	req.ino = f->ino + 99;
	assert_int_equal(NSH(f->h, merge, empty_rsp, &req, &rsp),
			 RPC_STATUS_STALE);
	req.ino = f->ino;
	assert_int_equal(NSH(f->h, merge, empty_rsp, &req, &rsp),
			 RPC_STATUS_PRECONDITION); /* nothing is there */
	req.len = 2;
	assert_int_equal(NSH(f->h, merge, empty_rsp, &req, &rsp),
			 RPC_STATUS_INVAL); /* not as long as its data */
	req.pos = REGION - 1;
	req.data = wire_bytes("xx", 2);
	assert_int_equal(NSH(f->h, merge, empty_rsp, &req, &rsp),
			 RPC_STATUS_INVAL); /* two regions */
	req.pos = UINT64_MAX;
	assert_int_equal(NSH(f->h, merge, empty_rsp, &req, &rsp),
			 RPC_STATUS_INVAL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_random),	 T(test_log_in_rows), T(test_log_of_values),
		T(test_changed), T(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
