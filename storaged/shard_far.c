/*
 * A command that needs rows of other shards. Its group's leader coordinates:
 *
 *   TRY -> LOCK -> TRY -> ... -> COMMIT -> (answer) -> shard_end
 *    ^      |                      |
 *    +-- PAUSE <-- END (locks back) +
 *
 * TRY runs the command over the rows that it has and writes nothing: what it
 * misses is locked in its shard (LOCK); when it misses nothing it becomes a
 * log entry together with those rows (COMMIT), and that entry is what happens.
 * Rows of the own shard are not locked, the entry meets them as they are.
 *
 * Failure modes: somebody else holds what is needed: while this one holds
 * nothing it waits, else it gives back what it has and begins anew after a
 * random pause (no cycle of waiting can arise). After a few times it does not
 * queue up any more: of two queues for what the other one's have, each is
 * handed on at once, and nobody ever finds both free. A shard does not answer,
 * or the group does not lead any more: UNAVAILABLE, NOT_LEADER; the others ask
 * what became of it (shard_party.c). The entry's outcome is not known: so it
 * is for the client, who asks again with the same number; what it asked before,
 * and is still being tried, makes way.
 */
#include "storaged/shard_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "storaged/ns_rows.h"

enum {
	FAR_PARTNERS = 16,
	FAR_ROUNDS = 64,  /* of LOCK in one attempt */
	FAR_TRIES = 40,   /* attempts */
	FAR_WAITS = 4,    /* of them that wait in another shard */
	FAR_WANTS = 1024, /* that are remembered */
};
#define FAR_PAUSE_NS 1000000u /* doubles up to 2^9 times that */
#define FAR_PAUSE_MAX_NS 2000000000u

struct far_call {
	struct shard_far *f;
	void *handle;
	bool busy;
};

struct shard_far {
	struct shard_op *op;     /* owns this */
	struct shard_group *g;
	struct shard_far *prev, *next;
	struct wire_u128 txn;
	struct wire_vec rows;    /* what was locked so far */
	struct wire_vec wants;   /* of all attempts: asked for at once */
	uint64_t begun;          /* this attempt */
	uint16_t partners[FAR_PARTNERS];
	unsigned n_partners;
	struct far_call calls[FAR_PARTNERS];
	unsigned n_calls;        /* under way */
	uint32_t status;         /* of the calls of this round */
	unsigned rounds, tries;
	struct shard_end *end;   /* locks are on their way back */
	struct env_timer timer;
};

static void far_new_txn(struct shard_far *f)
{
	uint64_t term = raft_group_term(f->g->raft) & NS_TXN_TERM_MASK;

	f->txn.hi = (uint64_t)f->g->id << 48 | term;
	f->txn.lo = ++f->g->txns;
	f->n_partners = f->rounds = 0;
	f->begun = env_now_ns(f->g->set->env);
	wire_vec_fini(&f->rows);
	wire_vec_init(&f->rows);
}

bool shard_far_pending(const struct shard_group *g, struct wire_u128 txn)
{
	const struct shard_far *f = g->fars;

	while (f != NULL && !wire_u128_eq(f->txn, txn))
		f = f->next;
	return f != NULL;
}

void shard_far_free(struct shard_far *f)
{
	const struct shard_config *config;

	if (f == NULL)
		return;
	config = &f->g->set->config;
	for (unsigned i = 0; i < FAR_PARTNERS; i++)
		if (f->calls[i].busy)
			config->call_cancel(config->arg, f->calls[i].handle);
	shard_end_forget(f->end);
	env_timer_cancel(f->g->set->env, &f->timer);
	if (f->prev != NULL)
		f->prev->next = f->next;
	else
		f->g->fars = f->next;
	if (f->next != NULL)
		f->next->prev = f->prev;
	wire_vec_fini(&f->rows);
	wire_vec_fini(&f->wants);
	f->op->far = NULL;
	mem_free(f);
}

void shard_far_cmd(struct shard_far *f, struct ns_cmd *c)
{
	c->decisions |= NS_DECIDE_FAR;
	c->txn = f->txn;
	/* the vector does not grow before the command was encoded or run */
	c->far = wire_vec_bytes(&f->rows);
}

/* --- ends --- */

/* The locks go back by themselves; the call is over. */
static void far_finish(struct shard_far *f, uint32_t status)
{
	struct shard_op *op = f->op;

	if (f->n_partners > 0 && f->end == NULL)
		shard_end_start(f->g, f->txn, f->partners, f->n_partners, NULL,
				NULL);
	shard_op_finish(op, status);
}

