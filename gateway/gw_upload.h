#ifndef GATEWAY_GW_UPLOAD_H
#define GATEWAY_GW_UPLOAD_H
/*
 * What PutObject and UploadPart share: bytes that come in with a request and
 * go, small ones into the record that names them, others into a slice first.
 *
 *   gw_upload_plan -> gw_upload_begin -> done(r, e) -> gw_upload_extents
 *   -> the record -> gw_body_named
 *
 * A struct gw_upload is the first field of the request's op, and its ops begin
 * with GW_UPLOAD_OPS. A body that ends early, or breaks a promise, leaves
 * nothing: the slice has no reference and is swept.
 */
#include "gateway/gw_body.h"

struct gw_upload {
	struct gw_plan plan;
	struct gw_body *body; /* NULL until it is asked for */
	bool small;           /* goes into the record */
};

void gw_upload_data(struct gw_req *r, struct evbuffer *buf);
uint8_t *gw_upload_room(struct gw_req *r, size_t *ret_len);
void gw_upload_direct(struct gw_req *r, size_t n);
void gw_upload_body_end(struct gw_req *r);
void gw_upload_stop(struct gw_req *r);
/* All but .free, which calls gw_body_free(). */
#define GW_UPLOAD_OPS \
	.body = gw_upload_data, .room = gw_upload_room, \
	.direct = gw_upload_direct, .body_end = gw_upload_body_end, \
	.stop = gw_upload_stop

/* What the headers promise, and where the bytes will go; or the refusal. */
enum s3_err gw_upload_plan(struct gw_req *r);
/* Asks for the body; home: shard of its slice. Answers where it cannot. */
void gw_upload_begin(struct gw_req *r, uint16_t home, gw_body_fn done);
/*
 * After done(S3_OK): the bytes for the record that names them, in data (of
 * small ones, borrowed) or in a slice, and extents (vec of wire_extent).
 */
void gw_upload_extents(const struct gw_upload *u, struct wire_vec *extents,
		       struct wire_bytes *ret_data);

#endif
