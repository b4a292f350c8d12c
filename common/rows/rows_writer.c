/*
 * The one writer of a loop's rows.
 *
 * Happy path:
 * - a commit arms a timer; when it fires, or much is dirty, or somebody waits
 *   in rows_sync(), all that is dirty becomes one batch. A row that was written
 *   many times since the last batch is in it once: the rows of a busy directory
 *   are, and a worker is not woken for every command.
 * - it waits until the gate lets it pass, where there is one.
 * - a worker writes the batch; commits go on and make the next one.
 * - back on the loop its rows linger (see rows_impl.h), the waiters of
 *   rows_sync() whose commits it held are called, the next batch starts.
 *
 * Failure modes:
 * - no memory: the rows are made dirty again, one more try after 10 ms.
 * - the back fails: sticky; waiters and commits get it and the host stops.
 */
#include "common/rows/rows_impl.h"

#include <assert.h>
#include <errno.h>

#include "common/base/mem.h"

#define ROWS_RETRY_NS 10000000u
#define ROWS_DELAY_NS 5000000u
#define ROWS_BATCH_BYTES ((size_t)256 << 10) /* dirty: no more delay */

static void writer_run(struct env_work *work)
{
	struct rows *rows = CONTAINER_OF(work, struct rows, work);
	struct rows_batch *b = rows_batch_new();

	if (b == NULL) {
		rows->batch_status = -ENOMEM;
		return;
	}
	for (struct row *r = rows->batch; r != NULL; r = r->batch_next) {
		if (r->batch_val == NULL)
			rows_batch_del(b, row_key(r));
		else
			rows_batch_put(b, row_key(r),
				       wire_bytes(r->batch_val->bytes,
						  r->batch_val->len));
	}
	rows->batch_status = rows_batch_write(rows->back, b);
	rows_batch_free(b);
}

/* What is dirty becomes the batch. */
static void writer_gather(struct rows *rows)
{
	struct row *r;

	while ((r = rows->dirty.head) != NULL) {
		row_list_remove(&rows->dirty, r);
		r->state = ROW_WRITING;
		r->batch_val = r->val;
		if (r->val != NULL)
			r->val->refs++;
		r->batch_next = rows->batch;
		rows->batch = r;
	}
	rows->dirty_bytes = 0;
	rows->batch_commit = rows->committed;
	rows->writing = true;
}

/* Is the gate open for the batch? */
static bool writer_may_pass(struct rows *rows)
{
	return rows->gate.ask == NULL ||
	       rows->gate.ask(rows->gate.arg, rows->waiters != NULL);
}

static void writer_start(struct rows *rows)
{
	assert(!rows->writing);
	if (rows->dirty.head == NULL || rows->err != 0)
		return;
	writer_gather(rows);
	rows->gated = !writer_may_pass(rows);
	if (!rows->gated)
		env_work(rows->env, &rows->work);
}

void rows_set_gate(struct rows *rows, const struct rows_gate *gate)
{
	rows->gate = *gate;
}

void rows_gate_open(struct rows *rows)
{
	assert(rows->gated);
	rows->gated = false;
	env_work(rows->env, &rows->work);
}

/* The rows of the batch leave it; unwritten ones are dirty again. */
static void writer_end_batch(struct rows *rows, bool written)
{
	struct row *r;

	while ((r = rows->batch) != NULL) {
		rows->batch = r->batch_next;
		r->batch_next = NULL;
		rows_val_unref(r->batch_val);
		r->batch_val = NULL;
		if (r->state != ROW_WRITING)
			continue; /* written again meanwhile: dirty */
		if (written) {
			rows_linger(rows, r);
			continue;
		}
		r->state = ROW_DIRTY;
		row_list_push(&rows->dirty, r);
		rows->dirty_bytes += row_bytes(r);
	}
}

static void writer_done(struct env_work *work)
{
	struct rows *rows = CONTAINER_OF(work, struct rows, work);
	int status = rows->batch_status;

	rows->writing = false;
	writer_end_batch(rows, status == 0);
	if (status == -ENOMEM) {
		rows->timer_armed = true;
		env_timer_set(rows->env, &rows->timer, ROWS_RETRY_NS);
		return;
	}
	if (status == 0)
		rows->written = rows->batch_commit;
	else
		rows->err = status;
	rows_release(rows);
	rows_waiters_run(rows);
	rows_writer_kick(rows);
}

static void writer_start_task(struct env_task *task)
{
	struct rows *rows = CONTAINER_OF(task, struct rows, start);

	rows->start_posted = false;
	if (!rows->writing)
		writer_start(rows);
}

static void writer_tick(struct env_timer *timer)
{
	struct rows *rows = CONTAINER_OF(timer, struct rows, timer);

	rows->timer_armed = false;
	if (!rows->writing)
		writer_start(rows);
}

int rows_flush(struct rows *rows)
{
	if (rows->writing) /* its worker never came: no clean way out */
		return -EBUSY;
	if (rows->err != 0 || rows->dirty.head == NULL)
		return rows->err;
	writer_gather(rows);
	writer_run(&rows->work);
	rows->writing = false;
	writer_end_batch(rows, rows->batch_status == 0);
	if (rows->batch_status == 0)
		rows->written = rows->batch_commit;
	return rows->batch_status;
}

void rows_writer_kick(struct rows *rows)
{
	if (rows->start_posted || rows->writing || rows->dirty.head == NULL)
		return;
	if (rows->waiters != NULL || rows->dirty_bytes >= ROWS_BATCH_BYTES) {
		rows->start_posted = true;
		env_post(rows->env, &rows->start);
	} else if (!rows->timer_armed) {
		rows->timer_armed = true;
		env_timer_set(rows->env, &rows->timer, ROWS_DELAY_NS);
	}
}

/* A waiter may call rows_sync() again: then it waits for a later turn. */
void rows_waiters_run(struct rows *rows)
{
	struct rows_waiter *ready = NULL, **tail = &ready, *w;

	while ((w = rows->waiters) != NULL &&
	       (w->target <= rows->written || rows->err != 0)) {
		rows->waiters = w->next;
		w->next = NULL;
		*tail = w;
		tail = &w->next;
	}
	if (rows->waiters == NULL)
		rows->waiters_tail = &rows->waiters;
	while ((w = ready) != NULL) {
		ready = w->next;
		w->done(w->arg, rows->err);
		mem_free(w);
	}
}

static void writer_sync_task(struct env_task *task)
{
	struct rows *rows = CONTAINER_OF(task, struct rows, sync_task);

	rows->sync_posted = false;
	rows_waiters_run(rows);
}

int rows_sync(struct rows *rows, rows_sync_fn done, void *arg)
{
	struct rows_waiter *w = mem_alloc(sizeof *w);

	if (w == NULL)
		return -ENOMEM;
	*w = (struct rows_waiter){ rows->committed, done, arg, NULL };
	*rows->waiters_tail = w;
	rows->waiters_tail = &w->next;
	if (!rows->sync_posted &&
	    (w->target <= rows->written || rows->err != 0)) {
		rows->sync_posted = true;
		env_post(rows->env, &rows->sync_task);
	}
	if (rows->gated)
		(void)writer_may_pass(rows); /* opens later all the same */
	rows_writer_kick(rows);
	return 0;
}

void rows_writer_init(struct rows *rows)
{
	rows->start.run = writer_start_task;
	rows->sync_task.run = writer_sync_task;
	rows->timer.cb = writer_tick;
	rows->work.run = writer_run;
	rows->work.done = writer_done;
	rows->waiters_tail = &rows->waiters;
}
