/*
 * One raft host among scripted peers: the traps of libraft by name, and what
 * no peer may do to us. (The rest is for tests/sim.) Where each trap, and each
 * rule of how raft_step() is driven, has its test:
 *
 *   stall A    here, and test_watchdog_follower_stands_still (raft_transfer)
 *   stall B    here                     trap J, K, L   test_raft_member.c
 *   links      test_gap_needs_a_reset   trap M         here
 *   trap C     test_raft_frame.c        trap N         test_raft_install.c
 *   trap D     here, raft_transfer      quarantine     here
 *   trap E     tests/layering.sh        hard state     here, test_raft.c
 *   trap F     test_raft_install.c      late flushes   here
 *   trap G, H  here                     outcomes       here, raft_install
 *   trap I     test_raft_member.c       membership     test_raft_member.c
 *   trap O     here, raft_transfer      reads          test_raft_lease.c
 *   transfer   test_raft_transfer.c     shared barrier test_raft_lease.c
 *   trap P     test_raft_install.c      one write per peer and turn: here
 *   bytes in memory, on the disk        test_raft_cache.c, test_raft_carry.c
 *   a failed sync ends the process: test_seg.c; answers to retries: the shards'
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "tests/unit/raft_peers.h"

static void test_no_vote_right_after_start(void **state)
{
	struct peers *f = *state;
	struct raft_message m = peers_vote(2, 2, false, 1);

	assert_int_equal(peers_say(f, 2, &m, 0), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_sent, 0);
	assert_int_equal(raft_group_term(f->group), 1);
	peers_quarantine_over(f);
	assert_int_equal(peers_say(f, 2, &m, 0), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_sent, 1);
	assert_true(f->sent[0].request_vote_result.vote_granted);
}

static void test_vote_is_durable_before_it_is_told(void **state)
{
	struct peers *f = *state;
	struct raft_message m = peers_vote(2, 2, false, 1);
	struct crashfs_stats before, now;

	peers_quarantine_over(f);
	crashfs_get_stats(f->fs, &before);
	assert_int_equal(peers_say(f, 2, &m, 0), 0);
	while (f->n_sent == 0) {
		assert_true(minienv_step(f->mini));
		crashfs_get_stats(f->fs, &now);
		assert_true(f->n_sent == 0 || now.syncs > before.syncs);
	}
	assert_true(f->sent[0].request_vote_result.vote_granted);
	assert_int_equal(f->group->vote, 2);
}

static void test_stall_b_refusal_tells_the_term(void **state)
{
	struct peers *f = *state;
	struct raft_message m = peers_vote(9, 3, false, 1);

	peers_quarantine_over(f);
	assert_int_equal(peers_say(f, 3, &m, 0), 0);
	minienv_run(f->mini);
	assert_int_equal(raft_group_term(f->group), 9);
	f->n_sent = 0;
	m = peers_vote(3, 2, true, 5);
	assert_int_equal(peers_say(f, 2, &m, 0), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_sent, 1);
	assert_false(f->sent[0].request_vote_result.vote_granted);
	assert_true(f->sent[0].request_vote_result.pre_vote);
	assert_int_equal(f->sent[0].request_vote_result.term, 9);
}

static void test_stall_a_third_beat_is_refused(void **state)
{
	struct peers *f = *state;
	struct raft_wire_append w = {
		.term = 2, .prev_index = 1, .prev_term = 1, .commit = 5,
	};

	for (int i = 0; i < 3; i++) {
		f->n_sent = 0;
		assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
		minienv_run(f->mini);
		assert_int_equal(f->n_sent, 1);
		assert_int_equal(f->sent[0].append_entries_result.rejected,
				 i < 2 ? 0 : 2);
		assert_int_equal(
			f->sent[0].append_entries_result.last_log_index, 1);
	}
}

static void test_trap_h_stale_append_is_refused(void **state)
{
	struct peers *f = *state;
	struct raft_wire_append w = { .term = 5 };

	assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
	minienv_run(f->mini);
	f->n_sent = 0;
	w.term = 4;
	assert_int_equal(peers_append(f, 3, w, NULL, 0), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_sent, 1);
	assert_int_equal(f->to[0], 3);
	assert_int_equal(f->sent[0].append_entries_result.term, 5);
	assert_int_equal(f->sent[0].append_entries_result.rejected, 1);
	assert_int_equal(f->sent[0].append_entries_result.last_log_index, 0);
}

/* Trap G: the library gives a configuration the index of the first entry. */
static void test_trap_g_configuration_behind_others(void **state)
{
	struct peers *f = *state;
	const struct rlog_conf *c = rlog_conf_at(&f->group->log, 1);
	struct raft_wire_append w = {
		.term = 2, .prev_index = 1, .prev_term = 1, .commit = 4,
	};
	struct raft_wire_entry e[4] = {
		{ 2, RAFT_COMMAND, wire_bytes("a", 1) },
		{ 2, RAFT_COMMAND, wire_bytes("b", 1) },
		{ 2, RAFT_CHANGE, wire_bytes(c->bytes, c->len) },
		{ 2, RAFT_COMMAND, wire_bytes("c", 1) },
	};

	assert_int_equal(peers_append(f, 2, w, e, 4), 0);
	assert_int_equal(f->group->r.configuration_uncommitted_index, 4);
	minienv_run(f->mini);
	w.prev_index = 5;
	w.prev_term = 2;
	w.commit = 5;
	assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_applied, 3);
	assert_int_equal(f->group->r.configuration_committed_index, 4);
	assert_int_equal(f->group->r.configuration_uncommitted_index, 0);
}

