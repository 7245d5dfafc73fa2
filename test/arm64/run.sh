#!/bin/bash
# Runs sbx on an emulated arm64 machine: the assembly of that architecture, on
# a kernel of that architecture.
#
#   run.sh                  guest.sh and the Go tests
#   run.sh PACKAGE...       guest.sh and these packages' tests, as ./test/script
#   run.sh none             guest.sh alone
#
# qemu emulates the whole machine: its emulation of single programs has no
# clone3 and no namespaces. The guest is Debian's own packages unpacked into an
# ext4 image, without installing any here. It boots from NVMe, for which Debian's
# kernel needs no initrd.
#
# As root it installs qemu-system-arm and e2fsprogs if they are missing. What
# it downloads stays in SBX_ARM64_CACHE, some 350 MB.
#
# SBX_MUST_WORK=1 makes it a failure that the machine can't be made here.
# SBX_ARM64_CPU is qemu's -cpu (neoverse-n1). All of it takes half an hour on
# two cores, run.sh none three minutes; SBX_ARM64_TIMEOUT (60m) ends it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export CGO_ENABLED=0
cache=${SBX_ARM64_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sbx-arm64}
kernel=linux-image-cloud-arm64
packages=(base-files bash coreutils dash diffutils findutils gawk grep hostname iproute2 kmod libc-bin mount ncurses-base procps sed strace uidmap util-linux)

skip() {
	echo "test-arm64: skipped: $*" >&2
	[[ ${SBX_MUST_WORK-} != 1 ]]
	exit
}

