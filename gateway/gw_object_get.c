/*
 * GetObject, HeadObject, GetObjectAttributes.
 *
 * Happy path: OBJECT (metadata, first extents, inline bytes in one call) ->
 * conditions and range here -> head of the answer -> inline bytes at once, or
 * client_read for the rest, paused while the connection is full.
 *
 * Failure modes: bytes that cannot be had after the head went out cut the
 * connection: a body is never continued with other bytes. The read is bound
 * to the data_version that the head described.
 */
#include "gateway/gw.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gateway/s3_time.h"
#include "gateway/s3_xml.h"

#define GW_GET_FIRST (4u << 20)  /* bytes whose extents the first call asks */
#define GW_GET_OPEN (64u << 20)  /* longer reads hold the inode open */

#define GW_GET_SHORT (48u << 10) /* bytes on their way while memory is short */

struct gw_get_op {
	struct s3_range range;
	uint32_t part;
	struct client_read *read;
	bool paused;
	uint64_t left;  /* body bytes still owed */
	uint64_t opened; /* number of the open to be closed; 0: none */
	uint64_t ino;
};

static void gw_get_drain(struct gw_req *r)
{
	struct gw_get_op *op = r->op;

	if (op->paused && op->read != NULL) {
		op->paused = false;
		client_read_resume(op->read);
	}
}

static void gw_get_closed(void *arg, const struct rpc_reply *reply)
{
	(void)arg; /* a lost close is forgotten with the session */
	(void)reply;
}

static void gw_get_stop(struct gw_req *r)
{
	struct gw_get_op *op = r->op;
	struct client *c = r->l->client;

	client_read_free(op->read);
	op->read = NULL;
	if (op->opened != 0) {
		struct rpc_close req = { .ino = op->ino,
					 .session = client_session(c),
					 .number = op->opened, .object = 1 };

		op->opened = 0;
		(void)CLIENT_SEND(c, close, ino_shard(op->ino), &req,
				  gw_get_closed, NULL);
	}
}

static const struct gw_ops gw_get_ops = {
	.drain = gw_get_drain,
	.stop = gw_get_stop,
	.free = gw_req_op_free,
};

static void gw_read_data(void *arg, struct body *body, uint32_t from,
			 uint32_t len)
{
	struct gw_req *r = arg;
	struct gw_get_op *op = r->op;

	if (len > op->left)
		len = (uint32_t)op->left;
	op->left -= len;
	if (client_is_short(r->l->client)) {
		http_set_out_high(r->http, GW_GET_SHORT);
		http_reply_add(r->http, body->data + from, len);
	} else {
		http_reply_add_body(r->http, body, from, len);
	}
	if (http_out_full(r->http) && !op->paused) {
		op->paused = true;
		client_read_pause(op->read);
	}
}

static void gw_read_done(void *arg, uint32_t status)
{
	struct gw_req *r = arg;
	struct gw_get_op *op = r->op;

	if (status == RPC_STATUS_OK && op->left == 0)
		http_reply_end(r->http);
	else
		http_reply_abort(r->http);
}

/* --- the head --- */

