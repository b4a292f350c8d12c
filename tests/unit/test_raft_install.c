/*
 * Snapshots for a member that lags, and groups that go away.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "tests/unit/raft_peers.h"

#define MS 1000000ull
#define SNAP 100 /* the snapshot's index, of term 4 */

/* The configuration that the group began with. */
static struct wire_bytes conf_of(struct peers *f)
{
	const struct rlog_conf *c = rlog_conf_at(&f->group->log, UINT64_MAX);

	return wire_bytes(c->bytes, c->len);
}

static struct raft_base snap_of(struct wire_bytes conf)
{
	return (struct raft_base){ SNAP, 4, 1, conf };
}

/* Leader 2 of term 5 has nothing below SNAP any more. */
static void offer(struct peers *f)
{
	struct raft_message m = { .type = RAFT_INSTALL_SNAPSHOT };
	struct raft_wire_append w = {
		.term = 5, .prev_index = SNAP, .prev_term = 4, .commit = SNAP,
	};

	assert_int_equal(peers_append(f, 2, w, NULL, 0), 0);
	m.install_snapshot.term = 5;
	m.install_snapshot.last_index = SNAP - 10;
	m.install_snapshot.last_term = 4;
	assert_int_equal(peers_say(f, 2, &m, 0), 0);
	minienv_run(f->mini);
}

static int append(struct peers *f, uint64_t prev, uint64_t prev_term,
		  uint64_t commit)
{
	struct raft_wire_append w = {
		.term = 5, .prev_index = prev, .prev_term = prev_term,
		.commit = commit,
	};
	struct raft_wire_entry e = { 5, RAFT_COMMAND, wire_bytes("a", 1) };
	int rv = peers_append(f, 2, w, &e, 1);

	minienv_run(f->mini);
	return rv;
}

static void test_install(void **state)
{
	struct peers *f = *state;
	const struct raft_message *m;
	struct raft_base s = snap_of(conf_of(f));
	uint8_t conf[256];

	memcpy(conf, s.conf.p, s.conf.len);
	s.conf.p = conf;
	assert_int_equal(raft_group_install(f->group, &s), -EAGAIN);
	offer(f);
	assert_int_equal(f->n_lags, 1);
	assert_int_equal(f->lags_from, 2);
	assert_int_equal(f->n_installs, 0);
	/* nothing happened yet: it votes and appends as before */
	assert_int_equal(rlog_last(&f->group->log), 1);
	f->n_sent = 0;
	assert_int_equal(raft_group_install(f->group, &s), 0);
	assert_int_equal(f->n_installs, 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_installs, 1);
	assert_int_equal(raft_group_install(f->group, &s), -EAGAIN);
	/* entries, timeouts, checkpoints: they all wait */
	assert_int_equal(append(f, SNAP, 4, SNAP + 1), 0);
	assert_int_equal(rlog_last(&f->group->log), SNAP);
	minienv_advance(f->mini, 10 * PEERS_ELECTION_MS * MS);
	assert_null(peers_last(f, 3, RAFT_REQUEST_VOTE, NULL));
	assert_null(peers_last(f, 2, RAFT_APPEND_ENTRIES_RESULT, NULL));
	assert_int_equal(f->group->applied, 1);
	raft_group_installed(f->group);
	assert_int_equal(f->group->applied, 1);
	minienv_run(f->mini);
	assert_int_equal(f->group->applied, SNAP);
	m = peers_last(f, 2, RAFT_APPEND_ENTRIES_RESULT, NULL);
	assert_non_null(m);
	assert_int_equal(m->append_entries_result.rejected, 0);
	assert_int_equal(m->append_entries_result.last_log_index, SNAP);
	assert_int_equal(append(f, SNAP, 4, SNAP + 1), 0);
	assert_int_equal(f->n_applied, 1);
	assert_int_equal(f->group->applied, SNAP + 1);
	assert_int_equal(f->n_installs, 1);
}

/*
 * A command waits for rows: what it was given is there until it has run again,
 * not only until that may be. So it goes first.
 */
