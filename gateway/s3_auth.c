/*
 * Happy path: find which mechanism speaks -> parse credential, signed headers
 * and date -> check times, region, that all x-amz-* are signed -> canonical
 * request -> string to sign -> signing key (cached per access key and day) ->
 * compare.
 *
 * Failure modes: every step has its own S3 error; an unknown key goes through
 * all steps with a dummy secret and is refused at the end.
 */
#include "gateway/s3_auth_impl.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

#include "common/base/mem.h"

#include "gateway/s3_sum.h"
#include "gateway/s3_time.h"

#define S3_AUTH_CACHE 64
#define S3_ALGORITHM "AWS4-HMAC-SHA256"

struct s3_auth_key {
	char access[S3_AUTH_ACCESS_MAX];
	size_t access_len; /* 0: free */
	uint8_t secret[64];
	size_t secret_len;
	char scope[S3_AUTH_SCOPE_MAX];
	uint8_t key[32];
};

struct s3_auth {
	struct s3_sha *sha;
	struct buf canon; /* reused */
	struct s3_auth_key cache[S3_AUTH_CACHE]; /* by hash of access key */
};

int s3_auth_new(struct s3_auth **ret_auth)
{
	struct s3_auth *a = mem_zalloc(sizeof(*a));

	if (a == NULL)
		return -ENOMEM;
	buf_init(&a->canon, 0);
	if (s3_sha_new(&a->sha) != 0) {
		s3_auth_free(a);
		return -ENOMEM;
	}
	*ret_auth = a;
	return 0;
}

void s3_auth_free(struct s3_auth *a)
{
	if (a == NULL)
		return;
	s3_sha_free(a->sha);
	buf_fini(&a->canon);
	OPENSSL_cleanse(a->cache, sizeof(a->cache));
	mem_free(a);
}

/* What a request says about its signature, header or query. */
struct s3_claim {
	struct wire_bytes access;
	struct wire_bytes scope; /* date/region/service/aws4_request */
	struct wire_bytes day, region, service;
	struct wire_bytes signed_headers;
	struct wire_bytes signature;
	struct wire_bytes date; /* 20130524T000000Z */
	int64_t sec;
	bool presigned;
	const char *message;
};

bool s3_is(struct wire_bytes t, const char *s)
{
	return t.len == strlen(s) && memcmp(t.p, s, t.len) == 0;
}

static bool s3_is_nocase(struct wire_bytes t, const char *s, size_t len)
{
	return t.len == len && strncasecmp((const char *)t.p, s, len) == 0;
}

const struct wire_bytes *s3_header(const struct s3_auth_request *req,
				   const char *name)
{
	size_t len = strlen(name);

	for (unsigned i = 0; i < req->n_headers; i++)
		if (s3_is_nocase(req->headers[i].name, name, len))
			return &req->headers[i].value;
	return NULL;
}

static enum s3_err s3_refuse(struct s3_claim *c, enum s3_err e,
			     const char *message)
{
	c->message = message;
	return e;
}

/* access/20130524/us-east-1/s3/aws4_request, taken apart from the right. */
static bool s3_parse_credential(struct s3_claim *c, struct wire_bytes t)
{
	struct wire_bytes part[4];
	size_t end = t.len;

	for (unsigned i = 4; i-- > 0;) {
		const uint8_t *slash =
			end == 0 ? NULL : memrchr(t.p, '/', end);
		size_t at;

		if (slash == NULL)
			return false;
		at = (size_t)(slash - t.p);
		part[i] = wire_bytes(slash + 1, end - at - 1);
		end = at;
	}
	if (end == 0 || end > S3_AUTH_ACCESS_MAX ||
	    t.len - end - 1 >= S3_AUTH_SCOPE_MAX ||
	    !s3_is(part[3], "aws4_request") || part[0].len != 8)
		return false;
	c->access = wire_bytes(t.p, end);
	c->scope = wire_bytes(t.p + end + 1, t.len - end - 1);
	c->day = part[0];
	c->region = part[1];
	c->service = part[2];
	return true;
}

/* Takes "Name=value" up to a comma; false when malformed. */
static bool s3_auth_field(struct wire_bytes *t, struct wire_bytes *ret_name,
			  struct wire_bytes *ret_value)
{
	const uint8_t *comma, *eq;
	size_t n;

