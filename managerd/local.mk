noinst_LIBRARIES += %D%/libmanagerd.a
%C%_libmanagerd_a_SOURCES = \
	%D%/admin.c \
	%D%/admin_api.c \
	%D%/admin_compact.c \
	%D%/admin_fsck.c \
	%D%/admin_impl.h \
	%D%/manager.c \
	%D%/manager.h \
	%D%/mgr_apply.c \
	%D%/mgr_bucket.c \
	%D%/mgr_first.c \
	%D%/mgr_fsck.c \
	%D%/mgr_fsck.h \
	%D%/mgr_impl.h \
	%D%/mgr_rpc.c \
	%D%/mgr_sessions.c \
	%D%/mgr_snapshot.c \
	%D%/mgr_state.c \
	%D%/mgr_state.h \
	%D%/mgr_usage.c \
	%D%/mgr_watch.c

check_PROGRAMS += tests/unit/test_mgr_state
tests_unit_test_mgr_state_SOURCES = tests/unit/test_mgr_state.c
tests_unit_test_mgr_state_LDADD = $(LIB_MANAGERD) $(CMOCKA_LIBS)
TESTS += tests/unit/test_mgr_state
