/*
 * Copy by reading and writing: client_read -> hash (a worker for large
 * pieces, in order) and slice at once -> end -> slice finished -> publish.
 * Small objects end in memory and travel in the record.
 *
 * Failure modes: the source's version is gone: everything again; a slice or
 * read that fails ends the request with its status.
 */
#include "gateway/gw_copy.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

#include "gateway/gw_hash.h"

#define GW_STREAM_HASH (256u << 10) /* hashed on a worker from here on */
#define GW_STREAM_WAIT 4            /* pieces that wait for their hash */

struct gw_chunk {
	struct gw_chunk *next;
	struct body *body; /* ref'd */
	uint32_t from, len;
	uint32_t stored;   /* bytes given to the slice */
};

struct gw_stream {
	struct gw_req *r;       /* borrowed; held while a worker runs */
	bool stopped, ended, finishing, paused;
	uint32_t status;        /* first failure */
	unsigned bits;
	struct s3_sums *sums;
	struct client_read *read;
	struct client_slice *slice; /* NULL: into op->data */
	struct gw_chunk *head, **tail; /* to be hashed and stored, in order */
	unsigned waiting;
	struct gw_chunk *hash;  /* next to be hashed; NULL: all are */
	bool busy;              /* `hash` is with the job */
	struct gw_hash_job job;
};

static void gw_stream_step(struct gw_stream *s);

void gw_stream_named(struct gw_stream *s)
{
	if (s != NULL && s->slice != NULL)
		client_slice_named(s->slice);
}

void gw_stream_stop(struct gw_stream *s)
{
	if (s == NULL)
		return;
	s->stopped = true;
	client_read_free(s->read);
	client_slice_free(s->slice);
	s->read = NULL;
	s->slice = NULL;
}

void gw_stream_free(struct gw_stream *s)
{
	if (s == NULL)
		return;
	assert(!s->busy);
	gw_stream_stop(s);
	while (s->head != NULL) {
		struct gw_chunk *c = s->head;

		s->head = c->next;
		body_unref(c->body);
		mem_free(c);
	}
	gw_sums_put(s->r->l, s->bits, s->sums);
	mem_free(s);
}

static void gw_stream_hashed(struct gw_hash_job *job)
{
	struct gw_stream *s = CONTAINER_OF(job, struct gw_stream, job);
	struct gw_req *r = s->r;

	s->busy = false;
	s->hash = s->hash->next;
	gw_stream_step(s);
	gw_req_release(r); /* s may be gone now */
}

static bool gw_stream_hash_next(struct gw_stream *s)
{
	struct gw_chunk *c = s->hash;

	if (s->busy || c == NULL)
		return false;
	if (c->len < GW_STREAM_HASH) {
		s3_sums_update(s->sums, c->body->data + c->from, c->len);
		s->hash = c->next;
		return true;
	}
	s->busy = true;
	s->job = (struct gw_hash_job){
		.env = s->r->l->env,
		.sums = s->sums,
		.data = c->body->data + c->from,
		.len = c->len,
		.done = gw_stream_hashed,
	};
	gw_req_hold(s->r);
	gw_hash_add(s->r->l->g->hash, &s->job);
	return true;
}

static bool gw_stream_store_next(struct gw_stream *s)
{
	struct gw_copy_op *op = s->r->op;
	struct gw_chunk *c = s->head;
	const uint8_t *p;

	if (c == NULL)
		return false;
	p = c->body->data + c->from;
	if (s->slice == NULL && c->stored < c->len) {
		buf_add(&op->data, p, c->len);
		c->stored = c->len;
		if (op->data.err != 0)
			s->status = RPC_STATUS_NOMEM;
	} else if (c->stored < c->len) {
		c->stored += (uint32_t)client_slice_add(
			s->slice, p + c->stored, c->len - c->stored);
		if (client_slice_error(s->slice) != RPC_STATUS_OK)
			s->status = client_slice_error(s->slice);
	}
	if (c->stored < c->len || s->hash == c || s->status != RPC_STATUS_OK)
		return false;
	s->head = c->next;
	if (s->head == NULL)
		s->tail = &s->head;
	s->waiting--;
	body_unref(c->body);
	mem_free(c);
	return true;
}

static void gw_stream_fail(struct gw_stream *s)
{
	struct gw_req *r = s->r;
	uint32_t status = s->status;

	gw_stream_stop(s);
	if (status != RPC_STATUS_VERSION_GONE) {
		gw_fail_status(r, status, S3_CTX_WRITE);
	} else if (s->busy) {
		/* the buffers are a worker's: nothing can begin anew */
		gw_fail(r, S3_ERR_SLOW_DOWN);
	} else {
		((struct gw_copy_op *)r->op)->stream = NULL;
		gw_stream_free(s);
		gw_copy_again(r);
	}
}