static void far_paused(struct env_timer *timer)
{
	struct shard_far *f = CONTAINER_OF(timer, struct shard_far, timer);

	far_new_txn(f);
	f->op->state = OP_FAR;
	shard_op_step(f->op);
}

/* Two that meet again and again must not take turns: as long as a try took. */
static uint64_t far_pause(const struct shard_far *f)
{
	uint64_t pause = (uint64_t)FAR_PAUSE_NS
			 << (f->tries < 9 ? f->tries : 9);
	uint64_t took = env_now_ns(f->g->set->env) - f->begun;
	uint64_t random;

	if (took > FAR_PAUSE_MAX_NS)
		took = FAR_PAUSE_MAX_NS;
	if (pause < took)
		pause = took;
	env_random(f->g->set->env, &random, sizeof random);
	return random % (2 * pause);
}

static void far_ended(void *arg)
{
	struct shard_far *f = arg;

	f->end = NULL;
	f->timer.cb = far_paused;
	env_timer_set(f->g->set->env, &f->timer, far_pause(f));
}

/* Gives back what it has, and begins anew. */
static void far_again(struct shard_far *f)
{
	if (++f->tries > FAR_TRIES) {
		far_finish(f, RPC_STATUS_BUSY);
		return;
	}
	shard_count(&f->g->set->stats.far_again, 1);
	f->op->state = OP_FAR_PAUSE;
	if (f->n_partners == 0)
		far_ended(f);
	else
		f->end = shard_end_start(f->g, f->txn, f->partners,
					 f->n_partners, far_ended, f);
	if (f->n_partners > 0 && f->end == NULL)
		far_finish(f, RPC_STATUS_NOMEM);
}

/* --- locks --- */

static void far_round_done(struct shard_far *f)
{
	switch (f->status) {
	case RPC_STATUS_OK:
		shard_op_step(f->op);
		return;
	case RPC_STATUS_LOCKED:
		far_again(f);
		return;
	default:
		far_finish(f, f->status == RPC_STATUS_NOMEM
				      ? RPC_STATUS_NOMEM
				      : RPC_STATUS_UNAVAILABLE);
	}
}

static int far_rows_add(struct shard_far *f, struct wire_bytes payload)
{
	struct rpc_txn_lock_rsp rsp;
	struct wire_bytes key, value;
	struct wire_reader r;
	uint8_t mode, there;
	uint32_t n;

	if (rpc_txn_lock_rsp_decode(&rsp, payload.p, payload.len) != 0)
		return -EBADMSG;
	for (r = wire_vec_reader(rsp.rows, &n); n > 0; n--) {
		struct wire_writer w;

		wire_get_u8(&r, &mode);
		wire_get_str(&r, &key);
		wire_get_u8(&r, &there);
		wire_get_blob(&r, &value);
		if (r.err != 0)
			return r.err;
		w = wire_vec_add(&f->rows);
		wire_put_u8(&w, &mode);
		wire_put_str(&w, &key);
		wire_put_u8(&w, &there);
		wire_put_blob(&w, &value);
	}
	return f->rows.buf.err;
}

static void far_called(void *arg, uint32_t status, struct wire_bytes payload)
{
	struct far_call *call = arg;
	struct shard_far *f = call->f;
	int rv;

	call->busy = false;
	f->n_calls--;
	if (status == RPC_STATUS_OK) {
		rv = far_rows_add(f, payload);
		if (rv != 0)
			status = rpc_status_from_errno(rv);
	}
	if (status != RPC_STATUS_OK &&
	    (f->status == RPC_STATUS_OK || f->status == RPC_STATUS_LOCKED))
		f->status = status; /* what cannot be cured by waiting */
	if (f->n_calls == 0)
		far_round_done(f);
}

static unsigned far_partner(struct shard_far *f, uint16_t shard)
{
	unsigned i = 0;

	while (i < f->n_partners && f->partners[i] != shard)
		i++;
	if (i == f->n_partners && i < FAR_PARTNERS)
		f->partners[f->n_partners++] = shard;
	return i;
}

static int far_send(struct shard_far *f, unsigned partner,
		    struct wire_vec *wants, bool wait)
{
	const struct shard_config *config = &f->g->set->config;
	struct rpc_txn_lock m = { .txn = f->txn, .wait = wait };
	struct far_call *call = &f->calls[partner];
	struct buf b;
	int rv;

