/*
 * leo-mount: arguments, daemon, wiring. Also called mount.leofs by mount(8).
 *
 * In the background the parent waits for one message of the child: "mounted",
 * or the sentence that says why not.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "common/base/daemon.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mem.h"
#include "fuse/mount.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#else
#define PACKAGE_VERSION "development"
#endif

struct program {
	struct mount_options opt;
	int tell_fd; /* to the parent that waits; -1: none */
	bool is_mount_helper; /* called by mount(8) */
	bool ready;
	int status; /* exit status */
	struct loop_set *loops;
	struct client_set *clients;
	struct mount *mount;
	struct event *signals[3];
};

static const char usage_text[] =
	"usage: leo-mount SPEC MOUNTPOINT [-o OPTIONS] [-f]\n"
	"  SPEC               unix:PATH:/          all buckets\n"
	"                     unix:PATH:/BUCKET[/DIRECTORY]\n"
	"  -o OPTIONS         allow_other, ro, timeout=30, attr_timeout=1,\n"
	"                     entry_timeout=1, ...: see leo-mount(8)\n"
	"  -f                 stay in the foreground\n"
	"  --log FILE         log there (default: syslog; with -f: stderr)\n"
	"  --pid-file FILE    write the process id there\n"
	"  --debug            log more\n"
	"  --help, --version\n";

static _Noreturn void program_usage(int status)
{
	fputs(usage_text, status == 0 ? stdout : stderr);
	exit(status);
}

static _Noreturn void program_die(const char *text)
{
	fprintf(stderr, "leo-mount: %s\n", text);
	exit(1);
}

/* --- arguments --- */

enum { OPT_LOG = 256, OPT_PID, OPT_DEBUG, OPT_HELP, OPT_VERSION };

static void program_set(char **field, const char *path)
{
	mem_free(*field);
	*field = daemon_abs_path(path);
	if (*field == NULL)
		program_die("out of memory");
}

static void program_option(struct program *p, int opt)
{
	struct errbuf e = { "" };

	switch (opt) {
	case 'o':
		if (mount_options_list(&p->opt, optarg, &e) != 0)
			program_die(e.text);
		break;
	case 'f':
		if (p->is_mount_helper)
			exit(0); /* mount -f: everything but the mount */
		p->opt.foreground = true;
		break;
	case 's': /* mount(8): sloppy, no mtab, verbose, type */
	case 'n':
	case 'v':
	case 't':
		break;
	case OPT_LOG:
		program_set(&p->opt.log, optarg);
		break;
	case OPT_PID:
		program_set(&p->opt.pid_file, optarg);
		break;
	case OPT_DEBUG:
		p->opt.debug = true;
		break;
	case OPT_HELP:
		program_usage(0);
	case OPT_VERSION:
		puts("leo-mount " PACKAGE_VERSION);
		exit(0);
	default:
		program_usage(2);
	}
}

static void program_parse(struct program *p, int argc, char **argv)
{
	static const struct option options[] = {
		{ "log", required_argument, NULL, OPT_LOG },
		{ "pid-file", required_argument, NULL, OPT_PID },
		{ "debug", no_argument, NULL, OPT_DEBUG },
		{ "help", no_argument, NULL, OPT_HELP },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ NULL, 0, NULL, 0 },
	};
	const char *name = strrchr(argv[0], '/');
	struct errbuf e = { "" };
	char *cwd;
	int opt;

	name = name == NULL ? argv[0] : name + 1;
	p->is_mount_helper = strncmp(name, "mount.", 6) == 0;
	mount_options_init(&p->opt, geteuid() == 0);
	while ((opt = getopt_long(argc, argv, "o:fsnvt:", options, NULL)) !=
	       -1)
		program_option(p, opt);
	if (argc - optind != 2)
		program_usage(2);
	cwd = getcwd(NULL, 0);
	if (mount_options_spec(&p->opt, argv[optind], cwd == NULL ? "" : cwd,
			       &e) != 0)
		program_die(e.text);
	free(cwd);
	p->opt.mountpoint = realpath(argv[optind + 1], NULL);
	if (p->opt.mountpoint == NULL) {
		errbuf_set(&e, -errno, "%.150s: %s%s", argv[optind + 1],
			   strerror(errno),
			   errno == ENOTCONN ? " (a dead mount: unmount it)"
					     : "");
		program_die(e.text);
	}
}

/* --- background --- */

static void program_tell(struct program *p, const char *text)
{
	if (p->tell_fd < 0) {
		if (text[0] != '\0')
			fprintf(stderr, "leo-mount: %s\n", text);
		return;
	}
	/* The parent may have been killed; then nobody wants to know. */
	if (write(p->tell_fd, text, strlen(text) + 1) < 0)
		log_warn(-errno, "cannot tell the parent");
	(void)close(p->tell_fd);
	p->tell_fd = -1;
}

/* Parent: waits for the child's word and ends with it. */
static _Noreturn void program_wait(int fd, pid_t child)
{
	struct errbuf e = { "" };
	ssize_t n;

	do
		n = read(fd, e.text, sizeof(e.text) - 1);
	while (n < 0 && errno == EINTR);
	if (n > 0 && e.text[0] == '\0')
		exit(0);
	if (n > 0)
		program_die(e.text);
	(void)waitpid(child, NULL, 0);
	program_die("ended before the mount was ready");
}

static void program_fork(struct program *p)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) != 0)
		program_die(strerror(errno));
	pid = fork();
	if (pid < 0)
		program_die(strerror(errno));
	if (pid > 0) {
		(void)close(fds[1]);
		program_wait(fds[0], pid);
	}
	(void)close(fds[0]);
	(void)setsid();
	p->tell_fd = fds[1];
}

