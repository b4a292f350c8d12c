/* RPC handlers of the managers (kinds G and H of the message table). */
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "managerd/mgr_impl.h"

/* Ends a request with a status and, when it is OK, the payload. */
static void mgr_rpc_done(void *arg, uint32_t status, struct wire_bytes payload)
{
	struct rpc_req *req = arg;
	struct buf b;

	if (status != RPC_STATUS_OK) {
		rpc_reply_error(req, status, 0, NULL);
		return;
	}
	buf_init(&b, 0);
	buf_add(&b, payload.p, payload.len);
	if (b.err != 0)
		rpc_reply_error(req, RPC_STATUS_NOMEM, 0, NULL);
	else
		rpc_reply(req, &b, NULL);
	buf_fini(&b);
}

/* True when this manager may answer; else the request was answered. */
static bool mgr_rpc_leads(struct manager *m, struct rpc_req *req)
{
	if (m->leading)
		return true;
	rpc_reply_error(req, RPC_STATUS_NOT_LEADER,
			m->group != NULL ? raft_group_leader(m->group) : 0,
			NULL);
	return false;
}

/* --- cluster_get --- */

struct mgr_poll {
	struct mgr_waiter waiter;
	struct rpc_req *req;
	uint64_t have;
};

static void mgr_rpc_on_image(struct mgr_waiter *w, struct mgr_image *image)
{
	struct mgr_poll *p = CONTAINER_OF(w, struct mgr_poll, waiter);
	struct rpc_cluster_get_rsp rsp = { 0 };
	struct buf b;

	buf_init(&b, 0);
	if (image != NULL) {
		rsp.version = image->version;
		if (image->version > p->have)
			rsp.cluster = wire_bytes(image->bytes, image->len);
	}
	if (image == NULL)
		rpc_reply_error(p->req, RPC_STATUS_UNAVAILABLE, 0, NULL);
	else if (rpc_cluster_get_rsp_encode(&rsp, &b) != 0)
		rpc_reply_error(p->req, RPC_STATUS_NOMEM, 0, NULL);
	else
		rpc_reply(p->req, &b, NULL);
	buf_fini(&b);
	mem_free(p);
}

static void mgr_rpc_cluster_get(void *arg, struct rpc_req *req)
{
	struct manager *m = arg;
	struct rpc_cluster_get g;
	struct mgr_poll *p;

	if (!mgr_rpc_leads(m, req))
		return;
	p = mem_zalloc(sizeof *p);
	if (p == NULL ||
	    rpc_cluster_get_decode(&g, req->payload, req->payload_len) != 0) {
		mem_free(p);
		rpc_reply_error(req, RPC_STATUS_NOMEM, 0, NULL);
		return;
	}
	p->req = req;
	p->have = g.have;
	p->waiter.done = mgr_rpc_on_image;
	mgr_watch_wait(m, &p->waiter, g.have + 1,
		       g.wait_ms < 60000 ? g.wait_ms : 60000);
}

/* --- sessions --- */

/* On its way into the record. */
struct mgr_opening {
	struct manager *m;
	struct rpc_req *req;
	struct rpc_session_open o; /* borrows from the request */
};

static void mgr_rpc_session_opened(void *arg, uint32_t status,
				   struct wire_bytes payload)
{
	struct mgr_opening *op = arg;
	struct rpc_session_open_rsp rsp;

	if (status == RPC_STATUS_OK &&
	    rpc_session_open_rsp_decode(&rsp, payload.p, payload.len) == 0 &&
	    mgr_sessions_opened(op->m, rsp.session, op->o.kind,
				op->o.host) != 0)
		status = RPC_STATUS_NOMEM; /* it expires; another one, please */
	mgr_rpc_done(op->req, status, payload);
	mem_free(op);
}

