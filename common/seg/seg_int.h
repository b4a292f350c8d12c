#ifndef COMMON_SEG_SEG_INT_H
#define COMMON_SEG_SEG_INT_H
/*
 * Shared by the files of this module only. Who may touch what of a head is
 * written at each field: flusher = the flusher's thread, or open and close
 * while that thread does not exist; lock = under head->lock.
 */
#include <pthread.h>

#include "common/seg/seg.h"

#define SEG_MAGIC 0x4c535231u
#define SEG_HEADER_VERSION 1
#define SEG_START_FIXED 80       /* bytes of START's body before the ranges */
#define SEG_RANGE_LEN 16         /* bytes of a range in it */
#define SEG_SIZE_DEFAULT (64ull << 20)
#define SEG_FIRST_DEFAULT (4ull << 20)
#define SEG_BULK_LARGE (1u << 20) /* bodies from here on are aligned */
#define SEG_BULK_ALIGN 4096u
#define SEG_MARK_DELAY_NS 10000000ull
#define SEG_POOL_MAX 8
#define SEG_POOL_STEP (1u << 20)
#define SEG_POOL_REST_NS 200000000ull /* after the first segment of a process */
#define SEG_POOL_WORTH (128u << 10) /* bytes a flush; above no zeros */
#define SEG_STAGE (256u << 10)   /* headers and small bodies of one write */
#define SEG_COPY_MAX 4096u       /* bodies up to this are copied to it */
#define SEG_BARE_MAX 16u
/* What a loop writes in the flusher's place: so much at most, and no longer. */
#define SEG_LEND_APPENDS 16u
#define SEG_LEND_BYTES (64u << 10)
#define SEG_LEND_SYNC_NS 1000000ull
#define SEG_RUN_IOV 512
#define SEG_RUN_BYTES (32u << 20)
#define SEG_OPEN_MAX 1024        /* files kept open, but for those in use */

/* A header as numbers; docs/DISK_FORMAT.md has the meaning. */
struct seg_hdr {
	uint8_t type, flags;
	uint16_t group;
	uint64_t len, gen, seq, epoch, durable, a, b;
	struct wire_u128 id, hash;
	uint64_t off, first;
};

/* Generations, ascending and apart; both ends are in. */
struct seg_range {
	uint64_t from, to;
};
struct seg_ranges {
	struct seg_range *v; /* owned */
	size_t n, cap;
};

/* Body of START before the ranges. */
struct seg_start {
	uint8_t store_id[16];
	uint64_t gen, seq, prev_gen, prev_first, prev_seq, prev_end, size;
	uint32_t n_ranges;
};

struct seg_port {
	struct seg_head *head;      /* NULL once the head is gone; lock */
	struct env *env;            /* borrowed */
	struct seg_port *next;      /* in head->ports; lock */
	struct seg_port *next_busy; /* flusher */
	struct seg_append *queue, **queue_tail;     /* loop */
	struct seg_append *pending, **pending_tail; /* lock */
	struct seg_append *batch;                   /* flusher */
	struct seg_append *held, **held_tail; /* flusher; for the next sync */
	struct seg_append *ready, **ready_tail;     /* lock */
	uint64_t under_way;   /* appended, done() not called yet; loop */
	struct env_task turn; /* end of the loop turn */
	bool turn_posted;     /* loop */
	struct env_task done; /* completions */
	bool done_posted;     /* lock */
};

enum seg_pool_state { SEG_POOL_EMPTY, SEG_POOL_FILLING, SEG_POOL_READY };

struct seg_pool_slot {
	enum seg_pool_state state; /* lock */
	struct vfs_file *f;        /* owner: by state */
	/* pool thread while FILLING; READY: its size, less where the disk was
	 * full */
	uint64_t filled;
};

/*
 *   CURRENT -> SEALED -> FREEING -> UNLISTED -> GONE
 * FREEING: a FREED record is on its way to the flusher. UNLISTED: it has a
 * sequence, no START lists the segment any more. GONE: it is durable, nobody
 * gets in.
 */
