/*
 * Processes of the simulated machines.
 *
 * Rows: apply and passed change them in memory; a checkpoint, some time later,
 * waits for the log, makes them durable, then tells the host, then frees
 * segments. A member that lags fetches the rows of its leader in two steps (it
 * is asked, it answers), keeps them, and installs them, in two steps again:
 * durable, told.
 */
#include "tests/sim/sim_raft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"


static struct place *place_of(struct replica *r)
{
	return &r->p->w->places[r->p->at.node][r->gi];
}

static struct sim *sim_of(struct replica *r)
{
	return sim_cluster_sim(r->p->at.c);
}

/* --- the state machine --- */

/*
 * A slow machine applies about as much as clients ask for: until it is healed,
 * too, it may never catch up.
 */
static bool replica_slow(struct replica *r)
{
	struct world *w = r->p->w;

	return w->slow == r->p->at.node + 1 &&
	       (!sim_cluster_healing(w->c) || sim_plant == PLANT_LIMP);
}

static bool replica_park(struct replica *r)
{
	struct sim *s = sim_of(r);

	if (r->parked)
		sim_fail(r->p->at.c, "applied while parked");
	if (!sim_chance(s, replica_slow(r) ? 500 : 5))
		return false;
	r->parked = true;
	env_timer_set(r->p->at.env, &r->timer, sim_range(s, 1, 20) * SIM_MS);
	return true;
}

static void replica_resume(struct env_timer *timer)
{
	struct replica *r = CONTAINER_OF(timer, struct replica, timer);

	r->parked = false;
	raft_group_resume(r->g);
}

static void replica_move(struct replica *r, uint64_t index, uint64_t term)
{
	if (index != r->rows.index + 1)
		sim_fail(r->p->at.c, "node %u goes from %llu to %llu",
			 r->p->at.node, (unsigned long long)r->rows.index,
			 (unsigned long long)index);
	r->rows.index = index;
	r->rows.term = term;
}

static int proc_apply(void *arg, struct raft_group *g,
		      const struct raft_cmd *cmd)
{
	struct proc *p = arg;
	struct world *w = p->w;
	unsigned gi = raft_group_id(g);
	struct replica *r = &p->replicas[gi];
	struct chain *ch = &w->chains[gi];
	uint64_t value = value_of(p, cmd);

	if (replica_park(r))
		return -EAGAIN;
	replica_move(r, cmd->index, cmd->term);
	r->rows.hash = chain_apply(p, ch, cmd, value, r->rows.hash);
	r->rows.command = cmd->index;
	if (w->state[value] == VALUE_REFUSED)
		sim_fail(p->at.c, "refused value %llu is applied",
			 (unsigned long long)value);
	sim_note(sim_cluster_sim(p->at.c), value ^ cmd->index << 32);
	if (cmd->submit != NULL) {
		struct op *op = CONTAINER_OF(cmd->submit, struct op, submit);

		if (op->value != value)
			sim_fail(p->at.c, "wrong submit");
		w->acked++;
		if (cmd->index > ch->acked)
			ch->acked = cmd->index;
		if (!op->submit.loose || !g->one_voter)
			ch->firm = cmd->index;
		if (w->heal_value != 0 && value >= w->heal_value)
			ch->probe = cmd->index;
		op_end(op, VALUE_ACKED);
	}
	return 0;
}

static int proc_passed(void *arg, struct raft_group *g,
		       const struct raft_passed *passed)
{
	struct proc *p = arg;
	unsigned gi = raft_group_id(g);
	struct replica *r = &p->replicas[gi];
	struct chain *ch = &p->w->chains[gi];

	replica_move(r, passed->index, passed->term);
	if (passed->conf.len == 0)
		return 0;
	if (passed->conf.len > CONF_MAX)
		abort();
	r->rows.conf_index = passed->index;
	r->rows.conf_len = passed->conf.len;
	memcpy(r->rows.conf, passed->conf.p, passed->conf.len);
	if (passed->index > ch->conf)
		ch->conf = passed->index;
	if (passed->index > ch->firm)
		ch->firm = passed->index;
	return 0;
}

