/*
 * The access log: one JSON line per request.
 *
 * Happy path: each loop adds lines to its own buffer -> 64 KiB or 200 ms ->
 * a worker writes them with one append -> the buffer is used again. A line is
 * never split over two writes.
 *
 * Failure modes: a disk that is slow or full: at most GW_LOG_MAX bytes wait
 * per loop, further lines are dropped and counted; a write that fails drops
 * its lines, says so once, and the next one is tried again.
 */
#include "gateway/gw.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mem.h"

#include "gateway/s3_time.h"

#define GW_LOG_FLUSH (64u << 10)
#define GW_LOG_MAX (4u << 20)
#define GW_LOG_DELAY_NS 200000000ull

struct gw_log_loop {
	struct gw_log *log;
	struct env *env;
	struct buf filling, writing;
	struct env_timer timer;
	struct env_work work;
	bool armed, busy;
	uint64_t dropped;
};

struct gw_log {
	char *path;
	struct vfs *vfs;
	pthread_mutex_t mutex; /* guards file, failed; workers take it */
	struct vfs_file *file;
	bool failed;
	struct gw_log_loop *loops;
	unsigned n_loops;
};

static int gw_log_open(struct gw_log *log, struct vfs_file **ret_file)
{
	return log->vfs->ops->open(log->vfs, log->path,
				   O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
				   0640, ret_file);
}

static void gw_log_write(struct gw_log *log, struct buf *b)
{
	struct iovec iov = { b->data, b->len };
	int rv;

	if (b->len == 0)
		return;
	pthread_mutex_lock(&log->mutex);
	/* O_APPEND: the offset does not matter */
	rv = log->vfs->ops->pwritev(log->file, &iov, 1, 0);
	if (rv != 0 && !log->failed)
		log_warn(rv, "access log: cannot write path=%s", log->path);
	log->failed = rv != 0;
	pthread_mutex_unlock(&log->mutex);
}

static void gw_log_run(struct env_work *work)
{
	struct gw_log_loop *ll = CONTAINER_OF(work, struct gw_log_loop, work);

	gw_log_write(ll->log, &ll->writing);
}

static void gw_log_flush(struct gw_log_loop *ll);

static void gw_log_done(struct env_work *work)
{
	struct gw_log_loop *ll = CONTAINER_OF(work, struct gw_log_loop, work);

	ll->busy = false;
	buf_reset(&ll->writing);
	if (ll->filling.len >= GW_LOG_FLUSH)
		gw_log_flush(ll);
}

static void gw_log_flush(struct gw_log_loop *ll)
{
	struct buf b = ll->writing;

	if (ll->busy || ll->filling.len == 0)
		return;
	ll->writing = ll->filling;
	ll->filling = b;
	ll->busy = true;
	ll->work.run = gw_log_run;
	ll->work.done = gw_log_done;
	env_work(ll->env, &ll->work);
}

static void gw_log_timer(struct env_timer *timer)
{
	struct gw_log_loop *ll = CONTAINER_OF(timer, struct gw_log_loop, timer);

	ll->armed = false;
	gw_log_flush(ll);
}

int gw_log_new(struct gateway *g, const char *path, struct gw_log **ret)
{
	struct gw_log *log = mem_zalloc(sizeof(*log));
	int rv = -ENOMEM;

	if (log == NULL)
		return -ENOMEM;
	pthread_mutex_init(&log->mutex, NULL);
	log->vfs = g->loops[0].env->vfs;
	log->path = mem_strdup(path);
	log->loops = mem_calloc(g->n_loops, sizeof(*log->loops));
	if (log->path == NULL || log->loops == NULL)
		goto fail;
	for (unsigned i = 0; i < g->n_loops; i++) {
		log->loops[i].log = log;
		log->loops[i].env = g->loops[i].env;
		log->loops[i].timer.cb = gw_log_timer;
		buf_init(&log->loops[i].filling, GW_LOG_MAX);
		buf_init(&log->loops[i].writing, GW_LOG_MAX);
		log->n_loops++;
	}
	rv = gw_log_open(log, &log->file);
	if (rv != 0)
		goto fail;
	*ret = log;
	return 0;
fail:
	gw_log_free(log);
	return rv;
}

