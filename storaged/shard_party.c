/*
 * Transactions and who waits for them.
 *
 * shard_end: the steps of a committed one are done in the other shards, then
 * its row goes; or the locks of one that gave up go back. A party that holds
 * locks here for long is asked for: its coordinator knows what became of it
 * (its row says committed, its leader that it is under way, else it never
 * commits). So whatever a crash leaves behind is ended by the new leaders.
 *
 * Failure modes: another shard cannot be reached: tried again while this group
 * leads; readers and writers of what is locked wait, then get BUSY.
 */
#include "storaged/shard_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "storaged/ns_rows.h"

#define END_RETRY_NS 300000000u
enum { END_PARTS = 32 };

static void party_arm(struct shard_group *g);
static void party_forget(struct shard_group *g);

/* --- ends of our own --- */

struct end_part {
	struct shard_end *e;
	uint16_t shard;
	void *handle;
	bool busy, done;
	bool own;                /* its row has steps for it */
};

struct shard_end {
	struct shard_group *g;
	struct shard_end *prev, *next;
	struct wire_u128 txn;
	bool committed;          /* there is a row to be forgotten */
	struct rows_txn *rows;   /* that read the row */
	struct end_part parts[END_PARTS];
	unsigned n, busy;
	uint32_t status;         /* of the calls */
	struct env_task task;
	struct env_timer timer;
	void (*done)(void *arg);
	void *arg;
};

static void end_free(struct shard_end *e)
{
	const struct shard_config *config = &e->g->set->config;

	for (unsigned i = 0; i < e->n; i++)
		if (e->parts[i].busy)
			config->call_cancel(config->arg, e->parts[i].handle);
	env_timer_cancel(e->g->set->env, &e->timer);
	rows_txn_free(e->rows);
	if (e->prev != NULL)
		e->prev->next = e->next;
	else
		e->g->ends = e->next;
	if (e->next != NULL)
		e->next->prev = e->prev;
	mem_free(e);
}

void shard_end_forget(struct shard_end *e)
{
	if (e != NULL)
		e->done = NULL;
}

/* The row of txn may go. False: out of memory, it is looked for later. */
static bool party_note(struct shard_group *g, struct wire_u128 txn)
{
	if (g->n_forget == SHARD_FORGET)
		party_forget(g);
	/* most groups never have any */
	if (g->forget == NULL)
		g->forget = mem_calloc(SHARD_FORGET, sizeof(*g->forget));
	if (g->forget == NULL)
		return false;
	g->forget[g->n_forget++] = txn;
	return true;
}

/* all: every step was done. */
static void end_done(struct shard_end *e, bool all)
{
	struct shard_group *g = e->g;
	struct ns_party *p = ns_locks_party(g->locks, e->txn, true);
	void (*done)(void *arg) = e->done;
	void *arg = e->arg;

	/* it stays busy until its row is gone */
	if (p != NULL && (!all || !party_note(g, e->txn)))
		p->busy = false;
	end_free(e);
	party_arm(g);
	if (done != NULL)
		done(arg);
}

static void end_step(struct shard_end *e);

static void end_task(struct env_task *task)
{
	end_step(CONTAINER_OF(task, struct shard_end, task));
}

static void end_later(struct env_timer *timer)
{
	end_step(CONTAINER_OF(timer, struct shard_end, timer));
}

static void end_again(struct shard_end *e)
{
	e->timer.cb = end_later;
	env_timer_set(e->g->set->env, &e->timer, END_RETRY_NS);
}

/* All calls of a round came back. */
static void end_round(struct shard_end *e)
{
	bool all = true;

	for (unsigned i = 0; i < e->n; i++)
		all = all && e->parts[i].done;
	if (all || !e->committed || !e->g->leader) {
		/* what gave up tries once: who is not told will ask */
		end_done(e, all);
		return;
	}
	end_again(e);
}

static void end_called(void *arg, uint32_t status, struct wire_bytes payload)
{
	struct end_part *part = arg;
	struct shard_end *e = part->e;

	(void)payload;
	part->busy = false;
	part->done = status == RPC_STATUS_OK;
	if (--e->busy == 0)
		end_round(e);
}

static int end_send(struct shard_end *e, struct end_part *part,
		    struct wire_bytes steps)
{
	const struct shard_config *config = &e->g->set->config;
	struct rpc_txn_end m = { .txn = e->txn, .steps = steps };
	struct buf b;
	int rv;

