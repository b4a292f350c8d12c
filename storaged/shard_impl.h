#ifndef STORAGED_SHARD_IMPL_H
#define STORAGED_SHARD_IMPL_H
/* Private to storaged/shard*.c. */
#include "common/raft/raft_check.h"
#include "common/raft/raft_gate.h"
#include "common/rows/rows_applied.h"
#include "storaged/ns.h"
#include "storaged/ns_rows.h"
#include "storaged/ns_locks.h"
#include "storaged/opens.h"
#include "storaged/shard.h"

#define SHARD_GRACE_NS 60000000000u     /* shard_config.grace_ns */
#define SHARD_SWEEP_NS 5000000000u      /* after cautious decisions */
#define SHARD_IN_FLIGHT_MAX 65536u
#define SHARD_DIRTY_MAX ((size_t)128 << 20)
#define SHARD_HASH 64u
#define SHARD_DRY_RUNS 64u  /* commands tried out after one had to wait */
#define SHARD_DRY_ROUNDS 8u /* loads for one of them, at most */
#define SHARD_PARTY_NS 200000000u  /* how often transactions are looked at */
#define SHARD_ASK_NS 1000000000u   /* when their coordinator is asked */
#define SHARD_LOCKED_NS 10000000000u /* longest wait for a lock */
#define SHARD_FORGET 256u

enum shard_op_state {
	OP_START,     /* nothing done yet */
	OP_DRY,       /* W: trying out, loading rows */
	OP_DECIDE,    /* W: who loses a name, is it open? */
	OP_SUBMIT,    /* W: all is decided */
	OP_SUBMITTED, /* W: apply or failed follows */
	OP_FAR,       /* W: shard_far.c gets what other shards have */
	OP_FAR_PAUSE, /* W: it begins anew soon */
	OP_LEAVE,     /* W: a barrier, then another shard goes on */
	OP_LOCKED,    /* a transaction must end first; then `resume` */
	OP_CLOSE_WAIT, /* close: older commands that take names must end */
	OP_CLOSE_LOOK, /* close: is the inode without a name? */
	OP_OPEN_WAIT, /* R with open: as OP_CLOSE_WAIT */
	OP_BARRIER,   /* R: a barrier is under way */
	OP_READ,      /* R: ns_read, loading rows */
	OP_VALUES,    /* R: a worker reads values */
	OP_SYNC,      /* page read: rows_sync is under way */
	OP_SCAN,      /* page read: a worker runs ns_scan */
	OP_LOG,       /* SYNC: the log is being synced */
};

struct shard_far;
struct shard_end;
struct party_ask;

struct shard_op {
	struct shard_set *set;
	struct shard_group *g;
	enum shard_op_state state;
	uint16_t tag;
	char kind;               /* of the message table; 0 = unknown tag */
	struct wire_bytes payload; /* the request: of the caller, or in owned */
	struct buf owned;
	shard_done_fn done;
	void *arg;
	struct shard_op *prev, *next; /* all ops of the set */
	struct rows_txn *txn;    /* from the pool, or NULL */
	struct ns_answer answer;
	struct env_task task;    /* runs shard_op_step() */
	struct env_work work;
	struct raft_submit submit;
	struct raft_barrier barrier;
	struct seg_append sync;
	uint64_t lease_term;     /* R: of the lease it reads under, 0: none */
	unsigned dry_rounds;
	uint32_t decisions;
	uint16_t place;          /* NS_DECIDE_PLACE */
	bool passed;             /* LEAVE: the barrier; SYNC: locks of others */
	struct shard_far *far;   /* while it needs other shards */
	/* while it waits for a transaction */
	enum shard_op_state resume;
	struct wire_u128 holder; /* 0: for all up to lock_number */
	uint64_t lock_number, lock_until;
	struct shard_op *lock_next;
	/* a W op whose outcome decides about opens, while it is in flight */
	uint8_t flight;          /* SHARD_FLIGHT_* */
	bool in_flight, named;   /* named: the two fields below say which */
	uint64_t name_dir, name_hash; /* the name that is taken or given */
	uint64_t flight_seq;
	struct shard_op *flight_prev, *flight_next;
	/* an op that waits for such ones up to wait_seq */
	uint64_t wait_seq;
	struct shard_op *wait_next;
	/* the open that this op registers or closes */
	bool open, registered;
	unsigned open_round;     /* registered: of the group then */
	struct open_id open_id;  /* ino: as soon as it is known */
	/* values */
	unsigned installs;       /* of the group when it began */
	struct body *body;
	unsigned value_at;       /* next value to read */
	unsigned value_tries;    /* times that one had been moved */
	int value_rv;            /* of a worker */
	uint32_t status;         /* of a worker */
};

