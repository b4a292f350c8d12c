#ifndef MANAGERD_MANAGER_H
#define MANAGERD_MANAGER_H
/*
 * The manager: one replicated state machine (users, keys, buckets, stores,
 * RING, sessions), its RPC handlers, and the admin HTTP API (JSON, /metrics).
 *
 *   DIR/super  DIR/log/  DIR/rows/
 *
 * Lives on loop 0.
 */
#include "common/base/errbuf.h"
#include "common/rpc/rpc.h"

struct manager;
struct loop_set;

struct manager_config {
	struct loop_set *loops;
	struct rpc_server *server;
	const char *dir;       /* e.g. DATA/manager */
	const char *conf_dir;  /* where credentials and admin.token are made */
	const char *admin;     /* "127.0.0.1:10020"; NULL = no admin port */
	const char *rpc_addr;  /* our own address, "unix:PATH" */
	const char *region;    /* default "us-east-1" */
	uint32_t lease_ms;     /* of a session; 0 = 30 s */
	uint8_t durability;    /* of a new cluster, CLUSTER_DURABILITY_* */
	bool alone;            /* all stores are in this process, whatever
				* address they had when they served */
};

/* Opens or creates (first start: cluster id, first user, credentials). */
int manager_open(const struct manager_config *config,
		 struct manager **ret_manager, struct errbuf *e);
/* Starts the group and the admin port; ready(arg) when it leads. */
int manager_start(struct manager *m, void (*ready)(void *arg), void *arg,
		  struct errbuf *e);
unsigned manager_admin_port(const struct manager *m);
/* After the loops have stopped. */
void manager_close(struct manager *m);

#endif
