/*
 * Calls: routing, retries, answer slots.
 *
 *   TRY -> SENT -> (definite answer) -> done
 *    ^      |
 *    |      v  retriable status: backoff 5 .. 200 ms
 *    +--- WAIT      (also: no snapshot, no session, no owner yet)
 *   SLOT: a mutation while all answer slots are in use -> TRY
 *   END:  the result is known, the timer tells it
 *
 * A mutation gets (session, slot, seq) once and keeps them in all tries, so
 * the shard answers a repetition instead of applying it again. A slot is given
 * back when its call had a definite answer; after anything else (deadline,
 * cancel) the try may still be under way somewhere, so that number is never
 * used again.
 *
 * SESSION from a shard: the session that the call was stamped with has ended.
 * If we have no other one yet, the managers are asked for it; a mutation that
 * was refused at its first try goes on with that, as it cannot have happened.
 * But requests also name sessions in themselves (who opens a file), that of when
 * they were made: refused in a later one they will always be. All else ends
 * here.
 *
 * An answer may be that another shard goes on (follow.h): that is definite, the
 * next request has the next number. A shard that sends a request on notes that
 * only when the request says that it was sent there before (RPC_SEQ_AGAIN); so
 * the answer to an earlier try must not be taken while a later one may be under
 * way. It never is: a call waits for one try at a time.
 */
#include "common/client/client_impl.h"
#include "common/client/follow.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

/* While nobody knows the way: how often to look again. */
#define CALL_WAIT_NS 100000000u
#define CALL_MUT_LEN 20

enum call_state { CALL_WAIT, CALL_SENT, CALL_SLOT, CALL_END };

struct client_call {
	struct client_list list;      /* of the client */
	struct client_list slot_list; /* while waiting for a slot */
	struct client *c;
	enum call_state state;
	uint16_t tag;
	uint16_t shard;
	char kind;
	bool has_chunk;
	bool has_slot;
	bool loose;
	struct client_chunk chunk;
	struct wire_u128 store; /* kind S */
	struct client_follow *follow; /* NULL unless shards were joined */
	unsigned sent;      /* tries at this place */
	struct buf payload; /* empty while the rpc call has it */
	struct body *body;  /* our reference */
	uint32_t slot;
	uint64_t seq;
	uint64_t deadline; /* ns */
	uint64_t session;  /* that it was stamped with last, or 0 */
	uint64_t made_in;  /* the session then; 0: there was none */
	unsigned tries;
	uint32_t status;   /* END: the result; else of the last try */
	struct rpc_call *rpc;
	struct env_timer timer;
	rpc_done_fn done;
	void *arg;
};

#ifdef ENABLE_MUTATIONS
enum client_mutation client_mutation = CLIENT_MUTATE_NONE;
#endif

static void call_try(struct client_call *call);

/* --- slots --- */

static bool call_is_mutation(const struct client_call *call)
{
	return call->kind == 'W' || call->kind == 'H';
}

static bool call_is_for_shard(const struct client_call *call)
{
	return call->kind == 'R' || call->kind == 'W';
}

static bool call_take_slot(struct client_call *call)
{
	struct client_slots *s = &call->c->slots;

	if (s->in_use == s->max)
		return false;
	s->in_use++;
	call->has_slot = true;
	if (s->n_free > 0) {
		s->n_free--;
		call->slot = s->free[s->n_free].slot;
		call->seq = s->free[s->n_free].seq;
	} else {
		call->slot = call->c->index << 24 | (s->next++ & 0xffffff);
		call->seq = 1;
	}
	return true;
}

/* definite: the server answered, so no try of this call is under way. */
static void call_drop_slot(struct client_call *call, bool definite)
{
	struct client_slots *s = &call->c->slots;
	struct client_call *next;

	if (!call->has_slot)
		return;
	call->has_slot = false;
	s->in_use -= !CLIENT_MUTATES(KEEP);
	if (definite || CLIENT_MUTATES(REUSE)) {
		s->free[s->n_free].slot = call->slot;
		s->free[s->n_free].seq = call->seq + !CLIENT_MUTATES(SEQ);
		s->n_free++;
	}
	if (client_list_empty(&s->waiting))
		return;
	next = CONTAINER_OF(s->waiting.next, struct client_call, slot_list);
	client_list_del(&next->slot_list);
	next->state = CALL_WAIT;
	env_timer_set(call->c->env, &next->timer, 0);
}

