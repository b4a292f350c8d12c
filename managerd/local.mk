noinst_LIBRARIES += %D%/libmanagerd.a
%C%_libmanagerd_a_SOURCES =
