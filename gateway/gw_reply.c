/* Answers: success, errors, and the pieces both share. */
#include "gateway/gw.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

#include "gateway/s3_xml.h"

void gw_reply_begin(struct gw_req *r, unsigned status)
{
	assert(!r->dead && !r->replied);
	r->replied = true;
	r->status = status;
	http_reply_begin(r->http, status);
	/* A final answer where 100 Continue was awaited ends the connection,
	 * whatever there is to read: see gw_body_start(). */
	if (r->head->expect_continue && !r->continued)
		http_close_after(r->http);
	gw_reply_str(r, "x-amz-request-id", r->id);
	gw_reply_str(r, "x-amz-id-2", r->id);
}

void gw_reply_str(struct gw_req *r, const char *name, const char *value)
{
	(void)http_reply_header(r->http, name, wire_cstr(value));
}

void gw_reply_etag(struct gw_req *r, struct wire_bytes etag)
{
	char text[80];

	if (etag.len > sizeof(text) - 2) { /* none of ours */
		(void)http_reply_headerf(r->http, "ETag", "\"%.*s\"",
					 (int)etag.len, (const char *)etag.p);
		return;
	}
	text[0] = '"';
	if (etag.len > 0)
		memcpy(text + 1, etag.p, etag.len);
	text[etag.len + 1] = '"';
	(void)http_reply_header(r->http, "ETag",
				wire_bytes(text, etag.len + 2));
}

void gw_reply_end_empty(struct gw_req *r)
{
	http_reply_end_head(r->http, 0);
	http_reply_end(r->http);
}

void gw_reply_empty(struct gw_req *r, unsigned status)
{
	gw_reply_begin(r, status);
	gw_reply_end_empty(r);
}

static bool gw_is_head(const struct gw_req *r)
{
	return gw_text_is(r->head->method, "HEAD");
}

void gw_reply_xml(struct gw_req *r, unsigned status, struct buf *xml)
{
	if (xml->err != 0) {
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
		return;
	}
	gw_reply_begin(r, status);
	gw_reply_str(r, "Content-Type", "application/xml");
	http_reply_end_head(r->http, (int64_t)xml->len);
	if (!gw_is_head(r))
		http_reply_add(r->http, xml->data, xml->len);
	http_reply_end(r->http);
}

void gw_fail(struct gw_req *r, enum s3_err e)
{
	const struct s3_error_info *info = s3_error_info(e);
	struct s3_error_detail d = {
		.message = r->message,
		.resource = r->head->path,
		.bucket = r->name.bucket,
		.key = r->name.key,
		.argument = r->argument,
		.request_id = r->id,
		.host_id = r->id,
	};
	char region[64] = "";
	struct buf xml;

	if (r->condition != NULL)
		d.condition = wire_cstr(r->condition);
	if (r->cluster != NULL)
		(void)snprintf(region, sizeof(region), "%.*s",
			       (int)r->cluster->top.region.len,
			       (const char *)r->cluster->top.region.p);
	if (e == S3_ERR_AUTH_REGION)
		d.region = region;
	r->code = info->code;
	gw_reply_begin(r, info->http);
	if (e == S3_ERR_AUTH_REGION)
		gw_reply_str(r, "x-amz-bucket-region", region);
	if (info->http == 503)
		gw_reply_str(r, "Retry-After", "1");
	if (info->http == 304) {
		gw_reply_end_empty(r);
		return;
	}
	gw_reply_str(r, "Content-Type", "application/xml");
	if (gw_is_head(r)) {
		gw_reply_end_empty(r);
		return;
	}
	buf_init(&xml, 0);
	s3_error_xml(&xml, e, &d);
	if (xml.err != 0)
		buf_reset(&xml);
	http_reply_end_head(r->http, (int64_t)xml.len);
	http_reply_add(r->http, xml.data, xml.len);
	http_reply_end(r->http);
	buf_fini(&xml);
}

void gw_fail_msg(struct gw_req *r, enum s3_err e, const char *message)
{
	r->message = message;
	gw_fail(r, e);
}

void gw_fail_status(struct gw_req *r, uint32_t status, enum s3_context ctx)
{
	enum s3_err err = s3_error_from_status(status, ctx);

	if (err == S3_ERR_INTERNAL) /* which says nothing to the client */
		log_warnx("request=%s failed: %s", r->id,
			  rpc_status_name(status));
	gw_fail(r, err);
}

/* Calls fn for each known checksum of a kvs vector. */
static void gw_sums_each(struct wire_bytes sums,
			 void (*fn)(void *arg, const struct s3_sum_info *info,
				    struct wire_bytes value),
			 void *arg)
{
	uint32_t n;
	struct wire_reader rd = wire_vec_reader(sums, &n);

	for (; n > 0 && rd.err == 0; n--) {
		struct wire_bytes name, value;

		wire_get_str(&rd, &name);
		wire_get_blob(&rd, &value);
		for (enum s3_sum_alg a = 0; rd.err == 0 && a < S3_SUM_COUNT;
		     a++)
			if (gw_text_is(name, s3_sum_info(a)->name))
				fn(arg, s3_sum_info(a), value);
	}
}

static void gw_reply_sum(void *arg, const struct s3_sum_info *info,
			 struct wire_bytes value)
{
	(void)http_reply_header(arg, info->header, value);
}

void gw_reply_sums(struct gw_req *r, struct wire_bytes sums,
		   struct wire_bytes type)
{
	gw_sums_each(sums, gw_reply_sum, r->http);
	if (type.len > 0)
		(void)http_reply_header(r->http, "x-amz-checksum-type", type);
}

static void gw_xml_sum(void *arg, const struct s3_sum_info *info,
		       struct wire_bytes value)
{
	s3_xml_element(arg, info->element, value);
}

void gw_xml_sums(struct buf *out, struct wire_bytes sums)
{
	gw_sums_each(sums, gw_xml_sum, out);
}

void gw_xml_owner(struct buf *out, const char *element,
		  const struct cluster_user *user)
{
	s3_xml_open(out, element);
	s3_xml_element(out, "ID",
		       user->canonical.len > 0 ? user->canonical : user->name);
	s3_xml_element(out, "DisplayName", user->name);
	s3_xml_close(out, element);
}

struct s3_sums *gw_sums_get(struct gw_loop *l, unsigned bits)
{
	struct s3_sums *s;

	for (unsigned i = 0; i < l->n_sums; i++)
		if (l->sums[i].bits == bits) {
			s = l->sums[i].sums;
			l->sums[i] = l->sums[--l->n_sums];
			s3_sums_reset(s);
			return s;
		}
	return s3_sums_new(bits, &s) == 0 ? s : NULL;
}

void gw_sums_put(struct gw_loop *l, unsigned bits, struct s3_sums *s)
{
	if (s == NULL)
		return;
	if (l->n_sums == GW_SUMS_CACHE) {
		s3_sums_free(s);
		return;
	}
	l->sums[l->n_sums].bits = bits;
	l->sums[l->n_sums++].sums = s;
}
