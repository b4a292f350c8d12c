/*
 *   SHARD -> ROWS -> PAGE -> CHUNKS -> AGAIN -> PAGE ... -> SHARD ...
 *         -> FAR ... -> STORE -> STATES -> STORE ... -> END
 *
 * ROWS: the shard recounts its rows. PAGE: what some of its rows say of bytes;
 * values are looked for by the shard itself. CHUNKS: each copy of the chunks
 * they name is asked for at its store, FSCK_PARALLEL at a time. AGAIN: a chunk
 * that was not there counts only if its row still names it: a file may have
 * been rewritten or removed meanwhile. FAR: each shard compares its names with
 * other shards' rows. These are seen as of some moment before, and amid
 * transactions; so what does not fit counts when it is found again in each of
 * many passes. When nobody else asks for anything there is a pass as often as a
 * transaction that a crash has left behind is still being ended, then one more,
 * as by then all rows are where the others look: that one counts. STORE: some of
 * the slices that a store has chunks of, those old enough for its sweep.
 * STATES: what their home shard knows of them. What nothing names is counted: it
 * waits for the sweep (storaged/orphans.h). It is a finding where a sweep must
 * have taken it.
 *
 * Failure modes: a shard or a store that does not answer within the client's
 * timeout ends the run as FAILED: "could not look" is not "nothing found".
 */
#include "managerd/mgr_fsck.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "managerd/mgr_impl.h"

#define FSCK_PARALLEL 16u
#define FSCK_ROWS_TIMEOUT_MS (3600u * 1000)
#define FSCK_COPIES_MAX 8u
#define FSCK_SLICES_MAX 256u
/* Seconds, as in orphans.c: nobody can commit a slice that is older. */
#define FSCK_SLICE_DAY (25u * 3600)
#define FSCK_PAUSE_NS 200000000u
#define FSCK_PASSES 300u /* of FAR, alone: a minute */
#define FSCK_FAR_TRIES 20u /* of FAR, while the store works */

enum fsck_step {
	STEP_SHARD,
	STEP_ROWS,
	STEP_PAGE,
	STEP_CHUNKS,
	STEP_AGAIN,
	STEP_FAR,
	STEP_STORE,
	STEP_STATES,
};

/* One copy of a chunk of the page. */
struct fsck_copy {
	struct fsck_run *run;
	uint8_t row[32];
	uint8_t row_len;
	uint8_t nth; /* owner */
	struct wire_u128 slice;
	uint32_t index, len;
	uint32_t status; /* what its store said */
	uint32_t got;    /* bytes there */
	bool bad;
};

/* A slice that a store has chunks of. */
struct fsck_slice {
	struct wire_u128 id;
	uint32_t chunks;
	uint64_t bytes;
};

struct fsck_texts {
	char **v; /* mem_realloc'ed, each mem_free'd */
	size_t n, cap;
};

struct fsck_run {
	struct manager *m;
	struct client *client;
	struct cluster *cluster; /* a reference: shards and copies */
	enum fsck_step step;
	struct buf next;         /* PAGE: go on behind this row */
	struct fsck_copy *copies;
	size_t n_copies, at, under_way;
	/* FAR */
	bool alone;
	bool settled;            /* alone: no transaction is left, this counts */
	bool busy;               /* this pass met one */
	unsigned passes, far_at; /* shards of this pass that answered */
	struct fsck_texts now;   /* found in this pass */
	struct fsck_texts kept;  /* and in all before */
	uint64_t spans, unlisted;
	struct env_timer timer;
	unsigned store;          /* STORE: which one ... */
	struct wire_u128 from;   /* ... and from which slice on */
	struct fsck_slice slices[FSCK_SLICES_MAX];
	unsigned n_slices;
	uint32_t swept;          /* the store's: msgs.h */
	bool ended;
	void (*done)(void *arg, const struct fsck_result *result);
	void *arg;
	struct fsck_result result;
};

static void fsck_step(struct fsck_run *f);

/* --- what was found --- */

