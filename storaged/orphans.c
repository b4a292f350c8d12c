/*
 * The sweep.
 *
 * Happy path, again and again until the index ends:
 *   COLLECT  a worker takes the next slices of one home shard that are old
 *            enough -> SLICE_ASK: what does the shard know of them
 *   CHECK    of those that it knows nothing of: is the session over -> REAP
 *   REAP     SLICE_REAP: from now on they are dead
 *   DROP     their chunks go, with those of the slices that were dead before
 *   REST     a moment, so that a sweep is in nobody's way
 *
 * Failure modes: whatever does not answer, or answers what cannot be: its batch
 * is left, the others get their turn, and the next sweep begins in a minute.
 * Nothing has to be undone: what was asked changed nothing, a slice that was
 * reaped and whose chunks are still here is found dead by the next sweep.
 */
#include "storaged/orphans.h"

#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/wire/msgs.h"
#include "common/wire/status.h"
#include "storaged/chunk.h"

#define ORPHANS_BATCH 256u           /* as many as a message may have */
#define ORPHANS_HOUR_NS 3600000000000u
#define ORPHANS_RETRY_NS 60000000000u
#define ORPHANS_REST_NS 10000000u
/* In seconds; a commit of a slice older than a day is refused (ns_slice.c). */
#define ORPHANS_DAY (25 * 3600)

struct orphans {
	struct orphans_config config;
	bool stopped;
	struct env_timer timer;
	struct env_work work;
	struct wire_u128 from, next; /* of this batch, of the one behind it */
	int64_t now;                 /* of the batch, seconds */
	uint32_t began;              /* old enough when the sweep began */
	struct wire_u128 slices[ORPHANS_BATCH];
	uint8_t states[ORPHANS_BATCH]; /* RPC_SLICE_* */
	unsigned n;
	/* those that are to be reaped, then those to be dropped */
	struct wire_u128 list[ORPHANS_BATCH];
	unsigned n_list;
	uint64_t found;              /* slices dropped by this sweep */
	bool failed;                 /* a batch of it */
	uint64_t sessions[ORPHANS_BATCH]; /* of list */
	int rv;                      /* of the worker */
	struct orphans_stats stats;
};

static void orphans_collect(struct orphans *o);

/* --- the end of a batch, of a sweep --- */

static void orphans_on_timer(struct env_timer *timer)
{
	orphans_collect(CONTAINER_OF(timer, struct orphans, timer));
}

static void orphans_later(struct orphans *o, uint64_t delay_ns)
{
	if (!o->stopped)
		env_timer_set(o->config.env, &o->timer, delay_ns);
}

static void orphans_end(struct orphans *o)
{
	uint64_t wait = o->config.period_ns;

	if (o->found > 0)
		log_info("chunks of %llu slices that nothing names are dropped",
			 (unsigned long long)o->found);
	o->found = 0;
	o->from = (struct wire_u128){ 0, 0 };
	if (!o->failed) {
		o->stats.sweeps++;
		o->stats.swept = o->began;
	} else if (wait > ORPHANS_RETRY_NS) {
		wait = ORPHANS_RETRY_NS;
	}
	o->failed = false;
	orphans_later(o, wait);
}

static void orphans_batch_end(struct orphans *o)
{
	if (o->next.hi == UINT64_MAX && o->next.lo == UINT64_MAX) {
		orphans_end(o);
	} else {
		o->from = o->next;
		orphans_later(o, ORPHANS_REST_NS);
	}
}

static void orphans_failed(struct orphans *o, uint32_t status)
{
	log_debug("slices of shard %u are not swept: %s",
		  slice_home(o->slices[0]), rpc_status_text(status));
	o->failed = true;
	orphans_batch_end(o);
}

/* --- drop --- */

static void orphans_on_dropped(void *arg, uint32_t status)
{
	struct orphans *o = arg;

	if (o->stopped)
		return;
	if (status != RPC_STATUS_OK) {
		orphans_failed(o, status);
		return;
	}
	o->stats.dropped += o->n_list;
	o->found += o->n_list;
	orphans_batch_end(o);
}

