/*
 * When unsent bytes leave the mount, in which order, and who hears of a
 * failure. The cluster and libfuse are stubs: WRITEs land in `sent` and are
 * answered when the test says so.
 */
#include "tests/unit/fusefix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "fuse/commit.h"
#include "fuse/flush.h"
#include "fuse/handle.h"
#include "fuse/inval.h"

#define MIB (1u << 20)

/* --- stubs --- */

struct sent {
	rpc_done_fn done;
	void *arg;
	uint64_t bytes;  /* of all extents */
	uint64_t first;  /* position */
	unsigned extents;
	bool is_inline;
	uint32_t flags;
	uint64_t deadline;
};

/* somebody waits for the answer */
#define REQ ((fuse_req_t)(void *)&mount)

static struct sent sent[64];
static unsigned n_sent, n_answered;
static uint32_t slice_status;
static unsigned slices_made, slices_named;
static unsigned replies, reply_err_last, invals;
static size_t reply_bytes;
static struct wire_attr server_attr;

struct client_slice {
	struct client_slice_cbs cbs;
	void *arg;
	struct env_task task;
	uint64_t len;
};

struct wire_u128 client_slice_id(const struct client_slice *s)
{
	(void)s;
	return (struct wire_u128){ 1, 2 };
}

struct client_slice *client_slice_new(struct client *c, uint16_t home,
				      const struct client_slice_cbs *cbs,
				      void *arg)
{
	struct client_slice *s = mem_zalloc(sizeof(*s));

	(void)c;
	(void)home;
	slices_made++;
	s->cbs = *cbs;
	s->arg = arg;
	return s;
}

static void slice_drain(struct env_task *task)
{
	struct client_slice *s = CONTAINER_OF(task, struct client_slice, task);

	s->cbs.on_drain(s->arg);
}

/* Full after each MiB, so that every flush meets a drain. */
size_t client_slice_add(struct client_slice *s, const void *data, size_t len)
{
	size_t room = MIB - s->len % MIB;

	(void)data;
	if (s->task.run != NULL && s->len % MIB == 0) {
		s->task.run = NULL;
		len = len < room ? len : room;
		s->len += len;
		return len;
	}
	if (s->len % MIB == 0 && s->len > 0) {
		s->task.run = slice_drain;
		env_post(minienv_env(mini), &s->task);
		return 0;
	}
	len = len < room ? len : room;
	s->len += len;
	return len;
}

uint32_t client_slice_error(const struct client_slice *s)
{
	(void)s;
	return RPC_STATUS_OK;
}

static void slice_done(struct env_task *task)
{
	struct client_slice *s = CONTAINER_OF(task, struct client_slice, task);

	s->cbs.done(s->arg, slice_status);
}

void client_slice_finish(struct client_slice *s)
{
	s->task.run = slice_done;
	env_post(minienv_env(mini), &s->task);
}

void client_slice_named(struct client_slice *s)
{
	(void)s;
	slices_named++;
}

void client_slice_free(struct client_slice *s)
{
	mem_free(s);
}

void client_slice_set_deadline(struct client_slice *s, uint64_t deadline)
{
	(void)s;
	(void)deadline;
}

struct client_call *client_send_encoded_how(struct client *c, uint16_t tag,
					    uint16_t shard,
					    const struct client_how *how,
					    int (*encode)(const void *req,
							  struct buf *out),
					    const void *req, rpc_done_fn done,
					    void *arg)
{
	const struct rpc_write *q = req;
	struct sent *s = &sent[n_sent++];
	uint32_t n;
	struct wire_reader r = wire_vec_reader(q->extents, &n);

	(void)c;
	(void)shard;
	(void)encode;
	assert_int_equal(tag, RPC_TAG_write);
	*s = (struct sent){ .done = done, .arg = arg, .extents = n,
			    .flags = q->flags, .deadline = how->deadline };
	for (uint32_t i = 0; i < n; i++) {
		struct wire_extent e;

		wire_get_extent(&r, &e);
		assert_int_equal(e.pos / WIRE_REGION,
				 (e.pos + e.len - 1) / WIRE_REGION);
		assert_int_equal(e.slice_off, s->bytes);
		s->first = i == 0 ? e.pos : s->first;
		s->bytes += e.len;
		s->is_inline = e.kind == WIRE_EXT_INLINE;
	}
	assert_int_equal(s->is_inline ? q->data.len : 0,
			 s->is_inline ? s->bytes : 0);
	return (struct client_call *)(void *)s;
}

uint64_t client_session(struct client *c)
{
	(void)c;
	return 1;
}

