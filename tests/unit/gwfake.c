#include "tests/unit/gwfake.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/loop.h"
#include "common/base/mem.h"

#include "tests/lib/fault.h"

#include "gateway/gw_hash.h"
#include "gateway/s3_time.h"

struct fake fake;

struct http_req {
	struct fake_http h;
};

#define FAKE_CHUNK (128u << 10) /* small, so that bodies have several */

struct client_slice {
	struct client_slice_cbs cbs;
	void *arg;
	struct body *cur; /* the chunk being filled */
	uint64_t len, expect;
	bool finishing;
};

struct client_read {
	struct client_read_cbs cbs;
	void *arg;
};

/* --- the server --- */

static struct http_req *req_of(struct fake_http *h)
{
	return CONTAINER_OF(h, struct http_req, h);
}

const struct http_head *http_head(const struct http_req *r)
{
	return &r->h.head;
}

void http_set_user(struct http_req *r, void *user)
{
	r->h.user = user;
}

void *http_user(const struct http_req *r)
{
	return r->h.user;
}

struct loop *http_loop(const struct http_req *r)
{
	(void)r;
	return loop_set_get(fake.set, 0);
}

const char *http_peer(const struct http_req *r)
{
	(void)r;
	return "fake";
}

const struct wire_bytes *http_find(const struct http_req *r, const char *name)
{
	for (unsigned i = 0; i < r->h.head.n_headers; i++) {
		const struct http_header *h = &r->h.head.headers[i];

		if (h->name.len == strlen(name) &&
		    strncasecmp((const char *)h->name.p, name, h->name.len) ==
			    0)
			return &h->value;
	}
	return NULL;
}

size_t http_body_peek(struct evbuffer *buf, const uint8_t **ret_data)
{
	struct buf *b = (void *)buf;

	*ret_data = b->data;
	return b->len;
}

void http_body_drain(struct evbuffer *buf, size_t n)
{
	struct buf *b = (void *)buf;

	assert(n <= b->len);
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
}

void http_read_body(struct http_req *r)
{
	r->h.reading = true;
}

void http_pause(struct http_req *r)
{
	r->h.paused = true;
}

void http_resume(struct http_req *r)
{
	r->h.paused = false;
}

void http_reply_begin(struct http_req *r, unsigned status)
{
	r->h.begun++;
	r->h.status = status;
}

int http_reply_header(struct http_req *r, const char *name,
		      struct wire_bytes value)
{
	buf_printf(&r->h.lines, "%s: %.*s\n", name, (int)value.len,
		   (const char *)value.p);
	return 0;
}

int http_reply_headerf(struct http_req *r, const char *name, const char *fmt,
		       ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return http_reply_header(r, name, wire_cstr(text));
}

void http_reply_end_head(struct http_req *r, int64_t body_len)
{
	r->h.promised = body_len;
}

void http_reply_add(struct http_req *r, const void *data, size_t len)
{
	buf_add(&r->h.out, data, len);
}

void http_reply_add_body(struct http_req *r, struct body *b, uint32_t from,
			 uint32_t len)
{
	assert(from + len <= b->len);
	buf_add(&r->h.out, b->data + from, len);
}

void http_set_out_high(struct http_req *r, size_t high)
{
	(void)r;
	(void)high;
}

bool http_out_full(const struct http_req *r)
{
	return r->h.full;
}

void http_reply_end(struct http_req *r)
{
	r->h.ended++;
}

void http_reply_abort(struct http_req *r)
{
	r->h.aborted++;
}

void http_close_after(struct http_req *r)
{
	r->h.close = true;
}

uint64_t http_bytes_in(const struct http_req *r)
{
	(void)r;
	return 0;
}

uint64_t http_bytes_out(const struct http_req *r)
{
	return r->h.out.len;
}

int http_server_new(struct loop_set *set, const char *addr,
		    const struct http_handler *handler,
		    struct http_server **ret_server)
{
	(void)set;
	(void)addr;
	(void)handler;
	(void)ret_server;
	return -EINVAL;
}

