#include "common/base/daemon.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mem.h"

/* --- signals --- */

struct daemon_signals {
	struct loop_set *set;
	struct event *term, *intr, *hup;
	void (*on_hup)(void *arg);
	void *arg;
};

static void daemon_on_stop(evutil_socket_t sig, short what, void *arg)
{
	struct daemon_signals *s = arg;

	(void)what;
	log_info("stopping signal=%d", (int)sig);
	daemon_notify("STOPPING=1");
	loop_set_stop(s->set);
}

static void daemon_on_hup(evutil_socket_t sig, short what, void *arg)
{
	struct daemon_signals *s = arg;

	(void)sig;
	(void)what;
	if (log_reopen() != 0)
		log_warnx("cannot reopen the log");
	if (s->on_hup != NULL)
		s->on_hup(s->arg);
}

int daemon_signals_new(struct loop_set *set, void (*hup)(void *arg), void *arg,
		       struct daemon_signals **ret_signals)
{
	struct event_base *base = loop_base(loop_set_get(set, 0));
	struct daemon_signals *s = mem_zalloc(sizeof *s);

	if (s == NULL)
		return -ENOMEM;
	(void)signal(SIGPIPE, SIG_IGN);
	s->set = set;
	s->on_hup = hup;
	s->arg = arg;
	s->term = evsignal_new(base, SIGTERM, daemon_on_stop, s);
	s->intr = evsignal_new(base, SIGINT, daemon_on_stop, s);
	s->hup = evsignal_new(base, SIGHUP, daemon_on_hup, s);
	if (s->term == NULL || s->intr == NULL || s->hup == NULL ||
	    evsignal_add(s->term, NULL) != 0 ||
	    evsignal_add(s->intr, NULL) != 0 ||
	    evsignal_add(s->hup, NULL) != 0) {
		daemon_signals_free(s);
		return -ENOMEM;
	}
	*ret_signals = s;
	return 0;
}

void daemon_signals_free(struct daemon_signals *s)
{
	if (s == NULL)
		return;
	if (s->term != NULL)
		event_free(s->term);
	if (s->intr != NULL)
		event_free(s->intr);
	if (s->hup != NULL)
		event_free(s->hup);
	mem_free(s);
}

/* --- files --- */

int daemon_pid_write(const char *path, struct errbuf *e)
{
	FILE *f;

	if (path == NULL)
		return 0;
	f = fopen(path, "we");
	if (f == NULL)
		return errbuf_set(e, -errno, "cannot write %s: %s", path,
				  strerror(errno));
	fprintf(f, "%ld\n", (long)getpid());
	if (fclose(f) != 0)
		return errbuf_set(e, -errno, "cannot write %s: %s", path,
				  strerror(errno));
	return 0;
}

void daemon_pid_remove(const char *path)
{
	if (path != NULL)
		(void)unlink(path); /* gone already is as good */
}

void daemon_notify(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	size_t len = path != NULL ? strlen(path) : 0;
	int fd;

	if (len == 0 || len >= sizeof sun.sun_path)
		return;
	memcpy(sun.sun_path, path, len);
	if (sun.sun_path[0] == '@')
		sun.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)sendto(fd, text, strlen(text), MSG_NOSIGNAL,
		     (struct sockaddr *)&sun,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}

/* True when the file system that holds path is one of our mounts. */
static bool daemon_in_own_mount(const char *path)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[8192];
	struct stat st;
	bool found = false;

	if (f == NULL || stat(path, &st) != 0) {
		if (f != NULL)
			fclose(f);
		return false;
	}
	while (!found && fgets(line, sizeof line, f) != NULL) {
		unsigned maj, min;
		const char *type = strstr(line, " - ");

		if (type == NULL ||
		    sscanf(line, "%*d %*d %u:%u", &maj, &min) != 2)
			continue;
		found = strncmp(type + 3, "fuse.leofs ", 11) == 0 &&
			maj == major(st.st_dev) && min == minor(st.st_dev);
	}
	fclose(f);
	return found;
}

int daemon_lock_dir(const char *dir, struct errbuf *e)
{
	bool made = mkdir(dir, 0700) == 0;
	char path[PATH_MAX];
	int fd;

	if (!made && errno != EEXIST)
		return errbuf_set(e, -errno, "cannot make %s: %s", dir,
				  strerror(errno));
	if (daemon_in_own_mount(dir)) {
		if (made)
			(void)rmdir(dir);
		return errbuf_set(e, -ELOOP,
				  "%s is inside a mount of this very store",
				  dir);
	}
	if ((size_t)snprintf(path, sizeof path, "%s/lock", dir) >= sizeof path)
		return errbuf_set(e, -ENAMETOOLONG, "%s is too long", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return errbuf_set(e, -errno, "cannot open %s: %s", path,
				  strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		close(fd);
		return errbuf_set(e, -EBUSY, "%s is in use by another server",
				  dir);
	}
	return 0; /* the descriptor stays open: it is the lock */
}

/* The limit that this file of a cgroup states; UINT64_MAX: none. */
static uint64_t daemon_cgroup_limit(const char *path)
{
	FILE *f = fopen(path, "re");
	unsigned long long v;
	uint64_t limit = UINT64_MAX;

	if (f == NULL)
		return limit;
	if (fscanf(f, "%llu", &v) == 1) /* else it says "max" */
		limit = v;
	fclose(f);
	return limit;
}

/* The lowest limit from our cgroup (version 2) up to the root. */
static uint64_t daemon_cgroup_memory(void)
{
	char line[PATH_MAX], path[PATH_MAX + 64], *end;
	FILE *f = fopen("/proc/self/cgroup", "re");
	uint64_t limit = UINT64_MAX;
	bool found = false;

	if (f == NULL)
		return limit;
	while (!found && fgets(line, sizeof line, f) != NULL)
		found = strncmp(line, "0::/", 4) == 0;
	fclose(f);
	if (!found)
		return limit;
	line[strcspn(line, "\n")] = '\0';
	do {
		uint64_t one;

		(void)snprintf(path, sizeof path,
			       "/sys/fs/cgroup%s/memory.max", line + 3);
		one = daemon_cgroup_limit(path);
		limit = one < limit ? one : limit;
		end = strrchr(line + 3, '/');
		if (end != NULL)
			*end = '\0';
	} while (end != NULL);
	return limit;
}

uint64_t daemon_memory(void)
{
	uint64_t limit = daemon_cgroup_memory();
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
	uint64_t all = pages > 0 && size > 0
		? (uint64_t)pages * (uint64_t)size
		: (uint64_t)1 << 30;

	return limit < all ? limit : all;
}

char *daemon_abs_path(const char *path)
{
	char *real = realpath(path, NULL), *cwd, *abs;

	if (real != NULL || path[0] == '/')
		return real != NULL ? real : mem_strdup(path);
	cwd = getcwd(NULL, 0);
	abs = cwd != NULL ? mem_printf("%s/%s", cwd, path) : NULL;
	free(cwd);
	return abs;
}

void daemon_raise_files(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) != 0 || rl.rlim_cur == rl.rlim_max)
		return;
	rl.rlim_cur = rl.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &rl); /* a wish, not a need */
}
