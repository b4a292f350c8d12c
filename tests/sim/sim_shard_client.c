/*
 * Clients that try the shards harder than those of common/client/ do
 * (sim_shard_real.c), with their promises: a mutation keeps its (client, slot,
 * seq) in all tries; a slot is used again after a definite answer, and never
 * after a call was given up.
 *
 *   send -> (delay) -> shard_call -> (delay) -> reply -> done
 *     ^                    |            |
 *     +--- backoff <-- refused, lost, process gone, timeout
 *
 * A timeout sends the next try while the last one may still be on its way. What
 * is under way in a group whose log lost its tail is lost, too: connections to
 * its only member did not survive.
 */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "tests/sim/sim_shard.h"

/* A message on its way; or a timer. */
struct parcel {
	struct op *op;
	unsigned try, node;
	unsigned cuts; /* of the group when it was sent */
	uint32_t status;
	uint64_t term; /* of who answers */
	bool rot; /* a read found some, where there is some */
	size_t len, body;
	uint8_t bytes[];
};

static struct sim *sim_of(const struct op *op)
{
	return sim_cluster_sim(op->w->c);
}

static unsigned op_cuts(const struct op *op)
{
	return op->w->cuts[op->m->group - 1];
}

static void op_send(struct op *op);

static void op_after(struct op *op, uint64_t delay, void (*fn)(void *arg))
{
	struct parcel *p = sim_zalloc(sizeof *p);

	p->op = op;
	p->try = op->tries;
	sim_after_owned(sim_of(op), delay, fn, p);
}

/* --- ends --- */

static void op_close(struct op *op)
{
	struct user *c = &op->w->clients[op->client];

	op->done = true;
	op->w->open--;
	sim_cluster_progress(op->w->c);
	c->busy--;
	/* a CLOSE may be answered while another try makes its entry */
	if (op->write && !op->gave_up && op->client < op->w->adversaries &&
	    (op->tag != RPC_TAG_close || op->tries == 1))
		c->free[c->n_free++] = op->slot;
}

/* It gets no answer that says anything. */
static void op_tell_none(struct op *op)
{
	const struct told t = { RPC_STATUS_UNKNOWN_OUTCOME, 0, { NULL, 0 } };

	if (op->told != NULL)
		op->told(op, &t);
}

void client_gave_up(struct op *op)
{
	op->gave_up = true;
	if (op->write && !op->maybe) {
		op->refused = true;
		op->w->n_refused++;
		if (op->effect != 0)
			sim_fail(op->w->c, "refused, but applied");
	} else if (op->write) {
		op->w->n_unknown++;
	}
	op_tell_none(op);
	op_close(op);
}

static void op_acked(struct op *op, uint32_t status, uint64_t answer)
{
	struct model *m = op->m;

	if (op->tag == RPC_TAG_close && status == 0 && op->effect == 0)
		return; /* of one that was not the last, or has a name */
	if (op->effect == 0)
		sim_fail(op->w->c, "group %u: %s answered %s, but not applied",
			 m->group, rpc_info(op->tag)->name,
			 rpc_status_name(status));
	if (status != op->status || (status == 0 && answer != op->answer))
		sim_fail(op->w->c, "group %u: %s answered %s, applied with %s",
			 m->group, rpc_info(op->tag)->name,
			 rpc_status_name(status), rpc_status_name(op->status));
	if (op->effect <= op->lo)
		sim_fail(op->w->c, "applied before it was sent");
	m->told_root |= op->tag == RPC_TAG_root_create;
	if (op->effect > m->floor)
		m->floor = op->effect;
	if (op->effect > m->acked)
		m->acked = op->effect;
	if (op->effect > m->firm && !op->loose)
		m->firm = op->effect;
	op->w->n_writes++;
	if (status != 0)
		op->w->n_errors++;
}

void client_effect(struct op *op, uint64_t index, uint32_t status,
		   uint64_t answer)
{
	if (op->effect != 0)
		sim_fail(op->w->c, "group %u: %s of client %u was applied "
			 "at %llu, and at %llu again", op->m->group,
			 rpc_info(op->tag)->name, op->client,
			 (unsigned long long)op->effect,
			 (unsigned long long)index);
	if (op->refused)
		sim_fail(op->w->c, "group %u: %s was refused, but is applied",
			 op->m->group, rpc_info(op->tag)->name);
	op->effect = index;
	op->effect_term = sim_entry->term;
	op->status = status;
	op->answer = answer;
}

