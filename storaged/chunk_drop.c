/*
 * Removing the chunks of slices that their shards called dead (ns_slice.c):
 * their rows go from the index, their bytes with the segment, when the cleaner
 * gets to it.
 *
 * Failure modes: the index cannot be written: the process aborts, as with every
 * head. A crash may bring rows back that had gone, from before the last save or
 * from records behind it: chunks of a dead slice, which nobody can ask for, and
 * which the sweep drops again.
 */
#include "storaged/chunk_impl.h"

#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

/* One batch of a slice's chunks: 0, -ENOENT when none is left, -errno. */
static int drop_some(struct chunk_store *cs, struct wire_u128 slice)
{
	struct chunk_batch b;
	struct rows_iter *it;
	struct chunk_row row;
	struct chunk_id id;
	int rv, rv2;

	rv = chunk_index_iter(cs, slice, &it);
	if (rv != 0)
		return rv;
	rv = chunk_batch_init(&b, cs);
	while (rv == 0 && !chunk_batch_full(&b)) {
		rv = chunk_index_next(it, &id, &row);
		if (rv == 0)
			rv = chunk_batch_del(&b, &id, &row);
	}
	rows_iter_free(it);
	if (rv == 0 || rv == -ENOENT) {
		rv2 = chunk_batch_write(&b);
		if (rv2 != 0)
			rv = rv2;
	}
	chunk_batch_fini(&b);
	return rv;
}

static int drop_slice(struct chunk_store *cs, struct wire_u128 slice)
{
	int rv = 0;

	while (rv == 0) { /* puts and moves get their turn in between */
		pthread_mutex_lock(&cs->lock);
		rv = drop_some(cs, slice);
		pthread_mutex_unlock(&cs->lock);
	}
	return rv == -ENOENT ? 0 : rv;
}

static void drop_run(struct env_work *work)
{
	struct chunk_drop *d = CONTAINER_OF(work, struct chunk_drop, work);
	int rv = 0;

	for (unsigned i = 0; i < d->n && rv == 0; i++)
		rv = drop_slice(d->cl->cs, d->slices[i]);
	if (rv != 0)
		fatal_abort("index of chunks cannot be written: %s",
			    strerror(-rv));
}

static void drop_free(struct chunk_drop *d)
{
	if (d->prev != NULL)
		d->prev->next = d->next;
	else
		d->cl->drops = d->next;
	if (d->next != NULL)
		d->next->prev = d->prev;
	mem_free(d->slices);
	mem_free(d);
}

static void drop_done(struct env_work *work)
{
	struct chunk_drop *d = CONTAINER_OF(work, struct chunk_drop, work);

	d->cl->cs->stats.dropped += d->n;
	d->done(d->arg, RPC_STATUS_OK);
	drop_free(d);
}

int chunk_drop(struct chunk_loop *cl, const struct wire_u128 *slices,
	       unsigned n, chunk_drop_fn done, void *arg)
{
	struct chunk_drop *d = mem_zalloc(sizeof *d);

	if (d == NULL)
		return -ENOMEM;
	d->slices = mem_dup(slices, n * sizeof *slices);
	if (d->slices == NULL) {
		mem_free(d);
		return -ENOMEM;
	}
	d->cl = cl;
	d->n = n;
	d->done = done;
	d->arg = arg;
	d->work.run = drop_run;
	d->work.done = drop_done;
	d->next = cl->drops;
	if (cl->drops != NULL)
		cl->drops->prev = d;
	cl->drops = d;
	env_work(cl->env, &d->work);
	return 0;
}

void chunk_drop_fini(struct chunk_loop *cl)
{
	while (cl->drops != NULL) {
		struct chunk_drop *d = cl->drops;

		d->done(d->arg, RPC_STATUS_UNKNOWN_OUTCOME);
		drop_free(d);
	}
}
