/*
 * Freeing a sealed segment.
 *
 * Happy path: FREEING in the table -> FREED record: no START lists it from
 * there on -> durable: GONE, nobody gets in -> a worker waits for those who
 * are in, closes the file, unlinks it -> done().
 *
 * Failure modes: power or process lost at any point:
 * - before FREED is durable the file is there, as it is unlinked later; every
 *   START that can be found lists it, since one that does not is written only
 *   after a sync of the segment that has FREED.
 * - behind it the file may be there or not, also again: an unlink that nobody
 *   synced comes back. Recovery does not ask for it (FREED, or a START without
 *   it), hands nothing of it out when a START says so, and unlinks it.
 * - a generation is never used twice, so what comes back is never taken for
 *   another one.
 * The unlink fails: the file is void, and goes at the next start. What the
 * owner must see to: that it needs nothing in it, nor anything older to
 * recover; then a gap in the sequence of records is no loss.
 */
#include "common/seg/seg_int.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static void seg_free_end(struct seg_free *f, int status)
{
	f->port->under_way--;
	f->done(f, status);
}

static void seg_free_run(struct env_work *work)
{
	struct seg_free *f = CONTAINER_OF(work, struct seg_free, work);
	struct seg_head *head = f->port->head;

	seg_table_drop(head, f->gen);
	f->status = seg_unlink_gen(head, f->gen);
}

static void seg_free_ran(struct env_work *work)
{
	struct seg_free *f = CONTAINER_OF(work, struct seg_free, work);

	seg_free_end(f, f->status);
}

static void seg_free_logged(struct seg_append *a)
{
	struct seg_free *f = CONTAINER_OF(a, struct seg_free, append);
	struct seg_head *head = f->port->head;

	if (head == NULL) { /* closed meanwhile: the next start unlinks it */
		seg_free_end(f, -ECANCELED);
		return;
	}
	seg_table_set(head, f->gen, SEG_STATE_GONE);
	f->work.run = seg_free_run;
	f->work.done = seg_free_ran;
	env_work(f->port->env, &f->work);
}

static void seg_free_task(struct env_task *task)
{
	struct seg_free *f = CONTAINER_OF(task, struct seg_free, task);

	seg_free_end(f, f->status);
}

void seg_free_segment(struct seg_port *port, struct seg_free *f)
{
	struct seg_head *head = port->head;

	assert(f->done != NULL && head != NULL);
	f->port = port;
	port->under_way++;
	f->status = seg_table_freeing(head, f->gen);
	if (f->status != 0) {
		f->task.run = seg_free_task;
		env_post(port->env, &f->task);
		return;
	}
	if (SEG_MUTATES(FREE_EARLY))
		(void)seg_unlink_gen(head, f->gen);
	f->append = (struct seg_append){
		.type = SEG_MUTATES(FREE_SILENT) ? SEG_CHECKPOINT
							       : SEG_FREED,
		.a = f->gen,
		.done = seg_free_logged,
	};
	seg_append(port, &f->append);
}
