/*
 * The raft host with one voter over the real log head: submits, positions,
 * parking, restarts, power cuts. Groups with several voters are driven in
 * tests/sim.
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
#include "tests/lib/mutate.h"

#define VALUES 4096

struct fix {
	struct crashfs *fs;
	struct minienv *mini;
	struct env *env;
	struct seg_head *log;
	struct seg_port *port;
	struct raft_host *host;
	struct raft_group *group;
	uint64_t durable; /* applied index handed to open_group */
	bool doubt;       /* which is behind what the log says */
	uint64_t applied[VALUES];
	unsigned n_applied;
	unsigned acked, failed, barriers, roles;
	uint32_t status;
	bool leader;
	unsigned park;    /* times that apply says -EAGAIN first */
	bool resume_inside;
	unsigned records;
	uint64_t seq; /* of the last record fed */
	uint64_t rng;
};

struct op {
	struct raft_submit submit;
	struct fix *f;
	uint64_t value;
};

static uint64_t fix_rand(struct fix *f, uint64_t n)
{
	f->rng = f->rng * 6364136223846793005u + 1442695040888963407u;
	return (f->rng >> 33) % n;
}

static int fix_apply(void *arg, struct raft_group *g, const struct raft_cmd *cmd)
{
	struct fix *f = arg;
	uint8_t back[64];
	uint64_t v;

	if (f->park > 0) {
		f->park--;
		if (f->resume_inside)
			raft_group_resume(g);
		return -EAGAIN;
	}
	/* what the row would point at is there, and durable */
	if (cmd->len != 40 ||
	    seg_read(f->log, cmd->gen, cmd->data_off, back, cmd->len, 0) != 0 ||
	    memcmp(back, cmd->data, cmd->len) != 0)
		abort();
	memcpy(&v, cmd->data, sizeof v);
	f->applied[f->n_applied++ % VALUES] = v;
	if (cmd->submit != NULL) {
		struct op *op = CONTAINER_OF(cmd->submit, struct op, submit);

		if (op->value != v)
			abort();
		f->acked++;
		free(op);
	}
	return 0;
}

static void fix_role(void *arg, struct raft_group *g, bool leader)
{
	struct fix *f = arg;

	if (g != f->group)
		abort();
	f->roles++;
	f->leader = leader;
}

static void fix_failed(struct raft_submit *s, uint32_t status)
{
	struct op *op = CONTAINER_OF(s, struct op, submit);

	op->f->failed++;
	op->f->status = status;
	free(op);
}

/* Nobody else is there. */
static void fix_send(void *arg, uint64_t to, const uint8_t *frame, size_t len)
{
	(void)arg;
	(void)to;
	(void)frame;
	(void)len;
}

static int fix_record(void *arg, const struct seg_rec *rec)
{
	struct fix *f = arg;

	f->records++;
	return raft_host_recover(f->host, rec);
}

static void fix_start_body(void *arg, uint64_t gen, struct buf *buf)
{
	struct fix *f = arg;

	raft_host_start_body(f->host, gen, buf);
}

static int fix_open(struct fix *f, struct errbuf *e)
{
	static const uint64_t voters[] = { 7 };
	struct raft_host_config hc = {
		.id = 7, .apply = fix_apply, .role = fix_role, .arg = f,
		.send = fix_send,
	};
	struct seg_config sc = {
		.dir = "/log", .on_record = fix_record, .arg = f,
		.segment_size = 1u << 16, .first_size = 1u << 15,
		.start_body = fix_start_body,
	};
	struct raft_group_config gc = {
		.group = 3, .applied = f->durable, .voters = voters,
		.n_voters = 1, .user = f,
	};

	f->mini = minienv_new(crashfs_vfs(f->fs), f->rng);
	f->env = minienv_env(f->mini);
	hc.env = f->env;
	f->records = 0;
	f->n_applied = 0;
	f->leader = false;
	assert_int_equal(raft_host_new(&hc, &f->host), 0);
	if (f->doubt)
		assert_int_equal(raft_host_recover_doubt(f->host, 3), 0);
	assert_int_equal(seg_head_open(f->env, &sc, &f->log, e), 0);
	assert_int_equal(seg_port_new(f->log, f->env, &f->port), 0);
	raft_host_set_log(f->host, f->log, f->port);
	return raft_host_open_group(f->host, &gc, &f->group, e);
}

static void fix_start(struct fix *f)
{
	struct errbuf e;

	assert_int_equal(fix_open(f, &e), 0);
	assert_int_equal(raft_host_start(f->host), 0);
}

/* cut: power fails first. */
static void fix_stop(struct fix *f, bool cut)
{
	if (cut)
		crashfs_freeze(f->fs, true);
	if (cut)
		seg_head_abandon(f->log);
	else
		seg_head_close(f->log);
	raft_host_free(f->host);
	seg_port_free(f->port);
	minienv_free(f->mini);
	f->mini = NULL;
	if (cut)
		crashfs_crash(f->fs, f->rng);
}

