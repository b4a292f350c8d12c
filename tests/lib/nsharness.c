#include "tests/lib/nsharness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "common/base/mem.h"
#include "common/client/follow.h"
#include "common/wire/frame.h"
#include "storaged/ns_locks.h"
#include "storaged/ns_rows.h"
#include "tests/lib/minienv.h"

enum {
	NSH_OPENS = 256,
	NSH_SHARDS = 8,
	NSH_ROUNDS = 100,
	NSH_HOPS = 10000, /* of one request: more goes in circles */
};

struct nsh_replica {
	struct rows_mem_image *image;
	struct rows_back *back;
	struct rows *rows;
	struct buf log;
	uint64_t gen;
	struct ns_answer answer;
	struct ns_locks *locks[NSH_SHARDS]; /* by shard - h->shard */
	bool done;
	int status;
};

struct nsh {
	struct minienv *env;
	struct nsh_replica rep[2];
	uint16_t shard;   /* the first one, of roots */
	unsigned shards;
	int64_t now;
	uint64_t seed, spread; /* spread: random ... */
	uint64_t spread_seed;  /* ... from this on */
	uint64_t txns;
	struct nsh_stats stats;
	bool hold;         /* ends of transactions wait in held */
	struct nsh_txn *held;
	struct buf joined; /* the answer of several hops */
	bool is_joined;
	struct buf body;
	struct buf req;
	struct wire_vec vec;
	struct {
		uint64_t ino;
		unsigned n;
	} opens[NSH_OPENS];
	unsigned findings;
};

struct nsh *nsh_new_spread(uint16_t shard, unsigned shards, unsigned forget,
			   uint64_t seed)
{
	struct nsh *h = mem_zalloc(sizeof(*h));

	NSH_MUST(h != NULL && shards > 0 && shards <= NSH_SHARDS);
	h->env = minienv_new(NULL, 1);
	h->shard = shard;
	h->shards = shards;
	h->spread = seed * 2 + 1;
	h->spread_seed = seed;
	buf_init(&h->joined, 0);
	h->now = NSH_START;
	h->seed = 0x9e3779b97f4a7c15;
	buf_init(&h->body, 0);
	buf_init(&h->req, 0);
	wire_vec_init(&h->vec);
	for (unsigned i = 0; i < 2; i++) {
		struct nsh_replica *r = &h->rep[i];

		r->image = rows_mem_image_new();
		NSH_MUST(rows_back_mem(r->image, &r->back) == 0);
		/* the second one keeps next to nothing in memory */
		NSH_MUST(rows_new(minienv_env(h->env), r->back,
				  i == 0 ? 0 : 4096, &r->rows) == 0);
		rows_set_forget(r->rows, i == 0 ? 0 : forget);
		buf_init(&r->log, 0);
		for (unsigned j = 0; j < 1000 * i; j++)
			buf_puts(&r->log, "x"); /* other positions */
		r->gen = 7 + i;
		ns_answer_init(&r->answer);
		for (unsigned j = 0; j < shards; j++)
			NSH_MUST((r->locks[j] = ns_locks_new()) != NULL);
	}
	return h;
}

struct nsh *nsh_new(uint16_t shard, unsigned forget)
{
	return nsh_new_spread(shard, 1, forget, 0);
}

void nsh_stats(struct nsh *h, struct nsh_stats *ret)
{
	*ret = h->stats;
}

uint64_t nsh_random(struct nsh *h, uint64_t below)
{
	h->spread = h->spread * 6364136223846793005u + 1442695040888963407u;
	return (h->spread >> 33) % below;
}

static void nsh_say(void *arg, const char *text)
{
	struct nsh *h = arg;

	fprintf(stderr, "# check: %s\n", text);
	h->findings++;
}

static void nsh_done(void *arg, int status)
{
	struct nsh_replica *r = arg;

	r->done = true;
	r->status = status;
}

static void nsh_sync(struct nsh *h, struct nsh_replica *r)
{
	r->done = false;
	NSH_MUST(rows_sync(r->rows, nsh_done, r) == 0);
	minienv_run(h->env);
	NSH_MUST(r->done && r->status == 0);
}

struct rows_back *nsh_back(struct nsh *h)
{
	nsh_sync(h, &h->rep[0]);
	return h->rep[0].back;
}

/* Who holds what is a function of the rows, and at rest nobody does. */
static void nsh_check_locks(struct nsh *h, struct nsh_replica *r, unsigned i)
{
	struct ns_locks *l = ns_locks_new();

	NSH_MUST(l != NULL);
	NSH_MUST(ns_locks_load(l, r->back, (uint16_t)(h->shard + i)) == 0);
	if (l->n > 0 || l->parties != NULL || r->locks[i]->n > 0 ||
	    r->locks[i]->parties != NULL)
		nsh_say(h, "locks are left");
	if (l->n_split != r->locks[i]->n_split || r->locks[i]->any_split)
		nsh_say(h, "not those directories have segments");
	ns_locks_free(l);
}

static void nsh_check_shard(struct nsh *h, unsigned i)
{
	uint16_t shard = (uint16_t)(h->shard + i);
	struct wire_u128 hash[2];
	uint64_t n;

	for (unsigned j = 0; j < 2; j++) {
		struct nsh_replica *r = &h->rep[j];

		NSH_MUST(ns_check(r->back, shard, nsh_say, h) == 0);
		NSH_MUST(ns_check_far(r->back, shard, nsh_say, h, &n) == 0);
		NSH_MUST(ns_hash(r->back, shard, &hash[j]) == 0);
		nsh_check_locks(h, r, i);
	}
	if (hash[0].hi != hash[1].hi || hash[0].lo != hash[1].lo)
		nsh_say(h, "replicas differ");
}

