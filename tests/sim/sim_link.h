#ifndef TESTS_SIM_SIM_LINK_H
#define TESTS_SIM_SIM_LINK_H
/*
 * What common/client/ asks of loops (common/base/loop.h) and links
 * (common/rpc/rpc.h), on simulated machines: it is linked in place of both. A
 * link leads from a loop of a client to a store, "node0" and so on, or to the
 * managers, whom the owner plays.
 *
 * On a link requests keep their order, as answers do. It is cut now and then,
 * and by the death of who serves it: all calls under way end with UNAVAILABLE a
 * while later; answers on their way are lost, requests mostly arrive, some long
 * after the client was told. It may be some time until it works again. While
 * the cluster heals nothing of this happens but by a death.
 *
 * Callbacks come from the loop's env, never inside a call. Aborts when out of
 * memory.
 */
#include "common/base/loop.h"
#include "common/rpc/rpc.h"
#include "tests/sim/sim_cluster.h"

#define SIM_MANAGERS UINT32_MAX /* a node: they have no number */
#define SIM_MANAGERS_ADDR "managers"
#define SIM_NODE_ADDR 16 /* longest address of a store, with its end */

struct sim_links;

/* How a call was answered; all 0 when nobody did. */
struct sim_answer {
	uint64_t term; /* of who leads the shard where it was answered */
	bool rot;      /* it found bytes that its disk lost */
};

struct sim_link_ops {
	/* A try of what rpc_send.arg says goes out. payload: as it is sent. */
	void (*sent)(void *user, void *arg, const struct rpc_send *send);
	/* done() follows. */
	void (*ended)(void *user, void *arg, const struct rpc_reply *reply,
		      const struct sim_answer *answer);
	/* A request to the managers: sim_link_answer(), once, some time. */
	void (*managers)(void *user, uint64_t call, uint16_t tag,
			 struct wire_bytes payload);
};

struct sim_links *sim_links_new(struct sim_cluster *c,
				const struct sim_link_ops *ops, void *user);
/* After all loops. */
void sim_links_free(struct sim_links *net);
/* n loops of one process, each with an env of its own. */
struct loop_set *sim_loops_new(struct sim_links *net, unsigned n);
/* One loop, of the process on node. env: borrowed */
struct loop_set *sim_loops_at(struct sim_links *net, unsigned node,
			      struct env *env);
void sim_loops_free(struct loop_set *set);
/* Its process aborted: its links are forgotten, its memory stays. */
void sim_loops_died(struct loop_set *set);

/* The process on node is gone: connections to it are. */
void sim_links_died(struct sim_links *net, unsigned node);
/* What managers answer to a call; nobody may wait for it any more. */
void sim_link_answer(struct sim_links *net, uint64_t call, uint32_t status,
		     struct wire_bytes payload);
void sim_node_addr(unsigned node, char addr[SIM_NODE_ADDR]);
/* The id that snapshots say of the store with that number. */
struct wire_u128 sim_store_id(uint64_t store);

#endif