	while (t->len > 0 && (*t->p == ' ' || *t->p == '\t')) {
		t->p++;
		t->len--;
	}
	if (t->len == 0)
		return false;
	comma = memchr(t->p, ',', t->len);
	n = comma == NULL ? t->len : (size_t)(comma - t->p);
	eq = memchr(t->p, '=', n);
	if (eq == NULL)
		return false;
	*ret_name = wire_bytes(t->p, (size_t)(eq - t->p));
	*ret_value = wire_bytes(eq + 1, n - (size_t)(eq - t->p) - 1);
	while (ret_value->len > 0 &&
	       ret_value->p[ret_value->len - 1] == ' ')
		ret_value->len--;
	if (comma != NULL)
		n++;
	t->p += n;
	t->len -= n;
	return true;
}

static enum s3_err s3_claim_header(struct s3_claim *c,
				   const struct s3_auth_request *req,
				   struct wire_bytes t)
{
	const struct wire_bytes *date;
	unsigned seen = 0;
	size_t skip = strlen(S3_ALGORITHM);

	if (t.len >= 4 && memcmp(t.p, "AWS ", 4) == 0)
		return S3_ERR_AUTH_V2;
	if (t.len <= skip || memcmp(t.p, S3_ALGORITHM, skip) != 0 ||
	    t.p[skip] != ' ')
		return s3_refuse(c, S3_ERR_INVALID_ARGUMENT,
				 "Unsupported Authorization Type");
	t.p += skip + 1;
	t.len -= skip + 1;
	while (t.len > 0) {
		struct wire_bytes name, value;
		unsigned bit;

		if (!s3_auth_field(&t, &name, &value))
			return S3_ERR_AUTH_MALFORMED;
		if (s3_is(name, "Credential")) {
			bit = 1;
			if (!s3_parse_credential(c, value))
				return s3_refuse(c, S3_ERR_AUTH_MALFORMED,
					"The authorization header is "
					"malformed; the Credential is "
					"mal-formed.");
		} else if (s3_is(name, "SignedHeaders")) {
			bit = 2;
			c->signed_headers = value;
		} else if (s3_is(name, "Signature")) {
			bit = 4;
			c->signature = value;
		} else {
			return S3_ERR_AUTH_MALFORMED;
		}
		if ((seen & bit) != 0)
			return S3_ERR_AUTH_MALFORMED;
		seen |= bit;
	}
	if (seen != 7)
		return S3_ERR_AUTH_MALFORMED;
	date = s3_header(req, "x-amz-date");
	if (date != NULL) {
		c->date = *date;
		return s3_time_parse_amz(*date, &c->sec) == 0 ?
			       S3_OK :
			       s3_refuse(c, S3_ERR_ACCESS_DENIED,
					 "AWS authentication requires a valid "
					 "Date or x-amz-date header");
	}
	date = s3_header(req, "date");
	if (date == NULL || s3_time_parse_http(*date, &c->sec) != 0)
		return s3_refuse(c, S3_ERR_ACCESS_DENIED,
				 "AWS authentication requires a valid Date or "
				 "x-amz-date header");
	return S3_OK; /* c->date is made from sec by the caller */
}

static enum s3_err s3_query_one(struct s3_claim *c, const struct s3_query *q,
				const char *name, struct wire_bytes *ret)
{
	const struct wire_bytes *found = NULL;

	for (unsigned i = 0; i < q->n; i++) {
		if (!s3_is(q->params[i].name, name))
			continue;
		if (found != NULL)
			return s3_refuse(c, S3_ERR_AUTH_QUERY,
					 "A query parameter of the signature "
					 "is given twice.");
		found = &q->params[i].value;
	}
	if (found == NULL || found->len == 0)
		return s3_refuse(c, S3_ERR_AUTH_QUERY,
				 "Query-string authentication version 4 "
				 "requires the X-Amz-Algorithm, "
				 "X-Amz-Credential, X-Amz-Signature, "
				 "X-Amz-Date, X-Amz-SignedHeaders, and "
				 "X-Amz-Expires parameters.");
	*ret = *found;
	return S3_OK;
}