static void fsck_find(struct fsck_run *f, char *text)
{
	struct fsck_result *r = &f->result;
	char **texts;

	r->n_findings++;
	if (text != NULL && r->n_texts < FSCK_FINDINGS_MAX) {
		texts = mem_realloc(r->texts,
				    (r->n_texts + 1) * sizeof *texts);
		if (texts != NULL) {
			r->texts = texts;
			texts[r->n_texts++] = text;
			return;
		}
	}
	mem_free(text);
}

static unsigned fsck_shard(const struct fsck_run *f)
{
	unsigned i = f->step == STEP_FAR ? f->far_at : f->result.shards_done;

	return f->cluster->shards[i].shard;
}

/* each() gets the text (mem_free), NULL when there was no memory for it. */
static void fsck_each(struct fsck_run *f, struct wire_bytes list,
		      void (*each)(struct fsck_run *f, char *text))
{
	struct wire_reader r;
	uint32_t n;

	for (r = wire_vec_reader(list, &n); n > 0; n--) {
		struct wire_bytes text;

		wire_get_str(&r, &text);
		if (r.err != 0)
			return;
		each(f, mem_printf("shard %u: %.*s", fsck_shard(f),
				   (int)text.len, (const char *)text.p));
	}
}

static void fsck_find_list(struct fsck_run *f, struct wire_bytes list)
{
	fsck_each(f, list, fsck_find);
}

/* --- the end --- */

static void fsck_end(struct fsck_run *f, uint32_t status)
{
	if (f->ended)
		return;
	f->ended = true;
	f->result.state = status == RPC_STATUS_OK ? FSCK_DONE : FSCK_FAILED;
	f->result.status = status;
	f->result.ended_ns = (uint64_t)env_wall_ns(f->m->env);
	if (f->done != NULL)
		f->done(f->arg, &f->result);
}

/* A request that could not even be sent. */
static void fsck_sent(struct fsck_run *f, const struct client_call *call)
{
	if (call == NULL)
		fsck_end(f, RPC_STATUS_NOMEM);
}

/* 0, or the run is over. */
static int fsck_reply(struct fsck_run *f, const struct rpc_reply *reply,
		      int decoded)
{
	if (f->ended)
		return -ECANCELED;
	if (reply->status == RPC_STATUS_OK && decoded == 0)
		return 0;
	fsck_end(f, reply->status != RPC_STATUS_OK ? reply->status
						   : RPC_STATUS_BADMSG);
	return -EIO;
}

/* --- rows --- */

static void fsck_on_rows(void *arg, const struct rpc_reply *reply)
{
	struct fsck_run *f = arg;
	struct rpc_check_rows_rsp rsp;
	uint64_t before;

	if (fsck_reply(f, reply, rpc_check_rows_rsp_decode(
					 &rsp, reply->payload, reply->len)) !=
	    0)
		return;
	f->result.n.rows += rsp.rows;
	f->result.n.inodes += rsp.inodes;
	f->result.n.names += rsp.names;
	f->result.n.slices += rsp.slices;
	f->result.n.queued += rsp.queued;
	f->result.n.open += rsp.open;
	before = f->result.n_findings;
	fsck_find_list(f, rsp.findings);
	f->result.n_findings = before + rsp.n_findings;
	f->step = STEP_PAGE;
	buf_reset(&f->next);
	fsck_step(f);
}

static void fsck_send_rows(struct fsck_run *f, rpc_done_fn done)
{
	struct rpc_check_rows req = { .max = FSCK_FINDINGS_MAX,
				      .far = f->step == STEP_FAR };
	struct buf payload;
	struct client_send send = {
		.tag = RPC_TAG_check_rows, .shard = (uint16_t)fsck_shard(f),
		.payload = &payload, .timeout_ms = FSCK_ROWS_TIMEOUT_MS,
		.done = done, .arg = f,
	};

	buf_init(&payload, 0);
	(void)rpc_check_rows_encode(&req, &payload);
	fsck_sent(f, client_send(f->client, &send));
}

/* --- pages --- */

