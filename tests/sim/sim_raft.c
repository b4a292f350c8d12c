/*
 * The raft host and the log head under faults: 1, 3 or 5 voters, some groups,
 * a state machine that only remembers the order of its commands.
 *
 * Checked after every event: one leader per term; every machine applies the
 * same command at the same index; a refused submit is never applied; a
 * read, by barrier or under a lease, sees all that was acknowledged before it.
 * After the heal: every submit had one outcome, new ones are applied
 * everywhere.
 *
 * Clocks drift, processes are stopped for longer than a lease; where the
 * clocks stand still meanwhile, leases are off (read_barrier).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/raft/raft_impl.h"
#include "tests/sim/sim_cluster.h"
#include "tests/sim/sim_raft.h"

#define GROUPS 3
#define TERMS 20000
#define VALUES (1u << 20)
#define HEAD_BYTES 8

enum value_state { VALUE_OPEN, VALUE_ACKED, VALUE_REFUSED, VALUE_UNKNOWN };

/* What every machine must apply at an index. */
struct step {
	uint64_t term, value;
};

struct chain {
	struct step *at;  /* by index; value 0: no command was seen there */
	uint64_t cap;
	uint64_t last;    /* highest index applied anywhere */
	uint64_t acked;   /* highest index acknowledged */
	uint64_t probe;   /* index of a command born after the heal, acked */
	uint8_t owner[TERMS]; /* node + 1 that led in a term */
};

struct world {
	struct sim_cluster *c;
	unsigned groups;
	bool tiny_cache, big_values, frozen_clocks;
	bool quiet; /* mostly only new leaders are given work */
	bool transfers;
	unsigned slow; /* node + 1 that applies slowly */
	unsigned window; /* entries a follower may owe; 0: as usual */
	struct chain chains[GROUPS];
	uint64_t rows[SIM_NODES][GROUPS]; /* durable applied index */
	uint8_t state[VALUES];
	uint64_t next_value, heal_value;  /* first one born after the heal */
	uint64_t open_old;                /* no outcome yet, born before */
	uint64_t open, acked, refused, unknown, reads, lease_reads;
};

struct proc {
	struct world *w;
	struct sim_cluster *c;
	unsigned node;
	struct env *env;
	struct seg_head *log;
	struct seg_port *port;
	struct raft_host *host;
	struct raft_group *groups[GROUPS];
	uint64_t applied[GROUPS];
	bool leads[GROUPS];
	uint64_t led_at[GROUPS]; /* since when */
	uint64_t elected[GROUPS]; /* in this term */
	TAILQ_HEAD(, lease) leases;
	struct proc_timer {
		struct env_timer timer;
		struct raft_group *g;
		bool parked;
	} timers[GROUPS];
	struct op *ops; /* without an outcome */
};

struct op {
	struct raft_submit submit;
	struct world *w;
	struct proc *p;
	struct op *prev, *next; /* of p */
	uint64_t value;
	unsigned group;
};

struct bar {
	struct raft_barrier barrier;
	struct proc *p;
	unsigned group;
	uint64_t need;
};

/* A read without a barrier; takes time. */
struct lease {
	struct env_task task;
	struct env_work work;
	TAILQ_ENTRY(lease) link;
	struct proc *p;
	unsigned group;
	uint64_t need, seen, term;
	bool before, after; /* the lease is looked at: one is enough */
};

static void *zalloc(size_t size)
{
	void *p = calloc(1, size);

	if (p == NULL)
		abort();
	return p;
}

/* --- commands --- */

static size_t value_len(const struct world *w, uint64_t value)
{
	uint64_t h = value * 0x9E3779B97F4A7C15u >> 32;

	if (w->big_values && h % 300 == 0)
		return HEAD_BYTES + h % 300000;
	return HEAD_BYTES + h % 60;
}

static uint8_t value_byte(uint64_t value, size_t i)
{
	return (uint8_t)(value * 31 + i * 7);
}

