#ifndef TESTS_SIM_SIM_CLUSTER_H
#define TESTS_SIM_SIM_CLUSTER_H
/*
 * Simulated machines: disks that crash, a network that breaks, and faults by
 * profile. What runs on a machine is the test's (struct sim_ops).
 *
 * A run: `fault_ms` of faults while clients work, then everything is healed,
 * and heal_ms later, or after the last progress, healed() must say true. Every
 * pair of machines has one connection, in order per direction: what is lost
 * takes all behind it along until the connection broke and opened again
 * (link_reset on both ends).
 */
#include <stdio.h>

#include "tests/lib/crashfs.h"
#include "tests/lib/simenv.h"

#define SIM_NODES 7

struct sim_cluster;

/* How often what happens; a row of the table in sim_fault.c. */
struct sim_profile {
	const char *name;
	unsigned gap_lo, gap_hi;  /* ms between faults */
	/* weights */
	unsigned crash, crash_leader, crash_all; /* power, or the process */
	unsigned split, one_way, isolate, wobble; /* wobble: comes and goes */
	unsigned heal;            /* of network and slow disks */
	unsigned lag, flap, bounce;
	unsigned slow_disk;
	unsigned fail_sync, full; /* the process must stop and lose nothing */
	unsigned flip;            /* reads give wrong bytes for a while */
	unsigned rot;             /* bytes are lost for good, of a minority */
	unsigned leader_kill;     /* permille of new leaders, within 120 ms */
	unsigned leader_stab;     /* permille of those just elected, at once */
	unsigned loss;            /* permille of frames at most */
	unsigned dup;             /* permille of frames */
	unsigned start_cut;       /* permille of starts, amid their writes */
	unsigned start_flip;      /* of starts: one read gives a wrong bit */
	unsigned disk;            /* KiB that the disk has, always; 0: enough */
	bool moves;               /* members move, for who has a manager */
};

struct sim_ops {
	/* Starts the process on a node, or sim_refuse(). */
	void *(*start)(struct sim_cluster *c, unsigned node, struct env *env);
	/* Frees it. crash: the disk is frozen, env runs nothing more. */
	void (*stop)(struct sim_cluster *c, unsigned node, void *proc,
		     bool crash);
	/*
	 * It aborted, somewhere inside of what it did: nothing of it may be
	 * touched any more.
	 */
	void (*died)(struct sim_cluster *c, unsigned node, void *proc);
	int (*receive)(void *proc, uint64_t from, const uint8_t *frame,
		       size_t len);
	void (*link_reset)(void *proc, uint64_t peer);
	bool (*leads)(void *proc);
	/*
	 * Profiles that move members: nothing acknowledged is lost, and all
	 * goes on, without these nodes' disks (bits) beside those that are lost
	 * or rotten already. NULL where nobody moves.
	 */
	bool (*spares)(struct sim_cluster *c, unsigned nodes);
	void (*client)(struct sim_cluster *c); /* every few ms */
	/* After every event. */
	void (*check)(struct sim_cluster *c);
	/* While healing, all that can be up are: true when all is well. */
	bool (*healed)(struct sim_cluster *c);
	void (*end)(struct sim_cluster *c);
	/* The run is over, however it went: while machines run; may be NULL. */
	void (*stopping)(struct sim_cluster *c);
	void (*dump)(struct sim_cluster *c); /* before a "stuck"; may be NULL */
};

struct sim_config {
	const struct sim_ops *ops;
	const struct sim_profile *profile;
	unsigned nodes;
	uint64_t fault_ms, heal_ms;
	uint64_t seed;
	bool tracing;
	/* Processes, mostly leaders, are stopped for up to 2 s. */
	bool pauses;
	/* ... and the clocks of their machines with them. */
	bool frozen_clocks;
	/* Clocks run up to so many millionths faster or slower. */
	unsigned drift_ppm;
	void *arg;
};

/*
 * What runs came across, summed up behind the results: a profile under which
 * something never happens proves nothing about it. X(name, text)
 */
