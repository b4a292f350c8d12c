/*
 * Rows of other shards in a command.
 *
 * Happy path: run 1 misses rows and ends FAR -> the host locks them in their
 * shards (TXN_LOCK) -> run 2 has them, notes steps, and is the log entry that
 * commits: its own rows are written, the steps are saved in a row (own), the
 * client is answered -> the host has the steps done (TXN_END), then forgets
 * them. Rows of the own shard are never locked: they are read at the commit.
 *
 * Failure modes: run 2 misses further rows, or is refused, or meets somebody
 * else's lock: nothing is written, the host goes on, gives the locks back, or
 * both and begins anew. See shard_far.c.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <sys/stat.h>

enum {
	NS_FAR_SHARDS = 16, /* that one command changes */
	NS_FAR_ROWS = 4096, /* that one command may bring */
};

struct ns_far_row {
	struct wire_bytes key, value;
	uint8_t mode;
	bool there;
};

struct ns_far_out {
	uint16_t shard;
	struct wire_vec steps;
};

struct ns_far {
	struct ns_far_row *rows; /* in command memory */
	unsigned n;
	struct wire_vec needs;
	struct ns_far_out out[NS_FAR_SHARDS];
	unsigned n_out;
};

/* --- going elsewhere --- */

int ns_elsewhere(struct ns_ctx *x, uint16_t shard, uint64_t at, uint32_t skip)
{
	x->where = (struct rpc_error_rsp){ .shard = shard, .at = at,
					   .skip = skip };
	return RPC_STATUS_ELSEWHERE;
}

int ns_place(struct ns_ctx *x, uint64_t dir, uint64_t at, uint32_t skip)
{
	if (!(x->cmd->decisions & NS_DECIDE_PLACE) || ns_is_far(x, dir) ||
	    x->cmd->place == x->shard)
		return 0;
	return ns_elsewhere(x, x->cmd->place, at, skip);
}

bool ns_may_place(uint16_t tag, struct wire_bytes payload)
{
	struct rpc_mknod mknod;
	struct rpc_put put;
	uint16_t home;

	switch (tag) {
	case RPC_TAG_put: /* with chunks its place is given already */
		return rpc_put_decode(&put, payload.p, payload.len) == 0 &&
		       !ns_put_home(&put, &home);
	case RPC_TAG_mknod:
		return rpc_mknod_decode(&mknod, payload.p, payload.len) == 0 &&
		       S_ISDIR(mknod.mode);
	default:
		return false;
	}
}

/* --- what the command brought --- */

static int ns_far_parse(struct ns_ctx *x, struct ns_far *f)
{
	struct wire_reader r;
	uint32_t n;

	if (x->cmd->far.len == 0)
		return 0;
	r = wire_vec_reader(x->cmd->far, &n);
	if (r.err != 0)
		return RPC_STATUS_BADMSG;
	if (n > NS_FAR_ROWS)
		return RPC_STATUS_TOO_MANY;
	f->rows = ns_alloc(x, n * sizeof(*f->rows));
	if (f->rows == NULL)
		return -ENOMEM;
	for (; f->n < n; f->n++) {
		struct ns_far_row *row = &f->rows[f->n];
		uint8_t there;

		wire_get_u8(&r, &row->mode);
		wire_get_str(&r, &row->key);
		wire_get_u8(&r, &there);
		wire_get_blob(&r, &row->value);
		if (r.err != 0)
			return RPC_STATUS_BADMSG;
		row->there = there;
	}
	return 0;
}

static int ns_far_begin(struct ns_ctx *x)
{
	struct ns_far *f;

	if (x->far != NULL)
		return 0;
	f = ns_alloc(x, sizeof(*f));
	if (f == NULL)
		return -ENOMEM;
	wire_vec_init(&f->needs);
	x->far = f;
	return ns_far_parse(x, f);
}

void ns_far_fini(struct ns_ctx *x)
{
	if (x->far == NULL)
		return;
	wire_vec_fini(&x->far->needs);
	for (unsigned i = 0; i < x->far->n_out; i++)
		wire_vec_fini(&x->far->out[i].steps);
	x->far = NULL;
}

/* --- rows --- */

/* The same row twice makes two wants: the host does not mind. */
static int ns_far_need(struct ns_ctx *x, struct wire_bytes key, uint8_t mode)
{
	struct wire_writer w = wire_vec_add(&x->far->needs);

	wire_put_u8(&w, &mode);
	wire_put_str(&w, &key);
	return x->far->needs.buf.err != 0 ? -ENOMEM : -EAGAIN;
}

