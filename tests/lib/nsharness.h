#ifndef TESTS_LIB_NSHARNESS_H
#define TESTS_LIB_NSHARNESS_H
/*
 * A shard without a store: commands go to two replicas over memory backs,
 * whose logs lie at different positions and whose rows are forgotten at
 * different times; answers and row hashes must agree. Plays the leader, too:
 * time, seeds, and who holds which inode open.
 */
#include "storaged/ns.h"
#include "storaged/ns_rows.h"

struct nsh;

/* forget: rows_set_forget() of the second replica. Aborts on any failure. */
struct nsh *nsh_new(uint16_t shard, unsigned forget);
/*
 * The same over several shards, beginning with that one, in which roots are
 * made; new directories go anywhere, as seed has it. Requests follow, and
 * transactions run as their hosts would run them.
 */
struct nsh *nsh_new_spread(uint16_t shard, unsigned shards, unsigned forget,
			   uint64_t seed);
struct nsh_stats {
	uint64_t hops, locks, commits, aborts;
};
void nsh_stats(struct nsh *h, struct nsh_stats *ret);
/* Checks, then frees; the number of findings (printed). */
unsigned nsh_free(struct nsh *h);
unsigned nsh_check(struct nsh *h);

uint64_t nsh_random(struct nsh *h, uint64_t below);
uint16_t nsh_any_shard(struct nsh *h);
/* As nsh_send(), to that shard and nowhere else. */
uint32_t nsh_send_one(struct nsh *h, uint16_t shard, uint16_t tag,
		      const struct buf *payload);
/*
 * What was committed over shards is not done in the others, nor their locks
 * given back, until hold ends.
 */
void nsh_hold(struct nsh *h, bool on);
/* Gives back the locks that TXN_LOCK took: those that rows say, no others. */
void nsh_end_all(struct nsh *h);

/* Counts an open (what OPEN does in a leader); nsh_close() sends CLOSE. */
void nsh_open(struct nsh *h, uint64_t ino);
void nsh_close(struct nsh *h, uint64_t ino);
int64_t nsh_now(struct nsh *h); /* of the last command, in ns */
void nsh_advance(struct nsh *h, uint64_t seconds);
#define NSH_START INT64_C(1700000000000000000) /* nsh_now() of a new one */

/*
 * Sends a message of kind W or R; returns the status. The answer's payload
 * and body stay until the next call. Sequence numbers are up to the caller
 * (client 0: none).
 */
uint32_t nsh_send(struct nsh *h, uint16_t tag, const struct buf *payload);
struct wire_bytes nsh_payload(struct nsh *h);
struct wire_bytes nsh_body(struct nsh *h);
/* Everything written so far is in it; of the first replica. */
struct rows_back *nsh_back(struct nsh *h);
/* How many rows of one type there are: in the first shard; in all of them. */
unsigned nsh_count(struct nsh *h, uint8_t type);
unsigned nsh_count_all(struct nsh *h, uint8_t type);

unsigned nsh_queued(struct nsh *h, char kind); /* queue rows of a kind */
/*
 * Plays the worker of the queue: QUEUE_WORK for each row but those of slices,
 * in every shard, until none is left. How many messages that took.
 */
unsigned nsh_work(struct nsh *h);

/* NSH(h, lookup, lookup_rsp, &req, &rsp): status; rsp when it is OK. */
#define NSH(h, name, rsp_name, req, rsp) \
	nsh_call((h), RPC_TAG_##name, nsh_encode_##name, (req), \
		 nsh_decode_##rsp_name, (rsp))
uint32_t nsh_call(struct nsh *h, uint16_t tag,
		  int (*encode)(const void *req, struct buf *out),
		  const void *req,
		  int (*decode)(void *rsp, const void *p, size_t len),
		  void *rsp);
#define NSH_ENCODE(tag, name, FIELDS, rsp, roles, kind) \
	static inline int nsh_encode_##name(const void *req, struct buf *out) \
	{ \
		return rpc_##name##_encode(req, out); \
	}
RPC_REQUESTS(NSH_ENCODE)
#define NSH_DECODE(name, FIELDS) \
	static inline int nsh_decode_##name(void *rsp, const void *p, \
					    size_t len) \
	{ \
		return rpc_##name##_decode(rsp, p, len); \
	}
RPC_RESPONSES(NSH_DECODE)

/* --- segments of huge directories (nsharness_segment.c) --- */

/* A number of that shard. */
uint64_t nsh_segment(struct nsh *h, uint16_t shard);
/* DIR_SPLIT as it is: status, how many moved. */
uint32_t nsh_split_into(struct nsh *h, uint64_t dir, uint64_t segment,
			const char *from, uint32_t names,
			struct rpc_dir_split_rsp *ret);
