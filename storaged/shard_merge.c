/*
 * The worker that merges small extents: at the leader, in the background, for
 * regions whose lists have grown long (ns_merge.c says what and why).
 *
 *   a command made a list grow -> its region is noted -> rows_sync -> a worker
 *   plans runs and reads their bytes -> MERGE for each, one after the other ->
 *   the same region again while that pays, then the next one
 *
 * Failure modes: the region has changed (PRECONDITION), bytes cannot be read,
 * no memory, no leader any more: that run stays as it is; the list grows on and
 * is noted again. Too many regions at once: those that find no room are noted
 * when they grow again. Nothing is kept, a crash loses nothing.
 */
#include "storaged/shard_impl.h"

#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

#define MERGE_SOON_NS 5000000u /* writes in a row, one plan */

struct shard_merge_job {
	struct shard_group *g;
	struct env_work work;
	uint64_t ino, region;
	struct ns_merge *plan;
	struct body **bytes; /* of each run; NULL: could not be read */
	unsigned n, at;      /* runs; the one under way */
	int rv;              /* of the worker */
	bool stop;           /* not leader any more, or no memory */
};

static void merge_go(struct shard_merge_job *job);

static const struct ns_merge_rules *merge_rules(const struct shard_set *set)
{
	return set->config.merge != NULL ? set->config.merge
					 : &ns_merge_rules;
}

/* --- reading: worker --- */

/* The chunk that was read last serves all pieces of it that follow. */
struct merge_chunk {
	struct wire_u128 slice;
	uint32_t index;
	struct body *body;
};

static int merge_read_chunk(struct shard_set *set, const struct ns_piece *p,
			    struct merge_chunk *last, uint8_t *out)
{
	uint64_t off = p->off, end = p->off + p->len;

	while (off < end) {
		uint32_t index = (uint32_t)(off / WIRE_CHUNK);
		uint64_t in = off % WIRE_CHUNK, n = WIRE_CHUNK - in;

		if (n > end - off)
			n = end - off;
		if (last->body == NULL || last->index != index ||
		    !wire_u128_eq(last->slice, p->slice)) {
			body_unref(last->body);
			*last = (struct merge_chunk){ p->slice, index, NULL };
			last->body = set->config.chunk(set->config.arg,
						       p->slice, index);
		}
		if (last->body == NULL || in + n > last->body->len)
			return -ENOENT;
		memcpy(out, last->body->data + in, (size_t)n);
		out += n;
		off += n;
	}
	return 0;
}

/* The bytes of a run, holes as zeros; NULL: not all can be had. */
static struct body *merge_read_run(struct shard_set *set,
				   const struct ns_merge_run *run)
{
	struct merge_chunk last = { .body = NULL };
	struct body *b = body_new((size_t)run->len);
	int rv = 0;

	if (b == NULL)
		return NULL;
	memset(b->data, 0, (size_t)run->len);
	b->len = (uint32_t)run->len;
	for (unsigned i = 0; rv == 0 && i < run->n; i++) {
		const struct ns_piece *p = &run->pieces[i];
		uint8_t *out = b->data + (p->pos - run->pos);

		rv = p->is_chunk ? merge_read_chunk(set, p, &last, out)
				 : shard_value_read(set, &p->value, out, 0);
	}
	body_unref(last.body);
	if (rv == 0)
		return b;
	body_unref(b);
	return NULL;
}

static void merge_run(struct env_work *work)
{
	struct shard_merge_job *job =
		CONTAINER_OF(work, struct shard_merge_job, work);
	struct shard_set *set = job->g->set;
	const struct ns_merge_run *runs;

	job->rv = ns_merge_plan(set->config.back, job->g->id, job->ino,
				job->region, merge_rules(set),
				set->config.chunk != NULL, &job->plan);
	if (job->rv != 0)
		return;
	runs = ns_merge_runs(job->plan, &job->n);
	job->bytes = mem_calloc(job->n + 1, sizeof *job->bytes);
	if (job->bytes == NULL)
		job->n = 0;
	for (unsigned i = 0; i < job->n; i++)
		job->bytes[i] = merge_read_run(set, &runs[i]);
}

/* --- the job --- */

static void merge_free(struct shard_merge_job *job)
{
	if (job == NULL)
		return;
	for (unsigned i = 0; job->bytes != NULL && i < job->n; i++)
		body_unref(job->bytes[i]);
	mem_free(job->bytes);
	ns_merge_free(job->plan);
	mem_free(job);
}

static void merge_end(struct shard_merge_job *job)
{
	struct shard_group *g = job->g;
	bool again = !job->stop && job->n > 0 && ns_merge_more(job->plan);
	uint64_t ino = job->ino, region = job->region;

	g->merge.job = NULL;
	merge_free(job);
	if (again)
		shard_merge_wake(g, ino, region);
	if (g->leader && g->merge.n > 0)
		env_timer_set(g->set->env, &g->merge.timer, 0);
}

