#ifndef COMMON_RAFT_RAFT_HOST_H
#define COMMON_RAFT_RAFT_HOST_H
/*
 * The multi-group host over libraft's raft_step(): the only code that
 * includes <raft.h>. One host per loop and store; every group lives on one
 * host. Entries and hard state go to the store's `log` head through one port;
 * replies and messages that depend on them wait for the flush.
 *
 * Obeys reference traps: term and vote durable before any message that needs
 * them; FIFO links with frame numbers (raft_host_link_reset on any gap or
 * reconnect); stall cures A and B; version bytes; capacity; no membership
 * change before an entry of the own term; a one-voter group's term is raised
 * durably by one before START; no vote asked or granted during one election
 * timeout after start (one-voter groups exempt).
 *
 * The rows of the owner are the snapshot below the log: after a checkpoint of
 * them entries go from memory, and in time from the disk (raft_trunc.c).
 *
 * One loop only. Callbacks are never called inside a raft_host_* function,
 * except apply() and send(), which are called from raft_host_step work.
 */
#include "common/base/env.h"
#include "common/base/errbuf.h"
#include "common/seg/seg.h"

struct raft_host;
struct raft_group;

/* A committed command for the state machine, durable here unless loose. */
struct raft_cmd {
	uint64_t index, term;
	const uint8_t *data;  /* the submitted bytes; borrowed for the call */
	size_t len;
	uint64_t gen;         /* segment that holds the entry in this store */
	uint64_t data_off;    /* offset of data[0] in that segment */
	struct raft_submit *submit; /* this process's own request, or NULL */
};

/* An entry that is no command, committed and behind us. */
struct raft_passed {
	uint64_t index, term;
	struct wire_bytes conf; /* of a configuration: its bytes; else empty */
};

/* A proposal. Embedded in its owner, lives until one of the two outcomes. */
struct raft_submit {
	struct buf data; /* taken over by raft_submit() */
	/*
	 * It may be applied when it is written, before it is durable: a power
	 * cut may take it, and then all that came after it. Groups of one voter
	 * only; others wait all the same. What is applied so must not be ahead
	 * of the log on any disk: raft_gate.h.
	 */
	bool loose;
	/*
	 * Not applied by this process: status is RPC_STATUS_NOT_LEADER (was
	 * never in the log), _UNKNOWN_OUTCOME (leadership lost), _NOSPC. When
	 * it is applied instead, apply() gets it as cmd->submit and failed()
	 * is not called.
	 */
	void (*failed)(struct raft_submit *s, uint32_t status);
	struct raft_submit *next; /* private */
	uint64_t index, term;     /* private */
};

/* A read barrier: done(0) when all that was committed before is applied here
 * and this process was leader after the call; else a status. */
struct raft_barrier {
	void (*done)(struct raft_barrier *b, uint32_t status);
	struct raft_barrier *next; /* private */
	uint64_t index, term;      /* private */
};