static void test_install_behind_a_parked_command(void **state)
{
	struct peers *f = *state;
	struct raft_drop drop = { .done = NULL };
	struct raft_base s = snap_of(conf_of(f));
	uint8_t conf[256];

	memcpy(conf, s.conf.p, s.conf.len);
	s.conf.p = conf;
	f->park = true;
	assert_int_equal(append(f, 1, 1, 2), 0);
	offer(f);
	assert_int_equal(raft_group_install(f->group, &s), -EAGAIN);
	raft_group_resume(f->group);
	assert_int_equal(raft_group_install(f->group, &s), -EAGAIN);
	assert_int_equal(raft_group_drop(f->group, UINT64_MAX, &drop),
			 -EAGAIN);
	f->park = false;
	minienv_run(f->mini);
	assert_int_equal(f->n_applied, 1);
	assert_int_equal(raft_group_install(f->group, &s), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_installs, 1);
	raft_group_installed(f->group);
	minienv_run(f->mini);
	assert_int_equal(f->group->applied, SNAP);
}

static void test_install_is_not_needed(void **state)
{
	struct peers *f = *state;
	struct raft_base s = snap_of(conf_of(f)), bad;
	const struct raft_message *m;
	struct raft_message offer2 = { .type = RAFT_INSTALL_SNAPSHOT };

	s.index = 2;
	s.term = 5;
	offer(f);
	assert_int_equal(append(f, 1, 1, 1), 0);
	/* it has that entry, though not applied yet */
	assert_int_equal(raft_group_install(f->group, &s), -EALREADY);
	assert_int_equal(append(f, 2, 5, 3), 0);
	assert_int_equal(raft_group_install(f->group, &s), -EALREADY);
	/* the leader is told so */
	f->n_sent = f->n_lags = 0;
	offer2.install_snapshot.term = 5;
	offer2.install_snapshot.last_index = 2;
	offer2.install_snapshot.last_term = 5;
	assert_int_equal(peers_say(f, 2, &offer2, 0), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_lags, 0);
	m = peers_last(f, 2, RAFT_APPEND_ENTRIES_RESULT, NULL);
	assert_non_null(m);
	assert_int_equal(m->append_entries_result.last_log_index, 2);
	/* of another term nobody cares */
	offer2.install_snapshot.term = 4;
	offer2.install_snapshot.last_index = SNAP;
	offer2.install_snapshot.last_term = 4;
	assert_int_equal(peers_say(f, 2, &offer2, 0), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_lags, 0);
	/* what cannot be one */
	bad = snap_of(wire_bytes("x", 1));
	assert_int_equal(raft_group_install(f->group, &bad), -EINVAL);
	bad = snap_of(s.conf);
	bad.conf_index = SNAP + 1;
	assert_int_equal(raft_group_install(f->group, &bad), -EINVAL);
	bad = snap_of(s.conf);
	bad.term = 6; /* from a later term than ours: ask again */
	assert_int_equal(raft_group_install(f->group, &bad), -EAGAIN);
}

/*
 * Trap F: an own snapshot that began before one arrived is not reported while
 * that one is installed, nor afterwards.
 */
static void test_trap_f_own_snapshot_behind_an_arriving_one(void **state)
{
	struct peers *f = *state;
	struct raft_base s = snap_of(conf_of(f));
	uint8_t conf[256];

	memcpy(conf, s.conf.p, s.conf.len);
	s.conf.p = conf;
	assert_int_equal(append(f, 1, 1, 2), 0);
	assert_int_equal(append(f, 2, 5, 3), 0);
	assert_int_equal(f->group->applied, 3);
	offer(f);
	/* a checkpoint of our rows, up to 3, is on its way */
	assert_int_equal(raft_group_install(f->group, &s), 0);
	raft_group_checkpoint(f->group, 3);
	assert_int_equal(f->group->r.trail.snapshot.index, SNAP);
	assert_int_equal(f->group->log.first, SNAP + 1);
	minienv_run(f->mini);
	raft_group_checkpoint(f->group, 3);
	raft_group_installed(f->group);
	minienv_run(f->mini);
	raft_group_checkpoint(f->group, 3);
	assert_int_equal(f->group->r.trail.snapshot.index, SNAP);
	assert_int_equal(f->group->log.first, SNAP + 1);
	assert_int_equal(f->group->durable, SNAP);
	assert_int_equal(append(f, SNAP, 4, SNAP + 1), 0);
	assert_int_equal(f->group->applied, SNAP + 1);
}