/* Trap M: entries from below a log that was trimmed meanwhile. */
static void test_trap_m_entries_below_the_log(void **state)
{
	struct peers *f = *state;
	const struct rlog_conf *c = rlog_conf_at(&f->group->log, 1);
	const struct raft_message *m;
	uint8_t conf[256];
	struct raft_wire_append w = { .term = 2, .commit = 4 };
	struct raft_wire_entry e[5] = {
		{ 1, RAFT_CHANGE, wire_bytes(conf, c->len) },
		{ 2, RAFT_COMMAND, wire_bytes("a", 1) },
		{ 2, RAFT_COMMAND, wire_bytes("b", 1) },
		{ 2, RAFT_COMMAND, wire_bytes("c", 1) },
		{ 2, RAFT_COMMAND, wire_bytes("d", 1) },
	};

	memcpy(conf, c->bytes, c->len);
	assert_int_equal(peers_append(f, 2, w, e, 4), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_applied, 3);
	f->host->config.forget_followers = true;
	f->host->config.tail = 1;
	raft_group_checkpoint(f->group, 4);
	assert_int_equal(f->group->log.first, 4);
	/* the same again, and with one behind; then heartbeats from below */
	for (unsigned n = 4; n <= 5; n++) {
		f->n_sent = 0;
		assert_int_equal(peers_append(f, 2, w, e, n), 0);
		minienv_run(f->mini);
		assert_int_equal(rlog_last(&f->group->log), n);
		m = peers_last(f, 2, RAFT_APPEND_ENTRIES_RESULT, NULL);
		assert_int_equal(m->append_entries_result.rejected, 0);
		assert_int_equal(m->append_entries_result.last_log_index, n);
	}
	for (w.prev_index = 0; w.prev_index < 4; w.prev_index++) {
		f->n_sent = 0;
		w.prev_term = w.prev_index == 0 ? 0 : w.prev_index == 1 ? 1 : 2;
		assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
		minienv_run(f->mini);
		m = peers_last(f, 2, RAFT_APPEND_ENTRIES_RESULT, NULL);
		assert_int_equal(m->append_entries_result.rejected, 0);
		assert_int_equal(m->append_entries_result.last_log_index, 4);
	}
	w.commit = 5;
	w.prev_index = 5;
	w.prev_term = 2;
	assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_applied, 4);
}

