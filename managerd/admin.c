/*
 * The admin port: HTTP, JSON, a bearer token (docs/ADMIN_API.md).
 *
 * Happy path: head -> route -> token -> body -> run() -> admin_reply.
 * Failure modes: no route 404, no or wrong token 401, body too large 413 or
 * not JSON 400; a connection that dies while an operation runs: the operation
 * ends, the answer is dropped.
 */
#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "managerd/admin_impl.h"

void admin_hold(struct admin_req *r)
{
	r->holds++;
}

void admin_release(struct admin_req *r)
{
	if (--r->holds > 0)
		return;
	json_decref(r->json);
	buf_fini(&r->body);
	cluster_unref(r->cluster);
	mem_free(r->arg);
	mem_free(r->query);
	mem_free(r);
}

void admin_reply(struct admin_req *r, unsigned status, json_t *json)
{
	char *text = json != NULL ? json_dumps(json, JSON_INDENT(2)) : NULL;
	size_t len = text != NULL ? strlen(text) : 0;

	json_decref(json);
	if (!r->dead) {
		http_reply_begin(r->http, status);
		(void)http_reply_header(r->http, "Content-Type",
					wire_cstr("application/json"));
		http_reply_end_head(r->http,
				    text != NULL ? (int64_t)len + 1 : 0);
		if (text != NULL) {
			http_reply_add(r->http, text, len);
			http_reply_add(r->http, "\n", 1);
		}
		http_reply_end(r->http);
	}
	free(text);
}

void admin_error(struct admin_req *r, unsigned status, const char *text)
{
	admin_reply(r, status, json_pack("{s:s}", "error", text));
}

void admin_status(struct admin_req *r, uint32_t status)
{
	static const struct {
		uint32_t status;
		unsigned http;
	} map[] = {
		{ RPC_STATUS_NOENT, 404 },	 { RPC_STATUS_NO_BUCKET, 404 },
		{ RPC_STATUS_NO_USER, 404 },	 { RPC_STATUS_NO_KEY, 404 },
		{ RPC_STATUS_EXIST, 409 },	 { RPC_STATUS_BUCKET_EXISTS, 409 },
		{ RPC_STATUS_BUCKET_OWNED, 409 }, { RPC_STATUS_NOTEMPTY, 409 },
		{ RPC_STATUS_INVAL, 400 },	 { RPC_STATUS_NOT_LEADER, 503 },
		{ RPC_STATUS_UNAVAILABLE, 503 }, { RPC_STATUS_TIMEDOUT, 503 },
		{ RPC_STATUS_BUSY, 503 },	 { RPC_STATUS_NOSPC, 507 },
		{ RPC_STATUS_SUSPENDED, 409 },
	};
	unsigned http = 500;

	for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
		if (map[i].status == status)
			http = map[i].http;
	admin_error(r, http, rpc_status_text(status));
}

const char *admin_body_str(const struct admin_req *r, const char *name)
{
	return json_string_value(json_object_get(r->json, name));
}

json_t *admin_text(struct wire_bytes text)
{
	json_t *s = json_stringn((const char *)text.p, text.len);

	return s != NULL ? s : json_string("(not UTF-8)");
}

static int admin_hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes in place up to one of the stop characters. */
static char *admin_decode(char *s, const char *stop)
{
	char *in = s, *out = s;

	while (*in != '\0' && strchr(stop, *in) == NULL) {
		int hi = in[0] == '%' ? admin_hex(in[1]) : -1;
		int lo = hi >= 0 ? admin_hex(in[2]) : -1;

		if (lo >= 0) {
			*out++ = (char)(hi << 4 | lo);
			in += 3;
		} else {
			*out++ = *in == '+' && stop[0] == '&' ? ' ' : *in;
			in++;
		}
	}
	*out = '\0';
	return s;
}

char *admin_query(struct admin_req *r, const char *name)
{
	size_t len = strlen(name);

	for (char *p = r->query; p != NULL && *p != '\0';) {
		char *next = strchr(p, '&');

		if (strncmp(p, name, len) == 0 && p[len] == '=') {
			char *v = next != NULL
					  ? mem_printf("%.*s",
						       (int)(next - p - (long)len - 1),
						       p + len + 1)
					  : mem_strdup(p + len + 1);
			return v != NULL ? admin_decode(v, "&") : NULL;
		}
		p = next != NULL ? next + 1 : NULL;
	}
	return NULL;
}

/* --- snapshots --- */

struct admin_wait {
	struct mgr_waiter waiter;
	struct admin_req *r;
	void (*then)(struct admin_req *r);
};

static void admin_on_image(struct mgr_waiter *w, struct mgr_image *image)
{
	struct admin_wait *a = CONTAINER_OF(w, struct admin_wait, waiter);
	struct admin_req *r = a->r;
	void (*then)(struct admin_req *r) = a->then;

	mem_free(a);
	cluster_unref(r->cluster);
	r->cluster = NULL;
	if (image == NULL)
		admin_status(r, RPC_STATUS_UNAVAILABLE);
	else if (cluster_decode(image->bytes, image->len, &r->cluster) != 0)
		admin_error(r, 500, "the cluster snapshot cannot be read");
	else
		then(r);
	admin_release(r);
}

