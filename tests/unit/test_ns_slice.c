/*
 * The death of slices: what is named is never given up, what was given up can
 * never be named. A random test plays clients, sweeps and stores against each
 * other, with commits that come late by anything up to days.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "storaged/ns_impl.h"
#include "tests/lib/nsharness.h"

enum { SHARD = 5, HOUR = 3600, DAY = 24 * HOUR, LEASE = 60 };
#define OK RPC_STATUS_OK
#define GONE RPC_STATUS_SLICE_GONE
#define NS_PER_HOUR (HOUR * INT64_C(1000000000))
#define REG (S_IFREG | 0644)

struct fix {
	struct nsh *h;
	uint64_t root;
};

static int setup(void **state)
{
	static struct fix f;

	f.h = nsh_new(SHARD, 2);
	f.root = nsh_root(f.h, 7);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	return nsh_free(f->h) == 0 ? 0 : -1;
}

static uint64_t make(struct fix *f, const char *name)
{
	uint64_t ino;

	assert_int_equal(nsh_mknod(f->h, f->root, name, REG, &ino), OK);
	return ino;
}

static uint32_t commit(struct fix *f, uint64_t ino, uint64_t slice,
		       uint64_t pos)
{
	struct rpc_write req = { .ino = ino };
	struct rpc_write_rsp rsp;

	req.extents = nsh_chunks(f->h, slice, pos, 100, 0);
	return NSH(f->h, write, write_rsp, &req, &rsp);
}

static struct wire_bytes list_of(struct wire_vec *v, struct wire_u128 id)
{
	struct wire_writer w;

	wire_vec_init(v);
	w = wire_vec_add(v);
	wire_put_u128(&w, &id);
	return wire_vec_bytes(v);
}

/* 1: dead. */
static int reap(struct fix *f, uint64_t slice, int64_t before)
{
	struct rpc_slice_reap req = { .before = before };
	struct rpc_slice_reap_rsp rsp;
	struct wire_vec v;

	req.slices = list_of(&v, nsh_slice(f->h, slice));
	assert_int_equal(NSH(f->h, slice_reap, slice_reap_rsp, &req, &rsp),
			 OK);
	wire_vec_fini(&v);
	assert_int_equal(rsp.dead.len, 1);
	return rsp.dead.p[0];
}

static int reap_now(struct fix *f, uint64_t slice)
{
	return reap(f, slice, INT64_MAX);
}

/* RPC_SLICE_* */
static int ask(struct fix *f, uint64_t slice)
{
	struct rpc_slice_ask req;
	struct rpc_slice_ask_rsp rsp;
	struct wire_vec v;

	req.slices = list_of(&v, nsh_slice(f->h, slice));
	assert_int_equal(NSH(f->h, slice_ask, slice_ask_rsp, &req, &rsp), OK);
	wire_vec_fini(&v);
	assert_int_equal(rsp.states.len, 1);
	return rsp.states.p[0];
}

static void done(struct fix *f, uint64_t slice)
{
	struct rpc_slice_done req;
	struct rpc_empty_rsp rsp;
	struct wire_vec v;

	req = (struct rpc_slice_done){ .client = 0 };
	req.slices = list_of(&v, nsh_slice(f->h, slice));
	assert_int_equal(NSH(f->h, slice_done, empty_rsp, &req, &rsp), OK);
	wire_vec_fini(&v);
}

static void give_up(struct fix *f, uint64_t slice)
{
	struct rpc_slice_drop req = { .client = 0 };
	struct rpc_empty_rsp rsp;
	struct wire_vec v;

	req.slices = list_of(&v, nsh_slice(f->h, slice));
	assert_int_equal(NSH(f->h, slice_drop, empty_rsp, &req, &rsp), OK);
	wire_vec_fini(&v);
}

/* The worker's look at a tombstone. */
static void forget(struct fix *f, uint64_t slice)
{
	struct rpc_queue_work req = { .kind = NS_Q_DEAD,
				      .id = nsh_slice(f->h, slice) };
	struct rpc_queue_work_rsp rsp;

	assert_int_equal(NSH(f->h, queue_work, queue_work_rsp, &req, &rsp),
			 OK);
	assert_int_equal(rsp.left, 0);
}

static void expect_rows(struct fix *f, unsigned k, unsigned waits,
			unsigned dead)
{
	assert_int_equal(nsh_check(f->h), 0);
	assert_int_equal(nsh_count(f->h, NS_T_SLICE), k);
	assert_int_equal(nsh_queued(f->h, NS_Q_SLICE), waits);
	assert_int_equal(nsh_queued(f->h, NS_Q_DEAD), dead);
}

