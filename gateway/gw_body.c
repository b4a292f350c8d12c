/*
 * What all bodies have in common, and those that are held in memory: http ->
 * mem -> end of body -> decoded, hashed, compared -> done. Short ones are
 * hashed at once, longer ones by the crews of gw_hash. Slices have a file of
 * their own.
 *
 * Failure modes: a bad chunk, digest or length ends with its S3 error, the
 * rest of the body is not read; the connection's end comes as gw_body_stop(),
 * a job under way then still holds the request until it returns.
 */
#include "gateway/gw_body_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

/* Below this a digest costs less than a trip to a worker. */
#define GW_BODY_HASH_HERE (16u << 10)

void gw_body_finish(struct gw_body *b, enum s3_err e)
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
	struct gw_body *b = mem_zalloc(sizeof(*b));
	int rv = 0;

	if (b == NULL)
		return NULL;
	b->r = r;
	b->plan = *plan;
	b->done = done;
	if (plan->bits != 0) {
		b->sums = gw_sums_get(r->l, plan->bits);
		if (b->sums == NULL)
			rv = -ENOMEM;
	}
	if (rv == 0 && plan->chunked)
		rv = gw_body_chunked(b);
	if (rv == 0)
		rv = to_slice ? gw_body_slice_init(b, home) : gw_body_memory(b);
	if (rv != 0) {
		b->done = NULL;
		gw_body_free(b);
		return NULL;
	}
	return b;
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

/* --- digests --- */

enum s3_err gw_body_digest(struct gw_body *b, uint8_t *data, size_t *len)
{
	enum s3_err e = S3_OK;

	if (b->chunked != NULL)
		e = s3_chunked_feed(b->chunked, data, *len, len);
	if (e == S3_OK && b->sums != NULL)
		s3_sums_update(b->sums, data, *len);
	return e;
}

static void gw_body_prepare(struct gw_hash_job *job)
{
	struct gw_body *b = CONTAINER_OF(job, struct gw_body, job);

	b->job_err = s3_chunked_feed(b->chunked, job->data, job->len,
				     &job->len);
	if (b->job_err != S3_OK)
		job->len = 0;
}

void gw_body_job(struct gw_body *b, uint8_t *data, size_t len,
		 void (*done)(struct gw_hash_job *job))
{
	assert(!b->hashing);
	b->hashing = true;
	b->job_err = S3_OK;
	b->job = (struct gw_hash_job){
		.env = b->r->l->env,
		.sums = b->sums,
		.data = data,
		.len = len,
		.prepare = b->chunked != NULL ? gw_body_prepare : NULL,
		.done = done,
	};
	gw_req_hold(b->r);
	gw_hash_add(b->r->l->g->hash, &b->job);
}

void gw_body_job_end(struct gw_body *b)
{
	gw_req_release(b->r);
}

enum s3_err gw_body_verify(struct gw_body *b, uint64_t len)
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

static void gw_body_mem_hashed(struct gw_body *b, enum s3_err e)
{
	if (e == S3_OK)
		e = gw_body_verify(b, b->mem_len);
	gw_body_finish(b, e);
}

static void gw_body_mem_done(struct gw_hash_job *job)
{
	struct gw_body *b = CONTAINER_OF(job, struct gw_body, job);

	b->hashing = false;
	b->mem_len = job->len;
	if (b->done != NULL)
		gw_body_mem_hashed(b, b->job_err);
	gw_body_job_end(b);
}

static void gw_body_mem_end(struct gw_body *b)
{
	if (b->mem_len >= GW_BODY_HASH_HERE)
		gw_body_job(b, b->mem, b->mem_len, gw_body_mem_done);
	else
		gw_body_mem_hashed(b, gw_body_digest(b, b->mem, &b->mem_len));
}

/* --- both --- */

void gw_body_data(struct gw_body *b, struct evbuffer *buf)
{
	if (b->done == NULL)
		return;
	if (b->slice == NULL)
		gw_body_mem_data(b, buf);
	else
		gw_body_slice_data(b, buf);
}

uint8_t *gw_body_room(struct gw_body *b, size_t *ret_len)
{
	if (b->done == NULL || b->chunked != NULL)
		return NULL;
	if (b->slice != NULL)
		return gw_body_slice_room(b, ret_len);
	*ret_len = b->mem_cap - b->mem_len;
	return *ret_len > 0 ? b->mem + b->mem_len : NULL;
}

void gw_body_direct(struct gw_body *b, size_t n)
{
	if (b->slice != NULL)
		gw_body_slice_direct(b, n);
	else
		b->mem_len += n;
}

void gw_body_end(struct gw_body *b)
{
	if (b->done == NULL || b->ended)
		return;
	b->ended = true;
	if (b->slice == NULL)
		gw_body_mem_end(b);
	else
		gw_body_slice_end(b);
}

void gw_body_stop(struct gw_body *b)
{
	if (b == NULL)
		return;
	b->done = NULL;
	client_slice_free(b->slice);
	b->slice = NULL;
}

void gw_body_named(struct gw_body *b)
{
	if (b->slice != NULL)
		client_slice_named(b->slice);
}

void gw_body_free(struct gw_body *b)
{
	if (b == NULL)
		return;
	assert(!b->hashing);
	gw_body_slice_free(b);
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
