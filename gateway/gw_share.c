/*
 * PIN -> MUTATION -> UNPIN -> freed
 *
 * Each arrow is one call; a failed pin goes straight to the end. The object
 * belongs to nobody while calls are under way and frees itself.
 */
#include "gateway/gw_copy.h"

#include <string.h>

#include "common/base/mem.h"

struct gw_share {
	struct client *client;
	uint16_t shard;
	uint16_t tag;        /* of the mutation */
	struct buf payload;  /* of it, until it is sent */
	struct buf slices;   /* encoded vector */
	rpc_done_fn done;    /* NULL: abandoned or told */
	void *arg;
};

static void gw_share_free(struct gw_share *s)
{
	buf_fini(&s->payload);
	buf_fini(&s->slices);
	mem_free(s);
}

void gw_share_abandon(struct gw_share *s)
{
	s->done = NULL;
}

static void gw_share_tell(struct gw_share *s, const struct rpc_reply *reply)
{
	rpc_done_fn done = s->done;

	s->done = NULL;
	if (done != NULL)
		done(s->arg, reply);
}

static void gw_share_fail(struct gw_share *s, uint32_t status)
{
	struct rpc_reply reply = { .status = status };

	gw_share_tell(s, &reply);
}

static bool gw_share_kref(struct gw_share *s, int64_t delta, rpc_done_fn fn)
{
	struct rpc_kref req = {
		.slices = wire_bytes(s->slices.data, s->slices.len),
		.delta = delta,
	};

	return CLIENT_SEND(s->client, kref, s->shard, &req, fn, s) != NULL;
}

static void gw_share_unpinned(void *arg, const struct rpc_reply *reply)
{
	(void)reply; /* a pin that stays costs space, nothing else */
	gw_share_free(arg);
}

static void gw_share_unpin(struct gw_share *s)
{
	if (!gw_share_kref(s, -1, gw_share_unpinned))
		gw_share_free(s);
}

static void gw_share_mutated(void *arg, const struct rpc_reply *reply)
{
	gw_share_tell(arg, reply);
	gw_share_unpin(arg);
}

static void gw_share_pinned(void *arg, const struct rpc_reply *reply)
{
	struct gw_share *s = arg;
	struct client_send send = {
		.tag = s->tag,
		.shard = s->shard,
		.payload = &s->payload,
		.done = gw_share_mutated,
		.arg = s,
	};

	if (reply->status != RPC_STATUS_OK) {
		gw_share_fail(s, reply->status == RPC_STATUS_NOENT ?
					 RPC_STATUS_STALE :
					 reply->status);
		gw_share_free(s);
		return;
	}
	if (client_send(s->client, &send) == NULL) {
		gw_share_fail(s, RPC_STATUS_NOMEM);
		gw_share_unpin(s);
	}
}

struct gw_share *gw_share_start(struct client *c, uint16_t shard,
				const struct wire_vec *slices, uint16_t tag,
				struct buf *payload, rpc_done_fn done,
				void *arg)
{
	struct gw_share *s = mem_zalloc(sizeof(*s));
	struct wire_vec copy = *slices;
	struct wire_bytes list = wire_vec_bytes(&copy);

	if (s == NULL)
		return NULL;
	s->client = c;
	s->shard = shard;
	s->tag = tag;
	s->done = done;
	s->arg = arg;
	buf_init(&s->slices, 0);
	buf_add(&s->slices, list.p, list.len);
	s->payload = *payload;
	buf_init(payload, 0);
	if (s->slices.err != 0 || !gw_share_kref(s, 1, gw_share_pinned)) {
		gw_share_free(s);
		return NULL;
	}
	return s;
}
