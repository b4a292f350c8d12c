/*
 * Links: the side that asks.
 *
 * Happy path, over sockets: queued -> (connect, HELLO on both connections) ->
 * sent -> reply with the same id -> done. In process: the call itself is the
 * message; it is posted to the routed loop and comes back.
 *
 * Failure modes: connect or HELLO fails, a connection dies, garbage arrives:
 * both connections are closed, all calls end UNAVAILABLE, the next connect
 * waits 20 ms .. 1 s. Deadline: TIMEDOUT, the late reply is ignored. Cancel:
 * nobody is told, the late reply is ignored. Too many calls: BUSY. An
 * in-process call that ended early stays with its handler and is freed when
 * it comes back.
 *
 *   DOWN -> CONNECTING -> UP        (both connections greeted)
 *     ^         |          |
 *     +------ WAIT <-------+        (backoff)
 */
#include "common/rpc/rpc_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

#define LINK_CALLS_MAX 65536u
#define LINK_BODY_CREDIT (32u << 20)
#define LINK_BACKOFF_MIN_MS 20u
#define LINK_BACKOFF_MAX_MS 1000u
#define LINK_CONNECT_MS 5000u
#define LINK_TIMEOUT_MS 30000u
/* Deadlines are looked at no more often than this. */
#define LINK_TICK_NS 5000000u

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_UP, LINK_WAIT };

enum call_state {
	CALL_QUEUED, /* in queue[], not sent */
	CALL_SENT,   /* in sent; over sockets it has a slot */
	CALL_ENDING, /* in ending, done() is owed with end_status */
};

struct rpc_call {
	struct rpc_msg msg;
	struct rpc_ring list;
	struct rpc_peer_link *link; /* NULL: nobody waits (in process only) */
	enum call_state state;
	bool out;            /* in process: on its way or at the handler */
	uint32_t end_status; /* of ENDING; msg belongs to the handler if out */
	uint32_t credit;   /* body bytes counted on the link */
	uint64_t deadline; /* ns */
	rpc_done_fn done;
	void *arg;
};

struct link_chan {
	struct rpc_peer_link *link;
	struct rpc_chan ch;
	bool greeted;
};

struct rpc_peer_link {
	struct loop *loop;
	struct env *env;
	struct rpc_server *server; /* a reference; NULL: over sockets */
	uint32_t role;
	unsigned lane;       /* the server's loop, modulo how many it has */
	unsigned peer_loops; /* so many; 0: not told yet */
	char *addr;
	enum link_state state;
	bool broken;   /* a send failed: end_task takes it down */
	bool freed;    /* rpc_link_free() was called */
	bool posted;   /* end_task is queued */
	unsigned depth; /* callbacks on the stack */
	struct link_chan chans[2];
	unsigned backoff_ms;
	struct env_timer retry;    /* connect timeout and backoff */
	struct env_timer deadline; /* armed for deadline_at */
	uint64_t deadline_at;      /* 0: not armed */
	struct env_task end_task;
	struct rpc_ring queue[2];
	struct rpc_ring sent;
	struct rpc_ring ending;
	uint64_t credit;  /* body bytes sent and not answered */
	uint64_t seq;     /* of ids */
	struct rpc_call **slots; /* by the low 16 bits of the id */
	uint32_t *free_slots;    /* stack of n_free numbers */
	uint32_t n_slots, n_free;
};

static void link_connect(struct rpc_peer_link *l);
static void link_flush(struct rpc_peer_link *l, unsigned channel);

/* --- ids --- */

static int link_grow_slots(struct rpc_peer_link *l)
{
	uint32_t n = l->n_slots == 0 ? 64 : l->n_slots * 2;
	struct rpc_call **slots;
	uint32_t *free_slots;

	if (n > LINK_CALLS_MAX)
		return -EBUSY;
	slots = mem_realloc(l->slots, n * sizeof(*slots));
	if (slots == NULL)
		return -ENOMEM;
	l->slots = slots;
	free_slots = mem_realloc(l->free_slots, n * sizeof(*free_slots));
	if (free_slots == NULL)
		return -ENOMEM;
	l->free_slots = free_slots;
	for (uint32_t i = n; i > l->n_slots; i--) {
		slots[i - 1] = NULL;
		free_slots[l->n_free++] = i - 1;
	}
	l->n_slots = n;
	return 0;
}