unsigned nsh_check(struct nsh *h)
{
	h->findings = 0;
	for (unsigned i = 0; i < 2; i++)
		nsh_sync(h, &h->rep[i]);
	for (unsigned i = 0; i < h->shards; i++)
		nsh_check_shard(h, i);
	return h->findings;
}

unsigned nsh_free(struct nsh *h)
{
	unsigned findings = nsh_check(h);

	for (unsigned i = 0; i < 2; i++) {
		ns_answer_fini(&h->rep[i].answer);
		for (unsigned j = 0; j < h->shards; j++)
			ns_locks_free(h->rep[i].locks[j]);
		rows_free(h->rep[i].rows);
		rows_back_close(h->rep[i].back);
		rows_mem_image_free(h->rep[i].image);
		buf_fini(&h->rep[i].log);
	}
	minienv_free(h->env);
	buf_fini(&h->joined);
	buf_fini(&h->body);
	buf_fini(&h->req);
	wire_vec_fini(&h->vec);
	mem_free(h);
	return findings;
}

void nsh_advance(struct nsh *h, uint64_t seconds)
{
	h->now += (int64_t)seconds * 1000000000;
}

int64_t nsh_now(struct nsh *h)
{
	return h->now;
}

/* --- the leader's soft state --- */

void nsh_open(struct nsh *h, uint64_t ino)
{
	unsigned i = 0;

	while (i < NSH_OPENS && h->opens[i].n > 0 && h->opens[i].ino != ino)
		i++;
	NSH_MUST(i < NSH_OPENS);
	h->opens[i].ino = ino;
	h->opens[i].n++;
}

static unsigned nsh_opens(struct nsh *h, uint64_t ino)
{
	for (unsigned i = 0; i < NSH_OPENS; i++)
		if (h->opens[i].n > 0 && h->opens[i].ino == ino)
			return h->opens[i].n;
	return 0;
}

void nsh_close(struct nsh *h, uint64_t ino)
{
	struct rpc_close req = { .ino = ino };
	struct rpc_empty_rsp rsp;

	for (unsigned i = 0; i < NSH_OPENS; i++)
		if (h->opens[i].n > 0 && h->opens[i].ino == ino) {
			h->opens[i].n--;
			break;
		}
	NSH_MUST(NSH(h, close, empty_rsp, &req, &rsp) == 0);
}

/* --- one message --- */

static void nsh_load(struct nsh *h, struct nsh_replica *r, struct rows_txn *t)
{
	r->done = false;
	rows_txn_load(t, nsh_done, r);
	minienv_run(h->env);
	NSH_MUST(r->done && r->status == 0);
}

static const struct ns_locks *nsh_locks(struct nsh *h, unsigned replica,
					uint16_t shard)
{
	NSH_MUST(shard >= h->shard && shard < h->shard + h->shards);
	return h->rep[replica].locks[shard - h->shard];
}

static uint32_t nsh_decide(struct nsh *h, struct ns_cmd c)
{
	struct rows_txn *t = rows_txn_new(h->rep[1].rows);
	struct rpc_close close;
	uint64_t ino = 0;
	int rv;

	NSH_MUST(t != NULL);
	c.locks = nsh_locks(h, 1, c.shard);
	while ((rv = ns_victim(t, &c, &ino)) == -EAGAIN)
		nsh_load(h, &h->rep[1], t);
	NSH_MUST(rv == 0);
	rows_txn_free(t);
	if (ino != 0 && nsh_opens(h, ino) > 0)
		return NS_DECIDE_OPEN;
	if (c.tag == RPC_TAG_close &&
	    rpc_close_decode(&close, c.payload, c.len) == 0 &&
	    nsh_opens(h, close.ino) == 0)
		return NS_DECIDE_LAST;
	return 0;
}

static void nsh_apply(struct nsh *h, unsigned replica, uint16_t shard,
		      const struct buf *cmd)
{
	struct nsh_replica *r = &h->rep[replica];
	struct rows_txn *t = rows_txn_new(r->rows);
	size_t off = r->log.len;
	struct ns_cmd c;
	int rv;

	NSH_MUST(t != NULL);
	buf_add(&r->log, cmd->data, cmd->len);
	NSH_MUST(r->log.err == 0);
	NSH_MUST(ns_cmd_decode(&c, cmd->data, cmd->len, r->gen, off) == 0);
	c.shard = shard;
	c.term = 1;
	c.locks = nsh_locks(h, replica, shard);
	while ((rv = ns_apply(t, &c, &r->answer)) == -EAGAIN)
		nsh_load(h, r, t);
	if (rv != 0)
		fprintf(stderr, "# apply %s: %d\n", rpc_info(c.tag)->name, rv);
	NSH_MUST(rv == 0);
	NSH_MUST(rows_txn_commit(t) == 0);
	NSH_MUST(ns_locks_applied(r->locks[shard - h->shard], &c,
				  &r->answer) == 0);
	rows_txn_free(t);
}

