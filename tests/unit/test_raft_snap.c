/*
 * Row snapshots of a group with one voter: what they ask of the log.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/base/vfs_dir.h"
#include "common/raft/raft_impl.h"
#include "common/raft/raft_snap.h"
#include "common/raft/raft_snap_int.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"

#define GROUPS 2

struct fix {
	struct crashfs *fs;
	struct minienv *mini;
	struct env *env;
	struct seg_head *log;
	struct seg_port *port;
	struct rows_mem_image *image;
	struct rows_back *back;
	struct rows *rows;
	struct rows_txn *txn;
	struct raft_host *host;
	struct raft_snaps *snaps;
	struct raft_group *groups[GROUPS];
	struct raft_passed passed[GROUPS]; /* index 0: the rows have it */
	unsigned applied;
};

struct op {
	struct raft_submit submit;
};

/* As the hosts of shards and of the managers' state do it. */
static int fix_rows(struct fix *f, uint16_t group, uint64_t index,
		    uint64_t term, struct wire_bytes conf)
{
	struct rows_applied a = { .index = index, .term = term };
	int rv = conf.len == 0 ? 0 : rows_applied_put_conf(f->txn, group,
							   index, conf);

	if (rv == 0)
		rv = rows_applied_put(f->txn, group, &a);
	f->passed[group].index = 0;
	return rv == 0 ? rows_txn_commit(f->txn) : rv;
}

static int fix_apply(void *arg, struct raft_group *g,
		     const struct raft_cmd *cmd)
{
	struct fix *f = arg;

	f->applied++;
	if (cmd->submit != NULL)
		free(CONTAINER_OF(cmd->submit, struct op, submit));
	return fix_rows(f, raft_group_id(g), cmd->index, cmd->term,
			wire_bytes(NULL, 0));
}

static int fix_passed(void *arg, struct raft_group *g,
		      const struct raft_passed *p)
{
	struct fix *f = arg;

	if (p->conf.len > 0)
		return fix_rows(f, raft_group_id(g), p->index, p->term,
				p->conf);
	f->passed[raft_group_id(g)] = *p;
	return 0;
}

static int fix_begin(void *arg)
{
	struct fix *f = arg;
	int rv = 0;

	for (uint16_t i = 0; i < GROUPS && rv == 0; i++)
		if (f->passed[i].index > 0)
			rv = fix_rows(f, i, f->passed[i].index,
				      f->passed[i].term, wire_bytes(NULL, 0));
	return rv;
}

static void fix_failed(struct raft_submit *s, uint32_t status)
{
	(void)status;
	free(CONTAINER_OF(s, struct op, submit));
}

static void fix_submit(struct fix *f, uint16_t group, size_t len)
{
	struct op *op = calloc(1, sizeof *op);
	uint8_t byte = 7;

	op->submit.failed = fix_failed;
	buf_init(&op->submit.data, 0);
	while (len-- > 0)
		buf_add(&op->submit.data, &byte, 1);
	raft_submit(f->groups[group], &op->submit);
	minienv_run(f->mini);
}

static void fix_start_body(void *arg, uint64_t gen, struct buf *buf)
{
	struct fix *f = arg;

	raft_host_start_body(f->host, gen, buf);
}

static int fix_record(void *arg, const struct seg_rec *rec)
{
	struct fix *f = arg;

	return raft_host_recover(f->host, rec);
}

static int fix_setup(void **state)
{
	static const uint64_t voters[] = { 7 };
	struct fix *f = calloc(1, sizeof *f);
	struct raft_host_config hc = {
		.id = 7, .apply = fix_apply, .passed = fix_passed, .arg = f,
	};
	struct seg_config sc = {
		.dir = "log", .on_record = fix_record, .arg = f,
		.segment_size = 1u << 14, .first_size = 1u << 14,
		.start_body = fix_start_body,
	};
	struct raft_snaps_config nc = {
		.dir = "snap", .begin = fix_begin, .arg = f,
	};
	struct errbuf e;

	f->fs = crashfs_new(1);
	f->mini = minienv_new(crashfs_vfs(f->fs), 3);
	f->env = minienv_env(f->mini);
	f->image = rows_mem_image_new();
	assert_int_equal(rows_back_mem(f->image, &f->back), 0);
	assert_int_equal(rows_new(f->env, f->back, 0, &f->rows), 0);
	f->txn = rows_txn_new(f->rows);
	hc.env = f->env;
	assert_int_equal(raft_host_new(&hc, &f->host), 0);
	assert_int_equal(seg_head_open(f->env, &sc, &f->log, &e), 0);
	assert_int_equal(seg_port_new(f->log, f->env, &f->port), 0);
	raft_host_set_log(f->host, f->log, f->port);
	for (uint16_t i = 0; i < GROUPS; i++) {
		struct raft_group_config gc = {
			.group = i, .voters = voters, .n_voters = 1, .user = f,
		};

		assert_int_equal(raft_host_open_group(f->host, &gc,
						      &f->groups[i], &e), 0);
	}
	assert_int_equal(raft_host_start(f->host), 0);
	nc.env = f->env;
	nc.host = f->host;
	nc.rows = f->rows;
	nc.back = f->back;
	assert_int_equal(vfs_make_dir(f->env->vfs, "snap"), 0);
	assert_int_equal(raft_snaps_new(&nc, &f->snaps), 0);
	minienv_run(f->mini);
	*state = f;
	return 0;
}

