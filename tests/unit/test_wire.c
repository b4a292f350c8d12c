/* The codec and every message of the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <errno.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/wire/counts.h"
#include "common/wire/frame.h"
#include "common/wire/msgs.h"
#include "common/wire/status.h"
#include "protocol_table.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint64_t rnd_state;

static uint64_t rnd(void)
{
	uint64_t z = rnd_state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* --- random content by kind; memory comes from a pool freed per message --- */

static uint8_t pool[1 << 16];
static size_t pool_len;
static struct wire_vec vecs[16];
static unsigned n_vecs;

static void pool_reset(void)
{
	while (n_vecs > 0)
		wire_vec_fini(&vecs[--n_vecs]);
	pool_len = 0;
}

static void fill_u8(uint8_t *v)
{
	*v = (uint8_t)rnd();
}

static void fill_u16(uint16_t *v)
{
	*v = (uint16_t)rnd();
}

static void fill_u32(uint32_t *v)
{
	*v = (uint32_t)rnd();
}

static void fill_u64(uint64_t *v)
{
	*v = rnd();
}

static void fill_i64(int64_t *v)
{
	*v = (int64_t)rnd();
}

static void fill_u128(struct wire_u128 *v)
{
	v->hi = rnd();
	v->lo = rnd();
}

static void fill_str(struct wire_bytes *v)
{
	size_t len = rnd() % 40;

	v->p = pool + pool_len;
	v->len = len;
	while (len-- > 0)
		pool[pool_len++] = (uint8_t)rnd();
}

static void fill_blob(struct wire_bytes *v)
{
	fill_str(v);
}

static void fill_attr(struct wire_attr *v)
{
	fill_u64(&v->ino);
	fill_u32(&v->mode);
	fill_u32(&v->uid);
	fill_u32(&v->gid);
	fill_u32(&v->nlink);
	fill_u64(&v->size);
	fill_u64(&v->bytes);
	fill_u64(&v->rdev);
	fill_i64(&v->atime);
	fill_i64(&v->mtime);
	fill_i64(&v->ctime);
	fill_i64(&v->btime);
	fill_u64(&v->data_version);
	fill_u64(&v->change);
	fill_u64(&v->generation);
	fill_u32(&v->flags);
}

static struct wire_vec *fill_vec(void)
{
	struct wire_vec *v = &vecs[n_vecs++];

	assert_true(n_vecs <= COUNT(vecs));
	wire_vec_init(v);
	return v;
}

static void fill_extents(struct wire_bytes *out)
{
	struct wire_vec *v = fill_vec();

	for (unsigned n = rnd() % 4; n > 0; n--) {
		struct wire_extent e = {
			.pos = rnd() >> 2, .len = 1 + (rnd() >> 2),
			.kind = (uint8_t)(1 + rnd() % 3),
			.slice = { rnd(), rnd() }, .slice_off = rnd() >> 2,
		};
		wire_vec_add_extent(v, &e);
	}
	*out = wire_vec_bytes(v);
}

static void fill_kvs(struct wire_bytes *out)
{
	struct wire_vec *v = fill_vec();
	struct wire_bytes name, value;

	for (unsigned n = rnd() % 4; n > 0; n--) {
		fill_str(&name);
		fill_blob(&value);
		wire_vec_add_kv(v, name, value);
	}
	*out = wire_vec_bytes(v);
}

static void fill_list(struct wire_bytes *out)
{
	struct wire_vec *v = fill_vec();
	struct wire_writer w;
	uint64_t x;

	for (unsigned n = rnd() % 4; n > 0; n--) {
		w = wire_vec_add(v);
		x = rnd();
		wire_put_u64(&w, &x);
	}
	*out = wire_vec_bytes(v);
}

/* --- one row per message of the table --- */

struct msg_row {
	const char *name;
	unsigned fields;
	int (*fill)(struct buf *out);          /* random content, encoded */
	int (*again)(const uint8_t *p, size_t len, struct buf *out);
};

#define T_FILL(kind, name) fill_##kind(&m.name);
#define T_COUNT(kind, name) +1
#define T_FUNCS(name, FIELDS) \
	static int fill_msg_##name(struct buf *out) \
	{ \
		struct rpc_##name m; \
		FIELDS(T_FILL) \
		return rpc_##name##_encode(&m, out); \
	} \
	static int again_msg_##name(const uint8_t *p, size_t len, \
				    struct buf *out) \
	{ \
		struct rpc_##name m; \
		int rv = rpc_##name##_decode(&m, p, len); \
		return rv != 0 ? rv : rpc_##name##_encode(&m, out); \
	}