static int fix_setup(void **state)
{
	struct fix *f = calloc(1, sizeof *f);

	f->rng = 42;
	f->fs = crashfs_new(1);
	*state = f;
	return 0;
}

static int fix_teardown(void **state)
{
	struct fix *f = *state;

	crashfs_free(f->fs);
	free(f);
	return 0;
}

static void fix_submit_as(struct fix *f, uint64_t value, bool loose)
{
	struct op *op = calloc(1, sizeof *op);
	uint8_t pad[32] = { 0 };

	op->f = f;
	op->value = value;
	op->submit.failed = fix_failed;
	op->submit.loose = loose;
	buf_init(&op->submit.data, 0);
	buf_add(&op->submit.data, &value, sizeof value);
	buf_add(&op->submit.data, pad, sizeof pad);
	raft_submit(f->group, &op->submit);
}

static void fix_submit(struct fix *f, uint64_t value)
{
	fix_submit_as(f, value, false);
}

static void test_submit_applies_in_order(void **state)
{
	struct fix *f = *state;
	struct seg_stats before, after;

	fix_start(f);
	assert_false(raft_group_is_leader(f->group));
	minienv_run(f->mini);
	assert_true(f->leader);
	assert_true(raft_group_can_read(f->group));
	assert_int_equal(raft_group_leader(f->group), 7);
	seg_head_stats(f->log, &before);
	for (uint64_t v = 1; v <= 1000; v++)
		fix_submit(f, v);
	assert_int_equal(f->acked, 0);
	assert_false(raft_group_idle(f->group));
	minienv_run(f->mini);
	seg_head_stats(f->log, &after);
	assert_int_equal(f->acked, 1000);
	assert_true(raft_group_idle(f->group));
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(f->applied[i], i + 1);
	/* 256 submits share a step and a flush */
	assert_true(after.flushes - before.flushes <= 8);
	/* one voter: no bytes are kept */
	assert_int_equal(f->host->cache_bytes, 0);
	fix_stop(f, false);
}

static void test_one_voter_bumps_its_term(void **state)
{
	struct fix *f = *state;
	uint64_t term = 0;

	for (int i = 0; i < 5; i++) {
		fix_start(f);
		minienv_run(f->mini);
		assert_true(raft_group_term(f->group) > term);
		term = raft_group_term(f->group);
		fix_stop(f, i % 2 == 0);
	}
}

static void test_term_is_durable_before_start(void **state)
{
	struct fix *f = *state;

	fix_start(f);
	while (f->group->state != RAFT_GROUP_RUNNING) {
		assert_int_equal(raft_state(&f->group->r), RAFT_FOLLOWER);
		assert_true(minienv_step(f->mini));
	}
	assert_int_equal(f->group->hard_pending, 0);
	assert_int_equal(f->group->stored, 1);
	fix_stop(f, true);
	fix_start(f);
	/* HARD(1), entry 1, HARD(2): nothing else was written */
	assert_int_equal(f->group->log.n, 1);
	assert_int_equal(f->group->term, 3);
	fix_stop(f, true);
}

static void test_parked_group_waits(void **state)
{
	struct fix *f = *state;

	fix_start(f);
	minienv_run(f->mini);
	f->park = 1;
	fix_submit(f, 1);
	fix_submit(f, 2);
	minienv_run(f->mini);
	assert_int_equal(f->acked, 0);
	raft_group_resume(f->group);
	assert_int_equal(f->acked, 0);
	minienv_run(f->mini);
	assert_int_equal(f->acked, 2);
	f->park = 3;
	f->resume_inside = true;
	fix_submit(f, 3);
	minienv_run(f->mini);
	assert_int_equal(f->acked, 3);
	assert_int_equal(f->n_applied, 3);
	fix_stop(f, false);
}

static void test_restart_applies_again(void **state)
{
	struct fix *f = *state;

	fix_start(f);
	minienv_run(f->mini);
	for (uint64_t v = 1; v <= 700; v++)
		fix_submit(f, v);
	minienv_run(f->mini);
	fix_stop(f, false);
	fix_start(f);
	minienv_run(f->mini);
	assert_int_equal(f->n_applied, 700);
	for (unsigned i = 0; i < 700; i++)
		assert_int_equal(f->applied[i], i + 1);
	f->durable = raft_group_applied(f->group);
	fix_stop(f, true);
	fix_start(f);
	minienv_run(f->mini);
	assert_int_equal(f->n_applied, 0);
	assert_true(f->leader);
	fix_submit(f, 701);
	minienv_run(f->mini);
	assert_int_equal(f->applied[0], 701);
	fix_stop(f, false);
}

