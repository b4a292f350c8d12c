#!/bin/sh
# From a fresh checkout to a running store with a mount: see README.md.
set -eu

usage() {
	cat <<'END'
usage: ./quickstart.sh [options]
  --data DIR      keep the data there              (run/data)
  --s3-port N     S3 port on 127.0.0.1             (8080)
  --admin-port N  admin port on 127.0.0.1          (10020)
  --no-mount      serve S3 alone
  --status        what runs
  --stop          unmount and stop
END
}

top=$(cd "$(dirname "$0")" && pwd -P)
run=$top/run
data=
s3_port=
admin_port=
mount=yes
mode=start
while [ $# -gt 0 ]; do
	case $1 in
	--data | --s3-port | --admin-port)
		if [ $# -lt 2 ]; then
			echo "quickstart: $1 needs a value" >&2
			exit 2
		fi
		case $1 in
		--data) data=$2 ;;
		--s3-port) s3_port=$2 ;;
		--admin-port) admin_port=$2 ;;
		esac
		shift
		;;
	--no-mount) mount=no ;;
	--status) mode=status ;;
	--stop) mode=stop ;;
	-h | --help)
		usage
		exit 0
		;;
	*)
		usage >&2
		exit 2
		;;
	esac
	shift
done

die() {
	echo "quickstart: $*" >&2
	exit 1
}

# The user whom the store belongs to, also under sudo.
owner_uid=${SUDO_UID:-$(id -u)}
owner_gid=${SUDO_GID:-$(id -g)}
as_owner=
if [ "$(id -u)" = 0 ] && [ "$owner_uid" != 0 ]; then
	as_owner="setpriv --reuid $owner_uid --regid $owner_gid --init-groups"
fi
as_owner() { $as_owner "$@"; }
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

for p in "$s3_port" "$admin_port"; do
	case $p in
	'') ;;
	*[!0-9]* | 0* | ??????*) die "not a port: $p" ;;
	*) [ "$p" -le 65535 ] || die "not a port: $p" ;;
	esac
done

server_pid() { cat "$run/server.pid" 2>/dev/null || true; }
mount_pid() { cat "$run/mount.pid" 2>/dev/null || true; }
# Is that process ours? (a pid may have been given to another one)
runs() {
	[ -n "$1" ] && [ -d "/proc/$1" ] &&
		tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -q "$2"
}
mounted() { grep -q " $run/mnt fuse" /proc/self/mounts; }

wait_gone() { # pid name seconds
	n=0
	while runs "$1" "$2"; do
		n=$((n + 1))
		[ "$n" -le "$(($3 * 20))" ] || return 1
		sleep 0.05
	done
}

unmount() {
	if mounted; then
		as_root umount "$run/mnt" 2>/dev/null ||
			as_root umount -l "$run/mnt" ||
			die "cannot unmount $run/mnt: is it in use?"
	fi
	pid=$(mount_pid)
	if runs "$pid" leo-mount && ! wait_gone "$pid" leo-mount 10; then
		as_root kill -9 "$pid" 2>/dev/null || true
	fi
	rm -f "$run/mount.pid"
}

stop() {
	unmount
	pid=$(server_pid)
	if runs "$pid" 'leofs server'; then
		as_owner kill "$pid"
		wait_gone "$pid" 'leofs server' 10 ||
			die "server $pid does not stop; see $run/server.log"
	fi
	rm -f "$run/server.pid" "$run/quickstart.env"
}

if [ "$mode" = stop ]; then
	stop
	echo "stopped; the data stays"
	exit 0
fi
if [ "$mode" = status ]; then
	if runs "$(server_pid)" 'leofs server'; then
		echo "server: running, pid $(server_pid)"
	else
		echo "server: not running"
	fi
	if mounted && runs "$(mount_pid)" leo-mount; then
		echo "mount:  $run/mnt, pid $(mount_pid)"
	elif mounted; then
		echo "mount:  $run/mnt is dead; start again to clean it"
	else
		echo "mount:  none"
	fi
	if [ -f "$run/quickstart.env" ]; then
		. "$run/quickstart.env"
		echo "S3:     $LEOFS_S3_ENDPOINT"
		echo "admin:  $LEOFS_ADMIN_URL"
	fi
	runs "$(server_pid)" 'leofs server'
	exit
fi