struct raft_host_config {
	struct env *env;
	/* Both may be NULL here and set with raft_host_set_log() later: the
	 * host must exist while the head is scanned (recover), the port is
	 * made after that. */
	struct seg_port *port; /* of the log head, on env's loop */
	struct seg_head *log;  /* for reading entries back */
	uint64_t id;           /* raft id of this store, > 0 */
	/*
	 * 0: 3000 / 500. The election timeout must be the same in all hosts:
	 * leases are made of it.
	 */
	uint32_t election_ms, heartbeat_ms;
	/*
	 * Groups with several voters read through a barrier always: for
	 * machines whose CLOCK_BOOTTIME can stand still while time passes.
	 */
	bool read_barrier;
	/* Entries kept in memory, but for those under way to disk; 0 = 16 MiB */
	size_t cache_bytes;
	/*
	 * Apply one command, in order. 0: applied. -EAGAIN: not now; the host
	 * keeps this group's later entries and calls again after
	 * raft_group_resume(). Anything else aborts the process.
	 */
	int (*apply)(void *arg, struct raft_group *g,
		     const struct raft_cmd *cmd);
	/*
	 * In order with apply: the owner's applied index moves over an entry
	 * that it need not see. A configuration is kept with it (durable in
	 * one with that index). 0; else the process aborts. May be NULL.
	 */
	int (*passed)(void *arg, struct raft_group *g,
		      const struct raft_passed *p);
	/* Leadership changed (posted). leader: this process leads now. */
	void (*role)(void *arg, struct raft_group *g, bool leader);
	/*
	 * Sends one frame to the host of store `to`; FIFO per peer or lost as
	 * a whole with everything behind it (then raft_host_link_reset).
	 * frame is borrowed. May be NULL with one-voter groups only.
	 */
	void (*send)(void *arg, uint64_t to, const uint8_t *frame, size_t len);
	/*
	 * This store lags behind the log of the leader, store `from`: fetch
	 * its state from there (a row stream), keep it aside, durable, then
	 * raft_group_install(). Called again every now and then while it is
	 * so. NULL: members that lag stay behind.
	 */
	void (*lags)(void *arg, struct raft_group *g, uint64_t from);
	/*
	 * After raft_group_install() returned 0: what was kept aside takes the
	 * place of the group's rows now, durable; then raft_group_installed().
	 * Nothing is applied meanwhile. A process that dies in between may
	 * find the old rows, or the new ones, at its next start.
	 */
	void (*install)(void *arg, struct raft_group *g);
	/*
	 * Bytes that this store can take before it refuses writes; asked in
	 * each turn. Where it is short of them, leaders hand on to voters that
	 * are not. NULL: plenty.
	 */
	uint64_t (*room)(void *arg);
	/* Groups of this host, in a log of several. NULL: all of them. */
	bool (*owns)(void *arg, uint16_t group);
	/*
	 * Groups of several voters: entries that a follower may still want go
	 * as well, as it can be given a snapshot then.
	 */
	bool forget_followers;
	unsigned tail; /* but for the last ones applied; 0 = 4096 */
	/*
	 * Entries that an undecided group still needs are copied when they are
	 * so many segments behind the head. 0 = 8.
	 */
	unsigned carry;
	void *arg;
};

int raft_host_new(const struct raft_host_config *config,
		  struct raft_host **ret_host);
/*
 * Stops timers; pending submits fail with UNKNOWN_OUTCOME (called inline). The
 * log head must be closed or abandoned before: it reads our records. No task
 * of env may run afterwards.
 */
void raft_host_free(struct raft_host *h);

/* After seg_head_open() and seg_port_new(); before any open_group. */
void raft_host_set_log(struct raft_host *h, struct seg_head *log,
		       struct seg_port *port);

/*
 * Start-up, in this order: every START of the log scan and every record that
 * it finds for groups of this host (ENTRY, HARD) -> recover; then each group
 * -> open; then start.
 */
int raft_host_recover(struct raft_host *h, const struct seg_rec *rec);
/*
 * Between the newest START and the records: the rows of the group are behind
 * what the log says, so entries from before `need` count, too.
 */
int raft_host_recover_doubt(struct raft_host *h, uint16_t group);
/*
 * Records were lost to bit rot (seg_config.on_rot). A group that may have lost
 * anything will not open when it has several voters (it must be fetched from
 * the others), or when its rows lack what was lost.
 */
void raft_host_recover_rot(struct raft_host *h, const struct seg_rot *rot);

/* Groups may be opened while the host runs, too. */
struct raft_group_config {
	uint16_t group;
	uint64_t applied;     /* durable applied index of the rows, 0 = none */
	/*
	 * What the rows say beside it: term of that entry, and the newest
	 * configuration up to it. Without conf the log must have them.
	 */
	uint64_t term, conf_index;
	struct wire_bytes conf; /* copied */
	uint64_t moved;         /* rows_applied.h */
	/*
	 * Used only when the log holds nothing of the group: its first voters.
	 * None: it waits to be added to the group by its leader.
	 */
	const uint64_t *voters;
	unsigned n_voters;
	void *user;           /* raft_group_user() */
};
/*
 * Makes the group known; -ESTALE when its rows are gone or older than the log
 * needs them, -EIO when log and rows cannot both be true.
 */
int raft_host_open_group(struct raft_host *h,
			 const struct raft_group_config *config,
			 struct raft_group **ret_group, struct errbuf *e);