/* Appends the copies of a chunk; row, slice, index and len are set in one. */
static int fsck_add_copies(struct fsck_run *f, const struct fsck_copy *one)
{
	unsigned n = f->cluster->top.n;
	struct fsck_copy *c;

	if (n == 0)
		n = 1;
	if (n > FSCK_COPIES_MAX)
		n = FSCK_COPIES_MAX;
	c = mem_realloc(f->copies, (f->n_copies + n) * sizeof *c);
	if (c == NULL)
		return -ENOMEM;
	f->copies = c;
	for (unsigned i = 0; i < n; i++) {
		c[f->n_copies] = *one;
		c[f->n_copies].nth = (uint8_t)i;
		if (cluster_chunk_store(f->cluster, one->slice, one->index,
					i) != NULL)
			f->n_copies++;
	}
	return 0;
}

static int fsck_get_chunk(struct wire_reader *r, struct fsck_copy *ret)
{
	struct wire_bytes row;

	wire_get_str(r, &row);
	wire_get_u128(r, &ret->slice);
	wire_get_u32(r, &ret->index);
	wire_get_u32(r, &ret->len);
	if (r->err != 0 || row.len > sizeof ret->row)
		return -EBADMSG;
	ret->row_len = (uint8_t)row.len;
	if (row.len > 0)
		memcpy(ret->row, row.p, row.len);
	return 0;
}

static int fsck_take_page(struct fsck_run *f,
			  const struct rpc_check_bytes_rsp *rsp)
{
	struct wire_reader r;
	uint32_t n;
	int rv = 0;

	f->n_copies = f->at = 0;
	for (r = wire_vec_reader(rsp->chunks, &n); n > 0 && rv == 0; n--) {
		struct fsck_copy one = { .run = f };

		rv = fsck_get_chunk(&r, &one);
		if (rv == 0)
			rv = fsck_add_copies(f, &one);
		f->result.n.chunks++;
	}
	buf_reset(&f->next);
	buf_add(&f->next, rsp->next.p, rsp->next.len);
	return rv != 0 ? rv : f->next.err;
}

static void fsck_on_page(void *arg, const struct rpc_reply *reply)
{
	struct fsck_run *f = arg;
	struct rpc_check_bytes_rsp rsp;
	int rv = rpc_check_bytes_rsp_decode(&rsp, reply->payload, reply->len);

	if (fsck_reply(f, reply, rv) != 0)
		return;
	f->result.n.extents += rsp.extents;
	f->result.n.values += rsp.values;
	f->result.n.value_bytes += rsp.value_bytes;
	fsck_find_list(f, rsp.findings);
	rv = fsck_take_page(f, &rsp);
	if (rv != 0) {
		fsck_end(f, rpc_status_from_errno(rv));
		return;
	}
	f->step = STEP_CHUNKS;
	fsck_step(f);
}

static void fsck_send_page(struct fsck_run *f, struct wire_bytes after,
			   bool exact, rpc_done_fn done, void *arg)
{
	struct rpc_check_bytes req = { .after = after, .exact = exact,
				       .read = !exact && f->result.read };

	fsck_sent(f, CLIENT_SEND(f->client, check_bytes,
				 (uint16_t)fsck_shard(f), &req, done, arg));
}

/* --- chunks --- */

static void fsck_on_copy(void *arg, const struct rpc_reply *reply)
{
	struct fsck_copy *c = arg;
	struct fsck_run *f = c->run;
	struct rpc_chunk_check_rsp rsp = { .len = 0 };

	f->under_way--;
	c->status = reply->status;
	if (c->status == RPC_STATUS_OK &&
	    rpc_chunk_check_rsp_decode(&rsp, reply->payload, reply->len) != 0)
		c->status = RPC_STATUS_BADMSG;
	c->got = rsp.len;
	switch (c->status) {
	case RPC_STATUS_OK:
		c->bad = c->got < c->len;
		f->result.n.copies += !c->bad;
		break;
	case RPC_STATUS_NOENT:
	case RPC_STATUS_IO:
		c->bad = true;
		break;
	default:
		fsck_end(f, c->status);
		return;
	}
	fsck_step(f);
}