static enum s3_err s3_claim_expires(struct s3_claim *c, struct wire_bytes t,
				    int64_t now)
{
	int64_t v = 0;

	for (size_t i = 0; i < t.len; i++) {
		if (t.p[i] < '0' || t.p[i] > '9')
			return s3_refuse(c, S3_ERR_AUTH_QUERY,
					 "X-Amz-Expires should be a number");
		v = v * 10 + (t.p[i] - '0');
		if (v > S3_AUTH_EXPIRES_MAX)
			return s3_refuse(c, S3_ERR_AUTH_QUERY,
					 "X-Amz-Expires must be less than a "
					 "week (in seconds); that is, the "
					 "given X-Amz-Expires must be less "
					 "than 604800 seconds");
	}
	if (c->sec > now + S3_AUTH_SKEW_SEC)
		return S3_ERR_NOT_YET_VALID;
	return now > c->sec + v ? S3_ERR_EXPIRED : S3_OK;
}

static enum s3_err s3_claim_query(struct s3_claim *c,
				  const struct s3_auth_request *req,
				  struct wire_bytes *ret_expires)
{
	const struct s3_query *q = req->query;
	struct wire_bytes t;
	enum s3_err e;

	e = s3_query_one(c, q, "X-Amz-Algorithm", &t);
	if (e == S3_OK && !s3_is(t, S3_ALGORITHM))
		e = s3_refuse(c, S3_ERR_AUTH_QUERY,
			      "X-Amz-Algorithm only supports "
			      "\"AWS4-HMAC-SHA256\"");
	if (e == S3_OK)
		e = s3_query_one(c, q, "X-Amz-Credential", &t);
	if (e == S3_OK && !s3_parse_credential(c, t))
		e = s3_refuse(c, S3_ERR_AUTH_QUERY,
			      "Error parsing the X-Amz-Credential parameter; "
			      "the Credential is mal-formed; expecting "
			      "\"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/"
			      "aws4_request\".");
	if (e == S3_OK)
		e = s3_query_one(c, q, "X-Amz-SignedHeaders",
				 &c->signed_headers);
	if (e == S3_OK)
		e = s3_query_one(c, q, "X-Amz-Signature", &c->signature);
	if (e == S3_OK)
		e = s3_query_one(c, q, "X-Amz-Date", &c->date);
	if (e == S3_OK && s3_time_parse_amz(c->date, &c->sec) != 0)
		e = s3_refuse(c, S3_ERR_AUTH_QUERY,
			      "X-Amz-Date must be in the ISO8601 Long Format "
			      "\"yyyyMMdd'T'HHmmss'Z'\"");
	if (e == S3_OK)
		e = s3_query_one(c, q, "X-Amz-Expires", ret_expires);
	return e;
}

/* --- the canonical request --- */

static bool s3_signed_has(struct wire_bytes list, struct wire_bytes name)
{
	const uint8_t *p = list.p, *end = p + list.len;

	while (p < end) {
		const uint8_t *semi = memchr(p, ';', (size_t)(end - p));
		size_t n = (size_t)((semi == NULL ? end : semi) - p);

		if (s3_is_nocase(name, (const char *)p, n))
			return true;
		p += n + 1;
	}
	return false;
}

/* host and all x-amz-* must be signed. */
static bool s3_all_signed(const struct s3_auth_request *req,
			  struct wire_bytes list)
{
	if (!s3_signed_has(list, wire_cstr("host")))
		return false;
	for (unsigned i = 0; i < req->n_headers; i++) {
		struct wire_bytes name = req->headers[i].name;

		if (name.len > 6 &&
		    strncasecmp((const char *)name.p, "x-amz-", 6) == 0 &&
		    !s3_signed_has(list, name))
			return false;
	}
	return true;
}

/* Trimmed, runs of blanks made one. */
static void s3_canon_value(struct buf *out, struct wire_bytes v)
{
	size_t n = 0;
	uint8_t *p = buf_reserve(out, v.len);
	bool blank = true;

	if (p == NULL)
		return;
	for (size_t i = 0; i < v.len; i++) {
		bool b = v.p[i] == ' ' || v.p[i] == '\t';

		if (b && blank)
			continue;
		p[n++] = b ? ' ' : v.p[i];
		blank = b;
	}
	if (n > 0 && p[n - 1] == ' ')
		n--;
	out->len += n;
}

void s3_canon_header(struct buf *out, const struct s3_auth_request *req,
		     struct wire_bytes name)
{
	bool first = true;

	buf_add(out, name.p, name.len);
	buf_add(out, ":", 1);
	for (unsigned i = 0; i < req->n_headers; i++) {
		if (!s3_is_nocase(req->headers[i].name, (const char *)name.p,
				  name.len))
			continue;
		if (!first)
			buf_add(out, ",", 1);
		s3_canon_value(out, req->headers[i].value);
		first = false;
	}
	buf_add(out, "\n", 1);
}