static void proc_role(void *arg, struct raft_group *g, bool leader)
{
	struct proc *p = arg;
	struct replica *r = &p->replicas[raft_group_id(g)];

	if (r->leads == leader)
		sim_fail(p->at.c, "role %d told twice", leader);
	r->leads = leader;
	r->led_at = sim_now(sim_of(r));
	sim_trace(sim_of(r), "role node=%u group=%u leader=%d term=%llu",
		  p->at.node, r->gi, leader,
		  (unsigned long long)raft_group_term(g));
	if (!leader)
		return;
	sim_cluster_count(p->at.c, SIM_N_TERMS, 1);
	sim_cluster_new_leader(p->at.c, p->at.node);
}

/* --- checkpoints --- */

static void proc_freed(struct seg_free *f, int status)
{
	(void)status;
	f->gen = 0;
}

/* Frees one segment that nothing needs, if there is one. */
static void proc_free_some(struct proc *p)
{
	uint64_t below = raft_host_free_below(p->at.host);
	struct seg_info *infos;
	size_t n;

	if (p->freeing.gen != 0)
		return;
	if (seg_segments(p->at.log, &infos, &n) != 0)
		abort();
	if (n > 0 && infos[0].gen < below) {
		p->freeing = (struct seg_free){ .gen = infos[0].gen,
						.done = proc_freed };
		seg_free_segment(p->at.port, &p->freeing);
		p->w->frees++;
	}
	mem_free(infos);
}

static void check_durable(struct proc *p)
{
	for (unsigned gi = 0; gi < p->w->groups; gi++) {
		struct replica *r = &p->replicas[gi];

		/* a snapshot may have been installed since: that is newer */
		if (r->g != NULL && r->saved.index > place_of(r)->rows.index)
			place_of(r)->rows = r->saved;
	}
}

static void check_tell(struct proc *p)
{
	for (unsigned gi = 0; gi < p->w->groups; gi++) {
		struct replica *r = &p->replicas[gi];

		if (r->g != NULL && r->saved.index > 0)
			raft_group_checkpoint(r->g, r->saved.index);
	}
	raft_host_checkpointed(p->at.host);
}

static void check_run(struct env_work *work)
{
	struct proc *p = CONTAINER_OF(work, struct proc, check_work);

	if (sim_plant != PLANT_TRUNC)
		check_durable(p);
}

static void check_arm(struct proc *p)
{
	struct sim *s = sim_cluster_sim(p->at.c);

	env_timer_set(p->at.env, &p->check,
		      sim_range(s, 20, p->w->lags ? 300 : 2000) * SIM_MS);
}

static void check_done(struct env_work *work)
{
	struct proc *p = CONTAINER_OF(work, struct proc, check_work);

	check_tell(p);
	if (sim_plant == PLANT_TRUNC &&
	    sim_chance(sim_cluster_sim(p->at.c), 500))
		check_durable(p);
	proc_free_some(p);
	check_arm(p);
}

static void check_synced(struct seg_append *a)
{
	struct proc *p = CONTAINER_OF(a, struct proc, check_sync);

	env_work(p->at.env, &p->check_work);
}

static void check_tick(struct env_timer *timer)
{
	struct proc *p = CONTAINER_OF(timer, struct proc, check);

	for (unsigned gi = 0; gi < p->w->groups; gi++)
		p->replicas[gi].saved = p->replicas[gi].rows;
	if (!seg_head_is_loose(p->at.log) || sim_plant == PLANT_AHEAD) {
		env_work(p->at.env, &p->check_work);
		return;
	}
	p->check_sync = (struct seg_append){
		.type = SEG_NONE,
		.loose = sim_chance(sim_cluster_sim(p->at.c), 500),
		.done = check_synced,
	};
	seg_append(p->at.port, &p->check_sync);
}

/* --- snapshots --- */

/* A row stream under way. */
struct fetch {
	struct world *w;
	unsigned from, to, gi;
	unsigned life;             /* of who fetches */
	bool asked;
	struct rows rows;
};

