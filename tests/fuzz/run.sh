#!/bin/sh
# Runs each fuzz target for a while, in a build with clang's libFuzzer, ASan
# and UBSan. What is found stays in build-fuzz/found, what the runs learned in
# build-fuzz/corpus (the next run goes on from it).
#   tests/fuzz/run.sh [SECONDS [TARGET...]]     60 s each, all of them
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd -P)
seconds=${1:-60}
[ $# -eq 0 ] || shift
"$top/tests/build.sh" fuzz
cd "$top/build-fuzz"

status=0
n=0
total=0
for t in $(make -s list-fuzz); do
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
	n=$((n + 1))
	total=$((total + ${runs:-0}))
	printf '%-16s %-6s %12s runs  %s\n' "$name" "$word" "${runs:-?}" \
		"$(find "found/$name" -type f | head -n 1)"
done
echo "# summary: $n targets, $seconds s each, $total runs"
exit $status
