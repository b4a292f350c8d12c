/*
 * Changes of the configuration, by a leader among scripted peers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "tests/unit/raft_peers.h"

#define MS 1000000ull

struct change {
	struct raft_change change;
	unsigned done;
	uint32_t status;
};

static void change_done(struct raft_change *c, uint32_t status)
{
	struct change *x = CONTAINER_OF(c, struct change, change);

	x->done++;
	x->status = status;
}

static void begin(struct peers *f, struct change *x, uint64_t id,
		  enum raft_role role)
{
	*x = (struct change){
		.change = { .id = id, .role = role, .done = change_done },
	};
	raft_group_change(f->group, &x->change);
	assert_int_equal(x->done, 0);
	minienv_run(f->mini);
}

static uint64_t last(const struct peers *f)
{
	return rlog_last(&f->group->log);
}

static void answer(struct peers *f, uint64_t from, uint64_t index)
{
	struct raft_message m = peers_result(raft_group_term(f->group), index);

	assert_int_equal(
		peers_say(f, from, &m, env_now_ns(f->host->env)), 0);
	minienv_run(f->mini);
}

#define assert_done(x, what) \
	do { \
		assert_int_equal((x)->done, 1); \
		assert_int_equal((x)->status, RPC_STATUS_##what); \
	} while (0)

static enum raft_role role_of(struct peers *f, uint64_t id)
{
	struct raft_member m[8];
	unsigned n = raft_group_members(f->group, m, 8);

	for (unsigned i = 0; i < n; i++)
		if (m[i].id == id)
			return m[i].role;
	return RAFT_ROLE_NONE;
}

static int one_setup(void **state)
{
	struct peers *f = calloc(1, sizeof *f);

	f->fs = crashfs_new(1);
	f->n_voters = 1;
	*state = f;
	return peers_start(f);
}

static int two_setup(void **state)
{
	struct peers *f = calloc(1, sizeof *f);

	f->fs = crashfs_new(1);
	f->n_voters = 2;
	*state = f;
	return peers_start(f);
}

static void test_one_to_two(void **state)
{
	struct peers *f = *state;
	struct change x, y;

	assert_true(raft_group_can_read(f->group));
	begin(f, &x, 2, RAFT_ROLE_VOTER);
	assert_done(&x, INVAL);
	begin(f, &x, 2, RAFT_ROLE_SPARE);
	assert_done(&x, OK);
	assert_int_equal(role_of(f, 2), RAFT_ROLE_SPARE);
	assert_true(raft_group_can_read(f->group));
	begin(f, &x, 2, RAFT_ROLE_VOTER);
	assert_done(&x, INVAL);
	assert_null(peers_last(f, 2, RAFT_APPEND_ENTRIES, NULL));
	begin(f, &x, 2, RAFT_ROLE_STANDBY);
	assert_done(&x, OK);
	/* now it gets the log; nobody votes but us */
	minienv_advance(f->mini, PEERS_HEARTBEAT_MS * MS);
	assert_non_null(peers_last(f, 2, RAFT_APPEND_ENTRIES, NULL));
	assert_true(raft_group_can_read(f->group));
	begin(f, &x, 2, RAFT_ROLE_VOTER);
	assert_int_equal(x.done, 0);
	begin(f, &y, 3, RAFT_ROLE_SPARE);
	assert_done(&y, BUSY);
	assert_int_equal(role_of(f, 2), RAFT_ROLE_STANDBY);
	answer(f, 2, last(f) - 1);
	assert_int_equal(role_of(f, 2), RAFT_ROLE_STANDBY);
	answer(f, 2, last(f));
	/* in force before it is committed, and it takes both */
	assert_int_equal(role_of(f, 2), RAFT_ROLE_VOTER);
	assert_false(raft_group_settled(f->group));
	assert_int_equal(x.done, 0);
	begin(f, &y, 3, RAFT_ROLE_SPARE);
	assert_done(&y, BUSY);
	/* the lease is that of two now: 2 has answered, so there is one */
	assert_false(f->group->sole_voter);
	assert_true(f->group->lease_until > env_now_ns(f->host->env));
	answer(f, 2, last(f));
	assert_done(&x, OK);
	assert_true(raft_group_settled(f->group));
	begin(f, &y, 3, RAFT_ROLE_SPARE);
	assert_int_equal(y.done, 0);
	answer(f, 2, last(f));
	assert_done(&y, OK);
	minienv_advance(f->mini, PEERS_ELECTION_MS * MS);
	assert_false(raft_group_can_read(f->group));
}

