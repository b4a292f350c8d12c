/*
 * Frames between raft hosts: the codec, and one host among scripted peers
 * (traps of libraft by name; the rest is for tests/sim).
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
#include "common/raft/raft_impl.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"

/* --- the codec --- */

static void round_trip(const struct raft_message *m, struct raft_message *ret)
{
	struct wire_bytes entries;
	struct buf b;

	buf_init(&b, 0);
	assert_int_equal(raft_msg_encode(m, &b), 0);
	memset(ret, 0, sizeof *ret);
	assert_int_equal(raft_msg_decode((uint8_t)m->type,
					 wire_bytes(b.data, b.len), ret,
					 &entries), 0);
	assert_int_equal(entries.len, 0);
	buf_fini(&b);
}

/* Trap C: every field travels, versions and capacities too. */
static void test_trap_c_every_field_travels(void **state)
{
	struct raft_message m = { .type = RAFT_REQUEST_VOTE }, r;

	(void)state;
	m.request_vote = (struct raft_request_vote){
		.version = 2, .term = 7, .candidate_id = 3,
		.last_log_index = 9, .last_log_term = 6, .pre_vote = true,
	};
	round_trip(&m, &r);
	assert_int_equal(r.request_vote.version, 2);
	assert_int_equal(r.request_vote.term, 7);
	assert_int_equal(r.request_vote.candidate_id, 3);
	assert_int_equal(r.request_vote.last_log_index, 9);
	assert_int_equal(r.request_vote.last_log_term, 6);
	assert_true(r.request_vote.pre_vote);
	assert_false(r.request_vote.disrupt_leader);
	m.type = RAFT_REQUEST_VOTE_RESULT;
	m.request_vote_result = (struct raft_request_vote_result){
		.version = 2, .term = 7, .vote_granted = true,
		.pre_vote = true, .features = 1, .capacity = 60000,
	};
	round_trip(&m, &r);
	assert_int_equal(r.request_vote_result.version, 2);
	assert_int_equal(r.request_vote_result.term, 7);
	assert_true(r.request_vote_result.vote_granted);
	assert_true(r.request_vote_result.pre_vote);
	assert_int_equal(r.request_vote_result.features, 1);
	assert_int_equal(r.request_vote_result.capacity, 60000);
	m.type = RAFT_APPEND_ENTRIES_RESULT;
	m.append_entries_result = (struct raft_append_entries_result){
		.version = 2, .term = 7, .rejected = 5, .last_log_index = 4,
		.features = 1, .capacity = 9,
	};
	round_trip(&m, &r);
	assert_int_equal(r.append_entries_result.version, 2);
	assert_int_equal(r.append_entries_result.rejected, 5);
	assert_int_equal(r.append_entries_result.last_log_index, 4);
	assert_int_equal(r.append_entries_result.features, 1);
	assert_int_equal(r.append_entries_result.capacity, 9);
	m.type = RAFT_TIMEOUT_NOW;
	m.timeout_now = (struct raft_timeout_now){
		.term = 7, .last_log_index = 4, .last_log_term = 3,
	};
	round_trip(&m, &r);
	assert_int_equal(r.timeout_now.last_log_index, 4);
}

static int decode_append(const struct raft_wire_append *w)
{
	struct raft_message m;
	struct wire_bytes entries;
	struct buf b;
	int rv;

	buf_init(&b, 0);
	assert_int_equal(raft_wire_append_encode(w, &b), 0);
	rv = raft_msg_decode(RAFT_APPEND_ENTRIES, wire_bytes(b.data, b.len),
			     &m, &entries);
	buf_fini(&b);
	return rv;
}

static int decode_entries(const struct raft_wire_entry *e, unsigned n,
			  struct raft_wire_append w)
{
	struct wire_vec v;
	int rv;