/* The process dies at each step of an install; what the next one finds. */
static void test_install_and_power_cuts(void **state)
{
	struct peers *f = *state;
	uint8_t conf[256];
	struct raft_base s = snap_of(conf_of(f));

	memcpy(conf, s.conf.p, s.conf.len);
	s.conf.p = conf;
	assert_int_equal(append(f, 1, 1, 2), 0);
	/* before RESET is durable */
	offer(f);
	assert_int_equal(raft_group_install(f->group, &s), 0);
	peers_cut(f);
	assert_int_equal(peers_start(f), 0);
	assert_int_equal(rlog_last(&f->group->log), 2);
	/* behind it, but the rows are the old ones */
	f->number[2] = 0;
	offer(f);
	assert_int_equal(raft_group_install(f->group, &s), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_installs, 1);
	peers_cut(f);
	assert_int_equal(peers_start(f), 0);
	assert_int_equal(rlog_last(&f->group->log), 2);
	/* and the log goes on as if nothing had been */
	f->number[2] = 0;
	assert_int_equal(append(f, 2, 5, 3), 0);
	assert_int_equal(f->group->applied, 3);
	peers_cut(f);
	assert_int_equal(peers_start(f), 0);
	assert_int_equal(rlog_last(&f->group->log), 3);
	/* with the new rows */
	f->number[2] = 0;
	offer(f);
	assert_int_equal(raft_group_install(f->group, &s), 0);
	minienv_run(f->mini);
	peers_cut(f);
	f->rows = s;
	assert_int_equal(peers_start(f), 0);
	assert_int_equal(rlog_last(&f->group->log), SNAP);
	assert_int_equal(f->group->applied, SNAP);
	f->number[2] = 0;
	assert_int_equal(append(f, SNAP, 4, SNAP + 1), 0);
	assert_int_equal(f->group->applied, SNAP + 1);
	/* and once more, with an entry behind it */
	peers_cut(f);
	assert_int_equal(peers_start(f), 0);
	assert_int_equal(f->group->log.first, SNAP + 1);
	assert_int_equal(rlog_last(&f->group->log), SNAP + 1);
	/* rows that were lost since are missed */
	peers_stop(f);
	f->rows = (struct raft_base){ 0 };
	assert_int_equal(peers_start(f), -1);
}

static int row_of(void *arg, uint16_t group, uint64_t applied,
		  uint64_t moved)
{
	assert_int_equal(group, 0);
	assert_int_equal(moved, 0);
	*(uint64_t *)arg = applied;
	return 0;
}

/*
 * The process died when the new rows were durable, and before it noted that:
 * the next one's START must speak of them, as the RESET record may be freed
 * from then on. (Seed 943803700185 of 3 nodes, "snap".)
 */
static void test_rows_found_at_the_start_are_in_the_next_table(void **state)
{
	struct peers *f = *state;
	struct raft_base s = snap_of(conf_of(f));
	struct seg_rec start = { .type = SEG_START };
	uint64_t applied = 0;
	uint8_t conf[256];
	struct buf b;

	memcpy(conf, s.conf.p, s.conf.len);
	s.conf.p = conf;
	offer(f);
	assert_int_equal(raft_group_install(f->group, &s), 0);
	minienv_run(f->mini);
	assert_int_equal(f->n_installs, 1);
	peers_cut(f);
	f->rows = s;
	assert_int_equal(peers_start(f), 0);
	buf_init(&b, 0);
	raft_host_start_body(f->host, 100, &b);
	start.body = b.data;
	start.len = b.len;
	assert_int_equal(raft_start_rows(&start, row_of, &applied), 0);
	assert_int_equal(applied, SNAP);
	buf_fini(&b);
}

