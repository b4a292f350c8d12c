/*
 * Leases: whose stamps count, for how long, and what followers answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/raft_peers.h"

#define MS 1000000ull
#define LEASE (PEERS_ELECTION_MS * MS / 100 * 85)

static int five_setup(void **state)
{
	struct peers *f = calloc(1, sizeof *f);

	f->fs = crashfs_new(1);
	f->n_voters = 5;
	*state = f;
	return peers_start(f);
}

static int barrier_setup(void **state)
{
	struct peers *f = calloc(1, sizeof *f);

	f->fs = crashfs_new(1);
	f->read_barrier = true;
	*state = f;
	return peers_start(f);
}

static bool can_read(struct peers *f)
{
	return raft_group_can_read(f->group);
}

static void answer(struct peers *f, uint64_t from, uint64_t term,
		   uint64_t stamp)
{
	struct raft_message m = peers_result(term, rlog_last(&f->group->log));

	assert_int_equal(peers_say(f, from, &m, stamp), 0);
	minienv_run(f->mini);
}

/* Lets a heartbeat be sent; returns its stamp. */
static uint64_t beat(struct peers *f, uint64_t to)
{
	struct raft_extra x = { .stamp = 0 };

	f->n_sent = 0;
	while (peers_last(f, to, RAFT_APPEND_ENTRIES, &x) == NULL)
		minienv_advance(f->mini, 10 * MS);
	return x.stamp;
}

static void test_lease_lasts_from_the_send(void **state)
{
	struct peers *f = *state;
	uint64_t term = peers_lead(f), stamp;
	uint64_t now;

	assert_false(can_read(f)); /* so far nobody answered a stamp */
	stamp = beat(f, 3);
	now = env_now_ns(f->host->env);
	assert_true(stamp > 0 && stamp <= now);
	assert_false(can_read(f));
	/* the answer is late: the lease does not begin with it */
	minienv_advance(f->mini, 300 * MS);
	answer(f, 3, term, stamp);
	assert_true(can_read(f));
	now = env_now_ns(f->host->env);
	minienv_advance(f->mini, stamp + LEASE - 1 - now);
	assert_true(can_read(f));
	minienv_advance(f->mini, 1);
	assert_false(can_read(f));
	/* still the leader: through a barrier it reads */
	assert_true(raft_group_is_leader(f->group));
}

static void test_lease_needs_a_majority(void **state)
{
	struct peers *f = *state;
	uint64_t term = peers_lead(f), first, second, now;

	first = beat(f, 4);
	answer(f, 4, term, first);
	assert_false(can_read(f));
	/* the same one twice is one */
	answer(f, 4, term, beat(f, 4));
	assert_false(can_read(f));
	second = beat(f, 2);
	answer(f, 2, term, second);
	assert_true(can_read(f));
	/* two newer ones make the older one of them count */
	now = env_now_ns(f->host->env);
	first = beat(f, 5);
	answer(f, 5, term, first);
	assert_true(f->group->lease_until > second + LEASE - 300 * MS);
	assert_true(f->group->lease_until <= first + LEASE);
	assert_true(now < f->group->lease_until);
	answer(f, 3, term, now);
	answer(f, 2, term, 1); /* an old one takes nothing away */
	assert_true(can_read(f));
}

static void test_lease_ignores_lies(void **state)
{
	struct peers *f = *state;
	uint64_t term = peers_lead(f), stamp = beat(f, 2);

	answer(f, 2, term, env_now_ns(f->host->env) + 1);
	assert_false(can_read(f));
	answer(f, 2, term, 0);
	assert_false(can_read(f));
	answer(f, 2, term - 1, stamp);
	assert_false(can_read(f));
	answer(f, 7, term, stamp); /* nobody of this group */
	assert_false(can_read(f));
	answer(f, 2, term, stamp);
	assert_true(can_read(f));
}

static void test_lease_ends_with_the_term(void **state)
{
	struct peers *f = *state;
	uint64_t term = peers_lead(f);

	answer(f, 2, term, beat(f, 2));
	assert_true(can_read(f));
	answer(f, 3, term + 1, 0);
	assert_int_equal(raft_group_term(f->group), term + 1);
	assert_false(can_read(f));
	assert_int_equal(f->group->lease_until, 0);
	assert_int_equal(f->group->n_followers, 0);
	/* the next leadership begins without one */
	assert_true(peers_lead(f) > term);
	assert_false(can_read(f));
}

static void test_lease_is_not_used_with_read_barrier(void **state)
{
	struct peers *f = *state;
	uint64_t term = peers_lead(f);

	answer(f, 2, term, beat(f, 2));
	assert_false(can_read(f));
}

#define BARRIERS 10

static unsigned n_done;

static void barrier_done(struct raft_barrier *b, uint32_t status)
{
	(void)b;
	assert_int_equal(status, RPC_STATUS_OK);
	n_done++;
}

static void barriers(struct peers *f, struct raft_barrier b[BARRIERS],
		     bool turns)
{
	for (unsigned i = 0; i < BARRIERS; i++) {
		b[i] = (struct raft_barrier){ .done = barrier_done };
		raft_group_barrier(f->group, &b[i]);
		if (turns)
			minienv_run(f->mini);
	}
	minienv_run(f->mini);
}

