/* What a request promises about its body, see gw_body.h. */
#include "gateway/gw_body.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

static enum s3_err gw_plan_say(struct gw_req *r, enum s3_err e,
			       const char *message)
{
	r->message = message;
	return e;
}

static enum s3_err gw_plan_length(struct gw_req *r, uint64_t max,
				  struct gw_plan *p)
{
	uint64_t v;
	int rv;

	switch (r->auth.payload) {
	case S3_PAYLOAD_CHUNKS:
		p->chunked = p->chunks_signed = true;
		break;
	case S3_PAYLOAD_CHUNKS_TRAILER:
		p->chunked = p->chunks_signed = p->trailer = true;
		break;
	case S3_PAYLOAD_UNSIGNED_TRAILER:
		p->chunked = p->trailer = true;
		break;
	case S3_PAYLOAD_HASH:
		p->bits |= S3_SUM_BIT_PAYLOAD;
		break;
	case S3_PAYLOAD_UNSIGNED:
		break;
	}
	if (p->chunked) {
		rv = gw_header_u64(r, "x-amz-decoded-content-length", &v);
		if (rv == -EINVAL)
			return gw_plan_say(r, S3_ERR_INVALID_ARGUMENT,
					   "x-amz-decoded-content-length is "
					   "not a number.");
		if (rv != 0)
			return S3_ERR_MISSING_LENGTH;
		if (r->head->content_length >= 0 &&
		    (uint64_t)r->head->content_length < v)
			return S3_ERR_INCOMPLETE_BODY;
		p->len = v;
	} else if (r->head->chunked) {
		return S3_ERR_MISSING_LENGTH;
	} else {
		p->len = r->head->content_length < 0 ?
				 0 :
				 (uint64_t)r->head->content_length;
	}
	return p->len > max ? S3_ERR_ENTITY_TOO_LARGE : S3_OK;
}

static enum s3_err gw_plan_value(struct gw_req *r, enum s3_sum_alg alg,
				 struct wire_bytes v, struct gw_plan *p)
{
	if (p->alg != S3_SUM_NONE)
		return gw_plan_say(r, S3_ERR_INVALID_REQUEST,
				   "Expecting a single x-amz-checksum- header. "
				   "Multiple checksum Types are not allowed.");
	if (s3_base64_decode(v, p->sum, s3_sum_info(alg)->len) != 0)
		return gw_plan_say(r, S3_ERR_INVALID_REQUEST,
				   "Value for the x-amz-checksum- header is "
				   "invalid.");
	p->alg = alg;
	return S3_OK;
}

/* Checksum headers, the announced trailer, and what the SDK says it used. */
static enum s3_err gw_plan_sums(struct gw_req *r, struct gw_plan *p)
{
	struct wire_bytes trailer = gw_header(r, "x-amz-trailer");
	struct wire_bytes sdk = gw_header(r, "x-amz-sdk-checksum-algorithm");
	const struct http_head *h = r->head;

	p->alg = S3_SUM_NONE;
	for (unsigned i = 0; i < h->n_headers; i++) {
		enum s3_sum_alg a = s3_sum_find_header(h->headers[i].name);
		enum s3_err e;

		if (a == S3_SUM_NONE)
			continue;
		e = gw_plan_value(r, a, h->headers[i].value, p);
		if (e != S3_OK)
			return e;
	}
	if (trailer.len > 0) {
		if (!p->trailer)
			return gw_plan_say(r, S3_ERR_INVALID_REQUEST,
					   "x-amz-trailer without a payload "
					   "mode that has a trailer.");
		if (p->alg != S3_SUM_NONE)
			return gw_plan_say(r, S3_ERR_INVALID_REQUEST,
					   "A checksum in a header and in the "
					   "trailer.");
		p->alg = s3_sum_find_header(trailer);
		if (p->alg == S3_SUM_NONE)
			return gw_plan_say(r, S3_ERR_INVALID_REQUEST,
					   "The value specified in the "
					   "x-amz-trailer header is not "
					   "supported");
		p->in_trailer = true;
	}
	if (sdk.p != NULL && p->alg == S3_SUM_NONE)
		return gw_plan_say(r, S3_ERR_INVALID_REQUEST,
				   "x-amz-sdk-checksum-algorithm specified, "
				   "but no corresponding x-amz-checksum-* or "
				   "x-amz-trailer headers were found.");
	if (sdk.p != NULL && s3_sum_find(sdk) != p->alg)
		return gw_plan_say(r, S3_ERR_INVALID_REQUEST,
				   "Value for x-amz-sdk-checksum-algorithm "
				   "header is invalid.");
	if (p->alg != S3_SUM_NONE)
		p->bits |= S3_SUM_BIT(p->alg);
	return S3_OK;
}

static enum s3_err gw_plan_md5(struct gw_req *r, struct gw_plan *p)
{
	struct wire_bytes md5 = gw_header(r, "content-md5");

	if (md5.p == NULL)
		return S3_OK;
	if (s3_base64_decode(md5, p->md5, S3_MD5_LEN) != 0)
		return S3_ERR_INVALID_DIGEST;
	p->have_md5 = true;
	p->bits |= S3_SUM_BIT_MD5;
	return S3_OK;
}

enum s3_err gw_plan_read(struct gw_req *r, unsigned extra, uint64_t max,
			 struct gw_plan *ret)
{
	struct gw_plan p = { .bits = extra };
	enum s3_err e = gw_plan_length(r, max, &p);

	if (e == S3_OK)
		e = gw_plan_sums(r, &p);
	if (e == S3_OK)
		e = gw_plan_md5(r, &p);
	if (e == S3_OK)
		*ret = p;
	return e;
}

enum s3_err gw_plan_whole(struct gw_req *r, uint64_t max, struct gw_plan *ret)
{
	struct gw_plan p = { .alg = S3_SUM_NONE };
	enum s3_err e = gw_plan_length(r, max, &p);

	if (e == S3_ERR_ENTITY_TOO_LARGE)
		e = S3_ERR_MAX_MESSAGE;
	if (e == S3_OK)
		e = gw_plan_md5(r, &p);
	if (e == S3_OK)
		*ret = p;
	return e;
}
