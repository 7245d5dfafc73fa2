#!/bin/bash
# The suite behind make test.
#
#   run.sh            as root: prepares the host (setup.sh), copies the checkout
#                     to the account sbxtest and runs everything there as that
#                     account, then the kernel tests once more as sbxtest1, which
#                     has no subordinate ids. As anyone else: runs everything here.
#   run.sh --suite    everything, as events of go test -json
#   run.sh --kernel   only the packages that test the kernel and meet ids, as events
#   run.sh faults     the fault suite alone, as the suite is run, with every fault
#   run.sh --faults   the same, as events
#   run.sh escape     each attack and how it went, as make escape prints it
#   run.sh --escape   the same, always as whoever calls it
#
# SBX_MUST_WORK=1 makes a skip that test/allowed-skips.txt does not list a failure.
# SBX_TEST_VM=1, as root: the tests that take systemd and cgroup v2 as well, in a
# guest (test/vm), where it can be made.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export CGO_ENABLED=0

command -v go >/dev/null || { echo "run.sh: go is not on PATH" >&2; exit 1; }

# step NAME COMMAND... is a check that is no Go test, as an event.
step() {
	local name=$1
	shift
	"$SBX_SUMMARY" -wrap "$name" -- "$@"
}

# kernel_packages are those whose tests use test/sbxtest, but for those that
# only want to know where the checkout is.
kernel_packages() {
	go list -f '{{.ImportPath}} {{.TestImports}} {{.XTestImports}}' ./... |
		grep -F '/test/sbxtest' | cut -d' ' -f1 | grep -vE '/test/(archtest|deptest|lint)$' | sort
}

# gotest writes events. That a test fails is one of them; -count=1 because a
# cached result knows nothing of the host.
# Whoever started this may ignore signals (nohup), which their tests must not inherit.
gotest() { env --default-signal=HUP,INT,QUIT,TERM,PIPE,TSTP,USR1,USR2 go test -json -count=1 -timeout "${TIMEOUT:-25m}" "$@" || true; }

build() {
	step build make -s build
	export SBX_BIN=$root/bin/sbx
}

suite() {
	cd "$root"
	build
	for check in $(test/lint.sh --list); do
		step "lint $check" test/lint.sh "$check"
	done
	local kernel rest
	mapfile -t kernel < <(kernel_packages)
	mapfile -t rest < <(go list ./... | grep -vxF "$(printf '%s\n' "${kernel[@]}")")
	gotest "${rest[@]}"
	gotest -p 1 "${kernel[@]}" # one at a time: they look for what others left behind
	test/fuzz.sh "${FUZZTIME:-5s}" -json || true
}

# alike are packages whose tests do the same whether there are subordinate ids or not,
# or nothing without them: one account runs them.
alike='/(cmd/sbx/internal/decision|completions|sandbox/(run|run/internal/companion|seccomp|seccomp/compile)|slirp/nft|test/(apparmor|bare|changes|dist|editors|engine|entry|faults|files|life|net|projects|shells|tutorials))$'

kernel() {
	cd "$root"
	build
	local packages
	mapfile -t packages < <(kernel_packages | grep -vE "$alike")
	gotest -p 1 "${packages[@]}"
}

faults() {
	cd "$root"
	build
	export SBX_FAULT_RUNS=${SBX_FAULT_RUNS:-200}
	TIMEOUT=3h gotest -v ./test/faults
	# The rest of the table is in the packages that have what is broken.
	local list package tests
	list=$(go test -count=1 -v -run '^TestRows$' ./test/faults -args -elsewhere | sed -n 's/^elsewhere //p')
	if [[ ! $list ]]; then step "the faults of other packages" false; fi
	while read -r package tests; do
		TIMEOUT=3h gotest -v -run "$tests" "$package" </dev/null
	done <<<"$list"
}

# escape prints how each attack of test/attack's table went, here and under the peers.
escape() {
	cd "$root"
	make -s build
	export SBX_BIN=$root/bin/sbx
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	go test -c -o "$tmp/escape" ./test/attack
	(cd test/attack && env --default-signal=HUP,INT,QUIT,TERM,PIPE,TSTP,USR1,USR2 "$tmp/escape" -escape)
}

# complete runs a command that writes events; that it could not is one too.
complete() {
	local name=$1
	shift
	"$@" || step "$name ran to its end" false
}

# files lists the checkout's files, changed and new ones included.
files() {
	# The checkout may belong to someone else than root.
	if git -c safe.directory='*' -C "$root" rev-parse --git-dir >/dev/null 2>&1; then
		git -c safe.directory='*' -C "$root" ls-files -z --cached --others --exclude-standard
	else
		(cd "$root" && find . -path ./bin -prune -o -type f -print0)
	fi | while IFS= read -r -d '' file; do
		if [[ -e $root/$file || -L $root/$file ]]; then printf '%s\0' "$file"; fi # not what was deleted
	done
}

# prepare ACCOUNT gives it the checkout and a module cache that is complete.
prepare() {
	local account=$1 home
	home=$(getent passwd "$account" | cut -d: -f6)
	rm -rf "$home/sbx"
	mkdir -p "$home/sbx" "$home/go/mod" "$home/go/build" "$home/run"
	files | tar -C "$root" --null -T - -cf - | tar -C "$home/sbx" --no-same-owner -xf -
	# What root has already comes from there, the rest from where go would get it.
	(
		local proxy
		proxy=file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)
		export GOMODCACHE=$home/go/mod GOPROXY=$proxy
		cd "$home/sbx"
		go mod download
		go -C tools mod download
		# Tidying reads modules that building doesn't; what it finds is a check's business.
		go mod tidy -diff >/dev/null 2>&1 || true
		go -C tools mod tidy -diff >/dev/null 2>&1 || true
	)
	chmod 0700 "$home/run"
	chown -R "$account:" "$home/sbx" "$home/go" "$home/run"
}