	buf_init(&b, 0);
	rv = rpc_txn_end_encode(&m, &b);
	if (rv == 0)
		rv = config->call(config->arg, part->shard, RPC_TAG_txn_end,
				  &b, end_called, part, &part->handle);
	buf_fini(&b);
	if (rv == 0) {
		part->busy = true;
		e->busy++;
	}
	return rv;
}

static struct end_part *end_part(struct shard_end *e, uint16_t shard)
{
	struct end_part *p = e->parts;

	while (p < e->parts + e->n && p->shard != shard)
		p++;
	if (p == e->parts + END_PARTS)
		return NULL;
	if (p == e->parts + e->n) {
		*p = (struct end_part){ .e = e, .shard = shard };
		e->n++;
	}
	return p;
}

/* Sends to everybody who has not answered; the row says who has what to do. */
static void end_send_all(struct shard_end *e, struct wire_bytes parts)
{
	struct wire_reader r;
	uint32_t n;

	for (r = wire_vec_reader(parts, &n); n > 0; n--) {
		struct end_part *p;
		struct wire_bytes steps;
		uint16_t shard;

		wire_get_u16(&r, &shard);
		wire_get_blob(&r, &steps);
		p = r.err == 0 ? end_part(e, shard) : NULL;
		if (p == NULL)
			break;
		p->own = true;
		if (!p->done && !p->busy)
			(void)end_send(e, p, steps);
	}
	for (unsigned i = 0; i < e->n; i++)
		if (!e->parts[i].own && !e->parts[i].done)
			(void)end_send(e, &e->parts[i], wire_bytes(NULL, 0));
}

static void end_loaded(void *arg, int status)
{
	struct shard_end *e = arg;

	if (status != 0 && status != -ENOMEM)
		fatal_abort("shard=%u: rows cannot be read: %s", e->g->id,
			    strerror(-status));
	end_step(e);
}

static void end_step(struct shard_end *e)
{
	struct wire_bytes parts = { NULL, 0 };
	int rv;

	if (e->committed && !e->g->leader) {
		end_done(e, false);
		return;
	}
	rv = ns_txn_own(e->rows, e->g->id, e->txn, &parts);
	switch (rv) {
	case -EAGAIN:
		rows_txn_load(e->rows, end_loaded, e);
		return;
	case -ENOMEM: /* whoever is told of no steps would do none */
		rows_txn_reset(e->rows);
		end_again(e);
		return;
	case -ENOENT: /* it gave up, or was forgotten meanwhile: all is done */
		if (!e->committed)
			break;
		end_done(e, true);
		return;
	case 0:
		break;
	default:
		fatal_abort("shard=%u: a transaction cannot be read: %s",
			    e->g->id, strerror(-rv));
	}
	end_send_all(e, parts);
	rows_txn_reset(e->rows);
	if (e->busy == 0) /* no memory: later; this may free e */
		end_round(e);
}

struct shard_end *shard_end_start(struct shard_group *g, struct wire_u128 txn,
				  const uint16_t *shards, unsigned n,
				  void (*done)(void *arg), void *arg)
{
	struct ns_party *p = ns_locks_party(g->locks, txn, true);
	struct shard_end *e = mem_zalloc(sizeof *e);

	assert(n <= END_PARTS);
	if (e == NULL)
		return NULL;
	e->rows = rows_txn_new(g->set->rows);
	if (e->rows == NULL) {
		mem_free(e);
		return NULL;
	}
	e->g = g;
	e->txn = txn;
	e->committed = p != NULL;
	if (p != NULL)
		p->busy = true;
	for (unsigned i = 0; i < n; i++)
		(void)end_part(e, shards[i]);
	e->done = done;
	e->arg = arg;
	e->task.run = end_task;
	e->next = g->ends;
	if (e->next != NULL)
		e->next->prev = e;
	g->ends = e;
	env_post(g->set->env, &e->task);
	return e;
}

/* --- forgetting --- */

static void forget_done(void *arg, uint32_t status, struct buf *payload,
			struct body *body)
{
	struct shard_group *g = arg;

	(void)payload;
	g->forget_lost |= status != RPC_STATUS_OK;
	body_unref(body);
}

/* A row was not forgotten: those that nobody ends are ended again. */
static void party_remember(struct shard_group *g)
{
	g->forget_lost = false;
	for (struct ns_party *p = g->locks->parties; p != NULL; p = p->next) {
		const struct shard_end *e = g->ends;

		while (e != NULL && !wire_u128_eq(e->txn, p->txn))
			e = e->next;
		if (p->own && e == NULL)
			p->busy = false;
	}
}

