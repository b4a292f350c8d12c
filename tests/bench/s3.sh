#!/bin/sh
# The S3 rows of docs/PERFORMANCE.md, on a server that runs.
#
#   tests/bench/s3.sh S3LOAD DATA PORT [ROW...]
#
# S3LOAD: the load generator (not part of this tree; its options are those in
# the commands below). DATA: the server's --data directory, for credentials.
# PORT: of its S3 endpoint on 127.0.0.1. SERVER_PID, when set, adds the
# server's CPU per 1,000 operations; SECONDS_EACH (5) is the time of a row.
#
# Builds nothing, starts nothing; writes to the bucket "bench". One line per
# row. Figures of one machine drift by a factor of three within minutes:
# compare two servers by turns, and CPU per operation rather than rates.
set -eu

[ $# -ge 3 ] || {
	sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
	exit 2
}
s3load=$1 data=$2 port=$3
shift 3
seconds=${SECONDS_EACH:-5}
key=$(sed -n 's/aws_access_key_id *= *//p' "$data/credentials")
secret=$(sed -n 's/aws_secret_access_key *= *//p' "$data/credentials")
run=$(date +%s) # new names for each run

load() {
	"$s3load" "$@" --port "$port" --access "$key" --secret "$secret" \
		${SERVER_PID:+--pids "$SERVER_PID"}
}

# Keys to read; the same in every run.
fill() {
	load put --conns 16 --count "$2" --prefix "$1-" --size "$3" >/dev/null
}

timed() {
	load "$@" --seconds "$seconds"
}

row() {
	case $1 in
	put16) timed put --conns 16 --prefix "$run-a-" ;;
	puts16) timed put --conns 16 --prefix "$run-b-" --scatter ;;
	put1) timed put --conns 1 --prefix "$run-c-" ;;
	get16) fill g 20000 1K; timed get --conns 16 --prefix g- --keys 20000 ;;
	get1) fill g 20000 1K; timed get --conns 1 --prefix g- --keys 20000 ;;
	head16) fill g 20000 1K; timed head --conns 16 --prefix g- --keys 20000 ;;
	head1) fill g 20000 1K; timed head --conns 1 --prefix g- --keys 20000 ;;
	del16) fill "$run-d" 30000 1K
		load delete --conns 16 --prefix "$run-d-" --keys 30000 \
			--count 30000 ;;
	put64k) timed put --conns 16 --prefix "$run-e-" --size 64K ;;
	get64k) fill h 2000 64K
		timed get --conns 16 --prefix h- --keys 2000 --size 64K ;;
	put1m) timed put --conns 16 --prefix "$run-f-" --size 1M ;;
	get1m) fill i 300 1M
		timed get --conns 16 --prefix i- --keys 300 --size 1M ;;
	put64m1) timed put --conns 1 --prefix "$run-k-" --size 64M ;;
	put64m16) load put --conns 16 --count 32 --prefix "$run-m-" \
			--size 64M ;;
	get64m1) fill j 8 64M
		timed get --conns 1 --prefix j- --keys 8 --size 64M ;;
	get64m16) fill j 8 64M
		timed get --conns 16 --prefix j- --keys 8 --size 64M ;;
	list) fill l 100000 16; load list --prefix l- --count 5 ;;
	*)
		echo "s3.sh: no row $1" >&2
		return 2 ;;
	esac
}

[ $# -gt 0 ] || set -- put16 puts16 put1 get16 get1 head16 head1 del16 \
	put64k get64k put1m get1m put64m1 put64m16 get64m1 get64m16 list
load mkbucket >/dev/null
for r; do
	printf '%s ' "$r"
	row "$r"
done
