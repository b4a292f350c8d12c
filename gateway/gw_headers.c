/*
 * Request headers: looking them up, refusing those that would change what a
 * request means and that we do not have, and collecting what is stored with
 * an object.
 */
#include "gateway/gw.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "common/base/be.h"
#include "gateway/s3_time.h"

struct wire_bytes gw_header(const struct gw_req *r, const char *name)
{
	const struct wire_bytes *v = http_find(r->http, name);

	return v == NULL ? wire_bytes(NULL, 0) : *v;
}

bool gw_text_is(struct wire_bytes t, const char *s)
{
	return t.len == strlen(s) && memcmp(t.p, s, t.len) == 0;
}

bool gw_text_like(struct wire_bytes t, const char *s)
{
	return t.len == strlen(s) &&
	       strncasecmp((const char *)t.p, s, t.len) == 0;
}

bool gw_begins(struct wire_bytes t, const char *s)
{
	size_t n = strlen(s);

	return t.len >= n && strncasecmp((const char *)t.p, s, n) == 0;
}

int gw_header_u64(const struct gw_req *r, const char *name, uint64_t *ret)
{
	struct wire_bytes t = gw_header(r, name);
	uint64_t v = 0;

	if (t.p == NULL)
		return -ENOENT;
	if (t.len == 0)
		return -EINVAL;
	for (size_t i = 0; i < t.len; i++)
		if (t.p[i] < '0' || t.p[i] > '9' ||
		    __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(t.p[i] - '0'), &v))
			return -EINVAL;
	*ret = v;
	return 0;
}

int gw_upload_id(const struct gw_req *r, struct wire_u128 *ret)
{
	const struct wire_bytes *t = s3_query_find(&r->query, "uploadId");
	uint8_t raw[16];

	if (t == NULL || s3_hex_decode(*t, raw, sizeof(raw)) != 0)
		return -EINVAL;
	ret->hi = be64dec(raw);
	ret->lo = be64dec(raw + 8);
	return 0;
}

void gw_upload_text(struct wire_u128 id, char out[33])
{
	uint8_t raw[16];

	be64enc(raw, id.hi);
	be64enc(raw + 8, id.lo);
	s3_hex(raw, sizeof(raw), out);
}

/* What a header with a meaning may say; values NULL: nothing at all. */
struct gw_header_rule {
	const char *name;
	bool prefix;
	const char *values[3]; /* allowed ones */
};
static const struct gw_header_rule gw_header_rules[] = {
	{ "x-amz-server-side-encryption", true, { NULL } },
	{ "x-amz-copy-source-server-side-encryption", true, { NULL } },
	{ "x-amz-object-lock-", true, { NULL } },
	{ "x-amz-grant-", true, { NULL } },
	{ "x-amz-tagging", false, { "", NULL } },
	{ "x-amz-website-redirect-location", false, { NULL } },
	{ "x-amz-acl", false, { "private", "bucket-owner-full-control" } },
	{ "x-amz-bucket-object-lock-enabled", false, { "false", "False" } },
	{ "x-amz-object-ownership", false, { "BucketOwnerEnforced", NULL } },
	{ "x-amz-storage-class", false, { "STANDARD", NULL } },
	{ "x-amz-write-offset-bytes", false, { NULL } },
	{ "x-amz-rename-source", true, { NULL } },
	{ "x-amz-if-match-", true, { NULL } },
	{ "x-amz-mfa", false, { NULL } },
	{ "x-amz-source-expected-bucket-owner", false, { NULL } },
};

static bool gw_rule_allows(const struct gw_header_rule *rule,
			   struct wire_bytes value)
{
	for (unsigned i = 0; i < 3 && rule->values[i] != NULL; i++)
		if (gw_text_is(value, rule->values[i]))
			return true;
	return false;
}

/* Checksum headers: those we know, with algorithms we know. */
static enum s3_err gw_header_sum(struct gw_req *r, const struct http_header *h)
{
	bool ok = s3_sum_find_header(h->name) != S3_SUM_NONE ||
		  gw_text_like(h->name, "x-amz-checksum-mode") ||
		  gw_text_like(h->name, "x-amz-checksum-type");

