/*
 * A look:
 *
 *   IDLE -> [CHECK -> SNAP ->] MARK -> IDLE
 *
 * CHECK, SNAP: when much of the log is not given up yet: a checkpoint and a
 * round of row snapshots on each loop. (With the last checkpoint a segment
 * begins, whose START says what they made superfluous.) MARK: loop after loop
 * walks its rows and counts. Targets are the sealed segments below what every
 * host and every row snapshot needs (raft_host_free_below(),
 * raft_snaps_need()).
 *
 * A clean, for some targets at a time (a walk is made for all of them):
 *
 *   IDLE -> [MOVE -> ... -> MOVE ->] SAVE -> FREE -> ... -> IDLE
 *
 * MOVE: loop after loop walks its rows and moves; walks follow each other until
 * one has found nothing (usually the second). SAVE: the rows, as they are now,
 * durable on all loops, and a START that says so. FREE: one after the other.
 *
 * Why a segment may go: it was sealed, and below what a start reads, when the
 * last walk began; so all its entries were applied, and no row can come to name
 * it but by a command that copies a row that names it. The walk that found
 * nothing saw, of each shard, one state with all that was applied before its
 * turn: a state in which no row names it, so no later one does. The checkpoint
 * behind it makes that durable: no crash brings a row back that does. Rows from
 * before, that somebody brings back, are older than what START says (each move
 * counts, rows_applied.h). They, and rows that are made again from a snapshot,
 * find the value by its hash in the VALUE records behind (log_doubt.c). Where
 * the mark counted nothing, it was a walk that found nothing.
 *
 * Failure modes: a value that cannot be read, or does not have its hash: its
 * segment stays, reported. Walks that go on finding: the rest stays this time.
 * No memory: the run ends, what was copied was copied for nothing. A crash the
 * same. Held (log_clean_hold): nothing is freed, and walks from before do not
 * count.
 */
#include "storaged/log_clean.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "storaged/shard_clean.h"
#include "storaged/shard_impl.h"

#define LOG_CLEAN_PINNED ((uint64_t)64 << 20)
#define LOG_CLEAN_WALKS 8u                     /* then the rest stays */
#define LOG_CLEAN_AT_ONCE ((uint64_t)512 << 20) /* moved by a walk */

enum log_clean_state {
	LC_IDLE,
	LC_LOOK,
	LC_CHECK,
	LC_SNAP,
	LC_MARK,
	LC_MOVE,
	LC_SAVE,  /* the checkpoint of a clean */
	LC_FREE,
};

struct log_clean {
	struct log_clean_config config;
	struct compact_run *run;
	struct log_clean_loop *loops; /* owned */
	enum log_clean_state state;
	/* a call on another loop: one at a time */
	unsigned loop;
	struct env_task to, back;
	struct raft_snaps_waiter snap;
	int rv;
	struct shard_clean *walk;     /* of `loop`, while it is walked there */
	struct shard_clean_count count, last; /* of it: now, a step ago */
	bool drop;                    /* the walk is to end early */
	struct env_timer timer;
	/* segments of the log when the look or the clean began */
	struct log_seg *segs;
	size_t n_segs;
	uint64_t below;
	unsigned mark_seq;            /* holds_seen when the mark began, */
	unsigned walk_seq;            /* and when the walk that counts did */
	/* a clean */
	const struct compact_target *targets; /* borrowed */
	size_t n, at, upto;           /* [at, upto) are cleaned together */
	unsigned walks;
	bool found;                   /* by the walk that runs */
	struct seg_free free;
	uint64_t live;                /* at the last look, see lc_on_stat() */
	atomic_uint holds, holds_seen;
};

static void lc_step(struct log_clean *lc);

/* --- what may go --- */

