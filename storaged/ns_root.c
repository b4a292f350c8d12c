/* Roots of buckets, usage, and what listings ask of files. */
#include "storaged/ns_impl.h"

#include <errno.h>

enum {
	NS_REMOVE_DIRS = 10000, /* empty directories that go with a root */
	NS_SUMMARY_MAX = 4096,
};

/* A manager that resumes after a crash gets the root it made before. */
int ns_do_root_create(struct ns_ctx *x, const struct rpc_root_create *m)
{
	struct rpc_root_create_rsp rsp;
	struct ns_row_usage u = { 0 };
	struct ns_inode *ip;
	struct ns_key k;
	int rv;

	ns_key_id(&k, x->shard, NS_T_USAGE, m->bucket);
	rv = ns_get_usage(x, ns_key_get(&k), &u);
	if (rv == 0 && u.root != 0) {
		rsp.ino = u.root;
		return NS_ANSWER(x, root_create_rsp, &rsp);
	}
	if (rv != 0 && rv != -ENOENT)
		return rv;
	rv = ns_inode_new(x, 0, S_IFDIR | (m->mode & 07777), m->bucket, &ip);
	if (rv != 0)
		return rv;
	ip->r.uid = m->uid;
	ip->r.gid = m->gid;
	ip->r.nlink = 2;
	ip->r.flags = NS_INODE_ROOT;
	u.root = ip->ino;
	rv = ns_put_usage(x, ns_key_get(&k), &u);
	if (rv != 0)
		return rv;
	rsp.ino = ip->ino;
	return NS_ANSWER(x, root_create_rsp, &rsp);
}

/* --- removal --- */

/* The first entry of a directory, taken out; 0 with ino 0 when none is left. */
static int ns_remove_entry(struct ns_ctx *x, uint64_t dir, uint64_t *ret_ino)
{
	struct wire_bytes key, value;
	struct ns_key from, to;
	struct ns_row_dent d;
	int rv;

	*ret_ino = 0;
	ns_key_id(&from, x->shard, NS_T_DENT, dir);
	to = from;
	ns_key_end(&to);
	rv = rows_first(x->t, ns_key_get(&from), ns_key_get(&to), &key,
			&value);
	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	rv = ns_row_dent_load(&d, value);
	if (rv != 0)
		return rv;
	if (!S_ISDIR(d.mode))
		return RPC_STATUS_NOTEMPTY;
	if (ns_is_far(x, d.ino)) /* that one first */
		return ns_elsewhere_ino(x, d.ino, 0);
	from.len = 0;
	ns_key_bytes(&from, key);
	if (ns_is_held(x, ns_key_get(&from), RPC_LOCK_ALL))
		return -EAGAIN;
	*ret_ino = d.ino;
	return rows_del(x->t, ns_key_get(&from));
}

/* The row of a directory whose entries are gone, and its attributes. */
static int ns_remove_inode(struct ns_ctx *x, uint64_t ino)
{
	struct ns_row_inode r;
	struct ns_inode *ip;
	struct ns_key k;
	int rv;

	ns_key_id(&k, x->shard, NS_T_INODE, ino);
	if (ns_is_held(x, ns_key_get(&k), RPC_LOCK_ALL))
		return -EAGAIN;
	rv = ns_get_inode(x, ns_key_get(&k), &r);
	if (rv != 0)
		return rv == -ENOENT ? -EIO : rv;
	if (r.xattrs == 0)
		return rows_del(x->t, ns_key_get(&k));
	rv = ns_inode_load(x, ino, &ip);
	if (rv != 0)
		return rv > 0 ? -EIO : rv;
	ip->r.nlink = 0;
	return ns_inode_purge(x, ip);
}

/*
 * All below a directory, depth first, as each directory's row leaves with its
 * last entry; *ret_n: how many.
 */
static int ns_remove_below(struct ns_ctx *x, uint64_t dir, uint64_t dirs,
			   uint64_t *ret_n)
{
	uint64_t *stack = ns_alloc(x, (dirs + 1) * sizeof(*stack));
	unsigned n = 0;

	if (stack == NULL)
		return -ENOMEM;
	*ret_n = 0;
	stack[n++] = dir;
	for (;;) {
		uint64_t child;
		int rv = ns_remove_entry(x, stack[n - 1], &child);

		if (rv != 0)
			return rv;
		if (child == 0 && --n == 0)
			return 0;
		if (child == 0)
			rv = ns_remove_inode(x, stack[n]);
		else if (n > dirs || ++*ret_n > dirs)
			return -EIO; /* more than the usage row counts */
		else
			stack[n++] = child;
		if (rv != 0)
			return rv;
	}
}

/* Uploads that are left need a root no more: the cleaner aborts them. */
static int ns_remove_uploads(struct ns_ctx *x, uint64_t root)
{
	struct wire_bytes key, value;
	struct ns_key from, to;
	int rv;

	ns_key_id(&from, x->shard, NS_T_UPLOAD, root);
	to = from;
	ns_key_end(&to);
	rv = rows_first(x->t, ns_key_get(&from), ns_key_get(&to), &key,
			&value);
	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	ns_key_queue(&from, x->shard, NS_Q_ROOT, root);
	return ns_queue_put(x, ns_key_get(&from), wire_bytes(NULL, 0));
}

