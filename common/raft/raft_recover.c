/*
 * From the records of the log head to groups that run.
 *
 * The scan begins where the newest START says, and hands records over in log
 * order: an ENTRY at or below the last index says that the tail from there on
 * was replaced, or, with the term of the one it knows, that it is a copy. So
 * the first entry of a group may have any index; what is below it is in the
 * rows. What cannot be true
 * (a gap, terms that go back, an entry above the hard term) is remembered and
 * told by raft_host_open_group(), never asserted: it comes from a disk.
 *
 * A record lost to rot leaves a gap. One below the applied index of a group
 * with one voter is harmless here: its bytes are not needed again by Raft.
 * With several voters the group must be fetched from the others. Behind the
 * last entry of a group there is no gap to be seen: there any record whose
 * owner is not known may have been the group's, acknowledged.
 */
#include "common/raft/raft_impl.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"

#define RAFT_HOLE_MAX (1u << 20) /* entries that one gap may span */

/* --- recovery --- */

/* Entries lost to rot before rec: empty places, term of what follows. */
static int raft_recover_hole(struct raft_group *g, const struct seg_rec *rec)
{
	struct rlog_ent hole = { .term = rec->b };
	uint64_t n = rec->a - rlog_last(&g->log) - 1;

	if (n > RAFT_HOLE_MAX) {
		g->damage = "its log has a gap";
		return 0;
	}
	if (rlog_reserve(&g->log, n + 1) != 0)
		return -ENOMEM;
	while (n-- > 0)
		rlog_add(&g->log, &hole);
	g->lost = rlog_last(&g->log);
	return 0;
}

/* --- copies (raft_trunc.c): they count when a set is whole --- */

static bool raft_recover_is_copy(const struct seg_rec *rec)
{
	return rec->id.hi != 0 && !RAFT_MUTATES(COPY_CUTS);
}

void raft_recover_no_run(struct raft_group *g)
{
	if (g->run == NULL)
		return;
	rlog_fini(&g->run->log);
	mem_free(g->run);
	g->run = NULL;
}

/* The set is whole: places of entries that are known, or what was missing. */
static void raft_recover_adopt(struct raft_group *g)
{
	struct rlog *log = &g->log, *run = &g->run->log;

	if (log->n == 0 || run->first < log->first) {
		raft_log_fini(g);
		*log = *run;
		rlog_init(run);
	} else {
		for (uint64_t i = 0; i < run->n; i++) {
			const struct rlog_ent *copy = &run->ents[i];
			struct rlog_ent *e = rlog_at(log, run->first + i);

			if (e == NULL || rlog_type(e) == 0 ||
			    e->term != copy->term)
				continue;
			if (e->info != copy->info || e->hash != copy->hash)
				g->damage = "its log has a copy of an entry "
					    "that is not the entry";
			else
				*e = *copy;
		}
	}
	raft_recover_no_run(g);
}

/*
 * A crash leaves the beginning of a set; a scan may begin in the middle of one,
 * with what is still needed of it. So what counts is the end.
 */
static int raft_recover_copy(struct raft_group *g, const struct seg_rec *rec,
			     const struct rlog_ent *e)
{
	struct raft_run *run = g->run;
	int rv;

	if (run == NULL || rec->a != rlog_last(&run->log) + 1 ||
	    run->last != rec->id.lo) {
		raft_recover_no_run(g);
		run = mem_zalloc(sizeof *run);
		if (run == NULL)
			return -ENOMEM;
		rlog_init(&run->log);
		run->log.first = rec->a;
		run->last = rec->id.lo;
		g->run = run;
	}
	rv = rlog_reserve(&run->log, 1);
	if (rv == 0 && rec->flags == RAFT_CHANGE)
		rv = rlog_add_conf(&run->log, rec->a, rec->body, rec->len);
	if (rv != 0)
		return rv;
	rlog_add(&run->log, e);
	if (rec->a == run->last)
		raft_recover_adopt(g);
	return 0;
}

/*
 * The scan began with entries of a tail that was replaced from further down:
 * what is needed begins here.
 */
static void raft_recover_restart(struct raft_group *g, uint64_t index)
{
	raft_log_truncate(g, g->log.first);
	g->log.first = index;
}