static uint64_t lc_below(const struct log_clean *lc)
{
	uint64_t below = UINT64_MAX;

	for (unsigned i = 0; i < lc->config.n_loops; i++) {
		struct shard_set *set = lc->loops[i].set;
		struct raft_snaps *snaps = shard_set_snaps(set);
		uint64_t host = raft_host_free_below(set->host);
		/* none: the loop has not started yet */
		uint64_t need = snaps == NULL ? 0 : raft_snaps_need(snaps);

		if (host < below)
			below = host;
		if (need < below)
			below = need;
	}
	return below;
}

/* What was walked when holds_seen was seq does not count. */
static bool lc_is_held(const struct log_clean *lc, unsigned seq)
{
	return atomic_load(&lc->holds) > 0 ||
	       atomic_load(&lc->holds_seen) != seq;
}

void log_clean_hold(struct log_clean *lc)
{
	atomic_fetch_add(&lc->holds, 1);
	atomic_fetch_add(&lc->holds_seen, 1);
}

/* A walk that began while it was held does not count either. */
void log_clean_release(struct log_clean *lc)
{
	atomic_fetch_add(&lc->holds_seen, 1);
	atomic_fetch_sub(&lc->holds, 1);
}

static int lc_take_segs(struct log_clean *lc)
{
	struct seg_info *infos;
	size_t n;
	int rv = seg_segments(lc->config.log, &infos, &n);

	if (rv != 0)
		return rv;
	mem_free(lc->segs);
	lc->n_segs = 0;
	lc->segs = mem_calloc(n + 1, sizeof *lc->segs);
	if (lc->segs == NULL) {
		mem_free(infos);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++)
		lc->segs[i].gen = infos[i].gen;
	lc->n_segs = n;
	mem_free(infos);
	return 0;
}

static int lc_seg_cmp(const void *key, const void *elem)
{
	const uint64_t *gen = key;
	const struct log_seg *s = elem;

	return *gen < s->gen ? -1 : *gen > s->gen;
}

static struct log_seg *lc_seg(const struct log_clean *lc, uint64_t gen)
{
	return lc->n_segs == 0 ? NULL
			       : bsearch(&gen, lc->segs, lc->n_segs,
					 sizeof *lc->segs, lc_seg_cmp);
}

/* --- calls on the loops --- */

static void lc_back(struct env_task *task)
{
	struct log_clean *lc = CONTAINER_OF(task, struct log_clean, back);

	lc_step(lc);
}

/* The loop's part is done; any loop. */
static void lc_return(struct log_clean *lc, int rv)
{
	lc->rv = rv;
	env_post(lc->loops[0].env, &lc->back);
}

static void lc_checked(void *arg, int status)
{
	lc_return(arg, status);
}

static void lc_snapped(struct raft_snaps_waiter *w)
{
	lc_return(CONTAINER_OF(w, struct log_clean, snap), 0);
}

static void lc_walked(void *arg, int rv)
{
	struct log_clean *lc = arg;

	lc->count = *shard_clean_count(lc->walk);
	if (rv != 1) { /* it is freed where it lived */
		shard_clean_free(lc->walk);
		lc->walk = NULL;
	}
	lc_return(lc, rv);
}

/* A step of the walk on the loop that it is the turn of. */
static void lc_walk_on(struct log_clean *lc, struct shard_set *set)
{
	int rv = 0;

	if (lc->drop)
		lc_walked(lc, -ECANCELED);
	else if (lc->walk == NULL)
		rv = shard_clean_new(set, lc->segs, lc->n_segs,
				     lc->state == LC_MOVE, &lc->walk);
	if (rv != 0)
		lc_return(lc, rv);
	else if (!lc->drop)
		shard_clean_step(lc->walk, lc_walked, lc);
}

static void lc_on_loop(struct env_task *task)
{
	struct log_clean *lc = CONTAINER_OF(task, struct log_clean, to);
	struct shard_set *set = lc->loops[lc->loop].set;
	int rv = 0;

	switch (lc->state) {
	case LC_CHECK:
	case LC_SAVE:
		rv = lc->loop + 1 < lc->config.n_loops
			? shard_set_checkpoint(set, lc_checked, lc)
			: raft_check_roll(set->check, lc_checked, lc);
		if (rv != 0)
			lc_return(lc, rv);
		return;
	case LC_SNAP:
		if (set->snaps != NULL)
			raft_snaps_now(set->snaps, &lc->snap);
		else
			lc_return(lc, 0);
		return;
	default:
		lc_walk_on(lc, set);
	}
}