	wire_vec_init(&v);
	for (unsigned i = 0; i < n; i++)
		raft_wire_entry_put(&v, &e[i]);
	w.entries = wire_vec_bytes(&v);
	rv = decode_append(&w);
	wire_vec_fini(&v);
	return rv;
}

/* What the library would assert is refused. */
static void test_impossible_messages(void **state)
{
	struct raft_wire_append w = {
		.term = 5, .prev_index = 3, .prev_term = 2,
	};
	struct raft_wire_entry e[2] = {
		{ 2, RAFT_COMMAND, wire_bytes("a", 1) },
		{ 5, RAFT_COMMAND, wire_bytes("b", 1) },
	};
	struct raft_wire_append bad;

	(void)state;
	assert_int_equal(decode_entries(e, 2, w), 0);
	bad = w;
	bad.term = 0;
	assert_int_equal(decode_append(&bad), -EPROTO);
	bad = w;
	bad.prev_term = 0;
	assert_int_equal(decode_append(&bad), -EPROTO);
	bad = w;
	bad.prev_index = 0;
	assert_int_equal(decode_append(&bad), -EPROTO);
	bad = w;
	bad.prev_term = 6;
	assert_int_equal(decode_append(&bad), -EPROTO);
	bad = w;
	bad.prev_index = UINT64_MAX;
	assert_int_equal(decode_append(&bad), -EPROTO);
	e[1].term = 1; /* goes back */
	assert_int_equal(decode_entries(e, 2, w), -EPROTO);
	e[1].term = 6; /* above the leader's */
	assert_int_equal(decode_entries(e, 2, w), -EPROTO);
	e[1].term = 5;
	e[1].type = 9;
	assert_int_equal(decode_entries(e, 2, w), -EPROTO);
	e[1].type = RAFT_CHANGE; /* "b" is no configuration */
	assert_int_equal(decode_entries(e, 2, w), -EPROTO);
}

static void test_configurations(void **state)
{
	struct raft_configuration c;
	struct raft_buffer b;
	uint8_t *copy;
	char one[] = "1", two[] = "22";

	(void)state;
	raft_configuration_init(&c);
	assert_int_equal(raft_configuration_add(&c, 1, one, RAFT_VOTER), 0);
	assert_int_equal(raft_configuration_add(&c, 2, two, RAFT_SPARE), 0);
	assert_int_equal(raft_configuration_encode(&c, &b), 0);
	raft_configuration_close(&c);
	assert_int_equal(raft_conf_check(b.base, b.len), 0);
	/* 9 + (8 + 2 + 1) + (8 + 3 + 1) = 32 bytes, no padding */
	assert_int_equal(b.len, 32);
	for (size_t len = 0; len < b.len; len++) {
		copy = mem_dup(b.base, len);
		assert_int_equal(raft_conf_check(copy, len), -EPROTO);
		mem_free(copy);
	}
	for (size_t i = 0; i < b.len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			struct raft_buffer d = { 0, b.len };

			copy = mem_dup(b.base, b.len);
			copy[i] ^= (uint8_t)(1u << bit);
			d.base = copy;
			/* what passes the check, the library can decode */
			if (raft_conf_check(copy, b.len) == 0) {
				assert_int_equal(
					raft_configuration_decode(&d, &c), 0);
				raft_configuration_close(&c);
			}
			mem_free(copy);
		}
	raft_free(b.base);
}

/* --- one host among scripted peers --- */

#define SENT 64

struct fix {
	struct crashfs *fs;
	struct minienv *mini;
	struct seg_head *log;
	struct seg_port *port;
	struct raft_host *host;
	struct raft_group *group;
	uint64_t number[4]; /* frames from peers */
	uint64_t to[SENT];
	struct raft_message sent[SENT];
	unsigned n_sent, n_applied;
};

static int fix_apply(void *arg, struct raft_group *g, const struct raft_cmd *cmd)
{
	struct fix *f = arg;

	(void)g;
	(void)cmd;
	f->n_applied++;
	return 0;
}

