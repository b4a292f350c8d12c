/*
 * Commands that need another shard (storaged/shard_far.c, shard_party.c) with
 * the real host; the other shard is played here: it may refuse, be away, or not
 * even be asked for want of memory.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "storaged/shard_impl.h"
#include "tests/lib/shardworld.h"

enum { OTHER = SHARD + 1 };
#define DIR2 ino_make(OTHER, 9)

struct call {
	struct env_task task;
	struct fix *f;
	struct call **at; /* where it is, until it is answered */
	struct buf payload;
	uint16_t tag;
	shard_called_fn done;
	void *arg;
};

struct fix {
	struct world w;
	uint64_t root, file;
	struct call *calls[8];
	unsigned n_calls;           /* so far */
	unsigned fail_at, fail_n;   /* not even sent */
	bool failed;
	unsigned refuse;            /* that many TXN_LOCK: LOCKED */
	unsigned locks, waits;      /* TXN_LOCK; of those that wait */
	uint32_t end_status;        /* of TXN_END */
	bool locked;                /* there is a TXN_END to come */
	struct wire_u128 txn;       /* of the last TXN_LOCK */
};

/* --- the other shard --- */

static void add_row(struct wire_vec *v, uint8_t mode, struct wire_bytes key,
		    const struct wire_bytes *value)
{
	struct wire_writer w = wire_vec_add(v);
	struct wire_bytes none = { NULL, 0 };
	uint8_t there = value != NULL;

	wire_put_u8(&w, &mode);
	wire_put_str(&w, &key);
	wire_put_u8(&w, &there);
	wire_put_blob(&w, there ? value : &none);
}

/* DIR2 is an empty directory of the bucket. */
static void add_dir(struct wire_vec *v, uint8_t mode, struct wire_bytes key)
{
	struct ns_row_inode r = { .v = NS_ROW_VERSION, .nlink = 2,
				  .mode = S_IFDIR | 0755,
				  .project = 1 };
	struct wire_bytes value;
	struct buf b;

	buf_init(&b, 0);
	assert_int_equal(ns_row_inode_encode(&r, &b), 0);
	value = wire_bytes(b.data, b.len);
	add_row(v, mode, key, &value);
	buf_fini(&b);
}

static uint32_t on_lock(struct fix *f, struct call *c, struct buf *out)
{
	struct rpc_txn_lock_rsp rsp;
	struct wire_bytes key;
	struct rpc_txn_lock m;
	struct wire_reader r;
	struct wire_vec rows;
	struct ns_key k;
	uint8_t mode;
	uint32_t n;

	assert_int_equal(rpc_txn_lock_decode(&m, c->payload.data,
					     c->payload.len), 0);
	f->txn = m.txn;
	f->locks++;
	f->waits += m.wait != 0;
	if (f->refuse > 0) {
		f->refuse--;
		return RPC_STATUS_LOCKED;
	}
	wire_vec_init(&rows);
	for (r = wire_vec_reader(m.wants, &n); n > 0; n--) {
		wire_get_u8(&r, &mode);
		wire_get_str(&r, &key);
		if (key.p[2] == NS_T_INODE) {
			add_dir(&rows, mode, key);
			continue;
		}
		k.len = 0;
		ns_key_bytes(&k, key);
		add_row(&rows, mode, ns_key_get(&k), NULL);
		ns_key_u8(&k, '/');
		add_row(&rows, mode, ns_key_get(&k), NULL);
	}
	f->locked = true;
	rsp.rows = wire_vec_bytes(&rows);
	assert_int_equal(rpc_txn_lock_rsp_encode(&rsp, out), 0);
	wire_vec_fini(&rows);
	return RPC_STATUS_OK;
}

static uint32_t answer(struct fix *f, struct call *c, struct buf *out)
{
	struct rpc_txn_ask_rsp asked = { .state = RPC_TXN_PENDING };

	switch (c->tag) {
	case RPC_TAG_txn_lock:
		return on_lock(f, c, out);
	case RPC_TAG_txn_ask:
		assert_int_equal(rpc_txn_ask_rsp_encode(&asked, out), 0);
		return RPC_STATUS_OK;
	default:
		assert_int_equal(c->tag, RPC_TAG_txn_end);
		if (f->end_status == RPC_STATUS_OK)
			f->locked = false;
		return f->end_status;
	}
}

