/*
 * Happy path: copy source and headers -> (part: MPU_GET) -> OBJECT of the
 * source -> its conditions -> by reference or streamed -> PUT or MPU_PART ->
 * answer.
 *
 * Failure modes: the source bucket belongs to someone else: AccessDenied, as
 * for any other request on it. The source changes meanwhile, or its bytes were
 * given up (then the record is refused): everything again, three times. The
 * client goes: all stops.
 */
#include "gateway/gw_copy.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

#include "gateway/gw_mpu.h"
#include "gateway/s3_xml.h"

static void gw_copy_stop(struct gw_req *r)
{
	struct gw_copy_op *op = r->op;

	gw_stream_stop(op->stream);
}

static void gw_copy_free(struct gw_req *r)
{
	struct gw_copy_op *op = r->op;

	gw_stream_free(op->stream);
	cluster_unref(op->src_cluster);
	mem_free(op->names);
	buf_fini(&op->etag);
	buf_fini(&op->headers);
	buf_fini(&op->user);
	buf_fini(&op->sums);
	buf_fini(&op->sum_type);
	buf_fini(&op->data);
	wire_vec_fini(&op->extents);
	gw_req_op_free(r);
}

static const struct gw_ops gw_copy_ops = {
	.stop = gw_copy_stop,
	.free = gw_copy_free,
};

static struct wire_bytes gw_bytes(const struct buf *b)
{
	return wire_bytes(b->data, b->len);
}

static void gw_keep(struct buf *to, struct wire_bytes from)
{
	buf_reset(to);
	buf_add(to, from.p, from.len);
}

/* --- the answer --- */

static void gw_copy_answer(struct gw_req *r)
{
	struct gw_copy_op *op = r->op;
	const char *top = op->part ? "CopyPartResult" : "CopyObjectResult";
	struct buf xml;

	buf_init(&xml, 0);
	s3_xml_open_top(&xml, top);
	s3_xml_time(&xml, "LastModified", op->mtime);
	s3_xml_etag(&xml, "ETag", gw_bytes(&op->etag));
	gw_xml_sums(&xml, gw_bytes(&op->sums));
	if (op->sum_type.len > 0 && !op->part)
		s3_xml_element(&xml, "ChecksumType", gw_bytes(&op->sum_type));
	s3_xml_close(&xml, top);
	gw_reply_xml(r, 200, &xml);
	buf_fini(&xml);
}

static void gw_copy_published(struct gw_req *r, const struct rpc_reply *reply)
{
	struct gw_copy_op *op = r->op;
	struct rpc_put_rsp rsp;

	if (reply->status == RPC_STATUS_SLICE_GONE) {
		gw_copy_again(r);
		return;
	}
	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status,
			       op->part ? S3_CTX_UPLOAD : S3_CTX_WRITE);
		return;
	}
	gw_stream_named(op->stream);
	op->mtime = env_wall_ns(r->l->env);
	if (!op->part) {
		if (rpc_put_rsp_decode(&rsp, reply->payload, reply->len) != 0) {
			gw_fail(r, S3_ERR_INTERNAL);
			return;
		}
		op->mtime = rsp.attr.mtime;
		gw_keep(&op->etag, rsp.etag);
	}
	gw_copy_answer(r);
}

/* --- the record --- */

static int gw_copy_encode_put(struct gw_req *r, struct buf *out)
{
	struct gw_copy_op *op = r->op;
	const struct cluster_bucket *b = r->bucket;
	struct rpc_put req = {
		.root = b->root,
		.key = r->name.key,
		.if_match = op->cond.if_match,
		.if_none_match = op->cond.if_none_match,
		.uid = b->uid,
		.gid = b->gid,
		.umask = b->umask,
		.size = op->len,
		.etag = gw_bytes(&op->etag),
		.headers = gw_bytes(&op->headers),
		.user = gw_bytes(&op->user),
		.sums = gw_bytes(&op->sums),
		.sum_type = gw_bytes(&op->sum_type),
		.extents = wire_vec_bytes(&op->extents),
		.data = gw_bytes(&op->data),
		.epoch = r->cluster->top.epoch,
	};

	return rpc_put_encode(&req, out);
}