static void test_three_to_one(void **state)
{
	struct peers *f = *state;
	struct change x;

	peers_lead(f);
	begin(f, &x, 3, RAFT_ROLE_NONE);
	assert_int_equal(x.done, 0);
	assert_int_equal(role_of(f, 3), RAFT_ROLE_NONE);
	answer(f, 3, last(f)); /* nobody any more */
	assert_int_equal(x.done, 0);
	answer(f, 2, last(f));
	assert_done(&x, OK);
	begin(f, &x, 2, RAFT_ROLE_STANDBY);
	assert_done(&x, OK);
	assert_true(f->group->sole_voter);
	assert_false(f->group->one_voter);
	assert_true(raft_group_can_read(f->group));
	begin(f, &x, 2, RAFT_ROLE_NONE);
	assert_done(&x, OK);
	assert_true(f->group->one_voter);
	begin(f, &x, 1, RAFT_ROLE_NONE);
	assert_done(&x, INVAL);
	begin(f, &x, 1, RAFT_ROLE_VOTER); /* it is */
	assert_done(&x, OK);
	begin(f, &x, 7, RAFT_ROLE_NONE); /* nor is that one */
	assert_done(&x, OK);
}

/* Not before an entry of the own term is committed. */
static void test_no_change_before_an_own_entry(void **state)
{
	struct peers *f = *state;
	struct raft_message m = { .type = RAFT_REQUEST_VOTE_RESULT };
	struct change x;

	begin(f, &x, 4, RAFT_ROLE_SPARE);
	assert_done(&x, NOT_LEADER);
	while (raft_state(&f->group->r) != RAFT_CANDIDATE)
		minienv_advance(f->mini, 100 * MS);
	for (int pre = 1; pre >= 0; pre--) {
		m.request_vote_result = (struct raft_request_vote_result){
			.version = 2, .term = 2, .vote_granted = true,
			.pre_vote = pre != 0, .features = 1, .capacity = 1,
		};
		assert_int_equal(peers_say(f, 2, &m, 0), 0);
		minienv_run(f->mini);
	}
	assert_int_equal(raft_state(&f->group->r), RAFT_LEADER);
	begin(f, &x, 4, RAFT_ROLE_SPARE);
	assert_done(&x, BUSY);
	answer(f, 2, last(f));
	begin(f, &x, 4, RAFT_ROLE_SPARE);
	assert_int_equal(x.done, 0);
	answer(f, 3, last(f));
	assert_done(&x, OK);
}

static void test_leader_does_not_remove_itself(void **state)
{
	struct peers *f = *state;
	struct change x;

	peers_lead(f);
	begin(f, &x, 1, RAFT_ROLE_STANDBY);
	assert_done(&x, BUSY); /* nobody is known to live */
	answer(f, 2, last(f));
	f->n_sent = 0;
	begin(f, &x, 1, RAFT_ROLE_NONE);
	assert_done(&x, NOT_LEADER);
	assert_non_null(peers_last(f, 2, RAFT_TIMEOUT_NOW, NULL));
	begin(f, &x, 3, RAFT_ROLE_NONE);
	assert_done(&x, NOT_LEADER); /* on its way out */
}

static void test_leadership_lost_on_the_way(void **state)
{
	struct peers *f = *state;
	struct raft_message m;
	uint64_t term = peers_lead(f);
	struct change x;

	begin(f, &x, 4, RAFT_ROLE_SPARE);
	m = peers_result(term + 1, 1);
	assert_int_equal(peers_say(f, 2, &m, 0), 0);
	minienv_run(f->mini);
	assert_done(&x, UNKNOWN_OUTCOME);
	/* it is still in the log, and in force */
	assert_int_equal(role_of(f, 4), RAFT_ROLE_SPARE);
	assert_false(raft_group_settled(f->group));
}

static void test_standby_that_does_not_keep_up(void **state)
{
	struct peers *f = *state;
	struct change x;

	begin(f, &x, 2, RAFT_ROLE_STANDBY);
	assert_done(&x, OK);
	begin(f, &x, 2, RAFT_ROLE_VOTER);
	for (unsigned i = 0; x.done == 0; i++) {
		assert_true(i < 100);
		minienv_advance(f->mini, 100 * MS);
	}
	assert_done(&x, BUSY);
	/* one that has all of it already is not waited for */
	answer(f, 2, last(f));
	begin(f, &x, 2, RAFT_ROLE_VOTER);
	assert_int_equal(role_of(f, 2), RAFT_ROLE_VOTER);
	answer(f, 2, last(f));
	assert_done(&x, OK);
}

