#ifndef MANAGERD_MGR_STATE_H
#define MANAGERD_MGR_STATE_H
/*
 * The state machine of the managers: users, keys, buckets, stores, shards,
 * sessions. Pure, as storaged/ns.h is: a function of (rows, command).
 *
 * Row keys: group u16 = 0 | type | key. Type 0x00 belongs to the host.
 *   C              the cluster record
 *   B name         bucket      U name    user      K access key   key
 *   O store id     store       H shard   shard     N session      session
 *   R client slot  answer of the last mutation of that slot
 *
 * Commands carry what the leader decided (time, random bytes); ids come from
 * counters in the cluster record.
 */
#include "common/client/cluster.h"
#include "common/rows/rows.h"
#include "common/wire/msgs.h"
#include "common/wire/status.h"

/* --- rows --- */
#define MGR_ROW_CLUSTER(F) F(u128, cluster) F(u64, version) F(u64, epoch) \
	F(str, region) F(u32, n) F(u32, w) F(u32, r) F(u32, inline_max) \
	F(u64, next_raft_id) F(u64, next_bucket) F(u64, next_session) \
	F(blob, ring) F(u64, feature_level) F(u8, durability)
#define MGR_ROW_USER(F) F(str, canonical) F(u8, admin) F(i64, created)
#define MGR_ROW_KEY(F) F(str, secret) F(str, user) F(u8, disabled) F(i64, created)
#define MGR_ROW_BUCKET(F) F(u64, id) F(str, owner) F(u64, root) F(u32, uid) \
	F(u32, gid) F(u32, umask) F(i64, created) F(u8, state) F(u16, shard) \
	F(u8, durability)
#define MGR_ROW_STORE(F) F(u64, raft_id) F(str, addr) F(str, host) F(u64, total) \
	F(u64, avail) F(i64, joined)
#define MGR_ROW_SHARD(F) F(u64, leader) F(u32, buckets)
/* ended: since when no shard takes it any more, 0: it lives */
#define MGR_ROW_SESSION(F) F(str, kind) F(str, host) F(i64, opened) F(i64, ended)
#define MGR_ROW_SLOT(F) F(u64, seq) F(u32, status) F(blob, payload)

WIRE_STRUCT(mgr_row, cluster, MGR_ROW_CLUSTER)
WIRE_STRUCT(mgr_row, user, MGR_ROW_USER)
WIRE_STRUCT(mgr_row, key, MGR_ROW_KEY)
WIRE_STRUCT(mgr_row, bucket, MGR_ROW_BUCKET)
WIRE_STRUCT(mgr_row, store, MGR_ROW_STORE)
WIRE_STRUCT(mgr_row, shard, MGR_ROW_SHARD)
WIRE_STRUCT(mgr_row, session, MGR_ROW_SESSION)
WIRE_STRUCT(mgr_row, slot, MGR_ROW_SLOT)

/* --- commands: M(number, name, fields) --- */
#define MGR_INIT(F) F(u128, cluster) F(str, region) F(str, user) F(str, canonical) \
	F(str, access) F(str, secret) F(u32, inline_max) F(u8, durability)
#define MGR_USER_CREATE(F) F(str, name) F(str, canonical) F(u8, admin)
#define MGR_USER_DELETE(F) F(str, name)
#define MGR_KEY_CREATE(F) F(str, user) F(str, access) F(str, secret)
#define MGR_KEY_DELETE(F) F(str, access)
#define MGR_BUCKET_BEGIN(F) RPC_MUT(F) F(str, name) F(str, owner) F(u32, uid) \
	F(u32, gid) F(u32, umask)
#define MGR_BUCKET_READY(F) RPC_MUT(F) F(str, name) F(u64, id) F(u64, root)
#define MGR_BUCKET_DELETING(F) RPC_MUT(F) F(str, name) F(str, owner) F(u8, force_owner)
#define MGR_BUCKET_GONE(F) RPC_MUT(F) F(str, name) F(u64, id)
#define MGR_BUCKET_RESTORE(F) F(str, name) F(u64, id)
#define MGR_SESSION_OPEN(F) F(str, kind) F(str, host) F(u32, lease_ms)
#define MGR_SESSION_END(F) F(blob, sessions) /* u64 each */
#define MGR_SESSION_GONE(F) F(blob, sessions) /* every shard knows */
#define MGR_STORE_JOIN(F) F(u128, store) F(str, addr) F(str, host) F(u64, total) \
	F(u64, avail) F(u16, shards)

/* bucket: empty for the cluster; durability: CLUSTER_DURABILITY_* */
#define MGR_DURABILITY(F) F(str, bucket) F(u8, durability)

#define MGR_COMMANDS(M) \
	M(1, init, MGR_INIT) \
	M(2, user_create, MGR_USER_CREATE) \
	M(3, user_delete, MGR_USER_DELETE) \
	M(4, key_create, MGR_KEY_CREATE) \
	M(5, key_delete, MGR_KEY_DELETE) \
	M(6, bucket_begin, MGR_BUCKET_BEGIN) \
	M(7, bucket_ready, MGR_BUCKET_READY) \
	M(8, bucket_deleting, MGR_BUCKET_DELETING) \
	M(9, bucket_gone, MGR_BUCKET_GONE) \
	M(10, bucket_restore, MGR_BUCKET_RESTORE) \
	M(11, session_open, MGR_SESSION_OPEN) \
	M(12, store_join, MGR_STORE_JOIN) \
	M(13, session_end, MGR_SESSION_END) \
	M(14, session_gone, MGR_SESSION_GONE) \
	M(15, durability, MGR_DURABILITY)

#define MGR_CMD_DECL(number, name, FIELDS) \
	enum { MGR_CMD_##name = (number) }; \
	WIRE_STRUCT(mgr, name, FIELDS)
MGR_COMMANDS(MGR_CMD_DECL)

/* What BUCKET_BEGIN and _DELETING answer: what is to be done in the shard. */
#define MGR_BUCKET_STEP(F) F(u64, id) F(u16, shard) F(u64, root) F(u32, uid) \
	F(u32, gid) F(u32, umask) F(u64, version) F(u8, done)
WIRE_STRUCT(mgr, bucket_step, MGR_BUCKET_STEP)

/* Entry body: version u8 = 1, command u8, now i64 ns; then the payload. */
#define MGR_CMD_HEADER 10

struct mgr_answer {
	uint32_t status;
	struct buf payload; /* of the RPC reply or a mgr_bucket_step */
};

int mgr_cmd_encode(struct buf *out, uint8_t cmd, int64_t now,
		   const void *payload, size_t len);
/*
 * 0: answered, writes are in t. -EAGAIN: rows needed. -EIO: a row or an entry
 * cannot be decoded, the process must stop. -ENOMEM as well.
 */
int mgr_apply(struct rows_txn *t, const uint8_t *data, size_t len,
	      struct mgr_answer *a);

/* Key builders; key must hold MGR_KEY_MAX bytes. */
#define MGR_KEY_MAX 320
struct wire_bytes mgr_key(uint8_t *key, char type, const void *id, size_t len);

/*
 * Encodes the cluster snapshot (cluster_top) from the rows; worker. 0 or -EIO.
 */
int mgr_snapshot(struct rows_back *back, struct buf *out,
		 uint64_t *ret_version);

/* Rules for names: 0 or a sentence of what is wrong. */
const char *mgr_check_bucket_name(struct wire_bytes name);
const char *mgr_check_user_name(struct wire_bytes name);

#endif
