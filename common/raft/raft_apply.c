/*
 * Submits, barriers, applying: what a group does in a turn.
 *
 *   submit -> batch of the turn -> log -> durable, committed -> apply
 *   barrier -> index of the turn's last entry, or a barrier entry of its own,
 *              shared by all that wait -> applied here -> done
 *
 * Failure modes: not the leader: failed(NOT_LEADER), the entry was never in a
 * log. Leadership lost while in the log: failed(UNKNOWN_OUTCOME), and apply()
 * will not see that submit. An entry that cannot be read back or applied stops
 * the process: it is never skipped.
 */
#include "common/raft/raft_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

static void raft_fail_list(struct raft_submit *s, uint32_t status)
{
	while (s != NULL) {
		struct raft_submit *next = s->next;

		buf_fini(&s->data);
		s->failed(s, status);
		s = next;
	}
}

static void raft_done_list(struct raft_barrier *b, uint32_t status)
{
	while (b != NULL) {
		struct raft_barrier *next = b->next;

		b->done(b, status);
		b = next;
	}
}

static struct raft_submit *raft_take_subs(struct raft_submit **head,
					  struct raft_submit ***tail)
{
	struct raft_submit *s = *head;

	*head = NULL;
	*tail = head;
	return s;
}

static struct raft_barrier *raft_take_bars(struct raft_barrier **head,
					   struct raft_barrier ***tail)
{
	struct raft_barrier *b = *head;

	*head = NULL;
	*tail = head;
	return b;
}

void raft_group_fail_all(struct raft_group *g, uint32_t status)
{
	struct raft_submit *pend = raft_take_subs(&g->pend, &g->pend_tail);
	struct raft_submit *subs = raft_take_subs(&g->subs, &g->subs_tail);
	struct raft_barrier *waits = raft_take_bars(&g->waits,
						    &g->waits_tail);
	struct raft_barrier *bars = raft_take_bars(&g->bars, &g->bars_tail);

	raft_fail_list(pend, RPC_STATUS_UNKNOWN_OUTCOME);
	raft_fail_list(subs, status);
	raft_done_list(waits, status);
	raft_done_list(bars, status);
	raft_change_fail(g, status);
}

/* --- proposals --- */

void raft_submit(struct raft_group *g, struct raft_submit *s)
{
	s->next = NULL;
	s->index = s->term = 0;
	*g->subs_tail = s;
	g->subs_tail = &s->next;
	raft_host_dirty(g->h, g);
}

void raft_group_barrier(struct raft_group *g, struct raft_barrier *b)
{
	b->next = NULL;
	b->index = b->term = 0;
	*g->bars_tail = b;
	g->bars_tail = &b->next;
	raft_host_dirty(g->h, g);
}

void raft_group_resume(struct raft_group *g)
{
	g->parked = false;
	raft_host_dirty(g->h, g);
}

/* Adds a barrier entry to the batch; false when out of memory. */
static bool raft_batch_barrier(struct raft_group *g, unsigned *n)
{
	uint8_t *data = mem_zalloc(8);
	struct raft_body *b = data == NULL ? NULL
					   : raft_body_new(g, RAFT_BARRIER,
							   data, 8);

	if (b == NULL)
		return false;
	g->h->step_bodies[(*n)++] = b;
	return true;
}

/*
 * Entries may be loose where nobody else can have seen them: not before it is
 * durable who is a member, nor once somebody may become one.
 */
static bool raft_group_is_alone(const struct raft_group *g)
{
	if (RAFT_MUTATES(LOOSE_QUORUM))
		return true;
	if (RAFT_MUTATES(JOIN_SOON))
		return g->one_voter;
	return g->one_voter && g->change == NULL && raft_group_settled(g);
}

