/*
 * Seams of the simulator, made by the linker (--wrap): where it looks at every
 * entry that is applied, and where a bug is put in when SIM_PLANT names one.
 * tests/sim/planted.sh shows that each of them is found.
 */
#include "common/raft/raft_check.h"
#include "common/raft/raft_snap.h"
#include "common/rows/rows_impl.h"
#include "storaged/ns_mpu.h"
#include "storaged/opens.h"
#include "storaged/shard_snap.h"
#include "tests/sim/sim_shard.h"

struct proc *sim_applying;
struct proc *sim_starting;
struct proc *sim_procs[SIM_NODES];
const struct raft_cmd *sim_entry;

static const struct sim_bug bugs[] = {
	{ .name = "ack", .seg = SEG_MUTATE_ALL_LOOSE },
	{ .name = "vote", .plant = PLANT_VOTE },
	{ .name = "alone", .plant = PLANT_ALONE },
	{ .name = "retry", .plant = PLANT_RETRY },
	{ .name = "clock", .plant = PLANT_CLOCK },
	{ .name = "stale", .plant = PLANT_STALE },
	{ .name = "asleep", .plant = PLANT_ASLEEP },
	{ .name = "rows", .plant = PLANT_ROWS },
	{ .name = "unsaved", .plant = PLANT_UNSAVED },
	{ .name = "needless", .plant = PLANT_NEEDLESS },
	{ .name = "doubtless", .plant = PLANT_DOUBTLESS },
	{ .name = "reuse", .plant = PLANT_REUSE },
	{ .name = "hold", .seg = SEG_MUTATE_NO_HOLD },
	{ .name = "quorum", .raft = RAFT_MUTATE_LOOSE_QUORUM },
	{ .name = "gate", .plant = PLANT_GATE },
	{ .name = "nohold", .plant = PLANT_NOHOLD },
	{ .name = "snapsync", .plant = PLANT_SNAPSYNC },
	{ .name = "snaplate", .plant = PLANT_SNAPLATE },
	{ .name = "snapcache", .plant = PLANT_SNAPCACHE },
	{ .name = "snaphalf", .plant = PLANT_SNAPHALF },
	{ .name = "reset", .plant = PLANT_RESET },
	{ .name = "trunc", .plant = PLANT_TRUNC },
	{ .name = "openless", .plant = PLANT_OPENLESS },
	{ .name = "graceless", .plant = PLANT_GRACELESS },
	{ .name = "endless", .plant = PLANT_ENDLESS },
	{ .name = "hasty", .plant = PLANT_HASTY },
	{ .name = "revive", .plant = PLANT_REVIVE },
	{ .name = "pieces", .plant = PLANT_PIECES },
	{ .name = "unlisted", .plant = PLANT_UNLISTED },
	{ .name = "blocksum", .plant = PLANT_BLOCKSUM },
	{ .name = "late", .plant = PLANT_LATE },
	{ .name = "majority", .plant = PLANT_MAJORITY },
	{ .name = "unnumbered", .plant = PLANT_UNNUMBERED },
	{ .name = "nohash", .seg = SEG_MUTATE_BODY_HASH },
	{ .name = "rotend", .seg = SEG_MUTATE_ROT_IS_END },
	{ .name = "rewrite", .seg = SEG_MUTATE_NO_REWRITE },
	{ .name = "nodir", .seg = SEG_MUTATE_NO_DIR_SYNC },
	{ .name = "pointer", .raft = RAFT_MUTATE_APPLY_SOON },
	{ .name = "need", .raft = RAFT_MUTATE_NEED_NOTHING },
	{ .name = "table", .raft = RAFT_MUTATE_NO_TABLE },
	SIM_CLIENT_BUGS,
};

void sim_shard_plant(void)
{
	sim_plant_bug(bugs, sizeof bugs / sizeof *bugs);
#ifdef ENABLE_MUTATIONS
	rows_stream_mutation = sim_plant == PLANT_BLOCKSUM;
#endif
}

/* --- looking --- */