/* --- one after the other --- */

static void test_life(void **state)
{
	struct fix *f = *state;
	uint64_t a = make(f, "a");
	int64_t dropped;

	assert_int_equal(ask(f, 1), RPC_SLICE_UNKNOWN);
	assert_int_equal(commit(f, a, 1, 0), OK);
	assert_int_equal(reap_now(f, 1), 0); /* alive */
	assert_int_equal(ask(f, 1), RPC_SLICE_ALIVE);
	done(f, 1);
	give_up(f, 1);
	expect_rows(f, 1, 0, 0);
	assert_int_equal(nsh_truncate(f->h, a, 0), OK);
	dropped = nsh_now(f->h);
	expect_rows(f, 0, 1, 0);
	assert_int_equal(ask(f, 1), RPC_SLICE_ALIVE); /* not for a sweep */
	assert_int_equal(reap(f, 1, 0), 0);
	/* readers that began before may still have its extents */
	assert_int_equal(reap(f, 1, dropped - 1), 0);
	done(f, 1);
	expect_rows(f, 0, 1, 0);
	/* it may still come back */
	assert_int_equal(commit(f, a, 1, 0), OK);
	expect_rows(f, 1, 0, 0);
	assert_int_equal(reap_now(f, 1), 0);
	assert_int_equal(nsh_truncate(f->h, a, 0), OK);
	assert_int_equal(reap(f, 1, nsh_now(f->h)), 1);
	expect_rows(f, 1, 1, 1);
	assert_int_equal(ask(f, 1), RPC_SLICE_DEAD);
	assert_int_equal(commit(f, a, 1, 0), GONE);
	assert_int_equal(reap_now(f, 1), 1); /* asked again */
	done(f, 1);
	expect_rows(f, 1, 0, 1);
	assert_int_equal(commit(f, a, 1, 0), GONE);
	assert_int_equal(reap_now(f, 1), 1);
	done(f, 1);
	/* a tombstone until nobody can come any more */
	nsh_advance(f->h, DAY - HOUR);
	forget(f, 1);
	expect_rows(f, 1, 0, 1);
	assert_int_equal(commit(f, a, 1, 0), GONE);
	nsh_advance(f->h, 2 * HOUR);
	forget(f, 1);
	expect_rows(f, 0, 0, 0);
	assert_int_equal(ask(f, 1), RPC_SLICE_UNKNOWN);
	assert_int_equal(commit(f, a, 1, 0), GONE);
	assert_int_equal(reap_now(f, 1), 1);
	expect_rows(f, 0, 0, 0);
}

/* Nobody ever named it. */
static void test_orphan(void **state)
{
	struct fix *f = *state;
	uint64_t a = make(f, "a");

	assert_int_equal(reap(f, 1, 0), 1);
	expect_rows(f, 1, 0, 1);
	assert_int_equal(commit(f, a, 1, 0), GONE);
	done(f, 1);
	expect_rows(f, 1, 0, 1);
	give_up(f, 2);
	expect_rows(f, 2, 1, 2);
	assert_int_equal(commit(f, a, 2, 0), GONE);
	assert_int_equal(reap(f, 2, 0), 1);
	done(f, 2);
	expect_rows(f, 2, 0, 2);
	nsh_advance(f->h, DAY + 1);
	forget(f, 1);
	forget(f, 2);
	/* of a day ago: no row is needed */
	assert_int_equal(commit(f, a, 3, 0), GONE);
	assert_int_equal(reap(f, 3, 0), 1);
	expect_rows(f, 0, 0, 0);
	give_up(f, 4);
	expect_rows(f, 0, 1, 0);
	done(f, 4);
	expect_rows(f, 0, 0, 0);
}

/* What lives on for days, and is given up then. */
static void test_old(void **state)
{
	struct fix *f = *state;
	uint64_t a = make(f, "a"), b = make(f, "b");

	assert_int_equal(commit(f, a, 1, 0), OK);
	nsh_advance(f->h, 10 * DAY);
	assert_int_equal(reap_now(f, 1), 0);
	assert_int_equal(commit(f, b, 1, 0), OK); /* a copy of it */
	assert_int_equal(nsh_truncate(f->h, a, 0), OK);
	assert_int_equal(reap_now(f, 1), 0);
	assert_int_equal(nsh_truncate(f->h, b, 0), OK);
	expect_rows(f, 0, 1, 0);
	assert_int_equal(commit(f, b, 1, 0), GONE);
	assert_int_equal(reap(f, 1, nsh_now(f->h) - NS_PER_HOUR), 0);
	assert_int_equal(reap_now(f, 1), 1);
	expect_rows(f, 0, 1, 0);
	done(f, 1);
	expect_rows(f, 0, 0, 0);
}

