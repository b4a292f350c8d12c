/*
 * Happy path, stream: http -> cur piece -> queue -> worker (decode, hash) ->
 * out -> slice -> ... -> end of body -> promises compared -> slice finished ->
 * done. Memory: http -> mem -> end of body -> decode, hash, compare -> done.
 *
 * Failure modes: a bad chunk, digest or length ends with its S3 error, the
 * rest of the body is not read; a failed slice with the status' error; the
 * connection's end comes as gw_body_stop(), a piece on a worker then still
 * holds the request until it returns.
 */
#include "gateway/gw_body.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

#include "gateway/s3_chunked.h"

struct gw_piece {
	struct gw_piece *next;
	size_t len; /* raw, then decoded */
	size_t off; /* given to the slice */
	uint8_t data[GW_BODY_PIECE];
};

struct gw_piece_list {
	struct gw_piece *head, **tail;
};

struct gw_body {
	struct gw_req *r;
	struct gw_plan plan;
	gw_body_fn done; /* NULL: was called, or stopped */
	struct s3_sums *sums;
	struct s3_chunked *chunked; /* NULL: plain */
	enum s3_err err;
	bool ended;    /* the body was read to its end */
	/* memory */
	uint8_t *mem;
	size_t mem_len, mem_cap, mem_max;
	/* slice */
	struct client_slice *slice;
	struct wire_u128 slice_id;
	bool finishing;
	struct gw_piece *cur;        /* being filled */
	struct gw_piece_list queue;  /* to be hashed */
	struct gw_piece *busy;       /* on a worker */
	struct gw_piece_list out;    /* to be given to the slice */
	struct gw_piece *spare;      /* one that is empty */
	unsigned n_pieces;           /* all but the spare */
	bool paused;
	struct env_work work;
	enum s3_err work_err;
};

static void gw_list_add(struct gw_piece_list *l, struct gw_piece *p)
{
	p->next = NULL;
	*l->tail = p;
	l->tail = &p->next;
}

static struct gw_piece *gw_list_take(struct gw_piece_list *l)
{
	struct gw_piece *p = l->head;

	if (p != NULL) {
		l->head = p->next;
		if (l->head == NULL)
			l->tail = &l->head;
	}
	return p;
}

static void gw_list_free(struct gw_piece_list *l)
{
	for (struct gw_piece *p; (p = gw_list_take(l)) != NULL;)
		mem_free(p);
}

static void gw_body_step(struct gw_body *b);

static void gw_body_finish(struct gw_body *b, enum s3_err e)
{
	gw_body_fn done = b->done;

	if (done == NULL)
		return;
	b->done = NULL;
	if (e != S3_OK) {
		client_slice_free(b->slice);
		b->slice = NULL;
		if (!b->ended)
			http_close_after(b->r->http);
	}
	done(b->r, e);
}

static void gw_slice_drain_cb(void *arg)
{
	gw_body_step(arg);
}

static void gw_slice_done_cb(void *arg, uint32_t status)
{
	struct gw_body *b = arg;

	gw_body_finish(b, status == RPC_STATUS_OK ?
				  S3_OK :
				  s3_error_from_status(status, S3_CTX_WRITE));
}

static int gw_body_chunked(struct gw_body *b)
{
	struct s3_chunked_config c = {
		.is_signed = b->plan.chunks_signed,
		.trailer = b->plan.trailer,
		.expect = b->plan.in_trailer ? b->plan.alg : S3_SUM_NONE,
		.decoded_len = b->plan.len,
	};

	if (c.is_signed)
		c.seed = b->r->auth.seed;
	return s3_chunked_new(&c, &b->chunked);
}

