/*
 * Which inode a command would take a last name from. The leader asks before
 * it makes the entry, to decide whether somebody holds that inode open.
 */
#include "storaged/ns_impl.h"

#include <errno.h>

/* What an entry loses with its row: nothing while other links are left. */
static uint64_t ns_victim_of(const struct ns_row_dent *d)
{
	return d->flags & NS_DENT_ASK ? 0 : d->ino;
}

static int ns_victim_unlink(struct ns_ctx *x, const struct rpc_unlink *m,
			    uint64_t *ret_ino)
{
	struct wire_bytes row_name;
	struct ns_row_dent d;
	struct ns_pair p;
	int rv = ns_pair_get(x, m->dir, m->name, &p);

	if (rv == 0)
		rv = ns_pair_pick(x, &p, m->how, &d, &row_name);
	if (rv == 0)
		*ret_ino = ns_victim_of(&d);
	return rv;
}

static int ns_victim_rename(struct ns_ctx *x, const struct rpc_rename *m,
			    uint64_t *ret_ino)
{
	struct wire_bytes row_name;
	struct ns_pair from, to;
	struct ns_row_dent d;
	bool dir;
	int rv, rv2;

	if (m->flags & RPC_RENAME_EXCHANGE)
		return 0;
	rv = ns_pair_get(x, m->dir, m->name, &from);
	rv2 = ns_pair_get(x, m->dir2, m->name2, &to);
	if (rv == 0)
		rv = rv2;
	if (rv == 0)
		rv = ns_pair_pick(x, &from, m->how, &d, &row_name);
	if (rv != 0)
		return rv;
	dir = ns_row_is_dir(row_name);
	if (dir ? to.has_dir : to.has_file)
		*ret_ino = ns_victim_of(dir ? &to.dir : &to.file);
	return 0;
}

static int ns_victim_key(struct ns_ctx *x, uint64_t root,
			 struct wire_bytes key, bool delete, uint64_t *ret_ino)
{
	struct ns_walk w;
	int rv = ns_walk(x, root, key, 0, &w);

	if (rv != 0 || w.target == NULL || (w.is_dir && !delete))
		return rv;
	if (w.is_dir || w.target->r.nlink == 1)
		*ret_ino = w.target->ino;
	return 0;
}

static int ns_victim_run(struct ns_ctx *x, uint16_t tag, const void *payload,
			 size_t len, uint64_t *ret_ino)
{
	struct rpc_mpu_complete complete;
	struct rpc_unlink unlink;
	struct rpc_rename rename;
	struct rpc_delete delete;
	struct rpc_put put;

	switch (tag) {
	case RPC_TAG_unlink:
		if (rpc_unlink_decode(&unlink, payload, len) != 0)
			return RPC_STATUS_BADMSG;
		return ns_victim_unlink(x, &unlink, ret_ino);
	case RPC_TAG_rename:
		if (rpc_rename_decode(&rename, payload, len) != 0)
			return RPC_STATUS_BADMSG;
		return ns_victim_rename(x, &rename, ret_ino);
	case RPC_TAG_put:
		if (rpc_put_decode(&put, payload, len) != 0)
			return RPC_STATUS_BADMSG;
		return ns_victim_key(x, put.root, put.key, false, ret_ino);
	case RPC_TAG_delete:
		if (rpc_delete_decode(&delete, payload, len) != 0)
			return RPC_STATUS_BADMSG;
		return ns_victim_key(x, delete.root, delete.key, true,
				     ret_ino);
	case RPC_TAG_mpu_complete:
		if (rpc_mpu_complete_decode(&complete, payload, len) != 0)
			return RPC_STATUS_BADMSG;
		return ns_victim_key(x, complete.root, complete.key, false,
				     ret_ino);
	default:
		return 0;
	}
}

int ns_victim(struct rows_txn *t, uint16_t shard, uint16_t tag,
	      const void *payload, size_t len, uint64_t *ret_ino)
{
	uint64_t ino = 0;
	struct ns_ctx x;
	int rv;

	ns_ctx_init(&x, t, shard, NULL, NULL);
	rv = ns_victim_run(&x, tag, payload, len, &ino);
	ns_ctx_fini(&x);
	if (rv < 0)
		return rv;
	if (rows_txn_needs(t))
		return -EAGAIN;
	*ret_ino = rv == 0 ? ino : 0; /* what is refused takes nothing */
	return 0;
}
