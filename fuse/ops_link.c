/* Removing, renaming and linking names. */
#include "fuse/ops.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE (1 << 0)
#endif
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1 << 1)
#endif

static struct wire_bytes link_name(const struct fname *n)
{
	return wire_bytes(n->comp, n->len);
}

/* An inode is not found under this name any more. */
static void link_lost_name(struct mount *m, uint64_t ino)
{
	struct finode *f = ino == 0 ? NULL : finode_find(m, ino);

	if (f == NULL)
		return;
	mem_free(f->name);
	f->name = NULL;
	f->name_len = 0;
	f->parent = 0;
	if (!f->known || !S_ISDIR(f->attr.mode))
		return;
	/* Somebody may stand in it: what the server knows no more is here. */
	f->removed = true;
	f->attr.nlink = 0;
}

/* --- unlink, rmdir --- */

static void unlink_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_unlink_rsp rsp;

	if (!FOP_REPLY(op, reply, unlink_rsp, &rsp))
		return;
	ops_names_changed(op, op->f, &rsp.dir);
	link_lost_name(op->m, rsp.ino);
	fop_reply_err(op, 0);
}

static void unlink_start(fuse_req_t req, fuse_ino_t dir, const char *name,
			 bool rmdir)
{
	struct fop *op = fop_new(req, dir);
	struct rpc_unlink q;

	if (op == NULL || fop_set_name(op, name, &op->name) != 0)
		return;
	if (ops_is_buckets(op->f)) {
		fop_reply_err(op, -EPERM);
		return;
	}
	ops_close_send(op->m);
	q = (struct rpc_unlink){ .dir = op->f->ino,
				 .name = link_name(op->name),
				 .how = op->name->how, .rmdir = rmdir };
	FOP_SEND(op, unlink, &q, unlink_on_reply);
}

void ops_unlink(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	unlink_start(req, dir, name, false);
}

void ops_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	unlink_start(req, dir, name, true);
}

/* --- rename --- */

/* What is found under another name from now on, if it is known here. */
static void rename_moved(struct mount *m, uint64_t ino, struct finode *dir,
			 const struct fname *name)
{
	struct finode *f = ino == 0 ? NULL : finode_find(m, ino);

	if (f == NULL)
		return;
	f->fresh_ns = 0; /* the ctime moved */
	if (f->known)
		finode_set_name(f, dir, name->comp, name->len,
				S_ISDIR(f->attr.mode) ? RPC_NAME_DIR
						      : RPC_NAME_FILE);
}

static void rename_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_rename_rsp rsp;
	struct finode *f;

	if (!FOP_REPLY(op, reply, rename_rsp, &rsp))
		return;
	ops_names_changed(op, op->f, &rsp.dir);
	ops_names_changed(op, op->f2, &rsp.dir2);
	if (op->flags & RPC_RENAME_EXCHANGE)
		rename_moved(op->m, rsp.replaced, op->f, op->name);
	else
		link_lost_name(op->m, rsp.replaced);
	f = finode_find(op->m, rsp.attr.ino);
	if (f != NULL)
		finode_update_own(f, &rsp.attr);
	rename_moved(op->m, rsp.attr.ino, op->f2, op->name2);
	fop_reply_err(op, 0);
}

static void rename_send(struct fop *op)
{
	struct rpc_rename q = {
		.dir = op->f->ino, .name = link_name(op->name),
		.how = op->name->how,
		.dir2 = op->f2->ino, .name2 = link_name(op->name2),
		.how2 = op->name2->how,
		.flags = op->flags,
	};

	ops_close_send(op->m);
	FOP_SEND(op, rename, &q, rename_on_reply);
}

/* Both known and not the same: a rename or link would cross buckets. */
static bool link_crosses(const struct finode *a, const struct finode *b)
{
	return a->bucket != 0 && b->bucket != 0 && a->bucket != b->bucket;
}

void ops_rename(fuse_req_t req, fuse_ino_t dir, const char *name,
		fuse_ino_t dir2, const char *name2, unsigned flags)
{
	struct fop *op = fop_new(req, dir);

	if (op == NULL || fop_set_name(op, name, &op->name) != 0 ||
	    fop_set_name(op, name2, &op->name2) != 0)
		return;
	op->f2 = finode_get_node(op->m, dir2);
	if (op->f2 == NULL) {
		fop_reply_err(op, -ENOMEM);
	} else if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) {
		fop_reply_err(op, -EINVAL);
	} else if (ops_is_buckets(op->f) || ops_is_buckets(op->f2)) {
		fop_reply_err(op, -EPERM);
	} else if (link_crosses(op->f, op->f2)) {
		fop_reply_err(op, -EXDEV);
	} else {
		op->flags = (flags & RENAME_NOREPLACE ? RPC_RENAME_NOREPLACE
						      : 0u) |
			    (flags & RENAME_EXCHANGE ? RPC_RENAME_EXCHANGE
						     : 0u);
		ops_check_new_name(op, op->f2, op->name2, -1, rename_send);
	}
}

/* --- link --- */

static void link_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_attr_rsp rsp;

	if (!FOP_REPLY(op, reply, attr_rsp, &rsp))
		return;
	ops_names_changed(op, op->f2, NULL);
	finode_update_own(op->f, &rsp.attr);
	finode_set_name(op->f, op->f2, op->name->comp, op->name->len,
			RPC_NAME_FILE);
	fop_reply_entry(op, op->f);
}

static void link_send(struct fop *op)
{
	struct rpc_link q = { .ino = op->f->ino, .dir = op->f2->ino,
			      .name = link_name(op->name) };

	FOP_SEND(op, link, &q, link_on_reply);
}

void ops_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t dir,
	      const char *name)
{
	struct fop *op = fop_new(req, node);

	if (op == NULL || fop_set_name(op, name, &op->name) != 0)
		return;
	op->f2 = finode_get_node(op->m, dir);
	if (op->f2 == NULL)
		fop_reply_err(op, -ENOMEM);
	else if (link_crosses(op->f, op->f2))
		fop_reply_err(op, -EXDEV);
	else
		ops_check_new_name(op, op->f2, op->name, 0, link_send);
}
