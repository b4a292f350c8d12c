/*
 * Attributes. What changes them goes to the shard behind the unsent bytes of
 * the inode, so that a later commit cannot undo it.
 */
#include "fuse/ops.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "common/base/mem.h"
#include "fuse/flush.h"
#include "fuse/handle.h"

/* Up to this much is sent when somebody asks for the attributes: the times
 * told are then those that stay. A longer stream is told as it is here. */
#define ATTR_FLUSH_MAX (1u << 20)

void ops_buckets_attr(const struct mount *m, struct wire_attr *ret_attr)
{
	const struct cluster *cluster = client_cluster(m->client);

	*ret_attr = (struct wire_attr){
		.ino = MOUNT_ROOT_INO, .mode = S_IFDIR | 0755, .nlink = 2,
		.size = 4096, .generation = 1,
	};
	if (cluster == NULL)
		return;
	ret_attr->nlink += cluster->n_buckets;
	ret_attr->change = cluster->top.version;
	for (unsigned i = 0; i < cluster->n_buckets; i++)
		if (cluster->buckets[i].created > ret_attr->mtime)
			ret_attr->mtime = cluster->buckets[i].created;
	ret_attr->atime = ret_attr->ctime = ret_attr->mtime;
}

static bool attr_is_unsent(const struct fop *op)
{
	return op->f->dirty.bytes + op->f->flushing.bytes > ATTR_FLUSH_MAX;
}

/*
 * The kernel forgets a directory's attributes with every name that changes in
 * it and asks again, but they came with the answer to that change.
 */
static bool attr_is_fresh(const struct fop *op)
{
	const struct mount *m = op->m;
	double age = (double)(env_now_ns(m->env) - op->f->fresh_ns) / 1e9;

	return op->f->fresh_ns != 0 && age < m->opt->attr_timeout_s;
}

static void getattr_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_attr_rsp rsp;

	if (!FOP_REPLY(op, reply, attr_rsp, &rsp))
		return;
	op->f->fresh_ns = 0;
	finode_update(op->f, &rsp.attr);
	fop_reply_attr(op);
}

static void getattr_send(struct fop *op)
{
	struct rpc_getattr q = { .ino = op->f->ino };

	FOP_SEND(op, getattr, &q, getattr_on_reply);
}

/* The commit's reply brought the attributes. */
static void getattr_flushed(struct fop *op)
{
	if (op->f->known)
		fop_reply_attr(op);
	else
		getattr_send(op);
}

void ops_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct fop *op = fop_new(req, node);

	(void)fi;
	if (op == NULL)
		return;
	op->readonly = true;
	if (ops_is_buckets(op->f)) {
		ops_buckets_attr(op->m, &op->f->attr);
		fop_reply_attr(op);
	} else if (op->f->removed || attr_is_fresh(op)) {
		fop_reply_attr(op);
	} else if (attr_is_unsent(op) && op->f->known) {
		fop_reply_attr(op);
	} else if (!flush_wait(op->f, op, getattr_flushed)) {
		getattr_send(op);
	}
}

/* --- setattr --- */

static void setattr_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_attr_rsp rsp;

	if (!FOP_REPLY(op, reply, attr_rsp, &rsp))
		return;
	op->f->fresh_ns = 0;
	finode_update_own(op->f, &rsp.attr);
	fop_reply_attr(op);
}

static int64_t attr_ns(struct timespec t)
{
	const int64_t most = INT64_MAX / 1000000000 - 1;

	if (t.tv_sec > most)
		return INT64_MAX;
	if (t.tv_sec < -most)
		return -INT64_MAX;
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint32_t setattr_valid(const struct fop *op)
{
	static const struct {
		int fuse;
		uint32_t rpc;
	} bits[] = {
		{ FUSE_SET_ATTR_MODE, RPC_SET_MODE },
		{ FUSE_SET_ATTR_UID, RPC_SET_UID },
		{ FUSE_SET_ATTR_GID, RPC_SET_GID },
		{ FUSE_SET_ATTR_SIZE, RPC_SET_SIZE },
		{ FUSE_SET_ATTR_ATIME, RPC_SET_ATIME },
		{ FUSE_SET_ATTR_MTIME, RPC_SET_MTIME },
		{ FUSE_SET_ATTR_ATIME_NOW, RPC_SET_ATIME_NOW },
		{ FUSE_SET_ATTR_MTIME_NOW, RPC_SET_MTIME_NOW },
	};
	int kill = FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID;
	uint32_t valid = 0;

	for (size_t i = 0; i < sizeof(bits) / sizeof(*bits); i++)
		if (op->valid & bits[i].fuse)
			valid |= bits[i].rpc;
	/* The kernel sets ..._NOW beside the plain bit. */
	if (valid & RPC_SET_ATIME_NOW)
		valid &= ~(uint32_t)RPC_SET_ATIME;
	if (valid & RPC_SET_MTIME_NOW)
		valid &= ~(uint32_t)RPC_SET_MTIME;
	/* HANDLE_KILLPRIV: the kernel leaves this to us. */
	if (op->kills)
		kill |= FUSE_SET_ATTR_SIZE;
	if ((op->valid & kill) && !(op->valid & FUSE_SET_ATTR_MODE) &&
	    !S_ISDIR(op->f->attr.mode))
		valid |= RPC_SET_KILL_SUID;
	return valid;
}

static void setattr_send(struct fop *op)
{
	struct rpc_setattr q = {
		.ino = op->f->ino, .valid = setattr_valid(op),
		.mode = op->st.st_mode, .uid = op->st.st_uid,
		.gid = op->st.st_gid, .size = (uint64_t)op->st.st_size,
		.atime = attr_ns(op->st.st_atim),
		.mtime = attr_ns(op->st.st_mtim),
	};

	FOP_SEND(op, setattr, &q, setattr_on_reply);
}

void ops_setattr(fuse_req_t req, fuse_ino_t node, struct stat *st, int valid,
		 struct fuse_file_info *fi)
{
	struct fop *op = fop_new(req, node);

	(void)fi;
	if (op == NULL)
		return;
	op->st = *st;
	op->valid = valid;
	if (ops_is_buckets(op->f))
		fop_reply_err(op, -EPERM);
	else if (!flush_wait(op->f, op, setattr_send))
		setattr_send(op);
}

/* --- O_TRUNC --- */

static void truncate_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_attr_rsp rsp;
	struct finode *f = op->f2 != NULL ? op->f2 : op->f;

	/* The open that was registered before goes with an error. */
	if (reply->status != RPC_STATUS_OK)
		ops_close(f);
	if (!FOP_REPLY(op, reply, attr_rsp, &rsp))
		return;
	finode_update_own(f, &rsp.attr);
	op->after(op);
}