/* Takes s->data into the batch. 0 or a status to fail s with. */
static uint32_t raft_batch_submit(struct raft_group *g, struct raft_submit *s,
				  unsigned *n)
{
	struct raft_body *b;
	uint8_t *data;
	size_t len;

	if (s->data.err != 0)
		return RPC_STATUS_NOMEM;
	if (s->data.len > RAFT_ENTRY_MAX)
		return RPC_STATUS_FBIG;
	data = buf_take(&s->data, &len);
	b = raft_body_new(g, RAFT_COMMAND, data, len);
	if (b == NULL)
		return RPC_STATUS_NOMEM;
	b->w.ap.loose = s->loose && raft_group_is_alone(g);
	g->h->step_bodies[(*n)++] = b;
	return 0;
}

/* The first submits of the queue, moved to *ret_batch; those that cannot be
 * entries fail. */
static unsigned raft_batch_fill(struct raft_group *g, unsigned n,
				struct raft_submit **ret_batch)
{
	struct raft_submit **tail = ret_batch;

	*ret_batch = NULL;
	while (n < RAFT_BATCH && g->subs != NULL) {
		struct raft_submit *s = g->subs;
		uint32_t status;

		g->subs = s->next;
		if (g->subs == NULL)
			g->subs_tail = &g->subs;
		s->next = NULL;
		status = raft_batch_submit(g, s, &n);
		if (status != 0) {
			raft_fail_list(s, status);
			continue;
		}
		*tail = s;
		tail = &s->next;
	}
	return n;
}

/* The batch is in the log at index, ..., last. */
static void raft_batch_logged(struct raft_group *g, struct raft_submit *batch,
			      uint64_t index)
{
	while (batch != NULL) {
		struct raft_submit *s = batch;

		batch = s->next;
		s->next = NULL;
		s->index = index++;
		s->term = g->lead_term;
		*g->pend_tail = s;
		g->pend_tail = &s->next;
	}
	assert(index == rlog_last(&g->log) + 1);
}

/*
 * Barriers queued before this point are answered by any entry appended after
 * it. One entry of its own at most is under way for them.
 */
static void raft_bars_assign(struct raft_group *g)
{
	struct raft_barrier *b = raft_take_bars(&g->bars, &g->bars_tail);

	while (b != NULL) {
		struct raft_barrier *next = b->next;

		b->next = NULL;
		b->index = rlog_last(&g->log);
		b->term = g->lead_term;
		*g->waits_tail = b;
		g->waits_tail = &b->next;
		b = next;
	}
}

/* Proposes up to a batch of what is queued. */
static void raft_group_propose(struct raft_group *g)
{
	struct raft_submit *batch;
	uint64_t last = rlog_last(&g->log);
	unsigned n = 0, first;
	uint32_t status;

	/* millions of entries are a large block: it may be refused */
	if (g->subs != NULL && rlog_reserve(&g->log, RAFT_BATCH + 1) != 0) {
		raft_fail_list(raft_take_subs(&g->subs, &g->subs_tail),
			       RPC_STATUS_NOMEM);
		return;
	}
	if (g->lead_term != 0 && g->lead_index == 0) {
		/* an entry of the own term: reads and changes need it */
		if (!raft_batch_barrier(g, &n))
			return;
	}
	first = n;
	n = raft_batch_fill(g, n, &batch);
	if (n == 0 && g->bars != NULL && g->waits == NULL &&
	    !raft_group_can_read(g) && !raft_batch_barrier(g, &n))
		return;
	if (n == 0 && raft_change_wants_firm(g) && !raft_batch_barrier(g, &n))
		return;
	if (n == 0)
		return;
	status = raft_step_submit(g, n);
	if (status != RPC_STATUS_OK) {
		raft_fail_list(batch, status);
		return;
	}
	if (g->lead_index == 0)
		g->lead_index = last + 1;
	raft_batch_logged(g, batch,
			  batch != NULL ? last + 1 + first
					: rlog_last(&g->log) + 1);
	raft_bars_assign(g);
}

/* --- applying --- */

