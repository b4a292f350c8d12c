/*
 * Reading ahead: every READ is answered once, with the bytes of the file, and
 * no more is fetched or kept than was promised. The cluster and libfuse are
 * stubs: reads of ranges stand in `fetches` and go on when the test says so.
 */
#include "tests/unit/fusefix.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "common/base/mem.h"
#include "fuse/handle.h"
#include "fuse/inval.h"
#include "fuse/reader.h"
#include "tests/lib/fault.h"

#define MIB (1u << 20)
#define CHUNK (4u << 20)
#define READS 4096

static struct finode *file;
static struct fhandle *handle;
static uint64_t file_size; /* what the cluster says */
static uint64_t rng_state;

static uint64_t rng(uint64_t below)
{
	rng_state = rng_state * 6364136223846793005ull + 1442695040888963407ull;
	return (rng_state >> 33) % below;
}

/* --- the file --- */

static uint8_t byte_at(uint64_t off)
{
	return (uint8_t)(off * 2654435761u >> 24 ^ off >> 20);
}

/* A body whose pages tell where they are from. */
static struct body *bytes_of(uint64_t off, uint32_t len)
{
	struct body *b = body_new(len);

	assert_non_null(b);
	b->len = len;
	for (uint32_t i = 0; i < len; i += 512)
		b->data[i] = byte_at(off + i);
	b->data[len - 1] = byte_at(off + len - 1);
	return b;
}

/* --- stub: reads of ranges --- */

struct client_read {
	LIST_ENTRY(client_read) link;
	const struct client_read_cbs *cbs;
	void *arg;
	uint64_t pos, end, begun;
	bool paused;
};

static LIST_HEAD(, client_read) fetches = LIST_HEAD_INITIALIZER(fetches);
static unsigned n_fetches, n_started;
static uint64_t fetch_limit; /* so much may be held of what is fetched */
static bool fetch_freed; /* the one that was fed last */
static struct client_read *fetch_fed;

struct client_read *client_read_start(struct client *c,
				      const struct client_read_spec *spec,
				      const struct client_read_cbs *cbs,
				      void *arg)
{
	struct client_read *r = mem_zalloc(sizeof(*r));

	(void)c;
	if (r == NULL)
		return NULL;
	*r = (struct client_read){ .cbs = cbs, .arg = arg, .pos = spec->off,
				   .begun = spec->off,
				   .end = spec->off + spec->len };
	LIST_INSERT_HEAD(&fetches, r, link);
	n_fetches++;
	n_started++;
	return r;
}

void client_read_pause(struct client_read *r)
{
	assert_false(r->paused);
	r->paused = true;
}

void client_read_resume(struct client_read *r)
{
	assert_true(r->paused);
	r->paused = false;
}

void client_read_free(struct client_read *r)
{
	if (r == NULL)
		return;
	if (r == fetch_fed)
		fetch_freed = true;
	LIST_REMOVE(r, link);
	n_fetches--;
	mem_free(r);
}

/* It ends. */
static void fetch_end(struct client_read *r, uint32_t status)
{
	r->paused = true; /* nothing more comes */
	r->cbs->done(r->arg, status);
}

/* The next piece of r comes, or its end. */
static void fetch_feed(struct client_read *r)
{
	uint64_t end = r->end < file_size ? r->end : file_size;
	uint64_t stop = r->pos / CHUNK * CHUNK + CHUNK;
	struct body *b;

	assert_false(r->paused);
	if (r->pos >= end) {
		fetch_end(r, RPC_STATUS_OK);
		return;
	}
	stop = stop < end ? stop : end;
	b = bytes_of(r->pos, (uint32_t)(stop - r->pos));
	r->pos = stop;
	fetch_fed = r;
	fetch_freed = false;
	r->cbs->data(r->arg, b, 0, b->len);
	body_unref(b);
	/* as client_read: the end comes with the last piece */
	if (!fetch_freed && !r->paused && r->pos >= end)
		fetch_end(r, RPC_STATUS_OK);
	fetch_fed = NULL;
}

/* One that can go on, at random; NULL: all are paused, or too much is held. */
static struct client_read *fetch_any(void)
{
	struct client_read *r, *found = NULL;
	uint64_t n = 0;

	if (mount.ahead_bytes + CHUNK > fetch_limit)
		return NULL;
	LIST_FOREACH(r, &fetches, link)
		if (!r->paused && rng(++n) == 0)
			found = r;
	return found;
}

static void feed_all(void)
{
	struct client_read *r;

	while ((r = fetch_any()) != NULL)
		fetch_feed(r);
}

/* --- stub: the rest of the cluster --- */

