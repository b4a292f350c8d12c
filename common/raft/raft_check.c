/*
 * Happy path: note the applied indexes -> rows_sync -> the back makes all
 * durable (worker) -> entries leave the index -> a CHECKPOINT record with
 * those indexes -> the oldest generation that is needed moves on -> done.
 *
 * Failure modes: the back fails: the process aborts. No memory: the next tick
 * tries again.
 */
#include "common/raft/raft_check.h"

#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/raft/raft_impl.h"

#define CHECK_NS 30000000000u
#define CHECK_BYTES ((uint64_t)64 << 20)

struct check_waiter {
	void (*done)(void *arg, int status);
	void *arg;
	bool roll;
	struct check_waiter *next;
};

/* A group, and how far its rows were when the checkpoint began. */
struct check_group {
	struct raft_group *g;
	unsigned opened; /* it may be dropped, and opened again, meanwhile */
	uint64_t applied, moved;
};

struct raft_check {
	struct raft_check_config config;
	struct env_timer timer;
	struct env_work work;
	struct seg_append append;
	struct buf body, groups; /* of the record; of struct check_group */
	bool running;
	int rv;                  /* of the worker */
	uint64_t bytes;          /* applied since the last one */
	uint64_t covered;        /* of them, by the one that runs */
	uint64_t passed;         /* entries behind the last one */
	uint64_t count;
	struct check_waiter *now, *later; /* of this one, of the next one */
};

static void check_begin(struct raft_check *c);

static void check_end(struct raft_check *c)
{
	struct check_waiter *w;

	raft_host_checkpointed(c->config.host);
	c->running = false;
	c->count++;
	if (c->config.ended != NULL)
		c->config.ended(c->config.arg);
	while ((w = c->now) != NULL) {
		c->now = w->next;
		w->done(w->arg, 0);
		mem_free(w);
	}
	if (c->later != NULL && !c->running)
		check_begin(c);
}

static void check_appended(struct seg_append *a)
{
	struct raft_check *c = CONTAINER_OF(a, struct raft_check, append);

	raft_host_seen(c->config.host, a->pos.gen);
	check_end(c);
}

static void check_run(struct env_work *work)
{
	struct raft_check *c = CONTAINER_OF(work, struct raft_check, work);

	c->rv = rows_back_checkpoint(c->config.back);
}

static void check_groups(struct raft_check *c)
{
	const struct check_group *groups = (const void *)c->groups.data;

	for (size_t i = 0; i < c->groups.len / sizeof *groups; i++) {
		if (groups[i].g->opened != groups[i].opened)
			continue;
		raft_group_checkpoint(groups[i].g, groups[i].applied);
		raft_group_durable_moved(groups[i].g, groups[i].applied,
					 groups[i].moved);
	}
}

static bool check_rolls(const struct raft_check *c)
{
	for (const struct check_waiter *w = c->now; w != NULL; w = w->next)
		if (w->roll)
			return true;
	return false;
}

static void check_ran(struct env_work *work)
{
	struct raft_check *c = CONTAINER_OF(work, struct raft_check, work);

	if (c->rv != 0)
		fatal_abort("rows cannot be written: %s", strerror(-c->rv));
	c->bytes -= c->covered;
	check_groups(c);
	if (c->config.host->port == NULL) {
		check_end(c);
		return;
	}
	raft_host_checkpointed(c->config.host);
	c->append = (struct seg_append){
		.type = SEG_CHECKPOINT,
		.iov = { { c->body.data, c->body.len } },
		.niov = 1,
		.roll = check_rolls(c),
		.done = check_appended,
	};
	seg_append(c->config.host->port, &c->append);
}

static void check_synced(void *arg, int status)
{
	struct raft_check *c = arg;

	if (status != 0)
		fatal_abort("rows cannot be written: %s", strerror(-status));
	env_work(c->config.env, &c->work);
}