static void fsck_send_copy(struct fsck_run *f, struct fsck_copy *c)
{
	struct rpc_chunk_check req = { .slice = c->slice, .index = c->index,
				       .read = f->result.read };
	struct buf payload;
	struct client_send send = {
		.tag = RPC_TAG_chunk_check, .shard = slice_home(c->slice),
		.payload = &payload, .nth = c->nth,
		.done = fsck_on_copy, .arg = c,
	};
	struct client_call *call;

	buf_init(&payload, 0);
	(void)rpc_chunk_check_encode(&req, &payload);
	call = client_send(f->client, &send);
	if (call != NULL)
		f->under_way++;
	fsck_sent(f, call);
}

/* True when all of the page have been asked for and have answered. */
static bool fsck_chunks(struct fsck_run *f)
{
	while (!f->ended && f->at < f->n_copies &&
	       f->under_way < FSCK_PARALLEL)
		fsck_send_copy(f, &f->copies[f->at++]);
	return f->at == f->n_copies && f->under_way == 0;
}

/* --- once more --- */

static char *fsck_copy_text(const struct fsck_run *f,
			    const struct fsck_copy *c)
{
	const struct cluster_store *s = cluster_chunk_store(
		f->cluster, c->slice, c->index, c->nth);
	uint64_t id = 0;

	for (unsigned i = 1; i < 9 && i < c->row_len; i++)
		id = id << 8 | c->row[i];
	return mem_printf(
		"shard %u: %s %llx: chunk %u of slice %016llx%016llx %s in "
		"store %llu", fsck_shard(f),
		c->row[0] == 'I' ? "inode" : "region of", (unsigned long long)id,
		c->index, (unsigned long long)c->slice.hi,
		(unsigned long long)c->slice.lo,
		c->status == RPC_STATUS_NOENT ? "is not"
		: c->status == RPC_STATUS_IO  ? "does not have its hash"
					      : "is too short",
		s == NULL ? 0ull : (unsigned long long)s->raft_id);
}

static void fsck_on_again(void *arg, const struct rpc_reply *reply)
{
	struct fsck_copy *c = arg;
	struct fsck_run *f = c->run;
	struct rpc_check_bytes_rsp rsp;
	struct wire_reader r;
	uint32_t n;

	if (fsck_reply(f, reply, rpc_check_bytes_rsp_decode(
					 &rsp, reply->payload, reply->len)) !=
	    0)
		return;
	for (r = wire_vec_reader(rsp.chunks, &n); n > 0; n--) {
		struct fsck_copy now = { .run = f };

		if (fsck_get_chunk(&r, &now) != 0)
			break;
		if (now.index == c->index &&
		    wire_u128_eq(now.slice, c->slice) &&
		    (c->status != RPC_STATUS_OK || now.len > c->got)) {
			fsck_find(f, fsck_copy_text(f, c));
			break;
		}
	}
	f->at++;
	fsck_step(f);
}

/* Asks about the next bad copy; true when there is none left. */
static bool fsck_again(struct fsck_run *f)
{
	struct fsck_copy *c;

	while (f->at < f->n_copies && !f->copies[f->at].bad)
		f->at++;
	if (f->at == f->n_copies)
		return true;
	c = &f->copies[f->at];
	fsck_send_page(f, wire_bytes(c->row, c->row_len), true, fsck_on_again,
		       c);
	return false;
}

/* --- names over shards --- */

static void fsck_texts_fini(struct fsck_texts *t)
{
	for (size_t i = 0; i < t->n; i++)
		mem_free(t->v[i]);
	mem_free(t->v);
	*t = (struct fsck_texts){ NULL, 0, 0 };
}

