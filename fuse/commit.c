/*
 * Happy path, few bytes: WRITE with inline data -> done.
 * Happy path, many: fill slice -> (full: wait for drain) -> finish -> chunks
 * durable -> WRITE with the extents -> done.
 *
 * Failure modes: a chunk cannot be stored (its status is the result, no WRITE
 * is sent, the chunks are swept later); the slice was given up before WRITE
 * came (the mount was away for long: all again, once); WRITE refused or timed
 * out; no memory.
 */
#include "fuse/commit.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "fuse/mount.h"

#define COMMIT_INLINE_DEFAULT (16u << 10)

struct commit {
	struct finode *f;         /* ref'd */
	const struct wbuf *bytes; /* borrowed */
	struct commit_how how;
	commit_done_fn done;
	void *arg;
	struct client_slice *slice; /* owned; NULL: inline */
	bool finishing;
	bool again;    /* this is the second slice */
	unsigned ext;  /* next extent to add to the slice */
	uint32_t from; /* bytes of it that are in */
};

static void commit_end(struct commit *c, const struct commit_result *result)
{
	struct finode *f = c->f;

	client_slice_free(c->slice);
	c->done(c->arg, result);
	mem_free(c);
	finode_unref(f);
}

static void commit_fail(struct commit *c, int err)
{
	struct commit_result result = { .err = err };

	commit_end(c, &result);
}

static int commit_start_slice(struct commit *c);

static void commit_on_write(void *arg, const struct rpc_reply *reply)
{
	struct commit *c = arg;
	struct commit_result result = { .err = 0 };
	struct rpc_write_rsp rsp;
	int rv = rpc_status_errno(reply->status);

	if (reply->status == RPC_STATUS_SLICE_GONE && c->slice != NULL &&
	    !c->again) {
		c->again = true;
		client_slice_free(c->slice);
		rv = commit_start_slice(c);
		if (rv != 0)
			commit_fail(c, rv);
		return;
	}
	if (rv == 0 && c->slice != NULL)
		client_slice_named(c->slice);
	if (rv == 0)
		rv = rpc_write_rsp_decode(&rsp, reply->payload, reply->len);
	if (rv != 0) {
		commit_fail(c, rv == -EBADMSG ? -EIO : rv);
		return;
	}
	result.attr = rsp.attr;
	result.pos = rsp.pos;
	commit_end(c, &result);
}

/* Runs of touching bytes become one extent each, cut at regions. */
static void commit_list(const struct commit *c, struct wire_vec *vec)
{
	const struct wbuf *b = c->bytes;
	struct wire_extent e = { .len = 0 };
	uint64_t at = 0;

	for (unsigned i = 0; i < b->n; i++) {
		const struct wbuf_ext *x = &b->ext[i];

		if (e.len > 0 && e.pos + e.len == x->off &&
		    x->off % WIRE_REGION != 0) {
			e.len += x->len;
			at += x->len;
			continue;
		}
		if (e.len > 0)
			wire_vec_add_extent(vec, &e);
		e = (struct wire_extent){
			.pos = x->off, .len = x->len,
			.kind = c->slice == NULL ? WIRE_EXT_INLINE
						 : WIRE_EXT_CHUNKS,
			.slice_off = at,
		};
		if (c->slice != NULL)
			e.slice = client_slice_id(c->slice);
		at += x->len;
	}
	if (e.len > 0)
		wire_vec_add_extent(vec, &e);
}

/* 0, or -ENOMEM: nothing was sent. */
static int commit_send_write(struct commit *c)
{
	struct mount *m = c->f->m;
	struct rpc_write q = {
		.ino = c->f->ino, .session = client_session(m->client),
		.flags = c->how.flags, .mtime = c->how.mtime_ns,
	};
	struct client_call *call = NULL;
	struct wire_vec vec;
	struct buf data;

	wire_vec_init(&vec);
	buf_init(&data, 0);
	commit_list(c, &vec);
	q.extents = wire_vec_bytes(&vec);
	if (c->slice == NULL)
		for (unsigned i = 0; i < c->bytes->n; i++)
			buf_add(&data, c->bytes->ext[i].data,
				c->bytes->ext[i].len);
	q.data = wire_bytes(data.data, data.len);
	if (vec.buf.err == 0 && data.err == 0)
		call = CLIENT_SEND_HOW(m->client, write, ino_shard(q.ino),
				       (&(const struct client_how){
					       c->how.deadline,
					       finode_is_loose(c->f) }),
				       &q, commit_on_write, c);
	wire_vec_fini(&vec);
	buf_fini(&data);
	if (call == NULL)
		return -ENOMEM;
	device_sent(m, &m->writes);
	return 0;
}

/* Adds bytes to the slice until it is full or all are in. */
static void commit_fill(struct commit *c)
{
	while (c->ext < c->bytes->n) {
		const struct wbuf_ext *x = &c->bytes->ext[c->ext];
		size_t n = client_slice_add(c->slice, x->data + c->from,
					    x->len - c->from);

		c->from += (uint32_t)n;
		if (c->from == x->len) {
			c->ext++;
			c->from = 0;
		} else if (client_slice_error(c->slice) != RPC_STATUS_OK) {
			break; /* done() tells the error */
		} else if (n == 0) {
			return; /* commit_on_drain() goes on */
		}
	}
	c->finishing = true;
	client_slice_finish(c->slice);
}

static void commit_on_drain(void *arg)
{
	struct commit *c = arg;

	if (!c->finishing)
		commit_fill(c);
}

static void commit_on_slice(void *arg, uint32_t status)
{
	struct commit *c = arg;
	int rv = rpc_status_errno(status);

	if (rv == 0)
		rv = commit_send_write(c);
	if (rv != 0)
		commit_fail(c, rv);
}

static uint32_t commit_inline_max(struct mount *m)
{
	const struct cluster *cluster = client_cluster(m->client);

	return cluster == NULL ? COMMIT_INLINE_DEFAULT
			       : cluster->top.inline_max;
}

/* 0 or -ENOMEM; c has no slice then. */
static int commit_start_slice(struct commit *c)
{
	static const struct client_slice_cbs cbs = {
		.on_drain = commit_on_drain, .done = commit_on_slice,
	};

	c->ext = c->from = 0;
	c->finishing = false;
	c->slice = client_slice_new(c->f->m->client, ino_shard(c->f->ino),
				    &cbs, c);
	if (c->slice == NULL)
		return -ENOMEM;
	client_slice_set_deadline(c->slice, c->how.deadline);
	commit_fill(c);
	return 0;
}

int commit_start(struct finode *f, const struct wbuf *bytes,
		 const struct commit_how *how, commit_done_fn done, void *arg)
{
	struct commit *c = mem_zalloc(sizeof(*c));
	int rv;

	if (c == NULL)
		return -ENOMEM;
	assert(bytes->n > 0);
	c->f = finode_ref(f);
	c->bytes = bytes;
	c->how = *how;
	c->done = done;
	c->arg = arg;
	rv = bytes->bytes <= commit_inline_max(f->m) ? commit_send_write(c)
						     : commit_start_slice(c);
	if (rv != 0) {
		mem_free(c);
		finode_unref(f);
	}
	return rv;
}