static int gw_copy_encode_part(struct gw_req *r, struct buf *out)
{
	struct gw_copy_op *op = r->op;
	struct rpc_mpu_part req = {
		.root = gw_root(r),
		.key = r->name.key,
		.upload = op->upload,
		.part = op->number,
		.size = op->len,
		.etag = gw_bytes(&op->etag),
		.sums = gw_bytes(&op->sums),
		.extents = wire_vec_bytes(&op->extents),
		.data = gw_bytes(&op->data),
		.epoch = r->cluster->top.epoch,
	};

	return rpc_mpu_part_encode(&req, out);
}

void gw_copy_publish(struct gw_req *r)
{
	struct gw_copy_op *op = r->op;
	struct buf payload;
	struct client_send send = {
		.tag = op->part ? RPC_TAG_mpu_part : RPC_TAG_put,
		.shard = gw_shard(r),
		.payload = &payload,
	};
	int rv;

	buf_init(&payload, 0);
	rv = op->part ? gw_copy_encode_part(r, &payload) :
			gw_copy_encode_put(r, &payload);
	if (rv == 0)
		rv = op->extents.buf.err;
	if (rv == 0)
		(void)gw_send_buf(r, &send, gw_copy_published);
	else
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
	buf_fini(&payload);
}

/* --- the source --- */

static enum s3_err gw_copy_conditions(struct gw_req *r,
				      const struct rpc_object_rsp *o)
{
	struct s3_conditions c = {
		.if_match = gw_header(r, "x-amz-copy-source-if-match"),
		.if_none_match = gw_header(r, "x-amz-copy-source-if-none-match"),
		.if_modified_since =
			gw_header(r, "x-amz-copy-source-if-modified-since"),
		.if_unmodified_since =
			gw_header(r, "x-amz-copy-source-if-unmodified-since"),
	};
	int64_t sec = o->attr.mtime / 1000000000 -
		      (o->attr.mtime % 1000000000 < 0);
	const char *which = NULL;

	/* here "not modified" is a failure as well */
	if (s3_conditions_check(&c, o->etag, sec, &which) == 0)
		return S3_OK;
	r->condition = which;
	return S3_ERR_PRECONDITION;
}

static enum s3_err gw_copy_range(struct gw_req *r,
				 const struct rpc_object_rsp *o)
{
	struct gw_copy_op *op = r->op;

	op->off = 0;
	op->len = o->attr.size;
	if (op->range.kind == S3_RANGE_FROM) {
		if (op->range.last >= o->attr.size) {
			r->message = "Range specified is not valid for source "
				     "object";
			return S3_ERR_INVALID_ARGUMENT;
		}
		op->off = op->range.first;
		op->len = op->range.last - op->range.first + 1;
	}
	if (op->len > GW_OBJECT_MAX) {
		r->message = "The specified copy source is larger than the "
			     "maximum allowable size for a copy source: "
			     "5368709120";
		return S3_ERR_INVALID_REQUEST;
	}
	return S3_OK;
}

/* What the copy keeps of the source. */
static enum s3_err gw_copy_keep(struct gw_req *r,
				const struct rpc_object_rsp *o)
{
	struct gw_copy_op *op = r->op;
	struct gw_meta meta;
	enum s3_err e = S3_OK;

	op->ino = o->attr.ino;
	op->version = o->attr.data_version;
	gw_keep(&op->etag, o->etag);
	buf_reset(&op->sums);
	buf_reset(&op->sum_type);
	/* a COMPOSITE one tells of parts that the copy does not have */
	if (!op->part && gw_text_is(o->sum_type, "FULL_OBJECT")) {
		gw_keep(&op->sums, o->sums);
		gw_keep(&op->sum_type, o->sum_type);
	}
	if (op->part)
		return S3_OK;
	if (!op->replace) {
		gw_keep(&op->headers, o->headers);
		gw_keep(&op->user, o->user);
		return S3_OK;
	}
	gw_meta_init(&meta);
	e = gw_meta_read(r, &meta);
	gw_keep(&op->headers, wire_vec_bytes(&meta.headers));
	gw_keep(&op->user, wire_vec_bytes(&meta.user));
	gw_meta_fini(&meta);
	return e;
}

