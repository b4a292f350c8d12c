#!/bin/sh
# Builds of the tests, each in a directory of its own at the top of the tree;
# quiet unless it fails.
#   tests/build.sh check|fast|release|tsan|fuzz...
#     check  everything, ASan and UBSan        fast     simulators, optimised
#            (both with bugs to switch on: --enable-mutations)
#     tsan   programs, TSan                    release  programs, optimised
#     fuzz   fuzz targets, libFuzzer
set -eu
top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"

if [ ! -x configure ] || [ configure.ac -nt configure ]; then
	./autogen.sh >autogen.log 2>&1 || { tail -n 20 autogen.log; exit 1; }
	rm -f autogen.log
fi

# find_clang: its name on standard output
find_clang() {
	for c in "${CLANG-}" clang clang-19 clang-16 clang-14; do
		if [ -n "$c" ] && command -v "$c" >/dev/null; then
			echo "$c"
			return
		fi
	done
	echo 'clang is needed (packages clang and libclang-rt-*-dev)' >&2
	return 1
}

# build DIR TARGETS MAKE-ARG CONFIGURE-ARGS...: TARGETS: "list-X" asks make
build() {
	dir=$1 targets=$2 arg=$3
	shift 3
	mkdir -p "$dir"
	(
		cd "$dir"
		# as it was asked for the last time?
		if [ ! -f Makefile ] || [ "$(cat asked 2>&1)" != "$*" ]; then
			"$top/configure" --quiet "$@"
			echo "$*" >asked
		fi
		make --no-print-directory Makefile
		case $targets in
		list-*) targets=$(make -s --no-print-directory "$targets") ;;
		esac
		# `all` is a make of its own: a goal beside it would make the
		# same archives at the same time
		# shellcheck disable=SC2086 # lists of words
		case $targets in
		"all "*)
			make -j"$(nproc)" --no-print-directory $arg all ||
				exit 1
			targets=${targets#all }
			;;
		esac
		# shellcheck disable=SC2086 # lists of words
		make -j"$(nproc)" --no-print-directory $arg $targets
	) >"$dir.log" 2>&1 || {
		tail -n 40 "$dir.log"
		echo "building in $dir failed; all of it: $dir.log"
		exit 1
	}
}

programs='all tests/posix/exercise tests/lib/putchunk tests/lib/droprow tests/lib/baddisk.so'
for kind in "$@"; do
	case $kind in
	check)
		build build-check 'all check-programs' '' --enable-werror \
			--enable-sanitize --enable-mutations CFLAGS='-O1 -g'
		;;
	fast)
		build build-fast list-fast '' --enable-werror \
			--enable-mutations CFLAGS='-O2 -g'
		;;
	release)
		build build-release "$programs" '' --enable-werror \
			CFLAGS='-O2 -g'
		# no bugs in there but our own
		if nm build-release/leofs/leofs | grep -i mutat; then
			echo 'planted bugs in build-release/leofs/leofs'
			exit 1
		fi
		;;
	tsan)
		build build-tsan "$programs" '' --enable-werror \
			--enable-sanitize=thread CFLAGS='-O1 -g'
		;;
	fuzz)
		# Empty views are NULL + 0, which clang's pointer-overflow
		# reports; gcc's does not, and runs in the other builds.
		clang=$(find_clang)
		build build-fuzz list-fuzz LDFLAGS=-fsanitize=fuzzer \
			CC="$clang" \
			--enable-sanitize=fuzzer-no-link,address,undefined \
			CFLAGS='-O1 -g -DFUZZ_ENGINE -fno-sanitize=pointer-overflow -fno-sanitize-recover=undefined'
		;;
	*)
		echo "$0: what is $kind?" >&2
		exit 2
		;;
	esac
done