static void mgr_rpc_session_open(void *arg, struct rpc_req *req)
{
	struct manager *m = arg;
	struct mgr_session_open cmd;
	struct mgr_opening *op;

	if (!mgr_rpc_leads(m, req))
		return;
	op = mem_zalloc(sizeof *op);
	if (op == NULL) {
		rpc_reply_error(req, RPC_STATUS_NOMEM, 0, NULL);
		return;
	}
	op->m = m;
	op->req = req;
	if (rpc_session_open_decode(&op->o, req->payload, req->payload_len) !=
	    0) {
		mem_free(op);
		rpc_reply_error(req, RPC_STATUS_BADMSG, 0, NULL);
		return;
	}
	cmd = (struct mgr_session_open){ .kind = op->o.kind,
					 .host = op->o.host,
					 .lease_ms = m->lease_ms };
	MGR_SUBMIT(m, session_open, &cmd, mgr_rpc_session_opened, op);
}

/* False: the request was answered. */
static bool mgr_rpc_knows_sessions(struct manager *m, struct rpc_req *req)
{
	if (!mgr_rpc_leads(m, req))
		return false;
	if (mgr_sessions_known(m))
		return true;
	rpc_reply_error(req, RPC_STATUS_UNAVAILABLE, 0, NULL);
	return false;
}

static void mgr_rpc_session_renew(void *arg, struct rpc_req *req)
{
	struct manager *m = arg;
	struct rpc_session_renew_rsp rsp = { .lease_ms = m->lease_ms };
	struct rpc_session_renew r;
	struct buf b;

	if (!mgr_rpc_knows_sessions(m, req))
		return;
	if (rpc_session_renew_decode(&r, req->payload, req->payload_len) != 0) {
		rpc_reply_error(req, RPC_STATUS_BADMSG, 0, NULL);
		return;
	}
	if (!mgr_sessions_renew(m, r.session)) {
		rpc_reply_error(req, RPC_STATUS_SESSION, 0, NULL);
		return;
	}
	buf_init(&b, 0);
	(void)rpc_session_renew_rsp_encode(&rsp, &b);
	rpc_reply(req, &b, NULL);
	buf_fini(&b);
}

static void mgr_rpc_session_check(void *arg, struct rpc_req *req)
{
	struct manager *m = arg;
	struct rpc_session_check_rsp rsp;
	struct rpc_session_check c;
	struct wire_reader r;
	struct buf over, b;

	if (!mgr_rpc_knows_sessions(m, req))
		return;
	if (rpc_session_check_decode(&c, req->payload, req->payload_len) != 0) {
		rpc_reply_error(req, RPC_STATUS_BADMSG, 0, NULL);
		return;
	}
	buf_init(&over, 0);
	buf_init(&b, 0);
	r = (struct wire_reader){ .p = c.sessions.p, .left = c.sessions.len };
	while (r.left >= 8) {
		uint64_t id;
		uint8_t one;

		wire_get_u64(&r, &id);
		one = mgr_sessions_over(m, id);
		buf_add(&over, &one, 1);
	}
	rsp.over = wire_bytes(over.data, over.len);
	if (over.err != 0 || rpc_session_check_rsp_encode(&rsp, &b) != 0)
		rpc_reply_error(req, RPC_STATUS_NOMEM, 0, NULL);
	else
		rpc_reply(req, &b, NULL);
	buf_fini(&over);
	buf_fini(&b);
}

/* --- buckets --- */

static void mgr_rpc_bucket_create(void *arg, struct rpc_req *req)
{
	struct manager *m = arg;
	struct rpc_bucket_create c;

	if (!mgr_rpc_leads(m, req))
		return;
	if (rpc_bucket_create_decode(&c, req->payload, req->payload_len) != 0)
		rpc_reply_error(req, RPC_STATUS_BADMSG, 0, NULL);
	else
		mgr_bucket_create(m, &c, mgr_rpc_done, req);
}

static void mgr_rpc_bucket_delete(void *arg, struct rpc_req *req)
{
	struct manager *m = arg;
	struct rpc_bucket_delete d;

	if (!mgr_rpc_leads(m, req))
		return;
	if (rpc_bucket_delete_decode(&d, req->payload, req->payload_len) != 0)
		rpc_reply_error(req, RPC_STATUS_BADMSG, 0, NULL);
	else
		mgr_bucket_delete(m, &d, false, mgr_rpc_done, req);
}

/* --- stores --- */

/* Shards made when the first store joins (DESIGN section 3). */
#define MGR_FIRST_SHARDS 8

