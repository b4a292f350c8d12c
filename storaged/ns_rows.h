#ifndef STORAGED_NS_ROWS_H
#define STORAGED_NS_ROWS_H
/*
 * Row keys and values of a shard (docs/DISK_FORMAT.md, "Rows"). Every key is
 * shard u16 | type u8 | rest, integers big-endian, so that byte order is the
 * order we walk in. Type 0x00 belongs to the store host.
 *
 * Every value begins with its format version; a row of another version, or
 * one that cannot be decoded, is -EIO and stops the process.
 */
#include <errno.h>
#include <sys/stat.h>

#include "common/base/be.h"
#include "common/wire/msgs.h"
#include "common/wire/wire.h"

enum {
	NS_ROW_VERSION = 1,
	NS_NAME_MAX = 1024, /* bytes of a component */
	NS_KEY_MAX = 1152,  /* bytes of a row key */
};

enum ns_row_type {
	NS_T_XATTR = 'A',   /* ino | name */
	NS_T_LINK = 'B',    /* ino | parent | row name */
	NS_T_PAGE = 'C',    /* body | page u32: parts of a composite */
	NS_T_DENT = 'D',    /* dir | row name */
	NS_T_SEGMENT = 'G', /* dir: its names that are elsewhere */
	NS_T_INODE = 'I',   /* ino */
	NS_T_SLICE = 'K',   /* slice u128 */
	NS_T_LOCK = 'L',    /* ino | ...: reserved */
	NS_T_UPLOAD = 'M',  /* root | key | 0x00 | upload u128 */
	NS_T_NEXT = 'N',    /* nothing */
	NS_T_PART = 'P',    /* upload u128 | number u32 */
	NS_T_QUEUE = 'Q',   /* kind u8 | id */
	NS_T_SLOT = 'R',    /* client u64 | slot u32 */
	NS_T_OPEN = 'S',    /* ino */
	NS_T_TXN = 'T',     /* kind u8 | transaction u128 */
	NS_T_USAGE = 'U',   /* project u64 */
	NS_T_VERSION = 'V', /* dir | row name | 0x00 | version u64: reserved */
	NS_T_REGION = 'X',  /* body | region u64 */
};

/* kind of a queue row: what is to be done */
enum ns_queue_kind {
	NS_Q_DEAD = 'D',    /* slice u128: its row says dead; until it is old */
	NS_Q_SESSION = 'E', /* session u64 that ended: its answer slots;
			     * value = 1 when they are gone */
	NS_Q_INODE = 'I',   /* ino u64: an inode without name: its bytes */
	NS_Q_ROOT = 'R',    /* ino u64: uploads of a removed bucket root */
	NS_Q_SLICE = 'S',   /* slice u128: no reference is left */
	NS_Q_UPLOAD = 'U',  /* upload u128: its parts; value = numbers bitmap */
};

/* kind of a transaction row */
enum ns_txn_kind {
	NS_TXN_OWN = 'C',  /* committed here: what other shards must do */
	NS_TXN_PART = 'P', /* of another shard: what it holds here */
};

/*
 * Transaction: coordinator u16 | its leader's term 48 bits | number u64. Of
 * one that is not known the coordinator can say, in a later term, that it will
 * never commit.
 */
#define NS_TXN_TERM_MASK ((UINT64_C(1) << 48) - 1)
static inline uint16_t ns_txn_shard(struct wire_u128 txn)
{
	return (uint16_t)(txn.hi >> 48);
}

/* The first inode counter given out; lower ones are reserved. */
#define NS_FIRST_INO 1024u

/* flags of an inode row */
enum {
	NS_INODE_ROOT = 1,       /* root of a bucket: has no name */
	NS_INODE_IMPLICIT = 2,   /* directory made by S3 only; never empty */
	NS_INODE_MARKER = 4,     /* directory holds the empty component */
	NS_INODE_USER = 8,       /* has the attribute row NS_XATTR_USER */
	NS_INODE_REGION0 = 16,   /* region 0 is in a region row */
	NS_INODE_COMPOSITE = 32, /* bytes below `base` come from parts */
	NS_INODE_PART = 64,      /* part of an upload or composite, nlink 0 */
	NS_INODE_OPEN = 128,     /* nlink 0, kept by an open row */
	NS_INODE_QUEUED = 256,   /* nlink 0, waits in a queue row */
	NS_INODE_SPLIT = 512,    /* directory has segments: a row G */
	NS_INODE_SEGMENT = 1024, /* of a directory, see below; has no name */
};

/* flags of a directory entry */
enum {
	NS_DENT_ASK = 1,  /* several links or foreign: ask the inode */
	NS_DENT_USER = 2, /* has user metadata */
};

/* Attribute names that begin with NUL are ours: no mount can name them. */
#define NS_XATTR_USER "\0user" /* kvs of S3 user metadata */
#define NS_XATTR_USER_LEN 5