/* However many reads there are, one entry is under way for them. */
static void test_barriers_share_an_entry(void **state)
{
	struct raft_barrier first[BARRIERS], second[BARRIERS];
	struct peers *f = *state;
	uint64_t term = peers_lead(f), last = rlog_last(&f->group->log);

	n_done = 0;
	barriers(f, first, false);
	assert_int_equal(rlog_last(&f->group->log), last + 1);
	/* these came behind it, each in a turn of its own: they need another */
	barriers(f, second, true);
	assert_int_equal(rlog_last(&f->group->log), last + 1);
	assert_int_equal(n_done, 0);
	answer(f, 2, term, 0);
	assert_int_equal(n_done, BARRIERS);
	assert_int_equal(rlog_last(&f->group->log), last + 2);
	answer(f, 2, term, 0);
	assert_int_equal(n_done, 2 * BARRIERS);
	minienv_run(f->mini);
	assert_int_equal(rlog_last(&f->group->log), last + 2);
}

static void never_failed(struct raft_submit *s, uint32_t status)
{
	(void)s;
	(void)status;
	abort();
}

/* Nor any, where a command goes into the log anyhow. */
static void test_barriers_share_the_entry_of_a_command(void **state)
{
	struct raft_submit s = { .failed = never_failed };
	struct raft_barrier b[BARRIERS];
	struct peers *f = *state;
	uint64_t term = peers_lead(f), last = rlog_last(&f->group->log);

	n_done = 0;
	buf_init(&s.data, 0);
	buf_add(&s.data, "x", 1);
	raft_submit(f->group, &s);
	barriers(f, b, false);
	assert_int_equal(rlog_last(&f->group->log), last + 1);
	answer(f, 3, term, 0);
	assert_int_equal(f->n_applied, 1);
	assert_int_equal(n_done, BARRIERS);
	assert_int_equal(rlog_last(&f->group->log), last + 1);
}

static uint64_t echoed(struct peers *f, uint64_t to)
{
	struct raft_extra x = { .stamp = 12345 };

	minienv_run(f->mini);
	assert_non_null(peers_last(f, to, RAFT_APPEND_ENTRIES_RESULT, &x));
	f->n_sent = 0;
	return x.stamp;
}

static void test_follower_answers_the_newest_stamp(void **state)
{
	struct peers *f = *state;
	struct raft_wire_append w = {
		.term = 2, .prev_index = 1, .prev_term = 1, .stamp = 70,
	};
	struct raft_wire_entry e = { 2, RAFT_COMMAND, wire_bytes("a", 1) };

	assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
	assert_int_equal(echoed(f, 2), 70);
	/* a write takes time; meanwhile a heartbeat comes */
	w.stamp = 80;
	assert_int_equal(peers_append(f, 2, w, &e, 1), 0);
	w.stamp = 90;
	assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
	assert_int_equal(echoed(f, 2), 90);
	/* a refusal, too, says that we follow */
	w.prev_index = 9;
	w.prev_term = 2;
	w.stamp = 100;
	assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
	assert_int_equal(echoed(f, 2), 100);
}

static void test_stamps_of_other_leaders_are_not_mixed(void **state)
{
	struct peers *f = *state;
	struct raft_wire_append w = {
		.term = 5, .prev_index = 1, .prev_term = 1, .stamp = 70,
	};

	assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
	assert_int_equal(echoed(f, 2), 70);
	/* an old leader: what it hears is that it is one no more */
	w.term = 4;
	w.stamp = 1000;
	assert_int_equal(peers_append(f, 3, w, NULL, 0), 0);
	assert_int_equal(echoed(f, 3), 0);
	w.term = 6;
	w.stamp = 20;
	assert_int_equal(peers_append(f, 3, w, NULL, 0), 0);
	assert_int_equal(echoed(f, 3), 20);
	w.term = 6;
	w.stamp = 30;
	assert_int_equal(peers_append(f, 3, w, NULL, 0), 0);
	assert_int_equal(echoed(f, 3), 30);
}

int main(void)
{
#define T(name) \
	cmocka_unit_test_setup_teardown(name, peers_setup, peers_teardown)
	const struct CMUnitTest tests[] = {
		T(test_lease_lasts_from_the_send),
		cmocka_unit_test_setup_teardown(test_lease_needs_a_majority,
						five_setup, peers_teardown),
		T(test_lease_ignores_lies),
		T(test_lease_ends_with_the_term),
		cmocka_unit_test_setup_teardown(
			test_lease_is_not_used_with_read_barrier,
			barrier_setup, peers_teardown),
		cmocka_unit_test_setup_teardown(test_barriers_share_an_entry,
						barrier_setup, peers_teardown),
		cmocka_unit_test_setup_teardown(
			test_barriers_share_the_entry_of_a_command,
			barrier_setup, peers_teardown),
		T(test_follower_answers_the_newest_stamp),
		T(test_stamps_of_other_leaders_are_not_mixed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
