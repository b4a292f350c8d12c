#ifndef GATEWAY_S3_SUM_H
#define GATEWAY_S3_SUM_H
/*
 * Checksums of S3: incremental, one table. Pure; an object belongs to one
 * thread at a time. Digest methods are fetched once per process.
 *
 * MD5 is the ETag and Content-MD5; SHA256_PAYLOAD below is the signed payload
 * hash. The others are the x-amz-checksum-* family.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/wire/wire.h"

/* X(NAME, name in header and rows, name in XML and algorithm headers, bytes,
 *   may be FULL_OBJECT of a multipart, may be COMPOSITE) */
#define S3_SUMS(X) \
	X(CRC32, "crc32", "CRC32", 4, true, true) \
	X(CRC32C, "crc32c", "CRC32C", 4, true, true) \
	X(CRC64NVME, "crc64nvme", "CRC64NVME", 8, true, false) \
	X(SHA1, "sha1", "SHA1", 20, false, true) \
	X(SHA256, "sha256", "SHA256", 32, false, true)

enum s3_sum_alg {
#define S3_SUM_ENUM(name, lower, upper, len, full, comp) S3_SUM_##name,
	S3_SUMS(S3_SUM_ENUM)
	S3_SUM_COUNT,
	S3_SUM_NONE = S3_SUM_COUNT,
};
#define S3_SUM_BIT(alg) (1u << (alg))
/* Two more kinds a stream may be hashed with. */
#define S3_SUM_BIT_MD5 (1u << 16)
#define S3_SUM_BIT_PAYLOAD (1u << 17) /* SHA-256 of x-amz-content-sha256 */

#define S3_SUM_LEN_MAX 32
#define S3_SUM_TEXT_MAX 45 /* base64 of 32 bytes and NUL */
#define S3_MD5_LEN 16

struct s3_sum_info {
	const char *name;    /* "crc32" */
	const char *upper;   /* "CRC32" */
	const char *header;  /* "x-amz-checksum-crc32" */
	const char *element; /* "ChecksumCRC32" */
	unsigned len;        /* bytes */
	bool full;           /* FULL_OBJECT of a multipart is possible */
	bool composite;
};
const struct s3_sum_info *s3_sum_info(enum s3_sum_alg alg);
/* By "CRC32" in any case, or by header name; S3_SUM_NONE when unknown. */
enum s3_sum_alg s3_sum_find(struct wire_bytes upper);
enum s3_sum_alg s3_sum_find_header(struct wire_bytes header);

struct s3_sums;
/* bits: S3_SUM_BIT*; 0 or -ENOMEM. */
int s3_sums_new(unsigned bits, struct s3_sums **ret_sums);
void s3_sums_free(struct s3_sums *s); /* NULL is fine */
/* For one more stream with the same bits, as new. */
void s3_sums_reset(struct s3_sums *s);
void s3_sums_update(struct s3_sums *s, const void *data, size_t len);
/* The same for many streams at once: their MD5s are made side by side. */
#define S3_SUMS_MANY 8
struct s3_sums_run {
	struct s3_sums *sums; /* of each run another one, or NULL */
	const void *data;
	size_t len;
};
void s3_sums_update_many(const struct s3_sums_run *runs, unsigned n);
/* Ends all digests; then the results can be read. */
void s3_sums_final(struct s3_sums *s);
const uint8_t *s3_sums_md5(const struct s3_sums *s);
const uint8_t *s3_sums_payload(const struct s3_sums *s);
/* Digest bytes of alg, s3_sum_info(alg)->len of them. */
const uint8_t *s3_sums_value(const struct s3_sums *s, enum s3_sum_alg alg);

/* --- single pieces --- */
uint32_t s3_crc32(uint32_t crc, const void *data, size_t len);
uint32_t s3_crc32c(uint32_t crc, const void *data, size_t len);
uint64_t s3_crc64nvme(uint64_t crc, const void *data, size_t len);
/*
 * The CRC of A|B from those of A and B; len_b in bytes. a and b are digest
 * bytes (big-endian) of a CRC algorithm; ret may be a.
 */
void s3_crc_combine(enum s3_sum_alg alg, const uint8_t *a, const uint8_t *b,
		    uint64_t len_b, uint8_t *ret);

/* SHA-256 and HMAC-SHA-256 without allocation per call. */
struct s3_sha;
int s3_sha_new(struct s3_sha **ret_sha); /* 0, -ENOMEM */
void s3_sha_free(struct s3_sha *s);
void s3_sha_begin(struct s3_sha *s);
void s3_sha_add(struct s3_sha *s, const void *data, size_t len);
void s3_sha_end(struct s3_sha *s, uint8_t out[32]);
void s3_sha256(struct s3_sha *s, const void *data, size_t len, uint8_t out[32]);
void s3_hmac(struct s3_sha *s, const void *key, size_t key_len,
	     const void *data, size_t len, uint8_t out[32]);

/* --- text --- */
/* out holds 4 * ((len + 2) / 3) + 1; returns the length. */
size_t s3_base64(const void *data, size_t len, char *out);
/* Exactly `want` bytes, canonical padding. 0 or -EINVAL. */
int s3_base64_decode(struct wire_bytes text, uint8_t *out, size_t want);
/* out holds 2 * len + 1. Lower case. */
void s3_hex(const void *data, size_t len, char *out);
/* Exactly 2 * want hex digits (either case). 0 or -EINVAL. */
int s3_hex_decode(struct wire_bytes text, uint8_t *out, size_t want);
/* Constant time. */
bool s3_equal(const void *a, const void *b, size_t len);

#endif
