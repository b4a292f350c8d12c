/*
 * The server's end of a link: its two connections, both on one loop.
 *
 * Happy path: message -> posted to the routed loop (server.c) -> peer_deliver
 * on this loop -> reply on the body connection when it has a body, else on
 * the small one.
 * Failure modes: any error of either connection ends both; requests under way
 * lose their peer and their replies are dropped. A peer that does not take
 * its replies, or has RPC_PEER_INFLIGHT requests open, is not read from.
 */
#include "common/rpc/rpc_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"

struct rpc_peer;

struct peer_chan {
	struct rpc_peer *peer;
	struct rpc_chan ch; /* ch.conn NULL: not connected */
};

struct rpc_peer {
	struct rpc_ring list; /* of the server's loop */
	struct rpc_server_loop *sl;
	uint64_t link;
	uint32_t role;
	struct peer_chan chans[2];
	struct rpc_ring msgs; /* peer_msg under way */
	unsigned inflight;
	bool paused;
	bool dead;      /* freed when the last callback is left */
	unsigned depth; /* callbacks on the stack */
};

/* A request from a socket; its payload lies behind it. */
struct peer_msg {
	struct rpc_msg msg;
	struct rpc_ring list;
	struct rpc_peer *peer; /* NULL: nobody waits any more */
	bool cancelled;
	uint8_t payload[];
};

static void peer_kill(struct rpc_peer *p)
{
	if (!p->dead) {
		p->dead = true;
		rpc_ring_del(&p->list);
		rpc_chan_fini(&p->chans[0].ch);
		rpc_chan_fini(&p->chans[1].ch);
		while (!rpc_ring_empty(&p->msgs)) {
			struct peer_msg *pm = CONTAINER_OF(
				p->msgs.next, struct peer_msg, list);

			pm->peer = NULL;
			rpc_ring_del(&pm->list);
		}
		rpc_server_unref(p->sl->server);
	}
	if (p->depth == 0)
		mem_free(p);
}

void rpc_peers_close(struct rpc_server_loop *sl)
{
	while (!rpc_ring_empty(&sl->peers))
		peer_kill(CONTAINER_OF(sl->peers.next, struct rpc_peer, list));
}

static void peer_update_reading(struct rpc_peer *p)
{
	bool pause = p->inflight >= RPC_PEER_INFLIGHT;

	for (unsigned i = 0; i < 2; i++)
		if (p->chans[i].ch.conn != NULL)
			pause |= conn_out_full(p->chans[i].ch.conn);
	if (pause == p->paused)
		return;
	p->paused = pause;
	for (unsigned i = 0; i < 2; i++) {
		if (p->chans[i].ch.conn == NULL)
			continue;
		if (pause)
			conn_pause_read(p->chans[i].ch.conn);
		else
			conn_resume_read(p->chans[i].ch.conn);
	}
}

/* Takes m. */
static void peer_deliver(struct rpc_msg *m)
{
	struct peer_msg *pm = CONTAINER_OF(m, struct peer_msg, msg);
	struct rpc_peer *p = pm->peer;
	struct frame f = { .type = FRAME_REPLY, .id = m->id,
			   .tag = m->req.tag, .group = m->req.group,
			   .epoch = m->req.epoch, .status = m->status };
	unsigned channel = RPC_CHANNEL_SMALL;
	int rv = 0;

	if (p != NULL) {
		rpc_ring_del(&pm->list);
		p->inflight--;
		if (m->reply_body != NULL &&
		    p->chans[RPC_CHANNEL_BODY].ch.conn != NULL)
			channel = RPC_CHANNEL_BODY;
		if (p->chans[channel].ch.conn == NULL)
			channel = 1 - channel;
	}
	if (p != NULL && !pm->cancelled) {
		rv = rpc_chan_send(&p->chans[channel].ch, &f, &m->reply,
				   m->reply_body);
		m->reply_body = NULL;
	}
	rpc_msg_fini(m);
	mem_free(pm);
	if (rv != 0)
		peer_kill(p);
	else if (p != NULL)
		peer_update_reading(p);
}

static int peer_request(struct rpc_peer *p, struct rpc_in *in)
{
	size_t len = in->head.payload_len;
	struct peer_msg *pm = mem_alloc(sizeof(*pm) + len);
	struct rpc_msg *m;

	if (pm == NULL)
		return -ENOMEM;
	*pm = (struct peer_msg){ .peer = p };
	if (len > 0)
		memcpy(pm->payload, in->payload, len);
	m = &pm->msg;
	m->home = p->sl->env;
	m->deliver = peer_deliver;
	m->id = in->head.id;
	m->store = in->head.store;
	m->req.tag = in->head.tag;
	m->req.group = in->head.group;
	m->req.role = p->role;
	m->req.epoch = in->head.epoch;
	m->req.loose = (in->head.flags & FRAME_F_LOOSE) != 0;
	m->req.store = in->head.store;
	m->req.payload = pm->payload;
	m->req.payload_len = len;
	m->req.body = in->body;
	in->body = NULL;
	p->inflight++;
	rpc_ring_add(&p->msgs, &pm->list);
	rpc_server_dispatch(p->sl->server, m);
	return 0;
}