enum seg_state {
	SEG_STATE_CURRENT,
	SEG_STATE_SEALED,
	SEG_STATE_FREEING,
	SEG_STATE_UNLISTED,
	SEG_STATE_GONE,
};

/* A segment that counts; all under head->files_lock. */
struct seg_file {
	uint64_t gen, bytes;
	enum seg_state state;
	struct vfs_file *f; /* NULL: not open */
	struct vfs_file *direct; /* past the page cache; NULL: not open */
	unsigned users;     /* both stay while they are there */
	bool recent;        /* used since it was looked at for closing */
};

struct seg_head {
	struct env *env;         /* borrowed */
	struct vfs *vfs;         /* borrowed */
	struct seg_config config; /* dir is ours */
	char *dir;
	pthread_mutex_t lock;
	struct seg_port *ports;  /* lock */
	struct env_thread *flusher, *filler;
	bool filler_rested;      /* filler */

	/* segments that count, by generation; under files_lock */
	pthread_mutex_t files_lock;
	pthread_cond_t files_idle;     /* the last user of a GONE one left */
	struct seg_file **files;
	size_t n_files, cap_files, hand; /* hand: where closing goes on */
	unsigned n_open;

	/* the append point: flusher */
	struct vfs_file *cur;    /* NULL: next append begins a segment */
	struct vfs_file *direct; /* cur past the page cache; NULL: refused */
	uint64_t gen, size, off; /* of cur */
	uint64_t cur_flushes;    /* of cur; 0 before the first segment */
	uint64_t seed;           /* of gen */
	uint64_t first;          /* sequence of cur's START */
	uint64_t seq;            /* last one assigned */
	uint64_t durable;        /* all up to here are on disk */
	uint64_t marked;         /* seq right after the last MARK */
	uint64_t loose_ns;       /* since when loose appends are not durable */
	uint64_t sync_ns;        /* what the last syncs took, about */
	/* the segment before: its START, its last record, its end */
	uint64_t prev_gen, prev_first, prev_seq, prev_end;
	bool cut;                /* what lies behind prev_end is to go */
	uint64_t last_gen;       /* highest ever seen */
	uint64_t *voids;         /* generations to unlink after a flush */
	size_t n_voids;
	bool failed;             /* fatal hook was called */
	struct buf start_buf;

	/* the write being gathered: flusher */
	uint8_t *stage; /* SEG_STAGE bytes; made with the first segment */
	size_t stage_len;
	struct iovec run[SEG_RUN_IOV];
	int n_run;
	size_t run_bytes;
	uint64_t run_off;
	struct seg_range bare[SEG_BARE_MAX]; /* of cur: written past the cache
					      * since the last sync */
	unsigned n_bare;

	struct seg_pool_slot pool[SEG_POOL_MAX]; /* lock */

	/* atomic */
	uint64_t last_seq, start_gen;
	bool direct_refused; /* reads go through the page cache */
	bool loose; /* loose appends may be told of that are not durable */
	struct seg_stats stats;
};

/*
 * Leaves out one thing that the format needs, to prove that the crash
 * enumeration would notice. Only where configure was told --enable-mutations:
 * other builds have nothing of it.
 */