/* The loops have stopped: nothing is busy, or will never come back. */
void gw_log_free(struct gw_log *log)
{
	if (log == NULL)
		return;
	for (unsigned i = 0; i < log->n_loops; i++) {
		struct gw_log_loop *ll = &log->loops[i];

		env_timer_cancel(ll->env, &ll->timer);
		if (log->file != NULL)
			gw_log_write(log, &ll->filling);
		buf_fini(&ll->filling);
		buf_fini(&ll->writing);
	}
	if (log->file != NULL)
		log->vfs->ops->close(log->file);
	pthread_mutex_destroy(&log->mutex);
	mem_free(log->loops);
	mem_free(log->path);
	mem_free(log);
}

void gw_log_reopen(struct gw_log *log)
{
	struct vfs_file *file = NULL;
	int rv = gw_log_open(log, &file);

	if (rv != 0) {
		log_warn(rv, "access log: cannot reopen path=%s", log->path);
		return;
	}
	pthread_mutex_lock(&log->mutex);
	log->vfs->ops->close(log->file);
	log->file = file;
	pthread_mutex_unlock(&log->mutex);
}

/* A byte that stands for itself in a JSON string. */
static bool gw_json_plain(uint8_t c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* All others come as \u00XX, whatever text they are part of. */
static void gw_json_escape(struct buf *out, struct wire_bytes v)
{
	size_t from = 0;

	for (size_t i = 0; i < v.len; i++) {
		if (gw_json_plain(v.p[i]))
			continue;
		buf_add(out, v.p + from, i - from);
		buf_printf(out, "\\u%04x", v.p[i]);
		from = i + 1;
	}
	buf_add(out, v.p + from, v.len - from);
}

/* key: with quotes, comma and colon, see GW_JSON(). */
static void gw_json(struct buf *out, const char *key, struct wire_bytes v)
{
	size_t plain = 0;

	buf_puts(out, key);
	while (plain < v.len && gw_json_plain(v.p[plain]))
		plain++;
	if (plain == v.len)
		buf_add(out, v.p, v.len);
	else
		gw_json_escape(out, v);
	buf_add(out, "\"", 1);
}
#define GW_JSON(out, name, v) gw_json((out), ",\"" name "\":\"", (v))

static void gw_json_u64(struct buf *out, const char *key, uint64_t v)
{
	buf_puts(out, key);
	buf_add_u64(out, v);
}
#define GW_JSON_U64(out, name, v) gw_json_u64((out), ",\"" name "\":", (v))

void gw_log_request(struct gw_log *log, const struct gw_req *r, uint64_t us,
		    uint64_t in, uint64_t out)
{
	struct gw_log_loop *ll = &log->loops[r->l - r->l->g->loops];
	struct buf *b = &ll->filling;
	int64_t wall = env_wall_ns(ll->env);
	char when[S3_TIME_ISO_LEN + 1];
	size_t start = b->len;

	s3_time_iso(wall / 1000000000, (unsigned)(wall / 1000000 % 1000), when);
	buf_puts(b, "{\"time\":\"");
	buf_puts(b, when);
	buf_add(b, "\"", 1);
	GW_JSON(b, "request", wire_cstr(r->id));
	GW_JSON(b, "peer", wire_cstr(http_peer(r->http)));
	GW_JSON(b, "access_key", wire_cstr(r->auth.access));
	if (r->who != NULL)
		GW_JSON(b, "user", r->who->name);
	GW_JSON(b, "method", r->head->method);
	GW_JSON(b, "operation",
		wire_cstr(r->route == NULL ? "" : r->route->op));
	GW_JSON(b, "bucket", r->name.bucket);
	GW_JSON(b, "key", r->name.key);
	GW_JSON_U64(b, "status", r->status);
	if (r->code != NULL)
		GW_JSON(b, "code", wire_cstr(r->code));
	GW_JSON_U64(b, "bytes_in", in);
	GW_JSON_U64(b, "bytes_out", out);
	GW_JSON_U64(b, "us", us);
	buf_puts(b, "}\n");
	if (b->err != 0) { /* the disk does not keep up */
		b->len = start;
		b->err = 0;
		if (ll->dropped++ == 0)
			log_warnx("access log: lines are dropped path=%s",
				  log->path);
	}
	if (b->len >= GW_LOG_FLUSH) {
		gw_log_flush(ll);
	} else if (!ll->armed) {
		ll->armed = true;
		env_timer_set(ll->env, &ll->timer, GW_LOG_DELAY_NS);
	}
}