	if (gw_text_like(h->name, "x-amz-checksum-algorithm") ||
	    gw_text_like(h->name, "x-amz-sdk-checksum-algorithm"))
		ok = s3_sum_find(h->value) != S3_SUM_NONE;
	if (ok)
		return S3_OK;
	r->message = "The checksum algorithm is not supported.";
	return S3_ERR_INVALID_REQUEST;
}

static enum s3_err gw_header_check(struct gw_req *r,
				   const struct http_header *h)
{
	if (gw_begins(h->name, "x-amz-checksum-") ||
	    gw_text_like(h->name, "x-amz-sdk-checksum-algorithm"))
		return gw_header_sum(r, h);
	if (gw_begins(h->name, "x-amz-copy-source-") &&
	    r->route->with == NULL) {
		r->message = "This header needs x-amz-copy-source.";
		return S3_ERR_INVALID_REQUEST;
	}
	for (size_t i = 0;
	     i < sizeof(gw_header_rules) / sizeof(gw_header_rules[0]); i++) {
		const struct gw_header_rule *rule = &gw_header_rules[i];

		if (!(rule->prefix ? gw_begins(h->name, rule->name) :
				     gw_text_like(h->name, rule->name)))
			continue;
		if (gw_text_like(h->name, "x-amz-source-expected-bucket-owner"))
			return wire_bytes_eq(h->value, r->who->canonical) ||
					       wire_bytes_eq(h->value,
							     r->who->name) ?
				       S3_OK :
				       S3_ERR_ACCESS_DENIED;
		if (!gw_rule_allows(rule, h->value))
			return S3_ERR_NOT_IMPLEMENTED;
	}
	return S3_OK;
}

/*
 * A condition that the operation does not look at, or half a PUT, would do
 * what the client asked us not to do.
 */
static enum s3_err gw_conditions_check(struct gw_req *r)
{
	static const struct {
		const char *name;
		unsigned flag;
	} rows[] = {
		{ "if-match", GW_F_IF_ETAG },
		{ "if-none-match", GW_F_IF_ETAG },
		{ "if-modified-since", GW_F_IF_TIME },
		{ "if-unmodified-since", GW_F_IF_TIME },
		{ "content-range", 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (gw_header(r, rows[i].name).p == NULL ||
		    (r->route->flags & rows[i].flag) != 0)
			continue;
		r->argument = wire_cstr(rows[i].name);
		return S3_ERR_NOT_IMPLEMENTED;
	}
	return S3_OK;
}

enum s3_err gw_headers_check(struct gw_req *r)
{
	const struct http_head *head = r->head;
	const struct wire_bytes *version;
	enum s3_err e = gw_conditions_check(r);

	if (e != S3_OK)
		return e;
	for (unsigned i = 0; i < head->n_headers; i++) {
		if (!gw_begins(head->headers[i].name, "x-amz-"))
			continue;
		e = gw_header_check(r, &head->headers[i]);
		if (e != S3_OK) {
			r->argument = head->headers[i].name;
			return e;
		}
	}
	version = s3_query_find(&r->query, "versionId");
	if (version != NULL && !gw_text_is(*version, "null"))
		return S3_ERR_NO_VERSION;
	return S3_OK;
}

enum s3_err gw_cond_write(struct gw_req *r, struct gw_cond *c)
{
	struct wire_bytes match = gw_header(r, "if-match");
	struct wire_bytes none = gw_header(r, "if-none-match");

