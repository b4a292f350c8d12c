#ifndef TESTS_SIM_SIM_CLIENT_H
#define TESTS_SIM_SIM_CLIENT_H
/*
 * Clients as they are: common/client/ (call.c, follow.c, set.c, cluster.c) on
 * simulated loops and links (sim_link.h). Some processes with a few loops each;
 * loops are the clients of the simulator. They have managers here, who give
 * them sessions and snapshots of who leads, a bit late, and end sessions: of
 * who did not renew them, and others at random. Processes are killed and come
 * again. Processes of stores may have such a client, too.
 *
 * A call ends in one of three ways: it is answered; it is given up, as the
 * client says (UNAVAILABLE, TIMEDOUT; SESSION behind a try that got no answer);
 * it is cancelled, or its process killed. What was given up may have been done,
 * or be done later; its slot number must never be used again, which is looked
 * at here.
 */
#include <sys/queue.h>

#include "common/client/client_impl.h"
#include "tests/sim/sim_link.h"

/* Bugs of common/client/, for sim_plant_bug(). */
enum { SIM_PLANT_CLIENT = 1000 };
#define SIM_CLIENT_BUG(text, mutation) \
	{ .name = (text), \
	  .plant = SIM_PLANT_CLIENT + CLIENT_MUTATE_##mutation }
#define SIM_CLIENT_BUGS \
	SIM_CLIENT_BUG("callreuse", REUSE), SIM_CLIENT_BUG("callseq", SEQ), \
	SIM_CLIENT_BUG("callhop", HOP), SIM_CLIENT_BUG("callslot", SLOT), \
	SIM_CLIENT_BUG("callagain", AGAIN), \
	SIM_CLIENT_BUG("callkeep", KEEP), \
	SIM_CLIENT_BUG("callsession", SESSION), \
	SIM_CLIENT_BUG("callnamed", NAMED), SIM_CLIENT_BUG("callstay", STAY)

/* For struct sim_program. */
#define SIM_CLIENT_NEEDS \
	{ 0, NULL, SIM_N_CALLS }, { 0, NULL, SIM_N_AGAIN }, \
	{ 0, NULL, SIM_N_SLOT_WAITS }, { 0, NULL, SIM_N_GIVEN_UP }, \
	{ 0, NULL, SIM_N_CANCELS }, { 0, NULL, SIM_N_MOVED }, \
	{ 0, NULL, SIM_N_LOST_AMID }, { 0, NULL, SIM_N_CLIENT_KILLS }, \
	{ 0, NULL, SIM_N_LINK_CUTS }, { 0, NULL, SIM_N_LATE }

struct sim_clients;

/* A call, until the end of the run. */
struct sim_call {
	LIST_ENTRY(sim_call) list; /* of those that are open, or that ended */
	struct sim_clients *cs;
	struct sim_machine *machine;
	uint64_t life;      /* of it */
	unsigned client;    /* SIM_NOBODY: of a store */
	struct client_call *call; /* NULL: it ended */
	void *owner;
	bool write;
	bool healed;        /* it began when all was well */
	unsigned tries;     /* requests that were sent */
	unsigned vain;      /* of those at the same place: got no answer */
	unsigned hops;      /* places */
	uint16_t group, tag; /* of the last one */
	uint64_t made_in;   /* the session then; 0: there was none */
	uint64_t session;   /* of the last one, like its slot */
	uint32_t slot;
	bool has_slot;
	struct sim_answer answer; /* of the last one */
	void (*done)(struct sim_call *call, const struct rpc_reply *reply);
};

struct sim_clients_config {
	unsigned clients, loops; /* in all; of one process */
	unsigned slots;          /* of a loop; 0: as many as there are */
	unsigned groups;         /* shards 1 to n */
	/* The id of a new session. */
	uint64_t (*open)(void *user);
	/* It is over: every shard has to be told. */
	void (*ended)(void *user, uint64_t session);
	void *user;
};

struct sim_clients *sim_clients_new(struct sim_cluster *c,
				    const struct sim_clients_config *config);
/* While the machines still run. */
void sim_clients_stop(struct sim_clients *cs);
void sim_clients_free(struct sim_clients *cs); /* NULL is fine */
/* The process on node is gone. */
void sim_clients_died(struct sim_clients *cs, unsigned node);
/* Now and then: kills a process. */
void sim_clients_step(struct sim_clients *cs);

/* 0: it has none now. */
uint64_t sim_client_session(const struct sim_clients *cs, unsigned client);
/*
 * As client_send() with what is in send, but for done and arg. done: once,
 * reply is NULL when the call was cancelled. Some are, unless all is well: then
 * the call has the configured time, and may not be given up.
 */
struct sim_call *sim_client_send(struct sim_clients *cs, unsigned client,
				 struct client_send *send, void *owner,
				 void (*done)(struct sim_call *call,
					      const struct rpc_reply *reply));
/*
 * One of the process on node, with its env. free: with the process, after all
 * of its calls; died: instead, when it aborted.
 */
struct sim_machine *sim_machine_new(struct sim_clients *cs, unsigned node,
				    struct env *env);
void sim_machine_free(struct sim_machine *m); /* NULL is fine */
void sim_machine_died(struct sim_machine *m);
/* The same for a call of such a process, but nobody cancels it. */
struct sim_call *sim_machine_send(struct sim_machine *m,
				  struct client_send *send, void *owner,
				  void (*done)(struct sim_call *call,
					       const struct rpc_reply *reply));
/* done will not be called. */
void sim_call_cancel(struct sim_call *call);
/* Says reply how it ended? If not it may have been done, or not. */
bool sim_client_knows(const struct sim_call *call,
		      const struct rpc_reply *reply);
/* The call that has this number; NULL: none. */
const struct sim_call *sim_client_whose(const struct sim_clients *cs,
					uint64_t session, uint32_t slot,
					uint64_t seq);
/* The managers have ended it. */
bool sim_session_is_over(const struct sim_clients *cs, uint64_t session);
/* Ends all there are. */
void sim_sessions_end(struct sim_clients *cs);

#endif
