#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/lib/shardworld.h"

char world_big[WORLD_BIG];

static void on_role(void *arg, uint16_t group, bool leader)
{
	struct world *w = arg;

	if (group == SHARD)
		w->leads = leader;
}

static void on_rot(void *arg, uint16_t group, uint64_t gen, uint64_t off)
{
	struct world *w = arg;

	(void)group;
	(void)gen;
	(void)off;
	w->rots++;
}

struct drop_call {
	struct env_task task;
	struct world *w;
	void (*done)(void *arg, uint32_t status);
	void *arg;
	uint32_t status;
};

static void on_drop_end(struct env_task *task)
{
	struct drop_call *d = CONTAINER_OF(task, struct drop_call, task);
	struct drop_call own = *d;

	own.w->drop = NULL;
	free(d);
	own.done(own.arg, own.status);
}

static int on_drop(void *arg, const struct wire_u128 *slices, unsigned n,
		   void (*done)(void *done_arg, uint32_t status),
		   void *done_arg)
{
	struct drop_call *d = calloc(1, sizeof *d);
	struct world *w = arg;

	assert_null(w->drop); /* one at a time */
	if (d == NULL)
		return -ENOMEM;
	*d = (struct drop_call){ .w = w, .done = done, .arg = done_arg };
	w->drop = d;
	d->task.run = on_drop_end;
	if (w->drop_fails > 0) {
		w->drop_fails--;
		d->status = RPC_STATUS_UNAVAILABLE;
		n = 0;
	}
	if (w->n_dropped + n > w->cap_dropped) {
		w->cap_dropped = 2 * w->cap_dropped + n;
		w->dropped = realloc(w->dropped, w->cap_dropped *
							 sizeof *w->dropped);
		if (w->dropped == NULL)
			abort();
	}
	if (n > 0)
		memcpy(w->dropped + w->n_dropped, slices, n * sizeof *slices);
	w->n_dropped += n;
	env_post(minienv_env(w->m), &d->task);
	return 0;
}

static int on_record(void *arg, const struct seg_rec *rec)
{
	struct world *w = arg;

	return shard_set_recover(w->set, rec);
}

static void on_start_body(void *arg, uint64_t gen, struct buf *buf)
{
	struct world *w = arg;

	raft_host_start_body(shard_set_host(w->set), gen, buf);
}

void world_start(struct world *w, uint64_t seed)
{
	struct seg_config sc = {
		.dir = "log", .segment_size = 1 << 20, .first_size = 1 << 18,
		.on_record = on_record, .start_body = on_start_body, .arg = w,
	};
	struct errbuf e = { "" };
	struct shard_config c = { 0 };
	uint64_t voter = 7;

	w->m = minienv_new(crashfs_vfs(w->fs), seed);
	assert_int_equal(rows_back_mem(w->image, &w->back), 0);
	c.env = minienv_env(w->m);
	c.back = w->back;
	c.id = voter;
	c.role = on_role;
	c.rot = on_rot;
	c.drop = on_drop;
	c.grace_ns = w->grace_ns;
	c.arg = w;
	if (w->tune != NULL)
		w->tune(w, &c);
	assert_int_equal(shard_set_new(&c, &w->set), 0);
	if (seg_head_open(c.env, &sc, &w->log, &e) != 0)
		fail_msg("%s", e.text);
	assert_int_equal(seg_port_new(w->log, c.env, &w->port), 0);
	shard_set_log(w->set, w->log, w->port);
	for (unsigned i = 0; i <= w->more; i++)
		if (shard_open(w->set, (uint16_t)(SHARD + i), &voter, 1,
			       &e) != 0)
			fail_msg("%s", e.text);
	w->leads = false;
	assert_int_equal(shard_set_start(w->set), 0);
	minienv_run(w->m);
	assert_true(w->leads);
}

void world_kill(struct world *w)
{
	crashfs_freeze(w->fs, true);
	free(w->drop);
	w->drop = NULL;
	shard_set_free(w->set);
	seg_head_abandon(w->log);
	seg_port_free(w->port);
	rows_back_close(w->back);
	minienv_free(w->m);
	crashfs_freeze(w->fs, false);
}

void world_power_cut(struct world *w, uint64_t seed)
{
	world_kill(w);
	crashfs_crash(w->fs, seed);
	world_start(w, seed);
}

void world_init(struct world *w)
{
	world_init_tuned(w, NULL, NULL);
}

