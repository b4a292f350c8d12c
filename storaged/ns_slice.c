/*
 * Slices: references, and their death.
 *
 *   (unknown) -- first commit --> LIVE <--> WAITS --> DEAD --> (forgotten)
 *       |                                              ^
 *       +---------------- given up, orphan ------------+
 *
 * LIVE: row K counts the extent lists that name the slice. WAITS: none does;
 * no row K, a queue row S since when. A commit that names it makes it live
 * again. DEAD: row K says so, a queue row D finds it later. Its chunks may be
 * removed, in any store, at any time. Forgotten: no rows.
 *
 * Why no chunk can go that something names, or will:
 * - Chunks are removed only of slices that SLICE_REAP called dead, after that
 *   command was applied. It does so only when no row K counts references, and
 *   whatever comes to be named is counted there in the command that names it.
 * - After it no commit can name the slice: while row K says dead it is refused
 *   (SLICE_GONE), and nothing makes a dead slice live. Row K goes only when
 *   the slice is a day old by the time of a command. A commit that names a
 *   slice that old without a row is refused as well, and the time of commands
 *   never goes back. So a commit that comes late finds one refusal or the
 *   other, whatever clocks say.
 * - All this is replicated: a leader that lost its office while it removes
 *   chunks does what the group has agreed on for good.
 * - Readers that have the extents from before: a slice that waited is dead
 *   only after the longest time that a reader may take (`before`). A reader
 *   that is later than that asks the shard again and gets other extents, or
 *   an error, never other bytes.
 * Every step may be sent again: reaping the dead is no change, removing what
 * is gone is none, SLICE_DONE of rows that are gone is none.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

enum {
	NS_SLICE_DAY = 24 * 3600, /* seconds; no commit may come later */
	NS_SLICES_MAX = 256,      /* of one message */
};

static bool ns_slice_is_old(const struct ns_ctx *x, struct wire_u128 slice)
{
	return x->cmd->now / 1000000000 - slice_second(slice) > NS_SLICE_DAY;
}

/* --- references --- */

int ns_kref_add(struct ns_ctx *x, struct wire_u128 slice, int64_t refs)
{
	unsigned i = x->n_k;

	while (i > 0 && !wire_u128_eq(x->k[i - 1].slice, slice))
		i--;
	if (i == 0) {
		if (x->n_k == x->cap_k) {
			unsigned cap = x->cap_k == 0 ? 8 : 2 * x->cap_k;
			struct ns_kdelta *k;

			k = mem_realloc(x->k, cap * sizeof(*k));
			if (k == NULL)
				return -ENOMEM;
			x->k = k;
			x->cap_k = cap;
		}
		i = ++x->n_k;
		x->k[i - 1] = (struct ns_kdelta){ .slice = slice };
	}
	x->k[i - 1].refs += refs;
	return 0;
}

static int ns_kref_gain(struct ns_ctx *x, const struct ns_kdelta *d,
			struct ns_row_slice *row, bool known)
{
	struct ns_key k;

	if (known ? row->dead != 0 : ns_slice_is_old(x, d->slice))
		return RPC_STATUS_SLICE_GONE;
	row->refs += (uint64_t)d->refs;
	if (!known) { /* new, or back from waiting */
		int rv;

		ns_key_queue128(&k, x->shard, NS_Q_SLICE, d->slice);
		rv = rows_del(x->t, ns_key_get(&k));
		if (rv != 0)
			return rv;
	}
	return ns_put_slice(x, ns_key_slice(&k, x->shard, d->slice), row);
}

static int ns_kref_lose(struct ns_ctx *x, const struct ns_kdelta *d,
			struct ns_row_slice *row)
{
	struct ns_key k;
	int rv;

	if (row->refs < (uint64_t)-d->refs)
		return -EIO;
	row->refs -= (uint64_t)-d->refs;
	ns_key_slice(&k, x->shard, d->slice);
	if (row->refs > 0)
		return ns_put_slice(x, ns_key_get(&k), row);
	rv = rows_del(x->t, ns_key_get(&k));
	if (rv != 0)
		return rv;
	ns_key_queue128(&k, x->shard, NS_Q_SLICE, d->slice);
	return ns_queue_put(x, ns_key_get(&k), wire_bytes(NULL, 0));
}

static int ns_kref_flush(struct ns_ctx *x, const struct ns_kdelta *d)
{
	struct ns_row_slice row = { .refs = 0 };
	struct ns_key k;
	int rv;

	if (d->refs == 0)
		return 0;
	rv = ns_get_slice(x, ns_key_slice(&k, x->shard, d->slice), &row);
	if (rv != 0 && rv != -ENOENT)
		return rv;
	return d->refs > 0 ? ns_kref_gain(x, d, &row, rv == 0)
			   : ns_kref_lose(x, d, &row);
}

