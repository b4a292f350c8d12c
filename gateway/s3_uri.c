#include "gateway/s3_uri.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int s3_uri_hex(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int s3_uri_decode(struct wire_bytes src, bool plus_is_space, uint8_t *out,
		  size_t *ret_len)
{
	size_t n = 0;

	for (size_t i = 0; i < src.len; i++) {
		uint8_t c = src.p[i];

		if (c == '%') {
			int hi, lo;

			if (src.len - i < 3)
				return -EINVAL;
			hi = s3_uri_hex(src.p[i + 1]);
			lo = s3_uri_hex(src.p[i + 2]);
			if (hi < 0 || lo < 0)
				return -EINVAL;
			c = (uint8_t)(hi << 4 | lo);
			i += 2;
		} else if (c == '+' && plus_is_space) {
			c = ' ';
		}
		if (c == 0)
			return -EINVAL;
		out[n++] = c;
	}
	*ret_len = n;
	return 0;
}

static bool s3_uri_plain(uint8_t c, bool keep_slash)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
	       c == '~' || (c == '/' && keep_slash);
}

void s3_uri_encode(struct buf *out, struct wire_bytes src, bool keep_slash)
{
	static const char hex[] = "0123456789ABCDEF";
	uint8_t *p = buf_reserve(out, src.len * 3);
	size_t n = 0;

	if (p == NULL)
		return;
	for (size_t i = 0; i < src.len; i++) {
		uint8_t c = src.p[i];

		if (s3_uri_plain(c, keep_slash)) {
			p[n++] = c;
			continue;
		}
		p[n++] = '%';
		p[n++] = (uint8_t)hex[c >> 4];
		p[n++] = (uint8_t)hex[c & 15];
	}
	out->len += n;
}

/* The label(s) before ".domain[:port]" of a host, empty when it is not one. */
static struct wire_bytes s3_host_bucket(struct wire_bytes host,
					const char *domain)
{
	size_t d = domain == NULL ? 0 : strlen(domain);
	const uint8_t *colon;

	if (d == 0 || host.len == 0)
		return wire_bytes(NULL, 0);
	colon = memrchr(host.p, ':', host.len);
	if (colon != NULL)
		host.len = (size_t)(colon - host.p);
	if (host.len < d + 2 ||
	    strncasecmp((const char *)host.p + host.len - d, domain, d) != 0 ||
	    host.p[host.len - d - 1] != '.')
		return wire_bytes(NULL, 0);
	return wire_bytes(host.p, host.len - d - 1);
}

static void s3_split(struct wire_bytes path, struct s3_name *ret)
{
	const uint8_t *slash =
		path.len == 0 ? NULL : memchr(path.p, '/', path.len);
	size_t n = slash == NULL ? path.len : (size_t)(slash - path.p);

	ret->vhost = false;
	ret->bucket = wire_bytes(path.p, n);
	ret->key = slash == NULL ? wire_bytes(path.p + n, 0) :
				   wire_bytes(slash + 1, path.len - n - 1);
}

int s3_uri_parse(struct wire_bytes path, struct wire_bytes host,
		 const char *domain, uint8_t *out, struct s3_name *ret)
{
	struct wire_bytes vhost = s3_host_bucket(host, domain);
	struct s3_name raw = { .vhost = false };
	size_t n;

	if (path.len == 0 || path.p[0] != '/')
		return -EINVAL;
	path.p++;
	path.len--;
	/* The first raw slash ends the bucket: an escaped one is part of it,
	 * and no bucket has such a name. */
	if (vhost.len > 0) {
		raw.bucket = vhost;
		raw.key = path;
		for (size_t i = 0; i < vhost.len; i++) {
			uint8_t c = vhost.p[i];

			out[i] = c >= 'A' && c <= 'Z' ? c | 0x20 : c;
		}
		n = vhost.len;
	} else {
		s3_split(path, &raw);
		if (s3_uri_decode(raw.bucket, false, out, &n) != 0)
			return -EINVAL;
	}
	ret->vhost = vhost.len > 0;
	ret->bucket = wire_bytes(out, n);
	out += n;
	if (s3_uri_decode(raw.key, false, out, &n) != 0)
		return -EINVAL;
	ret->key = wire_bytes(out, n);
	/* "//key": a key without a bucket */
	return ret->bucket.len == 0 && path.len > 0 ? -EINVAL : 0;
}

