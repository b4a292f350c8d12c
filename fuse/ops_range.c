/*
 * Ranges of files: preallocation, holes, looking for data, copying. All of it
 * is done with extents at the shard, behind the unsent bytes of the inode.
 *
 * Happy path of a copy: both files clean -> READ of the source: extents, and
 * the bytes of inline ones -> one WRITE of the same extents, shifted, holes as
 * zeros. The slices are then named by both files. What one pair of messages
 * covers is answered; the caller goes on from there.
 * Failure modes: slices of another shard: EXDEV, on which the kernel copies
 * the bytes; a slice that died in between: the same.
 */
#include "fuse/ops.h"

#include <errno.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "fuse/flush.h"
#include "fuse/handle.h"

#define RANGE_STEP ((uint64_t)64 << 30) /* of one WRITE: NS_REQ_REGIONS */
#define RANGE_COPY ((uint64_t)1 << 30)  /* asked for at once */

static uint64_t range_end(const struct fop *op)
{
	return op->off + op->size;
}

/* --- fallocate --- */

static void fallocate_step(struct fop *op);

static void fallocate_on_size(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_attr_rsp rsp;

	if (!FOP_REPLY(op, reply, attr_rsp, &rsp))
		return;
	finode_update_own(op->f, &rsp.attr);
	fop_reply_err(op, 0);
}

static void fallocate_grow(struct fop *op)
{
	struct rpc_setattr q = { .ino = op->f->ino, .valid = RPC_SET_SIZE,
				 .size = range_end(op) };

	if (op->kills)
		q.valid |= RPC_SET_KILL_SUID;
	FOP_SEND(op, setattr, &q, fallocate_on_size);
}

static void fallocate_on_zeros(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_write_rsp rsp;

	if (!FOP_REPLY(op, reply, write_rsp, &rsp))
		return;
	finode_update_own(op->f, &rsp.attr);
	fallocate_step(op);
}

/* Zeros up to the end of the range or of the file, a piece at a time. */
static void fallocate_zeros(struct fop *op, uint64_t len)
{
	struct wire_extent e = { .pos = op->number, .kind = WIRE_EXT_ZERO };
	struct rpc_write q = { .ino = op->f->ino,
			       .session = client_session(op->m->client),
			       .mtime = env_wall_ns(op->m->env) };
	struct wire_vec v;

	e.len = len < RANGE_STEP ? len : RANGE_STEP;
	op->number += e.len;
	if (op->kills)
		q.flags = RPC_WRITE_KILL_SUID;
	wire_vec_init(&v);
	wire_vec_add_extent(&v, &e);
	q.extents = wire_vec_bytes(&v);
	if (v.buf.err != 0)
		fop_reply_err(op, -ENOMEM);
	else
		FOP_SEND(op, write, &q, fallocate_on_zeros);
	wire_vec_fini(&v);
}

/* op->number: zeros are made up to here. */
static void fallocate_step(struct fop *op)
{
	uint64_t size = op->f->attr.size, end = range_end(op);
	uint64_t stop = end < size ? end : size;

	if (op->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) &&
	    op->number < stop)
		fallocate_zeros(op, stop - op->number);
	else if (!(op->mode & FALLOC_FL_KEEP_SIZE) && end > size)
		fallocate_grow(op);
	else
		fop_reply_err(op, 0);
}

static void fallocate_on_attr(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_attr_rsp rsp;

	if (!FOP_REPLY(op, reply, attr_rsp, &rsp))
		return;
	finode_update(op->f, &rsp.attr);
	fallocate_step(op);
}

/* Another mount may have changed the size: it is what decides. */
static void fallocate_start(struct fop *op)
{
	struct rpc_getattr q = { .ino = op->f->ino };

	FOP_SEND(op, getattr, &q, fallocate_on_attr);
}

/*
 * Space is not set aside: that bytes can be written later is as likely as for
 * any other write (leo-mount(8)).
 */
