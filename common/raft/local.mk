noinst_LIBRARIES += %D%/libraft_host.a
%C%_libraft_host_a_SOURCES =
