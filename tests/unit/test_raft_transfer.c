/*
 * Leadership handed on: by request, by the watchdogs, on the way out.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/raft_peers.h"

#define MS 1000000ull

struct op {
	struct raft_submit submit;
	unsigned failed;
	uint32_t status;
};

static void op_failed(struct raft_submit *s, uint32_t status)
{
	struct op *op = CONTAINER_OF(s, struct op, submit);

	op->failed++;
	op->status = status;
}

static void submit(struct peers *f, struct op *op)
{
	*op = (struct op){ .submit.failed = op_failed };
	buf_init(&op->submit.data, 0);
	buf_add(&op->submit.data, "x", 1);
	raft_submit(f->group, &op->submit);
	minienv_run(f->mini);
}

/* A peer has everything, applied up to `applied`, and knows the time. */
static void answer(struct peers *f, uint64_t from, uint64_t index,
		   struct raft_extra x)
{
	struct raft_message m = peers_result(raft_group_term(f->group), index);

	if (x.stamp == 0)
		x.stamp = env_now_ns(f->host->env);
	assert_int_equal(peers_say_extra(f, from, &m, &x), 0);
	minienv_run(f->mini);
}

static uint64_t last(const struct peers *f)
{
	return rlog_last(&f->group->log);
}

static bool asked(const struct peers *f, uint64_t to)
{
	return peers_last(f, to, RAFT_TIMEOUT_NOW, NULL) != NULL;
}

static void test_transfer_waits_for_the_log(void **state)
{
	struct peers *f = *state;
	struct raft_extra x = { .stamp = 0 };
	struct op op[2];

	assert_int_equal(raft_group_transfer(f->group, 2), -EPERM);
	peers_lead(f);
	submit(f, &op[0]);
	answer(f, 3, last(f), x); /* with 3 it is committed */
	assert_int_equal(f->n_applied, 1);
	assert_true(raft_group_can_read(f->group));
	f->n_sent = 0;
	assert_int_equal(raft_group_transfer(f->group, 7), -ENOENT);
	assert_int_equal(raft_group_transfer(f->group, 1), -ENOENT);
	assert_int_equal(raft_group_transfer(f->group, 2), 0);
	assert_false(raft_group_can_read(f->group));
	assert_int_equal(raft_group_transfer(f->group, 3), -EBUSY);
	assert_int_equal(raft_group_leader(f->group), 2);
	minienv_run(f->mini);
	/* 2 lacks an entry, and says so: too early */
	answer(f, 2, last(f) - 1, x);
	assert_false(asked(f, 2));
	submit(f, &op[1]);
	assert_int_equal(op[1].failed, 1);
	assert_int_equal(op[1].status, RPC_STATUS_NOT_LEADER);
	answer(f, 2, last(f), x);
	assert_true(asked(f, 2));
	assert_false(asked(f, 3));
	assert_int_equal(raft_group_leader(f->group), 2);
	assert_int_equal(op[0].failed, 0);
}

static void test_transfer_gives_up(void **state)
{
	struct peers *f = *state;
	struct raft_extra x = { .stamp = 0 };
	struct raft_message m;
	uint64_t term = peers_lead(f), told;
	struct op op;

	answer(f, 2, last(f), x);
	assert_int_equal(raft_group_transfer(f->group, 0), 0);
	minienv_run(f->mini);
	assert_true(asked(f, 2)); /* the one that was heard of */
	told = env_now_ns(f->host->env);
	/* 2 is silent, 3 keeps us in office */
	for (unsigned i = 0; i < PEERS_ELECTION_MS / 100; i++) {
		answer(f, 3, last(f), x);
		assert_false(raft_group_can_read(f->group));
		minienv_advance(f->mini, 100 * MS);
		f->n_sent = 0;
	}
	minienv_advance(f->mini, 100 * MS);
	assert_int_equal(raft_group_term(f->group), term);
	assert_true(raft_group_is_leader(f->group));
	submit(f, &op);
	answer(f, 3, last(f), x);
	assert_int_equal(f->n_applied, 1);
	assert_int_equal(op.failed, 0);
	/* it may still be elected, until it has answered something newer */
	assert_false(raft_group_can_read(f->group));
	x.stamp = told;
	answer(f, 2, last(f), x);
	assert_false(raft_group_can_read(f->group));
	x.stamp = told + 1;
	answer(f, 2, last(f), x);
	x.stamp = 0;
	answer(f, 3, last(f), x);
	assert_true(raft_group_can_read(f->group));
	/* and then elected after all: heard of by its term */
	m = peers_result(term + 1, 1);
	assert_int_equal(peers_say(f, 2, &m, 0), 0);
	assert_false(raft_group_can_read(f->group));
}