/* What a command may do to open inodes. */
enum {
	SHARD_FLIGHT_VICTIM = 1, /* may take a last name */
	SHARD_FLIGHT_BRING = 2,  /* may bring an open inode to a name */
};

/* The worker of the queue, see shard_queue.c. */
struct shard_queue {
	struct env_timer timer;
	bool woken;              /* rows may have come since a pass began */
	struct shard_queue_batch *batch; /* NULL: none under way */
	struct ns_key cursor;    /* of the pass; the batch's while it runs */
	int64_t due;             /* of it: when the next row's time comes */
	uint64_t rows;           /* seen by this pass ... */
	uint64_t seen;           /* ... and by the last whole one */
};

/* The worker that merges extents, see shard_merge.c. */
#define SHARD_MERGE_NOTED 64u
struct shard_merge {
	struct env_timer timer;
	struct shard_merge_job *job; /* NULL: none under way */
	struct {
		uint64_t ino, region;
	} noted[SHARD_MERGE_NOTED];  /* oldest first */
	unsigned n;
};

/* The worker that splits huge directories, see shard_split.c. */
#define SHARD_SPLIT_NOTED 16u
#define SHARD_SPLIT_VAIN 16u
struct shard_split {
	struct env_timer timer;
	struct shard_split_job *job; /* NULL: none under way */
	uint64_t entries;            /* of the job's directory, as last seen */
	struct {
		uint64_t ino, entries;
		unsigned tries;      /* that failed */
	} noted[SHARD_SPLIT_NOTED];  /* oldest first */
	unsigned n;
	struct {
		uint64_t ino, entries;
	} vain[SHARD_SPLIT_VAIN];    /* that cannot be split */
	unsigned vain_at;
};

struct shard_group {
	struct shard_set *set;
	struct raft_group *raft;
	uint16_t id;
	bool leader, fresh;      /* fresh: nobody has led it before */
	int64_t last_now;        /* of the newest command applied or proposed */
	uint64_t applied, applied_term; /* in rows, with last_now beside it */
	uint64_t passed, passed_term; /* last entry that was no command */
	/* apply that waits for rows */
	struct rows_txn *txn;
	struct rows_txn *parked; /* txn or that of an op */
	struct ns_answer answer; /* of commands of others */
	unsigned dry;            /* commands still to be tried out */
	/* transactions */
	struct ns_locks *locks;
	struct shard_op *locked; /* ops that wait, by lock_next */
	struct shard_far *fars;  /* that this leader coordinates */
	struct shard_end *ends;  /* what it has done elsewhere */
	struct party_ask *asks;  /* about those of others */
	struct wire_u128 *forget; /* owned, SHARD_FORGET: rows that may go */
	unsigned n_forget;
	bool forget_lost;        /* some did not go */
	uint64_t txns;           /* number of the last one */
	struct env_timer party;
	bool party_armed;
	/* opens */
	struct opens opens;
	unsigned open_round;     /* leaderships: each begins without opens */
	uint64_t grace_until;    /* now_ns; 0: over */
	struct env_timer sweep;
	bool sweep_armed;
	uint64_t sweep_due;      /* now_ns: the last one asked for; 0: none */
	struct shard_sweep *sweeping; /* shard_sweep.c */
	struct shard_queue queue;
	struct shard_merge merge;
	struct shard_split split;
	struct shard_op *flight_head, *flight_tail;
	uint64_t flight_seq;
	struct shard_op *waiting; /* by wait_next */
	/* rows of another member (shard_snap.h) */
	struct shard_fetch *fetch;
	bool installing;         /* they are put in place: hands off */
	unsigned installs, fetch_failed;
	struct shard_group *next, *hash_next;
};

struct shard_sweep;
struct shard_serving;
struct serve_refusal;

