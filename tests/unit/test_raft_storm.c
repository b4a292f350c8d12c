/*
 * Elections of very many groups at once, in simulated time: three stores with
 * a group of three voters for each of 1,024 shards. How long until all have a
 * leader, and with how many frames, messages and flushes: none of it may grow
 * as groups times tries. That nothing staggers them but chance is enough is
 * what this proves: a group's timer is drawn from one election timeout, so
 * in each tick of the host's timer a few groups stand, and whatever they say
 * shares frames and flushes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/raft/raft_impl.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/simenv.h"

#define NODES 3
#define GROUPS 1024
#define ELECTION_MS RAFT_ELECTION_MS

struct world;

struct node {
	struct world *w;
	unsigned id;
	unsigned life;
	bool up;
	struct crashfs *fs;
	struct env *env;
	struct seg_head *log;
	struct seg_port *port;
	struct raft_host *host;
	struct raft_group *groups[GROUPS];
	uint64_t arrival[NODES]; /* of the last frame to each */
	unsigned led;
};

struct counts {
	uint64_t ns, frames, messages, bytes, flushes, terms;
};

struct world {
	struct sim *s;
	struct node nodes[NODES];
	struct counts n;
	bool elected[GROUPS]; /* has a leader */
	unsigned n_elected;
};

/* --- the network: nothing is lost between two that are up --- */

struct frame {
	struct world *w;
	unsigned from, to, from_life, to_life;
	size_t len;
	uint8_t bytes[];
};

static void net_deliver(void *arg)
{
	const struct frame *f = arg;
	struct node *to = &f->w->nodes[f->to];

	if (!to->up || to->life != f->to_life ||
	    f->w->nodes[f->from].life != f->from_life)
		return;
	if (raft_host_receive(to->host, f->from + 1, f->bytes, f->len) != 0)
		abort();
}

static void node_send(void *arg, uint64_t to, const uint8_t *bytes, size_t len)
{
	struct node *n = arg;
	struct world *w = n->w;
	struct node *peer = &w->nodes[to - 1];
	struct raft_wire_frame head;
	uint64_t at = sim_now(w->s) + sim_range(w->s, 50, 500) * SIM_US;
	struct frame *f;
	uint32_t items;

	if (raft_frame_decode(&head, bytes, len) != 0)
		abort();
	(void)wire_vec_reader(head.messages, &items);
	w->n.frames++;
	w->n.messages += items;
	w->n.bytes += len;
	if (!peer->up)
		return;
	f = malloc(sizeof *f + len);
	if (f == NULL)
		abort();
	*f = (struct frame){ .w = w, .from = n->id, .to = peer->id,
			     .from_life = n->life, .to_life = peer->life,
			     .len = len };
	memcpy(f->bytes, bytes, len);
	if (at <= n->arrival[peer->id])
		at = n->arrival[peer->id] + 1;
	n->arrival[peer->id] = at;
	sim_after_owned(w->s, at - sim_now(w->s), net_deliver, f);
}

/* --- stores --- */

static int node_apply(void *arg, struct raft_group *g,
		      const struct raft_cmd *cmd)
{
	(void)arg;
	(void)g;
	(void)cmd;
	return 0;
}

static void node_role(void *arg, struct raft_group *g, bool leader)
{
	struct node *n = arg;
	bool *elected = &n->w->elected[raft_group_id(g)];

	n->led = leader ? n->led + 1 : n->led - 1;
	n->w->n_elected += leader && !*elected;
	*elected |= leader;
}

static int node_record(void *arg, const struct seg_rec *rec)
{
	struct node *n = arg;

	return raft_host_recover(n->host, rec);
}

static void node_start_body(void *arg, uint64_t gen, struct buf *b)
{
	struct node *n = arg;

	raft_host_start_body(n->host, gen, b);
}

