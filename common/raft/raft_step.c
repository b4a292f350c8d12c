/*
 * Every call into libraft 0.22 is here, and so are its memory rules:
 *
 * - Of entries it keeps indexes and terms only, and reads bytes of
 *   configurations during the call. So we pass entries without bytes; our own
 *   copies go to the log.
 * - entries[0].batch must not be NULL. In RECEIVE it is freed with raft_free()
 *   unless the entries came back in the update; in SUBMIT never; in START only
 *   when the call fails.
 * - The barrier that it appends by itself on election has a batch we free.
 * - configuration.conf of a CONFIGURATION event is taken over, and so is that
 *   of the metadata of START and SNAPSHOT.
 * - update.messages lives until the next step.
 *
 * A step that fails for lack of memory may leave the library half changed, and
 * RAFT_SHUTDOWN means that two histories were committed: the process stops and
 * the log has the truth.
 *
 * Stall A and B, trap H: see raft_group.c. Others, of 0.22.1, ours to avoid:
 *
 * - Trap G: an AppendEntries with a configuration entry that is not its first
 *   one gets the wrong index (replicationAppend), so such messages are
 *   delivered in pieces.
 * - Trap I: the library learns that a configuration is committed only when it
 *   is applied, and forgets that one when a newer one comes first. A rollback
 *   of the newer one then goes back too far (or asserts, in a server that was
 *   just added). But a leader adds a configuration only when the one before it
 *   is committed: so we say so before we deliver the newer one.
 * - Trap J: a follower that is the only voter left becomes leader in the term
 *   it is in, in which another one may have led before it was removed: then
 *   two entries have the same index and term. We raise the term first, and
 *   wait until that is durable. (At start: raft_group_start.)
 * - Trap K: a stand-by refuses its vote. But whether a vote counts is said by
 *   the configuration of the candidate (Raft's dissertation, 4.1), which may be
 *   newer: a leader alone that made a voter of its stand-by, and died before
 *   that one heard of it, could never be elected again. So for the time of the
 *   question a stand-by is a voter; and as its leader is never forgotten (a
 *   voter forgets it when it stands itself), we do that for it.
 * - Trap L, of Raft itself: see the gate in raft_group.c.
 * - Trap M: an AppendEntries that begins below a follower's trimmed log (it was
 *   under way when that was trimmed) is refused, step by step down to index 0,
 *   and then its entries are taken for new ones. But what was trimmed is
 *   committed, so the leader has it: we let the message begin at our snapshot.
 * - Trap N: a leader that offered a snapshot waits for just that one, or a newer
 *   one, and takes refusals for stale as soon as its own snapshot has moved on.
 *   A member that fetched on an earlier offer, and has an older one, would hear
 *   nothing for the 30 s of the library; so it is offered again after each
 *   election timeout (which costs a message: what is being fetched goes on).
 * - Trap D: with a threshold set (its callback API sets one), the library
 *   refuses every submit while a majority has less room than that. We set none:
 *   deletes must go on, and the store refuses what adds bytes. Room is told to
 *   the others, who lead when it is short (raft_transfer.c).
 * - Trap O: a candidate that does not win asks again with a new term at each
 *   timeout, without a pre-vote; we make it begin with one.
 * - Trap P: a leader whose snapshot stands at entry 1 takes that entry for one of
 *   its log, also when it is there no more. Whoever has nothing would get empty
 *   messages until the next snapshot: we offer this one (raft_group_send_offer).
 */
#include "common/raft/raft_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

static void raft_step_fail(struct raft_group *g, const char *what, int rv)
{
	fatal_abort("raft: group=%u %s failed: %s", g->id, what,
		    raft_strerror(rv));
}

/* Trap K: this store, if it is a stand-by that is asked for its vote. */
static struct raft_server *raft_step_asked(struct raft_group *g,
					   const struct raft_event *ev)
{
	struct raft_configuration *c = &g->r.configuration;

	if (ev->type != RAFT_RECEIVE ||
	    ev->receive.message->type != RAFT_REQUEST_VOTE)
		return NULL;
	for (unsigned i = 0; i < c->n; i++)
		if (c->servers[i].id == g->h->config.id)
			return c->servers[i].role == RAFT_STANDBY
				       ? &c->servers[i]
				       : NULL;
	return NULL;
}