static void call_free(struct call *c)
{
	*c->at = NULL;
	buf_fini(&c->payload);
	free(c);
}

static void on_call_task(struct env_task *task)
{
	struct call *c = CONTAINER_OF(task, struct call, task), own = *c;
	struct buf out;
	uint32_t status;

	buf_init(&out, 0);
	if (c->done == NULL) { /* cancelled */
		call_free(c);
		return;
	}
	status = answer(c->f, c, &out);
	call_free(c);
	own.done(own.arg, status, wire_bytes(out.data, out.len));
	buf_fini(&out);
}

static int on_call(void *arg, uint16_t shard, uint16_t tag, struct buf *payload,
		   shard_called_fn done, void *done_arg, void **ret_handle)
{
	struct world *w = arg;
	struct fix *f = w->user;
	struct call *c;
	unsigned i = 0;

	assert_int_equal(shard, OTHER);
	if (f->n_calls++ - f->fail_at < f->fail_n) {
		f->failed = true;
		return -ENOMEM;
	}
	while (f->calls[i] != NULL)
		assert_true(++i < 8);
	c = calloc(1, sizeof *c);
	assert_non_null(c);
	*c = (struct call){ .f = f, .at = &f->calls[i], .payload = *payload,
			    .tag = tag, .done = done, .arg = done_arg };
	buf_init(payload, 0);
	f->calls[i] = c;
	c->task.run = on_call_task;
	env_post(minienv_env(w->m), &c->task);
	*ret_handle = c;
	return 0;
}

static void on_cancel(void *arg, void *handle)
{
	struct call *c = handle;

	(void)arg;
	c->done = NULL;
}

/* --- a world --- */

static void tune(struct world *w, struct shard_config *config)
{
	(void)w;
	config->call = on_call;
	config->call_cancel = on_cancel;
}

static void fix_init(struct fix *f)
{
	memset(f, 0, sizeof *f);
	world_init_tuned(&f->w, tune, f);
	f->root = world_root(&f->w, 1);
	f->file = world_file(&f->w, f->root, "f", 0);
}

static void fix_fini(struct fix *f)
{
	world_fini(&f->w);
	for (unsigned i = 0; i < 8; i++)
		if (f->calls[i] != NULL)
			call_free(f->calls[i]);
}

static const struct shard_group *group(const struct fix *f)
{
	return shard_find(f->w.set, SHARD);
}

/* f goes to the other shard's directory; runs until that is answered. */
static uint32_t do_rename(struct fix *f)
{
	struct world *w = &f->w;
	struct rpc_rename req = { MUT(w), .dir = f->root,
				  .name = wire_cstr("f"), .dir2 = DIR2,
				  .name2 = wire_cstr("g") };
	uint32_t status;
	struct reply r;

	SEND(w, rename, &req, &r);
	for (unsigned i = 0; i < 100 && r.n == 0; i++)
		minienv_advance(w->m, SECOND / 10);
	assert_int_equal(r.n, 1);
	status = r.status;
	reply_fini(&r);
	return status;
}

/* --- tests --- */

/*
 * Calls that cannot be sent, at every point: the command ends, and what it has
 * done or not done elsewhere is ended, too.
 */
static void calls_fail(unsigned refuse, unsigned n)
{
	bool failed = true;

	for (unsigned at = 0; failed; at++) {
		struct fix f;
		uint32_t status;

		fix_init(&f);
		f.refuse = refuse;
		f.fail_at = at;
		f.fail_n = n;
		status = do_rename(&f);
		minienv_advance(f.w.m, 5ull * SECOND);
		failed = f.failed;
		if (!failed)
			assert_int_equal(status, RPC_STATUS_OK);
		assert_null(group(&f)->ends);
		assert_null(group(&f)->fars);
		assert_null(group(&f)->locks->parties);
		if (status == RPC_STATUS_OK)
			assert_false(f.locked);
		else
			assert_int_equal(status, RPC_STATUS_NOMEM);
		fix_fini(&f);
	}
}

