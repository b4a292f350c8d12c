/*
 * Segments of huge directories, one rule at a time (decision 0034). At random,
 * against the model: test_ns_model.c.
 */
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

enum { SHARD = 1, SHARDS = 4 };
#define OK RPC_STATUS_OK
#define DIR (S_IFDIR | 0755)
#define REG (S_IFREG | 0644)

struct fix {
	struct nsh *h;
	uint64_t root;
	uint64_t dir;     /* "d", in the root's shard */
	uint64_t segment; /* of it, in the shard behind */
};

static int setup(void **state)
{
	static struct fix f;
	uint64_t seed = 0;

	memset(&f, 0, sizeof(f));
	do { /* new directories go anywhere */
		if (f.h != NULL)
			assert_int_equal(nsh_free(f.h), 0);
		f.h = nsh_new_spread(SHARD, SHARDS, 3, seed++);
		f.root = nsh_root(f.h, 77);
		assert_int_equal(nsh_mknod(f.h, f.root, "d", DIR, &f.dir), OK);
	} while (ino_shard(f.dir) != SHARD);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	nsh_hold(f->h, false);
	return nsh_free(f->h) == 0 ? 0 : -1;
}

static void make(struct fix *f, const char *name)
{
	assert_int_equal(nsh_mknod(f->h, f->dir, name, REG, NULL), OK);
}

/* The first n names go into a new segment. */
static void split(struct fix *f, uint32_t n)
{
	struct rpc_dir_split_rsp rsp;

	f->segment = nsh_segment(f->h, SHARD + 1);
	assert_int_equal(nsh_split_into(f->h, f->dir, f->segment, "", n, &rsp),
			 OK);
	assert_int_equal(rsp.moved, n);
}

/*
 * What took the last name of a segment was answered; that its directory has a
 * segment less may be pending, but is what everybody sees.
 */
static void test_last_name_went(void **state)
{
	struct fix *f = *state;

	make(f, "a");
	make(f, "b");
	split(f, 1);
	assert_int_equal(nsh_unlink(f->h, f->dir, "b", RPC_NAME_ANY), OK);
	nsh_hold(f->h, true);
	assert_int_equal(nsh_unlink(f->h, f->dir, "a", RPC_NAME_ANY), OK);
	assert_int_equal(nsh_rmdir(f->h, f->root, "d"), RPC_STATUS_LOCKED);
	nsh_hold(f->h, false);
	assert_int_equal(nsh_segments(f->h, f->dir), 0);
	assert_int_equal(nsh_rmdir(f->h, f->root, "d"), OK);
}

/* The same by a rename, which the segment's shard does. */
static void test_last_name_moved(void **state)
{
	struct fix *f = *state;

	make(f, "a");
	make(f, "b");
	split(f, 1);
	assert_int_equal(nsh_rename(f->h, f->dir, "b", f->root, "b"), OK);
	nsh_hold(f->h, true);
	assert_int_equal(nsh_rename(f->h, f->dir, "a", f->root, "a"), OK);
	assert_int_equal(nsh_rmdir(f->h, f->root, "d"), RPC_STATUS_LOCKED);
	nsh_hold(f->h, false);
	assert_int_equal(nsh_rmdir(f->h, f->root, "d"), OK);
}

/* A rename begins in the shard of the directory, which may not have it. */
static void test_rename_hops(void **state)
{
	struct fix *f = *state;
	struct nsh_stats before, after;
	struct wire_attr a;

	make(f, "a");
	make(f, "b");
	make(f, "c");
	split(f, 2);
	nsh_stats(f->h, &before);
	assert_int_equal(nsh_rename(f->h, f->dir, "a", f->dir, "aa"), OK);
	nsh_stats(f->h, &after);
	assert_int_equal(after.hops, before.hops + 1);
	assert_int_equal(nsh_rename(f->h, f->dir, "aa", f->dir, "x"), OK);
	assert_int_equal(nsh_rename(f->h, f->dir, "x", f->dir, "b"), OK);
	assert_int_equal(nsh_exchange(f->h, f->dir, "b", f->dir, "c"), OK);
	assert_int_equal(nsh_rename(f->h, f->dir, "a", f->dir, "y"),
			 RPC_STATUS_NOENT);
	assert_int_equal(nsh_lookup(f->h, f->dir, "c", RPC_NAME_ANY, &a), OK);
}

