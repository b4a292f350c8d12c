#ifndef STORAGED_NS_IMPL_H
#define STORAGED_NS_IMPL_H
/*
 * What the files of the namespace share. Private to storaged/ns*.c.
 *
 * One ns_ctx lives for one command or read. Inodes, usage, slice references
 * and the inode counter are collected in it and written by ns_ctx_flush(), so
 * an inode that a command touches twice is one struct and one row.
 *
 * Every step returns 0, or a positive RPC_STATUS_* that refuses the command,
 * or a negative errno that stops it: -EAGAIN (rows must be loaded, run again),
 * -ENOMEM, -EIO (a row that cannot be true). -ENOENT comes from ns_get_*()
 * alone and never leaves the function that called it.
 */
#include "storaged/ns.h"
#include "storaged/ns_locks.h"
#include "storaged/ns_rows.h"

struct ns_extent;
struct ns_extents;
struct ns_far;

/* --- the context --- */

struct ns_block;
struct ns_inode;

struct ns_usage {
	uint64_t project;
	int64_t bytes, files, dirs;
};

struct ns_kdelta {
	struct wire_u128 slice;
	int64_t refs;
};

struct ns_ctx {
	struct rows_txn *t;        /* borrowed */
	const struct ns_cmd *cmd;  /* NULL for reads */
	struct ns_answer *a;       /* borrowed */
	uint16_t shard;
	struct ns_inode *inodes;   /* loaded or made by this command */
	struct ns_usage usage[4];
	unsigned n_usage;
	struct ns_kdelta *k;
	unsigned n_k, cap_k;
	bool have_next;
	uint64_t next, first_next; /* inode counter: now, as read */
	struct buf scratch;        /* row values on their way out */
	struct wire_u128 data_hash; /* of the command's inline data */
	bool have_hash;
	const struct ns_locks *locks; /* borrowed; NULL: none */
	struct wire_u128 txn;      /* whose locks are ours; 0: nobody's */
	bool quiet;                /* no times and versions: names move only */
	bool blocked;              /* somebody else's are in the way: holder */
	struct wire_u128 holder;
	struct ns_far *far;        /* ns_far.c; NULL at first */
	struct rpc_error_rsp where; /* of ELSEWHERE */
	struct ns_block *blocks;   /* memory of this command */
	size_t used;
	uint64_t first[256];       /* the first of it */
};

void ns_ctx_init(struct ns_ctx *x, struct rows_txn *t, uint16_t shard,
		 const struct ns_cmd *cmd, struct ns_answer *a);
void ns_ctx_fini(struct ns_ctx *x);
/* Writes what was collected. */
int ns_ctx_flush(struct ns_ctx *x);
/* Memory until ns_ctx_fini(); NULL when there is none. Zeroed. */
void *ns_alloc(struct ns_ctx *x, size_t len);
/* A copy of b in that memory; p is NULL when there is none (and len > 0). */
struct wire_bytes ns_copy(struct ns_ctx *x, struct wire_bytes b);
/* A fresh inode number. */
int ns_next_ino(struct ns_ctx *x, uint64_t *ret_ino);
/* The version behind v; never one that was told of before. */
uint64_t ns_next_version(const struct ns_ctx *x, uint64_t v);
void ns_usage_add(struct ns_ctx *x, uint64_t project, int64_t bytes,
		  int64_t files, int64_t dirs);
/* Asks for a row early, so that one load serves several reads. */
void ns_want(struct ns_ctx *x, struct wire_bytes key);

/* Typed rows: 0, -ENOENT, -EAGAIN, -EIO; put: 0, -ENOMEM. */
#define NS_ROW_ACCESS(name, FIELDS) \
	int ns_get_##name(struct ns_ctx *x, struct wire_bytes key, \
			  struct ns_row_##name *ret); \
	int ns_put_##name(struct ns_ctx *x, struct wire_bytes key, \
			  struct ns_row_##name *row);
NS_ROWS(NS_ROW_ACCESS)

/* --- inodes (ns_inode.c) --- */

