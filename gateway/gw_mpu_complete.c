/*
 * CompleteMultipartUpload: the list of parts is read, and one record of the
 * shard checks it (ETags, sizes, checksums, conditions) and publishes the
 * object. No byte moves.
 *
 * Only x-amz-mp-object-size needs a look at the stored parts before that.
 *
 * Failure modes: a client that lost the answer asks again, when the upload is
 * gone: if the object under the key was made by it (an upload's id ends with the
 * inode number of what it makes) and has the ETag that the listed parts make,
 * the client hears of it.
 */
#include "gateway/gw.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"

#include "gateway/gw_mpu.h"
#include "gateway/s3_md5.h"
#include "gateway/s3_xml.h"

#define GW_MIN_PART (5u << 20)
#define GW_PARTS_PAGE 1000

struct gw_complete_op {
	struct wire_u128 upload;
	struct gw_cond cond;
	struct gw_body *body;
	struct s3_xml_complete list;
	unsigned at;   /* of list.parts, while sizes are added up */
	uint64_t size; /* so far */
};

static void gw_complete_data(struct gw_req *r, struct evbuffer *buf)
{
	struct gw_complete_op *op = r->op;

	if (op->body != NULL)
		gw_body_data(op->body, buf);
}

static void gw_complete_body_end(struct gw_req *r)
{
	struct gw_complete_op *op = r->op;

	if (op->body != NULL)
		gw_body_end(op->body);
}

static void gw_complete_stop(struct gw_req *r)
{
	gw_body_stop(((struct gw_complete_op *)r->op)->body);
}

static void gw_complete_free(struct gw_req *r)
{
	struct gw_complete_op *op = r->op;

	gw_body_free(op->body);
	s3_xml_complete_fini(&op->list);
	gw_req_op_free(r);
}

static const struct gw_ops gw_complete_ops = {
	.body = gw_complete_data,
	.body_end = gw_complete_body_end,
	.stop = gw_complete_stop,
	.free = gw_complete_free,
};

/* --- the answer --- */

void gw_xml_key(struct buf *out, struct wire_bytes key)
{
	if (s3_xml_carries(key))
		s3_xml_element(out, "Key", key);
}

static void gw_complete_answer(struct gw_req *r, struct wire_bytes etag,
			       struct wire_bytes sums,
			       struct wire_bytes sum_type)
{
	struct wire_bytes host = gw_header(r, "host");
	struct buf xml;

	buf_init(&xml, 0);
	s3_xml_open_top(&xml, "CompleteMultipartUploadResult");
	s3_xml_open(&xml, "Location");
	buf_puts(&xml, "http://");
	if (s3_xml_carries(host))
		s3_xml_text(&xml, host);
	s3_xml_text(&xml, r->head->path);
	s3_xml_close(&xml, "Location");
	s3_xml_element(&xml, "Bucket", r->name.bucket);
	gw_xml_key(&xml, r->name.key);
	s3_xml_etag(&xml, "ETag", etag);
	gw_xml_sums(&xml, sums);
	if (sum_type.len > 0)
		s3_xml_element(&xml, "ChecksumType", sum_type);
	s3_xml_close(&xml, "CompleteMultipartUploadResult");
	gw_reply_xml(r, 200, &xml);
	buf_fini(&xml);
}

/* --- an upload that is gone --- */

/* The ETag that the listed parts make; false: they are no MD5s. */
static bool gw_complete_etag(const struct gw_complete_op *op, char *out,
			     size_t size)
{
	uint8_t digest[16];
	char hex[33];
	struct s3_md5 md5;

	s3_md5_init(&md5);
	for (unsigned i = 0; i < op->list.n_parts; i++) {
		if (s3_hex_decode(op->list.parts[i].etag, digest,
				  sizeof digest) != 0)
			return false;
		s3_md5_add(&md5, digest, sizeof digest);
	}
	s3_md5_end(&md5, digest);
	s3_hex(digest, sizeof digest, hex);
	snprintf(out, size, "%s-%u", hex, op->list.n_parts);
	return true;
}

static void gw_complete_seen(struct gw_req *r, const struct rpc_reply *reply)
{
	struct gw_complete_op *op = r->op;
	struct rpc_object_rsp o;
	char etag[48];

	if (reply->status == RPC_STATUS_OK &&
	    rpc_object_rsp_decode(&o, reply->payload, reply->len) != 0)
		gw_fail(r, S3_ERR_INTERNAL);
	else if (reply->status == RPC_STATUS_OK &&
		 o.attr.ino == op->upload.lo &&
		 gw_complete_etag(op, etag, sizeof etag) &&
		 wire_bytes_eq(o.etag, wire_cstr(etag)))
		gw_complete_answer(r, o.etag, o.sums, o.sum_type);
	else if (reply->status == RPC_STATUS_OK ||
		 reply->status == RPC_STATUS_NOENT)
		gw_fail(r, S3_ERR_NO_UPLOAD);
	else
		gw_fail_status(r, reply->status, S3_CTX_OBJECT);
}

