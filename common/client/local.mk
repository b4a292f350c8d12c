noinst_LIBRARIES += %D%/libclient.a
%C%_libclient_a_SOURCES =