/* Raw bytes of a body held in memory: chunk headers may double a small one. */
static int gw_body_memory(struct gw_body *b)
{
	int64_t raw = b->r->head->content_length;

	b->mem_max = (size_t)b->plan.len;
	if (b->plan.chunked)
		b->mem_max = (size_t)b->plan.len * 2 + (64u << 10);
	b->mem_cap = (size_t)b->plan.len;
	if (raw > 0 && (uint64_t)raw <= b->mem_max)
		b->mem_cap = (size_t)raw;
	b->mem = mem_alloc(b->mem_cap + 1);
	return b->mem == NULL ? -ENOMEM : 0;
}

struct gw_body *gw_body_new(struct gw_req *r, const struct gw_plan *plan,
			    bool to_slice, uint16_t home, gw_body_fn done)
{
	static const struct client_slice_cbs cbs = {
		.on_drain = gw_slice_drain_cb,
		.done = gw_slice_done_cb,
	};
	struct gw_body *b = mem_zalloc(sizeof(*b));

	if (b == NULL)
		return NULL;
	b->r = r;
	b->plan = *plan;
	b->done = done;
	b->queue.tail = &b->queue.head;
	b->out.tail = &b->out.head;
	if (plan->bits != 0) {
		b->sums = gw_sums_get(r->l, plan->bits);
		if (b->sums == NULL)
			goto fail;
	}
	if (plan->chunked && gw_body_chunked(b) != 0)
		goto fail;
	if (to_slice) {
		b->slice = client_slice_new(r->l->client, home, &cbs, b);
		if (b->slice == NULL)
			goto fail;
		b->slice_id = client_slice_id(b->slice);
	} else if (gw_body_memory(b) != 0) {
		goto fail;
	}
	return b;
fail:
	b->done = NULL;
	gw_body_free(b);
	return NULL;
}

void gw_body_start(struct gw_body *b)
{
	const struct http_head *h = b->r->head;

	/* Who waits for 100 Continue gets one, also before an empty body: a
	 * final answer instead confuses botocore's next use of the connection.
	 */
	b->r->continued = true;
	if (h->content_length > 0 || h->chunked || h->expect_continue)
		http_read_body(b->r->http);
	else
		gw_body_end(b);
}

/* Decodes and hashes in place; loop or worker. */
static enum s3_err gw_body_digest(struct gw_body *b, uint8_t *data, size_t *len)
{
	enum s3_err e = S3_OK;

	if (b->chunked != NULL)
		e = s3_chunked_feed(b->chunked, data, *len, len);
	if (e == S3_OK && b->sums != NULL)
		s3_sums_update(b->sums, data, *len);
	return e;
}

/* All bytes are in: does everything that was promised hold? */
static enum s3_err gw_body_verify(struct gw_body *b, uint64_t len)
{
	const struct gw_plan *p = &b->plan;
	uint8_t want[S3_SUM_LEN_MAX];
	const uint8_t *sum = p->sum;

	if (b->chunked != NULL) {
		enum s3_err e = s3_chunked_end(b->chunked);

		if (e != S3_OK)
			return e;
	}
	if (len != p->len)
		return S3_ERR_INCOMPLETE_BODY;
	if (b->sums == NULL)
		return S3_OK;
	s3_sums_final(b->sums);
	if (b->r->auth.payload == S3_PAYLOAD_HASH &&
	    !s3_equal(s3_sums_payload(b->sums), b->r->auth.sha256, 32))
		return S3_ERR_SHA256_MISMATCH;
	if (p->have_md5 && !s3_equal(s3_sums_md5(b->sums), p->md5, S3_MD5_LEN))
		return S3_ERR_BAD_DIGEST;
	if (p->alg == S3_SUM_NONE)
		return S3_OK;
	if (p->in_trailer) {
		if (s3_base64_decode(s3_chunked_sum(b->chunked), want,
				     s3_sum_info(p->alg)->len) != 0)
			return S3_ERR_MALFORMED_TRAILER;
		sum = want;
	}
	if (!s3_equal(s3_sums_value(b->sums, p->alg), sum,
		      s3_sum_info(p->alg)->len))
		return S3_ERR_BAD_DIGEST;
	return S3_OK;
}