	c->if_match = c->if_none_match = wire_bytes(NULL, 0);
	if (none.p != NULL) {
		if (!gw_text_is(none, "*") && !gw_text_is(none, "\"*\""))
			return S3_ERR_NOT_IMPLEMENTED;
		c->if_none_match = wire_cstr("*");
		r->condition = "If-None-Match";
	}
	if (match.p != NULL) {
		if (none.p != NULL)
			return S3_ERR_NOT_IMPLEMENTED;
		if (s3_etag_bare(match, c->bare, sizeof(c->bare),
				 &c->if_match) != 0)
			return S3_ERR_INVALID_ARGUMENT;
		r->condition = "If-Match";
	}
	return S3_OK;
}

/* --- what is stored with an object --- */

void gw_meta_init(struct gw_meta *m)
{
	wire_vec_init(&m->headers);
	wire_vec_init(&m->user);
	wire_vec_init(&m->sums);
}

void gw_meta_fini(struct gw_meta *m)
{
	wire_vec_fini(&m->headers);
	wire_vec_fini(&m->user);
	wire_vec_fini(&m->sums);
}

/* Content-Encoding without aws-chunked, which is of the transfer only. */
static struct wire_bytes gw_encoding(struct wire_bytes v, char *out,
				     size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < v.len;) {
		struct wire_bytes one = { v.p + i, 0 };

		while (i < v.len && v.p[i] != ',') {
			i++;
			one.len++;
		}
		i++;
		while (one.len > 0 && *one.p == ' ') {
			one.p++;
			one.len--;
		}
		while (one.len > 0 && one.p[one.len - 1] == ' ')
			one.len--;
		if (one.len == 0 || gw_text_like(one, "aws-chunked") ||
		    n + one.len + 1 > size)
			continue;
		if (n > 0)
			out[n++] = ',';
		memcpy(out + n, one.p, one.len);
		n += one.len;
	}
	return wire_bytes(out, n);
}

/* All values of one user header, joined as HTTP joins them. */
static void gw_meta_user(struct gw_req *r, struct gw_meta *m, unsigned at,
			 size_t *total)
{
	const struct http_header *h = r->head->headers;
	struct wire_bytes name = h[at].name;
	struct buf v;
	char lower[256];
	size_t n = name.len - 11;

	for (unsigned i = 0; i < at; i++)
		if (h[i].name.len == name.len &&
		    strncasecmp((const char *)h[i].name.p,
				(const char *)name.p, name.len) == 0)
			return; /* joined with the first */
	*total += n;
	if (n == 0 || n > sizeof(lower)) {
		*total += GW_USER_META_MAX;
		return;
	}
	for (size_t i = 0; i < n; i++) {
		uint8_t c = name.p[11 + i];

		lower[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
	}
	buf_init(&v, 0);
	buf_add(&v, h[at].value.p, h[at].value.len);
	for (unsigned i = at + 1; i < r->head->n_headers; i++) {
		if (h[i].name.len != name.len ||
		    strncasecmp((const char *)h[i].name.p,
				(const char *)name.p, name.len) != 0)
			continue;
		buf_add(&v, ",", 1);
		buf_add(&v, h[i].value.p, h[i].value.len);
	}
	*total += v.len;
	wire_vec_add_kv(&m->user, wire_bytes(lower, n),
			wire_bytes(v.data, v.len));
	if (v.err != 0 && m->user.buf.err == 0)
		m->user.buf.err = v.err;
	buf_fini(&v);
}

enum s3_err gw_meta_read(struct gw_req *r, struct gw_meta *m)
{
	static const char *const stored[] = {
		"content-type", "content-disposition", "content-language",
		"cache-control", "expires",
	};
	struct wire_bytes enc = gw_header(r, "content-encoding");
	size_t total = 0;
	char text[256];

	for (size_t i = 0; i < sizeof(stored) / sizeof(stored[0]); i++) {
		struct wire_bytes v = gw_header(r, stored[i]);

		if (v.len > 0)
			wire_vec_add_kv(&m->headers, wire_cstr(stored[i]), v);
	}
	if (enc.len > 0)
		enc = gw_encoding(enc, text, sizeof(text));
	if (enc.len > 0)
		wire_vec_add_kv(&m->headers, wire_cstr("content-encoding"),
				enc);
	for (unsigned i = 0; i < r->head->n_headers; i++)
		if (gw_begins(r->head->headers[i].name, "x-amz-meta-"))
			gw_meta_user(r, m, i, &total);
	if (total > GW_USER_META_MAX)
		return S3_ERR_METADATA_TOO_LARGE;
	if (m->headers.buf.err != 0 || m->user.buf.err != 0)
		return S3_ERR_OUT_OF_MEMORY;
	return S3_OK;
}
