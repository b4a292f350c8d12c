/*
 * DeleteObject and DeleteObjects. A key that is not there is gone already.
 *
 * DeleteObjects keeps up to GW_DELETE_WINDOW calls under way and collects one
 * result per key; the answer has them in the order asked.
 */
#include "gateway/gw.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

#include "gateway/gw_body.h"
#include "gateway/s3_xml.h"

#define GW_DELETE_WINDOW 16

/* --- one --- */

static void gw_delete_one_done(struct gw_req *r, const struct rpc_reply *reply)
{
	bool gone = reply->status == RPC_STATUS_NOENT &&
		    gw_header(r, "if-match").p == NULL;

	if (reply->status == RPC_STATUS_OK || gone)
		gw_reply_empty(r, 204);
	else
		gw_fail_status(r, reply->status, S3_CTX_OBJECT);
}

void gw_delete_object(struct gw_req *r)
{
	struct rpc_delete req = { .root = gw_root(r), .key = r->name.key };
	struct gw_cond cond;
	enum s3_err e = gw_cond_write(r, &cond);

	if (e == S3_OK && cond.if_none_match.len > 0)
		e = S3_ERR_NOT_IMPLEMENTED;
	if (e != S3_OK) {
		gw_fail(r, e);
		return;
	}
	req.if_match = cond.if_match;
	(void)GW_SEND(r, delete, gw_shard(r), &req, gw_delete_one_done);
}

/* --- many --- */

struct gw_deletes_op;

struct gw_delete_call {
	struct gw_deletes_op *op;
	struct client_call *call; /* NULL: free */
	unsigned at;              /* key it deletes */
};

struct gw_deletes_op {
	struct gw_req *r;
	struct gw_body *body;
	struct s3_xml_delete list;
	enum s3_err *results; /* per key; S3_OK = deleted */
	unsigned next;        /* key to be sent next */
	unsigned pending;
	bool started;
	struct gw_delete_call calls[GW_DELETE_WINDOW];
};

static void gw_deletes_data(struct gw_req *r, struct evbuffer *buf)
{
	gw_body_data(((struct gw_deletes_op *)r->op)->body, buf);
}

static void gw_deletes_body_end(struct gw_req *r)
{
	gw_body_end(((struct gw_deletes_op *)r->op)->body);
}

static void gw_deletes_stop(struct gw_req *r)
{
	struct gw_deletes_op *op = r->op;

	gw_body_stop(op->body);
	for (unsigned i = 0; i < GW_DELETE_WINDOW; i++) {
		if (op->calls[i].call != NULL)
			client_cancel(op->calls[i].call);
		op->calls[i].call = NULL;
	}
}

static void gw_deletes_free(struct gw_req *r)
{
	struct gw_deletes_op *op = r->op;

	gw_body_free(op->body);
	s3_xml_delete_fini(&op->list);
	mem_free(op->results);
	gw_req_op_free(r);
}

static const struct gw_ops gw_deletes_ops = {
	.body = gw_deletes_data,
	.body_end = gw_deletes_body_end,
	.stop = gw_deletes_stop,
	.free = gw_deletes_free,
};

static void gw_xml_delete_result(struct buf *out,
				 const struct s3_xml_delete_key *k,
				 enum s3_err e, bool quiet)
{
	if (e == S3_OK) {
		if (quiet)
			return;
		s3_xml_open(out, "Deleted");
		s3_xml_element(out, "Key", k->key);
		if (k->version.len > 0)
			s3_xml_element(out, "VersionId", k->version);
		s3_xml_close(out, "Deleted");
		return;
	}
	s3_xml_open(out, "Error");
	s3_xml_element(out, "Key", k->key);
	if (k->version.len > 0)
		s3_xml_element(out, "VersionId", k->version);
	s3_xml_str(out, "Code", s3_error_info(e)->code);
	s3_xml_str(out, "Message", s3_error_info(e)->message);
	s3_xml_close(out, "Error");
}

static void gw_deletes_answer(struct gw_deletes_op *op)
{
	struct buf xml;

	buf_init(&xml, 0);
	s3_xml_open_top(&xml, "DeleteResult");
	for (unsigned i = 0; i < op->list.n_keys; i++)
		gw_xml_delete_result(&xml, &op->list.keys[i], op->results[i],
				     op->list.quiet);
	s3_xml_close(&xml, "DeleteResult");
	gw_reply_xml(op->r, 200, &xml);
	buf_fini(&xml);
}

