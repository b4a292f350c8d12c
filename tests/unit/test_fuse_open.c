/*
 * Files that CREATE opens: the shard's leader knows of the open before the
 * kernel gets the handle, whatever CLOSE was on its way. Files whose names lead
 * elsewhere by the time they are opened. The cluster and libfuse are stubs: requests land in `sent` and are answered when the test
 * says so.
 */
#include "tests/unit/fusefix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/commit.h"
#include "fuse/flush.h"
#include "fuse/handle.h"
#include "fuse/inval.h"
#include "fuse/ops.h"

enum { DIR = 5, FILE_INO = 7 };

#define MS UINT64_C(1000000)
/* somebody waits for the answer */
#define REQ ((fuse_req_t)(void *)&mount)

/* --- stubs --- */

static struct {
	uint16_t tag;
	uint64_t ino;
	uint8_t held;
	rpc_done_fn done;
	void *arg;
} sent[16];
static unsigned n_sent, created, entries, opened, errors;
static int last_error;
static struct fuse_file_info given; /* of the last CREATE or OPEN */

struct client_call *client_send_encoded_how(struct client *c, uint16_t tag,
					    uint16_t shard,
					    const struct client_how *how,
					    int (*encode)(const void *req,
							  struct buf *out),
					    const void *req, rpc_done_fn done,
					    void *arg)
{
	(void)c;
	(void)shard;
	(void)how;
	(void)encode;
	assert_true(n_sent < sizeof(sent) / sizeof(sent[0]));
	sent[n_sent].tag = tag;
	sent[n_sent].done = done;
	sent[n_sent].arg = arg;
	if (tag == RPC_TAG_open) {
		sent[n_sent].ino = ((const struct rpc_open *)req)->ino;
		sent[n_sent].held = ((const struct rpc_open *)req)->held;
	}
	return (struct client_call *)(void *)&sent[n_sent++];
}

struct client_call *client_send_encoded(struct client *c, uint16_t tag,
					uint16_t shard,
					int (*encode)(const void *req,
						      struct buf *out),
					const void *req, rpc_done_fn done,
					void *arg)
{
	const struct client_how how = { 0, false };

	return client_send_encoded_how(c, tag, shard, &how, encode, req, done,
				       arg);
}

uint64_t client_session(struct client *c)
{
	(void)c;
	return 1;
}

uint64_t client_open_number(struct client *c)
{
	static uint64_t number;

	(void)c;
	return ++number;
}

struct cluster *client_cluster(struct client *c)
{
	(void)c;
	return NULL;
}

/* Nobody here reads or writes. */
#define NEVER(ret, name, ...) \
	ret name(__VA_ARGS__) \
	{ \
		abort(); \
	}
NEVER(struct wire_u128, client_slice_id, const struct client_slice *)
NEVER(struct client_slice *, client_slice_new, struct client *, uint16_t,
      const struct client_slice_cbs *, void *)
NEVER(size_t, client_slice_add, struct client_slice *, const void *, size_t)
NEVER(uint32_t, client_slice_error, const struct client_slice *)
NEVER(void, client_slice_finish, struct client_slice *)
NEVER(void, client_slice_named, struct client_slice *)
NEVER(void, client_slice_free, struct client_slice *)
NEVER(void, client_slice_set_deadline, struct client_slice *, uint64_t)
NEVER(struct client_read *, client_read_start, struct client *,
      const struct client_read_spec *, const struct client_read_cbs *, void *)
NEVER(void, client_refresh, struct client *, uint64_t,
      void (*)(void *, int), void *)
NEVER(void, client_read_free, struct client_read *)
NEVER(void, client_read_pause, struct client_read *)
NEVER(void, client_read_resume, struct client_read *)

void inval_pages(struct mount *m, uint64_t node)
{
	(void)m;
	(void)node;
}

void inval_attr(struct mount *m, uint64_t node)
{
	(void)m;
	(void)node;
}

int fuse_reply_err(fuse_req_t req, int err)
{
	(void)req;
	if (err != 0) {
		errors++;
		last_error = err;
	}
	return 0;
}

int fuse_reply_create(fuse_req_t req, const struct fuse_entry_param *e,
		      const struct fuse_file_info *fi)
{
	(void)req;
	assert_int_equal(e->ino, FILE_INO);
	created++;
	given = *fi;
	return 0;
}

int fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *e)
{
	(void)req;
	assert_int_equal(e->ino, FILE_INO);
	entries++;
	return 0;
}

int fuse_reply_open(fuse_req_t req, const struct fuse_file_info *fi)
{
	(void)req;
	opened++;
	given = *fi;
	return 0;
}

/* --- fixture --- */

static struct finode *dir;

static int setup(void **state)
{
	(void)state;
	fusefix_setup();
	flush_init(&mount);
	TAILQ_INIT(&mount.idle);
	ops_open_start(&mount);
	dir = finode_get(&mount, DIR);
	n_sent = created = entries = opened = errors = 0;
	last_error = 0;
	minienv_advance(mini, MS);
	return 0;
}