/* mode: type bits only for files, everything for directories */
#define NS_ROW_DENT(F) F(u8, v) F(u64, ino) F(u64, generation) F(u32, mode) \
	F(u32, flags) F(u32, uid) F(u32, gid) F(u64, size) F(i64, mtime) \
	F(str, etag) F(u32, parts) F(str, sum_alg) F(str, sum_type)
/*
 * name: row name under `parent`, of the first link. body: id under which
 * region and page rows are kept (ino unless the bytes were swapped).
 * entries: rows in a directory. regions: number of region rows; pieces: of
 * extents in all regions.
 * base: bytes below it that no region covers come from the parts.
 * pages: u64 end offsets of the page rows. The stored ETag, sums and parts
 * describe data_version == etag_version only.
 * A segment: parent is its directory, whose names in [name, target) it holds;
 * never without entries.
 */
#define NS_ROW_INODE(F) F(u8, v) F(u32, mode) F(u32, uid) F(u32, gid) \
	F(u32, nlink) F(u32, flags) F(u64, size) F(u64, bytes) F(u64, entries) \
	F(u64, rdev) F(i64, atime) F(i64, mtime) F(i64, ctime) F(i64, btime) \
	F(u64, data_version) F(u64, change) F(u64, generation) F(u64, project) \
	F(u64, parent) F(str, name) F(u64, body) F(u32, regions) \
	F(u64, pieces) \
	F(u32, xattrs) F(u32, xattr_bytes) F(str, target) \
	F(str, etag) F(u64, etag_version) F(u32, parts) F(kvs, headers) \
	F(kvs, sums) F(str, sum_type) F(u64, base) F(blob, pages) \
	F(blob, extents)
#define NS_ROW_REGION(F) F(u8, v) F(blob, extents)
/* parts: (u64 ino, u64 len, u32 number, str etag, kvs sums) */
#define NS_ROW_PAGE(F) F(u8, v) F(list, parts)
#define NS_ROW_XATTR(F) F(u8, v) F(blob, value)
#define NS_ROW_LINK(F) F(u8, v)
/* refs: (inode body, region) lists that name the slice; dead: since, or 0 */
#define NS_ROW_SLICE(F) F(u8, v) F(u64, refs) F(i64, dead)
/* numbers: bitmap, bit n-1 of byte (n-1)/8 = part n is there */
#define NS_ROW_UPLOAD(F) F(u8, v) F(u64, ino) F(i64, created) F(str, owner) \
	F(kvs, headers) F(kvs, user) F(kvs, sums) F(str, sum_alg) \
	F(str, sum_type) F(blob, numbers)
#define NS_ROW_NEXT(F) F(u8, v) F(u64, next) F(u64, term)
#define NS_ROW_PART(F) F(u8, v) F(u64, ino) F(u64, size) F(u64, bytes) \
	F(i64, mtime) F(str, etag) F(kvs, sums)
#define NS_ROW_QUEUE(F) F(u8, v) F(i64, since) F(blob, what)
#define NS_ROW_SLOT(F) F(u8, v) F(u64, seq) F(u32, status) F(blob, payload)
#define NS_ROW_OPEN(F) F(u8, v) F(i64, since)
#define NS_ROW_USAGE(F) F(u8, v) F(u64, root) F(u64, bytes) F(u64, files) \
	F(u64, dirs)

/* parts: (u16 shard, list of ns_step) */
#define NS_ROW_OWN(F) F(u8, v) F(i64, since) F(list, parts)
/* locks: (u8 mode, str key) */
#define NS_ROW_PARTNER(F) F(u8, v) F(i64, since) F(list, locks)
/* segments: (u64 ino, str first, str end) in order; names outside of them are
 * entries of the directory itself */
#define NS_ROW_MAP(F) F(u8, v) F(list, segments)

#define NS_ROWS(M) \
	M(dent, NS_ROW_DENT) M(inode, NS_ROW_INODE) M(region, NS_ROW_REGION) \
	M(page, NS_ROW_PAGE) M(xattr, NS_ROW_XATTR) M(link, NS_ROW_LINK) \
	M(slice, NS_ROW_SLICE) M(upload, NS_ROW_UPLOAD) M(next, NS_ROW_NEXT) \
	M(part, NS_ROW_PART) M(queue, NS_ROW_QUEUE) M(slot, NS_ROW_SLOT) \
	M(open, NS_ROW_OPEN) M(usage, NS_ROW_USAGE) M(own, NS_ROW_OWN) \
	M(partner, NS_ROW_PARTNER) M(map, NS_ROW_MAP)

#define NS_ROW_DECL(name, FIELDS) \
	WIRE_STRUCT(ns_row, name, FIELDS) \
	/* Decodes and checks the version; 0 or -EIO. */ \
	int ns_row_##name##_load(struct ns_row_##name *row, \
				 struct wire_bytes value);
NS_ROWS(NS_ROW_DECL)

/*
 * What a shard does for a transaction of another one, in order. Names are row
 * names. The directory's side and the inode's side of an entry are two steps:
 * they may be of two shards.
 */
