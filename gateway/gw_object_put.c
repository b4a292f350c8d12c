/*
 * PutObject.
 *
 *   small (<= inline_max):  body -> memory -> PUT with the bytes
 *   larger:  PREPARE (early refusal, home shard) -> body -> slice -> PUT
 *
 * PUT is one record: conditions are checked and the name changes at once.
 */
#include "gateway/gw.h"

#include <errno.h>
#include <string.h>

#include "gateway/gw_upload.h"

struct gw_put_op {
	struct gw_upload up;
	struct gw_cond cond;
	struct gw_meta meta;
};

static void gw_put_free(struct gw_req *r)
{
	struct gw_put_op *op = r->op;

	gw_body_free(op->up.body);
	gw_meta_fini(&op->meta);
	gw_req_op_free(r);
}

static const struct gw_ops gw_put_ops = { GW_UPLOAD_OPS, .free = gw_put_free };

static void gw_put_done(struct gw_req *r, const struct rpc_reply *reply)
{
	struct gw_put_op *op = r->op;
	struct rpc_put_rsp rsp;

	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_WRITE);
		return;
	}
	gw_body_named(op->up.body);
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
	struct rpc_put req = {
		.root = b->root,
		.key = r->name.key,
		.if_match = op->cond.if_match,
		.if_none_match = op->cond.if_none_match,
		.uid = b->uid,
		.gid = b->gid,
		.umask = b->umask,
		.size = op->up.plan.len,
		.epoch = r->cluster->top.epoch,
	};
	struct wire_vec extents;
	char etag[33];

	if (e != S3_OK) {
		gw_fail(r, e);
		return;
	}
	gw_body_etag(op->up.body, etag);
	gw_body_add_sums(op->up.body, &op->meta.sums);
	wire_vec_init(&extents);
	gw_upload_extents(&op->up, &extents, &req.data);
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
	gw_upload_begin(r, rsp.home, gw_put_body_done);
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
		e = gw_upload_plan(r);
	if (e == S3_OK)
		e = gw_cond_write(r, &op->cond);
	if (e == S3_OK)
		e = gw_meta_read(r, &op->meta);
	if (e != S3_OK) {
		gw_fail(r, e);
		return;
	}
	/* Whoever waits for 100 Continue with a condition gets to know first */
	if (op->up.small && !(r->head->expect_continue && r->condition != NULL)) {
		gw_upload_begin(r, 0, gw_put_body_done);
		return;
	}
	req.if_match = op->cond.if_match;
	req.if_none_match = op->cond.if_none_match;
	(void)GW_SEND(r, prepare, gw_shard(r), &req, gw_put_prepared);
}
