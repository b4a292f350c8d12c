/*
 * Opens of files. The shard's leader keeps, as soft state, which inodes this
 * mount has open: OPEN (or CREATE) of the first handle registers, CLOSE after
 * the last one takes it back, and in between it is told again every 20
 * seconds, and at once when this mount has got another session, so that a new
 * leader knows it before it would drop an unlinked inode. CLOSEs are collected
 * for some milliseconds: nobody waits for them, and many together cost little
 * more than one.
 *
 * Happy path: OPEN -> (O_TRUNC: SETATTR) -> handle. To who only reads, a small
 * file's bytes come with the answer, unless the kernel has them.
 * CREATE opens, too, but not behind every CLOSE of the same inode: until it is
 * answered nobody here knows which that is. When one was sent in between (the
 * file was there, or others opened it while its maker waited for the answer
 * to another try) the leader is told before the handle is given out.
 * Failure modes: no memory (the open is taken back); EIO (bytes that cannot be
 * read): the open itself is asked for again; ESTALE: the name leads
 * elsewhere by now. The kernel then looks the path up again and opens what it
 * finds, so a PUT over an open file is seen by the next open; where names
 * change so fast that this was in vain, too, see stale.h. But who opens
 * /proc/self/fd/N has no path: the same thread comes back with the same inode
 * and without a LOOKUP in between. Then the name is not checked, if only the
 * inode is open here anyway.
 */
#include "fuse/ops.h"

#include <errno.h>

#include "fuse/flush.h"
#include "fuse/handle.h"
#include "fuse/inval.h"
#include "fuse/stale.h"

#define OPEN_ASSERT_NS UINT64_C(20000000000)
#define OPEN_ASSERT_MAX 1000 /* per tick of 1 s */
#define OPEN_TICK_NS UINT64_C(1000000000)
#define OPEN_IDLE_NS UINT64_C(20000000)
#define OPEN_IDLE_MAX 64u

static void open_call(struct fop *op);

/* --- close --- */

static void close_ended(struct finode *f)
{
	struct fop_queue q = f->open_queue;
	struct fop *op;

	f->closing = f->held = false;
	f->m->calls--;
	if (q.first != NULL) {
		fop_queue_init(&f->open_queue);
		while ((op = fop_queue_take(&q)) != NULL)
			op->then(op);
	}
	finode_unref(f);
}

static void close_on_reply(void *arg, const struct rpc_reply *reply)
{
	(void)reply; /* not taken back: ends with the session */
	close_ended(arg);
}

/* Takes f out of the list; the list's reference is the caller's then. */
static void idle_take(struct finode *f)
{
	TAILQ_REMOVE(&f->m->idle, f, idle_link);
	f->m->n_idle--;
	f->idle = false;
}

void ops_close_send(struct mount *m)
{
	struct finode *f;

	while ((f = TAILQ_FIRST(&m->idle)) != NULL) {
		struct rpc_close q = { .ino = f->ino,
				       .session = client_session(m->client),
				       .number = client_open_number(m->client) };

		idle_take(f);
		f->closing = true;
		f->closed_ns = env_now_ns(m->env);
		m->calls++;
		if (CLIENT_SEND_HOW(m->client, close, ino_shard(f->ino),
				    (&(const struct client_how){
					    .loose = finode_is_loose(f) }),
				    &q, close_on_reply, f) == NULL)
			close_ended(f);
	}
}

static void idle_on_timer(struct env_timer *timer)
{
	struct mount *m = CONTAINER_OF(timer, struct mount, idle_timer);

	m->idle_timer_on = false;
	ops_close_send(m);
}

void ops_close(struct finode *f)
{
	struct mount *m = f->m;

	f->opens--;
	if (f->opens > 0 || !f->held || f->closing)
		return;
	finode_ref(f);
	f->idle = true;
	TAILQ_INSERT_TAIL(&m->idle, f, idle_link);
	if (++m->n_idle >= OPEN_IDLE_MAX) {
		ops_close_send(m);
	} else if (!m->idle_timer_on) {
		m->idle_timer_on = true;
		env_timer_set(m->env, &m->idle_timer, OPEN_IDLE_NS);
	}
}

/* --- open --- */

bool ops_reply_open(struct fop *op, struct finode *f, int open_flags,
		    bool created, struct fuse_file_info *ret_fi)
{
	struct fhandle *h = fhandle_new(f, open_flags);
	uint64_t version = f->attr.data_version;

	if (h == NULL) {
		ops_close(f);
		fop_reply_err(op, -ENOMEM);
		return false;
	}
	h->append = (open_flags & O_APPEND) &&
		    (open_flags & O_ACCMODE) != O_RDONLY;
	ret_fi->fh = (uint64_t)(uintptr_t)h;
	ret_fi->direct_io = h->append;
	/* nothing of a reader waits to be sent */
	ret_fi->noflush = (open_flags & O_ACCMODE) == O_RDONLY;
	ret_fi->keep_cache = created ||
			     (f->kept && f->kept_version == version);
	f->kept = true;
	f->kept_version = version;
	if (created)
		f->no_caps = true;
	return true;
}

