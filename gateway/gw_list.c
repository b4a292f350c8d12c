/*
 * ListObjects (both versions) and ListObjectVersions: one walk of the shard,
 * page by page, written as XML while it is read. Keys come in byte order from
 * rows, so nothing is sorted or collected here.
 *
 * A page with a name that XML 1.0 cannot carry is refused with 400 unless the
 * client asked for encoding-type=url: a listing never skips a key.
 */
#include "gateway/gw.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

#include "gateway/s3_xml.h"

#define GW_LIST_MAX 1000
#define GW_TOKEN_MAX (2 * S3_KEY_MAX)

enum gw_list_kind { GW_LIST_V1, GW_LIST_V2, GW_LIST_VERSIONS };

struct gw_list_op {
	enum gw_list_kind kind;
	bool url;     /* encoding-type=url */
	bool owner;   /* of each key */
	bool bad;     /* a name could not be written */
	bool truncated;
	uint64_t max;
	uint64_t n;   /* entries so far */
	struct wire_bytes prefix, delimiter, after; /* after: of the query */
	struct buf from; /* go on behind this */
	struct buf keys, prefixes; /* XML of the page so far */
};

static void gw_list_free(struct gw_req *r)
{
	struct gw_list_op *op = r->op;

	buf_fini(&op->from);
	buf_fini(&op->keys);
	buf_fini(&op->prefixes);
	gw_req_op_free(r);
}

static const struct gw_ops gw_list_ops = { .free = gw_list_free };

/* --- names --- */