static bool s3_canon_headers(struct buf *out, const struct s3_auth_request *req,
			     struct wire_bytes list)
{
	const uint8_t *p = list.p, *end = p + list.len;

	while (p < end) {
		const uint8_t *semi = memchr(p, ';', (size_t)(end - p));
		size_t n = (size_t)((semi == NULL ? end : semi) - p);

		if (n == 0)
			return false;
		for (size_t i = 0; i < n; i++)
			if (p[i] >= 'A' && p[i] <= 'Z')
				return false;
		s3_canon_header(out, req, wire_bytes(p, n));
		p += n + 1;
	}
	return list.len > 0 && list.p[list.len - 1] != ';';
}

/* The path decoded and encoded again: one spelling whatever the client chose.
 * decode never grows, so the tail of the reserve is the scratch. */
static bool s3_canon_path(struct buf *out, struct wire_bytes path)
{
	uint8_t *scratch;
	size_t n;
	bool ok;

	if (path.len == 0) {
		buf_puts(out, "/");
		return true;
	}
	scratch = mem_alloc(path.len);
	if (scratch == NULL) {
		out->err = -ENOMEM;
		return true;
	}
	ok = s3_uri_decode(path, false, scratch, &n) == 0;
	if (ok)
		s3_uri_encode(out, wire_bytes(scratch, n), true);
	mem_free(scratch);
	return ok;
}

static bool s3_canonical(struct buf *out, const struct s3_auth_request *req,
			 const struct s3_claim *c, struct wire_bytes payload)
{
	buf_reset(out);
	buf_add(out, req->method.p, req->method.len);
	buf_add(out, "\n", 1);
	if (!s3_canon_path(out, req->path))
		return false;
	buf_add(out, "\n", 1);
	s3_query_canonical(out, req->query,
			   c->presigned ? "X-Amz-Signature" : NULL);
	buf_add(out, "\n", 1);
	if (!s3_canon_headers(out, req, c->signed_headers))
		return false;
	buf_add(out, "\n", 1);
	buf_add(out, c->signed_headers.p, c->signed_headers.len);
	buf_add(out, "\n", 1);
	buf_add(out, payload.p, payload.len);
	return true;
}

/* --- keys and signature --- */

static const uint8_t *s3_signing_key(struct s3_auth *a,
				     const struct s3_claim *c,
				     struct wire_bytes secret,
				     struct s3_auth_key *scratch)
{
	struct s3_auth_key *k = scratch;
	uint8_t start[4 + 64], *key;
	unsigned h = 0;

	if (secret.len > 64)
		return NULL;
	for (size_t i = 0; i < c->access.len; i++)
		h = h * 31 + c->access.p[i];
	if (scratch == NULL)
		k = &a->cache[h % S3_AUTH_CACHE];
	if (k->access_len == c->access.len &&
	    memcmp(k->access, c->access.p, c->access.len) == 0 &&
	    k->secret_len == secret.len &&
	    s3_equal(k->secret, secret.p, secret.len) &&
	    s3_is(c->scope, k->scope))
		return k->key;
	k->access_len = c->access.len;
	memcpy(k->access, c->access.p, c->access.len);
	k->secret_len = secret.len;
	memcpy(k->secret, secret.p, secret.len);
	memcpy(k->scope, c->scope.p, c->scope.len);
	k->scope[c->scope.len] = '\0';
	key = k->key;
	memcpy(start, "AWS4", 4);
	memcpy(start + 4, secret.p, secret.len);
	s3_hmac(a->sha, start, 4 + secret.len, c->day.p, c->day.len, key);
	s3_hmac(a->sha, key, 32, c->region.p, c->region.len, key);
	s3_hmac(a->sha, key, 32, c->service.p, c->service.len, key);
	s3_hmac(a->sha, key, 32, "aws4_request", 12, key);
	OPENSSL_cleanse(start, sizeof(start));
	return key;
}

