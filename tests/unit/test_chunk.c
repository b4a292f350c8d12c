/*
 * storaged/chunk*: the chunks of a store over a file system that knows power
 * cuts and an index in memory. What was acknowledged and not dropped is there
 * after any cut, with its bytes; the counts of segments are always right.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <xxhash.h>

#include "common/base/mem.h"
#include "common/wire/msgs.h"
#include "common/wire/status.h"
#include "storaged/chunk_impl.h"
#include "storaged/compact.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"

#define SECOND 1000000000ull

struct world {
	struct crashfs *fs;
	struct minienv *m;
	struct rows_mem_image *image;
	struct chunk_store *cs;
	struct seg_head *bulk;
	struct seg_port *port;
	struct chunk_loop *cl;
	struct compact *compact;
	unsigned rots;
	char bad[48]; /* the file of a bit that is wrong until it is met */
	uint64_t bad_off;
};

/* --- one process --- */

static int on_record(void *arg, const struct seg_rec *rec)
{
	struct world *w = arg;

	return chunk_store_recover(w->cs, rec);
}

static void on_rot(void *arg, const struct seg_rot *rot)
{
	struct world *w = arg;

	w->rots += (unsigned)rot->n;
	chunk_store_recover_rot(w->cs, rot);
	if (w->bad[0] != '\0')
		assert_int_equal(crashfs_flip(w->fs, w->bad, w->bad_off, 0), 0);
	w->bad[0] = '\0';
}

/* 0 or -errno: the head cannot be opened. */
static int world_try(struct world *w, uint64_t seed)
{
	struct seg_config sc = {
		.dir = "bulk", .segment_size = 64 << 10,
		.first_size = 16 << 10, .bulk = true,
		.on_record = on_record, .on_rot = on_rot, .arg = w,
	};
	struct compact_config cc = { .rate = 0 };
	struct errbuf e = { "" };
	struct compact_head head;
	struct rows_back *back;
	int rv;

	w->m = minienv_new(crashfs_vfs(w->fs), seed);
	assert_int_equal(rows_back_mem(w->image, &back), 0);
	assert_int_equal(chunk_store_new(back, &w->cs), 0);
	sc.from_seq = chunk_store_from(w->cs);
	rv = seg_head_open(minienv_env(w->m), &sc, &w->bulk, &e);
	if (rv != 0) {
		chunk_store_close(w->cs, false);
		minienv_free(w->m);
		return rv;
	}
	assert_int_equal(chunk_store_set_bulk(w->cs, w->bulk), 0);
	assert_int_equal(seg_port_new(w->bulk, minienv_env(w->m), &w->port),
			 0);
	assert_int_equal(chunk_loop_new(w->cs, minienv_env(w->m), w->port,
					&w->cl), 0);
	chunk_loop_start_saving(w->cl);
	cc.env = minienv_env(w->m);
	assert_int_equal(compact_new(&cc, &w->compact), 0);
	assert_int_equal(chunk_clean_new(w->cl, &head), 0);
	compact_add_head(w->compact, &head);
	minienv_run(w->m);
	return 0;
}

static void world_start(struct world *w, uint64_t seed)
{
	assert_int_equal(world_try(w, seed), 0);
}

static void world_kill(struct world *w)
{
	crashfs_freeze(w->fs, true);
	seg_head_abandon(w->bulk);
	chunk_loop_free(w->cl);
	compact_free(w->compact);
	chunk_store_close(w->cs, false);
	seg_port_free(w->port);
	minienv_free(w->m);
	crashfs_freeze(w->fs, false);
}

static void world_power_cut(struct world *w, uint64_t seed)
{
	world_kill(w);
	crashfs_crash(w->fs, seed);
	world_start(w, seed);
}

static void world_init(struct world *w)
{
	memset(w, 0, sizeof *w);
	w->fs = crashfs_new(1);
	w->image = rows_mem_image_new();
	world_start(w, 1);
}

static void world_fini(struct world *w)
{
	world_kill(w);
	rows_mem_image_free(w->image);
	crashfs_free(w->fs);
}

static void on_finding(void *arg, const char *text)
{
	print_error("# %s\n", text);
	++*(unsigned *)arg;
}

static void world_check(struct world *w)
{
	unsigned findings = 0;

	assert_int_equal(chunk_store_check(w->cs, on_finding, &findings), 0);
	assert_int_equal(findings, 0);
}

static struct chunk_stats stats_of(struct world *w)
{
	struct chunk_stats s;

	chunk_store_stats(w->cs, &s);
	return s;
}

/* --- calls --- */

struct reply {
	unsigned n;
	uint32_t status;
	struct body *body;
};

static void on_reply(void *arg, uint32_t status, struct body *body)
{
	struct reply *r = arg;

	r->n++;
	r->status = status;
	r->body = body;
}

static void on_dropped(void *arg, uint32_t status)
{
	on_reply(arg, status, NULL);
}

static struct wire_u128 slice_of(unsigned n)
{
	return slice_make(3, 1700000000, 7, n);
}

/* Bytes that no other chunk has. */
static struct body *bytes_of(unsigned slice, unsigned index, unsigned version)
{
	uint32_t seed = slice * 2654435761u ^ index * 40503u ^ version;
	size_t len = 1 + seed % 9000;
	struct body *b = body_new(len);

	for (size_t i = 0; i < len; i++)
		b->data[i] = (uint8_t)(seed >> i % 4 * 8 ^ i / 4);
	b->len = (uint32_t)len;
	return b;
}

