/*
 * The driver.
 *
 * Happy path of a run: each head in turn: look -> choose (compact_policy.c) ->
 * clean -> done. A command takes every segment that is worth it, or so many; what
 * begins by itself takes one head, and a command that comes meanwhile begins
 * behind it. Every ten seconds the heads that are cheap to look at
 * are: segments in which nothing is alive are freed, much that is dead begins a
 * run; of the others their last figures decide.
 *
 * Failure modes: a look or a run that fails is over, the next one begins anew;
 * a run that freed nothing is not begun again by itself for a while. Suspended
 * in the middle of a segment: what was copied is not copied again.
 */
#include "storaged/compact.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

#define COMPACT_HEADS 2u
#define COMPACT_TICK_NS 10000000000u
#define COMPACT_URGENT_NS 500000000u    /* the same when space is short */
#define COMPACT_REST_NS 600000000000u   /* after a run that freed nothing, */
#define COMPACT_REST_SHORT_NS 30000000000u /* when space is short, */
#define COMPACT_REST_DEAD ((uint64_t)16 << 20) /* and no more has died */
#define COMPACT_BURST_NS 100000000u     /* of the rate that may come at once */

struct compact_run {
	struct compact *c;
	struct compact_head head;
	bool looking, cleaning;
	struct compact_target *targets; /* owned; of this run */
	size_t n, at;                   /* chosen; those before `at` are over */
	uint64_t rest_until;            /* no start by itself before, ns, */
	uint64_t rest_dead;             /* unless more than that is dead */
	uint64_t freed;                 /* bytes, by this run */
	struct compact_stat looked;     /* what the last look found */
};

struct compact {
	struct compact_config config;
	struct compact_run heads[COMPACT_HEADS];
	unsigned n_heads;
	bool watching;
	bool running;      /* a run, not just a look */
	bool suspended;
	uint64_t asked;    /* segments of a run that begins behind this one */
	uint64_t left;     /* segments that this run may still choose */
	enum compact_why why;
	unsigned head;     /* whose turn it is */
	unsigned end;      /* the turn ends behind this head */
	struct env_timer timer;
	uint64_t next_ns;  /* when the next byte may be copied */
	struct compact_info info;
};

static const char *const compact_text[] = {
	[COMPACT_COMMAND] = "a command",
	[COMPACT_DEAD] = "dead bytes",
	[COMPACT_SPACE] = "shortage of space",
};

static void compact_turn(struct compact *c);
static void compact_begin(struct compact *c, enum compact_why why,
			  unsigned head, unsigned end);

/* --- space --- */

struct compact_room {
	uint64_t room, spare; /* what copies may take, see compact_choose() */
	bool is_short;        /* the disk is, of space */
};

static struct compact_room compact_room(const struct compact *c)
{
	uint64_t avail = UINT64_MAX, reserve = 0;

	if (c->config.space != NULL)
		c->config.space(c->config.arg, &avail, &reserve);
	return (struct compact_room){
		/* the lower half of the reserve is for those who free by it: */
		.room = avail > reserve / 2 ? avail - reserve / 2 : 0,
		/* and so does one segment at a time */
		.spare = avail / 2,
		.is_short = avail < reserve + reserve / 2,
	};
}

/* --- a run --- */

static void compact_next_head(struct compact *c);

static void run_drop_targets(struct compact_run *r)
{
	mem_free(r->targets);
	r->targets = NULL;
	r->n = r->at = 0;
}

static void compact_count(struct compact *c)
{
	struct compact_info *i = &c->info;
	const struct compact_run *r = &c->heads[c->head];

	i->ongoing = r->cleaning && r->at < r->n;
	i->pending = r->n - r->at - i->ongoing;
}

/* All heads, on command. */
static void compact_begin_asked(struct compact *c)
{
	for (unsigned h = 0; h < c->n_heads; h++)
		c->heads[h].rest_until = 0;
	c->left = c->asked;
	c->asked = 0;
	compact_begin(c, COMPACT_COMMAND, 0, c->n_heads);
}

static void compact_end(struct compact *c)
{
	struct compact_info *i = &c->info;

	c->running = false;
	i->pending = i->ongoing = 0;
	i->ended = env_wall_ns(c->config.env);
	log_info("compaction for %s: segments=%llu kept=%llu bytes freed=%llu",
		 compact_text[c->why], (unsigned long long)i->out,
		 (unsigned long long)i->kept,
		 (unsigned long long)(c->heads[0].freed + c->heads[1].freed));
	if (c->asked > 0)
		compact_begin_asked(c);
}

static uint64_t run_dead(const struct compact_run *r)
{
	const struct compact_stat *s = &r->looked;

	return s->bytes > s->live ? s->bytes - s->live : 0;
}