static void merge_done(void *arg, uint32_t status, struct buf *payload,
		       struct body *body)
{
	struct shard_merge_job *job = arg;
	struct shard_group *g = job->g;

	(void)payload;
	body_unref(body);
	if (g->set->closing)
		return;
	if (status == RPC_STATUS_OK)
		g->set->stats.merges++;
	else if (status != RPC_STATUS_PRECONDITION)
		job->stop = true;
	job->at++;
	merge_go(job);
}

static int merge_send(struct shard_merge_job *job,
		      const struct ns_merge_run *run, const struct body *bytes)
{
	struct rpc_merge req = {
		.ino = job->ino, .pos = run->pos, .len = run->len,
		.print = run->print,
		.data = wire_bytes(bytes->data, bytes->len),
	};
	struct buf payload;
	int rv;

	buf_init(&payload, 0);
	rv = rpc_merge_encode(&req, &payload);
	if (rv == 0)
		rv = shard_call(job->g->set, job->g->id, RPC_TAG_merge,
				&payload, merge_done, job);
	buf_fini(&payload);
	return rv;
}

/* Sends the next run that could be read; ends behind the last. */
static void merge_go(struct shard_merge_job *job)
{
	const struct ns_merge_run *runs;
	unsigned n;

	if (!job->g->leader)
		job->stop = true;
	if (!job->stop && job->n > 0) {
		runs = ns_merge_runs(job->plan, &n);
		while (job->at < job->n && job->bytes[job->at] == NULL)
			job->at++;
		if (job->at < job->n) {
			if (merge_send(job, &runs[job->at],
				       job->bytes[job->at]) == 0)
				return; /* merge_done() goes on */
			job->stop = true;
		}
	}
	merge_end(job);
}

static void merge_ran(struct env_work *work)
{
	struct shard_merge_job *job =
		CONTAINER_OF(work, struct shard_merge_job, work);

	if (job->rv != 0)
		log_warn(job->rv, "shard=%u: extents of inode=%llx cannot be "
			 "merged", job->g->id, (unsigned long long)job->ino);
	merge_go(job);
}

static void merge_synced(void *arg, int status)
{
	struct shard_merge_job *job = arg;

	if (status != 0)
		fatal_abort("shard=%u: rows cannot be written: %s", job->g->id,
			    strerror(-status));
	env_work(job->g->set->env, &job->work);
}

/* --- the shard's side --- */

static void merge_tick(struct env_timer *timer)
{
	struct shard_merge *m = CONTAINER_OF(timer, struct shard_merge, timer);
	struct shard_group *g = CONTAINER_OF(m, struct shard_group, merge);
	struct shard_merge_job *job;

	if (!g->leader || m->job != NULL || m->n == 0)
		return;
	job = mem_zalloc(sizeof *job);
	if (job == NULL)
		return; /* noted still; the next growth ticks again */
	job->g = g;
	job->ino = m->noted[0].ino;
	job->region = m->noted[0].region;
	job->work.run = merge_run;
	job->work.done = merge_ran;
	if (rows_sync(g->set->rows, merge_synced, job) != 0) {
		mem_free(job);
		return;
	}
	m->job = job;
	m->n--;
	memmove(m->noted, m->noted + 1, m->n * sizeof m->noted[0]);
}

void shard_merge_init(struct shard_group *g)
{
	g->merge.timer.cb = merge_tick;
}

void shard_merge_wake(struct shard_group *g, uint64_t ino, uint64_t region)
{
	struct shard_merge *m = &g->merge;

	for (unsigned i = 0; i < m->n; i++)
		if (m->noted[i].ino == ino && m->noted[i].region == region)
			return;
	if (m->n == SHARD_MERGE_NOTED)
		return;
	m->noted[m->n].ino = ino;
	m->noted[m->n].region = region;
	m->n++;
	if (m->job == NULL) /* else its end sees it */
		env_timer_set(g->set->env, &m->timer, MERGE_SOON_NS);
}

void shard_merge_note(struct shard_group *g, const struct ns_answer *a)
{
	uint32_t at = merge_rules(g->set)->at;

	/* now and then while it grows: what was merged in vain is tried again */
	if (a->grown.n >= at && g->leader &&
	    a->grown.n % (at / 2 > 0 ? at / 2 : 1) == 0)
		shard_merge_wake(g, a->grown.ino, a->grown.region);
}

void shard_merge_stop(struct shard_group *g)
{
	env_timer_cancel(g->set->env, &g->merge.timer);
	g->merge.n = 0;
}

void shard_merge_free(struct shard_group *g)
{
	shard_merge_stop(g);
	merge_free(g->merge.job);
	g->merge.job = NULL;
}
