/*
 * The client set: session and snapshot, kept by loop 0 for all loops.
 *
 * Happy path: session_open and cluster_get in parallel -> news to every loop
 * -> all have them: ready() -> cluster_get again (long poll), session_renew
 * every third of the lease, for ever.
 * Failure modes: managers away: cut_off is set, each of the three tries again
 * by itself with backoff, loops keep the snapshot they have. Session unknown:
 * a new one is opened and told. No memory for news: the same as a failed poll.
 */
#include "common/client/client_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/mem.h"

#define SET_POLL_WAIT_MS 20000u
#define SET_POLL_TIMEOUT_MS 30000u
#define SET_CALL_TIMEOUT_MS 5000u
#define SET_WISH_NS 10000000000ull
/* An empty answer sooner than this is no long poll: slow down. */
#define SET_POLL_FAST_NS 50000000u

static void set_open(struct client_set *set);
static void set_poll(struct client_set *set);
static void set_fetch(struct client_set *set);

/* --- small things --- */

static void set_free(struct client_set *set)
{
	mem_free(set->manager);
	mem_free(set->kind);
	mem_free(set->local);
	mem_free(set);
}

void client_set_unref(struct client_set *set)
{
	if (__atomic_sub_fetch(&set->refs, 1, __ATOMIC_ACQ_REL) == 0)
		set_free(set);
}

static struct client_set *set_ref(struct client_set *set)
{
	__atomic_fetch_add(&set->refs, 1, __ATOMIC_RELAXED);
	return set;
}

static struct env *set_env(struct client_set *set)
{
	return set->clients[0].env;
}

uint64_t client_backoff_ns(struct client *c, unsigned tries)
{
	uint64_t ms = tries > 5 ? 200 : 5ull << tries;
	uint32_t r;

	if (ms > 200)
		ms = 200;
	env_random(c->env, &r, sizeof(r));
	return ms * 500000 + r % (ms * 500000);
}

static void set_retry(struct client_set *set, struct env_timer *timer,
		      unsigned *tries)
{
	env_timer_set(set_env(set), timer,
		      client_backoff_ns(&set->clients[0], (*tries)++));
}

static void set_contact(struct client_set *set, uint32_t status)
{
	bool cut = status == RPC_STATUS_UNAVAILABLE ||
		   status == RPC_STATUS_TIMEDOUT;

	__atomic_store_n(&set->cut_off, cut, __ATOMIC_RELAXED);
}

/* A request to the managers; NULL when out of memory. */
static struct rpc_call *set_send(struct client_set *set, uint16_t tag,
				 struct buf *payload, uint32_t timeout_ms,
				 rpc_done_fn done)
{
	struct rpc_send send = { .tag = tag, .payload = payload,
				 .timeout_ms = timeout_ms, .done = done,
				 .arg = set };
	struct rpc_peer_link *l;

	l = client_link_to(&set->clients[0], wire_cstr(set->manager), 0);
	if (l == NULL) {
		buf_fini(payload);
		return NULL;
	}
	return rpc_link_send(l, &send);
}

static struct rpc_peer_link *client_link_find(const struct client *c,
					      struct wire_bytes addr,
					      unsigned lane)
{
	for (unsigned i = 0; i < c->n_links; i++)
		if (c->links[i].lane == lane &&
		    wire_bytes_eq(wire_cstr(c->links[i].addr), addr))
			return c->links[i].link;
	return NULL;
}

static struct rpc_peer_link *client_link_new(struct client *c,
					     struct wire_bytes addr,
					     unsigned lane)
{
	struct client_set *set = c->set;
	struct client_link *links, *l;
	bool here;

	links = mem_realloc(c->links, (c->n_links + 1) * sizeof(*links));
	if (links == NULL)
		return NULL;
	c->links = links;
	l = &links[c->n_links];
	l->lane = lane;
	l->addr = mem_dup(addr.p, addr.len);
	if (l->addr == NULL)
		return NULL;
	here = set->all_local || (set->local != NULL && set->server != NULL &&
				  strcmp(l->addr, set->local) == 0);
	if (rpc_link_new(c->loop, l->addr, set->role,
			 here ? set->server : NULL, &l->link) != 0) {
		mem_free(l->addr);
		return NULL;
	}
	rpc_link_lane(l->link, lane);
	c->n_links++;
	return l->link;
}

