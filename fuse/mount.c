/*
 * A mount's life.
 *
 * Happy path: client ready -> walk to the root of SPEC -> device_open ->
 * INIT (MOUNT_RUNNING, on_ready) -> ... -> unmount or mount_stop -> all
 * unsent bytes flushed -> on_end(0).
 * Failure modes: no cluster within timeout=, no such bucket or directory,
 * the kernel refuses the mount: on_end(err) with one sentence.
 */
#include "fuse/mount.h"

#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mem.h"
#include "fuse/escape.h"
#include "fuse/flush.h"
#include "fuse/handle.h"
#include "fuse/inval.h"
#include "fuse/ops.h"
#include "fuse/stale.h"

#define MOUNT_DRAIN_NS UINT64_C(2000000000)
#define MOUNT_POLL_NS UINT64_C(5000000)
#define MOUNT_AHEAD_MAX (128u << 20)
#define MOUNT_AHEAD_SHARE 4 /* of what all bodies may take */

static void walk_step(struct mount *m, struct finode *f);

static bool mount_is_idle(const struct mount *m)
{
	return m->fops == 0 && m->calls == 0 && m->flushes == 0;
}

/*
 * STOPPING until nothing is unsent and no notification waits for a page that
 * only a served READ can free; then DRAINING until what is under way ends.
 */
static void mount_end_step(struct mount *m)
{
	stale_expire(m, UINT64_MAX);
	ops_close_send(m);
	if (m->state == MOUNT_STOPPING && inval_quiesce(m) && flush_all(m)) {
		m->state = MOUNT_DRAINING;
		m->drain_ns = env_now_ns(m->env);
		device_pause(m);
	}
	if (m->state == MOUNT_DRAINING &&
	    (mount_is_idle(m) ||
	     env_now_ns(m->env) - m->drain_ns > MOUNT_DRAIN_NS)) {
		m->state = MOUNT_GONE;
		m->cbs.on_end(m->cbs.arg, m->end_err, &m->end_text);
	}
	if (m->state != MOUNT_GONE)
		env_timer_set(m->env, &m->start_timer, MOUNT_POLL_NS);
}

static void mount_end_task(struct env_task *task)
{
	mount_end_step(CONTAINER_OF(task, struct mount, end_task));
}

static void mount_on_end_timer(struct env_timer *timer)
{
	mount_end_step(CONTAINER_OF(timer, struct mount, start_timer));
}

void mount_end(struct mount *m, int err)
{
	if (m->state >= MOUNT_STOPPING)
		return;
	m->state = MOUNT_STOPPING;
	m->end_err = err;
	env_timer_cancel(m->env, &m->start_timer);
	m->start_timer.cb = mount_on_end_timer;
	env_post(m->env, &m->end_task);
}

void mount_stop(struct mount *m)
{
	mount_end(m, 0);
}

/* --- the root of the mount --- */

static void mount_walked(struct mount *m, struct finode *root)
{
	env_timer_cancel(m->env, &m->start_timer);
	m->root = root;
	root->lookups = 1; /* never forgotten */
	if (device_open(m, &m->end_text) != 0)
		mount_end(m, -EIO);
	else
		ops_open_start(m);
}

static void walk_fail(struct mount *m, int err, const char *what)
{
	errbuf_set(&m->end_text, err, "%.120s: %s", m->opt->spec, what);
	mount_end(m, err);
}

static void walk_on_lookup(void *arg, const struct rpc_reply *reply)
{
	struct finode *f = arg;
	struct mount *m = f->m;
	struct rpc_lookup_rsp rsp;
	struct finode *sub = NULL;
	int rv = rpc_status_errno(reply->status);

	m->calls--;
	if (rv == 0)
		rv = rpc_lookup_rsp_decode(&rsp, reply->payload, reply->len);
	if (rv == 0)
		sub = finode_get(m, rsp.attr.ino);
	if (sub == NULL) {
		walk_fail(m, rv == 0 ? -ENOMEM : rv,
			  rv == 0 ? "out of memory" : strerror(-rv));
	} else {
		finode_update(sub, &rsp.attr);
		sub->bucket = f->bucket;
		walk_step(m, sub);
	}
	finode_unref(f);
}

/* f, whose reference is taken, is reached; m->walk is what is left. */
static void walk_step(struct mount *m, struct finode *f)
{
	struct rpc_lookup q = { .dir = f->ino };
	struct escape_name name;
	const char *part = m->walk;
	size_t len = strcspn(part, "/");
	int rv;

	if (m->state != MOUNT_STARTING) {
		finode_unref(f);
		return;
	}
	if (f->known && !S_ISDIR(f->attr.mode)) {
		walk_fail(m, -ENOTDIR, "not a directory");
		finode_unref(f);
		return;
	}
	if (len == 0) {
		mount_walked(m, f);
		return;
	}
	rv = escape_decode(part, len, &name);
	if (rv != 0) {
		walk_fail(m, rv, "no such directory");
		finode_unref(f);
		return;
	}
	m->walk += len + strspn(part + len, "/");
	q.name = wire_bytes(name.comp, name.len);
	q.how = name.how;
	m->calls++;
	if (CLIENT_SEND(m->client, lookup, ino_shard(f->ino), &q,
			walk_on_lookup, f) == NULL) {
		m->calls--;
		walk_fail(m, -ENOMEM, "out of memory");
		finode_unref(f);
	}
}

