#!/bin/bash
# A guest with systemd as PID 1 and control groups of version 2, for what this
# machine may not have. It is emulated: nothing but qemu is needed, and it is
# frozen once it has booted, so that a run begins in seconds.
#
#   lab.sh up                   make what is missing, then start the guest
#   lab.sh run COMMAND...       run as the person dev, in a session of logind's; one
#   lab.sh root COMMAND...      word is a line for the shell, several are arguments
#   lab.sh as USER COMMAND...   dev, alice (no subordinate ids, no systemd that stays)
#   lab.sh put FILE... DIR      copy files and directories in, as dev
#   lab.sh down                 switch it off; what was changed inside is gone
#   lab.sh status               say what runs, console: what the guest printed
#   lab.sh build, snapshot      make what is missing, and start nothing
#
# Input, output and exit status pass through. Status 255: there is no guest.
# See common.sh for the variables.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=test/vm/common.sh
. "$here/common.sh"

state=$SBX_VM_CACHE/run/$SBX_VM_NAME # of the running guest

# accelerator is kvm where that runs a usual kernel. A host that is itself a
# guest of PVM has a /dev/kvm which runs others fifty times slower than emulation.
accelerator() {
	if [[ -w /dev/kvm && ! -d /sys/module/kvm_pvm ]]; then echo kvm; else echo tcg; fi
}

# snapshot_dir is where the frozen guest is: another for each thing that makes
# one useless.
snapshot_dir() {
	local what
	what="$(cat "$image/done") $(cat "$kernel/version") $(accelerator) $SBX_VM_MEMORY $SBX_VM_CPUS $(qemu-system-x86_64 --version | head -n 1) $(md5sum <"$here/lab.sh")"
	echo "$image/snap-$SBX_VM_KERNEL-$(md5sum <<<"$what" | cut -c1-12)"
}

running() { [[ -s $state/pid && $(cat "/proc/$(cat "$state/pid")/comm" 2>/dev/null) == qemu-system* ]]; }

monitor() { printf '%s\n' "$*" >"$state/monitor.in"; }

# await COMMAND TEXT asks the monitor until it answers TEXT.
await() {
	local line
	exec 9<>"$state/monitor.out"
	for _ in {1..600}; do
		monitor "$1"
		while read -r -t 0.1 line <&9; do
			case $line in
			*"$2"*) exec 9>&- && return ;;
			*'status: failed'*) break 2 ;;
			esac
		done
		running || break
	done
	exec 9>&-
	return 1
}

# start DISK TEMPORARY [ARG...] starts qemu; with TEMPORARY on, what the guest
# writes to its disk is gone at the end.
start() {
	local disk=$1 temporary=$2 accel cpu=max port
	shift 2
	accel=$(accelerator)
	if [[ $accel == kvm ]]; then cpu=host; else accel=tcg,thread=multi,tb-size=256; fi
	mkfifo "$state/monitor.in" "$state/monitor.out"
	: >"$state/console"
	for _ in {1..20}; do
		port=$((20000 + RANDOM % 20000))
		if TMPDIR=$state qemu-system-x86_64 -name "sbx-vm-$SBX_VM_NAME" -nodefaults -no-user-config -no-reboot -display none \
			-M q35 -accel "$accel" -cpu "$cpu" -smp "$SBX_VM_CPUS" -m "$SBX_VM_MEMORY" -rtc base=utc -kernel "$kernel/vmlinuz" -initrd "$kernel/initrd" \
			-append "console=ttyS0 quiet loglevel=4 panic=-1 rw net.ifnames=0 mitigations=off random.trust_cpu=on" \
			-drive "if=none,id=root,file=$disk,format=raw,cache=unsafe,discard=unmap,snapshot=$temporary" -device virtio-blk-pci,drive=root \
			-drive "if=none,id=disk,file=${SBX_VM_DISK:-$image/empty},format=raw,readonly=on" -device virtio-blk-pci,drive=disk,addr=0x10 \
			-drive "if=none,id=modules,file=$kernel/modules.ext4,format=raw,readonly=on" -device virtio-blk-pci,drive=modules \
			-object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng \
			-netdev "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:$port-10.0.2.15:22" -device virtio-net-pci,netdev=net,romfile= \
			-serial "file:$state/console" -monitor "pipe:$state/monitor" -pidfile "$state/pid" -daemonize "$@" 2>"$state/errors" 8<&-; then
			echo "$port" >"$state/port"
			return
		fi
		grep -q 'host forwarding' "$state/errors" || break # somebody has that port
	done
	cat "$state/errors" >&2
	return 1
}

fail() {
	tail -n 20 "$state/console" >&2
	down
	die "$@"
}

# options fills in ssh's. The connection stays open: a login takes the emulated
# guest a second.
options() {
	ssh=(ssh -F /dev/null -T -i "$key" -p "$(cat "$state/port")" -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null
		-o GlobalKnownHostsFile=/dev/null -o LogLevel=ERROR -o KexAlgorithms=curve25519-sha256 -o Compression=no -o ConnectTimeout=60
		-o ControlMaster=auto -o ControlPersist=yes -o "ControlPath=$(cat "$state/sockets")/%r")
}

