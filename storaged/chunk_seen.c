/*
 * A mark is the upper half of a name's hash and, in MiB of all that was read,
 * when it was read. A set has CHUNK_SEEN_WAYS of them; a new one takes the
 * place of the oldest. Zeros are marks that are too old.
 */
#include "storaged/chunk_seen.h"

#include <errno.h>

#include "common/base/mem.h"

#define SEEN_MIB 20

int chunk_seen_init(struct chunk_seen *s, uint64_t fits)
{
	uint64_t mib = fits >> SEEN_MIB;

	s->sets = 1;
	while (s->sets * CHUNK_SEEN_WAYS < 2 * mib && s->sets < 1u << 24)
		s->sets *= 2;
	s->fits = mib < INT32_MAX ? mib : INT32_MAX;
	s->bytes = (s->fits + 1) << SEEN_MIB;
	s->marks = mem_calloc(s->sets, CHUNK_SEEN_WAYS * sizeof(*s->marks));
	if (s->marks == NULL)
		return -ENOMEM;
	(void)pthread_mutex_init(&s->lock, NULL);
	return 0;
}

void chunk_seen_fini(struct chunk_seen *s)
{
	if (s->marks == NULL)
		return;
	mem_free(s->marks);
	s->marks = NULL;
	(void)pthread_mutex_destroy(&s->lock);
}

/* MiB read since the mark was made, as long as that is less than 2^32. */
static uint32_t seen_age(const struct chunk_seen *s, uint64_t mark)
{
	return (uint32_t)(s->bytes >> SEEN_MIB) - (uint32_t)mark;
}

static bool seen_is_of(uint64_t mark, uint64_t hash)
{
	return mark >> 32 == hash >> 32;
}

/* The name's mark, or the one that it takes; the lock is held. */
static uint64_t *seen_mark(const struct chunk_seen *s, uint64_t hash)
{
	uint64_t *set = s->marks + (hash & (s->sets - 1)) * CHUNK_SEEN_WAYS;
	uint64_t *to = set;

	for (unsigned i = 0; i < CHUNK_SEEN_WAYS; i++) {
		if (seen_is_of(set[i], hash))
			return &set[i];
		if (seen_age(s, set[i]) > seen_age(s, *to))
			to = &set[i];
	}
	return to;
}

static bool seen_counts(const struct chunk_seen *s, uint64_t mark,
			uint64_t hash)
{
	return seen_is_of(mark, hash) && seen_age(s, mark) <= s->fits;
}

bool chunk_seen_has(struct chunk_seen *s, uint64_t hash)
{
	bool seen;

	(void)pthread_mutex_lock(&s->lock);
	seen = seen_counts(s, *seen_mark(s, hash), hash);
	(void)pthread_mutex_unlock(&s->lock);
	return seen;
}

bool chunk_seen_note(struct chunk_seen *s, uint64_t hash, uint32_t len)
{
	uint64_t *mark;
	bool seen;

	(void)pthread_mutex_lock(&s->lock);
	mark = seen_mark(s, hash);
	seen = seen_counts(s, *mark, hash);
	*mark = hash >> 32 << 32 | (uint32_t)(s->bytes >> SEEN_MIB);
	s->bytes += len;
	(void)pthread_mutex_unlock(&s->lock);
	return seen;
}
