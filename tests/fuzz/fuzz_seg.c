/*
 * Fuzz target: the files of a head. The first byte says how they are read and
 * whether checksums are made right, so that what lies behind them is reached;
 * each file begins with its length. Properties: a record that is handed out
 * has its hash; what one recovery found the next one finds again.
 */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>

#include <xxhash.h>

#include "common/base/be.h"
#include "common/seg/seg_int.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"

enum { HOW_FIX_HEADER = 1, HOW_FIX_BODY = 2, HOW_BULK = 4 };
enum { FILES_MAX = 4 };

static const uint8_t store_id[17] = "0123456789abcdef";

/* What one recovery handed out. */
struct found {
	uint64_t records, digest;
	struct seg_head *head;
};

static void fatal(const char *what, int err)
{
	fprintf(stderr, "fatal: %s: %d\n", what, err);
	abort();
}

static int on_record(void *arg, const struct seg_rec *rec)
{
	struct found *f = arg;
	size_t fixed = rec->type == SEG_START ? SEG_START_FIXED : 0;
	uint64_t w[6] = { rec->seq, rec->type, rec->a, rec->len, rec->hash.hi,
			  rec->hash.lo };

	FUZZ_MUST(rec->len <= SEG_BODY_MAX);
	if (rec->body != NULL)
		FUZZ_MUST(wire_u128_eq(seg_hash(rec->body - fixed,
					       (size_t)rec->len + fixed),
				      rec->hash));
	if (rec->type == SEG_START)
		return 0;
	f->records++;
	f->digest = XXH3_64bits_withSeed(w, sizeof(w), f->digest);
	return 0;
}

/*
 * Makes every header that begins with our magic a valid one. Sequences stay
 * small: each that is missing is reported alone.
 */
static void fix(uint8_t *p, size_t len, uint64_t gen, uint8_t how)
{
	uint64_t seed = seg_seed(store_id, gen);

	for (size_t at = 0; at + SEG_HEADER_LEN <= len; at += 8) {
		uint8_t *h = p + at;
		uint64_t n;

		if (memcmp(h, "LSR1", 4) != 0)
			continue;
		be64enc(h + 24, gen);
		be64enc(h + 32, be64dec(h + 32) & 0xfff);
		be64enc(h + 48, be64dec(h + 48) & 0xfff);
		be64enc(h + 104, at);
		be64enc(h + 112, be64dec(h + 112) & 0xfff);
		n = be64dec(h + 16);
		if ((how & HOW_FIX_BODY) != 0 &&
		    n <= len - at - SEG_HEADER_LEN) {
			struct wire_u128 x = seg_hash(h + SEG_HEADER_LEN,
						      (size_t)n);

			be64enc(h + 88, x.hi);
			be64enc(h + 96, x.lo);
		}
		be64enc(h + 120, XXH3_64bits_withSeed(h, 120, seed));
	}
}

static void put_file(struct vfs *vfs, uint64_t gen, struct wire_bytes b,
		     uint8_t how)
{
	uint8_t *bytes = fuzz_copy(b);
	struct iovec iov = { bytes, b.len };
	char name[SEG_NAME_MAX], path[SEG_NAME_MAX + 8];
	struct vfs_file *f;

	if ((how & HOW_FIX_HEADER) != 0)
		fix(bytes, b.len, gen, how);
	seg_name(gen, name);
	(void)snprintf(path, sizeof(path), "log/%s", name);
	FUZZ_MUST(vfs->ops->open(vfs, path, O_RDWR | O_CREAT, 0600, &f) == 0);
	FUZZ_MUST(b.len == 0 || vfs->ops->pwritev(f, &iov, 1, 0) == 0);
	FUZZ_MUST(vfs->ops->fsync(f) == 0);
	vfs->ops->close(f);
	free(bytes);
}

static bool recover(struct minienv *m, uint8_t how, struct found *ret)
{
	struct seg_config config = {
		.dir = "log", .segment_size = 16 << 10, .first_size = 8 << 10,
		.bulk = (how & HOW_BULK) != 0,
		.on_record = on_record, .arg = ret,
	};
	struct errbuf e = { "" };
	int rv;

	*ret = (struct found){ .records = 0 };
	memcpy(config.store_id, store_id, sizeof(config.store_id));
	rv = seg_head_open(minienv_env(m), &config, &ret->head, &e);
	FUZZ_MUST(rv == 0 || e.text[0] != '\0');
	return rv == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct crashfs *fs = crashfs_new(1);
	struct vfs *vfs = crashfs_vfs(fs);
	struct minienv *m = minienv_new(vfs, 1);
	struct fuzz_in in = { data, size };
	uint8_t how = fuzz_u8(&in);
	struct found a, b;

	seg_fatal_hook = fatal;
	FUZZ_MUST(vfs->ops->mkdir(vfs, "log", 0700) == 0);
	for (uint64_t gen = 1; gen <= FILES_MAX && in.left > 0; gen++) {
		size_t len = fuzz_u16(&in);

		put_file(vfs, gen, fuzz_take(&in, len), how);
	}
	if (recover(m, how, &a)) {
		minienv_run(m);
		seg_head_close(a.head);
		FUZZ_MUST(recover(m, how, &b));
		seg_head_close(b.head);
		FUZZ_MUST(a.records == b.records && a.digest == b.digest);
	}
	minienv_free(m);
	crashfs_free(fs);
	return 0;
}
