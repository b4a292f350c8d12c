/*
 * Making row snapshots.
 *
 *   IDLE -> [HELD] -> SYNC -> BEGIN -> STEP ... -> next group, or IDLE
 *
 * SYNC: where the log behind it begins is decided, and everything applied by
 * then is put into the back, with the index of the last entry: it may have been
 * no command, and `need` is behind it. BEGIN: a worker takes a snapshot of the back; it
 * has those rows at least, its head says how far it is. STEP: a worker writes
 * some MiB; the last one makes those rows durable, syncs, renames, syncs the
 * directory, and only then the old file's part of the log may go.
 *
 * The rows are durable first because positions in them change without an entry:
 * a power cut would take them back to places of before, the cleaner of the log
 * would ask them what is alive, and the file would name what it freed.
 *
 * Failure modes: no memory, a disk that is full or broken: the temporary file
 * goes, the group keeps its old snapshot, the round goes on with the next one.
 */
#include "common/raft/raft_snap.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/raft/raft_impl.h"
#include "common/raft/raft_snap_int.h"

#define SNAP_MIN_BYTES ((uint64_t)256 << 20)
#define SNAP_STEP (4u << 20)
#define SNAP_PAUSE_NS 1000000u

enum snaps_state {
	SNAPS_IDLE,
	SNAPS_HELD,
	SNAPS_SYNC,
	SNAPS_BEGIN,
	SNAPS_STEP,
};

/* A group of this host that has, or shall have, a file. */
struct snap {
	struct raft_group *g;
	bool there;           /* the file */
	bool seen;            /* in this round */
	uint64_t index, need; /* need: of the log, beside the file */
	uint64_t bytes;
};

struct raft_snaps {
	struct raft_snaps_config config;
	char *dir;
	struct seg_head *log; /* borrowed */
	struct snap *snaps;
	unsigned n, cap;
	enum snaps_state state;
	bool again;           /* one more round behind this one */
	/* of the round that runs, of the next one */
	struct raft_snaps_waiter *now_waiters, *next_waiters;
	struct env_task turn; /* begins a round that was asked for */
	bool turn_posted;
	unsigned held;
	/* the file being made */
	struct snap *now;
	struct env_work work;
	struct env_timer pause; /* between steps; none comes once loops stop */
	struct rows_stream_writer *writer;
	struct vfs_file *file;
	struct buf buf;
	uint64_t need, off, index;
	int rv;
	uint64_t published, published_bytes; /* atomic */
	struct raft_snaps_stats stats;
};

/* --- which --- */

static struct snap *snaps_find(struct raft_snaps *s, const struct raft_group *g)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->snaps[i].g == g)
			return &s->snaps[i];
	return NULL;
}

static void snaps_add(void *arg, struct raft_group *g)
{
	struct raft_snaps *s = arg;
	const struct raft_snap_file *file =
		raft_start_file(s->config.start, g->id);
	struct snap snap = { .g = g };

	if (!g->one_voter || snaps_find(s, g) != NULL)
		return;
	if (s->n == s->cap) {
		unsigned cap = s->cap * 2 + 8;
		struct snap *p = mem_realloc(s->snaps, cap * sizeof *p);

		if (p == NULL)
			return; /* the next round finds it */
		s->snaps = p;
		s->cap = cap;
	}
	if (file != NULL && !file->bad) {
		snap.there = true;
		snap.index = file->index;
		snap.need = file->need;
		snap.bytes = file->bytes;
	} else if (g->log.first == 1) {
		/* a new group: the log has all of it */
		snap.need = raft_group_need(g, 0);
	}
	s->snaps[s->n++] = snap;
}

static char *snaps_path(const struct raft_snaps *s, uint16_t group,
			const char *suffix)
{
	char name[RAFT_SNAP_NAME_MAX];

	raft_snap_name(group, name);
	return mem_printf("%s/%s%s", s->dir, name, suffix);
}

