#ifndef COMMON_WIRE_MSGS_H
#define COMMON_WIRE_MSGS_H
/*
 * Every message between processes, once. Struct, encode, decode, tag, name,
 * dispatch row, fuzz target and docs/PROTOCOL.md come from this table.
 *
 * Field order is wire order; only append; a tag is never reused. Replies have
 * no tag: they answer a request id, carry a status in the frame header and,
 * when it is OK, the rsp payload (else an `error` payload).
 * Mutations begin with RPC_MUT: (client, slot, seq) makes them idempotent.
 *
 * Directory entries are named by *raw component* plus kind. A directory `d`
 * is row "d/", a file `d` is row "d"; both may exist (S3). The mount decodes
 * its escapes (DESIGN section 10) before it sends a name, and says which
 * row it means with RPC_NAME_*.
 */
#include "common/wire/wire.h"

/* how = */
enum {
	RPC_NAME_ANY = 0,  /* the directory if there is one, else the file */
	RPC_NAME_FILE = 1, /* the row without slash */
	RPC_NAME_DIR = 2,  /* the row with slash */
};

/*
 * RPC_SEQ_AGAIN in seq: other tries of this request may still be under way, so
 * an answer of ELSEWHERE must be kept in the slot too.
 */
#define RPC_MUT(F) F(u64, client) F(u32, slot) F(u64, seq)
#define RPC_SEQ_AGAIN (UINT64_C(1) << 63)

/*
 * Where a request goes on that a shard could not end (status ELSEWHERE): send
 * it to `shard` with these two (the same two fields of the error). at: the
 * inode that was reached, skip: what of the key leads there, in bytes. LOOKUP:
 * at is the inode found, skip its kind, + 256 when it shadows a file. Of a
 * request with a name at may also be the segment of the directory that the name
 * belongs into (docs/decisions/0034-huge-directories.md). Both 0: from the
 * beginning.
 */
#define RPC_WALK(F) F(u64, at) F(u32, skip)

#define RPC_ERROR_RSP(F) F(u64, hint) F(str, text) F(u16, shard) RPC_WALK(F)
#define RPC_EMPTY(F)
#define RPC_MUT_ONLY(F) RPC_MUT(F)

/* --- any peer --- */
/* role: "gateway" "mount" "storage" "manager" "admin" */
#define RPC_HELLO_REQ(F) F(u32, proto) F(str, role) F(u128, store) F(str, version) \
	F(u64, link) F(u8, channel)
/*
 * The two connections of a link say the same random link number; its low 8
 * bits, modulo the server's loops, name the one that serves it. channel =
 */
enum { RPC_CHANNEL_SMALL = 0, RPC_CHANNEL_BODY = 1 };
/* loops: shard s is served by loop s % loops; 0: not told */
#define RPC_HELLO_RSP(F) F(u32, proto) F(u128, cluster) F(u128, store) F(u64, epoch) \
	F(u32, loops)

/* --- managers --- */
/* Long poll: answers when version > have or after wait_ms. Empty when not newer. */
#define RPC_CLUSTER_GET_REQ(F) F(u64, have) F(u32, wait_ms)
#define RPC_CLUSTER_GET_RSP(F) F(u64, version) F(blob, cluster)
#define RPC_SESSION_OPEN_REQ(F) RPC_MUT(F) F(str, kind) F(str, host)
#define RPC_SESSION_OPEN_RSP(F) F(u64, session) F(u64, now_sec) F(u32, lease_ms)
#define RPC_SESSION_RENEW_REQ(F) F(u64, session)
#define RPC_SESSION_RENEW_RSP(F) F(u32, lease_ms)
/* sessions: u64 each; over: a byte for each, 1 = expired or unknown for long */
#define RPC_SESSION_CHECK_REQ(F) F(blob, sessions)
#define RPC_SESSION_CHECK_RSP(F) F(blob, over)
#define RPC_BUCKET_CREATE_REQ(F) RPC_MUT(F) F(str, name) F(str, owner) \
	F(u32, uid) F(u32, gid) F(u32, umask)
#define RPC_BUCKET_CREATE_RSP(F) F(u64, version)
#define RPC_BUCKET_DELETE_REQ(F) RPC_MUT(F) F(str, name) F(str, owner)
#define RPC_BUCKET_DELETE_RSP(F) F(u64, version)
/* addr empty: only asks, as one that recounts does; NOENT: no store of theirs */
#define RPC_STORE_JOIN_REQ(F) F(u128, store) F(str, addr) F(str, host) F(u64, total) F(u64, avail)
#define RPC_STORE_JOIN_RSP(F) F(u64, raft_id) F(u64, epoch) F(blob, shards) /* u16 each */
/* heads: (str name, u64 segments, u64 bytes on the disk, u64 alive); counts: u64 each (counts.h) */
#define RPC_STORE_BEAT_REQ(F) F(u128, store) F(u64, total) F(u64, avail) F(u64, epoch) \
	F(list, heads) F(list, counts)
#define RPC_STORE_BEAT_RSP(F) F(u64, epoch)

/* --- namespace: attributes and names (mount) --- */
/* STALE when dir is no directory any more */
#define RPC_LOOKUP_REQ(F) F(u64, dir) F(str, name) F(u8, how) RPC_WALK(F)
/* kind: the row found, RPC_NAME_FILE or _DIR; shadowed: a file row is hidden by it */
#define RPC_LOOKUP_RSP(F) F(attr, attr) F(u8, kind) F(u8, shadowed)
#define RPC_GETATTR_REQ(F) F(u64, ino)
#define RPC_ATTR_RSP(F) F(attr, attr)
#define RPC_SETATTR_REQ(F) RPC_MUT(F) F(u64, ino) F(u32, valid) F(u32, mode) \
	F(u32, uid) F(u32, gid) F(u64, size) F(i64, atime) F(i64, mtime) F(i64, ctime)
