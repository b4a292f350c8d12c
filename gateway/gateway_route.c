/*
 * The one table of operations. A new sub-resource is a new row here and, when
 * it does anything, a handler in a gw_*.c file.
 *
 * A request matches by method, level (service, bucket, object) and the one
 * sub-resource in its query. Every name in the `sub` column is known to be a
 * sub-resource: with a method that has no row it is refused, never ignored.
 */
#include "gateway/gw.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"

#define NS " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
#define XML "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

#define HANDLE(fn) .handle = fn
#define ANSWER(e) .err = S3_ERR_##e
#define EMPTY_XML(text) .xml = XML text

static const struct gw_route gw_routes[] = {
	/* objects */
	{ "GetObject", "GET", GW_OBJECT, .flags = GW_F_IF_READ,
	  HANDLE(gw_get_object) },
	{ "HeadObject", "HEAD", GW_OBJECT, .flags = GW_F_IF_READ,
	  HANDLE(gw_get_object) },
	{ "CopyObject", "PUT", GW_OBJECT, .with = "x-amz-copy-source",
	  .flags = GW_F_WRITE | GW_F_KEY_NEW | GW_F_IF_ETAG,
	  HANDLE(gw_copy_object) },
	{ "PutObject", "PUT", GW_OBJECT,
	  .flags = GW_F_WRITE | GW_F_KEY_NEW | GW_F_IF_ETAG,
	  HANDLE(gw_put_object) },
	{ "DeleteObject", "DELETE", GW_OBJECT,
	  .flags = GW_F_WRITE | GW_F_IF_ETAG, HANDLE(gw_delete_object) },
	{ "GetObjectAttributes", "GET", GW_OBJECT, "attributes",
	  .flags = GW_F_IF_READ, HANDLE(gw_get_attributes) },
	/* multipart */
	{ "CreateMultipartUpload", "POST", GW_OBJECT, "uploads",
	  .flags = GW_F_WRITE | GW_F_KEY_NEW, HANDLE(gw_mpu_create) },
	{ "UploadPartCopy", "PUT", GW_OBJECT, "uploadId",
	  .with = "x-amz-copy-source", .flags = GW_F_WRITE,
	  HANDLE(gw_copy_part) },
	{ "UploadPart", "PUT", GW_OBJECT, "uploadId", .flags = GW_F_WRITE,
	  HANDLE(gw_mpu_part) },
	{ "CompleteMultipartUpload", "POST", GW_OBJECT, "uploadId",
	  .flags = GW_F_WRITE | GW_F_IF_ETAG, HANDLE(gw_mpu_complete) },
	{ "AbortMultipartUpload", "DELETE", GW_OBJECT, "uploadId",
	  .flags = GW_F_WRITE, HANDLE(gw_mpu_abort) },
	{ "ListParts", "GET", GW_OBJECT, "uploadId", HANDLE(gw_mpu_parts) },
	{ "ListMultipartUploads", "GET", GW_BUCKET, "uploads",
	  HANDLE(gw_mpu_list) },
	/* buckets */
	{ "ListBuckets", "GET", GW_SERVICE, HANDLE(gw_list_buckets) },
	{ "CreateBucket", "PUT", GW_BUCKET, .flags = GW_F_WRITE | GW_F_CREATES,
	  HANDLE(gw_create_bucket) },
	{ "HeadBucket", "HEAD", GW_BUCKET, HANDLE(gw_head_bucket) },
	{ "DeleteBucket", "DELETE", GW_BUCKET, .flags = GW_F_WRITE,
	  HANDLE(gw_delete_bucket) },
	{ "ListObjects", "GET", GW_BUCKET, HANDLE(gw_list_objects) },
	{ "ListObjectVersions", "GET", GW_BUCKET, "versions",
	  HANDLE(gw_list_versions) },
	{ "DeleteObjects", "POST", GW_BUCKET, "delete", .flags = GW_F_WRITE,
	  HANDLE(gw_delete_objects) },
	{ "GetBucketLocation", "GET", GW_BUCKET, "location",
	  HANDLE(gw_get_location) },
	/* access control: one owner, private */
	{ "GetBucketAcl", "GET", GW_BUCKET, "acl", HANDLE(gw_get_acl) },
	{ "PutBucketAcl", "PUT", GW_BUCKET, "acl", .flags = GW_F_WRITE,
	  HANDLE(gw_put_acl) },
	{ "GetObjectAcl", "GET", GW_OBJECT, "acl", HANDLE(gw_get_acl) },
	{ "PutObjectAcl", "PUT", GW_OBJECT, "acl", .flags = GW_F_WRITE,
	  HANDLE(gw_put_acl) },
	{ "GetBucketOwnershipControls", "GET", GW_BUCKET, "ownershipControls",
	  EMPTY_XML("<OwnershipControls" NS "><Rule><ObjectOwnership>"
		    "BucketOwnerEnforced</ObjectOwnership></Rule>"
		    "</OwnershipControls>") },
	{ "GetPublicAccessBlock", "GET", GW_BUCKET, "publicAccessBlock",
	  EMPTY_XML("<PublicAccessBlockConfiguration" NS "><BlockPublicAcls>"
		    "true</BlockPublicAcls><IgnorePublicAcls>true"
		    "</IgnorePublicAcls><BlockPublicPolicy>true"
		    "</BlockPublicPolicy><RestrictPublicBuckets>true"
		    "</RestrictPublicBuckets>"
		    "</PublicAccessBlockConfiguration>") },
	{ "GetBucketPolicy", "GET", GW_BUCKET, "policy", ANSWER(NO_POLICY) },
	{ "DeleteBucketPolicy", "DELETE", GW_BUCKET, "policy",
	  ANSWER(NO_POLICY) },
	{ "GetBucketPolicyStatus", "GET", GW_BUCKET, "policyStatus",
	  EMPTY_XML("<PolicyStatus" NS "><IsPublic>false</IsPublic>"
		    "</PolicyStatus>") },
	/* what is not there answers as a bucket that never had it */
	{ "GetBucketVersioning", "GET", GW_BUCKET, "versioning",
	  EMPTY_XML("<VersioningConfiguration" NS "/>") },
	{ "GetBucketLifecycle", "GET", GW_BUCKET, "lifecycle",
	  ANSWER(NO_LIFECYCLE) },
	{ "GetBucketCors", "GET", GW_BUCKET, "cors", ANSWER(NO_CORS) },
	{ "GetBucketTagging", "GET", GW_BUCKET, "tagging", ANSWER(NO_TAG_SET) },
	{ "GetObjectTagging", "GET", GW_OBJECT, "tagging",
	  HANDLE(gw_object_tagging) },
	{ "GetBucketEncryption", "GET", GW_BUCKET, "encryption",
	  ANSWER(NO_ENCRYPTION) },
	{ "GetObjectLockConfiguration", "GET", GW_BUCKET, "object-lock",
	  ANSWER(NO_OBJECT_LOCK) },
	{ "GetObjectRetention", "GET", GW_OBJECT, "retention",
	  ANSWER(NO_RETENTION) },
	{ "GetObjectLegalHold", "GET", GW_OBJECT, "legal-hold",
	  ANSWER(NO_RETENTION) },
	{ "GetBucketRequestPayment", "GET", GW_BUCKET, "requestPayment",
	  EMPTY_XML("<RequestPaymentConfiguration" NS "><Payer>BucketOwner"
		    "</Payer></RequestPaymentConfiguration>") },
	{ "GetBucketLogging", "GET", GW_BUCKET, "logging",
	  EMPTY_XML("<BucketLoggingStatus" NS "/>") },
	{ "GetBucketNotification", "GET", GW_BUCKET, "notification",
	  EMPTY_XML("<NotificationConfiguration" NS "/>") },
	{ "GetBucketAccelerate", "GET", GW_BUCKET, "accelerate",
	  EMPTY_XML("<AccelerateConfiguration" NS "/>") },
	{ "GetBucketWebsite", "GET", GW_BUCKET, "website",
	  ANSWER(NO_WEBSITE) },
	{ "GetBucketReplication", "GET", GW_BUCKET, "replication",
	  ANSWER(NO_REPLICATION) },
	{ "GetBucketIntelligentTiering", "GET", GW_BUCKET,
	  "intelligent-tiering", ANSWER(NO_CONFIGURATION) },
	{ "GetBucketInventory", "GET", GW_BUCKET, "inventory",
	  ANSWER(NO_CONFIGURATION) },
	{ "GetBucketAnalytics", "GET", GW_BUCKET, "analytics",
	  ANSWER(NO_CONFIGURATION) },
	{ "GetBucketMetrics", "GET", GW_BUCKET, "metrics",
	  ANSWER(NO_CONFIGURATION) },
	/* known, and refused whatever the method */
	{ "PostObject", "POST", GW_BUCKET, ANSWER(NOT_IMPLEMENTED) },
	{ "RestoreObject", "POST", GW_OBJECT, "restore",
	  ANSWER(NOT_IMPLEMENTED) },
	{ "SelectObjectContent", "POST", GW_OBJECT, "select",
	  ANSWER(NOT_IMPLEMENTED) },
	{ "GetObjectTorrent", "GET", GW_OBJECT, "torrent",
	  ANSWER(NOT_IMPLEMENTED) },
	{ "RenameObject", "PUT", GW_OBJECT, "renameObject",
	  ANSWER(NOT_IMPLEMENTED) },
	{ "CreateSession", "GET", GW_BUCKET, "session",
	  ANSWER(NOT_IMPLEMENTED) },
	{ "MetadataTable", "GET", GW_BUCKET, "metadataTable",
	  ANSWER(NOT_IMPLEMENTED) },
	{ "MetadataConfiguration", "GET", GW_BUCKET, "metadataConfiguration",
	  ANSWER(NOT_IMPLEMENTED) },
	{ "Abac", "GET", GW_BUCKET, "abac", ANSWER(NOT_IMPLEMENTED) },
	{ "AppendObject", "POST", GW_OBJECT, "append",
	  ANSWER(NOT_IMPLEMENTED) },
};
#define GW_ROUTES (sizeof(gw_routes) / sizeof(gw_routes[0]))