/* Acknowledged entries are there after any power cut; the rest may be. */
static void test_power_cuts(void **state)
{
	struct fix *f = *state;
	uint64_t acked = 0, next = 1;

	for (int round = 0; round < 200; round++) {
		unsigned before;

		fix_start(f);
		if (fix_rand(f, 4) != 0) {
			minienv_run(f->mini);
			assert_true(f->leader);
			assert_true(f->n_applied >= acked);
			for (unsigned i = 0; i < f->n_applied; i++)
				assert_int_equal(f->applied[i], i + 1);
			next = f->n_applied + 1;
			f->acked = 0;
			before = f->n_applied;
			for (uint64_t n = fix_rand(f, 12); n > 0; n--) {
				fix_submit(f, next++);
				for (uint64_t k = fix_rand(f, 6); k > 0; k--)
					(void)minienv_step(f->mini);
			}
			acked = before + f->acked;
		} else {
			for (uint64_t k = fix_rand(f, 40); k > 0; k--)
				(void)minienv_step(f->mini);
		}
		fix_stop(f, fix_rand(f, 5) != 0);
	}
}

/* Of loose commands a power cut takes a tail, and none that was not loose. */
static void test_loose_power_cuts(void **state)
{
	struct fix *f = *state;
	unsigned firm = 0, told = 0, lost = 0;

	for (int round = 0; round < 200; round++) {
		bool cut = fix_rand(f, 4) != 0;

		fix_start(f);
		minienv_run(f->mini);
		assert_true(f->leader);
		assert_in_range(f->n_applied, firm, VALUES - 1);
		lost += f->n_applied < told;
		for (unsigned i = 0; i < f->n_applied; i++)
			assert_int_equal(f->applied[i], i + 1);
		told = firm = f->n_applied;
		for (uint64_t n = fix_rand(f, 12); n > 0; n--) {
			bool loose = fix_rand(f, 4) != 0;

			f->acked = 0;
			fix_submit_as(f, told + 1, loose);
			minienv_run(f->mini);
			assert_int_equal(f->acked, 1);
			told++;
			firm = loose ? firm : told;
			if (fix_rand(f, 8) == 0) {
				minienv_advance(f->mini, SEG_LOOSE_NS);
				firm = told;
			}
		}
		if (!cut)
			firm = told;
		fix_stop(f, cut);
	}
	print_message("# %u tails lost\n", lost);
	assert_true(lost > 0);
}

/* The hard state never is; and a term is not used again by other entries. */
static void test_loose_term(void **state)
{
	struct fix *f = *state;
	uint64_t term = 0;

	for (uint64_t i = 0; i < 10; i++) {
		fix_start(f);
		minienv_run(f->mini);
		assert_true(raft_group_term(f->group) > term);
		term = raft_group_term(f->group);
		fix_submit_as(f, f->n_applied + 1, true);
		minienv_run(f->mini);
		fix_stop(f, true);
	}
}

static void change_done(struct raft_change *c, uint32_t status)
{
	(void)c;
	(void)status;
}

/* True: somebody else may have got what was not durable. */
static bool fix_change(struct fix *f, struct raft_change *change)
{
	struct raft_member m[2];
	bool early = false;

	fix_submit_as(f, 1, true);
	minienv_run(f->mini);
	assert_int_equal(f->acked, 1);
	assert_true(seg_head_is_loose(f->log));
	raft_group_change(f->group, change);
	fix_submit_as(f, 2, true); /* not any more */
	do
		early |= raft_group_members(f->group, m, 2) > 1 &&
			 f->group->loose > f->group->firm;
	while (minienv_step(f->mini));
	assert_int_equal(raft_group_members(f->group, m, 2), 2);
	return early;
}

/* Before somebody else may get entries they are made durable. */
static void test_loose_then_a_member(void **state)
{
	struct raft_change change = { .id = 9, .role = RAFT_ROLE_STANDBY,
				      .done = change_done };
	struct fix *f = *state;

	fix_start(f);
	minienv_run(f->mini);
	assert_false(fix_change(f, &change));
	assert_false(f->group->one_voter);
	assert_int_equal(f->acked, 2);
	fix_submit_as(f, 3, true);
	minienv_run(f->mini);
	assert_int_equal(f->acked, 3);
	assert_false(seg_head_is_loose(f->log));
	fix_stop(f, true);
}

/* The test above notices. */
static void test_loose_then_a_member_at_once(void **state)
{
	struct raft_change change = { .id = 9, .role = RAFT_ROLE_STANDBY,
				      .done = change_done };
	struct fix *f = *state;

	fix_start(f);
	minienv_run(f->mini);
	if (raft_mutate(RAFT_MUTATE_JOIN_SOON))
		assert_true(fix_change(f, &change));
	else
		print_message("# " MUTATE_NONE_HERE "\n");
	(void)raft_mutate(RAFT_MUTATE_NONE);
	fix_stop(f, true);
}

/* With nothing behind it a change asks for the sync itself. */
static void test_loose_then_a_member_alone(void **state)
{
	struct raft_change change = { .id = 9, .role = RAFT_ROLE_SPARE,
				      .done = change_done };
	struct raft_member m[2];
	struct fix *f = *state;

	fix_start(f);
	minienv_run(f->mini);
	fix_submit_as(f, 1, true);
	minienv_run(f->mini);
	raft_group_change(f->group, &change);
	minienv_run(f->mini);
	assert_int_equal(raft_group_members(f->group, m, 2), 2);
	assert_true(f->group->firm > f->group->loose);
	fix_stop(f, true);
}

