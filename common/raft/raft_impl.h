#ifndef COMMON_RAFT_RAFT_IMPL_H
#define COMMON_RAFT_RAFT_IMPL_H
/*
 * Shared by the files of this module only. All on the host's loop, but for
 * the table of raft_host_start_body().
 *
 *   raft_host.c     life, the turn, the timer
 *   raft_install.c  snapshots that arrive, groups that go
 *   raft_link.c     frames to and from other hosts
 *   raft_lease.c    who answered when, reads without a barrier
 *   raft_gate.c     rows wait for the log
 *   raft_group.c    effects of a step: records, messages, roles
 *   raft_apply.c    submits, barriers, applying
 *   raft_member.c   changes of the configuration
 *   raft_step.c     every call into libraft; its memory rules end here
 *   raft_transfer.c leadership handed on, watchdogs
 *   raft_log.c      positions of entries, cache of their bytes
 *   raft_trunc.c    which of them are not needed any more
 *   raft_frame.c    bytes of frames, messages and configurations
 *   raft_recover.c  from the records of the log to a group that runs
 */
#include <pthread.h>
#include <sys/queue.h>

/* libraft's old callback API uses names of ours. */
#define raft_barrier raft_old_barrier
#define raft_change raft_old_change
#include <raft.h>
#undef raft_barrier
#undef raft_change

#include "common/raft/raft_frame.h"
#include "common/raft/raft_host.h"
#include "common/wire/status.h"

#define RAFT_ELECTION_MS 3000
#define RAFT_HEARTBEAT_MS 500
#define RAFT_TICK_MS 10        /* the timer is no finer */
#define RAFT_CACHE_BYTES (16u << 20)
#define RAFT_BATCH 256        /* submits in one step */
#define RAFT_APPLY_BUDGET 256 /* entries applied per group and turn */
#define RAFT_INFLIGHT 256     /* entries a follower may owe */
#define RAFT_LEASE_PERCENT 85 /* of the election timeout */
#define RAFT_NOBODY UINT64_MAX /* no store has that id */
#define RAFT_STUCK_MS 5000    /* a follower may stand still so long */
#define RAFT_TAIL 4096        /* applied entries kept for followers */
#define RAFT_TAIL_BYTES (32u << 20)
#define RAFT_CARRY 8          /* segments: older entries are copied */
#define RAFT_CARRY_BYTES (8u << 20) /* of one group at once */
/*
 * Room of a store is told to the others in MiB, at most so much (it has 16
 * bits). A leader with less than RAFT_ROOM hands on to who has twice that.
 */
#define RAFT_CAPACITY 60000
#define RAFT_ROOM 256

/* A record under way to the log head, or a cached entry. */
struct raft_write {
	struct seg_append ap; /* a, b, flags say index, term, type (or hard) */
	TAILQ_ENTRY(raft_write) link; /* in host->writes while in flight */
	struct raft_group *g;
	bool in_flight;
};

/*
 * Bytes of an entry in memory. Lives while it is in flight (the flusher reads
 * it) or in the log's cache.
 */
struct raft_body {
	struct raft_write w;
	TAILQ_ENTRY(raft_body) lru; /* in host->fresh or ->cache while in_log */
	uint8_t *data;              /* owned */
	size_t len;
	bool in_log;
	bool applied;               /* by the group: in ->cache */
};

/* Where an entry is: 32 bytes each, for the whole log. */
struct rlog_ent {
	uint64_t term;
	union {
		struct raft_body *body; /* in memory */
		uint64_t gen;           /* else its segment */
	} u;
	uint64_t hash; /* low half of the body's xxh3-128; not in memory */
	uint32_t off;  /* of the body in its segment; not in memory */
	uint32_t info; /* RLOG_* */
};
#define RLOG_LEN 0x07ffffffu /* bytes of the body */
#define RLOG_MEM 0x08000000u /* u.body is valid */
#define RLOG_TYPE_SHIFT 28   /* enum raft_entry_type, 0: lost to rot */

