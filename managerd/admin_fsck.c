/* The recount in the admin API: begin one, look at it. */
#include <errno.h>
#include <string.h>

#include "managerd/admin_impl.h"
#include "managerd/mgr_fsck.h"

static const char *fsck_state_text(const struct fsck_result *r)
{
	switch (r->state) {
	case FSCK_RUNNING:
		return "running";
	case FSCK_DONE:
		return r->n_findings > 0 ? "findings" : "clean";
	case FSCK_FAILED:
		return "failed";
	default:
		return "never";
	}
}

static json_t *fsck_json(const struct manager *m)
{
	const struct fsck_result *r = mgr_fsck_result(m);
	uint64_t end = r->ended_ns != 0 ? r->ended_ns
					: (uint64_t)env_wall_ns(m->env);
	json_t *texts = json_array(), *n = json_object();

#define FSCK_COUNT_JSON(name, what) \
	json_object_set_new(n, #name, json_integer((json_int_t)r->n.name));
	FSCK_COUNTS(FSCK_COUNT_JSON)
	for (unsigned i = 0; i < r->n_texts; i++)
		json_array_append_new(texts,
				      admin_text(wire_cstr(r->texts[i])));
	return json_pack("{s:s, s:b, s:s, s:f, s:I, s:I, s:o, s:I, s:o}",
			 "state", fsck_state_text(r), "read", (int)r->read,
			 "reason", r->state == FSCK_FAILED
					   ? rpc_status_text(r->status) : "",
			 "seconds", r->state == FSCK_NEVER
					    ? 0.0
					    : (double)(end - r->started_ns) /
						      1e9,
			 "shards", (json_int_t)r->shards, "shards_done",
			 (json_int_t)r->shards_done, "counts", n,
			 "n_findings", (json_int_t)r->n_findings, "findings",
			 texts);
}

void admin_fsck_get(struct admin_req *r)
{
	admin_reply(r, 200, fsck_json(r->m));
}

static void admin_fsck_ready(struct admin_req *r)
{
	bool read = json_is_true(json_object_get(r->json, "read"));
	int rv = mgr_fsck_start(r->m, read ? FSCK_READ : 0, NULL, NULL);

	if (rv == 0)
		admin_reply(r, 202, fsck_json(r->m));
	else if (rv == -EBUSY)
		admin_error(r, 409, "a check is running");
	else
		admin_status(r, rpc_status_from_errno(rv));
}

void admin_fsck_start(struct admin_req *r)
{
	admin_with_cluster(r, admin_fsck_ready);
}
