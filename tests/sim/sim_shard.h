#ifndef TESTS_SIM_SIM_SHARD_H
#define TESTS_SIM_SIM_SHARD_H
/*
 * The shard host under faults. Shared by tests/sim/sim_shard*.c:
 *
 *   sim_shard.c         a run, its end, invariants
 *   sim_shard_proc.c    processes and what their rows say
 *   sim_shard_model.c   what each command should answer
 *   sim_shard_state.c   the log is the witness of one order of all
 *   sim_shard_read.c    what a read may see
 *   sim_shard_client.c  clients that are not so kind
 *   sim_shard_real.c    clients as they are
 *   sim_shard_gen.c     what clients ask for
 *   sim_shard_open.c    mounts that hold files open
 *   sim_shard_slice.c   chunks, and who names them
 *   sim_shard_upload.c  multipart uploads
 *   sim_shard_plant.c   bugs to be found, seams
 */
#include <sys/queue.h>

#include "storaged/compact.h"
#include "storaged/ns.h"
#include "tests/sim/sim_bytes.h"
#include "tests/sim/sim_client.h"
#include "tests/sim/sim_manager.h"
#include "tests/sim/sim_names.h"
#include "tests/sim/sim_plant.h"
#include "tests/sim/sim_request.h"
#include "tests/sim/sim_store.h"

#define SHARD_GROUPS 3
#define SHARD_CLIENTS 6
#define SHARD_OPS 2     /* of a client at once */
#define SHARD_KEY 48    /* longest path, with its end */
#define ETAG_MAX 48     /* its text, with its end */
#define UPLOAD_PARTS 4  /* part numbers go up to that */

struct world;
struct proc;

/* --- the model of one group --- */

/* One name: "a/b" of a file, "a/b/" of a directory. */
struct ver_row {
	char key[SHARD_KEY];
	uint64_t ino, tag, size, hash;
	uint32_t nlink; /* 0: directory */
	unsigned composite; /* 2: chunks are among its parts */
};

/* All names behind the command at index. */
struct ver {
	uint64_t index;
	unsigned n;
	unsigned n_all; /* behind n: files without a name, by inode */
	unsigned n_up;  /* behind them: uploads, in the order of lists */
	struct ver_row rows[];
};

struct link_to {
	struct nsm_file *file;
	bool orphan; /* no name, kept because it may be open */
	uint16_t *slices; /* of each byte: number + 1, or 0; NULL: none */
	uint16_t parts[UPLOAD_PARTS]; /* those of a composite's parts */
};

/* Bytes that stores have, for a shard to name. */
struct slice {
	struct wire_u128 id;
	uint16_t group;
	uint32_t len;
	bool dropped; /* the stores have removed it */
};

/* What a shard knows of one. */
struct slice_state {
	bool named, dead;
	bool waits;    /* it was named until `since` */
	int64_t since;
};

/* What every machine must have applied at an index. */
struct step {
	uint64_t term, cmd, answer; /* hashes; cmd 0: none seen */
};

/* A command and its answer: the model can be made again from them. */
struct past {
	uint64_t index;
	struct slot_mark {
		unsigned slot; /* UINT_MAX: the host's own */
		uint64_t seq, answer; /* what was there before */
	} mark;
	struct ns_cmd cmd;     /* payload is ours */
	struct ns_answer answer;
};

