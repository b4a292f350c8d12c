/* The operations of the admin API; docs/ADMIN_API.md is made from the table. */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/metrics.h"
#include "common/ring/ring.h"
#include "managerd/admin_impl.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#else
#define PACKAGE_VERSION "development"
#endif

/* --- answers of commands --- */

static void admin_on_command(void *arg, uint32_t status,
			     struct wire_bytes payload)
{
	struct admin_req *r = arg;

	(void)payload;
	if (status == RPC_STATUS_OK)
		admin_reply(r, 200, json_pack("{s:b}", "ok", 1));
	else
		admin_status(r, status);
	admin_release(r);
}

/* --- status and version --- */

static void admin_version(struct admin_req *r)
{
	admin_reply(r, 200,
		    json_pack("{s:s, s:i, s:i}", "version", PACKAGE_VERSION,
			      "api", 1, "format", 1));
}

static void admin_health(struct admin_req *r)
{
	if (r->m->leading)
		admin_reply(r, 200, json_pack("{s:b}", "ok", 1));
	else
		admin_error(r, 503, "no leader yet");
}

static json_t *admin_store_json(const struct admin_req *r,
				const struct cluster_store *s)
{
	char id[33];

	snprintf(id, sizeof id, "%016llx%016llx",
		 (unsigned long long)s->id.hi, (unsigned long long)s->id.lo);
	return json_pack(
		"{s:s, s:I, s:o, s:o, s:I, s:I, s:f}", "id", id, "raft_id",
		(json_int_t)s->raft_id, "address", admin_text(s->addr), "host",
		admin_text(s->host), "bytes_total",
		(json_int_t)r->m->store_total, "bytes_available",
		(json_int_t)r->m->store_avail, "seconds_since_heartbeat",
		(double)(env_now_ns(r->m->env) - r->m->beat_ns) / 1e9);
}

/* Names of the buckets whose last changes a power cut may take. */
static json_t *admin_loose_names(const struct cluster *c)
{
	json_t *names = json_array();

	for (unsigned i = 0; i < c->n_buckets; i++)
		if (cluster_is_loose(c, &c->buckets[i]))
			json_array_append_new(names,
					      admin_text(c->buckets[i].name));
	return names;
}

/* Of a bucket, or (NULL) of those that have none of their own. */
static const char *admin_durability(const struct cluster *c,
				    const struct cluster_bucket *b)
{
	bool loose = b != NULL ? cluster_is_loose(c, b)
			       : c->top.durability ==
					 CLUSTER_DURABILITY_MEMORY;

	return cluster_durability_name(loose ? CLUSTER_DURABILITY_MEMORY
					     : CLUSTER_DURABILITY_DISK);
}

static void admin_status_ready(struct admin_req *r)
{
	const struct cluster *c = r->cluster;
	json_t *stores = json_array(), *loose = admin_loose_names(c);
	char id[33];

	for (unsigned i = 0; i < c->n_stores; i++)
		json_array_append_new(stores,
				      admin_store_json(r, &c->stores[i]));
	snprintf(id, sizeof id, "%016llx%016llx",
		 (unsigned long long)c->top.cluster.hi,
		 (unsigned long long)c->top.cluster.lo);
	admin_reply(
		r, 200,
		json_pack("{s:s, s:s, s:I, s:I, s:o, s:I, s:I, s:I, s:s, s:I, "
			  "s:o, s:I, s:I, s:I, s:I, s:f, s:o}",
			  "cluster", id, "version", PACKAGE_VERSION,
			  "state_version", (json_int_t)c->top.version, "epoch",
			  (json_int_t)c->top.epoch, "region",
			  admin_text(c->top.region), "copies",
			  (json_int_t)c->top.n, "write_quorum",
			  (json_int_t)c->top.w, "read_quorum",
			  (json_int_t)c->top.r, "durability",
			  admin_durability(c, NULL), "memory_buckets",
			  (json_int_t)json_array_size(loose),
			  "memory_bucket_names", loose,
			  "losses_survived", (json_int_t)0, "shards",
			  (json_int_t)c->n_shards, "buckets",
			  (json_int_t)c->n_buckets, "users",
			  (json_int_t)c->n_users, "uptime_seconds",
			  (double)(env_now_ns(r->m->env) - r->m->started_ns) /
				  1e9,
			  "stores", stores));
}

