/*
 * Calls of simulated clients: who has which number, and how they end.
 */
#include "tests/sim/sim_client_impl.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/mutate.h"
#include "tests/sim/sim_plant.h"

/* Of a call; others move directories meanwhile, LIST takes two for each. */
#define HOPS_MAX 200
#define HOPS_READ_MAX 2000

static struct sim *sim_of(const struct sim_clients *cs)
{
	return sim_cluster_sim(cs->c);
}

/* SIM_NOBODY: of a store, which has one loop. */
static struct client *machine_client(const struct sim_machine *m,
				     unsigned client)
{
	unsigned i = client == SIM_NOBODY ? 0 : client % m->cs->config.loops;

	return client_of(m->set, loop_set_get(m->loops, i));
}

static struct sim_machine *machine_of(const struct sim_clients *cs,
				      unsigned client)
{
	return &cs->machines[client / cs->config.loops];
}

/* --- numbers --- */

static void stamp_note(struct sim_call *call, uint64_t seq)
{
	struct sim_clients *cs = call->cs;
	for (unsigned i = cs->n_stamps; i-- > 0;) {
		const struct sim_stamp *s = &cs->stamps[i];

		if (s->call == call && s->session == call->session &&
		    s->slot == call->slot && s->seq == seq)
			return;
		if (s->burnt && s->life == call->life && s->slot == call->slot)
			sim_fail(cs->c, "client %u: slot %x was given up, and "
				 "is used again", call->client, call->slot);
	}
	cs->stamps = sim_grow(cs->stamps, cs->n_stamps, &cs->cap_stamps,
			      sizeof *cs->stamps);
	cs->stamps[cs->n_stamps++] = (struct sim_stamp){
		.call = call, .session = call->session, .slot = call->slot,
		.seq = seq, .life = call->life,
	};
}

/* Whoever had the slot last keeps it for ever. */
static void stamp_burn(struct sim_call *call)
{
	for (unsigned i = call->cs->n_stamps; call->has_slot && i-- > 0;)
		if (call->cs->stamps[i].call == call) {
			call->cs->stamps[i].burnt = true;
			return;
		}
}

const struct sim_call *sim_client_whose(const struct sim_clients *cs,
					uint64_t session, uint32_t slot,
					uint64_t seq)
{
	for (unsigned i = cs->n_stamps; i-- > 0;) {
		const struct sim_stamp *s = &cs->stamps[i];

		if (s->session == session && s->slot == slot && s->seq == seq)
			return s->call;
	}
	return NULL;
}

/* --- tries --- */

/* NULL: the set's own. */
static struct sim_call *call_find(const struct sim_clients *cs,
				  const void *arg)
{
	struct sim_call *call;

	LIST_FOREACH(call, &cs->open, list)
		if (call->call == arg)
			return call;
	return NULL;
}

static bool tag_is_for_shard(uint16_t tag)
{
	return rpc_info(tag)->kind == 'R' || rpc_info(tag)->kind == 'W';
}

static void on_sent(void *user, void *arg, const struct rpc_send *send)
{
	struct wire_reader r = { .p = send->payload->data,
				 .left = send->payload->len };
	struct sim_clients *cs = user;
	struct sim_call *call;
	uint64_t seq;

	if (!tag_is_for_shard(send->tag))
		return;
	call = call_find(cs, arg);
	if (call == NULL)
		call = cs->starting;
	if (call == NULL)
		sim_fail(cs->c, "a try of a call that ended");
	sim_cluster_count(cs->c, SIM_N_AGAIN, call->vain > 0);
	if (call->tries++ > 0 && call->vain == 0 &&
	    (call->group != send->group || call->tag != send->tag)) {
		sim_cluster_count(cs->c, SIM_N_FOLLOWS, 1);
		if (++call->hops > (call->write ? HOPS_MAX : HOPS_READ_MAX))
			sim_fail(cs->c, "client %u: %s goes round in circles",
				 call->client, rpc_info(call->tag)->name);
	}
	call->group = send->group;
	call->tag = send->tag;
	if (!call->write)
		return;
	wire_get_u64(&r, &call->session);
	wire_get_u32(&r, &call->slot);
	wire_get_u64(&r, &seq);
	call->has_slot = true;
	stamp_note(call, seq & ~RPC_SEQ_AGAIN);
}

static bool is_vain(uint32_t status)
{
	switch (status) {
	case RPC_STATUS_NOT_LEADER:
	case RPC_STATUS_STALE_EPOCH:
	case RPC_STATUS_WRONG_STORE:
	case RPC_STATUS_UNAVAILABLE:
	case RPC_STATUS_UNKNOWN_OUTCOME:
	case RPC_STATUS_BUSY:
	case RPC_STATUS_TIMEDOUT:
		return true;
	default:
		return false;
	}
}

