/*
 * Happy path: nothing is loose -> open. Else a SEG_NONE that waits -> synced ->
 * rows_gate_open().
 *
 * Failure modes: the sync fails: the process stops, the rows were not written.
 */
#include "common/raft/raft_gate.h"

#include "common/raft/raft_impl.h"

static void gate_hurry(struct raft_gate *g);

static void gate_waited(struct seg_append *a)
{
	struct raft_gate *g = CONTAINER_OF(a, struct raft_gate, wait);

	g->waiting = g->hurry = false;
	rows_gate_open(g->rows);
}

static void gate_asked(struct seg_append *a)
{
	struct raft_gate *g = CONTAINER_OF(a, struct raft_gate, now);

	g->asking = false;
	/* it may have been one that began before we wait */
	if (g->waiting && g->hurry)
		gate_hurry(g);
}

/* Not behind `wait` alone: a sync ends all that wait for one. */
static void gate_hurry(struct raft_gate *g)
{
	g->hurry = true;
	if (g->asking)
		return;
	g->asking = true;
	g->now = (struct seg_append){ .type = SEG_NONE, .done = gate_asked };
	seg_append(g->host->port, &g->now);
}

static bool gate_ask(void *arg, bool hurry)
{
	struct raft_gate *g = arg;
	struct raft_host *h = g->host;

	/* a host without a log is one that nothing was applied in */
	if (!g->waiting && (h->log == NULL || !seg_head_is_loose(h->log)))
		return true;
	if (!g->waiting) {
		g->waiting = true;
		g->wait = (struct seg_append){ .type = SEG_NONE,
					       .loose = true,
					       .done = gate_waited };
		seg_append(h->port, &g->wait);
	}
	if (hurry)
		gate_hurry(g);
	return false;
}

void raft_gate_init(struct raft_gate *g, struct raft_host *host,
		    struct rows *rows)
{
	const struct rows_gate gate = { gate_ask, g };

	*g = (struct raft_gate){ .host = host, .rows = rows };
	rows_set_gate(rows, &gate);
}
