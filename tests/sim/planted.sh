#!/bin/sh
# Every planted bug must be found by the simulator within 1,000 seeds; and
# without one, the same seeds must pass. Long: for `make check-nightly`.
#   tests/sim/planted.sh [PROGRAM-DIRECTORY]
dir=${1:-${top_builddir:-.}/tests/sim}
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
n=0
found=0
failed=0
seeds=0

report() # RESULT TEXT
{
	n=$((n + 1))
	[ "$1" = ok ] || failed=1
	echo "$1 $n - $2"
}

# planted PROGRAM BUG NODES PROFILE
planted()
{
	if SIM_PLANT=$2 "$dir/$1" -n "$3" -p "$4" -c 1000 -j 2 --stop \
		>"$out" 2>&1; then
		report "not ok" "$1 $2: not found in 1000 seeds of $4"
		return
	fi
	what=$(grep -m1 '^# seed' "$out")
	if [ -z "$what" ]; then # it did not run
		report "not ok" "$1 $2"
		sed 's/^/# /' "$out"
		return
	fi
	found=$((found + 1))
	report ok "$1 $2: found in $4, $what"
}

# clean PROGRAM NODES PROFILE
clean()
{
	seeds=$((seeds + 1000))
	if "$dir/$1" -n "$2" -p "$3" -c 1000 -j 2 >"$out" 2>&1; then
		report ok "$1 $3: none planted, none found"
	else
		report "not ok" "$1 $3: none planted, but found:"
		grep '^# ' "$out"
	fi
}

# unmet PROGRAM BUG TEXT: what never happens is said to
unmet()
{
	if ! SIM_PLANT=$2 "$dir/$1" --rows -c 1000 -j 2 >"$out" 2>&1 &&
		grep -q "^# failed: .*no $3 in" "$out"; then
		found=$((found + 1))
		report ok "$1 $2: found, no $3"
	else
		report "not ok" "$1 $2: nobody misses $3"
	fi
}

