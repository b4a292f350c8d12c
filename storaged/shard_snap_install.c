/*
 * Rows that were fetched take the place of those of the shard.
 *
 * Happy path, from raft_install.c, with its record durable: everything of the
 * shard is in the back -> a worker renames DIR/NNNNN.new to .install, durable:
 * from here on the rows are those of the file, whatever happens -> in steps: the
 * old rows go, the new ones come, durable (raft_snap_rows.c) -> the file goes,
 * durable -> what is in memory of the old rows goes -> raft_group_installed().
 *
 * While it goes on nothing of the shard is applied or written (g->installing),
 * and whoever has read of it, or reads, is refused in the end: what a worker
 * sees of the back is neither old nor new.
 *
 * Failure modes: the process dies: before the rename the rows are the old ones;
 * behind it the next start ends what was begun (raft_start_open()). No memory,
 * no room for a name: again a little later. Rows or files that cannot be written:
 * the process aborts, as whenever rows cannot be written.
 */
#include "storaged/shard_snap.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

#define INSTALL_AGAIN_NS 100000000u

static void install_work(struct shard_fetch *f);

/* --- worker --- */

/* Durable. */
static int install_rename(struct shard_fetch *f)
{
	const char *dir = f->set->config.snap_dir;
	struct vfs *vfs = f->set->env->vfs;
	char *from = raft_snap_path(dir, f->g->id, RAFT_SNAP_NEW);
	char *to = raft_snap_path(dir, f->g->id, RAFT_SNAP_INSTALL);
	int rv = from == NULL || to == NULL ? -ENOMEM
					    : vfs->ops->rename(vfs, from, to);

	if (rv == 0) {
		f->renamed = true;
		rv = vfs->ops->sync_dir(vfs, dir);
	}
	mem_free(from);
	mem_free(to);
	return rv;
}

static int install_load(struct shard_fetch *f)
{
	char *path;
	int rv = 0;

	if (f->loader == NULL) {
		path = raft_snap_path(f->set->config.snap_dir, f->g->id,
				      RAFT_SNAP_INSTALL);
		rv = path == NULL ? -ENOMEM
				  : raft_snap_loader_new(f->set->env->vfs, path,
							 f->g->id,
							 f->set->config.back,
							 &f->loader);
		mem_free(path);
	}
	if (rv == 0)
		rv = raft_snap_loader_step(f->loader);
	if (rv != 1) {
		raft_snap_loader_free(f->loader);
		f->loader = NULL;
	}
	return rv;
}

/* Were the file there after a crash, newer rows would be replaced by it. */
static int install_remove(struct shard_fetch *f)
{
	struct vfs *vfs = f->set->env->vfs;
	int rv = shard_snap_unlink(f->set, f->g->id, RAFT_SNAP_INSTALL);

	if (rv == 0)
		rv = shard_snap_unlink(f->set, f->g->id, RAFT_SNAP_FETCH);
	return rv == 0 ? vfs->ops->sync_dir(vfs, f->set->config.snap_dir) : rv;
}

static int install_read(struct shard_fetch *f)
{
	shard_derived_fini(&f->derived);
	return shard_rows_load(f->g, &f->derived);
}

static void install_run(struct env_work *work)
{
	struct shard_fetch *f = CONTAINER_OF(work, struct shard_fetch, work);
	int rv = 0;

	if (!f->renamed)
		rv = install_rename(f);
	if (rv == 0 && !f->loaded)
		rv = install_load(f);
	f->loaded |= rv == 0;
	if (rv == 0)
		rv = install_read(f);
	if (rv == 0)
		rv = install_remove(f);
	f->rv = rv;
}

/* --- loop --- */

static void install_end(struct shard_fetch *f)
{
	struct shard_group *g = f->g;
	struct shard_set *set = f->set;
	uint8_t from[2] = { (uint8_t)(g->id >> 8), (uint8_t)g->id };
	uint8_t to[3] = { from[0], from[1], 0xff };

	f->busy = false;
	g->installing = false;
	g->installs++;
	g->fetch_failed = 0;
	shard_count(&set->stats.snaps_in, 1);
	rows_replaced(set->rows, wire_bytes(from, 2), wire_bytes(to, 3));
	shard_rows_replaced(g, &f->derived);
	shard_hold(set, false);
	shard_fetch_free(f);
	raft_group_installed(g->raft);
}

static void install_ran(struct env_work *work)
{
	struct shard_fetch *f = CONTAINER_OF(work, struct shard_fetch, work);
	int rv = f->rv;

	/* a name that may be durable or not is the same trouble as rows */
	if (rv < 0 && rv != -ENOMEM && (rv != -ENOSPC || f->renamed))
		fatal_abort("shard=%u: fetched rows cannot be put in place: %s",
			    f->g->id, strerror(-rv));
	if (rv == 0)
		install_end(f);
	else
		env_timer_set(f->set->env, &f->timer,
			      rv == 1 ? SNAP_STEP_NS : INSTALL_AGAIN_NS);
}

static void install_tick(struct env_timer *timer)
{
	install_work(CONTAINER_OF(timer, struct shard_fetch, timer));
}

static void install_work(struct shard_fetch *f)
{
	f->work.run = install_run;
	f->work.done = install_ran;
	env_work(f->set->env, &f->work);
}

static void install_synced(void *arg, int status)
{
	struct shard_fetch *f = arg;

	if (status != 0)
		fatal_abort("shard=%u: rows cannot be written: %s", f->g->id,
			    strerror(-status));
	f->timer.cb = install_tick;
	install_work(f);
}

static void install_sync(struct env_timer *timer)
{
	struct shard_fetch *f = CONTAINER_OF(timer, struct shard_fetch, timer);

	if (rows_sync(f->set->rows, install_synced, f) != 0)
		env_timer_set(f->set->env, timer, INSTALL_AGAIN_NS);
}

void shard_on_install(void *arg, struct raft_group *raft)
{
	struct shard_group *g = raft_group_user(raft);
	struct shard_fetch *f = g->fetch;

	(void)arg;
	assert(f != NULL && f->state == FETCH_INSTALL && !f->busy);
	assert(g->parked == NULL);
	g->installing = true;
	g->passed = g->applied; /* it says so in rows that go */
	f->busy = true;
	f->timer.cb = install_sync;
	install_sync(&f->timer);
}
