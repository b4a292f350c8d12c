#include "tests/sim/sim_request.h"

#include "common/wire/status.h"

bool sim_may_retry(uint32_t status)
{
	return status == RPC_STATUS_NOT_LEADER ||
	       status == RPC_STATUS_UNAVAILABLE ||
	       status == RPC_STATUS_UNKNOWN_OUTCOME ||
	       status == RPC_STATUS_BUSY;
}

static void store(uint8_t *p, uint64_t v, unsigned n)
{
	while (n > 0) {
		p[--n] = (uint8_t)v;
		v >>= 8;
	}
}

void sim_stamp(struct buf *payload, uint64_t client, uint32_t slot,
	       uint64_t seq)
{
	store(payload->data, client, 8);
	store(payload->data + 8, slot, 4);
	store(payload->data + 12, seq, 8);
}

unsigned sim_try_node(struct sim_cluster *c, unsigned hint, unsigned try)
{
	struct sim *s = sim_cluster_sim(c);
	unsigned nodes = sim_cluster_size(c);

	if (!sim_cluster_healing(c) && sim_chance(s, 200))
		return (unsigned)sim_rand(s, nodes);
	return (hint + try - 1) % nodes;
}
