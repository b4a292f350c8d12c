#!/bin/sh
# Installs what LeoFS needs on Debian 12 or newer.
#   packages.sh build   compiler, libraries, what quickstart.sh uses
#   packages.sh test    and what check.sh's tests use
# Prints only when something is missing or fails. Root, or sudo.
set -eu

build="gcc make autoconf automake pkg-config libc6-dev libevent-dev
 libfuse3-dev fuse3 libleveldb-dev libxxhash-dev libyaml-dev libssl-dev
 libexpat1-dev libjansson-dev libisal-dev zlib1g-dev curl ca-certificates"
test="libcmocka-dev awscli s3cmd rclone python3 python3-venv sqlite3 rsync git
 attr procps util-linux"
want=$build
[ "${1:-build}" = build ] || want="$build $test"

# clang or gcc, whichever: gcc's sanitizer libraries come with gcc itself.
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo

have() {
	dpkg-query -W -f '${Status}' "$1" 2>/dev/null |
		grep -q '^install ok installed$'
}

raft_ok() {
	v=$(dpkg-query -W -f '${Version}' libraft-dev 2>/dev/null) || return 1
	dpkg --compare-versions "$v" ge 0.22
}

missing=
for p in $want; do
	have "$p" || missing="$missing $p"
done
if [ -z "$missing" ] && raft_ok; then
	exit 0
fi
if ! command -v apt-get >/dev/null; then
	echo "packages.sh: this needs Debian 12 or newer (no apt-get here)" >&2
	exit 1
fi
if [ -n "$sudo" ] && ! command -v sudo >/dev/null; then
	echo "packages.sh: run as root, or install sudo; missing:$missing" >&2
	exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
run() {
	if ! $sudo env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1; then
		tail -n 5 "$log" >&2
		echo "packages.sh: failed: $*" >&2
		exit 1
	fi
}

echo "installing packages:${missing:- libraft-dev}"
run apt-get update
if [ -n "$missing" ]; then
	# shellcheck disable=SC2086 # a list of words
	run apt-get install -y --no-install-recommends $missing
fi
if ! raft_ok; then
	if apt-cache madison libraft-dev | awk '{print $3}' |
		grep -qE '^0\.(2[2-9]|[3-9][0-9])|^[1-9]'; then
		:
	else
		# Debian 12: the release has 0.15, backports has 0.22
		printf '%s\n' 'deb http://deb.debian.org/debian bookworm-backports main' |
			$sudo tee /etc/apt/sources.list.d/leofs-backports.list >/dev/null
		run apt-get update
	fi
	if apt-cache policy libraft-dev | grep -q bookworm-backports; then
		run apt-get install -y --no-install-recommends \
			-t bookworm-backports libraft-dev
	else
		run apt-get install -y --no-install-recommends libraft-dev
	fi
fi
raft_ok || {
	echo "packages.sh: libraft-dev 0.22 or newer cannot be had" >&2
	exit 1
}
