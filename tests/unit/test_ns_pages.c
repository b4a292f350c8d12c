/*
 * Pages of LIST and READDIR while directories are split: between two pages,
 * and while one is read, as a worker reads while the loop goes on; and while
 * files are replaced. No name comes or goes, so every answer is the same.
 *
 * Seeds are printed; NS_PAGES_SEED=n runs one of them.
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

#include "common/client/follow.h"
#include "storaged/ns_impl.h"
#include "tests/lib/nsharness.h"

enum { SHARD = 1, SHARDS = 3, SEEDS = 60, NAMES = 64 };

/* Row names of the root, in order; what is below them follows from these. */
static const char *const files[] = { "a", "a-b", "b", "c-", "d", "e", "f", "h" };
static const char *const dirs[] = { "a0", "c", "f-", "g", "i" };
static const char *const below[] = { "k", "m", "z" };
/* Files beside a directory of that name. */
static const char *const beside[] = { "c", "g" };
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct run {
	struct nsh *h;
	uint64_t root, rng;
	unsigned at;      /* so many calls until somebody splits, 0: nobody */
	bool behind;      /* ... behind that call */
	unsigned splits;
	char keys[NAMES][16];
	unsigned n;
};

#define SHADOWED "\001" /* behind such a name of READDIR: sorts as it does */

static struct run *running;

static uint64_t rnd(struct run *r, uint64_t n)
{
	r->rng ^= r->rng << 13;
	r->rng ^= r->rng >> 7;
	r->rng ^= r->rng << 17;
	return (r->rng >> 11) % n;
}

static void split(struct run *r)
{
	uint64_t dir = r->root;
	struct wire_attr a;

	if (rnd(r, 4) == 0 &&
	    nsh_lookup(r->h, r->root, dirs[rnd(r, COUNT(dirs))], RPC_NAME_DIR,
		       &a) == 0)
		dir = a.ino;
	if (nsh_segments(r->h, dir) < 8)
		r->splits += nsh_split(r->h, dir, 1 + (uint32_t)rnd(r, 4)) == 0;
	(void)nsh_back(r->h); /* it is in the rows at once */
}

/* The key stays, with another inode. */
static void overwrite(struct run *r)
{
	assert_int_equal(nsh_put(r->h, r->root, files[rnd(r, COUNT(files))],
				 wire_cstr("other"), NULL), 0);
	(void)nsh_back(r->h);
}

static void meanwhile(struct run *r)
{
	if (rnd(r, 3) == 0)
		overwrite(r);
	else
		split(r);
}

/* --- the seam: everything that looks at rows of pages --- */

static bool is_now(bool behind)
{
	struct run *r = running;

	if (r == NULL || r->behind != behind || r->at == 0 || --r->at > 0)
		return false;
	return true;
}

#define SEAM(name, ARGS, CALL) \
	int __real_##name ARGS; \
	int __wrap_##name ARGS; \
	int __wrap_##name ARGS \
	{ \
		int rv; \
		if (is_now(false)) \
			meanwhile(running); \
		rv = __real_##name CALL; \
		if (is_now(true)) \
			meanwhile(running); \
		return rv; \
	}

SEAM(rows_iter_new,
     (struct rows_back * back, struct wire_bytes from, struct wire_bytes to,
      struct rows_iter **ret),
     (back, from, to, ret))
SEAM(rows_back_get,
     (struct rows_back * back, struct wire_bytes key, uint8_t **ret_value,
      size_t *ret_len),
     (back, key, ret_value, ret_len))

/* --- requests --- */

static uint32_t ask_one(struct run *r, const struct client_hop *hop,
			struct ns_answer *a, struct wire_bytes *ret_payload)
{
	uint32_t status;

	if (!ns_is_scan(hop->tag)) { /* summaries */
		if (rnd(r, 3) == 0)
			overwrite(r);
		status = nsh_send_one(r->h, hop->shard, hop->tag,
				      &hop->request);
		*ret_payload = nsh_payload(r->h);
		return status;
	}
	if (rnd(r, 4) == 0)
		split(r);
	r->behind = rnd(r, 2) == 0;
	r->at = (unsigned)rnd(r, 8);
	running = r;
	assert_int_equal(ns_scan(nsh_back(r->h), hop->shard, hop->tag,
				 hop->request.data, hop->request.len, a), 0);
	running = NULL;
	*ret_payload = wire_bytes(a->payload.data, a->payload.len);
	return a->status;
}

