noinst_LIBRARIES += %D%/libbase.a
%C%_libbase_a_SOURCES = \
	%D%/be.h %D%/buf.c %D%/buf.h \
	%D%/conf.c %D%/conf.h \
	%D%/conf_value.c %D%/conf_value.h \
	%D%/conn.c %D%/conn.h \
	%D%/conn_addr.c %D%/conn_addr.h \
	%D%/conn_listen.c \
	%D%/daemon.c %D%/daemon.h %D%/daemon_args.c \
	%D%/env.h \
	%D%/errbuf.c %D%/errbuf.h \
	%D%/log.c %D%/log.h \
	%D%/loop.c %D%/loop.h %D%/loop_hook.h %D%/loop_impl.h \
	%D%/mem.c %D%/mem.h \
	%D%/metrics.c %D%/metrics.h \
	%D%/serial.c \
	%D%/space.c %D%/space.h \
	%D%/vfs_dir.c %D%/vfs_dir.h \
	%D%/vfs_posix.c \
	%D%/workers.c \
	%D%/xxh.h

check_PROGRAMS += tests/unit/test_base_be tests/unit/test_base_buf \
	tests/unit/test_base_conf tests/unit/test_base_conn \
	tests/unit/test_base_loop tests/unit/test_base_serial
tests_unit_test_base_be_SOURCES = tests/unit/test_base_be.c
tests_unit_test_base_be_LDADD = $(CMOCKA_LIBS)
tests_unit_test_base_buf_SOURCES = tests/unit/test_base_buf.c
tests_unit_test_base_buf_LDADD = tests/lib/libfault.a $(LIB_BASE) $(CMOCKA_LIBS)
tests_unit_test_base_conf_SOURCES = tests/unit/test_base_conf.c
tests_unit_test_base_conf_LDADD = tests/lib/libfault.a $(LIB_BASE) $(CMOCKA_LIBS)
tests_unit_test_base_conn_SOURCES = tests/unit/test_base_conn.c
tests_unit_test_base_conn_LDADD = $(LIB_BASE) $(CMOCKA_LIBS)
tests_unit_test_base_loop_SOURCES = tests/unit/test_base_loop.c
tests_unit_test_base_loop_LDADD = $(LIB_BASE) $(CMOCKA_LIBS)
tests_unit_test_base_serial_SOURCES = tests/unit/test_base_serial.c
tests_unit_test_base_serial_LDADD = $(LIB_BASE) $(CMOCKA_LIBS)
# the file system and the loop of the simulators
check_PROGRAMS += tests/unit/test_base_space
tests_unit_test_base_space_SOURCES = tests/unit/test_base_space.c
tests_unit_test_base_space_LDADD = tests/lib/libcrash.a \
	tests/lib/libfault.a $(LIB_SEG) $(CMOCKA_LIBS)
TESTS += tests/unit/test_base_space
TESTS += tests/unit/test_base_be tests/unit/test_base_buf \
	tests/unit/test_base_conf tests/unit/test_base_conn \
	tests/unit/test_base_loop tests/unit/test_base_serial
EXTRA_DIST += tests/conf
