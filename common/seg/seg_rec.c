#include "common/seg/seg_int.h"

#include <endian.h>
#include <string.h>

#include "common/base/xxh.h"

enum seg_mutation seg_mutation = SEG_MUTATE_NONE;

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, 4);
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, 8);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return be32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return be64toh(v);
}

uint64_t seg_seed(const uint8_t store_id[16], uint64_t gen)
{
	return XXH3_64bits_withSeed(store_id, 16, gen);
}

void seg_hdr_encode(const struct seg_hdr *h, uint64_t seed, uint8_t *out)
{
	memset(out, 0, SEG_HEADER_LEN);
	put32(out, SEG_MAGIC);
	out[4] = SEG_HEADER_VERSION;
	out[5] = h->type;
	out[6] = h->flags;
	put16(out + 8, h->group);
	put64(out + 16, h->len);
	put64(out + 24, h->gen);
	put64(out + 32, h->seq);
	put64(out + 40, h->epoch);
	put64(out + 48, h->durable);
	put64(out + 56, h->a);
	put64(out + 64, h->b);
	put64(out + 72, h->id.hi);
	put64(out + 80, h->id.lo);
	put64(out + 88, h->hash.hi);
	put64(out + 96, h->hash.lo);
	put64(out + 104, h->off);
	put64(out + 112, h->first);
	put64(out + 120, XXH3_64bits_withSeed(out, 120, seed));
}

bool seg_hdr_decode(const uint8_t *p, uint64_t seed, uint64_t gen,
		    uint64_t off, struct seg_hdr *ret)
{
	if (get32(p) != SEG_MAGIC || p[4] != SEG_HEADER_VERSION)
		return false;
	if (seg_mutation != SEG_MUTATE_HEADER_SUM &&
	    get64(p + 120) != XXH3_64bits_withSeed(p, 120, seed))
		return false;
	*ret = (struct seg_hdr){
		.type = p[5],
		.flags = p[6],
		.group = (uint16_t)(p[8] << 8 | p[9]),
		.len = get64(p + 16),
		.gen = get64(p + 24),
		.seq = get64(p + 32),
		.epoch = get64(p + 40),
		.durable = get64(p + 48),
		.a = get64(p + 56),
		.b = get64(p + 64),
		.id = { get64(p + 72), get64(p + 80) },
		.hash = { get64(p + 88), get64(p + 96) },
		.off = get64(p + 104),
		.first = get64(p + 112),
	};
	if (seg_mutation == SEG_MUTATE_HEADER_SUM)
		return ret->gen == gen;
	/* The checks behind the first two guard us against ourselves. */
	return ret->gen == gen && ret->off == off && ret->first != 0 &&
	       ret->first <= ret->seq && ret->durable < ret->seq;
}

struct wire_u128 seg_hash(const void *p, size_t len)
{
	XXH128_hash_t h = XXH3_128bits(p, len);

	return (struct wire_u128){ h.high64, h.low64 };
}

struct wire_u128 seg_hash_iov(const struct iovec *iov, int niov)
{
	XXH3_state_t st;
	XXH128_hash_t h;

	if (niov <= 1)
		return seg_hash(niov == 0 ? "" : iov[0].iov_base,
				niov == 0 ? 0 : iov[0].iov_len);
	XXH3_128bits_reset(&st);
	for (int i = 0; i < niov; i++)
		XXH3_128bits_update(&st, iov[i].iov_base, iov[i].iov_len);
	h = XXH3_128bits_digest(&st);
	return (struct wire_u128){ h.high64, h.low64 };
}

bool seg_hash_eq(struct wire_u128 a, struct wire_u128 b)
{
	return a.hi == b.hi && a.lo == b.lo;
}

void seg_start_encode(const struct seg_start *s, uint8_t *out)
{
	memcpy(out, s->store_id, 16);
	put64(out + 16, s->gen);
	put64(out + 24, s->seq);
	put64(out + 32, s->prev_gen);
	put64(out + 40, s->prev_seq);
	put64(out + 48, s->prev_end);
	put64(out + 56, s->size);
	put32(out + 64, s->n_ranges);
	put32(out + 68, 0);
	put64(out + 72, s->prev_first);
}

bool seg_start_decode(const uint8_t *p, size_t len, struct seg_start *ret)
{
	if (len < SEG_START_FIXED)
		return false;
	memcpy(ret->store_id, p, 16);
	ret->gen = get64(p + 16);
	ret->seq = get64(p + 24);
	ret->prev_gen = get64(p + 32);
	ret->prev_seq = get64(p + 40);
	ret->prev_end = get64(p + 48);
	ret->size = get64(p + 56);
	ret->n_ranges = get32(p + 64);
	ret->prev_first = get64(p + 72);
	return true;
}