static void check_collect(void *arg, struct raft_group *g)
{
	struct raft_check *c = arg;
	struct check_group group = { g, g->opened, g->applied, g->moved };
	struct wire_writer w = { &c->body };

	buf_add(&c->groups, &group, sizeof group);
	wire_put_u16(&w, &g->id);
	wire_put_u64(&w, &g->applied);
}

/* 0 or -ENOMEM: nothing was begun. */
static int check_gather(struct raft_check *c)
{
	int rv = 0;

	if (c->config.begin != NULL)
		rv = c->config.begin(c->config.arg);
	buf_reset(&c->body);
	buf_reset(&c->groups);
	raft_host_each(c->config.host, check_collect, c);
	if (rv == 0)
		rv = c->body.err != 0 ? c->body.err : c->groups.err;
	return rv != 0 ? rv : rows_sync(c->config.rows, check_synced, c);
}

static void check_begin(struct raft_check *c)
{
	c->running = true;
	if (check_gather(c) != 0) {
		/* waiters are told from the timer, never from inside a call */
		c->running = false;
		return;
	}
	c->now = c->later;
	c->later = NULL;
	c->covered = c->bytes;
	c->passed = raft_host_passed(c->config.host);
	if (RAFT_MUTATES(ROWS_LATE)) {
		check_groups(c);
		raft_host_checkpointed(c->config.host);
	}
}

static void check_tick(struct env_timer *timer)
{
	struct raft_check *c = CONTAINER_OF(timer, struct raft_check, timer);

	env_timer_set(c->config.env, timer, CHECK_NS);
	if (c->running)
		return;
	if (c->later != NULL ||
	    raft_host_passed(c->config.host) != c->passed) {
		check_begin(c);
		return;
	}
	/* others may have written on: what is needed here need not be old */
	raft_host_checkpointed(c->config.host);
	if (c->config.ended != NULL)
		c->config.ended(c->config.arg);
}

void raft_check_note(struct raft_check *c, uint64_t bytes)
{
	c->bytes += bytes;
	if (c->bytes >= CHECK_BYTES && !c->running)
		check_begin(c);
}

static int check_wait(struct raft_check *c, bool roll,
		      void (*done)(void *arg, int status), void *arg)
{
	struct check_waiter *w = mem_alloc(sizeof *w);

	if (w == NULL)
		return -ENOMEM;
	*w = (struct check_waiter){ done, arg, roll, c->later };
	c->later = w;
	return 0;
}

int raft_check_now(struct raft_check *c, void (*done)(void *arg, int status),
		   void *arg)
{
	int rv = done == NULL ? 0 : check_wait(c, false, done, arg);

	if (rv == 0 && !c->running)
		check_begin(c);
	return rv;
}

int raft_check_roll(struct raft_check *c, void (*done)(void *arg, int status),
		    void *arg)
{
	int rv = check_wait(c, true, done, arg);

	if (rv == 0 && !c->running)
		check_begin(c);
	return rv;
}

uint64_t raft_check_count(const struct raft_check *c)
{
	return c->count;
}

int raft_check_new(const struct raft_check_config *config,
		   struct raft_check **ret_check)
{
	struct raft_check *c = mem_zalloc(sizeof *c);

	if (c == NULL)
		return -ENOMEM;
	c->config = *config;
	c->timer.cb = check_tick;
	c->work.run = check_run;
	c->work.done = check_ran;
	buf_init(&c->body, 0);
	buf_init(&c->groups, 0);
	*ret_check = c;
	return 0;
}

void raft_check_start(struct raft_check *c)
{
	env_timer_set(c->config.env, &c->timer, CHECK_NS);
}

static void check_drop(struct check_waiter *w)
{
	while (w != NULL) {
		struct check_waiter *next = w->next;

		mem_free(w);
		w = next;
	}
}

void raft_check_free(struct raft_check *c)
{
	if (c == NULL)
		return;
	env_timer_cancel(c->config.env, &c->timer);
	check_drop(c->now);
	check_drop(c->later);
	buf_fini(&c->body);
	buf_fini(&c->groups);
	mem_free(c);
}