static uint64_t value_check(struct proc *p, const struct raft_cmd *cmd)
{
	uint64_t value;

	if (cmd->len < HEAD_BYTES)
		sim_fail(p->c, "command of %zu bytes", cmd->len);
	memcpy(&value, cmd->data, sizeof value);
	if (value == 0 || value >= p->w->next_value ||
	    cmd->len != value_len(p->w, value))
		sim_fail(p->c, "command is not a value");
	for (size_t i = HEAD_BYTES; i < cmd->len; i++)
		if (cmd->data[i] != value_byte(value, i))
			sim_fail(p->c, "value %llu has wrong bytes",
				 (unsigned long long)value);
	return value;
}

static void op_end(struct op *op, enum value_state state)
{
	struct world *w = op->w;

	if (op->prev != NULL)
		op->prev->next = op->next;
	else
		op->p->ops = op->next;
	if (op->next != NULL)
		op->next->prev = op->prev;
	if (w->state[op->value] != VALUE_OPEN)
		sim_fail(w->c, "value %llu ended twice",
			 (unsigned long long)op->value);
	w->state[op->value] = (uint8_t)state;
	w->open--;
	if (w->heal_value == 0 || op->value < w->heal_value)
		w->open_old--;
	free(op);
}

static void op_failed(struct raft_submit *s, uint32_t status)
{
	struct op *op = CONTAINER_OF(s, struct op, submit);

	if (status == RPC_STATUS_UNKNOWN_OUTCOME) {
		op->w->unknown++;
		op_end(op, VALUE_UNKNOWN);
	} else {
		op->w->refused++;
		op_end(op, VALUE_REFUSED);
	}
}

/* --- the state machine --- */

static struct step *chain_at(struct chain *ch, uint64_t index)
{
	if (index >= ch->cap) {
		uint64_t cap = index * 2 + 256;

		ch->at = realloc(ch->at, cap * sizeof *ch->at);
		if (ch->at == NULL)
			abort();
		memset(ch->at + ch->cap, 0, (cap - ch->cap) * sizeof *ch->at);
		ch->cap = cap;
	}
	return &ch->at[index];
}

static void chain_apply(struct proc *p, struct chain *ch,
			const struct raft_cmd *cmd, uint64_t value)
{
	struct step *s = chain_at(ch, cmd->index);

	if (s->value == 0) {
		/* who applied later ones must have applied this one too */
		if (cmd->index <= ch->last)
			sim_fail(p->c, "index %llu appeared late",
				 (unsigned long long)cmd->index);
		*s = (struct step){ cmd->term, value };
		ch->last = cmd->index;
	}
	if (s->value != value || s->term != cmd->term)
		sim_fail(p->c, "node %u applies value %llu at %llu, others "
			 "%llu", p->node, (unsigned long long)value,
			 (unsigned long long)cmd->index,
			 (unsigned long long)s->value);
}

static bool proc_park(struct proc *p, unsigned gi)
{
	struct sim *s = sim_cluster_sim(p->c);
	struct proc_timer *t = &p->timers[gi];

	if (t->parked)
		sim_fail(p->c, "applied while parked");
	if (!sim_chance(s, p->w->slow == p->node + 1 ? 500 : 5))
		return false;
	t->parked = true;
	env_timer_set(p->env, &t->timer, sim_range(s, 1, 20) * SIM_MS);
	return true;
}

static void proc_resume(struct env_timer *timer)
{
	struct proc_timer *t = CONTAINER_OF(timer, struct proc_timer, timer);

	t->parked = false;
	raft_group_resume(t->g);
}

