/*
 * The recount sees damage: every row that goes, and every row that is made up,
 * is found, also when its other end lies in another shard; and what rows say of
 * bytes is handed out, once, page by page.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "storaged/ns_impl.h"
#include "tests/lib/nsharness.h"

enum { SHARD = 5, SHARDS = 3, DIRS = 24 };
#define OK RPC_STATUS_OK

struct fix {
	struct nsh *h;
	struct rows_back *back;
	uint64_t root;
};

static void set_xattr(struct fix *f, uint64_t ino)
{
	struct rpc_setxattr req = { .ino = ino, .name = wire_cstr("user.a"),
				    .value = wire_cstr("value") };
	struct rpc_empty_rsp rsp;

	assert_int_equal(NSH(f->h, setxattr, empty_rsp, &req, &rsp), OK);
}

static void write_at(struct fix *f, uint64_t ino, uint64_t slice, uint64_t pos)
{
	struct rpc_write req = { .ino = ino };
	struct rpc_write_rsp rsp;

	req.extents = nsh_chunks(f->h, slice, pos, 10, 5);
	assert_int_equal(NSH(f->h, write, write_rsp, &req, &rsp), OK);
}

static void make_upload(struct fix *f)
{
	struct rpc_mpu_create create = { .root = f->root,
					 .key = wire_cstr("up"),
					 .owner = wire_cstr("me") };
	struct rpc_mpu_create_rsp made;
	struct rpc_mpu_part part = { .root = f->root, .key = wire_cstr("up"),
				     .part = 1, .size = 10,
				     .etag = wire_cstr("0123456789abcdef"
						       "0123456789abcdef") };
	struct rpc_empty_rsp rsp;

	assert_int_equal(NSH(f->h, mpu_create, mpu_create_rsp, &create, &made),
			 OK);
	part.upload = made.upload;
	part.extents = nsh_chunks(f->h, 77, 0, 10, 0);
	assert_int_equal(NSH(f->h, mpu_part, empty_rsp, &part, &rsp), OK);
}

/* A little of everything. */
static int setup(void **state)
{
	static struct fix f;
	uint8_t large[1000] = { 1 };
	uint64_t dir, file, open;

	f.h = nsh_new(SHARD, 2);
	f.root = nsh_root(f.h, 7);
	assert_int_equal(nsh_mknod(f.h, f.root, "d", S_IFDIR | 0755, &dir),
			 OK);
	assert_int_equal(nsh_mknod(f.h, dir, "f", S_IFREG | 0644, &file), OK);
	assert_int_equal(nsh_link(f.h, file, f.root, "g"), OK);
	assert_int_equal(nsh_write(f.h, file, 0,
				   wire_bytes(large, sizeof large)), OK);
	write_at(&f, file, 3, 5000);
	write_at(&f, file, 4, (uint64_t)5 << 30);
	set_xattr(&f, file);
	assert_int_equal(nsh_put(f.h, f.root, "k/e/y", wire_cstr("bytes"),
				 NULL), OK);
	assert_int_equal(nsh_mknod(f.h, f.root, "o", S_IFREG | 0644, &open),
			 OK);
	nsh_open(f.h, open);
	assert_int_equal(nsh_unlink(f.h, f.root, "o", 0), OK);
	make_upload(&f);
	assert_int_equal(nsh_check(f.h), 0);
	f.back = nsh_back(f.h);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	return nsh_free(f->h) == 0 ? 0 : -1; /* damage was repaired */
}

static void on_finding(void *arg, const char *text)
{
	(void)text;
	++*(unsigned *)arg;
}

static unsigned findings(struct fix *f, struct ns_counts *ret)
{
	unsigned n = 0;

	assert_int_equal(ns_count(f->back, SHARD, on_finding, &n, ret), 0);
	return n;
}

static void put_row(struct fix *f, struct wire_bytes key,
		    const struct wire_bytes *value)
{
	struct rows_batch *b = rows_batch_new();

	assert_non_null(b);
	if (value != NULL)
		rows_batch_put(b, key, *value);
	else
		rows_batch_del(b, key);
	assert_int_equal(rows_batch_write(f->back, b), 0);
	rows_batch_free(b);
}

static bool is_counted(uint8_t type)
{
	return type != 0 && type != NS_T_SLOT; /* what was answered to whom */
}

/* --- every row goes once --- */

