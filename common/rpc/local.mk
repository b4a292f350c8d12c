noinst_LIBRARIES += %D%/librpc.a
%C%_librpc_a_SOURCES =
