#ifndef GATEWAY_GW_BODY_H
#define GATEWAY_GW_BODY_H
/*
 * A request body on its way in: read with back-pressure, decoded when it is
 * aws-chunked, hashed, compared with everything the request promised about it,
 * and put into memory or into a slice.
 *
 * Small bodies are collected and hashed when they are there. Streams go into
 * the chunks of the slice and are hashed in there; aws-chunked ones go through
 * pieces of 256 KiB before. Both in order, and with bounded memory.
 *
 * done(r, e) comes once: S3_OK when the whole body is there, every promise
 * held and (slice) all chunks are durable; else the error to answer. Not after
 * gw_body_stop(). It may come inside gw_body_start() when there is no body.
 */
#include "gateway/gw.h"

#define GW_BODY_PIECE (256u << 10)
#define GW_BODY_PIECES 4

struct gw_body;

/* What the headers promise. */
struct gw_plan {
	uint64_t len;             /* of the object's bytes */
	bool chunked;             /* aws-chunked */
	bool chunks_signed;
	bool trailer;             /* of aws-chunked may follow */
	unsigned bits;            /* S3_SUM_BIT* to compute */
	enum s3_sum_alg alg;      /* promised checksum, or NONE */
	bool in_trailer;          /* its value comes in the trailer */
	uint8_t sum[S3_SUM_LEN_MAX]; /* else it is this */
	bool have_md5;
	uint8_t md5[S3_MD5_LEN];
};
/* extra: S3_SUM_BIT* wanted besides; max: bytes. S3_OK or the refusal. */
enum s3_err gw_plan_read(struct gw_req *r, unsigned extra, uint64_t max,
			 struct gw_plan *ret);

/* The same for requests whose x-amz-checksum-* are about something else than
 * their own body (CompleteMultipartUpload). */
enum s3_err gw_plan_whole(struct gw_req *r, uint64_t max, struct gw_plan *ret);

typedef void (*gw_body_fn)(struct gw_req *r, enum s3_err e);
/* slice: taken; NULL: into memory. NULL when out of memory (slice is freed). */
struct gw_body *gw_body_new(struct gw_req *r, const struct gw_plan *plan,
			    bool to_slice, uint16_t home, gw_body_fn done);
/* Asks the client for the body (100 Continue). */
void gw_body_start(struct gw_body *b);
/* For gw_ops of the owner. */
void gw_body_data(struct gw_body *b, struct evbuffer *buf);
uint8_t *gw_body_room(struct gw_body *b, size_t *ret_len);
void gw_body_direct(struct gw_body *b, size_t n);
void gw_body_end(struct gw_body *b);
void gw_body_stop(struct gw_body *b);  /* NULL is fine */
void gw_body_named(struct gw_body *b); /* the record that names it is there */
void gw_body_free(struct gw_body *b);  /* NULL is fine; from gw_ops.free */

/* After done(S3_OK). */
struct wire_bytes gw_body_bytes(const struct gw_body *b); /* memory */
const struct s3_sums *gw_body_sums(const struct gw_body *b);
struct wire_u128 gw_body_slice(const struct gw_body *b);
/* Adds the promised (or wanted) checksum as kv; its name or NULL. */
void gw_body_add_sums(const struct gw_body *b, struct wire_vec *sums);
/* 32 hex digits of the MD5. */
void gw_body_etag(const struct gw_body *b, char out[33]);

#endif
