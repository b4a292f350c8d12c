noinst_LIBRARIES += %D%/libseg.a
%C%_libseg_a_SOURCES = \
	%D%/seg.c %D%/seg.h %D%/seg_int.h \
	%D%/seg_direct.c \
	%D%/seg_file.c \
	%D%/seg_find.c \
	%D%/seg_flush.c \
	%D%/seg_free.c \
	%D%/seg_pool.c \
	%D%/seg_ranges.c \
	%D%/seg_rec.c \
	%D%/seg_recover.c %D%/seg_rcv.h \
	%D%/seg_scan.c \
	%D%/seg_walk.c \
	%D%/super.c %D%/super.h

# Also what the simulator needs: a disk that crashes, a small env.
check_LIBRARIES += tests/lib/libcrash.a
tests_lib_libcrash_a_SOURCES = \
	tests/lib/crashfs.c tests/lib/crashfs.h \
	tests/lib/crashfs_crash.c tests/lib/crashfs_impl.h \
	tests/lib/crashfs_names.c tests/lib/crashfs_node.c \
	tests/lib/minienv.c tests/lib/minienv.h \
	tests/lib/seglog.c tests/lib/seglog.h \
	tests/lib/slowwork.c tests/lib/slowwork.h
LIB_CRASH = tests/lib/libcrash.a $(LIB_SEG)
CRASH_MAIN = tests/fault/crash_main.c tests/fault/crash_main.h \
	tests/lib/mutate.h

check_PROGRAMS += tests/unit/test_seg tests/unit/test_seg_full \
	tests/unit/test_seg_loops tests/unit/test_seg_loose \
	tests/unit/test_seg_rot tests/unit/test_seg_super \
	tests/fault/crash_seg
tests_unit_test_seg_SOURCES = tests/unit/test_seg.c \
	tests/unit/segfix.c tests/unit/segfix.h
tests_unit_test_seg_LDADD = $(LIB_CRASH) $(CMOCKA_LIBS)
tests_unit_test_seg_full_SOURCES = tests/unit/test_seg_full.c \
	tests/unit/segfix.c tests/unit/segfix.h
tests_unit_test_seg_full_LDADD = $(LIB_CRASH) $(CMOCKA_LIBS)
tests_unit_test_seg_loose_SOURCES = tests/unit/test_seg_loose.c \
	tests/unit/segfix.c tests/unit/segfix.h
tests_unit_test_seg_loose_LDADD = $(LIB_CRASH) $(CMOCKA_LIBS)
tests_unit_test_seg_rot_SOURCES = tests/unit/test_seg_rot.c \
	tests/unit/segfix.c tests/unit/segfix.h
tests_unit_test_seg_rot_LDADD = $(LIB_CRASH) $(CMOCKA_LIBS)
tests_unit_test_seg_loops_SOURCES = tests/unit/test_seg_loops.c
tests_unit_test_seg_loops_LDADD = $(LIB_SEG) $(CMOCKA_LIBS)
tests_unit_test_seg_super_SOURCES = tests/unit/test_seg_super.c
tests_unit_test_seg_super_LDADD = $(LIB_CRASH) $(CMOCKA_LIBS)
tests_fault_crash_seg_SOURCES = tests/fault/crash_seg.c $(CRASH_MAIN)
tests_fault_crash_seg_LDADD = $(LIB_CRASH)
TESTS += tests/unit/test_seg tests/unit/test_seg_full \
	tests/unit/test_seg_loops tests/unit/test_seg_loose \
	tests/unit/test_seg_rot tests/unit/test_seg_super \
	tests/fault/crash_seg

noinst_PROGRAMS += tests/bench/bench_seg
tests_bench_bench_seg_SOURCES = tests/bench/bench_seg.c
tests_bench_bench_seg_LDADD = $(LIB_SEG)