static void nsh_same(struct nsh *h)
{
	struct ns_answer *a = &h->rep[0].answer, *b = &h->rep[1].answer;

	NSH_MUST(a->status == b->status);
	NSH_MUST(a->payload.len == b->payload.len);
	NSH_MUST(a->payload.len == 0 ||
		 memcmp(a->payload.data, b->payload.data, a->payload.len) == 0);
}

/* One log entry of a shard. */
static uint32_t nsh_enter(struct nsh *h, const struct ns_cmd *cmd)
{
	struct ns_cmd c = *cmd;
	struct buf b;

	h->now += 1000003;
	h->seed = h->seed * 6364136223846793005u + 1442695040888963407u;
	c.now = h->now;
	c.seed = h->seed;
	c.decisions |= nsh_decide(h, c);
	buf_init(&b, 0);
	NSH_MUST(ns_cmd_encode(&b, &c) == 0);
	for (unsigned i = 0; i < 2; i++)
		nsh_apply(h, i, c.shard, &b);
	nsh_same(h);
	buf_fini(&b);
	return h->rep[0].answer.status;
}

/* --- transactions, as a host runs them --- */

struct nsh_txn {
	struct nsh_txn *next;  /* of those that are held */
	struct wire_u128 id;
	struct wire_vec rows;  /* locked so far */
	bool partner[NSH_SHARDS];
	bool committed;
};

static void nsh_txn_begin(struct nsh *h, struct nsh_txn *t, uint16_t shard)
{
	memset(t, 0, sizeof(*t));
	t->id = (struct wire_u128){ (uint64_t)shard << 48 | 1, ++h->txns };
	wire_vec_init(&t->rows);
}

static void nsh_rows_add(struct wire_vec *rows, struct wire_bytes more)
{
	struct wire_bytes key, value;
	struct wire_reader r;
	uint8_t mode, there;
	uint32_t n;

	for (r = wire_vec_reader(more, &n); n > 0; n--) {
		struct wire_writer w = wire_vec_add(rows);

		wire_get_u8(&r, &mode);
		wire_get_str(&r, &key);
		wire_get_u8(&r, &there);
		wire_get_blob(&r, &value);
		NSH_MUST(r.err == 0);
		wire_put_u8(&w, &mode);
		wire_put_str(&w, &key);
		wire_put_u8(&w, &there);
		wire_put_blob(&w, &value);
	}
}

/* Those of the wants that are rows of one shard. */
static void nsh_txn_lock(struct nsh *h, struct nsh_txn *t, uint16_t shard,
			 struct wire_bytes wants)
{
	struct rpc_txn_lock m = { .txn = t->id };
	struct rpc_txn_lock_rsp rsp;
	struct ns_cmd c = { .shard = shard, .tag = RPC_TAG_txn_lock };
	struct wire_vec mine;
	struct wire_bytes key;
	struct wire_reader r;
	struct buf b;
	uint8_t mode;
	uint32_t n;

	wire_vec_init(&mine);
	for (r = wire_vec_reader(wants, &n); n > 0; n--) {
		struct wire_writer w;

		wire_get_u8(&r, &mode);
		wire_get_str(&r, &key);
		if ((key.p[0] << 8 | key.p[1]) != shard)
			continue;
		w = wire_vec_add(&mine);
		wire_put_u8(&w, &mode);
		wire_put_str(&w, &key);
	}
	m.wants = wire_vec_bytes(&mine);
	buf_init(&b, 0);
	NSH_MUST(rpc_txn_lock_encode(&m, &b) == 0);
	NSH_MUST(b.len <= FRAME_PAYLOAD_MAX);
	c.payload = b.data;
	c.len = b.len;
	if (mine.count > 0) {
		NSH_MUST(nsh_enter(h, &c) == 0);
		NSH_MUST(rpc_txn_lock_rsp_decode(
				 &rsp, h->rep[0].answer.payload.data,
				 h->rep[0].answer.payload.len) == 0);
		nsh_rows_add(&t->rows, rsp.rows);
		t->partner[shard - h->shard] = true;
		h->stats.locks++;
	}
	buf_fini(&b);
	wire_vec_fini(&mine);
}

/* What the coordinator says of the steps of one shard. */
static void nsh_txn_ask(struct nsh *h, const struct nsh_txn *t, uint16_t shard,
			struct buf *ret_steps)
{
	struct rpc_txn_ask m = { .txn = t->id, .shard = shard };
	struct ns_answer a;
	struct rows_txn *txn = rows_txn_new(h->rep[0].rows);
	struct rpc_txn_ask_rsp rsp;
	struct ns_cmd c = { .shard = (uint16_t)(t->id.hi >> 48),
			    .tag = RPC_TAG_txn_ask };
	struct buf b;

	buf_init(&b, 0);
	ns_answer_init(&a);
	NSH_MUST(rpc_txn_ask_encode(&m, &b) == 0);
	c.payload = b.data;
	c.len = b.len;
	while (ns_read(txn, &c, &a) == -EAGAIN)
		nsh_load(h, &h->rep[0], txn);
	NSH_MUST(a.status == 0);
	NSH_MUST(rpc_txn_ask_rsp_decode(&rsp, a.payload.data,
					a.payload.len) == 0);
	buf_add(ret_steps, rsp.steps.p, rsp.steps.len);
	rows_txn_free(txn);
	ns_answer_fini(&a);
	buf_fini(&b);
}