static void admin_status_get(struct admin_req *r)
{
	admin_with_cluster(r, admin_status_ready);
}

static void admin_metric_head(const struct manager *m,
			      const struct mgr_head *h, const char *state,
			      uint64_t bytes, struct buf *out)
{
	buf_printf(out, "leofs_store_segment_bytes{store=\"%016llx%016llx\","
			"head=\"%s\",state=\"%s\"} %llu\n",
		   (unsigned long long)m->beat_store.hi,
		   (unsigned long long)m->beat_store.lo, h->name, state,
		   (unsigned long long)bytes);
}

static void admin_metric_count(const struct manager *m, const char *name,
			       const char *help, uint64_t n, struct buf *out)
{
	buf_printf(out, "# HELP leofs_store_%s_total %s\n"
			"# TYPE leofs_store_%s_total counter\n"
			"leofs_store_%s_total{store=\"%016llx%016llx\"} "
			"%llu\n", name, help, name, name,
		   (unsigned long long)m->beat_store.hi,
		   (unsigned long long)m->beat_store.lo,
		   (unsigned long long)n);
}

static void admin_metrics_counts(const struct manager *m, struct buf *out)
{
#define ADMIN_COUNT(name, help) \
	admin_metric_count(m, #name, help, m->counts.name, out);
	STORE_COUNTS(ADMIN_COUNT)
#undef ADMIN_COUNT
}

static void admin_metrics_heads(const struct manager *m, struct buf *out)
{
	buf_puts(out, "# HELP leofs_store_segment_bytes Bytes of segments on "
		      "the disk of a store: in use, or given back by "
		      "compaction.\n"
		      "# TYPE leofs_store_segment_bytes gauge\n");
	for (unsigned i = 0; i < m->n_heads; i++) {
		const struct mgr_head *h = &m->heads[i];

		admin_metric_head(m, h, "live", h->live, out);
		admin_metric_head(m, h, "dead",
				  h->bytes > h->live ? h->bytes - h->live : 0,
				  out);
	}
}

/* What stores say of themselves in their heartbeats. */
static void admin_metrics_stores(const struct manager *m, struct buf *out)
{
	if (m->beat_store.hi == 0 && m->beat_store.lo == 0)
		return;
	if (m->n_heads > 0)
		admin_metrics_heads(m, out);
	admin_metrics_counts(m, out);
}

static void admin_metrics(struct admin_req *r)
{
	struct buf b;

	buf_init(&b, 0);
	metrics_write(&b);
	admin_metrics_stores(r->m, &b);
	http_reply_begin(r->http, 200);
	(void)http_reply_header(r->http, "Content-Type",
				wire_cstr("text/plain; version=0.0.4"));
	http_reply_end_head(r->http, (int64_t)b.len);
	http_reply_add(r->http, b.data, b.len);
	http_reply_end(r->http);
	buf_fini(&b);
}

/* --- sessions --- */

static void admin_session_add(void *arg, const struct mgr_session_info *s)
{
	json_array_append_new(
		arg, json_pack("{s:I, s:o, s:o, s:s, s:I, s:f}", "session",
			       (json_int_t)s->id, "kind",
			       admin_text(wire_cstr(s->kind)), "host",
			       admin_text(wire_cstr(s->host)), "state",
			       s->expired ? "expired" : "alive", "opened",
			       (json_int_t)(s->opened / 1000000000),
			       "seconds_since_renewal",
			       (double)s->silent_ns / 1e9));
}

static void admin_sessions_get(struct admin_req *r)
{
	json_t *list = json_array();

	if (!r->m->leading || !mgr_sessions_known(r->m)) {
		json_decref(list);
		admin_status(r, RPC_STATUS_UNAVAILABLE);
		return;
	}
	mgr_sessions_each(r->m, admin_session_add, list);
	admin_reply(r, 200, json_pack("{s:o}", "sessions", list));
}

/* --- users --- */

static void admin_users_ready(struct admin_req *r)
{
	const struct cluster *c = r->cluster;
	json_t *list = json_array();

	for (unsigned i = 0; i < c->n_users; i++) {
		const struct cluster_user *u = &c->users[i];
		json_int_t keys = 0;

		for (unsigned k = 0; k < c->n_keys; k++)
			keys += wire_bytes_eq(c->keys[k].user, u->name);
		json_array_append_new(
			list, json_pack("{s:o, s:o, s:b, s:I}", "name",
					admin_text(u->name), "canonical_id",
					admin_text(u->canonical), "admin",
					(int)u->admin, "keys", keys));
	}
	admin_reply(r, 200, json_pack("{s:o}", "users", list));
}

static void admin_users_get(struct admin_req *r)
{
	admin_with_cluster(r, admin_users_ready);
}

static void admin_key_made(void *arg, uint32_t status,
			   struct wire_bytes payload)
{
	struct admin_req *r = arg;

	(void)payload;
	if (status == RPC_STATUS_OK)
		admin_reply(r, 201,
			    json_pack("{s:s, s:s, s:s}", "user",
				      admin_body_str(r, "user"),
				      "access_key", r->access, "secret_key",
				      r->secret));
	else
		admin_status(r, status);
	OPENSSL_cleanse(r->secret, sizeof r->secret);
	admin_release(r);
}

static void admin_key_create_for(struct admin_req *r, const char *user)
{
	struct mgr_key_create cmd;

	mgr_make_key(r->m->env, r->access, r->secret);
	cmd = (struct mgr_key_create){ .user = wire_cstr(user),
				       .access = wire_cstr(r->access),
				       .secret = wire_cstr(r->secret) };
	admin_hold(r);
	MGR_SUBMIT(r->m, key_create, &cmd, admin_key_made, r);
}

static void admin_user_made(void *arg, uint32_t status,
			    struct wire_bytes payload)
{
	struct admin_req *r = arg;
	const char *name = admin_body_str(r, "name");

	(void)payload;
	if (status != RPC_STATUS_OK) {
		admin_status(r, status);
	} else { /* a user without a key is of no use: make one */
		json_object_set_new(r->json, "user", json_string(name));
		admin_key_create_for(r, name);
	}
	admin_release(r);
}

static void admin_user_create(struct admin_req *r)
{
	const char *name = admin_body_str(r, "name");
	struct mgr_user_create cmd;
	char canonical[65];
	uint8_t raw[32];
	const char *wrong;

	if (name == NULL) {
		admin_error(r, 400, "\"name\" is needed");
		return;
	}
	wrong = mgr_check_user_name(wire_cstr(name));
	if (wrong != NULL) {
		admin_error(r, 400, wrong);
		return;
	}
	env_random(r->m->env, raw, sizeof raw);
	for (int i = 0; i < 32; i++)
		snprintf(canonical + 2 * i, 3, "%02x", raw[i]);
	cmd = (struct mgr_user_create){
		.name = wire_cstr(name),
		.canonical = wire_cstr(canonical),
		.admin = json_is_true(json_object_get(r->json, "admin")),
	};
	admin_hold(r);
	MGR_SUBMIT(r->m, user_create, &cmd, admin_user_made, r);
}

static void admin_user_delete(struct admin_req *r)
{
	struct mgr_user_delete cmd = { .name = wire_cstr(r->arg) };

	admin_hold(r);
	MGR_SUBMIT(r->m, user_delete, &cmd, admin_on_command, r);
}

/* --- keys --- */

static void admin_keys_ready(struct admin_req *r)
{
	const struct cluster *c = r->cluster;
	char *user = admin_query(r, "user");
	json_t *list = json_array();

	for (unsigned i = 0; i < c->n_keys; i++) {
		const struct cluster_key *k = &c->keys[i];

		if (user != NULL && !wire_bytes_eq(k->user, wire_cstr(user)))
			continue;
		json_array_append_new(
			list, json_pack("{s:o, s:o, s:b}", "access_key",
					admin_text(k->access), "user",
					admin_text(k->user), "disabled",
					(int)k->disabled));
	}
	mem_free(user);
	admin_reply(r, 200, json_pack("{s:o}", "keys", list));
}

static void admin_keys_get(struct admin_req *r)
{
	admin_with_cluster(r, admin_keys_ready);
}

static void admin_key_create(struct admin_req *r)
{
	const char *user = admin_body_str(r, "user");

	if (user == NULL)
		admin_error(r, 400, "\"user\" is needed");
	else
		admin_key_create_for(r, user);
}

static void admin_key_delete(struct admin_req *r)
{
	struct mgr_key_delete cmd = { .access = wire_cstr(r->arg) };

	admin_hold(r);
	MGR_SUBMIT(r->m, key_delete, &cmd, admin_on_command, r);
}

/* --- buckets --- */

static const char *admin_bucket_state(uint8_t state)
{
	switch (state) {
	case CLUSTER_BUCKET_CREATING:
		return "creating";
	case CLUSTER_BUCKET_READY:
		return "ready";
	default:
		return "deleting";
	}
}

static void admin_buckets_ready(struct admin_req *r)
{
	const struct cluster *c = r->cluster;
	json_t *list = json_array();

	for (unsigned i = 0; i < c->n_buckets; i++) {
		const struct cluster_bucket *b = &c->buckets[i];

		json_array_append_new(
			list,
			json_pack("{s:o, s:o, s:s, s:s, s:s, s:I, s:I, s:I, "
				  "s:I, s:I, s:I}",
				  "name", admin_text(b->name), "owner",
				  admin_text(b->owner), "state",
				  admin_bucket_state(b->state), "durability",
				  admin_durability(c, b), "durability_set",
				  cluster_durability_name(b->durability), "uid",
				  (json_int_t)b->uid, "gid",
				  (json_int_t)b->gid, "umask",
				  (json_int_t)b->umask, "created",
				  (json_int_t)(b->created / 1000000000),
				  "root_inode", (json_int_t)b->root, "shard",
				  (json_int_t)ino_shard(b->root)));
	}
	admin_reply(r, 200, json_pack("{s:o}", "buckets", list));
}

static void admin_buckets_get(struct admin_req *r)
{
	admin_with_cluster(r, admin_buckets_ready);
}

uint32_t admin_body_u32(const struct admin_req *r, const char *name,
			uint32_t dflt)
{
	json_t *v = json_object_get(r->json, name);
	json_int_t n = json_integer_value(v);

	return json_is_integer(v) && n >= 0 && n <= UINT32_MAX ? (uint32_t)n
							       : dflt;
}

static void admin_bucket_create(struct admin_req *r)
{
	const char *name = admin_body_str(r, "name");
	const char *owner = admin_body_str(r, "owner");
	struct rpc_bucket_create req;
	const char *wrong;

	if (name == NULL || owner == NULL) {
		admin_error(r, 400, "\"name\" and \"owner\" are needed");
		return;
	}
	wrong = mgr_check_bucket_name(wire_cstr(name));
	if (wrong != NULL) {
		admin_error(r, 400, wrong);
		return;
	}
	req = (struct rpc_bucket_create){
		.name = wire_cstr(name),
		.owner = wire_cstr(owner),
		.uid = admin_body_u32(r, "uid", 0),
		.gid = admin_body_u32(r, "gid", 0),
		.umask = admin_body_u32(r, "umask", 002),
	};
	admin_hold(r);
	mgr_bucket_create(r->m, &req, admin_on_command, r);
}

static void admin_bucket_delete(struct admin_req *r)
{
	struct rpc_bucket_delete req = { .name = wire_cstr(r->arg) };

	admin_hold(r);
	mgr_bucket_delete(r->m, &req, true, admin_on_command, r);
}

/* --- durability --- */

static void admin_durability_set(struct admin_req *r)
{
	const char *name = admin_body_str(r, "durability");
	const char *bucket = admin_body_str(r, "bucket");
	struct mgr_durability cmd = { .bucket = wire_cstr(bucket) };

	if (name == NULL ||
	    cluster_durability_parse(name, &cmd.durability) != 0 ||
	    (bucket == NULL && cmd.durability == CLUSTER_DURABILITY_DEFAULT)) {
		admin_error(r, 400,
			    bucket == NULL
				    ? "\"durability\" is disk or memory"
				    : "\"durability\" is disk, memory or "
				      "default");
		return;
	}
	if (bucket != NULL && bucket[0] == '\0') {
		admin_status(r, RPC_STATUS_NO_BUCKET);
		return;
	}
	admin_hold(r);
	MGR_SUBMIT(r->m, durability, &cmd, admin_on_command, r);
}

/* --- where things are --- */

static const struct cluster_bucket *admin_bucket_of(struct admin_req *r)
{
	char *name = admin_query(r, "bucket");
	const struct cluster_bucket *b = NULL;

	if (name != NULL)
		b = cluster_find_bucket(r->cluster, wire_cstr(name));
	mem_free(name);
	if (b == NULL || b->state != CLUSTER_BUCKET_READY)
		admin_status(r, RPC_STATUS_NO_BUCKET);
	return b;
}

static void admin_whereis_done(void *arg, const struct rpc_reply *reply)
{
	struct admin_req *r = arg;
	struct rpc_whereis_rsp w;

	if (reply->status != RPC_STATUS_OK)
		admin_status(r, reply->status);
	else if (rpc_whereis_rsp_decode(&w, reply->payload, reply->len) != 0)
		admin_status(r, RPC_STATUS_BADMSG);
	else
		admin_reply(r, 200,
			    json_pack("{s:I, s:I, s:I, s:o, s:I, s:I, s:I}",
				      "shard", (json_int_t)w.shard, "inode",
				      (json_int_t)w.attr.ino, "size",
				      (json_int_t)w.attr.size, "etag",
				      admin_text(w.etag), "extents",
				      (json_int_t)w.extents, "inline_extents",
				      (json_int_t)w.inlined, "data_version",
				      (json_int_t)w.attr.data_version));
	admin_release(r);
}

static void admin_whereis_ready(struct admin_req *r)
{
	const struct cluster_bucket *b = admin_bucket_of(r);
	char *key = b != NULL ? admin_query(r, "key") : NULL;
	struct rpc_whereis req;

	if (b == NULL)
		return;
	if (key == NULL) {
		admin_error(r, 400, "\"key\" is needed");
		return;
	}
	req = (struct rpc_whereis){ .root = b->root, .key = wire_cstr(key) };
	admin_hold(r);
	if (CLIENT_SEND(client_of(r->m->clients, r->m->loop), whereis,
			ino_shard(b->root), &req, admin_whereis_done,
			r) == NULL) {
		admin_status(r, RPC_STATUS_NOMEM);
		admin_release(r);
	}
	mem_free(key);
}

static void admin_whereis(struct admin_req *r)
{
	admin_with_cluster(r, admin_whereis_ready);
}

static void admin_du_done(void *arg, uint32_t status,
			  const struct rpc_usage_rsp *u)
{
	struct admin_req *r = arg;

	if (status != RPC_STATUS_OK)
		admin_status(r, status);
	else
		admin_reply(r, 200,
			    json_pack("{s:I, s:I, s:I}", "bytes",
				      (json_int_t)u->bytes, "files",
				      (json_int_t)u->files, "directories",
				      (json_int_t)u->dirs));
	admin_release(r);
}

static void admin_du_ready(struct admin_req *r)
{
	const struct cluster_bucket *b = admin_bucket_of(r);

	if (b == NULL)
		return;
	admin_hold(r);
	if (mgr_usage(r->m, b->root, b->id, admin_du_done, r) != 0) {
		admin_status(r, RPC_STATUS_NOMEM);
		admin_release(r);
	}
}

static void admin_du(struct admin_req *r)
{
	admin_with_cluster(r, admin_du_ready);
}

static void admin_ring_ready(struct admin_req *r)
{
	const struct cluster *c = r->cluster;
	json_t *shards = json_array();
	char sum[9];

	ring_checksum_text(c->top.ring, sum);
	for (unsigned i = 0; i < c->n_shards; i++)
		json_array_append_new(
			shards,
			json_pack("{s:I, s:I}", "shard",
				  (json_int_t)c->shards[i].shard, "leader",
				  (json_int_t)c->shards[i].leader));
	admin_reply(r, 200,
		    json_pack("{s:I, s:s, s:I, s:o}", "epoch",
			      (json_int_t)c->top.epoch, "checksum", sum,
			      "partitions",
			      (json_int_t)(c->n_stores > 0 ? RING_Q : 0),
			      "shards", shards));
}

static void admin_ring(struct admin_req *r)
{
	admin_with_cluster(r, admin_ring_ready);
}

const struct admin_route admin_routes[] = {
	{ "GET", "/health", true, admin_health, "200 when the manager leads" },
	{ "GET", "/metrics", true, admin_metrics, "Prometheus text" },
	{ "GET", "/v1/version", true, admin_version, "program, API, format" },
	{ "GET", "/v1/status", false, admin_status_get, "cluster and stores" },
	{ "GET", "/v1/sessions", false, admin_sessions_get,
	  "mounts and gateways" },
	{ "GET", "/v1/users", false, admin_users_get, "all users" },
	{ "POST", "/v1/users", false, admin_user_create,
	  "{name, admin}: a user and its first key" },
	{ "DELETE", "/v1/users/", false, admin_user_delete,
	  "a user without buckets, and its keys" },
	{ "GET", "/v1/keys", false, admin_keys_get, "access keys; ?user=" },
	{ "POST", "/v1/keys", false, admin_key_create, "{user}: a new key" },
	{ "DELETE", "/v1/keys/", false, admin_key_delete, "an access key" },
	{ "GET", "/v1/buckets", false, admin_buckets_get, "all buckets" },
	{ "POST", "/v1/buckets", false, admin_bucket_create,
	  "{name, owner, uid, gid, umask}" },
	{ "DELETE", "/v1/buckets/", false, admin_bucket_delete,
	  "an empty bucket" },
	{ "POST", "/v1/durability", false, admin_durability_set,
	  "{durability, bucket}: when changes are acknowledged" },
	{ "GET", "/v1/whereis", false, admin_whereis, "?bucket=&key=" },
	{ "GET", "/v1/du", false, admin_du, "?bucket=: usage" },
	{ "GET", "/v1/ring", false, admin_ring, "epoch, checksum, shards" },
	{ "GET", "/v1/compaction", false, admin_compact_get,
	  "how compaction stands; ?store=" },
	{ "POST", "/v1/compaction/start", false, admin_compact_start,
	  "{store}: begins, or goes on" },
	{ "POST", "/v1/compaction/suspend", false, admin_compact_suspend,
	  "{store}: holds it" },
	{ "POST", "/v1/compaction/resume", false, admin_compact_resume,
	  "{store}: goes on" },
	{ "POST", "/v1/fsck", false, admin_fsck_start,
	  "{read}: begins to recount everything" },
	{ "GET", "/v1/fsck", false, admin_fsck_get, "the last recount" },
};
const unsigned admin_n_routes = sizeof admin_routes / sizeof admin_routes[0];