struct ns_region {
	struct ns_region *next;
	uint64_t region;
	bool dirty;
	bool row; /* a region row exists now */
	struct ns_extents *list;
};

struct ns_inode {
	struct ns_inode *next;
	uint64_t ino;
	struct ns_row_inode r;
	bool far;        /* of another shard: written by steps, not here */
	uint8_t held;    /* far: RPC_LOCK_* */
	bool fresh;      /* made by this command */
	bool touched;    /* change was raised by this command */
	bool dirty;
	bool dent_dirty; /* what its entry shows changed */
	bool gone;       /* row goes at flush */
	struct ns_region *regions;
};

enum { NS_LINK_MAX = 65000, NS_DEPTH_MAX = 10000, NS_KEY_BYTES = 1024 };
#define NS_SIZE_MAX (UINT64_C(1) << 62)
#define NS_ETAG_MAX 64

/*
 * Any inode; of another shard: held in that mode (RPC_LOCK_*), for commands
 * only, a read goes on ELSEWHERE. STALE when there is none.
 */
int ns_inode_hold(struct ns_ctx *x, uint64_t ino, uint8_t mode,
		  struct ns_inode **ret);
/* The same, to be changed in whatever way. */
static inline int ns_inode_load(struct ns_ctx *x, uint64_t ino,
				struct ns_inode **ret)
{
	return ns_inode_hold(x, ino, RPC_LOCK_ALL, ret);
}
/* One that a name or an open leads to; else STALE. */
int ns_inode_get(struct ns_ctx *x, uint64_t ino, struct ns_inode **ret);
/* A linked directory: NOENT, NOTDIR. */
int ns_dir_hold(struct ns_ctx *x, uint64_t ino, uint8_t mode,
		struct ns_inode **ret);
/* The same, to change its entries but not whether and where it is. */
static inline int ns_dir_get(struct ns_ctx *x, uint64_t ino,
			     struct ns_inode **ret)
{
	return ns_dir_hold(x, ino, RPC_LOCK_PIN, ret);
}
/* What must be there is not: of this shard's rows that cannot be true. */
static inline int ns_lost(const struct ns_ctx *x, uint64_t ino)
{
	return ino_shard(ino) == x->shard ? -EIO : RPC_STATUS_IO;
}
/* The inode an entry names: its absence is no answer. */
int ns_inode_of_dent(struct ns_ctx *x, const struct ns_row_dent *d,
		     struct ns_inode **ret);
/* A new inode without a name; ino 0 = a fresh number. */
int ns_inode_new(struct ns_ctx *x, uint64_t ino, uint32_t mode,
		 uint64_t project, struct ns_inode **ret);
/* Something changed: the next change (once per command), ctime = now. */
void ns_inode_touch(struct ns_ctx *x, struct ns_inode *ip);
void ns_inode_set_size(struct ns_ctx *x, struct ns_inode *ip, uint64_t size);
/* New bytes or a new owner: set-id bits go as on any file system. */
void ns_inode_kill_suid(struct ns_inode *ip);
/* The bytes changed. */
void ns_inode_bump(struct ns_ctx *x, struct ns_inode *ip);
static inline bool ns_is_dir(const struct ns_inode *ip)
{
	return S_ISDIR(ip->r.mode);
}
/*
 * The inode lost its last name: kept for openers when open, else its bytes
 * go now (few) or by the queue.
 */
int ns_inode_drop(struct ns_ctx *x, struct ns_inode *ip, bool open);
/* Takes an inode without name apart, or queues it. */
int ns_inode_purge(struct ns_ctx *x, struct ns_inode *ip);
/*
 * The same for one of many that a command ends: only a small inode is taken
 * apart at once.
 */
int ns_inode_let_go(struct ns_ctx *x, struct ns_inode *ip);
/* Moves the bytes to a queued orphan; ip is empty then. */
int ns_inode_detach(struct ns_ctx *x, struct ns_inode *ip);
/* Cuts or grows a regular file. */
int ns_inode_truncate(struct ns_ctx *x, struct ns_inode *ip, uint64_t size);
int ns_queue_put(struct ns_ctx *x, struct wire_bytes key,
		 struct wire_bytes what);

