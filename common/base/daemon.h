#ifndef COMMON_BASE_DAEMON_H
#define COMMON_BASE_DAEMON_H
/*
 * What every daemon does around its loops: data directory lock, pid file,
 * service manager notification, signals. Loop 0's thread, at start and stop.
 */
#include <stdint.h>

#include "common/base/errbuf.h"

struct loop_set;

struct daemon_signals;
/*
 * SIGTERM and SIGINT stop the set, SIGHUP calls hup (may be NULL), SIGPIPE is
 * ignored. Before loop_set_run(). 0 or -errno.
 */
int daemon_signals_new(struct loop_set *set, void (*hup)(void *arg), void *arg,
		       struct daemon_signals **ret_signals);
void daemon_signals_free(struct daemon_signals *s);

/* Writes our pid and a newline; removed by daemon_pid_remove(). NULL: none. */
int daemon_pid_write(const char *path, struct errbuf *e);
void daemon_pid_remove(const char *path);

/* sd_notify(3) text to $NOTIFY_SOCKET, e.g. "READY=1"; nothing without it. */
void daemon_notify(const char *text);

/*
 * Makes dir (0700) and takes an exclusive lock on dir/lock, held until exit.
 * Refuses a directory inside a mount of ours. 0 or -errno with e set.
 */
int daemon_lock_dir(const char *dir, struct errbuf *e);

/* Bytes of memory this process may use: the machine's, or its cgroup's. */
uint64_t daemon_memory(void);

/* realpath, or the path made absolute when it does not exist yet; allocated. */
char *daemon_abs_path(const char *path);

/*
 * The command line that all configured daemons share:
 *   -c FILE  configuration   -n  check it, print the effective one, exit
 *   -x conf  print the settings as manual page source, exit
 *   --help, --version
 * Fills conf from the table (defaults, then the file). Exits the process on
 * -n, -x, --help, --version (0) and on any error (1 or 2, one sentence).
 */
struct conf_setting;
void daemon_configure(const char *name, int argc, char **argv,
		      const struct conf_setting *table, unsigned n,
		      void *conf);

/* Raises RLIMIT_NOFILE to its hard limit. */
void daemon_raise_files(void);

#endif
