/*
 * The rows of a shard for another member.
 *
 *   SNAP_GET, stream 0 -> [everything applied is in the back] -> a worker takes a
 *   snapshot of the back and makes the first piece -> answer -> SNAP_GET for the
 *   next one -> a worker makes it -> ... -> END, or nobody asks for a while
 *
 * Values are read from the log and compared with their hashes; they go in front
 * of the row that names them. The cleaner is held from before the snapshot is
 * taken: what the snapshot names stays where it is. What is in the back is
 * durable in the log (raft_gate.h), loose or not. Memory: a piece, and what one
 * step made beyond it (a block, and a value).
 *
 * Failure modes: a value that rotted: the stream ends with IO, the store says so
 * as for any reader, and the other member asks somebody else. An answer is lost:
 * the same piece is asked for again. Who asked is gone: SERVE_IDLE_NS later the
 * stream is given up. Rows of this store that are being replaced are not handed
 * out (BUSY); if that began while the snapshot was taken, it is thrown away.
 */
#include "storaged/shard_snap.h"

#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/xxh.h"
#include "storaged/ns_values.h"

#define SERVE_MAX 8u                 /* streams of a set */
#define SERVE_IDLE_NS 10000000000u

struct shard_serving {
	struct shard_set *set;
	struct shard_serving *next;
	uint16_t group;
	uint64_t from;       /* who asks */
	uint64_t id;
	unsigned installs;   /* of the group when the snapshot was taken */
	struct rows_stream_writer *writer;
	struct buf out;      /* of the stream from off on */
	uint64_t off;
	size_t last;         /* bytes of it that were handed out last */
	bool ended;          /* out has the end of the stream */
	bool busy, dead;     /* dead: goes when it is not busy any more */
	struct env_work work;
	struct env_timer timer;
	shard_done_fn done;  /* who waits, or NULL */
	void *arg;
	int rv;
	/* the row that is written: values done, value that cannot be read */
	unsigned skip, seen;
	size_t bytes;
	struct ns_value_at last_value, bad;
};

/* --- worker --- */

struct serve_row {
	struct shard_serving *s;
	struct rows_stream_out *out;
	uint8_t *copy; /* the row, whose positions become 0 */
};

static int serve_read(struct shard_serving *s, const struct ns_value_at *v,
		      struct rows_stream_out *out)
{
	const struct ns_value value = {
		.gen = v->gen, .off = v->off, .len = v->len, .want = v->len,
		.hash = v->hash,
	};
	uint8_t *bytes = mem_alloc((size_t)v->len + 1);
	int rv;

	if (bytes == NULL)
		return -ENOMEM;
	rv = v->len > WIRE_CHUNK
		     ? -EBADMSG
		     : shard_value_read(s->set, &value, bytes, 0);
	if (rv == 0)
		rv = rows_stream_put_value(out, v->hash,
					   wire_bytes(bytes, v->len));
	else if (rv != -ENOMEM)
		s->bad = *v;
	mem_free(bytes);
	return rv;
}

/* 1: there are more, and enough for now. */
static int serve_value(void *arg, const struct ns_value_at *v)
{
	struct serve_row *r = arg;
	struct shard_serving *s = r->s;
	const struct ns_value_at *last = &s->last_value;
	int rv = 0;

	if (s->seen++ < s->skip)
		return 0;
	if (s->bytes >= s->set->config.snap_piece / 4)
		return 1;
	/* parts of one value follow each other */
	if (s->skip == 0 || v->gen != last->gen || v->off != last->off ||
	    v->len != last->len)
		rv = serve_read(s, v, r->out);
	s->bytes += v->len;
	s->last_value = *v;
	s->skip = s->seen;
	return rv;
}

static int serve_clear(void *arg, const struct ns_value_at *v)
{
	struct rows_stream_out *out = arg;

	ns_value_move(out->value->data, v->at, 0, 0);
	return 0;
}

static int serve_row(void *arg, struct wire_bytes key, struct wire_bytes value,
		     struct rows_stream_out *out)
{
	struct shard_serving *s = arg;
	struct serve_row r = { .s = s, .out = out };
	int rv;

	if (key.len < 3 || !ns_has_values(key.p[2]))
		return 0;
	s->seen = 0;
	s->bytes = 0;
	rv = ns_values_each(key.p[2], value, serve_value, &r);
	if (rv != 0)
		return rv;
	s->skip = 0;
	buf_add(out->value, value.p, value.len);
	if (out->value->err != 0)
		return out->value->err;
	return ns_values_each(key.p[2], value, serve_clear, out);
}