int ns_krefs_flush(struct ns_ctx *x)
{
	int all = 0;

	for (unsigned i = 0; i < x->n_k; i++) {
		int rv = ns_kref_flush(x, &x->k[i]);

		/* goes on, so that all missing rows are noted at once */
		if (rv != 0 && (all == 0 || all == -EAGAIN))
			all = rv;
	}
	return all;
}

/* --- death --- */

/* What is a day old needs no row to be refused. */
static int ns_slice_kill(struct ns_ctx *x, struct wire_u128 slice)
{
	struct ns_row_slice row = { .dead = x->cmd->now };
	struct ns_key k;
	int rv;

	if (ns_slice_is_old(x, slice))
		return 0;
	rv = ns_put_slice(x, ns_key_slice(&k, x->shard, slice), &row);
	if (rv != 0)
		return rv;
	ns_key_queue128(&k, x->shard, NS_Q_DEAD, slice);
	return ns_queue_put(x, ns_key_get(&k), wire_bytes(NULL, 0));
}

/* Both rows of a slice; each 0 or -ENOENT. */
struct ns_slice_rows {
	int rv_k, rv_q;
	struct ns_row_slice k;
	struct ns_row_queue q;
};

static int ns_slice_look(struct ns_ctx *x, struct wire_u128 slice,
			 struct ns_slice_rows *ret)
{
	struct ns_key k;

	ret->rv_k = ns_get_slice(x, ns_key_slice(&k, x->shard, slice),
				 &ret->k);
	ns_key_queue128(&k, x->shard, NS_Q_SLICE, slice);
	ret->rv_q = ns_get_queue(x, ns_key_get(&k), &ret->q);
	if (ret->rv_k != 0 && ret->rv_k != -ENOENT)
		return ret->rv_k;
	return ret->rv_q == -ENOENT ? 0 : ret->rv_q;
}

/* Calls each for every slice of a message; goes on after -EAGAIN. */
static int ns_slices_each(struct ns_ctx *x, struct wire_bytes list,
			  int (*each)(struct ns_ctx *x, struct wire_u128 slice,
				      unsigned i, void *arg),
			  void *arg)
{
	struct wire_reader r;
	uint32_t n;
	int all = 0;

	r = wire_vec_reader(list, &n);
	if (r.err != 0 || n > NS_SLICES_MAX)
		return RPC_STATUS_INVAL;
	for (uint32_t i = 0; i < n; i++) {
		struct wire_u128 slice;
		int rv;

		wire_get_u128(&r, &slice);
		if (r.err != 0)
			return RPC_STATUS_INVAL;
		if (slice_home(slice) != x->shard)
			return RPC_STATUS_NOTSUP;
		rv = each(x, slice, i, arg);
		if (rv == -EAGAIN)
			all = rv;
		else if (rv != 0)
			return rv;
	}
	return all;
}

/* --- SLICE_REAP --- */

struct ns_reap {
	int64_t before;
	uint8_t dead[NS_SLICES_MAX];
	unsigned n;
};

static int ns_reap_one(struct ns_ctx *x, struct wire_u128 slice, unsigned i,
		       void *arg)
{
	struct ns_reap *reap = arg;
	struct ns_slice_rows s;
	int rv = ns_slice_look(x, slice, &s);

	reap->n = i + 1;
	reap->dead[i] = 0;
	if (rv != 0)
		return rv;
	if (s.rv_k == 0 && s.k.dead == 0)
		return 0;
	if (s.rv_k != 0 && s.rv_q == 0 && s.q.since > reap->before)
		return 0;
	reap->dead[i] = 1;
	return s.rv_k == 0 ? 0 : ns_slice_kill(x, slice);
}

int ns_do_slice_reap(struct ns_ctx *x, const struct rpc_slice_reap *m)
{
	struct ns_reap reap = { .before = m->before };
	struct rpc_slice_reap_rsp rsp;
	int rv = ns_slices_each(x, m->slices, ns_reap_one, &reap);

	rsp.dead = wire_bytes(reap.dead, reap.n);
	return rv != 0 ? rv : NS_ANSWER(x, slice_reap_rsp, &rsp);
}

/* --- SLICE_DONE --- */