static void put_start(struct world *w, unsigned slice, unsigned index,
		      unsigned version, struct reply *r)
{
	struct body *b = bytes_of(slice, index, version);
	XXH128_hash_t h = XXH3_128bits(b->data, b->len);

	*r = (struct reply){ .n = 0 };
	assert_int_equal(chunk_put(w->cl, slice_of(slice), index,
				   (struct wire_u128){ h.high64, h.low64 }, b,
				   on_reply, r), 0);
	assert_int_equal(r->n, 0);
	body_unref(b);
}

static uint32_t put(struct world *w, unsigned slice, unsigned index)
{
	struct reply r;

	put_start(w, slice, index, 0, &r);
	minienv_run(w->m);
	assert_int_equal(r.n, 1);
	return r.status;
}

static void drop_start(struct world *w, unsigned slice, unsigned n,
		       struct reply *r)
{
	struct wire_u128 ids[8];

	for (unsigned i = 0; i < n; i++)
		ids[i] = slice_of(slice + i);
	*r = (struct reply){ .n = 0 };
	assert_int_equal(chunk_drop(w->cl, ids, n, on_dropped, r), 0);
	assert_int_equal(r->n, 0);
}

static void drop(struct world *w, unsigned slice, unsigned n)
{
	struct reply r;

	drop_start(w, slice, n, &r);
	minienv_run(w->m);
	assert_int_equal(r.n, 1);
	assert_int_equal(r.status, RPC_STATUS_OK);
}

/* NOENT, or OK and then with the right bytes. */
static uint32_t get(struct world *w, unsigned slice, unsigned index)
{
	struct reply r = { .n = 0 };

	assert_int_equal(chunk_get(w->cl, slice_of(slice), index, 0, 0,
				   on_reply, &r), 0);
	minienv_run(w->m);
	assert_int_equal(r.n, 1);
	if (r.status == RPC_STATUS_OK) {
		struct body *b = bytes_of(slice, index, 0);

		assert_int_equal(r.body->len, b->len);
		assert_memory_equal(r.body->data, b->data, b->len);
		body_unref(b);
		body_unref(r.body);
	} else { /* no row points to what is freed */
		assert_int_equal(r.status, RPC_STATUS_NOENT);
	}
	return r.status;
}

/* --- tests --- */

/* A chunk of 2 MiB and slice bytes, all of them the same. */
static void put_large(struct world *w, unsigned slice)
{
	struct body *b = body_new(CHUNK_DIRECT_MIN + slice);
	struct reply r = { .n = 0 };
	XXH128_hash_t h;

	b->len = CHUNK_DIRECT_MIN + slice;
	memset(b->data, (int)slice, b->len);
	h = XXH3_128bits(b->data, b->len);
	assert_int_equal(chunk_put(w->cl, slice_of(slice), 0,
				   (struct wire_u128){ h.high64, h.low64 }, b,
				   on_reply, &r), 0);
	body_unref(b);
	minienv_run(w->m);
	assert_int_equal(r.status, RPC_STATUS_OK);
}

