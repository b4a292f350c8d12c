/*
 * Open inodes of a shard: the table of its leader, what a command may take
 * while somebody holds it, sessions that end, and a new leader's time of grace.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/base/be.h"
#include "common/wire/msgs.h"
#include "common/wire/status.h"
#include "storaged/opens.h"
#include "tests/lib/shardworld.h"

static uint32_t do_unlink(struct world *w, uint64_t dir, const char *name)
{
	struct rpc_unlink req = { MUT(w), .dir = dir,
				  .name = wire_cstr(name) };
	uint32_t status;
	struct reply r;

	CALL(w, unlink, &req, &r);
	status = r.status;
	reply_fini(&r);
	return status;
}

static uint32_t do_open(struct world *w, uint64_t ino, uint64_t session)
{
	struct rpc_open req = { .ino = ino, .session = session,
				.number = ++w->seq };
	uint32_t status;
	struct reply r;

	CALL(w, open, &req, &r);
	status = r.status;
	reply_fini(&r);
	return status;
}

static void close_try(struct world *w, const struct rpc_close *req)
{
	struct reply r;

	CALL(w, close, req, &r);
	assert_int_equal(r.status, RPC_STATUS_OK);
	reply_fini(&r);
}

static void do_close(struct world *w, uint64_t ino, uint64_t session)
{
	struct rpc_close req = { MUT(w), .ino = ino, .session = session };

	req.number = w->seq;
	close_try(w, &req);
}

/* 0 = gone, 1 = has no name, 2 = has a name */
static int look(struct world *w, uint64_t ino)
{
	struct rpc_getattr req = { .ino = ino };
	struct rpc_attr_rsp rsp;
	struct reply r;
	int n = 0;

	CALL(w, getattr, &req, &r);
	if (r.status == RPC_STATUS_OK) {
		assert_int_equal(rpc_attr_rsp_decode(&rsp, r.payload.data,
						     r.payload.len), 0);
		n = (rsp.attr.flags & WIRE_ATTR_UNLINKED) != 0 ? 1 : 2;
	}
	reply_fini(&r);
	return n;
}

static uint64_t opens_now(struct world *w)
{
	struct shard_stats s;

	shard_set_stats(w->set, &s);
	assert_int_equal(s.in_flight, 0);
	return s.opens;
}

/* --- the table --- */

static int made(struct opens *o, struct open_id id)
{
	int rv = opens_begin(o, id);

	return rv != 0 ? rv : opens_made(o, id);
}

static void test_opens(void **state)
{
	struct opens o;

	(void)state;
	opens_init(&o);
	assert_int_equal(opens_count(&o, 1), 0);
	assert_int_equal(opens_del(&o, (struct open_id){ 1, 1, 1, false }),
			 -ENOENT);
	assert_int_equal(opens_made(&o, (struct open_id){ 1, 1, 1, false }),
			 -ENOENT);
	for (uint64_t i = 1; i <= 1000; i++) {
		struct open_id mount = { i, 6, 10, false };
		struct open_id get = { i, 5, 11, true };
		struct open_id get2 = { i, 5, 12, true };

		assert_int_equal(opens_begin(&o, get), 0);
		assert_int_equal(opens_begin(&o, get2), 0);
		assert_int_equal(opens_begin(&o, mount), 0);
		assert_int_equal(opens_count(&o, i), 3);
		assert_int_equal(opens_made(&o, get), 0);
		assert_int_equal(opens_made(&o, get2), 0);
		assert_int_equal(opens_made(&o, mount), 0);
		assert_int_equal(made(&o, get2), 0); /* another try */
		assert_int_equal(opens_begin(&o, mount), 0);
		opens_undo(&o, mount);
		opens_undo(&o, mount); /* of nothing */
		mount.number = 13;
		assert_int_equal(made(&o, mount), 0);
	}
	assert_int_equal(o.n, 3000);
	for (uint64_t i = 1; i <= 1000; i++) {
		struct open_id mount = { i, 6, 12, false };
		struct open_id get = { i, 5, 11, true };

		assert_int_equal(opens_count(&o, i), 3);
		assert_int_equal(opens_del(&o, get), 0);
		assert_int_equal(opens_del(&o, get), -ENOENT); /* its try */
		assert_int_equal(opens_count(&o, i), 2);
		assert_int_equal(opens_del(&o, mount), -ENOENT); /* late */
		mount.number = 14;
		assert_int_equal(opens_del(&o, mount), 0);
		assert_int_equal(opens_del(&o, mount), -ENOENT);
		assert_int_equal(opens_count(&o, i), 1);
	}
	assert_int_equal(o.n, 1000);
	assert_int_equal(opens_end(&o, 5), 1000);
	assert_int_equal(o.n, 0);
	opens_fini(&o);
	assert_int_equal(opens_count(&o, 1), 0);
}

