noinst_LIBRARIES += %D%/librows.a
%C%_librows_a_SOURCES = \
	%D%/row.c %D%/row.h \
	%D%/rows.c %D%/rows.h %D%/rows_impl.h \
	%D%/rows_applied.c %D%/rows_applied.h \
	%D%/rows_back.c %D%/rows_back.h \
	%D%/rows_fresh.c \
	%D%/rows_leveldb.c \
	%D%/rows_load.c \
	%D%/rows_mem.c \
	%D%/rows_stream.c %D%/rows_stream.h \
	%D%/rows_txn.c \
	%D%/rows_writer.c

check_PROGRAMS += tests/unit/test_rows
tests_unit_test_rows_SOURCES = tests/unit/test_rows.c \
	tests/lib/minienv.c tests/lib/minienv.h
tests_unit_test_rows_LDADD = $(LIB_ROWS) $(CMOCKA_LIBS)
TESTS += tests/unit/test_rows

check_PROGRAMS += tests/unit/test_rows_stream
tests_unit_test_rows_stream_SOURCES = tests/unit/test_rows_stream.c
tests_unit_test_rows_stream_LDADD = $(LIB_ROWS) $(CMOCKA_LIBS)
TESTS += tests/unit/test_rows_stream