/* A request and what follows; the answer in out. */
static uint32_t ask(struct run *r, uint16_t tag, struct buf *request,
		    struct buf *out)
{
	struct client_hop hop = { .tag = tag, .shard = ino_shard(r->root),
				  .request = *request };
	struct client_follow *f = NULL;
	uint32_t status;
	int rv;

	buf_reset(out);
	buf_init(request, 0);
	do {
		struct wire_bytes payload;
		struct ns_answer a;

		ns_answer_init(&a);
		status = ask_one(r, &hop, &a, &payload);
		rv = client_follow(&f, &hop, status, payload, out);
		if (rv < 0)
			fail_msg("%s leads nowhere: %d", rpc_info(hop.tag)->name, rv);
		if (rv == 0 && out->len == 0)
			buf_add(out, payload.p, payload.len);
		ns_answer_fini(&a);
	} while (rv > 0);
	client_follow_free(f);
	buf_fini(&hop.request);
	return status;
}

static void note(struct run *r, struct wire_bytes name, bool shadowed)
{
	assert_true(r->n < NAMES && name.len + 1 < sizeof(r->keys[0]));
	snprintf(r->keys[r->n++], sizeof(r->keys[0]), "%.*s%s", (int)name.len,
		 (const char *)name.p, shadowed ? SHADOWED : "");
}

static void list(struct run *r, const char *delimiter, const char *after)
{
	struct rpc_list q = { .root = r->root, .after = wire_cstr(after),
			      .delimiter = wire_cstr(delimiter),
			      .max = 1 + (uint32_t)rnd(r, 6) };
	struct rpc_list_rsp rsp = { .truncated = 1 };
	char last[64];
	struct buf b, out;

	buf_init(&out, 0);
	while (rsp.truncated) {
		struct wire_bytes key, s;
		struct wire_reader rd;
		uint8_t is_prefix;
		uint64_t size;
		int64_t mtime;
		uint32_t n;

		buf_init(&b, 0);
		assert_int_equal(rpc_list_encode(&q, &b), 0);
		assert_int_equal(ask(r, RPC_TAG_list, &b, &out), 0);
		assert_int_equal(rpc_list_rsp_decode(&rsp, out.data, out.len),
				 0);
		for (rd = wire_vec_reader(rsp.entries, &n); n > 0; n--) {
			wire_get_str(&rd, &key);
			wire_get_u8(&rd, &is_prefix);
			wire_get_u64(&rd, &size);
			wire_get_i64(&rd, &mtime);
			for (int i = 0; i < 3; i++)
				wire_get_str(&rd, &s);
			note(r, key, false);
		}
		snprintf(last, sizeof(last), "%.*s", (int)rsp.next.len,
			 (const char *)rsp.next.p);
		q.after = wire_cstr(last);
	}
	buf_fini(&out);
}

static void readdir(struct run *r)
{
	struct rpc_readdir q = { .dir = r->root,
				 .max = 1 + (uint32_t)rnd(r, 6),
				 .plus = rnd(r, 2) == 0 };
	struct rpc_readdir_rsp rsp = { .eof = 0 };
	struct buf b, out;
	char last[64];

	buf_init(&out, 0);
	while (!rsp.eof) {
		struct wire_bytes name = { NULL, 0 };
		struct wire_reader rd;
		struct wire_attr attr;
		uint32_t n, mode;
		uint8_t shadowed;
		uint64_t ino;

		buf_init(&b, 0);
		assert_int_equal(rpc_readdir_encode(&q, &b), 0);
		assert_int_equal(ask(r, RPC_TAG_readdir, &b, &out), 0);
		assert_int_equal(rpc_readdir_rsp_decode(&rsp, out.data,
							out.len), 0);
		for (rd = wire_vec_reader(rsp.entries, &n); n > 0; n--) {
			wire_get_str(&rd, &name);
			wire_get_u64(&rd, &ino);
			wire_get_u32(&rd, &mode);
			wire_get_u8(&rd, &shadowed);
			if (q.plus)
				wire_get_attr(&rd, &attr);
			note(r, name, shadowed != 0);
		}
		assert_true(rsp.eof || name.len > 0);
		snprintf(last, sizeof(last), "%.*s", (int)name.len,
			 (const char *)name.p);
		q.after = wire_cstr(last);
	}
	buf_fini(&out);
}