/* An entry's HARD record goes before it; else it rotted. */
static void raft_recover_term(struct raft_group *g, uint64_t term)
{
	if (term <= g->term)
		return;
	g->term = term; /* one voter can go on */
	g->vote = 0;
	g->lost_hard = true;
}

/* The log found so far is void: it goes on behind index. */
static void raft_recover_cut(struct raft_group *g, uint64_t index)
{
	raft_log_fini(g);
	g->log.first = index + 1;
	g->lost = 0;
	if (g->durable < index)
		g->durable = index;
	raft_group_say(g, index, 0);
}

static void raft_recover_no_resets(struct raft_group *g)
{
	mem_free(g->resets);
	g->resets = NULL;
	g->n_resets = 0;
}

/*
 * Snapshots were about to be installed. One counts when the rows say so, or
 * when the entry behind it is what was written next: whoever did not come so
 * far has entries to write before that one (raft_install.c).
 */
static void raft_recover_resets(struct raft_group *g, uint64_t next,
				uint64_t applied)
{
	for (unsigned i = g->n_resets; i > 0; i--) {
		uint64_t index = g->resets[i - 1];

		if (next != 0 ? next == index + 1 : applied >= index) {
			raft_recover_cut(g, index);
			break;
		}
	}
	raft_recover_no_resets(g);
}

/* 0 or -ENOMEM. */
static int raft_recover_reset(struct raft_group *g, const struct seg_rec *rec)
{
	uint64_t *p;

	if (rec->a >= RAFT_INDEX_MAX || (rec->a == 0) != (rec->b == 0)) {
		g->damage = "its log has an impossible snapshot";
		return 0;
	}
	if (rec->a == 0) { /* the group was dropped */
		raft_recover_no_resets(g);
		raft_recover_cut(g, 0);
		/* unless a later START knows better */
		if (rec->pos.gen >= g->durable_gen)
			g->durable = g->said_applied = g->said_moved = 0;
		raft_host_set_hard(g->h, g, g->term, g->vote);
		return 0;
	}
	p = mem_realloc(g->resets, (g->n_resets + 1) * sizeof *p);
	if (p == NULL)
		return -ENOMEM;
	p[g->n_resets++] = rec->a;
	g->resets = p;
	return 0;
}

static int raft_recover_entry(struct raft_group *g, const struct seg_rec *rec)
{
	struct rlog *log = &g->log;
	struct rlog_ent e = {
		.term = rec->b,
		.u.gen = rec->pos.gen,
		.hash = rec->hash.lo,
		.off = (uint32_t)(rec->pos.off + SEG_HEADER_LEN),
		.info = (uint32_t)rec->flags << RLOG_TYPE_SHIFT |
			(uint32_t)rec->len,
	};
	struct rlog_ent *before;
	int rv = 0;

	if (raft_recover_is_copy(rec))
		raft_recover_no_resets(g); /* they are of the old log */
	else
		raft_recover_resets(g, rec->a, 0);
	if (rec->a == 0 || rec->a >= RAFT_INDEX_MAX || rec->b == 0 ||
	    rec->flags < RAFT_COMMAND || rec->flags > RAFT_CHANGE ||
	    (rec->flags == RAFT_CHANGE &&
	     raft_conf_check(rec->body, rec->len) != 0))
		g->damage = "its log has an impossible entry";
	else if (raft_recover_is_copy(rec))
		return raft_recover_copy(g, rec, &e);
	raft_recover_no_run(g);
	if (g->damage != NULL)
		return 0;
	if (log->n == 0)
		log->first = rec->a;
	else if (rec->a < log->first)
		raft_recover_restart(g, rec->a);
	else if (rec->a <= rlog_last(log))
		raft_log_truncate(g, rec->a);
	else if (rec->a > rlog_last(log) + 1)
		rv = raft_recover_hole(g, rec);
	if (rv != 0 || g->damage != NULL)
		return rv;
	before = rlog_at(log, rec->a - 1);
	if (before != NULL && before->term > rec->b) {
		g->damage = "the terms in its log are not in order";
		return 0;
	}
	raft_recover_term(g, rec->b);
	if (g->lost >= rec->a)
		g->lost = rec->a - 1;
	g->last_seq = rec->seq;
	if (rlog_reserve(log, 1) != 0)
		return -ENOMEM;
	if (rec->flags == RAFT_CHANGE)
		rv = rlog_add_conf(log, rec->a, rec->body, rec->len);
	if (rv == 0)
		rlog_add(log, &e);
	return rv;
}