/* Who hosts the shard knows which directories have segments, and no others. */
static void test_who_is_split(void **state)
{
	struct fix *f = *state;
	struct ns_locks *l = ns_locks_new();
	uint64_t many[6];
	char name[16];

	assert_non_null(l);
	make(f, "a");
	make(f, "b");
	assert_int_equal(ns_locks_load(l, nsh_back(f->h), SHARD), 0);
	assert_false(ns_locks_is_split(l, f->dir));
	split(f, 1);
	assert_int_equal(ns_locks_load(l, nsh_back(f->h), SHARD), 0);
	assert_true(ns_locks_is_split(l, f->dir));
	assert_false(ns_locks_is_split(l, f->root));
	assert_int_equal(nsh_check(f->h), 0);
	assert_int_equal(nsh_unlink(f->h, f->dir, "a", RPC_NAME_ANY), OK);
	assert_int_equal(nsh_check(f->h), 0);
	assert_int_equal(ns_locks_load(l, nsh_back(f->h), SHARD), 0);
	assert_int_equal(l->n_split, 0);
	/* directories that are the only name of a segment each */
	many[0] = f->dir;
	for (int i = 1; i < 6; i++) {
		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(nsh_mknod(f->h, many[i - 1], name, DIR,
					   &many[i]), OK);
		assert_int_equal(nsh_mknod(f->h, many[i - 1], "z", REG, NULL),
				 OK);
		assert_int_equal(
			nsh_split_into(f->h, many[i - 1],
				       nsh_segment(f->h, SHARD + 1), "", 1,
				       NULL), OK);
		assert_int_equal(nsh_check(f->h), 0);
	}
	for (int i = 5; i > 0; i--) {
		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(nsh_rmdir(f->h, many[i - 1], name), OK);
		assert_int_equal(nsh_segments(f->h, many[i - 1]), 0);
		assert_int_equal(nsh_unlink(f->h, many[i - 1], "z",
					    RPC_NAME_ANY), OK);
		assert_int_equal(nsh_check(f->h), 0);
	}
	ns_locks_free(l);
}

/* What loses its last name in another shard is open in its own. */
static void test_replaced_while_open(void **state)
{
	struct fix *f = *state;
	struct wire_attr a;
	uint64_t ino;

	assert_int_equal(nsh_mknod(f->h, f->dir, "a", REG, &ino), OK);
	assert_int_equal(ino_shard(ino), SHARD);
	make(f, "b");
	make(f, "c");
	split(f, 1);
	nsh_open(f->h, ino);
	assert_int_equal(nsh_rename(f->h, f->dir, "b", f->dir, "a"), OK);
	assert_int_equal(nsh_getattr(f->h, ino, &a), OK);
	assert_int_equal(a.nlink, 0);
	nsh_close(f->h, ino);
	assert_int_equal(nsh_getattr(f->h, ino, &a), RPC_STATUS_STALE);
}

/* --- bounds --- */

static bool in_range(const char *name, const char *slash,
		     struct wire_bytes first, struct wire_bytes end)
{
	char row[16];
	struct wire_bytes b;

	snprintf(row, sizeof(row), "%s%s", name, slash);
	b = wire_cstr(row);
	return wire_bytes_cmp(b, first) >= 0 && wire_bytes_cmp(b, end) < 0;
}

/* Both rows of each prefix of the bounds: others are parted by no bound. */
static bool closed_by_hand(const char *first, const char *end)
{
	const char *bounds[] = { first, end };
	struct wire_bytes f = wire_cstr(first), e = wire_cstr(end);

	for (int i = 0; i < 2; i++)
		for (size_t n = 0; n <= strlen(bounds[i]); n++) {
			char p[16];

			snprintf(p, sizeof(p), "%.*s", (int)n, bounds[i]);
			if (in_range(p, "", f, e) != in_range(p, "/", f, e))
				return false;
		}
	return strcmp(first, end) < 0;
}

static void bound_of(unsigned n, char *ret)
{
	static const char bytes[] = "-.0ab"; /* below and above the slash */

	for (; n > 0; n /= 6)
		if (n % 6 > 0)
			*ret++ = bytes[n % 6 - 1];
	*ret = 0;
}

static void test_range_closed(void **state)
{
	const unsigned max = 6 * 6 * 6 * 6;
	char first[8], end[8];
	unsigned closed = 0;

	(void)state;
	for (unsigned i = 0; i < max; i++)
		for (unsigned j = 0; j < max; j++) {
			bool want, got;

			bound_of(i, first);
			bound_of(j, end);
			want = closed_by_hand(first, end);
			got = ns_range_closed(wire_cstr(first),
					      wire_cstr(end));
			if (want != got) {
				print_error("%s %s: %d\n", first, end, got);
				fail();
			}
			closed += got;
		}
	print_message("# %u of %u\n", closed, max * max);
	assert_true(closed > max && closed < max * max / 2);
}

