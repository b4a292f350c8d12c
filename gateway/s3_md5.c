/*
 * One set of macros makes the 64 steps of a block, for a number and for a
 * vector of eight. (16 lanes do a quarter more when all are used, and a third
 * less for each of eight: rarely do 16 streams wait at the same time.)
 */
#include "gateway/s3_md5.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#define MD5_BLOCK 64u
#define MD5_LANES 8
/* Lanes cost the same however many are used; one stream alone is faster. */
#define MD5_LANES_MIN 2

static const uint32_t md5_k[64] = {
	0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a,
	0xa8304613, 0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be,
	0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340,
	0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
	0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8,
	0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c,
	0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa,
	0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
	0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92,
	0xffeff47d, 0x85845dd1, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1,
	0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};

/* G adds where the RFC ors: no bit is in both terms, and one needs no wait. */
#define MD5_F(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define MD5_G(x, y, z) (((z) & (x)) + (~(z) & (y)))
#define MD5_H(x, y, z) ((x) ^ (y) ^ (z))
#define MD5_I(x, y, z) ((y) ^ ((x) | ~(z)))

#define MD5_STEP(f, a, b, c, d, k, s, i) \
	do { \
		(a) += w[k] + md5_k[i]; /* needs not wait for b */ \
		(a) += f(b, c, d); \
		(a) = ((a) << (s) | (a) >> (32 - (s))) + (b); \
	} while (0)
#define MD5_FOUR(f, k0, k1, k2, k3, s0, s1, s2, s3, i) \
	do { \
		MD5_STEP(f, a, b, c, d, k0, s0, (i)); \
		MD5_STEP(f, d, a, b, c, k1, s1, (i) + 1); \
		MD5_STEP(f, c, d, a, b, k2, s2, (i) + 2); \
		MD5_STEP(f, b, c, d, a, k3, s3, (i) + 3); \
	} while (0)
/* Of the block in w, on a, b, c, d. */
#define MD5_STEPS() \
	do { \
		MD5_FOUR(MD5_F, 0, 1, 2, 3, 7, 12, 17, 22, 0); \
		MD5_FOUR(MD5_F, 4, 5, 6, 7, 7, 12, 17, 22, 4); \
		MD5_FOUR(MD5_F, 8, 9, 10, 11, 7, 12, 17, 22, 8); \
		MD5_FOUR(MD5_F, 12, 13, 14, 15, 7, 12, 17, 22, 12); \
		MD5_FOUR(MD5_G, 1, 6, 11, 0, 5, 9, 14, 20, 16); \
		MD5_FOUR(MD5_G, 5, 10, 15, 4, 5, 9, 14, 20, 20); \
		MD5_FOUR(MD5_G, 9, 14, 3, 8, 5, 9, 14, 20, 24); \
		MD5_FOUR(MD5_G, 13, 2, 7, 12, 5, 9, 14, 20, 28); \
		MD5_FOUR(MD5_H, 5, 8, 11, 14, 4, 11, 16, 23, 32); \
		MD5_FOUR(MD5_H, 1, 4, 7, 10, 4, 11, 16, 23, 36); \
		MD5_FOUR(MD5_H, 13, 0, 3, 6, 4, 11, 16, 23, 40); \
		MD5_FOUR(MD5_H, 9, 12, 15, 2, 4, 11, 16, 23, 44); \
		MD5_FOUR(MD5_I, 0, 7, 14, 5, 6, 10, 15, 21, 48); \
		MD5_FOUR(MD5_I, 12, 3, 10, 1, 6, 10, 15, 21, 52); \
		MD5_FOUR(MD5_I, 8, 15, 6, 13, 6, 10, 15, 21, 56); \
		MD5_FOUR(MD5_I, 4, 11, 2, 9, 6, 10, 15, 21, 60); \
	} while (0)

static uint32_t md5_load(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	       (uint32_t)p[3] << 24;
}

static void md5_store(uint8_t *p, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++, v >>= 8)
		p[i] = (uint8_t)v;
}

/* --- one stream --- */

static void md5_blocks(uint32_t state[4], const uint8_t *p, size_t blocks)
{
	uint32_t a = state[0], b = state[1], c = state[2], d = state[3];

	for (; blocks > 0; blocks--, p += MD5_BLOCK) {
		uint32_t a0 = a, b0 = b, c0 = c, d0 = d, w[16];

		for (unsigned i = 0; i < 16; i++)
			w[i] = md5_load(p + i * 4);
		MD5_STEPS();
		a += a0;
		b += b0;
		c += c0;
		d += d0;
	}
	state[0] = a;
	state[1] = b;
	state[2] = c;
	state[3] = d;
}