/* The host calls with the shard set for argument, whose process this tells. */
static int on_apply(void *arg, struct raft_group *g, const struct raft_cmd *cmd)
{
	unsigned i = 0;
	int rv;

	while (sim_procs[i] == NULL || sim_procs[i]->apply_arg != arg)
		i++;
	sim_applying = sim_procs[i];
	sim_entry = cmd;
	rv = sim_procs[i]->apply(arg, g, cmd);
	sim_applying = NULL;
	sim_entry = NULL;
	if (rv == 0)
		sim_store_applied(&sim_procs[i]->store, raft_group_id(g),
				  cmd->index,
				  &sim_procs[i]->w->models[raft_group_id(g) - 1]
					   .states);
	return rv;
}

static int on_passed(void *arg, struct raft_group *g,
		     const struct raft_passed *p)
{
	struct model *m;
	unsigned i = 0;

	while (sim_procs[i] == NULL || sim_procs[i]->apply_arg != arg)
		i++;
	m = &sim_procs[i]->w->models[raft_group_id(g) - 1];
	if (p->index > m->passed)
		m->passed = p->index;
	model_firm(m, p->index); /* never loose, so nothing before it is */
	return sim_procs[i]->pass(arg, g, p);
}

WRAP(int, raft_host_new, const struct raft_host_config *config,
     struct raft_host **ret_host)
{
	struct raft_host_config own = *config;

	sim_starting->apply = config->apply;
	sim_starting->apply_arg = config->arg;
	sim_procs[sim_starting->at.node] = sim_starting;
	own.apply = on_apply;
	sim_starting->pass = config->passed;
	own.passed = on_passed;
	return __real_raft_host_new(&own, ret_host);
}

WRAP(int, ns_apply, struct rows_txn *t, const struct ns_cmd *c,
     struct ns_answer *a)
{
	struct proc *p = sim_applying;
	struct ns_cmd own = *c;
	int rv;

	if (p == NULL) /* only tried out */
		return __real_ns_apply(t, c, a);
	if (sim_plant == PLANT_CLOCK)
		own.now = env_wall_ns(p->at.env);
	if (sim_plant == PLANT_REUSE) /* numbers that were lost come again */
		own.term = 0;
	rv = __real_ns_apply(t, &own, a);
	if (rv == 0)
		model_applied(&p->w->models[c->shard - 1], p, c, a);
	return rv;
}

/* Rows that were installed hold all that was applied up to there. */
WRAP(void, shard_rows_replaced, struct shard_group *g, struct shard_derived *d)
{
	struct proc *p = g->set->config.arg;
	uint64_t index = d->at.index;

	__real_shard_rows_replaced(g, d);
	p->applied[g->id - 1] = index;
	/* others have it: no power cut may take it from where it came from */
	model_firm(&p->w->models[g->id - 1], index);
}

/* Some die while they put other rows in place. */
WRAP(void, shard_on_install, void *arg, struct raft_group *raft)
{
	const struct shard_group *g = raft_group_user(raft);
	struct proc *p = g->set->config.arg;

	if (sim_chance(sim_cluster_sim(p->at.c), 200))
		sim_cluster_crash_soon(p->at.c, p->at.node, 4);
	__real_shard_on_install(arg, raft);
}

/* --- planted --- */

/* A retry is applied again. */
WRAP(int, ns_slot_find, struct ns_ctx *x, struct ns_slot *s, bool *ret_done)
{
	int rv = __real_ns_slot_find(x, s, ret_done);

	if (sim_plant == PLANT_RETRY && rv == 0 && *ret_done) {
		*ret_done = false;
		x->a->status = RPC_STATUS_OK;
		buf_reset(&x->a->payload);
	}
	return rv;
}

/*
 * Votes are forgotten with the process. reset: a snapshot that is installed is
 * not noted in the log.
 */
WRAP(void, seg_append, struct seg_port *port, struct seg_append *a)
{
	if (sim_plant == PLANT_VOTE && a->type == SEG_HARD)
		a->b = 0;
	if (sim_plant == PLANT_RESET && a->type == SEG_RESET && a->a > 0)
		a->group = UINT16_MAX;
	__real_seg_append(port, a);
}

/* alone: a leader takes its own copy for a majority. */
WRAP(void, raft_step_persisted, struct raft_group *g, uint64_t index)
{
	__real_raft_step_persisted(g, index);
	if (sim_plant != PLANT_ALONE || g->lead_term == 0 ||
	    index <= g->r.commit_index)
		return;
	g->r.commit_index = index;
	g->commit = index;
}

