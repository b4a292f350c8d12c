#ifndef TESTS_SIM_SIM_TREE_H
#define TESTS_SIM_SIM_TREE_H
/*
 * One namespace over several shards under faults. Shared by sim_tree*.c:
 *
 *   sim_tree.c        a run, its end, invariants
 *   sim_tree_proc.c   processes; seams
 *   sim_tree_client.c clients as they are
 *   sim_tree_mail.c   clients that are not so kind, and calls of shards
 *   sim_tree_model.c  the order in which commands are applied is the witness
 *   sim_tree_ops.c    what clients ask for, and what they may be told
 *   sim_tree_pages.c  READDIR and PARENT; what pages may show
 *   sim_tree_read.c   the same of bytes
 *   sim_tree_chunk.c  slices
 *   sim_tree_bulk.c   their chunks, where one machine is alone
 *   sim_tree_split.c  segments of directories
 *   sim_tree_whole.c  what the shards of several stores make together
 */
#include <sys/queue.h>

#include "common/client/follow.h"
#include "storaged/chunk_impl.h"
#include "storaged/ns_impl.h"
#include "storaged/orphans.h"
#include "storaged/shard_impl.h"
#include "tests/sim/sim_bytes.h"
#include "tests/sim/sim_client.h"
#include "tests/sim/sim_manager.h"
#include "tests/sim/sim_names.h"
#include "tests/sim/sim_plant.h"
#include "tests/sim/sim_request.h"
#include "tests/sim/sim_store.h"

#define TREE_GROUPS 4
#define TREE_CLIENTS 10
#define TREE_OPS 4   /* of a client at once */
#define TREE_SPLITS 3 /* at once: hosts have one for each shard */
#define TREE_KEY 96  /* longest path that is looked at, with its end */
#define TREE_SESSION 1 /* of clients that live; others are over */

struct tree;
struct mail;

/* --- the model: all shards together --- */

/* One name: "a/b" of a file, "a/b/" of a directory. */
struct ver_row {
	char key[TREE_KEY];
	uint64_t ino;
	bool file; /* the marker of "a/" has that key as well */
	uint32_t nlink; /* of a file, like what follows */
	uint64_t size, hash, tag;
};

/* All names after so many effects. */
struct ver {
	uint64_t tick;
	unsigned n;
	bool cut; /* there are longer paths */
	struct ver_row rows[];
};

/* What every replica must have applied at an index. */
struct step {
	uint64_t cmd, answer; /* hashes; cmd 0: none seen */
};

struct group {
	struct step *steps;
	uint64_t cap, last;
	uint8_t owner[SIM_TERMS]; /* store that led in a term */
	struct sim_states states;
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

typedef void (*mail_fn)(void *arg, uint32_t status, struct wire_bytes payload,
			struct wire_bytes body);

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
	uint16_t tag, shard;  /* shard 0: where the request says */
	bool write, done, gave_up;
	uint64_t began;
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
	uint64_t *sizes;
	unsigned cap_sizes;
	/* READDIR */
	struct page_name {
		char key[TREE_KEY];
		uint64_t ino;
	} *names;
	unsigned n_names, cap_names;
	uint64_t dir; /* DIR_SEGMENT: for which one */
};

struct user {
	struct sender from;
	unsigned busy;
};

enum plant { PLANT_NONE, PLANT_LOCK, PLANT_END, PLANT_TERM, PLANT_AGAIN,
	     PLANT_READ, PLANT_UNSAVED, PLANT_NOHOLD, PLANT_NOLOCKS,
	     PLANT_DOUBTLESS, PLANT_RANGE, PLANT_PIN, PLANT_EMPTY, PLANT_MAP,
	     PLANT_LOOK, PLANT_AT, PLANT_PAGE, PLANT_BYTES, PLANT_KREF,
	     PLANT_NOSTEPS, PLANT_WIPE, PLANT_BARE, PLANT_SWEEP,
	     PLANT_ORPHAN };

