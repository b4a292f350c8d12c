/*
 * Clients as they are (sim_client.h): one process for every two. Their session
 * is that of their opens, too.
 */
#include "tests/sim/sim_shard_gen.h"

#define LOOPS 2

/* --- sessions --- */

static uint64_t session_open(void *user)
{
	return open_session_new(user);
}

/* Told by an adversary: late, twice, until every shard knows it. */
static void session_ended(void *user, uint64_t session)
{
	struct world *w = user;

	open_session_ends(w, session);
	for (unsigned i = 0; i < w->groups; i++)
		open_tell_end(w, 0, &w->models[i], session);
}

bool real_session_is_over(const struct world *w, uint64_t session)
{
	return sim_session_is_over(w->real, session);
}

uint64_t real_session(const struct world *w, unsigned client)
{
	return sim_client_session(w->real, client - w->adversaries);
}

/* --- life --- */

void real_step(struct world *w)
{
	const struct sim_clients_config config = {
		.clients = SHARD_CLIENTS - w->adversaries, .loops = LOOPS,
		.slots = w->most_slots, .groups = w->groups,
		.open = session_open, .ended = session_ended, .user = w,
	};

	if (w->real == NULL)
		w->real = sim_clients_new(w->c, &config);
	sim_clients_step(w->real);
}

/* --- calls --- */

static void real_done(struct sim_call *call, const struct rpc_reply *reply)
{
	struct wire_bytes body = { NULL, 0 };
	struct op *op = call->owner;

	op->tries = call->tries;
	if (!sim_client_knows(call, reply)) {
		op->maybe = true;
		client_gave_up(op);
	} else if (call->answer.rot ||
		   (op->write && reply->status == RPC_STATUS_SESSION &&
		    op->effect == 0)) {
		client_gave_up(op); /* nothing was, or will be done */
	} else {
		if (reply->body != NULL)
			body = wire_bytes(reply->body->data, reply->body->len);
		client_answered(op, &(struct told){
				reply->status, call->answer.term,
				wire_bytes(reply->payload, reply->len) }, body);
	}
}

bool real_send(struct op *op)
{
	struct world *w = op->w;
	struct buf b;
	struct client_send send = {
		.tag = op->tag, .shard = op->m->group, .payload = &b,
		.loose = op->loose,
		.timeout_ms = (uint32_t)sim_range(sim_cluster_sim(w->c), 300,
						  8000),
	};

	if (op->client < w->adversaries)
		return false;
	buf_init(&b, 0);
	buf_add(&b, op->payload.data, op->payload.len);
	(void)sim_client_send(w->real, op->client - w->adversaries, &send, op,
			      real_done);
	return true;
}

/* --- what is applied --- */

struct op *real_op(struct world *w, uint64_t session, uint32_t slot,
		   uint64_t seq)
{
	const struct sim_call *call = sim_client_whose(w->real, session, slot,
						       seq);

	if (call == NULL)
		sim_fail(w->c, "an operation that no client sent");
	return call->owner;
}

unsigned real_slot(struct world *w, uint64_t session, uint32_t slot)
{
	for (unsigned i = 0; i < w->n_slots; i++)
		if (w->slots[i].client == session &&
		    w->slots[i].number == slot)
			return i;
	w->slots = sim_grow(w->slots, w->n_slots, &w->cap_slots,
			    sizeof *w->slots);
	w->slots[w->n_slots] = (struct slot){ .client = session,
					      .number = slot };
	return w->n_slots++;
}
