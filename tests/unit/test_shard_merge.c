/*
 * The worker that merges extents (storaged/shard_merge.c) with the real host:
 * lists stay short while a file grows, through power cuts too, and its bytes
 * are those that were written.
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
#include "storaged/ns.h"
#include "tests/lib/shardworld.h"

enum { LINE = 300 };

/* Sends a request, expects OK; *ret is decoded from the answer. */
#define ASK(w, name, rsp_name, req, ret) \
	do { \
		struct reply ask_r_; \
		CALL(w, name, req, &ask_r_); \
		assert_int_equal(ask_r_.status, RPC_STATUS_OK); \
		assert_int_equal(rpc_##rsp_name##_decode( \
					 ret, ask_r_.payload.data, \
					 ask_r_.payload.len), 0); \
		reply_fini(&ask_r_); \
	} while (0)

static uint64_t make(struct world *w, uint64_t root)
{
	struct rpc_mknod req = { MUT(w), .dir = root, .name = wire_cstr("f"),
				 .mode = S_IFREG | 0644 };
	struct rpc_mknod_rsp rsp;

	ASK(w, mknod, mknod_rsp, &req, &rsp);
	return rsp.attr.ino;
}

static void line_of(unsigned i, uint8_t line[LINE])
{
	memset(line, 'a' + (int)(i % 26), LINE);
	(void)snprintf((char *)line, LINE, "%u", i);
}

static void append(struct world *w, uint64_t ino, unsigned i)
{
	struct wire_extent e = { .len = LINE, .kind = WIRE_EXT_INLINE };
	struct rpc_write req = { MUT(w), .ino = ino,
				 .flags = RPC_WRITE_APPEND };
	struct rpc_write_rsp rsp;
	uint8_t line[LINE];
	struct wire_vec v;

	line_of(i, line);
	wire_vec_init(&v);
	wire_vec_add_extent(&v, &e);
	req.extents = wire_vec_bytes(&v);
	req.data = wire_bytes(line, LINE);
	ASK(w, write, write_rsp, &req, &rsp);
	wire_vec_fini(&v);
	assert_int_equal(rsp.pos, (uint64_t)i * LINE);
}

static unsigned extents(struct world *w, uint64_t root)
{
	struct rpc_whereis req = { .root = root, .key = wire_cstr("f") };
	struct rpc_whereis_rsp rsp;

	ASK(w, whereis, whereis_rsp, &req, &rsp);
	return rsp.extents;
}

static void expect_line(struct world *w, uint64_t ino, unsigned i)
{
	struct rpc_read req = { .ino = ino, .off = (uint64_t)i * LINE,
				.len = LINE };
	uint8_t line[LINE];
	struct reply r;

	line_of(i, line);
	CALL(w, read, &req, &r);
	assert_int_equal(r.status, RPC_STATUS_OK);
	assert_non_null(r.body);
	assert_int_equal(r.body->len, LINE);
	assert_memory_equal(r.body->data, line, LINE);
	reply_fini(&r);
}

static uint64_t merges(struct world *w)
{
	struct shard_stats stats;

	shard_set_stats(w->set, &stats);
	return stats.merges;
}

static void test_log(void **state)
{
	uint64_t root, ino;
	unsigned most = 0;
	struct world w;

	(void)state;
	world_init(&w);
	root = world_root(&w, 7);
	ino = make(&w, root);
	for (unsigned i = 0; i < 1500; i++) {
		append(&w, ino, i);
		if (i % 10 == 0) /* the worker's time */
			minienv_advance(w.m, 20000000);
		if (extents(&w, root) > most)
			most = extents(&w, root);
	}
	print_message("# at most %u extents, %lu merges\n", most,
		      (unsigned long)merges(&w));
	assert_true(most < 150);
	assert_true(merges(&w) > 10);
	for (unsigned i = 0; i < 1500; i++)
		expect_line(&w, ino, i);
	world_fini(&w);
}

/* A cut at any time: every line that was acknowledged is there, once. */
static void test_power_cuts(void **state)
{
	uint64_t root, ino;
	unsigned lines = 0;
	struct world w;

	(void)state;
	world_init(&w);
	root = world_root(&w, 7);
	ino = make(&w, root);
	for (unsigned cut = 0; cut < 12; cut++) {
		for (unsigned i = 0; i < 90; i++) {
			append(&w, ino, lines++);
			if (i > 60)
				minienv_advance(w.m, 3000000 * cut);
		}
		world_power_cut(&w, cut);
		for (unsigned i = 0; i < lines; i++)
			expect_line(&w, ino, i);
	}
	minienv_advance(w.m, 100000000);
	assert_true(extents(&w, root) < 200);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_power_cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