size_t gw_route_count(void)
{
	return GW_ROUTES;
}

const struct gw_route *gw_route_at(size_t i)
{
	return &gw_routes[i];
}

/* The sub-resource a parameter names, NULL when it is none of this level. */
static const char *gw_route_sub(struct wire_bytes name, unsigned level)
{
	for (size_t i = 0; i < GW_ROUTES; i++)
		if (gw_routes[i].sub != NULL && gw_routes[i].level == level &&
		    gw_text_is(name, gw_routes[i].sub))
			return gw_routes[i].sub;
	/* of the other level: refused there as well */
	for (size_t i = 0; i < GW_ROUTES; i++)
		if (gw_routes[i].sub != NULL &&
		    gw_text_is(name, gw_routes[i].sub))
			return gw_routes[i].sub;
	return NULL;
}

/*
 * A bare word that is no parameter of S3's is a sub-resource of an S3 newer
 * than we are: without this, PUT of one would replace the object.
 */
static bool gw_route_strange(const struct s3_param *p)
{
	static const char *const plain[] = {
		"AWSAccessKeyId", "Expires", "Signature", "bucket-region",
		"continuation-token", "delimiter", "encoding-type",
		"fetch-owner", "id", "key-marker", "list-type", "marker",
		"max-buckets", "max-keys", "max-parts", "max-uploads",
		"part-number-marker", "partNumber", "prefix", "start-after",
		"upload-id-marker", "version-id-marker", "versionId", "x-id",
	};
	static const char *const begin[] = { "X-Amz-", "response-" };

	if (p->value.len > 0)
		return false;
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (gw_text_is(p->name, plain[i]))
			return false;
	for (size_t i = 0; i < sizeof(begin) / sizeof(begin[0]); i++)
		if (gw_begins(p->name, begin[i]))
			return false;
	return true;
}

