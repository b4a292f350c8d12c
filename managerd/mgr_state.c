#include "managerd/mgr_state.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "common/ring/ring.h"

#define MGR_ROW_IMPL(name, FIELDS) WIRE_IMPL(mgr_row, name, FIELDS)
MGR_ROW_IMPL(cluster, MGR_ROW_CLUSTER)
MGR_ROW_IMPL(user, MGR_ROW_USER)
MGR_ROW_IMPL(key, MGR_ROW_KEY)
MGR_ROW_IMPL(bucket, MGR_ROW_BUCKET)
MGR_ROW_IMPL(store, MGR_ROW_STORE)
MGR_ROW_IMPL(shard, MGR_ROW_SHARD)
MGR_ROW_IMPL(session, MGR_ROW_SESSION)
MGR_ROW_IMPL(slot, MGR_ROW_SLOT)
WIRE_IMPL(mgr, bucket_step, MGR_BUCKET_STEP)
#define MGR_CMD_IMPL(number, name, FIELDS) WIRE_IMPL(mgr, name, FIELDS)
MGR_COMMANDS(MGR_CMD_IMPL)

#define MGR_MAX_BUCKETS_PER_OWNER 1000
#define MGR_MAX_SHARDS 4096

struct wire_bytes mgr_key(uint8_t *key, char type, const void *id, size_t len)
{
	if (len > MGR_KEY_MAX - 3)
		len = MGR_KEY_MAX - 3;
	key[0] = 0;
	key[1] = 0;
	key[2] = (uint8_t)type;
	if (len > 0)
		memcpy(key + 3, id, len);
	return wire_bytes(key, len + 3);
}

/* The end of a type's key range. */
static struct wire_bytes mgr_key_end(uint8_t *key, char type)
{
	return mgr_key(key, (char)(type + 1), NULL, 0);
}

int mgr_cmd_encode(struct buf *out, uint8_t cmd, int64_t now,
		   const void *payload, size_t len)
{
	struct wire_writer w = { out };
	uint8_t version = 1;

	wire_put_u8(&w, &version);
	wire_put_u8(&w, &cmd);
	wire_put_i64(&w, &now);
	buf_add(out, payload, len);
	return out->err;
}

/* Reads and decodes a row; 0, -ENOENT, -EAGAIN, -EIO. */
#define MGR_ROW_READ(name) \
	static int mgr_read_##name(struct rows_txn *t, struct wire_bytes key, \
				   struct mgr_row_##name *ret) \
	{ \
		struct wire_bytes v; \
		int rv = rows_get(t, key, &v); \
		if (rv != 0) \
			return rv; \
		return mgr_row_##name##_decode(ret, v.p, v.len) == 0 ? 0 \
								     : -EIO; \
	}
MGR_ROW_READ(cluster)
MGR_ROW_READ(user)
MGR_ROW_READ(key)
MGR_ROW_READ(bucket)
MGR_ROW_READ(store)
MGR_ROW_READ(shard)
MGR_ROW_READ(session)
MGR_ROW_READ(slot)

#define MGR_ROW_WRITE(name) \
	static int mgr_write_##name(struct rows_txn *t, struct wire_bytes key, \
				    const struct mgr_row_##name *row) \
	{ \
		struct buf b; \
		int rv; \
		buf_init(&b, 0); \
		rv = mgr_row_##name##_encode(row, &b); \
		if (rv == 0) \
			rv = rows_put(t, key, wire_bytes(b.data, b.len)); \
		buf_fini(&b); \
		return rv; \
	}
MGR_ROW_WRITE(cluster)
MGR_ROW_WRITE(user)
MGR_ROW_WRITE(key)
MGR_ROW_WRITE(bucket)
MGR_ROW_WRITE(store)
MGR_ROW_WRITE(shard)
MGR_ROW_WRITE(session)
MGR_ROW_WRITE(slot)

/* What every command works on. */
struct mgr_ctx {
	struct rows_txn *t;
	struct mgr_answer *a;
	int64_t now;
	struct mgr_row_cluster cluster;
	uint8_t ckey[MGR_KEY_MAX];
};

static int mgr_refuse(struct mgr_ctx *c, uint32_t status)
{
	c->a->status = status;
	return 0;
}