/* The status of a whole get; on OK the first byte must be first. */
static uint32_t get_large(struct world *w, unsigned slice, uint8_t first)
{
	struct reply r = { .n = 0 };

	assert_int_equal(chunk_get(w->cl, slice_of(slice), 0, 0, 0, on_reply,
				   &r), 0);
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
		assert_int_equal(chunk_get(w->cl, slice_of(i < n ? i + 1 : n),
					   0, 0, CHUNK_DIRECT_MIN, on_reply,
					   &r[i]),
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
	assert_int_equal(stats_of(&w).rot, 0);
	crashfs_set_faults(w.fs, &flip);
	assert_int_equal(get_large(&w, 1, 1), RPC_STATUS_IO);
	assert_int_equal(direct_reads(&w), 4);
	assert_int_equal(stats_of(&w).rot, 1);
	assert_int_equal(get_large(&w, 1, 1), RPC_STATUS_OK);
	world_fini(&w);
}

/* --- parts of long chunks --- */

enum { PARTS_LEN = 2 * CHUNK_DIRECT_MIN - 1234 };

static void put_parts(struct world *w, uint8_t *bytes, uint64_t seed)
{
	struct body *b = body_new(PARTS_LEN);
	struct reply r = { .n = 0 };
	XXH128_hash_t h;

	for (size_t i = 0; i < PARTS_LEN; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (uint8_t)(seed >> 56);
	}
	memcpy(b->data, bytes, PARTS_LEN);
	b->len = PARTS_LEN;
	h = XXH3_128bits(b->data, b->len);
	assert_int_equal(chunk_put(w->cl, slice_of(1), 0,
				   (struct wire_u128){ h.high64, h.low64 }, b,
				   on_reply, &r), 0);
	body_unref(b);
	minienv_run(w->m);
	assert_int_equal(r.status, RPC_STATUS_OK);
}

/* Its status; what comes must be right. read: bytes asked of the disk. */
static uint32_t get_part_of(struct world *w, const uint8_t *bytes,
			    uint32_t off, uint32_t len, uint64_t *ret_read)
{
	struct crashfs_stats before, after;
	struct reply r = { .n = 0 };

	crashfs_get_stats(w->fs, &before);
	assert_int_equal(chunk_get(w->cl, slice_of(1), 0, off, len, on_reply,
				   &r), 0);
	minienv_run(w->m);
	crashfs_get_stats(w->fs, &after);
	*ret_read = after.read_bytes - before.read_bytes;
	assert_int_equal(r.n, 1);
	if (r.status == RPC_STATUS_OK) {
		assert_int_equal(r.body->len, len < PARTS_LEN - off ?
						      len : PARTS_LEN - off);
		assert_memory_equal(r.body->data, bytes + off, r.body->len);
		body_unref(r.body);
	}
	return r.status;
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
	static const uint32_t parts[][3] = { /* offset, length, pieces */
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
	assert_int_equal(get_part_of(&w, bytes, 100, 100, &read),
			 RPC_STATUS_OK);
	assert_true(read >= PARTS_LEN);
	/* it is still in memory as a whole */
	assert_int_equal(get_part_of(&w, bytes, 3000000, 100, &read),
			 RPC_STATUS_OK);
	assert_int_equal(read, 0);
	forget(&w);
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		assert_int_equal(get_part_of(&w, bytes, parts[i][0],
					     parts[i][1], &read),
				 RPC_STATUS_OK);
		assert_int_equal(read, parts[i][2] * CHUNK_SUMS_PIECE);
	}
	/* up to the end, and behind it */
	assert_int_equal(get_part_of(&w, bytes, PARTS_LEN - 10, 100, &read),
			 RPC_STATUS_OK);
	assert_true(read < CHUNK_SUMS_PIECE);
	assert_int_equal(get_part_of(&w, bytes, PARTS_LEN, 100, &read),
			 RPC_STATUS_INVAL);
	assert_true(read < CHUNK_SUMS_PIECE);
	/* what is as good as all of it, and who reads on: the whole */
	assert_int_equal(get_part_of(&w, bytes, 0, CHUNK_PART_MAX + 1, &read),
			 RPC_STATUS_OK);
	assert_true(read >= PARTS_LEN);
	forget(&w);
	assert_int_equal(get_part_of(&w, bytes, 8192, 8192, &read),
			 RPC_STATUS_OK);
	assert_true(read >= PARTS_LEN);
	assert_int_equal(get_part_of(&w, bytes, 16384, 8192, &read),
			 RPC_STATUS_OK);
	assert_int_equal(read, 0);
	world_fini(&w);
	free(bytes);
}

/* A bit that flips is met in its piece alone, and never handed out. */
static void test_parts_rot(void **state)
{
	struct crashfs_faults flip = { .flip_read_at = 1 };
	struct chunk_id id = { slice_of(1), 0 };
	uint8_t *bytes = malloc(PARTS_LEN);
	struct chunk_row row;
	struct world w;
	uint64_t read;
	char path[48];

	(void)state;
	world_init(&w);
	put_parts(&w, bytes, 2);
	assert_int_equal(get_part_of(&w, bytes, 0, 1, &read), RPC_STATUS_OK);
	forget(&w);
	/* once: the whole chunk says that it is right */
	crashfs_set_faults(w.fs, &flip);
	assert_int_equal(get_part_of(&w, bytes, 500000, 1, &read),
			 RPC_STATUS_OK);
	assert_true(read >= PARTS_LEN);
	assert_int_equal(stats_of(&w).rot, 0);
	forget(&w);
	assert_int_equal(chunk_index_get(w.cs, &id, &row), 0);
	snprintf(path, sizeof path, "bulk/%016llx.seg",
		 (unsigned long long)row.gen);
	assert_int_equal(crashfs_flip(w.fs, path, row.off + 1000000, 3), 0);
	assert_int_equal(get_part_of(&w, bytes, 2000000, 10, &read),
			 RPC_STATUS_OK);
	assert_true(read < PARTS_LEN);
	assert_int_equal(get_part_of(&w, bytes, 1000000, 1, &read),
			 RPC_STATUS_IO);
	assert_int_equal(stats_of(&w).rot, 1);
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

/* Parts of one chunk at once, none behind another; and cut short. */
static void test_parts_at_once(void **state)
{
	enum { N = 20 };
	uint8_t *bytes = malloc(PARTS_LEN);
	struct reply r[N] = { { .n = 0 } };
	struct crashfs_stats before, after;
	struct world w;
	uint64_t read;
	unsigned told = 0;

	(void)state;
	world_init(&w);
	put_parts(&w, bytes, 3);
	assert_int_equal(get_part_of(&w, bytes, 0, 1, &read), RPC_STATUS_OK);
	forget(&w);
	crashfs_get_stats(w.fs, &before);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < N; i++) {
			r[i] = (struct reply){ .n = 0 };
			assert_int_equal(chunk_get(w.cl, slice_of(1), 0,
						   i * 200000 + 1, 5000,
						   on_reply, &r[i]), 0);
		}
		if (round == 1)
			break;
		minienv_run(w.m);
		crashfs_get_stats(w.fs, &after);
		assert_in_range(after.read_bytes - before.read_bytes,
				N * CHUNK_SUMS_PIECE,
				N * 2 * CHUNK_SUMS_PIECE);
		for (unsigned i = 0; i < N; i++) {
			assert_int_equal(r[i].n, 1);
			assert_int_equal(r[i].status, RPC_STATUS_OK);
			assert_memory_equal(r[i].body->data,
					    bytes + i * 200000 + 1,
					    r[i].body->len);
			body_unref(r[i].body);
		}
		forget(&w);
	}
	while (r[0].n == 0)
		assert_true(minienv_step(w.m));
	world_fini(&w);
	for (unsigned i = 0; i < N; i++) {
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
	uint64_t read;

	(void)state;
	world_init(&w);
	put_parts(&w, bytes, 4);
	assert_int_equal(get_part_of(&w, bytes, 0, 1, &read), RPC_STATUS_OK);
	forget(&w);
	assert_int_equal(get_part_of(&w, bytes, 70000, 500, &read),
			 RPC_STATUS_OK);
	assert_int_equal(read, CHUNK_SUMS_PIECE);
	assert_int_equal(get_part_of(&w, bytes, 70000, 500, &read),
			 RPC_STATUS_OK);
	assert_true(read >= PARTS_LEN);
	assert_int_equal(get_part_of(&w, bytes, 70000, 500, &read),
			 RPC_STATUS_OK);
	assert_int_equal(read, 0);
	forget(&w);
	crashfs_get_stats(w.fs, &before);
	for (unsigned i = 0; i < N; i++) {
		r[i] = (struct reply){ .n = 0 };
		assert_int_equal(chunk_get(w.cl, slice_of(1), 0, 0, PARTS_LEN,
					   on_reply, &r[i]), 0);
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
	struct reply r = { .n = 0 };
	XXH128_hash_t h;
	struct world w;
	uint64_t read;

	(void)state;
	world_init(&w);
	b->len = CHUNK_SUMS_MIN;
	memset(b->data, 7, b->len);
	h = XXH3_128bits(b->data, b->len);
	assert_int_equal(chunk_put(w.cl, slice_of(1), 0,
				   (struct wire_u128){ h.high64, h.low64 }, b,
				   on_reply, &r), 0);
	minienv_run(w.m);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(get_part_of(&w, b->data, 0, CHUNK_SUMS_MIN,
					     &read), RPC_STATUS_OK);
		assert_true(read >= CHUNK_SUMS_MIN);
		assert_int_equal(chunk_sums_len(&w.cs->sums,
						&(struct chunk_id){
							slice_of(1), 0 }), 0);
	}
	assert_int_equal(get_part_of(&w, b->data, 0, 100, &read),
			 RPC_STATUS_OK);
	forget(&w);
	assert_int_equal(get_part_of(&w, b->data, 0, 100, &read),
			 RPC_STATUS_OK);
	assert_int_equal(read, CHUNK_SUMS_PIECE);
	assert_int_equal(get_part_of(&w, b->data, 0, CHUNK_SUMS_MIN, &read),
			 RPC_STATUS_OK);
	assert_true(read >= CHUNK_SUMS_MIN);
	body_unref(b);
	world_fini(&w);
}

static void get_start(struct world *w, unsigned slice, struct reply *r)
{
	*r = (struct reply){ .n = 0 };
	assert_int_equal(chunk_get(w->cl, slice_of(slice), 0, 0, 0, on_reply,
				   r), 0);
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

static void get_hear(struct chunk_get *g,
		     void (*done)(struct env_work *work))
{
	g->work.done = done;
	done(&g->work);
}

/* Whoever follows a read that had looked before a put ended finds its bytes. */
static void test_follow_late(void **state)
{
	void (*done)(struct env_work *work);
	struct chunk_get *g;
	struct reply r[4];
	struct world w;

	(void)state;
	world_init(&w);
	get_start(&w, 1, &r[0]);
	done = w.cl->gets->work.done;
	g = hold_get(&w);
	assert_int_equal(put(&w, 1, 0), RPC_STATUS_OK);
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

static void test_drop(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	for (unsigned s = 1; s <= 6; s++)
		for (unsigned i = 0; i < 5; i++)
			assert_int_equal(put(&w, s, i), RPC_STATUS_OK);
	assert_int_equal(stats_of(&w).live, 30);
	world_check(&w);
	drop(&w, 2, 1);
	drop(&w, 4, 2);
	drop(&w, 4, 2); /* again: nothing to do */
	drop(&w, 99, 3);
	world_check(&w);
	assert_int_equal(stats_of(&w).live, 15);
	for (unsigned s = 1; s <= 6; s++)
		for (unsigned i = 0; i < 5; i++)
			assert_int_equal(get(&w, s, i),
					 s == 2 || s == 4 || s == 5
						 ? RPC_STATUS_NOENT
						 : RPC_STATUS_OK);
	/* a put that came late: an orphan */
	assert_int_equal(put(&w, 2, 0), RPC_STATUS_OK);
	assert_int_equal(stats_of(&w).live, 16);
	drop(&w, 1, 6);
	assert_int_equal(stats_of(&w).live, 0);
	assert_int_equal(stats_of(&w).live_bytes, 0);
	world_check(&w);
	world_fini(&w);
}

/* More chunks than a batch holds. */
static void test_large_slice(void **state)
{
	enum { N = 700 };
	static struct reply r[N];
	struct world w;

	(void)state;
	world_init(&w);
	for (unsigned i = 0; i < N; i++)
		put_start(&w, 1, i, 0, &r[i]);
	put_start(&w, 2, 0, 0, &r[0]);
	minienv_run(w.m);
	assert_int_equal(stats_of(&w).live, N + 1);
	world_check(&w);
	drop(&w, 1, 1);
	assert_int_equal(stats_of(&w).live, 1);
	assert_int_equal(get(&w, 2, 0), RPC_STATUS_OK);
	world_check(&w);
	world_fini(&w);
}

/* The same name several times in one batch: the first bytes count. */
static void test_same_name(void **state)
{
	struct reply r[6];
	struct world w;

	(void)state;
	world_init(&w);
	for (unsigned i = 0; i < 6; i++)
		put_start(&w, 1, 0, i / 2, &r[i]);
	minienv_run(w.m);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(r[i].n, 1);
		assert_int_equal(r[i].status, i < 2 ? RPC_STATUS_OK
						    : RPC_STATUS_BAD_DIGEST);
	}
	assert_int_equal(stats_of(&w).live, 1);
	assert_int_equal(get(&w, 1, 0), RPC_STATUS_OK);
	world_check(&w);
	for (unsigned seed = 1; seed < 5; seed++) {
		world_power_cut(&w, seed);
		assert_int_equal(get(&w, 1, 0), RPC_STATUS_OK);
		assert_int_equal(stats_of(&w).live, 1);
		world_check(&w);
	}
	world_fini(&w);
}

static void on_checked(void *arg, uint32_t status, uint32_t len)
{
	(void)len;
	on_reply(arg, status, NULL);
}

/* Whoever asks when the store goes hears of it, once. */
static void test_end_against_all(void **state)
{
	struct wire_u128 slice = slice_of(2);
	struct reply r[5] = { { .n = 0 } };
	struct world w;

	(void)state;
	world_init(&w);
	assert_int_equal(put(&w, 1, 0), RPC_STATUS_OK);
	put_start(&w, 2, 0, 0, &r[0]);
	assert_int_equal(chunk_get(w.cl, slice_of(1), 0, 0, 0, on_reply, &r[1]),
			 0);
	for (unsigned i = 2; i < 4; i++)
		assert_int_equal(chunk_check(w.cl, slice_of(1), 0, i == 3,
					     on_checked, &r[i]), 0);
	assert_int_equal(chunk_drop(w.cl, &slice, 1, on_dropped, &r[4]), 0);
	world_fini(&w);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(r[i].n, 1);
		assert_int_equal(r[i].status,
				 i == 0 || i == 4 ? RPC_STATUS_UNKNOWN_OUTCOME
						  : RPC_STATUS_UNAVAILABLE);
	}
}

/* A drop and puts of the same slice at once: whatever comes of them counts. */
static void test_drop_against_put(void **state)
{
	struct reply r[8], d;
	struct world w;

	(void)state;
	world_init(&w);
	for (unsigned steps = 0; steps < 30; steps++) {
		unsigned slice = 10 + steps, there = 0;

		for (unsigned i = 0; i < 8; i++) {
			put_start(&w, slice, i, 0, &r[i]);
			if (i == 3)
				for (unsigned k = 0; k < steps; k++)
					(void)minienv_step(w.m);
			if (i == 3)
				drop_start(&w, slice, 1, &d);
		}
		minienv_run(w.m);
		assert_int_equal(d.n, 1);
		for (unsigned i = 0; i < 8; i++) {
			assert_int_equal(r[i].n, 1);
			assert_int_equal(r[i].status, RPC_STATUS_OK);
			there += get(&w, slice, i) == RPC_STATUS_OK;
		}
		assert_true(there >= 4);
		world_check(&w);
	}
	world_fini(&w);
}

/* --- the cleaner --- */

static struct compact_info info_of(struct world *w)
{
	struct compact_info i;

	compact_get_info(w->compact, &i);
	return i;
}

static uint64_t bytes_of_head(struct world *w)
{
	struct seg_stats s;

	seg_head_stats(w->bulk, &s);
	return s.bytes;
}

static uint64_t bytes_of_segment(struct world *w, uint64_t gen)
{
	struct seg_info *infos;
	uint64_t bytes = 0;
	size_t n;

	assert_int_equal(seg_segments(w->bulk, &infos, &n), 0);
	for (size_t i = 0; i < n; i++)
		if (infos[i].gen == gen)
			bytes = infos[i].bytes;
	mem_free(infos);
	return bytes;
}

/* Until the run is over; time passes, as with waits for the index. */
static void clean(struct world *w)
{
	assert_int_equal(compact_start(w->compact, UINT64_MAX), 0);
	for (unsigned i = 0; i < 1000; i++) {
		minienv_run(w->m);
		if (info_of(w).state != COMPACT_RUNNING)
			return;
		minienv_advance(w->m, 1000000);
	}
	fail_msg("the run does not end");
}

/* Slices from..to-1 of four chunks each. */
static void put_many(struct world *w, unsigned from, unsigned to)
{
	for (unsigned s = from; s < to; s++)
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(put(w, s, i), RPC_STATUS_OK);
}

/* Other bytes under names that have theirs: they leave their records. */
static void refuse_many(struct world *w, unsigned from, unsigned to)
{
	struct reply r;

	for (unsigned s = from; s < to; s++)
		for (unsigned i = 0; i < 4; i++) {
			put_start(w, s, i, 7, &r);
			minienv_run(w->m);
			assert_int_equal(r.status, RPC_STATUS_BAD_DIGEST);
		}
}

static void expect_many(struct world *w, unsigned from, unsigned to,
			unsigned step)
{
	for (unsigned s = from; s < to; s++)
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(get(w, s, i),
					 s % step == 0 ? RPC_STATUS_OK
						       : RPC_STATUS_NOENT);
}

static void drop_many(struct world *w, unsigned from, unsigned to,
		      unsigned step)
{
	for (unsigned s = from; s < to; s++)
		if (s % step != 0)
			drop(w, s, 1);
}

static void test_clean(void **state)
{
	struct compact_info i;
	uint64_t before;
	struct world w;

	(void)state;
	world_init(&w);
	clean(&w); /* nothing there */
	put_many(&w, 0, 80);
	clean(&w); /* nothing dead but what segments lose at their ends */
	assert_true(info_of(&w).targets <= 3);
	before = bytes_of_head(&w);
	drop_many(&w, 0, 80, 5);
	assert_int_equal(bytes_of_head(&w), before);
	clean(&w);
	i = info_of(&w);
	assert_true(i.targets > 5 && i.out == i.targets);
	assert_int_equal(i.kept, 0);
	assert_true(i.started > 0 && i.ended >= i.started);
	assert_true(bytes_of_head(&w) < before / 2);
	assert_true(i.freed > before / 2 && i.copied < before / 3);
	expect_many(&w, 0, 80, 5);
	world_check(&w);
	clean(&w); /* no more to do */
	assert_true(info_of(&w).targets <= 2);
	world_power_cut(&w, 3);
	expect_many(&w, 0, 80, 5);
	world_check(&w);
	/* all of it: nothing but the newest segment stays */
	drop_many(&w, 0, 80, 1000);
	drop(&w, 0, 1);
	put_many(&w, 100, 101);
	clean(&w);
	assert_true(bytes_of_head(&w) < 140 << 10);
	expect_many(&w, 100, 101, 1);
	world_fini(&w);
}

/*
 * The index is lost: what was freed is not missed. Refused puts left other
 * bytes under the names of chunks whose first bytes are freed by now.
 */
static void test_clean_then_rebuild(void **state)
{
	unsigned refused = 0;
	struct reply r;
	struct world w;

	(void)state;
	world_init(&w);
	put_many(&w, 0, 40);
	for (unsigned s = 0; s < 40; s += 2) {
		struct body *b = bytes_of(s, 2, 7);
		bool is_small = b->len < 3000;

		body_unref(b);
		if (!is_small) /* or its segment would be cleaned, too */
			continue;
		put_start(&w, s, 2, 7, &r);
		minienv_run(w.m);
		assert_int_equal(r.status, RPC_STATUS_BAD_DIGEST);
		put_many(&w, 100 + 6 * s, 104 + 6 * s);
		refused++;
	}
	assert_true(refused > 3);
	drop_many(&w, 0, 40, 2);
	clean(&w);
	assert_true(info_of(&w).out > 4);
	assert_int_equal(bytes_of_segment(&w, 1), 0);
	put_start(&w, 6, 1, 9, &r);
	minienv_run(w.m);
	assert_int_equal(r.status, RPC_STATUS_BAD_DIGEST);
	world_kill(&w);
	rows_mem_image_free(w.image);
	w.image = rows_mem_image_new();
	world_start(&w, 5);
	for (unsigned s = 0; s < 40; s += 2)
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(get(&w, s, i), RPC_STATUS_OK);
	world_check(&w);
	world_fini(&w);
}

/*
 * The index is lost, and the power failed before segments that were freed were
 * gone for good: they are there again when it is made, and go after that. So
 * nothing in them counts, nor hides what was put later.
 */
static void test_clean_undone(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed < 30; seed++) {
		struct world w;

		world_init(&w);
		put_many(&w, 0, 20);
		drop_many(&w, 0, 20, 2);
		put_many(&w, 1, 2);
		clean(&w);
		assert_true(info_of(&w).out > 1);
		world_kill(&w);
		crashfs_crash(w.fs, seed);
		rows_mem_image_free(w.image);
		w.image = rows_mem_image_new();
		world_start(&w, seed);
		put_many(&w, 100, 101); /* the first flush */
		world_check(&w);
		for (unsigned s = 0; s < 20; s++)
			for (unsigned i = 0; i < 4; i++) {
				uint32_t status = get(&w, s, i);

				if (s % 2 != 0 && s != 1 &&
				    status == RPC_STATUS_NOENT)
					continue;
				assert_int_equal(status, RPC_STATUS_OK);
			}
		world_fini(&w);
	}
}