struct model {
	struct world *w;
	uint16_t group;
	struct step *steps;
	uint64_t cap;
	uint64_t last;         /* highest index applied anywhere */
	uint64_t passed;       /* the same, also entries that are no commands */
	uint64_t floor;        /* what any later answer must have seen */
	uint64_t acked;
	uint64_t firm;         /* of that, what no power cut may take */
	uint64_t highest;      /* inode that was ever given out */
	uint64_t at;           /* index of the command that runs */
	bool again;            /* once more: model_cut() */
	struct past *past;     /* all commands that were new, in order */
	unsigned n_past, cap_past;
	uint64_t root;         /* inode; 0: not made */
	bool told_root;        /* somebody was told of it */
	struct nsm_dir *dir;
	struct link_to *files;
	unsigned n_files, cap_files;
	struct upload *uploads;
	unsigned n_uploads, cap_uploads;
	/* composites that are gone, and whose parts the queue still has */
	struct {
		uint64_t ino;
		uint16_t parts[UPLOAD_PARTS];
	} *queued;
	unsigned n_queued, cap_queued;
	bool unqueued;         /* one of them is no more */
	struct slice_state *slices; /* by number */
	uint64_t cap_slices;
	struct ver **vers;
	unsigned n_vers, cap_vers;
	uint8_t owner[SIM_TERMS]; /* store that led in a term */
	struct sim_states states;
	uint64_t led_at[SIM_TERMS]; /* when that began */
};

/* --- clients --- */

/*
 * An answer slot; one number for all groups, so one row in each. Those of
 * adversaries have their place as number.
 */
struct slot {
	uint64_t client, seq; /* of the operation that has it */
	uint32_t number;      /* of the session `client` of a real client */
	struct op *op;
	uint64_t applied[SHARD_GROUPS]; /* seq of the last one there */
	/* highest one that was, as its session is over; stays when the tail
	 * of a log is lost, which only allows what nobody hears */
	uint64_t refused[SHARD_GROUPS];
	uint64_t answer[SHARD_GROUPS];
};

/* How an operation ended, for who asked for it. */
struct told {
	uint32_t status;      /* UNKNOWN_OUTCOME: it was given up */
	uint64_t term;        /* of the leader that answered */
	struct wire_bytes payload;
};

struct op {
	struct world *w;
	struct op *next;      /* all of the world */
	struct model *m;
	unsigned client, slot;
	uint64_t seq;
	uint16_t tag;
	bool write, loose;
	bool done, gave_up, refused;
	bool maybe;           /* some try may have got through */
	bool in_try;          /* one is under way */
	unsigned tries;
	uint64_t lo;          /* model floor when it, or its try, began */
	uint64_t deadline;
	struct buf payload;
	uint64_t effect;      /* index at which it was applied, 0: not */
	uint64_t effect_term;
	uint32_t status;
	uint64_t answer;
	void (*told)(struct op *op, const struct told *t); /* may be NULL */
	void *told_arg;
};

struct user {
	unsigned busy;
	uint64_t session;     /* of its opens; 0: it has none yet */
	unsigned free[64], n_free; /* slots */
};

enum plant {
	PLANT_NONE, PLANT_VOTE, PLANT_RETRY, PLANT_CLOCK,
	PLANT_STALE, PLANT_ROWS, PLANT_ALONE, PLANT_UNSAVED, PLANT_NEEDLESS,
	PLANT_DOUBTLESS, PLANT_REUSE, PLANT_GATE,
	PLANT_NOHOLD, PLANT_SNAPSYNC, PLANT_SNAPLATE,
	PLANT_SNAPCACHE, PLANT_SNAPHALF, PLANT_RESET, PLANT_TRUNC,
	PLANT_OPENLESS, PLANT_GRACELESS, PLANT_ENDLESS, PLANT_HASTY,
	PLANT_REVIVE, PLANT_PIECES, PLANT_UNLISTED, PLANT_ASLEEP,
	PLANT_BLOCKSUM, PLANT_LATE, PLANT_MAJORITY,
	PLANT_UNNUMBERED,
};