/* A change that clients must hear of. */
static int mgr_bump(struct mgr_ctx *c)
{
	c->cluster.version++;
	return mgr_write_cluster(c->t, mgr_key(c->ckey, 'C', NULL, 0),
				 &c->cluster);
}

/* --- answer slots --- */

static struct wire_bytes mgr_slot_key(uint8_t *key, uint64_t client,
				      uint32_t slot)
{
	uint8_t id[12];

	for (int i = 0; i < 8; i++)
		id[i] = (uint8_t)(client >> (56 - 8 * i));
	for (int i = 0; i < 4; i++)
		id[8 + i] = (uint8_t)(slot >> (24 - 8 * i));
	return mgr_key(key, 'R', id, sizeof id);
}

/* 1: answered from the slot. 0: go on. */
static int mgr_slot_replay(struct mgr_ctx *c, uint64_t client, uint32_t slot,
			   uint64_t seq)
{
	struct mgr_row_slot row;
	uint8_t key[MGR_KEY_MAX];
	int rv;

	if (client == 0)
		return 0;
	rv = mgr_read_slot(c->t, mgr_slot_key(key, client, slot), &row);
	if (rv == -ENOENT)
		return 0;
	if (rv != 0)
		return rv;
	if (seq > row.seq)
		return 0;
	c->a->status = seq == row.seq ? row.status : RPC_STATUS_BADMSG;
	if (seq == row.seq)
		buf_add(&c->a->payload, row.payload.p, row.payload.len);
	return c->a->payload.err != 0 ? c->a->payload.err : 1;
}

static int mgr_slot_store(struct mgr_ctx *c, uint64_t client, uint32_t slot,
			  uint64_t seq)
{
	uint8_t key[MGR_KEY_MAX];
	struct mgr_row_slot row = {
		.seq = seq,
		.status = c->a->status,
		.payload = wire_bytes(c->a->payload.data, c->a->payload.len),
	};

	if (client == 0)
		return 0;
	return mgr_write_slot(c->t, mgr_slot_key(key, client, slot), &row);
}

/* --- cluster and users --- */

static int mgr_do_init(struct mgr_ctx *c, const struct mgr_init *m)
{
	uint8_t key[MGR_KEY_MAX];
	struct mgr_row_user user = { m->canonical, 1, c->now };
	struct mgr_row_key access = { m->secret, m->user, 0, c->now };
	int rv;

	if (c->cluster.version != 0)
		return mgr_refuse(c, RPC_STATUS_EXIST);
	c->cluster = (struct mgr_row_cluster){
		.cluster = m->cluster,
		.region = m->region,
		.n = 1,
		.w = 1,
		.r = 1,
		.inline_max = m->inline_max,
		.durability = m->durability,
		.next_raft_id = 1,
		.next_bucket = 1,
		.next_session = 1,
		.epoch = 1,
	};
	rv = mgr_write_user(c->t, mgr_key(key, 'U', m->user.p, m->user.len),
			    &user);
	if (rv == 0)
		rv = mgr_write_key(
			c->t, mgr_key(key, 'K', m->access.p, m->access.len),
			&access);
	return rv != 0 ? rv : mgr_bump(c);
}

static int mgr_do_user_create(struct mgr_ctx *c,
			      const struct mgr_user_create *m)
{
	uint8_t key[MGR_KEY_MAX];
	struct mgr_row_user row;
	int rv;

	if (mgr_check_user_name(m->name) != NULL)
		return mgr_refuse(c, RPC_STATUS_INVAL);
	rv = mgr_read_user(c->t, mgr_key(key, 'U', m->name.p, m->name.len),
			   &row);
	if (rv == 0)
		return mgr_refuse(c, RPC_STATUS_EXIST);
	if (rv != -ENOENT)
		return rv;
	row = (struct mgr_row_user){ m->canonical, m->admin, c->now };
	rv = mgr_write_user(c->t, mgr_key(key, 'U', m->name.p, m->name.len),
			    &row);
	return rv != 0 ? rv : mgr_bump(c);
}