static void nsh_txn_part(struct nsh *h, const struct nsh_txn *t,
			 uint16_t shard)
{
	struct ns_cmd c = { .shard = shard, .tag = RPC_TAG_txn_end };
	struct rpc_txn_end m = { .txn = t->id };
	struct buf b, steps;

	buf_init(&b, 0);
	buf_init(&steps, 0);
	nsh_txn_ask(h, t, shard, &steps);
	m.steps = wire_bytes(steps.data, steps.len);
	NSH_MUST(rpc_txn_end_encode(&m, &b) == 0);
	NSH_MUST(b.len <= FRAME_PAYLOAD_MAX);
	c.payload = b.data;
	c.len = b.len;
	/* a second time nothing happens */
	for (int i = 0; i < 2; i++)
		NSH_MUST(nsh_enter(h, &c) == 0);
	buf_fini(&steps);
	buf_fini(&b);
}

static void nsh_txn_forget(struct nsh *h, const struct nsh_txn *t)
{
	struct ns_cmd c = { .shard = (uint16_t)(t->id.hi >> 48),
			    .tag = RPC_TAG_txn_forget };
	struct rpc_txn_forget m = { .client = 0 };
	struct wire_vec txns;
	struct wire_writer w;
	struct buf b;

	wire_vec_init(&txns);
	w = wire_vec_add(&txns);
	wire_put_u128(&w, &t->id);
	m.txns = wire_vec_bytes(&txns);
	buf_init(&b, 0);
	NSH_MUST(rpc_txn_forget_encode(&m, &b) == 0);
	c.payload = b.data;
	c.len = b.len;
	NSH_MUST(nsh_enter(h, &c) == 0);
	buf_fini(&b);
	wire_vec_fini(&txns);
}

static void nsh_txn_end_now(struct nsh *h, struct nsh_txn *t)
{
	for (unsigned i = 0; i < h->shards; i++)
		if (t->partner[i])
			nsh_txn_part(h, t, (uint16_t)(h->shard + i));
	if (t->committed) {
		nsh_txn_forget(h, t);
		h->stats.commits++;
	}
}

static void nsh_txn_hold(struct nsh *h, const struct nsh_txn *t)
{
	struct nsh_txn *held = mem_dup(t, sizeof(*t));

	NSH_MUST(held != NULL);
	held->next = h->held;
	h->held = held;
}

/* Ends it in all shards that it has locks in; keeps the answer. */
static void nsh_txn_end(struct nsh *h, struct nsh_txn *t)
{
	struct ns_answer keep = h->rep[0].answer;

	ns_answer_init(&h->rep[0].answer);
	t->committed = keep.txn;
	wire_vec_fini(&t->rows);
	if (h->hold && t->committed)
		nsh_txn_hold(h, t);
	else
		nsh_txn_end_now(h, t);
	ns_answer_fini(&h->rep[0].answer);
	h->rep[0].answer = keep;
}

void nsh_hold(struct nsh *h, bool on)
{
	h->hold = on;
	while (!on && h->held != NULL) {
		struct nsh_txn *t = h->held;

		h->held = t->next;
		nsh_txn_end_now(h, t);
		mem_free(t);
	}
}

/* Who starts again finds the locks that were held before. */
static void nsh_same_locks(struct nsh *h, unsigned i)
{
	for (unsigned j = 0; j < 2; j++) {
		struct nsh_replica *r = &h->rep[j];
		struct ns_locks *l = ns_locks_new();

		nsh_sync(h, r);
		NSH_MUST(l != NULL);
		NSH_MUST(ns_locks_load(l, r->back,
				       (uint16_t)(h->shard + i)) == 0);
		NSH_MUST(l->n == r->locks[i]->n);
		ns_locks_free(l);
	}
}

/* All that somebody began and did not end. */
void nsh_end_all(struct nsh *h)
{
	for (unsigned i = 0; i < h->shards; i++) {
		uint16_t shard = (uint16_t)(h->shard + i);
		struct ns_party *p;

		nsh_same_locks(h, i);
		while ((p = h->rep[0].locks[i]->parties) != NULL) {
			struct ns_cmd c = { .shard = shard,
					    .tag = RPC_TAG_txn_end };
			struct rpc_txn_end m = { .txn = p->txn };
			struct nsh_txn t = { .id = p->txn };
			struct buf b;

			t.id.hi = (t.id.hi & NS_TXN_TERM_MASK) |
				  (uint64_t)shard << 48;
			if (p->own) {
				nsh_txn_forget(h, &t);
				continue;
			}
			buf_init(&b, 0);
			NSH_MUST(rpc_txn_end_encode(&m, &b) == 0);
	NSH_MUST(b.len <= FRAME_PAYLOAD_MAX);
			c.payload = b.data;
			c.len = b.len;
			NSH_MUST(nsh_enter(h, &c) == 0);
			buf_fini(&b);
		}
	}
}