static bool ns_far_serves(uint8_t held, uint8_t mode)
{
	return held == mode || held == RPC_LOCK_ALL ||
	       mode == RPC_LOCK_LOOK ||
	       (held == RPC_LOCK_PIN && mode == RPC_LOCK_UP);
}

/* The last answer that serves: each was true while its lock holds. */
static int ns_far_get(struct ns_ctx *x, struct wire_bytes key, uint8_t mode,
		      struct ns_far_row **ret)
{
	int rv = ns_far_begin(x);

	if (rv != 0)
		return rv;
	for (unsigned i = x->far->n; i-- > 0;) {
		struct ns_far_row *row = &x->far->rows[i];

		if (!wire_bytes_eq(row->key, key) ||
		    !ns_far_serves(row->mode, mode))
			continue;
		*ret = row;
		return row->there ? 0 : -ENOENT;
	}
	return ns_far_need(x, ns_key_both(key), mode);
}

int ns_far_inode(struct ns_ctx *x, uint64_t ino, uint8_t mode,
		 struct ns_row_inode *ret, uint8_t *ret_held)
{
	struct ns_far_row *row;
	struct ns_key k;
	int rv;

	ns_key_id(&k, ino_shard(ino), NS_T_INODE, ino);
	rv = ns_far_get(x, ns_key_get(&k), mode, &row);
	if (rv != 0)
		return rv;
	*ret_held = row->mode;
	return ns_row_inode_load(ret, row->value);
}

int ns_far_dent(struct ns_ctx *x, struct wire_bytes key, uint8_t mode,
		struct ns_row_dent *ret)
{
	struct ns_far_row *row;
	int rv = ns_far_get(x, key, mode, &row);

	return rv != 0 ? rv : ns_row_dent_load(ret, row->value);
}

int ns_far_map(struct ns_ctx *x, struct wire_bytes key, uint8_t mode,
	       struct ns_row_map *ret)
{
	struct ns_far_row *row;
	int rv = ns_far_get(x, key, mode, &row);

	return rv != 0 ? rv : ns_row_map_load(ret, row->value);
}

bool ns_far_needs(const struct ns_ctx *x)
{
	return x->far != NULL && x->far->needs.count > 0;
}

int ns_far_needs_move(struct ns_ctx *x, struct wire_vec *ret)
{
	wire_vec_fini(ret);
	*ret = x->far->needs;
	wire_vec_init(&x->far->needs);
	return ret->buf.err;
}

/* --- steps --- */

static struct ns_far_out *ns_far_out(struct ns_far *f, uint16_t shard)
{
	struct ns_far_out *o = f->out;

	while (o < f->out + f->n_out && o->shard != shard)
		o++;
	if (o == f->out + NS_FAR_SHARDS)
		return NULL;
	if (o == f->out + f->n_out) {
		o->shard = shard;
		wire_vec_init(&o->steps);
		f->n_out++;
	}
	return o;
}

int ns_far_step(struct ns_ctx *x, uint16_t shard, const struct ns_step *step)
{
	struct ns_step s = *step;
	struct ns_far_out *o;
	struct wire_writer w;
	struct wire_bytes b;
	int rv = ns_far_begin(x);

	if (rv != 0)
		return rv;
	o = ns_far_out(x->far, shard);
	if (o == NULL)
		return RPC_STATUS_TOO_MANY;
	buf_reset(&x->scratch);
	s.quiet = x->quiet;
	rv = ns_step_encode(&s, &x->scratch);
	if (rv != 0)
		return rv;
	w = wire_vec_add(&o->steps);
	b = wire_bytes(x->scratch.data, x->scratch.len);
	wire_put_blob(&w, &b);
	return o->steps.buf.err;
}

int ns_far_save(struct ns_ctx *x)
{
	struct ns_far *f = x->far;
	struct ns_row_own row = { .since = x->cmd->now };
	struct wire_vec parts;
	struct ns_key k;
	int rv;

	if (f == NULL || f->n_out == 0)
		return 0;
	wire_vec_init(&parts);
	for (unsigned i = 0; i < f->n_out; i++) {
		struct wire_bytes steps = wire_vec_bytes(&f->out[i].steps);
		struct wire_writer w = wire_vec_add(&parts);

		wire_put_u16(&w, &f->out[i].shard);
		wire_put_blob(&w, &steps);
	}
	row.parts = wire_vec_bytes(&parts);
	rv = parts.buf.err;
	if (rv == 0)
		rv = ns_put_own(x, ns_key_txn(&k, x->shard, NS_TXN_OWN,
					      x->cmd->txn), &row);
	wire_vec_fini(&parts);
	x->a->txn = rv == 0;
	return rv;
}
