/*
 * Happy path: rpc_link_send() -> (delay) -> shard_call_request() at the node ->
 * (delay) -> done().
 *
 * Failure modes: a link is cut: link_told() ends its calls a while later. A
 * deadline: TIMEDOUT, whatever comes later is dropped. A process dies:
 * sim_links_died(); requests to it that are on their way end with UNAVAILABLE
 * where they arrive. A store does not feel like it, or is another one: BUSY,
 * STALE_EPOCH, WRONG_STORE at the door.
 */
#include "tests/sim/sim_link.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/base/daemon.h"
#include "storaged/shard_impl.h"
#include "tests/sim/sim_store.h"

#define LINK_LOOPS 2 /* of a store, as it says: links have lanes */

struct loop {
	struct sim_links *net;
	struct env *env;
	unsigned index;
	unsigned node; /* SIM_NOBODY: a client's, env is ours */
};

struct loop_set {
	unsigned n;
	struct loop loops[];
};

struct rpc_peer_link {
	LIST_ENTRY(rpc_peer_link) list;
	struct loop *loop;
	uint64_t id;
	unsigned node;       /* or SIM_MANAGERS */
	bool greeted;        /* it has said how many loops it has */
	bool cut;            /* and its calls have not been told yet */
	uint64_t epoch;      /* of the connection */
	uint64_t out_at;     /* arrival of the last request, */
	uint64_t in_at;      /* of the last answer */
	uint64_t up_at;      /* connected again by then */
	uint64_t dead_until; /* refused until then */
};

struct rpc_call {
	LIST_ENTRY(rpc_call) list;
	struct rpc_peer_link *link;
	uint64_t id, epoch;  /* of the link when it was sent */
	struct buf payload;
	struct env_timer timer; /* deadline, or 0 when it is over */
	bool over;              /* with status, or as it was answered */
	uint32_t status;
	struct parcel *answer;  /* ours; NULL: nobody did */
	rpc_done_fn done;
	void *arg;
};

/* A request or an answer on its way, or word of a cut link. */
struct parcel {
	struct sim_links *net;
	uint64_t call, link, epoch;
	unsigned node, life;
	uint16_t tag, group;
	bool loose;
	struct wire_u128 store;
	uint32_t status;
	struct sim_answer answer;
	size_t len, body;
	uint8_t bytes[];
};

/* A request at a process. */
struct served {
	LIST_ENTRY(served) list;
	struct sim_links *net;
	unsigned node;
	struct parcel *request; /* ours */
};

struct sim_links {
	struct sim_cluster *c;
	const struct sim_link_ops *ops;
	void *user;
	uint64_t ids;        /* of links and calls */
	unsigned lives[SIM_NODES];
	LIST_HEAD(, rpc_peer_link) links;
	LIST_HEAD(, rpc_call) calls;
	LIST_HEAD(, served) served;
	LIST_HEAD(, served) lost; /* of processes that died: they may still
				   * point to requests */
};

static struct sim *sim_of(const struct sim_links *net)
{
	return sim_cluster_sim(net->c);
}

/* In so many of 1000 cases, unless all is well now. */
static bool faulty(const struct sim_links *net, unsigned permille)
{
	return sim_chance(sim_of(net), permille) &&
	       !sim_cluster_healing(net->c);
}

/* --- loops --- */

static struct loop_set *loops_new(struct sim_links *net, unsigned n,
				  unsigned node, struct env *env)
{
	struct loop_set *set = sim_zalloc(sizeof *set +
					  n * sizeof set->loops[0]);

	set->n = n;
	for (unsigned i = 0; i < n; i++)
		set->loops[i] = (struct loop){
			.net = net, .index = i, .node = node,
			.env = env != NULL ? env
					   : simenv_new(sim_of(net), NULL,
							SIM_NOBODY),
		};
	return set;
}

struct loop_set *sim_loops_new(struct sim_links *net, unsigned n)
{
	return loops_new(net, n, SIM_NOBODY, NULL);
}

struct loop_set *sim_loops_at(struct sim_links *net, unsigned node,
			      struct env *env)
{
	return loops_new(net, 1, node, env);
}

void sim_loops_free(struct loop_set *set)
{
	for (unsigned i = 0; i < set->n; i++)
		if (set->loops[i].node == SIM_NOBODY)
			simenv_free(set->loops[i].env);
	free(set);
}

