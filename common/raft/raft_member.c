/*
 * Membership, one server at a time.
 *
 * Happy path: spare -> stand-by (it gets the log) -> caught up -> voter, each
 * one entry of a configuration that counts as soon as it is in the log; and
 * back: voter -> stand-by or nothing.
 *
 *   CATCH_UP -> LOGGED -> done
 *
 * Failure modes:
 * - No change before an entry of the own term is committed here, none while
 *   one is not: BUSY. (Else two configurations whose majorities have nobody in
 *   common could be in force.)
 * - The leader removes everybody but itself: it hands leadership on first and
 *   answers NOT_LEADER.
 * - Catching up is judged here as in Raft's dissertation, 4.2.1, not with the
 *   library's CATCH_UP: that one waits for ever (aborts, in truth) when the
 *   server has everything already, as only an index that moves ends it.
 * - Leadership ends: UNKNOWN_OUTCOME when the entry was in the log.
 * - Entries of a group of one that are not durable yet: those to come would get
 *   them, and what is committed with them. First they are made so.
 * - One voter left: raft_step.c gives it a new term before it leads.
 */
#include "common/raft/raft_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"

#define RAFT_ROUNDS 10

static const struct raft_server *raft_server_find(const struct raft_group *g,
						  uint64_t id)
{
	const struct raft_configuration *c = &g->r.configuration;

	for (unsigned i = 0; i < c->n; i++)
		if (c->servers[i].id == id)
			return &c->servers[i];
	return NULL;
}

static enum raft_role raft_role_of(const struct raft_server *s)
{
	if (s == NULL)
		return RAFT_ROLE_NONE;
	switch (s->role) {
	case RAFT_VOTER:
		return RAFT_ROLE_VOTER;
	case RAFT_STANDBY:
		return RAFT_ROLE_STANDBY;
	default:
		return RAFT_ROLE_SPARE;
	}
}

static int raft_role_library(enum raft_role role)
{
	return role == RAFT_ROLE_VOTER	   ? RAFT_VOTER
	       : role == RAFT_ROLE_STANDBY ? RAFT_STANDBY
					   : RAFT_SPARE;
}

/* --- the new configuration --- */

/*
 * Bytes of the configuration in force with that server as asked. The order of
 * the others stays: the library copies what it knows of them by place.
 */
static int raft_change_encode(struct raft_group *g,
			      const struct raft_change *change,
			      uint8_t **ret_bytes, size_t *ret_len)
{
	const struct raft_configuration *old = &g->r.configuration;
	struct raft_configuration c;
	struct raft_buffer b = { 0 };
	bool found = false;
	int rv = 0;

	raft_configuration_init(&c);
	for (unsigned i = 0; i < old->n && rv == 0; i++) {
		const struct raft_server *s = &old->servers[i];
		int role = s->role;

		if (s->id == change->id) {
			found = true;
			if (change->role == RAFT_ROLE_NONE)
				continue;
			role = raft_role_library(change->role);
		}
		rv = raft_configuration_add(&c, s->id, s->address, role);
	}
	if (rv == 0 && !found) {
		char address[24];

		(void)snprintf(address, sizeof address, "%llu",
			       (unsigned long long)change->id);
		rv = raft_configuration_add(&c, change->id, address,
					    raft_role_library(change->role));
	}
	if (rv == 0)
		rv = raft_configuration_encode(&c, &b);
	raft_configuration_close(&c);
	if (rv != 0)
		return -ENOMEM;
	*ret_bytes = mem_dup(b.base, b.len);
	*ret_len = b.len;
	raft_free(b.base);
	return *ret_bytes == NULL ? -ENOMEM : 0;
}

static uint32_t raft_change_submit(struct raft_group *g,
				   struct raft_change *change)
{
	struct raft_body *b;
	uint8_t *bytes;
	size_t len;
	uint32_t status;

	if (rlog_reserve(&g->log, RAFT_BATCH + 1) != 0 ||
	    raft_change_encode(g, change, &bytes, &len) != 0)
		return RPC_STATUS_NOMEM;
	b = raft_body_new(g, RAFT_CHANGE, bytes, len);
	if (b == NULL)
		return RPC_STATUS_NOMEM;
	g->h->step_bodies[0] = b;
	status = raft_step_submit(g, 1);
	if (status == RPC_STATUS_OK)
		change->index = rlog_last(&g->log);
	return status;
}

/* --- catching up --- */

static bool raft_change_caught_up(struct raft_group *g,
				  struct raft_change *change)
{
	uint64_t now = env_now_ms(g->h->env), last = rlog_last(&g->log);
	raft_index match = 0;

	(void)raft_match_index(&g->r, change->id, &match);
	if (match < change->round_index)
		return false;
	/* all but what came within an election timeout: it keeps up */
	if (match == last || now - change->round_ms < g->h->config.election_ms)
		return true;
	change->round++;
	change->round_index = last;
	change->round_ms = now;
	return false;
}

static bool raft_change_too_slow(const struct raft_group *g,
				 const struct raft_change *change)
{
	return change->round > RAFT_ROUNDS ||
	       env_now_ms(g->h->env) - change->round_ms >= RAFT_STUCK_MS;
}

/* --- the change --- */

static void raft_change_end(struct raft_group *g, uint32_t status)
{
	struct raft_change *change = g->change;

	g->change = NULL;
	change->done(change, status);
}

