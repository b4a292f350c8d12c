/*
 * From the records of the log head to groups that run.
 *
 * The scan hands records over in log order: an ENTRY at or below the last
 * index says that the tail from there on was replaced. What cannot be true
 * (a gap, terms that go back, an entry above the hard term) is remembered and
 * told by raft_host_open_group(), never asserted: it comes from a disk.
 *
 * A record lost to rot leaves a gap. One below the applied index of a group
 * with one voter is harmless here: its bytes are not needed again by Raft.
 * With several voters the group must be fetched from the others.
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

	if (rec->a == 0 || rec->a >= RAFT_INDEX_MAX || rec->b == 0 ||
	    rec->flags < RAFT_COMMAND || rec->flags > RAFT_CHANGE ||
	    (rec->flags == RAFT_CHANGE &&
	     raft_conf_check(rec->body, rec->len) != 0))
		g->damage = "its log has an impossible entry";
	else if (log->n == 0)
		log->first = rec->a;
	else if (rec->a < log->first)
		g->damage = "its log begins twice";
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
	if (rec->b > g->term) {
		/* its HARD record went before it: rot; one voter can go on */
		g->term = rec->b;
		g->vote = 0;
		g->lost_hard = true;
	}
	if (g->lost >= rec->a)
		g->lost = rec->a - 1;
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

/* Tables of raft_host_start_body(), one per host of the store. */
static void raft_recover_start(struct raft_host *h, const struct seg_rec *rec)
{
	struct wire_reader r = {
		.p = rec->body, .left = rec->len, .strict = true
	};

	while (r.err == 0 && r.left > 0) {
		uint32_t n;

		wire_get_u32(&r, &n);
		for (; n > 0 && r.err == 0; n--) {
			struct raft_hard_row row;
			struct raft_group *g;

			wire_get_u16(&r, &row.group);
			wire_get_u64(&r, &row.term);
			wire_get_u64(&r, &row.vote);
			wire_get_u64(&r, &row.first);
			g = raft_host_find(h, row.group);
			if (r.err == 0 && g != NULL)
				raft_recover_hard(g, row.term, row.vote);
		}
	}
}

int raft_host_recover(struct raft_host *h, const struct seg_rec *rec)
{
	struct raft_group *g;

	if (rec->type == SEG_START && rec->body != NULL)
		raft_recover_start(h, rec);
	if (rec->type != SEG_ENTRY && rec->type != SEG_HARD)
		return 0;
	g = raft_host_make(h, rec->group);
	if (g == NULL)
		return -ENOMEM;
	if (g->damage != NULL)
		return 0;
	if (rec->type == SEG_ENTRY)
		return raft_recover_entry(g, rec);
	raft_recover_hard(g, rec->a, rec->b);
	return 0;
}

void raft_host_recover_rot(struct raft_host *h)
{
	h->rot = true;
}

/* --- opening --- */

/* Whether this store is the only server of the configuration in bytes. */
static int raft_conf_alone(struct raft_host *h, uint8_t *p, size_t len,
			   bool *ret_alone)
{
	struct raft_buffer b = { p, len };
	struct raft_configuration c;
	int rv = raft_configuration_decode(&b, &c);

	if (rv != 0)
		return rv == RAFT_NOMEM ? -ENOMEM : -EIO;
	*ret_alone = c.n == 1 && c.servers[0].id == h->config.id &&
		     c.servers[0].role == RAFT_VOTER;
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
	rv = raft_conf_alone(g->h, bytes, len, &g->one_voter);
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

/* What the log and the rows say about each other. */
static int raft_group_check(struct raft_group *g,
			    const struct raft_group_config *config,
			    struct errbuf *e)
{
	struct rlog *log = &g->log;
	const char *why = g->damage;

	if (why == NULL && log->n == 0 && config->applied > 0)
		why = "its log is gone";
	if (why == NULL && log->n == 0 && config->n_voters > 0 &&
	    (g->term > 1 || g->vote != 0))
		why = "its entries are gone";
	if (why == NULL && log->n > 0 &&
	    (log->first != 1 || rlog_type(&log->ents[0]) != RAFT_CHANGE))
		why = "the beginning of its log is gone";
	if (why == NULL && config->applied > rlog_last(log))
		why = "its rows are newer than its log";
	if (why == NULL && log->n > 0 && !g->one_voter &&
	    (g->h->rot || g->lost > 0 || g->lost_hard))
		why = "its log lost records to bit rot";
	if (why == NULL && g->lost > config->applied)
		why = "bit rot took entries that its rows need";
	if (why == NULL)
		return 0;
	return errbuf_set(e, -EIO, "group %u cannot be opened: %s", g->id,
			  why);
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
	int rv = 0;

	if (g == NULL)
		return errbuf_set(e, -ENOMEM, "group %u: out of memory",
				  config->group);
	assert(g->state == RAFT_GROUP_FOUND);
	c = rlog_conf_at(&g->log, UINT64_MAX);
	if (c != NULL)
		rv = raft_conf_alone(h, c->bytes, c->len, &g->one_voter);
	if (rv == 0)
		rv = raft_group_check(g, config, e);
	else
		errbuf_set(e, rv, "group %u: %s", g->id, strerror(-rv));
	if (rv == 0)
		rv = raft_group_init(g, e);
	if (rv != 0)
		return rv;
	g->user = config->user;
	g->applied = config->applied;
	g->commit = config->applied;
	g->stored = rlog_last(&g->log);
	if (g->log.n == 0 && config->n_voters > 0) {
		rv = raft_group_bootstrap(g, config);
		if (rv != 0)
			return errbuf_set(e, rv, "group %u: %s", g->id,
					  strerror(-rv));
	}
	g->state = RAFT_GROUP_OPEN;
	*ret_group = g;
	return 0;
}

int raft_group_start(struct raft_group *g)
{
	/*
	 * The library leads a group of one voter in the term it is given. Were
	 * that term used twice, entries of two lives could have the same index
	 * and term, and growing to three voters would not notice.
	 */
	if (g->one_voter)
		raft_group_hard(g, g->term + 1, g->h->config.id);
	g->state = RAFT_GROUP_STARTING;
	raft_host_dirty(g->h, g);
	return 0;
}