static void peer_cancel(struct rpc_peer *p, uint64_t id)
{
	for (struct rpc_ring *i = p->msgs.next; i != &p->msgs; i = i->next) {
		struct peer_msg *pm = CONTAINER_OF(i, struct peer_msg, list);

		if (pm->msg.id == id)
			pm->cancelled = true;
	}
}

static int peer_handle(struct rpc_peer *p, struct rpc_in *in)
{
	switch (in->head.type) {
	case FRAME_REQUEST:
		return peer_request(p, in);
	case FRAME_CANCEL:
		peer_cancel(p, in->head.id);
		return 0;
	default:
		return -EPROTO;
	}
}

static void peer_on_read(struct conn *c, void *arg)
{
	struct peer_chan *pc = arg;
	struct rpc_peer *p = pc->peer;
	struct rpc_in in;
	int rv = 1;

	(void)c;
	p->depth++;
	while (rv > 0 && !p->dead && !p->paused) {
		rv = rpc_chan_next(&pc->ch, &in);
		if (rv != 1)
			break;
		if (peer_handle(p, &in) != 0)
			rv = -EPROTO;
		rpc_in_fini(&in);
		if (rv == 1)
			peer_update_reading(p);
	}
	p->depth--;
	if (rv < 0 || p->dead)
		peer_kill(p);
}

static uint8_t *peer_on_room(struct conn *c, void *arg, size_t *ret_len)
{
	struct peer_chan *pc = arg;

	(void)c;
	return rpc_chan_room(&pc->ch, ret_len);
}

static void peer_on_direct(struct conn *c, void *arg, size_t n)
{
	struct peer_chan *pc = arg;

	rpc_chan_direct(&pc->ch, n);
	peer_on_read(c, arg);
}

static void peer_on_drain(struct conn *c, void *arg)
{
	struct peer_chan *pc = arg;

	(void)c;
	peer_update_reading(pc->peer);
}

static void peer_on_close(struct conn *c, void *arg, int err)
{
	struct peer_chan *pc = arg;

	(void)c;
	(void)err;
	peer_kill(pc->peer);
}

static const struct conn_cbs peer_cbs = {
	.on_read = peer_on_read,
	.on_drain = peer_on_drain,
	.on_close = peer_on_close,
	.on_room = peer_on_room,
	.on_direct = peer_on_direct,
};

/* --- a connection that said HELLO --- */

static struct rpc_peer *peer_find(struct rpc_server_loop *sl, uint64_t link)
{
	for (struct rpc_ring *i = sl->peers.next; i != &sl->peers;
	     i = i->next) {
		struct rpc_peer *p = CONTAINER_OF(i, struct rpc_peer, list);

		if (p->link == link)
			return p;
	}
	return NULL;
}

static struct rpc_peer *peer_new(struct rpc_server_loop *sl,
				 const struct rpc_handoff *h)
{
	struct rpc_peer *p = mem_zalloc(sizeof(*p));

	if (p == NULL)
		return NULL;
	p->sl = sl;
	p->link = h->link;
	p->role = h->role;
	p->chans[0].peer = p->chans[1].peer = p;
	rpc_ring_init(&p->msgs);
	rpc_ring_add(&sl->peers, &p->list);
	rpc_server_ref(sl->server);
	return p;
}

static int peer_say_hello(struct rpc_peer *p, struct rpc_chan *ch)
{
	struct rpc_server *s = p->sl->server;
	struct rpc_hello_rsp rsp = { .proto = RPC_PROTO,
				     .cluster = s->cluster,
				     .store = s->store,
				     .loops = s->n_loops };
	struct frame f = { .type = FRAME_REPLY, .tag = RPC_TAG_hello };
	struct buf out;

	buf_init(&out, 0);
	if (rpc_hello_rsp_encode(&rsp, &out) != 0) {
		buf_fini(&out);
		return -ENOMEM;
	}
	return rpc_chan_send(ch, &f, &out, NULL);
}

/* Takes the descriptor; a second connection of a kind is a stranger's. */
static void peer_add(struct rpc_server_loop *sl, const struct rpc_handoff *h)
{
	struct rpc_peer *p = peer_find(sl, h->link);
	struct peer_chan *pc;
	struct conn *c;

	if (p != NULL && (p->role != h->role ||
			  p->chans[h->channel].ch.conn != NULL)) {
		(void)close(h->fd);
		return;
	}
	if (p == NULL)
		p = peer_new(sl, h);
	if (p == NULL) {
		(void)close(h->fd);
		return;
	}
	pc = &p->chans[h->channel];
	if (conn_new(sl->loop, h->fd, &peer_cbs, pc, &c) != 0) {
		peer_kill(p);
		return;
	}
	rpc_chan_init(&pc->ch, c);
	pc->ch.received = h->received;
	if (p->paused)
		conn_pause_read(c);
	if (peer_say_hello(p, &pc->ch) != 0)
		peer_kill(p);
}

void rpc_peer_attach(struct env_task *task)
{
	struct rpc_handoff *h = CONTAINER_OF(task, struct rpc_handoff, task);
	struct rpc_server *s = h->sl->server;

	if (rpc_server_closing(s))
		(void)close(h->fd);
	else
		peer_add(h->sl, h);
	mem_free(h);
	rpc_server_unref(s);
}
