dist_man_MANS += %D%/leofs.8 %D%/leo-managerd.8 %D%/leo-storaged.8 \
	%D%/leo-gateway.8 %D%/leo-mount.8 %D%/leofs-adm.8
EXTRA_DIST += %D%/conf-page.sh

# Settings pages come from the programs' own tables.
CONF_PAGES = man/leo-managerd.conf.5 man/leo-storaged.conf.5 \
	man/leo-gateway.conf.5
nodist_man_MANS = $(CONF_PAGES)
CLEANFILES += $(CONF_PAGES)
man/leo-managerd.conf.5: managerd/leo-managerd $(srcdir)/man/conf-page.sh
	$(AM_V_GEN)mkdir -p man && $(SHELL) $(srcdir)/man/conf-page.sh \
		leo-managerd managerd/leo-managerd >$@.tmp && mv $@.tmp $@
man/leo-storaged.conf.5: storaged/leo-storaged $(srcdir)/man/conf-page.sh
	$(AM_V_GEN)mkdir -p man && $(SHELL) $(srcdir)/man/conf-page.sh \
		leo-storaged storaged/leo-storaged >$@.tmp && mv $@.tmp $@
man/leo-gateway.conf.5: gateway/leo-gateway $(srcdir)/man/conf-page.sh
	$(AM_V_GEN)mkdir -p man && $(SHELL) $(srcdir)/man/conf-page.sh \
		leo-gateway gateway/leo-gateway >$@.tmp && mv $@.tmp $@