static void mgr_rpc_store_join(void *arg, struct rpc_req *req)
{
	struct manager *m = arg;
	struct rpc_store_join j;
	struct mgr_store_join cmd;

	if (!mgr_rpc_leads(m, req))
		return;
	if (rpc_store_join_decode(&j, req->payload, req->payload_len) != 0) {
		rpc_reply_error(req, RPC_STATUS_BADMSG, 0, NULL);
		return;
	}
	m->store_total = j.total;
	m->store_avail = j.avail;
	m->beat_ns = env_now_ns(m->env);
	cmd = (struct mgr_store_join){
		.store = j.store,
		.addr = j.addr,
		.host = j.host,
		.total = j.total,
		.avail = j.avail,
		.shards = MGR_FIRST_SHARDS,
	};
	MGR_SUBMIT(m, store_join, &cmd, mgr_rpc_done, req);
}

static bool mgr_head_name(struct wire_bytes name, char *out, size_t size)
{
	if (name.len == 0 || name.len >= size)
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (name.p[i] < 'a' || name.p[i] > 'z')
			return false;
	memcpy(out, name.p, name.len);
	out[name.len] = '\0';
	return true;
}

/* What does not fit, or is no head, is left out. */
static void mgr_take_heads(struct manager *m, struct wire_bytes list)
{
	struct wire_reader r;
	uint32_t n;

	m->n_heads = 0;
	for (r = wire_vec_reader(list, &n); n > 0; n--) {
		struct mgr_head h;
		struct wire_bytes name;

		wire_get_str(&r, &name);
		wire_get_u64(&r, &h.segments);
		wire_get_u64(&r, &h.bytes);
		wire_get_u64(&r, &h.live);
		if (r.err != 0 || m->n_heads == MGR_HEADS)
			return;
		if (mgr_head_name(name, h.name, sizeof h.name))
			m->heads[m->n_heads++] = h;
	}
}

static void mgr_rpc_store_beat(void *arg, struct rpc_req *req)
{
	struct manager *m = arg;
	struct rpc_store_beat h;
	struct rpc_store_beat_rsp rsp;
	struct buf b;

	if (!mgr_rpc_leads(m, req))
		return;
	if (rpc_store_beat_decode(&h, req->payload, req->payload_len) != 0) {
		rpc_reply_error(req, RPC_STATUS_BADMSG, 0, NULL);
		return;
	}
	m->store_total = h.total;
	m->store_avail = h.avail;
	m->beat_ns = env_now_ns(m->env);
	m->beat_store = h.store;
	mgr_take_heads(m, h.heads);
	store_counts_get(&m->counts, h.counts);
	rsp.epoch = h.epoch;
	buf_init(&b, 0);
	(void)rpc_store_beat_rsp_encode(&rsp, &b);
	rpc_reply(req, &b, NULL);
	buf_fini(&b);
}

static unsigned mgr_rpc_route(void *arg, uint16_t tag, uint16_t group)
{
	(void)arg;
	(void)tag;
	(void)group;
	return 0;
}

void mgr_rpc_register(struct manager *m)
{
	struct rpc_server *s = m->server;

	rpc_server_route(s, 'G', mgr_rpc_route, m);
	rpc_server_route(s, 'H', mgr_rpc_route, m);
	rpc_server_handle(s, RPC_TAG_cluster_get, mgr_rpc_cluster_get, m);
	rpc_server_handle(s, RPC_TAG_session_open, mgr_rpc_session_open, m);
	rpc_server_handle(s, RPC_TAG_session_renew, mgr_rpc_session_renew, m);
	rpc_server_handle(s, RPC_TAG_session_check, mgr_rpc_session_check, m);
	rpc_server_handle(s, RPC_TAG_bucket_create, mgr_rpc_bucket_create, m);
	rpc_server_handle(s, RPC_TAG_bucket_delete, mgr_rpc_bucket_delete, m);
	rpc_server_handle(s, RPC_TAG_store_join, mgr_rpc_store_join, m);
	rpc_server_handle(s, RPC_TAG_store_beat, mgr_rpc_store_beat, m);
}