static uint32_t nsh_mutate(struct nsh *h, uint16_t shard, uint16_t tag,
			   const struct buf *payload)
{
	struct ns_cmd c = { .shard = shard, .tag = tag,
			    .payload = payload->data, .len = payload->len };
	struct nsh_txn t;
	uint32_t status;

	nsh_txn_begin(h, &t, shard);
	if (h->shards > 1 &&
	    ns_may_place(tag, wire_bytes(payload->data, payload->len)) &&
	    nsh_random(h, 2) == 0) {
		c.decisions = NS_DECIDE_PLACE;
		c.place = (uint16_t)(h->shard + nsh_random(h, h->shards));
	}
	for (unsigned i = 0;; i++) {
		struct wire_vec wants;

		NSH_MUST(i < NSH_ROUNDS);
		status = nsh_enter(h, &c);
		if (status != RPC_STATUS_FAR || h->shards == 1)
			break;
		wants = h->rep[0].answer.far;
		wire_vec_init(&h->rep[0].answer.far);
		if (t.rows.count > 0 && nsh_random(h, 8) == 0) {
			nsh_txn_end(h, &t); /* gives up, begins anew */
			nsh_txn_begin(h, &t, shard);
			h->stats.aborts++;
		}
		for (unsigned j = 0; j < h->shards; j++)
			nsh_txn_lock(h, &t, (uint16_t)(h->shard + j),
				     wire_vec_bytes(&wants));
		wire_vec_fini(&wants);
		c.decisions |= NS_DECIDE_FAR;
		c.txn = t.id;
		c.far = wire_vec_bytes(&t.rows);
	}
	nsh_txn_end(h, &t);
	return status;
}

static void nsh_value(struct nsh *h, const struct nsh_replica *r,
		      const struct ns_value *v)
{
	const uint8_t *p = v->mem;

	if (p == NULL) {
		XXH128_hash_t hash;

		NSH_MUST(v->gen == r->gen && v->off + v->len <= r->log.len);
		p = r->log.data + v->off;
		hash = XXH3_128bits(p, v->len);
		NSH_MUST(hash.high64 == v->hash.hi && hash.low64 == v->hash.lo);
	}
	NSH_MUST(v->from + v->want <= v->len);
	buf_add(&h->body, p + v->from, v->want);
}

static void nsh_read(struct nsh *h, unsigned replica, const struct ns_cmd *q)
{
	struct nsh_replica *r = &h->rep[replica];
	struct rows_txn *t = rows_txn_new(r->rows);
	struct ns_cmd c = *q;
	int rv;

	NSH_MUST(t != NULL);
	c.locks = nsh_locks(h, replica, c.shard);
	while ((rv = ns_read(t, &c, &r->answer)) == -EAGAIN)
		nsh_load(h, r, t);
	NSH_MUST(rv == 0);
	buf_reset(&h->body);
	for (unsigned i = 0; i < r->answer.n_values; i++)
		nsh_value(h, r, &r->answer.values[i]);
	rows_txn_free(t);
}

/* One request to one shard. */
static uint32_t nsh_hop(struct nsh *h, uint16_t shard, uint16_t tag,
			const struct buf *payload)
{
	struct ns_cmd c = { .shard = shard, .tag = tag,
			    .payload = payload->data, .len = payload->len };

	if (rpc_info(tag)->kind == 'W')
		return nsh_mutate(h, shard, tag, payload);
	for (unsigned i = 0; i < 2; i++) {
		struct nsh_replica *r = &h->rep[i];

		if (!ns_is_scan(tag)) {
			nsh_read(h, i, &c);
			continue;
		}
		nsh_sync(h, r);
		NSH_MUST(ns_scan(r->back, shard, tag, payload->data,
				 payload->len, &r->answer) == 0);
	}
	nsh_same(h);
	return h->rep[0].answer.status;
}

uint32_t nsh_send_one(struct nsh *h, uint16_t shard, uint16_t tag,
		      const struct buf *payload)
{
	h->is_joined = false;
	return nsh_hop(h, shard, tag, payload);
}

uint16_t nsh_any_shard(struct nsh *h)
{
	return (uint16_t)(h->shard + nsh_random(h, h->shards));
}

static uint16_t nsh_first_shard(struct nsh *h, uint16_t tag,
				struct wire_bytes request)
{
	if (h->shards == 1 || tag == RPC_TAG_root_create)
		return h->shard;
	return client_first_shard(tag, request);
}

static void nsh_hop_on(struct nsh *h, uint16_t tag, unsigned n)
{
	h->stats.hops++;
	if (n < NSH_HOPS)
		return;
	fprintf(stderr, "# seed %lu: %s has no end\n",
		(unsigned long)h->spread_seed, rpc_info(tag)->name);
	abort();
}

uint32_t nsh_send(struct nsh *h, uint16_t tag, const struct buf *payload)
{
	struct client_hop hop = { .tag = tag };
	struct client_follow *f = NULL;
	unsigned hops = 0;
	struct wire_bytes p;
	uint32_t status;
	int rv;

	hop.shard = nsh_first_shard(h, tag,
				    wire_bytes(payload->data, payload->len));
	buf_init(&hop.request, 0);
	buf_add(&hop.request, payload->data, payload->len);
	buf_reset(&h->joined);
	do {
		if (hop.shard < h->shard ||
		    hop.shard >= h->shard + h->shards) {
			status = RPC_STATUS_ELSEWHERE;
			break; /* led astray, as a test may want it */
		}
		status = nsh_hop(h, hop.shard, hop.tag, &hop.request);
		p = wire_bytes(h->rep[0].answer.payload.data,
			       h->rep[0].answer.payload.len);
		rv = client_follow(&f, &hop, status, p, &h->joined);
		NSH_MUST(rv >= 0);
		if (rv > 0)
			nsh_hop_on(h, tag, ++hops);
	} while (rv > 0);
	h->is_joined = h->joined.len > 0;
	client_follow_free(f);
	buf_fini(&hop.request);
	return status;
}

struct wire_bytes nsh_payload(struct nsh *h)
{
	const struct buf *b = h->is_joined ? &h->joined
					   : &h->rep[0].answer.payload;

