#!/bin/sh
# Every planted bug must be found by the simulator within 1,000 seeds; and
# without one, the same seeds must pass. Long: for `make check-nightly`.
#   tests/sim/planted.sh [PROGRAM]
prog=${1:-${top_builddir:-.}/tests/sim/sim_shard}
step=50
n=0
failed=0
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT

# run PLANT NODES PROFILE FIRST COUNT: true when all seeds passed
run()
{
	SIM_PLANT=$1 "$prog" -n "$2" -p "$3" -s "$4" -c "$5" >"$out" 2>&1
}

report() # RESULT TEXT
{
	n=$((n + 1))
	[ "$1" = ok ] || failed=1
	echo "$1 $n - $2"
}

echo 1..7
for plant in ack:disk vote:storm retry:mix clock:mix stale:calm rows:mix; do
	bug=${plant%:*} profile=${plant#*:} first=1
	while [ $first -le 1000 ] && run "$bug" 3 "$profile" $first $step; do
		first=$((first + step))
	done
	if [ $first -gt 1000 ]; then
		report "not ok" "$bug: not found in 1000 seeds of $profile"
	else
		report ok "$bug: found in seeds $first-$((first + step - 1)) of $profile"
		grep -m1 '^# seed' "$out"
	fi
done
if run "" 3 mix 1 1000; then
	report ok "none planted, none found"
else
	report "not ok" "none planted, but found:"
	grep -m3 '^# ' "$out"
fi
exit $failed