static int fsck_text_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void fsck_far_found(struct fsck_run *f, char *text)
{
	struct fsck_texts *t = &f->now;

	if (text != NULL && t->n == t->cap) {
		size_t cap = t->cap == 0 ? 16 : 2 * t->cap;
		char **v = mem_realloc(t->v, cap * sizeof *v);

		if (v == NULL) {
			mem_free(text);
			text = NULL;
		} else {
			t->v = v;
			t->cap = cap;
		}
	}
	if (text == NULL)
		fsck_end(f, RPC_STATUS_NOMEM);
	else
		t->v[t->n++] = text;
}

/* Of what was kept that which was found in this pass, too; sorted. */
static void fsck_far_keep(struct fsck_run *f)
{
	struct fsck_texts *now = &f->now, *kept = &f->kept;
	size_t n = 0;

	if (now->n > 0)
		qsort(now->v, now->n, sizeof *now->v, fsck_text_cmp);
	for (size_t i = 0, j = 0; i < kept->n; i++) {
		int c = 1;

		while (j < now->n &&
		       (c = strcmp(now->v[j], kept->v[i])) < 0)
			j++;
		if (j < now->n && c == 0)
			kept->v[n++] = kept->v[i];
		else
			mem_free(kept->v[i]);
	}
	kept->n = n;
	if (f->alone || f->passes == 1) {
		fsck_texts_fini(kept);
		*kept = *now;
		*now = (struct fsck_texts){ NULL, 0, 0 };
	}
	fsck_texts_fini(now);
}

static void fsck_far_later(struct env_timer *timer)
{
	fsck_step(CONTAINER_OF(timer, struct fsck_run, timer));
}

static void fsck_on_far(void *arg, const struct rpc_reply *reply)
{
	struct fsck_run *f = arg;
	struct rpc_check_rows_rsp rsp;
	size_t before = f->now.n;

	if (fsck_reply(f, reply, rpc_check_rows_rsp_decode(
					 &rsp, reply->payload, reply->len)) !=
	    0)
		return;
	f->busy |= rsp.busy != 0;
	if (f->settled && f->busy) { /* somebody asks for something after all */
		fsck_end(f, RPC_STATUS_BUSY);
		return;
	}
	fsck_each(f, rsp.findings, fsck_far_found);
	f->unlisted += rsp.n_findings - (f->now.n - before);
	f->spans += rsp.spans;
	f->far_at++;
	fsck_step(f);
}

/* A pass is over: true when that was all. */
static bool fsck_far_passed(struct fsck_run *f)
{
	bool last;

	f->passes++;
	fsck_far_keep(f);
	if (!f->alone) {
		last = f->kept.n == 0 || f->passes == FSCK_FAR_TRIES;
	} else if (f->busy && f->passes == FSCK_PASSES) {
		fsck_find(f, mem_printf("transactions over shards do not end"));
		return true;
	} else {
		last = f->settled;
		f->settled = !f->busy;
	}
	if (last) {
		for (size_t i = 0; i < f->kept.n; i++)
			fsck_find(f, f->kept.v[i]);
		f->kept.n = 0;
		f->result.n_findings += f->alone ? f->unlisted : 0;
		f->result.n.spans = f->spans;
	}
	f->busy = false;
	f->far_at = 0;
	f->spans = f->unlisted = 0;
	return last;
}

/* True when it is done, or makes no sense: not all rows are here. */
static bool fsck_far(struct fsck_run *f)
{
	if (f->result.shards < 2 || f->cluster->n_stores != 1)
		return true;
	if (f->far_at < f->result.shards) {
		fsck_send_rows(f, fsck_on_far);
		return false;
	}
	if (fsck_far_passed(f))
		return true;
	f->timer.cb = fsck_far_later;
	env_timer_set(f->m->env, &f->timer, f->settled ? 0 : FSCK_PAUSE_NS);
	return false;
}

/* --- what nothing names --- */

static const struct cluster_store *fsck_store(const struct fsck_run *f)
{
	return &f->cluster->stores[f->store];
}

