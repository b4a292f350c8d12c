#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 4096

static struct {
	char name[32];
	char path[PATH_MAX]; /* empty: stderr */
	int fd;
	int level; /* atomic */
} log_state = { .name = "leofs", .fd = STDERR_FILENO,
		.level = LOG_LEVEL_INFO };

static const char *const log_words[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

static int log_open(int *ret_fd)
{
	int fd = open(log_state.path,
		      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int log_init(const char *name, const char *path, enum log_level level)
{
	int fd = STDERR_FILENO;
	int rv;

	(void)snprintf(log_state.name, sizeof(log_state.name), "%s", name);
	log_set_level(level);
	if (path != NULL && strlen(path) >= sizeof(log_state.path))
		return -ENAMETOOLONG;
	(void)snprintf(log_state.path, sizeof(log_state.path), "%s",
		       path == NULL ? "" : path);
	if (path != NULL) {
		rv = log_open(&fd);
		if (rv != 0)
			return rv;
	}
	if (log_state.fd != STDERR_FILENO)
		(void)close(log_state.fd);
	log_state.fd = fd;
	return 0;
}

void log_set_level(enum log_level level)
{
	__atomic_store_n(&log_state.level, (int)level, __ATOMIC_RELAXED);
}

int log_reopen(void)
{
	int fd = -1, rv;

	if (log_state.path[0] == '\0')
		return 0;
	rv = log_open(&fd);
	if (rv != 0)
		return rv;
	/* the number stays, so that threads may go on writing meanwhile */
	if (dup3(fd, log_state.fd, O_CLOEXEC) < 0)
		rv = -errno;
	(void)close(fd);
	return rv;
}

/* Values may hold what a client sent: one entry must stay one line. */
static void log_clean(char *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			p[i] = '?';
	}
}

static void log_write(enum log_level level, int err, const char *fmt,
		      va_list ap)
{
	char line[LOG_LINE_MAX];
	int saved = errno;
	struct timespec ts;
	struct tm tm;
	size_t n, head;
	int rv;

	if ((int)level > __atomic_load_n(&log_state.level, __ATOMIC_RELAXED))
		return;
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	(void)gmtime_r(&ts.tv_sec, &tm);
	n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
	rv = snprintf(line + n, sizeof(line) - n, ".%03ldZ %s %s: ",
		      ts.tv_nsec / 1000000, log_words[level], log_state.name);
	n += (size_t)rv;
	head = n;
	rv = vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	if (rv > 0)
		n += (size_t)rv;
	if (err != 0 && n < sizeof(line)) {
		char text[128];

		rv = snprintf(line + n, sizeof(line) - n, ": %s",
			      strerror_r(err < 0 ? -err : err, text,
					 sizeof(text)));
		if (rv > 0)
			n += (size_t)rv;
	}
	if (n > sizeof(line) - 1)
		n = sizeof(line) - 1;
	log_clean(line + head, n - head);
	line[n++] = '\n';
	if (write(log_state.fd, line, n) < 0) {
		/* nowhere to say so */
	}
	errno = saved;
}

void log_warn(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_write(LOG_LEVEL_WARN, err, fmt, ap);
	va_end(ap);
}

void log_warnx(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_write(LOG_LEVEL_WARN, 0, fmt, ap);
	va_end(ap);
}

void log_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_write(LOG_LEVEL_INFO, 0, fmt, ap);
	va_end(ap);
}

void log_debug(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_write(LOG_LEVEL_DEBUG, 0, fmt, ap);
	va_end(ap);
}

static int fatal_status = 1;

void fatal(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_write(LOG_LEVEL_ERROR, 0, fmt, ap);
	va_end(ap);
	/* not exit(): it takes apart what other threads still use */
	_exit(fatal_status);
}

void fatal_set_status(int status)
{
	fatal_status = status;
}

void fatal_abort(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_write(LOG_LEVEL_ERROR, 0, fmt, ap);
	va_end(ap);
	abort();
}
