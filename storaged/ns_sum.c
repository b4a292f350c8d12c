/*
 * Checksums of multipart objects from those of their parts: COMPOSITE is the
 * checksum of the binary checksums in a row, FULL_OBJECT (CRCs only) the CRC
 * of all bytes, which follows from the parts' CRCs and lengths.
 *
 * All three CRCs are reflected and begin and end inverted, so one combination
 * serves them: crc(A|B) = crc(A) * x^(8 len B) + crc(B) modulo the polynomial.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

struct ns_sum_info {
	const char *name;
	unsigned len;  /* bytes */
	uint64_t poly; /* reflected; 0 = a digest */
};

static const struct ns_sum_info ns_sums[] = {
	[NS_SUM_NONE] = { "", 0, 0 },
	[NS_SUM_CRC32] = { "crc32", 4, 0xedb88320 },
	[NS_SUM_CRC32C] = { "crc32c", 4, 0x82f63b78 },
	[NS_SUM_CRC64NVME] = { "crc64nvme", 8, 0x9a6c9329ac4bc9b5 },
	[NS_SUM_SHA1] = { "sha1", 20, 0 },
	[NS_SUM_SHA256] = { "sha256", 32, 0 },
};

struct ns_sum {
	enum ns_sum_alg alg;
	bool full;
	uint64_t crc;              /* full: so far */
	uint64_t shift_len, shift; /* x^(8 shift_len), as parts are alike */
	uint8_t *all;              /* composite: the checksums in a row */
	size_t used, cap;
	unsigned parts;
};

enum ns_sum_alg ns_sum_find(struct wire_bytes name)
{
	for (unsigned i = NS_SUM_CRC32; i <= NS_SUM_SHA256; i++)
		if (strlen(ns_sums[i].name) == name.len &&
		    strncasecmp(ns_sums[i].name, (const char *)name.p,
				name.len) == 0)
			return (enum ns_sum_alg)i;
	return NS_SUM_NONE;
}

struct wire_bytes ns_sum_name(enum ns_sum_alg alg)
{
	return wire_cstr(ns_sums[alg].name);
}

/* --- CRCs as polynomials over GF(2), x^0 in the top bit --- */

static uint64_t ns_crc_top(const struct ns_sum_info *i)
{
	return UINT64_C(1) << (8 * i->len - 1);
}

static uint64_t ns_crc_mul(const struct ns_sum_info *i, uint64_t a, uint64_t b)
{
	uint64_t p = 0;

	for (uint64_t m = ns_crc_top(i); m != 0; m >>= 1) {
		if (a & m)
			p ^= b;
		b = b & 1 ? b >> 1 ^ i->poly : b >> 1;
	}
	return p;
}

/* x^(8 len) */
static uint64_t ns_crc_shift(const struct ns_sum_info *i, uint64_t len)
{
	uint64_t p = ns_crc_top(i), sq = ns_crc_top(i) >> 8;

	for (; len > 0; len >>= 1) {
		if (len & 1)
			p = ns_crc_mul(i, p, sq);
		sq = ns_crc_mul(i, sq, sq);
	}
	return p;
}

static uint64_t ns_crc_bytes(const struct ns_sum_info *i, const uint8_t *p,
			     size_t len)
{
	uint64_t ones = ns_crc_top(i) | (ns_crc_top(i) - 1), crc = ones;

	while (len-- > 0) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ i->poly : crc >> 1;
	}
	return crc ^ ones;
}

static uint64_t ns_crc_load(const struct ns_sum_info *i, const uint8_t *p)
{
	uint64_t v = 0;

	for (unsigned n = 0; n < i->len; n++)
		v = v << 8 | p[n];
	return v;
}

static void ns_crc_store(const struct ns_sum_info *i, uint64_t v, uint8_t *p)
{
	for (unsigned n = i->len; n > 0; v >>= 8)
		p[--n] = (uint8_t)v;
}

/* --- base64 --- */

/* Exactly len bytes; false when in is anything else. */
static bool ns_base64_get(struct wire_bytes in, uint8_t *out, unsigned len)
{
	uint8_t tmp[3 * 12 + 3];
	int n;

	if (in.len != ((size_t)len + 2) / 3 * 4 || in.len > 4 * 12)
		return false;
	n = EVP_DecodeBlock(tmp, in.p, (int)in.len);
	for (size_t i = in.len; i > 0 && in.p[i - 1] == '='; i--)
		n--;
	if (n != (int)len)
		return false;
	memcpy(out, tmp, len);
	return true;
}