void ops_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t off,
		   off_t len, struct fuse_file_info *fi)
{
	const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE |
			  FALLOC_FL_ZERO_RANGE;
	struct fop *op = fop_new(req, node);

	(void)fi;
	if (op == NULL)
		return;
	if (mode & ~known) {
		fop_reply_err(op, -EOPNOTSUPP);
		return;
	}
	op->mode = (mode_t)mode;
	op->off = op->number = (uint64_t)off;
	op->size = (size_t)len;
	if (!flush_wait(op->f, op, fallocate_start))
		fallocate_start(op);
}

/* --- lseek: SEEK_DATA, SEEK_HOLE --- */

static void lseek_send(struct fop *op);

static void lseek_answer(struct fop *op, uint64_t off)
{
	if (!fop_is_gone(op))
		fuse_reply_lseek(op->req, (off_t)off);
	fop_end(op);
}

/*
 * Goes through the extents from op->off on. True: *ret_off is what is looked
 * for; false: not within what the answer covers.
 */
static bool lseek_find(const struct fop *op, const struct rpc_read_rsp *rsp,
		       uint64_t *ret_off)
{
	bool data = op->mode == SEEK_DATA;
	uint64_t at = op->off;
	struct wire_reader r;
	uint32_t n;

	for (r = wire_vec_reader(rsp->extents, &n); n > 0; n--) {
		struct wire_extent e;

		wire_get_extent(&r, &e);
		if (r.err != 0)
			break;
		if (e.pos + e.len <= at || e.kind == WIRE_EXT_ZERO)
			continue;
		if (data) {
			*ret_off = e.pos > at ? e.pos : at;
			return true;
		}
		if (e.pos > at)
			break;
		at = e.pos + e.len;
	}
	*ret_off = at;
	return !data && at < op->off + rsp->covered;
}

static void lseek_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_read_rsp rsp;
	uint64_t off;

	if (!FOP_REPLY(op, reply, read_rsp, &rsp))
		return;
	finode_update(op->f, &rsp.attr);
	if (op->off >= rsp.attr.size) {
		/* the end of every file is a hole */
		if (op->mode == SEEK_HOLE && op->number > 0)
			lseek_answer(op, rsp.attr.size);
		else
			fop_reply_err(op, -ENXIO);
		return;
	}
	if (lseek_find(op, &rsp, &off)) {
		lseek_answer(op, off);
	} else if (rsp.covered == 0) {
		fop_reply_err(op, -EIO);
	} else {
		op->off += rsp.covered;
		op->number++;
		lseek_send(op);
	}
}

static void lseek_send(struct fop *op)
{
	struct rpc_read q = { .ino = op->f->ino, .off = op->off,
			      .len = INT64_MAX - op->off,
			      .flags = RPC_READ_MAP };

	FOP_SEND(op, read, &q, lseek_on_reply);
}

void ops_lseek(fuse_req_t req, fuse_ino_t node, off_t off, int whence,
	       struct fuse_file_info *fi)
{
	struct fop *op = fop_new(req, node);

	(void)fi;
	if (op == NULL)
		return;
	op->readonly = true;
	op->mode = (mode_t)whence;
	op->off = (uint64_t)off;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		fop_reply_err(op, -EINVAL);
	else if (off < 0)
		fop_reply_err(op, -ENXIO);
	else if (!flush_wait(op->f, op, lseek_send))
		lseek_send(op);
}

/* --- copy_file_range --- */

static void copy_on_write(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_write_rsp rsp;

	if (reply->status == RPC_STATUS_NOTSUP ||
	    reply->status == RPC_STATUS_SLICE_GONE) {
		op->call = NULL;
		fop_reply_err(op, -EXDEV);
		return;
	}
	if (!FOP_REPLY(op, reply, write_rsp, &rsp))
		return;
	finode_update_own(op->f2, &rsp.attr);
	fop_reply_write(op, op->size);
}

