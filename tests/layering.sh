#!/bin/sh
# Who may include whom (DESIGN section 2, CONVENTIONS section 1), and documents
# that name files which are gone. Prints TAP.
cd "${top_srcdir:-$(dirname "$0")/..}" || exit 99

n=0
# check NAME VIOLATIONS: one violation a line
check() {
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		echo "$2" | sed 's/^/# /'
	fi
}

daemons='storaged managerd gateway fuse adm leofs'

# includes DIR...: every #include as FILE:LINE:TEXT
includes() {
	find "$@" -name '*.[ch]' -exec grep -nE \
		'^[[:space:]]*#[[:space:]]*include' /dev/null {} +
}

# outside REGEX DIR...: includes matching REGEX elsewhere than in the DIRs
outside() {
	what=$1
	shift
	skip=$(echo "$*" | tr ' ' '|')
	includes common $daemons | grep -E "include[[:space:]]*$what" |
		grep -vE "^($skip)/"
}

# foreign DIR: includes of DIR that belong to another program
foreign() {
	others=$(echo "$daemons" | tr ' ' '\n' | grep -vx "$1" | paste -sd'|')
	includes "$1" | grep -E "include[[:space:]]*\"($others)/"
}

# gone: paths in documents that look like ours and do not exist
gone() {
	find docs man README.md -name '*.md' | while read -r f; do
		grep -oE '`(common|storaged|managerd|gateway|fuse|adm|leofs|tests|man|dist|docs)/[A-Za-z0-9_./-]+`' "$f" |
			tr -d '`' | sort -u | while read -r p; do
			[ -e "${p%/}" ] || echo "$f: $p"
		done
	done
}

echo 1..13
check 'common/ includes no daemon' "$(includes common |
	grep -E "include[[:space:]]*\"($(echo "$daemons" | tr ' ' '|'))/")"
# leofs/ is made of all the others
for d in storaged managerd gateway fuse adm; do
	check "$d/ includes no other program" "$(foreign $d)"
done
check 'only common/raft includes libraft' \
	"$(outside '<raft(\.h|/)' common/raft)"
# trap E: with a log of our own its callbacks never come
check "trap E: libraft's callback API is not used" \
	"$(grep -nE '\braft_(uv_[a-z_]+|start|apply|bootstrap|recover|add|assign|remove)\(|struct raft_(io|fsm)\b' common/raft/*.[ch])"
check 'planted bugs are compiled in by their macros only' \
	"$(grep -rnE '\b(raft|seg|client)_mutation\b' --include='*.[ch]' common $daemons |
		grep -vE '_(impl|int)\.h:|:enum (raft|seg|client)_mutation ')"
check 'only common/rows includes leveldb' "$(outside '<leveldb/' common/rows)"
check 'only fuse/ includes libfuse' "$(outside '<fuse[a-z0-9_/]*\.h>' fuse)"
# a main may use libevent for signals
check 'only common/base, rpc, http and fuse include libevent' \
	"$(outside '<event2/' common/base common/rpc common/http fuse |
		grep -vE '^[a-z]+/main\.c:')"
check 'files named in documents exist' "$(gone 2>/dev/null)"
