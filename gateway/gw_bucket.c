/*
 * Buckets: list, create, head, delete, location. The managers' snapshot
 * answers what is there; create and delete are their mutations, and are
 * answered once our own snapshot shows them.
 */
#include "gateway/gw.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gateway/gw_body.h"
#include "gateway/s3_xml.h"

#define GW_LIST_BUCKETS_MAX 10000
#define GW_CONFIGURATION_MAX (64u << 10)

/* --- ListBuckets --- */

static bool gw_has_prefix(struct wire_bytes t, struct wire_bytes prefix)
{
	return t.len >= prefix.len &&
	       (prefix.len == 0 || memcmp(t.p, prefix.p, prefix.len) == 0);
}

static void gw_xml_bucket(struct buf *out, const struct cluster_bucket *b,
			  struct wire_bytes region)
{
	s3_xml_open(out, "Bucket");
	s3_xml_element(out, "Name", b->name);
	s3_xml_time(out, "CreationDate", b->created);
	s3_xml_element(out, "BucketRegion", region);
	s3_xml_close(out, "Bucket");
}

void gw_list_buckets(struct gw_req *r)
{
	const struct wire_bytes *token, *prefix;
	struct wire_bytes none = { NULL, 0 }, last = { NULL, 0 };
	const struct cluster *c = r->cluster;
	bool truncated = false;
	uint64_t max, n = 0;
	struct buf xml;

	token = s3_query_find(&r->query, "continuation-token");
	prefix = s3_query_find(&r->query, "prefix");
	if (prefix == NULL)
		prefix = &none;
	if (s3_query_u64(&r->query, "max-buckets", GW_LIST_BUCKETS_MAX,
			 GW_LIST_BUCKETS_MAX, &max) != 0 || max == 0) {
		gw_fail(r, S3_ERR_INVALID_ARGUMENT);
		return;
	}
	buf_init(&xml, 0);
	s3_xml_open_top(&xml, "ListAllMyBucketsResult");
	gw_xml_owner(&xml, "Owner", r->who);
	s3_xml_open(&xml, "Buckets");
	for (unsigned i = 0; i < c->n_buckets && !truncated; i++) {
		const struct cluster_bucket *b = &c->buckets[i];

		if (b->state != CLUSTER_BUCKET_READY ||
		    !wire_bytes_eq(b->owner, r->who->name) ||
		    !gw_has_prefix(b->name, *prefix) ||
		    (token != NULL && wire_bytes_cmp(b->name, *token) <= 0))
			continue;
		if (n++ == max) {
			truncated = true;
			break;
		}
		last = b->name;
		gw_xml_bucket(&xml, b, c->top.region);
	}
	s3_xml_close(&xml, "Buckets");
	if (truncated) /* a name is a token that outlives its bucket */
		s3_xml_element(&xml, "ContinuationToken", last);
	if (prefix->len > 0 && s3_xml_carries(*prefix))
		s3_xml_element(&xml, "Prefix", *prefix);
	s3_xml_close(&xml, "ListAllMyBucketsResult");
	gw_reply_xml(r, 200, &xml);
	buf_fini(&xml);
}

/* --- CreateBucket --- */

struct gw_create_op {
	struct gw_body *body;
};

static void gw_create_answer(struct gw_req *r)
{
	gw_reply_begin(r, 200);
	(void)http_reply_headerf(r->http, "Location", "/%.*s",
				 (int)r->name.bucket.len,
				 (const char *)r->name.bucket.p);
	gw_reply_end_empty(r);
}

static void gw_create_done(struct gw_req *r, const struct rpc_reply *reply)
{
	struct rpc_bucket_create_rsp rsp;

	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_BUCKET);
		return;
	}
	if (rpc_bucket_create_rsp_decode(&rsp, reply->payload, reply->len) !=
	    0) {
		gw_fail(r, S3_ERR_INTERNAL);
		return;
	}
	gw_refresh(r, rsp.version, gw_create_answer);
}