/* Stored headers, or what response-* in the query wants instead. */
static void gw_get_headers(struct gw_req *r, const struct rpc_object_rsp *o)
{
	static const struct {
		const char *name, *shown, *override, *dflt;
	} rows[] = {
		{ "content-type", "Content-Type", "response-content-type",
		  "binary/octet-stream" },
		{ "content-disposition", "Content-Disposition",
		  "response-content-disposition", NULL },
		{ "content-encoding", "Content-Encoding",
		  "response-content-encoding", NULL },
		{ "content-language", "Content-Language",
		  "response-content-language", NULL },
		{ "cache-control", "Cache-Control", "response-cache-control",
		  NULL },
		{ "expires", "Expires", "response-expires", NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct wire_bytes *over =
			s3_query_find(&r->query, rows[i].override);
		struct wire_bytes v;

		if (over != NULL)
			v = *over;
		else if (!wire_kvs_find(o->headers, rows[i].name, &v)) {
			if (rows[i].dflt == NULL)
				continue;
			v = wire_cstr(rows[i].dflt);
		}
		(void)http_reply_header(r->http, rows[i].shown, v);
	}
}

static void gw_get_user(struct gw_req *r, const struct rpc_object_rsp *o)
{
	uint32_t n;
	struct wire_reader rd = wire_vec_reader(o->user, &n);
	unsigned missing = 0;

	for (; n > 0 && rd.err == 0; n--) {
		struct wire_bytes name, value;
		char shown[300];
		int len;

		wire_get_str(&rd, &name);
		wire_get_blob(&rd, &value);
		if (rd.err != 0)
			break;
		len = snprintf(shown, sizeof(shown), "x-amz-meta-%.*s",
			       (int)name.len, (const char *)name.p);
		if (len < 0 || (size_t)len >= sizeof(shown) ||
		    http_reply_header(r->http, shown, value) != 0)
			missing++;
	}
	if (missing > 0) /* S3's own way to say so */
		(void)http_reply_headerf(r->http, "x-amz-missing-meta", "%u",
					 missing);
}

static int64_t gw_mtime(const struct wire_attr *a)
{
	return a->mtime / 1000000000 - (a->mtime % 1000000000 < 0);
}

static void gw_get_validators(struct gw_req *r, const struct rpc_object_rsp *o)
{
	char when[S3_TIME_HTTP_LEN + 1];

	s3_time_http(gw_mtime(&o->attr), when);
	gw_reply_str(r, "Last-Modified", when);
	gw_reply_etag(r, o->etag);
}

static void gw_get_head(struct gw_req *r, const struct rpc_object_rsp *o,
			unsigned status, uint64_t off, uint64_t len)
{
	struct gw_get_op *op = r->op;
	bool whole = len == o->attr.size;

	gw_reply_begin(r, status);
	gw_get_validators(r, o);
	gw_reply_str(r, "Accept-Ranges", "bytes");
	gw_get_headers(r, o);
	gw_get_user(r, o);
	if (status == 206)
		(void)http_reply_headerf(
			r->http, "Content-Range", "bytes %llu-%llu/%llu",
			(unsigned long long)off,
			(unsigned long long)(off + len - 1),
			(unsigned long long)o->attr.size);
	if (op->part != 0 && o->parts > 0)
		(void)http_reply_headerf(r->http, "x-amz-mp-parts-count", "%u",
					 o->parts);
	if (whole && gw_text_like(gw_header(r, "x-amz-checksum-mode"),
				  "ENABLED"))
		gw_reply_sums(r, o->sums, o->sum_type);
	if (o->special.len > 0)
		(void)http_reply_header(r->http, "x-leofs-special",
					o->special);
}

/* --- the answer --- */

/* All bytes are one inline piece of the reply: no stream is needed. */
static bool gw_get_inline(const struct rpc_object_rsp *o, uint64_t off,
			  uint64_t len, const struct body *body,
			  uint32_t *ret_from)
{
	struct wire_extent e;
	struct wire_reader rd;
	uint32_t n;

	rd = wire_vec_reader(o->extents, &n);
	if (n != 1 || body == NULL)
		return false;
	wire_get_extent(&rd, &e);
	if (rd.err != 0 || e.kind != WIRE_EXT_INLINE || e.pos > off ||
	    e.len < len || e.pos + e.len < off + len)
		return false;
	if (e.slice_off + (off - e.pos) + len > body->len)
		return false;
	*ret_from = (uint32_t)(e.slice_off + (off - e.pos));
	return true;
}

static void gw_get_body(struct gw_req *r, const struct rpc_object_rsp *o,
			uint64_t off, uint64_t len, struct body *body)
{
	static const struct client_read_cbs cbs = { gw_read_data,
						    gw_read_done };
	struct gw_get_op *op = r->op;
	struct client_read_spec spec = {
		.ino = o->attr.ino,
		.off = off,
		.len = len,
		.version = o->attr.data_version,
		.extents = o->extents,
		.covered = o->covered,
		.inline_body = body,
	};
	uint32_t from;

	if (len == 0) {
		http_reply_end(r->http);
		return;
	}
	if (gw_get_inline(o, off, len, body, &from)) {
		http_reply_add_body(r->http, body, from, (uint32_t)len);
		http_reply_end(r->http);
		return;
	}
	op->left = len;
	op->read = client_read_start(r->l->client, &spec, &cbs, r);
	if (op->read == NULL)
		http_reply_abort(r->http);
}

/* If-Range: another ETag or date than the object's means all of it. */
static bool gw_if_range(const struct gw_req *r, const struct rpc_object_rsp *o)
{
	struct wire_bytes v = gw_header(r, "if-range");
	int64_t t;

	if (v.p == NULL)
		return true;
	if (s3_time_parse_http(v, &t) == 0)
		return gw_mtime(&o->attr) == t;
	return v.len > 0 && v.p[0] == '"' && s3_etag_matches(v, o->etag);
}

static bool gw_get_conditions(struct gw_req *r, const struct rpc_object_rsp *o)
{
	struct s3_conditions c = {
		.if_match = gw_header(r, "if-match"),
		.if_none_match = gw_header(r, "if-none-match"),
		.if_modified_since = gw_header(r, "if-modified-since"),
		.if_unmodified_since = gw_header(r, "if-unmodified-since"),
	};
	int rv = s3_conditions_check(&c, o->etag, gw_mtime(&o->attr),
				     &r->condition);

	if (rv == 0)
		return true;
	if (rv == -ECANCELED) {
		gw_fail(r, S3_ERR_PRECONDITION);
		return false;
	}
	r->code = s3_error_info(S3_ERR_NOT_MODIFIED)->code;
	gw_reply_begin(r, 304);
	gw_get_validators(r, o);
	gw_reply_end_empty(r);
	return false;
}

/* Which bytes are meant; false: answered. */
static bool gw_get_range(struct gw_req *r, const struct rpc_object_rsp *o,
			 unsigned *ret_status, uint64_t *ret_off,
			 uint64_t *ret_len)
{
	struct gw_get_op *op = r->op;

	if (op->part != 0) {
		*ret_off = o->off;
		*ret_len = o->len;
		*ret_status = o->attr.size > 0 ? 206 : 200;
		return true;
	}
	if (!gw_if_range(r, o))
		op->range.kind = S3_RANGE_NONE;
	if (s3_range_resolve(op->range, o->attr.size, ret_off, ret_len) != 0) {
		r->code = s3_error_info(S3_ERR_INVALID_RANGE)->code;
		gw_fail(r, S3_ERR_INVALID_RANGE);
		return false;
	}
	*ret_status = op->range.kind == S3_RANGE_NONE ? 200 : 206;
	return true;
}

static void gw_get_answer(struct gw_req *r, const struct rpc_reply *reply)
{
	struct gw_get_op *op = r->op;
	bool head = gw_text_is(r->head->method, "HEAD");
	struct rpc_object_rsp o;
	uint64_t off, len;
	unsigned status;

	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_OBJECT);
		return;
	}
	if (rpc_object_rsp_decode(&o, reply->payload, reply->len) != 0) {
		gw_fail(r, S3_ERR_INTERNAL);
		return;
	}
	op->ino = o.attr.ino;
	if (!gw_get_conditions(r, &o) ||
	    !gw_get_range(r, &o, &status, &off, &len))
		return;
	gw_get_head(r, &o, status, off, len);
	http_reply_end_head(r->http, (int64_t)len);
	if (head)
		http_reply_end(r->http);
	else
		gw_get_body(r, &o, off, len, reply->body);
}