static void submit_failed(struct raft_submit *s, uint32_t status)
{
	(void)s;
	fail_msg("refused: %u", status);
}

/* A leader of f commits one more entry; store 3 is away. */
static void commit(struct peers *f)
{
	static struct raft_submit s;
	struct raft_message m;

	s = (struct raft_submit){ .failed = submit_failed };
	buf_init(&s.data, 0);
	buf_add(&s.data, "x", 1);
	raft_submit(f->group, &s);
	minienv_run(f->mini);
	m = peers_result(raft_group_term(f->group), rlog_last(&f->group->log));
	assert_int_equal(peers_say(f, 2, &m, 0), 0);
	minienv_run(f->mini);
	assert_int_equal(f->group->applied, rlog_last(&f->group->log));
}

/*
 * Trap N: what a member installs is older than what its leader offered last,
 * as it was fetched on an offer before. (Seed 963 of 4 nodes, "member".)
 */
static void test_trap_n_snapshot_older_than_the_last_offer(void **state)
{
	struct peers *f = *state;
	const struct raft_message *m;
	struct raft_message r;
	uint64_t term = peers_lead(f), offered;

	f->host->config.forget_followers = true;
	f->host->config.tail = 1;
	for (unsigned i = 0; i < 5; i++)
		commit(f);
	raft_group_checkpoint(f->group, f->group->applied);
	r = peers_result(term, 0);
	r.append_entries_result.rejected = rlog_last(&f->group->log);
	assert_int_equal(peers_say(f, 3, &r, 0), 0);
	minienv_advance(f->mini, PEERS_HEARTBEAT_MS * MS);
	r.append_entries_result.rejected = 1;
	assert_int_equal(peers_say(f, 3, &r, 0), 0);
	minienv_run(f->mini);
	m = peers_last(f, 3, RAFT_INSTALL_SNAPSHOT, NULL);
	assert_non_null(m);
	offered = m->install_snapshot.last_index;
	/* the leader's rows go on; the member installs an older state */
	commit(f);
	raft_group_checkpoint(f->group, f->group->applied);
	r = peers_result(term, offered - 1);
	assert_int_equal(peers_say(f, 3, &r, 0), 0);
	for (unsigned i = 0; i < 2 * PEERS_ELECTION_MS / PEERS_HEARTBEAT_MS;
	     i++) {
		f->n_sent = 0;
		minienv_advance(f->mini, PEERS_HEARTBEAT_MS * MS);
		m = peers_last(f, 3, RAFT_INSTALL_SNAPSHOT, NULL);
		if (m != NULL)
			break;
		r.append_entries_result.rejected = f->group->applied;
		assert_int_equal(peers_say(f, 3, &r, 0), 0);
		r = peers_result(term, rlog_last(&f->group->log));
		assert_int_equal(peers_say(f, 2, &r, 0), 0);
		r = peers_result(term, offered - 1);
	}
	assert_non_null(m);
	assert_true(m->install_snapshot.last_index > offered);
}

/*
 * Trap P: the leader's rows stand at entry 1, which is in the log no more. (Seed
 * 500279 of sim_shard, 4 nodes, "all".)
 */
