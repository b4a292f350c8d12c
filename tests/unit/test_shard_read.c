/*
 * Reads under a lease (storaged/shard_read.c): read, then look at the clock,
 * then answer. The process stands still amid a read, for longer than its lease:
 * others may have written meanwhile, so what it read is no answer. What Raft
 * knows of leases and barriers, the test says: the calls are caught by the
 * linker.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/shardworld.h"

#define NAMES 3
#define LEASE_NS (SECOND / 10)

static struct {
	bool scripted;          /* else Raft is asked */
	struct env *env;
	uint64_t lease_until;   /* ns; nobody else leads before */
	uint64_t term_shift;    /* so many elections since */
	unsigned asked;         /* whether it may read */
	unsigned pause_at;      /* the clock moves on before that question */
	struct minienv *m;
	struct raft_barrier *barrier; /* under way */
	unsigned barriers;
} raft;

bool __real_raft_group_can_read(const struct raft_group *g);
bool __wrap_raft_group_can_read(const struct raft_group *g);
bool __wrap_raft_group_can_read(const struct raft_group *g)
{
	if (!raft.scripted)
		return __real_raft_group_can_read(g);
	if (++raft.asked == raft.pause_at)
		minienv_skip(raft.m, 2 * LEASE_NS);
	return env_now_ns(raft.env) < raft.lease_until;
}

uint64_t __real_raft_group_term(const struct raft_group *g);
uint64_t __wrap_raft_group_term(const struct raft_group *g);
uint64_t __wrap_raft_group_term(const struct raft_group *g)
{
	return __real_raft_group_term(g) + raft.term_shift;
}

void __real_raft_group_barrier(struct raft_group *g, struct raft_barrier *b);
void __wrap_raft_group_barrier(struct raft_group *g, struct raft_barrier *b);
void __wrap_raft_group_barrier(struct raft_group *g, struct raft_barrier *b)
{
	if (!raft.scripted) {
		__real_raft_group_barrier(g, b);
		return;
	}
	assert_null(raft.barrier);
	raft.barrier = b;
	raft.barriers++;
}

struct fix {
	struct world w;
	uint64_t root, file;
	struct reply r;
};

static uint64_t late_reads(struct fix *f)
{
	struct shard_stats s;

	shard_set_stats(f->w.set, &s);
	return s.late_reads;
}

static void set_mode(struct fix *f, uint32_t mode)
{
	struct rpc_setattr req = {
		MUT(&f->w), .ino = f->file, .valid = RPC_SET_MODE,
		.mode = mode,
	};
	struct reply r;

	CALL(&f->w, setattr, &req, &r);
	assert_int_equal(r.status, RPC_STATUS_OK);
	reply_fini(&r);
}

/* Some names, durable, and none of their rows in memory. */
static int setup(void **state)
{
	static const char *const names[NAMES] = { "a", "b", "c" };
	struct fix *f = calloc(1, sizeof *f);

	memset(&raft, 0, sizeof raft);
	world_init(&f->w);
	f->root = world_root(&f->w, 1);
	for (unsigned i = 0; i < NAMES; i++)
		f->file = world_file(&f->w, f->root, names[i], 0);
	assert_int_equal(shard_set_checkpoint(f->w.set, NULL, NULL), 0);
	minienv_run(f->w.m);
	world_power_cut(&f->w, 2);
	raft.scripted = true;
	raft.m = f->w.m;
	raft.env = minienv_env(f->w.m);
	raft.lease_until = env_now_ns(raft.env) + LEASE_NS;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	reply_fini(&f->r);
	world_fini(&f->w);
	free(f);
	return 0;
}

static void point_read(struct fix *f)
{
	struct rpc_getattr req = { .ino = f->file };

	SEND(&f->w, getattr, &req, &f->r);
}

static void page_read(struct fix *f)
{
	struct rpc_readdir req = { .dir = f->root, .max = 100 };

	SEND(&f->w, readdir, &req, &f->r);
}

/* Runs until the op may read; it has not yet. */
static void run_to_the_read(struct fix *f)
{
	while (raft.asked == 0)
		assert_true(minienv_step(f->w.m));
	assert_int_equal(f->r.n, 0);
}

static void barrier_passes(struct fix *f, uint32_t status)
{
	struct raft_barrier *b = raft.barrier;

	assert_non_null(b);
	raft.barrier = NULL;
	b->done(b, status);
	minienv_run(f->w.m);
}

static void check_mode(struct fix *f, uint32_t mode)
{
	struct rpc_attr_rsp rsp;

	assert_int_equal(f->r.n, 1);
	assert_int_equal(f->r.status, RPC_STATUS_OK);
	assert_int_equal(rpc_attr_rsp_decode(&rsp, f->r.payload.data,
					     f->r.payload.len), 0);
	assert_int_equal(rsp.attr.mode & 0777, mode);
}