# --- packages and build ---

"$top/dist/packages.sh" build || die "packages are missing"
log=$run/build.log
as_owner mkdir -p "$run" "$top/build" 2>/dev/null ||
	mkdir -p "$run" "$top/build" || die "cannot write to $top"
step() {
	printf '%s ...\n' "$1"
	shift
	if ! (cd "$top/build" && as_owner "$@") >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		die "failed: $* (all of it: $log)"
	fi
}
if [ ! -x "$top/configure" ] || [ "$top/configure.ac" -nt "$top/configure" ]; then
	step 'preparing the build' "$top/autogen.sh"
fi
if [ ! -f "$top/build/Makefile" ]; then
	step 'configuring' "$top/configure" --quiet
fi
step 'building (a minute or two the first time)' \
	make -j "$(nproc)" --no-print-directory
bin=$top/build

# --- start ---

old_data=
if [ -f "$run/data.path" ]; then
	old_data=$(cat "$run/data.path")
fi
data=${data:-${old_data:-$run/data}}
s3_port=${s3_port:-8080}
admin_port=${admin_port:-10020}

# a mount goes on with the next server on the same data
if mounted && ! { runs "$(mount_pid)" leo-mount &&
	{ runs "$(server_pid)" 'leofs server' || [ "$data" = "$old_data" ]; }; }; then
	echo 'cleaning up a dead mount ...'
	unmount
fi

http_code() { # url
	curl -s -o /dev/null -m 2 -w '%{http_code}' "$1" || true
}

started=
give_up() {
	if [ -n "$started" ]; then
		unmount
		as_owner kill "$started" 2>/dev/null || true
		wait_gone "$started" 'leofs server' 10 ||
			as_owner kill -9 "$started" 2>/dev/null || true
		rm -f "$run/server.pid"
	fi
	tail -n 3 "$run/server.log" >&2
	die "$*"
}

