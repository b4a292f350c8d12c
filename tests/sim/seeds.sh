#!/bin/sh
# For check.sh: the fixed seeds of the simulators, then fresh ones for
# SIM_SECONDS (180), which each of them gets its share of.
#   tests/sim/seeds.sh
#     SIM_SEEDS    fixed ones (2000; fewer where a seed takes longer)
#     SIM_FIRST    of the fresh ones; else made of the commit and the time, so
#                  that every run has others
top=$(cd "$(dirname "$0")/../.." && pwd -P)
dir=$top/build-fast/tests/sim
fixed=${SIM_SEEDS:-2000}
seconds=${SIM_SECONDS:-180}
commit=$(git -C "$top" rev-parse --short=8 HEAD 2>/dev/null) || commit=0
first=${SIM_FIRST:-$((((0x$commit ^ $(date +%s)) % 1000000000 + 1) * 10000))}
jobs=$(nproc)
n=0
failed=0

# NAME, percent of the fixed seeds, percent of the time
sims='sim_raft 100 20
sim_chunk 20 15
sim_shard 100 33
sim_tree 25 32'

# run NAME TEXT ARGS...
run() {
	name=$1 text=$2
	shift 2
	n=$((n + 1))
	"$dir/$name" --rows -j "$jobs" "$@" >"seeds.$$" 2>&1 </dev/null
	rv=$?
	what=$(sed -n 's/^# summary: //p' "seeds.$$")
	if [ $rv -eq 0 ]; then
		echo "ok $n - $name $text: $what"
		sed -n -e 's/^ok [0-9]* - /# /p' -e '/^#   /p' "seeds.$$"
	else
		failed=1
		echo "not ok $n - $name $text: $what"
		grep '^# \(seed\|failed\)' "seeds.$$"
	fi
	rm -f "seeds.$$"
}

# fields NAME PERCENT PERCENT: one row of sims
fixed_seeds() { run "$1" 'fixed seeds' -c $((fixed * $2 / 100)); }
fresh_seeds() {
	run "$1" 'fresh seeds' -s "$first" --seconds $((seconds * $3 / 100))
}

echo "1..$(($(echo "$sims" | wc -l) * 2))"
echo "# fresh seeds begin at $first: SIM_FIRST=$first runs them again"
for each in fixed_seeds fresh_seeds; do
	IFS='
'
	for row in $sims; do
		unset IFS
		# shellcheck disable=SC2086 # its fields
		$each $row
	done
done
exit $failed