struct tree {
	struct sim_cluster *c;
	unsigned groups, forget;
	bool tiny_cache;
	/* Logs are short: who lags needs the rows of another one. */
	bool lags;
	struct sim_manager manager;
	size_t snap_piece;
	uint64_t snap_bytes;
	uint64_t pinned;      /* log_clean.h; 0: nothing is cleaned */
	uint64_t every;       /* sim_store_applied() */
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
	uint64_t token;       /* makes bytes unique */
	struct nsm_dir *dir;
	struct nsm_file **files;
	unsigned n_files, cap_files;
	struct ver **vers;
	unsigned n_vers, cap_vers;
	struct user clients[TREE_CLIENTS];
	unsigned adversaries; /* of them; the others are as they are */
	unsigned slots;       /* that one of those has at once */
	bool real_calls;      /* shards call each other as they do */
	struct sim_clients *real; /* NULL: not made */
	struct sender managers; /* tell shards of ... */
	uint64_t n_sessions;  /* of those, when they are over */
	struct tell *tells;
	struct op *ops;
	struct mail *mails;
	unsigned open;        /* operations without an end */
	unsigned hint[TREE_GROUPS];
	uint64_t lives;       /* of processes */
	bool asked_root, told_root;
	bool splits;          /* directories come to have segments */
	unsigned splitting;   /* requests of such under way */
	uint64_t split_most;  /* names, then hosts split, too; 0: they do not */
	struct segment {
		uint64_t ino, dir;
	} *segments;          /* that were made; some went */
	unsigned n_segments, cap_segments;
	enum { HEAL_NOT, HEAL_OPS, HEAL_REST, HEAL_LAST, HEAL_LOOK,
	       HEAL_CHECKPOINT } heal;
	uint64_t heal_at;
	unsigned checkpoints;
	uint64_t n_writes, n_reads, n_unknown, n_hops;
	uint64_t n_gets, n_far_gets, n_copies, n_chunks;
	struct dropped {
		struct wire_u128 slice;
		uint64_t at;
	} *dropped;           /* when somebody was told to */
	unsigned n_dropped, cap_dropped;
	bool alone;           /* one machine: it has their chunks */
	struct bulk_put *bulk_puts;
	struct rows_mem_image *chunk_image; /* of their index */
	uint64_t bulk_look;   /* ns; not before */
};

/* What a process that is alone has of chunks; zeros: it has none. */
struct tree_bulk {
	struct rows_back *index;
	struct chunk_store *cs;
	struct seg_head *head;
	struct seg_port *port;
	struct chunk_loop *chunks;
	struct orphans *orphans;
	/* what the sweep asks */
	struct mail *mail;    /* NULL: nothing, or of the managers */
	orphans_done_fn done;
	void *done_arg;
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
	uint64_t elected[TREE_GROUPS]; /* in this term */
	LIST_HEAD(, call) calls;
	struct sender from;         /* of calls to other shards, or ... */
	struct sim_machine *client; /* NULL before the first */
	struct tree_bulk bulk;
};

/* --- sim_tree.c --- */
/* All that clients asked for has ended. */
bool tree_all_over(const struct tree *w);

/* --- sim_tree_proc.c --- */
void *proc_start(struct sim_cluster *c, unsigned node, struct env *env);
void proc_stop(struct sim_cluster *c, unsigned node, void *proc, bool crash);
void proc_died(struct sim_cluster *c, unsigned node, void *proc);
/* Rows that were written so far are sound. */
void proc_check_rows(struct proc *p);
/* It has everything; nobody holds a lock or owes a step. */
bool proc_at_rest(const struct proc *p);

/* --- sim_tree_whole.c --- */
/*
 * Both ends of each name agree, in every copy of a shard. False: somebody holds
 * a lock there, as what was given up is on its way yet.
 */
bool tree_check_whole(struct tree *w);

/* --- sim_tree_client.c --- */
/* Once. */
void tree_clients_start(struct tree *w);
void tree_clients_fini(struct tree *w);
/* False: op's client is none of these. */
bool tree_client_send(struct op *op);
/* Is the client of a command a session of such? */
bool tree_is_session(uint64_t client);
/* Whose number that is; NULL: of a shard. */
struct op *tree_client_op(struct tree *w, uint64_t session, uint32_t slot,
			  uint64_t seq);

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

/* --- sim_tree_read.c --- */
/* What OBJECT and READ answer: true of some way through the states. */
void tree_see_object(struct op *op, uint32_t status, struct wire_bytes payload,
		     struct wire_bytes body);
void tree_see_read(struct op *op, uint32_t status, struct wire_bytes payload,
		   struct wire_bytes body);
/* Ask for a file's bytes, by key or by inode; write some. */
void tree_gen_object(struct tree *w, unsigned client, const char *key);
void tree_gen_read(struct tree *w, unsigned client);
/* Now and then, behind a RENAME or LINK that op was told of: what it moved. */
void tree_read_moved(struct op *op, struct wire_bytes payload);
void tree_gen_write(struct tree *w, unsigned client);
/* data, or (empty) bytes that no other write has. */
void tree_gen_put(struct tree *w, unsigned client, const char *key,
		  struct wire_bytes data);
/* A key whose bytes are that slice. */
void tree_commit_put(struct tree *w, unsigned client, const char *key,
		     struct wire_u128 slice, uint64_t size);

/* --- sim_tree_chunk.c --- */
/* A new one, for that shard. */
struct wire_u128 tree_slice(struct tree *w, uint16_t home);
/* op was told of them: their chunks were there when it began. */
void tree_see_slices(const struct op *op, struct wire_bytes extents);
/* Its chunks go now. */
void tree_dropped(struct tree *w, struct wire_u128 slice);
bool tree_was_dropped(const struct tree *w, struct wire_u128 slice);
/* A commit of these may come too late. */
bool tree_may_be_late(const struct tree *w, struct wire_bytes extents);
/* shard_config.drop */
int tree_drop(void *arg, const struct wire_u128 *slices, unsigned n,
	      void (*done)(void *done_arg, uint32_t status), void *done_arg);