static void gw_create_body_done(struct gw_req *r, enum s3_err e)
{
	struct gw_create_op *op = r->op;
	struct rpc_bucket_create req = {
		.name = r->name.bucket,
		.owner = r->who->name,
		/* a mount shows the files as those of whoever runs this */
		.uid = (uint32_t)geteuid(),
		.gid = (uint32_t)getegid(),
		.umask = 022,
	};
	struct wire_bytes region = r->cluster->top.region;
	struct wire_bytes xml;
	char where[64];

	if (e != S3_OK) {
		gw_fail(r, e);
		return;
	}
	xml = gw_body_bytes(op->body);
	if (xml.len > 0) {
		int rv = s3_xml_read_location(xml.p, xml.len, where,
					      sizeof(where));

		if (rv != 0) {
			gw_fail(r, rv == -ENOMEM ? S3_ERR_OUT_OF_MEMORY :
						   S3_ERR_MALFORMED_XML);
			return;
		}
		if (where[0] != '\0' && !gw_text_is(region, where)) {
			gw_fail(r, S3_ERR_ILLEGAL_LOCATION);
			return;
		}
	}
	(void)GW_SEND(r, bucket_create, 0, &req, gw_create_done);
}

static void gw_create_data(struct gw_req *r, struct evbuffer *buf)
{
	gw_body_data(((struct gw_create_op *)r->op)->body, buf);
}

static void gw_create_body_end(struct gw_req *r)
{
	gw_body_end(((struct gw_create_op *)r->op)->body);
}

static void gw_create_stop(struct gw_req *r)
{
	gw_body_stop(((struct gw_create_op *)r->op)->body);
}

static void gw_create_free(struct gw_req *r)
{
	gw_body_free(((struct gw_create_op *)r->op)->body);
	gw_req_op_free(r);
}

static const struct gw_ops gw_create_ops = {
	.body = gw_create_data,
	.body_end = gw_create_body_end,
	.stop = gw_create_stop,
	.free = gw_create_free,
};

void gw_create_bucket(struct gw_req *r)
{
	const char *bad = s3_bucket_name_check(r->name.bucket);
	struct gw_create_op *op;
	struct gw_plan plan;
	enum s3_err e;

	if (bad != NULL) {
		gw_fail_msg(r, S3_ERR_INVALID_BUCKET_NAME, bad);
		return;
	}
	e = gw_plan_read(r, 0, GW_CONFIGURATION_MAX, &plan);
	if (e != S3_OK) {
		gw_fail(r, e);
		return;
	}
	op = gw_req_op_new(r, &gw_create_ops, sizeof(*op));
	if (op == NULL)
		return;
	op->body = gw_body_new(r, &plan, false, 0, gw_create_body_done);
	if (op->body == NULL)
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
	else
		gw_body_start(op->body);
}

/* --- HeadBucket, GetBucketLocation --- */

static void gw_reply_region(struct gw_req *r)
{
	(void)http_reply_header(r->http, "x-amz-bucket-region",
				r->cluster->top.region);
}

void gw_head_bucket(struct gw_req *r)
{
	gw_reply_begin(r, 200);
	gw_reply_region(r);
	gw_reply_str(r, "x-amz-access-point-alias", "false");
	gw_reply_str(r, "Content-Type", "application/xml");
	gw_reply_end_empty(r);
}

void gw_get_location(struct gw_req *r)
{
	struct wire_bytes region = r->cluster->top.region;
	struct buf xml;

	/* S3's oldest region has no name here */
	if (gw_text_is(region, "us-east-1"))
		region.len = 0;
	buf_init(&xml, 0);
	s3_xml_open_top(&xml, "LocationConstraint");
	s3_xml_text(&xml, region);
	s3_xml_close(&xml, "LocationConstraint");
	gw_reply_xml(r, 200, &xml);
	buf_fini(&xml);
}

/* --- DeleteBucket --- */

static void gw_delete_answer(struct gw_req *r)
{
	gw_reply_empty(r, 204);
}

static void gw_delete_done(struct gw_req *r, const struct rpc_reply *reply)
{
	struct rpc_bucket_delete_rsp rsp;

	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_BUCKET);
		return;
	}
	if (rpc_bucket_delete_rsp_decode(&rsp, reply->payload, reply->len) !=
	    0) {
		gw_fail(r, S3_ERR_INTERNAL);
		return;
	}
	gw_refresh(r, rsp.version, gw_delete_answer);
}

void gw_delete_bucket(struct gw_req *r)
{
	struct rpc_bucket_delete req = { .name = r->name.bucket,
					 .owner = r->who->name };

	(void)GW_SEND(r, bucket_delete, 0, &req, gw_delete_done);
}