/* What is in the list, and what was dead before. */
static void orphans_drop(struct orphans *o)
{
	for (unsigned i = 0; i < o->n; i++)
		if (o->states[i] == RPC_SLICE_DEAD)
			o->list[o->n_list++] = o->slices[i];
	if (o->n_list == 0)
		orphans_batch_end(o);
	else if (chunk_drop(o->config.chunks, o->list, o->n_list,
			    orphans_on_dropped, o) != 0)
		orphans_failed(o, RPC_STATUS_NOMEM);
}

/* --- messages --- */

/* Takes b. */
static void orphans_send(struct orphans *o, uint16_t tag, struct buf *b,
			 orphans_done_fn done)
{
	int rv = b->err;

	if (rv == 0)
		rv = o->config.send(o->config.arg, tag,
				    slice_home(o->slices[0]), b, done, o);
	buf_fini(b);
	if (rv != 0)
		orphans_failed(o, rpc_status_from_errno(rv));
}

static struct wire_bytes orphans_list(struct wire_vec *v,
				      const struct wire_u128 *slices,
				      unsigned n)
{
	wire_vec_init(v);
	for (unsigned i = 0; i < n; i++) {
		struct wire_writer w = wire_vec_add(v);

		wire_put_u128(&w, &slices[i]);
	}
	return wire_vec_bytes(v);
}

/* Keeps those of the list that the answer has a byte != 0 for. */
static int orphans_keep(struct orphans *o, struct wire_bytes yes)
{
	unsigned n = 0;

	if (yes.len != o->n_list)
		return -EBADMSG;
	for (unsigned i = 0; i < o->n_list; i++)
		if (yes.p[i] != 0)
			o->list[n++] = o->list[i];
	o->n_list = n;
	return 0;
}

static void orphans_on_reaped(void *arg, uint32_t status,
			      struct wire_bytes payload)
{
	struct rpc_slice_reap_rsp rsp;
	struct orphans *o = arg;

	if (o->stopped)
		return;
	if (status == RPC_STATUS_OK &&
	    (rpc_slice_reap_rsp_decode(&rsp, payload.p, payload.len) != 0 ||
	     orphans_keep(o, rsp.dead) != 0))
		status = RPC_STATUS_BADMSG;
	if (status == RPC_STATUS_OK)
		orphans_drop(o);
	else
		orphans_failed(o, status);
}

static void orphans_reap(struct orphans *o)
{
	/* one that lost its last reference is the queue's, not ours */
	struct rpc_slice_reap req = { .before = 0 };
	struct wire_vec v;
	struct buf b;

	if (o->n_list == 0) {
		orphans_drop(o);
		return;
	}
	req.slices = orphans_list(&v, o->list, o->n_list);
	buf_init(&b, 0);
	(void)rpc_slice_reap_encode(&req, &b);
	if (v.buf.err != 0)
		b.err = v.buf.err;
	wire_vec_fini(&v);
	orphans_send(o, RPC_TAG_slice_reap, &b, orphans_on_reaped);
}

static void orphans_on_checked(void *arg, uint32_t status,
			       struct wire_bytes payload)
{
	struct rpc_session_check_rsp rsp;
	uint8_t over[ORPHANS_BATCH];
	struct orphans *o = arg;

	if (o->stopped)
		return;
	if (status == RPC_STATUS_OK &&
	    (rpc_session_check_rsp_decode(&rsp, payload.p, payload.len) != 0 ||
	     rsp.over.len != o->n_list))
		status = RPC_STATUS_BADMSG;
	if (status != RPC_STATUS_OK) {
		orphans_failed(o, status);
		return;
	}
	for (unsigned i = 0; i < o->n_list; i++)
		over[i] = rsp.over.p[i] != 0 ||
			  o->now - slice_second(o->list[i]) > ORPHANS_DAY;
	(void)orphans_keep(o, wire_bytes(over, o->n_list));
	orphans_reap(o);
}

static void orphans_check(struct orphans *o)
{
	struct rpc_session_check req;
	struct wire_writer w;
	struct buf ids, b;

	buf_init(&ids, 0);
	buf_init(&b, 0);
	w = (struct wire_writer){ &ids };
	o->n_list = 0;
	for (unsigned i = 0; i < o->n; i++) {
		uint64_t session = slice_session(o->slices[i]);

		if (o->states[i] != RPC_SLICE_UNKNOWN)
			continue;
		o->list[o->n_list++] = o->slices[i];
		wire_put_u64(&w, &session);
	}
	if (o->n_list == 0) {
		buf_fini(&ids);
		orphans_drop(o);
		return;
	}
	req.sessions = wire_bytes(ids.data, ids.len);
	(void)rpc_session_check_encode(&req, &b);
	if (ids.err != 0)
		b.err = ids.err;
	buf_fini(&ids);
	orphans_send(o, RPC_TAG_session_check, &b, orphans_on_checked);
}