/* Trap L: else the one that lost its vote may have more, and nobody leads. */
static void test_trap_l_change_is_durable_before_it_is_told(void **state)
{
	struct peers *f = *state;
	struct change x = {
		.change = { .id = 2, .role = RAFT_ROLE_STANDBY,
			    .done = change_done },
	};

	peers_lead(f);
	minienv_advance(f->mini, PEERS_HEARTBEAT_MS * MS);
	f->n_sent = 0;
	raft_group_change(f->group, &x.change);
	while (f->n_sent == 0) {
		assert_true(minienv_step(f->mini));
		assert_true(f->n_sent == 0 ||
			    f->group->stored == rlog_last(&f->group->log));
	}
	minienv_run(f->mini);
	assert_non_null(peers_last(f, 2, RAFT_APPEND_ENTRIES, NULL));
	assert_int_equal(f->group->gate.len, 0);
	assert_done(&x, OK);
}

/* --- as a follower --- */

static size_t conf_bytes(const uint64_t *voters, unsigned n, uint64_t standby,
			 struct raft_buffer *ret)
{
	struct raft_configuration c;
	char name[8] = "";

	raft_configuration_init(&c);
	for (unsigned i = 0; i < n; i++) {
		name[0] = (char)('0' + voters[i]);
		assert_int_equal(raft_configuration_add(&c, voters[i], name,
							RAFT_VOTER), 0);
	}
	name[0] = (char)('0' + standby);
	if (standby != 0)
		assert_int_equal(raft_configuration_add(&c, standby, name,
							RAFT_STANDBY), 0);
	assert_int_equal(raft_configuration_encode(&c, ret), 0);
	raft_configuration_close(&c);
	return ret->len;
}

static struct raft_wire_entry conf_entry(uint64_t term,
					 const struct raft_buffer *b)
{
	return (struct raft_wire_entry){ term, RAFT_CHANGE,
					 wire_bytes(b->base, b->len) };
}

static void test_removed_member_stops_voting(void **state)
{
	static const uint64_t others[] = { 2, 3 };
	struct peers *f = *state;
	struct raft_wire_append w = {
		.term = 2, .prev_index = 1, .prev_term = 1, .commit = 1,
	};
	struct raft_wire_entry e;
	struct raft_message m;
	struct raft_buffer b;

	(void)conf_bytes(others, 2, 0, &b);
	e = conf_entry(2, &b);
	peers_quarantine_over(f);
	assert_int_equal(peers_append(f, 2, w, &e, 1), 0);
	minienv_run(f->mini);
	f->n_sent = 0;
	/* it does not stand */
	minienv_advance(f->mini, 10 * PEERS_ELECTION_MS * MS);
	assert_int_equal(f->n_sent, 0);
	/* nor give its vote, to anybody, however much it has */
	m = peers_vote(9, 3, false, 100);
	m.request_vote.last_log_term = 8;
	m.request_vote.disrupt_leader = true;
	assert_int_equal(peers_say(f, 3, &m, 0), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_sent, 1);
	assert_false(f->sent[0].request_vote_result.vote_granted);
	raft_free(b.base);
}

/*
 * Trap I: a second configuration comes before the first one was applied, and
 * is rolled back: then the first one is in force.
 */
static void test_trap_i_rollback_to_the_configuration_before(void **state)
{
	static const uint64_t all[] = { 1, 2, 3, 4 };
	struct peers *f = *state;
	struct raft_wire_append w = {
		.term = 2, .prev_index = 1, .prev_term = 1, .commit = 1,
	};
	struct raft_buffer four, three;
	struct raft_wire_entry e[2];

	(void)conf_bytes(all, 3, 4, &three);
	(void)conf_bytes(all, 4, 0, &four);
	e[0] = conf_entry(2, &three);
	e[1] = conf_entry(2, &four);
	/* in one message: nothing can have been applied between them */
	assert_int_equal(peers_append(f, 2, w, e, 2), 0);
	assert_int_equal(role_of(f, 4), RAFT_ROLE_VOTER);
	minienv_run(f->mini);
	assert_int_equal(f->group->applied, 1);
	/* the next leader never had the second one */
	w.term = 3;
	w.prev_index = 2;
	w.prev_term = 2;
	e[0] = (struct raft_wire_entry){ 3, RAFT_COMMAND, wire_bytes("a", 1) };
	assert_int_equal(peers_append(f, 3, w, e, 1), 0);
	minienv_run(f->mini);
	assert_int_equal(role_of(f, 4), RAFT_ROLE_STANDBY);
	assert_int_equal(f->group->r.configuration_committed_index, 2);
	raft_free(four.base);
	raft_free(three.base);
}