static void snaps_unlink(struct raft_snaps *s, uint16_t group,
			 const char *suffix)
{
	struct vfs *vfs = s->config.env->vfs;
	char *path = snaps_path(s, group, suffix);

	if (path != NULL)
		(void)vfs->ops->unlink(vfs, path);
	mem_free(path);
}

/* Groups that others have too need no file. */
static void snaps_sort_out(struct raft_snaps *s)
{
	for (unsigned i = 0; i < s->n;) {
		struct snap *snap = &s->snaps[i];

		if (snap->g->one_voter) {
			i++;
			continue;
		}
		snaps_unlink(s, snap->g->id, "");
		*snap = s->snaps[--s->n];
	}
	raft_host_each(s->config.host, snaps_add, s);
}

static void snaps_publish(struct raft_snaps *s)
{
	uint64_t need = UINT64_MAX, bytes = 0;

	for (unsigned i = 0; i < s->n; i++) {
		if (s->snaps[i].need < need)
			need = s->snaps[i].need;
		bytes += s->snaps[i].bytes;
	}
	__atomic_store_n(&s->published, need, __ATOMIC_RELEASE);
	__atomic_store_n(&s->published_bytes, bytes, __ATOMIC_RELEASE);
}

uint64_t raft_snaps_bytes(struct raft_snaps *s)
{
	return __atomic_load_n(&s->published_bytes, __ATOMIC_ACQUIRE);
}

uint64_t raft_snaps_need(struct raft_snaps *s)
{
	return __atomic_load_n(&s->published, __ATOMIC_ACQUIRE);
}

/* --- one file; on a worker --- */

static int snap_begin(struct raft_snaps *s)
{
	struct rows_stream_config config = {
		.back = s->config.back, .group = s->now->g->id,
		.need = s->need, .store = s->config.store,
	};
	struct vfs *vfs = s->config.env->vfs;
	char *path = snaps_path(s, s->now->g->id, ".tmp");
	int rv;

	if (path == NULL)
		return -ENOMEM;
	rv = rows_stream_writer_new(&config, &s->writer);
	if (rv == 0) {
		s->index = rows_stream_writer_head(s->writer)->at.index;
		(void)vfs->ops->unlink(vfs, path);
		rv = vfs->ops->open(vfs, path, O_RDWR | O_CREAT | O_EXCL, 0600,
				    &s->file);
	}
	mem_free(path);
	s->off = 0;
	return rv;
}

/* Writes a piece. 1: there is more. */
static int snap_piece(struct raft_snaps *s)
{
	struct iovec iov;
	int rv, more;

	buf_reset(&s->buf);
	more = rows_stream_next(s->writer, &s->buf);
	if (more < 0)
		return more;
	iov.iov_base = s->buf.data;
	iov.iov_len = s->buf.len;
	rv = s->file->vfs->ops->pwritev(s->file, &iov, 1, s->off);
	s->off += s->buf.len;
	return rv != 0 ? rv : more;
}

/* The file takes the name of the one before. */
static int snap_end(struct raft_snaps *s)
{
	struct vfs *vfs = s->config.env->vfs;
	char *from = snaps_path(s, s->now->g->id, ".tmp");
	char *to = snaps_path(s, s->now->g->id, "");
	int rv = from == NULL || to == NULL ? -ENOMEM : 0;

	if (rv == 0)
		rv = rows_back_checkpoint(s->config.back);
	if (rv == 0 && !RAFT_MUTATES(SNAP_NO_SYNC))
		rv = s->file->vfs->ops->fdatasync(s->file);
	if (rv == 0)
		rv = vfs->ops->rename(vfs, from, to);
	if (rv == 0 && !RAFT_MUTATES(SNAP_NO_DIR))
		rv = vfs->ops->sync_dir(vfs, s->dir);
	mem_free(from);
	mem_free(to);
	return rv;
}