static int proc_apply(void *arg, struct raft_group *g,
		      const struct raft_cmd *cmd)
{
	struct proc *p = arg;
	struct world *w = p->w;
	unsigned gi = raft_group_id(g);
	struct chain *ch = &w->chains[gi];
	uint64_t value = value_check(p, cmd);

	if (proc_park(p, gi))
		return -EAGAIN;
	if (cmd->index <= p->applied[gi])
		sim_fail(p->c, "applied %llu again",
			 (unsigned long long)cmd->index);
	p->applied[gi] = cmd->index;
	chain_apply(p, ch, cmd, value);
	if (w->state[value] == VALUE_REFUSED)
		sim_fail(p->c, "refused value %llu is applied",
			 (unsigned long long)value);
	sim_note(sim_cluster_sim(p->c), value ^ cmd->index << 32);
	if (cmd->submit != NULL) {
		struct op *op = CONTAINER_OF(cmd->submit, struct op, submit);

		if (op->value != value)
			sim_fail(p->c, "wrong submit");
		w->acked++;
		if (cmd->index > ch->acked)
			ch->acked = cmd->index;
		if (w->heal_value != 0 && value >= w->heal_value)
			ch->probe = cmd->index;
		op_end(op, VALUE_ACKED);
	}
	/* a checkpoint of the rows; what they had is in the log, durable */
	if (sim_chance(sim_cluster_sim(p->c), 20))
		w->rows[p->node][gi] = cmd->index;
	return 0;
}

static void proc_role(void *arg, struct raft_group *g, bool leader)
{
	struct proc *p = arg;
	unsigned gi = raft_group_id(g);

	if (p->leads[gi] == leader)
		sim_fail(p->c, "role %d told twice", leader);
	p->leads[gi] = leader;
	p->led_at[gi] = sim_now(sim_cluster_sim(p->c));
	sim_trace(sim_cluster_sim(p->c), "role node=%u group=%u leader=%d "
		  "term=%llu", p->node, gi, leader,
		  (unsigned long long)raft_group_term(g));
	if (leader)
		sim_cluster_new_leader(p->c, p->node);
}

static void proc_send(void *arg, uint64_t to, const uint8_t *frame, size_t len)
{
	struct proc *p = arg;

	sim_cluster_send(p->c, p->node, to, frame, len);
}

/* --- reads under a lease --- */

static void lease_free(struct lease *l)
{
	TAILQ_REMOVE(&l->p->leases, l, link);
	free(l);
}

static void lease_run(struct env_work *work)
{
	(void)work; /* only time passes */
}

static void lease_end(struct env_work *work)
{
	struct lease *l = CONTAINER_OF(work, struct lease, work);
	struct raft_group *g = l->p->groups[l->group];

	if (!l->after ||
	    (raft_group_can_read(g) && raft_group_term(g) == l->term)) {
		l->p->w->lease_reads++;
		if (l->seen < l->need)
			sim_fail(l->p->c, "stale read at node %u: %llu seen, "
				 "%llu acknowledged", l->p->node,
				 (unsigned long long)l->seen,
				 (unsigned long long)l->need);
	}
	lease_free(l);
}

static void lease_begin(struct env_task *task)
{
	struct lease *l = CONTAINER_OF(task, struct lease, task);
	struct raft_group *g = l->p->groups[l->group];

	if (l->before && !raft_group_can_read(g)) {
		lease_free(l);
		return;
	}
	l->term = raft_group_term(g);
	l->seen = l->p->applied[l->group];
	l->work.run = lease_run;
	l->work.done = lease_end;
	env_work(l->p->env, &l->work);
}

static void lease_read(struct world *w, struct proc *p, unsigned gi)
{
	struct lease *l = zalloc(sizeof *l);
	uint64_t how = sim_rand(sim_cluster_sim(p->c), 3);

	l->p = p;
	l->group = gi;
	l->need = w->chains[gi].acked;
	l->before = how != 0;
	l->after = how != 1;
	l->task.run = lease_begin;
	TAILQ_INSERT_TAIL(&p->leases, l, link);
	env_post(p->env, &l->task);
}

/* --- life of a process --- */

static int proc_record(void *arg, const struct seg_rec *rec)
{
	struct proc *p = arg;

	return raft_host_recover(p->host, rec);
}