static void gw_complete_failed(struct gw_req *r, uint32_t status)
{
	struct gw_complete_op *op = r->op;
	struct rpc_object req = { .root = gw_root(r), .key = r->name.key };

	if (status == RPC_STATUS_NO_UPLOAD)
		(void)GW_SEND(r, object, gw_shard(r), &req, gw_complete_seen);
	else /* of the key, when it is If-Match that found nothing */
		gw_fail_status(r, status,
			       status == RPC_STATUS_NOENT &&
					       op->cond.if_match.len > 0 ?
				       S3_CTX_WRITE :
				       S3_CTX_UPLOAD);
}

/* --- the record --- */

static void gw_complete_done(struct gw_req *r, const struct rpc_reply *reply)
{
	struct rpc_put_rsp rsp;

	if (reply->status != RPC_STATUS_OK)
		gw_complete_failed(r, reply->status);
	else if (rpc_put_rsp_decode(&rsp, reply->payload, reply->len) != 0)
		gw_fail(r, S3_ERR_INTERNAL);
	else
		gw_complete_answer(r, rsp.etag, rsp.sums, rsp.sum_type);
}

static void gw_complete_parts(struct gw_complete_op *op, struct wire_vec *parts)
{
	for (unsigned i = 0; i < op->list.n_parts; i++) {
		const struct s3_xml_part *p = &op->list.parts[i];
		struct wire_writer w;
		struct wire_vec sums;
		struct wire_bytes none;

		wire_vec_init(&sums);
		for (enum s3_sum_alg a = 0; a < S3_SUM_COUNT; a++)
			if (p->sums[a].len > 0)
				wire_vec_add_kv(
					&sums, wire_cstr(s3_sum_info(a)->name),
					p->sums[a]);
		none = wire_vec_bytes(&sums);
		w = wire_vec_add(parts);
		wire_put_u32(&w, &p->number);
		wire_put_str(&w, &p->etag);
		wire_put_kvs(&w, &none);
		if (sums.buf.err != 0)
			parts->buf.err = sums.buf.err;
		wire_vec_fini(&sums);
	}
}

/* x-amz-checksum-* here is about the whole object. */
static void gw_complete_sums(const struct gw_req *r, struct wire_vec *sums)
{
	for (unsigned i = 0; i < r->head->n_headers; i++) {
		const struct http_header *h = &r->head->headers[i];
		enum s3_sum_alg a = s3_sum_find_header(h->name);

		if (a != S3_SUM_NONE)
			wire_vec_add_kv(sums, wire_cstr(s3_sum_info(a)->name),
					h->value);
	}
}

static void gw_complete_send(struct gw_req *r)
{
	struct gw_complete_op *op = r->op;
	const struct cluster_bucket *b = r->bucket;
	struct rpc_mpu_complete req = {
		.root = b->root,
		.key = r->name.key,
		.upload = op->upload,
		.if_match = op->cond.if_match,
		.if_none_match = op->cond.if_none_match,
		.uid = b->uid,
		.gid = b->gid,
		.umask = b->umask,
		.sum_type = gw_header(r, "x-amz-checksum-type"),
		.min_part = GW_MIN_PART,
	};
	struct wire_vec parts, sums;

	wire_vec_init(&parts);
	wire_vec_init(&sums);
	gw_complete_parts(op, &parts);
	gw_complete_sums(r, &sums);
	req.parts = wire_vec_bytes(&parts);
	req.sums = wire_vec_bytes(&sums);
	if (parts.buf.err != 0 || sums.buf.err != 0)
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
	else
		(void)GW_SEND(r, mpu_complete, gw_shard(r), &req,
			      gw_complete_done);
	wire_vec_fini(&parts);
	wire_vec_fini(&sums);
}

/* --- x-amz-mp-object-size --- */

static void gw_complete_ask(struct gw_req *r, uint32_t after);

