#!/bin/bash
# The quick one beside lab.sh: the guest's file system with its systemd as PID 1 of a
# user namespace, on this machine's kernel and at its speed. Scopes are made, frozen
# and removed as in the guest; controllers there are none where the machine has
# bound them to version 1, so that nothing limits. As root, on a machine with
# control groups of version 2, mounted or not.
#
#   fast.sh up                 make what is missing, then start it
#   fast.sh run COMMAND...     run as the person dev, in a session of logind's; one
#   fast.sh root COMMAND...    word is a line for the shell, several are arguments
#   fast.sh put FILE... DIR    copy files and directories in, as root
#   fast.sh down               end it; what was changed in its files stays until the image changes
#
# Input, output and exit status pass through. See common.sh for the variables.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=test/vm/common.sh
. "$here/common.sh"

state=$SBX_VM_CACHE/run/fast-$SBX_VM_NAME
files=$SBX_VM_CACHE/fast/$SBX_VM_SUITE     # root, done
group=sbx-fast-$SBX_VM_NAME                # the control group it lives in
first=2000000 count=200000                 # the ids of its root and below, dev's subordinate ones with them

running() { [[ -s $state/init && $(cat "/proc/$(cat "$state/init")/comm" 2>/dev/null) == systemd ]]; }

# hold starts a process that keeps a user namespace with these ids.
hold() {
	local own
	own=$(readlink /proc/self/ns/user)
	unshare --user sleep infinity &
	holder=$!
	until [[ $(readlink "/proc/$holder/ns/user") != "$own" ]]; do sleep 0.02; done
	echo "0 $first $count" >"/proc/$holder/uid_map"
	echo "0 $first $count" >"/proc/$holder/gid_map"
}

# inside COMMAND... runs as root of the held user namespace, and of nothing else.
inside() { nsenter --target "$holder" --user --setuid 0 --setgid 0 "$@"; }

# unpack copies the image's files for the ids of the namespace: written from in
# there they get owners and capabilities of its own.
unpack() {
	[[ $(cat "$files/done" 2>/dev/null) != "$(cat "$image/done")" ]] || return 0
	local unit
	rm -rf "$files"
	mkdir -p "$files/root"
	chown $first:$first "$files/root"
	cd "$files/root" # which the namespace's root could not find its way to
	tar -C "$image/root" --xattrs --xattrs-include=security.capability --numeric-owner --exclude='./dev/*' -cf - . |
		inside tar --xattrs --xattrs-include=security.capability --numeric-owner -xpf -
	# What looks after hardware, and the guest's own.
	for unit in systemd-udevd.service systemd-udev-trigger.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-modules-load.service \
		systemd-sysctl.service dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
		guest-net.service guest-ready.service ssh.service; do
		ln -sf /dev/null "etc/systemd/system/$unit"
	done
	cd /
	cp "$image/done" "$files/done"
}

# tree is a shell program that builds what systemd finds, as root of the namespace.
tree='
mount --rbind "$1" "$1"
cd "$1"
mount -t tmpfs -o mode=755 dev dev
for d in null zero full random urandom tty fuse; do : >dev/$d; mount --bind /dev/$d dev/$d; done
mkdir dev/net dev/pts dev/shm
: >dev/net/tun
mount --bind /dev/net/tun dev/net/tun
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
hostname fast
mkdir run/old
pivot_root . run/old
umount -l /run/old
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init --log-target=console
'

# start is one that makes the group, lets itself in, and starts the tree. Its mounts
# are its own: the machine need not have version 2 mounted.
start='
mount --bind "$2" "$1/root"
mount -t cgroup2 cgroup2 "$1/cgroup"
mkdir -p "$1/cgroup/$3"
chown "$4:$4" "$1/cgroup/$3" "$1/cgroup/$3"/cgroup.{procs,subtree_control,threads}
echo $$ >"$1/cgroup/$3/cgroup.procs"
exec nsenter --target "$5" --user --setuid 0 --setgid 0 unshare --mount --pid --uts --ipc --net --cgroup --fork --kill-child bash -euc "$6" tree "$1/root"
'

up() {
	local began places child end
	running && return
	((EUID == 0)) || die "it takes root"
	"$here/build.sh"
	began=$(now)
	down
	mkdir -p "$state"
	hold
	unpack
	places=$(mktemp -d /tmp/sbx-fast.XXXXXX)
	echo "$places" >"$state/places"
	chmod 755 "$places"
	mkdir "$places/root" "$places/cgroup"
	setsid unshare --mount --propagation private bash -euc "$start" start "$places" "$files/root" "$group" "$first" "$holder" "$tree" </dev/null >"$state/console" 2>&1 &
	echo $! >"$state/pid"
	end=$((SECONDS + 60))
	until child=$(cat "/proc/$(cat "$state/pid")/task/$(cat "$state/pid")/children" 2>/dev/null) && [[ $child ]] && echo "${child%% *}" >"$state/init" && running &&
		enter systemctl is-active --quiet "user@1000.service" 2>/dev/null; do
		if ((SECONDS > end)) || [[ ! -e /proc/$(cat "$state/pid") ]]; then
			tail -n 20 "$state/console" >&2
			kill "$holder"
			down
			die "it does not start"
		fi
		sleep 0.1
	done
	kill "$holder"
	say "fast-$SBX_VM_NAME is up in $(since "$began"), controllers: $(enter cat /sys/fs/cgroup/cgroup.controllers)"
}

enter() {
	nsenter --target "$(cat "$state/init")" --user --mount --pid --uts --ipc --net --cgroup --root --wd --setuid 0 --setgid 0 "$@"
}

# as USER COMMAND...
as() {
	local user=$1 line=${2-}
	shift
	running || { say "fast-$SBX_VM_NAME is not up" && exit 255; }
	if (($# > 1)); then printf -v line '%q ' "$@"; fi
	enter systemd-run --quiet --pipe --wait --collect --uid="$user" -p PAMName=login -p IgnoreSIGPIPE=no -E HOME="$([[ $user == root ]] && echo /root || echo "/home/$user")" \
		bash -c "cd; $line"$'\nexit $?'
}

put() {
	local to=${!#} file
	(($# > 1)) || die "put FILE... DIR"
	for file in "${@:1:$#-1}"; do
		tar -C "$(dirname "$file")" -cf - "$(basename "$file")" | enter sh -c 'mkdir -p "$1" && tar -C "$1" --no-same-owner -xf - && chmod -R a+rX "$1"' sh "$to"
	done
}

down() {
	local pid
	if [[ -s $state/pid ]]; then
		pid=$(cat "$state/pid")
		if [[ $(cat "/proc/$pid/comm" 2>/dev/null) == unshare ]]; then kill -9 "$pid"; fi
		while [[ -e /proc/$pid ]]; do sleep 0.05; done
		unshare --mount --propagation private bash -c 'mount -t cgroup2 cgroup2 "$1" && cd "$1" && for try in {1..100}; do
			find "$2" -depth -type d -exec rmdir {} + 2>/dev/null; [[ -e $2 ]] || exit 0; sleep 0.05; done; exit 1' down "$(cat "$state/places")/cgroup" "$group" ||
			say "the control group $group is left"
	fi
	if [[ -s $state/places ]]; then rmdir "$(cat "$state/places")"/{root,cgroup} "$(cat "$state/places")"; fi
	rm -rf "$state"
}

command=${1-}
shift || true
case $command in
up | down) "$command" ;;
run) as "$person" "$@" ;;
root) as root "$@" ;;
put) put "$@" ;;
*) sed -n '2,/^set/{/^#/!d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" && exit 2 ;;
esac