/* Walks a type's rows; visit returns 1 to stop. 0, 1, -errno. */
static int mgr_each(struct mgr_ctx *c, char type,
		    int (*visit)(struct mgr_ctx *c, struct wire_bytes id,
				 struct wire_bytes value, void *arg),
		    void *arg)
{
	uint8_t from[MGR_KEY_MAX + 1], end[MGR_KEY_MAX];
	struct wire_bytes key, value, start = mgr_key(from, type, NULL, 0);
	int rv;

	for (;;) {
		rv = rows_first(c->t, start, mgr_key_end(end, type), &key,
				&value);
		if (rv == -ENOENT)
			return 0;
		if (rv != 0)
			return rv;
		if (key.len > MGR_KEY_MAX)
			return -EIO;
		memcpy(from, key.p, key.len);
		from[key.len] = 0;
		rv = visit(c, wire_bytes(from + 3, key.len - 3), value, arg);
		if (rv != 0)
			return rv;
		start = wire_bytes(from, key.len + 1);
	}
}

static int mgr_visit_owned(struct mgr_ctx *c, struct wire_bytes id,
			   struct wire_bytes value, void *arg)
{
	const struct wire_bytes *owner = arg;
	struct mgr_row_bucket row;

	(void)c;
	(void)id;
	if (mgr_row_bucket_decode(&row, value.p, value.len) != 0)
		return -EIO;
	return wire_bytes_eq(row.owner, *owner) ? 1 : 0;
}

static int mgr_visit_drop_key(struct mgr_ctx *c, struct wire_bytes id,
			      struct wire_bytes value, void *arg)
{
	const struct wire_bytes *user = arg;
	struct mgr_row_key row;
	uint8_t key[MGR_KEY_MAX];

	if (mgr_row_key_decode(&row, value.p, value.len) != 0)
		return -EIO;
	if (!wire_bytes_eq(row.user, *user))
		return 0;
	return rows_del(c->t, mgr_key(key, 'K', id.p, id.len));
}

static int mgr_do_user_delete(struct mgr_ctx *c,
			      const struct mgr_user_delete *m)
{
	uint8_t key[MGR_KEY_MAX];
	struct mgr_row_user row;
	struct wire_bytes name = m->name;
	int rv = mgr_read_user(c->t, mgr_key(key, 'U', name.p, name.len), &row);

	if (rv == -ENOENT)
		return mgr_refuse(c, RPC_STATUS_NO_USER);
	if (rv != 0)
		return rv;
	rv = mgr_each(c, 'B', mgr_visit_owned, &name);
	if (rv == 1)
		return mgr_refuse(c, RPC_STATUS_NOTEMPTY);
	if (rv == 0)
		rv = mgr_each(c, 'K', mgr_visit_drop_key, &name);
	if (rv == 0)
		rv = rows_del(c->t, mgr_key(key, 'U', name.p, name.len));
	return rv != 0 ? rv : mgr_bump(c);
}

static int mgr_do_key_create(struct mgr_ctx *c, const struct mgr_key_create *m)
{
	uint8_t key[MGR_KEY_MAX];
	struct mgr_row_user user;
	struct mgr_row_key row;
	int rv = mgr_read_user(
		c->t, mgr_key(key, 'U', m->user.p, m->user.len), &user);

	if (rv == -ENOENT)
		return mgr_refuse(c, RPC_STATUS_NO_USER);
	if (rv != 0)
		return rv;
	rv = mgr_read_key(c->t, mgr_key(key, 'K', m->access.p, m->access.len),
			  &row);
	if (rv == 0)
		return mgr_refuse(c, RPC_STATUS_EXIST);
	if (rv != -ENOENT)
		return rv;
	row = (struct mgr_row_key){ m->secret, m->user, 0, c->now };
	rv = mgr_write_key(c->t, mgr_key(key, 'K', m->access.p, m->access.len),
			   &row);
	return rv != 0 ? rv : mgr_bump(c);
}

static int mgr_do_key_delete(struct mgr_ctx *c, const struct mgr_key_delete *m)
{
	uint8_t key[MGR_KEY_MAX];
	struct mgr_row_key row;
	int rv = mgr_read_key(
		c->t, mgr_key(key, 'K', m->access.p, m->access.len), &row);

	if (rv == -ENOENT)
		return mgr_refuse(c, RPC_STATUS_NO_KEY);
	if (rv == 0)
		rv = rows_del(c->t,
			      mgr_key(key, 'K', m->access.p, m->access.len));
	return rv != 0 ? rv : mgr_bump(c);
}

