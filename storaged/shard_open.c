/*
 * What the leader decides about open inodes.
 *
 * The open table is soft state of the leader, yet whether an inode that loses
 * its last name is kept must be in the command. So between a decision and its
 * apply nothing may change it unseen:
 * - a command that may take a name (VICTIM) is `in flight` from its submit to
 *   its end. OPEN registers first, then waits for those already in flight,
 *   then reads: either they saw the open, or the read sees what they did.
 * - a command that may bring an open inode to a name (BRING: rename, link,
 *   mknod with open) makes the decision for that same name a cautious one:
 *   keep the inode. A new inode (PUT) is none of these: its number is told
 *   once this leader has applied it, and a leader that has still to apply what
 *   an earlier one told knows no opens.
 * - a new leader knows no opens: for 60 s, in which clients say theirs again,
 *   every decision is cautious.
 * What was kept and nobody has open when its command was applied (a cautious
 * decision, the open ended meanwhile, or another inode was decided about), or
 * when an OPEN failed, goes with a sweep that begins later.
 * The opens of a session that ended go when SESSION_END was applied; the
 * namespace takes no new ones (ns_session.c), and the sweep closes what nobody
 * else holds.
 */
#include "storaged/shard_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/xxh.h"

static void flight_name(struct shard_op *op, uint64_t dir,
			struct wire_bytes name)
{
	op->named = true;
	op->name_dir = dir;
	op->name_hash = XXH3_64bits(name.p, name.len);
}

static void flight_mknod(struct shard_op *op)
{
	struct rpc_mknod m;

	if (rpc_mknod_decode(&m, op->payload.p, op->payload.len) != 0 ||
	    (m.flags & RPC_MKNOD_OPEN) == 0)
		return;
	op->open = true;
	op->open_id.session = m.session;
	op->open_id.number = m.number;
	op->flight = SHARD_FLIGHT_BRING;
	flight_name(op, m.dir, m.name);
}

static void flight_unlink(struct shard_op *op)
{
	struct rpc_unlink m;

	if (rpc_unlink_decode(&m, op->payload.p, op->payload.len) != 0 ||
	    m.rmdir != 0)
		return;
	op->flight = SHARD_FLIGHT_VICTIM;
	flight_name(op, m.dir, m.name);
}

static void flight_rename(struct shard_op *op)
{
	struct rpc_rename m;

	if (rpc_rename_decode(&m, op->payload.p, op->payload.len) != 0)
		return;
	op->flight = SHARD_FLIGHT_BRING;
	if ((m.flags & RPC_RENAME_EXCHANGE) != 0)
		return; /* both names get something */
	op->flight |= SHARD_FLIGHT_VICTIM;
	flight_name(op, m.dir2, m.name2);
}

static void flight_link(struct shard_op *op)
{
	struct rpc_link m;

	if (rpc_link_decode(&m, op->payload.p, op->payload.len) != 0)
		return;
	op->flight = SHARD_FLIGHT_BRING;
	flight_name(op, m.dir, m.name);
}

void shard_flight_fill(struct shard_op *op)
{
	switch (op->tag) {
	case RPC_TAG_mknod:
		flight_mknod(op);
		break;
	case RPC_TAG_unlink:
		flight_unlink(op);
		break;
	case RPC_TAG_rename:
		flight_rename(op);
		break;
	case RPC_TAG_link:
		flight_link(op);
		break;
	case RPC_TAG_put:
	case RPC_TAG_delete:
	case RPC_TAG_mpu_complete:
	case RPC_TAG_root_remove:
		op->flight = SHARD_FLIGHT_VICTIM;
		break;
	case RPC_TAG_txn_end: /* whatever another shard did */
		op->flight = SHARD_FLIGHT_VICTIM | SHARD_FLIGHT_BRING;
		break;
	default:
		break;
	}
}

bool shard_in_grace(const struct shard_group *g)
{
	return g->grace_until != 0 &&
	       env_now_ns(g->set->env) < g->grace_until;
}

/* Something in flight may bring an open inode to the name op takes. */
static bool shard_brought(const struct shard_op *op)
{
	for (const struct shard_op *f = op->g->flight_head; f != NULL;
	     f = f->flight_next)
		if ((f->flight & SHARD_FLIGHT_BRING) != 0 &&
		    (!op->named || !f->named ||
		     (f->name_dir == op->name_dir &&
		      f->name_hash == op->name_hash)) &&
		    (f->open || op->g->opens.n > 0))
			return true;
	return false;
}