void s3_md5_init(struct s3_md5 *m)
{
	m->state[0] = 0x67452301;
	m->state[1] = 0xefcdab89;
	m->state[2] = 0x98badcfe;
	m->state[3] = 0x10325476;
	m->len = 0;
}

/* Completes the block that was begun; returns the bytes it took. */
static size_t md5_add_rest(struct s3_md5 *m, const uint8_t *p, size_t len)
{
	size_t at = m->len % MD5_BLOCK;

	if (at == 0 || len == 0)
		return 0;
	if (len > MD5_BLOCK - at)
		len = MD5_BLOCK - at;
	memcpy(m->rest + at, p, len);
	m->len += len;
	if (at + len == MD5_BLOCK)
		md5_blocks(m->state, m->rest, 1);
	return len;
}

void s3_md5_add(struct s3_md5 *m, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t n = md5_add_rest(m, p, len);

	p += n;
	len -= n;
	n = len / MD5_BLOCK;
	md5_blocks(m->state, p, n);
	p += n * MD5_BLOCK;
	len -= n * MD5_BLOCK;
	m->len += n * MD5_BLOCK + len;
	if (len > 0)
		memcpy(m->rest, p, len);
}

void s3_md5_end(struct s3_md5 *m, uint8_t out[16])
{
	static const uint8_t pad[MD5_BLOCK] = { 0x80 };
	uint64_t bits = m->len * 8;
	uint8_t tail[8];
	size_t at = m->len % MD5_BLOCK;

	s3_md5_add(m, pad, at < 56 ? 56 - at : 120 - at);
	md5_store(tail, bits, 8);
	s3_md5_add(m, tail, 8);
	for (unsigned i = 0; i < 4; i++)
		md5_store(out + i * 4, m->state[i], 4);
}

/* --- many --- */

#if defined(__x86_64__) && defined(__GNUC__)
#define MD5_HAVE_LANES 1

typedef uint32_t md5_vec __attribute__((vector_size(4 * MD5_LANES)));

/* What the instructions unpckl/h and perm2x128 do. */
#define MD5_LO32(x, y) \
	__builtin_shufflevector(x, y, 0, 8, 1, 9, 4, 12, 5, 13)
#define MD5_HI32(x, y) \
	__builtin_shufflevector(x, y, 2, 10, 3, 11, 6, 14, 7, 15)
#define MD5_LO64(x, y) \
	__builtin_shufflevector(x, y, 0, 1, 8, 9, 4, 5, 12, 13)
#define MD5_HI64(x, y) \
	__builtin_shufflevector(x, y, 2, 3, 10, 11, 6, 7, 14, 15)
#define MD5_LO128(x, y) \
	__builtin_shufflevector(x, y, 0, 1, 2, 3, 8, 9, 10, 11)
#define MD5_HI128(x, y) \
	__builtin_shufflevector(x, y, 4, 5, 6, 7, 12, 13, 14, 15)

/* Eight words of eight streams: w[i] becomes word i of all. */
static inline __attribute__((always_inline)) void
md5_transpose(const uint8_t *const p[MD5_LANES], size_t at, md5_vec *w)
{
	md5_vec r[8], s[8];

	for (unsigned i = 0; i < 8; i++)
		memcpy(&r[i], p[i] + at, sizeof(r[i]));
	for (unsigned i = 0; i < 8; i += 2) {
		s[i] = MD5_LO32(r[i], r[i + 1]);
		s[i + 1] = MD5_HI32(r[i], r[i + 1]);
	}
	for (unsigned i = 0; i < 8; i += 4) {
		r[i] = MD5_LO64(s[i], s[i + 2]);
		r[i + 1] = MD5_HI64(s[i], s[i + 2]);
		r[i + 2] = MD5_LO64(s[i + 1], s[i + 3]);
		r[i + 3] = MD5_HI64(s[i + 1], s[i + 3]);
	}
	for (unsigned i = 0; i < 4; i++) {
		w[i] = MD5_LO128(r[i], r[i + 4]);
		w[i + 4] = MD5_HI128(r[i], r[i + 4]);
	}
}