/* Trap D: what others are told of the disk is what the store says of it. */
static void test_trap_d_capacity_is_real(void **state)
{
	static const struct {
		uint64_t room;
		uint16_t told;
	} cases[] = {
		{ UINT64_MAX, RAFT_CAPACITY }, { 0, 0 }, { 5ull << 30, 5120 },
		{ (1u << 20) - 1, 0 }, { 1ull << 40, RAFT_CAPACITY },
	};
	struct peers *f = *state;
	struct raft_wire_append w = {
		.term = 2, .prev_index = 1, .prev_term = 1,
	};
	const struct raft_message *m;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct raft_message v = peers_vote(3 + i, 3, false, 1);

		f->room = &cases[i].room;
		f->n_sent = 0;
		assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
		minienv_run(f->mini); /* asks */
		assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
		minienv_run(f->mini);
		m = peers_last(f, 2, RAFT_APPEND_ENTRIES_RESULT, NULL);
		assert_non_null(m);
		assert_int_equal(m->append_entries_result.capacity,
				 cases[i].told);
		minienv_advance(f->mini, 2ull * PEERS_ELECTION_MS * 1000000);
		assert_int_equal(peers_say(f, 3, &v, 0), 0);
		minienv_run(f->mini);
		m = peers_last(f, 3, RAFT_REQUEST_VOTE_RESULT, NULL);
		assert_non_null(m);
		assert_int_equal(m->request_vote_result.capacity,
				 cases[i].told);
	}
}

/* Trap O: a candidate that did not win begins with a pre-vote again. */
static void test_trap_o_pre_vote_at_each_timeout(void **state)
{
	struct raft_message m = { .type = RAFT_REQUEST_VOTE_RESULT };
	struct peers *f = *state;
	const struct raft_message *v;
	uint64_t term;

	peers_quarantine_over(f);
	while (raft_state(&f->group->r) != RAFT_CANDIDATE)
		minienv_advance(f->mini, 100000000);
	term = raft_group_term(f->group) + 1;
	m.request_vote_result = (struct raft_request_vote_result){
		.version = 2, .term = term, .vote_granted = true,
		.pre_vote = true, .features = 1, .capacity = 1,
	};
	f->n_sent = 0;
	assert_int_equal(peers_say(f, 2, &m, 0), 0);
	minienv_run(f->mini);
	v = peers_last(f, 3, RAFT_REQUEST_VOTE, NULL);
	assert_non_null(v);
	assert_false(v->request_vote.pre_vote);
	assert_int_equal(v->request_vote.term, term);
	assert_int_equal(raft_group_term(f->group), term);
	/* nobody answers, as nobody does whom it was removed by */
	for (int i = 0; i < 5; i++) {
		f->n_sent = 0;
		while (peers_last(f, 3, RAFT_REQUEST_VOTE, NULL) == NULL)
			minienv_advance(f->mini, 100000000);
		v = peers_last(f, 3, RAFT_REQUEST_VOTE, NULL);
		assert_true(v->request_vote.pre_vote);
		assert_false(v->request_vote.disrupt_leader);
		assert_int_equal(v->request_vote.term, term + 1);
		assert_int_equal(raft_group_term(f->group), term);
	}
}

#define MANY 20

/* What all groups have for a peer goes in one frame. */
static void test_one_write_per_peer_and_turn(void **state)
{
	struct peers *f = *state;
	struct raft_wire_append w = {
		.term = 2, .prev_index = 1, .prev_term = 1, .commit = 1,
	};
	unsigned frames, messages;

	for (uint16_t i = 1; i < MANY; i++)
		(void)peers_open_group(f, i);
	for (unsigned round = 0; round < 3; round++) {
		frames = f->n_frames;
		messages = f->n_messages;
		for (uint16_t i = 0; i < MANY; i++) {
			f->group_id = i;
			assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
		}
		assert_int_equal(f->n_frames, frames);
		minienv_run(f->mini);
		assert_int_equal(f->n_messages - messages, MANY);
		/* at first each waits for the flush of its term: one as well */
		assert_int_equal(f->n_frames - frames, 1);
	}
}