/* valid = */
enum {
	RPC_SET_MODE = 1, RPC_SET_UID = 2, RPC_SET_GID = 4, RPC_SET_SIZE = 8,
	RPC_SET_ATIME = 16, RPC_SET_MTIME = 32, RPC_SET_ATIME_NOW = 64,
	RPC_SET_MTIME_NOW = 128, RPC_SET_KILL_SUID = 256, RPC_SET_CTIME = 512,
};
/* mode carries S_IFMT: file, dir, symlink, fifo, socket, device */
#define RPC_MKNOD_REQ(F) RPC_MUT(F) F(u64, dir) F(str, name) F(u32, mode) \
	F(u32, uid) F(u32, gid) F(u64, rdev) F(str, target) F(u32, flags) F(u64, session) \
	F(u8, how) RPC_WALK(F) F(u64, number)
enum {
	RPC_MKNOD_EXCL = 1, /* EEXIST when there; else the existing one is returned */
	RPC_MKNOD_OPEN = 2, /* register an open for `session` as OPEN does, with `number` */
};
/* dir, here and below: the directory behind it; ino 0: not known */
#define RPC_MKNOD_RSP(F) F(attr, attr) F(u8, created) F(attr, dir)
/*
 * STALE when the name does not lead to ino; parent 0 or held (this session has
 * the inode open): the name is not checked. A session has one open of an inode
 * through OPEN and MKNOD, however often it says so (also to tell a new leader)
 * and however many handles it has; one CLOSE ends it, if its number is above
 * those of all of them: a client's numbers rise from request to request, so a
 * try of a CLOSE that comes late does not end what was opened behind it.
 * A file of no more than `want` bytes, whose data_version is not `version`, comes
 * whole with the answer, as READ gives it (covered 0: it does not). A client that
 * is told IO asks without: only the bytes may be bad.
 */
#define RPC_OPEN_REQ(F) F(u64, ino) F(u64, session) F(u64, parent) F(str, name) \
	F(u8, how) F(u64, change) F(u8, held) F(u32, want) F(u64, version) \
	RPC_WALK(F) F(u64, number)
/* object: ends the open that an OBJECT with that number made */
#define RPC_CLOSE_REQ(F) RPC_MUT(F) F(u64, ino) F(u64, session) F(u64, number) \
	F(u8, object)
#define RPC_UNLINK_REQ(F) RPC_MUT(F) F(u64, dir) F(str, name) F(u8, how) F(u8, rmdir) \
	RPC_WALK(F)
#define RPC_UNLINK_RSP(F) F(u64, ino) F(u32, nlink) F(attr, dir)
#define RPC_RENAME_REQ(F) RPC_MUT(F) F(u64, dir) F(str, name) F(u8, how) \
	F(u64, dir2) F(str, name2) F(u8, how2) F(u32, flags) RPC_WALK(F)
/* EXCHANGE: both names must be there; each gets what the other had */
enum { RPC_RENAME_NOREPLACE = 1, RPC_RENAME_EXCHANGE = 2 };
/* replaced: the inode that lost its name, or got the old one; or 0 */
#define RPC_RENAME_RSP(F) F(attr, attr) F(u64, replaced) F(attr, dir) F(attr, dir2)
#define RPC_LINK_REQ(F) RPC_MUT(F) F(u64, ino) F(u64, dir) F(str, name)
#define RPC_READLINK_REQ(F) F(u64, ino)
#define RPC_READLINK_RSP(F) F(str, target)
#define RPC_SETXATTR_REQ(F) RPC_MUT(F) F(u64, ino) F(str, name) F(blob, value) F(u32, flags)
enum { RPC_XATTR_CREATE = 1, RPC_XATTR_REPLACE = 2 };
#define RPC_GETXATTR_REQ(F) F(u64, ino) F(str, name)
#define RPC_GETXATTR_RSP(F) F(blob, value)
#define RPC_LISTXATTR_REQ(F) F(u64, ino)
#define RPC_LISTXATTR_RSP(F) F(blob, names) /* NUL-terminated names */
#define RPC_REMOVEXATTR_REQ(F) RPC_MUT(F) F(u64, ino) F(str, name)
/*
 * after: raw row name (with slash for directories) to go on behind; plus: attrs
 * wanted. Of a directory in segments: at, the one whose names are wanted, 0 or
 * dir itself for those that are in none; from: a second bound, inclusive.
 */
#define RPC_READDIR_REQ(F) F(u64, dir) F(str, after) F(u32, max) F(u8, plus) \
	F(u64, at) F(str, from)
/*
 * entries: (str row name, u64 ino, u32 mode, u8 shadowed, attr when plus); the
 * attributes of an inode of another shard have ino 0: ask it. at, from: the
 * client asks there next (no entries of its own between).
 */
#define RPC_READDIR_RSP(F) F(list, entries) F(u8, eof) F(u64, at) F(str, from)
/*
 * Parent and name of a directory inode, for ".." and getparent. at: the parent,
 * to be asked whether it is a segment of one; then the name is not told.
 */
#define RPC_PARENT_REQ(F) F(u64, ino) RPC_WALK(F)
#define RPC_PARENT_RSP(F) F(u64, parent) F(str, name)
#define RPC_STATFS_REQ(F) F(u64, ino)
#define RPC_STATFS_RSP(F) F(u64, total) F(u64, avail) F(u64, files)

