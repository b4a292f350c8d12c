/*
 * Listing directories: offset n is "behind entry n - 1", where 0 and 1 are
 * `.` and `..` and the others come from the handle's cursor, which goes on by
 * name.
 *
 * Attributes that came with a page are given to the kernel only while they
 * are young and no name in the directory was changed through this mount since
 * the page was asked for; else the kernel looks the name up when it wants to.
 */
#include "fuse/ops.h"

#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "fuse/escape.h"
#include "fuse/handle.h"

#define DIR_DOTS 2
#define DIR_YOUNG_NS UINT64_C(1000000000)

static void readdir_go_on(struct fop *op);

static void opendir_answer(struct fop *op)
{
	struct fhandle *h = fhandle_new(op->f, op->open_flags);
	struct fuse_file_info fi = { .fh = (uint64_t)(uintptr_t)h };

	if (h == NULL) {
		fop_reply_err(op, -ENOMEM);
		return;
	}
	if (fop_is_gone(op) || fuse_reply_open(op->req, &fi) != 0)
		fhandle_free(h);
	fop_end(op);
}

static void opendir_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_attr_rsp rsp;

	if (!FOP_REPLY(op, reply, attr_rsp, &rsp))
		return;
	finode_update(op->f, &rsp.attr);
	opendir_answer(op);
}

/*
 * A name that the kernel still knows may lead to a directory that is gone:
 * ask, so that ESTALE comes here, where the kernel looks the name up again.
 */
void ops_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct fop *op = fop_new(req, node);
	struct rpc_getattr q;

	if (op == NULL)
		return;
	op->open_flags = fi->flags;
	if (ops_is_buckets(op->f) || op->f->removed) {
		opendir_answer(op);
		return;
	}
	op->readonly = true;
	q.ino = op->f->ino;
	FOP_SEND(op, getattr, &q, opendir_on_reply);
}

void ops_releasedir(fuse_req_t req, fuse_ino_t node,
		    struct fuse_file_info *fi)
{
	(void)node;
	fhandle_free(fhandle_of(fi));
	fuse_reply_err(req, 0);
}

/* But with durability memory names are durable when they are acknowledged. */
static void fsyncdir_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;

	if (fop_status(op, reply) == 0)
		fop_reply_err(op, 0);
}

void ops_fsyncdir(fuse_req_t req, fuse_ino_t node, int datasync,
		  struct fuse_file_info *fi)
{
	struct fop *op = fop_new(req, node);
	struct rpc_sync q;

	(void)datasync;
	(void)fi;
	if (op == NULL)
		return;
	q.ino = op->f->ino;
	if (ops_is_buckets(op->f) || !ops_needs_sync(op->f))
		fop_reply_err(op, 0);
	else
		FOP_SEND(op, sync, &q, fsyncdir_on_reply);
}

/* --- filling the buffer --- */

enum fill { FILL_OK, FILL_FULL };

/* An entry without attributes, and so without a lookup. */
static enum fill fill_bare(struct fop *op, const char *name, uint64_t ino,
			   mode_t mode, uint64_t next)
{
	size_t room = op->size - op->out_len;
	char *at = (char *)op->out + op->out_len;
	size_t n;

	if (op->plus) {
		struct fuse_entry_param entry = {
			.attr = { .st_ino = ino, .st_mode = mode },
		};

		n = fuse_add_direntry_plus(op->req, at, room, name, &entry,
					   (off_t)next);
	} else {
		struct stat st = { .st_ino = ino, .st_mode = mode };

		n = fuse_add_direntry(op->req, at, room, name, &st,
				      (off_t)next);
	}
	if (n > room)
		return FILL_FULL;
	op->out_len += n;
	return FILL_OK;
}

/* An entry that the kernel takes as looked up. */
static enum fill fill_found(struct fop *op, const char *name,
			    struct finode *f, uint64_t next)
{
	size_t room = op->size - op->out_len;
	struct fuse_entry_param entry;
	size_t n;

	fop_fill_entry(op->m, f, &entry);
	n = fuse_add_direntry_plus(op->req, (char *)op->out + op->out_len,
				   room, name, &entry, (off_t)next);
	if (n > room)
		return FILL_FULL;
	op->out_len += n;
	finode_looked_up(f);
	return FILL_OK;
}

static bool entry_is_young(const struct fop *op,
			   const struct dircur_entry *e, uint64_t stamp)
{
	return op->plus && e->has_attr && op->f->names_ns < stamp &&
	       env_now_ns(op->m->env) - stamp < DIR_YOUNG_NS;
}

static enum fill fill_entry(struct fop *op, const struct dircur_entry *e,
			    uint64_t stamp, uint64_t next)
{
	bool is_dir = e->row.len > 0 && e->row.p[e->row.len - 1] == '/';
	size_t len = e->row.len - is_dir;
	char name[ESCAPE_SHOWN_MAX + 1];
	struct finode *f;
	enum fill fill;

	if (escape_encode(e->row.p, len, is_dir, e->shadowed, name) < 0) {
		if (op->m->skipped++ == 0)
			log_warnx("a name is too long to be shown dir=%llu",
				  (unsigned long long)op->f->ino);
		return FILL_OK;
	}
	f = entry_is_young(op, e, stamp) ? finode_get(op->m, e->ino) : NULL;
	if (f == NULL)
		return fill_bare(op, name, e->ino, e->mode, next);
	finode_update(f, &e->attr);
	finode_set_name(f, op->f, e->row.p, len,
			is_dir ? RPC_NAME_DIR : RPC_NAME_FILE);
	fill = fill_found(op, name, f, next);
	finode_unref(f);
	return fill;
}