static void check_names(struct fix *f, unsigned names)
{
	struct rpc_readdir_rsp rsp;
	uint32_t n;

	assert_int_equal(f->r.n, 1);
	assert_int_equal(f->r.status, RPC_STATUS_OK);
	assert_int_equal(rpc_readdir_rsp_decode(&rsp, f->r.payload.data,
						f->r.payload.len), 0);
	(void)wire_vec_reader(rsp.entries, &n);
	assert_int_equal(n, names);
}

/* It waits, and has said nothing; the rows become others meanwhile. */
static void check_waits(struct fix *f)
{
	assert_int_equal(f->r.n, 0);
	assert_int_equal(raft.barriers, 1);
	assert_int_equal(late_reads(f), 1);
	raft.scripted = false; /* whoever it was that wrote */
	set_mode(f, 0640);
	(void)world_file(&f->w, f->root, "d", 0);
	raft.scripted = true;
	assert_int_equal(f->r.n, 0);
}

static void test_under_the_lease(void **state)
{
	struct fix *f = *state;

	point_read(f);
	minienv_run(f->w.m);
	check_mode(f, 0644);
	reply_fini(&f->r);
	page_read(f);
	minienv_run(f->w.m);
	check_names(f, NAMES);
	assert_int_equal(raft.barriers, 0);
	assert_int_equal(late_reads(f), 0);
}

/* While a worker loads the rows. */
static void test_pause_amid_a_point_read(void **state)
{
	struct fix *f = *state;

	point_read(f);
	run_to_the_read(f);
	minienv_skip(f->w.m, 2 * LEASE_NS);
	minienv_run(f->w.m);
	check_waits(f);
	barrier_passes(f, RPC_STATUS_OK);
	check_mode(f, 0640);
}

/* Between the rows and the answer; there is no other wait in it. */
static void test_pause_behind_the_rows(void **state)
{
	struct fix *f = *state;

	point_read(f);
	minienv_run(f->w.m);
	check_mode(f, 0644);
	reply_fini(&f->r);
	raft.asked = 0;
	raft.pause_at = 2;
	point_read(f);
	minienv_run(f->w.m);
	check_waits(f);
	barrier_passes(f, RPC_STATUS_OK);
	check_mode(f, 0640);
}

/* While a worker walks the names. */
static void test_pause_amid_a_scan(void **state)
{
	struct shard_stats s = { 0 };
	struct fix *f = *state;

	page_read(f);
	run_to_the_read(f);
	while (s.scans == 0) {
		assert_true(minienv_step(f->w.m));
		shard_set_stats(f->w.set, &s);
	}
	minienv_skip(f->w.m, 2 * LEASE_NS);
	minienv_run(f->w.m);
	check_waits(f);
	barrier_passes(f, RPC_STATUS_OK);
	check_names(f, NAMES + 1);
}

/* A lease, but of a later term: somebody else led in between. */
static void test_lease_of_another_term(void **state)
{
	struct fix *f = *state;

	page_read(f);
	run_to_the_read(f);
	raft.term_shift = 2;
	minienv_run(f->w.m);
	raft.term_shift = 0;
	check_waits(f);
	barrier_passes(f, RPC_STATUS_OK);
	check_names(f, NAMES + 1);
}

/* Behind the barrier no lease is needed: the read ends, however slow it is. */
static void test_no_second_lease(void **state)
{
	struct fix *f = *state;

	page_read(f);
	run_to_the_read(f);
	minienv_skip(f->w.m, 2 * LEASE_NS);
	minienv_run(f->w.m);
	raft.lease_until = UINT64_MAX; /* as it is after the pause */
	raft.asked = 0;
	barrier_passes(f, RPC_STATUS_OK);
	check_names(f, NAMES);
	assert_int_equal(raft.asked, 0);
	assert_int_equal(raft.barriers, 1);
	assert_int_equal(late_reads(f), 1);
}

static void test_somebody_else_leads(void **state)
{
	struct fix *f = *state;

	point_read(f);
	run_to_the_read(f);
	minienv_skip(f->w.m, 2 * LEASE_NS);
	minienv_run(f->w.m);
	assert_int_equal(f->r.n, 0);
	barrier_passes(f, RPC_STATUS_NOT_LEADER);
	assert_int_equal(f->r.n, 1);
	assert_int_equal(f->r.status, RPC_STATUS_NOT_LEADER);
	assert_int_equal(f->r.payload.len, 0);
}

/* `reads: barrier`, or no lease yet: nothing is read before. */
static void test_without_leases(void **state)
{
	struct shard_stats s;
	struct fix *f = *state;

	raft.lease_until = 0;
	page_read(f);
	minienv_run(f->w.m);
	assert_int_equal(f->r.n, 0);
	assert_int_equal(raft.barriers, 1);
	shard_set_stats(f->w.set, &s);
	assert_int_equal(s.scans, 0);
	barrier_passes(f, RPC_STATUS_OK);
	check_names(f, NAMES);
	assert_int_equal(late_reads(f), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_under_the_lease),
		T(test_pause_amid_a_point_read),
		T(test_pause_behind_the_rows),
		T(test_pause_amid_a_scan),
		T(test_lease_of_another_term),
		T(test_no_second_lease),
		T(test_somebody_else_leads),
		T(test_without_leases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
