/* Snapshots of cluster state: decoding and look-ups. */
#include "common/client/cluster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/ring/ring.h"

WIRE_IMPL(cluster, store, CLUSTER_STORE)
WIRE_IMPL(cluster, shard, CLUSTER_SHARD)
WIRE_IMPL(cluster, bucket, CLUSTER_BUCKET)
WIRE_IMPL(cluster, key, CLUSTER_KEY)
WIRE_IMPL(cluster, user, CLUSTER_USER)
WIRE_IMPL(cluster, top, CLUSTER_TOP)

/* Elements of a list follow each other without lengths. */
#define CLUSTER_LIST(name, FIELDS) \
	static int cluster_list_##name(struct wire_bytes list, \
				       struct cluster_##name **ret_items, \
				       unsigned *ret_n) \
	{ \
		uint32_t n; \
		struct wire_reader r = wire_vec_reader(list, &n); \
		struct cluster_##name *items; \
		if (r.err != 0) \
			return r.err; \
		items = mem_calloc(n == 0 ? 1 : n, sizeof(*items)); \
		if (items == NULL) \
			return -ENOMEM; \
		*ret_items = items; \
		for (uint32_t i = 0; i < n && r.err == 0; i++) { \
			struct cluster_##name *m = &items[i]; \
			FIELDS(WIRE_F_GET) \
		} \
		*ret_n = n; \
		return r.err; \
	}
CLUSTER_LIST(store, CLUSTER_STORE)
CLUSTER_LIST(shard, CLUSTER_SHARD)
CLUSTER_LIST(bucket, CLUSTER_BUCKET)
CLUSTER_LIST(key, CLUSTER_KEY)
CLUSTER_LIST(user, CLUSTER_USER)

static int cluster_cmp_shard(const void *a, const void *b)
{
	const struct cluster_shard *x = a, *y = b;

	return (x->shard > y->shard) - (x->shard < y->shard);
}

static int cluster_cmp_bucket(const void *a, const void *b)
{
	const struct cluster_bucket *x = a, *y = b;

	return wire_bytes_cmp(x->name, y->name);
}

static int cluster_cmp_key(const void *a, const void *b)
{
	const struct cluster_key *x = a, *y = b;

	return wire_bytes_cmp(x->access, y->access);
}

static int cluster_cmp_user(const void *a, const void *b)
{
	const struct cluster_user *x = a, *y = b;

	return wire_bytes_cmp(x->name, y->name);
}

static void cluster_free(struct cluster *c)
{
	ring_free(c->ring);
	mem_free(c->stores);
	mem_free(c->shards);
	mem_free(c->buckets);
	mem_free(c->keys);
	mem_free(c->users);
	mem_free(c->bytes);
	mem_free(c);
}

static int cluster_fill(struct cluster *c, size_t len)
{
	const struct cluster_top *t = &c->top;
	int rv = cluster_top_decode(&c->top, c->bytes, len);

	if (rv == 0)
		rv = cluster_list_store(t->stores, &c->stores, &c->n_stores);
	if (rv == 0)
		rv = cluster_list_shard(t->shards, &c->shards, &c->n_shards);
	if (rv == 0)
		rv = cluster_list_bucket(t->buckets, &c->buckets,
					 &c->n_buckets);
	if (rv == 0)
		rv = cluster_list_key(t->keys, &c->keys, &c->n_keys);
	if (rv == 0)
		rv = cluster_list_user(t->users, &c->users, &c->n_users);
	if (rv == 0 && t->ring.len > 0)
		rv = ring_decode(t->ring, &c->ring);
	return rv;
}

int cluster_decode(const void *bytes, size_t len, struct cluster **ret)
{
	struct cluster *c = mem_zalloc(sizeof(*c));
	int rv;

	if (c == NULL)
		return -ENOMEM;
	c->refs = 1;
	c->bytes = mem_dup(bytes, len);
	rv = c->bytes == NULL ? -ENOMEM : cluster_fill(c, len);
	if (rv != 0) {
		cluster_free(c);
		return rv;
	}
	qsort(c->shards, c->n_shards, sizeof(*c->shards), cluster_cmp_shard);
	qsort(c->buckets, c->n_buckets, sizeof(*c->buckets),
	      cluster_cmp_bucket);
	qsort(c->keys, c->n_keys, sizeof(*c->keys), cluster_cmp_key);
	qsort(c->users, c->n_users, sizeof(*c->users), cluster_cmp_user);
	*ret = c;
	return 0;
}

