noinst_LIBRARIES += %D%/libwire.a
%C%_libwire_a_SOURCES =