static bool gw_route_fits(const struct gw_route *route, const struct gw_req *r,
			  unsigned level, const char *sub)
{
	return route->level == level &&
	       (route->sub == NULL) == (sub == NULL) &&
	       (sub == NULL || strcmp(sub, route->sub) == 0) &&
	       gw_text_is(r->head->method, route->method) &&
	       (route->with == NULL || gw_header(r, route->with).p != NULL);
}

const struct gw_route *gw_route_find(const struct gw_req *r,
				     enum s3_err *ret_err)
{
	unsigned level = r->name.key.len > 0	? GW_OBJECT :
			 r->name.bucket.len > 0 ? GW_BUCKET :
						  GW_SERVICE;
	const char *sub = NULL;

	for (unsigned i = 0; i < r->query.n; i++) {
		const char *s = gw_route_sub(r->query.params[i].name, level);

		if (s == NULL && gw_route_strange(&r->query.params[i])) {
			*ret_err = S3_ERR_NOT_IMPLEMENTED;
			return NULL;
		}
		if (s == NULL || s == sub)
			continue;
		if (sub != NULL && strcmp(s, sub) != 0) {
			*ret_err = S3_ERR_INVALID_ARGUMENT;
			return NULL;
		}
		sub = s;
	}
	for (size_t i = 0; i < GW_ROUTES; i++)
		if (gw_route_fits(&gw_routes[i], r, level, sub))
			return &gw_routes[i];
	*ret_err = sub != NULL ? S3_ERR_NOT_IMPLEMENTED :
				 S3_ERR_METHOD_NOT_ALLOWED;
	return NULL;
}

