#ifndef GATEWAY_S3_ERROR_H
#define GATEWAY_S3_ERROR_H
/*
 * Every S3 error this gateway can answer, once: code, HTTP status, message;
 * and the one table from RPC results to them. Pure; any thread.
 *
 * Codes and statuses follow the S3 API reference ("Error responses"). A row
 * may be reworded; its code and status are what clients act on.
 */
#include <stdint.h>

#include "common/base/buf.h"
#include "common/wire/wire.h"

#define S3_ERRORS(X) \
	X(ACCESS_DENIED, "AccessDenied", 403, "Access Denied.") \
	X(NOT_SIGNED, "AccessDenied", 403, \
	  "Anonymous requests are not allowed; sign the request.") \
	X(EXPIRED, "AccessDenied", 403, "Request has expired") \
	X(NOT_YET_VALID, "AccessDenied", 403, "Request is not yet valid") \
	X(HEADERS_NOT_SIGNED, "AccessDenied", 403, \
	  "There were headers present in the request which were not signed") \
	X(AUTH_MALFORMED, "AuthorizationHeaderMalformed", 400, \
	  "The authorization header that you provided is not valid.") \
	X(AUTH_REGION, "AuthorizationHeaderMalformed", 400, \
	  "The authorization header is malformed; the region is wrong.") \
	X(AUTH_QUERY, "AuthorizationQueryParametersError", 400, \
	  "The authorization query parameters that you provided are not valid.") \
	X(AUTH_TWICE, "InvalidArgument", 400, \
	  "Only one auth mechanism allowed; only the X-Amz-Algorithm query " \
	  "parameter or the Authorization header should be specified.") \
	X(AUTH_V2, "InvalidRequest", 400, \
	  "The authorization mechanism you have provided is not supported. " \
	  "Please use AWS4-HMAC-SHA256.") \
	X(BAD_DIGEST, "BadDigest", 400, \
	  "The Content-MD5 or checksum value that you specified did not match " \
	  "what the server received.") \
	X(BUCKET_EXISTS, "BucketAlreadyExists", 409, \
	  "The requested bucket name is not available.") \
	X(BUCKET_OWNED, "BucketAlreadyOwnedByYou", 409, \
	  "The bucket that you tried to create already exists, and you own it.") \
	X(BUCKET_NOT_EMPTY, "BucketNotEmpty", 409, \
	  "The bucket that you tried to delete is not empty.") \
	X(CONDITIONAL_CONFLICT, "ConditionalRequestConflict", 409, \
	  "A conflicting operation occurred during the upload.") \
	X(SHA256_MISMATCH, "XAmzContentSHA256Mismatch", 400, \
	  "The provided 'x-amz-content-sha256' header does not match what was " \
	  "computed.") \
	X(ENTITY_TOO_LARGE, "EntityTooLarge", 400, \
	  "Your proposed upload exceeds the maximum allowed object size.") \
	X(ENTITY_TOO_SMALL, "EntityTooSmall", 400, \
	  "Your proposed upload is smaller than the minimum allowed object " \
	  "size.") \
	X(ILLEGAL_LOCATION, "IllegalLocationConstraintException", 400, \
	  "The specified location constraint is not the region of this " \
	  "endpoint.") \
	X(INCOMPLETE_BODY, "IncompleteBody", 400, \
	  "You did not provide the number of bytes specified by the " \
	  "Content-Length or x-amz-decoded-content-length HTTP header.") \
	X(INTERNAL, "InternalError", 500, \
	  "An internal error occurred. Try again.") \
	X(INVALID_ACCESS_KEY, "InvalidAccessKeyId", 403, \
	  "The access key ID that you provided does not exist in our records.") \
	X(INVALID_ARGUMENT, "InvalidArgument", 400, "Invalid argument.") \
	X(INVALID_BUCKET_NAME, "InvalidBucketName", 400, \
	  "The specified bucket is not valid.") \
	X(INVALID_BUCKET_STATE, "InvalidBucketState", 409, \
	  "The request is not valid for the current state of the bucket.") \
	X(INVALID_CHUNK_SIZE, "InvalidChunkSizeError", 400, \
	  "The chunked body is malformed.") \
	X(INVALID_DIGEST, "InvalidDigest", 400, \
	  "The Content-MD5 or checksum value that you specified is not valid.") \
	X(INVALID_ENCODING, "InvalidArgument", 400, \
	  "Invalid Encoding Method specified in Request") \
	X(INVALID_PART, "InvalidPart", 400, \
	  "One or more of the specified parts could not be found. The part " \
	  "might not have been uploaded, or the specified entity tag might not " \
	  "have matched the part's entity tag.") \
	X(INVALID_PART_NUMBER, "InvalidArgument", 400, \
	  "Part number must be an integer between 1 and 10000, inclusive") \
	X(INVALID_PART_ORDER, "InvalidPartOrder", 400, \
	  "The list of parts was not in ascending order. The parts list must be " \
	  "specified in order by part number.") \
	X(PART_RANGE, "InvalidPartNumber", 416, \
	  "The requested partnumber is not satisfiable") \
	X(INVALID_RANGE, "InvalidRange", 416, \
	  "The requested range cannot be satisfied.") \
	X(INVALID_REQUEST, "InvalidRequest", 400, "Invalid request.") \
	X(INVALID_TOKEN, "InvalidToken", 400, \
	  "The provided token is malformed or otherwise not valid.") \
	X(INVALID_URI, "InvalidURI", 400, \
	  "The specified URI couldn't be parsed.") \
	X(KEY_TOO_LONG, "KeyTooLongError", 400, "Your key is too long.") \
	X(MALFORMED_XML, "MalformedXML", 400, \
	  "The XML that you provided was not well formed or did not validate " \
	  "against our published schema.") \
	X(MALFORMED_TRAILER, "MalformedTrailerError", 400, \
	  "The request contained trailing data that was not well-formed or did " \
	  "not conform to our published schema.") \
	X(MAX_MESSAGE, "MaxMessageLengthExceeded", 400, \
	  "Your request was too large.") \
	X(METADATA_TOO_LARGE, "MetadataTooLarge", 400, \
	  "Your metadata headers exceed the maximum allowed metadata size.") \
	X(METHOD_NOT_ALLOWED, "MethodNotAllowed", 405, \
	  "The specified method is not allowed against this resource.") \
	X(MISSING_LENGTH, "MissingContentLength", 411, \
	  "You must provide the Content-Length HTTP header.") \
	X(MISSING_BODY, "MissingRequestBodyError", 400, "Request Body is empty") \
	X(MISSING_DIGEST, "InvalidRequest", 400, \
	  "Missing required header for this request: Content-MD5 or a checksum") \
	X(NO_BUCKET, "NoSuchBucket", 404, "The specified bucket does not exist.") \
	X(NO_POLICY, "NoSuchBucketPolicy", 404, \
	  "The bucket policy does not exist") \
	X(NO_CORS, "NoSuchCORSConfiguration", 404, \
	  "The CORS configuration does not exist") \
	X(NO_KEY, "NoSuchKey", 404, "The specified key does not exist.") \
	X(NO_LIFECYCLE, "NoSuchLifecycleConfiguration", 404, \
	  "The lifecycle configuration does not exist") \
	X(NO_TAG_SET, "NoSuchTagSet", 404, "The TagSet does not exist") \
	X(NO_UPLOAD, "NoSuchUpload", 404, \
	  "The specified multipart upload does not exist. The upload ID may be " \
	  "invalid, or the upload may have been aborted or completed.") \
	X(NO_VERSION, "NoSuchVersion", 404, \
	  "The specified version does not exist.") \
	X(NO_WEBSITE, "NoSuchWebsiteConfiguration", 404, \
	  "The specified bucket does not have a website configuration") \
	X(NO_OBJECT_LOCK, "ObjectLockConfigurationNotFoundError", 404, \
	  "Object Lock configuration does not exist for this bucket") \
	X(NO_RETENTION, "NoSuchObjectLockConfiguration", 404, \
	  "The specified object does not have a ObjectLock configuration") \
	X(NO_OWNERSHIP, "OwnershipControlsNotFoundError", 404, \
	  "The bucket ownership controls were not found") \
	X(NO_PUBLIC_ACCESS_BLOCK, "NoSuchPublicAccessBlockConfiguration", 404, \
	  "The public access block configuration was not found") \
	X(NO_REPLICATION, "ReplicationConfigurationNotFoundError", 404, \
	  "The replication configuration was not found") \
	X(NO_ENCRYPTION, "ServerSideEncryptionConfigurationNotFoundError", 404, \
	  "The server side encryption configuration was not found") \
	X(NO_CONFIGURATION, "NoSuchConfiguration", 404, \
	  "The specified configuration does not exist.") \
	X(NOT_IMPLEMENTED, "NotImplemented", 501, \
	  "A header or query you provided implies functionality that is not " \
	  "implemented.") \
	X(NOT_MODIFIED, "NotModified", 304, "Not Modified") \
	X(OUT_OF_MEMORY, "ServiceUnavailable", 503, \
	  "Not enough memory for this request. Try again.") \
	X(NO_SPACE, "InsufficientStorage", 507, \
	  "The store has no space left.") \
	X(PRECONDITION, "PreconditionFailed", 412, \
	  "At least one of the preconditions that you specified did not hold.") \
	X(REQUEST_TIMEOUT, "RequestTimeout", 400, \
	  "Your socket connection to the server was not read from or written to " \
	  "within the timeout period.") \
	X(TIME_SKEWED, "RequestTimeTooSkewed", 403, \
	  "The difference between the request time and the server's time is too " \
	  "large.") \
	X(SIGNATURE_MISMATCH, "SignatureDoesNotMatch", 403, \
	  "The request signature that the server calculated does not match the " \
	  "signature that you provided. Check your secret access key and " \
	  "signing method.") \
	X(SLOW_DOWN, "SlowDown", 503, "Please reduce your request rate.") \
	X(UNAVAILABLE, "ServiceUnavailable", 503, \
	  "The service is unable to handle the request now. Try again.") \
	X(TOO_MANY_BUCKETS, "TooManyBuckets", 400, \
	  "You have attempted to create more buckets than are allowed.") \
	X(UNRENDERABLE, "InvalidArgument", 400, \
	  "A name of this page cannot be carried in XML 1.0; ask with " \
	  "encoding-type=url.")

