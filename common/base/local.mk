noinst_LIBRARIES += %D%/libbase.a
%C%_libbase_a_SOURCES = \
	%D%/buf.c %D%/buf.h \
	%D%/conf.h \
	%D%/conn.h \
	%D%/daemon.c %D%/daemon.h %D%/daemon_args.c \
	%D%/env.h \
	%D%/errbuf.c %D%/errbuf.h \
	%D%/log.c %D%/log.h \
	%D%/loop.c %D%/loop.h %D%/loop_impl.h \
	%D%/mem.c %D%/mem.h \
	%D%/metrics.c %D%/metrics.h \
	%D%/vfs_posix.c \
	%D%/workers.c
