/*
 * Effects of a step.
 *
 * Happy path: term or vote -> HARD record, gate closed; entries -> records;
 * messages -> the peer's frame, or the gate while a HARD record is on its way;
 * gate opens when the last of them is durable.
 *
 * A change of the configuration that this store proposed closes the gate, too:
 * were it lost here and known to the others, one that it takes the vote from
 * would have more than this store, and could not stand itself; with two voters
 * nobody could be elected.
 *
 * Failure modes: a message that finds no memory is lost together with its
 * link's session, as a broken connection would.
 *
 * Cures live here, where messages are encoded (all found by simulation):
 * - Stall A: a leader that probes with the right index gets successes that do
 *   not move it and never sends the entries again. A follower that got the
 *   same empty AppendEntries three times, although the leader has committed
 *   more, rejects the next index, which makes the leader send. (Not at once:
 *   to a leader with a full window the success is the news it waits for.)
 * - Stall B: a refused pre-vote answer carries the candidate's term, so a
 *   candidate with the longest log and a lower term never learns the higher
 *   one. We put ours in.
 * - Trap H: the answer to an AppendEntries of an older term has an index from
 *   uninitialised memory and, when the previous index was 0, looks like a
 *   success. A node that leads in our term by then would count it as a copy.
 *   We always reject.
 */
#include "common/raft/raft_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

#define RAFT_GATE_MAX (64u << 20)
#define RAFT_STALL_BEATS 3

/* --- hard state --- */

static void raft_hard_written(struct seg_append *ap)
{
	struct raft_write *w = CONTAINER_OF(ap, struct raft_write, ap);
	struct raft_group *g = w->g;

	TAILQ_REMOVE(&g->h->writes, w, link);
	raft_host_seen(g->h, ap->pos.gen);
	raft_host_set_hard(g->h, g, ap->a, ap->b);
	mem_free(w);
	assert(g->hard_pending > 0);
	g->hard_pending--;
	if (g->hard_pending == 0)
		raft_host_dirty(g->h, g);
}

void raft_group_hard(struct raft_group *g, uint64_t term, uint64_t vote)
{
	struct raft_host *h = g->h;
	struct raft_write *w = mem_zalloc(sizeof *w);

	if (w == NULL)
		fatal_abort("raft: out of memory for a vote");
	g->term = term;
	g->vote = vote;
	w->g = g;
	w->in_flight = true;
	w->ap.type = SEG_HARD;
	w->ap.group = g->id;
	w->ap.a = term;
	w->ap.b = vote;
	w->ap.done = raft_hard_written;
	TAILQ_INSERT_TAIL(&h->writes, w, link);
	g->hard_pending++;
	seg_append(h->port, &w->ap);
	h->appended = true;
	raft_host_post_turn(h);
}

/* --- messages --- */

/* In the gate: peer, length, type in host order; never leaves the process. */
struct raft_gated {
	uint64_t to;
	uint32_t len;
	uint8_t type;
};

static bool raft_group_gated(const struct raft_group *g)
{
	uint64_t last = rlog_last(&g->log);

	return g->hard_pending > 0 ||
	       (g->gate_index > g->stored && g->gate_index <= last);
}

static void raft_group_put(struct raft_group *g, uint64_t to, uint8_t type,
			   struct wire_bytes msg)
{
	struct raft_gated gated = { to, (uint32_t)msg.len, type };

	if (!raft_group_gated(g) && g->gate.len == 0) {
		raft_peer_put(g->h, to, g->id, type, msg);
		return;
	}
	/* beyond its limit messages are lost, which raft allows */
	if (buf_reserve(&g->gate, sizeof gated + msg.len) == NULL) {
		g->gate.err = 0;
		return;
	}
	buf_add(&g->gate, &gated, sizeof gated);
	buf_add(&g->gate, msg.p, msg.len);
}

void raft_group_open_gate(struct raft_group *g)
{
	size_t at = 0;

	if (g->gate.len == 0 || raft_group_gated(g))
		return;
	while (at < g->gate.len) {
		struct raft_gated gated;

		memcpy(&gated, g->gate.data + at, sizeof gated);
		at += sizeof gated;
		raft_peer_put(g->h, gated.to, g->id, gated.type,
			      wire_bytes(g->gate.data + at, gated.len));
		at += gated.len;
	}
	/* big ones are rare, do not keep their memory */
	buf_fini(&g->gate);
	buf_init(&g->gate, RAFT_GATE_MAX);
}