static void create(void)
{
	struct fuse_file_info fi = { .flags = 2 };

	ops_create(REQ, DIR, "f", 0644, &fi);
	assert_int_equal(sent[n_sent - 1].tag, RPC_TAG_mknod);
}

/* Answers the i-th request. */
static void answer(unsigned i, uint32_t status, bool again)
{
	struct wire_attr attr = { .ino = FILE_INO, .mode = 0100644,
				  .change = 1, .nlink = 1 };
	struct rpc_mknod_rsp made = { .attr = attr, .created = !again };
	struct rpc_lookup_rsp found = { .attr = attr, .kind = RPC_NAME_FILE };
	struct rpc_read_rsp told = { .attr = attr };
	struct rpc_empty_rsp closed = { 0 };
	struct rpc_reply reply = { .status = status, .again = again };
	struct buf b;

	buf_init(&b, 0);
	assert_int_equal(sent[i].tag == RPC_TAG_mknod
				 ? rpc_mknod_rsp_encode(&made, &b)
			 : sent[i].tag == RPC_TAG_open
				 ? rpc_read_rsp_encode(&told, &b)
			 : sent[i].tag == RPC_TAG_lookup
				 ? rpc_lookup_rsp_encode(&found, &b)
				 : rpc_empty_rsp_encode(&closed, &b),
			 0);
	reply.payload = b.data;
	reply.len = b.len;
	sent[i].done(sent[i].arg, &reply);
	buf_fini(&b);
	minienv_run(mini);
}

static void release(void)
{
	struct fuse_file_info fi = given;

	ops_release(REQ, FILE_INO, &fi);
	minienv_run(mini);
}

/* The last request tells the leader of the open. */
static void expect_told(void)
{
	assert_int_equal(sent[n_sent - 1].tag, RPC_TAG_open);
	assert_int_equal(sent[n_sent - 1].ino, FILE_INO);
	assert_true(sent[n_sent - 1].held);
}

/* All handles are given back: one CLOSE more, and nothing is left. */
static int teardown(void **state)
{
	unsigned before;

	(void)state;
	before = n_sent;
	minienv_advance(mini, 30 * MS);
	if (n_sent > before) {
		assert_int_equal(n_sent, before + 1);
		assert_int_equal(sent[before].tag, RPC_TAG_close);
		answer(before, RPC_STATUS_OK, false);
	}
	if (created + entries > 0)
		finode_forget(&mount, FILE_INO, created + entries);
	finode_unref(dir);
	ops_open_stop(&mount);
	flush_fini(&mount);
	fusefix_teardown();
	return 0;
}

static void create_and_release(void)
{
	create();
	answer(0, RPC_STATUS_OK, false);
	release();
}

/* --- tests --- */

static void test_create(void **state)
{
	(void)state;
	create();
	answer(0, RPC_STATUS_OK, false);
	assert_int_equal(created, 1);
	assert_int_equal(n_sent, 1);
	release();
}

/*
 * An earlier try made the file. Others of this mount may have opened it by
 * name since, and closed it again.
 */
static void test_answered_again(void **state)
{
	(void)state;
	create();
	answer(0, RPC_STATUS_OK, true);
	assert_int_equal(created, 0);
	assert_int_equal(n_sent, 2);
	expect_told();
	answer(1, RPC_STATUS_OK, false);
	assert_int_equal(created, 1);
	assert_int_equal(n_sent, 2);
	release();
}

/* ... and removed it: the kernel looks again. */
static void test_answered_again_but_gone(void **state)
{
	(void)state;
	create();
	answer(0, RPC_STATUS_OK, true);
	expect_told();
	answer(1, RPC_STATUS_STALE, false);
	assert_int_equal(created, 0);
	assert_int_equal(errors, 1);
	assert_int_equal(last_error, ESTALE);
}

/* The file was there, and was closed so lately that nobody was told. */
static void test_close_waits(void **state)
{
	(void)state;
	create_and_release();
	create();
	answer(1, RPC_STATUS_OK, false);
	assert_int_equal(created, 2);
	minienv_advance(mini, 50 * MS);
	assert_int_equal(n_sent, 2); /* no CLOSE: it is open */
	release();
}

/* A CLOSE went behind the CREATE, and has no answer yet. */
static void test_close_under_way(void **state)
{
	(void)state;
	create_and_release();
	create();
	minienv_advance(mini, 30 * MS);
	assert_int_equal(n_sent, 3);
	assert_int_equal(sent[2].tag, RPC_TAG_close);
	answer(1, RPC_STATUS_OK, false);
	assert_int_equal(created, 1);
	assert_int_equal(n_sent, 3);
	answer(2, RPC_STATUS_OK, false);
	assert_int_equal(n_sent, 4);
	expect_told();
	assert_int_equal(created, 1);
	answer(3, RPC_STATUS_OK, false);
	assert_int_equal(created, 2);
	release();
}

/* The same, and it has one. */
static void test_close_meanwhile(void **state)
{
	(void)state;
	create_and_release();
	create();
	minienv_advance(mini, 30 * MS);
	answer(2, RPC_STATUS_OK, false);
	answer(1, RPC_STATUS_OK, false);
	assert_int_equal(created, 1);
	assert_int_equal(n_sent, 4);
	expect_told();
	answer(3, RPC_STATUS_OK, false);
	assert_int_equal(created, 2);
	release();
}

