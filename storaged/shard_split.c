/*
 * The worker that splits huge directories: at the leader, in the background,
 * for directories and segments of them that have more than dir_split_names
 * entries here (decision 0034).
 *
 *   a command made one grow -> it is noted -> rows_sync -> a worker plans how
 *   many names should go, and from where -> DIR_SEGMENT: a number in another
 *   shard -> DIR_SPLIT, some hundred names -> a pause as long as that took ->
 *   DIR_SPLIT ... until they have gone -> the next one
 *
 * Every command leaves everything true, so it may end at any of them: nothing
 * is kept, a crash or another leader loses the rest of a plan and no name. A
 * number that was given and not used stays unused. What is still too large is
 * noted again when it grows.
 *
 * Failure modes: names that cannot be parted (RANGE with as many as may go), or
 * no room for segments: it is left alone until it has grown by a quarter. Too
 * many shards take part (TOO_MANY), or their rows are more than an entry of the
 * log may have (FBIG): fewer names. No space, no leader, a shard that does not
 * answer, no memory: it is tried again some times, each after twice the time of
 * the one before. A store of one shard has nowhere to go, and notes nothing.
 */
#include "storaged/shard_impl.h"

#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

enum {
	SPLIT_MOST = 1000000,  /* shard_config.dir_split_names */
	SPLIT_NAMES = 256,     /* of one command, to begin with */
	SPLIT_NAMES_MIN = 16,
	SPLIT_NAMES_MAX = 1024, /* the command takes no more */
	SPLIT_TRIES = 8,
};
#define SPLIT_SOON_NS 5000000u
#define SPLIT_PAUSE_NS 1000000u
#define SPLIT_PAUSE_MAX_NS 2000000000u
#define SPLIT_RETRY_NS UINT64_C(1000000000)

struct shard_split_job {
	struct shard_group *g;
	struct env_work work;
	struct env_timer timer; /* the pause */
	bool paused;            /* it is set */
	bool asking;            /* DIR_SEGMENT is under way: call */
	bool stop;              /* whatever is under way is the last */
	bool fewer;             /* as many as may go were too many */
	void *call;
	uint64_t dir;
	unsigned tries;         /* that failed before this one */
	struct buf from;        /* of the plan */
	uint64_t want, moved;   /* names */
	uint64_t segment;
	uint32_t names;         /* of the next command */
	uint64_t sent_ns;
	int rv;                 /* of the worker */
};

enum split_end {
	SPLIT_DONE,
	SPLIT_VAIN,   /* its names cannot be parted, or have no room */
	SPLIT_FAILED, /* for now */
};

static void split_tick(struct env_timer *timer);
static void split_next(struct env_timer *timer);

static uint64_t split_most(const struct shard_set *set)
{
	uint64_t most = set->config.dir_split_names;

	return most > 0 ? most : SPLIT_MOST;
}

/* --- what is noted --- */

static bool split_put(struct shard_split *s, uint64_t ino, uint64_t entries,
		      unsigned tries)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->noted[i].ino == ino)
			return false;
	if (s->n == SHARD_SPLIT_NOTED)
		return false; /* it is noted when it grows on */
	s->noted[s->n].ino = ino;
	s->noted[s->n].entries = entries;
	s->noted[s->n].tries = tries;
	s->n++;
	return true;
}

/* Was it tried in vain, and has not grown much? */
static bool split_is_vain(const struct shard_group *g, uint64_t ino,
			  uint64_t entries)
{
	const struct shard_split *s = &g->split;

	for (unsigned i = 0; i < SHARD_SPLIT_VAIN; i++)
		if (s->vain[i].ino == ino)
			return entries < s->vain[i].entries +
						 split_most(g->set) / 4;
	return false;
}

static void split_set_vain(struct shard_split *s, uint64_t ino,
			   uint64_t entries)
{
	unsigned i = 0;

	while (i < SHARD_SPLIT_VAIN && s->vain[i].ino != ino)
		i++;
	if (i == SHARD_SPLIT_VAIN)
		i = s->vain_at++ % SHARD_SPLIT_VAIN;
	s->vain[i].ino = ino;
	s->vain[i].entries = entries;
}