/* --- which names go --- */

static void make_many(struct fix *f, const char *before, unsigned n,
		      const char *behind)
{
	char name[64];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s%03u%s", before, i, behind);
		make(f, name);
	}
}

static struct nsh_part part_of(struct fix *f, uint64_t segment)
{
	struct nsh_part v[8];
	unsigned n = nsh_parts(f->h, f->dir, v, 8);

	assert_true(n <= 8);
	for (unsigned i = 0; i < n; i++)
		if (v[i].ino == segment)
			return v[i];
	fail();
	return v[0];
}

/*
 * Names that begin alike, with a byte below the slash behind that: a segment
 * of them begins where they can be parted again.
 */
static void test_names_alike(void **state)
{
	struct fix *f = *state;
	struct rpc_dir_split_rsp rsp;
	uint64_t second;

	make_many(f, "img-", 60, ".jpg");
	split(f, 40);
	assert_string_equal(part_of(f, f->segment).first, "img-");
	assert_string_equal(part_of(f, f->segment).end, "img-04");
	second = nsh_segment(f->h, SHARD + 2);
	assert_int_equal(nsh_split_into(f->h, f->segment, second, "", 20, &rsp),
			 OK);
	assert_int_equal(rsp.moved, 20);
	assert_int_equal(rsp.left, 20);
	assert_string_equal(part_of(f, second).first, "img-");
	assert_string_equal(part_of(f, second).end, "img-02");
	assert_string_equal(part_of(f, f->segment).first, "img-02");
	/* the same again, where the last one ended */
	assert_int_equal(nsh_split_into(f->h, f->dir, f->segment, "", 8, &rsp),
			 OK);
	assert_int_equal(rsp.moved, 8);
	assert_int_equal(rsp.left, 14); /* 12 names, 2 segments */
	assert_int_equal(nsh_check(f->h), 0);
}

/* A name whose pair of rows lies around others stays out of their segment. */
static void test_name_around(void **state)
{
	struct fix *f = *state;
	struct rpc_dir_split_rsp rsp;

	make(f, "p");
	make_many(f, "p-", 30, "");
	f->segment = nsh_segment(f->h, SHARD + 1);
	assert_int_equal(nsh_split_into(f->h, f->dir, f->segment, "", 20, &rsp),
			 OK);
	assert_int_equal(rsp.moved, 19);
	assert_string_equal(part_of(f, f->segment).first, "p-");
	assert_int_equal(nsh_unlink(f->h, f->dir, "p", RPC_NAME_ANY), OK);
	assert_int_equal(nsh_mknod(f->h, f->dir, "p", DIR, NULL), OK);
	assert_int_equal(nsh_check(f->h), 0);
}

/*
 * As many long names as one command takes, whose inodes are in the shard that
 * they move to: it can bring all their rows, and messages carry what is to do.
 */
static void test_long_names(void **state)
{
	enum { NAMES = 2050, LONG = 250 };
	struct fix *f = *state;
	struct rpc_dir_split_rsp rsp;
	char name[LONG + 8];

	memset(name, 'x', LONG);
	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(name + LONG, sizeof(name) - LONG, "%04u", i);
		make(f, name);
	}
	f->segment = nsh_segment(f->h, SHARD + 1);
	for (unsigned left = NAMES - 1; left > 0; left -= rsp.moved) {
		assert_int_equal(nsh_split_into(f->h, f->dir, f->segment, "",
						UINT32_MAX, &rsp), OK);
		assert_true(rsp.moved >= left / 2);
	}
	assert_int_equal(nsh_split_into(f->h, f->segment,
					nsh_segment(f->h, SHARD), "",
					UINT32_MAX, &rsp), OK);
	assert_int_equal(rsp.moved, 1024);
	assert_int_equal(nsh_check(f->h), 0);
}

/* --- what fsck says --- */

struct finding {
	const char *text;
	unsigned n;
};

static void on_finding(void *arg, const char *text)
{
	struct finding *f = arg;

	f->n += strstr(text, f->text) != NULL;
}

