#ifndef COMMON_CLIENT_CLUSTER_H
#define COMMON_CLIENT_CLUSTER_H
/*
 * The snapshot of cluster state that managers hand out (RPC cluster_get):
 * immutable, counted, shared between loops. Encoding: WIRE tables below.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/wire/wire.h"

#define CLUSTER_STORE(F) F(u128, id) F(u64, raft_id) F(str, addr) F(str, host) \
	F(u64, total) F(u64, avail)
#define CLUSTER_SHARD(F) F(u16, shard) F(u64, leader) /* raft id */
#define CLUSTER_BUCKET(F) F(u64, id) F(str, name) F(str, owner) F(u64, root) \
	F(u32, uid) F(u32, gid) F(u32, umask) F(i64, created) F(u8, state) \
	F(u8, durability)
enum { CLUSTER_BUCKET_CREATING = 1, CLUSTER_BUCKET_READY = 2, CLUSTER_BUCKET_DELETING = 3 };
/*
 * durability of a bucket, and of the cluster for those that say DEFAULT. MEMORY:
 * changes are acknowledged when they are written, and durable a moment later.
 */
enum {
	CLUSTER_DURABILITY_DEFAULT = 0, /* of the cluster: DISK */
	CLUSTER_DURABILITY_DISK = 1,
	CLUSTER_DURABILITY_MEMORY = 2,
};
#define CLUSTER_KEY(F) F(str, access) F(str, secret) F(str, user) F(u8, disabled)
#define CLUSTER_USER(F) F(str, name) F(str, canonical) F(u8, admin)
/* ring: epoch and partition owners, see common/ring */
#define CLUSTER_TOP(F) F(u128, cluster) F(u64, version) F(u64, epoch) F(str, region) \
	F(u32, n) F(u32, w) F(u32, r) F(u32, inline_max) \
	F(list, stores) F(list, shards) F(list, buckets) F(list, keys) F(list, users) \
	F(blob, ring) F(u8, durability)

WIRE_STRUCT(cluster, store, CLUSTER_STORE)
WIRE_STRUCT(cluster, shard, CLUSTER_SHARD)
WIRE_STRUCT(cluster, bucket, CLUSTER_BUCKET)
WIRE_STRUCT(cluster, key, CLUSTER_KEY)
WIRE_STRUCT(cluster, user, CLUSTER_USER)
WIRE_STRUCT(cluster, top, CLUSTER_TOP)

struct ring;

struct cluster {
	uint32_t refs; /* atomic */
	uint8_t *bytes; /* everything below borrows from it */
	struct cluster_top top;
	struct cluster_store *stores;
	struct cluster_shard *shards;
	struct cluster_bucket *buckets; /* sorted by name */
	struct cluster_key *keys;       /* sorted by access key */
	struct cluster_user *users;     /* sorted by name */
	struct ring *ring;              /* NULL while there is no store */
	unsigned n_stores, n_shards, n_buckets, n_keys, n_users;
};

/* Copies bytes. 0, -EBADMSG, -ENOMEM. */
int cluster_decode(const void *bytes, size_t len, struct cluster **ret);
struct cluster *cluster_ref(struct cluster *c); /* any thread */
void cluster_unref(struct cluster *c);
const struct cluster_bucket *cluster_find_bucket(const struct cluster *c,
						 struct wire_bytes name);
const struct cluster_bucket *cluster_find_root(const struct cluster *c,
					       uint64_t root_ino);
const struct cluster_key *cluster_find_key(const struct cluster *c,
					   struct wire_bytes access);
const struct cluster_user *cluster_find_user(const struct cluster *c,
					     struct wire_bytes name);
const struct cluster_store *cluster_find_store(const struct cluster *c,
					       struct wire_u128 id);
/* Whether mutations in b (NULL: in none) have durability memory. */
bool cluster_is_loose(const struct cluster *c, const struct cluster_bucket *b);
/* The name of a CLUSTER_DURABILITY_*; and back, -EINVAL. */
const char *cluster_durability_name(uint8_t durability);
int cluster_durability_parse(const char *name, uint8_t *ret);
/* Store that leads a shard (or the only one); NULL when unknown. */
const struct cluster_store *cluster_shard_store(const struct cluster *c,
						uint16_t shard);
/* The nth owner of a chunk by RING; NULL when unknown or beyond N. */
const struct cluster_store *cluster_chunk_store(const struct cluster *c,
						struct wire_u128 slice,
						uint32_t index, unsigned nth);

#endif