/* A leader believes that it still is one. */
WRAP(bool, raft_group_can_read, const struct raft_group *g)
{
	if (sim_plant == PLANT_STALE)
		return raft_group_is_leader(g);
	return __real_raft_group_can_read(g);
}

/* A row that waits for the next command: of node 0. */
static struct {
	bool is, absent;
	struct buf key, value;
} plant_row;

static void plant_row_put(struct rows_txn *t)
{
	struct wire_bytes key, value;

	key = wire_bytes(plant_row.key.data, plant_row.key.len);
	value = wire_bytes(plant_row.value.data, plant_row.value.len);
	if (row_tree_find(t->writes, key) == NULL && plant_row.absent)
		(void)rows_del(t, key);
	else if (row_tree_find(t->writes, key) == NULL)
		(void)rows_put(t, key, value);
	buf_fini(&plant_row.key);
	buf_fini(&plant_row.value);
	plant_row.is = false;
}

/* On one machine the last row of a command comes one command late. */
static void plant_late(struct rows_txn *t)
{
	struct row *r = t->order.tail, *old;
	struct wire_bytes key;

	if (plant_row.is) {
		plant_row_put(t);
		return;
	}
	while (r != NULL && r->key[2] == 0)
		r = r->prev; /* the host's own */
	if (r == NULL ||
	    !sim_chance(sim_cluster_sim(sim_applying->at.c), 20))
		return;
	key = row_key(r);
	old = rows_lookup(t->rows, key, r->hash);
	if (old == NULL)
		return;
	plant_row.is = true;
	plant_row.absent = r->val == NULL;
	buf_init(&plant_row.key, 0);
	buf_init(&plant_row.value, 0);
	buf_add(&plant_row.key, key.p, key.len);
	if (r->val != NULL)
		buf_add(&plant_row.value, r->val->bytes, r->val->len);
	(void)(old->val == NULL ? rows_del(t, key)
				: rows_put(t, key, row_value(old)));
}

/* Now and then the rows of a command are lost. */
WRAP(int, rows_txn_commit, struct rows_txn *t)
{
	if (sim_plant == PLANT_LATE && sim_applying != NULL &&
	    sim_applying->at.node == 0)
		plant_late(t);
	if (sim_plant == PLANT_ROWS && sim_applying != NULL &&
	    sim_chance(sim_cluster_sim(sim_applying->at.c), 2))
		rows_txn_reset(t);
	return __real_rows_txn_commit(t);
}

/* Rows do not wait for the log. */
WRAP(void, rows_set_gate, struct rows *rows, const struct rows_gate *gate)
{
	if (sim_plant != PLANT_GATE)
		__real_rows_set_gate(rows, gate);
}

/* Segments are freed before the rows that do not name them are durable. */
WRAP(int, raft_check_roll, struct raft_check *c,
     void (*done)(void *arg, int status), void *arg)
{
	if (sim_plant != PLANT_UNSAVED)
		return __real_raft_check_roll(c, done, arg);
	done(arg, 0);
	return 0;
}

/* Or while a row snapshot wants them. */
WRAP(uint64_t, raft_snaps_need, struct raft_snaps *s)
{
	return sim_plant == PLANT_NEEDLESS ? UINT64_MAX
					   : __real_raft_snaps_need(s);
}

/* Rows from before a cleaning are taken as they are. */
WRAP(int, log_doubt_settle, struct log_doubt *d, struct seg_head *log)
{
	return sim_plant == PLANT_DOUBTLESS ? 0
					    : __real_log_doubt_settle(d, log);
}

/* --- opens --- */

/* What loses its last name goes at once. */
WRAP(uint64_t, opens_count, const struct opens *o, uint64_t ino)
{
	return sim_plant == PLANT_OPENLESS ? 0 : __real_opens_count(o, ino);
}

/* Opens outlive their session. */
WRAP(uint64_t, opens_end, struct opens *o, uint64_t session)
{
	return sim_plant == PLANT_ENDLESS ? 0 : __real_opens_end(o, session);
}

/* A CLOSE ends what was opened behind it. */
WRAP(int, opens_del, struct opens *o, struct open_id id)
{
	if (sim_plant == PLANT_UNNUMBERED)
		id.number = UINT64_MAX;
	return __real_opens_del(o, id);
}