static void node_start(struct node *n)
{
	static const uint64_t voters[NODES] = { 1, 2, 3 };
	struct raft_host_config hc = {
		.id = n->id + 1, .apply = node_apply, .role = node_role,
		.send = node_send, .arg = n,
	};
	struct seg_config sc = {
		.dir = "/log", .segment_size = 16u << 20,
		.first_size = 16u << 20, .on_record = node_record,
		.start_body = node_start_body, .arg = n,
	};
	struct errbuf e = { "" };

	n->life++;
	n->env = hc.env = simenv_new(n->w->s, crashfs_vfs(n->fs), n->id);
	simenv_set_disk(n->env, 100 * SIM_US, 2 * SIM_MS);
	assert_int_equal(raft_host_new(&hc, &n->host), 0);
	if (seg_head_open(n->env, &sc, &n->log, &e) != 0)
		fail_msg("%s", e.text);
	assert_int_equal(seg_port_new(n->log, n->env, &n->port), 0);
	raft_host_set_log(n->host, n->log, n->port);
	for (uint16_t i = 0; i < GROUPS; i++) {
		struct raft_group_config gc = {
			.group = i, .voters = voters, .n_voters = NODES,
		};

		if (raft_host_open_group(n->host, &gc, &n->groups[i],
					 &e) != 0)
			fail_msg("%s", e.text);
	}
	for (unsigned i = 0; i < NODES; i++)
		if (n->w->nodes[i].up)
			raft_host_link_reset(n->w->nodes[i].host, n->id + 1);
	assert_int_equal(raft_host_start(n->host), 0);
	n->led = 0;
	n->up = true;
}

/* The power fails. */
static void node_cut(struct node *n, bool last)
{
	n->up = false;
	crashfs_freeze(n->fs, true);
	seg_head_abandon(n->log);
	raft_host_free(n->host);
	seg_port_free(n->port);
	simenv_free(n->env);
	if (!last)
		crashfs_crash(n->fs, sim_rand(n->w->s, UINT64_MAX));
	for (unsigned i = 0; i < NODES && !last; i++)
		if (n->w->nodes[i].up)
			raft_host_link_reset(n->w->nodes[i].host, n->id + 1);
}

/* --- the world --- */

static int world_setup(void **state)
{
	struct world *w = sim_zalloc(sizeof *w);

	w->s = sim_new(7);
	for (unsigned i = 0; i < NODES; i++) {
		w->nodes[i].w = w;
		w->nodes[i].id = i;
		w->nodes[i].fs = crashfs_new(1 + i);
	}
	*state = w;
	return 0;
}

static int world_teardown(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < NODES; i++) {
		if (w->nodes[i].up)
			node_cut(&w->nodes[i], true);
		crashfs_free(w->nodes[i].fs);
	}
	sim_free(w->s);
	free(w);
	return 0;
}

static uint64_t world_flushes(struct world *w)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < NODES; i++) {
		struct seg_stats stats;

		if (!w->nodes[i].up)
			continue;
		seg_head_stats(w->nodes[i].log, &stats);
		sum += stats.flushes;
	}
	return sum;
}

/* The highest term of each group, added. */
static uint64_t world_terms(struct world *w)
{
	uint64_t sum = 0;

	for (unsigned g = 0; g < GROUPS; g++) {
		uint64_t term = 0;

		for (unsigned i = 0; i < NODES; i++)
			if (w->nodes[i].up &&
			    raft_group_term(w->nodes[i].groups[g]) > term)
				term = raft_group_term(w->nodes[i].groups[g]);
		sum += term;
	}
	return sum;
}

static void world_run(struct world *w, uint64_t ms)
{
	uint64_t until = sim_now(w->s) + ms * SIM_MS;

	while (sim_now(w->s) < until && sim_step(w->s))
		;
}

/* Runs until all groups have a leader; leaves in w->n what that took. */
static void world_elect(struct world *w, const char *what)
{
	uint64_t from = sim_now(w->s), flushes = world_flushes(w);
	uint64_t terms = world_terms(w);

	memset(&w->n, 0, sizeof w->n);
	memset(w->elected, 0, sizeof w->elected);
	w->n_elected = 0;
	while (w->n_elected < GROUPS &&
	       sim_now(w->s) - from < 20ull * ELECTION_MS * SIM_MS)
		assert_true(sim_step(w->s));
	w->n.ns = sim_now(w->s) - from;
	w->n.flushes = world_flushes(w) - flushes;
	w->n.terms = world_terms(w) - terms;
	print_message("# %s: %u of %u groups led after %llu ms, %llu terms, "
		      "%llu messages in %llu frames of %llu bytes, "
		      "%llu flushes\n", what, w->n_elected, GROUPS,
		      (unsigned long long)(w->n.ns / SIM_MS),
		      (unsigned long long)w->n.terms,
		      (unsigned long long)w->n.messages,
		      (unsigned long long)w->n.frames,
		      (unsigned long long)w->n.bytes,
		      (unsigned long long)w->n.flushes);
	assert_int_equal(w->n_elected, GROUPS);
}