/* A run that freed nothing was for nothing: not again at once. */
static void run_rest(struct compact_run *r)
{
	struct compact *c = r->c;

	r->rest_until = 0;
	if (r->freed > 0)
		return;
	r->rest_dead = run_dead(r) + COMPACT_REST_DEAD;
	r->rest_until = env_now_ns(c->config.env) +
			(c->why == COMPACT_SPACE ? COMPACT_REST_SHORT_NS
						 : COMPACT_REST_NS);
}

/* What ended it stays; the other head still has its turn. */
static void run_failed(struct compact_run *r, int rv)
{
	log_warn(rv, "compaction of head %s fails", r->head.name);
	if (r->c->running)
		r->c->info.err = rv;
}

static bool run_rests(const struct compact_run *r)
{
	return r->rest_until > env_now_ns(r->c->config.env) &&
	       run_dead(r) <= r->rest_dead;
}

static void compact_next_head(struct compact *c)
{
	struct compact_run *r = &c->heads[c->head];

	run_rest(r);
	run_drop_targets(r);
	if (++c->head < c->end)
		compact_turn(c);
	else
		compact_end(c);
}

/* Looks at the head, or cleans what is left of its targets. */
static void compact_turn(struct compact *c)
{
	struct compact_run *r = &c->heads[c->head];
	int rv;

	if (c->suspended || r->looking || r->cleaning)
		return; /* resume, compact_looked() or compact_done() goes on */
	if (r->targets != NULL && r->at == r->n) {
		compact_next_head(c);
		return;
	}
	if (r->targets == NULL) {
		r->looking = true;
		rv = r->head.look(r->head.arg, r);
		if (rv == 0)
			return;
		r->looking = false;
	} else {
		r->cleaning = true;
		compact_count(c);
		rv = r->head.clean(r->head.arg, r->targets + r->at,
				   r->n - r->at, r);
		if (rv == 0)
			return;
		r->cleaning = false;
	}
	run_failed(r, rv);
	compact_next_head(c);
}

static void compact_begin(struct compact *c, enum compact_why why,
			  unsigned head, unsigned end)
{
	struct compact_info *i = &c->info;

	assert(!c->running);
	c->running = true;
	c->why = i->why = why;
	c->head = head;
	c->end = end;
	i->started = env_wall_ns(c->config.env);
	i->targets = i->pending = i->ongoing = i->out = i->kept = 0;
	i->err = 0;
	for (unsigned h = 0; h < c->n_heads; h++)
		c->heads[h].freed = 0;
	log_debug("compaction begins for %s", compact_text[why]);
	compact_turn(c);
}

/* --- what cleaners say --- */

static void compact_looked_stat(struct compact_run *r,
				const struct compact_target *t, size_t n)
{
	r->looked = (struct compact_stat){ .segments = n };
	for (size_t i = 0; i < n; i++) {
		r->looked.bytes += t[i].bytes;
		r->looked.live += t[i].live;
	}
}

/* Those that nothing is alive in: they cost no copying. */
static size_t compact_empty(struct compact_target *t, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (t[i].live == 0)
			t[kept++] = t[i];
	return kept;
}

/* A look that nobody asked for: is there a reason to begin? */
static void compact_consider(struct compact_run *r,
			     struct compact_target *targets, size_t n)
{
	struct compact *c = r->c;
	unsigned head = (unsigned)(r - c->heads);
	struct compact_room room = compact_room(c);
	enum compact_why why = room.is_short ? COMPACT_SPACE : COMPACT_DEAD;
	bool due = room.is_short ||
		   compact_is_due(&r->looked, c->config.threshold,
				  c->config.min_dead);

	if (run_rests(r))
		due = false;
	n = due ? compact_choose(why, room.room, room.spare, targets, n)
		: compact_empty(targets, n);
	if (n == 0 || c->running || c->suspended) {
		mem_free(targets);
		return;
	}
	run_drop_targets(r);
	r->targets = targets;
	r->n = n;
	c->left = 0;
	compact_begin(c, why, head, head + 1);
	c->info.targets = n;
	compact_count(c);
}

void compact_looked(struct compact_run *r, int rv,
		    struct compact_target *targets, size_t n)
{
	struct compact *c = r->c;
	struct compact_room room = compact_room(c);

	assert(r->looking);
	r->looking = false;
	if (rv != 0) {
		run_failed(r, rv);
		targets = NULL;
		n = 0;
	}
	compact_looked_stat(r, targets, n);
	if (!c->running) {
		compact_consider(r, targets, n);
		return;
	}
	if (&c->heads[c->head] != r) { /* asked for before the run began */
		mem_free(targets);
		return;
	}
	run_drop_targets(r);
	r->targets = targets;
	r->n = compact_choose(c->why, room.room, room.spare, targets, n);
	if (r->n > c->left)
		r->n = c->left;
	c->left -= r->n;
	c->info.targets += r->n;
	compact_count(c);
	if (r->n == 0)
		compact_next_head(c);
	else
		compact_turn(c);
}

