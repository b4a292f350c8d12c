#ifndef GATEWAY_S3_TIME_H
#define GATEWAY_S3_TIME_H
/*
 * The times of S3 and HTTP, the Range header, and the read conditions. Pure;
 * any thread; no locale, no time zone database.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/wire/wire.h"

#define S3_TIME_ISO_LEN 24  /* 2026-11-24T17:21:40.000Z */
#define S3_TIME_HTTP_LEN 29 /* Tue, 24 Nov 2026 17:21:40 GMT */
#define S3_TIME_AMZ_LEN 16  /* 20261124T172140Z */

/* sec: since 1970; years 0-9999, others are clamped. Buffers hold LEN + 1. */
void s3_time_iso(int64_t sec, unsigned ms, char out[S3_TIME_ISO_LEN + 1]);
void s3_time_http(int64_t sec, char out[S3_TIME_HTTP_LEN + 1]);
void s3_time_amz(int64_t sec, char out[S3_TIME_AMZ_LEN + 1]);

/* All return 0 or -EINVAL. */
/* 20261124T172140Z */
int s3_time_parse_amz(struct wire_bytes text, int64_t *ret_sec);
/* The three forms of RFC 9110 section 5.6.7. */
int s3_time_parse_http(struct wire_bytes text, int64_t *ret_sec);
/* 2026-11-24T17:21:40[.fraction]Z */
int s3_time_parse_iso(struct wire_bytes text, int64_t *ret_sec);

/* A Range header (RFC 9110 section 14.2). */
enum s3_range_kind {
	S3_RANGE_NONE,   /* absent, another unit, malformed or several: ignored */
	S3_RANGE_FROM,   /* first-last, last = UINT64_MAX when open */
	S3_RANGE_SUFFIX, /* the last `last` bytes */
};
struct s3_range {
	enum s3_range_kind kind;
	uint64_t first, last;
};
struct s3_range s3_range_parse(struct wire_bytes text);
/*
 * The bytes of an object of `size` that range means. 0, or -ERANGE (416).
 * NONE gives everything.
 */
int s3_range_resolve(struct s3_range range, uint64_t size, uint64_t *ret_off,
		     uint64_t *ret_len);

/* The four read conditions as sent; absent ones have p == NULL. */
struct s3_conditions {
	struct wire_bytes if_match, if_none_match;
	struct wire_bytes if_modified_since, if_unmodified_since;
};
/* True when a list of (quoted or bare, weak or strong) ETags names etag, or
 * is "*". */
bool s3_etag_matches(struct wire_bytes list, struct wire_bytes etag);
/*
 * Order of RFC 9110 section 13.2.2; dates that cannot be parsed are ignored.
 * 0; -ESTALE: 304 Not Modified; -ECANCELED: 412. *ret_which names the failed
 * header (for the error's Condition).
 */
int s3_conditions_check(const struct s3_conditions *c, struct wire_bytes etag,
			int64_t mtime_sec, const char **ret_which);
/* Strips quotes and weak marks of a list into "a,b" (or "*"). 0, -EINVAL when
 * a text is no ETag or does not fit. */
int s3_etag_bare(struct wire_bytes list, char *out, size_t size,
		 struct wire_bytes *ret);

#endif
