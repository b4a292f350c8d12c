# How tests run; what they are stands with the module they test.
TEST_EXTENSIONS = .sh
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) \
	$(top_srcdir)/build-aux/tap-driver.sh
SH_LOG_DRIVER = $(LOG_DRIVER)
LOG_COMPILER = timeout 120
SH_LOG_COMPILER = timeout 120 $(SHELL)
AM_TESTS_ENVIRONMENT = CMOCKA_MESSAGE_OUTPUT=TAP; \
	export CMOCKA_MESSAGE_OUTPUT; \
	top_srcdir='$(abs_top_srcdir)'; export top_srcdir; \
	top_builddir='$(abs_top_builddir)'; export top_builddir;

check_LIBRARIES += %D%/lib/libfault.a
%C%_lib_libfault_a_SOURCES = %D%/lib/fault.c %D%/lib/fault.h

EXTRA_DIST += %D%/layering.sh %D%/bench/s3.sh
TESTS += %D%/layering.sh
