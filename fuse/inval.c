#include "fuse/inval.h"

#include <errno.h>
#include <pthread.h>

#include "common/base/mem.h"
#include "fuse/mount.h"

/* Beyond it the pages live until the next open: still close-to-open. */
#define INVAL_MAX 1024
#define INVAL_DELAY_NS UINT64_C(20000000)

struct inval {
	struct fuse_session *se; /* borrowed */
	struct env *env;
	struct env_thread *thread;
	struct env_timer kick; /* loop only */
	bool kicking;          /* loop only */
	pthread_mutex_t lock;
	uint64_t node[INVAL_MAX]; /* guarded by lock */
	unsigned n;               /* guarded by lock */
	bool busy;                /* guarded by lock */
	bool closed;              /* guarded by lock */
};

static uint64_t inval_run(void *arg)
{
	struct inval *v = arg;

	for (;;) {
		uint64_t node;

		pthread_mutex_lock(&v->lock);
		node = v->n > 0 ? v->node[--v->n] : 0;
		v->busy = node != 0;
		pthread_mutex_unlock(&v->lock);
		if (node == 0)
			return ENV_THREAD_IDLE;
		/* -ENOENT: the kernel has forgotten it already. */
		(void)fuse_lowlevel_notify_inval_inode(v->se, node, 0, 0);
	}
}

/*
 * Only now, when the reply that brought the news has been taken in: the kernel
 * ignores attributes of replies that a notification overtook.
 */
static void inval_kick(struct env_timer *timer)
{
	struct inval *v = CONTAINER_OF(timer, struct inval, kick);

	v->kicking = false;
	env_thread_kick(v->env, v->thread);
}

int inval_start(struct mount *m)
{
	struct inval *v = mem_zalloc(sizeof(*v));
	int rv;

	if (v == NULL)
		return -ENOMEM;
	v->se = m->se;
	v->env = m->env;
	v->kick.cb = inval_kick;
	pthread_mutex_init(&v->lock, NULL);
	rv = env_thread_new(m->env, "inval", inval_run, v, &v->thread);
	if (rv != 0) {
		pthread_mutex_destroy(&v->lock);
		mem_free(v);
		return rv;
	}
	m->inval = v;
	return 0;
}

void inval_stop(struct mount *m)
{
	struct inval *v = m->inval;

	if (v == NULL)
		return;
	m->inval = NULL;
	env_timer_cancel(v->env, &v->kick);
	env_thread_free(v->env, v->thread);
	pthread_mutex_destroy(&v->lock);
	mem_free(v);
}

bool inval_quiesce(struct mount *m)
{
	struct inval *v = m->inval;
	bool busy;

	if (v == NULL)
		return true;
	pthread_mutex_lock(&v->lock);
	v->closed = true;
	v->n = 0;
	busy = v->busy || v->kicking;
	pthread_mutex_unlock(&v->lock);
	return !busy;
}

void inval_pages(struct mount *m, uint64_t node)
{
	struct inval *v = m->inval;

	if (v == NULL)
		return;
	pthread_mutex_lock(&v->lock);
	if (v->n < INVAL_MAX && !v->closed)
		v->node[v->n++] = node;
	pthread_mutex_unlock(&v->lock);
	if (v->kicking)
		return;
	v->kicking = true;
	env_timer_set(v->env, &v->kick, INVAL_DELAY_NS);
}

void inval_attr(struct mount *m, uint64_t node)
{
	/* off < 0: attributes alone. */
	if (m->se != NULL && m->state != MOUNT_GONE)
		(void)fuse_lowlevel_notify_inval_inode(m->se, node, -1, 0);
}