struct client_call *client_send_encoded_how(struct client *c, uint16_t tag,
					    uint16_t shard,
					    const struct client_how *how,
					    int (*encode)(const void *req,
							  struct buf *out),
					    const void *req, rpc_done_fn done,
					    void *arg)
{
	(void)c;
	(void)tag;
	(void)shard;
	(void)how;
	(void)encode;
	(void)req;
	(void)done;
	(void)arg;
	return NULL;
}

struct cluster *client_cluster(struct client *c)
{
	(void)c;
	return NULL;
}

void inval_pages(struct mount *m, uint64_t node)
{
	(void)m;
	(void)node;
}

/* --- stub: libfuse --- */

struct asked {
	uint64_t off;
	size_t size;
	unsigned answers;
	int err;
};

static struct asked asked[READS];
static unsigned n_asked, n_answered;

static struct asked *asked_of(fuse_req_t req)
{
	struct asked *a = (struct asked *)(void *)req;

	a->answers++;
	n_answered++;
	return a;
}

int fuse_reply_err(fuse_req_t req, int err)
{
	asked_of(req)->err = err;
	return 0;
}

int fuse_reply_iov(fuse_req_t req, const struct iovec *iov, int n)
{
	const struct asked *a = asked_of(req);
	uint64_t at = a->off, end = a->off + a->size;

	for (int i = 0; i < n; i++) {
		const uint8_t *p = iov[i].iov_base;

		for (size_t k = 0; k < iov[i].iov_len; k += 512)
			if ((at + k) % 512 == 0)
				assert_int_equal(p[k], byte_at(at + k));
		at += iov[i].iov_len;
	}
	if (end > file_size)
		end = a->off < file_size ? file_size : a->off;
	assert_int_equal(at, end);
	return 0;
}

int fuse_reply_buf(fuse_req_t req, const char *buf, size_t size)
{
	struct iovec iov = { (void *)(uintptr_t)buf, size };

	return fuse_reply_iov(req, &iov, 1);
}

/* --- fixture --- */

static int setup(void **state)
{
	(void)state;
	fusefix_setup();
	mount.ahead_max = 64 * MIB;
	fetch_limit = UINT64_MAX;
	LIST_INIT(&mount.handles);
	file_size = 200ull * MIB + 12345;
	file = finode_get(&mount, 7);
	assert_non_null(file);
	file->attr.size = file_size;
	file->attr.data_version = 1;
	file->known = true;
	handle = fhandle_new(file, 0);
	assert_non_null(handle);
	n_asked = n_answered = n_started = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fhandle_free(handle);
	finode_unref(file);
	assert_int_equal(n_answered, n_asked);
	for (unsigned i = 0; i < n_asked; i++)
		assert_int_equal(asked[i].answers, 1);
	assert_int_equal(n_fetches, 0);
	assert_int_equal(mount.ahead_bytes, 0);
	fusefix_teardown();
	return 0;
}

/* A small file opened anew; from: its bytes come with the OPEN. */
static bool open_small(uint64_t size, struct rpc_read_rsp *rsp,
		       struct body *body)
{
	struct rstream *s;

	file_size = file->attr.size = rsp->attr.size = size;
	rsp->attr.data_version = file->attr.data_version;
	s = rstream_of_open(&mount, rsp, body);
	reader_take(handle, s);
	return s != NULL;
}

static void ask(uint64_t off, size_t size)
{
	struct asked *a = &asked[n_asked++];
	struct fop *op;

	assert_true(n_asked <= READS);
	*a = (struct asked){ .off = off, .size = size };
	op = fop_new((fuse_req_t)(void *)a, finode_node(file));
	if (op == NULL)
		return;
	op->h = handle;
	op->off = off;
	op->size = size;
	reader_read(op);
}

/* How far beyond off bytes were fetched. */
static uint64_t fetched_ahead(uint64_t off)
{
	const struct client_read *r;
	uint64_t most = 0;

	LIST_FOREACH(r, &fetches, link)
		if (r->pos > r->begun && r->pos > off + most)
			most = r->pos - off;
	return most;
}

/* --- tests --- */

/* What came with OPEN is read once, unless it is old or of another version. */
static void test_open_bytes(void **state)
{
	struct rpc_read_rsp rsp = { .covered = 5000 };
	struct body *b = bytes_of(0, 5000);
	struct wire_vec v;

	(void)state;
	wire_vec_init(&v);
	for (uint64_t pos = 0; pos < 5000; pos += 2500) {
		struct wire_writer w = wire_vec_add(&v);
		struct wire_extent e = { .pos = pos, .len = 2500,
					 .slice_off = pos,
					 .kind = WIRE_EXT_INLINE };

		wire_put_extent(&w, &e);
	}
	rsp.extents = wire_vec_bytes(&v);
	assert_true(open_small(5000, &rsp, b));
	ask(0, 8192);
	ask(5000, 4096); /* the end */
	assert_int_equal(n_answered, 2);
	assert_int_equal(n_started, 0);
	fhandle_free(handle);
	handle = fhandle_new(file, 0);
	assert_non_null(handle);
	assert_true(open_small(5000, &rsp, b));
	minienv_skip(mini, 150000000); /* the program waited for something */
	ask(0, 8192);
	feed_all();
	assert_int_equal(n_started, 1);
	fhandle_free(handle);
	handle = fhandle_new(file, 0);
	assert_non_null(handle);
	assert_true(open_small(5000, &rsp, b));
	file->attr.data_version++; /* somebody wrote */
	ask(0, 8192);
	feed_all();
	assert_int_equal(n_started, 2);
	wire_vec_fini(&v);
	body_unref(b);
}

