/*
 * Extended attributes. The kernel asks for security.capability before every
 * write; that there is none is remembered until the next open.
 */
#include "fuse/ops.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "common/base/mem.h"

#define XATTR_CAPS "security.capability"

static bool xattr_is_caps(const char *name)
{
	return strcmp(name, XATTR_CAPS) == 0;
}

/* The name spaces of Linux but system: ACLs, which are not kept. */
static bool xattr_is_refused(const char *name)
{
	return strncmp(name, "user.", 5) != 0 &&
	       strncmp(name, "trusted.", 8) != 0 &&
	       strncmp(name, "security.", 9) != 0;
}

/* A fop with the attribute's name, or NULL: answered. */
static struct fop *xattr_new(fuse_req_t req, fuse_ino_t node,
			     const char *name)
{
	struct fop *op = fop_new(req, node);

	if (op == NULL)
		return NULL;
	if (ops_is_buckets(op->f) || xattr_is_refused(name)) {
		fop_reply_err(op, -EOPNOTSUPP);
		return NULL;
	}
	op->text = mem_strdup(name);
	if (op->text == NULL) {
		fop_reply_err(op, -ENOMEM);
		return NULL;
	}
	return op;
}

static void xattr_on_done(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;

	op->f->fresh_ns = 0; /* the ctime moved */
	if (fop_status(op, reply) == 0)
		fop_reply_err(op, 0);
}

void ops_setxattr(fuse_req_t req, fuse_ino_t node, const char *name,
		  const char *value, size_t size, int flags)
{
	struct fop *op = xattr_new(req, node, name);
	struct rpc_setxattr q;

	if (op == NULL)
		return;
	q = (struct rpc_setxattr){ .ino = op->f->ino,
				   .name = wire_cstr(op->text),
				   .value = wire_bytes(value, size) };
	if (flags & XATTR_CREATE)
		q.flags |= RPC_XATTR_CREATE;
	if (flags & XATTR_REPLACE)
		q.flags |= RPC_XATTR_REPLACE;
	if (xattr_is_caps(name))
		op->f->no_caps = false;
	FOP_SEND(op, setxattr, &q, xattr_on_done);
}

void ops_removexattr(fuse_req_t req, fuse_ino_t node, const char *name)
{
	struct fop *op = xattr_new(req, node, name);
	struct rpc_removexattr q;

	if (op == NULL)
		return;
	q = (struct rpc_removexattr){ .ino = op->f->ino,
				      .name = wire_cstr(op->text) };
	FOP_SEND(op, removexattr, &q, xattr_on_done);
}

/* size 0 asks how long the value is. */
static void xattr_answer(struct fop *op, struct wire_bytes value)
{
	if (op->size == 0) {
		if (!fop_is_gone(op))
			fuse_reply_xattr(op->req, value.len);
		fop_end(op);
	} else if (value.len > op->size) {
		fop_reply_err(op, -ERANGE);
	} else {
		fop_reply_buf(op, value.p, value.len);
	}
}

static void getxattr_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_getxattr_rsp rsp;

	if (reply->status == RPC_STATUS_NODATA && xattr_is_caps(op->text))
		op->f->no_caps = true;
	if (FOP_REPLY(op, reply, getxattr_rsp, &rsp))
		xattr_answer(op, rsp.value);
}

void ops_getxattr(fuse_req_t req, fuse_ino_t node, const char *name,
		  size_t size)
{
	struct fop *op = xattr_new(req, node, name);
	struct rpc_getxattr q;

	if (op == NULL)
		return;
	if (op->f->no_caps && xattr_is_caps(name)) {
		fop_reply_err(op, -ENODATA);
		return;
	}
	op->readonly = true;
	op->size = size;
	q = (struct rpc_getxattr){ .ino = op->f->ino,
				   .name = wire_cstr(op->text) };
	FOP_SEND(op, getxattr, &q, getxattr_on_reply);
}

static void listxattr_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_listxattr_rsp rsp;

	if (FOP_REPLY(op, reply, listxattr_rsp, &rsp))
		xattr_answer(op, rsp.names);
}

void ops_listxattr(fuse_req_t req, fuse_ino_t node, size_t size)
{
	struct fop *op = fop_new(req, node);
	struct rpc_listxattr q;

	if (op == NULL)
		return;
	op->readonly = true;
	op->size = size;
	if (ops_is_buckets(op->f)) {
		xattr_answer(op, wire_bytes(NULL, 0));
		return;
	}
	q.ino = op->f->ino;
	FOP_SEND(op, listxattr, &q, listxattr_on_reply);
}
