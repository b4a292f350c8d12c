/*
 * The chunks of a machine that is alone: the store of chunks as it is, beside
 * the shards in one process, with the cleaner of its head and the sweep of
 * orphans (storaged/chunk*.c, compact.c, orphans.c). Clients put the bytes of a
 * slice before they commit it; some die in between, some commit late.
 *
 * Checked: who is told of a slice finds its bytes, unless it was dropped since;
 * what a shard counts references of is there, in the end with its bytes; what
 * none counts is gone then, also what a crash brought back.
 *
 * The index is no file: what a crash leaves of it is an image in the world.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/mem.h"
#include "storaged/chunk.h"
#include "storaged/ns_rows.h"
#include "tests/sim/sim_tree.h"

#define BULK_LOOK_NS (200 * SIM_MS)

/* Of a client: its chunk is on its way, or its commit is. */
struct bulk_put {
	struct bulk_put *next; /* all of the world */
	struct tree *w;
	unsigned client;
	struct wire_u128 slice;
	uint64_t size;
	bool is_put;           /* of a key; else a write */
	char key[TREE_KEY];
	struct rpc_write write;
	uint64_t pos;
};

static struct proc *bulk_proc; /* the one that is there; NULL: none */

static struct proc *bulk_of(const struct tree *w)
{
	struct proc *p = sim_cluster_proc(w->c, 0);

	return p != NULL && p->bulk.chunks != NULL ? p : NULL;
}

/* --- clients --- */

static void bulk_commit(struct bulk_put *b)
{
	struct tree *w = b->w;
	struct wire_vec v;

	if (w->heal != HEAL_NOT)
		return; /* too late: the sweep's */
	if (b->is_put) {
		tree_commit_put(w, b->client, b->key, b->slice, b->size);
		return;
	}
	b->write.extents = sim_bytes_chunks(&v, b->pos, b->size, b->slice);
	SEND(w, b->client, write, &b->write);
	wire_vec_fini(&v);
}

static void bulk_commit_late(void *arg)
{
	struct bulk_put **b = arg;

	bulk_commit(*b);
}

static void bulk_on_put(void *arg, uint32_t status, struct body *body)
{
	struct bulk_put *b = arg, **late;
	struct sim *s = sim_cluster_sim(b->w->c);

	if (body != NULL || (status != RPC_STATUS_OK &&
			     status != RPC_STATUS_UNKNOWN_OUTCOME))
		sim_fail(b->w->c, "a chunk: %s", rpc_status_text(status));
	if (status != RPC_STATUS_OK || sim_plant == PLANT_BARE)
		return;
	if (slice_session(b->slice) == TREE_SESSION) {
		bulk_commit(b);
	} else if (sim_chance(s, 500)) {
		late = sim_zalloc(sizeof *late);
		*late = b;
		sim_after_owned(s, sim_rand(s, 6 * SIM_S), bulk_commit_late,
				late);
	} /* else its client died */
}

static void bulk_put(struct bulk_put *b)
{
	struct proc *p = bulk_of(b->w);
	struct body *body;
	XXH128_hash_t h;

	if (p == NULL)
		return;
	body = body_new(b->size);
	if (body == NULL)
		abort();
	body->len = (uint32_t)b->size;
	sim_bytes_slice(b->slice, 0, body->data, body->len);
	h = XXH3_128bits(body->data, body->len);
	sim_cluster_enter(b->w->c, 0);
	if (chunk_put(p->bulk.chunks, b->slice, 0,
		      (struct wire_u128){ h.high64, h.low64 }, body,
		      bulk_on_put, b) != 0)
		abort();
	body_unref(body);
	if (sim_plant == PLANT_BARE)
		bulk_commit(b);
}

static struct bulk_put *bulk_put_new(struct tree *w, unsigned client,
				     struct wire_u128 slice, uint64_t size)
{
	struct bulk_put *b = sim_zalloc(sizeof *b);

	*b = (struct bulk_put){ .next = w->bulk_puts, .w = w,
				.client = client, .slice = slice,
				.size = size };
	w->bulk_puts = b;
	return b;
}

void tree_bulk_put(struct tree *w, unsigned client, const char *key,
		   struct wire_u128 slice, uint64_t size)
{
	struct bulk_put *b = bulk_put_new(w, client, slice, size);

