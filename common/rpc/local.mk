noinst_LIBRARIES += %D%/librpc.a
%C%_librpc_a_SOURCES = \
	%D%/chan.c %D%/chan.h \
	%D%/greet.c \
	%D%/link.c \
	%D%/peer.c \
	%D%/rpc.h %D%/rpc_impl.h \
	%D%/server.c

check_PROGRAMS += tests/unit/test_rpc tests/unit/test_rpc_bytes
tests_unit_test_rpc_SOURCES = tests/unit/test_rpc.c \
	tests/unit/rpcfix.c tests/unit/rpcfix.h
tests_unit_test_rpc_LDADD = $(LIB_RPC) $(CMOCKA_LIBS)
tests_unit_test_rpc_bytes_SOURCES = tests/unit/test_rpc_bytes.c \
	tests/unit/rpcfix.c tests/unit/rpcfix.h
tests_unit_test_rpc_bytes_LDADD = $(LIB_RPC) $(CMOCKA_LIBS)
TESTS += tests/unit/test_rpc tests/unit/test_rpc_bytes
