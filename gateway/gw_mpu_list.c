/* ListParts and ListMultipartUploads: one page of the shard each. */
#include "gateway/gw.h"

#include <errno.h>
#include <string.h>

#include "common/base/be.h"
#include "gateway/gw_mpu.h"
#include "gateway/s3_xml.h"

#define GW_PAGE_MAX 1000

/* --- ListParts --- */

static void gw_xml_part(struct buf *out, struct wire_reader *rd)
{
	struct wire_bytes etag, sums;
	uint32_t number;
	uint64_t size;
	int64_t mtime;

	wire_get_u32(rd, &number);
	wire_get_u64(rd, &size);
	wire_get_i64(rd, &mtime);
	wire_get_str(rd, &etag);
	wire_get_kvs(rd, &sums);
	if (rd->err != 0)
		return;
	s3_xml_open(out, "Part");
	s3_xml_u64(out, "PartNumber", number);
	s3_xml_time(out, "LastModified", mtime);
	s3_xml_etag(out, "ETag", etag);
	gw_xml_sums(out, sums);
	s3_xml_u64(out, "Size", size);
	s3_xml_close(out, "Part");
}

static void gw_xml_alg(struct buf *out, struct wire_bytes alg,
		       struct wire_bytes type)
{
	enum s3_sum_alg a = s3_sum_find(alg);

	if (a == S3_SUM_NONE)
		return;
	s3_xml_str(out, "ChecksumAlgorithm", s3_sum_info(a)->upper);
	s3_xml_element(out, "ChecksumType", type);
}

static void gw_parts_done(struct gw_req *r, const struct rpc_reply *reply)
{
	const struct wire_bytes *id = s3_query_find(&r->query, "uploadId");
	struct rpc_mpu_parts_rsp rsp;
	uint64_t max = GW_PAGE_MAX, after = 0;
	struct wire_reader rd;
	struct buf xml;
	uint32_t n;

	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_UPLOAD);
		return;
	}
	if (rpc_mpu_parts_rsp_decode(&rsp, reply->payload, reply->len) != 0) {
		gw_fail(r, S3_ERR_INTERNAL);
		return;
	}
	/* both were checked before the call */
	(void)s3_query_u64(&r->query, "max-parts", max, INT32_MAX, &max);
	(void)s3_query_u64(&r->query, "part-number-marker", 0, INT32_MAX,
			   &after);
	buf_init(&xml, 0);
	s3_xml_open_top(&xml, "ListPartsResult");
	s3_xml_element(&xml, "Bucket", r->name.bucket);
	gw_xml_key(&xml, r->name.key);
	s3_xml_element(&xml, "UploadId", *id);
	gw_xml_owner(&xml, "Initiator", r->who);
	gw_xml_owner(&xml, "Owner", r->who);
	s3_xml_str(&xml, "StorageClass", "STANDARD");
	s3_xml_u64(&xml, "PartNumberMarker", after);
	if (rsp.truncated)
		s3_xml_u64(&xml, "NextPartNumberMarker", rsp.next);
	s3_xml_u64(&xml, "MaxParts", max);
	s3_xml_bool(&xml, "IsTruncated", rsp.truncated);
	gw_xml_alg(&xml, rsp.sum_alg, rsp.sum_type);
	rd = wire_vec_reader(rsp.parts, &n);
	for (; n > 0 && rd.err == 0; n--)
		gw_xml_part(&xml, &rd);
	s3_xml_close(&xml, "ListPartsResult");
	if (rd.err != 0)
		gw_fail(r, S3_ERR_INTERNAL);
	else
		gw_reply_xml(r, 200, &xml);
	buf_fini(&xml);
}