static void on_ended(void *user, void *arg, const struct rpc_reply *reply,
		     const struct sim_answer *answer)
{
	struct sim_clients *cs = user;
	struct sim_call *call = call_find(cs, arg);

	if (call == NULL)
		return;
	call->answer = *answer;
	if (reply->status == RPC_STATUS_SESSION && call->write) {
		sim_cluster_count(cs->c, call->vain > 0 ? SIM_N_LOST_AMID
							: SIM_N_MOVED, 1);
		call->has_slot = false;
	} else if (is_vain(reply->status)) {
		call->vain++;
	} else {
		call->vain = 0;
	}
}

static const struct sim_link_ops link_ops = {
	.sent = on_sent,
	.ended = on_ended,
	.managers = sim_managers_ask,
};

/* --- calls --- */

bool sim_client_knows(const struct sim_call *call,
		      const struct rpc_reply *reply)
{
	return reply != NULL && reply->status != RPC_STATUS_UNAVAILABLE &&
	       reply->status != RPC_STATUS_TIMEDOUT &&
	       (reply->status != RPC_STATUS_SESSION || !call->write ||
		call->vain == 0);
}

static void call_close(struct sim_call *call)
{
	call->call = NULL;
	LIST_REMOVE(call, list);
	LIST_INSERT_HEAD(&call->cs->ended, call, list);
}

/* Who was refused at once, in the session that it was made in, goes on. */
static void call_check_refused(const struct sim_call *call,
			       const struct rpc_reply *reply)
{
	if (reply != NULL && reply->status == RPC_STATUS_SESSION &&
	    call->write && call->tries == 1 &&
	    (call->made_in == 0 || call->made_in == call->session))
		sim_fail(call->cs->c, "client %u: %s ends with its session",
			 call->client, rpc_info(call->tag)->name);
}

static void call_end(struct sim_call *call, const struct rpc_reply *reply)
{
	struct sim_clients *cs = call->cs;

	call_close(call);
	call_check_refused(call, reply);
	if (!sim_client_knows(call, reply))
		stamp_burn(call);
	if (reply != NULL && !sim_client_knows(call, reply)) {
		sim_cluster_count(cs->c, SIM_N_GIVEN_UP, 1);
		if (call->healed && reply->status != RPC_STATUS_SESSION)
			sim_fail(cs->c, "client %u gives %s up, and all is "
				 "well", call->client,
				 rpc_info(call->tag)->name);
	}
	call->done(call, reply);
}

static void call_on_done(void *arg, const struct rpc_reply *reply)
{
	call_end(arg, reply);
}

void sim_call_cancel(struct sim_call *call)
{
	sim_cluster_count(call->cs->c, SIM_N_CANCELS, 1);
	client_cancel(call->call);
	call_close(call);
	stamp_burn(call);
}

/* Who asked does not want to wait. */
static void call_regret(void *arg)
{
	struct sim_call *call = arg;

	if (call->call == NULL || sim_cluster_healing(call->cs->c) ||
	    call->cs->stopped)
		return;
	sim_call_cancel(call);
	call->done(call, NULL);
}

static struct sim_call *call_start(struct sim_machine *m, unsigned client,
				   struct client_send *send, void *owner,
				   void (*done)(struct sim_call *call,
						const struct rpc_reply *reply))
{
	struct sim_call *call = sim_zalloc(sizeof *call);
	struct sim_clients *cs = m->cs;
	struct client *c = machine_client(m, client);
	const struct client_list *last = c->slots.waiting.prev;

	*call = (struct sim_call){
		.cs = cs, .machine = m, .life = m->life, .client = client,
		.owner = owner, .done = done, .tag = send->tag,
		.write = rpc_info(send->tag)->kind == 'W',
		.made_in = client_session(c),
	};
	LIST_INSERT_HEAD(&cs->open, call, list);
	send->done = call_on_done;
	send->arg = call;
	cs->starting = call;
	call->call = client_send(c, send);
	cs->starting = NULL;
	if (call->call == NULL)
		abort();
	sim_cluster_count(cs->c, SIM_N_CALLS, 1);
	sim_cluster_count(cs->c, SIM_N_SLOT_WAITS,
			  c->slots.waiting.prev != last);
	return call;
}

struct sim_call *sim_client_send(struct sim_clients *cs, unsigned client,
				 struct client_send *send, void *owner,
				 void (*done)(struct sim_call *call,
					      const struct rpc_reply *reply))
{
	bool healed = sim_cluster_healing(cs->c);
	struct sim_call *call;

	if (healed)
		send->timeout_ms = 0;
	call = call_start(machine_of(cs, client), client, send, owner, done);
	call->healed = healed;
	if (sim_chance(sim_of(cs), 20))
		sim_after(sim_of(cs),
			  sim_range(sim_of(cs), 0, 400) * SIM_MS, call_regret,
			  call);
	return call;
}

struct sim_call *sim_machine_send(struct sim_machine *m,
				  struct client_send *send, void *owner,
				  void (*done)(struct sim_call *call,
					       const struct rpc_reply *reply))
{
	return call_start(m, SIM_NOBODY, send, owner, done);
}