static void party_forget(struct shard_group *g)
{
	struct rpc_txn_forget m = { .client = 0 };
	struct wire_vec txns;
	struct buf b;
	int rv;

	if (g->n_forget == 0)
		return;
	wire_vec_init(&txns);
	for (unsigned i = 0; i < g->n_forget; i++) {
		struct wire_writer w = wire_vec_add(&txns);

		wire_put_u128(&w, &g->forget[i]);
	}
	g->n_forget = 0;
	m.txns = wire_vec_bytes(&txns);
	buf_init(&b, 0);
	rv = txns.buf.err != 0 ? txns.buf.err : rpc_txn_forget_encode(&m, &b);
	if (rv == 0)
		rv = shard_call(g->set, g->id, RPC_TAG_txn_forget, &b,
				forget_done, g);
	g->forget_lost |= rv != 0;
	buf_fini(&b);
	wire_vec_fini(&txns);
}

/* --- parties of others: what became of them? --- */

struct party_ask {
	struct shard_group *g;
	struct party_ask *prev, *next;
	struct wire_u128 txn;
	void *handle;
};

static void ask_free(struct party_ask *a)
{
	if (a->prev != NULL)
		a->prev->next = a->next;
	else
		a->g->asks = a->next;
	if (a->next != NULL)
		a->next->prev = a->prev;
	mem_free(a);
}

static void party_ended(void *arg, uint32_t status, struct buf *payload,
			struct body *body)
{
	(void)arg;
	(void)status; /* what stays is asked for again */
	(void)payload;
	body_unref(body);
}

static void party_end(struct shard_group *g, struct wire_u128 txn,
		      struct wire_bytes steps)
{
	struct rpc_txn_end m = { .txn = txn, .steps = steps };
	struct buf b;

	buf_init(&b, 0);
	if (rpc_txn_end_encode(&m, &b) == 0)
		(void)shard_call(g->set, g->id, RPC_TAG_txn_end, &b,
				 party_ended, g);
	buf_fini(&b);
}

static void party_told(void *arg, uint32_t status, struct wire_bytes payload)
{
	struct party_ask *a = arg;
	struct shard_group *g = a->g;
	struct ns_party *p = ns_locks_party(g->locks, a->txn, false);
	struct rpc_txn_ask_rsp rsp;

	if (p != NULL) {
		p->busy = false;
		p->seen_ns = env_now_ns(g->set->env);
	}
	if (p != NULL && status == RPC_STATUS_OK && g->leader &&
	    rpc_txn_ask_rsp_decode(&rsp, payload.p, payload.len) == 0 &&
	    rsp.state != RPC_TXN_PENDING)
		party_end(g, a->txn, rsp.steps);
	ask_free(a);
}

static void party_ask(struct shard_group *g, struct ns_party *p)
{
	const struct shard_config *config = &g->set->config;
	struct rpc_txn_ask m = { .txn = p->txn, .shard = g->id };
	struct party_ask *a = mem_zalloc(sizeof *a);
	struct buf b;
	int rv = -ENOMEM;

	if (a == NULL)
		return;
	a->g = g;
	a->txn = p->txn;
	a->next = g->asks;
	if (a->next != NULL)
		a->next->prev = a;
	g->asks = a;
	buf_init(&b, 0);
	if (rpc_txn_ask_encode(&m, &b) == 0)
		rv = config->call(config->arg, ns_txn_shard(p->txn),
				  RPC_TAG_txn_ask, &b, party_told, a,
				  &a->handle);
	buf_fini(&b);
	if (rv != 0)
		ask_free(a);
	else
		p->busy = true;
}

/* --- ops that wait --- */

void shard_lock_leave(struct shard_op *op)
{
	struct shard_op **at = &op->g->locked;

	while (*at != op)
		at = &(*at)->lock_next;
	*at = op->lock_next;
	op->lock_next = NULL;
	op->state = op->resume;
}

void shard_lock_wait(struct shard_op *op, struct wire_u128 holder,
		     enum shard_op_state resume)
{
	struct shard_group *g = op->g;

	shard_count(&g->set->stats.lock_waits, 1);
	op->holder = holder;
	op->lock_number = g->locks->last;
	if (op->lock_until == 0)
		op->lock_until = env_now_ns(g->set->env) + SHARD_LOCKED_NS;
	op->resume = resume;
	op->state = OP_LOCKED;
	op->lock_next = g->locked;
	g->locked = op;
	shard_party_applied(g); /* it may have ended already */
}