static void test_missing_rows(void **state)
{
	struct fix *f = *state;
	struct wire_bytes key, value;
	struct ns_counts all, less;
	struct rows_iter *it;
	unsigned seen[256] = { 0 };
	uint64_t n = 0;

	assert_int_equal(findings(f, &all), 0);
	assert_int_equal(rows_iter_new(f->back, wire_bytes(NULL, 0),
				       wire_bytes(NULL, 0), &it), 0);
	while (rows_iter_next(it, &key, &value) == 0) {
		uint8_t type = key.p[2];
		unsigned found;

		n++;
		seen[type]++;
		put_row(f, key, NULL);
		found = findings(f, &less);
		if (is_counted(type) && found == 0)
			fail_msg("a missing %c row is not found", type);
		assert_int_equal(less.rows, all.rows - 1);
		put_row(f, key, &value);
	}
	rows_iter_free(it);
	assert_int_equal(n, all.rows);
	for (const char *t = "ABDIKMNPSUX"; *t != '\0'; t++)
		if (seen[(uint8_t)*t] == 0)
			fail_msg("no %c row was tried", *t);
	assert_int_equal(findings(f, &all), 0);
}

/* --- every row stands a second time, under the name of nobody --- */

static void test_stray_rows(void **state)
{
	struct fix *f = *state;
	struct wire_bytes key, value;
	struct ns_counts n;
	struct rows_iter *it;

	assert_int_equal(rows_iter_new(f->back, wire_bytes(NULL, 0),
				       wire_bytes(NULL, 0), &it), 0);
	while (rows_iter_next(it, &key, &value) == 0) {
		uint8_t type = key.p[2], copy[NS_KEY_MAX];
		struct wire_bytes stray = wire_bytes(copy, key.len);

		if (!is_counted(type) || key.len < 11)
			continue;
		memcpy(copy, key.p, key.len);
		copy[10] ^= 0x55; /* within the first id */
		put_row(f, stray, &value);
		if (findings(f, &n) == 0)
			fail_msg("a stray %c row is not found", type);
		put_row(f, stray, NULL);
	}
	rows_iter_free(it);
}

/* --- every row is cut short --- */

static void test_unreadable_rows(void **state)
{
	struct fix *f = *state;
	struct wire_bytes key, value, cut = { NULL, 0 };
	struct ns_counts n;
	struct rows_iter *it;

	assert_int_equal(rows_iter_new(f->back, wire_bytes(NULL, 0),
				       wire_bytes(NULL, 0), &it), 0);
	while (rows_iter_next(it, &key, &value) == 0) {
		if (!is_counted(key.p[2]))
			continue;
		put_row(f, key, &cut);
		if (findings(f, &n) == 0)
			fail_msg("an empty %c row is not found", key.p[2]);
		put_row(f, key, &value);
	}
	rows_iter_free(it);
}

/* --- what rows say of bytes --- */

struct refs {
	unsigned values, chunks, stop;
	uint64_t slices; /* xor of them */
};

static int on_ref(void *arg, const struct ns_ref *ref)
{
	struct refs *r = arg;

	if (ref->is_value) {
		r->values++;
		assert_int_equal(ref->value.len, 1000);
	} else {
		r->chunks++;
		r->slices ^= ref->slice.lo;
		assert_int_equal(ref->len, 10);
	}
	return r->stop != 0;
}

static void test_refs(void **state)
{
	struct fix *f = *state;
	struct refs all = { 0 }, paged = { .stop = 1 }, one = { 0 };
	struct buf next, after;
	unsigned pages = 0;

	buf_init(&next, 0);
	buf_init(&after, 0);
	assert_int_equal(ns_refs(f->back, SHARD, wire_bytes(NULL, 0), false,
				 on_ref, &all, &next), 0);
	assert_int_equal(next.len, 0);
	assert_int_equal(all.values, 1);
	assert_int_equal(all.chunks, 3);
	assert_int_equal(all.slices, 3 ^ 4 ^ 77);
	do {
		buf_reset(&after);
		buf_add(&after, next.data, next.len);
		buf_reset(&next);
		assert_int_equal(ns_refs(f->back, SHARD,
					 wire_bytes(after.data, after.len),
					 false, on_ref, &paged, &next), 0);
		if (next.len > 0)
			assert_int_equal(ns_refs(f->back, SHARD,
						 wire_bytes(next.data,
							    next.len),
						 true, on_ref, &one, &after),
					 0);
		pages++;
	} while (next.len > 0);
	assert_int_equal(pages, 4); /* three rows, and the end */
	assert_int_equal(paged.slices, all.slices);
	assert_int_equal(paged.chunks + paged.values, 4);
	assert_int_equal(one.chunks + one.values, 4);
	buf_fini(&next);
	buf_fini(&after);
}

