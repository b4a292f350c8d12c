bin_PROGRAMS += leofs/leofs
leofs_leofs_SOURCES = %D%/main.c
leofs_leofs_LDADD = $(LIB_GATEWAY_ONLY) $(LIB_MANAGERD_ONLY) $(LIB_STORAGED) \
	common/http/libhttp.a $(LIB_WIRE) $(EXPAT_LIBS) $(JANSSON_LIBS) \
	$(CRYPTO_LIBS) $(ISAL_LIBS)