static void call_store(uint8_t *p, uint64_t v, unsigned n)
{
	while (n > 0) {
		p[--n] = (uint8_t)v;
		v >>= 8;
	}
}

/* (client, slot, seq) are the first bytes of every mutation. */
static void call_stamp(struct client_call *call)
{
	bool again = call->kind == 'W' && call->sent > 0 &&
		     !CLIENT_MUTATES(AGAIN);
	uint8_t *p = call->payload.data;

	call_store(p, call->session, 8);
	call_store(p + 8, call->slot, 4);
	call_store(p + 12, call->seq | (again ? RPC_SEQ_AGAIN : 0), 8);
}

/* --- ends --- */

/* Takes the call out of everything; nothing of it runs afterwards. */
static void call_unhook(struct client_call *call, bool definite)
{
	client_list_del(&call->list);
	client_list_del(&call->slot_list);
	env_timer_cancel(call->c->env, &call->timer);
	call_drop_slot(call, definite);
}

static void call_free(struct client_call *call)
{
	buf_fini(&call->payload);
	client_follow_free(call->follow);
	body_unref(call->body);
	mem_free(call);
}

static void call_end(struct client_call *call, const struct rpc_reply *r,
		     bool definite)
{
	call_unhook(call, definite);
	call->done(call->arg, r);
	call_free(call);
}

/* From wherever: done() comes from the timer. */
static void call_end_soon(struct client_call *call, uint32_t status)
{
	call->state = CALL_END;
	call->status = status;
	env_timer_set(call->c->env, &call->timer, 0);
}

static uint64_t call_left_ns(const struct client_call *call)
{
	uint64_t now = env_now_ns(call->c->env);

	return call->deadline > now ? call->deadline - now : 0;
}

static void call_wait(struct client_call *call, uint64_t ns)
{
	uint64_t left = call_left_ns(call);

	call->state = CALL_WAIT;
	env_timer_set(call->c->env, &call->timer, ns < left ? ns : left);
}

static void call_on_timer(struct env_timer *timer)
{
	struct client_call *call = CONTAINER_OF(timer, struct client_call,
						timer);
	struct rpc_reply r = { .status = call->status };

	if (call->state == CALL_END) {
		call_end(call, &r, false);
	} else if (call_left_ns(call) == 0) {
		if (r.status == RPC_STATUS_OK)
			r.status = RPC_STATUS_TIMEDOUT;
		else
			r.status = RPC_STATUS_UNAVAILABLE;
		call_end(call, &r, false);
	} else if (call->state == CALL_WAIT) {
		call_try(call);
	}
}

/* --- tries --- */

static bool call_may_retry(uint32_t status)
{
	switch (status) {
	case RPC_STATUS_NOT_LEADER:
	case RPC_STATUS_STALE_EPOCH:
	case RPC_STATUS_WRONG_STORE:
	case RPC_STATUS_UNAVAILABLE:
	case RPC_STATUS_UNKNOWN_OUTCOME:
	case RPC_STATUS_BUSY:
		return true;
	default:
		return false;
	}
}

static void call_refreshed(void *arg, int status)
{
	(void)arg;
	(void)status; /* a newer snapshot wakes calls by itself */
}

/* It cannot have happened, and does not itself name the session it was in. */
static bool call_may_move(const struct client_call *call)
{
	return call->kind == 'W' && !CLIENT_MUTATES(STAY) &&
	       (call->tries == 0 || CLIENT_MUTATES(SESSION)) &&
	       (call->made_in == 0 || call->made_in == call->session ||
		CLIENT_MUTATES(NAMED));
}

/*
 * Its session is over; true when the call goes on with the next one, which may
 * have come before this answer did.
 */
static bool call_lost_session(struct client_call *call,
			      const struct rpc_reply *r)
{
	client_session_lost(call->c);
	if (!call_may_move(call) || r->request == NULL || r->request->len == 0)
		return false;
	call->payload = *r->request;
	buf_init(r->request, 0);
	call->sent = 0;
	call_drop_slot(call, true);
	call_wait(call, call->session == call->c->session ? CALL_WAIT_NS : 0);
	return true;
}

