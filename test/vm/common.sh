# shellcheck shell=bash
# shellcheck disable=SC2034 # used by who sources it
# What build.sh, lab.sh and run.sh share. Sourced, not run.
#
#   SBX_VM_CACHE   where images and snapshots are kept, some 1 GB a suite
#   SBX_VM_SUITE   the Debian release in the guest (bookworm)
#   SBX_VM_KERNEL  the release whose kernel it boots (that of the guest)
#   SBX_VM_NAME    which of several guests at a time (default)
#   SBX_VM_DISK    a file system for the guest's /dev/vdc, which is not mounted there
#                  (512 MiB, read-only): faster than lab.sh put
#   SBX_VM_MEMORY  MiB (1024), SBX_VM_CPUS processors (2)

: "${SBX_VM_CACHE:=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/sbx-vm}"
: "${SBX_VM_SUITE:=bookworm}" "${SBX_VM_NAME:=default}" "${SBX_VM_MEMORY:=1024}" "${SBX_VM_CPUS:=2}"
: "${SBX_VM_KERNEL:=$SBX_VM_SUITE}"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

kernel=$SBX_VM_CACHE/kernel/$SBX_VM_KERNEL # vmlinuz, initrd, modules.ext4, version
image=$SBX_VM_CACHE/image/$SBX_VM_SUITE    # root.ext4, done, snap-*
key=$SBX_VM_CACHE/key                      # an ssh key of the lab's own
person=dev                                 # the guest's user with a systemd of its own

say() { printf 'vm: %s\n' "$*" >&2; }

die() {
	say "$@"
	exit 125
}

# mediates tells whether the release's AppArmor judges user namespaces (its version 4).
mediates() { [[ $SBX_VM_SUITE != bullseye && $SBX_VM_SUITE != bookworm ]]; }

# now is the time in milliseconds, since is how long ago that was, in seconds.
now() {
	local t=${EPOCHREALTIME/[.,]/}
	echo "${t%???}"
}
since() {
	local d=$(($(now) - $1))
	printf '%d.%d s' $((d / 1000)) $((d % 1000 / 100))
}
