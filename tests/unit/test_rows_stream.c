/* Row streams: round trips, and bytes that are not what was written. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include <xxhash.h>

#include "common/base/mem.h"
#include "common/rows/rows_stream.h"

#define GROUP 0x0102

static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (seed >> 33) % below;
}

struct store {
	struct rows_mem_image *image;
	struct rows_back *back;
};

static void store_open(struct store *s)
{
	s->image = rows_mem_image_new();
	assert_int_equal(rows_back_mem(s->image, &s->back), 0);
}

static void store_close(struct store *s)
{
	rows_back_close(s->back);
	rows_mem_image_free(s->image);
}

static void put(struct store *s, uint16_t group, uint8_t type, uint64_t n,
		size_t len)
{
	struct rows_batch *b = rows_batch_new();
	uint8_t key[11] = { (uint8_t)(group >> 8), (uint8_t)group, type };
	uint8_t *value = malloc(len + 1);

	for (int i = 0; i < 8; i++)
		key[3 + i] = (uint8_t)(n >> (56 - 8 * i));
	for (size_t i = 0; i < len; i++)
		value[i] = (uint8_t)(n + i);
	rows_batch_put(b, wire_bytes(key, sizeof key), wire_bytes(value, len));
	assert_int_equal(rows_batch_write(s->back, b), 0);
	rows_batch_free(b);
	free(value);
}

static void put_applied(struct store *s, uint16_t group, uint64_t index)
{
	uint8_t conf[] = { 1, 2, 3 };
	struct rows_applied a = {
		.index = index, .term = 7, .now = 99, .conf_index = 3,
		.conf = conf, .conf_len = 3,
	};
	struct rows_batch *b = rows_batch_new();

	rows_applied_batch(b, group, &a);
	assert_int_equal(rows_batch_write(s->back, b), 0);
	rows_batch_free(b);
}

/* Rows of three groups; the middle one is the one that is wanted. */
static void fill(struct store *s, unsigned rows, size_t len)
{
	store_open(s);
	for (uint16_t g = GROUP - 1; g <= GROUP + 1; g++) {
		put_applied(s, g, g);
		for (unsigned i = 0; i < rows; i++)
			put(s, g, (uint8_t)(1 + i % 200), i * 3, len);
	}
}

static void write_all(struct store *s, const struct rows_stream_config *config,
		      struct buf *out)
{
	struct rows_stream_config c = *config;
	struct rows_stream_writer *w;
	int rv;

	c.back = s->back;
	c.group = GROUP;
	c.need = 12;
	c.store = (struct wire_u128){ 3, 4 };
	buf_init(out, 0);
	assert_int_equal(rows_stream_writer_new(&c, &w), 0);
	assert_int_equal(rows_stream_writer_head(w)->at.index, GROUP);
	while ((rv = rows_stream_next(w, out)) == 1)
		continue;
	assert_int_equal(rv, 0);
	assert_int_equal(rows_stream_next(w, out), 0);
	rows_stream_writer_free(w);
}

/* What a reader got. */
struct got {
	unsigned heads, rows, values;
	struct rows_stream_head head;
	uint64_t digest;
	struct wire_u128 value_hash;
	int fail_at; /* the n-th row gives an error */
};

static int got_head(void *arg, const struct rows_stream_head *head)
{
	struct got *g = arg;

	g->heads++;
	g->head = *head;
	return 0;
}

static int got_row(void *arg, struct wire_bytes key, struct wire_bytes value)
{
	struct got *g = arg;

	g->rows++;
	g->digest = XXH3_64bits_withSeed(key.p, key.len, g->digest);
	g->digest = XXH3_64bits_withSeed(value.p, value.len, g->digest);
	return (int)g->rows == g->fail_at ? -ENOSPC : 0;
}

static int got_value(void *arg, struct wire_u128 hash, struct wire_bytes bytes)
{
	struct got *g = arg;

	(void)bytes;
	g->values++;
	g->value_hash = hash;
	return 0;
}

/* Feeds in pieces of up to max bytes. */
static int feed(const uint8_t *p, size_t len, size_t max, struct got *g)
{
	struct rows_stream_sink sink = {
		.head = got_head, .row = got_row, .value = got_value, .arg = g,
	};
	struct rows_stream_reader *r = rows_stream_reader_new(&sink);
	int rv = 0;

	while (rv == 0 && len > 0) {
		size_t n = 1 + (size_t)rnd(max);

		if (n > len)
			n = len;
		rv = rows_stream_feed(r, p, n);
		p += n;
		len -= n;
	}
	rows_stream_reader_free(r);
	return rv;
}

