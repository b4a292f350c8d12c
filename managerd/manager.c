/*
 * Life of the manager.
 *
 *   open:  directory, super block, rows, log scan, group
 *   start: group leads -> first files and records -> bucket steps left over
 *          -> ready
 *   close: checkpoint, log, rows
 *
 * Failure modes: damaged rows are made again from a row snapshot and the log; a
 * damaged or foreign super block refuses the start.
 */
#include "managerd/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mem.h"
#include "common/base/vfs_dir.h"
#include "managerd/mgr_fsck.h"
#include "managerd/mgr_impl.h"

#define MGR_RAFT_ID 1
#define MGR_SEGMENT (16u << 20)
#define MGR_LEASE_MS 30000
#define MGR_DRAIN_NS 200000
#define MGR_SNAP_BYTES (64u << 20) /* of log between row snapshots */
#define MGR_KEPT_SHARE 8 /* of the reserve is a file, at most */
#define MGR_KEPT_MAX ((uint64_t)20 << 20) /* a segment, and rows */

static int mgr_on_record(void *arg, const struct seg_rec *rec)
{
	struct manager *m = arg;

	return raft_host_recover(m->host, rec);
}

static int mgr_scan_from(void *arg, const struct seg_rec *start,
			 uint64_t *ret_gen)
{
	struct manager *m = arg;
	int rv = raft_start_from(m->start, start, ret_gen, m->open_e);

	return rv == 0 ? raft_start_recover(m->start, start, m->host) : rv;
}

static void mgr_on_rot(void *arg, const struct seg_rot *rot)
{
	struct manager *m = arg;

	raft_host_recover_rot(m->host, rot);
	log_warnx("bit rot in the manager's log segment=%llx offset=%llu "
		  "sequence=%llu records=%llu",
		  (unsigned long long)rot->pos.gen,
		  (unsigned long long)rot->pos.off,
		  (unsigned long long)rot->seq, (unsigned long long)rot->n);
}

static void mgr_start_body(void *arg, uint64_t gen, struct buf *buf)
{
	struct manager *m = arg;

	raft_host_start_body(m->host, gen, buf);
}