#define SIM_COUNTS(X) \
	/* machines */ \
	X(KILLS, "kills") \
	X(POWER, "power cuts") \
	X(TORN, "with unsynced bytes") \
	X(MIDWAY, "amid a flush") \
	X(START_CUTS, "amid a start") \
	X(START_FLIPS, "starts with one wrong read") \
	X(STOPS, "clean stops") \
	X(DEATHS, "aborts") \
	X(REFUSALS, "refused starts") \
	X(PAUSES, "pauses") \
	X(CLOCKS, "clocks that jumped") \
	X(FROZEN, "that stood still") \
	X(SLOW_DISKS, "slow disks") \
	X(BAD_SYNCS, "failed syncs") \
	X(BAD_WRITES, "failed writes") \
	X(BAD_READS, "failed reads") \
	X(FULL, "writes without room") \
	X(FLIPS, "flipped reads") \
	X(SNAP_FLIPS, "of row snapshots") \
	X(SUPER_FLIPS, "of super blocks") \
	X(ROTTEN, "files that rotted") \
	X(SNAP_ROTTEN, "row snapshots among them") \
	X(REPLACED, "rotten disks replaced") \
	/* the network; frames */ \
	X(BREAKS, "broken connections") \
	X(PARTED, "frames between parts") \
	X(ONE_WAY, "one way only") \
	X(WOBBLES, "partitions come and gone") \
	X(LOST, "lost") \
	X(DUPS, "that came twice") \
	X(GARBAGE, "of garbage, refused") \
	X(LAGS, "slow networks") \
	X(BOUNCES, "restarts behind a leader's back") \
	X(LEADER_KILLS, "new leaders killed") \
	X(LEADER_STABS, "just elected ones killed or muted") \
	/* what runs there; counted when a process ends */ \
	X(TERMS, "elections") \
	X(WRITES, "writes") \
	X(READS, "reads") \
	X(GETS, "of bytes") \
	X(FAR_GETS, "of another shard") \
	X(COPIES, "copies") \
	X(CHUNKS, "slices written") \
	X(CHUNKS_GONE, "removed for good") \
	X(RETRIES, "retries found applied") \
	X(UNKNOWN, "unknown outcomes") \
	X(LATE_READS, "reads whose lease ended") \
	X(STATES, "states compared at an index") \
	X(PARKS, "parked applies") \
	X(CHECKPOINTS, "checkpoints") \
	X(SHORT_STARTS, "starts from a checkpoint") \
	X(SEGMENTS, "log segments begun") \
	X(SNAPSHOTS, "row snapshots") \
	X(DOUBTS, "rows made again") \
	X(ROT, "lost records seen") \
	X(MERGES, "merged extents") \
	X(QUEUE, "queue rows done") \
	X(LOSSES, "lost tails") \
	X(CLEANED, "bytes of segments given back") \
	X(FREES, "segments of log freed") \
	X(LEASES, "reads under a lease") \
	X(DROPS, "groups given up") \
	X(INSTALLS, "snapshots installed") \
	X(FETCH_FAILS, "failed fetches") \
	X(HALF_INSTALLS, "ended by a start") \
	X(CHANGES, "membership changes") \
	X(TRANSFERS, "leaderships handed on") \
	X(WIPES, "lost disks") \
	X(WIPES_MORE, "several at once") \
	X(WIPES_DOWN, "while others were down") \
	X(AMID_CHANGES, "asked for amid a transaction") \
	X(AMID_TRANSFERS, "handed on amid one") \
	X(AMID_WIPES, "lost amid one") \
	X(AMID_INSTALLS, "installed amid one") \
	X(FAR, "commands over shards") \
	X(FAR_AGAIN, "of them begun anew") \
	X(LOCK_WAITS, "waits for them") \
	X(SPLITS, "directories split") \
	X(HOST_SPLITS, "segments that hosts began") \
	X(SEGMENTS_GONE, "segments that went") \
	X(STALE_MAPS, "stale maps") \
	X(SPLIT_WAITS, "splits that met a lock") \
	X(LOST_PAGES, "pages of segments that went") \
	X(OPENS, "opens told") \
	X(KEPT, "open files that lost their name") \
	X(NAMELESS, "calls to such") \
	X(OPENS_LOST, "opens that no leader was told in time") \
	X(SESSIONS, "ended sessions") \
	X(DROPPED, "slices removed") \
	X(LATE_COMMITS, "commits of what was dead") \
	X(COMPLETED, "completed uploads") \
	/* stores of chunks */ \
	X(BAD_PUTS, "refused puts") \
	X(NO_ROOM, "kept from a full disk") \
	X(CHECKS, "checks") \
	X(BY_ROT, "reads that met rot") \
	X(PIECES, "reads of pieces of chunks") \
	X(CHUNKS_LOST, "chunks lost to it") \
	X(SAVES, "saved indexes") \
	X(REBUILDS, "lost indexes") \
	X(RECOVERED, "index rows made again") \
	X(BACK, "dropped chunks that came back") \
	X(CHUNKS_MOVED, "chunks moved") \
	X(DROPPED_AMID, "dropped amid a move") \
	X(STALE, "reads of an old place") \
	X(DIRECT, "reads past the page cache") \
	X(FREED, "segments freed") \
	X(SUSPENDED, "suspended cleanings") \
	X(BY_ITSELF, "cleanings begun by themselves") \
	X(FOR_SPACE, "of them for space") \
	X(GIVEN, "reserves given up") \
	X(SWEEPS, "sweeps of orphans") \
	X(STARTS_TWICE, "starts done twice") \
	/* of clients as they are (sim_client.h) */ \
	X(CALLS, "calls") \
	X(AGAIN, "tries behind their first") \
	X(FOLLOWS, "requests that went on elsewhere") \
	X(SLOT_WAITS, "waits for a slot") \
	X(GIVEN_UP, "given up") \
	X(CANCELS, "cancelled") \
	X(MOVED, "that went on in another session") \
	X(LOST_AMID, "that lost theirs amid tries") \
	X(CLIENT_KILLS, "killed clients") \
	X(LINK_CUTS, "cut links") \
	X(LATE, "requests behind their call")