struct rpc_peer_link *client_link_to(struct client *c, struct wire_bytes addr,
				     uint16_t shard)
{
	/* the first one spreads the loops of a client over those of a server */
	unsigned lane = loop_index(c->loop) & RPC_LANE_MAX, loops;
	struct rpc_peer_link *first = client_link_find(c, addr, lane), *l;

	if (first == NULL)
		return client_link_new(c, addr, lane);
	loops = rpc_link_loops(first);
	if (loops == 0 || loops > RPC_LANE_MAX ||
	    lane % loops == shard % loops)
		return first;
	l = client_link_find(c, addr, shard % loops);
	return l != NULL ? l : client_link_new(c, addr, shard % loops);
}

/* --- news --- */

static void set_maybe_ready(struct client_set *set)
{
	struct client *c = &set->clients[0];

	if (set->was_ready || set->news_out > 0 || c->session == 0 ||
	    c->cluster == NULL)
		return;
	set->was_ready = true;
	if (set->ready != NULL)
		set->ready(set->ready_arg, 0);
}

static void news_back(struct env_task *task)
{
	struct client_news *n = CONTAINER_OF(task, struct client_news, task);
	struct client_set *set = n->c->set;

	set->news_out--;
	mem_free(n);
	if (!client_set_closing(set))
		set_maybe_ready(set);
	client_set_unref(set);
}

static void news_install(struct env_task *task)
{
	struct client_news *n = CONTAINER_OF(task, struct client_news, task);
	struct client *c = n->c;

	if (client_set_closing(c->set)) {
		cluster_unref(n->cluster);
	} else {
		if (n->cluster != NULL) {
			cluster_unref(c->cluster);
			c->cluster = n->cluster;
		}
		if (n->session != 0) {
			c->session = n->session;
			c->session_sec = n->session_sec;
			c->session_at = n->session_at;
		}
		client_calls_wake(c);
	}
	n->cluster = NULL;
	n->task.run = news_back;
	env_post(set_env(c->set), &n->task);
}

/* To every loop or to none: 0 or -ENOMEM. */
static int set_tell(struct client_set *set, struct cluster *cluster,
		    const struct client_news *what)
{
	struct client_news *news[64];
	unsigned n;

	assert(set->n <= 64);
	for (n = 0; n < set->n; n++) {
		news[n] = mem_alloc(sizeof(*news[n]));
		if (news[n] == NULL)
			break;
	}
	if (n < set->n) {
		while (n > 0)
			mem_free(news[--n]);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < n; i++) {
		*news[i] = *what;
		news[i]->c = &set->clients[i];
		news[i]->task.run = news_install;
		if (cluster != NULL)
			news[i]->cluster = cluster_ref(cluster);
		set_ref(set);
		set->news_out++;
		env_post(set->clients[i].env, &news[i]->task);
	}
	return 0;
}

/* A cluster_get answer: 1 new snapshot told, 0 nothing newer, -errno. */
static int set_take_snapshot(struct client_set *set, const struct rpc_reply *r)
{
	struct client_news none = { .session = 0 };
	struct rpc_cluster_get_rsp rsp;
	struct cluster *cluster;
	int rv;

	if (rpc_cluster_get_rsp_decode(&rsp, r->payload, r->len) != 0)
		return -EBADMSG;
	/* one too large for a payload comes as the body */
	if (rsp.cluster.len == 0 && r->body != NULL)
		rsp.cluster = wire_bytes(r->body->data, r->body->len);
	if (rsp.cluster.len == 0)
		return 0;
	rv = cluster_decode(rsp.cluster.p, rsp.cluster.len, &cluster);
	if (rv != 0)
		return rv;
	rv = set_tell(set, cluster, &none);
	cluster_unref(cluster);
	return rv == 0 ? 1 : rv;
}