static void test_round_trip(void **state)
{
	static const struct {
		unsigned rows;
		size_t len;
	} cases[] = { { 0, 0 }, { 1, 0 }, { 5, 10 }, { 3000, 300 },
		      { 20, 100000 } };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct rows_stream_config c = { .flags = 0 };
		struct got all = { .heads = 0 }, some = { .heads = 0 };
		struct store s;
		struct buf b;

		fill(&s, cases[i].rows, cases[i].len);
		write_all(&s, &c, &b);
		assert_int_equal(feed(b.data, b.len, b.len, &all), 1);
		assert_int_equal(feed(b.data, b.len, 5000, &some), 1);
		assert_int_equal(all.heads, 1);
		assert_int_equal(all.rows, cases[i].rows);
		assert_int_equal(all.digest, some.digest);
		assert_int_equal(all.head.group, GROUP);
		assert_int_equal(all.head.at.index, GROUP);
		assert_int_equal(all.head.at.term, 7);
		assert_int_equal(all.head.at.now, 99);
		assert_int_equal(all.head.at.conf_index, 3);
		assert_int_equal(all.head.at.conf_len, 3);
		assert_int_equal(all.head.need, 12);
		assert_int_equal(all.head.store.lo, 4);
		/* an error of the sink ends it */
		some = (struct got){ .fail_at = 1 };
		assert_int_equal(feed(b.data, b.len, 5000, &some),
				 cases[i].rows > 0 ? -ENOSPC : 1);
		buf_fini(&b);
		store_close(&s);
	}
}

struct push {
	struct rows_stream_writer *w;
	struct buf out;
};

static int push_head(void *arg, const struct rows_stream_head *head)
{
	struct push *p = arg;

	return rows_stream_pusher_new(head, &p->w);
}

static int push_row(void *arg, struct wire_bytes key, struct wire_bytes value)
{
	struct push *p = arg;

	return rows_stream_push(p->w, key, value, &p->out);
}

/* What is pushed row by row is the stream that they came from. */
static void test_push(void **state)
{
	static const unsigned rows[] = { 0, 1, 900, 4000 };

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rows_stream_config c = { .flags = 0 };
		struct push p = { .w = NULL };
		struct rows_stream_sink sink = {
			.head = push_head, .row = push_row, .arg = &p,
		};
		struct rows_stream_reader *r = rows_stream_reader_new(&sink);
		struct store s;
		struct buf b;

		fill(&s, rows[i], 300);
		write_all(&s, &c, &b);
		buf_init(&p.out, 0);
		assert_int_equal(rows_stream_feed(r, b.data, b.len), 1);
		assert_int_equal(rows_stream_push_end(p.w, &p.out), 0);
		assert_int_equal(p.out.len, b.len);
		assert_memory_equal(p.out.data, b.data, b.len);
		rows_stream_writer_free(p.w);
		rows_stream_reader_free(r);
		buf_fini(&p.out);
		buf_fini(&b);
		store_close(&s);
	}
}

static int no_value(void *arg, struct wire_bytes key, struct wire_bytes value,
		    struct rows_stream_out *out)
{
	(void)arg;
	(void)key;
	(void)value;
	(void)out;
	return -ENOENT;
}

/* A value that is not there is not the end of the rows. */
static void test_no_value(void **state)
{
	struct rows_stream_config c = { .group = GROUP, .row = no_value,
					.flags = ROWS_STREAM_PORTABLE };
	struct rows_stream_writer *w;
	struct store s;
	struct buf b;

	(void)state;
	fill(&s, 3, 10);
	c.back = s.back;
	buf_init(&b, 0);
	assert_int_equal(rows_stream_writer_new(&c, &w), 0);
	assert_int_equal(rows_stream_next(w, &b), 1); /* the head */
	assert_int_equal(rows_stream_next(w, &b), -EIO);
	rows_stream_writer_free(w);
	buf_fini(&b);
	store_close(&s);
}

/* One moment: what is written behind the begin is not in it. */
static void test_one_moment(void **state)
{
	struct rows_stream_config c = { .group = GROUP };
	struct rows_stream_writer *w;
	struct got g = { .heads = 0 };
	struct store s;
	struct buf b;

	(void)state;
	fill(&s, 100, 20);
	c.back = s.back;
	buf_init(&b, 0);
	assert_int_equal(rows_stream_writer_new(&c, &w), 0);
	put_applied(&s, GROUP, 5000);
	put(&s, GROUP, 1, 1, 5);
	while (rows_stream_next(w, &b) == 1)
		continue;
	rows_stream_writer_free(w);
	assert_int_equal(feed(b.data, b.len, 100, &g), 1);
	assert_int_equal(g.rows, 100);
	assert_int_equal(g.head.at.index, GROUP);
	buf_fini(&b);
	/* a group that has never been */
	c.group = GROUP + 9;
	assert_int_equal(rows_stream_writer_new(&c, &w), -ENOENT);
	store_close(&s);
}

