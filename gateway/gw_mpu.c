/*
 * Multipart: create, part, abort.
 *
 * A part is looked up first (NoSuchUpload before 100 Continue, and the
 * checksum that CREATE declared), then streamed as an object's body is, and
 * recorded with MPU_PART.
 */
#include "gateway/gw.h"

#include <errno.h>
#include <string.h>

#include "gateway/gw_mpu.h"
#include "gateway/gw_upload.h"
#include "gateway/s3_xml.h"

/* --- create --- */

enum s3_err gw_mpu_sums(struct gw_req *r, enum s3_sum_alg *ret_alg,
			const char **ret_type)
{
	struct wire_bytes alg = gw_header(r, "x-amz-checksum-algorithm");
	struct wire_bytes type = gw_header(r, "x-amz-checksum-type");
	const struct s3_sum_info *info;

	*ret_alg = S3_SUM_NONE;
	*ret_type = "";
	if (alg.p == NULL) {
		if (type.p == NULL)
			return S3_OK;
		r->message = "The x-amz-checksum-type header can only be used "
			     "with the x-amz-checksum-algorithm header.";
		return S3_ERR_INVALID_REQUEST;
	}
	*ret_alg = s3_sum_find(alg);
	if (*ret_alg == S3_SUM_NONE) {
		r->message = "Checksum algorithm provided is unsupported.";
		return S3_ERR_INVALID_REQUEST;
	}
	info = s3_sum_info(*ret_alg);
	if (type.p == NULL)
		*ret_type = info->composite ? "COMPOSITE" : "FULL_OBJECT";
	else if (gw_text_is(type, "COMPOSITE") && info->composite)
		*ret_type = "COMPOSITE";
	else if (gw_text_is(type, "FULL_OBJECT") && info->full)
		*ret_type = "FULL_OBJECT";
	else {
		r->message = "The checksum type cannot be used with this "
			     "checksum algorithm.";
		return S3_ERR_INVALID_REQUEST;
	}
	return S3_OK;
}

struct gw_create_mpu_op {
	enum s3_sum_alg alg;
	const char *type;
};

static const struct gw_ops gw_create_mpu_ops = { .free = gw_req_op_free };

static void gw_mpu_created(struct gw_req *r, const struct rpc_reply *reply)
{
	struct gw_create_mpu_op *op = r->op;
	struct rpc_mpu_create_rsp rsp;
	struct buf xml;
	char id[33];

	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_WRITE);
		return;
	}
	if (rpc_mpu_create_rsp_decode(&rsp, reply->payload, reply->len) != 0) {
		gw_fail(r, S3_ERR_INTERNAL);
		return;
	}
	gw_upload_text(rsp.upload, id);
	buf_init(&xml, 0);
	s3_xml_open_top(&xml, "InitiateMultipartUploadResult");
	s3_xml_element(&xml, "Bucket", r->name.bucket);
	gw_xml_key(&xml, r->name.key);
	s3_xml_str(&xml, "UploadId", id);
	s3_xml_close(&xml, "InitiateMultipartUploadResult");
	if (xml.err != 0) {
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
	} else {
		gw_reply_begin(r, 200);
		gw_reply_str(r, "Content-Type", "application/xml");
		if (op->alg != S3_SUM_NONE) {
			gw_reply_str(r, "x-amz-checksum-algorithm",
				     s3_sum_info(op->alg)->upper);
			gw_reply_str(r, "x-amz-checksum-type", op->type);
		}
		http_reply_end_head(r->http, (int64_t)xml.len);
		http_reply_add(r->http, xml.data, xml.len);
		http_reply_end(r->http);
	}
	buf_fini(&xml);
}

void gw_mpu_create(struct gw_req *r)
{
	struct gw_create_mpu_op *op =
		gw_req_op_new(r, &gw_create_mpu_ops, sizeof(*op));
	struct rpc_mpu_create req = {
		.root = gw_root(r),
		.key = r->name.key,
		.owner = r->who->name,
	};
	struct gw_meta meta;
	enum s3_err e;

	if (op == NULL)
		return;
	gw_meta_init(&meta);
	e = gw_mpu_sums(r, &op->alg, &op->type);
	if (e == S3_OK)
		e = gw_meta_read(r, &meta);
	if (e != S3_OK) {
		gw_fail(r, e);
	} else {
		req.headers = wire_vec_bytes(&meta.headers);
		req.user = wire_vec_bytes(&meta.user);
		req.sums = wire_vec_bytes(&meta.sums);
		req.sum_type = wire_cstr(op->type);
		if (op->alg != S3_SUM_NONE)
			req.sum_alg = wire_cstr(s3_sum_info(op->alg)->name);
		(void)GW_SEND(r, mpu_create, gw_shard(r), &req, gw_mpu_created);
	}
	gw_meta_fini(&meta);
}

/* --- part --- */

struct gw_part_op {
	struct gw_upload up;
	struct wire_u128 upload;
	uint32_t number;
	struct wire_vec sums;
};

