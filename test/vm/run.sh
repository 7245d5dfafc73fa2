#!/bin/bash
# Runs tests in a guest with systemd and control groups (lab.sh), as a person
# there. The tests are built here and copied in.
#
#   run.sh                     what this machine can't show: limits, the parts of
#                              other suites that meet them, and the package
#   run.sh PACKAGE[=REGEXP]... these packages' tests, as ./test/attack=TestAttacks/R41
#   run.sh --events [...]      the same as events of go test -json
#
# SBX_MUST_WORK=1 makes it a failure that the guest can't be had here.
# SBX_VM_SUITE and the others of common.sh choose the guest.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=test/vm/common.sh
. "$here/common.sh"
export CGO_ENABLED=0
events=

chosen=(./test/limits ./test/attack='TestAttacks/R4[123]|TestAttacks/R20-filter/32_bits' ./test/life='Test(Bundle|RuntimeGone)$'
	./test/faults='Test(NoRuntimeDir|RuntimeDirGone)$' ./sandbox/state ./sandbox/cgroup ./test/dist)

# skip says why there is no guest, and leaves.
skip() {
	if [[ $events ]]; then
		event run TestGuest
		event output TestGuest "    needs guest: $*"
		event skip TestGuest
		event skip
		exit
	fi
	say "skipped: $*"
	[[ ${SBX_MUST_WORK-} != 1 ]]
	exit
}

