#!/bin/sh
# For check.sh: many crash states of what is on disk, in the fast build: a
# fixed seed, so that a change is to blame, and one that the commit's name says.
#   tests/fault/states.sh          CRASH_STATES: of each head and kind, 60000
top=$(cd "$(dirname "$0")/../.." && pwd -P)
dir=$top/build-fast/tests/fault
states=${CRASH_STATES:-60000}
commit=$(git -C "$top" rev-parse --short=8 HEAD 2>/dev/null) ||
	commit=$(date +%s | tail -c 8)
n=0
failed=0
total=0

# run PROGRAM SEED STATES [-m]
run() {
	n=$((n + 1))
	# shellcheck disable=SC2086 # an option or nothing
	"$dir/$1" -s "$2" -n "$3" $4 >"states.$$" 2>&1
	rv=$?
	got=$(sed -n 's/^# .* \([0-9]*\) states,.*/\1/p' "states.$$" |
		awk '{ s += $1 } END { print s + 0 }')
	total=$((total + got))
	if [ $rv -eq 0 ]; then
		echo "ok $n - $1: $got states from seed $2"
	else
		failed=1
		echo "not ok $n - $1: seed $2"
		grep -E '^(not ok|# )' "states.$$"
	fi
	rm -f "states.$$"
}

echo 1..8
run crash_seg 1 "$states"
run crash_seg $((0x$commit)) "$states" -m
run crash_raft 1 $((states / 6))
run crash_raft $((0x$commit)) $((states / 6)) -m
run crash_clean 1 $((states / 6))
run crash_clean $((0x$commit)) $((states / 6)) -m
run crash_chunk 1 $((states / 6))
run crash_chunk $((0x$commit)) $((states / 6)) -m
echo "# summary: $total crash states"
exit $failed