static bool loops_has(const struct loop_set *set, const struct loop *loop)
{
	return loop >= set->loops && loop < set->loops + set->n;
}

void sim_loops_died(struct loop_set *set)
{
	struct sim_links *net = set->loops[0].net;
	struct rpc_peer_link *l, *l_next;
	struct rpc_call *c, *c_next;

	for (c = LIST_FIRST(&net->calls); c != NULL; c = c_next) {
		c_next = LIST_NEXT(c, list);
		if (loops_has(set, c->link->loop))
			LIST_REMOVE(c, list);
	}
	for (l = LIST_FIRST(&net->links); l != NULL; l = l_next) {
		l_next = LIST_NEXT(l, list);
		if (loops_has(set, l->loop))
			LIST_REMOVE(l, list);
	}
}

unsigned loop_set_size(const struct loop_set *set)
{
	return set->n;
}

struct loop *loop_set_get(struct loop_set *set, unsigned i)
{
	assert(i < set->n);
	return &set->loops[i];
}

struct env *loop_env(struct loop *loop)
{
	return loop->env;
}

unsigned loop_index(const struct loop *loop)
{
	return loop->index;
}

bool loop_is_current(const struct loop *loop)
{
	(void)loop;
	return true;
}

bool loop_is_running(const struct loop *loop)
{
	(void)loop;
	return true;
}

/* common/client/memory.c: bodies are short and few */
uint64_t daemon_memory(void)
{
	return UINT64_C(1) << 33;
}

/* --- what is there --- */

void sim_node_addr(unsigned node, char addr[SIM_NODE_ADDR])
{
	snprintf(addr, SIM_NODE_ADDR, "node%u", node);
}

struct wire_u128 sim_store_id(uint64_t store)
{
	return (struct wire_u128){ .hi = 0x5704e, .lo = store };
}

struct sim_links *sim_links_new(struct sim_cluster *c,
				const struct sim_link_ops *ops, void *user)
{
	struct sim_links *net = sim_zalloc(sizeof *net);

	net->c = c;
	net->ops = ops;
	net->user = user;
	return net;
}

static struct rpc_peer_link *link_find(const struct sim_links *net,
				       uint64_t id)
{
	struct rpc_peer_link *l;

	LIST_FOREACH(l, &net->links, list)
		if (l->id == id)
			return l;
	return NULL;
}

/* NULL: it is over. */
static struct rpc_call *call_find(const struct sim_links *net, uint64_t id)
{
	struct rpc_call *c;

	LIST_FOREACH(c, &net->calls, list)
		if (c->id == id && !c->over)
			return c;
	return NULL;
}

static struct parcel *parcel_new(struct sim_links *net, size_t len)
{
	struct parcel *p = sim_zalloc(sizeof *p + len);

	p->net = net;
	return p;
}

/* --- ends --- */

static void call_free(struct rpc_call *c)
{
	LIST_REMOVE(c, list);
	env_timer_cancel(c->link->loop->env, &c->timer);
	buf_fini(&c->payload);
	free(c->answer);
	free(c);
}

/* The client's loop comes to it. */
static void call_over(struct rpc_call *c)
{
	c->over = true;
	env_timer_set(c->link->loop->env, &c->timer, 0);
}

/* Nobody answered. */
static void call_fail(struct rpc_call *c, uint32_t status)
{
	c->status = status;
	call_over(c);
}

static struct body *answer_body(const struct parcel *p)
{
	struct body *b;

	if (p == NULL || p->body == 0)
		return NULL;
	b = body_new(p->body);
	if (b == NULL)
		abort();
	memcpy(b->data, p->bytes + p->len, p->body);
	b->len = (uint32_t)p->body;
	return b;
}

static void call_on_timer(struct env_timer *timer)
{
	struct rpc_call *c = CONTAINER_OF(timer, struct rpc_call, timer);
	struct sim_links *net = c->link->loop->net;
	const struct parcel *p = c->answer;
	const struct sim_answer none = { 0 };
	struct rpc_reply r = { .status = c->status, .request = &c->payload,
			       .body = answer_body(p) };
	struct rpc_error_rsp e;

	if (!c->over) {
		r.status = RPC_STATUS_TIMEDOUT;
		c->over = true;
	}
	if (p != NULL) {
		r.status = p->status;
		r.payload = p->bytes;
		r.len = p->len;
		if (r.status != RPC_STATUS_OK &&
		    rpc_error_rsp_decode(&e, r.payload, r.len) == 0)
			r.hint = e.hint;
	}
	net->ops->ended(net->user, c->arg, &r, p != NULL ? &p->answer : &none);
	c->done(c->arg, &r);
	body_unref(r.body);
	call_free(c);
}