/* Does the source have the checksum that is asked for already? */
static bool gw_copy_has_sum(const struct gw_copy_op *op)
{
	struct wire_bytes v;

	return op->alg == S3_SUM_NONE ||
	       (!op->part && wire_kvs_find(gw_bytes(&op->sums),
					   s3_sum_info(op->alg)->name, &v));
}

static void gw_copy_looked(struct gw_req *r, const struct rpc_reply *reply)
{
	struct gw_copy_op *op = r->op;
	struct rpc_object_rsp o;
	enum s3_err e;

	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_OBJECT);
		return;
	}
	if (rpc_object_rsp_decode(&o, reply->payload, reply->len) != 0) {
		gw_fail(r, S3_ERR_INTERNAL);
		return;
	}
	e = gw_copy_conditions(r, &o);
	if (e == S3_OK)
		e = gw_copy_range(r, &o);
	if (e == S3_OK)
		e = gw_copy_keep(r, &o);
	if (e == S3_OK && (op->etag.err | op->headers.err | op->user.err |
			   op->sums.err | op->sum_type.err) != 0)
		e = S3_ERR_OUT_OF_MEMORY;
	if (e != S3_OK) {
		gw_fail(r, e);
		return;
	}
	if (ino_shard(op->ino) == gw_shard(r) && gw_copy_has_sum(op))
		gw_copy_ref(r, &o, reply->body);
	else
		gw_copy_stream(r);
}

static void gw_copy_look(struct gw_req *r)
{
	struct gw_copy_op *op = r->op;
	struct rpc_object req = {
		.root = op->src_bucket->root,
		.key = op->src.key,
		.off = op->range.kind == S3_RANGE_FROM ? op->range.first : 0,
		.len = UINT64_MAX / 2, /* as many extents as one reply holds */
	};

	(void)GW_SEND(r, object, ino_shard(op->src_bucket->root), &req,
		      gw_copy_looked);
}

void gw_copy_again(struct gw_req *r)
{
	struct gw_copy_op *op = r->op;

	if (++op->tries < GW_COPY_TRIES)
		gw_copy_look(r);
	else
		gw_fail(r, S3_ERR_SLOW_DOWN);
}

static void gw_copy_find_source(struct gw_req *r)
{
	struct gw_copy_op *op = r->op;
	struct cluster *now = client_cluster(r->l->client);
	const struct cluster_bucket *found;
	enum s3_err e;

	e = gw_bucket_find(r, op->src.bucket, &op->src_bucket);
	if (e == S3_ERR_NO_BUCKET && !r->refreshed) {
		r->refreshed = true;
		gw_refresh(r, UINT64_MAX, gw_copy_find_source);
		return;
	}
	/* r->cluster stays: the destination borrows from it. A bucket made
	 * since is found in the new one. */
	if (e == S3_ERR_NO_BUCKET && now != NULL && now != r->cluster) {
		found = cluster_find_bucket(now, op->src.bucket);
		if (found != NULL && found->state == CLUSTER_BUCKET_READY) {
			cluster_unref(op->src_cluster);
			op->src_cluster = cluster_ref(now);
			op->src_bucket = found;
			e = wire_bytes_eq(found->owner, r->who->name) ?
				    S3_OK :
				    S3_ERR_ACCESS_DENIED;
		}
	}
	if (e != S3_OK)
		gw_fail(r, e);
	else
		gw_copy_look(r);
}

/* --- the request --- */

static enum s3_err gw_copy_source(struct gw_req *r)
{
	struct gw_copy_op *op = r->op;
	struct wire_bytes src = gw_header(r, "x-amz-copy-source"), version;

	op->names = mem_alloc(src.len + 1);
	if (op->names == NULL)
		return S3_ERR_OUT_OF_MEMORY;
	if (s3_uri_copy_source(src, op->names, &op->src, &version) != 0) {
		r->message = "Copy Source must mention the source bucket and "
			     "key: sourcebucket/sourcekey";
		return S3_ERR_INVALID_ARGUMENT;
	}
	if (version.len > 0 && !gw_text_is(version, "null"))
		return S3_ERR_NO_VERSION;
	return S3_OK;
}

