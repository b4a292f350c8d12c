/*
 * What a bucket holds: each shard counts its own inodes, so all are asked.
 * One answer, with the first trouble that any of them had.
 */
#include "managerd/mgr_impl.h"

#include <errno.h>

#include "common/base/mem.h"

struct mgr_usage {
	unsigned pending;
	uint32_t status;
	struct rpc_usage_rsp sum;
	mgr_usage_fn done;
	void *arg;
};

static void mgr_usage_end(struct mgr_usage *u)
{
	if (--u->pending > 0)
		return;
	u->done(u->arg, u->status, &u->sum);
	mem_free(u);
}

static void mgr_usage_on_shard(void *arg, const struct rpc_reply *reply)
{
	struct mgr_usage *u = arg;
	struct rpc_usage_rsp rsp;
	uint32_t status = reply->status;

	if (status == RPC_STATUS_OK &&
	    rpc_usage_rsp_decode(&rsp, reply->payload, reply->len) != 0)
		status = RPC_STATUS_BADMSG;
	if (status == RPC_STATUS_OK) {
		u->sum.bytes += rsp.bytes;
		u->sum.files += rsp.files;
		u->sum.dirs += rsp.dirs;
	} else if (u->status == RPC_STATUS_OK) {
		u->status = status;
	}
	mgr_usage_end(u);
}

static void mgr_usage_ask(struct mgr_usage *u, struct client *c,
			  uint16_t shard, const struct rpc_usage *req)
{
	u->pending++;
	if (CLIENT_SEND(c, usage, shard, req, mgr_usage_on_shard, u) != NULL)
		return;
	u->status = RPC_STATUS_NOMEM;
	u->pending--;
}

int mgr_usage(struct manager *m, uint64_t root, uint64_t bucket,
	      mgr_usage_fn done, void *arg)
{
	struct client *c = client_of(m->clients, m->loop);
	const struct cluster *cluster = client_cluster(c);
	const struct rpc_usage req = { .ino = root, .bucket = bucket };
	struct mgr_usage *u = mem_zalloc(sizeof *u);

	if (u == NULL)
		return -ENOMEM;
	u->done = done;
	u->arg = arg;
	mgr_usage_ask(u, c, ino_shard(root), &req);
	for (unsigned i = 0; cluster != NULL && i < cluster->n_shards; i++)
		if (cluster->shards[i].shard != ino_shard(root))
			mgr_usage_ask(u, c, cluster->shards[i].shard, &req);
	if (u->pending > 0)
		return 0;
	mem_free(u);
	return -ENOMEM;
}
