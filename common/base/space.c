#include "common/base/space.h"

#include <errno.h>
#include <fcntl.h>

#include "common/base/log.h"
#include "common/base/mem.h"

/*
 * How often free space is looked at, and what is kept free. Between two looks
 * both heads of a store may each open a segment and pre-write the next one
 * (64 MiB), and a fast disk takes some 200 MiB more.
 */
#define SPACE_NS 100000000u
#define SPACE_RESERVE_MIN ((uint64_t)256 << 20)
#define SPACE_RESERVE_MAX ((uint64_t)1 << 30)

/* Half of a disk that is no larger than a few segments. */
uint64_t space_reserve(uint64_t total)
{
	uint64_t reserve = total / 50;

	if (reserve > SPACE_RESERVE_MAX)
		return SPACE_RESERVE_MAX;
	if (reserve < SPACE_RESERVE_MIN)
		reserve = SPACE_RESERVE_MIN;
	return reserve < total / 2 ? reserve : total / 2;
}

/* How much of it is the file. */
static uint64_t space_kept(const struct space *s, uint64_t total)
{
	uint64_t kept = space_reserve(total) / s->share;

	return kept < s->most ? kept : s->most;
}

/* --- the file --- */

bool space_give(struct space *s)
{
	struct vfs *vfs = s->env->vfs;
	uint64_t kept;

	(void)pthread_mutex_lock(&s->lock);
	kept = s->kept;
	if (kept > 0)
		(void)vfs->ops->unlink(vfs, s->path);
	s->kept = 0;
	(void)pthread_mutex_unlock(&s->lock);
	if (kept > 0)
		log_warnx("disk is full: %llu bytes that were kept for that "
			  "are free now", (unsigned long long)kept);
	return kept > 0;
}

static void space_make(struct space *s)
{
	uint64_t want = space_kept(s, s->total);
	struct vfs *vfs = s->env->vfs;
	struct vfs_file *f;
	int rv;

	(void)pthread_mutex_lock(&s->lock);
	rv = vfs->ops->open(vfs, s->path, O_RDWR | O_CREAT, 0600, &f);
	if (rv == 0) {
		rv = vfs->ops->allocate(f, want);
		vfs->ops->close(f);
		if (rv != 0)
			(void)vfs->ops->unlink(vfs, s->path);
	}
	s->kept = rv == 0 ? want : 0;
	s->refused = rv != 0; /* not again before it was full */
	(void)pthread_mutex_unlock(&s->lock);
	if (rv != 0)
		log_warn(rv, "%s cannot be made", s->path);
}

static bool space_wants_it(const struct space *s)
{
	return s->avail < space_kept(s, s->total);
}

static bool space_can_make(const struct space *s)
{
	return s->kept == 0 && !s->refused && s->keep &&
	       s->avail >= space_reserve(s->total);
}

static void space_run(struct env_work *work)
{
	struct space *s = CONTAINER_OF(work, struct space, work);

	if (space_wants_it(s))
		(void)space_give(s);
	else if (space_can_make(s))
		space_make(s);
}

static void space_ran(struct env_work *work)
{
	struct space *s = CONTAINER_OF(work, struct space, work);

	s->busy = false;
}

/* --- looking --- */

void space_look(struct space *s)
{
	struct vfs *vfs = s->env->vfs;
	uint64_t total, avail;
	bool full;

	if (vfs->ops->space(vfs, s->dir, &total, &avail) != 0)
		return;
	full = avail + s->kept < space_reserve(total);
	if (full != s->full)
		log_warnx(full ? "disk of %s is full: writes are refused, "
				 "%llu of %llu bytes are free"
			       : "disk of %s has room again: %llu of %llu "
				 "bytes are free",
			  s->dir, (unsigned long long)avail,
			  (unsigned long long)total);
	s->total = total;
	s->avail = avail;
	if (s->full && !full)
		s->refused = false;
	s->full = full;
}

uint64_t space_room(const struct space *s)
{
	uint64_t total = s->total, avail = s->avail + s->kept;

	if (total == 0)
		return UINT64_MAX;
	return avail < space_reserve(total) ? 0 : avail - space_reserve(total);
}

static void space_tick(struct env_timer *timer)
{
	struct space *s = CONTAINER_OF(timer, struct space, timer);

	space_look(s);
	if (!s->busy &&
	    ((s->kept > 0 && space_wants_it(s)) || space_can_make(s))) {
		s->busy = true;
		env_work(s->env, &s->work);
	}
	env_timer_set(s->env, timer, SPACE_NS);
}

/* --- life --- */

void space_init(struct space *s)
{
	(void)pthread_mutex_init(&s->lock, NULL);
	s->timer.cb = space_tick;
	s->work.run = space_run;
	s->work.done = space_ran;
	s->keep = true;
}

int space_open(struct space *s, struct env *env, const char *dir,
	       uint64_t share, uint64_t most)
{
	struct vfs *vfs = env->vfs;
	uint64_t kept = 0, total, avail;
	struct vfs_file *f;

	s->env = env;
	s->dir = dir;
	s->share = share;
	s->most = most;
	s->path = mem_printf("%s/reserve", dir);
	if (s->path == NULL)
		return -ENOMEM;
	if (vfs->ops->open(vfs, s->path, O_RDONLY, 0, &f) == 0) {
		if (vfs->ops->size(f, &kept) == 0)
			s->kept = kept;
		vfs->ops->close(f);
	}
	if (vfs->ops->space(vfs, dir, &total, &avail) == 0 &&
	    avail < space_kept(s, total))
		(void)space_give(s);
	return 0;
}

void space_keep_nothing(struct space *s)
{
	s->keep = false;
}

void space_start(struct space *s)
{
	env_timer_set(s->env, &s->timer, SPACE_NS);
}

void space_stop(struct space *s)
{
	if (s->env != NULL)
		env_timer_cancel(s->env, &s->timer);
}

void space_fini(struct space *s)
{
	(void)pthread_mutex_destroy(&s->lock);
	mem_free(s->path);
}