static void gw_list_name(struct gw_list_op *op, struct buf *out,
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

/* Tokens are base64 of the name to go on behind: any byte may be in it. */
static void gw_list_token(struct buf *out, const char *element,
			  struct wire_bytes name)
{
	char *text = mem_alloc(name.len / 3 * 4 + 8);

	if (text == NULL) {
		out->err = -ENOMEM;
		return;
	}
	(void)s3_base64(name.p, name.len, text);
	s3_xml_str(out, element, text);
	mem_free(text);
}

static int gw_list_untoken(struct wire_bytes token, struct buf *out)
{
	size_t pad = 0, n;
	uint8_t *p;

	if (token.len == 0 || token.len % 4 != 0 || token.len > GW_TOKEN_MAX * 2)
		return -EINVAL;
	while (pad < 2 && token.p[token.len - 1 - pad] == '=')
		pad++;
	n = token.len / 4 * 3 - pad;
	p = buf_reserve(out, n);
	if (p == NULL || s3_base64_decode(token, p, n) != 0)
		return -EINVAL;
	out->len += n;
	return 0;
}

/* --- entries --- */

struct gw_list_entry {
	struct wire_bytes key, etag, sum_alg, sum_type;
	uint8_t is_prefix;
	uint64_t size;
	int64_t mtime;
};

static void gw_list_get(struct wire_reader *rd, struct gw_list_entry *e)
{
	wire_get_str(rd, &e->key);
	wire_get_u8(rd, &e->is_prefix);
	wire_get_u64(rd, &e->size);
	wire_get_i64(rd, &e->mtime);
	wire_get_str(rd, &e->etag);
	wire_get_str(rd, &e->sum_alg);
	wire_get_str(rd, &e->sum_type);
}

static void gw_list_add(struct gw_req *r, const struct gw_list_entry *e)
{
	struct gw_list_op *op = r->op;
	const char *element = op->kind == GW_LIST_VERSIONS ? "Version" :
							     "Contents";
	struct buf *out = &op->keys;

	op->n++;
	if (e->is_prefix) {
		s3_xml_open(&op->prefixes, "CommonPrefixes");
		gw_list_name(op, &op->prefixes, "Prefix", e->key);
		s3_xml_close(&op->prefixes, "CommonPrefixes");
		return;
	}
	s3_xml_open(out, element);
	gw_list_name(op, out, "Key", e->key);
	if (op->kind == GW_LIST_VERSIONS) {
		s3_xml_str(out, "VersionId", "null");
		s3_xml_str(out, "IsLatest", "true");
	}
	s3_xml_time(out, "LastModified", e->mtime);
	s3_xml_etag(out, "ETag", e->etag);
	if (e->sum_alg.len > 0) {
		enum s3_sum_alg a = s3_sum_find(e->sum_alg);

		if (a != S3_SUM_NONE)
			s3_xml_str(out, "ChecksumAlgorithm",
				   s3_sum_info(a)->upper);
		if (a != S3_SUM_NONE && e->sum_type.len > 0)
			s3_xml_element(out, "ChecksumType", e->sum_type);
	}
	s3_xml_u64(out, "Size", e->size);
	if (op->owner)
		gw_xml_owner(out, "Owner", r->who);
	s3_xml_str(out, "StorageClass", "STANDARD");
	s3_xml_close(out, element);
}

/* --- the answer --- */

static void gw_list_v1_head(struct gw_req *r, struct buf *xml)
{
	struct gw_list_op *op = r->op;

	gw_list_name(op, xml, "Marker", op->after);
	if (op->truncated)
		gw_list_name(op, xml, "NextMarker",
			     wire_bytes(op->from.data, op->from.len));
}

static void gw_list_v2_head(struct gw_req *r, struct buf *xml)
{
	struct gw_list_op *op = r->op;
	const struct wire_bytes *token =
		s3_query_find(&r->query, "continuation-token");

	if (token != NULL && s3_xml_carries(*token))
		s3_xml_element(xml, "ContinuationToken", *token);
	if (op->truncated)
		gw_list_token(xml, "NextContinuationToken",
			      wire_bytes(op->from.data, op->from.len));
	if (op->after.len > 0)
		gw_list_name(op, xml, "StartAfter", op->after);
	s3_xml_u64(xml, "KeyCount", op->n);
}

static void gw_list_versions_head(struct gw_req *r, struct buf *xml)
{
	struct gw_list_op *op = r->op;

	gw_list_name(op, xml, "KeyMarker", op->after);
	s3_xml_str(xml, "VersionIdMarker", "");
	if (op->truncated) {
		gw_list_name(op, xml, "NextKeyMarker",
			     wire_bytes(op->from.data, op->from.len));
		s3_xml_str(xml, "NextVersionIdMarker", "null");
	}
}

static void gw_list_answer(struct gw_req *r)
{
	static void (*const heads[])(struct gw_req *, struct buf *) = {
		[GW_LIST_V1] = gw_list_v1_head,
		[GW_LIST_V2] = gw_list_v2_head,
		[GW_LIST_VERSIONS] = gw_list_versions_head,
	};
	struct gw_list_op *op = r->op;
	const char *top = op->kind == GW_LIST_VERSIONS ? "ListVersionsResult" :
							 "ListBucketResult";
	struct buf xml;

	buf_init(&xml, 0);
	s3_xml_open_top(&xml, top);
	s3_xml_element(&xml, "Name", r->name.bucket);
	gw_list_name(op, &xml, "Prefix", op->prefix);
	heads[op->kind](r, &xml);
	s3_xml_u64(&xml, "MaxKeys", op->max);
	if (op->delimiter.len > 0)
		gw_list_name(op, &xml, "Delimiter", op->delimiter);
	if (op->url)
		s3_xml_str(&xml, "EncodingType", "url");
	s3_xml_bool(&xml, "IsTruncated", op->truncated);
	buf_add(&xml, op->keys.data, op->keys.len);
	buf_add(&xml, op->prefixes.data, op->prefixes.len);
	s3_xml_close(&xml, top);
	if (op->keys.err != 0 || op->prefixes.err != 0)
		xml.err = -ENOMEM;
	if (op->bad)
		gw_fail(r, S3_ERR_UNRENDERABLE);
	else
		gw_reply_xml(r, 200, &xml);
	buf_fini(&xml);
}

static void gw_list_ask(struct gw_req *r);

static void gw_list_done(struct gw_req *r, const struct rpc_reply *reply)
{
	struct gw_list_op *op = r->op;
	struct rpc_list_rsp rsp;
	struct wire_reader rd;
	uint32_t n;

	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_BUCKET);
		return;
	}
	if (rpc_list_rsp_decode(&rsp, reply->payload, reply->len) != 0) {
		gw_fail(r, S3_ERR_INTERNAL);
		return;
	}
	rd = wire_vec_reader(rsp.entries, &n);
	for (; n > 0 && rd.err == 0 && op->n < op->max; n--) {
		struct gw_list_entry e;

		gw_list_get(&rd, &e);
		if (rd.err == 0)
			gw_list_add(r, &e);
	}
	op->truncated = rsp.truncated;
	buf_reset(&op->from);
	buf_add(&op->from, rsp.next.p, rsp.next.len);
	if (rd.err != 0 || op->from.err != 0)
		gw_fail(r, S3_ERR_INTERNAL);
	else if (op->truncated && op->n < op->max)
		gw_list_ask(r); /* a page of the shard was shorter */
	else
		gw_list_answer(r);
}

