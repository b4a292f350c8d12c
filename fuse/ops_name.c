/*
 * Finding and making names.
 *
 * Happy path: decode the name -> (an escape for a hidden file: is there a
 * directory that hides it?) -> one RPC -> entry.
 */
#include "fuse/ops.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "fuse/handle.h"
#include "fuse/stale.h"

struct finode *ops_found(struct fop *op, const struct wire_attr *attr,
			 const struct fname *name, bool is_dir)
{
	struct finode *f = finode_get(op->m, attr->ino);

	if (f == NULL) {
		fop_reply_err(op, -ENOMEM);
		return NULL;
	}
	finode_update(f, attr);
	if (name != NULL)
		finode_set_name(f, op->f, name->comp, name->len,
				is_dir ? RPC_NAME_DIR : RPC_NAME_FILE);
	return f;
}

void ops_names_changed(const struct fop *op, struct finode *dir,
		       const struct wire_attr *attr)
{
	dir->names_ns = env_now_ns(dir->m->env);
	dir->fresh_ns = 0;
	if (attr == NULL || attr->ino != dir->ino)
		return;
	finode_update(dir, attr);
	/* They were so after op came; when exactly is not known. */
	dir->fresh_ns = op->begun_ns;
}

/* --- lookup --- */

static struct wire_bytes ops_name_bytes(const struct fname *n)
{
	return wire_bytes(n->comp, n->len);
}

static void lookup_send(struct fop *op);

/* f is what the name leads to. */
static void lookup_found(struct fop *op, struct finode *f)
{
	if (stale_walk_opens(op) && S_ISREG(f->attr.mode)) {
		ops_open_ahead(op, lookup_send);
		return;
	}
	stale_walk_on(op);
	fop_reply_entry(op, f);
}

static void lookup_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_lookup_rsp rsp;

	/* What cannot be made cannot be missing either. */
	if (reply->status == RPC_STATUS_NOENT && op->name->is_long) {
		op->call = NULL;
		fop_reply_err(op, -ENAMETOOLONG);
		return;
	}
	/* The directory is gone, see stale.h. */
	if (reply->status == RPC_STATUS_STALE) {
		if (op->f->removed || op->told) {
			op->call = NULL;
			fop_reply_err(op, -ENOENT);
			return;
		}
		stale_note_lookup(op, finode_name_is_known(
			op->m, op->f->ino, op->name->comp, op->name->len));
	}
	if (!FOP_REPLY(op, reply, lookup_rsp, &rsp))
		return;
	if (op->name->if_hidden && !rsp.shadowed) {
		fop_reply_err(op, -ENOENT);
		return;
	}
	op->f2 = ops_found(op, &rsp.attr, op->name,
			   rsp.kind == RPC_NAME_DIR);
	if (op->f2 != NULL)
		lookup_found(op, op->f2);
}

static void lookup_send(struct fop *op)
{
	struct rpc_lookup q = { .dir = op->f->ino,
				.name = ops_name_bytes(op->name),
				.how = op->name->how };

	FOP_SEND(op, lookup, &q, lookup_on_reply);
}

/* --- lookup of buckets in the synthetic root --- */

static void bucket_on_attr(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_attr_rsp rsp;

	if (!FOP_REPLY(op, reply, attr_rsp, &rsp))
		return;
	op->f2 = ops_found(op, &rsp.attr, NULL, true);
	if (op->f2 == NULL)
		return;
	op->f2->bucket = op->f2->ino;
	lookup_found(op, op->f2);
}

static const struct cluster_bucket *bucket_find(const struct fop *op)
{
	struct cluster *cluster = client_cluster(op->m->client);
	const struct cluster_bucket *b;

	if (cluster == NULL || op->name->how != RPC_NAME_ANY)
		return NULL;
	b = cluster_find_bucket(cluster, ops_name_bytes(op->name));
	return b != NULL && b->state == CLUSTER_BUCKET_READY ? b : NULL;
}

static void bucket_send(struct fop *op, const struct cluster_bucket *b)
{
	struct rpc_getattr q = { .ino = b->root };

	FOP_SEND(op, getattr, &q, bucket_on_attr);
}

/* The snapshot is as new as it can be. */
static void bucket_on_refresh(void *arg, int status)
{
	struct fop *op = arg;
	const struct cluster_bucket *b = bucket_find(op);

	if (b != NULL)
		bucket_send(op, b);
	else
		fop_reply_err(op, status != 0 ? -EIO : -ENOENT);
}