/* --- buckets --- */

/*
 *            BEGIN            READY             DELETING
 *   (none) ---------> creating ------> ready ------------> deleting
 *                        ^ BEGIN again    ^ RESTORE            | GONE
 *                                         +--------------------+--> (none)
 * The manager that leads drives each step; any later one can go on.
 */

struct mgr_pick {
	uint16_t shard;
	uint32_t least;
	unsigned seen;
};

static int mgr_visit_pick(struct mgr_ctx *c, struct wire_bytes id,
			  struct wire_bytes value, void *arg)
{
	struct mgr_pick *pick = arg;
	struct mgr_row_shard row;

	(void)c;
	if (id.len != 2 || mgr_row_shard_decode(&row, value.p, value.len) != 0)
		return -EIO;
	if (pick->seen++ == 0 || row.buckets < pick->least) {
		pick->least = row.buckets;
		pick->shard = (uint16_t)(id.p[0] << 8 | id.p[1]);
	}
	return 0;
}

static int mgr_shard_count(struct mgr_ctx *c, uint16_t shard, int delta)
{
	uint8_t key[MGR_KEY_MAX];
	uint8_t id[2] = { (uint8_t)(shard >> 8), (uint8_t)shard };
	struct mgr_row_shard row;
	int rv = mgr_read_shard(c->t, mgr_key(key, 'H', id, 2), &row);

	if (rv != 0)
		return rv == -ENOENT ? -EIO : rv;
	row.buckets = (uint32_t)((int)row.buckets + delta);
	return mgr_write_shard(c->t, mgr_key(key, 'H', id, 2), &row);
}

static int mgr_answer_step(struct mgr_ctx *c, const struct mgr_row_bucket *b,
			   bool done)
{
	struct mgr_bucket_step s = {
		.id = b->id,
		.shard = b->shard,
		.root = b->root,
		.uid = b->uid,
		.gid = b->gid,
		.umask = b->umask,
		.version = c->cluster.version,
		.done = done,
	};

	return mgr_bucket_step_encode(&s, &c->a->payload);
}

static int mgr_bucket_new(struct mgr_ctx *c, const struct mgr_bucket_begin *m)
{
	uint8_t key[MGR_KEY_MAX];
	struct mgr_pick pick = { 0, 0, 0 };
	struct mgr_row_bucket row;
	int rv = mgr_each(c, 'H', mgr_visit_pick, &pick);

	if (rv != 0)
		return rv;
	if (pick.seen == 0)
		return mgr_refuse(c, RPC_STATUS_UNAVAILABLE);
	row = (struct mgr_row_bucket){
		.id = c->cluster.next_bucket++,
		.owner = m->owner,
		.uid = m->uid,
		.gid = m->gid,
		.umask = m->umask,
		.created = c->now,
		.state = CLUSTER_BUCKET_CREATING,
		.shard = pick.shard,
	};
	rv = mgr_write_bucket(c->t, mgr_key(key, 'B', m->name.p, m->name.len),
			      &row);
	if (rv == 0)
		rv = mgr_shard_count(c, row.shard, 1);
	if (rv == 0)
		rv = mgr_bump(c);
	return rv != 0 ? rv : mgr_answer_step(c, &row, false);
}