/* OK: it may begin. */
static uint32_t raft_change_check(struct raft_group *g,
				  const struct raft_change *change)
{
	enum raft_role is = raft_role_of(raft_server_find(g, change->id));

	if (g->lead_term == 0 || raft_group_in_transfer(g))
		return RPC_STATUS_NOT_LEADER;
	if (!g->leading || g->r.configuration_uncommitted_index != 0)
		return RPC_STATUS_BUSY;
	if (change->id == 0 || change->id >= RAFT_INDEX_MAX)
		return RPC_STATUS_INVAL;
	/* a voter is made of a stand-by only: it has the log */
	if (change->role == RAFT_ROLE_VOTER && is != RAFT_ROLE_VOTER &&
	    is != RAFT_ROLE_STANDBY)
		return RPC_STATUS_INVAL;
	if (is == RAFT_ROLE_NONE && change->role != RAFT_ROLE_NONE &&
	    g->r.configuration.n >= RAFT_CONF_SERVERS)
		return RPC_STATUS_TOO_MANY;
	if (change->id == g->h->config.id && change->role != RAFT_ROLE_VOTER) {
		if (g->sole_voter)
			return RPC_STATUS_INVAL;
		return raft_group_transfer(g, 0) == 0 ? RPC_STATUS_NOT_LEADER
						      : RPC_STATUS_BUSY;
	}
	return RPC_STATUS_OK;
}

static void raft_change_begin(struct raft_group *g, struct raft_change *change)
{
	uint32_t status = raft_change_check(g, change);

	change->begun = true;
	if (status == RPC_STATUS_OK &&
	    raft_role_of(raft_server_find(g, change->id)) == change->role) {
		raft_change_end(g, RPC_STATUS_OK);
		return;
	}
	if (status == RPC_STATUS_OK && change->role == RAFT_ROLE_VOTER) {
		change->round = 1;
		change->round_index = rlog_last(&g->log);
		change->round_ms = env_now_ms(g->h->env);
		return;
	}
	if (status == RPC_STATUS_OK)
		status = raft_change_submit(g, change);
	if (status != RPC_STATUS_OK)
		raft_change_end(g, status);
}

bool raft_change_wants_firm(const struct raft_group *g)
{
	return g->change != NULL && !g->change->begun && g->lead_term != 0 &&
	       g->loose > g->firm && g->loose == rlog_last(&g->log);
}

void raft_change_step(struct raft_group *g)
{
	struct raft_change *change = g->change;
	uint32_t status;

	if (change == NULL)
		return;
	if (!change->begun && g->loose > g->firm && g->lead_term != 0 &&
	    !RAFT_MUTATES(JOIN_SOON))
		return;
	if (!change->begun)
		raft_change_begin(g, change);
	if (g->change == NULL)
		return;
	if (g->lead_term == 0 || g->lead_term != change->term) {
		raft_change_end(g, change->index != 0
					   ? RPC_STATUS_UNKNOWN_OUTCOME
					   : RPC_STATUS_NOT_LEADER);
		return;
	}
	if (change->index != 0) {
		if (g->applied >= change->index)
			raft_change_end(g, RPC_STATUS_OK);
		return;
	}
	if (raft_change_caught_up(g, change)) {
		status = raft_change_submit(g, change);
		if (status != RPC_STATUS_OK)
			raft_change_end(g, status);
	} else if (raft_change_too_slow(g, change)) {
		raft_change_end(g, RPC_STATUS_BUSY);
	}
}

void raft_group_change(struct raft_group *g, struct raft_change *change)
{
	change->next = NULL;
	change->begun = false;
	change->index = 0;
	change->term = g->lead_term;
	if (g->change == NULL) {
		g->change = change;
	} else {
		change->next = g->refused;
		g->refused = change;
	}
	raft_host_dirty(g->h, g);
}

void raft_change_refuse(struct raft_group *g)
{
	while (g->refused != NULL) {
		struct raft_change *change = g->refused;

		g->refused = change->next;
		change->done(change, RPC_STATUS_BUSY);
	}
}

void raft_change_fail(struct raft_group *g, uint32_t status)
{
	if (g->change != NULL)
		raft_change_end(g, g->change->index != 0
					   ? RPC_STATUS_UNKNOWN_OUTCOME
					   : status);
	raft_change_refuse(g);
}

/* --- who is there --- */

unsigned raft_group_members(const struct raft_group *g,
			    struct raft_member *ret, unsigned max)
{
	const struct raft_configuration *c = &g->r.configuration;

	for (unsigned i = 0; i < c->n && i < max; i++) {
		const struct raft_server *s = &c->servers[i];
		const struct raft_follower *f = raft_follower_find(g, s->id);
		raft_index match = 0;

		if (g->lead_term != 0)
			(void)raft_match_index(&g->r, s->id, &match);
		ret[i] = (struct raft_member){
			.id = s->id,
			.role = raft_role_of(s),
			.match = match,
			.applied = s->id == g->h->config.id ? g->applied
				   : f != NULL		    ? f->applied
							    : 0,
			.lives = s->id == g->h->config.id ||
				 (f != NULL && raft_follower_lives(g, f)),
		};
	}
	return c->n;
}

bool raft_group_settled(const struct raft_group *g)
{
	return g->r.configuration_uncommitted_index == 0;
}