static void proc_rot(void *arg, const struct seg_rot *rot)
{
	struct proc *p = arg;

	if (!sim_cluster_disk_bad(p->c, p->node))
		sim_fail(p->c, "node %u: rot at %llx:%llu seq %llu", p->node,
			 (unsigned long long)rot->pos.gen,
			 (unsigned long long)rot->pos.off,
			 (unsigned long long)rot->seq);
	raft_host_recover_rot(p->host, rot);
}

static void proc_start_body(void *arg, uint64_t gen, struct buf *buf)
{
	struct proc *p = arg;

	raft_host_start_body(p->host, gen, buf);
}

static int proc_open_log(struct proc *p, struct errbuf *e)
{
	struct seg_config config = {
		.dir = "/log",
		.segment_size = 64u << 10,
		.first_size = 16u << 10,
		.on_record = proc_record,
		.on_rot = proc_rot,
		.start_body = proc_start_body,
		.arg = p,
	};
	int rv = seg_head_open(p->env, &config, &p->log, e);

	if (rv != 0)
		return rv;
	if (seg_port_new(p->log, p->env, &p->port) != 0)
		abort();
	raft_host_set_log(p->host, p->log, p->port);
	return 0;
}

static int proc_open_group(struct proc *p, unsigned gi, struct errbuf *e)
{
	uint64_t voters[SIM_NODES];
	struct raft_group_config config = {
		.group = (uint16_t)gi,
		.applied = p->w->rows[p->node][gi],
		.voters = voters,
		.n_voters = sim_cluster_size(p->c),
		.user = p,
	};
	int rv;

	for (unsigned i = 0; i < config.n_voters; i++)
		voters[i] = i + 1;
	rv = raft_host_open_group(p->host, &config, &p->groups[gi], e);
	if (rv != 0)
		return rv;
	if (p->w->window != 0)
		raft_set_max_inflight_entries(&p->groups[gi]->r, p->w->window);
	p->applied[gi] = config.applied;
	p->timers[gi].g = p->groups[gi];
	p->timers[gi].timer.cb = proc_resume;
	return 0;
}

static void proc_stop(struct sim_cluster *c, unsigned node, void *proc,
		      bool crash)
{
	struct proc *p = proc;

	(void)c;
	(void)node;
	if (crash)
		seg_head_abandon(p->log);
	else
		seg_head_close(p->log);
	raft_host_free(p->host);
	seg_port_free(p->port);
	for (unsigned i = 0; i < GROUPS; i++)
		env_timer_cancel(p->env, &p->timers[i].timer);
	while (!TAILQ_EMPTY(&p->leases))
		lease_free(TAILQ_FIRST(&p->leases));
	free(p);
}

static void *proc_start(struct sim_cluster *c, unsigned node, struct env *env)
{
	struct proc *p = zalloc(sizeof *p);
	struct raft_host_config config = {
		.env = env,
		.id = node + 1,
		.election_ms = 300,
		.heartbeat_ms = 50,
		.apply = proc_apply,
		.role = proc_role,
		.send = proc_send,
		.arg = p,
	};
	struct errbuf e = { "" };
	int rv;

	p->w = sim_cluster_arg(c);
	p->w->c = c;
	p->c = c;
	p->node = node;
	p->env = env;
	TAILQ_INIT(&p->leases);
	config.read_barrier = p->w->frozen_clocks;
	config.cache_bytes = p->w->tiny_cache ? 4000 : 0;
	if (raft_host_new(&config, &p->host) != 0)
		abort();
	rv = proc_open_log(p, &e);
	for (unsigned i = 0; i < p->w->groups && rv == 0; i++)
		rv = proc_open_group(p, i, &e);
	if (rv != 0) {
		proc_stop(c, node, p, true);
		return sim_refuse(c, node, "%s", e.text);
	}
	if (raft_host_start(p->host) != 0)
		abort();
	return p;
}

static void proc_died(struct sim_cluster *c, unsigned node, void *proc)
{
	struct proc *p = proc;

	(void)c;
	(void)node;
	while (p->ops != NULL) {
		p->w->unknown++;
		op_end(p->ops, VALUE_UNKNOWN);
	}
}