planted sim_raft ack 3 disk
planted sim_raft vote 3 storm
planted sim_raft early 3 lease
planted sim_raft stale 3 calm
planted sim_raft asleep 3 lease
planted sim_raft count 3 stab
planted sim_raft told 3 calm
planted sim_raft wipe 4 member
planted sim_raft term 4 member
planted sim_raft trunc 1 disk
planted sim_raft reset 3 snap
planted sim_raft limp 3 slow
planted sim_raft need 3 snap
planted sim_raft free 3 snap
planted sim_raft table 3 snap
planted sim_raft nosync 3 disk
planted sim_raft rewrite 3 rot
planted sim_raft rotend 3 rot
planted sim_raft ahead 1 disk
planted sim_raft hold 1 disk
planted sim_raft loose 3 storm
planted sim_raft quorum 3 disk
planted sim_raft frame 3 calm
planted sim_raft supersum 7 rot
planted sim_raft majority 7 member
planted sim_shard ack 3 disk
planted sim_shard vote 3 storm
planted sim_shard retry 3 mix
planted sim_shard clock 3 mix
planted sim_shard stale 3 calm
planted sim_shard asleep 3 lease
planted sim_shard rows 3 mix
planted sim_shard alone 3 storm
planted sim_shard pointer 3 mix
planted sim_shard need 1 disk
planted sim_shard table 1 disk
planted sim_shard unsaved 1 calm
planted sim_shard needless 1 disk
planted sim_shard doubtless 1 disk
planted sim_shard trunc 3 snap
planted sim_shard reset 3 snap
planted sim_shard snapsync 3 snap
planted sim_shard snaplate 3 snap
planted sim_shard snapcache 3 snap
planted sim_shard snaphalf 4 member
planted sim_shard nohold 4 member
planted sim_shard nohash 3 rot
planted sim_shard reuse 1 disk
planted sim_shard hold 1 disk
planted sim_shard gate 4 member
planted sim_shard openless 3 mix
planted sim_shard graceless 3 mix
planted sim_shard endless 1 disk
planted sim_shard hasty 3 calm
planted sim_shard revive 3 mix
planted sim_shard pieces 3 mix
planted sim_shard unlisted 3 mix
planted sim_shard quorum 3 disk
planted sim_shard rotend 3 rot
planted sim_shard rewrite 3 rot
planted sim_shard nodir 3 rot
planted sim_shard blocksum 4 all
planted sim_shard late 3 calm
planted sim_shard unnumbered 3 churn
planted sim_shard majority 7 member
planted sim_shard callreuse 3 mix
planted sim_shard callseq 3 mix
planted sim_shard callslot 3 mix
planted sim_shard callkeep 3 mix
planted sim_shard callsession 3 mix
planted sim_shard callnamed 1 disk
planted sim_shard callstay 3 mix
planted sim_tree lock 3 mix
planted sim_tree read 3 mix
planted sim_tree end 3 mix
planted sim_tree term 3 mix
planted sim_tree again 3 mix
planted sim_tree unsaved 1 disk
planted sim_tree nohold 3 snap
planted sim_tree nolocks 3 snap
planted sim_tree doubtless 1 disk
planted sim_tree bytes 3 mix
planted sim_tree kref 3 mix
planted sim_tree nosteps 4 member
planted sim_tree wipe 4 member
planted sim_tree range 3 mix
planted sim_tree pin 3 mix
planted sim_tree empty 3 mix
planted sim_tree map 3 mix
planted sim_tree look 3 storm
planted sim_tree at 3 mix
planted sim_tree page 3 mix
planted sim_tree bare 1 disk
planted sim_tree sweep 1 calm
planted sim_tree orphan 1 disk
planted sim_chunk ack 1 store
planted sim_chunk ahead 1 disk
planted sim_chunk copy 1 store
planted sim_chunk unsaved 1 store
planted sim_chunk last 1 disk
planted sim_chunk late 1 calm
planted sim_chunk nohash 1 calm
planted sim_chunk first 1 store
planted sim_chunk count 1 calm
planted sim_chunk stay 1 calm
planted sim_chunk once 1 glitch
planted sim_chunk keep 1 glitch
planted sim_chunk piece 1 rot
planted sim_chunk rewrite 1 store
planted sim_chunk rotend 1 rot
planted sim_chunk early 1 store
planted sim_chunk silent 1 store
unmet sim_raft tame 'writes without room'
planted sim_tree callreuse 3 mix
planted sim_tree callseq 3 mix
planted sim_tree callhop 3 mix
planted sim_tree callslot 3 mix
planted sim_tree callagain 3 mix
planted sim_tree callsession 3 mix
clean sim_raft 3 calm
clean sim_raft 3 lease
clean sim_raft 3 stab
clean sim_raft 3 slow
clean sim_raft 3 snap
clean sim_raft 5 member
clean sim_raft 4 churn
clean sim_raft 5 all
clean sim_raft 5 storm
clean sim_raft 1 disk
clean sim_raft 3 disk
clean sim_raft 3 rot
clean sim_shard 3 calm
clean sim_shard 3 mix
clean sim_shard 3 disk
clean sim_shard 3 storm
clean sim_shard 3 rot
clean sim_shard 3 stab
clean sim_shard 3 lease
clean sim_shard 3 snap
clean sim_shard 4 member
clean sim_shard 4 churn
clean sim_shard 5 all
clean sim_shard 1 disk
clean sim_shard 1 rot
clean sim_shard 5 storm
clean sim_tree 3 mix
clean sim_tree 3 disk
clean sim_tree 3 snap
clean sim_tree 4 member
clean sim_tree 4 churn
clean sim_tree 4 all
clean sim_tree 1 disk
clean sim_tree 1 store
clean sim_chunk 1 store
clean sim_chunk 1 disk
clean sim_chunk 1 calm
clean sim_chunk 1 rot
clean sim_chunk 1 glitch
clean sim_chunk 1 tight
echo "1..$n"
echo "# summary: $found planted bugs found; none in $seeds seeds without"
exit $failed
