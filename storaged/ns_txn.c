/*
 * A transaction as its partners see it (TXN_LOCK, TXN_END), and what remains
 * of it at its coordinator (TXN_ASK, TXN_FORGET). See ns_far.c.
 */
#include "storaged/ns_impl.h"

#include <errno.h>

enum {
	NS_TXN_WANTS = 4096,
	NS_TXN_STEPS = 65536,
};

/* --- locks --- */

struct ns_taking {
	struct wire_u128 txn;
	struct wire_vec rows;  /* the answer */
	struct wire_vec locks; /* of the row */
};

static void ns_taking_lock(struct ns_taking *t, uint8_t mode,
			   struct wire_bytes key)
{
	struct wire_writer w;

	if (mode == RPC_LOCK_LOOK)
		return;
	key = ns_key_both(key);
	w = wire_vec_add(&t->locks);
	wire_put_u8(&w, &mode);
	wire_put_str(&w, &key);
}

static void ns_taking_row(struct ns_taking *t, uint8_t mode,
			  struct wire_bytes key, bool there,
			  struct wire_bytes value)
{
	struct wire_writer w = wire_vec_add(&t->rows);
	uint8_t b = there;

	if (!there)
		value = wire_bytes(NULL, 0);
	wire_put_u8(&w, &mode);
	wire_put_str(&w, &key);
	wire_put_u8(&w, &b);
	wire_put_blob(&w, &value);
}

/*
 * An inode without its bytes: where values lie is known to this store alone,
 * and no other shard asks.
 */
static int ns_take_inode(struct ns_ctx *x, struct ns_taking *t, uint8_t mode,
			 struct wire_bytes key, struct ns_row_inode *ret)
{
	const struct wire_bytes none = { NULL, 0 };
	struct ns_row_inode r;
	int rv = ns_get_inode(x, key, ret);

	if (rv == -ENOENT) {
		ns_taking_row(t, mode, key, false, none);
		return rv;
	}
	if (rv != 0)
		return rv;
	r = *ret;
	r.extents = r.pages = none;
	buf_reset(&x->scratch);
	rv = ns_row_inode_encode(&r, &x->scratch);
	if (rv == 0)
		ns_taking_row(t, mode, key, true,
			      wire_bytes(x->scratch.data, x->scratch.len));
	return rv;
}

/* The directories from one up to where the way leaves the shard. */
static int ns_take_up(struct ns_ctx *x, struct ns_taking *t, uint64_t ino)
{
	struct ns_row_inode r;
	struct ns_key k;

	for (int depth = 0; depth < NS_DEPTH_MAX; depth++) {
		int rv;

		if (ino_shard(ino) != x->shard)
			return 0;
		ns_key_id(&k, x->shard, NS_T_INODE, ino);
		if (ns_is_held(x, ns_key_get(&k), RPC_LOCK_PIN))
			return -EAGAIN;
		ns_taking_lock(t, RPC_LOCK_PIN, ns_key_get(&k));
		rv = ns_take_inode(x, t, RPC_LOCK_PIN, ns_key_get(&k), &r);
		if (rv != 0)
			return rv == -ENOENT ? 0 : rv;
		if (r.flags & NS_INODE_ROOT)
			return 0;
		ino = r.parent;
	}
	return RPC_STATUS_LOOP;
}

/* Both rows of a name. */
static int ns_take_name(struct ns_ctx *x, struct ns_taking *t, uint8_t mode,
			struct wire_bytes key)
{
	struct wire_bytes value;
	struct ns_key k;
	int all = 0;

	k.len = 0;
	ns_key_bytes(&k, key);
	for (int i = 0; i < 2; i++) {
		int rv = rows_get(x->t, ns_key_get(&k), &value);

		if (rv == -EAGAIN)
			all = rv;
		else if (rv != 0 && rv != -ENOENT)
			return rv;
		else
			ns_taking_row(t, mode, ns_key_get(&k), rv == 0, value);
		ns_key_u8(&k, '/');
	}
	return all;
}

/* Which names of a directory are in which segments. */
static int ns_take_map(struct ns_ctx *x, struct ns_taking *t, uint8_t mode,
		       struct wire_bytes key)
{
	struct wire_bytes value = { NULL, 0 };
	int rv = rows_get(x->t, key, &value);

	if (rv != 0 && rv != -ENOENT)
		return rv;
	ns_taking_row(t, mode, key, rv == 0, value);
	return 0;
}

static int ns_take(struct ns_ctx *x, struct ns_taking *t, uint8_t mode,
		   struct wire_bytes key)
{
	struct ns_row_inode r;
	int rv;

