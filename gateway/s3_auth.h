#ifndef GATEWAY_S3_AUTH_H
#define GATEWAY_S3_AUTH_H
/*
 * AWS Signature Version 4, in the Authorization header or in the query; and
 * Version 2 in the query only (s3_auth_v2.c says why). One function, called
 * before a request is routed: no handler is reached without its S3_OK. Pure
 * but for the caches of struct s3_auth (one per loop).
 *
 * Refused, each with its own error: no signature, two mechanisms, Version 2 in
 * the header, session tokens, unsigned host or x-amz-* headers, another
 * region, times more than 15 minutes off, expired or over-long presigned
 * requests.
 * The signature comparison is constant-time; an unknown access key costs the
 * same work as a known one.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/http/http.h"
#include "common/wire/wire.h"

#include "gateway/s3_error.h"
#include "gateway/s3_uri.h"

#define S3_AUTH_SKEW_SEC 900
#define S3_AUTH_EXPIRES_MAX 604800
#define S3_AUTH_ACCESS_MAX 128
#define S3_AUTH_SCOPE_MAX 128

struct s3_auth;
int s3_auth_new(struct s3_auth **ret_auth); /* 0, -ENOMEM */
void s3_auth_free(struct s3_auth *a);

struct s3_auth_request {
	struct wire_bytes method;
	struct wire_bytes path; /* raw */
	struct wire_bytes vhost_bucket; /* when the host named it */
	const struct http_header *headers;
	unsigned n_headers;
	const struct s3_query *query; /* decoded */
	bool has_body;
	int64_t now_sec;
	struct wire_bytes region;
	const char *service; /* "s3" */
};
/* The secret of an access key, borrowed; false when there is none to use. */
typedef bool (*s3_auth_secret_fn)(void *arg, struct wire_bytes access,
				  struct wire_bytes *ret_secret);

/* What x-amz-content-sha256 promises about the body. */
enum s3_payload {
	S3_PAYLOAD_HASH,             /* SHA-256 in s3_auth_result.sha256 */
	S3_PAYLOAD_UNSIGNED,
	S3_PAYLOAD_CHUNKS,           /* aws-chunked, each chunk signed */
	S3_PAYLOAD_CHUNKS_TRAILER,   /* and a signed trailer */
	S3_PAYLOAD_UNSIGNED_TRAILER, /* aws-chunked, unsigned, trailer */
};

/* Where the chain of chunk signatures begins. */
struct s3_auth_seed {
	uint8_t key[32];               /* the signing key; secret */
	char date[17];                 /* 20130524T000000Z */
	char scope[S3_AUTH_SCOPE_MAX]; /* 20130524/us-east-1/s3/aws4_request */
	char signature[65];            /* hex */
};

struct s3_auth_result {
	char access[S3_AUTH_ACCESS_MAX + 1]; /* also set on refusals: for logs */
	bool presigned;
	enum s3_payload payload;
	uint8_t sha256[32];       /* S3_PAYLOAD_HASH */
	struct s3_auth_seed seed; /* filled for the CHUNKS modes */
	const char *message;      /* of a refusal; NULL: the error's own */
};

/* S3_OK, or the error to answer with; ret->access and ->message are valid
 * then too. */
enum s3_err s3_auth_check(struct s3_auth *a, const struct s3_auth_request *req,
			  s3_auth_secret_fn secret, void *arg,
			  struct s3_auth_result *ret);

#endif
