noinst_LIBRARIES += %D%/libgateway.a
%C%_libgateway_a_SOURCES = \
	%D%/gateway.c %D%/gateway.h \
	%D%/gateway_req.c \
	%D%/gateway_route.c \
	%D%/gw.h \
	%D%/gw_body.c %D%/gw_body.h %D%/gw_body_impl.h \
	%D%/gw_body_slice.c \
	%D%/gw_bucket.c \
	%D%/gw_copy.c %D%/gw_copy.h \
	%D%/gw_copy_ref.c \
	%D%/gw_copy_stream.c \
	%D%/gw_delete.c \
	%D%/gw_hash.c %D%/gw_hash.h \
	%D%/gw_headers.c \
	%D%/gw_list.c \
	%D%/gw_log.c \
	%D%/gw_mpu.c %D%/gw_mpu.h \
	%D%/gw_mpu_complete.c \
	%D%/gw_mpu_list.c \
	%D%/gw_object_get.c \
	%D%/gw_object_put.c \
	%D%/gw_plan.c \
	%D%/gw_reply.c \
	%D%/gw_subres.c \
	%D%/gw_upload.c %D%/gw_upload.h \
	%D%/s3_auth.c %D%/s3_auth.h %D%/s3_auth_impl.h \
	%D%/s3_auth_v2.c \
	%D%/s3_chunked.c %D%/s3_chunked.h \
	%D%/s3_crc.c \
	%D%/s3_error.c %D%/s3_error.h \
	%D%/s3_md5.c %D%/s3_md5.h \
	%D%/s3_range.c \
	%D%/s3_sum.c %D%/s3_sum.h \
	%D%/s3_time.c %D%/s3_time.h \
	%D%/s3_uri.c %D%/s3_uri.h \
	%D%/s3_xml.h %D%/s3_xml_read.c %D%/s3_xml_write.c

check_PROGRAMS += tests/unit/test_gateway tests/unit/test_gw_hash \
	tests/unit/test_s3_auth tests/unit/test_s3_chunked \
	tests/unit/test_s3_sum tests/unit/test_s3_text
# The fakes stand in for common/http and common/client: only the head parser
# and the snapshot come from there.
tests_unit_test_gateway_SOURCES = tests/unit/test_gateway.c \
	tests/unit/gwfake.c tests/unit/gwfake.h \
	tests/lib/minienv.c tests/lib/minienv.h
tests_unit_test_gateway_LDADD = tests/lib/libfault.a $(LIB_GATEWAY) \
	$(CMOCKA_LIBS)
tests_unit_test_gw_hash_SOURCES = tests/unit/test_gw_hash.c
tests_unit_test_gw_hash_LDADD = $(LIB_GATEWAY) $(CMOCKA_LIBS)
tests_unit_test_s3_auth_SOURCES = tests/unit/test_s3_auth.c
tests_unit_test_s3_auth_LDADD = $(LIB_GATEWAY) $(CMOCKA_LIBS)
tests_unit_test_s3_chunked_SOURCES = tests/unit/test_s3_chunked.c
tests_unit_test_s3_chunked_LDADD = $(LIB_GATEWAY) $(CMOCKA_LIBS)
tests_unit_test_s3_sum_SOURCES = tests/unit/test_s3_sum.c
tests_unit_test_s3_sum_LDADD = $(LIB_GATEWAY) $(CMOCKA_LIBS)
tests_unit_test_s3_text_SOURCES = tests/unit/test_s3_text.c
tests_unit_test_s3_text_LDADD = $(LIB_GATEWAY) $(CMOCKA_LIBS)
TESTS += tests/unit/test_gateway tests/unit/test_gw_hash \
	tests/unit/test_s3_auth tests/unit/test_s3_chunked \
	tests/unit/test_s3_sum tests/unit/test_s3_text