uint64_t compact_wait_ns(struct compact_run *r, uint64_t bytes)
{
	struct compact *c = r->c;
	uint64_t now = env_now_ns(c->config.env), rate = c->config.rate, wait;

	c->info.copied += bytes;
	if (rate == 0 || c->why == COMPACT_SPACE)
		return 0;
	/* whoever did not copy for a while may not make up for all of it */
	if (c->next_ns + COMPACT_BURST_NS < now)
		c->next_ns = now - COMPACT_BURST_NS;
	wait = c->next_ns > now ? c->next_ns - now : 0;
	c->next_ns += (uint64_t)((double)bytes / (double)rate * 1e9);
	return wait;
}

bool compact_stopped(const struct compact_run *r)
{
	return r->c->suspended;
}

static void compact_over(struct compact_run *r, uint64_t gen)
{
	assert(r->cleaning && r->at < r->n && r->targets[r->at].gen == gen);
	r->at++;
	r->c->info.out++;
	compact_count(r->c);
}

void compact_freed(struct compact_run *r, uint64_t gen)
{
	r->freed += r->targets[r->at].bytes;
	r->c->info.freed += r->targets[r->at].bytes;
	compact_over(r, gen);
}

void compact_kept(struct compact_run *r, uint64_t gen, int err)
{
	log_warn(err, "segment is not freed head=%s segment=%llx",
		 r->head.name, (unsigned long long)gen);
	r->c->info.kept++;
	compact_over(r, gen);
}

void compact_done(struct compact_run *r, int rv)
{
	struct compact *c = r->c;

	assert(r->cleaning && c->running);
	r->cleaning = false;
	compact_count(c);
	if (c->suspended)
		return; /* the rest when it is resumed */
	if (rv == -ECANCELED && r->at < r->n) {
		compact_turn(c); /* was resumed meanwhile */
		return;
	}
	if (rv != 0)
		run_failed(r, rv);
	compact_next_head(c);
}

/* --- by itself --- */

static void compact_tick(struct env_timer *timer)
{
	struct compact *c = CONTAINER_OF(timer, struct compact, timer);
	bool is_short = compact_room(c).is_short;

	env_timer_set(c->config.env, timer,
		      is_short ? COMPACT_URGENT_NS : COMPACT_TICK_NS);
	for (unsigned h = 0; h < c->n_heads && !c->running && !c->suspended;
	     h++) {
		struct compact_run *r = &c->heads[h];
		struct compact_stat s;

		if (r->looking || (!r->head.cheap && run_rests(r)))
			continue;
		r->head.stat(r->head.arg, &s);
		if (!r->head.cheap && !is_short &&
		    !compact_is_due(&s, c->config.threshold,
				    c->config.min_dead))
			continue;
		r->looking = true;
		if (r->head.look(r->head.arg, r) != 0)
			r->looking = false; /* the next tick tries again */
	}
}

void compact_start_watching(struct compact *c)
{
	c->watching = true;
	env_timer_set(c->config.env, &c->timer, COMPACT_TICK_NS);
}

/* --- commands --- */

int compact_start(struct compact *c, uint64_t max)
{
	if (c->suspended)
		return -EBUSY;
	if (c->running && c->why == COMPACT_COMMAND)
		return 0;
	c->asked = max;
	if (!c->running)
		compact_begin_asked(c);
	return 0;
}

void compact_suspend(struct compact *c)
{
	c->suspended = true;
}

void compact_resume(struct compact *c)
{
	if (!c->suspended)
		return;
	c->suspended = false;
	if (c->running)
		compact_turn(c);
}

/* --- life, questions --- */

int compact_new(const struct compact_config *config,
		struct compact **ret_compact)
{
	struct compact *c = mem_zalloc(sizeof *c);

	if (c == NULL)
		return -ENOMEM;
	c->config = *config;
	c->timer.cb = compact_tick;
	*ret_compact = c;
	return 0;
}

void compact_add_head(struct compact *c, const struct compact_head *head)
{
	struct compact_run *r = &c->heads[c->n_heads];

	assert(c->n_heads < COMPACT_HEADS && !c->watching && !c->running);
	r->c = c;
	r->head = *head;
	c->n_heads++;
}

void compact_free(struct compact *c)
{
	if (c == NULL)
		return;
	env_timer_cancel(c->config.env, &c->timer);
	for (unsigned h = 0; h < c->n_heads; h++)
		run_drop_targets(&c->heads[h]);
	mem_free(c);
}

void compact_get_info(const struct compact *c, struct compact_info *ret)
{
	*ret = c->info;
	ret->state = c->suspended ? COMPACT_SUSPENDED
		     : c->running ? COMPACT_RUNNING
				  : COMPACT_IDLE;
	ret->rate = c->config.rate;
}

unsigned compact_heads(const struct compact *c)
{
	return c->n_heads;
}

void compact_head_stat(const struct compact *c, unsigned head,
		       const char **ret_name, struct compact_stat *ret)
{
	const struct compact_run *r = &c->heads[head];

	*ret_name = r->head.name;
	r->head.stat(r->head.arg, ret);
}