struct world {
	struct sim_cluster *c;
	unsigned groups, forget;
	bool tiny_cache, slow_work;
	bool quiet;           /* mostly only new leaders are given work */
	unsigned loose;       /* so many of 1000 writes are */
	uint64_t every;       /* sim_store_applied() */
	unsigned cuts[SHARD_GROUPS]; /* tails of its log that were lost */
	uint64_t led_at[SHARD_GROUPS]; /* when the last leader began */
	struct rows_mem_image *images[SIM_NODES];
	/* Logs are short: who lags needs the rows of another one. */
	bool lags;
	size_t snap_piece;
	struct sim_manager manager;
	struct sim_ask *asks;
	uint64_t halves;
	/*
	 * One machine: row snapshots are made; at so many of 1000 starts its
	 * rows are gone, or an old copy of them is back.
	 */
	unsigned doubts;
	struct rows_mem_image *old_image;
	uint64_t snap_bytes;
	uint64_t pinned;      /* log_clean.h */
	struct model models[SHARD_GROUPS];
	struct user clients[SHARD_CLIENTS];
	unsigned adversaries; /* of them; the others are as they are */
	unsigned most_slots;  /* that one of those has at once */
	struct sim_clients *real; /* NULL: not made */
	struct slot *slots;
	unsigned n_slots, cap_slots;
	struct op *ops;
	unsigned open;        /* operations without an end */
	unsigned hint[SHARD_GROUPS];
	uint64_t token;       /* makes values unique */
	uint64_t number;      /* of the last open or close */
	uint64_t grace;       /* for clients to tell a new leader their opens */
	LIST_HEAD(, hold) holds;
	struct session {
		uint64_t ended[SHARD_GROUPS]; /* index; 0: not yet */
	} *sessions;
	unsigned n_sessions, cap_sessions;
	struct slice *slices;
	unsigned n_slices, cap_slices;
	struct sent *sent;    /* uploads, as clients see them */
	uint64_t lease;       /* of a reader */
	bool jumps;           /* clocks do, so leases say nothing */
	bool drains;          /* in the end leases are waited for */
	enum { HEAL_NOT, HEAL_OPS, HEAL_LAST, HEAL_APPLY, HEAL_SWEEP,
	       HEAL_CHECKPOINT, HEAL_DONE } heal;
	uint64_t heal_at;     /* nothing is on its way behind this */
	unsigned checkpoints; /* under way */
	uint64_t n_writes, n_reads, n_dups, n_unknown, n_refused, n_errors;
};

/* A call that a process has. */
struct call {
	LIST_ENTRY(call) link;
	struct proc *p;
	struct op *op;
	unsigned try;
};

struct proc {
	struct sim_proc at;
	struct world *w;
	struct sim_store store;
	int (*apply)(void *arg, struct raft_group *g,
		     const struct raft_cmd *cmd);
	int (*pass)(void *arg, struct raft_group *g,
		    const struct raft_passed *p);
	void *apply_arg;
	uint64_t applied[SHARD_GROUPS];
	bool leads[SHARD_GROUPS];
	uint64_t elected[SHARD_GROUPS]; /* in this term */
	LIST_HEAD(, call) calls;
};

/* Reads SIM_PLANT. */
void sim_shard_plant(void);
extern struct proc *sim_starting;         /* calls shard_set_new() */
extern struct proc *sim_procs[SIM_NODES]; /* from there to its end */
/* The process and the entry that ns_apply() is called for, or NULL. */
extern struct proc *sim_applying;
extern const struct raft_cmd *sim_entry;

/* --- sim_shard_model.c --- */
/* Runs c, whose answer was a, and compares; the status. */
uint32_t model_command(struct model *m, const struct proc *p,
		       const struct ns_cmd *c, const struct ns_answer *a);

/* --- sim_shard_state.c --- */
void model_init(struct model *m, struct world *w, uint16_t group);
void model_fini(struct model *m);
/* A replica ran a command: same as the others, same as the model. */
void model_applied(struct model *m, struct proc *p, const struct ns_cmd *c,
		   const struct ns_answer *a);
const struct ver *model_now(const struct model *m);
/* The newest that some answer has shown; replicas may be ahead of it. */
const struct ver *model_told(const struct model *m);
/* No power cut takes what is up to index. */
void model_firm(struct model *m, uint64_t index);
/* Only what is up to index is left, of a group of one. */
void model_cut(struct model *m, struct proc *p, uint64_t index);

