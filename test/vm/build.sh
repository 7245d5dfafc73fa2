#!/bin/bash
# Makes the guest: a Debian with systemd as PID 1 and nothing but control groups
# of version 2, from the packages that this machine's apt knows. As root. What is
# there already is kept; a change of what goes in makes it anew.
#
# The kernel, of any Debian release, is unpacked beside the root file system, its
# modules in a disk of their own, so that each goes with each.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=test/vm/common.sh
. "$here/common.sh"

packages=(passwd login mount util-linux systemd systemd-sysv libpam-systemd dbus dbus-user-session udev kmod openssh-server
	uidmap crun runc slirp4netns fuse-overlayfs iproute2 procps busybox-static strace nftables iputils-ping
	man-db bash-completion) # the last two show what the package of test/dist brings
if [[ $SBX_VM_SUITE != bullseye ]]; then packages+=(passt); fi
if mediates; then packages+=(apparmor); fi

# mirror PATTERN is the address of a source of this machine's apt whose release
# matches.
mirror() {
	# shellcheck disable=SC2016 # apt expands them
	apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 2>/dev/null | awk -v want="$1" '$2 ~ want { sub("/$", "", $1); print $1; exit }'
}

# sources RELEASE are its lines of sources.list.
sources() {
	local main security
	main=$(mirror '^[a-z]+$')
	security=$(mirror '-security$')
	[[ $main ]] || die "apt has no sources here"
	echo "deb $main $1 main"
	if [[ $1 != sid && $security ]]; then echo "deb $security $1-security main"; fi
}

# apt COMMAND... is apt of a machine on which nothing is installed.
apt() {
	local command=$1 state=$kernel/apt
	shift
	"$command" -qq -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$state/lists" \
		-o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none \
		-o Acquire::Check-Valid-Until=false -o APT::Architecture=amd64 -o APT::Default-Release= "$@"
}

# fetch_kernel unpacks a kernel and its modules. Newer releases have the modules,
# and the kernel itself, in packages of their own.
fetch_kernel() {
	if [[ -e $kernel/version ]]; then return; fi
	local state=$kernel/apt package parts found
	rm -rf "$kernel"
	mkdir -p "$state"/{lists/partial,cache/archives/partial} "$kernel"/{deb,tree}
	sources "$SBX_VM_KERNEL" >"$state/sources.list"
	: >"$state/status"
	apt apt-get update
	package=$(apt apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
	[[ $package ]] || die "no linux-image-cloud-amd64 in $SBX_VM_KERNEL"
	mapfile -t parts < <(apt apt-cache depends "$package" | awk '/Depends: linux-(binary|modules|base)-[0-9]/ { print $2 }')
	(cd "$kernel/deb" && apt apt-get download "$package" "${parts[@]}")
	for found in "$kernel"/deb/*.deb; do
		dpkg-deb -x "$found" "$kernel/tree"
	done
	found=$(find "$kernel/tree" -name 'vmlinuz*' -type f | head -n 1)
	[[ $found ]] || die "there is no kernel in $package"
	mv "$found" "$kernel/vmlinuz"
	found=$(find "$kernel/tree" -path '*lib/modules' -type d | head -n 1)
	mv "$found" "$kernel/modules"
	rm -rf "$kernel"/{apt,deb,tree}
	basename "$kernel"/modules/* >"$kernel/found"
	say "kernel of $SBX_VM_KERNEL: $(cat "$kernel/found")"
}

# make_root unpacks the packages and makes the image's directory.
make_root() {
	local root=$image/root
	rm -rf "$image"
	mkdir -p "$image"
	sources "$SBX_VM_SUITE" >"$image/sources.list"
	mmdebstrap --quiet --mode=root --variant=apt --include="$(IFS=, && echo "${packages[*]}")" \
		--aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Check-Valid-Until "false"' \
		--dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' "$SBX_VM_SUITE" "$root" - <"$image/sources.list"
	cp "$here/guest/setup.sh" "$key.pub" "$root/tmp/"
	chroot "$root" /bin/bash /tmp/setup.sh "$person"
	rm -rf "$root"/tmp/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
}

# make_initrd needs the root for its kmod and busybox.
make_initrd() {
	if [[ -e $kernel/version ]]; then return; fi
	local root=$image/root dir=$kernel/initrd.d version module
	version=$(cat "$kernel/found")
	rm -rf "$dir"
	mkdir -p "$dir"/{bin,dev,proc,sys,root,modules} "$root/tmp/kmod/lib/modules"
	cp -a "$kernel/modules/$version" "$root/tmp/kmod/lib/modules/"
	chroot "$root" depmod -b /tmp/kmod "$version"
	cp "$root/bin/busybox" "$dir/bin/"
	ln -s busybox "$dir/bin/sh"
	# A module that is built in has no file.
	for module in virtio_pci virtio_blk virtio_net virtio_rng ext4; do
		chroot "$root" modprobe -d /tmp/kmod -S "$version" --show-depends "$module" 2>/dev/null || true
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
		cp "$root$module" "$dir/modules/"
		module=$dir/modules/${module##*/}
		case $module in
		*.xz) xz -d "$module" && module=${module%.xz} ;;
		*.zst) zstd -q --rm -d "$module" && module=${module%.zst} ;;
		esac
		echo "${module##*/}" >>"$dir/modules/order"
	done
	install -m 755 "$here/guest/init" "$dir/init"
	(cd "$dir" && find . | "$root/bin/busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$kernel/initrd"
	disk "$root/tmp/kmod/lib/modules" "$kernel/modules.ext4" "$(($(du -sk "$kernel/modules" | cut -f1) * 13 / 10 + 8192))k"
	rm -rf "$dir" "$root/tmp/kmod" "$kernel/modules"
	mv "$kernel/found" "$kernel/version"
}

# disk DIRECTORY FILE SIZE makes a file system of a directory, without a mount.
disk() {
	rm -f "$2"
	mke2fs -q -F -t ext4 -O ^has_journal -m 0 -E root_owner=0:0 -d "$1" "$2.new" "$3" >/dev/null
	mv "$2.new" "$2"
}

main() {
	local start want
	start=$(now)
	((EUID == 0)) || die "making the guest takes root, who owns its files"
	umask 022
	mkdir -p "$SBX_VM_CACHE"
	exec 8<"$SBX_VM_CACHE"
	flock 8 # nobody else makes it at the same time
	[[ -e $key ]] || ssh-keygen -q -t ed25519 -N '' -C sbx-vm -f "$key"
	want="${packages[*]} $(cat "$here"/guest/{setup.sh,init} "$here/build.sh" "$key.pub" | md5sum | cut -d' ' -f1)"
	if [[ $(cat "$image/done" 2>/dev/null) == "$want" && -e $kernel/version ]]; then return; fi
	say "making a guest with Debian $SBX_VM_SUITE and the kernel of $SBX_VM_KERNEL in $SBX_VM_CACHE"
	fetch_kernel
	if [[ $(cat "$image/done" 2>/dev/null) != "$want" ]]; then
		make_root
		disk "$image/root" "$image/root.ext4" 8G
	fi
	make_initrd
	echo "$want" >"$image/done"
	say "made in $(since "$start")"
}

main
