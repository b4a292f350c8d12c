/*
 * The cluster snapshot and those who wait for it.
 *
 * Happy path: rows change -> stale; somebody waits -> rows_sync, then a worker
 * walks the rows into an image -> every waiter whose version is reached.
 * Failure modes: rows cannot be read: the process stops. No memory: the build
 * is tried again with the next tick.
 */
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "managerd/mgr_impl.h"

#define MGR_WATCH_TICK_NS 250000000u

struct mgr_build {
	struct env_work work;
	struct manager *m;
	struct buf bytes;
	uint64_t version;
	int rv;
};

static void mgr_watch_build(struct manager *m);

static void mgr_image_unref(struct mgr_image *image)
{
	if (image == NULL || --image->refs > 0)
		return;
	mem_free(image->bytes);
	mem_free(image);
}

static void mgr_watch_wake(struct manager *m, bool timeouts)
{
	uint64_t now = env_now_ns(m->env);
	struct mgr_waiter **link = &m->waiters, *due = NULL, **tail = &due;

	if (m->image == NULL)
		return;
	while (*link != NULL) {
		struct mgr_waiter *w = *link;

		if (w->version <= m->image->version ||
		    (timeouts && w->until_ns <= now)) {
			*link = w->next;
			w->next = NULL;
			*tail = w;
			tail = &w->next;
		} else {
			link = &w->next;
		}
	}
	while (due != NULL) {
		struct mgr_waiter *w = due;

		due = w->next;
		w->done(w, m->image);
	}
}

static void mgr_watch_built(struct env_work *work)
{
	struct mgr_build *b = CONTAINER_OF(work, struct mgr_build, work);
	struct manager *m = b->m;
	struct mgr_image *image;

	m->building = false;
	if (b->rv == -EIO)
		fatal_abort("manager: rows cannot be read");
	image = b->rv == 0 ? mem_zalloc(sizeof *image) : NULL;
	if (image != NULL) {
		image->refs = 1;
		image->version = b->version;
		image->bytes = buf_take(&b->bytes, &image->len);
		mgr_image_unref(m->image);
		m->image = image;
	} else {
		m->stale = true;
	}
	buf_fini(&b->bytes);
	mem_free(b);
	/* who did not want to wait gets the newest state, not an older build */
	mgr_watch_wake(m, !m->stale);
	if (image != NULL && m->stale && m->waiters != NULL)
		mgr_watch_build(m);
}

static void mgr_watch_run(struct env_work *work)
{
	struct mgr_build *b = CONTAINER_OF(work, struct mgr_build, work);

	b->rv = mgr_snapshot(b->m->back, &b->bytes, &b->version);
}

static void mgr_watch_synced(void *arg, int status)
{
	struct mgr_build *b = arg;

	if (status != 0)
		fatal_abort("manager: rows cannot be written");
	env_work(b->m->env, &b->work);
}

static void mgr_watch_build(struct manager *m)
{
	struct mgr_build *b;

	if (m->building)
		return;
	b = mem_zalloc(sizeof *b);
	if (b == NULL)
		return; /* the tick tries again */
	m->building = true;
	m->stale = false;
	b->m = m;
	b->work.run = mgr_watch_run;
	b->work.done = mgr_watch_built;
	buf_init(&b->bytes, 0);
	if (rows_sync(m->rows, mgr_watch_synced, b) != 0) {
		m->building = false; /* the tick tries again */
		m->stale = true;
		mem_free(b);
	}
}

void mgr_watch_changed(struct manager *m)
{
	m->stale = true;
	if (m->waiters != NULL)
		mgr_watch_build(m);
}

static void mgr_watch_tick(struct env_timer *timer)
{
	struct manager *m = CONTAINER_OF(timer, struct manager, wait_timer);

	if (m->stale && m->waiters != NULL)
		mgr_watch_build(m);
	mgr_watch_wake(m, true);
	if (m->waiters != NULL)
		env_timer_set(m->env, timer, MGR_WATCH_TICK_NS);
}

void mgr_watch_wait(struct manager *m, struct mgr_waiter *w, uint64_t version,
		    uint64_t wait_ms)
{
	bool first = m->waiters == NULL;

	w->version = version;
	w->until_ns = env_now_ns(m->env) + wait_ms * 1000000;
	w->next = m->waiters;
	m->waiters = w;
	if (first) {
		m->wait_timer.cb = mgr_watch_tick;
		env_timer_set(m->env, &m->wait_timer, MGR_WATCH_TICK_NS);
	}
	if (m->stale || m->building || m->image == NULL)
		mgr_watch_build(m);
	else
		mgr_watch_wake(m, wait_ms == 0);
}

void mgr_watch_stop(struct manager *m)
{
	env_timer_cancel(m->env, &m->wait_timer);
	while (m->waiters != NULL) {
		struct mgr_waiter *w = m->waiters;

		m->waiters = w->next;
		w->done(w, NULL);
	}
	mgr_image_unref(m->image);
	m->image = NULL;
}
