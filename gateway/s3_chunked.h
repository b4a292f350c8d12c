#ifndef GATEWAY_S3_CHUNKED_H
#define GATEWAY_S3_CHUNKED_H
/*
 * The aws-chunked decoder: chunks with or without signatures, with or without
 * a trailer of one checksum. Strict and bounded: sizes of at most 16 hex
 * digits, header lines of 128 bytes, trailers of 1 KiB, nothing behind the
 * end, and the decoded length must be the promised one.
 *
 * Decodes in place. A chunk's signature is checked when its last byte has been
 * seen: bytes come out before, and count for nothing until s3_chunked_end()
 * says S3_OK. Pure; an object belongs to one thread at a time.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/s3_auth.h"
#include "gateway/s3_sum.h"

struct s3_chunked_config {
	bool is_signed;
	bool trailer;              /* a trailer may follow */
	enum s3_sum_alg expect;    /* the one x-amz-trailer names, or NONE */
	uint64_t decoded_len;      /* x-amz-decoded-content-length */
	struct s3_auth_seed seed;  /* signed only */
};

struct s3_chunked;
int s3_chunked_new(const struct s3_chunked_config *config,
		   struct s3_chunked **ret_chunked); /* 0, -ENOMEM */
void s3_chunked_free(struct s3_chunked *c); /* NULL is fine */
/* Decodes data[0..len) in place to data[0..*ret_len). S3_OK or the error. */
enum s3_err s3_chunked_feed(struct s3_chunked *c, uint8_t *data, size_t len,
			    size_t *ret_len);
/* The body has ended: S3_OK when that is where it should have. */
enum s3_err s3_chunked_end(struct s3_chunked *c);
/* The trailer's checksum as sent (base64), empty when there was none. */
struct wire_bytes s3_chunked_sum(const struct s3_chunked *c);

#endif
