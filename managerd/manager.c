/*
 * Life of the manager.
 *
 *   open:  directory, super block, rows, log scan, group
 *   start: group leads -> first files and records -> bucket steps left over
 *          -> ready
 *   close: checkpoint, log, rows
 *
 * Failure modes: damaged rows are rebuilt from the log, which this version
 * keeps whole; a damaged or foreign super block refuses the start.
 */
#include "managerd/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mem.h"
#include "managerd/mgr_fsck.h"
#include "managerd/mgr_impl.h"

#define MGR_GROUP 0
#define MGR_RAFT_ID 1
#define MGR_SEGMENT (16u << 20)
#define MGR_CHECKPOINT_NS 30000000000u

static int mgr_on_record(void *arg, const struct seg_rec *rec)
{
	struct manager *m = arg;

	if (rec->type != SEG_ENTRY && rec->type != SEG_HARD)
		return 0;
	return raft_host_recover(m->host, rec);
}

static void mgr_on_rot(void *arg, struct seg_pos pos, uint64_t seq)
{
	(void)arg;
	log_warnx("bit rot in the manager's log segment=%llx offset=%llu "
		  "sequence=%llu",
		  (unsigned long long)pos.gen, (unsigned long long)pos.off,
		  (unsigned long long)seq);
}

static void mgr_start_body(void *arg, struct buf *buf)
{
	struct manager *m = arg;

	raft_host_start_body(m->host, buf);
}

static void mgr_on_lead(void *arg, uint32_t status, struct wire_bytes payload)
{
	struct manager *m = arg;

	(void)payload;
	if (status != RPC_STATUS_OK)
		fatal("manager: first start failed: %s",
		      rpc_status_text(status));
	mgr_bucket_resume(m);
	if (m->ready != NULL)
		m->ready(m->ready_arg);
	m->ready = NULL;
}

static void mgr_on_role(void *arg, struct raft_group *g, bool leader)
{
	struct manager *m = arg;

	(void)g;
	m->leading = leader;
	if (leader)
		mgr_first_init(m, mgr_on_lead, m);
}

/* Makes the directory's super block, or reads and checks it. */
static int mgr_open_super(struct manager *m, struct errbuf *e)
{
	struct vfs *vfs = m->env->vfs;
	int rv = super_read(vfs, m->dir, &m->super, e);

	if (rv == -ENOENT) {
		memset(&m->super, 0, sizeof m->super);
		m->super.role = SUPER_ROLE_MANAGER;
		m->super.raft_id = MGR_RAFT_ID;
		env_random(m->env, &m->super.store, sizeof m->super.store);
		rv = super_write(vfs, m->dir, &m->super);
		if (rv != 0)
			return errbuf_set(e, rv, "cannot write %s/super: %s",
					  m->dir, strerror(-rv));
	}
	if (rv == 0 && m->super.role != SUPER_ROLE_MANAGER)
		return errbuf_set(e, -EINVAL,
				  "%s is not the directory of a manager",
				  m->dir);
	return rv;
}

/* The applied index that the rows hold; 0 when they are new. */
static int mgr_read_applied(struct rows_back *back, uint64_t *ret_applied)
{
	uint8_t *v = NULL;
	size_t len = 0;
	int rv = rows_back_get(back, mgr_applied_key(), &v, &len);

	*ret_applied = 0;
	if (rv == 0 && len == 8)
		for (int i = 0; i < 8; i++)
			*ret_applied = *ret_applied << 8 | v[i];
	else if (rv == 0)
		rv = -EIO;
	mem_free(v);
	return rv == -ENOENT ? 0 : rv;
}