# event ACTION [TEST [OUTPUT]] prints an event of go test -json.
event() {
	local text=${3-}
	text=${text//\\/\\\\}
	text=${text//\"/\\\"}
	printf '{"Action":"%s","Package":"github.com/sbx-sandbox/sbx/test/vm"%s%s}\n' "$1" "${2:+,\"Test\":\"$2\"}" "${text:+,\"Output\":\"$text\\n\"}"
}

# install gets the programs that this needs, PROGRAM:PACKAGE each.
install() {
	local pair missing=()
	for pair in "$@"; do
		command -v "${pair%:*}" >/dev/null || missing+=("${pair#*:}")
	done
	((${#missing[@]})) || return 0
	((EUID == 0)) && command -v apt-get >/dev/null || return 1
	say "installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# payload DIR PACKAGE[=REGEXP]... makes what the guest runs: sbx, the tests with
# what lies beside them, and a list of them.
payload() {
	local out=$1 one package slug
	shift
	mkdir -p "$out"/{bin,tests,checkout}
	make -s -C "$root" build
	cp "$root"/bin/sbx "$root"/bin/sbx-scope "$out/bin/"
	(cd "$root" && go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$out/bin/" ./test/attack/probe)
	for one in "$@"; do
		package=${one%%=*}
		slug=${package#./}
		(cd "$root" && go test -c -trimpath -ldflags='-s -w' -o "$out/tests/${slug//\//-}" "$package")
		[[ -e $out/tests/${slug//\//-} ]] || die "$package has no tests"
		(cd "$root" && tar -cf - "$slug") | tar -C "$out/checkout" -xf -
		if [[ $one == *=* ]]; then one=${one#*=}; else one=.; fi
		printf '%s %s %s\n' "$slug" "${slug//\//-}" "$one"
		if [[ $slug == test/dist ]]; then debian "$out"; fi
	done >"$out/list"
	cp "$root/go.mod" "$out/checkout/"
	cp "$here/guest/tests.sh" "$out/"
	chmod -R a+rX "$out"
	mke2fs -q -F -t ext4 -O ^has_journal -m 0 -E root_owner=0:0 -d "$out" "$out.ext4" 512M >/dev/null
}

# debian DIR makes the package, twice, and gets those that show manual pages and
# complete words, which the guest lacks.
debian() {
	local out=$1 n
	for n in 1 2; do
		make -s -C "$root" install DESTDIR="$out/stage$n" PREFIX=/usr >/dev/null
		(cd "$root" && tools/dist/dist.sh "$out/stage$n" "$out/dist$n" deb) >/dev/null
		rm -rf "$out/stage$n"
	done
	cmp "$out"/dist[12]/*.deb >&2 || die "the package is another each time that it is made"
	rm -rf "$out/dist2"
	mv "$out/dist1" "$out/dist"
	mkdir "$out/dist/more"
	# shellcheck source=/dev/null
	[[ $(. /etc/os-release && echo "${VERSION_CODENAME-}") == "$SBX_VM_SUITE" ]] && (cd "$out/dist/more" &&
		apt-get -qq -o APT::Sandbox::User=root download man-db groff-base bsdextrautils libpipeline1 libgdbm6 libuchardet0 bash-completion >&2) ||
		say "apt has no man and bash-completion for $SBX_VM_SUITE here: those of the package are not tried"
}

# guest runs the tests of one list, each package's output as go test -v has it.
# The later passes are those of people who have more, or less, than dev.
guest() {
	local dir=$1 slug binary pattern how status=0 module
	module=$(cd "$root" && go list -m)
	SBX_VM_DISK=$dir.ext4 "$here/lab.sh" up && "$here/lab.sh" root 'mount -o ro /dev/vdc /mnt' || return
	while read -r slug binary pattern; do
		how=run
		if [[ $slug == test/dist ]]; then how=root; fi
		test_one "$module/$slug" "$how" "bash /mnt/tests.sh $slug $binary $(printf %q "$pattern")" || status=1
	done <"$dir/list"
	if grep -q '^test/limits ' "$dir/list"; then
		test_one "$module/test/limits without systemd" root 'bash /mnt/tests.sh --without' || status=1
		test_one "$module/test/limits in a delegated group" root 'bash /mnt/tests.sh --delegated' || status=1
		test_one "$module/test/limits with all controllers" root 'bash /mnt/tests.sh --wide' || status=1 # it ends dev's sessions
		test_one "$module/test/limits at a logout" root 'bash /mnt/tests.sh --logout' || status=1
	fi
	return "$status"
}

# test_one NAME HOW COMMAND
test_one() {
	local began status=0
	began=$(now)
	if [[ $events ]]; then
		"$here/lab.sh" "$2" "$3" </dev/null 2>&1 | go tool test2json -t -p "$1"
		return
	fi
	"$here/lab.sh" "$2" "$3" </dev/null 2>&1 | tr -d '\026' >"$tmp/log" || status=$? # test2json's marks
	count() { grep -cE "^ *--- $1" "$tmp/log" || true; }
	printf '%-46s %s, %s passed, %s failed, %s skipped, %s\n' "${1#*/*/*/}" "$( ((status)) && echo FAIL || echo ok)" \
		"$(count PASS)" "$(count FAIL)" "$(count SKIP)" "$(since "$began")"
	sed -n 's/^ *[a-z_]*\.go:[0-9]*: \(needs .*\)/    skipped: \1/p' "$tmp/log" | sort | uniq -c | sort -rn | head -n 8
	if ((status)); then grep -vE '^ *(=== |--- (PASS|SKIP))|: needs ' "$tmp/log" | tail -n 60; fi
	return "$status"
}

main() {
	if [[ ${1-} == --events ]]; then
		events=1
		shift
	fi
	(($#)) || set -- "${chosen[@]}"
	[[ $(uname -m) == x86_64 ]] || skip "it is made for amd64"
	install qemu-system-x86_64:qemu-system-x86 ssh:openssh-client || skip "qemu-system-x86 is not installed, and this is not root on Debian"
	if [[ ! -e $image/done ]]; then
		((EUID == 0)) || skip "there is no image in $SBX_VM_CACHE, which only root can make"
		install mmdebstrap:mmdebstrap mke2fs:e2fsprogs xz:xz-utils || skip "apt has no mmdebstrap here"
	fi
	tmp=$(mktemp -d)
	export SBX_VM_NAME=run-$$
	trap '"$here/lab.sh" down 2>/dev/null; rm -rf "$tmp"' EXIT
	"$here/lab.sh" snapshot & # beside building the tests
	payload "$tmp/t" "$@"
	wait $! || skip "the guest could not be made, see above"
	local status=0
	guest "$tmp/t" || status=$?
	((status == 0)) || exit "$status"
}

main "$@"
