#!/bin/sh
# The tables of docs/PERFORMANCE.md from one command, unattended, as markdown
# on standard output: about 25 minutes on two cores, up to 30 GB of disk.
#   tests/bench/table.sh TOOLS [--quick | ARGS...]
# TOOLS is a directory with the sources of the load generators, s3load.c and
# fsload.c (they are not part of this tree). ARGS go to table.py; without any:
# what the goals name, that is its parts rows, idle, ready, and then mount.py;
# --quick alone is the same in a few minutes, to see that it works.
# Builds a release in build-rel.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd -P)

if [ ! -f "${1-}/s3load.c" ] || [ ! -f "${1-}/fsload.c" ]; then
	echo "usage: $0 TOOLS [ARGS...]; TOOLS has s3load.c and fsload.c" >&2
	exit 2
fi
tools=$(cd "$1" && pwd -P)
shift

cd "$top"
[ -x configure ] || ./autogen.sh >&2
mkdir -p build-rel
(
	cd build-rel
	[ -f Makefile ] || "$top/configure" --quiet CFLAGS='-O2 -g'
	make -s -j"$(nproc)" all
) >build-rel.log 2>&1 || { tail -n 20 build-rel.log >&2; exit 1; }

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
"${CC:-cc}" -O2 -pthread -o "$bin/s3load" "$tools/s3load.c" -lcrypto -lm
"${CC:-cc}" -O2 -pthread -o "$bin/fsload" "$tools/fsload.c" -lm

export LEO_BUILD="$top/build-rel"
s3() { tests/bench/table.py --s3load "$bin/s3load" "$@"; }

quick=
if [ "$*" = --quick ]; then
	quick=$1
elif [ $# -gt 0 ]; then
	s3 "$@"
	exit
fi
status=0
s3 $quick rows idle ready || status=1
if [ ! -e /dev/fuse ]; then
	echo "No /dev/fuse here: nothing measured on the mount."
elif [ "$(id -u)" -ne 0 ]; then
	echo "Not root: the kernel's caches cannot be dropped for mount.py."
else
	echo
	tests/bench/mount.py --fsload "$bin/fsload" --build "$LEO_BUILD" \
		--runs 3 $quick || status=1
fi
exit $status
