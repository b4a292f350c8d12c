#!/bin/sh
# For check.sh: what shards cost that nobody uses, in the fast build: 4,096 of
# one voter each take no more than 40 MiB and 2 % of a core, by the process's
# own CPU time; when they are new, and after a restart.
#   tests/fault/groups.sh          GROUPS_LOOPS: event loops, 1
top=$(cd "$(dirname "$0")/../.." && pwd -P)
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
n=0
failed=0

echo 1..2
for what in 'new' 'after a restart'; do
	n=$((n + 1))
	if "$top/build-fast/tests/bench/bench_groups" -m 40 -c 2 -t 4 \
		-l "${GROUPS_LOOPS:-1}" "$dir/store" >"$dir/out" 2>&1; then
		echo "ok $n - $what"
		grep '^# summary: ' "$dir/out"
	else
		failed=1
		echo "not ok $n - $what"
		sed 's/^/# /' "$dir/out"
	fi
done
exit $failed
