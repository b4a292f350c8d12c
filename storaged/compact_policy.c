/*
 * Which segments to clean. A segment with the share u alive gives back 1 - u
 * for u copied; so those with the least alive come first, and those with too
 * much are left until more of them has died. Over time that costs at most
 * u / (1 - u) bytes copied per byte that is given back.
 */
#include "storaged/compact.h"

#include <stdlib.h>

/* Percent alive up to which a segment is worth it. */
static const unsigned compact_worth[] = {
	[COMPACT_COMMAND] = 90,
	[COMPACT_DEAD] = 75,
	[COMPACT_SPACE] = 95,
};

static int target_cmp(const void *a, const void *b)
{
	const struct compact_target *l = a, *r = b;
	/* by the share that is alive; segments are far below 4 GiB */
	uint64_t x = l->live * r->bytes, y = r->live * l->bytes;

	if (x != y)
		return x < y ? -1 : 1;
	return l->gen < r->gen ? -1 : l->gen > r->gen;
}

static bool target_is_worth(const struct compact_target *t, unsigned percent)
{
	return t->live * 100 <= t->bytes * percent;
}

/* The one with the least alive, to the front: 1, 0 when that is too much. */
static size_t choose_one(struct compact_target *targets, size_t n,
			 uint64_t spare)
{
	size_t least = 0;

	for (size_t i = 1; i < n; i++)
		if (targets[i].live < targets[least].live)
			least = i;
	if (n == 0 || targets[least].live > spare)
		return 0;
	targets[0] = targets[least];
	return 1;
}

size_t compact_choose(enum compact_why why, uint64_t room, uint64_t spare,
		      struct compact_target *targets, size_t n)
{
	size_t kept = 0, worth = 0;

	if (n == 0)
		return 0;
	qsort(targets, n, sizeof *targets, target_cmp);
	while (worth < n && target_is_worth(&targets[worth],
					    compact_worth[why]))
		worth++;
	for (size_t i = 0; i < worth; i++) {
		struct compact_target t = targets[i];

		if (t.live > room) /* another one may be smaller */
			continue;
		/* what is freed makes room for the next */
		room += t.bytes - (t.live < t.bytes ? t.live : t.bytes);
		targets[kept++] = t;
	}
	return kept > 0 ? kept : choose_one(targets, worth, spare);
}

bool compact_is_due(const struct compact_stat *s, unsigned threshold,
		    uint64_t min_dead)
{
	uint64_t dead = s->bytes > s->live ? s->bytes - s->live : 0;

	return threshold > 0 && dead > 0 && dead >= min_dead &&
	       (double)s->live * 100 <= (double)s->bytes * threshold;
}