void ns_attr_of(uint64_t ino, const struct ns_row_inode *r,
		struct wire_attr *ret);
/*
 * Of one of another shard nothing: others change it as well. Nor of a segment,
 * which nobody shall see.
 */
static inline void ns_dir_attr(const struct ns_inode *dp,
			       struct wire_attr *ret)
{
	if (!dp->far && !(dp->r.flags & NS_INODE_SEGMENT))
		ns_attr_of(dp->ino, &dp->r, ret);
}
/* The ETag as S3 shows it: stored, or made from the data_version. */
struct wire_bytes ns_etag_of(uint64_t ino, const struct ns_row_inode *r,
			     char buf[NS_ETAG_MAX]);
/* True when the stored ETag, sums and parts are those of the bytes. */
static inline bool ns_etag_valid(const struct ns_row_inode *r)
{
	return r->etag.len > 0 && r->etag_version == r->data_version;
}
/* The entry row of an inode in a directory of its shard. */
void ns_dent_of(uint64_t ino, const struct ns_row_inode *r,
		struct ns_row_dent *ret, char etag[NS_ETAG_MAX]);
/* All that LIST says, whatever the entry itself holds. */
void ns_dent_full(uint64_t ino, const struct ns_row_inode *r,
		  struct ns_row_dent *ret, char etag[NS_ETAG_MAX]);
/* The same in one of another shard: nothing that may change. */
void ns_dent_far(uint64_t ino, uint64_t generation, uint32_t mode,
		 struct ns_row_dent *ret);

/* --- rows of other shards (ns_far.c) --- */

/*
 * A command that meets a row of another shard ends with FAR; the host has it
 * locked there and runs the command again with the row. What the command then
 * changes there it notes as steps, which are saved with the command and done
 * by the other shard afterwards, while its locks still hold.
 */
static inline bool ns_is_far(const struct ns_ctx *x, uint64_t ino)
{
	return ino_shard(ino) != x->shard;
}
/* The rows as they were answered. 0, -ENOENT, -EAGAIN (noted as needed). */
int ns_far_inode(struct ns_ctx *x, uint64_t ino, uint8_t mode,
		 struct ns_row_inode *ret, uint8_t *ret_held);
int ns_far_dent(struct ns_ctx *x, struct wire_bytes key, uint8_t mode,
		struct ns_row_dent *ret);
int ns_far_map(struct ns_ctx *x, struct wire_bytes key, uint8_t mode,
	       struct ns_row_map *ret);
/* Something is needed that the command did not bring. */
bool ns_far_needs(const struct ns_ctx *x);
int ns_far_needs_move(struct ns_ctx *x, struct wire_vec *ret);
int ns_far_step(struct ns_ctx *x, uint16_t shard, const struct ns_step *s);
/* Saves the steps; a->txn is set when there are any. */
int ns_far_save(struct ns_ctx *x);
void ns_far_fini(struct ns_ctx *x);
/* Does one of another shard's (ns_txn.c). */
int ns_step_run(struct ns_ctx *x, const struct ns_step *s);
/* How to read a list of them: 0, -EIO. */
int ns_step_next(struct wire_reader *r, struct ns_step *ret);

/* Does anybody hold anything of this shard? */
static inline bool ns_any_held(const struct ns_ctx *x)
{
	return x->locks != NULL && x->locks->n > 0;
}
/*
 * Is a row of this shard held by somebody else, in a way that is not
 * compatible with mode? Then the command ends LOCKED.
 */
static inline bool ns_is_held(struct ns_ctx *x, struct wire_bytes key,
			      uint8_t mode)
{
	const struct ns_lock *k;

	if (!ns_any_held(x))
		return false;
	k = ns_locks_find(x->locks, key, mode, x->txn);
	if (k == NULL)
		return false;
	x->blocked = true;
	x->holder = k->txn;
	return true;
}
/*
 * New directories below dir, of this shard, may belong into another one: then
 * that one goes on. Else 0.
 */