	return wire_bytes(b->data, b->len);
}

struct wire_bytes nsh_body(struct nsh *h)
{
	return wire_bytes(h->body.data, h->body.len);
}

uint32_t nsh_call(struct nsh *h, uint16_t tag,
		  int (*encode)(const void *req, struct buf *out),
		  const void *req,
		  int (*decode)(void *rsp, const void *p, size_t len),
		  void *rsp)
{
	struct wire_bytes p;
	uint32_t status;

	buf_reset(&h->req);
	NSH_MUST(encode(req, &h->req) == 0);
	status = nsh_send(h, tag, &h->req);
	p = nsh_payload(h);
	if (status == RPC_STATUS_OK)
		NSH_MUST(decode(rsp, p.p, p.len) == 0);
	return status;
}

/* Iterates over the rows whose keys begin with k. */
static struct rows_iter *nsh_iter(struct nsh *h, struct ns_key *from)
{
	struct ns_key to = *from;
	struct rows_iter *it;

	nsh_sync(h, &h->rep[0]);
	ns_key_end(&to);
	NSH_MUST(rows_iter_new(h->rep[0].back, ns_key_get(from),
			       ns_key_get(&to), &it) == 0);
	return it;
}

static unsigned nsh_count_key(struct nsh *h, struct ns_key *k)
{
	struct rows_iter *it = nsh_iter(h, k);
	struct wire_bytes key, value;
	unsigned n = 0;

	while (rows_iter_next(it, &key, &value) == 0)
		n++;
	rows_iter_free(it);
	return n;
}

unsigned nsh_count(struct nsh *h, uint8_t type)
{
	struct ns_key k;

	ns_key_start(&k, h->shard, type);
	return nsh_count_key(h, &k);
}

/* --- the queue --- */

unsigned nsh_queued(struct nsh *h, char kind)
{
	struct ns_key k;

	ns_key_start(&k, h->shard, NS_T_QUEUE);
	ns_key_u8(&k, (uint8_t)kind);
	return nsh_count_key(h, &k);
}

/* Of a session: its slots are gone. */
static bool nsh_is_clean(struct wire_bytes value)
{
	struct ns_row_queue row;

	NSH_MUST(ns_row_queue_load(&row, value) == 0);
	return row.what.len > 0;
}

/* The first row that is not a slice's; false when there is none. */
static bool nsh_next_work(struct nsh *h, struct rpc_queue_work *ret)
{
	struct wire_bytes key, value;
	struct rows_iter *it;
	struct ns_key k;
	bool found = false;

	ns_key_start(&k, h->shard, NS_T_QUEUE);
	it = nsh_iter(h, &k);
	while (!found && rows_iter_next(it, &key, &value) == 0) {
		const uint8_t *id = key.p + NS_KEY_REST + 1;

		ret->kind = key.p[NS_KEY_REST];
		found = ret->kind != NS_Q_SLICE && ret->kind != NS_Q_DEAD &&
			!(ret->kind == NS_Q_SESSION && nsh_is_clean(value));
		ret->id.hi = 0;
		if (key.len == NS_KEY_REST + 1 + 16)
			ret->id = ns_be128(id);
		else
			ret->id.lo = ns_be64(id);
	}
	rows_iter_free(it);
	return found;
}

unsigned nsh_work(struct nsh *h)
{
	struct rpc_queue_work req = { .client = 0 };
	struct rpc_queue_work_rsp rsp;
	unsigned n = 0;

	while (nsh_next_work(h, &req))
		do {
			NSH_MUST(NSH(h, queue_work, queue_work_rsp, &req,
				     &rsp) == 0);
			n++;
		} while (rsp.left);
	return n;
}

/* --- shorthands --- */

uint64_t nsh_root(struct nsh *h, uint64_t bucket)
{
	struct rpc_root_create req = { .bucket = bucket, .uid = 1000,
				       .gid = 1000, .mode = 0755 };
	struct rpc_root_create_rsp rsp;

	NSH_MUST(NSH(h, root_create, root_create_rsp, &req, &rsp) == 0);
	return rsp.ino;
}

static struct wire_bytes nsh_inline(struct nsh *h, uint64_t pos, size_t len)
{
	struct wire_extent e = { .pos = pos, .len = len,
				 .kind = WIRE_EXT_INLINE };

	wire_vec_fini(&h->vec);
	wire_vec_init(&h->vec);
	if (len > 0)
		wire_vec_add_extent(&h->vec, &e);
	return wire_vec_bytes(&h->vec);
}

struct wire_u128 nsh_slice(struct nsh *h, uint64_t slice)
{
	const uint64_t second = NSH_START / 1000000000;

	return (struct wire_u128){
		(uint64_t)h->shard << 48 | second << 16, slice,
	};
}

struct wire_bytes nsh_chunks(struct nsh *h, uint64_t slice, uint64_t pos,
			     uint64_t len, uint64_t slice_off)
{
	struct wire_extent e = {
		.pos = pos, .len = len, .kind = WIRE_EXT_CHUNKS,
		.slice = nsh_slice(h, slice),
		.slice_off = slice_off,
	};

	wire_vec_fini(&h->vec);
	wire_vec_init(&h->vec);
	wire_vec_add_extent(&h->vec, &e);
	return wire_vec_bytes(&h->vec);
}