static void raft_recover_hard(struct raft_group *g, uint64_t term,
			      uint64_t vote)
{
	/* a table in a segment's header may be older than the records */
	if (term > g->term) {
		g->term = term;
		g->vote = vote;
	} else if (term == g->term && vote != 0) {
		g->vote = vote;
	}
	raft_host_set_hard(g->h, g, g->term, g->vote);
}

/* --- tables of raft_host_start_body(), one per loop of the writer --- */

typedef int (*raft_row_fn)(void *arg, const struct raft_hard_row *row);

/* The lowest need of all tables; f, if any, for each row. 0 or of f. */
static int raft_start_tables(const struct seg_rec *start, uint64_t *ret_need,
			     raft_row_fn f, void *arg)
{
	struct wire_reader r = {
		.p = start->body, .left = start->len, .strict = true
	};
	uint64_t need = UINT64_MAX;
	int rv = 0;

	while (r.err == 0 && r.left > 0 && rv == 0) {
		uint64_t gen;
		uint32_t n;

		wire_get_u64(&r, &gen);
		wire_get_u32(&r, &n);
		if (gen < need)
			need = gen;
		for (; n > 0 && r.err == 0 && rv == 0; n--) {
			struct raft_hard_row row;

			wire_get_u16(&r, &row.group);
			wire_get_u64(&r, &row.term);
			wire_get_u64(&r, &row.vote);
			wire_get_u64(&r, &row.applied);
			wire_get_u64(&r, &row.moved);
			if (r.err == 0 && f != NULL)
				rv = f(arg, &row);
		}
	}
	/* no table, or one that ends early, says nothing */
	*ret_need = r.err != 0 || need == UINT64_MAX ? 0 : need;
	return rv;
}

uint64_t raft_start_need(const struct seg_rec *start)
{
	uint64_t need;

	(void)raft_start_tables(start, &need, NULL, NULL);
	return need;
}

struct raft_rows_each {
	raft_start_row_fn f;
	void *arg;
};

static int raft_start_row(void *arg, const struct raft_hard_row *row)
{
	struct raft_rows_each *each = arg;

	return each->f(each->arg, row->group, row->applied, row->moved);
}

int raft_start_rows(const struct seg_rec *start, raft_start_row_fn f,
		    void *arg)
{
	struct raft_rows_each each = { f, arg };
	uint64_t need;

	return raft_start_tables(start, &need, raft_start_row, &each);
}

static int raft_recover_row(void *arg, const struct raft_hard_row *row)
{
	struct raft_host *h = arg;
	struct raft_group *g;

	if (h->config.owns != NULL && !h->config.owns(h->config.arg, row->group))
		return 0;
	g = raft_host_make(h, row->group);
	if (g == NULL)
		return -ENOMEM;
	g->known = true;
	/* the newest one is right: groups are dropped, and come back */
	if (h->start_read >= g->durable_gen) {
		g->durable_gen = h->start_read;
		g->durable = row->applied;
		g->said_applied = row->applied;
		g->said_moved = row->moved;
	}
	raft_recover_hard(g, row->term, row->vote);
	return 0;
}

static int raft_recover_start(struct raft_host *h, const struct seg_rec *rec)
{
	int rv;

	h->start_read = rec->pos.gen;
	rv = raft_start_tables(rec, &h->need, raft_recover_row, h);

	/* what was freed was freed by it, or by one before */
	h->free_below = h->need;
	/* the newest one comes first, then those on the way to it */
	if (h->need > h->read_from)
		h->read_from = h->need;
	return rv;
}

/*
 * Read for the sake of other groups: there may be gaps, what cut this tail may
 * be gone.
 */
static bool raft_recover_skips(const struct raft_group *g,
			       const struct seg_rec *rec)
{
	return rec->type != SEG_HARD && rec->pos.gen < g->h->read_from &&
	       !g->doubt;
}

