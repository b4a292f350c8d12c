/*
 * Frames between raft hosts: the codec.
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

/* --- the codec --- */

static void round_trip(const struct raft_message *m, struct raft_message *ret)
{
	struct raft_extra x = { .stamp = 77 };
	struct buf b;

	buf_init(&b, 0);
	assert_int_equal(raft_msg_encode(m, &x, &b), 0);
	memset(ret, 0, sizeof *ret);
	memset(&x, 0xff, sizeof x);
	assert_int_equal(raft_msg_decode((uint8_t)m->type,
					 wire_bytes(b.data, b.len), ret,
					 &x), 0);
	assert_int_equal(x.entries.len, 0);
	assert_int_equal(x.stamp, m->type == RAFT_APPEND_ENTRIES_RESULT ? 77
									: 0);
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
		.version = 1, .term = 7, .last_log_index = 4,
		.last_log_term = 3,
	};
	round_trip(&m, &r);
	assert_int_equal(r.timeout_now.version, 1);
	assert_int_equal(r.timeout_now.term, 7);
	assert_int_equal(r.timeout_now.last_log_index, 4);
	assert_int_equal(r.timeout_now.last_log_term, 3);
	m.type = RAFT_INSTALL_SNAPSHOT;
	m.install_snapshot = (struct raft_install_snapshot){
		.version = 1, .term = 7, .last_index = 4, .last_term = 3,
	};
	round_trip(&m, &r);
	assert_int_equal(r.install_snapshot.version, 1);
	assert_int_equal(r.install_snapshot.term, 7);
	assert_int_equal(r.install_snapshot.last_index, 4);
	assert_int_equal(r.install_snapshot.last_term, 3);
}

static int decode_append(const struct raft_wire_append *w)
{
	struct raft_message m;
	struct raft_extra x;
	struct buf b;
	int rv;

	buf_init(&b, 0);
	assert_int_equal(raft_wire_append_encode(w, &b), 0);
	rv = raft_msg_decode(RAFT_APPEND_ENTRIES, wire_bytes(b.data, b.len),
			     &m, &x);
	assert_true(rv != 0 || x.stamp == w->stamp);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trap_c_every_field_travels),
		cmocka_unit_test(test_impossible_messages),
		cmocka_unit_test(test_configurations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