struct cluster *client_cluster(struct client *c)
{
	(void)c;
	return NULL; /* inline_max as by default */
}

struct client_read *client_read_start(struct client *c,
				      const struct client_read_spec *spec,
				      const struct client_read_cbs *cbs,
				      void *arg)
{
	(void)c;
	(void)spec;
	(void)cbs;
	(void)arg;
	return NULL;
}

void client_read_free(struct client_read *r)
{
	(void)r;
}

void client_read_pause(struct client_read *r)
{
	(void)r;
}

void client_read_resume(struct client_read *r)
{
	(void)r;
}

void inval_pages(struct mount *m, uint64_t node)
{
	(void)m;
	(void)node;
	invals++;
}

int fuse_reply_err(fuse_req_t req, int err)
{
	(void)req;
	replies++;
	reply_err_last = (unsigned)err;
	return 0;
}

int fuse_reply_write(fuse_req_t req, size_t count)
{
	(void)req;
	replies++;
	reply_bytes += count;
	return 0;
}

/* --- fixture --- */

static int setup(void **state)
{
	(void)state;
	fusefix_setup();
	flush_init(&mount);
	n_sent = n_answered = replies = reply_err_last = invals = 0;
	reply_bytes = 0;
	slices_made = slices_named = 0;
	slice_status = RPC_STATUS_OK;
	server_attr = (struct wire_attr){ .ino = 7, .change = 1,
					  .data_version = 1,
					  .mode = 0100644 };
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	flush_fini(&mount);
	assert_int_equal(mount.dirty_bytes, 0);
	fusefix_teardown();
	return 0;
}

static void write_bytes(struct finode *f, uint64_t off, size_t len)
{
	static uint8_t zeros[MIB];
	uint64_t before = f->dirty.bytes;

	assert_true(len <= sizeof(zeros));
	assert_int_equal(wbuf_write(&f->dirty, off, zeros, len), 0);
	flush_note_write(f, f->dirty.bytes - before, true);
}

static void write_many(struct finode *f, uint64_t off, size_t len)
{
	for (size_t at = 0; at < len; at += MIB)
		write_bytes(f, off + at, MIB);
}

/* Answers the oldest WRITE that waits. */
static void answer(uint32_t status)
{
	struct sent *s = &sent[n_answered++];
	struct rpc_write_rsp rsp;
	struct rpc_reply reply = { .status = status };
	struct buf b;

	assert_true(n_answered <= n_sent);
	server_attr.change++;
	server_attr.data_version++;
	if (s->first + s->bytes > server_attr.size)
		server_attr.size = s->first + s->bytes;
	rsp = (struct rpc_write_rsp){ .attr = server_attr };
	buf_init(&b, 0);
	assert_int_equal(rpc_write_rsp_encode(&rsp, &b), 0);
	reply.payload = b.data;
	reply.len = b.len;
	s->done(s->arg, &reply);
	buf_fini(&b);
	minienv_run(mini);
}

static void fsync_answer(struct fop *op)
{
	fop_reply_err(op, fhandle_take_error(op->h));
}

static void fsync_start(struct finode *f, struct fhandle *h)
{
	struct fop *op = fop_new(REQ, f->ino);

	op->h = h;
	if (!flush_wait(f, op, fsync_answer))
		fsync_answer(op);
	minienv_run(mini);
}

/* --- tests --- */

static void test_small(void **state)
{
	struct finode *f = finode_get(&mount, 7);
	struct fhandle *h = fhandle_new(f, 0);

	(void)state;
	write_bytes(f, 0, 100);
	write_bytes(f, 100, 100);
	write_bytes(f, 5000, 10);
	minienv_run(mini);
	assert_int_equal(n_sent, 0);
	assert_int_equal(finode_size(f), 5010);
	fsync_start(f, h);
	assert_int_equal(n_sent, 1);
	assert_true(sent[0].is_inline);
	assert_int_equal(sent[0].bytes, 210);
	assert_int_equal(sent[0].extents, 2);
	assert_int_equal(sent[0].flags, RPC_WRITE_KILL_SUID);
	assert_int_equal(replies, 0);
	answer(RPC_STATUS_OK);
	assert_int_equal(replies, 1);
	assert_int_equal(reply_err_last, 0);
	fsync_start(f, h); /* clean: nothing is sent */
	assert_int_equal(replies, 2);
	assert_int_equal(n_sent, 1);
	fhandle_free(h);
	finode_unref(f);
}

