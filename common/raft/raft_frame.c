/*
 * Bytes of frames. Whatever libraft asserts about a message is checked here
 * (or, where it depends on the group's state, in raft_step_receive()).
 */
#include "common/raft/raft_frame.h"

#include <errno.h>
#include <string.h>

#include "common/raft/raft_impl.h"

WIRE_IMPL(raft_wire, frame, RAFT_WIRE_FRAME)
WIRE_IMPL(raft_wire, vote, RAFT_WIRE_VOTE)
WIRE_IMPL(raft_wire, vote_result, RAFT_WIRE_VOTE_RESULT)
WIRE_IMPL(raft_wire, append, RAFT_WIRE_APPEND)
WIRE_IMPL(raft_wire, append_result, RAFT_WIRE_APPEND_RESULT)
WIRE_IMPL(raft_wire, timeout_now, RAFT_WIRE_TIMEOUT_NOW)
WIRE_IMPL(raft_wire, snapshot, RAFT_WIRE_SNAPSHOT)

void raft_item_put(struct wire_vec *v, const struct raft_item *item)
{
	struct wire_writer w = wire_vec_add(v);

	wire_put_u16(&w, &item->group);
	wire_put_u8(&w, &item->type);
	wire_put_blob(&w, &item->msg);
}

void raft_item_get(struct wire_reader *r, struct raft_item *item)
{
	wire_get_u16(r, &item->group);
	wire_get_u8(r, &item->type);
	wire_get_blob(r, &item->msg);
}

void raft_wire_entry_put(struct wire_vec *v, const struct raft_wire_entry *e)
{
	struct wire_writer w = wire_vec_add(v);

	wire_put_u64(&w, &e->term);
	wire_put_u8(&w, &e->type);
	wire_put_blob(&w, &e->data);
}

void raft_wire_entry_get(struct wire_reader *r, struct raft_wire_entry *e)
{
	wire_get_u64(r, &e->term);
	wire_get_u8(r, &e->type);
	wire_get_blob(r, &e->data);
}

/* --- encode --- */

static int raft_vote_encode(const struct raft_request_vote *m, struct buf *out)
{
	struct raft_wire_vote w = {
		.version = m->version,
		.term = m->term,
		.candidate = m->candidate_id,
		.last_index = m->last_log_index,
		.last_term = m->last_log_term,
		.disrupt_leader = m->disrupt_leader,
		.pre_vote = m->pre_vote,
	};

	return raft_wire_vote_encode(&w, out);
}

static int raft_vote_result_encode(const struct raft_request_vote_result *m,
				   struct buf *out)
{
	struct raft_wire_vote_result w = {
		.version = m->version,
		.term = m->term,
		.granted = m->vote_granted,
		.pre_vote = m->pre_vote,
		.features = m->features,
		.capacity = m->capacity,
	};

	return raft_wire_vote_result_encode(&w, out);
}

static int raft_append_result_encode(const struct raft_append_entries_result *m,
				     const struct raft_extra *x,
				     struct buf *out)
{
	struct raft_wire_append_result w = {
		.version = m->version,
		.term = m->term,
		.rejected = m->rejected,
		.last_index = m->last_log_index,
		.features = m->features,
		.capacity = m->capacity,
		.stamp = x->stamp,
		.applied = x->applied,
		.busy = x->busy,
	};

	return raft_wire_append_result_encode(&w, out);
}

static int raft_timeout_now_encode(const struct raft_timeout_now *m,
				   struct buf *out)
{
	struct raft_wire_timeout_now w = {
		.version = m->version,
		.term = m->term,
		.last_index = m->last_log_index,
		.last_term = m->last_log_term,
	};

	return raft_wire_timeout_now_encode(&w, out);
}

static int raft_snapshot_encode(const struct raft_install_snapshot *m,
				struct buf *out)
{
	struct raft_wire_snapshot w = {
		.version = m->version,
		.term = m->term,
		.last_index = m->last_index,
		.last_term = m->last_term,
	};

	return raft_wire_snapshot_encode(&w, out);
}

int raft_msg_encode(const struct raft_message *m, const struct raft_extra *x,
		    struct buf *out)
{
	switch (m->type) {
	case RAFT_REQUEST_VOTE:
		return raft_vote_encode(&m->request_vote, out);
	case RAFT_REQUEST_VOTE_RESULT:
		return raft_vote_result_encode(&m->request_vote_result, out);
	case RAFT_APPEND_ENTRIES_RESULT:
		return raft_append_result_encode(&m->append_entries_result, x,
						 out);
	case RAFT_TIMEOUT_NOW:
		return raft_timeout_now_encode(&m->timeout_now, out);
	case RAFT_INSTALL_SNAPSHOT:
		return raft_snapshot_encode(&m->install_snapshot, out);
	case RAFT_APPEND_ENTRIES: /* the caller has the entries */
		break;
	}
	return -ENOTSUP;
}