static void walk_on_attr(void *arg, const struct rpc_reply *reply)
{
	struct finode *f = arg;
	struct mount *m = f->m;
	struct rpc_attr_rsp rsp;
	int rv = rpc_status_errno(reply->status);

	m->calls--;
	if (rv == 0)
		rv = rpc_attr_rsp_decode(&rsp, reply->payload, reply->len);
	if (rv != 0) {
		walk_fail(m, rv, strerror(-rv));
		finode_unref(f);
		return;
	}
	finode_update(f, &rsp.attr);
	walk_step(m, f);
}

static void walk_bucket(struct mount *m)
{
	struct cluster *cluster = client_cluster(m->client);
	size_t len = strcspn(m->walk, "/");
	const struct cluster_bucket *b =
		cluster_find_bucket(cluster, wire_bytes(m->walk, len));
	struct rpc_getattr q;
	struct finode *f;

	if (b == NULL || b->state != CLUSTER_BUCKET_READY) {
		walk_fail(m, -ENOENT, "no such bucket");
		return;
	}
	m->walk += len + strspn(m->walk + len, "/");
	f = finode_get(m, b->root);
	if (f != NULL)
		f->bucket = f->ino;
	q.ino = b->root;
	if (f == NULL || CLIENT_SEND(m->client, getattr, ino_shard(q.ino), &q,
				     walk_on_attr, f) == NULL) {
		finode_unref(f);
		walk_fail(m, -ENOMEM, "out of memory");
		return;
	}
	m->calls++;
}

static void walk_all_buckets(struct mount *m)
{
	struct finode *f = finode_get(m, MOUNT_ROOT_INO);

	if (f == NULL) {
		walk_fail(m, -ENOMEM, "out of memory");
		return;
	}
	m->all_buckets = true;
	ops_buckets_attr(m, &f->attr);
	f->known = true;
	mount_walked(m, f);
}

void mount_client_ready(void *arg, int status)
{
	struct mount *m = arg;

	if (m->state != MOUNT_STARTING)
		return;
	if (status != 0)
		walk_fail(m, status, strerror(-status));
	else if (m->walk[0] == '\0')
		walk_all_buckets(m);
	else
		walk_bucket(m);
}

static void mount_on_start_timer(struct env_timer *timer)
{
	struct mount *m = CONTAINER_OF(timer, struct mount, start_timer);

	errbuf_set(&m->end_text, -ETIMEDOUT,
		   "cannot reach the cluster at %.150s within %u seconds",
		   m->opt->manager, m->opt->timeout_s);
	mount_end(m, -ETIMEDOUT);
}

int mount_new(const struct mount_options *opt, struct loop *loop,
	      struct client_set *set, const struct mount_callbacks *cbs,
	      struct mount **ret_mount)
{
	struct mount *m = mem_zalloc(sizeof(*m));

	if (m == NULL)
		return -ENOMEM;
	if (finode_table_init(&m->inodes) != 0) {
		mem_free(m);
		return -ENOMEM;
	}
	m->opt = opt;
	m->loop = loop;
	m->env = loop_env(loop);
	m->set = set;
	m->client = client_of(set, loop);
	m->ahead_max = client_mem_max(m->client) / MOUNT_AHEAD_SHARE;
	if (m->ahead_max > MOUNT_AHEAD_MAX)
		m->ahead_max = MOUNT_AHEAD_MAX;
	m->cbs = *cbs;
	m->walk = opt->path;
	m->end_task.run = mount_end_task;
	m->start_timer.cb = mount_on_start_timer;
	LIST_INIT(&m->handles);
	TAILQ_INIT(&m->idle);
	flush_init(m);
	env_timer_set(m->env, &m->start_timer,
		      opt->timeout_s * UINT64_C(1000000000));
	*ret_mount = m;
	return 0;
}

bool mount_free(struct mount *m)
{
	bool idle = mount_is_idle(m);
	struct fhandle *h;

	ops_open_stop(m);
	flush_fini(m);
	env_timer_cancel(m->env, &m->start_timer);
	device_close(m);
	if (!idle)
		return false;
	/* Left by files that were open when the mount went. */
	while ((h = LIST_FIRST(&m->handles)) != NULL)
		fhandle_free(h);
	finode_table_fini(&m->inodes);
	mem_free(m);
	return true;
}