/* True when the log scan found records of that group. */
bool raft_host_has_group(struct raft_host *h, uint16_t group);
/* Starts timers and groups; one-voter groups lead as soon as their term and
 * first entry are durable (role() tells). */
int raft_host_start(struct raft_host *h);

/* Proposes s->data; one of apply or failed follows. */
void raft_submit(struct raft_group *g, struct raft_submit *s);
void raft_group_barrier(struct raft_group *g, struct raft_barrier *b);
/* After apply() returned -EAGAIN: go on (posted). */
void raft_group_resume(struct raft_group *g);

enum raft_role {
	RAFT_ROLE_NONE,    /* not a member */
	RAFT_ROLE_SPARE,   /* known, gets nothing */
	RAFT_ROLE_STANDBY, /* gets the log, does not vote */
	RAFT_ROLE_VOTER,
};

/*
 * One server gets another role. Embedded in its owner until done().
 *   OK               the configuration is committed and in force here (at
 *                    once when it is so already)
 *   BUSY             another change is under way, no entry of this term is
 *                    committed yet, or the stand-by does not keep up
 *   INVAL            voters are made of stand-bys only; the last voter stays
 *   NOT_LEADER       also: this store would remove itself, and hands on first
 *   UNKNOWN_OUTCOME  leadership was lost before it was committed
 */
struct raft_change {
	uint64_t id; /* raft id of the store */
	enum raft_role role;
	void (*done)(struct raft_change *c, uint32_t status);
	/* private */
	struct raft_change *next;
	bool begun;
	uint64_t index, term;
	unsigned round;
	uint64_t round_index, round_ms;
};
void raft_group_change(struct raft_group *g, struct raft_change *c);

struct raft_member {
	uint64_t id;
	enum raft_role role;
	/* as a leader knows it, else 0 and false */
	uint64_t match, applied;
	bool lives; /* answered within an election timeout */
};
/* The configuration in force here: how many; ret gets at most max of them. */
unsigned raft_group_members(const struct raft_group *g,
			    struct raft_member *ret, unsigned max);
/* True when it is known to be committed. */
bool raft_group_settled(const struct raft_group *g);

/*
 * Hands leadership on to store `to`, 0: the voter that has most. Waits for it
 * to have the whole log, gives up after one election timeout; meanwhile
 * submits and barriers fail with NOT_LEADER, and there is no lease. role()
 * tells when it went. 0; -EPERM: this process does not lead; -EBUSY: under
 * way; -ENOENT: nobody to hand it to, or not that one.
 */
int raft_group_transfer(struct raft_group *g, uint64_t to);
/*
 * Before the process ends: hands on all groups it leads and stands for no
 * election any more. done() when none is left that another could have, at the
 * latest after two election timeouts (not called when the host is freed).
 */
struct raft_leave {
	void (*done)(struct raft_leave *l);
};
void raft_host_leave(struct raft_host *h, struct raft_leave *l);

bool raft_group_is_leader(const struct raft_group *g);
/*
 * True when a local read now is linearizable without a barrier: this process
 * leads, all that was acknowledged before is applied here, and nobody else
 * can lead yet (a sole voter, or a lease). Reads the clock. Else use
 * raft_group_barrier().
 *
 * A read that takes time: remember raft_group_term() when this said true;
 * read; then answer if it says true again and the term is the same, else go
 * through a barrier and read again.
 */
bool raft_group_can_read(const struct raft_group *g);
/*
 * At the leader: false when a majority of the voters has less than a MiB of
 * room, as they said last. (For the room of this store ask the store.) Nothing
 * is refused for that here: deletes go on.
 */
bool raft_group_has_room(const struct raft_group *g);
/* Store id of the leader as far as known, 0 = unknown. The one that it is
 * handed on to, while it is. */
uint64_t raft_group_leader(const struct raft_group *g);
uint64_t raft_group_applied(const struct raft_group *g);
uint64_t raft_group_commit(const struct raft_group *g);
uint64_t raft_group_term(const struct raft_group *g);
/* True when no submitted entry of the group waits to be applied. */
bool raft_group_idle(const struct raft_group *g);
uint16_t raft_group_id(const struct raft_group *g);
void *raft_group_user(const struct raft_group *g);