	b->is_put = true;
	memcpy(b->key, key, strlen(key) + 1);
	bulk_put(b);
}

void tree_bulk_write(struct tree *w, unsigned client,
		     const struct rpc_write *q, uint64_t pos,
		     struct wire_u128 slice, uint64_t size)
{
	struct bulk_put *b = bulk_put_new(w, client, slice, size);

	b->write = *q;
	b->pos = pos;
	bulk_put(b);
}

void tree_bulk_fini(struct tree *w)
{
	while (w->bulk_puts != NULL) {
		struct bulk_put *b = w->bulk_puts;

		w->bulk_puts = b->next;
		free(b);
	}
	rows_mem_image_free(w->chunk_image);
}

/* --- what is there --- */

/* Are the bytes of that extent here? 0, or what a read said. */
static uint32_t bulk_read(struct tree *w, struct proc *p,
			  struct wire_u128 slice, uint64_t off, uint64_t len)
{
	const struct chunk_id id = { slice, 0 };
	uint8_t bytes[NSM_BYTES];
	struct body *body;
	uint32_t status = chunk_read(p->bulk.cs, &id, &body);

	if (status != RPC_STATUS_OK)
		return status;
	if (len > sizeof bytes || off + len > body->len)
		sim_fail(w->c, "a slice is too short");
	sim_bytes_slice(slice, off, bytes, len);
	if (memcmp(bytes, body->data + off, len) != 0)
		sim_fail(w->c, "a slice has other bytes");
	body_unref(body);
	return RPC_STATUS_OK;
}

void tree_bulk_see(struct tree *w, const struct wire_extent *e)
{
	struct proc *p = bulk_of(w);
	uint32_t status;

	if (p == NULL)
		return;
	status = bulk_read(w, p, e->slice, e->slice_off, e->len);
	if (status != RPC_STATUS_OK && !tree_was_dropped(w, e->slice))
		sim_fail(w->c, "slice %llx.%llx is shown, but not here: %s",
			 (unsigned long long)e->slice.hi,
			 (unsigned long long)e->slice.lo,
			 rpc_status_text(status));
	sim_cluster_count(w->c, SIM_N_CHECKS, 1);
}

/* Does the shard count references? In the database, that is. */
static bool bulk_is_named(struct proc *p, struct wire_u128 slice)
{
	struct ns_row_slice row;
	struct ns_key k;
	uint8_t *value;
	size_t len;
	bool named;

	if (rows_back_get(p->store.back,
			  ns_key_slice(&k, slice_home(slice), slice), &value,
			  &len) != 0)
		return false;
	if (ns_row_slice_load(&row, wire_bytes(value, len)) != 0)
		sim_fail(p->w->c, "a row of a slice is none");
	named = row.refs > 0;
	mem_free(value);
	return named;
}

bool tree_bulk_swept(struct tree *w)
{
	struct wire_u128 from = { 0, 0 }, ids[16], next;
	struct proc *p = bulk_of(w);
	unsigned n;

	if (p == NULL || sim_now(sim_cluster_sim(w->c)) < w->bulk_look)
		return false;
	w->bulk_look = sim_now(sim_cluster_sim(w->c)) + BULK_LOOK_NS;
	do {
		if (chunk_store_slices(p->bulk.cs, from, UINT32_MAX, 16, ids,
				       &n, &next) != 0)
			abort();
		for (unsigned i = 0; i < n; i++)
			if (!bulk_is_named(p, ids[i]))
				return false;
		from = next;
	} while (from.hi != UINT64_MAX || from.lo != UINT64_MAX);
	return true;
}

static void bulk_check_shard(struct proc *p, uint16_t shard)
{
	struct wire_bytes key, value;
	struct ns_row_slice row;
	struct ns_key from, to;
	struct rows_iter *it;

	ns_key_start(&from, shard, NS_T_SLICE);
	to = from;
	ns_key_end(&to);
	if (rows_iter_new(p->store.back, ns_key_get(&from), ns_key_get(&to),
			  &it) != 0)
		abort();
	while (rows_iter_next(it, &key, &value) == 0) {
		struct wire_reader r = { .p = key.p + 3, .left = 16 };
		struct wire_u128 slice;

		wire_get_u128(&r, &slice);
		if (ns_row_slice_load(&row, value) != 0 ||
		    (row.refs > 0 &&
		     bulk_read(p->w, p, slice, 0, 0) != RPC_STATUS_OK))
			sim_fail(p->w->c, "slice %llx.%llx is named, and not "
				 "here", (unsigned long long)slice.hi,
				 (unsigned long long)slice.lo);
	}
	rows_iter_free(it);
}