/* --- sim_shard_read.c --- */
/* "a/b" or "a/b/", of len bytes; NULL: none. */
const struct ver_row *ver_key(const struct ver *v, const char *key, size_t len);
/* With or without a name. */
const struct ver_row *ver_ino(const struct ver *v, uint64_t ino);
/*
 * Some state between op->lo and now must give this answer. False: it names what
 * is gone by now, ask again.
 */
bool model_read(struct model *m, const struct op *op, uint32_t status,
		struct wire_bytes payload, struct wire_bytes body);

/* --- sim_shard_proc.c --- */
void *proc_start(struct sim_cluster *c, unsigned node, struct env *env);
void proc_stop(struct sim_cluster *c, unsigned node, void *proc, bool crash);
void proc_died(struct sim_cluster *c, unsigned node, void *proc);
struct raft_group *proc_group(const struct proc *p, unsigned i);
/* Rows that were written so far: sound, and the same as others had. */
void proc_check_rows(struct proc *p);

/* --- sim_shard_client.c --- */
/* It stays until the end of the world. */
struct op *client_op(struct world *w, unsigned client, struct model *m,
		     uint16_t tag, struct buf *payload);
/* The process is gone, and what it had to answer. */
void client_calls_lost(struct proc *p);
/* The command of op was applied for the first time. */
void client_effect(struct op *op, uint64_t index, uint32_t status,
		   uint64_t answer);
/* No answer will come. Unless it may be that some try got through, none did. */
void client_gave_up(struct op *op);
/* It is looked at, and op ends, or asks again. */
void client_answered(struct op *op, const struct told *t,
		     struct wire_bytes body);

/* --- sim_shard_real.c --- */
void real_step(struct world *w);
/* False: op's client is an adversary. */
bool real_send(struct op *op);
/* 0: it has none now. */
uint64_t real_session(const struct world *w, unsigned client);
/* One of such a client, and its managers have ended it. */
bool real_session_is_over(const struct world *w, uint64_t session);
/* Whose number that is. */
struct op *real_op(struct world *w, uint64_t session, uint32_t slot,
		   uint64_t seq);
/* Place of a slot. */
unsigned real_slot(struct world *w, uint64_t session, uint32_t slot);

/* --- sim_shard_open.c --- */
struct gen;
#define SESSION_FIRST 1000u
void open_init(struct world *w);
uint64_t open_session_new(struct world *w);
/* From here on shards are told that it has ended. */
void open_session_ends(struct world *w, uint64_t session);
void open_tell_end(struct world *w, unsigned client, struct model *m,
		   uint64_t session);
void open_fini(struct world *w);
/* Tells opens again; now and then a client dies. */
void open_step(struct world *w);
/* All that is open is closed, or ends with its session. */
void open_end(struct world *w);
/* No nameless inode is kept any more, as far as the model goes. */
bool open_over(const struct world *w);
void open_dump(const struct world *w);
/* The rows say that something is open, or to be cleared away. */
bool open_left(struct proc *p, uint16_t group);
void open_gen(struct gen *g);
void open_gen_io(struct gen *g);
void open_gen_close(struct gen *g);
void open_gen_unlink(struct gen *g);
/* A leader of that term began. */
void open_led(struct model *m, uint64_t term);
/* The command that is applied took an inode's last name and kept it. */
void open_kept(struct model *m, uint64_t ino);
/* ... or gave an inode up. */
void open_gone(struct model *m, uint64_t ino);
/* That may be a SESSION_END. */
void open_session_ended(struct model *m, const struct ns_cmd *c);
/* Had it ended before the command that runs? */
bool open_session_over(const struct model *m, uint64_t session);
/* Is this the answer to an OPEN, in state v? */
bool open_see(const struct model *m, const struct ver *v,
	      const struct rpc_open *q, const struct op *op, uint32_t status,
	      const struct wire_attr *attr);

/* --- sim_shard_slice.c --- */
/* Of shard_config. */
int slice_on_drop(void *arg, const struct wire_u128 *slices, unsigned n,
		  void (*done)(void *done_arg, uint32_t status),
		  void *done_arg);