/* What comes back may be no answer yet, but where it is. */
static void call_follow(struct client_call *call, const struct rpc_reply *r)
{
	struct client_hop hop = { .tag = call->tag, .shard = call->shard };
	struct rpc_reply joined = *r;
	struct buf answer;
	int rv = 0;

	buf_init(&hop.request, 0);
	buf_init(&answer, 0);
	if (r->request != NULL) {
		hop.request = *r->request;
		buf_init(r->request, 0);
	}
	if (call_is_for_shard(call))
		rv = client_follow(&call->follow, &hop, r->status,
				   wire_bytes(r->payload, r->len), &answer);
	if (rv > 0) {
		call->payload = hop.request;
		call->tag = hop.tag;
		call->shard = hop.shard;
		call->sent = 0;
		call->seq += !CLIENT_MUTATES(HOP);
		call_try(call);
		return;
	}
	if (rv < 0)
		joined = (struct rpc_reply){
			.status = rpc_status_from_errno(rv),
		};
	else if (answer.len > 0) {
		joined.payload = answer.data;
		joined.len = answer.len;
	}
	joined.again = call->sent > 1;
	buf_fini(&hop.request);
	call_end(call, &joined, true);
	buf_fini(&answer);
}

static void call_on_reply(void *arg, const struct rpc_reply *r)
{
	struct client_call *call = arg;
	struct client *c = call->c;

	call->rpc = NULL;
	if (r->status == RPC_STATUS_SESSION && call_lost_session(call, r))
		return;
	if (r->status == RPC_STATUS_OK || r->status == RPC_STATUS_ELSEWHERE) {
		call_follow(call, r);
		return;
	}
	if (!call_may_retry(r->status)) {
		call_end(call, r, r->status != RPC_STATUS_TIMEDOUT);
		return;
	}
	call->status = r->status;
	if (r->request == NULL || r->request->len == 0) {
		call_end(call, r, false);
		return;
	}
	call->payload = *r->request;
	buf_init(r->request, 0);
	/* the map may be old; BUSY and the like say nothing about it */
	if (call->tries == 0 && (r->status == RPC_STATUS_NOT_LEADER ||
				 r->status == RPC_STATUS_STALE_EPOCH ||
				 r->status == RPC_STATUS_WRONG_STORE))
		client_refresh(c, UINT64_MAX, call_refreshed, NULL);
	call_wait(call, client_backoff_ns(c, call->tries++));
}

/* Address and store, or false when they are not known (yet). */
static bool call_route(const struct client_call *call, struct wire_bytes *addr,
		       struct wire_u128 *store)
{
	const struct client *c = call->c;
	const struct cluster_store *s = NULL;

	if (call->kind == 'G' || call->kind == 'H') {
		*addr = wire_cstr(c->set->manager);
		*store = (struct wire_u128){ 0, 0 };
		return true;
	}
	if (c->cluster == NULL)
		return false;
	if (call->kind == 'S')
		s = cluster_find_store(c->cluster, call->store);
	else if (call->has_chunk)
		s = cluster_chunk_store(c->cluster, call->chunk.slice,
					call->chunk.index, call->chunk.nth);
	else
		s = cluster_shard_store(c->cluster, call->shard);
	if (s == NULL || s->addr.len == 0)
		return false;
	*addr = s->addr;
	*store = s->id;
	return true;
}

/* A mutation without slot gets one: true, or it waits. */
static bool call_prepare(struct client_call *call)
{
	if (!call_is_mutation(call))
		return true;
	if (CLIENT_MUTATES(SLOT) && call->has_slot) {
		call->slot = call->c->slots.next++;
		call->seq = 1;
	}
	if (call->has_slot) {
		call_stamp(call);
		return true;
	}
	if (call->c->session == 0 || call->c->session == call->session) {
		call_wait(call, CALL_WAIT_NS);
		return false;
	}
	if (!call_take_slot(call)) {
		call->state = CALL_SLOT;
		client_list_add(&call->c->slots.waiting, &call->slot_list);
		env_timer_set(call->c->env, &call->timer, call_left_ns(call));
		return false;
	}
	call->session = call->c->session;
	call_stamp(call);
	return true;
}

