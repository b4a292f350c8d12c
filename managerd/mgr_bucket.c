/*
 * Creating and deleting a bucket: the managers' record is the truth, the root
 * inode lives in a shard.
 *
 *   create: BEGIN (record `creating`) -> shard ROOT_CREATE -> READY
 *   delete: DELETING -> shard ROOT_REMOVE -> GONE, or RESTORE when not empty
 *
 * Failure modes: the shard does not answer: the record stays as it is, the
 * caller gets UNAVAILABLE, and a retry or the next leader goes on from there
 * (ROOT_CREATE and ROOT_REMOVE are idempotent by bucket id and inode). The disk
 * is full: what is not there is refused before there is a record of it.
 */
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "managerd/mgr_impl.h"

enum mgr_bucket_state {
	MGR_BUCKET_S_BEGIN,
	MGR_BUCKET_S_SHARD,
	MGR_BUCKET_S_END,
	MGR_BUCKET_S_UNDO,
};

struct mgr_bucket_op {
	struct manager *m;
	enum mgr_bucket_state state;
	bool remove;
	uint64_t client, seq;
	uint32_t slot;
	char name[64];
	char owner[65];
	bool any_owner;
	struct mgr_bucket_step step; /* what BEGIN or DELETING answered */
	uint64_t root;
	uint32_t undo_status; /* of the shard, kept over RESTORE */
	mgr_done_fn done;
	void *arg;
};

static void mgr_bucket_finish(struct mgr_bucket_op *op, uint32_t status,
			      struct wire_bytes payload)
{
	mgr_done_fn done = op->done;
	void *arg = op->arg;

	if (done != NULL)
		done(arg, status, payload);
	mem_free(op);
}

static void mgr_bucket_done(struct mgr_bucket_op *op, uint64_t version)
{
	struct rpc_bucket_create_rsp rsp = { .version = version };
	struct buf b;

	buf_init(&b, 64); /* bucket_delete_rsp has the same single field */
	(void)rpc_bucket_create_rsp_encode(&rsp, &b);
	mgr_bucket_finish(op, RPC_STATUS_OK, wire_bytes(b.data, b.len));
	buf_fini(&b);
}

static void mgr_bucket_on_cmd(void *arg, uint32_t status,
			      struct wire_bytes payload);

static void mgr_bucket_ready(struct mgr_bucket_op *op)
{
	op->state = MGR_BUCKET_S_END;
	if (op->remove) {
		struct mgr_bucket_gone cmd = {
			.client = op->client,
			.slot = op->slot,
			.seq = op->seq,
			.name = wire_cstr(op->name),
			.id = op->step.id,
		};
		MGR_SUBMIT(op->m, bucket_gone, &cmd, mgr_bucket_on_cmd, op);
	} else {
		struct mgr_bucket_ready cmd = {
			.client = op->client,
			.slot = op->slot,
			.seq = op->seq,
			.name = wire_cstr(op->name),
			.id = op->step.id,
			.root = op->root,
		};
		MGR_SUBMIT(op->m, bucket_ready, &cmd, mgr_bucket_on_cmd, op);
	}
}

static void mgr_bucket_undo(struct mgr_bucket_op *op, uint32_t status)
{
	struct mgr_bucket_restore cmd = {
		.name = wire_cstr(op->name),
		.id = op->step.id,
	};

	op->state = MGR_BUCKET_S_UNDO;
	op->undo_status = status;
	MGR_SUBMIT(op->m, bucket_restore, &cmd, mgr_bucket_on_cmd, op);
}

