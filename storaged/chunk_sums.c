#include "storaged/chunk_sums.h"

#include <string.h>

#include "common/base/mem.h"
#include "common/base/xxh.h"
#include "storaged/chunk_impl.h"

uint32_t chunk_sums_piece = CHUNK_SUMS_PIECE;
uint32_t chunk_sums_min = CHUNK_SUMS_MIN;

struct chunk_sum {
	struct chunk_id id;
	struct wire_u128 hash; /* of the whole chunk */
	uint64_t used;         /* chunk_sums.uses at its last use */
	size_t len;            /* of the chunk */
	uint64_t sums[];       /* XXH3-64 of each piece */
};

void chunk_sums_init(struct chunk_sums *s, size_t max)
{
	*s = (struct chunk_sums){ .sets = 1 };
	while (s->sets * CHUNK_SUMS_WAYS < max)
		s->sets *= 2;
	(void)pthread_mutex_init(&s->lock, NULL);
}

void chunk_sums_fini(struct chunk_sums *s)
{
	if (s->sets == 0)
		return;
	for (uint64_t i = 0;
	     s->slots != NULL && i < s->sets * CHUNK_SUMS_WAYS; i++)
		mem_free(s->slots[i]);
	mem_free(s->slots);
	(void)pthread_mutex_destroy(&s->lock);
	memset(s, 0, sizeof *s);
}

/* Bytes of the piece that begins `at`, of len. */
static size_t piece_len(size_t at, size_t len)
{
	return len - at < chunk_sums_piece ? len - at : chunk_sums_piece;
}

/* The slot that id has, or takes; the lock is held. */
static struct chunk_sum **sums_slot(const struct chunk_sums *s,
				    const struct chunk_id *id)
{
	uint64_t set = chunk_id_hash(id) & (s->sets - 1);
	struct chunk_sum **slots = s->slots + set * CHUNK_SUMS_WAYS;
	struct chunk_sum **to = slots;

	for (unsigned i = 0; i < CHUNK_SUMS_WAYS; i++) {
		if (slots[i] == NULL) {
			to = *to == NULL ? to : &slots[i];
			continue;
		}
		if (chunk_id_eq(&slots[i]->id, id))
			return &slots[i];
		if (*to != NULL && slots[i]->used < (*to)->used)
			to = &slots[i];
	}
	return to;
}

/* NULL: not there; the lock is held. */
static struct chunk_sum *sums_find(struct chunk_sums *s,
				   const struct chunk_id *id)
{
	struct chunk_sum *sum = s->slots == NULL ? NULL : *sums_slot(s, id);

	return sum != NULL && chunk_id_eq(&sum->id, id) ? sum : NULL;
}

/* Are they there? Then they are used now. */
static bool sums_touch(struct chunk_sums *s, const struct chunk_id *id,
		       struct wire_u128 hash)
{
	struct chunk_sum *sum;
	bool there;

	(void)pthread_mutex_lock(&s->lock);
	sum = sums_find(s, id);
	there = sum != NULL && wire_u128_eq(sum->hash, hash);
	if (there)
		sum->used = ++s->uses;
	(void)pthread_mutex_unlock(&s->lock);
	return there;
}

void chunk_sums_put(struct chunk_sums *s, const struct chunk_id *id,
		    struct wire_u128 hash, const void *data, size_t len)
{
	size_t n = (len + chunk_sums_piece - 1) / chunk_sums_piece;
	struct chunk_sum **slot, *old, *sum;

	if (sums_touch(s, id, hash))
		return;
	old = sum = mem_alloc(sizeof *sum + n * sizeof *sum->sums);
	if (sum == NULL)
		return;
	sum->id = *id;
	sum->hash = hash;
	sum->len = len;
	for (size_t i = 0; i < n; i++)
		sum->sums[i] = XXH3_64bits(
			(const char *)data + i * chunk_sums_piece,
			piece_len(i * chunk_sums_piece, len));
	(void)pthread_mutex_lock(&s->lock);
	if (s->slots == NULL)
		s->slots = mem_calloc(s->sets,
				      CHUNK_SUMS_WAYS * sizeof *s->slots);
	if (s->slots != NULL) {
		slot = sums_slot(s, id);
		old = *slot;
		sum->used = ++s->uses;
		*slot = sum;
	}
	(void)pthread_mutex_unlock(&s->lock);
	mem_free(old);
}

size_t chunk_sums_len(struct chunk_sums *s, const struct chunk_id *id)
{
	const struct chunk_sum *sum;
	size_t len;

	(void)pthread_mutex_lock(&s->lock);
	sum = sums_find(s, id);
	len = sum == NULL ? 0 : sum->len;
	(void)pthread_mutex_unlock(&s->lock);
	return len;
}

/* Copies up to n of id's from `first` on; how many there are. */
static size_t sums_copy(struct chunk_sums *s, const struct chunk_id *id,
			struct wire_u128 hash, size_t first, size_t n,
			uint64_t *ret)
{
	struct chunk_sum *sum;
	size_t have = 0;

	(void)pthread_mutex_lock(&s->lock);
	sum = sums_find(s, id);
	if (sum != NULL && wire_u128_eq(sum->hash, hash))
		have = (sum->len + chunk_sums_piece - 1) / chunk_sums_piece;
	have = have > first ? have - first : 0;
	n = have < n ? have : n;
	if (n > 0) {
		memcpy(ret, sum->sums + first, n * sizeof *ret);
		sum->used = ++s->uses;
	}
	(void)pthread_mutex_unlock(&s->lock);
	return n;
}

bool chunk_sums_ok(struct chunk_sums *s, const struct chunk_id *id,
		   struct wire_u128 hash, unsigned first, const void *data,
		   size_t len)
{
	uint64_t sums[16];
	size_t at = 0, n = 0;

	for (size_t i = 0; at < len; i++) {
		size_t k = i % (sizeof sums / sizeof *sums);

		if (k == 0)
			n = sums_copy(s, id, hash, first + i,
				      sizeof sums / sizeof *sums, sums);
		if (k >= n || XXH3_64bits((const char *)data + at,
					  piece_len(at, len)) != sums[k])
			return false;
		at += piece_len(at, len);
	}
	return true;
}