/* --- bytes of an inode (mount, and gateway beyond the first region) --- */
/*
 * Extents that overlap [off, off+len), at most one region's worth of rows.
 * version 0 = any; else VERSION_GONE when data_version differs.
 * Inline bytes follow as the reply's body. covered: the reply is complete for
 * [off, off+covered).
 */
#define RPC_READ_REQ(F) F(u64, ino) F(u64, off) F(u64, len) F(u64, version) \
	F(u32, flags)
/* MAP: extents alone, without the bytes of inline ones */
enum { RPC_READ_MAP = 1 };
#define RPC_READ_RSP(F) F(attr, attr) F(extents, extents) F(u64, covered)
/*
 * Commits extents (in order; the last one wins). inline data of the extents
 * is `data`. Chunks are durable before this is sent. APPEND: extents are
 * relative to the end of the file; pos of the first byte is answered.
 * if_version != 0: refused with PRECONDITION when data_version differs
 * (rewriting of long extent lists).
 */
#define RPC_WRITE_REQ(F) RPC_MUT(F) F(u64, ino) F(u64, session) F(u32, flags) \
	F(i64, mtime) F(extents, extents) F(blob, data) F(u64, epoch) F(u64, if_version)
enum {
	RPC_WRITE_APPEND = 1,
	RPC_WRITE_KEEP_TIME = 2, /* a rewrite of the same bytes: no version change */
	RPC_WRITE_KILL_SUID = 4,
};
#define RPC_WRITE_RSP(F) F(attr, attr) F(u64, pos)

/*
 * Ends when all that the shard of ino has acknowledged is durable, which with
 * durability memory it need not be.
 */
#define RPC_SYNC_REQ(F) F(u64, ino)

/* --- objects (gateway): root = inode of the bucket's root, key = raw key --- */
/*
 * conditions: ETag texts, comma-separated, quotes optional, "*" = any, empty =
 * none; times in ns since 1970 (compared by the second), 0 = none
 */
#define RPC_COND(F) F(str, if_match) F(str, if_none_match) \
	F(i64, if_modified_since) F(i64, if_unmodified_since)
/*
 * HEAD and GET in one: resolves key, checks conditions, answers metadata and,
 * when len > 0, the extents of [off, off+len) as READ does.
 * suffix: off is ignored, the last len bytes are meant. part: 0 or number.
 * A range behind the end answers len 0.
 * OBJECT_OPEN: register a soft open for `session` (long GETs), one for each `number`.
 */
#define RPC_OBJECT_REQ(F) F(u64, root) F(str, key) RPC_COND(F) F(u64, off) F(u64, len) \
	F(u8, suffix) F(u32, flags) F(u64, session) F(u32, part) RPC_WALK(F) F(u64, number)
enum { RPC_OBJECT_OPEN = 1, RPC_OBJECT_WANT_TAGS = 2 };
/*
 * headers: (lower-case name, value) of stored standard headers;
 * user: x-amz-meta-* without the prefix; sums: ("crc32" ..., base64),
 * sum_type: "FULL_OBJECT" or "COMPOSITE" or empty; parts: number or 0.
 * etag without quotes. special: "", "dir", "symlink", "fifo", ...
 */
#define RPC_OBJECT_RSP(F) F(attr, attr) F(str, etag) F(kvs, headers) F(kvs, user) \
	F(kvs, sums) F(str, sum_type) F(u32, parts) F(str, special) \
	F(u64, off) F(u64, len) F(extents, extents) F(u64, covered)
/* What PUT, CREATE UPLOAD store beside the bytes */
#define RPC_META(F) F(kvs, headers) F(kvs, user) F(kvs, sums) F(str, sum_type)
/* Early look at a PUT: conditions as they are now (no record); home = shard for slice ids */
#define RPC_PREPARE_REQ(F) F(u64, root) F(str, key) RPC_COND(F) RPC_WALK(F)
#define RPC_PREPARE_RSP(F) F(u16, home)
/* extents cover [0, size); data = inline bytes; one record swaps the entry */
#define RPC_PUT_REQ(F) RPC_MUT(F) F(u64, root) F(str, key) RPC_COND(F) \
	F(u32, uid) F(u32, gid) F(u32, umask) F(u64, size) F(str, etag) RPC_META(F) \
	F(extents, extents) F(blob, data) F(u64, epoch) RPC_WALK(F)
/* sums: of a completed upload, made from those of its parts */
#define RPC_PUT_RSP(F) F(attr, attr) F(str, etag) F(kvs, sums) F(str, sum_type)
#define RPC_DELETE_REQ(F) RPC_MUT(F) F(u64, root) F(str, key) RPC_COND(F) RPC_WALK(F)
/*
 * Keys of `root` behind `after` (and >= prefix) in byte order. delimiter: any
 * string. entries: (str key, u8 is_prefix, u64 size, i64 mtime, str etag,
 * str sum_alg, str sum_type). next: go on with after = next.
 *
 * Over shards: from, a second bound, is inclusive. at: only what lies below
 * this directory, whose keys begin with `path` (what the client asks next when
 * an answer says at, path: the walk came to a directory of another shard; with
 * at 0 when it says below: the walk under `at` has ended). An answer that says
 * `from` with at goes on there at that key, which is what part = 1 says: at is
 * a segment, or what holds the next names behind one. below = 2: at is no more
 * what it was, from the root again, from the same key.
 */
#define RPC_LIST_REQ(F) F(u64, root) F(str, prefix) F(str, after) F(str, delimiter) F(u32, max) \
	F(str, from) F(u64, at) F(str, path) F(u8, part)
