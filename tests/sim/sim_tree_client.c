/*
 * Some of the clients are as they are (sim_client.h): one process for every
 * two. What their calls do with retries, slots, sessions and other shards is
 * theirs; what they answer is looked at like all the others'. In half of the
 * seeds shards call each other through such a client, too, as storaged/
 * store_call.c does.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/be.h"
#include "tests/sim/sim_tree.h"

#define SESSION_FIRST 1000000u /* ids of the others are below */
#define LOOPS 2

/* What a shard has to be told, until it answers. */
struct tell {
	struct tree *w;
	struct tell *next;
	uint16_t shard;
	uint64_t session;
};

/* --- sessions --- */

static void tell_send(struct tell *t);

static void tell_done(void *arg, uint32_t status, struct wire_bytes payload,
		      struct wire_bytes body)
{
	struct tell *t = arg;

	(void)payload;
	(void)body;
	if (status != RPC_STATUS_OK)
		tell_send(t);
}

static void tell_send(struct tell *t)
{
	struct rpc_session_end q;
	uint8_t id[8];
	struct buf b;

	be64enc(id, t->session);
	q = (struct rpc_session_end){ .sessions = wire_bytes(id, sizeof id) };
	buf_init(&b, 0);
	(void)rpc_session_end_encode(&q, &b);
	(void)mail_send(t->w, &t->w->managers, t->shard, RPC_TAG_session_end,
			&b, 3 * SIM_S, NULL, tell_done, t);
}

static uint64_t session_open(void *user)
{
	struct tree *w = user;

	return SESSION_FIRST + w->n_sessions++;
}

static void session_ended(void *user, uint64_t session)
{
	struct tree *w = user;

	sim_cluster_count(w->c, SIM_N_SESSIONS, 1);
	for (unsigned i = 0; i < w->groups; i++) {
		struct tell *t = sim_zalloc(sizeof *t);

		*t = (struct tell){ .w = w, .next = w->tells,
				    .shard = (uint16_t)(i + 1),
				    .session = session };
		w->tells = t;
		tell_send(t);
	}
}

/* --- life --- */

void tree_clients_start(struct tree *w)
{
	const struct sim_clients_config config = {
		.clients = TREE_CLIENTS - w->adversaries, .loops = LOOPS,
		.slots = w->slots, .groups = w->groups, .open = session_open,
		.ended = session_ended, .user = w,
	};

	if (w->real == NULL)
		w->real = sim_clients_new(w->c, &config);
}

void tree_clients_fini(struct tree *w)
{
	struct tell *t;

	sim_clients_free(w->real);
	while ((t = w->tells) != NULL) {
		w->tells = t->next;
		free(t);
	}
}

/* --- calls --- */

static void client_done(struct sim_call *call, const struct rpc_reply *reply)
{
	struct wire_bytes body = { NULL, 0 };
	struct op *op = call->owner;

	/* rot: it says that it lost those bytes, which is all it can do */
	if (!sim_client_knows(call, reply) || call->answer.rot ||
	    (reply->status == RPC_STATUS_SESSION && op->write &&
	     op->effects == 0)) {
		tree_gave_up(op);
		return;
	}
	if (reply->body != NULL)
		body = wire_bytes(reply->body->data, reply->body->len);
	tree_answered(op, reply->status,
		      wire_bytes(reply->payload, reply->len), body);
}

bool tree_client_send(struct op *op)
{
	struct tree *w = op->w;
	struct buf b;
	struct client_send send = {
		.tag = op->hop.tag, .shard = op->shard, .payload = &b,
		.timeout_ms = (uint32_t)sim_range(sim_cluster_sim(w->c), 1000,
						  8000),
	};

	if (op->client < w->adversaries)
		return false;
	buf_init(&b, 0);
	buf_add(&b, op->hop.request.data, op->hop.request.len);
	(void)sim_client_send(w->real, op->client - w->adversaries, &send, op,
			      client_done);
	return true;
}

/* --- what is applied --- */

bool tree_is_session(uint64_t client)
{
	return client >= SESSION_FIRST;
}

struct op *tree_client_op(struct tree *w, uint64_t session, uint32_t slot,
			  uint64_t seq)
{
	const struct sim_call *call = sim_client_whose(w->real, session, slot,
						       seq);

	if (call == NULL)
		sim_fail(w->c, "an operation that no client sent");
	return call->client == SIM_NOBODY ? NULL : call->owner;
}