static void lc_call(struct log_clean *lc, unsigned loop)
{
	lc->loop = loop;
	env_post(lc->loops[loop].env, &lc->to);
}

static void lc_begin(struct log_clean *lc, enum log_clean_state state)
{
	lc->state = state;
	lc_call(lc, 0);
}

/* --- looking --- */

static void lc_end_look(struct log_clean *lc, int rv)
{
	struct compact_target *targets = NULL;
	struct seg_info *infos = NULL;
	size_t n = 0, kept = 0;

	lc->state = LC_IDLE;
	if (rv == 0)
		rv = seg_segments(lc->config.log, &infos, &n);
	if (rv == 0) {
		targets = mem_calloc(n + 1, sizeof *targets);
		rv = targets == NULL ? -ENOMEM : 0;
	}
	lc->live = rv == 0 ? 0 : lc->live;
	for (size_t i = 0; i < n && rv == 0; i++) {
		const struct log_seg *s = lc_seg(lc, infos[i].gen);

		if (s == NULL || s->gen >= lc->below) {
			lc->live += infos[i].bytes;
			continue;
		}
		lc->live += s->live;
		targets[kept++] = (struct compact_target){
			s->gen, infos[i].bytes, s->live,
		};
	}
	mem_free(infos);
	if (rv != 0) {
		mem_free(targets);
		targets = NULL;
		kept = 0;
	}
	compact_looked(lc->run, rv, targets, kept);
}

static void lc_mark(struct log_clean *lc)
{
	int rv = lc_take_segs(lc);

	lc->below = lc_below(lc);
	lc->mark_seq = atomic_load(&lc->holds_seen);
	if (rv != 0)
		lc_end_look(lc, rv);
	else
		lc_begin(lc, LC_MARK);
}

/* Sealed bytes that nobody may free yet, however dead they are. */
static uint64_t lc_pinned(struct log_clean *lc)
{
	uint64_t below = lc_below(lc), bytes = 0;
	struct seg_info *infos;
	size_t n;

	if (seg_segments(lc->config.log, &infos, &n) != 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (infos[i].gen >= below)
			bytes += infos[i].bytes;
	mem_free(infos);
	return bytes;
}

static uint64_t lc_snap_bytes(struct log_clean *lc)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < lc->config.n_loops; i++) {
		struct raft_snaps *snaps = shard_set_snaps(lc->loops[i].set);

		bytes += snaps == NULL ? 0 : raft_snaps_bytes(snaps);
	}
	return bytes;
}

static void lc_look(struct log_clean *lc)
{
	uint64_t pinned = lc_pinned(lc);

	/* row snapshots shall not write much more than they give back */
	if (pinned >= lc->config.pinned && pinned >= lc_snap_bytes(lc) / 2)
		lc_begin(lc, LC_CHECK);
	else
		lc_mark(lc);
}

static int lc_on_look(void *arg, struct compact_run *run)
{
	struct log_clean *lc = arg;

	if (lc->state != LC_IDLE)
		return -EBUSY;
	lc->run = run;
	lc->state = LC_LOOK;
	env_post(lc->loops[0].env, &lc->back);
	return 0;
}

/* What cannot be given back before the next look counts as alive. */
static void lc_on_stat(void *arg, struct compact_stat *ret)
{
	struct log_clean *lc = arg;
	struct seg_stats s;

	seg_head_stats(lc->config.log, &s);
	ret->segments = s.segments;
	ret->bytes = s.bytes;
	ret->live = lc->live < s.bytes ? lc->live : s.bytes;
}

/* --- cleaning --- */