/* --- names that span shards --- */

/* Directories anywhere; files with names in all of them. */
static int setup_spread(void **state)
{
	static struct fix f;
	char name[16];
	uint64_t dir[DIRS], ino;

	f.h = nsh_new_spread(SHARD, SHARDS, 2, 1);
	f.root = nsh_root(f.h, 7);
	for (unsigned i = 0; i < DIRS; i++) {
		snprintf(name, sizeof name, "d%u", i);
		assert_int_equal(nsh_mknod(f.h, f.root, name, S_IFDIR | 0755,
					   &dir[i]), OK);
	}
	for (unsigned i = 0; i < DIRS; i++) {
		snprintf(name, sizeof name, "f%u", i);
		assert_int_equal(nsh_mknod(f.h, dir[i], name, S_IFREG | 0644,
					   &ino), OK);
		assert_int_equal(nsh_link(f.h, ino, dir[(i + 1) % DIRS],
					  "link"), OK);
		assert_int_equal(nsh_rename(f.h, dir[i], name,
					    dir[(i + 3) % DIRS], name), OK);
	}
	assert_int_equal(nsh_check(f.h), 0);
	f.back = nsh_back(f.h);
	*state = &f;
	return 0;
}

static unsigned far_findings(struct fix *f)
{
	unsigned n = 0;
	uint64_t ends;

	for (uint16_t s = SHARD; s < SHARD + SHARDS; s++)
		assert_int_equal(ns_check_far(f->back, s, on_finding, &n,
					      &ends), 0);
	return n;
}

static bool row_spans(struct wire_bytes key, struct wire_bytes value)
{
	unsigned shard = (unsigned)(key.p[0] << 8 | key.p[1]);
	struct ns_row_inode i;
	struct ns_row_dent d;

	switch (key.p[2]) {
	case NS_T_DENT:
		assert_int_equal(ns_row_dent_load(&d, value), 0);
		return ino_shard(d.ino) != shard;
	case NS_T_INODE:
		assert_int_equal(ns_row_inode_load(&i, value), 0);
		return !(i.flags & NS_INODE_ROOT) &&
		       ino_shard(i.parent) != shard;
	case NS_T_LINK:
		return ino_shard(ns_be64(key.p + NS_KEY_REST + 8)) != shard;
	default:
		return false;
	}
}

static void test_missing_ends(void **state)
{
	struct fix *f = *state;
	struct wire_bytes key, value;
	unsigned seen[256] = { 0 };
	struct rows_iter *it;

	assert_int_equal(far_findings(f), 0);
	assert_int_equal(rows_iter_new(f->back, wire_bytes(NULL, 0),
				       wire_bytes(NULL, 0), &it), 0);
	while (rows_iter_next(it, &key, &value) == 0) {
		if (key.len < NS_KEY_REST || !row_spans(key, value))
			continue;
		seen[key.p[2]]++;
		put_row(f, key, NULL);
		if (far_findings(f) == 0)
			fail_msg("a missing %c row is not found", key.p[2]);
		put_row(f, key, &value);
	}
	rows_iter_free(it);
	for (const char *t = "BDI"; *t != '\0'; t++)
		if (seen[(uint8_t)*t] == 0)
			fail_msg("no %c row was tried", *t);
	assert_int_equal(far_findings(f), 0);
}

/* While a transaction is under way the ends of a name may differ. */
static void test_far_busy(void **state)
{
	struct fix *f = *state;
	struct wire_bytes key, value = { NULL, 0 };
	struct ns_key k;
	unsigned n = 0;
	uint64_t ends;

	key = ns_key_txn(&k, SHARD, NS_TXN_OWN, (struct wire_u128){ 1, 1 });
	put_row(f, key, &value);
	assert_int_equal(ns_check_far(f->back, SHARD, on_finding, &n,
				      &ends), -EBUSY);
	put_row(f, key, NULL);
	assert_int_equal(far_findings(f), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define FAR(name) \
	cmocka_unit_test_setup_teardown(name, setup_spread, teardown)
	const struct CMUnitTest tests[] = {
		T(test_missing_rows),
		T(test_stray_rows),
		T(test_unreadable_rows),
		T(test_refs),
		FAR(test_missing_ends),
		FAR(test_far_busy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