static void orphans_on_asked(void *arg, uint32_t status,
			     struct wire_bytes payload)
{
	struct rpc_slice_ask_rsp rsp;
	struct orphans *o = arg;

	if (o->stopped)
		return;
	if (status == RPC_STATUS_OK &&
	    (rpc_slice_ask_rsp_decode(&rsp, payload.p, payload.len) != 0 ||
	     rsp.states.len != o->n))
		status = RPC_STATUS_BADMSG;
	if (status != RPC_STATUS_OK) {
		orphans_failed(o, status);
		return;
	}
	memcpy(o->states, rsp.states.p, o->n);
	o->stats.slices += o->n;
	orphans_check(o);
}

static void orphans_ask(struct orphans *o)
{
	struct rpc_slice_ask req;
	struct wire_vec v;
	struct buf b;

	req.slices = orphans_list(&v, o->slices, o->n);
	buf_init(&b, 0);
	(void)rpc_slice_ask_encode(&req, &b);
	if (v.buf.err != 0)
		b.err = v.buf.err;
	wire_vec_fini(&v);
	orphans_send(o, RPC_TAG_slice_ask, &b, orphans_on_asked);
}

/* --- collecting --- */

/* Those made before it are old enough at `now`. */
static uint32_t orphans_old(const struct orphans *o, int64_t now)
{
	int64_t grace = (int64_t)(o->config.grace_ns / 1000000000);

	return now > grace ? (uint32_t)(now - grace) : 0;
}

static void orphans_collect_run(struct env_work *work)
{
	struct orphans *o = CONTAINER_OF(work, struct orphans, work);
	uint32_t second = orphans_old(o, o->now);

	o->n = 0;
	o->next = (struct wire_u128){ UINT64_MAX, UINT64_MAX };
	o->rv = second == 0 ? 0
			    : chunk_store_slices(o->config.store, o->from,
						 second, ORPHANS_BATCH,
						 o->slices, &o->n, &o->next);
}

static void orphans_collected(struct env_work *work)
{
	struct orphans *o = CONTAINER_OF(work, struct orphans, work);

	if (o->stopped)
		return;
	if (o->rv != 0) {
		log_warn(o->rv, "index of chunks cannot be read");
		o->failed = true;
		orphans_end(o);
	} else if (o->n == 0) {
		orphans_batch_end(o);
	} else {
		orphans_ask(o);
	}
}

static void orphans_collect(struct orphans *o)
{
	o->now = env_wall_ns(o->config.env) / 1000000000;
	if (o->from.hi == 0 && o->from.lo == 0)
		o->began = orphans_old(o, o->now);
	o->work.run = orphans_collect_run;
	o->work.done = orphans_collected;
	env_work(o->config.env, &o->work);
}

/* --- life --- */

int orphans_new(const struct orphans_config *config,
		struct orphans **ret_orphans)
{
	struct orphans *o = mem_zalloc(sizeof *o);

	if (o == NULL)
		return -ENOMEM;
	o->config = *config;
	if (o->config.period_ns == 0)
		o->config.period_ns = ORPHANS_HOUR_NS;
	if (o->config.grace_ns == 0)
		o->config.grace_ns = ORPHANS_HOUR_NS;
	o->timer.cb = orphans_on_timer;
	*ret_orphans = o;
	return 0;
}

void orphans_start(struct orphans *o)
{
	orphans_later(o, o->config.period_ns / 10);
}

void orphans_stop(struct orphans *o)
{
	o->stopped = true;
	env_timer_cancel(o->config.env, &o->timer);
}

void orphans_free(struct orphans *o)
{
	mem_free(o);
}

void orphans_stats(const struct orphans *o, struct orphans_stats *ret)
{
	*ret = o->stats;
	ret->old = orphans_old(o, env_wall_ns(o->config.env) / 1000000000);
}
