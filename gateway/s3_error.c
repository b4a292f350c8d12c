#include "gateway/s3_error.h"

#include <assert.h>

#include "common/wire/status.h"

#include "gateway/s3_xml.h"

static const struct s3_error_info s3_error_table[] = {
#define S3_ERROR_ROW(name, code_, http_, text_) \
	[S3_ERR_##name] = { code_, http_, text_ },
	S3_ERRORS(S3_ERROR_ROW)
};

const struct s3_error_info *s3_error_info(enum s3_err e)
{
	assert(e > S3_OK && e < S3_ERR_COUNT);
	return &s3_error_table[e];
}

/* One row per status: what it means per enum s3_context. */
struct s3_status_row {
	uint32_t status;
	enum s3_err object, write, bucket, upload;
};
#define ALL(e) S3_ERR_##e, S3_ERR_##e, S3_ERR_##e, S3_ERR_##e
static const struct s3_status_row s3_status_table[] = {
	{ RPC_STATUS_NOENT, S3_ERR_NO_KEY, S3_ERR_NO_KEY, S3_ERR_NO_BUCKET,
	  S3_ERR_NO_UPLOAD },
	{ RPC_STATUS_NOTDIR, S3_ERR_NO_KEY, S3_ERR_INVALID_ARGUMENT,
	  S3_ERR_INVALID_ARGUMENT, S3_ERR_INVALID_ARGUMENT },
	{ RPC_STATUS_ISDIR, S3_ERR_NO_KEY, S3_ERR_INVALID_ARGUMENT,
	  S3_ERR_INVALID_ARGUMENT, S3_ERR_INVALID_ARGUMENT },
	{ RPC_STATUS_NOTEMPTY, ALL(BUCKET_NOT_EMPTY) },
	{ RPC_STATUS_INVAL, ALL(INVALID_ARGUMENT) },
	{ RPC_STATUS_PERM, ALL(ACCESS_DENIED) },
	{ RPC_STATUS_ACCES, ALL(ACCESS_DENIED) },
	{ RPC_STATUS_NAMETOOLONG, ALL(KEY_TOO_LONG) },
	{ RPC_STATUS_NOSPC, ALL(NO_SPACE) },
	{ RPC_STATUS_FBIG, ALL(ENTITY_TOO_LARGE) },
	{ RPC_STATUS_RANGE, ALL(INVALID_RANGE) },
	{ RPC_STATUS_NOTSUP, ALL(NOT_IMPLEMENTED) },
	{ RPC_STATUS_NOMEM, ALL(OUT_OF_MEMORY) },
	{ RPC_STATUS_PRECONDITION, ALL(PRECONDITION) },
	{ RPC_STATUS_NOT_MODIFIED, S3_ERR_NOT_MODIFIED, S3_ERR_PRECONDITION,
	  S3_ERR_PRECONDITION, S3_ERR_PRECONDITION },
	{ RPC_STATUS_NO_UPLOAD, ALL(NO_UPLOAD) },
	{ RPC_STATUS_INVALID_PART, S3_ERR_PART_RANGE, S3_ERR_INVALID_PART,
	  S3_ERR_INVALID_PART, S3_ERR_INVALID_PART },
	{ RPC_STATUS_PART_ORDER, ALL(INVALID_PART_ORDER) },
	{ RPC_STATUS_PART_TOO_SMALL, ALL(ENTITY_TOO_SMALL) },
	{ RPC_STATUS_BAD_DIGEST, ALL(BAD_DIGEST) },
	{ RPC_STATUS_NOT_LEADER, ALL(UNAVAILABLE) },
	{ RPC_STATUS_STALE_EPOCH, ALL(UNAVAILABLE) },
	{ RPC_STATUS_UNAVAILABLE, ALL(UNAVAILABLE) },
	{ RPC_STATUS_TIMEDOUT, ALL(UNAVAILABLE) },
	{ RPC_STATUS_UNKNOWN_OUTCOME, ALL(UNAVAILABLE) },
	{ RPC_STATUS_WRONG_STORE, ALL(UNAVAILABLE) },
	{ RPC_STATUS_SESSION, ALL(UNAVAILABLE) },
	{ RPC_STATUS_SLICE_GONE, ALL(UNAVAILABLE) },
	{ RPC_STATUS_BUSY, ALL(SLOW_DOWN) },
	{ RPC_STATUS_NO_BUCKET, ALL(NO_BUCKET) },
	{ RPC_STATUS_BUCKET_EXISTS, ALL(BUCKET_EXISTS) },
	{ RPC_STATUS_BUCKET_OWNED, ALL(BUCKET_OWNED) },
	{ RPC_STATUS_TOO_MANY, ALL(TOO_MANY_BUCKETS) },
};
#undef ALL

enum s3_err s3_error_from_status(uint32_t status, enum s3_context context)
{
	for (size_t i = 0;
	     i < sizeof(s3_status_table) / sizeof(s3_status_table[0]); i++) {
		const struct s3_status_row *row = &s3_status_table[i];

		if (row->status != status)
			continue;
		switch (context) {
		case S3_CTX_OBJECT:
			return row->object;
		case S3_CTX_WRITE:
			return row->write;
		case S3_CTX_BUCKET:
			return row->bucket;
		case S3_CTX_UPLOAD:
			return row->upload;
		}
	}
	return S3_ERR_INTERNAL;
}

static void s3_error_element(struct buf *out, const char *name,
			     struct wire_bytes value)
{
	if (value.len > 0 && s3_xml_carries(value))
		s3_xml_element(out, name, value);
}

static void s3_error_text(struct buf *out, const char *name, const char *text)
{
	if (text != NULL)
		s3_error_element(out, name, wire_cstr(text));
}

void s3_error_xml(struct buf *out, enum s3_err e,
		  const struct s3_error_detail *d)
{
	const struct s3_error_info *info = s3_error_info(e);

	s3_xml_begin(out);
	s3_xml_open(out, "Error");
	s3_error_text(out, "Code", info->code);
	s3_error_text(out, "Message",
		      d->message != NULL ? d->message : info->message);
	s3_error_element(out, "ArgumentName", d->argument);
	s3_error_element(out, "Condition", d->condition);
	s3_error_text(out, "Region", d->region);
	s3_error_element(out, "BucketName", d->bucket);
	s3_error_element(out, "Key", d->key);
	s3_error_element(out, "Resource", d->resource);
	s3_error_text(out, "RequestId", d->request_id);
	s3_error_text(out, "HostId", d->host_id);
	s3_xml_close(out, "Error");
}