static void bulk_finding(void *arg, const char *text)
{
	sim_proc_finding(arg, text);
}

void tree_bulk_check(struct tree *w)
{
	struct proc *p = bulk_of(w);
	struct orphans_stats st;

	if (p == NULL)
		return;
	for (unsigned i = 0; i < w->groups; i++)
		bulk_check_shard(p, (uint16_t)(i + 1));
	if (chunk_store_check(p->bulk.cs, bulk_finding, p) != 0)
		abort();
	orphans_stats(p->bulk.orphans, &st);
	sim_cluster_count(w->c, SIM_N_SWEEPS, st.sweeps);
}

/* --- drops: of the queue, of the sweep --- */

WRAP(int, chunk_drop, struct chunk_loop *cl, const struct wire_u128 *slices,
     unsigned n, chunk_drop_fn done, void *arg)
{
	for (unsigned i = 0; i < n; i++)
		tree_dropped(bulk_proc->w, slices[i]);
	return __real_chunk_drop(cl, slices, n, done, arg);
}

/* --- the sweep asks --- */

struct bulk_answer {
	struct tree *w;
	unsigned life;
	struct buf payload;
};

static struct proc *bulk_asker(struct tree *w, unsigned life)
{
	struct proc *p = bulk_of(w);

	return p != NULL && p->store.life == life ? p : NULL;
}

/* Whose clients are gone; in the end all are. */
static void bulk_sessions(void *arg)
{
	struct bulk_answer *a = arg;
	struct proc *p = bulk_asker(a->w, a->life);

	if (p != NULL) {
		sim_cluster_enter(a->w->c, 0);
		p->bulk.done(p->bulk.done_arg, RPC_STATUS_OK,
			     wire_bytes(a->payload.data, a->payload.len));
	}
	buf_fini(&a->payload);
}

static void bulk_ask_managers(struct proc *p, const struct buf *payload)
{
	struct sim *s = sim_cluster_sim(p->at.c);
	struct bulk_answer *a = sim_zalloc(sizeof *a);
	struct rpc_session_check_rsp rsp;
	struct rpc_session_check q;
	uint8_t over[256];
	struct wire_reader r;

	if (rpc_session_check_decode(&q, payload->data, payload->len) != 0 ||
	    q.sessions.len / 8 > sizeof over)
		sim_fail(p->at.c, "SESSION_CHECK is none");
	r = (struct wire_reader){ .p = q.sessions.p, .left = q.sessions.len };
	for (size_t i = 0; i < q.sessions.len / 8; i++) {
		uint64_t session;

		wire_get_u64(&r, &session);
		over[i] = session != TREE_SESSION || tree_all_over(p->w);
	}
	*a = (struct bulk_answer){ .w = p->w, .life = p->store.life };
	buf_init(&a->payload, 0);
	rsp.over = wire_bytes(over, q.sessions.len / 8);
	(void)rpc_session_check_rsp_encode(&rsp, &a->payload);
	sim_after_owned(s, sim_range(s, 1, 50) * SIM_MS, bulk_sessions, a);
}

static void bulk_answered(void *arg, uint32_t status,
			  struct wire_bytes payload, struct wire_bytes body)
{
	struct proc *p = arg;
	struct rpc_slice_ask_rsp rsp;
	struct buf b;

	(void)body;
	buf_init(&b, 0);
	if (sim_plant == PLANT_SWEEP &&
	    p->bulk.mail->tag == RPC_TAG_slice_ask &&
	    rpc_slice_ask_rsp_decode(&rsp, payload.p, payload.len) == 0) {
		uint8_t dead[256];

		memset(dead, RPC_SLICE_DEAD, sizeof dead);
		rsp.states.p = dead;
		(void)rpc_slice_ask_rsp_encode(&rsp, &b);
		payload = wire_bytes(b.data, b.len);
	}
	p->bulk.mail = NULL;
	sim_cluster_enter(p->at.c, 0);
	p->bulk.done(p->bulk.done_arg, status, payload);
	buf_fini(&b);
}