static void open_answer(struct fop *op)
{
	struct fuse_file_info fi = { .flags = op->open_flags };
	struct finode *f = op->f;

	if (!ops_reply_open(op, f, op->open_flags, false, &fi))
		return;
	reader_take(fhandle_of(&fi), op->stream);
	op->stream = NULL;
	if (f->told != f->attr.change) {
		/* The next open sees the new size, whatever the timeout. */
		inval_attr(op->m, finode_node(f));
		f->no_caps = false;
	}
	if (fop_is_gone(op) || fuse_reply_open(op->req, &fi) != 0) {
		fhandle_free(fhandle_of(&fi));
		ops_close(f);
	}
	fop_end(op);
}

static void open_made(struct fop *op)
{
	if (op->open_flags & O_TRUNC)
		ops_truncate_open(op, open_answer);
	else
		open_answer(op);
}

static void open_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct finode *f = op->f;
	struct rpc_read_rsp rsp;

	op->call = NULL;
	if (reply->status == RPC_STATUS_IO && op->size > 0) {
		op->size = 0;
		open_call(op);
		return;
	}
	if (op->ahead) { /* one of the two opens */
		op->ahead = false;
		ops_close(f);
		if (reply->status == RPC_STATUS_STALE) {
			open_made(op);
			return;
		}
	}
	if (reply->status != RPC_STATUS_OK) {
		if (reply->status == RPC_STATUS_STALE && !op->held)
			stale_note_open(op);
		ops_close(f);
		(void)fop_status(op, reply);
		return;
	}
	f->held = true;
	f->asserted_ns = env_now_ns(op->m->env);
	if (rpc_read_rsp_decode(&rsp, reply->payload, reply->len) != 0) {
		ops_close(f);
		(void)fop_decoded(op, -EBADMSG);
		return;
	}
	finode_update(f, &rsp.attr);
	if (op->size > 0)
		op->stream = rstream_of_open(op->m, &rsp, reply->body);
	open_made(op);
}

/* One open more, which the leader knows of if its CLOSE was not sent yet. */
static void open_begins(struct finode *f)
{
	f->opens++;
	if (!f->idle)
		return;
	idle_take(f);
	finode_unref(f);
}

static void open_fill(const struct finode *f, bool held, struct rpc_open *q)
{
	*q = (struct rpc_open){
		.ino = f->ino, .session = client_session(f->m->client),
		.number = client_open_number(f->m->client),
		.parent = f->parent, .name = wire_bytes(f->name, f->name_len),
		.how = f->how, .change = f->attr.change, .held = held,
	};
}

/* The shard of the name looks at it first. */
static uint16_t open_shard(const struct rpc_open *q)
{
	return ino_shard(q->parent != 0 && !q->held ? q->parent : q->ino);
}

/* op->size: so many bytes may come with the answer. */
static void open_call(struct fop *op)
{
	struct finode *f = op->f;
	struct rpc_open q;

	open_fill(f, op->held, &q);
	q.want = (uint32_t)op->size;
	q.version = f->kept ? f->kept_version : 0;
	op->call = FOP_CALL(op, open, open_shard(&q), &q, open_on_reply);
	if (op->call == NULL) {
		if (op->ahead)
			ops_close(f);
		ops_close(f);
		fop_reply_err(op, -ENOMEM);
	} else {
		device_sent(op->m, &op->m->reads);
	}
}

static void open_send(struct fop *op)
{
	struct finode *f = op->f;

	if (f->closing) {
		op->then = open_send;
		fop_queue_add(&f->open_queue, op);
		return;
	}
	op->ahead = stale_take_ahead(op);
	/* a CLOSE that is only not sent yet does not count */
	op->held = stale_take(op) && f->held && f->opens > 0;
	open_begins(f);
	open_call(op);
}

void ops_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct fop *op = fop_new(req, node);

	if (op == NULL)
		return;
	op->open_flags = fi->flags;
	if ((fi->flags & (O_ACCMODE | O_TRUNC | O_DIRECT)) == O_RDONLY &&
	    op->m->ahead_bytes < op->m->ahead_max / 2)
		op->size = READER_OPEN_MAX;
	open_send(op);
}

/* --- opened by LOOKUP --- */

static void ahead_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct finode *f = op->f2;
	struct rpc_read_rsp rsp;

	op->call = NULL;
	if (reply->status == RPC_STATUS_STALE && stale_walk_opens(op)) {
		ops_close(f);
		finode_unref(f);
		op->f2 = NULL;
		op->readonly = true;
		op->after(op);
		return;
	}
	if (reply->status == RPC_STATUS_OK &&
	    rpc_read_rsp_decode(&rsp, reply->payload, reply->len) == 0) {
		f->held = true;
		f->asserted_ns = env_now_ns(op->m->env);
		finode_update(f, &rsp.attr);
		stale_ahead(op, f);
	} else {
		ops_close(f); /* OPEN tells why */
	}
	fop_reply_entry(op, f);
}

