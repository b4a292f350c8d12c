/*
 * Reading chunks: past the page cache and through it, by their pieces, one
 * behind another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/chunkworld.h"

/* A chunk of 2 MiB and slice bytes, all of them the same. */
static void put_large(struct world *w, unsigned slice)
{
	struct body *b = body_new(CHUNK_DIRECT_MIN + slice);

	b->len = CHUNK_DIRECT_MIN + slice;
	memset(b->data, (int)slice, b->len);
	assert_int_equal(world_put_body(w, slice, b), RPC_STATUS_OK);
}

/* The status of a whole get; on OK the first byte must be first. */
static uint32_t get_large(struct world *w, unsigned slice, uint8_t first)
{
	struct reply r = { .n = 0 };

	assert_int_equal(
		chunk_get(w->cl, world_slice(slice), 0, 0, 0, reply_note, &r),
		0);
	minienv_run(w->m);
	assert_int_equal(r.n, 1);
	if (r.status == RPC_STATUS_OK) {
		for (uint32_t i = 0; i < r.body->len; i += 4096)
			assert_int_equal(r.body->data[i], first);
		body_unref(r.body);
	}
	return r.status;
}

static uint64_t direct_reads(struct world *w)
{
	struct crashfs_stats st;

	crashfs_get_stats(w->fs, &st);
	return st.direct_reads;
}

/* Starts a get of each, two of the last one. */
static void get_many(struct world *w, unsigned n, struct reply *r)
{
	for (unsigned i = 0; i <= n; i++) {
		r[i] = (struct reply){ .n = 0 };
		assert_int_equal(chunk_get(w->cl,
					   world_slice(i < n ? i + 1 : n), 0, 0,
					   CHUNK_DIRECT_MIN, reply_note, &r[i]),
				 0);
	}
}

/* A few at a time, in order; those that wait when the store goes hear of it. */
static void test_read_many(void **state)
{
	enum { N = 7 };
	struct reply r[N + 1];
	unsigned told = 0;
	struct world w;

	(void)state;
	world_init(&w);
	for (unsigned s = 1; s <= N; s++)
		put_large(&w, s);
	get_many(&w, N, r);
	assert_int_equal(direct_reads(&w), 0);
	for (unsigned i = 0; i <= N; i++) {
		while (r[i].n == 0)
			assert_true(minienv_step(w.m));
		assert_in_range(direct_reads(&w), i < N ? i + 1 : N,
				i + CHUNK_DIRECT_MAX);
	}
	for (unsigned i = 0; i <= N; i++) {
		assert_int_equal(r[i].n, 1);
		assert_int_equal(r[i].status, RPC_STATUS_OK);
		assert_int_equal(r[i].body->len, CHUNK_DIRECT_MIN);
		assert_int_equal(r[i].body->data[0], i < N ? i + 1 : N);
		body_unref(r[i].body);
	}
	world_power_cut(&w, 3);
	get_many(&w, N, r);
	while (r[0].n == 0)
		assert_true(minienv_step(w.m));
	world_fini(&w);
	for (unsigned i = 0; i <= N; i++) {
		assert_int_equal(r[i].n, 1);
		told += r[i].status == RPC_STATUS_UNAVAILABLE;
		body_unref(r[i].body);
	}
	assert_in_range(told, N - CHUNK_DIRECT_MAX, N);
}

/*
 * Large chunks: once past the page cache, then through it, and of one that
 * rotted nothing is handed out either way.
 */
static void test_read_twice(void **state)
{
	struct crashfs_faults flip = { .flip_read_at = 1 };
	struct world w;

	(void)state;
	world_init(&w);
	for (unsigned s = 1; s <= 3; s++)
		put_large(&w, s);
	for (unsigned s = 1; s <= 3; s++)
		assert_int_equal(get_large(&w, s, (uint8_t)s), RPC_STATUS_OK);
	assert_int_equal(direct_reads(&w), 3);
	for (unsigned s = 1; s <= 3; s++)
		assert_int_equal(get_large(&w, s, (uint8_t)s), RPC_STATUS_OK);
	assert_int_equal(direct_reads(&w), 3);
	crashfs_set_faults(w.fs, &flip);
	assert_int_equal(get_large(&w, 1, 1), RPC_STATUS_IO);
	world_power_cut(&w, 2);
	assert_int_equal(world_stats(&w).rot, 0);
	crashfs_set_faults(w.fs, &flip);
	assert_int_equal(get_large(&w, 1, 1), RPC_STATUS_IO);
	assert_int_equal(direct_reads(&w), 4);
	assert_int_equal(world_stats(&w).rot, 1);
	assert_int_equal(get_large(&w, 1, 1), RPC_STATUS_OK);
	world_fini(&w);
}