/* A CLOSE that was answered before the CREATE came is no reason. */
static void test_close_before(void **state)
{
	(void)state;
	create_and_release();
	minienv_advance(mini, 30 * MS);
	answer(1, RPC_STATUS_OK, false);
	minienv_advance(mini, MS);
	create();
	answer(2, RPC_STATUS_OK, false);
	assert_int_equal(created, 2);
	assert_int_equal(n_sent, 3);
	release();
}

/* --- names that lead elsewhere --- */

/* Answers the last request. */
static void answer_last(uint16_t tag, uint32_t status)
{
	assert_int_equal(sent[n_sent - 1].tag, tag);
	answer(n_sent - 1, status, false);
}

static void lookup(const char *name, uint32_t status)
{
	ops_lookup(REQ, DIR, name);
	answer_last(RPC_TAG_lookup, status);
}

static void open_file(uint32_t status)
{
	struct fuse_file_info fi = { .flags = 2 };

	ops_open(REQ, FILE_INO, &fi);
	answer_last(RPC_TAG_open, status);
}

static void expect_error(int err)
{
	assert_int_equal(errors, 1);
	assert_int_equal(last_error, err);
	errors = 0;
}

/* The kernel walks the path again, and the name changes again and again. */
static void test_opened_ahead(void **state)
{
	(void)state;
	lookup("f", RPC_STATUS_OK);
	open_file(RPC_STATUS_STALE);
	expect_error(ESTALE);
	lookup("f", RPC_STATUS_OK);
	assert_int_equal(entries, 1);
	answer_last(RPC_TAG_open, RPC_STATUS_STALE);
	answer_last(RPC_TAG_lookup, RPC_STATUS_OK);
	answer_last(RPC_TAG_open, RPC_STATUS_OK);
	assert_int_equal(entries, 2);
	open_file(RPC_STATUS_STALE);
	assert_int_equal(errors, 0);
	assert_int_equal(opened, 1);
	release();
}

/* ... and nobody opens it after all. */
static void test_opened_ahead_in_vain(void **state)
{
	unsigned before;

	(void)state;
	lookup("f", RPC_STATUS_OK);
	open_file(RPC_STATUS_STALE);
	lookup("f", RPC_STATUS_OK);
	answer_last(RPC_TAG_open, RPC_STATUS_OK);
	before = n_sent;
	minienv_advance(mini, 3000 * MS);
	assert_int_equal(n_sent, before + 1);
	answer_last(RPC_TAG_close, RPC_STATUS_OK);
	/* so it is none for who comes later */
	open_file(RPC_STATUS_STALE);
	assert_int_equal(opened, 0);
}

/* A walk that ends with an error is over. */
static void test_not_opened_ahead(void **state)
{
	(void)state;
	lookup("f", RPC_STATUS_OK);
	open_file(RPC_STATUS_STALE);
	lookup("f", RPC_STATUS_NOENT);
	lookup("f", RPC_STATUS_OK);
	assert_int_equal(entries, 2);
}

/* The directory is gone: the kernel looks for another one of its name first. */
static void test_directory_is_gone(void **state)
{
	(void)state;
	lookup("f", RPC_STATUS_OK);
	lookup("f", RPC_STATUS_STALE); /* does it still hold? */
	expect_error(ESTALE);
	lookup("f", RPC_STATUS_STALE);
	expect_error(ESTALE);
	lookup("f", RPC_STATUS_STALE);
	expect_error(ENOENT);
	lookup("other", RPC_STATUS_STALE);
	expect_error(ESTALE);
	lookup("other", RPC_STATUS_STALE);
	expect_error(ENOENT);
	/* whoever comes back later is another call */
	lookup("other", RPC_STATUS_STALE);
	expect_error(ESTALE);
	minienv_advance(mini, 200 * MS);
	lookup("other", RPC_STATUS_STALE);
	expect_error(ESTALE);
}

/* Another one of its name, found in the second walk, is gone by then, too. */
static void test_directory_is_gone_again(void **state)
{
	struct finode *old;

	(void)state;
	old = finode_get(&mount, DIR + 1);
	ops_lookup(REQ, DIR + 1, "f");
	answer_last(RPC_TAG_lookup, RPC_STATUS_STALE);
	expect_error(ESTALE);
	lookup("f", RPC_STATUS_STALE); /* the last word of that call */
	expect_error(ESTALE);
	lookup("f", RPC_STATUS_STALE); /* and the next one looks again */
	expect_error(ESTALE);
	lookup("f", RPC_STATUS_OK);
	assert_int_equal(entries, 1);
	finode_unref(old);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_create),
		T(test_answered_again),
		T(test_answered_again_but_gone),
		T(test_close_waits),
		T(test_close_under_way),
		T(test_close_meanwhile),
		T(test_close_before),
		T(test_opened_ahead),
		T(test_opened_ahead_in_vain),
		T(test_not_opened_ahead),
		T(test_directory_is_gone),
		T(test_directory_is_gone_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