static int fsck_take_slices(struct fsck_run *f, struct wire_bytes list)
{
	struct wire_reader r;
	uint32_t n;

	r = wire_vec_reader(list, &n);
	if (r.err != 0 || n > FSCK_SLICES_MAX)
		return -EBADMSG;
	for (f->n_slices = 0; f->n_slices < n; f->n_slices++) {
		struct fsck_slice *s = &f->slices[f->n_slices];

		wire_get_u128(&r, &s->id);
		wire_get_u32(&r, &s->chunks);
		wire_get_u64(&r, &s->bytes);
		if (r.err != 0 ||
		    slice_home(s->id) != slice_home(f->slices[0].id))
			return -EBADMSG;
	}
	return 0;
}

static void fsck_on_slices(void *arg, const struct rpc_reply *reply)
{
	struct fsck_run *f = arg;
	struct rpc_store_slices_rsp rsp;
	int rv = rpc_store_slices_rsp_decode(&rsp, reply->payload, reply->len);

	if (rv == 0 && reply->status == RPC_STATUS_OK)
		rv = fsck_take_slices(f, rsp.slices);
	if (fsck_reply(f, reply, rv) != 0)
		return;
	f->from = rsp.next;
	f->swept = rsp.swept;
	f->step = STEP_STATES;
	fsck_step(f);
}

static void fsck_send_slices(struct fsck_run *f)
{
	struct rpc_store_slices req = { .from = f->from };
	struct buf payload;
	struct client_send send = {
		.tag = RPC_TAG_store_slices, .store = fsck_store(f)->id,
		.payload = &payload, .done = fsck_on_slices, .arg = f,
	};

	buf_init(&payload, 0);
	(void)rpc_store_slices_encode(&req, &payload);
	fsck_sent(f, client_send(f->client, &send));
}

/* A sweep saw it when nobody could commit it any more, and left it. */
static bool fsck_is_left(const struct fsck_run *f, const struct fsck_slice *s)
{
	return f->swept > FSCK_SLICE_DAY &&
	       slice_second(s->id) < f->swept - FSCK_SLICE_DAY;
}

static void fsck_unnamed(struct fsck_run *f, const struct fsck_slice *s)
{
	f->result.n.unnamed += s->chunks;
	f->result.n.unnamed_bytes += s->bytes;
	if (!fsck_is_left(f, s))
		return;
	fsck_find(f, mem_printf("store %llu: nothing names slice %016llx%016llx"
				", and the sweep left it here: %u chunks, %llu "
				"bytes",
				(unsigned long long)fsck_store(f)->raft_id,
				(unsigned long long)s->id.hi,
				(unsigned long long)s->id.lo, s->chunks,
				(unsigned long long)s->bytes));
}

static void fsck_on_states(void *arg, const struct rpc_reply *reply)
{
	struct fsck_run *f = arg;
	struct rpc_slice_ask_rsp rsp;
	int rv = rpc_slice_ask_rsp_decode(&rsp, reply->payload, reply->len);

	if (rv == 0 && reply->status == RPC_STATUS_OK &&
	    rsp.states.len != f->n_slices)
		rv = -EBADMSG;
	if (fsck_reply(f, reply, rv) != 0)
		return;
	for (unsigned i = 0; i < f->n_slices; i++)
		if (rsp.states.p[i] != RPC_SLICE_ALIVE)
			fsck_unnamed(f, &f->slices[i]);
	f->n_slices = 0;
	fsck_step(f);
}

static void fsck_send_states(struct fsck_run *f)
{
	struct rpc_slice_ask req;
	struct wire_vec v;

	wire_vec_init(&v);
	for (unsigned i = 0; i < f->n_slices; i++) {
		struct wire_writer w = wire_vec_add(&v);

		wire_put_u128(&w, &f->slices[i].id);
	}
	req.slices = wire_vec_bytes(&v);
	if (v.buf.err != 0)
		fsck_end(f, RPC_STATUS_NOMEM);
	else
		fsck_sent(f, CLIENT_SEND(f->client, slice_ask,
					 slice_home(f->slices[0].id), &req,
					 fsck_on_states, f));
	wire_vec_fini(&v);
}

/* --- the run --- */