/* --- parts of long chunks --- */

enum { PARTS_LEN = 2 * CHUNK_DIRECT_MIN - 1234 };

static void put_parts(struct world *w, uint8_t *bytes, uint64_t seed)
{
	struct body *b = body_new(PARTS_LEN);

	for (size_t i = 0; i < PARTS_LEN; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (uint8_t)(seed >> 56);
	}
	memcpy(b->data, bytes, PARTS_LEN);
	b->len = PARTS_LEN;
	assert_int_equal(world_put_body(w, 1, b), RPC_STATUS_OK);
}

/* Its status; what comes must be right. read: bytes asked of the disk. */
static uint32_t get_part_of(struct world *w, const uint8_t *bytes, uint32_t off,
			    uint32_t len, uint64_t *ret_read)
{
	struct crashfs_stats before, after;
	struct reply r = { .n = 0 };

	crashfs_get_stats(w->fs, &before);
	assert_int_equal(
		chunk_get(w->cl, world_slice(1), 0, off, len, reply_note, &r),
		0);
	minienv_run(w->m);
	crashfs_get_stats(w->fs, &after);
	*ret_read = after.read_bytes - before.read_bytes;
	assert_int_equal(r.n, 1);
	if (r.status == RPC_STATUS_OK) {
		assert_int_equal(r.body->len,
				 len < PARTS_LEN - off ? len : PARTS_LEN - off);
		assert_memory_equal(r.body->data, bytes + off, r.body->len);
		body_unref(r.body);
	}
	return r.status;
}

/* The same where all is well; what the disk was asked for. */
static uint64_t part_read(struct world *w, const uint8_t *bytes, uint32_t off,
			  uint32_t len)
{
	uint64_t read;

	assert_int_equal(get_part_of(w, bytes, off, len, &read), RPC_STATUS_OK);
	return read;
}

/* What the little cache has goes. */
static void forget(struct world *w)
{
	minienv_advance(w->m, 3 * SECOND);
	minienv_advance(w->m, 3 * SECOND);
}

/* After a first read the pieces that a part touches are enough. */
static void test_parts(void **state)
{
	static const uint32_t parts[][3] = {
		/* offset, length, pieces */
		{ 5 * CHUNK_SUMS_PIECE, 1, 1 },
		{ 9 * CHUNK_SUMS_PIECE - 1, 1, 1 },
		{ 14 * CHUNK_SUMS_PIECE - 1, 2, 2 },
		{ 20 * CHUNK_SUMS_PIECE, CHUNK_SUMS_PIECE, 1 },
		{ 30 * CHUNK_SUMS_PIECE + 7, CHUNK_PART_MAX, 17 },
		{ 0, 8192, 1 },
	};
	uint8_t *bytes = malloc(PARTS_LEN);
	struct world w;
	uint64_t read;

	(void)state;
	world_init(&w);
	put_parts(&w, bytes, 1);
	assert_true(part_read(&w, bytes, 100, 100) >= PARTS_LEN);
	/* it is still in memory as a whole */
	assert_int_equal(part_read(&w, bytes, 3000000, 100), 0);
	forget(&w);
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		assert_int_equal(part_read(&w, bytes, parts[i][0], parts[i][1]), parts[i][2] * CHUNK_SUMS_PIECE);
	}
	/* up to the end, and behind it */
	assert_true(part_read(&w, bytes, PARTS_LEN - 10, 100) < CHUNK_SUMS_PIECE);
	assert_int_equal(get_part_of(&w, bytes, PARTS_LEN, 100, &read),
			 RPC_STATUS_INVAL);
	assert_true(read < CHUNK_SUMS_PIECE);
	/* what is as good as all of it, and who reads on: the whole */
	assert_true(part_read(&w, bytes, 0, CHUNK_PART_MAX + 1) >= PARTS_LEN);
	forget(&w);
	assert_true(part_read(&w, bytes, 8192, 8192) >= PARTS_LEN);
	assert_int_equal(part_read(&w, bytes, 16384, 8192), 0);
	world_fini(&w);
	free(bytes);
}

