#include "gateway/gw_upload.h"

void gw_upload_data(struct gw_req *r, struct evbuffer *buf)
{
	struct gw_upload *u = r->op;

	if (u->body != NULL)
		gw_body_data(u->body, buf);
}

uint8_t *gw_upload_room(struct gw_req *r, size_t *ret_len)
{
	struct gw_upload *u = r->op;

	return u->body == NULL ? NULL : gw_body_room(u->body, ret_len);
}

void gw_upload_direct(struct gw_req *r, size_t n)
{
	struct gw_upload *u = r->op;

	gw_body_direct(u->body, n);
}

void gw_upload_body_end(struct gw_req *r)
{
	struct gw_upload *u = r->op;

	if (u->body != NULL)
		gw_body_end(u->body);
}

void gw_upload_stop(struct gw_req *r)
{
	struct gw_upload *u = r->op;

	gw_body_stop(u->body);
}

enum s3_err gw_upload_plan(struct gw_req *r)
{
	struct gw_upload *u = r->op;
	enum s3_err e =
		gw_plan_read(r, S3_SUM_BIT_MD5, GW_OBJECT_MAX, &u->plan);

	if (e == S3_OK && r->head->content_length < 0 && !r->head->chunked)
		e = S3_ERR_MISSING_LENGTH;
	if (e == S3_OK)
		u->small = u->plan.len <= r->cluster->top.inline_max;
	return e;
}

void gw_upload_begin(struct gw_req *r, uint16_t home, gw_body_fn done)
{
	struct gw_upload *u = r->op;

	u->body = gw_body_new(r, &u->plan, !u->small, home, done);
	if (u->body == NULL)
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
	else
		gw_body_start(u->body);
}

void gw_upload_extents(const struct gw_upload *u, struct wire_vec *extents,
		       struct wire_bytes *ret_data)
{
	struct wire_extent ext = { .len = u->plan.len };

	if (u->small) {
		ext.kind = WIRE_EXT_INLINE;
		*ret_data = gw_body_bytes(u->body);
	} else {
		ext.kind = WIRE_EXT_CHUNKS;
		ext.slice = gw_body_slice(u->body);
	}
	if (ext.len > 0)
		wire_vec_add_extent(extents, &ext);
}
