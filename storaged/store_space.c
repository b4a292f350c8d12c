/*
 * Space. Deletes, checkpoints, cleaning and Raft state must stay possible on a
 * full disk, so a part of it is a reserve: messages that add bytes are refused
 * when no more than that is free.
 *
 * Others may write to the disk as well. So some of the reserve is a file,
 * DIR/reserve, that nobody can take. It goes, and is free space, when
 * - little else is free: a look finds that, ten times a second. The row
 *   databases need room then, and cannot be told to try again;
 * - a head finds no space (seg_config.no_space), before the next look;
 * - a store starts on a disk that is as full.
 * It is made again once the disk is not full any more.
 *
 * Failure modes: a file system that cannot set space aside, or has none left:
 * there is no file until the disk was full, and has room again; all of the
 * reserve is a matter of trust.
 */
#include "storaged/store_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

/*
 * How often free space is looked at, and what is kept free. Between two looks
 * both heads may each open a segment and pre-write the next one (64 MiB), and
 * a fast disk takes some 200 MiB more.
 */
#define SPACE_NS 100000000u
#define SPACE_RESERVE_MIN ((uint64_t)256 << 20)
#define SPACE_RESERVE_MAX ((uint64_t)1 << 30)
#define SPACE_KEPT_MAX ((uint64_t)64 << 20)

static struct vfs *space_vfs(const struct store *s)
{
	return s->loops[0].env->vfs;
}

/* Half of a disk that is no larger than a few segments. */
uint64_t store_reserve(uint64_t total)
{
	uint64_t reserve = total / 50;

	if (reserve > SPACE_RESERVE_MAX)
		return SPACE_RESERVE_MAX;
	if (reserve < SPACE_RESERVE_MIN)
		reserve = SPACE_RESERVE_MIN;
	return reserve < total / 2 ? reserve : total / 2;
}

/* How much of it is the file. */
static uint64_t space_kept(uint64_t total)
{
	uint64_t kept = store_reserve(total) / 4;

	return kept < SPACE_KEPT_MAX ? kept : SPACE_KEPT_MAX;
}

/* --- the file --- */

/* True when it was there. Any thread. */
static bool kept_drop(struct store *s)
{
	uint64_t kept;

	(void)pthread_mutex_lock(&s->kept_lock);
	kept = s->kept;
	if (kept > 0)
		(void)space_vfs(s)->ops->unlink(space_vfs(s), s->kept_path);
	s->kept = 0;
	(void)pthread_mutex_unlock(&s->kept_lock);
	if (kept > 0)
		log_warnx("disk is full: %llu bytes that were kept for that "
			  "are free now", (unsigned long long)kept);
	return kept > 0;
}

static void kept_make(struct store *s)
{
	uint64_t want = space_kept(s->total);
	struct vfs *vfs = space_vfs(s);
	struct vfs_file *f;
	int rv;

	(void)pthread_mutex_lock(&s->kept_lock);
	rv = vfs->ops->open(vfs, s->kept_path, O_RDWR | O_CREAT, 0600, &f);
	if (rv == 0) {
		rv = vfs->ops->allocate(f, want);
		vfs->ops->close(f);
		if (rv != 0)
			(void)vfs->ops->unlink(vfs, s->kept_path);
	}
	s->kept = rv == 0 ? want : 0;
	s->kept_refused = rv != 0; /* not again before it was full */
	(void)pthread_mutex_unlock(&s->kept_lock);
	if (rv != 0)
		log_warn(rv, "%s cannot be made", s->kept_path);
}

bool store_on_no_space(void *arg)
{
	return kept_drop(arg);
}

static bool kept_is_wanted(const struct store *s)
{
	return s->avail < space_kept(s->total);
}

static bool kept_can_be_made(const struct store *s)
{
	return s->kept == 0 && !s->kept_refused && !s->is_check &&
	       s->avail >= store_reserve(s->total);
}

static void kept_run(struct env_work *work)
{
	struct store *s = CONTAINER_OF(work, struct store, kept_work);

	if (kept_is_wanted(s))
		(void)kept_drop(s);
	else if (kept_can_be_made(s))
		kept_make(s);
}

static void kept_ran(struct env_work *work)
{
	struct store *s = CONTAINER_OF(work, struct store, kept_work);

	s->kept_busy = false;
}

int store_space_open(struct store *s, struct errbuf *e)
{
	struct vfs *vfs = space_vfs(s);
	uint64_t kept = 0, total, avail;
	struct vfs_file *f;

	s->kept_path = store_path(s, "reserve", e);
	if (s->kept_path == NULL)
		return -ENOMEM;
	if (vfs->ops->open(vfs, s->kept_path, O_RDONLY, 0, &f) == 0) {
		if (vfs->ops->size(f, &kept) == 0)
			s->kept = kept;
		vfs->ops->close(f);
	}
	if (vfs->ops->space(vfs, s->dir, &total, &avail) == 0 &&
	    avail < space_kept(total))
		(void)kept_drop(s);
	return 0;
}

/* --- looking --- */

void store_space_look(struct store *s)
{
	struct vfs *vfs = space_vfs(s);
	uint64_t total, avail;
	bool full;

	if (vfs->ops->space(vfs, s->dir, &total, &avail) != 0)
		return;
	full = avail + s->kept < store_reserve(total);
	if (full != s->full)
		log_warnx(full ? "disk is full: writes are refused, %llu of "
				 "%llu bytes are free"
			       : "disk has room again: %llu of %llu bytes are "
				 "free",
			  (unsigned long long)avail,
			  (unsigned long long)total);
	s->total = total;
	s->avail = avail;
	if (s->full && !full)
		s->kept_refused = false;
	s->full = full;
}

static void space_tick(struct env_timer *timer)
{
	struct store *s = CONTAINER_OF(timer, struct store, space_timer);

	store_space_look(s);
	if (!s->kept_busy && ((s->kept > 0 && kept_is_wanted(s)) ||
			      kept_can_be_made(s))) {
		s->kept_busy = true;
		env_work(s->loops[0].env, &s->kept_work);
	}
	env_timer_set(s->loops[0].env, timer, SPACE_NS);
}

void store_space(struct store *s, uint64_t *ret_total, uint64_t *ret_avail)
{
	*ret_total = s->total;
	*ret_avail = s->avail;
}

void store_on_space(void *arg, uint64_t *ret_total, uint64_t *ret_avail)
{
	struct store_loop *l = arg;

	store_space(l->store, ret_total, ret_avail);
}

/* --- life --- */

void store_space_init(struct store *s)
{
	(void)pthread_mutex_init(&s->kept_lock, NULL);
	s->space_timer.cb = space_tick;
	s->kept_work.run = kept_run;
	s->kept_work.done = kept_ran;
}

void store_space_start(struct store *s)
{
	env_timer_set(s->loops[0].env, &s->space_timer, SPACE_NS);
}

void store_space_stop(struct store *s)
{
	if (s->n_loops > 0)
		env_timer_cancel(s->loops[0].env, &s->space_timer);
}

void store_space_fini(struct store *s)
{
	(void)pthread_mutex_destroy(&s->kept_lock);
	mem_free(s->kept_path);
}