/* --- the session --- */

static void set_open_done(void *arg, const struct rpc_reply *r)
{
	struct client_set *set = arg;
	struct rpc_session_open_rsp rsp;
	struct client_news news = { 0 };

	set->open_call = NULL;
	set_contact(set, r->status);
	if (r->status == RPC_STATUS_OK &&
	    rpc_session_open_rsp_decode(&rsp, r->payload, r->len) == 0 &&
	    rsp.session != 0) {
		news.session = rsp.session;
		news.session_sec = rsp.now_sec;
		news.session_at = env_now_ns(set_env(set));
		if (set_tell(set, NULL, &news) == 0) {
			set->open_tries = 0;
			set->lease_ms = rsp.lease_ms < 300 ? 300 : rsp.lease_ms;
			env_timer_set(set_env(set), &set->renew_timer,
				      set->lease_ms * 1000000ull / 3);
			return;
		}
	}
	set_retry(set, &set->open_timer, &set->open_tries);
}

/* An open is under way, or will be tried again. */
static bool set_is_opening(const struct client_set *set)
{
	return set->open_call != NULL || set->open_tries > 0;
}

static void set_open(struct client_set *set)
{
	char host[65] = "";
	struct rpc_session_open m = { .client = set->open_client, .seq = 1,
				      .kind = wire_cstr(set->kind) };
	struct buf out;

	(void)gethostname(host, sizeof(host) - 1);
	m.host = wire_cstr(host);
	buf_init(&out, 0);
	(void)rpc_session_open_encode(&m, &out);
	set->open_call = set_send(set, RPC_TAG_session_open, &out,
				  SET_CALL_TIMEOUT_MS, set_open_done);
	if (set->open_call == NULL)
		set_retry(set, &set->open_timer, &set->open_tries);
}

static void set_on_open_timer(struct env_timer *timer)
{
	set_open(CONTAINER_OF(timer, struct client_set, open_timer));
}

static void set_renew_done(void *arg, const struct rpc_reply *r)
{
	struct client_set *set = arg;
	struct rpc_session_renew_rsp rsp;
	uint64_t ms = set->lease_ms / 3;

	set->renew_call = NULL;
	set_contact(set, r->status);
	if (r->status == RPC_STATUS_SESSION) {
		/* another identity, or the old answer would come again */
		env_random(set_env(set), &set->open_client,
			   sizeof(set->open_client));
		set_open(set);
		return;
	}
	if (r->status != RPC_STATUS_OK)
		ms = ms > 1000 ? 1000 : ms;
	else if (rpc_session_renew_rsp_decode(&rsp, r->payload, r->len) == 0 &&
		 rsp.lease_ms >= 300)
		set->lease_ms = rsp.lease_ms;
	env_timer_set(set_env(set), &set->renew_timer, ms * 1000000);
}

static void set_on_renew_timer(struct env_timer *timer)
{
	struct client_set *set = CONTAINER_OF(timer, struct client_set,
					      renew_timer);
	struct rpc_session_renew m = { .session = set->clients[0].session };
	struct buf out;

	buf_init(&out, 0);
	(void)rpc_session_renew_encode(&m, &out);
	set->renew_call = set_send(set, RPC_TAG_session_renew, &out,
				   SET_CALL_TIMEOUT_MS, set_renew_done);
	if (set->renew_call == NULL)
		env_timer_set(set_env(set), timer, 1000000000);
}