int raft_host_recover(struct raft_host *h, const struct seg_rec *rec)
{
	struct raft_group *g;

	raft_host_seen(h, rec->pos.gen);
	if (rec->type == SEG_START && rec->body != NULL)
		return raft_recover_start(h, rec);
	if (rec->type != SEG_ENTRY && rec->type != SEG_HARD &&
	    rec->type != SEG_RESET)
		return 0;
	g = raft_host_make(h, rec->group);
	if (g == NULL)
		return -ENOMEM;
	g->known = true;
	if (g->damage != NULL)
		return 0;
	if (raft_recover_skips(g, rec))
		return 0;
	if (rec->type == SEG_ENTRY)
		return raft_recover_entry(g, rec);
	if (rec->type == SEG_RESET)
		return raft_recover_reset(g, rec);
	raft_recover_hard(g, rec->a, rec->b);
	return 0;
}

int raft_host_recover_doubt(struct raft_host *h, uint16_t group)
{
	struct raft_group *g = raft_host_make(h, group);

	if (g == NULL)
		return -ENOMEM;
	g->doubt = true;
	return 0;
}

/* The entry that rec was is lost. */
static void raft_recover_lost(struct raft_group *g, const struct seg_rec *rec)
{
	const struct rlog_ent *old = rlog_at(&g->log, rec->a);
	struct rlog_ent hole = { .term = rec->b };

	g->known = true;
	if (g->damage != NULL || (old != NULL && old->term == rec->b))
		return; /* or only a copy of it */
	if (rec->flags == RAFT_CHANGE || rec->a == 0 ||
	    rec->a >= RAFT_INDEX_MAX || rec->a <= rlog_last(&g->log))
		g->damage = "bit rot took what its log depends on";
	else if (g->log.n == 0)
		g->log.first = rec->a;
	else if (raft_recover_hole(g, rec) != 0)
		g->damage = "out of memory";
	if (g->damage != NULL)
		return;
	if (rlog_reserve(&g->log, 1) != 0) {
		g->damage = "out of memory";
		return;
	}
	raft_recover_term(g, rec->b);
	rlog_add(&g->log, &hole);
	g->lost = rec->a;
	g->last_seq = rec->seq;
}

void raft_host_recover_rot(struct raft_host *h, const struct seg_rot *rot)
{
	const struct seg_rec *rec = rot->rec;
	struct raft_group *g;

	if (rec == NULL)
		h->rot_seq = rot->seq + rot->n - 1;
	if (rec == NULL || rec->type == SEG_START)
		h->rot = true; /* hard state may be lost */
	if (rec == NULL || rec->type != SEG_ENTRY)
		return;
	g = raft_host_make(h, rec->group);
	if (g == NULL)
		h->rot_seq = rot->seq;
	else if (!raft_recover_skips(g, rec))
		raft_recover_lost(g, rec);
}

/* --- opening --- */

/* Whether this store is the only voter of the configuration in bytes. */
static int raft_conf_look(struct raft_group *g, uint8_t *p, size_t len)
{
	struct raft_buffer b = { p, len };
	struct raft_configuration c;
	int rv = raft_configuration_decode(&b, &c);

	if (rv != 0)
		return rv == RAFT_NOMEM ? -ENOMEM : -EIO;
	raft_group_look(g, &c);
	raft_configuration_close(&c);
	return 0;
}

/* The first entry of a new group, the same on all of its voters. */
static int raft_conf_make(const struct raft_group_config *config,
			  uint8_t **ret_bytes, size_t *ret_len)
{
	struct raft_configuration c;
	struct raft_buffer b = { 0 };
	int rv = 0;

	raft_configuration_init(&c);
	for (unsigned i = 0; i < config->n_voters && rv == 0; i++) {
		char address[24];

		(void)snprintf(address, sizeof address, "%" PRIu64,
			       config->voters[i]);
		rv = raft_configuration_add(&c, config->voters[i], address,
					    RAFT_VOTER);
	}
	if (rv == 0)
		rv = raft_configuration_encode(&c, &b);
	raft_configuration_close(&c);
	if (rv != 0)
		return rv == RAFT_NOMEM ? -ENOMEM : -EINVAL;
	*ret_bytes = mem_dup(b.base, b.len);
	*ret_len = b.len;
	raft_free(b.base);
	return *ret_bytes == NULL ? -ENOMEM : 0;
}