static void removed(struct raft_change *c, uint32_t status)
{
	(void)c;
	assert_int_equal(status, RPC_STATUS_OK);
}

/* It may win in the configuration before, and never answers any more. */
static void test_told_then_removed(void **state)
{
	struct peers *f = *state;
	struct raft_extra x = { .stamp = 0 };
	struct raft_change c = { .id = 2, .role = RAFT_ROLE_NONE,
				 .done = removed };
	uint64_t term = peers_lead(f);
	struct raft_message m;

	answer(f, 2, last(f), x);
	assert_int_equal(raft_group_transfer(f->group, 2), 0);
	minienv_run(f->mini);
	assert_true(asked(f, 2));
	for (unsigned i = 0; i <= PEERS_ELECTION_MS / 100; i++) {
		answer(f, 3, last(f), x);
		minienv_advance(f->mini, 100 * MS);
		f->n_sent = 0;
	}
	raft_group_change(f->group, &c);
	minienv_run(f->mini);
	answer(f, 3, last(f), x);
	assert_null(raft_follower_find(f->group, 2));
	assert_true(raft_group_settled(f->group));
	assert_true(raft_group_is_leader(f->group));
	assert_false(raft_group_can_read(f->group));
	/* the next term is another matter */
	m = peers_result(term + 1, 1);
	assert_int_equal(peers_say(f, 3, &m, 0), 0);
	assert_false(f->group->told_gone);
}

static void test_asked_to_lead(void **state)
{
	struct peers *f = *state;
	struct raft_wire_append w = {
		.term = 2, .prev_index = 1, .prev_term = 1, .commit = 1,
	};
	struct raft_message m = { .type = RAFT_TIMEOUT_NOW };
	const struct raft_message *v;

	peers_quarantine_over(f);
	assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
	minienv_run(f->mini);
	m.timeout_now = (struct raft_timeout_now){
		.term = 2, .last_log_index = 1, .last_log_term = 1,
	};
	f->n_sent = 0;
	assert_int_equal(peers_say(f, 2, &m, 0), 0);
	minienv_run(f->mini);
	v = peers_last(f, 3, RAFT_REQUEST_VOTE, NULL);
	assert_non_null(v);
	assert_int_equal(v->request_vote.term, 3);
	assert_true(v->request_vote.disrupt_leader);
	assert_false(v->request_vote.pre_vote);
	/*
	 * Nobody answered. A leader of term 3, elected meanwhile, dropped no
	 * lease: the next try must not disrupt it. And if this store has been
	 * removed (trap O), it must not raise the term of others either.
	 */
	f->n_sent = 0;
	while (peers_last(f, 3, RAFT_REQUEST_VOTE, NULL) == NULL)
		minienv_advance(f->mini, 100 * MS);
	v = peers_last(f, 3, RAFT_REQUEST_VOTE, NULL);
	assert_int_equal(v->request_vote.term, 4);
	assert_false(v->request_vote.disrupt_leader);
	assert_true(v->request_vote.pre_vote);
	assert_int_equal(raft_group_term(f->group), 3);
}

/* Lets time pass under a leader whose followers answer as told. */
static void pass(struct peers *f, unsigned ms, const uint64_t index[2],
		 struct raft_extra x2, struct raft_extra x3)
{
	for (unsigned i = 0; i < ms / 100; i++) {
		if (asked(f, 2) || asked(f, 3))
			return;
		f->n_sent = 0;
		minienv_advance(f->mini, 100 * MS);
		if (asked(f, 2) || asked(f, 3))
			return;
		answer(f, 2, index[0], x2);
		answer(f, 3, index[1], x3);
	}
}

