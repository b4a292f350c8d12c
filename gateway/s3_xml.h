#ifndef GATEWAY_S3_XML_H
#define GATEWAY_S3_XML_H
/*
 * XML in and out. Pure; any thread.
 *
 * Reading (expat): the three documents clients send. A DOCTYPE is refused, so
 * there are no entities to expand; depth, text sizes and element counts are
 * bounded; namespaces are ignored, unknown elements skipped. Errors: -EINVAL
 * (MalformedXML) or -ENOMEM. Strings of a result live in its own pool.
 *
 * Writing: into a struct buf, whose sticky error says out of memory. Names
 * that XML 1.0 cannot carry must be caught with s3_xml_carries() before.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/wire/wire.h"

#include "gateway/s3_sum.h"

#define S3_XML_DEPTH_MAX 32
#define S3_XML_DELETE_MAX 1000
#define S3_XML_PARTS_MAX 10000

/* --- writing --- */
void s3_xml_begin(struct buf *out); /* the XML declaration */
void s3_xml_open(struct buf *out, const char *name);
/* With S3's namespace: the top element of an answer. */
void s3_xml_open_top(struct buf *out, const char *name);
void s3_xml_close(struct buf *out, const char *name);
void s3_xml_text(struct buf *out, struct wire_bytes text); /* escaped */
void s3_xml_element(struct buf *out, const char *name, struct wire_bytes text);
void s3_xml_str(struct buf *out, const char *name, const char *text);
void s3_xml_u64(struct buf *out, const char *name, uint64_t v);
void s3_xml_bool(struct buf *out, const char *name, bool v);
/* "2026-11-24T17:21:40.000Z" */
void s3_xml_time(struct buf *out, const char *name, int64_t ns);
/* The ETag in quotes. */
void s3_xml_etag(struct buf *out, const char *name, struct wire_bytes etag);
/* Valid UTF-8 of characters that XML 1.0 has? */
bool s3_xml_carries(struct wire_bytes text);

/* --- reading --- */
struct s3_xml_delete_key {
	struct wire_bytes key, version, etag;
	struct wire_bytes mtime; /* LastModifiedTime as sent */
	struct wire_bytes size;  /* as sent */
};
struct s3_xml_delete {
	bool quiet;
	struct s3_xml_delete_key *keys;
	unsigned n_keys;
	struct buf pool; /* private */
};
int s3_xml_read_delete(const void *data, size_t len, struct s3_xml_delete *ret);
void s3_xml_delete_fini(struct s3_xml_delete *d);

struct s3_xml_part {
	uint32_t number; /* 1-10000, in the order sent */
	struct wire_bytes etag; /* without quotes */
	struct wire_bytes sums[S3_SUM_COUNT]; /* base64 as sent; len 0 = none */
};
struct s3_xml_complete {
	struct s3_xml_part *parts;
	unsigned n_parts;
	struct buf pool; /* private */
};
int s3_xml_read_complete(const void *data, size_t len,
			 struct s3_xml_complete *ret);
void s3_xml_complete_fini(struct s3_xml_complete *c);

/* CreateBucketConfiguration: the location constraint, "" when none. */
int s3_xml_read_location(const void *data, size_t len, char *out, size_t size);

#endif
