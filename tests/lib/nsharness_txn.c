/*
 * Transactions over shards, as their hosts run them: locks, ends in every
 * shard that has some, questions of those that wait.
 */
#include "tests/lib/nsharness_impl.h"

#include "common/base/mem.h"
#include "common/wire/frame.h"

void nsh_txn_begin(struct nsh *h, struct nsh_txn *t, uint16_t shard)
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

void nsh_txn_lock(struct nsh *h, struct nsh_txn *t, uint16_t shard,
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
void nsh_txn_end(struct nsh *h, struct nsh_txn *t)
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

static unsigned nsh_parties(const struct ns_locks *l)
{
	unsigned n = 0;

	for (const struct ns_party *p = l->parties; p != NULL; p = p->next)
		n++;
	return n;
}

/* Who starts again finds the locks that were held before, and by whom. */
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
		NSH_MUST(nsh_parties(l) == nsh_parties(r->locks[i]));
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