static void mgr_bucket_on_shard(void *arg, const struct rpc_reply *reply)
{
	struct mgr_bucket_op *op = arg;
	struct rpc_root_create_rsp rsp;

	if (op->remove && reply->status == RPC_STATUS_NOENT) {
		mgr_bucket_ready(op); /* an earlier try removed it */
	} else if (op->remove && reply->status == RPC_STATUS_NOTEMPTY) {
		mgr_bucket_undo(op, reply->status);
	} else if (reply->status != RPC_STATUS_OK) {
		mgr_bucket_finish(op, reply->status, wire_bytes(NULL, 0));
	} else if (op->remove) {
		mgr_bucket_ready(op);
	} else if (rpc_root_create_rsp_decode(&rsp, reply->payload,
					      reply->len) != 0) {
		mgr_bucket_finish(op, RPC_STATUS_BADMSG, wire_bytes(NULL, 0));
	} else {
		op->root = rsp.ino;
		mgr_bucket_ready(op);
	}
}

static void mgr_bucket_remove(struct mgr_bucket_op *op)
{
	struct client *c = client_of(op->m->clients, op->m->loop);
	struct rpc_root_remove req = { .ino = op->step.root };

	if (CLIENT_SEND(c, root_remove, op->step.shard, &req,
			mgr_bucket_on_shard, op) == NULL)
		mgr_bucket_finish(op, RPC_STATUS_NOMEM, wire_bytes(NULL, 0));
}

/* Empty directories go one by one: not before it is known that all do. */
static void mgr_bucket_on_usage(void *arg, uint32_t status,
				const struct rpc_usage_rsp *sum)
{
	struct mgr_bucket_op *op = arg;

	if (status != RPC_STATUS_OK && status != RPC_STATUS_STALE)
		mgr_bucket_finish(op, status, wire_bytes(NULL, 0));
	else if (sum->files > 0)
		mgr_bucket_undo(op, RPC_STATUS_NOTEMPTY);
	else
		mgr_bucket_remove(op); /* STALE: an earlier try removed it */
}

static void mgr_bucket_shard(struct mgr_bucket_op *op)
{
	struct client *c = client_of(op->m->clients, op->m->loop);
	struct client_call *call;

	op->state = MGR_BUCKET_S_SHARD;
	if (op->remove) {
		if (mgr_usage(op->m, op->step.root, op->step.id,
			      mgr_bucket_on_usage, op) == 0)
			return;
		call = NULL;
	} else {
		struct rpc_root_create req = {
			.bucket = op->step.id,
			.uid = op->step.uid,
			.gid = op->step.gid,
			.mode = 02775 & ~op->step.umask,
		};

		call = CLIENT_SEND(c, root_create, op->step.shard, &req,
				   mgr_bucket_on_shard, op);
	}
	if (call == NULL)
		mgr_bucket_finish(op, RPC_STATUS_NOMEM, wire_bytes(NULL, 0));
}

static void mgr_bucket_on_cmd(void *arg, uint32_t status,
			      struct wire_bytes payload)
{
	struct mgr_bucket_op *op = arg;

	if (op->state == MGR_BUCKET_S_UNDO)
		status = status == RPC_STATUS_OK ? op->undo_status : status;
	if (status != RPC_STATUS_OK || op->state != MGR_BUCKET_S_BEGIN) {
		mgr_bucket_finish(op, status, payload);
		return;
	}
	if (mgr_bucket_step_decode(&op->step, payload.p, payload.len) != 0)
		mgr_bucket_finish(op, RPC_STATUS_IO, wire_bytes(NULL, 0));
	else if (op->step.done)
		mgr_bucket_done(op, op->step.version);
	else
		mgr_bucket_shard(op);
}

static struct mgr_bucket_op *mgr_bucket_op_new(struct manager *m,
					       struct wire_bytes name,
					       struct wire_bytes owner,
					       mgr_done_fn done, void *arg)
{
	struct mgr_bucket_op *op;

	if (name.len >= sizeof op->name || owner.len >= sizeof op->owner)
		return NULL;
	op = mem_zalloc(sizeof *op);
	if (op == NULL)
		return NULL;
	op->m = m;
	op->done = done;
	op->arg = arg;
	memcpy(op->name, name.p, name.len);
	if (owner.len > 0)
		memcpy(op->owner, owner.p, owner.len);
	return op;
}

