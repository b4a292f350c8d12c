/*
 * Loading: what a txn needs is read by a worker, becomes resident and stays
 * pinned, so that the next run of the command finds it.
 *
 * The loads of a loop turn wait in a queue and go to a worker as one batch: to
 * wake a worker costs more than most loads. A few batches may be under way, so
 * that a slow disk does not make all wait for one.
 *
 * The txn holds (rows_impl.h) from its first load to its reset. So a range it
 * has loaded is complete for all that time: what the back held then is pinned
 * and shows its newest value, and whatever was committed since is still in the
 * ordered index.
 *
 * Failure modes: the back cannot be read, or no memory: done(status), the txn
 * keeps what it had. Freed meanwhile: what was read is dropped.
 */
#include "common/rows/rows_impl.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

static int load_point(struct rows *rows, struct rows_need *n)
{
	struct wire_bytes key = wire_bytes(n->bytes, n->from_len);
	uint8_t *value = NULL;
	size_t len = 0;
	int rv = rows_back_get(rows->back, key, &value, &len);

	if (rv != 0 && rv != -ENOENT)
		return rv;
	n->rows = row_new(key, row_hash(key, rows->seed),
			  wire_bytes(value, len), rv == -ENOENT);
	mem_free(value);
	return n->rows == NULL ? -ENOMEM : 0;
}

static int load_range(struct rows *rows, struct rows_need *n)
{
	struct wire_bytes key, value;
	struct row **tail = &n->rows;
	struct rows_iter *it;
	unsigned count = 0;
	int rv;

	rv = rows_iter_new(rows->back, wire_bytes(n->bytes, n->from_len),
			   wire_bytes(n->bytes + n->from_len, n->to_len), &it);
	if (rv != 0)
		return rv;
	while (count < n->limit &&
	       (rv = rows_iter_next(it, &key, &value)) == 0) {
		*tail = row_new(key, row_hash(key, rows->seed), value, false);
		if (*tail == NULL) {
			rv = -ENOMEM;
			break;
		}
		tail = &(*tail)->next;
		count++;
	}
	rows_iter_free(it);
	n->more = count == n->limit;
	return rv == -ENOENT ? 0 : rv;
}

static void load_txn(struct rows_txn *t)
{
	int rv = 0;

	for (size_t i = 0; i < t->n_needs && rv == 0; i++)
		rv = t->needs[i].range ? load_range(t->rows, &t->needs[i])
				       : load_point(t->rows, &t->needs[i]);
	t->load_status = rv;
}

static void load_run(struct env_work *work)
{
	struct rows_loader *l = CONTAINER_OF(work, struct rows_loader, work);

	for (struct rows_txn *t = l->batch; t != NULL; t = t->queue_next)
		load_txn(t);
}

static struct row *need_pop(struct rows_need *n)
{
	struct row *r = n->rows;

	n->rows = r->next;
	r->next = NULL;
	return r;
}

/* The end of a range that is only known as far as its last row. */
static int range_set_upto(struct rows_range *range, const struct row *last)
{
	size_t len = range->from_len + last->key_len + 1;
	uint8_t *bytes = mem_realloc(range->bytes, len);

	if (bytes == NULL)
		return -ENOMEM;
	/* the least key behind k is k and a zero byte */
	memcpy(bytes + range->from_len, last->key, last->key_len);
	bytes[len - 1] = 0;
	range->bytes = bytes;
	range->upto_len = (size_t)last->key_len + 1;
	return 0;
}

static int load_take_range(struct rows_txn *t, struct rows_need *n)
{
	struct rows_range *range;
	size_t count = 0;
	int rv;

	if (rows_grow(&t->ranges, &t->cap_ranges, t->n_ranges,
		      sizeof *t->ranges) != 0)
		return -ENOMEM;
	for (struct row *r = n->rows; r != NULL; r = r->next)
		count++;
	range = &t->ranges[t->n_ranges];
	*range = (struct rows_range){ .from_len = n->from_len,
				      .upto_len = n->to_len };
	range->rows = mem_calloc(count + 1, sizeof *range->rows);
	if (range->rows == NULL)
		return -ENOMEM;
	range->bytes = n->bytes;
	n->bytes = NULL;
	t->n_ranges++;
	while (n->rows != NULL) {
		struct row *r = rows_insert_loaded(t->rows, need_pop(n));

		rv = rows_txn_pin(t, r);
		if (rv != 0)
			break;
		range->rows[range->n++] = r;
	}
	if (range->n < count)
		rv = -ENOMEM;
	else
		rv = n->more ? range_set_upto(range, range->rows[count - 1])
			     : 0;
	if (rv != 0) { /* it would claim rows that it does not have */
		mem_free(range->bytes);
		mem_free(range->rows);
		t->n_ranges--;
	}
	return rv;
}