/* --- the sum --- */

int ns_sum_new(struct ns_ctx *x, enum ns_sum_alg alg, bool full,
	       struct ns_sum **ret)
{
	struct ns_sum *s = ns_alloc(x, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	if (alg == NS_SUM_NONE || (full && ns_sums[alg].poly == 0))
		return RPC_STATUS_INVAL;
	s->alg = alg;
	s->full = full;
	*ret = s;
	return 0;
}

static int ns_sum_keep(struct ns_ctx *x, struct ns_sum *s, const uint8_t *v)
{
	unsigned len = ns_sums[s->alg].len;

	if (s->used + len > s->cap) {
		size_t cap = s->cap == 0 ? 1024 : 2 * s->cap;
		uint8_t *p = ns_alloc(x, cap);

		if (p == NULL)
			return -ENOMEM;
		if (s->used > 0)
			memcpy(p, s->all, s->used);
		s->all = p;
		s->cap = cap;
	}
	memcpy(s->all + s->used, v, len);
	s->used += len;
	return 0;
}

int ns_sum_add(struct ns_ctx *x, struct ns_sum *s, struct wire_bytes base64,
	       uint64_t len)
{
	const struct ns_sum_info *i = &ns_sums[s->alg];
	uint8_t v[32];

	if (!ns_base64_get(base64, v, i->len))
		return RPC_STATUS_INVALID_PART;
	s->parts++;
	if (!s->full)
		return ns_sum_keep(x, s, v);
	if (s->parts == 1) {
		s->crc = ns_crc_load(i, v);
		return 0;
	}
	if (s->shift == 0 || s->shift_len != len) {
		s->shift = ns_crc_shift(i, len);
		s->shift_len = len;
	}
	s->crc = ns_crc_mul(i, s->crc, s->shift) ^ ns_crc_load(i, v);
	return 0;
}

static int ns_digest(const EVP_MD *md, const uint8_t *p, size_t len,
		     uint8_t *out)
{
	unsigned n;

	return EVP_Digest(p, len, out, &n, md, NULL) == 1 ? 0 : -ENOMEM;
}

int ns_sum_end(struct ns_ctx *x, struct ns_sum *s, struct wire_bytes *ret)
{
	const struct ns_sum_info *i = &ns_sums[s->alg];
	uint8_t v[EVP_MAX_MD_SIZE];
	struct buf b;
	int rv = 0;

	if (s->full)
		ns_crc_store(i, s->crc, v);
	else if (i->poly != 0)
		ns_crc_store(i, ns_crc_bytes(i, s->all, s->used), v);
	else
		rv = ns_digest(s->alg == NS_SUM_SHA1 ? EVP_sha1()
						     : EVP_sha256(),
			       s->all, s->used, v);
	if (rv != 0)
		return rv;
	buf_init(&b, 0);
	if (buf_reserve(&b, 64) != NULL)
		b.len = (size_t)EVP_EncodeBlock(b.data, v, (int)i->len);
	if (!s->full)
		buf_printf(&b, "-%u", s->parts);
	*ret = ns_copy(x, wire_bytes(b.data, b.len));
	rv = b.err != 0 || ret->p == NULL ? -ENOMEM : 0;
	buf_fini(&b);
	return rv;
}

/* --- ETags --- */

static int ns_hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool ns_hex_digest(struct wire_bytes hex, uint8_t ret[16])
{
	if (hex.len != 32)
		return false;
	for (int i = 0; i < 16; i++) {
		int hi = ns_hex_value(hex.p[2 * i]);
		int lo = ns_hex_value(hex.p[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		ret[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

int ns_sum_etag(struct ns_ctx *x, const uint8_t *md5s, unsigned parts,
		struct wire_bytes *ret)
{
	uint8_t v[EVP_MAX_MD_SIZE];
	struct buf b;
	int rv = ns_digest(EVP_md5(), md5s, (size_t)parts * 16, v);

	if (rv != 0)
		return rv;
	buf_init(&b, 0);
	for (int i = 0; i < 16; i++)
		buf_printf(&b, "%02x", v[i]);
	buf_printf(&b, "-%u", parts);
	*ret = ns_copy(x, wire_bytes(b.data, b.len));
	rv = b.err != 0 || ret->p == NULL ? -ENOMEM : 0;
	buf_fini(&b);
	return rv;
}