static void mgr_on_lead(void *arg, uint32_t status, struct wire_bytes payload)
{
	struct manager *m = arg;
	int rv;

	(void)payload;
	if (status != RPC_STATUS_OK)
		fatal("manager: first start failed: %s",
		      rpc_status_text(status));
	rv = super_begin(m->env->vfs, m->dir, &m->super);
	if (rv != 0)
		fatal("cannot write %s/super: %s", m->dir, strerror(-rv));
	mgr_bucket_resume(m);
	mgr_sessions_lead(m);
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

static int mgr_open_rows(struct manager *m, struct errbuf *e)
{
	char *path = mem_printf("%s/rows", m->dir);
	bool damaged = false;
	int rv;

	m->snap_dir = mem_printf("%s/snap", m->dir);
	if (path == NULL || m->snap_dir == NULL) {
		mem_free(path);
		return errbuf_set(e, -ENOMEM, "out of memory");
	}
	rv = rows_back_open_new(path, 4u << 20, &m->back, &damaged, e);
	if (rv == 0 && damaged)
		log_warnx("the manager's row database is damaged and was moved "
			  "to %s.damaged: %s", path, e->text);
	mem_free(path);
	if (rv == 0)
		rv = raft_start_open(m->env->vfs, m->snap_dir, m->super.store,
				     m->back, &m->start, e);
	if (rv != 0)
		return rv;
	rv = rows_new(m->env, m->back, 4u << 20, &m->rows);
	if (rv != 0)
		return errbuf_set(e, rv, "cannot cache rows");
	m->txn = rows_txn_new(m->rows);
	m->passed_txn = rows_txn_new(m->rows);
	return m->txn != NULL && m->passed_txn != NULL
		? 0
		: errbuf_set(e, -ENOMEM, "out of memory");
}

/* The flusher's. */
static bool mgr_on_no_space(void *arg)
{
	struct manager *m = arg;

	return space_give(&m->space);
}

static bool mgr_knows_group(void *arg, uint16_t group)
{
	struct manager *m = arg;

	return raft_host_has_group(m->host, group);
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
		.scan_from = mgr_scan_from,
		.start_body = mgr_start_body,
		.no_space = mgr_on_no_space,
		.arg = m,
	};
	int rv;

	if (path == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	super_store_bytes(&m->super, config.store_id);
	m->open_e = e;
	rv = seg_head_open(m->env, &config, &m->log, e);
	m->open_e = NULL;
	mem_free(path);
	if (rv == 0)
		rv = super_check_log(&m->super, m->dir,
				     seg_head_last_seq(m->log), e);
	if (rv == 0)
		rv = raft_start_check(m->start, mgr_knows_group, m, e);
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
	struct rows_applied a;
	int rv = rows_applied_read(m->back, MGR_GROUP, &a);

	if (rv != 0)
		return errbuf_set(e, rv, "%s/rows cannot be read", m->dir);
	config.applied = a.index;
	config.term = a.term;
	config.conf_index = a.conf_index;
	config.conf = wire_bytes(a.conf, a.conf_len);
	rv = raft_host_open_group(m->host, &config, &m->group, e);
	rows_applied_fini(&a);
	return rv;
}

static void mgr_check_ended(void *arg)
{
	struct manager *m = arg;

	raft_snaps_tick(m->snaps);
	raft_trim_to(m->trim, raft_snaps_need(m->snaps));
}

/* Checkpoints, row snapshots, and what they make superfluous of the log. */
static int mgr_open_check(struct manager *m, struct errbuf *e)
{
	struct raft_check_config config = {
		.env = m->env,
		.host = m->host,
		.rows = m->rows,
		.back = m->back,
		.begin = mgr_check_begin,
		.ended = mgr_check_ended,
		.arg = m,
	};
	struct raft_snaps_config snaps = {
		.env = m->env,
		.host = m->host,
		.rows = m->rows,
		.back = m->back,
		.dir = m->snap_dir,
		.store = m->super.store,
		.start = m->start,
		.min_bytes = MGR_SNAP_BYTES,
		.begin = mgr_check_begin,
		.arg = m,
	};
	int rv = raft_check_new(&config, &m->check);

	if (rv == 0)
		rv = raft_snaps_new(&snaps, &m->snaps);
	if (rv == 0)
		rv = raft_trim_new(m->host, &m->trim);
	return rv == 0 ? 0 : errbuf_set(e, rv, "out of memory");
}

static int mgr_open_parts(struct manager *m, struct errbuf *e)
{
	struct raft_host_config config = {
		.env = m->env,
		.id = MGR_RAFT_ID,
		.apply = mgr_on_apply,
		.passed = mgr_on_passed,
		.role = mgr_on_role,
		.arg = m,
	};
	int rv = vfs_make_dir(m->env->vfs, m->dir);

	if (rv != 0)
		return errbuf_set(e, rv, "cannot make %s: %s", m->dir,
				  strerror(-rv));
	rv = space_open(&m->space, m->env, m->dir, MGR_KEPT_SHARE,
			MGR_KEPT_MAX);
	if (rv != 0)
		return errbuf_set(e, rv, "out of memory");
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
	if (rv == 0)
		rv = mgr_open_check(m, e);
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
	m->alone = config->alone;
	m->rpc_addr = mem_strdup(config->rpc_addr);
	m->region = mem_strdup(config->region != NULL ? config->region
						      : "us-east-1");
	m->admin_addr = config->admin != NULL ? mem_strdup(config->admin)
					      : NULL;
	m->durability = config->durability;
	m->started_ns = env_now_ns(m->env);
	m->lease_ms = config->lease_ms > 0 ? config->lease_ms : MGR_LEASE_MS;
	buf_init(&m->answer.payload, 0);
	space_init(&m->space);
	rv = mgr_sessions_new(m);
	if (rv != 0)
		errbuf_set(e, rv, "out of memory");
	if (rv == 0)
		rv = mgr_open_parts(m, e);
	if (rv != 0) {
		manager_close(m);
		return rv;
	}
	space_look(&m->space);
	mgr_rpc_register(m);
	*ret_manager = m;
	return 0;
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
		.all_local = m->alone,
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
	raft_check_start(m->check);
	space_start(&m->space);
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

/*
 * What was appended before the loops stopped is still written, and its
 * completions belong to what is freed next.
 */
static void mgr_drain(struct manager *m)
{
	struct timespec pause = { 0, MGR_DRAIN_NS };

	loop_set_drain(m->loops);
	while (m->port != NULL && !seg_port_idle(m->port)) {
		(void)nanosleep(&pause, NULL);
		loop_set_drain(m->loops);
	}
}

void manager_close(struct manager *m)
{
	if (m == NULL)
		return;
	mgr_drain(m);
	mgr_admin_stop(m);
	client_set_free(m->clients); /* calls back no more */
	mgr_fsck_free(m);
	mgr_sessions_free(m);
	mgr_watch_stop(m);
	space_stop(&m->space);
	/* its flusher reads what the raft host owns, so it ends first */
	if (m->log != NULL)
		seg_head_close(m->log);
	raft_check_free(m->check);
	raft_snaps_free(m->snaps);
	raft_trim_free(m->trim);
	if (m->host != NULL)
		raft_host_free(m->host);
	rows_txn_free(m->txn);
	rows_txn_free(m->passed_txn);
	if (m->rows != NULL)
		mgr_close_rows(m);
	if (m->port != NULL)
		seg_port_free(m->port);
	if (m->back != NULL)
		rows_back_close(m->back);
	raft_start_free(m->start);
	buf_fini(&m->answer.payload);
	space_fini(&m->space);
	mem_free(m->snap_dir);
	mem_free(m->token);
	mem_free(m->dir);
	mem_free(m->conf_dir);
	mem_free(m->rpc_addr);
	mem_free(m->admin_addr);
	mem_free(m->region);
	mem_free(m);
}