/* Trap K: has a stand-by heard nothing of its leader for long enough? */
static void raft_step_forget(struct raft_group *g, struct raft_event *ev)
{
	if (env_now_ms(g->h->env) - g->heard_ms >= g->h->config.election_ms)
		ev->receive.message->request_vote.disrupt_leader = true;
}

/* One step. ents, bodies: what the event carries; n of them. */
static int raft_step_run(struct raft_group *g, struct raft_event *ev,
			 struct raft_entry *ents, unsigned n,
			 struct raft_body **bodies)
{
	struct raft_server *asked = raft_step_asked(g, ev);
	struct raft_update u;
	struct raft_body *own = NULL;
	void *own_batch = NULL;
	int rv;

	memset(&u, 0, sizeof u);
	if (rlog_reserve(&g->log, (uint64_t)n + 1) != 0)
		raft_step_fail(g, "memory", RAFT_NOMEM);
	ev->time = env_now_ms(g->h->env);
	ev->capacity = g->h->capacity; /* trap D */
	if (asked != NULL) {
		asked->role = RAFT_VOTER;
		raft_step_forget(g, ev);
	}
	rv = raft_step(&g->r, ev, &u);
	if (asked != NULL)
		asked->role = RAFT_STANDBY;
	if (rv != 0)
		return rv;
	if ((u.flags & RAFT_UPDATE_ENTRIES) != 0 && n > 0 &&
	    u.entries.batch >= ents && u.entries.batch < ents + n) {
		bodies += u.entries.batch - ents;
	} else if ((u.flags & RAFT_UPDATE_ENTRIES) != 0) {
		/* the library's own barrier */
		struct raft_entry *e = u.entries.batch;
		uint8_t *data = mem_dup(e->buf.base, e->buf.len);

		assert(u.entries.n == 1 && e->type == RAFT_BARRIER);
		own_batch = e->batch;
		own = data == NULL ? NULL
				   : raft_body_new(g, RAFT_BARRIER, data,
						   e->buf.len);
		if (own == NULL)
			raft_step_fail(g, "memory", RAFT_NOMEM);
		bodies = &own;
	}
	raft_group_effects(g, &u, bodies);
	raft_free(own_batch);
	return 0;
}

static void raft_step_must(struct raft_group *g, struct raft_event *ev,
			   const char *what)
{
	int rv = raft_step_run(g, ev, NULL, 0, NULL);

	if (rv != 0)
		raft_step_fail(g, what, rv);
}

/*
 * The rows stand for all entries up to index: the snapshot below the log.
 * False when nothing is below it.
 */
static bool raft_step_metadata(struct raft_group *g, uint64_t index,
			       uint64_t term,
			       struct raft_snapshot_metadata *ret)
{
	const struct rlog_conf *c = rlog_conf_at(&g->log, index);
	struct raft_buffer b;
	int rv;

	if (index == 0)
		return false;
	assert(c != NULL && term > 0);
	b = (struct raft_buffer){ c->bytes, c->len };
	rv = raft_configuration_decode(&b, &ret->configuration);
	if (rv != 0)
		raft_step_fail(g, "configuration", rv);
	ret->index = index;
	ret->term = term;
	ret->configuration_index = c->index;
	return true;
}