enum seg_mutation {
	SEG_MUTATE_NONE,
	SEG_MUTATE_HEADER_SUM, /* header checksums are not looked at */
	SEG_MUTATE_BODY_HASH,  /* nor the body's */
	SEG_MUTATE_ANY_SEQ,    /* any sequence is the next; nothing is cut */
	SEG_MUTATE_NO_SYNC,    /* acknowledges before fdatasync */
	SEG_MUTATE_NO_DIR_SYNC, /* a new segment's name is not synced */
	SEG_MUTATE_NO_REWRITE, /* recovery does not make durable what it found */
	SEG_MUTATE_ROT_IS_END, /* any bad record ends the log */
	SEG_MUTATE_FREE_EARLY, /* unlinks before FREED is durable */
	SEG_MUTATE_FREE_LISTED, /* START goes on to list what was freed */
	SEG_MUTATE_FREE_SILENT, /* no FREED record at all */
	SEG_MUTATE_NOT_MISSED, /* nothing must be there */
	SEG_MUTATE_ALL_LOOSE,  /* no append waits for a sync */
	SEG_MUTATE_NO_HOLD,    /* nor does SEG_NONE */
	SEG_MUTATE_SUPER_SUM,  /* that of the super block is not looked at */
};
#ifdef ENABLE_MUTATIONS
extern enum seg_mutation seg_mutation;
#define SEG_MUTATES(what) (seg_mutation == SEG_MUTATE_##what)
#else
#define SEG_MUTATES(what) false
#endif
/* For tests: from now on, until the next one. False: this build has none. */
static inline bool seg_mutate(enum seg_mutation what)
{
#ifdef ENABLE_MUTATIONS
	seg_mutation = what;
	return true;
#else
	return what == SEG_MUTATE_NONE;
#endif
}
extern unsigned seg_open_max; /* SEG_OPEN_MAX; tests lower it */

static inline uint64_t seg_pad8(uint64_t len)
{
	return (len + 7) & ~7ull;
}