static void serve_run(struct env_work *work)
{
	struct shard_serving *s = CONTAINER_OF(work, struct shard_serving,
					       work);
	const struct rows_stream_config config = {
		.back = s->set->config.back,
		.group = s->group,
		.flags = ROWS_STREAM_PORTABLE,
		.block = s->set->config.snap_piece / 4,
		.row = serve_row,
		.arg = s,
	};
	int rv = 0;

	if (s->writer == NULL)
		rv = rows_stream_writer_new(&config, &s->writer);
	while (rv == 0 && !s->ended && s->out.len < s->set->config.snap_piece) {
		rv = rows_stream_next(s->writer, &s->out);
		s->ended = rv == 0;
		rv = rv == 1 ? 0 : rv;
	}
	s->rv = rv;
}

/* --- loop --- */

static void serve_unlink(struct shard_serving *s)
{
	struct shard_serving **p = &s->set->serving;

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	s->set->n_serving--;
}

static void serve_free(struct shard_serving *s)
{
	env_timer_cancel(s->set->env, &s->timer);
	serve_unlink(s);
	rows_stream_writer_free(s->writer);
	buf_fini(&s->out);
	mem_free(s);
}

static void serve_answer(struct shard_serving *s, uint32_t status,
			 struct buf *payload, struct body *body)
{
	shard_done_fn done = s->done;

	s->done = NULL;
	if (done != NULL)
		done(s->arg, status, payload, body);
	else
		body_unref(body);
}

static void serve_end(struct shard_serving *s, uint32_t status)
{
	struct buf none;

	buf_init(&none, 0);
	serve_answer(s, status, &none, NULL);
	if (s->busy) {
		s->dead = true;
		return;
	}
	shard_hold(s->set, false);
	serve_free(s);
}

static void serve_idle(struct env_timer *timer)
{
	serve_end(CONTAINER_OF(timer, struct shard_serving, timer),
		  RPC_STATUS_STALE);
}

/* The piece at s->off. */
static void serve_piece(struct shard_serving *s)
{
	size_t max = s->set->config.snap_piece;
	size_t n = s->out.len < max ? s->out.len : max;
	struct rpc_snap_get_rsp rsp = {
		.stream = s->id, .off = s->off,
		.more = !s->ended || n < s->out.len,
	};
	struct body *body = body_new(n);
	struct buf payload;

	buf_init(&payload, 0);
	if (body == NULL || rpc_snap_get_rsp_encode(&rsp, &payload) != 0) {
		body_unref(body);
		serve_answer(s, RPC_STATUS_NOMEM, &payload, NULL);
	} else {
		memcpy(body->data, s->out.data, n);
		body->len = (uint32_t)n;
		s->last = n;
		shard_count(&s->set->stats.snap_bytes_out, n);
		serve_answer(s, RPC_STATUS_OK, &payload, body);
	}
	buf_fini(&payload);
	env_timer_set(s->set->env, &s->timer, SERVE_IDLE_NS);
}

static void serve_rot(struct shard_serving *s)
{
	const struct shard_config *config = &s->set->config;

	if (s->bad.len == 0)
		return;
	s->set->stats.rot++;
	log_warn(s->rv, "shard=%u: value cannot be read segment=%llx "
			"offset=%llu length=%u", s->group,
		 (unsigned long long)s->bad.gen,
		 (unsigned long long)s->bad.off, s->bad.len);
	if (config->rot != NULL)
		config->rot(config->arg, s->group, s->bad.gen, s->bad.off);
}

static void serve_ran(struct env_work *work)
{
	struct shard_serving *s = CONTAINER_OF(work, struct shard_serving,
					       work);
	struct shard_group *g = shard_find(s->set, s->group);

	s->busy = false;
	if (s->dead) {
		serve_end(s, RPC_STATUS_STALE);
		return;
	}
	if (s->off == 0 && (g == NULL || g->installing ||
			    g->installs != s->installs)) {
		serve_end(s, RPC_STATUS_BUSY);
		return;
	}
	if (s->rv != 0) {
		serve_rot(s);
		serve_end(s, s->rv == -EBADMSG ? RPC_STATUS_IO
					       : rpc_status_from_errno(s->rv));
		return;
	}
	serve_piece(s);
}

static void serve_work(struct shard_serving *s)
{
	env_timer_cancel(s->set->env, &s->timer);
	s->busy = true;
	s->work.run = serve_run;
	s->work.done = serve_ran;
	env_work(s->set->env, &s->work);
}

static void serve_synced(void *arg, int status)
{
	struct shard_serving *s = arg;

	if (status != 0)
		fatal_abort("shard=%u: rows cannot be written: %s", s->group,
			    strerror(-status));
	s->busy = false;
	if (s->dead)
		serve_end(s, RPC_STATUS_STALE);
	else
		serve_work(s);
}

/* --- requests --- */

static struct shard_serving *serve_find(struct shard_set *set, uint16_t group,
					uint64_t from, uint64_t id)
{
	struct shard_serving *s = set->serving;

	while (s != NULL && (s->group != group || s->from != from ||
			     (id != 0 && s->id != id) || s->dead))
		s = s->next;
	return s;
}