static struct replica *fetch_end(const struct fetch *f)
{
	struct replica *r = world_replica(f->w, f->to, f->gi);

	return r != NULL && r->p->life == f->life ? r : NULL;
}

static void fetch_step(void *arg)
{
	struct fetch *f = arg, *next;
	struct sim *s = sim_cluster_sim(f->w->c);
	struct replica *to = fetch_end(f), *from;
	struct raft_base base;
	int rv;

	if (to == NULL)
		return;
	from = world_replica(f->w, f->from, f->gi);
	if (!f->asked && from != NULL && from->rows.conf_index > 0 &&
	    sim_cluster_reaches(f->w->c, f->from, f->to)) {
		next = sim_zalloc(sizeof *next);
		*next = *f;
		next->asked = true;
		next->rows = from->rows;
		sim_after_owned(s, sim_range(s, 1, 400) * SIM_MS, fetch_step,
				next);
		return;
	}
	to->fetching = false;
	if (!f->asked || to->g == NULL)
		return;
	to->stage = f->rows;
	base = (struct raft_base){
		.index = f->rows.index,
		.term = f->rows.term,
		.conf_index = f->rows.conf_index,
		.conf = wire_bytes(f->rows.conf, f->rows.conf_len),
	};
	sim_cluster_enter(f->w->c, f->to);
	rv = raft_group_install(to->g, &base);
	sim_trace(s, "install node=%u group=%u index=%llu: %d", f->to, f->gi,
		  (unsigned long long)base.index, rv);
	if (rv == -EINVAL)
		sim_fail(f->w->c, "a snapshot is none");
}

static void proc_lags(void *arg, struct raft_group *g, uint64_t from)
{
	struct proc *p = arg;
	struct replica *r = &p->replicas[raft_group_id(g)];
	unsigned node = sim_cluster_node(p->at.c, from);
	struct fetch *f;

	if (r->fetching || node == sim_cluster_size(p->at.c))
		return;
	r->fetching = true;
	f = sim_zalloc(sizeof *f);
	*f = (struct fetch){ p->w, node, p->at.node, r->gi, p->life, false,
			     { 0 } };
	sim_after_owned(sim_of(r), sim_range(sim_of(r), 1, 50) * SIM_MS,
			fetch_step, f);
}

static void install_run(struct env_work *work)
{
	struct replica *r = CONTAINER_OF(work, struct replica, install);

	place_of(r)->rows = r->stage;
}

static void install_done(struct env_work *work)
{
	struct replica *r = CONTAINER_OF(work, struct replica, install);

	r->rows = r->stage;
	r->p->w->installs++;
	raft_group_installed(r->g);
}

static void proc_install(void *arg, struct raft_group *g)
{
	struct proc *p = arg;
	struct replica *r = &p->replicas[raft_group_id(g)];

	r->install.run = install_run;
	r->install.done = install_done;
	env_work(p->at.env, &r->install);
}

/* --- groups come and go --- */

/* The log of a group of one ends before what was applied. */
static void replica_cut(struct replica *r)
{
	struct proc *p = r->p;
	struct chain *ch = &p->w->chains[r->gi];
	uint64_t last = rlog_last(&r->g->log);

	if (last >= ch->last || !r->g->one_voter)
		return;
	sim_trace(sim_of(r), "cut node=%u group=%u index=%llu of %llu",
		  p->at.node, r->gi, (unsigned long long)last,
		  (unsigned long long)ch->last);
	if (!sim_cluster_lossy(p->at.c, p->at.node))
		sim_fail(p->at.c, "node %u: a kill took entries", p->at.node);
	if (last < ch->firm)
		sim_fail(p->at.c, "node %u: %llu was durable, the log ends at "
			 "%llu", p->at.node, (unsigned long long)ch->firm,
			 (unsigned long long)last);
	for (unsigned n = 0; n < sim_cluster_size(p->at.c); n++) {
		struct replica *o = world_replica(p->w, n, r->gi);

		if (n != p->at.node &&
		    ((o != NULL && o->rows.index > last) ||
		     p->w->places[n][r->gi].rows.index > last))
			sim_fail(p->at.c, "node %u has what node %u lost", n,
				 p->at.node);
	}
	sim_cluster_count(p->at.c, SIM_N_LOSSES, 1);
	chain_cut(p->w, ch, last);
}

