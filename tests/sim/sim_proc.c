#include "tests/sim/sim_proc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_garbage.h"

void sim_proc_init(struct sim_proc *p, struct sim_cluster *c, unsigned node,
		   struct env *env)
{
	p->c = c;
	p->node = node;
	p->env = env;
}

/* --- the super block; as storaged/store_open.c --- */

static int proc_on_name(void *arg, const char *name)
{
	bool *any = arg;

	(void)name;
	*any = true;
	return 0;
}

static int proc_new_super(struct sim_proc *p, struct errbuf *e)
{
	struct vfs *vfs = p->env->vfs;
	bool any = false;
	int rv;

	(void)vfs->ops->list(vfs, "/log", proc_on_name, &any);
	if (any)
		return errbuf_set(e, -EINVAL, "there is a log, but no super");
	p->super = (struct super){
		.role = SUPER_ROLE_STORE,
		.raft_id = sim_cluster_store(p->c, p->node),
	};
	env_random(p->env, &p->super.store, sizeof p->super.store);
	rv = super_write(vfs, "", &p->super);
	return rv == 0 ? 0
		       : errbuf_set(e, rv, "super cannot be written: %s",
				    strerror(-rv));
}

int sim_proc_open_super(struct sim_proc *p, struct errbuf *e)
{
	int rv = super_read(p->env->vfs, "", &p->super, e);

	if (rv == -ENOENT)
		rv = proc_new_super(p, e);
	if (rv == 0 && (p->super.raft_id != sim_cluster_store(p->c, p->node) ||
			p->super.role != SUPER_ROLE_STORE))
		sim_fail(p->c, "node %u takes itself for another store",
			 p->node);
	return rv;
}

/* What the super block says of the log that was opened. */
static int proc_check_super(struct sim_proc *p, struct errbuf *e)
{
	uint64_t last = seg_head_last_seq(p->log);
	int rv = super_check_log(&p->super, "", last, e);

	if (rv == 0 && last > 0)
		rv = super_begin(p->env->vfs, "", &p->super);
	if (rv != 0 && e->text[0] == '\0')
		errbuf_set(e, rv, "super cannot be written: %s", strerror(-rv));
	return rv;
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
	int rv = p->super.role != 0 ? 0 : sim_proc_open_super(p, e);

	if (rv != 0)
		return rv;
	super_store_bytes(&p->super, own.store_id);
	rv = seg_head_open(p->env, &own, &p->log, e);
	return rv == 0 ? proc_check_super(p, e) : rv;
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
	struct sim *s = sim_cluster_sim(p->c);
	struct buf more;
	int rv;

	if (sim_chance(s, 10))
		sim_garbage(p, from, frame, len);
	if (!sim_chance(s, 5))
		return raft_host_receive(p->host, from, frame, len);
	buf_init(&more, 0);
	sim_garbage_group(frame, len, &more);
	rv = raft_host_receive(p->host, from, more.data, more.len);
	buf_fini(&more);
	return rv;
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
