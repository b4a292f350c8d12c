/*
 * Handing leadership on: by request, on the way out, and by three watchdogs.
 *
 * Happy path: lease dropped, submits refused -> the other has the whole log on
 * disk -> TimeoutNow -> it asks for votes that a leader and its followers
 * grant at once -> its first message makes this process a follower. (The
 * library would send TimeoutNow with the first answer, while entries are under
 * way, and the other would ignore it: so we wait.)
 *
 * Failure modes:
 * - The other does not catch up, or TimeoutNow is lost: both wait for one
 *   election timeout at most, then submits are taken again. TimeoutNow may be
 *   on its way still, so there is no lease until the other has answered, in
 *   this term, something that was sent later (links keep the order).
 * - An election by TimeoutNow that fails: the library would go on to disrupt
 *   leaders of later terms, which hold leases that nobody dropped. Only the
 *   term behind the one that asked carries the permission.
 * - Watchdog 1: the match index of a follower that lives, and has nothing left
 *   to write, stands still although entries wait for it. (The library knows
 *   no end of that; see stall A in raft_group.c for the case we know.)
 * - Watchdog 2: entries are committed, but this store does not get to apply
 *   them, and another one does.
 * - Watchdog 3: this store is short of room, and another one is not: writes go
 *   on there, before the disk here is full and they would be refused.
 */
#include "common/raft/raft_impl.h"

#include <assert.h>
#include <errno.h>

bool raft_follower_lives(const struct raft_group *g,
			 const struct raft_follower *f)
{
	uint64_t timeout = (uint64_t)g->h->config.election_ms * 1000000;

	return f->acked != 0 && env_now_ns(g->h->env) - f->acked < timeout;
}

/*
 * The living voter that has most, but `not`, of those with so much room (MiB);
 * NULL when there is none.
 */
static const struct raft_follower *raft_transfer_best(struct raft_group *g,
						      uint64_t not,
						      uint16_t room)
{
	const struct raft_configuration *c = &g->r.configuration;
	const struct raft_follower *best = NULL;

	for (unsigned i = 0; i < c->n; i++) {
		const struct raft_follower *f;

		if (c->servers[i].role != RAFT_VOTER || c->servers[i].id == not)
			continue;
		f = raft_follower_find(g, c->servers[i].id);
		if (f == NULL || !raft_follower_lives(g, f) ||
		    f->capacity < room)
			continue;
		if (best == NULL || f->match > best->match ||
		    (f->match == best->match && f->applied > best->applied))
			best = f;
	}
	return best;
}

bool raft_group_in_transfer(const struct raft_group *g)
{
	return g->transfer_to != 0 || raft_transferee(&g->r) != 0;
}

int raft_group_transfer(struct raft_group *g, uint64_t to)
{
	struct raft_host *h = g->h;

	if (g->state != RAFT_GROUP_RUNNING || g->lead_term == 0)
		return -EPERM;
	if (raft_group_in_transfer(g))
		return -EBUSY;
	if (to == 0) {
		const struct raft_follower *best = raft_transfer_best(g, 0, 0);

		if (best == NULL)
			return -ENOENT;
		to = best->id;
	}
	if (!raft_group_votes(g, to) || to == h->config.id)
		return -ENOENT;
	g->transfer_to = to;
	g->transfer_ms = env_now_ms(h->env) + h->config.election_ms;
	h->stats.transfers++;
	raft_lease_check(g);
	raft_host_dirty(h, g);
	return 0;
}

void raft_transfer_step(struct raft_group *g)
{
	raft_index match = 0;

	if (g->transfer_to == 0)
		return;
	if (!raft_group_votes(g, g->transfer_to) ||
	    env_now_ms(g->h->env) >= g->transfer_ms) {
		g->transfer_to = 0;
		raft_host_dirty(g->h, g);
		return;
	}
	if (raft_match_index(&g->r, g->transfer_to, &match) == 0 &&
	    match == rlog_last(&g->log)) {
		uint64_t to = g->transfer_to;

		g->transfer_to = 0;
		raft_step_transfer(g, to);
	}
}

/* --- watchdogs: after each timeout of a leader --- */

/* Entries wait for f, it could take them, and has not moved. */
static bool raft_watch_stands(const struct raft_group *g,
			      const struct raft_follower *f, uint64_t match)
{
	return match == f->match && match < rlog_last(&g->log) && !f->busy &&
	       match + 1 >= g->log.first && raft_follower_lives(g, f);
}