static unsigned n_failed;

static void submit_failed(struct raft_submit *s, uint32_t status)
{
	(void)s;
	assert_int_equal(status, RPC_STATUS_UNKNOWN_OUTCOME);
	n_failed++;
}

/* Trap D: who leads without room takes what frees some, as the others do. */
static void test_trap_d_deletes_go_on_without_room(void **state)
{
	static const uint64_t none = 0;
	struct raft_submit s = { .failed = submit_failed };
	struct peers *f = *state;
	struct raft_message m;
	uint64_t term;

	n_failed = 0;
	f->room = &none;
	term = peers_lead(f);
	buf_init(&s.data, 0);
	buf_add(&s.data, "x", 1);
	raft_submit(f->group, &s);
	minienv_run(f->mini);
	m = peers_result(term, rlog_last(&f->group->log));
	m.append_entries_result.capacity = 0;
	for (uint64_t from = 2; from <= 3; from++)
		assert_int_equal(peers_say(f, from, &m, 0), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_applied, 1);
	assert_int_equal(n_failed, 0);
	assert_true(raft_group_is_leader(f->group));
}

/* Submits of a turn are one message to each peer, and one flush. */
static void test_one_write_for_many_submits(void **state)
{
	static struct raft_submit s[MANY];
	struct peers *f = *state;
	struct seg_stats before, after;
	unsigned frames;

	n_failed = 0;
	(void)peers_lead(f);
	minienv_run(f->mini);
	frames = f->n_frames;
	seg_head_stats(f->log, &before);
	for (unsigned i = 0; i < MANY; i++) {
		s[i] = (struct raft_submit){ .failed = submit_failed };
		buf_init(&s[i].data, 0);
		buf_add(&s[i].data, "x", 1);
		raft_submit(f->group, &s[i]);
	}
	minienv_run(f->mini);
	seg_head_stats(f->log, &after);
	assert_int_equal(rlog_last(&f->group->log), 2 + MANY);
	assert_int_equal(f->n_frames - frames, 1); /* 3 did not answer yet */
	assert_int_equal(after.flushes - before.flushes, 1);
}

/* What was in the log when the leadership ended may be committed yet. */
static void test_leadership_lost_leaves_outcomes_unknown(void **state)
{
	struct peers *f = *state;
	struct raft_submit s = { .failed = submit_failed };
	struct raft_message m;

	n_failed = 0;
	assert_int_equal(peers_lead(f), 2);
	buf_init(&s.data, 0);
	buf_add(&s.data, "x", 1);
	raft_submit(f->group, &s);
	minienv_run(f->mini);
	assert_int_equal(rlog_last(&f->group->log), 3);
	m = peers_result(7, 1);
	m.append_entries_result.rejected = 2;
	assert_int_equal(peers_say(f, 2, &m, 0), 0);
	assert_int_equal(n_failed, 0);
	minienv_run(f->mini);
	assert_int_equal(n_failed, 1);
}

/* An entry is replaced while it is written: that flush is not the new one's. */
static void test_late_flush_of_a_replaced_entry(void **state)
{
	struct peers *f = *state;
	struct raft_wire_append w = {
		.term = 2, .prev_index = 1, .prev_term = 1,
	};
	struct raft_wire_entry e = { 2, RAFT_COMMAND, wire_bytes("a", 1) };
	struct crashfs_stats begin, st;

	assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
	minienv_run(f->mini); /* the term */
	crashfs_get_stats(f->fs, &begin);
	assert_int_equal(peers_append(f, 2, w, &e, 1), 0);
	do {
		assert_true(minienv_step(f->mini));
		crashfs_get_stats(f->fs, &st);
	} while (st.syncs == begin.syncs);
	assert_int_equal(f->group->stored, 1); /* synced, nobody knows yet */
	f->n_sent = 0;
	w.term = e.term = 3;
	assert_int_equal(peers_append(f, 3, w, &e, 1), 0);
	assert_int_equal(rlog_at(&f->group->log, 2)->term, 3);
	while (f->n_sent == 0) {
		assert_true(minienv_step(f->mini));
		crashfs_get_stats(f->fs, &st);
		assert_true(f->group->stored == 1 ||
			    st.syncs >= begin.syncs + 2);
	}
	minienv_run(f->mini);
	assert_int_equal(f->group->stored, 2);
}

