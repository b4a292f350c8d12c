#!/bin/sh
# The thread test in a build with TSan; the whole suite: ./check.sh --tsan.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd -P)
if ! "$top/tests/build.sh" tsan >"$top/build-tsan.out" 2>&1; then
	sed 's/^/# /' "$top/build-tsan.out"
	echo 'not ok 1 - build with TSan'
	echo '1..1'
	exit 1
fi
rm -f "$top/build-tsan.out"
build=build-tsan
# shellcheck source=tests/env.sh
. "$top/tests/env.sh"
export LEO_THREAD_SHAPES='1 3'
exec python3 "$top/tests/functional/010_thread.py"