int raft_step_start(struct raft_group *g)
{
	struct raft_event ev = { .type = RAFT_START };
	struct raft_snapshot_metadata metadata;
	struct rlog *log = &g->log;
	struct raft_entry *ents = NULL;
	uint8_t *batch;
	size_t len = 8, at = 0;
	int rv;

	for (unsigned i = 0; i < log->n_confs; i++)
		len += (log->confs[i].len + 7) & ~(size_t)7;
	batch = raft_malloc(len);
	if (log->n > 0)
		ents = raft_calloc(log->n, sizeof *ents);
	if (batch == NULL || (log->n > 0 && ents == NULL))
		raft_step_fail(g, "memory", RAFT_NOMEM);
	for (uint64_t i = 0; i < log->n; i++) {
		unsigned type = rlog_type(&log->ents[i]);

		ents[i].term = log->ents[i].term;
		ents[i].type = type == 0 ? RAFT_BARRIER : type;
		ents[i].batch = batch;
	}
	for (unsigned i = 0; i < log->n_confs; i++) {
		const struct rlog_conf *c = &log->confs[i];
		struct raft_entry *e;

		if (c->index < log->first)
			continue; /* the metadata has it */
		e = &ents[c->index - log->first];
		memcpy(batch + at, c->bytes, c->len);
		e->buf = (struct raft_buffer){ batch + at, c->len };
		at += (c->len + 7) & ~(size_t)7;
	}
	ev.start.term = g->term;
	ev.start.voted_for = g->vote;
	if (raft_step_metadata(g, g->applied, g->applied_term, &metadata))
		ev.start.metadata = &metadata;
	ev.start.start_index = log->first;
	ev.start.entries = ents;
	ev.start.n_entries = (unsigned)log->n;
	rv = raft_step_run(g, &ev, NULL, 0, NULL);
	if (rv != 0)
		raft_step_fail(g, "start", rv);
	raft_free(batch);
	raft_free(ents);
	return 0;
}

/*
 * Raises the term by one: a vote is asked of us that we must refuse, by nobody.
 * Nothing is said to it.
 */
static void raft_step_bump(struct raft_group *g)
{
	struct raft_message m = { .type = RAFT_REQUEST_VOTE };
	struct raft_event ev = { .type = RAFT_RECEIVE };
	char nobody[] = "nobody";

	m.server_id = RAFT_NOBODY;
	m.server_address = nobody;
	m.request_vote = (struct raft_request_vote){
		.version = 2, .term = raft_current_term(&g->r) + 1,
		.candidate_id = RAFT_NOBODY, .disrupt_leader = true,
	};
	ev.receive.message = &m;
	raft_step_must(g, &ev, "bump");
	assert(raft_current_term(&g->r) == m.request_vote.term &&
	       raft_voted_for(&g->r) == 0);
	g->own_term = m.request_vote.term;
}

/* A sole voter may lead in the term it is in: nobody else can have. */
static bool raft_step_may_lead(struct raft_group *g)
{
	return g->own_term == raft_current_term(&g->r) && g->hard_pending == 0;
}

/*
 * Trap O. A store that was removed and has not heard of it would raise the term
 * of all others for ever, and one that has to take each as its own first (trap
 * J) would never lead.
 */
static void raft_step_calm(struct raft_group *g)
{
	if (raft_state(&g->r) != RAFT_CANDIDATE ||
	    env_now_ms(g->h->env) < raft_timeout(&g->r))
		return;
	g->r.candidate_state.in_pre_vote = true;
	g->r.candidate_state.disrupt_leader = false;
}

void raft_step_timeout(struct raft_group *g)
{
	struct raft_event ev = { .type = RAFT_TIMEOUT };

	/* trap J: the library would lead in the term of the last leader */
	if (g->sole_voter && raft_state(&g->r) == RAFT_FOLLOWER &&
	    !raft_step_may_lead(g)) {
		if (g->own_term != raft_current_term(&g->r))
			raft_step_bump(g);
		return;
	}
	raft_step_calm(g);
	raft_step_must(g, &ev, "timeout");
}

void raft_step_transfer(struct raft_group *g, uint64_t to)
{
	struct raft_event ev = { .type = RAFT_TRANSFER };

	ev.transfer.server_id = to;
	raft_step_must(g, &ev, "transfer");
}

void raft_step_persisted(struct raft_group *g, uint64_t index)
{
	struct raft_event ev = { .type = RAFT_PERSISTED_ENTRIES };

	if (g->installing || index <= g->r.last_stored)
		return;
	ev.persisted_entries.index = index;
	raft_step_must(g, &ev, "persisted");
}

/* Frees those that did not go to the log. */
static void raft_step_free_bodies(struct raft_body **bodies, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		raft_body_free(bodies[i]);
		bodies[i] = NULL;
	}
}

