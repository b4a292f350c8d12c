/*
 * The rows of another member, fetched aside.
 *
 *   lags() -> ASK -> a piece -> STORE: a worker checks it and adds it to
 *   DIR/NNNNN.fetch -> ASK ... -> the stream is whole -> TAKE
 *   (shard_snap_take.c) -> READY -> raft_group_install() -> INSTALL
 *   (shard_snap_install.c)
 *
 * Only a stream that arrived as a whole is taken: who stops sending midway costs
 * this store nothing but the file. Memory: a piece, and a block of the stream.
 *
 * Failure modes: no answer: the same piece is asked for again, some times; then,
 * or when the stream is gone at the other end, all of it goes, and the next
 * lags() begins anew: with the leader, or, after a failure, with any other
 * member. Bytes that are not the stream's: the same. A disk that is full or fails
 * (of a file that nothing depends on yet): the same. What is READY waits for a
 * leader for a while, then it goes. The process dies: files that are not called
 * .install are removed by the next start.
 */
#include "storaged/shard_snap.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

#define FETCH_TRIES 4u
#define FETCH_AGAIN_NS 200000000u  /* between them */
#define FETCH_WAIT_NS 10000000000u /* READY, and no leader wants it */

static void fetch_ask(struct shard_fetch *f);

int shard_snap_unlink(struct shard_set *set, uint16_t group,
		      const char *suffix)
{
	char *path = raft_snap_path(set->config.snap_dir, group, suffix);
	int rv = path == NULL ? -ENOMEM
			      : set->env->vfs->ops->unlink(set->env->vfs, path);

	mem_free(path);
	return rv == -ENOENT ? 0 : rv;
}

/* --- life --- */

void shard_fetch_free(struct shard_fetch *f)
{
	if (f == NULL)
		return;
	env_timer_cancel(f->set->env, &f->timer);
	if (f->file != NULL)
		f->file->vfs->ops->close(f->file);
	rows_stream_reader_free(f->check);
	shard_take_free(f->take);
	raft_snap_loader_free(f->loader);
	rows_applied_fini(&f->head.at);
	shard_derived_fini(&f->derived);
	body_unref(f->piece);
	if (f->g->fetch == f)
		f->g->fetch = NULL;
	mem_free(f);
}

/* Files that nothing depends on; what is left of them the next start removes. */
static void fetch_unlink_run(struct env_work *work)
{
	struct shard_fetch *f = CONTAINER_OF(work, struct shard_fetch, work);

	(void)shard_snap_unlink(f->set, f->g->id, RAFT_SNAP_FETCH);
	(void)shard_snap_unlink(f->set, f->g->id, RAFT_SNAP_NEW);
}

static void fetch_unlinked(struct env_work *work)
{
	struct shard_fetch *f = CONTAINER_OF(work, struct shard_fetch, work);

	if (f->held)
		shard_hold(f->set, false);
	shard_fetch_free(f);
}

static void fetch_ignore(void *arg, uint32_t status, struct buf *payload,
			 struct body *body)
{
	(void)arg;
	(void)status;
	(void)payload;
	body_unref(body);
}

static int fetch_send(struct shard_fetch *f, uint64_t off, shard_done_fn done,
		      void *arg)
{
	const struct shard_config *config = &f->set->config;
	const struct rpc_snap_get req = {
		.from = config->id, .stream = f->stream, .off = off,
	};
	struct buf payload;
	int rv;

	buf_init(&payload, 0);
	rv = rpc_snap_get_encode(&req, &payload);
	if (rv == 0)
		rv = config->ask(config->arg, f->from, f->g->id, &payload,
				 done, arg);
	buf_fini(&payload);
	return rv;
}

/* A kindness: the other one would find out. */
static void fetch_send_end(struct shard_fetch *f)
{
	if (f->stream != 0)
		(void)fetch_send(f, RPC_SNAP_END, fetch_ignore, NULL);
	f->stream = 0;
}