int ns_place(struct ns_ctx *x, uint64_t dir, uint64_t at, uint32_t skip);
/* The status ELSEWHERE: which shard goes on, with what (see RPC_WALK). */
int ns_elsewhere(struct ns_ctx *x, uint16_t shard, uint64_t at, uint32_t skip);
static inline int ns_elsewhere_ino(struct ns_ctx *x, uint64_t at,
				   uint32_t skip)
{
	return ns_elsewhere(x, ino_shard(at), at, skip);
}

/* --- names (ns_dir.c) --- */

/* INVAL ('/' or NUL within), NAMETOOLONG. */
int ns_name_check(struct wire_bytes name);
/* Row name of a component; p NULL when out of memory. */
struct wire_bytes ns_row_name(struct ns_ctx *x, struct wire_bytes name,
			      bool dir);
/* The entry; NOENT. */
int ns_dent_get(struct ns_ctx *x, uint64_t dir, struct wire_bytes row_name,
		struct ns_row_dent *ret);

/* Both rows of a name in a directory. */
struct ns_pair {
	struct wire_bytes name;
	bool has_file, has_dir;
	struct ns_row_dent file, dir;
};
/*
 * Of a name that is in a segment: ELSEWHERE when the command can go there
 * (NS_PAIR_GO, or it is a read), else *dir becomes the segment.
 */
enum { NS_PAIR_STAY, NS_PAIR_GO };
int ns_pair_get(struct ns_ctx *x, uint64_t *dir, struct wire_bytes name,
		int how, struct ns_pair *ret);
/* The row `how` means: NOENT; ret_row_name in command memory. */
int ns_pair_pick(struct ns_ctx *x, const struct ns_pair *p, uint8_t how,
		 struct ns_row_dent *ret, struct wire_bytes *ret_row_name);
/* May a new row be made under this name? EXIST when not. */
int ns_pair_free(const struct ns_pair *p, uint8_t how, bool dir);

/*
 * An entry has two sides. The directory's: its rows and counts.
 */
int ns_dir_enter(struct ns_ctx *x, struct ns_inode *dp,
		 struct wire_bytes row_name, struct ns_inode *ip);
int ns_dir_leave(struct ns_ctx *x, struct ns_inode *dp,
		 struct wire_bytes row_name, struct ns_inode *ip);
/*
 * A directory that others hold stays where it is, and its counts may lack what
 * they are about to enter: -EAGAIN then. Of another shard: held by us.
 */
int ns_dir_claim(struct ns_ctx *x, const struct ns_inode *ip);
/* The inode's: its names, of which the first stands in its own row. */
int ns_link_in(struct ns_ctx *x, struct ns_inode *ip, uint64_t dir,
	       struct wire_bytes row_name);
/* keep: should that be the last name, and the leader says it is open. */
int ns_link_out(struct ns_ctx *x, struct ns_inode *ip, uint64_t dir,
		struct wire_bytes row_name, bool keep);
int ns_link_move(struct ns_ctx *x, struct ns_inode *ip, uint64_t dir,
		 struct wire_bytes row_name, uint64_t dir2,
		 struct wire_bytes row_name2);
/* Enters ip under row_name, which must be free. */
int ns_entry_add(struct ns_ctx *x, struct ns_inode *dp,
		 struct wire_bytes row_name, struct ns_inode *ip);
/* Takes the name away; ip loses a link, and its bytes with the last one. */
int ns_entry_remove(struct ns_ctx *x, struct ns_inode *dp,
		    struct wire_bytes row_name, struct ns_inode *ip,
		    bool keep);
/* No rows but a marker without body and user metadata? */
int ns_dir_empty(struct ns_ctx *x, struct ns_inode *dp, bool *ret_empty);
/* Removes that marker, even from who holds it open: it has no bytes. */
int ns_dir_drop_marker(struct ns_ctx *x, struct ns_inode *dp);
/* S3 took the last row: removes implicit empty directories upward. */
int ns_dir_prune(struct ns_ctx *x, struct ns_inode *dp);
/* The mount took the last row: the directory is now explicit. */
int ns_dir_settle(struct ns_ctx *x, struct ns_inode *dp);

