noinst_LIBRARIES += %D%/libseg.a
%C%_libseg_a_SOURCES =