/* A follower of so much room answers each beat for so long, or until asked. */
static void pass_with_room(struct peers *f, unsigned ms, uint16_t of_2,
			   uint16_t of_3)
{
	for (unsigned i = 0; i < ms / 100 && !asked(f, 2) && !asked(f, 3);
	     i++) {
		struct raft_message m =
			peers_result(raft_group_term(f->group), last(f));

		f->n_sent = 0;
		m.append_entries_result.capacity = of_2;
		assert_int_equal(peers_say(f, 2, &m,
					   env_now_ns(f->host->env)), 0);
		m.append_entries_result.capacity = of_3;
		assert_int_equal(peers_say(f, 3, &m,
					   env_now_ns(f->host->env)), 0);
		minienv_run(f->mini);
		minienv_advance(f->mini, 100 * MS);
	}
}

/* Trap D: it steps aside before its disk is full, if that helps. */
static void test_trap_d_short_of_room_hands_on(void **state)
{
	uint64_t room = (uint64_t)RAFT_ROOM << 20;
	struct peers *f = *state;
	struct raft_host_stats stats;

	f->room = &room;
	(void)peers_lead(f);
	pass_with_room(f, 2000, 60000, 60000);
	assert_false(asked(f, 2) || asked(f, 3)); /* just enough */
	room--;
	pass_with_room(f, 2000, 0, 2 * RAFT_ROOM - 1);
	assert_false(asked(f, 2) || asked(f, 3)); /* they are no better */
	pass_with_room(f, 500, 0, 2 * RAFT_ROOM);
	assert_true(asked(f, 3));
	assert_false(asked(f, 2));
	raft_host_stats(f->host, &stats);
	assert_int_equal(stats.rooms, 1);
	/* it did not take over: submits are taken for a while again */
	f->n_sent = 0;
	pass_with_room(f, RAFT_STUCK_MS - 1000, 0, 2 * RAFT_ROOM);
	assert_false(asked(f, 3));
	assert_false(raft_group_in_transfer(f->group));
	pass_with_room(f, 2000, 0, 2 * RAFT_ROOM);
	assert_true(asked(f, 3));
}

/* Trap D: what adds bytes is refused when a majority cannot take it. */
static void test_trap_d_a_majority_has_room(void **state)
{
	static const uint64_t none = 0;
	struct peers *f = *state;

	(void)peers_lead(f);
	assert_true(raft_group_has_room(f->group)); /* nobody spoke yet */
	pass_with_room(f, 200, 0, 1);
	assert_true(raft_group_has_room(f->group));
	pass_with_room(f, 200, 0, 0);
	assert_false(raft_group_has_room(f->group));
	pass_with_room(f, 200, 9, 0);
	assert_true(raft_group_has_room(f->group));
	f->room = &none; /* the store's own matter */
	pass_with_room(f, 200, 9, 0);
	assert_true(raft_group_has_room(f->group));
}

static int alone_setup(void **state)
{
	struct peers *f = calloc(1, sizeof *f);

	f->fs = crashfs_new(1);
	f->n_voters = 1;
	*state = f;
	return peers_start(f);
}

/* Nobody else has it: a group of one leads whatever its disk has. */
static void test_trap_d_alone_there_is_nobody_to_hand_on_to(void **state)
{
	static const uint64_t none = 0;
	struct peers *f = *state;
	struct op op;

	f->room = &none;
	assert_true(raft_group_is_leader(f->group));
	for (unsigned i = 0; i < 100; i++) {
		submit(f, &op);
		minienv_advance(f->mini, 100 * MS);
	}
	assert_int_equal(f->n_applied, 100);
	assert_true(raft_group_is_leader(f->group));
	assert_true(raft_group_has_room(f->group));
}

static void test_watchdog_follower_stands_still(void **state)
{
	struct peers *f = *state;
	struct raft_host_stats stats;
	struct raft_extra x = { .stamp = 0 }, busy = { .busy = true };
	uint64_t index[2];
	struct op op;

	peers_lead(f);
	submit(f, &op);
	index[0] = last(f);
	index[1] = last(f) - 1;
	/* a slow disk is no reason */
	pass(f, 12000, index, x, busy);
	assert_false(asked(f, 2));
	pass(f, RAFT_STUCK_MS - 300, index, x, x);
	assert_false(asked(f, 2));
	pass(f, 1000, index, x, x);
	assert_true(asked(f, 2));
	raft_host_stats(f->host, &stats);
	assert_int_equal(stats.stuck, 1);
	assert_int_equal(stats.transfers, 1);
}