/* An empty directory here that hangs below one of another shard. */
static int ns_remove_dir(struct ns_ctx *x, const struct rpc_root_remove *m)
{
	struct ns_row_usage u = { .dirs = 0 };
	struct ns_inode *ip, *up;
	struct ns_key k;
	uint64_t n;
	int rv = ns_inode_load(x, m->at, &ip);

	if (rv == RPC_STATUS_STALE || (rv == 0 && ip->r.nlink == 0))
		return ns_answer_empty(x); /* gone meanwhile */
	if (rv == 0 && (!ns_is_dir(ip) || ip->r.flags & NS_INODE_ROOT))
		rv = RPC_STATUS_INVAL;
	if (rv != 0)
		return rv;
	ns_key_id(&k, x->shard, NS_T_USAGE, ip->r.project);
	rv = ns_get_usage(x, ns_key_get(&k), &u);
	if (rv != 0)
		return rv == -ENOENT ? -EIO : rv;
	if (u.dirs > NS_REMOVE_DIRS)
		return RPC_STATUS_NOTEMPTY;
	rv = ns_remove_below(x, ip->ino, u.dirs, &n);
	if (rv == 0)
		rv = ns_dir_hold(x, ip->r.parent, RPC_LOCK_PIN, &up);
	if (rv != 0)
		return rv;
	ns_usage_add(x, ip->r.project, 0, 0, -(int64_t)n);
	ip->r.entries = 0;
	ip->r.nlink = 2;
	rv = ns_entry_remove(x, up, ip->r.name, ip, false);
	if (rv == 0)
		rv = ns_dir_settle(x, up);
	return rv != 0 ? rv : ns_answer_empty(x);
}

int ns_do_root_remove(struct ns_ctx *x, const struct rpc_root_remove *m)
{
	struct ns_row_usage u;
	struct ns_inode *ip;
	struct ns_key k;
	uint64_t n;
	int rv;

	if (m->at != 0)
		return ns_remove_dir(x, m);
	rv = ns_root_get(x, m->ino, &ip);
	if (rv == RPC_STATUS_NO_BUCKET)
		return ns_answer_empty(x); /* resumed: it is gone already */
	if (rv != 0)
		return rv;
	ns_key_id(&k, x->shard, NS_T_USAGE, ip->r.project);
	rv = ns_get_usage(x, ns_key_get(&k), &u);
	if (rv != 0)
		return rv == -ENOENT ? -EIO : rv;
	if (u.files > 0 || u.dirs > NS_REMOVE_DIRS)
		return RPC_STATUS_NOTEMPTY;
	rv = ns_remove_below(x, m->ino, u.dirs, &n);
	if (rv == 0)
		rv = ns_remove_inode(x, m->ino);
	if (rv == 0)
		rv = ns_remove_uploads(x, m->ino);
	if (rv == 0)
		rv = rows_del(x->t, ns_key_get(&k));
	return rv != 0 ? rv : ns_answer_empty(x);
}

/* --- usage --- */

int ns_do_usage(struct ns_ctx *x, const struct rpc_usage *m)
{
	struct rpc_usage_rsp rsp;
	struct ns_row_usage u = { .files = 0 };
	struct ns_inode *ip;
	struct ns_key k;
	bool part = ns_is_far(x, m->ino) && m->bucket != 0;
	int rv = part ? 0 : ns_inode_get(x, m->ino, &ip);

	if (rv != 0)
		return rv;
	ns_key_id(&k, x->shard, NS_T_USAGE,
		  part ? m->bucket : ip->r.project);
	rv = ns_get_usage(x, ns_key_get(&k), &u);
	if (rv != 0 && !(part && rv == -ENOENT))
		return rv == -ENOENT ? RPC_STATUS_STALE : rv;
	rsp = (struct rpc_usage_rsp){ u.bytes, u.files, u.dirs };
	return NS_ANSWER(x, usage_rsp, &rsp);
}

static int ns_summary_add(struct ns_ctx *x, uint64_t ino, struct wire_vec *out)
{
	struct ns_row_dent d = { .size = UINT64_MAX };
	char etag[NS_ETAG_MAX];
	struct ns_inode *ip;
	struct wire_writer w;
	int rv;

	if (ns_is_far(x, ino))
		return RPC_STATUS_INVAL;
	rv = ns_inode_load(x, ino, &ip);
	if (rv == 0 && ip->r.nlink > 0)
		ns_dent_full(ino, &ip->r, &d, etag);
	else if (rv != 0 && rv != RPC_STATUS_STALE)
		return rv;
	w = wire_vec_add(out);
	wire_put_u64(&w, &ino);
	wire_put_u64(&w, &d.size);
	wire_put_i64(&w, &d.mtime);
	wire_put_str(&w, &d.etag);
	wire_put_str(&w, &d.sum_alg);
	wire_put_str(&w, &d.sum_type);
	return out->buf.err;
}

/* What LIST of another shard cannot know of its entries. */
int ns_do_summary(struct ns_ctx *x, const struct rpc_summary *m)
{
	struct rpc_summary_rsp rsp;
	struct wire_reader r;
	struct wire_vec vec;
	uint64_t ino;
	uint32_t n;
	int rv = 0, all = 0;

	r = wire_vec_reader(m->inos, &n);
	if (r.err != 0 || n > NS_SUMMARY_MAX)
		return RPC_STATUS_INVAL;
	wire_vec_init(&vec);
	for (; rv == 0 && n > 0; n--) {
		wire_get_u64(&r, &ino);
		rv = r.err != 0 ? RPC_STATUS_INVAL
				: ns_summary_add(x, ino, &vec);
		if (rv == -EAGAIN) {
			all = rv;
			rv = 0;
		}
	}
	rsp.summaries = wire_vec_bytes(&vec);
	if (rv == 0)
		rv = all != 0 ? all : NS_ANSWER(x, summary_rsp, &rsp);
	wire_vec_fini(&vec);
	return rv;
}
