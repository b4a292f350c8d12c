#ifndef COMMON_WIRE_STATUS_H
#define COMMON_WIRE_STATUS_H
/*
 * Results that peers see. Numbers are never reused or changed. A reply frame
 * carries one; 0 is success. rpc_status_errno() gives what FUSE needs, the
 * gateway has one table from status to S3 code.
 */
#include <errno.h>
#include <stdint.h>

#define RPC_STATUSES(X) \
	X(0, OK, 0, "ok") \
	X(1, NOENT, ENOENT, "no such file or object") \
	X(2, EXIST, EEXIST, "already exists") \
	X(3, NOTDIR, ENOTDIR, "not a directory") \
	X(4, ISDIR, EISDIR, "is a directory") \
	X(5, NOTEMPTY, ENOTEMPTY, "directory not empty") \
	X(6, INVAL, EINVAL, "invalid argument") \
	X(7, PERM, EPERM, "operation not permitted") \
	X(8, ACCES, EACCES, "permission denied") \
	X(9, XDEV, EXDEV, "crosses buckets") \
	X(10, MLINK, EMLINK, "too many links") \
	X(11, NAMETOOLONG, ENAMETOOLONG, "name too long") \
	X(12, NOSPC, ENOSPC, "no space left") \
	X(13, FBIG, EFBIG, "file too large") \
	X(14, NODATA, ENODATA, "no such attribute") \
	X(15, RANGE, ERANGE, "result too large") \
	X(16, STALE, ESTALE, "name no longer leads to this inode") \
	X(17, NOTSUP, EOPNOTSUPP, "not supported") \
	X(18, IO, EIO, "input/output error") \
	X(19, NOMEM, ENOMEM, "out of memory") \
	X(20, LOOP, ELOOP, "too many levels, or a directory into itself") \
	X(32, PRECONDITION, EAGAIN, "a condition does not hold") \
	X(33, NOT_MODIFIED, EAGAIN, "not modified") \
	X(34, NO_UPLOAD, ENOENT, "no such multipart upload") \
	X(35, INVALID_PART, EINVAL, "a part is missing or differs") \
	X(36, PART_ORDER, EINVAL, "parts are not in ascending order") \
	X(37, PART_TOO_SMALL, EINVAL, "a part is smaller than 5 MiB") \
	X(38, BAD_DIGEST, EBADMSG, "checksum mismatch") \
	X(39, VERSION_GONE, ESTALE, "the bytes of that version are gone") \
	X(40, SLICE_GONE, EIO, "the bytes were given up before they had a name") \
	X(64, NOT_LEADER, EAGAIN, "not the leader of this group") \
	X(65, STALE_EPOCH, EAGAIN, "routed with an old ring") \
	X(66, UNAVAILABLE, EIO, "no quorum or server gone") \
	X(67, TIMEDOUT, EIO, "timed out") \
	X(68, BUSY, EAGAIN, "too many requests in flight") \
	X(69, BADMSG, EPROTO, "malformed message") \
	X(70, UNKNOWN_MSG, ENOSYS, "unknown message") \
	X(71, DENIED, EACCES, "role may not send this message") \
	X(72, UNKNOWN_OUTCOME, EIO, "may or may not have happened") \
	X(73, SESSION, ESTALE, "unknown or expired session") \
	X(74, WRONG_STORE, EAGAIN, "not this store") \
	X(75, ELSEWHERE, EAGAIN, "another shard goes on from here") \
	X(76, LOCKED, EAGAIN, "a transaction holds what is needed") \
	X(77, FAR, EAGAIN, "rows of other shards are needed") \
	X(78, SUSPENDED, EAGAIN, \
	  "compaction is suspended, compact-resume goes on with it") \
	X(96, NO_BUCKET, ENOENT, "no such bucket") \
	X(97, BUCKET_EXISTS, EEXIST, "bucket belongs to someone else") \
	X(98, BUCKET_OWNED, EEXIST, "bucket is yours already") \
	X(99, NO_USER, ENOENT, "no such user") \
	X(100, NO_KEY, ENOENT, "no such access key") \
	X(101, TOO_MANY, EDQUOT, "limit reached")

#define RPC_STATUS_ENUM(num, name, err, text) RPC_STATUS_##name = (num),
enum rpc_status { RPC_STATUSES(RPC_STATUS_ENUM) };

/* Negative errno for a status (0 for OK, -EIO for an unknown number). */
int rpc_status_errno(uint32_t status);
/* The status that best says a negative errno. */
uint32_t rpc_status_from_errno(int err);
const char *rpc_status_name(uint32_t status);
const char *rpc_status_text(uint32_t status);

#endif