static void test_trap_p_snapshot_at_the_first_entry(void **state)
{
	struct peers *f = *state;
	const struct raft_message *m;
	struct raft_message r;
	uint64_t term = peers_lead(f);

	f->host->config.forget_followers = true;
	f->host->config.tail = 0;
	raft_group_checkpoint(f->group, 1);
	assert_int_equal(f->group->log.first, 2);
	r = peers_result(term, 0);
	for (uint64_t i = rlog_last(&f->group->log); i > 0; i--) {
		r.append_entries_result.rejected = i;
		assert_int_equal(peers_say(f, 3, &r, 0), 0);
		minienv_run(f->mini);
	}
	f->n_sent = 0;
	minienv_advance(f->mini, PEERS_HEARTBEAT_MS * MS);
	m = peers_last(f, 3, RAFT_INSTALL_SNAPSHOT, NULL);
	assert_non_null(m);
	assert_int_equal(m->install_snapshot.term, term);
	assert_int_equal(m->install_snapshot.last_index, 1);
	assert_int_equal(m->install_snapshot.last_term, 1);
	/* it installs them: then it is sent what comes behind */
	r = peers_result(term, 1);
	assert_int_equal(peers_say(f, 3, &r, 0), 0);
	minienv_advance(f->mini, PEERS_HEARTBEAT_MS * MS);
	m = peers_last(f, 3, RAFT_APPEND_ENTRIES, NULL);
	assert_non_null(m);
	assert_int_equal(m->append_entries.prev_log_index +
				 m->append_entries.n_entries,
			 rlog_last(&f->group->log));
	/* and no other one */
	f->n_sent = 0;
	minienv_advance(f->mini, PEERS_HEARTBEAT_MS * MS);
	assert_null(peers_last(f, 3, RAFT_INSTALL_SNAPSHOT, NULL));
}

static unsigned unknowns;

struct dropped {
	struct raft_drop drop;
	unsigned done;
};

static void dropped(struct raft_drop *d)
{
	CONTAINER_OF(d, struct dropped, drop)->done++;
}

/* A group of others, which this store was added to, and removed from. */
static struct raft_group *join(struct peers *f)
{
	struct raft_group_config gc = { .group = 9 };
	struct raft_group *g;
	struct errbuf e;

	assert_int_equal(raft_host_open_group(f->host, &gc, &g, &e), 0);
	minienv_run(f->mini);
	f->group = g;
	f->group_id = 9;
	return g;
}

static void fill(struct peers *f)
{
	struct raft_configuration c;
	struct raft_buffer b;
	struct raft_wire_append w = { .term = 5, .commit = 2 };
	struct raft_wire_entry e[2];
	char two[] = "2";

	raft_configuration_init(&c);
	assert_int_equal(raft_configuration_add(&c, 2, two, RAFT_VOTER), 0);
	assert_int_equal(raft_configuration_encode(&c, &b), 0);
	raft_configuration_close(&c);
	e[0] = (struct raft_wire_entry){ 1, RAFT_CHANGE,
					 wire_bytes(b.base, b.len) };
	e[1] = (struct raft_wire_entry){ 5, RAFT_COMMAND, wire_bytes("a", 1) };
	assert_int_equal(peers_append(f, 2, w, e, 2), 0);
	minienv_run(f->mini);
	assert_int_equal(f->group->applied, 2);
	raft_free(b.base);
}

static void test_drop(void **state)
{
	struct peers *f = *state;
	struct dropped d = { .drop.done = dropped };
	struct raft_group *g;

	assert_int_equal(raft_group_drop(f->group, 1, &d.drop), -EBUSY);
	/* it need not know itself that it was removed */
	assert_int_equal(raft_group_drop(f->group, 2, &d.drop), 0);
	minienv_run(f->mini);
	assert_int_equal(d.done, 1);
	d.done = 0;
	g = join(f);
	fill(f);
	raft_group_checkpoint(g, 2);
	assert_int_equal(raft_group_drop(g, 0, &d.drop), 0);
	assert_int_equal(d.done, 0);
	raft_group_checkpoint(g, 2); /* it was on its way */
	minienv_run(f->mini);
	assert_int_equal(d.done, 1);
	/* nobody is there to answer */
	f->n_sent = 0;
	assert_int_equal(append(f, 2, 5, 3), 0);
	assert_int_equal(f->n_sent, 0);
	/* it comes back, with its term, and without its log */
	assert_true(join(f) == g);
	assert_int_equal(raft_current_term(&g->r), 5);
	assert_int_equal(rlog_last(&g->log), 0);
	fill(f);
	assert_int_equal(raft_group_drop(g, 0, &d.drop), 0);
	minienv_run(f->mini);
	assert_int_equal(d.done, 2);
	peers_stop(f);
	assert_int_equal(peers_start(f), 0);
	g = join(f);
	assert_int_equal(raft_current_term(&g->r), 5);
	assert_int_equal(rlog_last(&g->log), 0);
	f->number[2] = 0;
	fill(f);
	/* one that was on its way when the process died, and never opened */
	peers_stop(f);
	f->group_id = 0;
	assert_int_equal(peers_start(f), 0);
	d.done = 0;
	assert_int_equal(raft_host_drop(f->host, 0, &d.drop), -EBUSY);
	assert_int_equal(raft_host_drop(f->host, 9, &d.drop), 0);
	minienv_run(f->mini);
	assert_int_equal(d.done, 1);
	g = join(f);
	assert_int_equal(rlog_last(&g->log), 0);
}

