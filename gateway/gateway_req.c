/*
 * The life of a request.
 *
 * Happy path: head -> names and query decoded once -> signature -> route ->
 * bucket and its owner -> headers that must not be ignored -> the row's
 * handler -> answer -> access log -> free.
 *
 * Failure modes: no snapshot yet: 503 SlowDown. A bucket or access key that
 * the snapshot does not have: one refresh, then the error. Connection gone:
 * ops->stop, no answer. Every refusal before the body was asked for leaves the
 * body unread (common/http then closes or skips it).
 */
#include "gateway/gw.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "common/base/loop.h"
#include "common/base/mem.h"

#define GW_STATUS_GONE 499 /* in the log: the client left before the answer */
#define GW_REFRESH_KEY_NS 1000000000ull /* unknown keys refresh this seldom */

static const struct gw_ops gw_no_ops;

/* --- references, end --- */

static void gw_req_drop(struct gw_req *r)
{
	assert(r->refs > 0);
	if (--r->refs > 0)
		return;
	if (r->ops->free != NULL)
		r->ops->free(r);
	cluster_unref(r->cluster);
	mem_free(r);
}

void gw_req_hold(struct gw_req *r)
{
	r->refs++;
	r->l->held++;
}

void gw_req_release(struct gw_req *r)
{
	r->l->held--;
	gw_req_drop(r);
}

/* Nothing calls back into the operation after this. */
static void gw_req_stop(struct gw_req *r)
{
	if (r->stopped)
		return;
	r->stopped = true;
	if (r->call != NULL)
		client_cancel(r->call);
	r->call = NULL;
	if (r->ops->stop != NULL)
		r->ops->stop(r);
}

void gw_req_op(struct gw_req *r, const struct gw_ops *ops, void *op)
{
	assert(r->op == NULL);
	r->ops = ops;
	r->op = op;
}

void *gw_req_op_new(struct gw_req *r, const struct gw_ops *ops, size_t size)
{
	void *op = mem_zalloc(size);

	if (op == NULL) {
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
		return NULL;
	}
	gw_req_op(r, ops, op);
	return op;
}

void gw_req_op_free(struct gw_req *r)
{
	mem_free(r->op);
	r->op = NULL;
}

/* --- calls --- */

static void gw_call_done(void *arg, const struct rpc_reply *reply)
{
	struct gw_req *r = arg;
	gw_reply_fn fn = r->call_done;

	r->call = NULL;
	r->call_done = NULL;
	fn(r, reply);
}

bool gw_send(struct gw_req *r, uint16_t tag, uint16_t shard,
	     int (*encode)(const void *req, struct buf *out), const void *req,
	     gw_reply_fn fn)
{
	assert(r->call == NULL && !r->dead);
	r->call_done = fn;
	r->call = client_send_encoded_how(r->l->client, tag, shard,
					  &(const struct client_how){
						  .loose = gw_is_loose(r) },
					  encode, req, gw_call_done, r);
	if (r->call == NULL) {
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
		return false;
	}
	return true;
}

bool gw_send_buf(struct gw_req *r, struct client_send *send, gw_reply_fn fn)
{
	assert(r->call == NULL && !r->dead);
	r->call_done = fn;
	send->loose = gw_is_loose(r);
	send->done = gw_call_done;
	send->arg = r;
	r->call = client_send(r->l->client, send);
	if (r->call == NULL) {
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
		return false;
	}
	return true;
}

struct gw_refresh_op {
	struct gw_req *r;
	void (*fn)(struct gw_req *r);
};

static void gw_refresh_done(void *arg, int status)
{
	struct gw_refresh_op *op = arg;
	struct gw_req *r = op->r;
	void (*fn)(struct gw_req *) = op->fn;

	(void)status; /* without managers the old snapshot has to do */
	mem_free(op);
	if (!r->dead)
		fn(r);
	gw_req_release(r);
}

void gw_refresh(struct gw_req *r, uint64_t version,
		void (*fn)(struct gw_req *r))
{
	struct gw_refresh_op *op = mem_alloc(sizeof(*op));

	if (op == NULL) {
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
		return;
	}
	op->r = r;
	op->fn = fn;
	gw_req_hold(r);
	client_refresh(r->l->client, version, gw_refresh_done, op);
}

/* --- start --- */

static bool gw_secret(void *arg, struct wire_bytes access,
		      struct wire_bytes *ret_secret)
{
	const struct gw_req *r = arg;
	const struct cluster_key *key = cluster_find_key(r->cluster, access);