# as USER COMMAND...
as() {
	local user=$1 line=${2-}
	shift
	running || { say "$SBX_VM_NAME is not up" && exit 255; }
	if (($# > 1)); then printf -v line '%q ' "$@"; fi
	options
	# The shell stays, so that a death by a signal reads as 128+n.
	"${ssh[@]}" "$user@127.0.0.1" "$line"$'\nexit $?'
}

put() {
	local to=${!#}
	(($# > 1)) || die "put FILE... DIR"
	for file in "${@:1:$#-1}"; do
		tar -C "$(dirname "$file")" -cf - "$(basename "$file")" | as "$person" "mkdir -p $(printf %q "$to") && tar -C $(printf %q "$to") --no-same-owner -xf -"
	done
}

fresh() {
	running && down
	rm -rf "$state"
	mkdir -p "$state"
	mktemp -d /tmp/sbx-vm.XXXXXX >"$state/sockets" # sockets want a short name
}

# boot DISK starts the guest from nothing. Emulated on a busy machine a kernel
# now and then dies of what no processor does, in the first second: it is started
# again.
boot() {
	local disk=$1 try end
	for try in 1 2 3; do
		fresh
		cp --sparse=always "$image/root.ext4" "$disk"
		start "$disk" off || die "qemu does not start"
		end=$((SECONDS + 300))
		until grep -q '^GUEST-READY' "$state/console"; do
			if ! running; then
				say "the guest died while it booted (try $try): $(grep -m 1 -E 'panic|BUG|RIP:' "$state/console" | tr -d '\r')"
				continue 2
			fi
			((SECONDS < end)) || fail "the guest did not boot in five minutes"
			sleep 0.2
		done
		return
	done
	fail "the guest does not boot"
}

# snapshot boots once, and freezes the guest when all that tests begin with has
# run once.
snapshot() {
	local dir began
	dir=$(snapshot_dir)
	if [[ -e $dir/memory ]]; then return; fi
	began=$(now)
	rm -rf "$image/snap-$SBX_VM_KERNEL"-*
	mkdir -p "$dir"
	# Each start gives another disk in its place, of the same size. The guest has
	# forgotten what it read there, since nobody has it open.
	truncate -s 512M "$image/empty"
	SBX_VM_NAME=snapshot-$$ state=$SBX_VM_CACHE/run/snapshot-$$
	boot "$dir/root.ext4"
	say "booted in $(since "$began")"
	as "$person" 'systemctl --user is-system-running --wait >/dev/null; systemd-run --user --scope -q true; unshare -Urm true' || true
	as root 'systemctl is-system-running --wait >/dev/null; modprobe -a overlay fuse tun; chmod 666 /dev/fuse /dev/net/tun; sync' || true
	for user in "$person" root; do
		"${ssh[@]}" -O exit "$user@127.0.0.1" 2>/dev/null || true
	done
	sleep 1
	monitor "migrate_set_parameter max-bandwidth 100G"
	monitor "migrate \"exec:cat >'$dir/memory.new'\""
	await "info migrate" "Migration status: completed" || fail "the guest's memory could not be kept"
	down
	mv "$dir/memory.new" "$dir/memory"
	say "frozen in $(since "$began")"
}

up() {
	local dir began
	running && return
	"$here/build.sh"
	(snapshot)
	began=$(now)
	dir=$(snapshot_dir)
	fresh
	start "$dir/root.ext4" on -incoming "exec:cat '$dir/memory'" || die "qemu does not start"
	await "info status" "VM status: running" || fail "the guest did not wake up"
	as root "date -s @$(date +%s.%N) >/dev/null" || fail "the guest does not answer"
	say "$SBX_VM_NAME is up in $(since "$began"): $SBX_VM_SUITE, Linux $(cat "$kernel/version"), $(accelerator)"
}

down() {
	local pid
	if running; then
		pid=$(cat "$state/pid")
		kill "$pid"
		for _ in {1..100}; do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.05
		done
		kill -9 "$pid" 2>/dev/null || true
	fi
	if [[ -e $state/port ]]; then
		options
		for user in "$person" alice root; do
			"${ssh[@]}" -O exit "$user@127.0.0.1" 2>/dev/null || true
		done
		rm -rf "$(cat "$state/sockets")"
	fi
	rm -rf "$state"
}

command=${1-}
shift || true
case $command in
build) "$here/build.sh" ;;
snapshot) "$here/build.sh" && (snapshot) ;;
up | down) "$command" ;;
run) as "$person" "$@" ;;
root) as root "$@" ;;
as) as "$@" ;;
put) put "$@" ;;
status) if running; then echo "up: qemu $(cat "$state/pid"), ssh on port $(cat "$state/port")"; else echo down && exit 1; fi ;;
console) cat "$state/console" ;;
*) sed -n '2,/^set/{/^#/!d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" && exit 2 ;;
esac