struct shard_set {
	struct shard_config config;
	struct env *env;
	struct raft_host *host;
	struct rows *rows;
	struct seg_head *log;
	struct seg_port *port;
	struct shard_group *groups;
	struct shard_group *by_id[SHARD_HASH]; /* through hash_next */
	struct shard_op *ops;
	struct rows_txn *pool[16];
	unsigned n_pool;
	bool closing;
	struct rows_txn *txn;    /* moves applied indexes */
	struct raft_check *check;
	struct raft_gate gate;
	struct raft_snaps *snaps; /* or NULL */
	struct shard_serving *serving; /* shard_snap_serve.c */
	unsigned n_serving;
	struct serve_refusal *refusals;
	struct shard_stats stats; /* loop only; STORE_COUNTS: shard_count() */
};

/* Its loop only; other threads read it. */
static inline void shard_count(uint64_t *count, uint64_t n)
{
	__atomic_store_n(count, *count + n, __ATOMIC_RELAXED);
}

/* --- shard.c --- */
struct shard_group *shard_find(struct shard_set *set, uint16_t group);
int shard_apply(void *arg, struct raft_group *raft,
		const struct raft_cmd *cmd);
/*
 * Commits t, in which positions in rows were changed without a command, with
 * the row that tells them from the rows before. 0, -ENOMEM, -EIO.
 */
int shard_commit_moved(struct shard_group *g, struct rows_txn *t);
/*
 * What is derived from the rows of a shard: made again when they are others than
 * before, and when it is opened; here, and nowhere else. load() reads it from the
 * rows: blocks; at a start, or on a worker; touches nothing of g. 0, -EIO, -ENOMEM.
 * replaced() takes it, in the loop.
 */
struct shard_derived {
	struct rows_applied at;
	struct ns_locks *locks; /* NULL: was taken */
};
int shard_rows_load(const struct shard_group *g, struct shard_derived *ret);
void shard_rows_replaced(struct shard_group *g, struct shard_derived *d);
void shard_derived_fini(struct shard_derived *d);

/* --- shard_op.c: the life of a call --- */
/* A txn of the op, from the pool. NULL: out of memory. */
struct rows_txn *shard_op_txn(struct shard_op *op);
/* Ends op: done(status, answer, body), then it is freed. */
void shard_op_finish(struct shard_op *op, uint32_t status);
/* Runs shard_op_step() soon. */
void shard_op_post(struct shard_op *op);
void shard_op_step(struct shard_op *op);
/* The rows that it has seen were replaced, or are being: it must not go on. */
bool shard_op_outdated(const struct shard_op *op);
/* Loads what the op's txn needs, then steps. */
void shard_op_load(struct shard_op *op);

/* --- shard_write.c, shard_read.c: one step each --- */
void shard_write_step(struct shard_op *op);
void shard_close_step(struct shard_op *op);
void shard_read_step(struct shard_op *op);
void shard_read_end(struct shard_op *op, uint32_t status);
void shard_sync_step(struct shard_op *op);
/* The command c of op was applied: op->answer is set. */
void shard_write_applied(struct shard_op *op);
/* The request of op as a command; nothing is decided. */
struct ns_cmd shard_op_cmd(const struct shard_op *op);
/* Decides and submits. */
void shard_write_decided(struct shard_op *op);

/* --- shard_far.c: a command that needs rows of other shards --- */
/* Its first run ended FAR. */
void shard_far_start(struct shard_op *op);
/* The run that should commit ended as op->answer says. */
void shard_far_applied(struct shard_op *op);
void shard_far_failed(struct shard_op *op, uint32_t status);
/* Runs the op with what it has of other shards. */
void shard_far_step(struct shard_op *op);
/* What it has, into a command. */
void shard_far_cmd(struct shard_far *f, struct ns_cmd *c);
/* Is it one that may still commit? */
bool shard_far_pending(const struct shard_group *g, struct wire_u128 txn);
void shard_far_free(struct shard_far *f);

/* --- shard_party.c: transactions that others coordinate; ends of ours --- */
/*
 * Ends txn in shards: the steps that its own row has for each (none: locks are
 * given back), then forgets it. A committed one goes on until that is done, or
 * the group does not lead any more. done (may be NULL) is told once. NULL: no
 * memory.
 */
