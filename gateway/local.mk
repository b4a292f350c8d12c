noinst_LIBRARIES += %D%/libgateway.a
%C%_libgateway_a_SOURCES =
