bin_PROGRAMS += leofs/leofs
leofs_leofs_SOURCES = %D%/fsck.c %D%/fsck.h %D%/main.c
leofs_leofs_LDADD = $(LIB_GATEWAY_ONLY) $(LIB_MANAGERD_ONLY) $(LIB_STORAGED) \
	common/http/libhttp.a $(LIB_WIRE) $(EXPAT_LIBS) $(JANSSON_LIBS) \
	$(CRYPTO_LIBS) $(ISAL_LIBS)

sbin_PROGRAMS += storaged/leo-storaged managerd/leo-managerd gateway/leo-gateway
storaged_leo_storaged_SOURCES = storaged/main.c
storaged_leo_storaged_LDADD = $(LIB_STORAGED)
managerd_leo_managerd_SOURCES = managerd/main.c
managerd_leo_managerd_LDADD = $(LIB_MANAGERD)
gateway_leo_gateway_SOURCES = gateway/main.c
gateway_leo_gateway_LDADD = $(LIB_GATEWAY)