static int link_take_id(struct rpc_peer_link *l, struct rpc_call *c)
{
	uint32_t slot;
	int rv;

	if (l->n_free == 0) {
		rv = link_grow_slots(l);
		if (rv != 0)
			return rv;
	}
	slot = l->free_slots[--l->n_free];
	l->slots[slot] = c;
	c->msg.id = ++l->seq << 16 | slot;
	return 0;
}

static void link_drop_id(struct rpc_peer_link *l, struct rpc_call *c)
{
	uint32_t slot = c->msg.id & 0xffff;

	assert(l->slots[slot] == c);
	l->slots[slot] = NULL;
	l->free_slots[l->n_free++] = slot;
	l->credit -= c->credit;
	c->credit = 0;
}

static struct rpc_call *link_find(struct rpc_peer_link *l, uint64_t id)
{
	uint32_t slot = id & 0xffff;

	if (slot >= l->n_slots || l->slots[slot] == NULL ||
	    l->slots[slot]->msg.id != id)
		return NULL;
	return l->slots[slot];
}

/* --- the end of calls --- */

static void call_free(struct rpc_call *c)
{
	rpc_msg_fini(&c->msg);
	mem_free(c);
}

/* Takes c out of the link's books, whatever its state. */
static void call_detach(struct rpc_call *c)
{
	rpc_ring_del(&c->list);
	if (c->state == CALL_SENT && !c->out)
		link_drop_id(c->link, c);
}

/* After detach: one in foreign hands is freed when it comes back. */
static void call_drop(struct rpc_call *c)
{
	if (c->out)
		c->link = NULL;
	else
		call_free(c);
}

/* Notes how c ends; link_run_ending() tells. */
static void call_end_later(struct rpc_call *c, uint32_t status)
{
	call_detach(c);
	c->state = CALL_ENDING;
	c->end_status = status;
	rpc_ring_add(&c->link->ending, &c->list);
}

static void link_end_list(struct rpc_ring *list, uint32_t status)
{
	while (!rpc_ring_empty(list))
		call_end_later(CONTAINER_OF(list->next, struct rpc_call, list),
			       status);
}

static void link_destroy(struct rpc_peer_link *l)
{
	env_timer_cancel(l->env, &l->retry);
	env_timer_cancel(l->env, &l->deadline);
	if (l->server != NULL)
		rpc_server_unref(l->server);
	mem_free(l->slots);
	mem_free(l->free_slots);
	mem_free(l->addr);
	mem_free(l);
}

static void link_enter(struct rpc_peer_link *l)
{
	l->depth++;
}

/* Leaves a callback; the link may be gone afterwards. */
static void link_leave(struct rpc_peer_link *l)
{
	l->depth--;
	if (l->freed && l->depth == 0 && !l->posted &&
	    rpc_ring_empty(&l->ending))
		link_destroy(l);
}

/* Calls done() of all that ended; inside a callback only. */
static void link_run_ending(struct rpc_peer_link *l)
{
	while (!rpc_ring_empty(&l->ending)) {
		struct rpc_call *c = CONTAINER_OF(l->ending.next,
						  struct rpc_call, list);
		struct rpc_reply reply = {
			.status = c->end_status,
			.request = c->out ? NULL : &c->msg.request,
		};

		call_detach(c);
		c->done(c->arg, &reply);
		call_drop(c);
	}
}

/* Outside of callbacks: what ended is told by a task. */
static void link_post_end(struct rpc_peer_link *l)
{
	if (l->posted)
		return;
	l->posted = true;
	env_post(l->env, &l->end_task);
}

static void link_close_chans(struct rpc_peer_link *l)
{
	for (unsigned i = 0; i < 2; i++) {
		rpc_chan_fini(&l->chans[i].ch);
		l->chans[i].greeted = false;
	}
}