enum ns_step_op {
	NS_STEP_ENTER = 1,  /* dir gets an entry: ino, generation, mode */
	NS_STEP_LEAVE = 2,  /* dir loses it */
	NS_STEP_SETTLE = 3, /* the mount took from dir: see ns_dir_settle() */
	NS_STEP_LINK = 4,   /* ino gets the name (dir, name) */
	NS_STEP_UNLINK = 5, /* ino loses it; mode 1: may be open */
	NS_STEP_MOVE = 6,   /* ino has (dir2, name2) instead */
	/* segment ino of dir holds [name, name2), which is empty when it goes: */
	NS_STEP_SEGMENT = 7, /* at the segment; made with mode, gid, project */
	NS_STEP_MAP = 8,     /* at the directory */
};
/* quiet: nobody is to see it by times and versions */
#define NS_STEP(F) F(u8, op) F(u64, ino) F(u64, dir) F(str, name) \
	F(u64, dir2) F(str, name2) F(u64, generation) F(u32, mode) \
	F(u8, quiet) F(u32, gid) F(u64, project)
WIRE_STRUCT(ns, step, NS_STEP)

/* --- keys --- */

struct ns_key {
	uint8_t p[NS_KEY_MAX];
	size_t len;
};

/* Builds step by step; what does not fit is cut (callers check names). */
void ns_key_start(struct ns_key *k, uint16_t shard, uint8_t type);
void ns_key_u8(struct ns_key *k, uint8_t v);
void ns_key_u32(struct ns_key *k, uint32_t v);
void ns_key_u64(struct ns_key *k, uint64_t v);
void ns_key_u128(struct ns_key *k, struct wire_u128 v);
void ns_key_bytes(struct ns_key *k, struct wire_bytes b);
struct wire_bytes ns_key_get(const struct ns_key *k);
/* The least key behind every key that begins with k. */
void ns_key_end(struct ns_key *k);

/* The usual ones; each returns the bytes of k. */
struct wire_bytes ns_key_dent(struct ns_key *k, uint16_t shard, uint64_t dir,
			      struct wire_bytes row_name);
/* Type and one id: inode, open, usage. */
struct wire_bytes ns_key_id(struct ns_key *k, uint16_t shard, uint8_t type,
			    uint64_t id);
struct wire_bytes ns_key_link(struct ns_key *k, uint16_t shard, uint64_t ino,
			      uint64_t parent, struct wire_bytes row_name);
struct wire_bytes ns_key_region(struct ns_key *k, uint16_t shard,
				uint64_t body, uint64_t region);
struct wire_bytes ns_key_page(struct ns_key *k, uint16_t shard, uint64_t body,
			      uint32_t page);
struct wire_bytes ns_key_xattr(struct ns_key *k, uint16_t shard, uint64_t ino,
			       struct wire_bytes name);
struct wire_bytes ns_key_slice(struct ns_key *k, uint16_t shard,
			       struct wire_u128 slice);
struct wire_bytes ns_key_upload(struct ns_key *k, uint16_t shard,
				uint64_t root, struct wire_bytes key,
				struct wire_u128 upload);
struct wire_bytes ns_key_part(struct ns_key *k, uint16_t shard,
			      struct wire_u128 upload, uint32_t number);
struct wire_bytes ns_key_queue(struct ns_key *k, uint16_t shard, uint8_t kind,
			       uint64_t id);
struct wire_bytes ns_key_queue128(struct ns_key *k, uint16_t shard,
				  uint8_t kind, struct wire_u128 id);
struct wire_bytes ns_key_txn(struct ns_key *k, uint16_t shard, uint8_t kind,
			     struct wire_u128 txn);
/* An entry's key without the slash of a directory: both kinds are locked. */
static inline struct wire_bytes ns_key_both(struct wire_bytes key)
{
	if (key.len > 3 + 8 && key.p[2] == NS_T_DENT &&
	    key.p[key.len - 1] == '/')
		key.len--;
	return key;
}

/* Reading keys back; p must have the bytes. */
static inline uint64_t ns_be64(const uint8_t *p)
{
	return be64dec(p);
}
static inline struct wire_u128 ns_be128(const uint8_t *p)
{
	return (struct wire_u128){ ns_be64(p), ns_be64(p + 8) };
}
#define NS_KEY_REST 3 /* where the part behind shard and type begins */

/* The next of a partner's locks; its key is borrowed. 0 or -EIO. */
static inline int ns_partner_lock(struct wire_reader *r, uint8_t *ret_mode,
				  struct wire_bytes *ret_key)
{
	wire_get_u8(r, ret_mode);
	wire_get_str(r, ret_key);
	return r->err != 0 ? -EIO : 0;
}

/* True when a row name is a directory's. */
static inline bool ns_row_is_dir(struct wire_bytes row_name)
{
	return row_name.len > 0 && row_name.p[row_name.len - 1] == '/';
}

#endif