/*
 * is_prefix of an entry may be 2: size is an inode of another shard, ask it
 * (SUMMARY); asks: how many of these there are.
 */
#define RPC_LIST_RSP(F) F(list, entries) F(u8, truncated) F(str, next) \
	F(u64, at) F(str, path) F(u8, below) F(u32, asks) F(str, from)
/* What LIST says of files: inos u64 each, of one shard; gone ones have size UINT64_MAX */
#define RPC_SUMMARY_REQ(F) F(list, inos)
/* summaries: (u64 ino, u64 size, i64 mtime, str etag, str sum_alg, str sum_type) */
#define RPC_SUMMARY_RSP(F) F(list, summaries)

/* --- multipart; the upload lives in the bucket root's shard for now --- */
#define RPC_MPU_CREATE_REQ(F) RPC_MUT(F) F(u64, root) F(str, key) RPC_META(F) \
	F(str, owner) F(str, sum_alg)
#define RPC_MPU_CREATE_RSP(F) F(u128, upload) F(u16, home)
#define RPC_MPU_PART_REQ(F) RPC_MUT(F) F(u64, root) F(str, key) F(u128, upload) F(u32, part) \
	F(u64, size) F(str, etag) F(kvs, sums) F(extents, extents) F(blob, data) F(u64, epoch)
/* Look before a part is streamed: NO_UPLOAD early; answers what CREATE stored */
#define RPC_MPU_GET_REQ(F) F(u64, root) F(str, key) F(u128, upload)
#define RPC_MPU_GET_RSP(F) F(str, sum_alg) F(str, sum_type) F(u16, home)
/* parts: (u32 number, str etag, kvs sums) as the client lists them */
#define RPC_MPU_COMPLETE_REQ(F) RPC_MUT(F) F(u64, root) F(str, key) F(u128, upload) \
	RPC_COND(F) F(u32, uid) F(u32, gid) F(u32, umask) F(list, parts) F(kvs, sums) \
	F(str, sum_type) F(u64, min_part)
#define RPC_MPU_ABORT_REQ(F) RPC_MUT(F) F(u64, root) F(str, key) F(u128, upload)
#define RPC_MPU_PARTS_REQ(F) F(u64, root) F(str, key) F(u128, upload) F(u32, after) F(u32, max)
/* parts: (u32 number, u64 size, i64 mtime, str etag, kvs sums) */
#define RPC_MPU_PARTS_RSP(F) F(list, parts) F(u8, truncated) F(u32, next) \
	F(str, sum_alg) F(str, sum_type)
#define RPC_MPU_LIST_REQ(F) F(u64, root) F(str, prefix) F(str, key_after) \
	F(u128, upload_after) F(u32, max)
/* uploads: (str key, u128 upload, i64 created, str sum_alg, str sum_type) */
#define RPC_MPU_LIST_RSP(F) F(list, uploads) F(u8, truncated) F(str, next_key) \
	F(u128, next_upload)

/* --- bucket roots (managers) --- */
#define RPC_ROOT_CREATE_REQ(F) RPC_MUT(F) F(u64, bucket) F(u32, uid) F(u32, gid) F(u32, mode)
#define RPC_ROOT_CREATE_RSP(F) F(u64, ino)
/*
 * NOTEMPTY when anything but empty directories is left; uploads are aborted.
 * at: of these only the directory `at`, which is in the way of the rest.
 */
#define RPC_ROOT_REMOVE_REQ(F) RPC_MUT(F) F(u64, ino) RPC_WALK(F)
/* bucket: when ino is of another shard, what this one has of the bucket */
#define RPC_USAGE_REQ(F) F(u64, ino) F(u64, bucket)
#define RPC_USAGE_RSP(F) F(u64, bytes) F(u64, files) F(u64, dirs)
/*
 * These sessions (u64 each) have expired: their opens are closed, inodes
 * without a name that only they held go, and so do their answer slots. What
 * they still send is refused with SESSION.
 */
#define RPC_SESSION_END_REQ(F) RPC_MUT(F) F(blob, sessions)
/* where: row for whereis: shard, inode, extents */
#define RPC_WHEREIS_REQ(F) F(u64, root) F(str, key) RPC_WALK(F)
#define RPC_WHEREIS_RSP(F) F(u16, shard) F(attr, attr) F(str, etag) F(u32, extents) F(u32, inlined)

/* --- what the leader's host asks of its own shard --- */
/*
 * Does a bounded piece of what a queue row asks for (docs/DISK_FORMAT.md,
 * "References and the queue"). left: there is more to do now, ask again. A row
 * that is not there is done.
 */
#define RPC_QUEUE_WORK_REQ(F) RPC_MUT(F) F(u8, kind) F(u128, id)
#define RPC_QUEUE_WORK_RSP(F) F(u8, left)
/*
 * May the chunks of these slices go? dead: a byte for each; 1: nothing names
 * it, and from now on no commit can. A slice that lost its last reference
 * after `before` (ns) is not given up yet: readers may have its extents.
 */
#define RPC_SLICE_REAP_REQ(F) RPC_MUT(F) F(list, slices) /* u128 each */ \
	F(i64, before)
#define RPC_SLICE_REAP_RSP(F) F(blob, dead)
/* No store has chunks of these dead slices any more. */
#define RPC_SLICE_DONE_REQ(F) RPC_MUT(F) F(list, slices)
/*
 * Of whoever wrote chunks and will not commit them: what nothing names is
 * dead. Copies are refused with SLICE_GONE as every later commit of it.
 */
#define RPC_SLICE_DROP_REQ(F) RPC_MUT(F) F(list, slices)
/*
 * What is known of these slices: a byte of RPC_SLICE_* for each. DEAD stays so;
 * for the rest it is how things were when it was asked.
 */
