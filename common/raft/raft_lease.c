/*
 * Leases: reads at a leader without a round of messages.
 *
 * Happy path: every AppendEntries carries the leader's clock; the answer to it
 * carries that stamp back. A follower that heard from a leader at t votes for
 * nobody else before t + election timeout (libraft: it has a leader until its
 * own timer, never shorter, runs out); and it heard after the stamp was made.
 * So when servers enough for a majority (this one counts) answered stamps not
 * older than s, nobody else leads before s + election timeout. We stop 15 %
 * earlier, for clocks that do not run alike.
 *
 * Failure modes:
 * - A follower that restarts has forgotten what it heard: it neither asks for
 *   votes nor grants them during one election timeout (raft_step_receive).
 * - A process that stands still: whoever reads asks can_read() with a clock
 *   read afresh. Clocks that stand still with the process (a virtual machine
 *   put to sleep): raft_host_config.read_barrier.
 * - Leadership handed on (raft_transfer.c): whoever was asked to lead may be
 *   elected at once, until it has answered something sent later. One that is
 *   removed before that never answers: no lease in this term any more.
 * - A configuration that changes: majorities of the old one and the new one
 *   have a server in common, which keeps its word to this leader. A leader
 *   that is no voter (any more) has no lease.
 */
#include "common/raft/raft_impl.h"

#include "common/base/log.h"
#include "common/base/mem.h"

struct raft_follower *raft_follower_find(const struct raft_group *g,
					 uint64_t id)
{
	for (unsigned i = 0; i < g->n_followers; i++)
		if (g->followers[i].id == id)
			return &g->followers[i];
	return NULL;
}

/* How many were asked to lead and have not answered since. */
static unsigned raft_followers_told(const struct raft_follower *f, unsigned n)
{
	unsigned told = 0;

	for (unsigned i = 0; i < n; i++)
		told += f[i].told != 0;
	return told;
}

/* The stamp answered by at least n voters beside this one; 0: not so many. */
static uint64_t raft_lease_nth(struct raft_group *g, unsigned n)
{
	const struct raft_configuration *c = &g->r.configuration;
	uint64_t stamp = UINT64_MAX;

	/* the n-th newest: at each round the next older one */
	while (n > 0) {
		uint64_t next = 0;
		unsigned same = 0;

		for (unsigned i = 0; i < c->n; i++) {
			const struct raft_server *s = &c->servers[i];
			const struct raft_follower *f;

			f = s->role == RAFT_VOTER
				    ? raft_follower_find(g, s->id)
				    : NULL;
			if (f == NULL || f->acked >= stamp || f->acked < next)
				continue;
			same = f->acked == next ? same + 1 : 1;
			next = f->acked;
		}
		if (next == 0)
			return 0;
		stamp = next;
		n = n > same ? n - same : 0;
	}
	return stamp;
}

static void raft_lease_update(struct raft_group *g)
{
	uint64_t lease = (uint64_t)g->h->config.election_ms * 1000000 / 100 *
			 RAFT_LEASE_PERCENT;
	uint64_t stamp;

	g->lease_until = 0;
	if (!g->voter || g->sole_voter || g->told_gone ||
	    raft_group_in_transfer(g))
		return;
	if (raft_followers_told(g->followers, g->n_followers) > 0)
		return;
	/* a majority of n voters are n / 2 + 1, one of them is this store */
	stamp = raft_lease_nth(g, g->n_voters / 2);
	if (stamp != 0)
		g->lease_until = stamp + lease;
}

static bool raft_followers_same(const struct raft_group *g)
{
	const struct raft_configuration *c = &g->r.configuration;
	unsigned n = 0;

	for (unsigned i = 0; i < c->n; i++) {
		if (c->servers[i].id == g->h->config.id)
			continue;
		if (n == g->n_followers ||
		    g->followers[n].id != c->servers[i].id)
			return false;
		n++;
	}
	return n == g->n_followers;
}

/* One for each other server, with what is known of it already. */
static void raft_followers_make(struct raft_group *g)
{
	const struct raft_configuration *c = &g->r.configuration;
	struct raft_follower *all = mem_calloc(c->n, sizeof *all);
	unsigned n = 0;

	if (all == NULL)
		fatal_abort("raft: out of memory for followers");
	for (unsigned i = 0; i < c->n; i++) {
		uint64_t id = c->servers[i].id;
		const struct raft_follower *old;

		if (id == g->h->config.id)
			continue;
		old = raft_follower_find(g, id);
		if (old != NULL)
			all[n] = *old;
		else
			all[n].moved_ms = env_now_ms(g->h->env);
		all[n++].id = id;
	}
	if (raft_followers_told(all, n) <
	    raft_followers_told(g->followers, g->n_followers))
		g->told_gone = true;
	mem_free(g->followers);
	g->followers = all;
	g->n_followers = n;
}

void raft_followers_free(struct raft_group *g)
{
	mem_free(g->followers);
	g->followers = NULL;
	g->n_followers = 0;
}

void raft_lease_check(struct raft_group *g)
{
	if (raft_state(&g->r) != RAFT_LEADER) {
		/* stamps of one leadership say nothing about the next */
		raft_followers_free(g);
		g->lease_until = 0;
		g->told_gone = false;
		g->watch_commit = 0;
		g->transfer_to = 0;
		return;
	}
	if (!raft_followers_same(g))
		raft_followers_make(g);
	raft_lease_update(g);
}

void raft_lease_heard(struct raft_group *g, uint64_t from, uint64_t term,
		      uint64_t stamp)
{
	if (term < raft_current_term(&g->r))
		return;
	g->heard_from = from;
	g->heard_term = term;
	g->heard_stamp = stamp;
	g->heard_ms = env_now_ms(g->h->env);
}

uint64_t raft_lease_echo(const struct raft_group *g, uint64_t to,
			 uint64_t term)
{
	return to == g->heard_from && term == g->heard_term ? g->heard_stamp
							    : 0;
}

void raft_lease_acked(struct raft_group *g, uint64_t from,
		      const struct raft_append_entries_result *m,
		      const struct raft_extra *x)
{
	struct raft_follower *f = raft_follower_find(g, from);

	if (f == NULL || m->term != raft_current_term(&g->r) ||
	    x->stamp > env_now_ns(g->h->env))
		return;
	f->applied = x->applied;
	f->capacity = m->capacity;
	f->busy = x->busy;
	if (x->stamp <= f->acked)
		return;
	f->acked = x->stamp;
	/* it had TimeoutNow before this and still follows, or never gets it */
	if (f->acked > f->told)
		f->told = 0;
	raft_lease_update(g);
}

void raft_lease_told(struct raft_group *g, uint64_t to)
{
	struct raft_follower *f = raft_follower_find(g, to);

	if (f != NULL)
		f->told = env_now_ns(g->h->env);
	raft_lease_update(g);
}

bool raft_group_can_read(const struct raft_group *g)
{
	/*
	 * What was acknowledged in this term was applied here first, and what
	 * was before, too: an entry of this term is applied. So all that is
	 * left to know is that nobody else leads.
	 */
	if (!g->leading)
		return false;
	if (g->sole_voter)
		return true;
	return !g->h->config.read_barrier &&
	       env_now_ns(g->h->env) < g->lease_until;
}
