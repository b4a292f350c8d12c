noinst_LIBRARIES += %D%/libclient.a
%C%_libclient_a_SOURCES = \
	%D%/call.c \
	%D%/client.h %D%/client_impl.h \
	%D%/cluster.c %D%/cluster.h \
	%D%/memory.c \
	%D%/follow.c %D%/follow.h \
	%D%/read.c \
	%D%/set.c \
	%D%/slice.c

check_PROGRAMS += tests/unit/test_client tests/unit/test_client_bytes \
	tests/unit/test_client_session
tests_unit_test_client_SOURCES = tests/unit/test_client.c \
	tests/unit/clientfix.c tests/unit/clientfix.h
tests_unit_test_client_LDADD = $(LIB_CLIENT) $(CMOCKA_LIBS)
tests_unit_test_client_bytes_SOURCES = tests/unit/test_client_bytes.c \
	tests/unit/clientfix.c tests/unit/clientfix.h
tests_unit_test_client_bytes_LDADD = $(LIB_CLIENT) $(CMOCKA_LIBS)
tests_unit_test_client_session_SOURCES = tests/unit/test_client_session.c \
	tests/unit/clientfix.c tests/unit/clientfix.h
tests_unit_test_client_session_LDADD = $(LIB_CLIENT) $(CMOCKA_LIBS)
TESTS += tests/unit/test_client tests/unit/test_client_bytes \
	tests/unit/test_client_session
