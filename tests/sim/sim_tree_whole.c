/*
 * All shards as one namespace, where no store has all of them: the rows of each
 * from a store that decides about it, put together.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sim_tree.h"

#define WHOLE_TEXT 256 /* a finding */

static void whole_add(struct rows_back *to, struct rows_back *from,
		      uint16_t group)
{
	const uint8_t lo[2] = { (uint8_t)(group >> 8), (uint8_t)group };
	const uint8_t hi[2] = { (uint8_t)((group + 1) >> 8),
				(uint8_t)(group + 1) };
	struct rows_batch *b = rows_batch_new();
	struct wire_bytes key, value;
	struct rows_iter *it;

	if (b == NULL || rows_iter_new(from, wire_bytes(lo, 2),
				       wire_bytes(hi, 2), &it) != 0)
		abort();
	while (rows_iter_next(it, &key, &value) == 0)
		rows_batch_put(b, key, value);
	rows_iter_free(it);
	if (rows_batch_write(to, b) != 0)
		abort();
	rows_batch_free(b);
}

/* The copy-th of those that decide about group i, around and around. */
static struct proc *whole_proc(const struct tree *w, unsigned i, unsigned copy)
{
	unsigned nodes = sim_cluster_size(w->c), found = 0;

	for (unsigned n = 0; found > 0 || n < nodes; n++) {
		struct proc *p = sim_cluster_proc(w->c, n % nodes);

		if (p != NULL && sim_manager_wants(&w->manager, i, n % nodes) &&
		    found++ == copy)
			return p;
	}
	sim_fail(w->c, "nobody has shard %u", i + 1);
}

/* Counts only when no transaction is under way. */
static void whole_finding(void *arg, const char *text)
{
	snprintf(arg, WHOLE_TEXT, "%s", text);
}

static bool whole_check(struct tree *w, unsigned copy)
{
	struct rows_mem_image *image = rows_mem_image_new();
	char finding[WHOLE_TEXT] = "";
	struct rows_back *back;
	int rv = 0;

	if (rows_back_mem(image, &back) != 0)
		abort();
	for (unsigned i = 0; i < w->groups; i++)
		whole_add(back, whole_proc(w, i, copy)->store.back,
			  (uint16_t)(i + 1));
	for (unsigned i = 0; rv == 0 && i < w->groups; i++) {
		uint64_t n;

		rv = ns_check_far(back, (uint16_t)(i + 1), whole_finding,
				  finding, &n);
	}
	if (rv != 0 && rv != -EBUSY)
		sim_fail(w->c, "rows cannot be read");
	if (rv == 0 && finding[0] != '\0')
		sim_fail(w->c, "%s", finding);
	rows_back_close(back);
	rows_mem_image_free(image);
	return rv == 0;
}

bool tree_check_whole(struct tree *w)
{
	bool whole = true;

	for (unsigned i = 0; whole && i < sim_cluster_size(w->c); i++)
		whole = whole_check(w, i);
	return whole;
}