enum s3_err {
	S3_OK = 0,
#define S3_ERROR_ENUM(name, code, http, text) S3_ERR_##name,
	S3_ERRORS(S3_ERROR_ENUM)
	S3_ERR_COUNT
};

struct s3_error_info {
	const char *code;
	unsigned http;
	const char *message;
};

/* The row of e, which must not be S3_OK. */
const struct s3_error_info *s3_error_info(enum s3_err e);

/* What the failed request was about: one status means different things. */
enum s3_context {
	S3_CTX_OBJECT, /* an object is read or removed */
	S3_CTX_WRITE,  /* an object is written: PUT, copy, complete */
	S3_CTX_BUCKET,
	S3_CTX_UPLOAD,
};
/* RPC_STATUS_* to S3; never S3_OK for a nonzero status. */
enum s3_err s3_error_from_status(uint32_t status, enum s3_context context);

/* Further elements of an error body; empty ones are left out. */
struct s3_error_detail {
	const char *message;         /* NULL: the table's */
	struct wire_bytes resource;  /* path as the client sent it */
	struct wire_bytes bucket;
	struct wire_bytes key;       /* left out when XML cannot carry it */
	struct wire_bytes argument;  /* ArgumentName, or the offending header */
	struct wire_bytes condition; /* of PreconditionFailed */
	const char *region;          /* of AuthorizationHeaderMalformed */
	const char *request_id;
	const char *host_id;
};
/* Appends the XML document; the caller leaves it out for HEAD and 304. */
void s3_error_xml(struct buf *out, enum s3_err e,
		  const struct s3_error_detail *d);

#endif