/* Not all of it are bytes of the answer: READ goes for them. */
static void test_open_without_bytes(void **state)
{
	static const struct wire_extent bad[] = {
		{ .pos = 1, .len = 4999, .kind = WIRE_EXT_INLINE },
		{ .pos = 0, .len = 4999, .kind = WIRE_EXT_INLINE },
		{ .pos = 0, .len = 5001, .kind = WIRE_EXT_INLINE },
		{ .pos = 0, .len = 5000, .slice_off = 1,
		  .kind = WIRE_EXT_INLINE },
		{ .pos = 0, .len = 5000, .kind = WIRE_EXT_CHUNKS },
		{ .pos = 0, .len = 5000, .kind = WIRE_EXT_ZERO },
	};
	struct rpc_read_rsp rsp = { .covered = 5000 };
	struct body *b = bytes_of(0, 5000);

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct wire_writer w;
		struct wire_vec v;

		wire_vec_init(&v);
		w = wire_vec_add(&v);
		wire_put_extent(&w, &bad[i]);
		rsp.extents = wire_vec_bytes(&v);
		assert_false(open_small(5000, &rsp, b));
		wire_vec_fini(&v);
	}
	rsp.extents = wire_bytes(NULL, 0);
	assert_false(open_small(5000, &rsp, b));
	assert_false(open_small(5000, &rsp, NULL));
	rsp.covered = 4999;
	assert_false(open_small(5000, &rsp, b));
	body_unref(b);
	ask(0, 4096);
	feed_all();
	assert_int_equal(n_started, 1);
}

/* One READ after the other: few fetches, memory and distance have a bound. */
static void test_sequential(void **state)
{
	(void)state;
	for (uint64_t off = 0; off < file_size; off += 128 << 10) {
		ask(off, 128 << 10);
		feed_all();
		assert_int_equal(n_answered, n_asked);
		assert_in_range(fetched_ahead(off), 0, 8 * MIB + CHUNK);
		assert_in_range(mount.ahead_bytes, 0, 9 * MIB + 2 * CHUNK);
	}
	assert_in_range(n_started, 8, 13);
	ask(file_size, 128 << 10); /* the end */
	feed_all();
}

/* Several READs under way, which change places; bytes come when they like. */
static void test_many_under_way(void **state)
{
	uint64_t next = 0;

	(void)state;
	while (next < file_size) {
		uint64_t swap = next > MIB ? rng(2) : 0;

		if (n_asked - n_answered < 4) {
			for (uint64_t i = 0; i < 2; i++)
				ask(next + (i ^ swap) * (256u << 10),
				    256u << 10);
			next += 512u << 10;
		}
		for (uint64_t i = rng(4); i > 0 && fetch_any() != NULL; i--)
			fetch_feed(fetch_any());
		assert_in_range(mount.ahead_bytes, 0, 16 * MIB + 2 * CHUNK);
	}
	feed_all();
	assert_in_range(n_started, 8, 40);
}

/* A reader that stops: what comes meanwhile is not much. */
static void test_stops(void **state)
{
	(void)state;
	for (uint64_t off = 0; off < 100ull * MIB; off += MIB) {
		ask(off, MIB);
		feed_all();
	}
	for (unsigned i = 0; i < 10; i++)
		feed_all();
	assert_in_range(mount.ahead_bytes, MIB, 9 * MIB + 2 * CHUNK);
	ask(100ull * MIB, MIB);
	assert_int_equal(n_answered, n_asked); /* it was there */
}

static void test_jumps(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		uint64_t off = rng(file_size);

		for (uint64_t n = rng(6); n > 0; n--) {
			ask(off, 64 << 10);
			off += rng(3) == 0 ? 2 * MIB : 64 << 10;
			if (rng(2) == 0 && fetch_any() != NULL)
				fetch_feed(fetch_any());
		}
		if (rng(3) == 0)
			feed_all();
	}
	feed_all();
}