static void fsck_step(struct fsck_run *f)
{
	while (!f->ended) {
		switch (f->step) {
		case STEP_SHARD:
			if (f->result.shards_done == f->result.shards) {
				f->step = STEP_FAR;
				continue;
			}
			f->step = STEP_ROWS;
			fsck_send_rows(f, fsck_on_rows);
			return; /* fsck_on_rows() goes on */
		case STEP_PAGE:
			fsck_send_page(f, wire_bytes(f->next.data,
						     f->next.len),
				       false, fsck_on_page, f);
			return; /* fsck_on_page() goes on */
		case STEP_CHUNKS:
			if (!fsck_chunks(f))
				return; /* fsck_on_copy() goes on */
			f->at = 0;
			f->step = STEP_AGAIN;
			continue;
		case STEP_AGAIN:
			if (!fsck_again(f))
				return; /* fsck_on_again() goes on */
			f->step = STEP_PAGE;
			if (f->next.len == 0) {
				f->result.shards_done++;
				f->step = STEP_SHARD;
			}
			continue;
		case STEP_FAR:
			if (!fsck_far(f))
				return; /* fsck_on_far(), fsck_far_later() */
			f->step = STEP_STORE;
			continue;
		case STEP_STORE:
			if (f->store == f->cluster->n_stores)
				fsck_end(f, RPC_STATUS_OK);
			else
				fsck_send_slices(f);
			return; /* fsck_on_slices() goes on */
		case STEP_STATES:
			if (f->n_slices > 0) {
				fsck_send_states(f);
				return; /* fsck_on_states() goes on */
			}
			if (f->from.hi == UINT64_MAX &&
			    f->from.lo == UINT64_MAX) {
				f->from = (struct wire_u128){ 0, 0 };
				f->store++;
			}
			f->step = STEP_STORE;
			continue;
		case STEP_ROWS:
			assert(false);
		}
	}
}

static void fsck_begin(void *arg, int status)
{
	struct fsck_run *f = arg;

	if (status != 0) {
		fsck_end(f, rpc_status_from_errno(status));
		return;
	}
	f->cluster = cluster_ref(client_cluster(f->client));
	f->result.shards = f->cluster->n_shards;
	fsck_step(f);
}

static void fsck_free(struct fsck_run *f)
{
	if (f == NULL)
		return;
	for (unsigned i = 0; i < f->result.n_texts; i++)
		mem_free(f->result.texts[i]);
	mem_free(f->result.texts);
	env_timer_cancel(f->m->env, &f->timer);
	fsck_texts_fini(&f->now);
	fsck_texts_fini(&f->kept);
	mem_free(f->copies);
	buf_fini(&f->next);
	cluster_unref(f->cluster);
	mem_free(f);
}

int mgr_fsck_start(struct manager *m, unsigned flags,
		   void (*done)(void *arg, const struct fsck_result *result),
		   void *arg)
{
	struct fsck_run *f;

	if (m->fsck != NULL && (!m->fsck->ended || m->fsck->under_way > 0))
		return -EBUSY;
	f = mem_zalloc(sizeof *f);
	if (f == NULL)
		return -ENOMEM;
	fsck_free(m->fsck);
	m->fsck = f;
	f->m = m;
	f->client = client_of(m->clients, m->loop);
	f->done = done;
	f->arg = arg;
	buf_init(&f->next, 0);
	f->result.state = FSCK_RUNNING;
	f->result.read = flags & FSCK_READ;
	f->alone = flags & FSCK_ALONE;
	f->result.started_ns = (uint64_t)env_wall_ns(m->env);
	/* as it is now: a store may have joined this moment */
	client_refresh(f->client, UINT64_MAX, fsck_begin, f);
	return 0;
}

const struct fsck_result *mgr_fsck_result(const struct manager *m)
{
	static const struct fsck_result never = { .state = FSCK_NEVER };

	return m->fsck == NULL ? &never : &m->fsck->result;
}

void mgr_fsck_free(struct manager *m)
{
	fsck_free(m->fsck);
	m->fsck = NULL;
}
