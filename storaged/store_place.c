/*
 * Where new directories, and names of huge ones, go. New directories stay in
 * their parent's shard, where a listing finds them in one walk, until that has
 * many names; then to the one with fewer names of two picked at random. What a
 * shard holds is counted now and then, by the usage rows of its buckets: a hint,
 * no truth.
 */
#include "storaged/store_impl.h"

#include <errno.h>

#include "common/base/log.h"
#include "storaged/ns_rows.h"

#define PLACE_LOOK_NS 10000000000u
#define PLACE_NAMES ((uint64_t)1000000)

/* --- counting --- */

static int place_count(struct store *s, uint16_t shard, uint64_t *ret_names)
{
	struct wire_bytes key, value;
	struct ns_row_usage u;
	struct ns_key from, to;
	struct rows_iter *it;
	int rv;

	*ret_names = 0;
	ns_key_start(&from, shard, NS_T_USAGE);
	to = from;
	ns_key_end(&to);
	rv = rows_iter_new(s->rows, ns_key_get(&from), ns_key_get(&to), &it);
	if (rv != 0)
		return rv;
	while ((rv = rows_iter_next(it, &key, &value)) == 0) {
		rv = ns_row_usage_load(&u, value);
		if (rv != 0)
			break;
		*ret_names += u.files + u.dirs;
	}
	rows_iter_free(it);
	return rv == -ENOENT ? 0 : rv;
}

static void place_run(struct env_work *work)
{
	struct store *s = CONTAINER_OF(work, struct store, names_work);
	uint64_t names;

	for (unsigned i = 0; i < s->n_shards; i++)
		if (place_count(s, s->shards[i].id, &names) == 0)
			s->shards[i].names = names;
}

static void place_done(struct env_work *work)
{
	struct store *s = CONTAINER_OF(work, struct store, names_work);

	env_timer_set(s->loops[0].env, &s->names_timer, PLACE_LOOK_NS);
}

static void place_tick(struct env_timer *timer)
{
	struct store *s = CONTAINER_OF(timer, struct store, names_timer);

	s->names_work.run = place_run;
	s->names_work.done = place_done;
	env_work(s->loops[0].env, &s->names_work);
}

void store_place_start(struct store *s)
{
	s->names_timer.cb = place_tick;
	if (s->n_shards > 1 && s->clients != NULL)
		env_timer_set(s->loops[0].env, &s->names_timer, PLACE_LOOK_NS);
}

void store_place_stop(struct store *s)
{
	if (s->n_loops > 0)
		env_timer_cancel(s->loops[0].env, &s->names_timer);
}

/* --- choosing --- */

static struct store_shard *place_shard(struct store *s, uint16_t id)
{
	for (unsigned i = 0; i < s->n_shards; i++)
		if (s->shards[i].id == id)
			return &s->shards[i];
	return NULL;
}

static struct store_shard *place_pick(struct store *s, struct env *env)
{
	uint32_t r;

	env_random(env, &r, sizeof r);
	return &s->shards[r % s->n_shards];
}

uint16_t store_on_place(void *arg, uint16_t shard)
{
	struct store_loop *l = arg;
	struct store *s = l->store;
	struct store_shard *own, *a, *b;
	uint64_t least = s->spread_names == 0 ? PLACE_NAMES : s->spread_names;

	if (s->n_shards < 2 || s->clients == NULL)
		return shard;
	if (least == 1) /* wherever */
		return place_pick(s, l->env)->id;
	own = place_shard(s, shard);
	if (own == NULL || own->names < least)
		return shard;
	a = place_pick(s, l->env);
	b = place_pick(s, l->env);
	if (b->names < a->names)
		a = b;
	return a->names < own->names ? a->id : shard;
}

/* To another one in any case: what is here does not get smaller else. */
uint16_t store_on_segment_place(void *arg, uint16_t shard)
{
	struct store_loop *l = arg;
	struct store *s = l->store;
	struct store_shard *a, *b;

	if (s->n_shards < 2 || s->clients == NULL ||
	    place_shard(s, shard) == NULL)
		return shard;
	do
		a = place_pick(s, l->env);
	while (a->id == shard);
	do
		b = place_pick(s, l->env);
	while (b->id == shard);
	return b->names < a->names ? b->id : a->id;
}