/* --- sim_tree_bulk.c: where one machine is alone --- */
/* Bytes of a new slice, then, if all goes well, the commit. */
void tree_bulk_put(struct tree *w, unsigned client, const char *key,
		   struct wire_u128 slice, uint64_t size);
void tree_bulk_write(struct tree *w, unsigned client,
		     const struct rpc_write *q, uint64_t pos,
		     struct wire_u128 slice, uint64_t size);
void tree_bulk_fini(struct tree *w);
/* Somebody is told of that extent. */
void tree_bulk_see(struct tree *w, const struct wire_extent *e);
/* Nothing is left that no shard counts. */
bool tree_bulk_swept(struct tree *w);
/* All that shards count is there. */
void tree_bulk_check(struct tree *w);
/* Between the log and the shards. 0 or -errno with e set. */
int tree_bulk_open(struct proc *p, struct errbuf *e);
/* Behind the cleaner. */
void tree_bulk_start(struct proc *p);
/* Before the shards go, and after. */
void tree_bulk_stop(struct proc *p, bool crash);
void tree_bulk_close(struct proc *p, bool crash);
void tree_bulk_died(void);
bool tree_bulk_is_cut(const struct rows_back *back);

/* --- sim_tree_ops.c --- */
#define SEND(w, client, name, q) \
	do { \
		struct buf b_; \
		buf_init(&b_, 0); \
		(void)rpc_##name##_encode((q), &b_); \
		tree_send((w), (client), RPC_TAG_##name, &b_, 0); \
	} while (0)
/* A directory (or file) of the newest state; NULL: there is none. */
const struct ver_row *tree_pick(struct tree *w, bool dir);
void tree_op(struct tree *w, unsigned client);
void tree_root(struct tree *w);
/* A write, or a listing of all. */
void tree_last(struct tree *w, bool write);
/* Any of those that clients use. */
const char *tree_name(struct tree *w);
const char *tree_key(struct tree *w);
/* payload is taken; shard 0: where the request says. */
void tree_send(struct tree *w, unsigned client, uint16_t tag,
	       struct buf *payload, uint16_t shard);
/* Empties op's request for the next page, of ino; then on with it. */
void tree_next_page(struct op *op, uint16_t tag, uint64_t ino);
void tree_hop(struct op *op);
/* It was, or may have been; or that is its answer. */
void tree_gave_up(struct op *op);
void tree_answered(struct op *op, uint32_t status, struct wire_bytes payload,
		   struct wire_bytes body);
/* The first state that a read may have seen. */
unsigned tree_first_ver(const struct op *op);
bool ver_shows(const struct ver *v, const char *key);

/* --- sim_tree_pages.c --- */
/* How many names it has now. */
unsigned tree_entries(const struct tree *w, uint64_t dir);
void tree_readdir(struct tree *w, unsigned client, uint64_t dir, uint32_t max);
void tree_readdirs(struct tree *w);
/* LIST of it with a delimiter, also of names that begin alike. */
void tree_flat(struct tree *w, unsigned client, uint64_t dir);
/* False: it was a LIST of all keys. */
bool tree_see_flat(struct op *op, unsigned from);
void tree_parent(struct tree *w, unsigned client, uint64_t ino);
/* True when another page was asked for. */
bool tree_readdir_page(struct op *op, struct wire_bytes payload);
void tree_see_readdir(struct op *op, uint32_t status);
void tree_see_listed(struct op *op, unsigned from);
void tree_see_parent(struct op *op, uint32_t status,
		     struct wire_bytes payload);

/* --- sim_tree_split.c --- */
/* A number for a segment of dir, or some names of it move. */
void tree_split(struct tree *w, unsigned client, uint64_t dir);
/* DIR_SEGMENT was answered. */
void tree_split_go(struct tree *w, unsigned client, uint64_t dir,
		   struct wire_bytes payload);
/* The directory of a segment; every other one is its own. */
uint64_t tree_segment_dir(const struct tree *w, uint64_t at);
void tree_split_begin(struct tree *w);
/* Around every run of a command, whether it is for good or not ... */
void tree_split_run(const struct ns_cmd *c);
void tree_split_ran(const struct ns_cmd *c, const struct ns_answer *a);
/* ... and what was for good. */
void tree_split_effect(struct tree *w, const struct ns_cmd *c,
		       const struct ns_answer *a);
/* Prints a directory as rows have it. */
void tree_split_dump(const struct tree *w, uint64_t dir);
bool tree_split_ignores(const struct ns_lock *lock);

#endif
