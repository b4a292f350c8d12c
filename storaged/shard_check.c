/*
 * Checkpoints of a set (DESIGN section 5).
 *
 * Happy path: note the applied indexes -> rows_sync -> the back makes all
 * durable (worker) -> a CHECKPOINT record with those indexes -> done. After
 * that a restart replays only what was applied since.
 *
 * Failure modes: the back fails: the process aborts. No memory: the next tick
 * tries again.
 */
#include "storaged/shard_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

struct check_waiter {
	void (*done)(void *arg, int status);
	void *arg;
	struct check_waiter *next;
};

struct shard_checkpoint {
	struct shard_set *set;
	struct env_timer timer;
	struct env_work work;
	struct seg_append append;
	struct buf body;
	bool running, started;
	int rv;                  /* of the worker */
	uint64_t log_bytes;      /* covered by the one that runs */
	struct check_waiter *now, *later; /* of this one, of the next one */
};

static void check_start(struct shard_checkpoint *c);

static void check_end(struct shard_checkpoint *c, int status)
{
	struct check_waiter *w;

	c->running = false;
	c->set->stats.checkpoints += status == 0;
	while ((w = c->now) != NULL) {
		c->now = w->next;
		w->done(w->arg, status);
		mem_free(w);
	}
	if (c->later != NULL && !c->running)
		check_start(c);
}

static void check_appended(struct seg_append *a)
{
	check_end(CONTAINER_OF(a, struct shard_checkpoint, append), 0);
}

static void check_run(struct env_work *work)
{
	struct shard_checkpoint *c =
		CONTAINER_OF(work, struct shard_checkpoint, work);

	c->rv = rows_back_checkpoint(c->set->config.back);
}

static void check_ran(struct env_work *work)
{
	struct shard_checkpoint *c =
		CONTAINER_OF(work, struct shard_checkpoint, work);

	if (c->rv != 0)
		fatal_abort("rows cannot be written: %s", strerror(-c->rv));
	c->set->log_bytes -= c->log_bytes;
	if (c->set->port == NULL) {
		check_end(c, 0);
		return;
	}
	c->append = (struct seg_append){
		.type = SEG_CHECKPOINT,
		.iov = { { c->body.data, c->body.len } },
		.niov = 1,
		.done = check_appended,
	};
	seg_append(c->set->port, &c->append);
}

static void check_synced(void *arg, int status)
{
	struct shard_checkpoint *c = arg;

	if (status != 0)
		fatal_abort("rows cannot be written: %s", strerror(-status));
	env_work(c->set->env, &c->work);
}

static void check_start(struct shard_checkpoint *c)
{
	struct shard_set *set = c->set;
	int rv;

	c->now = c->later;
	c->later = NULL;
	c->running = true;
	c->log_bytes = set->log_bytes;
	buf_reset(&c->body);
	shard_set_applied(set, &c->body);
	rv = c->body.err;
	if (rv == 0)
		rv = rows_sync(set->rows, check_synced, c);
	if (rv != 0) {
		/* waiters are told from the timer, never from inside a call */
		c->later = c->now;
		c->now = NULL;
		c->running = false;
		return;
	}
	for (struct shard_group *g = set->groups; g != NULL; g = g->next)
		g->changed = false;
}

static bool check_changed(const struct shard_set *set)
{
	for (const struct shard_group *g = set->groups; g != NULL; g = g->next)
		if (g->changed)
			return true;
	return false;
}

static void check_tick(struct env_timer *timer)
{
	struct shard_checkpoint *c =
		CONTAINER_OF(timer, struct shard_checkpoint, timer);

	env_timer_set(c->set->env, timer, SHARD_CHECKPOINT_NS);
	if (!c->running && (c->later != NULL || check_changed(c->set)))
		check_start(c);
}

void shard_check_note(struct shard_set *set, uint64_t bytes)
{
	struct shard_checkpoint *c = set->checkpoint;

	set->log_bytes += bytes;
	if (set->log_bytes >= SHARD_CHECKPOINT_BYTES && !c->running)
		check_start(c);
}

int shard_set_checkpoint(struct shard_set *set,
			 void (*done)(void *arg, int status), void *arg)
{
	struct shard_checkpoint *c = set->checkpoint;

	if (done != NULL) {
		struct check_waiter *w = mem_alloc(sizeof *w);

		if (w == NULL)
			return -ENOMEM;
		*w = (struct check_waiter){ done, arg, c->later };
		c->later = w;
	}
	if (!c->running)
		check_start(c);
	return 0;
}

int shard_check_init(struct shard_set *set)
{
	struct shard_checkpoint *c = mem_zalloc(sizeof *c);

	if (c == NULL)
		return -ENOMEM;
	c->set = set;
	c->timer.cb = check_tick;
	c->work.run = check_run;
	c->work.done = check_ran;
	buf_init(&c->body, 0);
	set->checkpoint = c;
	return 0;
}

void shard_check_start(struct shard_set *set)
{
	env_timer_set(set->env, &set->checkpoint->timer, SHARD_CHECKPOINT_NS);
}

static void check_drop(struct check_waiter *w)
{
	while (w != NULL) {
		struct check_waiter *next = w->next;

		mem_free(w);
		w = next;
	}
}

void shard_check_fini(struct shard_set *set)
{
	struct shard_checkpoint *c = set->checkpoint;

	if (c == NULL)
		return;
	env_timer_cancel(set->env, &c->timer);
	check_drop(c->now);
	check_drop(c->later);
	buf_fini(&c->body);
	mem_free(c);
	set->checkpoint = NULL;
}
