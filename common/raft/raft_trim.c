#include "common/raft/raft_trim.h"

#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/raft/raft_impl.h"

struct raft_trim {
	struct raft_host *h;
	struct seg_free f;
	uint64_t gen;
	bool busy;
};

static void trim_next(struct raft_trim *t);

static void trim_freed(struct seg_free *f, int status)
{
	struct raft_trim *t = CONTAINER_OF(f, struct raft_trim, f);

	t->busy = false;
	if (status != 0)
		log_warn(status, "log segment %llx cannot be freed",
			 (unsigned long long)f->gen);
	else
		trim_next(t);
}

static void trim_next(struct raft_trim *t)
{
	uint64_t below = raft_host_free_below(t->h);
	struct seg_info *infos = NULL;
	size_t n = 0;

	if (t->gen < below)
		below = t->gen;
	if (seg_segments(t->h->log, &infos, &n) != 0)
		return;
	if (n > 0 && infos[0].gen < below) {
		t->busy = true;
		t->f.gen = infos[0].gen;
		t->f.done = trim_freed;
		seg_free_segment(t->h->port, &t->f);
	}
	mem_free(infos);
}

void raft_trim_to(struct raft_trim *t, uint64_t gen)
{
	t->gen = gen;
	if (!t->busy)
		trim_next(t);
}

int raft_trim_new(struct raft_host *h, struct raft_trim **ret_trim)
{
	struct raft_trim *t = mem_zalloc(sizeof *t);

	if (t == NULL)
		return -ENOMEM;
	t->h = h;
	*ret_trim = t;
	return 0;
}

void raft_trim_free(struct raft_trim *t)
{
	mem_free(t);
}
