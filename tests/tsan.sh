#!/bin/sh
# The thread test in a build with TSan.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd -P)
if ! "$top/tests/build.sh" tsan >"$top/build-tsan.out" 2>&1; then
	sed 's/^/# /' "$top/build-tsan.out"
	echo 'not ok 1 - build with TSan'
	echo '1..1'
	exit 1
fi
rm -f "$top/build-tsan.out"
export LEO_BUILD="$top/build-tsan" LEO_SLOW=6 LEO_THREAD_SHAPES='1 3'
# any report ends the program with this status
export TSAN_OPTIONS="halt_on_error=1:exitcode=66:suppressions=$top/tests/tsan.supp"
exec python3 "$top/tests/functional/010_thread.py"