static void split_later(struct shard_group *g, uint64_t delay_ns)
{
	env_timer_set(g->set->env, &g->split.timer, delay_ns);
}

/* --- the end of a job --- */

static void split_free(struct shard_split_job *job)
{
	struct shard_config *config;

	if (job == NULL)
		return;
	config = &job->g->set->config;
	if (job->asking)
		config->call_cancel(config->arg, job->call);
	if (job->paused)
		env_timer_cancel(job->g->set->env, &job->timer);
	buf_fini(&job->from);
	mem_free(job);
}

static void split_end(struct shard_split_job *job, enum split_end end)
{
	struct shard_group *g = job->g;
	struct shard_split *s = &g->split;
	struct shard_stats *stats = &g->set->stats;
	uint64_t delay = 0;

	s->job = NULL;
	if (end == SPLIT_VAIN && !job->stop) {
		split_set_vain(s, job->dir, s->entries);
		shard_count(&stats->dir_split_vain, 1);
		log_info("shard=%u: directory %llx is left alone: its names "
			 "cannot be parted, or it has all segments it may",
			 g->id, (unsigned long long)job->dir);
	}
	if (end == SPLIT_FAILED && !job->stop) {
		shard_count(&stats->dir_split_failed, 1);
		delay = SPLIT_RETRY_NS << job->tries;
		if (job->tries + 1 < SPLIT_TRIES)
			split_put(s, job->dir, s->entries, job->tries + 1);
	}
	/* what is left to do there is planned anew */
	if (end == SPLIT_DONE && !job->stop && job->moved > 0)
		split_put(s, job->dir, s->entries, 0);
	split_free(job);
	if (g->leader && s->n > 0)
		split_later(g, delay);
}

/* --- names move --- */

static void split_pause(struct shard_split_job *job, uint64_t took)
{
	if (took < SPLIT_PAUSE_NS)
		took = SPLIT_PAUSE_NS;
	if (took > SPLIT_PAUSE_MAX_NS)
		took = SPLIT_PAUSE_MAX_NS;
	job->paused = true;
	env_timer_set(job->g->set->env, &job->timer, took);
}

/*
 * As many as one command may move. Not nearly all that are there: names that
 * cannot be parted would move on and on.
 */
static uint32_t split_names_max(const struct shard_split_job *job)
{
	uint64_t most = job->g->split.entries / 4 * 3;

	if (most == 0)
		return 1;
	return most < SPLIT_NAMES_MAX ? (uint32_t)most : SPLIT_NAMES_MAX;
}

/* For the next command: what is left to move, in pieces of a good size. */
static void split_set_names(struct shard_split_job *job)
{
	uint64_t n = job->want > job->moved ? job->want - job->moved : 0;

	if (n > SPLIT_NAMES)
		n = SPLIT_NAMES;
	if (n < SPLIT_NAMES_MIN)
		n = SPLIT_NAMES_MIN;
	job->names = (uint32_t)n;
	if (job->names > split_names_max(job))
		job->names = split_names_max(job);
}

static void split_moved(struct shard_split_job *job,
			const struct rpc_dir_split_rsp *rsp)
{
	struct shard_stats *stats = &job->g->set->stats;

	if (job->moved == 0)
		shard_count(&stats->dir_splits, 1);
	shard_count(&stats->dir_split_names, rsp->moved);
	job->moved += rsp->moved;
	job->g->split.entries = rsp->left;
	split_set_names(job);
}

/* Fewer or more of them: false when that was tried. */
static bool split_other(struct shard_split_job *job, uint32_t status)
{
	if (status != RPC_STATUS_RANGE) {
		job->fewer = true;
		job->names /= 2;
		return job->names >= SPLIT_NAMES_MIN;
	}
	if (job->fewer || job->names >= split_names_max(job))
		return false;
	job->names *= 2;
	if (job->names > split_names_max(job))
		job->names = split_names_max(job);
	return true;
}