static void snap_run(struct env_work *work)
{
	struct raft_snaps *s = CONTAINER_OF(work, struct raft_snaps, work);
	uint64_t upto;
	int rv = 0;

	if (s->state == SNAPS_BEGIN)
		rv = snap_begin(s);
	upto = s->off + SNAP_STEP;
	if (rv == 0)
		rv = 1;
	while (rv == 1 && s->off < upto)
		rv = snap_piece(s);
	if (rv == 0)
		rv = snap_end(s);
	s->rv = rv;
}

/* --- a round --- */

static void snaps_next(struct raft_snaps *s);

static void snaps_post(struct raft_snaps *s)
{
	if (s->turn_posted)
		return;
	s->turn_posted = true;
	env_post(s->config.env, &s->turn);
}

static void snap_close(struct raft_snaps *s)
{
	rows_stream_writer_free(s->writer);
	s->writer = NULL;
	if (s->file != NULL)
		s->file->vfs->ops->close(s->file);
	s->file = NULL;
	buf_fini(&s->buf);
	buf_init(&s->buf, 0);
}

static void snap_done(struct raft_snaps *s)
{
	struct snap *snap = s->now;

	snap_close(s);
	if (s->rv != 0 && s->rv != -ENOENT) {
		s->stats.failed++;
		snaps_unlink(s, snap->g->id, ".tmp");
		log_warn(s->rv, "group=%u: row snapshot cannot be made",
			 snap->g->id);
	} else if (s->rv == 0) {
		s->stats.files++;
		s->stats.bytes += s->off;
		snap->there = true;
		snap->index = s->index;
		snap->need = s->need;
		if (RAFT_MUTATES(SNAP_LATE))
			snap->need = s->config.host->seen_gen;
		snap->bytes = s->off;
	}
	snaps_next(s);
}

static void snap_ran(struct env_work *work)
{
	struct raft_snaps *s = CONTAINER_OF(work, struct raft_snaps, work);

	if (s->rv != 1) {
		snap_done(s);
		return;
	}
	s->state = SNAPS_STEP;
	env_timer_set(s->config.env, &s->pause, SNAP_PAUSE_NS);
}

static void snap_go_on(struct env_timer *timer)
{
	struct raft_snaps *s = CONTAINER_OF(timer, struct raft_snaps, pause);

	env_work(s->config.env, &s->work);
}

static void snaps_synced(void *arg, int status)
{
	struct raft_snaps *s = arg;

	if (status != 0)
		fatal_abort("rows cannot be written: %s", strerror(-status));
	s->state = SNAPS_BEGIN;
	env_work(s->config.env, &s->work);
}

static void snaps_sync(struct raft_snaps *s)
{
	struct raft_group *g = s->now->g;
	int rv = 0;

	s->state = SNAPS_SYNC;
	if (s->config.begin != NULL)
		rv = s->config.begin(s->config.arg);
	s->need = raft_group_need(g, g->applied);
	if (rv != 0 || rows_sync(s->config.rows, snaps_synced, s) != 0) {
		s->stats.failed++;
		snaps_next(s);
	}
}

static void snaps_end(struct raft_snaps *s)
{
	struct raft_snaps_waiter *w = s->now_waiters, *next;

	s->state = SNAPS_IDLE;
	s->now = NULL;
	s->now_waiters = NULL;
	s->stats.rounds++;
	snaps_publish(s);
	if (s->again)
		snaps_post(s);
	if (s->config.ended != NULL)
		s->config.ended(s->config.arg);
	for (; w != NULL; w = next) {
		next = w->next;
		w->done(w);
	}
}

/* A file of an index that is still the newest is as good as a new one. */
static bool snap_is_current(const struct snap *snap)
{
	return snap->there && snap->index == snap->g->applied;
}

