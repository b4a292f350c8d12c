noinst_LIBRARIES += %D%/libstoraged.a
%C%_libstoraged_a_SOURCES =
