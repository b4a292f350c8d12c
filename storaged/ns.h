#ifndef STORAGED_NS_H
#define STORAGED_NS_H
/*
 * The namespace: the state machine of a shard (DESIGN section 6). Pure: a
 * function of (rows, command); no clock, no randomness, no I/O, no globals.
 *
 * ns_apply() runs mutations (kind W of the message table), ns_read() the point
 * reads (kind R but list, readdir, mpu_list, mpu_parts), both in the loop
 * through a rows_txn; -EAGAIN means "load what is needed and call again".
 * ns_scan_*() run on a worker over an iterator of the back.
 *
 * Row keys and values: storaged/ns_rows.h and docs/DISK_FORMAT.md.
 */
#include "common/rows/rows.h"
#include "common/wire/msgs.h"
#include "common/wire/status.h"

struct ns_locks;

/*
 * Entry body in the log: version u8 = 1, tag u16, decisions u32, now i64 (ns
 * since 1970, of the leader), seed u64 (random, of the leader), with PLACE
 * place u16, with FAR txn u128 and far blob, then the request's payload
 * verbatim.
 */
#define NS_CMD_HEADER 23
enum {
	/* The leader's soft state, decided before the entry was made: */
	NS_DECIDE_OPEN = 1,  /* the inode that loses its name is held open */
	NS_DECIDE_LAST = 2,  /* close: no other open is left */
	NS_DECIDE_PLACE = 8, /* new directories belong into another shard */
	NS_DECIDE_FAR = 16,  /* rows of other shards, locked for txn */
};
struct ns_cmd {
	uint16_t shard;
	uint16_t tag;
	uint32_t decisions;
	uint64_t term; /* of the entry */
	int64_t now;
	uint64_t seed;
	uint16_t place;
	struct wire_u128 txn;
	struct wire_bytes far; /* rows of TXN_LOCK answers */
	const uint8_t *payload;
	size_t len;
	/* Where payload[0] lies in this store's log: values point there. */
	uint64_t gen;
	uint64_t payload_off;
	/* Who holds what in this shard; borrowed, not of the entry. May be
	 * NULL: nobody holds anything. */
	const struct ns_locks *locks;
};
/* All but shard, gen, payload_off, term and locks. 0 or -ENOMEM. */
int ns_cmd_encode(struct buf *out, const struct ns_cmd *c);
/* data borrowed; gen and data_off as in raft_cmd. 0 or -EBADMSG. */
int ns_cmd_decode(struct ns_cmd *c, const uint8_t *data, size_t len,
		  uint64_t gen, uint64_t data_off);

/* Bytes that the answer's body shall hold, in this order. */
struct ns_value {
	const uint8_t *mem;    /* in the row: borrowed from the txn, or NULL */
	uint64_t gen, off;     /* in the log head */
	uint32_t len;          /* bytes of the whole value */
	struct wire_u128 hash; /* xxh3-128 of the whole value */
	uint32_t from, want;   /* the part of it that is wanted */
};

/*
 * Three statuses are for the host, not for who asked (only ELSEWHERE goes on
 * to it); they leave no trace in rows, but ELSEWHERE in the slot of a request
 * that came AGAIN:
 *   ELSEWHERE  payload is an error_rsp that says where to go on
 *   LOCKED     holder has what is needed: try again when it has ended
 *   FAR        lock the rows in `far` in their shards, run again with them
 */
enum { NS_ANSWER_MAPS = 4 };
struct ns_answer {
	uint32_t status;      /* RPC_STATUS_* */
	struct buf payload;   /* rsp encoded when status is OK */
	struct ns_value *values; /* body parts; malloc'ed */
	unsigned n_values;
	bool queued;          /* a queue row was written: there is work */
	struct {
		uint64_t ino, region;
		uint32_t n; /* extents of it now; 0: none grew */
	} grown;              /* the longest list that grew: ns_merge.c */
	struct {
		uint64_t ino, entries; /* entries now; 0: none grew */
	} large;              /* the largest directory that grew */
	struct {
		uint64_t dir;
		bool split;   /* it has segments now; false: none any more */
	} maps[NS_ANSWER_MAPS];
	unsigned n_maps;      /* more than that: any may */
	uint64_t kept;        /* that lost its last name, by NS_DECIDE_OPEN; 0 */
	bool repeated;        /* from the answer slot: nothing was done */
	bool txn;             /* other shards have steps to do now */
	struct wire_u128 holder;
	struct wire_vec far;  /* (u8 mode, str key) */
};
void ns_answer_init(struct ns_answer *a);
void ns_answer_fini(struct ns_answer *a);

/*
 * 0: a is set, writes are in t (also when status is an error: then t holds
 * at most the answer slot). -EAGAIN: needs rows. -ENOMEM, -EIO (a row that
 * cannot be decoded): the process must stop.
 */
int ns_apply(struct rows_txn *t, const struct ns_cmd *c, struct ns_answer *a);
/* Does it make directories that may go to another shard (NS_DECIDE_PLACE)? */
bool ns_may_place(uint16_t tag, struct wire_bytes payload);
/* Of c only shard, tag, payload and locks. */
int ns_read(struct rows_txn *t, const struct ns_cmd *c, struct ns_answer *a);
/*
 * The inode that command would take a name from (unlink, rename over, put over,
 * delete), so that the leader can decide NS_DECIDE_OPEN, which means something
 * only when that is the last one; 0 = none. 0, -EAGAIN.
 */