/* What a CLOSE ends although it is still being made. */
static void test_opens_under_way(void **state)
{
	struct open_id first = { 1, 6, 10, false }, close = { 1, 6, 11, false };
	struct open_id next = { 1, 6, 12, false }, get = { 1, 5, 9, true };
	struct opens o;

	(void)state;
	opens_init(&o);
	assert_int_equal(opens_begin(&o, first), 0);
	assert_int_equal(opens_del(&o, close), -ENOENT);
	assert_int_equal(made(&o, next), 0);
	assert_int_equal(opens_made(&o, first), -ENOENT);
	assert_int_equal(opens_count(&o, 1), 1);
	assert_int_equal(opens_begin(&o, get), 0);
	assert_int_equal(opens_del(&o, get), -ENOENT);
	assert_int_equal(opens_made(&o, get), -ENOENT);
	assert_int_equal(opens_count(&o, 1), 1);
	opens_fini(&o);
}

/* --- files that lose their names --- */

static void test_unlink_open(void **state)
{
	struct world w;
	uint64_t root, ino, other;

	(void)state;
	world_init(&w);
	root = world_root(&w, 1);
	ino = world_file(&w, root, "f", 77);
	assert_int_equal(opens_now(&w), 1);
	assert_int_equal(do_open(&w, ino, 78), RPC_STATUS_OK);
	assert_int_equal(do_unlink(&w, root, "f"), RPC_STATUS_OK);
	assert_int_equal(look(&w, ino), 1);
	do_close(&w, ino, 77);
	assert_int_equal(look(&w, ino), 1);
	do_close(&w, ino, 78);
	assert_int_equal(look(&w, ino), 0);
	assert_int_equal(opens_now(&w), 0);
	/* not open: gone at once; a failed open leaves nothing */
	other = world_file(&w, root, "g", 0);
	assert_int_equal(do_unlink(&w, root, "g"), RPC_STATUS_OK);
	assert_int_equal(look(&w, other), 0);
	assert_true(do_open(&w, other, 77) != RPC_STATUS_OK);
	assert_int_equal(opens_now(&w), 0);
	/* open, close, then unlink */
	other = world_file(&w, root, "h", 77);
	do_close(&w, other, 77);
	assert_int_equal(look(&w, other), 2);
	assert_int_equal(do_unlink(&w, root, "h"), RPC_STATUS_OK);
	assert_int_equal(look(&w, other), 0);
	world_fini(&w);
}

/*
 * OPEN while the unlink is in flight: it either fails, or the inode stays.
 * MKNOD with open followed by an unlink in the same turn: the inode stays.
 */
