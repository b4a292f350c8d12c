/*
 * CRCs and their combination, see s3_sum.h. CRC32 and CRC32C come from isa-l.
 * CRC64NVME (polynomial 0xad93d23594c93659, reflected, inverted in and out) is
 * ours: slicing by eight tables, and carry-less multiplication where the
 * processor has it.
 */
#include "gateway/s3_sum.h"

#include <assert.h>
#include <endian.h>
#include <isa-l/crc.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#define S3_POLY32 0xedb88320u
#define S3_POLY32C 0x82f63b78u
#define S3_POLY64 0x9a6c9329ac4bc9b5ull

/* isa-l counts bytes in int. */
#define S3_CRC_STEP (1u << 30)

uint32_t s3_crc32(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len > 0) {
		size_t n = len < S3_CRC_STEP ? len : S3_CRC_STEP;

		crc = crc32_gzip_refl(crc, p, n);
		p += n;
		len -= n;
	}
	return crc;
}

uint32_t s3_crc32c(uint32_t crc, const void *data, size_t len)
{
	/* isa-l takes a plain pointer but only reads */
	uint8_t *p = (uint8_t *)(uintptr_t)data;

	crc = ~crc;
	while (len > 0) {
		size_t n = len < S3_CRC_STEP ? len : S3_CRC_STEP;

		crc = crc32_iscsi(p, (int)n, crc);
		p += n;
		len -= n;
	}
	return ~crc;
}

/*
 * Polynomials modulo P in reflected form: the highest bit of a `width` bit
 * word is x^0. a * b mod P, by shift and add.
 */
static uint64_t s3_poly_mul(uint64_t a, uint64_t b, uint64_t poly,
			    unsigned width)
{
	uint64_t one = 1ull << (width - 1), r = 0;

	for (; one != 0; one >>= 1) {
		if ((a & one) != 0)
			r ^= b;
		b = (b & 1) != 0 ? b >> 1 ^ poly : b >> 1;
	}
	return r;
}

/* x^n mod P */
static uint64_t s3_poly_power(uint64_t n, uint64_t poly, unsigned width)
{
	uint64_t result = 1ull << (width - 1);
	uint64_t square = 1ull << (width - 2); /* x^1 */

	for (; n != 0; n >>= 1) {
		if ((n & 1) != 0)
			result = s3_poly_mul(result, square, poly, width);
		square = s3_poly_mul(square, square, poly, width);
	}
	return result;
}

struct s3_crc64 {
	uint64_t table[8][256];
	uint64_t fold_hi, fold_lo; /* 16 bytes on */
	bool clmul;
};
static struct s3_crc64 s3_crc64;
static pthread_once_t s3_crc64_once = PTHREAD_ONCE_INIT;

static void s3_crc64_init(void)
{
	struct s3_crc64 *c = &s3_crc64;

	for (unsigned i = 0; i < 256; i++) {
		uint64_t v = i;

		for (unsigned k = 0; k < 8; k++)
			v = (v & 1) != 0 ? v >> 1 ^ S3_POLY64 : v >> 1;
		c->table[0][i] = v;
	}
	for (unsigned k = 1; k < 8; k++)
		for (unsigned i = 0; i < 256; i++) {
			uint64_t v = c->table[k - 1][i];

			c->table[k][i] = v >> 8 ^ c->table[0][v & 0xff];
		}
	/* A reflected product of two 64-bit words comes out one bit short of
	 * 128, hence the exponents' - 1. */
	c->fold_lo = s3_poly_power(128 + 64 - 1, S3_POLY64, 64);
	c->fold_hi = s3_poly_power(128 - 1, S3_POLY64, 64);
#ifdef __x86_64__
	c->clmul = __builtin_cpu_supports("pclmul") != 0;
#endif
}

static uint64_t s3_crc64_tables(uint64_t crc, const uint8_t *p, size_t len)
{
	const uint64_t (*t)[256] = s3_crc64.table;

	for (; len >= 8; p += 8, len -= 8) {
		uint64_t v;

		memcpy(&v, p, 8);
		crc ^= le64toh(v);
		crc = t[7][crc & 0xff] ^ t[6][crc >> 8 & 0xff] ^
		      t[5][crc >> 16 & 0xff] ^ t[4][crc >> 24 & 0xff] ^
		      t[3][crc >> 32 & 0xff] ^ t[2][crc >> 40 & 0xff] ^
		      t[1][crc >> 48 & 0xff] ^ t[0][crc >> 56];
	}
	for (; len > 0; p++, len--)
		crc = crc >> 8 ^ t[0][(crc ^ *p) & 0xff];
	return crc;
}

#ifdef __x86_64__
/*
 * Keeps a 128-bit remainder; each step moves it 16 bytes on (two products)
 * and adds the next 16 bytes. What is left is 16 bytes whose CRC, from zero,
 * is the CRC of everything before. len >= 16, whole blocks are taken.
 */
__attribute__((target("pclmul,sse4.1"))) static uint64_t
s3_crc64_clmul(uint64_t crc, const uint8_t *p, size_t len)
{
	__m128i k = _mm_set_epi64x((long long)s3_crc64.fold_hi,
				   (long long)s3_crc64.fold_lo);
	__m128i x = _mm_loadu_si128((const void *)p);
	uint8_t rest[16];

	x = _mm_xor_si128(x, _mm_cvtsi64_si128((long long)crc));
	for (p += 16, len -= 16; len >= 16; p += 16, len -= 16) {
		__m128i lo = _mm_clmulepi64_si128(x, k, 0x00);
		__m128i hi = _mm_clmulepi64_si128(x, k, 0x11);
		__m128i next = _mm_loadu_si128((const void *)p);

		x = _mm_xor_si128(_mm_xor_si128(lo, hi), next);
	}
	_mm_storeu_si128((void *)rest, x);
	return s3_crc64_tables(0, rest, sizeof(rest));
}
#endif

uint64_t s3_crc64nvme(uint64_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;

	pthread_once(&s3_crc64_once, s3_crc64_init);
	crc = ~crc;
#ifdef __x86_64__
	if (s3_crc64.clmul && len >= 64) {
		size_t whole = len & ~(size_t)15;

		crc = s3_crc64_clmul(crc, p, whole);
		p += whole;
		len -= whole;
	}
#endif
	return ~s3_crc64_tables(crc, p, len);
}

static uint64_t s3_load_be(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

void s3_crc_combine(enum s3_sum_alg alg, const uint8_t *a, const uint8_t *b,
		    uint64_t len_b, uint8_t *ret)
{
	unsigned n = s3_sum_info(alg)->len, width = n * 8;
	uint64_t poly = alg == S3_SUM_CRC32  ? S3_POLY32 :
			alg == S3_SUM_CRC32C ? S3_POLY32C :
					       S3_POLY64;
	uint64_t shift, v;

	assert(s3_sum_info(alg)->full);
	/* Both inversions cancel: crc(A|B) = crc(A) * x^(8 |B|) + crc(B).
	 * The exponent may not overflow: x^(8n) = (x^8)^n. */
	shift = 1ull << (width - 1);
	for (uint64_t sq = s3_poly_power(8, poly, width); len_b != 0;
	     len_b >>= 1) {
		if ((len_b & 1) != 0)
			shift = s3_poly_mul(shift, sq, poly, width);
		sq = s3_poly_mul(sq, sq, poly, width);
	}
	v = s3_poly_mul(s3_load_be(a, n), shift, poly, width) ^
	    s3_load_be(b, n);
	for (unsigned i = n; i-- > 0; v >>= 8)
		ret[i] = (uint8_t)v;
}