	if (mode > RPC_LOCK_ALL || key.len < NS_KEY_REST + 8 ||
	    key.len >= NS_KEY_MAX ||
	    (key.p[0] << 8 | key.p[1]) != x->shard)
		return RPC_STATUS_INVAL;
	if (mode == RPC_LOCK_UP)
		return ns_take_up(x, t, ns_be64(key.p + NS_KEY_REST));
	key = ns_key_both(key);
	if (ns_is_held(x, key, mode))
		return -EAGAIN;
	ns_taking_lock(t, mode, key);
	switch (key.p[2]) {
	case NS_T_INODE:
		rv = ns_take_inode(x, t, mode, key, &r);
		return rv == -ENOENT ? 0 : rv;
	case NS_T_DENT:
		return ns_take_name(x, t, mode, key);
	case NS_T_SEGMENT:
		return ns_take_map(x, t, mode, key);
	default:
		return RPC_STATUS_INVAL;
	}
}

/* Adds to what the transaction holds already. */
static int ns_taking_save(struct ns_ctx *x, struct ns_taking *t)
{
	struct ns_row_partner row = { .since = x->cmd->now };
	struct rpc_txn_lock_rsp rsp;
	struct wire_bytes key;
	struct wire_reader r;
	struct ns_key k;
	uint8_t mode;
	uint32_t n;
	int rv;

	ns_key_txn(&k, x->shard, NS_TXN_PART, t->txn);
	rv = ns_get_partner(x, ns_key_get(&k), &row);
	if (rv != 0 && rv != -ENOENT)
		return rv;
	for (r = wire_vec_reader(row.locks, &n); rv == 0 && n > 0; n--) {
		rv = ns_partner_lock(&r, &mode, &key);
		if (rv != 0)
			return rv;
		ns_taking_lock(t, mode, key);
	}
	row.locks = wire_vec_bytes(&t->locks);
	rsp.rows = wire_vec_bytes(&t->rows);
	if (t->locks.buf.err != 0 || t->rows.buf.err != 0)
		return -ENOMEM;
	rv = t->locks.count > 0 ? ns_put_partner(x, ns_key_get(&k), &row) : 0;
	return rv != 0 ? rv : NS_ANSWER(x, txn_lock_rsp, &rsp);
}

int ns_do_txn_lock(struct ns_ctx *x, const struct rpc_txn_lock *m)
{
	struct ns_taking t = { .txn = m->txn };
	struct wire_bytes key;
	struct wire_reader r;
	uint8_t mode;
	uint32_t n;
	int rv = 0, all = 0;

	r = wire_vec_reader(m->wants, &n);
	if (r.err != 0 || n > NS_TXN_WANTS)
		return RPC_STATUS_INVAL;
	x->txn = m->txn;
	wire_vec_init(&t.rows);
	wire_vec_init(&t.locks);
	for (; rv == 0 && n > 0; n--) {
		wire_get_u8(&r, &mode);
		wire_get_str(&r, &key);
		rv = r.err != 0 ? RPC_STATUS_INVAL : ns_take(x, &t, mode, key);
		if (rv == -EAGAIN) { /* go on: note all that is missing */
			all = rv;
			rv = 0;
		}
	}
	if (rv == 0)
		rv = all;
	if (rv == 0)
		rv = ns_taking_save(x, &t);
	wire_vec_fini(&t.rows);
	wire_vec_fini(&t.locks);
	return rv;
}

/* --- steps --- */

int ns_step_next(struct wire_reader *r, struct ns_step *ret)
{
	struct wire_bytes b;

	wire_get_blob(r, &b);
	if (r->err != 0 || ns_step_decode(ret, b.p, b.len) != 0)
		return -EIO;
	return 0;
}

/* The inode of an entry, wherever it is: enough for the directory's side. */
static int ns_step_inode(struct ns_ctx *x, const struct ns_step *s,
			 struct ns_inode **ret)
{
	struct ns_inode *ip;

	if (!ns_is_far(x, s->ino))
		return ns_inode_load(x, s->ino, ret);
	ip = ns_alloc(x, sizeof(*ip));
	if (ip == NULL)
		return -ENOMEM;
	ip->ino = s->ino;
	ip->far = true;
	ip->r.mode = s->mode;
	ip->r.generation = s->generation;
	*ret = ip;
	return 0;
}

static int ns_step_dir(struct ns_ctx *x, const struct ns_step *s)
{
	struct ns_inode *dp, *ip;
	int rv = ns_inode_load(x, s->dir, &dp);

	if (rv != 0)
		return rv;
	if (s->op == NS_STEP_SETTLE)
		return ns_dir_settle(x, dp);
	rv = ns_step_inode(x, s, &ip);
	if (rv != 0)
		return rv;
	return s->op == NS_STEP_ENTER ? ns_dir_enter(x, dp, s->name, ip)
				      : ns_dir_leave(x, dp, s->name, ip);
}