static void fix_send(void *arg, uint64_t to, const uint8_t *frame, size_t len)
{
	struct fix *f = arg;
	struct raft_wire_frame w;
	struct wire_reader r;
	uint32_t n;

	if (raft_frame_decode(&w, frame, len) != 0)
		abort();
	r = wire_vec_reader(w.messages, &n);
	for (; n > 0 && f->n_sent < SENT; n--) {
		struct wire_bytes entries;
		struct raft_item item;

		raft_item_get(&r, &item);
		f->to[f->n_sent] = to;
		if (raft_msg_decode(item.type, item.msg, &f->sent[f->n_sent++],
				    &entries) != 0)
			abort();
	}
}

static int fix_setup(void **state)
{
	static const uint64_t voters[] = { 1, 2, 3 };
	struct fix *f = calloc(1, sizeof *f);
	struct raft_host_config hc = {
		.id = 1, .apply = fix_apply, .send = fix_send, .arg = f,
		.election_ms = 1000, .heartbeat_ms = 100,
	};
	struct seg_config sc = {
		.dir = "/log", .segment_size = 1u << 16, .first_size = 1u << 15,
	};
	struct raft_group_config gc = { .voters = voters, .n_voters = 3 };
	struct errbuf e;

	f->fs = crashfs_new(1);
	f->mini = minienv_new(crashfs_vfs(f->fs), 5);
	hc.env = minienv_env(f->mini);
	if (raft_host_new(&hc, &f->host) != 0 ||
	    seg_head_open(hc.env, &sc, &f->log, &e) != 0 ||
	    seg_port_new(f->log, hc.env, &f->port) != 0)
		return -1;
	raft_host_set_log(f->host, f->log, f->port);
	if (raft_host_open_group(f->host, &gc, &f->group, &e) != 0 ||
	    raft_host_start(f->host) != 0)
		return -1;
	minienv_run(f->mini);
	*state = f;
	return 0;
}

static int fix_teardown(void **state)
{
	struct fix *f = *state;

	seg_head_close(f->log);
	raft_host_free(f->host);
	seg_port_free(f->port);
	minienv_free(f->mini);
	crashfs_free(f->fs);
	free(f);
	return 0;
}

static void quarantine_over(struct fix *f)
{
	minienv_advance(f->mini, 1000000000);
	f->n_sent = 0;
}

static int deliver_bytes(struct fix *f, uint64_t from, uint8_t type,
			 const struct buf *msg)
{
	struct raft_item item = { 0, type, wire_bytes(msg->data, msg->len) };
	struct raft_wire_frame w = {
		.magic = RAFT_FRAME_MAGIC, .version = RAFT_FRAME_VERSION,
		.session = 100 + from, .number = ++f->number[from],
	};
	struct wire_vec v;
	struct buf b;
	int rv;

	wire_vec_init(&v);
	raft_item_put(&v, &item);
	w.messages = wire_vec_bytes(&v);
	buf_init(&b, 0);
	assert_int_equal(raft_wire_frame_encode(&w, &b), 0);
	rv = raft_host_receive(f->host, from, b.data, b.len);
	buf_fini(&b);
	wire_vec_fini(&v);
	return rv;
}

static int deliver(struct fix *f, uint64_t from, const struct raft_message *m)
{
	struct buf b;
	int rv;

	buf_init(&b, 0);
	assert_int_equal(raft_msg_encode(m, &b), 0);
	rv = deliver_bytes(f, from, (uint8_t)m->type, &b);
	buf_fini(&b);
	return rv;
}

static int deliver_append(struct fix *f, uint64_t from,
			  struct raft_wire_append w,
			  const struct raft_wire_entry *e, unsigned n)
{
	struct wire_vec v;
	struct buf b;
	int rv;

	wire_vec_init(&v);
	for (unsigned i = 0; i < n; i++)
		raft_wire_entry_put(&v, &e[i]);
	w.entries = wire_vec_bytes(&v);
	buf_init(&b, 0);
	assert_int_equal(raft_wire_append_encode(&w, &b), 0);
	rv = deliver_bytes(f, from, RAFT_APPEND_ENTRIES, &b);
	buf_fini(&b);
	wire_vec_fini(&v);
	return rv;
}