/* --- cut links --- */

/* The client's end notices. */
static void link_told(void *arg)
{
	struct parcel *p = arg;
	struct rpc_peer_link *l = link_find(p->net, p->link);
	struct sim *s = sim_of(p->net);
	struct rpc_call *c;

	if (l == NULL || l->epoch != p->epoch)
		return;
	l->cut = false;
	l->epoch++;
	l->out_at = l->in_at = 0;
	l->up_at = sim_now(s) + sim_range(s, 20, 60) * SIM_MS;
	if (faulty(p->net, 200))
		l->dead_until = sim_now(s) + sim_range(s, 100, 4000) * SIM_MS;
	LIST_FOREACH(c, &p->net->calls, list)
		if (c->link == l && c->epoch < l->epoch && !c->over)
			call_fail(c, RPC_STATUS_UNAVAILABLE);
}

static void link_cut_after(struct rpc_peer_link *l, uint64_t delay)
{
	struct sim_links *net = l->loop->net;
	struct parcel *p;

	if (l->cut)
		return;
	l->cut = true;
	p = parcel_new(net, 0);
	p->link = l->id;
	p->epoch = l->epoch;
	sim_cluster_count(net->c, SIM_N_LINK_CUTS, 1);
	sim_after_owned(sim_of(net), delay, link_told, p);
}

void sim_links_died(struct sim_links *net, unsigned node)
{
	struct rpc_peer_link *l;
	struct served *s, *next;

	net->lives[node]++;
	for (s = LIST_FIRST(&net->served); s != NULL; s = next) {
		next = LIST_NEXT(s, list);
		if (s->node != node)
			continue;
		LIST_REMOVE(s, list);
		LIST_INSERT_HEAD(&net->lost, s, list);
	}
	LIST_FOREACH(l, &net->links, list)
		if (l->node == node)
			link_cut_after(l, sim_range(sim_of(net), 1, 50) *
						  SIM_MS);
}

/* --- answers --- */

/* The two ends of a link see each other; else it is cut. */
static bool link_reaches(struct rpc_peer_link *l)
{
	unsigned from = l->loop->node;

	if (from == SIM_NOBODY || l->node == SIM_MANAGERS || l->node == from ||
	    (sim_cluster_reaches(l->loop->net->c, from, l->node) &&
	     sim_cluster_reaches(l->loop->net->c, l->node, from)))
		return true;
	link_cut_after(l, sim_range(sim_of(l->loop->net), 50, 500) * SIM_MS);
	return false;
}

static void answer_arrive(void *arg)
{
	struct parcel *p = arg;
	struct rpc_call *c = call_find(p->net, p->call);

	if (c == NULL || c->link->cut || c->epoch != c->link->epoch ||
	    !link_reaches(c->link))
		return;
	c->link->greeted = true;
	c->answer = parcel_new(p->net, p->len + p->body);
	memcpy(c->answer, p, sizeof *p + p->len + p->body);
	call_over(c);
}

/* What p says goes to who waits for p->call, if anybody does. */
static void answer_send(struct parcel *p)
{
	struct rpc_call *c = call_find(p->net, p->call);
	struct sim *s = sim_of(p->net);
	struct rpc_peer_link *l;
	uint64_t at;

	if (c == NULL || c->link->cut || c->epoch != c->link->epoch) {
		free(p);
		return;
	}
	l = c->link;
	if (faulty(p->net, 20)) {
		link_cut_after(l, sim_range(s, 0, 100 * SIM_MS));
		free(p);
		return;
	}
	at = sim_now(s) + sim_range(s, 30 * SIM_US,
				    faulty(p->net, 20) ? 600 * SIM_MS
						       : 4 * SIM_MS);
	if (at < l->in_at)
		at = l->in_at;
	l->in_at = at;
	sim_after_owned(s, at - sim_now(s), answer_arrive, p);
}

void sim_link_answer(struct sim_links *net, uint64_t call, uint32_t status,
		     struct wire_bytes payload)
{
	struct parcel *p = parcel_new(net, payload.len);