/* Both connections go, every call ends, the next connect has to wait. */
static void link_down(struct rpc_peer_link *l)
{
	l->broken = false;
	link_close_chans(l);
	link_end_list(&l->sent, RPC_STATUS_UNAVAILABLE);
	link_end_list(&l->queue[0], RPC_STATUS_UNAVAILABLE);
	link_end_list(&l->queue[1], RPC_STATUS_UNAVAILABLE);
	if (l->freed)
		return;
	l->state = LINK_WAIT;
	env_timer_set(l->env, &l->retry, l->backoff_ms * 1000000ull);
	l->backoff_ms *= 2;
	if (l->backoff_ms > LINK_BACKOFF_MAX_MS)
		l->backoff_ms = LINK_BACKOFF_MAX_MS;
}

static void link_end_task(struct env_task *task)
{
	struct rpc_peer_link *l = CONTAINER_OF(task, struct rpc_peer_link, end_task);

	link_enter(l);
	l->posted = false;
	if (l->broken)
		link_down(l);
	link_run_ending(l);
	link_leave(l);
}

/* --- deadlines --- */

static void link_arm_deadline(struct rpc_peer_link *l, uint64_t at, uint64_t now)
{
	uint64_t delay = at > now ? at - now : 0;

	if (l->deadline_at != 0 && l->deadline_at <= at)
		return;
	if (delay < LINK_TICK_NS)
		delay = LINK_TICK_NS;
	l->deadline_at = now + delay;
	env_timer_set(l->env, &l->deadline, delay);
}

/* Ends what is late in list; lowers *next to the earliest of the others. */
static void link_end_late(struct rpc_peer_link *l, struct rpc_ring *list,
			  uint64_t now, uint64_t *next)
{
	struct rpc_ring *i = list->next;

	while (i != list) {
		struct rpc_call *c = CONTAINER_OF(i, struct rpc_call, list);

		i = i->next;
		if (c->deadline > now) {
			if (c->deadline < *next)
				*next = c->deadline;
			continue;
		}
		if (c->state == CALL_SENT && !c->out) {
			struct frame f = { .type = FRAME_CANCEL,
					   .id = c->msg.id };
			unsigned ch = c->msg.req.body != NULL;

			l->broken |= rpc_chan_send(&l->chans[ch].ch, &f, NULL,
						   NULL) != 0;
		}
		call_end_later(c, RPC_STATUS_TIMEDOUT);
	}
}

static void link_on_deadline(struct env_timer *timer)
{
	struct rpc_peer_link *l = CONTAINER_OF(timer, struct rpc_peer_link, deadline);
	uint64_t now = env_now_ns(l->env);
	uint64_t next = UINT64_MAX;

	link_enter(l);
	l->deadline_at = 0;
	link_end_late(l, &l->sent, now, &next);
	link_end_late(l, &l->queue[0], now, &next);
	link_end_late(l, &l->queue[1], now, &next);
	if (next != UINT64_MAX)
		link_arm_deadline(l, next, now);
	if (l->broken)
		link_down(l);
	link_run_ending(l);
	if (!l->freed)
		link_flush(l, RPC_CHANNEL_BODY);
	link_leave(l);
}

/* --- in process --- */

/* The message is home again: takes it. */
static void link_local_deliver(struct rpc_msg *m)
{
	struct rpc_call *c = CONTAINER_OF(m, struct rpc_call, msg);
	struct rpc_peer_link *l = c->link;
	struct rpc_reply reply = { .status = m->status,
				   .payload = m->reply.data,
				   .len = m->reply.len,
				   .body = m->reply_body,
				   .request = &m->request };
	struct rpc_error_rsp err;

	c->out = false;
	if (l == NULL) {
		call_free(c);
		return;
	}
	if (c->state == CALL_ENDING)
		return; /* link_run_ending() has it */
	if (reply.status != RPC_STATUS_OK &&
	    rpc_error_rsp_decode(&err, reply.payload, reply.len) == 0)
		reply.hint = err.hint;
	rpc_ring_del(&c->list);
	link_enter(l);
	c->done(c->arg, &reply);
	call_free(c);
	link_leave(l);
}

static void link_local_send(struct rpc_peer_link *l, struct rpc_call *c)
{
	c->state = CALL_SENT;
	c->out = true;
	rpc_ring_add(&l->sent, &c->list);
	rpc_server_dispatch(l->server, &c->msg);
}

/* --- over sockets --- */

