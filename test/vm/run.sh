#!/bin/bash
# Runs tests in guests with systemd and control groups (lab.sh), as a person
# there. The tests are built here and copied in. Emulated, a guest keeps less than one
# processor busy, since most tests do one thing at a time and some wait: where there are
# two, three guests share the work, each taking the next when it is done with one.
#
#   run.sh                     what this machine can't show: limits, the parts of
#                              other suites that meet them, and the package
#   run.sh PACKAGE[=REGEXP]... these packages' tests, as ./test/attack=TestAttacks/R41
#   run.sh --events [...]      the same as events of go test -json
#
# SBX_MUST_WORK=1 makes it a failure that the guest can't be had here.
# SBX_VM_SUITE and the others of common.sh choose the guest, SBX_VM_GUESTS=1 has one
# alone. SBX_VM_LOGS is a directory for what each test printed, with its times.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=test/vm/common.sh
. "$here/common.sh"
export CGO_ENABLED=0
events= tmp= guests=()

# Packages that take long, and how many parts of about a length they come in.
declare -A parts=([test/limits]=3)
# The longest come first, so that the guests end at about the same time.
chosen=(./test/limits ./test/attack='TestAttacks/R41|TestAttacks/R42/control_group|TestAttacks/R43/more_memory_than_the_limit|TestAttacks/R20-filter/32_bits' ./test/dist ./test/life='Test(Bundle|RuntimeGone)$'
	./test/faults='Test(NoRuntimeDir|RuntimeDirGone)$' ./sandbox/state ./sandbox/cgroup)

if mediates; then chosen+=(./test/apparmor ./test/bare); fi

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