/* --- into memory --- */

static void gw_body_mem_data(struct gw_body *b, struct evbuffer *buf)
{
	for (;;) {
		const uint8_t *p;
		size_t n = http_body_peek(buf, &p);

		if (n == 0)
			return;
		if (n > b->mem_max - b->mem_len) {
			gw_body_finish(b, S3_ERR_INCOMPLETE_BODY);
			return;
		}
		if (n > b->mem_cap - b->mem_len) {
			size_t cap = (b->mem_len + n) * 2;
			uint8_t *mem;

			if (cap > b->mem_max)
				cap = b->mem_max;
			mem = mem_realloc(b->mem, cap + 1);
			if (mem == NULL) {
				gw_body_finish(b, S3_ERR_OUT_OF_MEMORY);
				return;
			}
			b->mem = mem;
			b->mem_cap = cap;
		}
		memcpy(b->mem + b->mem_len, p, n);
		b->mem_len += n;
		http_body_drain(buf, n);
	}
}

static void gw_body_mem_end(struct gw_body *b)
{
	enum s3_err e = gw_body_digest(b, b->mem, &b->mem_len);

	if (e == S3_OK)
		e = gw_body_verify(b, b->mem_len);
	gw_body_finish(b, e);
}

/* --- into a slice --- */

static struct gw_piece *gw_piece_get(struct gw_body *b)
{
	struct gw_piece *p = b->spare;

	if (p == NULL)
		p = mem_alloc(sizeof(*p));
	b->spare = NULL;
	if (p != NULL) {
		p->len = p->off = 0;
		b->n_pieces++;
	}
	return p;
}

static void gw_piece_put(struct gw_body *b, struct gw_piece *p)
{
	b->n_pieces--;
	if (b->spare == NULL)
		b->spare = p;
	else
		mem_free(p);
}

static void gw_work_run(struct env_work *work)
{
	struct gw_body *b = CONTAINER_OF(work, struct gw_body, work);

	b->work_err = gw_body_digest(b, b->busy->data, &b->busy->len);
}

static void gw_work_done(struct env_work *work)
{
	struct gw_body *b = CONTAINER_OF(work, struct gw_body, work);
	struct gw_req *r = b->r;

	gw_list_add(&b->out, b->busy);
	b->busy = NULL;
	if (b->err == S3_OK)
		b->err = b->work_err;
	gw_body_step(b);
	gw_req_release(r); /* b may be gone now */
}

/* The next piece to a worker; a short one is done here. */
static bool gw_body_hash_next(struct gw_body *b)
{
	struct gw_piece *p;

	if (b->busy != NULL || b->queue.head == NULL || b->err != S3_OK)
		return false;
	p = gw_list_take(&b->queue);
	if (p->len < GW_BODY_PIECE) {
		b->err = gw_body_digest(b, p->data, &p->len);
		gw_list_add(&b->out, p);
		return true;
	}
	b->busy = p;
	b->work.run = gw_work_run;
	b->work.done = gw_work_done;
	gw_req_hold(b->r);
	env_work(b->r->l->env, &b->work);
	return true;
}

static bool gw_body_store_next(struct gw_body *b)
{
	struct gw_piece *p = b->out.head;

	if (p == NULL || b->err != S3_OK)
		return false;
	p->off += client_slice_add(b->slice, p->data + p->off,
				   p->len - p->off);
	if (client_slice_error(b->slice) != RPC_STATUS_OK) {
		b->err = s3_error_from_status(client_slice_error(b->slice),
					      S3_CTX_WRITE);
		return false;
	}
	if (p->off < p->len)
		return false; /* full: on_drain goes on */
	(void)gw_list_take(&b->out);
	gw_piece_put(b, p);
	return true;
}