static int load_take(struct rows_txn *t)
{
	int rv = 0;

	for (size_t i = 0; i < t->n_needs && rv == 0; i++) {
		struct rows_need *n = &t->needs[i];

		if (n->range)
			rv = load_take_range(t, n);
		else
			rv = rows_txn_pin(t, rows_insert_loaded(t->rows,
								need_pop(n)));
	}
	return rv;
}

static void load_unlink(struct rows_txn *t)
{
	if (t->load_prev != NULL)
		t->load_prev->load_next = t->load_next;
	else
		t->rows->loading = t->load_next;
	if (t->load_next != NULL)
		t->load_next->load_prev = t->load_prev;
	t->load_prev = NULL;
	t->load_next = NULL;
}

static void load_queue(struct rows_txn *t)
{
	t->queue_next = NULL;
	*t->rows->queue_tail = t;
	t->rows->queue_tail = &t->queue_next;
}

/* Rows were replaced meanwhile (rows_replaced()). */
static void load_again(struct rows_txn *t)
{
	t->again = false;
	for (size_t i = 0; i < t->n_needs; i++) {
		struct rows_need *n = &t->needs[i];

		while (n->rows != NULL)
			row_free(need_pop(n));
		n->more = false;
	}
	load_queue(t);
}

static void load_end(struct rows_txn *t)
{
	int rv = t->load_status;

	if (t->again && !t->dead) {
		load_again(t);
		return;
	}
	load_unlink(t);
	t->loading = false;
	if (t->dead) {
		rows_txn_free(t);
		return;
	}
	if (rv == 0)
		rv = load_take(t);
	rows_txn_drop_needs(t);
	t->done(t->arg, rv);
}

/* An idle loader takes what waits. */
static void load_start(struct rows *rows)
{
	for (unsigned i = 0; i < ROWS_LOADERS && rows->queue != NULL; i++) {
		struct rows_loader *l = &rows->loaders[i];

		if (l->batch != NULL)
			continue;
		l->batch = rows->queue;
		rows->queue = NULL;
		rows->queue_tail = &rows->queue;
		env_work(rows->env, &l->work);
	}
}

static void load_start_task(struct env_task *task)
{
	struct rows *rows = CONTAINER_OF(task, struct rows, load_task);

	rows->load_posted = false;
	load_start(rows);
}

static void load_done(struct env_work *work)
{
	struct rows_loader *l = CONTAINER_OF(work, struct rows_loader, work);
	struct rows *rows = l->rows;
	struct rows_txn *t = l->batch, *next;

	l->batch = NULL;
	for (; t != NULL; t = next) {
		next = t->queue_next; /* its owner may load again, or free it */
		load_end(t);
	}
	rows_evict(rows);
	if (!rows->load_posted)
		load_start(rows);
}

void rows_txn_load(struct rows_txn *t, rows_sync_fn done, void *arg)
{
	struct rows *rows = t->rows;

	rows_txn_drop_writes(t);
	t->err = 0;
	t->loading = true;
	t->again = false;
	t->rounds++;
	t->done = done;
	t->arg = arg;
	rows_hold_begin(rows, &t->hold);
	t->load_prev = NULL;
	t->load_next = rows->loading;
	if (rows->loading != NULL)
		rows->loading->load_prev = t;
	rows->loading = t;
	load_queue(t);
	if (!rows->load_posted) {
		rows->load_posted = true;
		env_post(rows->env, &rows->load_task);
	}
}

void rows_load_init(struct rows *rows)
{
	rows->queue_tail = &rows->queue;
	rows->load_task.run = load_start_task;
	for (unsigned i = 0; i < ROWS_LOADERS; i++) {
		rows->loaders[i].rows = rows;
		rows->loaders[i].work.run = load_run;
		rows->loaders[i].work.done = load_done;
	}
}

void rows_load_abandon(struct rows_txn *t)
{
	t->loading = false;
	rows_txn_reset(t);
	rows_txn_destroy(t);
}
