/* Range and conditional headers, see s3_time.h. */
#include "gateway/s3_time.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

/* Decimal digits up to a non-digit; false when there is none or it is too
 * large. */
static bool s3_range_num(const uint8_t **p, const uint8_t *end, uint64_t *ret)
{
	uint64_t v = 0;

	if (*p == end || **p < '0' || **p > '9')
		return false;
	for (; *p < end && **p >= '0' && **p <= '9'; (*p)++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(**p - '0'), &v))
			return false;
	*ret = v;
	return true;
}

struct s3_range s3_range_parse(struct wire_bytes text)
{
	static const struct s3_range none = { S3_RANGE_NONE, 0, 0 };
	struct s3_range r = { S3_RANGE_FROM, 0, UINT64_MAX };
	const uint8_t *p = text.p, *end = p + text.len;

	if (text.len < 7 || strncasecmp((const char *)p, "bytes=", 6) != 0)
		return none;
	p += 6;
	if (*p == '-') {
		p++;
		r.kind = S3_RANGE_SUFFIX;
		if (!s3_range_num(&p, end, &r.last) || p != end)
			return none;
		return r;
	}
	if (!s3_range_num(&p, end, &r.first) || p == end || *p++ != '-')
		return none;
	if (p != end && (!s3_range_num(&p, end, &r.last) || p != end))
		return none;
	if (r.last < r.first)
		return none;
	return r;
}

int s3_range_resolve(struct s3_range range, uint64_t size, uint64_t *ret_off,
		     uint64_t *ret_len)
{
	uint64_t n;

	switch (range.kind) {
	case S3_RANGE_FROM:
		if (range.first >= size)
			return -ERANGE;
		n = range.last >= size ? size - range.first :
					 range.last - range.first + 1;
		*ret_off = range.first;
		*ret_len = n;
		return 0;
	case S3_RANGE_SUFFIX:
		if (range.last == 0 || size == 0)
			return -ERANGE;
		n = range.last < size ? range.last : size;
		*ret_off = size - n;
		*ret_len = n;
		return 0;
	case S3_RANGE_NONE:
		break;
	}
	*ret_off = 0;
	*ret_len = size;
	return 0;
}

/* Takes the next ETag of a list; false at its end. Bare texts are taken as
 * they are, for clients that leave the quotes out. */
static bool s3_etag_next(struct wire_bytes *list, struct wire_bytes *ret)
{
	const uint8_t *p = list->p, *end = p + list->len, *q;
	bool quoted;

	while (p < end && (*p == ' ' || *p == '\t' || *p == ','))
		p++;
	if (p == end)
		return false;
	if (end - p >= 2 && p[0] == 'W' && p[1] == '/')
		p += 2;
	quoted = p < end && *p == '"';
	if (quoted)
		p++;
	q = p;
	while (q < end && *q != (quoted ? '"' : ','))
		q++;
	list->p = quoted && q < end ? q + 1 : q;
	list->len = (size_t)(end - list->p);
	if (!quoted)
		while (q > p && (q[-1] == ' ' || q[-1] == '\t'))
			q--;
	*ret = wire_bytes(p, (size_t)(q - p));
	return true;
}

bool s3_etag_matches(struct wire_bytes list, struct wire_bytes etag)
{
	struct wire_bytes one;

	while (s3_etag_next(&list, &one))
		if (wire_bytes_eq(one, etag) ||
		    (one.len == 1 && one.p[0] == '*'))
			return true;
	return false;
}

int s3_etag_bare(struct wire_bytes list, char *out, size_t size,
		 struct wire_bytes *ret)
{
	struct wire_bytes one;
	size_t n = 0;

	while (s3_etag_next(&list, &one)) {
		if (one.len == 0 || one.len + 1 > size - n)
			return -EINVAL;
		/* it would be two of them, or none, for who reads the result */
		if (memchr(one.p, '"', one.len) != NULL ||
		    memchr(one.p, ',', one.len) != NULL)
			return -EINVAL;
		if (n > 0)
			out[n++] = ',';
		memcpy(out + n, one.p, one.len);
		n += one.len;
	}
	if (n == 0)
		return -EINVAL;
	*ret = wire_bytes(out, n);
	return 0;
}

int s3_conditions_check(const struct s3_conditions *c, struct wire_bytes etag,
			int64_t mtime_sec, const char **ret_which)
{
	int64_t t;

	if (c->if_match.p != NULL) {
		*ret_which = "If-Match";
		if (!s3_etag_matches(c->if_match, etag))
			return -ECANCELED;
	} else if (c->if_unmodified_since.p != NULL &&
		   s3_time_parse_http(c->if_unmodified_since, &t) == 0) {
		*ret_which = "If-Unmodified-Since";
		if (mtime_sec > t)
			return -ECANCELED;
	}
	if (c->if_none_match.p != NULL) {
		*ret_which = "If-None-Match";
		if (s3_etag_matches(c->if_none_match, etag))
			return -ESTALE;
	} else if (c->if_modified_since.p != NULL &&
		   s3_time_parse_http(c->if_modified_since, &t) == 0) {
		*ret_which = "If-Modified-Since";
		if (mtime_sec <= t)
			return -ESTALE;
	}
	return 0;
}
