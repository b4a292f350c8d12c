/*
 * Compaction in the admin API: each store that is meant is asked, what it says
 * goes into one list. A store that does not answer is in it with an error.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "managerd/admin_impl.h"

#define COMPACT_TIMEOUT_MS 10000u

struct compact_ask {
	struct admin_req *r;
	json_t *list;
	struct rpc_store_compact req;
	unsigned waiting;
	unsigned answers;
	uint32_t status; /* of one that failed */
};

struct compact_one {
	struct compact_ask *ask;
	json_t *json; /* borrowed from the list */
};

static void compact_set(json_t *o, const char *name, uint64_t v)
{
	json_object_set_new(o, name, json_integer((json_int_t)v));
}

static json_t *compact_heads_json(struct wire_bytes list)
{
	json_t *heads = json_array();
	struct wire_reader r;
	uint32_t n;

	for (r = wire_vec_reader(list, &n); n > 0; n--) {
		json_t *head = json_object();
		struct wire_bytes name;
		uint64_t segments, bytes, live;

		wire_get_str(&r, &name);
		wire_get_u64(&r, &segments);
		wire_get_u64(&r, &bytes);
		wire_get_u64(&r, &live);
		if (r.err != 0) {
			json_decref(head);
			break;
		}
		json_object_set_new(head, "head", admin_text(name));
		compact_set(head, "segments", segments);
		compact_set(head, "bytes_total", bytes);
		compact_set(head, "bytes_live", live);
		compact_set(head, "bytes_dead", bytes > live ? bytes - live : 0);
		json_array_append_new(heads, head);
	}
	return heads;
}

static void compact_fill(json_t *o, const struct rpc_store_compact_rsp *rsp)
{
	static const char *const states[] = { "idling", "running",
					      "suspending" };
	static const char *const whys[] = { "command", "dead bytes",
					    "shortage of space" };

	json_object_set_new(o, "state",
			    json_string(rsp->state < 3 ? states[rsp->state]
						       : "?"));
	json_object_set_new(o, "reason",
			    json_string(rsp->started == 0 ? ""
					: rsp->why < 3	  ? whys[rsp->why]
							  : "?"));
	json_object_set_new(o, "result",
			    json_string(rsp->started == 0 ? ""
					: rsp->status == RPC_STATUS_OK
						? "ok"
						: rpc_status_text(
							  rsp->status)));
	compact_set(o, "started", (uint64_t)rsp->started / 1000000000);
	compact_set(o, "ended", (uint64_t)rsp->ended / 1000000000);
	compact_set(o, "targets", rsp->targets);
	compact_set(o, "pending", rsp->pending);
	compact_set(o, "ongoing", rsp->ongoing);
	compact_set(o, "out_of", rsp->out);
	compact_set(o, "kept", rsp->kept);
	compact_set(o, "bytes_copied", rsp->copied);
	compact_set(o, "bytes_freed", rsp->freed);
	compact_set(o, "rate", rsp->rate);
	json_object_set_new(o, "heads", compact_heads_json(rsp->heads));
}

static void compact_ask_end(struct compact_ask *ask)
{
	struct admin_req *r = ask->r;

	if (--ask->waiting > 0)
		return;
	if (ask->answers == 0 && ask->status != RPC_STATUS_OK) {
		json_decref(ask->list);
		admin_status(r, ask->status);
	} else {
		admin_reply(r, 200, json_pack("{s:o}", "stores", ask->list));
	}
	mem_free(ask);
	admin_release(r);
}

static void compact_on_answer(void *arg, const struct rpc_reply *reply)
{
	struct compact_one *one = arg;
	struct compact_ask *ask = one->ask;
	struct rpc_store_compact_rsp rsp;
	uint32_t status = reply->status;

	if (status == RPC_STATUS_OK &&
	    rpc_store_compact_rsp_decode(&rsp, reply->payload, reply->len) != 0)
		status = RPC_STATUS_BADMSG;
	if (status == RPC_STATUS_OK) {
		ask->answers++;
		compact_fill(one->json, &rsp);
	} else {
		ask->status = status;
		json_object_set_new(one->json, "error",
				    json_string(rpc_status_text(status)));
	}
	mem_free(one);
	compact_ask_end(ask);
}

