/*
 * How much of the log is in memory: never more than the limit, once what was
 * appended is durable; and what went from memory is read back as it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/raft_peers.h"

#define LIMIT 4000
#define GROUPS 20
#define BATCH 300 /* entries; more than one step takes */

/* What was applied: numbers in order, for each group. */
static uint32_t applied[GROUPS];

static void on_apply(struct peers *f, struct raft_group *g,
		     const struct raft_cmd *cmd)
{
	uint32_t n;

	(void)f;
	if (cmd->len != sizeof n)
		abort();
	memcpy(&n, cmd->data, sizeof n);
	if (n != applied[raft_group_id(g)]++)
		abort();
}

static int cache_setup(void **state)
{
	struct peers *f = calloc(1, sizeof *f);

	memset(applied, 0, sizeof applied);
	f->fs = crashfs_new(1);
	f->cache_bytes = LIMIT;
	f->on_apply = on_apply;
	*state = f;
	return peers_start(f);
}

/* n entries from the leader, store 2; all up to commit are committed. */
static void feed(struct peers *f, struct raft_group *g, uint32_t n,
		 uint64_t commit)
{
	uint64_t last = rlog_last(&g->log);
	struct raft_wire_append w = {
		.term = 2, .prev_index = last, .prev_term = last == 1 ? 1 : 2,
		.commit = commit,
	};
	struct raft_wire_entry e[BATCH];
	uint32_t number[BATCH];

	for (uint32_t i = 0; i < n; i++) {
		number[i] = (uint32_t)(last - 1) + i;
		e[i] = (struct raft_wire_entry){
			2, RAFT_COMMAND, wire_bytes(&number[i], 4),
		};
	}
	f->group_id = raft_group_id(g);
	assert_int_equal(peers_append(f, 2, w, e, n), 0);
}

static void read_back(struct raft_group *g)
{
	for (uint64_t i = 2; i <= rlog_last(&g->log); i++) {
		struct wire_bytes data;
		uint32_t n;

		assert_int_equal(raft_log_read(g, i, &data), 0);
		assert_int_equal(data.len, sizeof n);
		memcpy(&n, data.p, sizeof n);
		assert_int_equal(n, i - 2);
	}
}

/* Groups of several voters, each of which gets some entries in each turn. */
static void test_steady_load_of_many_groups(void **state)
{
	struct peers *f = *state;
	struct raft_group *g[GROUPS] = { f->group };

	for (uint16_t i = 1; i < GROUPS; i++)
		g[i] = peers_open_group(f, i);
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < GROUPS; i++)
			feed(f, g[i], 30, rlog_last(&g[i]->log) + 30);
		minienv_run(f->mini);
		assert_in_range(f->host->cache_bytes, 1, LIMIT);
	}
	for (unsigned i = 0; i < GROUPS; i++) {
		assert_int_equal(applied[i], 300);
		read_back(g[i]);
	}
}

/* One message of more entries than a step takes. */
static void test_one_large_turn(void **state)
{
	struct peers *f = *state;

	for (unsigned round = 0; round < 10; round++) {
		feed(f, f->group, BATCH, rlog_last(&f->group->log) + BATCH);
		minienv_run(f->mini);
		assert_in_range(f->host->cache_bytes, 1, LIMIT);
	}
	assert_int_equal(applied[0], 10 * BATCH);
	read_back(f->group);
}

/* Entries that wait for others, or for rows: they are bounded, too. */
static void test_what_waits_to_be_applied(void **state)
{
	struct peers *f = *state;
	struct raft_group *g = peers_open_group(f, 1);

	f->park = true;
	feed(f, f->group, BATCH, 1 + BATCH); /* parked with the first one */
	feed(f, g, BATCH, 1);                /* not committed */
	minienv_run(f->mini);
	assert_int_equal(applied[0] + applied[1], 0);
	assert_in_range(f->host->cache_bytes, 1, LIMIT);
	/* others go on */
	for (unsigned round = 0; round < 3; round++) {
		struct raft_group *more =
			peers_open_group(f, (uint16_t)(2 + round));

		feed(f, more, BATCH, 1 + BATCH);
		minienv_run(f->mini);
		assert_int_equal(applied[2 + round], BATCH);
		assert_in_range(f->host->cache_bytes, 1, LIMIT);
	}
	feed(f, g, 0, 1 + BATCH);
	minienv_run(f->mini);
	assert_int_equal(applied[1], BATCH);
	f->park = false;
	raft_group_resume(f->group);
	minienv_run(f->mini);
	assert_int_equal(applied[0], BATCH);
	read_back(f->group);
	read_back(g);
}

/* What was applied goes before what will be asked for. */
static void test_what_waits_stays_longest(void **state)
{
	struct peers *f = *state;
	struct raft_group *g = peers_open_group(f, 1);

	f->park = true;
	feed(f, f->group, 3, 4);
	minienv_run(f->mini);
	for (unsigned round = 0; round < 100; round++) {
		feed(f, g, 5, rlog_last(&g->log) + 5);
		minienv_run(f->mini);
	}
	assert_in_range(f->host->cache_bytes, 1, LIMIT);
	for (uint64_t i = 2; i <= 4; i++)
		assert_true((rlog_at(&f->group->log, i)->info & RLOG_MEM) != 0);
}

static unsigned n_failed;

static void submit_failed(struct raft_submit *s, uint32_t status)
{
	(void)s;
	(void)status;
	n_failed++;
}

/* A leader whose followers are slow. */
static void test_leader_of_slow_followers(void **state)
{
	static struct raft_submit s[BATCH];
	struct peers *f = *state;
	uint64_t term;

	f->on_apply = NULL;
	n_failed = 0;
	term = peers_lead(f);
	for (unsigned i = 0; i < BATCH; i++) {
		s[i] = (struct raft_submit){ .failed = submit_failed };
		buf_init(&s[i].data, 0);
		buf_add(&s[i].data, &i, sizeof i);
		raft_submit(f->group, &s[i]);
	}
	minienv_run(f->mini);
	assert_int_equal(f->group->stored, rlog_last(&f->group->log));
	assert_int_equal(f->n_applied, 0);
	assert_in_range(f->host->cache_bytes, 1, LIMIT);
	assert_int_equal(rlog_last(&f->group->log), 2 + BATCH);
	/* an answer for all that was sent, until all was */
	while (f->n_applied < BATCH) {
		struct raft_message m = peers_result(
			term, f->group->r.last_stored);
		unsigned before = f->n_applied;

		assert_int_equal(peers_say(f, 2, &m, 0), 0);
		minienv_run(f->mini);
		assert_true(f->n_applied > before);
		assert_true(f->host->cache_bytes <= LIMIT);
	}
	assert_int_equal(n_failed, 0);
}

int main(void)
{
#define T(name) \
	cmocka_unit_test_setup_teardown(name, cache_setup, peers_teardown)
	const struct CMUnitTest tests[] = {
		T(test_steady_load_of_many_groups),
		T(test_one_large_turn),
		T(test_what_waits_to_be_applied),
		T(test_what_waits_stays_longest),
		T(test_leader_of_slow_followers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