static void test_open_races(void **state)
{
	struct rpc_open open = { .session = 77 };
	struct rpc_unlink unlink;
	struct rpc_mknod mknod;
	struct rpc_mknod_rsp rsp;
	struct reply r1, r2;
	struct world w;
	uint64_t root;

	(void)state;
	world_init(&w);
	root = world_root(&w, 1);
	for (unsigned steps = 0; steps < 20; steps++) {
		open.ino = world_file(&w, root, "f", 0);
		unlink = (struct rpc_unlink){ MUT(&w), .dir = root,
					      .name = wire_cstr("f") };
		SEND(&w, unlink, &unlink, &r1);
		for (unsigned i = 0; i < steps; i++)
			(void)minienv_step(w.m);
		SEND(&w, open, &open, &r2);
		minienv_run(w.m);
		assert_int_equal(r1.status, RPC_STATUS_OK);
		if (r2.status == RPC_STATUS_OK) {
			assert_int_equal(look(&w, open.ino), 1);
			do_close(&w, open.ino, 77);
		}
		assert_int_equal(look(&w, open.ino), 0);
		assert_int_equal(opens_now(&w), 0);
		reply_fini(&r1);
		reply_fini(&r2);
	}
	mknod = (struct rpc_mknod){
		MUT(&w), .dir = root, .name = wire_cstr("m"), .session = 77,
		.mode = S_IFREG | 0600, .flags = RPC_MKNOD_OPEN,
	};
	SEND(&w, mknod, &mknod, &r1);
	unlink = (struct rpc_unlink){ MUT(&w), .dir = root,
				      .name = wire_cstr("m") };
	unlink.slot = 2;
	SEND(&w, unlink, &unlink, &r2);
	minienv_run(w.m);
	assert_int_equal(r1.status, RPC_STATUS_OK);
	assert_int_equal(r2.status, RPC_STATUS_OK);
	assert_int_equal(rpc_mknod_rsp_decode(&rsp, r1.payload.data,
					      r1.payload.len), 0);
	assert_int_equal(look(&w, rsp.attr.ino), 1);
	reply_fini(&r1);
	reply_fini(&r2);
	do_close(&w, rsp.attr.ino, 77);
	assert_int_equal(look(&w, rsp.attr.ino), 0);
	world_fini(&w);
}

static void both_done(struct world *w, struct reply *r1, struct reply *r2)
{
	minienv_run(w->m);
	assert_int_equal(r1->status, RPC_STATUS_OK);
	assert_int_equal(r2->status, RPC_STATUS_OK);
	reply_fini(r1);
	reply_fini(r2);
}

/* Session 77 has an inode open that lost its names. */
static void kept_until_closed(struct world *w, uint64_t ino)
{
	assert_int_equal(look(w, ino), 1);
	do_close(w, ino, 77);
	assert_int_equal(look(w, ino), 0);
}

/* Both names of an open file go in the same turn: neither is the last then. */
static void test_unlink_both_names(void **state)
{
	struct rpc_link link = { .name = wire_cstr("b") };
	struct rpc_unlink unlink = { .name = wire_cstr("a") };
	struct reply r1, r2;
	struct world w;
	uint64_t ino;

	(void)state;
	world_init(&w);
	link.dir = unlink.dir = world_root(&w, 1);
	for (unsigned by_key = 0; by_key < 2; by_key++) {
		struct rpc_delete del = { MUT(&w), .root = link.dir,
					  .key = wire_cstr("b") };

		link.ino = ino = world_file(&w, link.dir, "a", 77);
		link.client = 9;
		link.slot = 1;
		link.seq = ++w.seq;
		CALL(&w, link, &link, &r1);
		assert_int_equal(r1.status, RPC_STATUS_OK);
		reply_fini(&r1);
		unlink.client = 9;
		unlink.slot = 2;
		unlink.seq = ++w.seq;
		unlink.name = wire_cstr("a");
		SEND(&w, unlink, &unlink, &r1);
		unlink.slot = del.slot = 3;
		unlink.seq = del.seq = ++w.seq;
		unlink.name = wire_cstr("b");
		if (by_key)
			SEND(&w, delete, &del, &r2);
		else
			SEND(&w, unlink, &unlink, &r2);
		both_done(&w, &r1, &r2);
		kept_until_closed(&w, ino);
	}
	world_fini(&w);
}

/*
 * A PUT over an open file, and a DELETE of the same key in the same turn: that
 * one was decided while the key led to the open file, so it keeps the new one,
 * too, which nobody has open.
 */
static void test_kept_instead(void **state)
{
	struct rpc_put put;
	struct rpc_put_rsp rsp;
	struct rpc_delete del;
	struct reply r1, r2;
	struct wire_vec v;
	struct world w;
	uint64_t root, ino;

	(void)state;
	world_init(&w);
	root = world_root(&w, 1);
	ino = world_file(&w, root, "f", 77);
	world_put_request(&w, root, "f", "new", 3, &v, &put);
	put.client = 9;
	put.slot = 1;
	SEND(&w, put, &put, &r1);
	del = (struct rpc_delete){ .client = 9, .slot = 2, .seq = ++w.seq,
				   .root = root, .key = wire_cstr("f") };
	SEND(&w, delete, &del, &r2);
	minienv_run(w.m);
	assert_int_equal(rpc_put_rsp_decode(&rsp, r1.payload.data,
					    r1.payload.len), 0);
	assert_int_not_equal(rsp.attr.ino, ino);
	ino = rsp.attr.ino;
	both_done(&w, &r1, &r2);
	assert_int_equal(look(&w, ino), 1);
	minienv_advance(w.m, 20ull * SECOND);
	assert_int_equal(look(&w, ino), 0);
	wire_vec_fini(&v);
	world_fini(&w);
}

