#include "tests/unit/rpcfix.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

char fixture_addr[96];
static char fixture_dir[64];

static unsigned route(void *arg, uint16_t tag, uint16_t group)
{
	struct fixture *f = arg;

	(void)tag;
	return group % f->n_loops;
}

/* --- handlers --- */

static void on_getattr(void *arg, struct rpc_req *req)
{
	struct fixture *f = arg;
	struct rpc_getattr m;
	struct rpc_attr_rsp rsp = { .attr.uid = req->group };
	struct buf out;

	buf_init(&out, 0);
	if (rpc_getattr_decode(&m, req->payload, req->payload_len) != 0 ||
	    loop_index(loop_of(req->env)) != req->group % f->n_loops) {
		rpc_reply_error(req, RPC_STATUS_INVAL, 0, "routed wrong");
		return;
	}
	rsp.attr.ino = m.ino;
	/* does the connection belong to this loop? */
	rsp.attr.nlink = !rpc_ring_empty(
		&f->server->loops[req->group % f->n_loops].peers);
	(void)rpc_attr_rsp_encode(&rsp, &out);
	rpc_reply(req, &out, NULL);
}

/* The body goes back as it came. */
static void on_chunk_put(void *arg, struct rpc_req *req)
{
	(void)arg;
	rpc_reply(req, NULL, req->body == NULL ? NULL : body_ref(req->body));
}

/* A body of the wanted length, bytes by position. */
static void on_chunk_get(void *arg, struct rpc_req *req)
{
	struct rpc_chunk_get m;
	struct body *b;

	(void)arg;
	if (rpc_chunk_get_decode(&m, req->payload, req->payload_len) != 0)
		m.len = 0;
	b = body_new(m.len);
	if (b == NULL) {
		rpc_reply_error(req, RPC_STATUS_NOMEM, 7, NULL);
		return;
	}
	for (uint32_t i = 0; i < m.len; i++)
		b->data[i] = (uint8_t)(i * 31 + i / 251);
	b->len = m.len;
	rpc_reply(req, NULL, b);
}

static void on_park(void *arg, struct rpc_req *req)
{
	struct fixture *f = arg;

	if (f->n_parked < PARK_MAX)
		f->parked[f->n_parked++] = req;
	else
		rpc_reply_error(req, RPC_STATUS_BUSY, 0, NULL);
}

static void on_release(void *arg, struct rpc_req *req)
{
	struct fixture *f = arg;

	while (f->n_parked > 0)
		rpc_reply_error(f->parked[--f->n_parked], RPC_STATUS_NOENT,
				42, "parked");
	rpc_reply(req, NULL, NULL);
}

/* --- fixture --- */

int fixture_serve(struct fixture *f)
{
	int rv = rpc_server_new(f->loops, &f->server);

	if (rv != 0)
		return rv;
	rpc_server_identify(f->server, (struct wire_u128){ 1, 2 },
			    f->is_manager ? (struct wire_u128){ 0, 0 }
					  : (struct wire_u128){ 3, 4 });
	rpc_server_route(f->server, 'R', route, f);
	rpc_server_route(f->server, 'C', route, f);
	rpc_server_handle(f->server, RPC_TAG_getattr, on_getattr, f);
	rpc_server_handle(f->server, RPC_TAG_chunk_put, on_chunk_put, f);
	rpc_server_handle(f->server, RPC_TAG_chunk_get, on_chunk_get, f);
	rpc_server_handle(f->server, RPC_TAG_session_renew, on_park, f);
	rpc_server_handle(f->server, RPC_TAG_cluster_get, on_release, f);
	return f->local ? 0 : rpc_server_listen(f->server, fixture_addr);
}

static void side_start(struct env_task *task)
{
	struct side *s = CONTAINER_OF(task, struct side, start);
	struct fixture *f = s->f;

	if (rpc_link_new(loop_set_get(f->loops, s->index), fixture_addr,
			 f->role == 0 ? RPC_ROLE_GATEWAY : f->role,
			 f->local ? f->server : NULL, &s->link) != 0)
		abort();
	f->start(s);
}

void side_finish(struct side *s)
{
	env_timer_cancel(loop_env(loop_set_get(s->f->loops, s->index)),
			 &s->timer);
	rpc_link_free(s->link);
	s->link = NULL;
	if (atomic_fetch_sub(&s->f->sides_left, 1) == 1)
		loop_set_stop(s->f->loops);
}

void fixture_run(struct fixture *f, unsigned n_loops, bool local,
		 void (*start)(struct side *s))
{
	f->n_loops = n_loops;
	f->local = local;
	f->start = start;
	assert_int_equal(loop_set_new(n_loops, 1, &f->loops), 0);
	assert_int_equal(fixture_serve(f), 0);
	atomic_store(&f->sides_left, n_loops);
	for (unsigned i = 0; i < n_loops; i++) {
		f->sides[i].f = f;
		f->sides[i].index = i;
		f->sides[i].start.run = side_start;
		env_post(loop_env(loop_set_get(f->loops, i)),
			 &f->sides[i].start);
	}
	loop_set_run(f->loops);
	for (unsigned i = 0; i < n_loops; i++)
		rpc_link_free(f->sides[i].link);
	rpc_server_free(f->server);
	loop_set_free(f->loops);
}

struct env *side_env(struct side *s)
{
	return loop_env(loop_set_get(s->f->loops, s->index));
}

struct rpc_call *side_send(struct side *s, uint16_t tag, uint32_t ms,
			   struct body *body, rpc_done_fn done, void *arg,
			   int (*enc)(const void *, struct buf *),
			   const void *m)
{
	struct buf out;
	struct rpc_send send = { .tag = tag, .group = (uint16_t)s->sent,
				 .payload = &out, .body = body,
				 .timeout_ms = ms, .done = done, .arg = arg };

	buf_init(&out, 0);
	(void)enc(m, &out);
	return rpc_link_send(s->link, &send);
}

int fixture_begin(void)
{
	snprintf(fixture_dir, sizeof(fixture_dir), "/tmp/test_rpc.XXXXXX");
	if (mkdtemp(fixture_dir) == NULL)
		return -1;
	snprintf(fixture_addr, sizeof(fixture_addr), "unix:%s/s", fixture_dir);
	return 0;
}

int fixture_end(int rv)
{
	unlink(fixture_addr + 5);
	rmdir(fixture_dir);
	return rv;
}