if runs "$(server_pid)" 'leofs server'; then
	echo "the server runs already, pid $(server_pid)"
	. "$run/quickstart.env" 2>/dev/null || true
	data=${old_data:-$data}
	s3_port=${LEOFS_S3_ENDPOINT##*:}
	admin_port=${LEOFS_ADMIN_URL##*:}
else
	as_owner mkdir -p "$data" || die "cannot make $data"
	data=$(cd "$data" && pwd -P)
	# what the store keeps free: it would refuse to write anything
	df -Pk "$data" | awk 'NR == 2 {
		need = $2 / 50
		if (need > 1048576) need = 1048576
		if (need < 262144) need = 262144
		if (need > $2 / 2) need = $2 / 2
		exit $4 < need }' ||
		die "the disk of $data is full: $(df -Ph "$data" |
			awk 'NR == 2 { print $4 " of " $2 }') are free"
	rm -f "$run/server.pid"
	: >"$run/server.log"
	[ "$(id -u)" != 0 ] || chown "$owner_uid:$owner_gid" "$run" "$run/server.log"
	(
		# exec, so that the shell keeps no copy of our own output open,
		# and $! is the server itself
		exec </dev/null >>"$run/server.log" 2>&1
		# shellcheck disable=SC2086 # a list of words
		exec $as_owner setsid "$bin/leofs/leofs" server --data "$data" \
			--s3 "127.0.0.1:$s3_port" \
			--admin "127.0.0.1:$admin_port" \
			--pid-file "$run/server.pid"
	) &
	started=$!
	n=0
	printf 'starting the server ...\n'
	# an unsigned request is refused with 403 once everything is there; the
	# log, because the port may be another server's
	while ! grep -q 'leofs: ready' "$run/server.log" ||
		[ "$(http_code "http://127.0.0.1:$s3_port/")" != 403 ] ||
		! runs "$(server_pid)" 'leofs server'; do
		if ! kill -0 "$started" 2>/dev/null; then
			started=
			give_up "the server did not start (see above)"
		fi
		n=$((n + 1))
		[ "$n" -le 600 ] || give_up "the server is not ready after a minute"
		sleep 0.1
	done
	printf '%s\n' "$data" >"$run/data.path"
fi

# Credentials are readable by the owner only.
LEOFS_S3_ENDPOINT=http://127.0.0.1:$s3_port
LEOFS_ADMIN_URL=http://127.0.0.1:$admin_port
cred=$data/credentials
key() { as_owner sed -n "s/^$1 *= *//p" "$cred"; }

adm() { as_owner "$bin/adm/leofs-adm" --data "$data" "$@"; }
if ! adm get-buckets | grep -q '^demo '; then
	adm add-bucket demo --uid "$owner_uid" --gid "$owner_gid" >/dev/null ||
		give_up "cannot create the bucket demo"
fi

pids=$(server_pid)
if [ "$mount" = yes ] && [ ! -e /dev/fuse ]; then
	echo 'no /dev/fuse here: serving S3 alone'
	mount=no
fi
if [ "$mount" = yes ]; then
	if ! mounted; then
		mkdir -p "$run/mnt"
		as_root "$bin/fuse/leo-mount" "unix:$data/rpc.sock:/" "$run/mnt" \
			-o allow_other,default_permissions \
			--pid-file "$run/mount.pid" --log "$run/mount.log" ||
			give_up "cannot mount $run/mnt"
	fi
	pids="$pids $(mount_pid)"
fi

{
	printf "LEOFS_S3_ENDPOINT='%s'\n" "$LEOFS_S3_ENDPOINT"
	printf "AWS_SHARED_CREDENTIALS_FILE='%s'\n" "$cred"
	printf "AWS_DEFAULT_REGION='us-east-1'\n"
	[ "$mount" = no ] || printf "LEOFS_MOUNT='%s'\n" "$run/mnt"
	printf "LEOFS_ADMIN_URL='%s'\n" "$LEOFS_ADMIN_URL"
	printf "LEOFS_ADMIN_TOKEN_FILE='%s'\n" "$data/admin.token"
	printf "LEOFS_PIDS='%s'\n" "$pids"
	printf 'export LEOFS_S3_ENDPOINT AWS_SHARED_CREDENTIALS_FILE AWS_DEFAULT_REGION\n'
	printf 'export LEOFS_ADMIN_URL LEOFS_ADMIN_TOKEN_FILE LEOFS_PIDS %s\n' \
		"$([ "$mount" = no ] || echo LEOFS_MOUNT)"
} >"$run/quickstart.env.tmp"
mv "$run/quickstart.env.tmp" "$run/quickstart.env"
[ "$(id -u)" != 0 ] || chown "$owner_uid:$owner_gid" "$run/quickstart.env"

# --- one file through both doors ---

hello="hello from S3 at $(date -u +%FT%TZ)"
printf '%s\n' "$hello" >"$run/hello.txt"
# the secret goes through curl's standard input, not its command line
code=$(printf 'user = "%s:%s"\n' "$(key aws_access_key_id)" \
	"$(key aws_secret_access_key)" |
	curl -s -o "$run/put.out" -w '%{http_code}' -K - \
		--aws-sigv4 aws:amz:us-east-1:s3 -T "$run/hello.txt" \
		"$LEOFS_S3_ENDPOINT/demo/hello.txt") || true
[ "$code" = 200 ] || give_up "storing a file through S3 failed: $code $(cat "$run/put.out")"
if [ "$mount" = yes ]; then
	[ "$(cat "$run/mnt/demo/hello.txt")" = "$hello" ] ||
		give_up "the file stored through S3 does not read back through the mount"
fi

cat <<END

The store is running.
  S3 endpoint   $LEOFS_S3_ENDPOINT   (region us-east-1, path style)
  credentials   $cred
END
[ "$mount" = no ] || echo "  mount point   $run/mnt   (buckets are its directories)"
cat <<END
  admin         $LEOFS_ADMIN_URL   (token: $data/admin.token)

Try next:
  . $run/quickstart.env
END
if [ "$mount" = yes ]; then
	cat <<END
  cp -r docs \$LEOFS_MOUNT/demo/ && aws --endpoint-url \$LEOFS_S3_ENDPOINT s3 ls --recursive s3://demo
  aws --endpoint-url \$LEOFS_S3_ENDPOINT s3 cp README.md s3://demo/ && cat \$LEOFS_MOUNT/demo/README.md
END
else
	echo "  aws --endpoint-url \$LEOFS_S3_ENDPOINT s3 cp README.md s3://demo/"
	echo "  aws --endpoint-url \$LEOFS_S3_ENDPOINT s3 ls s3://demo"
fi
echo "  $bin/adm/leofs-adm status"