void shard_fetch_end(struct shard_fetch *f, int rv)
{
	struct shard_group *g = f->g;

	assert(!f->busy);
	env_timer_cancel(f->set->env, &f->timer);
	if (rv != -EALREADY) {
		g->fetch_failed++;
		shard_count(&f->set->stats.snaps_failed, 1);
		log_warn(rv, "shard=%u: rows cannot be fetched from store %llu",
			 g->id, (unsigned long long)f->from);
	} else {
		g->fetch_failed = 0;
	}
	fetch_send_end(f);
	if (f->file != NULL)
		f->file->vfs->ops->close(f->file);
	f->file = NULL;
	/* still ours until its files are gone */
	f->busy = true;
	f->work.run = fetch_unlink_run;
	f->work.done = fetch_unlinked;
	env_work(f->set->env, &f->work);
}

/* --- READY --- */

void shard_fetch_ready(struct shard_fetch *f)
{
	const struct rows_applied *at = &f->head.at;
	const struct raft_base base = {
		.index = at->index, .term = at->term,
		.conf_index = at->conf_index,
		.conf = wire_bytes(at->conf, at->conf_len),
	};
	int rv = raft_group_install(f->g->raft, &base);

	if (rv == 0) {
		env_timer_cancel(f->set->env, &f->timer);
		f->state = FETCH_INSTALL; /* install() comes */
	} else if (rv != -EAGAIN) {
		shard_fetch_end(f, rv);
	} else if (f->state != FETCH_READY) {
		f->state = FETCH_READY;
		env_timer_set(f->set->env, &f->timer, FETCH_WAIT_NS);
	}
}

/* --- STORE --- */

static int fetch_head(void *arg, const struct rows_stream_head *head)
{
	struct shard_fetch *f = arg;

	if (head->flags != ROWS_STREAM_PORTABLE || head->group != f->g->id)
		return -EBADMSG;
	f->head = *head;
	f->head.at.conf = mem_dup(head->at.conf, head->at.conf_len);
	return f->head.at.conf == NULL ? -ENOMEM : 0;
}

static int fetch_row(void *arg, struct wire_bytes key, struct wire_bytes value)
{
	(void)arg;
	(void)key;
	(void)value;
	return 0;
}

static int fetch_value(void *arg, struct wire_u128 hash, struct wire_bytes bytes)
{
	(void)arg;
	(void)hash;
	(void)bytes;
	return 0;
}

static int fetch_open(struct shard_fetch *f)
{
	const struct rows_stream_sink sink = {
		.head = fetch_head, .value = fetch_value, .row = fetch_row,
		.arg = f,
	};
	struct vfs *vfs = f->set->env->vfs;
	char *path;
	int rv = shard_snap_unlink(f->set, f->g->id, RAFT_SNAP_FETCH);

	if (rv != 0)
		return rv;
	f->check = rows_stream_reader_new(&sink);
	path = raft_snap_path(f->set->config.snap_dir, f->g->id,
			      RAFT_SNAP_FETCH);
	rv = f->check == NULL || path == NULL ? -ENOMEM : 0;
	if (rv == 0)
		rv = vfs->ops->open(vfs, path, O_RDWR | O_CREAT | O_EXCL, 0600,
				    &f->file);
	mem_free(path);
	return rv;
}

static void fetch_store_run(struct env_work *work)
{
	struct shard_fetch *f = CONTAINER_OF(work, struct shard_fetch, work);
	struct iovec iov = { f->piece->data, f->piece->len };
	int rv = f->check == NULL ? fetch_open(f) : 0;

	if (rv == 0)
		rv = rows_stream_feed(f->check, iov.iov_base, iov.iov_len);
	/* the end of the stream, and that of the pieces, or neither */
	if (rv >= 0)
		rv = (rv == 1) == f->more ? -EBADMSG : 0;
	if (rv == 0)
		rv = f->file->vfs->ops->pwritev(f->file, &iov, 1, f->off);
	f->rv = rv;
}

/* What came is older than what is here: that may still change. */
static bool fetch_is_late(const struct shard_fetch *f)
{
	return f->head.at.index > 0 &&
	       f->head.at.index <= raft_group_applied(f->g->raft);
}

