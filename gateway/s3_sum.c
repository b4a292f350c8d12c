#include "gateway/s3_sum.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "common/base/mem.h"

#include "gateway/s3_md5.h"

static const struct s3_sum_info s3_sum_table[] = {
#define S3_SUM_ROW(name_, lower, upper_, len_, full_, comp) \
	[S3_SUM_##name_] = { lower, upper_, "x-amz-checksum-" lower, \
			     "Checksum" upper_, len_, full_, comp },
	S3_SUMS(S3_SUM_ROW)
};

const struct s3_sum_info *s3_sum_info(enum s3_sum_alg alg)
{
	assert(alg < S3_SUM_COUNT);
	return &s3_sum_table[alg];
}

static bool s3_text_eq(struct wire_bytes t, const char *s)
{
	return t.len == strlen(s) &&
	       strncasecmp((const char *)t.p, s, t.len) == 0;
}

enum s3_sum_alg s3_sum_find(struct wire_bytes upper)
{
	for (enum s3_sum_alg i = 0; i < S3_SUM_COUNT; i++)
		if (s3_text_eq(upper, s3_sum_table[i].upper))
			return i;
	return S3_SUM_NONE;
}

enum s3_sum_alg s3_sum_find_header(struct wire_bytes header)
{
	for (enum s3_sum_alg i = 0; i < S3_SUM_COUNT; i++)
		if (s3_text_eq(header, s3_sum_table[i].header))
			return i;
	return S3_SUM_NONE;
}

/* Fetching a method costs more than hashing 1 KiB, so once per process. */
static struct {
	EVP_MD *sha1, *sha256;
} s3_md;
static pthread_once_t s3_md_once = PTHREAD_ONCE_INIT;