struct cluster *cluster_ref(struct cluster *c)
{
	__atomic_fetch_add(&c->refs, 1, __ATOMIC_RELAXED);
	return c;
}

void cluster_unref(struct cluster *c)
{
	if (c != NULL &&
	    __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) == 0)
		cluster_free(c);
}

const struct cluster_bucket *cluster_find_bucket(const struct cluster *c,
						 struct wire_bytes name)
{
	struct cluster_bucket key = { .name = name };

	return bsearch(&key, c->buckets, c->n_buckets, sizeof(key),
		       cluster_cmp_bucket);
}

const struct cluster_bucket *cluster_find_root(const struct cluster *c,
					       uint64_t root_ino)
{
	for (unsigned i = 0; i < c->n_buckets; i++)
		if (c->buckets[i].root == root_ino)
			return &c->buckets[i];
	return NULL;
}

const struct cluster_key *cluster_find_key(const struct cluster *c,
					   struct wire_bytes access)
{
	struct cluster_key key = { .access = access };

	return bsearch(&key, c->keys, c->n_keys, sizeof(key),
		       cluster_cmp_key);
}

const struct cluster_user *cluster_find_user(const struct cluster *c,
					     struct wire_bytes name)
{
	struct cluster_user key = { .name = name };

	return bsearch(&key, c->users, c->n_users, sizeof(key),
		       cluster_cmp_user);
}

const struct cluster_store *cluster_find_store(const struct cluster *c,
					       struct wire_u128 id)
{
	for (unsigned i = 0; i < c->n_stores; i++)
		if (wire_u128_eq(c->stores[i].id, id))
			return &c->stores[i];
	return NULL;
}

/* --- durability --- */

bool cluster_is_loose(const struct cluster *c, const struct cluster_bucket *b)
{
	uint8_t durability;

	if (b == NULL)
		return false;
	durability = b->durability == CLUSTER_DURABILITY_DEFAULT
			     ? c->top.durability
			     : b->durability;
	return durability == CLUSTER_DURABILITY_MEMORY;
}

static const char *const durability_names[] = {
	[CLUSTER_DURABILITY_DEFAULT] = "default",
	[CLUSTER_DURABILITY_DISK] = "disk",
	[CLUSTER_DURABILITY_MEMORY] = "memory",
};

const char *cluster_durability_name(uint8_t durability)
{
	return durability <= CLUSTER_DURABILITY_MEMORY
		       ? durability_names[durability]
		       : "unknown";
}

int cluster_durability_parse(const char *name, uint8_t *ret)
{
	for (uint8_t i = 0; i <= CLUSTER_DURABILITY_MEMORY; i++)
		if (strcmp(durability_names[i], name) == 0) {
			*ret = i;
			return 0;
		}
	return -EINVAL;
}

const struct cluster_store *cluster_shard_store(const struct cluster *c,
						uint16_t shard)
{
	struct cluster_shard key = { .shard = shard };
	const struct cluster_shard *row;

	row = bsearch(&key, c->shards, c->n_shards, sizeof(key),
		      cluster_cmp_shard);
	for (unsigned i = 0; row != NULL && i < c->n_stores; i++)
		if (c->stores[i].raft_id == row->leader)
			return &c->stores[i];
	return c->n_stores == 1 ? &c->stores[0] : NULL;
}

const struct cluster_store *cluster_chunk_store(const struct cluster *c,
						struct wire_u128 slice,
						uint32_t index, unsigned nth)
{
	struct wire_u128 id;

	if (c->ring == NULL || nth >= c->ring->copies)
		return NULL;
	id = ring_owner(c->ring, slice, index, nth);
	return cluster_find_store(c, id);
}