/* Hard state, then entry 1: nothing counts before both are durable. */
static int raft_group_bootstrap(struct raft_group *g,
				const struct raft_group_config *config)
{
	struct raft_body *b;
	uint8_t *bytes;
	size_t len;
	int rv = raft_conf_make(config, &bytes, &len);

	if (rv != 0)
		return rv;
	rv = raft_conf_look(g, bytes, len);
	if (rv == 0)
		rv = rlog_reserve(&g->log, 1);
	if (rv != 0) {
		mem_free(bytes);
		return rv;
	}
	b = raft_body_new(g, RAFT_CHANGE, bytes, len);
	if (b == NULL)
		return -ENOMEM;
	raft_group_hard(g, 1, 0);
	raft_log_append(g, b, 1);
	return 0;
}

/* The term of the last entry in the rows; 0: nobody knows it. */
static uint64_t raft_group_applied_term(struct raft_group *g,
					const struct raft_group_config *config)
{
	const struct rlog_ent *e = rlog_at(&g->log, config->applied);

	if (config->term != 0)
		return config->term;
	return e == NULL || rlog_type(e) == 0 ? 0 : e->term;
}

/*
 * What the log and the rows say about each other. -ESTALE with rows that are
 * not new enough for what is left of the log.
 */
static const char *raft_group_check(struct raft_group *g,
				    const struct raft_group_config *config,
				    int *ret_err)
{
	struct rlog *log = &g->log;
	uint64_t applied = config->applied;
	const struct rlog_ent *e = rlog_at(log, applied);

	*ret_err = -EIO;
	if (g->damage != NULL)
		return g->damage;
	if (!g->known && applied > 0)
		return "its log is gone";
	if (log->n == 0 && g->durable == 0 && applied == 0 &&
	    config->n_voters > 0 && (g->term > 1 || g->vote != 0))
		return "its entries are gone";
	if (applied > g->durable && applied > (log->n > 0 ? rlog_last(log) : 0))
		return "its rows are newer than its log";
	*ret_err = -ESTALE;
	/* the log may have what lies between */
	if (applied < g->durable &&
	    (log->n == 0 || log->first > applied + 1 ||
	     rlog_last(log) < g->durable))
		return applied == 0 ? "its rows are gone"
				    : "its rows are older than its log says";
	if (log->n > 0 && log->first > applied + 1)
		return "its rows are older than its log";
	*ret_err = -EIO;
	if (e != NULL && rlog_type(e) != 0 && config->term != 0 &&
	    e->term != config->term)
		return "its rows are those of another log";
	if (log->n > 0 && applied == 0 &&
	    rlog_type(&log->ents[0]) != RAFT_CHANGE)
		return "the beginning of its log is gone";
	if (applied > 0 && (rlog_conf_at(log, applied) == NULL ||
			    raft_group_applied_term(g, config) == 0))
		return "its rows do not say who its members are";
	if ((log->n > 0 || applied > 0) && !g->sole_voter &&
	    (g->h->rot || g->lost > 0 || g->lost_hard))
		return "its log lost records to bit rot";
	if (g->lost > applied)
		return "bit rot took entries that its rows need";
	if (g->known && g->h->rot_seq > g->last_seq)
		return "bit rot may have taken its last entries";
	return NULL;
}

/* The configuration that the rows have; the log may have it as well. */
static int raft_group_take_conf(struct raft_group *g,
				const struct raft_group_config *config)
{
	struct rlog *log = &g->log;
	const struct rlog_conf *c;
	unsigned i;
	int rv;

	if (config->conf.len == 0)
		return 0;
	if (config->conf_index == 0 || config->conf_index > config->applied ||
	    raft_conf_check(config->conf.p, config->conf.len) != 0)
		return -EIO;
	c = rlog_conf_at(log, config->conf_index);
	if (c != NULL && c->index == config->conf_index)
		return 0;
	rv = rlog_reserve(log, 0);
	if (rv == 0)
		rv = rlog_add_conf(log, config->conf_index, config->conf.p,
				   config->conf.len);
	if (rv != 0)
		return rv;
	/* added behind the others; to its place */
	for (i = log->n_confs - 1;
	     i > 0 && log->confs[i - 1].index > config->conf_index; i--) {
		struct rlog_conf later = log->confs[i - 1];

		log->confs[i - 1] = log->confs[i];
		log->confs[i] = later;
	}
	return 0;
}