unsigned http_server_port(const struct http_server *s)
{
	(void)s;
	return 0;
}

void http_server_free(struct http_server *s)
{
	(void)s;
}

/* --- the client --- */

struct client *client_of(struct client_set *set, struct loop *loop)
{
	(void)set;
	(void)loop;
	return NULL;
}

struct cluster *client_cluster(struct client *c)
{
	(void)c;
	return fake.cluster;
}

uint64_t client_session(struct client *c)
{
	(void)c;
	return 77;
}

uint64_t client_open_number(struct client *c)
{
	static uint64_t number;

	(void)c;
	return ++number;
}

struct fake_refresh {
	struct env_task task;
	void (*done)(void *arg, int status);
	void *arg;
};

static void refresh_run(struct env_task *task)
{
	struct fake_refresh *r = CONTAINER_OF(task, struct fake_refresh, task);

	r->done(r->arg, 0);
	free(r);
}

void client_refresh(struct client *c, uint64_t version,
		    void (*done)(void *arg, int status), void *arg)
{
	struct fake_refresh *r = calloc(1, sizeof(*r));

	(void)c;
	(void)version;
	fake.refreshes++;
	r->done = done;
	r->arg = arg;
	r->task.run = refresh_run;
	env_post(minienv_env(fake.env), &r->task);
}

struct client_call *client_send(struct client *c, struct client_send *send)
{
	(void)c;
	if (fault_tick()) {
		buf_fini(send->payload);
		return NULL;
	}
	for (unsigned i = 0; i < FAKE_CALLS; i++) {
		struct fake_call *f = &fake.calls[i];

		if (f->used)
			continue;
		f->used = true;
		f->tag = send->tag;
		f->payload = *send->payload;
		buf_init(send->payload, 0);
		f->done = send->done;
		f->arg = send->arg;
		fake.sent++;
		return (struct client_call *)(void *)f;
	}
	abort();
}

struct client_call *client_send_encoded_how(struct client *c, uint16_t tag,
					    uint16_t shard,
					    const struct client_how *how,
					    int (*encode)(const void *req,
							  struct buf *out),
					    const void *req, rpc_done_fn done,
					    void *arg)
{
	struct client_send send = { .tag = tag, .shard = shard,
				    .loose = how->loose, .done = done,
				    .arg = arg };
	struct buf payload;

	buf_init(&payload, 0);
	if (encode(req, &payload) != 0) {
		buf_fini(&payload);
		return NULL;
	}
	send.payload = &payload;
	return client_send(c, &send);
}

struct client_call *client_send_encoded(struct client *c, uint16_t tag,
					uint16_t shard,
					int (*encode)(const void *req,
						      struct buf *out),
					const void *req, rpc_done_fn done,
					void *arg)
{
	const struct client_how how = { 0, false };

	return client_send_encoded_how(c, tag, shard, &how, encode, req, done,
				       arg);
}

void client_cancel(struct client_call *call)
{
	struct fake_call *f = (void *)call;

	assert(f->used);
	f->used = false;
	buf_fini(&f->payload);
}

struct client_slice *client_slice_new(struct client *c, uint16_t home,
				      const struct client_slice_cbs *cbs,
				      void *arg)
{
	struct client_slice *s = mem_zalloc(sizeof(*s));

	(void)c;
	(void)home;
	if (s == NULL)
		return NULL;
	s->cbs = *cbs;
	s->arg = arg;
	s->expect = UINT64_MAX;
	fake.slice = s;
	return s;
}

void client_slice_expect(struct client_slice *s, uint64_t len)
{
	s->expect = len;
}

struct wire_u128 client_slice_id(const struct client_slice *s)
{
	(void)s;
	return (struct wire_u128){ 1, 2 };
}

uint64_t client_slice_len(const struct client_slice *s)
{
	return s->len;
}