/* Configuration entries are few and stay in memory. */
struct rlog_conf {
	uint64_t index;
	uint8_t *bytes; /* checked with raft_conf_check() */
	size_t len;
};

struct rlog {
	uint64_t first; /* index of ents[0] */
	uint64_t n, cap;
	struct rlog_ent *ents;
	/* ascending; the first may be older than first: in force there */
	struct rlog_conf *confs;
	unsigned n_confs, cap_confs;
};

/* What a leader knows of another server, beside the library. */
struct raft_follower {
	uint64_t id;
	uint64_t acked;    /* ns; newest stamp of ours that it answered */
	uint64_t told;     /* ns; when it was asked to lead, 0: done with */
	uint64_t applied;  /* as it said last */
	uint16_t capacity; /* MiB of room, the same */
	bool busy;         /* it is still writing, as it said last */
	uint64_t match;    /* as seen last */
	uint64_t moved_ms; /* when match moved, or had no reason to */
};

/* Copies of entries that the scan has found so far, of a set up to last. */
struct raft_run {
	struct rlog log;
	uint64_t last;
};

enum raft_group_state {
	RAFT_GROUP_FOUND,    /* records were recovered, not opened */
	RAFT_GROUP_OPEN,     /* opened, raft_host_start() not called */
	RAFT_GROUP_STARTING, /* its first records are on their way to disk */
	RAFT_GROUP_RUNNING,
	RAFT_GROUP_DROPPED,  /* its RESET is on its way; then FOUND */
};

struct raft_group {
	struct raft_host *h;
	struct raft_group *next;  /* in host->groups, order of appearance */
	uint16_t id;
	enum raft_group_state state;
	unsigned opened;          /* times */
	void *user;
	struct raft r;            /* initialised when state > FOUND */
	bool r_init;

	/* durable state, as far as handed to the log head */
	uint64_t term, vote;
	unsigned hard_pending;    /* HARD records not durable yet */
	unsigned hard_row;        /* place in host->hard plus 1, 0: none */
	uint64_t gate_index;      /* or for the entry there, a change of ours */
	struct buf gate;          /* messages that wait for them */
	struct rlog log;
	uint64_t stored;          /* entries up to here are durable here, */
	uint64_t loose;           /* ... but for those from behind firm ... */
	uint64_t firm;            /* ... to loose: written, for now */
	uint64_t commit, applied;
	uint64_t applied_term;    /* of entry `applied`, at the start */
	uint64_t durable;         /* the rows are durable up to here */
	unsigned carrying;        /* copies that are not durable yet */
	/* entries from there on were replaced; the oldest segment with them */
	uint64_t cut_index, cut_gen;
	bool known;               /* the log speaks of it */
	bool doubt;               /* its rows are behind: read all there is */
	const char *damage;       /* why it cannot be opened, or NULL */
	uint64_t lost;            /* highest index lost to rot, 0 = none */
	uint64_t last_seq;        /* of the last ENTRY recovered */
	bool lost_hard;           /* a HARD record was lost to rot */

	/* of the configuration in force, committed or not */
	bool one_voter;           /* this store alone */
	bool sole_voter;          /* it alone votes, others may follow */
	bool voter;               /* it votes */
	unsigned n_voters;

	/* RESET records of the scan that no ENTRY followed yet, in order */
	uint64_t *resets;
	unsigned n_resets;
	struct raft_run *run;     /* or NULL */
	uint64_t durable_gen;     /* the START that said `durable` */
	uint64_t moved;           /* of the rows, as they are */
	/* what START says of the rows: does not go back, whatever they are */
	uint64_t said_applied, said_moved;

	/* raft_install.c */
	uint64_t lags_from;       /* tell the owner that it lags, 0: no */
	const struct raft_base *base; /* within raft_step_install() */
	bool installing;          /* the log is gone, the rows come */
	bool asked_install;       /* install() was called */
	bool installed;           /* and they came */
	bool reset_written;
	uint64_t install_index, install_term;
	struct raft_drop *drop;