uint64_t sim_client_session(const struct sim_clients *cs, unsigned client)
{
	return client_session(machine_client(machine_of(cs, client), client));
}

/* --- processes --- */

static void machine_start(struct sim_clients *cs, struct sim_machine *m)
{
	const struct client_config config = {
		.loops = m->loops, .manager = SIM_MANAGERS_ADDR,
		.role = RPC_ROLE_MOUNT, .kind = "mount", .timeout_ms = 55000,
	};
	struct errbuf e = { "" };

	m->cs = cs;
	m->life = ++cs->lives;
	if (client_set_new(&config, &m->set, &e) != 0)
		abort();
	for (unsigned i = 0; cs->config.slots > 0 && i < loop_set_size(m->loops);
	     i++)
		client_of(m->set, loop_set_get(m->loops, i))->slots.max =
			cs->config.slots;
	client_set_start(m->set, NULL, NULL);
}

/* Nobody is told. */
static void machine_close_calls(struct sim_machine *m)
{
	struct sim_call *call, *next;

	for (call = LIST_FIRST(&m->cs->open); call != NULL; call = next) {
		next = LIST_NEXT(call, list);
		if (call->machine == m)
			call_close(call);
	}
}

/* It is killed, and starts again; then those who waited for it know. */
static void machine_kill(struct sim_clients *cs, unsigned i)
{
	struct sim_machine *m = &cs->machines[i];
	struct sim_call *call, *next;
	uint64_t life = m->life;

	sim_trace(sim_of(cs), "kill machine=%u", i);
	sim_cluster_count(cs->c, SIM_N_CLIENT_KILLS, 1);
	client_set_free(m->set);
	LIST_FOREACH(call, &cs->open, list)
		if (call->machine == m)
			call->call = NULL;
	machine_start(cs, m);
	for (call = LIST_FIRST(&cs->open); call != NULL; call = next) {
		next = LIST_NEXT(call, list);
		if (call->machine != m || call->life != life)
			continue;
		call_close(call);
		call->done(call, NULL);
	}
}

struct sim_machine *sim_machine_new(struct sim_clients *cs, unsigned node,
				    struct env *env)
{
	struct sim_machine *m = sim_zalloc(sizeof *m);

	m->loops = sim_loops_at(cs->net, node, env);
	machine_start(cs, m);
	return m;
}

void sim_machine_free(struct sim_machine *m)
{
	if (m == NULL)
		return;
	client_set_free(m->set);
	machine_close_calls(m);
	sim_loops_free(m->loops);
	free(m);
}

void sim_machine_died(struct sim_machine *m)
{
	if (m == NULL)
		return;
	sim_loops_died(m->loops);
	machine_close_calls(m);
	m->cs->starting = NULL;
}

void sim_clients_step(struct sim_clients *cs)
{
	unsigned i = (unsigned)sim_rand(sim_of(cs), cs->n_machines);

	if (!sim_cluster_healing(cs->c) && sim_chance(sim_of(cs), 3))
		machine_kill(cs, i);
}

struct sim_clients *sim_clients_new(struct sim_cluster *c,
				    const struct sim_clients_config *config)
{
	struct sim_clients *cs = sim_zalloc(sizeof *cs);

	if (config->groups > SIM_SHARDS ||
	    config->clients % config->loops != 0)
		abort();
	if (sim_plant > SIM_PLANT_CLIENT &&
	    !client_mutate((enum client_mutation)(sim_plant -
						  SIM_PLANT_CLIENT))) {
		fprintf(stderr, "SIM_PLANT: " MUTATE_NONE_HERE "\n");
		exit(2);
	}
	cs->c = c;
	cs->config = *config;
	cs->net = sim_links_new(c, &link_ops, cs);
	cs->n_machines = config->clients / config->loops;
	cs->machines = sim_zalloc(cs->n_machines * sizeof *cs->machines);
	for (unsigned i = 0; i < cs->n_machines; i++) {
		cs->machines[i].loops = sim_loops_new(cs->net, config->loops);
		machine_start(cs, &cs->machines[i]);
	}
	sim_managers_tick(cs);
	return cs;
}

void sim_clients_died(struct sim_clients *cs, unsigned node)
{
	if (cs != NULL)
		sim_links_died(cs->net, node);
}

void sim_clients_stop(struct sim_clients *cs)
{
	if (cs == NULL)
		return;
	cs->stopped = true;
	for (unsigned i = 0; i < cs->n_machines; i++) {
		client_set_free(cs->machines[i].set);
		sim_loops_free(cs->machines[i].loops);
	}
}

void sim_clients_free(struct sim_clients *cs)
{
	struct sim_call *call;

	if (cs == NULL)
		return;
	while ((call = LIST_FIRST(&cs->open)) != NULL)
		call_close(call);
	while ((call = LIST_FIRST(&cs->ended)) != NULL) {
		LIST_REMOVE(call, list);
		free(call);
	}
	sim_links_free(cs->net);
	free(cs->machines);
	free(cs->sessions);
	free(cs->polls);
	free(cs->stamps);
	free(cs);
}