static int mgr_open_rows(struct manager *m, struct errbuf *e)
{
	char *path = mem_printf("%s/rows", m->dir);
	int rv;

	if (path == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	rv = rows_back_open(path, 4u << 20, &m->back, e);
	mem_free(path);
	if (rv != 0)
		return rv;
	rv = rows_new(m->env, m->back, 4u << 20, &m->rows);
	if (rv != 0)
		return errbuf_set(e, rv, "cannot cache rows");
	m->txn = rows_txn_new(m->rows);
	return m->txn != NULL ? 0 : errbuf_set(e, -ENOMEM, "out of memory");
}

static int mgr_open_log(struct manager *m, struct errbuf *e)
{
	char *path = mem_printf("%s/log", m->dir);
	struct seg_config config = {
		.dir = path,
		.segment_size = MGR_SEGMENT,
		.first_size = 1u << 20,
		.on_record = mgr_on_record,
		.on_rot = mgr_on_rot,
		.start_body = mgr_start_body,
		.arg = m,
	};
	int rv;

	if (path == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	super_store_bytes(&m->super, config.store_id);
	rv = seg_head_open(m->env, &config, &m->log, e);
	mem_free(path);
	if (rv != 0)
		return rv;
	rv = seg_port_new(m->log, m->env, &m->port);
	if (rv != 0)
		return errbuf_set(e, rv, "cannot open the log's port");
	raft_host_set_log(m->host, m->log, m->port);
	return 0;
}

static int mgr_open_group(struct manager *m, struct errbuf *e)
{
	static const uint64_t voters[] = { MGR_RAFT_ID };
	struct raft_group_config config = {
		.group = MGR_GROUP,
		.voters = voters,
		.n_voters = 1,
		.user = m,
	};
	int rv = mgr_read_applied(m->back, &config.applied);

	if (rv != 0)
		return errbuf_set(e, rv, "%s/rows cannot be read", m->dir);
	return raft_host_open_group(m->host, &config, &m->group, e);
}

static int mgr_open_parts(struct manager *m, struct errbuf *e)
{
	struct raft_host_config config = {
		.env = m->env,
		.id = MGR_RAFT_ID,
		.apply = mgr_on_apply,
		.role = mgr_on_role,
		.arg = m,
	};
	struct vfs *vfs = m->env->vfs;
	int rv = vfs->ops->mkdir(vfs, m->dir, 0700);

	if (rv != 0 && rv != -EEXIST)
		return errbuf_set(e, rv, "cannot make %s: %s", m->dir,
				  strerror(-rv));
	rv = mgr_open_super(m, e);
	if (rv == 0)
		rv = mgr_first_files(m, e);
	if (rv == 0)
		rv = mgr_open_rows(m, e);
	if (rv != 0)
		return rv;
	rv = raft_host_new(&config, &m->host);
	if (rv != 0)
		return errbuf_set(e, rv, "cannot make the raft host");
	rv = mgr_open_log(m, e);
	if (rv == 0)
		rv = mgr_open_group(m, e);
	return rv;
}

int manager_open(const struct manager_config *config,
		 struct manager **ret_manager, struct errbuf *e)
{
	struct manager *m = mem_zalloc(sizeof *m);
	int rv;

	if (m == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	m->loops = config->loops;
	m->loop = loop_set_get(config->loops, 0);
	m->env = loop_env(m->loop);
	m->server = config->server;
	m->dir = mem_strdup(config->dir);
	m->conf_dir = mem_strdup(config->conf_dir);
	m->rpc_addr = mem_strdup(config->rpc_addr);
	m->region = mem_strdup(config->region != NULL ? config->region
						      : "us-east-1");
	m->admin_addr = config->admin != NULL ? mem_strdup(config->admin)
					      : NULL;
	m->started_ns = env_now_ns(m->env);
	buf_init(&m->answer.payload, 0);
	rv = mgr_open_parts(m, e);
	if (rv != 0) {
		manager_close(m);
		return rv;
	}
	mgr_rpc_register(m);
	*ret_manager = m;
	return 0;
}

/* --- checkpoints --- */

struct mgr_checkpoint {
	struct env_work work;
	struct manager *m;
	uint64_t applied;
	int rv;
};

static void mgr_checkpoint_run(struct env_work *work)
{
	struct mgr_checkpoint *c =
		CONTAINER_OF(work, struct mgr_checkpoint, work);

	c->rv = rows_back_checkpoint(c->m->back);
}

static void mgr_checkpoint_done(struct env_work *work)
{
	struct mgr_checkpoint *c =
		CONTAINER_OF(work, struct mgr_checkpoint, work);

	if (c->rv != 0)
		fatal_abort("manager: rows cannot be written");
	c->m->checkpointing = false;
	c->m->applied_checkpoint = c->applied;
	mem_free(c);
}

static void mgr_checkpoint_synced(void *arg, int status)
{
	struct mgr_checkpoint *c = arg;

	if (status != 0)
		fatal_abort("manager: rows cannot be written");
	env_work(c->m->env, &c->work);
}

static void mgr_checkpoint_tick(struct env_timer *timer)
{
	struct manager *m = CONTAINER_OF(timer, struct manager,
					 checkpoint_timer);
	uint64_t applied = raft_group_applied(m->group);
	struct mgr_checkpoint *c;

	env_timer_set(m->env, timer, MGR_CHECKPOINT_NS);
	if (m->checkpointing || applied == m->applied_checkpoint)
		return;
	c = mem_zalloc(sizeof *c);
	if (c == NULL)
		return;
	c->m = m;
	c->applied = applied;
	c->work.run = mgr_checkpoint_run;
	c->work.done = mgr_checkpoint_done;
	m->checkpointing = rows_sync(m->rows, mgr_checkpoint_synced, c) == 0;
	if (!m->checkpointing)
		mem_free(c);
}

/* --- start and stop --- */

int manager_start(struct manager *m, void (*ready)(void *arg), void *arg,
		  struct errbuf *e)
{
	struct client_config config = {
		.loops = m->loops,
		.manager = m->rpc_addr,
		.role = RPC_ROLE_MANAGER,
		.kind = "manager",
		.local = m->rpc_addr,
		.server = m->server,
	};
	int rv;

	m->ready = ready;
	m->ready_arg = arg;
	rv = client_set_new(&config, &m->clients, e);
	if (rv != 0)
		return rv;
	rv = raft_host_start(m->host);
	if (rv != 0)
		return errbuf_set(e, rv, "cannot start the manager's group");
	client_set_start(m->clients, NULL, NULL);
	m->checkpoint_timer.cb = mgr_checkpoint_tick;
	env_timer_set(m->env, &m->checkpoint_timer, MGR_CHECKPOINT_NS);
	return m->admin_addr != NULL ? mgr_admin_start(m, e) : 0;
}

/* A clean end leaves nothing to replay; what fails is in the log. */
static void mgr_close_rows(struct manager *m)
{
	int rv = rows_flush(m->rows);

	if (rv == 0)
		rv = rows_back_checkpoint(m->back);
	if (rv != 0)
		log_warn(rv, "cannot write the manager's rows");
	rows_free(m->rows);
}

void manager_close(struct manager *m)
{
	if (m == NULL)
		return;
	mgr_admin_stop(m);
	client_set_free(m->clients);
	mgr_fsck_free(m);
	env_timer_cancel(m->env, &m->checkpoint_timer);
	mgr_watch_stop(m);
	/* its flusher reads what the raft host owns, so it ends first */
	if (m->log != NULL)
		seg_head_close(m->log);
	if (m->host != NULL)
		raft_host_free(m->host);
	rows_txn_free(m->txn);
	if (m->rows != NULL)
		mgr_close_rows(m);
	if (m->port != NULL)
		seg_port_free(m->port);
	if (m->back != NULL)
		rows_back_close(m->back);
	buf_fini(&m->answer.payload);
	mem_free(m->token);
	mem_free(m->dir);
	mem_free(m->conf_dir);
	mem_free(m->rpc_addr);
	mem_free(m->admin_addr);
	mem_free(m->region);
	mem_free(m);
}