int s3_uri_copy_source(struct wire_bytes source, uint8_t *out,
		       struct s3_name *ret, struct wire_bytes *ret_version)
{
	static const char mark[] = "?versionId=";
	const uint8_t *q = source.len == 0 ?
				   NULL :
				   memmem(source.p, source.len, mark,
					  sizeof(mark) - 1);
	struct s3_name raw;
	size_t n, m;

	*ret_version = wire_bytes(NULL, 0);
	if (q != NULL) {
		size_t at = (size_t)(q - source.p) + sizeof(mark) - 1;

		*ret_version = wire_bytes(source.p + at, source.len - at);
		source.len = (size_t)(q - source.p);
	}
	if (source.len > 0 && source.p[0] == '/') {
		source.p++;
		source.len--;
	}
	/* Here clients also escape the slash behind the bucket: decode, then
	 * split. */
	if (s3_uri_decode(source, false, out, &n) != 0)
		return -EINVAL;
	s3_split(wire_bytes(out, n), &raw);
	m = raw.key.len;
	if (raw.bucket.len == 0 || m == 0)
		return -EINVAL;
	*ret = raw;
	return 0;
}

static bool s3_is_ipv4(struct wire_bytes n)
{
	unsigned dots = 0;

	for (size_t i = 0; i < n.len; i++) {
		if (n.p[i] == '.')
			dots++;
		else if (n.p[i] < '0' || n.p[i] > '9')
			return false;
	}
	return dots == 3;
}

static bool s3_ends_with(struct wire_bytes n, const char *s)
{
	size_t len = strlen(s);

	return n.len >= len && memcmp(n.p + n.len - len, s, len) == 0;
}

static bool s3_starts_with(struct wire_bytes n, const char *s)
{
	size_t len = strlen(s);

	return n.len >= len && memcmp(n.p, s, len) == 0;
}

const char *s3_bucket_name_check(struct wire_bytes n)
{
	uint8_t last = '.';

	if (n.len < 3 || n.len > S3_BUCKET_MAX)
		return "A bucket name has 3 to 63 characters.";
	for (size_t i = 0; i < n.len; i++) {
		uint8_t c = n.p[i];
		bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

		if (!alnum && c != '-' && c != '.')
			return "A bucket name has lower-case letters, digits, "
			       "hyphens and dots only.";
		if (c == '.' && last == '.')
			return "A bucket name does not begin with a dot or "
			       "have two in a row.";
		if (i == 0 && !alnum)
			return "A bucket name begins with a letter or digit.";
		last = c;
	}
	if (last == '.' || last == '-')
		return "A bucket name ends with a letter or digit.";
	if (s3_is_ipv4(n))
		return "A bucket name does not look like an IP address.";
	if (s3_starts_with(n, "xn--") || s3_starts_with(n, "sthree-") ||
	    s3_starts_with(n, "amzn-s3-demo-") || s3_ends_with(n, "-s3alias") ||
	    s3_ends_with(n, "--ol-s3") || s3_ends_with(n, ".mrap") ||
	    s3_ends_with(n, "--x-s3") || s3_ends_with(n, "--table-s3"))
		return "This bucket name is reserved.";
	return NULL;
}

int s3_query_parse(struct wire_bytes query, uint8_t *out,
		   struct s3_query *ret)
{
	const uint8_t *p = query.p, *end = p + query.len;

