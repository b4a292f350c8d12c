/*
 * Requests of the shards here to other shards, through the same client that
 * gateways and mounts have: routing, retries, numbers. It is made with the
 * store and opens its session with the first request: while all names are in
 * their buckets' shards there is none.
 */
#include "storaged/store_impl.h"

#include <errno.h>

#include "common/base/mem.h"
#include "common/client/client.h"

#define STORE_CALL_MS 5000u

struct store_call {
	struct client_call *call;
	shard_called_fn done;
	void *arg;
};

int store_calls_new(struct store *s, const struct store_config *config,
		    struct errbuf *e)
{
	struct client_config cc = {
		.loops = config->loops,
		.manager = config->manager,
		.role = RPC_ROLE_STORAGE,
		.kind = "store",
		.timeout_ms = STORE_CALL_MS,
		.local = config->addr,
		.server = config->server,
		.all_local = config->is_check,
	};

	if (config->manager == NULL) /* tests: one store alone */
		return 0;
	return client_set_new(&cc, &s->clients, e);
}

static void store_calls_run(struct env_task *task)
{
	struct store *s = CONTAINER_OF(task, struct store, calls_task);

	client_set_start(s->clients, NULL, NULL);
}

static void store_called(void *arg, const struct rpc_reply *reply)
{
	struct store_call *c = arg;

	c->done(c->arg, reply->status,
		reply->status == RPC_STATUS_OK
			? wire_bytes(reply->payload, reply->len)
			: wire_bytes(NULL, 0));
	mem_free(c);
}

int store_on_call(void *arg, uint16_t shard, uint16_t tag, struct buf *payload,
		  shard_called_fn done, void *done_arg, void **ret_handle)
{
	struct store_loop *l = arg;
	struct store *s = l->store;
	struct store_call *c = mem_zalloc(sizeof *c);
	struct client_send send = {
		.tag = tag,
		.shard = shard,
		.payload = payload,
		.done = store_called,
		.arg = c,
	};

	if (c == NULL)
		return -ENOMEM;
	if (!atomic_exchange(&s->calls_started, true)) {
		s->calls_task.run = store_calls_run;
		env_post(s->loops[0].env, &s->calls_task);
	}
	c->done = done;
	c->arg = done_arg;
	c->call = client_send(client_of(s->clients,
					loop_set_get(s->loops_set, l->index)),
			      &send);
	if (c->call == NULL) {
		mem_free(c);
		return -ENOMEM;
	}
	*ret_handle = c;
	return 0;
}

void store_on_call_cancel(void *arg, void *handle)
{
	struct store_call *c = handle;

	(void)arg;
	client_cancel(c->call);
	mem_free(c);
}