static void set_on_nudge(struct env_task *task)
{
	struct client_nudge *n = CONTAINER_OF(task, struct client_nudge, task);
	struct client_set *set = n->set;

	if (!client_set_closing(set) && set->renew_call == NULL &&
	    !set_is_opening(set) && set->clients[0].session != 0)
		env_timer_set(set_env(set), &set->renew_timer, 0);
	mem_free(n);
	client_set_unref(set);
}

void client_session_lost(struct client *c)
{
	struct client_nudge *n = mem_alloc(sizeof(*n));

	if (n == NULL)
		return; /* the next renewal finds out */
	n->set = c->set;
	n->task.run = set_on_nudge;
	set_ref(c->set);
	env_post(set_env(c->set), &n->task);
}

/* --- snapshots --- */

/* The version loop 0 has, or is about to get. */
static uint64_t set_version(struct client_set *set)
{
	struct cluster *c = set->clients[0].cluster;

	return c == NULL ? 0 : c->top.version;
}

static struct rpc_call *set_get(struct client_set *set, uint32_t wait_ms,
				rpc_done_fn done)
{
	struct rpc_cluster_get m = { .have = set_version(set),
				     .wait_ms = wait_ms };
	struct buf out;

	buf_init(&out, 0);
	(void)rpc_cluster_get_encode(&m, &out);
	return set_send(set, RPC_TAG_cluster_get, &out,
			wait_ms == 0 ? SET_CALL_TIMEOUT_MS :
				       SET_POLL_TIMEOUT_MS, done);
}

static void set_poll_done(void *arg, const struct rpc_reply *r)
{
	struct client_set *set = arg;
	uint64_t took = env_now_ns(set_env(set)) - set->poll_at;
	int rv = -EIO;

	set->poll_call = NULL;
	set_contact(set, r->status);
	if (r->status == RPC_STATUS_OK)
		rv = set_take_snapshot(set, r);
	if (rv < 0 || (rv == 0 && took < SET_POLL_FAST_NS)) {
		set_retry(set, &set->poll_timer, &set->poll_tries);
		return;
	}
	set->poll_tries = 0;
	/* behind the news, so that the next poll names the new version */
	env_timer_set(set_env(set), &set->poll_timer, 0);
}

static void set_poll(struct client_set *set)
{
	set->poll_at = env_now_ns(set_env(set));
	set->poll_call = set_get(set, SET_POLL_WAIT_MS, set_poll_done);
	if (set->poll_call == NULL)
		set_retry(set, &set->poll_timer, &set->poll_tries);
}

static void set_on_poll_timer(struct env_timer *timer)
{
	set_poll(CONTAINER_OF(timer, struct client_set, poll_timer));
}

/* --- wishes --- */

static void wish_tell(struct env_task *task)
{
	struct client_wish *w = CONTAINER_OF(task, struct client_wish, task);
	struct client_set *set = w->c->set;

	if (!client_set_closing(set))
		w->done(w->arg, w->status);
	mem_free(w);
	client_set_unref(set);
}

static void wish_finish(struct client_wish *w, int status)
{
	client_list_del(&w->list);
	w->status = status;
	w->task.run = wish_tell;
	env_post(w->c->env, &w->task);
}

/* Ends the wishes that rv, version and time allow; others wait again. */
static void set_settle(struct client_set *set, struct client_list *list,
		       int rv, uint64_t version)
{
	uint64_t now = env_now_ns(set_env(set));
	struct client_wish *w;

	while (!client_list_empty(list)) {
		w = CONTAINER_OF(list->next, struct client_wish, list);
		if (rv == 0 && (w->version == UINT64_MAX ||
				w->version <= version)) {
			wish_finish(w, 0);
		} else if (now >= w->deadline) {
			wish_finish(w, rv < 0 ? rv : -ETIMEDOUT);
		} else {
			client_list_del(&w->list);
			client_list_add(&set->wishes, &w->list);
		}
	}
}

