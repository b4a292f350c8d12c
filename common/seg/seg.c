/*
 * Heads and ports: open, close, hand-over between loops and the flusher.
 *
 * An append travels: port->queue (loop) -> port->pending (kick, lock) ->
 * port->batch (flusher) -> port->ready (lock) -> done() on the loop.
 */
#include "common/seg/seg_int.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/vfs_dir.h"

/* --- ports --- */

void seg_port_kick(struct seg_port *port)
{
	struct seg_head *head = port->head;

	if (port->queue == NULL || head == NULL)
		return;
	(void)pthread_mutex_lock(&head->lock);
	*port->pending_tail = port->queue;
	port->pending_tail = port->queue_tail;
	(void)pthread_mutex_unlock(&head->lock);
	port->queue = NULL;
	port->queue_tail = &port->queue;
	if (head->config.bulk)
		env_thread_kick(head->env, head->flusher);
	else
		(void)env_thread_lend(port->env, head->flusher, seg_flush_lent);
}

static void seg_port_turn(struct env_task *task)
{
	struct seg_port *port = CONTAINER_OF(task, struct seg_port, turn);

	port->turn_posted = false;
	seg_port_kick(port);
}

/* The port may be freed by the last done(). */
static void seg_port_done(struct env_task *task)
{
	struct seg_port *port = CONTAINER_OF(task, struct seg_port, done);
	struct seg_head *head = port->head;
	struct seg_append *a;

	/* without a head (closed meanwhile) nobody else is there */
	if (head != NULL)
		(void)pthread_mutex_lock(&head->lock);
	a = port->ready;
	port->ready = NULL;
	port->ready_tail = &port->ready;
	port->done_posted = false;
	if (head != NULL)
		(void)pthread_mutex_unlock(&head->lock);
	while (a != NULL) {
		struct seg_append *next = a->next;

		port->under_way--;
		a->done(a);
		a = next;
	}
}

void seg_append(struct seg_port *port, struct seg_append *a)
{
	uint64_t len = 0;

	assert(a->niov >= 0 && a->niov <= SEG_IOV);
	assert(a->done != NULL);
	assert(a->type != SEG_NONE || (a->niov == 0 && !a->roll));
	for (int i = 0; i < a->niov; i++)
		len += a->iov[i].iov_len;
	assert(len <= SEG_BODY_MAX);
	a->next = NULL;
	port->under_way++;
	*port->queue_tail = a;
	port->queue_tail = &a->next;
	if (!port->turn_posted) {
		port->turn_posted = true;
		env_post(port->env, &port->turn);
	}
}

int seg_port_new(struct seg_head *head, struct env *env,
		 struct seg_port **ret_port)
{
	struct seg_port *port = mem_zalloc(sizeof(*port));

	if (port == NULL)
		return -ENOMEM;
	port->head = head;
	port->env = env;
	port->queue_tail = &port->queue;
	port->pending_tail = &port->pending;
	port->ready_tail = &port->ready;
	port->held_tail = &port->held;
	port->turn.run = seg_port_turn;
	port->done.run = seg_port_done;
	(void)pthread_mutex_lock(&head->lock);
	port->next = head->ports;
	head->ports = port;
	(void)pthread_mutex_unlock(&head->lock);
	*ret_port = port;
	return 0;
}

bool seg_port_idle(const struct seg_port *port)
{
	return port->under_way == 0;
}

void seg_port_free(struct seg_port *port)
{
	if (port == NULL)
		return;
	if (port->head != NULL) {
		struct seg_port **at;

		(void)pthread_mutex_lock(&port->head->lock);
		assert(port->pending == NULL && port->ready == NULL &&
		       port->held == NULL);
		at = &port->head->ports;
		while (*at != port)
			at = &(*at)->next;
		*at = port->next;
		(void)pthread_mutex_unlock(&port->head->lock);
	}
	mem_free(port);
}

/* --- heads --- */