/* --- segments of huge directories (ns_segment.c, ns_split.c) --- */

/* One of a map. */
struct ns_range {
	uint64_t ino;
	struct wire_bytes first, end;
};

/*
 * May a directory of this shard, which is no segment, have segments? Of memory
 * alone: where names are missing all the time no row shall be asked for.
 */
static inline bool ns_may_be_split(const struct ns_ctx *x, uint64_t dir)
{
	return x->locks == NULL || ns_locks_is_split(x->locks, dir);
}
/*
 * An entry that dir does not have: the segment that it belongs into, or 0 (dir
 * may be of another shard). STALE: dir is a segment that
 * does not hold that name (any more).
 */
int ns_segment_find(struct ns_ctx *x, uint64_t dir, struct wire_bytes name,
		    uint64_t *ret_segment);
/*
 * Where a request goes on that came with `at`: dir, or at when that is the
 * segment of dir which holds the name, else 0: at is no segment (or gone).
 * ELSEWHERE: it does not hold the name any more.
 */
int ns_segment_at(struct ns_ctx *x, uint64_t dir, uint64_t at,
		  struct wire_bytes name, uint64_t *ret_dir);
static inline bool ns_segment_has(const struct ns_row_inode *r,
				  struct wire_bytes name)
{
	return r->flags & NS_INODE_SEGMENT &&
	       wire_bytes_cmp(name, r->name) >= 0 &&
	       wire_bytes_cmp(name, r->target) < 0;
}
/*
 * A segment without entries goes: *ret is its directory, which may go next.
 */
int ns_segment_drop(struct ns_ctx *x, struct ns_inode *sp,
		    struct ns_inode **ret);
/* A directory's mode or group changed: its segments have copies. */
int ns_segment_inherit(struct ns_ctx *x, struct ns_inode *dp);
/* One like that directory, for its parent and range to be set. */
int ns_segment_new(struct ns_ctx *x, uint64_t ino, const struct ns_inode *like,
		   struct ns_inode **ret);
/* What is known of it changed; of another shard by a step. */
int ns_segment_put(struct ns_ctx *x, struct ns_inode *sp);
/* Which names of a directory are in which segments. -ENOENT: in none. */
int ns_map_get(struct ns_ctx *x, uint64_t dir, uint8_t mode,
	       struct ns_row_map *ret);
/*
 * Puts g there, or (without end) takes it away; held ALL. more: how many
 * segments more these are then.
 */
int ns_map_put(struct ns_ctx *x, struct ns_inode *dp, const struct ns_range *g,
	       int more);
/* NS_STEP_SEGMENT and NS_STEP_MAP */
int ns_step_segment(struct ns_ctx *x, const struct ns_step *s);
int ns_step_map(struct ns_ctx *x, const struct ns_step *s);
/* 0, -ENOENT at the end (n counts down), -EIO. */
int ns_map_next(struct wire_reader *r, uint32_t *n, struct ns_range *ret);
/*
 * The first range of a map whose end lies behind name: that holds it or what
 * comes next. -ENOENT, -EIO.
 */
int ns_map_seek(struct wire_bytes map, struct wire_bytes name,
		struct ns_range *ret);
/* May a segment hold just these? Both rows of any name, or none. */
bool ns_range_closed(struct wire_bytes first, struct wire_bytes end);

/* --- bytes (ns_extent.c, ns_region.c, ns_file.c) --- */