static void set_fetch_done(void *arg, const struct rpc_reply *r)
{
	struct client_set *set = arg;
	struct rpc_cluster_get_rsp rsp = { 0 };
	struct client_list list;
	int rv = rpc_status_errno(r->status);

	set->fetch_call = NULL;
	set_contact(set, r->status);
	if (rv == 0)
		rv = set_take_snapshot(set, r);
	if (rv >= 0)
		(void)rpc_cluster_get_rsp_decode(&rsp, r->payload, r->len);
	client_list_move(&list, &set->fetching);
	set_settle(set, &list, rv < 0 ? rv : 0, rsp.version);
	if (client_list_empty(&set->wishes))
		set->fetch_tries = 0;
	else
		set_retry(set, &set->fetch_timer, &set->fetch_tries);
}

static void set_fetch(struct client_set *set)
{
	struct client_list list;

	if (set->fetch_call != NULL || client_list_empty(&set->wishes))
		return;
	client_list_move(&set->fetching, &set->wishes);
	set->fetch_call = set_get(set, 0, set_fetch_done);
	if (set->fetch_call != NULL)
		return;
	client_list_move(&list, &set->fetching);
	set_settle(set, &list, -ENOMEM, 0);
	set_retry(set, &set->fetch_timer, &set->fetch_tries);
}

static void set_on_fetch_timer(struct env_timer *timer)
{
	set_fetch(CONTAINER_OF(timer, struct client_set, fetch_timer));
}

static void wish_arrive(struct env_task *task)
{
	struct client_wish *w = CONTAINER_OF(task, struct client_wish, task);
	struct client_set *set = w->c->set;

	CLIENT_LIST_INIT(&w->list);
	if (client_set_closing(set)) {
		wish_finish(w, -ESHUTDOWN);
		return;
	}
	w->deadline = env_now_ns(set_env(set)) + SET_WISH_NS;
	client_list_add(&set->wishes, &w->list);
	set_fetch(set);
}

void client_refresh(struct client *c, uint64_t version,
		    void (*done)(void *arg, int status), void *arg)
{
	/* not through mem.h: there is nobody to report a failure to */
	struct client_wish *w = calloc(1, sizeof(*w));

	if (w == NULL)
		fatal_abort("out of memory for a refresh");
	w->c = c;
	w->version = version;
	w->done = done;
	w->arg = arg;
	set_ref(c->set);
	CLIENT_LIST_INIT(&w->list);
	if (c->cluster != NULL && version <= c->cluster->top.version) {
		wish_finish(w, 0);
		return;
	}
	w->task.run = wish_arrive;
	env_post(set_env(c->set), &w->task);
}

/* --- the interface --- */

static void client_init(struct client *c, struct client_set *set, unsigned i)
{
	c->set = set;
	c->index = i;
	c->loop = loop_set_get(set->loops, i);
	c->env = loop_env(c->loop);
	CLIENT_LIST_INIT(&c->calls);
	CLIENT_LIST_INIT(&c->slots.waiting);
	c->slots.max = CLIENT_SLOTS;
	client_mem_init(c);
}

int client_set_new(const struct client_config *config,
		   struct client_set **ret_set, struct errbuf *e)
{
	unsigned n = loop_set_size(config->loops);
	struct client_set *set;

