/*
 * The server: handlers, routes, and the way of a message to its handler and
 * back. It knows nothing of sockets beyond its listeners (greet.c, peer.c).
 *
 * Happy path: dispatch (any loop) -> posted to the routed loop -> checks ->
 * handler -> rpc_reply -> posted to the loop it came from -> deliver.
 * Failure modes: unknown tag, role, malformed payload, foreign store, server
 * closing: an error reply by the same way back.
 */
#include "common/rpc/rpc_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

static const char rpc_kinds[RPC_KINDS + 1] = "RWCPGHS";

static unsigned server_kind(char kind)
{
	const char *at = strchr(rpc_kinds, kind);

	assert(kind != '\0' && at != NULL);
	return (unsigned)(at - rpc_kinds);
}

struct rpc_server *rpc_server_ref(struct rpc_server *s)
{
	__atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

void rpc_server_unref(struct rpc_server *s)
{
	if (__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) == 0)
		mem_free(s);
}

static void server_close_loop(struct rpc_server_loop *sl)
{
	struct rpc_server *s = sl->server;

	if (sl == &s->loops[0]) {
		while (s->n_listeners > 0)
			conn_listener_free(s->listeners[--s->n_listeners]);
		rpc_greets_close(s);
	}
	rpc_peers_close(sl);
	rpc_server_unref(s);
}

static void server_close_task(struct env_task *task)
{
	server_close_loop(CONTAINER_OF(task, struct rpc_server_loop,
				       close_task));
}

int rpc_server_new(struct loop_set *loops, struct rpc_server **ret_server)
{
	unsigned n = loop_set_size(loops);
	struct rpc_server *s;

	s = mem_zalloc(sizeof(*s) + n * sizeof(s->loops[0]));
	if (s == NULL)
		return -ENOMEM;
	s->refs = 1;
	s->n_loops = n;
	rpc_ring_init(&s->greets);
	for (unsigned i = 0; i < n; i++) {
		struct rpc_server_loop *sl = &s->loops[i];

		sl->server = s;
		sl->loop = loop_set_get(loops, i);
		sl->env = loop_env(sl->loop);
		sl->close_task.run = server_close_task;
		rpc_ring_init(&sl->peers);
	}
	*ret_server = s;
	return 0;
}

void rpc_server_free(struct rpc_server *s)
{
	if (s == NULL)
		return;
	__atomic_store_n(&s->closing, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < s->n_loops; i++) {
		struct rpc_server_loop *sl = &s->loops[i];

		rpc_server_ref(s);
		if (loop_is_current(sl->loop))
			server_close_loop(sl);
		else
			env_post(sl->env, &sl->close_task);
	}
	rpc_server_unref(s);
}

void rpc_server_handle(struct rpc_server *s, uint16_t tag, rpc_handler_fn fn,
		       void *arg)
{
	assert(rpc_info(tag) != NULL);
	s->handlers[tag].fn = fn;
	s->handlers[tag].arg = arg;
}

void rpc_server_route(struct rpc_server *s, char kind, rpc_route_fn fn,
		      void *arg)
{
	unsigned k = server_kind(kind);

	s->routes[k].fn = fn;
	s->routes[k].arg = arg;
}

void rpc_server_identify(struct rpc_server *s, struct wire_u128 cluster,
			 struct wire_u128 store)
{
	s->cluster = cluster;
	s->store = store;
}

int rpc_server_listen(struct rpc_server *s, const char *addr)
{
	struct conn_listener *l;
	int rv;

	if (s->n_listeners == RPC_LISTENERS)
		return -ENOSPC;
	rv = conn_listen(s->loops[0].loop, addr, false, rpc_greet_accept, s,
			 &l);
	if (rv != 0)
		return rv;
	s->listeners[s->n_listeners++] = l;
	return 0;
}

/* --- the way of a message --- */

void rpc_msg_fini(struct rpc_msg *m)
{
	if (m->server != NULL)
		rpc_server_unref(m->server);
	m->server = NULL;
	buf_fini(&m->request);
	buf_fini(&m->reply);
	body_unref(m->req.body);
	m->req.body = NULL;
	body_unref(m->reply_body);
	m->reply_body = NULL;
}

