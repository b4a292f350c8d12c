/*
 * Positions of a group's entries, and the bytes of recent ones.
 *
 * An entry's bytes are in memory from its append until it is durable and, in
 * a group of one voter, applied; with followers to feed, until the host's
 * cache is over its limit. Later they are read from the segment; the hash
 * kept in the index tells rot.
 *
 * The limit holds for all that is durable: what was applied goes first, the
 * oldest of it before the rest, then what waits to be applied (a group may be
 * parked for long, or have a slow leader). Both lists are in an order in which
 * only the first can be the next to go, so a turn pays for what it appended,
 * however many groups there are.
 */
#include "common/raft/raft_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/xxh.h"

#define RLOG_KEEP 64 /* entries of room that stay */

/* --- index --- */

void rlog_init(struct rlog *log)
{
	memset(log, 0, sizeof *log);
	log->first = 1;
}

struct rlog_ent *rlog_at(struct rlog *log, uint64_t index)
{
	if (index < log->first || index - log->first >= log->n)
		return NULL;
	return &log->ents[index - log->first];
}

int rlog_reserve(struct rlog *log, uint64_t n)
{
	if (log->n_confs == log->cap_confs) {
		unsigned cap = log->cap_confs == 0 ? 2 : log->cap_confs * 2;
		struct rlog_conf *p =
			mem_realloc(log->confs, cap * sizeof *p);

		if (p == NULL)
			return -ENOMEM;
		log->confs = p;
		log->cap_confs = cap;
	}
	if (log->n + n > log->cap) {
		/* grow by half: millions of entries should not double */
		uint64_t cap = log->n + n + log->n / 2 + 16;
		struct rlog_ent *p =
			mem_realloc(log->ents, cap * sizeof *p);

		if (p == NULL)
			return -ENOMEM;
		log->ents = p;
		log->cap = cap;
	}
	return 0;
}

void rlog_add(struct rlog *log, const struct rlog_ent *ent)
{
	assert(log->n < log->cap);
	log->ents[log->n++] = *ent;
}

int rlog_add_conf(struct rlog *log, uint64_t index, const void *p, size_t len)
{
	uint8_t *bytes = mem_dup(p, len);

	if (bytes == NULL)
		return -ENOMEM;
	assert(log->n_confs < log->cap_confs);
	log->confs[log->n_confs++] = (struct rlog_conf){ index, bytes, len };
	return 0;
}

const struct rlog_conf *rlog_conf_at(const struct rlog *log, uint64_t index)
{
	for (unsigned i = log->n_confs; i > 0; i--)
		if (log->confs[i - 1].index <= index)
			return &log->confs[i - 1];
	return NULL;
}

static void rlog_truncate_confs(struct rlog *log, uint64_t index)
{
	while (log->n_confs > 0 &&
	       log->confs[log->n_confs - 1].index >= index)
		mem_free(log->confs[--log->n_confs].bytes);
}

/* --- bodies --- */

static void raft_body_drop(struct raft_body *b)
{
	if (b->in_log || b->w.in_flight)
		return;
	mem_free(b->data);
	mem_free(b);
}

void raft_body_free(struct raft_body *b)
{
	if (b == NULL)
		return;
	assert(!b->in_log && !b->w.in_flight);
	raft_body_drop(b);
}

/* Takes the body out of the index and the cache. */
static void raft_body_unlog(struct raft_body *b)
{
	struct raft_host *h = b->w.g->h;

	if (b->applied)
		TAILQ_REMOVE(&h->cache, b, lru);
	else
		TAILQ_REMOVE(&h->fresh, b, lru);
	h->cache_bytes -= sizeof *b + b->len;
	b->in_log = false;
	raft_body_drop(b);
}

static void raft_body_written(struct seg_append *ap)
{
	struct raft_body *b = CONTAINER_OF(ap, struct raft_body, w.ap);
	struct raft_group *g = b->w.g;

	TAILQ_REMOVE(&g->h->writes, &b->w, link);
	b->w.in_flight = false;
	/*
	 * Truncated meanwhile: whatever is at its index now is another write.
	 * Else all entries before it are durable too, appends end in order.
	 */
	if (b->in_log) {
		g->stored = ap->a;
		if (!ap->loose)
			g->firm = ap->a;
		raft_host_dirty(g->h, g);
	}
	raft_host_seen(g->h, ap->pos.gen);
	raft_body_drop(b);
}

struct raft_body *raft_body_new(struct raft_group *g, uint8_t type,
				uint8_t *data, size_t len)
{
	struct raft_body *b = mem_zalloc(sizeof *b);

	if (b == NULL) {
		mem_free(data);
		return NULL;
	}
	b->w.g = g;
	b->w.ap.type = SEG_ENTRY;
	b->w.ap.flags = type;
	b->w.ap.group = g->id;
	b->w.ap.iov[0] = (struct iovec){ data, len };
	b->w.ap.niov = len > 0 ? 1 : 0;
	b->w.ap.done = raft_body_written;
	b->data = data;
	b->len = len;
	return b;
}