/*
 * Dropped while what replaces a tail is under way: neither is there any more,
 * so no segment of the log has to stay for it.
 */
static void test_drop_needs_nothing_of_the_log(void **state)
{
	static const uint8_t bytes[20000];
	struct peers *f = *state;
	struct dropped d = { .drop.done = dropped };
	struct raft_wire_append w = {
		.term = 2, .prev_index = 1, .prev_term = 1, .commit = 1,
	};
	struct raft_wire_entry e[4];

	for (int i = 0; i < 4; i++)
		e[i] = (struct raft_wire_entry){
			2, RAFT_COMMAND, wire_bytes(bytes, sizeof bytes),
		};
	assert_int_equal(peers_append(f, 2, w, e, 4), 0);
	minienv_run(f->mini);
	w.term = e[0].term = 3;
	assert_int_equal(peers_append(f, 3, w, e, 1), 0);
	assert_true(f->group->stored < f->group->cut_index);
	assert_true(f->group->cut_gen < f->host->seen_gen);
	assert_int_equal(raft_group_drop(f->group, 2, &d.drop), 0);
	minienv_run(f->mini);
	assert_int_equal(d.done, 1);
	raft_host_checkpointed(f->host);
	assert_int_equal(f->host->need, f->host->seen_gen);
}

static void submit_unknown(struct raft_submit *s, uint32_t status)
{
	(void)s;
	assert_int_equal(status, RPC_STATUS_UNKNOWN_OUTCOME);
	unknowns++;
}

static void change_unknown(struct raft_change *c, uint32_t status)
{
	(void)c;
	assert_int_equal(status, RPC_STATUS_UNKNOWN_OUTCOME);
	unknowns++;
}

/*
 * A leader that has not heard of its end is dropped: what it has in its log
 * may be committed by others. (Seed 953803700123 of 4 nodes, "member".)
 */
static void test_drop_of_a_leader_leaves_outcomes_unknown(void **state)
{
	struct peers *f = *state;
	struct raft_submit s = { .failed = submit_unknown };
	struct raft_change c = {
		.id = 3, .role = RAFT_ROLE_NONE, .done = change_unknown,
	};
	struct dropped d = { .drop.done = dropped };

	(void)peers_lead(f);
	buf_init(&s.data, 0);
	buf_add(&s.data, "x", 1);
	raft_submit(f->group, &s);
	raft_group_change(f->group, &c);
	minienv_run(f->mini);
	unknowns = 0;
	assert_int_equal(raft_group_drop(f->group, 100, &d.drop), 0);
	minienv_run(f->mini);
	assert_int_equal(unknowns, 2);
	assert_int_equal(d.done, 1);
}

int main(void)
{
#define T(name) \
	cmocka_unit_test_setup_teardown(name, peers_setup, peers_teardown)
	const struct CMUnitTest tests[] = {
		T(test_install),
		T(test_install_behind_a_parked_command),
		T(test_install_is_not_needed),
		T(test_trap_f_own_snapshot_behind_an_arriving_one),
		T(test_install_and_power_cuts),
		T(test_rows_found_at_the_start_are_in_the_next_table),
		T(test_trap_n_snapshot_older_than_the_last_offer),
		T(test_trap_p_snapshot_at_the_first_entry),
		T(test_drop),
		T(test_drop_needs_nothing_of_the_log),
		T(test_drop_of_a_leader_leaves_outcomes_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