/* A refused command changes nothing, also when it names others. */
static void test_refused_whole(void **state)
{
	struct fix *f = *state;
	uint64_t a = make(f, "a");
	struct wire_extent e = { .len = 100, .kind = WIRE_EXT_CHUNKS };
	struct rpc_write req = { .ino = a };
	struct rpc_write_rsp rsp;
	struct wire_attr before, after;
	struct wire_vec v;

	assert_int_equal(commit(f, a, 9, 500), OK);
	assert_int_equal(reap(f, 2, 0), 1);
	assert_int_equal(nsh_getattr(f->h, a, &before), OK);
	wire_vec_init(&v);
	for (uint64_t i = 1; i <= 3; i++) {
		e.pos = 200 * i;
		e.slice = nsh_slice(f->h, i);
		wire_vec_add_extent(&v, &e);
	}
	req.extents = wire_vec_bytes(&v);
	assert_int_equal(NSH(f->h, write, write_rsp, &req, &rsp), GONE);
	wire_vec_fini(&v);
	expect_rows(f, 2, 0, 1);
	assert_int_equal(nsh_getattr(f->h, a, &after), OK);
	assert_int_equal(after.change, before.change);
	assert_int_equal(after.size, before.size);
	/* what was not named is free to come */
	assert_int_equal(commit(f, a, 1, 0), OK);
}

static void test_bad_lists(void **state)
{
	struct fix *f = *state;
	struct rpc_slice_reap req = { .before = 0 };
	struct rpc_slice_reap_rsp rsp;
	struct rpc_slice_ask_rsp states;
	struct rpc_slice_ask asked;
	struct wire_vec v;

	req.slices = list_of(&v, (struct wire_u128){ 0, 1 }); /* not ours */
	assert_int_equal(NSH(f->h, slice_reap, slice_reap_rsp, &req, &rsp),
			 RPC_STATUS_NOTSUP);
	wire_vec_fini(&v);
	wire_vec_init(&v);
	for (int i = 0; i < 257; i++) {
		struct wire_u128 id = nsh_slice(f->h, 1);
		struct wire_writer w = wire_vec_add(&v);

		wire_put_u128(&w, &id);
	}
	req.slices = wire_vec_bytes(&v);
	assert_int_equal(NSH(f->h, slice_reap, slice_reap_rsp, &req, &rsp),
			 RPC_STATUS_INVAL);
	asked.slices = req.slices;
	assert_int_equal(NSH(f->h, slice_ask, slice_ask_rsp, &asked, &states),
			 RPC_STATUS_INVAL);
	wire_vec_fini(&v);
	asked.slices = wire_bytes("\0\0\0\3abc", 7);
	assert_int_equal(NSH(f->h, slice_ask, slice_ask_rsp, &asked, &states),
			 RPC_STATUS_INVAL);
	req.slices = wire_bytes("\0\0\0\3abc", 7);
	assert_int_equal(NSH(f->h, slice_reap, slice_reap_rsp, &req, &rsp),
			 RPC_STATUS_INVAL);
	expect_rows(f, 0, 0, 0);
}

/* --- against each other --- */

enum { SLICES = 24, FILES = 6, PLACES = 4, STEPS = 4000 };

struct game {
	struct fix *f;
	uint64_t rng;
	uint64_t ino[FILES];
	int at[FILES][PLACES]; /* slice there, or 0 */
	bool chunks[SLICES + 1]; /* stores have them */
	bool dead[SLICES + 1];   /* REAP said so: they may be removed */
	int64_t dropped[SLICES + 1]; /* when the last name went; 0: named */
	unsigned commits, gone, reaped, swept;
};

static uint64_t rnd(struct game *g, uint64_t below)
{
	g->rng ^= g->rng << 13;
	g->rng ^= g->rng >> 7;
	g->rng ^= g->rng << 17;
	return (g->rng >> 11) % below;
}

static bool game_named(const struct game *g, int slice)
{
	for (int i = 0; i < FILES; i++)
		for (int j = 0; j < PLACES; j++)
			if (g->at[i][j] == slice)
				return true;
	return false;
}

static void game_unname(struct game *g, int file, int place)
{
	int slice = g->at[file][place];

	g->at[file][place] = 0;
	if (slice != 0 && !game_named(g, slice))
		g->dropped[slice] = nsh_now(g->f->h);
}

