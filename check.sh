#!/bin/sh
# All tests: installs what they need, builds with ASan and UBSan, runs unit,
# fault, simulation, functional and interop suites, ends with the counts.
#   ./check.sh [--loops N] [--tsan] [SUITE...]
#     SUITE      unit fault sim functional interop tsan; all of them
#     --loops N  event loops of the servers in functional and interop; 2
#     --tsan     functional (or interop) with servers and mounts under TSan
set -eu

top=$(cd "$(dirname "$0")" && pwd -P)
cd "$top"
begin=$(date +%s)
usage() { sed -n 's/^# \{0,1\}//p' check.sh | sed -n '2,7p'; }
suites='' tsan=''
while [ $# -gt 0 ]; do
	case $1 in
	--loops)
		LEO_LOOPS=${2-}
		case $LEO_LOOPS in "" | *[!0-9]* | 0*) usage >&2; exit 2 ;; esac
		export LEO_LOOPS
		shift
		;;
	--tsan) tsan=yes ;;
	-h | --help) usage; exit 0 ;;
	unit | fault | sim | functional | interop | tsan) suites="$suites $1" ;;
	*) echo "$0: what is $1?" >&2; usage >&2; exit 2 ;;
	esac
	shift
done
if [ -n "$tsan" ]; then
	suites=${suites:-functional}
	case $suites in
	*unit* | *fault* | *sim* | *tsan*)
		echo "$0: --tsan is for functional and interop" >&2
		exit 2
		;;
	esac
fi
suites=${suites:-unit fault sim functional interop tsan}
has() { case " $suites " in *" $1 "*) return 0 ;; esac; return 1; }

"$top/dist/packages.sh" test

builds=check
if has sim || has fault; then builds="$builds fast"; fi
if [ -n "$tsan" ]; then builds=tsan; fi
# shellcheck disable=SC2086 # a list of words
tests/build.sh $builds || exit 1
echo "built in $(($(date +%s) - begin)) s"

build=build-check
if [ -n "$tsan" ]; then build=build-tsan; fi
# shellcheck source=tests/env.sh
. "$top/tests/env.sh"

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
	set -- "$@" "fault:2=$(programs fault),$top/tests/fault/states.sh,$top/tests/fault/groups.sh"
fi
if has sim; then
	set -- "$@" "sim:2=$(programs sim)" "seeds:1:600=$top/tests/sim/seeds.sh"
fi
if has functional; then set -- "$@" "functional=$(scripts functional)"; fi
if has interop; then set -- "$@" "interop=$(scripts interop)"; fi
if has tsan; then set -- "$@" "tsan=$top/tests/tsan.sh"; fi

status=0
python3 tests/runner.py "$top/$build/logs" "$@" || status=$?
echo "all of it took $(($(date +%s) - begin)) s"
exit $status
