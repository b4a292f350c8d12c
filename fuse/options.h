#ifndef FUSE_OPTIONS_H
#define FUSE_OPTIONS_H
/*
 * What leo-mount was asked to do: SPEC, mount point and `-o` options. Pure.
 *
 * SPEC is `unix:PATH` then `:/` (all buckets) or `:/BUCKET[/PATH]`.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/errbuf.h"

struct mount_options {
	char *spec;       /* as given: the source shown in /proc/mounts */
	char *manager;    /* "unix:PATH", PATH absolute */
	char *path;       /* behind ":/", without slashes at its ends */
	char *mountpoint; /* absolute */
	char *fsname;     /* option fsname=, else spec */
	char *subtype;    /* option subtype=, else "leofs" */
	char *log;        /* --log; NULL: syslog, or stderr with -f */
	char *pid_file;   /* --pid-file or NULL */
	bool foreground;
	bool debug;
	bool read_only;
	bool allow_other;
	bool default_permissions;
	uint32_t timeout_s;
	double attr_timeout_s;
	double entry_timeout_s;
	struct buf kernel; /* options for the kernel: ",nosuid,noexec" */
};

/* Defaults; is_root decides about default_permissions. */
void mount_options_init(struct mount_options *o, bool is_root);
void mount_options_fini(struct mount_options *o);
/* Parses SPEC; a relative PATH is taken from cwd. */
int mount_options_spec(struct mount_options *o, const char *spec,
		       const char *cwd, struct errbuf *e);
/* Parses one `-o` list. */
int mount_options_list(struct mount_options *o, const char *list,
		       struct errbuf *e);

#endif