static int mgr_do_bucket_begin(struct mgr_ctx *c,
			       const struct mgr_bucket_begin *m)
{
	uint8_t key[MGR_KEY_MAX];
	struct mgr_row_bucket row;
	struct mgr_row_user user;
	int rv = mgr_slot_replay(c, m->client, m->slot, m->seq);

	if (rv == 1 && c->a->status == RPC_STATUS_OK) {
		/* the request was carried out: tell the driver to stop */
		struct rpc_bucket_create_rsp rsp;
		struct mgr_row_bucket none = { 0 };
		rv = rpc_bucket_create_rsp_decode(&rsp, c->a->payload.data,
						  c->a->payload.len);
		buf_reset(&c->a->payload);
		return rv != 0 ? -EIO : mgr_answer_step(c, &none, true);
	}
	if (rv != 0)
		return rv == 1 ? 0 : rv;
	if (mgr_check_bucket_name(m->name) != NULL)
		return mgr_refuse(c, RPC_STATUS_INVAL);
	rv = mgr_read_user(c->t, mgr_key(key, 'U', m->owner.p, m->owner.len),
			   &user);
	if (rv == -ENOENT)
		return mgr_refuse(c, RPC_STATUS_NO_USER);
	if (rv != 0)
		return rv;
	rv = mgr_read_bucket(c->t, mgr_key(key, 'B', m->name.p, m->name.len),
			     &row);
	if (rv == -ENOENT)
		return mgr_bucket_new(c, m);
	if (rv != 0)
		return rv;
	if (!wire_bytes_eq(row.owner, m->owner))
		return mgr_refuse(c, RPC_STATUS_BUCKET_EXISTS);
	if (row.state == CLUSTER_BUCKET_CREATING)
		return mgr_answer_step(c, &row, false);
	return mgr_refuse(c, row.state == CLUSTER_BUCKET_READY
				     ? RPC_STATUS_BUCKET_OWNED
				     : RPC_STATUS_BUSY);
}

static int mgr_do_bucket_ready(struct mgr_ctx *c,
			       const struct mgr_bucket_ready *m)
{
	uint8_t key[MGR_KEY_MAX];
	struct mgr_row_bucket row;
	struct rpc_bucket_create_rsp rsp;
	int rv = mgr_read_bucket(
		c->t, mgr_key(key, 'B', m->name.p, m->name.len), &row);

	if (rv == -ENOENT || (rv == 0 && row.id != m->id))
		return mgr_refuse(c, RPC_STATUS_NO_BUCKET);
	if (rv != 0)
		return rv;
	if (row.state == CLUSTER_BUCKET_CREATING) {
		row.state = CLUSTER_BUCKET_READY;
		row.root = m->root;
		rv = mgr_write_bucket(
			c->t, mgr_key(key, 'B', m->name.p, m->name.len), &row);
		if (rv == 0)
			rv = mgr_bump(c);
	}
	rsp.version = c->cluster.version;
	if (rv == 0)
		rv = rpc_bucket_create_rsp_encode(&rsp, &c->a->payload);
	return rv != 0 ? rv : mgr_slot_store(c, m->client, m->slot, m->seq);
}

static int mgr_do_bucket_deleting(struct mgr_ctx *c,
				  const struct mgr_bucket_deleting *m)
{
	uint8_t key[MGR_KEY_MAX];
	struct mgr_row_bucket row;
	int rv = mgr_slot_replay(c, m->client, m->slot, m->seq);

	if (rv == 1 && c->a->status == RPC_STATUS_OK) {
		struct mgr_row_bucket none = { 0 };
		buf_reset(&c->a->payload);
		return mgr_answer_step(c, &none, true);
	}
	if (rv != 0)
		return rv == 1 ? 0 : rv;
	rv = mgr_read_bucket(c->t, mgr_key(key, 'B', m->name.p, m->name.len),
			     &row);
	if (rv == -ENOENT)
		return mgr_refuse(c, RPC_STATUS_NO_BUCKET);
	if (rv != 0)
		return rv;
	if (m->force_owner == 0 && !wire_bytes_eq(row.owner, m->owner))
		return mgr_refuse(c, RPC_STATUS_ACCES);
	if (row.state == CLUSTER_BUCKET_CREATING)
		return mgr_refuse(c, RPC_STATUS_BUSY);
	if (row.state == CLUSTER_BUCKET_READY) {
		row.state = CLUSTER_BUCKET_DELETING;
		rv = mgr_write_bucket(
			c->t, mgr_key(key, 'B', m->name.p, m->name.len), &row);
		if (rv == 0)
			rv = mgr_bump(c);
	}
	return rv != 0 ? rv : mgr_answer_step(c, &row, false);
}