/* One read at a start fails, or gives a wrong bit: no chunk is lost by that. */
static void test_bad_read_at_start(void **state)
{
	unsigned refused = 0, rots = 0;

	(void)state;
	for (uint64_t at = 2; at > 1; at++) { /* twice each: fails, flips */
		const struct crashfs_faults bad = {
			.fail_read_at = at % 2 == 0 ? at / 2 : 0,
			.flip_read_at = at % 2 != 0 ? at / 2 : 0,
		};
		const struct crashfs_faults good = { 0 };
		struct crashfs_stats st;
		struct world w;
		int rv;

		world_init(&w);
		put_many(&w, 0, 12);
		world_kill(&w);
		crashfs_set_faults(w.fs, &bad);
		rv = world_try(&w, at);
		crashfs_get_stats(w.fs, &st);
		crashfs_set_faults(w.fs, &good);
		if (rv != 0) {
			refused++;
			world_start(&w, at);
		}
		rots += w.rots;
		expect_many(&w, 0, 12, 1);
		world_check(&w);
		world_fini(&w);
		if (st.faults == 0)
			break;
	}
	assert_true(refused > 0 && rots > 0);
}

/*
 * A header that could be read at the second look only. By then the bytes that
 * were refused have the name; before and behind a copy of the chunk.
 */
