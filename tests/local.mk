# How tests run; what they are stands with the module they test.
TEST_EXTENSIONS = .sh
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) \
	$(top_srcdir)/build-aux/tap-driver.sh
SH_LOG_DRIVER = $(LOG_DRIVER)
LOG_COMPILER = timeout 120
SH_LOG_COMPILER = timeout 120 $(SHELL)
AM_TESTS_ENVIRONMENT = CMOCKA_MESSAGE_OUTPUT=TAP; \
	export CMOCKA_MESSAGE_OUTPUT; \
	top_srcdir='$(abs_top_srcdir)'; export top_srcdir; \
	top_builddir='$(abs_top_builddir)'; export top_builddir;

check_LIBRARIES += %D%/lib/libfault.a
%C%_lib_libfault_a_SOURCES = %D%/lib/fault.c %D%/lib/fault.h

# Loaded into servers by tests/lib/baddisk.py; no sanitizer, no libtool.
check_DATA = %D%/lib/baddisk.so
%D%/lib/baddisk.so: %D%/lib/baddisk.c
	@$(MKDIR_P) $(@D)
	$(AM_V_CC)$(CC) $(WARN_CFLAGS) $(WERROR) -D_GNU_SOURCE -O1 -g -fPIC \
		-shared -o $@ $(top_srcdir)/tests/lib/baddisk.c -ldl
CLEANFILES += %D%/lib/baddisk.so
EXTRA_DIST += %D%/lib/baddisk.c

# run by tests/functional/110_exercise.py
check_PROGRAMS += %D%/posix/exercise
%C%_posix_exercise_SOURCES = %D%/posix/exercise.c %D%/posix/exercise.h \
	%D%/posix/exercise_file.c

# run by tests/functional/125_unnamed.py
check_PROGRAMS += %D%/lib/putchunk
%C%_lib_putchunk_SOURCES = %D%/lib/putchunk.c
%C%_lib_putchunk_LDADD = $(LIB_RPC)

# run by tests/functional/120_fsck.py
check_PROGRAMS += %D%/lib/droprow
%C%_lib_droprow_SOURCES = %D%/lib/droprow.c
%C%_lib_droprow_LDADD = $(LIB_ROWS)

EXTRA_DIST += %D%/layering.sh %D%/bench/table.py %D%/bench/table.sh \
	%D%/bench/mount.py %D%/lib/bulk.py %D%/long/names.py \
	%D%/long/ready.py %D%/build.sh %D%/env.sh %D%/nightly.sh \
	%D%/nightly.tab %D%/fault/states.sh %D%/fault/groups.sh \
	%D%/sim/planted.sh %D%/sim/seeds.sh %D%/fuzz/run.sh

# Programs that tests/build.sh makes without sanitizers, for their speed.
FAST_LIST = tests/sim/sim_chunk tests/sim/sim_raft tests/sim/sim_shard \
	tests/sim/sim_tree \
	tests/fault/crash_chunk tests/fault/crash_clean \
	tests/fault/crash_raft tests/fault/crash_seg \
	tests/bench/bench_groups tests/unit/test_ns_model
list-fast:
	@echo $(FAST_LIST)

# The long tests, hours: tests/nightly.tab.
check-nightly:
	$(top_srcdir)/tests/nightly.sh
.PHONY: list-fast check-nightly
TESTS += %D%/layering.sh