enum {
	NS_EXT_CHUNKS = 1, /* id = slice, off in it */
	NS_EXT_VALUE = 2,  /* id = hash, (gen, at) in the log, off in it */
	NS_EXT_ZERO = 3,   /* zeros above the parts of a composite */
	NS_EXT_BYTES = 4,  /* in the row */
};
enum {
	NS_EXTENTS_IN_INODE = 16,  /* extents kept in the inode row */
	NS_EXTENTS_MAX = 20000,    /* per region: every page written alone */
	NS_INLINE_ROW = 256,       /* bytes of data kept in the row */
	NS_INLINE_MAX = 1 << 20,   /* bytes of data a command may carry */
	NS_REQ_EXTENTS = 4096,     /* extents of one command */
	NS_REQ_REGIONS = 2048,     /* regions of one command: 128 GiB */
	NS_PURGE_REGIONS = 64,     /* taken apart at once */
	NS_PURGE_XATTRS = 64,
	NS_PURGE_PIECES = 1024,
	NS_SMALL_PIECES = 16,      /* of one of many inodes */
	NS_PAGE_PARTS = 64,        /* parts in a page row */
	NS_PARTS_MAX = 10000,
};

struct ns_extent {
	uint64_t pos, len;
	uint8_t kind;
	struct wire_u128 id;
	uint64_t off;
	uint64_t gen, at;     /* VALUE: where the whole value begins */
	uint32_t vlen;        /* VALUE: its length */
	const uint8_t *bytes; /* BYTES: the first of them */
};

/* Sorted by pos, no overlaps. Memory is the context's. */
struct ns_extents {
	struct ns_extent *v;
	unsigned n, cap;
	uint64_t bytes; /* sum of lengths but ZERO */
};

/* Decodes; bytes borrow from blob. -EIO. */
int ns_extents_load(struct ns_ctx *x, struct wire_bytes blob,
		    struct ns_extents **ret);
/* local: with the store-local position of values. */
void ns_extents_save(const struct ns_extents *list, bool local,
		     struct buf *out);
/* The later one wins. keep_zero: ZERO stays as an extent, else it cuts. */
int ns_extents_put(struct ns_ctx *x, struct ns_extents *list,
		   const struct ns_extent *e, bool keep_zero);
/* Drops everything at and behind pos. */
int ns_extents_cut(struct ns_ctx *x, struct ns_extents *list, uint64_t pos);
/* The slices that n extents name, each once, in command memory. */
int ns_slices_of(struct ns_ctx *x, const struct ns_extent *v, unsigned n,
		 struct wire_u128 **ret, unsigned *ret_n);
bool ns_extents_has(const struct ns_extents *list, struct wire_u128 slice);

/*
 * A piece of the command's inline data becomes e's bytes: in the row, or where
 * the log has them. e's pos and len are the caller's. INVAL.
 */
int ns_extent_of_data(struct ns_ctx *x, struct wire_bytes data, uint64_t off,
		      uint64_t len, struct ns_extent *e);

/* The list of a region of an inode, for reading or (dirty) writing. */
int ns_region_get(struct ns_ctx *x, struct ns_inode *ip, uint64_t region,
		  struct ns_region **ret);
int ns_region_put(struct ns_ctx *x, struct ns_inode *ip,
		  struct ns_region *rg, const struct ns_extent *e);
/* Empties a region: its slices lose a reference. */
int ns_region_clear(struct ns_ctx *x, struct ns_inode *ip,
		    struct ns_region *rg);
int ns_region_cut(struct ns_ctx *x, struct ns_inode *ip, struct ns_region *rg,
		  uint64_t pos);
/* Writes dirty regions into the inode row or their own. */
int ns_regions_flush(struct ns_ctx *x, struct ns_inode *ip);

/* --- slices (ns_slice.c) --- */

/* References to a slice; written with the rest. */
int ns_kref_add(struct ns_ctx *x, struct wire_u128 slice, int64_t refs);
/* SLICE_GONE when one is dead that this command names anew. */
int ns_krefs_flush(struct ns_ctx *x);
/* The end of a tombstone, when the slice is old. */
int ns_work_dead(struct ns_ctx *x, struct wire_u128 slice);

/*
 * Puts a request's extents into ip, shifted by base. limit: no byte at or
 * behind it. ret_end: highest end.
 */
int ns_file_put(struct ns_ctx *x, struct ns_inode *ip,
		struct wire_bytes extents, struct wire_bytes data,
		uint64_t base, uint64_t limit, uint64_t *ret_end);