/* A bit that flips is met in its piece alone, and never handed out. */
static void test_parts_rot(void **state)
{
	struct crashfs_faults flip = { .flip_read_at = 1 };
	struct chunk_id id = { world_slice(1), 0 };
	uint8_t *bytes = malloc(PARTS_LEN);
	struct chunk_row row;
	struct world w;
	uint64_t read;
	char path[48];

	(void)state;
	world_init(&w);
	put_parts(&w, bytes, 2);
	(void)part_read(&w, bytes, 0, 1);
	forget(&w);
	/* once: the whole chunk says that it is right */
	crashfs_set_faults(w.fs, &flip);
	assert_true(part_read(&w, bytes, 500000, 1) >= PARTS_LEN);
	assert_int_equal(world_stats(&w).rot, 0);
	forget(&w);
	assert_int_equal(chunk_index_get(w.cs, &id, &row), 0);
	snprintf(path, sizeof path, "bulk/%016llx.seg",
		 (unsigned long long)row.gen);
	assert_int_equal(crashfs_flip(w.fs, path, row.off + 1000000, 3), 0);
	assert_true(part_read(&w, bytes, 2000000, 10) < PARTS_LEN);
	assert_int_equal(get_part_of(&w, bytes, 1000000, 1, &read),
			 RPC_STATUS_IO);
	assert_int_equal(world_stats(&w).rot, 1);
	/* in its piece, too; and all of it */
	assert_int_equal(get_part_of(&w, bytes, 1000100, 10, &read),
			 RPC_STATUS_IO);
	assert_int_equal(get_part_of(&w, bytes, 0, PARTS_LEN, &read),
			 RPC_STATUS_IO);
	/* another process knows no sums */
	world_power_cut(&w, 4);
	assert_int_equal(get_part_of(&w, bytes, 2000000, 10, &read),
			 RPC_STATUS_IO);
	world_fini(&w);
	free(bytes);
}

enum { ASKED = 20 };

/* Parts far from each other, at once. */
static void ask_parts(struct world *w, struct reply *r)
{
	for (unsigned i = 0; i < ASKED; i++) {
		r[i] = (struct reply){ .n = 0 };
		assert_int_equal(chunk_get(w->cl, world_slice(1), 0,
					   i * 200000 + 1, 5000, reply_note,
					   &r[i]),
				 0);
	}
}

/* None is behind another; those that wait when the store goes hear of it. */
static void test_parts_at_once(void **state)
{
	uint8_t *bytes = malloc(PARTS_LEN);
	struct crashfs_stats before, after;
	struct reply r[ASKED];
	unsigned told = 0;
	struct world w;

	(void)state;
	world_init(&w);
	put_parts(&w, bytes, 3);
	(void)part_read(&w, bytes, 0, 1);
	forget(&w);
	crashfs_get_stats(w.fs, &before);
	ask_parts(&w, r);
	minienv_run(w.m);
	crashfs_get_stats(w.fs, &after);
	assert_in_range(after.read_bytes - before.read_bytes,
			ASKED * CHUNK_SUMS_PIECE, ASKED * 2 * CHUNK_SUMS_PIECE);
	for (unsigned i = 0; i < ASKED; i++) {
		assert_int_equal(r[i].n, 1);
		assert_int_equal(r[i].status, RPC_STATUS_OK);
		assert_memory_equal(r[i].body->data, bytes + i * 200000 + 1,
				    r[i].body->len);
		body_unref(r[i].body);
	}
	forget(&w);
	ask_parts(&w, r);
	while (r[0].n == 0)
		assert_true(minienv_step(w.m));
	world_fini(&w);
	for (unsigned i = 0; i < ASKED; i++) {
		assert_int_equal(r[i].n, 1);
		told += r[i].status == RPC_STATUS_UNAVAILABLE;
		body_unref(r[i].body);
	}
	assert_true(told > 0);
	free(bytes);
}

/* Who wants all of it, or the same part again and again, shares one read. */
static void test_parts_shared(void **state)
{
	enum { N = 10 };
	uint8_t *bytes = malloc(PARTS_LEN);
	struct crashfs_stats before, after;
	struct reply r[N];
	struct world w;

	(void)state;
	world_init(&w);
	put_parts(&w, bytes, 4);
	(void)part_read(&w, bytes, 0, 1);
	forget(&w);
	assert_int_equal(part_read(&w, bytes, 70000, 500), CHUNK_SUMS_PIECE);
	assert_true(part_read(&w, bytes, 70000, 500) >= PARTS_LEN);
	assert_int_equal(part_read(&w, bytes, 70000, 500), 0);
	forget(&w);
	crashfs_get_stats(w.fs, &before);
	for (unsigned i = 0; i < N; i++) {
		r[i] = (struct reply){ .n = 0 };
		assert_int_equal(chunk_get(w.cl, world_slice(1), 0, 0,
					   PARTS_LEN, reply_note, &r[i]),
				 0);
	}
	minienv_run(w.m);
	crashfs_get_stats(w.fs, &after);
	assert_in_range(after.read_bytes - before.read_bytes, PARTS_LEN,
			PARTS_LEN + 8192);
	for (unsigned i = 0; i < N; i++) {
		assert_ptr_equal(r[i].body, r[0].body);
		body_unref(r[i].body);
	}
	world_fini(&w);
	free(bytes);
}