struct shard_end *shard_end_start(struct shard_group *g, struct wire_u128 txn,
				  const uint16_t *shards, unsigned n,
				  void (*done)(void *arg), void *arg);
void shard_end_forget(struct shard_end *e); /* done is not told; NULL is fine */
/* A new leader, or one no more. */
void shard_party_role(struct shard_group *g);
/* The rows are others, and these their transactions: taken. */
void shard_party_replaced(struct shard_group *g, struct ns_locks *locks);
/* After a command that changed who holds what. */
void shard_party_applied(struct shard_group *g);
void shard_party_free(struct shard_group *g);
/*
 * op waits until holder has ended (all zero: everybody who holds something
 * now), then goes on in state resume.
 */
void shard_lock_wait(struct shard_op *op, struct wire_u128 holder,
		     enum shard_op_state resume);
void shard_lock_leave(struct shard_op *op); /* it ends */
/* Behind a TXN_END: nobody waits for its locks any more. */
void shard_locks_ended(struct shard_group *g, const struct ns_cmd *c);

/* --- shard_open.c: the leader's decisions about open inodes --- */
/* Fills flight, named and so on from the request; registers nothing. */
void shard_flight_fill(struct shard_op *op);
/* Sets op->decisions. 0, -EAGAIN (load), -ENOMEM. */
int shard_decide(struct shard_op *op);
void shard_flight_begin(struct shard_op *op);
void shard_flight_end(struct shard_op *op);
/*
 * True when commands are in flight that op must see the end of before it may
 * trust the open table; op is stepped when they have ended.
 */
bool shard_flight_wait(struct shard_op *op);
/* A command was applied that kept ino: if for nobody, it goes later. */
void shard_kept(struct shard_group *g, uint64_t ino);
int shard_op_register(struct shard_op *op, uint64_t ino);
/* 0, or -ENOENT: the leader has forgotten it meanwhile. */
int shard_op_opened(struct shard_op *op);
void shard_op_unregister(struct shard_op *op);
/* SESSION_END was applied: a leader's opens of those sessions go. */
void shard_sessions_ended(struct shard_group *g, const struct ns_cmd *c);
/* A new leader knows no opens: for a time nothing is taken for closed. */
bool shard_in_grace(const struct shard_group *g);

/* --- shard_fsck.c: worker, of a CHECK_BYTES; sets op->status --- */
void shard_fsck_run(struct env_work *work);

/* --- shard_value.c --- */
/* DONE: op->status says how; AGAIN: read the rows once more. */
enum shard_values { SHARD_VALUES_DONE, SHARD_VALUES_WAIT, SHARD_VALUES_AGAIN };
/* Collects the answer's values into op->body. */
enum shard_values shard_values_start(struct shard_op *op);
/*
 * Reads what v wants to out; worker, or with VFS_NOWAIT. 0, -EAGAIN, -EBADMSG,
 * -EIO, -ENOENT, -ENOMEM.
 */
int shard_value_read(struct shard_set *set, const struct ns_value *v,
		     uint8_t *out, int flags);

/* --- shard_sweep.c --- */
void shard_sweep_later(struct shard_group *g, uint64_t delay_ns);
void shard_sweep_stop(struct shard_group *g);
void shard_sweep_free(struct shard_group *g);

/* --- shard_queue.c: loop only --- */
void shard_queue_init(struct shard_group *g);
/* There may be rows; of a leader. */
void shard_queue_wake(struct shard_group *g);
void shard_queue_stop(struct shard_group *g);
void shard_queue_free(struct shard_group *g);

/* --- shard_merge.c: loop only --- */
void shard_merge_init(struct shard_group *g);
/* What a command made grow. */
void shard_merge_note(struct shard_group *g, const struct ns_answer *a);
/* This region may be worth it; of a leader. */
void shard_merge_wake(struct shard_group *g, uint64_t ino, uint64_t region);
void shard_merge_stop(struct shard_group *g);
void shard_merge_free(struct shard_group *g);

/* --- shard_split.c: loop only --- */
void shard_split_init(struct shard_group *g);
/* Which directory a command made grow, if it is large; of anybody. */
void shard_split_note(struct shard_group *g, const struct ns_answer *a);
void shard_split_stop(struct shard_group *g);
void shard_split_free(struct shard_group *g);

#endif