static uint32_t serve_begin(struct shard_group *g, uint64_t from,
			    shard_done_fn done, void *arg)
{
	struct shard_set *set = g->set;
	struct shard_serving *s = serve_find(set, g->id, from, 0);

	if (s != NULL)
		serve_end(s, RPC_STATUS_STALE);
	if (g->installing || set->n_serving >= SERVE_MAX)
		return RPC_STATUS_BUSY;
	s = mem_zalloc(sizeof *s);
	if (s == NULL)
		return RPC_STATUS_NOMEM;
	s->set = set;
	s->group = g->id;
	s->from = from;
	s->installs = g->installs;
	s->timer.cb = serve_idle;
	do
		env_random(set->env, &s->id, sizeof s->id);
	while (s->id == 0);
	buf_init(&s->out, 0);
	s->next = set->serving;
	set->serving = s;
	set->n_serving++;
	shard_hold(set, true);
	if (rows_sync(set->rows, serve_synced, s) != 0) {
		serve_end(s, RPC_STATUS_NOMEM);
		return RPC_STATUS_NOMEM;
	}
	s->busy = true;
	s->done = done;
	s->arg = arg;
	shard_count(&set->stats.snaps_out, 1);
	return RPC_STATUS_OK;
}

static uint32_t serve_go_on(struct shard_serving *s, uint64_t off,
			    shard_done_fn done, void *arg)
{
	if (s->busy || s->done != NULL)
		return RPC_STATUS_BUSY;
	if (off != s->off && off != s->off + s->last)
		return RPC_STATUS_STALE;
	if (off != s->off) {
		s->off = off;
		s->out.len -= s->last;
		memmove(s->out.data, s->out.data + s->last, s->out.len);
		s->last = 0;
	}
	s->done = done;
	s->arg = arg;
	/* answered from the worker's end also where there is nothing to do */
	serve_work(s);
	return RPC_STATUS_OK;
}

/* An answer that is no answer of a stream: never inside the call. */
struct serve_refusal {
	struct env_task task;
	struct serve_refusal *next;
	struct shard_set *set;
	uint32_t status;
	shard_done_fn done;
	void *arg;
};

static void serve_refuse(struct env_task *task)
{
	struct serve_refusal *r = CONTAINER_OF(task, struct serve_refusal,
					       task);
	struct serve_refusal **p = &r->set->refusals;
	struct rpc_snap_get_rsp rsp = { 0 };
	uint32_t status = r->status;
	struct buf payload;

	while (*p != r)
		p = &(*p)->next;
	*p = r->next;
	buf_init(&payload, 0);
	if (status == RPC_STATUS_OK &&
	    rpc_snap_get_rsp_encode(&rsp, &payload) != 0)
		status = RPC_STATUS_NOMEM;
	if (r->done != NULL)
		r->done(r->arg, status, &payload, NULL);
	buf_fini(&payload);
	mem_free(r);
}

int shard_snap_serve(struct shard_set *set, uint16_t group,
		     struct wire_bytes payload, shard_done_fn done, void *arg)
{
	struct shard_group *g = shard_find(set, group);
	struct serve_refusal *r = mem_zalloc(sizeof *r);
	struct shard_serving *s = NULL;
	struct rpc_snap_get m;
	uint32_t status;

	if (r == NULL)
		return -ENOMEM;
	if (rpc_snap_get_decode(&m, payload.p, payload.len) != 0) {
		status = RPC_STATUS_BADMSG;
	} else if (g == NULL) {
		status = RPC_STATUS_WRONG_STORE;
	} else if (m.stream == 0) {
		status = serve_begin(g, m.from, done, arg);
	} else {
		s = serve_find(set, group, m.from, m.stream);
		status = s == NULL || m.off == RPC_SNAP_END
				 ? RPC_STATUS_STALE
				 : serve_go_on(s, m.off, done, arg);
	}
	if (status == RPC_STATUS_OK) {
		mem_free(r);
		return 0;
	}
	if (s != NULL && m.off == RPC_SNAP_END) {
		serve_end(s, RPC_STATUS_STALE);
		status = RPC_STATUS_OK;
	}
	*r = (struct serve_refusal){
		.task = { .run = serve_refuse }, .next = set->refusals,
		.set = set, .status = status, .done = done, .arg = arg,
	};
	set->refusals = r;
	env_post(set->env, &r->task);
	return 0;
}

void shard_serve_stop(struct shard_set *set)
{
	struct buf none;

	buf_init(&none, 0);
	for (struct shard_serving *s = set->serving; s != NULL; s = s->next)
		serve_answer(s, RPC_STATUS_UNAVAILABLE, &none, NULL);
	for (struct serve_refusal *r = set->refusals; r != NULL; r = r->next) {
		r->done(r->arg, RPC_STATUS_UNAVAILABLE, &none, NULL);
		r->done = NULL;
	}
}

void shard_serve_free(struct shard_set *set)
{
	struct serve_refusal *r;

	while (set->serving != NULL)
		serve_free(set->serving);
	while ((r = set->refusals) != NULL) {
		set->refusals = r->next;
		mem_free(r);
	}
}
