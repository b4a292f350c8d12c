#include "tests/sim/sim_proc.h"

#include <stdlib.h>

void sim_proc_init(struct sim_proc *p, struct sim_cluster *c, unsigned node,
		   struct env *env)
{
	p->c = c;
	p->node = node;
	p->env = env;
}

/* --- the log --- */

static void proc_start_body(void *arg, uint64_t gen, struct buf *buf)
{
	struct sim_proc *p = arg;

	raft_host_start_body(p->host, gen, buf);
}

int sim_proc_open_log(struct sim_proc *p, const struct seg_config *config,
		      struct errbuf *e)
{
	struct seg_config own = {
		.dir = "/log",
		.segment_size = 64u << 10,
		.first_size = 16u << 10,
		.on_record = config->on_record,
		.on_rot = config->on_rot,
		.scan_from = config->scan_from,
		.start_body = proc_start_body,
		.arg = p,
	};

	return seg_head_open(p->env, &own, &p->log, e);
}

void sim_proc_open_port(struct sim_proc *p)
{
	if (seg_port_new(p->log, p->env, &p->port) != 0)
		abort();
}

void sim_proc_close_log(struct sim_proc *p, bool crash)
{
	if (crash)
		seg_head_abandon(p->log);
	else
		seg_head_close(p->log);
}

void sim_proc_check_rot(struct sim_proc *p, const struct seg_rot *rot)
{
	if (!sim_cluster_disk_bad(p->c, p->node))
		sim_fail(p->c, "node %u: rot at %llx:%llu seq %llu", p->node,
			 (unsigned long long)rot->pos.gen,
			 (unsigned long long)rot->pos.off,
			 (unsigned long long)rot->seq);
}

/* --- called with a process --- */

int sim_proc_receive(void *proc, uint64_t from, const uint8_t *frame,
		     size_t len)
{
	struct sim_proc *p = proc;

	return raft_host_receive(p->host, from, frame, len);
}

void sim_proc_link_reset(void *proc, uint64_t peer)
{
	struct sim_proc *p = proc;

	raft_host_link_reset(p->host, peer);
}

void sim_proc_send(void *proc, uint64_t to, const uint8_t *frame, size_t len)
{
	struct sim_proc *p = proc;

	sim_cluster_send(p->c, p->node, to, frame, len);
}

void sim_proc_finding(void *proc, const char *text)
{
	struct sim_proc *p = proc;

	sim_fail(p->c, "node %u: %s", p->node, text);
}