/* Other bytes since: streams go, those who wait fetch for themselves. */
static void test_changes(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		ask(i * (512ull << 10), 512 << 10);
		if (rng(3) > 0 && fetch_any() != NULL)
			fetch_feed(fetch_any());
		if (rng(5) == 0)
			file->attr.data_version++;
	}
	feed_all();
}

/* An error ends a stream; the next READ begins a new one. */
static void test_errors(void **state)
{
	unsigned failed = 0;

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		struct client_read *r;

		ask(i * (512ull << 10), 512 << 10);
		r = fetch_any();
		if (r != NULL && rng(3) == 0)
			fetch_end(r, RPC_STATUS_IO);
		else if (r != NULL)
			fetch_feed(r);
	}
	feed_all();
	/* of what is fetched ahead nobody need hear: one that is waited for */
	ask(190ull * MIB, 4096);
	while (asked[n_asked - 1].answers == 0)
		fetch_end(fetch_any(), RPC_STATUS_IO);
	for (unsigned i = 0; i < n_asked; i++) {
		assert_true(asked[i].err == 0 || asked[i].err == EIO);
		failed += asked[i].err != 0;
	}
	assert_in_range(failed, 1, 200);
	assert_int_equal(asked[n_asked - 1].err, EIO);
}

/* Shorter than the mount knew: the last READ ends where the file does. */
static void test_shrunk(void **state)
{
	(void)state;
	file_size = 30ull * MIB + 7;
	for (uint64_t off = 0; off < 40ull * MIB; off += MIB) {
		ask(off, MIB);
		feed_all();
	}
}

/* Many readers hold no more than there is for all. */
static void test_shared_bound(void **state)
{
	enum { N = 60 };
	struct fhandle *all[N], *mine = handle;

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		all[i] = fhandle_new(file, 0);
		assert_non_null(all[i]);
	}
	for (uint64_t off = 0; off < 48ull * MIB; off += MIB) {
		for (unsigned i = 0; i < N; i++) {
			handle = all[i];
			ask(off, MIB);
			feed_all();
		}
		assert_int_equal(n_answered, n_asked);
		/* the last one may need a bit more */
		assert_in_range(mount.ahead_bytes, 0, 64 * MIB + 3 * CHUNK);
	}
	handle = mine;
	for (unsigned i = 0; i < N; i++)
		fhandle_free(all[i]);
}

/*
 * Little memory, handles that were read from once, and others that are all read
 * from at the same time: each of them gets on.
 */
static void test_little_memory(void **state)
{
	enum { IDLE = 50, N = 30 };
	struct fhandle *all[IDLE + N], *mine = handle;
	uint64_t at[IDLE + N] = { 0 };
	unsigned ends = 0;

	(void)state;
	mount.ahead_max = 16 * MIB;
	fetch_limit = 64 * MIB;
	for (unsigned i = 0; i < IDLE + N; i++) {
		all[i] = handle = fhandle_new(file, 0);
		assert_non_null(handle);
		for (; i < IDLE && at[i] < 6; at[i]++) {
			ask(at[i] * MIB, MIB);
			feed_all();
		}
	}
	assert_int_equal(n_answered, n_asked);
	while (ends < N) {
		unsigned before = n_answered;

		ends = 0;
		for (unsigned i = IDLE; i < IDLE + N; i++) {
			handle = all[i];
			if (at[i] == 20)
				ends++;
			else if (handle->reader.waiting.first == NULL)
				ask(at[i]++ * MIB, MIB);
		}
		feed_all();
		if (ends < N && n_answered == before)
			fail_msg("nobody gets on: %u of %u", n_answered,
				 n_asked);
	}
	handle = mine;
	for (unsigned i = 0; i < IDLE + N; i++)
		fhandle_free(all[i]);
}

/* Memory fails anywhere: an answer comes, and nothing is left. */
static void test_no_memory(void **state)
{
	(void)state;
	for (int n = 1; n <= 2; n++)
		for (int at = 0;; at++) {
			n_asked = n_answered = 0;
			fault_set(at, n);
			for (uint64_t off = 0; off < 6ull * MIB; off += MIB) {
				ask(off, MIB);
				fault_clear();
				feed_all();
			}
			for (unsigned i = 0; i < n_asked; i++)
				assert_true(asked[i].err == 0 ||
					    asked[i].err == ENOMEM);
			assert_int_equal(n_answered, n_asked);
			fhandle_free(handle);
			handle = fhandle_new(file, 0);
			if (!fault_fired())
				break;
		}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_sequential),
		T(test_open_bytes),
		T(test_open_without_bytes),   T(test_many_under_way),
		T(test_stops),	      T(test_jumps),
		T(test_changes),      T(test_errors),
		T(test_shrunk),	      T(test_shared_bound),
		T(test_little_memory), T(test_no_memory),
	};

	rng_state = (uint64_t)time(NULL);
	printf("# seed %llu\n", (unsigned long long)rng_state);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
