/*
 * The kernel's side: the libfuse session and its descriptor on our loop.
 *
 * The loop reads at most DEVICE_BATCH requests per turn, so that replies of
 * shards get their share, and none while DEVICE_FOPS_MAX are under way. While
 * there is one at a time it does not look for a second one. Some time after the
 * last one the memory that is kept for bodies goes back to the system: an idle
 * mount is a small one.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mem.h"
#include "fuse/inval.h"
#include "fuse/mount.h"
#include "fuse/ops.h"

#define DEVICE_BATCH 32
#define DEVICE_FOPS_MAX 4096u
#define DEVICE_QUIET_NS UINT64_C(2000000000)
#define DEVICE_MAX_WRITE (1u << 20)
#define DEVICE_READAHEAD (2u << 20) /* one READ beside the one answered */

/* "MAJOR:MINOR" of our mount, from the kernel's list: stat() would wait for
 * ourselves. */
static bool device_find_bdi(const struct mount *m, char ret_bdi[32])
{
	FILE *in = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t cap = 0;
	bool found = false;

	if (in == NULL)
		return false;
	while (getline(&line, &cap, in) > 0) {
		char bdi[32], dir[PATH_MAX];

		/* id, parent id, device, root, mount point */
		if (sscanf(line, "%*s %*s %31s %*s %4095s", bdi, dir) != 2 ||
		    strcmp(dir, m->opt->mountpoint) != 0)
			continue;
		memcpy(ret_bdi, bdi, sizeof(bdi));
		found = true; /* the last one is on top */
	}
	free(line);
	(void)fclose(in);
	return found;
}

/*
 * The kernel reads 128 KiB ahead unless root says more; larger READs cost
 * less. Without the right to it everything works all the same.
 */
static void device_raise_readahead(struct env_task *task)
{
	struct mount *m = CONTAINER_OF(task, struct mount, init_task);
	char bdi[32], path[96];
	FILE *out;

	if (!device_find_bdi(m, bdi))
		return;
	(void)snprintf(path, sizeof(path), "/sys/class/bdi/%s/read_ahead_kb",
		       bdi);
	out = fopen(path, "we");
	if (out == NULL)
		return;
	(void)fprintf(out, "%u\n", DEVICE_READAHEAD / 1024);
	(void)fclose(out);
}

static void device_on_init(void *arg, struct fuse_conn_info *conn)
{
	const unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS |
			      FUSE_CAP_ATOMIC_O_TRUNC |
			      FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_READDIRPLUS |
			      FUSE_CAP_READDIRPLUS_AUTO |
			      FUSE_CAP_HANDLE_KILLPRIV |
			      FUSE_CAP_CACHE_SYMLINKS;
	const unsigned refuse = FUSE_CAP_WRITEBACK_CACHE |
				FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
				FUSE_CAP_SPLICE_MOVE |
				/* device of ours tells what changed elsewhere */
				FUSE_CAP_AUTO_INVAL_DATA;
	struct mount *m = arg;

	conn->want |= conn->capable & want;
	conn->want &= ~refuse;
	/* Symlinks never change, but one may be replaced: entry timeout. */
	conn->max_write = DEVICE_MAX_WRITE;
	conn->max_readahead = DEVICE_MAX_WRITE;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	conn->time_gran = 1;
	m->state = MOUNT_RUNNING;
	m->init_task.run = device_raise_readahead;
	env_post(m->env, &m->init_task); /* once INIT is answered */
	m->cbs.on_ready(m->cbs.arg);
}

static const struct fuse_lowlevel_ops device_ops = {
	.init = device_on_init,
	.lookup = ops_lookup,
	.forget = ops_forget,
	.forget_multi = ops_forget_multi,
	.getattr = ops_getattr,
	.setattr = ops_setattr,
	.readlink = ops_readlink,
	.mknod = ops_mknod,
	.mkdir = ops_mkdir,
	.unlink = ops_unlink,
	.rmdir = ops_rmdir,
	.symlink = ops_symlink,
	.rename = ops_rename,
	.link = ops_link,
	.open = ops_open,
	.create = ops_create,
	.read = ops_read,
	.write = ops_write,
	.flush = ops_flush,
	.fsync = ops_fsync,
	.release = ops_release,
	.opendir = ops_opendir,
	.readdir = ops_readdir,
	.readdirplus = ops_readdirplus,
	.releasedir = ops_releasedir,
	.fsyncdir = ops_fsyncdir,
	.statfs = ops_statfs,
	.setxattr = ops_setxattr,
	.getxattr = ops_getxattr,
	.listxattr = ops_listxattr,
	.removexattr = ops_removexattr,
	.fallocate = ops_fallocate,
	.lseek = ops_lseek,
	.copy_file_range = ops_copy_file_range,
};

static bool device_is_full(const struct mount *m)
{
	return m->fops >= DEVICE_FOPS_MAX;
}