	m.wants = wire_vec_bytes(wants);
	buf_init(&b, 0);
	rv = wants->buf.err != 0 ? wants->buf.err
				 : rpc_txn_lock_encode(&m, &b);
	if (rv == 0) {
		call->f = f;
		rv = config->call(config->arg, f->partners[partner],
				  RPC_TAG_txn_lock, &b, far_called, call,
				  &call->handle);
	}
	buf_fini(&b);
	if (rv != 0)
		return rv;
	call->busy = true;
	f->n_calls++;
	return 0;
}

/* The shards of the wants, each once. */
static int far_partners(struct shard_far *f, struct wire_bytes wants,
			bool asked[FAR_PARTNERS], unsigned *ret_n)
{
	struct wire_bytes key;
	struct wire_reader r;
	uint8_t mode;
	uint32_t n;

	*ret_n = 0;
	for (r = wire_vec_reader(wants, &n); n > 0; n--) {
		unsigned i;

		wire_get_u8(&r, &mode);
		wire_get_str(&r, &key);
		if (r.err != 0 || key.len < 2)
			return -EBADMSG;
		i = far_partner(f, (uint16_t)(key.p[0] << 8 | key.p[1]));
		if (i == FAR_PARTNERS)
			return -E2BIG;
		*ret_n += !asked[i];
		asked[i] = true;
	}
	return 0;
}

static int far_ask(struct shard_far *f, unsigned partner,
		   struct wire_bytes wants, bool wait)
{
	struct wire_vec mine;
	struct wire_bytes key;
	struct wire_reader r;
	uint8_t mode;
	uint32_t n;
	int rv;

	wire_vec_init(&mine);
	for (r = wire_vec_reader(wants, &n); n > 0; n--) {
		struct wire_writer w;

		wire_get_u8(&r, &mode);
		wire_get_str(&r, &key);
		if ((key.p[0] << 8 | key.p[1]) != f->partners[partner])
			continue;
		w = wire_vec_add(&mine);
		wire_put_u8(&w, &mode);
		wire_put_str(&w, &key);
	}
	rv = far_send(f, partner, &mine, wait);
	wire_vec_fini(&mine);
	return rv;
}

/*
 * What is wanted now; at the beginning of an attempt also what earlier ones
 * came to want, so that it is had at once and fewer others come in between.
 */
static int far_remember(struct shard_far *f, struct wire_bytes *wants)
{
	struct wire_bytes key;
	struct wire_reader r;
	uint8_t mode;
	uint32_t n;

	r = wire_vec_reader(*wants, &n);
	if (f->wants.count + n > FAR_WANTS) {
		wire_vec_fini(&f->wants);
		wire_vec_init(&f->wants);
		return 0;
	}
	for (; n > 0; n--) {
		struct wire_writer w = wire_vec_add(&f->wants);

		wire_get_u8(&r, &mode);
		wire_get_str(&r, &key);
		wire_put_u8(&w, &mode);
		wire_put_str(&w, &key);
	}
	if (f->n_partners == 0)
		*wants = wire_vec_bytes(&f->wants);
	return f->wants.buf.err;
}

/* Asks every shard for what is wanted of it. */
static void far_lock(struct shard_far *f, struct wire_bytes wants)
{
	bool asked[FAR_PARTNERS] = { false };
	bool first = f->n_partners == 0;
	struct wire_bytes all = wants;
	unsigned n = 0;
	int rv = far_remember(f, &all);

	if (rv == 0)
		rv = far_partners(f, all, asked, &n);
	if (rv == -E2BIG && first) { /* not all of them are of use now */
		memset(asked, 0, sizeof asked);
		f->n_partners = 0;
		all = wants;
		rv = far_partners(f, all, asked, &n);
	}
	if (f->g->set->config.call == NULL) {
		f->n_partners = 0;
		far_finish(f, RPC_STATUS_NOTSUP);
		return;
	}
	if (rv == 0 && ++f->rounds > FAR_ROUNDS)
		rv = -E2BIG;
	f->status = RPC_STATUS_OK;
	for (unsigned i = 0; rv == 0 && i < FAR_PARTNERS; i++)
		if (asked[i])
			rv = far_ask(f, i, all, first && n == 1 &&
					       f->tries < FAR_WAITS);
	if (rv == 0)
		return;
	f->status = rpc_status_from_errno(rv == -E2BIG ? -ENOSPC : rv);
	if (f->n_calls == 0)
		far_finish(f, rv == -E2BIG ? RPC_STATUS_TOO_MANY
					   : RPC_STATUS_NOMEM);
}

/* --- runs --- */

