noinst_LIBRARIES += %D%/libleofuse.a
%C%_libleofuse_a_CPPFLAGS = $(AM_CPPFLAGS) $(FUSE_CFLAGS)
%C%_libleofuse_a_SOURCES = \
	%D%/commit.c %D%/commit.h \
	%D%/device.c \
	%D%/dircur.c %D%/dircur.h \
	%D%/ending.c %D%/ending.h \
	%D%/escape.c %D%/escape.h \
	%D%/flush.c %D%/flush.h \
	%D%/fop.c %D%/fop.h \
	%D%/handle.c %D%/handle.h \
	%D%/inode.c %D%/inode.h \
	%D%/inval.c %D%/inval.h \
	%D%/stale.c %D%/stale.h \
	%D%/mount.c %D%/mount.h \
	%D%/ops.h \
	%D%/ops_attr.c %D%/ops_dir.c %D%/ops_io.c %D%/ops_link.c \
	%D%/ops_name.c %D%/ops_open.c %D%/ops_range.c %D%/ops_xattr.c \
	%D%/options.c %D%/options.h \
	%D%/reader.c %D%/reader.h \
	%D%/wbuf.c %D%/wbuf.h

sbin_PROGRAMS += fuse/leo-mount
fuse_leo_mount_CPPFLAGS = $(AM_CPPFLAGS) $(FUSE_CFLAGS)
fuse_leo_mount_SOURCES = %D%/main.c
fuse_leo_mount_LDADD = $(LIB_FUSE) -lm

# mount(8) finds the helper of a type by this name.
install-exec-hook:
	cd $(DESTDIR)$(sbindir) && ln -sf leo-mount mount.leofs

uninstall-hook:
	rm -f $(DESTDIR)$(sbindir)/mount.leofs

check_PROGRAMS += tests/unit/test_fuse_ending \
	tests/unit/test_fuse_escape tests/unit/test_fuse_wbuf \
	tests/unit/test_fuse_dircur tests/unit/test_fuse_options \
	tests/unit/test_fuse_flush tests/unit/test_fuse_reader
tests_unit_test_fuse_ending_SOURCES = tests/unit/test_fuse_ending.c
tests_unit_test_fuse_ending_LDADD = $(LIB_FUSE) $(CMOCKA_LIBS)
tests_unit_test_fuse_escape_SOURCES = tests/unit/test_fuse_escape.c
tests_unit_test_fuse_escape_LDADD = $(LIB_FUSE) $(CMOCKA_LIBS)
tests_unit_test_fuse_wbuf_SOURCES = tests/unit/test_fuse_wbuf.c
tests_unit_test_fuse_wbuf_LDADD = $(LIB_FUSE) $(CMOCKA_LIBS)
tests_unit_test_fuse_dircur_SOURCES = tests/unit/test_fuse_dircur.c
tests_unit_test_fuse_dircur_LDADD = $(LIB_FUSE) $(CMOCKA_LIBS)
tests_unit_test_fuse_options_SOURCES = tests/unit/test_fuse_options.c
tests_unit_test_fuse_options_LDADD = $(LIB_FUSE) -lm $(CMOCKA_LIBS)
FUSEFIX = tests/unit/fusefix.c tests/unit/fusefix.h \
	tests/lib/minienv.c tests/lib/minienv.h \
	tests/lib/fault.c tests/lib/fault.h
tests_unit_test_fuse_flush_CPPFLAGS = $(AM_CPPFLAGS) $(FUSE_CFLAGS)
tests_unit_test_fuse_flush_SOURCES = tests/unit/test_fuse_flush.c $(FUSEFIX)
tests_unit_test_fuse_flush_LDADD = $(LIB_FUSE) $(CMOCKA_LIBS)
tests_unit_test_fuse_reader_CPPFLAGS = $(AM_CPPFLAGS) $(FUSE_CFLAGS)
tests_unit_test_fuse_reader_SOURCES = tests/unit/test_fuse_reader.c $(FUSEFIX)
tests_unit_test_fuse_reader_LDADD = $(LIB_FUSE) $(CMOCKA_LIBS)
check_PROGRAMS += tests/unit/test_fuse_open
tests_unit_test_fuse_open_CPPFLAGS = $(AM_CPPFLAGS) $(FUSE_CFLAGS)
tests_unit_test_fuse_open_SOURCES = tests/unit/test_fuse_open.c $(FUSEFIX)
tests_unit_test_fuse_open_LDADD = $(LIB_FUSE) $(CMOCKA_LIBS)
TESTS += tests/unit/test_fuse_open
TESTS += tests/unit/test_fuse_ending \
	tests/unit/test_fuse_escape tests/unit/test_fuse_wbuf \
	tests/unit/test_fuse_dircur tests/unit/test_fuse_options \
	tests/unit/test_fuse_flush tests/unit/test_fuse_reader