	if (key == NULL || key->disabled)
		return false;
	*ret_secret = key->secret;
	return true;
}

static enum s3_err gw_req_auth(struct gw_req *r)
{
	const struct http_head *h = r->head;
	struct s3_auth_request req = {
		.method = h->method,
		.path = h->path,
		.headers = h->headers,
		.n_headers = h->n_headers,
		.query = &r->query,
		.has_body = h->content_length > 0 || h->chunked,
		.now_sec = env_wall_ns(r->l->env) / 1000000000,
		.region = r->cluster->top.region,
		.service = "s3",
	};
	const struct cluster_key *key;
	enum s3_err e;

	if (r->name.vhost)
		req.vhost_bucket = r->name.bucket;
	e = s3_auth_check(r->l->auth, &req, gw_secret, r, &r->auth);
	if (e != S3_OK) {
		r->message = r->auth.message;
		return e;
	}
	key = cluster_find_key(r->cluster, wire_cstr(r->auth.access));
	r->who = key == NULL ? NULL : cluster_find_user(r->cluster, key->user);
	return r->who == NULL ? S3_ERR_ACCESS_DENIED : S3_OK;
}

enum s3_err gw_bucket_find(const struct gw_req *r, struct wire_bytes name,
			   const struct cluster_bucket **ret_bucket)
{
	const struct cluster_bucket *b = cluster_find_bucket(r->cluster, name);

	if (b == NULL || b->state != CLUSTER_BUCKET_READY)
		return S3_ERR_NO_BUCKET;
	if (!wire_bytes_eq(b->owner, r->who->name))
		return S3_ERR_ACCESS_DENIED;
	*ret_bucket = b;
	return S3_OK;
}

static bool gw_owner_expected(const struct gw_req *r, const char *header)
{
	struct wire_bytes want = gw_header(r, header);

	return want.p == NULL || wire_bytes_eq(want, r->who->canonical) ||
	       wire_bytes_eq(want, r->who->name);
}

static void gw_req_serve(struct gw_req *r)
{
	enum s3_err e = gw_headers_check(r);
	struct buf xml;

	if (e == S3_OK && !gw_owner_expected(r, "x-amz-expected-bucket-owner"))
		e = S3_ERR_ACCESS_DENIED;
	if (e == S3_OK && (r->route->flags & GW_F_KEY_NEW) != 0 &&
	    r->name.key.len > S3_KEY_MAX)
		e = S3_ERR_KEY_TOO_LONG;
	if (e == S3_OK && r->route->handle == NULL && r->route->xml == NULL)
		e = r->route->err;
	if (e != S3_OK) {
		gw_fail(r, e);
		return;
	}
	if (r->route->handle != NULL) {
		r->route->handle(r);
		return;
	}
	buf_init(&xml, 0);
	buf_puts(&xml, r->route->xml);
	gw_reply_xml(r, 200, &xml);
	buf_fini(&xml);
}

static void gw_req_check(struct gw_req *r);

/* The snapshot may have changed: everything that borrows from it anew. */
static void gw_req_again(struct gw_req *r)
{
	struct cluster *c = client_cluster(r->l->client);

	if (c != NULL) {
		cluster_unref(r->cluster);
		r->cluster = cluster_ref(c);
	}
	gw_req_check(r);
}

/* Signature, route, bucket; also after a refresh. */
static void gw_req_check(struct gw_req *r)
{
	uint64_t now = env_now_ns(r->l->env);
	enum s3_err e;

	r->message = NULL;
	e = gw_req_auth(r);
	if (e == S3_ERR_INVALID_ACCESS_KEY && !r->refreshed &&
	    now - r->l->refreshed_ns > GW_REFRESH_KEY_NS) {
		/* made a moment ago? but strangers must not keep us busy */
		r->refreshed = true;
		r->l->refreshed_ns = now;
		gw_refresh(r, UINT64_MAX, gw_req_again);
		return;
	}
	if (e == S3_OK) {
		r->route = gw_route_find(r, &e);
		if (r->route != NULL)
			e = S3_OK;
	}
	if (e == S3_OK && r->name.bucket.len > 0 &&
	    (r->route->flags & GW_F_CREATES) == 0)
		e = gw_bucket_find(r, r->name.bucket, &r->bucket);
	if (e == S3_ERR_NO_BUCKET && !r->refreshed) {
		r->refreshed = true;
		gw_refresh(r, UINT64_MAX, gw_req_again);
		return;
	}
	if (e != S3_OK)
		gw_fail(r, e);
	else
		gw_req_serve(r);
}