/*
 * Trap J: store 2 led in term 2 and gave up its vote; store 1 is alone and
 * must not lead in that term, in which store 2 may have written more.
 */
static void test_trap_j_last_voter_takes_a_new_term(void **state)
{
	static const uint64_t one[] = { 1 };
	struct peers *f = *state;
	struct raft_wire_append w = {
		.term = 2, .prev_index = 1, .prev_term = 1, .commit = 1,
	};
	struct raft_buffer b;
	struct raft_wire_entry e;
	struct raft_message m = { .type = RAFT_TIMEOUT_NOW };
	struct crashfs_stats before, now;

	(void)conf_bytes(one, 1, 2, &b);
	e = conf_entry(2, &b);
	peers_quarantine_over(f);
	assert_int_equal(peers_append(f, 2, w, &e, 1), 0);
	minienv_run(f->mini);
	assert_true(f->group->sole_voter);
	/* this would make it lead at once */
	m.timeout_now = (struct raft_timeout_now){
		.term = 2, .last_log_index = 2, .last_log_term = 2,
	};
	assert_int_equal(peers_say(f, 2, &m, 0), 0);
	assert_int_equal(raft_state(&f->group->r), RAFT_FOLLOWER);
	crashfs_get_stats(f->fs, &before);
	while (raft_state(&f->group->r) != RAFT_LEADER)
		minienv_advance(f->mini, 10 * MS);
	crashfs_get_stats(f->fs, &now);
	assert_int_equal(raft_current_term(&f->group->r), 3);
	assert_int_equal(f->group->term, 3);
	assert_true(now.syncs > before.syncs);
	assert_int_equal(f->group->hard_pending, 0);
	minienv_run(f->mini);
	assert_true(f->leader);
	/* one that was asked to lead, and not told that it was removed */
	m = peers_vote(8, 2, false, 1);
	m.request_vote.disrupt_leader = true;
	assert_int_equal(peers_say(f, 2, &m, 0), 0);
	assert_int_equal(raft_state(&f->group->r), RAFT_FOLLOWER);
	for (unsigned i = 0; raft_state(&f->group->r) != RAFT_LEADER; i++) {
		assert_true(i < 100);
		minienv_advance(f->mini, PEERS_ELECTION_MS / 10 * MS);
	}
	assert_int_equal(raft_current_term(&f->group->r), 9);
	minienv_run(f->mini);
	assert_true(f->leader);
	/* and after a restart it is another one again */
	peers_stop(f);
	assert_int_equal(peers_start(f), 0);
	minienv_run(f->mini);
	assert_true(raft_group_is_leader(f->group));
	assert_int_equal(raft_current_term(&f->group->r), 10);
	raft_free(b.base);
}

/*
 * Trap K: store 2 was alone with its stand-by, store 1, made a voter of it,
 * and died before store 1 heard of that. It needs the vote of store 1.
 */