	set = mem_zalloc(sizeof(*set) + n * sizeof(set->clients[0]));
	if (set == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	set->refs = 1;
	set->loops = config->loops;
	set->n = n;
	set->role = config->role;
	set->server = config->server;
	set->all_local = config->all_local;
	client_mem_limits(set);
	set->timeout_ms = config->timeout_ms == 0 ? CLIENT_TIMEOUT_MS :
						    config->timeout_ms;
	set->manager = mem_strdup(config->manager);
	set->kind = mem_strdup(config->kind);
	if (config->local != NULL)
		set->local = mem_strdup(config->local);
	if (set->manager == NULL || set->kind == NULL ||
	    (config->local != NULL && set->local == NULL)) {
		set_free(set);
		return errbuf_set(e, -ENOMEM, "out of memory");
	}
	CLIENT_LIST_INIT(&set->wishes);
	CLIENT_LIST_INIT(&set->fetching);
	set->open_timer.cb = set_on_open_timer;
	set->poll_timer.cb = set_on_poll_timer;
	set->renew_timer.cb = set_on_renew_timer;
	set->fetch_timer.cb = set_on_fetch_timer;
	for (unsigned i = 0; i < n; i++)
		client_init(&set->clients[i], set, i);
	*ret_set = set;
	return 0;
}

void client_set_start(struct client_set *set,
		      void (*ready)(void *arg, int status), void *arg)
{
	assert(!set->started);
	set->started = true;
	set->ready = ready;
	set->ready_arg = arg;
	env_random(set_env(set), &set->open_client, sizeof(set->open_client));
	set_open(set);
	set_poll(set);
}

static void set_cancel(struct rpc_call **call)
{
	if (*call != NULL)
		rpc_call_cancel(*call);
	*call = NULL;
}

static void set_stop(struct client_set *set)
{
	set_cancel(&set->open_call);
	set_cancel(&set->poll_call);
	set_cancel(&set->renew_call);
	set_cancel(&set->fetch_call);
	env_timer_cancel(set_env(set), &set->open_timer);
	env_timer_cancel(set_env(set), &set->poll_timer);
	env_timer_cancel(set_env(set), &set->renew_timer);
	env_timer_cancel(set_env(set), &set->fetch_timer);
	for (unsigned i = 0; i < 2; i++) {
		struct client_list *l = i ? &set->wishes : &set->fetching;

		while (!client_list_empty(l)) {
			struct client_wish *w = CONTAINER_OF(
				l->next, struct client_wish, list);

			client_list_del(&w->list);
			mem_free(w);
			client_set_unref(set);
		}
	}
}

static void client_fini(struct client *c)
{
	client_calls_drop(c);
	client_mem_fini(c);
	for (unsigned i = 0; i < c->n_links; i++) {
		rpc_link_free(c->links[i].link);
		mem_free(c->links[i].addr);
	}
	mem_free(c->links);
	cluster_unref(c->cluster);
	c->cluster = NULL;
}

struct client_closing {
	struct env_task task;
	struct client *c;
};

static void client_close_task(struct env_task *task)
{
	struct client_closing *k = CONTAINER_OF(task, struct client_closing,
						task);
	struct client_set *set = k->c->set;

	client_fini(k->c);
	mem_free(k);
	client_set_unref(set);
}

void client_set_free(struct client_set *set)
{
	if (set == NULL)
		return;
	ASSERT_LOOP(set->clients[0].loop);
	__atomic_store_n(&set->closing, 1, __ATOMIC_RELEASE);
	set_stop(set);
	for (unsigned i = 0; i < set->n; i++) {
		struct client *c = &set->clients[i];
		struct client_closing *k;

		if (loop_is_current(c->loop)) {
			client_fini(c);
			continue;
		}
		k = calloc(1, sizeof(*k));
		if (k == NULL)
			fatal_abort("out of memory while closing");
		k->c = c;
		k->task.run = client_close_task;
		set_ref(set);
		env_post(c->env, &k->task);
	}
	client_set_unref(set);
}

struct client *client_of(struct client_set *set, struct loop *loop)
{
	return &set->clients[loop_index(loop)];
}

struct env *client_env(struct client *c)
{
	return c->env;
}

uint64_t client_session(struct client *c)
{
	return c->session;
}

uint64_t client_open_number(struct client *c)
{
	return ++c->open_number << 16 | c->index;
}

struct cluster *client_cluster(struct client *c)
{
	return c->cluster;
}

bool client_is_cut_off(struct client *c)
{
	return __atomic_load_n(&c->set->cut_off, __ATOMIC_RELAXED) != 0;
}