static void fetch_stored(struct env_work *work)
{
	struct shard_fetch *f = CONTAINER_OF(work, struct shard_fetch, work);
	int rv = f->rv;

	f->busy = false;
	f->off += f->piece->len;
	shard_count(&f->set->stats.snap_bytes_in, f->piece->len);
	body_unref(f->piece);
	f->piece = NULL;
	if (rv == 0 && fetch_is_late(f))
		rv = -EALREADY;
	if (rv == 0 && f->more) {
		f->state = FETCH_ASK;
		fetch_ask(f);
		return;
	}
	if (rv == 0) {
		fetch_send_end(f);
		rv = shard_take_begin(f);
	}
	if (rv != 0)
		shard_fetch_end(f, rv);
}

/* --- ASK --- */

/* The answer is a piece, and the one that was asked for. */
static int fetch_check(struct shard_fetch *f, uint32_t status,
		       const struct buf *payload, const struct body *body)
{
	struct rpc_snap_get_rsp rsp;

	if (status != RPC_STATUS_OK)
		return -rpc_status_errno(status);
	if (body == NULL || body->len == 0 ||
	    rpc_snap_get_rsp_decode(&rsp, payload->data, payload->len) != 0 ||
	    rsp.stream == 0 || rsp.off != f->off ||
	    (f->stream != 0 && rsp.stream != f->stream))
		return -EBADMSG;
	f->stream = rsp.stream;
	f->more = rsp.more != 0;
	return 0;
}

static bool fetch_may_retry(uint32_t status)
{
	return status == RPC_STATUS_UNAVAILABLE ||
	       status == RPC_STATUS_TIMEDOUT || status == RPC_STATUS_BUSY ||
	       status == RPC_STATUS_UNKNOWN_OUTCOME;
}

static void fetch_again(struct env_timer *timer)
{
	struct shard_fetch *f = CONTAINER_OF(timer, struct shard_fetch, timer);

	if (f->state == FETCH_ASK)
		fetch_ask(f);
	else
		shard_fetch_end(f, -EALREADY); /* nobody wanted it */
}

static void fetch_answered(void *arg, uint32_t status, struct buf *payload,
			   struct body *body)
{
	struct shard_fetch *f = arg;
	int rv = fetch_check(f, status, payload, body);

	f->busy = false;
	if (rv != 0)
		body_unref(body);
	if (rv != 0 && (!fetch_may_retry(status) ||
			++f->tries == FETCH_TRIES)) {
		shard_fetch_end(f, rv);
		return;
	}
	if (rv != 0) {
		env_timer_set(f->set->env, &f->timer, FETCH_AGAIN_NS);
		return;
	}
	f->tries = 0;
	f->piece = body;
	f->state = FETCH_STORE;
	f->busy = true;
	f->work.run = fetch_store_run;
	f->work.done = fetch_stored;
	env_work(f->set->env, &f->work);
}

static void fetch_ask(struct shard_fetch *f)
{
	int rv = fetch_send(f, f->off, fetch_answered, f);

	f->busy = rv == 0;
	if (rv != 0)
		shard_fetch_end(f, rv);
}

/* --- the beginning --- */

/* The leader; after a failure now and then another member. */
static uint64_t fetch_choose(const struct shard_group *g, uint64_t leader)
{
	struct raft_member m[16];
	unsigned n = raft_group_members(g->raft, m, 16);

	if (n > 16)
		n = 16;
	if (g->fetch_failed % 2 == 0 || n == 0)
		return leader;
	for (unsigned i = 0; i < n; i++) {
		uint64_t id = m[(g->fetch_failed / 2 + i) % n].id;

		if (id != leader && id != g->set->config.id)
			return id;
	}
	return leader;
}

void shard_on_lags(void *arg, struct raft_group *raft, uint64_t from)
{
	struct shard_group *g = raft_group_user(raft);
	struct shard_set *set = arg;
	struct shard_fetch *f = g->fetch;

	if (set->closing)
		return;
	if (f != NULL) {
		if (f->state == FETCH_READY && !f->busy)
			shard_fetch_ready(f);
		return;
	}
	f = mem_zalloc(sizeof *f);
	if (f == NULL)
		return; /* it is said again */
	f->set = set;
	f->g = g;
	f->from = fetch_choose(g, from);
	f->timer.cb = fetch_again;
	g->fetch = f;
	fetch_ask(f);
}
