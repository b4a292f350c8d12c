#!/bin/sh
# The thread test and the threaded unit tests in a build with TSan.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd -P)
dir=$top/build-tsan
mkdir -p "$dir"
cd "$dir"
if [ ! -f Makefile ]; then
	"$top/configure" --quiet --enable-werror --enable-sanitize=thread \
		CFLAGS='-O1 -g' >"$dir.log" 2>&1
fi
if ! make -j"$(nproc)" --no-print-directory all >>"$dir.log" 2>&1; then
	tail -n 20 "$dir.log" | sed 's/^/# /'
	echo 'not ok 1 - build with TSan'
	echo '1..1'
	exit 1
fi
export LEO_BUILD="$dir" LEO_SLOW=6 LEO_THREAD_SHAPES='1 3'
# any report ends the program with this status
export TSAN_OPTIONS="halt_on_error=1:exitcode=66:suppressions=$top/tests/tsan.supp"
exec python3 "$top/tests/functional/010_thread.py"