static void game_commit(struct game *g)
{
	int slice = 1 + (int)rnd(g, SLICES), file = (int)rnd(g, FILES);
	int place = (int)rnd(g, PLACES);
	uint32_t status = commit(g->f, g->ino[file], (uint64_t)slice,
				 (uint64_t)place * 100);

	if (status != OK) {
		assert_int_equal(status, GONE);
		assert_false(game_named(g, slice)); /* a live one is not */
		g->gone++;
		return;
	}
	/* named: all its bytes are there, and nobody may take them now */
	assert_true(g->chunks[slice]);
	assert_false(g->dead[slice]);
	g->commits++;
	if (g->at[file][place] != slice)
		game_unname(g, file, place);
	g->at[file][place] = slice;
	g->dropped[slice] = 0;
}

static void game_drop_names(struct game *g)
{
	int file = (int)rnd(g, FILES);

	assert_int_equal(nsh_truncate(g->f->h, g->ino[file], 0), OK);
	for (int j = 0; j < PLACES; j++)
		game_unname(g, file, j);
}

static void game_reap(struct game *g)
{
	int slice = 1 + (int)rnd(g, SLICES);
	int64_t before = nsh_now(g->f->h) - LEASE * INT64_C(1000000000);

	if (!reap(g->f, (uint64_t)slice, before))
		return;
	assert_false(game_named(g, slice));
	if (!g->dead[slice]) /* readers had their time */
		assert_true(g->dropped[slice] <= before);
	g->dead[slice] = true;
	g->reaped++;
}

/* A store's sweep (orphans.c) finds chunks whose session is over. */
static void game_sweep(struct game *g)
{
	int slice = 1 + (int)rnd(g, SLICES);
	int known = ask(g->f, (uint64_t)slice);

	assert_true(known == RPC_SLICE_ALIVE || !game_named(g, slice));
	if (known == RPC_SLICE_ALIVE)
		return;
	if (known == RPC_SLICE_UNKNOWN) {
		if (rnd(g, 2) == 0) /* things go on before it reaps */
			game_commit(g);
		if (!reap(g->f, (uint64_t)slice, 0))
			return;
	}
	assert_false(game_named(g, slice));
	g->dead[slice] = true;
	g->chunks[slice] = false;
	g->swept++;
}

/* A store hears of it, sooner or later; DONE only when all have. */
static void game_remove(struct game *g)
{
	int slice = 1 + (int)rnd(g, SLICES);

	if (!g->dead[slice])
		return;
	g->chunks[slice] = false;
	if (rnd(g, 2) == 0)
		done(g->f, (uint64_t)slice);
}

static void game_step(struct game *g)
{
	uint64_t op = rnd(g, 100);

	if (op < 45) {
		game_commit(g);
	} else if (op < 60) {
		game_drop_names(g);
	} else if (op < 78) {
		game_reap(g);
	} else if (op < 80) {
		game_sweep(g);
	} else if (op < 90) {
		game_remove(g);
	} else if (op < 93) {
		done(g->f, 1 + rnd(g, SLICES));
	} else if (op < 95) {
		int slice = 1 + (int)rnd(g, SLICES);

		give_up(g->f, (uint64_t)slice);
		if (!game_named(g, slice) && g->dropped[slice] == 0)
			g->dropped[slice] = 1;
	} else if (op < 98) {
		forget(g->f, 1 + rnd(g, SLICES));
	} else {
		nsh_advance(g->f->h, 1 + rnd(g, rnd(g, 20) == 0 ? 2 * HOUR
							       : LEASE));
	}
	for (int s = 1; s <= SLICES; s++)
		if (!g->chunks[s])
			assert_false(game_named(g, s));
}

static void test_random(void **state)
{
	struct fix *f = *state;
	char name[16];

	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct game g = { .f = f };

		print_message("# seed %lu\n", (unsigned long)seed);
		g.rng = seed * 0x9e3779b97f4a7c15;
		if (seed > 1) { /* slices are of the start of a shard */
			assert_int_equal(nsh_free(f->h), 0);
			(void)setup(state);
		}
		for (int i = 0; i < FILES; i++) {
			snprintf(name, sizeof(name), "f%d", i);
			g.ino[i] = make(f, name);
		}
		for (int s = 1; s <= SLICES; s++)
			g.chunks[s] = true;
		for (int i = 0; i < STEPS; i++) {
			game_step(&g);
			if (i % 500 == 0)
				assert_int_equal(nsh_check(f->h), 0);
		}
		assert_true(g.commits > 50 && g.gone > 50 && g.reaped > 5);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_life),
		T(test_orphan),
		T(test_old),
		T(test_refused_whole),
		T(test_bad_lists),
		T(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