static int raft_group_init(struct raft_group *g, struct errbuf *e)
{
	char address[24];
	unsigned seed;
	int rv;

	(void)snprintf(address, sizeof address, "%" PRIu64, g->h->config.id);
	rv = raft_init(&g->r, NULL, NULL, g->h->config.id, address);
	if (rv != 0)
		return errbuf_set(e, -ENOMEM, "group %u: out of memory", g->id);
	g->r_init = true;
	/* the default tracer formats into a static buffer at every step */
	g->r.tracer = NULL;
	env_random(g->h->env, &seed, sizeof seed);
	raft_seed(&g->r, seed);
	raft_set_election_timeout(&g->r, g->h->config.election_ms);
	raft_set_heartbeat_timeout(&g->r, g->h->config.heartbeat_ms);
	raft_set_install_snapshot_timeout(&g->r, g->h->config.election_ms);
	raft_set_pre_vote(&g->r, true);
	raft_set_max_inflight_entries(&g->r, RAFT_INFLIGHT);
	return 0;
}

int raft_host_open_group(struct raft_host *h,
			 const struct raft_group_config *config,
			 struct raft_group **ret_group, struct errbuf *e)
{
	struct raft_group *g = raft_host_make(h, config->group);
	const struct rlog_conf *c;
	const char *why;
	int rv;

	if (g == NULL)
		return errbuf_set(e, -ENOMEM, "group %u: out of memory",
				  config->group);
	assert(g->state == RAFT_GROUP_FOUND);
	raft_recover_resets(g, 0, config->applied);
	rv = raft_group_take_conf(g, config);
	c = rlog_conf_at(&g->log, UINT64_MAX);
	if (rv == 0 && c != NULL)
		rv = raft_conf_look(g, c->bytes, c->len);
	if (rv != 0)
		return errbuf_set(e, rv, "group %u: %s", g->id, strerror(-rv));
	why = raft_group_check(g, config, &rv);
	if (why != NULL)
		return errbuf_set(e, rv, "group %u cannot be opened: %s", g->id,
				  why);
	rv = raft_group_init(g, e);
	if (rv != 0)
		return rv;
	/* what is left may end below: the rows have all of it, and more */
	if (g->log.n > 0 && rlog_last(&g->log) < config->applied)
		raft_log_trim(g, rlog_last(&g->log) + 1);
	g->user = config->user;
	g->applied = config->applied;
	g->moved = config->moved;
	if (config->applied < g->said_applied) {
		/* what lies between may be in segments that START gave up */
		(void)pthread_mutex_lock(&h->hard_lock);
		h->behind = true;
		(void)pthread_mutex_unlock(&h->hard_lock);
	}
	raft_group_say(g, config->applied, config->moved);
	g->applied_term = raft_group_applied_term(g, config);
	g->durable = config->applied;
	g->commit = config->applied;
	if (g->one_voter || g->log.n == 0)
		raft_log_trim(g, g->applied + 1);
	g->stored = rlog_last(&g->log);
	if (g->log.n == 0 && g->applied == 0 && config->n_voters > 0) {
		rv = raft_group_bootstrap(g, config);
		if (rv != 0)
			return errbuf_set(e, rv, "group %u: %s", g->id,
					  strerror(-rv));
	}
	g->state = RAFT_GROUP_OPEN;
	g->opened++;
	*ret_group = g;
	return h->started ? raft_host_start_group(g) : 0;
}

int raft_group_start(struct raft_group *g)
{
	/*
	 * The library leads a group of one voter in the term it is given. Were
	 * that term used twice, entries of two lives could have the same index
	 * and term, and growing to three voters would not notice.
	 */
	if (g->sole_voter) {
		raft_group_hard(g, g->term + 1, g->h->config.id);
		g->own_term = g->term;
	}
	g->state = RAFT_GROUP_STARTING;
	raft_host_dirty(g->h, g);
	return 0;
}