/*
 * After a power cut now a start would find the old tail, not what replaces it:
 * it needs the beginning of the tail, too.
 */
static void test_replaced_tail_is_needed_for_a_while(void **state)
{
	static const uint8_t bytes[20000];
	struct peers *f = *state;
	struct raft_wire_append w = {
		.term = 2, .prev_index = 1, .prev_term = 1, .commit = 1,
	};
	struct raft_wire_entry e[4];
	uint64_t gen;

	f->host->config.forget_followers = true;
	f->host->config.tail = 0;
	for (int i = 0; i < 4; i++)
		e[i] = (struct raft_wire_entry){
			2, RAFT_COMMAND, wire_bytes(bytes, sizeof bytes),
		};
	assert_int_equal(peers_append(f, 2, w, e, 4), 0);
	minienv_run(f->mini);
	raft_group_checkpoint(f->group, 1);
	assert_int_equal(f->group->log.first, 2);
	gen = raft_log_gen(f->group, rlog_at(&f->group->log, 2));
	assert_true(f->host->seen_gen > gen);
	for (unsigned i = 0; i < 2; i++) { /* the second one in flight, too */
		w.term = e[0].term = 3 + i;
		assert_int_equal(peers_append(f, 2 + (i + 1) % 2, w, e, 1), 0);
		assert_int_equal(rlog_last(&f->group->log), 2);
		assert_int_equal(f->group->stored, 1);
		raft_host_checkpointed(f->host);
		assert_int_equal(f->host->need, gen);
	}
	minienv_run(f->mini);
	assert_int_equal(f->group->stored, 2);
	raft_host_checkpointed(f->host);
	assert_int_equal(f->host->need, f->host->seen_gen);
}

static void test_gap_needs_a_reset(void **state)
{
	struct peers *f = *state;
	struct raft_wire_append w = { .term = 2 };

	assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
	f->number[2]++; /* one is lost */
	assert_int_equal(peers_append(f, 2, w, NULL, 0), -ESTALE);
	assert_int_equal(peers_append(f, 2, w, NULL, 0), -ESTALE);
	raft_host_link_reset(f->host, 2);
	f->number[2] = 0;
	assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
	/* again: a number of the past */
	f->number[2] = 0;
	assert_int_equal(peers_append(f, 2, w, NULL, 0), -ESTALE);
}

/* A leader must hear of a higher term in whatever answer it gets. */
static void test_higher_term_in_a_stale_index(void **state)
{
	struct peers *f = *state;
	struct raft_message m;

	assert_int_equal(peers_lead(f), 2);
	assert_int_equal(raft_group_commit(f->group), 2);
	m = peers_result(7, 1);
	m.append_entries_result.rejected = 2;
	assert_int_equal(peers_say(f, 2, &m, 0), 0);
	minienv_run(f->mini);
	assert_int_equal(raft_group_term(f->group), 7);
	assert_false(raft_group_is_leader(f->group));
}