/* After a long GET's first look: the same again, held open. */
static void gw_get_first(struct gw_req *r, const struct rpc_reply *reply);

static bool gw_get_send(struct gw_req *r, uint32_t flags, gw_reply_fn fn)
{
	struct gw_get_op *op = r->op;
	bool head = gw_text_is(r->head->method, "HEAD");
	struct rpc_object req = {
		.root = gw_root(r),
		.key = r->name.key,
		.part = op->part,
		.flags = flags,
		.session = client_session(r->l->client),
		.number = op->opened,
		.len = head ? 0 : GW_GET_FIRST,
	};

	if (!head && op->range.kind == S3_RANGE_FROM) {
		uint64_t span = op->range.last - op->range.first;

		req.off = op->range.first;
		req.len = span < GW_GET_FIRST ? span + 1 : GW_GET_FIRST;
	} else if (!head && op->range.kind == S3_RANGE_SUFFIX) {
		req.suffix = 1;
		req.len = op->range.last;
	}
	return GW_SEND(r, object, gw_shard(r), &req, fn);
}

static void gw_get_first(struct gw_req *r, const struct rpc_reply *reply)
{
	struct gw_get_op *op = r->op;
	struct rpc_object_rsp o;
	uint64_t off, len;

	if (op->opened == 0 && reply->status == RPC_STATUS_OK &&
	    rpc_object_rsp_decode(&o, reply->payload, reply->len) == 0 &&
	    op->part == 0 &&
	    s3_range_resolve(op->range, o.attr.size, &off, &len) == 0 &&
	    len > GW_GET_OPEN) {
		op->opened = client_open_number(r->l->client);
		op->ino = o.attr.ino;
		(void)gw_get_send(r, RPC_OBJECT_OPEN, gw_get_answer);
		return;
	}
	gw_get_answer(r, reply);
}