static void split_done(void *arg, uint32_t status, struct buf *payload,
		       struct body *body)
{
	struct shard_split_job *job = arg;
	struct shard_group *g = job->g;
	uint64_t took = env_now_ns(g->set->env) - job->sent_ns;
	struct rpc_dir_split_rsp rsp;

	body_unref(body);
	if (g->set->closing)
		return;
	if (status == RPC_STATUS_OK &&
	    rpc_dir_split_rsp_decode(&rsp, payload->data, payload->len) != 0)
		status = RPC_STATUS_IO;
	switch (status) {
	case RPC_STATUS_OK:
		split_moved(job, &rsp);
		if (job->moved >= job->want || job->stop)
			split_end(job, SPLIT_DONE);
		else
			split_pause(job, took);
		return;
	case RPC_STATUS_RANGE:
	case RPC_STATUS_TOO_MANY:
	case RPC_STATUS_FBIG:
		if (!job->stop && split_other(job, status))
			split_pause(job, took);
		else
			split_end(job, job->moved > 0 ? SPLIT_DONE
						      : SPLIT_VAIN);
		return;
	case RPC_STATUS_NOENT: /* the directory or the segment went */
	case RPC_STATUS_STALE:
	case RPC_STATUS_INVAL:
		split_end(job, SPLIT_DONE);
		return;
	default:
		split_end(job, SPLIT_FAILED);
	}
}

/* The next command; its answer goes on. */
static void split_next(struct env_timer *timer)
{
	struct shard_split_job *job =
		CONTAINER_OF(timer, struct shard_split_job, timer);
	struct shard_group *g = job->g;
	struct rpc_dir_split req = {
		.dir = job->dir, .segment = job->segment, .names = job->names,
		.from = wire_bytes(job->from.data, job->from.len),
	};
	struct buf payload;
	int rv;

	job->paused = false;
	job->sent_ns = env_now_ns(g->set->env);
	buf_init(&payload, 0);
	rv = rpc_dir_split_encode(&req, &payload);
	if (rv == 0)
		rv = shard_call(g->set, g->id, RPC_TAG_dir_split, &payload,
				split_done, job);
	buf_fini(&payload);
	if (rv != 0)
		split_end(job, SPLIT_FAILED);
}

/* --- where they go --- */

static void split_numbered(void *arg, uint32_t status,
			   struct wire_bytes payload)
{
	struct shard_split_job *job = arg;
	struct rpc_dir_segment_rsp rsp;

	job->asking = false;
	if (status == RPC_STATUS_OK &&
	    rpc_dir_segment_rsp_decode(&rsp, payload.p, payload.len) != 0)
		status = RPC_STATUS_IO;
	if (status != RPC_STATUS_OK) {
		split_end(job, SPLIT_FAILED);
		return;
	}
	job->segment = rsp.segment;
	split_set_names(job);
	split_pause(job, 0);
}

static void split_ask(struct shard_split_job *job)
{
	struct shard_config *config = &job->g->set->config;
	uint16_t shard = config->segment_place(config->arg, job->g->id);
	struct rpc_dir_segment req = { .client = 0 };
	struct buf payload;
	int rv;

	if (shard == job->g->id) { /* there is no other one */
		split_end(job, SPLIT_DONE);
		return;
	}
	buf_init(&payload, 0);
	rv = rpc_dir_segment_encode(&req, &payload);
	if (rv == 0)
		rv = config->call(config->arg, shard, RPC_TAG_dir_segment,
				  &payload, split_numbered, job, &job->call);
	buf_fini(&payload);
	if (rv == 0)
		job->asking = true;
	else
		split_end(job, SPLIT_FAILED);
}

/* --- the plan --- */

static void split_plan_run(struct env_work *work)
{
	struct shard_split_job *job =
		CONTAINER_OF(work, struct shard_split_job, work);
	struct shard_set *set = job->g->set;

	job->rv = ns_split_plan(set->config.back, job->g->id, job->dir,
				split_most(set), &job->from, &job->want);
}