static void mgr_bucket_begin(struct manager *m,
			     const struct rpc_bucket_create *req,
			     mgr_done_fn done, void *arg)
{
	struct mgr_bucket_op *op =
		mgr_bucket_op_new(m, req->name, req->owner, done, arg);
	struct mgr_bucket_begin cmd = {
		.client = req->client,
		.slot = req->slot,
		.seq = req->seq,
		.name = req->name,
		.owner = req->owner,
		.uid = req->uid,
		.gid = req->gid,
		.umask = req->umask & 0777,
	};

	if (op == NULL) {
		if (done != NULL)
			done(arg, RPC_STATUS_INVAL, wire_bytes(NULL, 0));
		return;
	}
	op->client = req->client;
	op->slot = req->slot;
	op->seq = req->seq;
	MGR_SUBMIT(m, bucket_begin, &cmd, mgr_bucket_on_cmd, op);
}

/* Or it is on its way: as far as this process was told. */
static bool mgr_bucket_is_there(struct manager *m, struct wire_bytes name)
{
	const struct cluster *c =
		client_cluster(client_of(m->clients, m->loop));

	return c != NULL && cluster_find_bucket(c, name) != NULL;
}

void mgr_bucket_create(struct manager *m, const struct rpc_bucket_create *req,
		       mgr_done_fn done, void *arg)
{
	if (m->space.full && !mgr_bucket_is_there(m, req->name))
		done(arg, RPC_STATUS_NOSPC, wire_bytes(NULL, 0));
	else
		mgr_bucket_begin(m, req, done, arg);
}

void mgr_bucket_delete(struct manager *m, const struct rpc_bucket_delete *req,
		       bool any_owner, mgr_done_fn done, void *arg)
{
	struct mgr_bucket_op *op =
		mgr_bucket_op_new(m, req->name, req->owner, done, arg);
	struct mgr_bucket_deleting cmd = {
		.client = req->client,
		.slot = req->slot,
		.seq = req->seq,
		.name = req->name,
		.owner = req->owner,
		.force_owner = any_owner,
	};

	if (op == NULL) {
		done(arg, RPC_STATUS_NO_BUCKET, wire_bytes(NULL, 0));
		return;
	}
	op->remove = true;
	op->client = req->client;
	op->slot = req->slot;
	op->seq = req->seq;
	MGR_SUBMIT(m, bucket_deleting, &cmd, mgr_bucket_on_cmd, op);
}

/* --- going on after a restart --- */

struct mgr_resume {
	struct mgr_waiter waiter;
	struct manager *m;
};

static void mgr_bucket_resume_one(struct manager *m,
				  const struct cluster_bucket *b)
{
	if (b->state == CLUSTER_BUCKET_CREATING) {
		struct rpc_bucket_create req = { .name = b->name,
						 .owner = b->owner };
		mgr_bucket_begin(m, &req, NULL, NULL);
	} else if (b->state == CLUSTER_BUCKET_DELETING) {
		struct rpc_bucket_delete req = { .name = b->name,
						 .owner = b->owner };
		mgr_bucket_delete(m, &req, true, NULL, NULL);
	}
}

static void mgr_bucket_on_image(struct mgr_waiter *w, struct mgr_image *image)
{
	struct mgr_resume *r = CONTAINER_OF(w, struct mgr_resume, waiter);
	struct cluster *c = NULL;

	if (image != NULL &&
	    cluster_decode(image->bytes, image->len, &c) == 0)
		for (unsigned i = 0; i < c->n_buckets; i++)
			mgr_bucket_resume_one(r->m, &c->buckets[i]);
	cluster_unref(c);
	mem_free(r);
}

void mgr_bucket_resume(struct manager *m)
{
	struct mgr_resume *r = mem_zalloc(sizeof *r);

	if (r == NULL)
		return; /* the user's retry resumes it too */
	r->m = m;
	r->waiter.done = mgr_bucket_on_image;
	mgr_watch_wait(m, &r->waiter, UINT64_MAX, 0);
}