static void test_watchdog_idle_followers_are_fine(void **state)
{
	struct peers *f = *state;
	struct raft_host_stats stats;
	struct raft_extra x = { .stamp = 0 };
	uint64_t index[2];

	peers_lead(f);
	index[0] = index[1] = last(f);
	pass(f, 3 * RAFT_STUCK_MS, index, x, x);
	raft_host_stats(f->host, &stats);
	assert_int_equal(stats.transfers, 0);
}

static void test_watchdog_backlog(void **state)
{
	struct peers *f = *state;
	struct raft_host_stats stats;
	struct raft_extra behind = { .applied = 1 }, level;
	uint64_t index[2];
	struct op op;

	peers_lead(f);
	f->park = true;
	submit(f, &op);
	index[0] = index[1] = last(f);
	/* nobody else is further */
	pass(f, 4 * PEERS_ELECTION_MS, index, behind, behind);
	assert_int_equal(f->group->commit, last(f));
	assert_int_equal(f->group->applied, last(f) - 1);
	assert_false(asked(f, 2) || asked(f, 3));
	level = (struct raft_extra){ .applied = last(f) };
	pass(f, 1000, index, behind, level);
	assert_true(asked(f, 3));
	raft_host_stats(f->host, &stats);
	assert_int_equal(stats.backlogs, 1);
	f->park = false;
	raft_group_resume(f->group);
	minienv_run(f->mini);
}

struct left {
	struct raft_leave leave;
	unsigned done;
};

static void left_done(struct raft_leave *l)
{
	CONTAINER_OF(l, struct left, leave)->done++;
}

static void test_leave_hands_on(void **state)
{
	struct peers *f = *state;
	struct raft_extra x = { .stamp = 0 };
	struct left l = { .leave.done = left_done };
	struct raft_message m;
	uint64_t term = peers_lead(f);

	answer(f, 3, last(f), x);
	raft_host_leave(f->host, &l.leave);
	assert_int_equal(l.done, 0);
	minienv_advance(f->mini, 20 * MS);
	assert_true(asked(f, 3));
	assert_int_equal(l.done, 0);
	m = peers_vote(term + 1, 3, false, last(f));
	m.request_vote.last_log_term = term;
	m.request_vote.disrupt_leader = true;
	assert_int_equal(peers_say(f, 3, &m, 0), 0);
	minienv_advance(f->mini, 20 * MS);
	assert_int_equal(l.done, 1);
	/* it does not stand again, whatever happens to the others */
	f->n_sent = 0;
	minienv_advance(f->mini, 10 * PEERS_ELECTION_MS * MS);
	assert_null(peers_last(f, 2, RAFT_REQUEST_VOTE, NULL));
	assert_int_equal(l.done, 1);
}

static void test_leave_does_not_wait_for_ever(void **state)
{
	struct peers *f = *state;
	struct raft_extra x = { .stamp = 0 };
	struct left l = { .leave.done = left_done };

	peers_lead(f);
	answer(f, 3, last(f), x);
	raft_host_leave(f->host, &l.leave);
	for (unsigned i = 0; i < 2 * PEERS_ELECTION_MS / 100 - 1; i++) {
		minienv_advance(f->mini, 100 * MS);
		answer(f, 3, last(f), x);
		assert_int_equal(l.done, 0);
	}
	minienv_advance(f->mini, 200 * MS);
	assert_int_equal(l.done, 1);
}

static void test_leave_with_nothing_to_hand_on(void **state)
{
	struct peers *f = *state;
	struct left l = { .leave.done = left_done };

	raft_host_leave(f->host, &l.leave);
	minienv_run(f->mini);
	minienv_advance(f->mini, MS);
	assert_int_equal(l.done, 1);
}

int main(void)
{
#define T(name) \
	cmocka_unit_test_setup_teardown(name, peers_setup, peers_teardown)
	const struct CMUnitTest tests[] = {
		T(test_transfer_waits_for_the_log),
		T(test_transfer_gives_up),
		T(test_told_then_removed),
		T(test_asked_to_lead),
		T(test_watchdog_follower_stands_still),
		T(test_watchdog_idle_followers_are_fine),
		T(test_watchdog_backlog),
		T(test_trap_d_short_of_room_hands_on),
		T(test_trap_d_a_majority_has_room),
		cmocka_unit_test_setup_teardown(
			test_trap_d_alone_there_is_nobody_to_hand_on_to,
			alone_setup, peers_teardown),
		T(test_leave_hands_on),
		T(test_leave_does_not_wait_for_ever),
		T(test_leave_with_nothing_to_hand_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