/* One page of stored parts; both lists ascend. */
static enum s3_err gw_complete_page(struct gw_complete_op *op,
				    const struct rpc_mpu_parts_rsp *rsp)
{
	uint32_t n;
	struct wire_reader rd = wire_vec_reader(rsp->parts, &n);

	for (; n > 0 && rd.err == 0; n--) {
		struct wire_bytes etag, sums;
		uint32_t number;
		uint64_t size;
		int64_t mtime;

		wire_get_u32(&rd, &number);
		wire_get_u64(&rd, &size);
		wire_get_i64(&rd, &mtime);
		wire_get_str(&rd, &etag);
		wire_get_kvs(&rd, &sums);
		if (rd.err != 0)
			break;
		if (op->at == op->list.n_parts ||
		    op->list.parts[op->at].number != number)
			continue; /* one the client leaves out */
		op->size += size;
		op->at++;
	}
	return rd.err == 0 ? S3_OK : S3_ERR_INTERNAL;
}

static void gw_complete_parts_done(struct gw_req *r,
				   const struct rpc_reply *reply)
{
	struct gw_complete_op *op = r->op;
	struct rpc_mpu_parts_rsp rsp;
	uint64_t want = 0;
	enum s3_err e;

	if (reply->status != RPC_STATUS_OK) {
		gw_complete_failed(r, reply->status);
		return;
	}
	if (rpc_mpu_parts_rsp_decode(&rsp, reply->payload, reply->len) != 0) {
		gw_fail(r, S3_ERR_INTERNAL);
		return;
	}
	e = gw_complete_page(op, &rsp);
	if (e == S3_OK && rsp.truncated && op->at < op->list.n_parts) {
		gw_complete_ask(r, rsp.next);
		return;
	}
	if (e == S3_OK && op->at < op->list.n_parts)
		e = S3_ERR_INVALID_PART;
	(void)gw_header_u64(r, "x-amz-mp-object-size", &want);
	if (e == S3_OK && op->size != want) {
		r->message = "The provided 'x-amz-mp-object-size' header value "
			     "does not match what was computed.";
		e = S3_ERR_INVALID_REQUEST;
	}
	if (e != S3_OK)
		gw_fail(r, e);
	else
		gw_complete_send(r);
}

static void gw_complete_ask(struct gw_req *r, uint32_t after)
{
	struct gw_complete_op *op = r->op;
	struct rpc_mpu_parts req = {
		.root = gw_root(r),
		.key = r->name.key,
		.upload = op->upload,
		.after = after,
		.max = GW_PARTS_PAGE,
	};

	(void)GW_SEND(r, mpu_parts, gw_shard(r), &req, gw_complete_parts_done);
}

/* --- the request --- */

static void gw_complete_body_done(struct gw_req *r, enum s3_err e)
{
	struct gw_complete_op *op = r->op;
	struct wire_bytes xml;
	uint64_t size;
	int rv;

	if (e != S3_OK) {
		gw_fail(r, e);
		return;
	}
	xml = gw_body_bytes(op->body);
	rv = s3_xml_read_complete(xml.p, xml.len, &op->list);
	if (rv != 0) {
		gw_fail(r, rv == -ENOMEM ? S3_ERR_OUT_OF_MEMORY :
					   S3_ERR_MALFORMED_XML);
		return;
	}
	for (unsigned i = 1; i < op->list.n_parts; i++)
		if (op->list.parts[i].number <= op->list.parts[i - 1].number) {
			gw_fail(r, S3_ERR_INVALID_PART_ORDER);
			return;
		}
	rv = gw_header_u64(r, "x-amz-mp-object-size", &size);
	if (rv == -EINVAL)
		gw_fail(r, S3_ERR_INVALID_ARGUMENT);
	else if (rv == 0)
		gw_complete_ask(r, 0);
	else
		gw_complete_send(r);
}

void gw_mpu_complete(struct gw_req *r)
{
	struct gw_complete_op *op =
		gw_req_op_new(r, &gw_complete_ops, sizeof(*op));
	struct gw_plan plan;
	enum s3_err e;

	if (op == NULL)
		return;
	e = gw_upload_id(r, &op->upload) == 0 ? S3_OK : S3_ERR_NO_UPLOAD;
	if (e == S3_OK)
		e = gw_plan_whole(r, GW_COMPLETE_MAX, &plan);
	if (e == S3_OK)
		e = gw_cond_write(r, &op->cond);
	if (e == S3_OK && plan.len == 0)
		e = S3_ERR_MALFORMED_XML;
	if (e != S3_OK) {
		gw_fail(r, e);
		return;
	}
	op->body = gw_body_new(r, &plan, false, 0, gw_complete_body_done);
	if (op->body == NULL)
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
	else
		gw_body_start(op->body);
}