#define RPC_SLICE_ASK_REQ(F) F(list, slices) /* u128 each */
#define RPC_SLICE_ASK_RSP(F) F(blob, states)
enum { RPC_SLICE_UNKNOWN = 0, RPC_SLICE_ALIVE = 1, RPC_SLICE_DEAD = 2 };

/*
 * Replaces the extents that touch [pos, pos + len) of an inode by `data`, which
 * is what they hold. print: hash over them; PRECONDITION when they are others
 * by now. Nothing else changes: no time, no version.
 */
#define RPC_MERGE_REQ(F) RPC_MUT(F) F(u64, ino) F(u64, pos) F(u64, len) \
	F(u128, print) F(blob, data)

/* --- transactions over shards; docs/ARCHITECTURE.md says how they run --- */
/*
 * Takes locks for a transaction and answers the rows. wants: (u8 mode, str row
 * key) of inodes and entries. wait: 0 = LOCKED at once when another one has
 * them. rows: (u8 mode, str key, u8 there, blob value); of an entry the rows
 * of both kinds, without what only the shard itself can use of an inode.
 */
#define RPC_TXN_LOCK_REQ(F) RPC_MUT(F) F(u128, txn) F(list, wants) F(u8, wait)
#define RPC_TXN_LOCK_RSP(F) F(list, rows)
enum {
	RPC_LOCK_LOOK = 0, /* none: only the row */
	RPC_LOCK_PIN = 1,  /* an inode stays where it is, entries may change */
	RPC_LOCK_UP = 2,   /* the same for all directories above, in the shard */
	RPC_LOCK_ALL = 3,  /* nobody else reads or changes it */
};
/* Gives all locks back; steps (struct ns_step): what is done before */
#define RPC_TXN_END_REQ(F) RPC_MUT(F) F(u128, txn) F(list, steps)
/* What became of a transaction, asked at its coordinator; shard: who asks */
#define RPC_TXN_ASK_REQ(F) F(u128, txn) F(u16, shard)
#define RPC_TXN_ASK_RSP(F) F(u8, state) F(list, steps)
enum { RPC_TXN_ABORTED = 0, RPC_TXN_PENDING = 1, RPC_TXN_COMMITTED = 2 };
/* All its steps were done: txns u128 each */
#define RPC_TXN_FORGET_REQ(F) RPC_MUT(F) F(list, txns)

/* --- segments of huge directories --- */
/* A number of this shard for a new segment; one that is not used is lost */
#define RPC_DIR_SEGMENT_RSP(F) F(u64, segment)
/*
 * Moves up to `names` names of dir, a directory or a segment of one, into
 * another segment of it, which grows by them; a new one of a directory begins
 * at `from` or behind it (empty: at the first name). moved: how many; left:
 * entries of dir. RANGE: they cannot be parted there. TOO_MANY: fewer names may
 * go, or it has as many segments as may be.
 */
#define RPC_DIR_SPLIT_REQ(F) RPC_MUT(F) F(u64, dir) F(u64, segment) F(u32, names) \
	F(str, from)
#define RPC_DIR_SPLIT_RSP(F) F(u32, moved) F(u64, left)

/* --- chunks; bytes are the frame's body --- */
#define RPC_CHUNK_PUT_REQ(F) F(u128, slice) F(u32, index) F(u128, hash)
#define RPC_CHUNK_GET_REQ(F) F(u128, slice) F(u32, index) F(u32, off) F(u32, len)
/* All chunks of these slices, which their shards said are dead */
#define RPC_CHUNK_DROP_REQ(F) F(list, slices)

/* --- a store --- */
/*
 * Does what action says, and tells how compaction stands (storaged/compact.h).
 * max: segments that START takes; 0 = all. START of one that is suspended is
 * refused with SUSPENDED. status: how the last run ended. started, ended: of
 * the last run, ns since 1970, or 0. targets, pending, ongoing, out, kept:
 * segments of it. copied, freed: bytes since the store started. heads: (str
 * name, u64 segments, u64 bytes on the disk, u64 alive).
 */
#define RPC_STORE_COMPACT_REQ(F) F(u8, action) F(u32, max)
enum {
	RPC_COMPACT_LOOK = 0, RPC_COMPACT_START = 1, RPC_COMPACT_SUSPEND = 2,
	RPC_COMPACT_RESUME = 3,
};
#define RPC_STORE_COMPACT_RSP(F) F(u8, state) F(u8, why) F(i64, started) \
	F(i64, ended) F(u64, targets) F(u64, pending) F(u64, ongoing) \
	F(u64, out) F(u64, kept) F(u32, status) F(u64, copied) F(u64, freed) \
	F(u64, rate) \
	F(list, heads)

/* --- checking (fsck): asked by the managers --- */
/*
 * Recounts all rows of a shard as they are now. findings: str each, at most
 * `max` of n_findings. far: nothing of that, but what its names say of other
 * shards and the reverse (spans: how many); busy: transactions are under way,
 * and between their steps the two ends of a name differ.
 */
#define RPC_CHECK_ROWS_REQ(F) F(u32, max) F(u8, far)
#define RPC_CHECK_ROWS_RSP(F) F(u64, rows) F(u64, inodes) F(u64, names) \
	F(u64, slices) F(u64, queued) F(u64, open) F(u64, n_findings) \
	F(list, findings) F(u8, busy) F(u64, spans)
