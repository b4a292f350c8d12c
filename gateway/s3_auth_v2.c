/*
 * Signature Version 2 in the query, and nowhere else: it is what `aws s3
 * presign` and boto3 make by default in the region us-east-1. Header
 * signatures of Version 2 are refused.
 *
 * Version 2 signs the method, the path, all x-amz-* headers and the query
 * parameters of s3_v2_signed; any other parameter would be the word of
 * whoever holds the link, so it is refused.
 */
#include "gateway/s3_auth_impl.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "gateway/s3_sum.h"

/* Sorted: they are signed in this order. */
static const char *const s3_v2_signed[] = {
	"accelerate", "acl", "cors", "delete", "lifecycle", "location",
	"logging", "notification", "object-lock", "partNumber", "policy",
	"replication", "requestPayment", "response-cache-control",
	"response-content-disposition", "response-content-encoding",
	"response-content-language", "response-content-type",
	"response-expires", "restore", "tagging", "torrent", "uploadId",
	"uploads", "versionId", "versioning", "versions", "website",
};
#define S3_V2_SIGNED (sizeof(s3_v2_signed) / sizeof(s3_v2_signed[0]))

static bool s3_v2_is_signed(struct wire_bytes name)
{
	for (size_t i = 0; i < S3_V2_SIGNED; i++)
		if (s3_is(name, s3_v2_signed[i]))
			return true;
	return false;
}

static bool s3_v2_is_own(struct wire_bytes name)
{
	return s3_is(name, "AWSAccessKeyId") || s3_is(name, "Signature") ||
	       s3_is(name, "Expires");
}

static void s3_v2_header(struct buf *out, const struct s3_auth_request *req,
			 const char *name)
{
	const struct wire_bytes *v = s3_header(req, name);

	if (v != NULL)
		buf_add(out, v->p, v->len);
	buf_add(out, "\n", 1);
}

static int s3_v2_name_cmp(struct wire_bytes a, struct wire_bytes b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int rv = strncasecmp((const char *)a.p, (const char *)b.p, n);

	return rv != 0 ? rv : (a.len > b.len) - (a.len < b.len);
}

/* x-amz-* in order of their names: the next one behind `last`. */
static const struct http_header *
s3_v2_next(const struct s3_auth_request *req, struct wire_bytes last)
{
	const struct http_header *best = NULL;

	for (unsigned i = 0; i < req->n_headers; i++) {
		const struct http_header *h = &req->headers[i];

		if (h->name.len <= 6 ||
		    strncasecmp((const char *)h->name.p, "x-amz-", 6) != 0 ||
		    (last.len > 0 && s3_v2_name_cmp(h->name, last) <= 0))
			continue;
		if (best == NULL || s3_v2_name_cmp(h->name, best->name) < 0)
			best = h;
	}
	return best;
}