static int mgr_do_bucket_gone(struct mgr_ctx *c,
			      const struct mgr_bucket_gone *m)
{
	uint8_t key[MGR_KEY_MAX];
	struct mgr_row_bucket row;
	struct rpc_bucket_delete_rsp rsp;
	int rv = mgr_read_bucket(
		c->t, mgr_key(key, 'B', m->name.p, m->name.len), &row);

	if (rv == 0 && row.id == m->id) {
		rv = rows_del(c->t,
			      mgr_key(key, 'B', m->name.p, m->name.len));
		if (rv == 0)
			rv = mgr_shard_count(c, row.shard, -1);
		if (rv == 0)
			rv = mgr_bump(c);
	} else if (rv == -ENOENT) {
		rv = 0;
	}
	rsp.version = c->cluster.version;
	if (rv == 0)
		rv = rpc_bucket_delete_rsp_encode(&rsp, &c->a->payload);
	return rv != 0 ? rv : mgr_slot_store(c, m->client, m->slot, m->seq);
}

static int mgr_do_bucket_restore(struct mgr_ctx *c,
				 const struct mgr_bucket_restore *m)
{
	uint8_t key[MGR_KEY_MAX];
	struct mgr_row_bucket row;
	int rv = mgr_read_bucket(
		c->t, mgr_key(key, 'B', m->name.p, m->name.len), &row);

	if (rv == -ENOENT)
		return 0;
	if (rv != 0 || row.id != m->id ||
	    row.state != CLUSTER_BUCKET_DELETING)
		return rv;
	row.state = CLUSTER_BUCKET_READY;
	rv = mgr_write_bucket(c->t, mgr_key(key, 'B', m->name.p, m->name.len),
			      &row);
	return rv != 0 ? rv : mgr_bump(c);
}

/* --- durability --- */

static int mgr_do_durability(struct mgr_ctx *c, const struct mgr_durability *m)
{
	uint8_t key[MGR_KEY_MAX];
	struct mgr_row_bucket row;
	struct wire_bytes k;
	int rv;

	if (m->durability > CLUSTER_DURABILITY_MEMORY)
		return mgr_refuse(c, RPC_STATUS_INVAL);
	if (m->bucket.len == 0) {
		c->cluster.durability = m->durability;
		return mgr_bump(c);
	}
	if (mgr_check_bucket_name(m->bucket) != NULL)
		return mgr_refuse(c, RPC_STATUS_NO_BUCKET);
	k = mgr_key(key, 'B', m->bucket.p, m->bucket.len);
	rv = mgr_read_bucket(c->t, k, &row);
	if (rv == -ENOENT)
		return mgr_refuse(c, RPC_STATUS_NO_BUCKET);
	if (rv != 0)
		return rv;
	row.durability = m->durability;
	rv = mgr_write_bucket(c->t, k, &row);
	return rv != 0 ? rv : mgr_bump(c);
}

/* --- sessions and stores --- */

static struct wire_bytes mgr_key_u64(uint8_t *key, char type, uint64_t id)
{
	uint8_t b[8];

	for (int i = 0; i < 8; i++)
		b[i] = (uint8_t)(id >> (56 - 8 * i));
	return mgr_key(key, type, b, sizeof b);
}

static int mgr_do_session_open(struct mgr_ctx *c,
			       const struct mgr_session_open *m)
{
	uint8_t key[MGR_KEY_MAX];
	struct mgr_row_session row = { m->kind, m->host, c->now, 0 };
	struct rpc_session_open_rsp rsp;
	int rv;

	if (m->kind.len > 64 || m->host.len > 256)
		return mgr_refuse(c, RPC_STATUS_INVAL);
	rsp = (struct rpc_session_open_rsp){
		.session = c->cluster.next_session++,
		.now_sec = (uint64_t)(c->now / 1000000000),
		.lease_ms = m->lease_ms,
	};
	rv = mgr_write_session(c->t, mgr_key_u64(key, 'N', rsp.session), &row);
	if (rv == 0) /* no bump: clients need not hear of it */
		rv = mgr_write_cluster(c->t, mgr_key(c->ckey, 'C', NULL, 0),
				       &c->cluster);
	return rv != 0 ? rv
		       : rpc_session_open_rsp_encode(&rsp, &c->a->payload);
}