static void s3_sign(struct s3_auth *a, const struct s3_claim *c,
		    const uint8_t *key, uint8_t sig[32])
{
	uint8_t hash[32];
	char hex[65], text[sizeof(S3_ALGORITHM) + 17 + S3_AUTH_SCOPE_MAX + 66];
	size_t n = 0;

	s3_sha256(a->sha, a->canon.data, a->canon.len, hash);
	s3_hex(hash, 32, hex);
	memcpy(text, S3_ALGORITHM "\n", sizeof(S3_ALGORITHM));
	n = sizeof(S3_ALGORITHM);
	memcpy(text + n, c->date.p, c->date.len);
	n += c->date.len;
	text[n++] = '\n';
	memcpy(text + n, c->scope.p, c->scope.len);
	n += c->scope.len;
	text[n++] = '\n';
	memcpy(text + n, hex, 64);
	n += 64;
	s3_hmac(a->sha, key, 32, text, n, sig);
}

static enum s3_err s3_payload_mode(const struct s3_auth_request *req,
				   struct s3_claim *c,
				   struct s3_auth_result *ret,
				   struct wire_bytes *ret_text)
{
	static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4"
				    "649b934ca495991b7852b855";
	const struct wire_bytes *t = s3_header(req, "x-amz-content-sha256");
	struct wire_bytes v;