static void s3_v2_amz_headers(struct buf *out,
			      const struct s3_auth_request *req)
{
	struct wire_bytes last = { NULL, 0 };
	const struct http_header *h;

	while ((h = s3_v2_next(req, last)) != NULL) {
		char lower[256];
		size_t n = h->name.len < sizeof(lower) ? h->name.len :
							 sizeof(lower);

		for (size_t i = 0; i < n; i++) {
			uint8_t c = h->name.p[i];

			lower[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
		}
		s3_canon_header(out, req, wire_bytes(lower, n));
		last = h->name;
	}
}

static void s3_v2_resource(struct buf *out, const struct s3_auth_request *req)
{
	char sep = '?';

	if (req->vhost_bucket.len > 0) {
		buf_add(out, "/", 1);
		buf_add(out, req->vhost_bucket.p, req->vhost_bucket.len);
	}
	buf_add(out, req->path.p, req->path.len);
	for (size_t i = 0; i < S3_V2_SIGNED; i++) {
		const struct wire_bytes *v =
			s3_query_find(req->query, s3_v2_signed[i]);

		if (v == NULL)
			continue;
		buf_add(out, &sep, 1);
		buf_puts(out, s3_v2_signed[i]);
		if (v->len > 0) {
			buf_add(out, "=", 1);
			buf_add(out, v->p, v->len);
		}
		sep = '&';
	}
}

static enum s3_err s3_v2_expires(const struct s3_auth_request *req,
				 struct s3_auth_result *ret)
{
	uint64_t expires;

	if (s3_query_u64(req->query, "Expires", 0, INT64_MAX, &expires) != 0 ||
	    expires == 0) {
		ret->message = "Invalid date (should be seconds since epoch)";
		return S3_ERR_ACCESS_DENIED;
	}
	return req->now_sec > (int64_t)expires ? S3_ERR_EXPIRED : S3_OK;
}

/* One each of its own parameters, and no unsigned stranger among the rest. */
static enum s3_err s3_v2_params(const struct s3_auth_request *req,
				struct s3_auth_result *ret)
{
	unsigned own = 0;

	for (unsigned i = 0; i < req->query->n; i++) {
		struct wire_bytes name = req->query->params[i].name;

		if (s3_v2_is_own(name))
			own++;
		else if (!s3_v2_is_signed(name)) {
			ret->message = "A query parameter is not covered by "
				       "Signature Version 2. Please use "
				       "AWS4-HMAC-SHA256.";
			return S3_ERR_INVALID_REQUEST;
		}
		for (unsigned k = 0; k < i; k++)
			if (wire_bytes_eq(req->query->params[k].name, name)) {
				ret->message = "A query parameter is given "
					       "twice.";
				return S3_ERR_INVALID_REQUEST;
			}
	}
	if (own != 3) {
		ret->message = "Query-string authentication requires the "
			       "Signature, Expires and AWSAccessKeyId "
			       "parameters";
		return S3_ERR_ACCESS_DENIED;
	}
	return S3_OK;
}

enum s3_err s3_auth_v2(struct buf *scratch, const struct s3_auth_request *req,
		       s3_auth_secret_fn secret, void *arg,
		       struct s3_auth_result *ret)
{
	static const char dummy[] = "dummy-secret-of-nobody-0123456789abcdef";
	struct wire_bytes value = wire_cstr(dummy), access, sig;
	uint8_t want[EVP_MAX_MD_SIZE] = { 0 }, got[20];
	unsigned len = 0;
	bool known, equal;
	enum s3_err e = s3_v2_params(req, ret);

	if (e == S3_OK)
		e = s3_v2_expires(req, ret);
	if (e != S3_OK)
		return e;
	access = *s3_query_find(req->query, "AWSAccessKeyId");
	sig = *s3_query_find(req->query, "Signature");
	if (access.len == 0 || access.len > S3_AUTH_ACCESS_MAX)
		return S3_ERR_INVALID_ACCESS_KEY;
	memcpy(ret->access, access.p, access.len);
	ret->access[access.len] = '\0';
	buf_reset(scratch);
	buf_add(scratch, req->method.p, req->method.len);
	buf_add(scratch, "\n", 1);
	s3_v2_header(scratch, req, "content-md5");
	s3_v2_header(scratch, req, "content-type");
	access = *s3_query_find(req->query, "Expires");
	buf_add(scratch, access.p, access.len);
	buf_add(scratch, "\n", 1);
	s3_v2_amz_headers(scratch, req);
	s3_v2_resource(scratch, req);
	if (scratch->err != 0)
		return S3_ERR_OUT_OF_MEMORY;
	known = secret(arg, wire_cstr(ret->access), &value);
	if (HMAC(EVP_sha1(), value.p, (int)value.len, scratch->data,
		 scratch->len, want, &len) == NULL)
		return S3_ERR_INTERNAL;
	equal = s3_base64_decode(sig, got, sizeof(got)) == 0 &&
		s3_equal(want, got, sizeof(got));
	if (!known)
		return S3_ERR_INVALID_ACCESS_KEY;
	if (!equal)
		return S3_ERR_SIGNATURE_MISMATCH;
	ret->presigned = true;
	ret->payload = S3_PAYLOAD_UNSIGNED;
	return S3_OK;
}