static void test_trap_k_standby_votes(void **state)
{
	static const uint64_t two[] = { 2 };
	struct peers *f = *state;
	struct raft_wire_append w = {
		.term = 2, .prev_index = 1, .prev_term = 1, .commit = 2,
	};
	struct raft_wire_entry e;
	struct raft_message m;
	struct raft_buffer b;

	(void)conf_bytes(two, 1, 1, &b);
	e = conf_entry(2, &b);
	assert_int_equal(peers_append(f, 2, w, &e, 1), 0);
	minienv_run(f->mini);
	assert_int_equal(role_of(f, 1), RAFT_ROLE_STANDBY);
	assert_false(f->group->voter);
	peers_quarantine_over(f);
	w.prev_index = 2;
	w.prev_term = 2;
	assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
	minienv_run(f->mini);
	m = peers_vote(3, 2, true, 3);
	m.request_vote.last_log_term = 2;
	f->n_sent = 0;
	/* but not as long as it may still have that leader */
	minienv_advance(f->mini, PEERS_ELECTION_MS * MS - 1);
	assert_int_equal(peers_say(f, 2, &m, 0), 0);
	minienv_run(f->mini);
	assert_false(f->sent[0].request_vote_result.vote_granted);
	minienv_advance(f->mini, MS);
	f->n_sent = 0;
	for (int pre = 1; pre >= 0; pre--) {
		m.request_vote.pre_vote = pre != 0;
		assert_int_equal(peers_say(f, 2, &m, 0), 0);
		minienv_run(f->mini);
	}
	assert_int_equal(f->n_sent, 2);
	assert_true(f->sent[0].request_vote_result.vote_granted);
	assert_true(f->sent[1].request_vote_result.vote_granted);
	assert_int_equal(f->group->vote, 2);
	/* one that has less than it is refused as ever */
	m = peers_vote(4, 3, false, 1);
	assert_int_equal(peers_say(f, 3, &m, 0), 0);
	minienv_run(f->mini);
	assert_false(f->sent[2].request_vote_result.vote_granted);
	/* and it does not stand itself */
	assert_int_equal(role_of(f, 1), RAFT_ROLE_STANDBY);
	f->n_sent = 0;
	minienv_advance(f->mini, 10 * PEERS_ELECTION_MS * MS);
	assert_int_equal(f->n_sent, 0);
	raft_free(b.base);
}

/* It has nothing yet and is told everything. */
static void test_new_member(void **state)
{
	static const uint64_t voters[] = { 2, 3 };
	struct peers *f = *state;
	struct raft_wire_append w = { .term = 5, .commit = 1 };
	struct raft_group_config gc = { .group = 9 };
	struct raft_wire_entry e[3];
	struct raft_buffer b[2];
	struct raft_group *g;
	struct errbuf err;

	assert_int_equal(raft_host_open_group(f->host, &gc, &g, &err), 0);
	minienv_run(f->mini);
	assert_int_equal(raft_group_members(g, NULL, 0), 0);
	minienv_advance(f->mini, 10 * PEERS_ELECTION_MS * MS);
	assert_null(peers_last(f, 3, RAFT_REQUEST_VOTE, NULL));
	f->group = g;
	f->group_id = 9;
	(void)conf_bytes(voters, 2, 0, &b[0]);
	(void)conf_bytes(voters, 2, 1, &b[1]);
	e[0] = conf_entry(1, &b[0]);
	e[1] = (struct raft_wire_entry){ 5, RAFT_COMMAND, wire_bytes("a", 1) };
	e[2] = conf_entry(5, &b[1]);
	f->n_applied = 0;
	assert_int_equal(peers_append(f, 2, w, e, 3), 0);
	minienv_run(f->mini);
	assert_int_equal(role_of(f, 1), RAFT_ROLE_STANDBY);
	assert_int_equal(f->n_applied, 0);
	/* rolled back to the very first one */
	w = (struct raft_wire_append){
		.term = 6, .prev_index = 2, .prev_term = 5, .commit = 3,
	};
	e[0] = (struct raft_wire_entry){ 6, RAFT_COMMAND, wire_bytes("b", 1) };
	assert_int_equal(peers_append(f, 3, w, e, 1), 0);
	minienv_run(f->mini);
	assert_int_equal(raft_group_members(g, NULL, 0), 2);
	assert_int_equal(f->n_applied, 2);
	raft_free(b[0].base);
	raft_free(b[1].base);
}

int main(void)
{
#define T(name) \
	cmocka_unit_test_setup_teardown(name, peers_setup, peers_teardown)
#define T1(name) \
	cmocka_unit_test_setup_teardown(name, one_setup, peers_teardown)
	const struct CMUnitTest tests[] = {
		T1(test_one_to_two),
		T(test_three_to_one),
		T(test_no_change_before_an_own_entry),
		T(test_leader_does_not_remove_itself),
		T(test_leadership_lost_on_the_way),
		T1(test_standby_that_does_not_keep_up),
		cmocka_unit_test_setup_teardown(
			test_trap_l_change_is_durable_before_it_is_told,
			two_setup, peers_teardown),
		T(test_removed_member_stops_voting),
		T(test_trap_i_rollback_to_the_configuration_before),
		cmocka_unit_test_setup_teardown(
			test_trap_j_last_voter_takes_a_new_term, two_setup,
			peers_teardown),
		cmocka_unit_test_setup_teardown(test_trap_k_standby_votes,
						two_setup, peers_teardown),
		T1(test_new_member),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