static void snaps_next(struct raft_snaps *s)
{
	s->now = NULL;
	for (unsigned i = 0; i < s->n && s->now == NULL; i++) {
		struct snap *snap = &s->snaps[i];

		if (snap->seen)
			continue;
		snap->seen = true;
		if (snap_is_current(snap))
			snap->need = raft_group_need(snap->g,
						     snap->g->applied);
		else
			s->now = snap;
	}
	if (s->now == NULL) {
		snaps_end(s);
		return;
	}
	if (s->held > 0)
		s->state = SNAPS_HELD;
	else
		snaps_sync(s);
}

static void snaps_round(struct env_task *task)
{
	struct raft_snaps *s = CONTAINER_OF(task, struct raft_snaps, turn);

	s->turn_posted = false;
	if (s->state != SNAPS_IDLE)
		return; /* its end posts again */
	s->again = false;
	s->now_waiters = s->next_waiters;
	s->next_waiters = NULL;
	snaps_sort_out(s);
	for (unsigned i = 0; i < s->n; i++)
		s->snaps[i].seen = false;
	snaps_next(s);
}

void raft_snaps_now(struct raft_snaps *s, struct raft_snaps_waiter *w)
{
	s->again = true;
	if (w != NULL) {
		w->next = s->next_waiters;
		s->next_waiters = w;
	}
	if (s->state == SNAPS_IDLE)
		snaps_post(s);
}

/* Bytes of log that the files stand in for, and those behind them. */
static bool snaps_due(struct raft_snaps *s)
{
	uint64_t need = raft_snaps_need(s), own = 0, log = 0;
	struct seg_info *infos;
	size_t n;

	for (unsigned i = 0; i < s->n; i++)
		own += s->snaps[i].bytes;
	if (own < s->config.min_bytes)
		own = s->config.min_bytes;
	if (s->n == 0 || seg_segments(s->log, &infos, &n) != 0)
		return false;
	for (size_t i = 0; i < n; i++)
		if (infos[i].gen >= need)
			log += infos[i].bytes;
	mem_free(infos);
	return log >= own;
}

void raft_snaps_tick(struct raft_snaps *s)
{
	if (s->state != SNAPS_IDLE || s->again)
		return;
	snaps_sort_out(s);
	for (unsigned i = 0; i < s->n; i++)
		if (snap_is_current(&s->snaps[i]))
			s->snaps[i].need = raft_group_need(
				s->snaps[i].g, s->snaps[i].g->applied);
	snaps_publish(s);
	if (snaps_due(s))
		raft_snaps_now(s, NULL);
}

void raft_snaps_hold(struct raft_snaps *s)
{
	s->held++;
}

void raft_snaps_release(struct raft_snaps *s)
{
	assert(s->held > 0);
	if (--s->held == 0 && s->state == SNAPS_HELD)
		snaps_sync(s);
}

/* --- life --- */

int raft_snaps_new(const struct raft_snaps_config *config,
		   struct raft_snaps **ret_snaps)
{
	struct raft_snaps *s = mem_zalloc(sizeof *s);

	if (s == NULL)
		return -ENOMEM;
	s->config = *config;
	if (s->config.min_bytes == 0)
		s->config.min_bytes = SNAP_MIN_BYTES;
	s->log = config->host->log;
	s->work.run = snap_run;
	s->work.done = snap_ran;
	s->turn.run = snaps_round;
	s->pause.cb = snap_go_on;
	buf_init(&s->buf, 0);
	s->dir = mem_strdup(config->dir);
	if (s->dir == NULL) {
		raft_snaps_free(s);
		return -ENOMEM;
	}
	raft_host_each(config->host, snaps_add, s);
	snaps_publish(s);
	*ret_snaps = s;
	return 0;
}

void raft_snaps_free(struct raft_snaps *s)
{
	if (s == NULL)
		return;
	env_timer_cancel(s->config.env, &s->pause);
	snap_close(s);
	buf_fini(&s->buf);
	mem_free(s->snaps);
	mem_free(s->dir);
	mem_free(s);
}

void raft_snaps_stats(const struct raft_snaps *s,
		      struct raft_snaps_stats *ret)
{
	*ret = s->stats;
}