/* Puts c on the wire; on failure it ends later and the link is broken. */
static void link_send_call(struct rpc_peer_link *l, struct rpc_call *c,
			   unsigned channel)
{
	struct rpc_msg *m = &c->msg;
	struct frame f = { .type = FRAME_REQUEST, .tag = m->req.tag,
			   .group = m->req.group, .store = m->store,
			   .flags = m->req.loose ? FRAME_F_LOOSE : 0,
			   .epoch = m->req.epoch };
	int rv = link_take_id(l, c);

	if (rv != 0) {
		call_end_later(c, rpc_status_from_errno(rv));
		link_post_end(l);
		return;
	}
	rpc_ring_del(&c->list);
	c->state = CALL_SENT;
	rpc_ring_add(&l->sent, &c->list);
	f.id = m->id;
	if (m->req.body != NULL) {
		c->credit = m->req.body->len;
		l->credit += c->credit;
		body_ref(m->req.body);
	}
	rv = rpc_chan_send_copy(&l->chans[channel].ch, &f,
				wire_bytes(m->request.data, m->request.len),
				m->req.body);
	if (rv != 0) {
		l->broken = true;
		link_post_end(l);
	}
}

static bool link_may_send(struct rpc_peer_link *l, unsigned channel)
{
	struct link_chan *lc = &l->chans[channel];

	if (l->broken || !lc->greeted || rpc_ring_empty(&l->queue[channel]))
		return false;
	if (channel == RPC_CHANNEL_BODY && l->credit >= LINK_BODY_CREDIT)
		return false;
	return !conn_out_full(lc->ch.conn);
}

static void link_flush(struct rpc_peer_link *l, unsigned channel)
{
	while (link_may_send(l, channel))
		link_send_call(l, CONTAINER_OF(l->queue[channel].next,
					       struct rpc_call, list),
			       channel);
}

/* A greeting: 0, or -errno when the connection is of no use. */
static int link_on_greeting(struct rpc_peer_link *l, struct link_chan *lc,
			    const struct rpc_in *in)
{
	struct rpc_hello_rsp rsp;

	if (in->head.type != FRAME_REPLY || in->head.id != 0 ||
	    in->body != NULL || in->head.status != RPC_STATUS_OK ||
	    rpc_hello_rsp_decode(&rsp, in->payload, in->head.payload_len) !=
		    0 ||
	    rsp.proto != RPC_PROTO)
		return -EPROTO;
	lc->greeted = true;
	l->peer_loops = rsp.loops;
	if (l->chans[0].greeted && l->chans[1].greeted) {
		l->state = LINK_UP;
		l->backoff_ms = LINK_BACKOFF_MIN_MS;
		env_timer_cancel(l->env, &l->retry);
	}
	link_flush(l, (unsigned)(lc - l->chans));
	return 0;
}

/* A reply to nobody (late, cancelled) is dropped. */
static int link_on_reply(struct rpc_peer_link *l, const struct rpc_in *in)
{
	struct rpc_call *c = link_find(l, in->head.id);
	struct rpc_reply reply = { .status = in->head.status,
				   .payload = in->payload,
				   .len = in->head.payload_len,
				   .body = in->body };
	struct rpc_error_rsp err;

	if (c != NULL)
		reply.request = &c->msg.request;
	if (in->head.type != FRAME_REPLY)
		return -EPROTO;
	if (c == NULL)
		return 0;
	if (reply.status != RPC_STATUS_OK &&
	    rpc_error_rsp_decode(&err, reply.payload, reply.len) == 0)
		reply.hint = err.hint;
	call_detach(c);
	link_flush(l, RPC_CHANNEL_BODY);
	c->done(c->arg, &reply);
	call_free(c);
	return 0;
}

static void link_on_read(struct conn *conn, void *arg)
{
	struct link_chan *lc = arg;
	struct rpc_peer_link *l = lc->link;
	struct rpc_in in;
	int rv = 1;

	link_enter(l);
	while (rv > 0 && !l->freed && lc->ch.conn == conn) {
		rv = rpc_chan_next(&lc->ch, &in);
		if (rv != 1)
			break;
		if (lc->greeted)
			rv = link_on_reply(l, &in);
		else
			rv = link_on_greeting(l, lc, &in);
		rpc_in_fini(&in);
		rv = rv == 0 ? 1 : rv;
	}
	if (rv < 0 && !l->freed && lc->ch.conn == conn)
		link_down(l);
	link_run_ending(l);
	link_leave(l);
}