	bool parked;              /* apply said -EAGAIN */
	bool halfway;             /* and has not run that command again yet */
	uint64_t deadline;        /* ms; next RAFT_TIMEOUT */
	uint64_t quarantine;      /* ms; no votes before */

	/* the newest AppendEntries that came, for the answers to it */
	uint64_t heard_from, heard_term, heard_stamp;
	uint64_t heard_ms;        /* when */

	/* leading */
	struct raft_follower *followers; /* the other servers */
	unsigned n_followers;
	bool told_gone;           /* one that was told is no follower now */
	uint64_t lease_until;     /* ns; nobody else leads before, 0: unknown */
	struct raft_change *change;  /* under way, or about to begin */
	struct raft_change *refused; /* came meanwhile */
	uint64_t transfer_to;     /* waits for it to have the whole log */
	uint64_t transfer_ms;     /* until then */
	uint64_t watch_commit;    /* index committed at watch_ms */
	uint64_t watch_ms;
	uint64_t room_ms;         /* when it was handed on for want of room */
	uint64_t lead_term;       /* term in which the library leads, 0 = no */
	uint64_t lead_index;      /* first entry of that term, 0 = none yet */
	bool leading;             /* and it is applied */
	bool told;                /* role(true) was called last */
	bool stepped_down;        /* what waits must fail */
	struct raft_submit *subs, **subs_tail;   /* not in the log yet */
	struct raft_submit *pend, **pend_tail;   /* in the log, by index */
	struct raft_barrier *bars, **bars_tail;  /* no entry yet */
	struct raft_barrier *waits, **waits_tail; /* for bar->index */

	/* the empty AppendEntries being answered (stall A), else 0 */
	uint64_t beat_prev, beat_commit;
	uint64_t own_term;        /* nobody else led in it (trap J) */
	uint64_t disrupt_term;    /* in which a leader asked us to lead */
	uint64_t beat_last;       /* the one before had this index */
	unsigned beat_same;       /* so often */
	bool stale_append;        /* answering an older term's (trap H) */

	struct raft_group *dirty_next; /* in host->dirty */
	bool dirty;
};

struct raft_peer {
	struct raft_peer *next;
	uint64_t id;
	char address[24];      /* libraft wants one: the id in decimal */
	struct wire_vec out;   /* messages of the frame being filled */
	struct buf ready;      /* whole frames: u32 length in host order, bytes */
	uint64_t out_session, out_number;
	uint64_t in_session, in_number; /* of the last frame accepted */
};

/* What raft_host_start_body() writes. */
struct raft_hard_row {
	uint16_t group;
	uint64_t term, vote, applied, moved;
};

struct raft_host {
	struct raft_host_config config;
	struct env *env;
	struct seg_port *port;
	struct seg_head *log;
	struct raft_group **map[256]; /* by high, low byte of the group */
	struct raft_group *groups, **groups_tail;
	struct raft_peer *peers;
	bool started;
	bool rot;                   /* of whatever: recovery */
	uint64_t rot_seq;           /* highest sequence, owner not known */
	bool appended;              /* kick the port at the end of the turn */
	struct env_task turn;
	bool turn_posted;
	struct raft_group *dirty, **dirty_tail;
	struct env_timer timer;
	uint64_t timer_ms;          /* when it fires, 0: not set */
	TAILQ_HEAD(, raft_write) writes;
	TAILQ_HEAD(, raft_body) fresh; /* not applied yet, in order of append */
	TAILQ_HEAD(, raft_body) cache; /* in the order in which they were */
	size_t cache_bytes;            /* of both */
	struct buf scratch, read_buf;
	uint16_t capacity;          /* MiB of room, as of this turn */
	struct raft_host_stats stats;
	bool leaving;               /* stands for no election */
	struct raft_leave *leave;   /* not done yet */
	struct env_timer leave_timer;
	uint64_t leave_ms;          /* when it gives up */