static int proc_receive(void *proc, uint64_t from, const uint8_t *frame,
			size_t len)
{
	struct proc *p = proc;

	return raft_host_receive(p->host, from, frame, len);
}

static void proc_link_reset(void *proc, uint64_t peer)
{
	struct proc *p = proc;

	raft_host_link_reset(p->host, peer);
}

static bool proc_leads(void *proc)
{
	struct proc *p = proc;

	return p->leads[0];
}

/* --- clients --- */

static void client_submit(struct world *w, struct proc *p, unsigned gi)
{
	struct op *op = zalloc(sizeof *op);
	size_t len;
	uint8_t *b;

	if (w->next_value == VALUES) {
		free(op);
		return;
	}
	op->w = w;
	op->p = p;
	op->next = p->ops;
	if (p->ops != NULL)
		p->ops->prev = op;
	p->ops = op;
	op->value = w->next_value++;
	op->group = gi;
	op->submit.failed = op_failed;
	len = value_len(w, op->value);
	buf_init(&op->submit.data, 0);
	b = buf_reserve(&op->submit.data, len);
	if (b == NULL)
		abort();
	memcpy(b, &op->value, HEAD_BYTES);
	for (size_t i = HEAD_BYTES; i < len; i++)
		b[i] = value_byte(op->value, i);
	op->submit.data.len = len;
	w->open++;
	if (w->heal_value == 0)
		w->open_old++;
	raft_submit(p->groups[gi], &op->submit);
}

static void bar_done(struct raft_barrier *b, uint32_t status)
{
	struct bar *bar = CONTAINER_OF(b, struct bar, barrier);
	struct proc *p = bar->p;

	if (status == RPC_STATUS_OK) {
		p->w->reads++;
		if (raft_group_applied(p->groups[bar->group]) < bar->need)
			sim_fail(p->c, "stale read: %llu acknowledged",
				 (unsigned long long)bar->need);
	}
	free(bar);
}

static void client_read(struct world *w, struct proc *p, unsigned gi)
{
	struct bar *bar = zalloc(sizeof *bar);

	bar->p = p;
	bar->group = gi;
	bar->need = w->chains[gi].acked;
	bar->barrier.done = bar_done;
	raft_group_barrier(p->groups[gi], &bar->barrier);
}

/* Asks somebody who leads to hand on, to somebody or to whom it likes. */
static void client_transfer(struct sim_cluster *c, unsigned gi)
{
	struct sim *s = sim_cluster_sim(c);
	unsigned nodes = sim_cluster_size(c);
	unsigned from = (unsigned)sim_rand(s, nodes);
	uint64_t to = sim_rand(s, nodes + 1);

	for (unsigned i = 0; i < nodes; i++) {
		struct proc *p = sim_cluster_proc(c, (from + i) % nodes);

		if (p != NULL && p->leads[gi]) {
			sim_trace(s, "transfer group=%u from=%u to=%u: %d", gi,
				  p->node, (unsigned)to,
				  raft_group_transfer(p->groups[gi], to));
			return;
		}
	}
}

/*
 * The one that shall lead falls asleep, and wakes up when that is forgotten;
 * and then nobody can tell the one who asked for it.
 */
void sim_raft_told(struct raft_group *g, uint64_t to)
{
	struct proc *p = raft_group_user(g);
	struct sim *s = sim_cluster_sim(p->c);

	sim_trace(s, "told node=%u to=%u", p->node, (unsigned)to);
	if (sim_chance(s, 300))
		sim_cluster_pause(p->c, (unsigned)to - 1,
				  sim_range(s, 300, 1500), p->node);
}

/*
 * A group with new entries all the time does not elect who missed them; one
 * that rests does, and then an old leader's lease is put to the test.
 */