/* Extents of [off, off+len) for an answer; map: alone. See RPC_READ_REQ. */
int ns_file_read(struct ns_ctx *x, struct ns_inode *ip, uint64_t off,
		 uint64_t len, bool map, struct wire_vec *ret_extents,
		 uint64_t *ret_covered);
/* The part with that position (from 1) of a composite: its range. */
int ns_part_range(struct ns_ctx *x, struct ns_inode *ip, uint32_t part,
		  uint64_t *ret_off, uint64_t *ret_len);

/* --- objects (ns_object.c) --- */

/* Where a key leads. */
struct ns_walk {
	uint64_t project;         /* commands only */
	struct ns_inode *dir;     /* deepest directory that exists */
	struct wire_bytes rest;   /* of the key, below dir */
	uint32_t walked;          /* bytes of the key before that */
	struct wire_bytes leaf;   /* last component; may be empty */
	bool whole;               /* dir holds the leaf: rest == leaf */
	bool is_dir;              /* target is dir itself: empty, explicit */
	struct ns_inode *target;  /* what the key names, or NULL */
};
/* Key of an object or upload: INVAL (empty, NUL), NAMETOOLONG (longer than
 * max, when max is not 0). */
int ns_object_key_check(struct wire_bytes key, size_t max);
/* A bucket's root; NO_BUCKET. */
int ns_root_get(struct ns_ctx *x, uint64_t root, struct ns_inode **ret);
/* What a walk is asked for; at, skip: see RPC_WALK. */
struct ns_way {
	uint64_t root;
	struct wire_bytes key;
	size_t max;   /* bytes of the key; 0: any */
	uint64_t at;
	uint32_t skip;
	bool stay;    /* a command: looks into other shards, goes nowhere */
};
#define NS_WAY(m, max_) \
	(&(struct ns_way){ .root = (m)->root, .key = (m)->key, .max = (max_), \
			   .at = (m)->at, .skip = (m)->skip })
/*
 * NO_BUCKET, INVAL, NAMETOOLONG; ELSEWHERE when the way leaves the shard; a
 * missing key is 0 with target NULL.
 */
int ns_walk(struct ns_ctx *x, const struct ns_way *way, struct ns_walk *ret);
/* Who owns what S3 makes. */
struct ns_owner {
	uint32_t uid, gid, umask;
};
/* Enters ip, made for the key, in place of what is there. */
int ns_publish(struct ns_ctx *x, struct ns_walk *w, struct ns_inode *ip,
	       const struct ns_owner *o);
/* PUT's and COMPLETE's metadata into a new inode. */
struct ns_meta {
	struct wire_bytes headers, user, sums, sum_type;
};
int ns_meta_put(struct ns_ctx *x, struct ns_inode *ip,
		const struct ns_meta *m);
int ns_put_answer(struct ns_ctx *x, struct ns_inode *ip);
/* A PUT with chunks is made where its slices are counted: true, and there. */
bool ns_put_home(const struct rpc_put *m, uint16_t *ret_shard);

/* S3 user metadata of an inode, borrowed; empty when it has none. */
int ns_user_get(struct ns_ctx *x, struct ns_inode *ip,
		struct wire_bytes *ret);

/* --- conditions (ns_cond.c) --- */

struct ns_cond {
	struct wire_bytes if_match, if_none_match;
	int64_t if_modified_since, if_unmodified_since;
};
#define NS_COND(m) \
	(&(struct ns_cond){ (m)->if_match, (m)->if_none_match, \
			    (m)->if_modified_since, \
			    (m)->if_unmodified_since })
/* ip may be NULL: nothing is there. NOENT, PRECONDITION, NOT_MODIFIED. */
int ns_cond_write(const struct ns_cond *c, const struct ns_inode *ip);
int ns_cond_read(const struct ns_cond *c, const struct ns_inode *ip);

/* --- checksums of multipart objects (ns_sum.c) --- */