void world_init_tuned(struct world *w,
		      void (*tune)(struct world *w, struct shard_config *c),
		      void *user)
{
	for (size_t i = 0; i < sizeof world_big; i++)
		world_big[i] = (char)(i * 7 + i / 251);
	memset(w, 0, sizeof *w);
	w->tune = tune;
	w->user = user;
	w->fs = crashfs_new(1);
	w->image = rows_mem_image_new();
	world_start(w, 1);
}

void world_fini(struct world *w)
{
	world_kill(w);
	rows_mem_image_free(w->image);
	free(w->dropped);
	crashfs_free(w->fs);
}

/* --- calls --- */

static void on_done(void *arg, uint32_t status, struct buf *payload,
		    struct body *body)
{
	struct reply *r = arg;

	r->n++;
	r->status = status;
	r->payload = *payload;
	buf_init(payload, 0);
	r->body = body;
}

void reply_fini(struct reply *r)
{
	buf_fini(&r->payload);
	body_unref(r->body);
	memset(r, 0, sizeof *r);
}

void world_send_to(struct world *w, uint16_t group, uint16_t tag,
		   struct buf *b, struct reply *r)
{
	memset(r, 0, sizeof *r);
	assert_int_equal(b->err, 0);
	assert_int_equal(shard_call(w->set, group, tag, b, on_done, r), 0);
	assert_int_equal(r->n, 0); /* never inside the call */
}

void world_send_loose(struct world *w, uint16_t tag, const struct buf *b,
		      struct reply *r)
{
	const struct shard_request request = {
		.group = SHARD, .tag = tag, .loose = true,
		.payload = wire_bytes(b->data, b->len),
		.done = on_done, .arg = r,
	};

	memset(r, 0, sizeof *r);
	assert_int_equal(shard_call_request(w->set, &request), 0);
}

uint64_t world_root(struct world *w, uint64_t bucket)
{
	struct rpc_root_create req = { MUT(w), .bucket = bucket,
				       .mode = 0775 };
	struct rpc_root_create_rsp rsp;
	struct reply r;

	CALL(w, root_create, &req, &r);
	assert_int_equal(r.status, RPC_STATUS_OK);
	assert_int_equal(rpc_root_create_rsp_decode(&rsp, r.payload.data,
						    r.payload.len), 0);
	reply_fini(&r);
	return rsp.ino;
}

uint64_t world_file(struct world *w, uint64_t dir, const char *name,
		    uint64_t session)
{
	struct rpc_mknod req = {
		MUT(w), .dir = dir, .name = wire_cstr(name),
		.mode = S_IFREG | 0644, .session = session,
		.flags = RPC_MKNOD_EXCL | (session != 0 ? RPC_MKNOD_OPEN : 0),
	};
	struct rpc_mknod_rsp rsp;
	struct reply r;

	CALL(w, mknod, &req, &r);
	assert_int_equal(r.status, RPC_STATUS_OK);
	assert_int_equal(rpc_mknod_rsp_decode(&rsp, r.payload.data,
					      r.payload.len), 0);
	reply_fini(&r);
	return rsp.attr.ino;
}

void world_put_request(struct world *w, uint64_t root, const char *key,
		       const char *bytes, size_t len, struct wire_vec *v,
		       struct rpc_put *ret)
{
	struct wire_extent e = { .len = len, .kind = WIRE_EXT_INLINE };

	wire_vec_init(v);
	wire_vec_add_extent(v, &e);
	*ret = (struct rpc_put){
		MUT(w), .root = root, .key = wire_cstr(key), .umask = 022,
		.size = len, .etag = wire_cstr("d41d8cd9"),
		.extents = wire_vec_bytes(v), .data = wire_bytes(bytes, len),
	};
}

void world_put(struct world *w, uint64_t root, const char *key,
	       const char *bytes, size_t len)
{
	struct wire_vec v;
	struct rpc_put req;
	struct reply r;

	world_put_request(w, root, key, bytes, len, &v, &req);
	CALL(w, put, &req, &r);
	assert_int_equal(r.status, RPC_STATUS_OK);
	reply_fini(&r);
	wire_vec_fini(&v);
}

uint32_t world_get(struct world *w, uint64_t root, const char *key,
		   const char *bytes, size_t len)
{
	struct rpc_object req = { .root = root, .key = wire_cstr(key),
				  .len = 1 << 20 };
	uint32_t status;
	struct reply r;

	CALL(w, object, &req, &r);
	status = r.status;
	if (status == RPC_STATUS_OK) {
		assert_non_null(r.body);
		assert_int_equal(r.body->len, len);
		assert_memory_equal(r.body->data, bytes, len);
	} else {
		assert_null(r.body);
	}
	reply_fini(&r);
	return status;
}
