#!/bin/sh
# The long tests (`make check-nightly`): the rows of tests/nightly.tab, two at
# a time (LANES), the first ones first; one to two hours. Ends with a table for
# docs/STATUS.md; all output is in build-nightly/.
#   tests/nightly.sh [-l] [-q] [ROW...]
#     -l: lists the rows; -q: with a hundredth of their counts, to try them out
set -u
top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top" || exit 1
tab=tests/nightly.tab

# rows: NAME BUILDS COMMAND of each, without comments
rows() { sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' "$tab"; }

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

# run_row NAME: leaves NAME.log, and NAME.md, its line of the table
run_row() {
	log=$out/$1.log
	from=$(date +%s)
	result=ok
	rows | while read -r name _ command; do
		[ "$name" != "$1" ] || echo "$command"
	done >"$out/$1.sh"
	sh "$out/$1.sh" >"$log" 2>&1 </dev/null || result=FAILED
	took=$(($(date +%s) - from))
	echo "$1: $result, $took s: $(what "$log")"
	if [ "$result" != ok ]; then
		grep -E '^(not ok|# (failed|seed)|  FAILED)|FOUND' "$log" |
			head -n 10 | sed 's/^/  | /'
		echo "  all of it: $log"
	fi
	echo "| $1 | $result | $took | $(what "$log") |" >"$out/$1.md"
	[ "$result" = ok ]
}

out=build-nightly
mkdir -p "$out"
SHORT=${SHORT:-1}
while [ $# -gt 0 ]; do
	case $1 in
	-l) rows; exit 0 ;;
	-q) SHORT=100 ;;
	-r) run_row "$2"; exit ;; # one lane's call of what is below
	-*) sed -n 's/^# \{0,1\}//p' "$0" | sed -n '2,6p' >&2; exit 2 ;;
	*) break ;;
	esac
	shift
done

commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
JOBS=${JOBS:-$(nproc)}
LANES=${LANES:-2}
# fresh seeds each night: no other night's, and never the fixed ones
FIRST=$(($(date +%s) * 1000))
CHECK=$top/build-check FAST=$top/build-fast RELEASE=$top/build-release
export JOBS FIRST CHECK FAST RELEASE SHORT
build=build-check
# shellcheck source=tests/env.sh
. "$top/tests/env.sh"

wanted=" $* "
[ $# -gt 0 ] || wanted=
rows | while read -r name kind _; do
	case $wanted in '' | *" $name "*) echo "$name $kind" ;; esac
done >"$out/rows"
if [ ! -s "$out/rows" ]; then
	echo "no such row; $0 -l lists them" >&2
	exit 2
fi
if ! cut -d' ' -f2 "$out/rows" | sort -u | xargs tests/build.sh; then
	exit 1
fi

from=$(date +%s)
status=0
cut -d' ' -f1 "$out/rows" | xargs -n 1 -P "$LANES" tests/nightly.sh -r ||
	status=1
echo
[ "$SHORT" -eq 1 ] || echo "Shortened, counts divided by $SHORT:"
echo "Nightly run of $(date -u +%Y-%m-%d), commit $commit, $JOBS cores," \
	"$LANES rows at a time, $(($(date +%s) - from)) s, seeds from $FIRST:"
echo
echo '| row | result | seconds | what |'
echo '|---|---|---|---|'
cut -d' ' -f1 "$out/rows" | sed "s|.*|$out/&.md|" | xargs cat
exit $status