uint32_t raft_step_submit(struct raft_group *g, unsigned n)
{
	struct raft_event ev = { .type = RAFT_SUBMIT };
	struct raft_host *h = g->h;
	static char batch; /* only compared with NULL */
	int rv;

	for (unsigned i = 0; i < n; i++) {
		struct raft_body *b = h->step_bodies[i];

		h->step_ents[i] = (struct raft_entry){
			.term = raft_current_term(&g->r),
			.type = b->w.ap.flags,
			.buf = { b->data, b->len },
			.batch = &batch,
		};
	}
	ev.submit.entries = h->step_ents;
	ev.submit.n = n;
	rv = raft_step_run(g, &ev, h->step_ents, n, h->step_bodies);
	raft_step_free_bodies(h->step_bodies, n);
	switch (rv) {
	case 0:
		return RPC_STATUS_OK;
	case RAFT_NOTLEADER:
		return RPC_STATUS_NOT_LEADER;
	case RAFT_NOSPACE:
		return RPC_STATUS_NOSPC;
	case RAFT_CANTCHANGE:
		return RPC_STATUS_BUSY;
	default:
		raft_step_fail(g, "submit", rv);
		return RPC_STATUS_IO;
	}
}

/* Delivers m with the n entries prepared in the host; n may be 0. */
static void raft_step_deliver(struct raft_group *g, struct raft_message *m,
			      unsigned n)
{
	struct raft_event ev = { .type = RAFT_RECEIVE };
	struct raft_host *h = g->h;
	void *batch = NULL;
	int rv;

	if (n > 0) {
		batch = raft_malloc(8);
		if (batch == NULL)
			raft_step_fail(g, "memory", RAFT_NOMEM);
		for (unsigned i = 0; i < n; i++)
			h->step_ents[i].batch = batch;
	}
	if (m->type == RAFT_APPEND_ENTRIES) {
		m->append_entries.entries = n > 0 ? h->step_ents : NULL;
		m->append_entries.n_entries = n;
		if (n == 0) {
			g->beat_prev = m->append_entries.prev_log_index;
			g->beat_commit = m->append_entries.leader_commit;
		}
		g->stale_append = m->append_entries.term <
				  raft_current_term(&g->r);
	}
	ev.receive.message = m;
	rv = raft_step_run(g, &ev, h->step_ents, n, h->step_bodies);
	g->beat_prev = g->beat_commit = 0;
	g->stale_append = false;
	if (rv != 0)
		raft_step_fail(g, "receive", rv);
	/* a body that went to the log was NULLed: then the batch came back */
	for (unsigned i = 0; i < n; i++)
		if (h->step_bodies[i] == NULL) {
			raft_free(batch);
			break;
		}
	raft_step_free_bodies(h->step_bodies, n);
}

/* Copies the next entries of r; stops before the limits and before a
 * configuration that is not first. Returns how many, 0 when out of memory. */
static unsigned raft_step_collect(struct raft_group *g, struct wire_reader *r,
				  uint32_t left)
{
	struct raft_host *h = g->h;
	unsigned n = 0;

	while (n < RAFT_BATCH && n < left) {
		struct wire_reader at = *r;
		struct raft_wire_entry e;
		struct raft_body *b;
		uint8_t *data;

		raft_wire_entry_get(r, &e);
		if (e.type == RAFT_CHANGE && n > 0) {
			*r = at;
			break;
		}
		data = mem_dup(e.data.p, e.data.len);
		b = data == NULL ? NULL
				 : raft_body_new(g, e.type, data, e.data.len);
		if (b == NULL) {
			raft_step_free_bodies(h->step_bodies, n);
			return 0;
		}
		h->step_bodies[n] = b;
		h->step_ents[n++] = (struct raft_entry){
			.term = e.term,
			.type = e.type,
			.buf = { b->data, b->len },
		};
	}
	return n;
}

bool raft_step_has(struct raft_group *g, uint64_t index, uint64_t term)
{
	const struct rlog_ent *e = rlog_at(&g->log, index);

	return e != NULL && e->term == term;
}