static void bar_done(struct raft_barrier *b, uint32_t status)
{
	struct fix *f = *(struct fix **)(void *)(b + 1);

	f->barriers++;
	f->status = status;
}

static void test_barrier(void **state)
{
	struct fix *f = *state;
	struct {
		struct raft_barrier b;
		struct fix *f;
	} bar[2] = { { { .done = bar_done }, f }, { { .done = bar_done }, f } };

	fix_start(f);
	raft_group_barrier(f->group, &bar[0].b);
	assert_int_equal(f->barriers, 0);
	minienv_run(f->mini);
	assert_int_equal(f->barriers, 1);
	assert_int_equal(f->status, RPC_STATUS_OK);
	raft_group_barrier(f->group, &bar[1].b);
	minienv_run(f->mini);
	assert_int_equal(f->barriers, 2);
	fix_stop(f, false);
}

static void test_free_fails_what_waits(void **state)
{
	struct fix *f = *state;

	fix_start(f);
	fix_submit(f, 1);
	fix_stop(f, true);
	assert_int_equal(f->failed, 1);
	assert_int_equal(f->status, RPC_STATUS_UNKNOWN_OUTCOME);
	fix_start(f);
	minienv_run(f->mini);
	fix_submit(f, 2);
	(void)minienv_step(f->mini);
	fix_stop(f, true);
	assert_int_equal(f->failed, 2);
}

static void test_rows_newer_than_log(void **state)
{
	struct fix *f = *state;
	struct errbuf e;

	f->durable = 1;
	assert_int_equal(fix_open(f, &e), -EIO);
	fix_stop(f, false);
	f->durable = 0;
	fix_start(f);
	minienv_run(f->mini);
	fix_stop(f, false);
	f->durable = 100;
	assert_int_equal(fix_open(f, &e), -EIO);
	fix_stop(f, false);
}

/* Feeds records that a damaged disk could give. */
static int feed(struct fix *f, uint8_t type, uint64_t a, uint64_t b,
		uint8_t flags, const void *body, size_t len)
{
	struct seg_rec rec = {
		.type = type, .flags = flags, .group = 3, .a = a, .b = b,
		.len = len, .body = body, .seq = ++f->seq, .pos = { 20, 0 },
	};

	return raft_host_recover(f->host, &rec);
}

/* A copy of entry a, one of the set first, ..., last. */
static void feed_copy(struct fix *f, uint64_t a, uint64_t b, uint64_t first,
		      uint64_t last)
{
	struct seg_rec rec = {
		.type = SEG_ENTRY, .flags = RAFT_COMMAND, .group = 3,
		.a = a, .b = b, .id = { first, last },
		.len = 1, .body = (const uint8_t *)"x", .seq = ++f->seq,
		.pos = { 30, 0 },
	};

	assert_int_equal(raft_host_recover(f->host, &rec), 0);
}

static void feed_open(struct fix *f, uint64_t applied, int expect)
{
	struct raft_group_config gc = {
		.group = 3, .applied = applied, .term = applied > 1 ? 2 : applied,
	};
	struct errbuf e = { "" };

	assert_int_equal(raft_host_open_group(f->host, &gc, &f->group, &e),
			 expect);
}

static void test_impossible_logs(void **state)
{
	struct fix *f = *state;
	struct raft_host_config hc = {
		.id = 7, .apply = fix_apply, .arg = f,
	};
	struct raft_configuration c;
	struct raft_buffer one, two;
	char id[] = "7", other[] = "8";

	raft_configuration_init(&c);
	assert_int_equal(raft_configuration_add(&c, 7, id, RAFT_VOTER), 0);
	assert_int_equal(raft_configuration_encode(&c, &one), 0);
	assert_int_equal(raft_configuration_add(&c, 8, other, RAFT_VOTER), 0);
	assert_int_equal(raft_configuration_encode(&c, &two), 0);
	raft_configuration_close(&c);
	f->mini = minienv_new(crashfs_vfs(f->fs), 1);
	hc.env = minienv_env(f->mini);
	for (int i = 0; i < 10; i++) {
		struct raft_buffer *conf = i == 8 || i == 9 ? &two : &one;

		assert_int_equal(raft_host_new(&hc, &f->host), 0);
		(void)feed(f, SEG_HARD, 2, 7, 0, NULL, 0);
		if (i != 0)
			(void)feed(f, SEG_ENTRY, 1, 1, RAFT_CHANGE, conf->base,
				   i == 1 ? 11 : conf->len);
		if (i == 2)
			(void)feed(f, SEG_ENTRY, 2, 0, RAFT_COMMAND, "x", 1);
		else if (i != 3)
			(void)feed(f, SEG_ENTRY, 2, 2, RAFT_COMMAND, "x", 1);
		if (i == 4)
			(void)feed(f, SEG_ENTRY, 3, 1, RAFT_COMMAND, "x", 1);
		if (i == 5 || i == 6 || i == 8)
			(void)feed(f, SEG_ENTRY, 5, 2, RAFT_COMMAND, "x", 1);
		if (i == 7)
			(void)feed(f, SEG_ENTRY, 1ull << 40, 2, RAFT_COMMAND,
				   "x", 1);
		if (i == 9)
			raft_host_recover_rot(f->host,
					      &(struct seg_rot){ .n = 1 });
		switch (i) {
		case 3: /* a short but whole log */
			feed_open(f, 1, 0);
			break;
		case 6: /* the hole is below what the rows have */
			feed_open(f, 4, 0);
			break;
		case 0: /* nothing says what stood before */
			feed_open(f, 0, -ESTALE);
			break;
		default:
			feed_open(f, i == 5 ? 3 : 0, -EIO);
		}
		raft_host_free(f->host);
	}
	minienv_free(f->mini);
	raft_free(one.base);
	raft_free(two.base);
}