static uint8_t *link_on_room(struct conn *conn, void *arg, size_t *ret_len)
{
	struct link_chan *lc = arg;

	return lc->ch.conn == conn ? rpc_chan_room(&lc->ch, ret_len) : NULL;
}

static void link_on_direct(struct conn *conn, void *arg, size_t n)
{
	struct link_chan *lc = arg;

	rpc_chan_direct(&lc->ch, n);
	link_on_read(conn, arg);
}

static void link_on_drain(struct conn *conn, void *arg)
{
	struct link_chan *lc = arg;
	struct rpc_peer_link *l = lc->link;

	(void)conn;
	link_enter(l);
	link_flush(l, (unsigned)(lc - l->chans));
	link_leave(l);
}

static void link_on_close(struct conn *conn, void *arg, int err)
{
	struct link_chan *lc = arg;
	struct rpc_peer_link *l = lc->link;

	(void)conn;
	(void)err;
	link_enter(l);
	link_down(l);
	link_run_ending(l);
	link_leave(l);
}

static const struct conn_cbs link_cbs = {
	.on_read = link_on_read,
	.on_drain = link_on_drain,
	.on_close = link_on_close,
	.on_room = link_on_room,
	.on_direct = link_on_direct,
};

/* --- connecting --- */

static int link_say_hello(struct rpc_peer_link *l, unsigned channel, uint64_t number)
{
	struct rpc_hello hello = {
		.proto = RPC_PROTO, .role = wire_cstr(rpc_role_text(l->role)),
		.version = wire_cstr("1"), .link = number,
		.channel = (uint8_t)channel,
	};
	struct frame f = { .type = FRAME_REQUEST, .tag = RPC_TAG_hello };
	struct buf out;

	buf_init(&out, 0);
	if (rpc_hello_encode(&hello, &out) != 0) {
		buf_fini(&out);
		return -ENOMEM;
	}
	return rpc_chan_send(&l->chans[channel].ch, &f, &out, NULL);
}

static int link_start(struct rpc_peer_link *l)
{
	uint64_t number;
	struct conn *c;
	int rv = 0;

	env_random(l->env, &number, sizeof(number));
	number = number << 8 | l->lane;
	for (unsigned i = 0; i < 2 && rv == 0; i++) {
		rv = conn_connect(l->loop, l->addr, &link_cbs, &l->chans[i],
				  &c);
		if (rv != 0)
			break;
		rpc_chan_init(&l->chans[i].ch, c);
		rv = link_say_hello(l, i, number);
	}
	return rv;
}

static void link_connect(struct rpc_peer_link *l)
{
	l->state = LINK_CONNECTING;
	if (link_start(l) != 0) {
		link_down(l);
		link_post_end(l);
		return;
	}
	env_timer_set(l->env, &l->retry, LINK_CONNECT_MS * 1000000ull);
}

static void link_on_retry(struct env_timer *timer)
{
	struct rpc_peer_link *l = CONTAINER_OF(timer, struct rpc_peer_link, retry);

	link_enter(l);
	if (l->state == LINK_CONNECTING) {
		link_down(l);
		link_run_ending(l);
	} else {
		l->state = LINK_DOWN;
		if (!rpc_ring_empty(&l->queue[0]) ||
		    !rpc_ring_empty(&l->queue[1]))
			link_connect(l);
	}
	link_leave(l);
}

/* --- the interface --- */

int rpc_link_new(struct loop *loop, const char *addr, uint32_t role,
		 struct rpc_server *server, struct rpc_peer_link **ret_link)
{
	struct rpc_peer_link *l;

	assert(rpc_role_text(role) != NULL);
	l = mem_zalloc(sizeof(*l));
	if (l == NULL)
		return -ENOMEM;
	l->addr = mem_strdup(addr);
	if (l->addr == NULL) {
		mem_free(l);
		return -ENOMEM;
	}
	l->loop = loop;
	l->env = loop_env(loop);
	l->role = role;
	l->lane = loop_index(loop) & RPC_LANE_MAX;
	if (server != NULL)
		l->server = rpc_server_ref(server);
	l->backoff_ms = LINK_BACKOFF_MIN_MS;
	l->chans[0].link = l->chans[1].link = l;
	l->retry.cb = link_on_retry;
	l->deadline.cb = link_on_deadline;
	l->end_task.run = link_end_task;
	rpc_ring_init(&l->queue[0]);
	rpc_ring_init(&l->queue[1]);
	rpc_ring_init(&l->sent);
	rpc_ring_init(&l->ending);
	*ret_link = l;
	return 0;
}

