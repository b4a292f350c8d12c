#!/bin/sh
# The long tests (`make check-nightly`): the rows of tests/nightly.tab, one
# after the other; hours. Ends with a table for docs/STATUS.md; all output is
# in build-nightly/.
#   tests/nightly.sh [-l] [-q] [ROW...]
#     -l: lists the rows; -q: with a hundredth of their counts, to try them out
set -u
top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top" || exit 1
tab=tests/nightly.tab

# rows: NAME BUILDS COMMAND of each, without comments
rows() { sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' "$tab"; }

SHORT=1
while [ $# -gt 0 ]; do
	case $1 in
	-l) rows; exit 0 ;;
	-q) SHORT=100 ;;
	-*) sed -n 's/^# \{0,1\}//p' "$0" | sed -n '2,6p' >&2; exit 2 ;;
	*) break ;;
	esac
	shift
done

out=build-nightly
mkdir -p "$out"
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
JOBS=${JOBS:-$(nproc)}
# fresh seeds each night: no other night's, and never the fixed ones
FIRST=$(($(date +%s) * 1000))
CHECK=$top/build-check FAST=$top/build-fast
export JOBS FIRST CHECK FAST SHORT
build=build-check
# shellcheck source=tests/env.sh
. "$top/tests/env.sh"
summary=$out/summary.md
{
	[ $SHORT -eq 1 ] || echo "Shortened, counts divided by $SHORT:"
	echo "Nightly run of $(date -u +%Y-%m-%d), commit $commit," \
		"$JOBS cores, seeds from $FIRST:"
	echo
	echo '| row | result | seconds | what |'
	echo '|---|---|---|---|'
} >"$summary"

# what LOG: the row's own summary, else the runner's, else counts of its TAP
what() {
	s=$(sed -n 's/^# summary: //p' "$1" | paste -sd'|' | sed 's/|/; /g')
	if [ -z "$s" ]; then
		s=$(grep -E '^[0-9]+ passed, [0-9]+ failed, ' "$1" | tail -n 1)
	fi
	if [ -z "$s" ]; then
		s="$(grep -c '^ok ' "$1") ok, $(grep -c '^not ok ' "$1") not ok"
	fi
	echo "$s" | sed 's/|/\\|/g'
}

status=0
ran=0
wanted=" $* "
rows >"$out/rows"
while read -r name builds command; do
	if [ $# -gt 0 ]; then
		case $wanted in *" $name "*) ;; *) continue ;; esac
	fi
	ran=$((ran + 1))
	log=$out/$name.log
	: >"$log"
	from=$(date +%s)
	result=ok
	if [ "$builds" != - ] && ! tests/build.sh \
		$(echo "$builds" | tr , ' ') >"$log" 2>&1 </dev/null; then
		result='DID NOT BUILD'
	elif ! sh -c "$command" >>"$log" 2>&1 </dev/null; then
		result=FAILED
	fi
	took=$(($(date +%s) - from))
	echo "$name: $result, $took s: $(what "$log")"
	if [ "$result" != ok ]; then
		status=1
		grep -E '^(not ok|# (failed|seed)|  FAILED)|FOUND' "$log" | head -n 10 |
			sed 's/^/  | /'
		echo "  all of it: $log"
	fi
	echo "| $name | $result | $took | $(what "$log") |" >>"$summary"
done <"$out/rows"
if [ $ran -eq 0 ]; then
	echo "no such row; $0 -l lists them" >&2
	exit 2
fi
echo
cat "$summary"
exit $status
