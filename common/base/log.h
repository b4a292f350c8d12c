#ifndef COMMON_BASE_LOG_H
#define COMMON_BASE_LOG_H
/*
 * Log lines: "time level component: message" on stderr, or to a file.
 * Fields are written key=value. Secrets never go here. Any thread; errno is
 * preserved.
 */
#include <stdarg.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* name: program name shown in each line; path NULL: stderr. 0 or -errno. */
int log_init(const char *name, const char *path, enum log_level level);
void log_set_level(enum log_level level);
/* Reopens the file after logrotate; 0 or -errno. */
int log_reopen(void);

void log_warn(int err, const char *fmt, ...) /* adds strerror(-err) */
	__attribute__((format(printf, 2, 3)));
void log_warnx(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Logs, then exit(1). Start-up only. */
_Noreturn void fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The exit status of fatal(); 1 unless set. */
void fatal_set_status(int status);
/* Logs, then abort(): a broken promise of the disk or of ourselves. */
_Noreturn void fatal_abort(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));

#endif