void gw_mpu_parts(struct gw_req *r)
{
	struct rpc_mpu_parts req = { .root = gw_root(r), .key = r->name.key };
	uint64_t max, after;

	if (gw_upload_id(r, &req.upload) != 0) {
		gw_fail(r, S3_ERR_NO_UPLOAD);
		return;
	}
	if (s3_query_u64(&r->query, "max-parts", GW_PAGE_MAX, INT32_MAX,
			 &max) != 0 ||
	    s3_query_u64(&r->query, "part-number-marker", 0, INT32_MAX,
			 &after) != 0) {
		gw_fail(r, S3_ERR_INVALID_ARGUMENT);
		return;
	}
	req.max = (uint32_t)(max < GW_PAGE_MAX ? max : GW_PAGE_MAX);
	req.after = (uint32_t)after;
	(void)GW_SEND(r, mpu_parts, gw_shard(r), &req, gw_parts_done);
}

/* --- ListMultipartUploads --- */

struct gw_uploads_op {
	struct wire_bytes prefix, delimiter, marker;
	uint64_t max;
	bool url;
	bool bad; /* a key could not be written */
};

static const struct gw_ops gw_uploads_ops = { .free = gw_req_op_free };

static void gw_uploads_name(struct gw_uploads_op *op, struct buf *out,
			    const char *element, struct wire_bytes name)
{
	s3_xml_open(out, element);
	if (op->url)
		s3_uri_encode(out, name, true);
	else if (s3_xml_carries(name))
		s3_xml_text(out, name);
	else
		op->bad = true;
	s3_xml_close(out, element);
}

/* What CommonPrefixes shows for key; empty when it is shown itself. */
static struct wire_bytes gw_uploads_prefix(const struct gw_uploads_op *op,
					   struct wire_bytes key)
{
	const uint8_t *d;
	size_t from = op->prefix.len;

	if (op->delimiter.len == 0 || key.len < from)
		return wire_bytes(NULL, 0);
	d = memmem(key.p + from, key.len - from, op->delimiter.p,
		   op->delimiter.len);
	if (d == NULL)
		return wire_bytes(NULL, 0);
	return wire_bytes(key.p, (size_t)(d - key.p) + op->delimiter.len);
}

static void gw_xml_upload(struct gw_req *r, struct buf *out,
			  struct buf *prefixes, struct wire_reader *rd,
			  struct wire_bytes *last)
{
	struct gw_uploads_op *op = r->op;
	struct wire_bytes key, alg, type, common;
	struct wire_u128 id;
	int64_t created;
	char text[33];

	wire_get_str(rd, &key);
	wire_get_u128(rd, &id);
	wire_get_i64(rd, &created);
	wire_get_str(rd, &alg);
	wire_get_str(rd, &type);
	if (rd->err != 0)
		return;
	common = gw_uploads_prefix(op, key);
	if (common.len > 0) {
		if (wire_bytes_eq(common, *last))
			return;
		*last = common;
		s3_xml_open(prefixes, "CommonPrefixes");
		gw_uploads_name(op, prefixes, "Prefix", common);
		s3_xml_close(prefixes, "CommonPrefixes");
		return;
	}
	gw_upload_text(id, text);
	s3_xml_open(out, "Upload");
	gw_uploads_name(op, out, "Key", key);
	s3_xml_str(out, "UploadId", text);
	gw_xml_owner(out, "Initiator", r->who);
	gw_xml_owner(out, "Owner", r->who);
	s3_xml_str(out, "StorageClass", "STANDARD");
	s3_xml_time(out, "Initiated", created);
	gw_xml_alg(out, alg, type);
	s3_xml_close(out, "Upload");
}

static void gw_uploads_head(struct gw_req *r, struct buf *xml,
			    const struct rpc_mpu_list_rsp *rsp)
{
	struct gw_uploads_op *op = r->op;
	const struct wire_bytes *after =
		s3_query_find(&r->query, "upload-id-marker");
	char text[33];

	s3_xml_element(xml, "Bucket", r->name.bucket);
	gw_uploads_name(op, xml, "KeyMarker", op->marker);
	s3_xml_element(xml, "UploadIdMarker",
		       after != NULL && s3_xml_carries(*after) ?
			       *after :
			       wire_cstr(""));
	if (rsp->truncated) {
		gw_uploads_name(op, xml, "NextKeyMarker", rsp->next_key);
		gw_upload_text(rsp->next_upload, text);
		s3_xml_str(xml, "NextUploadIdMarker", text);
	}
	gw_uploads_name(op, xml, "Prefix", op->prefix);
	if (op->delimiter.len > 0)
		gw_uploads_name(op, xml, "Delimiter", op->delimiter);
	if (op->url)
		s3_xml_str(xml, "EncodingType", "url");
	s3_xml_u64(xml, "MaxUploads", op->max);
	s3_xml_bool(xml, "IsTruncated", rsp->truncated);
}