# list PACKAGE[=REGEXP]... prints the packages, their tests' names and which of them.
list() {
	local one package slug
	for one in "$@"; do
		package=${one%%=*} slug=${package#./}
		if [[ $one == *=* ]]; then one=${one#*=}; else one=.; fi
		printf '%s %s %s\n' "$slug" "${slug##*/}.test" "$one"
	done
}

# payload DIR makes what the guests run: sbx, and the tests of DIR's list with what
# lies beside them.
payload() {
	local out=$1 slug one debian= packages=()
	mkdir -p "$out"/{bin,tests,checkout}
	make -s -C "$root" build
	cp "$root"/bin/sbx "$root"/bin/sbx-scope "$out/bin/"
	(cd "$root" && go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$out/bin/" ./test/attack/probe)
	if grep -qE '^test/(dist|apparmor) ' "$out/list"; then
		debian "$out/dist" -o build & # beside building the tests
		debian=$!
	fi
	while read -r slug _; do
		packages+=("./$slug")
		(cd "$root" && tar -cf - "$slug") | tar -C "$out/checkout" -xf -
	done <"$out/list"
	(cd "$root" && go test -c -trimpath -ldflags='-s -w' -o "$out/tests/" "${packages[@]}")
	while read -r slug one _; do
		[[ -e $out/tests/$one ]] || die "$slug has no tests"
	done <"$out/list"
	if [[ $debian ]]; then wait "$debian"; fi
	cp "$root/go.mod" "$out/checkout/"
	cp "$here/guest/tests.sh" "$out/"
	chmod -R a+rX "$out"
	# Into the disk that the guests have already, and have not looked at yet.
	mke2fs -q -F -t ext4 -O ^has_journal -m 0 -E root_owner=0:0 -d "$out" "$out.ext4" 512M >/dev/null
	: >"$out.ready"
}

# debian DIR [ARG...] makes the package there, with arguments of make.
debian() {
	local out=$1 stage
	shift
	stage=$(mktemp -d "$tmp/stage.XXXXXX")
	make -s -C "$root" "$@" install DESTDIR="$stage" PREFIX=/usr >/dev/null
	(cd "$root" && tools/dist/dist.sh "$stage" "$out" deb) >/dev/null
	rm -rf "$stage"
}

# again DIR makes the package once more, from programs that are linked once more, in
# what time the guests leave, and compares the two.
again() {
	[[ -e $1/dist ]] || return 0
	renice -n 19 "$BASHPID" >/dev/null # and what it starts
	debian "$tmp/dist"
	cmp "$1"/dist/*.deb "$tmp"/dist/*.deb >&2 || die "the package is another each time that it is made"
}

# todo DIR prints what there is to do, NAME, HOW and the arguments of tests.sh in a
# line each. The later passes are those of people who have more, or less, than dev;
# the last two change the guest for whatever would come after them.
todo() {
	local dir=$1 slug binary pattern how n of
	line() { printf '%s\t%s\t%s\n' "$@"; }
	while read -r slug binary pattern; do
		how=run of=1
		if [[ $slug == test/dist || $slug == test/apparmor ]]; then how=root; fi
		if [[ $pattern == . ]]; then of=${parts[$slug]-1}; fi
		for ((n = 1; n <= of; n++)); do
			line "$slug$( ((of > 1)) && echo ", part $n of $of")" "$how" "$slug $binary $(printf %q "$pattern") $n $of"
		done
	done <"$dir/list"
	if (($(grep -cE '^test/(apparmor|bare) ' "$dir/list") == 2)); then line "test/bare where AppArmor refuses namespaces" root --refused; fi
	grep -q '^test/limits ' "$dir/list" || return 0
	line "test/limits in a delegated group" root --delegated
	line "test/limits without systemd" root --without
	line "test/limits at a logout" root --logout
	line "test/limits with all controllers" root --wide # it ends dev's sessions
}

# guest DIR N OF starts the N-th of so many guests when there is a snapshot. When the
# tests are built, it does one job after another that no other has taken.
guest() {
	local dir=$1 i=0 status=0 name how args
	export SBX_VM_NAME=run-$$-$2
	until [[ -e $dir.snapshot ]]; do sleep 0.1; done
	SBX_VM_DISK=$dir.ext4 "$here/lab.sh" up || return
	until [[ -e $dir.ready ]]; do sleep 0.1; done
	"$here/lab.sh" root 'mount -o ro /dev/vdc /mnt' || return
	# Emulated processors wait for each other: where there are guests beside, each does
	# better with one. The last job, which needs several, has the others back.
	if (($3 > 1)); then "$here/lab.sh" root 'for f in /sys/devices/system/cpu/cpu[1-9]*/online; do [ ! -e "$f" ] || echo 0 >"$f"; done'; fi || return
	while IFS=$'\t' read -r name how args; do
		i=$((i + 1))
		mkdir "$tmp/job$i" 2>/dev/null || continue
		job "$tmp/job$i" "$name" "$how" "bash /mnt/tests.sh $args" >"$tmp/job$i/said" || status=1
		flock "$tmp" cat "$tmp/job$i/said"
		: >"$tmp/job$i/done"
	done <"$dir/jobs"
	return "$status"
}

# used is what the guest has used of processors, in hundredths of a second: on a busy
# machine the time says little.
used() { awk '{ print $14 + $15 }' "/proc/$(cat "$SBX_VM_CACHE/run/$SBX_VM_NAME/pid")/stat"; }

# job DIR NAME HOW COMMAND runs it, and prints what came of it.
job() {
	local began used status=0 log=$1/log
	began=$(now) used=$(used)
	if [[ $events ]]; then
		"$here/lab.sh" "$3" "$4" </dev/null 2>&1 | go tool test2json -t -p "$module/$2"
		return
	fi
	"$here/lab.sh" "$3" "$4" </dev/null 2>&1 | tr -d '\026' >"$log" || status=$? # test2json's marks
	count() { grep -cE "^ *--- $1" "$log" || true; }
	printf '%-46s %s, %s passed, %s failed, %s skipped, %s, %d s of processor\n' "$2" "$( ((status)) && echo FAIL || echo ok)" \
		"$(count PASS)" "$(count FAIL)" "$(count SKIP)" "$(since "$began")" $((($(used) - used) / 100))
	sed -n 's/^ *[a-z_]*\.go:[0-9]*: \(needs .*\)/    skipped: \1/p' "$log" | sort | uniq -c | sort -rn | head -n 8
	if ((status)); then grep -vE '^ *(=== |--- (PASS|SKIP))|: needs ' "$log" | tail -n 60; fi
	if [[ ${SBX_VM_LOGS-} ]]; then cp "$log" "$SBX_VM_LOGS/${2//[^a-z0-9]/-}"; fi
	return "$status"
}

# start DIR starts as many guests as there is work and memory for.
start() {
	local dir=$1 n of=${SBX_VM_GUESTS-} most
	if [[ ! $of ]]; then
		of=$(($(nproc) > 1 ? 3 : 1))
		most=$(awk -v each="$SBX_VM_MEMORY" '$1 == "MemAvailable:" { print int($2 / 1024 / (each * 1.3)) }' /proc/meminfo)
		of=$((of < most ? of : most > 1 ? most : 1))
	fi
	most=$(wc -l <"$dir/jobs")
	of=$((of < most ? of : most))
	for ((n = 1; n <= of; n++)); do
		guest "$dir" "$n" "$of" &
		guests+=($!)
	done
}

# finish DIR waits for all jobs. One that no guest has finished is a failure, whatever
# the guests say.
finish() {
	local dir=$1 n status=0
	for n in "${guests[@]}"; do
		wait "$n" || status=1
	done
	for ((n = 1; n <= $(wc -l <"$dir/jobs"); n++)); do
		[[ -e $tmp/job$n/done ]] || { say "not done: $(sed -n "${n}p" "$dir/jobs")" && status=1; }
	done
	return "$status"
}

# end switches the guests off.
end() {
	local n
	for ((n = 1; n <= ${#guests[@]}; n++)); do
		kill "${guests[n - 1]}" 2>/dev/null || true
		SBX_VM_NAME=run-$$-$n "$here/lab.sh" down 2>/dev/null || true
	done
	rm -rf "$tmp"
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
	local began status=0
	began=$(now)
	module=$(cd "$root" && go list -m)
	tmp=$(mktemp -d)
	trap end EXIT
	mkdir "$tmp/t"
	list "$@" >"$tmp/t/list"
	todo "$tmp/t" >"$tmp/t/jobs"
	truncate -s 512M "$tmp/t.ext4"
	start "$tmp/t"
	{ "$here/lab.sh" snapshot && : >"$tmp/t.snapshot"; } & # beside building the tests
	local snapshot=$!
	payload "$tmp/t"
	say "the tests are built in $(since "$began")"
	wait "$snapshot" || skip "the guest could not be made, see above"
	again "$tmp/t" &
	local again=$!
	finish "$tmp/t" || status=$?
	wait "$again" || status=1
	say "done in $(since "$began")"
	((status == 0)) || exit "$status"
}

main "$@"