# install gets the programs that this needs, PROGRAM:PACKAGE each.
install() {
	local pair missing=()
	for pair in "$@"; do
		command -v "${pair%:*}" >/dev/null || missing+=("${pair#*:}")
	done
	((${#missing[@]})) || return 0
	echo "test-arm64: installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# apt COMMAND... is apt of an arm64 machine on which nothing is installed, with
# this machine's sources.
apt() {
	local command=$1
	shift
	"$command" -qq -o Dir::State::Lists="$cache/apt/lists" -o Dir::State::status="$cache/apt/status" -o Dir::Cache="$cache/apt" \
		-o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Install-Recommends=false \
		-o APT::Sandbox::User=root -o Acquire::Languages=none -o Debug::NoLocking=1 "$@"
}

# fetch downloads the guest's packages and the kernel, and unpacks them.
fetch() {
	rm -rf "$cache"/{apt,kernel,root,root.ext4,vmlinuz,done}
	mkdir -p "$cache"/apt/lists/partial "$cache"/apt/archives/partial "$cache"/{kernel,root/usr/{bin,sbin,lib/modules}}
	: >"$cache/apt/status"
	apt apt-get update || return
	local image
	image=$(apt apt-cache depends "$kernel" | awk '/Depends: linux-image-/ { print $2; exit }')
	[[ $image ]] || return
	apt apt-get -y --download-only install "${packages[@]}" || return
	(cd "$cache/kernel" && apt apt-get download "$image") || return
	local deb dir
	for dir in bin sbin lib; do
		ln -s "usr/$dir" "$cache/root/$dir"
	done
	for deb in "$cache"/apt/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" |
			tar -C "$cache/root" -xf - --keep-directory-symlink --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' || return
	done
	dpkg-deb --fsys-tarfile "$cache"/kernel/*.deb | tar -C "$cache/kernel" -xf - --wildcards './boot/vmlinuz-*' '*/fuse.ko*' '*/overlay.ko*' '*/tun.ko*' || return
	mv "$cache"/kernel/boot/vmlinuz-* "$cache/vmlinuz" || return
	find "$cache/kernel" -name '*.ko*' -exec mv -t "$cache/root/usr/lib/modules" {} + && rm -rf "$cache"/apt "$cache"/kernel || return
	# What the packages' own scripts would do, as far as a test wants it.
	ln -sf gawk "$cache/root/usr/bin/awk"
	mkdir -p "$cache"/root/{dev,proc,sys,tmp,run,sbx,root,home,etc}
	printf '%s\n' root:x:0:0::/root:/bin/bash daemon:x:1:1::/:/bin/false you:x:1000:1000::/home/you:/bin/bash nobody:x:65534:65534::/:/bin/false >"$cache/root/etc/passwd"
	printf '%s\n' root:x:0: daemon:x:1: tty:x:5: you:x:1000: nogroup:x:65534: >"$cache/root/etc/group"
	echo you:100000:65536 | tee "$cache/root/etc/subuid" >"$cache/root/etc/subgid"
	echo arm64 >"$cache/root/etc/hostname"
	echo '127.0.0.1 localhost arm64' >"$cache/root/etc/hosts"
	image_of "$cache/root" "$cache/root.ext4" 1G || return
	rm -rf "$cache/root"
	echo "${packages[*]}" >"$cache/done"
}

# image_of DIRECTORY FILE SIZE makes a file system.
image_of() {
	rm -f "$2"
	mke2fs -q -F -t ext4 -O ^has_journal -m 0 -d "$1" "$2" "$3" >/dev/null
}

# tests lists the packages whose tests make sense there: none that asks the Go
# tools about the checkout, and none of the benchmarks.
tests() {
	if (($#)); then
		go list "$@"
		return
	fi
	go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./... | grep -vE '/(bench/.*|test/(archtest|deptest|lint|summary))$'
}

# payload makes what the guest runs: the checkout, sbx and the tests' binaries.
payload() {
	local out=$1 package module slug
	shift
	mkdir -p "$out"/{bin,tests,checkout}
	cp "$here"/guest.sh "$here"/cases.sh "$root/bench/internal/rig/profiles/equal.toml" "$out"
	export GOARCH=arm64
	go build -trimpath -buildvcs=false -o "$out/bin/" ./cmd/... ./test/attack/probe
	if [[ ${1-} == none ]]; then return; fi
	module=$(go list -m)
	tests "$@" >"$out/tests/list"
	while read -r package; do
		slug=${package#"$module/"}
		go test -c -trimpath -o "$out/tests/${slug//\//-}" "$package"
		echo "$slug ${slug//\//-}"
	done <"$out/tests/list" >"$out/tests/binaries"
	# The tests' data, which they look for beside themselves and below the root.
	find . \( -name .git -o -path ./bin \) -prune -o -type f -size -1024k -print0 | tar --null -T - -cf - | tar -C "$out/checkout" -xf -
}

main() {
	local program cpu=${SBX_ARM64_CPU:-neoverse-n1}
	for program in go apt-get apt-cache dpkg-deb; do
		command -v "$program" >/dev/null || skip "needs $program"
	done
	((EUID == 0)) || skip "needs root, who owns the guest's files"
	install qemu-system-aarch64:qemu-system-arm mke2fs:e2fsprogs || skip "needs qemu-system-arm and e2fsprogs, which apt-get could not install"
	if [[ $(cat "$cache/done" 2>/dev/null) != "${packages[*]}" ]]; then
		echo "test-arm64: making a machine in $cache"
		fetch || skip "apt's sources here have not all of the arm64 packages ($kernel ${packages[*]})"
	fi
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	echo "test-arm64: building for arm64"
	(cd "$root" && payload "$tmp/sbx" "$@")
	image_of "$tmp/sbx" "$tmp/sbx.ext4" 1G
	echo "test-arm64: starting the machine (-cpu $cpu)"
	TMPDIR=$tmp timeout --foreground "${SBX_ARM64_TIMEOUT:-60m}" qemu-system-aarch64 -nodefaults -no-user-config -no-reboot -display none \
		-M virt -cpu "$cpu" -smp 2 -m 2048 -accel tcg,thread=multi -kernel "$cache/vmlinuz" \
		-append "console=ttyAMA0 root=/dev/nvme0n1 rootwait rw init=/bin/sh quiet loglevel=4 panic=-1 net.ifnames=0 random.trust_bootloader=on -- -c \"mount -t devtmpfs dev /dev; until [ -e /dev/nvme0n2 ]; do sleep 0.1; done; mount /dev/nvme0n2 /sbx; exec /sbx/guest.sh\"" \
		-device nvme,serial=1 \
		-drive "if=none,id=root,file=$cache/root.ext4,format=raw,snapshot=on" -device nvme-ns,drive=root,nsid=1 \
		-drive "if=none,id=sbx,file=$tmp/sbx.ext4,format=raw" -device nvme-ns,drive=sbx,nsid=2 \
		-serial stdio -monitor none </dev/null | sed -u 's,\r,,g' | tee "$tmp/console"
	grep -q '^arm64: all passed$' "$tmp/console" || { echo "test-arm64: failed" >&2; exit 1; }
}

main "$@"
