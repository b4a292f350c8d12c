# What tests find in their environment, for scripts to read (`.`): wants $top,
# and $build, the directory of the build: build-tsan is one with TSan.
export LEO_BUILD="$top/$build"
export top_srcdir="$top" top_builddir="$top/$build"
export PYTHONDONTWRITEBYTECODE=1
export ASAN_OPTIONS=abort_on_error=1:detect_leaks=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:abort_on_error=1
# Reports go to the logs of the programs, where tests/lib/leo.py looks for them.
export TSAN_OPTIONS="exitcode=66:second_deadlock_stack=1:suppressions=$top/tests/tsan.supp"
case $build in
build-tsan)
	export LEO_SLOW=6
	export LEO_TEST_TIMEOUT="${LEO_TEST_TIMEOUT:-1800}"
	;;
*) export LEO_SLOW=3 ;;
esac
