#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "managerd/mgr_state.h"

/* The lists of a snapshot while the rows are walked in key order. */
struct mgr_snap {
	struct mgr_row_cluster cluster;
	uint8_t *cluster_bytes; /* owns what cluster borrows */
	struct wire_vec stores, shards, buckets, keys, users;
};

static int mgr_snap_bucket(struct mgr_snap *s, struct wire_bytes id,
			   struct wire_bytes value)
{
	struct mgr_row_bucket row;
	struct cluster_bucket b;

	if (mgr_row_bucket_decode(&row, value.p, value.len) != 0)
		return -EIO;
	b = (struct cluster_bucket){
		.id = row.id,
		.name = id,
		.owner = row.owner,
		.root = row.root,
		.uid = row.uid,
		.gid = row.gid,
		.umask = row.umask,
		.created = row.created,
		.state = row.state,
		.durability = row.durability,
	};
	(void)wire_vec_add(&s->buckets);
	return cluster_bucket_encode(&b, &s->buckets.buf);
}

static int mgr_snap_store(struct mgr_snap *s, struct wire_bytes id,
			  struct wire_bytes value)
{
	struct mgr_row_store row;
	struct cluster_store o = { 0 };
	struct wire_reader r = { .p = id.p, .left = id.len };

	wire_get_u128(&r, &o.id);
	if (r.err != 0 || id.len != 16 ||
	    mgr_row_store_decode(&row, value.p, value.len) != 0)
		return -EIO;
	o.raft_id = row.raft_id;
	o.addr = row.addr;
	o.host = row.host;
	o.total = row.total;
	o.avail = row.avail;
	(void)wire_vec_add(&s->stores);
	return cluster_store_encode(&o, &s->stores.buf);
}

static int mgr_snap_shard(struct mgr_snap *s, struct wire_bytes id,
			  struct wire_bytes value)
{
	struct mgr_row_shard row;
	struct cluster_shard h;

	if (id.len != 2 || mgr_row_shard_decode(&row, value.p, value.len) != 0)
		return -EIO;
	h.shard = (uint16_t)(id.p[0] << 8 | id.p[1]);
	h.leader = row.leader;
	(void)wire_vec_add(&s->shards);
	return cluster_shard_encode(&h, &s->shards.buf);
}

static int mgr_snap_key(struct mgr_snap *s, struct wire_bytes id,
			struct wire_bytes value)
{
	struct mgr_row_key row;
	struct cluster_key k;

	if (mgr_row_key_decode(&row, value.p, value.len) != 0)
		return -EIO;
	k = (struct cluster_key){ id, row.secret, row.user, row.disabled };
	(void)wire_vec_add(&s->keys);
	return cluster_key_encode(&k, &s->keys.buf);
}

static int mgr_snap_user(struct mgr_snap *s, struct wire_bytes id,
			 struct wire_bytes value)
{
	struct mgr_row_user row;
	struct cluster_user u;

	if (mgr_row_user_decode(&row, value.p, value.len) != 0)
		return -EIO;
	u = (struct cluster_user){ id, row.canonical, row.admin };
	(void)wire_vec_add(&s->users);
	return cluster_user_encode(&u, &s->users.buf);
}

static int mgr_snap_row(struct mgr_snap *s, struct wire_bytes key,
			struct wire_bytes value)
{
	struct wire_bytes id;

	if (key.len < 3)
		return -EIO;
	id = wire_bytes(key.p + 3, key.len - 3);
	switch (key.p[2]) {
	case 'B':
		return mgr_snap_bucket(s, id, value);
	case 'C':
		mem_free(s->cluster_bytes);
		s->cluster_bytes = mem_dup(value.p, value.len);
		if (s->cluster_bytes == NULL)
			return -ENOMEM;
		return mgr_row_cluster_decode(&s->cluster, s->cluster_bytes,
					      value.len) == 0
			       ? 0
			       : -EIO;
	case 'H':
		return mgr_snap_shard(s, id, value);
	case 'K':
		return mgr_snap_key(s, id, value);
	case 'O':
		return mgr_snap_store(s, id, value);
	case 'U':
		return mgr_snap_user(s, id, value);
	default:
		return 0; /* sessions, answer slots, the host's own */
	}
}

static int mgr_snap_encode(struct mgr_snap *s, struct buf *out)
{
	struct cluster_top top = {
		.cluster = s->cluster.cluster,
		.version = s->cluster.version,
		.epoch = s->cluster.epoch,
		.region = s->cluster.region,
		.n = s->cluster.n,
		.w = s->cluster.w,
		.r = s->cluster.r,
		.inline_max = s->cluster.inline_max,
		.durability = s->cluster.durability,
		.stores = wire_vec_bytes(&s->stores),
		.shards = wire_vec_bytes(&s->shards),
		.buckets = wire_vec_bytes(&s->buckets),
		.keys = wire_vec_bytes(&s->keys),
		.users = wire_vec_bytes(&s->users),
		.ring = s->cluster.ring,
	};

	if (s->stores.buf.err != 0 || s->shards.buf.err != 0 ||
	    s->buckets.buf.err != 0 || s->keys.buf.err != 0 ||
	    s->users.buf.err != 0)
		return -ENOMEM;
	return cluster_top_encode(&top, out);
}

static void mgr_snap_init(struct mgr_snap *s)
{
	memset(s, 0, sizeof *s);
	wire_vec_init(&s->stores);
	wire_vec_init(&s->shards);
	wire_vec_init(&s->buckets);
	wire_vec_init(&s->keys);
	wire_vec_init(&s->users);
}

static void mgr_snap_fini(struct mgr_snap *s)
{
	mem_free(s->cluster_bytes);
	wire_vec_fini(&s->stores);
	wire_vec_fini(&s->shards);
	wire_vec_fini(&s->buckets);
	wire_vec_fini(&s->keys);
	wire_vec_fini(&s->users);
}

int mgr_snapshot(struct rows_back *back, struct buf *out,
		 uint64_t *ret_version)
{
	static const uint8_t group[2] = { 0, 0 };
	struct mgr_snap s;
	struct rows_iter *it = NULL;
	struct wire_bytes key, value;
	int rv;

	mgr_snap_init(&s);
	rv = rows_iter_new(back, wire_bytes(group, 2), wire_bytes(NULL, 0),
			   &it);
	while (rv == 0) {
		rv = rows_iter_next(it, &key, &value);
		if (rv == 0)
			rv = mgr_snap_row(&s, key, value);
	}
	rows_iter_free(it);
	if (rv == -ENOENT)
		rv = mgr_snap_encode(&s, out);
	if (rv == 0)
		*ret_version = s.cluster.version;
	mgr_snap_fini(&s);
	return rv;
}