/* --- slices --- */

/* What is dead is named again. hasty: see sim_shard_proc.c. */
WRAP(int, ns_krefs_flush, struct ns_ctx *x)
{
	int rv = __real_ns_krefs_flush(x);

	if (sim_plant == PLANT_REVIVE && rv == RPC_STATUS_SLICE_GONE)
		rv = 0;
	return rv;
}

/* --- uploads --- */

/* A part's bytes are freed when the whole is made. */
WRAP(int, ns_put_page, struct ns_ctx *x, struct wire_bytes key,
     struct ns_row_page *row)
{
	struct ns_inode *part;
	struct wire_reader r;
	uint64_t ino = 0;
	uint32_t n;
	int rv = __real_ns_put_page(x, key, row);

	if (sim_plant != PLANT_PIECES || rv != 0)
		return rv;
	r = wire_vec_reader(row->parts, &n);
	wire_get_u64(&r, &ino);
	rv = ns_inode_load(x, ino, &part);
	return rv != 0 ? rv : ns_inode_let_go(x, part);
}

/* Parts that are not listed stay. */
WRAP(int, ns_part_drop, struct ns_ctx *x, const struct ns_upload *u,
     uint32_t number)
{
	return sim_plant == PLANT_UNLISTED ? 0
					   : __real_ns_part_drop(x, u, number);
}

/* --- rows of other members --- */

/* The cleaner goes on while values arrive, or are handed out. */
WRAP(void, shard_hold, struct shard_set *set, bool on)
{
	if (sim_plant != PLANT_NOHOLD)
		__real_shard_hold(set, on);
}

/*
 * What is installed was never made durable. trunc: entries of the log go before
 * the rows are durable.
 */
static bool sim_loading;

WRAP(int, rows_back_checkpoint, struct rows_back *back)
{
	if (sim_store_is_cut(back))
		return 0;
	if (sim_plant == PLANT_SNAPSYNC && sim_loading)
		return 0;
	if (sim_plant == PLANT_TRUNC && !sim_loading)
		return 0;
	return __real_rows_back_checkpoint(back);
}

/* A database may make durable what it has at any time. */
WRAP(int, raft_snap_loader_step, struct raft_snap_loader *l)
{
	struct proc *p = NULL;
	int rv;

	for (unsigned i = 0; i < SIM_NODES && p == NULL; i++)
		if (sim_procs[i] != NULL &&
		    sim_running(sim_cluster_sim(sim_procs[i]->at.c)) == i)
			p = sim_procs[i];
	sim_loading = true;
	rv = __real_raft_snap_loader_step(l);
	sim_loading = false;
	if (p != NULL && sim_chance(sim_cluster_sim(p->at.c), 600) &&
	    sim_plant != PLANT_SNAPSYNC)
		(void)__wrap_rows_back_checkpoint(p->store.back);
	return rv;
}

/* What a process was putting in place is not ended by the next one. */
WRAP(int, raft_snap_load, struct vfs *vfs, const char *path, uint16_t group,
     struct rows_back *back)
{
	if (sim_plant == PLANT_SNAPHALF)
		return 0;
	return __real_raft_snap_load(vfs, path, group, back);
}

/* The rows are older than they say: the index was asked for behind them. */
WRAP(int, rows_stream_writer_new, const struct rows_stream_config *config,
     struct rows_stream_writer **ret_writer)
{
	int rv = __real_rows_stream_writer_new(config, ret_writer);
	struct rows_stream_head *head;

	if (rv != 0 || sim_plant != PLANT_SNAPLATE || config->row == NULL)
		return rv;
	head = (struct rows_stream_head *)(uintptr_t)
		rows_stream_writer_head(*ret_writer);
	for (unsigned i = 0; i < SIM_NODES; i++)
		if (sim_procs[i] != NULL && sim_procs[i]->store.back == config->back)
			head->at.index = raft_group_applied(
				proc_group(sim_procs[i], config->group - 1u));
	return rv;
}

/* What is in memory of the old rows stays there. */
WRAP(void, rows_replaced, struct rows *rows, struct wire_bytes from,
     struct wire_bytes to)
{
	if (sim_plant != PLANT_SNAPCACHE)
		__real_rows_replaced(rows, from, to);
}
