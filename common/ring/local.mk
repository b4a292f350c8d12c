noinst_LIBRARIES += %D%/libring.a
%C%_libring_a_SOURCES =