static void test_calls_fail(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 3; n++)
		for (unsigned refuse = 0; refuse <= 2; refuse++)
			calls_fail(refuse, n);
}

/*
 * Who begins anew again and again does not queue up any more: it would be handed
 * what others need, while those have what it needs.
 */
static void test_waits_end(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f);
	f.refuse = 12;
	assert_int_equal(do_rename(&f), RPC_STATUS_OK);
	assert_true(f.locks > 12);
	assert_int_equal(f.waits, 4);
	fix_fini(&f);
}

/* A request that is sent again while it begins anew takes its own place. */
static void test_sent_again(void **state)
{
	struct reply first, again;
	struct rpc_rename req;
	struct fix f;

	(void)state;
	fix_init(&f);
	req = (struct rpc_rename){ MUT(&f.w), .dir = f.root,
				   .name = wire_cstr("f"), .dir2 = DIR2,
				   .name2 = wire_cstr("g") };
	f.refuse = 20;
	SEND(&f.w, rename, &req, &first);
	for (unsigned i = 0; i < 100 && f.locks < 8; i++)
		minienv_advance(f.w.m, SECOND / 100);
	assert_int_equal(first.n, 0);
	req.seq |= RPC_SEQ_AGAIN;
	SEND(&f.w, rename, &req, &again);
	for (unsigned i = 0; i < 100 && again.n == 0; i++)
		minienv_advance(f.w.m, SECOND / 10);
	assert_int_equal(first.n, 1);
	assert_int_equal(first.status, RPC_STATUS_UNAVAILABLE);
	assert_int_equal(again.n, 1);
	assert_int_equal(again.status, RPC_STATUS_OK);
	minienv_advance(f.w.m, 5ull * SECOND);
	assert_null(group(&f)->locks->parties);
	assert_false(f.locked);
	reply_fini(&first);
	reply_fini(&again);
	fix_fini(&f);
}

/* Its row was forgotten while an end was under way: there is no more to do. */
static void test_row_went(void **state)
{
	struct rpc_txn_forget req = { .client = 0 };
	struct wire_vec txns;
	struct wire_writer out;
	unsigned calls;
	struct reply r;
	struct fix f;

	(void)state;
	fix_init(&f);
	f.end_status = RPC_STATUS_UNAVAILABLE;
	assert_int_equal(do_rename(&f), RPC_STATUS_OK);
	minienv_advance(f.w.m, SECOND);
	assert_non_null(group(&f)->ends);
	wire_vec_init(&txns);
	out = wire_vec_add(&txns);
	wire_put_u128(&out, &f.txn);
	req.txns = wire_vec_bytes(&txns);
	CALL(&f.w, txn_forget, &req, &r);
	assert_int_equal(r.status, RPC_STATUS_OK);
	reply_fini(&r);
	wire_vec_fini(&txns);
	minienv_advance(f.w.m, 2ull * SECOND);
	assert_null(group(&f)->ends);
	assert_null(group(&f)->locks->parties);
	calls = f.n_calls;
	minienv_advance(f.w.m, 5ull * SECOND);
	assert_int_equal(f.n_calls, calls);
	fix_fini(&f);
}

/* A transaction of the other shard, which is under way for long, holds ino. */
static void hold(struct fix *f, uint64_t ino)
{
	struct rpc_txn_lock req = { .txn = { (uint64_t)OTHER << 48 | 1, 1 } };
	uint8_t mode = RPC_LOCK_ALL;
	struct wire_vec wants;
	struct wire_writer w;
	struct wire_bytes key;
	struct reply r;
	struct ns_key k;

	key = ns_key_id(&k, SHARD, NS_T_INODE, ino);
	wire_vec_init(&wants);
	w = wire_vec_add(&wants);
	wire_put_u8(&w, &mode);
	wire_put_str(&w, &key);
	req.wants = wire_vec_bytes(&wants);
	CALL(&f->w, txn_lock, &req, &r);
	assert_int_equal(r.status, RPC_STATUS_OK);
	reply_fini(&r);
	wire_vec_fini(&wants);
}