static inline void seg_stat_add(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static inline uint64_t seg_rec_size(uint64_t len)
{
	return SEG_HEADER_LEN + seg_pad8(len);
}

/* --- seg_rec.c: bytes --- */
uint64_t seg_seed(const uint8_t store_id[16], uint64_t gen);
void seg_hdr_encode(const struct seg_hdr *h, uint64_t seed, uint8_t *out);
/* True when it is the valid header of a record of gen at off. */
bool seg_hdr_decode(const uint8_t *p, uint64_t seed, uint64_t gen,
		    uint64_t off, struct seg_hdr *ret);
struct wire_u128 seg_hash(const void *p, size_t len);
struct wire_u128 seg_hash_iov(const struct iovec *iov, int niov);
void seg_start_encode(const struct seg_start *s, uint8_t *out);
/* False when len is too short. */
bool seg_start_decode(const uint8_t *p, size_t len, struct seg_start *ret);

/* --- seg_ranges.c: sets of generations --- */
void seg_ranges_fini(struct seg_ranges *r);
bool seg_ranges_has(const struct seg_ranges *r, uint64_t gen);
int seg_ranges_add(struct seg_ranges *r, uint64_t gen);    /* 0, -ENOMEM */
int seg_ranges_remove(struct seg_ranges *r, uint64_t gen); /* 0, -ENOMEM */
void seg_ranges_encode(const struct seg_ranges *r, struct buf *out);
/* Of a START of gen. 0, -ENOMEM, -EBADMSG. */
int seg_ranges_decode(struct seg_ranges *r, const uint8_t *p, size_t len,
		      uint32_t n, uint64_t gen);

/* --- seg_file.c: names and the table of segments --- */
#define SEG_NAME_MAX 32
void seg_name(uint64_t gen, char name[SEG_NAME_MAX]);
/* True when name is that of a segment. */
bool seg_name_parse(const char *name, uint64_t *ret_gen);
/* "dir/name", or NULL. */
char *seg_path(const struct seg_head *head, const char *name);
int seg_open_named(struct seg_head *head, const char *name, int flags,
		   struct vfs_file **ret_file);
int seg_open_gen(struct seg_head *head, uint64_t gen, int flags,
		 struct vfs_file **ret_file);
int seg_unlink_gen(struct seg_head *head, uint64_t gen);
/* gen is above all in the table, which takes f (may be NULL). 0 or -ENOMEM. */
int seg_table_add(struct seg_head *head, uint64_t gen, uint64_t bytes,
		  enum seg_state state, struct vfs_file *f);
void seg_table_set(struct seg_head *head, uint64_t gen, enum seg_state state);
/* Its file is shorter now. */
void seg_table_shrink(struct seg_head *head, uint64_t gen, uint64_t bytes);
/* SEALED becomes FREEING. 0, -ENOENT, -EBUSY (CURRENT). */
int seg_table_freeing(struct seg_head *head, uint64_t gen);
/* What START of a new segment lists. 0 or -ENOMEM. */
int seg_table_ranges(struct seg_head *head, struct seg_ranges *ret);
/* Waits for users, then closes gen, which is GONE, and forgets it. */
void seg_table_drop(struct seg_head *head, uint64_t gen);
void seg_table_free(struct seg_head *head);
/*
 * Holds gen's file; opens it when it has to. 0, -ENOENT (freed), -EAGAIN
 * (nowait), or what opening gave.
 */
int seg_file_use(struct seg_head *head, uint64_t gen, bool nowait,
		 struct seg_file **ret_file);
/* The one behind gen. */
int seg_file_use_next(struct seg_head *head, uint64_t gen,
		      struct seg_file **ret_file);
bool seg_file_sealed(struct seg_head *head, const struct seg_file *s);
void seg_file_leave(struct seg_head *head, struct seg_file *s);
/*
 * A second handle of one that the caller holds, past the page cache. 0, -EINVAL
 * (the file system has none), or what opening gave.
 */
int seg_file_direct(struct seg_head *head, struct seg_file *s,
		    struct vfs_file **ret_file);
int seg_pread_all(struct vfs_file *f, void *buf, size_t len, uint64_t off,
		  int flags);

/* --- seg_pool.c: where segments come from --- */
void seg_pool_adopt(struct seg_head *head);
void seg_pool_close(struct seg_head *head);
uint64_t seg_pool_run(void *arg); /* env_thread_fn of the filler */
/*
 * A file for segment gen with room for need bytes, its name durable: from
 * the pool, or made on the spot. Flusher only.
 */
int seg_pool_take(struct seg_head *head, uint64_t gen, uint64_t need,
		  struct vfs_file **ret_file, uint64_t *ret_size);

/* --- seg_direct.c: writes of large bodies past the page cache; flusher --- */
/* A second handle of cur for them; without one all goes through the cache. */
void seg_direct_open(struct seg_head *head);
void seg_direct_close(struct seg_head *head);
/* What was written past the cache is durable: so are the pages around it. */
void seg_direct_synced(struct seg_head *head);
/* Writes what head->run holds at run_off; not durable before the sync. */
int seg_write(struct seg_head *head);

/* --- seg_flush.c: the flusher --- */
uint64_t seg_flush_run(void *arg); /* env_thread_fn */
/* Stands in for it on the loop of a port: one flush at most, a quick one. */
uint64_t seg_flush_lent(void *arg);
/* Writes all that is pending, then a synced MARK. */
void seg_flush_close(struct seg_head *head);

/* --- seg_scan.c: a window on a file --- */
struct seg_scan {
	struct seg_head *head; /* borrowed */
	struct vfs_file *f;    /* borrowed */
	uint64_t gen, size, seed;
	uint8_t *buf;
	size_t cap, window;
	uint64_t win_off;
	size_t win_len;
	bool io_error; /* bytes that could not be read were taken as zeros */
	int err;       /* sticky: out of memory */
};
void seg_scan_init(struct seg_scan *s, struct seg_head *head, size_t window);
void seg_scan_fini(struct seg_scan *s);
void seg_scan_file(struct seg_scan *s, uint64_t gen, struct vfs_file *f,
		   uint64_t size);
/* Bytes [off, off + len), or NULL when the file is shorter. */
const uint8_t *seg_scan_at(struct seg_scan *s, uint64_t off, size_t len);
/* True when a valid header with a possible length is at off. */
bool seg_scan_header(struct seg_scan *s, uint64_t off, struct seg_hdr *ret);
/* The body of the record at off if it has its hash, else NULL. */
const uint8_t *seg_scan_body(struct seg_scan *s, const struct seg_hdr *h);
/* First valid header at or behind *off; moves *off there. */
bool seg_scan_next(struct seg_scan *s, uint64_t *off, struct seg_hdr *ret);

/* --- seg_recover.c --- */
int seg_recover(struct seg_head *head, struct errbuf *e);

#endif