static void gw_deletes_step(struct gw_deletes_op *op);

static void gw_deletes_done(void *arg, const struct rpc_reply *reply)
{
	struct gw_delete_call *c = arg;
	struct gw_deletes_op *op = c->op;

	c->call = NULL;
	op->pending--;
	if (reply->status != RPC_STATUS_OK &&
	    (reply->status != RPC_STATUS_NOENT ||
	     op->list.keys[c->at].etag.len > 0))
		op->results[c->at] =
			s3_error_from_status(reply->status, S3_CTX_OBJECT);
	gw_deletes_step(op);
}

/* What can be said without asking a shard. */
static enum s3_err gw_deletes_check(const struct s3_xml_delete_key *k)
{
	if (k->version.len > 0 && !gw_text_is(k->version, "null"))
		return S3_ERR_NO_VERSION;
	if (k->mtime.len > 0 || k->size.len > 0)
		return S3_ERR_NOT_IMPLEMENTED;
	return S3_OK;
}

static void gw_deletes_send(struct gw_deletes_op *op, struct gw_delete_call *c)
{
	const struct s3_xml_delete_key *k = &op->list.keys[op->next];
	struct rpc_delete req = { .root = gw_root(op->r), .key = k->key,
				  .if_match = k->etag };
	const struct client_how how = { .loose = gw_is_loose(op->r) };
	enum s3_err e = gw_deletes_check(k);

	c->op = op;
	c->at = op->next++;
	if (e == S3_OK) {
		c->call = CLIENT_SEND_HOW(op->r->l->client, delete,
					  gw_shard(op->r), &how, &req,
					  gw_deletes_done, c);
		if (c->call == NULL)
			e = S3_ERR_OUT_OF_MEMORY;
		else
			op->pending++;
	}
	op->results[c->at] = e;
}

static void gw_deletes_step(struct gw_deletes_op *op)
{
	for (unsigned i = 0; i < GW_DELETE_WINDOW; i++)
		while (op->calls[i].call == NULL && op->next < op->list.n_keys)
			gw_deletes_send(op, &op->calls[i]);
	if (op->pending == 0)
		gw_deletes_answer(op);
}

static void gw_deletes_body_done(struct gw_req *r, enum s3_err e)
{
	struct gw_deletes_op *op = r->op;
	struct wire_bytes xml;
	int rv;

	if (e != S3_OK) {
		gw_fail(r, e);
		return;
	}
	xml = gw_body_bytes(op->body);
	rv = s3_xml_read_delete(xml.p, xml.len, &op->list);
	if (rv == 0) {
		op->results = mem_calloc(op->list.n_keys, sizeof(e));
		rv = op->results == NULL ? -ENOMEM : 0;
	}
	if (rv != 0) {
		gw_fail(r, rv == -ENOMEM ? S3_ERR_OUT_OF_MEMORY :
					   S3_ERR_MALFORMED_XML);
		return;
	}
	gw_deletes_step(op);
}

void gw_delete_objects(struct gw_req *r)
{
	struct gw_deletes_op *op =
		gw_req_op_new(r, &gw_deletes_ops, sizeof(*op));
	struct gw_plan plan;
	enum s3_err e;

	if (op == NULL)
		return;
	op->r = r;
	e = gw_plan_read(r, 0, GW_XML_MAX, &plan);
	if (e == S3_ERR_ENTITY_TOO_LARGE)
		e = S3_ERR_MAX_MESSAGE;
	/* S3 wants an integrity check here; a signed payload hash is one */
	if (e == S3_OK && !plan.have_md5 && plan.alg == S3_SUM_NONE &&
	    r->auth.payload == S3_PAYLOAD_UNSIGNED)
		e = S3_ERR_MISSING_DIGEST;
	if (e != S3_OK) {
		gw_fail(r, e);
		return;
	}
	op->body = gw_body_new(r, &plan, false, 0, gw_deletes_body_done);
	if (op->body == NULL)
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
	else
		gw_body_start(op->body);
}
