#ifndef COMMON_RAFT_RAFT_SNAP_H
#define COMMON_RAFT_RAFT_SNAP_H
/*
 * Row snapshots: of each group whose only voter is this store a file with all
 * its rows (DIR/NNNNN.rows, docs/DISK_FORMAT.md). There is no other member to
 * fetch lost rows from, so a snapshot and the log behind it are what stands for
 * them; log segments behind it stay.
 *
 * struct raft_snaps makes them: one per host, on its loop; files are written
 * by workers in steps, so a close waits for one step at most. A round makes
 * all whose group moved on; one begins by itself when the log behind the
 * oldest has outgrown the files (amortised: a byte of rows per byte of log).
 * A file that cannot be written: the old one stays, the next round tries.
 *
 * struct raft_start is for the start (blocking): which files there are, and
 * which groups' rows have to be made again from theirs.
 */
#include "common/raft/raft_host.h"
#include "common/rows/rows_stream.h"

struct raft_snaps;
struct raft_start;

struct raft_snaps_config {
	struct env *env;
	struct raft_host *host; /* borrowed, like the next two */
	struct rows *rows;
	struct rows_back *back;
	const char *dir;        /* copied */
	struct wire_u128 store;
	/* What there was at the start; borrowed, may be NULL. */
	const struct raft_start *start;
	uint64_t min_bytes;     /* of log between rounds; 0 = 256 MiB */
	/* As that of raft_check_config: a file's rows must say how far it is. */
	int (*begin)(void *arg);
	/* A round ended: raft_snaps_need() may have moved. May be NULL. */
	void (*ended)(void *arg);
	void *arg;
};

/* When the host's groups are open. */
int raft_snaps_new(const struct raft_snaps_config *config,
		   struct raft_snaps **ret_snaps);
/* The env runs nothing of it any more. NULL is fine. */
void raft_snaps_free(struct raft_snaps *s);
/* After a checkpoint, and now and then: begins a round when it is time. */
void raft_snaps_tick(struct raft_snaps *s);
/*
 * A round whatever the log has; behind the one that runs, if one does. w
 * (owned by the caller, may be NULL) is told when it ended, never inside.
 */
struct raft_snaps_waiter {
	void (*done)(struct raft_snaps_waiter *w);
	struct raft_snaps_waiter *next; /* private */
};
void raft_snaps_now(struct raft_snaps *s, struct raft_snaps_waiter *w);
/*
 * Log segments of this generation and newer are needed beside the files. 0:
 * all, a group has no snapshot yet. Any thread.
 */
uint64_t raft_snaps_need(struct raft_snaps *s);
/* Bytes of all files. Any thread. */
uint64_t raft_snaps_bytes(struct raft_snaps *s);
/*
 * While held, no snapshot decides where the log behind it begins: records are
 * on their way that rows do not show yet.
 */
void raft_snaps_hold(struct raft_snaps *s);
void raft_snaps_release(struct raft_snaps *s);
struct raft_snaps_stats {
	uint64_t rounds, files, bytes, failed;
};
void raft_snaps_stats(const struct raft_snaps *s,
		      struct raft_snaps_stats *ret);

/* --- rows of other members --- */

/* DIR/NNNNN and one of these */
#define RAFT_SNAP_ROWS ".rows"       /* the files above */
#define RAFT_SNAP_FETCH ".fetch"     /* what another member sent so far */
#define RAFT_SNAP_NEW ".new"         /* the same as a local stream */
#define RAFT_SNAP_INSTALL ".install" /* whole, durable; it becomes the rows */
char *raft_snap_path(const char *dir, uint16_t group, const char *suffix);

/*
 * The rows of a group become those of a local stream, in steps of some MiB; each
 * blocks. Whoever begins has to end it, also after a crash: a start does so with
 * files that are called RAFT_SNAP_INSTALL (raft_start_open()).
 */
struct raft_snap_loader;
int raft_snap_loader_new(struct vfs *vfs, const char *path, uint16_t group,
			 struct rows_back *back,
			 struct raft_snap_loader **ret_loader);
/*
 * 1: there is more; 0: that was all, it is durable. -EBADMSG: it is no such
 * stream, the group has no rows now. -ENOMEM: begin again; -EIO.
 */
int raft_snap_loader_step(struct raft_snap_loader *l);
void raft_snap_loader_free(struct raft_snap_loader *l);

/* --- start-up --- */

/*
 * Looks at the snapshots in dir (made when missing); rows that were being
 * replaced when the process died are replaced. 0 or -errno with e set: a file is
 * of another store, rows cannot be written.
 */
int raft_start_open(struct vfs *vfs, const char *dir, struct wire_u128 store,
		    struct rows_back *back, struct raft_start **ret_start,
		    struct errbuf *e);
void raft_start_free(struct raft_start *s);
/*
 * For seg_config.scan_from: as raft_start_need(), but early enough for groups
 * in doubt: those whose rows are behind what the log says of them. Their
 * snapshots are loaded where these are ahead. 0 or -errno with e set: files or
 * rows cannot be read or written.
 */
int raft_start_from(struct raft_start *s, const struct seg_rec *start,
		    uint64_t *ret_gen, struct errbuf *e);
/* Then for each host: recovers that START, tells it its groups in doubt. */
int raft_start_recover(const struct raft_start *s, const struct seg_rec *start,
		       struct raft_host *h);
/* Rows of the group were loaded, or are behind: positions in them may be old. */
bool raft_start_doubts(const struct raft_start *s, uint16_t group);
/* Groups in doubt. */
unsigned raft_start_n_doubts(const struct raft_start *s);
/* ret_moved: of their rows, as the log knows it. */
uint16_t raft_start_doubt(const struct raft_start *s, unsigned i,
			  uint64_t *ret_moved);
/*
 * After the scan: a group that has a snapshot and that known() does not know
 * has lost its log. 0, or -EIO with e set.
 */
int raft_start_check(const struct raft_start *s,
		     bool (*known)(void *arg, uint16_t group), void *arg,
		     struct errbuf *e);

#endif
