/*
 * Fuzz target: entries of the managers' log, one after the other: command u8,
 * length u16, payload. Properties: each is answered, or cannot be decoded and
 * stops (-EIO); after any of them the snapshot can be made and decoded, and
 * holds only names that the rules allow.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "managerd/mgr_state.h"
#include "tests/lib/minienv.h"

enum { ENTRIES_MAX = 64 };

struct fixture {
	struct minienv *m;
	struct rows_mem_image *image;
	struct rows_back *back;
	struct rows *rows;
	struct rows_txn *txn;
	struct mgr_answer answer;
	bool done;
};

static void on_done(void *arg, int status)
{
	struct fixture *f = arg;

	f->done = true;
	FUZZ_MUST(status == 0);
}

static void wait_done(struct fixture *f)
{
	minienv_run(f->m);
	FUZZ_MUST(f->done);
	f->done = false;
}

/* False when the process would stop. */
static bool apply(struct fixture *f, const uint8_t *entry, size_t len)
{
	int rv;

	while ((rv = mgr_apply(f->txn, entry, len, &f->answer)) == -EAGAIN) {
		rows_txn_load(f->txn, on_done, f);
		wait_done(f);
	}
	FUZZ_MUST(rv == 0 || rv == -EIO);
	if (rv != 0)
		return false;
	FUZZ_MUST(rows_txn_commit(f->txn) == 0);
	return true;
}

static void check(struct fixture *f)
{
	struct cluster *c;
	uint64_t version;
	struct buf out;
	int rv;

	FUZZ_MUST(rows_sync(f->rows, on_done, f) == 0);
	wait_done(f);
	buf_init(&out, 0);
	rv = mgr_snapshot(f->back, &out, &version);
	FUZZ_MUST(rv == 0);
	if (out.len > 0) {
		FUZZ_MUST(cluster_decode(out.data, out.len, &c) == 0);
		for (unsigned i = 0; i < c->n_buckets; i++)
			FUZZ_MUST(mgr_check_bucket_name(c->buckets[i].name) ==
				  NULL);
		cluster_unref(c);
	}
	buf_fini(&out);
}

static void names(struct wire_bytes b)
{
	if (mgr_check_bucket_name(b) == NULL || mgr_check_user_name(b) == NULL)
		FUZZ_MUST(memchr(b.p, 0, b.len) == NULL &&
			  memchr(b.p, '/', b.len) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t how = fuzz_u8(&in);
	struct fixture f = { .m = minienv_new(NULL, 1),
			     .image = rows_mem_image_new() };
	int64_t now = 1700000000000000000;
	bool alive = true;

	FUZZ_MUST(rows_back_mem(f.image, &f.back) == 0);
	FUZZ_MUST(rows_new(minienv_env(f.m), f.back, 0, &f.rows) == 0);
	rows_set_forget(f.rows, how % 4);
	f.txn = rows_txn_new(f.rows);
	FUZZ_MUST(f.txn != NULL);
	buf_init(&f.answer.payload, 0);
	for (unsigned i = 0; i < ENTRIES_MAX && in.left > 0 && alive; i++) {
		uint8_t cmd = fuzz_u8(&in), *copy;
		struct wire_bytes b = fuzz_take(&in, fuzz_u16(&in));
		struct buf entry;

		names(b);
		buf_init(&entry, 0);
		FUZZ_MUST(mgr_cmd_encode(&entry, cmd, ++now, b.p, b.len) == 0);
		copy = fuzz_copy(wire_bytes(entry.data, entry.len));
		alive = apply(&f, copy, entry.len);
		free(copy);
		buf_fini(&entry);
	}
	rows_txn_reset(f.txn);
	check(&f);
	if (alive)
		(void)apply(&f, data, size); /* without a header of ours */
	buf_fini(&f.answer.payload);
	rows_txn_free(f.txn);
	rows_free(f.rows);
	rows_back_close(f.back);
	rows_mem_image_free(f.image);
	minienv_free(f.m);
	return 0;
}
