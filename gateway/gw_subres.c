/*
 * Sub-resources that need more than a fixed answer (those are rows of
 * gateway_route.c): ACLs, of which there is one, and the tags nobody has.
 */
#include "gateway/gw.h"

#include "gateway/s3_xml.h"

static void gw_acl_answer(struct gw_req *r)
{
	struct buf xml;

	buf_init(&xml, 0);
	s3_xml_open_top(&xml, "AccessControlPolicy");
	gw_xml_owner(&xml, "Owner", r->who);
	s3_xml_open(&xml, "AccessControlList");
	s3_xml_open(&xml, "Grant");
	buf_puts(&xml, "<Grantee xmlns:xsi=\"http://www.w3.org/2001/"
		       "XMLSchema-instance\" xsi:type=\"CanonicalUser\">");
	s3_xml_element(&xml, "ID",
		       r->who->canonical.len > 0 ? r->who->canonical :
						   r->who->name);
	s3_xml_element(&xml, "DisplayName", r->who->name);
	s3_xml_close(&xml, "Grantee");
	s3_xml_str(&xml, "Permission", "FULL_CONTROL");
	s3_xml_close(&xml, "Grant");
	s3_xml_close(&xml, "AccessControlList");
	s3_xml_close(&xml, "AccessControlPolicy");
	gw_reply_xml(r, 200, &xml);
	buf_fini(&xml);
}

/* The object must be there before anything is said about it. */
static void gw_look(struct gw_req *r, gw_reply_fn fn)
{
	struct rpc_object req = { .root = gw_root(r), .key = r->name.key };

	(void)GW_SEND(r, object, gw_shard(r), &req, fn);
}

static void gw_acl_looked(struct gw_req *r, const struct rpc_reply *reply)
{
	if (reply->status != RPC_STATUS_OK)
		gw_fail_status(r, reply->status, S3_CTX_OBJECT);
	else
		gw_acl_answer(r);
}

void gw_get_acl(struct gw_req *r)
{
	if (r->name.key.len > 0)
		gw_look(r, gw_acl_looked);
	else
		gw_acl_answer(r);
}

static void gw_put_acl_looked(struct gw_req *r, const struct rpc_reply *reply)
{
	if (reply->status != RPC_STATUS_OK)
		gw_fail_status(r, reply->status, S3_CTX_OBJECT);
	else
		gw_reply_empty(r, 200);
}

/* Canned ACLs that say what is true anyway; grants need a policy engine.
 * gw_headers_check() let only these through. */
void gw_put_acl(struct gw_req *r)
{
	if (gw_header(r, "x-amz-acl").p == NULL) {
		gw_fail(r, S3_ERR_NOT_IMPLEMENTED);
		return;
	}
	if (r->name.key.len > 0)
		gw_look(r, gw_put_acl_looked);
	else
		gw_reply_empty(r, 200);
}

static void gw_tagging_looked(struct gw_req *r, const struct rpc_reply *reply)
{
	struct buf xml;

	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_OBJECT);
		return;
	}
	buf_init(&xml, 0);
	s3_xml_open_top(&xml, "Tagging");
	s3_xml_str(&xml, "TagSet", "");
	s3_xml_close(&xml, "Tagging");
	gw_reply_xml(r, 200, &xml);
	buf_fini(&xml);
}

void gw_object_tagging(struct gw_req *r)
{
	gw_look(r, gw_tagging_looked);
}
