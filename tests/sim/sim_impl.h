#ifndef TESTS_SIM_SIM_IMPL_H
#define TESTS_SIM_SIM_IMPL_H
/*
 * Shared by the files of the simulated machines only:
 *
 *   sim_cluster.c   a run; machines that start, die, refuse to start
 *   sim_net.c       connections and what breaks them
 *   sim_fault.c     profiles; what goes wrong when
 */
#include <setjmp.h>

#include "tests/sim/sim_cluster.h"

struct sim_node {
	struct sim_cluster *c;
	unsigned id;
	uint64_t store;       /* id that others know it by */
	struct crashfs *fs;
	struct env *env;      /* NULL while down */
	void *proc;           /* NULL while down */
	unsigned life;        /* incarnation */
	uint64_t disk_lo, disk_hi;
	uint64_t cut_at;      /* power fails at this disk call, 0: not */
	bool cut_now;         /* it did, within this event */
	uint64_t paused_until;
	struct sim_clock clock;
	uint64_t faults;      /* of the disk when this life began */
	bool lossy;           /* bytes that were not synced may be gone */
	bool rotten;          /* its disk lost bytes for good */
	bool gone;            /* and it does not start any more */
	char why[200];        /* it refused to start, or died */
};

/* The connection of a pair; lower id first. */
struct sim_conn {
	bool up, breaking, retrying;
	uint64_t epoch;
	bool lost[2];         /* direction lost a frame: so all behind it */
	uint64_t arrival[2];  /* of the last frame */
};

struct sim_cluster {
	struct sim_config config;
	struct sim *s;
	struct sim_node nodes[SIM_NODES];
	struct sim_conn conns[SIM_NODES][SIM_NODES];
	bool cut[SIM_NODES][SIM_NODES];
	uint64_t lag_ms;
	unsigned loss;
	bool healing;
	uint64_t progress_at;
	uint64_t faults;
	uint64_t counts[SIM_N];
	unsigned rotten;      /* nodes, those that were replaced not */
	uint64_t last_store;  /* highest id given out */
	unsigned in;          /* node that is called from outside its env */
	jmp_buf died;         /* out of a process that aborts */
};

/* --- sim_cluster.c --- */
void sim_node_start(struct sim_node *n);
/* For sim_after(): unless it runs, or never will again. */
void sim_node_restart(void *arg);
/* power: also what was not synced is gone, in part. */
void sim_node_stop(struct sim_node *n, bool power);
/* The same, unless it is down; starts again soon. */
void sim_node_down(struct sim_node *n, bool power);
/* Did its disk do anything wrong in this life? */
bool sim_node_disk_bad(const struct sim_node *n);

/* --- sim_net.c --- */
struct sim_conn *sim_conn_of(struct sim_cluster *c, unsigned a, unsigned b);
/* Tries to connect until it is connected. */
void sim_conn_schedule(struct sim_cluster *c, unsigned a, unsigned b);
/* The ends notice within max_ms; until then frames may still arrive. */
void sim_conn_break(struct sim_cluster *c, unsigned a, unsigned b,
		    uint64_t max_ms);

/* --- sim_fault.c --- */
/* Begins with the profile's faults; they end with sim_fault_heal(). */
void sim_fault_start(struct sim_cluster *c);
void sim_fault_heal(struct sim_cluster *c);
/* Around a start: some have one read that gives a wrong bit. */
void sim_fault_starts(struct sim_node *n);
void sim_fault_started(struct sim_node *n);
void sim_crash(struct sim_cluster *c, struct sim_node *n);

#endif