/* A START that says: group 3, term 2, rows durable up to 5, read from gen 9. */
static void feed_start(struct fix *f)
{
	struct seg_rec rec = { .type = SEG_START, .pos = { 12, 0 } };
	const uint64_t need = 9, term = 2, vote = 7, applied = 5, moved = 3;
	const uint32_t one = 1, none = 0;
	const uint16_t group = 3;
	struct wire_writer w;
	struct buf b;

	buf_init(&b, 0);
	w = (struct wire_writer){ &b };
	/* of another loop, which needs less */
	wire_put_u64(&w, &(uint64_t){ 11 });
	wire_put_u32(&w, &none);
	wire_put_u64(&w, &need);
	wire_put_u32(&w, &one);
	wire_put_u16(&w, &group);
	wire_put_u64(&w, &term);
	wire_put_u64(&w, &vote);
	wire_put_u64(&w, &applied);
	wire_put_u64(&w, &moved);
	rec.body = b.data;
	rec.len = b.len;
	assert_int_equal(raft_start_need(&rec), 9);
	assert_int_equal(raft_host_recover(f->host, &rec), 0);
	assert_int_equal(raft_host_free_below(f->host), 9);
	/* one that is cut short asks for everything */
	rec.len--;
	assert_int_equal(raft_start_need(&rec), 0);
	rec.len = 0;
	assert_int_equal(raft_start_need(&rec), 0);
	buf_fini(&b);
}

/* Rows and a log whose beginning is gone: what fits, what does not, and why. */
static void test_rows_and_log(void **state)
{
	static const struct {
		uint64_t applied, term, conf_index; /* what the rows say */
		uint64_t first, last;               /* entries, of term 2 */
		int expect;
		const char *why;
	} cases[] = {
		{ 5, 2, 1, 0, 0, 0, NULL },
		{ 5, 2, 1, 6, 8, 0, NULL },
		{ 5, 2, 1, 3, 8, 0, NULL },
		{ 8, 2, 1, 3, 8, 0, NULL },
		{ 5, 0, 0, 0, 0, -EIO, "do not say who its members are" },
		{ 5, 2, 9, 0, 0, -EIO, "Input/output error" },
		{ 5, 1, 1, 3, 8, -EIO, "those of another log" },
		{ 6, 2, 1, 0, 0, -EIO, "rows are newer than its log" },
		{ 9, 2, 1, 3, 8, -EIO, "rows are newer than its log" },
		{ 0, 0, 0, 0, 0, -ESTALE, "its rows are gone" },
		/* its members stand in what is left of a log that ends early */
		{ 5, 2, 3, 2, 4, 0, NULL },
		{ 4, 2, 1, 3, 8, 0, NULL }, /* the log has what lies between */
		{ 4, 2, 1, 0, 0, -ESTALE, "older than its log says" },
		{ 3, 2, 1, 2, 4, -ESTALE, "older than its log says" },
		{ 5, 2, 1, 7, 8, -ESTALE, "older than its log" },
	};
	struct fix *f = *state;
	struct raft_configuration c;
	struct raft_buffer conf;
	char id[] = "7";

	raft_configuration_init(&c);
	assert_int_equal(raft_configuration_add(&c, 7, id, RAFT_VOTER), 0);
	assert_int_equal(raft_configuration_encode(&c, &conf), 0);
	raft_configuration_close(&c);
	f->mini = minienv_new(crashfs_vfs(f->fs), 1);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct raft_host_config hc = {
			.id = 7, .apply = fix_apply, .arg = f,
			.env = minienv_env(f->mini),
		};
		struct raft_group_config gc = {
			.group = 3, .applied = cases[i].applied,
			.term = cases[i].term,
			.conf_index = cases[i].conf_index,
		};
		struct errbuf e = { "" };

		if (cases[i].conf_index != 0)
			gc.conf = wire_bytes(conf.base, conf.len);
		assert_int_equal(raft_host_new(&hc, &f->host), 0);
		feed_start(f);
		for (uint64_t k = cases[i].first; k != 0 && k <= cases[i].last;
		     k++)
			assert_int_equal(
				k == gc.conf_index
					? feed(f, SEG_ENTRY, k, 2, RAFT_CHANGE,
					       conf.base, conf.len)
					: feed(f, SEG_ENTRY, k, 2, RAFT_COMMAND,
					       "x", 1), 0);
		assert_int_equal(raft_host_open_group(f->host, &gc, &f->group,
						      &e), cases[i].expect);
		if (cases[i].expect == 0) {
			assert_non_null(rlog_conf_at(&f->group->log,
						     cases[i].applied));
			assert_int_equal(f->group->log.first,
					 cases[i].applied + 1);
			assert_int_equal(f->group->term, 2);
			assert_int_equal(f->group->vote, 7);
			assert_true(f->group->one_voter);
		} else if (strstr(e.text, cases[i].why) == NULL) {
			fail_msg("case %zu: %s", i, e.text);
		}
		raft_host_free(f->host);
	}
	minienv_free(f->mini);
	raft_free(conf.base);
}