uint8_t *client_slice_reserve(struct client_slice *s, size_t *ret_room)
{
	if (s->len == s->expect)
		return NULL;
	if (s->cur == NULL)
		s->cur = body_new(FAKE_CHUNK);
	if (s->cur == NULL)
		return NULL;
	*ret_room = s->cur->cap - s->cur->len;
	if (*ret_room > s->expect - s->len)
		*ret_room = (size_t)(s->expect - s->len);
	return s->cur->data + s->cur->len;
}

void client_slice_commit(struct client_slice *s, size_t n)
{
	s->cur->len += (uint32_t)n;
	s->len += n;
	if (s->cur->len < s->cur->cap)
		return;
	body_unref(s->cur); /* on its way */
	s->cur = NULL;
}

struct body *client_slice_body(const struct client_slice *s)
{
	return s->cur;
}

bool client_slice_full(const struct client_slice *s)
{
	(void)s;
	return false;
}

size_t client_slice_add(struct client_slice *s, const void *data, size_t len)
{
	(void)data;
	s->len += len;
	return len;
}

uint32_t client_slice_error(const struct client_slice *s)
{
	return s->len == s->expect ? RPC_STATUS_INVAL : RPC_STATUS_OK;
}

void client_slice_finish(struct client_slice *s)
{
	s->finishing = true;
}

void client_slice_named(struct client_slice *s)
{
	fake.slices_named++;
	(void)s;
}

void client_slice_free(struct client_slice *s)
{
	if (s != NULL && fake.slice == s)
		fake.slice = NULL;
	if (s != NULL)
		body_unref(s->cur);
	mem_free(s);
}

bool client_is_short(struct client *c)
{
	(void)c;
	return fake.is_short;
}

struct client_read *client_read_start(struct client *c,
				      const struct client_read_spec *spec,
				      const struct client_read_cbs *cbs,
				      void *arg)
{
	struct client_read *r = mem_zalloc(sizeof(*r));

	(void)c;
	(void)spec;
	if (r == NULL)
		return NULL;
	r->cbs = *cbs;
	r->arg = arg;
	fake.read = r;
	return r;
}

void client_read_pause(struct client_read *r)
{
	(void)r;
}

void client_read_resume(struct client_read *r)
{
	(void)r;
}

void client_read_free(struct client_read *r)
{
	if (r != NULL && fake.read == r)
		fake.read = NULL;
	mem_free(r);
}

/* --- the test's side --- */

struct cluster *fake_cluster(void)
{
	struct cluster_bucket b[] = {
		{ .id = 1, .name = wire_cstr("bkt"), .owner = wire_cstr("me"),
		  .root = ino_make(1, 1), .state = CLUSTER_BUCKET_READY },
		{ .id = 2, .name = wire_cstr("theirs"),
		  .owner = wire_cstr("them"), .root = ino_make(1, 2),
		  .state = CLUSTER_BUCKET_READY },
	};
	struct cluster_key k = { .access = wire_cstr(FAKE_ACCESS),
				 .secret = wire_cstr(FAKE_SECRET),
				 .user = wire_cstr("me") };
	struct cluster_user u = { .name = wire_cstr("me"),
				  .canonical = wire_cstr("c0ffee") };
	struct cluster_top top = { .version = 1, .epoch = 1,
				   .region = wire_cstr("us-east-1"),
				   .inline_max = 16384 };
	struct wire_vec none, buckets, keys, users;
	struct cluster *c = NULL;
	struct buf out;

	wire_vec_init(&none);
	wire_vec_init(&buckets);
	wire_vec_init(&keys);
	wire_vec_init(&users);
	for (unsigned i = 0; i < 2; i++)
		(void)cluster_bucket_encode(&b[i], wire_vec_add(&buckets).out);
	(void)cluster_key_encode(&k, wire_vec_add(&keys).out);
	(void)cluster_user_encode(&u, wire_vec_add(&users).out);
	top.stores = top.shards = wire_vec_bytes(&none);
	top.buckets = wire_vec_bytes(&buckets);
	top.keys = wire_vec_bytes(&keys);
	top.users = wire_vec_bytes(&users);
	buf_init(&out, 0);
	(void)cluster_top_encode(&top, &out);
	if (cluster_decode(out.data, out.len, &c) != 0)
		abort();
	buf_fini(&out);
	wire_vec_fini(&none);
	wire_vec_fini(&buckets);
	wire_vec_fini(&keys);
	wire_vec_fini(&users);
	return c;
}