/*
 * What rows say of bytes, a page of rows behind the row `after` (empty: from
 * the start; exact: that row alone). Values are looked for in the leader's
 * log, with `read` compared with their hashes. chunks: (str row, u128 slice,
 * u32 index, u32 len) that must be there with len bytes or more. next: empty
 * at the end.
 */
#define RPC_CHECK_BYTES_REQ(F) F(str, after) F(u8, exact) F(u8, read)
#define RPC_CHECK_BYTES_RSP(F) F(str, next) F(u64, extents) F(u64, values) \
	F(u64, value_bytes) F(list, findings) F(list, chunks)
/* Is it in this store? read: the bytes are compared with their hash (IO) */
#define RPC_CHUNK_CHECK_REQ(F) F(u128, slice) F(u32, index) F(u8, read)
#define RPC_CHUNK_CHECK_RSP(F) F(u32, len)
/*
 * Slices that have chunks in this store, the first at or behind `from` and all
 * of its home shard, and that are older than the grace of the sweep: (u128
 * slice, u32 chunks, u64 bytes). next: where to go on, all ones at the end.
 * swept: the second before which all that there was has been looked at by a
 * whole sweep since the store started; 0: none was.
 */
#define RPC_STORE_SLICES_REQ(F) F(u128, from)
#define RPC_STORE_SLICES_RSP(F) F(u128, next) F(u32, swept) F(list, slices)

/* --- raft between members of a group: a batch of frames, see common/raft --- */
#define RPC_RAFT_REQ(F) F(u64, from) F(blob, frames)

/*
 * All rows of a shard, as a portable row stream (docs/DISK_FORMAT.md), in pieces
 * of up to 1 MiB; the bytes are the reply's body. Any member has them. from: raft
 * id of the store that asks. stream 0, off 0: begin, which ends what that store
 * had begun before. off: where the last piece ended, or where it began (sent
 * again). STALE: there is no such stream (any more), begin again. END: the
 * stream is not wanted any more.
 */
#define RPC_SNAP_GET_REQ(F) F(u64, from) F(u64, stream) F(u64, off)
#define RPC_SNAP_END UINT64_MAX /* off = */
#define RPC_SNAP_GET_RSP(F) F(u64, stream) F(u64, off) F(u8, more)

/*
 * M(tag, name, REQ fields, rsp struct, roles, kind); 0x45 is used up
 * kind: R read of a shard, W mutation of a shard (replicated), C chunk store
 *       (also rows of a shard as bytes),
 *       P peer, G manager read, H manager mutation, S one store, by its id
 */