/*
 * Of an election: two rounds of questions and answers, the first entry, its
 * answers and what commits it; then heartbeats until the last group has a
 * leader. A second try of a few groups, no more.
 */
static void check_counts(const struct world *w, unsigned timeouts)
{
	uint64_t ticks = w->n.ns / (RAFT_TICK_MS * SIM_MS);
	uint64_t beats = w->n.ns / (RAFT_HEARTBEAT_MS * SIM_MS) + 1;

	assert_true(w->n.ns <= timeouts * ELECTION_MS * SIM_MS);
	assert_true(w->n.terms <= GROUPS + GROUPS / 50);
	/* of an election 14, of each beat 4 */
	assert_true(w->n.messages <= GROUPS * (14 + 4 * beats));
	/* what is due in one tick goes together */
	assert_true(w->n.frames <= 20 * ticks);
	assert_true(w->n.flushes <= 6 * ticks);
}

static void all_to_the_first(struct world *w)
{
	for (unsigned tries = 0; w->nodes[0].led < GROUPS; tries++) {
		assert_true(tries < 20);
		for (unsigned g = 0; g < GROUPS; g++)
			for (unsigned i = 1; i < NODES; i++)
				(void)raft_group_transfer(
					w->nodes[i].groups[g], 1);
		world_run(w, ELECTION_MS);
	}
}

static void test_all_leaders_are_lost_at_once(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < NODES; i++)
		node_start(&w->nodes[i]);
	world_elect(w, "first start");
	world_run(w, 2 * ELECTION_MS);
	all_to_the_first(w);
	world_run(w, ELECTION_MS);
	node_cut(&w->nodes[0], false);
	world_elect(w, "all leaders lost");
	check_counts(w, 3);
	/* neither has nearly all of them */
	for (unsigned i = 1; i < NODES; i++)
		assert_in_range(w->nodes[i].led, GROUPS / 4, 3 * GROUPS / 4);
}

static void test_all_stores_start_at_once(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < NODES; i++)
		node_start(&w->nodes[i]);
	world_elect(w, "first start");
	check_counts(w, 3);
	world_run(w, ELECTION_MS);
	for (unsigned i = 0; i < NODES; i++)
		node_cut(&w->nodes[i], false);
	for (unsigned i = 0; i < NODES; i++)
		node_start(&w->nodes[i]);
	world_elect(w, "start after a power cut");
	check_counts(w, 3);
	for (unsigned i = 0; i < NODES; i++)
		assert_in_range(w->nodes[i].led, GROUPS / 6, GROUPS / 2);
}

/* One comes back: groups that have a leader keep it. */
static void test_a_store_that_comes_back_disturbs_nobody(void **state)
{
	struct world *w = *state;
	uint64_t terms;

	for (unsigned i = 0; i < NODES; i++)
		node_start(&w->nodes[i]);
	world_elect(w, "first start");
	world_run(w, ELECTION_MS);
	node_cut(&w->nodes[2], false);
	world_run(w, 4 * ELECTION_MS);
	assert_int_equal(w->nodes[0].led + w->nodes[1].led, GROUPS);
	terms = world_terms(w);
	node_start(&w->nodes[2]);
	world_run(w, 4 * ELECTION_MS);
	assert_int_equal(w->nodes[0].led + w->nodes[1].led, GROUPS);
	assert_int_equal(world_terms(w), terms);
}

int main(void)
{
#define T(name) \
	cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_all_leaders_are_lost_at_once),
		T(test_all_stores_start_at_once),
		T(test_a_store_that_comes_back_disturbs_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