/* --- metrics: one set per row --- */

struct gw_route_metric {
	struct metric requests, failed, in, out;
	struct histo time;
	char label[64];
};
static struct gw_route_metric *gw_metrics;

static void gw_metric(struct metric *m, const char *name, const char *help,
		      const char *label)
{
	*m = (struct metric){ .name = name, .help = help, .labels = label,
			      .kind = METRIC_COUNTER };
	metric_register(m);
}

int gw_route_metrics(void)
{
	if (gw_metrics != NULL)
		return 0;
	/* for ever: the registry borrows them */
	gw_metrics = mem_calloc(GW_ROUTES, sizeof(*gw_metrics));
	if (gw_metrics == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < GW_ROUTES; i++) {
		struct gw_route_metric *m = &gw_metrics[i];

		(void)snprintf(m->label, sizeof(m->label), "op=\"%s\"",
			       gw_routes[i].op);
		gw_metric(&m->requests, "leofs_s3_requests_total",
			  "S3 requests", m->label);
		gw_metric(&m->failed, "leofs_s3_failed_total",
			  "S3 requests answered with 5xx", m->label);
		gw_metric(&m->in, "leofs_s3_bytes_in_total",
			  "Body bytes received", m->label);
		gw_metric(&m->out, "leofs_s3_bytes_out_total",
			  "Body bytes sent", m->label);
		m->time = (struct histo){ .name = "leofs_s3_seconds",
					  .help = "Time of S3 requests",
					  .labels = m->label };
		histo_register(&m->time);
	}
	return 0;
}

void gw_route_note(const struct gw_route *route, unsigned status, uint64_t us,
		   uint64_t in, uint64_t out)
{
	struct gw_route_metric *m;

	if (route == NULL || gw_metrics == NULL)
		return;
	m = &gw_metrics[route - gw_routes];
	metric_add(&m->requests, 1);
	if (status >= 500)
		metric_add(&m->failed, 1);
	metric_add(&m->in, in);
	metric_add(&m->out, out);
	histo_add(&m->time, us);
}