static struct raft_message vote(uint64_t term, uint64_t from, bool pre,
				uint64_t index)
{
	struct raft_message m = { .type = RAFT_REQUEST_VOTE };

	m.request_vote = (struct raft_request_vote){
		.version = 2, .term = term, .candidate_id = from,
		.last_log_index = index, .last_log_term = 1, .pre_vote = pre,
	};
	return m;
}

static void test_no_vote_right_after_start(void **state)
{
	struct fix *f = *state;
	struct raft_message m = vote(2, 2, false, 1);

	assert_int_equal(deliver(f, 2, &m), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_sent, 0);
	assert_int_equal(raft_group_term(f->group), 1);
	quarantine_over(f);
	assert_int_equal(deliver(f, 2, &m), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_sent, 1);
	assert_true(f->sent[0].request_vote_result.vote_granted);
}

static void test_vote_is_durable_before_it_is_told(void **state)
{
	struct fix *f = *state;
	struct raft_message m = vote(2, 2, false, 1);
	struct crashfs_stats before, now;

	quarantine_over(f);
	crashfs_get_stats(f->fs, &before);
	assert_int_equal(deliver(f, 2, &m), 0);
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
	struct fix *f = *state;
	struct raft_message m = vote(9, 3, false, 1);

	quarantine_over(f);
	assert_int_equal(deliver(f, 3, &m), 0);
	minienv_run(f->mini);
	assert_int_equal(raft_group_term(f->group), 9);
	f->n_sent = 0;
	m = vote(3, 2, true, 5);
	assert_int_equal(deliver(f, 2, &m), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_sent, 1);
	assert_false(f->sent[0].request_vote_result.vote_granted);
	assert_true(f->sent[0].request_vote_result.pre_vote);
	assert_int_equal(f->sent[0].request_vote_result.term, 9);
}