static void second_look(unsigned slice, unsigned index, bool copied)
{
	const struct chunk_id id = { slice_of(slice), index };
	struct chunk_row row, now;
	struct world w;

	world_init(&w);
	put_many(&w, 0, 2);
	refuse_many(&w, 0, 2);
	put_many(&w, 2, 20);
	assert_int_equal(chunk_index_get(w.cs, &id, &row), 0);
	if (copied) {
		drop_many(&w, 0, 20, 2);
		clean(&w);
		assert_int_equal(chunk_index_get(w.cs, &id, &now), 0);
		assert_true(now.gen > row.gen);
		row = now;
	}
	put_many(&w, 100, 110);
	world_kill(&w);
	rows_mem_image_free(w.image);
	w.image = rows_mem_image_new();
	snprintf(w.bad, sizeof w.bad, "bulk/%016llx.seg",
		 (unsigned long long)row.gen);
	w.bad_off = row.off - SEG_HEADER_LEN;
	assert_int_equal(crashfs_flip(w.fs, w.bad, w.bad_off, 0), 0);
	world_start(&w, 1);
	assert_int_equal(w.rots, 1);
	assert_int_equal(get(&w, slice, index), RPC_STATUS_OK);
	assert_int_equal(chunk_index_get(w.cs, &id, &now), 0);
	assert_true(now.gen == row.gen && now.off == row.off);
	world_check(&w);
	world_fini(&w);
}