/* Nothing a peer sends, well-formed or not, stops the process. */
static void test_lies(void **state)
{
	struct peers *f = *state;
	struct raft_message m = { .type = RAFT_APPEND_ENTRIES_RESULT };
	uint64_t rng = 77;

	peers_quarantine_over(f);
	for (int i = 0; i < 20000; i++) {
		uint64_t from = 2 + (rng >> 40) % 2;
		uint64_t term = raft_group_term(f->group) + (rng >> 44) % 3;

		rng = rng * 6364136223846793005u + 1442695040888963407u;
		memset(&m, 0, sizeof m);
		switch (rng >> 60) {
		case 0:
		case 1:
			m = peers_vote(term + 1, from, (rng >> 50 & 1) != 0,
				 1 + (rng >> 51) % 9);
			break;
		case 2:
		case 3:
		case 4:
			m.type = RAFT_REQUEST_VOTE_RESULT;
			m.request_vote_result =
				(struct raft_request_vote_result){
				.version = 2, .term = term,
				.vote_granted = (rng >> 50 & 1) != 0,
				.pre_vote = (rng >> 51 & 1) != 0,
				.features = 1, .capacity = 1,
			};
			break;
		case 5:
		case 6:
		case 7:
		case 8:
			m.type = RAFT_APPEND_ENTRIES_RESULT;
			m.append_entries_result =
				(struct raft_append_entries_result){
				.version = 2, .term = term,
				.last_log_index = (rng >> 50) % 9,
				.rejected = (rng >> 53 & 1) != 0 ? 9 : 0,
			};
			break;
		case 9:
			m.type = RAFT_TIMEOUT_NOW;
			m.timeout_now = (struct raft_timeout_now){
				.term = term, .last_log_index = 1,
				.last_log_term = 1,
			};
			break;
		default:
			minienv_advance(f->mini, (rng >> 45) % 900000000);
			f->n_sent = 0;
			continue;
		}
		assert_int_equal(peers_say(f, from, &m, 0), 0);
		minienv_run(f->mini);
		f->n_sent = 0;
	}
}

static void test_cut_frames(void **state)
{
	struct peers *f = *state;
	struct raft_message m = peers_vote(2, 2, false, 1);
	struct raft_item item = { 0, RAFT_REQUEST_VOTE, { NULL, 0 } };
	struct raft_extra x = { .stamp = 0 };
	struct raft_wire_frame w = {
		.magic = RAFT_FRAME_MAGIC, .version = RAFT_FRAME_VERSION,
		.session = 1, .number = 1,
	};
	struct wire_vec v;
	struct buf b, msg;

	buf_init(&b, 0);
	buf_init(&msg, 0);
	assert_int_equal(raft_msg_encode(&m, &x, &msg), 0);
	item.msg = wire_bytes(msg.data, msg.len);
	wire_vec_init(&v);
	raft_item_put(&v, &item);
	w.messages = wire_vec_bytes(&v);
	assert_int_equal(raft_wire_frame_encode(&w, &b), 0);
	for (size_t len = 0; len < b.len; len++) {
		uint8_t *cut = mem_dup(b.data, len);
		int rv = raft_host_receive(f->host, 2, cut, len);

		/* the tail rule: a frame may end before its messages */
		assert_true(rv == -EPROTO || len == 21);
		mem_free(cut);
	}
	assert_int_equal(raft_host_receive(f->host, 1, b.data, b.len), -EPROTO);
	assert_int_equal(raft_host_receive(f->host, 3, b.data, b.len), 0);
	buf_fini(&b);
	buf_fini(&msg);
	wire_vec_fini(&v);
}

int main(void)
{
#define T(name) \
	cmocka_unit_test_setup_teardown(name, peers_setup, peers_teardown)
	const struct CMUnitTest tests[] = {
		T(test_no_vote_right_after_start),
		T(test_vote_is_durable_before_it_is_told),
		T(test_stall_a_third_beat_is_refused),
		T(test_stall_b_refusal_tells_the_term),
		T(test_trap_d_capacity_is_real),
		T(test_trap_d_deletes_go_on_without_room),
		T(test_trap_g_configuration_behind_others),
		T(test_trap_h_stale_append_is_refused),
		T(test_trap_m_entries_below_the_log),
		T(test_trap_o_pre_vote_at_each_timeout),
		T(test_one_write_per_peer_and_turn),
		T(test_one_write_for_many_submits),
		T(test_higher_term_in_a_stale_index),
		T(test_leadership_lost_leaves_outcomes_unknown),
		T(test_late_flush_of_a_replaced_entry),
		T(test_replaced_tail_is_needed_for_a_while),
		T(test_gap_needs_a_reset),
		T(test_lies),
		T(test_cut_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
