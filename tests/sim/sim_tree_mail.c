/*
 * Requests of clients that are harder on the shards than those of
 * common/client/ (sim_tree_client.c), and of shards to each other: sent to where
 * the leader should be, again after a while, with one number for all tries,
 * though an earlier one may still be answered; a number is used again only after
 * a definite answer. What is on its way arrives, even when nobody waits for it
 * any more.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_tree.h"

struct parcel {
	struct mail *m;
	unsigned try, node;
	uint32_t status;
	size_t len, body;
	uint8_t bytes[];
};

static struct sim *sim_of(const struct mail *m)
{
	return sim_cluster_sim(m->w->c);
}

static void mail_try(struct mail *m);

static void mail_after(struct mail *m, uint64_t delay, void (*fn)(void *arg))
{
	struct parcel *p = sim_zalloc(sizeof *p);

	p->m = m;
	p->try = m->tries;
	sim_after_owned(sim_of(m), delay, fn, p);
}

static void mail_end(struct mail *m, uint32_t status,
		     struct wire_bytes payload, struct wire_bytes body,
		     bool definite)
{
	struct sender *s = m->from;

	m->done = true;
	if (m->write && definite && s->n_free < 64) {
		s->free_slot[s->n_free] = m->slot;
		s->free_seq[s->n_free++] = m->seq + 1;
	}
	if (!m->cancelled)
		m->fn(m->arg, status, payload, body);
}

void mail_cancel(struct mail *m)
{
	m->cancelled = true;
	m->done = true;
}

/* --- tries --- */

static void mail_again(void *arg)
{
	struct parcel *p = arg;

	if (!p->m->done && p->m->tries == p->try)
		mail_try(p->m);
}

static void mail_backoff(struct mail *m)
{
	struct sim *s = sim_of(m);
	const struct wire_bytes none = { NULL, 0 };

	m->in_try = false;
	if (sim_now(s) > m->deadline &&
	    (m->op == NULL || !sim_cluster_healing(m->w->c)))
		mail_end(m, RPC_STATUS_UNAVAILABLE, none, none, false);
	else
		mail_after(m, sim_range(s, 5 * SIM_MS, 200 * SIM_MS),
			   mail_again);
}

static void mail_lost(void *arg)
{
	struct parcel *p = arg;

	if (!p->m->done && p->m->tries == p->try && p->m->in_try)
		mail_backoff(p->m);
}

static void mail_reply(void *arg)
{
	struct parcel *p = arg;
	struct mail *m = p->m;

	if (m->done)
		return;
	if (sim_may_retry(p->status)) {
		if (m->tries == p->try)
			mail_backoff(m);
		return;
	}
	/*
	 * Every try of a read is a read of its own. That another shard goes on
	 * is only true for the last try: what an earlier one was told is
	 * noted nowhere, and the later one may still be done here.
	 */
	if ((!m->write || p->status == RPC_STATUS_ELSEWHERE) &&
	    m->tries != p->try)
		return;
	m->w->hint[m->shard - 1] = p->node;
	mail_end(m, p->status, wire_bytes(p->bytes, p->len),
		 wire_bytes(p->bytes + p->len, p->body), true);
}

/* --- calls --- */

static void call_done(void *arg, uint32_t status, struct buf *payload,
		      struct body *body)
{
	struct call *call = arg;
	struct sim *s = sim_of(call->m);
	bool rot = status == RPC_STATUS_IO && !call->m->write &&
		   sim_cluster_disk_bad(call->m->w->c, call->p->at.node);
	bool has = status == RPC_STATUS_OK || status == RPC_STATUS_ELSEWHERE;
	size_t len = has ? payload->len : 0;
	size_t more = has && body != NULL ? body->len : 0;
	struct parcel *p = sim_zalloc(sizeof *p + len + more);

