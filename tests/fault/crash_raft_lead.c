/*
 * What peers of the group that follows are told, and its scripted leaders: they
 * send entries, commit them late or never, and are replaced by others.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fault/crash_raft.h"

/* --- what peers are told --- */

static void told_term(struct follow *f, uint64_t term)
{
	if (term > f->told_term) {
		f->told_term = term;
		f->told_vote = 0;
	}
}

static void on_message(struct proc *p, uint64_t to, const struct raft_message *m)
{
	struct follow *f = &p->m->f;
	const struct raft_append_entries_result *a = &m->append_entries_result;
	const struct raft_request_vote_result *v = &m->request_vote_result;

	switch (m->type) {
	case RAFT_APPEND_ENTRIES_RESULT:
		told_term(f, a->term);
		/* the current leader hears: all it sent up to there is here */
		if (a->rejected != 0 || a->term != f->lead_term)
			return;
		for (uint64_t i = 1; i <= a->last_log_index && i <= f->sent; i++)
			f->term[i] = f->sent_term[i];
		if (a->last_log_index > f->stored)
			f->stored = a->last_log_index;
		return;
	case RAFT_REQUEST_VOTE_RESULT:
		if (v->pre_vote)
			return;
		told_term(f, v->term);
		if (v->vote_granted && v->term == f->told_term) {
			if (f->told_vote != 0 && f->told_vote != to)
				proc_bad(p, "voted twice", v->term, to);
			f->told_vote = to;
		}
		return;
	default:
		return;
	}
}

void lead_on_send(void *arg, uint64_t to, const uint8_t *frame, size_t len)
{
	struct proc *p = arg;
	struct raft_wire_frame w;
	struct wire_reader r;
	uint32_t n;

	if (raft_frame_decode(&w, frame, len) != 0)
		abort();
	r = wire_vec_reader(w.messages, &n);
	for (; n > 0; n--) {
		struct raft_message m;
		struct raft_extra x;
		struct raft_item item;

		memset(&m, 0, sizeof m);
		raft_item_get(&r, &item);
		if (raft_msg_decode(item.type, item.msg, &m, &x) == 0 &&
		    !p->dead)
			on_message(p, to, &m);
	}
}

static void tell(struct proc *p, uint64_t from, uint8_t type,
		 const struct buf *msg)
{
	struct follow *f = &p->m->f;
	struct raft_item item = { FOLLOW, type, wire_bytes(msg->data,
							    msg->len) };
	struct raft_wire_frame w = {
		.magic = RAFT_FRAME_MAGIC, .version = RAFT_FRAME_VERSION,
		.session = f->session + from, .number = ++f->number[from],
	};
	struct wire_vec v;
	struct buf b;

	wire_vec_init(&v);
	raft_item_put(&v, &item);
	w.messages = wire_vec_bytes(&v);
	buf_init(&b, 0);
	if (raft_wire_frame_encode(&w, &b) != 0 ||
	    raft_host_receive(p->host, from, b.data, b.len) != 0)
		abort();
	buf_fini(&b);
	wire_vec_fini(&v);
}

/* --- the scripted leader --- */

void lead_append(struct proc *p, uint64_t prev, unsigned n)
{
	struct follow *f = &p->m->f;
	uint8_t bytes[3000];
	struct wire_vec v;
	struct raft_wire_append w = {
		.version = 0, .term = f->lead_term, .prev_index = prev,
		.prev_term = f->sent_term[prev],
	};
	struct buf b;

	wire_vec_init(&v);
	for (unsigned i = 1; i <= n; i++) {
		struct raft_wire_entry e = {
			.term = f->lead_term, .type = RAFT_COMMAND,
			.data = wire_bytes(bytes, 8 + rng(p->run, 900)),
		};

		for (size_t k = 0; k < e.data.len; k++)
			bytes[k] = (uint8_t)(prev + i + k + f->lead_term);
		raft_wire_entry_put(&v, &e);
		f->sent_term[prev + i] = f->lead_term;
	}
	if (n > 0)
		f->sent = prev + n;
	w.commit = f->commit;
	w.entries = wire_vec_bytes(&v);
	buf_init(&b, 0);
	if (raft_wire_append_encode(&w, &b) != 0)
		abort();
	tell(p, f->leader, RAFT_APPEND_ENTRIES, &b);
	buf_fini(&b);
	wire_vec_fini(&v);
}

void lead_change(struct proc *p)
{
	struct follow *f = &p->m->f;
	uint64_t keep = f->commit + rng(p->run, f->sent - f->commit + 1);

	f->leader = 5 - f->leader; /* 2, 3 */
	f->lead_term += 1 + rng(p->run, 2);
	if (f->lead_term <= f->told_term)
		f->lead_term = f->told_term + 1;
	f->sent = keep;
	/* what it does not have it replaces: nothing is promised any more */
	if (f->stored > keep)
		f->stored = keep;
	lead_append(p, keep, 1);
}

void lead_ask_vote(struct proc *p)
{
	struct follow *f = &p->m->f;
	struct raft_message m = { .type = RAFT_REQUEST_VOTE };
	struct raft_extra none = { .stamp = 0 };
	uint64_t from = 2 + rng(p->run, 2);
	uint64_t term = f->told_term > f->lead_term ? f->told_term
						    : f->lead_term;
	struct buf b;

	term += rng(p->run, 3);
	m.request_vote = (struct raft_request_vote){
		.version = 2, .term = term,
		.candidate_id = from,
		.last_log_index = f->sent + 1,
		.last_log_term = f->lead_term,
		.disrupt_leader = true,
	};
	buf_init(&b, 0);
	if (raft_msg_encode(&m, &none, &b) != 0)
		abort();
	tell(p, from, (uint8_t)m.type, &b);
	buf_fini(&b);
}