static struct raft_submit *raft_pend_pop(struct raft_group *g, uint64_t index,
					 uint64_t term)
{
	struct raft_submit *s = g->pend;

	if (s == NULL || s->index != index || s->term != term)
		return NULL;
	g->pend = s->next;
	if (g->pend == NULL)
		g->pend_tail = &g->pend;
	s->next = NULL;
	return s;
}

static void raft_pend_unpop(struct raft_group *g, struct raft_submit *s)
{
	s->next = g->pend;
	if (g->pend == NULL)
		g->pend_tail = &s->next;
	g->pend = s;
}

/* 0 or -EAGAIN. */
static int raft_apply_command(struct raft_group *g, uint64_t index,
			      const struct rlog_ent *e)
{
	struct raft_host *h = g->h;
	struct raft_cmd cmd = { .index = index, .term = e->term };
	struct wire_bytes data;
	int rv = raft_log_read(g, index, &data);

	if (rv != 0)
		fatal_abort("raft: group=%u entry %llu cannot be read: %s",
			    g->id, (unsigned long long)index, strerror(-rv));
	cmd.data = data.p;
	cmd.len = data.len;
	if ((e->info & RLOG_MEM) != 0) {
		cmd.gen = e->u.body->w.ap.pos.gen;
		cmd.data_off = e->u.body->w.ap.body_off;
	} else {
		cmd.gen = e->u.gen;
		cmd.data_off = e->off;
	}
	cmd.submit = raft_pend_pop(g, index, e->term);
	rv = h->config.apply(h->config.arg, g, &cmd);
	if (rv == -EAGAIN) {
		if (cmd.submit != NULL)
			raft_pend_unpop(g, cmd.submit);
		return rv;
	}
	if (rv != 0)
		fatal_abort("raft: group=%u entry %llu cannot be applied: %s",
			    g->id, (unsigned long long)index, strerror(-rv));
	return 0;
}

/* The owner's applied index moves over an entry that is no command. */
static void raft_apply_passed(struct raft_group *g, uint64_t index,
			      uint64_t term)
{
	struct raft_host *h = g->h;
	struct raft_passed p = { .index = index, .term = term };
	const struct rlog_conf *c = rlog_conf_at(&g->log, index);
	int rv;

	if (h->config.passed == NULL)
		return;
	if (c != NULL && c->index == index)
		p.conf = wire_bytes(c->bytes, c->len);
	rv = h->config.passed(h->config.arg, g, &p);
	if (rv != 0)
		fatal_abort("raft: group=%u entry %llu cannot be passed: %s",
			    g->id, (unsigned long long)index, strerror(-rv));
}

/* Applies what is committed and durable here; true: there is more. */
static bool raft_group_apply(struct raft_group *g)
{
	for (unsigned budget = RAFT_APPLY_BUDGET; budget > 0; budget--) {
		uint64_t index = g->applied + 1;
		struct rlog_ent *e;

		if (g->parked || g->installing || index > g->commit ||
		    (index > g->stored &&
		     !RAFT_MUTATES(APPLY_SOON)))
			return false;
		e = rlog_at(&g->log, index);
		switch (rlog_type(e)) {
		case RAFT_COMMAND:
			/* resume() may come inside */
			g->parked = g->halfway = true;
			if (raft_apply_command(g, index, e) != 0)
				return !g->parked;
			g->parked = g->halfway = false;
			break;
		case RAFT_CHANGE:
			raft_step_configuration(g, index);
			raft_apply_passed(g, index, e->term);
			break;
		default:
			raft_apply_passed(g, index, e->term);
			break;
		}
		g->applied = index;
		g->h->passed++;
		raft_log_applied(g, index);
	}
	return !g->parked && g->applied < g->commit && g->applied < g->stored;
}

static void raft_group_answer_bars(struct raft_group *g)
{
	while (g->waits != NULL && g->waits->index <= g->applied) {
		struct raft_barrier *b = g->waits;

		g->waits = b->next;
		if (g->waits == NULL)
			g->waits_tail = &g->waits;
		b->done(b, RPC_STATUS_OK);
	}
	if (g->bars != NULL && raft_group_can_read(g))
		raft_done_list(raft_take_bars(&g->bars, &g->bars_tail),
			       RPC_STATUS_OK);
}