void raft_log_append(struct raft_group *g, struct raft_body *b, uint64_t term)
{
	struct raft_host *h = g->h;
	struct rlog_ent e = {
		.term = term,
		.u.body = b,
		.info = (uint32_t)b->w.ap.flags << RLOG_TYPE_SHIFT | RLOG_MEM |
			(uint32_t)b->len,
	};

	b->w.ap.a = rlog_last(&g->log) + 1;
	b->w.ap.b = term;
	if (b->w.ap.flags == RAFT_CHANGE &&
	    rlog_add_conf(&g->log, b->w.ap.a, b->data, b->len) != 0)
		fatal_abort("raft: out of memory for a configuration");
	rlog_add(&g->log, &e);
	b->in_log = true;
	if (b->w.ap.loose)
		g->loose = b->w.ap.a;
	TAILQ_INSERT_TAIL(&h->fresh, b, lru);
	h->cache_bytes += sizeof *b + b->len;
	b->w.in_flight = true;
	TAILQ_INSERT_TAIL(&h->writes, &b->w, link);
	seg_append(h->port, &b->w.ap);
	h->appended = true;
}

void raft_log_truncate(struct raft_group *g, uint64_t index)
{
	struct rlog *log = &g->log;

	assert(index > g->applied && index >= log->first);
	while (rlog_last(log) >= index) {
		struct rlog_ent *e = &log->ents[log->n - 1];

		if ((e->info & RLOG_MEM) != 0)
			raft_body_unlog(e->u.body);
		log->n--;
	}
	rlog_truncate_confs(log, index);
	if (g->stored >= index)
		g->stored = index - 1;
}

/* Entries [log->first, index) and what only they need. */
static void rlog_trim_confs(struct rlog *log, uint64_t index)
{
	unsigned n = 0;

	/* the one in force at index - 1 stays */
	while (n + 1 < log->n_confs && log->confs[n + 1].index < index)
		mem_free(log->confs[n++].bytes);
	if (n == 0)
		return;
	log->n_confs -= n;
	memmove(log->confs, log->confs + n, log->n_confs * sizeof *log->confs);
}

/* Gives memory back when little of it is used. */
static void rlog_shrink(struct rlog *log)
{
	uint64_t cap = log->n + RLOG_KEEP;
	struct rlog_ent *p;

	if (log->cap / 4 < cap)
		return;
	p = mem_realloc(log->ents, cap * sizeof *p);
	if (p == NULL)
		return;
	log->ents = p;
	log->cap = cap;
}

void raft_log_trim(struct raft_group *g, uint64_t index)
{
	struct rlog *log = &g->log;
	uint64_t gone = index - log->first;

	if (index <= log->first)
		return;
	if (gone > log->n) {
		assert(log->n == 0); /* or there would be a gap */
		gone = 0;
	}
	for (uint64_t i = 0; i < gone; i++) {
		struct rlog_ent *e = &log->ents[i];

		if ((e->info & RLOG_MEM) != 0)
			raft_body_unlog(e->u.body);
	}
	log->n -= gone;
	log->first = index;
	if (gone > 0)
		memmove(log->ents, log->ents + gone,
			log->n * sizeof *log->ents);
	rlog_trim_confs(log, index);
	rlog_shrink(log);
}

uint64_t raft_log_gen(struct raft_group *g, const struct rlog_ent *e)
{
	const struct raft_body *b;

	if ((e->info & RLOG_MEM) == 0)
		return e->u.gen;
	b = e->u.body;
	return b->w.in_flight ? g->h->seen_gen : b->w.ap.pos.gen;
}

/* From memory to a position; the entry is durable. */
static void raft_log_evict(struct rlog_ent *e)
{
	struct raft_body *b = e->u.body;

	e->u.gen = b->w.ap.pos.gen;
	e->off = (uint32_t)b->w.ap.body_off;
	e->hash = b->w.ap.hash.lo;
	e->info &= ~RLOG_MEM;
	raft_body_unlog(b);
}

void raft_log_applied(struct raft_group *g, uint64_t index)
{
	struct rlog_ent *e = rlog_at(&g->log, index);
	struct raft_host *h = g->h;
	struct raft_body *b;

	if (e == NULL || (e->info & RLOG_MEM) == 0)
		return;
	b = e->u.body;
	if (g->one_voter && index <= g->stored) {
		raft_log_evict(e);
		return;
	}
	TAILQ_REMOVE(&h->fresh, b, lru);
	TAILQ_INSERT_TAIL(&h->cache, b, lru);
	b->applied = true;
}