static int said_row(void *arg, uint16_t group, uint64_t applied,
		    uint64_t moved)
{
	uint64_t *said = arg;

	assert_int_equal(moved, applied == 5 ? 3 : 0);
	assert_int_equal(group, 3);
	*said = applied;
	return 0;
}

/* What the next START says of the rows of group 3. */
static uint64_t said_of_rows(struct raft_host *h)
{
	struct seg_rec rec = { .type = SEG_START };
	uint64_t said = UINT64_MAX;
	struct buf b;

	buf_init(&b, 0);
	raft_host_start_body(h, 20, &b);
	rec.body = b.data;
	rec.len = b.len;
	assert_int_equal(raft_start_need(&rec), 9);
	assert_int_equal(raft_start_rows(&rec, said_row, &said), 0);
	buf_fini(&b);
	return said;
}

/*
 * Rows were lost, those of an older day open; the store dies before their next
 * checkpoint. The START in between gives up the same entries as the one before,
 * so it must not say that older rows will do.
 */
static void test_start_between_lost_rows_and_a_checkpoint(void **state)
{
	struct fix *f = *state;
	struct raft_host_config hc = {
		.id = 7, .apply = fix_apply, .arg = f,
	};
	struct raft_configuration c;
	struct raft_buffer conf;
	char id[] = "7";

	raft_configuration_init(&c);
	assert_int_equal(raft_configuration_add(&c, 7, id, RAFT_VOTER), 0);
	assert_int_equal(raft_configuration_encode(&c, &conf), 0);
	raft_configuration_close(&c);
	f->mini = minienv_new(crashfs_vfs(f->fs), 1);
	hc.env = minienv_env(f->mini);
	for (uint64_t applied = 0; applied <= 8; applied += 4) {
		assert_int_equal(raft_host_new(&hc, &f->host), 0);
		feed_start(f);
		assert_int_equal(said_of_rows(f->host), 5);
		(void)feed(f, SEG_ENTRY, 1, 1, RAFT_CHANGE, conf.base,
			   conf.len);
		for (uint64_t k = 2; k <= 8; k++)
			(void)feed(f, SEG_ENTRY, k, 2, RAFT_COMMAND, "x", 1);
		feed_open(f, applied, 0);
		assert_int_equal(said_of_rows(f->host), applied < 5 ? 5 : 8);
		raft_host_set_hard(f->host, f->group, 4, 7);
		assert_int_equal(said_of_rows(f->host), applied < 5 ? 5 : 8);
		raft_host_free(f->host);
	}
	minienv_free(f->mini);
	raft_free(conf.base);
}

/*
 * Rows that are behind what START says are replayed from segments that it gave
 * up. None of them is anybody's to free before the rows have caught up.
 */
static void test_nothing_is_freed_while_rows_are_behind(void **state)
{
	struct fix *f = *state;

	fix_start(f);
	minienv_run(f->mini);
	for (uint64_t v = 1; v <= 1500; v++) {
		fix_submit(f, v);
		if (v % 500 != 0)
			continue;
		minienv_run(f->mini);
		raft_group_checkpoint(f->group, raft_group_applied(f->group));
		raft_host_checkpointed(f->host);
	}
	fix_submit(f, 1501);
	minienv_run(f->mini);
	assert_true(raft_host_free_below(f->host) > 1);
	fix_stop(f, false);
	f->doubt = true;
	fix_start(f);
	assert_int_equal(raft_host_free_below(f->host), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_applied, 1501);
	raft_host_checkpointed(f->host);
	assert_int_equal(raft_host_free_below(f->host), 0);
	raft_group_checkpoint(f->group, raft_group_applied(f->group));
	raft_host_checkpointed(f->host);
	assert_true(raft_host_free_below(f->host) > 1);
	fix_stop(f, false);
}

