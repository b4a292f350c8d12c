/*
 * Snapshots for a member that lags behind the log of its leader; a group that
 * goes away.
 *
 * Through Raft go only index and term of a snapshot, and the owner fetches the
 * rows out of band. That takes its time, and what it gets is newer than what
 * the leader had spoken of. So the library is told nothing of the leader's
 * message. When the owner has the rows aside, durable, it says which state
 * they are, and only then the library gets a message, as if the leader had
 * sent just this snapshot; from there on there is no way back.
 *
 * Happy path: INSTALL_SNAPSHOT -> lags() -> (owner fetches) ->
 * raft_group_install(): the library drops its log, we ours -> RESET record
 * durable -> install(): the rows take the place of the old ones, durable ->
 * raft_group_installed() -> the library is told, and tells the leader.
 *
 * Failure modes:
 * - The process dies before the rows were replaced: log and rows are the old
 *   ones, the RESET record means nothing, as what is appended next is not the
 *   entry behind it. After that: the rows say so, and RESET says that they may
 *   be newer than the log (raft_recover.c).
 * - The member caught up otherwise, or there is another leader, while the owner
 *   fetched: -EALREADY, -EAGAIN; nothing was done.
 * - Trap F, order of snapshots: no checkpoint of our own counts while one is
 *   installed or behind it (raft_group_checkpoint, raft_step_snapshot), and
 *   none is applied or appended meanwhile.
 */
#include "common/raft/raft_impl.h"

#include <assert.h>
#include <errno.h>

#include "common/base/log.h"
#include "common/base/mem.h"

/* --- the RESET record --- */

static void raft_reset_written(struct seg_append *ap)
{
	struct raft_write *w = CONTAINER_OF(ap, struct raft_write, ap);
	struct raft_group *g = w->g;

	TAILQ_REMOVE(&g->h->writes, w, link);
	raft_host_seen(g->h, ap->pos.gen);
	g->reset_written = true;
	mem_free(w);
	raft_host_dirty(g->h, g);
}

/* All of the log so far is void; it goes on behind that entry. */
static void raft_reset_append(struct raft_group *g, uint64_t index,
			      uint64_t term)
{
	struct raft_host *h = g->h;
	struct raft_write *w = mem_zalloc(sizeof *w);

	if (w == NULL)
		fatal_abort("raft: out of memory for a snapshot");
	w->g = g;
	w->in_flight = true;
	w->ap.type = SEG_RESET;
	w->ap.group = g->id;
	w->ap.a = index;
	w->ap.b = term;
	w->ap.done = raft_reset_written;
	TAILQ_INSERT_TAIL(&h->writes, w, link);
	seg_append(h->port, &w->ap);
	h->appended = true;
	raft_host_post_turn(h);
}

/* --- a snapshot arrives --- */

void raft_install_lags(struct raft_group *g, uint64_t from)
{
	g->lags_from = from;
	raft_host_dirty(g->h, g);
}

int raft_group_install(struct raft_group *g, const struct raft_base *s)
{
	if (g->state != RAFT_GROUP_RUNNING || g->installing || g->halfway)
		return -EAGAIN;
	if (s->index == 0 || s->index >= RAFT_INDEX_MAX || s->term == 0 ||
	    s->conf_index == 0 || s->conf_index > s->index ||
	    raft_conf_check(s->conf.p, s->conf.len) != 0)
		return -EINVAL;
	if (s->index <= g->applied || raft_step_has(g, s->index, s->term))
		return -EALREADY;
	if (raft_state(&g->r) != RAFT_FOLLOWER ||
	    g->r.follower_state.current_leader.id == 0 ||
	    s->term > raft_current_term(&g->r))
		return -EAGAIN;
	raft_step_install(g, s);
	return g->installing ? 0 : -EALREADY;
}