static void call_try(struct client_call *call)
{
	struct client *c = call->c;
	uint64_t left = call_left_ns(call);
	struct rpc_send send = {
		.tag = call->tag, .group = call->shard,
		.loose = call->loose,
		.payload = &call->payload, .done = call_on_reply,
		.arg = call, .timeout_ms = (uint32_t)(left / 1000000) + 1,
	};
	struct rpc_peer_link *link;
	struct wire_bytes addr;

	if (!call_route(call, &addr, &send.store)) {
		call_wait(call, CALL_WAIT_NS);
		return;
	}
	if (!call_prepare(call))
		return;
	link = client_link_to(c, addr, call->shard);
	if (link == NULL) {
		call_end_soon(call, RPC_STATUS_NOMEM);
		return;
	}
	if (c->cluster != NULL)
		send.epoch = c->cluster->top.epoch;
	if (call->body != NULL)
		send.body = body_ref(call->body);
	env_timer_cancel(c->env, &call->timer);
	call->state = CALL_SENT;
	call->sent++;
	call->rpc = rpc_link_send(link, &send);
	if (call->rpc == NULL)
		call_end_soon(call, RPC_STATUS_NOMEM);
}

void client_calls_wake(struct client *c)
{
	for (struct client_list *i = c->calls.next; i != &c->calls;
	     i = i->next) {
		struct client_call *call = CONTAINER_OF(i, struct client_call,
							list);

		if (call->state == CALL_WAIT)
			env_timer_set(c->env, &call->timer, 0);
	}
}

/* --- the interface --- */

struct client_call *client_send_chunk(struct client *c,
				      struct client_send *send,
				      const struct client_chunk *chunk)
{
	struct client_call *call = mem_zalloc(sizeof(*call));
	const struct rpc_info *info = rpc_info(send->tag);
	uint32_t ms = send->timeout_ms == 0 ? c->set->timeout_ms :
					      send->timeout_ms;

	assert(info != NULL && info->kind != 'P');
	assert((info->kind == 'C') == (chunk != NULL));
	if (call == NULL) {
		buf_fini(send->payload);
		body_unref(send->body);
		return NULL;
	}
	call->payload = *send->payload;
	buf_init(send->payload, 0);
	call->c = c;
	call->made_in = c->session;
	call->tag = send->tag;
	call->kind = info->kind;
	call->shard = send->shard;
	if (call->shard == CLIENT_FIRST && call_is_for_shard(call))
		call->shard = client_first_shard(
			call->tag, wire_bytes(call->payload.data,
					      call->payload.len));
	call->store = send->store;
	call->loose = send->loose;
	if (chunk != NULL) {
		call->has_chunk = true;
		call->chunk = *chunk;
	}
	call->body = send->body;
	call->deadline = env_now_ns(c->env) + ms * 1000000ull;
	if (send->deadline != 0 && send->deadline < call->deadline)
		call->deadline = send->deadline;
	call->timer.cb = call_on_timer;
	call->done = send->done;
	call->arg = send->arg;
	CLIENT_LIST_INIT(&call->slot_list);
	client_list_add(&c->calls, &call->list);
	if (call->payload.err != 0)
		call_end_soon(call, rpc_status_from_errno(call->payload.err));
	else if (call_is_mutation(call) && call->payload.len < CALL_MUT_LEN)
		call_end_soon(call, RPC_STATUS_INVAL);
	else
		call_try(call);
	return call;
}

struct client_call *client_send(struct client *c, struct client_send *send)
{
	struct client_chunk chunk = { .nth = 0 };
	struct wire_reader r;

	if (rpc_info(send->tag) == NULL || rpc_info(send->tag)->kind != 'C')
		return client_send_chunk(c, send, NULL);
	/* chunk messages begin with (slice, index) */
	r = (struct wire_reader){ .p = send->payload->data,
				  .left = send->payload->len };
	wire_get_u128(&r, &chunk.slice);
	wire_get_u32(&r, &chunk.index);
	chunk.nth = send->nth;
	return client_send_chunk(c, send, &chunk);
}

struct client_call *client_send_encoded_how(struct client *c, uint16_t tag,
					    uint16_t shard,
					    const struct client_how *how,
					    int (*encode)(const void *req,
							  struct buf *out),
					    const void *req, rpc_done_fn done,
					    void *arg)
{
	struct buf out;
	struct client_send send = { .tag = tag, .shard = shard,
				    .payload = &out,
				    .deadline = how->deadline,
				    .loose = how->loose,
				    .done = done, .arg = arg };

	buf_init(&out, 0);
	(void)encode(req, &out); /* out.err is looked at by client_send() */
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
	if (call->rpc != NULL)
		rpc_call_cancel(call->rpc);
	call_unhook(call, false);
	call_free(call);
}

void client_calls_drop(struct client *c)
{
	while (!client_list_empty(&c->calls))
		client_cancel(CONTAINER_OF(c->calls.next, struct client_call,
					   list));
}
