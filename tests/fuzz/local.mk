# Fuzz targets. Here each runs its corpus and some mutations of it as an
# ordinary test (standalone.c); tests/fuzz/run.sh runs them with libFuzzer.
FUZZ_TARGETS = \
	%D%/fuzz_cluster \
	%D%/fuzz_conf \
	%D%/fuzz_escape \
	%D%/fuzz_frame \
	%D%/fuzz_http_head \
	%D%/fuzz_mgr \
	%D%/fuzz_mount_options \
	%D%/fuzz_ns \
	%D%/fuzz_ns_rows \
	%D%/fuzz_raft_frame \
	%D%/fuzz_replay \
	%D%/fuzz_rows_stream \
	%D%/fuzz_rpc \
	%D%/fuzz_s3_auth \
	%D%/fuzz_s3_chunked \
	%D%/fuzz_s3_headers \
	%D%/fuzz_s3_uri \
	%D%/fuzz_s3_xml \
	%D%/fuzz_seg \
	%D%/fuzz_super \
	%D%/fuzz_wire
check_PROGRAMS += $(FUZZ_TARGETS)
TESTS += $(FUZZ_TARGETS)
EXTRA_DIST += %D%/corpus

FUZZ_DRIVER = %D%/fuzz.h %D%/standalone.c
%C%_fuzz_cluster_SOURCES = %D%/fuzz_cluster.c $(FUZZ_DRIVER)
%C%_fuzz_cluster_LDADD = $(LIB_CLIENT)
%C%_fuzz_conf_SOURCES = %D%/fuzz_conf.c $(FUZZ_DRIVER)
%C%_fuzz_conf_LDADD = $(LIB_BASE)
%C%_fuzz_escape_SOURCES = %D%/fuzz_escape.c $(FUZZ_DRIVER)
%C%_fuzz_escape_LDADD = $(LIB_FUSE)
%C%_fuzz_frame_SOURCES = %D%/fuzz_frame.c $(FUZZ_DRIVER)
%C%_fuzz_frame_LDADD = $(LIB_WIRE)
%C%_fuzz_http_head_SOURCES = %D%/fuzz_http_head.c $(FUZZ_DRIVER)
%C%_fuzz_http_head_LDADD = $(LIB_HTTP)
%C%_fuzz_mgr_SOURCES = %D%/fuzz_mgr.c $(FUZZ_DRIVER)
%C%_fuzz_mgr_LDADD = tests/lib/libcrash.a $(LIB_MANAGERD)
%C%_fuzz_mount_options_SOURCES = %D%/fuzz_mount_options.c $(FUZZ_DRIVER)
%C%_fuzz_mount_options_LDADD = $(LIB_FUSE) -lm
%C%_fuzz_ns_SOURCES = %D%/fuzz_ns.c $(FUZZ_DRIVER) \
	$(NSH_SOURCES)
%C%_fuzz_ns_LDADD = tests/lib/libcrash.a $(LIB_STORAGED)
%C%_fuzz_ns_rows_SOURCES = %D%/fuzz_ns_rows.c $(FUZZ_DRIVER)
%C%_fuzz_ns_rows_LDADD = tests/lib/libcrash.a $(LIB_STORAGED)
%C%_fuzz_raft_frame_SOURCES = %D%/fuzz_raft_frame.c $(FUZZ_DRIVER)
%C%_fuzz_raft_frame_LDADD = $(LIB_RAFT)
%C%_fuzz_replay_SOURCES = %D%/fuzz_replay.c $(FUZZ_DRIVER)
%C%_fuzz_replay_LDADD = tests/lib/libcrash.a $(LIB_RAFT)
%C%_fuzz_rows_stream_SOURCES = %D%/fuzz_rows_stream.c $(FUZZ_DRIVER)
%C%_fuzz_rows_stream_LDADD = $(LIB_ROWS)
%C%_fuzz_rpc_SOURCES = %D%/fuzz_rpc.c $(FUZZ_DRIVER)
%C%_fuzz_rpc_LDADD = $(LIB_RPC)
%C%_fuzz_s3_auth_SOURCES = %D%/fuzz_s3_auth.c $(FUZZ_DRIVER)
%C%_fuzz_s3_auth_LDADD = $(LIB_GATEWAY)
%C%_fuzz_s3_chunked_SOURCES = %D%/fuzz_s3_chunked.c $(FUZZ_DRIVER)
%C%_fuzz_s3_chunked_LDADD = $(LIB_GATEWAY)
%C%_fuzz_s3_headers_SOURCES = %D%/fuzz_s3_headers.c $(FUZZ_DRIVER)
%C%_fuzz_s3_headers_LDADD = $(LIB_GATEWAY)
%C%_fuzz_s3_uri_SOURCES = %D%/fuzz_s3_uri.c $(FUZZ_DRIVER)
%C%_fuzz_s3_uri_LDADD = $(LIB_GATEWAY)
%C%_fuzz_s3_xml_SOURCES = %D%/fuzz_s3_xml.c $(FUZZ_DRIVER)
%C%_fuzz_s3_xml_LDADD = $(LIB_GATEWAY)
%C%_fuzz_seg_SOURCES = %D%/fuzz_seg.c $(FUZZ_DRIVER)
%C%_fuzz_seg_LDADD = $(LIB_CRASH)
%C%_fuzz_super_SOURCES = %D%/fuzz_super.c $(FUZZ_DRIVER)
%C%_fuzz_super_LDADD = $(LIB_CRASH)
%C%_fuzz_wire_SOURCES = %D%/fuzz_wire.c $(FUZZ_DRIVER)
%C%_fuzz_wire_LDADD = $(LIB_WIRE)

# for tests/fuzz/run.sh
list-fuzz:
	@echo $(FUZZ_TARGETS)
.PHONY: list-fuzz
