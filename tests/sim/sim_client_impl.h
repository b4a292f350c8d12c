#ifndef TESTS_SIM_SIM_CLIENT_IMPL_H
#define TESTS_SIM_SIM_CLIENT_IMPL_H
/*
 * Shared by the files of simulated clients only:
 *
 *   sim_client.c           processes, calls, numbers
 *   sim_client_managers.c  the managers that they have
 */
#include "tests/sim/sim_client.h"

#define SIM_SHARDS 8

/* A number that a mutation was sent with. */
struct sim_stamp {
	struct sim_call *call;
	uint64_t session, seq, life;
	uint32_t slot;
	bool burnt; /* the call was given up */
};

/* A process; those of clients are killed and come again. */
struct sim_machine {
	struct sim_clients *cs;
	struct client_set *set;
	struct loop_set *loops;
	uint64_t life; /* of all */
};

struct sim_session {
	uint64_t id, client; /* session_open.client */
	uint64_t until;
	bool over;
};

/* A CLUSTER_GET that waits for something new. */
struct sim_poll {
	uint64_t call, have, until;
};

struct sim_clients {
	struct sim_cluster *c;
	struct sim_clients_config config;
	struct sim_links *net;
	struct sim_machine *machines;
	unsigned n_machines;
	uint64_t lives;
	bool stopped;
	LIST_HEAD(, sim_call) open, ended; /* calls */
	struct sim_call *starting; /* client_send() runs */
	struct sim_stamp *stamps;
	unsigned n_stamps, cap_stamps;
	/* what the managers know */
	struct sim_session *sessions;
	unsigned n_sessions, cap_sessions;
	struct sim_poll *polls;
	unsigned n_polls, cap_polls;
	uint64_t version;
	uint64_t leader[SIM_SHARDS];
	uint64_t stores[SIM_NODES];
};

/* --- sim_client_managers.c --- */
/* Again and again, until the clients are stopped. */
void sim_managers_tick(void *arg);
/* struct sim_link_ops */
void sim_managers_ask(void *user, uint64_t call, uint16_t tag,
		      struct wire_bytes payload);

#endif
