/*
 * Life of the host; the turn.
 *
 * Everything that calls out (apply, send, outcomes, roles) runs in a turn: a
 * task posted when a group has work. A turn takes the groups that have work
 * in the order in which they got it, then sends the frames and hands the
 * records over to the flusher; so all submits of a loop turn, of all groups,
 * share one flush and one frame per peer.
 */
#include "common/raft/raft_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

/* What others are told of this store's disk. */
static void raft_host_look(struct raft_host *h)
{
	uint64_t mib = RAFT_CAPACITY;

	if (h->config.room != NULL)
		mib = h->config.room(h->config.arg) >> 20;
	h->capacity = mib < RAFT_CAPACITY ? (uint16_t)mib : RAFT_CAPACITY;
}

static void raft_host_turn(struct env_task *task)
{
	struct raft_host *h = CONTAINER_OF(task, struct raft_host, turn);
	struct raft_group *g = h->dirty;

	raft_host_look(h);
	h->turn_posted = false;
	h->dirty = NULL;
	h->dirty_tail = &h->dirty;
	while (g != NULL) {
		struct raft_group *next = g->dirty_next;

		g->dirty = false;
		g->dirty_next = NULL;
		raft_group_work(g);
		g = next;
	}
	raft_peers_flush(h);
	if (h->appended)
		seg_port_kick(h->port);
	h->appended = false;
	raft_cache_trim(h);
}

void raft_host_post_turn(struct raft_host *h)
{
	if (h->turn_posted)
		return;
	h->turn_posted = true;
	env_post(h->env, &h->turn);
}

void raft_host_dirty(struct raft_host *h, struct raft_group *g)
{
	if (!g->dirty) {
		g->dirty = true;
		g->dirty_next = NULL;
		*h->dirty_tail = g;
		h->dirty_tail = &g->dirty_next;
	}
	raft_host_post_turn(h);
}

/*
 * --- the timer ---
 *
 * A group of one needs none while it leads: thousands of them cost nothing. (It
 * is made to step down by one that was removed and has not heard of it.)
 */

static bool raft_group_rests(const struct raft_group *g)
{
	return g->one_voter && g->lead_term != 0;
}

void raft_host_arm(struct raft_host *h, const struct raft_group *g)
{
	uint64_t now = env_now_ms(h->env);
	uint64_t at = now + RAFT_TICK_MS;

	if (raft_group_rests(g))
		return;
	if (at < g->deadline)
		at = g->deadline;
	/* a timer that is near stays: steps must not put it off for ever */
	if (h->timer_ms != 0 && h->timer_ms <= at)
		return;
	h->timer_ms = at;
	env_timer_set(h->env, &h->timer, (at - now) * 1000000);
}

static void raft_host_timeout(struct raft_host *h, struct raft_group *g,
			      uint64_t now)
{
	if (h->leaving && raft_state(&g->r) != RAFT_LEADER) {
		g->deadline = now + h->config.election_ms;
		return;
	}
	raft_step_timeout(g);
	raft_group_watch(g);
	/* what was due is done, whatever the library says of idle spares */
	if (g->deadline <= now)
		g->deadline = now + h->config.heartbeat_ms;
}

static void raft_host_tick(struct env_timer *timer)
{
	struct raft_host *h = CONTAINER_OF(timer, struct raft_host, timer);
	uint64_t now = env_now_ms(h->env);
	struct raft_group *g, *first = NULL;

	raft_host_look(h);
	h->timer_ms = now; /* armed once, below, not by each step */
	for (g = h->groups; g != NULL; g = g->next) {
		if (g->state != RAFT_GROUP_RUNNING || raft_group_rests(g))
			continue;
		if (g->deadline <= now)
			raft_host_timeout(h, g, now);
		if (first == NULL || g->deadline < first->deadline)
			first = g;
	}
	h->timer_ms = 0;
	if (first != NULL)
		raft_host_arm(h, first);
}

/* --- groups --- */

struct raft_group *raft_host_find(struct raft_host *h, uint16_t group)
{
	struct raft_group **row = h->map[group >> 8];

	return row == NULL ? NULL : row[group & 255];
}

struct raft_group *raft_host_make(struct raft_host *h, uint16_t group)
{
	struct raft_group *g = raft_host_find(h, group);
	struct raft_group ***row = &h->map[group >> 8];

	if (g != NULL)
		return g;
	if (*row == NULL)
		*row = mem_calloc(256, sizeof **row);
	g = *row == NULL ? NULL : mem_zalloc(sizeof *g);
	if (g == NULL)
		return NULL;
	(*row)[group & 255] = g;
	g->h = h;
	g->id = group;
	buf_init(&g->gate, 64u << 20);
	rlog_init(&g->log);
	g->subs_tail = &g->subs;
	g->pend_tail = &g->pend;
	g->bars_tail = &g->bars;
	g->waits_tail = &g->waits;
	*h->groups_tail = g;
	h->groups_tail = &g->next;
	return g;
}