static void gw_part_free(struct gw_req *r)
{
	struct gw_part_op *op = r->op;

	gw_body_free(op->up.body);
	wire_vec_fini(&op->sums);
	gw_req_op_free(r);
}

static const struct gw_ops gw_part_ops = { GW_UPLOAD_OPS,
					   .free = gw_part_free };

static void gw_part_done(struct gw_req *r, const struct rpc_reply *reply)
{
	struct gw_part_op *op = r->op;
	char etag[33];

	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_UPLOAD);
		return;
	}
	gw_body_named(op->up.body);
	gw_body_etag(op->up.body, etag);
	gw_reply_begin(r, 200);
	gw_reply_etag(r, wire_cstr(etag));
	gw_reply_sums(r, wire_vec_bytes(&op->sums), wire_cstr(""));
	gw_reply_end_empty(r);
}

static void gw_part_body_done(struct gw_req *r, enum s3_err e)
{
	struct gw_part_op *op = r->op;
	struct rpc_mpu_part req = {
		.root = gw_root(r),
		.key = r->name.key,
		.upload = op->upload,
		.part = op->number,
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
	gw_body_add_sums(op->up.body, &op->sums);
	wire_vec_init(&extents);
	gw_upload_extents(&op->up, &extents, &req.data);
	req.etag = wire_cstr(etag);
	req.sums = wire_vec_bytes(&op->sums);
	req.extents = wire_vec_bytes(&extents);
	if (extents.buf.err != 0 || op->sums.buf.err != 0)
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
	else
		(void)GW_SEND(r, mpu_part, gw_shard(r), &req, gw_part_done);
	wire_vec_fini(&extents);
}

enum s3_err gw_mpu_part_alg(struct gw_req *r, struct wire_bytes sum_alg,
			    struct gw_plan *plan)
{
	enum s3_sum_alg alg = s3_sum_find(sum_alg);

	if (sum_alg.len == 0)
		return S3_OK; /* whatever the part brings is kept with it */
	if (alg == S3_SUM_NONE)
		return S3_ERR_INTERNAL;
	if (plan->alg != S3_SUM_NONE && plan->alg != alg) {
		r->message = "Checksum Type mismatch occurred: the part's "
			     "checksum is not the one the upload was created "
			     "with.";
		return S3_ERR_INVALID_REQUEST;
	}
	/* computed here when the client left it out */
	plan->bits |= S3_SUM_BIT(alg);
	return S3_OK;
}

static void gw_part_looked(struct gw_req *r, const struct rpc_reply *reply)
{
	struct gw_part_op *op = r->op;
	struct rpc_mpu_get_rsp rsp;
	enum s3_err e;

	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_UPLOAD);
		return;
	}
	if (rpc_mpu_get_rsp_decode(&rsp, reply->payload, reply->len) != 0) {
		gw_fail(r, S3_ERR_INTERNAL);
		return;
	}
	e = gw_mpu_part_alg(r, rsp.sum_alg, &op->up.plan);
	if (e != S3_OK)
		gw_fail(r, e);
	else
		gw_upload_begin(r, rsp.home, gw_part_body_done);
}

enum s3_err gw_mpu_part_query(const struct gw_req *r, struct wire_u128 *ret_id,
			      uint32_t *ret_number)
{
	uint64_t n;

	if (s3_query_u64(&r->query, "partNumber", 0, 10000, &n) != 0 || n == 0)
		return S3_ERR_INVALID_PART_NUMBER;
	*ret_number = (uint32_t)n;
	return gw_upload_id(r, ret_id) == 0 ? S3_OK : S3_ERR_NO_UPLOAD;
}

void gw_mpu_part(struct gw_req *r)
{
	struct gw_part_op *op = gw_req_op_new(r, &gw_part_ops, sizeof(*op));
	struct rpc_mpu_get req = { .root = gw_root(r), .key = r->name.key };
	enum s3_err e;

	if (op == NULL)
		return;
	wire_vec_init(&op->sums);
	e = gw_mpu_part_query(r, &op->upload, &op->number);
	if (e == S3_OK)
		e = gw_upload_plan(r);
	if (e != S3_OK) {
		gw_fail(r, e);
		return;
	}
	req.upload = op->upload;
	(void)GW_SEND(r, mpu_get, gw_shard(r), &req, gw_part_looked);
}

/* --- abort --- */

static void gw_mpu_aborted(struct gw_req *r, const struct rpc_reply *reply)
{
	if (reply->status == RPC_STATUS_OK)
		gw_reply_empty(r, 204);
	else
		gw_fail_status(r, reply->status, S3_CTX_UPLOAD);
}

void gw_mpu_abort(struct gw_req *r)
{
	struct rpc_mpu_abort req = { .root = gw_root(r), .key = r->name.key };

	if (gw_upload_id(r, &req.upload) != 0)
		gw_fail(r, S3_ERR_NO_UPLOAD);
	else
		(void)GW_SEND(r, mpu_abort, gw_shard(r), &req, gw_mpu_aborted);
}