/* Trap I; the first of the prepared entries is a configuration. */
static void raft_step_settle(struct raft_group *g,
			     const struct raft_append_entries *ae)
{
	uint64_t open = g->r.configuration_uncommitted_index;
	uint64_t index = ae->prev_log_index + 1;

	if (open == 0 || open >= index ||
	    ae->term < raft_current_term(&g->r) ||
	    !raft_step_has(g, index - 1, ae->prev_log_term) ||
	    raft_step_has(g, index, g->h->step_ents[0].term))
		return;
	raft_step_configuration(g, open);
}

/* Trap M; *left entries are in r. */
static void raft_step_raise(struct raft_group *g,
			    struct raft_append_entries *ae,
			    struct wire_reader *r, uint32_t *left)
{
	const struct raft_trail *t = &g->r.trail;
	struct raft_wire_entry e;

	if (ae->term < raft_current_term(&g->r) || t->offset == 0 ||
	    ae->prev_log_index > t->offset ||
	    ae->prev_log_index >= t->snapshot.index)
		return;
	for (; *left > 0 && ae->prev_log_index < t->snapshot.index; (*left)--) {
		raft_wire_entry_get(r, &e);
		ae->prev_log_index++;
	}
	ae->prev_log_index = t->snapshot.index;
	ae->prev_log_term = t->snapshot.term;
}

static void raft_step_append(struct raft_group *g, struct raft_message *m,
			     struct wire_bytes entries)
{
	struct raft_append_entries *ae = &m->append_entries;
	uint32_t left;
	struct wire_reader r = wire_vec_reader(entries, &left);

	raft_step_raise(g, ae, &r, &left);

	if (left == 0) {
		raft_step_deliver(g, m, 0);
		return;
	}
	while (left > 0) {
		struct raft_message piece = *m;
		unsigned n = raft_step_collect(g, &r, left);

		if (n == 0)
			return; /* no memory: as if lost */
		if (g->h->step_ents[0].type == RAFT_CHANGE)
			raft_step_settle(g, &piece.append_entries);
		ae->prev_log_index += n;
		ae->prev_log_term = g->h->step_ents[n - 1].term;
		left -= n;
		raft_step_deliver(g, &piece, n);
	}
}

/*
 * What the library would assert, or answer from uninitialised memory, about a
 * message that is well-formed but cannot come from a correct peer now.
 */
static bool raft_step_sane(struct raft_group *g, const struct raft_message *m)
{
	const struct raft_request_vote_result *v = &m->request_vote_result;
	raft_index match = 0;

	switch (m->type) {
	case RAFT_APPEND_ENTRIES:
		return raft_state(&g->r) != RAFT_LEADER ||
		       m->append_entries.term != raft_current_term(&g->r);
	case RAFT_REQUEST_VOTE:
		return m->request_vote.candidate_id == m->server_id;
	case RAFT_REQUEST_VOTE_RESULT:
		/* it reads in_pre_vote before it looks at its state */
		if (raft_state(&g->r) != RAFT_CANDIDATE)
			return false;
		return !(v->pre_vote && v->vote_granted &&
			 v->term > raft_current_term(&g->r) + 1);
	case RAFT_APPEND_ENTRIES_RESULT:
		/* of a higher term: its index means nothing, its term does */
		if (m->append_entries_result.term != raft_current_term(&g->r) ||
		    raft_match_index(&g->r, m->server_id, &match) != 0)
			return true;
		return m->append_entries_result.rejected == 0 ||
		       m->append_entries_result.last_log_index >= match;
	case RAFT_TIMEOUT_NOW:
		return !g->sole_voter; /* trap J */
	case RAFT_INSTALL_SNAPSHOT:
		/* of other terms: AppendEntries tells and is told */
		return raft_state(&g->r) != RAFT_LEADER &&
		       m->install_snapshot.term == raft_current_term(&g->r);
	}
	return false;
}