/* Stops nothing, writes nothing: memory and files only. */
static void seg_head_free(struct seg_head *head)
{
	struct seg_port *port = head->ports;

	while (port != NULL) {
		struct seg_port *next = port->next;

		port->head = NULL;
		port = next;
	}
	seg_direct_close(head);
	seg_pool_close(head);
	seg_table_free(head);
	buf_fini(&head->start_buf);
	mem_free(head->voids);
	mem_free(head->stage);
	mem_free(head->dir);
	(void)pthread_cond_destroy(&head->files_idle);
	(void)pthread_mutex_destroy(&head->files_lock);
	(void)pthread_mutex_destroy(&head->lock);
	mem_free(head);
}

static void seg_head_defaults(struct seg_head *head)
{
	struct seg_config *c = &head->config;

	if (c->segment_size == 0)
		c->segment_size = SEG_SIZE_DEFAULT;
	if (c->first_size == 0)
		c->first_size = SEG_FIRST_DEFAULT;
	if (c->first_size > c->segment_size)
		c->first_size = c->segment_size;
	/* bulk segments are written once, in large pieces: no zeros first */
	if (c->bulk)
		c->pool = 0;
	else if (c->pool == 0)
		c->pool = 1;
	if (c->pool > SEG_POOL_MAX)
		c->pool = SEG_POOL_MAX;
}

static int seg_head_threads(struct seg_head *head)
{
	int rv;

	rv = env_thread_new(head->env, head->config.bulk ? "bulk" : "log",
			    seg_flush_run, head, &head->flusher);
	if (rv != 0 || head->config.pool == 0)
		return rv;
	return env_thread_new(head->env, "pool", seg_pool_run, head,
			      &head->filler);
}

int seg_head_open(struct env *env, const struct seg_config *config,
		  struct seg_head **ret_head, struct errbuf *e)
{
	struct seg_head *head = mem_zalloc(sizeof(*head));
	int rv = -ENOMEM;

	if (head == NULL)
		return errbuf_set(e, rv, "out of memory");
	(void)pthread_mutex_init(&head->lock, NULL);
	(void)pthread_mutex_init(&head->files_lock, NULL);
	(void)pthread_cond_init(&head->files_idle, NULL);
	head->env = env;
	head->vfs = env->vfs;
	head->config = *config;
	buf_init(&head->start_buf, SEG_BODY_MAX - SEG_START_FIXED);
	head->dir = mem_strdup(config->dir);
	head->config.dir = head->dir;
	if (head->dir == NULL) {
		errbuf_set(e, rv, "out of memory");
		goto fail;
	}
	seg_head_defaults(head);
	rv = vfs_make_dir(head->vfs, head->dir);
	if (rv != 0) {
		errbuf_set(e, rv, "cannot make %s: %s", head->dir,
			   strerror(-rv));
		goto fail;
	}
	rv = seg_recover(head, e);
	if (rv != 0)
		goto fail;
	seg_pool_adopt(head);
	rv = seg_head_threads(head);
	if (rv != 0) {
		errbuf_set(e, rv, "cannot start a thread: %s", strerror(-rv));
		goto fail;
	}
	*ret_head = head;
	return 0;
fail:
	seg_head_abandon(head);
	return rv;
}

void seg_head_abandon(struct seg_head *head)
{
	if (head == NULL)
		return;
	env_thread_free(head->env, head->flusher);
	env_thread_free(head->env, head->filler);
	seg_head_free(head);
}

void seg_head_close(struct seg_head *head)
{
	if (head == NULL)
		return;
	env_thread_free(head->env, head->flusher);
	env_thread_free(head->env, head->filler);
	head->filler = NULL;
	seg_flush_close(head);
	seg_head_free(head);
}

void seg_head_stats(struct seg_head *head, struct seg_stats *ret)
{
	const uint64_t *from = (const uint64_t *)&head->stats;
	uint64_t *to = (uint64_t *)ret;

	_Static_assert(sizeof(*ret) % sizeof(uint64_t) == 0, "only counters");
	for (size_t i = 0; i < sizeof(*ret) / sizeof(uint64_t); i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

uint64_t seg_head_start_gen(struct seg_head *head)
{
	return __atomic_load_n(&head->start_gen, __ATOMIC_ACQUIRE);
}

bool seg_head_is_loose(struct seg_head *head)
{
	return __atomic_load_n(&head->loose, __ATOMIC_ACQUIRE);
}

uint64_t seg_head_last_seq(struct seg_head *head)
{
	return __atomic_load_n(&head->last_seq, __ATOMIC_RELAXED);
}