/* An open that waited in vain is none. */
static void test_open_expires(void **state)
{
	struct rpc_open open = { .session = 77 };
	struct rpc_object object = { .key = wire_cstr("f"), .session = 77,
				     .flags = RPC_OBJECT_OPEN };
	struct reply r, r2;
	struct fix f;

	(void)state;
	fix_init(&f);
	open.ino = f.file;
	object.root = f.root;
	hold(&f, f.file);
	SEND(&f.w, open, &open, &r);
	SEND(&f.w, object, &object, &r2);
	minienv_advance(f.w.m, 5ull * SECOND);
	assert_int_equal(r.n, 0);
	minienv_advance(f.w.m, 6ull * SECOND);
	assert_int_equal(r.n, 1);
	assert_int_equal(r.status, RPC_STATUS_BUSY);
	assert_int_equal(r2.status, RPC_STATUS_BUSY);
	assert_int_equal(group(&f)->opens.n, 0);
	reply_fini(&r);
	reply_fini(&r2);
	fix_fini(&f);
}

static struct {
	struct env_task task;
	struct env *env;
	struct raft_submit *s;
	uint32_t status; /* of the next submit, if env is set */
	bool encode;     /* the next command has no memory to be an entry */
} failing;

static void on_fail(struct env_task *task)
{
	struct raft_submit *s = failing.s;

	(void)task;
	failing.s = NULL;
	buf_fini(&s->data);
	s->failed(s, failing.status);
}

void __real_raft_submit(struct raft_group *g, struct raft_submit *s);
void __wrap_raft_submit(struct raft_group *g, struct raft_submit *s);

void __wrap_raft_submit(struct raft_group *g, struct raft_submit *s)
{
	if (failing.env == NULL) {
		__real_raft_submit(g, s);
		return;
	}
	failing.s = s;
	failing.task.run = on_fail;
	env_post(failing.env, &failing.task);
	failing.env = NULL;
}

int __real_ns_cmd_encode(struct buf *out, const struct ns_cmd *c);
int __wrap_ns_cmd_encode(struct buf *out, const struct ns_cmd *c);

int __wrap_ns_cmd_encode(struct buf *out, const struct ns_cmd *c)
{
	if (failing.encode) {
		failing.encode = false;
		return -ENOMEM;
	}
	return __real_ns_cmd_encode(out, c);
}

/* A rename has its locks, and its commit does not become an entry. */
static void fail_commit(struct fix *f, uint32_t status)
{
	failing.env = minienv_env(f->w.m);
	failing.status = status;
	assert_int_equal(do_rename(f), status);
	assert_null(failing.env);
}

/*
 * What was never in the log gives back what it had locked; what may be there
 * does not: who holds it will ask.
 */
static void test_commit_fails(void **state)
{
	static const uint32_t never[] = { RPC_STATUS_NOT_LEADER,
					  RPC_STATUS_NOSPC, RPC_STATUS_NOMEM,
					  RPC_STATUS_FBIG };
	struct fix f;

	(void)state;
	for (unsigned i = 0; i < sizeof never / sizeof *never; i++) {
		fix_init(&f);
		fail_commit(&f, never[i]);
		assert_false(f.locked);
		assert_int_equal(do_rename(&f), RPC_STATUS_OK);
		fix_fini(&f);
	}
	fix_init(&f);
	failing.encode = true;
	assert_int_equal(do_rename(&f), RPC_STATUS_NOMEM);
	assert_false(failing.encode);
	minienv_advance(f.w.m, SECOND);
	assert_false(f.locked);
	fix_fini(&f);
	fix_init(&f);
	fail_commit(&f, RPC_STATUS_UNKNOWN_OUTCOME);
	minienv_advance(f.w.m, SECOND);
	assert_true(f.locked);
	fix_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls_fail),
		cmocka_unit_test(test_waits_end),
		cmocka_unit_test(test_sent_again),
		cmocka_unit_test(test_row_went),
		cmocka_unit_test(test_open_expires),
		cmocka_unit_test(test_commit_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