static void s3_md_init(void)
{
	s3_md.sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
	s3_md.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

struct s3_digest {
	EVP_MD_CTX *ctx; /* NULL: not wanted */
	const EVP_MD *md;
	uint8_t value[S3_SUM_LEN_MAX];
};

struct s3_sums {
	unsigned bits;
	struct s3_md5 md5;
	uint8_t md5_value[S3_MD5_LEN];
	struct s3_digest payload, sha1;
	uint32_t crc32, crc32c;
	uint64_t crc64;
	uint8_t value[3][8]; /* of the CRCs, big-endian */
};

static int s3_digest_new(struct s3_digest *d, const EVP_MD *md)
{
	if (md == NULL)
		return -ENOMEM;
	d->md = md;
	d->ctx = EVP_MD_CTX_new();
	if (d->ctx == NULL || EVP_DigestInit_ex2(d->ctx, md, NULL) != 1)
		return -ENOMEM;
	return 0;
}

static void s3_digest_add(struct s3_digest *d, const void *p, size_t len)
{
	if (d->ctx != NULL)
		(void)EVP_DigestUpdate(d->ctx, p, len); /* cannot fail */
}

static void s3_digest_end(struct s3_digest *d)
{
	if (d->ctx != NULL)
		(void)EVP_DigestFinal_ex(d->ctx, d->value, NULL);
}

static void s3_digest_reset(struct s3_digest *d)
{
	if (d->ctx != NULL)
		(void)EVP_DigestInit_ex2(d->ctx, d->md, NULL);
}

int s3_sums_new(unsigned bits, struct s3_sums **ret_sums)
{
	struct s3_sums *s = mem_zalloc(sizeof(*s));
	int rv = 0;

	if (s == NULL)
		return -ENOMEM;
	pthread_once(&s3_md_once, s3_md_init);
	s->bits = bits;
	s3_md5_init(&s->md5);
	/* the payload hash and x-amz-checksum-sha256 are one number */
	if ((bits & (S3_SUM_BIT_PAYLOAD | S3_SUM_BIT(S3_SUM_SHA256))) != 0)
		rv = s3_digest_new(&s->payload, s3_md.sha256);
	if (rv == 0 && (bits & S3_SUM_BIT(S3_SUM_SHA1)) != 0)
		rv = s3_digest_new(&s->sha1, s3_md.sha1);
	if (rv != 0) {
		s3_sums_free(s);
		return rv;
	}
	*ret_sums = s;
	return 0;
}

void s3_sums_free(struct s3_sums *s)
{
	if (s == NULL)
		return;
	EVP_MD_CTX_free(s->payload.ctx);
	EVP_MD_CTX_free(s->sha1.ctx);
	mem_free(s);
}

void s3_sums_reset(struct s3_sums *s)
{
	s3_md5_init(&s->md5);
	s3_digest_reset(&s->payload);
	s3_digest_reset(&s->sha1);
	s->crc32 = 0;
	s->crc32c = 0;
	s->crc64 = 0;
}

/* All but the MD5. */
static void s3_sums_others(struct s3_sums *s, const void *data, size_t len)
{
	s3_digest_add(&s->payload, data, len);
	s3_digest_add(&s->sha1, data, len);
	if ((s->bits & S3_SUM_BIT(S3_SUM_CRC32)) != 0)
		s->crc32 = s3_crc32(s->crc32, data, len);
	if ((s->bits & S3_SUM_BIT(S3_SUM_CRC32C)) != 0)
		s->crc32c = s3_crc32c(s->crc32c, data, len);
	if ((s->bits & S3_SUM_BIT(S3_SUM_CRC64NVME)) != 0)
		s->crc64 = s3_crc64nvme(s->crc64, data, len);
}

void s3_sums_update(struct s3_sums *s, const void *data, size_t len)
{
	if (len == 0)
		return;
	if ((s->bits & S3_SUM_BIT_MD5) != 0)
		s3_md5_add(&s->md5, data, len);
	s3_sums_others(s, data, len);
}

void s3_sums_update_many(const struct s3_sums_run *runs, unsigned n)
{
	struct s3_md5_run md5[S3_SUMS_MANY];

	assert(n <= S3_SUMS_MANY);
	for (unsigned i = 0; i < n; i++) {
		struct s3_sums *s = runs[i].sums;
		bool want = s != NULL && (s->bits & S3_SUM_BIT_MD5) != 0;

		md5[i] = (struct s3_md5_run){ want ? &s->md5 : NULL,
					      runs[i].data, runs[i].len };
		if (s != NULL && runs[i].len > 0)
			s3_sums_others(s, runs[i].data, runs[i].len);
	}
	s3_md5_add_many(md5, n);
}

static void s3_store_be(uint8_t *p, uint64_t v, unsigned n)
{
	for (unsigned i = n; i-- > 0; v >>= 8)
		p[i] = (uint8_t)v;
}

void s3_sums_final(struct s3_sums *s)
{
	s3_md5_end(&s->md5, s->md5_value);
	s3_digest_end(&s->payload);
	s3_digest_end(&s->sha1);
	s3_store_be(s->value[0], s->crc32, 4);
	s3_store_be(s->value[1], s->crc32c, 4);
	s3_store_be(s->value[2], s->crc64, 8);
}

const uint8_t *s3_sums_md5(const struct s3_sums *s)
{
	assert((s->bits & S3_SUM_BIT_MD5) != 0);
	return s->md5_value;
}

const uint8_t *s3_sums_payload(const struct s3_sums *s)
{
	assert(s->payload.ctx != NULL);
	return s->payload.value;
}

const uint8_t *s3_sums_value(const struct s3_sums *s, enum s3_sum_alg alg)
{
	assert((s->bits & S3_SUM_BIT(alg)) != 0);
	switch (alg) {
	case S3_SUM_CRC32:
		return s->value[0];
	case S3_SUM_CRC32C:
		return s->value[1];
	case S3_SUM_CRC64NVME:
		return s->value[2];
	case S3_SUM_SHA1:
		return s->sha1.value;
	case S3_SUM_SHA256:
	case S3_SUM_COUNT:
		break;
	}
	return s->payload.value;
}

/* --- SHA-256 and HMAC over one reused context --- */

struct s3_sha {
	EVP_MD_CTX *ctx;
};

int s3_sha_new(struct s3_sha **ret_sha)
{
	struct s3_sha *s = mem_zalloc(sizeof(*s));

	pthread_once(&s3_md_once, s3_md_init);
	if (s != NULL)
		s->ctx = EVP_MD_CTX_new();
	if (s == NULL || s->ctx == NULL || s3_md.sha256 == NULL) {
		s3_sha_free(s);
		return -ENOMEM;
	}
	*ret_sha = s;
	return 0;
}

void s3_sha_free(struct s3_sha *s)
{
	if (s == NULL)
		return;
	EVP_MD_CTX_free(s->ctx);
	mem_free(s);
}

void s3_sha_begin(struct s3_sha *s)
{
	(void)EVP_DigestInit_ex2(s->ctx, s3_md.sha256, NULL);
}

void s3_sha_add(struct s3_sha *s, const void *data, size_t len)
{
	(void)EVP_DigestUpdate(s->ctx, data, len);
}

void s3_sha_end(struct s3_sha *s, uint8_t out[32])
{
	(void)EVP_DigestFinal_ex(s->ctx, out, NULL);
}

void s3_sha256(struct s3_sha *s, const void *data, size_t len, uint8_t out[32])
{
	s3_sha_begin(s);
	s3_sha_add(s, data, len);
	s3_sha_end(s, out);
}

/* RFC 2104 with a block of 64 bytes. */
void s3_hmac(struct s3_sha *s, const void *key, size_t key_len,
	     const void *data, size_t len, uint8_t out[32])
{
	uint8_t pad[64] = { 0 }, inner[32];

	if (key_len > sizeof(pad))
		s3_sha256(s, key, key_len, pad);
	else
		memcpy(pad, key, key_len);
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36;
	s3_sha_begin(s);
	s3_sha_add(s, pad, sizeof(pad));
	s3_sha_add(s, data, len);
	s3_sha_end(s, inner);
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	s3_sha_begin(s);
	s3_sha_add(s, pad, sizeof(pad));
	s3_sha_add(s, inner, sizeof(inner));
	s3_sha_end(s, out);
	OPENSSL_cleanse(pad, sizeof(pad));
}

/* --- text --- */

size_t s3_base64(const void *data, size_t len, char *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *p = data;
	char *o = out;

	for (; len > 0; p += 3) {
		size_t n = len < 3 ? len : 3;
		unsigned v = (unsigned)p[0] << 16;

		if (n > 1)
			v |= (unsigned)p[1] << 8;
		if (n > 2)
			v |= p[2];
		*o++ = digits[v >> 18];
		*o++ = digits[v >> 12 & 63];
		*o++ = n > 1 ? digits[v >> 6 & 63] : '=';
		*o++ = n > 2 ? digits[v & 63] : '=';
		len -= n;
	}
	*o = '\0';
	return (size_t)(o - out);
}

static int s3_base64_digit(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int s3_base64_decode(struct wire_bytes text, uint8_t *out, size_t want)
{
	unsigned v = 0, bits = 0;
	size_t n = 0, digits = (want * 8 + 5) / 6;

	if (text.len != (want + 2) / 3 * 4)
		return -EINVAL;
	for (size_t i = 0; i < text.len; i++) {
		int d = s3_base64_digit(text.p[i]);

		if (i >= digits) {
			if (text.p[i] != '=')
				return -EINVAL;
			continue;
		}
		if (d < 0)
			return -EINVAL;
		v = (v << 6 | (unsigned)d) & 0xffffff;
		bits += 6;
		if (bits >= 8 && n < want) {
			bits -= 8;
			out[n++] = (uint8_t)(v >> bits);
		}
	}
	/* the bits that are left over must be zero: one text per value */
	return (v & ((1u << bits) - 1)) == 0 ? 0 : -EINVAL;
}

void s3_hex(const void *data, size_t len, char *out)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = "0123456789abcdef"[p[i] >> 4];
		out[2 * i + 1] = "0123456789abcdef"[p[i] & 15];
	}
	out[2 * len] = '\0';
}

static int s3_hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int s3_hex_decode(struct wire_bytes text, uint8_t *out, size_t want)
{
	if (text.len != 2 * want)
		return -EINVAL;
	for (size_t i = 0; i < want; i++) {
		int hi = s3_hex_digit(text.p[2 * i]);
		int lo = s3_hex_digit(text.p[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return -EINVAL;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return 0;
}

bool s3_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}