	p->call = call;
	p->status = status;
	p->len = payload.len;
	if (payload.len > 0)
		memcpy(p->bytes, payload.p, payload.len);
	answer_send(p);
}

/* --- a process --- */

static void served_free(struct served *s)
{
	LIST_REMOVE(s, list);
	free(s->request);
	free(s);
}

static void serve_done(void *arg, uint32_t status, struct buf *payload,
		       struct body *body)
{
	struct served *s = arg;
	const struct sim_proc *proc = sim_cluster_proc(s->net->c, s->node);
	bool has = status == RPC_STATUS_OK || status == RPC_STATUS_ELSEWHERE;
	size_t len = has ? payload->len : 0;
	size_t more = has && body != NULL ? body->len : 0;
	struct parcel *p = parcel_new(s->net, len + more);

	p->call = s->request->call;
	p->status = status;
	p->answer.term = raft_group_term(
		shard_group(proc->store->set, s->request->group));
	p->answer.rot = status == RPC_STATUS_IO &&
			rpc_info(s->request->tag)->kind == 'R' &&
			sim_cluster_disk_bad(s->net->c, s->node);
	p->len = len;
	p->body = more;
	if (len > 0)
		memcpy(p->bytes, payload->data, len);
	if (more > 0)
		memcpy(p->bytes + len, body->data, more);
	body_unref(body);
	answer_send(p);
	served_free(s);
}

/* Why it is turned away at the door; OK: it is not. */
static uint32_t serve_refusal(const struct parcel *p)
{
	const struct wire_u128 here =
		sim_store_id(sim_cluster_store(p->net->c, p->node));

	if (p->store.hi != here.hi || p->store.lo != here.lo)
		return RPC_STATUS_WRONG_STORE;
	if (faulty(p->net, 5))
		return RPC_STATUS_BUSY;
	if (faulty(p->net, 3))
		return RPC_STATUS_STALE_EPOCH;
	return RPC_STATUS_OK;
}

static void serve(struct parcel *p)
{
	const struct sim_proc *proc = sim_cluster_proc(p->net->c, p->node);
	struct served *s = sim_zalloc(sizeof *s);
	struct parcel *own = parcel_new(p->net, p->len);

	memcpy(own, p, sizeof *p + p->len);
	*s = (struct served){ .net = p->net, .node = p->node, .request = own };
	LIST_INSERT_HEAD(&p->net->served, s, list);
	sim_cluster_enter(p->net->c, p->node);
	if (shard_call_request(proc->store->set, &(struct shard_request){
			.group = p->group, .tag = p->tag, .loose = p->loose,
			.payload = wire_bytes(own->bytes, own->len),
			.done = serve_done, .arg = s }) != 0)
		abort();
}

/* --- requests --- */

/* Its connection is gone: some are still read, most of them late. */
static bool request_is_late(const struct parcel *p)
{
	const struct rpc_peer_link *l = link_find(p->net, p->link);

	return l == NULL || l->cut || l->epoch != p->epoch;
}

static void request_arrive(void *arg)
{
	struct parcel *p = arg;
	struct rpc_call *c = call_find(p->net, p->call);
	uint32_t refusal;

	if (c != NULL && !link_reaches(c->link))
		return;
	if (request_is_late(p)) {
		if (sim_chance(sim_of(p->net), 300))
			return;
		sim_cluster_count(p->net->c, SIM_N_LATE, c == NULL);
	}
	if (p->node == SIM_MANAGERS) {
		p->net->ops->managers(p->net->user, p->call, p->tag,
				      wire_bytes(p->bytes, p->len));
		return;
	}
	if (sim_cluster_proc(p->net->c, p->node) == NULL ||
	    p->life != p->net->lives[p->node]) {
		if (c != NULL)
			call_fail(c, RPC_STATUS_UNAVAILABLE);
		return;
	}
	refusal = serve_refusal(p);
	if (refusal != RPC_STATUS_OK)
		sim_link_answer(p->net, p->call, refusal, wire_bytes(NULL, 0));
	else
		serve(p);
}

/* Nobody is there to connect to. */
static void request_refused(void *arg)
{
	struct parcel *p = arg;
	struct rpc_call *c = call_find(p->net, p->call);

	if (c != NULL)
		call_fail(c, RPC_STATUS_UNAVAILABLE);
}

