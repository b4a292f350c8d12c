#ifndef MANAGERD_MGR_FSCK_H
#define MANAGERD_MGR_FSCK_H
/*
 * Recounting everything: the rows of each shard among themselves, what they say
 * of bytes against logs and chunk stores, and what chunk stores have that no row
 * names. One run at a time, kept in memory until the next one begins; loop 0
 * only. Nothing is changed.
 */
#include <stdbool.h>
#include <stdint.h>

struct manager;

enum {
	FSCK_READ = 1,  /* compare bytes with their hashes */
	/*
	 * Nobody else asks for anything: then the ends of names that span
	 * shards are compared once, when the shards are done with what a crash
	 * has left behind.
	 */
	FSCK_ALONE = 2,
};

#define FSCK_COUNTS(C) \
	C(rows, "rows of shards") \
	C(inodes, "files, directories and their segments") \
	C(names, "entries of directories") \
	C(slices, "slices with references") \
	C(queued, "rows that wait to be worked off") \
	C(open, "files without a name that are held open") \
	C(extents, "extents of files") \
	C(values, "values in the log") \
	C(value_bytes, "bytes of values") \
	C(chunks, "chunks that files name") \
	C(copies, "copies of chunks found") \
	C(unnamed, "chunks that nothing names") \
	C(unnamed_bytes, "bytes of these") \
	C(spans, "ends of names that span shards")
#define FSCK_COUNT_DECL(name, what) uint64_t name;

enum fsck_state { FSCK_NEVER, FSCK_RUNNING, FSCK_DONE, FSCK_FAILED };

#define FSCK_FINDINGS_MAX 1000u

struct fsck_result {
	enum fsck_state state;
	bool read; /* bytes were compared with their hashes */
	uint32_t status; /* FAILED: why, RPC_STATUS_* */
	unsigned shards, shards_done;
	uint64_t started_ns, ended_ns; /* wall clock; ended 0: not yet */
	struct {
		FSCK_COUNTS(FSCK_COUNT_DECL)
	} n;
	uint64_t n_findings;
	unsigned n_texts; /* at most FSCK_FINDINGS_MAX of them */
	char **texts;
};

/*
 * Begins a run; done(arg, result) when it ends, unless NULL (not when the
 * manager is closed first). 0, -EBUSY (one runs), -ENOMEM.
 */
int mgr_fsck_start(struct manager *m, unsigned flags,
		   void (*done)(void *arg, const struct fsck_result *result),
		   void *arg);
/* Of the run under way, or the last one; borrowed for this callback. */
const struct fsck_result *mgr_fsck_result(const struct manager *m);
/* After the client set is gone. */
void mgr_fsck_free(struct manager *m);

#endif
