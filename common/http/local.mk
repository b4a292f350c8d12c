noinst_LIBRARIES += %D%/libhttp.a
%C%_libhttp_a_SOURCES = \
	%D%/http.h %D%/http_impl.h \
	%D%/http_body.c \
	%D%/http_client.c \
	%D%/http_conn.c \
	%D%/http_head.c \
	%D%/http_reply.c \
	%D%/http_server.c

check_PROGRAMS += tests/unit/test_http_head tests/unit/test_http_server
tests_unit_test_http_head_SOURCES = tests/unit/test_http_head.c
tests_unit_test_http_head_LDADD = $(LIB_HTTP) $(CMOCKA_LIBS)
tests_unit_test_http_server_SOURCES = tests/unit/test_http_server.c
tests_unit_test_http_server_LDADD = tests/lib/libfault.a $(LIB_HTTP) \
	$(CMOCKA_LIBS)
TESTS += tests/unit/test_http_head tests/unit/test_http_server
