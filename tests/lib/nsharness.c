#include "tests/lib/nsharness_impl.h"

#include <xxhash.h>

#include "common/base/mem.h"
#include "common/client/follow.h"

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

void nsh_sync(struct nsh *h, struct nsh_replica *r)
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

void nsh_load(struct nsh *h, struct nsh_replica *r, struct rows_txn *t)
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

uint32_t nsh_enter(struct nsh *h, const struct ns_cmd *cmd)
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
	if (h->rep[0].answer.kept != 0 &&
	    nsh_opens(h, h->rep[0].answer.kept) == 0) {
		NSH_MUST(h->n_kept < NSH_OPENS);
		h->kept[h->n_kept++] = h->rep[0].answer.kept;
	}
	return h->rep[0].answer.status;
}

/* The leader's sweep: what was kept for one that is not the victim goes. */
static void nsh_sweep(struct nsh *h)
{
	while (h->n_kept > 0) {
		struct rpc_close m = { .ino = h->kept[--h->n_kept] };
		struct ns_cmd c = { .shard = ino_shard(m.ino),
				    .tag = RPC_TAG_close };
		struct buf b;

		buf_init(&b, 0);
		NSH_MUST(rpc_close_encode(&m, &b) == 0);
		c.payload = b.data;
		c.len = b.len;
		NSH_MUST(nsh_enter(h, &c) == 0);
		buf_fini(&b);
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
		if (t.rows.count > 0 && i < NSH_ROUNDS / 2 &&
		    nsh_random(h, 8) == 0) {
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

	nsh_sweep(h);
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
		if (rv > 0 && hops + 1 >= NSH_HOPS &&
		    h->rep[0].answer.repeated)
			break; /* by what the sender's slot holds */
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

struct rows_iter *nsh_iter(struct nsh *h, struct ns_key *from)
{
	struct ns_key to = *from;
	struct rows_iter *it;

	nsh_sync(h, &h->rep[0]);
	ns_key_end(&to);
	NSH_MUST(rows_iter_new(h->rep[0].back, ns_key_get(from),
			       ns_key_get(&to), &it) == 0);
	return it;
}

unsigned nsh_count_key(struct nsh *h, struct ns_key *k)
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

	nsh_sweep(h);
	ns_key_start(&k, h->shard, type);
	return nsh_count_key(h, &k);
}

unsigned nsh_count_all(struct nsh *h, uint8_t type)
{
	struct ns_key k;
	unsigned n = 0;

	nsh_sweep(h);
	for (unsigned i = 0; i < h->shards; i++) {
		ns_key_start(&k, (uint16_t)(h->shard + i), type);
		n += nsh_count_key(h, &k);
	}
	return n;
}