static void truncate_send(struct fop *op)
{
	struct finode *f = op->f2 != NULL ? op->f2 : op->f;
	struct rpc_setattr q = {
		.ino = f->ino,
		.valid = RPC_SET_SIZE | RPC_SET_MTIME_NOW,
	};

	if (op->kills)
		q.valid |= RPC_SET_KILL_SUID;

	op->call = FOP_CALL(op, setattr, CLIENT_FIRST, &q, truncate_on_reply);
	if (op->call == NULL) {
		ops_close(f);
		fop_reply_err(op, -ENOMEM);
	}
}

void ops_truncate_open(struct fop *op, fop_then_fn then)
{
	struct finode *f = op->f2 != NULL ? op->f2 : op->f;

	op->after = then;
	if (!flush_wait(f, op, truncate_send))
		truncate_send(op);
}

/* --- readlink --- */

static void readlink_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_readlink_rsp rsp;
	char target[PATH_MAX];

	if (!FOP_REPLY(op, reply, readlink_rsp, &rsp))
		return;
	if (rsp.target.len >= sizeof(target)) {
		fop_reply_err(op, -ENAMETOOLONG);
		return;
	}
	memcpy(target, rsp.target.p, rsp.target.len);
	target[rsp.target.len] = '\0';
	if (!fop_is_gone(op))
		fuse_reply_readlink(op->req, target);
	fop_end(op);
}

void ops_readlink(fuse_req_t req, fuse_ino_t node)
{
	struct fop *op = fop_new(req, node);
	struct rpc_readlink q;

	if (op == NULL)
		return;
	op->readonly = true;
	q.ino = op->f->ino;
	FOP_SEND(op, readlink, &q, readlink_on_reply);
}

/* --- statfs --- */

static void statfs_answer(struct fop *op, uint64_t total, uint64_t avail,
			  uint64_t files)
{
	struct statvfs st = {
		.f_bsize = 4096, .f_frsize = 4096,
		.f_blocks = total / 4096, .f_bfree = avail / 4096,
		.f_bavail = avail / 4096,
		/* Inodes are made as needed: as many as blocks. */
		.f_files = files + avail / 4096,
		.f_ffree = avail / 4096, .f_favail = avail / 4096,
		.f_namemax = NAME_MAX,
	};

	if (!fop_is_gone(op))
		fuse_reply_statfs(op->req, &st);
	fop_end(op);
}

static void statfs_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_statfs_rsp rsp;

	if (FOP_REPLY(op, reply, statfs_rsp, &rsp))
		statfs_answer(op, rsp.total, rsp.avail, rsp.files);
}

static void statfs_of_cluster(struct fop *op)
{
	const struct cluster *cluster = client_cluster(op->m->client);
	uint64_t total = 0, avail = 0;

	for (unsigned i = 0; cluster != NULL && i < cluster->n_stores; i++) {
		total += cluster->stores[i].total;
		avail += cluster->stores[i].avail;
	}
	if (cluster != NULL && cluster->top.n > 1) {
		total /= cluster->top.n;
		avail /= cluster->top.n;
	}
	statfs_answer(op, total, avail, 0);
}

void ops_statfs(fuse_req_t req, fuse_ino_t node)
{
	struct fop *op = fop_new(req, node == 0 ? FUSE_ROOT_ID : node);
	struct rpc_statfs q;

	if (op == NULL)
		return;
	op->readonly = true;
	if (ops_is_buckets(op->f)) {
		statfs_of_cluster(op);
		return;
	}
	q.ino = op->f->ino;
	FOP_SEND(op, statfs, &q, statfs_on_reply);
}