	*p = (struct parcel){ .m = call->m, .try = call->try,
			      .node = call->p->at.node, .status = status,
			      .len = len, .body = more };
	if (rot) /* until another one is asked, or that disk is replaced */
		p->status = RPC_STATUS_UNAVAILABLE;
	if (len > 0)
		memcpy(p->bytes, payload->data, len);
	if (more > 0)
		memcpy(p->bytes + len, body->data, more);
	body_unref(body);
	if (sim_chance(s, 15))
		free(p); /* lost: the timeout finds out */
	else
		sim_after_owned(s, sim_range(s, 30 * SIM_US, 5 * SIM_MS),
				mail_reply, p);
	LIST_REMOVE(call, link);
	free(call);
}

void mail_calls_lost(struct proc *p)
{
	struct call *call;

	while ((call = LIST_FIRST(&p->calls)) != NULL) {
		struct parcel *lost = sim_zalloc(sizeof *lost);

		lost->m = call->m;
		lost->try = call->try;
		sim_after_owned(sim_of(call->m),
				sim_range(sim_of(call->m), 1 * SIM_MS,
					  50 * SIM_MS),
				mail_lost, lost);
		LIST_REMOVE(call, link);
		free(call);
	}
}

static void mail_arrive(void *arg)
{
	struct parcel *parcel = arg;
	struct mail *m = parcel->m;
	struct proc *p = sim_cluster_proc(m->w->c, parcel->node);
	struct call *call;
	struct buf b;

	if (p == NULL) {
		if (!m->done && m->tries == parcel->try)
			mail_backoff(m);
		return;
	}
	buf_init(&b, 0);
	buf_add(&b, parcel->bytes, parcel->len);
	call = sim_zalloc(sizeof *call);
	*call = (struct call){ .p = p, .m = m, .try = parcel->try };
	LIST_INSERT_HEAD(&p->calls, call, link);
	sim_cluster_enter(m->w->c, parcel->node);
	if (shard_call(p->store.set, m->shard, m->tag, &b, call_done, call) != 0)
		abort();
}

static void mail_try(struct mail *m)
{
	struct sim *s = sim_of(m);
	struct parcel *p = sim_zalloc(sizeof *p + m->payload.len);

	m->tries++;
	m->in_try = true;
	*p = (struct parcel){ .m = m, .try = m->tries,
			      .len = m->payload.len };
	memcpy(p->bytes, m->payload.data, p->len);
	if (m->write && m->tries > 1 && sim_plant != PLANT_AGAIN)
		p->bytes[12] |= 0x80; /* RPC_SEQ_AGAIN */
	p->node = sim_try_node(m->w->c, m->w->hint[m->shard - 1], m->tries);
	sim_after_owned(s, sim_range(s, 30 * SIM_US,
				     sim_chance(s, 20) ? 400 * SIM_MS
						       : 4 * SIM_MS),
			mail_arrive, p);
	mail_after(m, sim_range(s, 200 * SIM_MS, 1500 * SIM_MS), mail_lost);
}

/* --- the interface --- */

static void mail_stamp(struct mail *m)
{
	struct sender *s = m->from;

	if (s->n_free > 0) {
		m->slot = s->free_slot[--s->n_free];
		m->seq = s->free_seq[s->n_free];
	} else {
		m->slot = s->slots++;
		m->seq = 1;
	}
	sim_stamp(&m->payload, s->client, m->slot, m->seq);
}

struct mail *mail_send(struct tree *w, struct sender *from, uint16_t shard,
		       uint16_t tag, struct buf *payload, uint64_t patience_ns,
		       struct op *op, mail_fn fn, void *arg)
{
	struct mail *m = sim_zalloc(sizeof *m);

	if (payload->err != 0 || shard == 0 || shard > w->groups)
		abort();
	*m = (struct mail){ .w = w, .next = w->mails, .from = from,
			    .shard = shard, .tag = tag, .payload = *payload,
			    .write = rpc_info(tag)->kind == 'W', .op = op,
			    .fn = fn, .arg = arg };
	buf_init(payload, 0);
	w->mails = m;
	m->deadline = sim_now(sim_of(m)) + patience_ns;
	if (m->write)
		mail_stamp(m);
	mail_try(m);
	return m;
}