void raft_install_begin(struct raft_group *g,
			const struct raft_base *s)
{
	assert(!g->installing && !g->halfway);
	g->installing = true;
	g->install_index = s->index;
	g->install_term = s->term;
	g->reset_written = false;
	raft_log_fini(g);
	g->log.first = s->index + 1;
	if (rlog_reserve(&g->log, 0) != 0 ||
	    rlog_add_conf(&g->log, s->conf_index, s->conf.p, s->conf.len) != 0)
		fatal_abort("raft: out of memory for a snapshot");
	g->stored = s->index;
	raft_reset_append(g, s->index, s->term);
}

void raft_group_installed(struct raft_group *g)
{
	assert(g->installing && g->asked_install);
	g->installed = true;
	raft_host_dirty(g->h, g);
}

static void raft_install_end(struct raft_group *g)
{
	uint64_t index = g->install_index;

	g->installing = g->installed = g->asked_install = false;
	g->applied = g->durable = index;
	g->moved = g->said_moved = 0;
	g->said_applied = index;
	g->applied_term = g->install_term;
	if (g->commit < index)
		g->commit = index;
	raft_host_set_hard(g->h, g, g->term, g->vote);
	g->h->passed++;
	g->h->stats.installs++;
	raft_step_installed(g, index, g->install_term);
}

/* --- a group goes away --- */

static void raft_drop_begin(struct raft_group *g, struct raft_drop *d)
{
	assert(g->drop == NULL);
	g->drop = d;
	g->reset_written = false;
	g->state = RAFT_GROUP_DROPPED;
	raft_group_fail_all(g, RPC_STATUS_NOT_LEADER);
	raft_log_fini(g);
	g->stored = g->commit = g->applied = g->durable = 0;
	g->loose = g->firm = g->cut_index = 0;
	g->moved = g->said_applied = g->said_moved = 0;
	g->damage = NULL;
	g->lost = 0;
	/* first: a START behind RESET must not speak of rows any more */
	raft_host_set_hard(g->h, g, g->term, g->vote);
	raft_reset_append(g, 0, 0);
}

int raft_group_drop(struct raft_group *g, uint64_t removed,
		    struct raft_drop *d)
{
	const struct rlog_conf *c = rlog_conf_at(&g->log, UINT64_MAX);

	if (g->state != RAFT_GROUP_RUNNING || g->installing || g->halfway)
		return -EAGAIN;
	if (g->voter && c != NULL && removed <= c->index)
		return -EBUSY;
	raft_drop_begin(g, d);
	return 0;
}

int raft_host_drop(struct raft_host *h, uint16_t group, struct raft_drop *d)
{
	struct raft_group *g = raft_host_make(h, group);

	assert(h->started);
	if (g == NULL)
		return -ENOMEM;
	if (g->state != RAFT_GROUP_FOUND)
		return -EBUSY;
	raft_drop_begin(g, d);
	return 0;
}

/* Term and vote stay: it may come back, and has voted. */
static void raft_drop_end(struct raft_group *g)
{
	struct raft_drop *d = g->drop;

	if (g->r_init)
		raft_close(&g->r, NULL);
	g->r_init = false;
	g->lead_term = g->lead_index = 0;
	g->leading = g->stepped_down = false;
	if (g->told && g->h->config.role != NULL)
		g->h->config.role(g->h->config.arg, g, false);
	g->told = false;
	raft_followers_free(g);
	buf_reset(&g->gate);
	g->drop = NULL;
	g->one_voter = g->sole_voter = g->voter = false;
	g->n_voters = 0;
	g->state = RAFT_GROUP_FOUND;
	d->done(d);
}

bool raft_install_step(struct raft_group *g)
{
	struct raft_host_config *config = &g->h->config;
	uint64_t from = g->lags_from;

	if (g->state == RAFT_GROUP_DROPPED) {
		if (g->reset_written && g->hard_pending == 0 &&
		    g->carrying == 0)
			raft_drop_end(g);
		return false;
	}
	if (g->installed)
		raft_install_end(g);
	if (g->installing && g->reset_written && !g->asked_install) {
		g->asked_install = true;
		config->install(config->arg, g);
	}
	g->lags_from = 0;
	if (from != 0 && !g->installing && config->lags != NULL)
		config->lags(config->arg, g, from);
	return true;
}