/* Whole blocks leave at once; the tail and what comes later do not. */
static void test_stream(void **state)
{
	struct finode *f = finode_get(&mount, 7);
	struct fhandle *h = fhandle_new(f, 0);

	(void)state;
	write_many(f, 0, 4 * MIB);
	write_bytes(f, 4 * MIB, 1000);
	minienv_run(mini);
	assert_int_equal(n_sent, 1);
	assert_false(sent[0].is_inline);
	assert_int_equal(sent[0].bytes, 4 * MIB);
	assert_int_equal(f->dirty.bytes, 1000);
	write_many(f, 4 * MIB, 9 * MIB);
	minienv_run(mini);
	assert_int_equal(n_sent, 1); /* one flush of an inode at a time */
	answer(RPC_STATUS_OK);
	assert_int_equal(n_sent, 2);
	assert_int_equal(sent[1].bytes, 8 * MIB);
	fsync_start(f, h);
	answer(RPC_STATUS_OK);
	assert_int_equal(replies, 0);
	assert_int_equal(n_sent, 3);
	assert_int_equal(sent[2].bytes, MIB);
	assert_int_equal(sent[2].first, 12 * MIB);
	answer(RPC_STATUS_OK);
	assert_int_equal(replies, 1);
	fhandle_free(h);
	finode_unref(f);
}

static void test_regions(void **state)
{
	struct finode *f = finode_get(&mount, 7);
	struct fhandle *h = fhandle_new(f, 0);

	(void)state;
	write_bytes(f, WIRE_REGION - MIB / 2, MIB);
	fsync_start(f, h);
	assert_int_equal(sent[0].extents, 2);
	assert_int_equal(sent[0].bytes, MIB);
	answer(RPC_STATUS_OK);
	fhandle_free(h);
	finode_unref(f);
}

/* A flush that fails is heard once by each handle that was open. */
static void test_failure(void **state)
{
	struct finode *f = finode_get(&mount, 7);
	struct fhandle *a = fhandle_new(f, 0), *b = fhandle_new(f, 0), *c;

	(void)state;
	write_bytes(f, 0, 10);
	minienv_advance(mini, UINT64_C(2600000000));
	assert_int_equal(n_sent, 1); /* by age */
	answer(RPC_STATUS_NOSPC);
	assert_int_equal(replies, 0);
	assert_false(finode_is_dirty(f));
	assert_int_equal(invals, 1);
	c = fhandle_new(f, 0);
	fsync_start(f, a);
	assert_int_equal(reply_err_last, ENOSPC);
	fsync_start(f, a);
	assert_int_equal(reply_err_last, 0);
	fsync_start(f, c);
	assert_int_equal(reply_err_last, 0);
	fsync_start(f, b);
	assert_int_equal(reply_err_last, ENOSPC);
	assert_int_equal(n_sent, 1);
	fhandle_free(a);
	fhandle_free(b);
	fhandle_free(c);
	finode_unref(f);
}

/*
 * The server is away: who waits through a flush that fails does not wait as
 * long again for the one behind it.
 */
static void test_deadline(void **state)
{
	struct finode *f = finode_get(&mount, 7);
	struct fhandle *h = fhandle_new(f, 0);
	uint64_t start;

	(void)state;
	write_bytes(f, 0, 10);
	flush_start(f);
	assert_int_equal(sent[0].deadline, 0); /* timeout= of each message */
	minienv_advance(mini, UINT64_C(5000000000));
	write_bytes(f, 0, 10);
	start = env_now_ns(mount.env);
	fsync_start(f, h); /* behind the one under way */
	minienv_advance(mini, UINT64_C(25000000000));
	answer(RPC_STATUS_TIMEDOUT);
	assert_int_equal(n_sent, 2);
	assert_int_equal(sent[1].deadline, start + UINT64_C(30000000000));
	write_bytes(f, 0, 10);
	minienv_advance(mini, UINT64_C(5000000000));
	answer(RPC_STATUS_TIMEDOUT);
	assert_int_equal(replies, 1);
	assert_int_equal(reply_err_last, EIO);
	minienv_advance(mini, UINT64_C(3000000000));
	assert_int_equal(n_sent, 3); /* nobody waits: no limit but its own */
	assert_true(sent[2].deadline == UINT64_MAX);
	answer(RPC_STATUS_OK);
	write_bytes(f, 0, 10);
	flush_start(f);
	assert_int_equal(sent[3].deadline, 0); /* it is back */
	answer(RPC_STATUS_OK);
	fhandle_free(h);
	finode_unref(f);
}