static void test_second_look(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		second_look(0, i, false);
		second_look(1, i, false);
		second_look(0, i, true);
	}
}

/* A save of the index at any moment of a run; a power cut when it has freed. */
static void test_save_against_clean(void **state)
{
	(void)state;
	for (unsigned steps = 0; steps < 80; steps++) {
		unsigned i = 0;
		struct world w;

		world_init(&w);
		put_many(&w, 0, 9);
		drop_many(&w, 0, 9, 3);
		assert_int_equal(compact_start(w.compact, UINT64_MAX), 0);
		for (unsigned k = 0; k < steps; k++)
			(void)minienv_step(w.m);
		minienv_skip(w.m, 31 * SECOND);
		while (info_of(&w).freed == 0 && i++ < 2000)
			if (!minienv_step(w.m))
				minienv_skip(w.m, 1000000);
		assert_true(info_of(&w).freed > 0);
		world_power_cut(&w, steps);
		for (unsigned s = 0; s < 9; s += 3)
			for (unsigned k = 0; k < 4; k++)
				assert_int_equal(get(&w, s, k), RPC_STATUS_OK);
		world_check(&w);
		world_fini(&w);
	}
}

/*
 * Puts whose bytes are durable and whose rows are not written yet, in a segment
 * that is being cleaned.
 */
