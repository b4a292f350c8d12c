/*
 * A flush: CLEAN -> dirty -> flushing (commit under way) -> CLEAN, or again
 * when requests wait for younger bytes.
 *
 * Failure modes: the commit fails or cannot start: bytes dropped, err_seq
 * raised, those who wait go on and find the error in their handle.
 */
#include "fuse/flush.h"

#include <errno.h>
#include <limits.h>

#include "common/base/log.h"
#include "fuse/commit.h"
#include "fuse/inval.h"

#define FLUSH_TICK_NS UINT64_C(250000000)
#define FLUSH_AGED_AT_ONCE 32 /* commits that the timer adds */
#define FLUSH_LEAST_NS UINT64_C(500000000) /* any commit gets */

static void flush_begin(struct finode *f);

/* After a flush took bytes: what it left is as young as can be. */
static void flush_unlist(struct finode *f)
{
	if (!f->is_listed)
		return;
	TAILQ_REMOVE(&f->m->dirty, f, dirty_link);
	if (f->dirty.n > 0) {
		f->dirty_ns = env_now_ns(f->m->env);
		TAILQ_INSERT_TAIL(&f->m->dirty, f, dirty_link);
		return;
	}
	f->is_listed = false;
	finode_unref(f);
}

static void flush_list(struct finode *f)
{
	struct mount *m = f->m;

	if (f->is_listed)
		return;
	f->is_listed = true;
	f->dirty_ns = env_now_ns(m->env);
	finode_ref(f);
	TAILQ_INSERT_TAIL(&m->dirty, f, dirty_link);
	if (m->flush_timer_on)
		return;
	m->flush_timer_on = true;
	env_timer_set(m->env, &m->flush_timer, FLUSH_TICK_NS);
}

/* Answers writers that waited, oldest first, while there is room. */
static void flush_unthrottle(struct mount *m)
{
	struct fop *op;

	while (m->dirty_bytes < FLUSH_MOUNT_MAX &&
	       (op = fop_queue_take(&m->throttled)) != NULL)
		fop_reply_write(op, op->size);
}

/* Lets those go on whose bytes have been dealt with. */
static void flush_wake(struct finode *f)
{
	struct fop_queue q = f->flush_queue;
	struct fop *op;

	if (q.first == NULL)
		return;
	fop_queue_init(&f->flush_queue);
	while ((op = fop_queue_take(&q)) != NULL) {
		if (op->wait_flush > f->flush_ended)
			fop_queue_add(&f->flush_queue, op);
		else
			op->then(op);
	}
}

/* What shall be sent without anybody asking? */
static bool flush_is_due(const struct finode *f)
{
	return f->dirty.full > 0 || f->dirty.bytes > FLUSH_INODE_MAX;
}

static void flush_end(struct finode *f, int err)
{
	struct mount *m = f->m;

	m->dirty_bytes -= f->flushing.bytes;
	wbuf_clear(&f->flushing);
	f->committing = f->flushing_kills = false;
	f->flush_failed = err != 0;
	f->flush_ended++;
	m->flushes--;
	if (err != 0) {
		f->err = err;
		f->err_seq++;
		f->kept = false;
		inval_pages(m, finode_node(f));
		log_warn(err, "written bytes were lost ino=%llu",
			 (unsigned long long)f->ino);
	}
	flush_unthrottle(m);
	flush_wake(f);
	if (!f->committing && f->dirty.n > 0 &&
	    (f->flush_queue.first != NULL || flush_is_due(f)))
		flush_begin(f);
	finode_unref(f);
}

static void flush_on_commit(void *arg, const struct commit_result *result)
{
	struct finode *f = arg;

	if (result->err == 0)
		finode_update_own(f, &result->attr);
	flush_end(f, result->err);
}

static void flush_on_no_memory(struct env_task *task)
{
	flush_end(CONTAINER_OF(task, struct finode, flush_task), -ENOMEM);
}

/*
 * None: each of its messages has timeout=, which a slow disk may need again and
 * again. But behind one that failed only what is left to the first of those
 * who wait: they have waited for that one.
 */
