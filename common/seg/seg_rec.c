#include "common/seg/seg_int.h"

#include <string.h>

#include "common/base/be.h"
#include "common/base/xxh.h"

#ifdef ENABLE_MUTATIONS
enum seg_mutation seg_mutation = SEG_MUTATE_NONE;
#endif

uint64_t seg_seed(const uint8_t store_id[16], uint64_t gen)
{
	return XXH3_64bits_withSeed(store_id, 16, gen);
}

void seg_hdr_encode(const struct seg_hdr *h, uint64_t seed, uint8_t *out)
{
	memset(out, 0, SEG_HEADER_LEN);
	be32enc(out, SEG_MAGIC);
	out[4] = SEG_HEADER_VERSION;
	out[5] = h->type;
	out[6] = h->flags;
	be16enc(out + 8, h->group);
	be64enc(out + 16, h->len);
	be64enc(out + 24, h->gen);
	be64enc(out + 32, h->seq);
	be64enc(out + 40, h->epoch);
	be64enc(out + 48, h->durable);
	be64enc(out + 56, h->a);
	be64enc(out + 64, h->b);
	be64enc(out + 72, h->id.hi);
	be64enc(out + 80, h->id.lo);
	be64enc(out + 88, h->hash.hi);
	be64enc(out + 96, h->hash.lo);
	be64enc(out + 104, h->off);
	be64enc(out + 112, h->first);
	be64enc(out + 120, XXH3_64bits_withSeed(out, 120, seed));
}

bool seg_hdr_decode(const uint8_t *p, uint64_t seed, uint64_t gen,
		    uint64_t off, struct seg_hdr *ret)
{
	if (be32dec(p) != SEG_MAGIC || p[4] != SEG_HEADER_VERSION)
		return false;
	if (!SEG_MUTATES(HEADER_SUM) &&
	    be64dec(p + 120) != XXH3_64bits_withSeed(p, 120, seed))
		return false;
	*ret = (struct seg_hdr){
		.type = p[5],
		.flags = p[6],
		.group = be16dec(p + 8),
		.len = be64dec(p + 16),
		.gen = be64dec(p + 24),
		.seq = be64dec(p + 32),
		.epoch = be64dec(p + 40),
		.durable = be64dec(p + 48),
		.a = be64dec(p + 56),
		.b = be64dec(p + 64),
		.id = { be64dec(p + 72), be64dec(p + 80) },
		.hash = { be64dec(p + 88), be64dec(p + 96) },
		.off = be64dec(p + 104),
		.first = be64dec(p + 112),
	};
	if (SEG_MUTATES(HEADER_SUM))
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

void seg_start_encode(const struct seg_start *s, uint8_t *out)
{
	memcpy(out, s->store_id, 16);
	be64enc(out + 16, s->gen);
	be64enc(out + 24, s->seq);
	be64enc(out + 32, s->prev_gen);
	be64enc(out + 40, s->prev_seq);
	be64enc(out + 48, s->prev_end);
	be64enc(out + 56, s->size);
	be32enc(out + 64, s->n_ranges);
	be32enc(out + 68, 0);
	be64enc(out + 72, s->prev_first);
}

bool seg_start_decode(const uint8_t *p, size_t len, struct seg_start *ret)
{
	if (len < SEG_START_FIXED)
		return false;
	memcpy(ret->store_id, p, 16);
	ret->gen = be64dec(p + 16);
	ret->seq = be64dec(p + 24);
	ret->prev_gen = be64dec(p + 32);
	ret->prev_seq = be64dec(p + 40);
	ret->prev_end = be64dec(p + 48);
	ret->size = be64dec(p + 56);
	ret->n_ranges = be32dec(p + 64);
	ret->prev_first = be64dec(p + 72);
	return true;
}
