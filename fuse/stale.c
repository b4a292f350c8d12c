#include "fuse/stale.h"

#define STALE_WALK_NS UINT64_C(1000000000)
#define STALE_BACK_NS UINT64_C(100000000)  /* from one walk to the next */
#define STALE_AHEAD_NS UINT64_C(100000000) /* from the LOOKUP to the OPEN */

static void stale_clear(struct mount_stale *s)
{
	struct finode *f = s->ahead;

	*s = (struct mount_stale){ 0 };
	if (f == NULL)
		return;
	ops_close(f);
	finode_unref(f);
}

static struct mount_stale *stale_new(struct fop *op)
{
	struct mount *m = op->m;
	struct mount_stale *s = &m->stale[m->stale_next++ % MOUNT_STALE_MAX];

	stale_clear(s);
	s->pid = op->pid;
	return s;
}

/* Of the thread of op, the next one behind s; NULL: the first one, the end. */
static struct mount_stale *stale_next(const struct fop *op,
				      struct mount_stale *s)
{
	struct mount_stale *end = op->m->stale + MOUNT_STALE_MAX;

	for (s = s == NULL ? op->m->stale : s + 1; s < end; s++)
		if (s->pid == op->pid && s->pid != 0)
			return s;
	return NULL;
}

void stale_note_open(struct fop *op)
{
	struct mount_stale *s = stale_new(op);

	s->ino = op->f->ino;
	s->opens = true;
	s->at_ns = env_now_ns(op->m->env);
}

void stale_note_lookup(struct fop *op, bool known)
{
	struct mount_stale *s;

	if (op->walk_ns != 0 && !op->starts)
		return;
	s = stale_new(op);
	s->ino = op->f->ino;
	s->twice = known && !op->told_twice && op->walk_ns == 0;
	s->at_ns = env_now_ns(op->m->env);
}

bool stale_take(struct fop *op)
{
	struct mount_stale *s = NULL;

	while ((s = stale_next(op, s)) != NULL)
		if (s->ino == op->f->ino) {
			stale_clear(s);
			return true;
		}
	return false;
}

void stale_looked_up(struct fop *op)
{
	uint64_t now = env_now_ns(op->m->env);
	struct mount_stale *s = NULL;

	while ((s = stale_next(op, s)) != NULL) {
		uint64_t age = now - s->at_ns;

		if (s->ino == op->f->ino) {
			op->told = !s->twice && age < STALE_BACK_NS;
			op->told_twice = s->twice && age < STALE_BACK_NS;
		} else if (age < STALE_WALK_NS) {
			op->walk_ns = s->at_ns;
			op->walk_opens = s->opens;
			op->starts = s->opens && s->ino != 0;
		}
		stale_clear(s);
	}
}

bool stale_walk_opens(const struct fop *op)
{
	return op->walk_opens &&
	       env_now_ns(op->m->env) - op->walk_ns < STALE_WALK_NS;
}

void stale_walk_on(struct fop *op)
{
	struct mount_stale *s;

	if (op->walk_ns == 0)
		return;
	s = stale_new(op);
	s->opens = op->walk_opens;
	s->at_ns = op->walk_ns;
}

void stale_ahead(struct fop *op, struct finode *f)
{
	struct mount_stale *s = stale_new(op);

	s->opens = true; /* the kernel may look it up twice */
	s->at_ns = op->walk_ns;
	s->ahead = finode_ref(f);
	s->ahead_ns = env_now_ns(op->m->env);
	s->session = client_session(op->m->client);
}

bool stale_take_ahead(struct fop *op)
{
	uint64_t now = env_now_ns(op->m->env);
	struct mount_stale *s = NULL;

	while ((s = stale_next(op, s)) != NULL)
		if (s->ahead == op->f && now - s->ahead_ns < STALE_AHEAD_NS &&
		    s->session == client_session(op->m->client)) {
			finode_unref(s->ahead);
			s->ahead = NULL;
			stale_clear(s);
			return true;
		}
	return false;
}

void stale_expire(struct mount *m, uint64_t before_ns)
{
	for (unsigned i = 0; i < MOUNT_STALE_MAX; i++)
		if (m->stale[i].ahead != NULL &&
		    m->stale[i].ahead_ns < before_ns)
			stale_clear(&m->stale[i]);
}