static void gw_req_id(struct gw_req *r)
{
	uint64_t id = r->l->next_id++;

	for (unsigned i = 16; i-- > 0; id >>= 4)
		r->id[i] = "0123456789ABCDEF"[id & 15];
	r->id[16] = '\0';
}

static void gw_on_request(void *arg, struct http_req *http)
{
	struct gateway *g = arg;
	struct gw_loop *l = &g->loops[loop_index(http_loop(http))];
	const struct http_head *head = http_head(http);
	const struct wire_bytes *host = http_find(http, "host");
	struct wire_bytes no_host = { NULL, 0 };
	struct cluster *c = client_cluster(l->client);
	size_t path_room;
	struct gw_req *r;

	if (host == NULL)
		host = &no_host;
	path_room = head->path.len + host->len + 1;
	r = mem_alloc(sizeof(*r) + path_room + head->query.len);
	if (r == NULL) {
		http_reply_begin(http, 503);
		http_reply_end_head(http, 0);
		http_reply_end(http);
		return;
	}
	memset(r, 0, offsetof(struct gw_req, auth));
	r->auth.access[0] = '\0';
	r->query.n = 0;
	r->l = l;
	r->refs = 1;
	r->ops = &gw_no_ops;
	r->http = http;
	r->head = head;
	r->start_ns = env_now_ns(l->env);
	gw_req_id(r);
	http_set_user(http, r);
	if (s3_uri_parse(head->path, *host, g->config.domain, r->names,
			 &r->name) != 0 ||
	    s3_query_parse(head->query, r->names + path_room, &r->query) != 0) {
		memset(&r->name, 0, sizeof(r->name));
		gw_fail(r, S3_ERR_INVALID_URI);
		return;
	}
	if (c == NULL) {
		gw_fail(r, S3_ERR_SLOW_DOWN);
		return;
	}
	r->cluster = cluster_ref(c);
	gw_req_check(r);
}

/* --- events --- */

static void gw_on_body(struct http_req *http, struct evbuffer *buf)
{
	struct gw_req *r = http_user(http);

	if (r != NULL && r->ops->body != NULL && !r->replied) {
		r->ops->body(r, buf);
		return;
	}
	/* answered already, or nobody wants it */
	for (;;) {
		const uint8_t *p;
		size_t n = http_body_peek(buf, &p);

		if (n == 0)
			return;
		http_body_drain(buf, n);
	}
}

static uint8_t *gw_on_room(struct http_req *http, size_t *ret_len)
{
	struct gw_req *r = http_user(http);

	if (r == NULL || r->ops->room == NULL || r->replied)
		return NULL;
	return r->ops->room(r, ret_len);
}

static void gw_on_direct(struct http_req *http, size_t n)
{
	struct gw_req *r = http_user(http);

	r->ops->direct(r, n);
}

static void gw_on_body_end(struct http_req *http)
{
	struct gw_req *r = http_user(http);

	if (r != NULL && r->ops->body_end != NULL && !r->replied)
		r->ops->body_end(r);
}

static void gw_on_drain(struct http_req *http)
{
	struct gw_req *r = http_user(http);

	if (r != NULL && r->ops->drain != NULL && !r->stopped)
		r->ops->drain(r);
}

static void gw_on_abort(struct http_req *http, int err)
{
	struct gw_req *r = http_user(http);

	(void)err; /* on_free logs the request as it stands */
	if (r != NULL)
		gw_req_stop(r);
}

static void gw_on_free(struct http_req *http)
{
	struct gw_req *r = http_user(http);
	uint64_t us, in, out;

	if (r == NULL)
		return;
	gw_req_stop(r);
	if (!r->replied)
		r->status = GW_STATUS_GONE;
	us = (env_now_ns(r->l->env) - r->start_ns) / 1000;
	in = http_bytes_in(http);
	out = http_bytes_out(http);
	gw_route_note(r->route, r->status, us, in, out);
	if (r->l->g->log != NULL)
		gw_log_request(r->l->g->log, r, us, in, out);
	r->dead = true;
	r->http = NULL;
	r->head = NULL;
	http_set_user(http, NULL);
	gw_req_drop(r);
}

const struct http_handler gw_http_handler = {
	.on_request = gw_on_request,
	.on_body = gw_on_body,
	.on_room = gw_on_room,
	.on_direct = gw_on_direct,
	.on_body_end = gw_on_body_end,
	.on_drain = gw_on_drain,
	.on_abort = gw_on_abort,
	.on_free = gw_on_free,
};