	ret->n = 0;
	while (p < end) {
		const uint8_t *amp = memchr(p, '&', (size_t)(end - p));
		const uint8_t *stop = amp == NULL ? end : amp;
		const uint8_t *eq = memchr(p, '=', (size_t)(stop - p));
		const uint8_t *name_end = eq == NULL ? stop : eq;
		const uint8_t *value = eq == NULL ? stop : eq + 1;
		struct s3_param *q;
		size_t n;

		if (stop == p) { /* "a&&b" */
			p = stop + 1;
			continue;
		}
		if (ret->n == S3_QUERY_MAX || name_end == p)
			return -EINVAL;
		q = &ret->params[ret->n++];
		if (s3_uri_decode(wire_bytes(p, (size_t)(name_end - p)), true,
				  out, &n) != 0)
			return -EINVAL;
		q->name = wire_bytes(out, n);
		out += n;
		if (s3_uri_decode(wire_bytes(value, (size_t)(stop - value)),
				  true, out, &n) != 0)
			return -EINVAL;
		q->value = wire_bytes(out, n);
		out += n;
		p = amp == NULL ? end : amp + 1;
	}
	return 0;
}

const struct wire_bytes *s3_query_find(const struct s3_query *q,
				       const char *name)
{
	size_t len = strlen(name);

	for (unsigned i = 0; i < q->n; i++)
		if (q->params[i].name.len == len &&
		    memcmp(q->params[i].name.p, name, len) == 0)
			return &q->params[i].value;
	return NULL;
}

int s3_query_u64(const struct s3_query *q, const char *name, uint64_t dflt,
		 uint64_t max, uint64_t *ret)
{
	const struct wire_bytes *t = s3_query_find(q, name);
	uint64_t v = 0;

	if (t == NULL || t->len == 0) {
		*ret = dflt;
		return 0;
	}
	for (size_t i = 0; i < t->len; i++) {
		if (t->p[i] < '0' || t->p[i] > '9' ||
		    __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(t->p[i] - '0'), &v))
			return -EINVAL;
	}
	if (v > max)
		return -EINVAL;
	*ret = v;
	return 0;
}

struct s3_pair {
	size_t name, name_len, value, value_len; /* in the buffer */
};

static int s3_pair_cmp(const uint8_t *base, const struct s3_pair *a,
		       const struct s3_pair *b)
{
	int rv = wire_bytes_cmp(wire_bytes(base + a->name, a->name_len),
				wire_bytes(base + b->name, b->name_len));

	if (rv != 0)
		return rv;
	return wire_bytes_cmp(wire_bytes(base + a->value, a->value_len),
			      wire_bytes(base + b->value, b->value_len));
}

void s3_query_canonical(struct buf *out, const struct s3_query *q,
			const char *skip)
{
	struct s3_pair pairs[S3_QUERY_MAX];
	struct buf enc;
	unsigned n = 0;

	if (q->n == 0)
		return;
	buf_init(&enc, 0);
	for (unsigned i = 0; i < q->n; i++) {
		struct s3_pair p;
		unsigned at;

		if (skip != NULL && q->params[i].name.len == strlen(skip) &&
		    memcmp(q->params[i].name.p, skip, strlen(skip)) == 0)
			continue;
		p.name = enc.len;
		s3_uri_encode(&enc, q->params[i].name, false);
		p.name_len = enc.len - p.name;
		p.value = enc.len;
		s3_uri_encode(&enc, q->params[i].value, false);
		p.value_len = enc.len - p.value;
		if (enc.err != 0)
			break;
		/* few and mostly sorted already: insertion */
		for (at = n; at > 0 &&
			     s3_pair_cmp(enc.data, &p, &pairs[at - 1]) < 0;
		     at--)
			pairs[at] = pairs[at - 1];
		pairs[at] = p;
		n++;
	}
	for (unsigned i = 0; i < n && enc.err == 0; i++) {
		if (i > 0)
			buf_add(out, "&", 1);
		buf_add(out, enc.data + pairs[i].name, pairs[i].name_len);
		buf_add(out, "=", 1);
		buf_add(out, enc.data + pairs[i].value, pairs[i].value_len);
	}
	if (enc.err != 0 && out->err == 0)
		out->err = enc.err;
	buf_fini(&enc);
}