static void device_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct mount *m = arg;
	/* A lone request is followed by none until it is answered. */
	int most = m->dev_batched ? DEVICE_BATCH : 1, i;

	(void)fd;
	(void)what;
	for (i = 0; i < most && !device_is_full(m); i++) {
		int rv = fuse_session_receive_buf(m->se, &m->dev_buf);

		if (rv == -EINTR)
			continue;
		if (rv == -EAGAIN)
			break;
		if (rv <= 0 || fuse_session_exited(m->se)) {
			event_del(m->dev_event);
			mount_end(m, rv < 0 ? rv : 0);
			return;
		}
		fuse_session_process_buf(m->se, &m->dev_buf);
	}
	m->dev_batched = m->fops > 1 || i > 1;
	if (device_is_full(m)) {
		m->dev_paused = true;
		event_del(m->dev_event);
	}
}

/* --- memory --- */

static void device_trim_run(struct env_work *work)
{
	(void)work;
	body_trim();
}

static void device_trim_done(struct env_work *work)
{
	struct mount *m = CONTAINER_OF(work, struct mount, trim_work);

	m->trim_on = false;
	m->calls--;
}

static void device_on_trim_timer(struct env_timer *timer)
{
	struct mount *m = CONTAINER_OF(timer, struct mount, trim_timer);

	if (m->fops > 0 || m->served != m->trim_served) {
		m->trim_served = m->served;
		env_timer_set(m->env, timer, DEVICE_QUIET_NS);
		return;
	}
	m->calls++;
	m->trim_work.run = device_trim_run;
	m->trim_work.done = device_trim_done;
	env_work(m->env, &m->trim_work);
}

static void device_trim_later(struct mount *m)
{
	if (m->trim_on || body_kept() == 0)
		return;
	m->trim_on = true;
	m->trim_served = m->served;
	m->trim_timer.cb = device_on_trim_timer;
	env_timer_set(m->env, &m->trim_timer, DEVICE_QUIET_NS);
}

void device_check(struct mount *m)
{
	m->served++;
	if (m->fops == 0) {
		/* who asks one by one does so at once */
		loop_expect(m->loop, &m->requests);
		device_trim_later(m);
	}
	if (!m->dev_paused || m->fops > DEVICE_FOPS_MAX / 2)
		return;
	m->dev_paused = false;
	event_add(m->dev_event, NULL);
}

void device_sent(struct mount *m, struct loop_luck *luck)
{
	if (m->fops == 1)
		loop_expect(m->loop, luck);
}

void device_pause(struct mount *m)
{
	m->dev_paused = false;
	if (m->dev_event != NULL)
		event_del(m->dev_event);
}

static int device_args(struct mount *m, struct fuse_args *args)
{
	const struct mount_options *o = m->opt;
	struct buf text;
	int rv = 0;

	buf_init(&text, 0);
	/* libfuse takes commas of a name apart unless they are escaped. */
	buf_puts(&text, "fsname=");
	for (const char *p = o->fsname != NULL ? o->fsname : o->spec;
	     *p != '\0'; p++) {
		if (*p == ',' || *p == '\\')
			buf_puts(&text, "\\");
		buf_add(&text, p, 1);
	}
	buf_printf(&text, ",subtype=%s",
		   o->subtype != NULL ? o->subtype : "leofs");
	buf_add(&text, o->kernel.data, o->kernel.len);
	if (o->allow_other)
		buf_puts(&text, ",allow_other");
	if (o->default_permissions)
		buf_puts(&text, ",default_permissions");
	if (o->read_only)
		buf_puts(&text, ",ro");
	buf_add(&text, "", 1);
	if (text.err != 0 || fuse_opt_add_arg(args, "leo-mount") != 0 ||
	    fuse_opt_add_arg(args, "-o") != 0 ||
	    fuse_opt_add_arg(args, (const char *)text.data) != 0)
		rv = -ENOMEM;
	buf_fini(&text);
	return rv;
}

int device_open(struct mount *m, struct errbuf *e)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int fd, flags;
	int rv = device_args(m, &args);

	if (rv == 0)
		m->se = fuse_session_new(&args, &device_ops,
					 sizeof(device_ops), m);
	fuse_opt_free_args(&args);
	if (m->se == NULL)
		return errbuf_set(e, -EINVAL, "cannot make a FUSE session");
	if (fuse_session_mount(m->se, m->opt->mountpoint) != 0)
		return errbuf_set(e, -EIO, "cannot mount on %.150s "
				  "(is it a directory, and /dev/fuse there?)",
				  m->opt->mountpoint);
	fd = fuse_session_fd(m->se);
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
		rv = -errno;
	if (rv == 0)
		rv = inval_start(m);
	if (rv != 0)
		return errbuf_set(e, rv, "cannot start: %s", strerror(-rv));
	m->dev_event = event_new(loop_base(m->loop), fd, EV_READ | EV_PERSIST,
				 device_on_readable, m);
	if (m->dev_event == NULL || event_add(m->dev_event, NULL) != 0)
		return errbuf_set(e, -ENOMEM, "out of memory");
	return 0;
}

void device_close(struct mount *m)
{
	env_timer_cancel(m->env, &m->trim_timer);
	if (m->dev_event != NULL)
		event_free(m->dev_event);
	m->dev_event = NULL;
	if (m->se == NULL)
		return;
	/* Unmounts unless that is done, and ends a notification that waits. */
	fuse_session_unmount(m->se);
	inval_stop(m);
	fuse_session_destroy(m->se);
	m->se = NULL;
	free(m->dev_buf.mem); /* libfuse's malloc */
	m->dev_buf.mem = NULL;
}
