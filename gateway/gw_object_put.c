/*
 * PutObject.
 *
 *   small (<= inline_max):  body -> memory -> PUT with the bytes
 *   larger:  PREPARE (early refusal, home shard) -> body -> slice -> PUT
 *
 * PUT is one record: conditions are checked and the name changes at once. A
 * body that ends early, or breaks a promise, leaves nothing: the slice has no
 * reference and is swept.
 */
#include "gateway/gw.h"

#include <errno.h>
#include <string.h>

#include "gateway/gw_body.h"

struct gw_put_op {
	struct gw_plan plan;
	struct gw_cond cond;
	struct gw_meta meta;
	struct gw_body *body; /* NULL until it is asked for */
	bool small;
};

static void gw_put_data(struct gw_req *r, struct evbuffer *buf)
{
	struct gw_put_op *op = r->op;

	if (op->body != NULL)
		gw_body_data(op->body, buf);
}

static uint8_t *gw_put_room(struct gw_req *r, size_t *ret_len)
{
	struct gw_put_op *op = r->op;

	return op->body == NULL ? NULL : gw_body_room(op->body, ret_len);
}

static void gw_put_direct(struct gw_req *r, size_t n)
{
	gw_body_direct(((struct gw_put_op *)r->op)->body, n);
}

static void gw_put_body_end(struct gw_req *r)
{
	struct gw_put_op *op = r->op;

	if (op->body != NULL)
		gw_body_end(op->body);
}

static void gw_put_stop(struct gw_req *r)
{
	gw_body_stop(((struct gw_put_op *)r->op)->body);
}

static void gw_put_free(struct gw_req *r)
{
	struct gw_put_op *op = r->op;

	gw_body_free(op->body);
	gw_meta_fini(&op->meta);
	gw_req_op_free(r);
}

static const struct gw_ops gw_put_ops = {
	.body = gw_put_data,
	.room = gw_put_room,
	.direct = gw_put_direct,
	.body_end = gw_put_body_end,
	.stop = gw_put_stop,
	.free = gw_put_free,
};

static void gw_put_done(struct gw_req *r, const struct rpc_reply *reply)
{
	struct gw_put_op *op = r->op;
	struct rpc_put_rsp rsp;

	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_WRITE);
		return;
	}
	gw_body_named(op->body);
	if (rpc_put_rsp_decode(&rsp, reply->payload, reply->len) != 0) {
		gw_fail(r, S3_ERR_INTERNAL);
		return;
	}
	gw_reply_begin(r, 200);
	gw_reply_etag(r, rsp.etag);
	gw_reply_sums(r, wire_vec_bytes(&op->meta.sums),
		      wire_cstr(op->meta.sums.count > 0 ? "FULL_OBJECT" : ""));
	gw_reply_end_empty(r);
}

static void gw_put_body_done(struct gw_req *r, enum s3_err e)
{
	struct gw_put_op *op = r->op;
	const struct cluster_bucket *b = r->bucket;
	struct wire_extent ext = { .len = op->plan.len };
	struct rpc_put req = {
		.root = b->root,
		.key = r->name.key,
		.if_match = op->cond.if_match,
		.if_none_match = op->cond.if_none_match,
		.uid = b->uid,
		.gid = b->gid,
		.umask = b->umask,
		.size = op->plan.len,
		.epoch = r->cluster->top.epoch,
	};
	struct wire_vec extents;
	char etag[33];

	if (e != S3_OK) {
		gw_fail(r, e);
		return;
	}
	gw_body_etag(op->body, etag);
	gw_body_add_sums(op->body, &op->meta.sums);
	wire_vec_init(&extents);
	if (op->small) {
		ext.kind = WIRE_EXT_INLINE;
		req.data = gw_body_bytes(op->body);
	} else {
		ext.kind = WIRE_EXT_CHUNKS;
		ext.slice = gw_body_slice(op->body);
	}
	if (ext.len > 0)
		wire_vec_add_extent(&extents, &ext);
	req.etag = wire_cstr(etag);
	req.headers = wire_vec_bytes(&op->meta.headers);
	req.user = wire_vec_bytes(&op->meta.user);
	req.sums = wire_vec_bytes(&op->meta.sums);
	req.sum_type = wire_cstr(op->meta.sums.count > 0 ? "FULL_OBJECT" : "");
	req.extents = wire_vec_bytes(&extents);
	if (extents.buf.err != 0 || op->meta.sums.buf.err != 0)
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
	else
		(void)GW_SEND(r, put, gw_shard(r), &req, gw_put_done);
	wire_vec_fini(&extents);
}

static void gw_put_body(struct gw_req *r, uint16_t home)
{
	struct gw_put_op *op = r->op;

	op->body = gw_body_new(r, &op->plan, !op->small, home,
			       gw_put_body_done);
	if (op->body == NULL)
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
	else
		gw_body_start(op->body);
}

static void gw_put_prepared(struct gw_req *r, const struct rpc_reply *reply)
{
	struct rpc_prepare_rsp rsp;

	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_WRITE);
		return;
	}
	if (rpc_prepare_rsp_decode(&rsp, reply->payload, reply->len) != 0) {
		gw_fail(r, S3_ERR_INTERNAL);
		return;
	}
	gw_put_body(r, rsp.home);
}

/* What belongs to multipart uploads and must not make a whole object. */
static enum s3_err gw_put_check(struct gw_req *r)
{
	struct wire_bytes type = gw_header(r, "x-amz-checksum-type");

	if (s3_query_find(&r->query, "partNumber") != NULL) {
		r->message = "partNumber needs an uploadId.";
		return S3_ERR_INVALID_ARGUMENT;
	}
	if (type.p != NULL && !gw_text_is(type, "FULL_OBJECT")) {
		r->message = "The checksum of a whole object is FULL_OBJECT.";
		return S3_ERR_INVALID_REQUEST;
	}
	return S3_OK;
}

void gw_put_object(struct gw_req *r)
{
	struct gw_put_op *op = gw_req_op_new(r, &gw_put_ops, sizeof(*op));
	struct rpc_prepare req = { .root = gw_root(r), .key = r->name.key };
	enum s3_err e;

	if (op == NULL)
		return;
	gw_meta_init(&op->meta);
	e = gw_put_check(r);
	if (e == S3_OK)
		e = gw_plan_read(r, S3_SUM_BIT_MD5, GW_OBJECT_MAX, &op->plan);
	if (e == S3_OK && r->head->content_length < 0 && !r->head->chunked)
		e = S3_ERR_MISSING_LENGTH;
	if (e == S3_OK)
		e = gw_cond_write(r, &op->cond);
	if (e == S3_OK)
		e = gw_meta_read(r, &op->meta);
	if (e != S3_OK) {
		gw_fail(r, e);
		return;
	}
	op->small = op->plan.len <= r->cluster->top.inline_max;
	/* Whoever waits for 100 Continue with a condition gets to know first */
	if (op->small && !(r->head->expect_continue && r->condition != NULL)) {
		gw_put_body(r, 0);
		return;
	}
	req.if_match = op->cond.if_match;
	req.if_none_match = op->cond.if_none_match;
	(void)GW_SEND(r, prepare, gw_shard(r), &req, gw_put_prepared);
}