/* A rename over an open file, of a name that a link under way makes. */
static void test_rename_of_linked(void **state)
{
	struct rpc_rename rename = { .name = wire_cstr("b"),
				     .name2 = wire_cstr("open") };
	struct rpc_link link = { .client = 9, .slot = 2,
				 .name = wire_cstr("b") };
	struct reply r1, r2;
	struct world w;
	uint64_t ino;

	(void)state;
	world_init(&w);
	link.dir = rename.dir = rename.dir2 = world_root(&w, 1);
	link.ino = world_file(&w, link.dir, "a", 0);
	ino = world_file(&w, link.dir, "open", 77);
	link.seq = ++w.seq;
	SEND(&w, link, &link, &r1);
	rename.client = 9;
	rename.slot = 3;
	rename.seq = ++w.seq;
	SEND(&w, rename, &rename, &r2);
	both_done(&w, &r1, &r2);
	kept_until_closed(&w, ino);
	world_fini(&w);
}

/* A long GET holds its bytes while the object is replaced and deleted. */
static void test_object_open(void **state)
{
	struct rpc_object req = { .len = 10, .flags = RPC_OBJECT_OPEN,
				  .session = 5 };
	struct rpc_close close;
	struct rpc_delete del;
	struct rpc_object_rsp rsp;
	struct world w;
	struct reply r, r2;
	uint64_t root;

	(void)state;
	world_init(&w);
	root = world_root(&w, 1);
	for (unsigned steps = 0; steps < 12; steps++) {
		world_put(&w, root, "o", world_big, 5000);
		req.root = root;
		req.key = wire_cstr("o");
		req.number = steps + 1;
		del = (struct rpc_delete){ MUT(&w), .root = root,
					   .key = wire_cstr("o") };
		SEND(&w, delete, &del, &r2);
		for (unsigned i = 0; i < steps; i++)
			(void)minienv_step(w.m);
		CALL(&w, object, &req, &r);
		assert_int_equal(r2.status, RPC_STATUS_OK);
		if (r.status == RPC_STATUS_OK) {
			assert_int_equal(rpc_object_rsp_decode(
				&rsp, r.payload.data, r.payload.len), 0);
			assert_int_equal(look(&w, rsp.attr.ino), 1);
			close = (struct rpc_close){
				MUT(&w), .ino = rsp.attr.ino, .session = 5,
				.number = req.number, .object = 1,
			};
			close_try(&w, &close);
			assert_int_equal(look(&w, rsp.attr.ino), 0);
		}
		assert_int_equal(opens_now(&w), 0);
		reply_fini(&r);
		reply_fini(&r2);
	}
	world_fini(&w);
}

/*
 * A new leader gives nothing up until clients had time to come back: grace_ns
 * as configured, seconds as they pass.
 */
static void grace(uint64_t grace_ns, uint64_t seconds)
{
	struct world w;
	uint64_t root, held, lost;

	world_init(&w);
	w.grace_ns = grace_ns;
	root = world_root(&w, 1);
	held = world_file(&w, root, "held", 77);
	lost = world_file(&w, root, "lost", 78);
	world_power_cut(&w, 9);
	assert_int_equal(opens_now(&w), 0);
	assert_int_equal(do_unlink(&w, root, "held"), RPC_STATUS_OK);
	assert_int_equal(do_unlink(&w, root, "lost"), RPC_STATUS_OK);
	assert_int_equal(do_open(&w, held, 77), RPC_STATUS_OK);
	do_close(&w, lost, 79); /* of one that is not the last, who knows */
	assert_int_equal(look(&w, held), 1);
	assert_int_equal(look(&w, lost), 1);
	minienv_advance(w.m, (seconds - 2) * SECOND);
	assert_int_equal(look(&w, lost), 1);
	minienv_advance(w.m, 4ull * SECOND);
	assert_int_equal(look(&w, held), 1);
	assert_int_equal(look(&w, lost), 0);
	do_close(&w, held, 77);
	assert_int_equal(look(&w, held), 0);
	world_fini(&w);
}

