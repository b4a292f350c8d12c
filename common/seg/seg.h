#ifndef COMMON_SEG_SEG_H
#define COMMON_SEG_SEG_H
/*
 * Segments: the one on-disk log format (docs/DISK_FORMAT.md). A head is a
 * directory of segment files with one append point and one flusher.
 *
 * A loop opens a port and posts appends; the flusher takes all that wait,
 * assigns positions, writes, fdatasyncs, and posts one completion per port;
 * `done` then runs on that port's loop, in append order. Nothing is durable
 * before its done(), but for what was appended loosely: that is only written,
 * survives the process, and becomes durable within SEG_LOOSE_NS, or with the
 * next append that is not loose. What a power cut leaves is always a prefix. A
 * failed write or fdatasync aborts the process (seg_fatal_hook in tests); a
 * failed read is returned.
 *
 * Recovery (seg_head_open) reads segments in order, from where the owner needs
 * them, and hands each valid record to a callback. A bad record below the
 * highest durable mark found in any valid record is bit rot: reported through
 * on_rot and skipped (never taken for the end, never returned as data); above
 * it, it is the end. After recovery appends go to a fresh segment.
 *
 * Sealed segments, all but the one that is written, can be walked and freed;
 * which of them must be there is on the disk, and one that is missing refuses
 * the open.
 */
#include "common/base/env.h"
#include "common/base/errbuf.h"
#include "common/wire/wire.h"

struct seg_head;
struct seg_port;

/* Where a record starts. gen: segment generation, never reused, from 1. */
struct seg_pos {
	uint64_t gen;
	uint64_t off;
};

enum seg_type {
	SEG_NONE = 0,       /* of an append: no record, see there */
	SEG_PAD = 1,        /* fills up to an alignment; no body */
	SEG_START = 2,      /* first record of a segment */
	SEG_MARK = 3,       /* carries only a durable mark */
	SEG_ENTRY = 4,      /* raft entry: a = index, b = term, flags = type */
	SEG_HARD = 5,       /* raft hard state: a = term, b = vote */
	SEG_CHUNK = 6,      /* bulk: id = slice, a = index in slice */
	SEG_CHECKPOINT = 7, /* durable applied index per group (body) */
	SEG_VALUE = 8,      /* a value moved by the cleaner */
	SEG_FREED = 9,      /* a = generation; made by seg_free_segment() */
	SEG_RESET = 10,     /* raft log begins behind a = index, b = term */
};

#define SEG_HEADER_LEN 128
#define SEG_BODY_MAX (64u << 20) /* longest body; more is our mistake */
#define SEG_LOOSE_NS 50000000ull /* what is loose is synced so much later */

/* What a record says; all but body is in its header. */
struct seg_rec {
	uint8_t type;
	uint8_t flags;
	uint16_t group;
	uint64_t a, b;
	struct wire_u128 id;
	uint64_t len;          /* bytes of the body */
	struct wire_u128 hash; /* xxh3-128 of the body */
	uint64_t seq;          /* of the record in its head, from 1, no gaps */
	struct seg_pos pos;
	/*
	 * Scan only; borrowed for the callback. NULL when a bulk head is
	 * recovered. Of START body and len are what start_body() had added;
	 * PAD, MARK and FREED are not handed out.
	 */
	const uint8_t *body;
};

/* Records that were durable once and are lost. */
struct seg_rot {
	struct seg_pos pos;        /* where the first one was, or before */
	uint64_t seq, n;           /* their sequences */
	const struct seg_rec *rec; /* of one with a whole header: what that
				    * says, without body; else NULL */
};

#define SEG_IOV 4

/*
 * One append. Embedded in its owner; owner and bytes stay until done(). With
 * SEG_NONE it is no record: done() when all that was appended before is
 * durable; a loose one waits for the next sync, and later appends may end
 * before it does.
 */
struct seg_append {
	struct seg_append *next; /* private */
	uint8_t type;
	uint8_t flags;
	uint16_t group;
	uint64_t a, b;
	struct wire_u128 id;
	struct iovec iov[SEG_IOV]; /* the body; borrowed until done */
	int niov;
	bool has_hash;             /* hash is set by the caller already */
	bool roll;                 /* it begins a segment */
	bool loose;                /* done() when it is written */
	struct wire_u128 hash;     /* xxh3-128 of the body; set by done() */
	void (*done)(struct seg_append *a);
	struct seg_pos pos;        /* set by done(): the record */
	uint64_t body_off;         /* set by done(): first body byte in pos.gen */
};

struct seg_config {
	const char *dir;          /* made when missing */
	uint8_t store_id[16];     /* seeds header checksums */
	uint64_t segment_size;    /* bytes of a full segment; 0 = 64 MiB */
	uint64_t first_size;      /* bytes of the very first one; 0 = 4 MiB */
	unsigned pool;            /* pre-written ones kept ready; 0 = 1;
				   * bulk heads have none */
	bool bulk;                /* records >= 1 MiB start and end on 4 KiB */
	/*
	 * Recovery, in order of the log. on_record: < 0 stops, and is what
	 * open returns. on_rot: records that are lost. Either may be NULL.
	 */
	int (*on_record)(void *arg, const struct seg_rec *rec);
	void (*on_rot)(void *arg, const struct seg_rot *rot);
	/*
	 * From where on records are handed out; earlier ones may come too.
	 * from_seq: from this sequence on, 0 = all. scan_from: from this
	 * generation on, 0 = all; called once, before any on_record, with the
	 * newest START that is whole (not at all where there is none); < 0
	 * stops, and is what open returns. At most one of the two.
	 */
	uint64_t from_seq;
	int (*scan_from)(void *arg, const struct seg_rec *start,
			 uint64_t *ret_gen);
	/*
	 * Called by the flusher when it begins segment gen: append to buf what
	 * SEG_START's body shall hold for the owner. All that was appended
	 * before and completed is durable then, and so are all older STARTs.
	 * May be NULL.
	 */
	void (*start_body)(void *arg, uint64_t gen, struct buf *buf);
	/*
	 * The disk is full: the owner gives back what it keeps for that. True:
	 * it did. Called by the flusher, as often as it takes; after false, as
	 * it may have given since, the write is tried a last time. May be NULL.
	 */
	bool (*no_space)(void *arg);
	void *arg;
};