/* blocks of each of p, side by side. */
static inline __attribute__((always_inline)) void
md5_lanes(uint32_t state[4][MD5_LANES], const uint8_t *const p[MD5_LANES],
	  size_t blocks)
{
	md5_vec a, b, c, d, w[16];

	memcpy(&a, state[0], sizeof(a));
	memcpy(&b, state[1], sizeof(b));
	memcpy(&c, state[2], sizeof(c));
	memcpy(&d, state[3], sizeof(d));
	for (size_t at = 0; at < blocks * MD5_BLOCK; at += MD5_BLOCK) {
		md5_vec a0 = a, b0 = b, c0 = c, d0 = d;

		md5_transpose(p, at, w);
		md5_transpose(p, at + MD5_BLOCK / 2, w + 8);
		MD5_STEPS();
		a += a0;
		b += b0;
		c += c0;
		d += d0;
	}
	memcpy(state[0], &a, sizeof(a));
	memcpy(state[1], &b, sizeof(b));
	memcpy(state[2], &c, sizeof(c));
	memcpy(state[3], &d, sizeof(d));
}

typedef void (*md5_lanes_fn)(uint32_t state[4][MD5_LANES],
			     const uint8_t *const p[MD5_LANES], size_t blocks);

__attribute__((target("avx2"))) static void
md5_lanes_avx2(uint32_t state[4][MD5_LANES],
	       const uint8_t *const p[MD5_LANES], size_t blocks)
{
	md5_lanes(state, p, blocks);
}

/* Has rotation, and any function of three words, in one instruction. */
__attribute__((target("avx512f,avx512vl"))) static void
md5_lanes_avx512(uint32_t state[4][MD5_LANES],
		 const uint8_t *const p[MD5_LANES], size_t blocks)
{
	md5_lanes(state, p, blocks);
}

/* NULL: this processor does no better side by side. */
static md5_lanes_fn md5_lanes_find(void)
{
	if (__builtin_cpu_supports("avx512f") != 0 &&
	    __builtin_cpu_supports("avx512vl") != 0)
		return md5_lanes_avx512;
	return __builtin_cpu_supports("avx2") != 0 ? md5_lanes_avx2 : NULL;
}

/* As many blocks of n runs as the shortest has. */
static void md5_lanes_run(md5_lanes_fn lanes,
			  struct s3_md5_run *const runs[MD5_LANES], unsigned n)
{
	uint32_t state[4][MD5_LANES] = { { 0 } };
	const uint8_t *p[MD5_LANES];
	size_t blocks = SIZE_MAX;

	for (unsigned l = 0; l < MD5_LANES; l++) {
		/* idle lanes read what another one reads */
		const struct s3_md5_run *r = runs[l < n ? l : 0];

		p[l] = r->data;
		for (unsigned i = 0; i < 4; i++)
			state[i][l] = r->md5->state[i];
		if (r->len / MD5_BLOCK < blocks)
			blocks = r->len / MD5_BLOCK;
	}
	lanes(state, p, blocks);
	for (unsigned l = 0; l < n; l++) {
		struct s3_md5_run *r = runs[l];

		for (unsigned i = 0; i < 4; i++)
			r->md5->state[i] = state[i][l];
		r->md5->len += blocks * MD5_BLOCK;
		r->data += blocks * MD5_BLOCK;
		r->len -= blocks * MD5_BLOCK;
	}
}

/* Whole blocks, as long as enough runs have some. */
static void md5_add_lanes(struct s3_md5_run *runs, size_t n)
{
	md5_lanes_fn lanes = md5_lanes_find();
	struct s3_md5_run *lane[MD5_LANES];
	unsigned used = 0;
	size_t next = 0;

	while (lanes != NULL) {
		for (unsigned l = 0; l < used;)
			if (lane[l]->len < MD5_BLOCK)
				lane[l] = lane[--used];
			else
				l++;
		for (; used < MD5_LANES && next < n; next++)
			if (runs[next].md5 != NULL &&
			    runs[next].len >= MD5_BLOCK)
				lane[used++] = &runs[next];
		if (used < MD5_LANES_MIN)
			return;
		md5_lanes_run(lanes, lane, used);
	}
}
#endif

void s3_md5_add_many(struct s3_md5_run *runs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct s3_md5_run *r = &runs[i];
		size_t len;

		if (r->md5 == NULL)
			continue;
		len = md5_add_rest(r->md5, r->data, r->len);
		r->data += len;
		r->len -= len;
	}
#ifdef MD5_HAVE_LANES
	if (n >= MD5_LANES_MIN)
		md5_add_lanes(runs, n);
#endif
	for (size_t i = 0; i < n; i++) {
		if (runs[i].md5 == NULL)
			continue;
		s3_md5_add(runs[i].md5, runs[i].data, runs[i].len);
		runs[i].data += runs[i].len;
		runs[i].len = 0;
	}
}