/* It is not that large, but for its segments: nor when it grows by a few. */
static void split_small(struct shard_split_job *job)
{
	struct shard_split *s = &job->g->split;

	if (!job->stop && s->entries > split_most(job->g->set))
		split_set_vain(s, job->dir, s->entries);
	split_end(job, SPLIT_DONE);
}

static void split_planned(struct env_work *work)
{
	struct shard_split_job *job =
		CONTAINER_OF(work, struct shard_split_job, work);

	if (job->rv != 0 && job->rv != -ENOMEM)
		log_warn(job->rv, "shard=%u: directory %llx cannot be split",
			 job->g->id, (unsigned long long)job->dir);
	if (job->rv != 0)
		split_end(job, SPLIT_FAILED);
	else if (job->want > 0 && !job->stop)
		split_ask(job);
	else
		split_small(job);
}

static void split_synced(void *arg, int status)
{
	struct shard_split_job *job = arg;

	if (status != 0)
		fatal_abort("shard=%u: rows cannot be written: %s", job->g->id,
			    strerror(-status));
	env_work(job->g->set->env, &job->work);
}

/* --- the shard's side --- */

static struct shard_split_job *split_job_new(struct shard_group *g)
{
	struct shard_split *s = &g->split;
	struct shard_split_job *job = mem_zalloc(sizeof *job);

	if (job == NULL)
		return NULL;
	job->g = g;
	job->dir = s->noted[0].ino;
	job->tries = s->noted[0].tries;
	buf_init(&job->from, 0);
	job->work.run = split_plan_run;
	job->work.done = split_planned;
	job->timer.cb = split_next;
	return job;
}

static void split_tick(struct env_timer *timer)
{
	struct shard_split *s = CONTAINER_OF(timer, struct shard_split, timer);
	struct shard_group *g = CONTAINER_OF(s, struct shard_group, split);
	struct shard_split_job *job;

	if (!g->leader || s->job != NULL || s->n == 0)
		return;
	job = split_job_new(g);
	if (job == NULL || rows_sync(g->set->rows, split_synced, job) != 0) {
		split_free(job); /* noted still */
		split_later(g, SPLIT_RETRY_NS);
		return;
	}
	s->job = job;
	s->entries = s->noted[0].entries;
	s->n--;
	memmove(s->noted, s->noted + 1, s->n * sizeof s->noted[0]);
}

void shard_split_init(struct shard_group *g)
{
	g->split.timer.cb = split_tick;
}

void shard_split_note(struct shard_group *g, const struct ns_answer *a)
{
	const struct shard_config *config = &g->set->config;
	struct shard_split *s = &g->split;

	if (a->large.entries <= split_most(g->set) || !g->leader ||
	    config->call == NULL || config->segment_place == NULL)
		return;
	if (s->job != NULL && s->job->dir == a->large.ino) {
		s->entries = a->large.entries;
		return; /* its end looks again */
	}
	if (split_is_vain(g, a->large.ino, a->large.entries) ||
	    config->segment_place(config->arg, g->id) == g->id ||
	    !split_put(s, a->large.ino, a->large.entries, 0))
		return;
	if (s->job == NULL && s->n == 1) /* else its end, or the timer, does */
		split_later(g, SPLIT_SOON_NS);
}

void shard_split_stop(struct shard_group *g)
{
	struct shard_split *s = &g->split;

	env_timer_cancel(g->set->env, &s->timer);
	s->n = 0;
	memset(s->vain, 0, sizeof s->vain);
	if (s->job == NULL)
		return;
	s->job->stop = true;
	if (!s->job->paused && !s->job->asking)
		return; /* it ends with what is under way */
	split_free(s->job);
	s->job = NULL;
}

void shard_split_free(struct shard_group *g)
{
	shard_split_stop(g);
	split_free(g->split.job);
	g->split.job = NULL;
}