	if (t == NULL && c->presigned)
		t = s3_query_find(req->query, "X-Amz-Content-Sha256");
	/*
	 * curl --aws-sigv4 -T before 8.0 sends no x-amz-content-sha256 and
	 * signs the hash of nothing: as good as UNSIGNED-PAYLOAD, and taken
	 * as that when there is a body.
	 */
	v = t != NULL ? *t : wire_cstr(c->presigned ? "UNSIGNED-PAYLOAD" :
						      empty);
	*ret_text = v;
	if (t == NULL && req->has_body)
		ret->payload = S3_PAYLOAD_UNSIGNED;
	else if (s3_is(v, "UNSIGNED-PAYLOAD"))
		ret->payload = S3_PAYLOAD_UNSIGNED;
	else if (s3_is(v, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"))
		ret->payload = S3_PAYLOAD_CHUNKS;
	else if (s3_is(v, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"))
		ret->payload = S3_PAYLOAD_CHUNKS_TRAILER;
	else if (s3_is(v, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"))
		ret->payload = S3_PAYLOAD_UNSIGNED_TRAILER;
	else if (v.len > 10 && memcmp(v.p, "STREAMING-", 10) == 0)
		return s3_refuse(c, S3_ERR_NOT_IMPLEMENTED,
				 "This payload signing mode is not "
				 "implemented.");
	else if (s3_hex_decode(v, ret->sha256, 32) == 0)
		ret->payload = S3_PAYLOAD_HASH;
	else
		return s3_refuse(c, S3_ERR_INVALID_ARGUMENT,
				 "x-amz-content-sha256 must be "
				 "UNSIGNED-PAYLOAD, a STREAMING- mode, or a "
				 "valid sha256 value.");
	return S3_OK;
}

static bool s3_auth_is_v2(const struct s3_auth_request *req)
{
	return s3_query_find(req->query, "AWSAccessKeyId") != NULL;
}

/* Which mechanism, then what it claims and whether the claim is in time. */
static enum s3_err s3_claim_read(const struct s3_auth_request *req,
				 struct s3_claim *c, char date[17])
{
	const struct wire_bytes *header = s3_header(req, "authorization");
	bool query = s3_query_find(req->query, "X-Amz-Algorithm") != NULL ||
		     s3_query_find(req->query, "X-Amz-Credential") != NULL ||
		     s3_query_find(req->query, "X-Amz-Signature") != NULL;
	bool v2 = s3_auth_is_v2(req);
	struct wire_bytes expires;
	unsigned n = 0;
	enum s3_err e;

	for (unsigned i = 0; i < req->n_headers; i++)
		n += s3_is_nocase(req->headers[i].name, "authorization", 13);
	if (n + query + v2 > 1)
		return S3_ERR_AUTH_TWICE;
	if (n + query + v2 == 0)
		return S3_ERR_NOT_SIGNED;
	if (s3_header(req, "x-amz-security-token") != NULL ||
	    s3_query_find(req->query, "X-Amz-Security-Token") != NULL)
		return S3_ERR_INVALID_TOKEN;
	if (v2)
		return S3_OK; /* all else is s3_auth_v2()'s */
	c->presigned = query;
	e = query ? s3_claim_query(c, req, &expires) :
		    s3_claim_header(c, req, *header);
	if (e != S3_OK)
		return e;
	if (c->date.len == 0) {
		s3_time_amz(c->sec, date);
		c->date = wire_bytes(date, S3_TIME_AMZ_LEN);
	}
	if (!wire_bytes_eq(c->region, req->region))
		return S3_ERR_AUTH_REGION;
	if (!s3_is(c->service, req->service))
		return s3_refuse(c, S3_ERR_AUTH_MALFORMED,
				 "The service of the credential is wrong; "
				 "expecting s3.");
	if (c->date.len < 8 || memcmp(c->day.p, c->date.p, 8) != 0)
		return s3_refuse(c,
				 query ? S3_ERR_AUTH_QUERY :
					 S3_ERR_AUTH_MALFORMED,
				 "Invalid credential date; it does not match "
				 "the date of the request.");
	if (query)
		return s3_claim_expires(c, expires, req->now_sec);
	if (c->sec > req->now_sec + S3_AUTH_SKEW_SEC ||
	    c->sec < req->now_sec - S3_AUTH_SKEW_SEC)
		return S3_ERR_TIME_SKEWED;
	return S3_OK;
}

static void s3_seed_fill(struct s3_auth_seed *seed, const struct s3_claim *c,
			 const uint8_t *key)
{
	memcpy(seed->key, key, 32);
	memcpy(seed->date, c->date.p, S3_TIME_AMZ_LEN);
	seed->date[S3_TIME_AMZ_LEN] = '\0';
	memcpy(seed->scope, c->scope.p, c->scope.len);
	seed->scope[c->scope.len] = '\0';
	memcpy(seed->signature, c->signature.p, 64);
	seed->signature[64] = '\0';
}

static enum s3_err s3_auth_verify(struct s3_auth *a,
				  const struct s3_auth_request *req,
				  struct s3_claim *c, s3_auth_secret_fn secret,
				  void *arg, struct s3_auth_result *ret)
{
	static const char dummy[] = "dummy-secret-of-nobody-0123456789abcdef";
	struct s3_auth_key nobody = { 0 };
	struct wire_bytes text, value = wire_cstr(dummy);
	uint8_t want[32], got[32];
	bool known, equal;
	const uint8_t *key;
	enum s3_err e;

	if (!s3_all_signed(req, c->signed_headers))
		return S3_ERR_HEADERS_NOT_SIGNED;
	e = s3_payload_mode(req, c, ret, &text);
	if (e != S3_OK)
		return e;
	if (!s3_canonical(&a->canon, req, c, text) ||
	    s3_hex_decode(c->signature, got, 32) != 0)
		return S3_ERR_SIGNATURE_MISMATCH;
	if (a->canon.err != 0)
		return S3_ERR_OUT_OF_MEMORY;
	known = secret(arg, c->access, &value);
	/* keys of nobody stay out of the cache of real ones */
	key = s3_signing_key(a, c, value, known ? NULL : &nobody);
	if (key == NULL)
		return S3_ERR_INTERNAL;
	s3_sign(a, c, key, want);
	equal = s3_equal(want, got, sizeof(want));
	if (!known)
		return S3_ERR_INVALID_ACCESS_KEY;
	if (!equal)
		return S3_ERR_SIGNATURE_MISMATCH;
	if (ret->payload == S3_PAYLOAD_CHUNKS ||
	    ret->payload == S3_PAYLOAD_CHUNKS_TRAILER)
		s3_seed_fill(&ret->seed, c, key);
	return S3_OK;
}

enum s3_err s3_auth_check(struct s3_auth *a, const struct s3_auth_request *req,
			  s3_auth_secret_fn secret, void *arg,
			  struct s3_auth_result *ret)
{
	struct s3_claim c = { 0 };
	char date[S3_TIME_AMZ_LEN + 1];
	enum s3_err e;

	ret->access[0] = '\0';
	ret->message = NULL;
	ret->presigned = false;
	e = s3_claim_read(req, &c, date);
	if (e == S3_OK && s3_auth_is_v2(req))
		return s3_auth_v2(&a->canon, req, secret, arg, ret);
	if (e == S3_OK)
		e = s3_auth_verify(a, req, &c, secret, arg, ret);
	if (c.access.len > 0) {
		memcpy(ret->access, c.access.p, c.access.len);
		ret->access[c.access.len] = '\0';
	}
	ret->presigned = c.presigned;
	ret->message = e == S3_OK ? NULL : c.message;
	return e;
}