static int proc_open_group(struct proc *p, unsigned gi, struct errbuf *e)
{
	struct replica *r = &p->replicas[gi];
	struct place *place = place_of(r);
	const struct rows *rows = &place->rows;
	uint64_t voters[SIM_NODES];
	struct raft_group_config config = {
		.group = (uint16_t)gi,
		.applied = rows->index,
		.term = rows->term,
		.conf_index = rows->conf_index,
		.conf = wire_bytes(rows->conf, rows->conf_len),
		.voters = voters,
		.n_voters = place->founder ? p->w->founders : 0,
		.user = p,
	};
	int rv;

	for (unsigned i = 0; i < config.n_voters; i++)
		voters[i] = i + 1;
	rv = raft_host_open_group(p->at.host, &config, &r->g, e);
	if (rv != 0) {
		r->g = NULL;
		return rv;
	}
	if (p->w->window != 0)
		raft_set_max_inflight_entries(&r->g->r, p->w->window);
	replica_cut(r);
	r->rows = *rows;
	r->saved = (struct rows){ 0 }; /* not of an earlier opening */
	r->parked = r->leads = r->fetching = false;
	return 0;
}

void proc_add_group(struct proc *p, unsigned gi)
{
	struct place *place = &p->w->places[p->at.node][gi];
	struct errbuf e = { "" };

	sim_trace(sim_cluster_sim(p->at.c), "add node=%u group=%u", p->at.node,
		  gi);
	*place = (struct place){ .is = PLACE_HERE };
	if (proc_open_group(p, gi, &e) == 0)
		return;
	/* what it had of it once, before it was dropped, cannot be read */
	if (!sim_cluster_disk_bad(p->at.c, p->at.node))
		sim_fail(p->at.c, "node %u: %s", p->at.node, e.text);
	*place = (struct place){ .is = PLACE_NONE };
}

static void drop_done(struct raft_drop *d)
{
	struct replica *r = CONTAINER_OF(d, struct replica, drop);

	*place_of(r) = (struct place){ .is = PLACE_NONE };
	r->p->w->drops++;
}

void proc_drop_group(struct proc *p, unsigned gi, uint64_t removed)
{
	struct replica *r = &p->replicas[gi];
	int rv;

	r->drop.done = drop_done;
	rv = raft_group_drop(r->g, removed, &r->drop);
	sim_trace(sim_of(r), "drop node=%u group=%u: %d", p->at.node, gi, rv);
	if (rv != 0)
		return;
	place_of(r)->is = PLACE_DROPPING;
	env_timer_cancel(p->at.env, &r->timer);
	r->g = NULL;
}

/* --- life --- */

static int proc_record(void *arg, const struct seg_rec *rec)
{
	struct proc *p = arg;

	return raft_host_recover(p->at.host, rec);
}

static int proc_scan_from(void *arg, const struct seg_rec *start,
			  uint64_t *ret_gen)
{
	struct proc *p = arg;

	*ret_gen = raft_start_need(start);
	return raft_host_recover(p->at.host, start);
}

static void proc_rot(void *arg, const struct seg_rot *rot)
{
	struct proc *p = arg;

	sim_proc_check_rot(&p->at, rot);
	sim_cluster_count(p->at.c, SIM_N_ROT, 1);
	raft_host_recover_rot(p->at.host, rot);
}

static int proc_open_log(struct proc *p, struct errbuf *e)
{
	const struct seg_config config = {
		.on_record = proc_record,
		.on_rot = proc_rot,
		.scan_from = proc_scan_from,
	};
	int rv = sim_proc_open_log(&p->at, &config, e);

	if (rv != 0)
		return rv;
	sim_proc_open_port(&p->at);
	raft_host_set_log(p->at.host, p->at.log, p->at.port);
	return 0;
}