static void raft_watch_matches(struct raft_group *g, uint64_t now)
{
	for (unsigned i = 0; i < g->n_followers; i++) {
		struct raft_follower *f = &g->followers[i];
		const struct raft_follower *best;
		raft_index match = 0;

		(void)raft_match_index(&g->r, f->id, &match);
		if (!raft_watch_stands(g, f, match)) {
			f->match = match;
			f->moved_ms = now;
			continue;
		}
		if (now - f->moved_ms < RAFT_STUCK_MS)
			continue;
		f->moved_ms = now;
		best = raft_transfer_best(g, f->id, 0);
		if (best == NULL)
			continue;
		if (raft_group_transfer(g, best->id) == 0)
			g->h->stats.stuck++;
	}
}

/* What was committed one election timeout ago should be applied. */
static void raft_watch_backlog(struct raft_group *g, uint64_t now)
{
	const struct raft_follower *best;

	if (g->applied >= g->watch_commit) {
		g->watch_commit = g->commit;
		g->watch_ms = now;
		return;
	}
	if (now - g->watch_ms < g->h->config.election_ms)
		return;
	best = raft_transfer_best(g, 0, 0);
	if (best != NULL && best->applied >= g->watch_commit &&
	    raft_group_transfer(g, best->id) == 0)
		g->h->stats.backlogs++;
}

/* Who has not spoken yet is not held to be full. */
bool raft_group_has_room(const struct raft_group *g)
{
	const struct raft_configuration *c = &g->r.configuration;
	unsigned full = 0;

	for (unsigned i = 0; i < c->n; i++) {
		const struct raft_follower *f =
			raft_follower_find(g, c->servers[i].id);

		full += c->servers[i].role == RAFT_VOTER && f != NULL &&
			f->acked != 0 && f->capacity == 0;
	}
	return g->n_voters - full > g->n_voters / 2;
}

/* Not at each beat: meanwhile submits are refused. */
static void raft_watch_room(struct raft_group *g, uint64_t now)
{
	const struct raft_follower *best;

	if (g->h->capacity >= RAFT_ROOM ||
	    (g->room_ms != 0 && now - g->room_ms < RAFT_STUCK_MS))
		return;
	best = raft_transfer_best(g, 0, 2 * RAFT_ROOM);
	if (best == NULL || raft_group_transfer(g, best->id) != 0)
		return;
	g->room_ms = now;
	g->h->stats.rooms++;
}

void raft_group_watch(struct raft_group *g)
{
	uint64_t now = env_now_ms(g->h->env);

	if (raft_state(&g->r) != RAFT_LEADER)
		return;
	raft_transfer_step(g);
	raft_watch_matches(g, now);
	if (raft_state(&g->r) == RAFT_LEADER)
		raft_watch_backlog(g, now);
	if (raft_state(&g->r) == RAFT_LEADER)
		raft_watch_room(g, now);
}

/* --- on the way out --- */

/* True when nothing is left to hand on. */
static bool raft_leave_group(struct raft_group *g)
{
	if (g->state != RAFT_GROUP_RUNNING || g->lead_term == 0 ||
	    raft_transfer_best(g, 0, 0) == NULL)
		return true;
	if (!raft_group_in_transfer(g))
		(void)raft_group_transfer(g, 0);
	return false;
}

static void raft_leave_tick(struct env_timer *timer)
{
	struct raft_host *h = CONTAINER_OF(timer, struct raft_host,
					   leave_timer);
	struct raft_leave *l = h->leave;
	bool all = true;

	for (struct raft_group *g = h->groups; g != NULL; g = g->next)
		if (!raft_leave_group(g))
			all = false;
	if (!all && env_now_ms(h->env) < h->leave_ms) {
		env_timer_set(h->env, &h->leave_timer,
			      RAFT_TICK_MS * 1000000ull);
		return;
	}
	h->leave = NULL;
	l->done(l);
}

void raft_host_leave(struct raft_host *h, struct raft_leave *l)
{
	assert(h->leave == NULL);
	h->leaving = true;
	h->leave = l;
	h->leave_ms = env_now_ms(h->env) + 2ull * h->config.election_ms;
	h->leave_timer.cb = raft_leave_tick;
	env_timer_set(h->env, &h->leave_timer, 0);
}