/* How many findings say so, in all shards. */
static unsigned found(struct fix *f, const char *text)
{
	struct finding ret = { .text = text };
	struct rows_back *back = nsh_back(f->h);

	for (uint16_t i = SHARD; i < SHARD + SHARDS; i++) {
		uint64_t n;

		assert_int_equal(ns_check_far(back, i, on_finding, &ret, &n),
				 0);
	}
	return ret.n;
}

/* The row is this one behind everybody's back; no value: none. */
static void set_row(struct fix *f, const struct ns_key *k, const uint8_t *value,
		    size_t len)
{
	struct rows_batch *b = rows_batch_new();

	if (value != NULL)
		rows_batch_put(b, ns_key_get(k), wire_bytes(value, len));
	else
		rows_batch_del(b, ns_key_get(k));
	assert_int_equal(rows_batch_write(nsh_back(f->h), b), 0);
	rows_batch_free(b);
}

static uint8_t *get_row(struct fix *f, const struct ns_key *k, size_t *ret_len)
{
	uint8_t *value;

	assert_int_equal(rows_back_get(nsh_back(f->h), ns_key_get(k), &value,
				       ret_len), 0);
	return value;
}

/* Map, segments and where entries are must agree. */
static void test_fsck(void **state)
{
	struct fix *f = *state;
	struct ns_row_inode r;
	struct ns_key map, ip, in, out;
	size_t map_len, ip_len, len;
	uint8_t *map_row, *ip_row, *d;
	struct buf b;

	make_many(f, "f", 40, "");
	split(f, 20);
	assert_int_equal(found(f, ""), 0);
	ns_key_id(&map, SHARD, NS_T_SEGMENT, f->dir);
	ns_key_id(&ip, ino_shard(f->segment), NS_T_INODE, f->segment);
	map_row = get_row(f, &map, &map_len);
	ip_row = get_row(f, &ip, &ip_len);

	/* an entry that the map says is in the segment */
	ns_key_dent(&in, ino_shard(f->segment), f->segment, wire_cstr("f003"));
	ns_key_dent(&out, SHARD, f->dir, wire_cstr("f003"));
	d = get_row(f, &in, &len);
	set_row(f, &out, d, len);
	assert_int_equal(found(f, "entry f003 of"), 1);
	set_row(f, &out, NULL, 0);
	mem_free(d);
	assert_int_equal(found(f, ""), 0);

	/* a segment that ends before its last names */
	buf_init(&b, 0);
	assert_int_equal(ns_row_inode_load(&r, wire_bytes(ip_row, ip_len)), 0);
	r.target = wire_cstr("f01");
	assert_int_equal(ns_row_inode_encode(&r, &b), 0);
	set_row(f, &ip, b.data, b.len);
	assert_int_equal(found(f, "not in its segment"), 10);
	assert_int_equal(found(f, "is not what it says"), 1);
	assert_int_equal(found(f, "does not know"), 1);
	buf_fini(&b);

	/* none */
	set_row(f, &ip, NULL, 0);
	assert_int_equal(found(f, "is not what it says"), 1);
	set_row(f, &ip, ip_row, ip_len);
	set_row(f, &map, NULL, 0);
	assert_int_equal(found(f, "does not know"), 1);
	set_row(f, &map, map_row, map_len);
	assert_int_equal(found(f, ""), 0);
	mem_free(map_row);
	mem_free(ip_row);
}

/* --- nothing to do --- */

/* One name alone is nothing to part, and nobody sees that it was tried. */
static void test_nothing_to_part(void **state)
{
	struct fix *f = *state;

	assert_int_equal(nsh_split_into(f->h, f->dir,
					nsh_segment(f->h, SHARD + 1), "", 20,
					NULL),
			 RPC_STATUS_RANGE);
	make(f, "a");
	assert_int_equal(nsh_split_into(f->h, f->dir,
					nsh_segment(f->h, SHARD + 1), "", 20,
					NULL),
			 RPC_STATUS_RANGE);
	assert_int_equal(nsh_split_into(f->h, f->dir, 0, "", 20, NULL),
			 RPC_STATUS_INVAL);
	assert_int_equal(nsh_split_into(f->h, f->dir, f->dir, "", 20, NULL),
			 RPC_STATUS_INVAL);
	assert_int_equal(nsh_segments(f->h, f->dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_last_name_went, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_last_name_moved, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_rename_hops, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_who_is_split, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_replaced_while_open,
						setup, teardown),
		cmocka_unit_test(test_range_closed),
		cmocka_unit_test_setup_teardown(test_names_alike, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_name_around, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_long_names, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_fsck, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_to_part, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
