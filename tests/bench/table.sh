#!/bin/sh
# The tables of docs/PERFORMANCE.md from one command, unattended, as markdown
# on standard output: about 25 minutes on two cores, up to 30 GB of disk.
#   tests/bench/table.sh TOOLS [ARGS...]
# TOOLS is a directory with the source of the load generator, s3load.c (it is
# not part of this tree). ARGS go to table.py; without any: what the goals name
# (rows idle ready). Builds a release in build-rel.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd -P)

if [ ! -f "${1-}/s3load.c" ]; then
	echo "usage: $0 TOOLS [ARGS...]; TOOLS has s3load.c" >&2
	exit 2
fi
tools=$1
shift
[ $# -gt 0 ] || set -- rows idle ready

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

LEO_BUILD=$top/build-rel tests/bench/table.py --s3load "$bin/s3load" "$@"