bool raft_host_has_group(struct raft_host *h, uint16_t group)
{
	return raft_host_find(h, group) != NULL;
}

static void raft_group_free(struct raft_group *g)
{
	raft_log_fini(g);
	raft_followers_free(g);
	mem_free(g->resets);
	raft_recover_no_run(g);
	buf_fini(&g->gate);
	if (g->r_init)
		raft_close(&g->r, NULL);
	mem_free(g);
}

/* --- life --- */

int raft_host_new(const struct raft_host_config *config,
		  struct raft_host **ret_host)
{
	struct raft_host *h = mem_zalloc(sizeof *h);

	assert(config->id > 0 && config->apply != NULL);
	if (h == NULL)
		return -ENOMEM;
	h->config = *config;
	h->env = config->env;
	h->port = config->port;
	h->log = config->log;
	if (h->config.election_ms == 0)
		h->config.election_ms = RAFT_ELECTION_MS;
	if (h->config.heartbeat_ms == 0)
		h->config.heartbeat_ms = RAFT_HEARTBEAT_MS;
	if (h->config.cache_bytes == 0)
		h->config.cache_bytes = RAFT_CACHE_BYTES;
	if (h->config.carry == 0)
		h->config.carry = RAFT_CARRY;
	if (h->config.tail == 0)
		h->config.tail = RAFT_TAIL;
	h->capacity = RAFT_CAPACITY;
	h->groups_tail = &h->groups;
	h->dirty_tail = &h->dirty;
	h->turn.run = raft_host_turn;
	h->timer.cb = raft_host_tick;
	TAILQ_INIT(&h->writes);
	TAILQ_INIT(&h->fresh);
	TAILQ_INIT(&h->cache);
	buf_init(&h->scratch, 0);
	buf_init(&h->read_buf, 0);
	(void)pthread_mutex_init(&h->hard_lock, NULL);
	*ret_host = h;
	return 0;
}

void raft_host_set_log(struct raft_host *h, struct seg_head *log,
		       struct seg_port *port)
{
	h->log = log;
	h->port = port;
}

/* Appends under way: their head is closed, done() will not come. */
static void raft_host_free_writes(struct raft_host *h)
{
	while (!TAILQ_EMPTY(&h->writes)) {
		struct raft_write *w = TAILQ_FIRST(&h->writes);

		TAILQ_REMOVE(&h->writes, w, link);
		w->in_flight = false;
		if (w->ap.type == SEG_ENTRY) {
			struct raft_body *b =
				CONTAINER_OF(w, struct raft_body, w);

			if (!b->in_log)
				raft_body_free(b);
		} else {
			mem_free(w);
		}
	}
}

void raft_host_free(struct raft_host *h)
{
	struct raft_group *g, *next;

	if (h == NULL)
		return;
	env_timer_cancel(h->env, &h->timer);
	env_timer_cancel(h->env, &h->leave_timer);
	for (g = h->groups; g != NULL; g = g->next)
		raft_group_fail_all(g, RPC_STATUS_UNKNOWN_OUTCOME);
	raft_host_free_writes(h);
	for (g = h->groups; g != NULL; g = next) {
		next = g->next;
		raft_group_free(g);
	}
	raft_peers_free(h);
	for (int i = 0; i < 256; i++)
		mem_free(h->map[i]);
	mem_free(h->hard);
	buf_fini(&h->scratch);
	buf_fini(&h->read_buf);
	(void)pthread_mutex_destroy(&h->hard_lock);
	mem_free(h);
}

/* Found by the scan and opened, or opened while the host runs. */
int raft_host_start_group(struct raft_group *g)
{
	if (!g->one_voter && g->h->config.send == NULL)
		return -EINVAL;
	return raft_group_start(g);
}

int raft_host_start(struct raft_host *h)
{
	assert(h->port != NULL && h->log != NULL && !h->started);
	h->started = true;
	for (struct raft_group *g = h->groups; g != NULL; g = g->next) {
		int rv;

		if (g->state != RAFT_GROUP_OPEN)
			continue;
		rv = raft_host_start_group(g);
		if (rv != 0)
			return rv;
	}
	return 0;
}

void raft_host_stats(const struct raft_host *h, struct raft_host_stats *ret)
{
	*ret = h->stats;
}

void raft_host_each(struct raft_host *h,
		    void (*f)(void *arg, struct raft_group *g), void *arg)
{
	for (struct raft_group *g = h->groups; g != NULL; g = g->next)
		if (g->state != RAFT_GROUP_FOUND)
			f(arg, g);
}
