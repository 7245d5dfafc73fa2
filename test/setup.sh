#!/bin/bash
# Prepares a host for the suite. As root it installs what is missing, opens the
# device nodes every distribution opens, and makes two accounts: sbxtest with
# subordinate ids and sbxtest1 without. Otherwise it changes nothing and says
# what an administrator could do and what the suite will skip.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf 'setup: %s\n' "$*"; }

# The first ids after every range there is, from 100000.
after() {
	awk -F: 'BEGIN { end = 100000 } NF == 3 && $2 + $3 > end { end = $2 + $3 } END { print end }' < <(cat /etc/subuid /etc/subgid 2>/dev/null)
}

missing=() lacks=()
while read -r package mark why; do
	case $package in '' | '#'*) continue ;; esac
	case $mark in
	/*) [[ -e $mark ]] && continue ;;
	*) command -v "$mark" >/dev/null && continue ;;
	esac
	missing+=("$package")
	lacks+=("$package: $why")
done <"$here/packages.txt"

if ((EUID != 0)); then
	if ((${#missing[@]})); then
		say "not root, so nothing is installed. Missing, and skipped because of it:"
		printf '  %s\n' "${lacks[@]}"
		say "to install: sudo apt-get install --no-install-recommends ${missing[*]}"
	fi
	me=$(id -un)
	for kind in uid gid; do
		grep -qsE "^($me|$EUID):" "/etc/sub$kind" && continue
		first=$(after)
		say "no line for $me in /etc/sub$kind: tests with a range of ids are skipped; to add: sudo usermod --add-sub${kind}s $first-$((first + 65535)) $me"
	done
	for node in /dev/fuse /dev/net/tun; do
		[[ -r $node && -w $node ]] || say "$node can't be opened: tests that need it are skipped; to open it: sudo chmod 0666 $node"
	done
	exit 0
fi

if ((${#missing[@]})); then
	say "installing: ${missing[*]}"
	if command -v apt-get >/dev/null; then
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -qq
		apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
	else
		say "there is no apt-get here; install them yourself. Without them:"
		printf '  %s\n' "${lacks[@]}"
	fi
fi

for node in /dev/fuse /dev/net/tun; do
	if [[ ! -c $node ]]; then
		say "$node is missing: tests that need it are skipped"
	elif [[ $(stat -c %a "$node") == 600 ]]; then
		chmod 0666 "$node"
		say "$node was 0600, now 0666 as udev would have it"
	fi
done

for account in sbxtest sbxtest1; do
	if ! id "$account" >/dev/null 2>&1; then
		useradd --create-home --shell /bin/bash "$account"
		say "made the account $account"
	fi
done

touch /etc/subuid /etc/subgid
for kind in uid gid; do
	if ! grep -q '^sbxtest:' "/etc/sub$kind"; then
		first=$(after)
		usermod "--add-sub${kind}s" "$first-$((first + 65535))" sbxtest
		say "sbxtest has the sub$kind range $first:65536"
	fi
	# useradd may have given it a range; being without is what it is for.
	if grep -q '^sbxtest1:' "/etc/sub$kind"; then
		sed -i '/^sbxtest1:/d' "/etc/sub$kind"
	fi
done

# as_suite COMMAND... runs it as sbxtest, with nothing of root's environment. The
# checkout may be closed to that account, so a script comes by standard input.
as_suite() (
	home=$(getent passwd sbxtest | cut -d: -f6)
	cd "$home"
	exec setpriv --reuid=sbxtest --regid="$(id -g sbxtest)" --init-groups env -i HOME="$home" PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
)

# A root of Debian's as mmdebstrap makes it, once, where there is a mirror. It is kept
# in the account: the tests have no network.
debian_root() {
	local home dir suite index
	home=$(getent passwd sbxtest | cut -d: -f6)
	dir=$home/.cache/sbx-test
	if [[ -s $dir/debian.tar ]] || ! command -v mmdebstrap >/dev/null; then return 0; fi
	suite=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
	index=$(apt-get indextargets --format '$(URI)' 2>/dev/null | head -n 1 || true)
	install -d -o sbxtest -g "$(id -g sbxtest)" "$home/.cache" "$dir"
	if [[ ! $suite || ! $index ]] || ! timeout 20 /usr/lib/apt/apt-helper download-file "${index%%/dists/*}/dists/$suite/InRelease" "$dir/InRelease" >/dev/null 2>&1; then
		say "there is no mirror of Debian's: the test of a root that mmdebstrap made is skipped"
		return 0
	fi
	rm -f "$dir/InRelease"
	say "making a root with mmdebstrap"
	if ! (as_suite TMPDIR="$dir" timeout 600 mmdebstrap --quiet --variant=apt "$suite" "$dir/made.tar" >"$dir/made.log" 2>&1 </dev/null && mv "$dir/made.tar" "$dir/debian.tar"); then
		say "that failed: $(tail -n 1 "$dir/made.log" 2>/dev/null)"
		rm -f "$dir/made.tar"
	fi
	rm -f "$dir/made.log"
}
debian_root

# The editor Helix, likewise.
helix() {
	local why
	why=$(as_suite timeout 300 sh -s helix <"$here/editors/install.sh" 2>&1) || why="install.sh ended with status $?: $why"
	if [[ $why ]]; then say "$why"; fi
}
helix