static void readdir_answer(struct fop *op)
{
	fop_reply_buf(op, op->out, op->out_len);
}

/* --- pages from the shard --- */

static void readdir_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct fop *op = arg;
	struct rpc_readdir_rsp rsp;
	int rv;

	if (!FOP_REPLY(op, reply, readdir_rsp, &rsp))
		return;
	rv = dircur_add(&op->h->cur, op->off, rsp.entries, op->plus,
			rsp.eof != 0, op->stamp);
	if (rv == 0)
		readdir_go_on(op);
	else if (rv == -EBADMSG)
		(void)fop_decoded(op, rv);
	else
		fop_reply_err(op, rv);
}

static void readdir_send(struct fop *op, const struct dircur_want *want)
{
	struct rpc_readdir q = { .dir = op->f->ino, .after = want->after,
				 .max = DIRCUR_PAGE_MAX };

	q.plus = op->plus;
	op->off = want->first;
	op->stamp = env_now_ns(op->m->env);
	FOP_SEND(op, readdir, &q, readdir_on_reply);
}

/* From entry op->number on: fills until full, at the end, or missing. */
static void readdir_go_on(struct fop *op)
{
	struct dircur *cur = &op->h->cur;

	for (;;) {
		uint64_t number = op->number;
		struct dircur_entry e;
		struct dircur_want want;
		uint64_t stamp;

		switch (dircur_get(cur, &number, &e, &stamp, &want)) {
		case DIRCUR_END:
			readdir_answer(op);
			return;
		case DIRCUR_MISSING:
			/* What is there goes first. */
			if (op->out_len > 0)
				readdir_answer(op);
			else
				readdir_send(op, &want);
			return;
		case DIRCUR_FOUND:
			break;
		}
		if (fill_entry(op, &e, stamp, number + DIR_DOTS + 1) ==
		    FILL_FULL) {
			readdir_answer(op);
			return;
		}
		op->number = number + 1;
	}
}

/* --- the directory of all buckets --- */

static void readdir_buckets(struct fop *op)
{
	struct fhandle *h = op->h;
	struct cluster *now = client_cluster(op->m->client);

	if (h->buckets == NULL && now != NULL)
		h->buckets = cluster_ref(now);
	for (uint64_t i = op->number;
	     h->buckets != NULL && i < h->buckets->n_buckets; i++) {
		const struct cluster_bucket *b = &h->buckets->buckets[i];
		char name[ESCAPE_SHOWN_MAX + 1];

		if (b->state != CLUSTER_BUCKET_READY ||
		    escape_encode(b->name.p, b->name.len, true, false,
				  name) < 0)
			continue;
		if (fill_bare(op, name, b->root, S_IFDIR, i + DIR_DOTS + 1) ==
		    FILL_FULL)
			break;
	}
	readdir_answer(op);
}

/* --- requests --- */

/* False: answered. */
static bool readdir_dots(struct fop *op, uint64_t off)
{
	static const char *const name[DIR_DOTS] = { ".", ".." };
	uint64_t ino[DIR_DOTS] = { op->f->ino, op->f->parent };

	if (ino[1] == 0 || op->f == op->m->root)
		ino[1] = op->f->ino;
	for (; off < DIR_DOTS; off++)
		if (fill_bare(op, name[off], ino[off], S_IFDIR, off + 1) ==
		    FILL_FULL) {
			readdir_answer(op);
			return false;
		}
	op->number = off - DIR_DOTS;
	return true;
}

static void readdir_request(fuse_req_t req, fuse_ino_t node, size_t size,
			    off_t off, struct fuse_file_info *fi, bool plus)
{
	struct fop *op = fop_new(req, node);
	struct fhandle *h = fhandle_of(fi);

	if (op == NULL)
		return;
	op->readonly = true;
	op->h = h;
	op->size = size;
	op->plus = plus;
	op->out = mem_alloc(size);
	if (op->out == NULL) {
		fop_reply_err(op, -ENOMEM);
		return;
	}
	if (off == 0) {
		/* Opened, or rewinddir(): as the directory is now. */
		dircur_clear(&h->cur);
		cluster_unref(h->buckets);
		h->buckets = NULL;
	}
	if (!readdir_dots(op, (uint64_t)off))
		return;
	if (ops_is_buckets(op->f))
		readdir_buckets(op);
	else if (op->f->removed)
		readdir_answer(op);
	else
		readdir_go_on(op);
}

void ops_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
		 struct fuse_file_info *fi)
{
	readdir_request(req, node, size, off, fi, false);
}

void ops_readdirplus(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	readdir_request(req, node, size, off, fi, true);
}