/* Encodes entries [from, last] until the frame size; false: cannot be sent. */
static bool raft_group_collect(struct raft_group *g, uint64_t from,
			       uint64_t last, struct wire_vec *v,
			       uint64_t *ret_next)
{
	uint64_t i = from;

	while (i <= last && v->buf.len < RAFT_FRAME_BYTES) {
		struct rlog_ent *e = rlog_at(&g->log, i);
		struct raft_wire_entry w;

		if (e == NULL || rlog_type(e) == 0 ||
		    raft_log_read(g, i, &w.data) != 0)
			return false;
		w.term = e->term;
		w.type = (uint8_t)rlog_type(e);
		/* a large one goes in a message of its own */
		if (i > from &&
		    v->buf.len + w.data.len > 2 * RAFT_FRAME_BYTES)
			break;
		raft_wire_entry_put(v, &w);
		i++;
	}
	*ret_next = i;
	return v->buf.err == 0;
}

/*
 * The library says which entries; we cut them into messages of bounded size,
 * which a follower cannot tell from messages the library sent one by one.
 */
static void raft_group_send_append(struct raft_group *g, uint64_t to,
				   const struct raft_append_entries *m)
{
	struct buf *out = &g->h->scratch;
	uint64_t last = m->prev_log_index + m->n_entries;
	struct raft_wire_append w = {
		.version = m->version,
		.term = m->term,
		.prev_index = m->prev_log_index,
		.prev_term = m->prev_log_term,
		.commit = m->leader_commit,
		.stamp = env_now_ns(g->h->env),
	};

	do {
		struct wire_vec v;
		uint64_t next = w.prev_index + 1;

		wire_vec_init(&v);
		buf_reset(out);
		if (w.prev_index < last &&
		    !raft_group_collect(g, w.prev_index + 1, last, &v, &next)) {
			wire_vec_fini(&v);
			return;
		}
		w.entries = wire_vec_bytes(&v);
		if (raft_wire_append_encode(&w, out) == 0)
			raft_group_put(g, to, RAFT_APPEND_ENTRIES,
				       wire_bytes(out->data, out->len));
		wire_vec_fini(&v);
		w.prev_index = next - 1;
		if (w.prev_index < last)
			w.prev_term = rlog_at(&g->log, w.prev_index)->term;
	} while (w.prev_index < last);
}

/* True when the leader seems not to know what to send (stall A). */
static bool raft_group_stalled(struct raft_group *g)
{
	if (g->beat_prev == 0 || g->beat_commit <= g->beat_prev)
		return false;
	if (g->beat_last != g->beat_prev) {
		g->beat_last = g->beat_prev;
		g->beat_same = 0;
	}
	if (++g->beat_same < RAFT_STALL_BEATS)
		return false;
	g->beat_same = 0;
	return true;
}

/*
 * Trap P: a message from the very beginning, where the first entry is in our log
 * no more. The library would have offered its snapshot, but for its index, 1.
 */
static void raft_group_send_offer(struct raft_group *g, uint64_t to,
				  const struct raft_append_entries *ae)
{
	struct raft_message m = { .type = RAFT_INSTALL_SNAPSHOT };
	struct raft_extra none = { .stamp = 0 };
	struct buf *out = &g->h->scratch;

	if (ae->prev_log_index > 0 || g->r.trail.offset == 0)
		return;
	m.install_snapshot.term = ae->term;
	m.install_snapshot.last_index = g->r.trail.snapshot.index;
	m.install_snapshot.last_term = g->r.trail.snapshot.term;
	buf_reset(out);
	if (raft_msg_encode(&m, &none, out) == 0)
		raft_group_put(g, to, RAFT_INSTALL_SNAPSHOT,
			       wire_bytes(out->data, out->len));
}

static void raft_group_send(struct raft_group *g, const struct raft_message *in)
{
	struct raft_message m = *in;
	struct raft_request_vote *q = &m.request_vote;
	struct raft_request_vote_result *v = &m.request_vote_result;
	struct raft_append_entries_result *a = &m.append_entries_result;
	struct raft_extra x = { .stamp = 0 };
	struct buf *out = &g->h->scratch;

	if (m.server_id == RAFT_NOBODY)
		return; /* raft_step_bump() */
	if (m.type == RAFT_APPEND_ENTRIES) {
		raft_group_send_append(g, m.server_id, &m.append_entries);
		raft_group_send_offer(g, m.server_id, &m.append_entries);
		return;
	}
	if (m.type == RAFT_REQUEST_VOTE_RESULT && v->pre_vote &&
	    !v->vote_granted && raft_current_term(&g->r) > v->term)
		v->term = raft_current_term(&g->r); /* stall B */
	if (m.type == RAFT_APPEND_ENTRIES_RESULT && a->rejected == 0 &&
	    a->last_log_index == g->beat_prev && raft_group_stalled(g))
		a->rejected = g->beat_prev + 1; /* stall A */
	if (m.type == RAFT_APPEND_ENTRIES_RESULT && g->stale_append) {
		if (a->rejected == 0)
			a->rejected = 1;
		a->last_log_index = a->rejected - 1; /* trap H */
	}
	if (m.type == RAFT_APPEND_ENTRIES_RESULT) {
		x.stamp = raft_lease_echo(g, m.server_id, a->term);
		x.applied = g->applied;
		x.busy = g->installing || g->stored < rlog_last(&g->log);
	}
	if (m.type == RAFT_TIMEOUT_NOW)
		raft_lease_told(g, m.server_id);
	if (m.type == RAFT_REQUEST_VOTE && q->term != g->disrupt_term)
		q->disrupt_leader = false;
	buf_reset(out);
	if (raft_msg_encode(&m, &x, out) == 0)
		raft_group_put(g, m.server_id, (uint8_t)m.type,
			       wire_bytes(out->data, out->len));
}