	pthread_mutex_t hard_lock;
	struct raft_hard_row *hard; /* under hard_lock */
	unsigned n_hard, cap_hard;  /* under hard_lock */
	/* generations; under hard_lock */
	uint64_t need;       /* a start reads from here on */
	uint64_t start_gen;  /* START of it says start_need; 0: none built */
	uint64_t start_need;
	uint64_t free_below; /* a durable START says it */
	bool behind;         /* rows are, of what START said: nothing is freed */
	uint64_t read_from;  /* while recovering: need of the newest START */
	bool incomplete;     /* a group is not in `hard`: need stays 0 */

	uint64_t start_read; /* generation of the START being recovered */
	uint64_t seen_gen;   /* of the last record that became durable */
	uint64_t passed;     /* entries that were applied */
	uint64_t copied;     /* entries that were appended again */

	/* arguments of one step */
	struct raft_entry step_ents[RAFT_BATCH];
	struct raft_body *step_bodies[RAFT_BATCH];
};

/*
 * Leaves out one thing that truncation needs, to prove that the crash
 * enumeration would notice. Only where configure was told --enable-mutations:
 * other builds have nothing of it.
 */
enum raft_mutation {
	RAFT_MUTATE_NONE,
	RAFT_MUTATE_NEED_NOTHING, /* groups are not asked what they need */
	RAFT_MUTATE_FREE_SOON,    /* frees what no START gave up yet */
	RAFT_MUTATE_ROWS_LATE,    /* entries go before the rows are durable */
	RAFT_MUTATE_COPY_CUTS,    /* a copy replaces the tail */
	RAFT_MUTATE_NO_TABLE,     /* START without the hard state */
	RAFT_MUTATE_SNAP_NO_SYNC, /* a row snapshot is renamed unsynced */
	RAFT_MUTATE_SNAP_NO_DIR,  /* and its name not made durable */
	RAFT_MUTATE_SNAP_LATE,    /* the log behind it begins at its end */
	RAFT_MUTATE_APPLY_SOON,   /* what is committed, not durable here yet */
	RAFT_MUTATE_LOOSE_QUORUM, /* several voters, none waits for its disk */
	RAFT_MUTATE_JOIN_SOON,    /* others get what is not durable */
	RAFT_MUTATE_ANY_FRAME,    /* any number is the next */
};
#ifdef ENABLE_MUTATIONS
extern enum raft_mutation raft_mutation;
#define RAFT_MUTATES(what) (raft_mutation == RAFT_MUTATE_##what)
#else
#define RAFT_MUTATES(what) false
#endif
/* For tests: from now on, until the next one. False: this build has none. */
static inline bool raft_mutate(enum raft_mutation what)
{
#ifdef ENABLE_MUTATIONS
	raft_mutation = what;
	return true;
#else
	return what == RAFT_MUTATE_NONE;
#endif
}

static inline uint64_t rlog_last(const struct rlog *log)
{
	return log->first + log->n - 1;
}

static inline unsigned rlog_type(const struct rlog_ent *e)
{
	return e->info >> RLOG_TYPE_SHIFT;
}

/* --- raft_host.c --- */
struct raft_group *raft_host_find(struct raft_host *h, uint16_t group);
/* Finds or makes; NULL when out of memory. */
struct raft_group *raft_host_make(struct raft_host *h, uint16_t group);
/* The group has work for the turn. */
void raft_host_dirty(struct raft_host *h, struct raft_group *g);
void raft_host_post_turn(struct raft_host *h);
/* Its first records go to the disk; -EINVAL: it needs peers. */
int raft_host_start_group(struct raft_group *g);
/* g->deadline may have come nearer. */
void raft_host_arm(struct raft_host *h, const struct raft_group *g);
/* A record of ours became durable there: later ones are not before it. */
static inline void raft_host_seen(struct raft_host *h, uint64_t gen)
{
	if (gen > h->seen_gen)
		h->seen_gen = gen;
}
/* START says at least this much of the rows. */
void raft_group_say(struct raft_group *g, uint64_t index, uint64_t moved);
/* Remembers what is durable for raft_host_start_body(). */
void raft_host_set_hard(struct raft_host *h, struct raft_group *g,
			uint64_t term, uint64_t vote);

