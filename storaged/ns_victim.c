/*
 * Which inode a command would take a name from. The leader asks before it makes
 * the entry, to decide whether somebody holds that inode open. Commands that
 * are under way may change what it will find: so it counts also when other
 * names are left now, when the command would be refused now, and whatever is
 * there to take the place.
 */
#include "storaged/ns_impl.h"

#include <errno.h>

static int ns_victim_unlink(struct ns_ctx *x, const struct rpc_unlink *m,
			    uint64_t *ret_ino)
{
	struct ns_pair p;
	uint64_t dir;
	int rv = ns_segment_at(x, m->dir, m->at, m->name, &dir);

	if (rv != 0 || dir == 0)
		return rv;
	rv = ns_pair_get(x, &dir, m->name, NS_PAIR_GO, &p);
	if (rv == 0 && m->rmdir && p.has_dir)
		*ret_ino = p.dir.ino;
	if (rv == 0 && !m->rmdir && p.has_file)
		*ret_ino = p.file.ino;
	return rv;
}

static int ns_victim_rename(struct ns_ctx *x, const struct rpc_rename *m,
			    uint64_t *ret_ino)
{
	struct ns_pair to;
	uint64_t to_dir = m->dir2;
	int rv;

	if (m->flags & RPC_RENAME_EXCHANGE)
		return 0;
	rv = ns_pair_get(x, &to_dir, m->name2, NS_PAIR_STAY, &to);
	if (rv == 0 && to.has_file)
		*ret_ino = to.file.ino;
	else if (rv == 0 && to.has_dir)
		*ret_ino = to.dir.ino;
	return rv;
}

static int ns_victim_key(struct ns_ctx *x, const struct ns_way *way,
			 bool delete, uint64_t *ret_ino)
{
	struct ns_walk w;
	int rv = ns_walk(x, way, &w);

	if (rv != 0 || w.target == NULL || (w.is_dir && !delete))
		return rv;
	*ret_ino = w.target->ino;
	return 0;
}

/* A transaction of another shard takes one name at most that may be open. */
static int ns_victim_end(struct ns_ctx *x, const struct rpc_txn_end *m,
			 uint64_t *ret_ino)
{
	struct wire_reader r;
	struct ns_step s;
	uint32_t n;
	int rv = 0;

	x->txn = m->txn;
	for (r = wire_vec_reader(m->steps, &n); rv == 0 && n > 0; n--) {
		rv = ns_step_next(&r, &s);
		if (rv != 0 || s.op != NS_STEP_UNLINK || s.mode == 0)
			continue;
		*ret_ino = s.ino;
	}
	return rv;
}

static int ns_victim_run(struct ns_ctx *x, const struct ns_cmd *c,
			 uint64_t *ret_ino)
{
	struct rpc_mpu_complete complete;
	struct rpc_txn_end end;
	struct rpc_unlink unlink;
	struct rpc_rename rename;
	struct rpc_delete delete;
	struct rpc_put put;
	struct ns_way way;

	switch (c->tag) {
	case RPC_TAG_unlink:
		if (rpc_unlink_decode(&unlink, c->payload, c->len) != 0)
			return RPC_STATUS_BADMSG;
		return ns_victim_unlink(x, &unlink, ret_ino);
	case RPC_TAG_rename:
		if (rpc_rename_decode(&rename, c->payload, c->len) != 0)
			return RPC_STATUS_BADMSG;
		return ns_victim_rename(x, &rename, ret_ino);
	case RPC_TAG_put:
		if (rpc_put_decode(&put, c->payload, c->len) != 0)
			return RPC_STATUS_BADMSG;
		return ns_victim_key(x, NS_WAY(&put, 0), false, ret_ino);
	case RPC_TAG_delete:
		if (rpc_delete_decode(&delete, c->payload, c->len) != 0)
			return RPC_STATUS_BADMSG;
		return ns_victim_key(x, NS_WAY(&delete, 0), true, ret_ino);
	case RPC_TAG_mpu_complete:
		if (rpc_mpu_complete_decode(&complete, c->payload,
					    c->len) != 0)
			return RPC_STATUS_BADMSG;
		way = (struct ns_way){ .root = complete.root,
				       .key = complete.key, .stay = true };
		return ns_victim_key(x, &way, false, ret_ino);
	case RPC_TAG_txn_end:
		if (rpc_txn_end_decode(&end, c->payload, c->len) != 0)
			return RPC_STATUS_BADMSG;
		return ns_victim_end(x, &end, ret_ino);
	default:
		return 0;
	}
}

int ns_victim(struct rows_txn *t, const struct ns_cmd *c, uint64_t *ret_ino)
{
	uint64_t ino = 0;
	struct ns_ctx x;
	int rv;

	ns_ctx_init(&x, t, c->shard, c, NULL);
	rv = ns_victim_run(&x, c, &ino);
	ns_ctx_fini(&x);
	if (rv < 0 && rv != -EAGAIN)
		return rv;
	if (rows_txn_needs(t))
		return -EAGAIN;
	/* what is refused or has to wait takes nothing, what is far is not
	 * ours to say */
	*ret_ino = rv == 0 && ino_shard(ino) == c->shard ? ino : 0;
	return 0;
}