#define RPC_REQUESTS(M) \
	M(0x01, hello, RPC_HELLO_REQ, hello_rsp, ANY, P) \
	M(0x10, cluster_get, RPC_CLUSTER_GET_REQ, cluster_get_rsp, ANY, G) \
	M(0x11, session_open, RPC_SESSION_OPEN_REQ, session_open_rsp, ANY, H) \
	M(0x12, session_renew, RPC_SESSION_RENEW_REQ, session_renew_rsp, ANY, G) \
	M(0x13, bucket_create, RPC_BUCKET_CREATE_REQ, bucket_create_rsp, GATEWAY, H) \
	M(0x14, bucket_delete, RPC_BUCKET_DELETE_REQ, bucket_delete_rsp, GATEWAY, H) \
	M(0x17, session_check, RPC_SESSION_CHECK_REQ, session_check_rsp, STORAGE, G) \
	M(0x15, store_join, RPC_STORE_JOIN_REQ, store_join_rsp, STORAGE, G) \
	M(0x16, store_beat, RPC_STORE_BEAT_REQ, store_beat_rsp, STORAGE, G) \
	M(0x20, lookup, RPC_LOOKUP_REQ, lookup_rsp, CLIENT, R) \
	M(0x21, getattr, RPC_GETATTR_REQ, attr_rsp, CLIENT, R) \
	M(0x22, setattr, RPC_SETATTR_REQ, attr_rsp, CLIENT, W) \
	M(0x23, mknod, RPC_MKNOD_REQ, mknod_rsp, CLIENT, W) \
	M(0x24, open, RPC_OPEN_REQ, read_rsp, CLIENT, R) \
	M(0x25, close, RPC_CLOSE_REQ, empty_rsp, CLIENT, W) \
	M(0x26, unlink, RPC_UNLINK_REQ, unlink_rsp, CLIENT, W) \
	M(0x27, rename, RPC_RENAME_REQ, rename_rsp, CLIENT, W) \
	M(0x28, link, RPC_LINK_REQ, attr_rsp, CLIENT, W) \
	M(0x29, readlink, RPC_READLINK_REQ, readlink_rsp, CLIENT, R) \
	M(0x2a, setxattr, RPC_SETXATTR_REQ, empty_rsp, CLIENT, W) \
	M(0x2b, getxattr, RPC_GETXATTR_REQ, getxattr_rsp, CLIENT, R) \
	M(0x2c, listxattr, RPC_LISTXATTR_REQ, listxattr_rsp, CLIENT, R) \
	M(0x2d, removexattr, RPC_REMOVEXATTR_REQ, empty_rsp, CLIENT, W) \
	M(0x2e, readdir, RPC_READDIR_REQ, readdir_rsp, CLIENT, R) \
	M(0x2f, parent, RPC_PARENT_REQ, parent_rsp, CLIENT, R) \
	M(0x30, statfs, RPC_STATFS_REQ, statfs_rsp, CLIENT, R) \
	M(0x31, read, RPC_READ_REQ, read_rsp, CLIENT, R) \
	M(0x32, write, RPC_WRITE_REQ, write_rsp, CLIENT, W) \
	M(0x33, sync, RPC_SYNC_REQ, empty_rsp, CLIENT, R) \
	M(0x40, object, RPC_OBJECT_REQ, object_rsp, CLIENT, R) \
	M(0x41, prepare, RPC_PREPARE_REQ, prepare_rsp, CLIENT, R) \
	M(0x42, put, RPC_PUT_REQ, put_rsp, CLIENT, W) \
	M(0x43, delete, RPC_DELETE_REQ, empty_rsp, CLIENT, W) \
	M(0x44, list, RPC_LIST_REQ, list_rsp, CLIENT, R) \
	M(0x48, mpu_create, RPC_MPU_CREATE_REQ, mpu_create_rsp, CLIENT, W) \
	M(0x49, mpu_part, RPC_MPU_PART_REQ, empty_rsp, CLIENT, W) \
	M(0x4a, mpu_get, RPC_MPU_GET_REQ, mpu_get_rsp, CLIENT, R) \
	M(0x4b, mpu_complete, RPC_MPU_COMPLETE_REQ, put_rsp, CLIENT, W) \
	M(0x4c, mpu_abort, RPC_MPU_ABORT_REQ, empty_rsp, CLIENT, W) \
	M(0x4d, mpu_parts, RPC_MPU_PARTS_REQ, mpu_parts_rsp, CLIENT, R) \
	M(0x4e, mpu_list, RPC_MPU_LIST_REQ, mpu_list_rsp, CLIENT, R) \
	M(0x50, root_create, RPC_ROOT_CREATE_REQ, root_create_rsp, MANAGER, W) \
	M(0x51, root_remove, RPC_ROOT_REMOVE_REQ, empty_rsp, MANAGER, W) \
	M(0x52, usage, RPC_USAGE_REQ, usage_rsp, CLIENT, R) \
	M(0x53, whereis, RPC_WHEREIS_REQ, whereis_rsp, MANAGER, R) \
	M(0x54, summary, RPC_SUMMARY_REQ, summary_rsp, CLIENT, R) \
	M(0x57, slice_ask, RPC_SLICE_ASK_REQ, slice_ask_rsp, SERVER, R) \
	M(0x58, queue_work, RPC_QUEUE_WORK_REQ, queue_work_rsp, STORAGE, W) \
	M(0x59, slice_reap, RPC_SLICE_REAP_REQ, slice_reap_rsp, STORAGE, W) \
	M(0x5a, slice_done, RPC_SLICE_DONE_REQ, empty_rsp, STORAGE, W) \
	M(0x5b, slice_drop, RPC_SLICE_DROP_REQ, empty_rsp, CLIENT, W) \
	M(0x5c, session_end, RPC_SESSION_END_REQ, empty_rsp, MANAGER, W) \
	M(0x5f, merge, RPC_MERGE_REQ, empty_rsp, STORAGE, W) \
	M(0x74, txn_lock, RPC_TXN_LOCK_REQ, txn_lock_rsp, STORAGE, W) \
	M(0x75, txn_end, RPC_TXN_END_REQ, empty_rsp, STORAGE, W) \
	M(0x76, txn_ask, RPC_TXN_ASK_REQ, txn_ask_rsp, STORAGE, R) \
	M(0x77, txn_forget, RPC_TXN_FORGET_REQ, empty_rsp, STORAGE, W) \
	M(0x78, dir_segment, RPC_MUT_ONLY, dir_segment_rsp, STORAGE, W) \
	M(0x79, dir_split, RPC_DIR_SPLIT_REQ, dir_split_rsp, STORAGE, W) \
	M(0x60, chunk_put, RPC_CHUNK_PUT_REQ, empty_rsp, CLIENT, C) \
	M(0x61, chunk_get, RPC_CHUNK_GET_REQ, empty_rsp, CLIENT, C) \
	M(0x62, chunk_drop, RPC_CHUNK_DROP_REQ, empty_rsp, STORAGE, C) \
	M(0x68, store_compact, RPC_STORE_COMPACT_REQ, store_compact_rsp, MANAGER, S) \
	M(0x70, raft, RPC_RAFT_REQ, empty_rsp, STORAGE, P) \
	M(0x71, snap_get, RPC_SNAP_GET_REQ, snap_get_rsp, STORAGE, C) \
	M(0x7a, check_rows, RPC_CHECK_ROWS_REQ, check_rows_rsp, MANAGER, R) \
	M(0x7b, check_bytes, RPC_CHECK_BYTES_REQ, check_bytes_rsp, MANAGER, R) \
	M(0x7c, chunk_check, RPC_CHUNK_CHECK_REQ, chunk_check_rsp, MANAGER, C) \
	M(0x7d, store_slices, RPC_STORE_SLICES_REQ, store_slices_rsp, MANAGER, S)