/* --- raft_link.c --- */
/* NULL when out of memory. */
struct raft_peer *raft_peer_get(struct raft_host *h, uint64_t id);
/* Queues one encoded message; a loss breaks the link (new session). */
void raft_peer_put(struct raft_host *h, uint64_t to, uint16_t group,
		   uint8_t type, struct wire_bytes msg);
void raft_peers_flush(struct raft_host *h);
void raft_peers_free(struct raft_host *h);

/* --- raft_log.c --- */
void rlog_init(struct rlog *log);
/* NULL when index is not in the log. */
struct rlog_ent *rlog_at(struct rlog *log, uint64_t index);
/* Room for n more entries and one configuration. 0 or -ENOMEM. */
int rlog_reserve(struct rlog *log, uint64_t n);
/* Entry from the log scan at last + 1; room was reserved. */
void rlog_add(struct rlog *log, const struct rlog_ent *ent);
/* Copies a checked configuration; -ENOMEM. */
int rlog_add_conf(struct rlog *log, uint64_t index, const void *p, size_t len);
/* The configuration in force at index, NULL: none. */
const struct rlog_conf *rlog_conf_at(const struct rlog *log, uint64_t index);
/* Takes data (mem_alloc'ed); NULL when out of memory (data is freed). */
struct raft_body *raft_body_new(struct raft_group *g, uint8_t type,
				uint8_t *data, size_t len);
void raft_body_free(struct raft_body *b); /* never used; NULL is fine */
/* Appends b at last + 1 with term: to the index, the cache, the disk. */
void raft_log_append(struct raft_group *g, struct raft_body *b, uint64_t term);
/* Removes entries from index on. */
void raft_log_truncate(struct raft_group *g, uint64_t index);
/* Removes entries below index, which is at most one behind the last. */
void raft_log_trim(struct raft_group *g, uint64_t index);
/* Segment of an entry; what it cannot be older than while it is not durable. */
uint64_t raft_log_gen(struct raft_group *g, const struct rlog_ent *e);
/* Appends entries [from, last], all durable, again; all or none. 0, -EIO,
 * -ENOMEM. */
int raft_log_copy(struct raft_group *g, uint64_t from);

/* --- raft_trunc.c --- */
/*
 * The oldest generation that holds an entry of g above index, which is not
 * below the rows' durable index; 0 when it is, and nobody knows.
 */
uint64_t raft_group_need(struct raft_group *g, uint64_t index);
/* Before entries from index on are truncated, as others replace them. */
void raft_group_cut(struct raft_group *g, uint64_t index);
/* It was applied: in a one-voter group nobody asks for its bytes again. */
void raft_log_applied(struct raft_group *g, uint64_t index);
/* Evicts what is durable, until the cache is not over its limit. */
void raft_cache_trim(struct raft_host *h);
/*
 * Bytes of an entry, borrowed until the next call; -EIO, -ENOMEM. Reads from
 * disk on the loop where they are not in memory: at start, and in groups with
 * several voters for a follower that fell behind the cache.
 */
int raft_log_read(struct raft_group *g, uint64_t index,
		  struct wire_bytes *ret_data);
void raft_log_fini(struct raft_group *g);
/* Of an index without bodies. */
void rlog_fini(struct rlog *log);

/* --- raft_step.c: 0, or what a submit may meet; other errors abort --- */
int raft_step_start(struct raft_group *g);
void raft_step_timeout(struct raft_group *g);
void raft_step_persisted(struct raft_group *g, uint64_t index);
/*
 * Submits h->step_bodies[0, n), taken whatever happens. RPC_STATUS_OK: they
 * are the last n entries of the log now.
 */
uint32_t raft_step_submit(struct raft_group *g, unsigned n);
/* m, x: from raft_msg_decode(). */
void raft_step_receive(struct raft_group *g, struct raft_message *m,
		       const struct raft_extra *x);