static bool client_rests(struct world *w, struct proc *p, unsigned gi)
{
	struct sim *s = sim_cluster_sim(p->c);

	return w->quiet && !sim_cluster_healing(p->c) &&
	       (!p->leads[gi] || sim_now(s) - p->led_at[gi] > 300 * SIM_MS) &&
	       !sim_chance(s, 10);
}

static void client_step(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);
	struct sim *s = sim_cluster_sim(c);
	unsigned gi = (unsigned)sim_rand(s, w->groups);
	unsigned node = (unsigned)sim_rand(s, sim_cluster_size(c));
	struct proc *p = sim_cluster_proc(c, node);

	/* mostly where it leads, now and then anywhere */
	if (!sim_chance(s, 100))
		for (unsigned i = 0; i < sim_cluster_size(c); i++) {
			struct proc *q = sim_cluster_proc(
				c, (node + i) % sim_cluster_size(c));

			if (q != NULL && q->groups[gi]->lead_term != 0) {
				p = q;
				break;
			}
		}
	if (p == NULL)
		return;
	if (!client_rests(w, p, gi))
		for (uint64_t n = sim_rand(s, w->window != 0 ? 2 : 4); n > 0;
		     n--)
			client_submit(w, p, gi);
	if (sim_chance(s, 200))
		client_read(w, p, gi);
	if (w->transfers && !sim_cluster_healing(c) && sim_chance(s, 15))
		client_transfer(c, gi);
	/* of all that believe they lead */
	for (unsigned i = 0; i < sim_cluster_size(c); i++) {
		struct proc *q = sim_cluster_proc(c, i);

		if (q != NULL && q->leads[gi] && sim_chance(s, 400))
			lease_read(w, q, gi);
	}
}

/* --- invariants --- */

static void world_check(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);

	for (unsigned n = 0; n < sim_cluster_size(c); n++) {
		struct proc *p = sim_cluster_proc(c, n);

		for (unsigned gi = 0; p != NULL && gi < w->groups; gi++) {
			uint64_t term = p->groups[gi]->lead_term;
			uint8_t *owner = &w->chains[gi].owner[term];

			if (term == 0)
				continue;
			if (term >= TERMS)
				sim_fail(c, "too many terms");
			if (*owner == 0)
				*owner = (uint8_t)(n + 1);
			if (*owner != n + 1)
				sim_fail(c, "two leaders in term %llu",
					 (unsigned long long)term);
			if (p->elected[gi] != term)
				sim_cluster_elected(c, n);
			p->elected[gi] = term;
		}
	}
}

static bool world_healed(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);

	if (w->heal_value == 0)
		w->heal_value = w->next_value;
	if (w->open_old > 0)
		return false;
	for (unsigned gi = 0; gi < w->groups; gi++) {
		struct chain *ch = &w->chains[gi];

		if (ch->probe == 0)
			return false;
		for (unsigned n = 0; n < sim_cluster_size(c); n++) {
			struct proc *p = sim_cluster_proc(c, n);

			if (p == NULL) /* gone */
				continue;
			if (p->applied[gi] < ch->probe ||
			    p->applied[gi] < ch->acked)
				return false;
		}
	}
	return true;
}

static void world_end(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);

	sim_trace(sim_cluster_sim(c), "end acked=%llu refused=%llu "
		  "unknown=%llu reads=%llu leases=%llu",
		  (unsigned long long)w->acked,
		  (unsigned long long)w->refused,
		  (unsigned long long)w->unknown,
		  (unsigned long long)w->reads,
		  (unsigned long long)w->lease_reads);
}