void raft_cache_trim(struct raft_host *h)
{
	while (h->cache_bytes > h->config.cache_bytes) {
		struct raft_body *b = TAILQ_FIRST(&h->cache);

		if (b == NULL)
			b = TAILQ_FIRST(&h->fresh);
		/* appends end in order: what is behind is in flight, too */
		if (b == NULL || b->w.in_flight)
			return;
		raft_log_evict(rlog_at(&b->w.g->log, b->w.ap.a));
	}
}

int raft_log_read(struct raft_group *g, uint64_t index,
		  struct wire_bytes *ret_data)
{
	struct rlog_ent *e = rlog_at(&g->log, index);
	struct buf *b = &g->h->read_buf;
	size_t len;
	int rv;

	assert(e != NULL);
	if ((e->info & RLOG_MEM) != 0) {
		*ret_data = wire_bytes(e->u.body->data, e->u.body->len);
		return 0;
	}
	if (rlog_type(e) == 0)
		return -EIO;
	len = e->info & RLOG_LEN;
	buf_reset(b);
	if (buf_reserve(b, len + 1) == NULL)
		return -ENOMEM;
	if (len > 0) {
		rv = seg_read(g->h->log, e->u.gen, e->off, b->data, len, 0);
		if (rv != 0)
			return rv == -ENOMEM ? rv : -EIO;
		if (XXH3_128bits(b->data, len).low64 != e->hash)
			return -EIO;
	}
	*ret_data = wire_bytes(b->data, len);
	return 0;
}

/* --- copies --- */

static void raft_copy_written(struct seg_append *ap)
{
	struct raft_body *b = CONTAINER_OF(ap, struct raft_body, w.ap);
	struct raft_group *g = b->w.g;
	struct rlog_ent *e = rlog_at(&g->log, ap->a);

	TAILQ_REMOVE(&g->h->writes, &b->w, link);
	b->w.in_flight = false;
	raft_host_seen(g->h, ap->pos.gen);
	g->carrying--;
	/* it may have been replaced, or gone, meanwhile */
	if (e != NULL && e->term == ap->b) {
		if ((e->info & RLOG_MEM) == 0) {
			e->u.gen = ap->pos.gen;
			e->off = (uint32_t)ap->body_off;
		} else if (!e->u.body->w.in_flight) {
			e->u.body->w.ap.pos = ap->pos;
			e->u.body->w.ap.body_off = ap->body_off;
		}
	}
	raft_body_drop(b);
}

static struct raft_body *raft_copy_new(struct raft_group *g, uint64_t index,
				       struct wire_u128 set)
{
	struct rlog_ent *e = rlog_at(&g->log, index);
	struct wire_bytes data;
	struct raft_body *b;
	uint8_t *bytes;

	if (raft_log_read(g, index, &data) != 0)
		return NULL;
	bytes = mem_dup(data.p, data.len);
	b = bytes == NULL ? NULL
			  : raft_body_new(g, (uint8_t)rlog_type(e), bytes,
					  data.len);
	if (b == NULL)
		return NULL;
	b->w.ap.a = index;
	b->w.ap.b = e->term;
	b->w.ap.id = set;
	b->w.ap.done = raft_copy_written;
	return b;
}

int raft_log_copy(struct raft_group *g, uint64_t from)
{
	uint64_t n = rlog_last(&g->log) + 1 - from, i;
	struct raft_body **copies = mem_calloc(n, sizeof *copies);
	struct wire_u128 set = { from, rlog_last(&g->log) };
	struct raft_host *h = g->h;

	if (copies == NULL)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		copies[i] = raft_copy_new(g, from + i, set);
		if (copies[i] == NULL)
			break;
	}
	if (i < n) {
		while (i > 0)
			raft_body_free(copies[--i]);
		mem_free(copies);
		return -EIO;
	}
	for (i = 0; i < n; i++) {
		copies[i]->w.in_flight = true;
		TAILQ_INSERT_TAIL(&h->writes, &copies[i]->w, link);
		g->carrying++;
		h->copied++;
		seg_append(h->port, &copies[i]->w.ap);
	}
	h->appended = true;
	raft_host_post_turn(h);
	mem_free(copies);
	return 0;
}

void rlog_fini(struct rlog *log)
{
	rlog_truncate_confs(log, 0);
	mem_free(log->confs);
	mem_free(log->ents);
	rlog_init(log);
}

void raft_log_fini(struct raft_group *g)
{
	struct rlog *log = &g->log;

	while (log->n > 0) {
		struct rlog_ent *e = &log->ents[--log->n];

		if ((e->info & RLOG_MEM) != 0)
			raft_body_unlog(e->u.body);
	}
	rlog_fini(log);
}