static void lc_end_clean(struct log_clean *lc, int rv)
{
	lc->state = LC_IDLE;
	lc->targets = NULL;
	compact_done(lc->run, rv);
}

/*
 * The next targets: those in which the mark found nothing, then as many as a
 * walk shall move at most.
 */
static void lc_choose(struct log_clean *lc)
{
	bool empty = lc->targets[lc->at].live == 0;
	uint64_t live = 0;

	for (size_t i = 0; i < lc->n_segs; i++)
		lc->segs[i].victim = false;
	for (lc->upto = lc->at; lc->upto < lc->n; lc->upto++) {
		const struct compact_target *t = &lc->targets[lc->upto];
		struct log_seg *s = lc_seg(lc, t->gen);

		live += t->live;
		if (lc->upto > lc->at &&
		    (live > LOG_CLEAN_AT_ONCE || empty != (t->live == 0)))
			break;
		if (s != NULL) {
			s->victim = true;
			s->err = t->gen < lc->below ? 0 : -EBUSY;
		}
	}
	lc->walks = 0;
	lc->found = false;
}

static void lc_walk(struct log_clean *lc)
{
	lc->walks++;
	lc->found = false;
	lc->walk_seq = atomic_load(&lc->holds_seen);
	lc_begin(lc, LC_MOVE);
}

static void lc_next(struct log_clean *lc)
{
	if (lc->at == lc->n || compact_stopped(lc->run)) {
		lc_end_clean(lc, lc->at == lc->n ? 0 : -ECANCELED);
		return;
	}
	lc_choose(lc);
	if (lc->targets[lc->at].live == 0 && !lc_is_held(lc, lc->mark_seq)) {
		/* the mark was a walk that found nothing */
		lc->walk_seq = lc->mark_seq;
		lc_begin(lc, LC_SAVE);
	} else {
		lc_walk(lc);
	}
}

static void lc_freed(struct seg_free *f, int status)
{
	struct log_clean *lc = CONTAINER_OF(f, struct log_clean, free);

	lc->at++;
	/* what the unlink gave is the next start's trouble */
	if (status == -ENOENT || status == -EBUSY)
		compact_kept(lc->run, f->gen, status);
	else
		compact_freed(lc->run, f->gen);
	env_timer_set(lc->loops[0].env, &lc->timer, 0);
}

static int lc_may_free(const struct log_clean *lc, uint64_t gen)
{
	const struct log_seg *s = lc_seg(lc, gen);

	if (s == NULL)
		return -ENOENT;
	if (s->err != 0)
		return s->err;
	return lc->found || lc_is_held(lc, lc->walk_seq) ? -EBUSY : 0;
}

static void lc_free_next(struct log_clean *lc)
{
	while (lc->at < lc->upto) {
		uint64_t gen = lc->targets[lc->at].gen;
		int rv = lc_may_free(lc, gen);

		if (rv == 0) {
			lc->free.gen = gen;
			lc->free.done = lc_freed;
			seg_free_segment(lc->config.port, &lc->free);
			return;
		}
		lc->at++;
		compact_kept(lc->run, gen, rv);
	}
	lc_next(lc);
}

/* All loops were walked. */
static void lc_moved(struct log_clean *lc)
{
	if (lc->found && lc->walks < LOG_CLEAN_WALKS)
		lc_walk(lc);
	else
		lc_begin(lc, LC_SAVE);
}

static int lc_on_clean(void *arg, const struct compact_target *targets,
		       size_t n, struct compact_run *run)
{
	struct log_clean *lc = arg;
	int rv;

	if (lc->state != LC_IDLE)
		return -EBUSY;
	/* the counts of the look are in the targets */
	rv = lc_take_segs(lc);
	if (rv != 0)
		return rv;
	lc->below = lc_below(lc);
	lc->run = run;
	lc->targets = targets;
	lc->n = n;
	lc->at = lc->upto = 0;
	lc->state = LC_FREE; /* nothing yet: goes on with the first targets */
	env_post(lc->loops[0].env, &lc->back);
	return 0;
}

