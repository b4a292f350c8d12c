#ifndef COMMON_BASE_BE_H
#define COMMON_BASE_BE_H
/*
 * Big-endian integers in bytes that need no alignment: what files and keys
 * hold. beNenc() writes N / 8 bytes at p, beNdec() reads them; the caller has
 * made sure that they are there.
 */
#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void be16enc(uint8_t *p, uint16_t v)
{
	v = htobe16(v);
	memcpy(p, &v, sizeof v);
}

static inline void be32enc(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof v);
}

static inline void be64enc(uint8_t *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof v);
}

static inline uint16_t be16dec(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof v);
	return be16toh(v);
}

static inline uint32_t be32dec(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return be32toh(v);
}

static inline uint64_t be64dec(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return be64toh(v);
}

#endif