static void raft_group_tell_role(struct raft_group *g)
{
	struct raft_host *h = g->h;

	if (g->lead_term != 0 && g->lead_index != 0 &&
	    g->applied >= g->lead_index)
		g->leading = true;
	if (g->told == g->leading)
		return;
	g->told = g->leading;
	if (h->config.role != NULL)
		h->config.role(h->config.arg, g, g->told);
}

/* What the end of a leadership, or no leadership, ends. */
static void raft_group_not_leader(struct raft_group *g)
{
	if (g->stepped_down) {
		g->stepped_down = false;
		if (g->told) {
			/* even when it leads again: reads must stop between */
			g->told = false;
			if (g->h->config.role != NULL)
				g->h->config.role(g->h->config.arg, g, false);
		}
		raft_fail_list(raft_take_subs(&g->pend, &g->pend_tail),
			       RPC_STATUS_UNKNOWN_OUTCOME);
		raft_done_list(raft_take_bars(&g->waits, &g->waits_tail),
			       RPC_STATUS_NOT_LEADER);
	}
	if (g->lead_term == 0 || raft_group_in_transfer(g)) {
		raft_fail_list(raft_take_subs(&g->subs, &g->subs_tail),
			       RPC_STATUS_NOT_LEADER);
		raft_done_list(raft_take_bars(&g->bars, &g->bars_tail),
			       RPC_STATUS_NOT_LEADER);
	}
}

void raft_group_work(struct raft_group *g)
{
	bool more;

	raft_group_open_gate(g);
	if (g->state == RAFT_GROUP_STARTING && g->hard_pending == 0 &&
	    g->stored == rlog_last(&g->log)) {
		g->state = RAFT_GROUP_RUNNING;
		(void)raft_step_start(g); /* stops the process when it fails */
		if (!g->one_voter)
			g->quarantine = env_now_ms(g->h->env) +
					g->h->config.election_ms;
	}
	if (!raft_install_step(g) || g->state != RAFT_GROUP_RUNNING)
		return;
	raft_step_persisted(g, g->stored);
	raft_change_refuse(g);
	raft_change_step(g);
	raft_transfer_step(g);
	raft_group_not_leader(g);
	raft_group_propose(g);
	more = raft_group_apply(g);
	raft_group_tell_role(g);
	raft_group_answer_bars(g);
	raft_change_step(g);
	if (more || g->subs != NULL || g->stepped_down ||
	    (g->bars != NULL && g->waits == NULL))
		raft_host_dirty(g->h, g);
}

/* --- queries --- */

bool raft_group_is_leader(const struct raft_group *g)
{
	return g->leading;
}

uint64_t raft_group_leader(const struct raft_group *g)
{
	const struct raft *r = &g->r;

	if (g->state != RAFT_GROUP_RUNNING)
		return 0;
	if (r->state == RAFT_LEADER)
		return g->transfer_to != 0	? g->transfer_to
		       : raft_transferee(r) != 0 ? raft_transferee(r)
						 : g->h->config.id;
	return r->state == RAFT_FOLLOWER ? r->follower_state.current_leader.id
					 : 0;
}

uint64_t raft_group_applied(const struct raft_group *g)
{
	return g->applied;
}

uint64_t raft_group_commit(const struct raft_group *g)
{
	return g->commit;
}

uint64_t raft_group_term(const struct raft_group *g)
{
	return g->term;
}

bool raft_group_idle(const struct raft_group *g)
{
	return g->subs == NULL && g->applied == rlog_last(&g->log);
}

uint16_t raft_group_id(const struct raft_group *g)
{
	return g->id;
}

void *raft_group_user(const struct raft_group *g)
{
	return g->user;
}
