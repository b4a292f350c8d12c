/*
 * Bytes. A write is answered when its bytes are in the inode's buffer; on an
 * O_APPEND handle it is one commit at the end of the file, answered after it.
 */
#include "fuse/ops.h"

#include <errno.h>

#include "fuse/commit.h"
#include "fuse/flush.h"
#include "fuse/handle.h"

void ops_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
	      struct fuse_file_info *fi)
{
	struct fop *op = fop_new(req, node);

	if (op == NULL)
		return;
	op->h = fhandle_of(fi);
	op->size = size;
	op->off = (uint64_t)off;
	reader_read(op);
}

/* --- append --- */

static void append_on_commit(void *arg, const struct commit_result *result)
{
	struct fop *op = arg;

	if (result->err != 0) {
		fop_reply_err(op, result->err);
		return;
	}
	/* The kernel dropped its pages where it thought the end to be. */
	if (result->pos == op->off)
		finode_update_own(op->f, &result->attr);
	else
		finode_update(op->f, &result->attr);
	fop_reply_write(op, op->size);
}

static void append_send(struct fop *op)
{
	struct commit_how how = { .mtime_ns = env_wall_ns(op->m->env),
				  .flags = RPC_WRITE_APPEND,
				  .deadline = op->deadline };
	int rv;

	if (op->kills)
		how.flags |= RPC_WRITE_KILL_SUID;
	rv = commit_start(op->f, &op->snap, &how, append_on_commit, op);

	if (rv != 0)
		fop_reply_err(op, rv);
}

static void append_start(struct fop *op, const char *buf)
{
	int rv = wbuf_write(&op->snap, 0, buf, op->size);

	if (rv != 0)
		fop_reply_err(op, rv);
	else if (!flush_wait(op->f, op, append_send))
		append_send(op);
}

void ops_write(fuse_req_t req, fuse_ino_t node, const char *buf, size_t size,
	       off_t off, struct fuse_file_info *fi)
{
	struct fop *op = fop_new(req, node);
	struct finode *f;
	uint64_t before;
	int rv;

	if (op == NULL)
		return;
	f = op->f;
	op->h = fhandle_of(fi);
	op->size = size;
	op->off = (uint64_t)off;
	if (size == 0) {
		fop_reply_write(op, 0);
		return;
	}
	if (op->h->append) {
		append_start(op, buf);
		return;
	}
	before = f->dirty.bytes;
	rv = wbuf_write(&f->dirty, (uint64_t)off, buf, size);
	if (f->dirty.n > 0)
		flush_note_write(f, f->dirty.bytes - before, op->kills);
	if (rv != 0)
		fop_reply_err(op, rv);
	else if (!flush_throttle(op))
		fop_reply_write(op, size);
}

/* --- flush (close), fsync --- */

static void flush_answer(struct fop *op)
{
	fop_reply_err(op, fop_is_gone(op) ? -EINTR
					  : fhandle_take_error(op->h));
}

static void flush_request(fuse_req_t req, fuse_ino_t node,
			  struct fuse_file_info *fi)
{
	struct fop *op = fop_new(req, node);

	if (op == NULL)
		return;
	op->h = fhandle_of(fi);
	if (!flush_wait(op->f, op, flush_answer))
		flush_answer(op);
}

void ops_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct fhandle *h = fhandle_of(fi);

	/* A reader's close waits for no writer. */
	if ((h->flags & O_ACCMODE) == O_RDONLY)
		fuse_reply_err(req, 0);
	else
		flush_request(req, node, fi);
}

/*
 * With durability memory what was acknowledged may be durable only later; here
 * it is waited for. An error of the flush is told first.
 */
static void fsync_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;

	if (fop_status(op, reply) == 0)
		flush_answer(op);
}

static void fsync_after_flush(struct fop *op)
{
	struct rpc_sync q = { .ino = op->f->ino };

	if (fop_is_gone(op) || !ops_needs_sync(op->f))
		flush_answer(op);
	else
		FOP_SEND(op, sync, &q, fsync_on_reply);
}

void ops_fsync(fuse_req_t req, fuse_ino_t node, int datasync,
	       struct fuse_file_info *fi)
{
	struct fop *op = fop_new(req, node);

	(void)datasync;
	if (op == NULL)
		return;
	op->h = fhandle_of(fi);
	if (!flush_wait(op->f, op, fsync_after_flush))
		fsync_after_flush(op);
}
