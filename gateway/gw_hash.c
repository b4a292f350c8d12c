/*
 * Happy path: a job is queued; if a crew is off duty it goes to a worker,
 * takes what waits and hashes it in rounds. Between rounds jobs that are done
 * go home and new ones join, until there are none. Back on its loop the crew is
 * off duty again, and starts anew for what came in between.
 * Failure modes: none; a crew is never lost, as env_work() cannot fail.
 */
#include "gateway/gw_hash.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

#include "common/base/mem.h"

/* Bytes of each job before others may join: full rounds are cheap ones. */
#define HASH_ROUND (32u << 10)

struct gw_crew {
	struct gw_hash *h;
	struct env_work work;
	bool busy; /* lock: from env_work() to done() */
};

struct gw_hash {
	pthread_mutex_t lock;
	struct gw_hash_job *queue, **tail; /* lock */
	unsigned n;
	struct gw_crew crews[];
};

/* What a crew has in hand, and how much of each job is done. */
struct gw_round {
	unsigned n;
	struct gw_hash_job *jobs[S3_SUMS_MANY];
	size_t done[S3_SUMS_MANY];
};

/* Takes more jobs, in the order of adding; false when none is left. */
static bool hash_take(struct gw_hash *h, struct gw_round *r)
{
	unsigned old = r->n;

	pthread_mutex_lock(&h->lock);
	while (r->n < S3_SUMS_MANY && h->queue != NULL) {
		r->done[r->n] = 0;
		r->jobs[r->n++] = h->queue;
		h->queue = h->queue->next;
	}
	if (h->queue == NULL)
		h->tail = &h->queue;
	pthread_mutex_unlock(&h->lock);
	for (unsigned i = old; i < r->n; i++)
		if (r->jobs[i]->prepare != NULL)
			r->jobs[i]->prepare(r->jobs[i]);
	return r->n > 0;
}

/* The next bytes of all jobs in hand; those that are done go home. */
static void hash_round(struct gw_round *r)
{
	struct s3_sums_run runs[S3_SUMS_MANY];
	unsigned left = 0;

	for (unsigned i = 0; i < r->n; i++) {
		struct gw_hash_job *job = r->jobs[i];
		size_t n = job->len - r->done[i];

		n = n < HASH_ROUND ? n : HASH_ROUND;
		runs[i] = (struct s3_sums_run){ job->sums,
						job->data + r->done[i], n };
		r->done[i] += n;
	}
	s3_sums_update_many(runs, r->n);
	for (unsigned i = 0; i < r->n; i++) {
		struct gw_hash_job *job = r->jobs[i];

		if (r->done[i] == job->len) {
			env_post(job->env, &job->task);
			continue;
		}
		r->jobs[left] = job;
		r->done[left++] = r->done[i];
	}
	r->n = left;
}

static void hash_run(struct env_work *work)
{
	struct gw_crew *crew = CONTAINER_OF(work, struct gw_crew, work);
	struct gw_round r = { 0 };

	while (hash_take(crew->h, &r)) {
		if (r.n == 1)
			sched_yield(); /* others may bring company */
		hash_round(&r);
	}
}

/* A crew that may go to work; call with the lock held. */
static struct gw_crew *hash_crew(struct gw_hash *h)
{
	for (unsigned i = 0; i < h->n && h->queue != NULL; i++)
		if (!h->crews[i].busy) {
			h->crews[i].busy = true;
			return &h->crews[i];
		}
	return NULL;
}

static void hash_done(struct env_work *work)
{
	struct gw_crew *crew = CONTAINER_OF(work, struct gw_crew, work);
	struct gw_hash *h = crew->h;

	pthread_mutex_lock(&h->lock);
	crew->busy = false;
	crew = hash_crew(h);
	pthread_mutex_unlock(&h->lock);
	if (crew != NULL)
		env_work(work->env, &crew->work);
}

static void hash_home(struct env_task *task)
{
	struct gw_hash_job *job = CONTAINER_OF(task, struct gw_hash_job, task);

	job->done(job);
}

void gw_hash_add(struct gw_hash *h, struct gw_hash_job *job)
{
	struct gw_crew *crew;

	job->task.run = hash_home;
	job->next = NULL;
	pthread_mutex_lock(&h->lock);
	*h->tail = job;
	h->tail = &job->next;
	crew = hash_crew(h);
	pthread_mutex_unlock(&h->lock);
	if (crew != NULL)
		env_work(job->env, &crew->work);
}

int gw_hash_new(unsigned workers, struct gw_hash **ret_hash)
{
	struct gw_hash *h;

	h = mem_zalloc(sizeof(*h) + workers * sizeof(h->crews[0]));
	if (h == NULL)
		return -ENOMEM;
	pthread_mutex_init(&h->lock, NULL);
	h->tail = &h->queue;
	h->n = workers;
	for (unsigned i = 0; i < workers; i++) {
		h->crews[i].h = h;
		h->crews[i].work.run = hash_run;
		h->crews[i].work.done = hash_done;
	}
	*ret_hash = h;
	return 0;
}

void gw_hash_free(struct gw_hash *h)
{
	if (h == NULL)
		return;
	pthread_mutex_destroy(&h->lock);
	mem_free(h);
}