# as ACCOUNT COMMAND... runs it with nothing of root's environment. The proxy
# goes by the environment, as it may hold a password.
as() (
	account=$1
	shift
	home=$(getent passwd "$account" | cut -d: -f6)
	uid=$(id -u "$account")
	go_path=$(dirname "$(command -v go)")
	proxy=$(go env GOPROXY) toolchain=$(go env GOTOOLCHAIN) sumdb=$(go env GOSUMDB)
	term=${TERM:-dumb} must_work=${SBX_MUST_WORK-} fuzztime=${FUZZTIME-} summary=$SBX_SUMMARY no_subuid=${SBX_TEST_NO_SUBUID-}
	fault_runs=${SBX_FAULT_RUNS-}
	for name in $(compgen -e); do
		unset "$name"
	done
	runtime=$home/run
	if [[ -d /run/user/$uid ]]; then runtime=/run/user/$uid; fi
	export HOME=$home USER=$account LOGNAME=$account SHELL=/bin/bash LANG=C.UTF-8 TERM=$term
	export PATH=$go_path:/usr/local/bin:/usr/bin:/bin XDG_RUNTIME_DIR=$runtime
	export GOPROXY=$proxy GOTOOLCHAIN=$toolchain GOSUMDB=$sumdb GOMODCACHE=$home/go/mod GOCACHE=$home/go/build
	export SBX_SUMMARY=$summary
	if [[ $must_work ]]; then export SBX_MUST_WORK=$must_work; fi
	if [[ $fuzztime ]]; then export FUZZTIME=$fuzztime; fi
	if [[ $fault_runs ]]; then export SBX_FAULT_RUNS=$fault_runs; fi
	if [[ $no_subuid ]]; then export SBX_TEST_NO_SUBUID=$no_subuid; fi
	cd "$home/sbx"
	exec setpriv --reuid="$account" --regid="$account" --init-groups --inh-caps=-all "$@" </dev/null 9<&-
)

# gone ACCOUNT... fails when one of them still has a process.
gone() {
	local left=
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		left=$(for a in "$@"; do find /proc -maxdepth 1 -name '[0-9]*' -user "$a" -exec sh -c 'tr "\0" " " <"$1/cmdline" 2>/dev/null && echo " ($1)"' _ {} \; 2>/dev/null; done) || true # find fails where another process ends meanwhile
		[[ $left ]] || return 0
		sleep 0.5
	done
	printf 'still running: %s\n' "$left"
	return 1
}

# all_as_root ALL KERNEL runs ALL as the one account, KERNEL as the other.
all_as_root() {
	complete "suite as sbxtest" as sbxtest test/run.sh "$1"
	# Breaking things goes the same way without subordinate ids, mostly: few of each.
	local again=${SBX_FAULT_RUNS-}
	if [[ $2 == --faults ]]; then again=${again:-20}; fi
	SBX_FAULT_RUNS=$again SBX_TEST_NO_SUBUID=1 complete "kernel tests as sbxtest1" as sbxtest1 test/run.sh "$2"
	step "no process left" "$here/run.sh" --gone sbxtest sbxtest1
	if [[ ${SBX_TEST_VM-} == 1 && $1 == --suite ]]; then
		complete "tests in a guest" "$here/vm/run.sh" --events
	fi
}

# alone waits until no other run is in the accounts, which have one home each.
alone() {
	exec 9<"$(getent passwd sbxtest | cut -d: -f6)"
	flock -n 9 || { echo "run.sh: waiting for another run to end"; flock 9; }
}

escape_as() {
	if ((EUID != 0)); then
		escape
		return
	fi
	"$here/setup.sh"
	alone
	prepare sbxtest
	export SBX_SUMMARY=
	as sbxtest test/run.sh --escape
}

# main MODE [SUMMARY-FLAG]
main() {
	local mode=$1 kernel=--kernel
	if [[ $mode != --suite ]]; then kernel=$mode; fi
	shift
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	chmod 0755 "$tmp"
	"$here/setup.sh"
	(cd "$root" && go build -buildvcs=false -o "$tmp/summary" ./test/summary)
	export SBX_SUMMARY=$tmp/summary
	if ((EUID != 0)); then
		complete suite "$here/run.sh" "$mode" | "$SBX_SUMMARY" "$@"
		return
	fi
	alone
	echo "run.sh: copying the checkout to the accounts"
	prepare sbxtest
	prepare sbxtest1
	as sbxtest go version >/dev/null || { echo "run.sh: the account sbxtest can't run $(command -v go)" >&2; exit 1; }
	all_as_root "$mode" "$kernel" | "$SBX_SUMMARY" "$@"
}

case ${1-} in
'') main --suite ;;
faults) main --faults -said ;;
--faults) faults ;;
--suite) suite ;;
--kernel) kernel ;;
escape) escape_as ;;
--escape) escape ;;
--gone) shift && gone "$@" ;;
*) echo "usage: run.sh [faults | escape | --suite | --kernel | --faults | --escape]" >&2 && exit 2 ;;
esac
