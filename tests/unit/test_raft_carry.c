/*
 * A group that does nothing while others write on: what it still needs of the
 * log moves to the head, and the segments behind it are given back. Where it
 * is more than is copied at once they stay, until the group has decided.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/raft/raft_trim.h"
#include "tests/unit/raft_peers.h"

#define SIZE 30000 /* of an entry; a segment has room for two */
#define CARRY 8    /* segments, RAFT_CARRY */

struct carry {
	struct peers p;
	struct raft_group *busy;
	struct raft_trim *trim;
};

static uint8_t bytes[SIZE];

static int carry_setup(void **state)
{
	struct carry *c = calloc(1, sizeof *c);
	int rv;

	c->p.fs = crashfs_new(1);
	*state = &c->p;
	rv = peers_start(&c->p);
	c->p.host->config.forget_followers = true;
	c->p.host->config.tail = 1;
	c->busy = peers_open_group(&c->p, 1);
	return rv != 0 ? rv : raft_trim_new(c->p.host, &c->trim);
}

static int carry_teardown(void **state)
{
	struct carry *c = *state;

	raft_trim_free(c->trim);
	return peers_teardown(state);
}

/* n entries, whose first byte is their index, from the leader, store 2. */
static void feed(struct carry *c, struct raft_group *g, unsigned n,
		 uint64_t commit)
{
	for (; n > 0; n--) {
		uint64_t last = rlog_last(&g->log);
		struct raft_wire_append w = {
			.term = 2, .prev_index = last,
			.prev_term = last == 1 ? 1 : 2, .commit = commit,
		};
		struct raft_wire_entry e = {
			2, RAFT_COMMAND, wire_bytes(bytes, SIZE),
		};

		bytes[0] = (uint8_t)(last + 1);
		c->p.group_id = raft_group_id(g);
		assert_int_equal(peers_append(&c->p, 2, w, &e, 1), 0);
		minienv_run(c->p.mini);
		c->p.n_sent = 0;
	}
}

/* The other group fills n segments; its rows are made durable now and then. */
static void others_write(struct carry *c, unsigned n)
{
	struct raft_host *h = c->p.host;
	uint64_t until = h->seen_gen + n;

	while (h->seen_gen < until) {
		feed(c, c->busy, 1, rlog_last(&c->busy->log) + 1);
		raft_group_checkpoint(c->busy, raft_group_applied(c->busy));
		raft_host_checkpointed(h);
		minienv_run(c->p.mini);
		raft_trim_to(c->trim, UINT64_MAX);
		minienv_run(c->p.mini);
	}
}

/* The oldest segment that is there. */
static uint64_t oldest(struct carry *c)
{
	struct seg_info *infos;
	uint64_t gen;
	size_t n;

	assert_int_equal(seg_segments(c->p.log, &infos, &n), 0);
	assert_true(n > 0);
	gen = infos[0].gen;
	mem_free(infos);
	return gen;
}

static uint64_t gen_of(struct raft_group *g, uint64_t index)
{
	return raft_log_gen(g, rlog_at(&g->log, index));
}

static void check_bytes(struct raft_group *g, uint64_t first, uint64_t last)
{
	for (uint64_t i = first; i <= last; i++) {
		struct wire_bytes data;

		assert_int_equal(raft_log_read(g, i, &data), 0);
		assert_int_equal(data.len, SIZE);
		assert_int_equal(data.p[0], (uint8_t)i);
	}
}

/* After a power cut, with rows that stand for the first entry. */
static void restart(struct carry *c)
{
	struct raft_configuration conf;
	struct raft_buffer b;
	char id[] = "0";

	raft_trim_free(c->trim);
	c->trim = NULL;
	peers_cut(&c->p);
	raft_configuration_init(&conf);
	for (unsigned i = 1; i <= 3; i++) {
		id[0] = (char)('0' + i);
		assert_int_equal(raft_configuration_add(&conf, i, id,
							RAFT_VOTER), 0);
	}
	assert_int_equal(raft_configuration_encode(&conf, &b), 0);
	raft_configuration_close(&conf);
	c->p.rows = (struct raft_base){
		.index = 1, .term = 1, .conf_index = 1,
		.conf = wire_bytes(b.base, b.len),
	};
	assert_int_equal(peers_start(&c->p), 0);
	raft_free(b.base);
}

/* Not decided, as with a leader that lost its majority. */
static void test_an_idle_group_moves_on(void **state)
{
	struct carry *c = *state;
	struct raft_group *g = c->p.group;
	uint64_t gen;

	feed(c, g, 3, 1);
	raft_group_checkpoint(g, 1);
	gen = gen_of(g, 2);
	others_write(c, CARRY - 2);
	assert_int_equal(gen_of(g, 2), gen);
	assert_int_equal(c->p.host->copied, 0);
	assert_true(oldest(c) <= gen);
	for (unsigned round = 1; round <= 3; round++) {
		others_write(c, CARRY + 4);
		assert_true(c->p.host->copied >= 3 * round);
		assert_true(gen_of(g, 2) > gen);
		assert_true(oldest(c) > gen); /* it was freed */
		assert_true(gen_of(g, 2) >= oldest(c));
		check_bytes(g, 2, 4);
		gen = gen_of(g, 2);
	}
	restart(c);
	g = c->p.group;
	assert_int_equal(rlog_last(&g->log), 4);
	check_bytes(g, 2, 4);
}

