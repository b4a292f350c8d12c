#ifndef GATEWAY_GW_HASH_H
#define GATEWAY_GW_HASH_H
/*
 * Digests of bodies off the loop. The jobs of all loops wait in one queue; a
 * worker takes up to S3_SUMS_MANY of them at a time, whose MD5s are then made
 * side by side: the more there is to do, the less one costs.
 *
 * Any loop may add; done() runs on the loop of the job's env, exactly once,
 * never inside gw_hash_add(). Of one s3_sums there is one job at a time.
 */
#include "common/base/env.h"

#include "gateway/s3_sum.h"

struct gw_hash;

/* Embedded in its owner, which stays with all it points to until done(). */
struct gw_hash_job {
	struct env *env;      /* of the loop that wants it */
	struct s3_sums *sums; /* may be NULL */
	uint8_t *data;
	size_t len;
	/* Before the digests, on the worker; may change len. May be NULL. */
	void (*prepare)(struct gw_hash_job *job);
	void (*done)(struct gw_hash_job *job);
	struct env_task task;     /* private */
	struct gw_hash_job *next; /* private */
};

/* workers: how many may hash at the same time. 0 or -ENOMEM. */
int gw_hash_new(unsigned workers, struct gw_hash **ret_hash);
/* After the loops have stopped, with no job under way. NULL is fine. */
void gw_hash_free(struct gw_hash *h);
void gw_hash_add(struct gw_hash *h, struct gw_hash_job *job);

#endif