static void bucket_lookup(struct fop *op)
{
	const struct cluster_bucket *b = bucket_find(op);

	if (b != NULL)
		bucket_send(op, b);
	else if (op->name->how != RPC_NAME_ANY)
		fop_reply_err(op, -ENOENT);
	else
		client_refresh(op->m->client, UINT64_MAX, bucket_on_refresh,
			       op);
}

/* --- "." and "..", asked when a file handle is opened (NFS, by-handle) --- */

static void self_on_attr(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_attr_rsp rsp;

	if (!FOP_REPLY(op, reply, attr_rsp, &rsp))
		return;
	finode_update(op->f, &rsp.attr);
	fop_reply_entry(op, op->f);
}

static void self_lookup(struct fop *op)
{
	struct rpc_getattr q = { .ino = op->f->ino };

	if (ops_is_buckets(op->f))
		fop_reply_entry(op, op->f);
	else
		FOP_SEND(op, getattr, &q, self_on_attr);
}

static void parent_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_parent_rsp rsp;
	struct finode *up;

	if (!FOP_REPLY(op, reply, parent_rsp, &rsp))
		return;
	/* A bucket's root has no parent: above it are all buckets. */
	up = rsp.parent == 0 || rsp.parent == op->f->ino
		     ? finode_ref(op->m->root)
		     : finode_get(op->m, rsp.parent);
	if (up == NULL) {
		fop_reply_err(op, -ENOMEM);
		return;
	}
	finode_unref(op->f);
	op->f = up;
	self_lookup(op);
}

static void parent_lookup(struct fop *op)
{
	struct rpc_parent q = { .ino = op->f->ino };

	if (op->f == op->m->root)
		self_lookup(op);
	else
		FOP_SEND(op, parent, &q, parent_on_reply);
}

void ops_lookup(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct fop *op = fop_new(req, dir);
	int rv;

	if (op == NULL)
		return;
	op->readonly = true;
	stale_looked_up(op);
	if (strcmp(name, ".") == 0) {
		self_lookup(op);
		return;
	}
	if (strcmp(name, "..") == 0) {
		parent_lookup(op);
		return;
	}
	rv = fop_decode_name(name, &op->name);
	if (rv != 0)
		fop_reply_err(op, rv == -EINVAL ? -ENOENT : rv);
	else if (ops_is_buckets(op->f))
		bucket_lookup(op);
	else
		lookup_send(op);
}

void ops_forget(fuse_req_t req, fuse_ino_t node, uint64_t n)
{
	finode_forget(fop_mount(req), node, n);
	fuse_reply_none(req);
}

void ops_forget_multi(fuse_req_t req, size_t n, struct fuse_forget_data *f)
{
	for (size_t i = 0; i < n; i++)
		finode_forget(fop_mount(req), f[i].ino, f[i].nlookup);
	fuse_reply_none(req);
}

/* --- making names --- */

static void check_on_hiding_dir(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;

	/* `.%fa` is a name only beside a directory `a`. */
	if (reply->status == RPC_STATUS_NOENT) {
		op->call = NULL;
		fop_reply_err(op, -EINVAL);
		return;
	}
	if (fop_status(op, reply) == 0)
		op->then(op);
}

void ops_check_new_name(struct fop *op, struct finode *dir,
			const struct fname *name, int want_dir,
			fop_then_fn then)
{
	struct rpc_lookup q = { .dir = dir->ino,
				.name = wire_bytes(name->comp, name->len),
				.how = RPC_NAME_DIR };

	if (ops_is_buckets(dir)) {
		fop_reply_err(op, -EPERM);
	} else if (name->is_long) {
		fop_reply_err(op, -ENAMETOOLONG);
	} else if ((want_dir == 1 && name->how == RPC_NAME_FILE) ||
		   (want_dir == 0 && name->how == RPC_NAME_DIR)) {
		fop_reply_err(op, -EINVAL);
	} else if (name->if_hidden) {
		op->then = then;
		FOP_SEND(op, lookup, &q, check_on_hiding_dir);
	} else {
		then(op);
	}
}