static void ahead_send(struct fop *op)
{
	struct finode *f = op->f2;
	struct rpc_open q;

	if (f->closing) {
		op->then = ahead_send;
		fop_queue_add(&f->open_queue, op);
		return;
	}
	op->readonly = false; /* it counts: its end must be heard of */
	open_begins(f);
	open_fill(f, false, &q);
	op->call = FOP_CALL(op, open, open_shard(&q), &q, ahead_on_reply);
	if (op->call == NULL) {
		ops_close(f);
		fop_reply_err(op, -ENOMEM);
	}
}

void ops_open_ahead(struct fop *op, fop_then_fn again)
{
	op->after = again;
	ahead_send(op);
}

/* --- opened by CREATE --- */

static void made_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct finode *f = op->f2;
	struct rpc_read_rsp rsp;

	if (reply->status != RPC_STATUS_OK) { /* STALE: it went meanwhile */
		ops_close(f);
		(void)fop_status(op, reply);
		return;
	}
	f->held = true;
	f->asserted_ns = env_now_ns(op->m->env);
	if (rpc_read_rsp_decode(&rsp, reply->payload, reply->len) != 0) {
		ops_close(f);
		(void)fop_decoded(op, -EBADMSG);
		return;
	}
	finode_update(f, &rsp.attr);
	op->call = NULL;
	op->after(op);
}

static void made_send(struct fop *op)
{
	struct finode *f = op->f2;
	struct rpc_open q;

	if (f->closing) {
		op->then = made_send;
		fop_queue_add(&f->open_queue, op);
		return;
	}
	open_fill(f, true, &q);
	op->call = FOP_CALL(op, open, ino_shard(q.ino), &q, made_on_reply);
	if (op->call == NULL) {
		ops_close(f);
		fop_reply_err(op, -ENOMEM);
	}
}

void ops_opened(struct fop *op, bool again, fop_then_fn then)
{
	struct finode *f = op->f2;

	open_begins(f);
	if (again || f->closing ||
	    (f->closed_ns != 0 && f->closed_ns >= op->begun_ns)) {
		op->after = then;
		made_send(op);
		return;
	}
	f->held = true;
	f->asserted_ns = env_now_ns(op->m->env);
	then(op);
}

/* --- release --- */

static void release_flushed(struct fop *op)
{
	struct finode *f = op->f;

	fhandle_free(op->h);
	ops_close(f);
	fop_reply_err(op, 0);
}

void ops_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct fop *op = fop_new(req, node);

	if (op == NULL)
		return;
	op->h = fhandle_of(fi);
	if (!flush_wait(op->f, op, release_flushed))
		release_flushed(op);
}

/* --- telling again --- */

static void assert_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct finode *f = arg;
	struct rpc_read_rsp rsp;

	/* failed: told again at the next turn */
	if (reply->status == RPC_STATUS_OK &&
	    rpc_read_rsp_decode(&rsp, reply->payload, reply->len) == 0)
		finode_update(f, &rsp.attr);
	f->m->calls--;
	finode_unref(f);
}

static void assert_one(struct finode *f)
{
	struct rpc_open q;

	f->asserted_ns = env_now_ns(f->m->env);
	open_fill(f, true, &q);
	if (CLIENT_SEND(f->m->client, open, ino_shard(f->ino), &q,
			assert_on_reply, f) == NULL)
		return;
	f->m->calls++;
	finode_ref(f);
}

/* Opens of the session before are nobody's: all are due. */
static void assert_all(struct mount *m, uint64_t now)
{
	const struct fhandle *h;

	LIST_FOREACH(h, &m->handles, link)
		h->f->asserted_ns = now - OPEN_ASSERT_NS;
}

static void assert_on_timer(struct env_timer *timer)
{
	struct mount *m = CONTAINER_OF(timer, struct mount, assert_timer);
	uint64_t now = env_now_ns(m->env);
	const struct fhandle *h;
	unsigned told = 0;

	if (m->asserted_session != client_session(m->client)) {
		m->asserted_session = client_session(m->client);
		assert_all(m, now);
	}
	stale_expire(m, now - OPEN_TICK_NS);
	LIST_FOREACH(h, &m->handles, link) {
		struct finode *f = h->f;

		if (!f->held || f->closing || f->opens == 0 ||
		    now - f->asserted_ns < OPEN_ASSERT_NS)
			continue;
		assert_one(f);
		if (++told == OPEN_ASSERT_MAX)
			break;
	}
	env_timer_set(m->env, &m->assert_timer, OPEN_TICK_NS);
}

void ops_open_start(struct mount *m)
{
	m->idle_timer.cb = idle_on_timer;
	m->assert_timer.cb = assert_on_timer;
	env_timer_set(m->env, &m->assert_timer, OPEN_TICK_NS);
}

void ops_open_stop(struct mount *m)
{
	env_timer_cancel(m->env, &m->assert_timer);
	env_timer_cancel(m->env, &m->idle_timer);
}