/* gone: rows of those that ended go; else those that live end now. */
static int mgr_session_each(struct mgr_ctx *c, struct wire_bytes list,
			    bool gone)
{
	struct wire_reader r = { .p = list.p, .left = list.len };
	int all = 0;

	while (r.left >= 8) {
		struct mgr_row_session row;
		uint8_t key[MGR_KEY_MAX];
		struct wire_bytes k;
		uint64_t id;
		int rv;

		wire_get_u64(&r, &id);
		k = mgr_key_u64(key, 'N', id);
		rv = mgr_read_session(c->t, k, &row);
		if (rv == 0 && gone && row.ended != 0) {
			rv = rows_del(c->t, k);
		} else if (rv == 0 && !gone && row.ended == 0) {
			row.ended = c->now;
			rv = mgr_write_session(c->t, k, &row);
		}
		if (rv == -EAGAIN)
			all = rv;
		else if (rv != 0 && rv != -ENOENT)
			return rv;
	}
	return all;
}

static int mgr_do_session_end(struct mgr_ctx *c,
			      const struct mgr_session_end *m)
{
	return mgr_session_each(c, m->sessions, false);
}

static int mgr_do_session_gone(struct mgr_ctx *c,
			       const struct mgr_session_gone *m)
{
	return mgr_session_each(c, m->sessions, true);
}

static int mgr_visit_other_store(struct mgr_ctx *c, struct wire_bytes id,
				 struct wire_bytes value, void *arg)
{
	(void)c;
	(void)value;
	return id.len == 16 && memcmp(id.p, arg, 16) != 0 ? 1 : 0;
}

static int mgr_store_shards(struct mgr_ctx *c, uint64_t raft_id, uint16_t n)
{
	for (uint16_t i = 1; i <= n; i++) {
		uint8_t key[MGR_KEY_MAX];
		uint8_t id[2] = { (uint8_t)(i >> 8), (uint8_t)i };
		struct mgr_row_shard row = { raft_id, 0 };
		int rv = mgr_write_shard(c->t, mgr_key(key, 'H', id, 2), &row);

		if (rv != 0)
			return rv;
	}
	return 0;
}

/* The ring with this one store; canonical bytes into the cluster record. */
static int mgr_store_ring(struct mgr_ctx *c, const struct mgr_store_join *m,
			  struct buf *ring)
{
	struct ring_store store = { .id = m->store, .weight = 1,
				    .host = m->host };
	int rv = ring_build_encoded(&store, 1, 1, c->cluster.epoch, ring);

	if (rv == 0)
		c->cluster.ring = wire_bytes(ring->data, ring->len);
	return rv;
}

static int mgr_visit_shard_list(struct mgr_ctx *c, struct wire_bytes id,
				struct wire_bytes value, void *arg)
{
	struct buf *list = arg;

	(void)c;
	(void)value;
	buf_add(list, id.p, id.len);
	return list->err;
}

static int mgr_store_answer(struct mgr_ctx *c, const struct mgr_row_store *row)
{
	struct rpc_store_join_rsp rsp = { .raft_id = row->raft_id,
					  .epoch = c->cluster.epoch };
	struct buf list;
	int rv;

	buf_init(&list, 2 * MGR_MAX_SHARDS);
	rv = mgr_each(c, 'H', mgr_visit_shard_list, &list);
	if (rv == 0) {
		rsp.shards = wire_bytes(list.data, list.len);
		rv = rpc_store_join_rsp_encode(&rsp, &c->a->payload);
	}
	buf_fini(&list);
	return rv;
}

/* Without an address: the answer alone, to one that recounts and serves none. */
static int mgr_do_store_join(struct mgr_ctx *c, const struct mgr_store_join *m)
{
	uint8_t key[MGR_KEY_MAX], id[16];
	struct mgr_row_store row;
	struct buf ring;
	int rv;

	if (m->shards == 0 || m->shards > MGR_MAX_SHARDS)
		return mgr_refuse(c, RPC_STATUS_INVAL);
	for (int i = 0; i < 8; i++) {
		id[i] = (uint8_t)(m->store.hi >> (56 - 8 * i));
		id[8 + i] = (uint8_t)(m->store.lo >> (56 - 8 * i));
	}
	rv = mgr_each(c, 'O', mgr_visit_other_store, id);
	if (rv != 0) /* one store until the cluster learns to move data */
		return rv == 1 ? mgr_refuse(c, RPC_STATUS_NOTSUP) : rv;
	rv = mgr_read_store(c->t, mgr_key(key, 'O', id, sizeof id), &row);
	if (rv != 0 && rv != -ENOENT)
		return rv;
	if (m->addr.len == 0)
		return rv == 0 ? mgr_store_answer(c, &row) :
				 mgr_refuse(c, RPC_STATUS_NOENT);
	buf_init(&ring, 0);
	if (rv == -ENOENT) {
		row = (struct mgr_row_store){
			.raft_id = c->cluster.next_raft_id++,
			.joined = c->now,
		};
		c->cluster.epoch++;
		rv = mgr_store_shards(c, row.raft_id, m->shards);
		if (rv == 0)
			rv = mgr_store_ring(c, m, &ring);
	}
	row.addr = m->addr;
	row.host = m->host;
	row.total = m->total;
	row.avail = m->avail;
	if (rv == 0)
		rv = mgr_write_store(c->t, mgr_key(key, 'O', id, sizeof id),
				     &row);
	if (rv == 0)
		rv = mgr_bump(c);
	if (rv == 0)
		rv = mgr_store_answer(c, &row);
	buf_fini(&ring);
	return rv;
}