static void mknod_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_mknod_rsp rsp;

	if (!FOP_REPLY(op, reply, mknod_rsp, &rsp))
		return;
	ops_names_changed(op, op->f, &rsp.dir);
	op->f2 = ops_found(op, &rsp.attr, op->name, S_ISDIR(op->mode));
	if (op->f2 == NULL)
		return;
	op->f2->no_caps = rsp.created;
	fop_reply_entry(op, op->f2);
}

static void mknod_fill(struct fop *op, struct rpc_mknod *q)
{
	*q = (struct rpc_mknod){
		.dir = op->f->ino, .name = ops_name_bytes(op->name),
		.mode = op->mode, .uid = op->uid, .gid = op->gid,
		.rdev = op->rdev, .how = op->name->how,
		.flags = op->flags,
		.session = client_session(op->m->client),
		.number = client_open_number(op->m->client),
	};
	if (op->text != NULL)
		q->target = wire_bytes(op->text, strlen(op->text));
}

static void mknod_send(struct fop *op)
{
	struct rpc_mknod q;

	mknod_fill(op, &q);
	FOP_SEND(op, mknod, &q, mknod_on_reply);
}

static struct fop *mknod_new(fuse_req_t req, fuse_ino_t dir, const char *name,
			     mode_t mode)
{
	struct fop *op = fop_new(req, dir);

	if (op == NULL || fop_set_name(op, name, &op->name) != 0)
		return NULL;
	op->mode = mode;
	op->flags = RPC_MKNOD_EXCL;
	return op;
}

void ops_mknod(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode,
	       dev_t rdev)
{
	struct fop *op = mknod_new(req, dir, name, mode);

	if (op == NULL)
		return;
	op->rdev = rdev;
	ops_check_new_name(op, op->f, op->name, 0, mknod_send);
}

void ops_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode)
{
	struct fop *op = mknod_new(req, dir, name, S_IFDIR | mode);

	if (op != NULL)
		ops_check_new_name(op, op->f, op->name, 1, mknod_send);
}

void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t dir,
		 const char *name)
{
	struct fop *op = mknod_new(req, dir, name, S_IFLNK | 0777);

	if (op == NULL)
		return;
	op->text = mem_strdup(target);
	if (op->text == NULL)
		fop_reply_err(op, -ENOMEM);
	else
		ops_check_new_name(op, op->f, op->name, 0, mknod_send);
}

/* --- create: make and open in one RPC --- */

static void create_answer(struct fop *op)
{
	struct fuse_file_info fi = { .flags = op->open_flags };
	struct fuse_entry_param entry;
	struct finode *f = op->f2;

	if (!ops_reply_open(op, f, op->open_flags, op->valid != 0, &fi))
		return;
	fop_fill_entry(op->m, f, &entry);
	finode_looked_up(f);
	if (fop_is_gone(op) ||
	    fuse_reply_create(op->req, &entry, &fi) != 0) {
		fhandle_free(fhandle_of(&fi));
		ops_close(f);
		finode_forget(op->m, entry.ino, 1);
	}
	fop_end(op);
}

static void create_opened(struct fop *op)
{
	if (!S_ISREG(op->f2->attr.mode)) {
		/* Made elsewhere just now, and no file: look again. */
		ops_close(op->f2);
		fop_reply_err(op, -ESTALE);
	} else if (op->valid == 0 && (op->open_flags & O_TRUNC)) {
		ops_truncate_open(op, create_answer);
	} else {
		create_answer(op);
	}
}

static void create_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_mknod_rsp rsp;

	if (!FOP_REPLY(op, reply, mknod_rsp, &rsp))
		return;
	ops_names_changed(op, op->f, &rsp.dir);
	op->f2 = ops_found(op, &rsp.attr, op->name, false);
	if (op->f2 == NULL)
		return; /* the session's end closes it */
	op->valid = rsp.created;
	ops_opened(op, reply->again, create_opened);
}

static void create_send(struct fop *op)
{
	struct rpc_mknod q;

	mknod_fill(op, &q);
	FOP_SEND(op, mknod, &q, create_on_reply);
}

void ops_create(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode,
		struct fuse_file_info *fi)
{
	struct fop *op = mknod_new(req, dir, name, S_IFREG | (mode & 07777));

	if (op == NULL)
		return;
	op->open_flags = fi->flags;
	op->flags = RPC_MKNOD_OPEN;
	if (fi->flags & O_EXCL)
		op->flags |= RPC_MKNOD_EXCL;
	ops_check_new_name(op, op->f, op->name, 0, create_send);
}