static int fix_teardown(void **state)
{
	struct fix *f = *state;

	seg_head_close(f->log);
	raft_snaps_free(f->snaps);
	raft_host_free(f->host);
	rows_txn_free(f->txn);
	rows_free(f->rows);
	seg_port_free(f->port);
	rows_back_close(f->back);
	minienv_free(f->mini);
	rows_mem_image_free(f->image);
	crashfs_free(f->fs);
	free(f);
	return 0;
}

/*
 * The last entry of the group is no command, and lies in an older segment than
 * what comes next. A file whose rows end below that entry must not ask for the
 * log behind it only: "its rows are older than its log" is what a start says
 * that finds nothing but the two.
 */
static void test_need_of_a_snapshot_behind_a_barrier(void **state)
{
	struct fix *f = *state;
	struct raft_snap_file file = { 0 };
	struct rlog_ent *next;
	uint64_t last;

	/* the library begins to lead with one */
	last = raft_group_applied(f->groups[0]);
	assert_int_equal(f->passed[0].index, last);
	for (int i = 0; i < 10; i++) /* of another group: segments */
		fix_submit(f, 1, 5000);
	raft_snaps_now(f->snaps, NULL);
	minienv_run(f->mini);
	assert_int_equal(raft_snap_look(f->env->vfs, "snap/00000.rows",
					&file), 0);
	assert_true(file.index <= last);
	next = rlog_at(&f->groups[0]->log, file.index + 1);
	if (next != NULL)
		assert_true(file.need <= raft_log_gen(f->groups[0], next));
	else
		assert_int_equal(file.index, last);
	/* there is something to get wrong */
	assert_true(file.need >
		    raft_log_gen(f->groups[0],
				 rlog_at(&f->groups[0]->log, last)));
}

/* Rows are made again from the log instead, if that has them all. */
static void test_a_snapshot_that_cannot_be_read(void **state)
{
	const struct crashfs_faults faults = { .fail_read_at = 1 };
	struct fix *f = *state;
	struct rows_applied a;

	fix_submit(f, 0, 100);
	raft_snaps_now(f->snaps, NULL);
	minienv_run(f->mini);
	assert_int_equal(raft_snap_load(f->env->vfs, "snap/00000.rows", 0,
					f->back), 0);
	crashfs_set_faults(f->fs, &faults);
	assert_int_equal(raft_snap_load(f->env->vfs, "snap/00000.rows", 0,
					f->back), -EBADMSG);
	/* nothing half loaded is left */
	assert_int_equal(rows_applied_read(f->back, 0, &a), 0);
	assert_int_equal(a.index, 0);
	rows_applied_fini(&a);
}

/* What a power cut now would leave of the rows says that much. */
static uint64_t fix_durable(struct fix *f, uint16_t group)
{
	struct rows_mem_image *image = rows_mem_image_copy(f->image);
	struct rows_applied a;
	struct rows_back *back;
	uint64_t index;

	assert_int_equal(rows_back_mem(image, &back), 0);
	assert_int_equal(rows_applied_read(back, group, &a), 0);
	index = a.index;
	rows_applied_fini(&a);
	rows_back_close(back);
	rows_mem_image_free(image);
	return index;
}

struct named {
	struct fix *f;
	unsigned seen;
	bool late; /* a file was there before its rows were durable */
};

static void named_look(void *arg)
{
	struct named *n = arg;
	struct raft_snap_file file;

	for (uint16_t i = 0; i < GROUPS; i++) {
		char *path = raft_snap_path("snap", i, RAFT_SNAP_ROWS);
		int rv = raft_snap_look(n->f->env->vfs, path, &file);

		mem_free(path);
		if (rv != 0)
			continue;
		n->seen++;
		n->late |= fix_durable(n->f, i) < file.index;
	}
}

/*
 * Positions in rows change without an entry (the log's cleaner). A file that
 * has places which the rows lose with the power names what nobody keeps: its
 * rows are durable before it has its name.
 */
static void test_rows_of_a_snapshot_are_durable(void **state)
{
	struct fix *f = *state;
	struct named n = { .f = f };

	fix_submit(f, 0, 100);
	fix_submit(f, 1, 100);
	crashfs_set_hook(f->fs, named_look, &n);
	raft_snaps_now(f->snaps, NULL);
	minienv_run(f->mini);
	named_look(&n);
	crashfs_set_hook(f->fs, NULL, NULL);
	assert_true(n.seen > GROUPS);
	assert_false(n.late);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_rows_of_a_snapshot_are_durable, fix_setup,
			fix_teardown),
		cmocka_unit_test_setup_teardown(
			test_need_of_a_snapshot_behind_a_barrier, fix_setup,
			fix_teardown),
		cmocka_unit_test_setup_teardown(
			test_a_snapshot_that_cannot_be_read, fix_setup,
			fix_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