int ns_victim(struct rows_txn *t, const struct ns_cmd *c, uint64_t *ret_ino);

/*
 * What a committed transaction has to do in other shards: (u16 shard, blob
 * list of steps) each, borrowed from t. 0, -ENOENT, -EAGAIN, -EIO.
 */
int ns_txn_own(struct rows_txn *t, uint16_t shard, struct wire_u128 txn,
	       struct wire_bytes *ret_parts);

/* Page reads: list, readdir, mpu_list, mpu_parts. Worker thread. 0 or -EIO. */
int ns_scan(struct rows_back *back, uint16_t shard, uint16_t tag,
	    const void *payload, size_t len, struct ns_answer *a);
bool ns_is_scan(uint16_t tag);

/*
 * Checks every row of a shard against every other (links, usage, K rows,
 * D/I/B agreement); calls report for each finding. Worker. 0 or -EIO.
 */
int ns_check(struct rows_back *back, uint16_t shard,
	     void (*report)(void *arg, const char *text), void *arg);
/* The same, and how much was looked at. The rows may change meanwhile. */
struct ns_counts {
	uint64_t rows, inodes, names, slices, queued, open;
};
int ns_count(struct rows_back *back, uint16_t shard,
	     void (*report)(void *arg, const char *text), void *arg,
	     struct ns_counts *ret);

/*
 * What one row says of bytes: an extent that is not zeros. row: key behind the
 * shard number. Everything is borrowed for the callback.
 */
struct ns_ref {
	struct wire_bytes row;
	bool is_value;
	struct ns_value value;  /* is_value: whole, in the log head */
	struct wire_u128 slice; /* else: chunks hold [off, off + len) of it */
	uint64_t off, len;
};
/*
 * Calls each for what rows behind `after` name (exact: for that row alone), in
 * the order of rows, until it returns > 0 and the row is done, or < 0, which is
 * returned. ret_next: the last row looked at, or empty at the end. Worker.
 * 0, -EIO, -ENOMEM.
 */
int ns_refs(struct rows_back *back, uint16_t shard, struct wire_bytes after,
	    bool exact, int (*each)(void *arg, const struct ns_ref *ref),
	    void *arg, struct buf *ret_next);

/*
 * How a directory of this shard, or a segment of one, that has more than `most`
 * entries should be split: *ret_names of them, 0 for none, from that name on.
 * Worker. 0, -EIO, -ENOMEM.
 */
int ns_split_plan(struct rows_back *back, uint16_t shard, uint64_t dir,
		  uint64_t most, struct buf *ret_from, uint64_t *ret_names);

/* --- merging of small extents, see ns_merge.c --- */

enum { NS_MERGE_STEPS = 2 };
struct ns_merge_rules {
	uint32_t at; /* shorter lists are left alone */
	struct ns_merge_step {
		uint32_t len;   /* extents shorter than this ... */
		uint32_t total; /* ... become one of up to this */
		uint32_t n;     /* when it is at least so many */
		uint32_t any_n; /* this many always; 0: no */
	} step[NS_MERGE_STEPS];
	uint32_t many;      /* in such a list a quarter of n is enough, */
	uint32_t bridge_at; /* in such a one holes up to `bridge` are filled */
	uint32_t bridge;
};
extern const struct ns_merge_rules ns_merge_rules;

/* Bytes of a run; between two of them are zeros. */
struct ns_piece {
	uint64_t pos, len;
	bool is_chunk;
	struct ns_value value;  /* not is_chunk; mem borrowed from the plan */
	struct wire_u128 slice; /* is_chunk: from off in it */
	uint64_t off;
};
/* What a MERGE shall say; data are the bytes of [pos, pos + len). */
struct ns_merge_run {
	uint64_t pos, len;
	struct wire_u128 print;
	struct ns_piece *pieces;
	unsigned n;
};
struct ns_merge;
/*
 * What is worth merging in a region, as the rows are now; chunks: those of
 * chunks, too. Worker. 0, -EIO, -ENOMEM.
 */
int ns_merge_plan(struct rows_back *back, uint16_t shard, uint64_t ino,
		  uint64_t region, const struct ns_merge_rules *rules,
		  bool chunks, struct ns_merge **ret);
const struct ns_merge_run *ns_merge_runs(const struct ns_merge *m,
					 unsigned *ret_n);
/* There may be more to merge after these. */
bool ns_merge_more(const struct ns_merge *m);
void ns_merge_free(struct ns_merge *m); /* NULL is fine */

/*
 * What this shard's names say of other shards and the reverse; the back has
 * all shards. -EBUSY: all was looked at, but a transaction is under way, and the
 * ends of a name differ until it is over. *ret_n: how many there were.
 */
int ns_check_far(struct rows_back *back, uint16_t shard,
		 void (*report)(void *arg, const char *text), void *arg,
		 uint64_t *ret_n);

/* xxh3-128 over a shard's rows without store-local fields, for comparing
 * replicas. Worker. */
int ns_hash(struct rows_back *back, uint16_t shard, struct wire_u128 *ret);

#endif