/* --- dispatch --- */

#define MGR_CASE(number, name, FIELDS) \
	case MGR_CMD_##name: { \
		struct mgr_##name m; \
		if (mgr_##name##_decode(&m, r.p, r.left) != 0) \
			return -EIO; \
		return mgr_do_##name(c, &m); \
	}

static int mgr_dispatch(struct mgr_ctx *c, uint8_t cmd, struct wire_reader r)
{
	if (cmd != MGR_CMD_init && c->cluster.version == 0)
		return mgr_refuse(c, RPC_STATUS_UNAVAILABLE);
	switch (cmd) {
		MGR_COMMANDS(MGR_CASE)
	default:
		return -EIO; /* a command of a newer version */
	}
}

int mgr_apply(struct rows_txn *t, const uint8_t *data, size_t len,
	      struct mgr_answer *a)
{
	struct mgr_ctx c = { .t = t, .a = a };
	struct wire_reader r = { .p = data, .left = len };
	uint8_t version, cmd;
	int rv;

	wire_get_u8(&r, &version);
	wire_get_u8(&r, &cmd);
	wire_get_i64(&r, &c.now);
	if (len < MGR_CMD_HEADER || r.err != 0 || version != 1)
		return -EIO;
	a->status = RPC_STATUS_OK;
	buf_reset(&a->payload);
	rv = mgr_read_cluster(t, mgr_key(c.ckey, 'C', NULL, 0), &c.cluster);
	if (rv == -ENOENT)
		memset(&c.cluster, 0, sizeof c.cluster);
	else if (rv != 0)
		return rv;
	return mgr_dispatch(&c, cmd, r);
}

/* --- names --- */

const char *mgr_check_bucket_name(struct wire_bytes n)
{
	unsigned dots = 0, digits = 0;

	if (n.len < 3 || n.len > 63)
		return "a bucket name has 3 to 63 characters";
	for (size_t i = 0; i < n.len; i++) {
		uint8_t ch = n.p[i];
		bool edge = i == 0 || i == n.len - 1;

		if (!(islower(ch) || isdigit(ch) || ch == '-' || ch == '.'))
			return "a bucket name has lower-case letters, digits, "
			       "hyphens and dots";
		if (edge && !(islower(ch) || isdigit(ch)))
			return "a bucket name begins and ends with a letter "
			       "or digit";
		if (ch == '.' && (n.p[i - 1] == '.' || n.p[i - 1] == '-' ||
				  n.p[i + 1] == '-'))
			return "a bucket name has no dot beside a dot or "
			       "hyphen";
		dots += ch == '.';
		digits += isdigit(ch) != 0;
	}
	if (dots == 3 && digits + dots == n.len)
		return "a bucket name does not look like an IP address";
	if (n.len >= 4 && memcmp(n.p, "xn--", 4) == 0)
		return "a bucket name does not begin with xn--";
	return NULL;
}

const char *mgr_check_user_name(struct wire_bytes n)
{
	if (n.len < 1 || n.len > 64)
		return "a user name has 1 to 64 characters";
	for (size_t i = 0; i < n.len; i++)
		if (!isalnum(n.p[i]) &&
		    memchr("-_.@+=,", n.p[i], 7) == NULL)
			return "a user name has letters, digits and -_.@+=,";
	return NULL;
}
