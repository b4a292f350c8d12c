#include "leofs/fsck.h"

#include <stdio.h>
#include <string.h>

#include "common/base/loop.h"
#include "common/wire/status.h"
#include "managerd/mgr_fsck.h"

static void fsck_print(const struct fsck_result *r)
{
	for (unsigned i = 0; i < r->n_texts; i++)
		printf("%s\n", r->texts[i]);
	if (r->n_texts < r->n_findings)
		printf("... and %llu more\n",
		       (unsigned long long)(r->n_findings - r->n_texts));
#define FSCK_COUNT_PRINT(name, what) \
	printf("%-40s %llu\n", what, (unsigned long long)r->n.name);
	FSCK_COUNTS(FSCK_COUNT_PRINT)
	printf("%-40s %llu\n", "findings", (unsigned long long)r->n_findings);
}

static void fsck_fail(struct fsck *f, const char *why)
{
	fprintf(stderr, "leofs: could not look: %s\n", why);
	f->status = 2;
	loop_set_stop(f->set);
}

static void fsck_done(void *arg, const struct fsck_result *r)
{
	struct fsck *f = arg;

	fsck_print(r);
	if (r->state == FSCK_FAILED) {
		fsck_fail(f, rpc_status_text(r->status));
		return;
	}
	f->status = r->n_findings > 0;
	loop_set_stop(f->set);
}

void fsck_run(struct fsck *f)
{
	unsigned flags = FSCK_ALONE | (f->read ? FSCK_READ : 0);
	int rv = mgr_fsck_start(f->manager, flags, fsck_done, f);

	if (rv != 0)
		fsck_fail(f, strerror(-rv));
}