/* --- steps --- */

static void lc_tick(struct env_timer *timer)
{
	struct log_clean *lc = CONTAINER_OF(timer, struct log_clean, timer);

	if (lc->state == LC_FREE)
		lc_free_next(lc);
	else
		lc_call(lc, lc->loop);
}

/* What the step copied; ns to wait before the next one. */
static uint64_t lc_copied(struct log_clean *lc)
{
	uint64_t bytes = lc->count.bytes - lc->last.bytes;

	lc->last = lc->count;
	return bytes == 0 ? 0 : compact_wait_ns(lc->run, bytes);
}

static void lc_step_walk(struct log_clean *lc)
{
	uint64_t wait = lc_copied(lc);
	int rv = lc->rv;

	if (rv == 1) {
		lc->drop = lc->state == LC_MOVE && compact_stopped(lc->run);
		if (lc->drop)
			lc_call(lc, lc->loop);
		else /* by a timer: none comes once the loops stop */
			env_timer_set(lc->loops[0].env, &lc->timer, wait);
		return;
	}
	lc->found |= lc->count.found > 0;
	lc->drop = false;
	memset(&lc->count, 0, sizeof lc->count);
	memset(&lc->last, 0, sizeof lc->last);
	if (rv == 0 && lc->loop + 1 < lc->config.n_loops)
		lc_call(lc, lc->loop + 1);
	else if (lc->state == LC_MARK)
		lc_end_look(lc, rv);
	else if (rv != 0)
		lc_end_clean(lc, rv);
	else
		lc_moved(lc);
}

/* A checkpoint or a round of snapshots on that loop is done. */
static void lc_step_call(struct log_clean *lc)
{
	if (lc->rv != 0) {
		if (lc->state == LC_SAVE)
			lc_end_clean(lc, lc->rv);
		else
			lc_end_look(lc, lc->rv);
		return;
	}
	if (lc->loop + 1 < lc->config.n_loops) {
		lc_call(lc, lc->loop + 1);
		return;
	}
	if (lc->state == LC_CHECK) {
		lc_begin(lc, LC_SNAP);
	} else if (lc->state == LC_SNAP) {
		lc_mark(lc);
	} else {
		lc->state = LC_FREE;
		lc_free_next(lc);
	}
}

/* The loop's part of the state is done, or the state begins. */
static void lc_step(struct log_clean *lc)
{
	switch (lc->state) {
	case LC_LOOK:
		lc_look(lc);
		break;
	case LC_FREE:
		lc_free_next(lc);
		break;
	case LC_MARK:
	case LC_MOVE:
		lc_step_walk(lc);
		break;
	default:
		lc_step_call(lc);
	}
}

/* --- life --- */

int log_clean_new(const struct log_clean_config *config,
		  struct log_clean **ret_clean, struct compact_head *ret_head)
{
	struct log_clean *lc = mem_zalloc(sizeof *lc);

	if (lc == NULL)
		return -ENOMEM;
	lc->config = *config;
	if (lc->config.pinned == 0)
		lc->config.pinned = LOG_CLEAN_PINNED;
	lc->to.run = lc_on_loop;
	lc->back.run = lc_back;
	lc->timer.cb = lc_tick;
	lc->snap.done = lc_snapped;
	lc->loops = mem_dup(config->loops,
			    config->n_loops * sizeof *config->loops);
	if (lc->loops == NULL) {
		mem_free(lc);
		return -ENOMEM;
	}
	*ret_clean = lc;
	*ret_head = (struct compact_head){
		.name = "log",
		.look = lc_on_look,
		.clean = lc_on_clean,
		.stat = lc_on_stat,
		.arg = lc,
	};
	return 0;
}

void log_clean_free(struct log_clean *lc)
{
	if (lc == NULL)
		return;
	env_timer_cancel(lc->loops[0].env, &lc->timer);
	shard_clean_free(lc->walk);
	mem_free(lc->segs);
	mem_free(lc->loops);
	mem_free(lc);
}