/*
 * Moves up to `names` names of a directory, of one of its segments as random
 * says, into another segment: a new one or one that is there. RANGE, INVAL: it
 * cannot be done.
 */
uint32_t nsh_split(struct nsh *h, uint64_t dir, uint32_t names);
/* How many segments it has; of the first max in v. */
struct nsh_part {
	uint64_t ino;
	char first[NS_NAME_MAX + 1], end[NS_NAME_MAX + 1];
};
unsigned nsh_parts(struct nsh *h, uint64_t dir, struct nsh_part *v,
		   unsigned max);
static inline unsigned nsh_segments(struct nsh *h, uint64_t dir)
{
	return nsh_parts(h, dir, NULL, 0);
}

/* --- shorthands; every one returns the status --- */

uint64_t nsh_root(struct nsh *h, uint64_t bucket); /* a new bucket's root */
/* PUT of inline bytes; etag NULL: "etag" of 32 hex digits made from them. */
uint32_t nsh_put(struct nsh *h, uint64_t root, const char *key,
		 struct wire_bytes data, const char *etag);
uint32_t nsh_delete(struct nsh *h, uint64_t root, const char *key);
/* mode with type; RPC_NAME_ANY, EXCL */
uint32_t nsh_mknod(struct nsh *h, uint64_t dir, const char *name,
		   uint32_t mode, uint64_t *ret_ino);
uint32_t nsh_lookup(struct nsh *h, uint64_t dir, const char *name, uint8_t how,
		    struct wire_attr *ret_attr);
uint32_t nsh_unlink(struct nsh *h, uint64_t dir, const char *name,
		    uint8_t how);
uint32_t nsh_rmdir(struct nsh *h, uint64_t dir, const char *name);
uint32_t nsh_rename(struct nsh *h, uint64_t dir, const char *name,
		    uint64_t dir2, const char *name2);
uint32_t nsh_exchange(struct nsh *h, uint64_t dir, const char *name,
		      uint64_t dir2, const char *name2);
uint32_t nsh_link(struct nsh *h, uint64_t ino, uint64_t dir,
		  const char *name);
uint32_t nsh_write(struct nsh *h, uint64_t ino, uint64_t off,
		   struct wire_bytes data);
uint32_t nsh_truncate(struct nsh *h, uint64_t ino, uint64_t size);
uint32_t nsh_getattr(struct nsh *h, uint64_t ino, struct wire_attr *ret);
/* HEAD (len 0) or GET. */
uint32_t nsh_object(struct nsh *h, uint64_t root, const char *key,
		    uint64_t off, uint64_t len, struct rpc_object_rsp *rsp);
/*
 * The bytes of [off, off+len) of an inode: inline ones from the body, chunks
 * as the byte ((slice.lo + slice_off) & 255). out has len bytes.
 */
uint32_t nsh_bytes(struct nsh *h, uint64_t ino, uint64_t off, uint64_t len,
		   uint8_t *out);
/* The same for the extents (and body) of the last answer. */
void nsh_extents(struct nsh *h, struct wire_bytes extents, uint64_t off,
		 uint64_t len, uint8_t *out);
/* What a chunk slice is said to hold. */
static inline uint8_t nsh_chunk_byte(uint64_t slice_lo, uint64_t off)
{
	return (uint8_t)(slice_lo * 31 + off * 7 + off / 251);
}
/* Slice n of this shard, made at NSH_START. */
struct wire_u128 nsh_slice(struct nsh *h, uint64_t slice);
/* One extent as a vector: that slice. */
struct wire_bytes nsh_chunks(struct nsh *h, uint64_t slice, uint64_t pos,
			     uint64_t len, uint64_t slice_off);

/* All pages of LIST joined. */
struct nsh_listed {
	struct wire_bytes key;
	bool is_prefix;
	uint64_t size;
	int64_t mtime;
	struct wire_bytes etag;
};
typedef void (*nsh_list_fn)(void *arg, const struct nsh_listed *e);
uint32_t nsh_list(struct nsh *h, uint64_t root, const char *prefix,
		  const char *after, const char *delimiter, uint32_t page,
		  nsh_list_fn each, void *arg);
typedef void (*nsh_readdir_fn)(void *arg, struct wire_bytes row_name,
			       uint32_t mode, bool shadowed,
			       const struct wire_attr *attr);
uint32_t nsh_readdir(struct nsh *h, uint64_t dir, uint32_t page,
		     nsh_readdir_fn each, void *arg);

#endif