static void test_grace(void **state)
{
	(void)state;
	grace(0, 60);
}

static void test_grace_is_set(void **state)
{
	(void)state;
	grace(7ull * SECOND, 7);
}

/*
 * What is kept by a decision of the time of grace goes, even when the command
 * is applied behind the sweep that ends it.
 */
static void test_kept_late(void **state)
{
	struct rpc_unlink unlink;
	unsigned late = 0;

	(void)state;
	for (unsigned steps = 0; steps < 12; steps++) {
		struct world w;
		struct reply r;
		uint64_t root, ino;

		world_init(&w);
		w.grace_ns = 7ull * SECOND;
		root = world_root(&w, 1);
		ino = world_file(&w, root, "f", 0);
		world_power_cut(&w, 9);
		unlink = (struct rpc_unlink){ MUT(&w), .dir = root,
					      .name = wire_cstr("f") };
		SEND(&w, unlink, &unlink, &r);
		for (unsigned i = 0; i < steps; i++)
			(void)minienv_step(w.m);
		minienv_skip(w.m, 7ull * SECOND);
		minienv_run(w.m);
		assert_int_equal(r.status, RPC_STATUS_OK);
		reply_fini(&r);
		late += look(&w, ino) == 1;
		minienv_advance(w.m, 20ull * SECOND);
		assert_int_equal(look(&w, ino), 0);
		world_fini(&w);
	}
	assert_true(late > 0);
}

static void end_session(struct world *w, uint64_t session)
{
	struct rpc_session_end req = { MUT(w) };
	uint8_t id[8];
	struct reply r;

	be64enc(id, session);
	req.sessions = wire_bytes(id, sizeof id);
	CALL(w, session_end, &req, &r);
	assert_int_equal(r.status, RPC_STATUS_OK);
	reply_fini(&r);
}

/* What only an expired session held goes; what another holds stays. */
static void test_session_end(void **state)
{
	struct world w;
	uint64_t root, own, both, named;

	(void)state;
	world_init(&w);
	root = world_root(&w, 1);
	own = world_file(&w, root, "own", 77);
	both = world_file(&w, root, "both", 77);
	named = world_file(&w, root, "named", 77);
	assert_int_equal(do_open(&w, both, 78), RPC_STATUS_OK);
	assert_int_equal(do_unlink(&w, root, "own"), RPC_STATUS_OK);
	assert_int_equal(do_unlink(&w, root, "both"), RPC_STATUS_OK);
	end_session(&w, 79);
	assert_int_equal(opens_now(&w), 4);
	end_session(&w, 77);
	minienv_advance(w.m, SECOND);
	assert_int_equal(opens_now(&w), 1);
	assert_int_equal(look(&w, own), 0);
	assert_int_equal(look(&w, both), 1);
	assert_int_equal(look(&w, named), 2);
	/* it may not open anything again, not even at a new leader */
	assert_int_equal(do_open(&w, named, 77), RPC_STATUS_SESSION);
	assert_int_equal(opens_now(&w), 1);
	world_power_cut(&w, 3);
	assert_int_equal(do_open(&w, named, 77), RPC_STATUS_SESSION);
	/* ends while a new leader waits for others: nothing is taken early */
	assert_int_equal(do_open(&w, both, 80), RPC_STATUS_OK);
	assert_int_equal(do_open(&w, named, 80), RPC_STATUS_OK);
	assert_int_equal(do_unlink(&w, root, "named"), RPC_STATUS_OK);
	end_session(&w, 80);
	minienv_advance(w.m, SECOND);
	assert_int_equal(look(&w, both), 1);
	assert_int_equal(do_open(&w, both, 78), RPC_STATUS_OK);
	minienv_advance(w.m, 70ull * SECOND);
	assert_int_equal(look(&w, both), 1);
	assert_int_equal(look(&w, named), 0);
	do_close(&w, both, 78);
	assert_int_equal(look(&w, both), 0);
	world_fini(&w);
}

