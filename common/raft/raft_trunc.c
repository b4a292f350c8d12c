/*
 * What of the log is not needed any more.
 *
 * Happy path: the rows of all groups are durable up to some index each -> the
 * library is told that a snapshot stands there; entries up to it leave the
 * index, but for a tail that followers may want -> the oldest generation that
 * still holds something is `need` -> the next segment's START says it -> that
 * START is durable: segments below may be freed.
 *
 * Why a start that reads from `need` on misses nothing, at whatever moment the
 * process died. Let START N be the newest one, need(N) the value in it:
 * - Appends of one port become durable in order, and completions come in that
 *   order. So what is under way, or comes later, stands in seen_gen (segment of
 *   the last completion) or behind it. need is never above seen_gen at the time
 *   it is computed, and neither ever goes back.
 * - An entry above the durable applied index: known position: need is not
 *   above it. Under way when need was computed: not before seen_gen then. So
 *   all of them are read. Entries of one group stand in the log in the order of
 *   their indexes: a tail is replaced as a whole, and copied as a whole.
 * - A tail that was replaced is what a start finds until the first entry that
 *   replaces it is durable: until then need is not above the tail either.
 * - Hard state: what was complete when START N was made is in its table. What
 *   was not stands at or behind seen_gen of that time, so behind need(N).
 * - Segments are freed only below need(N) of a durable START N. So what a
 *   start reads by N, or by any later START, was never freed.
 * - The rows: durable up to the `applied` in the table, as need(N) was computed
 *   after the checkpoint that made them so. That holds, too, when they were lost
 *   since (raft_snap.h): need does not go back, so neither may `applied`; else
 *   who dies before the next checkpoint would find rows that look as new as
 *   the log says, and no entries from there on.
 *
 * Entries that an undecided group needs would keep a segment for ever while
 * others write on: they are copied to the head when they are `carry` segments
 * behind. A copy has the index and term of its entry, so by Raft its bytes; a
 * start that reads both takes the later place. All that a group needs is copied
 * at once, and each copy says what the first and the last of them are: a start
 * that does not find the last one, as a crash came between, takes none. Until
 * all are durable need stays where it was. A group that needs more than
 * RAFT_CARRY_BYTES keeps its segments, and the disk those behind them, until it
 * has decided: what was applied goes with the next checkpoint, a tail that is
 * replaced with the first entry that replaces it.
 */
#include "common/raft/raft_impl.h"

#include <assert.h>
#include <errno.h>

#include "common/base/mem.h"

#ifdef ENABLE_MUTATIONS
enum raft_mutation raft_mutation = RAFT_MUTATE_NONE;
#endif

/* --- the tables of START --- */

void raft_host_set_hard(struct raft_host *h, struct raft_group *g,
			uint64_t term, uint64_t vote)
{
	struct raft_hard_row row = {
		g->id, term, vote, g->said_applied, g->said_moved,
	};

	(void)pthread_mutex_lock(&h->hard_lock);
	if (g->hard_row == 0 && h->n_hard == h->cap_hard) {
		unsigned cap = h->n_hard * 2 + 8;
		struct raft_hard_row *p =
			mem_realloc(h->hard, cap * sizeof *p);

		if (p == NULL) {
			/* without it a start must read the records */
			h->need = 0;
			h->incomplete = true;
			goto out;
		}
		h->hard = p;
		h->cap_hard = cap;
	}
	if (g->hard_row == 0)
		g->hard_row = ++h->n_hard;
	h->hard[g->hard_row - 1] = row;
out:
	(void)pthread_mutex_unlock(&h->hard_lock);
}