static int ns_done_one(struct ns_ctx *x, struct wire_u128 slice, unsigned i,
		       void *arg)
{
	struct ns_slice_rows s;
	struct ns_key k;
	int rv = ns_slice_look(x, slice, &s);

	(void)i;
	(void)arg;
	if (rv != 0 || s.rv_q != 0)
		return rv;
	if (s.rv_k == 0 ? s.k.dead == 0 : !ns_slice_is_old(x, slice))
		return 0; /* not dead: not ours to say */
	ns_key_queue128(&k, x->shard, NS_Q_SLICE, slice);
	return rows_del(x->t, ns_key_get(&k));
}

int ns_do_slice_done(struct ns_ctx *x, const struct rpc_slice_done *m)
{
	int rv = ns_slices_each(x, m->slices, ns_done_one, NULL);

	return rv != 0 ? rv : ns_answer_empty(x);
}

/* --- SLICE_DROP --- */

static int ns_drop_one(struct ns_ctx *x, struct wire_u128 slice, unsigned i,
		       void *arg)
{
	struct ns_row_queue row = { .since = 0 }; /* it never had a reader */
	struct ns_slice_rows s;
	struct ns_key k;
	int rv = ns_slice_look(x, slice, &s);

	(void)i;
	(void)arg;
	if (rv != 0 || s.rv_k == 0 || s.rv_q == 0)
		return rv; /* named, dead, or waits: nothing to do here */
	rv = ns_slice_kill(x, slice);
	if (rv != 0)
		return rv;
	x->a->queued = true;
	ns_key_queue128(&k, x->shard, NS_Q_SLICE, slice);
	return ns_put_queue(x, ns_key_get(&k), &row);
}

int ns_do_slice_drop(struct ns_ctx *x, const struct rpc_slice_drop *m)
{
	int rv = ns_slices_each(x, m->slices, ns_drop_one, NULL);

	return rv != 0 ? rv : ns_answer_empty(x);
}

/* --- SLICE_ASK --- */

static int ns_ask_one(struct rows_iter *it, uint16_t shard,
		      struct wire_u128 slice, uint8_t *ret_state)
{
	struct ns_row_slice row;
	struct wire_bytes value;
	struct ns_key k;
	int rv = rows_iter_get(it, ns_key_slice(&k, shard, slice), &value);

	if (rv == 0) {
		if (ns_row_slice_load(&row, value) != 0)
			return -EIO;
		*ret_state = row.dead != 0 ? RPC_SLICE_DEAD : RPC_SLICE_ALIVE;
		return 0;
	}
	if (rv == -ENOENT)
		rv = rows_iter_get(it, ns_key_queue128(&k, shard, NS_Q_SLICE,
						       slice), &value);
	*ret_state = rv == 0 ? RPC_SLICE_ALIVE : RPC_SLICE_UNKNOWN;
	return rv == -ENOENT ? 0 : rv;
}

int ns_scan_slice_ask(struct rows_back *back, uint16_t shard,
		      const struct rpc_slice_ask *m, struct ns_answer *a)
{
	uint8_t states[NS_SLICES_MAX];
	struct rpc_slice_ask_rsp rsp;
	struct ns_key from, to;
	struct rows_iter *it = NULL;
	struct wire_reader r;
	uint32_t n;
	int rv;

	r = wire_vec_reader(m->slices, &n);
	if (r.err != 0 || n > NS_SLICES_MAX)
		return RPC_STATUS_INVAL;
	ns_key_start(&from, shard, 0);
	from.len = 2;
	to = from;
	ns_key_end(&to);
	rv = rows_iter_new(back, ns_key_get(&from), ns_key_get(&to), &it);
	for (uint32_t i = 0; i < n && rv == 0; i++) {
		struct wire_u128 slice;

		wire_get_u128(&r, &slice);
		rv = r.err != 0 ? RPC_STATUS_INVAL
				: ns_ask_one(it, shard, slice, &states[i]);
	}
	rows_iter_free(it);
	rsp.states = wire_bytes(states, n);
	return rv != 0 ? rv : rpc_slice_ask_rsp_encode(&rsp, &a->payload);
}

/* --- forgetting --- */

int ns_work_dead(struct ns_ctx *x, struct wire_u128 slice)
{
	struct ns_slice_rows s;
	struct ns_key k;
	int rv;

	if (!ns_slice_is_old(x, slice))
		return 0;
	rv = ns_slice_look(x, slice, &s);
	if (rv != 0)
		return rv;
	if (s.rv_k != 0 || s.k.dead == 0)
		return -EIO;
	rv = rows_del(x->t, ns_key_slice(&k, x->shard, slice));
	if (rv != 0)
		return rv;
	ns_key_queue128(&k, x->shard, NS_Q_DEAD, slice);
	return rows_del(x->t, ns_key_get(&k));
}
