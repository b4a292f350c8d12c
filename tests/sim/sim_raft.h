#ifndef TESTS_SIM_SIM_RAFT_H
#define TESTS_SIM_SIM_RAFT_H
/*
 * The raft host and the log head under faults. Shared by tests/sim/sim_raft*.c:
 *
 *   sim_raft.c         a run, its end, invariants
 *   sim_raft_proc.c    processes: the state machine, checkpoints, snapshots
 *   sim_raft_client.c  what clients ask for
 *   sim_raft_member.c  a manager that moves groups about, and loses disks
 *   sim_raft_plant.c   bugs to be found, seams
 *
 * The state machine only remembers the order of its commands, as a hash. Its
 * rows are no file: what is durable of them stands in the world.
 */
#include "common/raft/raft_impl.h"
#include "tests/sim/sim_member.h"
#include "tests/sim/sim_plant.h"
#include "tests/sim/sim_proc.h"

#define GROUPS 3
#define VALUES (1u << 20)
#define HEAD_BYTES 8
#define CONF_MAX 512

/* What every machine must apply at an index. */
struct step {
	uint64_t term, value;
	uint64_t hash;    /* of the state behind it */
};

struct chain {
	struct step *at;  /* by index; value 0: no command was seen there */
	uint64_t cap;
	uint64_t last;    /* highest index applied anywhere */
	uint64_t acked;   /* highest index acknowledged */
	uint64_t firm;    /* the same, of what no power cut may take */
	uint64_t probe;   /* index of a command born after the heal, acked */
	uint8_t owner[SIM_TERMS]; /* store that led in a term */
	/* where the manager wants the group: nodes */
	bool target[SIM_NODES];
	uint64_t conf;    /* index of the newest committed configuration */
};

/* The rows of a group, or a row stream of them. */
struct rows {
	uint64_t index, term;      /* of the last entry */
	uint64_t command;          /* index of the last command */
	uint64_t hash;             /* of the state */
	uint64_t conf_index;
	size_t conf_len;
	uint8_t conf[CONF_MAX];
};

/* What the disk of a node knows of a group, beside the log. */
struct place {
	enum { PLACE_NONE, PLACE_HERE, PLACE_DROPPING } is;
	bool founder;              /* it began with the first voters */
	struct rows rows;
};

struct world {
	struct sim_cluster *c;
	unsigned groups;
	unsigned founders;         /* first voters: nodes 0, 1, ... */
	bool tiny_cache, big_values;
	bool quiet; /* mostly only new leaders are given work */
	bool transfers;
	bool loose; /* commands may be applied before they are durable */
	bool moves; /* there is a manager */
	bool lags;  /* logs are short: who lags needs a snapshot */
	unsigned slow; /* node + 1 that applies slowly */
	unsigned window; /* entries a follower may owe; 0: as usual */
	struct chain chains[GROUPS];
	struct place places[SIM_NODES][GROUPS];
	uint8_t state[VALUES];
	uint64_t next_value, heal_value;  /* first one born after the heal */
	uint64_t open_old;                /* no outcome yet, born before */
	uint64_t open, acked, refused, unknown, reads, lease_reads;
	uint64_t changes, installs, drops, frees, handed;
};

enum value_state { VALUE_OPEN, VALUE_ACKED, VALUE_REFUSED, VALUE_UNKNOWN };

/* A group in a process. */
struct replica {
	struct proc *p;
	unsigned gi;
	struct raft_group *g;      /* NULL: not here */
	struct rows rows;
	bool leads;
	uint64_t led_at;           /* since when */
	uint64_t elected;          /* in this term */
	bool parked;
	struct env_timer timer;    /* resumes it */
	/* a checkpoint of the rows */
	struct rows saved;
	/* a snapshot: fetched, being installed */
	bool fetching;
	struct rows stage;
	struct env_work install;
	struct raft_drop drop;
};

struct proc {
	struct sim_proc at;
	struct world *w;
	unsigned life;
	struct replica replicas[GROUPS];
	TAILQ_HEAD(, lease) leases;
	struct sim_changes changes;
	struct op *ops;            /* without an outcome */
	struct env_timer check;
	struct seg_append check_sync;
	struct env_work check_work;
	struct seg_free freeing;
};

struct op {
	struct raft_submit submit;
	struct world *w;
	struct proc *p;
	struct op *prev, *next;    /* of p */
	uint64_t value;
	unsigned group;
};

/* --- sim_raft.c --- */
size_t value_len(const struct world *w, uint64_t value);
uint8_t value_byte(uint64_t value, size_t i);
/* What g was told to apply; checked. */
uint64_t value_of(struct proc *p, const struct raft_cmd *cmd);
/* p applies it there; hash: of its state before. Returns the one behind. */
uint64_t chain_apply(struct proc *p, struct chain *ch,
		     const struct raft_cmd *cmd, uint64_t value, uint64_t hash);
/* Only what is up to index is left, of a group of one. */
void chain_cut(struct world *w, struct chain *ch, uint64_t index);
/* NULL while the node is down, or does not have the group. */
struct replica *world_replica(struct world *w, unsigned node, unsigned gi);
/* One that was told that it leads, from a random node on; NULL: none. */
struct replica *world_leader(struct world *w, unsigned gi);

/* --- sim_raft_proc.c --- */
void *proc_start(struct sim_cluster *c, unsigned node, struct env *env);
void proc_stop(struct sim_cluster *c, unsigned node, void *proc, bool crash);
void proc_died(struct sim_cluster *c, unsigned node, void *proc);
bool proc_leads(void *proc);
/* Opens a group that is to be added to this node, on a process that runs. */
void proc_add_group(struct proc *p, unsigned gi);
/* removed: see raft_group_drop(). */
void proc_drop_group(struct proc *p, unsigned gi, uint64_t removed);

/* --- sim_raft_client.c --- */
void client_step(struct sim_cluster *c);
/* Its outcome. */
void op_end(struct op *op, enum value_state state);
void leases_free(struct proc *p);

/* --- sim_raft_member.c --- */
void member_init(struct world *w);
void member_step(struct world *w);
/* All groups are where they should be. */
bool member_done(struct world *w);
/* struct sim_ops */
bool member_spares(struct sim_cluster *c, unsigned nodes);

/* --- sim_raft_plant.c --- */
enum plant {
	PLANT_NONE, PLANT_ACK, PLANT_VOTE, PLANT_EARLY, PLANT_STALE,
	PLANT_COUNT, PLANT_TOLD, PLANT_WIPE, PLANT_TERM, PLANT_TRUNC,
	PLANT_RESET, PLANT_LIMP, PLANT_AHEAD, PLANT_ASLEEP,
	PLANT_MAJORITY,
};
/* Reads SIM_PLANT. */
void sim_raft_plant(void);
/* The leader of g asks `to` to lead. */
void sim_raft_told(struct raft_group *g, uint64_t to);

#endif