/* The op goes on with what it has: a run that writes nothing. */
void shard_far_step(struct shard_op *op)
{
	struct shard_far *f = op->far;
	struct ns_cmd c = shard_op_cmd(op);
	struct ns_answer a;
	int rv;

	if (!raft_group_is_leader(f->g->raft)) {
		far_finish(f, RPC_STATUS_NOT_LEADER);
		return;
	}
	/* another one led meanwhile, who may have said that it is over */
	if ((f->txn.hi & NS_TXN_TERM_MASK) !=
	    (raft_group_term(f->g->raft) & NS_TXN_TERM_MASK)) {
		far_again(f);
		return;
	}
	if (shard_op_txn(op) == NULL) {
		far_finish(f, RPC_STATUS_NOMEM);
		return;
	}
	ns_answer_init(&a);
	rv = ns_apply(op->txn, &c, &a);
	if (rv == -EAGAIN) {
		ns_answer_fini(&a);
		shard_op_load(op);
		return;
	}
	rows_txn_rewind(op->txn);
	if (rv == 0 && a.status == RPC_STATUS_FAR)
		far_lock(f, wire_vec_bytes(&a.far));
	else if (rv == 0 && a.status == RPC_STATUS_LOCKED &&
		 f->n_partners == 0)
		shard_lock_wait(op, a.holder, OP_FAR);
	else if (rv == 0 && a.status == RPC_STATUS_LOCKED)
		far_again(f);
	else
		shard_write_decided(op); /* other troubles come again there */
	ns_answer_fini(&a);
}

/* Whose request it is; client 0: one of the host's own, without a number. */
struct far_stamp {
	uint64_t client, seq;
	uint32_t slot;
};

static struct far_stamp far_stamp_of(const struct shard_op *op)
{
	struct wire_reader r = { .p = op->payload.p, .left = op->payload.len };
	struct far_stamp stamp = { .client = 0 };

	wire_get_u64(&r, &stamp.client);
	wire_get_u32(&r, &stamp.slot);
	wire_get_u64(&r, &stamp.seq);
	stamp.seq &= ~RPC_SEQ_AGAIN;
	if (r.err != 0)
		stamp.client = 0;
	return stamp;
}

/* Both are tries of one request, whose client waits for the last one. */
static bool far_is_same(const struct shard_op *a, const struct shard_op *b)
{
	struct far_stamp x = far_stamp_of(a), y = far_stamp_of(b);

	return a->tag == b->tag && x.client != 0 && x.client == y.client &&
	       x.slot == y.slot && x.seq == y.seq;
}

/* An earlier try of op that holds nothing but locks, or NULL. */
static struct shard_far *far_earlier(const struct shard_op *op)
{
	struct shard_far *f = op->g->fars;

	while (f != NULL &&
	       (!far_is_same(f->op, op) ||
		(f->op->state != OP_FAR_PAUSE &&
		 (f->op->state != OP_FAR || f->n_calls == 0))))
		f = f->next;
	return f;
}

/*
 * Earlier tries make way: they would be more and more of those that each of
 * them has to wait for.
 */
static void far_supersede(const struct shard_op *op)
{
	struct shard_far *f;

	while ((f = far_earlier(op)) != NULL) /* an end may end others */
		far_finish(f, RPC_STATUS_UNAVAILABLE);
}

void shard_far_start(struct shard_op *op)
{
	struct shard_group *g = op->g;
	struct shard_far *f = mem_zalloc(sizeof *f);

	if (f == NULL) {
		shard_op_finish(op, RPC_STATUS_NOMEM);
		return;
	}
	far_supersede(op);
	shard_count(&g->set->stats.far, 1);
	f->op = op;
	f->g = g;
	wire_vec_init(&f->rows);
	wire_vec_init(&f->wants);
	far_new_txn(f);
	f->next = g->fars;
	if (f->next != NULL)
		f->next->prev = f;
	g->fars = f;
	op->far = f;
	op->submit.loose = false; /* others do their steps of it, durably */
	op->state = OP_FAR;
	shard_op_post(op);
}

void shard_far_applied(struct shard_op *op)
{
	struct shard_far *f = op->far;

	switch (op->answer.status) {
	case RPC_STATUS_FAR: /* things changed: more is needed now */
		op->state = OP_FAR;
		shard_op_post(op);
		return;
	case RPC_STATUS_LOCKED:
		far_again(f);
		return;
	default:
		far_finish(f, op->answer.status);
	}
}

void shard_far_failed(struct shard_op *op, uint32_t status)
{
	struct shard_far *f = op->far;

	/* it may commit yet: the others ask, when it has been decided */
	if (status == RPC_STATUS_UNKNOWN_OUTCOME || status == RPC_STATUS_IO)
		f->n_partners = 0;
	far_finish(f, status);
}