/* Who comes too late does not open anything by making it. */
static void test_session_creates_late(void **state)
{
	struct rpc_mknod req;
	struct reply r, r2;
	struct world w;

	(void)state;
	world_init(&w);
	req = (struct rpc_mknod){
		MUT(&w), .dir = world_root(&w, 1), .name = wire_cstr("f"),
		.mode = S_IFREG | 0644, .session = 77,
		.flags = RPC_MKNOD_OPEN,
	};
	req.slot = 2; /* the world's own use 1 */
	req.seq = 1;
	CALL(&w, mknod, &req, &r);
	assert_int_equal(r.status, RPC_STATUS_OK);
	assert_int_equal(opens_now(&w), 1);
	end_session(&w, 77);
	assert_int_equal(opens_now(&w), 0);
	/* another try of the same one, then another one */
	CALL(&w, mknod, &req, &r2);
	assert_int_equal(r2.status, RPC_STATUS_OK);
	reply_fini(&r2);
	assert_int_equal(opens_now(&w), 0);
	req.slot = 3;
	req.seq = 1;
	CALL(&w, mknod, &req, &r2);
	assert_int_equal(r2.status, RPC_STATUS_SESSION);
	reply_fini(&r2);
	assert_int_equal(opens_now(&w), 0);
	reply_fini(&r);
	world_fini(&w);
}

/* Two opens of a session: the one that fails takes nothing from the other. */
static void test_open_and_failed_open(void **state)
{
	(void)state;
	for (unsigned steps = 0; steps < 8; steps++) {
		struct rpc_open fails = { .session = 77, .how = RPC_NAME_FILE,
					  .name = wire_cstr("gone") };
		struct rpc_open holds = { .session = 77 };
		struct reply r1, r2;
		struct world w;

		world_init(&w);
		fails.parent = world_root(&w, 1);
		fails.ino = holds.ino =
			world_file(&w, fails.parent, "f", 0);
		SEND(&w, open, &fails, &r1);
		for (unsigned i = 0; i < steps; i++)
			(void)minienv_step(w.m);
		SEND(&w, open, &holds, &r2);
		minienv_run(w.m);
		assert_int_equal(r1.status, RPC_STATUS_STALE);
		assert_int_equal(r2.status, RPC_STATUS_OK);
		reply_fini(&r1);
		reply_fini(&r2);
		assert_int_equal(opens_now(&w), 1);
		do_close(&w, holds.ino, 77);
		assert_int_equal(opens_now(&w), 0);
		world_fini(&w);
	}
}

/* A try of a CLOSE comes when its session has the file open again. */
static void test_late_close(void **state)
{
	struct rpc_close close = { .session = 77 };
	struct world w;
	uint64_t root;

	(void)state;
	world_init(&w);
	root = world_root(&w, 1);
	close.ino = world_file(&w, root, "f", 77);
	close.client = 9;
	close.slot = 1;
	close.number = close.seq = ++w.seq;
	close_try(&w, &close);
	assert_int_equal(do_open(&w, close.ino, 77), RPC_STATUS_OK);
	assert_int_equal(do_unlink(&w, root, "f"), RPC_STATUS_OK);
	close_try(&w, &close);
	assert_int_equal(look(&w, close.ino), 1);
	do_close(&w, close.ino, 77);
	assert_int_equal(look(&w, close.ino), 0);
	world_fini(&w);
}

/* The last CLOSE comes while another one tries to open it, and cannot. */
static void test_close_and_failed_open(void **state)
{
	unsigned late = 0;

	(void)state;
	for (unsigned steps = 0; steps < 8; steps++) {
		struct rpc_open fails = { .session = 78, .how = RPC_NAME_FILE,
					  .name = wire_cstr("f") };
		struct rpc_close close = { .session = 77, .number = 1 };
		struct reply r1, r2;
		struct world w;

		world_init(&w);
		fails.parent = world_root(&w, 1);
		fails.ino = close.ino = world_file(&w, fails.parent, "f", 77);
		assert_int_equal(do_unlink(&w, fails.parent, "f"),
				 RPC_STATUS_OK);
		SEND(&w, open, &fails, &r1);
		for (unsigned i = 0; i < steps; i++)
			(void)minienv_step(w.m);
		close.client = 9;
		close.slot = 1;
		close.seq = ++w.seq;
		SEND(&w, close, &close, &r2);
		minienv_run(w.m);
		assert_int_equal(r1.status, RPC_STATUS_STALE);
		assert_int_equal(r2.status, RPC_STATUS_OK);
		reply_fini(&r1);
		reply_fini(&r2);
		late += look(&w, close.ino) == 1;
		minienv_advance(w.m, 20ull * SECOND);
		assert_int_equal(look(&w, close.ino), 0);
		world_fini(&w);
	}
	assert_true(late > 0);
}