static void copy_zeros(struct wire_vec *v, uint64_t from, uint64_t to)
{
	const struct wire_extent e = { .kind = WIRE_EXT_ZERO, .pos = from,
				       .len = to - from };

	if (to > from)
		wire_vec_add_extent(v, &e);
}

/* The source's extents in [from, to), moved to where they shall be. */
static int copy_extents(const struct fop *op, const struct rpc_read_rsp *rsp,
			struct wire_vec *v)
{
	uint64_t from = op->off, to = range_end(op), at = from;
	uint64_t shift = op->number - from; /* may wrap around */
	struct wire_reader r;
	uint32_t n;

	for (r = wire_vec_reader(rsp->extents, &n); n > 0; n--) {
		struct wire_extent e;
		uint64_t end, cut;

		wire_get_extent(&r, &e);
		if (r.err != 0)
			return -EIO;
		end = e.pos + e.len < to ? e.pos + e.len : to;
		cut = e.pos < at ? at - e.pos : 0;
		if (e.pos + cut >= end)
			continue;
		e.pos += cut;
		e.slice_off += cut;
		e.len = end - e.pos;
		copy_zeros(v, at + shift, e.pos + shift);
		e.pos += shift;
		wire_vec_add_extent(v, &e);
		at = end;
	}
	copy_zeros(v, at + shift, to + shift);
	return v->buf.err;
}

static void copy_write(struct fop *op, const struct rpc_read_rsp *rsp,
		       const struct body *body)
{
	struct rpc_write q = { .ino = op->f2->ino,
			       .session = client_session(op->m->client),
			       .mtime = env_wall_ns(op->m->env) };
	struct wire_vec v;
	int rv;

	if (op->kills)
		q.flags = RPC_WRITE_KILL_SUID;
	if (body != NULL)
		q.data = wire_bytes(body->data, body->len);
	wire_vec_init(&v);
	rv = copy_extents(op, rsp, &v);
	q.extents = wire_vec_bytes(&v);
	if (rv != 0)
		fop_reply_err(op, rv);
	else
		FOP_SEND(op, write, &q, copy_on_write);
	wire_vec_fini(&v);
}

static void copy_on_read(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_read_rsp rsp;
	uint64_t left;

	if (!FOP_REPLY(op, reply, read_rsp, &rsp))
		return;
	finode_update(op->f, &rsp.attr);
	left = op->off < rsp.attr.size ? rsp.attr.size - op->off : 0;
	if (left > rsp.covered)
		left = rsp.covered;
	if (left < op->size)
		op->size = (size_t)left;
	if (op->size == 0)
		fop_reply_write(op, 0);
	else
		copy_write(op, &rsp, reply->body);
}

static void copy_read(struct fop *op)
{
	struct rpc_read q = { .ino = op->f->ino, .off = op->off,
			      .len = op->size };

	FOP_SEND(op, read, &q, copy_on_read);
}

static void copy_clean_source(struct fop *op)
{
	if (!flush_wait(op->f, op, copy_read))
		copy_read(op);
}

void ops_copy_file_range(fuse_req_t req, fuse_ino_t node, off_t off,
			 struct fuse_file_info *fi, fuse_ino_t node2,
			 off_t off2, struct fuse_file_info *fi2, size_t len,
			 int flags)
{
	struct fop *op = fop_new(req, node);

	(void)fi;
	(void)fi2;
	if (op == NULL)
		return;
	op->f2 = finode_get_node(op->m, node2);
	op->off = (uint64_t)off;
	op->number = (uint64_t)off2;
	op->size = len < RANGE_COPY ? len : RANGE_COPY;
	if (op->f2 == NULL)
		fop_reply_err(op, -ENOMEM);
	else if (flags != 0)
		fop_reply_err(op, -EINVAL);
	else if (ino_shard(op->f->ino) != ino_shard(op->f2->ino) ||
		 fhandle_of(fi2)->append)
		fop_reply_err(op, -EXDEV);
	else if (!flush_wait(op->f2, op, copy_clean_source))
		copy_clean_source(op);
}