void fake_start(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.env = minienv_new(vfs_posix(), 1);
	if (loop_set_new(1, 1, &fake.set) != 0)
		abort();
	fake.cluster = fake_cluster();
	fake.g.loops = &fake.l;
	fake.g.n_loops = 1;
	if (gw_hash_new(1, &fake.g.hash) != 0)
		abort();
	fake.l.g = &fake.g;
	fake.l.loop = loop_set_get(fake.set, 0);
	fake.l.env = minienv_env(fake.env);
	if (s3_auth_new(&fake.l.auth) != 0)
		abort();
}

void fake_stop(void)
{
	minienv_run(fake.env);
	for (unsigned k = 0; k < fake.l.n_sums; k++)
		s3_sums_free(fake.l.sums[k].sums);
	gw_hash_free(fake.g.hash);
	s3_auth_free(fake.l.auth);
	cluster_unref(fake.cluster);
	minienv_free(fake.env);
	loop_set_free(fake.set);
}

struct fake_http *fake_request_raw(const char *text)
{
	struct http_req *r = calloc(1, sizeof(*r));
	struct fake_http *h = &r->h;

	h->data = strdup(text);
	buf_init(&h->in, 0);
	buf_init(&h->lines, 0);
	buf_init(&h->out, 0);
	if (http_head_parse(h->data, strlen(text), &h->head, h->headers) != 0) {
		fprintf(stderr, "bad head: %s\n", text);
		abort();
	}
	gw_http_handler.on_request(&fake.g, r);
	return h;
}

void fake_request_text(char out[FAKE_TEXT], const char *method,
		       const char *path, const char *query,
		       const char *headers, int64_t body_len)
{
	char date[S3_TIME_AMZ_LEN + 1], text[4096], scope[64], hex[65], len[64];
	uint8_t k[32], hash[32];
	struct s3_sha *sha;
	int n;

	s3_time_amz(env_wall_ns(fake.l.env) / 1000000000, date);
	(void)snprintf(scope, sizeof(scope), "%.8s/us-east-1/s3/aws4_request",
		       date);
	/* extra headers stay unsigned but for x-amz-*, which this cannot do:
	 * their tests sign by hand */
	n = snprintf(text, sizeof(text),
		     "%s\n%s\n%s\nhost:h\nx-amz-content-sha256:"
		     "UNSIGNED-PAYLOAD\nx-amz-date:%s\n\n"
		     "host;x-amz-content-sha256;x-amz-date\n"
		     "UNSIGNED-PAYLOAD",
		     method, path, query, date);
	if (s3_sha_new(&sha) != 0)
		abort();
	s3_sha256(sha, text, (size_t)n, hash);
	s3_hex(hash, 32, hex);
	n = snprintf(text, sizeof(text), "AWS4-HMAC-SHA256\n%s\n%s\n%s", date,
		     scope, hex);
	s3_hmac(sha, "AWS4" FAKE_SECRET, strlen("AWS4" FAKE_SECRET), date, 8,
		k);
	s3_hmac(sha, k, 32, "us-east-1", 9, k);
	s3_hmac(sha, k, 32, "s3", 2, k);
	s3_hmac(sha, k, 32, "aws4_request", 12, k);
	s3_hmac(sha, k, 32, text, (size_t)n, hash);
	s3_hex(hash, 32, hex);
	s3_sha_free(sha);
	len[0] = '\0';
	if (body_len >= 0)
		(void)snprintf(len, sizeof(len), "Content-Length: %lld\r\n",
			       (long long)body_len);
	(void)snprintf(out, FAKE_TEXT,
		       "%s %s%s%s HTTP/1.1\r\nHost: h\r\n"
		       "x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n"
		       "x-amz-date: %s\r\nAuthorization: AWS4-HMAC-SHA256 "
		       "Credential=" FAKE_ACCESS "/%s, SignedHeaders=host;"
		       "x-amz-content-sha256;x-amz-date, Signature=%s\r\n"
		       "%s%s\r\n",
		       method, path, query[0] != '\0' ? "?" : "", query, date,
		       scope, hex, len, headers);
}