/*
 * A frame from store `from`, in order. Bad bytes: -EPROTO, nothing changed; a
 * frame that does not follow the last one: -ESTALE, dropped. In both cases
 * break the connection.
 */
int raft_host_receive(struct raft_host *h, uint64_t from, const uint8_t *frame,
		      size_t len);
/* The link to or from `peer` broke: frames may be missing. */
void raft_host_link_reset(struct raft_host *h, uint64_t peer);

struct raft_host_stats {
	uint64_t transfers; /* asked for, the three below among them */
	uint64_t stuck;     /* a follower stood still */
	uint64_t backlogs;  /* this store did not get to apply */
	uint64_t rooms;     /* this store is short of room */
	uint64_t installs;  /* snapshots of others */
};
void raft_host_stats(const struct raft_host *h, struct raft_host_stats *ret);

/* --- members that lag --- */

/* What rows stand for; see struct raft_group_config. */
struct raft_base {
	uint64_t index, term, conf_index;
	struct wire_bytes conf; /* copied */
};
/*
 * What was fetched can take the place of the rows. 0: install() follows.
 * -EALREADY: not needed any more. -EAGAIN: not now (no leader is known, the
 * group is parked); keep it for the next lags(). -EINVAL: it is none.
 */
int raft_group_install(struct raft_group *g, const struct raft_base *s);
void raft_group_installed(struct raft_group *g);

/*
 * Forgets a group: its log is void, term and vote stay. done() when that is
 * durable; then its rows may go, and it may be opened again, without voters.
 * removed: index up to which all is committed, where a configuration is in force
 * in which this store does not vote (it need not have heard of it); the leader's
 * commit index is best, as this store may have asked for a configuration later
 * than that one, and nobody tells it that it was in vain. 0: it knows. Returns
 * 0; -EBUSY: for all that is known it votes; -EAGAIN: not now.
 */
struct raft_drop {
	void (*done)(struct raft_drop *d);
};
int raft_group_drop(struct raft_group *g, uint64_t removed,
		    struct raft_drop *d);
/* The same for a group that is not open: its process died on the way. */
int raft_host_drop(struct raft_host *h, uint16_t group, struct raft_drop *d);

/* --- what of the log is not needed any more --- */

/*
 * A checkpoint: the rows of each group are durable up to its index; called for
 * each that moved, then raft_host_checkpointed() once. See raft_check.h.
 */
void raft_group_checkpoint(struct raft_group *g, uint64_t index);
void raft_host_checkpointed(struct raft_host *h);
/*
 * Rows of equal index are told apart by `moved` (rows_applied.h): what the rows
 * say, what they shall say after the next change of positions. (0 in rows that
 * were installed.) For raft_check.c: (index, moved) are durable.
 */
uint64_t raft_group_moved(const struct raft_group *g);
uint64_t raft_group_next_moved(const struct raft_group *g);
void raft_group_set_moved(struct raft_group *g, uint64_t moved);
void raft_group_durable_moved(struct raft_group *g, uint64_t index,
			      uint64_t moved);
/* Entries, commands or not, that went behind since the start. */
uint64_t raft_host_passed(const struct raft_host *h);
/* Calls f for each open group. */
void raft_host_each(struct raft_host *h,
		    void (*f)(void *arg, struct raft_group *g), void *arg);
/*
 * Segments of lower generations hold nothing of this host that a start reads,
 * and a START that says so is durable. 0: not known yet. Any thread.
 */
uint64_t raft_host_free_below(struct raft_host *h);
/*
 * What SEG_START of segment gen shall carry; called by the flusher through
 * seg_config.start_body: thread-safe.
 */
void raft_host_start_body(struct raft_host *h, uint64_t gen, struct buf *out);
/*
 * From which generation on a start reads, by the newest START: for
 * seg_config.scan_from. 0: all. Each host recovers that START first, then:
 * records from before it may be of terms that only its table knows.
 */
uint64_t raft_start_need(const struct seg_rec *start);
/* How far its rows were durable, for each group in it. 0 or what f gave. */
typedef int (*raft_start_row_fn)(void *arg, uint16_t group, uint64_t applied,
				 uint64_t moved);
int raft_start_rows(const struct seg_rec *start, raft_start_row_fn f,
		    void *arg);

#endif