/* As short as that: a part of it is, and all of it is not, one by pieces. */
static void test_parts_short(void **state)
{
	struct body *b = body_new(CHUNK_SUMS_MIN);
	struct world w;

	(void)state;
	world_init(&w);
	b->len = CHUNK_SUMS_MIN;
	memset(b->data, 7, b->len);
	assert_int_equal(world_put_body(&w, 1, body_ref(b)), RPC_STATUS_OK);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(part_read(&w, b->data, 0, CHUNK_SUMS_MIN) >=
			    CHUNK_SUMS_MIN);
		assert_int_equal(
			chunk_sums_len(&w.cs->sums,
				       &(struct chunk_id){ world_slice(1), 0 }),
			0);
	}
	(void)part_read(&w, b->data, 0, 100);
	forget(&w);
	assert_int_equal(part_read(&w, b->data, 0, 100), CHUNK_SUMS_PIECE);
	assert_true(part_read(&w, b->data, 0, CHUNK_SUMS_MIN) >=
		    CHUNK_SUMS_MIN);
	body_unref(b);
	world_fini(&w);
}

/* --- one behind another --- */

static void get_start(struct world *w, unsigned slice, struct reply *r)
{
	*r = (struct reply){ .n = 0 };
	assert_int_equal(
		chunk_get(w->cl, world_slice(slice), 0, 0, 0, reply_note, r),
		0);
	assert_int_equal(r->n, 0);
}

static void on_held(struct env_work *work)
{
	(void)work;
}

/* A get has looked, but its loop has not heard of it. */
static struct chunk_get *hold_get(struct world *w)
{
	struct chunk_get *g = w->cl->gets;

	assert_true(g != NULL && g->next == NULL);
	g->work.done = on_held;
	minienv_run(w->m);
	return g;
}

static void get_hear(struct chunk_get *g, void (*done)(struct env_work *work))
{
	g->work.done = done;
	done(&g->work);
}

/* Whoever follows a read that had looked before a put ended finds its bytes. */
static void test_follow_late(void **state)
{
	void (*done)(struct env_work * work);
	struct chunk_get *g;
	struct reply r[4];
	struct world w;

	(void)state;
	world_init(&w);
	get_start(&w, 1, &r[0]);
	done = w.cl->gets->work.done;
	g = hold_get(&w);
	assert_int_equal(world_put(&w, 1, 0), RPC_STATUS_OK);
	get_start(&w, 1, &r[1]);
	get_start(&w, 1, &r[2]);
	get_hear(g, done);
	assert_int_equal(r[0].status, RPC_STATUS_NOENT);
	minienv_run(w.m);
	for (unsigned i = 1; i <= 2; i++) {
		assert_int_equal(r[i].n, 1);
		assert_int_equal(r[i].status, RPC_STATUS_OK);
		body_unref(r[i].body);
	}
	/* there is none: each hears it from a read that began behind it */
	get_start(&w, 2, &r[0]);
	g = hold_get(&w);
	get_start(&w, 2, &r[1]);
	get_start(&w, 2, &r[2]);
	get_hear(g, done);
	assert_true(r[0].n == 1 && r[1].n == 0 && r[2].n == 0);
	g = hold_get(&w);
	get_start(&w, 2, &r[3]);
	get_hear(g, done);
	assert_true(r[1].n == 1 && r[2].n == 1 && r[3].n == 0);
	minienv_run(w.m);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(r[i].status, RPC_STATUS_NOENT);
	assert_int_equal(r[3].n, 1);
	assert_int_equal(w.cl->n_gets, 0);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_twice),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_parts_rot),
		cmocka_unit_test(test_parts_at_once),
		cmocka_unit_test(test_parts_shared),
		cmocka_unit_test(test_parts_short),
		cmocka_unit_test(test_read_many),
		cmocka_unit_test(test_follow_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
