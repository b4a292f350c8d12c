noinst_LIBRARIES += %D%/libleofuse.a
%C%_libleofuse_a_SOURCES =