enum sim_count {
#define SIM_COUNT_ENUM(name, text) SIM_N_##name,
	SIM_COUNTS(SIM_COUNT_ENUM)
#undef SIM_COUNT_ENUM
	SIM_N
};

struct sim_result {
	uint64_t hash, events, faults;
	uint64_t counts[SIM_N];
};

const struct sim_profile *sim_profile_find(const char *name);
/* What must happen under a profile, by its weights, in a cluster of so many. */
bool sim_profile_wants(const struct sim_profile *p, unsigned nodes,
		       enum sim_count what);
void sim_profile_names(FILE *out); /* a line */

/* Runs one seed; a violation ends the process with sim_fail(). */
void sim_cluster_run(const struct sim_config *config, struct sim_result *ret);

/* --- for ops --- */
struct sim *sim_cluster_sim(struct sim_cluster *c);
unsigned sim_cluster_size(struct sim_cluster *c);
void *sim_cluster_arg(struct sim_cluster *c);
/* The process on a node, NULL while it is down. */
void *sim_cluster_proc(struct sim_cluster *c, unsigned node);
/*
 * By what id the others know the store of a node: node + 1, until its disk was
 * wiped; ids are never used again.
 */
uint64_t sim_cluster_store(struct sim_cluster *c, unsigned node);
/* sim_cluster_size() when nobody has that id (any more). */
unsigned sim_cluster_node(struct sim_cluster *c, uint64_t store);
/*
 * Power cut, and the disk is empty, and whole; the machine starts soon, as a
 * new store (keep: under its old id, which is wrong).
 */
void sim_cluster_wipe(struct sim_cluster *c, unsigned node, bool keep);
/*
 * Since its last process that started, a power cut or its disk may have taken
 * what was written and not synced. In start.
 */