struct fake_http *fake_request(const char *method, const char *path,
			       const char *query, const char *headers,
			       int64_t body_len)
{
	char text[FAKE_TEXT];

	fake_request_text(text, method, path, query, headers, body_len);
	return fake_request_raw(text);
}

void fake_run(void)
{
	if (!fake.hold)
		minienv_run(fake.env);
}

void fake_body(struct fake_http *h, const void *data, size_t len)
{
	buf_add(&h->in, data, len);
	gw_http_handler.on_body(req_of(h), (void *)&h->in);
	fake_run();
	/* what back-pressure left is offered again */
	while (h->in.len > 0 && !h->paused) {
		size_t left = h->in.len;

		gw_http_handler.on_body(req_of(h), (void *)&h->in);
		fake_run();
		if (h->in.len == left)
			break;
	}
}

void fake_direct(struct fake_http *h, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len > 0) {
		size_t room = 0;
		uint8_t *to = h->in.len > 0 ? NULL :
			gw_http_handler.on_room(req_of(h), &room);

		if (to == NULL || h->paused) {
			fake_body(h, p, len);
			return;
		}
		room = room < len ? room : len;
		memcpy(to, p, room);
		gw_http_handler.on_direct(req_of(h), room);
		fake_run();
		p += room;
		len -= room;
	}
}

void fake_body_end(struct fake_http *h)
{
	gw_http_handler.on_body_end(req_of(h));
	fake_run();
}

void fake_abort(struct fake_http *h)
{
	gw_http_handler.on_abort(req_of(h), -ECONNRESET);
	fake_done(h);
}

void fake_done(struct fake_http *h)
{
	gw_http_handler.on_free(req_of(h));
	minienv_run(fake.env);
	buf_fini(&h->in);
	buf_fini(&h->lines);
	buf_fini(&h->out);
	free(h->data);
	free(req_of(h));
}

struct fake_call *fake_find(uint16_t tag)
{
	for (unsigned i = 0; i < FAKE_CALLS; i++)
		if (fake.calls[i].used && fake.calls[i].tag == tag)
			return &fake.calls[i];
	return NULL;
}

unsigned fake_pending(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FAKE_CALLS; i++)
		n += fake.calls[i].used;
	return n;
}

void fake_answer(struct fake_call *c, uint32_t status, const struct buf *rsp,
		 struct body *body)
{
	struct rpc_reply reply = { .status = status, .body = body };

	if (rsp != NULL) {
		reply.payload = rsp->data;
		reply.len = rsp->len;
	}
	c->used = false;
	buf_fini(&c->payload);
	c->done(c->arg, &reply);
	minienv_run(fake.env);
}

size_t fake_slice_len(void)
{
	return fake.slice == NULL ? 0 : (size_t)fake.slice->len;
}

bool fake_slice_finishing(void)
{
	return fake.slice != NULL && fake.slice->finishing;
}

void fake_slice_done(uint32_t status)
{
	fake.slice->cbs.done(fake.slice->arg, status);
	fake_run();
}

void fake_read_data(const void *data, size_t len)
{
	struct body *b = body_new(len);

	if (b == NULL)
		return;
	memcpy(b->data, data, len);
	b->len = (uint32_t)len;
	fake.read->cbs.data(fake.read->arg, b, 0, (uint32_t)len);
	body_unref(b);
	minienv_run(fake.env);
}

void fake_read_done(uint32_t status)
{
	fake.read->cbs.done(fake.read->arg, status);
	minienv_run(fake.env);
}