/* --- bytes with the answer --- */

static uint64_t ino_of(struct world *w, uint64_t root, const char *key)
{
	struct rpc_object req = { .root = root, .key = wire_cstr(key) };
	struct rpc_object_rsp rsp;
	struct reply r;

	CALL(w, object, &req, &r);
	assert_int_equal(r.status, RPC_STATUS_OK);
	assert_int_equal(rpc_object_rsp_decode(&rsp, r.payload.data,
					       r.payload.len), 0);
	reply_fini(&r);
	return rsp.attr.ino;
}

/*
 * OPEN brings a small file's bytes when they are wanted, whoever reads them; an
 * open whose bytes a worker read is one like any other. Bytes that rotted keep
 * nobody from opening the file.
 */
static void test_open_with_bytes(void **state)
{
	struct rpc_open open = { .session = 77, .want = 8000 };
	struct crashfs_faults faults = { 0 };
	struct rpc_read_rsp rsp;
	struct world w;
	struct reply r;
	uint64_t root;

	(void)state;
	world_init(&w);
	root = world_root(&w, 1);
	world_put(&w, root, "v", world_big, 8000);
	open.ino = ino_of(&w, root, "v");
	for (unsigned i = 0; i < 4; i++) {
		faults.cold_every = i & 1; /* every read goes to a worker */
		crashfs_set_faults(w.fs, &faults);
		open.want = i < 2 ? 8000 : 7999;
		CALL(&w, open, &open, &r);
		assert_int_equal(r.status, RPC_STATUS_OK);
		assert_int_equal(rpc_read_rsp_decode(&rsp, r.payload.data,
						     r.payload.len), 0);
		assert_int_equal(rsp.covered, i < 2 ? 8000 : 0);
		if (i < 2)
			assert_memory_equal(r.body->data, world_big, 8000);
		else
			assert_null(r.body);
		assert_int_equal(opens_now(&w), 1);
		reply_fini(&r);
		do_close(&w, open.ino, 77);
		assert_int_equal(opens_now(&w), 0);
	}
	open.want = 8000;
	open.version = rsp.attr.data_version; /* has it */
	CALL(&w, open, &open, &r);
	assert_int_equal(r.status, RPC_STATUS_OK);
	assert_null(r.body);
	reply_fini(&r);
	do_close(&w, open.ino, 77);
	open.version = 0;
	faults = (struct crashfs_faults){ .flip_read_every = 1 };
	crashfs_set_faults(w.fs, &faults);
	CALL(&w, open, &open, &r);
	assert_int_equal(r.status, RPC_STATUS_IO);
	reply_fini(&r);
	assert_int_equal(opens_now(&w), 0);
	open.want = 0;
	CALL(&w, open, &open, &r);
	assert_int_equal(r.status, RPC_STATUS_OK);
	reply_fini(&r);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opens),
		cmocka_unit_test(test_opens_under_way),
		cmocka_unit_test(test_late_close),
		cmocka_unit_test(test_unlink_open),
		cmocka_unit_test(test_open_races),
		cmocka_unit_test(test_unlink_both_names),
		cmocka_unit_test(test_kept_instead),
		cmocka_unit_test(test_rename_of_linked),
		cmocka_unit_test(test_object_open),
		cmocka_unit_test(test_grace),
		cmocka_unit_test(test_grace_is_set),
		cmocka_unit_test(test_kept_late),
		cmocka_unit_test(test_session_end),
		cmocka_unit_test(test_session_creates_late),
		cmocka_unit_test(test_open_and_failed_open),
		cmocka_unit_test(test_close_and_failed_open),
		cmocka_unit_test(test_open_with_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