static bool lock_holds(const struct shard_group *g, const struct shard_op *op)
{
	if (op->holder.hi == 0 && op->holder.lo == 0)
		return ns_locks_since(g->locks, op->lock_number);
	return ns_locks_party(g->locks, op->holder, false) != NULL;
}

static void lock_wake(struct shard_group *g, bool all)
{
	struct shard_op *op = g->locked, *next;

	for (; op != NULL; op = next) {
		next = op->lock_next;
		if (!all && lock_holds(g, op))
			continue;
		shard_lock_leave(op);
		shard_op_post(op);
	}
}

/*
 * A transaction ended: who still waits for its locks would get them for nobody,
 * and keep them until the coordinator is asked. What was sent again waits as
 * often as it was sent.
 */
void shard_locks_ended(struct shard_group *g, const struct ns_cmd *c)
{
	struct shard_op *op = g->locked, *next;
	struct rpc_txn_lock m;
	struct rpc_txn_end end;

	if (rpc_txn_end_decode(&end, c->payload, c->len) != 0)
		return;
	for (; op != NULL; op = next) {
		next = op->lock_next;
		if (op->tag == RPC_TAG_txn_lock &&
		    rpc_txn_lock_decode(&m, op->payload.p, op->payload.len) ==
			    0 &&
		    wire_u128_eq(m.txn, end.txn))
			shard_op_finish(op, RPC_STATUS_LOCKED);
	}
}

static void lock_expire(struct shard_group *g)
{
	uint64_t now = env_now_ns(g->set->env);
	struct shard_op *op = g->locked, *next;

	for (; op != NULL; op = next) {
		next = op->lock_next;
		if (op->lock_until > now)
			continue;
		shard_op_unregister(op); /* a read that opens */
		shard_op_finish(op, RPC_STATUS_BUSY);
	}
}

/* --- the watch --- */

static void party_look(struct shard_group *g)
{
	uint64_t now = env_now_ns(g->set->env);
	struct ns_party *p, *next;

	for (p = g->locks->parties; p != NULL; p = next) {
		next = p->next;
		if (p->busy)
			continue;
		if (p->own)
			(void)shard_end_start(g, p->txn, NULL, 0, NULL, NULL);
		else if (p->seen_ns == 0)
			p->seen_ns = now;
		else if (now - p->seen_ns >= SHARD_ASK_NS)
			party_ask(g, p);
	}
}

static void party_tick(struct env_timer *timer)
{
	struct shard_group *g = CONTAINER_OF(timer, struct shard_group, party);

	g->party_armed = false;
	lock_expire(g);
	if (!g->leader || g->set->config.call == NULL)
		return;
	if (g->forget_lost)
		party_remember(g);
	party_forget(g);
	party_look(g);
	party_arm(g);
}

static void party_arm(struct shard_group *g)
{
	if (g->party_armed || g->set->closing ||
	    (g->locked == NULL && !(g->leader && g->locks->parties != NULL)))
		return;
	g->party_armed = true;
	g->party.cb = party_tick;
	env_timer_set(g->set->env, &g->party, SHARD_PARTY_NS);
}

void shard_party_applied(struct shard_group *g)
{
	if (g->locked != NULL)
		lock_wake(g, false);
	party_arm(g);
}

void shard_party_role(struct shard_group *g)
{
	g->n_forget = 0;
	party_remember(g);
	for (struct ns_party *p = g->locks->parties; p != NULL; p = p->next)
		p->seen_ns = 0;
	lock_wake(g, true); /* who does not lead tells them */
	party_arm(g);
}

void shard_party_replaced(struct shard_group *g, struct ns_locks *locks)
{
	struct ns_party *p;

	ns_locks_free(g->locks);
	g->locks = locks;
	for (const struct shard_end *e = g->ends; e != NULL; e = e->next) {
		p = ns_locks_party(locks, e->txn, true);
		if (p != NULL)
			p->busy = true;
	}
	for (const struct party_ask *a = g->asks; a != NULL; a = a->next) {
		p = ns_locks_party(locks, a->txn, false);
		if (p != NULL)
			p->busy = true;
	}
	lock_wake(g, true);
}

void shard_party_free(struct shard_group *g)
{
	const struct shard_config *config = &g->set->config;

	env_timer_cancel(g->set->env, &g->party);
	while (g->ends != NULL)
		end_free(g->ends);
	while (g->asks != NULL) {
		config->call_cancel(config->arg, g->asks->handle);
		ask_free(g->asks);
	}
	mem_free(g->forget);
	g->forget = NULL;
	ns_locks_free(g->locks);
}