/* Copies: the later place counts, the tail behind stays. */
static void test_copies(void **state)
{
	struct fix *f = *state;
	struct raft_host_config hc = {
		.id = 7, .apply = fix_apply, .arg = f,
	};
	struct raft_group *g;

	f->mini = minienv_new(crashfs_vfs(f->fs), 1);
	hc.env = minienv_env(f->mini);
	assert_int_equal(raft_host_new(&hc, &f->host), 0);
	(void)feed(f, SEG_HARD, 3, 7, 0, NULL, 0);
	for (uint64_t i = 10; i <= 14; i++)
		(void)feed(f, SEG_ENTRY, i, 3, RAFT_COMMAND, "x", 1);
	g = raft_host_find(f->host, 3);
	assert_int_equal(g->log.first, 10);
	assert_int_equal(rlog_last(&g->log), 14);
	feed_copy(f, 11, 3, 11, 12);
	assert_int_equal(rlog_at(&g->log, 11)->u.gen, 20);
	feed_copy(f, 12, 3, 11, 12);
	assert_int_equal(rlog_last(&g->log), 14);
	assert_int_equal(rlog_at(&g->log, 11)->u.gen, 30);
	assert_int_equal(rlog_at(&g->log, 12)->u.gen, 30);
	assert_int_equal(rlog_at(&g->log, 13)->u.gen, 20);
	/* another term is another entry */
	(void)feed(f, SEG_HARD, 4, 7, 0, NULL, 0);
	(void)feed(f, SEG_ENTRY, 12, 4, RAFT_COMMAND, "x", 1);
	assert_int_equal(rlog_last(&g->log), 12);
	/* a set that a crash cut off means nothing */
	feed_copy(f, 8, 3, 8, 12);
	feed_copy(f, 9, 3, 8, 12);
	assert_int_equal(g->log.first, 10);
	(void)feed(f, SEG_ENTRY, 13, 4, RAFT_COMMAND, "x", 1);
	assert_int_equal(g->log.first, 10);
	assert_int_equal(rlog_last(&g->log), 13);
	feed_copy(f, 10, 3, 8, 12);
	assert_int_equal(rlog_last(&g->log), 13);
	/* the end of one, that the scan began in, is enough */
	feed_copy(f, 12, 4, 8, 13);
	feed_copy(f, 13, 4, 8, 13);
	assert_int_equal(g->log.first, 10);
	assert_int_equal(rlog_at(&g->log, 13)->u.gen, 30);
	/* a whole one may begin below what the scan saw */
	for (uint64_t i = 8; i <= 13; i++)
		feed_copy(f, i, i < 12 ? 3 : 4, 8, 13);
	assert_int_equal(g->log.first, 8);
	assert_int_equal(rlog_last(&g->log), 13);
	assert_int_equal(rlog_at(&g->log, 13)->u.gen, 30);
	/* so may a tail that replaces another one */
	(void)feed(f, SEG_HARD, 5, 7, 0, NULL, 0);
	(void)feed(f, SEG_ENTRY, 7, 5, RAFT_COMMAND, "x", 1);
	assert_int_equal(g->log.first, 7);
	assert_int_equal(rlog_last(&g->log), 7);
	feed_copy(f, 7, 5, 7, 8); /* left over at the end */
	assert_null(g->damage);
	raft_host_free(f->host);
	minienv_free(f->mini);
}

/* What rot took behind the last entry that is left. */
static void test_rot_at_the_end(void **state)
{
	struct fix *f = *state;
	struct raft_host_config hc = {
		.id = 7, .apply = fix_apply, .arg = f,
	};
	struct raft_configuration c;
	struct raft_buffer conf;
	struct seg_rec lost = { .type = SEG_ENTRY, .flags = RAFT_COMMAND,
				.group = 3, .a = 3, .b = 2, .seq = 14 };
	char id[] = "7";

	raft_configuration_init(&c);
	assert_int_equal(raft_configuration_add(&c, 7, id, RAFT_VOTER), 0);
	assert_int_equal(raft_configuration_encode(&c, &conf), 0);
	raft_configuration_close(&c);
	f->mini = minienv_new(crashfs_vfs(f->fs), 1);
	hc.env = minienv_env(f->mini);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(raft_host_new(&hc, &f->host), 0);
		if (i == 0) /* before its first record */
			raft_host_recover_rot(f->host, &(struct seg_rot){
				.seq = 9, .n = 2 });
		f->seq = 10;
		(void)feed(f, SEG_HARD, 2, 7, 0, NULL, 0);
		(void)feed(f, SEG_ENTRY, 1, 1, RAFT_CHANGE, conf.base,
			   conf.len);
		(void)feed(f, SEG_ENTRY, 2, 2, RAFT_COMMAND, "x", 1);
		lost.group = i == 2 ? 4 : 3;
		if (i == 1) /* nobody knows whose */
			raft_host_recover_rot(f->host, &(struct seg_rot){
				.seq = 12, .n = 3 });
		else if (i > 1) /* another's, its own */
			raft_host_recover_rot(f->host, &(struct seg_rot){
				.seq = 14, .n = 1, .rec = &lost });
		f->seq = 14;
		if (i == 4) /* and what came then */
			(void)feed(f, SEG_ENTRY, 4, 2, RAFT_COMMAND, "x", 1);
		switch (i) {
		case 0:
		case 2:
			feed_open(f, 0, 0);
			break;
		case 4: /* its rows have it */
		case 5:
			feed_open(f, 3, 0);
			assert_int_equal(rlog_last(&f->group->log),
					 i == 4 ? 4 : 3);
			break;
		default:
			feed_open(f, 2, -EIO);
		}
		raft_host_free(f->host);
	}
	minienv_free(f->mini);
	raft_free(conf.base);
}

