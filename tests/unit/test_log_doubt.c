/*
 * Rows made again from a snapshot find values that were moved since, whichever
 * read of the scan failed once.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/xxh.h"
#include "common/raft/raft_snap.h"
#include "common/seg/seg.h"
#include "storaged/log_doubt.h"
#include "storaged/ns_impl.h"
#include "storaged/ns_values.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"

#define GROUP 3
#define LEN 700
#define GONE 0 /* a segment that is not there any more */

static uint8_t value[LEN];

/* --- one group is in doubt --- */

unsigned __wrap_raft_start_n_doubts(const struct raft_start *s);
uint16_t __wrap_raft_start_doubt(const struct raft_start *s, unsigned i,
				 uint64_t *ret_moved);

unsigned __wrap_raft_start_n_doubts(const struct raft_start *s)
{
	(void)s;
	return 1;
}

uint16_t __wrap_raft_start_doubt(const struct raft_start *s, unsigned i,
				 uint64_t *ret_moved)
{
	(void)s;
	(void)i;
	*ret_moved = 0;
	return GROUP;
}

/* --- a log --- */

struct start {
	struct log_doubt *doubt; /* NULL: nobody asks */
	unsigned rots;
};

static int on_record(void *arg, const struct seg_rec *rec)
{
	struct start *s = arg;

	return s->doubt != NULL ? log_doubt_record(s->doubt, rec) : 0;
}

static void on_rot(void *arg, const struct seg_rot *rot)
{
	struct start *s = arg;

	s->rots++;
	log_doubt_rot(s->doubt, rot);
}

static int open_log(struct minienv *m, struct start *s,
		    struct seg_head **ret_head)
{
	const struct seg_config config = {
		.dir = "log", .segment_size = 16384, .first_size = 8192,
		.on_record = on_record, .on_rot = on_rot, .arg = s,
	};
	struct errbuf e;

	return seg_head_open(minienv_env(m), &config, ret_head, &e);
}

static void append_done(struct seg_append *a)
{
	assert_true(a->pos.gen > 0);
}

static struct seg_pos append(struct minienv *m, struct seg_port *port,
			     uint8_t type, struct wire_u128 hash)
{
	struct seg_append a = {
		.type = type, .group = GROUP, .hash = hash, .niov = 1,
		.iov = { { value, LEN } }, .done = append_done,
	};

	seg_append(port, &a);
	minienv_run(m);
	return a.pos;
}

/* The value, in a segment that others follow. */
static struct seg_pos make_log(struct minienv *m, struct wire_u128 hash)
{
	struct start nobody = { NULL, 0 };
	struct seg_head *head;
	struct seg_port *port;
	struct seg_pos pos;

	assert_int_equal(open_log(m, &nobody, &head), 0);
	assert_int_equal(seg_port_new(head, minienv_env(m), &port), 0);
	pos = append(m, port, SEG_VALUE, hash);
	while (append(m, port, SEG_HARD, hash).gen < pos.gen + 2)
		;
	seg_port_free(port);
	seg_head_close(head);
	return pos;
}

/* --- rows --- */

static void make_rows(struct rows_back *back, struct wire_u128 hash)
{
	struct ns_extent e = { .kind = NS_EXT_VALUE, .len = LEN, .id = hash,
			       .gen = GONE, .at = 99, .vlen = LEN };
	struct ns_extents all = { &e, 1, 1, 0 };
	struct ns_row_inode row = { .v = NS_ROW_VERSION };
	struct rows_batch *b = rows_batch_new();
	struct buf list, bytes;
	struct ns_key key;

	buf_init(&list, 0);
	buf_init(&bytes, 0);
	ns_extents_save(&all, true, &list);
	row.extents = wire_bytes(list.data, list.len);
	assert_int_equal(ns_row_inode_encode(&row, &bytes), 0);
	rows_batch_put(b, ns_key_id(&key, GROUP, NS_T_INODE, 1),
		       wire_bytes(bytes.data, bytes.len));
	assert_int_equal(rows_batch_write(back, b), 0);
	rows_batch_free(b);
	buf_fini(&list);
	buf_fini(&bytes);
}

static int take(void *arg, const struct ns_value_at *v)
{
	*(struct ns_value_at *)arg = *v;
	return 0;
}

static struct ns_value_at row_value(struct rows_back *back)
{
	struct ns_value_at v = { .gen = GONE };
	struct ns_key key;
	uint8_t *row;
	size_t len;

	assert_int_equal(rows_back_get(back,
				       ns_key_id(&key, GROUP, NS_T_INODE, 1),
				       &row, &len), 0);
	assert_int_equal(ns_values_each(NS_T_INODE, wire_bytes(row, len), take,
					&v), 0);
	free(row);
	return v;
}

/* --- a start, of which one read gives a wrong bit --- */

/* True: it had so many reads; *ret_rots: times that records were lost. */
static bool start_with(struct crashfs *disk, uint64_t at,
		       struct wire_u128 hash, struct seg_pos pos,
		       unsigned *ret_rots)
{
	struct crashfs_faults faults = { .flip_read_at = at };
	struct rows_mem_image *image = rows_mem_image_new();
	struct crashfs *fs = crashfs_clone(disk);
	struct minienv *m = minienv_new(crashfs_vfs(fs), at);
	struct start s = { NULL, 0 };
	struct crashfs_stats st;
	struct rows_back *back;
	struct seg_head *head;
	struct ns_value_at v;

	assert_int_equal(rows_back_mem(image, &back), 0);
	make_rows(back, hash);
	assert_int_equal(log_doubt_new(NULL, back, &s.doubt), 0);
	crashfs_set_faults(fs, &faults);
	if (open_log(m, &s, &head) == 0) { /* it may refuse, too */
		assert_int_equal(log_doubt_settle(s.doubt, head), 0);
		v = row_value(back);
		assert_int_equal(v.gen, pos.gen);
		assert_int_equal(v.off, pos.off + SEG_HEADER_LEN);
		*ret_rots += s.rots;
		seg_head_close(head);
	}
	crashfs_get_stats(fs, &st);
	log_doubt_free(s.doubt);
	rows_back_close(back);
	rows_mem_image_free(image);
	minienv_free(m);
	crashfs_free(fs);
	return st.flips > 0;
}

/* Which bit it is follows from the seed. */
static unsigned starts_with(uint64_t seed)
{
	struct crashfs *fs = crashfs_new(seed);
	struct minienv *m = minienv_new(crashfs_vfs(fs), seed);
	XXH128_hash_t h = XXH3_128bits(value, sizeof value);
	struct wire_u128 hash = { h.high64, h.low64 };
	struct seg_pos pos = make_log(m, hash);
	unsigned rots = 0;
	uint64_t at = 0;

	while (start_with(fs, ++at, hash, pos, &rots))
		;
	minienv_free(m);
	crashfs_free(fs);
	return rots;
}

static void test_a_read_that_failed_once(void **state)
{
	unsigned rots = 0;

	(void)state;
	memset(value, 'v', sizeof value);
	for (uint64_t seed = 1; seed <= 100; seed++)
		rots += starts_with(seed);
	assert_true(rots >= 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_read_that_failed_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
