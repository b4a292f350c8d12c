/*
 * Fuzz target: the rows of a shard as a damaged disk could hold them (type u8,
 * key length u8, key, value length u16, value; type 0 ends them), then one
 * message over them (tag u8, payload). Properties: whatever the rows say, the
 * checker, the hash, reads, pages and commands end with an answer or -EIO.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "storaged/ns.h"
#include "storaged/ns_rows.h"
#include "tests/lib/minienv.h"

enum { SHARD = 1, ROWS_MAX = 256 };

static int load_status;

static void on_loaded(void *arg, int status)
{
	(void)arg;
	load_status = status;
}

static void report(void *arg, const char *text)
{
	(void)arg;
	FUZZ_MUST(strlen(text) < 256);
}

/* Decodes a value of its type; what decodes is stable. */
#define TRY_ROW(name, FIELDS) \
	static void try_##name(struct wire_bytes v) \
	{ \
		struct ns_row_##name row; \
		struct buf a, b; \
		if (ns_row_##name##_load(&row, v) != 0) \
			return; \
		buf_init(&a, 0); \
		buf_init(&b, 0); \
		FUZZ_MUST(ns_row_##name##_encode(&row, &a) == 0); \
		FUZZ_MUST(ns_row_##name##_load(&row, wire_bytes(a.data, \
								a.len)) == 0); \
		FUZZ_MUST(ns_row_##name##_encode(&row, &b) == 0); \
		FUZZ_MUST(wire_bytes_eq(wire_bytes(a.data, a.len), \
					wire_bytes(b.data, b.len))); \
		buf_fini(&a); \
		buf_fini(&b); \
	}
NS_ROWS(TRY_ROW)
#define TRY_CALL(name, FIELDS) try_##name(v);

static void put_rows(struct rows_back *back, struct fuzz_in *in)
{
	struct rows_batch *batch = rows_batch_new();
	uint8_t type;

	FUZZ_MUST(batch != NULL);
	for (unsigned i = 0; i < ROWS_MAX && (type = fuzz_u8(in)) != 0; i++) {
		struct wire_bytes k = fuzz_take(in, fuzz_u8(in));
		struct wire_bytes v = fuzz_take(in, fuzz_u16(in));
		struct ns_key key;

		NS_ROWS(TRY_CALL)
		ns_key_start(&key, SHARD, type);
		ns_key_bytes(&key, k);
		rows_batch_put(batch, ns_key_get(&key), v);
	}
	FUZZ_MUST(rows_batch_write(back, batch) == 0);
	rows_batch_free(batch);
}

static bool is_end(int rv)
{
	return rv == 0 || rv == -EIO;
}

static void look(struct rows_back *back)
{
	struct wire_u128 hash;

	FUZZ_MUST(is_end(ns_check(back, SHARD, report, NULL)));
	FUZZ_MUST(is_end(ns_hash(back, SHARD, &hash)));
}

/* One message; loads rows until it has its answer. */
static void send(struct minienv *m, struct rows *rows, uint8_t tag,
		 struct wire_bytes payload, struct ns_answer *a)
{
	struct ns_cmd c = { .shard = SHARD, .tag = tag,
			    .decisions = 0, .now = 1700000000000000000,
			    .seed = 7, .payload = payload.p,
			    .len = payload.len, .gen = 1, .payload_off = 23 };
	struct rows_txn *t = rows_txn_new(rows);
	bool read = rpc_info(tag)->kind == 'R';
	uint64_t ino;
	int rv;

	FUZZ_MUST(t != NULL);
	do {
		load_status = 0;
		rv = ns_victim(t, &c, &ino);
		if (rv == -EAGAIN) {
			rows_txn_load(t, on_loaded, NULL);
			minienv_run(m);
		}
	} while (rv == -EAGAIN && load_status == 0);
	FUZZ_MUST(is_end(rv) && load_status == 0);
	rows_txn_reset(t);
	do {
		rv = read ? ns_read(t, &c, a) :
			    ns_apply(t, &c, a);
		if (rv == -EAGAIN) {
			rows_txn_load(t, on_loaded, NULL);
			minienv_run(m);
		}
	} while (rv == -EAGAIN && load_status == 0);
	FUZZ_MUST(is_end(rv) && load_status == 0);
	if (rv == 0)
		FUZZ_MUST(rows_txn_commit(t) == 0);
	rows_txn_free(t);
	minienv_run(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct rows_mem_image *image = rows_mem_image_new();
	struct minienv *m = minienv_new(NULL, 1);
	const struct rpc_info *info;
	struct wire_bytes payload;
	struct rows_back *back;
	struct ns_answer a;
	struct rows *rows;
	uint8_t tag;

	FUZZ_MUST(image != NULL && rows_back_mem(image, &back) == 0);
	FUZZ_MUST(rows_new(minienv_env(m), back, 0, &rows) == 0);
	ns_answer_init(&a);
	put_rows(back, &in);
	look(back);
	tag = fuzz_u8(&in);
	payload = fuzz_rest(&in);
	info = rpc_info(tag);
	if (ns_is_scan(tag))
		FUZZ_MUST(is_end(ns_scan(back, SHARD, tag, payload.p,
					 payload.len, &a)));
	else if (info != NULL && (info->kind == 'R' || info->kind == 'W'))
		send(m, rows, tag, payload, &a);
	look(back);
	ns_answer_fini(&a);
	rows_free(rows);
	rows_back_close(back);
	rows_mem_image_free(image);
	minienv_free(m);
	return 0;
}