/* Everything is hashed and durable: what the copy is called and where. */
static void gw_stream_publish(struct gw_stream *s)
{
	struct gw_req *r = s->r;
	struct gw_copy_op *op = r->op;
	struct wire_extent e = { .len = op->len };
	char text[S3_SUM_TEXT_MAX];
	struct wire_vec sums;

	wire_vec_init(&sums);
	s3_sums_final(s->sums);
	s3_hex(s3_sums_md5(s->sums), S3_MD5_LEN, text);
	buf_reset(&op->etag);
	buf_add(&op->etag, text, 32);
	if (op->alg != S3_SUM_NONE) {
		const struct s3_sum_info *info = s3_sum_info(op->alg);
		size_t n = s3_base64(s3_sums_value(s->sums, op->alg),
				     info->len, text);
		struct wire_bytes v;

		wire_vec_add_kv(&sums, wire_cstr(info->name),
				wire_bytes(text, n));
		v = wire_vec_bytes(&sums);
		buf_reset(&op->sums);
		buf_add(&op->sums, v.p, v.len);
		buf_reset(&op->sum_type);
		buf_puts(&op->sum_type, "FULL_OBJECT");
	}
	e.kind = WIRE_EXT_INLINE;
	if (s->slice != NULL) {
		e.kind = WIRE_EXT_CHUNKS;
		e.slice = client_slice_id(s->slice);
	}
	if (e.len > 0)
		wire_vec_add_extent(&op->extents, &e);
	if (sums.buf.err != 0 || op->etag.err != 0 || op->sums.err != 0)
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
	else
		gw_copy_publish(r);
	wire_vec_fini(&sums);
}

static void gw_stream_step(struct gw_stream *s)
{
	struct gw_copy_op *op = s->r->op;

	if (s->stopped || s->finishing)
		return;
	while (s->status == RPC_STATUS_OK &&
	       (gw_stream_hash_next(s) || gw_stream_store_next(s)))
		;
	if (s->status != RPC_STATUS_OK) {
		gw_stream_fail(s);
		return;
	}
	if (s->paused && s->waiting < GW_STREAM_WAIT) {
		s->paused = false;
		client_read_resume(s->read);
	}
	if (!s->ended || s->head != NULL)
		return;
	s->finishing = true;
	if (s->slice != NULL)
		client_slice_finish(s->slice);
	else if (op->data.len == op->len)
		gw_stream_publish(s);
	else
		gw_fail(s->r, S3_ERR_INTERNAL);
}

static void gw_stream_drain_cb(void *arg)
{
	gw_stream_step(arg);
}

static void gw_stream_slice_cb(void *arg, uint32_t status)
{
	struct gw_stream *s = arg;

	s->status = status;
	if (status != RPC_STATUS_OK)
		gw_stream_fail(s);
	else
		gw_stream_publish(s);
}

static void gw_stream_data_cb(void *arg, struct body *body, uint32_t from,
			      uint32_t len)
{
	struct gw_stream *s = arg;
	struct gw_chunk *c = mem_zalloc(sizeof(*c));

	if (c == NULL) {
		s->status = RPC_STATUS_NOMEM;
		gw_stream_step(s);
		return;
	}
	c->body = body_ref(body);
	c->from = from;
	c->len = len;
	*s->tail = c;
	s->tail = &c->next;
	if (s->hash == NULL)
		s->hash = c;
	if (++s->waiting >= GW_STREAM_WAIT && !s->paused) {
		s->paused = true;
		client_read_pause(s->read);
	}
	gw_stream_step(s);
}

static void gw_stream_read_cb(void *arg, uint32_t status)
{
	struct gw_stream *s = arg;

	s->ended = true;
	if (s->status == RPC_STATUS_OK)
		s->status = status;
	gw_stream_step(s);
}

static bool gw_stream_start(struct gw_req *r, struct gw_stream *s)
{
	static const struct client_slice_cbs slice_cbs = {
		.on_drain = gw_stream_drain_cb,
		.done = gw_stream_slice_cb,
	};
	static const struct client_read_cbs read_cbs = {
		.data = gw_stream_data_cb,
		.done = gw_stream_read_cb,
	};
	struct gw_copy_op *op = r->op;
	struct client_read_spec spec = {
		.ino = op->ino,
		.off = op->off,
		.len = op->len,
		.version = op->version,
	};

	s->r = r;
	s->tail = &s->head;
	s->bits = S3_SUM_BIT_MD5;
	if (op->alg != S3_SUM_NONE)
		s->bits |= S3_SUM_BIT(op->alg);
	s->sums = gw_sums_get(r->l, s->bits);
	if (s->sums == NULL)
		return false;
	if (op->len > r->cluster->top.inline_max) {
		s->slice = client_slice_new(r->l->client, op->home, &slice_cbs,
					    s);
		if (s->slice == NULL)
			return false;
		client_slice_expect(s->slice, op->len);
	}
	if (op->len == 0) {
		s->ended = true;
		return true;
	}
	s->read = client_read_start(r->l->client, &spec, &read_cbs, s);
	return s->read != NULL;
}

void gw_copy_stream(struct gw_req *r)
{
	struct gw_copy_op *op = r->op;

	wire_vec_fini(&op->extents);
	wire_vec_init(&op->extents);
	buf_reset(&op->data);
	op->stream = mem_zalloc(sizeof(*op->stream));
	if (op->stream == NULL || !gw_stream_start(r, op->stream)) {
		if (op->stream != NULL && op->stream->r == NULL)
			op->stream->r = r;
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
		return;
	}
	gw_stream_step(op->stream);
}
