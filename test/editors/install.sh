#!/bin/sh
# Installs the editor and the language servers that the distribution has none of, in
# the versions that test/editors is tried with, vsce, and the package managers of
# test/projects. Without them those tests are skipped. "install.sh helix" installs
# the editor alone.
set -e
cache=${SBX_TEST_SERVERS:-${XDG_CACHE_HOME:-$HOME/.cache}/sbx-test}

servers() {
	mkdir -p "$cache/npm" "$cache/vsce" "$cache/bin"
	GOBIN=$cache/bin go install golang.org/x/tools/gopls@v0.21.1
	npm install --prefix "$cache/npm" --no-audit --no-fund --ignore-scripts \
		bash-language-server@5.6.0 typescript-language-server@4.4.1 typescript@5.9.3
	npm install --prefix "$cache/vsce" --no-audit --no-fund --ignore-scripts @vscode/vsce@3.2.2
	npm install --prefix "$cache/managers" --no-audit --no-fund --ignore-scripts pnpm@10.34.9 yarn@1.22.22
	npm install --prefix "$cache/yarn" --no-audit --no-fund --ignore-scripts @yarnpkg/cli-dist@4.18.1
}

# Helix is in Debian from 13 (trixie) on, for a C library that Debian 12 has not. So both
# are unpacked below the cache, and Helix is started by the loader that belongs to it.
suite=trixie
keys=/usr/share/keyrings/debian-archive-keyring.gpg

# get is apt-get with a state of its own, which knows the suite and nothing of the host.
# $work is the directory of that state.
get() {
	timeout 240 apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
		-o Dir::State::Lists="$work/lists" -o Dir::State::Status=/dev/null -o Dir::Cache="$work/cache" \
		-o Acquire::AllowInsecureRepositories=false -o APT::Get::AllowUnauthenticated=false \
		-o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Languages=none \
		-o Acquire::http::Timeout=15 -o Acquire::Retries=1 -o APT::Update::Error-Mode=any "$@" </dev/null
}

# mirrors are the archives that the host's apt takes the distribution from. Others may
# name their suites alike; what they have is not signed with Debian's keys.
mirrors() {
	release=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
	apt-get update --print-uris 2>/dev/null | sed -n "s|^'\(.*\)/dists/$release/InRelease'.*|\1|p"
}

# fetch MIRROR gets the packages into $work.
fetch() {
	mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
	echo "deb [signed-by=$keys] $1 $suite main" >"$work/sources.list"
	get update && (cd "$work" && get download hx libc6 libgcc-s1)
}

# unpack makes what fetch got into a program: $work/hx.
unpack() {
	for package in "$work"/*.deb; do
		dpkg-deb -x "$package" "$work/root" || return 1
	done
	for loader in "$work"/root/usr/lib/*-linux-gnu/ld-linux*.so.*; do
		libraries=${loader%/*}
	done
	cat >"$work/hx" <<-END
		#!/bin/sh
		root="$cache/helix/root"
		HELIX_RUNTIME=\$root/usr/lib/hx/runtime exec "\$root${loader#"$work/root"}" --library-path "\$root${libraries#"$work/root"}" "\$root/usr/lib/hx/hx" "\$@"
	END
	chmod 0755 "$work/hx"
	"$loader" --library-path "$libraries" "$work/root/usr/lib/hx/hx" --version
}

# helix never fails: where it can't be had, its test says that it is missing.
helix() {
	if [ -x "$cache/helix/hx" ]; then return 0; fi
	if ! command -v apt-get >/dev/null || [ ! -r "$keys" ]; then
		echo "install.sh: no Helix: it is taken from Debian, and there is no apt-get or no $keys here"
		return 0
	fi
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/helix.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	for mirror in $(mirrors); do
		if fetch "$mirror" >"$work/log" 2>&1 && unpack >>"$work/log" 2>&1; then
			rm -rf "$work"/*.deb "$work/lists" "$work/cache" "$work/sources.list" "$work/log" "$cache/helix"
			chmod 0755 "$work"
			mv "$work" "$cache/helix"
			return 0
		fi
	done
	echo "install.sh: no Helix: of the mirrors of apt none gave packages of $suite, signed with $keys: $(tail -n 1 "$work/log" 2>/dev/null)"
}

case ${1-} in
'')
	helix
	servers
	;;
helix) helix ;;
*) echo "usage: install.sh [helix]" >&2 && exit 2 ;;
esac
