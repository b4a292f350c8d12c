#ifndef TESTS_SIM_SIM_TREE_H
#define TESTS_SIM_SIM_TREE_H
/*
 * One namespace over several shards under faults. Shared by sim_tree*.c:
 *
 *   sim_tree.c        a run, its end, invariants
 *   sim_tree_proc.c   processes; seams
 *   sim_tree_mail.c   requests with the retry rules of common/client/call.c
 *   sim_tree_model.c  the order in which commands are applied is the witness
 *   sim_tree_ops.c    what clients ask for, and what they may be told
 */
#include <sys/queue.h>

#include "common/client/follow.h"
#include "storaged/ns_impl.h"
#include "storaged/shard_impl.h"
#include "tests/sim/sim_names.h"
#include "tests/sim/sim_plant.h"
#include "tests/sim/sim_request.h"
#include "tests/sim/sim_store.h"

#define TREE_GROUPS 4
#define TREE_CLIENTS 10
#define TREE_OPS 4   /* of a client at once */
#define TREE_KEY 96  /* longest path that is looked at, with its end */

struct tree;
struct mail;

/* --- the model: all shards together --- */

/* One name: "a/b" of a file, "a/b/" of a directory. */
struct ver_row {
	char key[TREE_KEY];
	uint64_t ino;
	bool file; /* the marker of "a/" has that key as well */
};

/* All names after so many effects. */
struct ver {
	uint64_t tick;
	unsigned n;
	struct ver_row rows[];
};

/* What every replica must have applied at an index. */
struct step {
	uint64_t cmd, answer; /* hashes; cmd 0: none seen */
};

struct group {
	struct step *steps;
	uint64_t cap, last;
	/* what changed names and nobody was told of; in order */
	struct change {
		uint64_t index, tick;
	} *changes;
	unsigned n_changes, cap_changes;
};

/* --- requests --- */

/* Who sends: a client, or one life of a process. */
struct sender {
	uint64_t client;
	uint32_t slots;       /* given out so far */
	uint32_t free_slot[64];
	uint64_t free_seq[64];
	unsigned n_free;
};

typedef void (*mail_fn)(void *arg, uint32_t status, struct wire_bytes payload);

struct mail {
	struct tree *w;
	struct mail *next; /* all of the world */
	struct sender *from;
	uint16_t shard, tag;
	bool write, in_try, done, cancelled;
	unsigned tries;
	uint64_t deadline;
	uint32_t slot;
	uint64_t seq;
	struct buf payload;
	mail_fn fn;
	void *arg;
	struct op *op;     /* of a client, else NULL */
};

/* A call that a process has. */
struct call {
	LIST_ENTRY(call) link;
	struct proc *p;
	struct mail *m;
	unsigned try;
};

struct op {
	struct tree *w;
	struct op *next;
	unsigned client;
	uint16_t tag;
	bool write, done, gave_up;
	uint64_t lo;          /* a read: what it must have seen */
	struct group *group;  /* a write: where it was done */
	uint64_t index;
	struct client_hop hop;
	struct client_follow *follow;
	struct buf request;   /* as it began */
	unsigned effects;     /* times that it was done */
	uint32_t status;      /* with which */
	/* LIST */
	char (*keys)[TREE_KEY];
	unsigned n_keys, cap_keys;
};

struct client {
	struct sender from;
	unsigned busy;
};

enum plant { PLANT_NONE, PLANT_LOCK, PLANT_END, PLANT_TERM, PLANT_AGAIN,
	     PLANT_READ, PLANT_UNSAVED, PLANT_NOHOLD, PLANT_NOLOCKS,
	     PLANT_DOUBTLESS };

struct tree {
	struct sim_cluster *c;
	unsigned groups, forget;
	bool tiny_cache;
	/* Logs are short: who lags needs the rows of another one. */
	bool lags;
	size_t snap_piece;
	uint64_t snap_bytes;
	uint64_t pinned;      /* log_clean.h; 0: nothing is cleaned */
	struct sim_ask *asks;
	/*
	 * One machine: at so many of 1000 starts its rows are gone, or an old
	 * copy of them is back.
	 */
	unsigned doubts;
	struct rows_mem_image *old_image;
	struct rows_mem_image *images[SIM_NODES];
	struct group group[TREE_GROUPS];
	uint64_t root;        /* 0: not made */
	uint64_t tick;        /* effects so far */
	struct nsm_dir *dir;
	struct nsm_file **files;
	unsigned n_files, cap_files;
	struct ver **vers;
	unsigned n_vers, cap_vers;
	struct client clients[TREE_CLIENTS];
	struct op *ops;
	struct mail *mails;
	unsigned open;        /* operations without an end */
	unsigned hint[TREE_GROUPS];
	uint64_t lives;       /* of processes */
	bool asked_root;
	enum { HEAL_NOT, HEAL_OPS, HEAL_REST, HEAL_LAST, HEAL_LOOK,
	       HEAL_CHECKPOINT } heal;
	uint64_t heal_at;
	unsigned checkpoints;
	uint64_t n_writes, n_reads, n_unknown, n_hops;
};

struct proc {
	struct sim_proc at;
	struct tree *w;
	struct sim_store store;
	int (*apply)(void *arg, struct raft_group *g,
		     const struct raft_cmd *cmd);
	void *apply_arg;
	uint64_t applied[TREE_GROUPS];
	bool leads[TREE_GROUPS];
	LIST_HEAD(, call) calls;
	struct sender from;
};

/* --- sim_tree_proc.c --- */
void *proc_start(struct sim_cluster *c, unsigned node, struct env *env);
void proc_stop(struct sim_cluster *c, unsigned node, void *proc, bool crash);
void proc_died(struct sim_cluster *c, unsigned node, void *proc);
/* Rows that were written so far are sound; whole: all shards together. */
void proc_check_rows(struct proc *p, bool whole);
/* Nobody holds a lock or owes a step. */
bool proc_at_rest(const struct proc *p);

/* --- sim_tree_mail.c --- */
/* payload is taken. The mail lives as long as the world. */
struct mail *mail_send(struct tree *w, struct sender *from, uint16_t shard,
		       uint16_t tag, struct buf *payload, uint64_t patience_ns,
		       struct op *op, mail_fn fn, void *arg);
/* Another request in the name of the last one, which ended definitely. */
void mail_cancel(struct mail *m);
void mail_calls_lost(struct proc *p);

/* --- sim_tree_model.c --- */
void tree_model_init(struct tree *w);
void tree_model_fini(struct tree *w);
void tree_applied(struct proc *p, const struct raft_cmd *cmd,
		  const struct ns_cmd *c, const struct ns_answer *a);
/* What every read that begins now must see: that tick, at least. */
uint64_t tree_floor(const struct tree *w);
/* Somebody was told of the entry. */
void tree_told(struct group *g, uint64_t index);
const struct ver *tree_now(const struct tree *w);
const struct ver_row *ver_find(const struct ver *v, const char *key,
			       bool file);
const struct ver_row *ver_dir(const struct ver *v, uint64_t ino);

/* --- sim_tree_ops.c --- */
void tree_op(struct tree *w, unsigned client);
void tree_root(struct tree *w);
/* A write, or a listing of all. */
void tree_last(struct tree *w, bool write);

#endif