static void gw_list_ask(struct gw_req *r)
{
	struct gw_list_op *op = r->op;
	struct rpc_list req = {
		.root = gw_root(r),
		.prefix = op->prefix,
		.after = wire_bytes(op->from.data, op->from.len),
		.delimiter = op->delimiter,
		.max = (uint32_t)(op->max - op->n),
	};

	(void)GW_SEND(r, list, gw_shard(r), &req, gw_list_done);
}

/* --- the question --- */

static struct wire_bytes gw_query(const struct gw_req *r, const char *name)
{
	const struct wire_bytes *v = s3_query_find(&r->query, name);

	return v == NULL ? wire_bytes("", 0) : *v;
}

static void gw_list_start(struct gw_req *r, enum gw_list_kind kind)
{
	struct gw_list_op *op = gw_req_op_new(r, &gw_list_ops, sizeof(*op));
	const struct wire_bytes *enc, *token;
	uint64_t max;

	if (op == NULL)
		return;
	op->kind = kind;
	enc = s3_query_find(&r->query, "encoding-type");
	if (enc != NULL && enc->len > 0) {
		if (!gw_text_like(*enc, "url")) {
			gw_fail(r, S3_ERR_INVALID_ENCODING);
			return;
		}
		op->url = true;
	}
	if (s3_query_u64(&r->query, "max-keys", GW_LIST_MAX, INT32_MAX, &max) !=
	    0) {
		gw_fail_msg(r, S3_ERR_INVALID_ARGUMENT,
			    "max-keys is not an integer between 0 and "
			    "2147483647");
		return;
	}
	op->max = max < GW_LIST_MAX ? max : GW_LIST_MAX;
	op->prefix = gw_query(r, "prefix");
	op->delimiter = gw_query(r, "delimiter");
	op->owner = kind != GW_LIST_V2 ||
		    gw_text_like(gw_query(r, "fetch-owner"), "true");
	op->after = gw_query(r, kind == GW_LIST_V1 ? "marker" :
				kind == GW_LIST_V2 ? "start-after" :
						     "key-marker");
	token = kind == GW_LIST_V2 ?
			s3_query_find(&r->query, "continuation-token") :
			NULL;
	if (token != NULL) {
		if (gw_list_untoken(*token, &op->from) != 0) {
			gw_fail_msg(r, S3_ERR_INVALID_ARGUMENT,
				    "The continuation token provided is "
				    "incorrect");
			return;
		}
	} else {
		buf_add(&op->from, op->after.p, op->after.len);
	}
	if (op->max == 0)
		gw_list_answer(r);
	else
		gw_list_ask(r);
}

void gw_list_objects(struct gw_req *r)
{
	gw_list_start(r, gw_text_is(gw_query(r, "list-type"), "2") ?
				 GW_LIST_V2 :
				 GW_LIST_V1);
}

void gw_list_versions(struct gw_req *r)
{
	gw_list_start(r, GW_LIST_VERSIONS);
}