/* --- decode --- */

/* An index and its term are both there or both zero, and in range. */
static bool raft_position_ok(uint64_t index, uint64_t at_term, uint64_t term)
{
	return (index == 0) == (at_term == 0) && index < RAFT_INDEX_MAX &&
	       at_term <= term;
}

static bool raft_term_ok(uint64_t term)
{
	return term > 0 && term < RAFT_INDEX_MAX;
}

static int raft_vote_decode(struct wire_bytes b, struct raft_request_vote *m)
{
	struct raft_wire_vote w;

	if (raft_wire_vote_decode(&w, b.p, b.len) != 0 || w.version < 2 ||
	    !raft_term_ok(w.term) || w.candidate == 0 ||
	    !raft_position_ok(w.last_index, w.last_term, w.term) ||
	    w.disrupt_leader > 1 || w.pre_vote > 1)
		return -EPROTO;
	m->version = w.version;
	m->term = w.term;
	m->candidate_id = w.candidate;
	m->last_log_index = w.last_index;
	m->last_log_term = w.last_term;
	m->disrupt_leader = w.disrupt_leader != 0;
	m->pre_vote = w.pre_vote != 0;
	return 0;
}

static int raft_vote_result_decode(struct wire_bytes b,
				   struct raft_request_vote_result *m)
{
	struct raft_wire_vote_result w;

	/* an answer of version 1 would be counted as a vote */
	if (raft_wire_vote_result_decode(&w, b.p, b.len) != 0 ||
	    w.version < 2 || !raft_term_ok(w.term) || w.granted > 1 ||
	    w.pre_vote > 1)
		return -EPROTO;
	m->version = w.version;
	m->term = w.term;
	m->vote_granted = w.granted != 0;
	m->pre_vote = w.pre_vote != 0;
	m->features = w.features;
	m->capacity = w.capacity;
	return 0;
}

/* Counts the entries of a list; -EPROTO unless all of them may follow. */
static int raft_entries_check(struct wire_bytes list, uint64_t last_term,
			      uint64_t term, unsigned *ret_n)
{
	struct raft_wire_entry e;
	uint32_t n;
	struct wire_reader r = wire_vec_reader(list, &n);

	*ret_n = n;
	while (n > 0) {
		raft_wire_entry_get(&r, &e);
		if (r.err != 0 || e.term == 0 || e.term < last_term ||
		    e.term > term || e.type < RAFT_COMMAND ||
		    e.type > RAFT_CHANGE || e.data.len > RAFT_ENTRY_MAX)
			return -EPROTO;
		if (e.type == RAFT_CHANGE &&
		    raft_conf_check(e.data.p, e.data.len) != 0)
			return -EPROTO;
		last_term = e.term;
		n--;
	}
	return r.err != 0 || r.left > 0 ? -EPROTO : 0;
}

static int raft_append_decode(struct wire_bytes b,
			      struct raft_append_entries *m,
			      struct raft_extra *x)
{
	struct raft_wire_append w;
	unsigned n;

	if (raft_wire_append_decode(&w, b.p, b.len) != 0 ||
	    !raft_term_ok(w.term) ||
	    !raft_position_ok(w.prev_index, w.prev_term, w.term) ||
	    w.commit >= RAFT_INDEX_MAX ||
	    raft_entries_check(w.entries, w.prev_term, w.term, &n) != 0)
		return -EPROTO;
	m->version = w.version;
	m->term = w.term;
	m->prev_log_index = w.prev_index;
	m->prev_log_term = w.prev_term;
	m->leader_commit = w.commit;
	m->entries = NULL;
	m->n_entries = n;
	x->entries = w.entries;
	x->stamp = w.stamp;
	return 0;
}

static int raft_append_result_decode(struct wire_bytes b,
				     struct raft_append_entries_result *m,
				     struct raft_extra *x)
{
	struct raft_wire_append_result w;

	if (raft_wire_append_result_decode(&w, b.p, b.len) != 0 ||
	    !raft_term_ok(w.term) || w.rejected >= RAFT_INDEX_MAX ||
	    w.last_index >= RAFT_INDEX_MAX || w.busy > 1 ||
	    (w.rejected > 0 && w.last_index >= w.rejected))
		return -EPROTO;
	m->version = w.version;
	m->term = w.term;
	m->rejected = w.rejected;
	m->last_log_index = w.last_index;
	m->features = w.features;
	m->capacity = w.capacity;
	x->stamp = w.stamp;
	x->applied = w.applied;
	x->busy = w.busy != 0;
	return 0;
}