static unsigned server_loop_of(struct rpc_server *s, const struct rpc_msg *m,
			       const struct rpc_info *info)
{
	unsigned k, loop;

	if (info == NULL)
		return 0;
	k = server_kind(info->kind);
	if (s->routes[k].fn == NULL)
		return 0;
	loop = s->routes[k].fn(s->routes[k].arg, m->req.tag, m->req.group);
	assert(loop < s->n_loops);
	return loop;
}

/* Why a message may not run, or OK. */
static uint32_t server_check(struct rpc_server *s, const struct rpc_msg *m,
			     const struct rpc_info *info)
{
	bool other = (m->store.hi | m->store.lo) != 0 &&
		     !wire_u128_eq(m->store, s->store);

	if (rpc_server_closing(s))
		return RPC_STATUS_UNAVAILABLE;
	/* who is no store does not even know the message */
	if (info == NULL || s->handlers[m->req.tag].fn == NULL)
		return other ? RPC_STATUS_WRONG_STORE : RPC_STATUS_UNKNOWN_MSG;
	if ((info->roles & m->req.role) == 0)
		return RPC_STATUS_DENIED;
	if (other && (s->store.hi | s->store.lo) != 0)
		return RPC_STATUS_WRONG_STORE;
	if (info->check(m->req.payload, m->req.payload_len) != 0)
		return RPC_STATUS_BADMSG;
	return RPC_STATUS_OK;
}

static void server_run(struct env_task *task)
{
	struct rpc_msg *m = CONTAINER_OF(task, struct rpc_msg, task);
	struct rpc_server *s = m->server;
	const struct rpc_info *info = rpc_info(m->req.tag);
	uint32_t status = server_check(s, m, info);
	rpc_handler_fn fn = NULL;
	void *arg = NULL;

	if (status == RPC_STATUS_OK) {
		fn = s->handlers[m->req.tag].fn;
		arg = s->handlers[m->req.tag].arg;
	}
	m->server = NULL;
	rpc_server_unref(s);
	if (status == RPC_STATUS_OK)
		fn(arg, &m->req);
	else
		rpc_reply_error(&m->req, status, 0, NULL);
}

void rpc_server_dispatch(struct rpc_server *s, struct rpc_msg *m)
{
	unsigned loop = server_loop_of(s, m, rpc_info(m->req.tag));

	m->server = rpc_server_ref(s);
	m->req.env = s->loops[loop].env;
	m->req.impl = m;
	m->task.run = server_run;
	env_post(m->req.env, &m->task);
}

static void server_deliver(struct env_task *task)
{
	struct rpc_msg *m = CONTAINER_OF(task, struct rpc_msg, task);

	m->deliver(m);
}

static void server_send_home(struct rpc_msg *m)
{
	/* owed replies of a process that ends: no loop will bring them home */
	if (!loop_is_running(loop_of(m->home))) {
		m->deliver(m);
		return;
	}
	m->task.run = server_deliver;
	env_post(m->home, &m->task);
}

void rpc_reply(struct rpc_req *req, struct buf *payload, struct body *body)
{
	struct rpc_msg *m = req->impl;

	assert(!m->replied);
	m->replied = true;
	if (payload != NULL && payload->err != 0) {
		m->status = rpc_status_from_errno(payload->err);
		buf_fini(payload);
		body_unref(body);
		server_send_home(m);
		return;
	}
	m->status = RPC_STATUS_OK;
	if (payload != NULL) {
		m->reply = *payload;
		buf_init(payload, 0);
	}
	m->reply_body = body;
	server_send_home(m);
}

void rpc_reply_error(struct rpc_req *req, uint32_t status, uint64_t hint,
		     const char *text)
{
	struct rpc_error_rsp rsp = { .hint = hint, .text = wire_cstr(text) };
	struct rpc_msg *m = req->impl;

	assert(!m->replied && status != RPC_STATUS_OK);
	m->replied = true;
	m->status = status;
	if (hint != 0 || text != NULL) {
		buf_init(&m->reply, 0);
		/* without memory the status alone has to do */
		if (rpc_error_rsp_encode(&rsp, &m->reply) != 0)
			buf_fini(&m->reply);
	}
	server_send_home(m);
}

void rpc_reply_status(struct rpc_req *req, uint32_t status,
		      struct buf *payload)
{
	struct rpc_msg *m = req->impl;

	assert(!m->replied && status != RPC_STATUS_OK);
	m->replied = true;
	m->status = status;
	m->reply = *payload;
	buf_init(payload, 0);
	server_send_home(m);
}