/* --- retries --- */

static void op_again(void *arg)
{
	struct parcel *p = arg;

	if (!p->op->done && p->op->tries == p->try)
		op_send(p->op);
}

static void op_backoff(struct op *op)
{
	struct sim *s = sim_of(op);

	if (!sim_cluster_healing(op->w->c) && sim_now(s) > op->deadline)
		client_gave_up(op);
	else
		op_after(op, sim_range(s, 5 * SIM_MS, 200 * SIM_MS), op_again);
	op->in_try = false;
}

/* Nothing was heard of the try. */
static void op_lost(void *arg)
{
	struct parcel *p = arg;

	if (p->op->done || p->op->tries != p->try || !p->op->in_try)
		return;
	p->op->maybe = true;
	op_backoff(p->op);
}

void client_answered(struct op *op, const struct told *t,
		     struct wire_bytes body)
{
	if (op->write) {
		op_acked(op, t->status,
			 XXH3_64bits_withSeed(t->payload.p, t->payload.len,
					      t->status));
	} else if (model_read(op->m, op, t->status, t->payload, body)) {
		op->w->n_reads++;
	} else if (op->client < op->w->adversaries) {
		op_backoff(op);
		return;
	} else {
		op->lo = op->m->floor;
		(void)real_send(op);
		return;
	}
	sim_trace(sim_of(op), "done client=%u group=%u %s status=%s try=%u",
		  op->client, op->m->group, rpc_info(op->tag)->name,
		  rpc_status_name(t->status), op->tries);
	if (op->told != NULL)
		op->told(op, t);
	op_close(op);
}

static void op_reply(void *arg)
{
	struct parcel *p = arg;
	struct op *op = p->op;
	struct wire_bytes payload = wire_bytes(p->bytes, p->len);
	struct wire_bytes body = wire_bytes(p->bytes + p->len, p->body);
	uint64_t answer = XXH3_64bits_withSeed(p->bytes, p->len, p->status);

	if (p->cuts != op_cuts(op))
		return; /* op_lost() finds out */
	if (p->rot && sim_cluster_healing(op->w->c)) {
		/* it says so, and no other copy can be asked */
		if (!op->done) {
			op_tell_none(op);
			op_close(op);
		}
		return;
	}
	if (sim_may_retry(p->status) || p->rot) {
		if (p->status != RPC_STATUS_NOT_LEADER &&
		    p->status != RPC_STATUS_BUSY)
			op->maybe = true;
		if (!op->done && op->tries == p->try)
			op_backoff(op);
		return;
	}
	if (op->done && op->write && !op->gave_up &&
	    p->status != RPC_STATUS_BADMSG &&
	    (p->status != op->status ||
	     (p->status == 0 && op->effect != 0 && answer != op->answer)))
		sim_fail(op->w->c, "two answers to one operation: %s, %s",
			 rpc_status_name(op->status),
			 rpc_status_name(p->status));
	if (op->done || (!op->write && op->tries != p->try))
		return;
	op->w->hint[op->m->group - 1] = p->node;
	client_answered(op, &(struct told){ p->status, p->term, payload },
			body);
}

/* --- calls --- */

static void call_done(void *arg, uint32_t status, struct buf *payload,
		      struct body *body)
{
	struct call *call = arg;
	struct sim *s = sim_of(call->op);
	size_t len = status == 0 ? payload->len : 0;
	size_t more = body != NULL ? body->len : 0;
	struct parcel *p = sim_zalloc(sizeof *p + len + more);

	*p = (struct parcel){ .op = call->op, .try = call->try,
			      .node = call->p->at.node,
			      .cuts = op_cuts(call->op),
			      .status = status,
			      .term = raft_group_term(proc_group(
				      call->p, call->op->m->group - 1u)),
			      .len = len, .body = more };
	p->rot = status == RPC_STATUS_IO && !call->op->write &&
		 sim_cluster_disk_bad(call->op->w->c, call->p->at.node);
	if (len > 0)
		memcpy(p->bytes, payload->data, len);
	if (more > 0)
		memcpy(p->bytes + len, body->data, more);
	body_unref(body);
	if (sim_chance(s, 30))
		free(p); /* the reply is lost: the timeout finds out */
	else /* or a reader takes his time to get the chunks */
		sim_after_owned(s, sim_range(s, 30 * SIM_US,
					     sim_chance(s, 20) ? 600 * SIM_MS
							       : 5 * SIM_MS),
				op_reply, p);
	LIST_REMOVE(call, link);
	free(call);
}

