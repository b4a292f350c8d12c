#!/bin/sh
# All tests: installs what they need, builds with ASan and UBSan, runs unit,
# fault, simulation, functional and interop suites, ends with the counts.
#   ./check.sh [SUITE...]     unit fault sim functional interop tsan
set -eu

top=$(cd "$(dirname "$0")" && pwd -P)
cd "$top"
begin=$(date +%s)
suites=${*:-unit fault sim functional interop tsan}
has() { case " $suites " in *" $1 "*) return 0 ;; esac; return 1; }

"$top/dist/packages.sh" test

builds=check
if has sim || has fault; then builds="$builds fast"; fi
# shellcheck disable=SC2086 # a list of words
tests/build.sh $builds || exit 1
echo "built in $(($(date +%s) - begin)) s"

export LEO_BUILD="$top/build-check"
export LEO_SLOW=3
export top_srcdir="$top" top_builddir="$top/build-check"
export ASAN_OPTIONS=abort_on_error=1:detect_leaks=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export PYTHONDONTWRITEBYTECODE=1

# programs KIND: what automake built for that kind, comma separated
programs() {
	make -s -C build-check list-tests | tr ' ' '\n' |
		sed -n "s|^\(tests/$1/[^.]*\)$|$top/build-check/\1|p" | paste -sd, -
}
scripts() {
	find "$top/tests/$1" -maxdepth 1 -name '[0-9]*' | sort |
		paste -sd, -
}

set --
if has unit; then
	set -- "$@" "unit:2=$top/tests/layering.sh,$(programs unit),$(programs fuzz)"
fi
if has fault; then
	set -- "$@" "fault:2=$(programs fault),$top/tests/fault/states.sh"
fi
if has sim; then
	set -- "$@" "sim:2=$(programs sim)" "seeds=$top/tests/sim/seeds.sh"
fi
if has functional; then set -- "$@" "functional=$(scripts functional)"; fi
if has interop; then set -- "$@" "interop=$(scripts interop)"; fi
if has tsan; then set -- "$@" "tsan=$top/tests/tsan.sh"; fi

status=0
python3 tests/runner.py "$top/build-check/logs" "$@" || status=$?
echo "all of it took $(($(date +%s) - begin)) s"
exit $status