static enum s3_err gw_copy_directive(struct gw_req *r)
{
	struct gw_copy_op *op = r->op;
	struct wire_bytes d = gw_header(r, "x-amz-metadata-directive");
	struct wire_bytes alg = gw_header(r, "x-amz-checksum-algorithm");

	if (d.p != NULL && !gw_text_is(d, "COPY") && !gw_text_is(d, "REPLACE")) {
		r->message = "Unknown metadata directive.";
		return S3_ERR_INVALID_ARGUMENT;
	}
	op->replace = d.p != NULL && gw_text_is(d, "REPLACE");
	if (!op->replace && wire_bytes_eq(op->src.bucket, r->name.bucket) &&
	    wire_bytes_eq(op->src.key, r->name.key)) {
		r->message = "This copy request is illegal because it is "
			     "trying to copy an object to itself without "
			     "changing the object's metadata, storage class, "
			     "website redirect location or encryption "
			     "attributes.";
		return S3_ERR_INVALID_REQUEST;
	}
	if (alg.p != NULL) {
		op->alg = s3_sum_find(alg);
		if (op->alg == S3_SUM_NONE) {
			r->message = "Checksum algorithm provided is "
				     "unsupported.";
			return S3_ERR_INVALID_REQUEST;
		}
	}
	return gw_cond_write(r, &op->cond);
}

static struct gw_copy_op *gw_copy_new(struct gw_req *r)
{
	struct gw_copy_op *op = gw_req_op_new(r, &gw_copy_ops, sizeof(*op));

	if (op == NULL)
		return NULL;
	op->alg = S3_SUM_NONE;
	wire_vec_init(&op->extents);
	return op;
}

void gw_copy_object(struct gw_req *r)
{
	struct gw_copy_op *op = gw_copy_new(r);
	enum s3_err e;

	if (op == NULL)
		return;
	op->home = gw_shard(r);
	e = gw_copy_source(r);
	if (e == S3_OK)
		e = gw_copy_directive(r);
	if (e != S3_OK)
		gw_fail(r, e);
	else
		gw_copy_find_source(r);
}

/* --- UploadPartCopy --- */

static void gw_copy_part_looked(struct gw_req *r, const struct rpc_reply *reply)
{
	struct gw_copy_op *op = r->op;
	struct rpc_mpu_get_rsp rsp;

	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_UPLOAD);
		return;
	}
	if (rpc_mpu_get_rsp_decode(&rsp, reply->payload, reply->len) != 0) {
		gw_fail(r, S3_ERR_INTERNAL);
		return;
	}
	op->home = rsp.home;
	op->alg = s3_sum_find(rsp.sum_alg);
	gw_copy_find_source(r);
}

static enum s3_err gw_copy_part_range(struct gw_req *r)
{
	struct gw_copy_op *op = r->op;
	struct wire_bytes range = gw_header(r, "x-amz-copy-source-range");

	if (range.p == NULL)
		return S3_OK;
	op->range = s3_range_parse(range);
	if (op->range.kind == S3_RANGE_FROM && op->range.last != UINT64_MAX)
		return S3_OK;
	r->message = "The x-amz-copy-source-range value must be of the form "
		     "bytes=first-last where first and last are the "
		     "zero-based offsets of the first and last bytes to copy";
	return S3_ERR_INVALID_ARGUMENT;
}

void gw_copy_part(struct gw_req *r)
{
	struct gw_copy_op *op = gw_copy_new(r);
	struct rpc_mpu_get req = { .root = gw_root(r), .key = r->name.key };
	enum s3_err e;

	if (op == NULL)
		return;
	op->part = true;
	e = gw_mpu_part_query(r, &op->upload, &op->number);
	if (e == S3_OK)
		e = gw_copy_source(r);
	if (e == S3_OK)
		e = gw_copy_part_range(r);
	if (e != S3_OK) {
		gw_fail(r, e);
		return;
	}
	req.upload = op->upload;
	(void)GW_SEND(r, mpu_get, gw_shard(r), &req, gw_copy_part_looked);
}