static void test_put_against_clean(void **state)
{
	enum { PUTS = 24 };
	struct reply r[PUTS];

	(void)state;
	for (unsigned steps = 0; steps < 60; steps++) {
		struct world w;

		world_init(&w);
		put_many(&w, 0, 2 + steps % 5);
		drop(&w, 0, 4);
		for (unsigned i = 0; i < PUTS; i++)
			put_start(&w, 50 + i, 0, 0, &r[i]);
		for (unsigned i = 0; i < steps / 2; i++)
			(void)minienv_step(w.m);
		if (steps % 2 == 0) /* the time of an index save */
			minienv_skip(w.m, 31 * SECOND);
		clean(&w);
		for (unsigned i = 0; i < PUTS; i++) {
			assert_int_equal(r[i].n, 1);
			assert_int_equal(r[i].status, RPC_STATUS_OK);
			assert_int_equal(get(&w, 50 + i, 0), RPC_STATUS_OK);
		}
		world_check(&w);
		world_power_cut(&w, steps);
		for (unsigned i = 0; i < PUTS; i++)
			assert_int_equal(get(&w, 50 + i, 0), RPC_STATUS_OK);
		world_check(&w);
		world_fini(&w);
	}
}

/* Bytes that rotted stay, and their segment; all else goes its way. */
static void test_clean_rot(void **state)
{
	struct compact_info i;
	unsigned bad = 0;
	struct world w;

	(void)state;
	world_init(&w);
	put_many(&w, 0, 40);
	drop_many(&w, 0, 40, 4);
	assert_int_equal(crashfs_flip(w.fs, "bulk/0000000000000001.seg", 700,
				      2), 0);
	clean(&w);
	i = info_of(&w);
	assert_int_equal(i.kept, 1);
	assert_true(i.out > 3);
	assert_int_equal(stats_of(&w).rot, 1);
	for (unsigned s = 0; s < 40; s += 4)
		for (unsigned k = 0; k < 4; k++) {
			struct reply r = { .n = 0 };

			assert_int_equal(chunk_get(w.cl, slice_of(s), k, 0, 0,
						   on_reply, &r), 0);
			minienv_run(w.m);
			bad += r.status == RPC_STATUS_IO;
			body_unref(r.body);
		}
	assert_int_equal(bad, 1);
	world_check(&w);
	world_fini(&w);
}

/* A drop at any moment of a run: the chunk is gone, nothing comes back. */
static void test_drop_against_clean(void **state)
{
	struct reply r;

	(void)state;
	for (unsigned steps = 0; steps < 120; steps += 1 + steps / 12) {
		struct world w;

		world_init(&w);
		put_many(&w, 0, 12);
		drop_many(&w, 0, 12, 3);
		assert_int_equal(compact_start(w.compact, UINT64_MAX), 0);
		for (unsigned i = 0; i < steps; i++)
			if (!minienv_step(w.m))
				minienv_skip(w.m, 1000000);
		drop_start(&w, 3, 1, &r);
		clean(&w);
		assert_int_equal(r.n, 1);
		for (unsigned s = 0; s < 12; s += 3)
			for (unsigned i = 0; i < 4; i++)
				assert_int_equal(get(&w, s, i),
						 s == 3 ? RPC_STATUS_NOENT
							: RPC_STATUS_OK);
		world_check(&w);
		clean(&w);
		world_check(&w);
		world_fini(&w);
	}
}

