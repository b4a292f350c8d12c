noinst_LIBRARIES += %D%/libseg.a
%C%_libseg_a_SOURCES = \
	%D%/seg.c %D%/seg.h %D%/seg_int.h \
	%D%/seg_file.c \
	%D%/seg_flush.c \
	%D%/seg_pool.c \
	%D%/seg_rec.c \
	%D%/seg_recover.c \
	%D%/seg_scan.c \
	%D%/super.c %D%/super.h
