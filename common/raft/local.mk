noinst_LIBRARIES += %D%/libraft_host.a
%C%_libraft_host_a_SOURCES = \
	%D%/raft_apply.c \
	%D%/raft_frame.c %D%/raft_frame.h \
	%D%/raft_group.c \
	%D%/raft_host.c %D%/raft_host.h \
	%D%/raft_impl.h \
	%D%/raft_link.c \
	%D%/raft_log.c \
	%D%/raft_recover.c \
	%D%/raft_step.c

check_PROGRAMS += tests/unit/test_raft
tests_unit_test_raft_SOURCES = tests/unit/test_raft.c
tests_unit_test_raft_LDADD = tests/lib/libcrash.a $(LIB_RAFT) $(CMOCKA_LIBS)
TESTS += tests/unit/test_raft
