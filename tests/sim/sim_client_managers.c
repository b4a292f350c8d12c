/*
 * The managers of simulated clients: they look now and then who leads and who is
 * over, answer polls when there is something new, and have a shard told of each
 * session that has ended.
 */
#include "tests/sim/sim_client_impl.h"

#include <stdlib.h>

#include "storaged/shard_impl.h"
#include "tests/sim/sim_store.h"

#define LEASE_MS 3000u

static struct sim *sim_of(const struct sim_clients *cs)
{
	return sim_cluster_sim(cs->c);
}

/* --- sessions --- */

static struct sim_session *session_find(const struct sim_clients *cs,
					uint64_t id)
{
	for (unsigned i = 0; i < cs->n_sessions; i++)
		if (cs->sessions[i].id == id)
			return &cs->sessions[i];
	return NULL;
}

static void session_end(struct sim_clients *cs, struct sim_session *e)
{
	if (e->over)
		return;
	sim_trace(sim_of(cs), "session=%llu over", (unsigned long long)e->id);
	e->over = true;
	cs->config.ended(cs->config.user, e->id);
}

bool sim_session_is_over(const struct sim_clients *cs, uint64_t session)
{
	const struct sim_session *e = session_find(cs, session);

	return e != NULL && e->over;
}

void sim_sessions_end(struct sim_clients *cs)
{
	for (unsigned i = 0; i < cs->n_sessions; i++)
		session_end(cs, &cs->sessions[i]);
}

/* Who asks again gets the same one, as the real managers' slots have it. */
static struct sim_session *session_open(struct sim_clients *cs,
					uint64_t client)
{
	struct sim_session *e;

	for (unsigned i = 0; i < cs->n_sessions; i++)
		if (cs->sessions[i].client == client)
			return &cs->sessions[i];
	cs->sessions = sim_grow(cs->sessions, cs->n_sessions,
				&cs->cap_sessions, sizeof *cs->sessions);
	e = &cs->sessions[cs->n_sessions++];
	*e = (struct sim_session){
		.id = cs->config.open(cs->config.user), .client = client,
		.until = sim_now(sim_of(cs)) + LEASE_MS * SIM_MS,
	};
	return e;
}

static void answer_open(struct sim_clients *cs, uint64_t call,
			struct wire_bytes payload)
{
	struct rpc_session_open_rsp rsp = { .now_sec = 1,
					    .lease_ms = LEASE_MS };
	struct rpc_session_open q;
	struct buf b;

	if (rpc_session_open_decode(&q, payload.p, payload.len) != 0)
		sim_fail(cs->c, "no SESSION_OPEN");
	rsp.session = session_open(cs, q.client)->id;
	buf_init(&b, 0);
	(void)rpc_session_open_rsp_encode(&rsp, &b);
	sim_link_answer(cs->net, call, RPC_STATUS_OK,
			wire_bytes(b.data, b.len));
	buf_fini(&b);
}

static void answer_renew(struct sim_clients *cs, uint64_t call,
			 struct wire_bytes payload)
{
	struct rpc_session_renew q;
	struct sim_session *e;

	if (rpc_session_renew_decode(&q, payload.p, payload.len) != 0)
		sim_fail(cs->c, "no SESSION_RENEW");
	e = session_find(cs, q.session);
	if (e != NULL && !e->over)
		e->until = sim_now(sim_of(cs)) + LEASE_MS * SIM_MS;
	sim_link_answer(cs->net, call,
			e != NULL && !e->over ? RPC_STATUS_OK
					      : RPC_STATUS_SESSION,
			wire_bytes(NULL, 0));
}

/* Is some mutation of this session between two tries? */
static bool session_is_amid(const struct sim_clients *cs, uint64_t id)
{
	const struct sim_call *call;

	LIST_FOREACH(call, &cs->open, list)
		if (call->write && call->vain > 0 && call->session == id)
			return true;
	return false;
}

static void sessions_tick(struct sim_clients *cs)
{
	for (unsigned i = 0; i < cs->n_sessions; i++) {
		struct sim_session *e = &cs->sessions[i];
		unsigned chance = session_is_amid(cs, e->id) ? 20 : 2;

		if (e->over)
			continue;
		if (sim_now(sim_of(cs)) > e->until ||
		    (!sim_cluster_healing(cs->c) &&
		     sim_chance(sim_of(cs), chance)))
			session_end(cs, e);
	}
}

/* --- snapshots --- */

static uint64_t leader_of(const struct sim_clients *cs, unsigned group)
{
	unsigned nodes = sim_cluster_size(cs->c);
	unsigned from = (unsigned)sim_rand(sim_of(cs), nodes);

	for (unsigned i = 0; i < nodes; i++) {
		unsigned node = (from + i) % nodes;
		const struct sim_proc *p = sim_cluster_proc(cs->c, node);
		const struct shard_group *g =
			p == NULL ? NULL
				  : shard_find(p->store->set,
					       (uint16_t)(group + 1));

		if (g != NULL && g->leader)
			return sim_cluster_store(cs->c, node);
	}
	return cs->leader[group]; /* nobody is known: the last one */
}