void client_calls_lost(struct proc *p)
{
	struct call *call;

	while ((call = LIST_FIRST(&p->calls)) != NULL) {
		struct sim *s = sim_of(call->op);
		struct parcel *lost = sim_zalloc(sizeof *lost);

		lost->op = call->op;
		lost->try = call->try;
		sim_after_owned(s, sim_range(s, 1 * SIM_MS, 50 * SIM_MS),
				op_lost, lost);
		LIST_REMOVE(call, link);
		free(call);
	}
}

/* The request arrives. */
static void op_arrive(void *arg)
{
	struct parcel *parcel = arg;
	struct op *op = parcel->op;
	struct proc *p = sim_cluster_proc(op->w->c, parcel->node);
	struct call *call;

	if (p == NULL || parcel->cuts != op_cuts(op)) {
		/* refused at the door */
		if (!op->done && op->tries == parcel->try)
			op_backoff(op);
		return;
	}
	call = sim_zalloc(sizeof *call);
	*call = (struct call){ .p = p, .op = op, .try = parcel->try };
	LIST_INSERT_HEAD(&p->calls, call, link);
	sim_cluster_enter(op->w->c, p->at.node);
	/* ops and their payloads stay until the end of the world */
	if (shard_call_request(p->store.set, &(struct shard_request){
			.group = op->m->group, .tag = op->tag,
			.loose = op->loose,
			.payload = wire_bytes(op->payload.data,
					      op->payload.len),
			.done = call_done, .arg = call }) != 0)
		abort();
}

static void op_send(struct op *op)
{
	struct sim *s = sim_of(op);
	struct parcel *p = sim_zalloc(sizeof *p);
	uint64_t way, patience;

	op->tries++;
	op->in_try = true;
	if (!op->write) /* every try of a read is a read of its own */
		op->lo = op->m->floor;
	p->op = op;
	p->try = op->tries;
	p->node = sim_try_node(op->w->c, op->w->hint[op->m->group - 1],
			       op->tries);
	p->cuts = op_cuts(op);
	way = sim_chance(s, 20) ? 400 * SIM_MS : 5 * SIM_MS;
	patience = sim_range(s, 200 * SIM_MS, 1500 * SIM_MS);
	/* a cut connection: the next try may well be there before this one */
	if (op->tag == RPC_TAG_close && op->tries == 1 && sim_chance(s, 300)) {
		way = SIM_S;
		patience = sim_range(s, SIM_MS, 20 * SIM_MS);
	}
	sim_after_owned(s, sim_range(s, 30 * SIM_US, way), op_arrive, p);
	op_after(op, patience, op_lost);
}

/* --- beginnings --- */

static unsigned slot_take(struct world *w, unsigned client)
{
	struct user *c = &w->clients[client];

	if (c->n_free > 0)
		return c->free[--c->n_free];
	w->slots = sim_grow(w->slots, w->n_slots, &w->cap_slots,
			    sizeof *w->slots);
	w->slots[w->n_slots] = (struct slot){ .client = client + 1 };
	return w->n_slots++;
}

static void op_stamp(struct op *op)
{
	struct slot *slot;

	op->slot = slot_take(op->w, op->client);
	slot = &op->w->slots[op->slot];
	slot->op = op;
	op->seq = ++slot->seq;
	sim_stamp(&op->payload, op->client + 1, op->slot, op->seq);
}

struct op *client_op(struct world *w, unsigned client, struct model *m,
		     uint16_t tag, struct buf *payload)
{
	struct sim *s = sim_cluster_sim(w->c);
	struct op *op = sim_zalloc(sizeof *op);

	if (payload->err != 0)
		abort();
	*op = (struct op){ .w = w, .next = w->ops, .m = m, .client = client,
			   .tag = tag, .lo = m->floor, .payload = *payload,
			   .write = rpc_info(tag)->kind == 'W' };
	/* managers and stores never are */
	op->loose = op->write && tag != RPC_TAG_root_create &&
		    tag != RPC_TAG_session_end && tag != RPC_TAG_slice_reap &&
		    sim_chance(s, w->loose);
	w->ops = op;
	w->open++;
	w->clients[client].busy++;
	op->deadline = sim_now(s) + sim_range(s, 300, sim_chance(s, 100)
							      ? 1000
							      : 8000) *
					    SIM_MS;
	if (real_send(op))
		return op;
	if (op->write)
		op_stamp(op);
	op_send(op);
	return op;
}