int shard_decide(struct shard_op *op)
{
	struct shard_group *g = op->g;
	struct ns_cmd c;
	uint64_t ino = 0;
	int rv;

	if ((op->flight & SHARD_FLIGHT_VICTIM) == 0)
		return 0;
	if (shard_in_grace(g) || shard_brought(op)) {
		op->decisions |= NS_DECIDE_OPEN;
		return 0;
	}
	if (g->opens.n == 0)
		return 0;
	if (shard_op_txn(op) == NULL)
		return -ENOMEM;
	c = shard_op_cmd(op);
	rv = ns_victim(op->txn, &c, &ino);
	if (rv == -EAGAIN)
		return rv;
	rows_txn_rewind(op->txn);
	if (rv == 0 && ino != 0 && opens_count(&g->opens, ino) > 0)
		op->decisions |= NS_DECIDE_OPEN;
	return rv == -ENOMEM ? rv : 0; /* other troubles come again in apply */
}

void shard_flight_begin(struct shard_op *op)
{
	struct shard_group *g = op->g;

	op->in_flight = true;
	op->flight_seq = ++g->flight_seq;
	op->flight_prev = g->flight_tail;
	op->flight_next = NULL; /* it may fly a second time */
	if (g->flight_tail != NULL)
		g->flight_tail->flight_next = op;
	else
		g->flight_head = op;
	g->flight_tail = op;
}

/* Wakes the ops that have nothing older to wait for. */
static void shard_flight_wake(struct shard_group *g)
{
	struct shard_op **p = &g->waiting, *w;

	while ((w = *p) != NULL) {
		if (g->flight_head != NULL &&
		    g->flight_head->flight_seq <= w->wait_seq) {
			p = &w->wait_next;
			continue;
		}
		*p = w->wait_next;
		shard_op_post(w);
	}
}

void shard_flight_end(struct shard_op *op)
{
	struct shard_group *g = op->g;

	if (!op->in_flight)
		return;
	op->in_flight = false;
	if (op->flight_prev != NULL)
		op->flight_prev->flight_next = op->flight_next;
	else
		g->flight_head = op->flight_next;
	if (op->flight_next != NULL)
		op->flight_next->flight_prev = op->flight_prev;
	else
		g->flight_tail = op->flight_prev;
	shard_flight_wake(g);
}

bool shard_flight_wait(struct shard_op *op)
{
	struct shard_group *g = op->g;

	if (g->flight_head == NULL)
		return false;
	op->wait_seq = g->flight_seq;
	op->wait_next = g->waiting;
	g->waiting = op;
	return true;
}

void shard_kept(struct shard_group *g, uint64_t ino)
{
	if (g->leader && opens_count(&g->opens, ino) == 0)
		shard_sweep_later(g, SHARD_SWEEP_NS);
}

int shard_op_register(struct shard_op *op, uint64_t ino)
{
	int rv;

	op->open_id.ino = ino;
	rv = opens_begin(&op->g->opens, op->open_id);
	if (rv != 0)
		return rv;
	op->registered = true;
	op->open_round = op->g->open_round;
	return 0;
}

int shard_op_opened(struct shard_op *op)
{
	if (!op->registered)
		return 0;
	op->registered = false;
	if (op->open_round != op->g->open_round)
		return -ENOENT;
	return opens_made(&op->g->opens, op->open_id);
}

void shard_op_unregister(struct shard_op *op)
{
	struct shard_group *g = op->g;
	bool registered = op->registered;

	op->registered = false;
	if (!registered || op->open_round != g->open_round)
		return;
	opens_undo(&g->opens, op->open_id);
	/* whoever came meanwhile has left the inode to us */
	if (opens_count(&g->opens, op->open_id.ino) == 0 && g->leader)
		shard_sweep_later(g, SHARD_SWEEP_NS);
}

void shard_sessions_ended(struct shard_group *g, const struct ns_cmd *c)
{
	struct rpc_session_end m;
	struct wire_reader r;
	uint64_t ended = 0;

	if (rpc_session_end_decode(&m, c->payload, c->len) != 0)
		return; /* it was applied: not reached */
	r = (struct wire_reader){ .p = m.sessions.p, .left = m.sessions.len };
	while (r.left >= 8) {
		uint64_t session;

		wire_get_u64(&r, &session);
		ended += opens_end(&g->opens, session);
	}
	/* at the end of the grace there is a sweep anyway */
	if (ended > 0 && !shard_in_grace(g))
		shard_sweep_later(g, 0);
}