/* What stores have told since. */
static void cluster_look(struct sim_clients *cs)
{
	bool news = cs->version == 0;

	for (unsigned i = 0; i < cs->config.groups; i++) {
		uint64_t leader = leader_of(cs, i);

		news |= leader != cs->leader[i];
		cs->leader[i] = leader;
	}
	for (unsigned i = 0; i < sim_cluster_size(cs->c); i++) {
		uint64_t store = sim_cluster_store(cs->c, i);

		news |= store != cs->stores[i];
		cs->stores[i] = store;
	}
	cs->version += news;
}

static void cluster_encode(const struct sim_clients *cs, struct buf *out)
{
	struct cluster_top top = { .version = cs->version, .epoch = 1,
				   .n = 1, .w = 1, .r = 1 };
	struct wire_vec stores, shards;

	wire_vec_init(&stores);
	wire_vec_init(&shards);
	for (unsigned i = 0; i < sim_cluster_size(cs->c); i++) {
		char addr[SIM_NODE_ADDR];
		struct cluster_store s = { .id = sim_store_id(cs->stores[i]),
					   .raft_id = cs->stores[i] };

		sim_node_addr(i, addr);
		s.addr = wire_cstr(addr);
		(void)wire_vec_add(&stores);
		(void)cluster_store_encode(&s, &stores.buf);
	}
	for (unsigned i = 0; i < cs->config.groups; i++) {
		struct cluster_shard s = { .shard = (uint16_t)(i + 1),
					   .leader = cs->leader[i] };

		(void)wire_vec_add(&shards);
		(void)cluster_shard_encode(&s, &shards.buf);
	}
	top.stores = wire_vec_bytes(&stores);
	top.shards = wire_vec_bytes(&shards);
	if (cluster_top_encode(&top, out) != 0)
		abort();
	wire_vec_fini(&stores);
	wire_vec_fini(&shards);
}

static void answer_poll(struct sim_clients *cs, const struct sim_poll *p)
{
	struct rpc_cluster_get_rsp rsp = { .version = cs->version };
	struct buf b, blob;

	buf_init(&b, 0);
	buf_init(&blob, 0);
	if (p->have < cs->version) {
		cluster_encode(cs, &blob);
		rsp.cluster = wire_bytes(blob.data, blob.len);
	}
	(void)rpc_cluster_get_rsp_encode(&rsp, &b);
	sim_link_answer(cs->net, p->call, RPC_STATUS_OK,
			wire_bytes(b.data, b.len));
	buf_fini(&blob);
	buf_fini(&b);
}

static void answer_get(struct sim_clients *cs, uint64_t call,
		       struct wire_bytes payload)
{
	struct rpc_cluster_get q;
	struct sim_poll p;

	if (rpc_cluster_get_decode(&q, payload.p, payload.len) != 0)
		sim_fail(cs->c, "no CLUSTER_GET");
	p = (struct sim_poll){
		.call = call, .have = q.have,
		.until = sim_now(sim_of(cs)) + q.wait_ms * SIM_MS,
	};
	if (q.wait_ms == 0) {
		answer_poll(cs, &p);
		return;
	}
	cs->polls = sim_grow(cs->polls, cs->n_polls, &cs->cap_polls,
			     sizeof *cs->polls);
	cs->polls[cs->n_polls++] = p;
}

static void polls_tick(struct sim_clients *cs)
{
	unsigned left = 0;

	for (unsigned i = 0; i < cs->n_polls; i++)
		if (cs->polls[i].have < cs->version ||
		    cs->polls[i].until <= sim_now(sim_of(cs)))
			answer_poll(cs, &cs->polls[i]);
		else
			cs->polls[left++] = cs->polls[i];
	cs->n_polls = left;
}

void sim_managers_tick(void *arg)
{
	struct sim_clients *cs = arg;

	if (cs->stopped)
		return;
	cluster_look(cs);
	polls_tick(cs);
	sessions_tick(cs);
	sim_after(sim_of(cs), sim_range(sim_of(cs), 20, 120) * SIM_MS,
		  sim_managers_tick, cs);
}

void sim_managers_ask(void *user, uint64_t call, uint16_t tag,
			struct wire_bytes payload)
{
	struct sim_clients *cs = user;

	if (tag == RPC_TAG_session_open)
		answer_open(cs, call, payload);
	else if (tag == RPC_TAG_session_renew)
		answer_renew(cs, call, payload);
	else if (tag == RPC_TAG_cluster_get)
		answer_get(cs, call, payload);
	else
		sim_fail(cs->c, "message %u to the managers", tag);
}