static int raft_timeout_now_decode(struct wire_bytes b,
				   struct raft_timeout_now *m)
{
	struct raft_wire_timeout_now w;

	if (raft_wire_timeout_now_decode(&w, b.p, b.len) != 0 ||
	    !raft_term_ok(w.term) ||
	    !raft_position_ok(w.last_index, w.last_term, w.term))
		return -EPROTO;
	m->version = w.version;
	m->term = w.term;
	m->last_log_index = w.last_index;
	m->last_log_term = w.last_term;
	return 0;
}

static int raft_snapshot_decode(struct wire_bytes b,
				struct raft_install_snapshot *m)
{
	struct raft_wire_snapshot w;

	if (raft_wire_snapshot_decode(&w, b.p, b.len) != 0 ||
	    !raft_term_ok(w.term) || w.last_index == 0 ||
	    !raft_position_ok(w.last_index, w.last_term, w.term))
		return -EPROTO;
	memset(m, 0, sizeof *m);
	m->version = w.version;
	m->term = w.term;
	m->last_index = w.last_index;
	m->last_term = w.last_term;
	return 0;
}

int raft_msg_decode(uint8_t type, struct wire_bytes msg,
		    struct raft_message *m, struct raft_extra *x)
{
	memset(x, 0, sizeof *x);
	switch (type) {
	case RAFT_REQUEST_VOTE:
		m->type = RAFT_REQUEST_VOTE;
		return raft_vote_decode(msg, &m->request_vote);
	case RAFT_REQUEST_VOTE_RESULT:
		m->type = RAFT_REQUEST_VOTE_RESULT;
		return raft_vote_result_decode(msg, &m->request_vote_result);
	case RAFT_APPEND_ENTRIES:
		m->type = RAFT_APPEND_ENTRIES;
		return raft_append_decode(msg, &m->append_entries, x);
	case RAFT_APPEND_ENTRIES_RESULT:
		m->type = RAFT_APPEND_ENTRIES_RESULT;
		return raft_append_result_decode(msg,
						 &m->append_entries_result, x);
	case RAFT_TIMEOUT_NOW:
		m->type = RAFT_TIMEOUT_NOW;
		return raft_timeout_now_decode(msg, &m->timeout_now);
	case RAFT_INSTALL_SNAPSHOT:
		m->type = RAFT_INSTALL_SNAPSHOT;
		return raft_snapshot_decode(msg, &m->install_snapshot);
	default:
		return -EPROTO;
	}
}

int raft_frame_decode(struct raft_wire_frame *f, const void *p, size_t len)
{
	struct raft_extra x;
	struct raft_message m;
	struct wire_reader r;
	uint32_t n;

	if (raft_wire_frame_decode(f, p, len) != 0 ||
	    f->magic != RAFT_FRAME_MAGIC || f->version != RAFT_FRAME_VERSION ||
	    f->session == 0 || f->number == 0)
		return -EPROTO;
	r = wire_vec_reader(f->messages, &n);
	while (n > 0) {
		struct raft_item item;

		raft_item_get(&r, &item);
		if (r.err != 0 ||
		    raft_msg_decode(item.type, item.msg, &m, &x) != 0)
			return -EPROTO;
		n--;
	}
	return r.err != 0 || r.left > 0 ? -EPROTO : 0;
}

/* --- configurations --- */

/* Little-endian: libraft writes these. */
static uint64_t raft_conf_u64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

int raft_conf_check(const void *data, size_t len)
{
	uint64_t ids[RAFT_CONF_SERVERS];
	struct wire_bytes names[RAFT_CONF_SERVERS];
	const uint8_t *p = data, *end;
	uint64_t n;

	if (p == NULL || len < 9 || p[0] != 1)
		return -EPROTO;
	end = p + len;
	n = raft_conf_u64(p + 1);
	if (n == 0 || n > RAFT_CONF_SERVERS)
		return -EPROTO;
	p += 9;
	for (uint64_t i = 0; i < n; i++) {
		const uint8_t *nul;

		if (end - p < 8)
			return -EPROTO;
		ids[i] = raft_conf_u64(p);
		p += 8;
		nul = memchr(p, 0, (size_t)(end - p));
		if (ids[i] == 0 || nul == NULL || end - nul < 2 ||
		    nul[1] > RAFT_SPARE)
			return -EPROTO;
		names[i] = wire_bytes(p, (size_t)(nul - p));
		for (uint64_t j = 0; j < i; j++)
			if (ids[j] == ids[i] || wire_bytes_eq(names[j],
							      names[i]))
				return -EPROTO;
		p = nul + 2;
	}
	return 0;
}