static int bulk_send(void *arg, uint16_t tag, uint16_t shard,
		     struct buf *payload, orphans_done_fn done, void *done_arg)
{
	struct proc *p = arg;

	p->bulk.done = done;
	p->bulk.done_arg = done_arg;
	if (tag == RPC_TAG_session_check)
		bulk_ask_managers(p, payload);
	else
		p->bulk.mail = mail_send(p->w, &p->from, shard, tag, payload,
					 3 * SIM_S, NULL, bulk_answered, p);
	return 0;
}

/* --- life --- */

static int bulk_record(void *arg, const struct seg_rec *rec)
{
	struct proc *p = arg;

	return chunk_store_recover(p->bulk.cs, rec);
}

static void bulk_rot(void *arg, const struct seg_rot *rot)
{
	struct proc *p = arg;

	sim_proc_check_rot(&p->at, rot);
	chunk_store_recover_rot(p->bulk.cs, rot);
}

/* At some starts the index is gone. */
static void bulk_lose_index(struct tree *w)
{
	if (w->chunk_image != NULL &&
	    (w->doubts == 0 || !sim_chance(sim_cluster_sim(w->c), 100)))
		return;
	sim_cluster_count(w->c, SIM_N_REBUILDS, w->chunk_image != NULL);
	rows_mem_image_free(w->chunk_image);
	w->chunk_image = rows_mem_image_new();
}

int tree_bulk_open(struct proc *p, struct errbuf *e)
{
	struct seg_config config = {
		.dir = "/bulk",
		.store_id = { 1 },
		.segment_size = 8u << 10,
		.bulk = true,
		.on_record = bulk_record,
		.on_rot = bulk_rot,
		.arg = p,
	};
	struct tree_bulk *b = &p->bulk;
	struct rows_back *index;
	int rv;

	bulk_proc = p;
	bulk_lose_index(p->w);
	if (rows_back_mem(p->w->chunk_image, &index) != 0 ||
	    chunk_store_new(index, &b->cs) != 0)
		abort();
	b->index = index;
	config.from_seq = chunk_store_from(b->cs);
	rv = seg_head_open(p->at.env, &config, &b->head, e);
	if (rv != 0)
		return rv;
	if (chunk_store_set_bulk(b->cs, b->head) != 0 ||
	    seg_port_new(b->head, p->at.env, &b->port) != 0 ||
	    chunk_loop_new(b->cs, p->at.env, b->port, &b->chunks) != 0)
		abort();
	chunk_loop_start_saving(b->chunks);
	return 0;
}

void tree_bulk_start(struct proc *p)
{
	const struct orphans_config config = {
		.env = p->at.env,
		.store = p->bulk.cs,
		.chunks = p->bulk.chunks,
		.send = bulk_send,
		.arg = p,
		.period_ns = 2 * SIM_S,
		.grace_ns = 1 * SIM_S,
	};
	struct compact_head head;

	if (chunk_clean_new(p->bulk.chunks, &head) != 0 ||
	    orphans_new(&config, &p->bulk.orphans) != 0)
		abort();
	compact_add_head(p->store.compact, &head);
	if (sim_plant != PLANT_ORPHAN)
		orphans_start(p->bulk.orphans);
}

void tree_bulk_stop(struct proc *p, bool crash)
{
	struct tree_bulk *b = &p->bulk;

	if (b->orphans != NULL)
		orphans_stop(b->orphans);
	if (b->mail != NULL)
		mail_cancel(b->mail);
	if (crash)
		seg_head_abandon(b->head);
	chunk_loop_free(b->chunks); /* tells the shards */
	b->chunks = NULL;
}

void tree_bulk_close(struct proc *p, bool crash)
{
	struct tree_bulk *b = &p->bulk;

	orphans_free(b->orphans);
	chunk_store_close(b->cs, !crash);
	if (!crash)
		seg_head_close(b->head);
	if (b->port != NULL)
		seg_port_free(b->port);
	bulk_proc = NULL;
}

void tree_bulk_died(void)
{
	bulk_proc = NULL;
}

bool tree_bulk_is_cut(const struct rows_back *back)
{
	return bulk_proc != NULL && bulk_proc->bulk.index == back &&
	       sim_cluster_cut(bulk_proc->at.c, 0);
}