/* Up to index; applied, and its rows are durable. */
static void decide(struct carry *c, struct raft_group *g, uint64_t index)
{
	struct raft_wire_append w = {
		.term = 2, .prev_index = rlog_last(&g->log), .prev_term = 2,
		.commit = index,
	};

	c->p.group_id = raft_group_id(g);
	assert_int_equal(peers_append(&c->p, 2, w, NULL, 0), 0);
	minienv_run(c->p.mini);
	assert_int_equal(raft_group_applied(g), index);
	raft_group_checkpoint(g, index);
}

/* More than RAFT_CARRY_BYTES: nothing moves; what is decided needs nothing. */
static void test_a_large_tail_stays_until_it_is_decided(void **state)
{
	const unsigned n = RAFT_CARRY_BYTES / SIZE + 1;
	struct carry *c = *state;
	struct raft_group *g = c->p.group;
	uint64_t gen;

	feed(c, g, n, 1);
	raft_group_checkpoint(g, 1);
	gen = gen_of(g, 2);
	others_write(c, 2 * CARRY);
	assert_int_equal(c->p.host->copied, 0);
	assert_int_equal(gen_of(g, 2), gen);
	assert_true(oldest(c) <= gen);
	/* half of it: the rest is little enough to be copied */
	decide(c, g, n / 2);
	others_write(c, 2 * CARRY);
	assert_int_equal(c->p.host->copied, n + 1 - n / 2);
	assert_true(oldest(c) > gen);
	check_bytes(g, n / 2 + 1, n + 1);
	/* all of it */
	gen = gen_of(g, n + 1);
	decide(c, g, n + 1);
	others_write(c, 2 * CARRY);
	assert_true(oldest(c) > gen);
}

/*
 * Nor does a new leader's other tail need it: what it replaces is void as soon
 * as the first entry of that is durable.
 */
static void test_a_large_tail_that_is_replaced(void **state)
{
	const unsigned n = RAFT_CARRY_BYTES / SIZE + 1;
	struct carry *c = *state;
	struct raft_group *g = c->p.group;
	struct raft_wire_append w = {
		.term = 3, .prev_index = 1, .prev_term = 1, .commit = 1,
	};
	struct raft_wire_entry e = { 3, RAFT_COMMAND, wire_bytes("new", 3) };
	uint64_t gen;

	feed(c, g, n, 1);
	raft_group_checkpoint(g, 1);
	gen = gen_of(g, 2);
	others_write(c, 2 * CARRY);
	assert_true(oldest(c) <= gen);
	c->p.group_id = 0;
	assert_int_equal(peers_append(&c->p, 3, w, &e, 1), 0);
	minienv_run(c->p.mini);
	assert_int_equal(rlog_last(&g->log), 2);
	others_write(c, 2);
	assert_true(oldest(c) > gen);
	assert_int_equal(c->p.host->copied, 0);
}

/*
 * Decided, and its rows are durable; what was kept for followers is given up
 * when it gets old, although the group does nothing that would tell.
 */
static void test_an_idle_tail_is_given_up(void **state)
{
	struct carry *c = *state;
	struct raft_group *g = c->p.group;
	uint64_t gen;

	c->p.host->config.tail = 100;
	feed(c, g, 5, 6);
	decide(c, g, 6);
	assert_int_equal(g->log.first, 1);
	gen = gen_of(g, 6);
	others_write(c, CARRY - 2);
	assert_int_equal(gen_of(g, 6), gen);
	check_bytes(g, 2, 6);
	others_write(c, CARRY);
	assert_true(oldest(c) > gen);
	assert_int_equal(g->log.first, 7);
	assert_int_equal(c->p.host->copied, 0);
	/* the library knows it, too, and goes on */
	assert_int_equal(g->r.trail.offset, 6);
	feed(c, g, 2, 8);
	decide(c, g, 8);
	check_bytes(g, 7, 8);
	assert_int_equal(g->r.trail.snapshot.index, 8);
}

int main(void)
{
#define T(name) \
	cmocka_unit_test_setup_teardown(name, carry_setup, carry_teardown)
	const struct CMUnitTest tests[] = {
		T(test_an_idle_group_moves_on),
		T(test_an_idle_tail_is_given_up),
		T(test_a_large_tail_stays_until_it_is_decided),
		T(test_a_large_tail_that_is_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