void gw_get_object(struct gw_req *r)
{
	struct gw_get_op *op = gw_req_op_new(r, &gw_get_ops, sizeof(*op));
	struct wire_bytes range = gw_header(r, "range");
	bool head = gw_text_is(r->head->method, "HEAD");
	uint64_t part;

	if (op == NULL)
		return;
	if (range.p != NULL)
		op->range = s3_range_parse(range);
	if (s3_query_u64(&r->query, "partNumber", 0, 10000, &part) != 0 ||
	    (part == 0 && s3_query_find(&r->query, "partNumber") != NULL)) {
		gw_fail(r, S3_ERR_INVALID_PART_NUMBER);
		return;
	}
	if (part != 0 && range.p != NULL) {
		gw_fail_msg(r, S3_ERR_INVALID_REQUEST,
			    "Cannot specify both Range header and partNumber "
			    "query parameter");
		return;
	}
	op->part = (uint32_t)part;
	(void)gw_get_send(r, 0, head ? gw_get_answer : gw_get_first);
}

/* --- GetObjectAttributes --- */

static bool gw_wants(const struct gw_req *r, const char *what)
{
	struct wire_bytes v = gw_header(r, "x-amz-object-attributes");
	size_t n = strlen(what);

	for (size_t i = 0; i + n <= v.len; i++) {
		bool begin = i == 0 || v.p[i - 1] == ',' || v.p[i - 1] == ' ';
		bool end = i + n == v.len || v.p[i + n] == ',' ||
			   v.p[i + n] == ' ';

		if (begin && end && memcmp(v.p + i, what, n) == 0)
			return true;
	}
	return false;
}

static void gw_attributes_done(struct gw_req *r, const struct rpc_reply *reply)
{
	struct rpc_object_rsp o;
	char when[S3_TIME_HTTP_LEN + 1];
	struct buf xml;

	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_OBJECT);
		return;
	}
	if (rpc_object_rsp_decode(&o, reply->payload, reply->len) != 0) {
		gw_fail(r, S3_ERR_INTERNAL);
		return;
	}
	if (!gw_get_conditions(r, &o))
		return;
	buf_init(&xml, 0);
	s3_xml_open_top(&xml, "GetObjectAttributesResponse");
	if (gw_wants(r, "ETag"))
		s3_xml_element(&xml, "ETag", o.etag); /* bare, as S3 does */
	if (gw_wants(r, "Checksum") && o.sum_type.len > 0) {
		s3_xml_open(&xml, "Checksum");
		gw_xml_sums(&xml, o.sums);
		s3_xml_element(&xml, "ChecksumType", o.sum_type);
		s3_xml_close(&xml, "Checksum");
	}
	if (gw_wants(r, "ObjectParts") && o.parts > 0) {
		s3_xml_open(&xml, "ObjectParts");
		s3_xml_u64(&xml, "PartsCount", o.parts);
		s3_xml_close(&xml, "ObjectParts");
	}
	if (gw_wants(r, "StorageClass"))
		s3_xml_str(&xml, "StorageClass", "STANDARD");
	if (gw_wants(r, "ObjectSize"))
		s3_xml_u64(&xml, "ObjectSize", o.attr.size);
	s3_xml_close(&xml, "GetObjectAttributesResponse");
	if (xml.err != 0) {
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
	} else {
		gw_reply_begin(r, 200);
		s3_time_http(gw_mtime(&o.attr), when);
		gw_reply_str(r, "Last-Modified", when);
		gw_reply_str(r, "Content-Type", "application/xml");
		http_reply_end_head(r->http, (int64_t)xml.len);
		http_reply_add(r->http, xml.data, xml.len);
		http_reply_end(r->http);
	}
	buf_fini(&xml);
}

void gw_get_attributes(struct gw_req *r)
{
	struct rpc_object req = { .root = gw_root(r), .key = r->name.key };

	if (gw_header(r, "x-amz-object-attributes").len == 0) {
		gw_fail_msg(r, S3_ERR_INVALID_ARGUMENT,
			    "x-amz-object-attributes is required.");
		return;
	}
	(void)GW_SEND(r, object, gw_shard(r), &req, gw_attributes_done);
}
