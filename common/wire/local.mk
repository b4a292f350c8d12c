noinst_LIBRARIES += %D%/libwire.a
%C%_libwire_a_SOURCES = \
	%D%/frame.c %D%/frame.h \
	%D%/msgs.c %D%/msgs.h \
	%D%/status.c %D%/status.h \
	%D%/wire.c %D%/wire.h