void raft_host_start_body(struct raft_host *h, uint64_t gen, struct buf *out)
{
	struct wire_writer w = { out };
	uint32_t n;

	(void)pthread_mutex_lock(&h->hard_lock);
	if (h->start_gen != 0) /* it is durable before the next one is made */
		h->free_below = h->start_need;
	h->start_gen = gen;
	h->start_need = h->need;
	wire_put_u64(&w, &h->need);
	n = RAFT_MUTATES(NO_TABLE) ? 0 : h->n_hard;
	wire_put_u32(&w, &n);
	for (unsigned i = 0; i < n; i++) {
		wire_put_u16(&w, &h->hard[i].group);
		wire_put_u64(&w, &h->hard[i].term);
		wire_put_u64(&w, &h->hard[i].vote);
		wire_put_u64(&w, &h->hard[i].applied);
		wire_put_u64(&w, &h->hard[i].moved);
	}
	(void)pthread_mutex_unlock(&h->hard_lock);
}

uint64_t raft_host_free_below(struct raft_host *h)
{
	uint64_t gen;

	(void)pthread_mutex_lock(&h->hard_lock);
	if (h->start_gen != 0 && h->log != NULL &&
	    seg_head_start_gen(h->log) >= h->start_gen) {
		h->free_below = h->start_need;
		h->start_gen = 0;
	}
	gen = RAFT_MUTATES(FREE_SOON) ? h->need : h->free_below;
	if (h->behind)
		gen = 0;
	(void)pthread_mutex_unlock(&h->hard_lock);
	return gen;
}

/* --- a checkpoint --- */

/* The first entry that stays in the index of g. */
static uint64_t raft_trunc_first(struct raft_group *g)
{
	struct raft_host *h = g->h;
	uint64_t first = g->durable + 1, bytes = 0;

	if (g->one_voter)
		return first;
	if (!h->config.forget_followers)
		return g->log.first;
	while (first > g->log.first) {
		const struct rlog_ent *e = rlog_at(&g->log, first - 1);

		bytes += e->info & RLOG_LEN;
		if (g->durable + 1 - first == h->config.tail ||
		    bytes > RAFT_TAIL_BYTES ||
		    raft_log_gen(g, e) + h->config.carry < h->seen_gen)
			break;
		first--;
	}
	return first;
}

void raft_group_say(struct raft_group *g, uint64_t index, uint64_t moved)
{
	struct raft_host *h = g->h;

	if (index < g->said_applied ||
	    (index == g->said_applied && moved < g->said_moved))
		return;
	g->said_applied = index;
	g->said_moved = moved;
	if (g->hard_row == 0)
		return;
	(void)pthread_mutex_lock(&h->hard_lock);
	h->hard[g->hard_row - 1].applied = index;
	h->hard[g->hard_row - 1].moved = moved;
	(void)pthread_mutex_unlock(&h->hard_lock);
}

uint64_t raft_group_moved(const struct raft_group *g)
{
	return g->moved;
}

uint64_t raft_group_next_moved(const struct raft_group *g)
{
	return (g->moved > g->said_moved ? g->moved : g->said_moved) + 1;
}

void raft_group_set_moved(struct raft_group *g, uint64_t moved)
{
	g->moved = moved;
}

void raft_group_durable_moved(struct raft_group *g, uint64_t index,
			      uint64_t moved)
{
	if (g->state == RAFT_GROUP_RUNNING && !g->installing &&
	    index == g->durable)
		raft_group_say(g, index, moved);
}

void raft_group_checkpoint(struct raft_group *g, uint64_t index)
{
	uint64_t first;

	/*
	 * Trap F: a snapshot that arrives, or has arrived, goes before one of
	 * our own that began earlier.
	 */
	if (g->state != RAFT_GROUP_RUNNING || g->installing ||
	    index <= g->durable)
		return;
	assert(index <= g->applied && index <= g->stored);
	g->durable = index;
	raft_group_say(g, index, 0);
	first = raft_trunc_first(g);
	raft_step_snapshot(g, index, first);
	raft_log_trim(g, first);
}

/*
 * The tail of a group that did nothing since its last checkpoint: others write
 * on, so it gets as old as that of one that did.
 */