/* Hands what is written to stderr to syslog, line by line. */
static void *program_syslog(void *arg)
{
	FILE *in = arg;
	char line[4096];

	openlog("leo-mount", LOG_PID, LOG_DAEMON);
	while (fgets(line, sizeof(line), in) != NULL)
		syslog(strstr(line, " error ") != NULL  ? LOG_ERR
		       : strstr(line, " warn ") != NULL ? LOG_WARNING
							: LOG_INFO,
		       "%s", line);
	(void)fclose(in);
	return NULL;
}

/* The terminal is let go; the log file or syslog takes over. */
static void program_detach(struct program *p)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	pthread_t thread;
	int fds[2];
	FILE *in;

	if (null >= 0) {
		(void)dup2(null, STDIN_FILENO);
		(void)dup2(null, STDOUT_FILENO);
		(void)dup2(null, STDERR_FILENO);
		(void)close(null);
	}
	if (p->opt.log != NULL || pipe2(fds, O_CLOEXEC) != 0)
		return;
	in = fdopen(fds[0], "r");
	if (in != NULL && pthread_create(&thread, NULL, program_syslog, in) ==
				  0) {
		(void)pthread_detach(thread);
		(void)dup2(fds[1], STDERR_FILENO);
	}
	(void)close(fds[1]);
}

/* --- the mount tells --- */

static void program_on_ready(void *arg)
{
	struct program *p = arg;

	p->ready = true;
	log_info("mounted spec=%s dir=%s", p->opt.spec, p->opt.mountpoint);
	daemon_notify("READY=1");
	if (p->opt.foreground)
		return;
	program_tell(p, "");
	program_detach(p);
}

static void program_on_end(void *arg, int err, const struct errbuf *e)
{
	struct program *p = arg;

	if (!p->ready && err != 0)
		program_tell(p, e->text[0] != '\0' ? e->text : strerror(-err));
	if (err != 0)
		p->status = 1;
	if (p->ready)
		log_info("ended dir=%s", p->opt.mountpoint);
	daemon_notify("STOPPING=1");
	loop_set_stop(p->loops);
}

static void program_on_signal(evutil_socket_t sig, short what, void *arg)
{
	struct program *p = arg;

	(void)what;
	if (sig == SIGHUP) {
		if (log_reopen() != 0)
			log_warnx("cannot reopen the log");
		return;
	}
	log_info("stopping signal=%d", (int)sig);
	mount_stop(p->mount);
}

static void program_fuse_log(enum fuse_log_level level, const char *fmt,
			     va_list ap)
{
	char line[512];
	size_t len;

	(void)vsnprintf(line, sizeof(line), fmt, ap);
	len = strlen(line);
	if (len > 0 && line[len - 1] == '\n')
		line[len - 1] = '\0';
	if (level <= FUSE_LOG_WARNING)
		log_warnx("libfuse: %s", line);
	else
		log_debug("libfuse: %s", line);
}

static int program_signals(struct program *p)
{
	static const int sigs[] = { SIGTERM, SIGINT, SIGHUP };
	struct event_base *base = loop_base(loop_set_get(p->loops, 0));

	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof(sigs) / sizeof(*sigs); i++) {
		p->signals[i] = evsignal_new(base, sigs[i], program_on_signal,
					     p);
		if (p->signals[i] == NULL ||
		    evsignal_add(p->signals[i], NULL) != 0)
			return -ENOMEM;
	}
	return 0;
}

static int program_start(struct program *p, struct errbuf *e)
{
	struct client_config cc = {
		.manager = p->opt.manager,
		.role = RPC_ROLE_MOUNT,
		.kind = "mount",
		.timeout_ms = p->opt.timeout_s * 1000,
	};
	struct mount_callbacks cbs = { program_on_ready, program_on_end, p };
	int rv = loop_set_new(1, 0, &p->loops);

	if (rv != 0)
		return errbuf_set(e, rv, "cannot start: %s", strerror(-rv));
	cc.loops = p->loops;
	rv = client_set_new(&cc, &p->clients, e);
	if (rv != 0)
		return rv;
	rv = mount_new(&p->opt, loop_set_get(p->loops, 0), p->clients, &cbs,
		       &p->mount);
	if (rv == 0)
		rv = program_signals(p);
	if (rv != 0)
		return errbuf_set(e, rv, "cannot start: %s", strerror(-rv));
	return daemon_pid_write(p->opt.pid_file, e);
}

static void program_close(struct program *p)
{
	bool free_all = mount_free(p->mount);

	for (size_t i = 0; i < 3; i++)
		event_free(p->signals[i]);
	daemon_pid_remove(p->opt.pid_file);
	if (!free_all)
		return;
	client_set_free(p->clients);
	loop_set_free(p->loops);
	mount_options_fini(&p->opt);
}

int main(int argc, char **argv)
{
	struct program p = { .tell_fd = -1 };
	struct errbuf e = { "" };
	int rv;

	program_parse(&p, argc, argv);
	if (!p.opt.foreground)
		program_fork(&p);
	rv = log_init("leo-mount", p.opt.log,
		      p.opt.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	if (rv != 0)
		errbuf_set(&e, rv, "cannot log to %.150s: %s", p.opt.log,
			   strerror(-rv));
	fuse_set_log_func(program_fuse_log);
	daemon_raise_files();
	if (rv == 0)
		rv = program_start(&p, &e);
	if (rv != 0) {
		program_tell(&p, e.text);
		return 1;
	}
	client_set_start(p.clients, mount_client_ready, p.mount);
	loop_set_run(p.loops);
	program_close(&p);
	return p.status;
}
