#!/bin/sh
# For check.sh: the fixed seeds of the simulators, then fresh ones as long as
# there is time; these begin where the commit's name says.
#   tests/sim/seeds.sh          SIM_SECONDS: for all of it, 180
top=$(cd "$(dirname "$0")/../.." && pwd -P)
dir=$top/build-fast/tests/sim
fixed=${SIM_SEEDS:-2000}
seconds=${SIM_SECONDS:-180}
commit=$(git -C "$top" rev-parse --short=8 HEAD 2>/dev/null) ||
	commit=$(date +%s | tail -c 8)
first=$(((0x$commit % 1000000000 + 1) * 10000))
jobs=$(nproc)
begin=$(date +%s)
n=0
failed=0

# run NAME TEXT ARGS...
run() {
	name=$1 text=$2
	shift 2
	n=$((n + 1))
	"$dir/$name" --rows -j "$jobs" "$@" >"seeds.$$" 2>&1
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

echo 1..8
echo "# fresh seeds begin at $first"
run sim_raft 'fixed seeds' -c "$fixed"
run sim_shard 'fixed seeds' -c "$fixed"
run sim_tree 'fixed seeds' -c $((fixed / 10))
run sim_chunk 'fixed seeds' -c $((fixed / 2))
left=$((seconds - $(date +%s) + begin))
[ $left -gt 10 ] || left=10
run sim_raft 'fresh seeds' -s $first --seconds $((left / 5))
left=$((seconds - $(date +%s) + begin))
[ $left -gt 10 ] || left=10
run sim_chunk 'fresh seeds' -s $first --seconds $((left / 4))
left=$((seconds - $(date +%s) + begin))
[ $left -gt 10 ] || left=10
run sim_shard 'fresh seeds' -s $first --seconds $((left / 2))
left=$((seconds - $(date +%s) + begin))
[ $left -gt 10 ] || left=10
run sim_tree 'fresh seeds' -s $first --seconds $left
exit $failed