/* Chunks that cannot be stored: no WRITE leaves. */
static void test_failed_chunks(void **state)
{
	struct finode *f = finode_get(&mount, 7);
	struct fhandle *h = fhandle_new(f, 0);

	(void)state;
	slice_status = RPC_STATUS_UNAVAILABLE;
	write_bytes(f, 0, MIB);
	fsync_start(f, h);
	assert_int_equal(n_sent, 0);
	assert_int_equal(replies, 1);
	assert_int_equal(reply_err_last, EIO);
	fhandle_free(h);
	finode_unref(f);
}

/* Given up before WRITE came: all again, once; then it is an error. */
static void test_slice_gone(void **state)
{
	struct finode *f = finode_get(&mount, 7);
	struct fhandle *h = fhandle_new(f, 0);

	(void)state;
	write_many(f, MIB, 2 * MIB);
	fsync_start(f, h);
	assert_int_equal(n_sent, 1);
	answer(RPC_STATUS_SLICE_GONE);
	assert_int_equal(slices_made, 2);
	assert_int_equal(n_sent, 2);
	assert_int_equal(sent[1].bytes, 2 * MIB);
	assert_int_equal(sent[1].first, MIB);
	assert_int_equal(sent[1].extents, sent[0].extents);
	assert_int_equal(replies, 0);
	answer(RPC_STATUS_OK);
	assert_int_equal(replies, 1);
	assert_int_equal(reply_err_last, 0);
	assert_int_equal(slices_named, 1);
	write_many(f, 0, MIB);
	fsync_start(f, h);
	answer(RPC_STATUS_SLICE_GONE);
	answer(RPC_STATUS_SLICE_GONE);
	assert_int_equal(replies, 2);
	assert_int_equal(reply_err_last, EIO);
	assert_int_equal(slices_named, 1);
	fhandle_free(h);
	finode_unref(f);
}

/* Above the limit a writer is answered when there is room again. */
static void test_throttle(void **state)
{
	struct finode *f = finode_get(&mount, 7);
	struct fop *op;
	unsigned i = 0;

	(void)state;
	write_many(f, 0, FLUSH_MOUNT_MAX);
	minienv_run(mini);
	assert_int_equal(mount.dirty_bytes, FLUSH_MOUNT_MAX);
	op = fop_new(REQ, f->ino);
	op->size = 4096;
	assert_true(flush_throttle(op));
	minienv_run(mini);
	assert_int_equal(replies, 0);
	answer(RPC_STATUS_OK);
	assert_int_equal(replies, 1);
	assert_int_equal(reply_bytes, 4096);
	while (!flush_all(&mount) && i++ < 10)
		answer(RPC_STATUS_OK);
	assert_false(finode_is_dirty(f));
	finode_unref(f);
}

/* Many small files: each goes by itself, none is forgotten. */
static void test_many(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 50; i++) {
		struct finode *f = finode_get(&mount, 100 + i);

		write_bytes(f, 0, 10);
		finode_unref(f);
	}
	assert_int_equal(mount.inodes.n, 50);
	minienv_advance(mini, UINT64_C(2600000000));
	assert_int_equal(n_sent, 32); /* the timer's share */
	while (n_answered < n_sent) {
		answer(RPC_STATUS_OK);
		minienv_advance(mini, UINT64_C(300000000));
	}
	assert_int_equal(n_sent, 50);
	assert_int_equal(mount.inodes.n, 0);
}

static void write_as(struct finode *f, bool kills)
{
	assert_int_equal(wbuf_write(&f->dirty, f->dirty.bytes, "x", 1), 0);
	flush_note_write(f, 1, kills);
}

/* Set-id bits go with the bytes of others than root, and with no others. */
static void test_kills(void **state)
{
	struct finode *f = finode_get(&mount, 7);
	struct stat st;

	(void)state;
	f->known = true;
	f->attr.mode = 0106755;
	write_as(f, false);
	finode_stat(f, &st);
	assert_int_equal(st.st_mode, 0106755);
	flush_start(f);
	write_as(f, true);
	finode_stat(f, &st);
	assert_int_equal(st.st_mode, 0100755);
	assert_int_equal(sent[0].flags, 0);
	answer(RPC_STATUS_OK);
	flush_start(f);
	write_as(f, false);
	flush_start(f); /* one at a time: goes with the next answer */
	assert_int_equal(sent[1].flags, RPC_WRITE_KILL_SUID);
	answer(RPC_STATUS_OK);
	flush_start(f);
	assert_int_equal(sent[2].flags, 0);
	answer(RPC_STATUS_OK);
	assert_false(f->dirty_kills || f->flushing_kills);
	finode_unref(f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_small),	 T(test_stream),
		T(test_regions), T(test_failure),
		T(test_failed_chunks), T(test_slice_gone),
		T(test_throttle), T(test_many),
		T(test_kills),
		T(test_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