static void proc_dump(struct proc *p, unsigned gi)
{
	const struct raft_group *g = p->groups[gi];

	printf("# node=%u group=%u state=%u term=%llu lead=%llu/%llu "
	       "last=%llu stored=%llu/%llu commit=%llu/%llu applied=%llu "
	       "hard=%u gate=%zu parked=%d subs=%d pend=%d\n", p->node, gi,
	       g->r.state, (unsigned long long)g->term,
	       (unsigned long long)g->lead_term,
	       (unsigned long long)g->lead_index,
	       (unsigned long long)rlog_last(&g->log),
	       (unsigned long long)g->stored,
	       (unsigned long long)g->r.last_stored,
	       (unsigned long long)g->commit,
	       (unsigned long long)g->r.commit_index,
	       (unsigned long long)g->applied, g->hard_pending, g->gate.len,
	       g->parked, g->subs != NULL, g->pend != NULL);
	for (unsigned i = 0; i < sim_cluster_size(p->c); i++) {
		raft_index match;

		if (raft_match_index(&g->r, i + 1, &match) == 0)
			printf("#   match of %u: %llu\n", i, match);
	}
}

static void world_dump(struct sim_cluster *c)
{
	struct world *w = sim_cluster_arg(c);

	for (unsigned gi = 0; gi < w->groups; gi++) {
		struct chain *ch = &w->chains[gi];

		printf("# group=%u last=%llu acked=%llu probe=%llu\n", gi,
		       (unsigned long long)ch->last,
		       (unsigned long long)ch->acked,
		       (unsigned long long)ch->probe);
		for (unsigned n = 0; n < sim_cluster_size(c); n++)
			if (sim_cluster_proc(c, n) != NULL)
				proc_dump(sim_cluster_proc(c, n), gi);
	}
	printf("# open=%llu, before the heal %llu\n",
	       (unsigned long long)w->open, (unsigned long long)w->open_old);
}

static const struct sim_ops raft_ops = {
	.start = proc_start,
	.stop = proc_stop,
	.died = proc_died,
	.receive = proc_receive,
	.link_reset = proc_link_reset,
	.leads = proc_leads,
	.client = client_step,
	.check = world_check,
	.healed = world_healed,
	.end = world_end,
	.dump = world_dump,
};

static void raft_run(uint64_t seed, unsigned nodes,
		     const struct sim_profile *profile, uint64_t fault_ms,
		     bool tracing, struct sim_result *ret)
{
	struct world *w = zalloc(sizeof *w);
	struct sim_config config = {
		.ops = &raft_ops,
		.profile = profile,
		.nodes = nodes,
		.fault_ms = fault_ms,
		.heal_ms = 10000,
		.seed = seed,
		.tracing = tracing,
		.pauses = seed / 2 % 3 == 0,
		.frozen_clocks = seed / 7 % 4 == 1,
		.drift_ppm = 50000,
		.arg = w,
	};

	w->frozen_clocks = config.frozen_clocks;
	w->groups = 1 + (unsigned)(seed % GROUPS);
	w->tiny_cache = seed / 3 % 2 != 0;
	w->window = seed / 5 % 2 == 0 ? 2 + (unsigned)(seed % 3) : 0;
	w->quiet = seed / 2 % 2 == 0;
	w->transfers = seed / 3 % 2 == 0;
	w->slow = seed % 8 == 0 ? 1 + (unsigned)(seed / 8 % nodes) : 0;
	w->big_values = seed / 6 % 4 == 0;
	w->next_value = 1;
	sim_cluster_run(&config, ret);
	for (unsigned i = 0; i < GROUPS; i++)
		free(w->chains[i].at);
	free(w);
}

int main(int argc, char **argv)
{
	static const struct sim_row rows[] = {
		{ 1, "disk", 40 },
		{ 1, "rot", 40 },
		{ 3, "mix", 60 },
		{ 3, "storm", 40 },
		{ 3, "disk", 20 },
		{ 3, "rot", 30 },
		{ 3, "calm", 10 },
		{ 3, "lease", 40 },
		{ 3, "stab", 40 },
		{ 5, "storm", 30 },
		{ 5, "rot", 10 },
		{ 7, "mix", 10 },
		{ 0, NULL, 0 },
	};
	static const struct sim_program program = {
		.name = "tests/sim/sim_raft",
		.run = raft_run,
		.rows = rows,
		.fault_ms = 20000,
	};

	sim_raft_plant();
	return sim_main(&program, argc, argv);
}