/* See raft_install.c; the library only hears of it when we lack nothing. */
static void raft_step_offer(struct raft_group *g, struct raft_message *m)
{
	const struct raft_install_snapshot *s = &m->install_snapshot;

	if (g->installing)
		return;
	if (g->applied >= s->last_index ||
	    raft_step_has(g, s->last_index, s->last_term))
		raft_step_deliver(g, m, 0);
	else
		raft_install_lags(g, m->server_id);
}

void raft_step_receive(struct raft_group *g, struct raft_message *m,
		       const struct raft_extra *x)
{
	if (!raft_step_sane(g, m))
		return;
	/*
	 * A process that lost its memory may have told an old leader, which
	 * reads under a lease, that it will not vote for another one yet.
	 */
	if ((m->type == RAFT_REQUEST_VOTE || m->type == RAFT_TIMEOUT_NOW) &&
	    env_now_ms(g->h->env) < g->quarantine)
		return;
	if (m->type == RAFT_APPEND_ENTRIES) {
		raft_lease_heard(g, m->server_id, m->append_entries.term,
				 x->stamp);
		raft_step_append(g, m, x->entries);
		return;
	}
	if (m->type == RAFT_APPEND_ENTRIES_RESULT)
		raft_lease_acked(g, m->server_id, &m->append_entries_result,
				 x);
	if (m->type == RAFT_TIMEOUT_NOW)
		g->disrupt_term = m->timeout_now.term + 1;
	if (m->type == RAFT_INSTALL_SNAPSHOT)
		raft_step_offer(g, m);
	else
		raft_step_deliver(g, m, 0);
}

void raft_step_install(struct raft_group *g, const struct raft_base *s)
{
	struct raft_message m = { .type = RAFT_INSTALL_SNAPSHOT };
	struct raft_event ev = { .type = RAFT_RECEIVE };
	struct raft_buffer b = { (void *)(uintptr_t)s->conf.p, s->conf.len };
	int rv;

	m.server_id = g->r.follower_state.current_leader.id;
	m.server_address = g->r.follower_state.current_leader.address;
	m.install_snapshot.term = raft_current_term(&g->r);
	m.install_snapshot.last_index = s->index;
	m.install_snapshot.last_term = s->term;
	m.install_snapshot.conf_index = s->conf_index;
	rv = raft_configuration_decode(&b, &m.install_snapshot.conf);
	if (rv != 0)
		raft_step_fail(g, "configuration", rv);
	ev.receive.message = &m;
	g->base = s;
	raft_step_must(g, &ev, "install");
	g->base = NULL;
}

void raft_step_installed(struct raft_group *g, uint64_t index, uint64_t term)
{
	struct raft_event ev = { .type = RAFT_PERSISTED_SNAPSHOT };

	(void)raft_step_metadata(g, index, term,
				 &ev.persisted_snapshot.metadata);
	ev.persisted_snapshot.last = true;
	raft_step_must(g, &ev, "installed");
}

void raft_step_configuration(struct raft_group *g, uint64_t index)
{
	struct raft_event ev = { .type = RAFT_CONFIGURATION };
	const struct rlog_conf *c = rlog_conf_at(&g->log, index);
	struct raft_buffer b;
	int rv;

	assert(c != NULL && c->index == index);
	b = (struct raft_buffer){ c->bytes, c->len };
	rv = raft_configuration_decode(&b, &ev.configuration.conf);
	if (rv != 0)
		raft_step_fail(g, "configuration", rv);
	ev.configuration.index = index;
	raft_step_must(g, &ev, "configuration");
}

void raft_step_snapshot(struct raft_group *g, uint64_t index, uint64_t first)
{
	struct raft_event ev = { .type = RAFT_SNAPSHOT };
	struct rlog_ent *e = rlog_at(&g->log, index);

	/* one that was installed may be newer, or this one */
	if (index < g->r.trail.snapshot.index || e == NULL)
		return;
	/* the library wants each once; with less behind it it is another one */
	if (index == g->r.trail.snapshot.index)
		g->r.trail.snapshot.index--;
	(void)raft_step_metadata(g, index, e->term, &ev.snapshot.metadata);
	ev.snapshot.trailing = (unsigned)(index + 1 - first);
	raft_step_must(g, &ev, "snapshot");
}