bool sim_cluster_lossy(struct sim_cluster *c, unsigned node);
/* Its disk lost bytes and it does not start any more; only after the heal. */
bool sim_cluster_gone(struct sim_cluster *c, unsigned node);
/* Its disk lost bytes for good, some time. */
bool sim_cluster_rotten(struct sim_cluster *c, unsigned node);
/* That, or the disk did something wrong in this life of the process. */
bool sim_cluster_disk_bad(struct sim_cluster *c, unsigned node);
/* These disks (bits) may be lost, or rot: ops->spares(). */
bool sim_cluster_spares(struct sim_cluster *c, unsigned nodes);
/* The power failed within this event: what goes on in it does not happen. */
bool sim_cluster_cut(struct sim_cluster *c, unsigned node);
struct crashfs *sim_cluster_disk(struct sim_cluster *c, unsigned node);
/* The process on node ends in good order; it starts again soon. */
void sim_cluster_end(struct sim_cluster *c, unsigned node);
/* Clocks stand still with their processes: no leases (raft_host_config). */
bool sim_cluster_frozen(struct sim_cluster *c);
void sim_cluster_count(struct sim_cluster *c, enum sim_count what, uint64_t n);
/* In start: why the process does not start. Returns NULL. */
void *sim_refuse(struct sim_cluster *c, unsigned node, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* What follows in this event is done by the process on node. */
void sim_cluster_enter(struct sim_cluster *c, unsigned node);
bool sim_cluster_healing(struct sim_cluster *c);
/* One step of finitely many that are left after the heal was done. */
void sim_cluster_progress(struct sim_cluster *c);
/*
 * Stops the process of node for so long; from shortly before it goes on, peer
 * hears nothing from anybody.
 */
void sim_cluster_pause(struct sim_cluster *c, unsigned node, uint64_t ms,
		       unsigned peer);
/* A frame from node to store `to`. */
void sim_cluster_send(struct sim_cluster *c, unsigned node, uint64_t to,
		      const uint8_t *frame, size_t len);
/* What node `from` says reaches node `to` now. */
bool sim_cluster_reaches(struct sim_cluster *c, unsigned from, unsigned to);
/* node was elected: some profiles kill it before anybody, or everybody, has
 * heard of it. */
void sim_cluster_elected(struct sim_cluster *c, unsigned node);
/* node leads now: some profiles kill it soon. */
void sim_cluster_new_leader(struct sim_cluster *c, unsigned node);
/* node dies within so many ms, in some way. */
void sim_cluster_crash_soon(struct sim_cluster *c, unsigned node, uint64_t ms);
/* Prints what is broken, with seed and time, and exits with status 2. */
_Noreturn void sim_fail(struct sim_cluster *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * The command line of a simulator:
 *   [-n nodes] [-p profile] [-t fault_ms]   what runs
 *   [-c count] [-s first] [--seconds n]     how many seeds, or for how long
 *   [-j jobs] [--stop]                      at once; stop at the first bad one
 *   [--seed n] [--trace]                    one, in this process
 *   --rows                                  all rows below, as TAP, with -c
 *                                           seeds in all
 * Without arguments: the seeds of `make check`, which is --rows with the
 * counts of the rows. Each seed that fails says how it is run again.
 */
struct sim_program {
	const char *name;
	/* Runs one seed; nodes as given or as the row says. */
	void (*run)(uint64_t seed, unsigned nodes,
		    const struct sim_profile *profile, uint64_t fault_ms,
		    bool tracing, struct sim_result *ret);
	const struct sim_row {
		unsigned nodes;
		const char *profile;
		unsigned count;
	} *rows; /* ends with nodes 0; counts are of make check */
	/*
	 * What must happen in a row of enough seeds, beside what its profile
	 * does: in those with so many nodes (0: all) and of that profile (NULL:
	 * all). Ends with SIM_N.
	 */
	const struct sim_need {
		unsigned nodes;
		const char *profile;
		enum sim_count what;
	} *needs; /* NULL: nothing */
	uint64_t fault_ms;
	unsigned nodes; /* unless told; 0: 3 */
};
int sim_main(const struct sim_program *program, int argc, char **argv);

#endif
