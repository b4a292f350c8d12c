noinst_LIBRARIES += %D%/librows.a
%C%_librows_a_SOURCES =
