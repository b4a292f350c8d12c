bin_PROGRAMS += adm/leofs-adm
adm_leofs_adm_SOURCES = \
	%D%/adm.h \
	%D%/adm_commands.c \
	%D%/adm_compact.c \
	%D%/adm_print.c \
	%D%/main.c
adm_leofs_adm_LDADD = $(LIB_HTTP) $(JANSSON_LIBS)