static void compact_ask_store(struct compact_ask *ask,
			      const struct cluster_store *s, const char *id)
{
	struct compact_one *one = mem_zalloc(sizeof *one);
	json_t *json = json_pack("{s:s, s:o}", "store", id, "host",
				 admin_text(s->host));
	struct buf payload;
	struct client_send send = {
		.tag = RPC_TAG_store_compact,
		.store = s->id,
		.payload = &payload,
		.timeout_ms = COMPACT_TIMEOUT_MS,
		.done = compact_on_answer,
		.arg = one,
	};

	json_array_append_new(ask->list, json);
	if (one != NULL) {
		one->ask = ask;
		one->json = json;
		buf_init(&payload, 0);
		(void)rpc_store_compact_encode(&ask->req, &payload);
		ask->waiting++;
		if (client_send(client_of(ask->r->m->clients, ask->r->m->loop),
				&send) != NULL)
			return;
		ask->waiting--;
	}
	mem_free(one);
	ask->status = RPC_STATUS_NOMEM;
	json_object_set_new(json, "error",
			    json_string(rpc_status_text(RPC_STATUS_NOMEM)));
}

/* Of the body or the query. */
static char *compact_wanted(struct admin_req *r)
{
	const char *text = admin_body_str(r, "store");

	return text != NULL ? mem_strdup(text) : admin_query(r, "store");
}

/* The beginning of its id, or the host that it is on. */
static bool compact_is_wanted(const struct cluster_store *s, const char *id,
			      const char *wanted)
{
	return wanted == NULL || strncmp(id, wanted, strlen(wanted)) == 0 ||
	       wire_bytes_eq(s->host, wire_cstr(wanted));
}

static void compact_run(struct admin_req *r, uint8_t action)
{
	const struct cluster *c = r->cluster;
	struct compact_ask *ask = mem_zalloc(sizeof *ask);
	char *wanted = compact_wanted(r), id[33];
	unsigned n = 0;

	if (ask == NULL) {
		admin_status(r, RPC_STATUS_NOMEM);
		mem_free(wanted);
		return;
	}
	ask->r = r;
	ask->req.action = action;
	ask->req.max = admin_body_u32(r, "segments", 0);
	ask->list = json_array();
	ask->waiting = 1; /* ours */
	admin_hold(r);
	for (unsigned i = 0; i < c->n_stores; i++) {
		const struct cluster_store *s = &c->stores[i];

		snprintf(id, sizeof id, "%016llx%016llx",
			 (unsigned long long)s->id.hi,
			 (unsigned long long)s->id.lo);
		if (!compact_is_wanted(s, id, wanted))
			continue;
		n++;
		compact_ask_store(ask, s, id);
	}
	if (n == 0)
		ask->status = RPC_STATUS_NOENT;
	mem_free(wanted);
	compact_ask_end(ask);
}

static void compact_look_ready(struct admin_req *r)
{
	compact_run(r, RPC_COMPACT_LOOK);
}

static void compact_start_ready(struct admin_req *r)
{
	compact_run(r, RPC_COMPACT_START);
}

static void compact_suspend_ready(struct admin_req *r)
{
	compact_run(r, RPC_COMPACT_SUSPEND);
}

static void compact_resume_ready(struct admin_req *r)
{
	compact_run(r, RPC_COMPACT_RESUME);
}

void admin_compact_get(struct admin_req *r)
{
	admin_with_cluster(r, compact_look_ready);
}

void admin_compact_start(struct admin_req *r)
{
	admin_with_cluster(r, compact_start_ready);
}

void admin_compact_suspend(struct admin_req *r)
{
	admin_with_cluster(r, compact_suspend_ready);
}

void admin_compact_resume(struct admin_req *r)
{
	admin_with_cluster(r, compact_resume_ready);
}