/* --- state --- */

void raft_group_look(struct raft_group *g, const struct raft_configuration *c)
{
	unsigned voters = 0;
	bool self = false;

	for (unsigned i = 0; i < c->n; i++)
		if (c->servers[i].role == RAFT_VOTER) {
			voters++;
			if (c->servers[i].id == g->h->config.id)
				self = true;
		}
	g->n_voters = voters;
	g->voter = self;
	g->sole_voter = self && voters == 1;
	g->one_voter = g->sole_voter && c->n == 1;
}

bool raft_group_votes(const struct raft_group *g, uint64_t id)
{
	const struct raft_configuration *c = &g->r.configuration;

	for (unsigned i = 0; i < c->n; i++)
		if (c->servers[i].id == id)
			return c->servers[i].role == RAFT_VOTER;
	return false;
}

/* Entries of the update go to the log; the first of a new term is noted. */
static void raft_group_append(struct raft_group *g, const struct raft_update *u,
			      struct raft_body **bodies)
{
	if (u->entries.index <= g->applied ||
	    u->entries.index > rlog_last(&g->log) + 1)
		fatal_abort("raft: group=%u entry %llu does not follow, "
			    "applied=%llu last=%llu", g->id,
			    (unsigned long long)u->entries.index,
			    (unsigned long long)g->applied,
			    (unsigned long long)rlog_last(&g->log));
	if (u->entries.index <= rlog_last(&g->log)) {
		raft_group_cut(g, u->entries.index);
		raft_log_truncate(g, u->entries.index);
	}
	for (unsigned i = 0; i < u->entries.n; i++) {
		if (bodies[i]->w.ap.flags == RAFT_CHANGE && g->lead_term != 0)
			g->gate_index = u->entries.index + i;
		raft_log_append(g, bodies[i], u->entries.batch[i].term);
		bodies[i] = NULL;
	}
}

static void raft_group_roles(struct raft_group *g)
{
	bool lead = raft_state(&g->r) == RAFT_LEADER;
	uint64_t term = raft_current_term(&g->r);

	if (g->lead_term != 0 && (!lead || g->lead_term != term)) {
		g->lead_term = 0;
		g->lead_index = 0;
		g->leading = false;
		g->stepped_down = true;
	}
	if (lead && g->lead_term == 0) {
		struct rlog_ent *e = rlog_at(&g->log, rlog_last(&g->log));

		g->lead_term = term;
		/* the barrier of the library, if it saw a need for one */
		if (e != NULL && e->term == term)
			g->lead_index = rlog_last(&g->log);
	}
}

static void raft_group_snapshot(struct raft_group *g,
				const struct raft_update *u)
{
	struct raft_configuration c = u->snapshot.metadata.configuration;

	/* we have it in g->base, with its bytes */
	raft_configuration_close(&c);
	if (g->base == NULL)
		fatal_abort("raft: group=%u a snapshot that nobody fetched",
			    g->id);
	raft_install_begin(g, g->base);
}

void raft_group_effects(struct raft_group *g, const struct raft_update *u,
			struct raft_body **bodies)
{
	uint64_t term = raft_current_term(&g->r);
	uint64_t vote = raft_voted_for(&g->r);

	if (term != g->term || vote != g->vote)
		raft_group_hard(g, term, vote);
	if ((u->flags & RAFT_UPDATE_ENTRIES) != 0)
		raft_group_append(g, u, bodies);
	if ((u->flags & RAFT_UPDATE_SNAPSHOT) != 0)
		raft_group_snapshot(g, u);
	raft_group_look(g, &g->r.configuration);
	raft_group_roles(g);
	raft_lease_check(g);
	if ((u->flags & RAFT_UPDATE_MESSAGES) != 0)
		for (unsigned i = 0; i < u->messages.n; i++)
			raft_group_send(g, &u->messages.batch[i]);
	if (raft_commit_index(&g->r) > g->commit)
		g->commit = raft_commit_index(&g->r);
	g->deadline = raft_timeout(&g->r);
	raft_host_arm(g->h, g);
	raft_host_dirty(g->h, g);
}