enum ns_sum_alg {
	NS_SUM_NONE, /* empty or unknown name */
	NS_SUM_CRC32, NS_SUM_CRC32C, NS_SUM_CRC64NVME, NS_SUM_SHA1,
	NS_SUM_SHA256,
};
/* By name, in either case. */
enum ns_sum_alg ns_sum_find(struct wire_bytes name);
struct wire_bytes ns_sum_name(enum ns_sum_alg alg); /* lower case */

/* The checksum of a whole from those of its parts, given in order. */
struct ns_sum;
/* full: of all bytes (CRCs only); else a checksum of checksums. INVAL. */
int ns_sum_new(struct ns_ctx *x, enum ns_sum_alg alg, bool full,
	       struct ns_sum **ret);
/* One part: base64 checksum of its len bytes. INVALID_PART when malformed. */
int ns_sum_add(struct ns_ctx *x, struct ns_sum *s, struct wire_bytes base64,
	       uint64_t len);
/* base64, "-N" behind it when composite; in command memory. */
int ns_sum_end(struct ns_ctx *x, struct ns_sum *s, struct wire_bytes *ret);
/* "MD5 of MD5s" of binary digests: hex-N in command memory. */
int ns_sum_etag(struct ns_ctx *x, const uint8_t *md5s, unsigned parts,
		struct wire_bytes *ret);
/* 32 hex digits? Their 16 bytes into ret. */
bool ns_hex_digest(struct wire_bytes hex, uint8_t ret[16]);

/* --- answer slots (ns_slot.c) --- */

struct ns_slot {
	uint64_t client;
	uint32_t slot;
	uint64_t seq;
	bool again; /* RPC_SEQ_AGAIN */
};
/* 0 with *ret_done when a was set from the slot. BADMSG. */
int ns_slot_find(struct ns_ctx *x, struct ns_slot *s, bool *ret_done);
int ns_slot_save(struct ns_ctx *x, const struct ns_slot *s);

/* --- sessions (ns_session.c) --- */

/* SESSION when it has ended. */
int ns_session_check(struct ns_ctx *x, uint64_t session);
/* What its queue row asks for; *ret_left: more of it. */
int ns_work_session(struct ns_ctx *x, uint64_t session,
		    struct ns_row_queue *q, bool *ret_left);

/* --- operations: one function per message of kind W or R --- */

#define NS_OPS_W(M) \
	M(setattr) M(mknod) M(close) M(unlink) M(rename) M(link) M(setxattr) \
	M(removexattr) M(write) M(put) M(delete) M(mpu_create) \
	M(mpu_part) M(mpu_complete) M(mpu_abort) M(root_create) M(root_remove) \
	M(queue_work) M(slice_reap) M(slice_done) M(slice_drop) M(session_end) \
	M(merge) M(txn_lock) M(txn_end) M(txn_forget) M(dir_segment) \
	M(dir_split)
#define NS_OPS_R(M) \
	M(lookup) M(getattr) M(open) M(readlink) M(getxattr) M(listxattr) \
	M(parent) M(statfs) M(read) M(object) M(prepare) M(mpu_get) M(usage) \
	M(whereis) M(summary) M(txn_ask)
#define NS_OPS_SCAN(M) \
	M(list) M(readdir) M(mpu_list) M(mpu_parts) M(check_rows) M(slice_ask)

#define NS_OP_DECL(name) \
	int ns_do_##name(struct ns_ctx *x, const struct rpc_##name *m);
NS_OPS_W(NS_OP_DECL)
NS_OPS_R(NS_OP_DECL)

#define NS_SCAN_DECL(name) \
	int ns_scan_##name(struct rows_back *back, uint16_t shard, \
			   const struct rpc_##name *m, struct ns_answer *a);
NS_OPS_SCAN(NS_SCAN_DECL)

/* Encodes an answer; 0 or -ENOMEM. */
#define NS_ANSWER(x, name, rsp) rpc_##name##_encode((rsp), &(x)->a->payload)
int ns_answer_attr(struct ns_ctx *x, const struct ns_inode *ip);
/* attr_rsp and empty_rsp */
int ns_answer_empty(struct ns_ctx *x);
/* Adds a body part. */
int ns_answer_value(struct ns_answer *a, const struct ns_value *v);

#endif