/* Every bit, every length: never the end of a stream, never other rows. */
static void test_damage(void **state)
{
	struct rows_stream_config c = { .flags = 0 };
	struct got good = { .heads = 0 };
	struct store s;
	struct buf b;

	(void)state;
	fill(&s, 12, 30);
	write_all(&s, &c, &b);
	assert_int_equal(feed(b.data, b.len, b.len, &good), 1);
	for (size_t bit = 0; bit < b.len * 8; bit++) {
		struct got g = { .heads = 0 };

		b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		/* a length that grew waits for bytes that do not come */
		if (bit >= 12 * 8 && bit < 16 * 8) /* reserved: in the sum */
			assert_int_equal(feed(b.data, b.len, b.len, &g),
					 -EBADMSG);
		else
			assert_int_not_equal(feed(b.data, b.len, b.len, &g),
					     1);
		assert_int_equal(g.rows, 0 < g.rows ? 12 : 0);
		b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t len = 0; len < b.len; len++) {
		struct got g = { .heads = 0 };

		assert_int_equal(feed(b.data, len, len + 1, &g), 0);
	}
	buf_fini(&b);
	store_close(&s);
}

/* Blocks of another place or another stream are not taken. */
static void test_blocks_in_order(void **state)
{
	struct rows_stream_config c = { .flags = 0 };
	struct got g = { .heads = 0 };
	struct store s, t;
	struct buf b, other;
	size_t head, block;

	(void)state;
	fill(&s, 2000, 300);
	write_all(&s, &c, &b);
	fill(&t, 2000, 300);
	c.flags = 2; /* another head */
	write_all(&t, &c, &other);
	head = 16 + ((size_t)b.data[10] << 8 | b.data[11]) + 8;
	block = 16 + ((size_t)b.data[head] << 24 | (size_t)b.data[head + 1] << 16 |
		      (size_t)b.data[head + 2] << 8 | b.data[head + 3]);
	assert_int_equal(b.len, other.len);
	memcpy(other.data, b.data, head);
	assert_int_equal(feed(other.data, other.len, other.len, &g), -EBADMSG);
	/* the first block twice */
	memmove(b.data + head + block, b.data + head, block);
	assert_int_equal(feed(b.data, b.len, b.len, &g), -EBADMSG);
	buf_fini(&b);
	buf_fini(&other);
	store_close(&s);
	store_close(&t);
}

/* --- portable --- */

#define VALUES 300 /* of one row: more than a block holds */
#define VALUE_LEN 5000

struct fetch {
	unsigned next;
};

static void value_bytes(unsigned i, uint8_t *out)
{
	for (size_t k = 0; k < VALUE_LEN; k++)
		out[k] = (uint8_t)(i * 7 + k);
}

static struct wire_u128 value_hash(const uint8_t *p)
{
	XXH128_hash_t h = XXH3_128bits(p, VALUE_LEN);

	return (struct wire_u128){ h.high64, h.low64 };
}

/* The row of number 3 has values, in several calls. */
static int fetch_row(void *arg, struct wire_bytes key, struct wire_bytes value,
		     struct rows_stream_out *out)
{
	uint8_t bytes[VALUE_LEN];
	struct fetch *f = arg;

	(void)value;
	if (key.p[10] != 3 || key.p[9] != 0)
		return 0;
	for (unsigned n = 0; n < 7 && f->next < VALUES; n++, f->next++) {
		value_bytes(f->next, bytes);
		if (rows_stream_put_value(out, value_hash(bytes),
					  wire_bytes(bytes, VALUE_LEN)) != 0)
			return -ENOMEM;
	}
	if (f->next < VALUES)
		return 1;
	buf_puts(out->value, "without positions");
	return 0;
}

static void test_portable(void **state)
{
	struct fetch f = { .next = 0 };
	struct rows_stream_config c = {
		.flags = ROWS_STREAM_PORTABLE, .row = fetch_row, .arg = &f,
	};
	struct got g = { .heads = 0 };
	uint8_t last[VALUE_LEN];
	struct store s;
	struct buf b;

	(void)state;
	fill(&s, 10, 30);
	write_all(&s, &c, &b);
	assert_int_equal(feed(b.data, b.len, 70000, &g), 1);
	assert_int_equal(g.values, VALUES);
	assert_int_equal(g.rows, 10);
	assert_int_equal(g.head.flags, ROWS_STREAM_PORTABLE);
	value_bytes(VALUES - 1, last);
	assert_int_equal(g.value_hash.lo, value_hash(last).lo);
	buf_fini(&b);
	store_close(&s);
}

static int no_memory(void)
{
	return 1;
}

static void test_no_memory(void **state)
{
	struct rows_stream_config c = { .group = GROUP };
	struct rows_stream_writer *w;
	struct store s;

	(void)state;
	fill(&s, 3, 3);
	c.back = s.back;
	mem_fault_hook = no_memory;
	assert_int_equal(rows_stream_writer_new(&c, &w), -ENOMEM);
	assert_null(rows_stream_reader_new(&(struct rows_stream_sink){
		.row = got_row }));
	mem_fault_hook = NULL;
	store_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_push),
		cmocka_unit_test(test_no_value),
		cmocka_unit_test(test_one_moment),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_blocks_in_order),
		cmocka_unit_test(test_portable),
		cmocka_unit_test(test_no_memory),
	};

	seed = (uint64_t)time(NULL);
	printf("# seed %llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
