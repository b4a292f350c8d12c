#!/bin/sh
# Fuzzing for people: builds all targets with clang's libFuzzer, ASan and
# UBSan, and runs each for a while. What is found stays in build-fuzz/found,
# what the runs learned in build-fuzz/corpus (the next run goes on from it).
#   tests/nightly.sh [SECONDS [TARGET...]]     60 s each, all of them
set -eu
top=$(cd "$(dirname "$0")/.." && pwd -P)
seconds=${1:-60}
[ $# -eq 0 ] || shift
dir=$top/build-fuzz
[ -x "$top/configure" ] || (cd "$top" && ./autogen.sh)
mkdir -p "$dir"
cd "$dir"

if [ -z "${CLANG-}" ]; then
	for c in clang clang-19 clang-16 clang-14; do
		if command -v "$c" >/dev/null; then CLANG=$c; break; fi
	done
fi
if [ -z "${CLANG-}" ]; then
	echo 'clang is needed (packages clang and libclang-rt-*-dev)'
	exit 1
fi
# Empty views are NULL + 0, which clang's pointer-overflow reports; gcc's does
# not, and runs in the other builds.
if [ ! -f Makefile ]; then
	"$top/configure" --quiet CC="$CLANG" \
		--enable-sanitize=fuzzer-no-link,address,undefined \
		CFLAGS='-O1 -g -DFUZZ_ENGINE -fno-sanitize=pointer-overflow -fno-sanitize-recover=undefined' \
		>configure.log 2>&1 || { tail -n 20 configure.log; exit 1; }
fi
make -s Makefile >build.log 2>&1 || { tail -n 20 build.log; exit 1; }
targets=$(make -s list-fuzz)
# shellcheck disable=SC2086
if ! make -j"$(nproc)" --no-print-directory LDFLAGS=-fsanitize=fuzzer \
	$targets >build.log 2>&1; then
	tail -n 20 build.log
	exit 1
fi

status=0
for t in $targets; do
	name=${t##*/fuzz_}
	if [ $# -gt 0 ]; then
		case " $* " in *" $name "*) ;; *) continue ;; esac
	fi
	mkdir -p "corpus/$name" "found/$name"
	if ./"$t" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
		-max_len=4096 -use_value_profile=1 -print_final_stats=1 \
		-artifact_prefix="found/$name/" "corpus/$name" \
		"$top/tests/fuzz/corpus/$name" >"$name.log" 2>&1; then
		word=ok
	else
		word=FOUND
		status=1
	fi
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$name.log")
	printf '%-16s %-6s %12s runs  %s\n' "$name" "$word" "${runs:-?}" \
		"$(find "found/$name" -type f | head -n 1)"
done
exit $status