void admin_with_cluster(struct admin_req *r, void (*then)(struct admin_req *r))
{
	struct admin_wait *a = mem_zalloc(sizeof *a);

	if (a == NULL) {
		admin_error(r, 503, "out of memory");
		return;
	}
	a->r = r;
	a->then = then;
	a->waiter.done = admin_on_image;
	admin_hold(r);
	mgr_watch_wait(r->m, &a->waiter, UINT64_MAX, 0);
}

/* --- http --- */

static bool admin_token_ok(struct admin_req *r)
{
	const struct wire_bytes *h = http_find(r->http, "Authorization");
	size_t len = strlen(r->m->token);

	return h != NULL && h->len == len + 7 &&
	       memcmp(h->p, "Bearer ", 7) == 0 &&
	       CRYPTO_memcmp(h->p + 7, r->m->token, len) == 0;
}

static bool admin_match(const struct admin_route *route,
			const struct http_head *head)
{
	size_t n = strlen(route->path);
	bool rest = route->path[n - 1] == '/';

	if (strlen(route->method) != head->method.len ||
	    memcmp(route->method, head->method.p, head->method.len) != 0)
		return false;
	if (!rest)
		return head->path.len == n &&
		       memcmp(head->path.p, route->path, n) == 0;
	return head->path.len > n &&
	       memcmp(head->path.p, route->path, n) == 0 &&
	       memchr(head->path.p + n, '/', head->path.len - n) == NULL;
}

static void admin_run(struct admin_req *r)
{
	admin_hold(r);
	r->route->run(r);
	admin_release(r);
}

static void admin_on_request(void *arg, struct http_req *http)
{
	struct manager *m = arg;
	const struct http_head *head = http_head(http);
	struct admin_req *r = mem_zalloc(sizeof *r);

	if (r == NULL) {
		http_reply_abort(http);
		return;
	}
	r->m = m;
	r->http = http;
	r->holds = 1; /* the connection's */
	buf_init(&r->body, ADMIN_BODY_MAX);
	http_set_user(http, r);
	for (unsigned i = 0; i < admin_n_routes && r->route == NULL; i++)
		if (admin_match(&admin_routes[i], head))
			r->route = &admin_routes[i];
	r->query = mem_printf("%.*s", (int)head->query.len,
			      (const char *)head->query.p);
	if (r->route == NULL) {
		admin_error(r, 404, "no such resource");
		return;
	}
	if (!r->route->open && !admin_token_ok(r)) {
		http_close_after(http);
		admin_error(r, 401, "an admin token is needed");
		return;
	}
	r->arg = mem_printf("%.*s",
			    (int)(head->path.len - strlen(r->route->path)),
			    (const char *)head->path.p +
				    strlen(r->route->path));
	if (r->arg != NULL)
		admin_decode(r->arg, "/");
	if (head->content_length > (int64_t)ADMIN_BODY_MAX) {
		admin_error(r, 413, "the body is too large");
		return;
	}
	http_read_body(http);
}

static void admin_on_body(struct http_req *http, struct evbuffer *in)
{
	struct admin_req *r = http_user(http);
	const uint8_t *p;
	size_t n;

	while ((n = http_body_peek(in, &p)) > 0) {
		buf_add(&r->body, p, n); /* too much is refused at the end */
		http_body_drain(in, n);
	}
}

static void admin_on_body_end(struct http_req *http)
{
	struct admin_req *r = http_user(http);
	json_error_t err;

	if (r->body.err != 0) {
		admin_error(r, 413, "the body is too large");
		return;
	}
	if (r->body.len > 0) {
		r->json = json_loadb((const char *)r->body.data, r->body.len,
				     JSON_REJECT_DUPLICATES, &err);
		if (!json_is_object(r->json)) {
			admin_error(r, 400, "the body is not a JSON object");
			return;
		}
	}
	admin_run(r);
}

static void admin_on_drain(struct http_req *http)
{
	(void)http;
}

static void admin_on_abort(struct http_req *http, int err)
{
	struct admin_req *r = http_user(http);

	(void)err;
	if (r != NULL)
		r->dead = true;
}

static void admin_on_free(struct http_req *http)
{
	struct admin_req *r = http_user(http);

	if (r == NULL)
		return;
	r->dead = true;
	r->http = NULL;
	admin_release(r);
}

int mgr_admin_start(struct manager *m, struct errbuf *e)
{
	struct http_handler handler = {
		.on_request = admin_on_request,
		.on_body = admin_on_body,
		.on_body_end = admin_on_body_end,
		.on_drain = admin_on_drain,
		.on_abort = admin_on_abort,
		.on_free = admin_on_free,
		.arg = m,
	};
	int rv = http_server_new_on(m->loop, m->admin_addr, &handler,
				    &m->http);

	if (rv != 0)
		return errbuf_set(e, rv, "cannot listen on %s: %s",
				  m->admin_addr, strerror(-rv));
	return mgr_write_admin_url(m, e);
}

void mgr_admin_stop(struct manager *m)
{
	if (m->http != NULL)
		http_server_free(m->http);
	m->http = NULL;
}

unsigned manager_admin_port(const struct manager *m)
{
	return m->http != NULL ? http_server_port(m->http) : 0;
}