#define RPC_RESPONSES(M) \
	M(error_rsp, RPC_ERROR_RSP) \
	M(empty_rsp, RPC_EMPTY_RSP) \
	M(hello_rsp, RPC_HELLO_RSP) \
	M(cluster_get_rsp, RPC_CLUSTER_GET_RSP) \
	M(session_open_rsp, RPC_SESSION_OPEN_RSP) \
	M(session_renew_rsp, RPC_SESSION_RENEW_RSP) \
	M(session_check_rsp, RPC_SESSION_CHECK_RSP) \
	M(bucket_create_rsp, RPC_BUCKET_CREATE_RSP) \
	M(bucket_delete_rsp, RPC_BUCKET_DELETE_RSP) \
	M(store_join_rsp, RPC_STORE_JOIN_RSP) \
	M(store_beat_rsp, RPC_STORE_BEAT_RSP) \
	M(lookup_rsp, RPC_LOOKUP_RSP) \
	M(attr_rsp, RPC_ATTR_RSP) \
	M(mknod_rsp, RPC_MKNOD_RSP) \
	M(unlink_rsp, RPC_UNLINK_RSP) \
	M(rename_rsp, RPC_RENAME_RSP) \
	M(readlink_rsp, RPC_READLINK_RSP) \
	M(getxattr_rsp, RPC_GETXATTR_RSP) \
	M(listxattr_rsp, RPC_LISTXATTR_RSP) \
	M(readdir_rsp, RPC_READDIR_RSP) \
	M(parent_rsp, RPC_PARENT_RSP) \
	M(statfs_rsp, RPC_STATFS_RSP) \
	M(read_rsp, RPC_READ_RSP) \
	M(write_rsp, RPC_WRITE_RSP) \
	M(object_rsp, RPC_OBJECT_RSP) \
	M(prepare_rsp, RPC_PREPARE_RSP) \
	M(put_rsp, RPC_PUT_RSP) \
	M(list_rsp, RPC_LIST_RSP) \
	M(mpu_create_rsp, RPC_MPU_CREATE_RSP) \
	M(mpu_get_rsp, RPC_MPU_GET_RSP) \
	M(mpu_parts_rsp, RPC_MPU_PARTS_RSP) \
	M(mpu_list_rsp, RPC_MPU_LIST_RSP) \
	M(root_create_rsp, RPC_ROOT_CREATE_RSP) \
	M(usage_rsp, RPC_USAGE_RSP) \
	M(whereis_rsp, RPC_WHEREIS_RSP) \
	M(queue_work_rsp, RPC_QUEUE_WORK_RSP) \
	M(slice_reap_rsp, RPC_SLICE_REAP_RSP) \
	M(slice_ask_rsp, RPC_SLICE_ASK_RSP) \
	M(store_compact_rsp, RPC_STORE_COMPACT_RSP) \
	M(snap_get_rsp, RPC_SNAP_GET_RSP) \
	M(check_rows_rsp, RPC_CHECK_ROWS_RSP) \
	M(check_bytes_rsp, RPC_CHECK_BYTES_RSP) \
	M(chunk_check_rsp, RPC_CHUNK_CHECK_RSP) \
	M(store_slices_rsp, RPC_STORE_SLICES_RSP) \
	M(summary_rsp, RPC_SUMMARY_RSP) \
	M(txn_lock_rsp, RPC_TXN_LOCK_RSP) \
	M(txn_ask_rsp, RPC_TXN_ASK_RSP) \
	M(dir_segment_rsp, RPC_DIR_SEGMENT_RSP) \
	M(dir_split_rsp, RPC_DIR_SPLIT_RSP)

/* a reserved byte, so that the struct is not empty */
#define RPC_EMPTY_RSP(F) F(u8, reserved)

#define RPC_REQ_DECL(tag, name, FIELDS, rsp, roles, kind) \
	enum { RPC_TAG_##name = (tag) }; \
	WIRE_STRUCT(rpc, name, FIELDS)
#define RPC_RSP_DECL(name, FIELDS) WIRE_STRUCT(rpc, name, FIELDS)
RPC_REQUESTS(RPC_REQ_DECL)
RPC_RESPONSES(RPC_RSP_DECL)

/* What the table says about a tag. */
struct rpc_info {
	uint16_t tag;
	const char *name;
	char kind;      /* 'R' 'W' 'C' 'P' 'G' 'H' 'S' */
	uint32_t roles; /* RPC_ROLE_* bits that may send it */
	int (*check)(const void *payload, size_t len); /* decodes: 0 or -EBADMSG */
};
enum {
	RPC_ROLE_GATEWAY = 1, RPC_ROLE_MOUNT = 2, RPC_ROLE_STORAGE = 4,
	RPC_ROLE_MANAGER = 8, RPC_ROLE_ADMIN = 16,
	RPC_ROLE_CLIENT = 1 | 2 | 8 | 16, RPC_ROLE_SERVER = 4 | 8,
	RPC_ROLE_ANY = 31,
};
/* NULL for an unknown tag. */
const struct rpc_info *rpc_info(uint16_t tag);
/* All rows, for docs, metrics and fuzzing. */
const struct rpc_info *rpc_info_all(size_t *ret_n);
/* RPC_ROLE_* of a HELLO role text, 0 when unknown. */
uint32_t rpc_role(struct wire_bytes text);
/* The HELLO text of one RPC_ROLE_* bit, NULL when there is none. */
const char *rpc_role_text(uint32_t role);

/*
 * Inode numbers: 0 | shard 16 | counter 47. Slice ids: see DESIGN section 7.
 */
#define INO_COUNTER_BITS 47
static inline uint16_t ino_shard(uint64_t ino)
{
	return (uint16_t)(ino >> INO_COUNTER_BITS);
}
static inline uint64_t ino_make(uint16_t shard, uint64_t counter)
{
	return (uint64_t)shard << INO_COUNTER_BITS | counter;
}
/* home shard 16 | seconds 32 | session 48 | counter 32 */
struct wire_u128 slice_make(uint16_t home, uint32_t second, uint64_t session,
			    uint32_t counter);
static inline uint16_t slice_home(struct wire_u128 id)
{
	return (uint16_t)(id.hi >> 48);
}
/* When it was made, in seconds since 1970. */
static inline uint32_t slice_second(struct wire_u128 id)
{
	return (uint32_t)(id.hi >> 16);
}
/* Of the session that made it, which is below 2^48. */
static inline uint64_t slice_session(struct wire_u128 id)
{
	return (id.hi & 0xffff) << 32 | id.lo >> 32;
}

#endif