void rpc_link_lane(struct rpc_peer_link *l, unsigned lane)
{
	assert(l->state == LINK_DOWN && lane <= RPC_LANE_MAX);
	l->lane = lane;
}

unsigned rpc_link_loops(const struct rpc_peer_link *l)
{
	return l->peer_loops;
}

void rpc_link_free(struct rpc_peer_link *l)
{
	if (l == NULL)
		return;
	ASSERT_LOOP(l->loop);
	assert(!l->freed);
	l->freed = true;
	link_down(l);
	env_timer_cancel(l->env, &l->retry);
	env_timer_cancel(l->env, &l->deadline);
	/* loops that have stopped tell nobody any more */
	while (!loop_is_running(l->loop) && !rpc_ring_empty(&l->ending)) {
		struct rpc_call *c = CONTAINER_OF(l->ending.next,
						  struct rpc_call, list);

		call_detach(c);
		call_drop(c);
	}
	if (!rpc_ring_empty(&l->ending))
		link_post_end(l);
	link_enter(l);
	link_leave(l);
}

static void link_start_call(struct rpc_peer_link *l, struct rpc_call *c)
{
	struct rpc_msg *m = &c->msg;
	unsigned channel = m->req.body != NULL;

	c->state = CALL_ENDING;
	rpc_ring_init(&c->list);
	if (l->freed || m->request.err != 0 ||
	    m->request.len > FRAME_PAYLOAD_MAX) {
		call_end_later(c, l->freed ? RPC_STATUS_UNAVAILABLE :
			       m->request.err != 0 ?
			       rpc_status_from_errno(m->request.err) :
			       RPC_STATUS_INVAL);
		link_post_end(l);
		return;
	}
	if (l->server != NULL) {
		link_local_send(l, c);
		return;
	}
	c->state = CALL_QUEUED;
	rpc_ring_add(&l->queue[channel], &c->list);
	if (l->state == LINK_DOWN)
		link_connect(l);
	else
		link_flush(l, channel);
}

struct rpc_call *rpc_link_send(struct rpc_peer_link *l, struct rpc_send *s)
{
	struct rpc_call *c = mem_zalloc(sizeof(*c));
	uint32_t ms = s->timeout_ms == 0 ? LINK_TIMEOUT_MS : s->timeout_ms;
	uint64_t now = env_now_ns(l->env);
	struct rpc_msg *m;

	if (c == NULL) {
		buf_fini(s->payload);
		body_unref(s->body);
		return NULL;
	}
	m = &c->msg;
	m->request = *s->payload;
	buf_init(s->payload, 0);
	m->home = l->env;
	m->deliver = link_local_deliver;
	m->store = s->store;
	m->req.tag = s->tag;
	m->req.group = s->group;
	m->req.role = l->role;
	m->req.epoch = s->epoch;
	m->req.loose = s->loose;
	m->req.store = s->store;
	m->req.payload = m->request.data;
	m->req.payload_len = m->request.len;
	m->req.body = s->body;
	c->link = l;
	c->done = s->done;
	c->arg = s->arg;
	c->deadline = now + ms * 1000000ull;
	link_start_call(l, c);
	if (c->state != CALL_ENDING)
		link_arm_deadline(l, c->deadline, now);
	return c;
}

void rpc_call_cancel(struct rpc_call *c)
{
	struct rpc_peer_link *l = c->link;
	unsigned channel = c->msg.req.body != NULL;

	if (c->state == CALL_SENT && !c->out) {
		struct frame f = { .type = FRAME_CANCEL, .id = c->msg.id };

		if (rpc_chan_send(&l->chans[channel].ch, &f, NULL, NULL) != 0) {
			l->broken = true;
			link_post_end(l);
		}
	}
	call_detach(c);
	call_drop(c);
	link_flush(l, RPC_CHANNEL_BODY);
}