int ns_step_run(struct ns_ctx *x, const struct ns_step *s)
{
	struct ns_inode *ip;
	int rv;

	x->quiet = s->quiet != 0;
	if (s->op <= NS_STEP_SETTLE)
		return ns_step_dir(x, s);
	if (s->op == NS_STEP_SEGMENT)
		return ns_step_segment(x, s);
	if (s->op == NS_STEP_MAP)
		return ns_step_map(x, s);
	rv = ns_inode_load(x, s->ino, &ip);
	if (rv != 0)
		return rv;
	switch (s->op) {
	case NS_STEP_LINK:
		return ns_link_in(x, ip, s->dir, s->name);
	case NS_STEP_UNLINK:
		return ns_link_out(x, ip, s->dir, s->name, s->mode != 0);
	case NS_STEP_MOVE:
		return ns_link_move(x, ip, s->dir, s->name, s->dir2, s->name2);
	default:
		return -EIO;
	}
}

static int ns_steps_check(struct wire_bytes steps)
{
	struct wire_reader r;
	struct ns_step s;
	uint32_t n;

	r = wire_vec_reader(steps, &n);
	if (r.err != 0 || n > NS_TXN_STEPS)
		return RPC_STATUS_INVAL;
	for (; n > 0; n--)
		if (ns_step_next(&r, &s) != 0 || s.op < NS_STEP_ENTER ||
		    s.op > NS_STEP_MAP)
			return RPC_STATUS_INVAL;
	return 0;
}

static int ns_steps_run(struct ns_ctx *x, struct wire_bytes steps)
{
	struct wire_reader r;
	uint32_t n;
	int rv = 0;

	r = wire_vec_reader(steps, &n);
	for (; rv == 0 && n > 0; n--) {
		struct ns_step s;

		rv = ns_step_next(&r, &s);
		if (rv == 0)
			rv = ns_step_run(x, &s);
	}
	/* the coordinator saw to it that they can be done */
	return rv > 0 ? -EIO : rv;
}

/* Without its row a transaction has been ended here before. */
int ns_do_txn_end(struct ns_ctx *x, const struct rpc_txn_end *m)
{
	struct ns_row_partner row;
	struct ns_key k;
	int rv = ns_steps_check(m->steps);

	if (rv != 0)
		return rv;
	x->txn = m->txn;
	ns_key_txn(&k, x->shard, NS_TXN_PART, m->txn);
	rv = ns_get_partner(x, ns_key_get(&k), &row);
	if (rv == -ENOENT)
		return ns_answer_empty(x);
	if (rv == 0)
		rv = ns_steps_run(x, m->steps);
	if (rv == 0)
		rv = rows_del(x->t, ns_key_get(&k));
	return rv != 0 ? rv : ns_answer_empty(x);
}

/* --- at the coordinator --- */

int ns_txn_own(struct rows_txn *t, uint16_t shard, struct wire_u128 txn,
	       struct wire_bytes *ret_parts)
{
	struct wire_bytes value;
	struct ns_row_own row;
	struct ns_key k;
	int rv = rows_get(t, ns_key_txn(&k, shard, NS_TXN_OWN, txn), &value);

	if (rv == 0)
		rv = ns_row_own_load(&row, value);
	if (rv == 0)
		*ret_parts = row.parts;
	return rv;
}

/* What the host knows of those that are under way it adds to the answer. */
int ns_do_txn_ask(struct ns_ctx *x, const struct rpc_txn_ask *m)
{
	struct rpc_txn_ask_rsp rsp = { .state = RPC_TXN_ABORTED };
	struct ns_row_own row;
	struct wire_reader r;
	struct ns_key k;
	uint32_t n;
	int rv;

	ns_key_txn(&k, x->shard, NS_TXN_OWN, m->txn);
	rv = ns_get_own(x, ns_key_get(&k), &row);
	if (rv == -ENOENT)
		return NS_ANSWER(x, txn_ask_rsp, &rsp);
	if (rv != 0)
		return rv;
	rsp.state = RPC_TXN_COMMITTED;
	for (r = wire_vec_reader(row.parts, &n); n > 0; n--) {
		struct wire_bytes steps;
		uint16_t shard;

		wire_get_u16(&r, &shard);
		wire_get_blob(&r, &steps);
		if (r.err != 0)
			return -EIO;
		if (shard == m->shard)
			rsp.steps = steps;
	}
	return NS_ANSWER(x, txn_ask_rsp, &rsp);
}

int ns_do_txn_forget(struct ns_ctx *x, const struct rpc_txn_forget *m)
{
	struct wire_u128 txn;
	struct wire_reader r;
	struct ns_key k;
	uint32_t n;
	int rv = 0;

	r = wire_vec_reader(m->txns, &n);
	if (r.err != 0 || n > NS_TXN_WANTS)
		return RPC_STATUS_INVAL;
	for (; rv == 0 && n > 0; n--) {
		wire_get_u128(&r, &txn);
		if (r.err != 0)
			return RPC_STATUS_INVAL;
		rv = rows_del(x->t, ns_key_txn(&k, x->shard, NS_TXN_OWN, txn));
	}
	return rv != 0 ? rv : ns_answer_empty(x);
}
