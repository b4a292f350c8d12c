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
#define SEG_START_FIXED 64       /* bytes of START's body before the extra */
#define SEG_SIZE_DEFAULT (64ull << 20)
#define SEG_FIRST_DEFAULT (4ull << 20)
#define SEG_BULK_LARGE (1u << 20) /* bodies from here on are aligned */
#define SEG_BULK_ALIGN 4096u
#define SEG_MARK_DELAY_NS 10000000ull
#define SEG_POOL_MAX 8
#define SEG_POOL_STEP (1u << 20)
#define SEG_POOL_WORTH (128u << 10) /* bytes a flush; above no zeros */
#define SEG_STAGE (256u << 10)   /* headers and small bodies of one write */
#define SEG_COPY_MAX 4096u       /* bodies up to this are copied to it */
#define SEG_RUN_IOV 512
#define SEG_RUN_BYTES (32u << 20)
#define SEG_LEAF 256             /* two-level table of open files */
#define SEG_ROOT 4096
#define SEG_OPEN_MAX 4096        /* files kept open for reading */

/* A header as numbers; docs/DISK_FORMAT.md has the meaning. */
struct seg_hdr {
	uint8_t type, flags;
	uint16_t group;
	uint64_t len, gen, seq, epoch, durable, a, b;
	struct wire_u128 id, hash;
	uint64_t off, first;
};

/* Body of START before the extra bytes. */
struct seg_start {
	uint8_t store_id[16];
	uint64_t gen, seq, prev_gen, prev_seq, prev_end, size;
};

struct seg_port {
	struct seg_head *head;      /* NULL once the head is gone; lock */
	struct env *env;            /* borrowed */
	struct seg_port *next;      /* in head->ports; lock */
	struct seg_port *next_busy; /* flusher */
	struct seg_append *queue, **queue_tail;     /* loop */
	struct seg_append *pending, **pending_tail; /* lock */
	struct seg_append *batch;                   /* flusher */
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
	uint64_t filled;           /* pool thread while FILLING */
};

struct seg_leaf {
	struct vfs_file *file[SEG_LEAF]; /* atomic */
};

struct seg_head {
	struct env *env;         /* borrowed */
	struct vfs *vfs;         /* borrowed */
	struct seg_config config; /* dir is ours */
	char *dir;
	pthread_mutex_t lock;
	struct seg_port *ports;  /* lock */
	struct env_thread *flusher, *filler;

	/* open files; entries only appear until the head is freed */
	struct seg_leaf *root[SEG_ROOT]; /* atomic */
	unsigned n_open;                 /* lock */

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
	uint64_t prev_gen, prev_seq, prev_end; /* end of the segment before */
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

	struct seg_pool_slot pool[SEG_POOL_MAX]; /* lock */

	/* atomic */
	uint64_t last_seq;
	struct seg_stats stats;
};

/*
 * Tests only: leaves out one thing that the format needs, to prove that the
 * crash enumeration would notice.
 */
enum seg_mutation {
	SEG_MUTATE_NONE,
	SEG_MUTATE_HEADER_SUM, /* header checksums are not looked at */
	SEG_MUTATE_BODY_HASH,  /* nor the body's */
	SEG_MUTATE_ANY_SEQ,    /* any sequence counts and is the next */
	SEG_MUTATE_NO_SYNC,    /* acknowledges before fdatasync */
	SEG_MUTATE_NO_DIR_SYNC, /* a new segment's name is not synced */
	SEG_MUTATE_NO_REWRITE, /* recovery does not make durable what it found */
	SEG_MUTATE_ROT_IS_END, /* any bad record ends the log */
};
extern enum seg_mutation seg_mutation;

static inline uint64_t seg_pad8(uint64_t len)
{
	return (len + 7) & ~7ull;
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
bool seg_hash_eq(struct wire_u128 a, struct wire_u128 b);
void seg_start_encode(const struct seg_start *s, uint8_t *out);
/* False when len is too short. */
bool seg_start_decode(const uint8_t *p, size_t len, struct seg_start *ret);

/* --- seg_file.c: names and open files --- */
#define SEG_NAME_MAX 32
void seg_name(uint64_t gen, char name[SEG_NAME_MAX]);
/* True when name is that of a segment. */
bool seg_name_parse(const char *name, uint64_t *ret_gen);
/* "dir/name", or NULL. */
char *seg_path(const struct seg_head *head, const char *name);
int seg_open_named(struct seg_head *head, const char *name, int flags,
		   struct vfs_file **ret_file);
int seg_file_open(struct seg_head *head, uint64_t gen, int flags,
		  struct vfs_file **ret_file);
/*
 * Gives f to the table: closed when the head is freed. False when the table
 * is full; then f stays the caller's.
 */
bool seg_file_keep(struct seg_head *head, uint64_t gen, struct vfs_file *f);
struct vfs_file *seg_file_get(struct seg_head *head, uint64_t gen);
void seg_file_drop_all(struct seg_head *head);
/* Closes f unless the table has it. */
void seg_file_close(struct seg_head *head, uint64_t gen, struct vfs_file *f);
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

/* --- seg_direct.c: large bodies past the page cache; flusher --- */
/* A second handle of cur for them; without one all goes through the cache. */
void seg_direct_open(struct seg_head *head);
void seg_direct_close(struct seg_head *head);
/* Writes what head->run holds at run_off; not durable before the sync. */
int seg_write(struct seg_head *head);

/* --- seg_flush.c: the flusher --- */
uint64_t seg_flush_run(void *arg); /* env_thread_fn */
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