/* When a request that is sent now arrives; some are held up for long. */
static uint64_t link_arrival(struct rpc_peer_link *l)
{
	struct sim_links *net = l->loop->net;
	struct sim *s = sim_of(net);
	uint64_t at = sim_now(s) > l->up_at ? sim_now(s) : l->up_at;

	at += sim_range(s, 30 * SIM_US, 4 * SIM_MS);
	if (faulty(net, 30)) {
		at += sim_range(s, 50, 1500) * SIM_MS;
		if (sim_chance(s, 700))
			link_cut_after(l, sim_range(s, 1, 300) * SIM_MS);
	} else if (faulty(net, 15)) {
		link_cut_after(l, sim_range(s, 0, 30 * SIM_MS));
	}
	if (at < l->out_at)
		at = l->out_at;
	l->out_at = at;
	return at;
}

static void link_send(struct rpc_peer_link *l, const struct rpc_call *c,
		      const struct rpc_send *send)
{
	struct sim_links *net = l->loop->net;
	struct sim *s = sim_of(net);
	struct parcel *p = parcel_new(net, c->payload.len);

	p->call = c->id;
	p->link = l->id;
	p->epoch = l->epoch;
	p->node = l->node;
	p->life = l->node == SIM_MANAGERS ? 0 : net->lives[l->node];
	p->tag = send->tag;
	p->group = send->group;
	p->loose = send->loose;
	p->store = send->store;
	p->len = c->payload.len;
	memcpy(p->bytes, c->payload.data, p->len);
	if (sim_now(s) < l->dead_until && !sim_cluster_healing(net->c))
		sim_after_owned(s, sim_range(s, 1, 50) * SIM_MS,
				request_refused, p);
	else
		sim_after_owned(s, link_arrival(l) - sim_now(s),
				request_arrive, p);
}

/* --- common/rpc/rpc.h --- */

int rpc_link_new(struct loop *loop, const char *addr, uint32_t role,
		 struct rpc_server *server, struct rpc_peer_link **ret_link)
{
	struct rpc_peer_link *l = sim_zalloc(sizeof *l);

	(void)role;
	assert(server == NULL);
	l->loop = loop;
	l->id = ++loop->net->ids;
	l->node = SIM_MANAGERS;
	if (strcmp(addr, SIM_MANAGERS_ADDR) != 0 &&
	    sscanf(addr, "node%u", &l->node) != 1)
		abort();
	LIST_INSERT_HEAD(&loop->net->links, l, list);
	*ret_link = l;
	return 0;
}

void rpc_link_lane(struct rpc_peer_link *l, unsigned lane)
{
	(void)l;
	(void)lane;
}

unsigned rpc_link_loops(const struct rpc_peer_link *l)
{
	return l->greeted ? LINK_LOOPS : 0;
}

void rpc_link_free(struct rpc_peer_link *l)
{
	struct rpc_call *c;

	if (l == NULL)
		return;
	LIST_FOREACH(c, &l->loop->net->calls, list)
		assert(c->link != l); /* the client has cancelled them */
	LIST_REMOVE(l, list);
	free(l);
}

struct rpc_call *rpc_link_send(struct rpc_peer_link *l, struct rpc_send *send)
{
	struct sim_links *net = l->loop->net;
	struct rpc_call *c = sim_zalloc(sizeof *c);

	assert(send->body == NULL && send->payload->err == 0);
	net->ops->sent(net->user, send->arg, send);
	c->link = l;
	c->id = ++net->ids;
	c->epoch = l->epoch;
	c->payload = *send->payload;
	buf_init(send->payload, 0);
	c->done = send->done;
	c->arg = send->arg;
	c->timer.cb = call_on_timer;
	env_timer_set(l->loop->env, &c->timer, send->timeout_ms * SIM_MS);
	LIST_INSERT_HEAD(&net->calls, c, list);
	link_send(l, c, send);
	return c;
}

void rpc_call_cancel(struct rpc_call *c)
{
	call_free(c);
}

void sim_links_free(struct sim_links *net)
{
	struct served *s;

	if (net == NULL)
		return;
	assert(LIST_EMPTY(&net->calls) && LIST_EMPTY(&net->links));
	while ((s = LIST_FIRST(&net->served)) != NULL)
		served_free(s);
	while ((s = LIST_FIRST(&net->lost)) != NULL)
		served_free(s);
	free(net);
}