#define T_REQ_FUNCS(tag, name, FIELDS, rsp, roles, kind) T_FUNCS(name, FIELDS)
#define T_ROW(name, FIELDS) \
	{ #name, 0 FIELDS(T_COUNT), fill_msg_##name, again_msg_##name },
#define T_REQ_ROW(tag, name, FIELDS, rsp, roles, kind) T_ROW(name, FIELDS)
RPC_REQUESTS(T_REQ_FUNCS)
RPC_RESPONSES(T_FUNCS)

static const struct msg_row rows[] = {
	RPC_REQUESTS(T_REQ_ROW) RPC_RESPONSES(T_ROW)
};

static void test_round_trip(void **state)
{
	struct buf a, b;

	(void)state;
	buf_init(&a, 0);
	buf_init(&b, 0);
	for (unsigned i = 0; i < COUNT(rows) * 20; i++) {
		const struct msg_row *row = &rows[i % COUNT(rows)];

		buf_reset(&a);
		buf_reset(&b);
		assert_int_equal(row->fill(&a), 0);
		assert_int_equal(row->again(a.data, a.len, &b), 0);
		assert_int_equal(a.len, b.len);
		assert_memory_equal(a.data, b.data, a.len);
		pool_reset();
	}
	buf_fini(&a);
	buf_fini(&b);
}

/* A cut between fields reads as zeros behind it, inside one is an error. */
static void test_truncation(void **state)
{
	struct buf a, b;

	(void)state;
	buf_init(&a, 0);
	buf_init(&b, 0);
	for (unsigned i = 0; i < COUNT(rows); i++) {
		unsigned good = 0;

		buf_reset(&a);
		assert_int_equal(rows[i].fill(&a), 0);
		for (size_t cut = 0; cut <= a.len; cut++) {
			/* exact allocation: ASan sees one byte too many */
			uint8_t *p = mem_dup(a.data, cut);
			int rv;

			assert_non_null(p);
			buf_reset(&b);
			rv = rows[i].again(p, cut, &b);
			mem_free(p);
			if (rv != 0) {
				assert_int_equal(rv, -EBADMSG);
				continue;
			}
			good++;
			if (cut > 0)
				assert_memory_equal(a.data, b.data, cut);
			for (size_t k = cut; k < b.len; k++)
				assert_int_equal(b.data[k], 0);
		}
		assert_int_equal(good, rows[i].fields + 1);
		pool_reset();
	}
	buf_fini(&a);
	buf_fini(&b);
}

static void test_long_tail(void **state)
{
	struct buf a, b;

	(void)state;
	buf_init(&a, 0);
	buf_init(&b, 0);
	for (unsigned i = 0; i < COUNT(rows); i++) {
		size_t len;

		buf_reset(&a);
		buf_reset(&b);
		assert_int_equal(rows[i].fill(&a), 0);
		len = a.len;
		buf_add(&a, "later fields", 12);
		assert_int_equal(rows[i].again(a.data, a.len, &b), 0);
		assert_int_equal(b.len, len);
		pool_reset();
	}
	buf_fini(&a);
	buf_fini(&b);
}

/* Any damage: no crash, and what decodes encodes again to something stable. */
static void test_damage(void **state)
{
	struct buf a, b, c;

	(void)state;
	buf_init(&a, 0);
	buf_init(&b, 0);
	buf_init(&c, 0);
	for (unsigned i = 0; i < COUNT(rows) * 200; i++) {
		const struct msg_row *row = &rows[i % COUNT(rows)];
		uint8_t *p;

		buf_reset(&a);
		assert_int_equal(row->fill(&a), 0);
		for (unsigned n = 1 + rnd() % 4; n > 0 && a.len > 0; n--)
			a.data[rnd() % a.len] =
				rnd() % 2 ? 0xff : (uint8_t)rnd();
		p = mem_dup(a.data, a.len);
		assert_non_null(p);
		buf_reset(&b);
		buf_reset(&c);
		if (row->again(p, a.len, &b) == 0) {
			assert_int_equal(row->again(b.data, b.len, &c), 0);
			assert_int_equal(b.len, c.len);
			assert_memory_equal(b.data, c.data, b.len);
		}
		mem_free(p);
		pool_reset();
	}
	buf_fini(&a);
	buf_fini(&b);
	buf_fini(&c);
}

static void test_hostile_lengths(void **state)
{
	static const uint32_t lens[] = { 1, 5, 0x7fffffff, 0x80000000,
					 0xfffffff8, 0xfffffffc, 0xffffffff };

	(void)state;
	for (unsigned i = 0; i < COUNT(lens); i++) {
		uint8_t in[8] = { (uint8_t)(lens[i] >> 24),
				  (uint8_t)(lens[i] >> 16),
				  (uint8_t)(lens[i] >> 8), (uint8_t)lens[i],
				  'a', 'b', 'c', 'd' };
		struct wire_reader r = { .p = in, .left = 8 };
		struct wire_bytes v;
		uint32_t n;

		wire_get_blob(&r, &v);
		if (lens[i] == 1) {
			assert_int_equal(r.err, 0);
			assert_int_equal(v.len, 1);
		} else {
			assert_int_equal(r.err, -EBADMSG);
			assert_int_equal(v.len, 0);
		}
		/* the same bytes as a vector: a count */
		r = wire_vec_reader(wire_bytes(in, 8), &n);
		assert_true(n <= 4);
		assert_true((r.err != 0) == (lens[i] > 4));
	}
}

static void test_vectors(void **state)
{
	struct wire_bytes v, value, element;
	struct wire_extent e = { .pos = 7, .len = 9, .kind = WIRE_EXT_CHUNKS,
				 .slice = { 1, 2 }, .slice_off = 3 };
	struct wire_vec vec;
	struct wire_reader r;
	struct buf out;
	struct wire_writer w = { &out };
	uint32_t n;

	(void)state;
	wire_vec_init(&vec);
	v = wire_vec_bytes(&vec);
	assert_int_equal(v.len, 0);
	r = wire_vec_reader(v, &n);
	assert_int_equal(n, 0);
	assert_int_equal(r.err, 0);
	wire_vec_add_kv(&vec, wire_cstr("a"), wire_cstr("1"));
	wire_vec_add_kv(&vec, wire_cstr("bb"), wire_cstr(""));
	v = wire_vec_bytes(&vec);
	assert_true(wire_kvs_find(v, "a", &value));
	assert_true(wire_bytes_eq(value, wire_cstr("1")));
	assert_true(wire_kvs_find(v, "bb", &value));
	assert_int_equal(value.len, 0);
	assert_false(wire_kvs_find(v, "b", &value));
	/* an element that is not there is an error, not zeros */
	r = wire_vec_reader(v, &n);
	assert_int_equal(n, 2);
	for (unsigned i = 0; i < 4; i++)
		wire_get_str(&r, &element);
	assert_int_equal(r.err, 0);
	wire_get_str(&r, &element);
	assert_int_equal(r.err, -EBADMSG);
	wire_vec_fini(&vec);

	/* extents that overflow, are empty or of an unknown kind are refused */
	for (unsigned i = 0; i < 5; i++) {
		struct wire_extent bad = e;

		if (i == 1)
			bad.pos = INT64_MAX - 8;
		if (i == 2)
			bad.slice_off = UINT64_MAX;
		if (i == 3)
			bad.len = 0;
		if (i == 4)
			bad.kind = 9;
		wire_vec_init(&vec);
		wire_vec_add_extent(&vec, &bad);
		v = wire_vec_bytes(&vec);
		buf_init(&out, 0);
		wire_put_extents(&w, &v);
		r = (struct wire_reader){ .p = out.data, .left = out.len };
		wire_get_extents(&r, &v);
		assert_int_equal(r.err, i == 0 ? 0 : -EBADMSG);
		buf_fini(&out);
		wire_vec_fini(&vec);
	}
}

#define N_COUNTS 12

static void test_counts(void **state)
{
	struct store_counts c, got;
	uint64_t *one = (uint64_t *)&c;
	uint64_t more = 99;
	struct wire_bytes v;
	struct wire_vec vec;
	struct wire_writer w;

	(void)state;
	assert_int_equal(sizeof c, N_COUNTS * sizeof *one);
	for (unsigned i = 0; i < N_COUNTS; i++)
		one[i] = UINT64_MAX - i;
	wire_vec_init(&vec);
	store_counts_put(&c, &vec);
	w = wire_vec_add(&vec); /* of somebody who counts more */
	wire_put_u64(&w, &more);
	v = wire_vec_bytes(&vec);
	store_counts_get(&got, v);
	assert_memory_equal(&got, &c, sizeof c);

	/* who counts less, and what is cut off: the rest is 0 */
	for (size_t len = 4; len <= v.len; len++) {
		store_counts_get(&got, wire_bytes(v.p, len));
		for (unsigned i = 0; i < N_COUNTS; i++)
			assert_true(((uint64_t *)&got)[i] ==
				    (len >= 4 + 8 * (i + 1u) &&
				     len >= 4 + vec.count ? one[i] : 0));
	}
	wire_vec_fini(&vec);
	store_counts_get(&got, wire_bytes(NULL, 0));
	assert_int_equal(got.far, 0);
	wire_vec_init(&vec);
	w = wire_vec_add(&vec);
	wire_put_u64(&w, &more);
	store_counts_get(&got, wire_vec_bytes(&vec));
	assert_int_equal(got.far, 99);
	assert_int_equal(got.far_again, 0);
	wire_vec_fini(&vec);
}

static void test_put_limits(void **state)
{
	struct wire_bytes v = { (const uint8_t *)"x", (64u << 10) + 1 };
	struct buf out;
	struct wire_writer w = { &out };

	(void)state;
	buf_init(&out, 0);
	wire_put_str(&w, &v); /* refused before its bytes are read */
	assert_int_equal(out.err, -EMSGSIZE);
	assert_int_equal(out.len, 0);
	buf_fini(&out);
	assert_true(wire_bytes_cmp(wire_cstr("a"), wire_cstr("ab")) < 0);
	assert_true(wire_bytes_cmp(wire_cstr("b"), wire_cstr("ab")) > 0);
	assert_int_equal(wire_bytes_cmp(wire_cstr(""), wire_cstr("")), 0);
}

static void test_table(void **state)
{
	const struct rpc_info *all;
	size_t n;

	(void)state;
	all = rpc_info_all(&n);
	assert_true(n > 30);
	for (size_t i = 0; i < n; i++) {
		assert_ptr_equal(rpc_info(all[i].tag), &all[i]);
		assert_non_null(strchr("RWCPGHS", all[i].kind));
		assert_int_equal(all[i].check(NULL, 0), 0);
		assert_int_not_equal(all[i].roles, 0);
	}
	assert_null(rpc_info(0));
	assert_null(rpc_info(0xff));
	assert_null(rpc_info(0xffff));
	assert_int_equal(rpc_info(RPC_TAG_put)->kind, 'W');
	assert_int_equal(rpc_role(wire_cstr("mount")), RPC_ROLE_MOUNT);
	assert_int_equal(rpc_role(wire_cstr("moun")), 0);
	assert_int_equal(rpc_role(wire_cstr("")), 0);
	assert_string_equal(rpc_role_text(RPC_ROLE_ADMIN), "admin");
	assert_null(rpc_role_text(3));
}

/* Mutations begin with (client, slot, seq): bytes 0-19. */
static void test_mutation_prefix(void **state)
{
	struct rpc_unlink m = { .client = 0x0102030405060708,
				.slot = 0x090a0b0c,
				.seq = 0x0d0e0f1011121314 };
	struct buf out;

	(void)state;
	buf_init(&out, 0);
	assert_int_equal(rpc_unlink_encode(&m, &out), 0);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(out.data[i], i + 1);
	buf_fini(&out);
}

static void test_ids(void **state)
{
	struct wire_u128 id = slice_make(0xabcd, 0x12345678, 0xfedcba987654,
					 0x0badcafe);

	(void)state;
	assert_int_equal(slice_home(id), 0xabcd);
	assert_true(id.hi == 0xabcd12345678fedc);
	assert_true(id.lo == 0xba9876540badcafe);
	assert_int_equal(ino_shard(ino_make(7, 123)), 7);
}

static void test_status(void **state)
{
	(void)state;
	assert_int_equal(rpc_status_errno(RPC_STATUS_OK), 0);
	assert_int_equal(rpc_status_errno(RPC_STATUS_NOTEMPTY), -ENOTEMPTY);
	assert_int_equal(rpc_status_errno(12345), -EIO);
	assert_int_equal(rpc_status_from_errno(0), RPC_STATUS_OK);
	assert_int_equal(rpc_status_from_errno(-ENOENT), RPC_STATUS_NOENT);
	assert_int_equal(rpc_status_from_errno(-EIO), RPC_STATUS_IO);
	assert_int_equal(rpc_status_from_errno(-ENOMEM), RPC_STATUS_NOMEM);
	assert_int_equal(rpc_status_from_errno(-EAGAIN), RPC_STATUS_BUSY);
	assert_int_equal(rpc_status_from_errno(-EINVAL), RPC_STATUS_INVAL);
	assert_int_equal(rpc_status_from_errno(-ECONNRESET),
			 RPC_STATUS_UNAVAILABLE);
	assert_int_equal(rpc_status_from_errno(-EXFULL), RPC_STATUS_IO);
	assert_string_equal(rpc_status_name(RPC_STATUS_BADMSG), "BADMSG");
	assert_string_equal(rpc_status_text(4711), "unknown status");
}

static void test_frame(void **state)
{
	struct frame f = { .type = FRAME_REQUEST, .flags = 1, .tag = 2,
			   .group = 3, .id = 4, .store = { 5, 6 }, .epoch = 7,
			   .status = 8, .payload_len = 9, .body_len = 10,
			   .number = 11, .payload_sum = 12 }, g;
	uint8_t bytes[FRAME_HEADER_LEN];

	(void)state;
	memset(&g, 0, sizeof(g));
	frame_encode(&f, bytes);
	assert_int_equal(frame_decode(&g, bytes), 0);
	assert_int_equal(g.type, f.type);
	assert_int_equal(g.flags, f.flags);
	assert_int_equal(g.tag, f.tag);
	assert_int_equal(g.group, f.group);
	assert_true(g.id == f.id && g.store.hi == 5 && g.store.lo == 6);
	assert_true(g.epoch == 7 && g.status == 8 && g.payload_len == 9);
	assert_true(g.body_len == 10 && g.number == 11 && g.payload_sum == 12);
	for (unsigned bit = 0; bit < FRAME_HEADER_LEN * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(frame_decode(&g, bytes), -EPROTO);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	f.payload_len = FRAME_PAYLOAD_MAX + 1;
	frame_encode(&f, bytes);
	assert_int_equal(frame_decode(&g, bytes), -EMSGSIZE);
	f.payload_len = 0;
	f.body_len = FRAME_BODY_MAX + 1;
	frame_encode(&f, bytes);
	assert_int_equal(frame_decode(&g, bytes), -EMSGSIZE);
	f.body_len = 0;
	f.type = FRAME_BODY;
	frame_encode(&f, bytes);
	assert_int_equal(frame_decode(&g, bytes), -EPROTO);
	f.payload_len = FRAME_BODY_PART + 1;
	frame_encode(&f, bytes);
	assert_int_equal(frame_decode(&g, bytes), -EMSGSIZE);
	f.type = 77;
	frame_encode(&f, bytes);
	assert_int_equal(frame_decode(&g, bytes), -EPROTO);
}

/* docs/PROTOCOL.md holds the table that the code has. */
static void test_protocol_page(void **state)
{
	const char *dir = getenv("top_srcdir");
	struct buf want, have;
	char path[4096];
	FILE *file;
	char *at, *end;

	(void)state;
	snprintf(path, sizeof(path), "%s/docs/PROTOCOL.md",
		 dir == NULL ? "." : dir);
	file = fopen(path, "re");
	assert_non_null(file); /* run in the tree, or with top_srcdir set */
	buf_init(&want, 0);
	buf_init(&have, 0);
	while (!feof(file) && !ferror(file)) {
		uint8_t *p = buf_reserve(&have, 4096);

		assert_non_null(p);
		have.len += fread(p, 1, 4096, file);
	}
	fclose(file);
	buf_add(&have, "", 1);
	protocol_table(&want);
	buf_add(&want, "", 1);
	at = strstr((char *)have.data, PROTOCOL_BEGIN);
	assert_non_null(at);
	at += strlen(PROTOCOL_BEGIN);
	end = strstr(at, PROTOCOL_END);
	assert_non_null(end);
	*end = '\0';
	/* when this fails: tests/unit/gen_protocol docs/PROTOCOL.md */
	assert_string_equal(at, (char *)want.data);
	buf_fini(&want);
	buf_fini(&have);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_long_tail),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_hostile_lengths),
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_put_limits),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_mutation_prefix),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_frame),
		cmocka_unit_test(test_protocol_page),
	};
	const char *seed = getenv("SEED");

	rnd_state = seed != NULL ? strtoull(seed, NULL, 0) :
				   (uint64_t)time(NULL);
	printf("# SEED=%llu\n", (unsigned long long)rnd_state);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