void proc_stop(struct sim_cluster *c, unsigned node, void *proc, bool crash)
{
	struct proc *p = proc;

	(void)c;
	(void)node;
	sim_proc_close_log(&p->at, crash);
	raft_host_free(p->at.host);
	seg_port_free(p->at.port);
	env_timer_cancel(p->at.env, &p->check);
	for (unsigned i = 0; i < GROUPS; i++)
		env_timer_cancel(p->at.env, &p->replicas[i].timer);
	leases_free(p);
	free(p);
}

/* What was being dropped when it died is dropped now. */
static void proc_drop_rest(struct proc *p)
{
	for (unsigned gi = 0; gi < p->w->groups; gi++) {
		struct replica *r = &p->replicas[gi];

		if (place_of(r)->is != PLACE_DROPPING)
			continue;
		r->drop.done = drop_done;
		if (raft_host_drop(p->at.host, (uint16_t)gi, &r->drop) != 0)
			abort();
	}
}

static struct proc *proc_new(struct sim_cluster *c, unsigned node,
			     struct env *env)
{
	static unsigned lives;
	struct proc *p = sim_zalloc(sizeof *p);

	p->w = sim_cluster_arg(c);
	p->w->c = c;
	sim_proc_init(&p->at, c, node, env);
	p->life = ++lives;
	TAILQ_INIT(&p->leases);
	sim_changes_init(&p->changes, c, &p->w->changes);
	p->check.cb = check_tick;
	p->check_work.run = check_run;
	p->check_work.done = check_done;
	for (unsigned i = 0; i < GROUPS; i++) {
		p->replicas[i].p = p;
		p->replicas[i].gi = i;
		p->replicas[i].timer.cb = replica_resume;
	}
	return p;
}

/* Disks get short of room, and have it again: leaders hand on. */
static uint64_t proc_room(void *arg)
{
	const struct proc *p = arg;
	uint64_t now = sim_now(sim_cluster_sim(p->at.c)) / (3 * SIM_S);

	return p->w->transfers && (now + p->at.node) % 4 == 0 ? 0 : UINT64_MAX;
}

void *proc_start(struct sim_cluster *c, unsigned node, struct env *env)
{
	struct proc *p = proc_new(c, node, env);
	struct raft_host_config config = {
		.env = env,
		.id = sim_cluster_store(c, node),
		.election_ms = 300,
		.heartbeat_ms = 50,
		.apply = proc_apply,
		.passed = proc_passed,
		.role = proc_role,
		.send = sim_proc_send,
		.lags = proc_lags,
		.install = proc_install,
		.forget_followers = true,
		.tail = p->w->lags ? 20 : 0,
		.carry = 2,
		.read_barrier = sim_cluster_frozen(c) &&
				sim_plant != PLANT_ASLEEP,
		.room = proc_room,
		.cache_bytes = p->w->tiny_cache ? 4000 : 0,
		.arg = p,
	};
	struct errbuf e = { "" };
	int rv;

	if (raft_host_new(&config, &p->at.host) != 0)
		abort();
	rv = proc_open_log(p, &e);
	for (unsigned i = 0; i < p->w->groups && rv == 0; i++)
		if (p->w->places[node][i].is == PLACE_HERE)
			rv = proc_open_group(p, i, &e);
	if (rv != 0) {
		proc_stop(c, node, p, true);
		return sim_refuse(c, node, "%s", e.text);
	}
	if (raft_host_start(p->at.host) != 0)
		abort();
	proc_drop_rest(p);
	check_arm(p);
	return p;
}

void proc_died(struct sim_cluster *c, unsigned node, void *proc)
{
	struct proc *p = proc;

	(void)c;
	(void)node;
	while (p->ops != NULL) {
		p->w->unknown++;
		op_end(p->ops, VALUE_UNKNOWN);
	}
}

bool proc_leads(void *proc)
{
	struct proc *p = proc;

	return p->replicas[0].leads;
}