struct body *slice_on_chunk(void *arg, struct wire_u128 slice, uint32_t index);
void slice_bytes(struct world *w, struct wire_u128 id, uint64_t off,
		 uint8_t *out, size_t len);
bool slice_is_gone(struct world *w, struct wire_u128 id);
/* Its number + 1; nobody made it: fails. */
uint16_t slice_name(struct world *w, struct wire_u128 id);
/* The model: may these be named? */
uint32_t slice_commit(struct model *m, struct wire_bytes extents);
/* x of a request comes into a file at pos; others go. */
void slice_put(struct model *m, struct link_to *l, uint64_t pos,
	       const struct wire_extent *x, struct wire_bytes data);
void slice_wrote(struct link_to *l, uint64_t pos, uint64_t len, uint16_t name);
uint32_t slice_reap(struct model *m, const struct ns_cmd *c,
		    const struct ns_answer *a);
uint32_t slice_dropped_by_client(struct model *m, const struct ns_cmd *c);
/* A command ran: who is named now? */
void slice_after(struct model *m, const struct ns_cmd *c);
void slice_forget(struct model *m);
/* A slice, or part of one; its bytes. */
uint64_t slice_gen_extents(struct gen *g, struct wire_vec *v, uint64_t pos);
void slice_gen_drop(struct gen *g);
void slice_gen_reap(struct gen *g);
/* What nobody names is asked for; it is over when all that has gone. */
void slice_end(struct world *w);
bool slice_over(const struct world *w);
void slice_check_end(struct world *w);

/* --- sim_shard_upload.c --- */
void upload_init(struct world *w);
void upload_fini(struct world *w);
void etag_text(uint64_t tag, char out[ETAG_MAX]);
/* Of an ETag, in quotes or not; 0: not one of ours. */
uint64_t etag_tag(struct wire_bytes etag);
uint32_t upload_create(struct model *m, const struct ns_cmd *c,
		       const struct ns_answer *a);
uint32_t upload_part(struct model *m, const struct ns_cmd *c);
uint32_t upload_abort(struct model *m, const struct ns_cmd *c);
/* What a COMPLETE would make, but for its conditions; then it is done. */
struct whole {
	uint64_t tag;
	size_t len;
	uint16_t slices[UPLOAD_PARTS]; /* numbers + 1 */
	uint8_t bytes[NSM_BYTES];
};
uint32_t upload_join(struct model *m, const struct rpc_mpu_complete *q,
		     struct whole *ret);
void upload_joined(struct model *m, struct wire_u128 id,
		   const struct whole *whole, struct link_to *l);
/* A file is given up, perhaps a whole; its parts are the queue's. */
void upload_dropped(struct model *m, const struct link_to *l);
void upload_queue_work(struct model *m, const struct ns_cmd *c);
/* Which slices parts name, of uploads, wholes, and those in the queue. */
void upload_named(const struct model *m, bool *named);
void upload_forget(struct model *m);
/* The i-th of a shard as a row of a state. */
void upload_row(const struct model *m, unsigned i, struct ver_row *r);
bool upload_see_parts(const struct ver *v, const struct rpc_mpu_parts *q,
		      uint32_t status, const struct rpc_mpu_parts_rsp *rsp);
bool upload_see_list(const struct ver *v, const struct rpc_mpu_list *q,
		     uint32_t status, const struct rpc_mpu_list_rsp *rsp);
void upload_gen_create(struct gen *g);
void upload_gen_part(struct gen *g);
void upload_gen_complete(struct gen *g);
void upload_gen_abort(struct gen *g);
void upload_gen_list(struct gen *g);
/* Aborts all that are left. */
void upload_end(struct world *w);

/* --- sim_shard_gen.c --- */
void gen_op(struct world *w, unsigned client);
void gen_root(struct world *w, struct model *m);
/* A write, or reads of everything. */
void gen_last(struct world *w, struct model *m, bool write);

#endif