/*
 * A vote may be among what rot took, and no entry follows it: rows were put in
 * place since. Among others a group that may vote again must not open.
 */
static void test_rot_before_a_reset(void **state)
{
	struct fix *f = *state;
	struct raft_host_config hc = {
		.id = 7, .apply = fix_apply, .arg = f,
	};
	struct raft_configuration c;
	struct raft_buffer conf[2];
	char id[] = "7", other[] = "8";

	raft_configuration_init(&c);
	assert_int_equal(raft_configuration_add(&c, 7, id, RAFT_VOTER), 0);
	assert_int_equal(raft_configuration_encode(&c, &conf[0]), 0);
	assert_int_equal(raft_configuration_add(&c, 8, other, RAFT_VOTER), 0);
	assert_int_equal(raft_configuration_encode(&c, &conf[1]), 0);
	raft_configuration_close(&c);
	f->mini = minienv_new(crashfs_vfs(f->fs), 1);
	hc.env = minienv_env(f->mini);
	for (int i = 0; i < 4; i++) {
		const struct raft_buffer *b = &conf[i % 2];
		struct raft_group_config gc = {
			.group = 3, .applied = 9, .term = 2, .conf_index = 1,
			.conf = wire_bytes(b->base, b->len),
		};
		struct errbuf e = { "" };

		assert_int_equal(raft_host_new(&hc, &f->host), 0);
		feed_start(f);
		if (i >= 2)
			raft_host_recover_rot(f->host, &(struct seg_rot){
				.seq = 10, .n = 1 });
		f->seq = 10;
		assert_int_equal(feed(f, SEG_ENTRY, 6, 2, RAFT_COMMAND, "x", 1),
				 0);
		assert_int_equal(feed(f, SEG_RESET, 9, 2, 0, NULL, 0), 0);
		assert_int_equal(raft_host_open_group(f->host, &gc, &f->group,
						      &e), i == 3 ? -EIO : 0);
		assert_true(i != 3 || strstr(e.text, "bit rot") != NULL);
		raft_host_free(f->host);
	}
	minienv_free(f->mini);
	raft_free(conf[0].base);
	raft_free(conf[1].base);
}

static void test_tail_is_replaced(void **state)
{
	struct fix *f = *state;
	struct raft_host_config hc = {
		.id = 7, .apply = fix_apply, .arg = f,
	};
	struct raft_group *g;

	f->mini = minienv_new(crashfs_vfs(f->fs), 1);
	hc.env = minienv_env(f->mini);
	assert_int_equal(raft_host_new(&hc, &f->host), 0);
	(void)feed(f, SEG_HARD, 5, 0, 0, NULL, 0);
	for (uint64_t i = 1; i <= 9; i++)
		(void)feed(f, SEG_ENTRY, i, 2, RAFT_COMMAND, "x", 1);
	(void)feed(f, SEG_ENTRY, 4, 5, RAFT_COMMAND, "x", 1);
	g = raft_host_find(f->host, 3);
	assert_null(g->damage);
	assert_int_equal(rlog_last(&g->log), 4);
	assert_int_equal(rlog_at(&g->log, 3)->term, 2);
	assert_int_equal(rlog_at(&g->log, 4)->term, 5);
	raft_host_free(f->host);
	minienv_free(f->mini);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)
	const struct CMUnitTest tests[] = {
		T(test_submit_applies_in_order),
		T(test_one_voter_bumps_its_term),
		T(test_term_is_durable_before_start),
		T(test_parked_group_waits),
		T(test_restart_applies_again),
		T(test_power_cuts),
		T(test_loose_power_cuts),
		T(test_loose_term),
		T(test_loose_then_a_member),
		T(test_loose_then_a_member_at_once),
		T(test_loose_then_a_member_alone),
		T(test_barrier),
		T(test_free_fails_what_waits),
		T(test_rows_newer_than_log),
		T(test_impossible_logs),
		T(test_rot_at_the_end),
		T(test_rot_before_a_reset),
		T(test_rows_and_log),
		T(test_start_between_lost_rows_and_a_checkpoint),
		T(test_nothing_is_freed_while_rows_are_behind),
		T(test_nothing_is_freed_while_rows_are_behind),
		T(test_copies),
		T(test_tail_is_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
