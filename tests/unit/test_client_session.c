/* Sessions of the client that end, and mutations that are under way then. */
#include "tests/unit/clientfix.h"

#include <stdlib.h>
#include <string.h>

static void session_poll(struct env_timer *timer)
{
	struct fixture *f = CONTAINER_OF(timer, struct fixture, timer);

	if (f->step == 0 && f->renews >= 2) {
		f->step = 1;
		f->expired = 1;
		fixture_bump(f); /* a long poll answers by itself */
	}
	if (f->step == 1 && client_session(client0(f)) == 78 &&
	    client_cluster(client0(f))->top.version == 2) {
		fixture_finish(f);
		return;
	}
	env_timer_set(env0(f), timer, 1000000);
}

static void session_start(struct fixture *f)
{
	f->timer.cb = session_poll;
	env_timer_set(env0(f), &f->timer, 1000000);
}

static void test_session(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	f->local = true;
	fixture_run(f, session_start);
	assert_int_equal(f->opens, 2);
	assert_true(f->gets <= 5);
	free(f);
}

/*
 * A shard says that our session ended. At the first try the mutation goes on
 * with the next session; behind a try whose outcome is not known it ends.
 */
static void test_session_ended(void **state)
{
	static const uint32_t script[] = {
		RPC_STATUS_SESSION, RPC_STATUS_OK, RPC_STATUS_UNKNOWN_OUTCOME,
		RPC_STATUS_SESSION, RPC_STATUS_OK,
	};

	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture *f = fixture_new();

		f->local = local;
		f->want = 3;
		f->expired = 1;
		memcpy(f->script, script, sizeof(script));
		f->n_script = 5;
		fixture_run(f, closes_start);
		assert_int_equal(f->status[0], RPC_STATUS_OK);
		assert_int_equal(f->status[1], RPC_STATUS_SESSION);
		assert_int_equal(f->status[2], RPC_STATUS_OK);
		assert_int_equal(f->n_seen, 5);
		assert_int_equal(f->seen[0].client, 77);
		for (unsigned i = 1; i < 5; i++)
			assert_int_equal(f->seen[i].client, 78);
		assert_int_equal(f->seen[3].seq,
				 f->seen[2].seq | RPC_SEQ_AGAIN);
		assert_true(f->opens == 2 && f->renews > 0);
		free(f);
	}
}

/*
 * A request may name a session itself, which does not change when another one
 * sends it: who is refused once more is told so, at once.
 */
static void test_session_named(void **state)
{
	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture *f = fixture_new();

		f->local = local;
		f->want = 1;
		f->expired = 1;
		f->script[0] = f->script[1] = RPC_STATUS_SESSION;
		f->n_script = 2;
		fixture_run(f, closes_start);
		assert_int_equal(f->status[0], RPC_STATUS_SESSION);
		assert_int_equal(f->n_seen, 2);
		assert_int_equal(f->seen[0].client, 77);
		assert_int_equal(f->seen[1].client, 78);
		free(f);
	}
}

/*
 * The first try is answered with f->late when the next session has long been
 * opened.
 */
static void late_poll(struct env_timer *timer)
{
	struct fixture *f = CONTAINER_OF(timer, struct fixture, timer);

	if (f->step == 0 && f->n_parked == 1) {
		f->step = 1;
		f->expired = 1;
	} else if (f->step == 1 && client_session(client0(f)) == 78) {
		f->step = 2;
		f->park = false;
		rpc_reply_error(f->parked[--f->n_parked], f->late, 0, NULL);
	}
	env_timer_set(env0(f), timer, 1000000);
}

static void late_start(struct fixture *f)
{
	f->park = true;
	f->timer.cb = late_poll;
	env_timer_set(env0(f), &f->timer, 1000000);
	send_close(client0(f), 0, last_done, f);
}

static void test_session_ended_late(void **state)
{
	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture *f = fixture_new();

		f->local = local;
		f->timeout_ms = 10000;
		f->late = RPC_STATUS_SESSION;
		fixture_run(f, late_start);
		assert_int_equal(f->status[0], RPC_STATUS_OK);
		assert_int_equal(f->n_seen, 2);
		assert_int_equal(f->seen[0].client, 77);
		assert_int_equal(f->seen[1].client, 78);
		assert_int_equal(f->opens, 2);
		free(f);
	}
}

/* What may have happened in the old session must be asked for there. */
static void test_session_ended_between(void **state)
{
	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		struct fixture *f = fixture_new();

		f->local = local;
		f->timeout_ms = 10000;
		f->late = RPC_STATUS_UNKNOWN_OUTCOME;
		fixture_run(f, late_start);
		assert_int_equal(f->status[0], RPC_STATUS_OK);
		assert_int_equal(f->n_seen, 2);
		assert_int_equal(f->seen[0].client, 77);
		assert_int_equal(f->seen[1].client, 77);
		assert_int_equal(f->seen[1].slot, f->seen[0].slot);
		assert_int_equal(f->seen[1].seq,
				 f->seen[0].seq | RPC_SEQ_AGAIN);
		assert_int_equal(f->opens, 2);
		free(f);
	}
}

/* While another session is being opened, nobody asks about the old one. */
static void reopen_poll(struct env_timer *timer)
{
	struct fixture *f = CONTAINER_OF(timer, struct fixture, timer);

	if (f->step == 0 && f->opens > 1) {
		f->step = f->renews;
		f->expired = 1000;
	}
	if (f->step > 0 && client_session(client0(f)) == 77) {
		client_session_lost(client0(f));
	} else if (f->step > 0) {
		f->done = f->renews - f->step;
		fixture_finish(f);
		return;
	}
	env_timer_set(env0(f), timer, 1000000);
}

static void reopen_start(struct fixture *f)
{
	f->expired = 1;
	f->open_fail = 5;
	f->timer.cb = reopen_poll;
	env_timer_set(env0(f), &f->timer, 1000000);
}

static void test_session_reopened(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	f->local = true;
	fixture_run(f, reopen_start);
	assert_int_equal(f->done, 0);
	assert_int_equal(f->opens, 7);
	free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_session),
		cmocka_unit_test(test_session_ended),
		cmocka_unit_test(test_session_named),
		cmocka_unit_test(test_session_ended_late),
		cmocka_unit_test(test_session_ended_between),
		cmocka_unit_test(test_session_reopened),
	};

	return fixture_main(tests);
}