/* --- what it must be --- */

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

struct want {
	char keys[NAMES][16];
	unsigned n;
};

static void want_add(struct want *w, const char *after, const char *fmt, ...)
{
	char *key = w->keys[w->n];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(key, sizeof(w->keys[0]), fmt, ap);
	va_end(ap);
	w->n += strcmp(key, after) > 0;
}

enum how { DEEP, FLAT, ROWS };

static void expect(struct run *r, const char *what, enum how how,
		   const char *after)
{
	bool deep = how == DEEP;
	struct want w = { .n = 0 };

	for (unsigned i = 0; i < COUNT(files); i++)
		want_add(&w, after, "%s", files[i]);
	for (unsigned i = 0; i < COUNT(beside); i++)
		want_add(&w, after, how == ROWS ? "%s" SHADOWED : "%s",
			 beside[i]);
	for (unsigned i = 0; i < COUNT(dirs); i++) {
		for (unsigned k = 0; deep && k < COUNT(below); k++)
			want_add(&w, after, "%s/%s", dirs[i], below[k]);
		if (!deep)
			want_add(&w, after, "%s/", dirs[i]);
	}
	qsort(w.keys, w.n, sizeof(w.keys[0]), by_text);
	for (unsigned i = 0; i < w.n || i < r->n; i++) {
		const char *got = i < r->n ? r->keys[i] : "the end";
		const char *key = i < w.n ? w.keys[i] : "the end";

		if (strcmp(got, key) != 0)
			fail_msg("%s after \"%s\": %s instead of %s", what,
				 after, got, key);
	}
	r->n = 0;
}

static void run_seed(uint64_t seed, unsigned *splits)
{
	static const char *const afters[] = { "", "a-", "a0/k", "c/m", "f-/k",
					      "g/m", "g/zz", "z" };
	struct run r = { .rng = (seed + 1) * 0x9e3779b97f4a7c15 };

	print_message("# seed %lu\n", (unsigned long)seed);
	r.h = nsh_new_spread(SHARD, SHARDS, 0, seed);
	r.root = nsh_root(r.h, 5);
	for (unsigned i = 0; i < COUNT(files); i++)
		assert_int_equal(nsh_mknod(r.h, r.root, files[i],
					   S_IFREG | 0644, NULL), 0);
	for (unsigned i = 0; i < COUNT(dirs); i++)
		for (unsigned k = 0; k < COUNT(below); k++) {
			char key[16];

			snprintf(key, sizeof(key), "%s/%s", dirs[i], below[k]);
			assert_int_equal(nsh_put(r.h, r.root, key,
						 wire_cstr("bytes"), NULL), 0);
		}
	for (unsigned i = 0; i < COUNT(beside); i++)
		assert_int_equal(nsh_put(r.h, r.root, beside[i],
					 wire_cstr("bytes"), NULL), 0);
	for (unsigned i = 0; i < 6; i++) {
		const char *after = afters[rnd(&r, COUNT(afters))];

		list(&r, "", after);
		expect(&r, "LIST", DEEP, after);
		readdir(&r);
		expect(&r, "READDIR", ROWS, "");
		list(&r, "/", "");
		expect(&r, "LIST of one directory", FLAT, "");
	}
	*splits += r.splits;
	assert_int_equal(nsh_free(r.h), 0);
}

static void test_split_meanwhile(void **state)
{
	const char *one = getenv("NS_PAGES_SEED");
	unsigned splits = 0;

	(void)state;
	if (one != NULL) {
		run_seed(strtoull(one, NULL, 10), &splits);
		return;
	}
	for (uint64_t seed = 0; seed < SEEDS; seed++)
		run_seed(seed, &splits);
	assert_true(splits > 3 * SEEDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