uint32_t nsh_put(struct nsh *h, uint64_t root, const char *key,
		 struct wire_bytes data, const char *etag)
{
	struct rpc_put req = { .root = root, .key = wire_cstr(key),
			       .uid = 1000, .gid = 1000, .umask = 022,
			       .size = data.len, .data = data };
	struct rpc_put_rsp rsp;
	char made[40];

	snprintf(made, sizeof(made), "%032lx",
		 (unsigned long)XXH3_64bits(data.p, data.len));
	req.etag = wire_cstr(etag == NULL ? made : etag);
	req.extents = nsh_inline(h, 0, data.len);
	return NSH(h, put, put_rsp, &req, &rsp);
}

uint32_t nsh_delete(struct nsh *h, uint64_t root, const char *key)
{
	struct rpc_delete req = { .root = root, .key = wire_cstr(key) };
	struct rpc_empty_rsp rsp;

	return NSH(h, delete, empty_rsp, &req, &rsp);
}

uint32_t nsh_mknod(struct nsh *h, uint64_t dir, const char *name,
		   uint32_t mode, uint64_t *ret_ino)
{
	struct rpc_mknod req = { .dir = dir, .name = wire_cstr(name),
				 .mode = mode, .uid = 1000, .gid = 1000,
				 .flags = RPC_MKNOD_EXCL };
	struct rpc_mknod_rsp rsp;
	uint32_t status;

	if (S_ISLNK(mode))
		req.target = wire_cstr("target");
	status = NSH(h, mknod, mknod_rsp, &req, &rsp);
	if (status == 0 && ret_ino != NULL)
		*ret_ino = rsp.attr.ino;
	return status;
}

uint32_t nsh_lookup(struct nsh *h, uint64_t dir, const char *name, uint8_t how,
		    struct wire_attr *ret_attr)
{
	struct rpc_lookup req = { .dir = dir, .name = wire_cstr(name),
				  .how = how };
	struct rpc_lookup_rsp rsp;
	uint32_t status = NSH(h, lookup, lookup_rsp, &req, &rsp);

	if (status == 0)
		*ret_attr = rsp.attr;
	return status;
}

static uint32_t nsh_unlink_or(struct nsh *h, uint64_t dir, const char *name,
			      uint8_t how, uint8_t rmdir)
{
	struct rpc_unlink req = { .dir = dir, .name = wire_cstr(name),
				  .how = how, .rmdir = rmdir };
	struct rpc_unlink_rsp rsp;

	return NSH(h, unlink, unlink_rsp, &req, &rsp);
}

uint32_t nsh_unlink(struct nsh *h, uint64_t dir, const char *name, uint8_t how)
{
	return nsh_unlink_or(h, dir, name, how, 0);
}

uint32_t nsh_rmdir(struct nsh *h, uint64_t dir, const char *name)
{
	return nsh_unlink_or(h, dir, name, RPC_NAME_ANY, 1);
}

static uint32_t nsh_move(struct nsh *h, uint64_t dir, const char *name,
			 uint64_t dir2, const char *name2, uint32_t flags)
{
	struct rpc_rename req = { .dir = dir, .name = wire_cstr(name),
				  .dir2 = dir2, .name2 = wire_cstr(name2),
				  .flags = flags };
	struct rpc_rename_rsp rsp;

	return NSH(h, rename, rename_rsp, &req, &rsp);
}

uint32_t nsh_rename(struct nsh *h, uint64_t dir, const char *name,
		    uint64_t dir2, const char *name2)
{
	return nsh_move(h, dir, name, dir2, name2, 0);
}

uint32_t nsh_exchange(struct nsh *h, uint64_t dir, const char *name,
		      uint64_t dir2, const char *name2)
{
	return nsh_move(h, dir, name, dir2, name2, RPC_RENAME_EXCHANGE);
}

uint32_t nsh_link(struct nsh *h, uint64_t ino, uint64_t dir, const char *name)
{
	struct rpc_link req = { .ino = ino, .dir = dir,
				.name = wire_cstr(name) };
	struct rpc_attr_rsp rsp;

	return NSH(h, link, attr_rsp, &req, &rsp);
}

uint32_t nsh_write(struct nsh *h, uint64_t ino, uint64_t off,
		   struct wire_bytes data)
{
	struct rpc_write req = { .ino = ino, .data = data };
	struct rpc_write_rsp rsp;

	req.extents = nsh_inline(h, off, data.len);
	return NSH(h, write, write_rsp, &req, &rsp);
}

uint32_t nsh_truncate(struct nsh *h, uint64_t ino, uint64_t size)
{
	struct rpc_setattr req = { .ino = ino, .valid = RPC_SET_SIZE,
				   .size = size };
	struct rpc_attr_rsp rsp;

	return NSH(h, setattr, attr_rsp, &req, &rsp);
}

uint32_t nsh_getattr(struct nsh *h, uint64_t ino, struct wire_attr *ret)
{
	struct rpc_getattr req = { .ino = ino };
	struct rpc_attr_rsp rsp;
	uint32_t status = NSH(h, getattr, attr_rsp, &req, &rsp);

	if (status == 0)
		*ret = rsp.attr;
	return status;
}

uint32_t nsh_object(struct nsh *h, uint64_t root, const char *key,
		    uint64_t off, uint64_t len, struct rpc_object_rsp *rsp)
{
	struct rpc_object req = { .root = root, .key = wire_cstr(key),
				  .off = off, .len = len };

	return NSH(h, object, object_rsp, &req, rsp);
}