static void gw_uploads_done(struct gw_req *r, const struct rpc_reply *reply)
{
	struct gw_uploads_op *op = r->op;
	struct wire_bytes last = { NULL, 0 };
	struct rpc_mpu_list_rsp rsp;
	struct buf xml, prefixes;
	struct wire_reader rd;
	uint32_t n;

	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_BUCKET);
		return;
	}
	if (rpc_mpu_list_rsp_decode(&rsp, reply->payload, reply->len) != 0) {
		gw_fail(r, S3_ERR_INTERNAL);
		return;
	}
	buf_init(&xml, 0);
	buf_init(&prefixes, 0);
	s3_xml_open_top(&xml, "ListMultipartUploadsResult");
	gw_uploads_head(r, &xml, &rsp);
	rd = wire_vec_reader(rsp.uploads, &n);
	for (; n > 0 && rd.err == 0; n--)
		gw_xml_upload(r, &xml, &prefixes, &rd, &last);
	buf_add(&xml, prefixes.data, prefixes.len);
	s3_xml_close(&xml, "ListMultipartUploadsResult");
	if (op->bad)
		gw_fail(r, S3_ERR_UNRENDERABLE);
	else if (rd.err != 0 || prefixes.err != 0)
		gw_fail(r, S3_ERR_INTERNAL);
	else
		gw_reply_xml(r, 200, &xml);
	buf_fini(&xml);
	buf_fini(&prefixes);
}

static struct wire_bytes gw_uploads_query(const struct gw_req *r,
					  const char *name)
{
	const struct wire_bytes *v = s3_query_find(&r->query, name);

	return v == NULL ? wire_bytes("", 0) : *v;
}

/* upload-id-marker counts with a key-marker only; without it, or with one
 * that is no id, the page begins behind all uploads of the key. */
static struct wire_u128 gw_uploads_after(const struct gw_req *r)
{
	struct wire_bytes t = gw_uploads_query(r, "upload-id-marker");
	struct wire_u128 id = { UINT64_MAX, UINT64_MAX };
	uint8_t raw[16];

	if (s3_hex_decode(t, raw, sizeof(raw)) != 0)
		return id;
	return (struct wire_u128){ be64dec(raw), be64dec(raw + 8) };
}

void gw_mpu_list(struct gw_req *r)
{
	struct gw_uploads_op *op =
		gw_req_op_new(r, &gw_uploads_ops, sizeof(*op));
	struct rpc_mpu_list req = { .root = gw_root(r) };
	struct wire_bytes enc = gw_uploads_query(r, "encoding-type");

	if (op == NULL)
		return;
	if (enc.len > 0 && !gw_text_like(enc, "url")) {
		gw_fail(r, S3_ERR_INVALID_ENCODING);
		return;
	}
	if (s3_query_u64(&r->query, "max-uploads", GW_PAGE_MAX, INT32_MAX,
			 &op->max) != 0) {
		gw_fail(r, S3_ERR_INVALID_ARGUMENT);
		return;
	}
	if (op->max > GW_PAGE_MAX)
		op->max = GW_PAGE_MAX;
	op->url = enc.len > 0;
	op->prefix = gw_uploads_query(r, "prefix");
	op->delimiter = gw_uploads_query(r, "delimiter");
	op->marker = gw_uploads_query(r, "key-marker");
	req.prefix = op->prefix;
	req.key_after = op->marker;
	if (op->marker.len > 0)
		req.upload_after = gw_uploads_after(r);
	req.max = (uint32_t)op->max;
	(void)GW_SEND(r, mpu_list, gw_shard(r), &req, gw_uploads_done);
}
