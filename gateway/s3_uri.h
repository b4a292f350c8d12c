#ifndef GATEWAY_S3_URI_H
#define GATEWAY_S3_URI_H
/*
 * Names from request targets: the only place that makes a bucket and a key
 * from bytes a client sent, for the path and for x-amz-copy-source alike.
 * Percent-encoding is decoded exactly once to raw bytes; NUL is refused; `.`,
 * `..` and empty segments stay as they are. Pure; any thread.
 *
 * Results live in the caller's buffer; a decoded text is never longer than
 * what it was decoded from.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/wire/wire.h"

#define S3_KEY_MAX 1024
#define S3_BUCKET_MAX 63
#define S3_QUERY_MAX 64 /* parameters */

/* Decodes src to out (room for src.len bytes). 0, -EINVAL: bad escape, NUL. */
int s3_uri_decode(struct wire_bytes src, bool plus_is_space, uint8_t *out,
		  size_t *ret_len);
/* Appends src with all but A-Za-z0-9-._~ (and '/' when keep_slash) escaped. */
void s3_uri_encode(struct buf *out, struct wire_bytes src, bool keep_slash);

struct s3_name {
	struct wire_bytes bucket; /* empty: the service */
	struct wire_bytes key;    /* empty: the bucket */
	bool vhost;               /* the host named the bucket */
};
/*
 * path: raw, of the request target. host: the Host header (may be empty).
 * domain: for virtual-host style, or NULL. out: room for path.len + host.len.
 * 0 or -EINVAL.
 */
int s3_uri_parse(struct wire_bytes path, struct wire_bytes host,
		 const char *domain, uint8_t *out, struct s3_name *ret);
/*
 * x-amz-copy-source: [/]bucket/key[?versionId=V], percent-encoded. out: room
 * for source.len. 0 or -EINVAL.
 */
int s3_uri_copy_source(struct wire_bytes source, uint8_t *out,
		       struct s3_name *ret, struct wire_bytes *ret_version);
/* 0, or a sentence: the rules for new buckets. */
const char *s3_bucket_name_check(struct wire_bytes name);

struct s3_param {
	struct wire_bytes name, value; /* decoded */
};
struct s3_query {
	struct s3_param params[S3_QUERY_MAX];
	unsigned n;
};
/* out: room for query.len. 0, -EINVAL (bad escape, empty name, too many). */
int s3_query_parse(struct wire_bytes query, uint8_t *out,
		   struct s3_query *ret);
/* The first parameter of that name, or NULL. */
const struct wire_bytes *s3_query_find(const struct s3_query *q,
				       const char *name);
/* Decimal in [0, max]; a missing one gives dflt. 0 or -EINVAL. */
int s3_query_u64(const struct s3_query *q, const char *name, uint64_t dflt,
		 uint64_t max, uint64_t *ret);
/* SigV4's canonical query: encoded, sorted; without the parameter `skip`. */
void s3_query_canonical(struct buf *out, const struct s3_query *q,
			const char *skip);

#endif