struct seg_stats {
	uint64_t segments, bytes, appended_records, appended_bytes, flushes,
		syncs, sync_ns, rot, lent; /* lent: flushes by a loop */
};

/* env: for the flusher thread and the clock. Blocks (start-up). 0 or -errno. */
int seg_head_open(struct env *env, const struct seg_config *config,
		  struct seg_head **ret_head, struct errbuf *e);
/*
 * Writes and syncs what was handed over, posts the completions, frees. Queued
 * appends that no kick handed over yet are not written. NULL is fine.
 */
void seg_head_close(struct seg_head *head);
/*
 * Frees without writing anything more: the process is about to go (a
 * simulated crash, an error at start-up). Appends under way never end.
 */
void seg_head_abandon(struct seg_head *head);
void seg_head_stats(struct seg_head *head, struct seg_stats *ret);
/* The newest segment whose START is durable; 0: none, or older than us. */
uint64_t seg_head_start_gen(struct seg_head *head);
/* True when something that was told to be written is not durable yet. */
bool seg_head_is_loose(struct seg_head *head);
/* Sequence number of the last record recovered or appended so far. */
uint64_t seg_head_last_seq(struct seg_head *head);

/*
 * A port of env's loop. Free it only when no append is under way (or after
 * the head was closed or abandoned and the loop ended).
 */
int seg_port_new(struct seg_head *head, struct env *env,
		 struct seg_port **ret_port);
void seg_port_free(struct seg_port *port);
/* True when every append has ended. Port's loop only. */
bool seg_port_idle(const struct seg_port *port);
/* Queues a; taken by the flusher with the next flush. Port's loop only. */
void seg_append(struct seg_port *port, struct seg_append *a);
/*
 * Hands queued appends over. Appends are also handed over at the end of the
 * loop turn by themselves; call it to start at once.
 */
void seg_port_kick(struct seg_port *port);

/*
 * Reads len bytes at (gen, off); any thread. flags: VFS_NOWAIT (-EAGAIN when
 * it would block). Returns 0, -EIO, -EAGAIN, or -ENOENT: the segment was
 * freed, so look the position up again. The caller verifies the hash.
 */
int seg_read(struct seg_head *head, uint64_t gen, uint64_t off, void *buf,
	     size_t len, int flags);
/*
 * The same for what is not read soon again: past the page cache where off and
 * buf are on 4 KiB, as large bulk bodies are, and it is worth it; else, or where
 * that is refused, as seg_read(). One call for much of it: nothing is read ahead.
 */
int seg_read_direct(struct seg_head *head, uint64_t gen, uint64_t off,
		    void *buf, size_t len);

/* --- sealed segments --- */

struct seg_info {
	uint64_t gen;
	uint64_t bytes; /* on the disk */
};
/*
 * Those that are not being freed, oldest first; any thread. *ret_infos is the
 * caller's (mem_free), NULL when there is none. 0 or -ENOMEM.
 */
int seg_segments(struct seg_head *head, struct seg_info **ret_infos,
		 size_t *ret_n);

/*
 * Walks the records of one sealed segment in order, START, PAD, MARK and FREED
 * left out; blocks, any thread but the head's. A record is handed out when its
 * header is valid and, with bodies, its body has its hash (else body is NULL
 * and nobody looked at it).
 */
struct seg_walk {
	bool bodies;
	/* != 0 stops, and is what seg_scan_segment() returns. */
	int (*on_record)(void *arg, const struct seg_rec *rec);
	/* What stands at pos is not a record any more. May be NULL. */
	void (*on_rot)(void *arg, struct seg_pos pos);
	void *arg;
};
/* 0, -ENOENT (not there, or freed), -EBUSY (not sealed), -EIO, -ENOMEM. */
int seg_scan_segment(struct seg_head *head, uint64_t gen,
		     const struct seg_walk *walk);

/*
 * Frees a sealed segment: FREED is made durable, readers that are in it end,
 * the file goes. From the FREED on reads of it are -ENOENT. The owner needs
 * nothing in it any more, nor anything older to recover. Embedded in its
 * owner; stays until done(), which is called on the port's loop, never inside
 * the call. status: 0, -ENOENT (not there, or being freed), -EBUSY (not
 * sealed), or what the unlink gave: then the space comes back with the next
 * start.
 */
struct seg_free {
	uint64_t gen;
	void (*done)(struct seg_free *f, int status);
	/* private */
	struct seg_port *port;
	struct seg_append append;
	struct env_work work;
	struct env_task task;
	int status;
};
/* gen and done are set. Port's loop only; the port is not idle before done. */
void seg_free_segment(struct seg_port *port, struct seg_free *f);

/*
 * A head that cannot keep its promise. Tests replace it; the default logs and
 * aborts. When it returns, the head writes no more and completes nothing.
 * Called on the flusher's thread (or in seg_head_close()).
 */
extern void (*seg_fatal_hook)(const char *what, int err);

#endif