/* Suspended in the middle of a segment: resumed, all is done once. */
static void test_suspend(void **state)
{
	struct world w;
	unsigned stopped = 0;

	(void)state;
	for (unsigned steps = 1; steps < 100; steps += 1 + steps / 10) {
		uint64_t out;

		world_init(&w);
		put_many(&w, 0, 20);
		drop_many(&w, 0, 20, 2);
		assert_int_equal(compact_start(w.compact, UINT64_MAX), 0);
		for (unsigned i = 0; i < steps; i++)
			if (!minienv_step(w.m))
				minienv_skip(w.m, 1000000);
		compact_suspend(w.compact);
		compact_suspend(w.compact);
		minienv_advance(w.m, 10 * SECOND);
		assert_int_equal(info_of(&w).state, COMPACT_SUSPENDED);
		out = info_of(&w).out;
		minienv_advance(w.m, 10 * SECOND);
		assert_int_equal(info_of(&w).out, out);
		expect_many(&w, 0, 20, 2);
		stopped += info_of(&w).pending > 0;
		compact_resume(w.compact);
		clean(&w);
		assert_int_equal(info_of(&w).pending, 0);
		expect_many(&w, 0, 20, 2);
		world_check(&w);
		world_fini(&w);
	}
	assert_true(stopped > 3);
}

enum { SLICES = 30, CHUNKS = 4 };

struct history {
	bool acked[SLICES][CHUNKS]; /* answered OK */
	bool dropped[SLICES];       /* may be gone */
	struct reply puts[SLICES][CHUNKS], drops[SLICES];
};

static uint64_t rnd(uint64_t *rng, uint64_t below)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return (*rng >> 11) % below;
}

static void history_step(struct world *w, struct history *h, uint64_t *rng)
{
	unsigned s = (unsigned)rnd(rng, SLICES);

	if (rnd(rng, 12) == 0)
		assert_int_equal(compact_start(w->compact, UINT64_MAX), 0);
	if (rnd(rng, 40) == 0) /* for the index, or a save of it */
		minienv_skip(w->m, rnd(rng, 2) == 0 ? 5000000 : 31 * SECOND);
	if (rnd(rng, 6) == 0 && h->drops[s].n == 0 && !h->dropped[s]) {
		h->dropped[s] = true;
		drop_start(w, s, 1, &h->drops[s]);
		return;
	}
	for (unsigned i = 0; i < CHUNKS; i++)
		if (!h->acked[s][i] && h->puts[s][i].n == 0 && !h->dropped[s]) {
			put_start(w, s, i, 0, &h->puts[s][i]);
			h->puts[s][i].n = 100; /* under way */
			return;
		}
}

static void history_check(struct world *w, struct history *h)
{
	for (unsigned s = 0; s < SLICES; s++)
		for (unsigned i = 0; i < CHUNKS; i++) {
			struct reply *r = &h->puts[s][i];

			if (r->n == 101 && r->status == RPC_STATUS_OK)
				h->acked[s][i] = true;
			r->n = 0;
			h->drops[s].n = 0;
			if (h->acked[s][i] && !h->dropped[s])
				assert_int_equal(get(w, s, i), RPC_STATUS_OK);
			else
				(void)get(w, s, i);
		}
	world_check(w);
}

/* Puts, drops, cleaning, saves and power cuts anywhere in between. */
static void test_power_cuts(void **state)
{
	unsigned live = 0, freed = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 120; seed++) {
		uint64_t rng = seed * 0x9e3779b97f4a7c15;
		static struct history h;
		struct world w;

		memset(&h, 0, sizeof h);
		world_init(&w);
		for (unsigned round = 0; round < 6; round++) {
			unsigned ops = (unsigned)rnd(&rng, 60);

			for (unsigned i = 0; i < ops; i++) {
				history_step(&w, &h, &rng);
				for (uint64_t k = rnd(&rng, 6); k > 0; k--)
					(void)minienv_step(w.m);
			}
			if (rnd(&rng, 3) == 0) /* time to save */
				minienv_advance(w.m, 31 * SECOND);
			freed += info_of(&w).freed > 0;
			world_power_cut(&w, seed * 100 + round);
			history_check(&w, &h);
		}
		live += (unsigned)stats_of(&w).live;
		assert_int_equal(w.rots, 0);
		world_fini(&w);
	}
	print_message("# %u chunks live, %u runs freed something\n", live,
		      freed);
	assert_true(live > 100 && freed > 30);
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
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_large_slice),
		cmocka_unit_test(test_same_name),
		cmocka_unit_test(test_end_against_all),
		cmocka_unit_test(test_drop_against_put),
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_clean_then_rebuild),
		cmocka_unit_test(test_clean_undone),
		cmocka_unit_test(test_bad_read_at_start),
		cmocka_unit_test(test_second_look),
		cmocka_unit_test(test_save_against_clean),
		cmocka_unit_test(test_put_against_clean),
		cmocka_unit_test(test_clean_rot),
		cmocka_unit_test(test_drop_against_clean),
		cmocka_unit_test(test_suspend),
		cmocka_unit_test(test_power_cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