static uint64_t flush_deadline(const struct finode *f)
{
	uint64_t now = env_now_ns(f->m->env);
	uint64_t end = UINT64_MAX;

	if (!f->flush_failed)
		return 0;
	for (const struct fop *op = f->flush_queue.first; op != NULL;
	     op = op->next)
		if (op->deadline < end)
			end = op->deadline;
	return end < now + FLUSH_LEAST_NS ? now + FLUSH_LEAST_NS : end;
}

/* Starts sending. A stream sends whole blocks and keeps its tail. */
static void flush_begin(struct finode *f)
{
	bool only_full = f->dirty.full > 0 && f->flush_queue.first == NULL &&
			 f->m->state == MOUNT_RUNNING;
	struct commit_how how = { .mtime_ns = f->mtime_ns,
				  .deadline = flush_deadline(f) };
	int rv;

	if (wbuf_take(&f->dirty, only_full, &f->flushing) != 0)
		(void)wbuf_take(&f->dirty, false, &f->flushing); /* no alloc */
	finode_ref(f);
	flush_unlist(f);
	f->committing = true;
	f->flushing_kills = f->dirty_kills;
	f->dirty_kills = f->dirty_kills && f->dirty.n > 0;
	f->flush_begun++;
	f->m->flushes++;
	if (f->flushing_kills)
		how.flags = RPC_WRITE_KILL_SUID;
	rv = commit_start(f, &f->flushing, &how, flush_on_commit, f);
	if (rv != 0) {
		f->flush_task.run = flush_on_no_memory;
		env_post(f->m->env, &f->flush_task);
	}
}

void flush_start(struct finode *f)
{
	if (!f->committing && f->dirty.n > 0)
		flush_begin(f);
}

void flush_note_write(struct finode *f, uint64_t added, bool kills)
{
	struct mount *m = f->m;

	m->dirty_bytes += added;
	f->dirty_kills = f->dirty_kills || kills;
	f->mtime_ns = env_wall_ns(m->env);
	flush_list(f);
	if (flush_is_due(f))
		flush_start(f);
}

bool flush_wait(struct finode *f, struct fop *op, fop_then_fn then)
{
	if (!finode_is_dirty(f))
		return false;
	op->then = then;
	op->wait_flush = f->flush_begun + (f->dirty.n > 0 ? 1 : 0);
	fop_queue_add(&f->flush_queue, op);
	flush_start(f);
	return true;
}

/* Starts those dirty since `until` or longer, up to `most` commits in all. */
static void flush_oldest(struct mount *m, uint64_t until, unsigned most)
{
	struct finode *f = TAILQ_FIRST(&m->dirty);

	while (f != NULL && f->dirty_ns <= until && m->flushes < most) {
		struct finode *next = TAILQ_NEXT(f, dirty_link);

		flush_start(f);
		f = next;
	}
}

bool flush_throttle(struct fop *op)
{
	struct mount *m = op->m;

	if (m->dirty_bytes < FLUSH_MOUNT_MAX)
		return false;
	fop_queue_add(&m->throttled, op);
	flush_oldest(m, UINT64_MAX, FLUSH_AGED_AT_ONCE);
	return true;
}

static void flush_on_timer(struct env_timer *timer)
{
	struct mount *m = CONTAINER_OF(timer, struct mount, flush_timer);

	flush_oldest(m, env_now_ns(m->env) - FLUSH_AGE_NS,
		     FLUSH_AGED_AT_ONCE);
	m->flush_timer_on = !TAILQ_EMPTY(&m->dirty);
	if (m->flush_timer_on)
		env_timer_set(m->env, &m->flush_timer, FLUSH_TICK_NS);
}

bool flush_all(struct mount *m)
{
	flush_oldest(m, UINT64_MAX, UINT_MAX);
	return m->flushes == 0 && TAILQ_EMPTY(&m->dirty);
}

void flush_init(struct mount *m)
{
	TAILQ_INIT(&m->dirty);
	fop_queue_init(&m->throttled);
	m->flush_timer.cb = flush_on_timer;
}

void flush_fini(struct mount *m)
{
	env_timer_cancel(m->env, &m->flush_timer);
}