static void test_stall_a_third_beat_is_refused(void **state)
{
	struct fix *f = *state;
	struct raft_wire_append w = {
		.term = 2, .prev_index = 1, .prev_term = 1, .commit = 5,
	};

	for (int i = 0; i < 3; i++) {
		f->n_sent = 0;
		assert_int_equal(deliver_append(f, 2, w, NULL, 0), 0);
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
	struct fix *f = *state;
	struct raft_wire_append w = { .term = 5 };

	assert_int_equal(deliver_append(f, 2, w, NULL, 0), 0);
	minienv_run(f->mini);
	f->n_sent = 0;
	w.term = 4;
	assert_int_equal(deliver_append(f, 3, w, NULL, 0), 0);
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
	struct fix *f = *state;
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

	assert_int_equal(deliver_append(f, 2, w, e, 4), 0);
	assert_int_equal(f->group->r.configuration_uncommitted_index, 4);
	minienv_run(f->mini);
	w.prev_index = 5;
	w.prev_term = 2;
	w.commit = 5;
	assert_int_equal(deliver_append(f, 2, w, NULL, 0), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_applied, 3);
	assert_int_equal(f->group->r.configuration_committed_index, 4);
	assert_int_equal(f->group->r.configuration_uncommitted_index, 0);
}

static void test_gap_needs_a_reset(void **state)
{
	struct fix *f = *state;
	struct raft_wire_append w = { .term = 2 };

	assert_int_equal(deliver_append(f, 2, w, NULL, 0), 0);
	f->number[2]++; /* one is lost */
	assert_int_equal(deliver_append(f, 2, w, NULL, 0), -ESTALE);
	assert_int_equal(deliver_append(f, 2, w, NULL, 0), -ESTALE);
	raft_host_link_reset(f->host, 2);
	f->number[2] = 0;
	assert_int_equal(deliver_append(f, 2, w, NULL, 0), 0);
	/* again: a number of the past */
	f->number[2] = 0;
	assert_int_equal(deliver_append(f, 2, w, NULL, 0), -ESTALE);
}

/* A leader must hear of a higher term in whatever answer it gets. */
static void test_higher_term_in_a_stale_index(void **state)
{
	struct fix *f = *state;
	struct raft_message m = { .type = RAFT_REQUEST_VOTE_RESULT };

	while (raft_state(&f->group->r) != RAFT_CANDIDATE)
		minienv_advance(f->mini, 100000000);
	for (int pre = 1; pre >= 0; pre--) {
		m.request_vote_result = (struct raft_request_vote_result){
			.version = 2, .term = 2, .vote_granted = true,
			.pre_vote = pre != 0, .features = 1, .capacity = 1,
		};
		assert_int_equal(deliver(f, 2, &m), 0);
		minienv_run(f->mini);
	}
	assert_int_equal(raft_state(&f->group->r), RAFT_LEADER);
	m.type = RAFT_APPEND_ENTRIES_RESULT;
	m.append_entries_result = (struct raft_append_entries_result){
		.version = 2, .term = 2, .last_log_index = 2,
		.features = 1, .capacity = 1,
	};
	assert_int_equal(deliver(f, 2, &m), 0);
	minienv_run(f->mini);
	assert_int_equal(raft_group_commit(f->group), 2);
	assert_true(raft_group_is_leader(f->group));
	m.append_entries_result.term = 7;
	m.append_entries_result.rejected = 2;
	m.append_entries_result.last_log_index = 1;
	assert_int_equal(deliver(f, 2, &m), 0);
	minienv_run(f->mini);
	assert_int_equal(raft_group_term(f->group), 7);
	assert_false(raft_group_is_leader(f->group));
}

/* Nothing a peer sends, well-formed or not, stops the process. */
static void test_lies(void **state)
{
	struct fix *f = *state;
	struct raft_message m = { .type = RAFT_APPEND_ENTRIES_RESULT };
	uint64_t rng = 77;

	quarantine_over(f);
	for (int i = 0; i < 20000; i++) {
		uint64_t from = 2 + (rng >> 40) % 2;
		uint64_t term = raft_group_term(f->group) + (rng >> 44) % 3;

		rng = rng * 6364136223846793005u + 1442695040888963407u;
		memset(&m, 0, sizeof m);
		switch (rng >> 60) {
		case 0:
		case 1:
			m = vote(term + 1, from, (rng >> 50 & 1) != 0,
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
		assert_int_equal(deliver(f, from, &m), 0);
		minienv_run(f->mini);
		f->n_sent = 0;
	}
}

static void test_cut_frames(void **state)
{
	struct fix *f = *state;
	struct raft_message m = vote(2, 2, false, 1);
	struct raft_item item = { 0, RAFT_REQUEST_VOTE, { NULL, 0 } };
	struct raft_wire_frame w = {
		.magic = RAFT_FRAME_MAGIC, .version = RAFT_FRAME_VERSION,
		.session = 1, .number = 1,
	};
	struct wire_vec v;
	struct buf b, msg;

	buf_init(&b, 0);
	buf_init(&msg, 0);
	assert_int_equal(raft_msg_encode(&m, &msg), 0);
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
#define T(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trap_c_every_field_travels),
		cmocka_unit_test(test_impossible_messages),
		cmocka_unit_test(test_configurations),
		T(test_no_vote_right_after_start),
		T(test_vote_is_durable_before_it_is_told),
		T(test_stall_a_third_beat_is_refused),
		T(test_stall_b_refusal_tells_the_term),
		T(test_trap_g_configuration_behind_others),
		T(test_trap_h_stale_append_is_refused),
		T(test_higher_term_in_a_stale_index),
		T(test_gap_needs_a_reset),
		T(test_lies),
		T(test_cut_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