void raft_step_configuration(struct raft_group *g, uint64_t index);
/* This process leads, `to` is another voter. */
void raft_step_transfer(struct raft_group *g, uint64_t to);
/* The rows stand for all up to index; entries below first are gone. */
void raft_step_snapshot(struct raft_group *g, uint64_t index, uint64_t first);

/* True when the entry at index is there in that term. */
bool raft_step_has(struct raft_group *g, uint64_t index, uint64_t term);
/* As if the leader had sent it; raft_install_begin() if the library agrees. */
void raft_step_install(struct raft_group *g, const struct raft_base *s);
void raft_step_installed(struct raft_group *g, uint64_t index, uint64_t term);

/* --- raft_install.c --- */
/* The owner is to be told that this store lags behind `from`. */
void raft_install_lags(struct raft_group *g, uint64_t from);
/* The library dropped its log for g->base. */
void raft_install_begin(struct raft_group *g, const struct raft_base *s);
/* In each turn; false: the group is not there (any more). */
bool raft_install_step(struct raft_group *g);

/* --- raft_group.c --- */
/* What a step did; bodies: of the entries in it. Takes those it appended
 * (NULLed in the array). */
void raft_group_effects(struct raft_group *g, const struct raft_update *u,
			struct raft_body **bodies);
/* Appends a HARD record and closes the gate until it is durable. */
void raft_group_hard(struct raft_group *g, uint64_t term, uint64_t vote);
/* Lets go what waits for nothing any more. */
void raft_group_open_gate(struct raft_group *g);
/* c is in force: who votes? */
void raft_group_look(struct raft_group *g, const struct raft_configuration *c);
bool raft_group_votes(const struct raft_group *g, uint64_t id);

/* --- raft_lease.c --- */
/* After every step: state or configuration may be another. */
void raft_lease_check(struct raft_group *g);
/* An AppendEntries of that leader and term came; before the step. */
void raft_lease_heard(struct raft_group *g, uint64_t from, uint64_t term,
		      uint64_t stamp);
/* The stamp for an answer to that leader. */
uint64_t raft_lease_echo(const struct raft_group *g, uint64_t to,
			 uint64_t term);
/* `from` answered; before the step. */
void raft_lease_acked(struct raft_group *g, uint64_t from,
		      const struct raft_append_entries_result *m,
		      const struct raft_extra *x);
/* TimeoutNow goes to that server. */
void raft_lease_told(struct raft_group *g, uint64_t to);
/* NULL: not known, or this process does not lead. */
struct raft_follower *raft_follower_find(const struct raft_group *g,
					 uint64_t id);
void raft_followers_free(struct raft_group *g);

/* --- raft_apply.c --- */
/* All of a turn for one group. */
void raft_group_work(struct raft_group *g);
/* Calls failed(), done() of all that waits; what is in the log already may
 * have reached others, and has an unknown outcome whatever the status. */
void raft_group_fail_all(struct raft_group *g, uint32_t status);

/* --- raft_member.c --- */
/* In each turn. */
void raft_change_step(struct raft_group *g);
void raft_change_refuse(struct raft_group *g);
/* One waits for entries to be durable, and none that will be is under way. */
bool raft_change_wants_firm(const struct raft_group *g);
/* Ends the one under way; status: if it is not in the log. */
void raft_change_fail(struct raft_group *g, uint32_t status);

/* --- raft_transfer.c --- */
/* It answered within an election timeout. */
bool raft_follower_lives(const struct raft_group *g,
			 const struct raft_follower *f);
/* After each timeout of a leader. */
void raft_group_watch(struct raft_group *g);
/* In each turn: whom it is handed on to may be ready. */
void raft_transfer_step(struct raft_group *g);
/* Leadership is being handed on: no submits. */
bool raft_group_in_transfer(const struct raft_group *g);

/* --- raft_recover.c --- */
void raft_recover_no_run(struct raft_group *g);
/* Bootstraps or bumps, so that START can follow when it is durable. */
int raft_group_start(struct raft_group *g);

#endif