static void raft_trunc_tail(struct raft_group *g)
{
	struct raft_host *h = g->h;
	uint64_t first;

	if (g->state != RAFT_GROUP_RUNNING || g->installing ||
	    g->log.first > g->durable ||
	    raft_log_gen(g, &g->log.ents[0]) + h->config.carry >= h->seen_gen)
		return;
	first = raft_trunc_first(g);
	if (first <= g->log.first)
		return;
	raft_step_snapshot(g, g->durable, first);
	raft_log_trim(g, first);
}

/* The oldest generation of entries from index on. */
static uint64_t raft_trunc_gen(struct raft_group *g, uint64_t index)
{
	uint64_t oldest = g->h->seen_gen;

	/* not the first one only: copies become durable one by one */
	for (; index <= rlog_last(&g->log); index++) {
		uint64_t gen = raft_log_gen(g, rlog_at(&g->log, index));

		if (gen < oldest)
			oldest = gen;
	}
	return oldest;
}

uint64_t raft_group_need(struct raft_group *g, uint64_t index)
{
	return index < g->log.first - 1 ? 0 : raft_trunc_gen(g, index + 1);
}

void raft_group_cut(struct raft_group *g, uint64_t index)
{
	uint64_t gen = raft_trunc_gen(g, index);

	if (g->stored >= g->cut_index) { /* none is under way */
		g->cut_index = index;
		g->cut_gen = gen;
		return;
	}
	if (index < g->cut_index)
		g->cut_index = index;
	if (gen < g->cut_gen)
		g->cut_gen = gen;
}

/* The oldest generation that a start has to read for g. */
static uint64_t raft_trunc_need(struct raft_group *g)
{
	uint64_t index = g->log.first, gen;

	if (RAFT_MUTATES(NEED_NOTHING))
		return g->h->seen_gen;
	if (g->one_voter && index <= g->durable)
		index = g->durable + 1;
	gen = raft_trunc_gen(g, index);
	return g->stored < g->cut_index && g->cut_gen < gen ? g->cut_gen : gen;
}

/* Copies what g still needs, if it is far behind and not much. */
static void raft_trunc_carry(struct raft_group *g)
{
	struct raft_host *h = g->h;
	uint64_t first = g->durable + 1, last = rlog_last(&g->log), bytes = 0;
	const struct rlog_ent *e = rlog_at(&g->log, first);

	if (e == NULL || g->state != RAFT_GROUP_RUNNING || g->carrying > 0 ||
	    raft_log_gen(g, e) + h->config.carry >= h->seen_gen)
		return;
	for (uint64_t i = first; i <= last; i++)
		bytes += (rlog_at(&g->log, i)->info & RLOG_LEN) +
			 SEG_HEADER_LEN;
	if (bytes > RAFT_CARRY_BYTES || last > g->stored)
		return;
	/* without memory the next checkpoint tries again */
	(void)raft_log_copy(g, first);
}

void raft_host_checkpointed(struct raft_host *h)
{
	bool behind = false;
	uint64_t need;

	/* nothing under way: what comes is not before the head's segment */
	if (TAILQ_EMPTY(&h->writes))
		raft_host_seen(h, seg_head_start_gen(h->log));
	need = h->seen_gen;
	for (struct raft_group *g = h->groups; g != NULL; g = g->next) {
		uint64_t gen;

		raft_trunc_tail(g);
		gen = raft_trunc_need(g);
		if (gen < need)
			need = gen;
		behind |= g->durable < g->said_applied;
		raft_trunc_carry(g);
	}
	(void)pthread_mutex_lock(&h->hard_lock);
	h->behind = behind;
	if (!h->incomplete && need > h->need)
		h->need = need;
	(void)pthread_mutex_unlock(&h->hard_lock);
}

uint64_t raft_host_passed(const struct raft_host *h)
{
	return h->passed;
}