/* --- bytes --- */

static void nsh_fill(struct nsh *h, const struct wire_extent *e, uint64_t off,
		     uint64_t len, uint8_t *out)
{
	for (uint64_t i = 0; i < e->len; i++) {
		uint64_t pos = e->pos + i;

		NSH_MUST(pos >= off && pos < off + len);
		if (e->kind == WIRE_EXT_INLINE) {
			NSH_MUST(e->slice_off + i < h->body.len);
			out[pos - off] = h->body.data[e->slice_off + i];
		} else {
			out[pos - off] = nsh_chunk_byte(e->slice.lo,
							e->slice_off + i);
		}
	}
}

uint32_t nsh_bytes(struct nsh *h, uint64_t ino, uint64_t off, uint64_t len,
		   uint8_t *out)
{
	memset(out, 0, len);
	while (len > 0) {
		struct rpc_read req = { .ino = ino, .off = off, .len = len };
		struct rpc_read_rsp rsp;
		struct wire_reader r;
		uint32_t status, n;

		status = NSH(h, read, read_rsp, &req, &rsp);
		if (status != 0)
			return status;
		NSH_MUST(rsp.covered > 0 && rsp.covered <= len);
		for (r = wire_vec_reader(rsp.extents, &n); n > 0; n--) {
			struct wire_extent e;

			wire_get_extent(&r, &e);
			NSH_MUST(r.err == 0);
			nsh_fill(h, &e, off, rsp.covered, out);
		}
		off += rsp.covered;
		out += rsp.covered;
		len -= rsp.covered;
	}
	return 0;
}

/* --- pages --- */

uint32_t nsh_list(struct nsh *h, uint64_t root, const char *prefix,
		  const char *after, const char *delimiter, uint32_t page,
		  nsh_list_fn each, void *arg)
{
	struct rpc_list req = { .root = root, .prefix = wire_cstr(prefix),
				.after = wire_cstr(after),
				.delimiter = wire_cstr(delimiter),
				.max = page };
	struct rpc_list_rsp rsp = { .truncated = 1 };
	uint8_t *next = NULL;
	uint32_t status = 0;

	while (status == 0 && rsp.truncated) {
		struct wire_bytes key, etag, alg, type;
		struct wire_reader r;
		uint8_t is_prefix;
		uint64_t size;
		int64_t mtime;
		uint32_t n;

		status = NSH(h, list, list_rsp, &req, &rsp);
		if (status != 0)
			break;
		r = wire_vec_reader(rsp.entries, &n);
		NSH_MUST(n <= page && (n == page || !rsp.truncated));
		for (; n > 0; n--) {
			wire_get_str(&r, &key);
			wire_get_u8(&r, &is_prefix);
			wire_get_u64(&r, &size);
			wire_get_i64(&r, &mtime);
			wire_get_str(&r, &etag);
			wire_get_str(&r, &alg);
			wire_get_str(&r, &type);
			NSH_MUST(r.err == 0);
			each(arg, key, is_prefix, size, etag);
		}
		if (rsp.truncated) {
			uint8_t *p = mem_dup(rsp.next.p, rsp.next.len);

			mem_free(next);
			next = p;
			req.after = wire_bytes(next, rsp.next.len);
		}
	}
	mem_free(next);
	return status;
}

/* One page, from memory of our own: what is far is asked for in between. */
static void nsh_readdir_page(struct nsh *h, struct wire_bytes entries,
			     nsh_readdir_fn each, void *arg,
			     struct buf *ret_last)
{
	uint8_t *copy = mem_dup(entries.p, entries.len);
	struct wire_bytes name;
	struct wire_reader r;
	struct wire_attr attr;
	uint32_t n, mode;
	uint8_t shadowed;
	uint64_t ino;

	NSH_MUST(copy != NULL);
	for (r = wire_vec_reader(wire_bytes(copy, entries.len), &n); n > 0;
	     n--) {
		wire_get_str(&r, &name);
		wire_get_u64(&r, &ino);
		wire_get_u32(&r, &mode);
		wire_get_u8(&r, &shadowed);
		wire_get_attr(&r, &attr);
		NSH_MUST(r.err == 0);
		NSH_MUST(attr.ino == ino || (attr.ino == 0 && h->shards > 1));
		buf_reset(ret_last);
		buf_add(ret_last, name.p, name.len);
		if (attr.ino == 0) {
			NSH_MUST(nsh_getattr(h, ino, &attr) == 0);
			if (name.len == 0 && S_ISREG(mode) && attr.size == 0)
				continue; /* a marker, as it turns out */
		}
		each(arg, name, mode, shadowed, &attr);
	}
	mem_free(copy);
}

uint32_t nsh_readdir(struct nsh *h, uint64_t dir, uint32_t page,
		     nsh_readdir_fn each, void *arg)
{
	struct rpc_readdir req = { .dir = dir, .max = page, .plus = 1 };
	struct rpc_readdir_rsp rsp = { 0 };
	struct buf last;
	uint32_t status = 0;

	buf_init(&last, 0);
	while (status == 0 && !rsp.eof) {
		status = NSH(h, readdir, readdir_rsp, &req, &rsp);
		if (status != 0)
			break;
		nsh_readdir_page(h, rsp.entries, each, arg, &last);
		NSH_MUST(rsp.eof || last.len > 0);
		req.after = wire_bytes(last.data, last.len);
	}
	buf_fini(&last);
	return status;
}