static void gw_body_step(struct gw_body *b)
{
	if (b->done == NULL || b->finishing)
		return;
	while (gw_body_hash_next(b) || gw_body_store_next(b))
		;
	if (b->err != S3_OK) {
		gw_body_finish(b, b->err);
		return;
	}
	if (b->paused && b->n_pieces < GW_BODY_PIECES) {
		b->paused = false;
		http_resume(b->r->http);
	}
	if (!b->ended || b->busy != NULL || b->queue.head != NULL ||
	    b->out.head != NULL)
		return;
	b->err = gw_body_verify(b, client_slice_len(b->slice));
	if (b->err != S3_OK) {
		gw_body_finish(b, b->err);
		return;
	}
	b->finishing = true;
	client_slice_finish(b->slice);
}

static void gw_body_stream_data(struct gw_body *b, struct evbuffer *buf)
{
	const uint8_t *p;
	size_t n;

	while ((n = http_body_peek(buf, &p)) > 0) {
		size_t room;

		if (b->cur == NULL) {
			if (b->n_pieces == GW_BODY_PIECES) {
				b->paused = true;
				http_pause(b->r->http);
				break;
			}
			b->cur = gw_piece_get(b);
			if (b->cur == NULL) {
				gw_body_finish(b, S3_ERR_OUT_OF_MEMORY);
				return;
			}
		}
		room = GW_BODY_PIECE - b->cur->len;
		n = n < room ? n : room;
		memcpy(b->cur->data + b->cur->len, p, n);
		b->cur->len += n;
		http_body_drain(buf, n);
		if (b->cur->len == GW_BODY_PIECE) {
			gw_list_add(&b->queue, b->cur);
			b->cur = NULL;
		}
	}
	gw_body_step(b);
}

/* --- both --- */

void gw_body_data(struct gw_body *b, struct evbuffer *buf)
{
	if (b->done == NULL)
		return;
	if (b->slice == NULL)
		gw_body_mem_data(b, buf);
	else
		gw_body_stream_data(b, buf);
}

void gw_body_end(struct gw_body *b)
{
	if (b->done == NULL || b->ended)
		return;
	b->ended = true;
	if (b->slice == NULL) {
		gw_body_mem_end(b);
		return;
	}
	if (b->cur != NULL)
		gw_list_add(&b->queue, b->cur);
	b->cur = NULL;
	gw_body_step(b);
}

void gw_body_stop(struct gw_body *b)
{
	if (b == NULL)
		return;
	b->done = NULL;
	client_slice_free(b->slice);
	b->slice = NULL;
}

void gw_body_free(struct gw_body *b)
{
	if (b == NULL)
		return;
	assert(b->busy == NULL);
	client_slice_free(b->slice);
	gw_list_free(&b->queue);
	gw_list_free(&b->out);
	mem_free(b->cur);
	mem_free(b->spare);
	mem_free(b->mem);
	gw_sums_put(b->r->l, b->plan.bits, b->sums);
	s3_chunked_free(b->chunked);
	mem_free(b);
}

struct wire_bytes gw_body_bytes(const struct gw_body *b)
{
	return wire_bytes(b->mem, b->mem_len);
}

const struct s3_sums *gw_body_sums(const struct gw_body *b)
{
	return b->sums;
}

struct wire_u128 gw_body_slice(const struct gw_body *b)
{
	return b->slice_id;
}

void gw_body_add_sums(const struct gw_body *b, struct wire_vec *sums)
{
	for (enum s3_sum_alg a = 0; a < S3_SUM_COUNT; a++) {
		char text[S3_SUM_TEXT_MAX];
		size_t n;

		if ((b->plan.bits & S3_SUM_BIT(a)) == 0)
			continue;
		n = s3_base64(s3_sums_value(b->sums, a), s3_sum_info(a)->len,
			      text);
		wire_vec_add_kv(sums, wire_cstr(s3_sum_info(a)->name),
				wire_bytes(text, n));
	}
}

void gw_body_etag(const struct gw_body *b, char out[33])
{
	s3_hex(s3_sums_md5(b->sums), S3_MD5_LEN, out);
}
